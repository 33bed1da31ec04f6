"""Figures of the model that ships with the package, each beside the range it must lie in.

    python benchmarks/demo_model.py                      # under ten minutes on two free cores
    python benchmarks/demo_model.py --folder FOLDER --no-samples

Every AUC is out of entity: no entity stands on both sides of a split. There are five split seeds; the worst is printed.
A best cell is chosen on the training entities of each split, never on those it is scored on.
"""
import argparse
import time
from collections import Counter
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn.feature_extraction.text import CountVectorizer

from probe_nb import all as nb
from probe_nb.all import LogisticProbe, ProbeGrid, group_folds, judge, load_lm, load_questions, positions
from probe_nb.probes import auc

quiet = (partial(f, progress=False) for f in (nb.answer, nb.find_spans, nb.extract, nb.probe_map))
answer, find_spans, extract, probe_map = quiet
SEEDS, C = range(5), .01
EXACT = ["exact_answer_first", "exact_answer_last"]
NEAR = [*EXACT, "exact_answer_before_first", "exact_answer_after_last"]
FAMILY = {"demo/born_in": "people", "demo/works_as": "people", "demo/older": "places", "demo/larger": "places"}


# ---- printing ----
def line(name, value, ok, wanted, note=""):
    print(f"{'PASS' if ok else 'FAIL'}  {name:<66} {value:>8}   wanted {wanted:<12} {note}", flush=True)


def at_least(name, value, low, note=""): line(name, f"{value:.3f}", value >= low, f">= {low}", note)
def at_most(name, value, high, note=""): line(name, f"{value:.3f}", value <= high, f"<= {high}", note)
def between(name, value, low, high, note=""): line(name, f"{value:.3f}", low <= value <= high, f"{low} - {high}", note)


# ---- scores out of entity ----
def cross(X, y, g, seed, C=C, folds=5):
    "AUC of each cell, folds by entity; X [cell, example, feature]."
    return ProbeGrid(C=[C], folds=folds, scale=True, seed=seed).fit(X, y, g).auc_[:, 0]


def bag(texts): return CountVectorizer(token_pattern=r"\w+").fit_transform(texts).toarray()[None].astype(float)


def cells(acts, rows):
    "X [cell, example, feature] of the two exact-answer columns, at every layer."
    X = acts.sel(position=EXACT).transpose("position", "layer", "example", "feature").values[:, :, rows]
    return X.reshape(-1, *X.shape[2:])


def best_probe(acts, y, g, rows, seed):
    "The best exact-answer cell in folds by entity of these rows, and a probe fitted on all of them there."
    X = cells(acts, rows)
    k = cross(X, y[rows], g[rows], seed, folds=3).argmax()
    return k, LogisticProbe(C=C, scale=True).fit(X[k], y[rows])


def outputs(ans, y):
    "AUC of the model's own probabilities: the least and the mean of the answer's and of the exact answer's tokens."
    rows = list(zip(ans.token_logprobs, ans.span_start, ans.span_stop))
    parts = {"answer": [lp for lp, _, _ in rows], "exact answer": [lp[a:b] for lp, a, b in rows]}
    return {f"{f.__name__} over the {k}": float(auc(np.array([f(v) for v in p]), y))
            for k, p in parts.items() for f in (np.min, np.mean)}


def transfer(acts, ans, y, g, seed):
    "Signed AUC, relation → relation, on entities that the probe has not seen."
    half, rel, out = group_folds(y, g, 2, seed), ans.dataset.to_numpy(), {}
    for a in FAMILY:
        k, p = best_probe(acts, y, g, np.flatnonzero((half == 0) & (rel == a)), seed)
        for b in FAMILY:
            rows = np.flatnonzero((half == 1) & (rel == b))
            out[a, b] = float(auc(p.decision_function(cells(acts, rows)[k]), y[rows]))
    return out


# ---- what is printed ----
def greedy(ans):
    for rel, part in ans.groupby("dataset"):
        told = part[part.correct.notna()]
        between(f"greedy accuracy, {rel}", told.correct.mean(), .35, .75, f"n = {len(told)}")
    between("refusals, all relations", (ans.outcome == "refused").mean(), .01, .10, f"n = {len(ans)}")


