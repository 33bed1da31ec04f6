"""The editors in a real JupyterLab: what is dragged, pressed, typed, and what comes of it. They share a notebook and a study."""
import json
import os

import pytest
from browser import Lab, notebook

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]
STUDY = os.environ.get("PROBE_NB_STUDY")  # a study that is there already, to measure with
OPENED = f"""from probe_nb.all import *
from probe_nb.beside import Beside
study = Study({STUDY or "runs/editors"!r}, progress=False, {"" if STUDY else "n=120, layers=[4, 5, 6]"})
pmap = study.map()"""
CELLS = dict(study=OPENED, beside="two = Beside(study, 'resid')\ntwo", scores="scores = TokenScores(study, samples=6)\nscores",
             positions="positions = PositionEditor(study)\npositions", spans="editor = SpanEditor(study)\neditor")


@pytest.fixture(scope="module")
def notebook_of_all(browser, jupyter, tmp_path_factory):
    lab = Lab(browser.new_page(), jupyter)
    try:
        lab.open_notebook(notebook(tmp_path_factory.mktemp("editors") / "editors.ipynb", *CELLS.values()))
        lab.run_cell(0)
        yield lab
    finally: lab.close()


@pytest.fixture
def lab(notebook_of_all):
    lab = notebook_of_all
    yield lab
    lab.page.set_viewport_size({"width": 1500, "height": 1000})
    lab.dark(False)
    assert not lab.errors() and not lab.outside, f"the page asked for other machines: {lab.outside[:5]}"


def show(lab, name):
    "Run the cell of this name; how its living widget is found in the page."
    k = list(CELLS).index(name)
    lab.run_cell(k)
    assert not lab.errors()
    live = f".jp-Cell:nth-child({k + 1}) .probe-nb-alive "
    lab.page.wait_for_selector(live, timeout=60_000)
    lab.page.locator(live).first.scroll_into_view_if_needed()
    return live


def look(lab, live, name):
    "Pictures in the dark, and in a narrow window, where nothing may be wider than its place."
    lab.dark()
    lab.page.wait_for_selector("#jupyterlab-splash", state="detached")
    lab.picture(f"{name}_dark")
    lab.page.set_viewport_size({"width": 480, "height": 1000})
    lab.command("application:toggle-left-area")
    lab.page.locator(live).first.scroll_into_view_if_needed()
    lab.picture(f"{name}_narrow")
    wide = lab.page.locator(live).first.evaluate("e => e.scrollWidth - e.clientWidth")
    lab.command("application:toggle-left-area")
    assert wide <= 1, f"{wide} pixels too wide"


def drag(page, a, b, where):
    page.locator(where).first.scroll_into_view_if_needed()
    from_, to = (page.locator(where).nth(k).bounding_box() for k in (a, b))
    page.mouse.move(from_["x"] + 5, from_["y"] + from_["height"] - 8)
    page.mouse.down()
    page.mouse.move(to["x"] + 5, to["y"] + to["height"] - 8, steps=4)
    page.mouse.up()


def test_token_scores(lab):
    page, live = lab.page, show(lab, "scores")
    page.wait_for_selector(live + ".token", timeout=60_000)
    lab.wait_for_text("This token is such a place", live + ".probe-nb-status")
    lab.picture("scores_light")
    inks = f"document.querySelectorAll('{live}.token b')[1].style.backgroundColor"
    before = page.evaluate(inks)
    box = page.locator(live + "canvas").bounding_box()
    page.mouse.click(box["x"] + 5, box["y"] + 3)  # layer 0
    page.wait_for_function(f"{inks} !== {json.dumps(before)}")
    lab.wait_for_value("(scores.layer == scores._slider.options[0], scores.token)", "(True, 0)")
    lab.wait_for_text("it is a transfer", live + ".probe-nb-status")
    page.locator(live + "[role=slider]").focus()  # the slider's keys
    page.keyboard.press("ArrowRight")
    lab.wait_for_value("scores.layer == scores._slider.options[1]", "True")
    page.wait_for_function(f"document.querySelector('{live}.probe-nb-layers .row').style.top !== '0%'")
    page.locator(live + ".token").first.focus()
    page.keyboard.press("ArrowRight")
    lab.wait_for_value("scores.token", "1")
    lab.value("setattr(scores, 'layer', pmap.best_layer)")
    field = page.locator(live).get_by_placeholder("type a question")
    field.fill("Where was <img src=x onerror=alert(1)> born?")
    page.evaluate("""live => { window.lengths = new Set(); window.asked = performance.now(); window.first = 0;
        new MutationObserver(() => { window.lengths.add(document.querySelectorAll(live + '.token').length);
            window.first = window.first || performance.now() - window.asked })
            .observe(document.querySelector(live + '.tokens'), {childList: true}) }""", live)
    slow = "scores.lm.model.register_forward_pre_hook(lambda *_: __import__('time').sleep(.1))"
    # slow as a larger model is: this one may say all before the page draws once
    assert lab.value(f"setattr(scores, 'slow', {slow})") == "None"
    field.press("Tab")
    page.keyboard.press("Enter")  # the button that Tab has come to
    page.wait_for_function(f"document.querySelector('{live}select[size]')?.options.length > 0", timeout=60_000)
    print("first token of an asked answer, ms:", round(page.evaluate("first")), "lengths seen:", page.evaluate("[...lengths]"))
    assert page.evaluate("lengths.size") > 2, "it came token by token"
    assert page.locator(live + "img").count() == 0
    lab.value("scores.slow.remove()")
    assert "greedy" in page.locator(live + "select[size]").inner_text()
    lab.picture("scores_asked")
    page.locator(live + "select[size]").select_option(index=0)
    lab.wait_for_text("chance", live + ".said")
    look(lab, live, "scores")
    assert lab.value("scores.error") == "''"


