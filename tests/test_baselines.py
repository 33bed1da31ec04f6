"""Baselines, p(True) and the detection table: directions, folds, paired tests, direct computations."""
import numpy as np
import pandas as pd
import pytest
import torch
from worlds import tiny_model, tiny_tokenizer

from probe_nb.activations import extract
from probe_nb.answers import answer
from probe_nb.baselines import baselines, learnt_scores, token_scores
from probe_nb.detection import best_scores, detection_chart, error_detection, paired_auc
from probe_nb.judges import judge
from probe_nb.models import load_lm
from probe_nb.positions import positions
from probe_nb.probes import auc
from probe_nb.questions import load_questions
from probe_nb.simulate import planted
from probe_nb.spans import find_spans
from probe_nb.truth import p_true, reread


@pytest.fixture(scope="module")
def lm(): return load_lm("demo")


@pytest.fixture(scope="module")
def ans(lm):
    qs = load_questions("demo", n=240, seed=1)
    return find_spans(lm, judge(answer(lm, qs, n_samples=3, progress=False)), progress=False)


@pytest.fixture(scope="module")
def acts(lm, ans): return extract(lm, ans[ans["sample"] == 0], positions(ans[ans["sample"] == 0]), layers=[2, 5], progress=False)


def made(n=300, seed=0, **more):
    "Answers of five tokens whose exact answer is tokens 1 and 2."
    rng = np.random.default_rng(seed)
    y = rng.permutation(n) % 2 == 0
    return y, pd.DataFrame(dict(example=np.arange(n), id=[f"q{i}" for i in range(n)], group=[f"q{i}" for i in range(n)], sample=0,
                                question="Where?", answer="in Rome today", correct=pd.array(y, dtype="boolean"),
                                outcome=np.where(y, "correct", "wrong"),
                                answer_ids=[[1, 2, 3, 4, 5]]*n,
                                token_logprobs=[list(np.log(rng.uniform(.2, .8, 5))) for _ in range(n)],
                                span_start=1, span_stop=3, **more))


# token scores

def test_token_scores_are_their_definitions():
    _, t = made(20)
    for column in ("token_logits", "token_entropies"): t[column] = t["token_logprobs"].map(lambda v: [2*x + 1 for x in v])
    s = token_scores(t)
    v = np.array(t["token_logprobs"].to_list())
    p, e = np.exp(v), 2*v + 1
    for name, want in dict(probas_mean=p.mean(1), probas_min=p.min(1), probas_max=p.max(1), probas_last=p[:, -1],
                           probas_mean_exact=p[:, 1:3].mean(1),
                           probas_min_exact=p[:, 1:3].min(1), probas_last_exact=p[:, 2], probas_after_last=p[:, 3],
                           logprobs_sum=v.sum(1),
                           logits_mean=e.mean(1), logits_max_exact=e[:, 1:3].max(1), entropy_mean=-e.mean(1),
                           entropy_max_exact=-e[:, 1:3].max(1), entropy_after_last=-e[:, 3]).items():
        assert np.allclose(s[name], want), name


def test_what_is_missing_stays_missing():
    _, t = made(6)
    t["span_start"], t["span_stop"] = pd.array([1, 1, pd.NA, 1, 1, 1], dtype="Int64"), pd.array([3, 3, pd.NA, 3, 5, 3],
                                                                                                dtype="Int64")
    s = token_scores(t)
    assert s["probas_min_exact"].isna().tolist() == [False, False, True, False, False, False]
    assert s["probas_after_last"].isna().tolist() == [False, False, True, False, True,
                                                      False]  # after the last token there is none: no clamping
    assert s["probas_mean"].notna().all()


def test_defect_23_every_score_points_to_correct():
    "The published probas_after_last had the opposite sign of its neighbours: 0.9 read as 0.1."
    y, t = made()
    t["token_logprobs"] = [list(np.log([.5, .5, .5, .9 if c else .2, .5])) for c in y]
    s = token_scores(t)
    assert auc(s["probas_after_last"], y) == 1
    told = baselines(t, learnt=False).set_index(["method", "example"])["score"]
    assert auc(told["probas_after_last"].reindex(t["example"]), y) == 1


def test_samples_score_questions_and_answers():
    _, t = made(2)
    samples = pd.concat([t,
                         *(t.assign(sample=k, example=t["example"] + 10*k, exact_answer=["Rome", "Rome" if k < 3 else "Bonn"])
                           for k in range(1, 5))])
    samples.loc[samples["sample"] == 0, "exact_answer"] = "Rome"
    told = baselines(t.assign(exact_answer="Rome"), samples, learnt=False).set_index(["method", "example"])["score"]
    assert told["semantic_entropy"].tolist() == pytest.approx([0, -np.log(2)])
    assert told["agree"].tolist() == [1, .5]


