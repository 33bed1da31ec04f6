"""Whatever `describe` says is read again from the map by a reader of its own, from the words and from the facts behind them."""
import json
import re

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from probe_nb.claims import check_claim
from probe_nb.describe import describe
from probe_nb.published import load_published, published

MAPS = published().query("kind == 'map'").name.tolist()


def a_map(auc, half=None, names=None, **more):
    auc = np.asarray(auc, float)
    L, P = auc.shape
    grid = {"auc": auc} | ({} if half is None else {"auc_low": auc - half, "auc_high": auc + half}) | more
    return xr.Dataset({k: (("layer", "position"), np.asarray(v)) for k, v in grid.items()},
                      dict(layer=list(range(L)), position=names or [f"p{i}" for i in range(P)]))


@st.composite
def maps(draw):
    "Noise with a planted band, peak, ridge, plateau or slope, with ties, below chance, and here and there a missing cell."
    L, P, seed = draw(st.integers(1, 12)), draw(st.integers(1, 8)), draw(st.integers(0, 10**6))
    rng = np.random.default_rng(seed)
    auc = rng.normal(draw(st.sampled_from([.35, .5, .6])), .04, (L, P))
    if draw(st.booleans()):
        first, p = rng.integers(L), rng.integers(P)
        auc[first:rng.integers(first, L) + 1, p] = rng.uniform(.8, .9)
        auc[rng.integers(L), rng.integers(P)] = .95
    what = draw(st.sampled_from(["", "ridge", "plateau", "hill", "slope"]))
    if what == "ridge": auc[rng.integers(L)] += .3
    if what == "plateau": auc[rng.integers(L):, rng.integers(P):] = .8
    if what == "hill": auc += .3 * np.sin(np.linspace(0, np.pi, L))[:, None]
    if what == "slope": auc += np.linspace(0, .3, L)[::draw(st.sampled_from([1, -1])), None] * rng.random(P)
    if draw(st.booleans()): auc = (auc * 20).round() / 20
    auc = auc.clip(0, 1)
    auc[rng.random((L, P)) < draw(st.sampled_from([0, 0, .3]))] = np.nan
    names = ["last_q", "first_answer", "exact_answer_first", "exact_answer_last", "-2", "-1", "own", "q"]
    names = rng.permutation(names)[:P].tolist()
    half = draw(st.sampled_from([None, .02, .06, .2]))
    return a_map(auc, None if half is None else half * rng.uniform(.5, 1.5, (L, P)), names)


def cells(m):
    "The map as a plain dictionary, for the reader: (layer, position) → value, low, high; missing ones left out."
    out = {}
    for l in m.layer.values.tolist():
        for p in m.position.values.tolist():
            at = m.sel(layer=l, position=p)
            v = float(at.auc)
            error = m.attrs.get("digitising_error", 0)
            ends = (float(at.auc_low), float(at.auc_high)) if "auc_low" in m else (v - error, v + error)
            if error and v <= .5: ends = 0, .5
            if v == v: out[l, p] = (v, *ends)
    return out


def apart(a, b): return abs(a[0] - b[0]) > .05 + 1e-9 and (a[1] > b[2] or b[1] > a[2])


def read_again(m):
    "All facts against the map."
    d, c = describe(m), cells(m)
    f, layers = d.facts, sorted(m.layer.values.tolist())
    json.dumps(f)
    assert f["cells"] == m.auc.size and f["present"] == len(c) and len(d.short) <= 300
    assert sum(g["cells"] for g in f["missing"]) == m.auc.size - len(c)
    if not c: return d
    top, bottom = max(c.values()), min(c.values())
    assert f["peak"]["value"] == top[0] == c[f["peak"]["layer"], f["peak"]["position"]][0] and f["lowest"]["value"] == bottom[0]
    assert f["ties"] == sum(v[0] == top[0] for v in c.values())
    b = f["band"]
    peak = c[f["peak"]["layer"], f["peak"]["position"]]
    clear = [v[0] for v in c.values() if v[1] > .5]
    assert ("It is not clearly above 0.5." in d.text) == (peak[1] <= .5)
    if "none" in b: assert not clear
    else:
        assert np.isclose(b["bar"], .5 + .75 * (max(clear) - .5))
        inside = {k for k, v in c.items() if v[0] >= b["bar"]}
        assert b["cells"] == len(inside) == sum(x["cells"] for x in b["columns"])
        assert set(b["outside"]) == set(m.position.values) - {p for _, p in inside}
        assert set(b["quiet_layers"]) == set(layers) - {l for l, _ in inside}
        for x in b["columns"]:
            own = [l for l, p in inside if p == x["position"]]
            between = [l for l in layers if x["layers"][0] <= l <= x["layers"][1]]
            assert x["layers"] == (min(own), max(own)) and x["cells"] == len(own) and x["between"] == len(between)
    for t in f["trends"]: read_trend(t, {l: v for (l, p), v in c.items() if p == t["position"]})
    for g in f["groups"]:
        own = [v[0] for (l, p), v in c.items() if p in g["positions"]]
        assert np.isclose(g["mean"], np.mean(own)) and g["largest"] == max(own)
    if f["groups"]:
        assert sum(g["leads"] for g in f["groups"]) + f["groups"][0]["tied"] == len({l for l, _ in c}) == f["groups"][0]["of"]
    return d


