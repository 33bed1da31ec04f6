"""Numbers of the explorer in a real browser: first paint, click to detail, stop, the page's heap after 200 redraws.

PROBE_NB_STUDY=FOLDER python benchmarks/widgets.py     a study in FOLDER (default: runs/widgets, made when it is not there)
One number a line. Needs a Chromium (CONTRIBUTING.md, browser tests)."""
import os
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests"))
from browser import browser, jupyter, lab  # noqa: E402, F401  the fixtures

FOLDER = str(Path(os.environ.get('PROBE_NB_STUDY', ROOT / 'runs/widgets')).resolve())

CODE = """import time
start = time.monotonic()
from probe_nb.study import Study
from probe_nb.widgets import Explorer
study = Study({folder!r}, progress=False)
pmap, imported = study.map(), time.monotonic()
explorer = study.explore()
explorer"""


class Numbers:
    def test_widgets(self, lab, tmp_path):  # noqa: F811
        import time

        from test_explorer_browser import CARD, CLICKS, OUTLINE, at, kernel, notebook
        lab.open_notebook(notebook(tmp_path / "numbers.ipynb", CODE.format(folder=FOLDER)))
        lab.run_all()
        assert not lab.errors(), lab.errors()
        lab.page.wait_for_selector(OUTLINE, timeout=60_000)
        print("\nfirst paint, from import to the outlined cell, s", kernel(lab, "round(time.monotonic() - imported, 2)"))
        print("imports and opening, s", kernel(lab, "round(imported - start, 2)"))
        cells = [at(n, t) for n in (1, 3, 5) for t in ("exact_answer_last", "-1", "second_answer", "last_q")]
        took = sorted(lab.page.evaluate(CLICKS, [cells, CARD]))
        print("click to numbers, ms: median", took[len(took) // 2], "of", took)
        for _ in range(240):
            if kernel(lab, "explorer._scoring.lane.thread.is_alive()") == "False": break
            time.sleep(.5)
        took = sorted(lab.page.evaluate(CLICKS, [cells[::-1], ".probe-nb-cell svg"]))
        print("click to curve, scores made before, ms: median", took[len(took) // 2], "of", took)
        session = lab.page.context.new_cdp_session(lab.page)
        def heap():
            session.send("HeapProfiler.collectGarbage")
            return session.send("Runtime.getHeapUsage")["usedSize"] / 2**20
        before = heap()
        kernel(lab, "[(setattr(explorer, 'metric', m), time.sleep(.02)) for _ in range(100) for m in ('accuracy', 'auc')] and 0")
        time.sleep(20)
        print(f"heap, MB: {before:.1f} before, {heap():.1f} after 200 redraws")


def main():
    sys.exit(pytest.main(["-q", "-s", "-p", "no:cacheprovider", "-o", "python_classes=Numbers", "--timeout=550", __file__]))


if __name__ == "__main__": main()
