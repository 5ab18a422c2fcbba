"""Rows about threads: every kernel called by many Python threads at once, against one that does all of it."""

import math
from concurrent.futures import ThreadPoolExecutor

import numpy as np

import moenoise as mn
from moenoise import _core

from . import machine
from .row import Rival, Row

THREADS = 12
WORK, QUICK_WORK = 5e-3, 5e-4
"""Seconds for which each thread works, about, so that handing it the work does not count; two calls at least."""

INFORMATION = {"blas_info", "instruction_set", "instruction_sets"}
"""Functions of moenoise._core that compute nothing."""


def calls(quick):
    """dict, kernel -> the arguments of a call that takes a millisecond or several."""
    d, k, n, count = (64, 4, 200, 20_000) if quick else (240, 4, 1500, 200_000)
    model = mn.BlockModel.toeplitz(d, k, rng=0)
    sizes, experts = np.array([n // 4, n // 2, n]), model.block_sizes
    X, y, expert = model.sample(n, rng=1)
    factors, permutations = model.sampling_factors
    covariances, _, _ = _core.block_covariance(X, expert, experts)
    inverses, determinants = _core.qda_factor(covariances, experts)
    covariance = np.ascontiguousarray(X.T @ X)
    gate = experts, inverses, -0.5 * determinants, 1.0
    Y, per_expert, posterior = y[:, None].copy(), np.ones((k, 1)), np.full((n, k), 1 / k)
    reduction = _core.tridiagonal(X)
    return {
        "philox4x32": (np.zeros((count // 2, 4), np.uint32), np.zeros((count // 2, 2), np.uint32)),
        "uniform": (1, 0, 0, 0, count),
        "standard_normal": (1, 0, 0, 0, count),
        "balanced_assignment": (np.full(k, 1 / k), 10 * n),
        "psd_factor": (covariance,),
        "block_design": (1, 0, 0, 1, 0, expert, experts, factors, permutations, np.ones(d), 1.0),
        "spectral_block": (1, 0, 0, 1, np.ones(d), d, d),
        "all_finite": (np.tile(X, (4, 1)),),
        "lstsq": (X, Y, -1.0, _core.METHOD_AUTO),
        "block_lstsq": (X, Y, expert, experts, -1.0, _core.METHOD_AUTO),
        "learning_curve": (X, y, sizes),
        "block_learning_curve": (X, y, expert, experts, sizes),
        "gradient": (X, y, np.ones(d)),
        "gradient_descent": (X, y, np.zeros(d), 10, 1e-6, 0.0),
        "tridiagonal": (X,),
        "reduced_descent": (X, y, np.zeros(d), 1000, 1e-6, 0.0, *reduction),
        "block_covariance": (X, expert, experts),
        "qda_factor": (covariances, experts),
        "qda_scores": (X, *gate),
        "mixture_predict": (X, *gate, np.ones(d), per_expert, per_expert, False),
        "combine_experts": (X, experts, posterior, np.ones(d), per_expert, per_expert, False),
        "mixture_moments": (X, Y, *gate, np.ones(d), per_expert, per_expert[:, :, None].copy()),
        "weighted_moments": (X, Y, posterior, experts),
    }


def threads(quick):
    """Each kernel in turn; the threads have to give the same bits."""
    with ThreadPoolExecutor(THREADS) as pool:
        for name, arguments in calls(quick).items():
            yield row(pool, name, getattr(_core, name), arguments, QUICK_WORK if quick else WORK)


def row(pool, name, kernel, arguments, work):
    def repeat(times):
        return [kernel(*arguments) for _ in range(times)]

    calls = max(2, math.ceil(work / machine.seconds_of(lambda: repeat(1))))

    def together():
        return [result for own in pool.map(repeat, [calls] * THREADS) for result in own]

    return Row(
        work=f"{THREADS} Python threads",
        setting=f"{name}, {calls} calls each",
        name=f"{THREADS} threads",
        ours=together,
        rivals=[Rival("1 thread, as many calls", lambda: repeat(THREADS * calls), 1.0)],
        difference=unequal_results,
        tolerance=0,
    )


def unequal_results(ours, theirs):
    """How many of the calls' results are not the same, bit for bit."""
    return len(ours) - sum(same_bits(mine, other) for mine, other in zip(ours, theirs, strict=True))


def same_bits(ours, theirs):
    """Of one result: an array, a number, or a tuple of them."""
    if isinstance(ours, tuple):
        return len(ours) == len(theirs) and all(map(same_bits, ours, theirs))
    return np.asarray(ours).tobytes() == np.asarray(theirs).tobytes()
