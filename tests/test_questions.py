"What is no table of questions is refused at the door, with the row and the way out; the ten published sets, read and grouped."
import functools
import http.server
import json
import shutil
import sys
import threading
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from conftest import ROOT
from hypothesis import assume, given
from hypothesis import strategies as st

from probe_nb import questions
from probe_nb.questions import HUB, LONG, SOURCES, check_questions, load_questions

ONE = dict(id="a", question="Who?", gold="Me")
SMALL, REAL = Path(__file__).parent / "data" / "sources", ROOT.parent / "shared" / "data" / "paper_questions"
folder = {name: SMALL / "hub" / HUB[name][0].split("/")[1] if name in HUB else SMALL / "paper" for name in SOURCES}
each_set = pytest.mark.parametrize("name", SOURCES)
bad = {"empty": (pd.DataFrame(columns=list(ONE)), "is empty"),
       "column": (pd.DataFrame([dict(id=1, question="?")]), "lack the column 'gold'"),
       "id twice": (pd.DataFrame([ONE, ONE]), "row 1 .* repeats an id"),
       "no id": (pd.DataFrame([ONE | dict(id=None)]), "has no id"),
       "blank id": (pd.DataFrame([ONE | dict(id=" ")]), "has no id"),
       "1 and 1.0": (pd.DataFrame([ONE | dict(id=1), ONE | dict(id="1")]), "row 1 .* repeats an id"),
       "question": (pd.DataFrame([ONE | dict(question=" ")]), r"empty question \(' '\)"),
       "question nan": (pd.DataFrame([ONE, ONE | dict(id="b", question=np.nan)]),
                        r"row 1 \(id 'b'\) has an empty question \(nan\)"),
       "question number": (pd.DataFrame([ONE | dict(question=7)]), r"a question that is no text \(7\)"),
       "gold": (pd.DataFrame([ONE | dict(gold="")]), "empty gold"),
       "gold list": (pd.DataFrame([ONE | dict(gold=[])]), "empty gold"),
       "gold nan": (pd.DataFrame([ONE | dict(gold=np.nan)]), "empty gold"),
       "gold nans": (pd.DataFrame([ONE | dict(gold=[None, " ", np.nan])]), "empty gold"),
       "gold dict": (pd.DataFrame([ONE | dict(gold={"value": "x"})]), r"neither text nor a list of texts \({'value': 'x'}\)"),
       "gold bool": (pd.DataFrame([ONE | dict(gold=True)]), r"neither text nor a list of texts \(True\)"),
       "gold nested": (pd.DataFrame([ONE | dict(gold=["a", ["b"]])]), r"neither text nor a list of texts \(\['a', \['b'\]\]\)"),
       "gold bytes": (pd.DataFrame([ONE | dict(gold=b"x")]), r"neither text nor a list of texts \(b'x'\)"),
       "options": (pd.DataFrame([ONE | dict(options="Me, You")]), r"text as its options \('Me, You'\)"),
       "options dict": (pd.DataFrame([ONE | dict(options={"a": "Me"})]), "options that are no list"),
       "gold no option": (pd.DataFrame([ONE | dict(options=["You"])]),
                          r"options without its gold answer: 'Me' is not among \['You'\]"),
       "context": (pd.DataFrame([ONE | dict(context=["x"])]), r"context that is no text \(\['x'\]\)"),
       "control": (pd.DataFrame([ONE | dict(question="Who\x00?")]),
                   r"control character '\\x00' in its question, at 3 \('Who\\x00\?'\)"),
       "control gold": (pd.DataFrame([ONE | dict(gold=["x", "y\x1b"])]), r"control character '\\x1b' in its gold answer"),
       "surrogate": (pd.DataFrame([ONE | dict(context="a\ud800")], dtype=object), r"control character '\\ud800' in its context"),
       "control id": (pd.DataFrame([ONE | dict(id="a\x00")]), r"control character '\\x00' in its id"),
       "long": (pd.DataFrame([ONE | dict(question="x" * 1_048_576)]), r"a question of 1,048,576 characters \('xxx"),
       "long gold": (pd.DataFrame([ONE | dict(gold=["x" * (LONG + 1)])]), "a gold answer of 500,001 characters")}


