"""scikit-learn regressors over the kernels: one dense linear model, and linear experts on feature blocks."""

import dataclasses

import numpy as np
from sklearn.base import BaseEstimator, MultiOutputMixin, RegressorMixin, clone
from sklearn.frozen import FrozenEstimator
from sklearn.utils.validation import check_is_fitted

from . import _core, _noise, _validation, fitting, linear
from ._estimating import as_features, as_training_data, unchanged_on_error, warn_of_means
from ._experts import LinearExperts, expected_error
from ._noise import AdaptingMixin, InputPower
from ._ridge import RidgeExpert, leave_one_out_error, ridge
from .router import QDARouter, split_squares

ROUTING = ("hard", "soft")

UNKNOWN = "beyond that what was fitted to noisy inputs does not tell what cleaner ones are like"


class DenseRegressor(AdaptingMixin, MultiOutputMixin, RegressorMixin, BaseEstimator):
    r"""Minimum-norm least squares on all features: the paper's dense estimator (Section 3), or ridge regression.

    Parameters
    ----------
    penalty : float >= 0, default 0.0
        r of the ridge fit ``(X'X / n + r I)^-1 X'y / n`` (beyond the paper): scikit-learn's ``Ridge(alpha=n * r)``. An
        intercept is not penalised. 0 fits without. Of a model, `moenoise.theory.best_penalty` is the best one.
    fit_intercept : bool, default False
        Whether to subtract the means of X and y first. The paper's model has mean zero.
    method : {"auto", "normal", "orthogonal", "svd"}, default "auto"
    rcond : float in [0, 1), optional
        As in `moenoise.lstsq`; with a penalty, of X with ``sqrt(n r) I`` below it (beside it where n < d).
    noise : {"fit", "adapt"}, default "fit"
        Which noise `predict` supposes on the features: that of training, or what it estimates from the batch it is
        given (see `noise_change`), where that differs by two standard errors at least. Where the noise variance of the
        batch has c above that of training, the coefficients become
        ``(S + c I)^-1 S coef`` with S the covariance of the training features: a ridge of c (beyond the paper). With a
        penalty r they become ``(S + r I + c I)^-1 (S + r I) coef``: the ridge of ``r + c``.
    noise_variance : float >= 0, optional
        Of the training features: a variance, per entry. Needed only to set another one in `predict`.

    Attributes
    ----------
    coef_ : (d,) or (m, d) array
        At the training noise.
    intercept_ : float or (m,) array
        0.0 where none is fitted.
    rank_ : int
        The numerical rank of X, of the centred X where an intercept is fitted. With a penalty there is always enough of
        it, and this is ``min(n, d)`` (but for `rcond`).
    method_ : str
        The method that was used.
    noise_variance_ : float or None
        As given.
    error_variance_ : float or (m,) array
        Expected squared error on new rows, for Gaussian features; NaN with fewer than ``rank_ + 2`` rows (one more
        with an intercept). With a penalty, and then for any features and number of rows: the mean squared error of
        predicting each training row from the others.
    n_features_in_ : int

    Examples
    --------
    >>> import moenoise as mn
    >>> regressor = mn.DenseRegressor(fit_intercept=True).fit([[0.0], [1.0], [2.0]], [1.0, 3.0, 5.0])
    >>> regressor.coef_.round(12), regressor.predict([[10.0]]).round(12)
    (array([2.]), array([21.]))
    """

    def __init__(self, *, penalty=0.0, fit_intercept=False, method="auto", rcond=None, noise="fit",
                 noise_variance=None):
        self.penalty = penalty
        self.fit_intercept = fit_intercept
        self.method = method
        self.rcond = rcond
        self.noise = noise
        self.noise_variance = noise_variance

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
            _validation.as_choice(self.noise, "noise", _noise.NOISE)
            penalty = _validation.as_scalar(self.penalty, "penalty", low=0)
            noise_variance = self.noise_variance
            if noise_variance is not None:
                noise_variance = _validation.as_scalar(noise_variance, "noise_variance", low=0)
            power = InputPower.of(X)
            X_mean, y_mean = np.zeros(X.shape[1]), np.zeros(y.shape[1:])
            if self.fit_intercept:
                X_mean, y_mean = X.mean(axis=0), y.mean(axis=0)
                X, y = X - X_mean, y - y_mean
            fit = self._fit_coef(X, y, penalty)
            self.coef_, self.rank_, self.method_ = fit.coef.T, fit.rank, fit.method
            self.intercept_ = y_mean - X_mean @ fit.coef if self.fit_intercept else 0.0
            self.noise_variance_, self._power, self._one_response = noise_variance, power, y.ndim == 1
            self.error_variance_ = self._expected_error(X, y, fit, penalty)[()]
            # What a change of noise needs is kept where there may be one: it has d x d numbers.
            keeps = noise_variance is not None or self.noise == "adapt"
            covariance = second_moments(X) + penalty * np.eye(X.shape[1]) if keeps else None
            parts = (np.array([X.shape[1]], dtype=np.intp), [covariance], [fit.coef.reshape(X.shape[1], -1)], X_mean,
                     y_mean.reshape(1, -1), self.error_variance_.reshape(1, -1), np.array([len(X)]), noise_variance)
            self._experts = RidgeExpert(*parts, penalty) if penalty > 0 else LinearExperts(*parts)
        return self

    def _fit_coef(self, X, y, penalty):
        if penalty == 0:
            return linear.lstsq(X, y, rcond=self.rcond, method=self.method)
        return ridge(X, y, penalty, rcond=self.rcond, method=self.method)

    def _expected_error(self, X, y, fit, penalty):
        if penalty == 0:
            squares = ((y - X @ fit.coef) ** 2).sum(axis=0)
            return expected_error(squares, len(X), fit.rank, fit_intercept=self.fit_intercept)
        return leave_one_out_error(X, y, penalty, fit_intercept=self.fit_intercept)

    def predict(self, X, *, noise_variance=None, return_std=False):
        """``X coef + intercept``, with the coefficients of the noise that is supposed.

        Parameters
        ----------
        X : array-like (n, d)
        noise_variance : float >= 0, optional
            Of these features: a variance, per entry. Default: as the parameter `noise` says.
        return_std : bool, default False
            Whether to return the standard deviation of the errors as well, the same for all rows; see
            `ExpertsRegressor.predict` for what it covers.

        Returns
        -------
        response : (n,) or (n, m) array
        std : (n,) or (n, m) array
            Only where `return_std`.

        Raises
        ------
        TypeError, ValueError
            Where an argument has the wrong kind, shape or range; where `noise_variance` is given and that of training
            is not known; where `return_std` and the training rows were too few to tell.

        Warns
        -----
        UserWarning
            Where a batch is too small to estimate its noise from, and the noise of training is taken; where the inputs
            are cleaner than the fit can tell of, and the least noise is taken that leaves each eigenvalue of the
            features' covariance the share of itself that is uncertain, ``2 sqrt(d / n)``.
        """
        check_is_fitted(self)
        X = as_features(self, X)
        experts = self._experts
        change = self._noise_change(X, noise_variance)
        if change == 0:
            response = (X @ self.coef_.T + self.intercept_).reshape(len(X), -1)
        else:
            if change < 0:
                change = _noise.limited(change, experts.least_change(), UNKNOWN)
            experts = experts.changed(change)
            response = X @ experts.coef[0] + experts.intercepts[0]
        variance = None
        if _validation.as_flag(return_std, "return_std"):
            variance = np.broadcast_to(experts.checked_variances(), response.shape)
        return self._answer(response, variance)


