"""Probes at every token: what is scored, by whom, and what is shown of it."""
import threading

import numpy as np
import pandas as pd
import pytest

from probe_nb.answers import answer
from probe_nb.every_token import answer_aloud, asking, group_of, probes_at, rank_samples, sample_list, token_chances, told_of
from probe_nb.live import Stopped
from probe_nb.token_scores import TokenScores

HOSTILE = "<img src=x onerror=alert(1)>"


@pytest.fixture(scope="module")
def probes(made): return probes_at(made.acts(), made.answers(), "exact_answer_last")


def hooks(lm): return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in lm.model.modules())


def test_probes_have_not_seen_what_is_left_out(made):
    acts, ans = made.acts(), made.answers()
    some = set(group_of(ans)[:30])
    shuffled = ans.assign(correct=ans["correct"].where(~group_of(ans).isin(some), ~ans["correct"]))
    for a, b in zip(probes_at(acts, ans, "-1", without=some), probes_at(acts, shuffled, "-1", without=some)):
        assert np.array_equal(a.direction, b.direction) and a.slope == b.slope, "labels of groups left out do not matter"
    p = probes_at(acts, ans, "-1")[0]
    assert (p.layer, p.position, p.site, p.n) == (5, "-1", "mlp_in", int((ans["correct"].notna()).sum()))


def test_every_token_has_the_chance_that_its_activation_has(lm, made, probes):
    acts, ans = made.acts(), made.answers()
    for r in ans[ans["span_start"].notna()].to_dict("records")[:5]:
        p = len(r["prompt_ids"])
        got = token_chances(lm, [*r["prompt_ids"], *r["answer_ids"]], probes, p)
        assert got["token"].values.tolist() == list(range(p, p + len(r["answer_ids"])))
        for name, token in (("exact_answer_last", p + r["span_stop"] - 1), ("-1", p + len(r["answer_ids"]) - 1)):
            X = acts.sel(example=r["example"], position=name).values
            want = [q.predict_proba(x)[1] for q, x in zip(probes, X)]
            assert np.allclose(got.sel(token=token), want, atol=1e-3)
    turned = token_chances(lm, r["prompt_ids"], probes[::-1])
    assert turned["layer"].values.tolist() == [5, 6], "layers are named, in whatever order the probes came"


def test_said_aloud_is_what_is_said(lm, probes):
    before, heard = hooks(lm), []
    question = "Where was Kaya Ashby born?"
    ans, whole = answer_aloud(lm, question, probes, lambda ids, chances: heard.append((list(ids), chances.copy())))
    plain = answer(lm, pd.DataFrame([dict(id="a", question=question, gold="?")]), progress=False)
    assert ans["answer_ids"].iloc[0] == plain["answer_ids"].iloc[0]
    assert [len(ids) for ids, _ in heard] == list(range(1, len(heard) + 1)) and len(heard) == len(ans["answer_ids"].iloc[0]) - 1
    assert all(ids == ans["answer_ids"].iloc[0][:len(ids)] and c.shape == (2, len(ids)) for ids, c in heard)
    assert np.allclose(heard[-1][1], whole.values[:, :-1], atol=1e-3), "what was heard is what is read at the end"

    def stop(ids, chances):
        if len(ids) == 2: raise Stopped
    with pytest.raises(Stopped): answer_aloud(lm, "Where was Kaya Ashby born?", probes, stop)
    with pytest.raises(Stopped), asking(lm, lambda: stop([1, 2], None)): answer(lm, plain, progress=False)
    assert hooks(lm) == before, "nothing listens any more"


def test_samples_are_ranked_and_missing_ones_stand_last(lm, made, probes):
    ans = made.answers()
    some = pd.concat([ans[ans["span_start"].notna()][:5], ans[ans["span_start"].isna()][:1]])
    some.attrs = ans.attrs
    ranked = rank_samples(lm, some, probes[0])
    assert ranked["chance"][:-1].is_monotonic_decreasing and np.isnan(ranked["chance"].iloc[-1]) and len(ranked) == 6
    X = made.acts().sel(example=ranked["example"].iloc[0], position="exact_answer_last", layer=5).values
    assert ranked["chance"].iloc[0] == pytest.approx(probes[0].predict_proba(X)[1], abs=1e-3)
    said = dict(sample=[0, 1, 2], answer=["a", HOSTILE, "a"], chance=[.2, np.nan, .4], outcome=["wrong"] * 3)
    (first, one), (last, two) = sample_list(pd.DataFrame(said))
    assert (one, two) == (0, 1) and first == "0.30  greedy: a  (2 ×, judged wrong)" and "–" in last


