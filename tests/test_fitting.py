"""Block models from data: EM against a slow twin, its likelihood, its bits, and what it reports."""

import dataclasses
import math
import warnings

import numpy as np
import pytest
import scipy.linalg
from reference import relative_error
from scipy.special import logsumexp
from scipy.stats import multivariate_normal, norm
from sklearn.exceptions import ConvergenceWarning

import moenoise as mn
from moenoise import theory

MODEL = mn.BlockModel.toeplitz(32, 4, scale=2.0, rng=0)
UNEQUAL = mn.BlockModel([2 * np.eye(2), [[5.0]], 3 * np.eye(4) + 1], [[1.0, -1.0], [2.0], [0.5, 1.0, -2.0, 0.0]],
                        [0.5, 0.2, 0.3], 0.7)


def fit(sample, model, *, expert=None, **settings):
    return mn.fit_block_model(sample.features, sample.response, model.block_sizes, expert=expert, progress=False,
                              **settings)


def risk(model, test):
    return float(np.mean((mn.BayesPredictor(model).predict(test.features) - test.response) ** 2))


# ---- a twin: the densities written out, every parameter by a weighted mean -----------------------------------------


def twin_step(X, y, blocks, C, w, t, p, s):
    """(log-likelihood, posterior, next parameters) of one EM step."""
    joint = np.empty((len(X), len(blocks)))
    for i, block in enumerate(blocks):
        others = np.delete(X, block, axis=1)
        joint[:, i] = (math.log(p[i]) + multivariate_normal(np.zeros(len(C[i])), C[i]).logpdf(X[:, block])
                       + norm(0, math.sqrt(s)).logpdf(others).sum(axis=1)
                       + norm(X[:, block] @ w[i], math.sqrt(t[i])).logpdf(y))
    total = logsumexp(joint, axis=1)
    weights = np.exp(joint - total[:, None])
    C, w, t, own, places = [], [], [], 0.0, 0.0
    for i, block in enumerate(blocks):
        r, part = weights[:, i], X[:, block]
        C.append(part.T @ (r[:, None] * part) / r.sum())
        w.append(np.linalg.solve(part.T @ (r[:, None] * part), part.T @ (r * y)))
        t.append(r @ (y - part @ w[-1]) ** 2 / r.sum())
        own += r @ ((X**2).sum(axis=1) - (part**2).sum(axis=1))
        places += r.sum() * (X.shape[1] - part.shape[1])
    return total.sum(), weights, (C, w, t, weights.mean(axis=0), own / places)


