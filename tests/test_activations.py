"What is stored is what the library computes, alone or in a batch, whole or resumed, in every architecture."
import json
import threading
from collections import namedtuple

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from worlds import KINDS, ROPES, livened, tiny_model, tiny_tokenizer

import probe_nb.activations as A
import probe_nb.plan as P
from probe_nb.activations import estimate, extract, open_acts
from probe_nb.models import load_lm
from probe_nb.passes import can_share, gather, listening, read_shared, read_sites
from probe_nb.positions import PAPER, pooled, positions

pytestmark = pytest.mark.filterwarnings("error::FutureWarning")  # nothing is asked for under a name that is going

TOK = tiny_tokenizer()


def answers(n=7, seed=0, dtype=int):
    rng = np.random.default_rng(seed)
    rows = []
    for i in range(n):
        m = int(rng.integers(1, 14))
        s = int(rng.integers(0, m))
        rows.append(dict(example=10*i + 3, prompt_ids=rng.integers(3, 300, rng.integers(1, 9)).tolist(),
                         answer_ids=rng.integers(3, 300, m).tolist(),
                         span_start=s if i % 3 else None, span_stop=int(rng.integers(s + 1, m + 1)) if i % 3 else None))
    return pd.DataFrame(rows).astype(dict(span_start="Int64", span_stop="Int64"))


@pytest.fixture(scope="module")
def lm(): return load_lm(tiny_model("llama"), TOK)


@pytest.mark.parametrize("kind", KINDS)
def test_batched_is_single_and_is_the_library(kind):
    lm, ans = load_lm(tiny_model(kind), TOK), answers()
    pos = positions(ans)
    acts = extract(lm, ans, pos, site="resid", progress=False)
    shift = 0 if kind == "mamba" else 1
    for i, row in enumerate(ans.to_dict("records")):
        ids = torch.tensor([row["prompt_ids"] + row["answer_ids"]])
        with lm.reading() as m: own = m(ids, attention_mask=torch.ones_like(ids), output_hidden_states=True).hidden_states
        for label, start in pos[pos["example"] == row["example"]].set_index("position")["start"].items():
            got = acts.isel(example=i).sel(position=label).values
            if pd.isna(start): assert np.isnan(got).all()
            else:
                for layer in (0, 1):
                    want = own[layer + shift][0, int(start)].numpy()
                    np.testing.assert_allclose(got[layer], want, atol=2e-5, rtol=1e-4)


@pytest.mark.parametrize("site", ["mlp_in", "mlp_out", "mlp_act", "attn_out", "head"])
def test_each_site_is_its_modules_value(lm, site):
    ans, seen = answers(3), {}
    name, side = lm.sites[site][0]
    modules = [b.get_submodule(name) for b in lm.blocks]
    value = lambda a, o: a[0] if side == "in" else o[0] if isinstance(o, tuple) else o
    hooks = [m.register_forward_hook(lambda m, a, o, i=i: seen.update({i: value(a, o)})) for i, m in enumerate(modules)]
    acts = extract(lm, ans, positions(ans), site=site, progress=False)
    row = ans.iloc[1]
    ids = torch.tensor([row["prompt_ids"] + row["answer_ids"]])
    with lm.reading() as m: m(ids)
    for h in hooks: h.remove()
    got = acts.isel(example=1).sel(position="-1")
    for layer in range(3): np.testing.assert_allclose(got.sel(layer=layer), seen[layer][0, -1].numpy(), atol=1e-5)


def test_residual_increments_add_up(lm):
    ans = answers(4)
    pos = positions(ans, ["last_q", "-1"])
    resid, attn, mlp = (extract(lm, ans, pos, site=s, progress=False) for s in ("resid", "attn_out", "mlp_out"))
    for layer in (1, 2):
        total = resid.sel(layer=layer - 1) + attn.sel(layer=layer) + mlp.sel(layer=layer)
        np.testing.assert_allclose(resid.sel(layer=layer), total, atol=1e-5)


@settings(max_examples=30)
@given(st.integers(0, 10**6), st.integers(8, 200))
def test_the_token_budget_changes_nothing(seed, budget):
    lm, ans = LM, answers(5, seed)
    a, b = (extract(lm, ans, positions(ans), layers=[1], token_budget=t, progress=False) for t in (budget, 10**6))
    np.testing.assert_allclose(a.values, b.values, atol=1e-5)


LM = load_lm(tiny_model("llama"), TOK)


@settings(max_examples=30)
@given(st.permutations(list(range(7))), st.booleans())
def test_rows_come_in_the_order_of_the_answers(order, odd_index):
    ans = answers()
    pos, some = positions(ans), ans.iloc[order]
    if odd_index: some = some.set_index(pd.Index([0]*7))
    a = extract(LM, ans, pos, layers=[0, 2], progress=False)
    b = extract(LM, some, pos.sample(frac=1, random_state=1), layers=[0, 2], progress=False)
    assert b["example"].values.tolist() == some["example"].tolist()
    np.testing.assert_allclose(b.sel(example=a["example"], position=a["position"]), a, atol=1e-5)


