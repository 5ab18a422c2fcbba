"""The best predictor under noise of a given law: gate and experts made for that law (not a claim of its own).

For blocks of uncorrelated features, ``Sigma_i = l_i I``. With f the noise's density, h_i that of a noisy feature of
block i (f convolved with ``N(0, l_i)``) and u a feature::

    gate    :  log q_i(x) = log p_i + sum_{u in block i} (log h_i(u) - log f(u)) + const
    feature :  E[clean | u] = -l_i (log h_i)'(u)                    by Stein's identity, the clean one being normal
    response:  E[y | x] = sum_i q_i(x) sum_{a in block i} beta_a E[clean_a | u_a]

Everything here is in units of the noise's standard deviation.
"""

import functools
import math

import numpy as np
from scipy.interpolate import CubicSpline
from scipy.special import log_ndtr, logsumexp

# The density of a point mass, in logarithms: any number that no likelihood outweighs, and its opposite beside the mass.
POINT_MASS = 1e6

# Where Student's convolution is tabulated: beyond, noise is all there is.
TABLE_END, TABLE_SIZE = 1e3, 600


def log_density(law, u):
    """Logarithm of the density of noise of variance 1."""
    if law == "gaussian":
        return -0.5 * u * u - 0.5 * math.log(2 * math.pi)
    if law == "laplace":
        return -math.sqrt(2) * np.abs(u) - 0.5 * math.log(2)
    if law == "student-t":
        return math.log(8 / (3 * math.pi * math.sqrt(3))) - 3 * np.log1p(u * u / 3)
    return np.where(np.abs(np.abs(u) - 1) < 1e-9, POINT_MASS, -POINT_MASS)


def noisy_feature(law, u, variance):
    """(log h(u), (log h)'(u)): of a normal of that variance plus noise of variance 1."""
    if law == "gaussian":
        return -0.5 * u * u / (variance + 1) - 0.5 * math.log(2 * math.pi * (variance + 1)), -u / (variance + 1)
    if law == "laplace":
        return _laplace_feature(u, variance)
    if law == "student-t":
        table = _student_table(variance)
        inside = np.clip(np.abs(u), 0, TABLE_END)
        return table(inside), np.sign(u) * table(inside, 1)
    both = np.logaddexp(u / variance, -u / variance) - 0.5 * (u * u + 1) / variance
    return both - 0.5 * math.log(8 * math.pi * variance), -(u - np.tanh(u / variance)) / variance


def _laplace_feature(u, variance):
    """A normal plus a Laplace variable: the convolution's two halves, each an exponential times a normal tail."""
    deviation, rate = math.sqrt(variance), math.sqrt(2)
    right = -rate * u + log_ndtr(u / deviation - rate * deviation)
    left = rate * u + log_ndtr(-u / deviation - rate * deviation)
    total = np.logaddexp(left, right)
    # The derivatives of the two normal tails cancel.
    return total + variance + math.log(rate / 2), rate * (np.exp(left - total) - np.exp(right - total))


@functools.cache
def _student_table(variance):
    """Spline of log h on [0, TABLE_END], by the trapezoidal rule over the clean feature: it is exact to rounding."""
    deviation = math.sqrt(variance)
    at = np.sinh(np.linspace(0, math.asinh(TABLE_END), TABLE_SIZE))
    clean = np.linspace(-9, 9, 2 * math.ceil(60 * max(deviation, 1)) + 1) * deviation
    weights = np.exp(-0.5 * (clean / deviation) ** 2)
    density = np.exp(log_density("student-t", at[:, None] - clean))
    return CubicSpline(at, np.log(density @ weights / weights.sum()), bc_type=((1, 0.0), "not-a-knot"))


def predict(model, law, X):
    """Gate and prediction of the best predictor, for a model of uncorrelated features.

    Parameters
    ----------
    model : BlockModel
        Each covariance a positive multiple of the identity; positive noise variance.
    law : str
        One of the names that `BlockModel.sample` knows.
    X : (n, d) array

    Returns
    -------
    gate : (n, k) array
        Each row's probability of each expert.
    response : (n,) array
        ``E[y | x]``.
    """
    deviation = math.sqrt(model.noise_variance)
    scores, answers = np.empty((2, len(X), model.k))
    for i, (block, covariance, beta) in enumerate(zip(model.blocks, model.covariances, model.coefficients)):
        u, variance = X[:, block] / deviation, covariance[0, 0] / model.noise_variance
        logarithm, slope = noisy_feature(law, u, variance)
        scores[:, i] = np.log(model.probabilities[i]) + (logarithm - log_density(law, u)).sum(axis=1)
        answers[:, i] = -variance * deviation * slope @ beta
    gate = np.exp(scores - logsumexp(scores, axis=1, keepdims=True))
    return gate, (gate * answers).sum(axis=1)
