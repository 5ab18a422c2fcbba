"""Minimum-norm least squares, whole or block by block, for one sample or every size of it; gradient descent."""

import itertools
import math
from typing import NamedTuple

import numpy as np
import scipy.linalg
import scipy.sparse.linalg

from . import _core, _validation

METHODS = {
    "auto": _core.METHOD_AUTO,
    "normal": _core.METHOD_NORMAL,
    "orthogonal": _core.METHOD_ORTHOGONAL,
    "svd": _core.METHOD_SVD,
}
_METHOD_NAMES = {code: name for name, code in METHODS.items()}

DESCENT_METHODS = ("auto", "direct", "tridiagonal")

# A reduction that takes as long as more reads of X than this is slower than the Lanczos iteration, of some hundred.
_LANCZOS_READS = 200
# Its restarts, of some twenty products each, before the tridiagonal form is the faster way after all.
_MOST_RESTARTS = 100
# The squares of larger or smaller entries over- or underflow.
_SMALLEST_SCALE, _LARGEST_SCALE = 1e-140, 1e140


class LeastSquares(NamedTuple):
    """Result of `lstsq`.

    Attributes
    ----------
    coef : (d,) or (d, m) array
        The coefficients, as many columns as `y` has.
    rank : int
        The numerical rank of X.
    method : str
        How they were computed: "normal", "orthogonal" or "svd".
    """

    coef: np.ndarray
    rank: int
    method: str


class BlockLeastSquares(NamedTuple):
    """Result of `block_lstsq`.

    Attributes
    ----------
    coef : list of k arrays, (d_i,) or (d_i, m)
        Each expert's coefficients.
    rank : (k,) array of int
        The numerical rank of each expert's own rows and columns of X.
    method : list of k str
        How each was computed: "normal", "orthogonal" or "svd".
    """

    coef: list
    rank: np.ndarray
    method: list


class GradientDescent(NamedTuple):
    """Result of `gradient_descent`.

    Attributes
    ----------
    coef : (d,) array
        The coefficients after the last step.
    residual_norms : (steps done + 1,) array
        ``||X b - y||`` before the first step and after each.
    step_size : float
        The step that was used.
    method : str
        "tridiagonal" where steps were made in that form, otherwise "direct".
    """

    coef: np.ndarray
    residual_norms: np.ndarray
    step_size: float
    method: str


def lstsq(X, y, *, rcond=None, method="auto"):
    r"""Minimum-norm least squares.

    Of all b that minimise ``||X b - y||_2`` the one of least ``||b||_2``: the paper's dense estimator (Section 3),
    for any shape and any rank of X.

    Parameters
    ----------
    X : array-like (n, d)
    y : array-like (n,) or (n, m)
    rcond : float in [0, 1), optional
        Singular values of at most `rcond` times the largest one count as zero. Default: ``eps * max(n, d)`` with
        ``eps`` = 2.2e-16.
    method : {"auto", "normal", "orthogonal", "svd"}, default "auto"
        "normal": Cholesky factorisation of ``X'X`` (or ``XX'`` where n < d); fast, but it loses digits twice as fast
        as the others when the condition number grows. "orthogonal": complete orthogonal factorisation (the algorithm of
        LAPACK's gelsy). "svd": singular value decomposition (gelsd), of which the core, on a min(n, d) square matrix,
        is one call that Ctrl-C has to wait for (some seconds at a side of 2000). "auto": "normal" where X is estimated
        to have a condition number of at most 1e3, and X and y are within 1e-50 and 1e50 or so, otherwise "orthogonal".

    Returns
    -------
    LeastSquares
        With fields `coef`, `rank` and `method`, the method that was used.

    Raises
    ------
    TypeError, ValueError
        Where an argument has the wrong kind, shape or range, or holds NaN or infinity.
    numpy.linalg.LinAlgError
        A ValueError, where "normal" is asked for and X is rank-deficient or too ill-conditioned for it.

    Examples
    --------
    >>> import moenoise as mn
    >>> fit = mn.lstsq([[1.0, 0.0], [0.0, 2.0], [0.0, 0.0]], [3.0, 4.0, 5.0])
    >>> fit.coef.round(12), fit.rank, fit.method
    (array([3., 2.]), 2, 'normal')
    """
    X = _validation.as_array(X, "X", 2)
    Y, is_vector = _as_responses(y, len(X))
    coef, rank, used = _core.lstsq(X, Y, _as_rcond(rcond), _as_method(method))
    _check_coef(coef)
    return LeastSquares(coef[:, 0] if is_vector else coef, rank, _METHOD_NAMES[used])


