"""Extraction against the bare forward pass and against its peers: CPU seconds of one thread and their ratios, one figure a line.

python benchmarks/extract.py [race|engine|shared|gpu …] [--n 48] [--repeat 3] [--layers 8] [--width 512] [--budget 4000]
                             [--device cpu] [--out FOLDER]

race     against its peers (below); engine: padding, memory, disk, half the depth; shared: ten samples of one question
gpu      8 billion parameters, Llama-shaped, random, bfloat16: 1,000 answers of about 155 tokens, 32 layers × 15 positions to
         disk. Ready to run, and not run yet: no GPU could be had. --layers and --width make it small; --device cpu tries it.
Default: race, engine, shared.

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
import resource
import shutil
import tempfile
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedTokenizerFast
from transformers.utils import logging

from probe_nb.activations import estimate, extract, open_acts
from probe_nb.models import load_lm
from probe_nb.passes import read_shared, read_sites
from probe_nb.plan import _sizes

P = 15


def line(what, value, unit=""): print(f"{what}: {value:.3g} {unit}".rstrip(), flush=True)


def world(layers, width, device, dtype=None, **more):
    torch.manual_seed(0)
    size = dict(hidden_size=width, intermediate_size=4*width, num_hidden_layers=layers, num_attention_heads=width//64,
                num_key_value_heads=width//64, vocab_size=4096, max_position_embeddings=1024) | more
    dtype = dtype or (torch.float32 if device == "cpu" else torch.bfloat16)
    with torch.device(device): model = AutoModelForCausalLM.from_config(AutoConfig.for_model("llama", **size), dtype=dtype).eval()
    tok = Tokenizer(models.WordLevel({f"w{i}": i for i in range(4096)}, unk_token="w0"))
    tok.pre_tokenizer = pre_tokenizers.Whitespace()
    tok = PreTrainedTokenizerFast(tokenizer_object=tok, bos_token="w1", eos_token="w2", pad_token="w0", unk_token="w0")
    return load_lm(model, tok, check=False)


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


def shared(lm, repeat, clock, questions=1, samples=10, prompt=400, tokens=50):
    "Ten samples of a question with a long prompt: extract, which reads the prompt once, against reading each whole."
    rng, n = np.random.default_rng(1), samples*questions
    asked = [rng.integers(3, 4096, prompt).tolist() for _ in range(questions)]
    asked, said = [a for a in asked for _ in range(samples)], [rng.integers(3, 4096, tokens).tolist() for _ in range(n)]
    ans = pd.DataFrame(dict(example=range(n), prompt_ids=asked, answer_ids=said))
    at = np.tile(np.arange(prompt + tokens - P, prompt + tokens), (n, 1))
    race = Race(lm, [a + s for a, s in zip(asked, said)], at, ans, table(at), 8192)
    def first():
        lm.tried.clear()
        return race.extract()
    passes = lambda: read_shared(lm, asked, said, at, at + 1, ["first"]*P, "mlp_in", race.layers)
    times = timed({"whole": race.read_sites, "the passes alone": passes, "extract": race.extract,
                   "extract, the first time": first}, repeat, clock)
    what = f"{questions} × {samples} samples of a {prompt}-token prompt"
    for name in list(times)[1:]: line(f"{what}: recomputing ÷ {name}", times["whole"]/times[name])
    line(f"{what}: relative difference", apart(race.extract(), race.read_sites()))


def engine(lm, o, clock):
    "What `extract` takes beside the bare forward pass of the same batches, and what it keeps."
    rows, at, ans, pos = answers(1000)
    e = estimate(lm, ans, pos, token_budget=o.budget, path=Path(tempfile.mkdtemp())/"x")
    line("padding, 1,000 answers of 60-250 tokens (at most 2)", 100*(1 - e.tokens/e.computed), "%")
    everything = sum(map(len, rows))*lm.n_layers*lm.width*4
    line("all tokens ÷ stored, one type", everything/e.disk)
    line("all tokens in float32 ÷ stored in half", 2*everything/e.disk)
    race, folder, n = Race(lm, *answers(o.n), o.budget), Path(tempfile.mkdtemp()), iter(range(10**6))
    def full(**more): return extract(lm, race.ans, race.pos, site="resid", token_budget=o.budget, progress=False, **more)
    best = timed({"bare": race.bare, "in memory": full, "to disk": lambda: full(path=folder/str(next(n))),
                  "lower half": lambda: full(layers=race.layers[:len(race.layers)//2])}, o.repeat, clock)
    line("extract in memory ÷ bare (at most 1.05)", best["in memory"]/best["bare"])
    line("extract to disk ÷ bare (at most 1.05)", best["to disk"]/best["bare"])
    line("all layers ÷ the lower half (at least 1.6)", best["in memory"]/best["lower half"])
    full(path=folder/"read")
    t = time.perf_counter()
    for _ in range(20): open_acts(folder/"read").isel(position=3, layer=5).load()
    line(f"open and read one cell of {o.n} answers", (time.perf_counter() - t)/20*1e3, "ms")
    shutil.rmtree(folder)


def gpu(o, clock):
    "A Llama of 8 billion parameters, as far as speed goes; answers as the paper's, fifteen positions of all layers to disk."
    size = dict(intermediate_size=14336, num_attention_heads=32, num_key_value_heads=8, vocab_size=128256)
    if o.width != 4096: size = {}
    lm, n = world(o.layers, o.width, o.device, torch.bfloat16, **size), o.n
    line("parameters", sum(p.numel() for p in lm.model.parameters())/1e9, "billion")
    race = Race(lm, *answers(n), o.budget)
    folder = Path(tempfile.mkdtemp(dir=o.out))
    def stored():
        path = folder/str(time.perf_counter_ns())
        return extract(lm, race.ans, race.pos, token_budget=o.budget, path=path, progress=False)
    best = timed({"bare": race.bare, "in memory": race.extract, "to disk": stored}, o.repeat, clock)
    written = sum(f.stat().st_size for f in max(folder.iterdir(), key=lambda p: p.name).rglob("*") if f.is_file())
    for name, t in best.items(): line(f"{name}: answers a second", n/t)
    for name, t in best.items(): line(f"{name} ÷ bare", t/best["bare"])
    line("to disk", written/best["to disk"]/1e9, "GB/s")
    line("written", written/1e9, "GB")
    line("most memory of the host", resource.getrusage(resource.RUSAGE_SELF).ru_maxrss/1e6, "GB")
    if o.device == "cuda": line("most memory of the device", torch.cuda.max_memory_allocated()/1e9, "GB")
    one = Race(lm, race.rows[:50], race.at[:50], race.ans[:50], race.pos[:50*P], o.budget)
    alone = timed({"one": one.one_at_a_time}, 1, clock)["one"]
    line("one at a time ÷ extract, an answer (at least 5)", alone/50/(best["in memory"]/n))
    shutil.rmtree(folder)


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


def race(lm, o, clock):
    "Everyone on the same batches."
    rows, at, ans, pos = answers(o.n)
    runs = Race(lm, rows, at, ans, pos, o.budget)
    tokens, held = sum(map(len, rows)), sum(len(b)*len(rows[b[0]]) for b in runs.batches)
    line("tokens", tokens)
    line("padding", 100*(held - tokens)/held, "%")
    run = {"bare": runs.bare, "read_sites": runs.read_sites, "read_sites, resid": runs.resid, "extract": runs.extract,
           "half the depth": runs.half, "hidden states": runs.hidden_states, "one at a time": runs.one_at_a_time}
    for add in (add_nnsight, add_transformer_lens):
        try: name, f = add(runs)
        except ImportError as e: print(f"{add.__name__.removeprefix('add_')}: not installed ({e})")
        else: run[name] = f
    best = timed(run, o.repeat, clock)
    for name, t in best.items(): line(f"{name}: seconds", t)
    for name, t in best.items():
        if name != "bare": line(f"{name} ÷ bare", t/best["bare"])
    for name, t in best.items():
        if name not in ("bare", "read_sites", "half the depth"): line(f"{name} ÷ read_sites", t/best["read_sites"])
    line("all layers ÷ half the depth", best["read_sites"]/best["half the depth"])
    ours = runs.read_sites()
    for name in [n for n in run if n.startswith(("extract", "nnsight", "Transformer"))]:
        line(f"{name}: relative difference from ours", apart(run[name](), ours))
    line("one at a time: relative difference from ours at resid", apart(runs.one_at_a_time(), runs.resid()))
    line("hidden states: the same, but for the last layer, which is after the norm",
         apart(runs.hidden_states()[:, :, :-1], runs.resid()[:, :, :-1]))


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("what", nargs="*", default=["race", "engine", "shared"])
    for name in ("n", "repeat", "layers", "width", "budget"): parser.add_argument(f"--{name}", type=int)
    parser.add_argument("--device")
    parser.add_argument("--out", help="a folder on the disk that is to be measured")
    o, big = parser.parse_args(), "gpu" in parser.parse_args().what
    usual = dict(n=1000, repeat=2, layers=32, width=4096, budget=16384, device="cuda") if big else dict(
        n=48, repeat=3, layers=8, width=512, budget=4000, device="cpu")
    for name, v in usual.items(): setattr(o, name, getattr(o, name) or v)
    logging.set_verbosity_error()
    warnings.filterwarnings("ignore")
    if o.device == "cpu": torch.set_num_threads(1)

    def clock():
        if o.device == "cpu": return time.process_time()
        torch.cuda.synchronize()
        return time.perf_counter()
    if big: return gpu(o, clock)
    lm = world(o.layers, o.width, o.device)
    if "race" in o.what: race(lm, o, clock)
    if "engine" in o.what: engine(lm, o, clock)
    if "shared" in o.what:
        for questions in (1, 4): shared(lm, o.repeat, clock, questions)


if __name__ == "__main__": main()
