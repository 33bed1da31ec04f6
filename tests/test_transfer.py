"""Transfer between data sets with a planted truth: signs, where the cell is chosen, shared groups, all but one, across models."""
import numpy as np
import pandas as pd
import pytest
import xarray as xr

from probe_nb.detection import best_scores
from probe_nb.probes import auc
from probe_nb.simulate import planted
from probe_nb.transfer import direction_cosines, transfer_matrix

PLACES = ["exact_answer_last", "-1"]


def made(seed, rows=slice(0, 300), turn=1., plan=((.5, .5), (.9, .5), (.5, .5)), name=None, features=40):
    "A data set of planted activations with groups of its own; parts of one seed share their direction."
    acts, ans = planted(600, 3, PLACES, features, auc=np.array(plan), seed=seed, massive=0, spectrum=0)
    at, name = np.arange(600)[rows], name or f"{seed}-{rows.start}"
    ans = ans.iloc[at].assign(group=lambda t: name + "-" + t["group"], id=lambda t: name + "-" + t["id"])
    return (acts.isel(example=at) * turn).assign_attrs(acts.attrs), ans


@pytest.fixture(scope="module")
def sets(): return dict(a=made(1), same=made(1, slice(300, 600)), turned=made(1, slice(300, 600), -1., name="t"), other=made(2))


@pytest.fixture(scope="module")
def matrix(sets): return transfer_matrix(sets, leave_out=True, progress=False).set_index(["train", "test"])


def test_signs_are_kept_and_the_papers_number_has_its_own_name(matrix):
    assert matrix.loc[("a", "same"), "auc_low"] > .8
    assert matrix.loc[("a", "turned"), "auc_high"] < .2 and matrix.loc[("a", "turned"), "auc_paper"] > .8
    assert abs(matrix.loc[("a", "other"), "auc"] - .5) < .2
    whole = matrix.loc[["a", "same", "turned", "other"]]
    assert np.allclose(whole["auc_paper"], np.maximum(whole["auc"], 1 - whole["auc"]))
    assert (whole["auc"] < .5).any() and np.isclose(matrix.loc[("a", "same"), "auc"] + matrix.loc[("a", "turned"), "auc"], 1,
                                                    atol=1e-3)


def test_the_diagonal_is_held_out_with_its_cell(matrix, sets):
    for name, (acts, ans) in sets.items():
        s = best_scores(acts, ans, C=.01, progress=False)
        assert matrix.loc[(name, name), "auc"] == pytest.approx(float(auc(s["score"], s["correct"], s["fold"])))


def test_where_there_is_nothing_the_diagonal_says_so():
    "Forty cells without any signal: the best one reads 0.6, the diagonal does not."
    found = []
    for seed in range(6):
        acts, ans = planted(200, 8, 5, 16, auc=.5, seed=seed)
        found.append(transfer_matrix(dict(a=(acts, ans), b=made(9, features=16)), progress=False).iloc[0]["auc"])
    assert abs(np.mean(found) - .5) < .04


def test_layer_and_position_are_chosen_on_the_training_side():
    "The test set's own best cell is another one, at which the probe would do better: it must not be used."
    train = made(1, plan=((.5, .5), (.9, .5), (.75, .5)))
    acts, ans = made(1, slice(300, 600), plan=((.5, .5), (.5, .5), (.95, .5)))
    told = transfer_matrix(dict(train=train, test=(acts, ans)), progress=False).set_index(["train", "test"])
    assert (told.loc["train", "layer"] == 1).all() and (told.loc["train", "position"] == "exact_answer_last").all()
    assert told.loc[("train", "test"), "auc"] < .65 and told.loc[("test", "test"), "layer"] == 2
    flipped = ans.assign(correct=~ans["correct"])
    again = transfer_matrix(dict(train=train, test=(acts, flipped)), progress=False).set_index(["train", "test"])
    assert again.loc[("train", "test"), "auc"] == pytest.approx(1 - told.loc[("train", "test"), "auc"],
                                                                abs=1e-6)  # its labels have no other say


