"""What every picture can do: a file of each kind, a paper's column, light and dark, words for those who cannot see it."""
import json
import re
import struct
from pathlib import Path

import numpy as np
import pytest
import vl_convert as vlc
from browser import FLAGS, find_browser
from conftest import ROOT
from test_charts import HOSTILE, a_map

from probe_nb.canvas import _GROUND, GREY, KINDS
from probe_nb.cells import _light, _rgb
from probe_nb.charts import Picture, heatmap, profile, roc_chart, score_histogram

BIDI = "\u202e" + "exact\u2066"
LONG = "x" * 500
TOKENS = ("last_q", HOSTILE, BIDI, LONG, "</script><script>alert(1)</script>")


def contrast(a, b):
    a, b = sorted([float(_light(_rgb(a))), float(_light(_rgb(b)))])
    return (b + .05) / (a + .05)


def svg(chart): return vlc.vegalite_to_svg(chart.to_dict(), vl_version="6.4")


def words(drawing):
    "Each text of an SVG: its size in pixels, its colour, what it says."
    for attributes, said in re.findall(r"<text([^>]*)>(.*?)</text>", drawing, re.S):
        if not said: continue
        size = re.search(r'font-size="([\d.]+)px"', attributes)
        yield float(size[1]), re.search(r'fill="(#\w+|\w+)"', attributes)[1], said


# Files

@pytest.mark.parametrize("kind,begins", [("png", b"\x89PNG"), ("svg", b"<svg"), ("pdf", b"%PDF"), ("html", b"<!DOCTYPE html>"),
                                         ("json", b"{")])
def test_every_kind_of_file(tmp_path, kind, begins):
    heatmap(a_map()).save(tmp_path / f"map.{kind}")
    assert (tmp_path / f"map.{kind}").read_bytes().lstrip().startswith(begins)


def test_json_is_the_specification(tmp_path):
    chart = heatmap(a_map())
    chart.save(tmp_path / "m.json")
    assert json.loads((tmp_path / "m.json").read_text()) == json.loads(json.dumps(chart.to_dict()))


@pytest.mark.parametrize("name", ["map.gif", "map", "map.png.txt"])
def test_another_kind_is_refused_in_a_sentence(tmp_path, name):
    with pytest.raises(ValueError, match="png, svg, pdf, html, json") as e: heatmap(a_map()).save(tmp_path / name)
    assert "\n" not in str(e.value) and not (tmp_path / name).exists()


def test_html_needs_no_network_and_runs_no_data(tmp_path):
    "Chromium with every other machine out of reach: the drawing is there, nothing was asked for, nobody's text ran."
    from playwright.sync_api import sync_playwright
    if not find_browser(): pytest.skip("no browser")
    m = a_map(tokens=TOKENS, missing=((2, 1),), model=HOSTILE)
    heatmap(m, values=True).save(tmp_path / "m.html")
    (heatmap(m) | profile(m, layer=1)).save(tmp_path / "two.html")
    asked, said = [], []
    with sync_playwright() as p:
        chromium = p.chromium.launch(executable_path=find_browser(), args=[*FLAGS, "--no-sandbox"])
        page = chromium.new_page()
        page.on("request", lambda r: asked.append(r.url))
        page.on("dialog", lambda d: (said.append(d.message), d.dismiss()))
        page.on("pageerror", lambda e: said.append(str(e)))
        for name in ("m.html", "two.html"):
            page.goto(f"file://{tmp_path / name}")
            page.wait_for_selector("svg [aria-roledescription='rect mark']", state="attached", timeout=30_000)
            assert page.locator("svg [aria-roledescription='rect mark']").count() >= 30
            assert page.locator("img").count() == 0
            assert "AUC by layer" in page.locator("[role='graphics-document']").first.get_attribute("aria-label")
        chromium.close()
    assert not [u for u in asked if u.startswith("http")] and not said


# A column

@pytest.mark.parametrize("chart", [
    heatmap(a_map(32, [f"position {k}" for k in range(15)])), heatmap(a_map(), values=True), heatmap(a_map(12), margins=True),
    profile(a_map(32), position="-1")], ids=["large", "numbers", "margins", "profile"])
def test_a_column_is_kept_with_legible_words(tmp_path, chart):
    drawing = svg(chart.fitted(8.5))
    width = float(re.search(r'width="([\d.]+)"', drawing)[1])
    assert 150 < width <= 8.5 / 2.54 * 96, "no wider than the column"
    assert min(size for size, *_ in words(drawing)) >= 7 / 72 * 96, "at least 7 points"
    chart.save(tmp_path / "c.png", cm=8.5)
    png = (tmp_path / "c.png").read_bytes()
    assert abs(struct.unpack(">I", png[16:20])[0] - 3 * width) <= 3, "288 dots to the inch"


def test_what_cannot_fit_is_refused():
    with pytest.raises(ValueError, match="too narrow"): heatmap(a_map()).fitted(1.5)


# Light and dark

