"""The editors without a browser: what a mark changes, what is written, what is only shown."""
import json
import shutil
from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from probe_nb.edits import at_position, cell_of, disagreements, read_tokens, span_characters, told_again, unsure
from probe_nb.models import load_lm
from probe_nb.positions import pooled, positions
from probe_nb.probes import auc
from probe_nb.span_editor import SpanEditor
from probe_nb.study import Study

FIELDS = ["correct", "outcome", "span_start", "span_stop", "exact_answer", "span_method", "span_confidence", "span_reason"]


@pytest.fixture(scope="module")
def lm(): return load_lm("demo")


@pytest.fixture(scope="module")
def made(tmp_path_factory, lm):
    study = Study(tmp_path_factory.mktemp("made") / "demo", lm, n=120, layers=[4, 5, 6], progress=False)
    study.map()
    return study


@pytest.fixture
def study(made, tmp_path, lm): return Study(shutil.copytree(made.path, tmp_path / "demo"), lm, progress=False)


@pytest.fixture
def editor(study): return SpanEditor(study).wait(60)


def one(ans, example): return ans[ans["example"] == example]


# What one mark changes

def test_letters_and_tokens_are_two_names_of_one_span(lm, made):
    ans = made.answers()
    for r in ans[ans["span_start"].notna()].to_dict("records")[:15]:
        a, b = span_characters(lm, r, r["span_start"], r["span_stop"])
        assert r["answer"][a:b] == r["exact_answer"]
        last = len(r["answer_ids"]) - 1  # the token that ends it
        for start, stop in ((0, 1), (0, last), (min(1, last - 1), min(3, last))):
            told = told_again(lm, ans, r["example"], "none", span=span_characters(lm, r, start, stop)).iloc[0]
            assert (told["span_start"], told["span_stop"], told["span_method"]) == (start, stop, "hand")
    end = len(r["answer_ids"])
    with pytest.raises(ValueError, match="hold no letter of"): span_characters(lm, r, end - 1, end)
    with pytest.raises(ValueError, match="not among the answer's"): span_characters(lm, r, 0, end + 1)


def test_tokens_read_at_once_are_those_that_extract_reads(lm, made):
    acts, ans = made.acts(), made.answers()
    for e in ans.loc[ans["span_start"].notna(), "example"][:5]:
        row = one(ans, e)
        first = len(row["prompt_ids"].iloc[0]) - 1
        values = read_tokens(lm, [*row["prompt_ids"].iloc[0], *row["answer_ids"].iloc[0]], "mlp_in", [4, 5, 6], first)
        for p in acts["position"].values:
            got, want = at_position(row, p, values), acts.sel(example=e, position=p).values
            assert got is None and np.isnan(want).all() or np.allclose(got, want, atol=1e-4), p
        mean, place = at_position(row, pooled("exact_answer"), values), positions(row, [pooled("exact_answer")]).iloc[0]
        assert np.allclose(mean, values[place["start"] - first:place["stop"] - first].mean(0))


def test_the_cell_is_what_the_map_would_have_at_that_strength(made):
    acts, ans = made.acts(), made.answers()
    cell = cell_of(acts, ans, 5, "exact_answer_first", C=[.01])
    from probe_nb.maps import score_answers
    own = score_answers(acts, ans, layer=5, position="exact_answer_first", C=.01)
    ours = cell.score().set_index("example").loc[own["example"]].reset_index()
    assert (ours["fold"] == own["fold"]).all() and np.allclose(ours["score"], own["score"], atol=1e-3)
    assert cell.auc()[0] == pytest.approx(auc(own["score"], own["correct"], own["fold"]), abs=1e-6)
    e = int(own["example"].iloc[0])
    gone = replace(cell, vectors={e: None})
    assert gone.auc()[1] == cell.auc()[1] - 1 and e not in set(gone.score()["example"])
    assert replace(cell, labels={e: None}).auc() == gone.auc(), "an answer that is neither right nor wrong takes no part"
    back = replace(cell, vectors={e: cell.X[cell.table.loc[e, "row"]]}, labels={e: bool(cell.table.loc[e, "correct"])})
    assert back.auc() == cell.auc(), "the same row put in again changes nothing"


def test_lists_of_what_to_look_at():
    ans = pd.DataFrame(dict(example=range(5), correct=pd.array([True, None, False, True, True], "boolean"),
                            span_start=pd.array([1, None, None, 2, None], "Int64"),
                            span_method=["options", "options", "options", "phrase", "hand"],
                            span_confidence=["high", None, None, "low", None]))
    assert unsure(ans) == [2, 3], "not the refusal, not what a hand marked; without a span first"
    scores = pd.DataFrame(dict(example=[1, 2, 3], correct=[True, False, True], score=[3., 2., -1.]))
    assert disagreements(scores) == [3, 2, 1]


# The editor

def test_first_sight(editor, study):
    assert editor.error == "" and not editor.busy and editor.example == 0 and editor.edited == []
    assert editor.cell == (study.map().best_layer, study.map().best_position)
    assert editor.before == editor.after and .5 < editor.before[0] < 1
    assert "<svg" in editor._auc.value and editor._strip.span == editor.span == editor._found()


def test_a_draft_moves_the_number_and_writes_nothing(editor, study):
    heard = []
    editor.observe(lambda change: heard.append(change.new), "after")
    for example in editor.ans.loc[editor.ans["span_start"] > 2, "example"][:6]:
        editor.example = example
        editor.wait(30)
        editor._strip.set_state({"span": [0, 1], "cursor": 0})  # what the browser tells after a drag
        assert editor.wait(30).span == (0, 1) and editor.after[1] == editor.before[1]
        assert "draft: " in editor._auc.value
    assert any(a != editor.before for a in heard), "none of six answers matters to the probe"
    assert not (study.path / "hand.jsonl").exists() and editor.edited == []
    editor._press("reset")
    editor.wait(30)
    assert editor.span == editor._found() and editor.after == editor.before


