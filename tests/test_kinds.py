"Other kinds of probe are what their formulas say, and keep scikit-learn's contract."
import numpy as np
import pytest
from sklearn.base import clone
from sklearn.discriminant_analysis import LinearDiscriminantAnalysis
from sklearn.linear_model import RidgeClassifier
from sklearn.utils.estimator_checks import parametrize_with_checks

from probe_nb.kinds import AttentionProbe, LDAProbe, MassMeanProbe, MLPProbe, RidgeProbe
from probe_nb.probes import LogisticProbe, ProbeGrid, probe_scores
from probe_nb.simulate import planted

CLOSED = [RidgeProbe(), MassMeanProbe(), MassMeanProbe(tilt=True), LDAProbe()]


@parametrize_with_checks([*CLOSED, MassMeanProbe(scale=True), LDAProbe(scale=False), MLPProbe(steps=60)])
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
    np.testing.assert_allclose(LDAProbe(.3, scale=False).fit(Z, y).decision_function(Z), Z @ w + b, rtol=1e-6, atol=1e-8)
    assert np.corrcoef(LDAProbe(.3, scale=False).fit(X, y).decision_function(X), theirs.decision_function(X))[0, 1] > .95


def test_mass_mean_is_the_difference_of_means():
    X, y = data()
    probe = MassMeanProbe().fit(X, y)
    np.testing.assert_allclose(probe.coef_[0], X[y].mean(0) - X[~y].mean(0))
    middle = (X[y].mean(0) + X[~y].mean(0)) / 2
    assert probe.decision_function(middle[None])[0] == pytest.approx(0, abs=1e-9)
    tilted, lda = (p.fit(X, y).coef_[0] for p in (MassMeanProbe(tilt=True), LDAProbe(1e-6, scale=False)))
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
    assert (AttentionProbe(steps=100).fit(other, y).direction_ == probe.direction_).all()
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
    (dict(mask=np.ones((10, 3), bool)), "the mask has the shape"), (dict(y=np.ones(10)), "one class only"),
    (dict(y=np.arange(9) % 2), "10 examples and y has 9")])
def test_attention_errors_are_one_sentence(change, says):
    given = dict(X=np.zeros((10, 2, 3)), y=np.arange(10) % 2) | change
    with pytest.raises(ValueError, match=says): AttentionProbe().fit(**given)