def block_lstsq(X, y, expert, block_sizes, *, rcond=None, method="auto"):
    r"""Minimum-norm least squares of each expert on its own rows and its own block of columns.

    Expert i minimises ``||X[expert == i, block i] b_i - y[expert == i]||_2``, with the least ``||b_i||_2``: the
    paper's sparse estimators (Section 3).

    Parameters
    ----------
    X : array-like (n, d)
        What no expert reads, entries outside their rows' own blocks, may be anything, NaN included.
    y : array-like (n,) or (n, m)
    expert : array-like (n,) of int
        The expert of each row, 0 to k - 1; each has at least one row.
    block_sizes : array-like (k,) of int
        The number of columns of each expert, in order; they sum to d.
    rcond : float in [0, 1), optional
        As in `lstsq`, for each expert's own part of X. Default: ``eps * max(n_i, d_i)``.
    method : {"auto", "normal", "orthogonal", "svd"}, default "auto"
        As in `lstsq`; "auto" decides for each expert.

    Returns
    -------
    BlockLeastSquares
        With fields `coef` (a list), `rank` (k,) and `method` (a list).

    Raises
    ------
    TypeError, ValueError
        Where an argument has the wrong kind, shape or range, or holds NaN or infinity, or an expert has no rows.
    numpy.linalg.LinAlgError
        A ValueError, where "normal" is asked for and an expert's part of X does not allow it.

    Examples
    --------
    >>> import moenoise as mn
    >>> X = [[1.0, 9.0, 9.0], [9.0, 1.0, 0.0], [2.0, 9.0, 9.0], [9.0, 0.0, 1.0]]
    >>> fit = mn.block_lstsq(X, [2.0, 3.0, 4.0, 5.0], [0, 1, 0, 1], [1, 2])
    >>> [coef.round(12) for coef in fit.coef], fit.rank
    ([array([2.]), array([3., 5.])], array([1, 2]))
    """
    X = _validation.as_array(X, "X", 2, finite=False)
    Y, is_vector = _as_responses(y, len(X))
    block_sizes = _validation.as_unchecked_block_sizes(block_sizes)
    expert = _validation.as_integer_vector(expert, "expert")
    rcond, method = _as_rcond(rcond), _as_method(method)
    try:
        coef, rank, used = _core.block_lstsq(X, Y, expert, block_sizes, rcond, method)
    except ValueError as refused:
        raise _explained(refused, X, expert, block_sizes) from None
    _check_coef(coef)
    coef = coef[:, 0] if is_vector else coef
    offsets = list(itertools.accumulate(block_sizes.tolist(), initial=0))
    coef = [coef[begin:end] for begin, end in itertools.pairwise(offsets)]
    return BlockLeastSquares(coef, rank, [_METHOD_NAMES[code] for code in used.tolist()])


def _explained(refused, X, expert, block_sizes):
    """The error that says exactly what the core refused; checked before, it would cost more than small fits do."""
    try:
        _validation.as_block_sizes(block_sizes, X.shape[1])
        _validation.as_expert(expert, len(X), len(block_sizes))
        _validation.check_every_expert_has_rows(expert, len(block_sizes))
    except ValueError as error:
        return error
    return _explained_by_values(refused, X, expert, block_sizes)


def _explained_by_values(refused, X, expert, block_sizes):
    """That of the core, or one that says where X is not finite."""
    own = np.repeat(np.arange(len(block_sizes)), block_sizes) == expert[:, None]
    if np.isfinite(X[own]).all():
        return refused
    return ValueError("X must be finite in its rows' own blocks, got NaN or infinity")


