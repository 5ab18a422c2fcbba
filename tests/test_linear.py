"""The least-squares and gradient-descent functions against their twins, exact answers, and wrong input."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import reference
import scipy.sparse
from reference import relative_error, with_condition

import moenoise as mn
from moenoise import _core

EPS = np.finfo(float).eps
SHAPES = [(1, 1), (1, 5), (5, 1), (8, 8), (12, 30), (30, 12), (29, 30), (31, 30), (700, 40), (40, 700)]
METHODS = ["auto", "normal", "orthogonal", "svd"]


def problem(n, d, m=None, seed=0):
    """A well-conditioned X, and y with a part outside its range."""
    rng = np.random.default_rng(seed)
    return with_condition(n, d, 10, seed), rng.standard_normal(n if m is None else (n, m))


def block_problem(block_sizes, counts, m=None, seed=0):
    """Rows of each expert, shuffled; every expert's part of X is well-conditioned."""
    rng = np.random.default_rng(seed)
    expert = rng.permutation(np.repeat(np.arange(len(counts)), counts))
    X = rng.standard_normal((len(expert), sum(block_sizes)))
    for i, block in enumerate(np.split(np.arange(X.shape[1]), np.cumsum(block_sizes)[:-1])):
        X[np.ix_(expert == i, block)] = with_condition(counts[i], block_sizes[i], 10, seed + i)
    return X, rng.standard_normal(len(expert) if m is None else (len(expert), m)), expert


BLOCKS = {
    "one block": ([5], [12]),
    "equal, tall": ([4, 4, 4], [9, 10, 11]),
    "equal, wide": ([6, 6], [3, 2]),
    "unequal, all shapes": ([1, 7, 3, 20], [5, 7, 2, 60]),
    "one row each": ([2, 1, 3], [1, 1, 1]),
    "large": ([30, 10], [900, 5]),
}


# ---- lstsq -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("m", [1, 3])
@pytest.mark.parametrize("n, d", SHAPES)
def test_core_lstsq_matches_its_twin(n, d, m, method):
    X, Y = problem(n, d, m)
    code = getattr(_core, f"METHOD_{method.upper()}")
    coef, rank, used = _core.lstsq(X, Y, -1.0, code)
    expected, expected_rank, expected_used = reference.lstsq(X, Y, -1.0, code)
    assert relative_error(coef, expected) < 1e-13
    assert (rank, used) == (expected_rank, expected_used)


def test_lstsq_keeps_the_shape_of_y():
    X, Y = problem(20, 4, 3)
    fit = mn.lstsq(X, Y)
    assert fit.coef.shape == (4, 3) and fit.rank == 4 and fit.method == "normal"
    columns = [mn.lstsq(X, Y[:, j]).coef for j in range(3)]
    assert columns[0].shape == (4,)
    assert relative_error(np.stack(columns, axis=1), fit.coef) < 1e-13
    assert mn.lstsq(X, Y[:, :1]).coef.shape == (4, 1)


@pytest.mark.parametrize("method", ["auto", "orthogonal", "svd"])
@pytest.mark.parametrize("kind", ["repeated columns", "repeated rows", "zero column", "low rank", "tall low rank"])
def test_lstsq_of_deficient_rank_has_minimum_norm(kind, method):
    rng = np.random.default_rng(1)
    X, rank = {
        "repeated columns": (np.repeat(rng.standard_normal((20, 3)), 2, axis=1), 3),
        "repeated rows": (np.repeat(rng.standard_normal((4, 9)), 3, axis=0), 4),
        "zero column": (np.insert(rng.standard_normal((15, 4)), 2, 0.0, axis=1), 4),
        "low rank": (rng.standard_normal((25, 6)) @ rng.standard_normal((6, 40)), 6),
        "tall low rank": (rng.standard_normal((900, 5)) @ rng.standard_normal((5, 30)), 5),
    }[kind]
    y = rng.standard_normal(len(X))
    fit = mn.lstsq(X, y, method=method)
    assert fit.rank == rank
    assert fit.method == ("svd" if method == "svd" else "orthogonal")
    assert relative_error(fit.coef, np.linalg.lstsq(X, y)[0]) < 1e-11


@pytest.mark.parametrize("method", ["auto", "orthogonal", "svd"])
@pytest.mark.parametrize("shape", [(1, 1), (4, 7), (7, 4), (400, 3)])
def test_lstsq_of_zeros_has_rank_zero(shape, method):
    fit = mn.lstsq(np.zeros(shape), np.ones(shape[0]), method=method)
    assert fit.rank == 0 and not fit.coef.any()


def test_lstsq_of_one_row():
    fit = mn.lstsq([[3.0, 4.0]], [50.0])
    assert fit.rank == 1
    assert relative_error(fit.coef, [6.0, 8.0]) < 1e-14


@pytest.mark.parametrize("scale", [1e-300, 1e-160, 1e-20, 1e20, 1e150])
@pytest.mark.parametrize("n, d", [(30, 5), (5, 30)])
def test_lstsq_of_extreme_scale(n, d, scale):
    X, y = problem(n, d)
    fit = mn.lstsq(X * scale, y)
    assert fit.rank == 5
    assert relative_error(fit.coef * scale, np.linalg.lstsq(X, y)[0]) < 1e-12


@pytest.mark.parametrize("n, d", [(200, 20), (20, 200), (40, 40), (2000, 20)])
@pytest.mark.parametrize("condition", [1e4, 1e5, 1e6, 1e8])
def test_ill_conditioned_lstsq_is_backward_stable(n, d, condition):
    """The residual of an exactly solvable system, in units of ||X|| ||coef||, is the backward error."""
    X = with_condition(n, d, condition)
    y = X @ np.random.default_rng(1).standard_normal(d)

    def backward_error(method):
        coef = mn.lstsq(X, y, method=method).coef
        return np.linalg.norm(X @ coef - y) / (np.linalg.norm(X, 2) * np.linalg.norm(coef))

    assert mn.lstsq(X, y).method == "orthogonal"
    assert mn.lstsq(X, y).rank == min(n, d)
    assert backward_error("auto") < 100 * EPS
    assert backward_error("svd") < 100 * EPS


def test_normal_equations_lose_digits_that_auto_keeps():
    """The bound of the test above has teeth: Cholesky's error without refinement grows with the condition number."""
    X = with_condition(200, 20, 1e6)
    y = X @ np.ones(20)
    coef = np.linalg.solve(X.T @ X, X.T @ y)
    assert np.linalg.norm(X @ coef - y) > 1000 * EPS * np.linalg.norm(coef)