def read_trend(t, column):
    "One column's trend, from its definition."
    assert t["layers"] == len(column)
    if len(column) < 3: return
    order = sorted(column)
    top = max(order, key=lambda l: (column[l][0], -l))
    assert t["top"] == (top, column[top][0]) and t["first"] == (order[0], column[order[0]][0]) and t["last"][0] == order[-1]
    up = [(a, b) for a in order for b in order if a < b and apart(column[a], column[b]) and column[b][0] > column[a][0]]
    down = [(a, b) for a in order for b in order if a < b and apart(column[a], column[b]) and column[b][0] < column[a][0]]
    near = [l for l in order if column[l][0] >= column[top][0] - .05 - 1e-9]
    head = [l for i, l in enumerate(order) if order[:i + 1] == near[:i + 1]]
    tail = [l for i, l in enumerate(order) if order[i:] == near[len(near) - len(order) + i:] and len(order) - i <= len(near)]
    shape = t["shape"]
    if shape in ("rises", "rises to the end"):
        assert (order[0], top) in up and not down and top in tail and t["at"] == (tail[0], order[-1])
        assert (len(tail) >= max(2, len(order) / 4)) == (shape == "rises")
    elif shape == "falls": assert (top, order[-1]) in down and not up and top in head and t["at"] == (order[0], head[-1])
    elif shape == "rises and falls":
        assert (order[0], top) in up and (top, order[-1]) in down and t["at"] == (near[0], near[-1])
        assert not any(b <= top for _, b in down) and not any(a >= top for a, _ in up)
    elif shape in read_thirds(column): pass
    elif shape == "flat": assert all(column[a][2] - column[b][1] <= .05 for a in order for b in order if a != b)
    else: assert not read_thirds(column) and shape == ("thirds alike" if up or down else "no difference")
    if shape == "no difference": assert any(column[a][2] - column[b][1] > .05 for a in order for b in order if a != b)


def read_thirds(column):
    "What can be said of a column's thirds on average, from its definition; nothing where none is apart from another."
    order, k = sorted(column), len(column) // 3
    parts = dict(first=order[:k], middle=order[k:len(order) - k], last=order[len(order) - k:])
    mean = {name: [sum(column[l][i] for l in ls) / len(ls) for i in range(3)] for name, ls in parts.items()}
    above = lambda x, *others: all(mean[x][0] - mean[y][0] > .05 + 1e-9 and mean[x][1] > mean[y][2] for y in others)
    names = list(parts)
    rest = lambda x: [n for n in names if n != x]
    if above("last", "middle") and above("middle", "first"): return {"rises from third to third"}
    if above("first", "middle") and above("middle", "last"): return {"falls from third to third"}
    if high := [x for x in names if above(x, *rest(x))]: return {f"highest in the {high[0]} third"}
    if low := [x for x in names if all(above(y, x) for y in rest(x))]: return {f"lowest in the {low[0]} third"}
    return {f"higher in the {x} third than in the {y}" for x in names for y in names if x != y and above(x, y)}


