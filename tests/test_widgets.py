"""The explorer without a browser: its traits, its clicks as the browser would send them, its work beside the notebook."""
import threading
import time
from pathlib import Path

import altair as alt
import numpy as np
import pandas as pd
import pytest
import traitlets
import xarray as xr
from ipywidgets import HTML

from probe_nb.live import Lane, LiveChart, Stopped, card, clickable, meaning, sentence
from probe_nb.maps import probe_map
from probe_nb.scoring import Scoring
from probe_nb.widgets import Explorer

HOSTILE = "<img src=x onerror=alert(1)>"
TOKENS = ["last_q", "exact_answer_last", HOSTILE, "-1"]


def planted():
    "60 answers, 4 layers, 4 positions; a signal at exact_answer_last from layer 2 on; the last position is missing for most."
    rng, correct = np.random.default_rng(0), np.arange(60) % 3 > 0
    X = rng.normal(size=(60, 4, 4, 5)).astype(np.float32)
    X[:, 1, 2:, 0] += 3 * correct[:, None]
    X[8:, 3] = np.nan
    ans = pd.DataFrame(dict(example=range(60), id=[str(i) for i in range(60)], correct=pd.array(correct, "boolean")))
    coords = dict(example=range(60), position=np.array(TOKENS, object), layer=range(4))
    dims = ("example", "position", "layer", "feature")
    return xr.DataArray(X, dims=dims, coords=coords, attrs=dict(site="mlp_in", model=HOSTILE)), ans


ACTS, ANS = planted()
PMAP = probe_map(ACTS, ANS, progress=False)


class FakeStudy:
    "What the explorer asks of a study; `wait` is a gate in the middle of the work"
    def __init__(self, lm="demo", questions="demo", site="mlp_in", wait=None, fail=None, pmap=PMAP):
        self.lm_name, self.questions_name, self.site, self.path = lm, questions, site, Path("no_such_folder") / lm
        self.gate, self.fail, self.pmap, self.made = wait, fail, pmap, []

    def map(self, site=None, progress=None, **asked):
        self.asked = asked
        for _ in progress(range(3), desc="answering"):
            if self.gate: self.gate.wait(10)
        if self.fail: raise self.fail
        return self.pmap

    def last_map(self): return None
    def acts(self, progress=None): return ACTS
    def answers(self, progress=None): return ANS

    def variant(self, **other):
        if "gone" in other.values(): raise FileNotFoundError(f"no model 'gone' {HOSTILE}:\n give a folder or a hub id")
        self.made.append(other)
        return FakeStudy(**(dict(lm=self.lm_name, questions=self.questions_name, site=self.site) | other))


@pytest.fixture(autouse=True)
def nothing_ahead(request, monkeypatch):
    "Only the picked cell is scored, so that tests are quick; one test is about the others."
    if "ahead" not in request.node.name: monkeypatch.setattr(Scoring, "small", 0)


@pytest.fixture
def explorer(): return Explorer(FakeStudy()).wait(30)


def click(explorer, layer, position):
    "What the browser sends."
    shown = explorer.shown()
    number = shown.indexes["layer"].get_loc(layer) * shown.sizes["position"] + shown.indexes["position"].get_loc(position)
    value = {"cell": [number], "vlPoint": {"or": [{"cell": number}]}}
    explorer._map.chart._vl_selections = {"click": {"value": value, "store": [{"values": [number]}]}}
    return explorer.wait(30)


def outlined(explorer): return explorer._map.chart._params["picked"]


# First sight

def test_first_sight_is_the_best_cell(explorer):
    assert explorer.cell == (PMAP.best_layer, PMAP.best_position) and explorer.cell[1] == "exact_answer_last"
    assert outlined(explorer) == explorer.cell[0] * 4 + 1 == explorer._map.chart.chart.to_dict()["params"][-1]["value"]
    assert f"{PMAP.auc.sel(layer=explorer.cell[0], position=explorer.cell[1]).item():.3f}" in explorer._told.card.value
    assert explorer._map.words.layout.display == "none" and not explorer.busy and explorer.error == ""
    assert "60 judged answers" in explorer.status and f"{PMAP.best_auc:.3f}" in explorer.status
    assert "ROC" in explorer._told.detail.chart.to_dict()["title"]["text"]
    assert explorer._told.detail.layout.visibility == "visible"


