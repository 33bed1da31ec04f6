"What makes a set of questions look easier than it is, is found; what is harmless is not."
import time

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from test_questions import REAL, SMALL

from probe_nb.audits import Findings, _in_text, audit
from probe_nb.questions import check_questions, load_questions


def table(*rows, **columns):
    "Questions from (question, gold) pairs; ids a, b, c …"
    return pd.DataFrame([dict(id="abcdefghij"[i], question=q, gold=g) for i, (q, g) in enumerate(rows)]).assign(**columns)


def found(*tables): return [(k, n, tuple(i)) for k, n, i in zip(*map(audit(*tables).get, ("kind", "n", "ids")))]


FINE = [("Capital of Peru?", "Lima"), ("Capital of Chad?", "N'Djamena"), ("What is 7 + 5 - 1?", "11")]


def test_nothing_is_found_where_nothing_is():
    findings = audit(table(*FINE))
    assert isinstance(findings, Findings) and len(findings) == 0 and list(findings) == ["kind", "n", "ids", "text"]
    assert repr(findings) == "nothing found in 3 questions" and findings._repr_html_() == "<p>nothing found in 3 questions</p>"


def test_duplicates_and_their_groups():
    qs = table(*FINE, ("capital of “Peru” ", "Lima"))
    assert found(qs) == [("duplicate", 2, ("a", "d"))] and "in one group" in audit(qs)["text"][0]
    qs = table(*FINE, ("Capital of Peru", "Cuzco"), group=list("abcd"))
    text = audit(qs)["text"][0]
    assert "in 2 groups" in text and "the gold answers differ: ['Lima', 'Cuzco']" in text
    assert not found(table(("Who?", "x"), ("Who?", "x"), context=["It is Ann.", "It is Eve."]))  # two contexts: two questions


def test_overlap_between_tables_and_between_splits():
    train, test = table(*FINE), table(("CAPITAL OF CHAD", "N'Djamena"), ("Who?", "I"))
    assert found(train, test) == [("overlap", 2, ("b", "a"))] and "in table 1 and in table 2" in audit(train, test)["text"][0]
    both = pd.concat([train.assign(split="train"), test.assign(split="test", id=["y", "z"])])
    assert found(both) == [("overlap", 2, ("b", "y"))] and "in train and in test" in audit(both)["text"][0]


def test_twins_in_different_groups():
    she = table(("The nurse paid the guard because she asked.", "x"), ("The nurse paid the guard because he asked.", "x"))
    numbers = table(("3 dogs and 2 cats are how many?", "5"), ("9 dogs and 4 cats are how many?", "13"))
    blank = table(("Ann paid Eve because _ won.", "Ann"), ("Ann paid Eve because _ lost.", "Eve"), options=[["Ann", "Eve"]] * 2)
    for qs in (she, numbers, blank):
        assert found(qs) == [("twins", 2, ("a", "b"))]
        assert not found(qs.assign(group="one"))
        assert found(qs[:1].assign(group="one"), qs[1:].assign(group="one")) == [("twins", 2, ("a", "b"))]  # one in each table
    assert not found(table(("Who won in 1956?", "x"), ("Who won in 1957?", "y")))
    assert "because she asked" in audit(she)["text"][0] and "because he asked" in audit(she)["text"][0]


def test_the_text_of_twins_shows_where_they_differ():
    start = "A long story about a nurse and a guard, and about many others who do not matter at all, ends because "
    text = audit(table((start + "she asked.", "x"), (start + "he asked.", "y")))["text"][0]
    assert "she asked." in text and "because he asked." in text and len(text) < 300


def test_an_answer_in_the_prompt():
    assert found(table(("In which year did the war of 1812 begin?", "1812"), *FINE)) == [("answer in question", 1, ("a",))]
    assert found(table(("Who?", ["Ann", "Eve"]), context=["EVE it was."])) == [("answer in context", 1, ("a",))]
    assert not found(table(("Is Eveline or Annabel right?", ["Ann", "Eve"])))
    assert not found(table(("Ann or Eve?", "Ann"), options=[["Ann", "Eve"]]))
    assert found(table(("Is it Ann?", "Ann"), options=[["Ann", "Eve"]])) == [("answer in question", 1, ("a",))]
    text = audit(table(*FINE, ("Is it Ann?", "Ann")))["text"][0]
    assert text == "25.0% of all; such as 'Ann' in 'Is it Ann?'"


@pytest.mark.parametrize("answer, text, there", [
    ("9", "he has 9.", True), ("9", "19", False), ("9", "3.9", False), ("9", "9.5", False), ("9", "9,5", False),
    ("9", "8, 9, 10", True),
    ("c++", "is c++ fast?", True), ("c", "is c++ fast?", True), ("rom", "romanow", False), ("été", "l'été", True)])