def learning_curve(X, y, sizes):
    r"""The minimum-norm least-squares fits of the first n rows, for each n in `sizes`.

    Row j is ``lstsq(X[:sizes[j]], y[:sizes[j]]).coef`` up to rounding; the sizes share the work of factorising X.

    Parameters
    ----------
    X : array-like (n, d)
    y : array-like (n,)
    sizes : array-like (s,) of int
        Increasing, from 1 to n.

    Returns
    -------
    (s, d) array

    Raises
    ------
    TypeError, ValueError
        Where an argument has the wrong kind, shape or range, or holds NaN or infinity.

    Examples
    --------
    >>> import moenoise as mn
    >>> mn.learning_curve([[2.0, 0.0], [0.0, 4.0], [2.0, 0.0]], [2.0, 8.0, 4.0], [1, 2, 3]).round(12)
    array([[1. , 0. ],
           [1. , 2. ],
           [1.5, 2. ]])
    """
    X = _validation.as_array(X, "X", 2)
    y = _as_response(y, len(X))
    return _check_coef(_core.learning_curve(X, y, _validation.as_sizes(sizes, len(X))))


def block_learning_curve(X, y, expert, block_sizes, sizes):
    r"""The k experts' fits to the first n rows, side by side, for each n in `sizes`.

    Row j holds the coefficients of `block_lstsq` of the first ``sizes[j]`` rows up to rounding, and zeros for an expert
    that has no rows among them.

    Parameters
    ----------
    X : array-like (n, d)
        What no expert reads, entries outside their rows' own blocks and rows from the last size on, may be anything,
        NaN included.
    y : array-like (n,)
    expert : array-like (n,) of int
        The expert of each row, 0 to k - 1.
    block_sizes : array-like (k,) of int
        The number of columns of each expert, in order; they sum to d.
    sizes : array-like (s,) of int
        Increasing, from 1 to n.

    Returns
    -------
    (s, d) array

    Raises
    ------
    TypeError, ValueError
        Where an argument has the wrong kind, shape or range, or holds NaN or infinity.

    Examples
    --------
    >>> import moenoise as mn
    >>> X = [[1.0, 9.0], [9.0, 2.0], [1.0, 9.0]]
    >>> mn.block_learning_curve(X, [1.0, 4.0, 3.0], [0, 1, 0], [1, 1], [1, 3]).round(12)
    array([[1., 0.],
           [2., 2.]])
    """
    X = _validation.as_array(X, "X", 2, finite=False)
    y = _as_response(y, len(X))
    block_sizes = _validation.as_block_sizes(block_sizes, X.shape[1])
    expert = _validation.as_expert(expert, len(X), len(block_sizes))
    sizes = _validation.as_sizes(sizes, len(X))
    try:
        coef = _core.block_learning_curve(X, y, expert, block_sizes, sizes)
    except ValueError as refused:
        raise _explained_by_values(refused, X, expert, block_sizes) from None
    return _check_coef(coef)


