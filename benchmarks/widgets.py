"""Numbers of the explorer in a real browser: first paint, click to detail, stop, the page's heap after 200 redraws.

PROBE_NB_STUDY=FOLDER python benchmarks/widgets.py     a study in FOLDER (default: runs/widgets, made when it is not there)
One number a line. Needs a Chromium (CONTRIBUTING.md, browser tests)."""
import os
import statistics
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))
from browser import browser, jupyter, lab, notebook  # noqa: E402, F401  the fixtures

FOLDER = str(Path(os.environ.get("PROBE_NB_STUDY", ROOT / "runs/widgets")).resolve())

CODE = """import time
start = time.monotonic()
from probe_nb.study import Study
from probe_nb.widgets import Explorer
study = Study({folder!r}, progress=False)
pmap, imported, used = study.map(), time.monotonic(), time.process_time()
explorer = study.explore()
explorer"""

STOP = """import time
from probe_nb.study import Study
from probe_nb.widgets import Explorer
explorer = Explorer(Study({folder!r}, progress=False))
explorer"""


def wait_for(lab, code, seconds=300):  # noqa: F811
    last = time.monotonic() + seconds
    while lab.value(code) != "True" and time.monotonic() < last: lab.page.wait_for_timeout(100)


def told(what, took): print(f"{what}, ms: median {statistics.median(took):.0f} of {sorted(took)}; load {os.getloadavg()[0]:.1f}")


class Numbers:
    def test_clicks(self, lab, tmp_path):  # noqa: F811
        from test_explorer_browser import CARD, CLICKS, OUTLINE, at
        lab.open_notebook(notebook(tmp_path / "numbers.ipynb", CODE.format(folder=FOLDER)))
        lab.run_all()
        assert not lab.errors(), lab.errors()
        lab.page.wait_for_selector(OUTLINE, timeout=60_000)
        print("\nfirst paint, from import to the outlined cell, s", lab.value("round(time.monotonic() - imported, 2)"))
        print("of that the kernel's processor, s", lab.value("round(time.process_time() - used, 2)"), "load", os.getloadavg()[0])
        print("imports and opening, s", lab.value("round(imported - start, 2)"))
        lab.page.wait_for_timeout(1000)
        places = [(n, t) for n in (1, 3, 5) for t in ("exact_answer_last", "-1", "second_answer", "last_q")]
        cells = [at(*place) for place in places]
        told("click to numbers, scores being made", lab.page.evaluate(CLICKS, [cells, CARD]))
        wait_for(lab, f"all(place in explorer._scoring.of for place in {places})")
        told("click to numbers, scores made before", lab.page.evaluate(CLICKS, [cells[-2::-1], CARD]))
        told("click to curve, scores made before", lab.page.evaluate(CLICKS, [cells[1:], ".probe-nb-cell .probe-nb-chart"]))
        session = lab.page.context.new_cdp_session(lab.page)
        def heap():
            session.send("HeapProfiler.collectGarbage")
            return session.send("Runtime.getHeapUsage")["usedSize"] / 2**20
        before = heap()
        lab.value("[(setattr(explorer, 'metric', m), time.sleep(.05)) for _ in range(100) for m in ('accuracy', 'auc')] and 0")
        lab.page.wait_for_timeout(30_000)
        print(f"heap, MB: {before:.1f} before, {heap():.1f} after 200 redraws")

    def test_stop(self, lab, tmp_path):  # noqa: F811
        from test_explorer_browser import STOPPED
        lab.open_notebook(notebook(tmp_path / "stop.ipynb", STOP.format(folder=str(tmp_path / "study"))))
        lab.run_all()
        run = lab.page.locator(".probe-nb-top").get_by_role("button", name="Run")
        took, at = [], []
        for k in range(8):
            lab.page.wait_for_timeout(1500 + 1000 * k)
            if lab.value("explorer.busy") == "False": break
            at.append(lab.value("explorer.status"))
            took.append(lab.page.evaluate(STOPPED))
            run.click()
        told("Stop to stopped", took)
        print("\n".join(f"  {t} ms at {s}" for t, s in zip(took, at)))


def main():
    sys.exit(pytest.main(["-q", "-s", "-p", "no:cacheprovider", "-o", "python_classes=Numbers", "--timeout=550",
                          *sys.argv[1:], __file__]))


if __name__ == "__main__": main()
