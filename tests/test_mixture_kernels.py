"""The kernels of mixtures of linear experts: against their twins, and what they promise about bits and extremes."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import reference
import scipy.special
from reference import relative_error

from moenoise import _core

BLOCKS = [[3], [1], [4, 4], [1, 5, 2], [1, 1, 1, 1], [40, 3], [127, 129], [1, 300]]
RESPONSES = [1, 3, 10]


class Problem:
    """Rows, responses and a mixture, all at random; the experts overlap so that every weight matters."""

    def __init__(self, block_sizes, n=300, m=1, seed=0):
        rng = np.random.default_rng(seed)
        k, d = len(block_sizes), sum(block_sizes)
        self.block_sizes = np.array(block_sizes)
        self.X, self.Y = rng.standard_normal((n, d)), rng.standard_normal((n, m))
        widths = np.repeat(np.sqrt(block_sizes), np.square(block_sizes))
        mixings = 0.3 * rng.standard_normal(len(widths)) / widths
        identities = np.concatenate([np.eye(size).ravel() for size in block_sizes])
        covariances = np.concatenate([
            (A @ A.T + np.eye(len(A))).ravel() for A in reference._squares(identities + mixings, block_sizes)
        ])
        factors, _ = reference.qda_factor(covariances, block_sizes)
        self.gate = self.block_sizes, factors, rng.standard_normal(k), 0.6
        self.linear = rng.standard_normal(m * d), rng.standard_normal((k, m))
        self.spreads = rng.uniform(0.5, 2.0, (k, m))
        # What is above the diagonal is not to be looked at.
        self.response_factors = rng.uniform(-0.3, 0.3, (k, m, m)) + np.eye(m)

    def predict(self, X, spreads=None, hard=False, kernels=_core):
        return kernels.mixture_predict(X, *self.gate, *self.linear, spreads, hard)

    def moments(self, kernels=_core):
        return kernels.mixture_moments(self.X, self.Y, *self.gate, *self.linear, self.response_factors)

    def combine(self, X, posterior, spreads=None, hard=False, kernels=_core):
        return kernels.combine_experts(X, self.block_sizes, posterior, *self.linear, spreads, hard)


def softmax_of(*scores):
    """The weights that the kernel gives to scores, read from the responses of experts that say 0 and 1."""
    k = len(scores)
    weights = []
    for i in range(k):
        says = np.zeros((k, 1))
        says[i] = 1.0
        arguments = np.ones(k, dtype=np.intp), np.ones(k), np.array(scores, dtype=float), 0.0, np.zeros(k), says
        weights.append(_core.mixture_predict(np.zeros((1, k)), *arguments, None, False)[0][0, 0])
    return weights


# ---- the twins ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("m", RESPONSES)
@pytest.mark.parametrize("block_sizes", BLOCKS)
def test_core_mixture_predict_matches_its_twin(block_sizes, m, hard):
    problem = Problem(block_sizes, m=m)
    response, variance = problem.predict(problem.X, problem.spreads, hard)
    expected, expected_variance = problem.predict(problem.X, problem.spreads, hard, reference)
    assert relative_error(response, expected) < 1e-12
    assert relative_error(variance, expected_variance) < 1e-12
    alone, nothing = problem.predict(problem.X, None, hard)
    assert nothing is None and np.array_equal(alone, response)


@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("m", RESPONSES)
@pytest.mark.parametrize("block_sizes", BLOCKS)
def test_core_combine_experts_matches_its_twin(block_sizes, m, hard):
    problem = Problem(block_sizes, m=m)
    rng = np.random.default_rng(1)
    posterior = rng.dirichlet(np.ones(len(block_sizes)), len(problem.X))
    posterior[rng.random(posterior.shape) < 0.5] = 0.0
    response, variance = problem.combine(problem.X, posterior, problem.spreads, hard)
    expected, expected_variance = problem.combine(problem.X, posterior, problem.spreads, hard, reference)
    assert relative_error(response, expected) < 1e-12
    assert relative_error(variance, expected_variance) < 1e-12
    alone, nothing = problem.combine(problem.X, posterior, None, hard)
    assert nothing is None and np.array_equal(alone, response)


@pytest.mark.parametrize("m", RESPONSES)
@pytest.mark.parametrize("block_sizes", BLOCKS)
def test_core_mixture_moments_match_their_twin(block_sizes, m):
    problem = Problem(block_sizes, m=m)
    moments, posterior, log_likelihood = problem.moments()
    expected, expected_posterior, expected_log_likelihood = problem.moments(reference)
    assert relative_error(posterior, expected_posterior) < 1e-12
    assert relative_error(moments, expected) < 1e-12
    assert log_likelihood == pytest.approx(expected_log_likelihood, rel=1e-12)


@pytest.mark.parametrize("m", RESPONSES)
@pytest.mark.parametrize("block_sizes", BLOCKS)
def test_core_weighted_moments_match_their_twin(block_sizes, m):
    problem = Problem(block_sizes, m=m)
    weights = np.random.default_rng(1).exponential(size=(len(problem.X), len(block_sizes)))
    weights[::3] = 0.0
    arguments = problem.X, problem.Y, weights, problem.block_sizes
    moments = _core.weighted_moments(*arguments)
    assert relative_error(moments, reference.weighted_moments(*arguments)) < 1e-12
    for moment in reference._squares(moments, problem.block_sizes + 1 + m):
        assert np.array_equal(moment, moment.T)


def test_core_moments_of_labels_match_the_twin_of_block_covariance():
    problem, expert = Problem([3, 130]), np.arange(300) % 2
    moments = _core.weighted_moments(problem.X, problem.Y, np.eye(2)[expert], problem.block_sizes)
    covariances, counts, _ = reference.block_covariance(problem.X, expert, problem.block_sizes)
    for moment, covariance, size, count in zip(
        reference._squares(moments, problem.block_sizes + 2), reference._squares(covariances, problem.block_sizes),
        problem.block_sizes, counts,
    ):  # fmt: skip
        assert relative_error(moment[:size, :size] / count, covariance) < 1e-13
        assert moment[size, size] == pytest.approx(count, rel=1e-14)


# ---- bits --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("m", [1, 3])
@pytest.mark.parametrize("block_sizes", [[3], [1, 5, 2], [75, 75], [1, 300], [127, 129]])
def test_a_rows_bits_depend_on_nothing_but_the_row(block_sizes, m):
    problem = Problem(block_sizes, n=400, m=m)
    X, (_, posterior, _) = problem.X, problem.moments()
    posterior[::2, 0] = 0.0
    limits = [(0, 1), (1, 2), (0, 127), (127, 129), (3, 400), (130, 138), (255, 400), (399, 400)]
    for hard in (False, True):
        whole = *problem.predict(X, problem.spreads, hard), *problem.combine(X, posterior, problem.spreads, hard)
        for a, b in limits:
            part = (
                *problem.predict(X[a:b], problem.spreads, hard),
                *problem.combine(X[a:b], posterior[a:b], problem.spreads, hard),
            )
            for mine, other in zip(part, whole):
                assert np.array_equal(mine, other[a:b])
            assert np.array_equal(problem.predict(X[a:b], None, hard)[0], whole[0][a:b])


def results(kernels):
    problem = Problem([1, 300, 75, 4], m=3)
    moments, posterior, log_likelihood = problem.moments(kernels)
    soft, hard = (problem.predict(problem.X, problem.spreads, hard, kernels) for hard in (False, True))
    combined = problem.combine(problem.X, posterior, problem.spreads, kernels=kernels)
    return [moments, posterior, np.array([log_likelihood]), *soft, *hard, *combined]


def test_each_instruction_set_gives_the_same_to_rounding(tmp_path):
    expected = results(reference)
    code = "import sys, numpy, test_mixture_kernels as t; numpy.savez(sys.argv[1], *t.results(t._core))"
    for name in _core.instruction_sets():
        environment = {**os.environ, "MOENOISE_ISA": name, "PYTHONPATH": str(Path(__file__).parent)}
        child = subprocess.run([sys.executable, "-c", code, str(tmp_path / f"{name}.npz")], env=environment,
                               capture_output=True, text=True, timeout=300)  # fmt: skip
        assert child.returncode == 0, child.stderr
        theirs = np.load(tmp_path / f"{name}.npz")
        for mine, other in zip(expected, theirs.values(), strict=True):
            assert relative_error(other, mine) < 1e-12


# ---- the softmax -------------------------------------------------------------------------------------------------


def test_weights_are_exponentials_to_the_last_bits():
    rng = np.random.default_rng(0)
    for score in np.concatenate([-rng.uniform(0, 1, 300), -rng.uniform(0, 707, 300), [-1e-300, -1e-17, -0.0]]):
        _, small = softmax_of(0.0, score)
        assert small == pytest.approx(scipy.special.expit(score), rel=1e-15, abs=0)


def test_scores_far_apart_do_not_overflow():
    largest = np.finfo(float).max
    for high, low in [(1e300, 0.0), (0.0, -1e300), (largest, -largest), (-1e300, -largest), (800.0, 0.0)]:
        assert softmax_of(high, low) == [1.0, 0.0]
        assert softmax_of(low, high, low) == [0.0, 1.0, 0.0]
        assert softmax_of(high, high) == [0.5, 0.5]


def test_scores_far_apart_have_a_log_likelihood():
    one, flat = np.ones((1, 1)), np.full((2, 1, 1), np.sqrt(2 * np.pi))  # a density of 1 at 0
    gate = np.ones(2, dtype=np.intp), np.ones(2), np.array([-1e300, 0.0]), 0.0
    linear = np.zeros(2), np.ones((2, 1)), flat
    moments, posterior, log_likelihood = _core.mixture_moments(np.zeros((1, 2)), one, *gate, *linear)
    assert posterior.tolist() == [[0.0, 1.0]]
    assert log_likelihood == pytest.approx(0.0, abs=1e-15)
    assert moments.tolist() == [0.0] * 9 + [0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 0.0, 1.0, 1.0]


def test_the_first_of_equal_experts_is_chosen():
    says = np.array([[1.0], [2.0], [3.0]])
    for scores, chosen in [([0.0, 0.0, 0.0], 1.0), ([-1.0, 5.0, 5.0], 2.0), ([0.0, 1.0, 2.0], 3.0)]:
        arguments = np.ones(3, dtype=np.intp), np.ones(3), np.array(scores), 0.0, np.zeros(3), says
        assert _core.mixture_predict(np.zeros((1, 3)), *arguments, None, True)[0].tolist() == [[chosen]]
        weights = np.array([scores])
        combined = _core.combine_experts(np.zeros((1, 3)), arguments[0], weights, np.zeros(3), says, None, True)
        assert combined[0].tolist() == [[chosen]]


def test_choice_is_by_scores_that_no_weight_tells_apart():
    """exp(-1e-17) is 1."""
    gate = np.ones(2, dtype=np.intp), np.ones(2), np.array([-1e-17, 0.0]), 0.0
    linear = np.zeros(2), np.array([[1.0], [2.0]])
    for spreads in (None, np.ones((2, 1))):
        assert _core.mixture_predict(np.zeros((1, 2)), *gate, *linear, spreads, True)[0].tolist() == [[2.0]]


@pytest.mark.parametrize("hard", [False, True])
def test_one_expert_gets_everything_whatever_its_gate(hard):
    problem = Problem([5], m=2)
    response, variance = problem.predict(problem.X, problem.spreads, hard)
    coef, intercepts = problem.linear
    assert relative_error(response, problem.X @ coef.reshape(2, 5).T + intercepts) < 1e-14
    assert np.array_equal(variance, np.tile(problem.spreads, (len(problem.X), 1)))
    assert np.array_equal(problem.moments()[1], np.ones((300, 1)))


# ---- what is not finite ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("with_variance", [False, True])
@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf, 1e200])
def test_a_row_whose_scores_are_not_finite_has_no_response(value, with_variance, hard):
    """Squares of 1e200 overflow. The other rows stay as they are."""
    for column in (0, 2, 7):
        problem = Problem([1, 5, 2], n=140)
        spreads = problem.spreads if with_variance else None
        before = problem.predict(problem.X, spreads, hard)
        for row in (0, 5, 139):
            X = problem.X.copy()
            X[row, column] = value
            after = problem.predict(X, spreads, hard)
            others = np.arange(140) != row
            assert np.isnan(after[0][row]).all()
            assert np.array_equal(after[0][others], before[0][others])
            if with_variance:
                assert np.isnan(after[1][row]).all()
                assert np.array_equal(after[1][others], before[1][others])


@pytest.mark.parametrize("hard", [False, True])
def test_constants_that_are_not_finite_leave_no_response(hard):
    problem = Problem([1, 5, 2])
    for value in (np.nan, np.inf, -np.inf):
        problem.gate[2][1] = value
        assert np.isnan(problem.predict(problem.X, None, hard)[0]).all()


@pytest.mark.parametrize("hard", [False, True])
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_weights_that_are_not_finite_travel(value, hard):
    problem = Problem([1, 5, 2], n=140, m=2)
    posterior = np.full((140, 3), 1 / 3)
    posterior[[0, 77, 139], [2, 0, 1]] = value
    response, variance = problem.combine(problem.X, posterior, problem.spreads, hard)
    finite = np.isfinite(posterior).all(axis=1)
    for result in (response, variance, problem.combine(problem.X, posterior, None, hard)[0]):
        assert not np.isfinite(result[~finite]).any()
        assert np.isfinite(result[finite]).all()


@pytest.mark.parametrize("hard", [False, True])
def test_an_expert_of_weight_zero_is_not_evaluated(hard):
    problem = Problem([2, 3, 4], n=140)
    posterior = np.eye(3)[np.arange(140) % 3]
    X = np.where(np.repeat(posterior, problem.block_sizes, axis=1) > 0, problem.X, np.nan)
    for mine, other in zip(
        problem.combine(X, posterior, problem.spreads, hard),
        problem.combine(problem.X, posterior, problem.spreads, hard),
    ):
        assert np.array_equal(mine, other)


@pytest.mark.parametrize("where", ["X", "Y"])
@pytest.mark.parametrize("value", [np.nan, np.inf, 1e200])
def test_a_pass_of_em_does_not_swallow_what_is_not_finite(value, where):
    problem = Problem([1, 5, 2], n=140)
    before = problem.moments()[1]
    getattr(problem, where)[130, 0] = value
    moments, posterior, log_likelihood = problem.moments()
    others = np.arange(140) != 130
    assert np.isnan(posterior[130]).all() and np.isnan(log_likelihood)
    assert np.array_equal(posterior[others], before[others])
    assert not np.isfinite(moments).any()


@pytest.mark.parametrize("value", [np.nan, -1.0])
def test_moments_do_not_swallow_weights_that_are_none(value):
    problem = Problem([2, 3], n=40)
    weights = np.ones((40, 2))
    weights[11, 1] = value
    first, second = reference._squares(
        _core.weighted_moments(problem.X, problem.Y, weights, problem.block_sizes), problem.block_sizes + 2
    )
    assert np.isfinite(first).all() and np.isnan(second).all()


# ---- small and large ---------------------------------------------------------------------------------------------


def test_small_weights_count_as_much_as_large_ones():
    problem = Problem([2, 3], n=40)
    arguments = problem.X, problem.Y, np.full((40, 2), 1.0), problem.block_sizes
    tiny = arguments[0], arguments[1], np.full((40, 2), 2.0**-200), arguments[3]
    assert np.array_equal(2.0**200 * _core.weighted_moments(*tiny), _core.weighted_moments(*arguments))


@pytest.mark.parametrize("block_sizes", [[1], [2, 1], [300, 1]])
def test_one_row_matches_the_twins(block_sizes):
    problem = Problem(block_sizes, n=1, m=10)
    for hard in (False, True):
        assert relative_error(problem.predict(problem.X, None, hard)[0],
                              problem.predict(problem.X, None, hard, reference)[0]) < 1e-12  # fmt: skip
    for mine, other in zip(problem.moments(), problem.moments(reference)):
        assert relative_error(mine, other) < 1e-12


def test_variance_of_agreeing_experts_keeps_its_digits():
    """The response is far from zero, the experts differ by little: nothing may cancel."""
    says, spreads = np.array([[1e8], [1e8 + 1]]), np.full((2, 1), 1e-6)
    weights = np.array([[0.5, 0.5]])
    _, variance = _core.combine_experts(np.zeros((1, 2)), np.array([1, 1]), weights, np.zeros(2), says, spreads, False)
    assert variance[0, 0] == pytest.approx(0.25 + 1e-6, rel=1e-12)