@pytest.mark.parametrize("probe", [LogisticProbe(), *CLOSED, MLPProbe(steps=60)], ids=str)
def test_more_classes_are_each_against_the_rest(probe):
    rng = np.random.default_rng(0)
    kind = rng.integers(0, 3, 200)
    X, names = rng.normal(size=(200, 4)) + 3 * np.eye(3, 4)[kind], np.array(["c", "a", "b"])[kind]
    model = clone(probe).fit(X, names)
    assert model.score(X, names) > .85 and model.classes_.tolist() == ["a", "b", "c"]
    s, p = model.decision_function(X), model.predict_proba(X)
    for k, c in enumerate("abc"):
        np.testing.assert_allclose(s[:, k], clone(probe).fit(X, names == c).decision_function(X), rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(p.sum(1), 1)
    assert (model.classes_[p.argmax(1)] == model.predict(X)).all() and model.__sklearn_tags__().classifier_tags.multi_class
    far = model.predict_proba(X * 1e4)
    assert np.isfinite(far).all() and np.allclose(far.sum(1), 1)  # chances that are all next to nothing still sum to one


def test_class_weights_by_name_with_more_classes():
    rng = np.random.default_rng(1)
    kind = rng.integers(0, 3, 120)
    X = rng.normal(size=(120, 3)) + np.eye(3)[kind]
    named = LogisticProbe(class_weight={0: 2, 2: 3}).fit(X, kind)
    rows = np.repeat(np.arange(120), np.array([2, 1, 3])[kind])
    np.testing.assert_allclose(named.coef_, LogisticProbe().fit(X[rows], kind[rows]).coef_, rtol=1e-5, atol=1e-7)
    balanced = LogisticProbe(class_weight="balanced").fit(X, kind).decision_function(X)[:, 1]
    np.testing.assert_allclose(balanced, LogisticProbe(class_weight="balanced").fit(X, kind == 1).decision_function(X), rtol=1e-6)


def test_attention_of_three_kinds_is_three_probes():
    X, mask, y = spans(120)
    kind = y * 1 + (X[:, 0, 2] > .5)
    three = AttentionProbe(steps=40).fit(X, kind, mask)
    for k in range(3):
        one = AttentionProbe(steps=40).fit(X, kind == k, mask)
        np.testing.assert_allclose(three.decision_function(X, mask)[:, k], one.decision_function(X, mask))
        np.testing.assert_allclose(three.attention(X, mask)[:, k], one.attention(X, mask))
    np.testing.assert_allclose(three.predict_proba(X, mask).sum(1), 1)
    assert set(three.predict(X, mask)) <= {0, 1, 2}


@pytest.mark.parametrize("probe", [MassMeanProbe(scale=True), MassMeanProbe(tilt=True, scale=True), LDAProbe(),
                                   RidgeProbe(30., scale=True)], ids=str)
def test_scaled_kinds_do_not_feel_units_and_give_their_direction_in_them(probe):
    X, y = data(n=200, d=12)
    unit, shift = np.array([1e6, 1e-6, 300.] + [1.] * 9), np.array([-4e5, 0, 9e4] + [2.] * 9)
    plain, other = (clone(probe).fit(Z, y) for Z in (X, X * unit + shift))
    np.testing.assert_allclose(other.decision_function(X * unit + shift), plain.decision_function(X), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(other.coef_ * unit, plain.coef_, rtol=1e-5, atol=1e-8)
    m = np.arange(200) < 150  # from training rows alone
    Z = (X - X[m].mean(0)) / X[m].std(0)
    inner = clone(probe).set_params(scale=False).fit(Z[m], y[m]).decision_function(Z)
    np.testing.assert_allclose(clone(probe).fit(X[m], y[m]).decision_function(X), inner, rtol=1e-6, atol=1e-8)
    np.testing.assert_allclose(probe_scores(probe, X[None], y, m[None])[0, 0], inner, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("bare,scaled", [(MassMeanProbe(), MassMeanProbe(scale=True)), (LDAProbe(scale=False), LDAProbe()),
                                         (RidgeProbe(30.), RidgeProbe(30., scale=True))], ids=str)
def test_massive_features_drown_a_probe_that_does_not_scale(bare, scaled):
    acts, ans = planted(400, 1, 1, 24, auc=.85, massive=2, spectrum=0., seed=1)
    X, y = acts.values[:, 0].transpose(1, 0, 2), ans["correct"].to_numpy(bool)
    got = [ProbeGrid(probe=p).fit(X, y).auc_.item() for p in (bare, scaled)]
    assert got[1] > .78 and (not isinstance(bare, MassMeanProbe) or got[0] < .65)


def test_settings_that_mean_nothing_are_named():
    X, y = data()
    for probe, says in [(LDAProbe(0), "shrinkage=0"), (LDAProbe(2), "shrinkage=2"), (RidgeProbe(0), "alpha=0")]:
        with pytest.raises(ValueError, match=says): probe.fit(X, y)


def test_attention_over_the_tokens_of_real_exact_answers():
    import probe_nb.all as nb
    lm = nb.load_lm("demo")
    ans = nb.find_spans(lm, nb.judge(nb.answer(lm, nb.load_questions("demo")[:160], progress=False)), progress=False)
    acts = nb.extract(lm, ans, nb.positions(ans, [nb.span_tokens(max=8)]), site="mlp_in", layers=[6], progress=False)
    assert acts["position"].values.tolist() == [f"exact_answer_{k}" for k in range(8)]
    X = acts.sel(layer=6).transpose("example", "position", "feature").values
    some = ans["correct"].notna().to_numpy() & np.isfinite(X).all(2).any(1)
    X, y, g = X[some], ans["correct"][some].to_numpy(bool), ans["group"][some]
    half = np.isin(g, sorted(set(g))[::2])
    probe = nb.AttentionProbe(steps=150).fit(X[half], y[half])
    there = np.isfinite(X).all(2)
    assert len(set(there.sum(1))) > 1 and (probe.attention(X)[~there] == 0).all()  # spans of several lengths
    assert nb.auc(probe.decision_function(X[~half]), y[~half]) > .65
