"""Strips without a browser: what a token looks like, its colour, its span, and the picture that stays."""
import base64
import struct
import threading
import time
import unicodedata
import zlib

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from probe_nb import strips
from probe_nb.live import Lane
from probe_nb.strips import LayerStrip, Strip, ink, shades, visible

HOSTILE = "<img src=x onerror=alert(1)>"


@given(st.text(max_size=60))
@example("a\u202eb\u200b\ufeff\x00\x1b\ue000\U000e0001")
@example("\u0300\u0301")
def test_nothing_that_hides_or_turns_is_shown(text):
    shown = visible(text)
    kept = {"\u200d", *map(chr, range(0xe0020, 0xe0080))}  # inside emoji only
    hidden = [c for c in shown if unicodedata.category(c)[0] in "CZ" and c not in kept]
    assert shown and not hidden
    assert unicodedata.category(shown[0])[0] != "M", "an accent has something to sit on"


def test_emoji_stay_whole_and_joiners_elsewhere_are_shown():
    family, wales = "👩\u200d👩\u200d👧\u200d👦", "🏴\U000e0067\U000e0062\U000e007f"
    assert visible(family) == family and visible(wales) == wales and visible("❤️\u200d🔥") == "❤️\u200d🔥"
    assert visible("a\u200db") == "a\\u200db" and visible("a\U000e0067") == "a\\U000e0067" and visible("\u200d") == "\\u200d"
    assert visible("z" * 10_000).count("z") < 90 and "…" in visible("z" * 10_000)


def test_colours_have_their_ends_their_middle_and_an_ink_that_can_be_read():
    assert shades([0, 1]).tolist() == [[103, 0, 31], [5, 48, 97]] and shades(.5).tolist() == [247] * 3
    assert shades([-9, 9]).tolist() == shades([0, 1]).tolist(), "beyond the ends the ends' colours stay"

    def light(c):
        c = np.asarray(c) / 255
        return np.where(c <= .04045, c / 12.92, ((c + .055) / 1.055) ** 2.4) @ [.2126, .7152, .0722]
    for scheme in ("redblue", "blues"):
        for colour in shades(np.linspace(0, 1, 101), scheme=scheme):
            a, b = sorted((light(colour), light([0, 0, 0] if ink(colour) == "#000" else [255] * 3)))
            assert (b + .05) / (a + .05) >= 4.5, (scheme, colour)


def test_a_span_is_within_the_tokens_or_none():
    strip = Strip(["a", "b", "c"])
    for asked, got in (((1, 2), (1, 2)), ((-4, 9), (0, 3)), ((2, 2), (0, 0)), ((2, 1), (0, 0)), ((7, 9), (0, 0))):
        strip.span = asked
        assert strip.span == got
    strip.set_state({"span": [1, 3], "cursor": 2})  # as the browser tells it
    assert strip.span == (1, 3)
    strip.put(["a"], found=(0, 9))
    assert strip.span == (0, 0) and strip.cursor == 0 and strip.found == (0, 1)


def test_one_gesture_is_heard_once_and_keys_are_told():
    heard, pressed = [], []
    strip = Strip(["a", "b", "c"], pressed=pressed.append, hotkeys=["c"])
    strip.observe(lambda change: heard.append(change.new), "span")
    strip.set_state({"span": [0, 2], "cursor": 1})
    for key in ("c", "x"): strip._handle_custom_msg({"key": key}, [])
    assert heard == [(0, 2)] and pressed == ["c"]


def test_labels_and_values_belong_to_tokens():
    strip = Strip(["a", "b"], values=[np.nan, 1.], marks=["", HOSTILE], tips={0: "x"})
    assert strip.colours == ["", "#053061"] and strip.inks == ["", "#fff"]
    with pytest.raises(ValueError, match="3 values for 2 tokens"): strip.paint([1, 2, 3])
    with pytest.raises(ValueError, match="1 labels for 2 tokens"): strip.put(["a", "b"], marks=["x"])


def test_what_is_saved_is_a_picture_and_an_empty_place_for_the_widget(monkeypatch):
    strip = Strip([HOSTILE, " b", "\n"], values=[0, 1, .5], marks={0: HOSTILE}, tips=[HOSTILE] * 3, about=HOSTILE, span=(0, 2))
    told = []
    monkeypatch.setattr(strips, "display", lambda data, **_: told.append(data))
    strip._ipython_display_()
    still, view = told
    assert "<img" not in still["text/html"] and "&lt;img" in still["text/html"] and "#053061" in still["text/html"]
    assert view["application/vnd.jupyter.widget-view+json"]["model_id"] == strip.model_id and view["text/html"] == ""
    many = Strip(["x"] * 2000).still()
    assert many.count("<span") == 600 and "…" in many and len(many) < 100_000


def test_a_picture_that_came_too_early_is_taken_anew(monkeypatch):
    "A notebook that is run from top to bottom shows widgets whose work is not done."
    told, gate, strip = [], threading.Event(), Strip(["early"])

    class Shown:
        def update(self, data, raw): told.append(data["text/html"])
    monkeypatch.setattr(strips, "display", lambda data, **_: Shown())
    lane = Lane(lambda *_: None)
    def work(progress):
        gate.wait(10)
        strip.put(["late"])
    lane.start(work, lambda _: None, print, lambda stopped: None)
    strips.show_alive(strip, strip.still, lambda: "words", lane)
    assert told == []
    gate.set()
    lane.wait(10)
    for _ in range(200):
        if told: break
        time.sleep(.01)
    strips.show_alive(strip, strip.still, lambda: "words", lane)  # nothing runs: nothing to take anew
    assert len(told) == 1 and "late" in told[0] and "early" not in told[0]


def test_layers_are_a_png_that_holds_the_colours():
    strip, values = LayerStrip(), np.linspace(0, 1, 6).reshape(2, 3)
    assert strip.still() == ""
    strip.put(values)
    png = base64.b64decode(strip.still().split("base64,")[1].split('"')[0])
    size, at = struct.unpack(">II", png[16:24]), png.index(b"IDAT")
    rows = np.frombuffer(zlib.decompress(png[at + 4:]), np.uint8).reshape(2, 1 + 3 * 3)
    assert size == (3, 2) and rows[:, 1:].tolist() == shades(values).reshape(2, 9).tolist()
