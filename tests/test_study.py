"A study runs what is missing, goes on where it was cut off, and refuses what does not belong to it."
import json
import shutil
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pandas as pd
import pytest
from worlds import tiny_model, tiny_tokenizer

import probe_nb.study as S
from probe_nb import patches
from probe_nb.activations import extract
from probe_nb.answers import answer
from probe_nb.judges import judge
from probe_nb.maps import probe_map
from probe_nb.models import load_lm
from probe_nb.positions import positions
from probe_nb.questions import load_questions
from probe_nb.report import best_cell
from probe_nb.spans import find_spans
from probe_nb.study import Study

KW = dict(progress=False)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    study = Study(tmp_path_factory.mktemp("runs")/"demo", lm="demo", questions="demo", n=160, **KW)
    study.map()
    return study


@pytest.fixture
def study(made, tmp_path):
    shutil.copytree(made.path, tmp_path/"demo")
    return Study(tmp_path/"demo", **KW)


def test_the_study_is_the_line(made):
    lm, qs = load_lm("demo"), load_questions("demo", n=160)
    ans = find_spans(lm, judge(answer(lm, qs, **KW)), **KW)
    pmap = probe_map(extract(lm, ans, positions(ans), **KW), ans, **KW)
    assert made.answers()["answer"].tolist() == ans["answer"].tolist()
    np.testing.assert_allclose(made.map()["auc"], pmap["auc"], atol=1e-3)


def test_what_is_there_is_read_and_the_model_is_not_loaded(study, monkeypatch):
    monkeypatch.setattr(S, "load_lm", lambda *a: pytest.fail("the model was loaded"))
    assert study.map()["auc"].shape == (study.acts().sizes["layer"], 15)
    assert study.answers()["answer_ids"].map(type).eq(list).all() and str(study.answers()["correct"].dtype) == "boolean"
    assert list(study.map())[:3] == ["auc", "auc_high", "auc_low"] and study.map()["reason"].dtype == object


def test_other_options_make_another_map(study):
    one = study.map(C=.1)
    assert one.attrs["C"] != study.map().attrs["C"] and one.attrs["options"] == study.map(C=.1).attrs["options"]


def test_a_second_site_stands_beside_the_first(study):
    a, b = study.map(), study.map("resid")
    assert b.attrs["site"] == "resid" and not np.allclose(a["auc"], b["auc"], equal_nan=True) and study.map().equals(a)


def test_maps_of_other_options_are_kept_beside_each_other(study, monkeypatch):
    few = dict(positions=["exact_answer_last"], permutations=0)
    made = [study.map(**few, **how) for how in (dict(C=.1), dict(protocol="paper"))]
    monkeypatch.setattr("probe_nb.study.probe_map", lambda *a, **k: pytest.fail("made again"))
    assert study.last_map().identical(made[1]) and study.map(**few, C=.1).identical(made[0])
    assert study.last_map().identical(made[0]) and study.last_map("attn_out") is None, "that which was asked for last"


@pytest.mark.parametrize("file", ["questions.parquet", "answers.parquet", "study.json", "map.zarr/mlp_in/auc/zarr.json"])
def test_a_damaged_file_is_named(study, file):
    (study.path/file).write_bytes(b"\x00 not what it was")
    with pytest.raises(ValueError, match="is damaged") as e:
        again = Study(study.path, **KW)
        again.questions(), again.answers(), again.map()
    assert file.split("/")[0] in str(e.value) and "\n" not in str(e.value)


def test_another_model_or_table_is_refused(study):
    with pytest.raises(ValueError, match="is a study of lm='demo', not 'gpt2'"): Study(study.path, lm="gpt2")
    with pytest.raises(ValueError, match="questions='demo', not 'q.csv'"): Study(study.path, questions="q.csv")
    assert Study(study.path, lm="demo", questions="demo", **KW).map().equals(study.map())


