"""The regressors against the functions they wrap, and scikit-learn's own checks."""

import dataclasses

import numpy as np
import pytest
from monte_carlo import agrees
from reference import relative_error
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.model_selection import LeaveOneOut, cross_val_predict, cross_val_score
from sklearn.utils.estimator_checks import parametrize_with_checks
from sklearn.utils.validation import _num_samples

import moenoise as mn

SIZES = [2, 4, 3]


def data(n=90, m=None, seed=0):
    """Rows of three experts on blocks of unequal size, with a response of their own blocks and noise elsewhere."""
    rng = np.random.default_rng(seed)
    expert = rng.permutation(np.arange(n) % 3)
    X = rng.standard_normal((n, 9))
    y = np.empty(n if m is None else (n, m))
    for i, columns in enumerate(np.split(np.arange(9), [2, 6])):
        rows = np.flatnonzero(expert == i)
        X[np.ix_(rows, columns)] += 3 * rng.standard_normal((len(rows), len(columns))) + 1
        y[rows] = X[np.ix_(rows, columns)] @ rng.standard_normal((len(columns), *y.shape[1:])) + 2 * i + 3
    return X, y + 0.1 * rng.standard_normal(y.shape), expert


# ---- dense -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("m", [None, 1, 2])
@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("method", ["auto", "normal", "orthogonal", "svd"])
def test_dense_agrees_with_scikit_learn(m, fit_intercept, method):
    X, y, _ = data(m=m)
    ours = mn.DenseRegressor(fit_intercept=fit_intercept, method=method).fit(X, y)
    theirs = LinearRegression(fit_intercept=fit_intercept).fit(X, y)
    assert relative_error(ours.coef_, theirs.coef_) < 1e-11
    assert ours.intercept_ == pytest.approx(theirs.intercept_, rel=1e-10)
    assert relative_error(ours.predict(X), theirs.predict(X)) < 1e-12
    assert ours.rank_ == 9 and ours.method_ == ("normal" if method == "auto" else method)


def test_dense_is_lstsq():
    X, y, _ = data(6)
    fit, regressor = mn.lstsq(X, y, method="svd", rcond=0.5), mn.DenseRegressor(method="svd", rcond=0.5).fit(X, y)
    assert fit.rank == regressor.rank_ < 6
    assert np.array_equal(fit.coef, regressor.coef_) and regressor.intercept_ == 0
    assert np.array_equal(regressor.predict(X), X @ fit.coef)


def test_dense_with_intercept_and_a_constant_column():
    X, y, _ = data()
    X[:, 3] = 1e6
    ours = mn.DenseRegressor(fit_intercept=True).fit(X, y)
    others = np.delete(np.arange(9), 3)
    expected = LinearRegression().fit(X[:, others], y).predict(X[:, others])
    assert relative_error(ours.predict(X), expected) < 1e-9


# ---- experts -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("m", [None, 1, 2])
@pytest.mark.parametrize("fit_intercept", [False, True])
def test_experts_agree_with_scikit_learn_on_each_part(m, fit_intercept):
    X, y, expert = data(m=m)
    regressor = mn.ExpertsRegressor(SIZES, fit_intercept=fit_intercept).fit(X, y, expert=expert)
    predicted = regressor.predict(X, expert=expert)
    assert predicted.shape == y.shape
    for i, columns in enumerate(np.split(np.arange(9), [2, 6])):
        rows = np.flatnonzero(expert == i)
        part = X[np.ix_(rows, columns)]
        theirs = LinearRegression(fit_intercept=fit_intercept).fit(part, y[rows])
        assert relative_error(regressor.coef_[i], theirs.coef_) < 1e-11
        assert regressor.intercept_[i] == pytest.approx(theirs.intercept_, rel=1e-9)
        assert relative_error(predicted[rows], theirs.predict(part)) < 1e-11
    assert regressor.rank_.tolist() == SIZES and regressor.method_ == ["normal"] * 3


def test_experts_are_block_lstsq():
    X, y, expert = data()
    fit = mn.block_lstsq(X, y, expert, SIZES, method="svd", rcond=0.1)
    regressor = mn.ExpertsRegressor(SIZES, method="svd", rcond=0.1).fit(X, y, expert)
    assert all(map(np.array_equal, regressor.coef_, fit.coef))
    assert regressor.rank_.tolist() == fit.rank.tolist() and regressor.method_ == ["svd"] * 3
    assert regressor.intercept_.tolist() == [0, 0, 0]


