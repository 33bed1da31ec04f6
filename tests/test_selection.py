"""Choosing one of many answers: each chooser against its definition, ties, intervals, who may choose; hidden knowledge."""
import numpy as np
import pandas as pd
import pytest

from probe_nb.samples import error_types
from probe_nb.selection import choices, knowledge, select


def made(n=200, k=8, seed=0, groups=1, skill=2.):
    "Questions of different difficulty with samples, their log-probabilities, and a score that knows (fold by group)."
    rng = np.random.default_rng(seed)
    ease = rng.beta(1, 1, size=n)
    rows = []
    for q in range(n):
        for s in range(k + 1):
            y = bool(rng.random() < ease[q])
            rows.append(dict(id=f"q{q}", group=f"g{q//groups}", sample=s,
                             answer=f"right {s % 2}" if y else f"wrong {rng.integers(3)}", correct=y,
                             exact_answer="right" if y else f"wrong {rng.integers(3)}", outcome="correct" if y else "wrong",
                             token_logprobs=list(-rng.random(3)), said_score=skill*y + rng.normal(), fold=(q//groups) % 5))
    t = pd.DataFrame(rows)
    t["example"], t["correct"] = range(len(t)), t["correct"].astype("boolean")
    scores = t[t["sample"] > 0][["example", "said_score", "fold"]].rename(columns=dict(said_score="score"))
    return t.drop(columns=["said_score", "fold"]), scores


def one(*samples, greedy=("a", True)):
    "One question: samples as (exact answer, correct, log-probability, score)."
    rows = [dict(id="q", group="g", sample=0, exact_answer=greedy[0], answer=greedy[0], correct=greedy[1], token_logprobs=[-9.],
                 score=np.nan)]
    rows += [dict(id="q", group="g", sample=i, exact_answer=a, answer=a, correct=y, token_logprobs=lp, score=s) for i,
             (a, y, lp, s) in enumerate(samples, 1)]
    t = pd.DataFrame(rows)
    t["example"], t["correct"] = range(len(t)), t["correct"].astype("boolean")
    return t, t[["example", "score"]].assign(fold=0).iloc[1:].dropna()


# choosers

def test_each_chooser_is_its_definition():
    t, s = one(("a", True, [-1., -1.], .1), ("b", False, [-.5], .2), ("b", False, [-3.], .3), ("c", True, [-.4]*6, .9),
               greedy=("b", False))
    got = choices(t, s).iloc[0]
    assert dict(got.drop(["id", "group"])) == dict(greedy=0, random=.5, majority=0, logprob=0, logprob_mean=1, probe=1, oracle=1)


def test_ties_are_shared_and_missing_scores_are_chance():
    t, s = one(("a", True, [-1.], 1.), ("b", False, [-1.], 1.), ("c", False, [-2.], 0.))
    got = choices(t, s).iloc[0]
    assert got["probe"] == got["logprob"] == .5 and got["majority"] == pytest.approx(1/3)
    two = pd.concat([t, t.assign(id="p", group="h", example=t["example"] + 10)], ignore_index=True)
    assert choices(two, s).set_index("id").loc["p", "probe"] == got["random"] == pytest.approx(1/3)
    some = choices(t, s.iloc[1:]).iloc[0]  # an answer without a score is not chosen
    assert some["probe"] == 0


def test_what_cannot_be_chosen_from_is_refused():
    t, s = made(40)
    for f in (choices, select, knowledge):
        with pytest.raises(ValueError, match="none of the samples has a score"):  # such as those of greedy answers only
            f(t, t.loc[t["sample"] == 0, ["example"]].assign(score=1., fold=0))
        with pytest.raises(ValueError, match="sample 0 of question 'q0' stands twice"): f(pd.concat([t, t.iloc[:1]]), s)
    for f in (select, knowledge):
        with pytest.raises(ValueError, match="ci=95"): f(t, s, ci=95)
    with pytest.raises(KeyError, match="also= has no column 'method'"): knowledge(t, s, s)


def test_no_interval_is_a_point():
    alone, many = (select(t, s).set_index("method") for t, s in (made(1), made(40)))
    assert alone["difference_high"].sub(alone["difference_low"]).drop("greedy").gt(.9).all()
    t, s = one(("a", True, [-1.], 1.), ("a", True, [-1.], 0.), greedy=("a", True))
    ten = pd.concat([t.assign(id=f"q{i}", group=f"g{i}", example=t["example"] + 10*i) for i in range(10)], ignore_index=True)
    same = select(ten).set_index("method").loc["random"]  # always as good as greedy: that is known of ten questions only
    assert same["difference"] == 0 and same["difference_low"] == -same["difference_high"] < -.2
    assert (many.loc["greedy", ["difference_low", "difference_high"]] == 0).all()  # this is certain


def test_refusals_are_no_candidates():
    t, s = one(("a", True, [-1.], 0.), ("n", pd.NA, [0.], 5.), ("n", pd.NA, [0.], 5.), greedy=("n", pd.NA))
    got = choices(t, s).iloc[0]
    assert got["greedy"] == 0 and got[["random", "majority", "logprob", "probe", "oracle"]].eq(1).all()
    t.loc[t["sample"] > 0, "correct"] = pd.NA
    assert choices(t, s).iloc[0].drop(["id", "group"]).eq(0).all()


def test_the_oracle_is_a_ceiling_and_chance_a_floor():
    t, s = made()
    got = choices(t, s).drop(columns=["id", "group", "greedy"])
    assert (got.max(axis=1) == got["oracle"]).all() and got["probe"].mean() > got["majority"].mean() > got["random"].mean()
    blind = choices(t, s.assign(score=np.random.default_rng(1).normal(size=len(s))))
    assert abs(blind["probe"].mean() - blind["random"].mean()) < .06


def test_order_does_not_matter():
    t, s = made(60)
    a, b = choices(t, s), choices(t.sample(frac=1, random_state=1), s.sample(frac=1, random_state=2))
    both = a.merge(b, on="id")
    assert all(np.allclose(both[f"{c}_x"], both[f"{c}_y"]) for c in a.columns[2:])


# who may choose

def test_no_question_that_taught_the_probe_is_chosen_on():
    t, s = made(40, groups=2)
    with pytest.raises(ValueError, match="no column 'fold'"): select(t, s.drop(columns="fold"))
    with pytest.raises(ValueError, match="lies in 2 folds"): select(t,
            s.assign(fold=t.set_index("example").loc[s["example"], "id"].str[1:].astype(int).to_numpy() % 2))
    with pytest.raises(ValueError, match="trained on 1 of these groups .the first: 'g3'"): select(t, s.drop(columns="fold"),
                                                                                                  trained_on=["g3", "other"])
    with pytest.raises(ValueError, match="has two scores"): select(t, pd.concat([s, s]))
    assert len(select(t, s.drop(columns="fold"), trained_on=["others"])) == len(select(t, s))


# accuracy and its interval

def test_by_kind_and_few_are_marked():
    t, s = made(150, k=12)
    types = error_types(t)
    table = select(t, s, types=types)
    for name in types.attrs["names"]:
        some = table[table["kind"] == name]
        if types[name].any(): assert (some["n"] == types[name].sum()).all() and (some["few"] == (types[name].sum() < 30)).all()
        else: assert some.empty
    assert set(table.columns) >= {"method", "kind", "n", "accuracy", "low", "high"}
    all_ = table[table["kind"] == "All"].set_index("method")
    assert all_.loc["probe", "difference"] == pytest.approx(all_.loc["probe", "accuracy"] - all_.loc["greedy", "accuracy"])
    assert (all_["n"] == 150).all() and (all_["low"] <= all_["accuracy"]).all() and (all_["accuracy"] <= all_["high"]).all()
    c1 = table[(table["kind"] == "C1") & (table["method"] != "greedy")]
    assert (c1["accuracy"] == 0).all() and (c1["high"] > 0).all()  # by definition, and still not certain of other questions


@pytest.mark.parametrize("groups,rate", [(1, .5), (5, .5), (1, .95)])
def test_intervals_cover(groups, rate):
    "95 % intervals hold the truth in 92 to 98 % of simulated studies, with groups that share their luck."
    from probe_nb.selection import _mean_interval
    rng, hits = np.random.default_rng(0), 0
    for _ in range(500):
        p = np.repeat(rng.beta(4*rate, 4*(1 - rate), size=150//groups), groups) if groups > 1 else np.full(150, rate)
        v = (rng.random(150) < p).astype(float)
        _, low, high = _mean_interval(v, np.arange(150)//groups, .95)
        hits += low <= rate <= high
    assert .92 <= hits/500 <= .985


def test_groups_widen_intervals():
    t, s = made(50)
    apart, same = select(t, s), select(t.assign(group=t["id"].str[1:].astype(int).floordiv(10).astype(str)), s.assign(fold=0))
    width = lambda r: float((r["high"] - r["low"])[r["method"] == "oracle"].iloc[0])
    assert width(same) != width(apart)
    ten = pd.concat([t.assign(id=t["id"] + f"-{i}", example=t["example"] + 1000*i) for i in range(10)])
    st = pd.concat([s.assign(example=s["example"] + 1000*i) for i in range(10)])
    assert width(select(ten, st)) == pytest.approx(width(apart), rel=.05)  # ten copies of a question are one witness


# hidden knowledge

def test_k_and_k_star_are_their_formulas():
    "K: the share of (correct, wrong) pairs in order, ties not; K*: all of them (arXiv 2503.15299)."
    t, s = one(("a", True, [-3.], 2.), ("b", True, [-1.], .5), ("c", False, [-2.], 1.), ("d", False, [-4.], .5),
               ("a", True, [-9.], 9.))
    got = knowledge(t, s).set_index("method")
    assert got.loc["probe", "K"] == 2/4  # a > c, a > d; b < c; b = d counts as unknown; the second "a" is the same answer
    assert got.loc["logprob", "K"] == 3/4 and (got["K_star"] == 0).all()
    better = knowledge(t, s.assign(score=[3., 2., 1., 0., 3.])).set_index("method")
    assert better.loc["probe", ["K", "K_star"]].eq(1).all()
    assert better.loc["probe", "hidden"] == pytest.approx(1/4)


def test_questions_of_one_kind_say_nothing_and_all_methods_see_the_same():
    t, s = made(80, skill=3.)
    also = s.assign(method="p_true", score=-1.)[["example", "method", "score"]]
    got = knowledge(t, s, also).set_index("method")
    kinds = t[t["sample"] > 0].groupby("id")["correct"].nunique()
    assert got["n"].eq((kinds == 2).sum()).all() and got.loc["p_true", "K"] == 0
    assert got.loc["probe", "K"] > .9 > got.loc["logprob", "K"] and got.loc["probe", "hidden_low"] > 0
    with pytest.raises(ValueError, match="no question has"): knowledge(*one(("a", True, [-1.], 1.)))
    with pytest.raises(ValueError, match="no column 'fold'"): knowledge(t, s.drop(columns="fold"))