@pytest.mark.parametrize("n, d", [(60, 20), (20, 60)])
@pytest.mark.parametrize(
    "condition, method", [(1, "normal"), (100, "normal"), (3e3, "orthogonal"), (1e12, "orthogonal")]
)
def test_auto_uses_normal_equations_only_where_safe(n, d, condition, method):
    X = with_condition(n, d, condition)
    assert mn.lstsq(X, np.ones(n)).method == method


@pytest.mark.parametrize("d", [1, 2, 3, 5, 7, 8, 9, 16, 17, 31, 40, 75, 76, 127, 128, 129])
def test_normal_equations_of_an_expert_are_refused_by_their_true_condition(d):
    """Shortcuts of the condition estimate may not let an expert through: each is held against the true condition."""
    chosen = {"normal": 0, "orthogonal": 0}
    for seed, condition in enumerate(np.geomspace(30, 1e4, 12)):
        X = with_condition(2 * d + 3, d, condition, seed)
        fit = mn.block_lstsq(X, X.sum(axis=1), np.zeros(len(X), int), [d])
        gram = X.T @ X
        rcond = 1 / (np.linalg.norm(gram, 1) * np.linalg.norm(np.linalg.inv(gram), 1))
        if rcond > 1.001e-6:
            assert fit.method == ["normal"]
        elif rcond < 1e-6 / 3:  # the estimate is seldom off by more
            assert fit.method == ["orthogonal"]
        assert np.allclose(fit.coef[0], 1, rtol=1e-10 if fit.method == ["normal"] else 1e-8)
        chosen[fit.method[0]] += 1
    assert chosen["normal"] > 2 and (d == 1 or chosen["orthogonal"] > 2)


@pytest.mark.parametrize("d", [128, 140])
def test_a_condition_estimate_that_overflows_is_no_good_condition(d):
    """The factor's inverse grows by 10^6 a column, so that solves with it end in infinities and NaN."""
    L = np.eye(d) + np.tril(np.full((d, d), 1e6), -1)
    fit = mn.block_lstsq(L.T, L.T.sum(axis=1), np.zeros(d, int), [d])
    assert fit.method == ["orthogonal"] and np.isfinite(fit.coef[0]).all()
    assert mn.lstsq(L, L.sum(axis=1)).method == "orthogonal"


@pytest.mark.parametrize(
    "X", [with_condition(30, 8, 1e8), with_condition(8, 30, 1e8), np.ones((9, 3)), np.zeros((4, 2))]
)
def test_normal_is_refused_where_it_is_unsafe(X):
    with pytest.raises(np.linalg.LinAlgError, match="normal"):
        mn.lstsq(X, np.ones(len(X)), method="normal")


@pytest.mark.parametrize("n, d", [(50, 3), (3, 50), (600, 3)])
@pytest.mark.parametrize("rcond, rank", [(0.0, 3), (1e-9, 3), (3e-5, 3), (0.003, 2), (0.3, 1)])
@pytest.mark.parametrize("method", METHODS)
def test_rcond_cuts_small_singular_values(n, d, rcond, rank, method):
    X = with_condition(n, d, 1e4)
    y = np.random.default_rng(3).standard_normal(n)
    if method == "normal" and rank < 3:
        with pytest.raises(np.linalg.LinAlgError):
            mn.lstsq(X, y, rcond=rcond, method=method)
        return
    fit = mn.lstsq(X, y, rcond=rcond, method=method)
    assert fit.rank == rank
    if method == "svd":  # gelsy cuts directions that only approximate singular vectors
        assert relative_error(fit.coef, np.linalg.lstsq(X, y, rcond=rcond)[0]) < 1e-10


# ---- block_lstsq -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize("m", [1, 2])
@pytest.mark.parametrize("name", BLOCKS)
def test_core_block_lstsq_matches_its_twin(name, m, method):
    block_sizes, counts = BLOCKS[name]
    X, Y, expert = block_problem(block_sizes, counts, m)
    arguments = X, Y, expert, np.array(block_sizes), -1.0, getattr(_core, f"METHOD_{method.upper()}")
    coef, rank, used = _core.block_lstsq(*arguments)
    expected, expected_rank, expected_used = reference.block_lstsq(*arguments)
    assert relative_error(coef, expected) < 1e-13
    assert rank.tolist() == expected_rank.tolist() and used.tolist() == expected_used.tolist()


@pytest.mark.parametrize("name", BLOCKS)
def test_block_lstsq_is_lstsq_of_each_part(name):
    block_sizes, counts = BLOCKS[name]
    X, y, expert = block_problem(block_sizes, counts)
    fit = mn.block_lstsq(X, y, expert, block_sizes)
    assert isinstance(fit.coef, list) and fit.rank.shape == (len(counts),) and len(fit.method) == len(counts)
    for i, columns in enumerate(np.split(np.arange(X.shape[1]), np.cumsum(block_sizes)[:-1])):
        alone = mn.lstsq(X[np.ix_(expert == i, columns)], y[expert == i])
        assert relative_error(fit.coef[i], alone.coef) < 1e-13
        assert (fit.rank[i], fit.method[i]) == (alone.rank, alone.method)


@pytest.mark.parametrize("d", [1, 2, 3, 4, 5, 8, 11, 12, 13, 75, 127, 128, 129])
def test_block_lstsq_of_every_width(d):
    """Odd ends of vectors, fewest rows, and where the kernels for few columns end."""
    rng = np.random.default_rng(24)
    for n in (d, d + 1, 3 * d + 5):
        X, y, expert = rng.standard_normal((2 * n, 2 * d)), rng.standard_normal(2 * n), np.repeat([0, 1], n)
        fit = mn.block_lstsq(X, y, expert, [d, d])
        for i, coef in enumerate(fit.coef):
            block = X[expert == i, i * d : (i + 1) * d]
            expected = np.linalg.lstsq(block, y[expert == i])[0]
            assert relative_error(coef, expected) < min(1e-3, 100 * EPS * np.linalg.cond(block) ** 2 + 1e-13)


def test_block_lstsq_with_several_responses():
    X, Y, expert = block_problem([2, 3], [10, 20], 4)
    fit = mn.block_lstsq(X, Y, expert, [2, 3])
    assert [coef.shape for coef in fit.coef] == [(2, 4), (3, 4)]
    first = mn.block_lstsq(X, Y[:, 0], expert, [2, 3])
    assert [coef.shape for coef in first.coef] == [(2,), (3,)]
    assert relative_error(fit.coef[1][:, 0], first.coef[1]) < 1e-13


def test_block_lstsq_chooses_the_method_for_each_expert():
    X, y, expert = block_problem([3, 3], [20, 20])
    X[expert == 1, 3] = X[expert == 1, 4]
    fit = mn.block_lstsq(X, y, expert, [3, 3])
    assert fit.method == ["normal", "orthogonal"] and fit.rank.tolist() == [3, 2]
    own = X[expert == 1, 3:]
    assert relative_error(fit.coef[1], np.linalg.lstsq(own, y[expert == 1])[0]) < 1e-12


