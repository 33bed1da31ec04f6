"""Span look-ups with their proof: seconds on one core, one figure a line.

python benchmarks/spans.py [--n 100000]     answers of 100 tokens, all different; as many by every method and tokenizer
"""
import argparse
import random
import sys
import time
from pathlib import Path

import pandas as pd
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
from families import FAMILIES
from worlds import tiny_model

from probe_nb.models import load_lm
from probe_nb.spans import Pieces, char_ranges, find_spans

PLACES = ["Torvik", "Paris", "Rome", "Zürich", "Köln", "São Paulo", "Europe"]
WORDS = "I think that it was born there of course where Nobody is in Alda Brenn cities question answer — naïve".split()


def answers(tok, n, emoji, seed=0):
    "Answers of 100 tokens: words, one of the options after a while, an end token."
    rng, rows = random.Random(seed), []
    for i in range(n):
        said = [rng.choice(WORDS) for _ in range(90)]
        said[rng.randrange(3, 15)] = rng.choice(PLACES)
        said[rng.randrange(3, 15)] = f"{rng.randrange(2000):,}"
        if emoji: said[rng.randrange(3, 15)] = "🙂東京"
        ids = tok(" ".join(said), add_special_tokens=False)["input_ids"][:99] + [tok.eos_token_id]
        rows.append(dict(example=i, question="Where was it?", gold=["Rome"], options=PLACES, prompt_ids=[1], answer_ids=ids,
                         answer=tok.decode(ids, skip_special_tokens=True).strip()))
    return pd.DataFrame(rows)


def line(what, value, unit="s"): print(f"{what}: {value:.4g} {unit}", flush=True)


def look_up(lm, name, ans, method, n):
    start, clock = time.process_time(), time.perf_counter()
    found = find_spans(lm, ans, method, progress=False)
    seconds = time.process_time() - start
    line(f"{name}, {method}: CPU seconds for 100,000 answers", seconds/n*1e5)
    line(f"{name}, {method}: of the clock", (time.perf_counter() - clock)/n*1e5)
    line(f"{name}, {method}: found, proven", 100*found["span_start"].notna().mean(), "%")


if __name__ == "__main__":
    args = argparse.ArgumentParser()
    args.add_argument("--n", type=int, default=10_000)
    n = args.parse_args().n
    torch.set_num_threads(1)
    model = tiny_model("llama")
    model.generation_config.eos_token_id = None
    for name, tok in FAMILIES.items():
        lm, ans = load_lm(model, tok), answers(tok, n, emoji=False)
        line(f"{name}: tokens an answer", ans["answer_ids"].map(len).mean(), "")
        look_up(lm, name, ans, "options", n)
    name = "byte-level, Llama 3"
    lm = load_lm(model, FAMILIES[name])
    ans = answers(lm.tokenizer, n, emoji=True)
    look_up(lm, f"{name}, emoji in each", ans, "options", n)
    look_up(lm, name, ans.assign(options=None), "phrase", n)
    look_up(lm, name, ans.assign(options=None), "number", n)
    some, pieces = ans["answer_ids"].iloc[:500], Pieces(lm.tokenizer)
    for what, f in [("pieces", pieces.ranges), ("every prefix decoded", lambda ids: char_ranges(lm.tokenizer, ids))]:
        start = time.process_time()
        for ids in some: f(ids)
        line(f"{name}: characters of tokens alone, {what}, 100,000 answers", (time.process_time() - start)/len(some)*1e5)
