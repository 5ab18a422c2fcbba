"""Ridge regression through the least-squares kernels, and what its fit becomes at another noise."""

import dataclasses

import numpy as np
import scipy.linalg

from . import linear
from ._experts import LinearExperts


@dataclasses.dataclass(frozen=True, eq=False)
class RidgeExpert(LinearExperts):
    """A single prediction from all features, whose coefficients ``w = (S + r I)^-1 m`` are those of a ridge of r.

    `covariances` holds ``S + r I``. Noise whose variance has changed by c adds ``c I`` to ``S``, and the penalty stays:
    the coefficients become ``w(c) = (S + r I + c I)^-1 m``, which is ``(S + r I + c I)^-1 (S + r I) w``.
    """

    penalty: float
    """r"""

    def least_change(self):
        """As without a penalty, from the eigenvalues of S alone: a penalty knows nothing of cleaner inputs."""
        bare = [covariance - self.penalty * np.eye(len(covariance)) for covariance in self.covariances]
        fields = {field.name: getattr(self, field.name) for field in dataclasses.fields(LinearExperts)}
        return min(0.0, LinearExperts(**fields | {"covariances": bare}).least_change())

    def changed(self, change):
        """The same prediction where the noise variance, per entry, has changed by that much.

        With ``m = (S + r I) w`` the expected squared error ``E y^2 - 2 m' w + w' S w`` is ``E y^2 - m' w - r ||w||^2``
        and grows by ``c w' w(c) + r (||w||^2 - ||w(c)||^2)``: by the first term without a penalty.
        """
        changed = super().changed(change)
        less = np.array([(old**2).sum(axis=0) - (new**2).sum(axis=0) for old, new in zip(self.coef, changed.coef)])
        return dataclasses.replace(changed, error_variances=changed.error_variances + self.penalty * less)


def ridge(X, y, penalty, *, rcond=None, method="auto"):
    """`LeastSquares` of ``(X'X / n + r I)^-1 X'y / n``, r > 0, by least squares on a matrix of full rank.

    With at least as many rows as columns, ``||[X; s I] b - [y; 0]||`` is least, ``s^2 = n r``. With fewer, b is the
    first part of the minimum-norm solution of ``[X, s I] [b; u] = y``, as ``||b||^2 + ||y - X b||^2 / s^2`` is least:
    either way the smaller of the two Gram matrices is factorised.
    """
    n, d = X.shape
    diagonal = np.sqrt(n * penalty) * np.eye(min(n, d))
    if n < d:
        fit = linear.lstsq(np.hstack([X, diagonal]), y, rcond=rcond, method=method)
        return fit._replace(coef=fit.coef[:d])
    zeros = np.zeros((d, *y.shape[1:]))
    return linear.lstsq(np.vstack([X, diagonal]), np.concatenate([y, zeros]), rcond=rcond, method=method)


def leave_one_out_error(X, y, penalty, *, fit_intercept=False):
    """Mean squared error of predicting each row of y (n,) or (n, m) by the ridge fit, with ``n r``, to the others.

    The row's residual over 1 less its leverage, ``h_i = x_i' (X'X + n r I)^-1 x_i``, to which an intercept, where X and
    y are centred, adds 1/n. NaN or infinite where it is not known.
    """
    n, d = X.shape
    if fit_intercept and n == 1:
        return np.full(y.shape[1:], np.nan)
    diagonal = np.sqrt(n * penalty) * np.eye(min(n, d))
    orthonormal, _ = scipy.linalg.qr(np.vstack([X if n > d else X.T, diagonal]), mode="economic")
    if n > d:
        top = orthonormal[:n]  # times its transpose this is H = X (X'X + s^2 I)^-1 X', s^2 = n r
        residuals = y - top @ (top.T @ y)
        remainder = 1 - (top**2).sum(axis=1) - int(fit_intercept) / n
    else:
        bottom = orthonormal[d:]  # and this I - H = s^2 (X X' + s^2 I)^-1, whose small diagonal keeps its digits
        if fit_intercept:
            bottom = bottom - bottom.mean(axis=0)
        residuals = bottom @ (bottom.T @ y)
        remainder = (bottom**2).sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return np.mean((residuals.T / remainder) ** 2, axis=-1)
