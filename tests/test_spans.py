"The tokens pointed at are the exact answer; a position is the index that its name says, or missing."
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from worlds import tiny_model, tiny_tokenizer

from probe_nb.answers import answer
from probe_nb.judges import judge
from probe_nb.models import load_lm
from probe_nb.questions import check_questions, load_questions
from probe_nb.spans import RULES, Rule, char_ranges, find_spans, pooled, positions, token

TOK = tiny_tokenizer()
LM = load_lm(tiny_model("llama"), TOK)
text = st.text(alphabet=st.characters(codec="utf-8", exclude_categories=("Cs", "Cc")), max_size=40)


@given(text)
def test_tokens_cover_every_character_once_or_share_it(t):
    ids = TOK(t, add_special_tokens=False)["input_ids"]
    whole, ranges = char_ranges(TOK, ids)
    assert whole == t and len(ranges) == len(ids)
    assert all(a < b for a, b in ranges)
    covered = np.zeros(len(t), bool)
    for a, b in ranges: covered[a:b] = True
    assert covered.all() and (np.diff(ranges[:, 0]) >= 0).all() and (np.diff(ranges[:, 1]) >= 0).all()


def one(ids, options, **more):
    row = dict(example=0, question="?", gold=options[:1], options=options, prompt_ids=[5, 6], answer_ids=ids, outcome="correct")
    return find_spans(LM, pd.DataFrame([row | more]), progress=False).iloc[0]


@given(text, st.sampled_from(["Torvik", "New York", "Zürich", "東京", "1,250", "naïve 🙂 town"]), text)
def test_an_option_is_found_where_it_was_put(before, option, after):
    t = f"{before} {option} {after}"
    ids = TOK(t, add_special_tokens=False)["input_ids"] + [2]
    got = one(ids, [option])
    assert got["span_reason"] == "" and pd.notna(got["span_start"]), got["span_reason"]
    shown = TOK.decode(ids[got["span_start"]:got["span_stop"]])
    assert got["exact_answer"] in shown
    inner = TOK.decode(ids[got["span_start"] + 1:got["span_stop"] - 1]) if got["span_stop"] - got["span_start"] > 2 else ""
    assert got["exact_answer"] not in inner  # no token too many on either side


def test_the_span_does_not_know_which_answer_is_right():
    ids = TOK("It was Rome, or perhaps Paris.", add_special_tokens=False)["input_ids"]
    a, b = one(ids, ["Paris", "Rome"]), one(ids, ["Rome", "Paris"], outcome="wrong")
    assert (a["span_start"], a["exact_answer"]) == (b["span_start"], b["exact_answer"]) and a["exact_answer"] == "Rome"


def test_what_is_missing_says_why():
    ids = TOK("It was Rome.", add_special_tokens=False)["input_ids"]
    for got, why in [(one(ids, ["Rome"], outcome="refused"), "a refusal"), (one(ids, ["Oslo", "Bern"]), "none of the 2 options"),
                     (one([2], ["Oslo"]), "none of the 1 options")]:
        assert pd.isna(got["span_start"]) and pd.isna(got["span_stop"]) and got["exact_answer"] is None
        assert why in got["span_reason"]


def test_what_comes_after_the_end_is_no_answer():
    ids = TOK("No idea", add_special_tokens=False)["input_ids"] + [2] + TOK("Torvik", add_special_tokens=False)["input_ids"]
    assert pd.isna(one(ids, ["Torvik"])["span_start"])


@pytest.mark.parametrize("said, exact", [("The capital of France is Paris, of course.", "Paris"),
                                         ("It has 1,250 inhabitants.", "1,250"), ("yes.", "yes"),
                                         ("It belonged to the Kingdom of Spain then.", "Kingdom of Spain"),
                                         ('They called it "the long night" there.', "the long night")])
def test_phrases_without_options(said, exact):
    row = dict(example=0, question="What is the capital of France?", gold=["x"], options=None, prompt_ids=[5],
               answer_ids=TOK(said)["input_ids"])
    assert find_spans(LM, pd.DataFrame([row]), progress=False)["exact_answer"][0] == exact


