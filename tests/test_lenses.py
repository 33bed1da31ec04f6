"Lenses against closed forms and direct, unbatched computations; padding, batches and the order of rows change nothing."
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
import xarray as xr
from scipy import stats
from worlds import tiny_model, tiny_tokenizer

from probe_nb.activations import extract
from probe_nb.answers import answer
from probe_nb.frozen import Probe
from probe_nb.lenses import correlation_map, lens, norm_map, similarity_map
from probe_nb.models import LM, load_lm
from probe_nb.readout import lens_map
from probe_nb.simulate import planted
from probe_nb.workings import attention_map, influence_map

SHORT = ["Rome", "I think it was Torvik, of course", "Paris; not Rome. The answer is Paris", "no", "Alda Brenn was born"]
LABELS = ["last_q", "first_answer", "exact_answer_first", "-1"]


@pytest.fixture(scope="module")
def cells():
    acts, ans = planted(240, auc=.8, groups=3, missing={"-1": .2}, features=20, seed=7)
    return acts, ans


def table(lm, n=5):
    "Given answers of different lengths, with spans and positions as later stages have them."
    qs = pd.DataFrame({"id": [f"q{i}" for i in range(n)], "question": ["where was it? " * (1 + i % 3) for i in range(n)],
                       "gold": [["Paris"]] * n, "group": [f"g{i // 2}" for i in range(n)]})
    ans = answer(lm, qs, given=[SHORT[i % 5] for i in range(n)], progress=False)
    ans["correct"] = pd.array([i % 2 == 0 for i in range(n)], dtype="boolean")
    ans["span_start"] = pd.array([min(1, len(a) - 2) for a in ans["answer_ids"]], dtype="Int64")
    ans["span_stop"] = pd.array([len(a) - 1 for a in ans["answer_ids"]], dtype="Int64")
    ans.loc[3, ["span_start", "span_stop"]] = pd.NA
    p, m = ans["prompt_ids"].map(len), ans["answer_ids"].map(len)
    start = pd.concat([p - 1, p, p + ans["span_start"], p + m - 1], keys=LABELS).astype("Int64")
    pos = pd.DataFrame({"example": list(ans["example"]) * 4, "position": np.repeat(LABELS, n).astype(object),
                        "start": start.to_numpy(), "stop": (start + 1).to_numpy(), "pool": "first"})
    pooled = pd.DataFrame({"example": ans["example"], "position": "answer_mean", "start": p, "stop": p + m, "pool": "mean"})
    return ans, pd.concat([pos, pooled.astype({"start": "Int64", "stop": "Int64"})], ignore_index=True)


def tiny(kind, **more): return load_lm(tiny_model(kind, **more), tiny_tokenizer())


def sharp(kind):
    "In double precision, with weights large enough for differences to be seen beside rounding (norms compute in float32)."
    return load_lm(tiny_model(kind, initializer_range=.2).double(), tiny_tokenizer(), check=False)


def hooks(lm): return [(len(m._forward_hooks), len(m._forward_pre_hooks)) for m in lm.model.modules()]


def whole(ans, i): return [*ans["prompt_ids"][i], *ans["answer_ids"][i]]


def place(pos, i, label):
    row = pos[(pos["example"] == i) & (pos["position"] == label)].iloc[0]
    return (None, None) if pd.isna(row["start"]) else (int(row["start"]), int(row["stop"]))


# Means, intervals, gaps

def test_lens_is_the_mean_with_a_cluster_interval(cells):
    acts, ans = cells
    v = xr.Dataset({"first": acts.isel(feature=0, drop=True)}).reset_coords(drop=True)
    m, x = lens(v, ans, what="", title=""), acts.values[:, :, :, 0]  # [example, position, layer]
    np.testing.assert_allclose(m["first"], np.nanmean(x, 0).T, rtol=1e-5)
    y = ans["correct"].to_numpy(bool)
    np.testing.assert_allclose(m["first_gap"], (np.nanmean(x[y], 0) - np.nanmean(x[~y], 0)).T, rtol=1e-4)
    assert m["n"].sel(position="-1").values.tolist() == [192] * 4 and m["n_wrong"].sel(position="last_q")[0] == (~y).sum()
    cell, sums = x[:, 0, 2], []
    for _, rows in ans.groupby("group"): sums.append((cell[rows.index] - cell.mean()).sum() / len(cell))
    half = stats.t.ppf(.975, 79) * np.sqrt(80 / 79 * np.sum(np.square(sums)))
    assert float(m["first_high"][2, 0] - m["first"][2, 0]) == pytest.approx(half, rel=1e-4) and m.attrs["n_groups"] == 80


