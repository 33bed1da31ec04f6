"A map finds what was planted, where it was planted, and nothing where there is nothing."
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy import stats
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split
from xarray.backends.zarr import ZarrArrayWrapper

from probe_nb.controls import blind_folds, code_length, label_aucs, restricted, selectivity, shuffled_rows
from probe_nb.folds import _cells, _problems
from probe_nb.intervals import auc_interval, group_variance
from probe_nb.kinds import LDAProbe, MassMeanProbe
from probe_nb.maps import probe_map, score_answers
from probe_nb.measures import MEASURES, brier, measured, platt
from probe_nb.probes import LogisticProbe, ProbeGrid, auc_parts, delong, group_folds
from probe_nb.simulate import planted as planted_truth

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
    monkeypatch.setattr("probe_nb.folds._BUDGET", 1)  # one layer at a time
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


# Labels permuted, the plateau, other probes, more measures, the scores behind

def test_the_null_is_one_of_whole_groups_in_blind_folds(world):
    acts, ans, m = world
    assert m.attrs["permutations"] == 200 and m["above_null"].values.sum() == 1
    best = dict(layer=1, position="exact_answer_last")
    assert m["above_null"].sel(best) and m["p_value"].sel(best) == 1 / 201 and (m["p_value"] > 0).all()
    scored = score_answers(acts, ans, layer=0, position="exact_answer_last").merge(ans[["example", "id", "group"]], on="example")
    rows = ans.assign(here=ans["example"].isin(scored["example"])).sort_values(["group", "id"], ignore_index=True)
    fold = blind_folds(rows["group"])
    y, here = rows["correct"].to_numpy(bool), rows["here"].to_numpy()
    sigma = restricted(shuffled_rows(rows["group"], 200), here)
    X = acts.sel(position="exact_answer_last", example=rows["example"].values).values[here].transpose(1, 0, 2)
    aucs = label_aucs(X, np.concatenate([[y[here]], y[here][sigma]]), fold[here])
    np.testing.assert_allclose(m["p_value"].sel(position="exact_answer_last"), (1 + (aucs[:, 1:] >= aucs[:, :1]).sum(1)) / 201)
    assert .55 < m.attrs["null_max"] < m["auc"].sel(best)


def test_without_permutations_all_else_is_the_same(world):
    acts, ans, m = world
    bare = probe_map(acts, ans, permutations=0, progress=False)
    assert not {"p_value", "above_null", "score"} & set(bare) and "null_max" not in bare.attrs
    xr.testing.assert_equal(bare, m.drop_vars(["p_value", "above_null"]))
    part = probe_map(acts, ans, positions=["-1"], layers=[2], progress=False)
    assert part["p_value"].item() == m["p_value"].sel(layer=2, position="-1")


def test_noise_is_rarely_above_the_null():
    found = []
    for seed in range(30):
        acts, ans = planted_truth(160, 2, 3, 8, groups=(seed % 2) * 3 + 1, missing={"last_q": .3}, seed=seed)
        m = probe_map(acts, ans, permutations=39, C=.01, progress=False)
        found.append(m["above_null"].any().item())
    assert np.mean(found) <= .05 + 3 * (.05 * .95 / 30)**.5  # long version: benchmarks/maps.py


def test_plateau_holds_cells_as_good_as_the_best():
    truth = np.array([[.5, .5], [.5, .9], [.5, .9], [.5, .75]])
    acts, ans = planted_truth(400, 4, 2, 12, auc=truth, massive=0, spectrum=0, seed=2)
    m = probe_map(acts, ans, permutations=0, scores=True, progress=False)
    best = m.sel(layer=m.attrs["best_layer"], position=m.attrs["best_position"])
    y, f, g = (best[k].values for k in ("correct", "fold", "group"))
    se = group_variance(auc_parts(best["score"].values, y, f), y, g, f, best["taught"].values)**.5
    xr.testing.assert_equal(m["plateau"], m["auc"] >= best["auc"] - se)
    assert m["plateau"].dtype == bool and m["plateau"].sel(layer=m.attrs["best_layer"])[1] and not m["plateau"][:, 0].any()
    equal, _ = planted_truth(400, 4, 2, 12, auc=.9, massive=0, spectrum=0, near=.97, seed=2)
    assert probe_map(equal, ans, permutations=0, progress=False)["plateau"].sum() > 2


