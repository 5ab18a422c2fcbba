"""Predictions at another noise than that of training: set, or estimated from the batch; what cannot be told is said."""

import dataclasses
import warnings

import numpy as np
import pytest
from reference import relative_error
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import Ridge
from sklearn.naive_bayes import GaussianNB

import moenoise as mn
from moenoise import theory

MODEL = mn.BlockModel.toeplitz(24, 3, scale=2.0, noise_variance=1.0, rng=4)
TRAIN = MODEL.sample(6000, rng=0)


def at(noise_variance, n=20_000, rng=1):
    return dataclasses.replace(MODEL, noise_variance=noise_variance).sample(n, rng=rng)


def fitted(kind, **parameters):
    if kind == "dense":
        return mn.DenseRegressor(**parameters).fit(TRAIN.features, TRAIN.response)
    regressor = mn.ExpertsRegressor(MODEL.block_sizes, routing=kind, random_state=0, **parameters)
    return regressor.fit(TRAIN.features, TRAIN.response, expert=TRAIN.expert)


def risk(regressor, test, **given):
    return float(np.mean((regressor.predict(test.features, **given) - test.response) ** 2))


# ---- what the change does ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["dense", "hard", "soft"])
@pytest.mark.parametrize("fit_intercept", [False, True])
def test_the_training_noise_changes_nothing(kind, fit_intercept):
    regressor = fitted(kind, noise="adapt", noise_variance=1.25, fit_intercept=fit_intercept)
    plain = fitted(kind, noise_variance=1.25, fit_intercept=fit_intercept)
    test = at(1.0, n=500)
    for return_std in (False, True):
        expected = plain.predict(test.features, return_std=return_std)
        assert np.array_equal(regressor.predict(test.features, noise_variance=1.25, return_std=return_std), expected)
        assert np.array_equal(regressor.predict(TRAIN.features), plain.predict(TRAIN.features))
    assert regressor.noise_change(TRAIN.features).value == 0
    assert not np.array_equal(regressor.predict(test.features, noise_variance=1.3), expected[0])


@pytest.mark.parametrize("fit_intercept", [False, True])
@pytest.mark.parametrize("change", [-0.3, 0.5, 7.0])
def test_a_change_is_a_ridge(fit_intercept, change):
    """(S + c I)^-1 S w is what ridge regression with penalty n c finds, the intercept not penalised."""
    test = at(1.0, n=200)
    dense = fitted("dense", noise_variance=1.0, fit_intercept=fit_intercept)
    ridge = Ridge(alpha=6000 * change, fit_intercept=fit_intercept) if change > 0 else None
    predicted = dense.predict(test.features, noise_variance=1 + change)
    if ridge is not None:
        expected = ridge.fit(TRAIN.features, TRAIN.response).predict(test.features)
        assert relative_error(predicted, expected) < 1e-10
    experts = fitted("hard", noise_variance=1.0, fit_intercept=fit_intercept)
    predicted = experts.predict(test.features, expert=test.expert, noise_variance=1 + change)
    for i, block in enumerate(MODEL.blocks):
        X, y = TRAIN.features[TRAIN.expert == i, block], TRAIN.response[TRAIN.expert == i]
        means = (X.mean(axis=0), y.mean()) if fit_intercept else (0, 0)
        X, y = X - means[0], y - means[1]
        coef = np.linalg.solve(X.T @ X / len(y) + change * np.eye(8), X.T @ y / len(y))
        rows = test.expert == i
        expected = (test.features[rows, block] - means[0]) @ coef + means[1]
        assert relative_error(predicted[rows], expected) < 1e-10


def test_soft_prediction_at_another_noise_is_by_gate_and_experts_of_that_noise():
    soft, test = fitted("soft"), at(3.0, n=300)
    changed = mn.QDARouter(MODEL.block_sizes).fit(TRAIN.features, TRAIN.expert)
    change = 3.0 - changed.noise_variance_
    gate = changed._changed(change)
    for before, after in zip(changed.covariances_, gate.covariances_):
        assert np.array_equal(after, before + change * np.eye(8))
    assert gate.noise_variance_ == pytest.approx(3.0) and changed.noise_variance_ == soft.noise_variance_
    oracle = [soft.predict(test.features, expert=np.full(300, i), noise_variance=3.0) for i in range(3)]
    expected = (gate.predict_proba(test.features) * np.transpose(oracle)).sum(axis=1)
    assert relative_error(soft.predict(test.features, noise_variance=3.0), expected) < 1e-13


