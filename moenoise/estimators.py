"""scikit-learn regressors over the kernels: one dense linear model, and linear experts on feature blocks."""

import numpy as np
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin, clone
from sklearn.utils.validation import check_is_fitted

from . import _validation, linear
from ._estimating import as_features, as_training_data, unchanged_on_error
from .router import QDARouter


class DenseRegressor(MultiOutputMixin, RegressorMixin, BaseEstimator):
    r"""Minimum-norm least squares on all features: the paper's dense estimator (Section 3).

    Parameters
    ----------
    fit_intercept : bool, default False
        Whether to subtract the means of X and y first. The paper's model has mean zero.
    method : {"auto", "normal", "orthogonal", "svd"}, default "auto"
    rcond : float in [0, 1), optional
        As in `moenoise.lstsq`.

    Attributes
    ----------
    coef_ : (d,) or (m, d) array
    intercept_ : float or (m,) array
        0.0 where none is fitted.
    rank_ : int
        The numerical rank of X, of the centred X where an intercept is fitted.
    method_ : str
        The method that was used.
    n_features_in_ : int

    Examples
    --------
    >>> import moenoise as mn
    >>> regressor = mn.DenseRegressor(fit_intercept=True).fit([[0.0], [1.0], [2.0]], [1.0, 3.0, 5.0])
    >>> regressor.coef_.round(12), regressor.predict([[10.0]]).round(12)
    (array([2.]), array([21.]))
    """

    def __init__(self, *, fit_intercept=False, method="auto", rcond=None):
        self.fit_intercept = fit_intercept
        self.method = method
        self.rcond = rcond

    def fit(self, X, y):
        """Fit the coefficients.

        Parameters
        ----------
        X : array-like (n, d)
        y : array-like (n,) or (n, m)

        Returns
        -------
        self

        Raises
        ------
        TypeError, ValueError
            Where a parameter or an argument has the wrong kind, shape or range; see `moenoise.lstsq`.
        """
        with unchanged_on_error(self):
            X, y = as_training_data(self, X, y)
            if self.fit_intercept:
                X_mean, y_mean = X.mean(axis=0), y.mean(axis=0)
                X, y = X - X_mean, y - y_mean
            fit = linear.lstsq(X, y, rcond=self.rcond, method=self.method)
            self.coef_, self.rank_, self.method_ = fit.coef.T, fit.rank, fit.method
            self.intercept_ = y_mean - X_mean @ fit.coef if self.fit_intercept else 0.0
        return self

    def predict(self, X):
        """``X coef + intercept``.

        Parameters
        ----------
        X : array-like (n, d)

        Returns
        -------
        (n,) or (n, m) array

        Raises
        ------
        ValueError
            Where X has the wrong shape or holds NaN or infinity.
        """
        check_is_fitted(self)
        X = as_features(self, X)
        return X @ self.coef_.T + self.intercept_