def test_any_probe_through_the_same_folds(world):
    acts, ans, m = world
    seen = []
    def progress(items, total=None, desc=""):
        for i in items: seen.append((total, desc)); yield i
    mine = probe_map(acts, ans, probe=LDAProbe(), permutations=19, progress=progress)
    assert seen == [(9, "probing cells")] * 9 and mine.attrs["probe"] == "LDAProbe()" and "own" in mine.attrs["C"]
    assert mine.attrs["best_layer"] == 1 and mine["above_null"].sel(layer=1, position="exact_answer_last")
    s = score_answers(acts, ans, layer=1, position="exact_answer_last", probe=LDAProbe())
    X = acts.sel(position="exact_answer_last", layer=1, example=s["example"].values).values
    for k in range(5):
        t = (s["fold"] == k).to_numpy()
        u = LDAProbe().fit(X[~t], s["correct"].to_numpy(bool)[~t]).decision_function(X[t])
        np.testing.assert_allclose(s["score"][t], u, rtol=1e-3, atol=1e-3)
    same_folds = score_answers(acts, ans, layer=1, position="exact_answer_last")
    assert (same_folds["fold"] == s["fold"]).all()


def test_more_is_what_the_rooms_below_say(world):
    acts, ans, m = world
    said = ans.assign(exact_answer=[f"A{i % 9}" for i in range(240)])
    asked = [*MEASURES, "selectivity", "code_length"]
    rich = probe_map(acts, said, more=asked, scores=True, permutations=0, progress=False)
    cell = rich.sel(position="exact_answer_last").dropna("example", subset=["score"])
    y, f, g = (cell[k].values for k in ("correct", "fold", "group"))
    for k, v in measured(cell["score"].values, y, f).items(): np.testing.assert_allclose(cell[k], v, err_msg=k)
    X = acts.sel(position="exact_answer_last", example=cell.example.values).values.transpose(1, 0, 2)
    types = said.set_index("example").loc[cell.example.values, "exact_answer"].str.lower()
    np.testing.assert_allclose(cell["selectivity"], selectivity(X, y, types, f), atol=1e-6)
    rows = pd.DataFrame({"g": g, "id": said.set_index("example").loc[cell.example.values, "id"]}).reset_index()
    order = rows.sort_values(["g", "id"]).index.to_numpy()
    bits, alone = code_length(X[:, order], y[order], g[order])
    np.testing.assert_allclose(cell["code_length"], bits, rtol=1e-3)
    np.testing.assert_allclose(cell["compression"], alone / bits, rtol=1e-3)
    assert cell["code_length"].values.argmin() == 1 and 0 <= rich.attrs["recurring"] <= 1
    old = sorted(set(m) - {"p_value", "above_null"})
    xr.testing.assert_equal(rich[old], m[old])


def test_scores_behind_all_cells(world):
    acts, ans, m = world
    kept = probe_map(acts, ans, scores=True, permutations=0, progress=False)
    assert kept["score"].dtype == np.float32 and kept["example"].values.tolist() == ans["example"].tolist()
    assert (kept["correct"].values == ans["correct"].to_numpy(bool)).all() and (kept["group"].values == ans["group"]).all()
    s = score_answers(acts, ans, layer=1, position="exact_answer_last")
    cell = kept["score"].sel(layer=1, position="exact_answer_last").dropna("example")
    np.testing.assert_allclose(cell, s["score"], rtol=1e-5, atol=1e-6)
    assert (cell["fold"].values == s["fold"]).all() and kept["taught"].shape == (3, 3, 5, 5)
    for l in range(3):
        for p in POSITIONS:
            c = kept.sel(layer=l, position=p).dropna("example", subset=["score"])
            got = auc_interval(c["score"], c["correct"], c["group"], c["fold"], taught=c["taught"].values)
            np.testing.assert_allclose(got, [c[v] for v in ("auc", "auc_low", "auc_high")], rtol=1e-6)
    fewer = ans.assign(correct=ans["correct"].mask(ans.index == 4))
    refused = probe_map(acts, fewer, scores=True, permutations=0, progress=False)
    assert refused.sizes["example"] == 239
    paper = probe_map(acts, ans, protocol="paper", scores=True, progress=False)
    assert paper["score"].sel(layer=0, position="-1").count() == 48 and "taught" not in paper