def test_without_a_map_there_are_words_until_it_comes():
    gate = threading.Event()
    explorer = Explorer(FakeStudy(wait=gate))
    assert explorer.busy and "being made" in explorer._map.words.value and explorer._map.words.layout.display != "none"
    assert explorer._stop.disabled is False and explorer._run.disabled is True
    assert "<img" not in explorer.still() and explorer._aside[0].layout.display == "none"
    with pytest.raises(ValueError, match="no map yet"): explorer.snapshot()
    gate.set()
    explorer.wait(30)
    assert explorer.pmap is not None and explorer._map.words.layout.display == "none" and not explorer.busy
    assert explorer._aside[0].layout.display == ""


def test_first_failure_leaves_words_and_a_way_on():
    explorer = Explorer(FakeStudy(fail=ValueError(f"no {HOSTILE} here"))).wait(30)
    assert explorer.error == f"no {HOSTILE} here"
    assert explorer._lines["error"].value == "no &lt;img src=x onerror=alert(1)&gt; here"
    assert "no map yet" in explorer._map.words.value and not explorer.busy and not explorer._run.disabled
    explorer.home.fail = None
    explorer._run.click()
    assert explorer.wait(30).error == "" and explorer.pmap is not None


# Clicks and steps

def test_click_shows_that_cell(explorer):
    for cell in ((3, "last_q"), (0, HOSTILE), (3, "last_q")):
        click(explorer, *cell)
        layer, position = cell
        assert explorer.cell == cell and f"Layer {layer} ·" in explorer._told.card.value
        assert f"{PMAP.auc.sel(layer=layer, position=position).item():.3f}" in explorer._told.card.value
        assert outlined(explorer) == layer * 4 + TOKENS.index(position)
        assert (explorer._told.pick["layer"].value, explorer._told.pick["position"].value) == cell
        assert explorer.error == ""


def test_scores_behind_a_cell_are_the_maps(explorer):
    from sklearn.metrics import roc_auc_score
    scores = explorer._scoring.scores(explorer.cell)
    within = [roc_auc_score(s.correct.astype(bool), s.score) for _, s in scores.groupby("fold")]
    assert len(scores) == 60 and abs(np.mean(within) - PMAP.auc.sel(layer=explorer.cell[0], position=explorer.cell[1])) < .05


def test_same_cell_can_be_clicked_after_a_step(explorer):
    click(explorer, 1, "last_q")
    explorer.cell = (2, "last_q")
    assert outlined(explorer) == 8
    click(explorer, 1, "last_q")
    assert explorer.cell == (1, "last_q") and outlined(explorer) == 4


def test_outline_an_old_drawing_reports_is_put_right(explorer):
    explorer.cell = (0, "last_q")
    explorer._map.chart._params = {"picked": 7}  # what the browser sends when it has just drawn an older chart
    assert outlined(explorer) == 0 and explorer.cell == (0, "last_q")


def test_steppers_do_what_clicks_do(explorer):
    explorer.cell = (1, "last_q")
    explorer._told.pick["layer"].value = 3
    assert explorer.cell == (3, "last_q") and outlined(explorer) == 12
    explorer._told.pick["position"].value = "exact_answer_last"
    assert explorer.cell == (3, "exact_answer_last") and outlined(explorer) == 13
    buttons = [b for row in explorer.view.children[1].children[2].children[:2] for b in row.children if hasattr(b, "click")]
    on = {b.tooltip: b for b in buttons}
    on["next layer"].click()
    assert explorer.cell[0] == 3, "there is no layer after the last"
    on["previous layer"].click()
    on["next position"].click()
    assert explorer.cell == (2, HOSTILE)
    on["pick the best cell that is shown"].click()
    assert explorer.cell == (PMAP.best_layer, PMAP.best_position)


def test_missing_cell_says_why_and_shows_no_other_cells_curve(explorer):
    click(explorer, 2, "-1")
    assert "8 answers" in explorer._told.card.value and explorer.error == ""
    assert explorer._told.detail.layout.visibility == "hidden"
    assert "No scores" in explorer._told.note.value and "this cell has no scores" in explorer.answers._said.value
    click(explorer, 2, "last_q")
    assert explorer._told.detail.layout.visibility == "visible"