def test_block_lstsq_ignores_the_other_blocks():
    X, y, expert = block_problem([3, 4], [20, 20])
    noisy = X.copy()
    noisy[expert == 0, 3:] = 1e6
    noisy[expert == 1, :3] = -1e6
    assert np.array_equal(
        np.concatenate(mn.block_lstsq(X, y, expert, [3, 4]).coef),
        np.concatenate(mn.block_lstsq(noisy, y, expert, [3, 4]).coef),
    )


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("method", ["auto", "normal", "orthogonal", "svd"])
@pytest.mark.parametrize("rows", [3, 20])
def test_block_lstsq_checks_what_it_reads_and_nothing_else(value, method, rows):
    X, y, expert = block_problem([3, 4], [rows, rows])
    sound = mn.block_lstsq(X, y, expert, [3, 4], method=method)
    beside = X.copy()
    beside[np.flatnonzero(expert == 0)[0], 5] = value
    fit = mn.block_lstsq(beside, y, expert, [3, 4], method=method)
    assert np.array_equal(np.concatenate(fit.coef), np.concatenate(sound.coef))
    own = X.copy()
    own[np.flatnonzero(expert == 0)[0], 2] = value
    with pytest.raises(ValueError, match="^X must be finite in its rows' own blocks"):
        mn.block_lstsq(own, y, expert, [3, 4], method=method)


# ---- learning curves ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("n, d", [(1, 1), (5, 1), (1, 5), (60, 20), (20, 60), (25, 25), (300, 12)])
def test_core_learning_curve_matches_its_twin_at_every_size(n, d):
    rng = np.random.default_rng(5)
    X, y, sizes = rng.standard_normal((n, d)), rng.standard_normal(n), np.arange(1, n + 1)
    curve, expected = _core.learning_curve(X, y, sizes), reference.learning_curve(X, y, sizes)
    assert curve.shape == (n, d)
    for size, row, expected_row in zip(sizes, curve, expected):
        # Inconsistent systems are sensitive to the square of the condition number.
        sensitivity = np.linalg.cond(X[:size]) ** 2
        assert sensitivity < 1e8
        assert relative_error(row, expected_row) < 100 * EPS * sensitivity + 1e-13


@pytest.mark.parametrize("sizes", [[1], [40], [20], [19, 20, 21], [3, 40], [1, 2, 39, 40]])
def test_learning_curve_is_lstsq_at_each_size(sizes):
    rng = np.random.default_rng(6)
    X, y = rng.standard_normal((40, 20)), rng.standard_normal(40)
    curve = mn.learning_curve(X, y, sizes)
    for n, coef in zip(sizes, curve):
        assert relative_error(coef, mn.lstsq(X[:n], y[:n]).coef) < 1e-9


def deficient(kind):
    """X some of whose leading parts have not the rank of their shape."""
    rng = np.random.default_rng(7)
    X = rng.standard_normal((40, 10))
    if kind == "repeated rows":
        X[3:6], X[12:30] = X[:3], X[11]
    elif kind == "zero rows":
        X[0], X[5] = 0, 0
    elif kind == "repeated columns":
        X[:, 7] = X[:, 2]
    elif kind == "a column wakes late":
        X[:25, 4] = 0
    elif kind == "ill-conditioned":
        X = with_condition(40, 10, 1e7)
    return X


@pytest.mark.parametrize(
    "kind", ["repeated rows", "zero rows", "repeated columns", "a column wakes late", "ill-conditioned"]
)
def test_learning_curve_with_deficient_prefixes(kind):
    X = deficient(kind)
    # Exactly solvable, so that what rounding does is in proportion to the condition number and not to its square.
    y = X @ np.random.default_rng(8).standard_normal(10)
    sizes = np.arange(1, 41)
    for n, coef in zip(sizes, mn.learning_curve(X, y, sizes)):
        if X[:n].any():
            expected = np.linalg.lstsq(X[:n], y[:n])[0]
            assert relative_error(coef, expected) < 1e-8
        else:
            assert not coef.any()


# Columns enough for factors in single precision; rows one by one, so that a factor serves several sizes, and by leaps.
MANY_COLUMNS = 256
MANY_SIZES = [1, 100, 255, 256, 257, 270, *range(400, 412), 500, 501, 900]


CONDITIONS = [(2, False), (300, False), (900, True), (1e5, False), (1e9, True)]


@pytest.mark.parametrize(("condition", "consistent"), CONDITIONS)
def test_learning_curve_of_many_columns(condition, consistent):
    rng = np.random.default_rng(20)
    n, d = MANY_SIZES[-1], MANY_COLUMNS
    X = with_condition(n, d, condition)
    y = X @ rng.standard_normal(d) + (0 if consistent else rng.standard_normal(n))
    for size, coef in zip(MANY_SIZES, mn.learning_curve(X, y, MANY_SIZES)):
        expected = np.linalg.lstsq(X[:size], y[:size])[0]
        # The residual makes a least-squares problem sensitive to the square of the condition number.
        sensitivity = np.linalg.cond(X[:size]) ** (1 if consistent else 2)
        assert relative_error(coef, expected) < 1e-12 + 100 * EPS * sensitivity


@pytest.mark.parametrize("scale", [1e-40, 1.0, 1e40])
def test_learning_curve_of_many_columns_of_many_scales(scale):
    rng = np.random.default_rng(21)
    n, d = MANY_SIZES[-1], MANY_COLUMNS
    X, y = rng.standard_normal((n, d)), rng.standard_normal(n)
    columns = np.geomspace(0.05, 5, d)
    curve = mn.learning_curve(X * columns * scale, y / scale, MANY_SIZES[6:]) * columns * scale**2
    assert relative_error(curve, mn.learning_curve(X, y, MANY_SIZES[6:])) < 1e-10


def test_learning_curve_of_many_columns_with_deficient_prefixes():
    rng = np.random.default_rng(22)
    X = rng.standard_normal((900, MANY_COLUMNS))
    X[:405, 17] = X[:405, 3]  # two columns that are the same for a while
    y = X @ rng.standard_normal(MANY_COLUMNS)
    for size, coef in zip(MANY_SIZES, mn.learning_curve(X, y, MANY_SIZES)):
        assert relative_error(coef, np.linalg.lstsq(X[:size], y[:size])[0]) < 1e-8


