"""What a map promises, against worlds whose truth is known: a figure a line.

python benchmarks/maps.py coverage [--worlds 800] [--n 200 400]    95 % intervals of a cell: AUC .5 … .95, groups of 1, 2, 10
python benchmarks/maps.py null [--worlds 300]        maps of noise: how often any cell is above the null
python benchmarks/maps.py best [--worlds 200]        the best cell by nested selection, and the largest of the map
python benchmarks/maps.py compare [--worlds 500]     size of the test of a difference, coverage of the difference
python benchmarks/maps.py time                       200 permutations on 8 layers × 15 positions, 1,700 answers, 128 features

Worlds come from `simulate.planted`. The truth of an interval is the mean AUC, on 3,000 fresh rows of the same world, of the very
probes that the map's folds trained (their C chosen as there), averaged over worlds. OMP_NUM_THREADS=1, please.
"""
import argparse
import time

import numpy as np
import torch

from probe_nb.controls import blind_folds, label_aucs, null_of_max, shuffled_rows
from probe_nb.folds import _cells
from probe_nb.intervals import auc_interval
from probe_nb.maps import probe_map
from probe_nb.probes import LogisticProbe, auc, group_folds
from probe_nb.simulate import planted

CS = [.001, .01, .1, 1.]


def say(what, value): print(f"{what}: {value}", flush=True)


def part(acts, ans, keep):
    "Some of the answers, with their activations."
    return acts.isel(example=np.flatnonzero(keep)), ans[keep].reset_index(drop=True)


