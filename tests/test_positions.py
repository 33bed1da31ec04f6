"A position is the index that its name says, or missing; never another token."
import html

import pandas as pd
import pytest
from families import FAMILIES
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds import tiny_model, tiny_tokenizer

from probe_nb.models import load_lm
from probe_nb.positions import (
    PAPER,
    Rule,
    after,
    answer_tokens,
    before,
    from_end,
    pooled,
    position_marks,
    positions,
    regex,
    show_positions,
    span_tokens,
    thinking,
    token,
    token_table,
)

TOK = tiny_tokenizer()
LM = load_lm(tiny_model("llama"), TOK)
MODEL = tiny_model("llama")
LMS = {name: load_lm(MODEL, tok) for name, tok in FAMILIES.items()}


def rows_of(p, m, s, e):
    return pd.DataFrame(dict(example=[3], prompt_ids=[[1]*p], answer_ids=[[2]*m],
                             span_start=pd.array([s], "Int64"), span_stop=pd.array([e], "Int64")))


def said(*texts, tok=TOK, prompt="Where?"):
    ids = [tok(t, add_special_tokens=False)["input_ids"] + [tok.eos_token_id] for t in texts]
    return pd.DataFrame(dict(example=range(10, 10 + len(texts)), prompt_ids=[tok(prompt)["input_ids"]]*len(texts), answer_ids=ids,
                             token_logprobs=[[0.]*len(i) for i in ids],
                             span_start=pd.array([0]*len(texts), "Int64"), span_stop=pd.array([1]*len(texts), "Int64")))


def texts_at(ans, rule, lm=LM):
    "What the tokens under a rule decode to, an example each; None where missing."
    pos, out = positions(ans, [rule], lm=lm), []
    for r, row in zip(pos.to_dict("records"), ans.to_dict("records")):
        ids = [*row["prompt_ids"], *row["answer_ids"]]
        out.append(None if pd.isna(r["start"]) else lm.tokenizer.decode(ids[r["start"]:r["stop"]]))
    return out


@given(st.integers(1, 20), st.integers(1, 20), st.data())
def test_positions_are_what_their_names_say(p, m, data):
    s = data.draw(st.integers(0, m - 1))
    e = data.draw(st.integers(s + 1, m))
    at = positions(rows_of(p, m, s, e)).set_index("position")["start"]
    want = dict(last_q=p - 1, first_answer=p, second_answer=p + 1, exact_answer_before_first=p + s - 1,
                exact_answer_first=p + s, exact_answer_last=p + e - 1,
                exact_answer_after_last=p + e) | {str(-k): p + m - k for k in range(8, 0, -1)}
    assert list(at.index) == list(want) == [r.label for r in PAPER]
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
    with pytest.raises(ValueError, match="pool is"): pooled("exact_answer", "sum")
    with pytest.raises(ValueError, match="no tokens called 'span'"): pooled("span")
    with pytest.raises(ValueError, match="find_spans"): positions(pd.DataFrame(dict(example=[1])))


@given(st.integers(1, 9), st.integers(1, 12), st.integers(-12, 12), st.data())
def test_counted_tokens(p, m, k, data):
    s = data.draw(st.integers(0, m - 1))
    e = data.draw(st.integers(s + 1, m))
    rules = [token(k), Rule("of the span", token(k, "exact_answer").find), before(k=abs(k) + 1), after(k=abs(k) + 1),
             Rule("from the end", from_end(abs(k) + 1).find), before("answer", abs(k) + 1)]
    at = positions(rows_of(p, m, s, e), rules)["start"].tolist()
    want = [p + (m if k < 0 else 0) + k, p + (e if k < 0 else s) + k, p + s - abs(k) - 1, p + e + abs(k), p + m - abs(k) - 1,
            p - abs(k) - 1]
    low = [p, p + s, p - 1, p, p, p - 1]
    high = [p + m, p + e, p + s, p + m, p + m, p]
    for a, w, lo, hi in zip(at, want, low, high): assert (a == w) if lo <= w < hi else pd.isna(a)


def test_a_column_for_each_token():
    got = positions(rows_of(4, 9, 2, 5), [span_tokens(4), *answer_tokens(2)])
    assert got["position"].tolist() == [*(f"exact_answer_{k}" for k in range(4)), "token_0", "token_1"]
    assert got["start"].tolist()[:3] == [6, 7, 8] and pd.isna(got["start"][3]) and got["start"].tolist()[4:] == [4, 5]
    assert (got["stop"] - got["start"]).dropna().eq(1).all()


@settings(max_examples=80)
@given(st.sampled_from(sorted(FAMILIES)), st.text(max_size=9), st.sampled_from(["Torvik", "Paris", "Rome"]), st.text(max_size=9))
def test_a_regex_points_at_tokens_that_say_it(name, head, word, tail):
    tok, lm = FAMILIES[name], LMS[name]
    ans = said(f"{head} {word} {tail}", tok=tok)
    shown = tok.decode(ans["answer_ids"][0])
    got = texts_at(ans, regex(f"(?i){word}", pool="mean"), lm)[0]
    if word.lower() not in shown.lower(): return  # unknown letters of the name itself
    assert word.lower() in got.lower() and len(got.strip()) <= len(word) + 12
    whole, first = (positions(ans, [regex(f"(?i){word}", pool=how)], lm=lm).iloc[0] for how in ("mean", "first"))
    assert first["start"] == whole["start"] == first["stop"] - 1


