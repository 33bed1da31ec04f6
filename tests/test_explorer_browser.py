"""The map and the explorer in a real JupyterLab: what is seen, clicked, and left behind."""
import json
import re
from pathlib import Path

import pytest
from browser import notebook

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]


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
    lab.picture("map_light")
    assert "('default', False)" in lab.outputs()[-1]["data"]["text/plain"], "nothing of the user's was changed"
    stored = lab.saved()["cells"][0]["outputs"][0]["data"]
    assert stored["image/png"].startswith("iVBOR") and len(json.dumps(stored)) < 100_000
    lab.js("(app, w) => w.sessionContext.shutdown()")
    lab.page.reload()
    lab.page.wait_for_selector(cell, timeout=60_000)
    lab.picture("map_reopened")
    lab.dark()
    lab.page.wait_for_selector("#jupyterlab-splash", state="detached")
    lab.picture("map_dark")
    lab.dark(False)


STUDY = """from probe_nb.all import *
study = Study("runs/demo", n=240, progress=False)
pmap = study.map()
explorer = study.explore()
explorer"""
CARD, OUTLINE = ".probe-nb-facts", ".probe-nb path[aria-roledescription='rect mark'][stroke='#ff7f0e']"


def at(layer, token): return f".probe-nb path[aria-label^='Token: {token}; Layer: {layer};']:not([stroke='#ff7f0e'])"


def eval_cell(lab): return int(lab.value("explorer.cell[0]"))


CLICKS = """async ([cells, card]) => {
    const took = [];
    for (const cell of cells) {
        const before = document.querySelector(card).textContent, start = performance.now();
        await new Promise((done, lost) => {
            const eyes = new MutationObserver(() => {
                if (document.querySelector(card).textContent !== before) { eyes.disconnect(); done() } });
            eyes.observe(document.querySelector(card), {subtree: true, childList: true, characterData: true});
            setTimeout(() => lost(new Error('no answer to a click on ' + cell)), 20000);
            const mark = document.querySelector(cell), box = mark.getBoundingClientRect();
            const where = {bubbles: true, clientX: box.x + box.width / 2, clientY: box.y + box.height / 2};
            for (const kind of ['pointerdown', 'mousedown', 'pointerup', 'mouseup', 'click'])
                mark.dispatchEvent(new MouseEvent(kind, where));
        });
        took.push(Math.round(performance.now() - start));
    }
    return took }"""


