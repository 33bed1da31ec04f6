"""Steering a model whose decision is one planted direction: it flips answers, random ones do not; hooks leave no trace."""
import warnings

import numpy as np
import pandas as pd
import pytest
import torch
from tokenizers import Tokenizer, models, pre_tokenizers
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from probe_nb.answers import answer
from probe_nb.frozen import Probe
from probe_nb.models import load_lm
from probe_nb.probes import LogisticProbe
from probe_nb.steering import editing, steer

pytestmark = pytest.mark.filterwarnings("error::FutureWarning")  # nothing is asked for under a name that is going
WIDTH, WORDS = 96, ["<pad>", "<s>", "</s>", "yes", "no", "?", *(f"w{i}" for i in range(40))]


@pytest.fixture(scope="module")
def world():
    "A model that says yes on one side of a direction u and no on the other; and its questions."
    tok = Tokenizer(models.WordLevel({w: i for i, w in enumerate(WORDS)}, unk_token="?"))
    tok.pre_tokenizer = pre_tokenizers.WhitespaceSplit()
    tok = PreTrainedTokenizerFast(tokenizer_object=tok, bos_token="<s>", eos_token="</s>", pad_token="<pad>", unk_token="?")
    model = LlamaForCausalLM(LlamaConfig(vocab_size=len(WORDS), hidden_size=WIDTH, intermediate_size=8, num_hidden_layers=3,
                                         num_attention_heads=4,
                                         num_key_value_heads=4, max_position_embeddings=64, bos_token_id=1, eos_token_id=2,
                                         pad_token_id=0)).eval()
    Q = torch.linalg.qr(torch.randn(WIDTH, WIDTH, generator=torch.Generator().manual_seed(0)))[0]
    u, said, rest = Q[0], Q[1], Q[2:]
    rng = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for p in model.parameters(): p.zero_()
        for m in model.modules():
            if type(m).__name__ == "LlamaRMSNorm": m.weight.fill_(1.)
        E, H = model.get_input_embeddings().weight, model.lm_head.weight
        E.copy_(torch.randn(len(WORDS), WIDTH - 2, generator=rng) @ rest * .3)
        side = torch.tensor([1. if i % 2 else -1. for i in range(40)])
        E[6:] += side[:, None] * u
        E[3:5] = 5 * said
        H[3], H[4], H[2] = 4 * u, -4 * u, 3 * said
    lm = load_lm(model, tok, check=False)
    qs = pd.DataFrame(dict(id=[f"q{i}" for i in range(40)], question=[f"w{i}" for i in range(40)],
                           gold=[["yes" if i % 2 or i % 4 == 0 else "no"] for i in range(40)]))
    return lm, qs, u.numpy().astype(float)


def frozen(u, lm, **more):
    one = dict(direction=u, intercept=0., mean=np.zeros(len(u)), scale=np.ones(len(u)), knots=np.zeros((0, 2)), site="resid",
               layer=1, position="last_q")
    return Probe(**one | dict(model=lm.name, revision=lm.revision) | more)


HOW = dict(prompt="{question}", max_new_tokens=3, rule="match", progress=False)


def count(lm): return sum(len(m._forward_hooks) + len(m._forward_pre_hooks) for m in lm.model.modules())


def told(lm, qs, probe, **more):
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return steer(lm, probe, qs, **HOW | more)


def test_the_world_is_as_it_is_said_to_be(world):
    lm, qs, _ = world
    ans = answer(lm, qs, prompt="{question}", max_new_tokens=3, progress=False)
    assert ans["answer"].tolist() == ["yes" if i % 2 else "no" for i in range(40)]


def test_a_planted_direction_flips_answers_and_random_ones_do_not(world):
    lm, qs, u = world
    table = told(lm, qs, frozen(u, lm), strength=2., random=8)
    add, subtract, remove = (table[table["mode"] == m] for m in ("add", "subtract", "remove"))
    for part in (add, subtract):
        ours, chance = part.iloc[0], part.iloc[1:]
        assert ours["flipped"] == .5 and chance["flipped"].mean() < .05  # half of the answers lie on the other side
        assert ours["excess_low"] > .2 and ours["p_value"] == 1/9
        assert ours["low"] < .5 < ours["high"]
    assert add.iloc[0]["to_correct"] == .25 and add.iloc[0]["to_wrong"] == .25 and add.iloc[0]["accuracy"] == pytest.approx(.75)
    assert remove.iloc[0]["changed"] > .2 and remove.iloc[1:]["changed"].max() < .1
    assert all("breaks the model" in d and d.startswith("remove")
               for d in table.attrs["doubts"])  # between yes and no other words win


def test_strength_is_in_standard_deviations_of_the_answers(world):
    lm, qs, u = world
    assert told(lm, qs, frozen(u, lm), mode="add", random=2).attrs["sd"] == pytest.approx(1, abs=.1)
    flips = told(lm, qs, frozen(u, lm), mode="add", strength=[.5, 2.], random=2).query("direction == 'probe'")["flipped"]
    assert flips.tolist() == [0, .5]


