"""Rows about gradient descent: one gradient, and many steps."""

import numpy as np

import moenoise as mn
from moenoise import _core

from . import machine
from .row import Floor, Rival, Row

PART = 20
"""Many steps of the loop take long, so its time is that of one in so many of them."""


def problem(n, d):
    """(X, y, coef) of standard normals."""
    return (mn.standard_normal((n, d), rng=0), mn.standard_normal(n, rng=0, stream=1),
            mn.standard_normal(d, rng=0, stream=2))


def gradient(quick):
    """One gradient, of a matrix about as large as a cache, and of one far larger."""
    shapes = [(600, 1000), (1000, 2000)] if quick else [(1200, 4000), (4000, 8000)]
    for (n, d), goal in zip(shapes, (2.2, 1.8)):
        yield gradient_row(n, d, goal)


def gradient_row(n, d, goal):
    X, y, coef = problem(n, d)
    return Row(
        work="gradient X'(X b - y)",
        setting=f"{n} x {d}, {X.nbytes / 1e6:.0f} MB",
        name="moenoise._core.gradient",
        ours=lambda: _core.gradient(X, y, coef),
        rivals=[Rival("two @ in NumPy", lambda: X.T @ (X @ coef - y), goal)],
        floor=Floor("one read of X", runs=machine.reads(X), goal=0.8),
    )


def descent(quick):
    """Many steps with a given step size."""
    n, d, many = (300, 1000, (200, 1000)) if quick else (1200, 4000, (1000, 5000))
    for steps, goal in zip(many, (10, 18)):
        yield descent_row(n, d, steps, goal)


def descent_row(n, d, steps, goal):
    X, y, _ = problem(n, d)
    side = min(n, d)
    step_size = 1 / np.linalg.norm(X, 2) ** 2
    return Row(
        work="gradient descent",
        setting=f"{n} x {d}, {steps:,} steps",
        name="mn.gradient_descent",
        ours=lambda: mn.gradient_descent(X, y, steps=steps, step_size=step_size).coef,
        rivals=[Rival("the loop in NumPy", lambda: loop(X, y, steps // PART, step_size), goal, times=PART,
                      check=lambda: loop(X, y, steps, step_size))],
        # Forming the smaller Gram matrix and making it tridiagonal; a step is then nearly nothing.
        floor=Floor("the flops of a tridiagonal Gram matrix", machine.flops(n * d * side + 4 / 3 * side**3)),
    )


def loop(X, y, steps, step_size):
    coef = np.zeros(X.shape[1])
    for _ in range(steps):
        coef -= step_size * (X.T @ (X @ coef - y))
    return coef