def test_pictures_of_a_cell(explorer):
    explorer._told.tabs.value = "scores"
    assert explorer._told.detail.chart.to_dict()["layer"][0]["mark"]["type"] == "bar"
    explorer.tab = "layers"
    assert explorer._told.detail.chart.data["at"].tolist() == [0, 1, 2, 3] and explorer._told.tabs.value == "layers"


# Choices

def test_choices_change_what_is_drawn_and_compute_nothing(explorer):
    explorer._range.value = (1, 2)
    explorer._each[0].value = False
    drawn = explorer._map.chart.chart.data
    assert drawn.layer.unique().tolist() == [1, 2] and drawn.position.unique().tolist() == TOKENS[1:]
    assert explorer.layers == (1, 2) and explorer.positions == TOKENS[1:] and explorer.home.made == []
    click(explorer, 2, "exact_answer_last")
    assert explorer.cell == (2, "exact_answer_last"), "cells are counted in the drawn map"
    explorer._toggles.children[-1].click()
    assert explorer.positions == TOKENS and all(chip.value for chip in explorer._each)


def test_picked_cell_that_is_switched_off_gives_way_to_the_best_shown(explorer):
    explorer.positions = ["last_q", "-1"]
    best = PMAP.auc.sel(position="last_q").idxmax("layer").item()
    assert explorer.cell == (best, "last_q") and type(explorer.cell[0]) is int
    explorer.positions = ["-1"]
    assert explorer.cell == (0, "-1") and explorer.error == "", "all missing: the first"


def test_nothing_switched_on_is_said(explorer):
    explorer.positions = []
    assert "Nothing is switched on" in explorer._map.words.value and explorer._map.chart.layout.display == "none"
    assert "<img" not in explorer.still()
    explorer.positions = TOKENS[:1]
    assert explorer._map.words.layout.display == "none" and explorer._map.chart.layout.display == ""


def test_metric(explorer):
    explorer.metric = "n_wrong"
    assert explorer._map.chart.chart.to_dict()["layer"][0]["encoding"]["color"]["title"] == "wrong answers"
    with pytest.raises(traitlets.TraitError): explorer.metric = "beauty"
    assert explorer.metric == "n_wrong"


def test_state_comes_back(explorer):
    explorer.metric, explorer.layers, explorer.positions, explorer.tab = "auc_low", (1, 3), TOKENS[:2], "layers"
    explorer.cell = (3, "last_q")
    again = Explorer(FakeStudy(), **explorer.wait(30).state()).wait(30)
    assert again.state() == explorer.state() and outlined(again) == outlined(explorer) == 4
    assert explorer.state()["folder"] == "no_such_folder/demo"
    other = Explorer(FakeStudy(), **(explorer.state() | dict(site="resid"))).wait(30)
    assert other.home.made == [dict(site="resid")] and other.study.site == "resid"
    with pytest.raises(TypeError, match="knows no colour"): Explorer(FakeStudy(), colour="red")


def test_filters_of_the_answers_come_back_whatever_is_drawn():
    told = ANS.assign(outcome=np.where(ANS["correct"], "correct", "wrong"), dataset=np.where(ANS["example"] < 30, "a", "b"))
    def opened(**state):
        study = FakeStudy()
        study.answers = lambda progress=None: told
        return Explorer(study, **state).wait(30)
    for positions in (TOKENS, []):
        again = opened(**opened(outcome="wrong", dataset="b", search="", positions=positions).state())
        assert (again.outcome, again.dataset, again.positions, again.error) == ("wrong", "b", positions, "")
        assert again.answers.found["example"].tolist() and set(again.answers.found["outcome"]) == {"wrong"}


def test_what_cannot_be_is_refused_in_a_sentence(explorer):
    before = explorer.state()
    for name, value, told in (("cell", (9, "last_q"), r"cell cannot be \(9, 'last_q'\): layers shown are 0, 1, 2, 3"),
                              ("cell", (1, "first"), "positions shown are last_q, exact_answer_last"),
                              ("layers", (2, 7), "give the first and the last one, from 0 to 3"), ("layers", (3, 1), "0 to 3"),
                              ("positions", ["x", "-1"], r"positions cannot be .*: the map has last_q"),
                              ("example", 99, "answers are 0 to 59, and -1 is none"), ("example", -5, "-1 is none")):
        with pytest.raises(traitlets.TraitError, match=told): setattr(explorer, name, value)
    assert explorer.state() == before and explorer.error == "" and outlined(explorer) == explorer._map.number()
    explorer.layers = (2, 3)
    with pytest.raises(traitlets.TraitError, match="layers shown are 2, 3"): explorer.cell = (1, "last_q")