def test_paper_protocol_has_nothing_new(world):
    acts, ans, _ = world
    paper = probe_map(acts, ans, protocol="paper", progress=False)
    assert set(paper) == {"auc", "auc_low", "auc_high", "accuracy", "majority", "n", "n_wrong", "reason"}
    assert paper.attrs["permutations"] == 0 and "auprc" in probe_map(acts, ans, protocol="paper", more="auprc", progress=False)


@pytest.mark.parametrize("options,says", [
    (dict(more=["auc2"]), "more='auc2': there are auprc, brier, ece, recall_at_1, recall_at_5, selectivity, code_length"),
    (dict(permutations=10), "0 for none, or at least 19"), (dict(probe=MassMeanProbe), "set up, such as"),
    (dict(probe=3), "an estimator with fit"), (dict(probe=MassMeanProbe(), C=1), "not for probe="),
    (dict(probe=MassMeanProbe(), protocol="paper"), "has its own probe"),
    (dict(more="selectivity"), "neither 'exact_answer' nor 'answer'"),
    (dict(more="code_length", protocol="paper"), "knows only auprc")])
def test_new_options_are_named(world, options, says):
    acts, ans, _ = world
    with pytest.raises((ValueError, KeyError), match=says): probe_map(acts, ans, **options)


def test_nested_best_is_unbiased_where_the_largest_is_not():
    best, largest = [], []
    for seed in range(25):
        acts, ans = planted_truth(200, 3, 4, 8, groups=2, massive=0, seed=seed)
        m = probe_map(acts, ans, C=.01, permutations=0, progress=False)
        best.append(m.attrs["best_auc"]); largest.append(m["auc"].max().item())
    assert abs(np.mean(best) - .5) < .03 < .05 < np.mean(largest) - .5  # to 0.01: benchmarks/maps.py


@pytest.mark.parametrize("true", [.5, .85])
def test_intervals_of_few_large_groups_cover(true):
    "200 answers in twenty groups of ten; ten cells a world. The mean estimate stands for the truth; long: benchmarks/maps.py."
    drawn = []
    for seed in range(25):
        acts, ans = planted_truth(200, 10, 1, 24, auc=true, groups=10, massive=0, wrong=.35, seed=seed)
        y, g = ans["correct"].to_numpy(bool), ans["group"].to_numpy()
        fold = group_folds(y, g)
        scores, _, _, taught = _cells(acts.values[:, 0].transpose(1, 0, 2), y, fold, 5, [.01], True)
        drawn.append(np.stack(auc_interval(scores, y, g, fold, taught=taught)))
    a, low, high = np.concatenate(drawn, 1)
    assert .9 <= ((low <= a.mean()) & (a.mean() <= high)).mean() <= .985


def degenerate(change):
    acts, ans = planted(n=120, layers=1, d=5, size=2)
    X = acts.values[:, :, 0].copy()
    X[:10, 1] = X[10:20, 1]
    return as_acts(change(X, ans["correct"].to_numpy(bool))[:, :, None], ans["example"]), ans


@pytest.mark.parametrize("change", [lambda X, y: np.concatenate([X, np.full((*X.shape[:2], 3), 7.)], 2),
                                    lambda X, y: X * np.array([1e6, 1, 1e-6, 1, 30.]) + np.array([1e4, 0, 0, -9, 0])],
                         ids=["constant features", "dimensions of 1e6 and 1e-6"])
