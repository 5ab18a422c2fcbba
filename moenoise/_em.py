"""Fits a mixture of linear experts on feature blocks by expectation maximisation, when nobody knows the rows' experts.

Row r belongs to expert z with probability ``p_z``; its features are ``N(0, C_z)`` on block z and noise of variance s
each elsewhere; its responses are ``N(b_z + w_z' x_z, T_z)``. Each pass over the rows finds their posterior
probabilities of the experts and, in the same pass, the weighted moments of ``[x_i, 1, y]`` that all the next parameters
follow from. Every step is an exact maximum, so the likelihood cannot decrease.
"""

import contextlib
import itertools
import math
from collections import deque
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

import numpy as np
import scipy.linalg

from . import _core
from ._progress import progress_bar
from ._random import Stream, philox_key
from .router import NEVER

PANEL = 2048
"""Rows of one task at least, whatever the number of threads: sums have the same bits for any."""
MOST_PANELS = 64

FLOOR = 1e-8
"""Least variance of responses around an expert, over their mean square: an exact response has no likelihood."""

SMOOTHING = 0.1
"""Share of each row that a start gives to all experts alike, so that none begins with too few rows."""

# What is left of a difference of sums of squares where they are equal to rounding, relative.
CANCELLED = 1e-12

# A decrease of the likelihood that rounding alone explains, relative to its terms.
ROUNDING = 1e-9


class Parameters(NamedTuple):
    """A mixture of k experts on m responses."""

    covariances: list
    """k arrays (d_i, d_i), ``C_i``: second moments of the noisy block, signal included."""
    noise_variance: float
    probabilities: np.ndarray
    """(k,), 0 for an expert that has died."""
    coef: list
    """k arrays (d_i, m)"""
    intercepts: np.ndarray
    """(k, m)"""
    errors: np.ndarray
    """(k, m, m) covariances of the responses around the experts' predictions; as densities they have a floor."""
    moments: list
    """k arrays (d_i + 1 + m, d_i + 1 + m): the weighted sums of products of [x_i, 1, y] behind all these."""

    @property
    def counts(self):
        """(k,) how many rows each expert has, in sum of posterior probabilities."""
        return np.array([moment[size, size] for moment, size in zip(self.moments, map(len, self.covariances))])


class Start(NamedTuple):
    """Where one start of EM ended."""

    parameters: Parameters
    posterior: np.ndarray
    """(n, k) probabilities of the experts given each row's features and response."""
    log_likelihood: np.ndarray
    """After each pass over the rows."""
    converged: bool


class Degenerate(ValueError):
    """A start that led nowhere: an expert's covariance is singular, or rounding spoilt a step."""


def _singular(reason):
    return Degenerate(f"X must have blocks of full rank, but {reason}: drop constant, zero and repeated columns, or "
                      "give more rows")