def test_the_error_that_is_predicted_is_that_at_the_other_noise():
    for noise_variance in (0.5, 3.0, 10.0):
        test = at(noise_variance, n=40_000)
        for kind in ("dense", "hard", "soft"):
            predicted, std = fitted(kind, noise_variance=1.0).predict(
                test.features, noise_variance=noise_variance, return_std=True)
            assert np.mean((predicted - test.response) ** 2) == pytest.approx(np.mean(std**2), rel=0.05)


# ---- what it is good for -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("noise_variance", [0.3, 3.0, 10.0])
def test_adapted_predictions_are_better_and_soft_ones_the_best(noise_variance):
    test = at(noise_variance)
    risks = {(kind, noise): risk(fitted(kind, noise=noise), test)
             for kind in ("dense", "hard", "soft") for noise in ("fit", "adapt")}
    for kind in ("dense", "hard", "soft"):
        assert risks[kind, "adapt"] < 0.97 * risks[kind, "fit"]
    assert min(risks, key=risks.get) == ("soft", "adapt")
    known = dataclasses.replace(MODEL, noise_variance=noise_variance)
    best = risk(mn.BayesPredictor(known), test)
    assert best <= risks["soft", "adapt"] < best * 1.02
    assert risk(mn.BayesPredictor(MODEL, noise="adapt"), test) == pytest.approx(best, rel=2e-3)
    dense = theory.generalization(known).dense
    assert risks["dense", "adapt"] == pytest.approx(dense, rel=0.05)


@pytest.mark.parametrize("kind", ["dense", "soft"])
def test_the_change_that_is_estimated_has_the_standard_error_it_says(kind):
    regressor, scores = fitted(kind), []
    for replicate in range(300):
        estimate = regressor.noise_change(dataclasses.replace(MODEL, noise_variance=2.5).sample(
            200, rng=5, replicate=replicate).features)
        scores.append((estimate.value - 1.5) / estimate.standard_error)
    assert abs(np.mean(scores)) < 0.6  # the training rows' own error is common to all
    assert 0.85 < np.std(scores) < 1.15


def test_experts_and_known_models_estimate_the_same_change():
    test = at(2.0)
    known = mn.BayesPredictor(MODEL).noise_change(test.features)
    fit = fitted("soft").noise_change(test.features)
    assert known.value == pytest.approx(1.0, abs=5 * known.standard_error)
    assert abs(fit.value - known.value) < 4 * fit.standard_error
    assert known.standard_error < fit.standard_error


