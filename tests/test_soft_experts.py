"""Soft mixtures of experts: the optimum is an optimum, its limits, its bits, what it says of its own errors."""

import dataclasses

import numpy as np
import pytest
from reference import relative_error
from sklearn.base import clone
from sklearn.ensemble import HistGradientBoostingRegressor
from sklearn.frozen import FrozenEstimator
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import FunctionTransformer

import moenoise as mn
from moenoise import theory


def random_model(seed, *, signal=True, noise_variance=None):
    """Two to five unequal blocks of random covariance, priors, coefficients and noise."""
    rng = np.random.default_rng(seed)
    sizes = rng.integers(1, 6, size=rng.integers(2, 6))
    factors = [rng.standard_normal((size, size + 2)) for size in sizes]
    scale = rng.uniform(0.3, 3) if signal else 0.0
    return mn.BlockModel([scale * factor @ factor.T for factor in factors], [rng.standard_normal(n) for n in sizes],
                         rng.dirichlet(np.full(len(sizes), 5.0)), noise_variance or rng.uniform(0.3, 2))


def errors(prediction, sample):
    return (prediction - sample.response) ** 2


def assert_not_worse(ours, theirs):
    """The mean of paired differences is not above zero by more than four standard errors."""
    differences = ours - theirs
    assert differences.mean() <= 4 * differences.std() / np.sqrt(len(differences))


# ---- the optimum -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(6))
def test_soft_is_at_or_below_every_other_predictor(seed):
    model = random_model(seed)
    train, test = model.sample(20_000, rng=seed), model.sample(40_000, rng=100 + seed)
    soft = errors(mn.BayesPredictor(model).predict(test.features), test)
    dense = errors(test.features @ np.concatenate(theory.bayes_dense(model)), test)
    rivals = [errors(mn.BayesPredictor(model, routing="hard").predict(test.features), test), dense]
    for estimator in (Ridge(), HistGradientBoostingRegressor(random_state=0)):
        rivals.append(errors(estimator.fit(train.features, train.response).predict(test.features), test))
    for rival in rivals:
        assert_not_worse(soft, rival)
    assert (dense - soft).mean() > 4 * (dense - soft).std() / np.sqrt(len(soft))  # and not by being the same
    oracle = errors(mn.BayesPredictor(model, routing="oracle").predict(test.features, expert=test.expert), test)
    assert_not_worse(oracle, soft)


@pytest.mark.parametrize("labelled", [True, False])
def test_a_fitted_soft_mixture_comes_near_the_optimum(labelled):
    model = mn.BlockModel.toeplitz(32, 4, scale=2.0, rng=3)
    train, test = model.sample(20_000, rng=1), model.sample(40_000, rng=2)
    fitted = mn.ExpertsRegressor(model.block_sizes, routing="soft", random_state=0, n_starts=1)
    fitted.fit(train.features, train.response, expert=train.expert if labelled else None)
    ours = errors(fitted.predict(test.features), test).mean()
    best = errors(mn.BayesPredictor(model).predict(test.features), test).mean()
    dense = theory.generalization(model).dense
    assert ours < best + 0.02 * (dense - best)


def test_hard_routing_can_lose_to_dense_where_soft_does_not():
    model = mn.BlockModel.toeplitz(60, 12, rng=5)
    test = model.sample(40_000, rng=1)
    soft, hard = (errors(mn.BayesPredictor(model, routing=routing).predict(test.features), test)
                  for routing in ("soft", "hard"))
    dense = errors(test.features @ np.concatenate(theory.bayes_dense(model)), test)
    assert (hard - dense).mean() > 4 * (hard - dense).std() / 200
    assert (dense - soft).mean() > 4 * (dense - soft).std() / 200


# ---- limits ------------------------------------------------------------------------------------------------------


def test_without_noise_soft_is_the_oracle():
    model = random_model(1, noise_variance=1e-10)
    test = model.sample(2000, rng=1)
    soft = mn.BayesPredictor(model).predict(test.features)
    oracle = mn.BayesPredictor(model, routing="oracle").predict(test.features, expert=test.expert)
    assert relative_error(soft, oracle) < 1e-6 < relative_error(np.zeros_like(soft), oracle)


@pytest.mark.parametrize("routing", ["hard", "soft"])
def test_one_expert_is_the_dense_fit(routing):
    model = mn.BlockModel.toeplitz(6, 1, rng=0)
    train, test = model.sample(300, rng=1), model.sample(50, rng=2)
    known = mn.BayesPredictor(model, routing="hard" if routing == "hard" else "soft").predict(test.features)
    assert relative_error(known, test.features @ theory.bayes_dense(model)[0]) < 1e-13
    dense, std = mn.DenseRegressor().fit(train.features, train.response).predict(test.features, return_std=True)
    for sizes in ([6], None):
        experts = mn.ExpertsRegressor(sizes, routing=routing).fit(train.features, train.response)
        predicted, expert_std = experts.predict(test.features, return_std=True)
        assert relative_error(predicted, dense) < 1e-12 and relative_error(expert_std, std) < 1e-12


