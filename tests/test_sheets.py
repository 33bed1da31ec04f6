"""Maps beside each other: aligned, on one scale, every difference told."""
import json
import re

import numpy as np
import pytest
import vl_convert as vlc
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from test_charts import a_map, drawn

from probe_nb.published import load_published
from probe_nb.sheets import _union, beside, difference, sheet

labels = st.lists(st.sampled_from("abcdefgh"), min_size=1, max_size=6, unique=True)


def views(chart): return [v.to_dict() for v in chart.concat]


@given(labels, labels)
def test_union_has_each_label_once_and_keeps_the_first_order(a, b):
    out = _union([a, b])
    assert sorted(out) == sorted(set(a) | set(b))
    assert [x for x in out if x in a] == a
    both = [x for x in a if x in b]
    if both == [x for x in b if x in a]: assert [x for x in out if x in b] == b, "and the second, where they agree"


def test_beside_aligns_rows_columns_and_colours():
    a, b = a_map(4, ("last_q", "x", "-1"), ()), a_map(6, ("last_q", "y", "-1"), ())
    one, two = views(beside(a, b))
    for axis in "xy":
        assert one["layer"][0]["encoding"][axis]["scale"] == two["layer"][0]["encoding"][axis]["scale"]
    assert one["layer"][0]["encoding"]["x"]["scale"]["domain"] == ["last_q", "y", "x", "-1"]
    assert one["layer"][0]["encoding"]["y"]["scale"]["domain"] == list(range(6))
    colours = [v["layer"][0]["encoding"]["color"] for v in (one, two)]
    assert colours[0]["scale"] == colours[1]["scale"] and colours[0]["legend"] is None and colours[1]["legend"]
    assert (one["width"], one["height"]) == (two["width"], two["height"])


def test_beside_says_what_a_map_does_not_have():
    first = beside(a_map(4, ("last_q", "x"), ()), a_map(6, ("last_q", "y"), ())).concat[0].data.set_index(["layer", "position"])
    assert first.why[0, "y"] == first.why[5, "last_q"] == "this map does not have it" and first.why[0, "x"] == ""
    assert first.right.dtype.kind == "i", "numbers of answers stay whole"


def test_scale_reaches_down_to_the_lowest_of_all():
    low, high = a_map(), a_map().map(lambda v: v if v.dtype == object else v.clip(min=.6))
    for chart in (beside(low, high), beside(high, low)):
        assert all(v["layer"][0]["encoding"]["color"]["scale"]["domain"][0] == .3 for v in views(chart))