def test_what_tells_nothing_changes_nothing(change):
    plain, other = (probe_map(*degenerate(c), permutations=19, more=MEASURES, progress=False) for c in (lambda X, y: X, change))
    for v in ("auc", "auc_low", "p_value", "auprc", "brier"): np.testing.assert_allclose(other[v], plain[v], atol=.02, err_msg=v)


@pytest.mark.parametrize("change", [lambda X, y: np.full_like(X, 3.), lambda X, y: X + 1e3 * y[:, None, None],
                                    lambda X, y: np.repeat(X[::2], 2, 0)], ids=["constant", "separable", "duplicates"])
def test_degenerate_activations(change, request):
    m = probe_map(*degenerate(change), permutations=19, more=MEASURES, progress=False)
    assert all(np.isfinite(m[v]).all() for v in m if m[v].dtype.kind == "f")
    assert (m["auc_low"] <= m["auc"]).all() and (m["auc"] <= m["auc_high"]).all() and (m["auc_high"] > m["auc_low"]).all()
    if "separable" in request.node.name:
        assert (m["auc"] == 1).all() and m["above_null"].all() and m["plateau"].all() and (m["auc_low"] > .8).all()
    if "constant" in request.node.name: assert (m["auc"] == .5).all() and (m["p_value"] == 1).all() and not m["above_null"].any()


def test_nothing_to_score_leaves_an_empty_map():
    acts, ans = planted(n=60, layers=2)
    empty = probe_map(acts, ans.assign(correct=True), scores=True, progress=False)
    assert empty["p_value"].isnull().all() and not empty["above_null"].any() and not empty["plateau"].any()
    assert "null_max" not in empty.attrs and empty["score"].isnull().all() and (empty["reason"] != "").all()
    none = probe_map(acts.where(False), ans, progress=False)
    assert (none["reason"] == "0 answers, 0 wrong: at least 10 of each kind are needed").all()


# More than two classes, other targets

def three_kinds(n=300, seed=0, strength=2.):
    "Three kinds told apart at layer 1 of exact_answer_last, nowhere else."
    acts, ans = planted(n=n, seed=seed, strength=0)
    kind = np.random.default_rng(seed).permutation(np.arange(n) % 3)
    acts.values[:, 1, 1, :3] += strength * np.eye(3)[kind]
    return acts, ans.assign(kind=np.array(["c", "a", "b"])[kind])


def test_three_classes_are_each_told_from_the_rest_on_folds_that_spread_them():
    acts, ans = three_kinds()
    m = probe_map(acts, ans, target="kind", permutations=39, progress=False)
    assert m["class"].values.tolist() == ["a", "b", "c"] and m["class_auc"].dims == ("layer", "position", "class")
    np.testing.assert_allclose(m["auc"], m["class_auc"].mean("class"))
    rows = ans.sort_values(["group", "id"], ignore_index=True)
    here = np.isin(rows["example"], acts["example"].values[np.isfinite(acts.values[:, 1, 0, 0])])
    code, g = np.unique(rows["kind"], return_inverse=True)[1], rows["group"].to_numpy()
    fold = group_folds(code, g)[here]
    X, code, g = acts.sel(position="exact_answer_last", example=rows["example"].values[here]).values, code[here], g[here]
    X = X.transpose(1, 0, 2)
    y = code == np.arange(3)[:, None]
    by_hand = [_cells(X, t, fold, 5, [.001, .01, .1, 1], True) for t in y]
    scores, taught = np.stack([b[0] for b in by_hand], 1), np.stack([b[3] for b in by_hand], 1)
    cell = m.sel(position="exact_answer_last")
    for value, name in zip(auc_interval(scores, y, g, fold, taught=taught), ("auc", "auc_low", "auc_high")):
        np.testing.assert_allclose(cell[name], value, atol=2e-3)
    np.testing.assert_allclose(cell["accuracy"], (scores.argmax(1) == code).mean(1), atol=.01)
    assert cell["n_rarest"][0] == np.bincount(code).min() and cell["majority"][0] == np.bincount(code).max() / len(code)
    assert (m["above_null"].values.sum(), m.attrs["best_layer"], m.attrs["best_share"]) == (1, 1, 1.)
    assert m.attrs["best_auc"] > .85 and "each against the rest" in m.attrs["what"] and "n_wrong" not in m
    assert m.attrs["statistic"].startswith("mean over the classes")
    assert all(isinstance(v, (str, int, float)) for v in m.attrs.values())