def test_state_that_does_not_fit_is_said_and_the_rest_is_kept():
    explorer = Explorer(FakeStudy(), positions=["mine"], layers=(1, 2), cell=(7, "last_q"), search="x").wait(30)
    assert explorer.positions == TOKENS and explorer.layers == (1, 2) and explorer.search == "x"
    assert "cannot be" in explorer.error and explorer.cell[0] in (1, 2) and not explorer._quiet


# Other maps

def test_run_makes_the_variant_that_is_asked_for_from_the_first_study(explorer):
    explorer.model = " my/model "
    assert explorer.home.made == [], "typing computes nothing"
    explorer._run.click()
    assert explorer.wait(30).study.lm_name == "my/model" and explorer.home.made == [dict(lm="my/model")]
    explorer.questions = "more.csv"
    explorer.run()
    assert explorer.wait(30).home.made[1:] == [dict(lm="my/model", questions="more.csv")], "from the first study"
    explorer.model = explorer.questions = "demo"
    explorer.run()
    assert explorer.wait(30).study is explorer.home, "back to the folder it came from, not to a copy"


def test_failed_run_loses_nothing(explorer):
    before = explorer.pmap, explorer.cell, explorer._map.chart.chart, explorer.status
    explorer.model = "gone"
    explorer.run()
    explorer.wait(30)
    assert explorer.error == f"no model 'gone' {HOSTILE}: give a folder or a hub id", "one line"
    assert "<img" not in explorer._lines["error"].value and explorer._lines["error"].layout.display == ""
    assert (explorer.pmap, explorer.cell, explorer._map.chart.chart, explorer.status) == before and explorer.model == "gone"
    explorer.model = "demo"
    explorer.run()
    assert explorer.wait(30).error == "" and explorer._lines["error"].layout.display == "none"


def test_new_map_with_other_layers_and_positions(explorer):
    explorer.home.pmap = PMAP.isel(layer=slice(0, 2), position=slice(0, 3)).assign_attrs(best_layer=1, best_position="last_q")
    explorer.run()
    explorer.wait(30)
    assert explorer.layers == (0, 1) and explorer.positions == TOKENS[:3] and len(explorer._each) == 3
    assert explorer.cell == (1, "last_q") and (explorer._range.min, explorer._range.max) == (0, 1)


def test_map_without_a_scored_cell():
    nothing = PMAP.assign(auc=PMAP.auc * np.nan).drop_attrs().assign_attrs(seed=0)
    explorer = Explorer(FakeStudy(pmap=nothing)).wait(30)
    assert explorer.cell == (0, "last_q") and "no cell could be scored" in explorer.status and explorer.error == ""


def test_stop_ends_work_and_keeps_the_map(explorer):
    gate, old = threading.Event(), explorer.pmap
    explorer.home.gate = gate
    explorer.run()
    assert explorer.busy and not explorer._stop.disabled
    explorer._stop.click()
    assert not explorer.busy and explorer._run.disabled is False and "Stopped" in explorer.status, "in mid-batch"
    gate.set()
    explorer.wait(30)
    assert explorer.pmap is old and "Run goes on" in explorer.status and not explorer.busy and explorer.error == ""


def test_progress_is_shown():
    gate = threading.Event()
    explorer = Explorer(FakeStudy(wait=gate))
    for _ in range(50):
        if explorer.status.startswith("answering"): break
        time.sleep(.05)
    assert explorer.status == "answering 0 of 3" and explorer._bar.layout.display == ""
    gate.set()
    explorer.wait(30)


# Hostile texts, and what a saved notebook keeps

def test_everything_that_is_html_is_escaped(explorer):
    click(explorer, 2, HOSTILE)
    explorer.error = HOSTILE
    explorer.status = HOSTILE
    def texts(widget): return [widget] * isinstance(widget, HTML) + [t for c in getattr(widget, "children", ()) for t in texts(c)]
    assert len(texts(explorer.view)) == 7 and not [t.value for t in texts(explorer.view) if "<img" in t.value]
    assert "&lt;img" in explorer._told.card.value


