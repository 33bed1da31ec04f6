"""The picture of a map: axes, colours, missing cells, what stands under the pointer, and what it leaves behind."""
import base64
import json
import re
import struct
import zlib
from html import unescape

import altair as alt
import numpy as np
import pandas as pd
import pytest
import vl_convert as vlc
import xarray as xr

from probe_nb.charts import Picture, cell_table, heatmap, profile, roc_chart, score_histogram

V5 = "application/vnd.vegalite.v5+json"
WHY = "12 answers, 0 wrong: at least 10 of each kind are needed"
HOSTILE = "<img src=x onerror=alert(1)>"


def a_map(layers=6, tokens=("last_q", "exact_answer_last", "-2", "-10", "-1"), missing=((2, 1),), **attrs):
    "A map as probe_map gives it; AUC from 0.3 to 0.99, row by row."
    shape, dims = (layers, len(tokens)), ("layer", "position")
    auc = np.linspace(.3, .99, layers * len(tokens)).reshape(shape)
    reason, n, wrong = np.full(shape, "", object), np.full(shape, 100), np.full(shape, 30)
    for cell in missing: auc[cell], reason[cell], n[cell], wrong[cell] = np.nan, WHY, 12, 0
    variables = dict(auc=auc, auc_low=auc - .05, auc_high=auc + .05, accuracy=auc, reason=reason, n=n, n_wrong=wrong)
    return xr.Dataset({k: (dims, v) for k, v in variables.items()}, dict(layer=range(layers), position=list(tokens)), attrs)


def marks(chart, kind):
    return [layer for layer in chart.to_dict()["layer"] if layer["mark"]["type"] == kind]


def drawn(chart):
    "Vega's own reading of the chart: the accessible name of each rectangle, in drawing order."
    svg = vlc.vegalite_to_svg(chart.to_dict(), vl_version="6.4")
    return re.findall(r'aria-label="(Token: [^"]*)" role="graphics-symbol" aria-roledescription="rect mark"', svg)


# The published look

def test_axes_are_the_papers():
    tokens = ["last_q", "z", "-2", "a", "-10", "-1"]
    x, y = (marks(heatmap(a_map(32, tokens, ())), "rect")[0]["encoding"][k] for k in "xy")
    assert (x["title"], x["type"], x["scale"]["domain"]) == ("Token", "nominal", tokens), "across, in the map's order"
    assert (y["title"], y["type"], y["scale"]["domain"]) == ("Layer", "ordinal", list(range(32))), "layers downwards from 0"
    assert y["axis"]["values"] == list(range(0, 32, 2)), "even ticks"


def test_ticks_when_layers_are_chosen():
    axis = lambda m: marks(heatmap(m), "rect")[0]["encoding"]["y"]["axis"]["values"]
    assert axis(a_map(9).sel(layer=[3, 4, 7, 8])) == [4, 8]
    assert axis(a_map(9).sel(layer=[1, 3, 7])) == [1, 3, 7], "no even layer: each has its tick"


@pytest.mark.parametrize("metric", ["auc", "auc_low", "auc_high", "accuracy"])
def test_colours_are_fixed(metric):
    high = a_map().map(lambda v: v if v.dtype == object else v.clip(min=.6))
    colour = marks(heatmap(high, metric), "rect")[0]["encoding"]["color"]
    assert colour["scale"]["domain"] == np.linspace(.5, 1, 9).tolist() and colour["scale"]["clamp"], "even steps from 0.5 to 1"
    assert colour["scale"]["range"][0] == "#f7fbff" and colour["scale"]["range"][-1] == "#08306b", "ColorBrewer's Blues"
    assert colour["legend"]["orient"] == "right" and colour["title"].startswith(("AUC", "accuracy"))


def test_counts_fill_their_range_and_a_domain_can_be_asked_for():
    scale = lambda *a, **k: marks(heatmap(a_map(), *a, **k), "rect")[0]["encoding"]["color"]["scale"]
    ends = lambda *a, **k: (d := scale(*a, **k)["domain"])[0::len(d) - 1]
    assert ends("n") == [12, 100] and ends("n_wrong") == [0, 30]
    assert ends(domain=(0, 1)) == [0, 1] and scale(scheme="viridis")["scheme"] == "viridis"
    assert ends("n", domain=(50, 50)) == [50, 51], "a domain of one point cannot be drawn"


