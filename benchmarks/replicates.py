"""Rows about whole replicates of a simulation: a draw, both learning curves, their exact risks."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np

import moenoise as mn

from . import least_squares
from .fits import curve_seconds
from .row import Floor, Rival, Row

CORES = 2


def setting(quick):
    """(model, sizes): those of the claim figure-3, or smaller ones."""
    d, k, sizes = (240, 4, range(40, 801, 40)) if quick else (900, 12, range(100, 3001, 145))
    return mn.BlockModel.toeplitz(d, k, rng=0), sizes


def described(model, sizes):
    return f"d={model.d}, k={model.k}, {len(sizes)} sizes to n={sizes[-1]}"


def replicate(model, sizes, number):
    """Exact risks of the dense and of the experts' fit at every size, of one draw."""
    X, y, expert = model.sample(sizes[-1], rng=1, replicate=number, routing="balanced")
    return risks(model, mn.learning_curve(X, y, sizes),
                 mn.block_learning_curve(X, y, expert, model.block_sizes, sizes))


def twin(model, sizes, curve, sample):
    """The same, of a given sample, with a learning curve in NumPy."""
    X, y, expert = sample
    return risks(model, curve(X, y, sizes), least_squares.each_experts_curve(curve)(X, y, expert, model.blocks, sizes))


def risks(model, dense, experts):
    return mn.theory.risk(model, dense), mn.theory.risk(model, experts, estimator="sparse")


def numpy_sample(model, n, rng):
    """(X, y, expert) by NumPy, for experts that are equally likely."""
    expert = np.arange(n) % model.k
    clean = np.zeros((n, model.d))
    for i, (block, covariance) in enumerate(zip(model.blocks, model.covariances)):
        own = expert == i
        clean[own, block] = rng.standard_normal((own.sum(), len(covariance))) @ np.linalg.cholesky(covariance).T
    noise = np.sqrt(model.noise_variance) * rng.standard_normal((n, model.d))
    return clean + noise, clean @ np.concatenate(model.coefficients), expert


def figure_3(quick):
    """One replicate of the claim figure-3."""
    model, sizes = setting(quick)
    n, rng = sizes[-1], np.random.default_rng(0)
    sample = model.sample(n, rng=1, replicate=0, routing="balanced")

    def against(name, curve, goal):
        return Rival(name, lambda: twin(model, sizes, curve, numpy_sample(model, n, rng)), goal,
                     check=lambda: twin(model, sizes, curve, sample))

    width = int(model.block_sizes[0])
    own_sizes = np.bincount(sample.expert)[0] * np.array(sizes) // n
    seconds = (curve_seconds(model.d, sizes, np.float32) +
               model.k * curve_seconds(width, own_sizes.tolist(), np.float64))
    normals = n * (model.d + width)
    yield Row(
        work="one replicate",
        setting=described(model, sizes),
        name="mn.BlockModel.sample, mn.learning_curve, mn.block_learning_curve, mn.theory.risk",
        ours=lambda: replicate(model, sizes, 0),
        rivals=[
            against("NumPy, with lstsq", least_squares.each_size(least_squares.lstsq), 25),
            against("NumPy, with nested Cholesky", least_squares.nested_cholesky, 1.8),
        ],
        floor=Floor("the flops, at the rates of dgemm and sgemm, and the normals", seconds,
                    (lambda: mn.standard_normal(normals, rng=0),)),
    )


def cores(quick):
    """Replicates on two cores, as the claims run them, against one."""
    model, sizes = setting(quick)
    numbers = range(4 if quick else 6)

    def run(threads):
        with ThreadPoolExecutor(threads) as pool:
            return list(pool.map(lambda number: replicate(model, sizes, number), numbers))

    yield Row(
        work=f"{len(numbers)} replicates",
        setting=described(model, sizes),
        name=f"{CORES} threads on {CORES} cores",
        ours=lambda: run(CORES),
        rivals=[Rival("1 thread", lambda: run(1), 1.8)],
        floor=Floor("half the time of 1 thread", runs=(lambda: run(1),), times=1 / CORES),
        tolerance=0.0,
    )
