"""Squared errors of given coefficients on drawn samples: the Monte-Carlo side of the claims."""

import numpy as np


def dense_error(sample, coefficients):
    """Mean squared error of dense coefficients (k arrays (d_i,)) on all features."""
    return float(np.mean((sample.features @ np.concatenate(coefficients) - sample.response) ** 2))


def experts_error(sample, blocks, coefficients, routed=None):
    """Mean squared error of k experts, each on its own block (a slice) of the rows routed to it.

    `routed` (n,) holds the expert each row is sent to; None: its true expert.
    """
    routed = sample.expert if routed is None else routed
    total = 0.0
    for i, (block, coefficient) in enumerate(zip(blocks, coefficients)):
        rows = routed == i
        total += np.sum((sample.features[rows, block] @ coefficient - sample.response[rows]) ** 2)
    return float(total / len(sample.response))


def jackknife(statistic, replicates):
    """`statistic` of the replicates' mean, with its jackknife standard error, as (value, standard_error).

    `replicates` is (R, ...); `statistic` maps the mean over the first axis to a float.
    """
    replicates = np.asarray(replicates, dtype=float)
    count, total = len(replicates), replicates.sum(axis=0)
    left_out = np.array([statistic((total - one) / (count - 1)) for one in replicates])
    error = np.sqrt((count - 1) / count * np.sum((left_out - left_out.mean()) ** 2))
    return float(statistic(total / count)), float(error)
