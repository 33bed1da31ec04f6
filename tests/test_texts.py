"""An answer to read: every token once, in order, in a colour on which it can be read; nothing of it is markup."""
import re
from html import unescape

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from probe_nb.cells import _light, _rgb
from probe_nb.texts import _readable, score_text

texts = st.lists(st.text(max_size=12), min_size=1, max_size=12)


@given(texts)
def test_every_token_stands_there_once_in_order(parts):
    page = score_text(parts, list(np.linspace(-1, 1, len(parts))))._repr_html_()
    shown = [unescape(t) for t in re.findall(r"<s (?:[^>]*)>(.*?)</s>", page, re.S)]
    assert shown == [_readable(t) for t in parts]


@given(st.lists(st.floats(-50, 50), min_size=1, max_size=20))
def test_words_are_legible_on_every_colour(scores):
    page = score_text(["x"] * len(scores), scores)._repr_html_()
    pairs = re.findall(r"background:(#\w{6});color:(#\w{3})\b", page)
    assert len(pairs) == len(scores)
    for ground, ink in pairs:
        a, b = sorted([float(_light(_rgb(ground))), 1. if ink == "#fff" else 0.])
        assert (b + .05) / (a + .05) >= 4.5


@pytest.mark.parametrize("hostile", [
    "<img src=x onerror=alert(1)>", "</s></div><script>alert(1)</script>", '" onmouseover="alert(1)'])
def test_hostile_text_is_inert(hostile):
    page = score_text([hostile, hostile], [1, None], span=(0, 1), what=hostile, note=hostile)._repr_html_()
    assert "<img" not in page and "<script" not in page and 'onmouseover="' not in page


def test_what_cannot_be_seen_is_shown_as_its_code():
    page = score_text(["\u202eevil\u2066", "x" * 500, "👩\u200d👩", "שלום"], [0, 0, 0, 0])._repr_html_()
    assert "\\u202eevil\\u2066" in page and "x" * 500 in page and "👩\u200d👩" in page and "שלום" in page
    assert "overflow-wrap:anywhere" in page and 'dir="auto"' in page


def test_the_span_is_in_a_box_and_a_token_without_score_has_no_colour():
    text = score_text(["a", "b", "c", "d"], [1, 2, None, -2], span=(1, 3))
    page = text._repr_html_()
    box = re.search(r'<b title="exact answer">(.*?)</b>', page)[1]
    assert re.findall(r">(\w)</s>", box) == ["b", "c"] and '<s class="none" title="no score">c</s>' in box
    assert repr(text) == "a[bc]d"


def test_colours_part_at_the_centre():
    frame = pd.DataFrame(dict(text=["low", "mid", "high"], score=[.2, .5, .9]))
    ramp = score_text(frame, centre=.5).ramp
    assert np.allclose((ramp.stops[0], ramp.stops[-1]), (.1, .9)) and ramp.at(.5).tolist() == [247, 247, 247]
    red, _, blue = ramp.at(.2)
    assert red > blue, "below the centre is orange"


@pytest.mark.parametrize("bad", [dict(scores=[1.]), dict(span=(1, 1)), dict(span=(0, 3)), dict(span=(-1, 1))])
def test_what_does_not_fit_is_refused_in_a_sentence(bad):
    with pytest.raises(ValueError) as e: score_text(["a", "b"], **bad)
    assert "\n" not in str(e.value)
    with pytest.raises(ValueError, match="column 'text'"): score_text(pd.DataFrame(dict(token=["a"])))