def test_intervals_hold_the_truth_as_often_as_they_say():
    "Means over groups of four that are alike; an interval that took rows for independent would hold far less often."
    held, about = [], dict(what="", title="")
    for seed in range(40):
        acts, ans = planted(200, 2, 5, 4, groups=4, alike=.8, massive=0, seed=seed)
        a, b = (xr.Dataset({"v": acts.isel(feature=k, drop=True)}).reset_coords(drop=True) for k in (0, 1))
        m = lens(a, ans.drop(columns="correct"), **about)
        held.append((m["v_low"] < 0) & (m["v_high"] > 0))
        m = lens(b, ans, **about)
        held.append((m["v_gap_low"] < 0) & (m["v_gap_high"] > 0))
    assert .92 < np.mean(held) < .98


def test_one_row_a_group_is_the_textbook_interval_and_the_order_of_rows_means_nothing(cells):
    acts, _ = cells
    _, ans = planted(240, 1, 1, 4)
    v = xr.Dataset({"v": acts.isel(feature=0, drop=True)}).reset_coords(drop=True)
    m = lens(v, ans, what="", title="")
    x = acts.values[:, 1, 1, 0].astype(float)
    low, high = stats.t.interval(.95, 239, x.mean(), x.std(ddof=1) / 240**.5)
    assert float(m["v_low"][1, 1]) == pytest.approx(low, rel=1e-5) and float(m["v_high"][1, 1]) == pytest.approx(high, rel=1e-5)
    order = np.random.default_rng(0).permutation(240)
    shuffled = ans.iloc[order].set_index(pd.Index(order * 3))
    xr.testing.assert_allclose(lens(v.isel(example=order[::-1]), shuffled, what="", title=""), m)


def test_a_gap_has_as_many_witnesses_as_its_rarer_kind():
    acts, ans = planted(100, 1, 1, 4, wrong=.05)
    m = lens(xr.Dataset({"v": acts.isel(feature=0, drop=True)}).reset_coords(drop=True), ans, what="", title="")
    x, y = acts.values[:, 0, 0, 0].astype(float), ans["correct"].to_numpy(bool)
    var = sum(((x[k] - x[k].mean()) ** 2).sum() / k.sum() ** 2 for k in (y, ~y)) * 100 / 99
    half = float(m["v_gap_high"][0, 0] - m["v_gap"][0, 0])
    assert half == pytest.approx(stats.t.ppf(.975, 4) * var**.5, rel=1e-4)


def test_refusals_take_no_part_and_answers_need_no_verdict(cells):
    acts, ans = cells
    refused = ans.assign(correct=ans["correct"].where(ans.index >= 40))
    m, part = norm_map(acts, refused, progress=False), norm_map(acts[40:], ans[40:], progress=False)
    xr.testing.assert_allclose(m["norm"], part["norm"]) and xr.testing.assert_allclose(m["norm_low"], part["norm_low"])
    plain = norm_map(acts, ans.drop(columns="correct"), progress=False)
    assert "norm_gap" not in plain and "n_wrong" not in plain and plain["n"].max() == 240
    same = norm_map(acts, ans.drop(columns=["group", "id"]), progress=False)
    assert same.attrs["n_groups"] == 240 and np.allclose(same["norm"], norm_map(acts, ans, progress=False)["norm"])


def test_verdicts_in_words_are_refused(cells):
    acts, ans = cells
    with pytest.raises(ValueError, match="column 'correct' holds 'correct': it must be true or false"):
        norm_map(acts, ans.sort_values("correct", ascending=False).assign(correct="correct"), progress=False)


def test_other_answers_are_refused(cells):
    acts, ans = cells
    for bad, told in ((ans[3:], "only in the activations"), (pd.concat([ans, ans[:1]]), "twice"),
                      (ans.drop(columns="example"), "example")):
        for f in (norm_map, similarity_map, correlation_map):
            with pytest.raises((ValueError, KeyError), match=told): f(acts, bad, progress=False)
    with pytest.raises(ValueError, match="ci=2"): norm_map(acts, ans, ci=2, progress=False)


