"What lies on disk is what was computed, or an error that names the file: killed, full, read-only, damaged, shared, added to."
import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from collections import namedtuple
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
import zarr
from worlds import tiny_model, tiny_tokenizer

import probe_nb.activations as A
import probe_nb.store as S
from probe_nb.activations import extract, open_acts
from probe_nb.models import load_lm

HERE = Path(__file__).parent
resource = pytest.importorskip("resource", reason="limits and forks as POSIX has them")
from killed import same_files, world  # noqa: E402


@pytest.fixture(scope="module")
def made(): return world(12)


@pytest.fixture(scope="module")
def true(made): return extract(*made, progress=False)


def watched(what, folder, *more):
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": os.pathsep.join([str(HERE), os.environ.get("PYTHONPATH", "")])}
    return subprocess.Popen([sys.executable, HERE/"killed.py", what, folder, *map(str, more)], env=env, text=True,
                            stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def told(process):
    out, err = process.communicate(timeout=500)
    assert process.returncode == 0, err
    return json.loads(out.splitlines()[-1])


def close(a, b): np.testing.assert_allclose(a.values, b.values, atol=1e-5)


# Killed

@pytest.mark.parametrize("kills", [3, pytest.param(20, marks=pytest.mark.slow)])
def test_killed_at_random_moments_it_is_bit_by_bit_the_same(tmp_path, kills):
    assert told(watched("kill", tmp_path, kills, kills))["killed"] == kills


def test_of_two_processes_the_second_is_told_and_a_dead_one_holds_nothing(made, true, tmp_path):
    first = watched("hold", tmp_path)
    try:
        assert first.stdout.readline() == "reading\n"
        with pytest.raises(RuntimeError, match="another process is writing .*acts: wait for it to end, or use another folder"):
            extract(*world(8), path=tmp_path/"acts", progress=False)
    finally:
        first.kill()  # as kill -9
        first.communicate()
    assert extract(*world(8), path=tmp_path/"acts", progress=False).shape[0] == 8


def test_peak_memory_does_not_grow_with_the_answers(tmp_path):
    got = told(watched("weigh", tmp_path, 400))
    assert got["disk"][1] - got["disk"][0] > 35e6
    assert got["held"][1] - got["held"][0] < (got["disk"][1] - got["disk"][0])/2, got  # seen: 5 and 11 of 39 MB


# Full, read-only

@contextmanager
def full_disk(folder, monkeypatch):
    "A real disk of 200 kB where one may be mounted, else no file may be larger than 20 kB."
    mounted = os.name == "posix" and subprocess.run(["mount", "-t", "tmpfs", "-o", "size=200k", "none", folder],
                                                    capture_output=True).returncode == 0
    was = resource.getrlimit(resource.RLIMIT_FSIZE)
    if not mounted: resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, was[1]))
    try: yield "No space left" if mounted else "File too large"
    finally:
        if mounted: subprocess.run(["mount", "-o", "remount,size=100m", folder], check=True)
        else: resource.setrlimit(resource.RLIMIT_FSIZE, was)


def unmount(folder): subprocess.run(["umount", folder], capture_output=True)


@pytest.mark.parametrize("real", [True, False])
def test_a_full_disk_is_one_sentence_and_the_next_run_ends_well(tmp_path, monkeypatch, real):
    made, folder = world(60, hidden_size=64), tmp_path/"disk"
    folder.mkdir()
    if not real: monkeypatch.setattr(subprocess, "run", lambda *a, **k: namedtuple("p", "returncode")(1))
    monkeypatch.setattr(A.shutil, "disk_usage", lambda p: namedtuple("u", "free")(10**12))  # it fills up meanwhile
    try:
        with full_disk(folder, monkeypatch) as why:
            with pytest.raises(OSError, match=f"block . of .* could not be written .{why}.*: mend that") as e:
                extract(*made, path=folder/"acts", block=30, progress=False)
            assert "\n" not in str(e.value)
            assert not [f for f in folder.rglob("*.partial") if f.is_file()]  # what is half written makes room
        close(extract(*made, path=folder/"acts", progress=False), extract(*made, progress=False))
    finally: monkeypatch.undo(), unmount(folder)


