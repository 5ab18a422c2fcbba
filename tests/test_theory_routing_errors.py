"""Theorem 4: an input routed to the wrong expert."""

import dataclasses

import numpy as np
import pytest
from monte_carlo import agrees, draw

import moenoise as mn
from moenoise import theory

MODEL = mn.BlockModel(
    [[[2.0, 0.6], [0.6, 1.0]], [[3.0]], np.eye(2)],
    [[1.0, -2.0], [1.7], [0.5, 1.5]],
    probabilities=[0.5, 0.2, 0.3],
    noise_variance=0.8,
)


def composite_errors(model, true, routed, eta, n, rng):
    """(n, 2) squared errors of the dense and sparse Bayes estimators on Theorem 4's composite input."""
    signal, response, _ = draw(dataclasses.replace(model, noise_variance=0.0), n, rng, np.full(n, true))
    other, _, _ = draw(dataclasses.replace(model, noise_variance=0.0), n, rng, np.full(n, routed))
    features = signal + eta * other + np.sqrt(model.noise_variance) * rng.standard_normal(signal.shape)
    dense = features @ np.concatenate(theory.bayes_dense(model))
    sparse = features[:, model.blocks[routed]] @ theory.bayes_sparse(model)[routed]
    return np.column_stack([response - dense, response - sparse]) ** 2


@pytest.mark.parametrize("true, routed, eta", [(0, 1, 1.5), (2, 0, 1.0), (1, 2, 0.0)])
def test_corrected_form_against_simulation_and_printed_form_fails(true, routed, eta):
    errors = composite_errors(MODEL, true, routed, eta, 100_000, np.random.default_rng(1))
    assert agrees(errors, theory.misrouting(MODEL, true, routed, eta))
    printed = theory.misrouting(MODEL, true, routed, eta, form="printed")
    assert not agrees(errors[:, 0], printed.dense)
    assert not agrees(errors[:, 1], printed.sparse)


def test_printed_form_is_the_papers():
    """Theorem 4 as printed, with matrix inverses."""
    i, j, eta, s = 0, 2, 1.5, MODEL.noise_variance

    def form(block, factor, power):
        covariance, beta = MODEL.covariances[block], MODEL.coefficients[block]
        inverse = np.linalg.inv(factor * covariance + s * np.eye(len(beta)))
        return beta @ covariance @ np.linalg.matrix_power(inverse, power) @ covariance @ beta

    p = MODEL.probabilities
    dense = eta**2 * p[j] * form(j, p[j], 1) + s * eta**2 * (p[j] ** 2 - p[j]) * form(j, p[j], 2)
    dense += -p[i] * form(i, p[i], 1) + s * p[1] ** 2 * form(1, p[1], 2)
    printed = theory.misrouting(MODEL, i, j, eta, form="printed")
    np.testing.assert_allclose(printed, [dense, eta**2 * form(j, 1.0, 1)], rtol=1e-12)


def test_without_noise():
    model = dataclasses.replace(MODEL, noise_variance=0.0)
    signal = model.signal_variances
    np.testing.assert_allclose(theory.misrouting(model, 0, 1, 2.0), [4 * signal[1], signal[0] + 4 * signal[1]])


CONFUSION = np.array([[0.9, 0.1, 0.0], [0.6, 0.3, 0.1], [0.2, 0.0, 0.8]])


def test_random_routing_errors_against_simulation():
    rng = np.random.default_rng(2)
    features, response, expert = draw(MODEL, 200_000, rng)
    routed = (rng.random(len(expert))[:, None] > np.cumsum(CONFUSION, axis=1)[expert]).sum(axis=1)
    outputs = [features[:, block] @ w for block, w in zip(MODEL.blocks, theory.bayes_sparse(MODEL))]
    errors = (response - np.column_stack(outputs)[np.arange(len(expert)), routed]) ** 2
    assert agrees(errors, theory.misrouted_risk(MODEL, CONFUSION))
    transposed = CONFUSION.T / CONFUSION.sum(axis=0)[:, None]
    assert not agrees(errors, theory.misrouted_risk(MODEL, transposed))
    assert not agrees(errors, theory.generalization(MODEL).sparse)


def test_perfect_routing_is_theorem_2():
    assert theory.misrouted_risk(MODEL, np.eye(3)) == pytest.approx(theory.generalization(MODEL).sparse, rel=1e-14)


def test_one_expert_cannot_be_misrouted():
    model = mn.BlockModel.toeplitz(3, 1, rng=0)
    assert theory.misrouted_risk(model, [[1.0]]) == pytest.approx(theory.generalization(model).sparse, rel=1e-14)


@pytest.mark.parametrize(
    "arguments, error, name",
    [
        ((0, 0, 1.0), ValueError, "routed"),
        ((3, 0, 1.0), ValueError, "true"),
        ((0, -1, 1.0), ValueError, "routed"),
        ((0.0, 1, 1.0), TypeError, "true"),
        ((True, 0, 1.0), TypeError, "true"),
        ((0, 1, -1.0), ValueError, "eta"),
        ((0, 1, np.nan), ValueError, "eta"),
        ((0, 1, "1"), TypeError, "eta"),
        ((0, 1, 1.0, "right"), ValueError, "form"),
    ],
)
def test_bad_arguments(arguments, error, name):
    with pytest.raises(error, match=name):
        theory.misrouting(MODEL, *arguments)


