"What was planted is there: the AUC, the spectrum, the groups, the gaps; and maps find it where it is."
import numpy as np
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from probe_nb.maps import probe_map
from probe_nb.probes import auc, grid_scores, group_folds
from probe_nb.published import load_published
from probe_nb.simulate import planted, truth_map


def best_scores(acts, layer, position):
    cell = acts.sel(layer=layer, position=position)
    return cell.values @ cell["direction"].values


def sampling_error(a, right, wrong):
    "Hanley and McNeil (1982): the standard deviation of an AUC."
    q, r = a / (2 - a), 2 * a * a / (1 + a)
    return ((a * (1 - a) + (right - 1) * (q - a * a) + (wrong - 1) * (r - a * a)) / (right * wrong)) ** .5


def test_the_best_direction_has_the_planned_auc_within_sampling_error():
    plan = np.linspace(.5, .97, 24).reshape(6, 4)
    acts, ans = planted(3000, 6, 4, 40, auc=plan, spectrum=1.2)
    z = []
    for l, p in np.ndindex(6, 4):
        a = auc(best_scores(acts, l, acts.position.values[p]), ans["correct"])
        z.append((a - plan[l, p]) / sampling_error(plan[l, p], 1800, 1200))
    assert np.abs(z).max() < 4 and np.abs(np.mean(z)) < 4 / 24**.5
    assert stats.kstest(z, "norm").pvalue > 1e-3


def test_no_other_direction_is_better():
    "In as many rows as anybody likes, what is learnt from them stays at the planted AUC."
    acts, ans = planted(6000, 1, 1, 12, auc=.8, massive=1, seed=5)
    X, y = acts.values[:, 0, 0], ans["correct"].to_numpy(bool)
    train = np.arange(6000) < 4000
    learnt = grid_scores(X[None], y, [train], [1.], True)[0, 0, 0]
    assert .8 - .04 < auc(learnt[~train], y[~train]) < .8 + .04
    w = acts["direction"].values[0]
    assert stats.spearmanr(learnt[~train], X[~train] @ w).statistic > .97


def test_a_map_finds_it_where_it_is():
    plan = xr.DataArray(np.full((3, 4), .5), {"layer": [2, 5, 9], "position": ["last_q", "x", "y", "-1"]}, ("layer", "position"))
    plan.loc[5, "y"] = .9
    acts, ans = planted(600, auc=plan, features=24, seed=2)
    m = probe_map(acts, ans, progress=False)
    elsewhere = m["auc"].where(plan == .5)
    assert (m.attrs["best_layer"], m.attrs["best_position"]) == (5, "y") and .8 < m["auc"].sel(layer=5, position="y") < .95
    assert elsewhere.count() == 11 and abs(elsewhere - .5).max() < .12 and abs(float(elsewhere.mean()) - .5) < .03


@pytest.mark.parametrize("s", [0., 1., 2.])
def test_spectrum_is_a_power_law(s):
    acts, _ = planted(20_000, 1, 1, 24, spectrum=s, massive=0)
    found = np.sort(np.linalg.eigvalsh(np.cov(acts.values[:, 0, 0].T)))[::-1]
    law = np.arange(1, 25.) ** -s
    np.testing.assert_allclose(found, law * 24 / law.sum(), rtol=.1)


def test_massive_features_are_massive_and_know_nothing():
    acts, ans = planted(2000, 2, 2, 32, auc=.9, massive=3)
    size = np.abs(acts.values).mean((0, 1))  # [layer, feature]
    big = size > 100
    assert (big.sum(1) == 3).all() and (big[0] == big[1]).all() and size[~big].max() < 5
    assert (acts["direction"].values[big] == 0).all()
    r = np.corrcoef(acts.values[:, 0, 0].T, ans["correct"].to_numpy(float))[-1, :-1]
    assert np.abs(r[big[0]]).max() < .1


@pytest.mark.parametrize("alike", [.2, .7])
def test_rows_of_a_group_are_alike(alike):
    acts, ans = planted(8000, 1, 1, 8, groups=2, alike=alike, massive=0)
    pairs = ans.assign(row=np.arange(8000)).groupby("group")["row"].apply(list)
    a, b = np.stack(pairs[pairs.map(len) == 2].tolist()).T
    X = acts.values[:, 0, 0] @ np.linalg.inv(np.linalg.cholesky(np.cov(acts.values[:, 0, 0].T))).T
    assert abs((X[a] * X[b]).mean() - alike) < .03
    assert stats.pearsonr(ans["truth"][a], ans["truth"][b]).statistic > .3 * alike
    alone, rows = planted(8000, 1, 1, 8, groups=1, alike=alike)
    assert rows["group"].nunique() == 8000


def test_splitting_a_group_is_too_hopeful_and_folds_by_group_are_not():
    acts, ans = planted(400, 1, 1, 60, groups=10, alike=.8, massive=0, seed=1)
    X, y, g = acts.values[:, 0], ans["correct"].to_numpy(bool), ans["group"].to_numpy()
    X = np.swapaxes(X, 0, 1)
    def found(fold): return float(auc(sum(np.where(fold == k, grid_scores(X, y, [fold != k], [.1], True)[0, 0, 0], 0)
                                          for k in range(5)), y, fold))
    assert found(np.arange(400) % 5) > .65 and abs(found(group_folds(y, g, 5, 0)) - .5) < .12


