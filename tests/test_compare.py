"Differences are DeLong's where rows are independent, hold for groups and folds, and only the same answers are compared."
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy import stats

from probe_nb.compare import _adjusted, compare
from probe_nb.kinds import MassMeanProbe
from probe_nb.maps import probe_map, score_answers
from probe_nb.probes import auc, auc_parts
from probe_nb.simulate import planted


def as_map(S, y, fold=None, group=None, taught=None):
    "A map of scores [layer, position, example]."
    n = S.shape[-1]
    about = {"correct": y, "fold": np.zeros(n, int) if fold is None else fold,
             "group": np.array([f"g{k}" for k in (range(n) if group is None else group)], object)}
    ds = xr.Dataset({"score": (("layer", "position", "example"), S)}, {
        "layer": range(S.shape[0]), "position": [f"p{k}" for k in range(S.shape[1])], "example": np.arange(n) + 5,
        **{k: ("example", v) for k, v in about.items()}})
    return ds if taught is None else ds.assign(taught=(("layer", "position", "tested", "trained"), taught))


@pytest.fixture(scope="module")
def maps():
    plan = np.array([[.5, .8], [.5, .85]])
    acts, ans = planted(300, 2, ["last_q", "-1"], 16, auc=plan, groups=2, massive=0, missing={"-1": .1}, seed=3)
    kinds = None, MassMeanProbe()
    return acts, ans, [probe_map(acts, ans, permutations=0, scores=True, progress=False, probe=p) for p in kinds]


def test_independent_rows_are_delongs_test():
    rng = np.random.default_rng(0)
    y = rng.random(120) < .6
    S = rng.normal(size=(2, 1, 120)) + .8 * y
    d = compare(as_map(S, y), as_map(S[::-1], y))
    psi = auc_parts(S[:, 0], y)
    v = sum(((psi[0] - psi[1])[k] ** 2).sum() * k.sum() / (k.sum() - 1) for k in (y, ~y))  # DeLong, DeLong & Clarke-Pearson 1988
    diff = auc(S[0, 0], y) - auc(S[1, 0], y)
    t = stats.t.ppf(.975, min(y.sum(), (~y).sum()) - 1)
    cell = d.isel(layer=0, position=0)
    np.testing.assert_allclose([cell["diff"], cell.diff_low, cell.diff_high], [diff, diff - t * v**.5, diff + t * v**.5])
    assert float(cell.p_value) == pytest.approx(2 * stats.t.sf(abs(diff) / v**.5, min(y.sum(), (~y).sum()) - 1))
    np.testing.assert_allclose(d["diff"], -d["diff"][::-1])


def test_whatever_keeps_the_order_changes_nothing(maps):
    acts, ans, (a, b) = maps
    d = compare(a, b)
    xr.testing.assert_allclose(compare(a.assign(score=3 * a.score + 1), b), d)
    xr.testing.assert_allclose(compare(a.isel(example=np.random.default_rng(0).permutation(300)), b), d)
    same = compare(a, a)
    assert (same["diff"] == 0).all() and (same.p_value == 1).all() and (same.p_adjusted == 1).all() and (same.diff_low == 0).all()
    np.testing.assert_allclose(d.auc_a, a.auc); np.testing.assert_allclose(d.auc_b, b.auc)
    assert (d.n == a.n).all() and (d.n_wrong == a.n_wrong).all() and (d.p_adjusted >= d.p_value).all()


def test_one_cell_serves_for_all(maps):
    acts, ans, (a, b) = maps
    cell = b.sel(layer=1, position="-1")
    d = compare(a, cell)
    assert d["diff"].dims == ("layer", "position") and d.attrs["b"] == "planted, planted, MassMeanProbe(), layer 1, position -1"
    alone = compare(a.sel(layer=0, position="last_q"), cell)
    assert alone["diff"].dims == () and float(alone["diff"]) == float(d["diff"].sel(layer=0, position="last_q"))
    assert float(alone.p_value) == pytest.approx(float(d.p_value.sel(layer=0, position="last_q"))) and int(alone.n) == 270
    assert float(alone.p_adjusted) == pytest.approx(float(alone.p_value), abs=.02)
    back = compare(cell, a)
    np.testing.assert_allclose(back["diff"], -d["diff"])
    rows = compare(a.sel(position="-1"), b.sel(position="last_q"))  # a layer each
    assert rows["diff"].dims == ("layer",) and rows.sizes["layer"] == 2


def test_models_with_other_layers_by_a_cell(maps):
    acts, ans, (a, b) = maps
    other = b.assign_coords(layer=[10, 11])
    with pytest.raises(ValueError, match=r"other layers, 0, 1 and 10, 11: choose the same of both by \.sel\(layer="):
        compare(a, other)
    same = compare(a, b.sel(layer=1, position="-1"))
    np.testing.assert_allclose(compare(a, other.sel(layer=11, position="-1"))["diff"], same["diff"])


def test_scores_from_elsewhere(maps):
    acts, ans, (a, b) = maps
    frame = score_answers(acts, ans, layer=1, position="-1", probe=MassMeanProbe())
    d = compare(a, frame)
    e = compare(a, frame.set_index("example")["score"])
    xr.testing.assert_equal(d, e)
    np.testing.assert_allclose(d["diff"], compare(a, b.sel(layer=1, position="-1"))["diff"], atol=1e-6)
    part = compare(a, frame[:100])
    assert (part.n <= 100).all() and d.attrs["b"] == "scores by example"
    assert (compare(frame, a)["diff"] == -d["diff"]).all()


