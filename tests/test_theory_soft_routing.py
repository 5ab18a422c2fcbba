"""Risks of soft and hard routing: against brute force, at the limits, and whether their standard errors are right."""

import dataclasses
import itertools

import numpy as np
import pytest
import scipy.stats
from monte_carlo import draw

import moenoise as mn
from moenoise import theory
from moenoise.theory import soft_routing

EQUAL = mn.BlockModel.toeplitz(12, 3, scale=1.5, rng=0)
UNEQUAL = mn.BlockModel(
    [[[2.0, 0.6, 0.0], [0.6, 1.0, 0.3], [0.0, 0.3, 0.5]], [[3.0]], [[1.0, 1.0], [1.0, 1.0]]],  # the last is singular
    [[1.0, -2.0, 0.5], [1.4], [2.0, 1.0]],
    probabilities=[0.5, 0.3, 0.2],
    noise_variance=0.5,
)
MODELS = pytest.mark.parametrize("model", [EQUAL, UNEQUAL], ids=["equal blocks", "unequal blocks"])
SHIFTS = pytest.mark.parametrize("shift", [1, 3])


def posterior(model, features):
    """(n, k) from densities of whole rows, with d x d covariances."""
    log_joint = []
    for probability, block, own in zip(model.probabilities, model.blocks, model.covariances):
        covariance = model.noise_variance * np.eye(model.d)
        covariance[block, block] += own
        density = scipy.stats.multivariate_normal(np.zeros(model.d), covariance)
        log_joint.append(np.log(probability) + density.logpdf(features))
    joint = np.exp(np.array(log_joint) - np.max(log_joint, axis=0))
    return (joint / joint.sum(axis=0)).T


def experts_predictions(model, features):
    """(n, k)"""
    pairs = zip(model.blocks, theory.bayes_sparse(model))
    return np.stack([features[:, block] @ coef for block, coef in pairs], axis=1)


def brute_force(model, test_noise, n, rng):
    """Squared errors (n,) of oracle, soft, hard and dense on drawn responses: nothing is integrated."""
    features, response, expert = draw(dataclasses.replace(model, noise_variance=test_noise), n, rng)
    q, means, rows = posterior(model, features), experts_predictions(model, features), np.arange(n)
    answers = {
        "oracle": means[rows, expert],
        "soft": (q * means).sum(axis=1),
        "hard": means[rows, q.argmax(axis=1)],
        "dense": features @ np.concatenate(theory.bayes_dense(model)),
    }
    return {name: (response - answer) ** 2 for name, answer in answers.items()}


def z_score(errors, risk):
    """Mean squared error less a risk, in standard errors of both together."""
    return (errors.mean() - risk.value) / np.hypot(errors.std(ddof=1) / np.sqrt(len(errors)), risk.standard_error)


@MODELS
@SHIFTS
def test_against_brute_force(model, shift):
    test_noise = shift * model.noise_variance
    risks = theory.soft_risk(model, test_noise_variance=test_noise, n_samples=200_000, rng=1)
    measured = brute_force(model, test_noise, 200_000, np.random.default_rng(2))
    z = {name: z_score(measured[name], risk) for name, risk in risks._asdict().items()}
    assert max(map(abs, z.values())) < 4, z
    # Such a test tells the four apart, and unadapted predictors from adapted ones.
    assert abs(z_score(measured["soft"], risks.hard)) > 10 and abs(z_score(measured["hard"], risks.soft)) > 10
    if shift > 1:
        adapted = theory.soft_risk(dataclasses.replace(model, noise_variance=test_noise), rng=1)
        assert z_score(measured["soft"], adapted.soft) > 10 and z_score(measured["hard"], adapted.hard) > 10


@MODELS
@SHIFTS
def test_oracle_and_dense_are_exact(model, shift):
    test_noise = shift * model.noise_variance
    risks = theory.soft_risk(model, test_noise_variance=test_noise, n_samples=100, rng=0)
    exact = theory.robustness(model, test_noise)
    assert (risks.oracle.value, risks.dense.value) == (exact.sparse, exact.dense)
    assert risks.oracle.standard_error == risks.dense.standard_error == 0


@MODELS
@SHIFTS
def test_controls_have_the_means_that_are_taken_as_known(model, shift):
    test_noise = shift * model.noise_variance
    basis = soft_routing.spectrum(model)
    oracle, _, _, dense = soft_routing._errors(model, basis, test_noise, 100_000, 3)
    exact = theory.robustness(model, test_noise)
    for errors, risk in ((oracle, exact.sparse), (dense, exact.dense)):
        assert abs(z_score(errors, theory.RiskEstimate(risk, 0.0))) < 4
        assert errors.std() < risk  # so that the line above sees an error of 1.3 %


