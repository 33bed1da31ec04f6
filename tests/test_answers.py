"Batched = single, padded = bare, generated = read, shared = alone, resumed = whole, a seed = a sample; the ids that were fed."
import logging
import re
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast
from worlds import ROPES, livened, tiny_model, tiny_tokenizer

from probe_nb import answers
from probe_nb.activations import extract
from probe_nb.answers import _end_ids, _generate, _shares, answer, batches, encode_prompts, token_logprobs
from probe_nb.draws import draw, warp
from probe_nb.limits import Rope, halved
from probe_nb.models import load_lm
from probe_nb.positions import positions
from probe_nb.questions import check_questions
from probe_nb.truth import reread

pytestmark = pytest.mark.filterwarnings("error::FutureWarning")  # nothing is asked for under a name that is going

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
    assert sum(halved(f, rows), []) == rows


def test_one_row_that_does_not_fit_is_one_sentence():
    def f(_): raise torch.OutOfMemoryError
    with pytest.raises(MemoryError, match="one answer alone"): halved(f, [1, 2])


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
    ours = answer(lm, QS.iloc[[1]], max_new_tokens=12, progress=False)["answer_ids"][0]
    assert own[:own.index(2) + 1 if 2 in own else None] == ours


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
    got = torch.bincount(draw(p.log().expand(1000, 4), u), minlength=4)/1000
    torch.testing.assert_close(got, p[0], atol=2e-3, rtol=0)


def test_top_k_and_top_p():
    logits = torch.tensor([[.4, .3, .2, .1]]).log()
    assert warp(logits, 1., 2).isfinite().tolist() == [[True, True, False, False]]
    assert warp(logits, .7, None).isfinite().sum() == 2 and warp(logits, .71, None).isfinite().sum() == 3
    assert warp(logits, 1e-9, None).isfinite().tolist() == [[True, False, False, False]]


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


# Where an answer ends

TEXT = ["Alda Brenn was born in Torvik, I think.", "Ça va? 東京 👍🏽 naïve…", "12 + 3 = 15\nQ: A:"]*20


def ready(tok, pre, decoder):
    tok.pre_tokenizer, tok.decoder = pre, decoder
    return PreTrainedTokenizerFast(tokenizer_object=tok, unk_token="<unk>", bos_token="<s>", eos_token="</s>")


def trained(model, pre, decoder, trainer, **special):
    tok = Tokenizer(model)
    tok.pre_tokenizer = pre
    special["special_tokens"] = ["<unk>", "<s>", "</s>"]
    tok.train_from_iterator(TEXT, trainer(vocab_size=600, show_progress=False, **special))
    return ready(tok, pre, decoder)


