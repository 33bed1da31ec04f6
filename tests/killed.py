"Extractions that are watched from outside: killed at random moments, held open, weighed. Run by test_store.py."
import json
import os
import random
import resource
import signal
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
from worlds import tiny_model, tiny_tokenizer

from probe_nb.activations import extract, open_acts
from probe_nb.models import load_lm


def world(n, demo=False, tokens=40, **size):
    named = ("demo",) if demo else (tiny_model("llama", **size), tiny_tokenizer())
    lm = load_lm(*named, device="cpu", check=False)
    rng = np.random.default_rng(0)
    said = [rng.integers(3, 100, m).tolist() for m in rng.integers(4, tokens, n)]
    prompts = [rng.integers(3, 100, 12).tolist() for _ in range(n//2)]  # two samples each
    ans = pd.DataFrame(dict(example=range(n), prompt_ids=[prompts[i//2] for i in range(n)], answer_ids=said))
    at = [dict(example=i, position=str(k), start=11 + k, stop=12 + k, pool="first") for i in range(n) for k in range(4)]
    return lm, ans, pd.DataFrame(at)


def child(work):
    "Do `work` in a process of its own; returns its id."
    pid = os.fork()
    if pid: return pid
    try:
        work()
        os._exit(0)
    except BaseException as e:
        print(type(e).__name__, e, file=sys.stderr, flush=True)
        os._exit(1)


def wait(pid): return os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])


def same_files(a, b):
    "Every file of a store, bit by bit."
    files = lambda root: {p.relative_to(root).as_posix(): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}
    a, b = files(a), files(b)
    return a == b and any("/c/" in name for name in a)


def kill(folder, kills, seed):
    "Kill it `kills` times, taking up what the last one left; in the end it is what an uninterrupted run wrote."
    (lm, ans, pos), rng, killed, runs = world(60, demo=True), random.Random(seed), 0, 0
    go = lambda path: extract(lm, ans, pos, path=path, block=3, token_budget=150, progress=False)
    t = time.time()
    assert wait(child(lambda: go(folder/"whole"))) == 0
    t = time.time() - t
    def look(path):
        try: got = open_acts(path).values
        except (ValueError, FileNotFoundError) as e: assert "damaged" not in str(e), e
        else: np.testing.assert_array_equal(got, open_acts(folder/"whole").values)
    while killed < kills:
        path, runs = folder/f"cut-{runs}", runs + 1
        while killed < kills:
            pid = child(lambda path=path: go(path))
            time.sleep(rng.uniform(0, t/2))
            os.kill(pid, signal.SIGKILL)
            if wait(pid) == 0: break
            killed += 1
            assert wait(child(lambda path=path: look(path))) == 0
        assert wait(child(lambda path=path: go(path))) == 0
        assert same_files(folder/"whole", path), path
    print(json.dumps(dict(killed=killed, stores=runs)))


def weigh(folder, n):
    "Most bytes that a run held beside what it began with, for n answers and for four times as many."
    size = dict(hidden_size=256, num_hidden_layers=8, head_dim=16)
    resident = lambda: int(Path("/proc/self/statm").read_text().split()[1])*4096
    def work(lm, ans, pos, path):
        before = resident()
        extract(lm, ans, pos, path=path, block=32, progress=False)
        path.with_suffix(".held").write_text(str(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss*1024 - before))
    for k in (n, 4*n): assert wait(child(lambda k=k: work(*world(k, **size), folder/str(k)))) == 0
    disk = [sum(f.stat().st_size for f in (folder/str(k)).rglob("*") if f.is_file()) for k in (n, 4*n)]
    print(json.dumps(dict(held=[int((folder/f"{k}.held").read_text()) for k in (n, 4*n)], disk=disk)))


def hold(folder):
    "Begin, and never end."
    lm, ans, pos = world(8)
    lm.blocks[1].register_forward_hook(lambda *_: (print("reading", flush=True), time.sleep(600)))
    extract(lm, ans, pos, path=folder/"acts", progress=False)


if __name__ == "__main__":
    what, folder, *more = sys.argv[1:]
    dict(kill=kill, weigh=weigh, hold=hold)[what](Path(folder), *map(int, more))