def read_words(d, m):
    "The sentences about the band, the peak and the trends, parsed from the plain text."
    c, layers = cells(m), sorted(m.layer.values.tolist())
    if found := re.search(r"The largest cell is ([\d.-]+).*?, at layer (\d+), (\S+?)[.,]( |$)", d.text):
        assert abs(c[int(found[2]), found[3]][0] - max(v[0] for v in c.values())) < 1e-12
        assert abs(float(found[1]) - max(v[0] for v in c.values())) < 6e-4
    if found := re.search(r"The high band, ([\d.]+) and above, has (\d+) cells?: (.*?)\.(?= |\n|$)", d.text):
        bar = d.facts["band"]["bar"]
        assert abs(float(found[1]) - bar) < 6e-4 and int(found[2]) == sum(v[0] >= bar for v in c.values())
        for part in found[3].split("; "):
            if part.startswith("and "): continue
            name, first, last, some, of = re.fullmatch(r"(\S+) layers? (\d+)(?:–(\d+))?(?: \((\d+) of (\d+)\))?", part).groups()
            between = [l for l in layers if int(first) <= l <= int(last or first)]
            inside = [l for l in between if c.get((l, name), (0,))[0] >= bar]
            assert len(inside) == int(some or len(between)) and (of is None or len(between) == int(of))
    for name, first, top, layer in re.findall(r"(\S+) \(([\d.]+) → ([\d.]+) at layer (\d+)", d.text):
        column = {l: v[0] for (l, p), v in c.items() if p == name}
        assert abs(column[min(column)] - float(first)) < 6e-4 and abs(max(column.values()) - float(top)) < 6e-4
        assert column[int(layer)] == max(column.values())
    read_paragraphs(d, c, layers)


def read_paragraphs(d, c, layers):
    "The rest of what is said, from the words alone."
    names = {p for _, p in c}
    for words, said in re.findall(r"On average over its layers, (.+?): (.+?\))\.(?= |\n|$)", d.text):
        for part in said.split("; likewise ")[0].split("); "):
            name, a, b, z, top, layer = re.match(
                r"(\S+) \(means ([\d.-]+), ([\d.-]+), ([\d.-]+); largest ([\d.-]+) at layer (\d+)", part).groups()
            column = {l: v for (l, p), v in c.items() if p == name}
            assert words in read_thirds(column) and column[int(layer)][0] == max(v[0] for v in column.values())
            assert abs(float(top) - column[int(layer)][0]) < 6e-4
            order, k = [column[l][0] for l in sorted(column)], len(column) // 3
            for told, part_of in zip((a, b, z), (order[:k], order[k:len(order) - k], order[len(order) - k:])):
                assert abs(float(told) - np.mean(part_of)) < 6e-4
            assert (len(column) < len(layers)) == (f"; it has {len(column)} of {len(layers)} layers" in part)
    told = re.findall(r"^Over depth\. (.*)$", d.text, re.M)
    said = lambda p: re.search(rf"(?:: |; |, |likewise ){re.escape(p)}(?: \(|,|;|\.)", told[0])
    if told: assert all(map(said, names)), "each column is told"
    if found := re.search(r"(\d+) other cells? may be as high", d.text):
        top = max(c.values(), key=lambda v: v[0])
        assert int(found[1]) == sum(v[2] >= top[1] for v in c.values()) - 1
    if found := re.search(r"Of (\d+) intervals?, (\d+) lies? wholly above 0.5 and (\d+) wholly below", d.text):
        known = [len(c), sum(v[1] > .5 for v in c.values()), sum(v[2] < .5 for v in c.values())]
        assert [int(x) for x in found.groups()] == known
    if found := re.search(r"and above in \d+ cells?, at most (\d+) in one column \(\S+?(?: and (\d+) more)?\)", d.short):
        each = [sum(v[0] >= d.facts["band"]["bar"] for (_, p), v in c.items() if p == name) for name in names]
        assert max(each) == int(found[1]) and each.count(int(found[1])) == 1 + int(found[2] or 0)


@settings(max_examples=60)
@given(maps())
def test_what_is_said_is_so(m):
    d = read_again(m)
    read_words(d, m)


@pytest.mark.parametrize("name", MAPS)
def test_published_maps(name):
    m = load_published(name)
    d = read_again(m)
    read_words(d, m)
    assert d.facts["clipped"] == int((m.auc <= .5).sum()) and ("at most 0.5" in d.text) == bool(d.facts["clipped"])
    for words in ("±0.002", "there are no intervals", "no permutation null", "not attention"): assert words in d.text


