"""The dense fit on finitely many rows."""

import dataclasses
import time

import numpy as np
import pytest
from monte_carlo import agrees, draw, minimum_norm_fit

import moenoise as mn
from moenoise import theory

MARGIN = 0.03  # relative: the equivalent's error at d = 100, away from n = d
MODEL = mn.BlockModel.toeplitz(100, 4, coefficients=np.random.default_rng(0).standard_normal(100) / 5)
UNEQUAL = mn.BlockModel(
    [np.diag(np.linspace(0.5, 4.0, 50)), 3 * np.eye(20), np.full((10, 10), 0.5)],
    np.split(np.random.default_rng(1).standard_normal(80) / 5, [50, 70]),
    probabilities=[0.6, 0.3, 0.1],
    noise_variance=0.5,
)


def fit_risks(model, n, repeats, seed, fit=minimum_norm_fit):
    """(repeats,) exact risks of dense fits on simulated rows."""
    rng = np.random.default_rng(seed)
    return theory.risk(model, np.array([fit(*draw(model, n, rng)[:2]) for _ in range(repeats)]))


@pytest.mark.parametrize(
    "model, n, repeats",
    [(MODEL, 30, 60), (MODEL, 70, 100), (MODEL, 150, 100), (MODEL, 400, 150), (UNEQUAL, 20, 100), (UNEQUAL, 160, 100)],
)
def test_against_simulation(model, n, repeats):
    risks = fit_risks(model, n, repeats, seed=n)
    assert agrees(risks, theory.dense_risk(model, n), margin=MARGIN)
    first_order = theory.generalization(model).dense + theory.dense_excess_slope(model) / n
    assert not agrees(risks, first_order, margin=MARGIN)


def matrix_equivalent(model, n, penalty):
    """The equivalent with d x d matrices, plain iteration and a difference quotient."""
    identity, zeros = np.eye(model.d), np.zeros((model.k, model.d, model.d))
    signals = zeros.copy()
    for signal, block, covariance in zip(signals, model.blocks, model.covariances):
        signal[block, block] = covariance
    classes = signals + model.noise_variance * identity
    average = np.tensordot(model.probabilities, classes, 1)
    beta = np.concatenate(model.coefficients)

    def solve(h):
        t = np.ones(model.k)
        for _ in range(20_000):
            q = model.probabilities / (1 + t)
            resolvent = np.linalg.inv(np.tensordot(q, classes, 1) + penalty * identity + h * average)
            update = np.einsum("iab,ba->i", classes, resolvent) / n
            if np.abs(update / t - 1).max() < 1e-14:
                break
            t = update
        u = np.tensordot(q, signals, 1) @ beta
        return q @ model.signal_variances - u @ resolvent @ u, resolvent @ u

    h = 1e-4 * penalty
    slope = (solve(h)[0] - solve(-h)[0]) / (2 * h)
    moment = np.tensordot(model.probabilities, signals, 1) @ beta
    return slope - 2 * moment @ solve(0.0)[1] + model.probabilities @ model.signal_variances


@pytest.mark.parametrize("n", [4, 12, 40])
@pytest.mark.parametrize("penalty", [0.05, 2.0])
def test_against_the_equations_in_matrices(n, penalty):
    model = mn.BlockModel(
        [[[2.0, 0.9], [0.9, 1.0]], np.diag([3.0, 0.0, 1.0]), [[4.0]]],
        [[1.0, -2.0], [0.5, 1.0, 3.0], [2.0]],
        probabilities=[0.2, 0.5, 0.3],
        noise_variance=0.4,
    )
    assert theory.dense_risk(model, n, penalty=penalty) == pytest.approx(matrix_equivalent(model, n, penalty), rel=1e-5)


@pytest.mark.parametrize("n", [30, 90, 110, 1000])
def test_least_squares_is_the_limit_of_ridge(n):
    assert theory.dense_risk(MODEL, n, penalty=1e-9) == pytest.approx(theory.dense_risk(MODEL, n), rel=1e-5)