def test_scaled_probes_point_where_their_scores_rise(world):
    lm, qs, u = world
    scale = np.exp(np.random.default_rng(0).normal(size=WIDTH))
    a, b = (told(lm, qs, p, mode="add", strength=2., random=2).iloc[0]
            for p in (frozen(u, lm), frozen(u * scale, lm, scale=scale)))
    assert a["flipped"] == b["flipped"] and a["to_correct"] == b["to_correct"]


def test_where_it_is_applied_matters(world):
    lm, qs, u = world
    assert told(lm, qs, frozen(u, lm), mode="add", strength=2., at="all", random=2).iloc[0]["flipped"] == .5
    with pytest.raises(ValueError, match="do not differ along the direction at 'answer'"):  # by then all say the same
        told(lm, qs, frozen(u, lm), mode="add", at="answer", random=2)


def test_an_idle_direction_is_told_from_one_that_is_used(world):
    lm, qs, u = world
    idle = np.random.default_rng(5).normal(size=WIDTH)
    idle -= (idle @ u) * u
    with pytest.warns(UserWarning, match="flips no more than random"): table = steer(lm, frozen(idle, lm), qs, strength=2.,
                                                                                     random=3, **HOW)
    assert sum("no more than random" in d for d in table.attrs["doubts"]) == 3


def test_a_push_that_breaks_the_model_is_said(world):
    lm, qs, u = world
    table = told(lm, qs, frozen(u, lm), mode="add", strength=100., random=6)
    assert any("too large to tell" in d for d in table.attrs["doubts"])


def test_hooks_are_gone_after_exceptions_and_the_model_is_as_before(world):
    lm, qs, u = world
    hooks, ask = count(lm), lambda: answer(lm, qs, prompt="{question}", max_new_tokens=3, progress=False)["answer"].tolist()
    before = ask()

    def break_(v, prompt): raise RuntimeError("in the hook")
    for bad in (break_, lambda v, prompt: v[:, :, :3]):
        with pytest.raises(RuntimeError), editing(lm, "resid", 1, bad): ask()
        assert count(lm) == hooks and ask() == before
    with pytest.raises(KeyError), editing(lm, "mlp_in", 1, lambda v, prompt: v): raise KeyError("outside")
    with pytest.raises(ValueError), editing(lm, "nowhere", 1, lambda v, prompt: v): pass
    told(lm, qs, frozen(u, lm), mode="remove", random=2)
    assert count(lm) == hooks and ask() == before


@pytest.mark.parametrize("site", ["resid", "mlp_in", "mlp_out", "attn_out", "head", "mlp_act"])
def test_every_site_can_be_edited(site):
    lm = load_lm("demo")
    qs = pd.DataFrame(dict(id=["a", "b"], question=["Where was Kaya Ashby born?", "Birthplace of Kaya Ashby?"], gold="x"))
    plain, seen = answer(lm, qs, max_new_tokens=5, progress=False), []
    with editing(lm, site, 4, lambda v, prompt: seen.append((v.ndim, prompt)) or v.clone()):
        assert answer(lm, qs, max_new_tokens=5, progress=False)["answer_ids"].tolist() == plain["answer_ids"].tolist()
    assert {n for n, _ in seen} == {3} and [p for _, p in seen] == [True] + [False]*(len(seen) - 1)
    with editing(lm, site, 4, lambda v, prompt: torch.full_like(v, 9.)): other = answer(lm, qs, max_new_tokens=5, progress=False)
    values = lambda t: np.round(np.concatenate(t["token_logprobs"].tolist()), 3).tolist()
    assert values(other) != values(plain)


def test_steering_asks_anew(world):
    "Answers that lie in a folder, or were written elsewhere, are those of the model as it is: nothing would ever flip."
    lm, qs, u = world
    for more, what in ((dict(path="kept"), "path= holds answers"), (dict(given=["yes"]*len(qs)), "given= holds answers"),
                       (dict(strength=np.nan), "finite"), (dict(mode=[]), "at least one"), (dict(ci=95), "ci=95"),
                       (dict(at="answer", max_new_tokens=1), "nothing is read at 'answer'")):
        with pytest.raises(ValueError, match=what): steer(lm, frozen(u, lm), qs, **HOW | more)
    with pytest.raises(TypeError, match="LogisticProbe does not say where it reads"): steer(lm, LogisticProbe(), qs)


def test_what_cannot_be_steered_is_refused(world):
    lm, qs, u = world
    for probe, what in ((frozen(u, lm, model="other"), "reads other"),
                        (frozen(u, lm, layer=None), "does not say where it reads"), (frozen(0*u, lm), "is zero")):
        with pytest.raises(ValueError, match=what): steer(lm, probe, qs, **HOW)
    with pytest.raises(ValueError, match="mode='bend'"): steer(lm, frozen(u, lm), qs, mode="bend", **HOW)
    with pytest.raises(ValueError, match="at least two"): steer(lm, frozen(u, lm), qs, random=1, **HOW)