def test_missing_positions_are_missing_at_all_layers():
    acts, ans = planted(200, 3, ["a", "b", "c"], missing={"b": .25})
    gone = np.isnan(acts.values)
    assert gone.any(-1).sum(0).tolist() == [[0] * 3, [50] * 3, [0] * 3] and (gone.any((2, 3)) == gone.all((2, 3))).all()
    everywhere = np.isnan(planted(200, 3, ["a", "b"], missing=.1)[0].values).all((2, 3))
    assert everywhere.sum(0).tolist() == [20, 20] and (everywhere[:, 0] != everywhere[:, 1]).any()


def test_a_judge_that_errs_hides_what_the_formula_says():
    acts, ans = planted(20_000, 1, 1, 6, auc=.9, noise=.15, wrong=.3, massive=0)
    s = best_scores(acts, 0, "last_q")
    assert (ans["truth"] != ans["correct"]).sum() == 3000 and (~ans["truth"]).sum() == 6000
    assert abs(auc(s, ans["truth"]) - .9) < .01
    assert abs(auc(s, ans["correct"]) - truth_map(acts)["auc"].item()) < .015 < .9 - truth_map(acts)["auc"].item()


@pytest.mark.parametrize("near", [0., .8])
def test_neighbouring_layers_are_as_near_as_asked(near):
    acts, _ = planted(4000, 3, 1, 10, near=near, massive=0)
    s = np.stack([best_scores(acts, l, "last_q") for l in range(3)])
    r = np.corrcoef(s)
    assert abs(r[0, 1] - near) < .05 and abs(r[0, 2] - near**2) < .05 and np.allclose(s.std(1), 1, atol=.05)


def test_the_same_seed_gives_the_same_and_more_positions_change_nothing():
    one, two = planted(50, 3, 2, 8, auc=.7, groups=2, seed=4), planted(50, 3, 2, 8, auc=.7, groups=2, seed=4)
    xr.testing.assert_identical(one[0], two[0])
    assert one[1].equals(two[1]) and not planted(50, 3, 2, 8, auc=.7, groups=2, seed=5)[1].equals(one[1])
    more = planted(50, 3, 4, 8, auc=.7, groups=2, seed=4)[0]
    np.testing.assert_array_equal(more[:, :2], one[0])


@given(n=st.integers(2, 60), layers=st.integers(1, 4), positions=st.integers(1, 15), features=st.integers(3, 20),
       groups=st.integers(1, 70), massive=st.integers(0, 2), missing=st.floats(0, 1), noise=st.floats(0, 1),
       wrong=st.floats(0, 1), a=st.floats(.5, .999))
def test_shapes_and_contract(n, layers, positions, features, groups, massive, missing, noise, wrong, a):
    acts, ans = planted(n, layers, positions, features, auc=a, groups=groups, massive=massive, missing=missing, noise=noise,
                        wrong=wrong)
    assert acts.dims == ("example", "position", "layer", "feature") and acts.shape == (n, positions, layers, features)
    assert acts.dtype == np.float32 and acts["example"].dtype == np.int64 and acts["position"].dtype == object
    assert acts["example"].values.tolist() == ans["example"].tolist() and str(ans["correct"].dtype) == "boolean"
    assert all(isinstance(p, str) for p in acts["position"].values) and acts.attrs["site"] == "planted"
    assert (~ans["truth"]).sum() == round(wrong * n) and (ans["truth"] != ans["correct"]).sum() == round(noise * n)
    assert (ans["outcome"] == ans["correct"].map({True: "correct", False: "wrong"})).all() and ans["id"].is_unique
    assert ans["group"].value_counts().max() == min(groups, n) and ans["group"].nunique() == -(-n // groups)
    assert np.isnan(acts.values[..., 0]).sum(0).tolist() == [[round(missing * n)] * layers] * positions
    m = truth_map(acts)
    assert m["auc"].shape == (layers, positions) and (m["auc_truth"] == a).all() and (abs(m["auc"] - .5) <= a - .5 + 1e-9).all()


def test_a_published_map_can_be_planted():
    m = load_published("fig2c")
    acts, ans = planted(20, auc=m, features=4)
    assert acts.shape == (20, 15, 32, 4) and np.allclose(acts["truth"], m["auc"])
    part = planted(20, auc=m, layers=[13, 99], positions=["-1", "mine"], features=4)[0]["truth"]
    assert part.values.tolist() == [[float(m["auc"].sel(layer=13, position="-1")), .5], [.5, .5]]


@pytest.mark.parametrize("wish, told", [
    (dict(auc=.4), "auc=0.4"), (dict(auc=1.), "auc=1"), (dict(auc=[[.6]]), "(1, 1)"), (dict(auc=float("nan")), "auc=nan"),
    (dict(positions=16), "15"), (dict(layers=[1, 1]), "each once"), (dict(layers=0), "at least one"),
    (dict(wrong=-.1), "wrong=-0.1"), (dict(massive=64), "massive=64"), (dict(n=1), "n=1"), (dict(groups=0), "groups=0"),
    (dict(missing={"-1": 2}), "missing -1=2")])
def test_what_cannot_be_made_is_said_in_a_sentence(wish, told):
    with pytest.raises(ValueError) as e: planted(**wish)
    assert told in str(e.value) and "\n" not in str(e.value)
    with pytest.raises(ValueError, match="no planted truth"): truth_map(planted(4)[0].drop_vars("truth"))
