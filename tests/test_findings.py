"""Pictures of tables: each row where it belongs, what is rare or missing told."""
import numpy as np
import pandas as pd
import pytest
import vl_convert as vlc
from test_charts import HOSTILE, a_map, hue

from probe_nb.findings import coverage_chart, error_chart, profiles, selection_chart, transfer_chart

COUNTS = pd.DataFrame(dict(dataset=["a", HOSTILE], outcome=["wrong", "correct"], n=[10, 20], found=[5, 20], high=[4, 20]))
PAIRS = pd.DataFrame([dict(train=a, test=b, auc=.9 if a == b else .3) for a in ("x", HOSTILE) for b in ("x", HOSTILE)])
ERRORS = pd.DataFrame(dict(share_correct=[0, 0, .5, 1], distinct=[1, 1, 4, 1], kind=["same", "same", "many", HOSTILE]))
WAYS = pd.DataFrame([dict(method=m, kind=k, n=n, accuracy=.5) for m in ("greedy", "probe")
                     for k, n in ((HOSTILE, 100), ("rare", 29))])
MAPS = {"mlp_in": a_map(6), HOSTILE: a_map(4)}
CHARTS = {"coverage": lambda **k: coverage_chart(COUNTS, **k), "transfer": lambda **k: transfer_chart(PAIRS, **k),
          "errors": lambda **k: error_chart(ERRORS, **k), "selection": lambda **k: selection_chart(WAYS, **k),
          "profiles": lambda **k: profiles(MAPS, position="-1", **k)}


@pytest.mark.parametrize("chart", CHARTS.values(), ids=CHARTS)
def test_each_is_drawn_in_both_themes_and_hostile_names_are_text(chart):
    for theme in ("light", "dark"):
        drawing = vlc.vegalite_to_svg(chart(theme=theme).to_dict(), vl_version="6.4")
        assert "<img" not in drawing and "&lt;img" in drawing and drawing.count("aria-roledescription") > 4
    bundle, about = chart()._repr_mimebundle_()
    assert bundle["image/png"].startswith(b"\x89PNG") and about["image/png"]["alt"]


def test_coverage_parts_add_up():
    for counts in (COUNTS, COUNTS.set_index(["dataset", "outcome"])):
        data = coverage_chart(counts).data
        assert np.allclose(data.groupby("row").share.sum(), 1)
        assert data.set_index(["row", "part"]).share["a · wrong (10)"].to_dict() == {
            "found": .4, "found, less surely": .1, "not found": .5}


def test_transfer_is_signed():
    spec = transfer_chart(PAIRS).to_dict()
    scale = spec["layer"][0]["encoding"]["color"]["scale"]
    middle = scale["domain"].index(.5)
    assert scale["domain"][0] == 0 and scale["domain"][-1] == 1
    assert hue(scale["range"][middle]) == "white" and hue(scale["range"][0]) == "orange" and hue(scale["range"][-1]) == "blue"
    assert spec["width"] == spec["height"]
    with pytest.raises(ValueError, match="twice"): transfer_chart(pd.concat([PAIRS, PAIRS]))


def test_questions_that_fall_together_are_one_point():
    data = error_chart(ERRORS).data
    assert data.questions.sum() == 4 and data.questions.max() == 2 and len(data) == 3


def test_rare_kinds_are_marked():
    chart = selection_chart(WAYS)
    assert chart.data.set_index("kind").pale.groupby("kind").first().to_dict() == {HOSTILE: 0, "rare": 1}
    assert "rare (29) *" in set(chart.data.row) and chart.to_dict()["title"]["subtitle"] == ["* fewer than 30 questions"]
    assert chart.data.low.lt(.5).all() and chart.data.high.gt(.5).all()
    given = selection_chart(WAYS.assign(low=.1, high=.6))
    assert given.data.low.eq(.1).all(), "intervals that are given are kept"


def test_profiles_share_their_axes():
    views = profiles(MAPS, position="-1", depth=True).concat
    heights = [line["encoding"]["y"] for v in views for line in v.to_dict()["layer"]]
    scales = {str(y["scale"]) for y in heights if "scale" in y}
    assert len(views) == 2 and len(scales) == 1
    with pytest.raises(ValueError, match="depth"): profiles(MAPS, layer=1, depth=True)


@pytest.mark.parametrize("chart", [coverage_chart, transfer_chart, error_chart, selection_chart])
def test_tables_that_lack_something_are_refused_in_a_sentence(chart):
    for bad in (None, pd.DataFrame(), pd.DataFrame(dict(other=[1]))):
        with pytest.raises((ValueError, TypeError)) as e: chart(bad)
        assert "\n" not in str(e.value)


def test_all_kinds_that_error_types_gives_are_drawn_and_told_apart():
    from probe_nb.samples import KINDS as NAMED
    kinds = [*NAMED, "none", "too few samples"]
    types = pd.DataFrame(dict(share_correct=.5, distinct=range(len(kinds)), kind=kinds[::-1]))
    types.attrs["names"] = list(NAMED)
    chart = error_chart(types)
    look = chart.to_dict()["layer"][0]["encoding"]
    each = list(zip(*(look[k]["scale"]["range"] for k in ("stroke", "fill", "shape"))))
    assert len(each) == len(set(each)) == len(kinds) == len(look["stroke"]["scale"]["domain"])
    assert look["stroke"]["scale"]["domain"][:8] == [f"{k} (1)" for k in NAMED], "in the kinds' own order"
    svg = vlc.vegalite_to_svg(chart.to_dict(), vl_version="6.4")
    assert all(f">{k} (1)<" in svg for k in kinds) and svg.count('aria-roledescription="point"') == len(kinds)


def test_all_ways_of_choosing_are_drawn_and_told_apart():
    ways = "greedy random majority logprob logprob_mean probe oracle".split()
    table = pd.DataFrame(dict(method=ways, kind="All", n=100, accuracy=.5))
    look = selection_chart(table).to_dict()["layer"][0]["encoding"]
    assert len(set(zip(look["stroke"]["scale"]["range"], look["fill"]["scale"]["range"]))) == len(ways)


def test_too_many_kinds_are_refused():
    many = pd.DataFrame(dict(share_correct=0., distinct=1, kind=list("abcdefghijklm")))
    with pytest.raises(ValueError, match="13 kinds; only 12"): error_chart(many)


def test_names_that_javascript_has_too_can_be_drawn():
    m = a_map(tokens=("toString", "constructor", ""), missing=())
    for chart in (profiles(dict(toString=m, b=m), layer=1), profiles(dict(a=m), position="toString")):
        assert ">0" in vlc.vegalite_to_svg(chart.to_dict(), vl_version="6.4"), "a drawing, with its axis"