def test_regions_compose():
    ans = said("The answer is Paris, of course.", "Nobody.", "The answer is Rome. The answer is Paris.")
    assert texts_at(ans, regex(r"answer is (\w+)", pool="mean")) == [" Paris", None, " Rome"]
    assert texts_at(ans, regex("Paris", pool="mean")) == [" Paris", None, " Paris"]
    assert texts_at(ans, after(regex("Paris"))) == [",", None, "."]
    assert texts_at(ans, before(regex("Paris"))) == [" is", None, " is"]
    assert texts_at(ans, regex(r"\w+", of=regex(r"is.*", label="tail"), pool="mean"))[0] == " is"
    assert texts_at(ans, regex(r"s>|/s")) == [None]*3  # the end token's own letters are no answer
    assert texts_at(ans, regex("(?=Paris)")) == [None]*3  # nothing is matched
    assert "Paris" in texts_at(ans, pooled(regex("Paris.*")))[0]
    with pytest.raises(ValueError, match="no regular expression"): regex("(")
    with pytest.raises(ValueError, match="pool="): regex("a", pool="sum")
    with pytest.raises(ValueError, match=r"'/a/' reads the answers' text.*lm=lm"): positions(ans, [regex("a")])


def test_inside_and_outside_thinking():
    ans = said("<think>Rome? Paris!</think>It was Rome.", "It was Rome.", "<think>Rome or", "Paris so</think>Rome.",
               "</think>Rome")
    inside, outside = (texts_at(ans, thinking(inside=i, pool="mean")) for i in (True, False))
    assert "Rome" in inside[0] and "think" not in inside[0] and "It" not in inside[0] and inside[1] is None and inside[4] is None
    assert "Rome or" in inside[2] and "Paris so" in inside[3]
    assert outside[0].strip().startswith("It was Rome.") and outside[1].startswith("It was Rome.") and outside[2] is None
    assert outside[3].startswith("Rome") and outside[4].startswith("Rome")
    assert texts_at(ans, regex("Rome", of=thinking(inside=False), pool="mean"))[:2] == [" Rome", " Rome"]
    first = positions(ans, [token(0, thinking(inside=False)), token(-1, thinking())], lm=LM)
    assert first["position"].unique().tolist() == ["after_thinking_0", "thinking_-1"]
    assert first["start"][2] is pd.NA and first["start"][0] > first["start"][5]


def test_any_index_and_order_and_none():
    ans = pd.concat([rows_of(4, 9, 2, 5).assign(example=8), rows_of(2, 3, 0, 1)]).set_index(pd.Index([0, 0]))
    got = positions(ans, ["exact_answer_first"])
    assert dict(zip(got["example"], got["start"])) == {8: 6, 3: 2}
    assert positions(ans, "last_q")["start"].tolist() == [3, 1]
    assert len(positions(ans.iloc[:0])) == 0 and len(positions(said("x").iloc[:0], [regex("a"), thinking()], lm=LM)) == 0


@settings(max_examples=60)
@given(st.sampled_from(sorted(FAMILIES)), st.text(max_size=25))
def test_the_table_shows_the_tokens_text(name, t):
    tok, lm = FAMILIES[name], LMS[name]
    ans = said(t, tok=tok, prompt="Where is it?")
    table = token_table(lm, ans, positions(ans, answer_tokens(40)), example=10)
    ids = [*ans["prompt_ids"][0], *ans["answer_ids"][0]]
    n = len(ans["answer_ids"][0])
    assert table.notna().sum(axis=1).tolist() == [min(n, 40)]
    if "byte" in name and "\ufffd" not in tok.decode(ids):
        shown = "".join(c for c in table.iloc[0] if c is not None)
        assert n > 40 or set(tok.decode(ans["answer_ids"][0]).replace(" ", "")) <= set(shown)


def test_what_is_shown_is_never_markup():
    ans = said("<script>alert(1)</script>$x$\n\u202etxt")
    pos = positions(ans, [*PAPER[:3], *answer_tokens(40), Rule("<b>bold</b>", lambda p, m, s, e: (p, p + m), "mean")])
    table, strip = token_table(LM, ans, pos), show_positions(LM, ans, pos, 10)
    for shown in (table._repr_html_(), strip._repr_html_()):
        assert "<script" not in shown and "<b>bold" not in shown and html.escape("<b>bold") in shown and "\u202e" not in shown
    assert table.loc[10, "<b>bold</b>"].startswith("<script>")  # the value itself is as it is
    with pytest.raises(KeyError, match="no example 99"): token_table(LM, ans, pos, 99)


def test_marks_name_every_token():
    one = pd.DataFrame(dict(example=[7], prompt_ids=[[1]*5], answer_ids=[[2]*4], span_start=[0], span_stop=[4]))
    marks = position_marks(positions(one), 7)
    assert marks == {4: "last_q, exact_answer_before_first", 5: "first_answer, exact_answer_first, -4", 6: "second_answer, -3",
                     7: "-2", 8: "exact_answer_last, -1"}
    assert list(position_marks(positions(one, [pooled()]), 7)) == [5, 6, 7, 8] and position_marks(positions(one), 8) == {}
