"Whole words decide; each substring trap of the published code is one case here."
import re

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from probe_nb.judges import find_mentions, judge, mark, marks_of, read_marks

words = st.lists(st.text(alphabet="abcdeéß漢字ÀÖ0123456789", min_size=1, max_size=6), min_size=1, max_size=6)
INSIDE = [("15", "5"), ("a cat", "C"), ("3.14", "3"), ("3.14", "14"), ("1,500", "500"), ("-5", "5"), ("Parisian", "Paris"),
          ("x5", "5"), ("5,000", "5"), ("no", "yes"), ("", "a"), ("anything", ""), ("Romero", "Rome"), ("50", "50%")]
WHOLE = [("Answer: 5.", "5"), ("1,500 of them", "1500"), ("1500", "1,500"), ("x = −5", "-5"), ("the U.S. army", "U.S."),
         ("首都は東京です", "東京"), ("50% off", "50%"), ("New\nYork", "New York"), ("NEW-YORK", "new york"), ("Zoë's", "Zoe"),
         ("“Torvik”", "Torvik"), ("ﬁne", "fine"), ("It is 7.", "7"), ("O’Brien", "O'Brien"), ("C++", "C++"), ("1990-5", "5"),
         ("Straße", "STRASSE"), ("(5)", "5")]


@pytest.mark.parametrize("text, phrase", INSIDE)
def test_letters_inside_a_word_are_no_mention(text, phrase): assert find_mentions(text, phrase) == []


@pytest.mark.parametrize("text, phrase", WHOLE)
def test_a_whole_word_is_a_mention(text, phrase): assert len(find_mentions(text, phrase)) == 1


@given(words, st.integers(0, 5))
def test_a_words_own_place_is_found(ws, i):
    "The characters that a mention points at are the word itself."
    text, word = " ".join(ws), ws[i % len(ws)]
    found = find_mentions(text, word)
    assert found and all(text[a:b].casefold() == word.casefold() or find_mentions(text[a:b], word) for a, b, _ in found)


@given(st.text(max_size=60), st.lists(st.text(max_size=8), max_size=4))
def test_mentions_are_in_order_apart_and_inside(text, phrases):
    found = find_mentions(text, phrases)
    assert all(0 <= a < b <= len(text) for a, b, _ in found) and all(x[1] <= y[0] for x, y in zip(found, found[1:]))


@given(st.text(max_size=40))
def test_no_phrase_is_read_as_a_pattern(text):
    for phrase in (".*", "(", "[a", "\\d+", "a|b", "^$"): find_mentions(text, phrase)
    assert find_mentions("aaa", ".*") == []


def table(*rows): return pd.DataFrame(rows, columns=["answer", "gold", "options"])


def test_outcomes():
    got = judge(table(("Paris, I think.", "Paris", None), ("It is Lyon, not Paris.", "Paris", ["Paris", "Lyon"]),
                      ("There are 15.", "5", None), ("I don't know.", "Paris", None), ("", "Paris", None),
                      ("I am not sure, maybe Paris.", ["Paris"], ["Paris", "Lyon"]), ("Rome.", "Paris", ["Paris", "Lyon"])))
    assert got["outcome"].tolist() == ["correct", "wrong", "wrong", "refused", "unjudged", "correct", "wrong"]
    assert str(got["correct"].dtype) == "boolean" and got["correct"].isna().tolist() == [False]*3 + [True]*2 + [False]*2


def test_any_index_and_no_options_column():
    t = table(("Paris.", "Paris", None), ("Rome.", "Paris", None))[["answer", "gold"]].set_index(pd.Index([9, 9]))
    assert judge(t)["outcome"].tolist() == ["correct", "wrong"] and "correct" not in t


def test_a_judge_does_not_see_other_rows():
    t = table(*[(f"{w}.", "Paris", ["Paris", "Rome"]) for w in ("Paris", "Rome", "Nothing")])
    assert judge(t)["correct"].tolist() == [judge(t.iloc[[i]])["correct"].iloc[0] for i in range(3)]


def test_own_rules_and_unknown_ones():
    t = table(("abc", "x", None), ("", "x", None))
    assert judge(t, rule=lambda r: True if r["answer"] else None)["outcome"].tolist() == ["correct", "unjudged"]
    with pytest.raises(ValueError, match=re.escape("no rule 'exact'")): judge(t, rule="exact")
    with pytest.raises(ValueError, match="lack the column 'answer'"): judge(t.drop(columns="answer"))


# Marks by hand

def said(**more):
    return pd.DataFrame(dict(example=[0, 1, 2], id=["a", "a", "b"], sample=[0, 1, 0], gold=["Paris"]*3,
                             answer=["Bombay it is.", "Rome.", "Über Köln, ja"]) | more)


def test_the_last_mark_of_a_field_wins_and_none_is_lost(tmp_path):
    hand, ans = tmp_path / "new" / "hand.jsonl", said()
    mark(hand, ans, 0, correct=False, span="Bombay", note="first")
    mark(hand, ans, 0, correct=True)
    mark(hand, ans, 1, span=None)
    mark(hand, ans, 2, correct="refused", span=(5, 9))
    assert marks_of(hand, ans) == [dict(correct=True, exact=(0, 6), note="first"), dict(exact=(), note=""),
                                   dict(correct="refused", exact=(5, 9), note="")]
    assert marks_of(read_marks(hand), ans.iloc[::-1].set_index(pd.Index([7, 7, 7]))) == marks_of(hand, ans)[::-1]
    mark(hand, ans, 0, correct=None)
    assert marks_of(hand, ans)[0] == dict(exact=(0, 6), note="first") and len(hand.read_text().splitlines()) == 5
    assert marks_of(hand, said(answer=["Bombay it was.", "rome.", "Köln"])) == [{}] * 3
    assert marks_of(hand, said(sample=[1, 0, 1])) == marks_of(tmp_path / "none.jsonl", ans) == marks_of(None, ans) == [{}] * 3


def test_a_mark_cut_off_in_writing_is_named_and_harms_no_other(tmp_path):
    hand, ans = tmp_path / "hand.jsonl", said()
    mark(hand, ans, 0, correct=True)
    hand.write_bytes(hand.read_bytes() + b'{"id": "a", "sam')
    mark(hand, ans, 1, correct=True)
    with pytest.raises(ValueError, match=r"hand.jsonl, line 2 is no mark \('\{\"id\": \"a\", \"sam'\)"): read_marks(hand)
    lines = hand.read_text().splitlines()
    hand.write_text("\n".join([lines[0], lines[2]]))
    assert [m.get("correct") for m in marks_of(hand, ans)] == [True, True, None]


@pytest.mark.parametrize("how, told", [
    (dict(example=9, correct=True), "0 answers have example 9"), (dict(example=0), "nothing to mark"),
    (dict(example=0, correct="yes"), "correct='yes' is no mark"),
    (dict(example=0, span="Rome"), "'Rome' stands 0 times"), (dict(example=0, span=""), "'' stands 0 times"),
    (dict(example=0, span=(3, 3)), "not within"), (dict(example=0, span=(0, 99)), "of 13 characters")])
def test_a_mark_that_means_nothing_is_refused(tmp_path, how, told):
    with pytest.raises((ValueError, KeyError), match=re.escape(told)): mark(tmp_path / "hand.jsonl", said(), **how)
    assert not (tmp_path / "hand.jsonl").exists()