def test_position_editor(lab):
    page, live = lab.page, show(lab, "positions")
    lab.wait_for_text("exact_answer_last+1: ", live + ".probe-nb-status", 60)
    page.wait_for_function(f"document.querySelectorAll('{live}.probe-nb-preview .tokens').length === 10")
    page.locator(live + "input[type=number]").focus()  # by keys: one token further, then another kind
    page.keyboard.press("ArrowUp")
    lab.wait_for_text("exact_answer_last+2: ", live + ".probe-nb-status")
    page.locator(live + "select").first.focus()
    page.keyboard.press("t")
    lab.wait_for_value("positions.kind", "'pooled'")
    page.locator(live + "select").first.select_option("a regular expression")
    lab.wait_for_text("/[A-Z]", live + ".probe-nb-status")
    field = page.locator(live + "input[type=text]")
    field.fill("(")
    field.press("Tab")
    lab.wait_for_text("no regular expression", live + ".probe-nb-error")
    field.fill(r"(\w+)\.$")
    field.press("Tab")
    lab.wait_for_text(f"of {lab.value('len(positions.ans)')} answers have it", live)
    page.locator(live).get_by_role("button", name="add the column to the map").click()
    lab.wait_for_text("is in the map now", live + ".probe-nb-status", 180)
    assert lab.value("len(positions.columns), positions.pmap.sizes['position'] - pmap.sizes['position']") == "(1, 1)"
    told = page.locator(live + "tr", has_text=r"/(\w+)\.$/").inner_text()
    assert "AUC 0." in told and "answers" in told, "the last word before the full stop can be probed"
    lab.picture("positions_light")
    look(lab, live, "positions")


def test_two_maps_beside_each_other(lab):
    page, live = lab.page, show(lab, "beside")
    maps = page.locator(live + ".probe-nb-map")
    outline, cards = "path[aria-roledescription='rect mark'][stroke='#ff7f0e']", page.locator(live + ".probe-nb-facts h4")
    page.wait_for_function(f"document.querySelectorAll(\"{live}{outline}\").length === 3", timeout=120_000)
    lab.picture("beside_light")
    for k, (layer, token) in enumerate(((4, "last_q"), (5, "-1"), (4, "exact_answer_first"))):
        maps.nth(k).locator(f"path[aria-label^='Token: {token}; Layer: {layer};']:not([stroke='#ff7f0e'])").first.click()
        lab.wait_for_value("two.cell", f"({layer}, '{token}')")
        page.wait_for_function("([where, label]) => [...document.querySelectorAll(where)].every(o => o.ariaLabel === label)",
                               arg=[live + outline, f"Token: {token}; Layer: {layer}"])
        assert cards.all_inner_texts() == [f"Layer {layer} · {token}"] * 3, "one cell in all three"
    maps.nth(1).focus()
    page.keyboard.press("ArrowDown")
    lab.wait_for_value("two.cell", "(5, 'exact_answer_first')")
    gap = lab.value("f'{float(two.maps[0].auc.sel(dict(layer=two.cell[0], position=two.cell[1])) - two.maps[1].auc.sel("
                    "dict(layer=two.cell[0], position=two.cell[1]))):+.3f}'").strip("'").replace("-", "−")
    lab.wait_for_text(gap, live + ".probe-nb-facts")
    look(lab, live, "beside")


