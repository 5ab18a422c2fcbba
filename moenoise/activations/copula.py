r"""Rows without modules: a Gaussian copula with the marginals and the correlations of given rows.

Each column x_i is taken for an increasing function of a normal variable, x_i = F_i(z_i), with z ~ N(0, P). Its normal
scores are ``s_i = E[z_i | x_i]``: where many values are equal, as zeros after a ReLU are, they share one score, the
mean of z_i over the interval that is theirs. P is such that the scores of a draw correlate as the rows' own do. With
the Hermite coefficients of the score, ``c_im = E[s_i(z) He_m(z)] / sqrt(m!)``, Mehler's formula gives::

    E[s_i s_j] = sum_m c_im c_jm P_ij^m

A column without equal values has ``c_i1 = 1`` and no others, so that P_ij is the correlation of the scores.
"""

import math

import numpy as np
from scipy.special import ndtri

from ..designs import standard_normal

TERMS = 24
"""Of Mehler's sum. For an atom of nine tenths the rest is below 1e-3 of the sum up to correlation 0.8."""

ROOT_FACTORIALS = np.sqrt(np.cumprod(np.arange(1.0, TERMS + 1)))
"""``sqrt(m!)``, m = 1, ..., TERMS"""

NEWTON_STEPS = 30

MOST, OPEN = 0.9999, 0.99
"""Largest correlation of two latent variables, and from where on it is taken to be open."""

PROJECTIONS, TOLERANCE = 60, 1e-3
"""Of the search for the nearest correlation matrix: at most so many, and until the diagonal is as near to 1."""

CHUNK = 64
"""Columns whose ranks are taken at a time: bounds the memory of sorting."""


class GaussianCopula:
    """The copula fitted to rows (n, d); `draw` gives as many rows, with exactly the columns' values.

    Attributes
    ----------
    correlation : (d, d) array
        P, of the latent normal variables; the nearest positive semi-definite matrix, with 1 on its diagonal.
    """

    def __init__(self, rows):
        self._sorted = np.sort(rows, axis=0)
        scores, coefficients = normal_scores(rows)
        n = len(rows)
        covariance = (scores.T @ scores).astype(float) / n
        self.correlation = nearest_correlation(latent_correlation(covariance, coefficients, n))
        values, vectors = np.linalg.eigh(self.correlation)
        self._factor = (vectors * np.sqrt(np.maximum(values, 0))).astype(np.float32)

    def draw(self, seed, number):
        """(n, d) rows, a function of the seed and the draw's number: each column a permutation of the fitted one."""
        n, d = self._sorted.shape
        normals = standard_normal((n, d), rng=seed, stream=number).astype(np.float32)
        latent = normals @ self._factor.T
        drawn = np.empty_like(self._sorted)
        for begin in range(0, d, CHUNK):
            columns = slice(begin, begin + CHUNK)
            np.put_along_axis(drawn[:, columns], latent[:, columns].argsort(axis=0), self._sorted[:, columns], axis=0)
        return drawn


class ScaledCopula:
    """As `GaussianCopula`, for rows of different scale: each keeps its own, and the copula is that of what is left.

    Loud rows and loud columns alone make entries unlike what their row's and column's numbers of active ones suggest:
    in a loud row the loud columns are all active already. The scale of a row is the root mean square of its entries,
    each in units of its column's. Columns keep their values but for that.
    """

    def __init__(self, rows):
        columns = np.sqrt((rows**2).mean(axis=0))
        relative = np.divide(rows, columns, out=np.zeros_like(rows), where=columns > 0)
        scales = np.sqrt((relative**2).mean(axis=1, keepdims=True))
        self._scales = np.where(scales > 0, scales, 1.0)
        self._copula = GaussianCopula(rows / self._scales)

    def draw(self, seed, number):
        """(n, d) rows, a function of the seed and the draw's number."""
        return self._copula.draw(seed, number) * self._scales


def correlation_kept(rows, drawn):
    """How much of the correlation of the columns' scores a draw has: a ratio of sums of squares, 1 where all of it."""
    squares = []
    for part in (rows, drawn):
        correlation = np.corrcoef(normal_scores(part[:, np.ptp(part, axis=0) > 0])[0].T)
        squares.append((np.nan_to_num(correlation) ** 2).sum() - len(correlation))
    return float(squares[1] / squares[0]) if squares[0] > 0 else 1.0