@pytest.mark.parametrize("case", bad)
def test_bad_tables(case):
    table, why = bad[case]
    with pytest.raises(ValueError, match=why) as e: check_questions(table)
    assert "\n" not in str(e.value) and len(str(e.value)) < 400


@pytest.mark.parametrize("case", [c for c in bad if c not in ("empty", "column")])
def test_the_rest_goes_on_when_asked(case):
    good = pd.DataFrame([ONE | dict(id="good"), ONE | dict(id="better")])
    table = pd.concat([good[:1], bad[case][0][::-1], good[1:]])
    wrong = len(bad[case][0]) - ("row 1" in bad[case][1])
    with pytest.warns(UserWarning, match=rf"^{wrong} of {len(table)} questions left out, the first: row \d") as told:
        qs = check_questions(table, bad="drop")
    assert len(told) == 1 and len(qs) == len(table) - wrong and qs.index[-1] == len(qs) - 1
    assert {"good", "better"} <= set(qs["id"])
    with pytest.raises(ValueError): load_questions(table)


def test_bad_is_raise_or_drop_and_never_leaves_nothing():
    with pytest.raises(ValueError, match="bad='ignore' is not known"): check_questions(pd.DataFrame([ONE]), bad="ignore")
    with pytest.raises(ValueError, match="all 2 rows are bad, the first: row 0"):
        check_questions(pd.DataFrame([ONE | dict(gold="")] * 2), bad="drop")
    with pytest.raises(ValueError, match=r"row 0 .*\(2 such rows in all"):
        check_questions(pd.DataFrame([ONE | dict(gold="")] * 2))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        check_questions(pd.DataFrame([ONE]), bad="drop")


words = st.text(min_size=1, max_size=30).filter(lambda t: t.strip() and not questions._CONTROL.search(t))


@given(st.lists(words, min_size=1, max_size=8))
def test_whatever_the_text_rows_keep_their_order(texts):
    qs = check_questions(pd.DataFrame(dict(id=range(len(texts)), question=texts, gold=texts)).sample(frac=1, random_state=0))
    assert sorted(qs["id"], key=int) == [str(i) for i in range(len(texts))]
    assert all(q == texts[int(i)] and g == [texts[int(i)].strip()] for i, q, g in zip(qs["id"], qs["question"], qs["gold"]))


cell = st.one_of(words, st.none(), st.floats(), st.integers(), st.booleans(), st.binary(max_size=3), st.text(max_size=5),
                 st.lists(st.one_of(words, st.none(), st.floats()), max_size=3), st.dictionaries(words, words, max_size=2))


@given(st.lists(st.fixed_dictionaries(dict(id=cell, question=st.one_of(words, cell), gold=st.one_of(words, cell), options=cell,
                                           context=cell, group=st.one_of(st.none(), words))), min_size=1, max_size=6))
def test_whatever_the_table_what_comes_through_is_questions(rows):
    "Any cells at all: a table that keeps the contract, or one sentence; and what was dropped was bad alone, too."
    table = pd.DataFrame(rows, dtype=object)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            qs = check_questions(table, bad="drop")
    except ValueError as e:
        assert str(e).startswith("all ") and "\n" not in str(e)
        return
    assert qs["id"].is_unique and all(i and i == i.strip() for i in qs["id"]) and qs["group"].map(len).all()
    for q, g, o, c in zip(qs["question"], qs["gold"], qs["options"], qs["context"]):
        assert isinstance(q, str) and q.strip() and g and all(isinstance(a, str) and a.strip() == a != "" for a in g)
        assert o is None or (set(map(str.casefold, g)) & set(map(str.casefold, o)) and len(set(o)) == len(o))
        assert c is None or isinstance(c, str) and c.strip()
    pd.testing.assert_frame_equal(qs, check_questions(qs))  # nothing more is found or changed
    kept = set(qs["id"])
    for row in table.to_dict("records"):
        try: alone = check_questions(pd.DataFrame([row], dtype=object))
        except ValueError: continue
        assert alone["id"][0] in kept