def test_rows_are_those_that_both_have():
    rng = np.random.default_rng(0)
    y = rng.random(100) < .5
    S, T = rng.normal(size=(2, 1, 1, 100)) + y
    S[..., :30], T[..., 60:70] = np.nan, np.nan
    d = compare(as_map(S, y), as_map(T, y))
    m = np.isfinite(S[0, 0] + T[0, 0])
    assert d.n.item() == 60 and d["diff"].item() == pytest.approx(auc(S[0, 0, m], y[m]) - auc(T[0, 0, m], y[m]))
    few = compare(as_map(S, np.arange(100) > 35), as_map(T, np.arange(100) > 35))
    assert np.isnan(few["diff"].item()) and np.isnan(few.p_value.item()) and few.n_wrong.item() == 6


def test_what_folds_taught_each_other_widens_by_its_difference():
    rng = np.random.default_rng(0)
    y, f = rng.random(200) < .5, np.arange(200) % 5
    S, T = rng.normal(size=(2, 1, 1, 200)) + y
    both = rng.normal(0, .05, (5, 5))
    both = (both + both.T) * (1 - np.eye(5))
    plain = compare(as_map(S, y, f), as_map(T, y, f))
    wide = compare(as_map(S, y, f, taught=both[None, None]), as_map(T, y, f))
    none = compare(as_map(S, y, f, taught=both[None, None]), as_map(T, y, f, taught=both[None, None]))
    size = lambda d: (d.diff_high - d.diff_low).item()
    assert size(wide) > 1.05 * size(plain) and size(none) == pytest.approx(size(plain))
    assert wide["diff"].item() == plain["diff"].item()


def null_worlds(worlds, sep, groups=2, n=240, cells=8):
    "p-values of cells that do not differ: scores that rows of a group share, on both sides in part the same."
    for seed in range(worlds):
        rng = np.random.default_rng([seed, 5])
        g = np.arange(n) // groups
        both = lambda *k: .7 * rng.normal(size=(*k, g.max() + 1))[..., g] + .7 * rng.normal(size=(*k, n))  # noqa: B023
        y, common = both() > -.3, both()
        S, T = (sep * y + .5 * common + both(cells, 1) for _ in range(2))
        f = g % 5
        yield compare(as_map(S, y, f, g), as_map(T, y, f, g), seed=seed)


@pytest.mark.parametrize("groups", [1, 2, 10])
def test_no_difference_is_rarely_found(groups):
    found = [(float((d.p_value <= .05).mean()), float(d.p_adjusted.min()) <= .05) for d in null_worlds(60, .8, groups)]
    single, family = np.mean(found, 0)
    assert single <= .07 + .02 and family <= .05 + 3 * (.05 * .95 / 60)**.5


def test_differences_are_covered():
    inside = []
    for seed in range(80):
        rng = np.random.default_rng(seed)
        y = rng.random(200) < .6
        common = rng.normal(size=200)
        S, T = (sep * y + common + rng.normal(size=(10, 1, 200)) for sep in (1.6, .8))
        truth = stats.norm.cdf(1.6 / 2) - stats.norm.cdf(.8 / 2)
        d = compare(as_map(S, y), as_map(T, y))
        inside.append(((d.diff_low <= truth) & (truth <= d.diff_high)).mean().item())
    assert .92 <= np.mean(inside) <= .98


def test_adjusted_for_cells_that_are_one_and_for_many():
    rng = np.random.default_rng(0)
    one = np.repeat(rng.normal(size=(1, 200)), 30, 0)
    np.testing.assert_allclose(_adjusted(np.full(30, .03), one, 0), .03, atol=.012)  # copies are one test
    many = _adjusted(np.full(30, .03), rng.normal(size=(30, 200)), 0)
    assert abs(many[0] - (1 - .97**30)) < .05
    assert np.isnan(_adjusted(np.array([np.nan, .5]), rng.normal(size=(2, 50)), 0)).tolist() == [True, False]


@pytest.mark.parametrize("change,says", [
    (lambda m: m.drop_vars("score"), r"b has no scores behind its cells: make it by probe_map\(…, scores=True\)"),
    (lambda m: m.assign_coords(correct=~m.correct), "has correct = "), (lambda m: m["auc"], "b is a DataArray"),
    (lambda m: m.assign_coords(fold=(m.fold + 1) % 5), "same answers, folds and seed"),
    (lambda m: m.assign_coords(group=("example", np.array([f"x{k}" for k in range(300)], object))), "same groups"),
    (lambda m: m.assign_coords(example=m.example + 1000), "no example in common"),
    (lambda m: m.isel(example=[*range(300), 0]), "stands twice in b"),
    (lambda m: pd.DataFrame({"example": [1], "p": [.5]}), "b has no column 'score'"),
    (lambda m: m.sel(position=["-1"]), "other positions, last_q, -1 and -1")])
def test_what_cannot_be_compared_is_said(maps, change, says):
    with pytest.raises((ValueError, KeyError), match=says): compare(maps[2][0], change(maps[2][1]))


def test_two_frames_tell_no_labels():
    s = pd.Series([1., 2.], index=[1, 2])
    with pytest.raises(ValueError, match="neither a nor b is a map"): compare(s, s)
    with pytest.raises(ValueError, match="ci=95"): compare(s, s, ci=95)


def test_examples_of_another_kind_are_not_in_common():
    own = pd.Series(np.arange(300.), [f"e{k}" for k in range(300)])
    a = as_map(np.random.default_rng(0).normal(size=(1, 1, 300)), np.arange(300) % 2 == 0)
    with pytest.raises(ValueError, match="no example in common"): compare(a, own)
