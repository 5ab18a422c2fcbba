"""Best linear predictors under correlated noise: beside least squares on many rows, equation 3, and each other."""

import numpy as np
import pytest

import moenoise as mn
from moenoise import theory

MODEL = mn.BlockModel(
    [[[2.0, 0.8], [0.8, 1.0]], np.diag([3.0, 0.0, 1.0]), [[5.0]]], [[1.0, -2.0], [1.0, 1.0, 1.0], [-2.0]],
    probabilities=[0.5, 0.2, 0.3], noise_variance=0.7,
)  # fmt: skip


def correlation(d=6, seed=0):
    """A random one, far from the identity."""
    root = np.random.default_rng(seed).standard_normal((d, d + 1))
    root /= np.linalg.norm(root, axis=1, keepdims=True)
    return root @ root.T


def test_least_squares_on_many_rows_finds_the_coefficients_and_their_risks():
    noise = correlation()
    X, y, expert = MODEL.sample(400_000, rng=2, noise=noise)
    dense, sparse, joint = theory.correlated_coefficients(MODEL, noise)
    errors = np.zeros(3)

    def fitted(rows, columns, stated):
        found, residual, *_ = np.linalg.lstsq(X[rows][:, columns], y[rows], rcond=None)
        np.testing.assert_allclose(found, stated, atol=0.03)
        return residual[0] / len(y)

    errors[0] = fitted(slice(None), slice(None), dense)
    for i, block in enumerate(MODEL.blocks):
        rows = expert == i
        errors[1] += fitted(rows, block, sparse[block])
        errors[2] += fitted(rows, slice(None), joint[i])
    risks = theory.correlated_risks(MODEL, noise)
    np.testing.assert_allclose(errors, risks, rtol=0.01)
    assert max(risks.dense, risks.sparse) > 1.2 * risks.joint  # else one number would do for all


def test_independent_noise_is_equation_3():
    dense, sparse, joint = theory.correlated_coefficients(MODEL, np.eye(6))
    np.testing.assert_allclose(dense, np.concatenate(theory.bayes_dense(MODEL)), atol=1e-12)
    np.testing.assert_allclose(sparse, np.concatenate(theory.bayes_sparse(MODEL)), atol=1e-12)
    np.testing.assert_allclose(joint.sum(axis=0), sparse, atol=1e-12)
    risks = theory.correlated_risks(MODEL, np.eye(6))
    assert risks[:2] == pytest.approx(theory.generalization(MODEL)) and risks.joint == pytest.approx(risks.sparse)
    assert np.linalg.eigvalsh(theory.correlation_gap(MODEL, np.eye(6))).min() > -1e-12


@pytest.mark.parametrize("seed", range(5))
def test_gap_is_the_difference_of_risks_for_any_coefficients(seed):
    noise, rng = correlation(seed=seed), np.random.default_rng(seed)
    gap = theory.correlation_gap(MODEL, noise)
    for beta in rng.standard_normal((4, 6)):
        model = mn.BlockModel(MODEL.covariances, np.split(beta, [2, 5]), MODEL.probabilities, noise_variance=0.7)
        risks = theory.correlated_risks(model, noise)
        assert beta @ gap @ beta == pytest.approx(risks.dense - risks.sparse, abs=1e-12)
        assert risks.joint <= min(risks.dense, risks.sparse) + 1e-12


def test_unit_of_features_does_not_matter():
    noise = correlation()
    scaled = mn.BlockModel([100 * own for own in MODEL.covariances], [beta / 10 for beta in MODEL.coefficients],
                           MODEL.probabilities, noise_variance=70.0)
    assert theory.correlated_risks(scaled, noise) == pytest.approx(theory.correlated_risks(MODEL, noise))


@pytest.mark.parametrize("function", [theory.correlated_coefficients, theory.correlated_risks, theory.correlation_gap])
def test_bad_input(function):
    for wrong in (np.eye(5), 2 * np.eye(6), np.triu(np.ones((6, 6))), np.full((6, 6), np.nan), np.ones((6, 6))):
        with pytest.raises(ValueError, match="^correlation"):
            function(MODEL, wrong)
    with pytest.raises(TypeError, match="model"):
        function({"k": 1}, np.eye(6))
    with pytest.raises(ValueError, match="model"):
        function(mn.BlockModel.isotropic(6, 2, noise_variance=0.0, rng=0), np.eye(6))
