"""Theorem 3: another noise at test time."""

import dataclasses
import math

import numpy as np
import pytest
from monte_carlo import agrees, squared_errors

import moenoise as mn
from moenoise import theory

MODEL = mn.BlockModel(
    [[[2.0, 0.6], [0.6, 1.0]], [[3.0]]], [[1.0, -2.0], [0.7]], probabilities=[0.7, 0.3], noise_variance=0.5
)
MANY_EXPERTS = mn.BlockModel.isotropic(100, 100, variance=8.0, coefficients=np.ones(100))


def test_against_simulation():
    rng = np.random.default_rng(1)
    shifted = dataclasses.replace(MODEL, noise_variance=2.0)
    risks = theory.robustness(MODEL, 2.0)
    dense = squared_errors(shifted, np.concatenate(theory.bayes_dense(MODEL)), 100_000, rng)
    sparse = squared_errors(shifted, np.concatenate(theory.bayes_sparse(MODEL)), 100_000, rng, "sparse")
    assert agrees(dense, risks.dense) and agrees(sparse, risks.sparse)
    retrained = theory.generalization(shifted)
    assert not agrees(dense, retrained.dense) and not agrees(sparse, retrained.sparse)


def test_printed_expression_in_matrices():
    """Theorem 3 as the paper writes it, with matrix inverses."""
    v, s = 3.0, MODEL.noise_variance
    dense, sparse = theory.generalization(MODEL)
    for p, covariance, beta in zip(MODEL.probabilities, MODEL.covariances, MODEL.coefficients):
        signal = covariance @ beta
        identity = np.eye(len(beta))
        dense_inverse = np.linalg.inv(p * covariance + s * identity)
        sparse_inverse = np.linalg.inv(covariance + s * identity)
        dense += p**2 * (v - s) * signal @ dense_inverse @ dense_inverse @ signal
        sparse += p * (v - s) * signal @ sparse_inverse @ sparse_inverse @ signal
    np.testing.assert_allclose(theory.robustness(MODEL, v), [dense, sparse], rtol=1e-12)


def test_is_the_risk_of_the_same_coefficients():
    for v in (0.0, 0.5, 7.0):
        shifted = dataclasses.replace(MODEL, noise_variance=v)
        dense = theory.risk(shifted, np.concatenate(theory.bayes_dense(MODEL)))
        sparse = theory.risk(shifted, np.concatenate(theory.bayes_sparse(MODEL)), estimator="sparse")
        np.testing.assert_allclose(theory.robustness(MODEL, v), [dense, sparse], rtol=1e-12)


def test_no_shift_is_theorem_2_and_arrays_keep_their_shape():
    assert theory.robustness(MODEL, MODEL.noise_variance) == theory.generalization(MODEL)
    dense, sparse = theory.robustness(MODEL, np.ones((2, 3)))
    assert dense.shape == sparse.shape == (2, 3)
    assert dense[1, 2] == theory.robustness(MODEL, 1.0).dense


def test_printed_condition_is_not_sufficient():
    assert theory.robustness_condition(MANY_EXPERTS, form="printed").all()
    assert not theory.robustness_condition(MANY_EXPERTS).any()
    assert theory.crossover_noise(MANY_EXPERTS) == pytest.approx(28.0, rel=1e-12)
    dense, sparse = theory.robustness(MANY_EXPERTS, 30.0)
    assert dense < sparse


def test_corrected_condition_is_sufficient():
    rng = np.random.default_rng(2)
    met = 0
    for _ in range(300):
        model = mn.BlockModel(
            [np.diag(rng.exponential(3.0, 2)) for _ in range(3)],
            rng.standard_normal((3, 2)),
            rng.dirichlet(np.full(3, 2.0)),
            noise_variance=0.5,
        )
        if theory.robustness_condition(model).all():
            met += 1
            assert theory.crossover_noise(model) == math.inf
            dense, sparse = theory.robustness(model, 1e6)
            assert sparse <= dense
    assert met > 20


def test_condition_at_its_boundary():
    model = mn.BlockModel([[[2.0]]] * 4, [[1.0]] * 4, noise_variance=1.0)
    assert theory.robustness_condition(model).all()
    assert not theory.robustness_condition(dataclasses.replace(model, noise_variance=1.01)).any()
    assert not theory.robustness_condition(dataclasses.replace(model, noise_variance=0.5), form="printed").any()


def test_risks_meet_at_the_crossover():
    model = mn.BlockModel.toeplitz(12, 4, scale=0.3, rng=0)
    crossover = theory.crossover_noise(model)
    dense, sparse = theory.robustness(model, [crossover, 0.9 * crossover, 1.1 * crossover])
    assert crossover > model.noise_variance
    assert dense[0] == pytest.approx(sparse[0], rel=1e-12)
    assert sparse[1] < dense[1] and sparse[2] > dense[2]


@pytest.mark.parametrize(
    "model",
    [
        mn.BlockModel.toeplitz(4, 1, rng=0),
        mn.BlockModel.toeplitz(4, 2, scale=100.0, rng=0),
        mn.BlockModel.toeplitz(4, 2, noise_variance=0.0, rng=0),
        mn.BlockModel.toeplitz(4, 2, coefficients=np.zeros(4)),
    ],
    ids=["one expert", "strong signal", "no noise", "no signal"],
)
def test_risks_that_never_meet(model):
    assert theory.crossover_noise(model) == math.inf


@pytest.mark.parametrize(
    "variance, error",
    [(-1.0, ValueError), ([1.0, -0.1], ValueError), (np.inf, ValueError), ([], ValueError), ("1", TypeError)],
)
def test_bad_test_noise_variance(variance, error):
    with pytest.raises(error, match="test_noise_variance"):
        theory.robustness(MODEL, variance)


def test_bad_form_and_model():
    with pytest.raises(ValueError, match="form"):
        theory.robustness_condition(MODEL, form="wrong")
    for function in (theory.robustness_condition, theory.crossover_noise):
        with pytest.raises(TypeError, match="model"):
            function(None)