@pytest.mark.parametrize("n, penalty", [(60, 0.8), (200, 0.4)])
def test_ridge_against_simulation(n, penalty):
    def ridge(features, response):
        gram = features.T @ features / n + penalty * np.eye(features.shape[1])
        return np.linalg.solve(gram, features.T @ response / n)

    risks = fit_risks(MODEL, n, 60, seed=n, fit=ridge)
    assert agrees(risks, theory.dense_risk(MODEL, n, penalty=penalty), margin=MARGIN)
    assert not agrees(risks, theory.dense_risk(MODEL, n, penalty=2 * penalty), margin=MARGIN)


def test_one_expert_by_hand():
    """Rows of one class: s n / (n - d) above d rows, the expert's equivalent below."""
    model = mn.BlockModel.toeplitz(40, 1, rng=0)
    s = theory.generalization(model).dense
    np.testing.assert_allclose(theory.dense_risk(model, [45, 80, 400]), s * np.array([9, 2, 10 / 9]), rtol=1e-10)
    np.testing.assert_allclose(
        theory.dense_risk(model, [5, 20, 35]), [theory.expert_risk(model, [n])[0] for n in (5, 20, 35)], rtol=1e-9
    )


def test_infinite_around_the_number_of_features_and_finite_beside():
    risks = theory.dense_risk(MODEL, np.arange(97, 104))
    np.testing.assert_array_equal(np.isinf(risks), [False, False, True, True, True, False, False])
    assert np.isfinite(theory.dense_risk(MODEL, 100, penalty=1e-3))


def test_no_rows_and_many_rows():
    assert theory.dense_risk(MODEL, 0) == pytest.approx(MODEL.probabilities @ MODEL.signal_variances, rel=1e-12)
    assert theory.dense_risk(MODEL, 10**9) == pytest.approx(theory.generalization(MODEL).dense, rel=1e-6)
    assert isinstance(theory.dense_risk(MODEL, 10), float)


def test_nothing_to_learn_costs_nothing():
    silent = dataclasses.replace(UNEQUAL, coefficients=[np.zeros(50), np.zeros(20), np.zeros(10)])
    np.testing.assert_array_equal(theory.dense_risk(silent, [0, 40, 79, 80, 81, 200]), 0.0)


SMALL = mn.BlockModel([np.diag([1.0, 2.0, 0.5]), [[3.0]], np.ones((2, 2))], [[1.0, -2.0, 0.5], [1.4], [2.0, 1.0]],
                      [0.5, 0.3, 0.2])


@pytest.mark.parametrize("noise_variance", [1e-12, 1e-50, 1e-160, 1e-300])
def test_noise_that_vanishes_costs_in_proportion_and_no_penalty_more(noise_variance):
    model, near = (dataclasses.replace(SMALL, noise_variance=s) for s in (noise_variance, 1e-9))
    np.testing.assert_allclose(theory.dense_risk(model, [8, 100]) / noise_variance,
                               theory.dense_risk(near, [8, 100]) / 1e-9, rtol=1e-7)
    np.testing.assert_allclose(theory.dense_risk(model, 3), theory.dense_risk(near, 3), rtol=1e-7)
    np.testing.assert_allclose(theory.dense_risk(model, [3, 6], penalty=0.1),
                               theory.dense_risk(near, [3, 6], penalty=0.1), rtol=1e-7)


@pytest.mark.parametrize("noise_variance", [1e12, 1e160, 1e300])
def test_noise_that_hides_all_leaves_the_response_and_its_fit(noise_variance):
    """``s (1 + d / (n - d))`` above d rows and ``s d / (d - n)`` below, as for features without signal."""
    model = dataclasses.replace(SMALL, noise_variance=noise_variance)
    s = model.probabilities @ model.signal_variances
    np.testing.assert_allclose(theory.dense_risk(model, [3, 8, 60]), s * np.array([2, 4, 10 / 9]), rtol=1e-9)