# ---- where it cannot be told -------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["dense", "hard", "soft"])
def test_a_small_batch_falls_back_and_says_so(kind):
    test = at(20.0)
    regressor = fitted(kind, noise="adapt")
    with pytest.warns(UserWarning, match="batch of 31 rows is too small") as caught:
        predicted = regressor.predict(test.features[:31])
    assert caught[0].filename == __file__
    assert np.array_equal(predicted, fitted(kind).predict(test.features[:31]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not np.array_equal(regressor.predict(test.features[:32])[:31], predicted)


def test_a_change_that_chance_explains_is_not_believed():
    regressor, plain = fitted("soft", noise="adapt"), fitted("soft")
    adapted = [not np.array_equal(regressor.predict(X), plain.predict(X)) for X in
               (MODEL.sample(100, rng=6, replicate=r).features for r in range(200))]
    assert 0.01 < np.mean(adapted) < 0.11  # nominally 4.6 %


@pytest.mark.parametrize("kind", ["dense", "hard", "soft"])
def test_cleaner_inputs_are_limited_with_a_warning(kind):
    regressor, test = fitted(kind, noise_variance=1.0), at(0.01)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        regressor.predict(test.features, noise_variance=0.5)
    with pytest.warns(UserWarning, match="^the noise variance is taken as .* below that of training, not") as caught:
        strange = fitted(kind, noise_variance=5.0).predict(test.features, noise_variance=1e-9)
    assert caught[0].filename == __file__ and np.isfinite(strange).all()
    assert risk(fitted(kind, noise="adapt"), test) < 0.8 * risk(regressor, test)


@pytest.mark.parametrize("d, k, n", [(60, 3, 150), (60, 3, 300), (60, 3, 1000), (60, 12, 3000), (12, 3, 3000)])
def test_cleaner_inputs_are_not_predicted_worse_for_want_of_rows(d, k, n):
    """Medians over replicates of the adapted risk over the unadapted one, at a fifth of the training noise."""
    model = mn.BlockModel.toeplitz(d, k, scale=2.0, rng=0)
    ratios, inside = [], []
    for replicate in range(10):
        train = model.sample(n, rng=1, replicate=replicate, routing="balanced")
        test = dataclasses.replace(model, noise_variance=0.2).sample(4000, rng=2, replicate=replicate)
        soft = mn.ExpertsRegressor(model.block_sizes, routing="soft").fit(train.features, train.response, train.expert)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            predicted, std = soft.predict(test.features, noise_variance=0.2, return_std=True)
        ratios.append(np.mean((predicted - test.response) ** 2) / risk(soft, test))
        inside.append(np.mean(np.abs(predicted - test.response) < 1.96 * std))
    assert np.median(ratios) < 1.01 and np.median(inside) > 0.85


def test_few_rows_limit_how_clean_inputs_may_be():
    few = MODEL.sample(400, rng=8)
    dense = mn.DenseRegressor(noise_variance=1.0).fit(few.features, few.response)
    least = (1 - 2 * (24 / 400) ** 0.5) * np.linalg.eigvalsh(few.features.T @ few.features / 400)[0]
    with pytest.warns(UserWarning, match=f"taken as {least:.3g} below"):
        limited = dense.predict(few.features, noise_variance=0.0)
    expected = few.features @ np.linalg.solve(few.features.T @ few.features / 400 - least * np.eye(24),
                                              few.features.T @ few.response / 400)
    assert relative_error(limited, expected) < 1e-9


def test_more_features_than_rows_can_become_noisier_but_not_cleaner():
    few = MODEL.sample(20, rng=8)
    dense = mn.DenseRegressor(noise_variance=1.0).fit(few.features, few.response)
    expected = Ridge(alpha=20 * 2.0, fit_intercept=False).fit(few.features, few.response).predict(few.features)
    assert relative_error(dense.predict(few.features, noise_variance=3.0), expected) < 1e-9
    with pytest.warns(UserWarning, match="below that of training"):
        limited = dense.predict(few.features, noise_variance=0.5)
    assert relative_error(limited, dense.predict(few.features)) < 1e-6


def test_one_block_of_experts_adapts_as_dense_does():
    test = at(4.0)
    dense = fitted("dense", noise="adapt")
    for sizes in (None, [24]):
        experts = mn.ExpertsRegressor(sizes, noise="adapt").fit(TRAIN.features, TRAIN.response)
        assert relative_error(experts.predict(test.features), dense.predict(test.features)) < 1e-12


# ---- wrong use ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("value, error", [(-0.1, ValueError), (np.nan, ValueError), (np.inf, ValueError),
                                          ("1", TypeError), ([1.0], TypeError), (True, TypeError)])
@pytest.mark.parametrize("kind", ["dense", "hard", "soft"])
def test_a_wrong_noise_variance_is_named(kind, value, error):
    with pytest.raises(error, match="^noise_variance must be"):
        fitted(kind, noise_variance=1.0).predict(TRAIN.features, noise_variance=value)


def test_a_noise_that_cannot_be_compared_is_an_error():
    X = TRAIN.features
    for regressor in (fitted("dense"), fitted("dense", noise="adapt"), mn.ExpertsRegressor().fit(X, TRAIN.response)):
        with pytest.raises(ValueError, match="^noise_variance cannot be set in predict"):
            regressor.predict(X, noise_variance=2.0)
    with pytest.raises(ValueError, match="^noise must be 'adapt'"):
        fitted("dense").set_params(noise="adapt").predict(at(3.0).features)
    other = fitted("soft", router=GaussianNB())
    assert other.noise_variance_ is None
    with pytest.raises(ValueError, match="^router must be a QDARouter"):
        other.set_params(noise="adapt").predict(at(3.0).features)
    frozen = fitted("soft", router=FrozenEstimator(mn.QDARouter.from_model(MODEL)), noise="adapt")
    assert risk(frozen, at(3.0)) < 1.02 * risk(fitted("soft", noise="adapt"), at(3.0))


@pytest.mark.parametrize("kind", ["dense", "hard", "soft"])
def test_nan_in_a_batch_is_named(kind):
    X = at(2.0, n=100).features.copy()
    X[50, 3] = np.nan
    for regressor in (fitted(kind, noise="adapt"), fitted(kind)):
        with pytest.raises(ValueError, match="X must be finite"):
            regressor.predict(X)
        with pytest.raises(ValueError, match="X must be finite"):
            regressor.noise_change(X)


def test_rare_loud_rows_that_a_small_batch_lacks_are_no_change():
    model = mn.BlockModel([np.eye(8), 200 * np.eye(8)], [[1.0] * 8] * 2, [0.98, 0.02])
    train = model.sample(5000, rng=0)
    fitted_to_it = mn.ExpertsRegressor([8, 8], routing="soft", noise="adapt")
    fitted_to_it.fit(train.features, train.response, expert=train.expert)
    for regressor in (fitted_to_it, mn.BayesPredictor(model, noise="adapt")):
        changes = [regressor.noise_change(model.sample(32, rng=1, replicate=r).features) for r in range(200)]
        assert np.mean([abs(change.value) > 2 * change.standard_error for change in changes]) < 0.1