def test_layers_as_asked_and_the_pass_stops_after_the_last(lm):
    ran = []
    hooks = [b.register_forward_hook(lambda m, a, o, i=i: ran.append(i)) for i, b in enumerate(lm.blocks)]
    acts = extract(lm, answers(2), positions(answers(2)), layers=[1, 0], progress=False)
    for h in hooks: h.remove()
    assert acts["layer"].values.tolist() == [1, 0] and ran == [0]*len(ran)  # block 1 is left at its tap
    np.testing.assert_array_equal(acts.sel(layer=0), extract(lm, answers(2), positions(answers(2)), progress=False).sel(layer=0))


def test_no_hook_is_left_after_a_failure(lm):
    count = lambda: sum(len(m._forward_hooks) for m in lm.model.modules())
    before = count()
    with pytest.raises(Exception): read_sites(lm, [[3, 10**9]], np.array([[0]]), np.array([[1]]), ["first"], "resid", [0])  # noqa: B017  an id that is none
    assert count() == before


@given(st.integers(1, 4), st.integers(1, 6), st.integers(1, 3), st.data())
def test_pools_are_the_mean_and_the_maximum(rows, tokens, width, data):
    h = torch.randn(rows, tokens, width, generator=torch.Generator().manual_seed(rows))
    start = data.draw(st.integers(0, tokens - 1))
    stop = data.draw(st.integers(start + 1, tokens))
    a, b = torch.full((rows, 3), start), torch.full((rows, 3), stop)
    got = gather(h, a, b, ["first", "mean", "max"])
    torch.testing.assert_close(got, torch.stack([h[:, start], h[:, start:stop].mean(1), h[:, start:stop].amax(1)], 1))


def test_a_mean_knows_nothing_of_tokens_outside_its_span():
    h = torch.ones(1, 4, 2)
    h[:, 0], h[:, 3] = torch.inf, torch.nan
    at = torch.tensor([[1, 1]])
    torch.testing.assert_close(gather(h, at, at + 2, ["mean", "max"]), torch.ones(1, 2, 2))


def test_threads_on_one_model_do_not_hear_each_other():
    lm, rng, wrong = load_lm(tiny_model("llama"), TOK, check=False), np.random.default_rng(0), []
    at = np.array([[1, 4]])
    jobs = [([rng.integers(3, 300, int(n)).tolist()], layers) for n, layers in zip(rng.integers(6, 30, 8), [[0], [0, 2]]*4)]
    read = lambda rows, layers: read_sites(lm, rows, at, at + 1, ["first"]*2, "resid", layers)
    true = [read(*j) for j in jobs]
    def work(k):
        for _ in range(30):
            try:
                if not torch.equal(read(*jobs[k]), true[k]): wrong.append(k)
            except Exception as e: wrong.append(e)
    threads = [threading.Thread(target=work, args=(k,)) for k in range(8)]
    for t in threads: t.start()
    for t in threads: t.join()
    assert not wrong


def test_a_pad_token_that_the_model_does_not_know():
    tok, lm = tiny_tokenizer(), load_lm(tiny_model("llama", vocab_size=331), TOK, check=False)
    tok.add_special_tokens(dict(pad_token="<another>"))
    ans, odd = answers(5), load_lm(lm.model, tok, check=False)
    assert tok.pad_token_id >= odd.model.get_input_embeddings().weight.shape[0]
    a, b = (extract(m, ans, positions(ans), progress=False).values for m in (lm, odd))
    np.testing.assert_array_equal(a, b)


def test_what_is_no_table_and_no_model_is_one_sentence(lm):
    ans = answers(3)
    pos = positions(ans)
    odd = pos.astype(dict(start=object))
    odd.loc[odd.index[0], "start"] = True
    double = load_lm(tiny_model("llama").double(), TOK, check=False)
    for asked, why in (((lm, None, pos), "the answers are NoneType: give"), ((lm, ans, None), "the positions are NoneType"),
                       ((lm, ans.to_dict(), pos), "the answers are dict"), (("demo", ans, pos), "the model is 'demo': load it"),
                       ((lm, ans, odd), "has start=True: tokens are counted"),
                       ((double, ans, pos), "computes in float64, which is not kept: choose dtype=")):
        with pytest.raises(ValueError, match=why) as e: extract(*asked, progress=False)
        assert "\n" not in str(e.value)


def test_one_token_pooled_is_that_token(lm):
    ans = answers(4)
    ans["span_stop"] = ans["span_start"] + 1
    acts = extract(lm, ans, positions(ans, ["exact_answer_first", pooled()]), progress=False)
    np.testing.assert_allclose(acts.isel(position=0), acts.isel(position=1), atol=1e-6)


