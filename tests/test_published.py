"""The paper's figures and tables as data: all there, as they were digitised or printed, drawn like ours, compared with ours."""
import hashlib
import json

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from conftest import ROOT
from hypothesis import given
from hypothesis import strategies as st

from probe_nb.charts import heatmap
from probe_nb.published import cell_bounds, load_published, published, published_names, reproduce

REFERENCE = ROOT.parent / "shared" / "reference"
there = pytest.mark.skipif(not REFERENCE.is_dir(), reason="the reference numbers are not on this machine")

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
    all_of_it = published()
    maps = all_of_it[all_of_it.kind == "map"]
    assert maps.name.tolist() == list(PEAKS) and maps.highest.round(2).tolist() == [p[2] for p in PEAKS.values()]
    assert all_of_it.name.tolist() == published_names()
    assert all_of_it.kind.value_counts().to_dict() == dict(map=9, transfer=8, table=6)
    assert all_of_it.at_chance.isna().sum() == 14 and all_of_it.name.is_unique


@pytest.mark.parametrize("bad", ["fig1", "", "2a", None, ["fig2a"], "../fig2a", "fig2a.csv"])
def test_unknown_name_is_answered_with_those_that_are(bad):
    with pytest.raises(ValueError, match="fig2a, fig2b, fig2c, fig6a") as e: load_published(bad)
    assert "\n" not in str(e.value)


def test_a_change_to_one_copy_leaves_the_next():
    load_published("fig2a").auc[:] = 0
    assert load_published("fig2a").auc.max() > .8


# Tables and matrices

def test_tables():
    "Each table's shape, keys and a few numbers that the paper's text repeats."
    for name, model in dict(table4="Mistral-7b", table5="Mistral-7b-Instruct-v0.2", table6="Llama-3-8b",
                            table7="Llama-3-8b-Instruct").items():
        t = load_published(name)
        assert len(t) == 190 and not t.duplicated(["dataset", "method"]).any() and t.notna().all().all()
        assert t.auc.between(0, 1).all() and (t["std"] >= 0).all() and set(t.model) == {model} == {t.attrs["model"]}
        assert (t.groupby("dataset").size() == 19).all() and t.dataset.nunique() == 10
        assert t.attrs["table"] == f"Table {name[5:]}" and t.attrs["arxiv"] == "2410.02707" and t.attrs["rounding"] == .005
    at = load_published("table5").set_index(["dataset", "method"]).auc
    assert at["HotpotQA-WC", "Exact answer last"] == .75 and at["TriviaQA", "Exact answer last"] == .85
    for name, n, models in (("table13", 144, {"Mistral-7b", "Llama-3-8b"}),
                            ("table14", 148, {"Mistral-7b-Instruct-v0.2", "Llama-3-8b-Instruct"})):
        t = load_published(name)
        keys = ["model", "dataset", "error_type", "strategy"]
        assert len(t) == n and set(t.model) == models and not t.duplicated(keys).any() and t.accuracy.between(0, 1).all()
    mistral = t.query("model == 'Mistral-7b-Instruct-v0.2' and error_type == 'All'")
    all14 = mistral.set_index(["dataset", "strategy"]).accuracy
    pairs = [(d, s) for d in ("TriviaQA", "Math", "Winobias") for s in ("greedy", "probing")]
    assert [all14[p] for p in pairs] == [.63, .71, .55, .70, .77, .79]


def test_matrices():
    "The raw ones are folded at 0.5; the diagonal is the table's number at the exact answer."
    for fig, table in dict(fig3="table5", fig7="table4", fig8="table6", fig9="table7").items():
        raw, less = load_published(fig + "a"), load_published(fig + "b")
        assert raw.auc.dims == ("train", "test") and raw.auc.shape == less.gain.shape == (10, 10) and raw.auc.min() >= .5
        assert raw.attrs["model"] == less.attrs["model"] == load_published(table).attrs["model"]
        assert (raw.auc - less.gain).max() < 1 and less.gain.min() < 0
    own = load_published("fig3a").auc
    table = load_published("table5").query("method == 'Exact answer last'").set_index("dataset").auc
    assert all(abs(float(own.sel(train=d, test=d)) - table[d.replace("_", "-")]) < .011 for d in own.train.values)
    off = own.values[~np.eye(10, dtype=bool)]
    assert off.min() == .5 and round(off.mean(), 3) == .629
    gain = load_published("fig3b").gain.values[~np.eye(10, dtype=bool)]
    assert (gain > 0).sum() == 22 and round(gain.mean(), 3) == -.072


