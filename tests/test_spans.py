"The tokens pointed at are the exact answer, whatever made them and whatever the judge says; else missing, with a reason."
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
from families import FAMILIES
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds import tiny_model, tiny_tokenizer

from probe_nb import spans
from probe_nb.answers import answer
from probe_nb.judges import judge
from probe_nb.marks import mark
from probe_nb.models import load_lm
from probe_nb.phrases import find_phrase
from probe_nb.questions import check_questions, load_questions
from probe_nb.spans import Pieces, char_ranges, coverage, find_spans

TOK = tiny_tokenizer()
LM = load_lm(tiny_model("llama"), TOK)
READER = load_lm(tiny_model("llama", max_position_embeddings=1500), TOK)
MODEL = tiny_model("llama")
MODEL.generation_config.eos_token_id = None  # each family's tokenizer has its own
LMS = {name: load_lm(MODEL, tok) for name, tok in FAMILIES.items()}
PIECES = {name: Pieces(tok) for name, tok in FAMILIES.items()}
text = st.text(alphabet=st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), max_size=40)
ODD = ["Paris", "naïve ", "🙂", "👩‍🚀", "東京", "é", "e\u0301", " ", "שלום", "a", "Zürich", "\n", "1,250", "\ufffd", "?"]
wild = st.lists(st.sampled_from(ODD) | st.characters(codec="utf-8"), max_size=15).map("".join)
family = st.sampled_from(sorted(FAMILIES))


def ids_of(tok, t): return tok(t, add_special_tokens=False)["input_ids"]


def frame(rows):
    plain = dict(question="?", gold=["x"], options=None, prompt_ids=[5, 6])
    return pd.DataFrame([dict(example=i) | plain | r for i, r in enumerate(rows)])


def said(*texts, **more):
    return frame([dict(answer=t, answer_ids=[*ids_of(TOK, t), TOK.eos_token_id]) | more for t in texts])


def find(ans, *a, lm=LM, **kw): return find_spans(lm, ans, *a, progress=False, **kw)


def one(ids, options, **more):
    return find(frame([dict(answer_ids=ids, options=options, gold=options[:1], outcome="correct") | more])).iloc[0]


# From characters to tokens

@given(text)
def test_tokens_cover_every_character_once_or_share_it(t):
    ids = ids_of(TOK, t)
    whole, ranges = char_ranges(TOK, ids)
    assert whole == t and len(ranges) == len(ids)
    assert all(a < b for a, b in ranges)
    covered = np.zeros(len(t), bool)
    for a, b in ranges: covered[a:b] = True
    assert covered.all() and (np.diff(ranges[:, 0]) >= 0).all() and (np.diff(ranges[:, 1]) >= 0).all()


@settings(max_examples=150)
@given(family, wild, st.data())
def test_pieces_say_what_decoding_every_prefix_says(name, t, data):
    tok = FAMILIES[name]
    ids = ids_of(tok, t.replace("\ufffd", ""))
    if data.draw(st.booleans()): ids = data.draw(st.permutations(ids))[:12]
    whole, ranges = PIECES[name].ranges(ids)
    text, slow = char_ranges(tok, ids)
    assert whole == text and (ranges[:, 0] >= slow[:, 0]).all()  # behind half a character, prefixes do not tell so exactly
    if "\ufffd" not in text: assert (ranges == slow).all()


@settings(max_examples=250)
@given(family, wild, st.lists(st.integers(0, 190), max_size=12), st.booleans(), st.data())
def test_every_family_a_span_decodes_to_what_it_claims_or_is_missing_with_a_reason(name, t, more, shuffled, data):
    lm, tok = LMS[name], FAMILIES[name]
    ids = ids_of(tok, t) + more if shuffled else ids_of(tok, t)
    chosen = []
    def anywhere(text, row):
        chosen[:] = sorted(data.draw(st.tuples(st.integers(0, len(text)), st.integers(0, len(text)))))
        return tuple(chosen)
    got = find(frame([dict(answer_ids=ids)]), anywhere, lm=lm).iloc[0]
    if pd.isna(got["span_start"]):
        assert got["span_reason"] and pd.isna(got["span_stop"])
        assert got["exact_answer"] is None and got["span_confidence"] is None
        return
    s, e, exact = got["span_start"], got["span_stop"], got["exact_answer"]
    heads = [tok.decode(ids[:k], clean_up_tokenization_spaces=False) for k in (s, e)]
    assert exact and exact == exact.strip() and got["span_reason"] == "" and 0 <= s < e <= len(ids)
    assert exact in tok.decode(ids[s:e], clean_up_tokenization_spaces=False)
    assert len(heads[0].rstrip("\ufffd")) <= chosen[1] and exact in heads[1]  # here, not at a later mention