@pytest.mark.parametrize("theme", ["light", "dark"])
def test_every_word_on_the_ground_has_contrast(theme):
    scores = [dict(correct=k % 3 > 0, score=float(k % 7)) for k in range(60)]
    import pandas as pd
    ground, scores = _GROUND[theme][0], pd.DataFrame(scores)
    what = {"what": "what it is and is not"}
    charts = [heatmap(a_map(**what)), heatmap(a_map(), margins=True), profile(a_map(), layer=1)]
    for chart in (*charts, roc_chart(scores), score_histogram(scores)):
        drawing = svg(chart.themed(theme))
        assert f'fill="{ground}"' in drawing or ground == "#ffffff"
        found = {colour for *_, colour, _ in words(drawing)}
        assert found and all(contrast(c, ground) >= 4.5 for c in found), found


def test_without_a_theme_nothing_is_fixed_that_jupyterlab_would_change():
    "Its dark theme colours words that have no colour of their own."
    for chart in (heatmap(a_map(what="a lens")), profile(a_map(), layer=1)):
        spec = chart.to_dict()
        assert "background" not in spec.get("config", {}) and not re.search(r'"(title|label|subtitle)Color"', json.dumps(spec))


def test_an_unknown_theme_is_refused():
    with pytest.raises(ValueError, match="light, dark"): heatmap(a_map(), theme="sepia")


def seen(rgb, how):
    "CIELAB of colours as they look to someone who sees no red or no green (Machado, Oliveira, Fernandes 2009, severity 1)."
    m = dict(all=np.eye(3), no_green=[[.367322, .860646, -.227968], [.280085, .672501, .047413], [-.011820, .042940, .968881]],
             no_red=[[.152286, 1.052583, -.204868], [.114503, .786281, .099216], [-.003882, -.048116, 1.051998]])[how]
    c = np.asarray(rgb, float) / 255
    c = np.clip(np.where(c <= .04045, c / 12.92, ((c + .055) / 1.055) ** 2.4) @ np.array(m).T, 0, 1)
    xyz = c @ np.array([[.4124564, .3575761, .1804375], [.2126729, .7151522, .0721750], [.0193339, .1191920, .9503041]]).T
    xyz /= [.95047, 1, 1.08883]
    f = np.where(xyz > .008856, np.cbrt(xyz), 7.787 * xyz + 16 / 116)
    return np.stack([116 * f[..., 1] - 16, 500 * (f[..., 0] - f[..., 1]), 200 * (f[..., 1] - f[..., 2])], -1)


@pytest.mark.parametrize("how", ["all", "no_green", "no_red"])
def test_kinds_stay_apart_for_everyone(how):
    lab = seen([_rgb(c) for c in KINDS], how)
    apart = np.linalg.norm(lab[:, None] - lab, axis=-1)[np.triu_indices(len(KINDS), 1)]
    assert apart.min() > 20
    assert all(contrast(c, ground) >= 3 for c in [*KINDS, GREY] for ground in ("#ffffff", "#111111"))


# Words

def test_description_is_everywhere(tmp_path):
    chart = heatmap(a_map(), alt="in short: nothing")
    bundle, about = chart._repr_mimebundle_()
    assert bundle["text/plain"] == "Picture('in short: nothing')" and about["image/png"]["alt"] == "in short: nothing"
    chart.save(tmp_path / "m.svg")
    assert '<svg role="img" aria-label="in short: nothing"' in (tmp_path / "m.svg").read_text()
    both = (chart | profile(a_map(), layer=1)).description
    assert both.startswith("in short: nothing; AUC of layer 1")


def test_own_sentence_tells_the_extremes():
    told = heatmap(a_map(missing=((2, 1), (0, 1))), title="mine").description
    assert told.startswith("mine: AUC by layer (0 to 5, downwards) and token (last_q to -1); highest 0.99 at layer 5, -1; "
                           "lowest 0.3")
    assert told.endswith("2 of 30 cells are missing.")


def test_hostile_names_are_inert_and_legible():
    drawing = svg(heatmap(a_map(tokens=TOKENS, missing=((0, 0),), model=BIDI), values=True))
    assert "<img" not in drawing and "<script" not in drawing
    texts = [said for *_, said in words(drawing)]
    assert not any("\u202e" in t or "\u2066" in t for t in texts), "nothing turns a line round"
    assert any(t.startswith("xxx") and t.endswith("…") for t in texts), "500 characters are cut on the axis"
    height = float(re.search(r'height="([\d.]+)"', drawing)[1])
    assert height < 600, "and do not make the picture long"


def test_a_stored_output_is_small():
    for m in (a_map(64, [str(-k) for k in range(40)], ()), a_map(32, [f"{k} {LONG}" for k in range(15)])):
        bundle, _ = heatmap(m, values=True)._repr_mimebundle_()
        assert len(bundle["image/png"]) * 4 / 3 + len(json.dumps({k: v for k, v in bundle.items() if k != "image/png"})) < 100_000


def test_pictures_of_one_theme_stay_so():
    dark = heatmap(a_map(), theme="dark")
    for both in (dark | dark, dark & dark): assert both.to_dict()["config"]["background"] == "#111111"
    assert isinstance(dark.themed(None), Picture) and "background" not in dark.themed(None).to_dict().get("config", {})


def test_no_address_is_loaded_by_our_code():
    source = Path(ROOT / "probe_nb/canvas.py").read_text()
    assert not [u for u in re.findall(r"https?://[^\s\"']+", source) if "vega.github.io/schema" not in u]