def test_none_of_it_changes_by_accident():
    "Everything but the heatmaps together."
    names = [n for n in published_names() if n not in PEAKS]
    told = "".join(n + (it if isinstance(it := load_published(n), pd.DataFrame) else
                        it[next(iter(it))].to_pandas()).to_csv() for n in names)
    assert hashlib.sha256(told.encode()).hexdigest()[:16] == "339df08fb7ff2058"


@there
def test_equal_to_the_reference():
    "Number by number, where the reference is."
    for name in PEAKS:
        theirs = pd.read_csv(next((REFERENCE / "heatmaps").glob(f"{name}_*.csv")), index_col="layer")
        ours = load_published(name).auc.to_pandas()
        assert ours.columns.tolist() == theirs.columns.tolist() and (ours.to_numpy() == theirs.to_numpy()).all()
    four, more = ("table4", "table5", "table6", "table7"), ["error_type", "strategy"]
    for file, names, keys in (("tables4-7_error_detection_auc", four, ["model", "dataset", "method"]),
                              ("tables13-14_answer_selection", ("table13", "table14"), ["model", "dataset", *more])):
        theirs = pd.read_csv(REFERENCE / "tables" / f"{file}.csv").sort_values(keys, ignore_index=True)
        ours = pd.concat(map(load_published, names)).sort_values(keys, ignore_index=True)
        pd.testing.assert_frame_equal(ours[theirs.columns], theirs, check_exact=True, check_dtype=False)
    given = json.loads((REFERENCE / "generalisation.json").read_text())
    for name, rows in given["matrices"].items():
        m = load_published(name.partition("_")[0])
        assert m.train.values.tolist() == given["rows_train"] and m.test.values.tolist() == given["cols_test"]
        assert m[next(iter(m))].values.tolist() == rows


# What is known of a cell

def small(auc, **more):
    auc = np.asarray(auc, float)
    layers, positions = range(len(auc)), [f"p{i}" for i in range(auc.shape[1])]
    more = {k: (("layer", "position"), np.asarray(v)) for k, v in more.items()}
    return xr.Dataset({"auc": (("layer", "position"), auc)} | more, dict(layer=list(layers), position=positions))


def test_bounds():
    m = small([[.6, .7]], auc_low=[[.5, np.nan]], auc_high=[[.8, np.nan]], norm=[[3., np.nan]], norm_low=[[2., np.nan]],
              norm_high=[[4., np.nan]], count=[[1, 2]])
    b = cell_bounds(m)
    assert (b.low.values == [[.5, -np.inf]]).all() and (b.high.values == [[.8, np.inf]]).all() and b.attrs["name"] == "AUC"
    b = cell_bounds(m, "norm")
    assert b.low.values[0, 0] == 2 and np.isnan(b.high.values[0, 1]) and b.attrs["within"] == "interval"
    assert cell_bounds(m.assign_attrs(ci=.9)).attrs["within"] == "90 % interval"  # only what the map says
    b = cell_bounds(m, "count")
    assert (b.low == b.high).all() and b.attrs["within"] == ""
    assert cell_bounds(small([[np.inf, .6]])).value.isnull().sum() == 1
    for bad, words in ((m.drop_vars("auc"), "no 'auc'"), (small(np.zeros((0, 2))), "empty"), ({}, "not a dict"),
                       (m.assign_coords(position=["p0", "p0"]), "twice")):
        with pytest.raises((ValueError, TypeError), match=words): cell_bounds(bad, "auc")


def test_a_clipped_cell_is_known_from_above_only():
    m = load_published("fig6b")
    b = cell_bounds(m)
    at = m.auc.values <= .5
    assert at.sum() > 100 and (b.low.values[at] == 0).all() and (b.high.values[at] == .5).all()
    assert np.allclose((b.high - b.low).values[~at], .004)


# Ours beside theirs

