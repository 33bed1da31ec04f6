"""The findings' times and figures: samples, the detection table, the transfer matrix. One number a line.

    python benchmarks/findings.py [samples] [detection] [transfer] [choice]
"""
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import xarray as xr

from probe_nb.activations import extract
from probe_nb.alike import cluster
from probe_nb.answers import answer
from probe_nb.detection import best_scores, error_detection
from probe_nb.judges import judge
from probe_nb.models import load_lm
from probe_nb.positions import positions
from probe_nb.questions import load_questions
from probe_nb.samples import error_types
from probe_nb.selection import knowledge, select
from probe_nb.simulate import planted
from probe_nb.spans import find_spans
from probe_nb.targets import type_probes
from probe_nb.transfer import transfer_matrix
from probe_nb.truth import p_true, reread


def told(name, value): print(f"{name:<72}{value}", flush=True)


class Clock:
    "Wall and processor seconds of a block."
    def __init__(self, name): self.name = name
    def __enter__(self): self.at = time.perf_counter(), time.process_time()
    def __exit__(self, *_):
        wall, cpu = time.perf_counter() - self.at[0], time.process_time() - self.at[1]
        told(self.name, f"{wall:7.1f} s   ({cpu:.1f} s of the processor)")


def samples():
    lm, qs = load_lm("demo"), load_questions("demo", n=1500, seed=0)
    with Clock("1,500 questions x 30 samples: answer"): ans = answer(lm, qs, n_samples=30, progress=False)
    with Clock("                              judge, spans"): ans = find_spans(lm, judge(ans), progress=False)
    with Clock("                              cluster, error_types"): types = error_types(ans := cluster(ans))
    told("kinds, the paper's thresholds", types["kind"].value_counts().to_dict())
    told("kinds, the code's thresholds", error_types(ans, "code")["kind"].value_counts().to_dict())
    told("covered, of errors, overlapping", [round(types.attrs[k], 3) for k in ("covered", "covered_errors", "overlapping")])
    return lm, ans, types


def detection():
    lm, qs = load_lm("demo"), load_questions("demo")
    ans = find_spans(lm, judge(answer(lm, qs, progress=False)), progress=False)
    with Clock("1,792 answers: p_true, both orders, with and without exact answer"): asked = p_true(lm, ans, progress=False)
    with Clock("1,792 answers: reread"): ans = reread(lm, ans, progress=False)
    acts = extract(lm, ans, positions(ans), progress=False).load()
    with Clock("error_detection, 8 layers x 15 positions"): table = error_detection(acts, ans, asked, progress=False)
    print(table[["method", "auc", "auc_low", "auc_high", "n", "difference", "difference_low"]].head(14).round(3).to_string())


def transfer(folder):
    n, layers, width = 1000, 32, 256
    sets = {}
    for k in range(10):
        plan = .5 + .35*np.exp(-((np.arange(layers)[:, None] - 14)/6)**2)*np.ones((1, 15))
        acts, ans = planted(n, layers, 15, width, auc=plan, seed=k//2)
        path = Path(folder) / f"{k}.npy"
        np.save(path, acts.values)
        plain = xr.DataArray(np.load(path, mmap_mode="r"), {c: acts[c] for c in acts.dims}, acts.dims, attrs=acts.attrs)
        sets[f"set {k}"] = plain, ans.assign(group=f"{k}-" + ans["group"], id=f"{k}-" + ans["id"])
    with Clock("transfer matrix of ten sets, 32 x 15 cells, d = 256, n = 1,000 each"): m = transfer_matrix(sets, progress=False)
    with Clock("the same with all but one"): transfer_matrix(sets, leave_out=True, progress=False)
    told("diagonal, mean", round(m[m["train"] == m["test"]]["auc"].mean(), 3))


def choice():
    lm, ans, types = samples()
    sampled = ans[(ans["sample"] > 0) & ans["id"].isin(ans["id"].unique()[:500])]
    with Clock("15,000 samples: extract two layers, four positions"):
        pos = positions(sampled)
        pos = pos[pos["position"].isin(["exact_answer_last", "last_q", "-1", "-2"])]
        acts = extract(lm, sampled, pos, layers=[5, 6], progress=False)
    with Clock("               score"): s = best_scores(acts, sampled, positions=["exact_answer_last"], C=.01, progress=False)
    part = ans[ans["id"].isin(sampled["id"])]
    with Clock("               select"): table = select(part, s, types=types)
    print(table.pivot(index="kind", columns="method", values="accuracy").round(3).to_string())
    print(table[table["kind"] == "All"].round(3).to_string())
    with Clock("               knowledge"): print(knowledge(part, s).round(3).to_string())
    greedy = ans[ans["sample"] == 0]
    acts = extract(lm, greedy, positions(greedy), progress=False)
    with Clock("type_probes, five kinds, 8 layers"): print(type_probes(acts, greedy, types, progress=False).round(3).to_string())


if __name__ == "__main__":
    wanted = sys.argv[1:] or ["detection", "choice", "transfer"]
    for name in wanted:
        if name == "transfer":
            with tempfile.TemporaryDirectory() as folder: transfer(folder)
        else: dict(samples=samples, detection=detection, choice=choice)[name]()
