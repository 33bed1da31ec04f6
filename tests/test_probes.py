"The solver is scikit-learn's optimum whatever the shape; the AUC is scikit-learn's whatever the ties."
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

from probe_nb.controls import label_aucs
from probe_nb.probes import LogisticProbe, ProbeGrid, auc, auc_parts, delong, grid_scores, group_folds
from probe_nb.solver import stream_scores

quick = settings(max_examples=16, deadline=None, derandomize=True)


def data(n, d, seed=0, wrong=.4, signal=1., offset=2.):
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d)) @ np.diag(np.exp(rng.normal(size=d) / 2)) + offset * rng.normal(size=d)
    z = X[:, 0] - X[:, 0].mean()
    y = signal * z / z.std() + rng.normal(size=n) > np.quantile(signal * z / z.std(), wrong)
    y[:2] = [True, False]
    return X.astype(np.float32), y


def peer(X, y, C, weight=None):
    return LogisticRegression(C=C, solver="newton-cg", tol=1e-10, max_iter=5000).fit(X.astype(np.float64), y, weight)


def off(ours, theirs):  # relative error of decision values
    return np.abs(ours - theirs).max() / np.abs(theirs).max()


@parametrize_with_checks([LogisticProbe(), LogisticProbe(C=.1, scale=True)])
def test_scikit_learns_contract(estimator, check):
    check(estimator)


@quick
@given(st.integers(8, 80), st.integers(1, 120), st.floats(-3, 2), st.floats(.15, .85), st.integers(0, 99))
def test_probe_is_the_optimum(n, d, logC, wrong, seed):
    X, y = data(n, d, seed, wrong)
    single = LogisticProbe(C=10**logC).fit(X, y).decision_function(X)
    X = X.astype(float)
    ours, theirs = LogisticProbe(C=10**logC).fit(X, y), peer(X, y, 10**logC)
    assert off(single, theirs.decision_function(X)) < 1e-3
    assert off(ours.decision_function(X), theirs.decision_function(X)) < 1e-6
    np.testing.assert_allclose(ours.coef_, theirs.coef_, atol=1e-6 * np.abs(theirs.coef_).max())
    np.testing.assert_allclose(ours.intercept_, theirs.intercept_, rtol=1e-5, atol=1e-6)


@quick
@given(st.integers(12, 60), st.integers(1, 80), st.booleans(), st.integers(0, 99))
def test_weights_are_repeated_rows(n, d, scale, seed):
    X, y = data(n, d, seed)
    times = np.random.default_rng(seed).integers(0, 4, n)
    times[:2] = 1
    X, again = X.astype(float), np.arange(n).repeat(times)
    for kind in (None, "balanced", {True: 3.}):
        a = LogisticProbe(C=.3, scale=scale, class_weight=kind).fit(X, y, sample_weight=times)
        b = LogisticProbe(C=.3, scale=scale, class_weight=kind).fit(X[again], y[again])
        assert off(a.decision_function(X), b.decision_function(X)) < 1e-5
        grid = grid_scores(X[None], y, times, [.3], scale, kind)[0, 0, 0]
        assert off(grid, a.decision_function(X)) < 1e-3


def test_class_weights_are_scikit_learns():
    X, y = data(80, 5, wrong=.2)
    X, times = X.astype(float), np.random.default_rng(0).random(80) + .1
    for kind in ("balanced", {False: 5., True: .5}):
        theirs = LogisticRegression(solver="newton-cg", tol=1e-10, class_weight=kind).fit(X, y, times)
        ours = LogisticProbe(class_weight=kind).fit(X, y, times)
        assert off(ours.decision_function(X), theirs.decision_function(X)) < 1e-6
    with pytest.raises(ValueError, match="class_weight='equal': it is 'balanced'"): LogisticProbe(class_weight="equal").fit(X, y)
    y = np.where(y, "right", "a slip")
    assert (LogisticProbe(class_weight={"right": 1e-6}).fit(X, y).predict(X) == "a slip").all()