@given(st.integers(0, 10**6), st.floats(.01, .1))
def test_a_cell_agrees_iff_the_difference_is_within_both(seed, half):
    "By a reader of its own, cell by cell, with the textbook's standard error of an AUC on 200 rows, 80 of them wrong."
    rng, theirs = np.random.default_rng(seed), load_published("fig6b")
    auc = (theirs.auc + rng.normal(0, .1, theirs.auc.shape)).clip(.05, .95)
    n = xr.full_like(auc, 500, int)
    ours = xr.Dataset(dict(auc=auc, auc_low=auc - half, auc_high=auc + half, n=n, n_wrong=n * 0 + 200))
    d = reproduce(ours, "fig6b")
    for l, p in rng.integers(0, (32, 15), (40, 2)):
        a, t = float(auc[l, p]), float(theirs.auc[l, p])
        q1, q2 = t / (2 - t), 2 * t * t / (1 + t)
        se = np.sqrt((t * (1 - t) + 119 * (q1 - t * t) + 79 * (q2 - t * t)) / (80 * 120))
        near = abs(a - t) <= np.hypot(half, 1.959964 * se) + .002
        cell = d.isel(layer=l, position=p)
        assert bool(cell.agrees) == (near or t <= .5 and a <= .5)
        assert np.isnan(cell["diff"]) if t <= .5 and a <= t else np.isclose(cell["diff"], a - t)
    share = round(100 * float(d.agrees.mean()))
    assert f"{share} % agree" in d.summary and "200 assumed" in d.notes


def test_itself_is_reproduced_and_another_figure_is_not():
    m = load_published("fig6e")
    assert reproduce(m, "fig6e").agrees.all() and reproduce(m, m).agrees.all()
    assert reproduce(m, "fig6b").agrees.mean() < .5 and reproduce(m.isel(position=[3, 0]), "fig6e").position.values.tolist() == [
        "exact_answer_before_first", "last_q"]


def test_layers_by_depth_and_missing_cells():
    auc = np.full((8, 3), .7)
    auc[2] = np.nan
    ours = small(auc).assign_coords(position=["last_q", "-1", "own"]).assign_attrs(model="org/Mistral-7B-Instruct-v0.2")
    d = reproduce(ours, "fig2a")
    assert d.their_layer.values.tolist() == [0, 4, 9, 13, 18, 22, 27, 31] and d.sizes["position"] == 2
    assert d.theirs.sel(layer=7, position="-1") == load_published("fig2a").auc.sel(layer=31, position="-1")
    assert np.isnan(d.agrees.values[2]).all() and "14 cells" in d.summary and "relative depth, 8 blocks to 32" in d.notes
    assert "1 of our positions" in d.notes and "another model" not in d.notes
    part = reproduce(ours.isel(layer=[0, 7]), "fig2a", blocks=32)
    assert part.their_layer.values.tolist() == [0, 7] and "by number" in part.notes
    assert "another model (demo" in reproduce(ours.assign_attrs(model="demo"), "fig2a").notes
    gone = reproduce(ours.assign(auc=ours.auc * np.nan), "fig2a")
    assert "every cell of ours" in gone.summary
    with pytest.raises(ValueError, match="no position is in both maps: ours has p0"): reproduce(small(auc), "fig2a")
    with pytest.raises(ValueError, match="no heatmap"): reproduce(ours, "table4")
    with pytest.raises(ValueError, match="blocks=4"): reproduce(ours, "fig2a", blocks=4)


def test_what_a_comparison_is_called_and_what_it_rests_on():
    ours = small([[.4, .8]] * 32).assign_coords(position=["last_q", "exact_answer_first"])
    d = reproduce(ours, "fig6b")
    assert d.attrs["title"] == "ours and Figure 6b" and d.auc.attrs["long_name"] == "AUC, ours"
    assert d["diff"].attrs["long_name"] == "AUC, ours less Figure 6b" and "half of them wrong" in d.notes
    both = (d.auc <= .5) & (load_published("fig6b").auc.sel(position=d.position) <= .5)
    assert both.any() and ((d.reason != "") == both).all() and "at most 0.5" in d.reason.values[both][0]
    n = xr.full_like(ours.auc, 100, int)
    assert "our share of wrong answers" in reproduce(ours.assign(n=n, n_wrong=n // 2), "fig6b").notes