def test_without_noise_the_blocks_separate():
    model = dataclasses.replace(UNEQUAL, noise_variance=0.0)
    few, many = theory.dense_risk(model, [25, 400])
    risks = fit_risks(model, 25, 400, seed=5)
    assert agrees(risks, few, margin=0.05)
    assert not agrees(risks, theory.dense_risk(UNEQUAL, 25), margin=0.05)
    assert many == 0.0
    assert theory.dense_excess_slope(model) == 0.0


def test_figure_3s_size_is_fast():
    model = mn.BlockModel.toeplitz(900, 12, rng=0)
    start = time.perf_counter()
    risks = theory.dense_risk(model, np.r_[885:899, 902:916])
    assert time.perf_counter() - start < 5
    assert np.isfinite(risks).all() and (risks > theory.generalization(model).dense).all()
    assert (np.diff(risks[:14]) > 0).all() and (np.diff(risks[14:]) < 0).all()


def test_unequal_scales_do_not_stop_the_solver():
    rng = np.random.default_rng(6)
    for _ in range(100):
        sizes = rng.integers(1, 10, 5)
        roots = [10 ** rng.uniform(-3, 3) * rng.standard_normal((size, rng.integers(1, size + 1))) for size in sizes]
        model = mn.BlockModel(
            [root @ root.T for root in roots],
            [rng.standard_normal(size) for size in sizes],
            0.9 * rng.dirichlet(np.full(5, 0.3)) + 0.02,
            noise_variance=10 ** rng.uniform(-4, 4),
        )
        for n in (1, model.d - 2, model.d + 2, 10 * model.d):
            if n > 0:
                assert theory.dense_risk(model, n) >= theory.generalization(model).dense * (1 - 1e-9)


def test_variances_as_far_apart_as_can_be():
    """Up to 1e100 times, what is found is a risk; beyond, the error says what is wrong."""
    rng = np.random.default_rng(1)
    for largest, most in ((50, 0), (150, 60)):
        refused = 0
        for _ in range(60):
            sizes = rng.integers(1, 8, 4)
            roots = [rng.standard_normal((size, max(1, size - 1))) for size in sizes]
            model = mn.BlockModel([10 ** rng.uniform(-largest, largest) * root @ root.T for root in roots],
                                  [rng.standard_normal(size) for size in sizes],
                                  noise_variance=10 ** rng.uniform(-largest, largest))
            try:
                assert theory.dense_risk(model, model.d + 2) >= theory.generalization(model).dense * (1 - 1e-9)
            except ValueError as error:
                assert str(error).startswith("model must have covariances and a noise_variance that differ less")
                refused += 1
        assert refused <= most and (refused > 0) == (most > 0)


def test_slope_against_simulation():
    n, model = 1500, mn.BlockModel.isotropic(4, 2, variance=2.0, coefficients=[1.0, 2.0, 3.0, 4.0])
    excess = n * (fit_risks(model, n, 3000, seed=7) - theory.generalization(model).dense)
    slope = theory.dense_excess_slope(model)
    assert agrees(excess, slope, margin=4 / n)
    # As if the residual were independent of the features: the usual d times the Bayes risk.
    assert not agrees(excess, model.d * theory.generalization(model).dense, margin=4 / n)


