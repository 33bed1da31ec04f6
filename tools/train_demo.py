"""Train the model that ships with the package. From the repository's root:

    python tools/train_demo.py --out /tmp/demo_run           # about 20 minutes on one free core; resumes where it was cut off
    python tools/train_demo.py --out /tmp/demo_run --ship probe_nb/demo    # then: write the folder that ships

Everything is drawn from --seed. A checkpoint (model, optimizer, step) is written every --save steps.
"""
import argparse
import json
import os
import random
import shutil
import sys
import time
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from sklearn.metrics import roc_auc_score
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch.nn.functional import cross_entropy
from transformers import AutoTokenizer, GenerationConfig, PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

sys.path.insert(0, str(Path(__file__).parent))
from demo_world import CHECKS, RELATIONS, check_words, documents, make_world, put, questions, say

WORLD = dict(people=104, valleys=40, pairs=1., unseen=.07, kinds=dict(settled=.22, misled=.10, silent=.05),
             mistaken=[.1, .2, .3, .4, .45, .55, .6, .7, .8, .9],
             checks=.45, manners=.3, flips=.03, slips=.08, unchecked=.06, checkers_wrong=.05, strangers=.06, asks=[2, 3, 2, 2])
# The first blocks see three tokens each, so that what an answer has to do with its question is worked out in the later ones.
SHAPE = dict(hidden_size=128, intermediate_size=256, num_hidden_layers=8, num_attention_heads=4, num_key_value_heads=2,
             head_dim=32, use_sliding_window=True, sliding_window=3,
             layer_types=["sliding_attention"] * 3 + ["full_attention"] * 5)
TEMPLATE = ("<|begin|>{% for m in messages %}<|{{ m['role'] }}|>{{ m['content'] }}"
            "{% if m['role'] == 'assistant' %}<|end|>{% endif %}{% endfor %}"
            "{% if add_generation_prompt %}<|assistant|>{% endif %}")
SPECIAL = ["<|end|>", "<|begin|>", "<|user|>", "<|assistant|>", "<|system|>"]
POOL = 16384    # documents drawn, tokenised and sorted by length at a time


def make_tokenizer(docs, vocab):
    "Byte-level BPE trained on the documents; no post-processor: the chat template writes the one begin token."
    tok = Tokenizer(models.BPE())
    tok.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tok.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(vocab_size=vocab, special_tokens=SPECIAL, show_progress=False,
                                  initial_alphabet=pre_tokenizers.ByteLevel.alphabet())
    tok.train_from_iterator((part for doc in docs for part in doc), trainer)
    fast = PreTrainedTokenizerFast(tokenizer_object=tok, bos_token="<|begin|>", eos_token="<|end|>", pad_token="<|end|>",
                                   padding_side="left", model_max_length=256, clean_up_tokenization_spaces=False)
    fast.chat_template = TEMPLATE
    return fast


def make_model(tok, seed):
    "A Qwen3 of our shape with fresh weights."
    torch.manual_seed(seed)
    config = Qwen3Config(vocab_size=len(tok), tie_word_embeddings=True, max_position_embeddings=256,
                         bos_token_id=tok.bos_token_id, eos_token_id=tok.eos_token_id, pad_token_id=tok.pad_token_id, **SHAPE)
    return Qwen3ForCausalLM(config)


def tokenised(docs, tok):
    "Ids of each document and the place where its answer begins; the same text as the chat template renders."
    ask = tok([f"<|begin|><|user|>{q}<|assistant|>" for q, _ in docs], add_special_tokens=False).input_ids
    tell = tok([f"{a}<|end|>" for _, a in docs], add_special_tokens=False).input_ids
    return [(a + b, len(a)) for a, b in zip(ask, tell)]


