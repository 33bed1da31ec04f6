"""Behind one cell: intervals that hold the truth, claims compared with what came true, thresholds that keep their wishes."""
import numpy as np
import pandas as pd
import pytest
import vl_convert as vlc
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import precision_score, roc_curve

from probe_nb.certainty import (
    _roc,
    _shade,
    _wilson,
    calibration,
    calibration_chart,
    plan_thresholds,
    risk_coverage,
    risk_coverage_chart,
    roc_chart,
    score_histogram,
    threshold_chart,
)


def draw(n=300, seed=0, apart=1.2):
    rng = np.random.default_rng(seed)
    correct = rng.random(n) < .6
    return pd.DataFrame(dict(correct=correct, score=rng.normal(apart * correct).round(2)))


def test_roc_is_scikit_learns():
    scores = draw()
    wrong, right, _ = roc_curve(scores.correct, scores.score, drop_intermediate=False)
    curve = _roc(scores)
    assert np.allclose(curve.wrong, wrong) and np.allclose(curve.right, right)


def test_pointwise_interval_holds_the_truth_at_a_point_and_the_band_everywhere():
    "Normal scores 1.2 apart: right answers found where a share x of the wrong ones passes is Phi(1.2 + Phi^-1(x))."
    from scipy.stats import norm
    at, held, whole = np.linspace(0, 1, 51), [], []
    inner = (at >= .1) & (at <= .9)
    truth = norm.cdf(1.2 + norm.ppf(at))
    for seed in range(40):
        low, high = _shade(draw(seed=seed), "pointwise", .95, 200, 0)[0][["low", "high"]].to_numpy().T
        held.append((low[25] <= truth[25]) & (truth[25] <= high[25]))
        low, high = _shade(draw(seed=seed), "band", .95, 200, 0)[0][["low", "high"]].to_numpy().T
        whole.append(((low <= truth) & (truth <= high))[inner].all())
    assert np.mean(held) >= .85 and np.mean(whole) >= .85


def test_groups_are_drawn_together():
    "The same answer ten times is one answer: the interval is as wide as without the copies."
    once = draw(60).assign(group=range(60))
    copies = pd.concat([once] * 10)
    width = lambda t: (lambda d: (d.high - d.low).mean())(_shade(t, "pointwise", .95, 200, 0)[0])
    assert width(copies) == pytest.approx(width(once), rel=.05) and width(copies.drop(columns="group")) < width(once) / 2


def test_roc_chart_names_its_interval():
    told = lambda **k: " ".join(roc_chart(draw(), **k).to_dict()["title"].get("subtitle", [])).replace("\xa0", " ")
    assert "95 % interval at each point" in told() and "300 answers drawn again" in told()
    assert "90 % band for the whole curve" in told(interval="band", ci=.9) and told(interval=None) == ""
    with pytest.raises(ValueError, match="pointwise, band"): roc_chart(draw(), interval="wide")


@given(st.integers(1, 300), st.floats(0, 1))
def test_wilson_is_statsmodels_formula(n, share):
    k = round(share * n)
    low, high = _wilson(k, n)
    from scipy.stats import binomtest
    want = binomtest(k, n).proportion_ci(.95, "wilson")
    assert low == pytest.approx(want.low, abs=1e-9) and high == pytest.approx(want.high, abs=1e-9)


def test_calibration_of_true_chances_is_small_and_of_boasts_is_large():
    rng = np.random.default_rng(0)
    logit = rng.normal(0, 1.5, 20_000)
    correct = rng.random(20_000) < 1 / (1 + np.exp(-logit))
    honest = calibration(pd.DataFrame(dict(correct=correct, score=logit)))
    assert honest.attrs["ece"] < .015 and honest.n.sum() == 20_000 and honest.chance.is_monotonic_increasing
    assert ((honest.low <= honest.chance) & (honest.chance <= honest.high)).sum() >= 8
    boast = calibration(pd.DataFrame(dict(correct=correct, score=logit * 4)))
    assert boast.attrs["ece"] > .1
    same = calibration(pd.DataFrame(dict(correct=correct, score=0., chance=1 / (1 + np.exp(-logit)))))
    assert same.attrs["ece"] == pytest.approx(honest.attrs["ece"])
    tied = calibration(pd.DataFrame(dict(correct=correct, score=0.)))
    assert len(tied) == 1 and tied.attrs["ece"] == pytest.approx(abs(correct.mean() - .5)), "the same claim, one bin"