def the_map(maps):
    "Where the signal stands: against the question, the last tokens, layer 0 and the first blocks."
    best = np.array([m.best_auc for m in maps])
    A = np.stack([m.auc.values for m in maps])      # [seed, layer, position]
    at = [str(p) for p in maps[0].position.values].index
    asked, last, ends = A[:, :, at("last_q")].max(1), A[:, :, at("exact_answer_last")], A[:, :, at("-8"):].max(1).mean(1)
    at_least("probe above the best last_q cell", (best - asked).min(), .15, f"last_q {asked.max():.3f}")
    at_least("probe above the mean of columns -8 ... -1, at their best layers", (best - ends).min(), .1, f"mean {ends.max():.3f}")
    at_most("layer 0, highest column", A[:, 0].max(), .65, str(maps[0].position.values[A[:, 0].max(0).argmax()]))
    later = last[:, last.shape[1] // 2:].mean(1)
    at_least("depth: later half of the blocks above block 0, exact_answer_last", (later - last[:, 0]).min(), .15)
    tops = {str(maps[0].position.values[i]) for i in A.max(1).argmax(1)}
    line("the highest column", "", tops <= set(NEAR), "exact answer", ", ".join(sorted(tops)))
    names = [str(p).replace("exact_answer_", "exact_") for p in maps[0].position.values]
    print(pd.DataFrame(A.mean(0), columns=names).round(2).to_string())


def controls(acts, ans, y, g, best):
    "Shuffled labels, and probes that see no activations."
    texts = {"the answer's words": ans.answer, "the exact answer's words": ans.exact_answer, "the question's words": ans.question}
    given = {k: (bag(v), 1.) for k, v in texts.items()}
    given["the entity's frequency"] = (ans[["frequency"]].to_numpy(float)[None], 1.)
    lengths = np.stack([ans.answer_ids.map(len), ans.span_start, ans.span_stop - ans.span_start], 1)
    given["lengths"] = (lengths.astype(float)[None], 1.)
    for name, (X, c) in given.items():
        v = np.array([cross(X, y, g, s, c)[0] for s in SEEDS])
        at_least(f"probe above {name} alone", (best - v).min(), .10, f"{name} {v.max():.3f}")
    X, rng = cells(acts, np.arange(len(y))), np.random.default_rng(0)
    null = [np.mean([cross(X[-1:], rng.permutation(y), g, s) for _ in range(5)]) for s in SEEDS]
    far = max(null, key=lambda v: abs(v - .5))
    between("shuffled labels, exact_answer_last, mean of five shuffles", far, .45, .55, "the seed furthest from 0.5")


def families(acts, ans, y, g):
    "Probes from one relation on another, inside a family and outside."
    moved = pd.DataFrame([transfer(acts, ans, y, g, s) for s in SEEDS])
    moved.columns = pd.MultiIndex.from_tuples(moved.columns)
    same = {k: [(a, b) for a, b in moved if a != b and (FAMILY[a] == FAMILY[b]) == k] for k in (True, False)}
    inside, outside = moved[same[True]], moved[same[False]]
    reach = lambda t: f"pairs {t.mean().min():.2f} to {t.mean().max():.2f}"
    at_least("transfer inside a family, mean of pairs, lowest seed", inside.mean(axis=1).min(), .75, reach(inside))
    at_most("transfer outside, mean of pairs, highest seed", outside.mean(axis=1).max(), .60, reach(outside))
    print(moved.mean().unstack().loc[list(FAMILY), list(FAMILY)].round(2).to_string())


def kinds(said, gold):
    "Which of the paper's kinds of errors (section 5) the samples of one question show; `said` is '' for a refusal."
    n, right = len(said), said.count(gold)
    wrong = Counter(s for s in said if s not in ("", gold)).most_common(1)
    top, distinct = (wrong[0][1] if wrong else 0), len(set(said) - {""})
    return dict(refuses=said.count("") >= n / 2, mostly_right=n / 2 <= right < n, consistently_wrong=top >= n / 2,
                two_competing=abs(right - top) <= n / 6 and min(right, top) >= n / 6, many_different=distinct > n / 3)


def choose(acts, y, g, drawn, sampled, seed):
    "Share of questions answered right when a probe from other entities chooses one of the samples."
    fold, chosen = group_folds(y, g, 5, seed), []
    for k in range(5):
        cell, p = best_probe(acts, y, g, np.flatnonzero(fold != k), seed)
        rows = np.flatnonzero(sampled.group.isin(set(g[fold == k])))
        score = pd.Series(p.decision_function(cells(drawn, rows)[cell]), index=rows)
        chosen += [sampled.correct.iloc[s.idxmax()] for _, s in score.groupby(sampled.id.iloc[rows].to_numpy())]
    return sum(map(bool, chosen))


def samples(lm, qs, acts, y, g, n=30):
    "Thirty samples at temperature 1 of every fact, asked in one of its ways."
    about = qs["id"].str.rsplit("-", n=1).str[0]
    ways, fact = (getattr(qs.groupby(about, sort=False), f)() for f in ("cumcount", "ngroup"))
    ans = find_spans(lm, judge(answer(lm, qs[ways == fact % 4].reset_index(drop=True), n_samples=n, max_new_tokens=40)))
    drawn, first = ans[ans["sample"] > 0].copy(), ans[ans["sample"] == 0]
    drawn["said"] = drawn.exact_answer.where(drawn.correct.notna()).fillna("").str.lower()
    shown = pd.DataFrame([kinds(part.said.tolist(), part.gold.iloc[0][0].lower()) for _, part in drawn.groupby("id", sort=False)])
    for name, count in shown.sum().items():
        line(f"30 samples: {name}", str(count), count > 0, "> 0", f"of {len(shown)} questions")
    told = drawn[drawn.span_start.notna() & drawn.correct.notna()].reset_index(drop=True)
    inner = extract(lm, told, positions(told, EXACT), site="mlp_in")
    base, each = (a.correct.fillna(False).mean() for a in (first, drawn))      # a refusal is not right
    gains = [choose(acts, y, g, inner, told, s) / len(first) - base for s in SEEDS]
    at_least("choosing by probe above greedy, lowest seed", min(gains), .05, f"greedy {base:.3f}, a sample {each:.3f}")


def run(folder, draw):
    lm, qs = load_lm(str(folder)), load_questions(str(Path(folder) / "questions.jsonl"))
    size = sum(f.stat().st_size for f in Path(folder).iterdir()) / 1e6
    print(f"{lm.model.num_parameters():,} parameters, {lm.model.config.num_hidden_layers} blocks, {size:.2f} MB; "
          f"{len(qs)} questions, {qs.group.nunique()} entities")
    ans = find_spans(lm, judge(answer(lm, qs, max_new_tokens=40)))
    greedy(ans)
    ans = ans[ans.correct.notna() & ans.span_start.notna()].reset_index(drop=True)
    acts = extract(lm, ans, positions(ans), site="mlp_in")
    y, g = ans.correct.to_numpy(bool), ans.group.to_numpy()
    maps = [probe_map(acts, ans, seed=s, C=C) for s in SEEDS]
    best = np.array([probe_map(acts, ans, seed=s, C=C, positions=EXACT).best_auc for s in SEEDS])
    between("probe, best exact-answer cell, lowest seed", best.min(), .85, .97, f"n = {len(y)}, wrong {(~y).sum()}")
    between("probe, best exact-answer cell, highest seed", best.max(), .85, .97)
    outs = outputs(ans, y)
    shown = ", ".join(f"{k} {v:.3f}" for k, v in outs.items())
    at_least("probe above the best output baseline", best.min() - max(outs.values()), .05, shown)
    the_map(maps)
    controls(acts, ans, y, g, best)
    families(acts, ans, y, g)
    if draw: samples(lm, qs, acts, y, g)


if __name__ == "__main__":
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("--folder", default=Path(__file__).parents[1] / "probe_nb" / "demo")
    a.add_argument("--no-samples", action="store_true")
    a.add_argument("--threads", type=int, default=2)
    args, began = a.parse_args(), time.time()
    torch.set_num_threads(args.threads)
    run(args.folder, not args.no_samples)
    print(f"{time.time() - began:.0f} s")