@contextmanager
def powerless():
    "Root may write anywhere: be nobody meanwhile."
    root = os.geteuid() == 0
    if root: os.seteuid(65534)
    try: yield
    finally:
        if root: os.seteuid(0)


def test_a_read_only_folder_is_one_sentence_and_can_be_read(made, true):
    folder = Path(tempfile.mkdtemp())
    acts = extract(*made, path=folder/"acts", progress=False)
    for f in [folder, *folder.rglob("*")]: f.chmod(0o555 if f.is_dir() else 0o444)
    try:
        with powerless():
            np.testing.assert_array_equal(extract(*made, path=folder/"acts", progress=False).values, acts.values)
            for path in (folder/"acts", folder/"new"):
                with pytest.raises(OSError, match="could not be written .Permission denied.: mend that") as e:
                    extract(*made, path=path, site="resid" if path.name == "new" else "mlp_in", layers=[0, 1, 2],
                            progress=False) if path.name == "new" else add_one(made, path)
                assert "\n" not in str(e.value)
    finally:
        for f in [folder, *folder.rglob("*")]: f.chmod(0o755)


def add_one(made, path):
    lm, ans, pos = made
    more = pd.concat([pos, pos[pos["position"] == "0"].assign(position="again")])
    return extract(lm, ans, more, path=path, progress=False)


# Damaged, lost, foreign

def test_a_changed_byte_is_never_read(made, tmp_path):
    path, rng, named = tmp_path/"acts", random.Random(0), 0
    acts = extract(*made, path=path, block=5, progress=False).values
    add_one(made, path)
    acts = open_acts(path).values
    for f in sorted(p for p in path.rglob("*") if p.is_file()):
        whole = f.read_bytes()
        for _ in range(3):
            at, bit = rng.randrange(len(whole)), 1 << rng.randrange(8)
            f.write_bytes(whole[:at] + bytes([whole[at] ^ bit]) + whole[at + 1:])
            try: np.testing.assert_array_equal(open_acts(path).values, acts)
            except ValueError as e:
                assert str(path) in str(e) and "\n" not in str(e)
                named += 1
        f.write_bytes(whole)
    assert named > 20
    np.testing.assert_array_equal(open_acts(path).values, acts)


