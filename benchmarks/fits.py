"""Rows about least squares: a learning curve, and the experts' fits."""

import numpy as np

import moenoise as mn

from . import least_squares, machine
from .row import Floor, Rival, Row

LOOPS = {"numpy lstsq, in a loop": least_squares.lstsq, "scipy cho_solve, in a loop": least_squares.normal_equations}


def learning_curve(quick):
    """The fits of the first n rows, for many n on both sides of n = d."""
    d, k, sizes = (240, 4, range(40, 801, 40)) if quick else (900, 12, range(100, 3001, 145))
    X, y, _ = mn.BlockModel.toeplitz(d, k, rng=0).sample(sizes[-1], rng=1)

    def against(name, curve, goal, least=None):
        return Rival(name, lambda: curve(X, y, sizes), goal, least=least)

    yield Row(
        work="learning curve",
        setting=f"d={d}, {len(sizes)} sizes to n={sizes[-1]}",
        name="mn.learning_curve",
        ours=lambda: mn.learning_curve(X, y, sizes),
        rivals=[
            against("numpy lstsq, in a loop", least_squares.each_size(least_squares.lstsq), 25),
            against("scipy lstsq with gelsy, in a loop", least_squares.each_size(least_squares.gelsy), 18),
            against("numpy pinv(X'X) X'y, in a loop", least_squares.each_size(least_squares.pinv), 38, least=2),
            against("nested Cholesky in NumPy", least_squares.nested_cholesky, 1.4),
        ],
        floor=Floor("the flops, at the rates of dgemm and sgemm", curve_seconds(d, sizes, np.float32)),
    )


def experts(quick):
    """The fits of equal experts."""
    d, k, n = (240, 4, 800) if quick else (900, 12, 3000)
    model = mn.BlockModel.toeplitz(d, k, rng=0)
    torch = imported_torch()
    extra = [] if torch is None else [("torch, batched Cholesky", least_squares.torch_batched(torch), 3)]
    goals = {"numpy lstsq, in a loop": 18, "scipy cho_solve, in a loop": 2}
    yield experts_row(model, n, goals, extra)


def uneven_experts(quick):
    """The fits of many small experts of different sizes."""
    k, n = (50, 1000) if quick else (100, 3000)
    sizes = np.arange(k) % 10 + 1
    model = mn.BlockModel([np.eye(size) for size in sizes], [np.ones(size) for size in sizes])
    yield experts_row(model, n, {"numpy lstsq, in a loop": 15, "scipy cho_solve, in a loop": 15}, ())


def experts_row(model, n, goals, extra):
    """The experts' fits of n rows, routed in balance, against the loops and whatever else is given."""
    X, y, expert = model.sample(n, rng=1, routing="balanced")
    rivals = [(name, least_squares.each_expert(LOOPS[name]), goal) for name, goal in goals.items()]
    count = sum(fit_flops(rows, size) for rows, size in zip(np.bincount(expert), model.block_sizes))
    narrow, wide = model.block_sizes.min(), model.block_sizes.max()
    widths = f"{wide}" if narrow == wide else f"{narrow} to {wide}"
    return Row(
        work="experts' fits",
        setting=f"k={model.k} of {widths} features, n={n}",
        name="mn.block_lstsq",
        ours=lambda: mn.block_lstsq(X, y, expert, model.block_sizes).coef,
        rivals=[Rival(name, lambda fits=fits: fits(X, y, expert, model.blocks), goal)
                for name, fits, goal in [*rivals, *extra]],
        floor=Floor("the flops, at dgemm's rate", machine.flops(count)),
    )


def imported_torch():
    """PyTorch on one thread, or None where it is not installed."""
    try:
        import torch
    except ImportError:
        return None
    torch.set_num_threads(1)
    return torch


def fit_flops(n, d):
    """Of one fit: the Gram matrix of the shorter side, and its Cholesky factor."""
    short = min(n, d)
    return n * d * short + short**3 / 3


def curve_seconds(d, sizes, tall_dtype):
    """Of one Gram matrix and factor for all n < d, and of one Gram matrix and a factor each for the others."""
    wide, tall = [n for n in sizes if n < d], [n for n in sizes if n >= d]
    return (machine.flops(fit_flops(wide[-1], d) if wide else 0) +
            machine.flops((tall[-1] * d**2 if tall else 0) + len(tall) * d**3 / 3, tall_dtype))