@pytest.mark.parametrize("fit_intercept", [False, True])
def test_default_experts_are_dense(fit_intercept):
    X, y, _ = data()
    regressor = mn.ExpertsRegressor(fit_intercept=fit_intercept).fit(X, y, expert="ignored")
    dense = mn.DenseRegressor(fit_intercept=fit_intercept).fit(X, y)
    assert len(regressor.coef_) == 1 and regressor.router_ is None
    assert relative_error(regressor.coef_[0], dense.coef_) < 1e-13
    assert relative_error(regressor.predict(X, expert="ignored"), dense.predict(X)) < 1e-13


def test_one_given_block_takes_an_expert_and_needs_no_rows_to_route():
    X, y, _ = data(6)
    regressor = mn.ExpertsRegressor([9]).fit(X, y, expert=np.zeros(6, dtype=int))
    assert relative_error(regressor.predict(X), mn.DenseRegressor().fit(X, y).predict(X)) < 1e-12
    assert np.array_equal(mn.ExpertsRegressor([9]).fit(X, y).predict(X), regressor.predict(X))


def test_prediction_routes_by_the_fitted_router():
    X, y, expert = data()
    regressor = mn.ExpertsRegressor(SIZES, fit_intercept=True).fit(X, y, expert=expert)
    routed = mn.QDARouter(SIZES).fit(X, expert).predict(X)
    assert 0.8 < (routed == expert).mean() < 1
    assert np.array_equal(regressor.router_.predict(X), routed)
    assert np.array_equal(regressor.predict(X), regressor.predict(X, expert=routed))
    assert not np.array_equal(regressor.predict(X), regressor.predict(X, expert=expert))


def test_experts_without_rows_to_predict_are_fine():
    X, y, expert = data()
    regressor = mn.ExpertsRegressor(SIZES).fit(X, y, expert)
    assert relative_error(regressor.predict(X[:5], expert=[1] * 5), X[:5, 2:6] @ regressor.coef_[1]) < 1e-14


def test_a_given_router_is_cloned_and_fitted():
    X, y, expert = data()
    router = mn.QDARouter(SIZES, shrinkage=0.5, form="printed")
    regressor = mn.ExpertsRegressor(SIZES, router=router).fit(X, y, expert=expert)
    assert regressor.router_ is not router and not hasattr(router, "covariances_")
    assert np.array_equal(regressor.router_.predict(X), clone(router).fit(X, expert).predict(X))


def test_a_frozen_router_is_used_as_it_is():
    model = mn.BlockModel.isotropic(9, 3, variance=9.0, rng=0)
    known = mn.QDARouter.from_model(model)
    sample = model.sample(60, rng=1)
    regressor = mn.ExpertsRegressor(model.block_sizes, router=FrozenEstimator(known))
    regressor.fit(sample.features, sample.response, expert=sample.expert)
    expected = regressor.predict(sample.features, expert=known.predict(sample.features))
    assert np.array_equal(regressor.predict(sample.features), expected)


def test_a_default_router_that_cannot_be_fitted_is_an_error_only_of_routing():
    X, y, expert = data()
    keep = np.concatenate([np.flatnonzero(expert != 1), np.flatnonzero(expert == 1)[:3]])
    regressor = mn.ExpertsRegressor(SIZES).fit(X[keep], y[keep], expert=expert[keep])
    assert regressor.router_ is None and regressor.rank_.tolist() == [2, 3, 3]
    assert np.isfinite(regressor.predict(X, expert=expert)).all()
    with pytest.raises(ValueError, match="^expert must be given.* expert 1 has 3 rows and 4 features"):
        regressor.predict(X)
    with pytest.raises(ValueError, match="^expert 1 has 3 rows and 4 features"):
        clone(regressor).set_params(router=mn.QDARouter(SIZES)).fit(X[keep], y[keep], expert=expert[keep])
    regressor.fit(X, y, expert=expert).predict(X)