@pytest.mark.parametrize("n,d,scale", [(60, 150, False), (60, 150, True), (90, 12, False), (90, 12, True)])
def test_problems_together_are_problems_alone(n, d, scale):
    "Folds, permuted labels and bootstrap counts as columns of one problem; each as scikit-learn fits it to those rows."
    rng = np.random.default_rng(n + d)
    X, y = data(n, d)
    labels = np.stack([y, *[rng.permutation(y) for _ in range(5)], y, y])
    counts = np.stack([np.bincount(rng.integers(0, n, n), minlength=n) for _ in range(2)])
    train = np.concatenate([np.arange(n)[None] % 5 != np.arange(6)[:, None] % 5, counts])
    together = grid_scores(X[None], labels, train, [.01, 1.], scale)[0]
    for p, (t, m) in enumerate(zip(labels, train)):
        alone = grid_scores(X[None], t, m, [.01, 1.], scale)[0, :, 0]
        rows = np.repeat(np.arange(n), m.astype(int))  # a count of two is the row twice
        Z = StandardScaler().fit(X[rows].astype(float)).transform(X.astype(float)) if scale else X
        for c, C in enumerate([.01, 1.]):
            theirs = peer(Z[rows], t[rows], C).decision_function(Z)
            assert off(together[c, p], theirs) < 1e-3 and off(alone[c], theirs) < 1e-3