def test_any_index_and_a_second_check_change_nothing():
    table = pd.DataFrame([ONE, ONE | dict(id="b", gold=["x", "y"], options=["x", "z"])], index=[7, 7])
    once = check_questions(table)
    pd.testing.assert_frame_equal(once, check_questions(once))
    assert table.index.tolist() == [7, 7] and "group" not in table


def test_a_question_asked_twice_is_one_group():
    rows = [("Capital of Peru?", None), ("capital of  “Peru”", None), ("Capital of Peru?", "It is Lima."),
            ("7 + 5?", None), ("7 - 5?", None)]
    table = pd.DataFrame([dict(id=i, question=q, context=c, gold="x") for i, (q, c) in enumerate(rows)])
    assert check_questions(table)["group"].tolist() == ["0", "0", "2", "3", "4"]
    assert check_questions(table.assign(group=["g", None, "g", 7.0, np.nan]))["group"].tolist() == ["g", "0", "g", "7", "4"]


@pytest.mark.parametrize("kind", ["csv", "tsv", "jsonl", "json", "parquet"])
def test_files(tmp_path, kind):
    rows = [ONE | dict(gold="5"), ONE | dict(id="b", question="Wo? „Hier“\u2028oder\tda", gold="05")]
    path = tmp_path / f"q.{kind}"
    if kind in ("csv", "tsv"): pd.DataFrame(rows).to_csv(path, index=False, sep="," if kind == "csv" else "\t")
    elif kind == "parquet": pd.DataFrame(rows).to_parquet(path)
    else:
        texts = (json.dumps(r, ensure_ascii=False) for r in rows)
        path.write_text("\n".join(texts) if kind == "jsonl" else json.dumps(rows), encoding="utf-8")
    qs = load_questions(path)
    assert qs["gold"].tolist() == [["5"], ["05"]] and qs["question"][1] == rows[1]["question"]
    assert qs["group"].tolist() == ["a", "b"]


@given(st.lists(st.tuples(words, st.lists(words, min_size=1, max_size=3)), min_size=1, max_size=4))
def test_a_csv_keeps_what_is_put_into_it(tmp_path_factory, rows):
    assume(not any("\r" in t or "\n" in t for q, g in rows for t in (q, *g)))
    path = tmp_path_factory.mktemp("csv") / "q.csv"
    table = pd.DataFrame([dict(id=i, question=q, gold=json.dumps(g)) for i, (q, g) in enumerate(rows)])
    table.to_csv(path, index=False)
    qs = load_questions(path)
    assert qs["question"].tolist() == table["question"].tolist()
    assert qs["gold"].tolist() == [list(dict.fromkeys(a.strip() for a in g)) for _, g in rows]


def test_words_for_nothing_are_words(tmp_path):
    (tmp_path / "q.csv").write_text("id , question, gold,context\n1,Code of Namibia?,NA,\n2,Nothing?,None,null\n3,Who?,nan,x\n")
    qs = load_questions(tmp_path / "q.csv")
    assert qs["gold"].tolist() == [["NA"], ["None"], ["nan"]] and qs["context"].tolist() == [None, "null", "x"]


def test_unknown_names_and_files(tmp_path):
    with pytest.raises(FileNotFoundError, match="no questions 'nothing'.*triviaqa"): load_questions("nothing")
    (tmp_path / "q.txt").write_text("a")
    with pytest.raises(ValueError, match="q.txt is no table"): load_questions(tmp_path / "q.txt")


def test_a_draw_is_reproducible_and_keeps_the_order():
    all_, some = load_questions("demo"), load_questions("demo", n=50, seed=4)
    assert len(some) == 50 and some["id"].is_unique and some["id"].tolist() == load_questions("demo", n=50, seed=4)["id"].tolist()
    assert some["id"].tolist() != load_questions("demo", n=50, seed=5)["id"].tolist()
    place = {i: k for k, i in enumerate(all_["id"])}
    assert [place[i] for i in some["id"]] == sorted(place[i] for i in some["id"])
    with pytest.raises(ValueError, match="n=0"): load_questions("demo", n=0)


def test_the_demos_questions():
    qs = load_questions("demo")
    assert len(qs) >= 1500 and qs["id"].is_unique and qs["dataset"].nunique() >= 4
    assert all(set(g) <= set(o) for g, o in zip(qs["gold"], qs["options"]))