# Norm, similarity, correlation

def test_norm_by_numpy(cells):
    acts, ans = cells
    m, x = norm_map(acts, ans, progress=False), acts.values.astype(float)
    length = np.linalg.norm(x, axis=-1)
    np.testing.assert_allclose(m["norm"], np.nanmean(length, 0).T, rtol=1e-6)
    np.testing.assert_allclose(m["largest_share"], np.nanmean(np.abs(x).max(-1) ** 2 / length**2, 0).T, rtol=1e-6)
    np.testing.assert_allclose(m["relative"], np.nanmean(length / np.nanmean(length, (0, 1)), 0).T, rtol=1e-6)
    assert (m["norm"].where(m["norm"] < 50).count() == 0) and m.attrs["what"] and (m["norm_low"] < m["norm"]).all()


def test_pieces_make_the_whole(cells, monkeypatch):
    acts, ans = cells
    before = [norm_map(acts, ans, progress=False), similarity_map(acts, ans, progress=False)]
    monkeypatch.setattr("probe_nb.lenses._BUDGET", 4 * 5 * 20 * 7)  # seven answers at once
    for a, b in zip(before, [norm_map(acts, ans, progress=False), similarity_map(acts, ans, progress=False)]):
        xr.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)
    turned = acts.transpose("layer", "feature", "position", "example")
    xr.testing.assert_allclose(norm_map(turned, ans, progress=False), before[0])


@pytest.mark.parametrize("centre", [True, False])
def test_similarity_by_hand(cells, centre):
    acts, ans = cells
    x = acts.values.astype(float)
    if centre: x = x - np.nanmean(x, 0)
    x = x / np.linalg.norm(x, axis=-1, keepdims=True)
    cos = np.einsum("ipld,iqld->ilpq", x, x)
    m = similarity_map(acts, ans, centre=centre, progress=False)
    np.testing.assert_allclose(m["between"], np.nanmean(cos, 0), atol=2e-5)
    np.testing.assert_allclose(similarity_map(acts, ans, to="-1", centre=centre, progress=False)["similarity"],
                               np.nanmean(cos[..., 4], 0), atol=2e-5)
    other = np.where(np.eye(5, dtype=bool), np.nan, cos)
    with np.errstate(invalid="ignore"): mean = np.nansum(other, -1) / np.isfinite(other).sum(-1)
    np.testing.assert_allclose(m["similarity"], np.nanmean(mean, 0), atol=2e-5)
    assert m["n"].sel(position="-1")[0] == 192
    with pytest.raises(KeyError, match="the end"): similarity_map(acts, ans, to="the end", progress=False)


def test_similarity_needs_no_magnitude_and_knows_itself():
    acts, ans = planted(60, 2, 3, 16, massive=0)
    twice = acts.copy(data=np.concatenate([acts.values[:, :1], -3 * acts.values[:, :1], acts.values[:, 2:]], 1))
    m = similarity_map(twice, ans, to="last_q", progress=False)["similarity"]
    np.testing.assert_allclose(m[:, 0], 1, rtol=1e-5)
    np.testing.assert_allclose(m[:, 1], -1, rtol=1e-5)
    assert abs(m[:, 2]).max() < .1


def test_correlation_is_pearsons_and_its_mean_square_unbiased(cells):
    acts, _ = cells
    _, ans = planted(240, 1, 1, 4, seed=1)  # each row its own group
    m = correlation_map(acts, ans, progress=False)
    y, x = ans["correct"].to_numpy(float), acts.values[:, 1, 2].astype(float)
    r = np.array([stats.pearsonr(x[:, j], y)[0] for j in range(20)])
    cell = m.isel(layer=2, position=1)
    assert float(cell["largest"]) == pytest.approx(np.abs(r).max(), abs=1e-4) and int(cell["feature"]) == np.abs(r).argmax()
    left = np.square(float(cell["correlation"])) * np.sign(float(cell["correlation"]))
    assert left == pytest.approx(np.mean(r**2) - 1 / 239, abs=2e-4)