def spiky(n, d, seed=0):
    "Like a language model's: a spectrum that falls by a power law, and three features up to a thousand times larger."
    rng = np.random.default_rng(seed)
    X = rng.normal(size=(n, d)) * 5 * np.arange(1, d + 1) ** -.5 @ np.linalg.qr(rng.normal(size=(d, d)))[0]
    y = X[:, :9].sum(1) / X[:, :9].sum(1).std() + rng.normal(size=n) > 0
    X[:, [3, d // 2, d - 1]] = (X[:, [3, d // 2, d - 1]] + 3) * [1000, 300, 50]
    return X.astype(np.float32), y


@pytest.mark.parametrize("n,d", [(120, 200), (200, 150), (400, 60)])
def test_massive_features_in_single_precision(n, d, monkeypatch):
    X, y = spiky(n, d)
    train = np.arange(n) % 3 != np.arange(2)[:, None]
    def never(*a): raise AssertionError("solved again in double precision")
    monkeypatch.setattr("torch.Tensor.double", never)  # what begins a second solution
    ours = grid_scores(X[None], y, train, [.001, .1, 10.])[0]
    for c, C in enumerate([.001, .1, 10.]):
        for k in range(2):
            theirs = LogisticProbe(C=C).fit(X[train[k]].astype(float), y[train[k]]).decision_function(X.astype(float))
            assert np.linalg.norm(ours[c, k] - theirs) < 1e-3 * np.linalg.norm(theirs)


def test_double_precision_is_scikit_learns_for_massive_features():
    X, y = spiky(150, 40)
    X = X.astype(float)
    theirs = LogisticRegression(C=.1, solver="newton-cholesky", tol=1e-12, max_iter=1000).fit(X, y).decision_function(X)
    assert off(LogisticProbe(C=.1).fit(X, y).decision_function(X), theirs) < 1e-6


def test_scaling_does_not_see_the_held_out_rows():
    X, y = data(80, 6)
    train = np.arange(80) < 60
    other = X.copy(); other[60:] *= 50
    a, b = (grid_scores(x[None], y, train, [1.], True)[0, 0, 0, :60] for x in (X, other))
    assert off(a, b) < 1e-3


def test_a_stream_is_the_whole():
    "Cells one after another, from an iterator, within a budget: no more are read than are worked on."
    X = np.stack([data(70, 90, i)[0] for i in range(12)])
    y, read = data(70, 90)[1], []
    def cells():
        for i, x in enumerate(X):
            read.append(i)
            yield x
    whole = ProbeGrid(C=[.1, 1.]).fit(X, y)
    np.testing.assert_allclose(ProbeGrid(C=[.1, 1.], budget=2**23).fit(cells(), y).scores_, whole.scores_, atol=2e-3)
    read.clear()
    first = next(stream_scores(cells(), y, np.ones((5, 70)), [1.], budget=_need(70, 90, 5)))
    assert len(first) == 1 and len(read) <= 4
    with pytest.raises(ValueError, match=r"budget=1000 bytes: one cell of 70 examples × 90 features needs \d+"):
        grid_scores(X, y, np.ones(70), [1.], budget=1000)


def _need(n, d, problems):
    from probe_nb.solver import _sizes
    low, high = 1, 2**30
    while high - low > 1:
        middle = (low + high) // 2
        try: _sizes(n, d, problems, 1, False, middle, True); high = middle
        except ValueError: low = middle
    return high


def test_any_estimator_fits_a_grid():
    from sklearn.linear_model import RidgeClassifier
    X = np.stack([data(60, 5, i)[0] for i in range(2)])
    y = data(60, 5, 1)[1]
    grid = ProbeGrid(probe=RidgeClassifier()).fit(X, y)
    m = grid.folds_ != 2
    single = RidgeClassifier().fit(X[1][m], y[m]).decision_function(X[1][~m])
    np.testing.assert_allclose(grid.scores_[1, 0, ~m], single, rtol=1e-4, atol=1e-5)
    assert grid.auc_.shape == (2, 1) and grid.auc_[1, 0] > grid.auc_[0, 0]
    logistic = ProbeGrid(probe=LogisticProbe(C=.1)).fit(X, y).scores_
    assert off(logistic, ProbeGrid(C=[.1]).fit(X, y).scores_) < 1e-3


@quick
@given(st.integers(20, 90), st.integers(1, 150), st.booleans(), st.integers(0, 99))
def test_a_grid_is_its_single_fits(n, d, scale, seed):
    X = np.stack([data(n, d, seed + i)[0] for i in range(3)])
    y, train = data(n, d, seed)[1], np.random.default_rng(seed).random((4, n)) < .7
    train[:, :2] = True
    Cs = [1., .001, .1]  # not in order
    ours = grid_scores(X, y, train, Cs, scale)
    for c, i, k in [(0, 0, 3), (1, 1, 1), (2, 2, 2), (0, 2, 0)]:
        m = train[k]
        Z = StandardScaler().fit(X[c][m].astype(float)).transform(X[c].astype(float)) if scale else X[c]
        assert off(ours[c, i, k], peer(Z[m], y[m], Cs[i]).decision_function(Z)) < 1e-4
    one = LogisticProbe(C=.1, scale=scale).fit(X[2][train[3]], y[train[3]]).decision_function(X[2])
    assert off(ours[2, 2, 3], one) < 1e-4


@pytest.mark.parametrize("n,d,scale", [(300, 40, False), (300, 40, True), (200, 600, False), (200, 600, True), (400, 400, False)])
def test_tight_agreement(n, d, scale):
    X, y = data(n, d, 1)
    train = np.arange(n) % 5 != np.arange(5)[:, None]
    ours = grid_scores(X[None], y, train, [.001, .1, 10.], scale)[0]
    for c, C in enumerate([.001, .1, 10.]):
        for k in (0, 3):
            Z = StandardScaler().fit(X[train[k]].astype(float)).transform(X.astype(float)) if scale else X
            assert off(ours[c, k], peer(Z[train[k]], y[train[k]], C).decision_function(Z)) < 5e-4


def test_awkward_data():
    rng = np.random.default_rng(0)
    y = np.arange(60) % 2 == 0
    apart = rng.normal(size=(60, 5)) + 100 * y[:, None]  # separated perfectly, far away
    constant = np.c_[rng.normal(size=(60, 3)), np.full((60, 2), 7.1)]
    twins = rng.normal(size=(30, 5)).repeat(2, 0)
    tiny = rng.normal(size=(60, 5)) * 1e-6 + 1e-3
    spike = rng.normal(size=(60, 5)); spike[3, 0] = 1e6
    for X in (apart, constant, twins, tiny, spike):
        for scale in (False, True):
            fit = LogisticProbe(C=1., scale=scale).fit(X, y)
            Z = StandardScaler().fit(X).transform(X) if scale else X
            theirs = LogisticRegression(solver="newton-cholesky", tol=1e-12, max_iter=500).fit(Z, y)
            assert np.isfinite(fit.coef_).all()
            np.testing.assert_allclose(fit.decision_function(X), theirs.decision_function(Z), rtol=1e-4, atol=1e-5)
            grid = grid_scores(X[None], y, np.ones(60), [.1, 1.], scale)
            assert np.isfinite(grid).all()


def test_constant_feature_of_a_fold_is_not_used():
    X, y = data(60, 4)
    X[:, 3] = 0; X[:12, 3] = 50.  # varies only in the held-out rows
    train = np.arange(60) >= 12
    with_it, without = (grid_scores(x[None], y, train, [1.], True)[0, 0, 0] for x in (X, X[:, :3]))
    np.testing.assert_allclose(with_it, without, rtol=1e-4, atol=1e-4)


def test_half_precision_and_chunks():
    X = np.stack([data(80, 10, i, offset=0)[0] for i in range(9)])
    y = data(80, 10)[1]
    whole = ProbeGrid().fit(X, y).scores_
    np.testing.assert_allclose(ProbeGrid().fit(X.astype(np.float16), y).scores_, whole, atol=.05)
    np.testing.assert_allclose(ProbeGrid(budget=_need(80, 10, 5) * 3).fit(X, y).scores_, whole, rtol=1e-3, atol=1e-3)


def test_shuffled_labels_give_half():
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(60, 100, 8)).astype(np.float32), rng.permutation(100) < 60
    aucs = ProbeGrid(C=[.1]).fit(X, y).auc_
    assert abs(aucs.mean() - .5) < .03 and aucs.min() < .5


def test_groups_are_never_on_both_sides():
    rng = np.random.default_rng(0)
    g = rng.integers(0, 30, 200).astype(str)
    grid = ProbeGrid(C=[1.]).fit(rng.normal(size=(1, 200, 3)), rng.random(200) < .5, groups=g)
    assert all(len(np.unique(grid.folds_[g == k])) == 1 for k in np.unique(g)) and len(np.unique(grid.folds_)) == 5
    assert (group_folds(rng.random(200) < .5, g, seed=1) != grid.folds_).any()


def test_out_of_fold_scores_are_single_fits():
    X, y = data(90, 6, 3)
    grid = ProbeGrid(C=[.1, 2.], scale=True).fit(X[None], y)
    for k in range(5):
        m = grid.folds_ != k
        single = LogisticProbe(C=2., scale=True).fit(X[m], y[m]).decision_function(X[~m])
        np.testing.assert_allclose(grid.scores_[0, 1, ~m], single, rtol=1e-4, atol=1e-4)
    aucs = [roc_auc_score(y[grid.folds_ == k], grid.scores_[0, 1, grid.folds_ == k]) for k in range(5)]
    pairs = [(y & (grid.folds_ == k)).sum() * (~y & (grid.folds_ == k)).sum() for k in range(5)]
    assert grid.auc_[0, 1] == pytest.approx(np.average(aucs, weights=pairs))


@quick
@given(st.integers(2, 60), st.integers(1, 8), st.integers(0, 99))
def test_auc_is_scikit_learns_ties_and_all(n, levels, seed):
    rng = np.random.default_rng(seed)
    y = np.r_[True, False, rng.random(n) < .5]
    s = rng.integers(0, levels, (3, n + 2)).astype(float)
    np.testing.assert_allclose(auc(s, y), [roc_auc_score(y, row) for row in s], atol=1e-12)
    np.testing.assert_allclose(auc(-s, y), 1 - auc(s, y), atol=1e-12)
    np.testing.assert_allclose(auc_parts(s, y).sum(-1), 0, atol=1e-12)


def test_delong_by_hand():
    rng = np.random.default_rng(0)
    y = rng.random(70) < .4
    s = np.round(rng.normal(size=70) + y, 1)
    wins = (s[y][:, None] > s[~y]) + .5 * (s[y][:, None] == s[~y])
    a, v = delong(s, y)
    assert a == pytest.approx(wins.mean())
    assert v == pytest.approx(wins.mean(1).var(ddof=1) / y.sum() + wins.mean(0).var(ddof=1) / (~y).sum())


def test_auc_without_pairs_is_missing():
    assert np.isnan(auc([1., 2.], [1, 1])) and np.isnan(auc([1., 2.], [1, 0], folds=[0, 1]))


@pytest.mark.parametrize("change,says", [
    (dict(y=np.ones(40)), "y holds one class only"), (dict(y=np.arange(39) % 2), "40 examples and y has 39"),
    (dict(groups=np.arange(40) % 4), "4 groups cannot fill 5 folds"), (dict(groups=np.arange(39)), "39 groups for 40"),
    (dict(y=np.arange(40) < 3), "3 correct and 37 wrong"), (dict(X=np.zeros((40, 3))), r"X\[None\]"),
    (dict(y=np.arange(40) < 10, groups=np.r_[np.zeros(10), np.arange(30) % 6 + 1]), "only one class is left"),
])
def test_errors_are_one_sentence(change, says):
    rng = np.random.default_rng(0)
    with pytest.raises(ValueError, match=says):
        ProbeGrid().fit(**(dict(X=rng.normal(size=(2, 40, 3)), y=np.arange(40) % 2) | change))


def test_missing_values_are_counted_and_placed():
    X = np.zeros((2, 40, 3)); X[1, 7, 2] = np.nan; X[1, 8, 0] = np.inf
    y = np.arange(40) % 2
    with pytest.raises(ValueError, match=r"2 NaN or infinite.*NaN\) at cell 1, example 7, feature 2"): ProbeGrid().fit(X, y)
    with pytest.raises(ValueError, match="example 7, feature 2"): LogisticProbe().fit(X[1], y)
    with pytest.raises(ValueError, match="one class"): LogisticProbe().fit(X[0], np.ones(40))


def test_threads_are_left_as_they_were():
    import torch
    before = torch.get_num_threads()
    ProbeGrid(C=[1.]).fit(*[np.random.default_rng(0).normal(size=(6, 50, 3)), np.arange(50) % 2])
    assert torch.get_num_threads() == before


@pytest.mark.parametrize("scale", [False, True])
def test_where_the_optimum_is_nothing_it_is_found(scale, recwarn):
    "Constant features, and rows whose twins contradict them: the best direction is none, and no time is spent on its absence."
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(20, 6)).repeat(3, 0).astype(np.float32), np.tile([True, False, False], 20)
    for x in (X, np.full_like(X, 7.1), np.zeros_like(X)):
        for C in (.001, 1., 100.):
            scores = grid_scores(x[None], y, np.ones(60), [C], scale)
            np.testing.assert_allclose(scores, np.log(1 / 2), atol=2e-3)
            np.testing.assert_allclose(LogisticProbe(C=C, scale=scale).fit(x, y).decision_function(x), np.log(1 / 2), atol=2e-3)
    assert not recwarn.list