def test_slope_in_matrices():
    model, noise = UNEQUAL, UNEQUAL.noise_variance
    dense, slope, taken = np.concatenate(theory.bayes_dense(model)), 0.0, 0.0
    classes, gaps = [], []
    for block, covariance, w in zip(model.blocks, model.covariances, theory.bayes_sparse(model)):
        classes.append(noise * np.eye(model.d))
        classes[-1][block, block] += covariance
        gaps.append(-dense)
        gaps[-1] = gaps[-1] + np.pad(w, (block.start, model.d - block.stop))
    inverse = np.linalg.inv(np.tensordot(model.probabilities, classes, 1))
    for i, (p, c, g) in enumerate(zip(model.probabilities, classes, gaps)):
        s = noise * model.coefficients[i] @ theory.bayes_sparse(model)[i]
        slope += p * ((g @ c @ g + s) * np.trace(inverse @ c) + 2 * g @ c @ inverse @ c @ g)
        taken += p * g @ c @ inverse @ c @ g
    means = [c @ g for c, g in zip(classes, gaps)]
    assert np.abs(model.probabilities @ means).max() < 1e-13  # the dense coefficients are where they cancel
    assert theory.dense_excess_slope(model) == pytest.approx(slope, rel=1e-10)
    assert theory.dense_excess_slope(model, routing="balanced") == pytest.approx(slope - taken, rel=1e-10)


@pytest.mark.parametrize(
    "model", [mn.BlockModel.isotropic(4, 4, variance=8.0, rng=0), mn.BlockModel.toeplitz(6, 3, scale=3.0, rng=1)]
)
def test_slope_of_balanced_routing_by_simulation(model):
    slopes = [theory.dense_excess_slope(model, routing=routing) for routing in ("balanced", "random")]
    limit = theory.generalization(model).dense

    def excess(replicate):
        sample = model.sample(1000, rng=3, replicate=replicate, routing="balanced")
        return 1000 * (theory.risk(model, mn.learning_curve(sample.features, sample.response, [1000])[0]) - limit)

    values = np.array([excess(replicate) for replicate in range(12_000)])
    assert agrees(values, slopes[0], margin=0.012)  # the second order is about d / n
    assert not agrees(values, slopes[1], margin=0.012)


def test_slope_of_unknown_routing():
    with pytest.raises(ValueError, match="routing"):
        theory.dense_excess_slope(MODEL, routing="fair")


def test_slope_of_one_expert():
    model = mn.BlockModel.toeplitz(7, 1, rng=0)
    assert theory.dense_excess_slope(model) == pytest.approx(7 * theory.generalization(model).dense, rel=1e-12)


@pytest.mark.parametrize(
    "n, error",
    [(-1, ValueError), (2.0, TypeError), ([[1, 2]], ValueError), ([], ValueError), ("3", TypeError), (True, TypeError),
     ([[1, 2], [3]], ValueError)],
)
def test_bad_n(n, error):
    with pytest.raises(error, match="n must"):
        theory.dense_risk(MODEL, n)


def test_a_penalty_for_each_n():
    risks = theory.dense_risk(MODEL, [5, 40, 40], penalty=[0.5, 0.0, 2.0])
    expected = [theory.dense_risk(MODEL, n, penalty=penalty) for n, penalty in ((5, 0.5), (40, 0.0), (40, 2.0))]
    assert risks.tolist() == expected


@pytest.mark.parametrize(
    "penalty, error",
    [(-1.0, ValueError), (np.nan, ValueError), ("1", TypeError), (True, TypeError), ([[1.0], 2.0], ValueError),
     (1e-21, ValueError)],
)
def test_bad_penalty(penalty, error):
    with pytest.raises(error, match="penalty"):
        theory.dense_risk(MODEL, 10, penalty=penalty)


def test_flags_are_no_penalties():
    with pytest.raises(TypeError, match="^penalty"):
        theory.dense_risk(MODEL, [5, 6], penalty=[True, False])


@pytest.mark.parametrize("n, penalty", [([5, 6], [1.0]), ([5, 6], [1.0, -1.0]), (5, [1.0]), ([5], [np.nan])])
def test_bad_penalties(n, penalty):
    with pytest.raises(ValueError, match="penalty"):
        theory.dense_risk(MODEL, n, penalty=penalty)


@pytest.mark.parametrize("function", [lambda model: theory.dense_risk(model, 3), theory.dense_excess_slope])
def test_bad_model(function):
    with pytest.raises(TypeError, match="model"):
        function({"k": 3})