def test_a_transfer_is_said(probes):
    assert "a transfer" in told_of(probes[0], "") and "a transfer" in told_of(probes[0], "exact_answer_last_of_all")
    assert "such a place" in told_of(probes[0], "-2, exact_answer_last") and "AUC 0." in told_of(probes[0])


def test_widget_shows_an_answer_of_the_study(study):
    w = TokenScores(study).wait(60)
    assert w.error == "" and w.example == 0 and w.position == study.map().best_position and not w.busy
    held = w.ans[(w.ans["correct"].notna()) & (group_of(w.ans) == group_of(w.ans).iloc[0])]
    assert len(held) == 0 or w._used[0].n < int(w.ans["correct"].notna().sum()), "by probes that have not seen its group"
    assert w._strip.colours and w._layers.shape == (2, len(w._strip.shown))
    other = 5 if w.layer == 6 else 6
    before = w._strip.colours
    w._slider.value = other
    assert w.layer == other and w._strip.colours != before and w._layers.picked[0] == [5, 6].index(other)
    w._layers.picked = (0, 2)
    assert (w.layer, w.token, w._strip.cursor) == (5, 2, 2)
    w._strip.set_state({"cursor": 1})
    assert w.token == 1 and "token 1" in w._lines["told"].value
    w._step(1)
    assert w.wait(30).example == 1 and w.error == ""
    w.example = 10 ** 6
    assert "no example 1000000" in w.error and w.still().count("<img") == 1


def test_widget_asks_and_ranks(study):
    w = TokenScores(study, samples=3).wait(60)
    lengths = []
    w._strip.observe(lambda change: lengths.append(len(change.new)), "shown")
    w.question = f"Where was {HOSTILE} born?"
    w.ask()
    w.wait(60)
    assert w.error == "" and w.example == -1 and len(w._ranked) == 4 and len(lengths) > 1
    assert "<img" not in w._lines["about"].value and HOSTILE not in w.still()
    assert "greedy" in "".join(words for words, _ in w._select.options)
    w.question = study.questions()["question"].iloc[2]
    w.ask()
    w.wait(60)
    assert "judged" in w._select.options[0][0] or w._ranked["outcome"].iloc[0] == "refused", "the study's own question is judged"
    w._select.value = w._select.options[-1][1]
    assert w.wait(30).error == ""
    w.layer = 5 if w.layer == 6 else 6
    w.wait(30)
    w.position = "-1"
    w.wait(30)
    assert w.error == "" and w._used[0].position == "-1"
    w.question = "  "
    w.ask()
    assert "no question" in w.error


def test_stop_and_the_last_question_wins(study, monkeypatch):
    w = TokenScores(study, samples=0).wait(60)
    seen, go = threading.Event(), threading.Event()
    real = w._tokens

    def slow(*args):
        seen.set()
        go.wait(5)
        real(*args)
    monkeypatch.setattr(w, "_tokens", slow)
    w.question = "Where was Kaya Ashby born?"
    w.ask()
    assert seen.wait(20)
    w.stop()
    go.set()
    assert w.wait(20).status == "Stopped." and w._ranked is None and not w.busy
    w.ask()
    w.question = "Birthplace of Kaya Ashby?"
    w.ask()
    assert w.wait(30)._ranked["question"].iloc[0] == "Birthplace of Kaya Ashby?"


def test_without_a_study(lm, probes):
    with pytest.raises(ValueError, match="give a study"): TokenScores()
    w = TokenScores(lm=lm, probes=probes[1], samples=2)
    w.question = "Where was Kaya Ashby born?"
    w.ask()
    assert w.wait(60).error == "" and w._layers.shape[0] == 1 and len(w._ranked) == 3