def test_a_count_that_is_everywhere_the_same_is_drawn_from_nothing_in_whole_numbers():
    chart = heatmap(a_map(missing=()), "n")
    colour = marks(chart, "rect")[0]["encoding"]["color"]
    assert (colour["scale"]["domain"][0], colour["scale"]["domain"][-1]) == (0, 100)
    svg = vlc.vegalite_to_svg(chart.to_dict(), vl_version="6.4")
    assert ">100<" in svg and ">100.0<" not in svg
    drawn_as = lambda v: marks(heatmap(a_map(missing=()).assign(v=lambda m: m.auc * 0 + v), "v"), "rect")[0]["encoding"]
    domain = lambda v: drawn_as(v)["color"]["scale"]["domain"]
    assert [(d[0], d[-1]) for d in map(domain, (1e-3, -2., 0.))] == [(0, 1e-3), (-2, 0), (0, 1)]


@pytest.mark.parametrize("domain", [(.8, .2), (.5, np.nan), (-np.inf, 1.)])
def test_a_domain_that_does_not_rise_is_refused(domain):
    for scheme in ("blues", "diverging", "viridis"):
        with pytest.raises(ValueError, match="does not rise"): heatmap(a_map(), domain=domain, scheme=scheme)


def test_below_chance_is_said_below_chance():
    assert any("AUC: 0.3;" in name for name in drawn(heatmap(a_map())))
    assert cell_table(a_map()).value.min() == .3


# Each cell

def test_every_cell_is_drawn_once_with_its_numbers():
    chart = heatmap(a_map(missing=()))
    names = drawn(chart)
    assert len(names) == len(set(names)) == 30
    assert names[0].startswith("Token: last_q; Layer: 0; AUC: 0.3;") and "right answers: 70; wrong answers: 30" in names[0]
    for name in names: # whom the score points to, in words, by the interval
        low, high = map(float, re.search(r"interval: ([\d.]+) to ([\d.]+)", name).groups())
        assert f"point to: {'right' if low > .5 else 'wrong' if high < .5 else 'neither'}" in name
    tips = {t["field"]: t for t in marks(chart, "rect")[0]["encoding"]["tooltip"]}
    assert list(tips) == ["layer", "position", "value", "right", "wrong", "interval", "points"]
    assert tips["value"]["format"] == ".3f"
    assert cell_table(a_map()).interval[0] == "0.250 to 0.350"


def test_what_lies_on_a_cell_says_the_same_under_the_pointer():
    chart = heatmap(full(), values=True)
    tips = [[t["field"] for t in m["encoding"]["tooltip"]] for m in
            (marks(chart, "rect")[0], marks(chart, "text")[0], *(p for p in marks(chart, "point") if p["mark"].get("size") == 7))]
    assert len(tips) == 3 and tips[0] == tips[1] == tips[2]


def test_a_target_of_ones_own_is_named_under_the_pointer():
    name = 'say "no"' + HOSTILE
    seen = unescape(drawn(heatmap(a_map(missing=(), target=name)))[0])
    assert f"; {name}: 70; not {name}: 30;" in seen and f"point to: not {name}" in seen and "right" not in seen


def test_missing_cells_are_grey_struck_through_and_say_why():
    chart = heatmap(a_map(missing=((2, 1), (0, 0))))
    present, missing = marks(chart, "rect")
    assert len(marks(chart, "point")) == 1 and marks(chart, "point")[0]["mark"]["shape"].count("M") > 4, "hatching"
    assert present["transform"] == [{"filter": "isValid(datum.value)"}]
    assert missing["transform"] == [{"filter": "!isValid(datum.value)"}]
    assert missing["mark"]["color"] == "#dcdcdc" and "color" not in missing["encoding"]
    assert [n for n in drawn(chart) if "missing" in n] == [
        f"Token: {p}; Layer: {n}; missing: {WHY}" for n, p in ((0, "last_q"), (2, "exact_answer_last"))]
    assert len(marks(heatmap(a_map(missing=())), "rect")) == 1, "nothing missing, nothing grey"


def test_map_with_nothing_in_it_is_drawn_grey():
    m = a_map()
    m["auc"][:] = np.nan
    assert all("missing: " in n for n in drawn(heatmap(m))) and len(drawn(heatmap(m))) == 30