@settings(max_examples=60)
@given(family, st.sampled_from(["Torvik", "Paris", "São Paulo", "1,250", "Köln"]),
       st.sampled_from(["", "It was ", "In\n", "🙂 ", "東京: "]), st.sampled_from(["", ".", ", he said", "\n", " 🙂", "!?"]))
def test_what_can_be_written_is_found(name, option, before, after):
    tok = FAMILIES[name]
    ids = ids_of(tok, f"{before}{option}{after}")
    got = find(frame([dict(answer_ids=[*ids, tok.eos_token_id], options=[option, "Rome"])]), lm=LMS[name]).iloc[0]
    shown = tok.decode(ids, clean_up_tokenization_spaces=False)
    if option.lower() not in shown.lower() and "wordpiece" in name: return  # "são" is "sao" there, "1,250" falls apart
    assert got["span_reason"] == "" and got["exact_answer"].lower() == option.lower(), (got["span_reason"], shown)
    whole = tok.decode(ids[got["span_start"]:got["span_stop"]]).strip(" .,!?:\n\ufffd🙂")
    assert whole.lower() == option.lower()  # and no token too many


@given(text, st.sampled_from(["Torvik", "New York", "Zürich", "東京", "1,250", "naïve 🙂 town"]), text)
def test_an_option_is_found_where_it_was_put(before, option, after):
    t = f"{before} {option} {after}"
    if str(spans._option(t, dict(options=[option], dataset=None))).startswith("only denies"): return  # a random "no" before it
    ids = ids_of(TOK, t) + [2]
    got = one(ids, [option])
    assert got["span_reason"] == "" and pd.notna(got["span_start"]), got["span_reason"]
    shown = TOK.decode(ids[got["span_start"]:got["span_stop"]])
    assert got["exact_answer"] in shown
    inner = TOK.decode(ids[got["span_start"] + 1:got["span_stop"] - 1]) if got["span_stop"] - got["span_start"] > 2 else ""
    assert got["exact_answer"] not in inner  # no token too many on either side


def test_half_a_character_at_either_end():
    tok = FAMILIES["byte-level, GPT-2"]
    ids = ids_of(tok, "naïve 🙂, I think.")
    names = tok.convert_ids_to_tokens(ids)
    assert "aÃ" in names and "¯ve" in names  # one letter in two tokens, each with more
    for claimed in ("ïve", "na", "🙂"):
        at = lambda t, r, c=claimed: (t.index(c), t.index(c) + len(c))
        got = find(frame([dict(answer_ids=ids)]), at, lm=LMS["byte-level, GPT-2"]).iloc[0]
        assert claimed in tok.decode(ids[got["span_start"]:got["span_stop"]])
    cut = ids[:names.index("ð") + 2]  # in the middle of 🙂
    got = find(frame([dict(answer_ids=cut)]), lambda t, r: (0, 5), lm=LMS["byte-level, GPT-2"]).iloc[0]
    assert got["exact_answer"] == "naïve" and tok.decode(cut).endswith("\ufffd")


def test_llama_3_offsets_have_no_width_and_are_not_needed():
    tok = FAMILIES["byte-level, Llama 3"]
    enc = tok("It is 東京🙂.", return_offsets_mapping=True, add_special_tokens=False)
    assert len({tuple(o) for o in enc["offset_mapping"]}) < len(enc["input_ids"])  # several tokens, the same characters
    got = find(frame([dict(answer_ids=enc["input_ids"], options=["東京"])]), lm=LMS["byte-level, Llama 3"]).iloc[0]
    assert tok.decode(enc["input_ids"][got["span_start"]:got["span_stop"]]).strip() == "東京"


