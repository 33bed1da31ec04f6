"Batched = single, padded = bare, generated = read, a seed = a sample; exactly the ids that were fed."
import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from worlds import tiny_model, tiny_tokenizer

from probe_nb.answers import _cut, _draw, _warp, answer, batches, encode_prompts, in_halves, token_logprobs
from probe_nb.models import load_lm
from probe_nb.questions import check_questions

ASKED = ["Who?", "Where was Alda Brenn born, and why there of all places?", "Is it {question}?", "Paris", "What is 7 + 5?"]
QS = check_questions(pd.DataFrame(dict(id=list("abcde"), question=ASKED, gold="x")))


@pytest.fixture(scope="module", params=["llama", "gpt2"])
def lm(request): return load_lm(tiny_model(request.param), tiny_tokenizer(chat=True))


@given(st.lists(st.integers(1, 300), max_size=60), st.integers(1, 2000), st.integers(1, 20))
def test_batches_hold_each_row_once_within_the_budget(lengths, budget, at_most):
    got = batches(lengths, budget, at_most)
    assert sorted(sum(got, [])) == list(range(len(lengths)))
    assert all(len(b) == 1 or len(b)*max(lengths[i] for i in b) <= budget for b in got) and all(len(b) <= at_most for b in got)


@given(st.lists(st.integers(), min_size=1, max_size=40), st.integers(1, 40))
def test_halving_keeps_all_rows(rows, room):
    def f(batch):
        if len(batch) > room: raise torch.OutOfMemoryError
        return batch
    assert sum(in_halves(f, rows), []) == rows


def test_one_row_that_does_not_fit_is_one_sentence():
    def f(_): raise torch.OutOfMemoryError
    with pytest.raises(MemoryError, match="one answer alone"): in_halves(f, [1, 2])


def test_alone_is_in_a_batch(lm):
    ans = answer(lm, QS, max_new_tokens=12, progress=False)
    for i in range(len(QS)):
        one = answer(lm, QS.iloc[[i]], max_new_tokens=12, progress=False)
        assert one["answer_ids"][0] == ans["answer_ids"][i]
        np.testing.assert_allclose(one["token_logprobs"][0], ans["token_logprobs"][i], atol=1e-4)


def test_generating_is_reading(lm):
    "The probability kept at each step is that of one pass over prompt and answer, for greedy answers and samples."
    ans = answer(lm, QS, n_samples=2, max_new_tokens=12, progress=False)
    read = token_logprobs(lm, ans["prompt_ids"].tolist(), ans["answer_ids"].tolist(), token_budget=90, progress=False)
    for a, b in zip(ans["token_logprobs"], read): np.testing.assert_allclose(a, b, atol=1e-4)


def test_greedy_is_the_librarys_own(lm):
    ids = torch.tensor([encode_prompts(lm, QS)[1]])
    own = lm.model.generate(ids, attention_mask=torch.ones_like(ids), do_sample=False, max_new_tokens=12)
    own = own[0, ids.shape[1]:].tolist()
    assert _cut(own, [2]) == answer(lm, QS.iloc[[1]], max_new_tokens=12, progress=False)["answer_ids"][0]


def test_a_seed_is_a_sample_whatever_the_batch(lm):
    kw = dict(n_samples=3, max_new_tokens=8, progress=False)
    a, b = answer(lm, QS, seed=1, **kw), answer(lm, QS.iloc[::-1], seed=1, token_budget=60, **kw)
    same = a.merge(b, on=["id", "sample"])
    assert len(same) == 20 and (same["answer_ids_x"] == same["answer_ids_y"]).all()
    assert a["answer_ids"].tolist() != answer(lm, QS, seed=2, **kw)["answer_ids"].tolist()
    assert a["example"].tolist() == list(range(20)) and a["sample"].tolist() == [0, 1, 2, 3]*5


def test_draws_follow_the_probabilities():
    p = torch.tensor([[.6, .3, .1, 0.]])
    u = (torch.arange(1000) + .5)/1000
    got = torch.bincount(_draw(p.log().expand(1000, 4), u), minlength=4)/1000
    torch.testing.assert_close(got, p[0], atol=2e-3, rtol=0)


def test_top_k_and_top_p():
    logits = torch.tensor([[.4, .3, .2, .1]]).log()
    assert _warp(logits, 1., 2).isfinite().tolist() == [[True, True, False, False]]
    assert _warp(logits, .7, None).isfinite().sum() == 2 and _warp(logits, .71, None).isfinite().sum() == 3
    assert _warp(logits, 1e-9, None).isfinite().tolist() == [[True, False, False, False]]


