"""How the residual of gradient descent on a noisy design falls, step by step (beyond the paper's Theorem 5)."""

import math

import numpy as np

from .. import _validation
from .descent import singular_edges

_REACH = 0.25  # how far the contour keeps from the spectrum, in units of the spectrum's distance from 0
_DIGITS = 28.0  # natural logarithm of the trapezoidal rule's accuracy
_LEAST_RATIO = 1e-6  # of the spectrum's ends; points grow like the root of its inverse
_TOLERANCE, _MOST_STEPS = 1e-14, 50  # of Newton's steps


def descent_residuals(singular_values, *, rows, columns, entry_variance, steps):
    r"""``||X b_t - y|| / ||y||`` after t steps of gradient descent from zero, a limit for large matrices.

    X is a clean M x N matrix B plus independent Gaussian noise of variance v an entry, M <= N; y = B beta, exact, with
    ``beta ~ N(0, I)``; each step is ``b <- b - X'(X b - y) / L``, L the largest squared singular value of X. Then::

        ||X b_t - y||^2 = y' (I - XX' / L)^(2 t) y = contour integral of (1 - z / L)^(2 t) y' (XX' - z)^-1 y

    round the spectrum of ``XX'``, over ``-2 pi i``, and with ``l_j`` the squared singular values of B the resolvent has
    the equivalent (Loubaton & Vallet, 2011; g and w are those of `singular_edges`)::

        E y' (XX' - z)^-1 y ~ 1 / g sum_j l_j / (l_j - w),
        g = 1 - v sum_j 1 / (l_j - w),   z = w g^2 + v (N - M) g

    The rate of `convergence` is what its late steps contract by, and the rate's t-th power bounds it from above.

    Parameters
    ----------
    singular_values : array-like (rows,)
        Of the clean matrix, in any order, >= 0 and not all 0; not squared.
    rows, columns : int
        Shape of the matrix, ``rows <= columns``: else the residual does not tend to 0.
    entry_variance : float >= 0
        ``v``: the variance of one entry of the noise (not a sum, not scaled by the size of the matrix).
    steps : int or array-like (s,) of int, >= 0
        ``t``.

    Returns
    -------
    float, or (s,) array
        Between 0 and 1, to about 1e-9 absolute.

    Raises
    ------
    TypeError, ValueError
        Where an argument has the wrong kind, length or range; where there are more rows than columns, or the smallest
        squared singular value of X tends to 0 (a square matrix, or one without noise that is singular).

    Examples
    --------
    >>> import numpy as np
    >>> import moenoise as mn
    >>> values = np.linspace(3, 6, 400)
    >>> options = dict(rows=400, columns=800, entry_variance=1 / 400)
    >>> mn.theory.descent_residuals(values, steps=[0, 1, 10, 30], **options).round(3).tolist()
    [1.0, 0.491, 0.037, 0.001]
    """
    rows = _validation.as_integer(rows, "rows", low=1)
    columns = _validation.as_integer(columns, "columns", low=1)
    if rows > columns:
        raise ValueError(f"rows must be at most columns, got {rows} and {columns}: the residual would not tend to 0")
    counts, single = _validation.as_integer_or_vector(steps, "steps", low=0)
    values = _validation.as_spectrum(singular_values, rows)
    deviation = math.sqrt(_validation.as_scalar(entry_variance, "entry_variance", low=0))
    if values.max() == 0:
        raise ValueError("singular_values must not all be zero: y would be zero")
    unit = max(values.max(), deviation)  # residuals are free of it, and no square leaves the range of floating point
    squared, variance = (values / unit) ** 2, (deviation / unit) ** 2
    if squared.max() == 0:
        raise ValueError("singular_values must not vanish beside the noise: their squares do, beside entry_variance")
    smallest, largest = singular_edges(values / unit, rows=rows, columns=columns, entry_variance=variance)
    if smallest < _LEAST_RATIO * largest:
        raise ValueError("singular_values must leave the noisy matrix a smallest squared one of at least "
                         f"{_LEAST_RATIO:g} times the largest, got {smallest / largest:.2g}")
    z, weights = _contour(smallest, largest)
    g, w = _equivalent(z, squared, columns - rows, variance)
    weights = weights * (squared / (squared - w[:, None])).sum(axis=1) / g
    residuals = np.array([((1 - z / largest) ** (2 * t) @ weights).real for t in counts.tolist()]) / squared.sum()
    residuals = np.sqrt(np.maximum(residuals, 0.0))
    return float(residuals[0]) if single else residuals


def _contour(smallest, largest):
    """Points z (m,) on the upper half of an ellipse with the spectrum's ends for foci, from right to left, and weights.

    ``z = centre + radius (u + 1/u) / 2`` on a circle of u, where the trapezoidal rule converges geometrically; 0 is
    outside. The real part of the weighted sum of f(z) is ``- 1/(2 pi i)`` times the integral over the whole ellipse, if
    f is real on the real line: the lower half is the conjugate.
    """
    centre, radius = (largest + smallest) / 2, (largest - smallest) / 2
    if radius == 0:  # a single point: any circle
        radius = smallest / 2
    a = 1 + _REACH * smallest / radius
    log_rho = np.log(a + np.sqrt(a * a - 1))
    count = int(np.ceil(_DIGITS / log_rho / 2)) + 16
    u = np.exp(log_rho + 1j * np.pi * (np.arange(count) + 0.5) / count)
    return centre + radius * (u + 1 / u) / 2, -radius * (u - 1 / u) / 2 / count


def _equivalent(z, squared, surplus, variance):
    """g and w at the points z (m,) of the contour, in their order; surplus = N - M.

    Beyond the spectrum's right end w is real and above all l_j; from there it follows z by Newton's steps.
    """
    g, w = np.empty_like(z), np.empty_like(z)
    at = z[0] - variance * (surplus + 2 * squared.size)  # no less than w, as g > 1 there
    for i, point in enumerate(z):
        at = _follow(point, at, squared, surplus, variance)
        w[i], g[i] = at, 1 - variance * (1 / (squared - at)).sum()
    return g, w


def _follow(z, w, squared, surplus, variance):
    """The root w of ``z = w g(w)^2 + v (N - M) g(w)`` next to a given w."""
    for _ in range(_MOST_STEPS):
        offsets = 1 / (squared - w)
        g, slope = 1 - variance * offsets.sum(), -variance * (offsets @ offsets)
        value = w * g * g + variance * surplus * g - z
        step = value / (g * g + (2 * w * g + variance * surplus) * slope)
        w = w - step
        if abs(step) <= _TOLERANCE * abs(w):
            return w
    raise ArithmeticError("the equivalent of the resolvent was not found")