def test_explorer(lab, tmp_path):
    lab.open_notebook(notebook(tmp_path / "explorer.ipynb", STUDY))
    lab.run_all()
    assert not lab.errors()
    lab.page.wait_for_selector(OUTLINE, timeout=60_000)
    best = lab.value("(pmap.best_layer, pmap.best_position)")
    assert lab.value("explorer.cell") == best, "first sight is the best cell"
    lab.page.locator(".probe-nb-alive").scroll_into_view_if_needed()
    lab.wait_for_text("ROC over all folds", ".probe-nb svg text")
    lab.picture("explorer_light")

    lab.page.locator(at(3, "last_q")).click()  # a click shows that cell's numbers, and the outline moves there
    lab.wait_for_text("Layer 3 · last_q", CARD)
    auc = lab.value("f'{pmap.auc.sel(layer=3, position=\"last_q\").item():.3f}'").strip("'")
    lab.wait_for_text(auc, CARD)
    lab.page.wait_for_selector(f"{OUTLINE}[aria-label='Token: last_q; Layer: 3']")
    took = lab.page.evaluate(CLICKS, [[at(n, t) for n in (1, 4) for t in ("exact_answer_last", "-1", "second_answer")], CARD])
    print("click to numbers, ms:", took)
    assert sorted(took)[3] < 2000

    lab.page.get_by_title("next layer").click()  # buttons and keys do what clicks do
    lab.wait_for_text("Layer 5 · second_answer", CARD)
    lab.page.locator(".probe-nb-cell select").nth(1).focus()
    lab.page.keyboard.press("ArrowUp")  # in command mode JupyterLab would go to another cell
    lab.wait_for_text("Layer 5 · first_answer", CARD)
    lab.page.wait_for_selector(f"{OUTLINE}[aria-label='Token: first_answer; Layer: 5']")

    lab.page.locator(".probe-nb-alive").get_by_role("button", name="layers", exact=True).click()
    lab.wait_for_text("first_answer", ".probe-nb-cell svg text")
    lab.picture("explorer_layers")
    lab.page.locator(".probe-nb-chips").get_by_text("last_q", exact=True).click()  # a position is switched off
    lab.page.wait_for_selector(at(3, "last_q"), state="detached")
    lab.page.get_by_placeholder("search questions").fill("larger")  # answers: searched, and one picked by keys
    lab.wait_for_text("of 240 answers", ".probe-nb-answers .probe-nb-status")
    found = "[...document.querySelectorAll('.probe-nb-table td.question')].every(t => /larger/i.test(t.textContent))"
    lab.page.wait_for_function(found)
    lab.page.locator(".probe-nb-table tr[tabindex='0']").focus()
    lab.page.keyboard.press("ArrowDown")
    lab.page.wait_for_selector(".probe-nb-editor .token", timeout=60_000)
    assert lab.value("explorer.picked.editor.example == explorer.example > -1") == "True"
    lab.page.locator(".probe-nb-map").focus()  # and the map walked over
    before = eval_cell(lab)
    lab.page.keyboard.press("ArrowUp")
    lab.wait_for_text(f"Layer {before - 1} ·", CARD)
    lab.page.get_by_label("questions").fill("no/such.csv")
    lab.page.get_by_label("questions").press("Tab")
    lab.page.locator(".probe-nb-alive").get_by_role("button", name="Run").click()
    lab.wait_for_text("no/such.csv", ".probe-nb-error")
    assert lab.page.locator(at(3, "exact_answer_last")).count() == 1, "an error loses nothing"
    lab.picture("explorer_error")
    assert lab.value("explorer.error") == repr(lab.page.locator(".probe-nb-error").first.inner_text())

    lab.dark()
    lab.page.wait_for_selector("#jupyterlab-splash", state="detached")
    inks = lab.page.locator(".probe-nb svg text").evaluate_all("texts => texts.map(t => getComputedStyle(t).fill)")
    assert all(min(map(float, re.findall(r"[\d.]+", ink)[:3])) > 150 for ink in inks), f"light ink on a dark page: {set(inks)}"
    lab.picture("explorer_dark")
    lab.page.set_viewport_size({"width": 900, "height": 1400})
    lab.page.locator(".probe-nb-alive").scroll_into_view_if_needed()
    columns = [lab.page.locator(f".probe-nb-{name}").bounding_box() for name in ("side", "map", "cell")]
    assert columns[0]["y"] < columns[1]["y"] < columns[2]["y"], "in a narrow window they stand one below the other"
    chart, frame = lab.page.locator(".probe-nb-map svg").bounding_box(), columns[1]
    assert chart["x"] + chart["width"] <= frame["x"] + frame["width"] + 1, "the colour bar is not cut off"
    lab.picture("explorer_narrow")
    lab.page.locator(at(2, "exact_answer_first")).click()  # a chart that is scaled down is clicked in the right place
    lab.wait_for_text("Layer 2 · exact_answer_first", CARD)
    lab.page.set_viewport_size({"width": 1500, "height": 1000})
    lab.dark(False)
    stored = lab.saved()
    assert "widgets" not in stored["metadata"]
    assert "image/png;base64,iVBOR" in "".join(stored["cells"][0]["outputs"][0]["data"]["text/html"])

    lab.js("(app, w) => w.sessionContext.session.kernel.restart()")  # the same again in a new kernel, under the same name
    lab.js("async (app, w) => { await w.sessionContext.session.kernel.info }")
    lab.run_all()
    assert not lab.errors()
    lab.page.wait_for_selector(OUTLINE, timeout=60_000)
    lab.page.locator(at(3, "last_q")).click()
    lab.wait_for_text("Layer 3 · last_q", CARD)


WAITING = """import sys, threading
sys.path.insert(0, {tests!r})
from test_widgets import FakeStudy
from probe_nb.widgets import Explorer
gate = threading.Event()
study = FakeStudy(wait=gate)
explorer = Explorer(study)
explorer"""


def test_first_sight_without_a_map_and_hostile_names(lab, tmp_path):
    told = []
    lab.page.on("dialog", lambda d: told.append(d.message))
    lab.open_notebook(notebook(tmp_path / "wait.ipynb", WAITING.format(tests=str(Path(__file__).parent)), "gate.set()"))
    lab.js("(app, w) => { w.content.activeCellIndex = 0 }")
    lab.command("notebook:run-cell")
    lab.wait_for_text("The map is being made", ".probe-nb-skeleton", 60)
    lab.wait_for_text("answering 0 of 3", ".probe-nb-status")
    lab.picture("explorer_waiting")
    lab.page.locator(".probe-nb-alive").get_by_role("button", name="Stop").click()
    lab.wait_for_text("stopping", ".probe-nb-status")
    lab.value("gate.set()")
    lab.wait_for_text("Stopped", ".probe-nb-status")
    lab.page.locator(".probe-nb-alive").get_by_role("button", name="Run").click()
    lab.page.wait_for_selector(OUTLINE, timeout=60_000)
    lab.page.locator(at(2, "<img src=x onerror=alert(1)>")).click()
    lab.wait_for_text("Layer 2 · <img src=x onerror=alert(1)>", CARD)
    lab.picture("explorer_hostile")
    lab.page.locator(".probe-nb path[aria-label^='Token: -1; Layer: 2; missing']").first.click(position={"x": 3, "y": 3})
    lab.wait_for_text("8 answers", CARD)
    lab.picture("explorer_missing")
    lab.value("setattr(explorer, 'error', '<img src=x onerror=alert(1)>')")
    lab.wait_for_text("onerror=alert(1)", ".probe-nb-error")
    assert lab.page.locator(".probe-nb img").count() == 0 and not [m for m in told if m == "1"], "names are text, never code"
