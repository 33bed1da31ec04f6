"""Extraction against the bare forward pass and against its peers: CPU seconds of one thread and their ratios, one figure a line.

python benchmarks/extract.py [--n 48] [--repeat 3] [--layers 8] [--width 512] [--budget 4000] [--device cpu]

A random Llama of float32 (bfloat16 on a GPU), answers of 60–250 tokens, fifteen positions, all layers, the same batches for all:
those of `extract`, sorted by length under a token budget. Each contestant is run in turn, `repeat` times over, and its least time
counts. On a CPU the clock is the process's CPU time, so that neighbours on the machine cost little: run with OMP_NUM_THREADS=1.

bare                the decoder without its head, nothing read
read_sites          ours, batch by batch, mlp_in: it ends before the last block's MLP
read_sites, resid   the same at the end of each block, so that nothing is saved
extract             ours, the whole way from answers to a labelled array in memory
hidden states       output_hidden_states=True, every token of every layer kept until the batch is done, then gathered (resid)
nnsight             a trace in which each layer's MLP input is gathered and saved
TransformerLens     TransformerBridge.run_with_cache with the MLPs' hook_in named, then gathered
one at a time       a tap on every block, one answer a pass, all tokens of all layers to the host, then gathered (resid)
Peers that are not installed are said to be so: pip install nnsight transformer-lens
"""
import argparse
import tempfile
import time
import warnings

import numpy as np
import pandas as pd
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast
from transformers.utils import logging

from probe_nb.activations import _sizes, extract
from probe_nb.models import load_lm
from probe_nb.passes import read_sites

P = 15


def line(what, value, unit=""): print(f"{what}: {value:.3g} {unit}".rstrip(), flush=True)


