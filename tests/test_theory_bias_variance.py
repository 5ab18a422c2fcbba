"""Bias and variance of coefficients and of experts' fits: exact cases by simulation, equivalents, printed forms."""

import numpy as np
import pytest
from monte_carlo import agrees, draw, minimum_norm_fit

import moenoise as mn
from moenoise import theory


def simulated(model, n, repeats, seed=0):
    """(repeats, 2): bias and variance of fits of a model with one expert."""
    rng = np.random.default_rng(seed)
    fits = np.array([minimum_norm_fit(*draw(model, n, rng)[:2]) for _ in range(repeats)])
    return np.transpose(theory.bias_variance(model, fits, estimator="sparse"))


@pytest.mark.parametrize("estimator", ["dense", "sparse"])
def test_terms_by_their_definition(estimator):
    model, coef = mn.BlockModel.toeplitz(12, 3, scale=2.0, noise_variance=0.7, rng=0), mn.standard_normal(12, rng=1)
    bias = variance = 0.0
    for p, block, covariance, beta in zip(model.probabilities, model.blocks, model.covariances, model.coefficients):
        bias += p * (coef[block] - beta) @ covariance @ (coef[block] - beta)
        variance += (p if estimator == "sparse" else 1) * 0.7 * coef[block] @ coef[block]
    found = theory.bias_variance(model, coef, estimator=estimator)
    assert found == pytest.approx((bias, variance))
    assert sum(found) == pytest.approx(theory.risk(model, coef, estimator=estimator))


@pytest.mark.parametrize(
    "model, n",
    [
        (mn.BlockModel.toeplitz(12, 1, scale=2.0, rng=0), 20),
        (mn.BlockModel.isotropic(1, 1, variance=8.0, coefficients=[1.0]), 12),
        (mn.BlockModel.isotropic(20, 1, variance=2.0, noise_variance=0.7, rng=2), 8),
    ],
)
def test_exact_by_simulation(model, n):
    terms = simulated(model, n, 6000)
    stated = np.array(theory.expert_bias_variance(model, [n]))[:, 0]
    assert agrees(terms, stated)
    for wrong in (1.1, 0.9):
        assert not agrees(terms[:, :1], wrong * stated[:1]) and not agrees(terms[:, 1:], wrong * stated[1:])


@pytest.mark.parametrize("n", [15, 35])
def test_equivalent_with_fewer_rows(n):
    model = mn.BlockModel.toeplitz(60, 1, decay=0.7, scale=2.0, rng=3)
    terms = simulated(model, n, 600)
    stated = np.array(theory.expert_bias_variance(model, [n]))[:, 0]
    assert agrees(terms, stated, margin=0.05)
    for term, value in zip(terms.T, stated):
        assert not agrees(term, value * 0.8, margin=0.05)


def test_terms_add_up_to_the_risk_in_every_regime():
    model = mn.BlockModel([np.eye(4), np.diag([3.0, 1.0, 0.0]), [[2.0]]], [np.ones(4), np.ones(3), [5.0]],
                          noise_variance=0.5)
    for counts in ([2, 9, 7], [0, 1, 3], [4, 0, 0], [3, 3, 1]):
        bias, variance = theory.expert_bias_variance(model, counts)
        np.testing.assert_allclose(bias + variance, theory.expert_risk(model, counts), rtol=1e-12)
    assert np.isinf(theory.expert_bias_variance(model, [4, 2, 2])).all()


def test_many_counts_at_once():
    model, counts = mn.BlockModel([[[8.0]], [[1.0]]], [[1.0], [2.0]]), [[50, 10], [3, 10]]
    for form in ("corrected", "printed"):
        rows = [theory.expert_bias_variance(model, row, form=form) for row in counts]
        np.testing.assert_array_equal(theory.expert_bias_variance(model, counts, form=form), np.swapaxes(rows, 0, 1))


def test_limit_is_that_of_the_bayes_coefficients():
    model = mn.BlockModel.toeplitz(12, 3, scale=2.0, noise_variance=0.7, rng=0)
    bias, variance = theory.expert_bias_variance(model, [10**9] * 3)
    expected = theory.bias_variance(model, np.concatenate(theory.bayes_sparse(model)), estimator="sparse")
    assert (model.probabilities @ bias, model.probabilities @ variance) == pytest.approx(expected, rel=1e-7)


def test_nothing_to_learn():
    model = mn.BlockModel.isotropic(4, 2, coefficients=[1.0, 1.0, 0.0, 0.0])
    bias, variance = theory.expert_bias_variance(model, [3, 3])
    assert np.isinf([bias[0], variance[0]]).all() and (bias[1], variance[1]) == (0.0, 0.0)


def test_printed_form():
    model = mn.BlockModel([[[8.0]], [[1.0]]], [[1.0], [2.0]])
    bias, variance = theory.expert_bias_variance(model, [50, 10], form="printed")
    np.testing.assert_allclose(bias, [8 / 9, 2.0])  # the Bayes risks
    np.testing.assert_allclose(variance, [8 / 81 / 50, 4 / 4 / 10])


@pytest.mark.parametrize(
    "model, counts, form, name",
    [
        (mn.BlockModel.isotropic(4, 2, rng=0), [5, 5], "printed", "model"),
        (mn.BlockModel.isotropic(2, 2, rng=0), [5, 0], "printed", "counts"),
        (mn.BlockModel.isotropic(2, 2, noise_variance=0.0, rng=0), [5, 5], "corrected", "model"),
        (mn.BlockModel.isotropic(2, 2, rng=0), [5], "corrected", "counts"),
        (mn.BlockModel.isotropic(2, 2, rng=0), [5, -1], "corrected", "counts"),
        (mn.BlockModel.isotropic(2, 2, rng=0), [5, 5], "exact", "form"),
    ],
)
def test_bad_input(model, counts, form, name):
    with pytest.raises(ValueError, match=name):
        theory.expert_bias_variance(model, counts, form=form)


def test_model_must_be_one():
    for function in (theory.bias_variance, theory.expert_bias_variance):
        with pytest.raises(TypeError, match="model"):
            function({"k": 1}, [1])