def test_shared_groups_are_scored_by_probes_without_them():
    "Each group has a vector of its own and one label: a probe that saw the group knows it by heart."
    rng = np.random.default_rng(0)
    n, d = 60, 80
    mark, label = rng.normal(size=(n, d)), rng.random(n) < .5
    def one(name, seed):
        r = np.random.default_rng(seed)
        g = np.repeat(np.arange(n), 5)
        X = mark[g] + .1*r.normal(size=(len(g), d))
        ans = pd.DataFrame(dict(example=np.arange(len(g)), id=[f"{name}{i}" for i in range(len(g))], group=[f"g{k}" for k in g],
                                correct=pd.array(label[g], dtype="boolean")))
        coords = dict(example=ans["example"].to_numpy(), position=np.array(["-1"], object), layer=[0])
        return xr.DataArray(X[:, None, None].astype("float32"), coords, ("example", "position", "layer", "feature")), ans
    (xa, a), (xb, b) = one("a", 1), one("b", 2)
    honest = transfer_matrix(dict(a=(xa, a), b=(xb, b)), progress=False).set_index(["train", "test"])
    renamed = transfer_matrix(dict(a=(xa, a), b=(xb, b.assign(group="x" + b["group"]))),
                              progress=False).set_index(["train", "test"])
    assert renamed.loc[("a", "b"), "auc"] > .95 and honest.loc[("a", "b"), "auc"] < .7  # by heart; not by heart
    left = transfer_matrix(dict(a=(xa, a), b=(xb, b)), leave_out=True, progress=False).set_index(["train", "test"])
    assert left.loc[("all others", "b"), "auc"] < .7


def test_all_but_one(matrix):
    assert matrix.loc[("all others", "other"), "auc"] == pytest.approx(.5, abs=.2)
    assert matrix.loc[("all others", "a"), ["n", "n_wrong"]].tolist() == matrix.loc[("a", "a"), ["n", "n_wrong"]].tolist()
    alone = transfer_matrix(dict(a=made(1), same=made(1, slice(300, 600))), leave_out=True,
                            progress=False).set_index(["train", "test"])
    assert alone.loc[("all others", "a"), "auc"] == pytest.approx(alone.loc[("same", "a"), "auc"], abs=.02)


def test_less_the_best_output_baseline_on_the_same_rows(sets):
    acts, ans = sets["same"]
    y, rng = ans["correct"].to_numpy(bool), np.random.default_rng(0)
    p = np.clip(.5 + .1*y[:, None] + .1*rng.normal(size=(len(y), 3)), .05, .99)
    told = transfer_matrix(dict(a=sets["a"], same=(acts, ans.assign(token_logprobs=list(np.log(p))))),
                           progress=False).set_index(["train", "test"])
    row = told.loc[("a", "same")]
    best = max(float(auc(f(p), y)) for f in (lambda v: v.mean(1), lambda v: v.min(1), lambda v: v.max(1), lambda v: v[:, -1],
                                             lambda v: np.log(v).mean(1), lambda v: np.log(v).sum(1)))
    assert row["minus_baseline"] == pytest.approx(row["auc"] - best) and row["minus_low"] < row["minus_baseline"]
    assert np.isnan(told.loc[("same", "a"), "minus_baseline"])


def test_other_models_only_through_a_map_that_is_marked(sets):
    acts, ans = sets["a"]
    R = np.random.default_rng(0).normal(size=(40, 24))
    X = acts.values @ R
    other = xr.DataArray(X.astype("float32"), {k: acts[k] for k in ("example", "position", "layer")}, acts.dims,
                         attrs=dict(model="small", revision="1"))
    both = dict(big=(acts.assign_attrs(model="big", revision="1"), ans), small=(other, ans))
    plain = transfer_matrix(both, progress=False).set_index(["train", "test"])
    assert np.isnan(plain.loc[("big", "small"), "auc"]) and 'through="map"' in plain.loc[("big", "small"), "reason"]
    told = transfer_matrix(both, through="map", progress=False).set_index(["train", "test"])
    assert told.loc[("small", "big"), "auc"] > .75 and "experimental" in told.loc[("small", "big"), "through"]
    assert told.loc[("big", "big"), "through"] == "" and told.loc[("big", "big"), "auc"] == plain.loc[("big", "big"), "auc"]
    strangers = both | dict(small=(other, ans.assign(id="x" + ans["id"])))
    assert "share 0 answered questions" in transfer_matrix(strangers, through="map",
                                                           progress=False).set_index(["train", "test"]).loc[("big", "small"),
                                                                                                            "reason"]


