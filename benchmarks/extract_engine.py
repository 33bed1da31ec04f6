"""The engine against the bare forward pass of the same batches: `python benchmarks/extract_engine.py`. One number a line.

Ratios are of the best of a few interleaved rounds in one process; a random Llama of 12 blocks x 512, float32, on a CPU (its
time is the process's own, so that other work on the machine does not count) or a GPU.
"""
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from transformers import LlamaConfig, LlamaForCausalLM

sys.path.insert(0, str(Path(__file__).resolve().parent.parent/"tests"))
from worlds import tiny_tokenizer  # noqa: E402

from probe_nb.activations import _asked, _form, _make_part, _walk, estimate, extract, open_acts  # noqa: E402
from probe_nb.models import load_lm, pick_device  # noqa: E402
from probe_nb.passes import _pad, read_shared, read_sites  # noqa: E402

CLOCK = time.perf_counter if torch.cuda.is_available() else time.process_time
ROUNDS, N = 3, int(sys.argv[1]) if len(sys.argv) > 1 else 64


def model(device):
    torch.manual_seed(0)
    size = dict(hidden_size=512, intermediate_size=1408, num_hidden_layers=12, num_attention_heads=8, num_key_value_heads=8)
    return load_lm(LlamaForCausalLM(LlamaConfig(vocab_size=4096, **size)).to(device), tiny_tokenizer(), check=False)


def answers(n, low=60, high=250, prompt=40, samples=1, seed=0):
    rng = np.random.default_rng(seed)
    prompts = [rng.integers(3, 4000, prompt).tolist() for _ in range(-(-n//samples))]
    said = [rng.integers(3, 4000, m - prompt).tolist() for m in rng.integers(low, high + 1, n)]
    ans = pd.DataFrame(dict(example=range(n), prompt_ids=[prompts[i//samples] for i in range(n)], answer_ids=said))
    place = lambda i, k: dict(example=i, position=str(k), start=prompt - 1 + k, stop=prompt + k, pool="first")
    return ans, pd.DataFrame([place(i, k) for i in range(n) for k in range(15)])


def best(*works):
    "Seconds of each, the best of a few rounds in turn."
    times = [[] for _ in works]
    for _ in range(ROUNDS):
        for t, work in zip(times, works):
            start = CLOCK()
            work()
            if torch.cuda.is_available(): torch.cuda.synchronize()
            t.append(CLOCK() - start)
    return [min(t) for t in times]


def bare(lm, ans, pos, budget=4000):
    "The same padded batches through the decoder, nothing kept."
    grid, rows = _asked(lm, ans, pos, "resid", None)
    part = _make_part(lm, grid, rows, *_form(lm, grid, None), budget, None)
    batches = [_pad([rows[part.place].ids[i] for i in at], lm) for _, _, at in _walk(part, range(part.n_blocks))]
    base = lm.model.model
    def work():
        with lm.reading():
            for ids, mask in batches: base(input_ids=ids, attention_mask=mask, use_cache=False)
    return work


def sharing(lm):
    ans, pos = answers(10, 450, 450, 400, samples=10)
    grid, rows = _asked(lm, ans, pos, "resid", None)
    what = grid.start, grid.stop, grid.pool, "resid", grid.layer
    prompts, said = ans["prompt_ids"].tolist(), ans["answer_ids"].tolist()
    one = lambda: extract(lm, ans, pos, site="resid", progress=False)
    t = best(lambda: read_sites(lm, rows.ids, *what), lambda: read_shared(lm, prompts, said, *what), one)
    a, b = read_sites(lm, rows.ids, *what), read_shared(lm, prompts, said, *what)
    print(f"ten samples, prompt of 400 tokens: recomputed / shared: {t[0]/t[1]:.2f} (at least 4); "
          f"largest difference {float((a - b).abs().max()/a.abs().max()):.1e}")
    print(f"the same with the trial that comes before it: {t[0]/t[2]:.2f}")


def main():
    lm = model(pick_device())
    sharing(lm)
    ans, pos = answers(1000)
    e = estimate(lm, ans, pos, site="resid", token_budget=4000, path=Path(tempfile.mkdtemp())/"x")
    print(f"padding, 1,000 answers of 60-250 tokens, budget 4,000: {1 - e.tokens/e.computed:.4f} (at most 0.02)")
    everything = sum(len(p) + len(a) for p, a in zip(ans["prompt_ids"], ans["answer_ids"]))*12*512*4
    print(f"all tokens / stored, the same type: {everything/e.disk:.1f}; float32 all / half stored: {2*everything/e.disk:.1f}")
    ans, pos = answers(N)
    folder = Path(tempfile.mkdtemp())
    n = iter(range(10**6))
    full = lambda **kw: extract(lm, ans, pos, site="resid", token_budget=4000, progress=False, **kw)
    t = best(bare(lm, ans, pos), full, lambda: full(path=folder/str(next(n))), lambda: full(layers=list(range(6))))
    print(f"extract in memory / bare forward: {t[1]/t[0]:.3f} (at most 1.05)")
    print(f"extract to disk / bare forward: {t[2]/t[0]:.3f}")
    print(f"all layers / the lower half: {t[1]/t[3]:.2f} (at least 1.6)")
    stored = full(path=folder/"read")
    start = time.perf_counter()
    for _ in range(20): open_acts(folder/"read").isel(position=3, layer=5).load()
    print(f"open and read one cell of {stored.shape[0]} answers: {(time.perf_counter() - start)/20*1e3:.1f} ms")


if __name__ == "__main__": main()
