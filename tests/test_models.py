"Blocks and sites are found by structure, in every architecture; what is refused is refused in one sentence."
from concurrent.futures import ThreadPoolExecutor

import pytest
import torch
from transformers import AutoConfig, AutoModelForSeq2SeqLM
from worlds import KINDS, tiny_model, tiny_tokenizer

from probe_nb.models import find_blocks, find_sites, known_revision, load_lm, track


@pytest.mark.parametrize("kind", KINDS)
def test_hooked_residual_is_the_librarys_hidden_state(kind):
    model = tiny_model(kind)
    lm, ids = load_lm(model, tiny_tokenizer()), torch.tensor([[5, 6, 7, 8, 9]])
    got = {}
    hooks = [b.register_forward_hook(lambda m, a, o, i=i: got.update({i: o[0] if isinstance(o, tuple) else o}))
             for i, b in enumerate(lm.blocks)]
    with lm.reading() as m: own = m(ids, attention_mask=torch.ones_like(ids), output_hidden_states=True).hidden_states
    for h in hooks: h.remove()
    assert lm.n_layers == 3
    first = 0 if kind == "mamba" else 1  # Mamba's list has no embedding in front
    for i in range(lm.n_layers - 1): torch.testing.assert_close(got[i], own[i + first])


@pytest.mark.parametrize("kind", KINDS)
def test_sites_are_modules_of_every_block(kind):
    lm = load_lm(tiny_model(kind), tiny_tokenizer())
    assert {"resid", "attn_out"} <= set(lm.sites)
    assert ("mlp_in" in lm.sites) == (kind != "mamba")
    for site in lm.sites:
        for layer in range(lm.n_layers): assert isinstance(lm.tap(site, layer)[0], torch.nn.Module)


@pytest.mark.parametrize("kind, act, head", [("llama", "mlp.down_proj", "self_attn.o_proj"),
                                             ("phi3", "mlp.down_proj", "self_attn.o_proj"),
                                             ("gpt2", "mlp.c_proj", "attn.c_proj"), ("opt", "fc2", "self_attn.out_proj"),
                                             ("gpt_neox", "mlp.dense_4h_to_h", "attention.dense"),
                                             ("bloom", "mlp.dense_4h_to_h", "self_attention.dense")])
def test_output_projections_are_found_without_their_names(kind, act, head):
    sites = find_sites(tiny_model(kind))
    for layer in range(3): assert (sites["mlp_act"][layer], sites["head"][layer]) == ((act, "in"), (head, "in"))


def test_finding_sites_leaves_no_hook_and_no_training_mode():
    model = tiny_model("llama").train()
    count = lambda: sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in model.modules())
    before = count()
    lm = load_lm(model, tiny_tokenizer(), check=False)  # to give its hidden states the library leaves hooks of its own
    assert count() == before and model.training
    with pytest.raises(RuntimeError), lm.reading(): raise RuntimeError
    assert model.training


def test_a_model_without_blocks_is_refused():
    with pytest.raises(ValueError, match="no list of blocks"): find_blocks(torch.nn.Linear(2, 2))


@pytest.mark.parametrize("name, why", [("no-such-model", "neither \"demo\""), ("some/thing/else", "neither \"demo\""),
                                       ("./nowhere", "neither \"demo\"")])
def test_an_unknown_model_is_one_sentence(name, why):
    with pytest.raises(FileNotFoundError, match=why) as e: load_lm(name)
    assert "\n" not in str(e.value) and name in str(e.value)


def test_a_model_of_the_hub_that_cannot_be_reached(monkeypatch):
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    with pytest.raises((FileNotFoundError, ValueError)) as e: load_lm("nobody/nothing")
    assert "nobody/nothing" in str(e.value) and "\n" not in str(e.value)


def test_a_folder_without_a_tokenizer(tmp_path):
    tiny_model("llama").save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="no tokenizer could be read from") as e: load_lm(str(tmp_path))
    assert "\n" not in str(e.value) and "tokenizer=" in str(e.value)
    tiny_tokenizer().save_pretrained(tmp_path / "tok")
    assert load_lm(str(tmp_path), tokenizer=str(tmp_path / "tok")).n_layers == 3


def test_an_object_needs_its_tokenizer():
    with pytest.raises(ValueError, match="needs its tokenizer"): load_lm(tiny_model("llama"))


def test_a_folders_revision_changes_with_its_weights(tmp_path):
    tiny_tokenizer().save_pretrained(tmp_path)
    model = tiny_model("llama")
    model.save_pretrained(tmp_path)
    first = load_lm(str(tmp_path)).revision
    assert first and load_lm(str(tmp_path)).revision == first
    with torch.no_grad(): model.model.norm.weight += 1
    model.save_pretrained(tmp_path)
    assert load_lm(str(tmp_path)).revision != first


def test_an_objects_revision_changes_with_any_weight_and_not_with_its_type():
    model, tok = tiny_model("llama").to(torch.bfloat16), tiny_tokenizer()
    revision = lambda m: load_lm(m, tok, check=False).revision
    first = revision(model)
    assert revision(model.float()) == first
    for i, (at, by) in enumerate([((7, 5), 1e-6), ((30, 31), 2**-8), ((0, 0), 1e-3)]):
        with torch.no_grad(): model.model.layers[i].mlp.down_proj.weight[at] += by
        assert (found := revision(model)) != first
        first = found