@pytest.mark.parametrize(
    "confusion, error",
    [
        (np.eye(2), ValueError),
        (np.full((3, 3), 0.3), ValueError),
        (np.eye(3) * 2 - 1 / 3, ValueError),
        (np.full((3, 3), np.nan), ValueError),
        (np.eye(3).astype(object), TypeError),
    ],
)
def test_bad_confusion(confusion, error):
    with pytest.raises(error, match="confusion"):
        theory.misrouted_risk(MODEL, confusion)


def uniformly_misrouted(model, fraction):
    """The confusion matrix of a router that sends that fraction of each expert's inputs to the wrong ones alike."""
    confusion = np.full((model.k, model.k), fraction / (model.k - 1))
    np.fill_diagonal(confusion, 1 - fraction)
    return confusion


def test_crossover_is_where_the_risks_meet():
    crossover, dense = theory.misrouting_crossover(MODEL), theory.generalization(MODEL).dense
    assert 0.02 < crossover < 0.98
    assert theory.misrouted_risk(MODEL, uniformly_misrouted(MODEL, crossover)) == pytest.approx(dense, rel=1e-12)
    assert theory.misrouted_risk(MODEL, uniformly_misrouted(MODEL, crossover - 0.01)) < dense
    assert theory.misrouted_risk(MODEL, uniformly_misrouted(MODEL, crossover + 0.01)) > dense


def test_crossover_against_simulation():
    rng = np.random.default_rng(3)
    features, response, expert = draw(MODEL, 200_000, rng)
    dense = (response - features @ np.concatenate(theory.bayes_dense(MODEL))) ** 2
    outputs = np.column_stack([features[:, block] @ w for block, w in zip(MODEL.blocks, theory.bayes_sparse(MODEL))])

    def lead(fraction):
        wrong = rng.random(len(expert)) < fraction
        routed = (expert + wrong * rng.integers(1, MODEL.k, len(expert))) % MODEL.k
        return (response - outputs[np.arange(len(expert)), routed]) ** 2 - dense

    crossover = theory.misrouting_crossover(MODEL)
    assert agrees(lead(crossover), 0.0)
    assert not agrees(lead(0.8 * crossover), 0.0) and not agrees(lead(1.2 * crossover), 0.0)


def test_crossover_lies_between_0_and_1():
    rng = np.random.default_rng(4)
    for _ in range(200):
        k = rng.integers(2, 6)
        model = mn.BlockModel(
            [[[value]] for value in 10 ** rng.uniform(-4, 4, k)],
            rng.standard_normal((k, 1)),
            0.9 * rng.dirichlet(np.full(k, 0.3)) + 0.1 / k,
            noise_variance=10 ** rng.uniform(-4, 4),
        )
        crossover = theory.misrouting_crossover(model)
        assert 0 <= crossover <= 1
        risk = theory.misrouted_risk(model, uniformly_misrouted(model, crossover))
        assert risk == pytest.approx(theory.generalization(model).dense, rel=1e-9)


@pytest.mark.parametrize("noise_variance", [1e12, 1e15, 1e17, 1e300])
def test_crossover_where_noise_hides_all(noise_variance):
    """The limit, in ``|Sigma_i beta_i|^2``; risks themselves are alike to all digits."""
    outputs = np.array([np.sum((own @ beta) ** 2) for own, beta in zip(MODEL.covariances, MODEL.coefficients)])
    p = MODEL.probabilities
    wrong = p @ outputs + p @ (outputs.sum() - outputs) / (MODEL.k - 1)
    limit = p @ ((1 - p) * outputs) / wrong
    found = theory.misrouting_crossover(dataclasses.replace(MODEL, noise_variance=noise_variance))
    assert found == pytest.approx(limit, rel=1e-10)


@pytest.mark.parametrize("noise_variance", [1e-12, 1e-100, 1e-300])
def test_crossover_where_noise_vanishes(noise_variance):
    found = theory.misrouting_crossover(dataclasses.replace(MODEL, noise_variance=noise_variance))
    signal, p = MODEL.signal_variances, MODEL.probabilities
    lead = p @ [(1 / p_i - 1) * beta @ beta for p_i, beta in zip(p, MODEL.coefficients)]
    assert found / noise_variance == pytest.approx(lead / (p @ signal), rel=1e-10)


def test_crossover_without_noise_without_signal_and_with_one_expert():
    assert theory.misrouting_crossover(dataclasses.replace(MODEL, noise_variance=0.0)) == 0
    silent = dataclasses.replace(MODEL, coefficients=[np.zeros(2), np.zeros(1), np.zeros(2)])
    assert theory.misrouting_crossover(silent) == np.inf
    assert theory.misrouting_crossover(mn.BlockModel.toeplitz(3, 1, rng=0)) == np.inf
    with pytest.raises(TypeError, match="model"):
        theory.misrouting_crossover(3)