def test_samples_of_another_run_are_found_by_what_was_said():
    "A table of its own numbers its examples otherwise: example 1 is the second question there, the first sample here."
    qs = load_questions("demo", n=40, seed=2)
    lm = load_lm("demo")
    alone, both = (find_spans(lm, judge(answer(lm, qs, n_samples=k, progress=False)), progress=False) for k in (0, 6))
    greedy = both[both["sample"] == 0]
    a, b = (baselines(t, both, learnt=False).query("method == 'agree'")["score"].tolist() for t in (alone, greedy))
    assert a == b and len(a) == 40 and len(set(a)) > 2


def test_what_is_no_table_of_activations_and_no_answer_is_said(lm, ans, acts):
    with pytest.raises(TypeError, match="acts is a ndarray: pass what extract"): error_detection(acts.values, ans)
    with pytest.raises(KeyError, match="no column 'question'"): p_true(lm, ans.drop(columns="question"))
    assert not len(p_true(lm, ans.iloc[:0], progress=False))


# learnt baselines

def test_learnt_baselines_find_what_is_there_and_nothing_else():
    y, t = made(400)
    rng = np.random.default_rng(3)
    t["answer"] = [("perhaps " if c == (rng.random() < .9) else "") + f"w{i}" for i, c in enumerate(y)]
    t["question"] = [f"Where is v{i}?" for i in range(400)]
    s = learnt_scores(t)
    assert auc(s["answer_text"], y) > .8 and abs(auc(s["question_text"], y) - .5) < .12


def test_learnt_baselines_never_see_the_group_they_score():
    "Words that name the question make a classifier perfect on groups it saw, and worth nothing on others."
    rng = np.random.default_rng(0)
    label = rng.random(60) < .5
    g = np.repeat(np.arange(60), 6)
    _, t = made(360)
    y = label[g]
    t = t.assign(correct=pd.array(y, dtype="boolean"), group=[f"g{k}" for k in g], answer=[f"name{k} name{k}" for k in g],
                 question="?")
    inside = learnt_scores(t.assign(group=t["id"]))["answer_text"]
    outside = learnt_scores(t)["answer_text"]
    assert auc(inside, y) > .95 and auc(outside, y) < .65


def test_folds_of_others_are_used_and_broken_groups_refused(ans, acts):
    greedy = ans[ans["sample"] == 0]
    s = best_scores(acts, greedy, progress=False)
    told = learnt_scores(greedy, s[["example", "fold"]])
    assert set(greedy.loc[told["length"].notna(), "example"]) == set(s["example"])
    with pytest.raises(ValueError, match="lies in two folds"): learnt_scores(greedy, s.assign(fold=np.arange(len(s)) % 5))


def test_order_and_index_do_not_matter(ans):
    greedy = ans[ans["sample"] == 0]
    a = baselines(greedy).set_index(["method", "example"])["score"].sort_index()
    b = baselines(greedy.sample(frac=1, random_state=1).reset_index(drop=True)).set_index(["method",
                                                                                           "example"])["score"].sort_index()
    assert a.index.equals(b.index) and np.allclose(a, b, atol=2e-3)


# asking again

@pytest.mark.parametrize("chat", [True, False])
def test_p_true_is_the_direct_computation(chat):
    lm = load_lm(tiny_model("llama"), tiny_tokenizer(chat), check=False)
    t = pd.DataFrame(dict(example=[7, 3, 5], question=["Who {a}?", "Where was Alda Brenn born, I think?", "?"],
                          answer=["Rome", "It is {answer}, in Torvik.", "x"], exact_answer=["Rome", None, "x"]))
    told = p_true(lm, t, progress=False).set_index(["method", "example"])
    ids = lambda s: lm.tokenizer(s, add_special_tokens=False)["input_ids"]
    assert len(told) == 5 and ("p_true_exact", 3) not in told.index
    for i, q, a in zip(t["example"], t["question"], t["answer"]):
        both = []
        for first, second in (("True", "False"), ("False", "True")):
            text = (f"Question: {q}\nPossible answer: {a}\nIs the possible answer:\n"
                    f"(A) {first}\n(B) {second}\nThe possible answer is:")
            if chat: prompt = ids(lm.tokenizer.apply_chat_template([{"role": "user", "content": text}], tokenize=False,
                                                                   add_generation_prompt=True))
            else: prompt = ids(text)
            with torch.inference_mode(): p = lm.model(torch.tensor([prompt])).logits[0, -1].double().softmax(0)
            a_ids, b_ids = ({ids(s + letter)[0] for s in ("", " ")} for letter in "AB")
            same = a_ids & b_ids
            of = [sum(float(p[k]) for k in some - same) for some in (a_ids, b_ids)]
            both.append(of[0] / sum(of) if first == "True" else of[1] / sum(of))
        row = told.loc[("p_true", i)]
        assert np.allclose([row["true_first"], row["false_first"]], both, atol=1e-5)


