"What is no table of questions is refused at the door, with the row and the way out."
import json

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from probe_nb.questions import check_questions, load_questions

ONE = dict(id="a", question="Who?", gold="Me")
bad = {"empty": (pd.DataFrame(columns=list(ONE)), "is empty"),
       "column": (pd.DataFrame([dict(id=1, question="?")]), "lack the column 'gold'"),
       "id twice": (pd.DataFrame([ONE, ONE]), "row 1 .* repeats an id"),
       "no id": (pd.DataFrame([ONE | dict(id=None)]), "has no id"),
       "question": (pd.DataFrame([ONE | dict(question=" ")]), "empty question"),
       "gold": (pd.DataFrame([ONE | dict(gold="")]), "empty gold"),
       "gold list": (pd.DataFrame([ONE | dict(gold=[])]), "empty gold"),
       "gold nan": (pd.DataFrame([ONE | dict(gold=np.nan)]), "empty gold")}


@pytest.mark.parametrize("case", bad)
def test_bad_tables(case):
    table, why = bad[case]
    with pytest.raises(ValueError, match=why) as e: check_questions(table)
    assert "\n" not in str(e.value)


@given(st.lists(st.text(min_size=1).filter(str.strip), min_size=1, max_size=8))
def test_whatever_the_text_rows_keep_their_order(texts):
    qs = check_questions(pd.DataFrame(dict(id=range(len(texts)), question=texts, gold=texts)).sample(frac=1, random_state=0))
    assert sorted(qs["id"], key=int) == [str(i) for i in range(len(texts))]
    assert all(q == texts[int(i)] and g == [texts[int(i)].strip()] for i, q, g in zip(qs["id"], qs["question"], qs["gold"]))


def test_any_index_and_a_second_check_change_nothing():
    table = pd.DataFrame([ONE, ONE | dict(id="b", gold=["x", "y"], options=["x", "z"])], index=[7, 7])
    once = check_questions(table)
    pd.testing.assert_frame_equal(once, check_questions(once))
    assert table.index.tolist() == [7, 7] and "group" not in table


@pytest.mark.parametrize("kind", ["csv", "jsonl", "json", "parquet"])
def test_files(tmp_path, kind):
    rows, path = [ONE | dict(gold="5"), ONE | dict(id="b", question="Wo? „Hier“", gold="05")], tmp_path / f"q.{kind}"
    if kind == "csv": pd.DataFrame(rows).to_csv(path, index=False)
    elif kind == "parquet": pd.DataFrame(rows).to_parquet(path)
    else: path.write_text("\n".join(map(json.dumps, rows)) if kind == "jsonl" else json.dumps(rows), encoding="utf-8")
    qs = load_questions(path)
    assert qs["gold"].tolist() == [["5"], ["05"]] and qs["question"][1] == "Wo? „Hier“" and qs["group"].tolist() == ["a", "b"]


def test_unknown_names_and_files(tmp_path):
    with pytest.raises(FileNotFoundError, match="no questions 'nothing'"): load_questions("nothing")
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
    for text, why in [("['a', 'c']", "is no JSON"), ("a;c", "text as its options")]:
        pd.DataFrame([ONE | dict(options=text)]).to_csv(path, index=False)
        with pytest.raises(ValueError, match=why): load_questions(path)


def test_aliases_are_text_and_nothing_is_no_alias():
    gold = [[None, "x", np.nan], 2.0, np.int64(5), [2.5, ""]]
    qs = check_questions(pd.DataFrame(dict(id=range(4), question="?", gold=pd.Series(gold, dtype=object))))
    assert qs["gold"].tolist() == [["x"], ["2"], ["5"], ["2.5"]]
    with pytest.raises(ValueError, match="empty gold"): check_questions(pd.DataFrame([ONE | dict(gold={"value": "x"})]))


@pytest.mark.parametrize("name, data", [("a.csv", "id,question,gold\n1,wo\xfc?,x\n".encode("latin-1")), ("b.csv", b""),
                                        ("c.csv", b"id,gold\n1,2\n5,6,7,8,9\n"), ("d.jsonl", b"{'a': 1}"),
                                        ("e.parquet", b"PAR1"), ("f.json", b'{"id": 1}')])
def test_files_that_cannot_be_read(tmp_path, name, data):
    (tmp_path / name).write_bytes(data)
    with pytest.raises(ValueError, match=name) as e: load_questions(tmp_path / name)
    assert "\n" not in str(e.value)