def with_byte_fallback():
    "As Llama 2's: ▁ for a blank, bytes for characters that it does not know."
    bytes_ = [f"<0x{i:02X}>" for i in range(256)]
    words = ["<unk>", "<s>", "</s>", *bytes_, "\u2581", *"Aabcdefghiklnorstuvw.,:=", "or", "\u2581Tor"]
    words = {t: i for i, t in enumerate(words)}
    tok = Tokenizer(models.BPE(vocab=words, merges=[("o", "r")], byte_fallback=True, unk_token="<unk>"))
    steps = [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    return ready(tok, pre_tokenizers.Metaspace(), decoders.Sequence(steps))


TOKENIZERS = dict(
    bytes=tiny_tokenizer(), fallback=with_byte_fallback(),
    unigram=trained(models.Unigram(), pre_tokenizers.Metaspace(), decoders.Metaspace(), trainers.UnigramTrainer,
                    unk_token="<unk>"),
    wordpiece=trained(models.WordPiece(unk_token="<unk>"), pre_tokenizers.BertPreTokenizer(), decoders.WordPiece(),
                      trainers.WordPieceTrainer),
    characters=trained(models.BPE(unk_token="<unk>"), pre_tokenizers.Split("", "isolated"), decoders.Fuse(), trainers.BpeTrainer))


@pytest.mark.parametrize("name", TOKENIZERS)
@settings(max_examples=60)
@given(text=st.text(max_size=30) | st.sampled_from(TEXT), junk=st.lists(st.integers(0, 290), max_size=12), data=st.data())
def test_kept_ids_end_with_the_token_that_completes_the_stop(name, text, junk, data):
    "Against brute force over all prefixes, for texts and for ids that no text gives; the answer shown has no stop in it."
    tok = TOKENIZERS[name]
    ids = tok(text, add_special_tokens=False)["input_ids"] + [i for i in junk if i < len(tok)]
    shown = [tok.decode(ids[:n], skip_special_tokens=True) for n in range(len(ids) + 1)]
    piece = st.just("\n")
    if shown[-1]: piece |= st.tuples(st.integers(0, len(shown[-1]) - 1), st.integers(1, 6)).map(lambda p: shown[-1][p[0]:sum(p)])
    stops = data.draw(st.lists(piece | st.text(min_size=1, max_size=3), min_size=1, max_size=3))
    stopped = answers._Stopped(tok, stops, 2, 2)
    for n in range(1, len(ids) + 1): stopped(torch.tensor([[7, 7, *ids[:n]], [7, 7, *ids[:n]]]), None)
    first = next((n for n, t in enumerate(shown) if any(s in t for s in stops)), None)
    assert stopped.at == [first, first]
    if first is not None:
        kept = answers._before(shown[first], stops)
        assert shown[first].startswith(kept) and not any(s in kept for s in stops)
        assert any(shown[first][len(kept):].startswith(s) for s in stops)


@pytest.mark.parametrize("name", TOKENIZERS)
def test_a_stop_is_seen_within_characters_that_are_many_tokens(name):
    "Byte by byte, where a look at the last tokens alone shows nothing but broken characters."
    tok = TOKENIZERS[name]
    ids = tok("東京都です 👍🏽👍🏽 naïve", add_special_tokens=False)["input_ids"]
    shown = [tok.decode(ids[:n], skip_special_tokens=True) for n in range(len(ids) + 1)]
    for stop in {shown[-1][i:j] for i in range(len(shown[-1])) for j in range(i + 1, i + 3)} - {"\ufffd"}:
        stopped = answers._Stopped(tok, [stop], 0, 1)
        for n in range(1, len(ids) + 1): stopped(torch.tensor([ids[:n]]), None)
        assert stopped.at == [next(n for n, t in enumerate(shown) if stop in t)], stop


def test_answers_end_before_the_stop(lm):
    "Wherever it falls: the ids are the free answer's up to the token that completes it, their probabilities the same."
    free = answer(lm, QS, n_samples=2, max_new_tokens=30, progress=False)
    text = lm.tokenizer.decode(free["answer_ids"][4], skip_special_tokens=True)
    stop = text[len(text)//2:len(text)//2 + 3]
    ans = answer(lm, QS, n_samples=2, max_new_tokens=30, stop=[stop, "never said"], progress=False)
    assert len(ans["answer_ids"][4]) < len(free["answer_ids"][4]) and ans.attrs["stop"] == [stop, "never said"]
    for row, whole in zip(ans.itertuples(), free.itertuples()):
        n = len(row.answer_ids)
        assert row.answer_ids == whole.answer_ids[:n] and stop not in row.answer and len(row.token_logprobs) == n
        np.testing.assert_allclose(row.token_logprobs, whole.token_logprobs[:n], atol=1e-4)
        said = [lm.tokenizer.decode(whole.answer_ids[:k], skip_special_tokens=True) for k in range(n + 1)]
        assert not any(stop in t for t in said[:-1]) and row.answer == said[-1].split(stop)[0].strip()
        assert stop in said[-1] or n == len(whole.answer_ids)


def test_what_stops_an_answer_by_default():
    chat, base = (load_lm(tiny_model("llama"), tiny_tokenizer(chat=c)) for c in (True, False))
    stop = lambda lm, **kw: answer(lm, QS.iloc[:1], max_new_tokens=1, progress=False, **kw).attrs["stop"]
    assert stop(chat) == [] and stop(base) == ["\n"] == stop(chat, prompt="base") == stop(chat, prompt="Say: {question}")
    assert stop(base, stop=[]) == [] and stop(chat, stop="x") == ["x"]
    for bad in ("", ["a", ""], [3]):
        with pytest.raises(ValueError, match="give strings that are not empty"): answer(chat, QS, stop=bad)
    with pytest.raises(ValueError, match="leave stop= and path= out"): answer(chat, QS, given=["x"]*5, stop="x")


def test_a_token_of_its_own_ends_an_answer():
    lm = load_lm(tiny_model("llama"), tiny_tokenizer(chat=True))
    lm.tokenizer.add_special_tokens({"additional_special_tokens": ["<turn>"]})
    assert _end_ids(lm, ["<turn>", "x"]) == [2, lm.tokenizer.convert_tokens_to_ids("<turn>")]


# The paper's prompts

SHOTS = check_questions(pd.DataFrame([
    dict(id="s1", question="A fine film.", gold="positive", dataset="imdb"),
    dict(id="s2", question="Ann saw Bo because _ called. Who does the blank refer to in the sentence?", gold="Bo",
         dataset="winogrande")]))
REVIEW = 'Classify the following movie reviews as either "positive" or "negative".\nExample:\nReview: A fine film.\n' \
         "Label: positive\nReview: Dull.\nLabel:"
PAPER = [  # set, question, context, what a chat model is asked, what a base model is given: by hand from the published code
    *[(name, "Who?", None, "Who?", "Q: Who?\n        A:") for name in ("triviaqa", "hotpotqa", "movies", "mnli")],
    ("hotpotqa_with_context", "Who?", "It {x}.", "It {x}.\nWho?", "Q: It {x}.\nWho?\n        A:"),
    ("natural_questions_with_context", "Who?", "It.", "It.\nWho?", "Context:It.\n                Q: Who?\nA:"),
    ("math", " 7 + 5? ", None, " 7 + 5?  Answer shortly.", "Q:  7 + 5? \n            A:"),
    ("winobias", "The cook paid the clerk because he ate. Who does the pronoun 'he' refer to?", None,
     "The cook paid the clerk because he ate. Who does the pronoun 'he' refer to?",
     "The cook paid the clerk because he ate. The pronoun 'he' refers to the"),
    ("winobias", "Who does the pronoun 'he' refer to?", "The cook ate.", "The cook ate. Who does the pronoun 'he' refer to?",
     "The cook ate. The pronoun 'he' refers to the"),
    ("winogrande", "Al ran as _ was late. Who does the blank refer to in the sentence?", None,
     "Al ran as _ was late. Who does the blank refer to in the sentence?",
     "Ann saw Bo because _ called.  The blank refers to: Bo\nAl ran as _ was late.  The blank refers to:"),
    ("imdb", "Dull.", None, REVIEW, REVIEW)]


@pytest.mark.parametrize("name, question, context, chat, base", PAPER)
def test_the_papers_forms(name, question, context, chat, base):
    qs = check_questions(pd.DataFrame([dict(id="q", question=question, gold="x", context=context, dataset=name)]))
    for has, text in ((True, f"<s>User: {chat}\nModel:"), (False, base)):
        lm = load_lm(tiny_model("llama"), tiny_tokenizer(chat=has))
        assert lm.tokenizer.decode(encode_prompts(lm, qs, "paper", SHOTS)[0]) == text
    assert {p[0] for p in PAPER} == set(answers._FORMS)


def test_the_solved_question_is_never_under_test():
    "Defect 27 of the published code: its one shot was the first row of the data that it then asked."
    base = load_lm(tiny_model("llama"), tiny_tokenizer())
    qs = check_questions(pd.DataFrame(dict(id=["a", "b", "c"], question=["Good.", "Bad.", "Fine  Film."], dataset="imdb",
                                           gold=["positive", "negative", "positive"], group=["g", "h", "k"])))
    shot = SHOTS[:1]
    for bad, why in ((qs[:1], "same id"), (shot.assign(id="b"), "same id"), (shot.assign(group="h"), "same group"),
                     (shot.assign(question=" fine film. "), "same question")):
        with pytest.raises(ValueError, match=f"is under test, too .{why}"): encode_prompts(base, qs, "paper", bad)
        with pytest.raises(ValueError, match=f"is under test, too .{why}"): answer(base, qs, prompt="paper", shots=bad)
    for prompt in encode_prompts(base, qs, "paper", shot):
        assert base.tokenizer.decode(prompt).count("Label: positive") == 1
    with pytest.raises(ValueError, match="form of imdb shows one solved question"): encode_prompts(base, qs, "paper")
    with pytest.raises(ValueError, match="form of imdb shows one"): encode_prompts(base, qs, "paper", SHOTS[1:])
    alone = [base.tokenizer.decode(p) for p in encode_prompts(base, qs, "paper", SHOTS[:0])]
    assert all("Start with either" in t and "Example" not in t for t in alone)
    with pytest.raises(ValueError, match="shots= are for prompt=.paper"): answer(base, qs, shots=shot)
    with pytest.raises(ValueError, match="has no form for 'a', of the set 'own'"): encode_prompts(base, QS, "paper")


LLAMA3 = ("<s>{% for m in messages %}<|start|>{{ m['role'] }}<|stop|>\n\n{{ m['content'] | trim }}<|eot|>{% endfor %}"
          "{% if add_generation_prompt %}<|start|>assistant<|stop|>\n\n{% endif %}")


@pytest.mark.parametrize("prompt", ["auto", "chat", "paper"])
def test_last_q_is_the_last_token_before_the_answer(prompt):
    "Defect 20: without the generation prompt Llama 3's last_q was <|eot_id|>, its first answer tokens the template's header."
    tok = tiny_tokenizer()
    tok.add_special_tokens({"additional_special_tokens": ["<|start|>", "<|stop|>", "<|eot|>"]})
    tok.chat_template = LLAMA3
    lm = load_lm(tiny_model("llama", vocab_size=len(tok)), tok)
    ans = answer(lm, QS.assign(dataset="triviaqa"), prompt=prompt, max_new_tokens=2, progress=False)
    for ids in ans["prompt_ids"]:
        assert tok.decode(ids).endswith("<|eot|><|start|>assistant<|stop|>\n\n") and ids[-1] not in tok.all_special_ids
        assert ids.count(tok.convert_tokens_to_ids("<|start|>")) == 2 and ids.count(1) == 1


# Samples that share their prompt's cache

# two with a window shorter than the prompts, two with a recurrent state
SHARING = dict(llama={}, mistral=dict(sliding_window=8), gemma3_text=dict(sliding_window=8), gpt2={}, opt={}, bloom={},
               gpt_neox={}, lfm2={}, mamba={})


@pytest.mark.parametrize("kind", SHARING)
def test_samples_that_share_a_prompt_are_those_that_do_not(kind):
    lm = load_lm(tiny_model(kind, initializer_range=.3, **SHARING[kind]), tiny_tokenizer(chat=True))
    prompts, ends = encode_prompts(lm, QS), _end_ids(lm, [])
    shares = _shares(lm, prompts[1], ends)
    assert shares == (kind != "mamba")  # its state is not handed on by `generate`: each sample reads the prompt
    rows, seeds = [p for p in prompts for _ in range(3)], [None, 1, 2]*5
    alone, shared = (_generate(lm, rows, seeds, ends, [], s, 10, 1., 1., None) for s in (False, shares))
    for (a, p), (b, q) in zip(alone, shared):
        assert a == b
        np.testing.assert_allclose(p, q, atol=1e-4)


def test_nothing_goes_in_or_out_under_a_name_that_is_going(lm, monkeypatch):
    def told(_, text, *a): raise AssertionError(text)
    monkeypatch.setattr(logging.Logger, "warning_once", told)  # how the library says it of what a model gives
    lm = load_lm(lm.model, lm.tokenizer)  # nothing is tried yet
    ans = answer(lm, QS, n_samples=2, max_new_tokens=3, progress=False)
    assert lm.tried["generating"]
    ans = ans.assign(span_start=pd.array([pd.NA]*len(ans), "Int64"), span_stop=pd.NA)
    extract(lm, ans, positions(ans), progress=False)
    assert [v for k, v in lm.tried.items() if "can_share" in k] == [True]


def tokens_read(lm, f):
    "How many tokens go through the model while `f()` runs."
    read = []
    hook = lm.model.get_input_embeddings().register_forward_pre_hook(lambda m, a: read.append(a[0].numel()))
    try: f()
    finally: hook.remove()
    return sum(read)


def test_a_prompt_is_read_once(lm):
    prompts, ends = encode_prompts(lm, QS), _end_ids(lm, [])
    rows, n = [prompts[1]]*30, len(prompts[1])
    once = tokens_read(lm, lambda: _generate(lm, rows, range(30), [], [], True, 1, 1., 1., None))
    each = tokens_read(lm, lambda: _generate(lm, rows, range(30), [], [], False, 1, 1., 1., None))
    assert (once, each) == (n - 1 + 30, 30*n)
    whole = tokens_read(lm, lambda: answer(lm, QS, n_samples=29, max_new_tokens=1, progress=False))
    assert whole < 5*30 + 5*max(map(len, prompts)) + 200  # the last number: what trying it out costs
    assert tokens_read(lm, lambda: _generate(lm, [[5]]*3, [1, 2, 3], ends, [], True, 1, 1., 1., None)) == 3


def test_a_cache_that_goes_on_wrongly_is_noticed(monkeypatch):
    lm = load_lm(tiny_model("llama", initializer_range=.3), tiny_tokenizer(chat=True))
    true, prompt = answers._read_once, encode_prompts(lm, QS)[1]
    def forgetful(*a):
        cache = true(*a)
        for layer in next(iter(cache.values())).layers: layer.values = torch.zeros_like(layer.values)
        return cache
    monkeypatch.setattr(answers, "_read_once", forgetful)
    assert not _shares(lm, prompt, [])


@given(st.lists(st.integers(1, 300), min_size=1, max_size=20), st.integers(0, 40), st.integers(1, 40), st.integers(1, 4000),
       st.integers(1, 400), st.sampled_from([Rope(), Rope((100, 200)), Rope(exact=90), Rope((50,), exact=150)]))
def test_row_batches_hold_each_row_once_within_the_budget(prompts, more, n_rows, budget, limit, rope):
    lm = SimpleNamespace(rope=rope, model=SimpleNamespace(
        modules=list, buffers=list, get_input_embeddings=lambda: None,
        config=SimpleNamespace(get_text_config=lambda: SimpleNamespace(max_position_embeddings=limit))))
    got, lengths = answers._row_batches(lm, [[0]*n for n in prompts], more, n_rows, budget), [n + more for n in prompts]
    assert sorted(sum(got, [])) == list(range(len(lengths)*n_rows))
    for b in got:
        asked = {r//n_rows for r in b}
        assert len(b) == 1 or len(b)*max(lengths[i] for i in asked) <= budget
        assert len(asked) == 1 or all(lengths[i] <= limit and rope(lengths[i]) == rope(prompts[i]) for i in asked)
        assert len({rope(lengths[i]) for i in asked}) == 1
        if n_rows*max(lengths[i] for i in asked) <= budget: assert len(b) == len(asked)*n_rows  # none is parted without need


def grows(kind): return load_lm(livened(tiny_model(kind, **ROPES[kind]), .2), tiny_tokenizer(chat=True))


@pytest.mark.filterwarnings("ignore:.* tokens")
@pytest.mark.parametrize("kind", ROPES)
def test_positions_that_depend_on_a_rows_length_are_as_they_are_alone(kind):
    "Answers and their log-probabilities, in a batch and by a model that has seen nothing else."
    rng = np.random.default_rng(0)
    prompts, said = ([rng.integers(3, 300, k).tolist() for k in ks] for ks in ((5, 9, 12, 14, 8, 20), (4, 7, 8, 2, 8, 4)))
    got = token_logprobs(grows(kind), prompts, said, progress=False)
    for p, a, row in zip(prompts, said, got):
        np.testing.assert_allclose(row, token_logprobs(grows(kind), [p], [a], progress=False)[0], atol=1e-4)
    how = dict(n_samples=1, seed=0, max_new_tokens=6, temperature=1., top_p=1., top_k=None, stop=[])
    if kind == "llama": prompts.pop()  # longer than what that model takes
    together = answers._say(grows(kind), prompts, "abcdef"[:len(prompts)], how, 8192, None, False)
    for k, (p, name) in enumerate(zip(prompts, "abcdef")):
        alone = answers._say(grows(kind), [p], [name], how, 8192, None, False)
        for (a, lp), (b, lq) in zip(together[2*k:2*k + 2], alone):
            assert a == b
            np.testing.assert_allclose(lp, lq, atol=1e-4)


@pytest.mark.parametrize("budget", [1, 60, 150, 400, 3000])
def test_a_seed_is_a_sample_whatever_the_token_budget(lm, budget):
    kw = dict(n_samples=4, max_new_tokens=8, seed=3, progress=False)
    a, b = answer(lm, QS, **kw), answer(lm, QS, token_budget=budget, **kw)
    assert a["answer_ids"].tolist() == b["answer_ids"].tolist()
    for p, q in zip(a["token_logprobs"], b["token_logprobs"]): np.testing.assert_allclose(p, q, atol=1e-4)


def test_a_long_neighbour_takes_no_tokens_away(lm):
    "Only the room that is left after its own prompt bounds an answer."
    long = QS.iloc[:2].assign(question=["a b "*60, "Who?"])
    both = answer(lm, long, max_new_tokens=100, stop=[], progress=False)
    alone = answer(lm, long.iloc[1:], max_new_tokens=100, stop=[], progress=False)
    assert both["answer_ids"][1] == alone["answer_ids"][0]


# Going on

class Killed(BaseException): "As a killed process ends: nothing catches it."


def killed_after(k):
    def progress(items, total, desc):
        for i, item in enumerate(items):
            if i == k: raise Killed
            yield item
    return progress


KW = dict(n_samples=2, max_new_tokens=8, seed=1, token_budget=120)


@pytest.mark.parametrize("k", [0, 1, 3])
def test_resumed_is_whole(lm, tmp_path, k):
    whole = answer(lm, QS, progress=False, **KW)
    with pytest.raises(Killed): answer(lm, QS, path=tmp_path/"a", progress=killed_after(k), **KW)
    (tmp_path/"a"/"torn.parquet.partial").write_bytes(b"half")
    assert len(list((tmp_path/"a").glob("*.parquet"))) == k
    seen = []
    def count(items, total, desc):
        seen.append(total)
        return items
    pd.testing.assert_frame_equal(answer(lm, QS, path=tmp_path/"a", progress=count, **KW), whole)
    assert seen == [len(answers._row_batches(lm, encode_prompts(lm, QS), 8, 3, 120)) - k]
    again = []
    assert tokens_read(lm, lambda: again.append(answer(lm, QS, path=tmp_path/"a", progress=False, **KW))) == 0
    pd.testing.assert_frame_equal(again[0], whole)
    assert again[0].attrs == whole.attrs


def test_a_killed_run_goes_on_with_less_memory(lm, tmp_path):
    with pytest.raises(Killed): answer(lm, QS, path=tmp_path, progress=killed_after(2), **KW)
    whole = answer(lm, QS, progress=False, **KW)
    rest = answer(lm, QS, path=tmp_path, progress=False, **(KW | dict(token_budget=40)))
    assert rest["answer_ids"].tolist() == whole["answer_ids"].tolist()


def test_other_settings_are_refused_by_name(lm, tmp_path):
    answer(lm, QS, path=tmp_path, progress=False, **KW)
    for k, v in dict(seed=2, n_samples=3, max_new_tokens=9, temperature=.5, top_p=.9, top_k=5, stop="x", prompt="base").items():
        with pytest.raises(ValueError, match=f"holds answers with {k}=.* use another folder"):
            answer(lm, QS, path=tmp_path, **(KW | {k: v}))
    for qs in (QS.iloc[:4], QS.iloc[::-1], QS.assign(id=list("vwxyz")), QS.assign(question="Why?")):
        with pytest.raises(ValueError, match="holds answers with questions="): answer(lm, qs, path=tmp_path, **KW)
    other = tiny_model(lm.model.config.model_type)
    with torch.no_grad(): other.get_input_embeddings().weight += .1
    other = load_lm(other, lm.tokenizer)
    with pytest.raises(ValueError, match="holds answers with model="): answer(other, QS, path=tmp_path, **KW)
    with pytest.raises(ValueError, match="leave stop= and path= out"): answer(lm, QS, given=["x"]*5, path=tmp_path)


def test_damage_is_named_and_never_read(lm, tmp_path):
    whole = answer(lm, QS, path=tmp_path/"a", progress=False, **KW)
    part = sorted((tmp_path/"a").glob("*.parquet"))[1]
    part.write_bytes(part.read_bytes()[:-30])
    with pytest.raises(ValueError, match=f"{re.escape(str(part))} is damaged .*: delete it and run again"):
        answer(lm, QS, path=tmp_path/"a", progress=False, **KW)
    part.unlink()
    pd.testing.assert_frame_equal(answer(lm, QS, path=tmp_path/"a", progress=False, **KW), whole)
    (tmp_path/"a"/"card.json").write_text("{")
    with pytest.raises(ValueError, match="card.json is damaged"): answer(lm, QS, path=tmp_path/"a", progress=False, **KW)
    (tmp_path/"f").write_text("x")
    with pytest.raises(NotADirectoryError, match="path= is a folder"): answer(lm, QS, path=tmp_path/"f", **KW)


def test_a_full_disk_is_one_sentence_and_loses_one_batch(lm, tmp_path, monkeypatch):
    true, calls = pd.DataFrame.to_parquet, []
    def full(self, path, *a, **kw):
        calls.append(1)
        if len(calls) == 3: raise OSError(28, "No space left on device")
        return true(self, path, *a, **kw)
    monkeypatch.setattr(pd.DataFrame, "to_parquet", full)
    with pytest.raises(OSError, match="could not be written .No space left on device"):
        answer(lm, QS, path=tmp_path, progress=False, **KW)
    monkeypatch.undo()
    assert len(list(tmp_path.glob("*.parquet"))) == 2
    pd.testing.assert_frame_equal(answer(lm, QS, path=tmp_path, progress=False, **KW), answer(lm, QS, progress=False, **KW))


def test_settings_are_written_down(lm):
    ans = answer(lm, QS, n_samples=1, max_new_tokens=2, temperature=.7, top_p=.9, top_k=7, seed=5, stop="x", progress=False)
    wanted = dict(model=lm.name, revision=lm.revision, prompt="auto", shots=None, stop=["x"], seed=5, n_samples=1,
                  max_new_tokens=2, temperature=.7, top_p=.9, top_k=7)
    assert wanted.items() <= ans.attrs.items() and re.fullmatch("[0-9a-f]{8}", ans.attrs["template"])
    other = tiny_tokenizer(chat=True)
    other.chat_template += " "
    assert answer(load_lm(lm.model, other), QS, max_new_tokens=1, progress=False).attrs["template"] != ans.attrs["template"]


def test_what_is_kept_of_a_token_is_what_reading_the_answer_gives(lm):
    "Log-probability, score and entropy of each token, of greedy answers and samples."
    ans = answer(lm, QS, n_samples=2, max_new_tokens=8, progress=False)
    read = reread(lm, ans.drop(columns=["token_logits", "token_entropies"]), progress=False)
    for kept in ("token_logits", "token_entropies"):
        assert ans[kept].str.len().equals(ans["answer_ids"].str.len())
        for a, b in zip(ans[kept], read[kept]): np.testing.assert_allclose(a, b, atol=1e-4)
    given = answer(lm, QS, given=["Paris."]*len(QS), progress=False)
    assert "token_logprobs" in given and "token_logits" not in given  # nothing is made up
