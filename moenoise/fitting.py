"""A block model from data: with the rows' experts, or without by expectation maximisation."""

import warnings
from typing import NamedTuple

import numpy as np
import scipy.linalg
from sklearn.exceptions import ConvergenceWarning

from . import _em, _validation
from ._estimating import warn_of_means
from ._experts import LinearExperts, expected_error
from .model import BlockModel

# Of a covariance; beyond it the normal equations leave six digits or fewer.
WORST_CONDITION = 1e10


class BlockModelFit(NamedTuple):
    """Result of `fit_block_model`.

    Attributes
    ----------
    model : BlockModel
        The fitted model, its noise variance that of the features given.
    posterior : (n, k) array
        Each row's probabilities of the experts given its features and its response; ones and zeros where the experts
        were given.
    error_variances : (k,) array
        Mean squared error, on the rows given, of each expert's best linear prediction from its noisy features; a
        variance. More than the model says where the response has noise of its own.
    log_likelihood : (iterations,) array
        After each pass over the rows, of the best start. One number where the experts were given.
    starts : (n_starts,) array
        The last log-likelihood of each start; -inf where a covariance became singular.
    converged : bool
        Whether the best start met `tol` within `max_iter` passes.
    dead : tuple of int
        The experts that have fewer rows than features left, and are in the model with a probability of half a row
        and no signal.
    """

    model: BlockModel
    posterior: np.ndarray
    error_variances: np.ndarray
    log_likelihood: np.ndarray
    starts: np.ndarray
    converged: bool
    dead: tuple