def test_what_is_accepted_is_what_the_study_then_has(editor, study):
    editor.span = (1, 3)
    editor._press("accept")
    editor.wait(30)
    preview, mine = editor.after, editor.row()[FIELDS].tolist()
    line = json.loads((study.path / "hand.jsonl").read_text())
    assert line["note"] == "span editor" and line["exact"] == list(span_characters(editor.lm, editor.row(), 1, 3))
    assert editor.edited == [0] and "1 answer marked" in editor.status and editor.span == (1, 3)
    base = editor.base
    again = Study(study.path, study.lm, progress=False)
    theirs = one(again.answers(), 0)[FIELDS].iloc[0].tolist()
    assert [str(v) for v in mine] == [str(v) for v in theirs]
    X = again.acts().sel(layer=base.layer, position=base.position).values  # extracted anew, all of it
    whole = replace(base, X=X, vectors={}, labels={})
    assert whole.auc()[1:] == preview[1:] and whole.auc()[0] == pytest.approx(preview[0], abs=1e-5), "the preview told the truth"


def test_no_answer_relabel_and_take_back(editor, study):
    editor._strip._handle_custom_msg({"key": "x"}, [])
    editor._strip._handle_custom_msg({"key": "Enter"}, [])
    editor.wait(30)
    assert pd.isna(editor.row()["span_start"]) and editor.after[1] == editor.before[1] - 1
    assert json.loads((study.path / "hand.jsonl").read_text())["exact"] is None
    other = editor.example = int(editor.ans.loc[editor.ans["correct"].notna() & (editor.ans["example"] > 0), "example"].iloc[0])
    was, wrong = bool(editor.row()["correct"]), editor.after[2]
    editor._press("wrong" if was else "right")
    editor.wait(30)
    assert editor.row()["correct"] == (not was) and "by hand" in editor._about.value
    assert editor.after[2] == wrong + (1 if was else -1) and editor.edited == [0, other]
    editor._press("unmark")
    editor.wait(30)
    assert editor.row()["correct"] == was and len((study.path / "hand.jsonl").read_text().splitlines()) == 3


def test_recompute_makes_the_edits_the_ground(editor, study):
    told = []
    editor.observe(lambda change: told.append(change.new), "mapped")
    editor.span = (0, 1)
    editor.accept()
    editor.recompute()
    assert editor.busy
    editor.wait(120)
    assert told == [1] and editor.before == editor.after and not editor._changed and editor.error == ""
    assert json.loads(editor.pmap.attrs["options"])["hand"], "the map knows of the marks"


def test_errors_are_seen_and_lose_nothing(editor, study):
    end = len(editor.row()["answer_ids"])
    before = editor.after
    editor.span = (end - 1, end)
    editor.wait(30)
    assert "hold no letter" in editor.error and editor.after == before
    assert "&lt;" in editor._lines["error"].value or "<" not in editor._lines["error"].value
    editor._press("accept")
    assert "hold no letter" in editor.error and not (study.path / "hand.jsonl").exists()
    editor.span = (0, 1)
    assert editor.wait(30).error == ""
    editor.example = 10_000
    assert "no example 10000" in editor.error


def test_queues_and_cells(editor):
    editor.queue = "disagree"
    first = editor.example
    s = editor.base.score().set_index("example")
    y, score = s.loc[first, ["correct", "score"]]
    assert (s["score"] < score).mean() < .2 if y else (s["score"] < score).mean() > .8
    editor._press("next")
    assert editor.example != first
    editor._press("previous")
    assert editor.example == first
    editor.cell = (4, "-1")
    assert editor.wait(60).cell == (4, "-1") and "layer 4, -1" in editor._auc.value and editor.error == ""


def test_the_next_unsure_one_is_found_from_wherever_one_is(editor):
    editor._press("unsure")
    assert "No other answer" in editor.status and editor.example == 0
    some = editor.ans.index[editor.ans["correct"].notna() & editor.ans["span_start"].notna()][[3, 9]]
    editor.ans.loc[some, "span_confidence"] = "low"
    first, second = editor.ans.loc[some, "example"]
    for wanted in (first, second, first):
        editor._strip._handle_custom_msg({"key": "s"}, [])
        assert editor.example == wanted
    editor._press("next")
    assert editor.example == first + 1 and editor.queue == "all", "the list that is walked through stays"


def test_interval_and_chance_are_grey_until_the_map_is_made_again(editor):
    assert "chance reaches 0." in editor._auc.value and "interval 0." in editor._auc.value and '"old"' not in editor._auc.value
    editor.span = (0, 1)
    assert 'class="old"' in editor.wait(30)._auc.value and "of the map before the edits" in editor._auc.value
    editor.reset()
    assert '"old"' not in editor.wait(30)._auc.value
    editor.relabel(not editor.row()["correct"])
    assert 'class="old"' in editor.wait(30)._auc.value
    editor.recompute()
    assert editor.wait(120).error == "" and '"old"' not in editor._auc.value


def test_a_study_that_fails_is_told(made, monkeypatch):
    def fail(self, progress=None): raise ValueError("<b>damaged</b>: delete it")
    monkeypatch.setattr(Study, "answers", fail)
    editor = SpanEditor(made).wait(30)
    assert editor.error == "<b>damaged</b>: delete it" and editor._lines["error"].value.startswith("&lt;b&gt;")
    editor._press("next")
    assert "still being opened" in editor.error
