"""README does what it says: its Python runs in order, its first screen names the two commands, its links lead somewhere."""
import re

import pytest
from conftest import ROOT

README = (ROOT / "README.md").read_text(encoding="utf-8")


def blocks(language): return re.findall(rf"^```{language}\n(.*?)^```", README, flags=re.M | re.S)


def test_its_python_runs(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    namespace = {"__name__": "README"}
    for i, source in enumerate(blocks("python"), 1):
        try: exec(compile(source, f"README.md, Python block {i}", "exec"), namespace)
        except Exception as e: pytest.fail(f"README.md, Python block {i}:\n{source}\n{type(e).__name__}: {e}")
    assert blocks("python"), "README.md shows no Python"


@pytest.mark.parametrize("command", ["python3 dev.py demo", "python3 dev.py test", "python3 dev.py lab"])
def test_its_first_screen_names_the_command(command):
    assert command in "\n".join(README.splitlines()[:40])


def test_its_links_and_pictures_are_there():
    targets = re.findall(r"\]\(\s*<?([^)\s>]+)", README) + re.findall(r"""(?:src|href)=["']([^"']+)""", README)
    targets = {t.split("#")[0] for t in targets if not re.match(r"[a-z]+:|#", t)}
    dead = [t for t in sorted(targets) if not (ROOT / t).exists()]
    assert not dead