def world(n, fresh, groups, seed, **options):
    "A planted world as what is seen and what is fresh, no group in both."
    acts, ans = planted(n + fresh, groups=groups, seed=seed, **options)
    seen = np.isin(ans["group"], [f"g{k}" for k in range(n // groups)])
    return part(acts, ans, seen), part(acts, ans, ~seen)


def labels(ans): return ans["correct"].to_numpy(bool), np.unique(ans["group"].to_numpy(), return_inverse=True)[1]


def covered(n, true, groups, worlds, cells=10, d=24, fresh=3000):
    "Ten cells share a world's answers, and nothing else; the truth from three of them in a third of the worlds, at most 25."
    got, truths, known = [], [], min(25, worlds // (3 * cells))
    for seed in range(worlds // cells):
        more = fresh if seed < known else 2 * groups
        seen, other = world(n, more, groups, 1000 + seed, layers=cells, positions=1, features=d, auc=true, wrong=.35, massive=0)
        X, (y, g) = seen[0].values[:, 0].transpose(1, 0, 2), labels(seen[1])
        if min(y.sum(), (~y).sum()) < 10: continue
        fold = group_folds(y, g)
        scores, _, C, taught = _cells(X, y, fold, 5, CS, True)
        got.append(np.stack(auc_interval(scores, y, g, fold, taught=taught)))
        for l, k in [(l, k) for l in range(3) for k in range(5)] if seed < known else ():
            probe = LogisticProbe(C=C[l, k], scale=True).fit(X[l][fold != k], y[fold != k])
            truths.append(auc(probe.decision_function(other[0].values[:, 0, l]), labels(other[1])[0]))
    a, low, high = np.concatenate(got, 1)
    truth = np.mean(truths)
    return truth, a.mean(), ((low <= truth) & (truth <= high)).mean(), (high - low).mean(), len(a)


def coverage(worlds, sizes):
    for n in sizes:
        for groups in (1, 2, 10):
            for true in (.5, .7, .85, .95):
                truth, mean, inside, width, N = covered(n, true, groups, worlds)
                say(f"coverage n={n} groups of {groups}, planted {true}", f"{100 * inside:.1f} % of {N} "
                    f"(truth {truth:.3f}, mean estimate {mean:.3f}, width {width:.3f})")


SIZES = {"one": lambda rng: np.arange(200), "two": lambda rng: np.arange(200) // 2, "ten": lambda rng: np.arange(300) // 10,
         "1 to 8": lambda rng: np.repeat(np.arange(50), rng.integers(1, 9, 50)),
         "long-tailed": lambda rng: np.repeat(np.arange(60), np.ceil(rng.lognormal(1, 1, 60)).astype(int).clip(1, 40)),
         "one of 40, pairs": lambda rng: np.r_[np.zeros(40, int), 1 + np.arange(120) // 2]}


def alike(rng, g, *k): return .7**.5 * rng.normal(size=(*k, g.max() + 1))[..., g] + .3**.5 * rng.normal(size=(*k, len(g)))


def null(worlds):
    for name, sizes in SIZES.items():
        found = []
        for seed in range(worlds):
            rng = np.random.default_rng([seed, 1])
            g = sizes(rng)
            X, y = alike(rng, g, 20, 8).swapaxes(1, 2), alike(rng, g) > -.3
            if min(y.sum(), (~y).sum()) < 10: continue
            aucs = label_aucs(X, np.concatenate([[y], y[shuffled_rows(g, 199, seed)]]), blind_folds(g, 5, seed))
            p, above, _ = null_of_max(aucs)
            found.append((above.any(), (p <= .05).mean()))
        some, single = np.mean(found, 0)
        say(f"null, groups {name}, 20 cells, {len(found)} maps",
            f"{100 * some:.1f} % with a cell above; p ≤ .05 in {100 * single:.1f} % of cells")
    for groups in (1, 4):
        found = []
        for seed in range(worlds):
            acts, ans = planted(200, 3, 4, 16, groups=groups, missing={"last_q": .3, "first_answer": .05}, seed=seed)
            found.append(bool(probe_map(acts, ans, permutations=99, C=.01, progress=False)["above_null"].any()))
        say(f"null, whole maps 3 × 4 with missing positions, groups of {groups}, {worlds} maps", f"{100 * np.mean(found):.1f} %")


def best(worlds):
    for name, plan in {"noise": np.full((4, 5), .5), "a plateau of .7": np.full((4, 5), .7)}.items():
        got = []
        for seed in range(worlds):
            acts, ans = planted(200, 4, 5, 24, auc=plan, groups=2, massive=0, seed=seed)
            m = probe_map(acts, ans, permutations=0, progress=False)
            inside = m.attrs["best_auc_low"], m.attrs["best_auc_high"]
            got.append((m.attrs["best_auc"], float(m["auc"].max()), float(m["auc"].mean()), *inside))
        nested, largest, cell, low, high = np.array(got).T
        truth = cell.mean()  # all cells are alike, so that choosing cannot help
        say(f"best cell, 20 cells of {name}, {worlds} maps", f"truth {truth:.3f}; nested {nested.mean():.3f} "
            f"(off by {nested.mean() - truth:+.3f}); largest {largest.mean():.3f} (off by {largest.mean() - truth:+.3f}); "
            f"interval holds {100 * ((low <= truth) & (truth <= high)).mean():.1f} %")


def compare_maps(worlds):
    from probe_nb.compare import compare
    for groups in (1, 2, 10):
        for a, b in ((.5, .5), (.75, .75), (.9, .9), (.75, .85)):
            got, adjusted = [], []
            for seed in range(worlds):
                plan = np.array([[a, b]] * 3)
                acts, ans = planted(300, 3, 2, 24, auc=plan, groups=groups, massive=0, seed=seed)
                m = probe_map(acts, ans, permutations=0, scores=True, C=.01, progress=False)
                d = compare(m.sel(position="first_answer").drop_vars("position"), m.sel(position="last_q").drop_vars("position"))
                got.append([d[v].values[0] for v in ("diff", "diff_low", "diff_high", "p_value")])
                adjusted.append(float(d["p_adjusted"].min()) <= .05)
            diff, low, high, p = np.array(got).T
            truth = diff.mean() if a != b else 0
            say(f"compare {b} with {a}, groups of {groups}, {worlds} worlds",
                f"mean {diff.mean():+.3f}; p ≤ .05 in {100 * (p <= .05).mean():.1f} %; "
                f"interval holds {truth:+.3f} in {100 * ((low <= truth) & (truth <= high)).mean():.1f} %; "
                f"any of 3 adjusted ≤ .05 in {100 * np.mean(adjusted):.1f} %")


def clock(_):
    acts, ans = planted(1704, 8, 15, 128, groups=8, missing={"-8": .25})
    for P in (0, 200):
        start = time.process_time()
        probe_map(acts, ans, permutations=P, progress=False)
        say(f"8 × 15 cells, 1,704 × 128, {P} permutations", f"{time.process_time() - start:.1f} s of processor")
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(2, 1000, 4096)).astype("f4"), rng.random(1000) < .6
    start = time.process_time()
    label_aucs(X, np.stack([y] + [rng.permutation(y) for _ in range(100)]), np.arange(1000) % 5)
    say("100 permutations of a cell of 1,000 × 4,096, five folds", f"{(time.process_time() - start) / 2:.2f} s of processor")


if __name__ == "__main__":
    torch.set_num_threads(1)
    todo = {"coverage": coverage, "null": null, "best": best, "compare": compare_maps, "time": clock}
    p = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    p.add_argument("section", nargs="+", choices=todo)
    p.add_argument("--worlds", type=int)
    p.add_argument("--n", type=int, nargs="+", default=(200, 400), help="answers of a world, for coverage")
    given = p.parse_args()
    for name in given.section:
        worlds = given.worlds or {"coverage": 800, "null": 300, "best": 200, "compare": 500}.get(name)
        todo[name](worlds, given.n) if name == "coverage" else todo[name](worlds)
