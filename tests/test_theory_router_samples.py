"""The printed bound on a router's excess error: the numbers of rows that it asks for, and its scales."""

import numpy as np
import pytest

import moenoise as mn
from moenoise import theory

MODEL = mn.BlockModel([np.diag([3.0, 1.0]), [[9.0]], np.eye(5)], [np.ones(2), [1.0], np.ones(5)], noise_variance=0.5)


@pytest.mark.parametrize("delta", [0.9, 0.1, 1e-3])
def test_solves_the_printed_number_of_rows(delta):
    n, constant = 1234, 0.7
    error = theory.router_excess_bound(MODEL, n, failure_probability=delta, constant=constant)
    assert isinstance(error, float)
    largest = 9.5
    rows = (constant * largest / error) ** 2 * sum(max(d, np.log(3 / delta)) for d in (2, 1, 5))
    assert rows == pytest.approx(n)


def test_falls_with_the_root_of_the_rows():
    bounds = theory.router_excess_bound(MODEL, [100, 400, 10**12])
    assert bounds.shape == (3,)
    assert bounds[0] / bounds[1] == pytest.approx(2) and bounds[2] < 1e-4


@pytest.mark.parametrize(
    "change, name",
    [({"n": 0}, "n must"), ({"n": []}, "n must"), ({"n": [[1, 2], [3]]}, "n must"),
     ({"failure_probability": 0.0}, "failure_probability"),
     ({"failure_probability": 1.0}, "failure_probability"), ({"constant": 0.0}, "constant")],
)
def test_bad_input(change, name):
    with pytest.raises(ValueError, match=name):
        theory.router_excess_bound(**{"model": MODEL, "n": 10, **change})


def test_model_must_be_one():
    with pytest.raises(TypeError, match="model"):
        theory.router_excess_bound(3, 10)
