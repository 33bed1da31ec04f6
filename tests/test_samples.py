"""Clusters, kinds of errors at their thresholds, merging of runs, probes of kinds and of other targets."""
import itertools

import numpy as np
import pandas as pd
import pytest

from probe_nb.alike import both_ways, cluster, semantic_entropy
from probe_nb.answers import answer
from probe_nb.judges import judge
from probe_nb.models import load_lm
from probe_nb.questions import load_questions
from probe_nb.samples import error_types, merge_samples, overlaps
from probe_nb.simulate import planted
from probe_nb.spans import find_spans
from probe_nb.targets import target, type_probes


@pytest.fixture(scope="module")
def lm(): return load_lm("demo")


def asked(right=0, wrong=(), refused=0, greedy=False, id="q"):
    "A question's samples: so many correct, so many of each wrong answer, so many refusals."
    said = ["right"]*right + [f"wrong{i}" for i, n in enumerate(wrong) for _ in range(n)] + ["I cannot say."]*refused
    outcome = ["correct"]*right + ["wrong"]*sum(wrong) + ["refused"]*refused
    t = pd.DataFrame(dict(id=id, group=id, sample=range(len(said) + 1), answer=["right" if greedy else "wrong0", *said],
                          outcome=["correct" if greedy else "wrong", *outcome]))
    t["correct"] = t["outcome"].map(dict(correct=True, wrong=False)).astype("boolean")
    return t.assign(example=range(len(t)))


def kinds(rule="paper", least=10, **said): return error_types(asked(**said), rule, least=least)["kinds"].iloc[0]


# clusters

def test_defect_17_each_answer_lies_in_one_cluster_whatever_the_order():
    "The published clustering had no break and used mutual substrings: five answers made eight, and '' matched everything."
    texts = ["Rome", "Rome, Italy", "Italy", "", "Paris"]
    first = None
    for order in itertools.permutations(range(5)):
        t = cluster(pd.DataFrame(dict(id="q", sample=1, answer=[texts[i] for i in order])))
        found = dict(zip(t["answer"], t["cluster"]))
        assert len(t) == 5 and t["cluster"].nunique() == 5
        first = first or found
        assert found == first


def test_clusters_close_over_a_function():
    "a~c and b~c make one cluster in every order, though a and b are not alike."
    chain = {frozenset(p) for p in ("ac", "bc", "de")}
    for order in itertools.permutations("abcdef"):
        t = cluster(pd.DataFrame(dict(id="q", sample=1, answer=[f"x{c}" for c in order])), lambda q, a,
                    b: frozenset((a[-1], b[-1])) in chain)
        by = {}
        for text, k in zip(t["answer"], t["cluster"]): by.setdefault(k, set()).add(text[-1])
        assert sorted(map(sorted, by.values())) == [["a", "b", "c"], ["d", "e"], ["f"]]
        assert by[0] == {"a", "b", "c"}  # the largest comes first


def test_entailment_must_hold_both_ways():
    longer = both_ways(lambda q, a, b: b in a)  # "rome italy" entails "rome", not the other way round
    t = cluster(pd.DataFrame(dict(id="q", sample=1, answer=["rome", "rome italy", "rome"])), longer)
    assert t["cluster"].tolist() == [0, 1, 0]


@pytest.mark.parametrize("a,b,same",
                         [("Port Varda", "the port varda.", True), ("9", "9.0", True), ("1,000", "1000", True),
                          ("C++", "C", False),
                                      ("9.5", "95", False), ("-3", "3", False), ("Zürich", "Zurich", True),
                                      ("O'Hara", "OHara", True), ("5", "15", False)])
def test_what_is_the_same_answer(a, b, same):
    t = cluster(pd.DataFrame(dict(id="q", sample=1, answer=["x", "y"], exact_answer=[a, b])))
    assert (t["cluster"].nunique() == 1) == same


def test_refusals_are_one_cluster_and_questions_do_not_mix():
    t = cluster(pd.concat([asked(right=2, refused=3, id="a"), asked(right=2, wrong=(1,), id="b")]).reset_index(drop=True))
    assert (t[t["outcome"] == "refused"]["said"].nunique(), t.groupby("id")["cluster"].min().tolist()) == (1, [0, 0])
    assert t.groupby("id")["cluster"].apply(lambda c: sorted(set(c)) == list(range(c.nunique()))).all()