@pytest.mark.parametrize("scale", [1e-45, 1e-25, 1.0, 1e2, 1e25, 1e45])
def test_learning_curve_of_many_columns_whose_rows_change(scale):
    """Single precision is scaled by the first rows; others may leave its range, or spoil the condition."""
    rng = np.random.default_rng(9)
    n, d = 1200, 200
    X, y = rng.standard_normal((n, d)), rng.standard_normal(n)
    X[600:, ::2] *= scale
    sizes = [240, 400, 600, 601, 700, 900, n]
    for size, row in zip(sizes, mn.learning_curve(X, y, sizes)):
        assert relative_error(row, mn.lstsq(X[:size], y[:size], method="orthogonal").coef) < 1e-11


@pytest.mark.parametrize("condition", [10, 100, 300])
def test_learning_curve_of_many_columns_that_becomes_well_conditioned(condition):
    """Just above n = d single precision does not suffice; with more rows it does."""
    rng = np.random.default_rng(10)
    n, d = 1600, 200
    X = rng.standard_normal((n, d)) * np.geomspace(1, 1 / condition, d)
    y = X @ rng.standard_normal(d) + 0.1 * rng.standard_normal(n)
    sizes = [*range(201, 260, 7), *range(300, n + 1, 100)]
    for size, row in zip(sizes, mn.learning_curve(X, y, sizes)):
        expected = np.linalg.lstsq(X[:size], y[:size])[0]
        assert relative_error(row, expected) < 100 * EPS * np.linalg.cond(X[:size]) ** 1.5 + 1e-12


