"""Grids, their cells, what a cell is known by, and its random numbers."""

import json
import pickle

import numpy as np
import pytest

import moenoise as mn
from moenoise.sweeps.grid import cell_from_text, cell_text, generator


def test_cells_are_all_combinations_the_last_axis_fastest():
    grid = mn.Grid(a=[1, 2], b=("x", "y", "z"), c=None)
    assert grid.shape == (2, 3, 1) and len(grid) == 6
    assert list(grid) == [{"a": a, "b": b, "c": None} for a in (1, 2) for b in "xyz"]
    assert grid.cell(4) == {"a": 2, "b": "y", "c": None}


def test_a_grid_without_axes_has_one_cell():
    assert list(mn.Grid()) == [{}]


@pytest.mark.parametrize("index", [-1, 6])
def test_a_cell_that_is_not_there_is_an_index_error(index):
    with pytest.raises(IndexError, match=r"0\.\.5"):
        mn.Grid(a=[1, 2], b=[1, 2, 3]).cell(index)


@pytest.mark.parametrize("value, expected", [
    (np.array([1, 2]), (1, 2)),
    (np.linspace(0, 1, 3, dtype=np.float32), (0.0, 0.5, 1.0)),
    (range(2, 4), (2, 3)),
    (np.float64(0.5), (0.5,)),
    (np.array(3), (3,)),
    ([np.bool_(True), False], (True, False)),
    ([np.str_("a")], ("a",)),
    ([(4, np.int64(8)), (6, 6)], ((4, 8), (6, 6))),
    ("abc", ("abc",)),
    ([2**63 - 1], (2**63 - 1,)),
    ([float("inf")], (float("inf"),)),
])
def test_values_are_pythons_own(value, expected):
    values = mn.Grid(a=value).axes["a"]
    assert values == expected and list(map(type, values)) == list(map(type, expected))


def test_axes_may_have_any_name_of_an_argument():
    assert mn.Grid(self=1, axes=2, index=3).cell(0) == {"self": 1, "axes": 2, "index": 3}


@pytest.mark.parametrize("axes, error, message", [
    ({"a": []}, ValueError, "a must have at least one value"),
    ({"a": [1, 1]}, ValueError, "a must have different values, got 1 twice"),
    ({"a": [1, 1.0]}, ValueError, "a must have different values"),
    ({"a": [0.5, float("nan")]}, ValueError, "a must not be NaN"),
    ({"a": [[1, 2]]}, TypeError, "a must be a value or a list of values"),
    ({"a": np.ones((2, 2))}, TypeError, "a must be"),
    ({"a": {1, 2}}, TypeError, "a must be"),
    ({"a": [1j]}, TypeError, "a must be"),
    ({"a": [b"x"]}, TypeError, "a must be"),
    ({"replicate": [1]}, ValueError, "other names than replicate, seconds"),
    ({"": [1]}, ValueError, "other names"),
    ({"a": 10**5000}, ValueError, "a must have whole numbers of 64 bits"),
])
def test_what_is_no_grid_is_refused_by_name(axes, error, message):
    with pytest.raises(error, match=message):
        mn.Grid(**axes)


def test_axes_cannot_be_changed():
    grid = mn.Grid(a=[1, 2])
    with pytest.raises(TypeError):
        grid.axes["a"] = (3,)


def test_a_grid_survives_json_and_pickle():
    grid = mn.Grid(a=[1, 2.5], b=[(1, (2, "x")), ()], c=[True, None], d="é", e=[-0.0, 1e-300], f=float("inf"))
    for copy in (mn.Grid.from_json(json.loads(json.dumps(grid.to_json()))), pickle.loads(pickle.dumps(grid))):
        assert copy == grid and list(map(cell_text, copy)) == list(map(cell_text, grid))


def test_types_make_grids_and_cells_different():
    assert mn.Grid(a=1) != mn.Grid(a=1.0) and mn.Grid(a=1) == mn.Grid(a=[1])
    assert len({cell_text({"a": value}) for value in (1, 1.0, True, "1", (1,), None)}) == 6


def test_values_of_two_types_are_found():
    assert mn.Grid(a=[1, 2], b=3).retyped(mn.Grid(a=[0.5, 2.0], b=3)) == ("a", 2, 2.0)
    assert mn.Grid(a=[1, 2]).retyped(mn.Grid(a=[0.5, 2, 3])) is None
    assert mn.Grid(a=[0.0]).retyped(mn.Grid(a=[-0.0]))[0] == "a"


def test_containment_is_by_axes_and_values():
    large = mn.Grid(a=[1, 2, 3], b=[0.5, 1.0])
    assert large.contains(mn.Grid(b=0.5, a=[3, 1])) and large.contains(large)
    assert not large.contains(mn.Grid(a=[4], b=0.5))
    assert not large.contains(mn.Grid(a=[1.0], b=0.5))
    assert not large.contains(mn.Grid(a=[1]))
    assert not mn.Grid(a=[1]).contains(large)


def test_the_text_of_a_cell_does_not_depend_on_the_order_of_axes():
    cell = {"b": (1, (2.5, "é")), "a": None}
    assert cell_text(cell) == cell_text(dict(reversed(cell.items()))) == '{"a":null,"b":[1,[2.5,"\\u00e9"]]}'
    assert cell_from_text(cell_text(cell)) == cell


def test_random_numbers_depend_on_seed_cell_and_replicate():
    draws = {generator(seed, text, replicate).integers(2**63)
             for seed in (0, 1, 2**70) for text in ("{}", '{"a":1}') for replicate in range(3)}
    assert len(draws) == 18
    assert generator(0, "{}", 1).integers(2**63) == generator(0, "{}", 1).integers(2**63)


def test_random_numbers_are_the_same_on_every_machine():
    bits = generator(0, '{"a":1}', 2).bit_generator
    assert bits.random_raw(2).tolist() == [14914870940245374796, 17295548676821843063]
    assert generator(2**70, "{}", 0).bit_generator.random_raw(1).tolist() == [16539852412366733714]


def test_a_grid_says_what_it_is():
    assert repr(mn.Grid(a=[1, 2], b=3, c="x")) == "<Grid of 2 cells: a (2); b=3, c='x'>"
    assert repr(mn.Grid()) == "<Grid of 1 cell>"