def test_defect_24_orders_are_averaged_and_nothing_is_chosen_or_dropped(lm, ans):
    "The published code reports the order that is better on the test set, and looks for 'NO ANSWER' in the wrong column."
    greedy = ans[ans["sample"] == 0].head(60).copy()
    greedy.loc[greedy.index[:5], "exact_answer"] = None
    told = p_true(lm, greedy, progress=False)
    assert np.allclose(told["score"], told[["true_first", "false_first"]].mean(axis=1))
    n = told.groupby("method").size()
    assert n["p_true"] == 60 and n["p_true_exact"] == greedy["exact_answer"].notna().sum() <= 55
    flipped = p_true(lm, greedy.assign(correct=~greedy["correct"]), progress=False)
    assert np.allclose(flipped["score"], told["score"])  # labels have no say


def test_p_true_needs_room_and_letters(lm):
    t = pd.DataFrame(dict(example=[1], question=["why " * 300], answer=["x"]))
    with pytest.raises(ValueError, match="takes .* tokens and demo takes 256"): p_true(lm, t, progress=False)


def test_reread_is_the_direct_computation(lm, ans):
    some = ans.head(7)
    told = reread(lm, some, token_budget=200, progress=False)
    for r in told.to_dict("records"):
        ids = [*r["prompt_ids"], *r["answer_ids"]]
        with torch.no_grad(): logits = lm.model(torch.tensor([ids])).logits[0, len(r["prompt_ids"]) - 1:-1].double()
        chosen = logits[range(len(r["answer_ids"])), r["answer_ids"]]
        logits[:, lm.model.generation_config.suppress_tokens or []] = -torch.inf  # what it may not say has no part in its choice
        assert np.allclose(r["token_logits"], chosen, atol=1e-3)
        assert np.allclose(r["token_entropies"], torch.distributions.Categorical(logits=logits).entropy(), atol=1e-3)
        assert np.allclose(np.array(r["token_logits"]) - logits.logsumexp(1).numpy(), r["token_logprobs"], atol=1e-3)


def test_defect_12_another_models_answers_are_refused(lm, ans, acts):
    "The published test file was Mistral's for every model: others were scored with its labels."
    foreign = ans[ans["sample"] == 0].copy()
    foreign.attrs = ans.attrs | dict(model="other", revision="123")
    with pytest.raises(ValueError, match="take both from one model"): error_detection(acts, foreign, progress=False)
    with pytest.raises(ValueError, match="not demo's"): reread(lm, foreign)


# paired tests and the table

def test_paired_auc_covers_and_is_symmetric():
    rng, hits, apart = np.random.default_rng(0), 0, []
    for _ in range(200):
        y = rng.random(200) < .5
        both = 1.2*y + rng.normal(size=200)
        a, b = both + .5*rng.normal(size=200), both + .5*rng.normal(size=200)  # equally good
        d, low, high, p = paired_auc(a, b, y)
        assert paired_auc(b, a, y)[0] == pytest.approx(-d) and (p < .05) == (low > 0 or high < 0)
        hits += low <= 0 <= high
        apart.append(high - low)
    assert .9 <= hits/200 <= .99


def test_paired_auc_knows_groups():
    "Ten copies of each answer are no ten witnesses."
    rng = np.random.default_rng(1)
    y = rng.random(60) < .5
    a, b = y + rng.normal(size=60), y + rng.normal(size=60)
    one = paired_auc(a, b, y)
    ten = [np.repeat(v, 10) for v in (a, b, y, np.arange(60))]
    many = paired_auc(*ten)
    assert many[0] == pytest.approx(one[0]) and many[2] - many[1] == pytest.approx(one[2] - one[1], rel=.05)
    assert paired_auc(*ten[:3])[2] - paired_auc(*ten[:3])[1] < .5*(one[2] - one[1])