def test_infinite_values_are_missing():
    m = a_map(missing=())
    m["auc"][1, 1] = np.inf
    assert sum("missing: not computed" in n for n in drawn(heatmap(m))) == 1


def test_map_with_auc_alone_and_turned_round():
    m = a_map(missing=())[["auc"]].transpose("position", "layer")
    assert drawn(heatmap(m))[1] == "Token: exact_answer_last; Layer: 0; AUC: 0.3238"
    assert list(cell_table(m)) == ["cell", "layer", "position", "value"]


def test_other_readings_of_the_grid_are_drawn():
    m = a_map(missing=()).assign(norm=lambda m: m.auc * 1e-4)
    assert marks(heatmap(m, "norm"), "rect")[0]["encoding"]["color"]["title"] == "norm"
    assert drawn(heatmap(m, "norm"))


def test_width_is_kept_to_whole_pixels_a_cell():
    spec = heatmap(a_map(7), width=303, height=100).to_dict()
    assert (spec["width"], spec["height"]) == (300, 98)


def test_a_title_wider_than_the_picture_is_set_in_lines():
    chart = heatmap(a_map(), title="one model with a long name, and a site less another model with a long name, and a site")
    lines = chart.to_dict()["title"]["text"]
    svg = vlc.vegalite_to_svg(chart.to_dict(), vl_version="6.4")
    assert len(lines) > 1 and all(f">{line}<" in svg for line in lines), "nothing is cut"
    assert float(re.search(r'width="([\d.]+)"', svg)[1]) < 300
    lens = heatmap(a_map(what=" ".join(["a lens is not a probe:"] * 10)), width=180).to_dict()["title"]["subtitle"]
    assert len(lens) <= 5


def test_titles():
    title = lambda *a, **k: heatmap(*a, **k).to_dict()["title"]["text"]
    assert title(a_map(model="demo", site="mlp_in")) == "demo · mlp_in"
    assert title(a_map(model="demo", title="Figure 2a")) == "Figure 2a"
    assert title(a_map(model="demo"), title="mine") == "mine" and title(a_map(model="demo"), title="") == ""


@pytest.mark.parametrize("bad,told", [
    (pd.DataFrame(), "xarray.Dataset"), (None, "xarray.Dataset"), (a_map().auc, "not a DataArray"),
    (a_map()[["n"]], "has no 'auc'"), (a_map().isel(layer=0), "has no 'auc'"), (a_map().isel(layer=[]), "is empty"),
    (a_map(tokens=("a", "b", "a"), missing=()), "names a position twice"),
    (a_map(2, missing=()).assign_coords(layer=["low", "high"]), "a layer is a number, not 'low'"),
    (a_map().assign(auc=lambda m: m.reason), "holds words")])
def test_what_is_no_map_is_refused_in_one_sentence(bad, told):
    with pytest.raises((TypeError, ValueError), match=told) as e: heatmap(bad)
    assert "\n" not in str(e.value)


def test_hostile_names_stay_text():
    m = a_map(tokens=(HOSTILE, "a'b\"c", "${x}", "-1"), missing=((0, 0),), model=HOSTILE)
    svg = vlc.vegalite_to_svg(heatmap(m).to_dict(), vl_version="6.4")
    assert "<img" not in svg and "&lt;img" in svg


@pytest.mark.parametrize("names", [("toString", "a", "constructor"), ("__proto__", "hasOwnProperty", "a"), ("", "a", " ")])
def test_any_name_can_be_drawn(names):
    m = a_map(tokens=names, missing=())
    for chart in (heatmap(m), heatmap(m, margins=True), heatmap(m, title=names[0]), profile(m, layer=1),
                  profile(m, position=names[0])):
        svg = vlc.vegalite_to_svg(chart.to_dict(), vl_version="6.4")
        assert all(f">{name if name.strip() else '(no name)'}<" in svg for name in names[:1])


def test_a_profile_keeps_the_maps_order():
    svg = vlc.vegalite_to_svg(profile(a_map(tokens=("z", "a", "m"), missing=()), layer=1).to_dict(), vl_version="6.4")
    line = re.search(r'<path aria-label[^>]*aria-roledescription="line mark" d="([^"]*)"', svg)[1]
    assert re.findall(">([zam])<", svg) == ["z", "a", "m"]
    across = [float(x) for x in re.findall(r"[ML]([\d.]+),", line)]
    assert across == sorted(across), "from left to right"