def test_stored_is_in_memory_and_xarray_opens_it_alone(lm, tmp_path):
    ans = answers(9)
    pos = positions(ans)
    a, b = extract(lm, ans, pos, progress=False), extract(lm, ans, pos, path=tmp_path/"a", block=4, progress=False)
    np.testing.assert_allclose(b.values, a.values, atol=1e-5)
    assert b.dims == a.dims == ("example", "position", "layer", "feature")
    assert b["position"].values.tolist() == [r.label for r in PAPER]
    some = [acts.sel(position="-1", layer=2).isel(example=[0, 5]).values for acts in (b, a)]
    np.testing.assert_allclose(*some, atol=1e-5)
    ds = xr.open_zarr(tmp_path/"a", consolidated=False)  # in the order in which they were read, and labelled so
    assert ds["acts"].dims == a.dims and ds.attrs["site"] == "mlp_in"
    np.testing.assert_array_equal(ds["acts"].sel(example=ans["example"].values).values, b.values)
    np.testing.assert_array_equal(open_acts(tmp_path/"a", ans.iloc[::-1], pos).values, b.values[::-1])
    indexed = [acts[[5, 0], :, 1, 3:9].values for acts in (b, xr.DataArray(b.values, dims=b.dims))]
    np.testing.assert_array_equal(*indexed)


def test_heads_say_which_they_are(lm):
    acts = extract(lm, answers(2), positions(answers(2), ["last_q"]), site="head", progress=False)
    assert acts["head"].values.tolist() == np.repeat(range(4), 8).tolist() and acts["index"].values.tolist() == list(range(8))*4


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_comes_back_bit_by_bit(tmp_path, dtype):
    lm = load_lm(tiny_model("llama").to(dtype), TOK)
    ans = answers(3)
    a, b = extract(lm, ans, positions(ans), progress=False), extract(lm, ans, positions(ans), path=tmp_path/"a", progress=False)
    assert b.dtype == np.float32
    np.testing.assert_array_equal(a.values, b.values)
    np.testing.assert_array_equal(b.isel(position=-1, layer=1).values, a.isel(position=-1, layer=1).values)
    ids = [*ans["prompt_ids"][0], *ans["answer_ids"][0]]
    at = pd.DataFrame(dict(example=[3], position="0", start=0, stop=1, pool="first"))
    own = read_sites(lm, [ids], np.array([[0]]), np.array([[1]]), ["first"], "mlp_in", [1])
    one = extract(lm, ans.iloc[[0]], at, path=tmp_path/"b", layers=[1], progress=False)
    stored = xr.open_zarr(tmp_path/"b", consolidated=False)["acts"].values[0, 0]
    assert one.attrs["dtype"] == str(dtype)[6:]
    np.testing.assert_array_equal(stored.view(np.uint16), own[0, 0].view(torch.int16).numpy().view(np.uint16))


def test_a_run_that_failed_goes_on_with_its_own_plan(lm, tmp_path, monkeypatch):
    ans, true, read = answers(10), A._read, []
    def failing(*a):
        read.append(a[3])
        if len(read) == 3: raise KeyboardInterrupt
        return true(*a)
    monkeypatch.setattr(A, "_read", failing)
    with pytest.raises(KeyboardInterrupt): extract(lm, ans, positions(ans), path=tmp_path/"a", block=3, progress=False)
    with pytest.raises(ValueError, match="holds 2 of 4 blocks"): open_acts(tmp_path/"a")
    got = extract(lm, ans, positions(ans), path=tmp_path/"a", block=99, token_budget=10, progress=False)
    assert read == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [6, 7, 8], [9]]
    np.testing.assert_allclose(got.values, extract(lm, ans, positions(ans), progress=False).values, atol=1e-5)