def fit_block_model(X, y, block_sizes, expert=None, *, noise_variance=None, n_starts=4, max_iter=200, tol=1e-5,
                    rng=0, jobs=None, progress=True):
    r"""A block model fitted to noisy features and their response, with or without the rows' experts (beyond the paper).

    Without `expert` the model's own likelihood is climbed by expectation maximisation. The gate is that of
    `moenoise.QDARouter`, to which the response adds what it tells of the expert::

        log p_i + log N(x_i; 0, C_i) + log N(the other features; 0, s I) + log N(y; w_i' x_i, t_i)

    with ``C_i = Sigma_i + s I`` and s the noise variance. One pass over the rows gives the posterior probabilities of
    the experts and, with them as weights, the next parameters. The likelihood never decreases, but where an expert
    dies. The best of several starts is kept, the first from the blocks' energies: a row starts with the expert whose
    block is unusually large.

    Parameters
    ----------
    X : array-like (n, d)
        Noisy features, blocks side by side. The model's means are zero, so none is subtracted: centre X and y first
        where theirs are not.
    y : array-like (n,)
    block_sizes : array-like (k,) of int
        The number of features of each expert, in order; they sum to d.
    expert : array-like (n,) of int, optional
        The expert of each row, 0 to k - 1. With them the fit is one weighted least-squares problem an expert.
    noise_variance : float > 0, optional
        Of the features, per entry; required where there is one block. Default: estimated, from the features outside
        the rows' own blocks.
    n_starts : int >= 1, default 4
    max_iter : int >= 1, default 200
        Passes over the rows, at most, of each start.
    tol : float >= 0, default 1e-5
        A start has converged where the log-likelihood, divided by n, grows by less in a pass.
    rng : None, int, SeedSequence or Generator, default 0
        Where the starts after the first get their disorder from.
    jobs : int, optional
        Threads; default: as many as this process may use cores. The result has the same bits for any number.
    progress : bool, default True
        Whether a fit that takes more than a second shows a progress bar.

    Returns
    -------
    BlockModelFit
        Named tuple. `model`: the `BlockModel`. `posterior` (n, k): the rows' probabilities of the experts given
        features and response. `error_variances` (k,): the experts' mean squared errors; what they have above the
        model's own, ``s beta_i' w_i``, is noise of the response, which a `BlockModel` has not: risks and standard
        deviations that follow from the model lack it. `log_likelihood` after each pass, `starts` (the last one of each
        start), `converged`, and `dead`, the experts that no rows were left to.

    Raises
    ------
    TypeError, ValueError
        Where an argument has the wrong kind, shape or range; where an expert that is given has too few rows or a
        singular covariance (the message names it).

    Warns
    -----
    UserWarning
        Where a mean of X or y is far from zero; where an expert dies: fewer than ``d_i + 2`` rows are left to it in
        every start.
    sklearn.exceptions.ConvergenceWarning
        Where the best start has not converged.
    scipy.linalg.LinAlgWarning
        Where the features of an expert nearly depend on each other, so that its coefficients have few correct digits.

    Notes
    -----
    ``Sigma_i = C_i - s I``, with eigenvalues below zero set to zero, and ``beta_i = Sigma_i^-1 C_i w_i``. Where an
    eigenvalue of ``Sigma_i`` is below its own standard error, ``sqrt(2 / n_i)`` times that of ``C_i``, the division is
    by the standard error: nothing is known of beta in that direction, and it would be arbitrarily large. The model's
    own ``w_i`` are smaller there than the fitted ones.

    Examples
    --------
    >>> import moenoise as mn
    >>> truth = mn.BlockModel.toeplitz(32, 4, scale=2.0, rng=0)
    >>> sample = truth.sample(2000, rng=1)
    >>> fit = mn.fit_block_model(sample.features, sample.response, truth.block_sizes)
    >>> fit.converged, fit.dead, round(fit.model.noise_variance, 1)
    (True, (), 1.0)
    >>> bool((fit.posterior.argmax(axis=1) == sample.expert).mean() > 0.85)
    True
    """
    X = _validation.as_array(X, "X", 2)
    y = _validation.as_array(y, "y", 1)
    if len(y) != len(X):
        raise ValueError(f"y must have one entry a row of X, {len(X)}, got {len(y)}")
    block_sizes = _validation.as_block_sizes(block_sizes, X.shape[1])
    if noise_variance is not None:
        noise_variance = _validation.as_scalar(noise_variance, "noise_variance", low=0, open_low=True)
    elif len(block_sizes) == 1:
        raise ValueError("noise_variance must be given where there is one block: no feature is noise alone")
    settings = as_settings(n_starts, max_iter, tol, jobs, progress)
    warn_of_means(X, y[:, None], fit_intercept=False, stacklevel=3)
    settings |= {"noise_variance": noise_variance, "fit_intercept": False, "rng": rng}
    if expert is None:
        start, starts, dead = fit_by_em(X, y[:, None], block_sizes, stacklevel=3, **settings)
    else:
        expert = _validation.as_expert(expert, len(X), len(block_sizes))
        start, starts, dead = _fit_labelled(X, y[:, None], block_sizes, expert, **settings)
    parameters = with_the_dead(start.parameters, len(X))
    return BlockModelFit(_as_model(parameters, dead), start.posterior, _variances(parameters)[:, 0],
                         start.log_likelihood, starts, start.converged, dead)


def as_settings(n_starts, max_iter, tol, jobs, progress, *, names=("jobs", "progress")):
    """The checked settings of EM, as keyword arguments of `_em.fit`; `names`: what the user calls the last two."""
    return {
        "n_starts": _validation.as_integer(n_starts, "n_starts", low=1),
        "max_iter": _validation.as_integer(max_iter, "max_iter", low=1),
        "tol": _validation.as_scalar(tol, "tol", low=0),
        "jobs": _validation.as_jobs(jobs, names[0]),
        "progress": _validation.as_flag(progress, names[1]),
    }


def fit_by_em(X, Y, block_sizes, *, stacklevel, **settings):
    """(start, log-likelihoods of all starts, the dead experts) of `_em.fit`, with warnings of what went wrong."""
    start, starts = _em.fit(X, Y, block_sizes, **settings)
    if not start.converged:
        warnings.warn(f"EM has not converged in {len(start.log_likelihood)} passes: raise max_iter, or tol",
                      ConvergenceWarning, stacklevel=stacklevel)
    dead = tuple(np.flatnonzero(start.parameters.probabilities == 0).tolist())
    if dead:
        warnings.warn(f"experts {', '.join(map(str, dead))} have died: too few rows are likely theirs to fit them. Use "
                      "fewer blocks or more rows, or give expert", stacklevel=stacklevel)
    _warn_of_dependent_features(start.parameters, stacklevel + 1)
    return start, starts, dead


