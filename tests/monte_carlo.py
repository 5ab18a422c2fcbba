"""Simulation of the model in plain NumPy, and the test that holds its means against a formula."""

import functools

import numpy as np
from scipy import stats

FALSE_ALARM = 1e-6  # probability that `agrees` rejects a right formula, whatever the number of means it compares


def agrees(samples, expected, margin=0.0):
    """Whether the means of samples (m, ...) over their first axis may be `expected`.

    A two-sided z-test with Bonferroni's correction over the means. `margin` is a relative error granted on top of it
    to formulas that hold for large matrices only.
    """
    samples = np.asarray(samples)
    mean = samples.mean(axis=0)
    standard_error = samples.std(axis=0, ddof=1) / np.sqrt(len(samples))
    allowed = stats.norm.isf(FALSE_ALARM / 2 / mean.size) * standard_error + margin * np.abs(expected)
    return bool((np.abs(mean - expected) <= allowed).all())


@functools.lru_cache
def roots(model):
    """k arrays R with R R' = Sigma_i."""
    spectra = map(np.linalg.eigh, model.covariances)
    return [vectors * np.sqrt(np.maximum(values, 0.0)) for values, vectors in spectra]


def draw(model, n, rng, expert=None):
    """(noisy features (n, d), response (n,), expert (n,)); routing is random unless `expert` is given."""
    if expert is None:
        expert = rng.choice(model.k, size=n, p=model.probabilities)
    features = np.zeros((n, model.d))
    for i, (block, root) in enumerate(zip(model.blocks, roots(model))):
        rows = np.flatnonzero(expert == i)
        features[rows, block] = rng.standard_normal((len(rows), len(root))) @ root.T
    response = features @ np.concatenate(model.coefficients)
    return features + np.sqrt(model.noise_variance) * rng.standard_normal(features.shape), response, expert


def squared_errors(model, coef, n, rng, estimator="dense"):
    """(n,) squared errors of coefficients (d,) on new rows; a sparse one sees its own block only."""
    features, response, expert = draw(model, n, rng)
    if estimator == "sparse":
        features = features * (np.repeat(np.arange(model.k), model.block_sizes) == expert[:, None])
    return (response - features @ coef) ** 2


def minimum_norm_fit(features, response):
    return np.linalg.lstsq(features, response, rcond=None)[0]
