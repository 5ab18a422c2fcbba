"""An expert's fit on finitely many rows."""

import dataclasses

import numpy as np
import pytest
from monte_carlo import FALSE_ALARM, agrees, draw, minimum_norm_fit
from scipy import stats

import moenoise as mn
from moenoise import theory

TOEPLITZ = mn.BlockModel.toeplitz(6, 1, decay=0.6, rng=1)
MODEL = mn.BlockModel(
    [np.eye(3), [[2.0, 0.5], [0.5, 1.0]], [[4.0]]], [[1.0, 2.0, -1.0], [0.5, 1.0], [2.0]], noise_variance=0.5
)


def one_expert_risks(model, n, repeats, seed):
    """(repeats,) risks of fits of a model with one expert."""
    rng = np.random.default_rng(seed)
    fits = [minimum_norm_fit(*draw(model, n, rng)[:2]) for _ in range(repeats)]
    return theory.risk(model, np.array(fits), estimator="sparse")


def bayes_risk(model):
    return theory.generalization(model).sparse


@pytest.mark.parametrize("n", [14, 20, 60])
def test_more_rows_than_features_against_simulation(n):
    risks = one_expert_risks(TOEPLITZ, n, 4000, seed=n)
    assert agrees(risks, theory.expert_risk(TOEPLITZ, [n])[0])
    assert not agrees(risks, bayes_risk(TOEPLITZ) * (1 + 6 / n))


def isotropic_terms(model, n):
    """(bias without its factor, factor, variance exact, variance of the equivalent) for Sigma = l I."""
    (w,), s, d = theory.bayes_sparse(model), bayes_risk(model), model.d
    return w @ w * (model.covariances[0][0, 0] + model.noise_variance), 1 - n / d, s * n / (d - n - 1), s * n / (d - n)


@pytest.mark.parametrize("n", [1, 5, 12])
def test_isotropic_with_fewer_rows_is_exact(n):
    model = mn.BlockModel.isotropic(20, 1, variance=2.0, noise_variance=0.7, rng=2)
    bias, factor, variance, _ = isotropic_terms(model, n)
    risks = one_expert_risks(model, n, 5000, seed=n)
    assert theory.expert_risk(model, [n])[0] == pytest.approx(bayes_risk(model) + bias * factor + variance, rel=1e-12)
    assert agrees(risks, theory.expert_risk(model, [n])[0])
    assert not agrees(risks, bayes_risk(model) + bias + variance)


def test_isotropic_with_fewer_rows_is_not_the_equivalent():
    n, model = 12, mn.BlockModel.isotropic(20, 1, variance=2.0, noise_variance=0.7, rng=2)
    bias, factor, _, equivalent = isotropic_terms(model, n)
    risks = one_expert_risks(model, n, 5000, seed=0)
    assert agrees(risks, theory.expert_risk(model, [n])[0])
    assert not agrees(risks, bayes_risk(model) + bias * factor + equivalent)


@pytest.mark.parametrize("n", [20, 35])
def test_general_block_with_fewer_rows(n):
    model = mn.BlockModel.toeplitz(60, 1, decay=0.9, scale=4.0, rng=3)
    risks = one_expert_risks(model, n, 800, seed=n)
    assert agrees(risks, theory.expert_risk(model, [n])[0], margin=0.03)
    bias, factor, variance, _ = isotropic_terms(model, n)
    assert not agrees(risks, bayes_risk(model) + bias * factor + variance, margin=0.03)


def test_equivalent_solves_its_equations():
    n, model = 25, mn.BlockModel.toeplitz(60, 1, decay=0.7, rng=3)
    values, vectors = np.linalg.eigh(model.covariances[0] + np.eye(60))
    w = vectors.T @ theory.bayes_sparse(model)[0]
    low, high = 1e-9, 1e9
    for _ in range(200):  # bisection
        kappa = np.sqrt(low * high)
        low, high = (kappa, high) if (values / (values + kappa)).sum() > n else (low, kappa)
    s, f = bayes_risk(model), ((values / (values + kappa)) ** 2).sum() / n
    expected = s + (kappa**2 * (values * w**2 / (values + kappa) ** 2).sum() + s * f) / (1 - f)
    assert theory.expert_risk(model, [n])[0] == pytest.approx(expected, rel=1e-9)


