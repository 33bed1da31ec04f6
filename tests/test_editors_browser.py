"""The editors in a real JupyterLab: what is dragged, pressed and typed, and what comes of it."""
import json
import os

import pytest
from browser import notebook

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]
STUDY = os.environ.get("PROBE_NB_STUDY", "runs/demo")  # a study that is there already, to measure with


def drag(page, a, b, where=".probe-nb-alive .token"):
    page.locator(where).first.scroll_into_view_if_needed()
    from_, to = (page.locator(where).nth(k).bounding_box() for k in (a, b))
    page.mouse.move(from_["x"] + 5, from_["y"] + from_["height"] - 8)
    page.mouse.down()
    page.mouse.move(to["x"] + 5, to["y"] + to["height"] - 8, steps=4)
    page.mouse.up()


WATCH = """(where) => { window.took = []; let start = 0, was = '';
    document.addEventListener('pointerup', () => {
        start = performance.now(); was = document.querySelector(where).textContent }, true);
    new MutationObserver(() => { const now = document.querySelector(where).textContent;
        if (start && now !== was) { window.took.push(performance.now() - start); start = 0 } })
        .observe(document.querySelector(where), {subtree: true, childList: true, characterData: true}) }"""

SPANS = f"""from probe_nb.study import Study
from probe_nb.span_editor import SpanEditor
study = Study({STUDY!r}, progress=False, **({{}} if {STUDY!r} != "runs/demo" else dict(n=240)))
pmap = study.map()
editor = SpanEditor(study)
editor"""


