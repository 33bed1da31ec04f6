"A map finds what was planted, where it was planted, and nothing where there is nothing."
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy import stats
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split

from probe_nb.intervals import auc_interval
from probe_nb.maps import _problems, probe_map, score_answers
from probe_nb.probes import LogisticProbe, ProbeGrid, delong, group_folds

POSITIONS = ["last_q", "exact_answer_last", "-1"]


def planted(n=240, layers=3, d=8, seed=0, strength=1.5, size=2, wrong=.35):
    "A signal at layer 1 of exact_answer_last; groups of `size`; rows 0 … 9 lack that position."
    rng = np.random.default_rng(seed)
    correct = pd.array(rng.random(n) > wrong, dtype="boolean")
    ans = pd.DataFrame({"example": rng.permutation(n) + 7, "id": [f"q{i}" for i in range(n)], "sample": 0,
                        "group": [f"g{i // size}" for i in range(n)], "correct": correct})
    X = rng.normal(size=(n, len(POSITIONS), layers, d)).astype(np.float32)
    X[:, 1, min(1, layers - 1), 0] += strength * correct.astype(float)
    X[:10, 1] = np.nan
    return as_acts(X, ans["example"]), ans


def as_acts(X, example, positions=None):
    positions = np.array(positions or POSITIONS, object)
    coords = {"example": np.asarray(example), "position": positions, "layer": np.arange(X.shape[2])}
    attrs = {"site": "mlp_in", "model": "m", "revision": "r"}
    return xr.DataArray(X, dims=("example", "position", "layer", "feature"), coords=coords, attrs=attrs)


def same(a, b):
    xr.testing.assert_equal(a, b)
    assert a.attrs == b.attrs


@pytest.fixture(scope="module")
def world():
    acts, ans = planted()
    return acts, ans, probe_map(acts, ans, progress=False)


def test_planted_signal_is_found_where_it_is(world):
    acts, ans, m = world
    assert m["auc"].sel(layer=1, position="exact_answer_last") > .78
    others = m["auc"].where((m.layer != 1) | (m.position != "exact_answer_last"))
    assert abs(others - .5).max() < .2 and others.count() == 8
    assert (m.attrs["best_layer"], m.attrs["best_position"], m.attrs["best_share"]) == (1, "exact_answer_last", 1.)
    assert abs(m.attrs["best_auc"] - stats.norm.cdf(1.5 / 2**.5)) < .08


def test_shape_and_attributes(world):
    acts, ans, m = world
    assert m["auc"].dims == ("layer", "position") and m.position.values.tolist() == POSITIONS
    assert m["n"].sel(position="exact_answer_last").values.tolist() == [230] * 3 and m["n"].sel(position="-1")[0] == 240
    assert m["n_wrong"].sel(position="-1")[0] == (~ans["correct"]).sum() and (m["reason"] == "").all()
    assert ((m["auc_low"] <= m["auc"]) & (m["auc"] <= m["auc_high"])).all()
    assert all(isinstance(v, (str, int, float)) for v in m.attrs.values())
    assert (m.attrs["site"], m.attrs["n_answers"], m.attrs["n_groups"], m.attrs["folds"]) == ("mlp_in", 240, 120, 5)


def test_row_order_labels_and_excluded_rows_change_nothing(world):
    acts, ans, m = world
    rng = np.random.default_rng(0)
    shuffled = ans.sample(frac=1, random_state=3).set_index(pd.Index(rng.permutation(240) * 3))
    same(probe_map(acts, shuffled, progress=False), m)
    same(probe_map(acts.isel(example=rng.permutation(240)), ans, progress=False), m)
    renumbered = dict(zip(ans["example"], rng.permutation(1000)[:240]))
    same(probe_map(acts.assign_coords(example=[renumbered[e] for e in acts.example.values]),
                   ans.assign(example=ans["example"].map(renumbered)), progress=False), m)
    more = pd.concat([ans, ans[:20].assign(example=np.arange(5000, 5020), id="x", group="g3", correct=pd.NA)])
    wide = xr.concat([acts, acts[:20].assign_coords(example=np.arange(5000, 5020))], "example")
    same(probe_map(wide, more, progress=False), m)
    empty = more.assign(correct=more["correct"].fillna(True))  # labelled, but without any position
    wide[dict(example=slice(240, None))] = np.nan
    xr.testing.assert_equal(probe_map(wide, empty, progress=False), m)


