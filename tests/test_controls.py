"Nulls are valid with groups of every kind, exact as arithmetic, and see what the controls are for."
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.linear_model import Ridge
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler

from probe_nb.controls import (
    _blocks,
    _strata,
    _won,
    blind_folds,
    code_length,
    control_labels,
    label_aucs,
    null_of_max,
    recurring,
    restricted,
    ridge_scores,
    selectivity,
    shuffled_rows,
)
from probe_nb.kinds import MassMeanProbe, RidgeProbe
from probe_nb.probes import LogisticProbe, auc

KINDS = {"one": lambda rng: np.arange(120), "two": lambda rng: np.arange(120) // 2, "ten": lambda rng: np.arange(300) // 10,
         "unequal": lambda rng: np.repeat(np.arange(45), rng.integers(1, 9, 45)),
         "long-tailed": lambda rng: np.repeat(np.arange(60), np.ceil(rng.lognormal(1, 1, 60)).astype(int).clip(1, 40)),
         "one giant": lambda rng: np.r_[np.zeros(40, int), 1 + np.arange(80) // 2]}


def grouped(rng, g, cells=6, d=5, share=.7):
    "Noise that rows of a group share, in activations and labels; no relation between them."
    def both(*k):
        return np.sqrt(share) * rng.normal(size=(*k, g.max() + 1))[..., g] + np.sqrt(1 - share) * rng.normal(size=(*k, len(g)))
    return both(cells, d).swapaxes(1, 2), both() > -.25


@pytest.mark.parametrize("kind", KINDS)
def test_permutations_move_groups_as_wholes(kind):
    rng = np.random.default_rng(0)
    g = rng.permutation(KINDS[kind](rng))
    sigma, sizes = shuffled_rows(g, 30, 1), np.bincount(g)
    assert (np.sort(sigma, 1) == np.arange(len(g))).all() and (sigma == shuffled_rows(g, 30, 1)).all()
    assert (shuffled_rows([f"q{k}" for k in g], 30, 1).shape == sigma.shape) and not (sigma[0] == sigma[1]).all()
    g_of = [[np.bincount(g[s][g == k], minlength=len(sizes)).max() / sizes[k] for k in range(len(sizes))] for s in sigma]
    assert np.min(g_of) == 1 or kind in ("unequal", "long-tailed")
    assert np.mean(g_of) > .95  # the share of a group's labels that come from one group


def test_strata_hold_whole_sizes_that_are_close():
    rng = np.random.default_rng(0)
    for _ in range(100):
        sizes = rng.integers(1, rng.integers(2, 60), rng.integers(1, 200))
        s = _strata(sizes, 20)
        assert all(len(np.unique(s[sizes == k])) == 1 for k in sizes)
        assert all(sizes[s == k].max() <= 1.25 * sizes[s == k].min() for k in s)
        assert all(np.ptp(sizes[s == k]) == 0 or (sizes[s == k] < sizes[s == k].max()).sum() < 20 for k in s)


@pytest.mark.parametrize("kind", KINDS)
def test_blind_folds_are_whole_groups_of_like_size(kind):
    rng = np.random.default_rng(0)
    g = rng.permutation(KINDS[kind](rng))
    f, sizes = blind_folds(g, 5), np.bincount(g)
    assert all(len(np.unique(f[g == k])) == 1 for k in range(len(sizes))) and (f == blind_folds([f"g{k:04}" for k in g], 5)).all()
    assert np.ptp(np.bincount(f, minlength=5)) <= max(sizes)


def test_restricted_permutations_are_uniform_and_the_same_draw():
    import itertools
    every = np.array(list(itertools.permutations(range(5))))
    here = np.array([1, 0, 1, 1, 0], bool)
    part = restricted(every, here)
    found, counts = np.unique(part, axis=0, return_counts=True)
    assert len(found) == 6 and (counts == 20).all()
    assert (restricted(every, np.ones(5, bool)) == every).all()
    rare = np.zeros(500, bool)
    rare[:3] = True
    assert (np.sort(restricted(shuffled_rows(np.arange(500), 50), rare), 1) == np.arange(3)).all()


@pytest.mark.parametrize("n,d", [(90, 7), (40, 200)])
def test_scores_are_ridge_regressions_in_rows_or_features(n, d):
    rng = np.random.default_rng(0)
    X, Y, train = rng.normal(3, 2, (n, d)), rng.random((3, n)) < .6, np.arange(n) % 4 > 0
    Z = StandardScaler().fit(X[train]).transform(X)
    for s, t in zip(ridge_scores(X, Y, train, .5), Y):
        peer = Ridge(alpha=.5 * train.sum() * d / min(train.sum(), d)).fit(Z[train], 2. * t[train] - 1)
        np.testing.assert_allclose(s, (peer.predict(Z[~train]) - peer.intercept_), atol=2e-4)


def test_pairs_are_counted_exactly_with_ties():
    rng = np.random.default_rng(0)
    S, Y = rng.normal(size=(40, 60)).round(1), rng.random((40, 60)) < .4
    won, pairs = _won(S, Y)
    np.testing.assert_allclose(won / pairs, [roc_auc_score(t, s) for s, t in zip(S, Y)], rtol=1e-12)
    won, pairs = _won(np.array([[0., -0., 0.], [1e30, -1e30, 0]]), np.array([[1, 0, 1], [0, 1, 1]], bool))
    assert (won / pairs).tolist() == [.5, 0]


def test_other_probes_are_fitted_again_for_each_labelling():
    rng = np.random.default_rng(0)
    X, Y, f = rng.normal(size=(2, 60, 4)), rng.random((3, 60)) < .5, np.arange(60) % 3
    for probe in (MassMeanProbe(), LogisticProbe(C=.1)):
        got = label_aucs(X, Y, f, probe)
        for c in range(2):
            for k in range(3):
                s = np.empty(60)
                for j in range(3): s[f == j] = clone(probe).fit(X[c][f != j], Y[k][f != j]).decision_function(X[c][f == j])
                assert got[c, k] == pytest.approx(auc(s.astype("f4"), Y[k], f), abs=2e-3)
    one = np.zeros((1, 60), bool)
    one[0, f == 0] = np.arange(20) < 10  # nothing to learn from without fold 0
    assert label_aucs(X, one, f, MassMeanProbe()).tolist() == [[.5], [.5]] == label_aucs(X, one, f).tolist()


def test_scale_and_constants_do_not_matter():
    rng = np.random.default_rng(0)
    X, y, f = rng.normal(size=(1, 80, 5)), np.arange(80) % 3 > 0, np.arange(80) % 5
    X[0, :, 0] += y
    wide = X * np.array([1e6, 1, 1e-6, 1, 1]) + np.array([1e5, 0, 0, -50, 0])
    wide = np.concatenate([wide, np.full((1, 80, 2), 7.)], 2)
    assert label_aucs(wide, y[None], f)[0, 0] == pytest.approx(label_aucs(X, y[None], f)[0, 0], abs=.03)
    assert label_aucs(np.ones((1, 80, 3)), y[None], f) == .5
    split = X * (f == 2)[:, None]  # constant wherever fold 2 is not
    assert np.isfinite(label_aucs(split, y[None], f)).all()


def rejections(kind, worlds, cells=12, permutations=99, share=.7):
    "Shares of null worlds: some cell above the null; p ≤ .05 in a cell."
    some, single = [], []
    for seed in range(worlds):
        rng = np.random.default_rng([seed, 7])
        g = KINDS[kind](rng)
        X, y = grouped(rng, g, cells, share=share)
        f = blind_folds(g, 5, seed)
        aucs = label_aucs(X, np.concatenate([[y], y[shuffled_rows(g, permutations, seed)]]), f)
        p, above, _ = null_of_max(aucs)
        some.append(above.any()); single.append((p <= .05).mean())
    return np.mean(some), np.mean(single)


@pytest.mark.parametrize("kind", KINDS)
def test_null_maps_are_rarely_rejected(kind):
    some, single = rejections(kind, 60)
    assert some <= .05 + 3 * (.05 * .95 / 60)**.5 and single <= .08  # long version: benchmarks/maps.py


def test_rows_shuffled_one_by_one_reject_too_often():
    "What groups are for: the same worlds, their groups ignored."
    found = []
    for seed in range(30):
        rng = np.random.default_rng(seed)
        g = np.arange(200) // 10
        X, y = grouped(rng, g, 12)
        aucs = label_aucs(X, np.concatenate([[y], y[shuffled_rows(np.arange(200), 99, seed)]]), blind_folds(g))
        found.append(null_of_max(aucs)[1].any())
    assert np.mean(found) > .3


def test_small_cells_do_not_set_the_height():
    rng = np.random.default_rng(0)
    aucs = .5 + rng.normal(size=(40, 201)) * np.where(np.arange(40) < 20, .1, .02)[:, None]
    aucs[20, 0] = .58
    p, above, height = null_of_max(aucs)
    assert above[20] and height[20:].max() < .58 < .7 < height[:20].min()
    assert ((aucs[:, 0] > height) == above).all() and p[20] == 1 / 201


def test_height_is_where_the_decision_turns():
    rng = np.random.default_rng(1)
    aucs = .5 + .03 * rng.normal(size=(30, 100))
    _, above, height = null_of_max(aucs)
    for c in range(5):
        for off in (-1e-4, 1e-4):
            other = aucs.copy()
            other[c, 0] = height[c] + off
            again = null_of_max(other)
            assert again[1][c] == (other[c, 0] > again[2][c])


def test_missing_and_constant_cells():
    rng = np.random.default_rng(0)
    aucs = .5 + .03 * rng.normal(size=(4, 60))
    aucs[1], aucs[2] = np.nan, .5
    p, above, height = null_of_max(aucs)
    assert np.isnan(p[1]) and p[2] == 1 and not above[1:3].any() and np.isnan(height[1]) and height[2] == .5
    nothing = null_of_max(np.full((2, 60), np.nan))
    assert np.isnan(nothing[0]).all() and not nothing[1].any()
    with pytest.raises(ValueError, match="permutations=10: a 95% quantile needs at least 19"): null_of_max(aucs[:, :11])


def test_control_labels_are_one_a_type_and_balanced():
    rng = np.random.default_rng(0)
    types, y = rng.choice(["Paris", "Rome", "Oslo", *map(str, range(40))], 300), rng.random(300) < .7
    Y = control_labels(y, types, 30)
    assert all(len(np.unique(t[types == k])) == 1 for t in Y for k in set(types)) and abs(Y.mean() - y.mean()) < .03
    assert recurring([1, 1, 2, 3], [0, 1, 0, 0]) == .5


def test_selectivity_is_the_difference():
    rng = np.random.default_rng(0)
    y, f, types = rng.random(150) < .5, np.arange(150) % 5, rng.integers(0, 30, 150)
    X = rng.normal(size=(1, 150, 4)) + y[:, None]
    got = selectivity(X, y, types, f)
    own, control = label_aucs(X, y[None], f)[0, 0], label_aucs(X, control_labels(y, types), f)[0].mean()
    assert got[0] == pytest.approx(own - control) and own > .7 and abs(control - .5) < .08


def test_code_is_what_the_blocks_cost():
    rng = np.random.default_rng(0)
    g = np.arange(160) // 2
    y = rng.random(160) < .6
    X = rng.normal(size=(2, 160, 6))
    X[0, :, 0] += 3 * y
    block = _blocks(y, g, 3)
    assert all(len(np.unique(block[g == k])) == 1 for k in g) and min(y[block == 0].sum(), (~y[block == 0]).sum()) >= 2
    sizes = np.bincount(block)
    assert (np.cumsum(sizes)[1:-1] <= 2 * np.cumsum(sizes)[:-2] + 1).all()
    for c in range(2):
        bits = rate = float(sizes[0])
        for b in range(1, block.max() + 1):
            m, out = block < b, block == b
            p = LogisticProbe(C=.1, scale=True).fit(X[c][m], y[m]).predict_proba(X[c][out])[:, 1]
            q = (y[m].sum() + .5) / (m.sum() + 1)
            bits -= np.log2(np.where(y[out], p, 1 - p)).sum()
            rate -= np.log2(np.where(y[out], q, 1 - q)).sum()
        mixed = -np.logaddexp2(-bits, -rate) + 1
        got, alone = code_length(X, y, g, C=[.1], seed=3)
        assert got[c] * 160 == pytest.approx(mixed, rel=2e-3) and alone * 160 == pytest.approx(rate)


def test_codes_of_noise_and_knowledge():
    rng = np.random.default_rng(1)
    y = rng.random(400) < .8
    X = rng.normal(size=(3, 400, 8))
    X[0, :, 2] += 4 * y
    X[1, :, 2] += 1.5 * y
    bits, alone = code_length(X, y)
    assert bits[0] < .5 * alone and bits[0] < bits[1] < alone and bits[2] < alone + np.log2(5) / 400 + 1e-9
    assert alone < 1 and code_length(X[:1], y, probe=RidgeProbe())[0] < alone
    assert code_length(X, y, np.zeros(400))[0].tolist() == [1, 1, 1]  # one group: nothing to learn from
    with pytest.raises(ValueError, match="1 correct and 399 wrong"): code_length(X, np.arange(400) == 0)