def test_span_editor(lab, tmp_path):
    lab.open_notebook(notebook(tmp_path / "spans.ipynb", SPANS))
    lab.run_all()
    assert not lab.errors()
    page, auc = lab.page, ".probe-nb-alive .probe-nb-auc"
    page.wait_for_selector(".probe-nb-alive .token", timeout=60_000)
    lab.wait_for_text("AUC 0.", auc)
    lab.picture("spans_light")
    page.evaluate(WATCH, auc)
    before = page.locator(auc).inner_text()
    for a, b in ((0, 2), (1, 1), (0, 1), (2, 2), (1, 2), (0, 0), (0, 2), (1, 1)):
        n = page.evaluate("took.length")
        drag(page, a, b)
        page.wait_for_function(f"took.length > {n}", timeout=20_000)
    took = sorted(page.evaluate("took"))
    print("span dropped to AUC redrawn, ms:", [round(t) for t in took])
    assert took[len(took) // 2] < 1500
    assert page.locator(auc).inner_text() != before and page.locator(f"{auc} svg circle").count() == 2
    assert lab.value("(study.path/'hand.jsonl').exists()") == "False", "a draft is not written"
    lab.picture("spans_dragged")
    page.keyboard.press("Enter")
    lab.wait_for_text("1 answer marked", ".probe-nb-alive .probe-nb-status")
    line = json.loads(eval(lab.value("(study.path/'hand.jsonl').read_text()")))
    assert line["exact"] == eval(lab.value("list(editor.study.answers and __import__('probe_nb.edits').edits.span_characters("
                                             "editor.lm, editor.row(), *editor.span))"))
    page.locator(".probe-nb-alive .token").first.focus()
    page.keyboard.press("w")  # one key says wrong
    lab.wait_for_text("judged wrong by hand", ".probe-nb-alive .probe-nb-status")
    page.keyboard.press("n")
    assert lab.value("bool(editor.example == editor.ans.example.iloc[1])") == "True"
    page.locator(".probe-nb-alive select").select_option("probe and judge disagree")
    lab.wait_for_text("1 of ", ".probe-nb-alive .probe-nb-status")
    lab.picture("spans_queue")
    lab.value("setattr(editor, 'error', '<img src=x onerror=alert(1)>')")
    lab.wait_for_text("onerror=alert(1)", ".probe-nb-error")
    assert page.locator(".probe-nb-alive img").count() == 0
    lab.dark()
    page.wait_for_selector("#jupyterlab-splash", state="detached")
    lab.picture("spans_dark")
    page.set_viewport_size({"width": 480, "height": 1000})
    lab.command("application:toggle-left-area")
    page.locator(".probe-nb-alive").scroll_into_view_if_needed()
    lab.picture("spans_narrow")
    lab.command("application:toggle-left-area")
    page.set_viewport_size({"width": 1500, "height": 1000})
    lab.dark(False)
    stored = lab.saved()
    assert "widgets" not in stored["metadata"] and "probe-nb-still" in stored["cells"][0]["outputs"][0]["data"]["text/html"][0]
    if not os.environ.get("PROBE_NB_STUDY"):
        page.get_by_role("button", name="recompute the map").click()
        lab.wait_for_text("with an unsure span", ".probe-nb-alive .probe-nb-status", 180)
        told = "(editor.mapped, editor.before == editor.after, int((study.answers().span_method == 'hand').sum()))"
        assert lab.value(told) == "(1, True, 1)"


SCORES = f"""from probe_nb.study import Study
from probe_nb.token_scores import TokenScores
study = Study({STUDY!r}, progress=False, **({{}} if {STUDY!r} != "runs/demo" else dict(n=240)))
pmap = study.map()
scores = TokenScores(study, samples=6)
scores"""


def test_token_scores(lab, tmp_path):
    lab.open_notebook(notebook(tmp_path / "scores.ipynb", SCORES))
    lab.run_all()
    assert not lab.errors()
    page, live = lab.page, ".probe-nb-alive "
    page.wait_for_selector(live + ".token", timeout=60_000)
    lab.wait_for_text("This token is such a place", live + ".probe-nb-status")
    lab.picture("scores_light")
    inks = "document.querySelectorAll('.probe-nb-alive .token b')[1].style.backgroundColor"
    before = page.evaluate(inks)
    box = page.locator(live + "canvas").bounding_box()
    page.mouse.click(box["x"] + 5, box["y"] + 3)  # layer 0
    page.wait_for_function(f"{inks} !== {json.dumps(before)}")
    assert lab.value("(scores.layer, scores.token)") == "(0, 0)"
    lab.wait_for_text("it is a transfer", live + ".probe-nb-status")
    lab.value("setattr(scores, 'layer', pmap.best_layer)")
    page.get_by_placeholder("type a question").fill("Where was <img src=x onerror=alert(1)> born?")
    page.get_by_placeholder("type a question").press("Tab")
    page.evaluate("""() => { window.lengths = new Set(); window.asked = performance.now(); window.first = 0;
        new MutationObserver(() => { window.lengths.add(document.querySelectorAll('.probe-nb-alive .token').length);
            window.first = window.first || performance.now() - window.asked })
            .observe(document.querySelector('.probe-nb-alive .tokens'), {childList: true}) }""")
    slow = "scores.lm.model.register_forward_pre_hook(lambda *_: __import__('time').sleep(.1))"
    assert "Removable" in lab.value(slow)  # as a larger model is: this one may say all before the page draws once
    page.get_by_role("button", name="ask", exact=True).click()
    page.wait_for_function("document.querySelector('.probe-nb-alive select[size]')?.options.length > 0", timeout=60_000)
    print("first token of an asked answer, ms:", round(page.evaluate("first")), "lengths seen:", page.evaluate("[...lengths]"))
    assert page.evaluate("lengths.size") > 2, "it came token by token"
    assert page.locator(live + "img").count() == 0
    assert "greedy" in page.locator(live + "select[size]").inner_text()
    lab.picture("scores_asked")
    page.locator(live + "select[size]").select_option(index=0)
    lab.wait_for_text("chance", live + ".said")
    lab.dark()
    page.wait_for_selector("#jupyterlab-splash", state="detached")
    lab.picture("scores_dark")
    page.set_viewport_size({"width": 480, "height": 1000})
    lab.command("application:toggle-left-area")
    lab.picture("scores_narrow")
    lab.command("application:toggle-left-area")
    page.set_viewport_size({"width": 1500, "height": 1000})
    lab.dark(False)
    assert lab.value("scores.error") == "''"


POSITIONS = f"""from probe_nb.study import Study
from probe_nb.position_editor import PositionEditor
study = Study({STUDY!r}, progress=False, **({{}} if {STUDY!r} != "runs/demo" else dict(n=240)))
pmap = study.map()
editor = PositionEditor(study)
editor"""


def test_position_editor(lab, tmp_path):
    lab.open_notebook(notebook(tmp_path / "positions.ipynb", POSITIONS))
    lab.run_all()
    assert not lab.errors()
    page, live = lab.page, ".probe-nb-alive "
    lab.wait_for_text("exact_answer_last+1: ", live + ".probe-nb-status", 60)
    page.wait_for_function("document.querySelectorAll('.probe-nb-alive .probe-nb-preview .tokens').length === 10")
    page.locator(live + "select").first.select_option("a regular expression")
    lab.wait_for_text("/[A-Z]", live + ".probe-nb-status")
    field = page.locator(live + "input[type=text]")
    field.fill("(")
    field.press("Tab")
    lab.wait_for_text("no regular expression", live + ".probe-nb-error")
    field.fill(r"(?:was born in|it was) (\w+)")
    field.press("Tab")
    lab.wait_for_text("of 1792 answers have it" if "PROBE_NB_STUDY" in os.environ else "of 240 answers have it", live)
    page.get_by_role("button", name="add the column to the map").click()
    lab.wait_for_text("is in the map now", live + ".probe-nb-status", 180)
    assert lab.value("len(editor.columns), editor.pmap.sizes['position'] - pmap.sizes['position']") == "(1, 1)"
    lab.picture("positions_light")
    lab.dark()
    page.wait_for_selector("#jupyterlab-splash", state="detached")
    lab.picture("positions_dark")
    page.set_viewport_size({"width": 480, "height": 1000})
    lab.command("application:toggle-left-area")
    lab.picture("positions_narrow")
    lab.command("application:toggle-left-area")
    page.set_viewport_size({"width": 1500, "height": 1000})
    lab.dark(False)