@pytest.mark.parametrize("model", [MODEL, UNEQUAL])
def test_em_climbs_as_its_twin_does(model):
    sample = model.sample(600, rng=3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        fits = [fit(sample, model, n_starts=1, max_iter=count, tol=0) for count in (1, 2, 3, 4)]
    first = fits[0].posterior
    # The parameters behind the first pass are not shown: take the second's from its posterior, and go on from there.
    X, y, blocks = sample.features, sample.response, [np.arange(b.start, b.stop) for b in model.blocks]
    parameters = None
    for i in range(1, 4):
        parameters = moments_of(X, y, blocks, fits[i - 1].posterior)
        likelihood, posterior, _ = twin_step(X, y, blocks, *parameters)
        assert likelihood == pytest.approx(fits[i].log_likelihood[-1], rel=1e-11)
        assert relative_error(fits[i].posterior, posterior) < 1e-8
    assert not np.allclose(first, fits[-1].posterior, atol=1e-3)


def moments_of(X, y, blocks, weights):
    C, w, t = [], [], []
    own = places = 0.0
    for i, block in enumerate(blocks):
        r, part = weights[:, i], X[:, block]
        C.append(part.T @ (r[:, None] * part) / r.sum())
        w.append(np.linalg.solve(C[-1] * r.sum(), part.T @ (r * y)))
        t.append(r @ (y - part @ w[-1]) ** 2 / r.sum())
        own += r @ ((X**2).sum(axis=1) - (part**2).sum(axis=1))
        places += r.sum() * (X.shape[1] - part.shape[1])
    return C, w, t, weights.mean(axis=0), own / places


# ---- how good it is ------------------------------------------------------------------------------------------------


def test_without_labels_the_risk_is_nearly_that_with_them():
    test = MODEL.sample(40_000, rng=9)
    risks = {"true": risk(MODEL, test), "with": [], "without": []}
    for replicate in range(6):
        train = MODEL.sample(2000, rng=1, replicate=replicate)
        without = fit(train, MODEL)
        assert without.converged and not without.dead and 4 <= len(without.log_likelihood) <= 25
        risks["without"].append(risk(without.model, test))
        risks["with"].append(risk(fit(train, MODEL, expert=train.expert).model, test))
    dense = theory.generalization(MODEL).dense
    assert risks["true"] < np.mean(risks["with"]) < np.mean(risks["without"]) < 1.03 * risks["true"] < 0.75 * dense


@pytest.mark.parametrize("labelled", [True, False])
def test_the_model_is_recovered_from_many_rows(labelled):
    sample = UNEQUAL.sample(200_000, rng=0)
    result = fit(sample, UNEQUAL, expert=sample.expert if labelled else None, n_starts=1)
    found = result.model
    assert found.noise_variance == pytest.approx(0.7, rel=0.01)
    assert found.probabilities == pytest.approx(UNEQUAL.probabilities, abs=0.01)
    for ours, true in zip(found.covariances + found.coefficients, UNEQUAL.covariances + UNEQUAL.coefficients):
        assert relative_error(ours, true) < 0.04
    expected = [0.7 * beta @ w for beta, w in zip(UNEQUAL.coefficients, theory.bayes_sparse(UNEQUAL))]
    assert result.error_variances == pytest.approx(expected, rel=0.05)


def test_labels_give_the_moments_of_their_rows():
    sample = UNEQUAL.sample(500, rng=0)
    result = fit(sample, UNEQUAL, expert=sample.expert)
    router = mn.QDARouter(UNEQUAL.block_sizes).fit(sample.features, sample.expert)
    assert result.model.noise_variance == pytest.approx(router.noise_variance_)
    assert result.model.probabilities == pytest.approx(router.priors_)
    coef = mn.block_lstsq(sample.features, sample.response, sample.expert, UNEQUAL.block_sizes).coef
    for ours, expected in zip(theory.bayes_sparse(result.model), coef):
        assert relative_error(ours, expected) < 1e-10
    assert np.array_equal(result.posterior.argmax(axis=1), sample.expert)
    assert result.converged and result.posterior.sum() == 500 and len(result.starts) == 1


def test_weak_directions_do_not_make_coefficients_explode():
    model = mn.BlockModel([np.diag([4.0, 0.0]), np.diag([4.0, 1e-3])], [[1.0, 1.0], [1.0, 1.0]])
    sample = model.sample(3000, rng=0)
    result = fit(sample, model, expert=sample.expert)
    assert max(np.abs(beta).max() for beta in result.model.coefficients) < 5
    assert all(np.linalg.eigvalsh(covariance)[0] > -1e-12 for covariance in result.model.covariances)


def test_a_given_noise_variance_is_kept():
    sample = MODEL.sample(1000, rng=0)
    assert fit(sample, MODEL, noise_variance=0.8).model.noise_variance == 0.8
    one = mn.BlockModel.toeplitz(5, 1, scale=3.0, rng=0)
    train = one.sample(4000, rng=0)
    found = fit(train, one, noise_variance=1.0).model
    assert relative_error(found.coefficients[0], one.coefficients[0]) < 0.1
    with pytest.raises(ValueError, match="^noise_variance must be given where there is one block"):
        fit(train, one)


# ---- the climb -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(8))
def test_the_likelihood_never_decreases(seed):
    rng = np.random.default_rng(seed)
    model = mn.BlockModel.toeplitz(24, [2, 3, 6, 12][seed % 4], scale=rng.uniform(0.2, 3), rng=seed)
    sample = model.sample(int(rng.integers(300, 2000)), rng=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = fit(sample, model, tol=0, max_iter=60, n_starts=1)
    assert len(result.log_likelihood) > 10
    if not result.dead:
        assert np.diff(result.log_likelihood).min() >= -1e-10 * abs(result.log_likelihood[-1])
    assert result.log_likelihood[-1] > result.log_likelihood[0] + 1


def test_more_starts_are_no_worse_and_the_best_is_kept():
    model = mn.BlockModel.toeplitz(48, 12, scale=1.0, rng=1)
    sample = model.sample(3000, rng=1)
    many, one = (fit(sample, model, n_starts=count) for count in (5, 1))
    assert len(many.starts) == 5 and many.starts[0] == one.log_likelihood[-1]
    assert many.log_likelihood[-1] == many.starts.max() >= one.log_likelihood[-1]


@pytest.mark.parametrize("jobs", [2, 5])
def test_any_number_of_threads_gives_the_same_bits(jobs):
    sample = MODEL.sample(12_345, rng=0)
    one, several = (fit(sample, MODEL, jobs=count, n_starts=2) for count in (1, jobs))
    assert np.array_equal(one.posterior, several.posterior) and one.model == several.model
    assert np.array_equal(one.starts, several.starts)


def test_an_unfinished_climb_is_reported():
    with pytest.warns(ConvergenceWarning, match="not converged in 2 passes"):
        result = fit(MODEL.sample(500, rng=0), MODEL, max_iter=2)
    assert not result.converged and len(result.log_likelihood) == 2


def test_an_expert_that_dies_is_reported():
    """Block 2 is noise alone, and has nearly as many features as there are rows."""
    sizes = [4, 4, 40]
    model = mn.BlockModel([5 * np.eye(4), 5 * np.eye(4)], [[1.0] * 4, [-1.0] * 4])
    sample = model.sample(60, rng=0)
    X = np.hstack([sample.features, mn.standard_normal((60, 40), rng=1)])
    with pytest.warns(UserWarning, match="experts 2 have died"):
        result = mn.fit_block_model(X, sample.response, sizes)
    assert result.dead == (2,) and result.model.probabilities[2] == pytest.approx(0.5 / 60.5)
    assert not result.model.covariances[2].any() and not result.model.coefficients[2].any()
    assert not result.posterior[:, 2].any() and np.diff(result.log_likelihood[1:]).min() >= 0
    with pytest.warns(UserWarning, match="experts 2 have died"):
        experts = mn.ExpertsRegressor(sizes, routing="soft", random_state=0).fit(X, sample.response)
    assert experts.dead_ == (2,) and np.isfinite(experts.predict(X)).all()


# ---- estimators without labels ---------------------------------------------------------------------------------------


def test_experts_without_labels_are_those_of_the_fitted_model():
    sample, test = UNEQUAL.sample(4000, rng=0), UNEQUAL.sample(500, rng=1)
    result = fit(sample, UNEQUAL)
    experts = mn.ExpertsRegressor(UNEQUAL.block_sizes, routing="soft", random_state=0).fit(
        sample.features, sample.response)
    assert relative_error(np.concatenate(experts.coef_), np.concatenate(theory.bayes_sparse(result.model))) < 1e-9
    assert np.array_equal(experts.posterior_, result.posterior)
    assert np.array_equal(experts.log_likelihood_, result.log_likelihood) and experts.dead_ == ()
    assert experts.n_iter_ == len(result.log_likelihood) and experts.noise_variance_ == result.model.noise_variance
    expected = mn.BayesPredictor(result.model).predict(test.features)
    assert relative_error(experts.predict(test.features), expected) < 1e-2
    experts.fit(sample.features, sample.response, expert=sample.expert)
    assert experts.n_iter_ == 1 and not hasattr(experts, "posterior_")


@pytest.mark.parametrize("fit_intercept", [False, True])
def test_intercepts_and_several_responses_are_found_without_labels(fit_intercept):
    sample = UNEQUAL.sample(20_000, rng=0)
    shift = fit_intercept * np.array([3.0, -1.0, 0.5])[sample.expert]
    Y = np.stack([sample.response + shift, -2 * sample.response], axis=1)
    found = mn.ExpertsRegressor(UNEQUAL.block_sizes, fit_intercept=fit_intercept, random_state=0, n_starts=1)
    found.fit(sample.features, Y)
    expected = mn.ExpertsRegressor(UNEQUAL.block_sizes, fit_intercept=fit_intercept).fit(
        sample.features, Y, expert=sample.expert)
    for ours, theirs in zip(found.coef_, expected.coef_):
        assert ours.shape == theirs.shape and relative_error(ours, theirs) < 0.06
    assert found.intercept_ == pytest.approx(expected.intercept_, abs=0.1)
    assert relative_error(found.error_variance_, expected.error_variance_) < 0.1


# ---- wrong input -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "arguments, name",
    [
        (dict(X=np.full((90, 7), np.nan)), "X"),
        (dict(X=np.ones(90)), "X"),
        (dict(y=np.ones(89)), "y"),
        (dict(y=np.ones((90, 2))), "y"),
        (dict(y=np.full(90, np.inf)), "y"),
        (dict(block_sizes=[2, 1, 3]), "block_sizes"),
        (dict(block_sizes=[]), "block_sizes"),
        (dict(expert=np.full(90, 3)), "expert"),
        (dict(expert=np.zeros(90, dtype=int)), "expert"),
        (dict(expert=np.repeat([0, 1, 2], [86, 2, 2])), "expert 1 has 2 rows and 1 features"),
        (dict(noise_variance=0.0), "noise_variance"),
        (dict(n_starts=0), "n_starts"),
        (dict(max_iter=0), "max_iter"),
        (dict(tol=-1e-3), "tol"),
        (dict(jobs=0), "jobs"),
        (dict(progress=1), "progress"),
        (dict(rng="seed"), "rng"),
    ],
)
def test_wrong_arguments_are_named(arguments, name):
    sample = UNEQUAL.sample(90, rng=0)
    good = dict(X=sample.features, y=sample.response, block_sizes=[2, 1, 4])
    with pytest.raises((TypeError, ValueError), match=f"^{name}"):
        mn.fit_block_model(**good | arguments)


def test_data_without_noise_or_of_one_value_are_errors_not_nonsense():
    clean = dataclasses.replace(UNEQUAL, noise_variance=0.0).sample(500, rng=0)
    with pytest.raises(ValueError, match="noise_variance must be given"):
        fit(clean, UNEQUAL, expert=clean.expert)
    constant = np.ones((100, 7))
    with pytest.raises(ValueError, match="^X must have blocks of full rank, but the covariance of expert [012] is not"):
        mn.fit_block_model(constant, np.ones(100), [2, 1, 4])
    with pytest.raises(ValueError, match="^X must have more rows"):
        fit(UNEQUAL.sample(8, rng=0), UNEQUAL)
    with pytest.raises(ValueError, match="^X must have entries"):
        mn.fit_block_model(1e200 * UNEQUAL.sample(100, rng=0).features, np.ones(100), [2, 1, 4])


def test_input_is_never_changed_and_may_be_strided_and_read_only():
    sample = UNEQUAL.sample(400, rng=0)
    X = np.repeat(sample.features.astype(np.float32), 2, axis=1)[:, ::2]
    X.flags.writeable = False
    before = X.copy()
    result = mn.fit_block_model(X, sample.response, UNEQUAL.block_sizes)
    assert np.array_equal(X, before)
    expected = mn.fit_block_model(before.astype(float), sample.response, UNEQUAL.block_sizes)
    assert np.array_equal(result.posterior, expected.posterior)


# ---- what would be easy to get wrong ---------------------------------------------------------------------------------


def test_an_expert_without_coefficients_is_not_a_dead_one():
    model = mn.BlockModel([4 * np.eye(3)] * 2, [[0.0, 0.0, 0.0], [1.0, 2.0, 3.0]])
    sample = model.sample(20_000, rng=0)
    clean = sample.response * (sample.expert == 1)
    for expert in (sample.expert, None):
        result = mn.fit_block_model(sample.features, clean, [3, 3], expert=expert, n_starts=1)
        assert result.dead == () and relative_error(result.model.covariances[0], 4 * np.eye(3)) < 0.06


@pytest.mark.parametrize("shift", [0.0, 1e4, 1e8])
def test_intercepts_follow_a_shift_of_the_response(shift):
    sample = UNEQUAL.sample(3000, rng=1)
    found = mn.ExpertsRegressor(UNEQUAL.block_sizes, routing="soft", fit_intercept=True, random_state=0)
    expected, expected_std = found.fit(sample.features, sample.response).predict(sample.features, return_std=True)
    found.fit(sample.features, sample.response + shift)
    predicted, std = found.predict(sample.features, return_std=True)
    assert predicted - shift == pytest.approx(expected, abs=1e-4) and relative_error(std, expected_std) < 1e-4


def test_a_dead_expert_never_answers():
    model = mn.BlockModel([40 * np.eye(8)] * 2, [[1.0] * 8, [-1.0] * 8])
    sample = model.sample(60, rng=0)
    X = np.hstack([sample.features, mn.standard_normal((60, 40), rng=1)])
    with pytest.warns(UserWarning, match="experts 2 have died") as caught:
        experts = mn.ExpertsRegressor([8, 8, 40], random_state=0).fit(X, sample.response)
    assert caught[0].filename == __file__
    noise = mn.standard_normal((200, 56), rng=2)
    assert not (experts.router_.predict(noise) == 2).any() and not experts.router_.predict_proba(noise)[:, 2].any()
    assert experts.predict(noise, noise_variance=2.0).all()
    scaled = mn.ExpertsRegressor([8, 8, 40], random_state=0)
    with pytest.warns(UserWarning, match="experts 2 have died"):
        scaled.fit(X, 1e3 * sample.response)
    assert relative_error(scaled.error_variance_, 1e6 * experts.error_variance_) < 1e-9


def test_responses_without_error_are_reported_as_such():
    model = dataclasses.replace(UNEQUAL, noise_variance=1e-9)
    sample = model.sample(2000, rng=0)
    labelled = fit(sample, model, expert=sample.expert)
    found = fit(sample, model, n_starts=1)
    assert labelled.model.noise_variance == pytest.approx(1e-9, rel=0.05)
    assert relative_error(labelled.error_variances, [1e-9 * beta @ beta for beta in model.coefficients]) < 0.2
    assert (found.error_variances < 1e-7).all()


def test_nearly_dependent_features_are_reported():
    sample = UNEQUAL.sample(1000, rng=0)
    X = sample.features.copy()
    X[:, 1] = X[:, 0] + 1e-6 * X[:, 1]
    for expert in (sample.expert, None):
        with pytest.warns(scipy.linalg.LinAlgWarning, match="features of expert 0 nearly depend") as caught:
            mn.fit_block_model(X, sample.response, UNEQUAL.block_sizes, expert=expert, progress=False, n_starts=1)
        assert caught[0].filename == __file__


@pytest.mark.parametrize("name, arguments", [("X", (1e200, 1.0)), ("y", (1.0, 1e200))])
def test_squares_that_overflow_are_named(name, arguments):
    sample = UNEQUAL.sample(300, rng=0)
    X, y = sample.features * arguments[0], sample.response * arguments[1]
    for expert in (None, sample.expert):
        with pytest.raises(ValueError, match=f"^{name} must have entries whose squares"):
            mn.fit_block_model(X, y, UNEQUAL.block_sizes, expert=expert)
