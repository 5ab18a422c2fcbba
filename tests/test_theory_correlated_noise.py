"""Best linear predictors under correlated noise: beside least squares on many rows, equation 3, and each other."""

import dataclasses

import numpy as np
import pytest
import scipy.linalg

import moenoise as mn
from moenoise import theory
from moenoise.theory.correlated_noise import class_moments

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


def least_norm(signal, noise, beta):
    """Least ``v' noise v`` among all v that predict without error: the risk over sigma^2 as sigma vanishes."""
    root = np.linalg.cholesky(noise)
    return np.sum((np.linalg.pinv(np.linalg.solve(root, signal).T, rcond=1e-12) @ signal @ beta) ** 2)


@pytest.mark.parametrize("noise_variance", [1e-10, 1e-14, 1e-16, 1e-20, 1e-200])
def test_little_noise_on_a_singular_covariance(noise_variance):
    noise, p = correlation(), MODEL.probabilities
    model = dataclasses.replace(MODEL, noise_variance=noise_variance)
    padded = np.zeros((3, 6, 6))
    for out, block, own in zip(padded, MODEL.blocks, MODEL.covariances):
        out[block, block] = own
    beta = np.concatenate(MODEL.coefficients)
    own = [least_norm(c, noise[block, block], b) for c, block, b in zip(MODEL.covariances, MODEL.blocks,
                                                                       MODEL.coefficients)]
    expected = [least_norm(np.tensordot(p, padded, 1), noise, beta), p @ own,
                p @ [least_norm(out, noise, beta) for out in padded]]
    found = np.array(theory.correlated_risks(model, noise)) / noise_variance
    np.testing.assert_allclose(found, expected, rtol=1e-8)
    gap = beta @ theory.correlation_gap(model, noise) @ beta / noise_variance
    assert gap == pytest.approx(expected[0] - expected[1], rel=1e-8)


def test_gap_under_much_noise():
    noise, scale = correlation(), 1e12
    pooled = scipy.linalg.block_diag(*[p * own for p, own in zip(MODEL.probabilities, MODEL.covariances)])
    experts = scipy.linalg.block_diag(*[p * own @ np.linalg.solve(noise[block, block], own) for p, own, block
                                        in zip(MODEL.probabilities, MODEL.covariances, MODEL.blocks)])
    limit = experts - pooled @ np.linalg.solve(noise, pooled)
    found = scale * theory.correlation_gap(dataclasses.replace(MODEL, noise_variance=scale), noise)
    np.testing.assert_allclose(found, limit, atol=1e-9 * np.abs(limit).max())


def test_coefficients_solve_the_normal_equations():
    noise = correlation(seed=3)
    dense, sparse, joint = theory.correlated_coefficients(MODEL, noise)
    covariances, responses = class_moments(MODEL, MODEL.noise_variance * noise)
    p = MODEL.probabilities
    np.testing.assert_allclose(np.tensordot(p, covariances, 1) @ dense, p @ responses, atol=1e-12)
    for i, block in enumerate(MODEL.blocks):
        np.testing.assert_allclose(covariances[i] @ joint[i], responses[i], atol=1e-12)
        np.testing.assert_allclose(covariances[i][block, block] @ sparse[block], responses[i, block], atol=1e-12)


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