def test_whatever_the_scale_no_warning(recwarn):
    rng = np.random.default_rng(0)
    for size in (1e-4, 1., 1e4):
        for n, d in ((30, 4), (30, 60), (80, 20)):
            X, y = (size * rng.normal(size=(n, d))).astype(np.float32), rng.random(n) < .5
            for C in (1e-3, 1., 100.):
                scores, fit = grid_scores(X[None], y, np.ones(n), [C])[0, 0, 0], peer(X / size, y, C * size**2)
                if size > 1 and n < 2 * d: continue  # separable: scikit-learn itself stops early
                assert np.linalg.norm(scores - fit.decision_function(X / size)) < 2e-3 * np.linalg.norm(scores)
    assert not [w for w in recwarn.list if "probes" in str(w.message)]


@pytest.mark.parametrize("C", [np.inf, np.nan, 0, -1., [.1, np.inf], []])
def test_strengths_are_finite_and_above_0(C):
    X, y = data(40, 3)
    for fit in (lambda: LogisticProbe(C=C).fit(X, y), lambda: ProbeGrid(C=C).fit(X[None], y),
                lambda: grid_scores(X[None], y, np.ones(40), np.ravel(C))):
        with pytest.raises(ValueError, match="finite and above 0"): fit()


def test_scores_that_are_missing_are_refused():
    y = np.arange(40) % 2
    for area in (auc, auc_parts):
        with pytest.raises(ValueError, match="40 scores are NaN"): area([np.nan] * 40, y)

    class Lost(LogisticProbe):
        def decision_function(self, X): return np.full(len(X), np.nan)
    with pytest.raises(ValueError, match="scores are NaN"): ProbeGrid(probe=Lost()).fit(data(40, 3)[0][None], y)


