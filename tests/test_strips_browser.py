"""Strips in an empty page, with a stand-in for the kernel's half; and in a real JupyterLab."""
import json
from pathlib import Path

import pytest
from browser import PICTURES, notebook

from probe_nb.strips import LayerStrip, Strip

pytestmark = [pytest.mark.browser, pytest.mark.timeout(300)]

MODEL = """void (window.put = async (code, state, css) => {
    const heard = {}, model = {state, told: [], sent: [],
        get: name => model.state[name],
        set: (name, value) => { model.state[name] = value; (heard['change:' + name] || []).forEach(f => f()) },
        on: (name, f) => (heard[name] = heard[name] || []).push(f),
        off: (name, f) => heard[name] = heard[name].filter(g => g !== f),
        save_changes: () => model.told.push(structuredClone({span: state.span, cursor: state.cursor, picked: state.picked})),
        send: message => model.sent.push(message)};
    if (state.pixels) state.pixels = new DataView(Uint8Array.from(state.pixels).buffer);
    document.head.append(Object.assign(document.createElement('style'), {textContent: css}));
    const code_url = URL.createObjectURL(new Blob([code], {type: 'text/javascript'}));
    window.model = model; window.loud = 0; window.heard = heard;
    const el = document.body.appendChild(document.createElement('div')), start = performance.now();
    window.stop_it = (await import(code_url)).default.render({model, el});
    el.getBoundingClientRect();
    document.addEventListener('keydown', () => window.loud++);
    return performance.now() - start;
})"""


@pytest.fixture
def page(browser):
    page = browser.new_page()
    page.goto("about:blank")
    page.evaluate(MODEL)
    yield page
    page.close()


def put(page, widget):
    "Show a widget's browser half, in the state that Python made."
    names = ("span cursor found choose about hotkeys shown marks tips colours inks breaks" if isinstance(widget, Strip)
             else "picked shape about pixels").split()
    state = {n: list(v) if isinstance(v := getattr(widget, n), bytes) else v for n in names}
    return page.evaluate("([code, state, css]) => put(code, state, css)", [widget._esm, state, widget._css])


def middle(page, k):
    box = page.locator(".token").nth(k).bounding_box()
    return box["x"] + box["width"] / 2, box["y"] + box["height"] / 2


def drag(page, a, b):
    page.mouse.move(*middle(page, a))
    page.mouse.down()
    page.mouse.move(*middle(page, b), steps=5)
    page.mouse.up()


def told(page): return page.evaluate("model.told.at(-1).span")
def chosen(page): return page.locator(".token[aria-selected=true] b").all_inner_texts()


WORDS = ["The", " capital", " of", " France", " is", " Paris", ".", "\n", "Yes", "."]


def test_a_span_is_dragged_either_way_and_told_once(page):
    put(page, Strip(WORDS, about="exact answer"))
    drag(page, 3, 5)
    assert told(page) == [3, 6] and chosen(page) == ["·France", "·is", "·Paris"]
    assert "exact answer: tokens 3 to 5 of 10: ·France·is·Paris" in page.locator(".said").inner_text()
    drag(page, 5, 1)
    assert told(page) == [1, 6] and page.evaluate("model.told.length") == 2, "one gesture, one message"
    page.mouse.click(*middle(page, 8))
    assert told(page) == [8, 9]
    page.keyboard.down("Shift")
    page.mouse.click(*middle(page, 5))
    page.keyboard.up("Shift")
    assert told(page) == [5, 9], "a click with Shift stretches"
    page.evaluate("model.set('span', [0, 2])")
    assert page.locator(".token[aria-selected=true]").count() == 2, "what the kernel sets is shown"
    page.evaluate("stop_it()")
    assert page.evaluate("Object.values(heard).flat().length") == 0, "a view that is gone listens no more"