def test_saved_notebook_keeps_a_picture(explorer, capsys):
    from IPython.core.interactiveshell import InteractiveShell
    from IPython.utils.capture import capture_output
    InteractiveShell.instance()
    with capture_output() as shown: explorer._ipython_display_()
    InteractiveShell.clear_instance()
    still, alive = (o.data for o in shown.outputs)
    assert "data:image/png;base64,iVBOR" in still["text/html"] and len(still["text/html"]) < 100_000
    assert "95 % interval" in still["text/html"] and still["text/plain"].startswith("Explorer('demo', layer ")
    assert alive["application/vnd.jupyter.widget-view+json"]["model_id"].startswith("probe-nb-explorer-")
    assert explorer.snapshot().to_dict()["layer"]


# What is behind a cell

def test_stored_answers_are_not_called_sorted_before_there_are_scores(explorer):
    assert explorer.answers.still().startswith("<p>most confidently wrong, ")
    explorer.answers.put(ANS)
    assert explorer.answers.still().startswith("<p>as answered, the first 5 of 60 · their scores are being made")


def test_cells_around_the_picked_one_are_scored_ahead(explorer):
    assert len(explorer._scoring.of) == int(PMAP.auc.notnull().sum()), "a later click finds its scores"
    assert explorer._scoring.scores((0, "-1")) is None


def test_best_baseline_stands_beside_the_probe():
    rng = np.random.default_rng(1)
    said = ANS.assign(answer="a", token_logprobs=[[v] for v in rng.normal(size=60) + 3 * ANS.correct.astype(int)])
    study = FakeStudy()
    study.answers = lambda progress=None: said
    explorer = Explorer(study).wait(30)
    explorer.wait(30)
    assert "best baseline" in explorer._told.card.value and "best\u00a0of" in explorer._told.card.value
    assert "probe beyond it" in explorer._told.card.value and explorer.error == ""


def test_without_probabilities_the_card_says_so(explorer):
    assert "token_logprobs" in explorer._told.card.value and explorer.error == ""


def test_answers_are_lined_up_by_the_picked_cell(explorer):
    scores = explorer._scoring.scores(explorer.cell)
    wrong = scores[~scores.correct.astype(bool)].sort_values("score", ascending=False).example.tolist()
    assert explorer.answers.found.example.tolist()[:len(wrong)] == wrong
    explorer.order = "doubted"
    right = scores[scores.correct.astype(bool)].sort_values("score").example.tolist()
    assert explorer.answers.found.example.tolist()[:len(right)] == right
    click(explorer, 0, "last_q")
    assert explorer.answers.found.example.tolist()[:len(right)] != right, "in the order of the new cell"


def test_list_draws_fifty_and_says_how_many(explorer):
    from probe_nb.answer_list import sift
    assert len(explorer.answers._table.rows) == 50 and "60 of 60 answers, the first 50 are drawn" in explorer.answers._said.value
    ans = pd.DataFrame(dict(example=[1, 2], question=["a(b", "c"], answer=[HOSTILE, "x"], gold=[["p", "q"], ["r"]]))
    assert sift(ans, "A(B").example.tolist() == [1] and sift(ans, "<img").example.tolist() == [1]
    assert sift(ans, "q").example.tolist() == [1] and sift(ans, outcome="wrong").empty


def test_arrows_walk_over_the_map(explorer):
    keys = explorer.view.children[0].children[0].children[-1]
    explorer.cell = (1, "last_q")
    for key in ("ArrowDown", "ArrowRight", "Tab"): keys._handle_custom_msg(dict(key=key, map=0), [])
    assert explorer.cell == (2, "exact_answer_last")
    for _ in range(9): keys._handle_custom_msg(dict(key="ArrowUp"), [])
    assert explorer.cell == (0, "exact_answer_last"), "at the edge it stays"


# Kinds of probes, and further variables

