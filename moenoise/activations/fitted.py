r"""The block model of activations: what it is, and what it predicts for fits to n rows under added noise.

With several responses the model's coefficients are effective ones. All risks depend on the coefficients of expert i
through the squares of their parts along the eigenvectors of ``Sigma_i`` only, and add up over the responses; so a
single response whose squares are the sums has the sum of the risks.
"""

import dataclasses
from typing import NamedTuple

import numpy as np

from .. import theory
from ..fitting import clean_spectrum
from ..linear import block_lstsq
from ..model import BlockModel


class Fitted(NamedTuple):
    """A model of standardised activations, and what it leaves of the response."""

    model: BlockModel
    unexplained: np.ndarray
    """(k,) variance of the responses, summed, around the experts' best predictions beyond what the model says."""
    counts: np.ndarray
    """(k,) rows of each expert."""


class Prediction(NamedTuple):
    """Of the model, for least-squares fits: risks summed over the responses, and the share of rows routed wrongly."""

    dense: float
    sparse: float
    misrouting: float


def fit_model(features, response, expert, sizes):
    """The `Fitted` of standardised rows (n, d), blocks side by side, and centred responses (n, m).

    With ``C_i`` the second moments of an expert's rows on its block, shrunk as by Ledoit and Wolf (2004) since of few
    rows the spread of its eigenvalues is mostly chance, s the mean square of all rows outside of theirs,
    and ``w_i`` the expert's least-squares fit: ``Sigma_i`` is the positive part of ``C_i - s I`` and
    ``beta_i = Sigma_i^+ C_i w_i``, but for directions of which too little is known (`moenoise.fit_block_model`).
    """
    from sklearn.covariance import ledoit_wolf

    counts = np.bincount(expert, minlength=len(sizes))
    blocks = [slice(end - size, end) for size, end in zip(sizes, np.cumsum(sizes))]
    inside = sum((features[expert == i, block] ** 2).sum() for i, block in enumerate(blocks))
    noise_variance = float(((features**2).sum() - inside) / (counts @ (sum(sizes) - np.asarray(sizes))))
    coef = block_lstsq(features, response, expert, sizes).coef
    covariances, coefficients, unexplained = [], [], []
    for i, (block, w) in enumerate(zip(blocks, coef)):
        own, Y = features[expert == i, block], response[expert == i]
        count = len(own)
        covariance, _ = ledoit_wolf(own, assume_centered=True)
        error = ((Y - own @ w) ** 2).sum() / (count - len(w)) if count > len(w) else np.nan
        signal, vectors, growth = clean_spectrum(covariance, noise_variance, count)
        squares = growth**2 * true_squares(vectors.T @ w, signal + noise_variance, error / count)
        stated = noise_variance * np.sum(signal * squares / (signal + noise_variance))
        if stated > error:  # by chance: the model's own error cannot be more than there is
            squares, stated = squares * (error / stated), error
        covariances.append((vectors * signal) @ vectors.T)
        coefficients.append(vectors @ np.sqrt(squares))
        unexplained.append(error - stated)  # NaN where the rows are too few to tell
    model = BlockModel(covariances, coefficients, counts / counts.sum(), noise_variance)
    return Fitted(model, np.array(unexplained), counts)


def true_squares(loads, values, error):
    """(d,) squares of loads (d, m), summed over the responses, less what chance adds to them.

    That is the variance of the fit along an eigenvector of the features' covariance: `error`, the variance of the
    residuals over the number of rows, divided by the eigenvalue.
    """
    return np.maximum((loads**2).sum(axis=1) - np.nan_to_num(error) / values, 0.0)


def with_noise(model, added):
    """The model with features noisier by `added`, a variance per entry."""
    return dataclasses.replace(model, noise_variance=model.noise_variance + added)


def predict(fitted, added):
    """The `Prediction` for least-squares fits to as many rows, with noise of variance `added` on all of them.

    Noise of the response grows by ``1 + d / (n - d - 1)`` in a fit of d coefficients to n rows. That the router sends
    some rows astray costs experts what it costs those of infinitely many rows. Where an expert's features are no more
    than noise no row is its own, and the sparse risk is NaN.
    """
    model, counts = with_noise(fitted.model, added), fitted.counts
    n, p = counts.sum(), counts / counts.sum()
    rest = p @ fitted.unexplained * inflation(n, model.d)
    dense = theory.dense_risk(model, int(n)) + rest
    if not all(covariance.any() for covariance in model.covariances):
        return Prediction(float(dense), float("nan"), float("nan"))
    routed = theory.routed_risk(model)
    astray = routed.risk - theory.generalization(model).sparse
    experts = theory.expert_risk(model, counts) + fitted.unexplained * inflation(counts, model.block_sizes)
    wrong = 1 - model.probabilities @ np.diag(routed.confusion)
    return Prediction(float(dense), float(p @ experts + astray), float(wrong))


def inflation(n, d):
    """By how much least squares on n rows of d features multiplies the variance of a response's own noise."""
    n, d = np.asarray(n, dtype=float), np.asarray(d, dtype=float)
    with np.errstate(divide="ignore", invalid="ignore"):
        more, fewer = 1 + d / (n - d - 1), 1 + n / (d - n - 1)
    return np.where(n > d + 1, more, np.where(n < d - 1, fewer, np.inf))


def crossover(model):
    """The added test noise, a standard deviation, from which on dense wins if neither is fitted to it; or inf."""
    return float(np.sqrt(theory.crossover_noise(model) - model.noise_variance))
