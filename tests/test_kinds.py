"Other kinds of probe are what their formulas say, and keep scikit-learn's contract."
import numpy as np
import pytest
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import RidgeClassifier
from sklearn.utils.estimator_checks import parametrize_with_checks

from probe_nb.kinds import AttentionProbe, LDAProbe, MassMeanProbe, MLPProbe, OneVsRestProbe, RidgeProbe
from probe_nb.probes import LogisticProbe, ProbeGrid, probe_scores

CLOSED = [RidgeProbe(), MassMeanProbe(), MassMeanProbe(tilt=True), LDAProbe()]


@parametrize_with_checks([*CLOSED, MLPProbe(steps=60), OneVsRestProbe()])
def test_scikit_learns_contract(estimator, check): check(estimator)


def data(n=120, d=8, seed=0, signal=2.):
    rng = np.random.default_rng(seed)
    y = rng.random(n) < .4
    X = rng.normal(size=(n, d)) @ rng.normal(size=(d, d)) + 5
    return X + signal * y[:, None] * rng.normal(size=d), y


@pytest.mark.parametrize("d", [8, 300])
def test_ridge_is_scikit_learns(d):
    X, y = data(d=d)
    for weight in (None, np.random.default_rng(0).random(120)):
        theirs = RidgeClassifier(alpha=3.).fit(X, y, weight)
        ours = RidgeProbe(3.).fit(X, y, weight)
        np.testing.assert_allclose(ours.decision_function(X), theirs.decision_function(X), rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize("d", [8, 300])
def test_lda_is_scikit_learns(d):
    X, y = data(d=d)
    theirs = LinearDiscriminantAnalysis(solver="lsqr", shrinkage=.3).fit(X, y)
    # scikit-learn standardises before it shrinks; with features of one variance that is the same
    Z = X / np.sqrt(sum((X[y == k] - X[y == k].mean(0)).__pow__(2).sum(0) for k in (0, 1)) / len(y))
    cov = sum((Z[y == k] - Z[y == k].mean(0)).T @ (Z[y == k] - Z[y == k].mean(0)) for k in (0, 1)) / len(y)
    w = np.linalg.solve(.7 * cov + .3 * np.trace(cov) / d * np.eye(d), Z[y].mean(0) - Z[~y].mean(0))
    b = -w @ (Z[y].mean(0) + Z[~y].mean(0)) / 2 + np.log(y.mean() / (~y).mean())
    np.testing.assert_allclose(LDAProbe(.3).fit(Z, y).decision_function(Z), Z @ w + b, rtol=1e-6, atol=1e-8)
    assert np.corrcoef(LDAProbe(.3).fit(X, y).decision_function(X), theirs.decision_function(X))[0, 1] > .95


def test_mass_mean_is_the_difference_of_means():
    X, y = data()
    probe = MassMeanProbe().fit(X, y)
    np.testing.assert_allclose(probe.coef_[0], X[y].mean(0) - X[~y].mean(0))
    middle = (X[y].mean(0) + X[~y].mean(0)) / 2
    assert probe.decision_function(middle[None])[0] == pytest.approx(0, abs=1e-9)
    tilted, lda = (p.fit(X, y).coef_[0] for p in (MassMeanProbe(tilt=True), LDAProbe(1e-6)))
    np.testing.assert_allclose(tilted, lda, rtol=1e-5)


@pytest.mark.parametrize("probe", CLOSED, ids=str)
def test_weights_are_repeated_rows_and_cells_are_single_fits(probe):
    X, y = data()
    times = np.random.default_rng(0).integers(0, 3, 120)
    rows = np.arange(120).repeat(times)
    alone = probe.fit(X[rows], y[rows]).decision_function(X)
    np.testing.assert_allclose(probe.fit(X, y, times).decision_function(X), alone, rtol=1e-6, atol=1e-8)
    permuted = np.random.default_rng(1).permutation(y)
    cells = np.stack([data(seed=1)[0], X])
    together = probe_scores(probe, cells, [y, permuted], [times, np.ones(120)])
    np.testing.assert_allclose(together[1, 0], alone, rtol=1e-3, atol=1e-4)
    np.testing.assert_allclose(together[0, 1], probe.fit(cells[0], permuted).decision_function(cells[0]), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("probe", [*CLOSED, MLPProbe(steps=60)], ids=str)
def test_planted_direction_is_found_and_noise_is_not(probe):
    rng = np.random.default_rng(0)
    y = rng.random(200) < .5
    X = rng.normal(size=(12, 200, 10))
    X[0, :, 3] += 2 * y
    aucs = ProbeGrid(probe=probe).fit(X, y).auc_[:, 0]
    assert aucs[0] > .85 and abs(aucs[1:].mean() - .5) < .06
    flipped = probe.fit(X[0], ~y).decision_function(X[0])
    assert flipped[y].mean() < flipped[~y].mean()
    if hasattr(probe, "coef_"): assert np.abs(probe.coef_[0]).argmax() == 3 and probe.coef_[0, 3] < 0


def test_network_is_the_same_for_a_seed_and_leaves_torchs_own_alone():
    import torch
    X, y = data()
    torch.manual_seed(7); before = torch.rand(1); torch.manual_seed(7)
    a = MLPProbe(steps=40).fit(X, y).decision_function(X)
    assert torch.rand(1) == before
    assert (MLPProbe(steps=40).fit(X, y).decision_function(X) == a).all()
    assert (MLPProbe(steps=40, seed=1).fit(X, y).decision_function(X) != a).any()


def spans(n=200, seed=0):
    rng = np.random.default_rng(seed)
    X, mask, y = rng.normal(size=(n, 4, 6)), np.arange(4) < rng.integers(1, 5, n)[:, None], rng.random(n) < .5
    at = np.array([rng.choice(np.flatnonzero(m)) for m in mask])
    X[np.arange(n), at, 0] += 4
    X[np.arange(n), at, 1] += 3 * (2 * y - 1)
    return X, mask, y


def test_attention_does_not_see_what_is_not_there():
    X, mask, y = spans()
    probe = AttentionProbe(steps=100).fit(X, y, mask)
    assert (probe.predict(X, mask) == y).mean() > .9 and probe.get_params() == dict(decay=.01, seed=0, steps=100)
    scores, other = probe.decision_function(X, mask), np.where(mask[..., None], X, np.nan)
    assert (probe.decision_function(other) == scores).all()
    assert (AttentionProbe(steps=100).fit(other, y).coef_ == probe.coef_).all()
    order = [2, 0, 3, 1]
    np.testing.assert_allclose(probe.decision_function(X[:, order], mask[:, order]), scores)  # a span is a set
    one = AttentionProbe(steps=100).fit(X[:, :1], y)
    np.testing.assert_allclose(one.attention(X[:, :1]), 1)
    a = probe.attention(X, mask)
    np.testing.assert_allclose(a.sum(1), 1)
    assert (a[~mask] == 0).all() and np.allclose(probe.predict_proba(X, mask).sum(1), 1)


@pytest.mark.parametrize("change,says", [
    (dict(X=np.zeros((10, 3))), r"\[example, token, feature\] is needed"),
    (dict(mask=np.zeros((10, 2), bool)), "example 0 has no token"),
    (dict(mask=np.ones((10, 3), bool)), "the mask has the shape"), (dict(y=np.ones(10)), "exactly two"),
    (dict(y=np.arange(9) % 2), "10 examples and y has 9")])
def test_attention_errors_are_one_sentence(change, says):
    given = dict(X=np.zeros((10, 2, 3)), y=np.arange(10) % 2) | change
    with pytest.raises(ValueError, match=says): AttentionProbe().fit(**given)


def test_one_against_the_rest():
    rng = np.random.default_rng(0)
    kind = rng.integers(0, 3, 200)
    X, names = rng.normal(size=(200, 4)) + 3 * np.eye(3, 4)[kind], np.array(["c", "a", "b"])[kind]
    model = OneVsRestProbe().fit(X, names)
    assert model.score(X, names) > .85 and model.classes_.tolist() == ["a", "b", "c"]
    alone = LogisticProbe().fit(X, names == "b").decision_function(X)
    np.testing.assert_allclose(model.decision_function(X)[:, 1], alone, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(model.predict_proba(X).sum(1), 1)


def test_settings_that_mean_nothing_are_named():
    X, y = data()
    for probe, says in [(LDAProbe(0), "shrinkage=0"), (LDAProbe(2), "shrinkage=2"), (RidgeProbe(0), "alpha=0")]:
        with pytest.raises(ValueError, match=says): probe.fit(X, y)