def test_a_part_of_the_map_is_the_part_of_the_map(world):
    acts, ans, m = world
    part = probe_map(acts, ans, positions=["-1", "last_q"], layers=[2, 0], progress=False)
    for v in ("auc", "auc_low", "n", "accuracy"):
        np.testing.assert_allclose(part[v], m[v].sel(position=["-1", "last_q"], layer=[2, 0]), rtol=1e-5)


def test_scores_are_what_stands_behind_the_cell(world):
    acts, ans, m = world
    s = score_answers(acts, ans, layer=1, position="exact_answer_last")
    assert s.columns.tolist() == ["example", "correct", "score", "fold"] and s["example"].tolist() == ans["example"][10:].tolist()
    cell = m.sel(layer=1, position="exact_answer_last")
    joined = s.merge(ans[["example", "group"]], on="example")
    a, _, _ = auc_interval(s["score"], s["correct"], joined["group"], s["fold"])
    assert a == pytest.approx(float(cell["auc"])) and joined.groupby("group")["fold"].nunique().max() == 1
    assert ((s["score"] > 0) == s["correct"]).mean() == pytest.approx(float(cell["accuracy"]))


def test_c_is_chosen_without_the_fold_it_scores(world):
    acts, ans, _ = world
    Cs, s = [.001, 1.], score_answers(acts, ans, layer=1, position="exact_answer_last", C=[.001, 1.])
    joined = s.merge(ans[["example", "group"]], on="example")
    X = acts.sel(position="exact_answer_last", layer=1, example=joined["example"].values).values
    y, f = joined["correct"].to_numpy(bool), joined["fold"].to_numpy()
    def inner(k, C):  # pairs ranked right on each inner fold, by a probe that saw neither it nor fold k
        won = pairs = 0
        for j in set(range(5)) - {k}:
            t, m = f == j, (f != j) & (f != k)
            u = LogisticProbe(C=C, scale=True).fit(X[m], y[m]).decision_function(X[t])
            p = y[t].sum() * (~y[t]).sum()
            won, pairs = won + p * roc_auc_score(y[t], u), pairs + p
        return won / pairs
    for k in (0, 3):
        C = max(Cs, key=lambda c: inner(k, c))
        u = LogisticProbe(C=C, scale=True).fit(X[f != k], y[f != k]).decision_function(X[f == k])
        np.testing.assert_allclose(s["score"][f == k], u, rtol=1e-3, atol=1e-3)


def test_fixed_c_is_the_grid(world):
    acts, ans, _ = world
    s = score_answers(acts, ans, layer=0, position="-1", C=.1)
    X = acts.sel(position="-1", layer=[0]).values.transpose(1, 0, 2)
    inside = pd.Series(ans.index, index=ans["example"]).loc[s["example"]].to_numpy()
    for k in range(2):
        m = (s["fold"] != k).to_numpy()
        u = LogisticProbe(C=.1, scale=True).fit(X[0][inside][m], s["correct"][m]).decision_function(X[0][inside][~m])
        np.testing.assert_allclose(s["score"][~m], u, rtol=1e-3, atol=1e-3)


def test_problems_hold_out_each_fold_and_each_pair_once():
    held, model = _problems(5)
    assert len(held) == 15 == len(set(held)) and (model == model.T).all()
    assert all(set(held[model[k, j]]) == {k, j} for k in range(5) for j in range(5))