def test_lists_in_a_csv_are_json(tmp_path):
    path = tmp_path / "q.csv"
    path.write_text('id,question,gold,options\n1,Who?,"[""a"", ""b""]","[""a"", ""c""]"\n', encoding="utf-8-sig")
    qs = load_questions(path)
    assert (qs["gold"][0], qs["options"][0]) == (["a", "b"], ["a", "c"])
    for text, why in [("['a', 'c']", "is no JSON"), ("a;c", "text as its options"), ("[__import__('os')]", "is no JSON")]:
        pd.DataFrame([ONE | dict(options=text)]).to_csv(path, index=False)
        with pytest.raises(ValueError, match=why): load_questions(path)


@pytest.mark.parametrize("text, line, fields", [
    ("id,question,gold\n0,Who, me?,b\n1,When, then?,c\n", 2, 4), ("id,question,gold\n0,Who?,b,ctx,\n", 2, 5),
    ("\nid,question,gold\n\n0,Who?,b\n1,When?\n", 5, 2), ('id,question,gold\n0,"Who,\nme?",b\n1,When, then?,c\n', 4, 4)])
@pytest.mark.parametrize("kind, sep", [("csv", ","), ("tsv", "\t")])
def test_a_row_with_too_many_or_too_few_fields_is_named(tmp_path, text, line, fields, kind, sep):
    path = tmp_path / f"mine.{kind}"
    path.write_text(text.replace(",", sep))
    with pytest.raises(ValueError) as e: load_questions(path)
    assert str(e.value) == f"mine.{kind}: line {line} has {fields} fields, its header 3: put the text in quotes"


def test_quotes_blank_lines_and_long_fields_shift_nothing(tmp_path):
    long = "x" * 200_000
    (tmp_path / "q.csv").write_text(f'\nid, question,gold,,\n\n07,"Who, me?\nYes ""you""",b,,\n  \n1,{long},"[""c""]",,\n\n')
    qs = load_questions(tmp_path / "q.csv")
    assert qs["id"].tolist() == ["07", "1"] and qs["gold"].tolist() == [["b"], ["c"]]
    assert qs["question"].tolist() == ['Who, me?\nYes "you"', long]


def test_a_bad_list_in_a_csv_names_its_row_and_only_that_row_goes(tmp_path):
    path = tmp_path / "q.csv"
    for text in ("[deleted]", "[Redacted] Smith", "[" * 100_000):
        pd.DataFrame([ONE, ONE | dict(id="b", gold=text), ONE | dict(id="c")]).to_csv(path, index=False)
        with pytest.raises(ValueError, match=r"^row 1 \(id 'b'\) has a list that is no JSON \('\["): load_questions(path)
        with pytest.warns(UserWarning, match="^1 of 3 questions left out, .*row 1"): qs = load_questions(path, bad="drop")
        assert qs["id"].tolist() == ["a", "c"]
    assert check_questions(pd.DataFrame([ONE | dict(gold="[Redacted] Smith")]))["gold"][0] == ["[Redacted] Smith"]


@pytest.mark.parametrize("n", ["5", 2.5, True, [3], 0])
def test_n_is_a_whole_number(n):
    with pytest.raises(ValueError) as e: load_questions("demo", n=n)
    assert str(e.value) == f"n={n!r} questions cannot be drawn: give a whole number from 1, such as n=5, or None for all"


@pytest.mark.parametrize("source", [None, [ONE], ONE, 7])
def test_what_is_no_source_is_said(source):
    with pytest.raises(TypeError, match="^source=.* is no source: give .*pd.DataFrame of rows$"): load_questions(source)


def test_two_columns_of_one_name(tmp_path):
    (tmp_path / "q.csv").write_text("id,question,gold,gold\n1,Who?,a,b\n")
    with pytest.raises(ValueError, match="^the questions of q.csv have two columns 'gold': rename or drop one$"):
        load_questions(tmp_path / "q.csv")
    table = pd.DataFrame([[1, "Who?", "a", "train", "test"]], columns=["id", "question", "gold", "split", "split"])
    for split in (None, "train"):
        with pytest.raises(ValueError, match="^the questions have two columns 'split'"): load_questions(table, split=split)


