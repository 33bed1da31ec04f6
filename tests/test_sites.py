"Each site holds what its name says: against the library's hidden states and attentions, and a computation from the weights."
import inspect

import pandas as pd
import pytest
import torch
import torch.nn.functional as F
from torch import nn
from transformers import AutoConfig, AutoModelForImageTextToText, LlavaConfig
from worlds import EXTRA, KINDS, SIZE, livened, tiny_model, tiny_tokenizer

from probe_nb.activations import extract
from probe_nb.blocks import SITES, find_blocks, find_sites
from probe_nb.models import LM, check_lm, load_lm

ROWS = [[5, 6, 7, 8, 9, 10, 11, 12, 13], [40, 41, 42, 43], [99, 7, 12, 300, 301, 302, 17]]
ALL = set(SITES)
# what an architecture lacks, and what only some of its layers have
LACKS = {"mixtral": {"mlp_act"}, "qwen3_moe": {"mlp_act"}, "gpt_oss": {"mlp_act"}, "mamba": ALL - {"resid", "attn_out"},
         "qwen3_next": {"mlp_act"}, "gemma3n_text": {"resid"}}
SOME = {"deepseek_v3": {"mlp_act": [0]}, "qwen3_next": {"head": [3]}, "jamba": {"head": [4], "mlp_act": [0, 2, 4, 6]}}


def world(kind, **more):
    try: AutoConfig.for_model(kind)
    except ValueError: pytest.skip(f"these transformers know no {kind}")
    return livened(tiny_model(kind, attn_implementation="eager", **more))


def off(a, b): return ((a - b).norm(dim=-1) / b.norm(dim=-1)).max().item()


# By hand

def dense(m, x): return x @ m.weight + m.bias if type(m).__name__ == "Conv1D" else F.linear(x, m.weight, m.bias)


def norm(m, x):
    if getattr(m, "bias", None) is not None or isinstance(m, nn.LayerNorm) or "Cohere" in type(m).__name__:
        y = (x - x.mean(-1, keepdim=True)) / (x.var(-1, keepdim=True, unbiased=False) + eps(m)).sqrt()
        return y * m.weight + (0 if getattr(m, "bias", None) is None else m.bias)
    return x / (x.pow(2).mean(-1, keepdim=True) + eps(m)).sqrt() * (m.weight + ("Gemma" in type(m).__name__))


def eps(m): return getattr(m, "variance_epsilon", None) or m.eps


