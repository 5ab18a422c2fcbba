"""The quadratic discriminant router: which expert does a noisy row belong to?"""

import numpy as np
import scipy.linalg
import scipy.special
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.utils.validation import check_is_fitted

from . import _core, _validation
from ._estimating import as_features, unchanged_on_error
from .model import check_model

FORMS = ("corrected", "printed")

NEVER = -1e300
"""Score of an expert that is never chosen: its exponential is 0."""

# Where the inputs are cleaner than in training a variance keeps this share of itself at least.
LEAST_SHARE = 0.01


class QDARouter(ClassifierMixin, BaseEstimator):
    r"""Quadratic discriminant analysis with one feature block an expert (paper, Theorem 1 and Appendix A.7).

    A row of expert i has covariance ``C_i`` on block i and is noise of variance ``noise_variance`` elsewhere. The
    router picks the expert of the largest score, with ``x_i`` the row's part in block i:

    * corrected: ``log p_i - 1/2 log|C_i| - 1/2 x_i' C_i^-1 x_i + 1/2 d_i log s + 1/2 ||x_i||^2 / s`` with
      ``s = noise_variance``. Up to a term common to all experts this is the log-likelihood of the whole row.
    * printed: ``-1/2 log|C_i| - 1/2 x_i' C_i^-1 x_i``, as in the paper. These are densities over different coordinates,
      so they favour quiet blocks; the form is kept for comparison.

    Parameters
    ----------
    block_sizes : array-like (k,) of int
        The number of features of each expert, in order.
    noise_variance : float > 0, optional
        A variance, per entry. Default: the mean square of all training entries outside their rows' own blocks. Only
        the corrected form uses it; with one block there are no such entries and it is not needed.
    priors : array-like (k,), optional
        ``p_i``, positive, summing to 1. Default: the training frequencies. Only the corrected form uses them.
    shrinkage : float in [0, 1], default 0.0
        Replaces ``C_i`` by ``(1 - shrinkage) C_i + shrinkage * (tr C_i / d_i) I``: towards uncorrelated features of the
        same mean variance.
    form : {"corrected", "printed"}, default "corrected"

    Attributes
    ----------
    covariances_ : list of k arrays (d_i, d_i)
        ``C_i``, after shrinkage: the mean of ``x_i x_i'`` over the expert's own rows. The model's mean is zero, so none
        is subtracted.
    noise_variance_ : float or None
        A variance, per entry; None where there is one block and it was not given.
    priors_ : (k,) array
    counts_ : (k,) array of int
        The number of training rows of each expert. `from_model` sets none.
    classes_ : (k,) array
        0 to k - 1.
    block_sizes_ : (k,) array of int
    n_features_in_ : int

    Notes
    -----
    Labels are the ids 0 to k - 1, since they say which block is the expert's own.

    Examples
    --------
    >>> import moenoise as mn
    >>> model = mn.BlockModel.isotropic(8, 2, variance=9.0, rng=0)
    >>> train, test = model.sample(400, rng=1), model.sample(400, rng=2)
    >>> router = mn.QDARouter(model.block_sizes).fit(train.features, train.expert)
    >>> router.score(test.features, test.expert) > 0.9
    True
    """

    def __init__(self, block_sizes, *, noise_variance=None, priors=None, shrinkage=0.0, form="corrected"):
        self.block_sizes = block_sizes
        self.noise_variance = noise_variance
        self.priors = priors
        self.shrinkage = shrinkage
        self.form = form

    @classmethod
    def from_model(cls, model, *, form="corrected"):
        """The fitted router that knows the model: ``C_i = Sigma_i + noise_variance * I``, its probabilities and noise.

        Parameters
        ----------
        model : BlockModel
        form : {"corrected", "printed"}, default "corrected"

        Returns
        -------
        QDARouter

        Raises
        ------
        TypeError, ValueError
            Where `model` is no BlockModel, `form` is unknown, a ``C_i`` is singular, or the form is corrected and the
            noise variance is zero.

        Examples
        --------
        >>> import moenoise as mn
        >>> router = mn.QDARouter.from_model(mn.BlockModel.isotropic(2, 2, variance=3.0, rng=0))
        >>> router.predict([[2.0, 0.1], [0.1, -2.0]])
        array([0, 1])
        """
        check_model(model)
        covariances = [covariance + model.noise_variance * np.eye(len(covariance)) for covariance in model.covariances]
        return cls._from_moments(covariances, model.noise_variance, model.probabilities, form=form)

    @classmethod
    def _from_moments(cls, covariances, noise_variance, priors, *, form="corrected", shrinkage=0.0, dead=()):
        """The fitted router of given ``C_i``, noise variance and priors.

        `shrinkage` is what the covariances went through; `dead` are experts that no row is ever sent to.
        """
        block_sizes = np.array([len(covariance) for covariance in covariances], dtype=np.intp)
        router = cls(block_sizes, noise_variance=noise_variance, priors=priors, form=form, shrinkage=shrinkage)
        router._check_parameters(block_sizes.sum())
        router.n_features_in_, router._dead = int(block_sizes.sum()), list(dead)
        router._set_fit(covariances, noise_variance, priors)
        return router

    def _changed(self, change):
        """The fitted router for noise whose variance, per entry, has changed by that much."""
        if change == 0 or self.noise_variance_ is None:
            return self
        covariances = [covariance + change * np.eye(len(covariance)) for covariance in self.covariances_]
        return self._from_moments(covariances, self.noise_variance_ + change, self.priors_, form=self.form,
                                  shrinkage=self.shrinkage, dead=self._dead)

    def _least_change(self):
        """The lowest change of the noise variance that leaves it, and all ``C_i``, positive with something to spare."""
        if self.noise_variance_ is None:
            return -np.inf
        least = [scipy.linalg.eigvalsh(covariance, subset_by_index=[0, 0])[0] for covariance in self.covariances_]
        return -(1 - LEAST_SHARE) * min(self.noise_variance_, *least)

    @property
    def _gate(self):
        """(inverse factors, constants, noise precision): what the kernels need to score rows."""
        return self._inverse_factors, self._constants, self._noise_precision

    def fit(self, X, expert):
        """Estimate the covariances, and the noise variance and priors where they are not given.

        Parameters
        ----------
        X : array-like (n, d)
            Noisy features.
        expert : array-like (n,) of int
            The expert of each row, 0 to k - 1; each has at least as many rows as features, or `shrinkage` is positive
            and each has a row.

        Returns
        -------
        self

        Raises
        ------
        TypeError, ValueError
            Where a parameter or an argument has the wrong kind, shape or range; where an expert has too few rows or
            a singular covariance (the message names it); where the estimated noise variance is zero.
        """
        with unchanged_on_error(self):
            self._dead = []
            X = as_features(self, X, reset=True, finite=False)
            block_sizes = self._check_parameters(X.shape[1])
            k = len(block_sizes)
            expert = _validation.as_expert(expert, len(X), k)
            counts = _validation.check_every_expert_has_rows(expert, k)
            if k > 1 and self.shrinkage == 0:
                _check_enough_rows(counts, block_sizes)
            flat, counts, off_block = _core.block_covariance(X, expert, block_sizes)
            if not (np.isfinite(flat).all() and np.isfinite(off_block)):  # each entry of X is in one of them, squared
                _validation.check_finite(X, "X")
                raise ValueError("X must have entries whose squares do not overflow")
            covariances = [_shrink(covariance, self.shrinkage) for covariance in split_squares(flat, block_sizes)]
            noise_variance = self.noise_variance
            if noise_variance is None and k > 1:
                noise_variance = off_block / (counts @ (X.shape[1] - block_sizes))
                if noise_variance == 0 and self.form == "corrected":
                    raise ValueError(
                        "noise_variance must be given: all training entries outside their rows' own blocks are zero"
                    )
            priors = counts / len(X) if self.priors is None else _validation.as_probabilities(self.priors, k, "priors")
            self._set_fit(covariances, noise_variance, priors)
            self.counts_ = counts
        return self

    def decision_function(self, X):
        """The experts' scores; see the class for the equation.

        Parameters
        ----------
        X : array-like (n, d)

        Returns
        -------
        (n, k) array, or (n,) where k = 2
            For two experts the score of expert 1 less that of expert 0, as is scikit-learn's convention. For one
            expert zeros.

        Raises
        ------
        ValueError
            Where X has the wrong shape, holds NaN or infinity, or has entries whose squares overflow.
        """
        scores = self._scores(X)
        return scores[:, 1] - scores[:, 0] if scores.shape[1] == 2 else scores

    def predict(self, X):
        """The expert of the largest score.

        Parameters
        ----------
        X : array-like (n, d)

        Returns
        -------
        (n,) array of int
            Ids 0 to k - 1.

        Raises
        ------
        ValueError
            As `decision_function`.
        """
        return self._scores(X).argmax(axis=1)

    def predict_proba(self, X):
        """The posterior probability of each expert: the softmax of the scores.

        Parameters
        ----------
        X : array-like (n, d)

        Returns
        -------
        (n, k) array
            For the printed form, whose scores are no log-likelihoods, these are not probabilities of anything.

        Raises
        ------
        ValueError
            As `decision_function`.
        """
        return scipy.special.softmax(self._scores(X), axis=1)

    def _check_parameters(self, d):
        """Raise where a constructor parameter is wrong; returns the block sizes."""
        block_sizes = _validation.as_block_sizes(self.block_sizes, d)
        _validation.as_choice(self.form, "form", FORMS)
        _validation.as_scalar(self.shrinkage, "shrinkage", low=0, high=1)
        if self.noise_variance is not None:
            # The corrected score compares noise densities, which have no limit at zero variance.
            _validation.as_scalar(self.noise_variance, "noise_variance", low=0, open_low=self.form == "corrected")
        if self.priors is not None:
            _validation.as_probabilities(self.priors, len(block_sizes), "priors")
        return block_sizes

    def _set_fit(self, covariances, noise_variance, priors):
        """Store the estimates and what the scores need of them; nothing where a covariance is singular."""
        block_sizes = np.array([len(covariance) for covariance in covariances], dtype=np.intp)
        noise_variance = None if noise_variance is None else float(noise_variance)
        if len(covariances) > 1:
            flat = np.concatenate([covariance.ravel() for covariance in covariances])
            self._inverse_factors, log_determinants = _core.qda_factor(flat, block_sizes)
            self._constants, self._noise_precision = -0.5 * log_determinants, 0.0
            if self.form == "corrected":
                self._constants += np.log(priors) + 0.5 * block_sizes * np.log(noise_variance)
                self._noise_precision = 1 / noise_variance
            self._constants[self._dead] = NEVER
        self.covariances_, self.noise_variance_, self.priors_ = covariances, noise_variance, np.array(priors)
        self.classes_ = np.arange(len(covariances))
        self.block_sizes_ = block_sizes

    def _scores(self, X):
        """(n, k) scores, for two experts as well."""
        check_is_fitted(self)
        k = len(self.classes_)
        X = as_features(self, X, finite=k == 1)
        if k == 1:
            return np.zeros((len(X), 1))
        scores = _core.qda_scores(X, self.block_sizes_, *self._gate)
        if not np.isfinite(scores).all():  # each entry of X is in one of them, squared
            _validation.check_finite(X, "X")
            raise ValueError("X must have entries whose squares, over the variances, do not overflow")
        return scores


def _check_enough_rows(counts, block_sizes):
    short = np.flatnonzero(counts < block_sizes)
    if len(short):
        i = short[0]
        raise ValueError(
            f"expert {i} has {counts[i]} rows and {block_sizes[i]} features, so its covariance is singular: "
            "X must have at least as many rows of each expert as the expert has features, or shrinkage be positive"
        )


def split_squares(flat, block_sizes):
    """The k square matrices stored one after the other."""
    pieces = np.split(flat, np.cumsum(block_sizes**2)[:-1])
    return [piece.reshape(size, size) for piece, size in zip(pieces, block_sizes)]


def _shrink(covariance, shrinkage):
    d = len(covariance)
    return (1 - shrinkage) * covariance + shrinkage * (np.trace(covariance) / d) * np.eye(d)
