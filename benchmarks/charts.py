"""How long a picture of a map takes, and how large it is: `python benchmarks/charts.py`; one number a line."""
import json
import time

import numpy as np
import vl_convert as vlc
import xarray as xr

from probe_nb.canvas import _compact
from probe_nb.charts import heatmap
from probe_nb.published import load_published


def a_map(layers, positions):
    "Everything that a map can say, at random."
    rng, dims, shape = np.random.default_rng(0), ("layer", "position"), (layers, positions)
    values = {k: (dims, rng.random(shape) * .6 + .4) for k in ("auc", "auc_low", "auc_high", "p_value")}
    values |= {k: (dims, rng.random(shape) > chance) for k, chance in (("above_null", .5), ("plateau", .95))}
    values |= {k: (dims, np.full(shape, n)) for k, n in (("n", 400), ("n_wrong", 130))}
    named = load_published("fig2a").position.values[:7].tolist()
    return xr.Dataset(values, dict(layer=range(layers), position=named + [str(-k) for k in range(1, positions - 6)]))


def timed(name, call):
    wall, cpu = time.perf_counter(), time.process_time()
    value = call()
    print(f"{name}: {time.perf_counter() - wall:.2f} s, processor {time.process_time() - cpu:.2f} s")
    return value


vlc.vegalite_to_png({"mark": "point", "data": {"values": []}}, vl_version="6.4")  # the converter starts once a process
for shape in ((32, 15), (64, 40)):
    m = a_map(*shape)
    heatmap(m.isel(layer=slice(2)))
    chart = timed(f"{shape} chart", lambda m=m: heatmap(m))
    spec = timed(f"{shape} specification", chart.to_dict)
    bundle, _ = timed(f"{shape} all that a notebook stores", chart._repr_mimebundle_)
    plain, written = (len(json.dumps(x, separators=(",", ":"))) for x in (spec, heatmap(m, values=True).to_dict()))
    print(f"{shape} bytes: {plain} specification, {written} with numbers, {len(json.dumps(_compact(spec)))} compact, "
          f"{len(bundle['image/png'])} PNG")