def test_a_blank_group_is_none():
    table = pd.DataFrame([ONE | dict(id=i, question=f"Who {i}?", group=g) for i, g in enumerate(["", " ", np.nan, "g"])])
    assert check_questions(table)["group"].tolist() == ["0", "1", "2", "g"]


def test_aliases_are_text_and_nothing_is_no_alias():
    gold = [[None, "x", np.nan], 2.0, np.int64(5), [2.5, ""], np.array(["y", "y"]), ("z",), np.float32(3)]
    qs = check_questions(pd.DataFrame(dict(id=range(7), question="?", gold=pd.Series(gold, dtype=object))))
    assert qs["gold"].tolist() == [["x"], ["2"], ["5"], ["2.5"], ["y"], ["z"], ["3"]]


@pytest.mark.parametrize("name, data", [("a.csv", "id,question,gold\n1,wo\xfc?,x\n".encode("latin-1")), ("b.csv", b""),
                                        ("c.csv", b"id,gold\n1,2\n5,6,7,8,9\n"), ("d.jsonl", b"{'a': 1}"),
                                        ("e.parquet", b"PAR1"), ("f.json", b'{"id": 1}')])
def test_files_that_cannot_be_read(tmp_path, name, data):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ValueError, match=name) as e: load_questions(tmp_path / name)
    assert "\n" not in str(e.value)


@pytest.mark.parametrize("kind", ["csv", "tsv", "json", "jsonl"])
@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf"])
def test_a_wrong_encoding_is_named_with_its_line_and_byte(tmp_path, kind, mark):
    path = tmp_path / f"q.{kind}"
    path.write_bytes(mark + b"id,question,gold\n1,who?,x\n" * 20_000 + b"2,wo\xfcber?,x\n")
    with pytest.raises(ValueError, match=rf"q\.{kind} is not UTF-8: line 40001 has the byte 0xfc; save it as UTF-8"):
        load_questions(path)


def test_a_bad_line_of_json_lines_is_named(tmp_path):
    (tmp_path / "q.jsonl").write_text('{"id": 1, "question": "?", "gold": "x"}\n\n{"id": 2,\n')
    with pytest.raises(ValueError, match="q.jsonl .*line 3 is no JSON"): load_questions(tmp_path / "q.jsonl")


def test_a_split_of_an_own_table():
    table = pd.DataFrame([ONE | dict(split="train"), ONE | dict(id="b", split="test"), ONE | dict(id="c", split=None)])
    assert load_questions(table, split="test")["id"].tolist() == ["b"] and len(load_questions(table)) == 3
    for some, there in [(table, "test, train"), (pd.DataFrame([ONE]), "no column")]:
        with pytest.raises(ValueError, match=f"no split 'dev' in .*: there is {there}"): load_questions(some, split="dev")
    with pytest.raises(ValueError, match="path= is for the published sets"): load_questions("demo", path="x")


# The ten sets, on small files in their sources' layouts

@each_set
@pytest.mark.parametrize("split", ["train", "test"])
def test_each_set_keeps_the_contract(name, split):
    qs = load_questions(name, split=split, path=folder[name])
    assert len(qs) and list(qs)[:7] == ["id", "question", "gold", "options", "context", "dataset", "group"]
    assert (qs["dataset"] == name).all() and (qs["split"] == split).all() and qs["id"].is_unique
    assert not {"own", "key", "answer", "Answer", "label"} & set(qs)
    assert qs["context"].notna().all() == (name.endswith("with_context") or name == "imdb")
    assert qs["options"].notna().all() == (name in ("winobias", "winogrande", "mnli", "imdb"))
    pd.testing.assert_frame_equal(qs, load_questions(name, split=split, path=folder[name]))


GOLD = dict(triviaqa=["The Orm", "Orm", "River Orm"], hotpotqa=["the Orm"], hotpotqa_with_context=["the Orm"], math=["9"],
            natural_questions_with_context=["1612", "in 1612"], movies=["Tuppence Middleton"], winobias=["developer"],
            winogrande=["tank"], mnli=["entailment"], imdb=["negative"])


