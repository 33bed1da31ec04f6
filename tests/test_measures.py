"Each measure is scikit-learn's, or its closed form, with wrong answers as positives and folds averaged."
import numpy as np
import pytest
from scipy.special import expit
from sklearn.calibration import calibration_curve
from sklearn.metrics import average_precision_score, brier_score_loss, roc_curve

from probe_nb.measures import MEASURES, auprc, brier, ece, knows_nothing, measured, recall_at


def rows(seed, n=150, ties=False, sep=1.):
    rng = np.random.default_rng(seed)
    y = rng.random(n) < rng.uniform(.2, .8)
    s = sep * y + rng.normal(size=n)
    return (s.round(1) if ties else s), y, rng.integers(0, 4, n)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("ties", [False, True])
def test_one_fold_is_scikit_learn(seed, ties):
    s, y, _ = rows(seed, ties=ties)
    assert auprc(s, y) == pytest.approx(average_precision_score(~y, -s))
    assert brier(s, y) == pytest.approx(brier_score_loss(y, expit(s)))
    fpr, tpr, _ = roc_curve(~y, -s, drop_intermediate=False)
    for rate in (0, .01, .05, .3, 1): assert recall_at(s, y, rate) == pytest.approx(tpr[fpr <= rate + 1e-12].max())


@pytest.mark.parametrize("seed", range(4))
def test_calibration_error_is_the_curve_weighted_by_its_counts(seed):
    s, y, _ = rows(seed, 400)
    share, chance = calibration_curve(y, expit(s), n_bins=10)
    counts = np.histogram(expit(s), np.linspace(0, 1, 11))[0]
    assert ece(s, y) == pytest.approx((counts[counts > 0] * abs(share - chance)).sum() / len(y))


def test_folds_are_averaged_by_their_wrong_answers():
    s, y, f = rows(1, 200, ties=True)
    def mean(of): return np.average([of(f == k) for k in range(4)], weights=[(~y[f == k]).sum() for k in range(4)])
    assert auprc(s, y, f) == pytest.approx(mean(lambda m: average_precision_score(~y[m], -s[m])))
    assert recall_at(s, y, .05, f) == pytest.approx(mean(lambda m: recall_at(s[m], y[m], .05)))
    assert auprc(s + 100 * f, y, f) == pytest.approx(auprc(s, y, f)) != pytest.approx(auprc(s + 100 * f, y))
    assert auprc(s, y, np.where(y, 1, f)) >= 0 and np.isnan(auprc(s, y, y.astype(int)))  # folds of one kind say nothing


def test_knowing_nothing_is_what_noise_reaches():
    rng = np.random.default_rng(0)
    y = rng.random(400) < .7
    base = knows_nothing(y)
    noise = measured(np.full(400, np.log(y.mean() / (1 - y.mean()))) + 1e-6 * rng.normal(size=(200, 400)), y)
    for k in MEASURES: assert noise[k].mean() == pytest.approx(base[k], abs=.012), k


def test_many_cells_and_one_are_the_same():
    s, y, f = rows(3)
    S = np.stack([s, -s, 0 * s]).reshape(3, 1, -1)
    for k, v in measured(S, y, f).items():
        assert v.shape == (3, 1) and v[0, 0] == pytest.approx(measured(s, y, f)[k])
    assert measured(s, y, f, ("ece",)).keys() == {"ece"}


def test_extremes():
    y = np.arange(40) % 4 > 0
    big = np.where(y, 1e6, -1e6)
    assert [float(v) for v in measured(big, y).values()] == [1, 0, 0, 1, 1]
    assert float(ece(-big, y)) == 1 == float(brier(-big, y)) and float(recall_at(-big, y, .5)) == 0
    assert float(auprc(np.zeros(40), y)) == .25 and float(recall_at(np.zeros(40), y, .05)) == 0
    assert np.isnan(auprc(big, np.ones(40)))


@pytest.mark.parametrize("call,says", [
    (lambda: auprc([1., 2.], [1, 0, 1]), "2 scores, 3 labels"), (lambda: brier([np.nan, 1.], [1, 0]), "1 scores are NaN"),
    (lambda: recall_at([1., 2.], [1, 0], 5), "rate=5"), (lambda: measured([1., 2.], [1, 0], names=("f1",)), "no measure 'f1'")])
def test_errors_say_what_is_wrong(call, says):
    with pytest.raises(ValueError, match=says): call()


@pytest.mark.parametrize("y", [["right", "wrong"], [1., np.nan], [1, -1]])
def test_labels_that_are_neither_true_nor_false_are_not_taken_for_true(y):
    for measure in (auprc, brier, ece):
        with pytest.raises(ValueError, match="it is true or 1 for a correct answer"): measure(np.zeros(10), np.array(y * 5))
