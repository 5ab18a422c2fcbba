"""The best penalty of a dense ridge fit."""

import dataclasses

import numpy as np
import pytest
from monte_carlo import agrees, draw

import moenoise as mn
from moenoise import theory

MODEL = mn.BlockModel.toeplitz(100, 4, scale=2.0, noise_variance=0.5, rng=0)
UNEQUAL = mn.BlockModel(
    [np.diag(np.linspace(0.5, 4.0, 12)), 3 * np.eye(4), [[0.5]]],
    np.split(np.random.default_rng(1).standard_normal(17), [12, 16]),
    probabilities=[0.6, 0.3, 0.1],
    noise_variance=0.5,
)


@pytest.mark.parametrize("model", [MODEL, UNEQUAL])
@pytest.mark.parametrize("n", [1, 17, 60, 100, 1000])
def test_no_penalty_of_a_grid_is_better(model, n):
    best = theory.best_penalty(model, n)
    grid = best * np.concatenate([np.geomspace(1e-6, 1e6, 61), [0.9, 1.1]])
    risks = np.array([theory.dense_risk(model, n, penalty=penalty) for penalty in grid])
    least = theory.dense_risk(model, n, penalty=best)
    assert (risks >= least * (1 - 1e-12)).all() and (risks[-2:] > least).all()
    assert theory.dense_risk(model, n) > least


def test_isotropic_by_hand():
    """d R_dense / (n ||D||^2): equal experts with l I, where dense predicts the best that shrinking can give."""
    model = mn.BlockModel.isotropic(60, 3, variance=2.0, noise_variance=0.7, rng=0)
    dense = np.concatenate(theory.bayes_dense(model))
    rows = np.array([20, 60, 600, 6000])
    expected = 60 * theory.generalization(model).dense / (rows * (dense @ dense))
    np.testing.assert_allclose(theory.best_penalty(model, rows), expected, rtol=1e-5)


def test_size_and_fall_of_the_penalty():
    """Much as was once measured with other coefficients, at 60, 100, 200 and 1000 rows; like 1/n in the end."""
    ratios = theory.best_penalty(MODEL, [60, 100, 200, 1000]) / [0.81, 0.63, 0.41, 0.11]
    assert 0.5 < ratios.min() and ratios.max() < 2
    few, many = theory.best_penalty(MODEL, [100_000, 1_000_000])
    assert few / many == pytest.approx(10, rel=0.01)


@pytest.mark.parametrize("model", [MODEL, UNEQUAL])
def test_many_rows(model):
    """n r tends to a constant: from 1e3 d rows on it is there to three digits."""
    rows = np.array([10**3 * model.d, 10**4 * model.d, 10**7, 10**9, 10**14])
    constants = rows * theory.best_penalty(model, rows)
    assert constants[0] > 0
    np.testing.assert_allclose(constants, constants[1], rtol=2e-3)


@pytest.mark.parametrize("n", [60, 200])
def test_against_simulation(n):
    best, rng = theory.best_penalty(MODEL, n), np.random.default_rng(n)

    def ridge_risks(penalties):
        features, response, _ = draw(MODEL, n, rng)
        values, vectors = np.linalg.eigh(features.T @ features / n)
        moment = vectors.T @ (features.T @ response / n)
        return theory.risk(MODEL, np.array([vectors @ (moment / (values + r)) for r in penalties]))

    risks = np.array([ridge_risks([best, best / 4, best * 4]) for _ in range(60)])
    assert agrees(risks[:, 0], theory.dense_risk(MODEL, n, penalty=best), margin=0.02)
    losses = risks[:, 1:] - risks[:, :1]  # paired: the others are worse by this
    assert (losses.mean(axis=0) > 5 * losses.std(axis=0, ddof=1) / np.sqrt(len(losses))).all()


def test_no_penalty_where_none_helps():
    noiseless = dataclasses.replace(UNEQUAL, noise_variance=0.0)
    np.testing.assert_array_equal(theory.best_penalty(noiseless, [40, 400]), 0.0)
    silent = dataclasses.replace(UNEQUAL, coefficients=[np.zeros(12), np.zeros(4), np.zeros(1)])
    assert theory.best_penalty(silent, 17) == 0.0


def test_scales_with_the_variances():
    scaled = dataclasses.replace(
        UNEQUAL, covariances=[1e8 * covariance for covariance in UNEQUAL.covariances], noise_variance=0.5e8
    )
    assert theory.best_penalty(scaled, 30) == pytest.approx(1e8 * theory.best_penalty(UNEQUAL, 30), rel=1e-4)


def test_shapes():
    assert isinstance(theory.best_penalty(UNEQUAL, 30), float)
    vector = theory.best_penalty(UNEQUAL, [30, 60])
    assert vector.shape == (2,) and vector[0] == theory.best_penalty(UNEQUAL, 30)


@pytest.mark.parametrize(
    "n, error", [(0, ValueError), (-1, ValueError), (2.0, TypeError), ([[1, 2]], ValueError), ([], ValueError),
                 ([[1, 2], [3]], ValueError)]
)
def test_bad_n(n, error):
    with pytest.raises(error, match="^n must"):
        theory.best_penalty(UNEQUAL, n)


def test_bad_model():
    with pytest.raises(TypeError, match="model"):
        theory.best_penalty(3, 10)


@pytest.mark.parametrize("noise_variance", [1e-160, 1e-8, 1e8, 1e160])
def test_noise_that_leaves_nothing_to_search(noise_variance):
    with pytest.raises(ValueError, match="model must have a noise_variance of 0 or within"):
        theory.best_penalty(dataclasses.replace(UNEQUAL, noise_variance=noise_variance), 10)