def test_dependent_columns_can_become_noisier_but_not_cleaner():
    X = TRAIN.features.copy()
    X[:, 2] = X[:, 3]
    test = at(0.1).features.copy()
    test[:, 2] = test[:, 3]
    dense = mn.DenseRegressor(noise="adapt").fit(X, TRAIN.response)
    with pytest.warns(UserWarning, match="taken as 0 below that of training"):
        assert relative_error(dense.predict(0.9 * test), dense.set_params(noise="fit").predict(0.9 * test)) < 1e-12
    noisier = mn.DenseRegressor(noise_variance=1.0).fit(X, TRAIN.response).predict(X, noise_variance=1 + 1e-15)
    assert relative_error(noisier, dense.predict(X)) < 1e-6


def test_squares_of_a_batch_that_overflow_are_named():
    X = at(1.0, n=40).features.copy()
    X[7, 5] = 1e155
    for regressor in (fitted("dense", noise="adapt"), fitted("soft", noise="adapt")):
        with pytest.raises(ValueError, match="^X must have entries whose squares"):
            regressor.predict(X)
    soft = fitted("soft")
    assert np.isfinite(soft.predict(X, expert=np.arange(40) % 3, return_std=True)[1]).all()


def test_a_router_of_other_blocks_or_with_a_noise_of_its_own_is_not_mistaken():
    other = mn.QDARouter([4, 8, 12]).fit(TRAIN.features, TRAIN.expert)
    experts = fitted("hard", router=FrozenEstimator(other))
    test = at(1.0, n=300).features
    assert np.array_equal(experts.predict(test), experts.predict(test, expert=other.predict(test)))
    with pytest.raises(ValueError, match="^noise_variance must be None beside a QDARouter"):
        fitted("hard", router=mn.QDARouter(MODEL.block_sizes), noise_variance=2.5)


def test_an_expert_is_read_as_the_fit_read_it():
    test = at(1.0, n=300)
    experts = fitted("hard")
    expected = experts.predict(test.features, expert=test.expert)
    assert np.array_equal(experts.set_params(block_sizes=None).predict(test.features, expert=test.expert), expected)


def test_probabilities_of_a_router_are_checked():
    class Wrong(GaussianNB):
        def predict_proba(self, X):
            return super().predict_proba(X) - 0.1

    with pytest.raises(ValueError, match="^the router's probabilities must be non-negative"):
        fitted("soft", router=Wrong()).predict(TRAIN.features)
    shifted = FrozenEstimator(GaussianNB().fit(TRAIN.features, TRAIN.expert + 1))
    with pytest.raises(ValueError, match="^router must be fitted to the ids 0 to 2"):
        fitted("soft", router=shifted).predict(TRAIN.features)


def test_feature_names_are_no_matter_for_a_known_model():
    class Frame:
        """What a data frame looks like to NumPy and to scikit-learn."""

        columns = [f"x{i}" for i in range(24)]
        shape = (50, 24)

        def __array__(self, dtype=None, copy=None):
            return np.array(at(1.0, n=50).features, dtype=dtype)

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mn.BayesPredictor(MODEL).fit(Frame()).predict(Frame())


def test_means_far_from_zero_are_warned_of():
    X, y = TRAIN.features + np.eye(24)[5], TRAIN.response
    for fit in (lambda **given: mn.ExpertsRegressor(MODEL.block_sizes, n_starts=1).fit(X, y, **given),
                lambda **given: mn.fit_block_model(X, y, MODEL.block_sizes, n_starts=1, **given)):
        for given in ({}, {"expert": TRAIN.expert}):
            with pytest.warns(UserWarning, match="^X has a mean far from zero in column 5") as caught:
                fit(**given)
            assert caught[0].filename == __file__
    with pytest.warns(UserWarning, match="^y has a mean far from zero: use fit_intercept=True"):
        mn.ExpertsRegressor(MODEL.block_sizes).fit(TRAIN.features, 5 + y, expert=TRAIN.expert)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        mn.ExpertsRegressor(MODEL.block_sizes, fit_intercept=True).fit(TRAIN.features, 5 + y, expert=TRAIN.expert)
        for replicate in range(50):  # what chance alone does is not far
            few = MODEL.sample(60, rng=1, replicate=replicate, routing="balanced")
            mn.ExpertsRegressor(MODEL.block_sizes).fit(few.features, few.response, expert=few.expert)
        mn.DenseRegressor().fit(X, 5 + y)