def test_noise_best_cell_covers_half_and_the_maximum_does_not():
    covered, largest = [], []
    for seed in range(12):
        rng = np.random.default_rng(seed)
        y = rng.random(120) < .6
        X = rng.normal(size=(120, 6, 6, 4)).astype(np.float32)
        ans = pd.DataFrame({"example": np.arange(120), "group": np.arange(120) // 2, "correct": pd.array(y, dtype="boolean")})
        m = probe_map(as_acts(X, ans["example"], list("abcdef")), ans, C=.01, progress=False)
        covered.append(m.attrs["best_auc_low"] <= .5 <= m.attrs["best_auc_high"])
        largest.append(float(m["auc"].max()))
    assert sum(covered) >= 10 and np.mean(largest) > .6


def clustered(rng, groups, sep, wrong=.3, share=.5, labels=.3):
    "Scores and labels whose rows agree within groups; the true AUC is Φ(sep/√2), nearly."
    g = np.repeat(np.arange(groups), rng.integers(1, 6, groups))
    both = lambda s: np.sqrt(s) * rng.normal(size=groups)[g] + np.sqrt(1 - s) * rng.normal(size=len(g))
    y = both(labels) > stats.norm.ppf(wrong)
    return sep * y + both(share), y, g


@pytest.mark.parametrize("sep", [0, 1.2, 2.2])
def test_interval_covers_with_groups_and_folds(sep):
    rng = np.random.default_rng(int(sep * 10))
    drawn = []
    for _ in range(500):
        s, y, g = clustered(rng, 120, sep)
        drawn.append(auc_interval(s + 3 * (g % 5), y, g, g % 5))
    a, low, high = np.array(drawn).T
    truth = a.mean()
    assert abs(truth - stats.norm.cdf(sep / 2**.5)) < .01
    assert .92 <= ((low <= truth) & (truth <= high)).mean() <= .98


def test_rows_taken_as_independent_cover_too_little():
    rng = np.random.default_rng(0)
    drawn = np.array([auc_interval(s, y) for s, y, _ in (clustered(rng, 60, 1., share=.9, labels=.8) for _ in range(300))])
    assert ((drawn[:, 1] <= drawn[:, 0].mean()) & (drawn[:, 0].mean() <= drawn[:, 2])).mean() < .9


def test_cross_validated_noise_is_covered_because_folds_teach_each_other():
    rng = np.random.default_rng(0)
    ans = pd.DataFrame({"example": np.arange(150), "correct": pd.array(rng.random(150) < .6, dtype="boolean")})
    inside, plain = [], []
    for _ in range(4):
        X = rng.normal(size=(150, 1, 60, 6)).astype(np.float32)
        m = probe_map(as_acts(X, ans["example"], ["-1"]), ans, C=.01, progress=False)
        inside.append(((m["auc_low"] <= .5) & (m["auc_high"] >= .5)).mean().item())
        y = ans["correct"].to_numpy(bool)
        grid = ProbeGrid(C=[.01], scale=True).fit(X[:, 0].transpose(1, 0, 2), y)
        _, low, high = auc_interval(grid.scores_[:, 0], y, folds=grid.folds_)
        plain.append(((low <= .5) & (high >= .5)).mean())
    assert np.mean(inside) > .9 and np.mean(plain) < .89


def test_interval_of_one_probe_is_delongs_in_log_odds():
    rng = np.random.default_rng(0)
    y = np.arange(80) % 3 > 0
    s = rng.normal(size=80) + y
    a, v = delong(s, y)
    _, low, high = auc_interval(s, y)
    half = stats.t.ppf(.975, (~y).sum() - 1) * np.sqrt(v) / (a * (1 - a))
    logit = lambda p: np.log(p / (1 - p))
    np.testing.assert_allclose([logit(low), logit(high)], [logit(a) - half, logit(a) + half], rtol=1e-9)


def test_perfect_and_constant_scores_keep_an_interval():
    y = np.arange(40) < 20
    assert auc_interval(y.astype(float), y)[1] < .9 and auc_interval(y.astype(float), y)[2] == 1
    assert auc_interval(-y.astype(float), y)[1] == 0 and auc_interval(-y.astype(float), y)[2] > .1
    a, low, high = auc_interval(np.zeros(40), y)
    assert a == .5 and low < .45 and high > .55


def test_paper_protocol_by_hand():
    acts, ans = planted(strength=.8)
    m = probe_map(acts, ans, protocol="paper", seed=4, progress=False)
    rows = ans.sort_values(["group", "id"], ignore_index=True)
    train, test = train_test_split(np.arange(240), test_size=.2, random_state=4)
    X = acts.sel(position="exact_answer_last", example=rows["example"].values).values
    here, y = np.isfinite(X[:, 0, 0]), rows["correct"].to_numpy(bool)
    train, test = train[here[train]], test[here[test]]
    for layer in range(3):
        peer = LogisticRegression(max_iter=10_000, tol=1e-10).fit(X[train, layer], y[train])
        cell, u = m.sel(layer=layer, position="exact_answer_last"), peer.decision_function(X[test, layer])
        assert float(cell["auc"]) == pytest.approx(roc_auc_score(y[test], u), abs=1e-3) and int(cell["n"]) == len(test)
        assert float(cell["accuracy"]) == pytest.approx(((u > 0) == y[test]).mean(), abs=1e-3)
    assert m.attrs["best_auc"] == float(m["auc"].max()) and "too high" in m.attrs["note"] and m.attrs["C"] == "1"
    assert len(score_answers(acts, ans, layer=1, position="-1", protocol="paper")) == 48


def test_cells_that_cannot_be_scored_say_why():
    acts, ans = planted()
    acts[:, 2] = np.nan
    acts[25:, 0] = np.nan
    m = probe_map(acts, ans, progress=False)
    assert m["auc"].sel(position=["-1", "last_q"]).isnull().all()
    assert m["reason"].sel(position="-1").values[0] == "0 answers, 0 wrong: at least 10 of each kind are needed"
    assert m["reason"].sel(position="last_q").values[0].startswith(f"25 answers, {(~ans['correct'][:25]).sum()} wrong:")
    assert m.attrs["best_position"] == "exact_answer_last"
    right = probe_map(acts, ans.assign(correct=True), progress=False)
    assert right["auc"].isnull().all() and "230 answers, 0 wrong" in right["reason"].sel(position="exact_answer_last").values[0]
    assert "best_auc" not in right.attrs
    few = probe_map(acts, ans.assign(group=np.arange(240) % 4), progress=False)
    assert "4 groups" in few["reason"].sel(position="exact_answer_last").values[0]
    with pytest.raises(ValueError, match="cannot be scored: 0 answers"): score_answers(acts, ans, layer=0, position="-1")


@pytest.mark.parametrize("change,says", [
    (lambda a, s: (a, s.assign(example=s["example"] + 3)), r"of 240 answers have no activations, the first is example"),
    (lambda a, s: (a, s[:100]), "140 of 240 activations have no answer"),
    (lambda a, s: (a, pd.concat([s, s[4:5]])), "stands twice in the answers"),
    (lambda a, s: (xr.concat([a, a[:1]], "example"), s), "stands twice in the activations"),
    (lambda a, s: (a, s.drop(columns="correct")), "no column 'correct'"),
    (lambda a, s: (a.where((a.layer != 2) | (a.example != 50)), s), "example 50 has NaN or infinite activations at layer 2"),
])
def test_errors_are_one_sentence(change, says):
    with pytest.raises((ValueError, KeyError), match=says): probe_map(*change(*planted()), progress=False)


@pytest.mark.parametrize("options,says", [
    (dict(folds=2), "at least 3"), (dict(protocol="x"), "'honest' or 'paper'"),
    (dict(layers=[9]), "no layer 9"), (dict(positions=["nowhere"]), "no position 'nowhere'")])
def test_wrong_options_are_named(options, says):
    with pytest.raises((ValueError, KeyError), match=says): probe_map(*planted(), **options, progress=False)


def test_progress_wraps_the_positions_and_interrupts_pass():
    seen = []
    def progress(items, total=None, desc=""):
        for i in items: seen.append((total, desc)); yield i
    probe_map(*planted(n=60, layers=1), progress=progress)
    assert seen == [(3, "probing positions")] * 3
    def stop(items, total=None, desc=""): raise KeyboardInterrupt
    with pytest.raises(KeyboardInterrupt): probe_map(*planted(n=60, layers=1), progress=stop)


def test_lazy_activations_read_a_position_at_a_time(tmp_path, monkeypatch):
    acts, ans = planted()
    acts.to_dataset(name="acts").assign_coords(position=acts.position.values.astype(str)).to_zarr(tmp_path / "a.zarr")
    lazy = xr.open_zarr(tmp_path / "a.zarr", chunks=None)["acts"]
    whole = probe_map(acts, ans, progress=False)
    monkeypatch.setattr("probe_nb.maps._BUDGET", 1)  # one layer at a time
    np.testing.assert_allclose(probe_map(lazy, ans, progress=False)["auc"], whole["auc"], atol=2e-3)


def test_folds_ignore_how_groups_are_called():
    y, g = np.arange(100) % 3 > 0, np.arange(100) // 4
    assert (group_folds(y, g) == group_folds(y, [f"{k:03}" for k in g])).all()


def test_options_that_mean_nothing():
    acts = xr.DataArray(np.zeros((40, 1, 1, 2), "f4"), dims=("example", "position", "layer", "feature"),
                        coords=dict(example=np.arange(40), position=np.array(["p"], object), layer=[0]))
    ans = pd.DataFrame(dict(example=np.arange(40), id=np.arange(40).astype(str), correct=pd.array([True, False]*20, "boolean")))
    for bad, why in [(dict(C=0), "above 0"), (dict(C=[-1, 1]), "above 0"), (dict(ci=95), "ci=95")]:
        with pytest.raises(ValueError, match=why): probe_map(acts, ans, progress=False, **bad)