def test_unknown_tokens_are_no_answer():
    tok = FAMILIES["wordpiece"]
    ids = ids_of(tok, "It is 🙂 Paris.")
    assert tok.unk_token_id in ids
    got = find(frame([dict(answer_ids=ids)]), lambda t, r: (0, len(t)), lm=LMS["wordpiece"]).iloc[0]
    assert pd.isna(got["span_start"]) and "do not spell" in got["span_reason"]


class Strange:
    "A tokenizer whose text is more than its tokens' texts one after another."
    all_special_ids, eos_token_id, pad_token_id, unk_token_id = [], None, None, None
    def __init__(self, join): self.join = join
    def batch_decode(self, rows, **_): return [self.join([TOK.decode([i]) for i in ids]) for ids in rows]
    def convert_ids_to_tokens(self, i): return TOK.convert_ids_to_tokens(i)


@pytest.mark.parametrize("join", [lambda w: "".join(reversed(w)), lambda w: "".join(w).swapcase() if len(w) % 2 else "".join(w),
                                  lambda w: "".join(w)[-12:], lambda w: "".join(sorted(w)),
                                  lambda w: "".join(w[::2] + w[1::2]), lambda w: "".join(w[1:])])
def test_what_a_strange_decoder_does_not_prove_is_missing(join):
    ids, found = ids_of(TOK, "It was in Torvik, not in Rome, I think."), 0
    whole, lm = join([TOK.decode([i]) for i in ids]), replace(LM, tokenizer=Strange(join))
    for a in range(len(whole)):
        for b in range(a + 1, min(a + 8, len(whole)) + 1, 2):
            got = find(frame([dict(answer_ids=ids)]), lambda t, r, s=(a, b): s, lm=lm).iloc[0]
            if pd.isna(got["span_start"]): continue
            s, e = got["span_start"], got["span_stop"]
            shown, before, upto = (join([TOK.decode([i]) for i in x]) for x in (ids[s:e], ids[:s], ids[:e]))
            assert got["exact_answer"] in shown and whole.startswith(before) and whole.startswith(upto)
            assert len(upto) >= a + len(got["exact_answer"]) and b > len(before)
            found += 1
    assert found < 200


# What the exact answer is

def test_the_span_does_not_know_which_answer_is_right():
    ids = ids_of(TOK, "It was Rome, or perhaps Paris.")
    a, b = one(ids, ["Paris", "Rome"]), one(ids, ["Rome", "Paris"], outcome="wrong")
    assert (a["span_start"], a["exact_answer"]) == (b["span_start"], b["exact_answer"]) and a["exact_answer"] == "Rome"


ASKED = dict(phrase=dict(question="Who wrote it?", options=None),
             options=dict(question="?", options=["Jane Austen", "Mary Shelley"]),
             number=dict(question="How many?", options=None), llm=dict(question="Who wrote it?", options=None))


@pytest.mark.parametrize("kind", ASKED)
def test_defect_15_no_blind_method_sees_the_label(kind, monkeypatch):
    "The published code takes the gold string where the answer is right, and a model's words where it is wrong."
    asked = []
    def extractor(lm, qs, **_):
        asked.extend(qs["question"])
        return qs.assign(answer="Mary Shelley")
    monkeypatch.setattr(spans, "answer", extractor)
    golds = [["12"], ["7"]] if kind == "number" else [["Jane Austen"], ["Mary Shelley"]]
    t = "There are 7 of them." if kind == "number" else "It was written by Mary Shelley, not by Jane Austen."
    both = pd.concat([said(t, gold=g, correct=c, outcome="correct" if c else "wrong", **ASKED[kind])
                      for g in golds for c in (True, False)], ignore_index=True)
    both = both.assign(example=range(4), id=range(4), correct=both["correct"].astype("boolean"))
    got = find(both, extractor=READER if kind == "llm" else None)
    assert got["span_start"].notna().all() and got["span_method"].eq(kind).all()
    assert all(got[c].nunique() == 1 for c in ("span_start", "span_stop", "exact_answer", "span_confidence"))
    assert got["exact_answer"][0] == ("7" if kind == "number" else "Mary Shelley")
    assert len(asked) == (kind == "llm")  # one text, asked once, whatever the labels