def test_everything_goes_with_the_keys_and_none_gets_out(page):
    put(page, Strip(WORDS, hotkeys=["c", "Enter"]))
    press = page.keyboard.press
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.dataset.k") == "0"
    for key in ("ArrowRight", "ArrowRight", "Shift+ArrowRight", "Shift+ArrowRight"): press(key)
    assert told(page) == [2, 5]
    for key in ("Shift+ArrowLeft",) * 4: press(key)
    assert told(page) == [0, 3], "over the anchor to the other side"
    press("End")
    press("Shift+Home")
    assert told(page) == [0, 10]
    press("Home")
    press("Shift+End")
    assert told(page) == [0, 10]
    press("Escape")
    assert told(page) == [0, 0] and "none" in page.locator(".said").inner_text()
    press("ArrowLeft")
    press(" ")
    assert told(page) == [8, 9], "Space takes the token that the arrows have come to"
    press("ArrowUp")
    assert page.evaluate("document.activeElement.getBoundingClientRect().top") < middle(page, 8)[1] - 10, "the row above"
    press("C")
    press("Enter")
    assert page.evaluate("model.sent") == [{"key": "c"}, {"key": "Enter"}]
    press("x")
    assert page.evaluate("loud") <= 1, "keys do not reach JupyterLab"  # Tab, before the strip had the focus
    page.evaluate("model.set('colours', model.get('shown').map(() => '#ff0000'))")
    assert page.evaluate("document.activeElement.dataset.k"), "other colours leave the focus where it is"
    page.evaluate("model.set('shown', ['new', 'tokens'])")
    page.wait_for_function("document.querySelectorAll('.token').length === 2")
    assert page.evaluate("document.activeElement.dataset.k") is not None, "other tokens take the focus over"


def test_hostile_tokens_are_text_and_legible(page):
    wild = ["<script>window.hit = 1</script>", "<img src=x onerror='window.hit = 2'>", "\u202eright",
            "zero\u200bwidth", "مرحبا", " שלום", "👩\u200d👩\u200d👧\u200d👦",
            "🏴\U000e0067\U000e0062\U000e0077\U000e006c\U000e0073\U000e007f", "e\u0301", "\u0301", "", "日本語",
            "z" * 10_000, "a" + "\u0300" * 400, "\n", "javascript:alert(1)", "';--\"", "\x00\x1b[31m"]
    put(page, Strip(wild, about="<b>x</b>", marks={0: "<img src=x onerror='window.hit = 3'>"}, tips={1: "\"><b>"}))
    assert page.evaluate("window.hit") is None and page.locator(".tokens img, .tokens script, .said b").count() == 0
    texts = page.locator(".token b").all_inner_texts()
    assert texts[0] == wild[0].replace(" ", "·") and texts[2:4] == ["\\u202eright", "zero\\u200bwidth"] and texts[6] == wild[6]
    boxes = page.locator(".token").evaluate_all("all => all.map(t => [t.offsetLeft, t.offsetTop, t.offsetWidth, t.offsetHeight])")
    assert all(w > 6 for _, _, w, _ in boxes) and max(w for _, _, w, _ in boxes) < 1400
    rows = {}
    for k, (x, y, _, _) in enumerate(boxes): rows.setdefault(y + boxes[k][3], []).append(x)
    assert all(xs == sorted(xs) for xs in rows.values()), "tokens stay in their order, whichever way their script runs"
    if PICTURES: page.screenshot(path=Path(PICTURES) / "strip_hostile.png")