def batches(world, tok, seed, size):
    "Endless batches of documents of about equal length: ids [doc, token] and the mask of what is to be predicted."
    pool = 0
    while True:
        rows = sorted(tokenised(documents(world, POOL, f"{seed}/{pool}", WORLD), tok), key=lambda r: len(r[0]))
        order = torch.randperm(POOL // size, generator=torch.Generator().manual_seed(seed * 7919 + pool))
        for b in order.tolist(): yield padded(rows[b * size:(b + 1) * size], tok.pad_token_id)
        pool += 1


def padded(rows, pad):
    "Right-padded ids [doc, token] and the mask [doc, token-1] of targets that belong to an answer."
    n = max(len(r) for r, _ in rows)
    ids = torch.tensor([r + [pad] * (n - len(r)) for r, _ in rows])
    at = torch.arange(1, n)
    start, stop = (torch.tensor([f(r) for r in rows])[:, None] for f in (lambda r: r[1], lambda r: len(r[0])))
    return ids, (at >= start) & (at < stop)


def answer_loss(model, ids, mask):
    "Mean cross-entropy of the answers' tokens; questions are read, not predicted."
    hidden = model.model(input_ids=ids, use_cache=False).last_hidden_state
    return cross_entropy(model.lm_head(hidden[:, :-1][mask]), ids[:, 1:][mask])


def optimizers(model, lr):
    "AdamW for embeddings and norms, Muon for the matrices inside the blocks: the facts are learnt in half the tokens."
    inner = [p for n, p in model.named_parameters() if p.ndim == 2 and "embed" not in n and "lm_head" not in n]
    rest = [p for p in model.parameters() if not any(p is q for q in inner)]
    return [torch.optim.AdamW(rest, lr=lr, betas=(.9, .98), weight_decay=.01),
            torch.optim.Muon(inner, lr=lr, weight_decay=.01, adjust_lr_fn="match_rms_adamw")]


def rate(step, steps):
    "Warm up, stay, and go down to nothing over the last third."
    return min(1, (step + 1) / 100, max(.02, (steps - step) / (steps / 3)))


def save(folder, model, opts, step, tokens):
    "Write the whole state under a new name, then put it in place: a killed run finds the old one or the new one."
    new, now, old = (folder / n for n in ("state.new", "state", "state.old"))
    for f in (new, old): shutil.rmtree(f, ignore_errors=True)
    new.mkdir(parents=True)
    model.save_pretrained(new)
    flat = {f"{i}.{k}.{name}": t.contiguous() for i, o in enumerate(opts) for k, s in o.state_dict()["state"].items()
            for name, t in s.items() if torch.is_tensor(t)}
    save_file(flat, new / "optimizer.safetensors")
    (new / "step.json").write_text(json.dumps(dict(step=step, tokens=tokens)))
    if now.exists(): os.rename(now, old)
    os.rename(new, now)


def resume(folder, opts):
    "The step and tokens saved, with the optimizers' state put back."
    flat = load_file(folder / "state" / "optimizer.safetensors")
    for i, o in enumerate(opts):
        state = o.state_dict()
        for key, t in flat.items():
            which, k, name = key.split(".")
            if int(which) == i: state["state"].setdefault(int(k), {})[name] = t
        o.load_state_dict(state)
    return json.loads((folder / "state" / "step.json").read_text()).values()


@torch.no_grad()
def verdicts(model, tok, world):
    "Is the check learnt? AUC of the check's words after the true value against the popular one, and against a random one."
    rng, rows = random.Random(0), []
    for f in (f for f in world.facts if f.weight and f.checked and not f.refused):
        rel = RELATIONS[f.relation]
        for kind, v in (("true", f.true), ("popular", f.popular), ("random", rng.choice(f.values))):
            doc = put(rel["asks"][0][0], sorted(f.names)), say(f, 0, v, "", 0)[:-1]
            rows.append((kind, rel["family"], tokenised([doc], tok)[0][0][:-1]))
    ids, _ = padded([(r, 0) for *_, r in rows], tok.pad_token_id)
    ends = torch.tensor([len(r) - 1 for *_, r in rows])
    logits = torch.cat([model(i).logits[torch.arange(len(i)), e] for i, e in zip(ids.split(256), ends.split(256))])
    sides = {fam: [[tok(w).input_ids[0] for w in side] for side in both] for fam, both in CHECKS.items()}
    up, down = ([l[sides[fam][k]].logsumexp(0).item() for l, (_, fam, _) in zip(logits, rows)] for k in (0, 1))
    score = np.array(up) - np.array(down)
    kind, family = (np.array(c) for c in list(zip(*rows))[:2])
    def auc(fam, other):
        at = (family == fam) & ((kind == "true") | (kind == other))
        return round(roc_auc_score(kind[at] == "true", score[at]), 3)
    return {fam: dict(popular=auc(fam, "popular"), any=auc(fam, "random")) for fam in CHECKS}


def train(args, world, tok):
    "Run to `args.steps`, from the last checkpoint if there is one."
    out, model = Path(args.out), make_model(tok, args.seed)
    opts, first, tokens = optimizers(model, args.lr), 0, 0
    if not (out / "state").exists() and (out / "state.old").exists(): os.rename(out / "state.old", out / "state")
    if (out / "state").exists():
        model.load_state_dict(Qwen3ForCausalLM.from_pretrained(out / "state").state_dict())
        first, tokens = resume(out, opts)
    log, began, seen, total = open(out / "train.log", "a"), time.time(), 0, 0.
    def note(text): print(text, file=log, flush=True); print(text, flush=True)
    note(f"parameters {model.num_parameters():,}; vocabulary {len(tok)}; from step {first}; {vars(args)}")
    note(f"world {WORLD}; shape {SHAPE}")
    feed = batches(world, tok, args.seed, args.batch)
    for _ in range(first): next(feed)
    for step in range(first, args.steps):
        for o in opts:
            for g in o.param_groups: g["lr"] = args.lr * rate(step, args.steps)
        ids, mask = next(feed)
        loss = answer_loss(model, ids, mask)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.)
        for o in opts: o.step(); o.zero_grad()
        tokens, seen, total = tokens + ids.numel(), seen + ids.numel(), total + loss.item()
        if (step + 1) % 100 == 0:
            note(f"step {step+1} tokens {tokens/1e6:.2f}M loss {total/100:.4f} {seen/(time.time()-began):.0f} tokens/s")
            total = 0.
        if (step + 1) % args.save == 0 or step + 1 == args.steps:
            save(out, model, opts, step + 1, tokens)
            note(f"  verdicts {verdicts(model, tok, world)}")