def test_numbers_kept_as_objects_are_numbers():
    m = a_map(missing=())
    loose = m.assign(auc=m.auc.astype(object), auc_low=m.auc_low.astype(object)).assign_coords(layer=m.layer.astype(object))
    assert drawn(heatmap(loose)) == drawn(heatmap(m))
    assert profile(loose, position="-1").to_dict()
    loose["auc"][0, 0] = None
    assert sum("missing: not computed" in n for n in drawn(heatmap(loose))) == 1


# Offline, live, and left behind

def test_bundle_is_live_and_static_and_small():
    data, about = heatmap(a_map(32, [f"token {i}" for i in range(16)]))._repr_mimebundle_()
    assert data[V5]["$schema"].endswith("v5.json") and about[V5]["embed_options"]["renderer"] == "svg"
    png = data["image/png"]
    size = tuple(2 * about["image/png"][k] for k in ("width", "height"))
    assert png.startswith(b"\x89PNG") and struct.unpack(">II", png[16:24]) == size
    assert len(json.dumps(data[V5])) + len(base64.b64encode(png)) < 100_000
    assert "text/html" not in data, "nothing that loads a script from elsewhere"


def pixels(png):
    "A PNG read by the book: plain rows of palette entries, or of bytes less those to the left."
    width, height = struct.unpack(">II", png[16:24])
    at, data, palette = 8, b"", None
    while at < len(png):
        size, kind = struct.unpack(">I4s", png[at:at + 8])
        assert zlib.crc32(png[at + 4:at + 8 + size]) == struct.unpack(">I", png[at + 8 + size:at + 12 + size])[0]
        data += png[at + 8:at + 8 + size] if kind == b"IDAT" else b""
        if kind == b"PLTE": palette = np.frombuffer(png[at + 8:at + 8 + size], np.uint8).reshape(-1, 3)
        at += size + 12
    rows = np.frombuffer(zlib.decompress(data), np.uint8).reshape(height, -1)
    if palette is not None: return palette[rows[:, 1:]].astype(int)
    assert (rows[:, 0] == 1).all()
    return np.cumsum(rows[:, 1:].reshape(height, width, 4), axis=1, dtype=np.uint8)[..., :3].astype(int)


def test_png_holds_the_same_picture():
    "What is flat is exact (few colours) or 3 of 255 off (many); between the levels of a letter's edge more, of few pixels."
    small, large = a_map(4, ("a", "b"), ((1, 1),)), a_map(32, [str(k) for k in range(15)])
    for chart in (heatmap(small, title=""), heatmap(large, values=True)):
        ours, whole = chart._repr_mimebundle_()[0]["image/png"], vlc.vegalite_to_png(chart.to_dict(), vl_version="6.4", scale=2)
        off = np.abs(pixels(ours) - pixels(whole)).max(-1)
        assert len(ours) < len(whole) / 2 and (off > 3).mean() < .1 and off.mean() < 2


def test_compact_specification_draws_the_same():
    "The tables go into the notebook as CSV: quoted, with what is missing left empty, numbers and labels told apart."
    m = a_map(tokens=(HOSTILE, 'a,"b"', "line\nbreak", "-1"), missing=((0, 0),))
    data, _ = heatmap(m)._repr_mimebundle_()
    svg = lambda spec: re.sub(r"(gradient|clip)_?\d+", "", vlc.vegalite_to_svg(spec, vl_version="6.4"))  # ids are counted on
    assert svg(data[V5]) == svg(heatmap(m).to_dict())
    assert isinstance(data[V5]["data"]["values"], str) and "datasets" not in data[V5]
    written, _ = heatmap(m, values=True)._repr_mimebundle_()
    assert ">null<" not in svg(written[V5]), "nothing is written in a missing cell"


def test_nothing_of_the_users_is_changed():
    registries = alt.renderers, alt.data_transformers, alt.theme
    def users(): return [(k.active, dict(k.options)) for k in registries], alt.JupyterChart._is_offline
    before = users()
    heatmap(a_map())._repr_mimebundle_()
    assert users() == before
    assert alt.Chart(pd.DataFrame(dict(a=[1]))).mark_point()._repr_mimebundle_().keys() == {"text/html"}