class ExpertsRegressor(AdaptingMixin, MultiOutputMixin, RegressorMixin, BaseEstimator):
    r"""Linear experts on disjoint feature blocks behind a gate: the paper's sparse estimators, and their soft mixture.

    Each expert is the minimum-norm least-squares fit of its own rows on its own block of features. Their rows are given
    to `fit`, or found by expectation maximisation. At prediction a row goes to one expert (hard routing, as in the
    paper), or all answer, weighted by the router's probabilities (soft routing): under the block model that is the best
    predictor there is, ``E[y | x]``, at the noise that it was fitted to (beyond the paper).

    Parameters
    ----------
    block_sizes : array-like (k,) of int, optional
        The number of features of each expert, in order; they sum to d. Default: one block of all features and no
        router; the expert of a row is then ignored.
    routing : {"hard", "soft"}, default "hard"
        Whether the likeliest expert answers alone, or all by their probabilities.
    noise : {"fit", "adapt"}, default "fit"
        Which noise `predict` supposes on the features: that of training, or what it estimates from the batch it is
        given (see `noise_change`), where that differs by two standard errors at least. Where the noise variance of the
        batch has c above that of training, gate and experts are those of
        ``C_i + c I`` and ``noise_variance_ + c``, and each expert's coefficients become ``(S_i + c I)^-1 S_i coef_i``
        with ``S_i`` the covariance of its training features: a ridge of c (beyond the paper).
    noise_variance : float > 0, optional
        Of the training features: a variance, per entry. Default: estimated from all training entries outside their
        rows' own blocks. A QDARouter given as `router` has one of its own.
    router : classifier, optional
        A scikit-learn classifier of the ids 0 to k - 1; a clone of it is fitted to ``(X, expert)``. Default:
        ``QDARouter(block_sizes, noise_variance=noise_variance)``. To use a fitted one as it is, wrap it in
        `sklearn.frozen.FrozenEstimator`. Soft routing asks it for ``predict_proba``; only a `QDARouter` can follow a
        change of noise.
    fit_intercept : bool, default False
        Whether each expert has an intercept: the means over its own rows are subtracted first.
    method : {"auto", "normal", "orthogonal", "svd"}, default "auto"
    rcond : float in [0, 1), optional
        As in `moenoise.block_lstsq`.
    n_starts, max_iter : int, default 4 and 200
    tol : float, default 1e-5
        Of the expectation maximisation where `fit` is not told the experts; see `moenoise.fit_block_model`.
    random_state : None, int, SeedSequence or Generator, default None
        Of its starts after the first.
    n_jobs : int, optional
        Its threads; default: one. The result has the same bits for any number.
    verbose : bool, default False
        Whether it shows a progress bar where it takes more than a second.

    Attributes
    ----------
    coef_ : list of k arrays, (d_i,) or (m, d_i)
        At the training noise.
    intercept_ : (k,) or (k, m) array
        Zero where none is fitted.
    rank_ : (k,) array of int
        The numerical rank of each expert's part of X, centred where an intercept is fitted.
    method_ : list of k str
        The method that was used for each expert; "normal" where the experts were not given.
    error_variance_ : (k,) or (k, m) array
        Each expert's expected squared error on new rows of its own, for Gaussian features; NaN where it has too few
        rows to tell.
    noise_variance_ : float or None
        Of the training features, per entry, given or estimated; None where there is no default router and none was
        given.
    router_ : classifier or None
        The fitted router; None where there is no routing, or where the default router could not be fitted.
    posterior_ : (n, k) array
        Each training row's probabilities of the experts given its features and response; only where the experts were
        not given.
    log_likelihood_ : (n_iter_,) array
        After each pass over the rows; likewise.
    dead_ : tuple of int
        Experts that no rows are left to, and that never answer; likewise.
    n_iter_ : int
        Passes over the rows; 1 where the experts were given.
    n_features_in_ : int

    Notes
    -----
    Blocks are side by side, in the order of `block_sizes`: permute the columns of X if they are not. Means: an
    intercept takes care of those of the response and of each expert's own features, but the gate, and the estimate of
    the noise, take means of features for signal, so subtract these first. Noise has the same variance on all features:
    bring features of different units to the same noise, not to the same variance, where you can. In
    cross-validation the experts travel as ``params={"expert": expert}``. The router tells experts by the variance of
    their blocks, not by y; `moenoise.QDARouter` says how well it does by its own ``score``.

    A default router that cannot be fitted, say because an expert has fewer rows than features, is no error before
    `predict` is asked to route. A router that was given raises its error in `fit`.

    Examples
    --------
    >>> import moenoise as mn
    >>> model = mn.BlockModel.toeplitz(16, 4, scale=2.0, rng=0)
    >>> train, test = model.sample(4000, rng=1), model.sample(4000, rng=2)

    >>> def error(regressor, **given):
    ...     return round(float(((regressor.predict(test.features, **given) - test.response) ** 2).mean()), 2)
    >>> hard = mn.ExpertsRegressor(model.block_sizes).fit(train.features, train.response, expert=train.expert)
    >>> error(hard, expert=test.expert), error(hard)  # routed by the label, and by the router
    (3.23, 4.92)

    Soft, and without anybody knowing the experts of the training rows:

    >>> soft = mn.ExpertsRegressor(model.block_sizes, routing="soft", random_state=0)
    >>> error(soft.fit(train.features, train.response, expert=train.expert))
    4.33
    >>> error(soft.fit(train.features, train.response))
    4.34
    """

    def __init__(self, block_sizes=None, *, routing="hard", noise="fit", noise_variance=None, router=None,
                 fit_intercept=False, method="auto", rcond=None, n_starts=4, max_iter=200, tol=1e-5, random_state=None,
                 n_jobs=None, verbose=False):
        self.block_sizes = block_sizes
        self.routing = routing
        self.noise = noise
        self.noise_variance = noise_variance
        self.router = router
        self.fit_intercept = fit_intercept
        self.method = method
        self.rcond = rcond
        self.n_starts = n_starts
        self.max_iter = max_iter
        self.tol = tol
        self.random_state = random_state
        self.n_jobs = n_jobs
        self.verbose = verbose

    def fit(self, X, y, expert=None):
        """Fit the experts and the router.

        Parameters
        ----------
        X : array-like (n, d)
        y : array-like (n,) or (n, m)
        expert : array-like (n,) of int, optional
            The expert of each row, 0 to k - 1; each has at least one row. Default: nobody knows; experts and gate are
            fitted by expectation maximisation, see `moenoise.fit_block_model`. Where rows are few and signals weak that
            fits accidents, and predicts worse than a dense fit: compare them on rows held out.

        Returns
        -------
        self

        Raises
        ------
        TypeError, ValueError
            Where a parameter or an argument has the wrong kind, shape or range, or an expert has no rows; see
            `moenoise.block_lstsq`. Whatever a `router` that was given raises.

        Warns
        -----
        UserWarning
            Where several experts are fitted and a mean of X, or without intercepts of y, is far from zero. Without
            `expert`: where an expert dies.
        sklearn.exceptions.ConvergenceWarning
            Without `expert`, where the iteration has not converged.
        """
        with unchanged_on_error(self):
            X, y = as_training_data(self, X, y)
            block_sizes = self._as_block_sizes(X.shape[1])
            settings = self._check_parameters()
            self._power, self._one_response = InputPower.of(X), y.ndim == 1
            self._ignores_expert = self.block_sizes is None
            expert = self._as_expert(expert, len(X), len(block_sizes))
            if len(block_sizes) > 1:
                warn_of_means(X, y.reshape(len(X), -1), fit_intercept=self.fit_intercept, stacklevel=3)
            if expert is None:
                self._fit_unlabelled(X, y.reshape(len(X), -1), block_sizes, settings)
            else:
                self._fit_labelled(X, y, block_sizes, expert)
            coef = [block[:, 0] if self._one_response else block.T for block in self._experts.coef]
            columns = 0 if self._one_response else slice(None)
            self.coef_, self.intercept_ = coef, self._experts.intercepts[:, columns]
            self.error_variance_ = self._experts.error_variances[:, columns]
        return self

    def predict(self, X, expert=None, *, noise_variance=None, return_std=False):
        """The experts' responses, each to a row's part in its own block, chosen or weighted by the router.

        Parameters
        ----------
        X : array-like (n, d)
        expert : array-like (n,) of int, optional
            The expert of each row. Default: the router decides, hard or soft.
        noise_variance : float > 0, optional
            Of these features: a variance, per entry. Default: as the parameter `noise` says.
        return_std : bool, default False
            Whether to return the standard deviation of the errors as well: within the experts and between them.

        Returns
        -------
        response : (n,) or (n, m) array
        std : (n,) or (n, m) array
            Only where `return_std`. With ``q`` the router's probabilities, ``m_i`` the experts' responses and ``t_i``
            their errors' variances, ``sqrt(sum_i q_i (t_i + (m_i - response)^2))``, for hard routing too. Under the
            model squared errors are on average its square. A mixture of normals is not quite normal: 1.645 and 1.96 of
            it covered 89 to 92 % and 93 to 95 % of new rows with the training noise in the models tried. It is too
            small where few rows were fitted without labels, as the experts were then fitted to responses that had
            chosen them: of 12 experts with 5 features each 1.96 covered 84 % with 200 rows, 94 % with 2,000.

        Raises
        ------
        TypeError, ValueError
            Where an argument has the wrong kind, shape or range; where the router is asked and could not be fitted;
            where `noise_variance` is given and that of training is not known, or the router is no `QDARouter`; where
            `return_std` and an expert had too few rows to tell.

        Warns
        -----
        UserWarning
            Where a batch has fewer than 32 rows, too few to estimate its noise from, and the noise of training is
            taken; where the inputs are cleaner than the fit can tell of, and the least noise is taken that leaves each
            eigenvalue of ``S_i`` the share of itself that is uncertain, ``2 sqrt(d_i / n_i)``.
        """
        check_is_fitted(self)
        k = len(self._experts.coef)
        hard = self._routing() == "hard"
        with_variance = _validation.as_flag(return_std, "return_std")
        if expert is not None or k == 1:
            X = as_features(self, X)
            gate = np.zeros(len(X), dtype=np.intp)
            if expert is not None and not self._ignores_expert:
                gate = _validation.as_expert(expert, len(X), k)
            experts, _ = self._changed(self._noise_change(X, noise_variance), None)
        elif (router := self._qda_router) is not None:
            X = as_features(self, X, finite=False)  # each entry is in a score: what is not finite shows in the result
            experts, gate = self._changed(self._noise_change(X, noise_variance), router)
        else:
            X = as_features(self, X)
            if self.router_ is not None and self._noise_change(X, noise_variance) != 0:
                raise ValueError("router must be a QDARouter of the same blocks to predict at another noise than that "
                                 "of training")
            experts, gate = self._experts, self._ask_router(X, k, hard and not with_variance)
        return self._answer(*experts.predict(X, gate, hard=hard, with_variance=with_variance))

    def score(self, X, y, sample_weight=None, expert=None):
        """The coefficient of determination of ``predict(X, expert)``.

        Parameters
        ----------
        X : array-like (n, d)
        y : array-like (n,) or (n, m)
        sample_weight : array-like (n,), optional
        expert : array-like (n,) of int, optional
            The expert of each row. Default: the router decides.

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

    def _check_parameters(self):
        _validation.as_choice(self.noise, "noise", _noise.NOISE)
        self._routing()
        if self.noise_variance is not None:
            _validation.as_scalar(self.noise_variance, "noise_variance", low=0, open_low=True)
            if isinstance(getattr(self.router, "estimator", self.router), QDARouter):
                raise ValueError("noise_variance must be None beside a QDARouter of your own: give it to that")
        return fitting.as_settings(self.n_starts, self.max_iter, self.tol, 1 if self.n_jobs is None else self.n_jobs,
                                   self.verbose, names=("n_jobs", "verbose"))

    def _routing(self):
        return _validation.as_choice(self.routing, "routing", ROUTING)

    def _as_block_sizes(self, d):
        return np.array([d]) if self.block_sizes is None else _validation.as_block_sizes(self.block_sizes, d)

    def _as_expert(self, expert, n, k):
        """(n,) ids; None where there is more than one expert and nobody knows."""
        if self.block_sizes is None or (expert is None and k == 1):
            return np.zeros(n, dtype=np.intp)
        return None if expert is None else _validation.as_expert(expert, n, k)

    def _fit_labelled(self, X, y, block_sizes, expert):
        counts = _validation.check_every_expert_has_rows(expert, len(block_sizes))
        blocks = _as_slices(block_sizes)
        X_means, y_means = np.zeros(X.shape[1]), np.zeros((len(blocks), *y.shape[1:]))
        centred_X, centred_y = X, y
        if self.fit_intercept:
            centred_X, centred_y, X_means, y_means = _centre(X, y, expert, blocks)
        fit = linear.block_lstsq(centred_X, centred_y, expert, block_sizes, rcond=self.rcond, method=self.method)
        router, self._router_error = self._fit_router(X, expert, block_sizes)
        covariances = [None] * len(blocks)
        if len(blocks) > 1 or self.noise == "adapt" or self.noise_variance is not None:
            flat, _, _ = _core.block_covariance(centred_X, expert, block_sizes)
            covariances = split_squares(flat, block_sizes)
        self.router_, self._qda_router = router, _as_qda_router(router, block_sizes)
        self.noise_variance_ = getattr(self._qda_router, "noise_variance_", None) or self.noise_variance
        experts = LinearExperts(block_sizes, covariances, [coef.reshape(len(coef), -1) for coef in fit.coef], X_means,
                                y_means.reshape(len(blocks), -1), np.empty(0), counts, self.noise_variance_)
        response, _ = experts.predict(X, expert, hard=True, with_variance=False)
        errors = (y.reshape(len(y), -1) - response) ** 2
        variances = [expected_error(errors[expert == i].sum(axis=0), count, rank, fit_intercept=self.fit_intercept)
                     for i, (count, rank) in enumerate(zip(counts, fit.rank))]
        self._experts = dataclasses.replace(experts, error_variances=np.stack(variances))
        self.rank_, self.method_, self.n_iter_ = fit.rank, fit.method, 1
        for name in ("posterior_", "log_likelihood_", "dead_"):
            vars(self).pop(name, None)

    def _fit_unlabelled(self, X, Y, block_sizes, settings):
        if self.router is not None:
            raise ValueError("expert must be given to fit a router of your own")
        # With intercepts, responses far from zero would lose their digits in the moments.
        Y_mean = Y.mean(axis=0) if self.fit_intercept else np.zeros(Y.shape[1])
        Y = Y - Y_mean
        start, _, dead = fitting.fit_by_em(X, Y, block_sizes, noise_variance=self.noise_variance, stacklevel=4,
                                           fit_intercept=self.fit_intercept, rng=self.random_state, **settings)
        parameters = fitting.with_the_dead(start.parameters, len(X))
        self._experts = fitting.as_experts(parameters, dead, Y, Y_mean, fit_intercept=self.fit_intercept)
        self.router_ = QDARouter._from_moments(parameters.covariances, parameters.noise_variance,
                                               parameters.probabilities, dead=dead)
        self._qda_router = self.router_
        self.noise_variance_, self._router_error = parameters.noise_variance, None
        self.rank_, self.method_ = block_sizes.copy(), ["normal"] * len(block_sizes)
        self.posterior_, self.log_likelihood_, self.dead_ = start.posterior, start.log_likelihood, dead
        self.n_iter_ = len(start.log_likelihood)

    def _fit_router(self, X, expert, block_sizes):
        """(router, None), or (None, why there is none)."""
        if self.block_sizes is None:
            return None, None
        if self.router is not None:
            router = clone(self.router).fit(X, expert)
            if self.routing == "soft" and not hasattr(router, "predict_proba"):
                raise ValueError("router must have predict_proba for soft routing")
            return router, None
        try:
            return QDARouter(block_sizes, noise_variance=self.noise_variance).fit(X, expert), None
        except ValueError as error:
            return None, str(error)

    def _changed(self, change, router):
        """Experts and router (or None) where the noise variance has changed, as far as they allow."""
        if change < 0:
            least = self._experts.least_change()
            if router is not None:
                least = max(least, router._least_change())
            change = _noise.limited(change, least, UNKNOWN, stacklevel=4)
        return self._experts.changed(change), None if router is None else router._changed(change)

    def _ask_router(self, X, k, for_ids):
        """What a classifier that is no QDARouter says of each row: (n,) ids, or (n, k) probabilities."""
        if self.router_ is None:
            raise ValueError(f"expert must be given, as the default router could not be fitted: {self._router_error}")
        if for_ids:
            return _validation.as_expert(self.router_.predict(X), len(X), k, "the router's prediction")
        if not hasattr(self.router_, "predict_proba"):
            raise ValueError("router must have predict_proba for soft routing and for return_std")
        if not np.array_equal(getattr(self.router_, "classes_", range(k)), range(k)):
            raise ValueError(f"router must be fitted to the ids 0 to {k - 1}, got classes_ {self.router_.classes_}")
        weights = _validation.as_array(self.router_.predict_proba(X), "the router's probabilities", 2)
        if weights.shape != (len(X), k):
            raise ValueError(f"the router's probabilities must have shape {(len(X), k)}, got {weights.shape}")
        if weights.min() < 0 or np.abs(weights.sum(axis=1) - 1).max() > 1e-6:
            raise ValueError("the router's probabilities must be non-negative, and sum to 1 in each row")
        return weights


def second_moments(X):
    """(d, d) ``X'X / n``, by a kernel, which Ctrl-C can interrupt."""
    n, d = X.shape
    flat, _, _ = _core.block_covariance(X, np.zeros(n, dtype=np.intp), np.array([d], dtype=np.intp))
    return flat.reshape(d, d)


def _as_qda_router(router, block_sizes):
    """The router where it is a QDARouter of the same blocks, frozen or not, else None."""
    if isinstance(router, FrozenEstimator):
        router = router.estimator
    is_plain = type(router) is QDARouter  # a subclass may route otherwise
    return router if is_plain and np.array_equal(router.block_sizes_, block_sizes) else None


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