class Problem:
    """The data of one fit, and the threads that go over them.

    Parameters
    ----------
    X : (n, d) array
    Y : (n, m) array
    block_sizes : (k,) array of intp
    fit_intercept : bool
    noise_variance : float or None
        Per entry; None: estimated.
    pool : ThreadPoolExecutor
    jobs : int
        Its threads.
    """

    def __init__(self, X, Y, block_sizes, *, fit_intercept, noise_variance, pool, jobs):
        self.X, self.Y, self.block_sizes = X, Y, block_sizes
        self.fit_intercept, self.noise_variance, self.pool, self.jobs = fit_intercept, noise_variance, pool, jobs
        rows = max(PANEL, math.ceil(len(X) / MOST_PANELS))
        self.panels = [slice(begin, begin + rows) for begin in range(0, len(X), rows)]
        with np.errstate(over="ignore"):
            self.squares = math.fsum(np.einsum("ij,ij->i", X, X))
            mean_squares = (Y**2).mean(axis=0)
        for name, value in (("X", self.squares), ("y", mean_squares)):
            if not np.isfinite(value).all():
                raise ValueError(f"{name} must have entries whose squares, summed, do not overflow")
        self.scales = np.sqrt(np.where(mean_squares > 0, mean_squares, 1.0))

    @property
    def k(self):
        return len(self.block_sizes)

    def energies(self):
        """(n, k) mean square of each block of each row."""
        starts = np.cumsum(self.block_sizes) - self.block_sizes
        energies = [np.add.reduceat(self.X[rows] ** 2, starts, axis=1) for rows in self.panels]
        return np.concatenate(energies) / self.block_sizes

    def weighted_moments(self, posterior):
        """k moments, for given posterior probabilities (n, k)."""
        def panel(rows):
            return _core.weighted_moments(self.X[rows], self.Y[rows], posterior[rows], self.block_sizes)

        return self._split(self._ordered_sum(panel))

    def expectation(self, parameters):
        """(moments, posterior, log-likelihood) of one pass over the rows."""
        gate, factors = self._gate(parameters), np.linalg.inv(np.linalg.cholesky(self._bounded(parameters.errors)))
        coef = np.concatenate([block.T.ravel() for block in parameters.coef])
        posterior = np.empty((len(self.X), self.k))

        def panel(rows):
            moments, posterior[rows], term = _core.mixture_moments(
                self.X[rows], self.Y[rows], self.block_sizes, *gate, coef, parameters.intercepts, factors
            )
            return np.append(moments, term)

        sums = self._ordered_sum(panel)
        variance = parameters.noise_variance
        noise = self.squares / variance + self.X.size * math.log(2 * math.pi * variance)
        return self._split(sums[:-1]), posterior, sums[-1] - 0.5 * noise

    def maximisation(self, moments, before=None):
        """The `Parameters` of given moments; an expert with too few rows dies, and one that has died stays dead."""
        m, least = self.Y.shape[1], 2 + int(self.fit_intercept)
        sizes, counts = self.block_sizes, np.array([g[d, d] for g, d in zip(moments, self.block_sizes)])
        alive = counts >= sizes + least
        if before is not None:
            alive &= before.probabilities > 0
        noise_variance = self._noise_variance(moments, counts, alive)
        covariances, coef = [np.eye(d) * noise_variance for d in sizes], [np.zeros((d, m)) for d in sizes]
        intercepts, errors = np.zeros((self.k, m)), np.tile(np.eye(m), (self.k, 1, 1))
        for i in np.flatnonzero(alive):
            covariances[i] = moments[i][: sizes[i], : sizes[i]] / counts[i]
            try:
                coef[i], intercepts[i], errors[i] = self._regression(moments[i], sizes[i])
            except scipy.linalg.LinAlgError:
                raise _singular(f"the covariance of expert {i} is not positive definite") from None
        probabilities = np.where(alive, counts, 0.0)
        return Parameters(covariances, noise_variance, probabilities / probabilities.sum(), coef, intercepts, errors,
                          moments)

    def _regression(self, moment, d):
        """Weighted least squares of the responses on the block: coefficients, intercepts, covariance around them."""
        count, sums = moment[d, d], moment[d]
        S, B, T = moment[:d, :d], moment[:d, d + 1:], moment[d + 1:, d + 1:]
        if self.fit_intercept:
            S = S - np.outer(sums[:d], sums[:d]) / count
            B = B - np.outer(sums[:d], sums[d + 1:]) / count
            T = T - np.outer(sums[d + 1:], sums[d + 1:]) / count
        coef = scipy.linalg.cho_solve(scipy.linalg.cho_factor(S, lower=True), B)
        intercepts = (sums[d + 1:] - sums[:d] @ coef) / count if self.fit_intercept else np.zeros(len(T))
        return coef, intercepts, (T - B.T @ coef) / count

    def _bounded(self, errors):
        """The likeliest covariances (k, m, m) of errors whose mean products are given that are not below the floor.

        In the scale of the responses: the same eigenvectors, with eigenvalues of at least `FLOOR`.
        """
        scales = np.outer(self.scales, self.scales)
        scaled = errors / scales
        values, vectors = np.linalg.eigh((scaled + scaled.swapaxes(1, 2)) / 2)
        return (vectors * np.maximum(values, FLOOR)[:, None]) @ vectors.swapaxes(1, 2) * scales

    def _noise_variance(self, moments, counts, alive):
        if self.noise_variance is not None:
            return self.noise_variance
        if not alive.any():
            raise Degenerate("X must have more rows: every expert has died")
        own = sum(np.trace(moments[i][:d, :d]) for i, d in enumerate(self.block_sizes) if alive[i])
        entries = len(self.X) * self.X.shape[1] - counts @ np.where(alive, self.block_sizes, 0)
        if not self.squares - own > CANCELLED * self.squares:
            raise ValueError("noise_variance must be given: beside the signal there is too little noise to estimate")
        return (self.squares - own) / entries

    def _gate(self, parameters):
        """(inverse factors, constants, noise precision) of the router's scores; see `moenoise.QDARouter`."""
        flat = np.concatenate([covariance.ravel() for covariance in parameters.covariances])
        try:
            factors, log_determinants = _core.qda_factor(flat, self.block_sizes)
        except ValueError as error:
            raise _singular(error) from None
        with np.errstate(divide="ignore"):
            constants = np.maximum(np.log(parameters.probabilities), NEVER)
        constants += 0.5 * self.block_sizes * math.log(parameters.noise_variance) - 0.5 * log_determinants
        return factors, constants, 1 / parameters.noise_variance

    def _ordered_sum(self, function):
        """Sum of function(panel) over the panels, in their order, whatever thread was first."""
        if self.jobs == 1:  # small fits would spend their time on handing over
            return sum(map(function, self.panels))
        total, pending, panels = 0.0, deque(), iter(self.panels)
        try:
            while True:
                for panel in itertools.islice(panels, 2 * self.jobs - len(pending)):
                    pending.append(self.pool.submit(function, panel))
                if not pending:
                    return total
                total = total + pending.popleft().result()
        finally:
            for future in pending:
                future.cancel()

    def _split(self, flat):
        sizes = self.block_sizes + 1 + self.Y.shape[1]
        return [part.reshape(size, size) for part, size in zip(np.split(flat, np.cumsum(sizes**2)[:-1]), sizes)]