@pytest.mark.parametrize("kind", ["llama", "gpt2", "gemma4_text", "opt", "jamba"])
def test_a_revision_is_of_the_computation_too(kind, tmp_path):
    "Other angles, another window or a lasting buffer are another model; saving and loading it is the same one."
    model, tok = tiny_model(kind), tiny_tokenizer()
    revision = lambda m: load_lm(m, tok, check=False).revision
    first = revision(model)
    model.save_pretrained(tmp_path)
    assert load_lm(str(tmp_path), tok, check=False, device="cpu").revision == first
    if kind == "llama":
        for more in (dict(rope_parameters=dict(rope_type="default", rope_theta=5e5)), dict(rms_norm_eps=1e-3),
                     dict(rope_parameters=dict(rope_type="yarn", factor=4., original_max_position_embeddings=64))):
            other = tiny_model(kind, **more)
            other.load_state_dict(model.state_dict())
            assert revision(other) != first
        other = tiny_model(kind, use_cache=False, pad_token_id=5, attention_dropout=.1)
        other.load_state_dict(model.state_dict())
        assert revision(other) == first
    if kind == "gemma4_text":
        model.model.layers[1].layer_scalar.fill_(.5)
        assert revision(model) != first


def test_a_folder_of_other_angles_is_another_one(tmp_path):
    tiny_model("llama").save_pretrained(tmp_path)
    first = known_revision(str(tmp_path))
    tiny_model("llama", rope_parameters=dict(rope_type="default", rope_theta=5e5)).save_pretrained(tmp_path)
    assert known_revision(str(tmp_path)) != first


def test_packed_weights_of_the_hub_are_another_revision(monkeypatch):
    import probe_nb.models as M
    made = tiny_model("llama")
    made.config._commit_hash = "abc"
    monkeypatch.setattr(M, "_load_model", lambda *a, **k: made)
    monkeypatch.setattr(M, "_placement", lambda *a: {})
    load = lambda q: load_lm("demo", tiny_tokenizer(), device="cpu", quantization=q, check=False)
    names = [load(q).revision for q in (None, "4bit", "8bit")]
    assert names == ["abc", "abc-4bit", "abc-8bit"]


def test_two_that_hold_one_model_share_its_lock():
    model = tiny_model("llama")
    a, b = (load_lm(model, tiny_tokenizer(), check=False) for _ in range(2))
    assert a.lock is b.lock is a.lock
    assert load_lm(tiny_model("llama"), tiny_tokenizer(), check=False).lock is not a.lock


def test_a_folder_that_was_trained_further_is_another_one(tmp_path):
    model = tiny_model("llama", vocab_size=20_000)
    model.save_pretrained(tmp_path)
    first = known_revision(str(tmp_path))
    with torch.no_grad(): model.model.layers[1].mlp.gate_proj.weight += 1e-3  # neither the first nor the last of the file
    model.save_pretrained(tmp_path)
    assert known_revision(str(tmp_path)) != first


@pytest.mark.parametrize("thing", [torch.nn.Linear(2, 2), torch.nn.Sequential()])
def test_a_module_that_is_no_language_model(thing):
    with pytest.raises(ValueError, match="is no causal language model of transformers"): load_lm(thing, tiny_tokenizer())


def test_a_tokenizer_that_is_none():
    for tokenizer, why in (("nope", "no tokenizer 'nope'"), (3, "tokenizer=3: give a tokenizer")):
        for model in (tiny_model("llama"), "demo"):
            with pytest.raises((ValueError, FileNotFoundError), match=why): load_lm(model, tokenizer)


def test_a_model_with_an_encoder_or_without_weights():
    size = dict(d_model=32, d_kv=8, num_layers=2, num_heads=4, d_ff=64, vocab_size=400)
    t5 = AutoModelForSeq2SeqLM.from_config(AutoConfig.for_model("t5", **size))
    with pytest.raises(ValueError, match="has an encoder: probe_nb reads decoders"): load_lm(t5, tiny_tokenizer())
    with pytest.raises(ValueError, match="has no weights in memory"): load_lm(tiny_model("llama").to("meta"), tiny_tokenizer())


def test_a_site_that_is_no_name():
    lm = load_lm(tiny_model("llama"), tiny_tokenizer(), check=False)
    for site in (["resid"], None, 3):
        with pytest.raises(ValueError, match="no site .*: choose one of resid"): lm.tap(site, 0)


def test_progress_is_passed_on():
    seen = []
    def mine(items, total, desc):
        seen.append((total, desc))
        yield from items
    assert list(track("abc", desc="x", progress=mine)) == list("abc") == list(track("abc", progress=False))
    assert seen == [(3, "x")]


def test_models_that_are_loaded_at_once_have_their_weights():
    with ThreadPoolExecutor(3) as pool: lms = list(pool.map(load_lm, ["demo"] * 6))  # two of them at once once left torch broken
    assert len({lm.revision for lm in lms}) == 1 and not any(p.is_meta for lm in lms for p in lm.model.parameters())