def test_a_fit_that_fails_leaves_the_last_one_in_place():
    X, y, expert = data()
    regressor = mn.ExpertsRegressor(SIZES, router=mn.QDARouter(SIZES)).fit(X, y, expert=expert)
    expected = regressor.predict(X)
    keep = np.concatenate([np.flatnonzero(expert != 1), np.flatnonzero(expert == 1)[:3]])
    for bad_y, bad_expert in ((y[keep] + 1, expert[keep]), (y[keep] + 1, 5 * expert[keep])):
        with pytest.raises(ValueError, match="^expert"):
            regressor.fit(X[keep], bad_y, expert=bad_expert)
        assert np.array_equal(regressor.predict(X), expected)


def test_a_router_that_answers_no_expert_ids_is_an_error():
    class Wrong(mn.QDARouter):
        def predict(self, X):
            return super().predict(X) + 5

    X, y, expert = data()
    regressor = mn.ExpertsRegressor(SIZES, router=Wrong(SIZES)).fit(X, y, expert=expert)
    with pytest.raises(ValueError, match="router"):
        regressor.predict(X)


def test_cross_validation_passes_the_expert():
    X, y, expert = data(300)
    scores = cross_val_score(mn.ExpertsRegressor(SIZES, fit_intercept=True), X, y, params={"expert": expert})
    dense = cross_val_score(mn.DenseRegressor(fit_intercept=True), X, y)
    assert scores.mean() > dense.mean() + 0.05


# ---- input of every kind -----------------------------------------------------------------------------------------


REGRESSORS = [
    mn.DenseRegressor(),
    mn.DenseRegressor(fit_intercept=True),
    mn.DenseRegressor(noise="adapt"),
    mn.ExpertsRegressor(SIZES),
    mn.ExpertsRegressor(SIZES, fit_intercept=True),
    mn.ExpertsRegressor(SIZES, routing="soft", noise="adapt"),
]


def fit(regressor, X, y, expert):
    return clone(regressor).fit(X, y, **({} if isinstance(regressor, mn.DenseRegressor) else {"expert": expert}))


@pytest.mark.parametrize("regressor", REGRESSORS, ids=repr)
def test_read_only_input_is_never_changed(regressor):
    given = data()
    before = [array.copy() for array in given]
    for array in given:
        array.flags.writeable = False
    fit(regressor, *given).predict(given[0])
    assert all(map(np.array_equal, given, before))


@pytest.mark.parametrize(
    "convert",
    [
        np.asfortranarray,
        lambda a: np.repeat(a, 2, axis=-1)[..., ::2],
        lambda a: a.astype(int),
        lambda a: a.astype(np.float32),
        lambda a: a.tolist(),
    ],
)
@pytest.mark.parametrize("regressor", REGRESSORS, ids=repr)
def test_layouts_and_dtypes_give_the_same_fit(regressor, convert):
    X, y, expert = data()
    X, y = np.rint(4 * X), np.rint(4 * y)
    expected, converted = fit(regressor, X, y, expert), fit(regressor, convert(X), convert(y), expert)
    assert np.array_equal(np.hstack(converted.coef_), np.hstack(expected.coef_))
    assert np.array_equal(converted.intercept_, expected.intercept_)
    assert relative_error(converted.predict(convert(X)), expected.predict(X)) < 1e-13


# ---- wrong input -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "expert",
    [np.zeros(90), np.zeros(89, dtype=int), np.full(90, 3), np.full(90, -1), ["0"] * 90, np.zeros(90, dtype=int)],
)
def test_wrong_expert_is_named_by_fit(expert):
    X, y, _ = data()
    with pytest.raises((TypeError, ValueError), match="^expert"):
        mn.ExpertsRegressor(SIZES).fit(X, y, expert=expert)


@pytest.mark.parametrize("expert", [np.zeros(90), np.zeros(89, dtype=int), np.full(90, 3), np.full(90, -1), ["0"] * 90])
def test_wrong_expert_is_named_by_predict(expert):
    X, y, ids = data()
    with pytest.raises((TypeError, ValueError), match="^expert"):
        mn.ExpertsRegressor(SIZES).fit(X, y, expert=ids).predict(X, expert=expert)