def test_what_does_not_belong_together_is_refused(lm, tmp_path):
    ans = answers(4)
    pos = positions(ans)
    extract(lm, ans, pos, path=tmp_path/"a", progress=False)
    foreign = ans.copy()
    foreign.attrs["model"] = "another"
    cases = [(lambda: extract(lm, ans, pos, site="resid", path=tmp_path/"a"), "other activations .of site mlp_in, not resid"),
             (lambda: extract(lm, ans, pos, path=tmp_path/"a", dtype="bfloat16"), "in float32, not bfloat16"),
             (lambda: extract(lm, ans, pos, dtype="int8"), "choose float32"),
             (lambda: extract(lm, ans, pos, limit="1 kB"), "need [0-9.]+ [kM]B and limit is 1 kB"),
             *((lambda v=v: extract(lm, ans, pos, limit=v), "limit=.*: give bytes") for v in
               ("much", "nan GB", "inf", [3], -5, "0 GB", float("nan"), "1,5 GB", True, "")),
             *((lambda k=k, v=v: extract(lm, ans, pos, **{k: v}), f"{k}=.*: give a whole number above 0")
               for k in ("block", "token_budget") for v in (2.5, 0, "8", [1])),
             *((lambda v=v: extract(lm, ans, pos, layers=v), "layers=.*: give a list of whole") for v in (1, "all", [1.7])),
             *((lambda v=v: extract(lm, ans, pos, site=v), "no site .*: choose one of resid") for v in (["resid"], None)),
             (lambda: extract(lm, ans, pos[:0]), "the positions have no row: they come from"),
             (lambda: extract(lm, ans, pos.drop(columns=["pool", "stop"])), "lack the column 'stop', 'pool'"),
             *((lambda v=v: extract(lm, ans, pos.assign(start=v)), "has start=.*: tokens are counted") for v in (-2, 1.5, "x")),
             *((lambda c=c, v=v: extract(lm, ans.assign(**{c: [v, *ans[c][1:]]}), pos), f"{c} of example 3 is .*: give token ids")
               for c in ("answer_ids", "prompt_ids") for v in (None, 7, "ab", [None], [8.5])),
             *((lambda v=v: extract(lm, ans, pos.assign(position=v)), "the position .* is no text") for v in (-1, None)),
             (lambda: extract(lm, ans.assign(example=[2**70, 1, 2, 3]), pos), "is no whole number"),
             (lambda: extract(lm, ans.assign(example=[f"q{e}" for e in ans["example"]]), pos), "example 'q3' is no whole number"),
             *((lambda k=k: extract(lm, ans.assign(answer_ids=[[*a[:-1], k] for a in ans["answer_ids"]]), pos),
                f"has the token {k} and .* knows those from 0 to 399") for k in (400, -1)),
             (lambda: open_acts(tmp_path/"a", ans), "together with"),
             (lambda: open_acts(tmp_path/"a", layers=[0, 9]), "lacks layer 9"),
             (lambda: extract(lm, ans.iloc[:2], pos), "are not among the answers"),
             (lambda: extract(lm, foreign, pos), "another's"),
             (lambda: extract(lm, ans, pos, site="mlp"), "no site 'mlp'"),
             (lambda: extract(lm, ans, pos, layers=[7]), "no layer 7"),
             (lambda: extract(lm, ans, pos, layers=[]), "at least one layer"),
             (lambda: extract(lm, ans, pd.concat([pos, pos])), "twice"),
             (lambda: extract(lm, ans.iloc[:0], pos), "empty"),
             (lambda: open_acts(tmp_path/"nothing"), "no activations at")]
    for f, why in cases:
        with pytest.raises((ValueError, FileNotFoundError), match=why) as e: f()
        assert "\n" not in str(e.value)


@pytest.mark.parametrize("kind, size", [("gpt2", dict(n_positions=24)), ("opt", dict(max_position_embeddings=24)),
                                        ("gptj", dict(n_positions=24)), ("openai-gpt", dict(n_positions=24))])
def test_what_a_table_of_positions_does_not_reach_is_refused_before_anything_is_computed(kind, size):
    lm = load_lm(tiny_model(kind, **{**dict(max_position_embeddings=24), **size}), TOK)
    rows, ran = [dict(example=i, prompt_ids=[5]*10, answer_ids=[6]*n) for i, n in enumerate((14, 15, 20))], []
    lm.blocks[0].register_forward_pre_hook(lambda *_: ran.append(1))
    fits, ans = pd.DataFrame(rows[:1]), pd.DataFrame(rows)
    with pytest.raises(ValueError, match="example 1 has 25 tokens and .* takes 24 .2 such.: shorten it, or drop it"):
        extract(lm, ans, places(ans, [(0, 1, "first")]), progress=False)
    assert not ran
    assert np.isfinite(extract(lm, fits, places(fits, [(13, 14, "first")]), progress=False)).all()


def test_what_is_longer_than_a_model_was_made_for_is_told_once():
    lm = load_lm(tiny_model("llama", max_position_embeddings=24), TOK)
    ans = pd.DataFrame([dict(example=i, prompt_ids=[5]*10, answer_ids=[6]*n) for i, n in enumerate((14, 15, 20))])
    with pytest.warns(UserWarning, match="2 answers have up to 30 tokens and .* was made for 24") as told:
        for _ in range(2): extract(lm, ans, places(ans, [(0, 1, "first")]), progress=False)
    assert len(told) == 1 and told[0].filename == __file__