@st.composite
def curves(draw):
    "One column with intervals of its own width each, one of them perhaps unknown; and truths within them."
    n = draw(st.integers(3, 12))
    v = np.array(draw(st.lists(st.integers(0, 9), min_size=n, max_size=n))) * .05 + .5
    if draw(st.booleans()): v = np.sort(v)[::draw(st.sampled_from([1, -1]))]
    half = np.array(draw(st.lists(st.sampled_from([0, .01, .03, .1, .2]), min_size=n, max_size=n)))
    half = half * draw(st.sampled_from([0, 1, 1]))
    m = a_map(v[:, None], half[:, None])
    if draw(st.booleans()): m["auc_low"][0, 0] = m["auc_high"][0, 0] = np.nan
    return m, np.random.default_rng(0).uniform(v - half, v + half, (20, n))


@settings(max_examples=100)
@given(curves())
def test_the_word_for_a_column_holds_wherever_in_their_intervals_the_layers_lie(drawn):
    m, truths = drawn
    d, v = describe(m), m.auc.values[:, 0]
    shape, top = d.facts["trends"][0]["shape"], int(v.argmax())
    assert (shape == "flat") == (check_claim(m, kind="trend", position="p0", direction="flat").verdict == "true")
    assert ("Flat" in d.text) == (shape == "flat") and ("Rises and stays" in d.text) == (shape == "rises")
    assert ("Highest first" in d.text) == (shape == "falls")
    assert ("On average" in d.text) == (" third" in shape)
    for w in truths:
        if shape.startswith("rises"): assert w[0] < w[top]
        if "falls" in shape: assert w[-1] < w[top]
        if shape == "flat": assert np.ptp(w) <= .05 + 1e-9
        if k := len(w) // 3:
            mean = dict(first=w[:k].mean(), middle=w[k:-k].mean(), last=w[-k:].mean())
            if found := re.fullmatch("(highest|lowest) in the (.*) third", shape):
                assert {"highest": max, "lowest": min}[found[1]](mean, key=mean.get) == found[2]
            two = re.fullmatch("higher in the (.*) third than in the (.*)", shape)
            assert not two or mean[two[1]] > mean[two[2]]
            if shape == "rises from third to third": assert mean["first"] < mean["middle"] < mean["last"]
            if shape == "falls from third to third": assert mean["first"] > mean["middle"] > mean["last"]
    change = check_claim(m, kind="trend", position="p0", direction="rises").verdict
    if shape in ("rises from third to third", "highest in the last third", "lowest in the first third"): assert change != "false"
    if shape == "rises": assert (v[-2:] >= v.max() - .05 - 1e-9).all()
    if shape == "falls": assert v[0] >= v.max() - .05 - 1e-9


def test_shapes_that_were_named_wrongly():
    shape = lambda m, p=0: describe(m).facts["trends"][p]["shape"]
    b = load_published("fig6b")
    assert shape(b, b.position.values.tolist().index("exact_answer_before_first")) == "thirds alike"
    assert shape(a_map(np.c_[[.5, .8, .5, .5, .5, .5, .5, .79]], .01)) == "lowest in the middle third"
    assert shape(a_map(np.c_[[.62, .44, .47, .51, .76, .69, .91, .82]], .16)) == "higher in the last third than in the first"
    assert shape(a_map(np.c_[[.7, .5, .7, .5, .7, .5]], .01)) == "thirds alike"
    dull = describe(a_map(np.c_[np.linspace(.5, .8, 8)], .16)).text
    assert "No difference between layers is shown" in dull and "Flat" not in dull
    part = a_map([[.72, .75], [.5, .5]], auc_low=[[.68, .45], [.4, .4]], auc_high=[[.76, .95], [.6, .6]])
    told = read_again(part).text
    assert "has 2 cells: p0 layer 0; p1 layer 0" in told and "It is not clearly above 0.5" in told


def test_a_target_of_ones_own_is_named():
    "A map of another yes or no does not tell right answers from wrong ones, and nobody says so."
    best = dict(best_layer=2, best_position="p0", best_auc=.8, best_auc_low=.7, best_auc_high=.9, best_share=1., best_n=50)
    told = describe(a_map(np.c_[[.6, .7, .8]], .05).assign_attrs(best, best_n_wrong=20, target="refused")).text
    assert "tells answers that are refused from those that are not" in told and "20 of them not refused" in told
    assert "right answers" not in told and "wrong" not in told


