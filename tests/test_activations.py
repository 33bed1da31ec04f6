"What is stored is what the library computes, alone or in a batch, whole or resumed, in every architecture."
import errno
from collections import namedtuple

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st
from worlds import KINDS, tiny_model, tiny_tokenizer

import probe_nb.activations as A
from probe_nb.activations import extract, gather, open_acts, read_sites
from probe_nb.models import load_lm
from probe_nb.spans import RULES, pooled, positions

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


@given(st.integers(0, 10**6), st.integers(8, 200))
def test_the_token_budget_changes_nothing(seed, budget):
    lm, ans = LM, answers(5, seed)
    a, b = (extract(lm, ans, positions(ans), layers=[1], token_budget=t, progress=False) for t in (budget, 10**6))
    np.testing.assert_allclose(a.values, b.values, atol=1e-5)


LM = load_lm(tiny_model("llama"), TOK)


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
    assert acts["layer"].values.tolist() == [1, 0] and set(ran) == {0, 1}
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
    assert b["position"].values.tolist() == [r.label for r in RULES]
    some = [acts.sel(position="-1", layer=2).isel(example=[0, 5]).values for acts in (b, a)]
    np.testing.assert_allclose(*some, atol=1e-5)
    ds = xr.open_zarr(tmp_path/"a", consolidated=False)
    assert ds["acts"].dims == a.dims and ds.attrs["site"] == "mlp_in"
    np.testing.assert_allclose(ds["acts"].values, a.values, atol=1e-5)


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


def test_a_killed_run_resumes(lm, tmp_path, monkeypatch):
    ans, true, read = answers(10), A._read_block, []
    def failing(*a):
        read.append(a[2].tolist())
        if len(read) == 3: raise KeyboardInterrupt
        return true(*a)
    monkeypatch.setattr(A, "_read_block", failing)
    with pytest.raises(KeyboardInterrupt): extract(lm, ans, positions(ans), path=tmp_path/"a", block=3, progress=False)
    with pytest.raises(ValueError, match="holds 2 of 4 blocks"): open_acts(tmp_path/"a")
    got = extract(lm, ans, positions(ans), path=tmp_path/"a", block=99, progress=False)  # the store's own block size holds
    assert read == [[0, 1, 2], [3, 4, 5], [6, 7, 8], [6, 7, 8], [9]]
    np.testing.assert_allclose(got.values, extract(lm, ans, positions(ans), progress=False).values, atol=1e-5)


@pytest.mark.parametrize("k", range(1, 8))
def test_a_full_disk(lm, tmp_path, monkeypatch, k):
    "Whichever write fails, labels and marks included, the sentence is the same and the next run ends well."
    ans = answers(4)
    monkeypatch.setattr(A.shutil, "disk_usage", lambda p: namedtuple("u", "free")(10))
    with pytest.raises(OSError, match="need .* GB .* free"): extract(lm, ans, positions(ans), path=tmp_path/"a", progress=False)
    monkeypatch.undo()
    import zarr
    true, calls = zarr.Array.__setitem__, []
    def full(self, *a):
        calls.append(1)
        if len(calls) == k: raise OSError(errno.ENOSPC, "No space left on device")
        return true(self, *a)
    monkeypatch.setattr(zarr.Array, "__setitem__", full)
    with pytest.raises(OSError, match="block . .* could not be written .*No space left"):
        extract(lm, ans, positions(ans), path=tmp_path/"a", block=2, progress=False)
    monkeypatch.undo()
    assert extract(lm, ans, positions(ans), path=tmp_path/"a", progress=False).shape[0] == 4


def test_what_does_not_belong_together_is_refused(lm, tmp_path):
    ans = answers(4)
    pos = positions(ans)
    extract(lm, ans, pos, path=tmp_path/"a", progress=False)
    foreign = ans.copy()
    foreign.attrs["model"] = "another"
    cases = [(lambda: extract(lm, ans, pos, site="resid", path=tmp_path/"a"), "holds other activations"),
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


def test_a_lost_or_damaged_block_is_named(lm, tmp_path):
    ans = answers(6)
    extract(lm, ans, positions(ans), path=tmp_path/"a", block=4, progress=False)
    shard = tmp_path/"a"/"acts"/"c"/"1"/"0"/"0"/"0"
    data = shard.read_bytes()
    shard.write_bytes(data[:len(data)//2])
    with pytest.raises(ValueError, match="is damaged"): open_acts(tmp_path/"a").load()
    shard.unlink()
    with pytest.raises(ValueError, match="1 is lost"): open_acts(tmp_path/"a")  # never read as zeros


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