def test_defect_14_gold_that_is_not_there_is_missing():
    "The published code gives '' as a valid exact answer, or letters from the text's end."
    for gold in (["Torvik", "Torvik Town"], "Torvik", ["5"]):
        got = find(said("The answer is Rome.", gold=gold, correct=True, outcome="correct"), "gold").iloc[0]
        assert pd.isna(got["span_start"]) and got["exact_answer"] is None and got["span_reason"] == "no gold answer is mentioned"
        got = find(said("The answer is Rome.", gold=gold, correct=True, outcome="correct"), "paper").iloc[0]
        assert pd.isna(got["span_start"]) and "published spellings" in got["span_reason"]


@pytest.mark.parametrize("t, gold", [("It has 15 rooms.", ["5"]), ("A cat sat.", ["C"]), ("She is Parisian.", ["Paris"]),
                                     ("1,500", ["500"])])
def test_defect_16_no_letters_inside_words(t, gold):
    assert pd.isna(find(said(t, gold=gold), "gold")["span_start"][0])
    assert pd.isna(find(said(t, options=[*gold, "nothing else"]), "options")["span_start"][0])
    assert pd.notna(find(said(t, gold=gold, correct=True), "paper")["span_start"][0])  # the published way does, by its name


def test_what_is_denied_is_not_the_answer():
    got = find(said("It is not Rome, it is Paris.", "It is Rome.", "Not Rome.", options=["Paris", "Rome"]))
    assert got["exact_answer"].tolist() == ["Paris", "Rome", None] and "only denies 'Rome'" in got["span_reason"][2]
    assert find(said("It is not Rome, it is Paris.", gold=["Rome"]), "gold")["exact_answer"].tolist() == [None]


def test_defect_28_one_question_has_many_answers():
    "The published code remembers a question's tokens, and gives them to its other answers."
    texts = ["Torvik", "I think that it was in Torvik.", "Rome, not Torvik", "In Rome"]
    ans = said(*texts, options=["Torvik", "Rome"], question="Where was it?")
    got = find(ans)
    assert got["exact_answer"].tolist() == ["Torvik", "Torvik", "Rome", "Rome"] and got["span_start"].nunique() > 2
    for r in got.to_dict("records"): assert r["exact_answer"] in TOK.decode(r["answer_ids"][r["span_start"]:r["span_stop"]])
    alone = pd.concat([find(ans.iloc[[i]]) for i in range(len(ans))])
    pd.testing.assert_frame_equal(alone, got)


@pytest.mark.parametrize("t, exact, sure", [
    ("Mike had 69 - 24 = 45 dollars left. He could buy 9 games.", "9", "high"), ("The answer is 9.", "9", "high"),
    ("69 - 24 = 45, so 9 games", "9", "high"), ("9 games. He had 45 left.", "9", "high"), ("He has $9.", "9", "high"),
    ("He could buy nine.", "nine", "high"), ("No idea at all", None, None)])
def test_the_stated_number_not_those_of_the_working(t, exact, sure):
    q = "Mike made 69 dollars and spent 24 dollars on blades. How many 5 dollar games could he buy with the money he had left?"
    got = find(said(t, question=q, gold=["9"])).iloc[0]
    assert (got["span_method"], got["exact_answer"], got["span_confidence"]) == ("number", exact, sure)
    judged = judge(said(t, question=q, gold=["9"]), "numeric")["outcome"][0]
    assert (judged == "correct") == (exact is not None)  # the judge reads the same number


@pytest.mark.parametrize("said_, exact", [("The capital of France is Paris, of course.", "Paris"),
                                          ("It has 1,250 inhabitants.", "1,250"), ("yes.", "yes"),
                                          ("It belonged to the Kingdom of Spain then.", "Kingdom of Spain"),
                                          ('They called it "the long night" there.', "the long night")])
def test_phrases_without_options(said_, exact):
    assert find(said(said_, question="What is the capital of France?"))["exact_answer"][0] == exact