@MODELS
@SHIFTS
def test_standard_errors_are_honest_and_values_unbiased(model, shift):
    test_noise = shift * model.noise_variance
    truth = theory.soft_risk(model, test_noise_variance=test_noise, n_samples=500_000, rng=0)
    seeds = np.random.SeedSequence(5).spawn(200)
    repeats = [theory.soft_risk(model, test_noise_variance=test_noise, n_samples=2000, rng=seed) for seed in seeds]
    for name in ("soft", "hard"):
        right = getattr(truth, name).value
        z = [(risk.value - right) / risk.standard_error for risk in (getattr(risks, name) for risks in repeats)]
        assert 0.85 <= np.std(z) <= 1.15
        assert abs(np.mean(z)) < 4 / np.sqrt(200)


@MODELS
def test_controls_are_worth_the_rows(model):
    basis = soft_routing.spectrum(model)
    _, soft, hard, _ = soft_routing._errors(model, basis, model.noise_variance, 50_000, 3)
    risks = theory.soft_risk(model, n_samples=50_000, rng=3)
    # A standard error takes a quarter and a tenth fewer rows, at least.
    assert risks.soft.standard_error**2 < 0.75 * soft.var() / 50_000
    assert risks.hard.standard_error**2 < 0.9 * hard.var() / 50_000


def test_without_noise_soft_and_hard_are_the_oracle():
    model = dataclasses.replace(UNEQUAL, noise_variance=1e-9)
    risks = theory.soft_risk(model, n_samples=20_000, rng=0)
    assert 0 < risks.oracle.value < 0.9 * risks.dense.value
    # What routing costs is of a higher order in the noise: it is a hundredth at noise variance 1e-4 already.
    assert risks.soft.value == pytest.approx(risks.oracle.value, rel=1e-2)
    assert risks.hard.value == pytest.approx(risks.oracle.value, rel=1e-2)


@SHIFTS
def test_of_one_expert_all_are_the_same(shift):
    model = mn.BlockModel([UNEQUAL.covariances[0]], [UNEQUAL.coefficients[0]], noise_variance=0.5)
    risks = theory.soft_risk(model, test_noise_variance=0.5 * shift, n_samples=500, rng=0)
    np.testing.assert_allclose([risk.value for risk in risks], risks.dense.value, rtol=1e-12)
    assert max(risk.standard_error for risk in risks) < 1e-12 * risks.dense.value


def test_without_signal_the_gate_is_the_prior():
    """Features far below the noise, coefficients as far above: the gate knows the loads and nothing else."""
    loads = np.array([0.6, 0.25, 0.15])
    model = mn.BlockModel([1e-4 * np.eye(2)] * 3, [[100.0, 200.0], [-100.0, 100.0], [200.0, 50.0]], loads)
    risks = theory.soft_risk(model, rng=0)
    # Risks differ in their fifth digit here, so what the predictors explain is compared, not what they leave.
    signal = loads @ model.signal_variances
    prior_mixture = np.concatenate([p * w for p, w in zip(loads, theory.bayes_sparse(model))])
    assert signal - risks.soft.value == pytest.approx(signal - theory.risk(model, prior_mixture), rel=1e-3)
    always_the_likeliest = theory.misrouted_risk(model, [[1, 0, 0]] * 3)
    assert abs(risks.hard.value - always_the_likeliest) < 4 * risks.hard.standard_error
    assert signal - always_the_likeliest > 40 * risks.hard.standard_error


def random_model(rng):
    sizes = rng.integers(1, 6, size=rng.integers(2, 7))
    roots = [rng.standard_normal((size, rng.integers(1, size + 2))) for size in sizes]
    scale = rng.choice([0.3, 1.0, 3.0])
    return mn.BlockModel(
        [scale * root @ root.T for root in roots],
        [rng.standard_normal(size) for size in sizes],
        rng.dirichlet(np.full(len(sizes), 3.0)),
        noise_variance=rng.choice([0.3, 1.0]),
    )


def test_soft_never_loses_at_the_training_noise():
    rng = np.random.default_rng(6)
    dense_wins = 0
    for _ in range(30):
        risks = theory.soft_risk(random_model(rng), n_samples=20_000, rng=0)
        assert risks.oracle.value <= risks.soft.value + 4 * risks.soft.standard_error
        assert risks.soft.value <= risks.dense.value + 4 * risks.soft.standard_error
        assert risks.soft.value <= risks.hard.value + 4 * np.hypot(risks.soft.standard_error, risks.hard.standard_error)
        dense_wins += risks.hard.value > risks.dense.value + 4 * risks.hard.standard_error
    assert 3 < dense_wins < 27  # the models are not all of one kind