def test_two_thousand_tokens(page):
    words = [f" word{k % 97}" + "\n" * (k % 40 == 39) for k in range(2000)]
    drawn = put(page, Strip(words, values=[k / 2000 for k in range(2000)]))
    took = page.evaluate("""() => {
        const list = document.querySelector('.tokens'), all = [...document.querySelectorAll('.token')];
        const fire = (kind, t) => { const b = t.getBoundingClientRect(), start = performance.now();
            const where = {bubbles: true, pointerId: 1, clientX: b.x + b.width / 2, clientY: b.y + b.height / 2};
            t.dispatchEvent(new PointerEvent(kind, where));
            list.getBoundingClientRect();
            return performance.now() - start };
        fire('pointerdown', all[3]);
        const moves = all.slice(4, 120).map(t => fire('pointermove', t));
        fire('pointerup', all[119]);
        const start = performance.now();
        model.set('span', [0, 2000]);
        return new Promise(done => setTimeout(() => { moves.sort((a, b) => a - b);
            done({drag: moves[58], worst: moves.at(-1), all: document.querySelectorAll('.token.in').length}) })) }""")
    print(f"2,000 tokens: drawn in {drawn:.0f} ms, a step of a drag {took['drag']:.2f} ms (longest {took['worst']:.2f})")
    assert took["all"] == 2000 and drawn < 3000 and took["drag"] < 50


def test_layers_are_picked(page):
    small = LayerStrip()
    small.put([[0, .5, 1], [1, .5, float("nan")]])
    put(page, small)
    box = page.locator("canvas").bounding_box()
    page.mouse.click(box["x"] + box["width"] * .9, box["y"] + box["height"] * .2)
    assert page.evaluate("model.told.at(-1).picked") == [0, 2]
    ink = page.evaluate("[...document.querySelector('canvas').getContext('2d').getImageData(0, 0, 3, 2).data]")
    assert ink[:4] == [103, 0, 31, 255] and ink[-4:] == [140, 140, 140, 255]


STRIP = """from probe_nb.strips import Strip
pressed = []
strip = Strip(["The", " capital", " of", " France", " is", " Paris", ".", "<img src=x onerror=alert(1)>"],
              values=[.5, .6, .5, .8, .5, .97, .1, .05], marks={5: "exact_answer_first"}, found=(5, 6),
              about="exact answer", pressed=pressed.append, hotkeys=["c"])
strip"""


def test_strip_in_jupyterlab(lab, tmp_path):
    lab.open_notebook(notebook(tmp_path / "strip.ipynb", STRIP, "strip"))
    lab.run_all()
    assert not lab.errors()
    page = lab.page
    page.wait_for_selector(".probe-nb-alive .token")
    lab.wait_for_text("exact answer: none", ".probe-nb-alive .said")
    assert page.locator(".probe-nb-still").first.is_visible() is False, "the picture is hidden while the strip lives"
    one = page.locator(".jp-Cell").nth(0).locator(".probe-nb-alive .token")
    a, b = (one.nth(k).bounding_box() for k in (3, 5))
    page.mouse.move(a["x"] + 5, a["y"] + 8)
    page.mouse.down()
    page.mouse.move(b["x"] + 5, b["y"] + 8, steps=4)
    page.mouse.up()
    page.keyboard.press("Shift+ArrowRight")
    page.keyboard.press("c")
    page.keyboard.press("d")
    page.keyboard.press("d")  # would delete the cell
    lab.wait_for_text("tokens 3 to 6", ".jp-Cell:nth-child(2) .said")  # both views of one strip show the same
    lab.wait_for_value("(strip.span, pressed)", "((3, 7), ['c'])")
    assert page.locator(".jp-Cell").count() == 2
    lab.picture("strip_light")
    lab.dark()
    page.wait_for_selector("#jupyterlab-splash", state="detached")
    lab.picture("strip_dark")
    lab.dark(False)

    lab.command("docmanager:save")
    stored = json.loads((lab.jupyter.root / lab.js("(app, w) => w.context.path")).read_text())
    assert "widgets" not in stored["metadata"]
    lab.js("(app, w) => w.sessionContext.session.kernel.restart()")  # the widgets are gone, their pictures stay
    page.reload()
    page.wait_for_selector(".probe-nb-still .token")
    page.wait_for_function("document.body.textContent.includes('model not found')", timeout=60_000)
    assert page.locator(".probe-nb-still").first.is_visible()
    lab.picture("strip_reopened")
    assert not any(e.is_visible() for e in page.get_by_text("Error displaying widget").all()), "no error is seen"
    assert page.locator(".probe-nb-still img").count() == 0
