"""Bayes-optimal coefficients, Theorem 2, and the exact risk of any coefficients."""

import dataclasses

import numpy as np
import pytest
from monte_carlo import agrees, squared_errors

import moenoise as mn
from moenoise import theory

MODEL = mn.BlockModel(
    [[[2.0, 0.6, 0.0], [0.6, 1.0, -0.3], [0.0, -0.3, 0.5]], [[3.0]], np.eye(2)],
    [[1.0, -2.0, 0.5], [0.7], [0.0, 1.5]],
    probabilities=[0.5, 0.2, 0.3],
    noise_variance=0.49,
)
SINGULAR = mn.BlockModel([[[1.0, 1.0], [1.0, 1.0]], [[0.0]]], [[3.0, 1.0], [5.0]], noise_variance=0.0)


def joined(blocks):
    return np.concatenate(blocks)


def random_model(rng, k=4):
    sizes = rng.integers(1, 6, k)
    roots = [rng.standard_normal((size, size)) for size in sizes]
    return mn.BlockModel(
        [root @ root.T for root in roots],
        [rng.standard_normal(size) for size in sizes],
        rng.dirichlet(np.ones(k)),
        noise_variance=rng.exponential(),
    )


def test_coefficients_solve_the_normal_equations():
    pieces = zip(MODEL.probabilities, MODEL.covariances, MODEL.coefficients)
    for i, (p, covariance, beta) in enumerate(pieces):
        noise = MODEL.noise_variance * np.eye(len(beta))
        dense = np.linalg.solve(p * covariance + noise, p * covariance @ beta)
        sparse = np.linalg.solve(covariance + noise, covariance @ beta)
        np.testing.assert_allclose(theory.bayes_dense(MODEL)[i], dense, rtol=1e-12)
        np.testing.assert_allclose(theory.bayes_sparse(MODEL)[i], sparse, rtol=1e-12)


def test_one_feature_a_block_by_hand():
    model = mn.BlockModel([[[2.0]], [[3.0]]], [[1.0], [-1.0]], [0.25, 0.75], noise_variance=0.5)
    np.testing.assert_allclose(joined(theory.bayes_dense(model)), [1 / 2, -9 / 11], rtol=1e-15)
    np.testing.assert_allclose(joined(theory.bayes_sparse(model)), [4 / 5, -6 / 7], rtol=1e-15)
    np.testing.assert_allclose(theory.generalization(model), [1 / 4 + 9 / 22, 1 / 10 + 9 / 28], rtol=1e-15)


@pytest.mark.parametrize("estimator", ["dense", "sparse"])
def test_risk_of_any_coefficients_against_simulation(estimator):
    rng = np.random.default_rng(1)
    coef = rng.standard_normal(MODEL.d)
    errors = squared_errors(MODEL, coef, 100_000, rng, estimator)
    other = "sparse" if estimator == "dense" else "dense"
    assert agrees(errors, theory.risk(MODEL, coef, estimator=estimator))
    assert not agrees(errors, theory.risk(MODEL, coef, estimator=other))


def test_theorem_2_against_simulation():
    rng = np.random.default_rng(2)
    risks = theory.generalization(MODEL)
    dense = squared_errors(MODEL, joined(theory.bayes_dense(MODEL)), 100_000, rng)
    sparse = squared_errors(MODEL, joined(theory.bayes_sparse(MODEL)), 100_000, rng, "sparse")
    assert agrees(dense, risks.dense) and agrees(sparse, risks.sparse)
    assert not agrees(dense, risks.sparse) and not agrees(sparse, risks.dense)


def test_bayes_risks_are_the_least_ones():
    rng = np.random.default_rng(3)
    risks = theory.generalization(MODEL)
    for best, coefficients in zip(risks, [theory.bayes_dense(MODEL), theory.bayes_sparse(MODEL)]):
        estimator = "dense" if best == risks.dense else "sparse"
        coef = joined(coefficients)
        assert theory.risk(MODEL, coef, estimator=estimator) == pytest.approx(best, rel=1e-12)
        others = theory.risk(MODEL, coef + 0.1 * rng.standard_normal((50, MODEL.d)), estimator=estimator)
        assert (others > best).all()


def test_sparse_never_above_dense():
    rng = np.random.default_rng(4)
    for _ in range(100):
        dense, sparse = theory.generalization(random_model(rng))
        assert 0 <= sparse <= dense * (1 + 1e-12)


def test_one_expert_is_dense():
    model = mn.BlockModel.toeplitz(5, 1, rng=0)
    np.testing.assert_array_equal(joined(theory.bayes_dense(model)), joined(theory.bayes_sparse(model)))
    dense, sparse = theory.generalization(model)
    assert dense == sparse


def test_many_vectors_of_coefficients_at_once():
    coefs = np.random.default_rng(5).standard_normal((4, MODEL.d))
    np.testing.assert_allclose(theory.risk(MODEL, coefs), [theory.risk(MODEL, coef) for coef in coefs], rtol=1e-14)
    assert isinstance(theory.risk(MODEL, coefs[0]), float)


def test_without_noise_the_coefficients_are_the_limit():
    noiseless = dataclasses.replace(MODEL, noise_variance=0.0)
    np.testing.assert_allclose(joined(theory.bayes_dense(noiseless)), joined(MODEL.coefficients), rtol=1e-12)
    np.testing.assert_allclose(joined(theory.bayes_sparse(noiseless)), joined(MODEL.coefficients), rtol=1e-12)
    assert theory.generalization(noiseless) == (0.0, 0.0)


def test_without_noise_and_signal_the_coefficients_are_projected():
    nearly = dataclasses.replace(SINGULAR, noise_variance=1e-9)
    for function in (theory.bayes_dense, theory.bayes_sparse):
        np.testing.assert_allclose(joined(function(SINGULAR)), [2.0, 2.0, 0.0], rtol=1e-12)
        np.testing.assert_allclose(joined(function(nearly)), [2.0, 2.0, 0.0], atol=1e-8)
    assert theory.risk(SINGULAR, [2.0, 2.0, 0.0]) == pytest.approx(0.0, abs=1e-12)


def test_with_much_noise_nothing_is_learnt():
    loud = dataclasses.replace(MODEL, noise_variance=1e12)
    signal = MODEL.probabilities @ MODEL.signal_variances
    np.testing.assert_allclose(theory.generalization(loud), signal, rtol=1e-10)


@pytest.mark.parametrize(
    "coef, error",
    [
        (np.zeros(5), ValueError),
        (np.zeros((2, 3, 6)), ValueError),
        (np.zeros((0, 6)), ValueError),
        (np.full(6, np.nan), ValueError),
        (np.zeros(6, complex), TypeError),
        (["a"] * 6, TypeError),
    ],
)
def test_bad_coef(coef, error):
    with pytest.raises(error, match="coef"):
        theory.risk(MODEL, coef)


def test_bad_estimator():
    with pytest.raises(ValueError, match="estimator"):
        theory.risk(MODEL, np.zeros(6), estimator="both")


@pytest.mark.parametrize("function", [theory.bayes_dense, theory.bayes_sparse, theory.generalization])
def test_bad_model(function):
    with pytest.raises(TypeError, match="model"):
        function("model")