def test_order_of_rows_does_not_matter(sets, matrix):
    rng = np.random.default_rng(0)
    mixed = {k: (a.isel(example=rng.permutation(300)), t.sample(frac=1, random_state=1)) for k,
             (a, t) in sets.items() if k in ("a", "same")}
    told = transfer_matrix(mixed, progress=False).set_index(["train", "test"])
    for at in told.index: assert told.loc[at, "auc"] == pytest.approx(matrix.loc[at, "auc"], abs=2e-3)


def test_missing_positions_and_layers_have_reasons(sets):
    acts, ans = sets["same"]
    told = transfer_matrix(dict(a=sets["a"], part=(acts.sel(position=["-1"], layer=[0, 2]), ans)),
                           progress=False).set_index(["train", "test"])
    assert "is not among the activations of 'part'" in told.loc[("a", "part"),
                                                                "reason"] and np.isnan(told.loc[("a", "part"), "auc"])
    with pytest.raises(ValueError, match="two at least"): transfer_matrix(dict(a=sets["a"]))
    with pytest.raises(ValueError, match="through="): transfer_matrix(sets, through="wall")


def test_all_but_one_reads_where_the_one_left_out_can_be_read(sets):
    acts, ans = sets["same"]
    part = dict(a=sets["a"], other=sets["other"], part=(acts.sel(position=["-1"]), ans))
    told = transfer_matrix(part, leave_out=True, progress=False).set_index(["train", "test"]).loc[("all others", "part")]
    assert told["position"] == "-1" and np.isfinite(told["auc"])
    part["part"] = acts.sel(position=["-1"]).assign_coords(position=["-3"]), ans
    told = transfer_matrix(part, leave_out=True, progress=False).set_index(["train", "test"]).loc[("all others", "part")]
    assert np.isnan(told["auc"]) and "or none that 'part' has" in told["reason"]


def test_what_is_wrong_with_a_set_is_said_with_its_name(sets):
    acts, ans = sets["other"]
    few, sure = (acts.isel(example=slice(0, 12)), ans.iloc[:12]), (acts, ans.assign(correct=True))
    for bad in (few, sure):
        with pytest.raises(ValueError, match="data set 'bad': .*at least 10 of each"): transfer_matrix(dict(a=sets["a"], bad=bad))
    with pytest.raises(ValueError, match="data set 'bad': .*belong to different studies"):
        transfer_matrix(dict(a=sets["a"], bad=(few[0], ans)))
    with pytest.raises(TypeError, match="sets is a list"): transfer_matrix(list(sets.values()))
    cell, narrow = (1, "exact_answer_last"), made(3, features=20)
    with pytest.raises(ValueError, match="data set 'bad': y holds one class|data set 'bad': .*each"):
        direction_cosines(dict(a=sets["a"], bad=sure), *cell)
    with pytest.raises(ValueError, match="of 40, 20 features have no angle"):
        direction_cosines(dict(a=sets["a"], b=narrow), *cell)
    with pytest.raises(KeyError, match="no layer 1, position 'nope' in the activations of 'a'"):
        direction_cosines(sets, 1, "nope")
    told = transfer_matrix(dict(a=sets["a"], b=narrow), through="map", progress=False).set_index(["train", "test"])
    assert "answered questions: 50 are needed to learn a map" in told.loc[("a", "b"), "reason"]


def test_cosines(sets):
    c = direction_cosines(sets, 1, "exact_answer_last")
    assert np.allclose(c, c.T) and c.loc["a", "same"] > .5 and c.loc["same", "turned"] == pytest.approx(-1, abs=1e-3)
    assert abs(c.loc["a", "other"]) < 3*c.attrs["chance"] and .3 < c.loc["a", "a"] < 1
    nothing = direction_cosines(sets, 0, "-1").to_numpy()
    assert np.abs(nothing[[0, 0], [1, 3]]).max() < 4*c.attrs["chance"]
