"""The map and the explorer in a real JupyterLab: what is seen, clicked, and left behind."""
import json
import os
from pathlib import Path

import nbformat.v4 as nbf
import pytest
from nbformat import write

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]
PICTURES = os.environ.get("PROBE_NB_PICTURES")  # a folder to leave screenshots in, for a person to look at


def notebook(path, *cells):
    write(nbf.new_notebook(cells=[nbf.new_code_cell(c) for c in cells]), path)
    return path


def picture(lab, name):
    if PICTURES: lab.screenshot(Path(PICTURES) / f"{name}.png")


def saved(lab):
    "The notebook as it lies on disk after saving."
    lab.command("docmanager:save")
    return json.loads((lab.jupyter.root / lab.js("(app, w) => w.context.path")).read_text())


MAP = """from probe_nb.charts import heatmap
from probe_nb.published import load_published
import altair as alt
heatmap(load_published("fig2a"))"""


def test_map_is_live_offline_and_stays_when_the_kernel_is_gone(lab, tmp_path):
    lab.open_notebook(notebook(tmp_path / "map.ipynb", MAP, "alt.renderers.active, alt.JupyterChart._is_offline"))
    lab.run_all()
    assert not lab.errors()
    cell = "svg.marks path[aria-label^='Token: exact_answer_first; Layer: 13; AUC: 0.843']"
    lab.page.wait_for_selector(cell, timeout=60_000)
    lab.page.hover(cell)
    lab.wait_for_text("0.843", ".vg-tooltip")
    picture(lab, "map_light")
    assert "('default', False)" in lab.outputs()[-1]["data"]["text/plain"], "nothing of the user's was changed"
    stored = saved(lab)["cells"][0]["outputs"][0]["data"]
    assert stored["image/png"].startswith("iVBOR") and len(json.dumps(stored)) < 100_000
    lab.js("(app, w) => w.sessionContext.shutdown()")
    lab.page.reload()
    lab.page.wait_for_selector(cell, timeout=60_000)
    picture(lab, "map_reopened")
    lab.dark()
    picture(lab, "map_dark")
