"""Linear experts on feature blocks as fitted or known at one noise, and what they become at another."""

from typing import NamedTuple

import numpy as np
import scipy.linalg

from . import _core, _validation
from .router import LEAST_SHARE, QDARouter, least_eigenvalue

# Rows whose given experts are written out as weights at a time.
CHUNK = 1 << 16


class LinearExperts(NamedTuple):
    """k linear predictions, each from its own block of features.

    With ``S_i`` the covariance of block i's noisy features in expert i's rows and ``w_i`` the coefficients, noise whose
    variance has changed by c has covariance ``S_i + c I``, and the best coefficients become ``(S_i + c I)^-1 S_i w_i``:
    neither the signal nor its covariance with the response is needed on its own.
    """

    block_sizes: np.ndarray
    """(k,)"""
    covariances: list
    """k arrays (d_i, d_i): ``S_i``, about the means below; None where no change of noise was foreseen."""
    coef: list
    """k arrays (d_i, m)"""
    X_means: np.ndarray
    """(d,) of each block in its expert's rows; zero without intercepts."""
    y_means: np.ndarray
    """(k, m)"""
    error_variances: np.ndarray
    """(k, m) expected squared errors on new rows of the expert; NaN where there are too few rows to tell."""

    @property
    def blocks(self):
        """k slices into the columns."""
        ends = np.cumsum(self.block_sizes)
        return [slice(end - size, end) for end, size in zip(ends, self.block_sizes)]

    @property
    def intercepts(self):
        """(k, m)"""
        return self.y_means - np.stack([self.X_means[block] @ coef for block, coef in zip(self.blocks, self.coef)])

    def least_change(self):
        """The lowest change of the noise variance that the covariances allow, at most 0."""
        self._check_covariances()
        return -(1 - LEAST_SHARE) * max(0.0, min(map(least_eigenvalue, self.covariances)))

    def changed(self, change):
        """The same experts where the noise variance, per entry, has changed by that much.

        The expected squared error grows by ``change w_i' w_i(change)``, which is ``w_i' S_i w_i`` less what the new
        coefficients explain.
        """
        if change == 0:
            return self
        self._check_covariances()
        coef = [_changed_coef(*pair, change) for pair in zip(self.covariances, self.coef)]
        growth = np.stack([change * (old * new).sum(axis=0) for old, new in zip(self.coef, coef)])
        covariances = [covariance + change * np.eye(len(covariance)) for covariance in self.covariances]
        return self._replace(covariances=covariances, coef=coef,
                             error_variances=np.maximum(self.error_variances + growth, 0.0))

    def predict(self, X, gate, *, hard, with_variance):
        """The response (n, m) and, if asked for, the variance (n, m) of its errors, else None.

        Parameters
        ----------
        X : (n, d) array, as the kernels want it
        gate : QDARouter, (n, k) array of weights (float64, in C order), or (n,) array of ids
        hard : bool
            Whether the likeliest expert answers alone, or all by their weights.
        with_variance : bool
        """
        coef = np.concatenate([block.T.ravel() for block in self.coef])
        spreads = self.checked_variances() if with_variance else None
        linear = coef, np.ascontiguousarray(self.intercepts), spreads, hard
        if isinstance(gate, QDARouter):
            response, variance = _core.mixture_predict(X, self.block_sizes, *gate._gate, *linear)
            if not np.isfinite(response).all():  # each entry of X is in one of the scores, squared
                _validation.check_finite(X, "X")
                raise ValueError("X must have entries whose squares, over the variances, do not overflow")
            return response, variance
        parts = []
        for begin in range(0, len(X), CHUNK):
            rows = slice(begin, begin + CHUNK)
            weights = gate[rows] if gate.ndim == 2 else _one_hot(gate[rows], len(self.coef))
            parts.append(_core.combine_experts(X[rows], self.block_sizes, weights, *linear))
        responses, variances = zip(*parts)
        return np.concatenate(responses), np.concatenate(variances) if with_variance else None

    def _check_covariances(self):
        if self.covariances[0] is None:
            raise ValueError("noise must be 'adapt', or noise_variance be given, before the regressor is fitted")

    def checked_variances(self):
        """`error_variances`, or an error where some are not known."""
        for i, variances in enumerate(self.error_variances):
            if np.isnan(variances).any():
                raise ValueError(f"return_std must be False: expert {i} had too few rows, for its number of features, "
                                 "to tell the variance of its errors")
        return np.ascontiguousarray(self.error_variances)


def expected_error(squared_error, rows, rank, *, fit_intercept=False):
    """Expected squared error on new rows, from that on the training rows (a sum); NaN where the rows are too few.

    For Gaussian features the fit's own uncertainty adds the factor ``(n - 1) / (n - r - 1)`` to the variance of the
    noise, ``squared_error / (n - r)``; with an intercept, ``(1 + 1/n) (n - 2) / (n - r - 2)`` to ``/ (n - r - 1)``.
    """
    constant = int(fit_intercept)
    free = rows - rank - constant
    if free <= 1:
        return np.full_like(np.asarray(squared_error, dtype=float), np.nan)
    growth = (1 + constant / rows) * (rows - 1 - constant) / (free - 1)
    return np.maximum(squared_error, 0.0) / free * growth


def _one_hot(expert, k):
    """(n, k) weights: 1 for the row's own expert, else 0."""
    weights = np.zeros((len(expert), k))
    weights[np.arange(len(weights)), expert] = 1.0
    return weights


def _changed_coef(covariance, coef, change):
    changed = covariance + change * np.eye(len(covariance))
    return scipy.linalg.solve(changed, covariance @ coef, assume_a="pos")
