#!/usr/bin/env python3
"""probe_nb from nothing, with the standard library alone (Python 3.11 or newer):

    python3 dev.py demo [folder]     the whole line on the embedded model: a map as PNG and as an offline page in runs/demo/
    python3 dev.py lab [options]     JupyterLab at the first tutorial; options go to JupyterLab
    python3 dev.py test [options]    ruff and the quick tests; options go to pytest
    python3 dev.py test --slow       the long tests

Each first makes .venv, or refreshes it when what it is made from has changed. Two more options: --pip installs with pip
(otherwise with uv, where it can be had); --cuda takes PyPI's torch on a Linux machine that shows no NVIDIA GPU.

Tried on Linux (Debian 12), as root and as a plain user. Written for macOS and Windows too, not tried there.
"""
import hashlib
import importlib.util
import os
import platform
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent
VENV = ROOT / ".venv"
STAMP = VENV / "probe_nb.stamp"  # "3.11 <digest>" once all is installed, "3.11 unfinished" until then
MADE_FROM = ["setup.py", "settings.ini", "pyproject.toml", "constraints.txt"]
TUTORIAL = "nbs/tutorials/01_first_map.ipynb"
CPU_INDEX = "https://download.pytorch.org/whl/cpu"


def python_of(venv): return Path(venv) / ("Scripts/python.exe" if os.name == "nt" else "bin/python")


def say(text): print("dev.py: " + text, flush=True)