def test_two_words_are_the_map_of_correct_and_the_order_of_rows_means_nothing(world):
    acts, ans, m = world
    word = ans.assign(said=np.where(ans["correct"], "yes", "no")).drop(columns="correct")
    own = probe_map(acts, word.sample(frac=1, random_state=0), target="said", progress=False)
    for v in ("auc", "auc_low", "auc_high", "p_value", "above_null", "plateau", "accuracy"):
        xr.testing.assert_equal(own[v], m[v])
    assert (own["n_rarest"] == m["n_wrong"]).all() and own.attrs["best_auc"] == m.attrs["best_auc"]
    kept = probe_map(acts, word, target="said", permutations=0, scores=True, progress=False)
    assert (kept["correct"].values == ans["correct"].to_numpy(bool)).all()
    acts, ans = three_kinds(120)
    ask = lambda s: probe_map(acts, s, target="kind", permutations=0, C=.1, progress=False)
    same(ask(ans), ask(ans.sample(frac=1, random_state=1)))


def test_three_kinds_of_noise_are_rarely_above_the_null_and_their_intervals_hold_a_half():
    above, inside = [], []
    for seed in range(20):
        acts, ans = three_kinds(150, seed, strength=0)
        m = probe_map(acts, ans, target="kind", permutations=39, C=.01, progress=False)
        above.append(m["above_null"].any().item())
        inside.append(((m["auc_low"] <= .5) & (m["auc_high"] >= .5)).mean().item())
    assert np.mean(above) <= .05 + 3 * (.05 * .95 / 20)**.5 and np.mean(inside) > .88


def test_a_mean_of_classes_that_are_one_is_that_one_and_of_many_is_covered():
    rng = np.random.default_rng(0)
    s, y, g = clustered(rng, 80, 1.2)
    f = g % 5
    t = rng.normal(0, .05, (5, 5))
    one = auc_interval(s, y, g, f, taught=t)
    np.testing.assert_allclose(auc_interval(np.stack([s, -s]), np.stack([y, ~y]), g, f, taught=np.stack([t, t])), one, rtol=1e-9)
    drawn = []
    for _ in range(300):
        g = np.repeat(np.arange(100), rng.integers(1, 6, 100))
        both = lambda *k: .7 * rng.normal(size=(*k, 100))[..., g] + .7 * rng.normal(size=(*k, len(g)))  # noqa: B023
        y = both(3).argmax(0) == np.arange(3)[:, None]
        drawn.append(auc_interval(1.2 * y + both(3), y, g, g % 5))
    a, low, high = np.array(drawn).T
    assert .92 <= ((low <= a.mean()) & (a.mean() <= high)).mean() <= .985


@pytest.mark.parametrize("change,says", [
    (lambda s: s.assign(kind=s["kind"].where(s.index > 8, "rare")), None),
    (lambda s: s.assign(kind="a"), "column 'kind' holds 'a' and nothing else"),
    (lambda s: s.assign(kind=np.arange(240) % 30), "holds 30 values: at most 20"),
    (lambda s: s.assign(kind=s["kind"].astype(object).where(s.index % 2 == 0, 3)), "holds int and str: its values must"),
    (lambda s: s.drop(columns="kind"), "no column 'kind'")])
def test_targets_that_cannot_be_told_are_said(change, says):
    acts, ans = three_kinds(240)
    ask = lambda: probe_map(acts, change(ans), target="kind", permutations=0, progress=False)
    if says is None:
        assert (ask()["reason"].sel(position="-1") == "240 answers, 9 of class 'rare': at least 10 of each are needed").all()
        return
    with pytest.raises((ValueError, KeyError), match=says): ask()