def test_what_a_study_is_stays(study):
    for what, other in dict(n=5, seed=7, n_samples=2, layers=[1]).items():
        with pytest.raises(ValueError, match=f"is a study of {what}="): Study(study.path, **{what: other})
    assert (again := Study(study.path, n=160, seed=0)).card == study.card and again.site == "mlp_in"
    (study.path/"study.json").write_text("{}")
    with pytest.raises(ValueError, match="is damaged .it lacks 'lm'"): Study(study.path)


def test_a_questions_file_that_changed(tmp_path):
    rows = pd.DataFrame(dict(id=[1, 2], question=["Who?", "Where?"], gold=["x", "y"]))
    rows.to_csv(tmp_path/"q.csv", index=False)
    Study(tmp_path/"a", lm="demo", questions=str(tmp_path/"q.csv"), **KW).answers()
    assert len(Study(tmp_path/"a", questions=str(tmp_path/"q.csv"), **KW).answers()) == 2
    rows.assign(question="What?").to_csv(tmp_path/"q.csv", index=False)
    with pytest.raises(ValueError, match="questions_hash"): Study(tmp_path/"a", questions=str(tmp_path/"q.csv"))


def test_layers_that_are_not_there_are_refused_before_anything(tmp_path):
    what = dict(lm="demo", questions="demo", n=20, **KW)
    with pytest.raises(ValueError, match="no layer 99"): Study(tmp_path/"a", layers=[99], **what).answers()
    assert Study(tmp_path/"a", layers=[1], **what).layers == [1]


def test_other_weights_under_the_same_name(study):
    card = json.loads((study.path/"study.json").read_text())
    (study.path/"study.json").write_text(json.dumps(card | dict(revision="0123456789ab")))
    with pytest.raises(ValueError, match="other weights of 'demo' .revision 0123456789ab"): Study(study.path)


def test_layers_are_remembered(tmp_path):
    Study(tmp_path/"a", lm="demo", questions="demo", n=150, layers=[2, 4], site="resid", **KW).map()
    again = Study(tmp_path/"a", **KW)
    assert again.map()["layer"].values.tolist() == [2, 4] and again.site == "resid" and again._lm is None


def test_answers_of_another_model_under_this_name(study):
    "The folder says demo, the weights are others: nothing is computed on tokens that mean something else."
    other = load_lm(tiny_model("llama", vocab_size=4000), tiny_tokenizer(chat=True))
    study._lm = type(other)(other.model, other.tokenizer, "demo", "another revision", other.sites)
    with pytest.raises(ValueError, match="another revision"): study.acts("resid")


def test_own_tables(tmp_path):
    own = pd.DataFrame(dict(id=[1, 2], question=["Who?", "Where?"], gold=["x", "y"]))
    study = Study(tmp_path/"own", lm="demo", questions=own, **KW)
    assert len(study.answers()) == 2
    assert Study(tmp_path/"own", questions=own, **KW).answers().equals(study.answers())
    with pytest.raises(ValueError, match="questions_hash"): Study(tmp_path/"own", questions=own.assign(gold="z"))
    assert len(Study(tmp_path/"own", **KW).answers()) == 2
    assert Study(tmp_path/"own", **KW).variant(lm="org/model").questions().equals(study.questions())
    with pytest.raises(ValueError, match="was made from a table in memory"):
        (tmp_path/"own"/"questions.parquet").unlink()
        Study(tmp_path/"own", **KW).questions()


def test_objects_as_models(tmp_path):
    lm = load_lm(tiny_model("llama"), tiny_tokenizer(chat=True))
    study = Study(tmp_path/"a", lm=lm, questions="demo", n=12, **KW)
    pmap = study.map()
    assert pmap.attrs["model"] == lm.name and set(np.unique(pmap["n_wrong"])) <= set(range(13))
    assert pmap["auc"].isnull().all() and (pmap["reason"] != "").all()  # nothing is right: missing, with the reason
    assert "No cell" in best_cell(pmap)
    assert study.report().exists()