def test_own_methods_and_foreign_answers():
    rows = pd.DataFrame([dict(example=0, question="?", gold=["x"], options=None, prompt_ids=[5],
                              answer_ids=TOK("abc def")["input_ids"])])
    assert find_spans(LM, rows, method=lambda t, r: (4, 7), progress=False)["exact_answer"][0] == "def"
    assert find_spans(LM, rows, method=lambda t, r: "not today", progress=False)["span_reason"][0] == "not today"
    with pytest.raises(ValueError, match="no method 'gold'"): find_spans(LM, rows, method="gold")
    rows.attrs["model"] = "another"
    with pytest.raises(ValueError, match="another's"): find_spans(LM, rows)
    with pytest.raises(ValueError, match="stands twice"): find_spans(LM, pd.concat([rows, rows]))


def rows_of(p, m, s, e):
    return pd.DataFrame(dict(example=[3], prompt_ids=[[1]*p], answer_ids=[[2]*m],
                             span_start=pd.array([s], "Int64"), span_stop=pd.array([e], "Int64")))


@given(st.integers(1, 20), st.integers(1, 20), st.data())
def test_positions_are_what_their_names_say(p, m, data):
    s = data.draw(st.integers(0, m - 1))
    e = data.draw(st.integers(s + 1, m))
    at = positions(rows_of(p, m, s, e)).set_index("position")["start"]
    want = dict(last_q=p - 1, first_answer=p, second_answer=p + 1, exact_answer_before_first=p + s - 1,
                exact_answer_first=p + s, exact_answer_last=p + e - 1,
                exact_answer_after_last=p + e) | {str(-k): p + m - k for k in range(8, 0, -1)}
    assert list(at.index) == list(want) == [r.label for r in RULES]
    for label, i in want.items():
        inside = i < p + m and (i >= p or label in ("last_q", "exact_answer_before_first"))
        assert (at[label] == i) if inside else pd.isna(at[label]), label


def test_without_a_span_only_the_spans_positions_are_missing():
    at = positions(rows_of(4, 9, None, None)).set_index("position")["start"]
    exact = at.index.str.startswith("exact")
    assert at[exact].isna().all() and at[~exact].notna().all()


def test_own_rules():
    far = Rule("x", lambda p, m, s, e: (p + 100, p + 101))
    got = positions(rows_of(4, 9, 2, 5), ["last_q", token(0), token(-2), pooled(), pooled("answer", "max"), far])
    assert got["position"].tolist() == ["last_q", "token_0", "-2", "exact_answer_mean", "answer_max", "x"]
    assert got["start"].tolist()[:5] == [3, 4, 11, 6, 4] and got["stop"].tolist()[:5] == [4, 5, 12, 9, 13]
    assert pd.isna(got["start"][5])
    assert got["pool"].tolist() == ["first"]*3 + ["mean", "max", "first"]
    with pytest.raises(ValueError, match="named twice"): positions(rows_of(4, 9, 2, 5), ["last_q", "last_q"])
    with pytest.raises(ValueError, match="no position 'last'"): positions(rows_of(4, 9, 2, 5), ["last"])
    with pytest.raises(ValueError, match="unknown"): pooled("exact_answer", "sum")


def test_any_index_and_order():
    ans = pd.concat([rows_of(4, 9, 2, 5).assign(example=8), rows_of(2, 3, 0, 1)]).set_index(pd.Index([0, 0]))
    got = positions(ans, ["exact_answer_first"])
    assert dict(zip(got["example"], got["start"])) == {8: 6, 3: 2}


def test_the_demos_spans():
    lm = load_lm("demo", device="cpu")
    ans = find_spans(lm, judge(answer(lm, load_questions("demo", n=80), progress=False)), progress=False)
    judged = ans[ans["correct"].notna()]
    assert judged["span_start"].notna().mean() > .95
    for r in judged[judged["span_start"].notna()].to_dict("records"):
        assert r["exact_answer"].lower() in [o.lower() for o in r["options"]]
    assert check_questions(ans[["id", "question", "gold"]]).shape[0] == 80