def test_correlation_finds_the_planted_and_is_zero_on_average_elsewhere():
    plan = np.full((3, 4), .5)
    plan[1, 2] = .9
    squares, p, most, there, over = [], [], [], [], []
    for seed in range(25):
        acts, ans = planted(120, 3, 4, 40, auc=plan, groups=2, alike=.6, seed=seed)
        m = correlation_map(acts, ans, flips=60, progress=False)
        there.append((float(m["correlation"][1, 2]), float(m["p_value"][1, 2]), m.attrs["null_max"]))
        none = m.where(acts["truth"].reset_coords(drop=True) == .5)
        squares.append(np.nanmean(none["correlation"] ** 2 * np.sign(none["correlation"])))
        over.append(float(none["correlation"].max()) > m.attrs["null_max"])
        p.append((none["p_value"] <= .05).values[plan == .5].mean())
        most.append((none["largest"] > none["largest_null"]).values[plan == .5].mean())
    squares, (found, small, null) = np.array(squares), np.array(there).T
    assert np.median(found) > np.median(null) > 0 and (small < .05).mean() > .8
    assert abs(squares.mean()) < 4 * squares.std() / 5 + 1e-6 and squares.mean() < .2 / 120
    assert .01 < np.mean(p) < .1 and .01 < np.mean(most) < .1 and np.mean(over) < .2