def test_what_is_known_only_from_above_is_said_of_its_column():
    m = load_published("fig6b")
    assert "from at most 0.500 to 0.837" in describe(m).text
    told = re.search(r"last_q \(0\.500 [^()]*; (\d+) known as at most 0\.500\)", describe(m).text)
    assert int(told[1]) == int((m.auc.sel(position="last_q") <= .5).sum())


def test_small_things_that_were_said_wrongly():
    m = a_map(np.full((4, 3), .7), .01, ["last_q", "exact_answer_before_first", "-1"])
    d = describe(m)
    assert "those beside it (1)" in d.text and "In 4 layers the highest mean is shared" in d.text and "95 %" not in d.text
    assert {g["leads"] for g in d.facts["groups"]} == {0}
    on = np.zeros((4, 3), bool)
    on[1, 0] = on[2:, 1] = True
    assert "lie 3 cells: last_q layer 1; exact_answer_before_first layers 2–3." in describe(m.assign(
        plateau=(("layer", "position"), on))).text
    low = describe(m, "auc_low").text
    assert "not the AUC of a probe" not in low and "lower end" in low and "majority" in describe(m.rename(auc="accuracy")).text
    lens = describe(a_map(np.linspace(1e-6, 3e-6, 12).reshape(4, 3)).rename(auc="norm"))
    assert "from 1e-06 to 3e-06" in lens.text
    assert "123456" in describe(a_map([[1., 123456.]]).rename(auc="count")).text
    assert describe(a_map([[.6], [.7]], .01).assign_coords(layer=[0, .5])).facts["peak"]["layer"] == .5
    one = describe(a_map([[.8]], .05))
    assert "1 cell:" in one.text and "1 cells" not in one.text + one.short and "of 1 cell has" in one.text
    with pytest.raises(ValueError, match="layers are numbers"): describe(a_map([[.6], [.7]]).assign_coords(layer=["a", "b"]))


def test_planted_band_and_peak_are_told():
    rng = np.random.default_rng(0)
    auc = rng.uniform(.5, .55, (20, 5))
    auc[8:17, 2] = .82
    auc[13, 2] = .9
    d = describe(a_map(auc, .02))
    for words in ("has 9 cells: p2 layers 8–16.", "at layer 13, p2", "No cell of p0, p1, p3, p4 is in it"): assert words in d.text
    assert "p2" in d.text.partition("Rises, then falls: ")[2].partition(".\n")[0].partition(" Flat")[0].partition(" No diff")[0]
    rising = np.linspace(.5, .9, 20)[:, None] * np.ones((1, 2))
    d = describe(a_map(rising, .01))
    assert {t["shape"] for t in d.facts["trends"]} == {"rises to the end"} and "Rises to the end: p0" in d.text


def test_null_nested_best_and_plateau():
    auc = np.full((6, 3), .55)
    auc[3:5, 1] = .8, .79
    m = a_map(auc, .03, above_null=auc > .7, plateau=auc > .7, p_value=auc).assign_attrs(
        null_max=.63, permutations=100, ci=.9, protocol="honest", best_layer=3, best_position="p1", best_auc=.78,
        best_auc_low=.71, best_auc_high=.84, best_share=.8, best_n=500, best_n_wrong=200)
    d = read_again(m)
    for words in ("2 of 18 cells clear the null of the maximum (0.630, 100 permutations); none of p0, p2 does", "90 % interval",
                  "0.780 (0.710 to 0.840), chosen on some questions and scored on others; 500 answers, 200 of them wrong",
                  "Within one standard error of the best lie 2 cells: p1 layers 3–4."): assert words in d.text, words
    paper = {k: v for k, v in m.attrs.items() if k != "best_share"} | dict(protocol="paper")
    paper = describe(m.drop_attrs().assign_attrs(paper))
    assert "too high" in paper.text and "luck may have" not in paper.text
    none = describe(m.assign(above_null=m.above_null & False))
    assert "There is no high band: no cell clears the null" in none.text