def test_exactly_one_bos():
    for chat in (True, False):
        lm = load_lm(tiny_model("llama"), tiny_tokenizer(chat=chat, adds_bos=True))
        assert all(ids.count(1) == 1 and ids[0] == 1 for ids in encode_prompts(lm, QS))
        assert all(ids.count(1) <= 1 for ids in encode_prompts(lm, QS, "Say: {question}"))


def test_prompts_show_what_is_fed(lm):
    assert lm.tokenizer.decode(encode_prompts(lm, QS)[2]) == "<s>User: Is it {question}?\nModel:"
    with_context = check_questions(pd.DataFrame([dict(id=1, question="Who?", gold="x", context="It was {question}.")]))
    ids = encode_prompts(lm, with_context, "C: {context} Q: {question}")[0]
    assert lm.tokenizer.decode(ids) == "C: It was {question}. Q: Who?"
    with pytest.raises(ValueError, match="leaves the question out"): encode_prompts(lm, QS, "Hello")
    with pytest.raises(ValueError, match="no chat template"):
        encode_prompts(load_lm(tiny_model("llama"), tiny_tokenizer()), QS, "chat")


def test_a_base_model_stops_at_the_line():
    lm = load_lm(tiny_model("llama"), tiny_tokenizer())
    newline = lm.tokenizer("\n")["input_ids"][0]
    with torch.no_grad():  # a model that says nothing but line breaks
        lm.model.lm_head.weight.zero_()
        lm.model.lm_head.weight[newline] = 1
        lm.model.model.norm.weight.fill_(1)
        lm.model.model.embed_tokens.weight.fill_(1.)
    ans = answer(lm, QS.iloc[:2], max_new_tokens=5, progress=False)
    assert ans["answer_ids"].tolist() in ([[newline]]*2, [a for a in ans["answer_ids"] if len(a) == 5])


def test_given_answers_are_read(lm):
    ans = answer(lm, QS, given=["Paris, of course."]*5, progress=False)
    assert ans["answer"].tolist() == ["Paris, of course."]*5 and all(a[-1] == 2 for a in ans["answer_ids"])
    assert (ans["token_logprobs"].map(len) == ans["answer_ids"].map(len)).all()
    with pytest.raises(ValueError, match="4 given answers for 5 questions"): answer(lm, QS, given=["x"]*4)
    with pytest.raises(ValueError, match="given answer 1 is empty"): answer(lm, QS, given=["x", " ", "x", "x", "x"])


def test_the_model_is_left_as_it_was(lm):
    before = {k: v.clone() for k, v in lm.model.state_dict().items()}
    config = lm.model.generation_config.to_dict()
    answer(lm, QS, n_samples=1, max_new_tokens=4, progress=False)
    assert all(torch.equal(v, before[k]) for k, v in lm.model.state_dict().items())
    assert lm.model.generation_config.to_dict() == config


@pytest.mark.parametrize("bad", [dict(n_samples=-1), dict(temperature=0), dict(temperature=-1), dict(top_p=0),
                                 dict(max_new_tokens=0)])
def test_settings_that_mean_nothing(lm, bad):
    with pytest.raises(ValueError, match=f"{next(iter(bad))}={next(iter(bad.values()))}"): answer(lm, QS, **bad)


def test_what_the_model_cannot_take_in_is_refused_and_answers_end_there(lm):
    long = QS.assign(question=[*QS["question"][:4], "why? "*300])
    with pytest.raises(ValueError, match="question 'e' makes .* takes 256 .1 such"): answer(lm, long)
    with pytest.raises(ValueError, match="question 'a' makes"): answer(lm, QS, given=["why? "*300]*5)
    near = QS.iloc[:1].assign(question="a b "*60)
    ans = answer(lm, near, max_new_tokens=10_000, progress=False)
    assert len(ans["prompt_ids"][0]) + len(ans["answer_ids"][0]) <= 256


def test_answers_can_be_asked_again(lm):
    ans = answer(lm, QS, max_new_tokens=4, progress=False)
    assert answer(lm, ans, max_new_tokens=4, progress=False)["answer_ids"].tolist() == ans["answer_ids"].tolist()


def test_weights_are_known_in_memory_too():
    from probe_nb.answers import check_model
    model, tok = tiny_model("llama"), tiny_tokenizer(chat=True)
    ans = answer(load_lm(model, tok), QS, max_new_tokens=2, progress=False)
    check_model(load_lm(model, tok), ans)
    other = tiny_model("llama")
    with torch.no_grad(): other.model.layers[1].mlp.up_proj.weight += 1e-3
    with pytest.raises(ValueError, match="these answers are"): check_model(load_lm(other, tok), ans)
    demo = load_lm("demo", device="cpu")
    assert load_lm(demo.model, demo.tokenizer).revision == demo.revision
