"The picture of tokens: every id in its place, every text harmless, marks where they belong."
import html.parser
import re

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from worlds import tiny_model, tiny_tokenizer

from probe_nb.answers import answer
from probe_nb.models import load_lm
from probe_nb.questions import check_questions
from probe_nb.tokens import _pieces, show_tokens, token_strip, tokens_of

ASKED = ["Who is <b>Ça</b> & \u202e?", "Where was 東京 👍🏽?\n"]
QS = check_questions(pd.DataFrame(dict(id=list("ab"), question=ASKED, gold="x")))
TOK = tiny_tokenizer(chat=True)


@pytest.fixture(scope="module")
def lm(): return load_lm(tiny_model("llama"), tiny_tokenizer(chat=True))


@pytest.fixture(scope="module")
def ans(lm): return answer(lm, QS, n_samples=1, max_new_tokens=12, progress=False)


class Page(html.parser.HTMLParser):
    "The tags and texts of a page, as a browser has them."
    def __init__(self, page):
        super().__init__()
        self.tags, self.texts, self.on = [], [], []
        self.feed(page)
    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self.on.append(tag)
    def handle_endtag(self, tag): assert self.on.pop() == tag
    def handle_data(self, data): self.texts.append((self.on[-1] if self.on else "", data))


def test_each_token_is_there_with_its_id_and_its_probability(lm, ans):
    table = tokens_of(lm, ans, 2)
    p, a = ans["prompt_ids"][2], ans["answer_ids"][2]
    assert table["id"].tolist() == p + a and table["part"].tolist() == ["prompt"]*len(p) + ["answer"]*len(a)
    assert table["logprob"].isna().sum() == len(p) and table["logprob"].tolist()[len(p):] == ans["token_logprobs"][2]
    assert table["special"][0] and table["special"].sum() == sum(i in (0, 1, 2) for i in p + a)
    page = Page(show_tokens(lm, ans, 2)._repr_html_())
    assert [int(t) for tag, t in page.texts if tag == "small"] == p + a
    tips = [at["title"] for tag, at in page.tags if tag == "span"]
    assert [bool(re.search("probability", t)) for t in tips] == [False]*len(p) + [True]*len(a)
    assert f"probability {np.exp(ans['token_logprobs'][2][0]):.3g} " in tips[len(p)]
    assert sum("special" in at["class"] for tag, at in page.tags if tag == "span") == table["special"].sum()


@given(st.lists(st.text(), max_size=20), st.lists(st.text(), max_size=20))
def test_no_text_is_markup_and_none_is_invisible(texts, marks):
    strip = token_strip(texts, marks[:len(texts)])
    page = Page(strip._repr_html_())
    assert {tag for tag, _ in page.tags} <= {"style", "div", "span", "b", "small", "i"} and not page.on
    shown = ["".join(t for _, t in page.texts if _ == tag) for tag in ("b", "i")]
    assert not re.search(r"[\x00-\x1f\u202a-\u202e\u2066-\u2069\u200b]", shown[0] + shown[1] + repr(strip))
    assert sum(tag == "b" for tag, _ in page.tags) == len(texts)
    assert sum(tag == "i" for tag, _ in page.tags) == sum(bool(m) for m in marks[:len(texts)])


@given(st.text(max_size=40))
def test_pieces_are_the_text(text):
    "Where each token is whole characters, put together they are the text; and none is empty."
    ids = TOK(text)["input_ids"]
    pieces = _pieces(TOK, ids)
    assert len(pieces) == len(ids) and all(pieces)
    if all("\ufffd" not in TOK.decode([i]) for i in ids): assert "".join(pieces) == TOK.decode(ids)


def test_marks_stand_above_their_tokens(lm, ans):
    p = len(ans["prompt_ids"][0])
    strip = show_tokens(lm, ans, 0, {p - 1: "last_q", p: "<first>"})
    spans = re.findall(r"<span.*?</span>", strip._repr_html_())
    assert ["last_q" in s for s in spans].index(True) == p - 1 and "&lt;first&gt;" in spans[p]
    assert sum("background" in s for s in spans) == 2 and repr(strip).count("{") == 2
    with pytest.raises(ValueError, match="there is no token 9 to put 'x' above: places are 0 to 1"):
        token_strip(["a", "b"], {9: "x"})


def test_long_texts_are_cut_but_never_where_it_is_marked():
    strip = token_strip([f"t{i}" for i in range(5000)], {2500: "here"})
    assert len(strip._repr_html_()) < 60_000
    assert all(f"{t}[" in repr(strip) for t in ("t0", "t99", "t2500", "t4700", "t4999")) and "t2499[" not in repr(strip)
    assert repr(strip).count("…") == 2


def test_what_is_not_there_is_said(lm, ans):
    with pytest.raises(KeyError, match="no example 9 among the answers: they have 0 to 3"): show_tokens(lm, ans, 9)
    with pytest.raises(ValueError, match="lack the column 'text'"): token_strip(pd.DataFrame(dict(id=[1])))
    with pytest.raises(ValueError, match="these answers are"):
        other = ans.copy()
        other.attrs = dict(model="other", revision="x")
        show_tokens(lm, other, 0)