def test_semantic_entropy_is_its_formula():
    t = asked(right=15, wrong=(10, 5))
    p = np.array([15, 10, 5])/30
    row = semantic_entropy(t).iloc[0]
    assert row["entropy"] == pytest.approx(-(p*np.log(p)).sum()) and row["distinct"] == 3 and row["agree"] == pytest.approx(1/3)
    assert semantic_entropy(asked(right=30)).iloc[0]["entropy"] == 0


# kinds of errors, at their thresholds, K = 30

@pytest.mark.parametrize("said,paper,code", [
    (dict(refused=15, right=15), "A + B2", "B2 + C2 + D"),
    # half is enough in the paper; to the code it is a wrong answer, not commoner
    (dict(refused=16, right=14), "A", "A + D"),
    (dict(refused=14, right=8, wrong=(8,)), "D", "A"),  # the code: the largest "wrong" answer, and more than correct
    (dict(right=30), "B1", "B1"),
    (dict(right=29, wrong=(1,)), "B2", "B2"),
    (dict(right=15, wrong=(9, 6)), "B2", "B2"),
    (dict(right=14, wrong=(8, 8)), "none", "none"),
    (dict(wrong=(15, 15)), "C1", "C1"),
    (dict(wrong=(30,)), "C1", "C1"),
    (dict(wrong=(14, 14, 2)), "none", "none"),
    (dict(right=1, wrong=(15, 14)), "C2", "C2"),
    (dict(right=15, wrong=(15,)), "B2 + C2 + D", "B2 + C2 + D"),
    (dict(right=5, wrong=(5, 4, 4, 4, 4, 4)), "D", "none"),  # each at least 5, against each more than 5
    (dict(right=5, wrong=(10, 9, 6)), "D", "none"),
    (dict(right=6, wrong=(11, 9, 4)), "D", "D"),  # 5 apart
    (dict(right=6, wrong=(12, 12)), "none", "none"),  # 6 apart
    (dict(right=4, wrong=(9, 9, 8)), "none", "none"),  # too rare
    (dict(wrong=(3,)*10), "none", "E1"),  # over 10 different answers, against at least 10 different wrong ones
    (dict(wrong=(3,)*9 + (2, 1)), "E1", "E1"),
    (dict(right=1, wrong=(3,)*9 + (2,)), "E2", "E2"),  # 11 with the correct one
    (dict(right=3, wrong=(3,)*9), "none", "E2"),  # the code: one fewer is enough where it is sometimes correct
    (dict(right=6, wrong=(3,)*8), "none", "none"),
    (dict(right=15, wrong=(2,)*5 + (1,)*5), "B2 + E2", "B2 + E2"),
])
def test_defect_18_kinds_at_their_thresholds_of_the_paper_and_of_the_code(said, paper, code):
    "The paper's text and its code differ in A, D and E: both are here, by name."
    assert sum(np.sum(v) for v in said.values()) == 30
    assert (kinds("paper", **said), kinds("code", **said)) == (paper, code)