def test_a_cut_off_run_goes_on(tmp_path):
    def killed(items, total, desc):
        for i, item in enumerate(items):
            if i == 1: raise KeyboardInterrupt
            yield item
    with pytest.raises(KeyboardInterrupt): Study(tmp_path/"a", lm="demo", questions="demo", n=300, progress=killed).answers()
    done = list((tmp_path/"a"/"answers.parts").glob("*.parquet"))
    left = []
    ans = Study(tmp_path/"a", progress=lambda items, total, desc: (left.append((desc, total)), items)[1]).answers()
    assert len(done) == 1 and left[0] == ("answering", 1) and not (tmp_path/"a"/"answers.parts").exists()
    whole = Study(tmp_path/"b", lm="demo", questions="demo", n=300, **KW).answers()
    assert ans["answer_ids"].tolist() == whole["answer_ids"].tolist() and ans["outcome"].tolist() == whole["outcome"].tolist()


def test_a_mark_wins_and_nothing_old_stays(tmp_path):
    study = Study(tmp_path/"a", lm="demo", questions="demo", n=80, **KW)
    old, ans = study.map(positions=["exact_answer_last"]), study.answers()
    first = ans[ans["outcome"] == "wrong"].iloc[0]
    study.mark(first["example"], correct=True)
    new = study.map(positions=["exact_answer_last"])
    assert new["n_wrong"].values.max() == old["n_wrong"].values.max() - 1
    study.mark(first["example"], span=None)
    again = Study(tmp_path/"a", **KW)
    row = again.answers().set_index("example").loc[first["example"]]
    assert pd.isna(row["span_start"]) and row["outcome"] == "correct" and row["judged_by"] == "hand"
    assert again.map(positions=["exact_answer_last"])["n"].values.max() == old["n"].values.max() - 1


def test_a_write_that_fails_leaves_the_old_file(study, monkeypatch):
    before = (study.path/"answers.parquet").read_bytes()
    def full(self, path, *a, **kw):
        path.write_bytes(b"half")
        raise OSError(28, "No space left on device")
    monkeypatch.setattr(pd.DataFrame, "to_parquet", full)
    with pytest.raises(OSError, match="could not be written .No space left"):
        S._save_table(study.answers(), study.path/"answers.parquet")
    assert (study.path/"answers.parquet").read_bytes() == before and not list(study.path.glob("*.partial"))


def test_variants_stand_side_by_side(study):
    elsewhere = study.variant(site="resid")
    assert study.variant().path == study.path and elsewhere.site == "resid" and elsewhere.path == study.path
    other = study.variant(lm="org/model")
    assert other.path.parent == study.path.parent and other.path != study.path
    assert other.lm_name == "org/model" and other.card["n"] == 160
    assert not other.path.exists()  # nothing is made before it is needed


def test_a_file_that_was_mended_has_a_folder_of_its_own(study, tmp_path):
    file, rows = tmp_path/"q.csv", pd.DataFrame(dict(id=["a"], question=["Where was Runa Calder born?"], gold=["Velden"]))
    rows.to_csv(file, index=False)
    first = study.variant(questions=str(file))
    first.questions()
    assert study.variant(questions=str(file)).path == first.path
    rows.assign(question="Where was Kaya Finch born?").to_csv(file, index=False)
    mended = study.variant(questions=str(file))
    assert mended.path != first.path and "Kaya" in mended.questions()["question"].iloc[0]
    shutil.rmtree(first.path), shutil.rmtree(mended.path)


def test_the_card_can_be_read_without_us(study):
    card = json.loads((study.path/"study.json").read_text())
    assert card["lm"] == "demo" and card["n"] == 160 and (study.path/"answers.parquet").exists()
    assert "runs" in str(study.path.parent) or study._repr_markdown_()


def test_the_report_is_alone_and_escapes(study):
    ans = study.answers()
    ans["answer"] = "<img src=x onerror=alert(1)> " + ans["answer"]
    S._save_table(ans, study.path/"answers.parquet")
    page = study.report().read_text()
    text = page.split("</style>")[1]
    assert "<img src=x" not in page and "&lt;img src=x" in page and "construction" in page
    assert 'src="http' not in page and 'href="http' not in text and best_cell(study.map()).split(".")[0] in page
    assert "The map in words" in page and "It is not attention" in page and "AUC over 8 layers" in page, "in words too"


