"""A real browser on a real JupyterLab (and, from the same server, Notebook 7 and Voila), with every other machine out of reach.

Fixtures: `jupyter`, one server a session; `browser`, one Chromium a module (its event loop would disturb notebooks that run in
this process); `lab`, one page a test, which fails the test when the page asked for another machine."""
import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from dataclasses import dataclass
from pathlib import Path

import nbformat
import pytest

SETTINGS = {"apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
            "notebook-extension/tracker": {"windowingMode": "none"}}  # every cell stays in the page
FLAGS = ["--host-resolver-rules=MAP * ~NOTFOUND , EXCLUDE 127.0.0.1", "--disable-gpu", "--disable-quic", "--no-first-run",
         "--disable-background-networking", "--disable-component-update", "--disable-sync"]
FOLDERS = ["JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR", "JUPYTERLAB_SETTINGS_DIR",
           "JUPYTERLAB_WORKSPACES_DIR", "IPYTHONDIR"]
TOKEN = "only-for-tests"
PICTURES = os.environ.get("PROBE_NB_PICTURES")  # a folder to leave screenshots in, for a person to look at


def notebook(path, *cells):
    "A notebook of these cells, at `path`."
    nbformat.write(nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(c) for c in cells]), path)
    return path


def find_browser():
    "The path of a Chromium: the system's, else Playwright's own; None when there is neither."
    from playwright.sync_api import sync_playwright
    for name in ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable"):
        if shutil.which(name): return shutil.which(name)
    with sync_playwright() as p:
        return p.chromium.executable_path if Path(p.chromium.executable_path).exists() else None


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def wait_for_server(url, process, log, seconds=120):
    "Until `url` answers; a server that ended or stays silent fails with its log."
    for _ in range(seconds * 2):
        try: return urllib.request.urlopen(url, timeout=5).read()
        except urllib.error.HTTPError as e: pytest.fail(f"{url}: {e}")
        except OSError: time.sleep(0.5)
        if process.poll() is not None: break
    pytest.fail(f"no answer from {url}\n{log.read_text(errors='replace')[-3000:]}")


@dataclass(frozen=True)
class Jupyter:
    "A running server: its address, and the folder it shows."
    url: str
    root: Path


@pytest.fixture(scope="session")
def jupyter(tmp_path_factory):
    home = tmp_path_factory.mktemp("jupyter")
    env = os.environ | {name: str(home / name.lower()) for name in FOLDERS}
    for name, value in SETTINGS.items():
        file = Path(env["JUPYTERLAB_SETTINGS_DIR"], "@jupyterlab", name + ".jupyterlab-settings")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(value))
    root, port, log = home / "root", free_port(), home / "log.txt"
    root.mkdir()
    command = [sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}",
               "--ServerApp.port_retries=0", f"--IdentityProvider.token={TOKEN}", f"--ServerApp.root_dir={root}",
               "--LabApp.news_url=None", "--LabApp.expose_app_in_browser=True", "--JupyterNotebookApp.expose_app_in_browser=True"]
    with open(log, "w") as out, subprocess.Popen(command, env=env, stdout=out, stderr=out, stdin=subprocess.DEVNULL) as process:
        try:
            wait_for_server(f"http://127.0.0.1:{port}/api", process, log)
            yield Jupyter(f"http://127.0.0.1:{port}", root)
        finally: process.terminate()


@pytest.fixture(scope="module")
def browser(tmp_path_factory):
    from playwright.sync_api import sync_playwright
    path = find_browser()
    if not path:
        (pytest.fail if os.environ.get("CI") else pytest.skip)("no Chromium here: see CONTRIBUTING.md, browser tests")
    with sync_playwright() as p:
        context = p.chromium.launch_persistent_context(
            tmp_path_factory.mktemp("chromium"), executable_path=path, headless=True, args=FLAGS,
            viewport={"width": 1500, "height": 1000}, reduced_motion="reduce")
        yield context
        context.close()


