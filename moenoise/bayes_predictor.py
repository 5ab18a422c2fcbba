"""The best prediction of a known block model: experts behind a gate, at any noise."""

import math

import numpy as np
import scipy.linalg
from sklearn.base import BaseEstimator, RegressorMixin

from . import _validation
from ._experts import LinearExperts
from ._noise import NOISE, AdaptingMixin, InputPower, limited
from .model import check_model
from .router import QDARouter

ROUTING = ("soft", "hard", "oracle")

# Where a batch looks cleaner than this share of the model's noise variance, the share is taken: the gate needs noise.
LEAST_SHARE = 1e-3


class BayesPredictor(AdaptingMixin, RegressorMixin, BaseEstimator):
    r"""The Bayes-optimal predictor of a known block model, and its hard and oracle forms (beyond the paper).

    The prediction of least risk from noisy features is a mixture of experts with a soft gate::

        E[y | x] = sum_i q_i(x) w_i' x_i,   w_i = (Sigma_i + v I)^-1 Sigma_i beta_i

    with ``q`` the softmax of the corrected scores of `QDARouter` and v the noise variance. Nothing is fitted.

    Parameters
    ----------
    model : BlockModel
    routing : {"soft", "hard", "oracle"}, default "soft"
        All experts by their probabilities, the likeliest alone, or the one that `predict` is told (the paper's sparse
        estimator: no predictor has that label).
    noise : {"fit", "adapt"}, default "fit"
        Whether v is the model's noise variance, or estimated in `predict` from the batch that it is given (see
        `noise_change`), where that differs by two standard errors at least.

    Examples
    --------
    >>> import moenoise as mn
    >>> model = mn.BlockModel.toeplitz(16, 4, scale=2.0, rng=0)
    >>> test = model.sample(20_000, rng=1)

    >>> def error(routing, **given):
    ...     response = mn.BayesPredictor(model, routing=routing).predict(test.features, **given)
    ...     return round(float(((response - test.response) ** 2).mean()), 2)
    >>> error("oracle", expert=test.expert), error("soft"), error("hard")
    (3.21, 4.51, 5.27)
    >>> round(mn.theory.soft_risk(model, rng=0).soft.value, 2)
    4.44
    """

    def __init__(self, model, *, routing="soft", noise="fit"):
        self.model = model
        self.routing = routing
        self.noise = noise

    @property
    def n_features_in_(self):
        """The number of features."""
        return self.model.d

    @property
    def noise_variance_(self):
        """The model's noise variance, per entry."""
        return self.model.noise_variance

    @property
    def _power(self):
        # Exact: given the expert the squared length has mean tr C and variance 2 tr C^2, C all features' covariance.
        model, v = self.model, self.model.noise_variance
        noisy = [covariance + v * np.eye(len(covariance)) for covariance in model.covariances]
        means = [np.trace(C) + (model.d - len(C)) * v for C in noisy]
        mean_squares = [2 * (np.sum(C**2) + (model.d - len(C)) * v**2) + mean**2 for C, mean in zip(noisy, means)]
        mean = model.probabilities @ means
        return InputPower(float(mean), math.sqrt(model.probabilities @ mean_squares - mean**2), math.inf)

    _one_response = True

    def __sklearn_is_fitted__(self):
        return True

    def fit(self, X, y=None):
        """Checks the parameters and the shape of X; there is nothing to fit.

        Parameters
        ----------
        X : array-like (n, d)
        y : ignored

        Returns
        -------
        self

        Raises
        ------
        TypeError, ValueError
            Where a parameter has the wrong kind or value, or X the wrong shape.
        """
        self._check_parameters()
        self._as_features(X)
        return self

    def predict(self, X, expert=None, *, noise_variance=None, return_std=False):
        """The prediction for each row.

        Parameters
        ----------
        X : array-like (n, d)
        expert : array-like (n,) of int, optional
            The expert of each row. Required by oracle routing; default otherwise: the gate decides.
        noise_variance : float > 0, optional
            Of these features: a variance, per entry. Default: as the parameter `noise` says.
        return_std : bool, default False
            Whether to return the standard deviation of the errors as well, within the experts and between them:
            ``sqrt(sum_i q_i (t_i + (w_i' x_i - prediction)^2))`` with ``t_i = v beta_i' w_i``. For soft routing that is
            the standard deviation of y given x.

        Returns
        -------
        response : (n,) array
        std : (n,) array
            Only where `return_std`.

        Raises
        ------
        TypeError, ValueError
            Where a parameter or an argument has the wrong kind, shape or range; where oracle routing gets no `expert`;
            where the gate is asked and the noise variance is zero.

        Warns
        -----
        UserWarning
            Where a batch is too small to estimate its noise from, and the model's is taken; where it looks cleaner than
            a thousandth of the model's noise variance, and that is taken.
        """
        self._check_parameters()
        return_std = _validation.as_flag(return_std, "return_std")
        X = self._as_features(X)
        change = self._noise_change(X, noise_variance)
        if noise_variance is None and change != 0:
            change = limited(change, (LEAST_SHARE - 1) * self.model.noise_variance, "the gate needs some noise")
        v = self.model.noise_variance + change
        if expert is not None:
            gate = _validation.as_expert(expert, len(X), self.model.k)
        elif self.routing == "oracle":
            raise ValueError("expert, the id of each row's expert, must be given for oracle routing")
        else:
            gate = self._gate(v) if self.model.k > 1 else np.zeros(len(X), dtype=np.intp)
        experts = _experts_at(self.model, v)
        return self._answer(*experts.predict(X, gate, hard=self.routing != "soft", with_variance=return_std))

    def _as_features(self, X, *, finite=True):
        # Not scikit-learn's check: this was never fitted, so it expects no names of features.
        X = _validation.as_array(X, "X", 2, finite=finite)
        if X.shape[1] != self.model.d:
            raise ValueError(f"X must have {self.model.d} features, as the model has, got {X.shape[1]}")
        return X

    def _gate(self, v):
        if v == 0:
            raise ValueError("noise_variance must be positive: the gate compares densities of the noise")
        covariances = [covariance + v * np.eye(len(covariance)) for covariance in self.model.covariances]
        return QDARouter._from_moments(covariances, v, self.model.probabilities)

    def _check_parameters(self):
        check_model(self.model)
        _validation.as_choice(self.routing, "routing", ROUTING)
        _validation.as_choice(self.noise, "noise", NOISE)


def _experts_at(model, v):
    """The model's Bayes-optimal experts at noise variance v."""
    covariances, coef, variances = [], [], []
    for covariance, beta in zip(model.covariances, model.coefficients):
        covariances.append(covariance + v * np.eye(len(covariance)))
        if v > 0:
            w = scipy.linalg.solve(covariances[-1], covariance @ beta, assume_a="pos")
        else:
            w = beta
        coef.append(w[:, None])
        variances.append([v * (beta @ w)])
    return LinearExperts(model.block_sizes, covariances, coef, np.zeros(model.d), np.zeros((model.k, 1)),
                         np.array(variances), np.full(model.k, np.inf), v)