@pytest.mark.parametrize("k", [12, 60, 90])
def test_thresholds_are_shares_of_any_number_of_samples(k):
    u = k // 6
    assert kinds(right=3*u, wrong=(u,)*3) == "B2" and kinds(right=3*u - 1, wrong=(u,)*2 + (u - 1,) + (2,)) != "B2"
    assert kinds(wrong=(3*u, 3*u)) == "C1" and kinds(right=u, wrong=(2*u, 2*u, u)) == "D"
    assert kinds(wrong=(3,)*(k//3)) == "none" and kinds(wrong=(3,)*(k//3 - 1) + (2, 1)) == "E1"


def test_what_is_covered_what_overlaps_and_what_is_too_little():
    t = pd.concat([asked(right=15, wrong=(15,), id="a"), asked(right=14, wrong=(8, 8), id="b"), asked(wrong=(30,), id="c"),
                   asked(right=30, id="d", greedy=True), asked(right=3, id="e")])
    t["example"] = range(len(t))
    types = error_types(t)
    assert types.set_index("id")["kinds"].to_dict() == dict(a="B2 + C2 + D", b="none", c="C1", d="B1", e="too few samples")
    assert types.attrs["covered"] == 3/4 and types.attrs["covered_errors"] == 2/3 and types.attrs["overlapping"] == 1/4
    both = overlaps(types)
    assert both.loc["B2", "D"] == both.loc["D", "C2"] == 1 and both.loc["none", "none"] == 1 and both.loc["C1", "C1"] == 1
    assert types["share_correct"].tolist() == [.5, 14/30, 0, 1, 1] and types["distinct"].tolist() == [2, 3, 1, 1, 1]


def test_own_rule_and_bad_input():
    own = error_types(asked(right=20, wrong=(10,)), lambda t: dict(sure=t["n_correct"] > 10))
    assert own["kinds"].tolist() == ["sure"] and own.attrs["names"] == ["sure"]
    with pytest.raises(ValueError, match="hold no samples"): error_types(asked())
    with pytest.raises(ValueError, match="it is \"paper\", \"code\""): error_types(asked(right=10), "book")
    with pytest.raises(KeyError, match="'correct'"): error_types(asked(right=10).drop(columns="correct"))


def test_what_has_no_kind_is_refused():
    t = asked(right=20, wrong=(10,))
    with pytest.raises(ValueError, match="the rule gave a Series: it must give"): error_types(t, lambda c: c["n"] > 3)
    with pytest.raises(ValueError, match="for each of the 1 questions"): error_types(t, lambda c: dict(x=[True, False]))
    with pytest.raises(ValueError, match="stands twice in the answers: put runs together by merge_samples"):
        error_types(pd.concat([t, t]))
    gone = t.assign(outcome="unjudged", correct=pd.array([pd.NA]*len(t), "boolean"))
    with pytest.raises(ValueError, match="none of these samples could be judged"): error_types(gone)
    with pytest.raises(TypeError, match="run 0 is a list: give each table by itself"): merge_samples([t, t])
    with pytest.raises(ValueError, match="names none of these questions"): target(t, dict(z=True))


def test_defect_5_two_choices_are_judged_sampled_and_typed():
    "The published code called Winobias with two arguments where three are needed, and could not run on it."
    said = ["the nurse"]*20 + ["the patient"]*10
    t = pd.DataFrame(dict(example=range(31), id="w", group="w", sample=range(31), dataset="winobias",
                          question="Who does she refer to?",
                          gold=[["nurse"]]*31, options=[["nurse", "patient"]]*31, answer=["the patient", *said]))
    for rule in ("auto", "paper"): assert error_types(judge(t, rule))["kinds"].tolist() == ["B2"]


def test_defect_6_each_data_set_has_its_own_rule():
    "The published code judged every data set as TriviaQA, where gold 5 is found in 15."
    t = pd.DataFrame(dict(example=range(31), id="m", group="m", sample=range(31), dataset="math", question="How many?",
                          gold=[["5"]]*31,
                          answer=["It is 15."]*31))
    assert error_types(judge(t))["kinds"].tolist() == ["C1"]


def test_defect_22_exact_answers_are_found_behind_the_first_line(lm):
    "The published code read only the first line of a resampled answer."
    qs = load_questions("demo", n=12, seed=1)
    golds = [g[0] for g in qs["gold"]]
    ans = find_spans(lm, judge(answer(lm, qs, given=[f"Let me think.\nIt is {g}." for g in golds], progress=False)),
                     progress=False)
    assert ans["exact_answer"].tolist() == golds


# merging runs

def test_defect_7_runs_with_other_seeds_are_merged_whole(lm):
    "The published merger looked for other file names, other tags, and lost the exact answers."
    qs = load_questions("demo", n=6, seed=1)
    runs = [find_spans(lm, judge(answer(lm, qs.sample(frac=1, random_state=s), n_samples=4, seed=s, progress=False)),
                       progress=False) for s in range(3)]
    all_ = merge_samples(*runs)
    assert len(all_) == 6*13 and all_["example"].is_unique and set(runs[0].columns) <= set(all_.columns)
    assert all_.groupby("id")["sample"].apply(list).map(lambda s: s == list(range(13))).all()
    drawn = lambda t: t[t["sample"] > 0][["id", "answer", "exact_answer"]].astype(str).sort_values(["id", "answer",
            "exact_answer"]).to_numpy().tolist()
    assert drawn(all_) == sorted(sum(map(drawn, runs), []))
    assert all_.attrs["seeds"] == [0, 1, 2] and all_.attrs["n_samples"] == 12
    assert error_types(all_)["n"].sum() == (all_.query("sample > 0")["outcome"] != "unjudged").sum()


def test_merging_refuses_what_does_not_belong_together(lm):
    qs = load_questions("demo", n=3, seed=1)
    a, b = (answer(lm, qs, n_samples=2, seed=s, progress=False) for s in (0, 1))
    with pytest.raises(ValueError, match="both have seed 0"): merge_samples(a, a)
    b.attrs = b.attrs | dict(max_new_tokens=7)
    with pytest.raises(ValueError, match="max_new_tokens=7"): merge_samples(a, b)
    c = answer(lm, qs, n_samples=2, seed=2, progress=False).assign(question="another")
    with pytest.raises(ValueError, match="two different questions"): merge_samples(a, c)


def test_defect_21_samples_are_as_long_as_the_greedy_answer_may_be(lm):
    "The published resampling forgot max_new_tokens, and cut samples at 100 where the greedy answer had 200."
    qs = load_questions("demo", n=8, seed=1)
    short = answer(lm, qs, n_samples=3, max_new_tokens=3, progress=False)
    long = answer(lm, qs, n_samples=3, max_new_tokens=30, progress=False)
    assert (short["answer_ids"].map(len) <= 3).all() and (long[long["sample"] > 0]["answer_ids"].map(len) > 3).any()
    with pytest.raises(ValueError, match="max_new_tokens"): merge_samples(long,
            answer(lm, qs, n_samples=3, max_new_tokens=3, seed=1, progress=False))


# other targets, and probes of kinds

def test_targets_take_the_place_of_correct():
    t = pd.concat([asked(right=10, wrong=(2,), refused=3, id=i) for i in "ab"] + [asked(right=15, id="c")]).reset_index(drop=True)
    assert (target(t, "refused")["correct"] == (t["outcome"] == "refused")).all()
    assert target(t, "uncertain")["correct"].groupby(t["id"]).first().tolist() == [False, False,
                                                                                   False]  # two of three lie on the median
    assert target(t, dict(a=True, b=False))["correct"].isna().groupby(t["id"]).all().tolist() == [False, False, True]
    own = target(t.assign(mine=t["sample"] == 0), "mine")
    assert own["was_correct"].equals(t["correct"]) and own.attrs["target"] == "mine" and own["correct"].sum() == 3
    with pytest.raises(ValueError, match="must be true or false"): target(t, "sample")
    with pytest.raises(KeyError, match="no target"): target(t, "colour")


def test_defect_11_rows_and_labels_stay_together():
    "The published code resampled the rows of X and not those of y: an AUC of 0.92 became 0.52."
    acts, ans = planted(600, 1, ["exact_answer_last"], 16, auc=.92, seed=3)
    types = pd.DataFrame(dict(id=ans["id"], kind="C1", C1=ans["truth"].to_numpy()))
    types.attrs["names"] = ["C1"]
    rng, found = np.random.default_rng(0), []
    for _ in range(3):
        a, b, c = (rng.permutation(600) for _ in range(3))
        t = types.iloc[c].copy()
        t.attrs = types.attrs
        found.append(type_probes(acts.isel(example=a), ans.iloc[b], t, kinds=["C1"], progress=False).loc[0, "auc"])
    assert min(found) > .88 and max(found) - min(found) < 1e-6
    apart = types.assign(C1=rng.permutation(types["C1"]))  # what the defect did
    apart.attrs = types.attrs
    assert abs(type_probes(acts, ans, apart, kinds=["C1"], progress=False).loc[0, "auc"] - .5) < .1


def test_kinds_with_too_few_questions_say_so():
    acts, ans = planted(200, 1, ["exact_answer_last"], 8, auc=.9, seed=3)
    types = pd.DataFrame(dict(id=ans["id"], kind="B1", B1=True, B2=ans["truth"].to_numpy(), D=np.arange(200) < 4))
    types.attrs["names"] = ["B1", "B2", "D"]
    told = type_probes(acts, ans, types, progress=False).set_index("kind")
    assert np.isnan(told.loc["D", "auc"]) and "at least 10" in told.loc["D", "reason"]
    assert told.loc["D", "n_of_kind"] == 4 and "B" in told.index
    parts = type_probes(acts, ans, types, kinds=["B2"], progress=False)
    assert parts.loc[0, "auc"] > .8 and parts.loc[0, "n"] == 200