@each_set
def test_what_the_first_row_of_each_set_says(name):
    qs = load_questions(name, path=folder[name])
    assert qs["gold"][0] == GOLD[name]
    if name == "winobias":
        assert qs["question"][0].endswith("did not like the design. Who does the pronoun 'he' refer to?")
        assert qs.loc[0, ["type", "stereotype", "pronoun", "q"]].tolist() == [1, "pro", "he", "The pronoun 'he' refers to the"]
    if name == "math": assert qs["source"][0] == "MultiArith" and qs["id"][0] == "math-train-507"
    if name == "natural_questions_with_context": assert len(qs) == 2 and qs["context"][0].startswith("<P>")  # SQuAD's is left out
    if name == "hotpotqa_with_context":
        assert qs["context"][0].split("\n")[0] == "Torvik is a town on the Orm." and len(qs) == 2  # two files, one table
    if name == "imdb": assert "\x96" in qs["question"][1] and qs["gold"][1] == ["positive"] and qs["context"].nunique() == 1
    if name == "triviaqa": assert qs["id"].tolist()[::3] == ["triviaqa-train-xx_1", "triviaqa-train-xx_1-2"]


def test_two_options_do_not_tell_the_right_one():
    qs = pd.concat([load_questions(n, path=folder[n]) for n in ("winobias", "winogrande")])
    assert all(o == sorted(o, key=str.casefold) for o in qs["options"])


def groups(name, split="train"):
    qs = load_questions(name, split=split, path=folder[name])
    return qs.set_index("id")["group"], qs


def test_groups_hold_twins_and_duplicates_together():
    g, qs = groups("winobias")
    assert g.tolist()[0::2] == g.tolist()[1::2] and g.nunique() == 3  # he and she, in rows 1 and 397 and so on
    assert qs["stereotype"].tolist() == ["pro", "anti"] * 3
    g, qs = groups("math")
    assert g.iloc[2] == g.iloc[3] and g.iloc[4] == g.iloc[5] and g.nunique() == 4  # other numbers; the same problem
    g, qs = groups("mnli")
    assert g.iloc[2] == g.iloc[3] and g.iloc[4] == g.iloc[5] and qs["question"][4] != qs["question"][5] and g.nunique() == 4
    g, qs = groups("movies")
    assert g.iloc[2] == g.iloc[3] and qs["gold"][2] != qs["gold"][3] and g.nunique() == 3
    g, qs = groups("winogrande")
    assert g.iloc[2] == g.iloc[3] and qs["gold"][2] != qs["gold"][3] and g.nunique() == 3
    g, qs = groups("triviaqa")
    assert g.iloc[0] == g.iloc[2] and g.nunique() == 3


def test_groups_are_the_same_in_train_and_test_and_ids_are_not():
    "A user who puts the two tables together is safe."
    for name, train, test in [("winogrande", 1, 1), ("triviaqa", 1, 0)]:
        a, b = groups(name)[0], groups(name, "test")[0]
        assert a.iloc[train] == b.iloc[test]
    for name in SOURCES: assert not set(groups(name)[0].index) & set(groups(name, "test")[0].index)
    plain, context = groups("hotpotqa")[0], groups("hotpotqa_with_context")[0]
    assert plain.tolist() == context.tolist() and not set(plain.index) & set(context.index)


def test_a_file_a_folder_and_the_sources_own_name_of_a_split():
    whole = load_questions("winobias", path=SMALL / "paper")
    pd.testing.assert_frame_equal(whole, load_questions("winobias", path=SMALL / "paper" / "winobias_dev.csv"))
    pd.testing.assert_frame_equal(whole, load_questions("winobias", split="dev", path=str(SMALL / "paper")))
    assert (load_questions("mnli", path=SMALL / "paper" / "mnli_validation.csv")["split"] == "test").all()
    one = folder["imdb"] / "plain_text" / "test-00000-of-00001.parquet"
    assert load_questions("imdb", path=one)["id"].tolist() == ["imdb-test-0"]
    assert len(load_questions("hotpotqa", path=folder["hotpotqa"] / "distractor")) == 2
    with pytest.raises(ValueError, match="winobias_dev.csv is the split 'train' of winobias, not 'test'"):
        load_questions("winobias", split="test", path=SMALL / "paper" / "winobias_dev.csv")
    with pytest.raises(ValueError, match="movies has no split 'dev': give"): load_questions("movies", split="dev", path=SMALL)
    with pytest.raises(FileNotFoundError, match="it has to hold movie_qa_train.csv"): load_questions("movies", path=SMALL / "hub")
    with pytest.raises(ValueError, match="the file of movies has no column 'Question'"):
        load_questions("movies", path=SMALL / "paper" / "AnswerableMath.csv")
    with pytest.raises(ValueError, match="the file of imdb has no column 'text'"):
        load_questions("imdb", path=folder["triviaqa"] / "unfiltered.nocontext" / "train-00000-of-00001.parquet")