def test_large_map_and_other_transformers():
    big = a_map(100, [str(i) for i in range(60)], ())
    assert len(heatmap(big).to_dict()["datasets"].popitem()[1]) == 6000, "more rows than Altair's default lets through"
    with alt.data_transformers.enable("csv"): assert heatmap(big).to_dict()["datasets"]


def test_saving_works_as_in_altair(tmp_path):
    chart = heatmap(a_map())
    chart.save(tmp_path / "m.png")
    chart.save(tmp_path / "m.html", inline=True)
    page = (tmp_path / "m.html").read_text()
    assert (tmp_path / "m.png").read_bytes().startswith(b"\x89PNG") and "<script src=" not in page and len(page) > 500_000


def test_it_stays_a_picture_under_altairs_methods():
    chart = heatmap(a_map())
    assert isinstance(chart.properties(title="x"), Picture) and isinstance(chart, alt.LayerChart)
    data, _ = (chart | chart)._repr_mimebundle_()
    assert V5 in data and "image/png" in data and len(data[V5]["concat"]) == 2


# Lines, curves, histograms

def test_profile_is_one_row_or_column():
    m = a_map(missing=())
    down, across = profile(m, position="-2"), profile(m, layer=3)
    assert down.data["at"].tolist() == list(range(6)) and np.allclose(down.data.auc, m.auc.sel(position="-2"))
    spec = lambda chart, axis: chart.to_dict()["layer"][0]["encoding"][axis]
    assert across.data["at"].tolist() == list(m.position.values) == spec(across, "x")["scale"]["domain"]
    assert spec(down, "y")["scale"]["domain"] == [down.data.auc_low.min(), 1] and down.data.auc_low.min() < .4, "never clipped"
    assert len(profile(m[["auc"]], layer=0).to_dict()["layer"]) == 2, "no interval, no band"
    for bad in (dict(), dict(layer=1, position="-2"), dict(layer=77), dict(position="nowhere")):
        with pytest.raises(ValueError): profile(m, **bad)


def scored(right, wrong):
    correct = pd.array([True] * len(right) + [False] * len(wrong), "boolean")
    return pd.DataFrame(dict(correct=correct, score=np.array([*right, *wrong], float)))


def test_roc_area_is_the_auc():
    from sklearn.metrics import roc_auc_score
    rng = np.random.default_rng(0)
    right, wrong = rng.normal(1, 1, 80).round(1), rng.normal(0, 1, 50).round(1)  # rounded: with ties
    curve = roc_chart(scored(right, wrong)).data
    truth = roc_auc_score([1] * 80 + [0] * 50, [*right, *wrong])
    assert abs(np.trapezoid(curve.right, curve.wrong) - truth) < 1e-3
    assert f"{truth:.3f}" in roc_chart(scored(right, wrong)).to_dict()["title"]["text"]
    assert np.trapezoid(*roc_chart(scored([2, 3], [0, 1])).data[["right", "wrong"]].to_numpy().T) == 1
    assert np.trapezoid(*roc_chart(scored([1, 1], [1, 1])).data[["right", "wrong"]].to_numpy().T) == .5


def test_histogram_counts_each_answer_once():
    data = score_histogram(scored([.1, .2, .2, 5], [0, -3])).data
    assert data.groupby("kind").answers.sum().to_dict() == dict(right=4, wrong=2)


@pytest.mark.parametrize("chart", [roc_chart, score_histogram])
def test_scores_that_cannot_be_drawn_are_refused(chart):
    for bad in (scored([1], []), scored([], []), pd.DataFrame(dict(score=[1.])), None):
        with pytest.raises(ValueError) as e: chart(bad)
        assert "\n" not in str(e.value)
    unjudged = pd.concat([scored([1, 2], [0]), pd.DataFrame(dict(correct=pd.array([None], "boolean"), score=[9.]))])
    assert chart(unjudged).to_dict()


# What is below chance, what is marked, what is written

def full(layers=6, **attrs):
    "A map with all that probe_map can say: no cell below layer 3 clears the null, a plateau of three cells, a best one."
    m = a_map(layers, missing=((2, 1),), null_max=.62, best_layer=5, best_position="-2", **attrs)
    dims, (n, k) = ("layer", "position"), m.auc.shape
    plateau = np.zeros((n, k), bool)
    plateau[4, 1:3] = plateau[5, 2] = True
    return m.assign(p_value=(dims, np.full((n, k), .02)), plateau=(dims, plateau),
                    above_null=(dims, np.repeat(np.arange(n) >= 3, k).reshape(n, k)))