@pytest.mark.parametrize("offset,size,dtype", [(1e6, 1., np.float32), (1e5, .1, np.float32), (1e4, .01, np.float32),
                                               (1e6, 1e-3, np.float64), (1e9, 1., np.float64)])
@pytest.mark.parametrize("scale", [False, True])
def test_a_large_offset_hides_nothing(offset, size, dtype, scale):
    rng = np.random.default_rng(0)
    y = rng.random(300) < .5
    plain = (rng.normal(size=300) + 2 * y)[:, None]
    X = (offset + size * plain).astype(dtype)
    C = 1. if scale else 1 / size**2
    want = ProbeGrid(C=[1.], scale=scale).fit(plain[None], y)
    got = ProbeGrid(C=[C], scale=scale).fit(X[None], y)
    assert want.auc_[0, 0] > .85 and got.auc_[0, 0] == pytest.approx(want.auc_[0, 0], abs=.01)
    np.testing.assert_allclose(got.scores_, want.scores_, atol=.2)
    fits = [LogisticProbe(C=c, scale=scale).fit(x, y).decision_function(x) for c, x in ((C, X), (1., plain))]
    np.testing.assert_allclose(*fits, atol=.2)
    assert label_aucs(X[None], y[None], want.folds_)[0, 0] == pytest.approx(want.auc_[0, 0], abs=.01)


