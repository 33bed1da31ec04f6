"A frozen probe scores as the one it was made from, says what it is, needs no torch, and a damaged file is named."
import json
import subprocess
import sys
import warnings
from dataclasses import FrozenInstanceError

import numpy as np
import pytest
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from probe_nb.frozen import Probe, freeze, groups_hash, load_probe
from probe_nb.kinds import AttentionProbe, LDAProbe, MassMeanProbe, MLPProbe, RidgeProbe
from probe_nb.probes import LogisticProbe


def data(n=200, d=6, seed=0):
    rng = np.random.default_rng(seed)
    y = rng.random(n) < .5
    X = rng.normal(size=(n, d)) * 3 + 10
    X[:, 1] += 3 * y
    return X, y


ESTIMATORS = [LogisticProbe(C=.1), LogisticProbe(scale=True), RidgeProbe(), MassMeanProbe(), LDAProbe(), LogisticRegression()]


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=str)
@pytest.mark.parametrize("calibration", [None, "sigmoid", "isotonic"])
def test_frozen_and_saved_it_scores_the_same(estimator, calibration, tmp_path):
    X, y = data()
    estimator.fit(X[:100], y[:100])
    scores = estimator.decision_function(X)
    held = dict(held_out=(scores[100:], y[100:]), calibration=calibration) if calibration else {}
    probe = freeze(estimator, layer=3, site="resid", notes={"why": "a test"}, **held)
    again = load_probe(probe.save(tmp_path / "p.safetensors"))
    for p in (probe, again):
        np.testing.assert_allclose(p.score(X), scores, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(p.score(X.reshape(2, 100, 6)), scores.reshape(2, 100), rtol=1e-9, atol=1e-9)
        assert (p.layer, p.site, p.notes) == (3, "resid", {"why": "a test"})
    assert (again.predict_proba(X) == probe.predict_proba(X)).all() and (again.predict(X) == probe.predict(X)).all()
    chances = probe.predict_proba(X)
    np.testing.assert_allclose(chances.sum(-1), 1)
    assert (np.diff(chances[np.argsort(scores), 1]) >= 0).all()
    if not calibration: np.testing.assert_allclose(chances[:, 1], 1 / (1 + np.exp(-scores)), atol=1e-12)
    with pytest.raises(FrozenInstanceError): probe.layer = 4


def test_a_standardiser_comes_along():
    X, y = data()
    scaler = StandardScaler().fit(X)
    inner = LogisticRegression().fit(scaler.transform(X), y)
    probe = freeze(inner, mean=scaler.mean_, scale=scaler.scale_)
    np.testing.assert_allclose(probe.score(X), inner.decision_function(scaler.transform(X)))


def test_platt_is_the_regression_of_the_labels_on_the_scores():
    rng = np.random.default_rng(0)
    s = rng.normal(size=20_000) * 4 + 1
    y = rng.random(20_000) < 1 / (1 + np.exp(-(.5 * s - 1)))
    X, labels = data()
    probe = freeze(LogisticProbe().fit(X, labels), held_out=(s, y))
    assert probe.slope == pytest.approx(.5, abs=.03) and probe.offset == pytest.approx(-1, abs=.06)
    theirs = LogisticRegression(C=1e8).fit(s[:, None], y)
    assert probe.slope == pytest.approx(theirs.coef_[0, 0], rel=.01) and probe.threshold == pytest.approx(2, abs=.15)


def test_the_threshold_keeps_its_word():
    rng = np.random.default_rng(1)
    y = rng.random(500) < .5
    s = rng.normal(size=500) + y
    X, labels = data()
    for share in (.01, .05, .2):
        probe = freeze(LogisticProbe().fit(X, labels), held_out=(s, y), false_positives=share)
        assert (s[~y] > probe.threshold).mean() <= share and f"at most {share:g} of" in probe.threshold_rule
    perfect = freeze(LogisticProbe().fit(X, labels), held_out=(np.where(y, 5., -5.), y))
    assert np.isfinite([perfect.slope, perfect.offset]).all() and abs(perfect.threshold) < 1


def test_scoring_needs_no_torch(tmp_path):
    X, y = data()
    probe = freeze(LogisticProbe().fit(X, y), held_out=(X[:, 1], y), calibration="isotonic")
    path = probe.save(tmp_path / "p.safetensors")
    code = ("import sys, numpy as np\nfrom probe_nb.frozen import load_probe\n"
            f"p = load_probe({str(path)!r})\nprint(p.score(np.full((1, 6), 9.))[0].item(), p.predict_proba(np.ones((1, 6))))\n"
            "assert not {'torch', 'sklearn', 'scipy', 'pandas', 'transformers'} & set(sys.modules), 'heavy'")
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert told.returncode == 0, told.stderr
    assert float(told.stdout.split()[0]) == pytest.approx(probe.score(np.full((1, 6), 9.))[0])


def test_damaged_and_foreign_files_are_named(tmp_path):
    X, y = data()
    probe = freeze(LogisticProbe().fit(X, y))
    path, beside = tmp_path / "p.safetensors", tmp_path / "p.json"
    with pytest.raises(FileNotFoundError, match="p.safetensors' is missing"): load_probe(path)
    with pytest.raises(ValueError, match="ends in .safetensors"): probe.save(tmp_path / "p.pkl")
    def fresh():
        probe.save(path)
        return path.read_bytes(), json.loads(beside.read_text())
    raw, facts = fresh()
    assert not list(tmp_path.glob("*.part"))
    for k in (0, 9, len(raw) // 2, len(raw) - 1):  # any byte
        path.write_bytes(raw[:k] + bytes([raw[k] ^ 1]) + raw[k + 1:])
        with pytest.raises(ValueError, match="p.safetensors' is damaged"): load_probe(path)
    path.write_bytes(raw[:40])
    with pytest.raises(ValueError, match="p.safetensors' is damaged"): load_probe(path)
    for text, says in [("{", "p.json' is damaged"), ("", "p.json' is damaged"), ("[1]", "p.json' is no probe"),
                       ('{"format": "other"}', "p.json' is no probe"), (json.dumps(facts | {"colour": "red"}), "p.safetensors' is no probe")]:  # noqa: E501
        fresh(); beside.write_text(text)
        with pytest.raises(ValueError, match=says): load_probe(path)
    fresh(); beside.unlink()
    with pytest.raises(FileNotFoundError, match="p.json' is missing"): load_probe(path)


def test_what_does_not_fit_is_said():
    X, y = data()
    fit = LogisticProbe().fit(X, y)
    with pytest.raises(ValueError, match="X has 5 features, this probe reads 6"): freeze(fit).score(X[:, :5])
    for change, kind, says in [(dict(colour=1), TypeError, "no field 'colour'"), (dict(false_positives=.1), ValueError, "held_out"),  # noqa: E501
                               (dict(held_out=(X[:, 0], y), calibration="beta"), ValueError, "calibration='beta'"),
                               (dict(held_out=(X[:, 0], y[:5])), ValueError, "200 scores and 5 labels"),
                               (dict(held_out=(X[:, 0], y | True)), ValueError, "one kind")]:
        with pytest.raises(kind, match=says): freeze(fit, **change)


def test_groups_hash_is_of_the_set():
    assert groups_hash(["b", "a", "a"]) == groups_hash(["a", "b"]) != groups_hash(["a"]) and len(groups_hash([1])) == 16
    assert isinstance(freeze(LogisticProbe().fit(*data())), Probe)


@pytest.mark.parametrize("calibration", ["sigmoid", "isotonic"])
@pytest.mark.parametrize("share", [.3, .7, .95])
@pytest.mark.parametrize("gain", [-1., 0., .3, 2.])
def test_what_is_called_correct_has_a_chance_above_one_half(calibration, share, gain, tmp_path):
    "Also where held-out scores are below chance: then all have the same, and it is said."
    rng = np.random.default_rng(0)
    y = rng.random(300) < share
    s = rng.normal(size=300) + gain * y
    X, labels = data()
    fit = LogisticProbe().fit(X, labels)
    with warnings.catch_warnings(record=True) as told:
        warnings.simplefilter("always")
        probe = freeze(fit, held_out=(s, y), calibration=calibration)
    again = load_probe(probe.save(tmp_path / "p.safetensors"))
    at = X[:, 1:2] - 10  # from far below to far above
    reads = Probe(**vars(again) | dict(direction=[1.], mean=[0.], scale=[1.], intercept=0.))
    chance = reads.predict_proba(at)[:, 1]
    sure = np.abs(chance - .5) > 1e-9
    assert (reads.predict(at) == (chance > .5))[sure].all()
    assert (np.diff(chance[np.argsort(at[:, 0])]) >= 0).all()
    if gain < 0:
        assert np.ptp(chance) == 0 or calibration == "isotonic"
        assert any("do not rise" in str(w.message) for w in told) == (np.ptp(chance) == 0)
    if gain == 2: assert not told
    if np.ptp(chance) == 0 and calibration == "sigmoid": assert "called correct" in repr(probe) and "e+308" not in repr(probe)


def test_a_frozen_probe_cannot_be_edited():
    X, y = data()
    fit = LogisticProbe().fit(X, y)
    probe = freeze(fit, mean=X.mean(0), held_out=(X[:, 1], y), calibration="isotonic")
    for k in ("direction", "mean", "scale", "knots"):
        with pytest.raises(ValueError, match="read-only"): getattr(probe, k)[0] = 99
    fit.coef_[0, 0] = 99
    assert probe.direction[0] != 99


def test_numbers_of_numpys_are_saved(tmp_path):
    X, y = data()
    fit = LogisticProbe(C=np.float32(.5)).fit(X, y)
    probe = freeze(fit, layer=np.int64(3), n=np.int32(7), notes={"a": np.float32(2), "b": X[:2, 0]})
    again = load_probe(probe.save(tmp_path / "p.safetensors"))
    assert (again.layer, again.n, again.C, again.notes["a"]) == (3, 7, .5, 2) and again.notes["b"] == X[:2, 0].tolist()
    with pytest.raises(TypeError, match="cannot hold"): freeze(fit, notes={"a": {1, 2}}).save(tmp_path / "q.safetensors")


def test_what_is_no_direction_is_said():
    X, y = data()
    look = AttentionProbe(steps=1).fit(X[:, None], y)
    for e in (LogisticProbe(), MLPProbe(steps=1).fit(X, y), LogisticProbe().fit(X, np.arange(200) % 3), look,
              LogisticRegression().fit(X, np.arange(200) % 3)):
        with pytest.raises(ValueError, match=f"{type(e).__name__} has no coef_"): freeze(e)
    fit = LogisticProbe().fit(X, y)
    for change, says in [(dict(mean=np.zeros(5)), "mean has the shape"), (dict(scale=np.ones((2, 6))), "scale has the shape"),
                         (dict(scale=np.r_[0., np.ones(5)]), "not above 0"), (dict(mean=np.full(6, np.nan)), "mean holds"),
                         (dict(held_out=(np.r_[np.nan, X[1:, 0]], y)), "1 scores that are NaN")]:
        with pytest.raises(ValueError, match=says): freeze(fit, **change)


@pytest.mark.parametrize("wrong", [10, 20, 37])
@pytest.mark.parametrize("share", [0, .05, .1, .3, .5, 1])
def test_the_threshold_lets_as_many_pass_as_it_may(wrong, share):
    s, y = np.arange(wrong * 2.), np.tile([False, True], wrong)
    probe = freeze(LogisticProbe().fit(*data()), held_out=(s, y), false_positives=share)
    assert (s[~y] > probe.threshold).sum() == int(share * wrong + 1e-9)


@pytest.mark.parametrize("share", [-.1, 1.5, np.nan])
def test_a_share_beyond_one_is_refused(share):
    with pytest.raises(ValueError, match="a share from 0 to 1"):
        freeze(LogisticProbe().fit(*data()), held_out=(np.arange(20.), np.arange(20) > 9), false_positives=share)


@pytest.mark.parametrize("name", ["intercept", "slope", "offset", "threshold"])
@pytest.mark.parametrize("value", ["abc", None, float("nan"), True])
def test_a_number_in_the_file_that_is_none_is_not_believed(name, value, tmp_path):
    path = freeze(LogisticProbe().fit(*data())).save(tmp_path / "p.safetensors")
    beside = path.with_suffix(".json")
    beside.write_text(json.dumps(json.loads(beside.read_text()) | {name: value}))
    with pytest.raises(ValueError, match=f"is no probe: {name} is"): load_probe(path)


def test_an_answer_without_activations_is_not_called_wrong():
    X, y = data()
    X = X.copy()
    X[3] = np.nan
    with pytest.raises(ValueError, match="1 scores are NaN"): freeze(LogisticProbe().fit(*data())).predict(X)
