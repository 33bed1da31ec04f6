"""The paper's nine heatmaps as data: all there, as they were digitised, and drawn like ours."""
import hashlib

import numpy as np
import pytest

from probe_nb.charts import heatmap
from probe_nb.published import load_published, published

FIFTEEN = ["last_q", "first_answer", "second_answer", "exact_answer_before_first", "exact_answer_first", "exact_answer_last",
           "exact_answer_after_last", *(str(-k) for k in range(8, 0, -1))]
# each figure's largest AUC and its place, as read from the paper by eye beside the digitised numbers
PEAKS = dict(fig2a=("exact_answer_first", 13, .84), fig2b=("exact_answer_last", 18, .90), fig2c=("exact_answer_last", 13, .92),
             fig6a=("last_q", 20, .85), fig6b=("exact_answer_first", 29, .84), fig6c=("exact_answer_before_first", 18, .82),
             fig6d=("exact_answer_last", 16, .82), fig6e=("exact_answer_first", 29, .89), fig6f=(None, None, .98))


@pytest.mark.parametrize("name", PEAKS)
def test_figure(name):
    m = load_published(name)
    assert m.auc.dims == ("layer", "position") and m.layer.values.tolist() == list(range(32))
    short = [p for p in FIFTEEN if p not in ("first_answer", "second_answer", "exact_answer_before_first")]
    assert m.position.values.tolist() == (short if name == "fig6f" else FIFTEEN)
    assert np.isfinite(m.auc).all() and m.auc.min() >= .5 and m.auc.max() < 1
    position, layer, peak = PEAKS[name]
    assert abs(float(m.auc.max()) - peak) < .006
    if position:
        column = m.auc.sel(position=position)
        assert column.idxmax("layer").item() == layer and column.max() == m.auc.max()
    about = m.attrs
    assert about["figure"] == f"Figure {name[3:]}" and about["arxiv"] == "2410.02707"
    assert about["model"] == "Mistral-7B-Instruct-v0.2" and about["site"] == "mlp_in"
    assert about["digitising_error"] == .002 and "clipped" in about["note"] and about["dataset"] in about["title"]
    assert heatmap(m).to_dict()["title"]["text"] == about["title"]


def test_numbers_are_the_digitised_ones():
    "The nine tables together, so that none can be changed by accident."
    told = "".join(load_published(name).auc.to_pandas().round(3).to_csv() for name in PEAKS)
    assert hashlib.sha256(told.encode()).hexdigest()[:16] == "72ec765e9ddc4fd1"


def test_names():
    assert load_published("fig6b_hotpotqa_wc").identical(load_published("FIG6b "))
    assert published().name.tolist() == list(PEAKS) and published().best_auc.round(2).tolist() == [p[2] for p in PEAKS.values()]


@pytest.mark.parametrize("bad", ["fig1", "", "2a", None, ["fig2a"], "../fig2a", "fig2a.csv"])
def test_unknown_name_is_answered_with_those_that_are(bad):
    with pytest.raises(ValueError, match="fig2a, fig2b, fig2c, fig6a") as e: load_published(bad)
    assert "\n" not in str(e.value)


def test_a_change_to_one_copy_leaves_the_next():
    load_published("fig2a").auc[:] = 0
    assert load_published("fig2a").auc.max() > .8