def test_the_papers_own_files_of_the_open_sets(tmp_path):
    "The layouts that its code reads: TriviaQA's JSON, and a CSV of Natural Questions that was never published."
    item = {"Question": "Which river?", "QuestionId": "tc_1", "Answer": {"Value": "Orm", "Aliases": ["Orm", "the Orm"]},
            "SearchResults": []}
    (tmp_path / "unfiltered-web-train.json").write_text(json.dumps({"Data": [item], "Domain": "unfiltered-web"}))
    qs = load_questions("triviaqa", path=tmp_path)
    assert qs["gold"].tolist() == [["Orm", "the Orm"]] and qs["id"].tolist() == ["triviaqa-train-tc_1"]
    (tmp_path / "nq_wc_dataset_test.csv").write_text("Question,Answer,Context\nwho cast it,Egil Strand,Cast by Egil Strand.\n")
    qs = load_questions("natural_questions_with_context", split="test", path=tmp_path)
    assert (qs["gold"][0], qs["context"][0]) == (["Egil Strand"], "Cast by Egil Strand.")


# Fetching

@pytest.fixture
def server(tmp_path, monkeypatch):
    "The paper's repository, on this machine; says what was asked for."
    shutil.copytree(SMALL / "paper", tmp_path / "site")
    asked = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *args): asked.append(self.path)

        def do_GET(self):
            if not self.path.endswith("cut.csv"): return super().do_GET()
            self.send_response(200), self.send_header("Content-Length", "1000"), self.end_headers()
            self.wfile.write(b"Question")

    handler = functools.partial(Handler, directory=str(tmp_path / "site"))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as s:
        threading.Thread(target=s.serve_forever, daemon=True).start()
        monkeypatch.setattr(questions, "PAPER", f"http://127.0.0.1:{s.server_port}/")
        monkeypatch.setattr(questions, "SHA256", {})
        monkeypatch.setenv("PROBE_NB_CACHE", str(tmp_path / "cache"))
        for proxy in ("http_proxy", "HTTP_PROXY"): monkeypatch.delenv(proxy, raising=False)
        yield asked
        s.shutdown()


def test_a_published_file_is_fetched_once(server, tmp_path):
    qs = load_questions("movies", n=2, seed=1)
    assert len(server) == 1 and len(qs) == 2
    pd.testing.assert_frame_equal(qs, load_questions("movies", n=2, seed=1))
    assert len(server) == 1
    assert [p.name for p in (tmp_path / "cache").rglob("*") if p.is_file()] == ["movie_qa_train.csv"]


def test_a_fetch_that_fails_leaves_nothing_and_says_one_sentence(server, tmp_path, monkeypatch):
    def refused(why):
        with pytest.raises(ConnectionError, match=why) as e: load_questions("movies")
        assert "\n" not in str(e.value) and "path=" in str(e.value)
        assert not [p for p in (tmp_path / "cache").rglob("*") if p.is_file()]
    real = SOURCES["movies"]
    for file, why in [("gone.csv", "gone.csv could not be .*404"), ("cut.csv", "cut.csv could not be .*IncompleteRead")]:
        monkeypatch.setitem(SOURCES, "movies", real | {"train": ("train", file)})
        refused(why)
    monkeypatch.setitem(SOURCES, "movies", real)
    monkeypatch.setattr(questions, "SHA256", {"movie_qa_train.csv": "0" * 64})
    refused("what came is not the file that was published")
    monkeypatch.setattr(questions, "PAPER", "http://127.0.0.1:1/")
    refused("movie_qa_train.csv could not be fetched")