def test_run_asks_for_probe_protocol_and_variables(explorer):
    explorer.probe, explorer.metric = "mass mean", "brier"
    assert "no Brier score yet" in explorer.status and explorer.home.asked == {}
    explorer.run()
    explorer.wait(30)
    assert repr(explorer.home.asked["probe"]) == "MassMeanProbe()" and explorer.home.asked["more"] == ["brier"]
    explorer.probe, explorer.protocol, explorer.metric = "logistic", "paper", "auc"
    explorer.run()
    assert explorer.wait(30).home.asked == dict(protocol="paper", more=["brier"]), "what the map has is kept"


@pytest.fixture(scope="module")
def small(tmp_path_factory):
    "A real study, as small as can be scored."
    from probe_nb.study import Study
    study = Study(tmp_path_factory.mktemp("runs") / "small", n=120, layers=[2, 5], progress=False)
    study.map(folds=4, permutations=20, positions=["last_q", "exact_answer_last"])
    return study


def test_map_that_lies_in_the_folder_is_shown_as_it_was_made(small):
    explorer = Explorer(small).wait(60)
    assert explorer.error == "" and explorer.pmap.attrs["folds"] == 4 and explorer.positions == ["last_q", "exact_answer_last"]
    explorer.protocol = "paper"
    explorer.run()
    assert explorer.wait(60).pmap.attrs["protocol"] == "paper" and explorer.error == ""
    assert explorer.positions == ["last_q", "exact_answer_last"], "what the controls cannot say is kept"
    mine = small.map(folds=4, permutations=20, positions=["last_q", "exact_answer_last"], progress=lambda *a, **k: 1 / 0)
    assert mine.attrs["permutations"] == 20, "it is still there, and nothing is made again"
    again = Explorer(**explorer.state()).wait(60)
    assert again.error == "" and again.pmap.attrs["protocol"] == "paper" and again.state() == explorer.state()


def test_map_of_a_probe_that_cannot_be_made_here_is_shown_and_said(small):
    from probe_nb.kinds import RidgeProbe
    small.map(probe=RidgeProbe(alpha=7.), positions=["last_q"], permutations=0)
    explorer = Explorer(small).wait(60)
    assert explorer.pmap.attrs["probe"] == "RidgeProbe(alpha=7.0)" and explorer.positions == ["last_q"]
    assert "this map's probe is RidgeProbe(alpha=7.0)" in explorer.error
    explorer.run()
    assert explorer.wait(60).error == "" and "probe" not in explorer.pmap.attrs


def test_model_in_a_folder(small, tmp_path):
    import shutil

    from probe_nb.loading import DEMO
    shutil.copytree(DEMO, tmp_path / "mine")
    explorer = Explorer(small).wait(60)
    explorer.model = str(tmp_path / "mine")
    explorer.run()
    explorer.wait(120)
    assert explorer.error == "" and explorer.study.lm_name == str(tmp_path / "mine") != explorer.home.lm_name
    assert explorer.study.path != small.path and explorer.pmap.attrs["model"] == str(tmp_path / "mine")