def test_equal_blocks_without_signal_have_the_priors_as_weights():
    model = mn.BlockModel([np.zeros((2, 2))] * 3, [[1.0, 2.0]] * 3, [0.2, 0.3, 0.5])
    X = model.sample(500, rng=0).features
    experts = mn.ExpertsRegressor([2, 2, 2], routing="soft", router=FrozenEstimator(mn.QDARouter.from_model(model)))
    train = mn.BlockModel.isotropic(6, 3, rng=0).sample(200, rng=0)
    experts.fit(train.features, train.response, expert=train.expert)
    expected = sum(p * (X[:, 2 * i: 2 * i + 2] @ experts.coef_[i]) for i, p in enumerate(model.probabilities))
    assert relative_error(experts.predict(X), expected) < 1e-12


def test_scores_far_apart_do_not_overflow():
    model = mn.BlockModel.isotropic(4, 2, variance=1e12, noise_variance=1e-12, rng=0)
    test = model.sample(100, rng=0)
    soft = mn.BayesPredictor(model).predict(test.features)
    assert relative_error(soft, test.response) < 1e-6
    far = np.array([[1e140, 0, 0, 0]])
    assert mn.BayesPredictor(model).predict(far) == pytest.approx(far[:, :2] @ model.coefficients[0])
    with pytest.raises(ValueError, match="X must have entries whose squares"):
        mn.BayesPredictor(model).predict([[1e200, 0, 0, 0]])


# ---- bits --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("routing", ["hard", "soft"])
def test_chunks_of_rows_have_the_same_bits_as_all_at_once(routing):
    model = mn.BlockModel.toeplitz(60, 4, scale=2.0, rng=0)
    train, test = model.sample(2000, rng=1), model.sample(100_000, rng=2)
    experts = mn.ExpertsRegressor(model.block_sizes, routing=routing).fit(train.features, train.response, train.expert)
    whole = np.stack(experts.predict(test.features, return_std=True))
    ends = [0, 1, 130, 999, 65_537, 100_000]
    parts = [np.stack(experts.predict(test.features[a:b], return_std=True)) for a, b in zip(ends, ends[1:])]
    assert np.array_equal(np.hstack(parts), whole)
    labelled = experts.predict(test.features, expert=test.expert)
    parts = [experts.predict(test.features[a:b], expert=test.expert[a:b]) for a, b in zip(ends, ends[1:])]
    assert np.array_equal(np.hstack(parts), labelled)


# ---- the gate ----------------------------------------------------------------------------------------------------


def test_soft_prediction_is_the_sum_of_its_definition():
    model = random_model(2)
    train, test = model.sample(3000, rng=0), model.sample(200, rng=1)
    Y = np.stack([train.response, 3 - train.response], axis=1)
    experts = mn.ExpertsRegressor(model.block_sizes, routing="soft", fit_intercept=True).fit(
        train.features, Y, expert=train.expert)
    weights = experts.router_.predict_proba(test.features)
    means = np.stack([test.features[:, block] @ coef.T + intercept for block, coef, intercept in
                      zip(model.blocks, experts.coef_, experts.intercept_)], axis=1)
    response = (weights[:, :, None] * means).sum(axis=1)
    spread = experts.error_variance_ + (means - response[:, None]) ** 2
    std = np.sqrt((weights[:, :, None] * spread).sum(axis=1))
    predicted = experts.predict(test.features, return_std=True)
    assert relative_error(predicted[0], response) < 1e-13 and relative_error(predicted[1], std) < 1e-13


def test_another_router_is_asked_for_its_probabilities():
    model = mn.BlockModel.isotropic(6, 3, variance=5.0, rng=0)
    train, test = model.sample(1000, rng=0), model.sample(50, rng=1)

    router = make_pipeline(FunctionTransformer(np.square), LogisticRegression())
    experts = mn.ExpertsRegressor(model.block_sizes, routing="soft", router=router)
    experts.fit(train.features, train.response, expert=train.expert)
    weights = experts.router_.predict_proba(test.features)
    expected = sum(weights[:, i] * (test.features[:, block] @ experts.coef_[i]) for i, block in enumerate(model.blocks))
    assert relative_error(experts.predict(test.features), expected) < 1e-13
    with pytest.raises(ValueError, match="^router must be a QDARouter"):
        clone(experts).set_params(noise_variance=1.0).fit(train.features, train.response, expert=train.expert).predict(
            test.features, noise_variance=2.0)
    with pytest.raises(ValueError, match="^expert must be given to fit a router"):
        experts.fit(train.features, train.response)


# ---- what it says of its own errors --------------------------------------------------------------------------------


