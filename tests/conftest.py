"""What all tests share: no network but this machine's own, a copy of the tree to work on, one order."""
import os
import shutil
import socket
from pathlib import Path

import pytest

os.environ.update(HF_HUB_OFFLINE="1", HF_DATASETS_OFFLINE="1", JUPYTER_PLATFORM_DIRS="1")
ROOT = Path(__file__).resolve().parent.parent

from browser import browser, jupyter, lab  # noqa: E402, F401  the fixtures of the browser tests

try:
    from hypothesis import settings
    # on CI the same examples every time: what is red there is red here
    settings.register_profile("house", deadline=None, derandomize=bool(os.environ.get("CI")))
    settings.load_profile("house")
except ImportError: pass


@pytest.fixture(autouse=True, scope="session")
def only_this_machine():
    "A test that asks for another machine fails at once, on every network."
    real = socket.socket.connect

    def connect(self, address):
        if isinstance(address, tuple) and not str(address[0]).startswith(("127.", "localhost", "::1")):
            raise OSError(f"a test asked for {address[0]}: tests must work without a network")
        return real(self, address)
    with pytest.MonkeyPatch.context() as m:
        m.setattr(socket.socket, "connect", connect)
        yield


def copy_tree(to):
    "A copy of the sources, so that no test writes into the work tree or finds results of an earlier run there."
    ignored = shutil.ignore_patterns(".*", "__pycache__", "*.egg-info", "runs", "build", "dist", "_proc", "_docs")
    return Path(shutil.copytree(ROOT, to, ignore=ignored))


@pytest.fixture(scope="session")
def tree(tmp_path_factory): return copy_tree(tmp_path_factory.mktemp("copy") / "probe_nb")


def pytest_collection_modifyitems(items):
    "Notebooks run last: each makes an IPython shell in this process, and later tests would believe that they are in a notebook."
    items.sort(key=lambda item: item.path.name == "test_notebooks.py")


@pytest.fixture(scope="session")
def made(tmp_path_factory):
    "A finished study of two layers of the embedded model."
    from probe_nb.study import Study
    study = Study(tmp_path_factory.mktemp("made") / "demo", n=120, layers=[5, 6], progress=False)
    study.map()
    return study


@pytest.fixture
def study(made, tmp_path):
    "A copy of it, to write into."
    from probe_nb.study import Study
    return Study(shutil.copytree(made.path, tmp_path / "demo"), made.lm, progress=False)


@pytest.fixture(scope="session")
def lm(made): return made.lm
