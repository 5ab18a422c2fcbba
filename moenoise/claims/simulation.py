"""Squared errors of given coefficients on drawn samples: the Monte-Carlo side of the claims."""

import math

import numpy as np

# Standard errors are at least this: soft and hard can answer alike, but for rounding, on all the rows of a sample.
ROUNDING = 1e-12


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


def response_variance(model):
    """Variance of the response: the risk of predicting 0."""
    return float(model.probabilities @ model.signal_variances)


def over_draws(values):
    """(..., 2, m) means and standard errors of independent draws' mean, from (draws, ..., 2, m)."""
    means, errors = np.moveaxis(values, -2, 0)
    return np.stack([means.mean(axis=0), np.sqrt((errors**2).sum(axis=0)) / len(errors)], axis=-2)


def crossing(log_scales, values):
    """(scale, standard error) where the line through two independent (mean, standard error) is 0, in log scale."""
    (first, first_error), (second, second_error) = values
    slope = (second - first) / (log_scales[1] - log_scales[0])
    scale = math.exp(log_scales[0] - first / slope)
    # A change of either mean moves the root in proportion to the root's distance from the other one.
    error = math.hypot(second * first_error, first * second_error) / abs((second - first) * slope)
    return scale, scale * error