def test_a_damaged_or_lost_block_is_named_and_read_anew(made, true, tmp_path):
    acts = extract(*made, path=tmp_path/"a", block=5, progress=False)
    shard, mark = S.open_parts(tmp_path/"a")[0].files(1)
    data = shard.read_bytes()
    shard.write_bytes(data[:len(data)//2])
    with pytest.raises(ValueError, match="acts/c/1/0/0/0 is damaged at byte"): open_acts(tmp_path/"a").load()
    lazy = open_acts(tmp_path/"a")
    shard.unlink()
    with pytest.raises(ValueError, match="acts/c/1/0/0/0 is lost"): lazy.load()  # never read as zeros
    with pytest.raises(ValueError, match="holds 2 of 3 blocks"): open_acts(tmp_path/"a")
    np.testing.assert_array_equal(extract(*made, path=tmp_path/"a", progress=False).values, acts.values)
    assert shard.read_bytes() == data
    mark.unlink()
    with pytest.raises(ValueError, match="holds 2 of 3 blocks"): open_acts(tmp_path/"a")


def test_a_damaged_addition_is_mended_as_advised(made, true, tmp_path):
    "Whichever of three it is, also where one that begun was killed, and one that was named like it."
    (lm, ans, pos), layers = made, lambda k: sorted(range(k + 1))
    for bad in (1, 2):
        path = tmp_path/str(bad)
        for k in (0, 1, 2): extract(lm, ans, pos, layers=layers(k), path=path, progress=False)
        (path/"more-3.partial"/"acts").mkdir(parents=True)
        (path/"more-2.partial").mkdir()
        (path/"more-mine").mkdir()
        plan = path/f"more-{bad}"/"acts"/"plan.json"
        plan.write_bytes(plan.read_bytes()[:-9])
        with pytest.raises(ValueError, match=f"delete {path/f'more-{bad}'} and run again"): open_acts(path)
        shutil.rmtree(path/f"more-{bad}")
        close(open_acts(path, ans, pos, layers=[0]), true.sel(layer=[0]))
        close(extract(lm, ans, pos, layers=[0, 1, 2], path=path, progress=False), true)
        close(open_acts(path, ans, pos), true)
        assert (path/f"more-{3 if bad == 1 else 2}").is_dir()


def test_labels_that_other_readers_see_are_those_of_the_plan(made, tmp_path):
    path = tmp_path/"a"
    extract(*made, path=path, progress=False)
    group, true = zarr.open_group(path), json.loads((path/"zarr.json").read_text())
    changes = [("layer", lambda a: a.__setitem__(0, 5), lambda a: a.__setitem__(0, 0)),
               ("position", lambda a: a.__setitem__(1, "3"), lambda a: a.__setitem__(1, "1"))]
    for name, harm, mend in changes:  # written properly, with its checksum
        harm(group[name])
        with pytest.raises(ValueError, match="labels of .* are damaged .they are not those of the plan"): open_acts(path)
        mend(group[name])
    (path/"zarr.json").write_text(json.dumps(true | dict(attributes=true["attributes"] | dict(site="resid"))))
    with pytest.raises(ValueError, match="they are not those of the plan"): open_acts(path)
    (path/"zarr.json").write_text(json.dumps(true))
    open_acts(path)
    for name in ("acts", "not_finite"):  # how another reader takes the numbers
        file = path/name/"zarr.json"
        whole = file.read_text()
        for harm in (whole.replace('"data_type": "', '"data_type": "u'), whole[:9], None):
            file.unlink() if harm is None else file.write_text(harm)
            with pytest.raises(ValueError, match="labels of .* are damaged .*zarr.json"): open_acts(path)
        file.write_text(whole)
        open_acts(path)


@pytest.mark.parametrize("dtype", ["float32", "float16", "bfloat16"])
def test_any_reader_sees_nan_where_nothing_was_written(made, tmp_path, monkeypatch, dtype):
    true, n = A._read, []
    def fail(*a):
        n.append(1)
        if len(n) == 4: raise KeyboardInterrupt
        return true(*a)
    monkeypatch.setattr(A, "_read", fail)
    with pytest.raises(KeyboardInterrupt): extract(*made, path=tmp_path/"a", block=4, dtype=dtype, progress=False)
    seen = xr.open_zarr(tmp_path/"a", consolidated=False)["acts"].values
    assert seen.dtype == (np.uint16 if dtype == "bfloat16" else dtype)
    there = S.not_finite(S.open_parts(tmp_path/"a")[0]) >= 0
    assert 0 < there.sum() < 12
    np.testing.assert_array_equal(np.isfinite(S.decode(seen)).all((1, 2, 3)), there)
    np.testing.assert_array_equal(np.isnan(S.decode(seen)).all((1, 2, 3)), ~there)


def test_no_lock_is_left_behind(made, tmp_path):
    extract(*made, path=tmp_path/"a", progress=False)
    assert [p.name for p in tmp_path.iterdir()] == ["a"]
    with pytest.raises(ZeroDivisionError), S.locked(tmp_path/"a"): raise ZeroDivisionError
    assert [p.name for p in tmp_path.iterdir()] == ["a"]


def test_of_many_that_lock_and_unlock_one_at_a_time_is_in(tmp_path):
    "The lock's file goes while it is held; who waited for that file must not come in beside a new one."
    inside, most, done = [], [], []
    def work():
        while len(done) < 200:
            try:
                with S.locked(tmp_path/"a"):
                    inside.append(1)
                    most.append(len(inside))
                    time.sleep(0)
                    inside.pop()
                    done.append(1)
            except RuntimeError: time.sleep(0)
    threads = [threading.Thread(target=work) for _ in range(6)]
    for x in threads: x.start()
    for x in threads: x.join()
    assert max(most) == 1


def test_a_foreign_folder_is_named_and_left_alone(made, tmp_path):
    (tmp_path/"notes").mkdir()
    (tmp_path/"notes"/"mine.txt").write_text("mine")
    xr.Dataset(dict(x=("a", [1]))).to_zarr(tmp_path/"other", consolidated=False)
    for name in ("notes", "other"):
        for f in (lambda p: extract(*made, path=p), open_acts):
            with pytest.raises(ValueError, match=f"{name} holds no activations of this version: use another folder"):
                f(tmp_path/name)
    assert (tmp_path/"notes"/"mine.txt").read_text() == "mine"


# Added to

def counted(monkeypatch):
    "Rows, layers and positions of each batch that is read."
    read, true = [], A._read
    def note(lm, part, rows, at):
        read.append((len(at), part.grid.layer, part.grid.position))
        return true(lm, part, rows, at)
    monkeypatch.setattr(A, "_read", note)
    return read


def of(ans, pos, examples, positions=("0", "1", "2", "3")):
    return ans[ans["example"].isin(examples)], pos[pos["example"].isin(examples) & pos["position"].isin(positions)]


def test_only_what_is_missing_is_read(made, true, tmp_path, monkeypatch):
    (lm, ans, pos), read = made, counted(monkeypatch)
    path, steps = tmp_path/"a", [(range(8), ("0", "1"), [0, 1]), (range(8), ("0", "1"), [0, 1, 2]),
                                 (range(12), ("0", "1"), [0, 1, 2]), (range(12), ("3", "0", "1"), [2, 0, 1]),
                                 (range(12), ("0", "1", "2", "3"), [0, 1, 2])]
    new = [(8, [0, 1], ["0", "1"]), (8, [2], ["0", "1"]),
           (4, [0, 1, 2], ["0", "1"]), (12, [2, 0, 1], ["3"]), (12, [0, 1, 2], ["2"])]
    for (examples, names, layers), want in zip(steps, new):
        read.clear()
        some, at = of(ans, pos, examples, names)
        at = at.sort_values("position", key=lambda p: p.map(names.index), kind="stable")
        got = extract(lm, some, at, layers=layers, path=path, progress=False)
        assert (sum(r for r, _, _ in read), *read[0][1:]) == want
        close(got, true.sel(example=list(examples), position=list(names), layer=layers))
    read.clear()
    close(open_acts(path), true.sel(position=["0", "1", "3", "2"]))
    shuffled = ans.iloc[::-1]
    got = extract(lm, shuffled, pos, layers=[1], path=path, progress=False)
    close(got, true.sel(layer=[1]).isel(example=slice(None, None, -1)))
    assert not read and len(list(path.glob("more-*"))) == 4


def test_an_addition_that_was_cut_off_leaves_what_was_there(made, true, tmp_path, monkeypatch):
    (lm, ans, pos), true_read = made, A._read
    first = extract(*of2(made, range(6)), path=tmp_path/"a", layers=[0], progress=False)
    def fail(*a): raise RuntimeError("gone")
    monkeypatch.setattr(A, "_read", fail)
    with pytest.raises(RuntimeError, match="gone"): extract(lm, ans, pos, path=tmp_path/"a", layers=[0, 1], progress=False)
    monkeypatch.setattr(A, "_read", true_read)
    np.testing.assert_array_equal(open_acts(tmp_path/"a", *of(ans, pos, range(6)), layers=[0]).values, first.values)
    with pytest.raises(ValueError, match="holds 1 of 2 blocks"): open_acts(tmp_path/"a")
    close(extract(lm, ans, pos, path=tmp_path/"a", layers=[0, 1], progress=False), true.sel(layer=[0, 1]))


def of2(made, examples): return made[0], *of(*made[1:], examples)


def test_what_means_something_else_is_refused(made, tmp_path):
    lm, ans, pos = made
    extract(*made, path=tmp_path/"a", progress=False)
    said = ans.copy()
    said.at[3, "answer_ids"] = said.at[3, "answer_ids"][:-1] + [5]
    cases = [(A.replace(lm, revision="other"), ans, pos, "revision"), (lm, said, pos, "another answer at example 3"),
             (lm, ans, pos.assign(start=pos["start"] - 1), "position '0' was elsewhere, in example 0"),
             (lm, ans, pos.assign(pool="mean"), "position '0' was elsewhere")]
    for *asked, why in cases:
        with pytest.raises(ValueError, match=f"holds other activations .*{why}.*: use another folder") as e:
            extract(*asked, path=tmp_path/"a", progress=False)
        assert "\n" not in str(e.value)
    with pytest.raises(ValueError, match="another answer at example 3"): open_acts(tmp_path/"a", said, pos)


# Reading and writing

@pytest.mark.skipif(not Path("/proc/self/io").exists(), reason="counts bytes where Linux does")
def test_a_cell_of_all_answers_touches_its_own_bytes(tmp_path):
    lm, ans, pos = world(200, hidden_size=256, head_dim=16)
    extract(lm, *of(ans, pos, range(150)), path=tmp_path/"a", progress=False)
    extract(lm, ans, pos, path=tmp_path/"a", progress=False)  # 50 more
    read = lambda: int(Path("/proc/self/io").read_text().split()[1])
    before = read()
    acts = open_acts(tmp_path/"a")
    opened, whole = read() - before, sum(f.stat().st_size for f in (tmp_path/"a").rglob("*") if f.is_file())
    cell = acts.sel(position="2", layer=1)
    before = read()
    assert cell.values.shape == (200, 256)
    got = read() - before
    assert 200*256*4 <= got < 1.02*200*256*4 and opened < whole/20


def test_writing_is_done_beside_the_reading_and_holds_few_blocks(made, true, tmp_path, monkeypatch):
    lag, taken, true_write, true_read = [], [], S.write_block, A._read
    def slow(*a):
        time.sleep(.05)
        true_write(*a)
        lag.append(threading.current_thread() is threading.main_thread())
    monkeypatch.setattr(S, "write_block", slow)
    monkeypatch.setattr(A, "_read", lambda *a: (taken.append(len(lag)), true_read(*a))[1])
    close(extract(*made, path=tmp_path/"a", block=1, token_budget=1, progress=False), true)
    assert lag == [False]*12
    assert all(read - written <= 4 for read, written in enumerate(taken)) and max(i - w for i, w in enumerate(taken)) > 1


def test_what_fails_behind_ones_back_is_raised(made, true, tmp_path, monkeypatch):
    true_replace = os.replace
    def full(a, b):
        if "c/1" in str(b): raise OSError(28, "No space left on device")
        return true_replace(a, b)
    monkeypatch.setattr(S.os, "replace", full)
    with pytest.raises(OSError, match="block 1 of .* could not be written .No space left"):
        extract(*made, path=tmp_path/"a", block=3, progress=False)
    monkeypatch.undo()
    assert not any(t.name.startswith("ThreadPoolExecutor") and t.is_alive() for t in threading.enumerate())
    close(extract(*made, path=tmp_path/"a", progress=False), true)


def test_a_resumed_store_is_the_same_files(made, tmp_path, monkeypatch):
    extract(*made, path=tmp_path/"a", block=4, progress=False)
    true, n = A._read, []
    def fail(*a):
        n.append(1)
        if len(n) == 2: raise KeyboardInterrupt
        return true(*a)
    monkeypatch.setattr(A, "_read", fail)
    with pytest.raises(KeyboardInterrupt): extract(*made, path=tmp_path/"b", block=4, progress=False)
    assert not same_files(tmp_path/"a", tmp_path/"b")
    extract(*made, path=tmp_path/"b", progress=False)
    assert same_files(tmp_path/"a", tmp_path/"b")


# Whose block it is

def test_a_block_of_another_place_or_store_is_not_read(made, tmp_path):
    lm, ans, pos = made
    for name, site in (("a", "mlp_in"), ("b", "resid")):
        extract(lm, ans, pos, path=tmp_path/name, site=site, block=4, progress=False)
    one, two = (S.open_parts(tmp_path/"a")[0].files(k)[0] for k in (0, 1))
    data = one.read_bytes(), two.read_bytes()
    one.write_bytes(data[1]), two.write_bytes(data[0])  # exchanged
    with pytest.raises(ValueError, match="c/0/0/0/0 is another block's: delete it and run the same extract"):
        open_acts(tmp_path/"a").load()
    one.write_bytes(S.open_parts(tmp_path/"b")[0].files(0)[0].read_bytes()), two.write_bytes(data[1])
    with pytest.raises(ValueError, match="c/0/0/0/0 is another block's"): open_acts(tmp_path/"a").load()
    one.unlink()
    extract(lm, ans, pos, path=tmp_path/"a", block=4, progress=False)
    assert one.read_bytes() == data[0]


def test_a_mark_of_another_block_is_not_read(made, tmp_path):
    extract(*made, path=tmp_path/"a", block=4, progress=False)
    part = S.open_parts(tmp_path/"a")[0]
    S.write_block(part, 0, np.zeros((*part.grid.shape[1:], part.block, part.width), part.raw), np.arange(4))
    (one, two) = (part.files(k)[1] for k in (0, 1))
    data = one.read_bytes(), two.read_bytes()
    one.write_bytes(data[1]), two.write_bytes(data[0])  # exchanged: each is whole
    with pytest.raises(ValueError, match="not_finite/c/0 and .*c/0/0/0/0 are not of one block: delete both and run"):
        open_acts(tmp_path/"a")
    one.write_bytes(data[0]), two.write_bytes(data[1])
    assert open_acts(tmp_path/"a").attrs["not_finite"] == 6


def test_an_addition_of_another_store_is_refused(made, tmp_path):
    lm, ans, pos = made
    other = A.replace(lm, revision="other")
    extract(lm, *of(ans, pos, range(6)), path=tmp_path/"a", progress=False)
    for name, *how in (("site", lm, "resid"), ("revision", other, "mlp_in")):
        extract(how[0], *of(ans, pos, range(6, 12)), path=tmp_path/name, site=how[1], progress=False)
        shutil.copytree(tmp_path/name, tmp_path/"a"/"more-1")
        with pytest.raises(ValueError, match=f"more-1 holds other activations .of .*{name} "): open_acts(tmp_path/"a")
        shutil.rmtree(tmp_path/"a"/"more-1")
    open_acts(tmp_path/"a")


def test_a_store_of_another_format_is_refused(made, tmp_path):
    extract(*made, path=tmp_path/"a", progress=False)
    plan = tmp_path/"a"/"acts"/"plan.json"
    told = json.loads(plan.read_text()) | dict(format=1)
    del told["sum"]
    plan.write_text(json.dumps(told | dict(sum=S._sum(told))))
    for f in (lambda: open_acts(tmp_path/"a"), lambda: extract(*made, path=tmp_path/"a", progress=False)):
        with pytest.raises(ValueError, match="a holds no activations of this version: use another folder"): f()


def test_layers_of_unlike_width_do_not_meet(made, tmp_path):
    "Gemma 4's global heads are wider: refused before anything is made."
    lm = load_lm(tiny_model("gemma4_text", global_head_dim=16), tiny_tokenizer(), check=False)
    _, ans, pos = made
    extract(lm, ans, pos, site="head", layers=[0], path=tmp_path/"a", progress=False)
    with pytest.raises(ValueError, match="a has 32 features in layer 0 and layer 2 has 64: use another folder"):
        extract(lm, ans, pos, site="head", layers=[2], path=tmp_path/"a", progress=False)
    assert open_acts(tmp_path/"a").shape[2:] == (1, 32) and not list((tmp_path/"a").glob("more-*"))
    with pytest.raises(ValueError, match="head has 32 features in layer 0 and 64 in layer 2"):
        extract(lm, ans, pos, site="head", path=tmp_path/"b", progress=False)
    assert not (tmp_path/"b").exists()
    extract(lm, ans, pos, site="head", layers=[2], path=tmp_path/"c", progress=False)
    shutil.copytree(tmp_path/"c", tmp_path/"a"/"more-1")
    with pytest.raises(ValueError, match="more-1 has 64 features in layer 2 and layer 0 has 32"): open_acts(tmp_path/"a")


@pytest.mark.filterwarnings("ignore:.*NaN or infinite")
def test_what_is_not_finite_is_counted_of_what_is_asked(tmp_path):
    "In halves of memory as on disk: added one after another, one position, a layer that has none."
    lm, ans, pos = world(12)
    pos.loc[(pos["example"] == 3) & (pos["position"] == "2"), ["start", "stop"]] = None  # missing is no loss
    def overflow(m, a, out): out[0][..., :2] = torch.inf
    for i in (1, 2): lm.tap("attn_out", i)[0].register_forward_hook(overflow)
    some = pos[pos["position"] == "2"]
    want = {a: extract(lm, ans, p, site="attn_out", layers=a[1], progress=False).attrs["not_finite"]
            for p, a in ((pos, ("all", (0, 1, 2))), (some, ("one", (0, 1, 2))), (pos, ("none", (0,))))}
    assert want["none", (0,)] == 0 < want["one", (0, 1, 2)] < want["all", (0, 1, 2)]
    for k in (0, 1, 2):
        last = extract(lm, ans, pos, site="attn_out", layers=list(range(k + 1)), path=tmp_path/"a", progress=False)
    whole = extract(lm, ans, pos, site="attn_out", path=tmp_path/"b", block=5, progress=False)
    assert last.attrs["not_finite"] == whole.attrs["not_finite"] == want["all", (0, 1, 2)]
    for path in (tmp_path/"a", tmp_path/"b"):
        assert open_acts(path, ans, some).attrs["not_finite"] == want["one", (0, 1, 2)]
        assert open_acts(path, layers=[0]).attrs["not_finite"] == 0


def test_a_link_is_the_folder_that_it_leads_to(made, true, tmp_path):
    (tmp_path/"a").mkdir()
    (tmp_path/"link").symlink_to(tmp_path/"a", target_is_directory=True)
    with S.locked(tmp_path/"a"), pytest.raises(RuntimeError, match="is writing .*link"), S.locked(tmp_path/"link"): pass
    close(extract(*made, path=tmp_path/"link", progress=False), true)
    close(open_acts(tmp_path/"a"), true)


def test_a_folder_that_holds_only_checkpoints_is_empty(made, true, tmp_path):
    (tmp_path/"a"/".ipynb_checkpoints").mkdir(parents=True)
    (tmp_path/"a"/".ipynb_checkpoints"/"x.ipynb").write_text("mine")
    close(extract(*made, path=tmp_path/"a", progress=False), true)
    assert (tmp_path/"a"/".ipynb_checkpoints"/"x.ipynb").read_text() == "mine"
    close(open_acts(tmp_path/"a"), true)


def test_an_estimate_knows_a_home(made, tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    extract(*made, path="~/a", progress=False)
    assert A.estimate(*made, path="~/a").disk == 0