WATCH = """(where) => { window.took = []; let start = 0, was = '';
    document.addEventListener('pointerup', () => {
        start = performance.now(); was = document.querySelector(where).textContent }, true);
    new MutationObserver(() => { const now = document.querySelector(where).textContent;
        if (start && now !== was) { window.took.push(performance.now() - start); start = 0 } })
        .observe(document.querySelector(where), {subtree: true, childList: true, characterData: true}) }"""


def test_span_editor(lab):
    page, live = lab.page, show(lab, "spans")
    auc, status = live + ".probe-nb-auc", live + ".probe-nb-status"
    page.wait_for_selector(live + ".token", timeout=60_000)
    lab.wait_for_text("AUC 0.", auc)
    assert page.locator(auc + " .old").count() == 0 and "chance reaches 0." in page.locator(auc).inner_text()
    lab.picture("spans_light")
    page.evaluate(WATCH, auc)
    before = page.locator(auc).inner_text()
    for a, b in ((0, 2), (1, 1), (0, 1), (2, 2), (1, 2), (0, 0), (0, 2), (1, 1)):
        n = page.evaluate("took.length")
        drag(page, a, b, live + ".token")
        page.wait_for_function(f"took.length > {n}", timeout=20_000)
    took = sorted(page.evaluate("took"))
    print("span dropped to AUC redrawn, ms:", [round(t) for t in took])
    assert took[len(took) // 2] < 1500
    assert page.locator(auc).inner_text() != before and page.locator(f"{auc} svg circle").count() == 2
    assert lab.value("(study.path/'hand.jsonl').exists()") == "False", "a draft is not written"
    assert "of the map before the edits" in page.locator(auc + " span.old").inner_text(), "grey until it is recomputed"
    lab.picture("spans_dragged")
    page.keyboard.press("Enter")
    lab.wait_for_text("1 answer marked", status)
    line = json.loads(eval(lab.value("(study.path/'hand.jsonl').read_text()")))
    assert line["note"] == "span editor" and line["time"].startswith("20")
    assert line["exact"] == eval(lab.value("list(__import__('probe_nb.edits').edits.span_characters("
                                             "editor.lm, editor.row(), *editor.span))"))

    # the rest with keys alone
    page.locator(live + ".token").first.focus()
    press = page.keyboard.press
    press("w")  # one key says wrong
    lab.wait_for_text("judged wrong by hand", status)
    press("n")
    lab.wait_for_value("bool(editor.example == editor.ans.example.iloc[1])", "True")
    lab.value("setattr(editor, 'example', int(editor.ans.example[editor.ans.span_start > 2].iloc[1]))")
    page.wait_for_selector(live + ".token.found")
    press("Home")
    press("Shift+ArrowRight")
    lab.wait_for_value("editor.span", "(0, 2)")
    press("r")
    lab.wait_for_value("editor.span == editor._found()", "True")
    press("x")
    lab.wait_for_value("editor.span", "(0, 0)")
    lab.wait_for_text("draft: no exact answer", auc)
    press("r")
    lab.wait_for_value("editor.span == editor._found()", "True")
    press("s")
    lab.wait_for_text("No other answer has a doubtful span", status)
    press("Tab")  # out of the strip, over the buttons, and back
    assert page.evaluate("document.activeElement.tagName") == "BUTTON"
    press("Shift+Tab")
    assert page.evaluate("document.activeElement.className").startswith("token")
    page.locator(live + "select").focus()
    press("End")  # the last of the lists
    lab.wait_for_value("(editor.queue, editor.example == editor._list[0])", "('disagree', True)")
    lab.wait_for_text("1 of ", status)
    lab.picture("spans_queue")

    lab.value("setattr(editor, 'error', '<img src=x onerror=alert(1)>')")
    lab.wait_for_text("onerror=alert(1)", live + ".probe-nb-error")
    assert page.locator(live + "img").count() == 0
    look(lab, live, "spans")
    stored = lab.saved()
    assert "widgets" not in stored["metadata"] and "probe-nb-still" in stored["cells"][-1]["outputs"][0]["data"]["text/html"][0]
    if not STUDY:
        page.locator(live).get_by_role("button", name="recompute the map").click()
        lab.wait_for_text("with an unsure span", status, 180)
        told = "(editor.mapped, editor.before == editor.after, int((study.answers().span_method == 'hand').sum()))"
        assert lab.value(told) == "(1, True, 1)"
        lab.wait_for_value("editor._quick.thread.is_alive()", "False")
        assert page.locator(auc + " .old").count() == 0, "the new map's interval is not grey"