def test_risk_and_coverage_end_where_all_is_answered():
    scores = draw()
    t = risk_coverage(scores)
    assert t.coverage.iloc[-1] == 1 and t.risk.iloc[-1] == pytest.approx((~scores.correct).mean())
    assert t.answered.tolist() == [(scores.score >= v).sum() for v in t.threshold], "ties are answered together"
    perfect = risk_coverage(scores.assign(score=scores.correct.astype(float)))
    assert perfect.risk.tolist() == [0, pytest.approx((~scores.correct).mean())]


@given(st.integers(0, 20), st.floats(.5, .99), st.booleans())
def test_a_planned_threshold_keeps_its_wish_and_a_lower_one_does_not(seed, wish, sure):
    scores = draw(80, seed)
    plan = plan_thresholds(scores, (wish,), (1 - wish,), sure=sure)
    for row, held in ((plan.iloc[0], lambda r: r["precision_low" if sure else "precision"] >= wish),
                      (plan.iloc[1], lambda r: r["passed_high" if sure else "passed"] <= 1 - wish)):
        if row.threshold != row.threshold: continue
        kept = scores.score >= row.threshold
        assert row.precision == pytest.approx(precision_score(scores.correct, kept)) and held(row)
        assert row.coverage == pytest.approx(kept.mean()) and row.passed == pytest.approx(kept[~scores.correct].mean())
        lower = plan_thresholds(scores, (wish,), (1 - wish,), sure=not sure)
        assert sure or not lower.threshold[row.name] < row.threshold, "to be sure costs coverage"


def test_no_threshold_is_told():
    hopeless = pd.DataFrame(dict(correct=[False, True, False] * 10, score=[3., 2., 1.] * 10))
    assert plan_thresholds(hopeless, (.99,), ()).threshold.isna().all()
    assert "no threshold keeps it" in threshold_chart(hopeless, precision=.99).description


@pytest.mark.parametrize("chart", [roc_chart, score_histogram, calibration_chart, risk_coverage_chart, threshold_chart])
def test_each_picture_is_drawn_at_its_size(chart):
    for theme in (None, "dark"):
        spec = chart(draw(), theme=theme).to_dict()
        png = vlc.vegalite_to_png(spec, vl_version="6.4", scale=1)
        size = np.frombuffer(png[16:24], ">u4")
        assert (size >= [spec["width"], spec["height"]]).all() and (size < [spec["width"] + 150, spec["height"] + 200]).all()


@pytest.mark.parametrize("bad", [
    lambda: calibration(pd.DataFrame(dict(score=[1.]))), lambda: calibration(draw().assign(chance=1.5)),
    lambda: risk_coverage(draw().iloc[:0]), lambda: plan_thresholds(draw(), precision=(90,)),
    lambda: threshold_chart(draw(), precision=.9, passed=.1)])
def test_what_cannot_be_computed_is_refused_in_a_sentence(bad):
    with pytest.raises(ValueError) as e: bad()
    assert "\n" not in str(e.value)


def test_refusals_are_drawn_where_they_are_known():
    scores = draw(20).assign(outcome=lambda d: np.where(d.correct, "correct", "wrong"))
    refused = pd.DataFrame(dict(correct=pd.array([None] * 3, "boolean"), score=[0.] * 3, outcome="refused"))
    data = score_histogram(pd.concat([scores.astype(dict(correct="boolean")), refused])).data
    assert data.groupby("kind").answers.sum()["refused"] == 3