def test_the_table_is_on_the_probes_rows(lm, ans, acts):
    greedy = ans[ans["sample"] == 0]
    table = error_detection(acts, ans, p_true(lm, greedy, progress=False), progress=False).set_index("method")
    s = best_scores(acts, greedy, progress=False)
    assert table.loc["probe, best cell", "auc"] == pytest.approx(float(auc(s["score"], s["correct"], s["fold"])))
    assert table["n"].max() == len(s) and (table["n"] <= len(s)).all()
    exact = token_scores(greedy).set_index(greedy["example"])["probas_min_exact"].reindex(s["example"])
    assert table.loc["probas_min_exact", "auc"] == pytest.approx(float(auc(exact, s["correct"], s["fold"])))
    assert {"semantic_entropy", "agree", "p_true", "p_true_exact", "answer_text", "probe at last_q"} <= set(table.index)
    both = table.dropna(subset="difference")
    assert np.allclose(table.loc["probe, best cell", "auc"] - both["auc"], both["difference"],
                       atol=1e-9) or (both["n"] < len(s)).any()


def test_defect_13_rows_without_the_position_teach_nothing():
    "The published test probe was fitted on rows whose exact answer was not found, at the question's last token instead."
    acts, ans = planted(400, 1, ["exact_answer_last"], 16, auc=.85, missing=.3, seed=1)
    gone = ~np.isfinite(acts.values[:, 0, 0]).all(1)
    turned = ans.copy()
    turned.loc[gone, "correct"] = ~turned.loc[gone, "correct"]
    a, b = (best_scores(acts, t, progress=False) for t in (ans, turned))
    assert set(a["example"]) == set(ans["example"][~gone]) and np.array_equal(a["score"], b["score"])


def test_defect_26_nothing_is_remembered_that_should_not_be():
    "The published cache of classifiers did not know the position, the rows or the seed."
    acts, ans = planted(300, 1, ["exact_answer_last", "-1"], 16, auc=[[.9, .6]], seed=1)
    told = [best_scores(acts, ans, positions=[p], seed=s, progress=False).set_index("example")["score"]
            for p in ("exact_answer_last", "-1") for s in (0, 1)]
    part = best_scores(acts.isel(example=slice(0, 200)), ans.iloc[:200], positions=["-1"],
                       progress=False).set_index("example")["score"]
    for i, a in enumerate([*told, part]):
        for b in [*told, part][:i]: assert not np.allclose(a.reindex(part.index), b.reindex(part.index))
    assert told[0].equals(best_scores(acts, ans, positions=["exact_answer_last"], progress=False).set_index("example")["score"])


def test_own_scores_are_checked(ans, acts):
    for bad, what in ((pd.DataFrame(dict(example=[1])), "method"),
                      (pd.DataFrame(dict(example=[1, 1], method="m", score=[0., 1.])), "twice")):
        with pytest.raises((KeyError, ValueError), match=what): error_detection(acts, ans, bad, progress=False)


def test_the_chart_shows_all_probes_and_the_best_of_the_rest():
    "Each number as it is, each score once, also where an AUC lies far below one half; what cannot be drawn is said."
    rows = [("probe, best cell", "probe", .9), ("probe at -1", "probe", .4), ("probas_min", "output", .6),
            ("logits_max", "output", .02), ("place", "learnt", .7), ("none", "samples", np.nan)]
    table = pd.DataFrame(rows, columns=["method", "kind", "auc"]).assign(published=[.8, np.nan, .5, np.nan, np.nan, np.nan])
    table = table.assign(auc_low=table["auc"] - .01, auc_high=table["auc"] + .01)
    two = detection_chart(table, most=2).data
    assert two["method"].tolist() == ["probe, best cell", "probe at -1", "place", "probas_min"]
    assert two["auc"].tolist() == [.9, .4, .7, .6]
    every = detection_chart(table, most=0)
    assert len(every.data) == 5 and every.data["published"].dropna().tolist() == [.8, .5]
    spec = every.to_dict()
    scale = spec["layer"][1]["encoding"]["x"]["scale"]["domain"]
    assert scale[0] <= .01 and scale[1] == 1 and len(spec["layer"]) == 4
    assert len(detection_chart(table[["method", "kind", "auc"]]).to_dict()["layer"]) == 2
    with pytest.raises(ValueError, match="lacks kind"): detection_chart(table.drop(columns="kind"))
    with pytest.raises(ValueError, match="no rows"): detection_chart(table[:0])
