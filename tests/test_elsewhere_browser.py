"""The explorer where there is no JupyterLab: in Notebook 7, and as a page of Voila."""
from pathlib import Path

import pytest
from browser import notebook

pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]

SMALL = f"""import sys
sys.path.insert(0, {str(Path(__file__).parent)!r})
from test_widgets import FakeStudy
from probe_nb.widgets import Explorer
explorer = Explorer(FakeStudy())
explorer"""
CARD = ".probe-nb-alive .probe-nb-facts"


def mark(layer, token): return f".probe-nb path[aria-label^='Token: {token}; Layer: {layer};']:not([stroke='#ff7f0e'])"


def click_about(lab):
    "Two cells are clicked, and their numbers are read; the picture is hidden while the explorer lives."
    lab.page.wait_for_selector(mark(0, "last_q"), timeout=90_000)
    for layer, token in ((0, "last_q"), (3, "exact_answer_last")):
        lab.page.locator(mark(layer, token)).click()
        lab.wait_for_text(f"Layer {layer} · {token}", CARD)
    lab.wait_for_text("cleared, over all cells", CARD)  # a signal is planted there
    lab.wait_for_text("area 0.968", ".probe-nb-cell svg text")
    assert lab.page.locator(".probe-nb-alive").count() == 1 and not lab.page.locator(".probe-nb-still").first.is_visible()
    assert lab.page.locator(".probe-nb-alive .probe-nb-error").first.inner_text() == ""


def test_explorer_in_notebook_7(lab, tmp_path):
    lab.open_notebook(notebook(tmp_path / "small.ipynb", SMALL), "notebooks")
    lab.run_all()
    assert not lab.errors() and "/notebooks/" in lab.page.url
    click_about(lab)
    assert lab.value("explorer.cell") == "(3, 'exact_answer_last')"
    lab.page.locator(".probe-nb-alive .probe-nb-top").first.scroll_into_view_if_needed()
    lab.picture("notebook7_light")
    lab.dark()
    lab.picture("notebook7_dark")
    lab.dark(False)


def test_explorer_in_voila(lab, tmp_path):
    lab.go("voila/render", lab.put(notebook(tmp_path / "small.ipynb", SMALL)))
    click_about(lab)
    assert lab.page.get_by_text("import sys").count() == 0, "Voila shows no code"
    lab.picture("voila")
    own = ("/@fortawesome/", "/mathjax/")  # Voila's own page asks for its icons and for formulas, whatever it shows
    lab.outside[:] = [url for url in lab.outside if not any(name in url for name in own)]