def test_difference_is_cell_by_cell_and_centred():
    a, b = a_map(4, ("p", "q"), ()), a_map(4, ("q", "p", "r"), ())
    chart = difference(a, b)
    got = chart.data.set_index(["layer", "position"])
    for layer in range(4):
        for p in "pq":
            want = float(a.auc.sel(layer=layer, position=p) - b.auc.sel(layer=layer, position=p))
            assert got.value[layer, p] == pytest.approx(want, abs=1e-4)
    assert got.value.isna().sum() == 4 and got.why[0, "r"] == "this map does not have it"
    domain = chart.to_dict()["layer"][0]["encoding"]["color"]["scale"]["domain"]
    assert domain[0] == -domain[-1] and domain[len(domain) // 2] == 0
    assert difference(b, a).data.set_index(["layer", "position"]).value[1, "q"] == -got.value[1, "q"]


def test_difference_shows_an_interval_only_where_one_was_tested():
    assert "interval" not in difference(a_map(), a_map(4)).data
    dims, d = ("layer", "position"), np.linspace(-.2, .2, 6).reshape(3, 2)
    values = dict(diff=d, diff_low=d - .1, diff_high=d + .1, p_value=np.full((3, 2), .04))
    tested = xr.Dataset({k: (dims, v) for k, v in values.items()}, dict(layer=range(3), position=["a", "b"]))
    data = difference(tested).data
    assert data.interval[0] == "-0.300 to -0.100" and data.p.eq(.04).all()
    with pytest.raises(ValueError, match="two maps"): difference(a_map())


def test_the_nine_published_maps_fit_on_one_small_sheet():
    figures = "2a 2b 2c 6a 6b 6c 6d 6e 6f".split()
    maps = {m.attrs["dataset"]: m for m in (load_published(f"fig{f}") for f in figures)}
    chart = sheet(maps)
    bundle, _ = chart._repr_mimebundle_()
    assert set(bundle) == {"image/png", "text/plain"} and len(bundle["image/png"]) < 73_000
    assert len(bundle["image/png"]) + len(json.dumps(chart.to_dict())) < 400_000
    drawing = vlc.vegalite_to_svg(chart.to_dict(), vl_version="6.4")
    for name in maps: assert f">{name}<" in drawing
    names = re.findall(r'aria-label="([^"]*)" role="graphics-symbol" aria-roledescription="rect mark"', drawing)
    assert len(names) == 9 * 32 * 15 and sum("missing" in n for n in names) == 3 * 32, "IMDB has three columns fewer"


def test_published_values_are_drawn_as_they_are():
    m = load_published("fig2a")
    from probe_nb.charts import heatmap
    shown = [float(re.search(r"AUC: ([\d.]+)", n)[1]) for n in drawn(heatmap(m))]
    assert np.allclose(shown, m.auc.values.ravel(), atol=1e-4)


@pytest.mark.parametrize("bad", [lambda: sheet({}), lambda: beside(), lambda: beside(a_map(), titles=["a", "b"]),
                                 lambda: sheet([None])])
def test_what_cannot_be_drawn_is_refused_in_a_sentence(bad):
    with pytest.raises((ValueError, TypeError)) as e: bad()
    assert "\n" not in str(e.value)


def test_difference_of_figures_has_a_short_title_and_knows_what_it_does_not_know():
    a, b = load_published("fig2a"), load_published("fig2b")
    chart = difference(a, b)
    assert chart.to_dict()["title"]["text"] == "Figure 2a less Figure 2b"
    both = ((a.auc <= .5) & (b.auc <= .5)).values.ravel()
    assert both.any() and chart.data.value.isna().to_numpy().tolist() == both.tolist()
    assert chart.data.why[both].str.contains("how far apart is not known").all()
    assert difference(a, a.assign_attrs(title="again")).to_dict()["title"]["text"] == "Figure 2a, first less Figure 2a, second"


def test_difference_with_a_clipped_map_is_known_where_ours_is_higher():
    theirs = a_map(1, ("p", "q", "r"), (), clipped_at=.5).assign(auc=(("layer", "position"), [[.5, .5, .7]]))
    ours = a_map(1, ("p", "q", "r"), ()).assign(auc=(("layer", "position"), [[.45, .6, .4]]))
    for value, sign in ((difference(ours, theirs).data.value, 1), (difference(theirs, ours).data.value, -1)):
        assert np.isnan(value[0]) and value[1:].tolist() == pytest.approx([sign * .1, sign * -.3])
    accuracy = difference(theirs, theirs, metric="accuracy").data.value
    assert (accuracy == 0).all(), "only the AUC is printed"


@pytest.mark.parametrize("n,columns", [(7, 4), (4, 3), (3, 4), (6, 3), (1, 3)])
def test_a_sheet_that_is_not_full_stays_regular(n, columns):
    "Columns at even distances; labels only under the lowest map of each; the bar right of all."
    tokens = ("last_q", "-1")
    spec = sheet({str(k): a_map(3, tokens, ()) for k in range(n)}, columns=columns, cell=(40, 20)).to_dict()
    svg = vlc.vegalite_to_svg(spec, vl_version="6.4")
    wide, rows = min(n, columns), -(-n // columns)
    assert svg.count(">last_q<") == wide
    bars = [k for k, v in enumerate(spec["concat"]) if v["layer"][0].get("encoding", {}).get("color", {}).get("legend")]
    assert len(bars) == 1 and bars[0] % columns == wide - 1
    placed = r'transform="translate\(([\d.]+),([\d.]+)\)"><path class="background" aria-hidden="true" d="M0,0h80v'
    at = [tuple(map(float, p)) for p in re.findall(placed, svg)]
    across = sorted({x for x, _ in at})
    assert len(across) == wide and len({y for _, y in at}) == rows
    gaps = np.diff(across)
    if wide > 2: assert gaps[1:].max() - gaps[1:].min() < 1.5, "the first column has the layers' numbers"