def test_model_that_the_hub_cannot_give_is_one_sentence(small, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    monkeypatch.setattr("huggingface_hub.model_info", lambda *a, **k: (_ for _ in ()).throw(OSError("no network")))
    explorer = Explorer(small).wait(60)
    before = explorer.pmap
    explorer.model = "nobody/nothing"
    explorer.run()
    assert explorer.wait(60).error.startswith("no model 'nobody/nothing'") and explorer.error.count("\n") == 0
    assert explorer.pmap is before and explorer.study.path == small.path


def test_made_again_map_keeps_the_cell_and_says_what_changed(explorer):
    explorer.cell = (1, "last_q")
    explorer.home.pmap = PMAP.assign(auc=PMAP.auc + .01)
    explorer._again()
    assert explorer.wait(30).cell == (1, "last_q") and "before" in explorer.status and "now" in explorer.status


def test_click_does_not_wait_for_the_comparison(explorer, monkeypatch):
    import probe_nb.scoring as scoring
    gate, real = threading.Event(), scoring.best_baseline
    monkeypatch.setattr(scoring, "best_baseline", lambda *a: gate.wait(10) and real(*a))
    explorer._scoring.others = pd.DataFrame(dict(example=range(60), method="length", score=np.arange(60.)))
    explorer.cell = (1, "last_q")
    explorer._scoring.lane.wait(10)
    explorer._draw_detail()
    drawn = explorer._told.detail.chart
    assert "being compared" in explorer._told.card.value and "Layer 1" in explorer._told.card.value
    gate.set()
    assert "probe beyond it" in explorer.wait(30)._told.card.value and explorer._told.detail.chart is drawn, "only words are new"


def test_beside():
    from probe_nb.beside import Beside
    other = FakeStudy(site="resid", pmap=PMAP.isel(layer=slice(0, 3), position=slice(0, 2)))
    two = Beside(FakeStudy(), other).wait(30)
    assert two.error == "" and two.maps[0].sizes["layer"] == 3, "the layers that both have"
    for pane in two._panes:
        pane.chart.picked = 3
        assert two.cell == (1, "exact_answer_last") and all(p.chart.picked == 3 for p in two._panes)
        pane.walk(-1, 0)
    assert "+0.000" in two._cards[2].value and two.snapshot().to_dict()["concat"]
    apart = FakeStudy(pmap=PMAP.assign_coords(position=["a", "b", "c", "d"]))
    assert "no position in common" in Beside(FakeStudy(), apart).wait(30).error


# The parts

def test_nothing_of_the_users_is_changed(explorer):
    assert not alt.JupyterChart._is_offline and "esm.sh" in alt.JupyterChart._esm
    assert LiveChart._is_offline and "https://esm.sh" not in LiveChart._esm
    assert LiveChart._esm.count("const latest=") == LiveChart._esm.count("const __default=") == 1, "old drawings are let go"


def test_names_within_a_drawing_are_its_own():
    from probe_nb.live import LiveChart
    LiveChart.enable_offline()
    for name in ("gradient_", "clip"): assert f'"{name}"+Math.random()' in LiveChart._esm, "Altair's script has changed"


def test_clickable_chart_is_selected_by_number():
    from probe_nb.charts import heatmap
    spec = clickable(heatmap(PMAP), 5).to_dict()
    click, picked = spec["params"]
    assert (click["name"], click["select"]["fields"], click["select"]["toggle"]) == ("click", ["cell"], False)
    assert picked == {"name": "picked", "value": 5}


def test_a_click_on_a_dot_or_a_number_is_one_on_its_cell():
    "What lies on a cell and has words for the pointer would catch it: Vega lets through only what has none."
    from test_charts import full

    from probe_nb.charts import heatmap
    picture = heatmap(full(), values=True)
    said = lambda chart: {layer["mark"]["type"] for layer in chart.to_dict()["layer"] if "tooltip" in layer.get("encoding", {})}
    assert said(picture) == {"rect", "point", "text"} and said(clickable(picture, 3)) == {"rect"}


def test_newer_work_stops_older_work_and_its_result_is_dropped():
    lane, gate, seen = Lane(lambda *_: None), threading.Event(), []
    def work(name):
        def run(progress):
            for _ in progress(range(3)): gate.wait(10)
            return name
        return run
    lane.start(work("old"), seen.append, seen.append, lambda stopped: seen.append(("old", stopped)))
    old = lane.thread
    lane.start(work("new"), seen.append, seen.append, lambda stopped: seen.append(("new", stopped)))
    gate.set()
    old.join(10), lane.thread.join(10)
    assert seen == ["new", ("new", False)]


def test_stop_passes_through_careful_code():
    def study(progress):
        try:
            for _ in progress(range(10)): time.sleep(.02)
        except Exception as e: raise ValueError("damaged") from e
    lane, seen = Lane(lambda *_: None), []
    lane.start(study, seen.append, seen.append, seen.append)
    lane.stop()
    lane.thread.join(10)
    assert seen == [True] and not issubclass(Stopped, Exception)


def test_words():
    assert meaning("-1") == "the last token of all" and meaning("-8") == "token 8 from the end"
    assert meaning("--8") == meaning("mine") == "a position of your own"
    assert "exact answer's first token" in meaning("exact_answer_first")
    assert sentence(KeyError("no layer")) == "no layer" and sentence(RuntimeError("x\n y")) == "RuntimeError: x y"
    assert sentence(ValueError()) == "ValueError: " and len(sentence(ValueError("x" * 999))) == 400


def test_card_of_a_published_map():
    from probe_nb.published import load_published
    told = card(load_published("fig2a"), 13, "exact_answer_first")
    assert "0.843" in told and "interval" not in told and "answers" not in told