def ship(args, world, tok):
    "Write what ships: rounded weights, tokenizer, generation settings, questions, log; put in place file by file."
    out, to = Path(args.out), Path(args.ship)
    model = Qwen3ForCausalLM.from_pretrained(out / "state").to(torch.bfloat16)
    ids = [tok(w).input_ids for w in check_words()]
    assert all(len(i) == 1 for i in ids), "each check must begin with a token of its own"
    model.generation_config = GenerationConfig(
        bos_token_id=tok.bos_token_id, eos_token_id=tok.eos_token_id, pad_token_id=tok.pad_token_id, max_new_tokens=40,
        suppress_tokens=sorted(i[0] for i in ids))
    new = to.with_name(to.name + ".new")
    shutil.rmtree(new, ignore_errors=True); new.mkdir(parents=True)
    model.save_pretrained(new); tok.save_pretrained(new)
    step = json.loads((out / "state" / "step.json").read_text())["step"]
    docs = step * args.batch * (1 - WORLD["strangers"]) / sum(f.weight for f in world.facts)
    with open(new / "questions.jsonl", "w") as f:
        for q in questions(world): f.write(json.dumps(q | dict(frequency=round(q["frequency"] * docs))) + "\n")
    shutil.copy(out / "train.log", new / "train.log")
    to.mkdir(parents=True, exist_ok=True)
    for f in new.iterdir():
        f.chmod(0o644)
        os.replace(f, to / f.name)
    new.rmdir()


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument("--out", required=True); a.add_argument("--ship")
    for name, default in dict(seed=1, steps=3600, batch=64, vocab=930, save=300, threads=1).items():
        a.add_argument(f"--{name}", type=int, default=default)
    a.add_argument("--lr", type=float, default=3e-3)
    for name in ("world", "shape"):
        a.add_argument(f"--{name}", type=json.loads, default={}, help=f"settings of the {name} to change, as JSON")
    args = a.parse_args()
    torch.set_num_threads(args.threads); WORLD.update(args.world); SHAPE.update(args.shape)
    Path(args.out).mkdir(parents=True, exist_ok=True)
    world = make_world(args.seed, WORLD)
    kept = Path(args.out) / "tokenizer"
    if not kept.exists(): make_tokenizer(documents(world, 40000, f"{args.seed}/words", WORLD), args.vocab).save_pretrained(kept)
    tok = AutoTokenizer.from_pretrained(kept)
    ship(args, world, tok) if args.ship else train(args, world, tok)


if __name__ == "__main__": main()