def test_limits_as_one_writes_them():
    for text, most in {"1 GiB": 2**30, "8 GB": 8e9, "8gb": 8e9, "1.5 TB": 1.5e12, "64": 64, "1e3 kB": 1e6, "2 MiB": 2**21,
                       "3 G": 3e9, "512 b": 512}.items(): assert A._bytes(text) == most
    assert (A._bytes(None), A._bytes(7), A._bytes(np.float32(2.5))) == (None, 7, 2.5)
    assert [A._size(b) for b in (3, 79_200, 9.9e7, 1.2e9, 999.9e6)] == ["3 bytes", "79.2 kB", "99 MB", "1.2 GB", "1 GB"]


def test_a_place_outside_the_sequence_is_refused(lm):
    ans = answers(3)
    pos = positions(ans)
    pos.loc[0, ["start", "stop"]] = 9999, 10000
    with pytest.raises(ValueError, match="outside its .* tokens"): extract(lm, ans, pos)


def test_ids_that_were_on_disk(lm, tmp_path):
    ans = answers(3)
    ans.to_parquet(tmp_path/"a.parquet")
    back = pd.read_parquet(tmp_path/"a.parquet")
    a, b = (extract(lm, t, positions(t), progress=False) for t in (ans, back))
    np.testing.assert_array_equal(a, b)


# Samples of one question

def samples(prompts=(9, 17, 5), n=4, seed=0, most=8):
    "Answers of which `n` share each prompt."
    rng = np.random.default_rng(seed)
    prompts = [rng.integers(3, 300, m).tolist() for m in prompts]
    said = lambda: rng.integers(3, 300, rng.integers(1, most)).tolist()
    rows = [dict(prompt_ids=p, answer_ids=said()) for p in prompts for _ in range(n)]
    ans = pd.DataFrame(rows).assign(example=np.arange(len(rows)) + 5, span_start=0, span_stop=1).sample(frac=1, random_state=seed)
    return ans.astype(dict(span_start="Int64", span_stop="Int64"))


def places(ans, spans):
    "Positions from (first, last) tokens, counted from the answer's start when first is not negative, else in the prompt."
    rows = [dict(example=e, position=f"{a}:{b}:{how}", start=len(p) + a, stop=len(p) + b, pool=how)
            for e, p in zip(ans["example"], ans["prompt_ids"]) for a, b, how in spans]
    return pd.DataFrame(rows).astype(dict(start="Int64", stop="Int64"))


def relative(a, b): return float(np.nanmax(np.abs(a.values - b.values))/np.nanmax(np.abs(b.values)))


def never(*_): return False


WINDOW = {kind: dict(sliding_window=6) for kind in ("mistral", "gemma2", "gemma3_text", "gpt_oss")}


@pytest.mark.parametrize("site", ["resid", "mlp_in", "attn_out"])
@pytest.mark.parametrize("kind", KINDS)
def test_shared_is_unshared(kind, site, monkeypatch):
    lm, ans = load_lm(tiny_model(kind, **WINDOW.get(kind, {})), TOK), samples()
    if site not in lm.sites: pytest.skip(f"{kind} has no {site}")
    pos = places(ans, [(-1, 0, "first"), (-4, -1, "mean"), (0, 1, "first"), (0, 1, "max")])
    a = extract(lm, ans, pos, site=site, progress=False)
    monkeypatch.setattr(P, "can_share", never)
    b = extract(lm, ans, pos, site=site, progress=False)
    assert relative(a, b) <= 1e-5
    if kind == "llama": assert not np.array_equal(a.values, b.values), "nothing was shared"  # two passes round differently


def test_only_an_architecture_whose_cache_fails_is_read_whole():
    shares = {kind: can_share(load_lm(tiny_model(kind), TOK), "resid", [0, 2], list(range(3, 40))) for kind in KINDS}
    assert [k for k, ok in shares.items() if not ok] == ["mamba"]


def test_sharing_is_where_it_pays(lm, monkeypatch):
    seen, true = [], A.read_shared
    monkeypatch.setattr(A, "read_shared", lambda lm, prompts, *a: (seen.append(len(prompts)), true(lm, prompts, *a))[1])
    for prompts, n, shared in (((40,), 4, 4), ((40,), 1, 0), ((1,), 4, 0), ((40, 1), 3, 3)):
        seen.clear()
        ans = samples(prompts, n)
        extract(lm, ans, positions(ans), layers=[1], progress=False)
        assert sum(seen) == shared, (prompts, n)
    ans = samples((40,))  # a span across the border is read in one piece
    seen.clear()
    extract(lm, ans, places(ans, [(-2, 1, "mean")]), progress=False)
    assert not seen


@settings(max_examples=30)
@given(st.integers(0, 10**6), st.integers(20, 300), st.integers(1, 9))
def test_batches_of_shared_rows_change_nothing(seed, budget, block):
    ans = samples((30, 12, 30, 4), 3, seed)
    a, b = (extract(LM, ans, positions(ans), layers=[1], token_budget=t, block=k, progress=False)
            for t, k in ((budget, block), (10**6, 99)))
    np.testing.assert_allclose(a.values, b.values, atol=1e-5)