def test_what_is_for_two_classes_is_said():
    acts, ans = three_kinds(90)
    for options in (dict(more="brier"), dict(scores=True), dict(protocol="paper")):
        with pytest.raises(ValueError, match="'kind' holds 3 classes: .* for two"):
            probe_map(acts, ans, target="kind", **options)


# Chances of scores that are none

def test_a_brier_score_of_means_does_not_hang_on_their_unit():
    acts, ans = planted()
    mine, far = (probe_map(k * acts, ans, probe=MassMeanProbe(), permutations=0, more=["brier", "ece", "auprc"], scores=True,
                           progress=False) for k in (np.float32(1), np.float32(1000)))
    for v in ("brier", "ece", "auprc", "auc"): np.testing.assert_allclose(far[v], mine[v], rtol=1e-3, atol=1e-3)
    assert "Platt" in mine.attrs["chances"]
    cell = mine.sel(layer=1, position="exact_answer_last").dropna("example", subset=["score"])
    right = cell["correct"].values.mean()
    assert cell["brier"] < .85 * right * (1 - right)
    noise = mine["brier"].sel(position="last_q")
    assert (abs(noise - .35 * .65) < .03).all() and (mine["ece"] < .12).all()
    raw = probe_map(acts, ans, probe=LDAProbe(), permutations=0, scores=True, more="brier", progress=False)
    assert "chances" not in raw.attrs
    cell = raw.sel(layer=1, position="-1")
    assert cell["brier"].item() == pytest.approx(float(brier(cell["score"].values, cell["correct"].values)))


def test_calibration_is_learnt_without_the_fold():
    acts, ans = planted(n=120, layers=1)
    s = score_answers(acts, ans, layer=0, position="-1", probe=MassMeanProbe())
    rows = s.merge(ans[["example", "id", "group"]], on="example").sort_values(["group", "id"])
    X, y = acts.sel(position="-1", layer=0, example=rows["example"].values).values, rows["correct"].to_numpy(bool)
    f, chance = rows["fold"].to_numpy(), np.zeros(120)
    for k in range(5):
        own = np.zeros(120)
        for j in set(range(5)) - {k}:
            m = (f != j) & (f != k)
            own[f == j] = MassMeanProbe().fit(X[m], y[m]).decision_function(X[f == j])
        slope, offset = platt(own[f != k], y[f != k])
        chance[f == k] = stats.logistic.cdf(slope * rows["score"].to_numpy()[f == k] + offset)
    m = probe_map(acts, ans, probe=MassMeanProbe(), positions="-1", permutations=0, more="brier", progress=False)
    assert m["brier"].item() == pytest.approx(((chance - y) ** 2).mean(), rel=1e-3)


def test_code_length_wants_log_odds():
    acts, ans = planted(n=80, layers=1)
    with pytest.raises(ValueError, match="the scores of MassMeanProbe are no log-odds: take LDAProbe or MLPProbe"):
        probe_map(acts, ans, probe=MassMeanProbe(), more="code_length")
    m = probe_map(acts, ans, probe=LDAProbe(), more="code_length", permutations=0, progress=False)
    assert m["code_length"].notnull().all()


# What is missing, what is damaged, what is asked in another way

@pytest.mark.parametrize("layer,says", [(0, "has activations at layer 1, position 'last_q', but none at other layers"),
                                        (2, "has NaN or infinite activations at layer 2, position 'last_q', but whole ones")])
def test_a_layer_that_lacks_what_others_have_is_named_never_dropped(layer, says):
    acts, ans = planted()
    acts[5:40, 0, layer] = np.nan
    with pytest.raises(ValueError, match=f"example .* {says}.* extract it again, or leave that layer out by layers="):
        probe_map(acts, ans, progress=False)
    others = [k for k in range(3) if k != layer]
    m = probe_map(acts, ans, layers=others, permutations=0, progress=False)
    assert (m["n"].sel(position="last_q") == 240).all()


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_one_bad_number_is_named(value):
    acts, ans = planted()
    acts[7, 2, 1, 3] = value
    who = acts.example.values[7]
    with pytest.raises(ValueError, match=f"example {who} has NaN or infinite activations at layer 1, position '-1'"):
        probe_map(acts, ans, progress=False)
    acts[7, 2, 1, 3], acts[7, 2, 0, 3] = 0, value
    with pytest.raises(ValueError, match=f"example {who} has NaN or infinite activations at layer 0, position '-1'"):
        probe_map(acts, ans, progress=False)


