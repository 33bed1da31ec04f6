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
SECOND = """other = study.explore(metric="accuracy", tab="layers")
other"""
CARD, OUTLINE = ".probe-nb-facts", ".probe-nb path[aria-roledescription='rect mark'][stroke='#ff7f0e']"


def at(layer, token): return f".probe-nb path[aria-label^='Token: {token}; Layer: {layer};']:not([stroke='#ff7f0e'])"


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

STOPPED = """async () => {
    const seen = () => [...document.querySelectorAll('.probe-nb-status')].some(e => e.textContent.startsWith('Stopped'));
    const start = performance.now();
    [...document.querySelectorAll('.probe-nb-top button')].find(b => b.textContent === 'Stop').click();
    while (!seen()) await new Promise(done => setTimeout(done, 5));
    return Math.round(performance.now() - start) }"""


def tab_to(lab, selector, most=80):
    "By Tab alone, as somebody without a mouse would."
    for _ in range(most):
        if lab.page.evaluate("s => !!document.activeElement?.matches(s)", selector): return
        lab.page.keyboard.press("Tab")
    raise AssertionError(f"Tab does not come to {selector}")


def see(lab, selector=".probe-nb-alive"): lab.page.locator(selector).first.scroll_into_view_if_needed()


def open_explorer(lab, tmp_path):
    lab.open_notebook(notebook(tmp_path / "explorer.ipynb", STUDY, SECOND))
    lab.run_all()
    assert not lab.errors()
    lab.page.wait_for_selector(OUTLINE, timeout=60_000)
    see(lab)


def check_clicks(lab):
    "A click shows that cell's numbers and moves the outline, in this explorer and in no other."
    best, other = lab.value("(pmap.best_layer, pmap.best_position)"), lab.value("other.cell")
    assert lab.value("explorer.cell") == best, "first sight is the best cell"
    lab.wait_for_text("ROC over all folds", ".probe-nb svg text")
    lab.wait_for_text("probe beyond it", CARD)
    lab.picture("explorer_light")
    lab.page.locator(at(3, "last_q")).first.click()
    lab.wait_for_text("Layer 3 · last_q", CARD)
    auc = lab.value("f'{pmap.auc.sel(layer=3, position=\"last_q\").item():.3f}'").strip("'")
    lab.wait_for_text(auc, CARD)
    lab.page.wait_for_selector(f"{OUTLINE}[aria-label='Token: last_q; Layer: 3']")
    took = lab.page.evaluate(CLICKS, [[at(n, t) for n in (1, 4) for t in ("exact_answer_last", "-1", "second_answer")], CARD])
    print("click to numbers, ms:", took)
    assert sorted(took)[3] < 2000
    lab.picture("explorer_click")
    assert lab.value("other.cell") == other
    names = lab.page.locator(".probe-nb svg [id]").evaluate_all("all => all.map(e => e.id)")
    assert len(names) >= 2 and len({*names}) == len(names), "each colour bar has colours of its own"


def check_keys(lab):
    "What the mouse can do, by keys alone, from the first field on."
    lab.page.locator(".probe-nb-top input").first.focus()
    entered = lab.page.evaluate("[document.activeElement.value, document.activeElement.placeholder]")
    assert entered == ["", "demo"], "a field that is entered offers its whole list"
    tab_to(lab, ".probe-nb-chips button")
    assert lab.page.locator(".probe-nb-top input").first.input_value() == "demo"
    lab.page.keyboard.press("Space")  # a position is switched off
    lab.page.wait_for_function(f"document.querySelectorAll({at(3, 'last_q')!r}).length === 1")
    tab_to(lab, ".probe-nb-map")
    lab.picture("explorer_keys_map")
    lab.page.keyboard.press("ArrowDown")
    lab.page.keyboard.press("ArrowLeft")
    lab.wait_for_text("Layer 5 · first_answer", CARD)  # the last click was on layer 4, second_answer
    tab_to(lab, ".probe-nb-cell select")
    lab.page.keyboard.press("ArrowUp")  # in command mode JupyterLab would go to another cell
    lab.wait_for_text("Layer 4 · first_answer", CARD)
    tab_to(lab, ".probe-nb-tabs button:nth-of-type(4)")
    lab.page.keyboard.press("Space")
    lab.wait_for_text("first_answer", ".probe-nb-cell svg text")
    lab.picture("explorer_layers")
    tab_to(lab, ".probe-nb-answers input[type=text]")  # answers: searched, one picked, its span moved
    lab.page.keyboard.type("larger")
    lab.page.wait_for_function("""[...document.querySelector('.probe-nb-table').querySelectorAll('td.question')]
        .every(t => /larger/i.test(t.textContent))""")
    lab.picture("explorer_filtered")
    tab_to(lab, ".probe-nb-table tr")
    lab.page.keyboard.press("ArrowDown")
    lab.page.wait_for_selector(".probe-nb-editor .token", timeout=60_000)
    assert lab.value("explorer.picked.editor.example == explorer.example > -1") == "True"
    tab_to(lab, ".probe-nb-editor .token")
    lab.page.keyboard.press("Home")
    lab.page.keyboard.press("Space")
    lab.wait_for_value("explorer.picked.editor.span", "(0, 1)")
    lab.picture("explorer_answer")