def test_a_file_in_the_way(tmp_path):
    (tmp_path/"f").write_text("")
    with pytest.raises(NotADirectoryError, match="is a file"): Study(tmp_path/"f")


def test_reproduce_knows_which_figure_is_about_its_questions(tmp_path):
    study = Study(tmp_path / "s", lm="demo", questions="demo", n=80, progress=False)
    beside = study.reproduce("fig2a")
    assert beside.sizes == {"layer": 8, "position": 15} and beside.attrs["summary"]
    with pytest.raises(ValueError, match="no published map is about the questions 'demo'.*fig2a"): study.reproduce()
    study.card["questions"] = "mnli"  # as if it had asked them
    study._questions = None
    assert study.reproduce().attrs["title"] == "ours and Figure 6e"


def test_a_moved_span_is_read_again_alone(tmp_path, monkeypatch):
    "A mark by hand changes its own rows, nothing else is judged or read, and the whole is what it would be from the beginning."
    study = Study(tmp_path / "s", lm="demo", questions="demo", n=60, progress=False)
    before, was = study.acts().load(), study.answers()
    rows = was[was["span_start"].notna() & was["correct"].notna()]
    long = rows[rows["answer"].str.split().str.len() > 3].iloc[0]
    study.mark(long["example"], span=(0, len(long["answer"].split()[0])))
    study.mark(rows.iloc[-1]["example"], correct=not rows.iloc[-1]["correct"])
    now, read = study.answers(), []
    assert now["example"].equals(was["example"]) and now.dtypes.equals(was.dtypes) and list(now) == list(was)
    assert now.loc[now["example"] == long["example"], "span_start"].item() == 0
    untouched = ~now["example"].isin([long["example"], rows.iloc[-1]["example"]])
    pd.testing.assert_frame_equal(now[untouched], was[untouched])
    true_extract = patches.extract
    monkeypatch.setattr(patches, "extract", lambda lm, a, *b, **kw: read.extend(a["example"]) or true_extract(lm, a, *b, **kw))
    after = study.acts()
    assert read == [long["example"]]
    whole = true_extract(study.lm, now, positions(now), site=study.site, progress=False)
    np.testing.assert_allclose(after.values, whole.values, atol=1e-5)
    one = dict(example=long["example"])
    assert not np.array_equal(after.sel(one).values, before.sel(one).values, equal_nan=True)
    again = Study(tmp_path / "s", progress=False)
    np.testing.assert_allclose(again.acts().isel(layer=[3, 0], position=slice(2, 9)).values,
                               whole.isel(layer=[3, 0], position=slice(2, 9)).values, atol=1e-5)
    assert again.map(permutations=0)["n"].max() < len(now)
    study.mark(long["example"], span=(long["answer"].index(long["exact_answer"]), long["answer"].index(long["exact_answer"])
                                      + len(long["exact_answer"])))
    np.testing.assert_allclose(Study(tmp_path / "s", progress=False).acts().values, before.values, atol=1e-5)


def test_threads_share_one_model(tmp_path):
    study = Study(tmp_path/"demo", **KW)
    with ThreadPoolExecutor(3) as pool: assert len({id(lm) for lm in pool.map(lambda _: study.lm, range(3))}) == 1


def test_threads_make_a_map_once(made, tmp_path, monkeypatch):
    shutil.copytree(made.path, tmp_path/"demo")
    study, real, made_here = Study(tmp_path/"demo", **KW), S.probe_map, []
    study.mark(3, correct=True)
    monkeypatch.setattr(S, "probe_map", lambda *a, **k: made_here.append(1) or real(*a, **k))
    with ThreadPoolExecutor(3) as pool: maps = list(pool.map(lambda _: Study(study.path, **KW).map(permutations=0), range(3)))
    assert len(made_here) == 1 and all(m.equals(maps[0]) for m in maps)
