"Activations with some rows read again: whatever is asked of them is what the whole would give."
import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given
from hypothesis import strategies as st

from probe_nb.patches import moved, patched


def cube(n, seed, example):
    values = np.random.default_rng(seed).normal(size=(n, 3, 4, 5)).astype(np.float32)
    return xr.DataArray(values, dims=("example", "position", "layer", "feature"),
                        coords=dict(example=example, position=np.array(["a", "b", "c"], object), layer=[0, 2, 5, 6]),
                        attrs=dict(site="resid"))


slices = st.slices(3).filter(lambda s: (s.step or 1) > 0)  # xarray itself stumbles over some that go backwards
axis = st.one_of(st.none(), st.integers(0, 2), st.lists(st.integers(0, 2), min_size=1, max_size=4), slices)


@given(st.lists(st.integers(0, 7), unique=True, max_size=8), axis, axis, axis)
def test_any_selection_is_that_of_the_whole(some, e, p, layer):
    acts, part = cube(8, 0, np.arange(8) * 3), cube(len(some), 1, np.array(some, int) * 3)
    want = acts.copy(deep=True)
    if some: want.loc[dict(example=part["example"])] = part
    got = patched(acts, part)
    asked = {d: k for d, k in zip(("example", "position", "layer"), (e, p, layer)) if k is not None}
    xr.testing.assert_identical(got.isel(asked).load(), want.isel(asked))


def test_nothing_of_the_whole_is_read_before_it_is_asked_for():
    acts = cube(8, 0, np.arange(8))
    got = patched(acts, cube(1, 1, [3]))
    assert not isinstance(got.variable._data, np.ndarray)
    assert got.attrs == acts.attrs and got.isel(example=3, layer=1).shape == (3, 5)


def test_a_part_that_does_not_fit_is_refused():
    acts = cube(4, 0, np.arange(4))
    with pytest.raises(ValueError, match="example 9 of the part"): patched(acts, cube(1, 1, [9]))
    with pytest.raises(ValueError, match="other layers"): patched(acts, cube(1, 1, [1]).isel(layer=[0, 1]))


def test_what_moved():
    was = pd.DataFrame(dict(example=[1, 1, 2, 2], position=["a", "b"] * 2, start=[3, pd.NA, 5, 6], stop=[4, pd.NA, 6, 7]))
    assert moved(was, was) == [] and moved(was, was.iloc[::-1]) == []
    now = was.astype({"start": object})
    now.loc[1, ["start", "stop"]] = 3, 4  # one that was missing is there
    assert moved(was, now) == [1]
    assert moved(was, was.assign(stop=[4, pd.NA, 6, 8])) == [2]