def test_whole_words(answer, text, there): assert _in_text(answer, text) is there


@given(st.text(max_size=8), st.text(max_size=20))
def test_what_is_in_a_text_as_a_word_is_in_it(answer, text):
    assert not _in_text(answer, text) or answer in text
    if answer: assert _in_text(answer, f" {answer} ")


def test_common_golds():
    many = pd.DataFrame([dict(id=i, question=f"Question {i}?", gold="42" if i < 12 else f"x{i}") for i in range(100)])
    assert [f[:2] for f in found(many)] == [("common gold", 12)] and "'42' is the answer of 12%" in audit(many)["text"][0]
    closed = many.assign(gold=["yes" if i % 2 else "no" for i in range(100)], options=[["yes", "no"]] * 100)
    assert not found(closed)
    assert [f[:2] for f in found(closed.assign(gold=["no"] * 9 + ["yes"] * 91))] == [("common gold", 91)]


def test_bad_rows_are_findings_and_the_rest_is_looked_at():
    qs = table(*FINE, ("Capital of Peru?", "Lima"), ("Who?", None), ("Wh\x00?", "x"))
    assert found(qs) == [("bad row", 1, ("e",)), ("bad row", 1, ("f",)), ("duplicate", 2, ("a", "d"))]
    assert "row 4 has an empty gold" in audit(qs)["text"][0] and "row 4 of table 2" in audit(table(*FINE), qs)["text"][0]
    assert found(table(("Who?", "Me"), options=[["You"]]))[0][0] == "bad row"
    with pytest.raises(ValueError, match="lack the column 'gold'"): audit(table(*FINE).drop(columns="gold"))


HOSTILE = "<script>alert(1)</script><img src=x onerror=alert(2)>\" onclick='x' & \u202egnirts"


def test_hostile_text_stays_text_in_a_notebook():
    qs = table((HOSTILE, HOSTILE), (HOSTILE, "x"), (HOSTILE[::-1], "")).assign(id=[HOSTILE + str(i) for i in range(3)])
    shown = audit(qs)._repr_html_()
    assert "<script" not in shown and "<img" not in shown and "&lt;script&gt;" in shown
    assert set(part.split(">")[0].split(" ")[0].strip("/") for part in shown.split("<")[1:]) == {"p", "table", "tr", "td", "th"}


def test_the_picture_is_short_and_the_frame_is_whole():
    qs = pd.DataFrame([dict(id=i, question=f"Question {i // 2}?", gold="abc"[i % 3] + str(i)) for i in range(200)])
    findings = audit(qs)
    assert len(findings) == 100 and "… and 95 more" in findings._repr_html_() and len(repr(findings).splitlines()) == 7
    assert type(findings[findings["n"] > 1]) is pd.DataFrame
    assert repr(findings).startswith("100 × duplicate found in 200 questions")


def test_twenty_thousand_questions_take_seconds():
    rng, words = np.random.default_rng(0), np.array([f"word{i}" for i in range(3000)])
    asked = [" ".join(words[rng.integers(3000, size=25)]) + f" and {i} of {i + 7}?" for i in range(20_000)]
    qs = check_questions(pd.DataFrame(dict(id=range(20_000), question=asked, gold=words[rng.integers(3000, size=20_000)])))
    start = time.process_time()
    audit(qs[:10_000], qs[10_000:])
    assert time.process_time() - start < 30  # about 4 on a slow core


def test_the_sets_of_the_paper():
    "Winogrande's coconuts lie in train and in test; TriviaQA's small files ask one question in both."
    coconuts = audit(*(load_questions("winogrande", split=s, path=SMALL / "paper") for s in ("train", "test")))
    assert coconuts["kind"].tolist() == ["twins"] and coconuts["ids"][0] == ["winogrande-train-1", "winogrande-test-1"]
    trivia = audit(*(load_questions("triviaqa", split=s, path=SMALL / "hub" / "trivia_qa") for s in ("train", "test")))
    assert trivia["kind"].tolist() == ["overlap", "duplicate"]
    assert not len(audit(load_questions("winobias", path=SMALL / "paper")))


@pytest.mark.skipif(not REAL.is_dir(), reason="the published files are not here")
def test_what_the_published_files_hide():
    counts = {name: audit(load_questions(name, path=REAL))["kind"].value_counts().to_dict()
              for name in ("math", "mnli", "movies", "winobias", "winogrande")}
    assert counts == dict(math={"duplicate": 2, "answer in question": 1}, mnli={"duplicate": 112},
                          movies={"duplicate": 92, "answer in question": 1}, winobias={"answer in question": 1},
                          winogrande={"answer in question": 1})
