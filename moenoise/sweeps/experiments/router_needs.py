"""What a router needs of a cell, for those experiments that fit one."""

import numpy as np

# Of the variances of signal and noise: within it no covariance is singular to rounding, and no score overflows.
MOST_RATIO = 1e8


def check_noise(cell, signal_variance=1.0):
    """Raise ValueError where the cell's noise and the signal are too far apart for a router."""
    noise = cell["noise_variance"]
    if not signal_variance / MOST_RATIO <= noise <= signal_variance * MOST_RATIO:
        raise ValueError(f"noise_variance must be within {MOST_RATIO:g} times the signal's, {signal_variance:g}, for a "
                         f"router to be fitted, got {noise:g}")


def check_rows(expert, model):
    """Raise ValueError where an expert has fewer of the n training rows, expert (n,), than a router needs of it."""
    counts, needed = np.bincount(expert, minlength=model.k), int(model.block_sizes.max())
    if counts.min() < needed:
        raise ValueError(f"n must give every expert at least d / k = {needed} rows, for a router to be fitted: expert "
                         f"{counts.argmin()} has {counts.min()} of {len(expert)}")