@pytest.mark.parametrize(
    "parameters, name",
    [
        (dict(block_sizes=[2, 4]), "block_sizes"),
        (dict(block_sizes=[2, 4, 3, 0]), "block_sizes"),
        (dict(block_sizes=3), "block_sizes"),
        (dict(method="qr"), "method"),
        (dict(rcond=-1.0), "rcond"),
        (dict(rcond=1.0), "rcond"),
        (dict(noise="estimate"), "noise"),
        (dict(noise_variance=-1.0), "noise_variance"),
        (dict(noise_variance=np.nan), "noise_variance"),
        (dict(routing="oracle"), "routing"),
        (dict(n_starts=0), "n_starts"),
        (dict(max_iter=1.5), "max_iter"),
        (dict(tol=-1.0), "tol"),
    ],
)
def test_wrong_parameters_are_named_by_fit(parameters, name):
    X, y, expert = data()
    with pytest.raises((TypeError, ValueError), match=f"^{name}"):
        mn.ExpertsRegressor(**dict(block_sizes=SIZES) | parameters).fit(X, y, expert=expert)
    if name in mn.DenseRegressor().get_params():
        with pytest.raises((TypeError, ValueError), match=f"^{name}"):
            mn.DenseRegressor(**parameters).fit(X, y)


@pytest.mark.parametrize("regressor", REGRESSORS, ids=repr)
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_values_that_are_not_finite_are_named(regressor, value):
    X, y, expert = data()
    with pytest.raises(ValueError, match="y contains"):
        fit(regressor, X, np.where(np.arange(90) == 7, value, y), expert)
    X[3, 3] = value
    with pytest.raises(ValueError, match="X must be finite"):
        fit(regressor, X, y, expert)


@pytest.mark.parametrize("regressor", REGRESSORS, ids=repr)
def test_complex_values_are_an_error(regressor):
    X, y, expert = data()
    with pytest.raises(ValueError, match="[Cc]omplex"):
        fit(regressor, X * 1j, y, expert)
    with pytest.raises((TypeError, ValueError), match="[Cc]omplex"):
        fit(regressor, X, y * 1j, expert)


# ---- scikit-learn's own checks -----------------------------------------------------------------------------------


