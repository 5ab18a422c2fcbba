"""How time grows with the number of rows, features and experts: measured, with fitted exponents."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

import moenoise as mn

from .row import Effort
from .timing import interleave, summary

FULL, QUICK = Effort(1.0, 3, 21), Effort(0.05, 2, 5)


@dataclass(frozen=True)
class Growth:
    """One work at several sizes, and the exponent that counting its operations gives."""

    work: str
    along: str
    fixed: str
    values: list
    make: Callable
    """value -> what is timed"""
    expected: float


def growth(quick):
    """Each work's times along one of n, d and k."""
    return [measure(work, QUICK if quick else FULL) for work in works(4 if quick else 1)]


def works(smaller):
    """The works; all of n and d are that many times smaller."""
    n, d = 4800 // smaller, 840 // smaller
    rows = [4800 // smaller * factor for factor in (1, 2, 3, 4)]
    columns = [24 * factor // smaller for factor in (8, 12, 16, 24, 32)]
    experts = [2, 3, 5, 6, 10, 14]
    yield Growth("standard normals", "n", "", [10**6 // smaller * factor for factor in (1, 2, 4, 8)], draw, 1)
    yield Growth("dense fit", "n", f"d={d // 4}", rows, lambda n: dense_fit(n, d // 4), 1)
    yield Growth("dense fit", "d", f"n={n}", columns, lambda d: dense_fit(n, d), 2)
    yield Growth("experts' fits", "n", f"d={d}, k=6", rows, lambda n: experts_fits(n, d, 6), 1)
    yield Growth("experts' fits", "d", f"n={n}, k=6", columns, lambda d: experts_fits(n, d, 6), 2)
    yield Growth("experts' fits", "k", f"d={d}, n={n}", experts, lambda k: experts_fits(n, d, k), -2)
    yield Growth("QDA scores", "k", f"d={d}, n={n}", experts, lambda k: qda_scores(n, d, k), -1)


def draw(n):
    return lambda: mn.standard_normal(n, rng=0)


def dense_fit(n, d):
    X, y, _ = mn.BlockModel.toeplitz(d, 1, rng=0).sample(n, rng=1)
    return lambda: mn.lstsq(X, y)


def experts_fits(n, d, k):
    model = mn.BlockModel.toeplitz(d, k, rng=0)
    X, y, expert = model.sample(n, rng=1, routing="balanced")
    return lambda: mn.block_lstsq(X, y, expert, model.block_sizes)


def qda_scores(n, d, k):
    model = mn.BlockModel.toeplitz(d, k, rng=0)
    X, router = model.sample(n, rng=1).features, mn.QDARouter.from_model(model)
    return lambda: router.predict(X)


def measure(growth, effort):
    """Medians at every value, timed in turn, and the line through their logarithms; ready for JSON."""
    seconds = medians([growth.make(value) for value in growth.values], effort)
    return {"work": growth.work, "along": growth.along, "fixed": growth.fixed, "values": growth.values,
            "seconds": seconds, "expected": growth.expected, **exponent(growth.values, [s["median"] for s in seconds])}


def medians(sides, effort):
    first = [timed_twice(side) for side in sides]
    return [summary(seconds) for seconds in interleave(sides, [effort.repeats(second) for second in first])]


def timed_twice(side):
    """Seconds of the second run; the first warms up."""
    return float(interleave([side], [2])[0][1])


def exponent(values, seconds):
    """The slope of log(seconds) against log(values), and its standard error."""
    from scipy.stats import linregress

    line = linregress(np.log(values), np.log(seconds))
    return {"exponent": float(line.slope), "standard_error": float(line.stderr)}


def dense_over_experts(quick):
    """The dense fit's time over the experts', on the same rows, as k grows at fixed d: about k^2 by their flops."""
    n, d = (800, 120) if quick else (3000, 840)
    values = [2, 3, 5, 6, 10] if quick else [2, 3, 5, 6, 10, 14, 20, 28]
    dense, *experts = medians([dense_fit(n, d), *(experts_fits(n, d, k) for k in values)], QUICK if quick else FULL)
    ratios = [dense["median"] / own["median"] for own in experts]
    return {"fixed": f"d={d}, n={n}", "values": values, "dense": dense, "experts": experts, "ratios": ratios,
            "expected": 2, **exponent(values, ratios)}
