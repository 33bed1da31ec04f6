"""In a real browser: the harness itself, the first tutorial in JupyterLab, the page that `dev.py demo` writes."""
import itertools
import os
import re
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest
from browser import FOLDERS, TOKEN, free_port, notebook, wait_for_server
from conftest import ROOT

TUTORIAL = ROOT / "nbs" / "tutorials" / "01_first_map.ipynb"
pytestmark = [pytest.mark.browser, pytest.mark.timeout(600)]


def test_harness_sees_output_errors_and_outside_requests(lab, tmp_path):
    "The checks below can fail: a text, an error and a request to another machine are all noticed."
    lab.open_notebook(notebook(tmp_path / "small.ipynb", "from IPython.display import HTML; HTML('<b id=here>seen</b>')", "1/0"))
    lab.run_all()
    lab.wait_for_text("seen", "#here")
    assert lab.errors() == ["ZeroDivisionError: division by zero"]
    lab.dark()
    lab.page.evaluate("() => fetch('http://example.com/x.js').catch(() => 0)")
    assert lab.outside == ["http://example.com/x.js"]
    lab.outside.clear()


SMALLER = {'load_questions("demo")\n': 'load_questions("demo", n=240)\n', "n=600, seed=1": "n=120, seed=1, layers=[5, 6]"}


def test_first_tutorial_draws_a_live_map_and_its_explorer_answers_a_click(lab, tmp_path):
    "On fewer questions: `test_notebooks.py` runs it whole."
    nb, changed = nbformat.read(TUTORIAL, 4), 0
    for cell, (old, new) in itertools.product(nb.cells, SMALLER.items()):
        changed += old in cell.source
        cell.source = cell.source.replace(old, new)
    assert changed == 2, "the tutorial reads otherwise than this test believes"
    nbformat.write(nb, tmp_path / TUTORIAL.name)
    lab.open_notebook(tmp_path / TUTORIAL.name)
    lab.run_all()
    assert not lab.errors()
    lab.page.wait_for_selector("path[aria-roledescription='rect mark']", timeout=60_000)
    live = lab.page.locator(".jp-OutputArea svg.marks path[aria-roledescription='rect mark']")
    labels = live.evaluate_all("marks => marks.map(m => m.getAttribute('aria-label'))")
    assert len(labels) > 20 and any(re.search(r"Layer: \d+", label) for label in labels), labels[:3]
    cell = ".probe-nb-alive path[aria-label^='Token: last_q; Layer: 5;']:not([stroke='#ff7f0e'])"
    lab.page.locator(cell).click(timeout=60_000)
    lab.wait_for_text("Layer 5 · last_q", ".probe-nb-alive .probe-nb-facts")
    lab.wait_for_text("right, ", ".probe-nb-alive .probe-nb-facts")
    lab.picture("tutorial")


def test_dev_py_lab_opens_the_first_tutorial(tmp_path):
    "What a browser would be told to open; here the browser is a script that writes it down."
    script = "import sys, pathlib; pathlib.Path(__file__).with_name('opened').write_text(sys.argv[1])"
    (tmp_path / "browser.py").write_text(script)
    port, log, opened = free_port(), tmp_path / "log.txt", tmp_path / "opened"
    env = os.environ | {name: str(tmp_path) for name in FOLDERS} | {"BROWSER": f"{sys.executable} {tmp_path / 'browser.py'} %s"}
    command = [sys.executable, ROOT / "dev.py", "lab", f"--port={port}", "--ServerApp.port_retries=0",
               f"--IdentityProvider.token={TOKEN}"]
    content = f"http://127.0.0.1:{port}/api/contents/nbs/tutorials/{TUTORIAL.name}?token={TOKEN}&content=0"
    with open(log, "w") as out, subprocess.Popen(command, stdout=out, stderr=out, stdin=subprocess.DEVNULL, env=env) as process:
        try:
            wait_for_server(content, process, log)
            for _ in range(100):
                if opened.exists() and opened.read_text(): break
                time.sleep(0.1)
            page = Path(opened.read_text().removeprefix("file://")).read_text()
        finally: process.terminate()
    assert f"/lab/tree/nbs/tutorials/{TUTORIAL.name}" in page


@pytest.mark.slow
def test_dev_py_demo_writes_a_map_and_an_offline_page(browser, tmp_path):
    told = subprocess.run([sys.executable, ROOT / "dev.py", "demo", tmp_path / "demo"], capture_output=True, text=True)
    assert told.returncode == 0, told.stderr[-3000:]
    best = re.search(r"Best cell: layer (\d+), position (\S+), AUC ([\d.]+) \(95% interval ([\d.]+) to ([\d.]+)\)", told.stdout)
    assert best and float(best[4]) < float(best[5]), told.stdout
    assert (tmp_path / "demo" / "map.png").read_bytes().startswith(b"\x89PNG")
    page, asked = browser.new_page(), []
    page.on("request", lambda r: asked.append(r.url))
    page.goto((tmp_path / "demo" / "demo.html").as_uri())
    page.wait_for_selector("path[aria-roledescription='rect mark']")
    page.close()
    elsewhere = [url for url in asked if not url.startswith(("file:", "data:", "blob:"))]
    assert not elsewhere