def value(attn, h, heads):
    "[token, width] → [head, token, index]: what each head would pass on of each token."
    kv = lambda v: v.unflatten(-1, (-1, getattr(attn, "head_dim", h.shape[-1] // heads))).transpose(0, 1)
    if hasattr(attn, "v_proj"): v = kv(dense(attn.v_proj, h))
    elif hasattr(attn, "qkv_proj"): v = kv(dense(attn.qkv_proj, h))[-2:]
    elif hasattr(attn, "c_attn"): v = kv(dense(attn.c_attn, h).chunk(3, -1)[2])
    elif hasattr(attn, "Wqkv"): v = kv(dense(attn.Wqkv, h).chunk(3, -1)[2])
    elif "Falcon" in type(attn).__name__: v = kv(dense(attn.query_key_value, h))[-1:]
    else: v = dense(attn.query_key_value, h).unflatten(-1, (heads, 3, -1))[..., 2, :].transpose(0, 1)
    return v.repeat_interleave(heads // len(v), 0)


tanh_gelu = lambda x: F.gelu(x, approximate="tanh")


def gated(act, gate="gate_proj", up="up_proj", down="down_proj"):
    return lambda m, x: (h := act(dense(getattr(m, gate), x)) * dense(getattr(m, up), x), dense(getattr(m, down), h))


def plain(act, up, down): return lambda m, x: (h := act(dense(getattr(m, up), x)), dense(getattr(m, down), h))


def fused(m, x):
    gate, up = dense(m.gate_up_proj, x).chunk(2, -1)
    return (h := F.silu(gate) * up, dense(m.down_proj, h))


def swiglu(e, w, x):
    gate, up = (x @ w.gate_up_proj[e].T).chunk(2, -1)
    return (F.silu(gate) * up) @ w.down_proj[e].T


def oss(e, w, x):
    gate_up = x @ w.gate_up_proj[e] + w.gate_up_proj_bias[e]
    gate, up = gate_up[..., ::2].clamp(max=7.), gate_up[..., 1::2].clamp(-7., 7.)
    return ((up + 1) * gate * torch.sigmoid(gate * 1.702)) @ w.down_proj[e] + w.down_proj_bias[e]


def experts(one, softmax_first, renormed):
    def run(m, x):
        router = next(c for n, c in m.named_children() if n != "experts")
        logits = F.linear(x, router.weight, getattr(router, "bias", None))
        p, at = (logits.softmax(-1) if softmax_first else logits).topk(2, -1)
        p = p if softmax_first else p.softmax(-1)
        if renormed: p = p / p.sum(-1, keepdim=True)
        out = [sum(p[t, k] * one(int(at[t, k]), m.experts, x[t]) for k in range(2)) for t in range(len(x))]
        return None, torch.stack(out)
    return run


# kind → (norm before attention, attention, norm before the MLP, MLP, how the MLP is computed, norms after either)
LLAMA = ("input_layernorm", "self_attn", "post_attention_layernorm", "mlp", gated(F.silu))
GEMMA = ("input_layernorm", "self_attn", "pre_feedforward_layernorm", "mlp", gated(tanh_gelu),
         "post_attention_layernorm", "post_feedforward_layernorm")
HAND = dict.fromkeys(["llama", "mistral", "qwen2", "qwen3", "stablelm", "granite"], LLAMA) | dict(
    gemma2=GEMMA, gemma3_text=GEMMA, phi3=(*LLAMA[:4], fused),
    olmo2=(None, "self_attn", None, "mlp", gated(F.silu), "post_attention_layernorm", "post_feedforward_layernorm"),
    gpt2=("ln_1", "attn", "ln_2", "mlp", plain(tanh_gelu, "c_fc", "c_proj")),
    gpt_neox=("input_layernorm", "attention", "post_attention_layernorm", "mlp", plain(F.gelu, "dense_h_to_4h", "dense_4h_to_h")),
    opt=("self_attn_layer_norm", "self_attn", "final_layer_norm", "", plain(F.relu, "fc1", "fc2")),
    falcon=("input_layernorm", "self_attention", "input_layernorm", "mlp", plain(F.gelu, "dense_h_to_4h", "dense_4h_to_h")),
    bloom=("input_layernorm", "self_attention", "post_attention_layernorm", "mlp",
           plain(tanh_gelu, "dense_h_to_4h", "dense_4h_to_h")),
    mixtral=(*LLAMA[:4], experts(swiglu, True, True)), qwen3_moe=(*LLAMA[:4], experts(swiglu, True, False)),
    gpt_oss=(*LLAMA[:4], experts(oss, False, False)),
    cohere=("input_layernorm", "self_attn", "input_layernorm", "mlp", gated(F.silu)),
    mpt=("norm_1", "attn", "norm_2", "ffn", plain(F.gelu, "up_proj", "down_proj")),
    gptj=("ln_1", "attn", "ln_1", "mlp", plain(tanh_gelu, "fc_in", "fc_out")))
PARALLEL = {"gpt_neox", "falcon", "cohere", "gptj"}  # attention and MLP both read the block's input
FINAL = ("norm", "ln_f", "final_layer_norm", "final_layernorm", "norm_f")


def by_hand(kind, model, ids):
    "(site, layer) → [token, feature], from the library's hidden states, its attention weights and the model's own matrices."
    out = model(torch.tensor([ids]), output_hidden_states=True, output_attentions=True)
    times, heads, found = getattr(model.config, "residual_multiplier", 1.), model.config.num_attention_heads, {}
    n1, attn, n2, mlp, act, *after = HAND[kind]
    for i, b in enumerate(find_blocks(model)):
        through = lambda name, x, b=b: norm(b.get_submodule(name), x) if name else x
        x, a = out.hidden_states[i][0], b.get_submodule(attn)
        if i: found["resid", i - 1] = x
        head = (out.attentions[i][0] @ value(a, through(n1, x), heads)).transpose(0, 1).flatten(1)
        o = next(c for n, c in a.named_children() if n in ("o_proj", "c_proj", "out_proj", "dense"))
        attn_out = dense(o, head)
        mid = x + times*through(after[0] if after else None, attn_out)
        mlp_in = through(n2, x if kind in PARALLEL else mid)
        mlp_act, mlp_out = act(b.get_submodule(mlp), mlp_in)
        found |= {("head", i): head, ("attn_out", i): attn_out, ("mlp_in", i): mlp_in, ("mlp_out", i): mlp_out,
                  ("resid", i): mid + times*through(after[1] if after else None, mlp_out)}
        if mlp_act is not None: found["mlp_act", i] = mlp_act
    return found


# By hooks

def tapped(lm, rows, side):
    "(site, layer) → one [token, feature] a row, of a batch padded on one side; left-padded rows are told their positions."
    n, kw, seen = max(map(len, rows)), {}, {}
    pad = lambda r, v: [v]*(n - len(r))*(side == "left") + r + [v]*(n - len(r))*(side == "right")
    ids, mask = torch.tensor([pad(r, 0) for r in rows]), torch.tensor([pad([1]*len(r), 0) for r in rows])
    if side == "left" and "position_ids" in inspect.signature(lm.model.forward).parameters:
        kw["position_ids"] = (mask.cumsum(1) - 1).clamp(min=0)
    def hook(at, where):  # a copy: Falcon adds attention to what its MLP gave in place
        return lambda m, a, o: seen.update({at: (a[0] if where == "in" else o[0] if isinstance(o, (tuple, list)) else o).clone()})
    hooks = []
    for s, layers in lm.sites.items():
        for i in layers:
            module, where = lm.tap(s, i)
            hooks.append(module.register_forward_hook(hook((s, i), where)))
    with lm.reading() as model: model(ids, attention_mask=mask, use_cache=False, **kw)
    for h in hooks: h.remove()
    return {at: [v.reshape(len(rows), n, -1)[k][mask[k].bool()].clone() for k in range(len(rows))] for at, v in seen.items()}


def stored(lm, rows, site):
    "What `extract` gives at every token of every row: [row][token, layer, feature]."
    ans = pd.DataFrame(dict(example=range(len(rows)), prompt_ids=[r[:2] for r in rows], answer_ids=[r[2:] for r in rows]))
    pos = pd.DataFrame([dict(example=e, position=str(t), start=t, stop=t + 1, pool="first")
                        for e in range(len(rows)) for t in range(9)])
    pos = pos.astype(dict(start="Int64", stop="Int64"))
    pos.loc[pos["start"] >= pos["example"].map(dict(enumerate(map(len, rows)))), ["start", "stop"]] = pd.NA
    layers = sorted(lm.sites[site])
    acts = extract(lm, ans, pos, site=site, layers=layers, progress=False)
    row = lambda k, i: torch.tensor(acts.isel(example=k).sel(layer=i).values[:len(rows[k])])
    return {(site, i): [row(k, i) for k in range(len(rows))] for i in layers}


@pytest.mark.parametrize("kind", HAND)
def test_every_site_is_what_the_weights_give(kind):
    "Alone, padded on the right, padded on the left, and through the store: 1e-5 of the vector's length."
    lm = LM(model := world(kind), tiny_tokenizer(), kind, sites=find_sites(model))
    assert set(lm.sites) == ALL - LACKS.get(kind, set())
    with torch.no_grad(): want = [by_hand(kind, model, r) for r in ROWS]
    alone = [tapped(lm, [r], "right") for r in ROWS]
    got = dict(alone={at: [a[at][0] for a in alone] for at in alone[0]}, right=tapped(lm, ROWS, "right"),
               left=tapped(lm, ROWS, "left"), stored={at: v for s in lm.sites for at, v in stored(lm, ROWS, s).items()})
    errors = {(how, *at): max(off(v[k], want[k][at]) for k in range(len(ROWS))) for how, g in got.items() for at, v in g.items()}
    assert len(errors) == 4 * 3 * len(lm.sites)
    wrong = {k: e for k, e in errors.items() if not e <= 1e-5}
    assert not wrong


@pytest.mark.parametrize("kind", KINDS + EXTRA)
def test_sites_of_every_kind(kind):
    "What is there is there in every block, or in those named; alone is padded is stored; the last hidden state is no residual."
    model = world(kind)
    lm = load_lm(model, tiny_tokenizer())
    assert set(lm.sites) == ALL - LACKS.get(kind, set())
    assert {s: sorted(at) for s, at in lm.sites.items() if len(at) < lm.n_layers} == SOME.get(kind, {})
    alone, right, left = [tapped(lm, [r], "right") for r in ROWS], tapped(lm, ROWS, "right"), tapped(lm, ROWS, "left")
    for s in lm.sites: right |= {(s, i, "stored"): v for (s, i), v in stored(lm, ROWS, s).items()}
    errors = {(*at, k): off(v[k], alone[k][at[:2]][0]) for g in (right, left) for at, v in g.items() for k in range(len(ROWS))}
    assert max(errors.values()) <= 1e-5
    if "resid" not in lm.sites: return
    own = model(torch.tensor([ROWS[0]]), output_hidden_states=True).hidden_states
    first, last = int(kind != "mamba"), alone[0]["resid", lm.n_layers - 1][0]
    for i in range(lm.n_layers - 1): assert off(alone[0]["resid", i][0], own[i + first][0]) <= 1e-5
    inside = {m for b in lm.blocks for m in b.modules()}
    final = next((m for n, m in model.named_modules() if n.split(".")[-1] in FINAL and m not in inside), None)
    if kind == "openai-gpt": assert final is None and off(last, own[-1][0]) <= 1e-5  # its blocks end in a norm
    else: assert off(final(last), own[-1][0]) <= 1e-5 and off(last, own[-1][0]) > .01


def test_a_recurrent_mixer_is_read_in_attentions_place():
    model = world("mamba")
    lm = load_lm(model, tiny_tokenizer())
    own, got = model(torch.tensor([ROWS[0]]), output_hidden_states=True).hidden_states, tapped(lm, [ROWS[0]], "right")
    before = model.get_input_embeddings()(torch.tensor(ROWS[0]))
    for i in range(2):
        assert off(got["attn_out", i][0], own[i][0] - before) <= 1e-5
        before = own[i][0]


# What is found, and what is not taken for it

VISION = dict(hidden_size=32, intermediate_size=64, num_hidden_layers=6, num_attention_heads=4, image_size=28, patch_size=14,
              projection_dim=32)


@pytest.mark.parametrize("text", ["llama", "qwen2"])
def test_of_a_model_that_sees_the_text_decoder_is_read(text, tmp_path):
    config = LlavaConfig(vision_config=dict(model_type="clip_vision_model", **VISION), text_config=dict(model_type=text, **SIZE),
                         image_token_index=399)
    lm = load_lm(livened(AutoModelForImageTextToText.from_config(config).eval()), tiny_tokenizer())
    assert lm.n_layers == 3 and "vision" not in type(lm.blocks[0]).__module__ and set(lm.sites) == ALL
    assert all(b is lm.model.model.language_model.layers[i] for i, b in enumerate(lm.blocks))
    lm.model.save_pretrained(tmp_path)
    lm.tokenizer.save_pretrained(tmp_path)
    assert load_lm(str(tmp_path), device="cpu").n_layers == 3


class Adapted(nn.Module):
    "As adapters do it: the matrix inside, and a thin pair beside it, of which the second runs last and gives the model's width."
    def __init__(self, base):
        super().__init__()
        self.base, self.down, self.up = base, nn.Linear(base.in_features, 2), nn.Linear(2, base.out_features)
    def forward(self, x): return self.base(x) + self.up(self.down(x))


def test_an_adapter_is_not_taken_for_the_projection():
    model = world("llama")
    for b in model.model.layers: b.mlp.down_proj, b.self_attn.o_proj = Adapted(b.mlp.down_proj), Adapted(b.self_attn.o_proj)
    lm = load_lm(model, tiny_tokenizer())
    assert lm.sites["mlp_act"][1] == ("mlp.down_proj", "in") and lm.sites["head"][1] == ("self_attn.o_proj", "in")


class Listed(nn.Module):
    "A mixture as older code writes it: a list of experts, longer than the list of blocks."
    def __init__(self, mlp):
        super().__init__()
        self.experts = nn.ModuleList(type(mlp)(mlp.config) for _ in range(9))
    def forward(self, x): return sum(e(x) for e in self.experts)


def test_experts_are_not_taken_for_blocks():
    model = tiny_model("llama")
    for b in model.model.layers[1:]: b.mlp = Listed(b.mlp)
    lm = load_lm(livened(model), tiny_tokenizer())
    assert lm.n_layers == 3 and list(lm.sites["mlp_act"]) == [0] and list(lm.sites["mlp_out"]) == [0, 1, 2]
    with pytest.raises(ValueError, match="no 'mlp_act' in layer 2: choose among layers 0"): lm.tap("mlp_act", 2)


class Named(nn.Module):
    "Calls what it holds by name."
    def __init__(self, mlp):
        super().__init__()
        self.inner = mlp
    def forward(self, hidden_states): return self.inner(x=hidden_states)


def test_an_mlp_that_is_called_by_name_is_read_inside():
    model = world("llama")
    for b in model.model.layers: b.mlp = Named(b.mlp)
    plain, lm = LM(world("llama"), None, "", sites=find_sites(world("llama"))), load_lm(model, tiny_tokenizer())
    a, b = (tapped(m, [ROWS[0]], "right")["mlp_in", 1][0] for m in (plain, lm))
    assert off(a, b) == 0


def test_a_site_that_is_not_there_names_those_that_are():
    lm = load_lm(world("mamba"), tiny_tokenizer())
    with pytest.raises(ValueError, match="no site 'mlp_in': choose one of resid, attn_out"): lm.tap("mlp_in", 0)


# The check

def faults(lm): return {f.split(":")[0]: f for f in check_lm(lm).faults}


def loaded(kind, dtype=torch.float32, **more): return load_lm(world(kind, **more).to(dtype), tiny_tokenizer(), check=False)


DTYPES = pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16], ids=str)


@DTYPES
@pytest.mark.parametrize("kind", ["llama", "gemma3_text", "gpt2", "bloom", "mixtral", "mamba", "granite"])
def test_a_sound_model_passes_in_every_type(kind, dtype):
    lm = loaded(kind, dtype)
    found = check_lm(lm)
    assert found.faults == [] and found.limit == {torch.float32: 1e-4, torch.bfloat16: .125, torch.float16: 2**-6}[dtype]
    assert set(found.errors) == {"library", "increments", "projections", "batch", "right padding", "left padding"}
    assert {s for s, _ in found.errors["projections"]} == set(lm.sites) & {"head", "mlp_in", "mlp_act"} and found.notes == ()


def deaf(lm):
    "Takes no notice of the mask."
    forward = type(lm.model).forward
    lm.model.forward = lambda attention_mask=None, **kw: forward(lm.model, **kw)


def lost(lm):
    "Counts positions from the first pad."
    forward = type(lm.model).forward
    lm.model.forward = lambda position_ids=None, **kw: forward(lm.model, **kw)


def wrapped(lm):
    "Its second block gives on more than it should."
    b = lm.blocks[1]
    forward = b.forward
    b.forward = lambda *a, **kw: forward(*a, **kw) * 1.3


def rebuilt(lm):
    "Between attention and the residual something is added that no site shows."
    lm.blocks[1].self_attn.register_forward_hook(lambda m, a, o: (o[0] + 3, *o[1:]))
    object.__setattr__(lm, "sites", lm.sites | {"attn_out": {i: ("self_attn.o_proj", "out") for i in range(3)}})


def ahead(lm):
    "Each token sees the mean of all, those that follow and the pads too."
    lm.model.get_input_embeddings().register_forward_hook(lambda m, a, o: o + o.mean(1, keepdim=True))


def entangled(lm):
    "Each row sees the others."
    lm.model.get_input_embeddings().register_forward_hook(lambda m, a, o: o - .5*o.mean(0, keepdim=True)*(len(o) > 1))


def moved(lm):
    "Its sites are those of another architecture."
    object.__setattr__(lm, "sites", lm.sites | {"mlp_out": {i: ("self_attn", "out") for i in range(3)}})


def early(lm):
    "Its residual is read before the block."
    object.__setattr__(lm, "sites", lm.sites | {"resid": {i: ("input_layernorm", "in") for i in range(3)}})


def elsewhere(site, *at):
    "Of layer 1, the site is read in another place."
    def harm(lm): object.__setattr__(lm, "sites", lm.sites | {site: lm.sites[site] | {1: at}})
    harm.__name__ = f"{site} at {at[0]}"
    return harm


def broken(lm):
    "Gives no numbers."
    lm.blocks[2].mlp.register_forward_hook(lambda m, a, o: o * float("nan"))


BREAKS = [("gpt2", deaf, {"left padding"}, 0), ("gpt2", lost, {"left padding"}, 0), ("llama", deaf, {"left padding"}, 0),
          ("llama", wrapped, {"increments"}, 1), ("llama", rebuilt, {"increments"}, 1),
          ("llama", moved, {"increments", "projections"}, 0),
          ("llama", elsewhere("mlp_in", "post_attention_layernorm", "in"), {"projections"}, 1),
          ("llama", elsewhere("mlp_act", "mlp.up_proj", "in"), {"projections"}, 1),
          ("llama", elsewhere("mlp_in", "mlp.gate_proj", "out"), {"projections"}, 1),  # it does not even fit
          ("llama", elsewhere("head", "self_attn.q_proj", "in"), {"projections"}, 1),
          ("bloom", elsewhere("mlp_in", "self_attention.dense", "in"), {"projections"}, 1),
          ("mixtral", elsewhere("mlp_in", "self_attn.q_proj", "in"), {"projections"}, 1),
          ("llama", ahead, {"right padding", "left padding"}, 0),
          ("llama", entangled, {"batch", "right padding", "left padding"}, 0), ("llama", early, {"library", "increments"}, 0),
          ("llama", broken, {"library", "increments", "projections", "batch", "right padding",
                                        "left padding"}, 2)]


@DTYPES
@pytest.mark.parametrize("kind, harm, what, layer", BREAKS, ids=lambda v: getattr(v, "__name__", None))
def test_what_is_wrong_is_found(kind, harm, what, layer, dtype):
    lm = loaded(kind, dtype)
    harm(lm)
    found = faults(lm)
    assert set(found) == what
    assert all(f" of layer {layer} is off by " in f for f in found.values())


def test_bloom_read_at_its_mlps_output_would_be_found():
    "There the MLP has added the residual already."
    lm = loaded("bloom")
    assert lm.sites["mlp_out"][0] == ("mlp.dense_4h_to_h", "out")
    object.__setattr__(lm, "sites", lm.sites | {"mlp_out": {i: ("mlp", "out") for i in range(3)}})
    assert set(faults(lm)) == {"increments", "projections"}


@pytest.mark.parametrize("kind, more", [("opt", {}), ("xglm", dict(d_model=32, attention_heads=4, num_layers=3, ffn_dim=64)),
                                        ("biogpt", {})])
def test_an_mlp_of_bare_matrices_is_proven_too(kind, more):
    lm = loaded(kind, **more)
    found = check_lm(lm)
    assert found.faults == [] and found.notes == ()
    assert {s for s, _ in found.errors["projections"]} == {"head", "mlp_act", "mlp_in"}
    name = "self_attn.q_proj"
    object.__setattr__(lm, "sites", lm.sites | {"mlp_in": lm.sites["mlp_in"] | {1: (name, "in")}})
    assert set(faults(lm)) == {"projections"}


def test_a_site_that_cannot_be_proven_is_said_to_be_so():
    lm = loaded("llama")
    b, true, calls = lm.blocks[1].mlp, lm.blocks[1].mlp.forward, []
    def once(x):  # as packed weights may, it runs where the model runs it and not alone
        calls.append(1)
        if len(calls) > 1 and x.shape[0] == 1: raise NotImplementedError("not on this device")
        return true(x)
    b.forward = once
    found = check_lm(lm)
    assert found.faults == [] and found.notes == ("mlp_in of layers 1 is not proven: not on this device",)
    assert "is not proven: not on this device" in found._repr_markdown_()


MORE = [("opt", dict(do_layer_norm_before=False), "a norm at the end"),
        ("bloom", dict(apply_residual_connection_post_layernorm=True), "a norm in place of resid"),
        ("gemma4_text", {}, "per_layer_input_gate, per_layer_projection, layer_scalar")]


@pytest.mark.parametrize("kind, more, what", MORE)
def test_blocks_that_add_more_are_told_and_not_blamed(kind, more, what):
    found = check_lm(loaded(kind, **more))
    assert found.faults == [] and found.notes[0] == f"layers 0-2 add more than attn_out and mlp_out: their blocks hold {what}"


def test_a_model_that_fails_is_refused_unless_one_insists():
    model = world("gpt2")
    forward = type(model).forward
    model.forward = lambda attention_mask=None, **kw: forward(model, **kw)
    with pytest.raises(ValueError, match=r"fails its check \(left padding: \w+ of layer 0 is off by .*check=False") as e:
        load_lm(model, tiny_tokenizer())
    assert "\n" not in str(e.value)
    assert load_lm(model, tiny_tokenizer(), check=False).n_layers == 3


def test_a_model_that_cannot_be_run_is_one_sentence():
    lm = loaded("llama")
    lm.blocks[1].register_forward_hook(lambda m, a, o: 1/0)
    with pytest.raises(ValueError, match="could not be run on a short sentence .*ZeroDivisionError") as e: check_lm(lm)
    assert "\n" not in str(e.value)
    assert not [h for m in lm.model.modules() for h in m._forward_hooks.values() if "_watch" in h.__qualname__]


def test_a_tokenizer_of_another_model_is_found():
    with pytest.raises(ValueError, match="knows the ids below 40 .*do not belong together"):
        load_lm(tiny_model("llama", vocab_size=40), tiny_tokenizer())


def test_the_check_is_a_table_in_a_notebook():
    lm = loaded("gpt2")
    sound = check_lm(lm)._repr_markdown_()
    assert "all holds" in sound and sound.count("| yes |") == 6
    deaf(lm)
    assert "| left padding | **no** |" in check_lm(lm)._repr_markdown_()


def test_packed_and_spread_models_name_what_they_need(monkeypatch):
    import probe_nb.loading as M
    with pytest.raises(ValueError, match="quantization='5bit' is unknown"): load_lm("demo", quantization="5bit")
    monkeypatch.setattr(M, "find_spec", lambda name: None if name == "bitsandbytes" else True)
    with pytest.raises(ValueError, match="needs the package bitsandbytes: pip install"): load_lm("demo", quantization="4bit")
    monkeypatch.setattr(M, "find_spec", lambda name: None)
    with pytest.raises(ValueError, match="device=.auto. needs the package accelerate"): load_lm("demo", device="auto")
    monkeypatch.setattr(M, "find_spec", lambda name: True)
    assert M._placement("auto", None) == {"device_map": "auto"} and M._placement("cuda", None) == {}


def test_the_limit_follows_the_type():
    lm = loaded("llama", torch.bfloat16)
    lm.model.is_quantized = True
    assert check_lm(lm).limit == .125
    assert check_lm(loaded("llama", torch.float64)).limit == 1e-4