SURE = [("Who acted as Neo in the movie 'The Matrix'?", "Keanu Reeves acted as Neo in the movie 'The Matrix'.", "Keanu Reeves"),
        ("Who acted as Neo in the movie 'The Matrix'?", "In \"The Matrix\", Neo was played by the Canadian actor Keanu Reeves.",
         "Keanu Reeves"),
        ("Who wrote The Hobbit?", "The Hobbit was written by J.R.R. Tolkien.", "J.R.R. Tolkien"),
        ("When did World War II end?", "World War II ended on September 2, 1945, when Japan surrendered.", "September 2, 1945"),
        ("In what year did Elvis Presley die?", "Elvis Presley died on August 16, 1977 at Graceland.", "1977"),
        ("How many strings does a violin have?", "A violin has four strings.", "four"),
        ("What is the capital of Australia?", "It is not Sydney, as many believe, but Canberra.", "Canberra"),
        ("Which musical featured the song On the Street Where You Live?", "It is from the Loewe show \"My Fair Lady.\"",
         "My Fair Lady"),
        ("What is a group of lions called?", "A group of lions is called a pride.", "pride"),
        ("Is the sun a star?", "Yes, the sun is a star.", "Yes"),
        ("Who painted the Mona Lisa?", "leonardo da vinci", "leonardo da vinci")]


@pytest.mark.parametrize("question, t, exact", SURE)
def test_the_rule_is_sure_of_plain_answers(question, t, exact):
    a, b, sure = find_phrase(t, question)
    assert (t[a:b], sure) == (exact, "high")


@pytest.mark.parametrize("t", ["It could be Hercule Poirot or Miss Marple.", "I'm not sure, but I think Poirot.",
                               "Poirot and Marple were created by her.", "Sydney, London, Rome",
                               "The film about her, with the Orient Express, is well known."])
def test_the_rule_is_not_sure_of_guesses(t):
    found = find_phrase(t, "Which fictional detective was created by Agatha Christie?")
    assert isinstance(found, str) or found[2] == "low"


@given(st.text(max_size=80), st.text(max_size=40))
def test_the_rule_reads_anything(t, question):
    found = find_phrase(t, question)
    assert isinstance(found, str) or 0 <= found[0] < found[1] <= len(t)


def test_what_is_missing_says_why():
    ids = ids_of(TOK, "It was Rome.")
    for got, why in [(one(ids, ["Rome"], outcome="refused"), "a refusal"), (one(ids, ["Oslo", "Bern"]), "none of the 2 options"),
                     (one([2], ["Oslo"]), "the answer is empty"), (one([], ["Oslo"]), "the answer is empty")]:
        assert pd.isna(got["span_start"]) and pd.isna(got["span_stop"]) and got["exact_answer"] is None
        assert why in got["span_reason"]


def test_what_comes_after_the_end_is_no_answer():
    ids = ids_of(TOK, "No idea") + [2] + ids_of(TOK, "Torvik")
    assert pd.isna(one(ids, ["Torvik"])["span_start"])


def test_what_comes_after_a_stop_string_is_no_answer():
    ids = ids_of(TOK, "Rome\nQ: where is Torvik?")
    got = find(frame([dict(answer_ids=ids, answer="Rome", options=["Torvik", "Rome"])])).iloc[0]
    assert got["exact_answer"] == "Rome"
    assert pd.isna(find(frame([dict(answer_ids=ids, answer="Rome", options=["Torvik"])]))["span_start"][0])


def test_the_thinking_is_not_the_answer():
    got = find(said("<think>Rome? No.</think>It was Oslo.", "<think>Rome, Rome", "It was Oslo.", options=["Rome", "Oslo"]))
    assert got["exact_answer"].tolist() == ["Oslo", None, "Oslo"] and "thinking" in got["span_reason"][1]


def test_an_answer_that_was_cut_off_is_not_sure():
    q, t = "Who wrote it?", "It was written by Mary Shel"
    ans = frame([dict(question=q, answer=t, answer_ids=ids_of(TOK, t))])
    n = len(ans["answer_ids"][0])
    for most, sure in [(n, "low"), (n + 1, "high")]:
        ans.attrs["max_new_tokens"] = most
        assert find(ans)["span_confidence"][0] == sure


def test_which_mention():
    t = "Rome? Yes, rome, and ROME it is."
    at = {w: find(said(t, options=["Rome"]), which=w).iloc[0] for w in ("first", "last", 0, 1, 2, -1, 3)}
    assert [at[w]["exact_answer"] for w in ("first", "last", 0, 1, 2, -1)] == ["Rome", "ROME", "Rome", "rome", "ROME", "ROME"]
    assert pd.isna(at[3]["span_start"]) and "3 times" in at[3]["span_reason"]
    with pytest.raises(ValueError, match="which='middle'"): find(said(t, options=["Rome"]), which="middle")