@pytest.mark.parametrize("routing", ["hard", "soft", "oracle"])
@pytest.mark.parametrize("noise_variance", [None, 3.0])
def test_squared_errors_average_to_the_predicted_variance(routing, noise_variance):
    model = random_model(7)
    model = dataclasses.replace(model, noise_variance=1.0)
    test = dataclasses.replace(model, noise_variance=noise_variance or 1.0).sample(100_000, rng=3)
    given = {"expert": test.expert} if routing == "oracle" else {}
    predicted, std = mn.BayesPredictor(model, routing=routing).predict(
        test.features, noise_variance=noise_variance, return_std=True, **given)
    surplus = errors(predicted, test) - std**2
    assert abs(surplus.mean()) < 4 * surplus.std() / np.sqrt(len(surplus))
    ratios = errors(predicted, test) / std**2
    assert abs(ratios.mean() - 1) < 4 * ratios.std() / np.sqrt(len(ratios))


@pytest.mark.parametrize("kind", ["dense", "hard", "soft"])
@pytest.mark.parametrize("fit_intercept", [False, True])
def test_intervals_cover_as_stated_on_new_rows(kind, fit_intercept):
    """Two standard deviations: 94 to 97 % of rows, also where the rows of an expert are but twice its features."""
    model = mn.BlockModel.toeplitz(60, 3, scale=2.0, rng=0)
    inside, ratios = [], []
    for replicate in range(40):
        train = model.sample(130 if kind == "dense" else 150, rng=1, replicate=replicate, routing="balanced")
        test = model.sample(1000, rng=2, replicate=replicate)
        if kind == "dense":
            fitted = mn.DenseRegressor(fit_intercept=fit_intercept).fit(train.features, train.response)
        else:
            fitted = mn.ExpertsRegressor(model.block_sizes, routing=kind, fit_intercept=fit_intercept)
            fitted.fit(train.features, train.response, expert=train.expert)
        predicted, std = fitted.predict(test.features, return_std=True)
        inside.append(np.mean(np.abs(predicted - test.response) < 1.96 * std))
        ratios.append(np.mean(errors(predicted, test)) / np.mean(std**2))
    assert 0.90 < np.mean(inside) < 0.97
    # The mean over replicates of a ratio is above 1 where the variances are themselves uncertain.
    assert 0.9 < np.mean(ratios) < 1.25


def test_the_standard_deviation_of_too_few_rows_is_refused():
    model = mn.BlockModel.isotropic(8, 2, rng=0)
    train = model.sample(10, rng=0, routing="balanced")
    with pytest.raises(ValueError, match="^return_std must be False: expert 0 had too few rows"):
        experts = mn.ExpertsRegressor([4, 4]).fit(train.features, train.response, expert=train.expert)
        experts.predict(train.features, expert=train.expert, return_std=True)
    dense = mn.DenseRegressor().fit(train.features[:9], train.response[:9])
    assert np.isnan(dense.error_variance_)
    with pytest.raises(ValueError, match="^return_std"):
        dense.predict(train.features, return_std=True)


# ---- the known model -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("arguments", [("model",), (None,), (np.eye(2),)])
def test_a_model_that_is_none_is_named(arguments):
    with pytest.raises(TypeError, match="^model must be a BlockModel"):
        mn.BayesPredictor(*arguments).predict([[1.0, 2.0]])


def test_wrong_arguments_of_the_known_model_are_named():
    model = mn.BlockModel.isotropic(4, 2, rng=0)
    X = np.ones((40, 4))
    for parameters, arguments, message in [
        (dict(routing="best"), {}, "^routing must be one of"),
        (dict(noise="no"), {}, "^noise must be one of"),
        (dict(routing="oracle"), {}, "^expert, the id"),
        ({}, dict(noise_variance=-1.0), "^noise_variance must be"),
        ({}, dict(noise_variance=0.0), "^noise_variance must be positive"),
        ({}, dict(return_std=1), "^return_std must be"),
        ({}, dict(expert=np.full(40, 2)), "^expert must hold ids"),
    ]:
        with pytest.raises((TypeError, ValueError), match=message):
            mn.BayesPredictor(model, **parameters).predict(X, **arguments)
    with pytest.raises(ValueError, match="features"):
        mn.BayesPredictor(model).predict(np.ones((2, 3)))
    with pytest.raises(ValueError, match="X must be finite"):
        mn.BayesPredictor(model).predict(np.full((2, 4), np.nan))


def test_the_known_model_is_a_regressor_like_others():
    model = mn.BlockModel.isotropic(4, 2, variance=4.0, rng=0)
    test = model.sample(200, rng=0)
    predictor = mn.BayesPredictor(model)
    copy = clone(predictor).fit(test.features, test.response)
    assert copy.model == model and copy.n_features_in_ == 4
    assert np.array_equal(copy.predict(test.features), predictor.predict(test.features))
    assert 0 < predictor.score(test.features, test.response) < 1
