"""Claims about maps: the verdict is what a brute-force reader finds who tries every value that the intervals allow."""
import itertools
from html.parser import HTMLParser

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from probe_nb.claims import Verdict, check_claim, check_claims
from probe_nb.published import cell_bounds, load_published

eighth = st.integers(0, 8).map(lambda i: i / 8)
END = 1 / 16  # ends of claims lie between the values that cells can have


def boxed(low, high):
    "A map whose cells are known from low to high."
    low, high = np.asarray(low, float), np.asarray(high, float)
    L, P = low.shape
    grid = dict(auc=(low + high) / 2, auc_low=low, auc_high=high)
    return xr.Dataset({k: (("layer", "position"), v) for k, v in grid.items()},
                      dict(layer=list(range(L)), position=[f"p{i}" for i in range(P)]))


@st.composite
def boxes(draw, layers=(1, 4), positions=(1, 2), most=4):
    L = draw(st.integers(*layers))
    P = draw(st.integers(positions[0], max(positions[0], min(positions[1], most // L))))
    ends = draw(st.lists(st.tuples(eighth, eighth), min_size=L * P, max_size=L * P))
    return boxed(np.reshape([min(e) for e in ends], (L, P)), np.reshape([max(e) for e in ends], (L, P)))


def worlds(m):
    "Ways in which the cells may lie, both ends of each and steps between: [world, layer, position]"
    low, high = m.auc_low.values.ravel(), m.auc_high.values.ravel()
    steps = [np.unique([a, (a + b) / 2, b, *np.arange(a, b, 1 / 8 if len(low) < 4 else 1)]) for a, b in zip(low, high)]
    return np.array(list(itertools.product(*steps))).reshape(-1, *m.auc.shape)


def told(holds, fails=None):
    "True if it holds in all worlds, false if it fails in all, else undecided."
    fails = ~holds if fails is None else fails
    return "true" if holds.all() else "false" if fails.all() else "undecided"


@given(boxes(), st.data())
def test_threshold_and_band_are_those_of_brute_force(m, data):
    w, above = worlds(m), data.draw(eighth) - END
    rows = sorted(data.draw(st.lists(st.sampled_from(m.layer.values.tolist()), min_size=1, unique=True)))
    layers = (rows[0], rows[-1])
    some = w[:, rows[0]:rows[-1] + 1].reshape(len(w), -1)
    for cells, holds in (("all", (some > above).all(1)), ("some", (some > above).any(1))):
        assert check_claim(m, kind="threshold", layers=layers, above=above, cells=cells).verdict == told(holds)
        below = check_claim(m, kind="threshold", layers=layers, below=above, cells=cells)
        assert below.verdict == told((some < above).all(1) if cells == "all" else (some < above).any(1))
    share = data.draw(st.sampled_from([.25, .5, .75, 1.]))
    v = check_claim(m, kind="band", layers=layers, above=above, share=share)
    assert v.verdict == told((some > above).mean(1) >= share)
    assert (v.verdict == "undecided") == (v.low < share - 1e-9 <= v.high - 1e-9)


@given(boxes(positions=(2, 2)), st.data())
def test_peak_is_that_of_brute_force(m, data):
    w, layer = worlds(m), data.draw(st.sampled_from(m.layer.values.tolist()))
    column, row = w[:, :, 0].max(1), w[:, layer].max(1)
    v = check_claim(m, kind="peak", position="p0")
    assert v.verdict == told(column > w[:, :, 1].max(1), column < w[:, :, 1].max(1))
    assert (v.verdict == "undecided") == (v.low <= 0 <= v.high)
    rest = np.delete(w, layer, 1).reshape(len(w), -1)
    if rest.shape[1]: assert check_claim(m, kind="peak", layers=layer).verdict == told(row > rest.max(1), row < rest.max(1))
    own = np.delete(w[:, :, 0], layer, 1)
    v = check_claim(m, kind="peak", position="p0", layers=layer, of="columns")
    mine = w[:, layer, 0]
    assert v.verdict == (told(mine > own.max(1), mine < own.max(1)) if own.shape[1] else "true")
    above = data.draw(eighth) - END
    v = check_claim(m, kind="peak", above=above, layers=(0, m.sizes["layer"] - 1))
    assert v.verdict == told(w.reshape(len(w), -1).max(1) > above)
    both = check_claim(m, kind="peak", position="p0", above=above).verdict  # two things at once: never surer than the worlds
    other = w[:, :, 1].max(1)
    assert both in ("undecided", told((column > other) & (column > above), (column < other) | (column < above)))


@given(boxes(positions=(2, 2)), st.floats(0, .4))
def test_ordering_is_that_of_brute_force(m, margin):
    margin = round(margin, 1) + .013
    w = worlds(m).mean(1)
    v = check_claim(m, kind="ordering", position="p0", than="p1", margin=margin)
    assert v.verdict == told(w[:, 0] - w[:, 1] > margin)
    assert (v.verdict == "undecided") == (v.low <= margin < v.high)
    assert np.isclose(v.low, (w[:, 0] - w[:, 1]).min()) and np.isclose(v.high, (w[:, 0] - w[:, 1]).max())


@given(boxes(layers=(2, 4), positions=(1, 1)), st.floats(0, .4))
def test_trend_is_that_of_brute_force(m, margin):
    margin, w = round(margin, 1) + .013, worlds(m).mean(2)
    k = max(1, w.shape[1] // 3)
    change = w[:, -k:].mean(1) - w[:, :k].mean(1)
    assert check_claim(m, kind="trend", direction="rises", margin=margin).verdict == told(change > margin)
    assert check_claim(m, kind="trend", direction="falls", margin=margin).verdict == told(change < -margin)
    if len(m.layer) > 3: return  # the least spread lies between the ends, which takes finer steps
    flat = check_claim(m, kind="trend", position="p0", direction="flat", margin=margin)
    assert flat.verdict == told(np.ptp(w, axis=1) <= margin)


@settings(max_examples=40)
@given(boxes(layers=(3, 9), positions=(1, 4), most=36), st.integers(0, 10**6))
def test_a_map_known_exactly_is_never_undecided(m, seed):
    "And a verdict that is not undecided never changes when the intervals shrink."
    rng = np.random.default_rng(seed)
    at = m.auc_low + (m.auc_high - m.auc_low) * rng.random(m.auc.shape)
    crisp = m[["auc"]].assign(auc=at)
    last = str(m.position.values[-1])
    claims = [dict(kind="threshold", above=.4), dict(kind="band", below=.7, layers=(1, 2), share=.5),
              dict(kind="ordering", position="p0", than=last, margin=.01), dict(kind="trend", direction="falls"),
              dict(kind="trend", direction="flat", margin=.2), dict(kind="threshold", cells="some", above=.8)]
    for wide, sharp in zip(check_claims(m, claims), check_claims(crisp, claims)):
        assert sharp.verdict in ("true", "false") and wide.verdict in (sharp.verdict, "undecided")


@given(st.integers(0, 10**6), st.integers(3, 10), st.integers(2, 6))
def test_planted_peak_and_band_are_found(seed, L, P):
    rng = np.random.default_rng(seed)
    v = rng.uniform(.5, .6, (L, P))
    l, p, first = rng.integers(L), rng.integers(P), rng.integers(L - 1)
    last = rng.integers(first + 1, L)
    v[first:last + 1, p] = rng.uniform(.75, .8, last + 1 - first)
    v[l, p] = .9
    m = boxed(v - .02, v + .02)
    band = dict(kind="band", position=f"p{p}", layers=(first, last))
    assert check_claim(m, kind="peak", position=f"p{p}", layers=l, above=.85, below=.95)
    assert check_claim(m, **band, above=.7) and not check_claim(m, **band, below=.7)
    others = [f"p{i}" for i in range(P) if i != p]
    assert check_claim(m, kind="threshold", position=others, below=.65)
    assert check_claim(m, kind="ordering", position=f"p{p}", than=others, layers=(first, last), margin=.1)
    assert check_claim(m, kind="peak", position=others).verdict == "false"


# Names

def test_what_is_not_there_is_unknown():
    m = load_published("fig6f")
    for claim, word in ((dict(kind="band", position=["-1", "first_answer"], above=.5), "no column first_answer"),
                        (dict(kind="ordering", position="-1", than=["30", "28"]), "no columns 30, 28"),
                        (dict(kind="trend", layers=[1, 2, 99], direction="rises"), "no layer 99"),
                        (dict(kind="peak", layers=(8, 40)), "no layer 40"),
                        (dict(kind="threshold", layers=-1, above=.5), "no layer -1")):
        v = check_claim(m, **claim)
        assert v.verdict == "unknown" and word in v.reason and not v and np.isnan(v.value)
    part = m.isel(layer=[0, 10, 20])
    assert "none of the layers 12 to 15" in check_claim(part, kind="peak", layers=(12, 15)).reason


def test_axes():
    m = load_published("fig6f")
    names = m.position.values.tolist()
    assert check_claim(m, kind="axis", position=names, layers=(0, 31))
    for change, word in ((names[::-1], "another order"), (names + ["0"], "has no 0"), (names[1:], "it has last_q")):
        v = check_claim(m, kind="axis", position=change)
        assert v.verdict == "false" and word in v.reason
    assert "run from 0 to 31" in check_claim(m, kind="axis", layers=(0, 30)).reason


class Tags(HTMLParser):
    def __init__(self, text):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(text)
    def handle_starttag(self, tag, attrs): self.tags.append((tag, dict(attrs)))
    def handle_data(self, data): self.text += data


@given(st.text(max_size=600), st.text(max_size=80))
def test_hostile_names_are_inert(text, said):
    for name in (text, f"<img src=x onerror=alert(1)>{text}", "\u202e" + text, text + "$\\href{javascript:1}{x}$" * 2):
        m = boxed([[.6, .7]], [[.8, .9]]).assign_coords(position=["a", name + "!"])
        peak, band = dict(kind="peak", position=name + "!", says=said or "x"), dict(kind="band", position=name, above=.5)
        found = check_claims(m, [peak, band])
        assert found[0].verdict in ("true", "undecided") and found[1].verdict == ("true" if name == "a" else "unknown")
        for html in (found._repr_html_(), found[0]._repr_html_(), found[1]._repr_html_()):
            t = Tags(html)
            assert {tag for tag, _ in t.tags} <= {"div", "b", "br", "small", "table", "tr", "td", "th", "span"}
            assert all(set(a) <= {"style"} for _, a in t.tags) and not set("\u202e\u202d\u2066\u0000") & set(html)
            pieces = [c for c in html.split("<span>") if "$" in c]
            assert all(c.startswith("$</span>") and "$" not in c[1:] for c in pieces)
        assert len(str(found[0])) < 1000


# Missing, malformed, nested

def test_missing_cells_take_no_part_and_are_said():
    low = np.array([[.6, np.nan], [.7, .9]])
    m = boxed(low, low + .01)
    v = check_claim(m, kind="band", above=.55)
    assert v and "1 of its 4 cells are missing" in v.reason
    gone = m.assign(auc=m.auc * np.nan)
    for claim in (dict(kind="peak", position="p0"), dict(kind="band", above=.5), dict(kind="trend", direction="rises")):
        v = check_claim(gone, **claim)
        assert v.verdict == "undecided" and "missing" in v.reason
    assert check_claim(m, kind="ordering", position="p0", than="p1", layers=0).verdict == "undecided"
    assert check_claim(m, kind="trend", position="p1", direction="rises").verdict == "undecided"


@pytest.mark.parametrize("bad, words", [
    (dict(kind="shape"), "one of peak, band"), (dict(kind="peak"), "needs layers or position"),
    (dict(kind="band"), "needs above or below"), (dict(kind="trend", direction="up"), "rises or falls or flat"),
    (dict(kind="trend", direction="rises", share=.5), "takes no share"),
    (dict(kind="band", above="dark"), "above='dark'"), (dict(kind="band", above=float("nan")), "above='nan'"),
    (dict(kind="peak", layers="middle"), "layers='middle'"),
    (dict(kind="band", above=.5, position=[]), "names nothing"),
    (dict(kind="band", above=.5, share=0), "share=0"),
    (dict(kind="trend", direction="rises", layers=3), "two layers"),
    (dict(kind="ordering", than="p0"), "needs position and than"),
    (dict(kind="threshold", above=.5, cells="few"), "all or some")])
def test_a_claim_that_is_not_well_made_is_an_error(bad, words):
    m = boxed([[.5, .6]] * 4, [[.6, .7]] * 4)
    with pytest.raises(ValueError, match=words) as e: check_claim(m, **bad)
    assert "\n" not in str(e.value)
    with pytest.raises(ValueError, match="claim 1 cannot be checked"): check_claims(m, [dict(kind="band", above=.5), bad])


def test_the_peak_of_many_is_scored_by_nested_selection():
    m = boxed([[.86, .5]], [[.96, .6]])
    assert check_claim(m, kind="peak", position="p0", above=.85)
    best = dict(best_layer=0, best_position="p0", best_auc=.85, best_auc_low=.8, best_auc_high=.9, best_share=1.)
    m = m.assign_attrs(best)
    v = check_claim(m, kind="peak", position="p0", above=.85)
    assert v.verdict == "undecided" and (v.low, v.value, v.high) == (.8, .85, .9) and "nested selection" in v.reason
    assert check_claim(m, kind="peak", position="p0", above=.95).verdict == "false"
    assert "nested" not in check_claim(m, kind="peak", position="p0", of="columns", above=.85).reason
    assert "nested" not in check_claim(m.assign_attrs(best_layer=7), kind="peak", position="p0", above=.85).reason


def test_clipped_cells_and_other_metrics():
    m = load_published("fig6b")
    at = dict(kind="band", position="last_q", layers=0)
    found = [check_claim(m, **at, **k).verdict for k in (dict(below=.51), dict(above=.5), dict(below=.3))]
    assert found == ["true", "false", "undecided"]
    lens = xr.Dataset(dict(norm=(("layer", "position"), [[3., 4.], [5., 9.]])), dict(layer=[0, 1], position=["a", "b"]))
    v = check_claim(lens, kind="trend", position="b", direction="rises")
    assert v and v.low == v.high == 5 and "norm" in check_claim(lens, kind="peak", position="b").claim
    assert check_claim(lens.isel(layer=[1, 0]), kind="trend", position="b", direction="rises")  # whatever the order of the rows


def test_a_list_gives_a_table():
    m = load_published("fig2a")
    peak, band = dict(kind="peak", position="exact_answer_first", says="dark"), dict(kind="band", position="0", above=.5)
    found = check_claims(m, [peak, band])
    assert len(found) == 2 and found.counts == {"true": 1, "unknown": 1} and found.table.says.tolist() == ["dark", ""]
    assert found.table.verdict.tolist() == [v.verdict for v in found] and isinstance(found[0], Verdict)
    assert check_claims(m, []).table.empty and "no claims" in str(check_claims(m, []))
    with pytest.raises(AttributeError): found[0].verdict = "false"
    assert float(cell_bounds(m).value.max()) == .843 and "0.843" in found[0].reason


def test_means_are_of_the_same_columns_and_what_is_missing_is_said():
    nan = np.nan
    a, b = [.9, .9, .9, nan, nan, nan], [nan, nan, nan, .6, .6, .6]
    m = boxed(np.transpose([a, b]), np.transpose([a, b]))
    v = check_claim(m, kind="trend", direction="falls")
    assert v.verdict == "undecided" and "fewer than two layers" in v.reason
    v = check_claim(m, kind="ordering", position="p0", than="p1")
    assert v.verdict == "undecided" and "no layer has a value on both sides" in v.reason
    gone = boxed([[.9, nan], [.8, nan]], [[.9, nan], [.8, nan]])
    assert "2 cells are missing" in check_claim(gone, kind="peak", position="p0").reason
    part = [[.5, nan], [.6, .9], [.7, .9]]
    v = check_claim(boxed(part, part), kind="ordering", position="p1", than="p0")
    assert v and np.isclose(v.value, .25) and "layers 0 lack" in v.reason


def test_axes_and_layers_are_as_claimed():
    m = load_published("fig2a")
    assert check_claim(m, kind="axis", layers=[0, 5, 31]).verdict == "false"
    assert check_claim(m, kind="axis", layers=range(32))
    assert "run from layer 0 to 31" in check_claim(m, kind="axis", layers=(0, 31)).claim
    assert check_claim(m, kind="band", above=.5, layers=8.9).verdict == "unknown"
    assert check_claim(m, kind="band", above=.4, layers=8.).claim.count("layer 8 ") == 1
    with pytest.raises(ValueError, match="inf"): check_claim(m, kind="band", above=.5, layers=float("inf"))
    v = check_claim(boxed(np.c_[[.9, .1, .5, .6, .6, .6]], np.c_[[.9, .1, .5, .6, .6, .6]]), kind="trend", direction="rises")
    assert v and "last third of them held against the first" in v.claim