def test_a_damaged_cache_is_fetched_again(server, tmp_path, monkeypatch):
    import hashlib
    qs = load_questions("movies")
    cached = tmp_path / "cache" / "questions" / "movie_qa_train.csv"
    monkeypatch.setattr(questions, "SHA256", {"movie_qa_train.csv": hashlib.sha256(cached.read_bytes()).hexdigest()})
    cached.write_bytes(cached.read_bytes()[:-9])
    pd.testing.assert_frame_equal(qs, load_questions("movies"))
    assert len(server) == 2


def test_the_papers_address_is_pinned_and_safe():
    assert questions.PAPER.startswith("https://raw.githubusercontent.com/technion-cs-nlp/LLMsKnow/")
    assert len(questions.PAPER.split("/")[5]) == 40
    assert all(len(revision) == 40 for _, _, revision, _ in HUB.values())


@pytest.mark.parametrize("name", HUB)
def test_the_hubs_sets_by_its_own_library(name, monkeypatch, tmp_path):
    "`datasets` reads a folder in the layout of the repository as it would the repository."
    datasets = pytest.importorskip("datasets")
    real, asked = datasets.load_dataset, []

    def load(repository, config, split, revision):
        asked.append((repository, revision))
        return real(str(folder[name]), config, split=split, cache_dir=str(tmp_path))
    monkeypatch.setattr(datasets, "load_dataset", load)
    datasets.disable_progress_bars()
    for split in ("train", "test"):
        qs = load_questions(name, split=split)
        pd.testing.assert_frame_equal(qs, load_questions(name, split=split, path=folder[name]))
    assert asked == [(HUB[name][0], HUB[name][2])] * 2


def test_without_the_library_or_the_network_the_way_out_is_said(monkeypatch):
    datasets = pytest.importorskip("datasets")

    def fails(*args, **options): raise FileNotFoundError("Couldn't reach the Hub\nsecond line")
    monkeypatch.setattr(datasets, "load_dataset", fails)
    with pytest.raises(ConnectionError, match=r"imdb could not be loaded from the hub \(Couldn't reach.*path=") as e:
        load_questions("imdb")
    assert "\n" not in str(e.value)
    monkeypatch.setitem(sys.modules, "datasets", None)  # importing it now fails
    with pytest.raises(ImportError, match="imdb is read by the library datasets: pip install datasets, or give path="):
        load_questions("imdb")


# The published files themselves, where they lie beside the repository

REAL_ROWS = dict(math=(1950, 1890), mnli=(10_000, 9629), movies=(10_000, 9836), winobias=(1584, 797), winogrande=(10_000, 8775))


@pytest.mark.skipif(not REAL.is_dir(), reason="the published files are not here")
@pytest.mark.parametrize("name", REAL_ROWS)
def test_the_published_files(name):
    file = REAL / SOURCES[name]["train"][1]
    assert questions._whole(file.name, file.read_bytes()) and file.name in questions.SHA256
    qs = load_questions(name, path=REAL)
    assert (len(qs), qs["group"].nunique()) == REAL_ROWS[name] and qs["id"].is_unique
    if name == "math": assert not [g for g, in qs["gold"] if g.endswith(".0")] and {"28.26", "0.65"} <= {g for g, in qs["gold"]}
    if name == "winobias":
        assert qs["stereotype"].value_counts().to_dict() == dict(pro=792, anti=792)
        twins = qs.groupby("group")
        assert twins.size().value_counts().to_dict() == {2: 787, 1: 10}
        assert (twins["stereotype"].nunique() == twins.size()).all()
    if name == "movies":  # Himself and Herself, Juror 1 and Juror 2 of one film
        assert qs.groupby([questions._twin(q) for q in qs["question"]])["group"].nunique().max() == 1
    if name == "mnli": assert {g for g, in qs["gold"]} == set(qs["options"][0])
    assert qs.groupby("question")["group"].nunique().max() == 1
    if name == "winogrande": assert qs.groupby("group").size().max() <= 4