def gradient_descent(X, y, *, steps, step_size=None, coef=None, tol=0.0, method="auto"):
    r"""Gradient descent on ``1/2 ||X b - y||^2``.

    Each step is ``b <- b - step_size * X'(X b - y)`` (paper, equation 5). With the default step the part of the
    residual along the left singular vector of singular value ``s`` shrinks by ``1 - s^2 / s_max^2`` a step (paper,
    Appendix A.5).

    Parameters
    ----------
    X : array-like (n, d)
    y : array-like (n,)
    steps : int >= 0
        The largest number of steps.
    step_size : float > 0, optional
        Default: ``1 / s_max^2``, with the largest singular value of X to ten digits. From ``2 / s_max^2`` on the
        iteration diverges.
    coef : array-like (d,), optional
        Where to start. Default: zeros.
    tol : float >= 0, default 0.0
        Stop once the gradient's norm is at most `tol` times the first one's; 0 never stops.
    method : {"auto", "direct", "tridiagonal"}, default "auto"
        "direct": every step reads X. "tridiagonal": the Gram matrix of the shorter side, ``X'X`` (or ``XX'`` where
        n < d), is formed once and brought into tridiagonal form, in which a step costs min(n, d) operations; takes
        memory for that matrix, which is at most as large as X. At least every thousand steps the residual and the
        gradient are computed from X, and if they are not the tracked ones, to a relative 1e-9 or to the rounding of
        ``X b - y``, the remaining steps are direct ones. "auto": "tridiagonal" where the steps are many enough to pay
        for it, with `tol` only after as many direct ones.

    Returns
    -------
    GradientDescent
        With fields `coef`, `residual_norms`, `step_size` and `method`. Between the methods residual norms differ by
        rounding: by 1e-8 relative, or by 1e-13 of ``||X||_F max ||b|| + ||y||``, the maximum over the steps.

    Raises
    ------
    TypeError, ValueError
        Where an argument has the wrong kind, shape or range, or holds NaN or infinity; where no `step_size` is given
        and X is zero or has entries whose squares over- or underflow; where the first residual's square overflows;
        where the residual ends larger than it began, which means that `step_size` is too large.

    Examples
    --------
    >>> import moenoise as mn
    >>> descent = mn.gradient_descent([[2.0, 0.0], [0.0, 1.0]], [2.0, 1.0], steps=3)
    >>> descent.step_size, descent.coef
    (0.25, array([1.      , 0.578125]))
    >>> descent.residual_norms.round(4)
    array([2.2361, 0.75  , 0.5625, 0.4219])
    """
    X = _validation.as_array(X, "X", 2)
    y = _as_response(y, len(X))
    steps = _validation.as_integer(steps, "steps", low=0, high=_validation.MAX_DIMENSION)
    tol = _validation.as_scalar(tol, "tol", low=0)
    method = _validation.as_choice(method, "method", DESCENT_METHODS)
    start = np.zeros(X.shape[1]) if coef is None else _validation.as_array(coef, "coef", 1)
    if len(start) != X.shape[1]:
        raise ValueError(f"coef must have one entry a column of X, {X.shape[1]}, got {len(start)}")
    direct_steps = _direct_steps(method, X.shape, steps, tol)
    reduction = None
    if step_size is None:
        step_size, reduction = _default_step_size(X, is_reduced=direct_steps == 0 < steps)
    step_size = _validation.as_scalar(step_size, "step_size", low=0, open_low=True)
    coef, residual_norms, method = _descend(X, y, start, steps, step_size, tol, direct_steps, reduction)
    if not np.isfinite(residual_norms[0]):
        raise ValueError("X, coef and y must be so small that the square of ||X coef - y|| does not overflow")
    if _has_diverged(residual_norms, X, y, start):
        raise ValueError(f"step_size must be below 2 / sigma_max(X)^2, where the iteration diverges, got {step_size:g}")
    return GradientDescent(coef, residual_norms, step_size, method)


def _direct_steps(method, shape, steps, tol):
    """How many steps are made directly before the tridiagonal form is used for the others."""
    if method != "auto":
        return steps if method == "direct" else 0
    worth = _steps_worth_a_reduction(*shape)
    if tol > 0:  # descent may stop at any time: never spend more on the reduction than has been spent before it
        return worth if steps > 2 * worth else steps
    return 0 if steps > worth else steps


def _steps_worth_a_reduction(n, d):
    """About how many direct steps, each a read of X, take as long as the smaller Gram matrix in tridiagonal form."""
    s = min(n, d)
    return 100 + s // 14 + s**3 // (4 * n * d)


def _descend(X, y, coef, steps, step_size, tol, direct_steps, reduction):
    """(coef, residual norms, method) of direct steps, then tridiagonal ones, then direct ones if any are left."""
    bound = tol * _core.gradient_descent(X, y, coef, 0, step_size, -1.0)[2] if tol > 0 else -1.0
    coef, norms, gradient_norm = _core.gradient_descent(X, y, coef, direct_steps, step_size, bound)
    if direct_steps == steps or len(norms) <= direct_steps or gradient_norm <= bound:
        return coef, norms, "direct"
    if reduction is None:
        reduction = _core.tridiagonal(X)
    coef, tridiagonal_norms = _core.reduced_descent(X, y, coef, steps - direct_steps, step_size, bound, *reduction)
    left = steps - direct_steps - (len(tridiagonal_norms) - 1)
    coef, last_norms, _ = _core.gradient_descent(X, y, coef, left, step_size, bound)
    method = "tridiagonal" if len(tridiagonal_norms) > 1 else "direct"
    return coef, np.concatenate([norms, tridiagonal_norms[1:], last_norms[1:]]), method


