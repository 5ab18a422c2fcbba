"""Linear experts on feature blocks as fitted or known at one noise, and what they become at another."""

import dataclasses
import functools

import numpy as np

from . import _core, _validation
from .router import LEAST_SHARE, QDARouter

# Rows whose given experts are written out as weights at a time.
CHUNK = 1 << 16


@dataclasses.dataclass(frozen=True, eq=False)
class LinearExperts:
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
    counts: np.ndarray
    """(k,) of the rows, or the sums of their weights, that all this comes from; inf where it is known."""
    noise_variance: float | None
    """Of the features behind all this, per entry; None where it is not known."""

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
        """The lowest change of the noise variance that the covariances allow, at most 0.

        Cleaner inputs ask for what is left of an eigenvalue of ``S_i`` after a subtraction. Of n rows these are known
        to a share of about ``2 sqrt(d_i / n)`` (their spread where all true ones are equal), and that share is kept.
        Nor does the noise variance become negative, where it is known.
        """
        shares = np.clip(2 * np.sqrt(self.block_sizes / self.counts), LEAST_SHARE, 1)
        largest = min((1 - share) * values[0] for share, (values, _) in zip(shares, self.spectra))
        return -largest if self.noise_variance is None else -min(largest, self.noise_variance)

    def changed(self, change):
        """The same experts where the noise variance, per entry, has changed by that much.

        The expected squared error grows by ``change w_i' w_i(change)``, which is ``w_i' S_i w_i`` less what the new
        coefficients explain. Under the model it falls by no larger share than the noise variance does.
        """
        if change == 0:
            return self
        coef = [vectors @ (_share(values, change)[:, None] * (vectors.T @ block))
                for block, (values, vectors) in zip(self.coef, self.spectra)]
        errors = self.error_variances + [change * (old * new).sum(axis=0) for old, new in zip(self.coef, coef)]
        if change < 0:
            # Where the noise variance is not known the least eigenvalue, which it is a part of, is the more cautious.
            whole = self.noise_variance or [[values[0]] for values, _ in self.spectra]
            errors = np.maximum(errors, (1 + change / np.array(whole)) * self.error_variances)
        covariances = [covariance + change * np.eye(len(covariance)) for covariance in self.covariances]
        noise_variance = None if self.noise_variance is None else self.noise_variance + change
        return dataclasses.replace(self, covariances=covariances, coef=coef, error_variances=errors,
                                   noise_variance=noise_variance)

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

    @functools.cached_property
    def spectra(self):
        """k pairs: eigenvalues of ``S_i`` in ascending order, 0 where they are to rounding, and eigenvectors."""
        if self.covariances[0] is None:
            raise ValueError("noise must be 'adapt', or noise_variance be given, before the regressor is fitted")
        return [_eigh(covariance) for covariance in self.covariances]

    def checked_variances(self):
        """`error_variances`, or an error where some are not known."""
        for i, variances in enumerate(self.error_variances):
            if not np.isfinite(variances).all():
                whose = f"expert {i} had" if len(self.coef) > 1 else "there were"
                raise ValueError(f"return_std must be False: {whose} too few rows, for the number of features, or too "
                                 "large responses, to tell the variance of the errors")
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


def _eigh(covariance):
    values, vectors = np.linalg.eigh(covariance)
    rounding = len(values) * np.finfo(float).eps * np.abs(values).max()
    return np.where(values > rounding, values, 0.0), vectors


def _share(values, change):
    """values / (values + change), and 0 where values is."""
    return np.divide(values, values + change, out=np.zeros_like(values), where=values > 0)