def test_one_layer_and_one_position_need_no_list(world):
    acts, ans, m = world
    part = probe_map(acts, ans, layers=1, positions="-1", permutations=0, progress=False)
    assert part["auc"].shape == (1, 1) and part["auc"].item() == pytest.approx(m["auc"].sel(layer=1, position="-1").item())
    with pytest.raises(KeyError, match="no layer 9"): probe_map(acts, ans, layers=9)
    with pytest.raises(ValueError, match="at least one layer and one position"): probe_map(acts, ans, layers=[])


@pytest.mark.parametrize("change,says", [
    (lambda s: s.assign(correct=np.where(s["correct"], "yes", "no")), "column 'correct' holds '(yes|no)': it must be true"),
    (lambda s: s.assign(correct=s["correct"].astype(float) * 2), "column 'correct' holds 2.0"),
    (lambda s: s.assign(correct=s["outcome"]), "column 'correct' holds '(wrong|right)'")])
def test_verdicts_in_words_are_refused(change, says):
    acts, ans = planted()
    ans["outcome"] = np.where(ans["correct"], "right", "wrong")
    with pytest.raises(ValueError, match=says): probe_map(acts, change(ans))


def test_verdicts_as_numbers_and_bare_booleans_are_the_same(world):
    acts, ans, m = world
    for kind in (bool, int, float, object):
        same(probe_map(acts, ans.assign(correct=ans["correct"].to_numpy(bool).astype(kind)), progress=False), m)


def test_no_answers_and_no_verdicts_make_an_empty_map():
    acts, ans = planted(n=40, layers=1)
    for a, s in ((acts[:0], ans[:0]), (acts, ans.assign(correct=pd.array([pd.NA] * 40, "boolean")))):
        m = probe_map(a, s, scores=True, progress=False)
        assert m["auc"].isnull().all() and (m["reason"] == "0 answers, 0 wrong: at least 10 of each kind are needed").all()
        assert "best_auc" not in m.attrs and m.attrs["n_answers"] == 0


def test_fewer_answers_than_folds_say_so():
    acts, ans = planted(n=4, layers=1)
    assert probe_map(acts.fillna(0.), ans, progress=False)["reason"].str.startswith("4 answers").all()


def test_a_store_is_read_in_pieces_within_the_budget(tmp_path, monkeypatch):
    acts, ans = planted(n=400, layers=6, d=512)
    acts.to_dataset(name="acts").assign_coords(position=acts.position.values.astype(str)).to_zarr(tmp_path / "a.zarr")
    lazy, sizes = xr.open_zarr(tmp_path / "a.zarr", chunks=None)["acts"], []
    cell = 400 * 512 * 4
    monkeypatch.setattr("probe_nb.folds._BUDGET", 2 * cell)
    def watched(read):
        def get(self, key):
            out = read(self, key)
            if out.ndim > 1: sizes.append(out.nbytes)
            return out
        return get
    for way in ("_getitem", "_oindex", "_vindex"):
        monkeypatch.setattr(ZarrArrayWrapper, way, watched(getattr(ZarrArrayWrapper, way)))
    m = probe_map(lazy, ans, permutations=0, C=.01, progress=False)
    assert m["auc"].notnull().all() and max(sizes) <= 2 * cell
    assert sum(sizes) <= (18 + 3) * cell  # each cell once, and one layer for what is missing


def test_a_target_that_is_no_column_is_answered_with_those_that_are():
    acts, ans = planted_truth(40, 1, ["-1"], 4, massive=0)
    with pytest.raises(KeyError, match="no column 'kindd': there are example, id"):
        probe_map(acts, ans, target="kindd", progress=False)