def test_accents_and_case_and_letters_of_two_parts():
    got = find(said("It was ZURICH.", "It was Cafe\u0301, I think.", "In Zürich!", options=["Zürich", "Café"]))
    assert got["exact_answer"].tolist() == ["ZURICH", "Cafe\u0301", "Zürich"]


def test_own_methods_and_foreign_answers():
    rows = said("abc def")
    assert find(rows, lambda t, r: (4, 7))["exact_answer"][0] == "def"
    assert find(rows, lambda t, r: (4, 7, "low"))["span_confidence"][0] == "low"
    assert find(rows, lambda t, r: "not today")["span_reason"][0] == "not today"
    assert "0 to 99 are not in" in find(rows, lambda t, r: (0, 99))["span_reason"][0]
    assert find(rows, lambda t, r: (3, 4))["span_reason"][0] == "the tokens do not spell ''"
    with pytest.raises(ValueError, match="no method 'guess'"): find(rows, "guess")
    rows.attrs["model"] = "another"
    with pytest.raises(ValueError, match="another's"): find(rows)
    with pytest.raises(ValueError, match="stands twice"): find(pd.concat([rows, rows]))


# A second model

@pytest.mark.parametrize("told, exact, sure, why", [
    ("Mary Shelley", "Mary Shelley", "high", ""), ("mary shelley.", "Mary Shelley", "high", ""),
    ("Exact answer: \"Mary Shelley\"\nQ:", "Mary Shelley", "high", ""),
    ("Mary Shelley (the novelist)", "Mary Shelley", "high", ""),
    ("hell", "hell", "low", ""), ("NO ANSWER", None, None, "finds no answer"), ("", None, None, "does not have"),
    ("Percy Shelley", None, None, "'Percy Shelley', which the answer does not have"), (".*", None, None, "does not have")])
def test_the_extractor_is_believed_only_where_the_answer_says_so(told, exact, sure, why, monkeypatch):
    monkeypatch.setattr(spans, "answer", lambda lm, qs, **_: qs.assign(answer=told))
    got = find(said("It was Mary Shelley, I think.", question="Who wrote it?"), extractor=READER).iloc[0]
    assert (got["exact_answer"], got["span_confidence"], got["span_method"]) == (exact, sure, "llm") and why in got["span_reason"]


def test_the_papers_way_asks_about_wrong_answers_only(monkeypatch):
    asked = []
    monkeypatch.setattr(spans, "answer", lambda lm, qs, **_: (asked.extend(qs["question"]), qs.assign(answer="Rome"))[1])
    ans = said("In Torvik. Not in Rome.", "In Rome.", "I refuse.", "{no} in Rome", question="Where?", gold=["Torvik"], id="q")
    ans["correct"], ans["outcome"] = pd.array([True, False, None, False], "boolean"), ["correct", "wrong", "refused", "wrong"]
    got = find(ans, "paper", extractor=READER)
    assert got["exact_answer"].tolist() == ["Torvik", "Rome", None, "Rome"]
    assert len(asked) == 2 and all("Where?" in q and "NO ANSWER" in q for q in asked) and "{no} in Rome" in asked[1]
    with pytest.raises(ValueError, match="about 2 answers: give extractor="): find(ans, "paper")


def test_a_real_extractor_answers_in_one_batch():
    ans = said("It was Mary Shelley, I think.", "Who knows {that}?", "word "*2000, question="Who wrote it?")
    got = find(ans, extractor=READER)
    assert got["span_method"].eq("llm").all() and "too long for the extractor" in got["span_reason"][2]
    assert (got["span_reason"].str.contains("extractor") | got["span_start"].notna()).all()


# By hand, and how many