def check_stop_and_error(lab):
    "A long run is stopped, and a wrong name said; neither loses anything."
    run = lab.page.locator(".probe-nb-top").first.get_by_role("button", name="Run")
    lab.value("explorer.set_trait('site', 'resid')")
    run.click()
    lab.page.wait_for_function("""[...document.querySelectorAll('.probe-nb-status')]
        .some(e => / of [0-9]+$/.test(e.textContent.trim()))""")
    lab.picture("explorer_running")
    print("stop, ms:", took := lab.page.evaluate(STOPPED))
    assert took < 2000 and lab.value("explorer.busy, explorer.pmap.equals(pmap)") == "(False, True)"
    lab.picture("explorer_stopped")
    lab.value("explorer.set_trait('site', 'mlp_in')")
    lab.page.get_by_label("questions").first.fill("no/such.csv")
    lab.page.get_by_label("questions").first.press("Tab")
    run.click()
    lab.wait_for_text("no/such.csv", ".probe-nb-error")
    assert lab.page.locator(at(3, "exact_answer_last")).count() == 2, "an error loses nothing"
    lab.picture("explorer_error")
    assert lab.value("explorer.error") == repr(lab.page.locator(".probe-nb-error").first.inner_text())


def check_dark_and_narrow(lab):
    lab.dark()
    lab.page.wait_for_selector("#jupyterlab-splash", state="detached")
    inks = lab.page.locator(".probe-nb svg text").evaluate_all("texts => texts.map(t => getComputedStyle(t).fill)")
    assert all(min(map(float, re.findall(r"[\d.]+", ink)[:3])) > 150 for ink in inks), f"light ink on a dark page: {set(inks)}"
    lab.picture("explorer_dark")
    lab.page.set_viewport_size({"width": 900, "height": 1400})
    see(lab)
    columns = [lab.page.locator(f".probe-nb-{name}").first.bounding_box() for name in ("side", "map", "cell")]
    assert columns[0]["y"] < columns[1]["y"] < columns[2]["y"], "in a narrow window they stand one below the other"
    chart, frame = lab.page.locator(".probe-nb-map svg").first.bounding_box(), columns[1]
    assert chart["x"] + chart["width"] <= frame["x"] + frame["width"] + 1, "the colour bar is not cut off"
    lab.picture("explorer_narrow")
    lab.page.locator(at(2, "exact_answer_first")).first.click()  # a chart that is scaled down is clicked in the right place
    lab.wait_for_text("Layer 2 · exact_answer_first", CARD)
    lab.page.set_viewport_size({"width": 1500, "height": 1000})
    lab.dark(False)


def check_saved_and_reloaded(lab):
    "What is saved has a picture and no state of widgets; after a reload the page is alive as it was."
    stored = lab.saved()
    assert "widgets" not in stored["metadata"]
    assert "image/png;base64,iVBOR" in "".join(stored["cells"][0]["outputs"][0]["data"]["text/html"])
    lab.page.reload()
    lab.page.wait_for_selector(f"{OUTLINE}[aria-label='Token: exact_answer_first; Layer: 2']", timeout=60_000)
    assert lab.page.get_by_placeholder("search questions").first.input_value() == "larger"
    lab.page.locator(at(4, "exact_answer_first")).first.click()
    lab.wait_for_text("Layer 4 · exact_answer_first", CARD)
    lab.picture("explorer_reloaded")


def test_explorer(lab, tmp_path):
    open_explorer(lab, tmp_path)
    for check in (check_clicks, check_keys, check_stop_and_error, check_dark_and_narrow, check_saved_and_reloaded): check(lab)


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
    lab.wait_for_text("Stopped", ".probe-nb-status")
    lab.value("gate.set()")
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