def fills(chart):
    "The colour of each cell as it is drawn, by its accessible name."
    svg = vlc.vegalite_to_svg(chart.to_dict(), vl_version="6.4")
    return dict(re.findall(r'<path aria-label="(Token: [^"]*)"[^>]*aria-roledescription="rect mark"[^>]*fill="([^"]*)"', svg))


def hue(colour):
    if "rgb" in colour: red, _, blue = map(int, re.findall(r"\d+", colour)[:3])
    else: red, _, blue = (int(colour[k:k + 2], 16) for k in (1, 3, 5))
    return "orange" if red > blue + 8 else "blue" if blue > red else "white"


def test_below_chance_has_its_own_hue_unless_the_published_look_is_asked_for():
    m = a_map(missing=())
    by = {name: hue(c) for name, c in fills(heatmap(m)).items()}
    assert len(by) == 30
    for name, colour in by.items():
        value = float(re.search(r"AUC: ([\d.]+)", name)[1])
        assert colour == ("orange" if value < .5 else "blue"), name
    assert "orange" not in {hue(c) for c in fills(heatmap(m, scheme="published")).values()}
    assert "orange" in {hue(c) for c in fills(heatmap(m, domain=(.6, .9))).values()}, "also when a domain is asked for"
    assert len(set(fills(heatmap(m, scheme="viridis")).values())) == 30, "another scheme reaches down to what is there"


def test_a_map_above_chance_is_the_published_figure():
    m = a_map(missing=())
    m = m.assign(auc=m.auc.clip(min=.5))
    assert fills(heatmap(m)) == fills(heatmap(m, scheme="published"))


def test_diverging_is_even_on_both_sides():
    from probe_nb.cells import colour_ramp
    ramp = colour_ramp(np.array([.3, .9]), scheme="diverging")
    assert (ramp.stops[0], ramp.stops[-1]) == (0, 1) and hue("#" + "".join(f"{round(v):02x}" for v in ramp.at(.5))) == "white"
    assert colour_ramp(np.array([-.1, .3]), "diff", centre=0.).stops[::8] == pytest.approx((-.3, .3))


def test_even_scale_is_perceptually_even():
    from test_canvas import seen

    from probe_nb.cells import _EVEN, _rgb
    steps = np.diff(seen([_rgb(c) for c in _EVEN], "all")[:, 0])
    assert (steps > 0).all() and steps.max() / steps.min() < 1.7, "lightness rises in nearly equal steps"


def test_numbers_in_cells_are_legible_on_every_colour():
    from probe_nb.cells import _light, colour_ramp
    for scheme in ("blues", "published", "even", "diverging"):
        for values in (np.linspace(.3, 1, 50), np.linspace(.5, 1, 50)):
            ramp = colour_ramp(values, scheme=scheme)
            light = _light(ramp.at(np.linspace(0, 1, 2001)))
            ink = np.where(ramp.dark(np.linspace(0, 1, 2001)), 1.05 / (light + .05), (light + .05) / .05)
            assert ink.min() >= 4.5, scheme


def test_numbers_are_written_where_there_is_room():
    drawing = lambda **k: vlc.vegalite_to_svg(heatmap(a_map(), values=True, **k).to_dict(), vl_version="6.4")
    texts = lambda **k: re.findall(r">([-+]?\.\d\d)<", drawing(**k))
    assert len(texts()) == 29 and texts()[0] == ".30", "all but the missing one"
    assert not texts(width=50) and not texts(height=40)
    assert len(marks(heatmap(a_map(), values=True, scheme="magma"), "text")) == 2, "on unknown colours words have a white edge"