def test_hand_marks_win_and_survive_a_rerun(tmp_path):
    hand, ans = tmp_path / "hand.jsonl", said("It was Rome or Oslo.", "Oslo", "I refuse.", options=["Rome", "Oslo"], id="q")
    ans["sample"], ans["outcome"] = range(3), ["wrong", "correct", "refused"]
    assert find(ans, hand=hand)["exact_answer"].tolist() == ["Rome", "Oslo", None]  # no file, no marks
    mark(hand, ans, 0, span="Oslo")
    mark(hand, ans, 1, span=None)
    mark(hand, ans, 2, span=(2, 8))
    for method in ("auto", "gold", "phrase"):
        got = find(ans, method, hand=hand)
        assert got["exact_answer"].tolist() == ["Oslo", None, "refuse"] and got["span_method"].eq("hand").all()
    assert "by hand" in got["span_reason"][1] and got["span_confidence"].tolist() == ["high", None, "high"]
    anew = said("It was Rome, I think.", options=["Rome", "Oslo"], id="q").assign(sample=0)
    assert find(anew, hand=hand)["exact_answer"].tolist() == ["Rome"]  # a new answer is not judged by an old mark


def test_coverage_counts():
    ans = said("Rome", "Oslo", "'Bern'", "I refuse.", options=["Rome", "Oslo"]).assign(dataset=["<b>a</b>"]*2 + ["c"]*2)
    ans["outcome"] = ["correct", "wrong", "wrong", "refused"]
    got = coverage(find(ans))
    assert got.loc[("<b>a</b>", "correct"), ["n", "found", "high"]].tolist() == [1, 1, 1] and got["n"].sum() == 4
    assert "none of the # options is named" in got.loc[("c", "wrong"), "missing"]
    assert got.loc[("c", "refused"), "missing"] == "1 × a refusal"
    assert "<b>a" not in got._repr_html_() and "2 of 4 answers (50%)" in got._repr_html_()
    assert coverage(find(ans.drop(columns=["dataset", "outcome"])))["n"].tolist() == [4]
    with pytest.raises(ValueError, match="find_spans"): coverage(ans)


@pytest.mark.parametrize("name", ["byte-level, GPT-2", "unigram, bytes", "merges with ▁, bytes"])
def test_broken_bytes_need_no_prefixes(name, monkeypatch):
    tok = FAMILIES[name]
    emoji, torvik = ids_of(tok, "🙂"), ids_of(tok, "It was Torvik.")
    half = [i for i in emoji if tok.decode([i]) == "\ufffd"][:2]
    monkeypatch.setattr(spans, "char_ranges", lambda *_: pytest.fail("every prefix was decoded"))
    for ids in ([*torvik, *half], [*half, *torvik], [*half[:1], *torvik[:2], *half, *torvik]):
        got = find(frame([dict(answer_ids=ids, options=["Torvik"])]), lm=LMS[name]).iloc[0]
        assert tok.decode(ids[got["span_start"]:got["span_stop"]]).strip() == "Torvik"


def test_nothing_and_a_great_deal():
    assert len(find(said("x").iloc[:0])) == 0 and len(coverage(find(said("x").iloc[:0]))) == 0
    long = "word " * 20_000 + "Torvik."
    ids = ids_of(TOK, long)
    got = find(frame([dict(answer_ids=ids, options=["Torvik"])])).iloc[0]
    assert TOK.decode(ids[got["span_start"]:got["span_stop"]]).strip() == "Torvik"


def test_the_demos_spans():
    lm = load_lm("demo", device="cpu")
    ans = find_spans(lm, judge(answer(lm, load_questions("demo", n=80), progress=False)), progress=False)
    judged = ans[ans["correct"].notna()]
    assert judged["span_start"].notna().mean() > .95
    for r in judged[judged["span_start"].notna()].to_dict("records"):
        assert r["exact_answer"].lower() in [o.lower() for o in r["options"]]
    assert check_questions(ans[["id", "question", "gold"]]).shape[0] == 80


@pytest.mark.parametrize("text", ["Sydney is the largest city, but the capital is Canberra.",
                                  "Many people think it is Sydney. It is Canberra."])
def test_the_rule_is_not_sure_among_several_names(text):
    assert find_phrase(text, "What is the capital of Australia?")[2] == "low"


@pytest.mark.parametrize("text, name", [("It was Ft. Worth.", "Ft. Worth"), ("Mt. Kilimanjaro", "Mt. Kilimanjaro"),
                                        ("It was Zoe\u0308 Kravitz.", "Zoe\u0308 Kravitz")])
def test_a_name_is_not_cut_at_its_dot_or_accent(text, name):
    a, b, _ = find_phrase(text, "Which one is it?")
    assert text[a:b] == name
