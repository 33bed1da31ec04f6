"""Probe solver against scikit-learn: CPU seconds of one thread, agreement, and ratios, one figure a line.

python benchmarks/probes.py [N,D,KIND ...]    sizes to run; KIND is plain or massive; default: all but the two largest
python benchmarks/probes.py --scale 1000,4096,plain ...    standardised over each fold's training rows
python benchmarks/probes.py --map             a whole map of 1,500 answers × 15 positions × 10 layers × 128

Opponent: LogisticRegression(solver="newton-cg", tol=1e-4) in single precision; beside it LogisticRegression() as it comes.
Reference for exactness: newton-cg in double precision at tol 1e-9. All in one process. For permutations the opponent's time is
100 times its time for five folds × five C. OMP_NUM_THREADS=1 keeps the clocks comparable.
"""
import argparse
import time
import warnings

import numpy as np
import pandas as pd
import torch
import xarray as xr
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler
from threadpoolctl import threadpool_limits

from probe_nb.maps import probe_map
from probe_nb.newton import _gram
from probe_nb.probes import LogisticProbe, auc, grid_scores, group_folds

CS = [.001, .01, .1, 1., 10.]
SIZES = ["500,768,plain", "1000,768,plain", "1000,768,massive", "2000,768,plain", "2000,768,massive", "5000,768,plain",
         "5000,768,massive", "1000,4096,plain", "1000,4096,massive", "2000,4096,plain"]


def data(n, d, kind="plain", seed=0):
    "Twenty latent directions, two of which say whether the answer is correct; like activations, not like white noise."
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n, 20))
    X = z @ rng.normal(size=(20, d)) * .5 + rng.normal(size=(n, d)) + rng.normal(size=d)
    if kind == "massive":
        for j, s in zip(rng.choice(d, 3, replace=False), (1000., 300., 50.)): X[:, j] = s * (3 + X[:, j])
    return X.astype(np.float32), z[:, 0] + .5 * z[:, 1] + 1.2 * rng.normal(size=n) > -.5


def cpu(f, times=1):
    "CPU seconds, the least of some runs, and what f returned."
    best = np.inf
    for _ in range(times):
        t = time.process_time()
        out = f()
        best = min(best, time.process_time() - t)
    return best, out


def compare(n, d, kind, scale=False, permutations=100, tol=1e-4):
    def line(what, value, unit=""): print(f"{n}×{d} {kind}{' scaled' if scale else ''}: {what}: {value:.3g} {unit}", flush=True)
    def sklearn(m, C, **options):
        Z = StandardScaler().fit(X[m]).transform(X) if scale else X
        return LogisticRegression(C=C, **options).fit(Z[m], y[m]).decision_function(Z)
    X, y = data(n, d, kind)
    fold, every = group_folds(y, None), np.ones(n, bool)
    train = fold != np.arange(5)[:, None]
    peer = dict(solver="newton-cg", tol=tol, max_iter=1000)
    theirs, found, common = np.zeros((5, 5)), np.empty((5, 5, n)), 0
    for c, C in enumerate(CS):
        for k, m in enumerate(train):
            theirs[c, k], found[c, k] = cpu(lambda m=m, C=C: sklearn(m, C, **peer))
            common += cpu(lambda m=m, C=C: sklearn(m, C))[0]
    one, default = cpu(lambda: sklearn(every, 1., **peer), 2)[0], cpu(lambda: sklearn(every, 1.), 2)[0]
    gram = cpu(lambda: _gram(torch.tensor(X if n <= 1.4 * d else X.T.copy())[None]), 3)[0]
    ours1 = cpu(lambda: LogisticProbe(scale=scale).fit(X, y), 3)[0]
    ours5 = cpu(lambda: grid_scores(X[None], y, train, [1.], scale), 3)[0]
    ours, scores = cpu(lambda: grid_scores(X[None], y, train, CS, scale)[0], 3)
    line("one fit, newton-cg / LogisticProbe", one / ours1, "times")
    line("one fit, LogisticRegression() / LogisticProbe", default / ours1, "times")
    line("five folds, newton-cg / ours", theirs[3].sum() / ours5, "times")
    line("five folds × five C, ours", ours, "s")
    line("five folds × five C, newton-cg / ours", theirs.sum() / ours, "times")
    line("five folds × five C, LogisticRegression() / ours", common / ours, "times")
    line("five folds × five C, ours / Gram product", ours / gram, "times")
    if permutations:
        rng = np.random.default_rng(0)
        labels = np.concatenate([[p] * 5 for p in [y, *(rng.permutation(y) for _ in range(permutations))]])
        many = cpu(lambda: grid_scores(X[None], labels, np.tile(train, (permutations + 1, 1)), CS, scale))[0]
        line(f"the same + {permutations} permutations, ours", many, "s")
        ratio = (permutations + 1) * theirs.sum() / many
        line(f"the same + {permutations} permutations, newton-cg (extrapolated) / ours", ratio, "times")
    for k in range(2 if n * d < 2e6 else 1):
        Z = StandardScaler().fit(X[train[k]].astype(float)).transform(X.astype(float)) if scale else X.astype(float)
        for c, C in enumerate(CS):
            exact = LogisticRegression(C=C, solver="newton-cg", tol=1e-9, max_iter=5000)
            exact = exact.fit(Z[train[k]], y[train[k]]).decision_function(Z)
            off = [np.linalg.norm(s[c, k] - exact) / np.linalg.norm(exact) for s in (scores, found)]
            held = ~train[k]
            gap = [abs(auc(s[c, k, held], y[held]) - auc(exact[held], y[held])) for s in (scores, found)]
            line(f"C={C} fold {k}: error of decision values, ours", off[0])
            line(f"C={C} fold {k}: error of decision values, newton-cg", off[1])
            line(f"C={C} fold {k}: error of AUC, ours", gap[0])
            line(f"C={C} fold {k}: error of AUC, newton-cg", gap[1])


def whole_map(n=1500, positions=15, layers=10, d=128):
    z, y = data(n, d)
    rng = np.random.default_rng(1)
    X = z[:, None, None] + rng.normal(size=(n, positions, layers, d)).astype(np.float32)
    ans = pd.DataFrame({"example": np.arange(n), "group": np.arange(n) // 3, "correct": pd.array(y, dtype="boolean")})
    acts = xr.DataArray(X, dims=("example", "position", "layer", "feature"), coords={
        "example": np.arange(n), "position": np.array([f"p{i}" for i in range(positions)], object), "layer": np.arange(layers)})
    for protocol in ("honest", "paper"):
        start = time.perf_counter()
        seconds, _ = cpu(lambda p=protocol: probe_map(acts, ans, protocol=p, progress=False))
        print(f"map of {positions} × {layers} cells, {n} × {d}, protocol {protocol}: {seconds:.3g} s CPU, "
              f"{time.perf_counter() - start:.3g} s of the clock", flush=True)


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("sizes", nargs="*", default=SIZES)
    parser.add_argument("--map", action="store_true")
    parser.add_argument("--scale", action="store_true")
    parser.add_argument("--permutations", type=int, default=100)
    parser.add_argument("--tol", type=float, default=1e-4, help="the opponent's; 1e-6 is about as exact as ours")
    args = parser.parse_args()
    warnings.simplefilter("ignore")
    if args.map: whole_map()
    else:
        torch.set_num_threads(1)
        with threadpool_limits(1):
            for size in args.sizes:
                n, d, kind = size.split(",")
                compare(int(n), int(d), kind, args.scale, args.permutations, args.tol)
