"""Probe solver against scikit-learn: CPU seconds and agreement, one figure a line.

python benchmarks/probes.py [--map]     one thread; --map times a whole map of 1,500 answers × 15 positions × 10 layers × 128
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

from probe_nb.maps import _problems, probe_map
from probe_nb.probes import LogisticProbe, auc, grid_scores, group_folds

CS = [.001, .01, .1, 1.]


def data(n, d, seed=0):
    "Twenty latent directions, two of which say whether the answer is correct; like activations, not like white noise."
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n, 20))
    X = z @ rng.normal(size=(20, d)) * .5 + rng.normal(size=(n, d)) + rng.normal(size=d)
    return X.astype(np.float32), z[:, 0] + .5 * z[:, 1] + 1.2 * rng.normal(size=n) > -.5


def cpu(f):
    "CPU seconds and what f returned."
    t = time.process_time()
    out = f()
    return time.process_time() - t, out


def line(n, d, what, value, unit="s CPU"): print(f"n={n} d={d} {what}: {value:.3g} {unit}", flush=True)


def compare(n, d, scale, peers=("lbfgs, 100 steps", "lbfgs, converged", "newton-cg 1e-10")):
    X, y = data(n, d)
    fold = group_folds(y, None)
    train = fold != np.arange(5)[:, None]
    tag = "scaled, " if scale else ""
    ours, scores = cpu(lambda: grid_scores(X[None], y, train, CS, scale)[0])
    line(n, d, f"{tag}ours, 5 folds × 4 C", ours)
    nested, _ = cpu(lambda: grid_scores(X[None], y, [~np.isin(fold, h) for h in _problems(5)[0]], CS, scale))
    line(n, d, f"{tag}ours, 15 nested folds × 4 C", nested)
    options = {"lbfgs, 100 steps": {}, "lbfgs, converged": dict(max_iter=20_000),
               "newton-cg 1e-10": dict(solver="newton-cg", tol=1e-10, max_iter=2000)}
    for name in peers:
        def fits(o=options[name]):
            out = np.empty((4, 5, n))
            for k, m in enumerate(train):
                Z = StandardScaler().fit(X[m]).transform(X) if scale else X
                if "solver" in o: Z = Z.astype(np.float64)  # its line search gives up in single precision
                for c, C in enumerate(CS): out[c, k] = LogisticRegression(C=C, **o).fit(Z[m], y[m]).decision_function(Z)
            return out
        seconds, theirs = cpu(fits)
        line(n, d, f"{tag}scikit-learn {name}, 5 folds × 4 C", seconds)
        line(n, d, f"{tag}scikit-learn {name} / ours", seconds / ours, "times")
        line(n, d, f"{tag}largest difference to {name}, relative", np.abs(theirs - scores).max() / np.abs(theirs).max(), "")
        rows = np.arange(n)
        gap = np.abs(auc(theirs[:, fold, rows], y, fold) - auc(scores[:, fold, rows], y, fold)).max()
        line(n, d, f"{tag}largest AUC difference to {name}", gap, "")
    line(n, d, f"{tag}LogisticProbe, one fit in double precision", cpu(lambda: LogisticProbe(scale=scale).fit(X, y))[0])


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
        line(n, d, f"map of {positions} × {layers} cells, protocol {protocol}", seconds)
        line(n, d, f"map of {positions} × {layers} cells, protocol {protocol}", time.perf_counter() - start, "s of the clock")


if __name__ == "__main__":
    args = argparse.ArgumentParser()
    args.add_argument("--map", action="store_true")
    warnings.simplefilter("ignore")
    if args.parse_args().map: whole_map()
    else:
        torch.set_num_threads(1)
        with threadpool_limits(1):
            for n, d in [(1500, 128), (1000, 768), (1000, 1024), (1000, 4096)]:
                for scale in (False, True): compare(n, d, scale)
            compare(3000, 2048, True, peers=("newton-cg 1e-10",))