def test_marks_are_drawn_where_the_map_has_them_and_explained():
    chart = heatmap(full())
    df = chart.data
    assert df.clear.sum() == 16 and df.p.eq(.02).all(), "15 cells above, and the missing one is not marked"
    bits = df.set_index(["layer", "position"]).rim.fillna(0)
    assert bits[4, "exact_answer_last"] == 1 + 4 + 8 and bits[4, "-2"] == 1 + 2 and bits[5, "-2"] == 2 + 4 + 8
    assert bits.astype(bool).sum() == 3
    svg = vlc.vegalite_to_svg(chart.to_dict(), vl_version="6.4")
    told = "within reach of chance (AUC up to 0.62)", "best cell", "plateau: within one standard error of the best", "missing"
    for said in told: assert f">{said}<" in svg
    best = [layer for layer in marks(chart, "rect") if layer["mark"].get("filled") is False]
    assert best[0]["transform"] == [{"filter": f"datum.cell === {5 * 5 + 2}"}]


def test_marks_can_be_left_out_and_old_maps_have_none():
    for chart in (heatmap(full(), marks=False), heatmap(a_map()), heatmap(full(), "n")):
        assert not marks(chart, "rule") and "within reach" not in json.dumps(chart.to_dict())


def test_which_way_a_score_points():
    t = cell_table(a_map(missing=())).set_index("value")
    assert t.points[t.index < .45].eq("wrong").all() and t.points[t.index > .551].eq("right").all()
    assert t.points[(t.index > .451) & (t.index < .549)].eq("neither").all()


def test_margins_are_the_best_and_the_mean():
    m = a_map(missing=((2, 1),))
    above, _, main, beside = heatmap(m, margins=True).concat
    assert np.allclose(above.data["max"], m.auc.max("layer"), atol=1e-4)
    assert np.allclose(beside.data["mean"], m.auc.mean("position"), atol=1e-4)
    assert (above.width, beside.height) == (main.width, main.height)
    assert vlc.vegalite_to_png(heatmap(m, margins=True).to_dict(), vl_version="6.4")


def test_margins_leave_the_title_over_the_cells_and_their_ticks_apart():
    chart = heatmap(a_map(), margins=True, title="mine")
    svg = vlc.vegalite_to_svg(chart.to_dict(), vl_version="6.4")
    assert "title" not in chart.to_dict() and chart.concat[0].title.text == "mine" and ">mine<" in svg
    for k in (0, 3):
        ticks = chart.concat[k].to_dict()["layer"][0]["encoding"]["y" if k == 0 else "x"]["axis"]["values"]
        assert ticks == [.5, 1], "two, of 56 pixels"


@pytest.mark.parametrize("version", ["5.8", "6.4"])
def test_older_vega_lite_draws_the_same_cells(version):
    "JupyterLab has 5.6; the oldest we can run is 5.8."
    spec = heatmap(full()).to_dict() | {"$schema": f"https://vega.github.io/schema/vega-lite/v{version[0]}.json"}
    svg = vlc.vegalite_to_svg(spec, vl_version=version)
    assert len(re.findall(r'aria-label="Token: [^"]*" role="graphics-symbol" aria-roledescription="rect mark"', svg)) == 30
    png = vlc.vegalite_to_png(spec, vl_version=version, scale=1)
    assert struct.unpack(">II", png[16:24]) > (5 * 28, 6 * 28)


def test_large_maps_have_small_specifications():
    rng, dims = np.random.default_rng(0), ("layer", "position")
    values = {k: (dims, rng.random((64, 40))) for k in ("auc", "auc_low", "auc_high", "p_value")}
    values |= {k: (dims, rng.random((64, 40)) > .5) for k in ("above_null", "plateau")}
    values |= {k: (dims, np.full((64, 40), 300)) for k in ("n", "n_wrong")}
    named = ["last_q", "first_answer", "second_answer", "exact_answer_before_first", "exact_answer_first", "exact_answer_last"]
    m = xr.Dataset(values, dict(layer=range(64), position=named + [str(-k) for k in range(34, 0, -1)]))
    size = lambda **k: len(json.dumps(heatmap(m, **k).to_dict(), separators=(",", ":")))
    assert size() < size(values=True) < 360_000, "with numbers in the cells too"
    assert size(height=400, values=True) == size(height=400), "numbers that could not be read are left out"


def test_what_is_stored_as_a_png_alone_says_so():
    small, large = a_map(), a_map(100, [f"a token with a name {k}" for k in range(40)], ())
    data, _ = heatmap(large)._repr_mimebundle_()
    assert V5 not in data and data["text/plain"].endswith("stored as a PNG alone: too large to store it live")
    data, _ = heatmap(small)._repr_mimebundle_()
    assert V5 in data and "PNG" not in data["text/plain"]