def _fit_labelled(X, Y, block_sizes, expert, **settings):
    """As `fit_by_em`, for given experts."""
    counts = _validation.check_every_expert_has_rows(expert, len(block_sizes))
    for i, (count, size) in enumerate(zip(counts, block_sizes)):
        if count < size + 2:
            raise ValueError(f"expert {i} has {count} rows and {size} features: it needs at least {size + 2} rows")
    start = _em.fit_labelled(X, Y, block_sizes, expert, **settings)
    _warn_of_dependent_features(start.parameters, 4)
    return start, start.log_likelihood, ()


def _warn_of_dependent_features(parameters, stacklevel):
    """Here coefficients come from normal equations, without the fallback of `moenoise.block_lstsq`."""
    for i, covariance in enumerate(parameters.covariances):
        if np.linalg.cond(covariance) > WORST_CONDITION:
            warnings.warn(f"the features of expert {i} nearly depend on each other: its coefficients have few correct "
                          "digits", scipy.linalg.LinAlgWarning, stacklevel=stacklevel)


def with_the_dead(parameters, n):
    """Parameters in which an expert that has died has no signal, and the probability of half a row."""
    dead = parameters.probabilities == 0
    if not dead.any():
        return parameters
    probabilities = np.where(dead, 0.5 / n, parameters.probabilities)
    return parameters._replace(probabilities=probabilities / probabilities.sum())


def as_experts(parameters, dead, Y, Y_mean, *, fit_intercept):
    """The `LinearExperts` of parameters fitted to Y, from which Y_mean had been subtracted, at the noise of the fit."""
    sizes, counts, m = list(map(len, parameters.covariances)), parameters.counts, parameters.errors.shape[1]
    X_means, y_means = [np.zeros(size) for size in sizes], np.zeros((len(sizes), m))
    covariances = [covariance.copy() for covariance in parameters.covariances]
    errors = _variances(parameters)
    for i, (size, count, moment) in enumerate(zip(sizes, counts, parameters.moments)):
        if i in dead:
            errors[i] = (Y**2).mean(axis=0)
            continue
        if fit_intercept:
            X_means[i], y_means[i] = moment[size, :size] / count, moment[size, size + 1:] / count
            covariances[i] -= np.outer(X_means[i], X_means[i])
        errors[i] = expected_error(count * errors[i], count, size, fit_intercept=fit_intercept)
    return LinearExperts(np.array(sizes, dtype=np.intp), covariances, parameters.coef, np.concatenate(X_means),
                         y_means + Y_mean, errors, np.maximum(counts, 1e-300), parameters.noise_variance)


def _variances(parameters):
    """(k, m) of the responses around the experts' predictions; a difference, which rounding may leave below zero."""
    return np.maximum(np.diagonal(parameters.errors, axis1=1, axis2=2), 0.0)


def _as_model(parameters, dead):
    covariances, coefficients = [], []
    for i, (covariance, coef, count) in enumerate(zip(parameters.covariances, parameters.coef, parameters.counts)):
        if i in dead:
            clean, beta = np.zeros_like(covariance), np.zeros(len(coef))
        else:
            clean, beta = _clean(covariance, coef[:, 0], parameters.noise_variance, count)
        covariances.append(clean)
        coefficients.append(beta)
    return BlockModel(covariances, coefficients, parameters.probabilities, parameters.noise_variance)


def _clean(covariance, coef, noise_variance, count):
    """(Sigma, beta) of one block, from the noisy C and w = C^-1 Sigma beta."""
    signal, vectors, growth = clean_spectrum(covariance, noise_variance, count)
    return (vectors * signal) @ vectors.T, vectors @ (growth * (vectors.T @ coef))


def clean_spectrum(covariance, noise_variance, count):
    """(eigenvalues (d,) of Sigma, eigenvectors (d, d), by how much (d,) beta exceeds w along them), from the noisy C.

    Where an eigenvalue of Sigma is below its own standard error, of `count` rows, beta is that of one at it.
    """
    values, vectors = scipy.linalg.eigh(covariance)
    signal = np.maximum(values - noise_variance, 0.0)
    certain = np.maximum(signal, values * np.sqrt(2 / count))
    return signal, vectors, (signal + noise_variance) / certain