@contextlib.contextmanager
def _problem(X, Y, block_sizes, *, fit_intercept, noise_variance, jobs):
    """A `Problem` whose threads end with it."""
    pool = ThreadPoolExecutor(jobs)
    try:
        yield Problem(X, Y, block_sizes, fit_intercept=fit_intercept, noise_variance=noise_variance, pool=pool,
                      jobs=jobs)
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def fit(X, Y, block_sizes, *, n_starts, max_iter, tol, rng, progress, **problem):
    """The `Start` of the largest likelihood among those with the fewest dead experts, and all starts' likelihoods.

    Parameters
    ----------
    X : (n, d) array
    Y : (n, m) array
    block_sizes : (k,) array of intp
    n_starts, max_iter : int
    tol : float
        A start has converged where the log-likelihood of a row grows by less.
    rng : as in SPEC 7
    progress : bool
    **problem
        fit_intercept (bool), noise_variance (float or None: estimated), jobs (int, threads).

    Returns
    -------
    best : Start
    log_likelihoods : (n_starts,) array
        -inf where a covariance became singular.
    """
    key, starts, error = philox_key(rng), [], None
    with (_problem(X, Y, block_sizes, **problem) as data,
          progress_bar("EM", shown=progress, total=n_starts * max_iter) as bar):
        energies = data.energies()
        for number in range(n_starts):
            try:
                starts.append(_run(data, _first_posterior(energies, key, number), max_iter, tol, bar, number))
            except Degenerate as degenerate:
                error = degenerate
    if not starts:
        raise error
    likelihoods = [start.log_likelihood[-1] for start in starts]
    return max(starts, key=_rank), np.array(likelihoods + [-math.inf] * (n_starts - len(starts)))


def fit_labelled(X, Y, block_sizes, expert, *, n_starts, max_iter, tol, rng, progress, **problem):
    """The one step to the `Start` of given experts (n,); the settings of the iteration are not needed."""
    posterior = np.zeros((len(X), len(block_sizes)))
    posterior[np.arange(len(X)), expert] = 1.0
    if problem["noise_variance"] is None:
        _, counts, off_block = _core.block_covariance(X, expert, block_sizes)
        problem["noise_variance"] = off_block / (counts @ (X.shape[1] - block_sizes)) or None
    with _problem(X, Y, block_sizes, **problem) as data:
        parameters = data.maximisation(data.weighted_moments(posterior))
        _, _, log_likelihood = data.expectation(parameters)
    return Start(parameters, posterior, np.array([log_likelihood]), True)


def _rank(start):
    """Starts with fewer dead experts first, then by likelihood."""
    return -np.count_nonzero(start.parameters.probabilities == 0), start.log_likelihood[-1]


def _first_posterior(energies, key, number):
    """(n, k) first guess: mostly the expert whose block is unusually energetic; with noise on that for later starts."""
    spread = energies.std(axis=0)
    scores = (energies - energies.mean(axis=0)) / np.where(spread > 0, spread, 1.0)
    if number > 0:
        scores = scores + _core.standard_normal(key, Stream.STARTS, number, 0, scores.size).reshape(scores.shape)
    posterior = np.full(scores.shape, SMOOTHING / scores.shape[1])
    posterior[np.arange(len(scores)), scores.argmax(axis=1)] += 1 - SMOOTHING
    return posterior


def _run(problem, posterior, max_iter, tol, bar, number):
    """One start, from first posterior probabilities to convergence."""
    parameters = problem.maximisation(problem.weighted_moments(posterior))
    trace, settled, converged = [], False, False
    for left in reversed(range(max_iter)):
        moments, posterior, log_likelihood = problem.expectation(parameters)
        trace.append(log_likelihood)
        bar.update()
        bar.set_postfix_str(f"start {number + 1}, log-likelihood a row {log_likelihood / len(posterior):.6f}",
                            refresh=False)
        if settled:  # no expert died in the step that led here, which is what may make the likelihood smaller
            growth = trace[-1] - trace[-2]
            if growth < -ROUNDING * abs(trace[-1]):
                raise Degenerate(f"the likelihood fell by {-growth:g}: X or y must be scaled to moderate size")
            if growth < tol * len(posterior):
                converged = True
                break
        if left > 0:  # else these are the parameters that the posterior and the likelihood are of
            following = problem.maximisation(moments, parameters)
            settled = np.array_equal(following.probabilities > 0, parameters.probabilities > 0)
            parameters = following
    bar.update(max_iter - len(trace))
    return Start(parameters, posterior, np.array(trace), converged)