class SeveralExperts(mn.ExpertsRegressor):
    """Experts on blocks and rows that are cut from whatever data come, so that scikit-learn's own fit."""

    labelled = True

    def __init__(self, block_sizes="any", *, routing="hard", noise="fit", fit_intercept=False, max_iter=200,
                 random_state=None):
        super().__init__(block_sizes, routing=routing, noise=noise, fit_intercept=fit_intercept, max_iter=max_iter,
                         random_state=random_state)

    def __sklearn_tags__(self):
        tags = super().__sklearn_tags__()
        tags.regressor_tags.poor_score = True  # the responses of the checks know nothing of these experts
        return tags

    def fit(self, X, y, expert=None):
        self._n_rows = _num_samples(X)
        return super().fit(X, y, expert)

    def _as_block_sizes(self, d):
        k = max(1, min(3, d, self._n_rows // 5))
        return np.array([len(part) for part in np.array_split(np.arange(d), k)])

    def _as_expert(self, expert, n, k):
        if expert is None and self.labelled:
            expert = np.arange(n) % k
        return super()._as_expert(expert, n, k)


class UnlabelledExperts(SeveralExperts):
    """The same, but left to find their rows."""

    labelled = False

    def _as_block_sizes(self, d):
        k = max(1, min(3, d, self._n_rows // (2 * d + 5)))  # enough rows for each
        return np.array([len(part) for part in np.array_split(np.arange(d), k)])


@pytest.mark.filterwarnings("ignore")
@parametrize_with_checks(
    [
        mn.DenseRegressor(),
        mn.DenseRegressor(fit_intercept=True),
        mn.DenseRegressor(noise="adapt"),
        mn.DenseRegressor(noise="adapt", fit_intercept=True, noise_variance=1.0),
        *(kind(routing=routing, noise=noise, fit_intercept=fit_intercept)
          for kind in (mn.ExpertsRegressor, SeveralExperts, UnlabelledExperts)
          for routing in ("hard", "soft") for noise in ("fit", "adapt") for fit_intercept in (False, True)),
    ]
)
def test_scikit_learns_checks(estimator, check):
    check(estimator)


@pytest.mark.parametrize("estimator", [mn.DenseRegressor(), mn.ExpertsRegressor()])
def test_a_failed_fit_leaves_the_last_one_as_it_was(estimator):
    fitted = clone(estimator).fit(np.eye(4, 2), [1.0, 2.0, 3.0, 4.0])
    before = fitted.predict(np.eye(4, 2))
    with pytest.raises(ValueError, match="method"):
        fitted.set_params(method="bad").fit(np.eye(4, 3), [1.0, 2.0, 3.0, 4.0])
    assert fitted.n_features_in_ == 2
    np.testing.assert_array_equal(fitted.predict(np.eye(4, 2)), before)


@pytest.mark.parametrize("X", [np.ma.masked_array([[1.0], [9.0]], mask=[[0], [1]]), np.array([["1"], ["2"]]),
                               np.array([["2020-01-01"], ["2020-01-02"]], "M8[D]"), np.broadcast_to(1.0, (2**31, 1))])
@pytest.mark.parametrize("estimator", [mn.DenseRegressor(), mn.ExpertsRegressor(), mn.QDARouter([1])])
def test_what_is_no_matrix_of_numbers_is_refused(estimator, X):
    with pytest.raises((TypeError, ValueError), match="X must"):
        clone(estimator).fit(X, [0, 0])


# ---- a penalty ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n", [1, 5, 9, 10, 90])
@pytest.mark.parametrize("m", [None, 2])
@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("method", ["auto", "normal", "orthogonal", "svd"])
def test_ridge_agrees_with_scikit_learn(n, m, fit_intercept, method):
    X, y, _ = data(max(n, 3), m)
    X, y = X[:n], y[:n]
    ours = mn.DenseRegressor(penalty=0.3, fit_intercept=fit_intercept, method=method).fit(X, y)
    theirs = Ridge(alpha=n * 0.3, fit_intercept=fit_intercept, solver="svd").fit(X, y)
    if n > 1 or not fit_intercept:  # otherwise all are zero
        assert relative_error(ours.coef_, theirs.coef_) < 1e-10
    assert ours.intercept_ == pytest.approx(theirs.intercept_, rel=1e-10)
    assert relative_error(ours.predict(X), theirs.predict(X)) < 1e-10
    assert ours.rank_ == min(n, 9) and ours.coef_.shape == theirs.coef_.shape


def test_ridge_is_its_equation():
    X, y, _ = data(20)
    expected = np.linalg.solve(X.T @ X / 20 + 0.7 * np.eye(9), X.T @ y / 20)
    assert relative_error(mn.DenseRegressor(penalty=0.7).fit(X, y).coef_, expected) < 1e-11


@pytest.mark.parametrize("n", [6, 30])
def test_least_squares_is_the_limit_of_a_small_penalty(n):
    X, y, _ = data(n)
    plain, small = mn.DenseRegressor().fit(X, y), mn.DenseRegressor(penalty=1e-12).fit(X, y)
    assert 0 < relative_error(small.coef_, plain.coef_) < 1e-9


@pytest.mark.parametrize("n", [6, 9, 30])
@pytest.mark.parametrize("m", [None, 2])
@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("penalty, tolerance", [(0.4, 1e-9), (1e-9, 1e-5)])
def test_error_of_ridge_is_that_of_leaving_each_row_out(n, m, fit_intercept, penalty, tolerance):
    X, y, _ = data(n, m)
    fitted = mn.DenseRegressor(penalty=penalty, fit_intercept=fit_intercept).fit(X, y)
    left_out = Ridge(alpha=n * penalty, fit_intercept=fit_intercept, solver="svd")
    errors = (y - cross_val_predict(left_out, X, y, cv=LeaveOneOut())) ** 2
    assert fitted.error_variance_ == pytest.approx(errors.mean(axis=0), rel=tolerance)
    _, std = fitted.predict(X, return_std=True)
    assert std.shape == y.shape
    assert relative_error(std**2, np.broadcast_to(errors.mean(axis=0), y.shape)) < tolerance


def test_error_of_ridge_from_one_row_and_an_intercept_is_not_known():
    fitted = mn.DenseRegressor(penalty=1.0, fit_intercept=True).fit([[1.0, 2.0]], [3.0])
    assert np.isnan(fitted.error_variance_) and fitted.predict([[5.0, 5.0]]) == [3.0]
    with pytest.raises(ValueError, match="return_std"):
        fitted.predict([[5.0, 5.0]], return_std=True)


@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("n, change", [(6, 2.0), (90, 2.0), (400, -0.1)])
def test_a_change_of_noise_is_a_ridge_of_it_on_top(n, change, fit_intercept):
    X, y, _ = data(n)
    fitted = mn.DenseRegressor(penalty=0.3, fit_intercept=fit_intercept, noise_variance=1.0).fit(X, y)
    expected = mn.DenseRegressor(penalty=0.3 + change, fit_intercept=fit_intercept).fit(X, y).predict(X)
    assert relative_error(fitted.predict(X, noise_variance=1 + change), expected) < 1e-10
    assert relative_error(fitted.predict(X), expected) > 1e-4


def test_ridge_adapts_to_a_batch():
    X, y, _ = data(300)
    noisier = X + 2**0.5 * np.random.default_rng(1).standard_normal(X.shape)
    fitted = mn.DenseRegressor(penalty=0.3, noise="adapt").fit(X, y)
    change = fitted.noise_change(noisier)
    assert change.value > 5 * change.standard_error
    expected = mn.DenseRegressor(penalty=0.3 + change.value).fit(X, y).predict(noisier)
    assert relative_error(fitted.predict(noisier), expected) < 1e-10


def test_a_penalty_does_not_tell_what_cleaner_inputs_are_like():
    """The least change is that of the same fit without a penalty; with few rows there is none."""
    X, y, _ = data(400)
    for penalty in (0.0, 0.3):
        fitted = mn.DenseRegressor(penalty=penalty, noise_variance=9.0).fit(X, y)
        with pytest.warns(UserWarning, match="the noise variance is taken as 2.27 below") as caught:
            fitted.predict(X, noise_variance=0.0)
        assert len(caught) == 1
    few = mn.DenseRegressor(penalty=0.3, noise_variance=9.0).fit(X[:20], y[:20])
    with pytest.warns(UserWarning, match="the noise variance is taken as -?0 below"):
        assert relative_error(few.predict(X, noise_variance=1.0), few.predict(X)) < 1e-12


@pytest.mark.parametrize("n, change", [(10, 0.0), (40, 0.0), (400, 0.0), (400, 2.0), (400, -0.3)])
def test_ridge_knows_its_errors(n, change):
    """The stated variance against the exact risk at the changed noise, both on average over fits."""
    model = mn.BlockModel.toeplitz(20, 2, scale=3.0, rng=0)
    elsewhere = dataclasses.replace(model, noise_variance=1 + change)
    risks, stated, residual = np.empty((3, 400))
    for i in range(400):
        train = model.sample(n, rng=1, replicate=i)
        fitted = mn.DenseRegressor(penalty=0.5, noise_variance=1.0).fit(train.features, train.response)
        coef, std = fitted.predict(np.eye(20), noise_variance=1 + change, return_std=True)
        risks[i], stated[i] = mn.theory.risk(elsewhere, coef), std[0] ** 2
        residual[i] = ((fitted.predict(train.features) - train.response) ** 2).mean()
    assert agrees(stated - risks, 0.0) if change == 0 else stated.mean() == pytest.approx(risks.mean(), rel=0.03)
    assert not agrees(residual - risks, 0.0)


@pytest.mark.parametrize("penalty", [-1.0, np.nan, np.inf, "1", None])
def test_wrong_penalty(penalty):
    X, y, _ = data()
    with pytest.raises((TypeError, ValueError), match="^penalty"):
        mn.DenseRegressor(penalty=penalty).fit(X, y)


@pytest.mark.filterwarnings("ignore")
@parametrize_with_checks(
    [mn.DenseRegressor(penalty=0.5),
     mn.DenseRegressor(penalty=0.5, noise="adapt", fit_intercept=True, noise_variance=1.0)]
)
def test_scikit_learns_checks_with_a_penalty(estimator, check):
    check(estimator)
