"""Positions of one's own: where they fall, and that their column is the one the map would have had."""

import numpy as np
import pandas as pd
import pytest

from probe_nb.maps import probe_map
from probe_nb.position_editor import PositionEditor, hits, shifted, with_column
from probe_nb.positions import PAPER, Rule, positions, regex


def test_a_shift_is_a_shift_and_falls_off_the_ends(lm, made):
    ans = made.answers()
    same = positions(ans, [r for r in PAPER if r.label == "exact_answer_first"])
    for k in (-2, -1, 0, 1, 3):
        moved = positions(ans, [shifted("exact_answer_first", k)])
        p = ans["prompt_ids"].map(len).to_numpy()
        want = same["start"].astype("Float64").to_numpy(float, na_value=np.nan) + k
        want = np.where((want >= p - 1) & (want < p + ans["answer_ids"].map(len).to_numpy()), want, np.nan)
        assert np.array_equal(moved["start"].to_numpy(float, na_value=np.nan), want, equal_nan=True), k
    assert positions(ans, [shifted("exact_answer_last", 1)])["start"].equals(positions(ans, ["exact_answer_after_last"])["start"])
    twice = shifted(shifted(regex(r"in (\w+)"), 2), -1)
    assert positions(ans, [twice], lm)["position"].iloc[0] == r"/in (\w+)/+2-1"
    with pytest.raises(ValueError, match="no position 'nowhere'"): shifted("nowhere", 1)


def test_a_column_that_joins_is_the_column_that_was_there(made):
    pmap, ans = made.map(), made.answers()
    again = with_column(made, pmap, shifted("exact_answer_last", 0), progress=False)  # the same position, extracted anew
    assert again["position"].values.tolist()[-1] == "exact_answer_last" and again.sizes == pmap.sizes
    a, b = (m.sel(position="exact_answer_last") for m in (again, pmap))
    for v in ("auc", "auc_low", "auc_high", "n", "n_wrong"): np.testing.assert_allclose(a[v], b[v], atol=2e-3)
    rest = [p for p in pmap["position"].values if p != "exact_answer_last"]
    assert again["auc"].sel(position=rest).equals(pmap["auc"].sel(position=rest)) and again.best_layer == pmap.best_layer
    own = probe_map(made.acts(), ans, progress=False, positions=["-1"], permutations=0)
    more = with_column(made, with_column(made, pmap, shifted("-2", 1), False), shifted("-1", -1), False)
    assert more.attrs["added"].split("\n") == ["-2+1", "-1-1"]
    np.testing.assert_allclose(more["auc"].sel(position="-2+1"), own["auc"].sel(position="-1"), atol=2e-3)
    assert not more["plateau"].sel(position="-2+1").any(), "a column that came later is no part of the plateau"
    with pytest.raises(ValueError, match="nothing to probe"): with_column(made, pmap, regex("no such words"), False)


def test_hits_are_counted_by_kind():
    ans = pd.DataFrame(dict(correct=pd.array([True, True, False, None], "boolean")))
    pos = pd.DataFrame(dict(start=pd.array([1, None, None, 4], "Int64")))
    assert hits(pos, ans) == "2 of 4 answers have it; it is missing in 1 of 2 right ones, 1 of 1 wrong ones"


def test_editor_previews_adds_and_tells(study):
    told, editor = [], PositionEditor(study).wait(60)
    editor.observe(lambda change: told.append(change.new), "columns")
    assert editor.error == "" and editor._lines["preview"].value.count('class="tokens"') == 10
    assert editor.rule().label == "exact_answer_last+1" and editor._rows["pattern"].layout.display == "none"
    editor.kind = "regex"
    assert editor._rows["pattern"].layout.display == "" and editor._rows["base"].layout.display == "none"
    before = editor._lines["preview"].value
    editor.pattern = "("
    assert "no regular expression" in editor.error and editor._lines["preview"].value == before
    editor.pattern = "<img src=x onerror=alert(1)>"
    assert editor.error == "" and "<img" not in editor._lines["hits"].value + editor.still()
    editor.add()
    assert "nothing to probe" in editor.wait(60).error and editor.columns == []
    editor.kind, editor.pool, editor.of = "pooled", "max", "answer"
    editor.add()
    assert editor.wait(120).columns == ["answer_max"] and told == [["answer_max"]]
    assert "answer_max" in editor._table.value and "answer_max" in editor.pmap["position"].values
    assert isinstance(editor.rule(), Rule) and editor.snapshot().to_dict()["height"]
    assert "answer_max" not in study.map()["position"].values, "the study's own map stays as it was"