def test_correlation_says_why_a_cell_is_empty_and_ignores_constants():
    acts, ans = planted(60, 2, ["a", "b"], 8, missing={"b": .8}, seed=3)
    acts[..., 2] = 1000.1
    m = correlation_map(acts, ans, progress=False)
    assert m["correlation"].sel(position="b").isnull().all() and "at least 10 of each kind" in m["reason"].values[0, 1]
    assert (m["feature"].sel(position="a") != 2).all() and m["correlation"].sel(position="a").notnull().all()
    without = correlation_map(acts[..., [0, 1, 3, 4, 5, 6, 7]], ans, progress=False)
    np.testing.assert_allclose(m["correlation"], without["correlation"], atol=1e-6)
    few = ans.assign(group=(ans["example"] // 10).astype(str))
    assert "6 groups" in correlation_map(acts, few, progress=False)["reason"].values[0, 0]
    with pytest.raises(ValueError, match="judge"): correlation_map(acts, ans.drop(columns="correct"), progress=False)


# Attention

def direct_attention(lm, ids):
    lm.model.set_attn_implementation("eager")
    try:
        with torch.no_grad(): out = lm.model(torch.tensor([ids]), output_attentions=True, use_cache=False).attentions
    finally: lm.model.set_attn_implementation("sdpa" if lm.model._supports_sdpa else "eager")
    return torch.stack(out)[:, 0].mean(1).double().numpy()  # [layer, query, key]


@pytest.mark.parametrize("kind", ["llama", "gpt2", "gemma2", "gpt_neox", "bloom", "qwen3"])
def test_attention_is_the_models_own(kind):
    lm = tiny(kind)
    ans, pos = table(lm)
    was = lm.model.config._attn_implementation
    m = attention_map(lm, ans.drop(columns="correct"), pos, to="first_answer", progress=False)
    assert lm.model.config._attn_implementation == was
    for label in (*LABELS, "answer_mean"):
        want = {k: [] for k in ("received", "paid_first", "paid_question", "paid_answer", "paid_self", "paid_to")}
        for i in range(5):
            a, b = place(pos, i, label)
            if a is None: continue
            A, p, t = direct_attention(lm, whole(ans, i)), len(ans["prompt_ids"][i]), range(a, b)
            later = [A[:, q + 1:, q].mean(1) for q in t if q + 1 < A.shape[1]]
            if len(later) == len(t): want["received"].append(np.mean(later, 0))
            want["paid_first"].append(A[:, a:b, 0].mean(1))
            want["paid_self"].append(np.mean([A[:, q, q] for q in t], 0))
            want["paid_question"].append(np.mean([A[:, q, 1:p].sum(1) - (A[:, q, q] if q < p else 0) for q in t], 0))
            want["paid_answer"].append(np.mean([A[:, q, p:].sum(1) - (A[:, q, q] if q >= p else 0) for q in t], 0))
            want["paid_to"].append(A[:, a:b, p].mean(1))
        for k, v in want.items():
            got = m[k].sel(position=label).values
            if v: np.testing.assert_allclose(got, np.mean(v, 0), atol=2e-6, err_msg=f"{k} at {label}")
            else: assert np.isnan(got).all()


def test_even_attention_receives_what_is_even():
    lm = tiny("llama")
    ans, pos = table(lm)
    for b in lm.blocks: torch.nn.init.zeros_(b.self_attn.q_proj.weight)
    m = attention_map(lm, ans, pos, progress=False)
    np.testing.assert_allclose(m["received_ratio"].sel(position=["last_q", "first_answer"]), 1, rtol=1e-5)
    assert (m["reason"].sel(position="-1") == "no token comes after it").all() and m["received_n"].sel(position="-1")[0] == 0
    assert m["n"].sel(position="-1")[0] == 5 and m["received_gap"].notnull().sel(position="last_q").all()


def test_attention_where_there_is_none():
    lm = tiny("mamba")
    ans, pos = table(lm)
    with pytest.raises(ValueError, match="no attention weights in layer 0"): attention_map(lm, ans, pos, progress=False)


def test_attention_is_put_back_after_an_error(monkeypatch):
    lm = tiny("llama")
    ans, pos = table(lm)
    def fail(*a): raise RuntimeError("on purpose")
    monkeypatch.setattr("probe_nb.workings._shares", fail)
    before = hooks(lm)
    with pytest.raises(RuntimeError): attention_map(lm, ans, pos, progress=False)
    assert lm.model.config._attn_implementation == "sdpa" and hooks(lm) == before


# Influence

def logprob(lm, ids, start, scale=None, stop=None):
    "Of the tokens from `start` on, unbatched; `scale` = (module, side, token, factor) multiplies what is there."
    def change(v):
        v = v.clone()
        v[:, scale[2]] *= scale[3]
        return v
    def after(m, a, out): return (change(out[0]), *out[1:]) if isinstance(out, tuple) else change(out)
    hook = None
    if scale: hook = scale[0].register_forward_hook(after) if scale[1] == "out" else scale[0].register_forward_pre_hook(
        lambda m, a: (change(a[0]), *a[1:]))
    try:
        with torch.no_grad(): lp = lm.model(torch.tensor([ids]), use_cache=False).logits[0, :-1].log_softmax(-1)
    finally:
        if hook: hook.remove()
    return sum(lp[t - 1, ids[t]].item() for t in range(start, stop or len(ids)))


@pytest.mark.parametrize("kind", ["llama", "gpt2", "gemma2", "mamba"])
@pytest.mark.parametrize("site", ["resid", "mlp_in"])
def test_influence_is_the_slope_of_a_finite_change(kind, site):
    lm = sharp(kind)
    if site not in lm.sites: pytest.skip("no such site")
    ans, pos = table(lm)
    m = influence_map(lm, ans.drop(columns="correct"), pos, site=site, progress=False)
    seen = []
    for label in ("last_q", "first_answer", "exact_answer_first"):
        for l in (0, 1, 2):
            slopes = []
            for i in range(5):
                a, _ = place(pos, i, label)
                if a is None: continue
                ids, p = whole(ans, i), len(ans["prompt_ids"][i])
                up, down = (logprob(lm, ids, p, (*lm.tap(site, l), a, 1 + e)) for e in (1e-3, -1e-3))
                slopes.append((up - down) / 2e-3)
            got = m[["influence", "strength"]].sel(layer=l, position=label)
            assert float(got["influence"]) == pytest.approx(np.mean(slopes), rel=1e-2, abs=2e-3), (label, l)
            assert float(got["strength"]) == pytest.approx(np.mean(np.abs(slopes)), rel=1e-2, abs=2e-3)
            seen.append(float(got["strength"]))
    assert np.median(seen) > .05  # differences of that size, not of rounding


def test_influence_on_the_exact_answer_and_on_a_pooled_position():
    lm = sharp("llama")
    ans, pos = table(lm)
    m = influence_map(lm, ans.drop(columns="correct"), pos, "exact_answer", layers=[2, 0], progress=False)
    assert m["layer"].values.tolist() == [2, 0] and m["n"].max() == 4 and (m["strength"].sel(position="-1") == 0).all()
    slopes = []
    for i in (0, 1, 2, 4):
        p, s, e = len(ans["prompt_ids"][i]), ans["span_start"][i], ans["span_stop"][i]
        a, b = place(pos, i, "answer_mean")
        up, down = (logprob(lm, whole(ans, i), p + s, (*lm.tap("mlp_in", 0), slice(a, b), 1 + x), p + e) for x in (1e-3, -1e-3))
        slopes.append((up - down) / 2e-3)
    assert float(m["influence"].sel(layer=0, position="answer_mean")) == pytest.approx(np.mean(slopes), rel=1e-2)


def test_influence_on_a_probe_at_its_own_cell_is_its_score_and_nothing_after_it():
    lm = tiny("llama")
    ans, pos = table(lm)
    acts, w = extract(lm, ans, pos, site="resid", progress=False), np.random.default_rng(0).normal(size=32)
    m = influence_map(lm, ans.drop(columns="correct"), pos, (w, 1, "first_answer"), site="resid", progress=False)
    score = acts.sel(layer=1, position="first_answer").values @ w
    assert float(m["influence"].sel(layer=1, position="first_answer")) == pytest.approx(score.mean(), rel=1e-4)
    assert (m["strength"].sel(layer=2) == 0).all() and (m["strength"].sel(position="-1") == 0).all()
    assert m["strength"].sel(layer=0, position="last_q") > 0 == m["strength"].sel(layer=1, position="last_q")
    scale = np.arange(1., 33)
    probe = Probe(w * scale, 3., np.ones(32), scale, np.zeros((0, 2)), site="resid", layer=1, position="first_answer")
    xr.testing.assert_allclose(influence_map(lm, ans.drop(columns="correct"), pos, probe, site="resid", progress=False), m)
    with pytest.raises(ValueError, match="reads site 'resid'"): influence_map(lm, ans, pos, probe, progress=False)
    with pytest.raises(KeyError, match="nowhere"): influence_map(lm, ans, pos, (w, 1, "nowhere"), progress=False)
    with pytest.raises(ValueError, match="of='all'"): influence_map(lm, ans, pos, "all", progress=False)


def test_influence_leaves_the_model_as_it_was():
    lm = tiny("llama")
    ans, pos = table(lm)
    lm.model.train()
    list(lm.model.parameters())[0].requires_grad_(False)
    asked, before = [p.requires_grad for p in lm.model.parameters()], hooks(lm)
    influence_map(lm, ans, pos, progress=False)
    with pytest.raises(ValueError): influence_map(lm, ans, pos, site="nowhere", progress=False)
    assert [p.requires_grad for p in lm.model.parameters()] == asked and lm.model.training
    assert all(p.grad is None for p in lm.model.parameters()) and torch.is_grad_enabled()
    assert hooks(lm) == before


# The logit lens

@pytest.mark.parametrize("kind", ["llama", "gpt2", "gemma2", "opt", "bloom", "qwen3_moe", "mamba"])
def test_the_last_layer_says_what_the_model_says(kind):
    lm = tiny(kind)
    ans, pos = table(lm)
    acts = extract(lm, ans, pos, site="resid", progress=False)
    wanted = [whole(ans, i)[place(pos, i, "first_answer")[0] + 1] for i in range(5)]
    m = lens_map(lm, ans.drop(columns="correct"), acts, tokens=wanted, progress=False)
    lp = []
    for i in range(5):
        ids, at = torch.tensor([whole(ans, i)]), place(pos, i, "first_answer")[0]
        with torch.no_grad(): lp.append(lm.model(ids, use_cache=False).logits[0, at].log_softmax(-1).numpy())
    cell = m.sel(layer=2, position="first_answer")
    mine = np.array([x[t] for x, t in zip(lp, wanted)])
    assert float(cell["logprob"]) == pytest.approx(mine.mean(), abs=2e-4) and float(cell["probability"]) == pytest.approx(
        np.exp(mine).mean(), rel=1e-3)
    ranks = [1 + (x > x[t]).sum() for x, t in zip(lp, wanted)]
    assert float(cell["rank"]) == pytest.approx(np.exp(np.log(ranks).mean()), rel=.02)
    assert not any("forward" in b.__dict__ for b in lm.blocks)


def test_the_logit_lens_is_norm_and_head():
    lm = tiny("llama")
    ans, pos = table(lm)
    acts = extract(lm, ans, pos, site="resid", progress=False)
    m = lens_map(lm, ans, acts, progress=False)
    some, token = [0, 1, 2, 4], [ans["answer_ids"][i][ans["span_start"][i]] for i in (0, 1, 2, 4)]
    h = torch.tensor(acts.sel(layer=0, position="last_q").values[some])
    with torch.no_grad(): lp = lm.model.lm_head(lm.model.model.norm(h)).log_softmax(-1)[range(4), token]
    cell = m.sel(layer=0, position="last_q")
    assert float(cell["logprob"]) == pytest.approx(lp.mean().item(), abs=1e-4) and m["n"].max() == 4
    assert m["n"].sel(position="exact_answer_first")[0] == 4 and "rank_gap" not in m and (m["rank_low"] <= m["rank"])[0, 0]
    with pytest.raises(ValueError, match="residual stream"):
        lens_map(lm, ans, extract(lm, ans, pos, site="mlp_in", progress=False), progress=False)


def test_what_may_not_be_said_has_no_rank():
    lm = tiny("llama")
    ans, pos = table(lm)
    acts = extract(lm, ans, pos, site="resid", progress=False)
    free = lens_map(lm, ans, acts, progress=False)
    lm.model.generation_config.suppress_tokens = list(range(100, 400))
    bound = lens_map(lm, ans, acts, progress=False)
    assert (bound["logprob"] > free["logprob"]).all() and bound["rank"].max() <= 101


# All of them

@pytest.mark.parametrize("kind", ["llama", "gpt2", "mamba"])
def test_batches_and_padding_change_nothing(kind):
    lm = tiny(kind)
    ans, pos = table(lm)
    def both(f):
        few, many = (f(lm, ans, pos, token_budget=b, progress=False) for b in (1, 10_000))
        xr.testing.assert_allclose(few, many, rtol=1e-3, atol=1e-5)
    for of in ("answer", "exact_answer"): both(partial(influence_map, of=of, site="resid"))
    if kind != "mamba": both(attention_map)


def test_lenses_know_their_model_and_their_positions():
    lm = tiny("llama")
    ans, pos = table(lm)
    other = LM(lm.model, lm.tokenizer, "another", "0", lm.sites)
    for f in (attention_map, influence_map):
        with pytest.raises(ValueError, match="another"): f(other, ans, pos, progress=False)
        with pytest.raises(ValueError, match="not among the answers"): f(lm, ans[:2], pos, progress=False)
        with pytest.raises(ValueError, match="no layer 9"): f(lm, ans, pos, layers=[9], progress=False)
        with pytest.raises(ValueError, match="outside its"): f(lm, ans, pos.assign(stop=999, pool="mean"), progress=False)
        with pytest.raises(ValueError, match="empty"): f(lm, ans[:0], pos[:0], progress=False)


@pytest.mark.parametrize("f, metric", [(norm_map, "norm"), (similarity_map, "similarity"), (correlation_map, "correlation"),
                                       (attention_map, "paid_first"), (influence_map, "influence"), (lens_map, "logprob")])
def test_every_lens_can_be_drawn_and_kept(f, metric, tmp_path):
    "The same shape as a probe's map: heatmap draws it, a file holds it, it says what it is and what it is not."
    from probe_nb.charts import cell_table, heatmap
    lm = tiny("llama")
    ans, pos = table(lm, 24)
    acts = extract(lm, ans, pos, site="resid", progress=False)
    calls = []
    def bar(items, total, desc):
        calls.append((total, desc))
        return items
    given = {lens_map: (lm, ans, acts)}.get(f, (lm, ans, pos) if f in (attention_map, influence_map) else (acts, ans))
    m = f(*given, progress=bar)
    assert m[metric].dims == ("layer", "position") and m["position"].values.tolist() == [*LABELS, "answer_mean"]
    assert heatmap(m, metric).to_dict()["layer"] and len(cell_table(m, metric)) == 15
    assert "; not " in f.__doc__ and "\n" not in f.__doc__  # in its docs, in one line, as in its attributes
    assert "not " in m.attrs["what"] and m.attrs["title"] and m.attrs["model"] == lm.name and calls
    assert all(isinstance(v, (str, int, float)) for v in m.attrs.values())
    m.to_zarr(tmp_path / "m.zarr", consolidated=False)
    back = xr.open_zarr(tmp_path / "m.zarr", consolidated=False)
    np.testing.assert_array_equal(back[metric], m[metric])
    assert back.attrs["what"] == m.attrs["what"]


def test_too_few_flips_are_named(cells):
    with pytest.raises(ValueError, match="flips=0: at least 19"): correlation_map(*cells, flips=0, progress=False)