# Positions that depend on a row's length

def grows(kind): return load_lm(livened(tiny_model(kind, **ROPES[kind]), .2), TOK)


@pytest.mark.filterwarnings("ignore:.* tokens")
@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("kind", ROPES)
def test_a_row_that_crosses_the_switch_is_what_it_is_alone(kind, shared, tmp_path):
    "Each by a model that has seen nothing else: 'dynamic' remembers the longest row so far."
    ans = samples((9, 15, 12, 17), 5, most=12) if shared else answers(14, seed=3)
    if not shared: ans["answer_ids"] = [a*(1 + i % 3) for i, a in enumerate(ans["answer_ids"])]
    n = ans["prompt_ids"].str.len() + ans["answer_ids"].str.len()
    assert (n <= 16).sum() > 2 and (n > 17).sum() > 2
    pos = places(ans, [(-1, 0, "first"), (0, 1, "first")])
    for path in (None, tmp_path/"a"):
        got = extract(grows(kind), ans, pos, site="resid", path=path, progress=False)
        for e, p, a in zip(ans["example"], ans["prompt_ids"], ans["answer_ids"]):
            at = np.array([[len(p) - 1, len(p)]])
            with grows(kind).reading() as m:
                own = m(torch.tensor([p + a]), output_hidden_states=True).hidden_states[2][0, at[0]].numpy()
            np.testing.assert_allclose(got.sel(example=e, layer=1).values, own, atol=1e-5, rtol=1e-4)


def test_the_switch_matters_and_rows_below_it_are_still_read_together():
    lm, seen = grows("phi3"), []
    rows = [np.random.default_rng(k).integers(3, 300, 12 + k).tolist() for k in range(1, 9)]
    whole = read_sites(lm, rows, *np.array([[[11]]*8, [[12]]*8]), ["first"], "resid", [1])
    alone = torch.cat([read_sites(lm, [r], np.array([[11]]), np.array([[12]]), ["first"], "resid", [1]) for r in rows])
    assert (whole - alone).norm(dim=-1).max()/alone.norm(dim=-1).max() > .01
    hook = lm.blocks[0].register_forward_pre_hook(lambda m, a: seen.append(tuple(a[0].shape[:2])))
    ans = pd.DataFrame(dict(example=range(8), prompt_ids=[r[:3 + i] for i, r in enumerate(rows)],
                            answer_ids=[r[3 + i:] for i, r in enumerate(rows)]))
    extract(lm, ans, places(ans, [(0, 1, "first")]), layers=[1], progress=False)
    hook.remove()
    assert seen[1:] == [(4, 20), (4, 16)]  # after the one token that shows the form


def test_no_batch_reaches_further_than_its_longest_row():
    "A short prompt with a long answer beside a long prompt: pads must not run off GPT-2's table of 24 positions."
    lm, rng = load_lm(tiny_model("gpt2", max_position_embeddings=24, n_positions=24), TOK), np.random.default_rng(0)
    prompts = [rng.integers(3, 300, k).tolist() for k in (20, 20, 6, 6)]
    said = [rng.integers(3, 300, k).tolist() for k in (2, 3, 16, 17)]
    end = np.array([[len(p) + len(a) - 1] for p, a in zip(prompts, said)])
    a = read_shared(lm, prompts, said, end, end + 1, ["first"], "resid", [0, 2])
    b = read_sites(lm, [p + s for p, s in zip(prompts, said)], end, end + 1, ["first"], "resid", [0, 2])
    torch.testing.assert_close(a, b, atol=1e-5, rtol=1e-4)


def test_whether_prompts_can_be_shared_is_tried_once_a_model(lm):
    fresh, ran = load_lm(tiny_model("llama"), TOK, check=False), []
    hook = fresh.model.model.register_forward_pre_hook(lambda *_: ran.append(1))
    ans, counts = samples((40,), 4), []
    for _ in range(3):
        ran.clear()
        extract(fresh, ans, positions(ans), layers=[1], progress=False)
        counts.append(len(ran))
    assert counts == [1 + 3 + 2, 2, 2]  # the form and the trial, then the two passes
    extract(fresh, ans, positions(ans), layers=[2], progress=False)
    assert load_lm(tiny_model("llama"), TOK, check=False).tried == {} and len(fresh.tried) == 4
    hook.remove()


# Batches

@given(st.integers(1, 400), st.integers(0, 10**6), st.integers(200, 4000), st.integers(1, 256))
def test_every_row_is_in_one_batch_of_its_block(n, seed, budget, block):
    lengths = np.sort(np.random.default_rng(seed).integers(1, 200, n))[::-1]
    sizes = P._sizes(lengths*0, lengths, set(range(block, n, block)), budget)
    ends = np.cumsum(sizes)
    assert ends[-1] == n and set(range(block, n, block)) <= set(ends.tolist())
    assert all(m*lengths[e - m] <= budget for m, e in zip(sizes, ends))