def world(layers, width, device):
    torch.manual_seed(0)
    size = dict(hidden_size=width, intermediate_size=4*width, num_hidden_layers=layers, num_attention_heads=width//64,
                num_key_value_heads=width//64, vocab_size=4096, max_position_embeddings=1024)
    model = AutoModelForCausalLM.from_config(AutoConfig.for_model("llama", **size)).eval()
    tok = Tokenizer(models.WordLevel({f"w{i}": i for i in range(4096)}, unk_token="w0"))
    tok.pre_tokenizer = pre_tokenizers.Whitespace()
    tok = PreTrainedTokenizerFast(tokenizer_object=tok, bos_token="w1", eos_token="w2", pad_token="w0", unk_token="w0")
    return load_lm(model.to(device, torch.float32 if device == "cpu" else torch.bfloat16), tok, check=False)


def answers(n, seed=0):
    "Rows of 60 to 250 tokens, and fifteen positions in the last fifty of each."
    rng = np.random.default_rng(seed)
    rows = [rng.integers(3, 4096, k).tolist() for k in rng.integers(60, 251, n)]
    ans = pd.DataFrame(dict(example=range(n), prompt_ids=[r[:40] for r in rows], answer_ids=[r[40:] for r in rows]))
    at = np.stack([np.sort(rng.choice(50, P, replace=False)) + len(r) - 50 for r in rows])
    return rows, at, ans, table(at)


def table(at):
    "Positions as `positions` would give them."
    pos = pd.DataFrame(dict(example=np.repeat(np.arange(len(at)), P), position=[str(i) for i in range(P)]*len(at), pool="first"))
    return pos.assign(start=at.ravel(), stop=at.ravel() + 1).astype(dict(start="Int64", stop="Int64"))


def batched(rows, budget):
    "Indices, batch by batch, longest first: as `extract` forms them."
    order = sorted(range(len(rows)), key=lambda i: (-len(rows[i]), i))
    ends = np.cumsum(_sizes(np.zeros(len(rows), int), np.array([len(rows[i]) for i in order]), set(), budget))
    return [order[a:b] for a, b in zip([0, *ends], ends)]


def padded(rows, device):
    n = max(map(len, rows))
    put = lambda x: torch.tensor(x, device=device)
    return put([r + [0]*(n - len(r)) for r in rows]), put([[1]*len(r) + [0]*(n - len(r)) for r in rows])


class Race:
    "What each contestant does with one list of batches; each gives [row, position, layer, feature] on the host, or nothing."
    def __init__(self, lm, rows, at, ans, pos, budget):
        self.lm, self.rows, self.at, self.ans, self.pos, self.budget = lm, rows, at, ans, pos, budget
        self.batches, self.layers = batched(rows, budget), list(range(lm.n_layers))

    def _each(self, one):
        out = [None]*len(self.rows)
        for b in self.batches:
            got = one(b, *padded([self.rows[i] for i in b], self.lm.device))
            for i, g in zip(b, () if got is None else got.cpu()): out[i] = g
        return torch.stack(out) if out[0] is not None else None

    def _pick(self, h, b): return h[torch.arange(len(b), device=h.device)[:, None], torch.as_tensor(self.at[b], device=h.device)]

    @torch.inference_mode()
    def bare(self):
        def one(b, ids, mask): self.lm.model.model(input_ids=ids, attention_mask=mask, use_cache=False)
        return self._each(one)

    def read_sites(self, layers=None, site="mlp_in"):
        def one(b, ids, mask):
            at, which = self.at[b], layers or self.layers
            return read_sites(self.lm, [self.rows[i] for i in b], at, at + 1, ["first"]*P, site, which)
        return self._each(one)

    def resid(self): return self.read_sites(site="resid")

    def half(self): return self.read_sites(self.layers[:len(self.layers)//2])

    def extract(self):
        return torch.from_numpy(extract(self.lm, self.ans, self.pos, token_budget=self.budget, progress=False).values)

    @torch.inference_mode()
    def hidden_states(self):
        def one(b, ids, mask):
            kept = self.lm.model(input_ids=ids, attention_mask=mask, use_cache=False, output_hidden_states=True).hidden_states
            return torch.stack([self._pick(h, b) for h in kept[1:]], 2)
        return self._each(one)

    @torch.inference_mode()
    def one_at_a_time(self):
        out, kept = [], []
        def keep(m, a, o): kept.append((o[0] if isinstance(o, tuple) else o).cpu())
        hooks = [block.register_forward_hook(keep) for block in self.lm.blocks]
        for i, r in enumerate(self.rows):
            kept.clear()
            self.lm.model(input_ids=torch.tensor([r], device=self.lm.device))
            out.append(torch.stack(kept, 2)[0][self.at[i]])
        for h in hooks: h.remove()
        return torch.stack(out)


def add_nnsight(race):
    import nnsight
    model = nnsight.NNsight(race.lm.model)

    @torch.inference_mode()
    def run():
        def one(b, ids, mask):
            at = torch.as_tensor(race.at[b], device=ids.device)
            row = torch.arange(len(b), device=ids.device)[:, None]
            with model.trace(input_ids=ids, attention_mask=mask, use_cache=False):
                kept = nnsight.save([])
                for layer in model.model.layers: kept.append(layer.mlp.input[row, at])
            return torch.stack(list(kept), 2)
        return race._each(one)
    return f"nnsight {nnsight.__version__}", run


def add_transformer_lens(race):
    from importlib.metadata import version

    from transformer_lens.model_bridge import TransformerBridge
    with tempfile.TemporaryDirectory() as folder:
        race.lm.model.save_pretrained(folder)
        race.lm.tokenizer.save_pretrained(folder)
        bridge = TransformerBridge.boot_transformers(folder, device=str(race.lm.device), dtype=race.lm.model.dtype)
    names = [f"blocks.{i}.mlp.hook_in" for i in race.layers]

    @torch.inference_mode()
    def run():
        def one(b, ids, mask):
            _, cache = bridge.run_with_cache(ids, attention_mask=mask, names_filter=names, return_type=None)
            return torch.stack([race._pick(cache[n], b) for n in names], 2)
        return race._each(one)
    return f"TransformerLens {version('transformer-lens')}", run


def shared(lm, repeat, clock, questions, samples=10, prompt=400, tokens=50):
    "Ten samples of a question with a long prompt: extract, which reads the prompt once, against reading each whole."
    rng, n = np.random.default_rng(1), samples*questions
    asked = [rng.integers(3, 4096, prompt).tolist() for _ in range(questions)]
    asked, said = [a for a in asked for _ in range(samples)], [rng.integers(3, 4096, tokens).tolist() for _ in range(n)]
    ans = pd.DataFrame(dict(example=range(n), prompt_ids=asked, answer_ids=said))
    at = np.tile(np.arange(prompt + tokens - P, prompt + tokens), (n, 1))
    race = Race(lm, [a + s for a, s in zip(asked, said)], at, ans, table(at), 8192)
    times = timed({"whole": race.read_sites, "shared": race.extract}, repeat, clock)
    what = f"{questions} × {samples} samples of a {prompt}-token prompt"
    line(f"{what}: recomputing ÷ extract", times["whole"]/times["shared"])
    line(f"{what}: relative difference", apart(race.extract(), race.read_sites()))


def apart(a, b): return ((a.float() - b.float()).norm()/b.float().norm()).item()


def timed(contestants, repeat, clock):
    best = dict.fromkeys(contestants, np.inf)
    for f in contestants.values(): f()  # warm
    for _ in range(repeat):
        for name, f in contestants.items():
            t = clock()
            f()
            best[name] = min(best[name], clock() - t)
    return best


def main():
    parser = argparse.ArgumentParser()
    for name, default in [("n", 48), ("repeat", 3), ("layers", 8), ("width", 512), ("budget", 4000)]:
        parser.add_argument(f"--{name}", type=int, default=default)
    parser.add_argument("--device", default="cpu")
    o = parser.parse_args()
    logging.set_verbosity_error()
    warnings.filterwarnings("ignore")

    def clock():
        if o.device == "cpu": return time.process_time()
        torch.cuda.synchronize()
        return time.perf_counter()
    lm = world(o.layers, o.width, o.device)
    rows, at, ans, pos = answers(o.n)
    race = Race(lm, rows, at, ans, pos, o.budget)
    tokens, held = sum(map(len, rows)), sum(len(b)*len(rows[b[0]]) for b in race.batches)
    line("tokens", tokens)
    line("padding", 100*(held - tokens)/held, "%")
    run = {"bare": race.bare, "read_sites": race.read_sites, "read_sites, resid": race.resid, "extract": race.extract,
           "half the depth": race.half, "hidden states": race.hidden_states, "one at a time": race.one_at_a_time}
    for add in (add_nnsight, add_transformer_lens):
        try: name, f = add(race)
        except ImportError as e: print(f"{add.__name__.removeprefix('add_')}: not installed ({e})")
        else: run[name] = f
    if o.device == "cpu": torch.set_num_threads(1)
    best = timed(run, o.repeat, clock)
    for name, t in best.items(): line(f"{name}: seconds", t)
    for name, t in best.items():
        if name != "bare": line(f"{name} ÷ bare", t/best["bare"])
    for name, t in best.items():
        if name not in ("bare", "read_sites", "half the depth"): line(f"{name} ÷ read_sites", t/best["read_sites"])
    line("all layers ÷ half the depth", best["read_sites"]/best["half the depth"])
    ours = race.read_sites()
    for name in [n for n in run if n.startswith(("extract", "nnsight", "Transformer"))]:
        line(f"{name}: relative difference from ours", apart(run[name](), ours))
    line("one at a time: relative difference from ours at resid", apart(race.one_at_a_time(), race.resid()))
    line("hidden states: the same, but for the last layer, which is after the norm",
         apart(race.hidden_states()[:, :, :-1], race.resid()[:, :, :-1]))
    for questions in (1, 4): shared(lm, o.repeat, clock, questions)


if __name__ == "__main__": main()
