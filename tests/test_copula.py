"""The null: the same columns and correlations, and no modules."""

import numpy as np
import pytest
from scipy import stats

from moenoise.activations.copula import (
    GaussianCopula,
    ScaledCopula,
    correlation_kept,
    hermite_functions,
    nearest_correlation,
    normal_scores,
    solve_mehler,
)


def low_rank(n, d, seed=0, rank=3):
    generator = np.random.default_rng(seed)
    loadings = generator.standard_normal((rank, d)) / np.sqrt(rank)
    rows = generator.standard_normal((n, rank)) @ loadings
    return rows + 0.5 * generator.standard_normal((n, d))


TRANSFORMS = {
    "gaussian": lambda x: x,
    "relu": lambda x: np.maximum(x, 0),
    "mostly zero": lambda x: np.maximum(x - 1, 0),
    "signs": lambda x: np.sign(x - 0.3),
    "heavy": lambda x: np.sinh(2 * x),
}


def score_correlation(rows):
    return np.corrcoef(normal_scores(rows)[0].T)


@pytest.mark.parametrize("name", TRANSFORMS)
def test_columns_are_kept_exactly_and_correlations_within_chance(name):
    rows = TRANSFORMS[name](low_rank(4000, 12))
    copula = GaussianCopula(rows)
    drawn = copula.draw(1, 0)
    np.testing.assert_array_equal(np.sort(drawn, axis=0), np.sort(rows, axis=0))
    assert not np.array_equal(drawn, rows)
    pairs = np.triu_indices(12, 1)
    own, of_draws = score_correlation(rows)[pairs], np.mean(
        [score_correlation(copula.draw(1, number))[pairs] for number in range(12)], axis=0)
    assert np.abs(own).max() > 0.2  # there is something to match
    assert np.abs(own - of_draws).max() < 0.025  # 5 standard errors of a mean of 12 draws


def test_without_the_correction_for_ties_correlations_would_be_lost():
    rows = TRANSFORMS["mostly zero"](low_rank(20_000, 12))
    scores = score_correlation(rows)
    latent = GaussianCopula(rows).correlation
    pairs = np.triu_indices(12, 1)
    strong = np.abs(scores[pairs]) > 0.2
    assert (np.abs(latent[pairs][strong]) > np.abs(scores[pairs][strong]) + 0.03).all()
    true = np.corrcoef(low_rank(200_000, 12).T)
    np.testing.assert_allclose(latent[pairs], true[pairs], atol=0.08)


def test_scores_are_conditional_means():
    column = np.array([0.0, 0.0, 5.0, 9.0])
    scores, coefficients = normal_scores(column[:, None])
    edges = stats.norm.ppf([0.0, 0.5, 0.75, 1.0])
    density = stats.norm.pdf(edges)
    means = (density[:-1] - density[1:]) / [0.5, 0.25, 0.25]
    np.testing.assert_allclose(scores[:, 0], means[[0, 0, 1, 2]], rtol=1e-6)
    # Parseval: the squares of the coefficients add up to the variance, but for what 24 of them leave of jumps
    assert np.sum(coefficients**2) == pytest.approx(np.mean(means[[0, 0, 1, 2]] ** 2), rel=0.1)


def test_hermite_functions():
    z = np.array([-np.inf, -1.0, 0.5, np.inf])
    functions = hermite_functions(z)
    for m in range(6):
        expected = np.polynomial.hermite_e.HermiteE.basis(m)(z[1:3]) * stats.norm.pdf(z[1:3])
        np.testing.assert_allclose(functions[m, 1:3], expected, rtol=1e-12, atol=1e-15)
        assert functions[m, 0] == functions[m, 3] == 0


def test_mehler_roots():
    products = np.array([[0.5, 0.0, 0.3], [0.9, 0.1, 0.0]])
    rho = np.array([0.7, -0.4])
    target = (products * rho[:, None] ** [1, 2, 3]).sum(axis=1)
    np.testing.assert_allclose(solve_mehler(target, products, np.zeros(2)), rho, atol=1e-6)
    assert solve_mehler(np.array([5.0]), products[:1], np.zeros(1))[0] > 0.99  # out of reach: the end