def test_a_grid_of_three_classes_is_three_grids():
    rng = np.random.default_rng(0)
    kind = rng.integers(0, 3, 150)
    X, g = rng.normal(size=(2, 150, 6)).astype("f4"), np.arange(150) // 2
    X[1, :, :3] += 2 * np.eye(3, dtype="f4")[kind]
    names = np.array(["c", "a", "b"])[kind]
    grid = ProbeGrid(C=[.01, 1], scale=True, class_weight="balanced").fit(X, names, groups=g)
    assert (grid.classes_.tolist(), grid.scores_.shape, grid.class_auc_.shape) == (["a", "b", "c"], (2, 2, 3, 150), (2, 2, 3))
    train = np.arange(5)[:, None] != grid.folds_
    for k, c in enumerate("abc"):
        scores = grid_scores(X, names == c, train, [.01, 1], True, "balanced")[:, :, grid.folds_, np.arange(150)]
        np.testing.assert_allclose(grid.scores_[:, :, k], scores, rtol=1e-3, atol=1e-4)
        np.testing.assert_allclose(grid.class_auc_[..., k], auc(scores, names == c, grid.folds_), atol=1e-3)
    np.testing.assert_allclose(grid.auc_, grid.class_auc_.mean(-1))
    assert grid.auc_[1].min() > .85 and abs(grid.auc_[0] - .5).max() < .12
    shares = [[(names[grid.folds_ == k] == c).mean() for c in "abc"] for k in range(5)]
    assert np.std(shares, 0).max() < .06 and all(len(set(grid.folds_[g == j])) == 1 for j in set(g))
    with pytest.raises(ValueError, match="with 3 classes it is 'balanced' or None"):
        ProbeGrid(class_weight={"a": 2}).fit(X, names)
    with pytest.raises(ValueError, match="class b has 2 rows: 5 folds need at least 5 of each"):
        group_folds(np.where(np.arange(60) < 2, "b", np.where(np.arange(60) < 30, "a", "c")), None)


@pytest.mark.parametrize("scale", [1., 2.**-10, 2.**-17])
def test_faint_activations_keep_their_ranks(scale):
    "Without scaling, scores far smaller than the intercept are still all different, and the AUC is the same."
    X, y = data(300, 40, wrong=.2, offset=0)
    C = .01
    want = grid_scores(X[None], y, np.ones(300), [C * scale**2])[0, 0, 0]
    got = grid_scores(X[None] * np.float32(scale), y, np.ones(300), [C])[0, 0, 0]
    theirs = peer(X, y, C * scale**2).decision_function(X.astype(float))
    assert len(np.unique(got)) == 300 and auc(got, y) == pytest.approx(auc(theirs, y), abs=1e-3)
    for s in (want, got): assert off(s - s.mean(), theirs - theirs.mean()) < 2e-3