def test_lens_maps_and_other_metrics():
    v = np.linspace(1, 90, 24).reshape(8, 3)
    m = a_map(v).rename(auc="norm").assign_attrs(what="how long the vectors are; not what they tell", title="activation strength")
    m["norm"].attrs["long_name"] = "length"
    d = describe(m)
    assert "how long the vectors are; not what they tell" in d.text and "not the AUC of a probe" in d.text
    assert "0.5 is chance" not in d.text
    assert "length over 8 layers" in d.short and d.facts["trends"][0]["shape"] == "rises to the end" and "null" not in d.facts
    assert describe(m, "norm").text == d.text
    with pytest.raises(ValueError, match="no 'auc'"): describe(m, "auc")
    flat = describe(a_map(np.full((4, 2), 3.)).rename(auc="count"))
    assert "no high band: all cells are equal" in flat.text


def test_extremes():
    d = read_again(a_map(np.full((5, 3), np.nan), reason=np.full((5, 3), "8 answers, 2 wrong", object)))
    assert "All cells are missing" in d.text and "8 answers, 2 wrong" in d.text and "every cell is missing" in d.short
    one = read_again(a_map([[.8]], .05))
    assert "1 layer downwards (0), 1 position across (p0)" in one.text and "luck may have" not in one.text
    read_again(a_map(np.linspace(.5, .8, 12)[:, None], .05))
    rng = np.random.default_rng(1)
    big = read_again(a_map(rng.uniform(.4, .9, (64, 40)), .05))
    assert len(big.text) < 6000 and len(big.markdown) < 8000
    part = read_again(a_map(rng.uniform(.5, .9, (4, 3))).assign_coords(layer=[0, 8, 16, 31]))
    assert "(0, 8, 16, 31)" in part.text
    low = describe(a_map(np.full((4, 3), .3), .05))
    assert "no high band" in low.text
    assert "no high band" in describe(a_map([[.5, .54], [.49, .51]], .06)).text  # above 0.5, and not clearly


def inert(markdown):
    "Nothing in this Markdown is more than text, code, headings and lists of our own."
    bare = re.sub(r"<code>(?:[\w ,;]|&#\d+;)*</code>|<span>&#(?:36|92);</span>", "", markdown)
    code = re.findall(r"`([^`\n]*)`", bare)
    rest = re.sub(r"`[^`\n]*`", "", bare)
    assert not set("<>[]`$\\|_~") & set(rest) and not re.search(r"https?:|www\.|@", rest), rest
    assert not set("$\\|`") & set("".join(code))
    stars = re.sub(r"^\*\*[A-Z][a-z A-Z]+\*\*$", "", rest, flags=re.M)
    assert "*" not in stars and not re.search(r"^(?!- |$)", stars, flags=re.M), stars
    return True


HOSTILE = ["<img src=x onerror=alert(1)>", "\u202egnp.exe",
           "a`b` **bold** [x](javascript:1)", "$\\href{javascript:1}{x}$",
           "x" * 500, "a|b", "line\nbreak\r\n# head",
           "&lt;b&gt;", "", "\x01\x02\x03", "http://evil.example/x www.evil.example", "___"]


kept = st.text(max_size=40).filter(lambda s: not s.endswith("\0"))  # numpy drops zeros at the end of its strings
a_name = st.one_of(kept, st.sampled_from(HOSTILE))
UNSEEN = "[\x00-\x09\x0b-\x1f\u202a-\u202e\u2066-\u2069\u200b-\u200f]"


@settings(max_examples=60)
@given(st.lists(a_name, min_size=3, max_size=3, unique=True), st.sampled_from(HOSTILE))
def test_hostile_names_are_inert_and_legible(names, said):
    rng = np.random.default_rng(0)
    auc = rng.uniform(.5, .9, (4, 3))
    auc[0, 0] = np.nan
    reason = np.where(np.isnan(auc), said, "").astype(object)
    m = a_map(auc, .02, names, reason=reason).assign_attrs(model=said, title=said + "t", site=said, what=said)
    d = describe(m)
    assert inert(d.markdown)
    for text in (d.text, d.markdown, d.short):
        assert not re.search(UNSEEN, text) and "x" * 301 not in text
    assert len(d.short) <= 300 and "\n" not in d.short and d.facts["positions"] == names


def test_legible():
    m = a_map([[.6, .9, .7]], .02, ["\u202egnp", "<img onerror=x>", "x" * 500])
    d = describe(m)
    assert "⟨U+202E⟩gnp" in d.text and "`<img onerror=x>`" in d.markdown and "xxx…xxx" in d.text and repr(d) == str(d) == d.text
    assert d._repr_markdown_() == d.markdown
    with pytest.raises(AttributeError): d.text = ""