def test_every_regime_of_three_experts():
    risks = theory.expert_risk(MODEL, [0, 10, 1])
    s = MODEL.noise_variance * np.array([b @ w for b, w in zip(MODEL.coefficients, theory.bayes_sparse(MODEL))])
    np.testing.assert_allclose(risks, [6.0, s[1] * (1 + 2 / 7), np.inf], rtol=1e-12)
    assert np.isinf(theory.expert_risk(MODEL, [2, 1, 2])).all()
    assert np.isinf(theory.expert_risk(MODEL, [4, 3, 1])).all()
    np.testing.assert_allclose(theory.expert_risk(MODEL, [0, 0, 0]), MODEL.signal_variances, rtol=1e-12)
    np.testing.assert_allclose(theory.expert_risk(MODEL, [10**9] * 3), s, rtol=1e-8)


@pytest.mark.parametrize("law, kurtosis", [("laplace", 3.0), ("rademacher", -2.0)])
def test_slope_with_kurtosis_is_the_sandwich(law, kurtosis):
    """``tr(C^-1 E[r^2 x x'])`` by brute force, for correlated features."""
    model = mn.BlockModel([[[2.0, 0.8], [0.8, 1.0]]], [[1.0, -2.0]], noise_variance=0.7)
    (own,), (w,) = model.covariances, theory.bayes_sparse(model)
    moments = {}
    for noise in (law, "gaussian"):
        X, y, _ = model.sample(1_000_000, rng=5, noise=noise)
        moments[noise] = (y - X @ w) ** 2 * ((X @ np.linalg.inv(own + 0.7 * np.eye(2))) * X).sum(axis=1)
    gaussian, stated = theory.expert_excess_slope(model), theory.expert_excess_slope(model, excess_kurtosis=kurtosis)
    added, error = moments[law] - moments["gaussian"], np.std(moments[law] - moments["gaussian"]) / 1000
    assert abs(stated - gaussian)[0] > 10 * error
    assert added.mean() == pytest.approx((stated - gaussian)[0], abs=5 * error)
    assert moments["gaussian"].mean() == pytest.approx(gaussian[0], abs=5 * moments["gaussian"].std() / 1000)


@pytest.mark.parametrize("s", [1.0, 1e-14, 1e-20, 1e-300, 1e160, 1e300])
def test_slope_with_kurtosis_on_a_singular_covariance(s):
    """Two features that are one: eigenvalues 2 and 0."""
    model = mn.BlockModel([np.ones((2, 2))], [[1.0, 3.0]], noise_variance=s)
    w = 4 / (2 + s)  # of either feature
    diagonal = (1 + s / (2 + s)) / 2  # of s C^-1
    expected = s * (8 * w + 3 * diagonal * 2 * w**2) if s < 1e100 else 32.0
    assert theory.expert_excess_slope(model, excess_kurtosis=3.0)[0] == pytest.approx(expected, rel=1e-12)


def test_slope_is_the_limit_of_the_gaussian_excess():
    excess = theory.expert_risk(MODEL, [10**7] * 3) - theory.expert_risk(MODEL, [10**12] * 3)
    np.testing.assert_allclose(theory.expert_excess_slope(MODEL), 1e7 * excess, rtol=1e-4)
    clean = mn.BlockModel.isotropic(4, 2, noise_variance=0.0, rng=0)
    assert theory.expert_excess_slope(clean).tolist() == [0, 0]


@pytest.mark.parametrize("kurtosis, error", [(-2.1, ValueError), (np.inf, ValueError), ("3", TypeError)])
def test_bad_kurtosis(kurtosis, error):
    with pytest.raises(error, match="excess_kurtosis"):
        theory.expert_excess_slope(MODEL, excess_kurtosis=kurtosis)


def test_law_of_the_excess_risk():
    n, repeats = 15, 4000
    excess = one_expert_risks(TOEPLITZ, n, repeats, seed=4) - bayes_risk(TOEPLITZ)
    law = theory.expert_excess_law(TOEPLITZ, 0, n)
    assert stats.kstest(excess, law.cdf).pvalue > FALSE_ALARM
    assert stats.kstest(excess, theory.expert_excess_law(TOEPLITZ, 0, n - 1).cdf).pvalue < FALSE_ALARM