def normal_scores(rows):
    """(scores (n, d) float32, Hermite coefficients (d, TERMS)) of the columns: those of m = 1, 2, ... .

    The n values of a column cut the normal distribution into intervals of probability 1 / n; equal values are joined.
    """
    n, d = rows.shape
    scores, coefficients = np.empty((n, d), dtype=np.float32), np.zeros((d, TERMS))
    for j in range(d):
        values, inverse, counts = np.unique(rows[:, j], return_inverse=True, return_counts=True)
        edges = ndtri(np.concatenate([[0.0], np.cumsum(counts) / n]))
        edges[-1] = np.inf
        # integral of He_m phi over an interval: He_{m-1} phi at its lower edge less that at its upper one
        hermite = hermite_functions(edges)
        steps = hermite[:, :-1] - hermite[:, 1:]
        means = steps[0] / (counts / n)
        scores[:, j] = means[inverse]
        if len(values) == n:
            coefficients[j, 0] = steps[0] @ means
        else:
            coefficients[j] = steps @ means / ROOT_FACTORIALS
    return scores, coefficients


def hermite_functions(z):
    """(TERMS, len(z)) array of ``He_m(z) phi(z)``, m = 0, 1, ...; 0 at infinity."""
    finite = np.where(np.isfinite(z), z, 0.0)
    density = np.where(np.isfinite(z), np.exp(-(finite**2) / 2) / math.sqrt(2 * math.pi), 0.0)
    functions = np.empty((TERMS, len(z)))
    functions[0] = density
    functions[1] = finite * density
    for m in range(1, TERMS - 1):
        functions[m + 1] = finite * functions[m] - m * functions[m - 1]
    return functions


def latent_correlation(covariance, coefficients, n):
    """(d, d) P with ``sum_m c_im c_jm P_ij^m`` equal to the scores' covariance of n rows, within `MOST`.

    A pair of sparse columns that are never active together has its root at the end, though much weaker correlations
    would hardly show either. There the root is that of a covariance one standard error nearer to 0.
    """
    scales = np.outer(coefficients[:, 0], coefficients[:, 0])
    # a constant column has no scores, and goes with no other
    latent = np.clip(np.divide(covariance, scales, out=np.zeros_like(covariance), where=scales > 0), -MOST, MOST)
    untied = np.abs(coefficients[:, 1:]).max(axis=1) < 1e-3
    others = untied.copy()
    for i in np.flatnonzero(~untied):  # a row of pairs at a time: memory stays that of a few columns
        others[i] = True  # each pair once
        products, target = coefficients[i] * coefficients[others], covariance[i, others]
        roots = solve_mehler(target, products, latent[i, others])
        open_ = np.abs(roots) > OPEN
        if open_.any():
            error = np.sqrt(covariance[i, i] * np.diag(covariance)[others] / n)
            nearer = np.sign(target) * np.maximum(np.abs(target) - error, 0)
            roots[open_] = solve_mehler(nearer[open_], products[open_], latent[i, others][open_])
        latent[i, others] = latent[others, i] = roots
    return latent


def solve_mehler(target, products, start):
    """(d,) roots rho of ``sum_m products[:, m - 1] rho^m = target``; where none is in reach, the nearest end.

    Newton's method, kept between bounds; the sum increases with rho, as E[s_i s_j] does.
    """
    rho, low, high = start, np.full(len(start), -MOST), np.full(len(start), MOST)
    for _ in range(NEWTON_STEPS):
        value, slope = np.zeros_like(rho), np.zeros_like(rho)
        for coefficient in products.T[::-1]:  # Horner: value is a polynomial without its constant, over rho
            slope = slope * rho + value
            value = value * rho + coefficient
        slope, excess = slope * rho + value, value * rho - target
        low, high = np.where(excess < 0, rho, low), np.where(excess > 0, rho, high)
        newton = rho - np.divide(excess, slope, out=np.full_like(rho, np.inf), where=slope > 0)
        following = np.where((newton > low) & (newton < high), newton, (low + high) / 2)
        done = np.abs(following - rho).max() < 1e-7
        rho = following
        if done:
            break
    return rho


def nearest_correlation(matrix):
    """The correlation matrix nearest to a symmetric one: Higham's (2002) alternating projections, with Dykstra's term.

    Where columns are sparse, roots of rare pairs lie at the ends and the matrix is far from positive semi-definite. To
    clip its eigenvalues once, and rescale, would lose most of the correlations that are there.
    """
    matrix = (matrix + matrix.T) / 2
    np.fill_diagonal(matrix, 1.0)
    correction = np.zeros_like(matrix)
    for _ in range(PROJECTIONS):
        values, vectors = np.linalg.eigh(matrix - correction)
        if values[0] >= -len(values) * np.finfo(float).eps:
            break
        positive = (vectors * np.maximum(values, 0)) @ vectors.T
        correction += positive - matrix
        change = np.abs(np.diag(positive) - 1).max()
        matrix = positive
        np.fill_diagonal(matrix, 1.0)
        if change < TOLERANCE:
            break
    return positive_semidefinite(matrix)


def positive_semidefinite(matrix):
    """The matrix without its negative eigenvalues, rescaled to 1 on its diagonal."""
    values, vectors = np.linalg.eigh(matrix)
    root = vectors * np.sqrt(np.maximum(values, 0))
    root /= np.linalg.norm(root, axis=1, keepdims=True)
    return root @ root.T
