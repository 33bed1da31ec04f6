"""The pictures live in JupyterLab, whose Vega-Lite is older than Altair's, in light and dark."""
from pathlib import Path

import pytest
from browser import notebook

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]

MAP = """import sys; sys.path.insert(0, {tests!r})
from test_charts import full
from probe_nb.charts import heatmap
from probe_nb.sheets import beside
heatmap(full(), margins=True, values=True)"""
COLOURS = """(app, w) => { const svg = w.node.querySelector('svg.marks');
    const words = [...svg.querySelectorAll('.role-axis-label text, .role-title text, .role-legend-label text')];
    return [svg.querySelector('rect, path.background') && getComputedStyle(svg.parentElement).backgroundColor,
            svg.style.backgroundColor, ...new Set(words.map(t => getComputedStyle(t).fill))] }"""


def test_marks_margins_and_numbers_are_live_and_follow_the_theme(lab, tmp_path):
    tests = str(Path(__file__).parent)
    lab.open_notebook(notebook(tmp_path / "charts.ipynb", MAP.format(tests=tests), "beside(full(), full())", "heatmap(full())"))
    lab.run_all()
    assert not lab.errors()
    cells = "svg.marks path[aria-roledescription='rect mark'][aria-label^='Token: ']"
    lab.page.wait_for_selector(cells, timeout=60_000)
    lab.page.wait_for_function(f"() => document.querySelectorAll({cells!r}).length === 30 + 60 + 30", timeout=30_000)
    lab.wait_for_text("within reach of chance (AUC up to 0.62)")
    light = lab.js(COLOURS)
    assert "rgb(0, 0, 0)" in light
    lab.dark()
    lab.page.wait_for_selector("#jupyterlab-splash", state="detached")
    lab.picture("charts_dark")
    lab.run_all()
    lab.page.wait_for_function(f"() => document.querySelectorAll({cells!r}).length === 120", timeout=60_000)
    dark = lab.js(COLOURS)
    lab.picture("charts_dark_again")
    lab.dark(False)
    assert "rgb(255, 255, 255)" in dark and "rgb(0, 0, 0)" not in dark, "words are white on JupyterLab's dark ground"