def test_law_of_the_excess_risk_where_its_mean_is_infinite():
    excess = one_expert_risks(TOEPLITZ, 6, 4000, seed=5) - bayes_risk(TOEPLITZ)
    law = theory.expert_excess_law(TOEPLITZ, 0, 6)
    assert stats.kstest(excess, law.cdf).pvalue > FALSE_ALARM and np.isinf(law.mean())


def test_law_of_the_excess_risk_has_the_mean_of_expert_risk():
    counts = [9, 8, 7]
    expected = theory.expert_risk(MODEL, counts) - theory.expert_risk(MODEL, [10**12] * 3)
    means = [theory.expert_excess_law(MODEL, i, n).mean() for i, n in enumerate(counts)]
    np.testing.assert_allclose(means, expected, rtol=1e-8)


def test_law_of_the_excess_risk_over_many_numbers_of_rows():
    laws = theory.expert_excess_law(MODEL, 1, [5, 8])
    expected = [theory.expert_excess_law(MODEL, 1, n).ppf(0.9) for n in (5, 8)]
    assert laws.ppf(0.9).shape == (2,) and np.ndim(expected[0]) == 0
    np.testing.assert_array_equal(laws.ppf(0.9), expected)


def test_without_noise():
    model = dataclasses.replace(MODEL, noise_variance=0.0)
    np.testing.assert_allclose(theory.expert_risk(model, [3, 2, 1]), 0.0, atol=1e-14)
    np.testing.assert_allclose(theory.expert_risk(model, [1, 3, 0]), [4.0, 0.0, 16.0], atol=1e-14)
    with pytest.raises(ValueError, match="expert 2 has 0"):
        theory.expert_excess_law(model, 2, 3)


def test_without_noise_on_a_singular_covariance():
    """Two features that are one: the fit is exact from one row on."""
    model = mn.BlockModel([np.ones((2, 2))], [[1.0, 3.0]], noise_variance=0.0)
    np.testing.assert_allclose(theory.expert_risk(model, [1]), 0.0, atol=1e-14)
    np.testing.assert_allclose(theory.expert_risk(model, [0]), 16.0, rtol=1e-12)


def test_nothing_to_learn_costs_nothing():
    model = dataclasses.replace(MODEL, coefficients=[np.zeros(3), np.zeros(2), np.ones(1)])
    np.testing.assert_array_equal(theory.expert_risk(model, [3, 1, 0]), [0.0, 0.0, 4.0])


def test_many_counts_at_once():
    counts = [[0, 10, 1], [9, 8, 7], [9, 10, 1]]
    risks = theory.expert_risk(MODEL, counts)
    assert risks.shape == (3, 3)
    np.testing.assert_array_equal(risks, [theory.expert_risk(MODEL, row) for row in counts])


@pytest.mark.parametrize(
    "counts, error",
    [
        ([9, 9], ValueError),
        ([9, 9, -1], ValueError),
        ([9.0, 9.0, 9.0], TypeError),
        ([[[9, 9, 9]]], ValueError),
        ([[9, 9], [9, 9]], ValueError),
        ([[9, 9, 9], [9, 9]], ValueError),
        (np.empty((0, 3), dtype=int), ValueError),
        (9, ValueError),
        ([9, 9, None], TypeError),
    ],
)
def test_bad_counts(counts, error):
    with pytest.raises(error, match="counts"):
        theory.expert_risk(MODEL, counts)


@pytest.mark.parametrize(
    "expert, n_rows, error, name",
    [
        (3, 9, ValueError, "expert"),
        (-1, 9, ValueError, "expert"),
        (1.0, 9, TypeError, "expert"),
        (1, 9.0, TypeError, "n_rows"),
        (1, [[9]], ValueError, "n_rows"),
        (1, [], ValueError, "n_rows"),
        (1, [[9], [9, 9]], ValueError, "n_rows"),
        (1, -9, ValueError, "n_rows"),
    ],
)
def test_bad_arguments_of_the_excess_law(expert, n_rows, error, name):
    with pytest.raises(error, match=f"^{name}"):
        theory.expert_excess_law(MODEL, expert, n_rows)


def test_excess_law_needs_enough_rows():
    with pytest.raises(ValueError, match="expert 1 has 1 of 2 rows"):
        theory.expert_excess_law(MODEL, 1, [9, 1])