@pytest.mark.parametrize("step", [1, 3, 20])
def test_learning_curve_of_many_columns_at_close_sizes(step):
    rng = np.random.default_rng(13)
    n, d = 460, 200
    X, y = rng.standard_normal((n, d)), rng.standard_normal(n)
    sizes = np.arange(250, n + 1, step)
    curve = mn.learning_curve(X, y, sizes)
    for size, row in list(zip(sizes, curve))[:: 20 // step]:
        assert relative_error(row, np.linalg.lstsq(X[:size], y[:size])[0]) < 1e-12


@pytest.mark.parametrize("share", [1e-5, 1e-3, 0.03, 1.0])
def test_learning_curve_finds_what_nearly_equal_columns_hide(share):
    """The error along what tells two columns apart shrinks slowly, and shows late where y has little of it."""
    rng = np.random.default_rng(1)
    n, d = 2200, 200
    X = rng.standard_normal((n, d))
    X[:, 1] = X[:, 0] + 0.0042 * X[:, 1]
    between = np.linalg.svd(X)[2][-1]
    coef = rng.standard_normal(d)
    coef -= between * (between @ coef)
    coef = coef / np.linalg.norm(coef) + share * between
    for row in mn.learning_curve(X, X @ coef, [1500, 1501, 1502, 1510, 1600, n]):
        assert relative_error(row, coef) < 1e-12


def test_learning_curve_of_many_columns_and_no_response():
    X = np.random.default_rng(23).standard_normal((500, MANY_COLUMNS))
    assert not mn.learning_curve(X, np.zeros(500), [100, 300, 400, 500]).any()


@pytest.mark.parametrize("name", BLOCKS)
def test_core_block_learning_curve_matches_its_twin(name):
    block_sizes, counts = BLOCKS[name]
    rng = np.random.default_rng(9)
    expert = rng.permutation(np.repeat(np.arange(len(counts)), counts))
    n, d = len(expert), sum(block_sizes)
    X, sizes = rng.standard_normal((n, d)), np.arange(1, n + 1)
    y = X @ rng.standard_normal(d)
    arguments = X, y, expert, np.array(block_sizes), sizes
    assert relative_error(_core.block_learning_curve(*arguments), reference.block_learning_curve(*arguments)) < 1e-9


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("d", [4, 200])
def test_block_learning_curve_checks_what_it_reads_and_nothing_else(value, d):
    rng = np.random.default_rng(12)
    n = 3 * d
    X, y, expert = rng.standard_normal((2 * n, d + 3)), rng.standard_normal(2 * n), np.arange(2 * n) % 2
    sizes = [d, 2 * d, 3 * d, 5 * d, 2 * n]
    sound = mn.block_learning_curve(X, y, expert, [d, 3], sizes)
    beside = X.copy()
    beside[expert == 0, d:] = value
    beside[expert == 1, :d] = value
    assert np.array_equal(mn.block_learning_curve(beside, y, expert, [d, 3], sizes), sound)
    for row in (0, d + d % 2, 2 * n - 2):  # of the first expert: with fewer rows than columns, about as many, and more
        own = X.copy()
        own[row, d // 2] = value
        with pytest.raises(ValueError, match="^X must be finite in its rows' own blocks"):
            mn.block_learning_curve(own, y, expert, [d, 3], sizes)


def test_block_learning_curve_starts_at_zeros_and_ends_at_block_lstsq():
    X, y, expert = block_problem([3, 4, 2], [10, 11, 12])
    order = np.argsort(expert, kind="stable")
    X, y, expert = X[order], y[order], expert[order]
    curve = mn.block_learning_curve(X, y, expert, [3, 4, 2], [1, 10, 21, 33])
    assert curve[0, :3].any() and not curve[:2, 3:].any() and curve[2, 3:7].any() and not curve[2, 7:].any()
    assert np.array_equal(curve[1, :3], curve[3, :3]) or relative_error(curve[1, :3], curve[3, :3]) < 1e-12
    assert relative_error(curve[3], np.concatenate(mn.block_lstsq(X, y, expert, [3, 4, 2]).coef)) < 1e-12


def test_block_learning_curve_of_one_block_is_learning_curve():
    X, y = problem(50, 8)
    sizes = [2, 8, 9, 50]
    curve = mn.block_learning_curve(X, y, np.zeros(50, dtype=int), [8], sizes)
    assert relative_error(curve, mn.learning_curve(X, y, sizes)) < 1e-11


def test_block_learning_curve_accepts_an_expert_without_rows():
    X, y = problem(20, 5)
    curve = mn.block_learning_curve(X, y, np.zeros(20, dtype=int), [3, 2], [20])
    assert curve[0, :3].all() and not curve[0, 3:].any()


# ---- gradient descent --------------------------------------------------------------------------------------------


DESCENTS = ["direct", "tridiagonal"]


@pytest.mark.parametrize("n, d", [*SHAPES, (2, 3), (7, 13), (11, 37), (1000, 3), (1, 6001), (3, 7000), (37, 8001)])
def test_core_gradient_matches_its_twin(n, d):
    X, y = problem(n, d)
    coef = np.random.default_rng(2).standard_normal(d)
    assert relative_error(_core.gradient(X, y, coef), reference.gradient(X, y, coef)) < 1e-13


@pytest.mark.parametrize("bound", [-1.0, 3e-3])
@pytest.mark.parametrize("n, d", SHAPES)
def test_core_gradient_descent_matches_its_twin(n, d, bound):
    X, y = problem(n, d)
    start = np.random.default_rng(2).standard_normal(d)
    coef, norms, gradient_norm = _core.gradient_descent(X, y, start, 50, 0.9, bound)
    expected, expected_norms, expected_gradient_norm = reference.gradient_descent(X, y, start, 50, 0.9, bound)
    assert relative_error(coef, expected) < 1e-12
    assert relative_error(norms, expected_norms) < 1e-12
    assert gradient_norm == pytest.approx(expected_gradient_norm, rel=1e-9, abs=1e-14)


@pytest.mark.parametrize("n, d", SHAPES)
def test_core_tridiagonal_matches_its_twin(n, d):
    X = np.random.default_rng(3).standard_normal((n, d))
    for actual, expected in zip(_core.tridiagonal(X), reference.tridiagonal(X)):
        np.testing.assert_allclose(actual, expected, rtol=1e-9, atol=1e-9 * np.abs(expected).max())


@pytest.mark.parametrize("n, d", [(1, 1), (2, 5), (5, 2), (97, 150), (150, 98), (300, 260)])
def test_core_tridiagonal_is_the_gram_matrix_in_other_coordinates(n, d):
    X = np.random.default_rng(3).standard_normal((n, d))
    reflectors, (diagonal, beside, scales) = _core.tridiagonal(X)
    size, Q = min(n, d), np.eye(min(n, d))
    for v, scale in zip(reflectors, scales):
        Q = Q @ (np.eye(size) - scale * np.outer(v, v))
    T = np.diag(diagonal) + np.diag(beside[:-1], 1) + np.diag(beside[:-1], -1)
    np.testing.assert_allclose(Q.T @ Q, np.eye(size), atol=1e-13)
    assert relative_error(Q @ T @ Q.T, X @ X.T if n < d else X.T @ X) < 1e-13


@pytest.mark.parametrize("steps", [1, 50, 2300])
@pytest.mark.parametrize("n, d", SHAPES)
def test_core_reduced_descent_matches_its_twin(n, d, steps):
    X, y = problem(n, d)
    start = np.random.default_rng(2).standard_normal(d)
    reduction = _core.tridiagonal(X)
    coef, norms = _core.reduced_descent(X, y, start, steps, 0.9, -1.0, *reduction)
    expected, expected_norms = reference.reduced_descent(X, y, start, steps, 0.9, -1.0, *reduction)
    assert len(norms) == steps + 1
    assert relative_error(coef, expected) < 1e-12
    np.testing.assert_allclose(norms, expected_norms, rtol=1e-12, atol=1e-14)


def test_core_reduced_descent_makes_no_steps_that_do_not_agree_with_the_matrix():
    for n, d in [(30, 12), (12, 30)]:
        X, y = problem(n, d)
        for other in (1.001 * X, X[::-1].copy(), with_condition(n, d, 11), np.zeros_like(X), np.full_like(X, 1e200)):
            coef, norms = _core.reduced_descent(X, y, np.ones(d), 500, 0.9, -1.0, *_core.tridiagonal(other))
            is_same = n > d and np.array_equal(other, X[::-1])  # X'X does not know the order of the rows
            assert len(norms) == (501 if is_same else 1)
            if not is_same:
                assert np.array_equal(coef, np.ones(d))
                assert norms[0] == pytest.approx(np.linalg.norm(X @ np.ones(d) - y), rel=1e-14)


def exact_norms(X, y, coef, steps, step_size):
    """Residual norms of descent in the longest floating point there is."""
    X, y, coef = (array.astype(np.longdouble) for array in (X, y, coef))
    norms = np.empty(steps + 1)
    for step in range(steps + 1):
        residual = X @ coef - y
        norms[step] = np.sqrt(residual @ residual)
        coef = coef - np.longdouble(step_size) * (X.T @ residual)
    return norms


def rank_deficient(n, d):
    rng, rank = np.random.default_rng(5), max(1, min(n, d) // 2)
    X = rng.standard_normal((n, rank)) @ rng.standard_normal((rank, d))
    return X / np.linalg.norm(X, 2)


CONDITIONS = {"1": 1, "30": 30, "1e8": 1e8, "1e14": 1e14, "deficient": None}
RESPONSES = {
    "random": lambda X, rng: rng.standard_normal(len(X)),
    "consistent": lambda X, rng: X @ rng.standard_normal(X.shape[1]),
    "zero": lambda X, rng: np.zeros(len(X)),
}
STARTS = {"zeros": np.zeros, "ones": np.ones, "far away": lambda d: np.full(d, 1e10)}


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("response", RESPONSES)
@pytest.mark.parametrize("matrix", CONDITIONS)
@pytest.mark.parametrize("n, d", [(20, 14), (14, 20), (16, 16), (2, 40)])
def test_residual_norms_are_those_of_exact_descent_to_what_is_promised(n, d, matrix, response, start):
    X = rank_deficient(n, d) if matrix == "deficient" else with_condition(n, d, CONDITIONS[matrix])
    y, start = RESPONSES[response](X, np.random.default_rng(6)), STARTS[start](d)
    for step_size in (1.0, 1.9):
        expected = exact_norms(X, y, start, 1100, step_size)
        direct, other = (mn.gradient_descent(X, y, steps=1100, step_size=step_size, coef=start, method=method)
                         for method in DESCENTS)
        longest = max(np.linalg.norm(start), np.linalg.norm(direct.coef))
        rounding = 1e-14 * (np.linalg.norm(X) * longest + np.linalg.norm(y))
        assert other.method == "tridiagonal"
        assert np.linalg.norm(other.coef - direct.coef) <= 1e-11 * longest
        for fit in (direct, other):
            np.testing.assert_allclose(fit.residual_norms, expected, rtol=1e-8, atol=rounding)
            assert abs(fit.residual_norms[-1] - np.linalg.norm(X @ fit.coef - y)) <= rounding


@pytest.mark.parametrize("tol", [0.5, 1e-2, 1e-6, 1e-10, 1e-13])
@pytest.mark.parametrize("matrix", ["30", "1e8", "deficient"])
@pytest.mark.parametrize("n, d", [(30, 12), (12, 30), (25, 25)])
def test_the_methods_stop_at_the_same_step(n, d, matrix, tol):
    X = rank_deficient(n, d) if matrix == "deficient" else with_condition(n, d, CONDITIONS[matrix])
    y = np.random.default_rng(7).standard_normal(n)
    expected, *others = (mn.gradient_descent(X, y, steps=2500, step_size=1.0, tol=tol, method=method)
                         for method in ("direct", "tridiagonal", "auto"))
    for fit in others:
        assert len(fit.residual_norms) == len(expected.residual_norms)
        assert relative_error(fit.coef, expected.coef) < 1e-11


@pytest.mark.parametrize("n, d", [(30, 12), (12, 30)])
def test_many_steps_are_made_in_tridiagonal_form_and_few_directly(n, d):
    X, y = problem(n, d)

    def methods(**options):
        return [mn.gradient_descent(X, y, step_size=0.9, steps=steps, **options).method for steps in (0, 5, 5000)]

    assert methods() == ["direct", "direct", "tridiagonal"]
    assert methods(method="direct") == ["direct"] * 3
    assert methods(method="tridiagonal") == ["direct", "tridiagonal", "tridiagonal"]
    assert methods(tol=0.3) == ["direct"] * 3  # stops soon


def test_where_squares_overflow_the_steps_are_direct_ones():
    X, y = problem(30, 12)
    direct, other = (mn.gradient_descent(X * 1e100, y * 1e120, steps=300, step_size=0.9e-200, method=method)
                     for method in DESCENTS)
    assert other.method == "direct"
    assert np.array_equal(other.coef, direct.coef) and np.array_equal(other.residual_norms, direct.residual_norms)
    assert relative_error(direct.coef / 1e20, mn.gradient_descent(X, y, steps=300, step_size=0.9).coef) < 1e-12


@pytest.mark.parametrize("n, d", [(1, 3), (3, 9), (9, 3), (60, 40), (40, 60), (25, 25), (500, 21), (400, 300)])
@pytest.mark.parametrize("scale", [1e-100, 1.0, 1e100])
def test_default_step_size_is_one_over_the_largest_squared_singular_value(n, d, scale):
    X = np.random.default_rng(3).standard_normal((n, d)) * scale
    for steps, method in ((0, "auto"), (1, "direct"), (1, "tridiagonal")):
        step_size = mn.gradient_descent(X, np.ones(n), steps=steps, method=method).step_size
        assert step_size * np.linalg.norm(X, 2) ** 2 == pytest.approx(1, rel=1e-10, abs=0)


@pytest.mark.parametrize(
    "X",
    [np.eye(30), np.ones((30, 30)), np.diag(np.repeat([2.0, 1.0], 15)), np.eye(40)[:, :25] * -3, np.eye(400),
     np.ones((500, 400))],
)
def test_default_step_size_of_repeated_singular_values(X):
    step_size = mn.gradient_descent(X, np.ones(len(X)), steps=0).step_size
    assert step_size * np.linalg.norm(X, 2) ** 2 == pytest.approx(1, rel=1e-10, abs=0)


@pytest.mark.parametrize("method", DESCENTS)
@pytest.mark.parametrize("n, d", [(30, 12), (12, 30)])
def test_gradient_descent_from_zeros_tends_to_the_minimum_norm_fit(n, d, method):
    X, y = problem(n, d)
    descent = mn.gradient_descent(X, y, steps=10_000, tol=1e-12, method=method)
    assert 10 < len(descent.residual_norms) < 10_000
    assert relative_error(descent.coef, mn.lstsq(X, y).coef) < 1e-10
    assert descent.residual_norms[0] == pytest.approx(np.linalg.norm(y), rel=1e-14)
    assert descent.residual_norms[-1] == pytest.approx(np.linalg.norm(X @ descent.coef - y), rel=1e-10)


def test_gradient_descent_contracts_by_the_stated_factor():
    X = with_condition(12, 30, 3)
    y = np.random.default_rng(4).standard_normal(12)
    norms = mn.gradient_descent(X, y, steps=200).residual_norms
    assert norms[-1] / norms[-2] == pytest.approx(1 - 1 / 9, rel=1e-4)


def test_gradient_descent_stops_at_the_first_small_gradient():
    X, y = problem(30, 12)
    gradients = [
        np.linalg.norm(reference.gradient(X, y, mn.gradient_descent(X, y, steps=steps).coef)) for steps in range(50)
    ]
    stopped = mn.gradient_descent(X, y, steps=49, tol=0.3)
    expected = next(steps for steps, gradient in enumerate(gradients) if gradient <= 0.3 * gradients[0])
    assert len(stopped.residual_norms) == expected + 1
    assert 1 < expected < 49


def test_gradient_descent_without_tol_takes_all_steps():
    assert len(mn.gradient_descent(np.eye(3), np.ones(3), steps=7).residual_norms) == 8
    assert len(mn.gradient_descent(np.eye(3), np.ones(3), steps=7, tol=1e-3).residual_norms) == 2


def test_gradient_descent_of_no_steps_returns_a_copy_of_the_start():
    start = np.array([1.0, 2.0])
    descent = mn.gradient_descent(np.eye(2), np.ones(2), steps=0, coef=start)
    assert np.array_equal(descent.coef, start) and descent.coef is not start
    assert descent.residual_norms.tolist() == [1.0]


@pytest.mark.parametrize("method", DESCENTS)
@pytest.mark.parametrize("n, d", [(30, 12), (12, 30)])
@pytest.mark.parametrize("factor, steps", [(2.01, 2000), (3.0, 20), (10.0, 5), (10.0, 5000), (1e200, 10)])
def test_gradient_descent_that_diverges_names_step_size(factor, steps, n, d, method):
    X, y = problem(n, d)
    with pytest.raises(ValueError, match="step_size"):
        mn.gradient_descent(X, y, steps=steps, step_size=factor, method=method)  # sigma_max(X) = 1


@pytest.mark.parametrize("n, d", [(30, 12), (12, 30)])
def test_residual_norms_of_growing_residuals_agree(n, d):
    X, y = problem(n, d)
    start = 1e3 * np.linalg.svd(X)[2][0]  # the direction that grows most
    reduction = _core.tridiagonal(X)
    norms = _core.reduced_descent(X, y, start, 300, 2.05, -1.0, *reduction)[1]
    assert norms[-1] > 1e6 * norms[0] and len(norms) == 301
    assert relative_error(norms, exact_norms(X, y, start, 300, 2.05)) < 1e-10


def test_gradient_descent_at_the_solution_has_not_diverged():
    grew = 0
    for seed in range(20):
        X, y = problem(30, 12, seed=seed)
        solution = mn.lstsq(X, y).coef
        descent = mn.gradient_descent(X, y, steps=10, coef=solution)
        assert relative_error(descent.coef, solution) < 1e-12
        grew += descent.residual_norms[-1] > descent.residual_norms[0]
    assert grew > 0  # by rounding, which is to be told from divergence


@pytest.mark.parametrize("X", [np.zeros((3, 2)), np.full((2, 2), 1e-200), np.full((2, 2), 1e200)])
def test_no_default_step_size_where_the_square_is_not_representable(X):
    with pytest.raises(ValueError, match="X must"):
        mn.gradient_descent(X, np.ones(len(X)), steps=1)
    if not X.any():
        assert not mn.gradient_descent(X, np.ones(len(X)), steps=3, step_size=1.0).coef.any()


def test_gradient_descent_with_an_overflowing_residual_is_an_error():
    with pytest.raises(ValueError, match="y must"):
        mn.gradient_descent(np.eye(2), [1e200, 1e200], steps=1)


# ---- all functions -----------------------------------------------------------------------------------------------

EXPERT = np.arange(24) % 2
CALLS = {
    "lstsq": lambda X, y: mn.lstsq(X, y).coef,
    "lstsq svd": lambda X, y: mn.lstsq(X, y, method="svd").coef,
    "lstsq orthogonal": lambda X, y: mn.lstsq(X, y, method="orthogonal").coef,
    "block_lstsq": lambda X, y: np.concatenate(mn.block_lstsq(X, y, EXPERT, [2, 4]).coef),
    "learning_curve": lambda X, y: mn.learning_curve(X, y, [3, 6, 20]),
    "block_learning_curve": lambda X, y: mn.block_learning_curve(X, y, EXPERT, [2, 4], [3, 6, 20]),
    "gradient_descent": lambda X, y: mn.gradient_descent(X, y, steps=5).coef,
    "gradient_descent tridiagonal": lambda X, y: mn.gradient_descent(X, y, steps=50, method="tridiagonal").coef,
}
LAYOUTS = {
    "Fortran order": np.asfortranarray,
    "strided": lambda a: np.repeat(a, 2, axis=-1)[..., ::2],
    "reversed": lambda a: a[::-1].copy()[::-1],
    "a slice": lambda a: np.concatenate([a, a])[: len(a)],
    "transposed": lambda a: a.T.copy().T,
    "big-endian": lambda a: a.astype(a.dtype.newbyteorder(">")),
    "list": lambda a: a.tolist(),
}


def integers(dtype=np.float64):
    rng = np.random.default_rng(11)
    return rng.integers(-9, 10, (24, 6)).astype(dtype), rng.integers(-9, 10, 24).astype(dtype)


@pytest.mark.parametrize("dtype", [np.float32, np.float16, np.int64, np.int8, np.longdouble])
@pytest.mark.parametrize("name", CALLS)
def test_dtypes_give_the_same_bits(name, dtype):
    assert np.array_equal(CALLS[name](*integers(dtype)), CALLS[name](*integers()))


@pytest.mark.parametrize("layout", LAYOUTS)
@pytest.mark.parametrize("name", CALLS)
def test_layouts_give_the_same_bits(name, layout):
    X, y = integers()
    assert np.array_equal(CALLS[name](LAYOUTS[layout](X), LAYOUTS[layout](y)), CALLS[name](X, y))


@pytest.mark.parametrize("name", CALLS)
def test_read_only_input_works_and_is_never_changed(name):
    X, y = integers()
    before = X.copy(), y.copy()
    expected = CALLS[name](X, y)
    assert np.array_equal(X, before[0]) and np.array_equal(y, before[1])
    X.flags.writeable = y.flags.writeable = False
    assert np.array_equal(CALLS[name](X, y), expected)


def test_results_are_the_callers_own():
    X, y = integers()
    start = np.zeros(6)
    for result in (*(call(X, y) for call in CALLS.values()), mn.gradient_descent(X, y, steps=0, coef=start).coef):
        assert result.flags.writeable and not any(np.shares_memory(result, given) for given in (X, y, start))


@pytest.mark.parametrize("name", CALLS)
def test_threads_give_the_same_bits(name):
    rng = np.random.default_rng(12)
    X, y = np.tile(rng.standard_normal((24, 3)), 2) + rng.standard_normal((24, 6)), rng.standard_normal(24)
    expected = CALLS[name](X, y)
    with ThreadPoolExecutor(8) as pool:
        results = list(pool.map(lambda _: CALLS[name](X, y), range(64)))
    assert all(np.array_equal(result, expected) for result in results)


def test_threads_give_the_same_bits_on_larger_problems():
    X, y = problem(600, 150)
    expected = mn.lstsq(X, y).coef, mn.learning_curve(X, y, [100, 300, 600])
    with ThreadPoolExecutor(4) as pool:
        fits = list(pool.map(lambda _: (mn.lstsq(X, y).coef, mn.learning_curve(X, y, [100, 300, 600])), range(16)))
    assert all(np.array_equal(fit, expected[0]) and np.array_equal(curve, expected[1]) for fit, curve in fits)


# ---- wrong input -------------------------------------------------------------------------------------------------

GOOD = {
    "lstsq": dict(X=np.eye(4, 3), y=np.ones(4)),
    "block_lstsq": dict(X=np.eye(4, 3), y=np.ones(4), expert=[0, 1, 0, 1], block_sizes=[1, 2]),
    "learning_curve": dict(X=np.eye(4, 3), y=np.ones(4), sizes=[1, 4]),
    "block_learning_curve": dict(X=np.eye(4, 3), y=np.ones(4), expert=[0, 1, 0, 1], block_sizes=[1, 2], sizes=[1, 4]),
    "gradient_descent": dict(X=np.eye(4, 3), y=np.ones(4), steps=2),
}


def replaced(array, value):
    array = np.array(array, dtype=float)
    array.flat[-1] = value
    return array


BAD_X = {
    "one-dimensional": np.ones(4),
    "three-dimensional": np.ones((4, 3, 1)),
    "scalar": 1.0,
    "no rows": np.ones((0, 3)),
    "no columns": np.ones((4, 0)),
    "NaN": replaced(np.eye(4, 3), np.nan),
    "infinity": replaced(np.eye(4, 3), np.inf),
    "both infinities": np.array([[np.inf, -np.inf, 0]] * 4),
    "complex": np.eye(4, 3) * 1j,
    "object": np.eye(4, 3).astype(object),
    "strings": np.full((4, 3), "1"),
    "dates": np.zeros((4, 3), dtype="M8[s]"),
    "ragged": [[1.0, 2.0, 3.0], [1.0], [2.0], [3.0]],
    "sparse": scipy.sparse.eye_array(4, 3),
    "masked": np.ma.masked_equal(np.eye(4, 3), 1),
    "None": None,
    "too many rows": np.broadcast_to(1.0, (2**31, 1)),
    "too many columns": np.broadcast_to(1.0, (1, 2**31)),
}
BAD_Y = {
    "short": np.ones(3),
    "long": np.ones(5),
    "three-dimensional": np.ones((4, 1, 1)),
    "scalar": 1.0,
    "empty": np.ones(0),
    "NaN": [1, 2, 3, np.nan],
    "infinity": [1, 2, 3, -np.inf],
    "complex": np.ones(4) * 1j,
    "object": np.ones(4).astype(object),
    "None": None,
}
BAD_EXPERT = {
    "short": [0, 1],
    "two-dimensional": [[0, 1, 0, 1]],
    "negative": [0, 1, 0, -1],
    "beyond k": [0, 1, 2, 1],
    "floats": [0.0, 1.0, 0.0, 1.0],
    "booleans": [False, True, False, True],
    "strings": ["0", "1", "0", "1"],
    "NaN": [0, 1, np.nan, 1],
    "huge": np.array([0, 1, 0, 2**64 - 1], dtype=np.uint64),
    "None": None,
}
BAD_BLOCK_SIZES = {
    "short of d": [1, 1],
    "beyond d": [2, 2],
    "zero": [0, 3],
    "negative": [-1, 4],
    "floats": [1.0, 2.0],
    "empty": [],
    "scalar": 3,
    "overflowing": [2**62, 2**62, 2**62, 2**62 + 3],
    "None": None,
}
BAD_SIZES = {
    "zero": [0, 4],
    "not increasing": [4, 1],
    "repeated": [2, 2],
    "beyond n": [1, 5],
    "negative": [-1, 2],
    "floats": [1.0, 2.0],
    "empty": [],
    "scalar": 3,
}
BAD = [
    *((name, "X", kind, value) for name in GOOD for kind, value in BAD_X.items()),
    *((name, "y", kind, value) for name in GOOD for kind, value in BAD_Y.items()),
    *((name, "y", "no columns", np.ones((4, 0))) for name in ("lstsq", "block_lstsq")),
    *((name, "y", "two-dimensional", np.ones((4, 1))) for name in GOOD if "lstsq" not in name),
    *((name, "expert", kind, value) for name in GOOD if "block" in name for kind, value in BAD_EXPERT.items()),
    ("block_lstsq", "expert", "an expert without rows", [0, 0, 0, 0]),
    *(
        (name, "block_sizes", kind, value)
        for name in GOOD
        if "block" in name
        for kind, value in BAD_BLOCK_SIZES.items()
    ),
    *((name, "sizes", kind, value) for name in GOOD if "curve" in name for kind, value in BAD_SIZES.items()),
    *(
        (name, "rcond", kind, value)
        for name in ("lstsq", "block_lstsq")
        for kind, value in {"negative": -0.1, "one": 1.0, "NaN": np.nan, "string": "1", "boolean": True}.items()
    ),
    *(
        (name, "method", kind, value)
        for name in ("lstsq", "block_lstsq")
        for kind, value in {"unknown": "qr", "number": 1, "None": None, "array": np.array(["auto", "svd"])}.items()
    ),
    *(
        ("gradient_descent", "steps", kind, value)
        for kind, value in {"negative": -1, "float": 2.0, "None": None}.items()
    ),
    *(
        ("gradient_descent", "step_size", kind, value)
        for kind, value in {"zero": 0.0, "negative": -1.0, "infinite": np.inf, "NaN": np.nan, "string": "1"}.items()
    ),
    *(
        ("gradient_descent", "method", kind, value)
        for kind, value in {"unknown": "svd", "number": 1, "None": None}.items()
    ),
    *(
        ("gradient_descent", "tol", kind, value)
        for kind, value in {"negative": -1.0, "NaN": np.nan, "None": None}.items()
    ),
    *(
        ("gradient_descent", "coef", kind, value)
        for kind, value in {"short": [1.0], "two-dimensional": np.ones((3, 1)), "NaN": [1, 2, np.nan]}.items()
    ),
]


@pytest.mark.parametrize("name", GOOD)
def test_good_input_is_good(name):
    getattr(mn, name)(**GOOD[name])


@pytest.mark.parametrize("name, argument, value", [pytest.param(n, a, v, id=f"{n}-{a}-{k}") for n, a, k, v in BAD])
def test_wrong_input_is_an_error_that_names_the_argument(name, argument, value):
    with pytest.raises((TypeError, ValueError), match=rf"^{argument}\b"):
        getattr(mn, name)(**GOOD[name] | {argument: value})


# ---- scales at which squares and products over- or underflow ---------------------------------------------------


@pytest.mark.parametrize(("x_scale", "y_scale"), [(1e10, 1e300), (1e100, 1e250), (1e-140, 1e-200), (1e-145, 1e-172),
                                                  (1e-140, 1e100), (1e140, 1e-60), (1e160, 1e160)])
@pytest.mark.parametrize("shape", [(50, 5), (5, 50), (7, 7)])
def test_scales_beyond_what_the_normal_equations_bear(x_scale, y_scale, shape):
    rng = np.random.default_rng(0)
    X = rng.standard_normal(shape)
    y = X @ rng.standard_normal(shape[1])
    expected = np.linalg.lstsq(X, y, rcond=None)[0]
    n, d = shape
    fits = [
        mn.lstsq(X * x_scale, y * y_scale).coef,
        mn.learning_curve(X * x_scale, y * y_scale, [n])[0],
        mn.block_lstsq(X * x_scale, y * y_scale, np.zeros(n, int), [d]).coef[0],
        mn.block_learning_curve(X * x_scale, y * y_scale, np.zeros(n, int), [d], [n])[0],
    ]
    for coef in fits:
        np.testing.assert_allclose(coef / y_scale * x_scale, expected, rtol=1e-9)


@pytest.mark.parametrize("method", ["auto", "orthogonal", "svd"])
def test_each_response_has_its_own_scale(method):
    X = np.random.default_rng(0).standard_normal((30, 4))
    scale = np.array([1e200, 1e-200, 1.0])
    coef = mn.lstsq(X, X[:, :3] * scale, method=method).coef
    np.testing.assert_allclose(coef / scale, np.eye(4, 3), atol=1e-13)


def test_coefficients_that_overflow_are_an_error():
    X = np.random.default_rng(0).standard_normal((30, 4)) * 1e-300
    y = np.full(30, 1e300)
    for fit in (mn.lstsq, lambda X, y: mn.learning_curve(X, y, [30])):
        with pytest.raises(ValueError, match="X and y must be scaled"):
            fit(X, y)


def test_unaligned_input_works():
    X = np.random.default_rng(0).standard_normal((30, 4))
    unaligned = np.frombuffer(b"0" + X.tobytes(), "u1")[1:].view(float).reshape(X.shape)
    assert not unaligned.flags.aligned
    np.testing.assert_array_equal(mn.lstsq(unaligned, X[:, 0]).coef, mn.lstsq(X, X[:, 0]).coef)
