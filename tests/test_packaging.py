"""The package stands on its own: what it needs is named, it imports fast, and a wheel of it works elsewhere."""
import ast
import re
import subprocess
import sys
from configparser import ConfigParser
from importlib.metadata import packages_distributions

import pytest
from conftest import ROOT, copy_tree

CONTRACT = """load_lm load_questions answer judge find_spans positions extract probe_map heatmap
              Study LogisticProbe ProbeGrid load_published""".split()


def python(code, python=sys.executable, **kwargs):
    return subprocess.run([python, "-c", code], capture_output=True, text=True, **kwargs)


def normal(name): return re.sub(r"[-_.]+", "-", name).lower()


def settings():
    cfg = ConfigParser(delimiters=["="])
    cfg.read(ROOT / "settings.ini", encoding="utf-8")
    return cfg["DEFAULT"]


def imports(path):
    "Top-level names imported anywhere in a file, late imports included."
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import): yield from (a.name.split(".")[0] for a in node.names)
        elif isinstance(node, ast.ImportFrom) and not node.level: yield node.module.split(".")[0]


@pytest.mark.parametrize("folder", ["probe_nb", "tests"])
def test_every_import_is_a_named_requirement(folder):
    "What only comes along with another package may stop coming (pandas did); what the package needs is no `dev` extra."
    named = [r for key, value in settings().items() for r in value.split()
             if key.endswith("requirements") and (folder == "tests" or key != "dev_requirements")]
    named = {normal(re.split(r"[<>=!~\[; ]", r)[0]) for r in named}
    ours = {"probe_nb", "dev", *(f.stem for f in (ROOT / "tests").glob("*.py"))}
    foreign = {name for f in (ROOT / folder).glob("*.py") for name in imports(f)} - set(sys.stdlib_module_names) - ours
    known = packages_distributions()
    unnamed = {n for n in foreign if not named & {normal(d) for d in known.get(n, [n])}}
    assert not unnamed, "name it in settings.ini"


def test_import_is_fast_and_without_torch():
    "The least of five interpreters with `import probe_nb`, less the least of five without: under 0.3 s."
    code = "import time; t = time.perf_counter(); import probe_nb; print(time.perf_counter() - t)"
    assert min(float(python(code).stdout) for _ in range(5)) < 0.3
    assert python("import sys, probe_nb; sys.exit('torch' in sys.modules)").returncode == 0


def test_star_import_gives_the_contract_and_no_modules():
    told = python("there_already = set(dir())\nfrom probe_nb.all import *\nimport types\n"
                  "print(*[n for n in dir() if n not in there_already and not isinstance(globals()[n], types.ModuleType)])\n"
                  "print(*[n for n in dir() if n not in there_already and isinstance(globals()[n], types.ModuleType)])")
    assert told.returncode == 0, told.stderr
    names, modules = (line.split() for line in told.stdout.split("\n")[:2])
    lost = set(CONTRACT) - set(names)
    assert not lost
    assert modules == ["types"], "from probe_nb.all import * brings modules along"


def test_dev_py_says_what_is_wrong_in_one_sentence():
    "Under an older Python it must still parse, up to the sentence about the version."
    source = (ROOT / "dev.py").read_text(encoding="utf-8")
    ast.parse(source, feature_version=(3, 7))
    asked = subprocess.run([sys.executable, ROOT / "dev.py", "nonsense"], capture_output=True, text=True)
    assert asked.returncode and "python3 dev.py demo" in asked.stderr


@pytest.fixture(scope="session")
def elsewhere(tmp_path_factory):
    "A clean environment with a wheel in it, built from the source archive; installed by pip, as .venv is by uv."
    import dev
    work = tmp_path_factory.mktemp("wheel")
    source = copy_tree(work / "source")
    subprocess.run([sys.executable, "-m", "build", "-q", "--outdir", work / "dist", source], check=True)
    subprocess.run([sys.executable, "-m", "venv", work / "env"], check=True)
    wheel, = (work / "dist").glob("*.whl")
    assert dev.install(dev.python_of(work / "env"), wheel, pip=True)
    return dev.python_of(work / "env"), work


@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_wheel_works_in_a_clean_environment(elsewhere):
    python_there, work = elsewhere
    told = python("import probe_nb; print(probe_nb.__file__)\nfrom probe_nb.all import *\nlm = load_lm('demo')\n"
                  "print(len(load_questions('demo')), 'questions')", python_there, cwd=work)
    assert told.returncode == 0, told.stderr
    assert str(work / "env") in told.stdout.splitlines()[0], "the wheel's own package was not the one imported"
    assert subprocess.run([python_there, "-m", "pip", "check"], capture_output=True).returncode == 0