class TestOtherNoise:
    """New rows whose noise is not that of the training rows."""

    @pytest.mark.parametrize("v", [0.0, 0.3, 4.0])
    def test_many_rows_give_theorem_3(self, v):
        for model in (MODEL, UNEQUAL):
            risk = theory.dense_risk(model, 10**8, test_noise_variance=v)
            assert risk == pytest.approx(theory.robustness(model, v).dense, rel=1e-5)

    @pytest.mark.parametrize("model, n, repeats", [(MODEL, 40, 150), (MODEL, 200, 150), (UNEQUAL, 30, 150),
                                                   (UNEQUAL, 200, 150)])
    @pytest.mark.parametrize("v", [0.1, 5.0])
    def test_against_simulation(self, model, n, repeats, v):
        rng = np.random.default_rng(n)
        coefs = np.array([minimum_norm_fit(*draw(model, n, rng)[:2]) for _ in range(repeats)])
        risks = theory.risk(dataclasses.replace(model, noise_variance=v), coefs)
        stated = theory.dense_risk(model, n, test_noise_variance=v)
        assert agrees(risks, stated, margin=MARGIN)
        assert not agrees(risks, theory.dense_risk(model, n), margin=MARGIN)
        norm = (stated - theory.dense_risk(model, n)) / (v - model.noise_variance)
        assert agrees((coefs**2).sum(axis=1), norm, margin=MARGIN)

    @pytest.mark.parametrize("n", [40, 200])
    def test_ridge_against_simulation(self, n):
        def ridge_fit(X, y):
            return np.linalg.solve(X.T @ X / n + 0.5 * np.eye(X.shape[1]), X.T @ y / n)

        rng = np.random.default_rng(n)
        coefs = np.array([ridge_fit(*draw(MODEL, n, rng)[:2]) for _ in range(100)])
        risks = theory.risk(dataclasses.replace(MODEL, noise_variance=5.0), coefs)
        assert agrees(risks, theory.dense_risk(MODEL, n, penalty=0.5, test_noise_variance=5.0), margin=MARGIN)

    def test_the_training_noise_changes_nothing(self):
        for n in (0, 40, 99, 200):
            assert theory.dense_risk(MODEL, n, test_noise_variance=MODEL.noise_variance) == theory.dense_risk(MODEL, n)
        assert theory.dense_risk(MODEL, 0, test_noise_variance=9.0) == theory.dense_risk(MODEL, 0)
        assert theory.dense_risk(MODEL, 100, test_noise_variance=9.0) == np.inf

    def test_units_of_the_features_do_not_matter(self):
        # Features in other units: their variances and noise times c^2, coefficients over c.
        c = 1e4
        other = mn.BlockModel([c**2 * covariance for covariance in UNEQUAL.covariances],
                              [coef / c for coef in UNEQUAL.coefficients], UNEQUAL.probabilities,
                              noise_variance=c**2 * UNEQUAL.noise_variance)
        for n in (30, 200):
            assert theory.dense_risk(other, n, test_noise_variance=3 * c**2) == pytest.approx(
                theory.dense_risk(UNEQUAL, n, test_noise_variance=3.0), rel=1e-9)

    @pytest.mark.parametrize("value, error, message", [
        (-1.0, ValueError, r"test_noise_variance must be a finite number in \[0"),
        ([1.0, 2.0], TypeError, "test_noise_variance must be a real number"),
    ])
    def test_bad_values(self, value, error, message):
        with pytest.raises(error, match=message):
            theory.dense_risk(MODEL, 200, test_noise_variance=value)

    def test_training_rows_without_noise_leave_the_norm_open(self):
        clean = dataclasses.replace(MODEL, noise_variance=0.0)
        with pytest.raises(ValueError, match="must be that of the training rows"):
            theory.dense_risk(clean, 50, test_noise_variance=1.0)
        assert np.isfinite(theory.dense_risk(clean, 50, penalty=0.1, test_noise_variance=1.0))