def run(*cmd, quiet=False, **kwargs):
    "The exit status of a command."
    if quiet: kwargs |= {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.run([str(c) for c in cmd], **kwargs).returncode


def become(*cmd):
    "Go on as another program, so that Ctrl-C is its own affair."
    cmd = [str(c) for c in cmd]
    if os.name != "nt": os.execv(cmd[0], cmd)
    child = subprocess.Popen(cmd)
    while True:
        try: sys.exit(child.wait())
        except KeyboardInterrupt: continue  # the child has it too, and decides


def wants_cpu_torch():
    "PyPI's torch for Linux brings about 2.7 GB of CUDA libraries; macOS and Windows get a CPU build from PyPI anyway."
    smi = shutil.which("nvidia-smi")
    return platform.system() == "Linux" and not (smi and run(smi, "-L", quiet=True) == 0)


def install_cpu_torch(installer):
    """The pinned torch as a CPU build: from a folder of wheels that pip was told of (PIP_FIND_LINKS), else from PyTorch's index.
    That index is asked for torch alone (--no-deps) and never stands beside PyPI: no other name is ever looked up there."""
    pin = next(line for line in (ROOT / "constraints.txt").read_text().split() if line.startswith("torch=="))
    alone = [*installer, "--no-deps", pin]
    return run(*alone, "--no-index", quiet=True) == 0 or run(*alone, "--index-url", CPU_INDEX) == 0


def install(python, *what, pip=False, cuda=False):
    "Install `what` into the environment of `python`: by uv in well under a minute, by pip in several. True when done."
    quiet = [] if sys.stdout.isatty() else ["-qq"]
    by_pip = [python, "-m", "pip", "install", *quiet]
    ways = [by_pip]
    if not pip and run(python, "-m", "pip", "install", "-qq", "uv") == 0:
        ways.insert(0, [python, "-m", "uv", "pip", "install", "--python", python])
        # uv does not read pip's settings
        for theirs, ours in {"PIP_FIND_LINKS": "UV_FIND_LINKS", "PIP_INDEX_URL": "UV_DEFAULT_INDEX"}.items():
            if theirs in os.environ: os.environ.setdefault(ours, ",".join(os.environ[theirs].split()))
    for way in ways:
        say("installing with " + ("pip: several minutes" if way is by_pip else "uv"))
        if wants_cpu_torch() and not cuda and not install_cpu_torch(way): continue
        if run(*way, "-c", ROOT / "constraints.txt", *what, cwd=ROOT) == 0: return True
    return False


def make_venv(pip, cuda):
    "Make .venv, or bring it up to date. One whose making was cut off, or of another Python, is made anew."
    digest = hashlib.sha256(b"".join((ROOT / f).read_bytes() for f in MADE_FROM)).hexdigest()[:16]
    new = [".".join(platform.python_version_tuple()[:2]), digest]
    old = STAMP.read_text().split() if STAMP.exists() else []
    python = python_of(VENV)
    if old == new and python.exists(): return
    say(f"preparing {VENV} (about 1.5 GB, once)")
    if not python.exists() or (old and (old[0] != new[0] or old[1] == "unfinished")):
        if VENV.exists(): shutil.rmtree(VENV)
        VENV.mkdir()
        STAMP.write_text(new[0] + " unfinished")
        if run(sys.executable, "-m", "venv", VENV) != 0: sys.exit(f"dev.py: Python could not make {VENV} (see above).")
    STAMP.write_text(new[0] + " unfinished")
    if not install(python, "-e", ".[dev]", pip=pip, cuda=cuda):
        sys.exit("dev.py: the installation failed (see above). If only torch's CPU build is out of reach, put its wheel in a "
                 "folder named by PIP_FIND_LINKS, or add --cuda to take PyPI's build.")
    STAMP.write_text(" ".join(new))


def demo(args):
    "The whole line on the embedded model: questions, answers, activations, probes, map."
    start, folder = time.time(), Path(args[0] if args else ROOT / "runs" / "demo").resolve()
    from probe_nb.all import Study, heatmap
    try:
        study = Study(folder, lm="demo", questions="demo")
        found = study.map()
        heatmap(found).save(folder / "map.png", scale_factor=2)
        study.report(folder / "demo.html")
    except (ValueError, OSError) as e: sys.exit(f"dev.py: {e}")
    except KeyboardInterrupt: sys.exit("dev.py: stopped; what is finished is kept, and the same command goes on from there.")
    a = found.attrs
    print(f"""
Best cell: layer {a["best_layer"]}, position {a["best_position"]}, AUC {a["best_auc"]:.3f} \
({100 * a["ci"]:g}% interval {a["best_auc_low"]:.3f} to {a["best_auc_high"]:.3f}) \
on {a["best_n"]} answers, {a["best_n_wrong"]} of them wrong
The map:   {folder / "map.png"}
The page:  {folder / "demo.html"} (opens in any browser, offline)
Took:      {time.time() - start:.0f} s
Next:      python3 dev.py lab""")


def lab(args):
    "JupyterLab at the first tutorial."
    os.chdir(ROOT)
    root = ["--allow-root"] if getattr(os, "geteuid", lambda: 1)() == 0 else []
    become(sys.executable, "-m", "jupyterlab", f"--ServerApp.root_dir={ROOT}", *root, *args, ROOT / TUTORIAL)


def test(args):
    "ruff, then pytest: notebooks, invariants, packaging, one tutorial in a browser; or the long tests."
    os.chdir(ROOT)
    slow, args = "--slow" in args, [a for a in args if a != "--slow"]
    if not slow and run(sys.executable, "-m", "ruff", "check", "--output-format=concise", ".") != 0: sys.exit(1)
    if not args and (os.cpu_count() or 1) > 1:  # several processes, each on one thread: or threads wait for threads
        args = ["-n", str(min(4, os.cpu_count()))]
        for name in ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS"): os.environ.setdefault(name, "1")
    become(sys.executable, "-m", "pytest", "-m", "slow" if slow else "not slow", *args)


def main(args):
    own = {"--pip", "--cuda"}
    command, rest = args[:1], [a for a in args[1:] if a not in own]
    if command not in (["demo"], ["lab"], ["test"]): sys.exit(__doc__)
    if command == ["demo"] and rest and rest[0].startswith("-"): sys.exit(__doc__)
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)  # or every process compiles torch again
    if Path(sys.prefix).resolve() == VENV.resolve(): return globals()[command[0]](rest)
    if sys.version_info < (3, 11):  # noqa: UP036  that is how an older one hears of it
        sys.exit(f"dev.py: this is Python {platform.python_version()}; call it with Python 3.11 or newer.")
    if not importlib.util.find_spec("ensurepip"):
        sys.exit("dev.py: this Python cannot make environments; on Debian and Ubuntu: apt install python3-venv")
    make_venv(pip="--pip" in args, cuda="--cuda" in args)
    become(python_of(VENV), Path(__file__).resolve(), command[0], *rest)


if __name__ == "__main__": main(sys.argv[1:])