def test_padding_is_at_most_two_in_a_hundred(lm):
    rng = np.random.default_rng(0)
    said = [[3]*m for m in rng.integers(58, 249, 1000)]
    ans = pd.DataFrame(dict(example=range(1000), prompt_ids=[[i % 300, i//300] for i in range(1000)], answer_ids=said))
    e = estimate(lm, ans, places(ans, [(0, 1, "first")]), token_budget=4000)
    assert e.rows == 1000 and e.tokens == sum(map(len, said)) + 2000
    assert e.computed <= 1.02*e.tokens


FULL = [torch.OutOfMemoryError("CUDA out of memory."), RuntimeError("MPS backend out of memory (MPS allocated: 17.9 GB)"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:118] err == 0. DefaultCPUAllocator: can't allocate memory: you tried to "
                     "allocate 8 bytes. Error code 12 (Cannot allocate memory)"),
        RuntimeError("[enforce fail at alloc_cpu.cpp:114] data. DefaultCPUAllocator: not enough memory"), MemoryError()]


def test_another_error_is_not_taken_for_full_memory(lm, monkeypatch):
    def fail(lm, rows, *a):
        if len(rows) > 1: raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")
        return true(lm, rows, *a)
    true = A.read_sites
    monkeypatch.setattr(A, "read_sites", fail)
    with pytest.raises(RuntimeError, match="mat1 and mat2"): extract(lm, answers(4), positions(answers(4)), progress=False)


@pytest.mark.parametrize("error", FULL, ids=lambda e: str(e)[:20])
def test_memory_that_runs_out_halves_the_batches_and_the_plan_says_so(tmp_path, monkeypatch, error):
    lm, ans, true, asked = load_lm(tiny_model("llama"), TOK, check=False), answers(12), A.read_sites, []
    def small(lm, rows, *a):
        asked.append(len(rows))
        if len(rows) > 3: raise error
        return true(lm, rows, *a)
    monkeypatch.setattr(A, "read_sites", small)
    got = extract(lm, ans, positions(ans), path=tmp_path/"a", block=6, progress=False)
    assert asked == [1, 6, 3, 3, 3, 3]  # the form; the second block is halved beforehand
    assert json.loads((tmp_path/"a"/"acts"/"plan.json").read_text())["sizes"] == [[3, 3], [3, 3]]
    monkeypatch.undo()
    np.testing.assert_allclose(got.values, extract(lm, ans, positions(ans), progress=False).values, atol=1e-5)


# Estimates

def test_estimates_are_what_it_takes(lm, tmp_path):
    ans = answers(20)
    pos = positions(ans)
    e = estimate(lm, ans, pos, path=tmp_path/"a", token_budget=64)
    assert not (tmp_path/"a").exists() and e.seconds > 0
    seen = []
    hook = lm.blocks[0].register_forward_pre_hook(lambda m, a: seen.append(a[0].shape[0]*a[0].shape[1]))
    extract(lm, ans, pos, path=tmp_path/"a", token_budget=64, progress=False)
    hook.remove()
    assert sum(seen) == e.computed  # the one token that shows the form was read for the estimate
    written = sum(f.stat().st_size for d in ("acts", "not_finite") for f in (tmp_path/"a"/d/"c").rglob("*") if f.is_file())
    assert written == e.disk
    assert estimate(lm, ans, pos, path=tmp_path/"a").rows == 0
    assert "answers" in e._repr_markdown_() and "small batch was timed" in e._repr_markdown_()


def test_what_does_not_fit_is_refused_with_the_number(lm, tmp_path, monkeypatch):
    ans = answers(4)
    monkeypatch.setattr(A.shutil, "disk_usage", lambda p: namedtuple("u", "free")(10))
    with pytest.raises(OSError, match="need .* kB .* free"): extract(lm, ans, positions(ans), path=tmp_path/"a", progress=False)
    assert not (tmp_path/"a").exists()
    monkeypatch.setattr(A.psutil, "virtual_memory", lambda: namedtuple("m", "available")(10))
    with pytest.raises(MemoryError, match="path="): extract(lm, ans, positions(ans), progress=False)


# Faults of the model

def broken(model, after):
    "A hook that raises the second time round."
    calls = []
    def fail(*_):
        calls.append(1)
        if len(calls) > after: raise RuntimeError("the device is gone")
    return model.register_forward_hook(fail)


def test_a_model_that_raises_in_the_middle(lm, tmp_path):
    ans, count = answers(9), lambda: sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in lm.model.modules())
    before = count()
    hook = broken(lm.blocks[1], 1)
    with pytest.raises(RuntimeError, match="device is gone"):
        extract(lm, ans, positions(ans), path=tmp_path/"a", block=3, progress=False)
    hook.remove()
    assert count() == before and not lm.model.training
    got = extract(lm, ans, positions(ans), path=tmp_path/"a", progress=False)
    np.testing.assert_allclose(got.values, extract(lm, ans, positions(ans), progress=False).values, atol=1e-5)


def test_hooks_are_gone_after_any_exception(lm):
    count = lambda: sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in lm.model.modules())
    before = count()
    for error in (ValueError, KeyboardInterrupt, torch.OutOfMemoryError):
        with pytest.raises(error), listening(lm, "mlp_in", [0, 1], lambda i, v: None): raise error
        def hear(i, v, error=error): raise error
        with pytest.raises(error), listening(lm, "resid", [0, 1], hear): lm.model(torch.tensor([[3, 4]]))
    with pytest.raises(ValueError, match="no layer 9"), listening(lm, "resid", [0, 9], print): pass
    with pytest.raises(IndexError):
        read_shared(lm, [[3, 10**9]], [[4]], np.array([[0]]), np.array([[1]]), ["first"], "resid", [0])
    assert count() == before


def test_what_is_not_finite_is_counted_and_told(lm, tmp_path):
    ans = answers(6)
    pos = positions(ans)
    def spoil(m, a, out):
        out[..., :2] = torch.nan
        return out
    hook = lm.blocks[2].mlp.register_forward_hook(spoil)
    n = 2*int(pos["start"].notna().sum())
    for path in (None, tmp_path/"a", tmp_path/"a"):  # the third only opens it
        with pytest.warns(UserWarning, match=f"^{n} values at mlp_out are NaN or infinite"):
            acts = extract(lm, ans, pos, site="mlp_out", path=path, progress=False)
        assert acts.attrs["not_finite"] == n
        assert int(np.isnan(acts.sel(layer=2).values).sum() - np.isnan(acts.sel(layer=1).values).sum()) == n
    hook.remove()


def test_what_does_not_fit_its_type_is_an_error(lm, tmp_path):
    ans = answers(6)
    hook = lm.blocks[1].mlp.register_forward_hook(lambda m, a, out: out*0 + 7e4)
    assert (extract(lm, ans, positions(ans, ["-1"]), site="mlp_out", layers=[1], dtype="bfloat16", progress=False) > 6.9e4).all()
    for path in (None, tmp_path/"a"):
        with pytest.raises(ValueError, match="example .* does not fit float16: use dtype=.bfloat16. or .float32.") as e:
            extract(lm, ans, positions(ans), site="mlp_out", dtype="float16", path=path, progress=False)
        assert ("at another path (this one keeps float16)" in str(e.value)) == (path is not None)
        for dtype in ("bfloat16", "float32"):  # as advised
            extract(lm, ans, positions(ans), site="mlp_out", dtype=dtype, path=path and tmp_path/dtype, progress=False)
    hook.remove()


def test_a_vector_too_small_for_its_type_is_an_error(lm, tmp_path):
    ans = answers(6)
    pos = positions(ans)
    hook = lm.blocks[1].mlp.register_forward_hook(lambda m, a, out: out*0 + 1e-12)
    for path in (None, tmp_path/"a"):
        with pytest.raises(ValueError, match="example .* does not fit float16"):
            extract(lm, ans, pos, site="mlp_out", dtype="float16", path=path, progress=False)
    acts = extract(lm, ans, pos, site="mlp_out", layers=[1], dtype="bfloat16", progress=False)
    np.testing.assert_allclose(acts.values[np.isfinite(acts.values)], 1e-12, rtol=1e-2)
    hook.remove()
    hook = lm.blocks[1].mlp.register_forward_hook(lambda m, a, out: out*0)  # what is nothing fits
    assert not np.nan_to_num(extract(lm, ans, pos, site="mlp_out", layers=[1], dtype="float16", progress=False)).any()
    hook.remove()


def test_yes_and_no_are_no_layers(lm):
    for layers in ([True, False], [True]):
        with pytest.raises(ValueError, match="give a list of whole numbers"):
            extract(lm, answers(2), positions(answers(2)), layers=layers, progress=False)


def test_an_unknown_or_mixed_pool_is_refused(lm):
    ans = answers()
    pos = positions(ans)
    for pool in ("median", np.where(np.arange(len(pos)) % 2, "mean", "max")):
        with pytest.raises(ValueError, match="has the pool"): extract(lm, ans, pos.assign(pool=pool), progress=False)


def test_a_type_of_torch_and_its_name_are_one(lm, tmp_path):
    ans = answers()
    pos = positions(ans)
    first = extract(lm, ans, pos, path=tmp_path/"a", dtype=torch.bfloat16, progress=False)
    assert extract(lm, ans, pos, path=tmp_path/"a", dtype=torch.bfloat16, progress=False).equals(first)