class Lab:
    "One page of JupyterLab. Waits are for facts in the page, never for time."

    def __init__(self, page, jupyter):
        self.page, self.jupyter, self.outside = page, jupyter, []
        page.on("request", lambda r: self.note(r.url))
        page.on("websocket", lambda w: self.note(w.url))
        page.on("dialog", lambda d: d.accept())  # a changed notebook asks before its page closes

    def note(self, url):
        if url.startswith(("http", "ws")) and not url.split("://")[1].startswith("127.0.0.1"): self.outside.append(url)

    def put(self, path):
        "A copy of the notebook at `path` where the server shows it, under a name of its own."
        name = f"{time.monotonic_ns()}_{Path(path).name}"
        nb = json.loads(Path(path).read_text(encoding="utf-8"))
        # without a kernel's name JupyterLab asks for one, and waits
        nb["metadata"].setdefault("kernelspec", {"name": "python3", "display_name": "Python 3"})
        (self.jupyter.root / name).write_text(json.dumps(nb), encoding="utf-8")
        return name

    def go(self, way, name):
        "A page of the server's: `way` is that of JupyterLab (lab/tree), Notebook 7 (notebooks) or Voila (voila/render)."
        self.page.goto(f"{self.jupyter.url}/{way}/{name}?token={TOKEN}&reset", wait_until="commit", timeout=120_000)

    def open_notebook(self, path, way="lab/tree"):
        "Show a copy of the notebook at `path`, with a kernel of its own, ready to run."
        self.go(way, self.put(path))
        self.page.wait_for_function("window.jupyterapp?.shell?.currentWidget?.context", timeout=120_000)
        self.js("""(app, w) => Promise.race([
            (async () => { await w.context.ready; await w.sessionContext.ready; await w.sessionContext.session.kernel.info })(),
            new Promise((_, fail) => setTimeout(() => fail(new Error('no kernel within two minutes')), 120_000))])""")

    def js(self, function):
        "The value of `function(app, notebook)` in the page, awaited."
        return self.page.evaluate(f"() => ({function})(window.jupyterapp, window.jupyterapp.shell.currentWidget)")

    def command(self, name, **args):
        "Run one of JupyterLab's commands to its end."
        run = "([name, args]) => window.jupyterapp.commands.execute(name, args).then(() => null)"
        return self.page.evaluate(run, [name, args])

    def run_all(self): self.command("notebook:run-all-cells")

    def run_cell(self, k):
        self.js(f"(app, w) => {{ w.content.activeCellIndex = {k} }}")
        self.command("notebook:run-cell")

    def outputs(self):
        "All outputs of all cells, as the notebook would save them."
        return self.js("(app, w) => w.content.widgets.filter(c => c.outputArea).flatMap(c => c.outputArea.model.toJSON())")

    def errors(self): return [f"{o['ename']}: {o['evalue']}" for o in self.outputs() if o["output_type"] == "error"]

    def wait_for_text(self, text, where="body", seconds=30):
        seen = "([text, where]) => [...document.querySelectorAll(where)].some(e => e.textContent.includes(text))"
        self.page.wait_for_function(seen, arg=[text, where], timeout=seconds * 1000)

    def dark(self, on=True):
        name = "JupyterLab Dark" if on else "JupyterLab Light"
        self.command("apputils:change-theme", theme=name)
        self.page.wait_for_function("light => document.body.dataset.jpThemeLight === light", arg="false" if on else "true")

    def picture(self, name):
        "The page as it is now, where somebody wants to look at it."
        if PICTURES: self.page.screenshot(path=Path(PICTURES) / f"{name}.png")

    def saved(self):
        "The notebook as it lies on disk after saving."
        self.command("docmanager:save")
        return json.loads((self.jupyter.root / self.js("(app, w) => w.context.path")).read_text())

    def value(self, code):
        "The value of an expression in the notebook's kernel, as text."
        ask = "{code: '', silent: true, user_expressions: {x: " + json.dumps(code) + "}}"
        return self.js(f"""async (app, w) => {{
            const told = (await w.sessionContext.session.kernel.requestExecute({ask}).done).content.user_expressions.x;
            return told.status === 'ok' ? told.data['text/plain'] : told.evalue }}""")

    def wait_for_value(self, code, wanted, seconds=30):
        "What the page has sent reaches the kernel a moment later than another view."
        last = time.monotonic() + seconds
        while (found := self.value(code)) != wanted and time.monotonic() < last: self.page.wait_for_timeout(50)
        assert found == wanted, code

    def close(self):
        "Ends the kernel too, when the page came so far."
        end = "async () => { await window.jupyterapp?.shell?.currentWidget?.sessionContext?.shutdown(); return true }"
        try: self.page.wait_for_function(end, timeout=20_000)  # a page that is still on its way would keep `evaluate` for ever
        finally: self.page.close()


@pytest.fixture
def lab(browser, jupyter):  # in this order: without a browser no server is started
    lab = Lab(browser.new_page(), jupyter)
    try: yield lab
    finally: lab.close()
    assert not lab.outside, f"the page asked for other machines: {lab.outside[:5]}"