@pytest.mark.parametrize("k, block_size, scale, order", [
    (4, 8, 2, "oracle soft hard dense"),
    (4, 8, 1, "oracle soft hard dense"),
    (4, 4, 1, "oracle soft dense hard"),
    (12, 5, 1, "oracle soft dense hard"),
    (50, 1, 8, "oracle soft hard dense"),
])  # fmt: skip
def test_hard_routing_loses_to_dense_where_the_signal_is_weak(k, block_size, scale, order):
    model = mn.BlockModel.toeplitz(k * block_size, k, scale=scale, rng=1)
    risks = theory.soft_risk(model, rng=0)._asdict()
    risks = [risks[name] for name in order.split()]
    for lower, higher in itertools.pairwise(risks):
        assert higher.value - lower.value > 4 * np.hypot(lower.standard_error, higher.standard_error)


def test_adapted_soft_is_best_under_another_noise():
    model = mn.BlockModel.toeplitz(60, 12, rng=1)
    kept = theory.soft_risk(model, test_noise_variance=3.0, rng=0)
    adapted = theory.soft_risk(dataclasses.replace(model, noise_variance=3.0), rng=0)
    assert adapted.soft.value < adapted.dense.value < kept.dense.value < kept.soft.value < kept.hard.value
    assert max(adapted.soft.standard_error, kept.soft.standard_error) < 0.025
    assert min(np.diff([adapted.soft.value, adapted.dense.value, kept.dense.value, kept.soft.value])) > 0.08


@pytest.mark.parametrize("entries", [1, 1000, 2**20])
def test_chunks_do_not_matter(entries, monkeypatch):
    whole = theory.soft_risk(UNEQUAL, test_noise_variance=1.0, n_samples=3000, rng=0)
    monkeypatch.setattr(soft_routing, "_CHUNK", entries)
    assert theory.soft_risk(UNEQUAL, test_noise_variance=1.0, n_samples=3000, rng=0) == whole


def test_scores_far_apart_do_not_overflow():
    model = dataclasses.replace(UNEQUAL, noise_variance=1e-200)
    with np.errstate(over="raise", invalid="raise"):
        risks = theory.soft_risk(model, test_noise_variance=1.0, n_samples=1000, rng=0)
    assert all(np.isfinite(risk.value) and risk.value > 0 for risk in risks)


def test_seeds():
    first = theory.soft_risk(EQUAL, n_samples=1000, rng=4)
    assert theory.soft_risk(EQUAL, n_samples=1000, rng=4) == first
    assert theory.soft_risk(EQUAL, n_samples=1000, rng=np.random.SeedSequence(4)) == first
    assert theory.soft_risk(EQUAL, n_samples=1000, rng=5) != first
    assert theory.soft_risk(EQUAL, n_samples=1000) != theory.soft_risk(EQUAL, n_samples=1000)
    generator = np.random.default_rng(4)
    drawn = [theory.soft_risk(EQUAL, n_samples=1000, rng=generator) for _ in range(2)]
    assert drawn[0] != drawn[1]
    assert theory.soft_risk(EQUAL, n_samples=1000, rng=np.random.default_rng(4)) == drawn[0]


def test_seeds_that_differ_in_their_last_bits_differ():
    keys = [2**63 + 2**40, 2**63 + 2**40 + 1]
    rows = [next(soft_routing._noisy_rows(EQUAL, soft_routing.spectrum(EQUAL), 1.0, 10, key)) for key in keys]
    assert not np.isclose(*rows).any()


def test_default_test_noise_is_the_models():
    given = theory.soft_risk(UNEQUAL, test_noise_variance=0.5, n_samples=1000, rng=0)
    assert theory.soft_risk(UNEQUAL, n_samples=1000, rng=0) == given


@pytest.mark.parametrize("options, error, message", [
    ({"test_noise_variance": 0.0}, ValueError, "test_noise_variance"),
    ({"test_noise_variance": -1.0}, ValueError, "test_noise_variance"),
    ({"test_noise_variance": np.nan}, ValueError, "test_noise_variance"),
    ({"test_noise_variance": [1.0, 2.0]}, TypeError, "test_noise_variance"),
    ({"n_samples": 3}, ValueError, "n_samples"),
    ({"n_samples": 1e5}, TypeError, "n_samples"),
    ({"rng": "seed"}, TypeError, "rng"),
    ({"rng": 1.5}, TypeError, "rng"),
    ({"rng": -1}, ValueError, "rng"),
])  # fmt: skip
def test_bad_arguments(options, error, message):
    with pytest.raises(error, match=message):
        theory.soft_risk(EQUAL, **options)


def test_bad_model():
    with pytest.raises(TypeError, match="model"):
        theory.soft_risk(None)
    with pytest.raises(ValueError, match="model must have a positive noise_variance"):
        theory.soft_risk(dataclasses.replace(EQUAL, noise_variance=0.0), test_noise_variance=1.0)