def test_orthant_probability_of_signs():
    """A check by another way: for signs of normals, E[s_i s_j] = (2 / pi) asin(rho) times the scores' variances."""
    generator = np.random.default_rng(3)
    rho = 0.6
    z = generator.multivariate_normal([0, 0], [[1, rho], [rho, 1]], 100_000)
    assert GaussianCopula(np.sign(z)).correlation[0, 1] == pytest.approx(rho, abs=0.02)


def test_draws_are_functions_of_seed_and_number():
    rows = low_rank(300, 70)
    copula = GaussianCopula(rows)
    np.testing.assert_array_equal(copula.draw(1, 5), GaussianCopula(rows).draw(1, 5))
    assert not np.array_equal(copula.draw(1, 5), copula.draw(1, 6))
    assert not np.array_equal(copula.draw(1, 5), copula.draw(2, 5))


def test_more_columns_than_rows_and_repeated_columns():
    rows = low_rank(40, 90)
    rows[:, 1] = rows[:, 0]
    drawn = GaussianCopula(rows).draw(0, 0)
    assert np.isfinite(drawn).all() and np.corrcoef(drawn[:, 0], drawn[:, 1])[0, 1] > 0.95


def test_magnitudes_depend_on_each_other_only_as_the_correlations_say():
    """What a permutation of each column would destroy; of modules, which it lacks, see test_modularity."""
    generator = np.random.default_rng(0)
    rows = generator.standard_normal((4000, 1)) + 0.5 * generator.standard_normal((4000, 12))
    drawn = GaussianCopula(rows).draw(0, 0)
    own, null = (np.corrcoef(np.abs(x).T)[0, 1:] for x in (rows, drawn))
    assert own.min() > 0.5 and np.abs(own - null).max() < 0.06


@pytest.mark.parametrize(("threshold", "most"), [(1.0, 1.1), (1.5, 1.3), (2.0, 2.0)])
def test_sparse_columns_keep_their_correlations(threshold, most):
    """There the pairwise roots are no correlation matrix, and clipping its eigenvalues once would lose most of it."""
    rows = low_rank(3000, 60, rank=4)
    sparse = np.maximum(rows / rows.std(axis=0) - threshold, 0)
    assert 0.85 < correlation_kept(sparse, GaussianCopula(sparse).draw(0, 0)) < most  # rather too much than too little
    latent = GaussianCopula(sparse).correlation
    assert np.linalg.eigvalsh(latent)[0] > -1e-9 and np.allclose(np.diag(latent), 1)


def test_nearest_correlation_by_hand():
    """Higham's (2002) example: the nearest one to a matrix of which it is known."""
    matrix = np.array([[1.0, 1.0, 0.0], [1.0, 1.0, 1.0], [0.0, 1.0, 1.0]])
    expected = np.array([[1.0, 0.7607, 0.1573], [0.7607, 1.0, 0.7607], [0.1573, 0.7607, 1.0]])
    np.testing.assert_allclose(nearest_correlation(matrix), expected, atol=2e-3)
    already = np.corrcoef(low_rank(500, 6).T)
    np.testing.assert_allclose(nearest_correlation(already.copy()), already, atol=1e-12)


def test_rows_keep_their_scales():
    generator = np.random.default_rng(0)
    scales = np.exp(generator.standard_normal((800, 1)))
    rows = scales * generator.standard_normal((800, 40)) * np.arange(1, 41)
    drawn = ScaledCopula(rows).draw(0, 0)
    assert np.corrcoef(np.log((drawn**2).mean(axis=1)), np.log(scales[:, 0]))[0, 1] > 0.9
    assert np.corrcoef(np.log((GaussianCopula(rows).draw(0, 0) ** 2).mean(axis=1)), np.log(scales[:, 0]))[0, 1] < 0.2
    rows[:3] = 0
    np.testing.assert_array_equal(np.isfinite(ScaledCopula(rows).draw(0, 0)), True)


def test_constant_columns_stay():
    rows = low_rank(200, 5)
    rows[:, 2] = 4.0
    copula = GaussianCopula(rows)
    np.testing.assert_array_equal(copula.draw(0, 0)[:, 2], 4.0)
    assert np.abs(copula.correlation[2, [0, 1, 3, 4]]).max() < 1e-12