@pytest.mark.parametrize("labels", [["right", "wrong"], [1., np.nan], [1, -1], [1, 2], [1, None]])
def test_labels_that_are_neither_true_nor_false_are_not_taken_for_true(labels):
    y = np.array(labels * 5, object if None in labels else None)
    for measure in (auc, auc_parts):
        with pytest.raises(ValueError, match="it is true or 1 for a correct answer"): measure(np.arange(10.), y)
    assert auc(np.arange(4.), np.array([0, 0, 1., 1.])) == auc(np.arange(4.), np.array([False, False, True, True], object)) == 1


@pytest.mark.parametrize("names", [(-1, 1), ("wrong", "right")])
def test_two_classes_of_any_name_are_folded_alike(names):
    X, y = data(60, 3)
    assert np.array_equal(group_folds(np.where(y, *names), None), group_folds(~y, None))


@pytest.mark.parametrize("weight", [-1., np.nan])
def test_a_weight_below_zero_or_missing_is_refused(weight):
    X, y = data(60, 3)
    m = np.ones(60)
    m[7] = weight
    for fit in (lambda: LogisticProbe().fit(X, y, m), lambda: ProbeGrid().fit(X[None], y, sample_weight=m)):
        with pytest.raises(ValueError, match="sample_weight"): fit()
    with pytest.raises(ValueError, match="sample_weight"): ProbeGrid().fit(X[None], y, sample_weight=m[:5])


@pytest.mark.parametrize("kind, says", [({"x": 3}, "class_weight names 'x'"), ({False: 0.}, "must be finite and above 0"),
                                        ({True: -1}, "must be finite and above 0")])
def test_class_weights_are_of_the_classes_and_above_zero(kind, says):
    X, y = data(60, 3)
    with pytest.raises(ValueError, match=says): LogisticProbe(class_weight=kind).fit(X, y)
    with pytest.raises(ValueError, match=says): ProbeGrid(class_weight=kind).fit(X[None], y)


def test_a_kind_that_is_not_set_up_is_named():
    X, y = data(60, 3)
    with pytest.raises(ValueError, match="set it up"): ProbeGrid(probe=LogisticProbe).fit(X[None], y)


@pytest.mark.parametrize("scale", [False, True])
def test_rows_without_weight_are_as_if_not_there_however_large(scale):
    X, y = data(120, 30)
    there = np.arange(120) >= 40
    far = np.where(there[:, None], X, 1e7 * X).astype(np.float64)
    ours = LogisticProbe(scale=scale).fit(far, y, 1. * there)
    theirs = LogisticProbe(scale=scale).fit(X[there].astype(float), y[there])
    assert off(ours.coef_, theirs.coef_) < 1e-6 and off(ours.decision_function(X), theirs.decision_function(X)) < 1e-6


@pytest.mark.parametrize("scale", [False, True])
def test_rows_on_which_nothing_is_trained_may_be_of_any_size(scale):
    "Weightless rows, whatever stands in them, change no score of the others."
    rng = np.random.default_rng(0)
    X, w = rng.normal(size=(120, 30)), np.repeat([0., 1.], [40, 80])
    y = X[:, 0] + rng.normal(size=120) > 0
    large = np.where(w[:, None] == 0, 1e4 * X, X)
    want, got = (grid_scores(A[None], y, [w], [1.], scale)[0, 0, 0] for A in (X, large))
    assert off(got[40:], want[40:]) < 1e-3


@pytest.mark.parametrize("C", [1e3, 1e6])
def test_weak_penalties_are_solved_in_double(C):
    "Nearly separable: single precision stops short of the optimum there (7e-4 at 1e6), and does not see it."
    rng = np.random.default_rng(1)
    X, w = rng.normal(size=(120, 30)), rng.integers(0, 3, 120).astype(float)
    y = X[:, 0] + .5 * rng.normal(size=120) > 0
    theirs = LogisticProbe(C=C).fit(X, y, sample_weight=w).decision_function(X)
    assert off(grid_scores(X[None], y, [w], [C])[0, 0, 0], theirs) < 2e-5
