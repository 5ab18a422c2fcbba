"""What the scikit-learn estimators share: their input, and that a failed fit leaves the last one as it was."""

import contextlib
import warnings

import numpy as np
from sklearn.utils.validation import validate_data

from . import _validation

# Of the mean square, and of what chance explains: a mean beyond both is worth a warning.
MEAN_SHARE, STANDARD_ERRORS = 0.25, 5.0


@contextlib.contextmanager
def unchanged_on_error(estimator):
    """Restore the estimator's attributes where the block raises."""
    before = dict(vars(estimator))
    try:
        yield
    except BaseException:
        vars(estimator).clear()
        vars(estimator).update(before)
        raise


def as_features(estimator, X, *, reset=False, finite=True):
    """X (n, d) as the kernels want it, checked against what the estimator was fitted to unless `reset`.

    With `finite` false the caller looks for NaN and infinity itself, in results that they cannot fail to reach.
    """
    _check_kind(X)
    X = validate_data(estimator, X, dtype=np.float64, order="C", reset=reset, ensure_all_finite=False)
    return _checked(X) if finite else _aligned(X)


def as_training_data(estimator, X, y):
    """X (n, d) and y (n,) or (n, m), and note in the estimator what X looks like."""
    _check_kind(X)
    X, y = validate_data(estimator, X, y, dtype=np.float64, order="C", multi_output=True, y_numeric=True,
                         ensure_all_finite=False)
    return _checked(X), _validation.as_array(y, "y", (1, 2))


def warn_of_means(X, Y, *, fit_intercept, stacklevel):
    """Warn where columns of X, or of Y without intercepts, are far from the model's mean of zero.

    That is a mean that is more than `MEAN_SHARE` of the mean square, and beyond chance.
    """
    for name, values, remedy in (
        ("X", X, "the gate and the estimate of the noise take means for signal; subtract them from X first, as "
                 "StandardScaler(with_std=False) does"),
        *([] if fit_intercept else [("y", Y, "use fit_intercept=True, or subtract it first")]),
    ):
        with np.errstate(over="ignore", invalid="ignore"):
            shares = values.mean(axis=0) ** 2 / np.maximum(np.einsum("ij,ij->j", values, values) / len(values), 1e-300)
        far = np.flatnonzero((shares > MEAN_SHARE) & (shares * len(values) > STANDARD_ERRORS**2))
        if len(far):
            column = f" in column {far[0]}" if values.shape[1] > 1 else ""
            warnings.warn(f"{name} has a mean far from zero{column}: {remedy}", stacklevel=stacklevel)


def _check_kind(X):
    """Refuse what scikit-learn would read as numbers although it is none, and sizes beyond BLAS, before any copy."""
    if isinstance(X, np.ma.MaskedArray):
        raise TypeError("X must be a plain array, got a masked array: fill or drop its masked entries first")
    if isinstance(X, np.ndarray):
        if X.dtype.kind in "mMSU":
            raise TypeError(f"X must hold real numbers, got dtype {X.dtype}")
        _validation.check_dimensions(X.shape, "X")


def _aligned(X):
    return np.require(X, np.float64, ["C", "ALIGNED"])


def _checked(X):
    X = _aligned(X)
    _validation.check_finite(X, "X")
    return X
