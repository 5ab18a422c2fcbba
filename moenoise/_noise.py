"""How much noisier a batch of inputs is than the training inputs were, from their squares alone."""

import math
import warnings
from typing import NamedTuple

import numpy as np
from sklearn.utils.validation import check_is_fitted

from . import _validation
from ._estimating import as_features

NOISE = ("fit", "adapt")

# Fewer rows than this tell too little of their own spread to say how good the estimate is.
LEAST_ROWS = 32
# A change is believed where it is this many standard errors from none.
STANDARD_ERRORS = 2.0


class NoiseChange(NamedTuple):
    """What the noise variance of a batch has above that of training, as estimated.

    Attributes
    ----------
    value : float
        A difference of variances, per entry; negative where the batch is cleaner.
    standard_error : float
        Its standard error (a standard deviation), from the spread of the rows' squared lengths, in the batch or in
        training, whichever is the larger.
    """

    value: float
    standard_error: float


class InputPower(NamedTuple):
    """The squared length of a row, ``||x||^2``: its mean and standard deviation, and the rows they come from."""

    mean: float
    deviation: float
    rows: float

    @classmethod
    def of(cls, X):
        """As estimated from the rows of X (n, d); the standard deviation of a single row is infinite."""
        with np.errstate(over="ignore"):
            squares = np.einsum("ij,ij->i", X, X)
        largest = squares.max()
        if not 0 < largest < math.inf:
            return cls(float(largest), float(largest), len(X))
        shares = squares / largest  # their squares neither overflow nor vanish
        deviation = largest * shares.std(ddof=1) if len(X) > 1 else math.inf
        return cls(float(largest * shares.mean()), float(deviation), len(X))


def estimated_change(X, training):
    """The `NoiseChange` of the rows of X (n, d) since training, whose `InputPower` is given.

    Noise of variance v on each of d features adds d v to the expected squared length of a row, whatever the signal, as
    long as the signal is distributed as in training.
    """
    batch, d = InputPower.of(X), X.shape[1]
    if not math.isfinite(batch.mean - training.mean):
        raise ValueError("X must have entries whose squares do not overflow, in training as well")
    # A small batch can lack the rare rows of large power, and then its own spread knows nothing of them.
    deviation = max(batch.deviation, training.deviation)
    error = math.hypot(deviation / math.sqrt(batch.rows), training.deviation / math.sqrt(training.rows))
    return NoiseChange((batch.mean - training.mean) / d, error / d)


def believed_change(X, training):
    """The estimated change where it is clear of its standard error, else 0; warns where the rows are too few."""
    if len(X) < LEAST_ROWS:
        warnings.warn(
            f"a batch of {len(X)} rows is too small to estimate its noise from (at least {LEAST_ROWS}): the noise of "
            "training is taken; predict more rows at once, or give noise_variance to predict",
            stacklevel=4,
        )
        return 0.0
    change = estimated_change(X, training)
    return change.value if abs(change.value) > STANDARD_ERRORS * change.standard_error else 0.0


def limited(change, least, reason, stacklevel=3):
    """The change, but no less than `least`, with a warning where that matters, to the caller's caller by default."""
    if change >= least:
        return change
    warnings.warn(f"the noise variance is taken as {-least:.3g} below that of training, not {-change:.3g}: {reason}",
                  stacklevel=stacklevel)
    return least


def set_change(noise_variance, training_variance):
    """The change to a noise variance that the user sets, given that of training (None: not known)."""
    noise_variance = _validation.as_scalar(noise_variance, "noise_variance", low=0)
    if training_variance is None:
        raise ValueError(
            "noise_variance cannot be set in predict, as that of training is not known: give that to the constructor, "
            "and fit"
        )
    return noise_variance - training_variance


class AdaptingMixin:
    """What regressors that adapt to the noise of a batch share: `noise`, `noise_variance_` and the inputs' power."""

    def noise_change(self, X):
        """How much the noise variance of a batch differs from that of training, as estimated from the features alone.

        ::

            (mean ||x||^2 of the batch - mean ||x||^2 of training) / d

        which is right where the clean features are distributed as in training.

        Parameters
        ----------
        X : array-like (n, d)
            Features; no response is needed.

        Returns
        -------
        NoiseChange
            Named tuple ``(value, standard_error)``: a difference of variances, per entry, and its standard deviation.

        Raises
        ------
        ValueError
            Where X has the wrong shape or holds NaN or infinity.

        Examples
        --------
        >>> import moenoise as mn
        >>> model = mn.BlockModel.isotropic(8, 2, variance=9.0, rng=0)
        >>> train, test = model.sample(1000, rng=1), model.sample(1000, rng=2)
        >>> dense = mn.DenseRegressor().fit(train.features, train.response)
        >>> noisier = test.features + 2 ** 0.5 * mn.standard_normal((1000, 8), rng=3)
        >>> change = dense.noise_change(noisier)
        >>> abs(change.value - 2) < 3 * change.standard_error
        True
        """
        check_is_fitted(self)
        return estimated_change(self._as_features(X), self._power)

    def _as_features(self, X, *, finite=True):
        return as_features(self, X, finite=finite)

    def _noise_change(self, X, noise_variance):
        """The change to predict with: set, estimated, or none."""
        if noise_variance is not None:
            return set_change(noise_variance, self.noise_variance_)
        if _validation.as_choice(self.noise, "noise", NOISE) == "adapt":
            _validation.check_finite(X, "X")
            return believed_change(X, self._power)
        return 0.0

    def _answer(self, response, variance):
        """The response, or (response, standard deviation), with as many columns as y had."""
        response = response[:, 0] if self._one_response else response
        if variance is None:
            return response
        return response, np.sqrt(variance[:, 0] if self._one_response else variance)
