"""Every notebook runs from top to bottom, in a copy of the tree, by nbdev's own runner (its directives hold)."""
import io
import re
import signal
import sys

import pytest
from conftest import ROOT

SLOW = re.compile(r'"#\|\s*slow\b')
NOTEBOOKS = {p.relative_to(ROOT / "nbs").with_suffix("").as_posix(): p
             for p in sorted((ROOT / "nbs").rglob("*.ipynb")) if not re.search(r"/[._]", p.as_posix().removeprefix(str(ROOT)))}


def run_notebook(path, flags, monkeypatch):
    "Fails with nbdev's account of the cell and the error."
    from nbdev.test import test_nb as run
    told, interrupt = io.StringIO(), signal.getsignal(signal.SIGINT)
    monkeypatch.setattr(sys, "__stderr__", told)
    monkeypatch.setattr(sys, "path", sys.path[:])
    try: passed, _ = run(path, skip_flags=["notest", "slow"], force_flags=flags)
    finally: signal.signal(signal.SIGINT, interrupt)  # the runner leaves a handler that would end pytest without a word
    if not passed: pytest.fail(f"{path.name}\n{told.getvalue().strip()}", pytrace=False)


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_notebook(name, tree, monkeypatch):
    run_notebook(tree / "nbs" / f"{name}.ipynb", [], monkeypatch)


@pytest.mark.slow
@pytest.mark.parametrize("name", [n for n, p in NOTEBOOKS.items() if SLOW.search(p.read_text(encoding="utf-8"))])
def test_notebook_with_its_slow_cells(name, tree, monkeypatch):
    run_notebook(tree / "nbs" / f"{name}.ipynb", ["slow"], monkeypatch)