class ExpertsRegressor(MultiOutputMixin, RegressorMixin, BaseEstimator):
    r"""Linear experts on disjoint feature blocks, and a router: the paper's sparse estimators (Section 3).

    Each expert is the minimum-norm least-squares fit of its own rows on its own block of features. At prediction a row
    goes to one expert, the one that is given or the one that the router picks.

    Parameters
    ----------
    block_sizes : array-like (k,) of int, optional
        The number of features of each expert, in order; they sum to d. Default: one block of all features and no
        router; the expert of a row is then ignored.
    router : classifier, optional
        A scikit-learn classifier of the ids 0 to k - 1; a clone of it is fitted to ``(X, expert)``. Default:
        ``QDARouter(block_sizes)``. To use a fitted one as it is, wrap it in `sklearn.frozen.FrozenEstimator`.
    fit_intercept : bool, default False
        Whether each expert has an intercept: the means over its own rows are subtracted first.
    method : {"auto", "normal", "orthogonal", "svd"}, default "auto"
    rcond : float in [0, 1), optional
        As in `moenoise.block_lstsq`.

    Attributes
    ----------
    coef_ : list of k arrays, (d_i,) or (m, d_i)
    intercept_ : (k,) or (k, m) array
        Zero where none is fitted.
    rank_ : (k,) array of int
        The numerical rank of each expert's part of X, centred where an intercept is fitted.
    method_ : list of k str
        The method that was used for each expert.
    router_ : classifier or None
        The fitted router; None where there is no routing, or where the default router could not be fitted.
    n_features_in_ : int

    Notes
    -----
    Blocks are side by side, in the order of `block_sizes`: permute the columns of X if they are not. In
    cross-validation the experts travel as ``params={"expert": expert}``. The router tells experts by the variance of
    their blocks, not by y; `moenoise.QDARouter` says how well it does by its own ``score``.

    A default router that cannot be fitted, say because an expert has fewer rows than features, is no error before
    `predict` is asked to route. A router that was given raises its error in `fit`.

    Examples
    --------
    >>> import moenoise as mn
    >>> model = mn.BlockModel.isotropic(8, 2, variance=9.0, noise_variance=0.1, rng=0)
    >>> train, test = model.sample(400, rng=1), model.sample(400, rng=2)
    >>> experts = mn.ExpertsRegressor(model.block_sizes).fit(train.features, train.response, expert=train.expert)
    >>> routed, oracle = experts.predict(test.features), experts.predict(test.features, expert=test.expert)
    >>> bool(((routed - oracle) != 0).mean() < 0.05)
    True
    """

    def __init__(self, block_sizes=None, *, router=None, fit_intercept=False, method="auto", rcond=None):
        self.block_sizes = block_sizes
        self.router = router
        self.fit_intercept = fit_intercept
        self.method = method
        self.rcond = rcond

    def fit(self, X, y, expert=None):
        """Fit the experts and the router.

        Parameters
        ----------
        X : array-like (n, d)
        y : array-like (n,) or (n, m)
        expert : array-like (n,) of int
            The expert of each row, 0 to k - 1; each has at least one row. Required unless `block_sizes` is None.

        Returns
        -------
        self

        Raises
        ------
        TypeError, ValueError
            Where a parameter or an argument has the wrong kind, shape or range, or an expert has no rows; see
            `moenoise.block_lstsq`. Whatever a `router` that was given raises.
        """
        with unchanged_on_error(self):
            X, y = as_training_data(self, X, y)
            block_sizes = self._as_block_sizes(X.shape[1])
            blocks = _as_slices(block_sizes)
            expert = self._as_expert(expert, len(X), len(blocks))
            _validation.check_every_expert_has_rows(expert, len(blocks))
            if self.fit_intercept:
                centred_X, centred_y, X_means, y_means = _centre(X, y, expert, blocks)
            else:
                centred_X, centred_y = X, y
                X_means, y_means = np.zeros(X.shape[1]), np.zeros((len(blocks), *y.shape[1:]))
            fit = linear.block_lstsq(centred_X, centred_y, expert, block_sizes, rcond=self.rcond, method=self.method)
            router, router_error = self._fit_router(X, expert, block_sizes)
            self.coef_, self.rank_, self.method_ = [coef.T for coef in fit.coef], fit.rank, fit.method
            self.intercept_ = y_means - np.stack([X_means[block] @ coef for block, coef in zip(blocks, fit.coef)])
            self.router_, self._router_error, self._blocks = router, router_error, blocks
        return self

    def predict(self, X, expert=None):
        """The response of each row's expert to the row's part in the expert's block.

        Parameters
        ----------
        X : array-like (n, d)
        expert : array-like (n,) of int, optional
            The expert of each row. Default: the router picks.

        Returns
        -------
        (n,) or (n, m) array

        Raises
        ------
        TypeError, ValueError
            Where an argument has the wrong kind, shape or range; where the router is asked and could not be fitted.
        """
        check_is_fitted(self)
        X = as_features(self, X)
        expert = self._route(X) if expert is None else self._as_expert(expert, len(X), len(self._blocks))
        response = np.empty((len(X), *self.intercept_.shape[1:]))
        for i, block in enumerate(self._blocks):
            rows = np.flatnonzero(expert == i)
            response[rows] = X[rows, block] @ self.coef_[i].T + self.intercept_[i]
        return response

    def score(self, X, y, sample_weight=None, expert=None):
        """The coefficient of determination of ``predict(X, expert)``.

        Parameters
        ----------
        X : array-like (n, d)
        y : array-like (n,) or (n, m)
        sample_weight : array-like (n,), optional
        expert : array-like (n,) of int, optional
            The expert of each row. Default: the router picks.

        Returns
        -------
        float

        Raises
        ------
        TypeError, ValueError
            As `predict`.
        """
        from sklearn.metrics import r2_score

        return r2_score(y, self.predict(X, expert=expert), sample_weight=sample_weight)

    def _as_block_sizes(self, d):
        return np.array([d]) if self.block_sizes is None else _validation.as_block_sizes(self.block_sizes, d)

    def _as_expert(self, expert, n, k):
        if self.block_sizes is None:
            return np.zeros(n, dtype=np.intp)
        if expert is None:
            raise ValueError("expert, the id of each row's expert, must be given to fit several blocks")
        return _validation.as_expert(expert, n, k)

    def _fit_router(self, X, expert, block_sizes):
        """(router, None), or (None, why there is none)."""
        if self.block_sizes is None:
            return None, None
        if self.router is not None:
            return clone(self.router).fit(X, expert), None
        try:
            return QDARouter(block_sizes).fit(X, expert), None
        except ValueError as error:
            return None, str(error)

    def _route(self, X):
        k = len(self._blocks)
        if k == 1:
            return np.zeros(len(X), dtype=np.intp)
        if self.router_ is None:
            raise ValueError(f"expert must be given, as the default router could not be fitted: {self._router_error}")
        return _validation.as_expert(self.router_.predict(X), len(X), k, "the router's prediction")


def _as_slices(block_sizes):
    ends = np.cumsum(block_sizes)
    return [slice(end - size, end) for end, size in zip(ends, block_sizes)]


def _centre(X, y, expert, blocks):
    """Copies less each expert's means, over its own rows and columns, and the means (d,) and (k,) or (k, m)."""
    X, y = X.copy(), y.copy()
    X_means, y_means = np.empty(X.shape[1]), np.empty((len(blocks), *y.shape[1:]))
    for i, block in enumerate(blocks):
        rows = np.flatnonzero(expert == i)
        X_means[block], y_means[i] = X[rows, block].mean(axis=0), y[rows].mean(axis=0)
        X[rows, block] -= X_means[block]
        y[rows] -= y_means[i]
    return X, y, X_means, y_means