def _default_step_size(X, is_reduced):
    """(step size, reduction or None): from the tridiagonal form where that is needed anyway or is the faster way."""
    scale = max(X.max(), -X.min())
    if not _SMALLEST_SCALE < scale < _LARGEST_SCALE:
        raise ValueError(
            "X must have a largest entry whose square neither over- nor underflows, or step_size be given: "
            f"got {scale:g}"
        )
    if not is_reduced and _steps_worth_a_reduction(*X.shape) > _LANCZOS_READS:
        largest = _largest_by_lanczos(X)
        if largest is not None:
            return 1 / largest**2, None
    reduction = _core.tridiagonal(X)
    return 1 / _largest_of_tridiagonal(*reduction[1][:2]), reduction


def _largest_of_tridiagonal(diagonal, beside):
    """The largest eigenvalue."""
    trace, last = diagonal.sum(), len(diagonal) - 1  # of unit trace, because the squares may overflow
    eigenvalues = scipy.linalg.eigvalsh_tridiagonal(diagonal / trace, beside[:-1] / trace, select="i",
                                                    select_range=(last, last))
    return trace * eigenvalues[0]


def _largest_by_lanczos(X):
    """The largest singular value to ten digits; None where that would take too long."""
    n, d = X.shape
    zeros, norm = np.zeros(n), np.linalg.norm(X)

    def multiply(v):
        # Of unit trace: ARPACK takes eigenvalues below 1e-11 for zero.
        return _core.gradient(X, zeros, np.ascontiguousarray(v).ravel()) / norm**2

    gram = scipy.sparse.linalg.LinearOperator((d, d), matvec=multiply, dtype=np.float64)
    # A fixed start makes the result reproducible; a random one is orthogonal to no particular vector.
    start = _core.standard_normal(0, 0, 0, 0, d)
    try:
        eigenvalue = scipy.sparse.linalg.eigsh(gram, k=1, which="LA", v0=start, tol=1e-12, maxiter=_MOST_RESTARTS,
                                               return_eigenvectors=False)
    except scipy.sparse.linalg.ArpackNoConvergence:  # many singular values next to the largest
        return None
    return norm * math.sqrt(eigenvalue[0])


def _has_diverged(residual_norms, X, y, start):
    """Whether the last residual exceeds the first one by more than rounding can explain."""
    first, last = residual_norms[0], residual_norms[-1]
    if last <= first:
        return False
    rounding = np.sqrt(np.finfo(float).eps) * (np.linalg.norm(y) + np.linalg.norm(X) * np.linalg.norm(start))
    return not last <= first + rounding


def _as_response(y, n):
    y = _validation.as_array(y, "y", 1)
    _check_rows(y, n)
    return y


def _as_responses(y, n):
    """(n, m) responses, and whether y was a vector."""
    y = _validation.as_array(y, "y", (1, 2))
    _check_rows(y, n)
    return y.reshape(n, -1), y.ndim == 1


def _check_rows(y, n):
    if len(y) != n:
        raise ValueError(f"y must have one entry a row of X, {n}, got {len(y)}")


def _check_coef(coef):
    if not _core.all_finite(coef):
        raise ValueError("X and y must be scaled so that the coefficients, about y / X, do not overflow")
    return coef


def _as_rcond(rcond):
    """The kernels' rcond: negative stands for their default."""
    return -1.0 if rcond is None else _validation.as_scalar(rcond, "rcond", low=0, high=1, open_high=True)


def _as_method(method):
    return METHODS[_validation.as_choice(method, "method", tuple(METHODS))]
