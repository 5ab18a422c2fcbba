"""Rates of gradient descent from the singular values of a noisy design (paper, Theorem 5)."""

import typing

import numpy as np
import scipy.optimize

from .. import _validation


class Edges(typing.NamedTuple):
    """Extreme squared singular values of a noisy matrix."""

    smallest: float
    largest: float


class Convergence(typing.NamedTuple):
    """Contraction factors of gradient descent at step 1 / largest**2, and the edges they come from."""

    dense: float
    sparse: np.ndarray  # (k,)
    dense_edges: Edges
    sparse_edges: np.ndarray  # (k, 2): smallest, largest


def singular_edges(singular_values, *, rows, columns, entry_variance):
    r"""Extreme squared singular values of a fixed matrix plus independent Gaussian noise, for large matrices.

    For an M x N matrix (M <= N, else transposed) with squared singular values ``l_1..l_M`` and noise entries of
    variance ``v``, let::

        g(w)   = 1 - v sum_j 1 / (l_j - w)
        phi(w) = w g(w)^2 + v (N - M) g(w)

    The largest squared singular value of the noisy matrix tends to the minimum of ``phi`` on ``w > max l``, the
    smallest to its maximum on ``w < min l`` where ``g > 0`` (Loubaton & Vallet, 2011; the paper uses
    that article's law for a few isolated singular values, which these are not).

    Parameters
    ----------
    singular_values : array-like (min(rows, columns),)
        Of the clean matrix, in any order, >= 0; not squared.
    rows, columns : int
        Shape of the matrix.
    entry_variance : float >= 0
        ``v``: the variance of one entry of the noise (not a sum, not scaled by the size of the matrix).

    Returns
    -------
    Edges
        Named tuple ``(smallest, largest)`` of squared singular values; the smallest is the min(rows, columns)-th.

    Raises
    ------
    TypeError, ValueError
        Where an argument has the wrong kind, length or range.

    Examples
    --------
    Pure noise has the edges of the Marchenko-Pastur law, ``v (sqrt(N) -+ sqrt(M))^2``:

    >>> import numpy as np
    >>> import moenoise as mn
    >>> smallest, largest = mn.theory.singular_edges(np.zeros(100), rows=100, columns=400, entry_variance=0.01)
    >>> round(smallest, 9), round(largest, 9)
    (1.0, 9.0)
    """
    rows = _validation.as_integer(rows, "rows", low=1)
    columns = _validation.as_integer(columns, "columns", low=1)
    entry_variance = _validation.as_scalar(entry_variance, "entry_variance", low=0)
    spectrum = _validation.as_spectrum(singular_values, min(rows, columns))
    return _edges(_squared(spectrum, "singular_values"), abs(columns - rows), entry_variance)


def convergence(singular_values, *, noise_variance, shapes, form="corrected"):
    r"""Contraction of the residual by one step of gradient descent, whole design and block by block (Theorem 5).

    For ``b <- b - X'(X b - y) / lambda_1^2`` on a noisy design X with extreme non-zero singular values ``lambda_1``
    and ``lambda_min`` the factor is ``rho = 1 - lambda_min^2 / lambda_1^2``: asymptotic in the number of steps, worst
    case over y.

    * ``"corrected"``: the squared singular values are those of `singular_edges`, of the whole matrix for dense and of
      one block for an expert, with the same entry variance ``v = noise_variance / n``, ``n = sum n_i``.
    * ``"printed"``: they are ``f(l) = (noise_variance + l) (c noise_variance + l) / l`` at the extreme squared clean
      singular values ``l``, with ``c = d / n`` for the whole matrix and for its blocks alike.

    Parameters
    ----------
    singular_values : sequence of k arrays, each (min(n_i, d_i),)
        Of the clean blocks, in any order, >= 0; not squared.
    noise_variance : float >= 0
        n times the variance of one noise entry (the same normalisation as `moenoise.spectral_design`).
    shapes : sequence of k pairs (n_i, d_i)
        Rows and columns of each block of the block-diagonal design.
    form : "corrected" or "printed", default "corrected"

    Returns
    -------
    Convergence
        Named tuple: ``dense`` (float) and ``sparse`` (k,) are the factors; ``dense_edges`` (`Edges`) and
        ``sparse_edges`` (k, 2) the smallest and largest squared singular values behind them.

    Raises
    ------
    TypeError, ValueError
        Where an argument has the wrong kind, length or range; where a design without noise is zero, and where the
        printed form meets a zero singular value, for which it has none.

    Examples
    --------
    >>> import numpy as np
    >>> import moenoise as mn
    >>> values = [np.linspace(3, 6, 400), np.linspace(5, 9, 400)]
    >>> rates = mn.theory.convergence(values, noise_variance=1.0, shapes=[(400, 800)] * 2)
    >>> round(rates.dense, 3), rates.sparse.round(3)
    (0.914, array([0.821, 0.744]))
    """
    spectra, shapes = _validation.as_spectra(singular_values, shapes)
    noise_variance = _validation.as_scalar(noise_variance, "noise_variance", low=0)
    _validation.as_choice(form, "form", ("corrected", "printed"))
    blocks = [_squared(spectrum, f"singular_values[{i}]") for i, spectrum in enumerate(spectra)]
    rows, columns = map(sum, zip(*shapes))
    # Wide blocks beside tall ones leave the whole matrix with zero singular values of its own.
    whole = np.zeros(min(rows, columns))
    whole[: sum(map(len, blocks))] = np.concatenate(blocks)
    if noise_variance == 0:
        edges = [_clean_edges(squared) for squared in [whole, *blocks]]
    elif form == "printed":
        aspect = columns / rows
        edges = [_printed_edges(squared, aspect, noise_variance) for squared in [np.concatenate(blocks), *blocks]]
    else:
        surpluses = [abs(width - height) for height, width in [(rows, columns), *shapes]]
        edges = [_edges(*pair, noise_variance / rows) for pair in zip([whole, *blocks], surpluses)]
    rates = [1 - smallest / largest for smallest, largest in edges]
    return Convergence(rates[0], np.array(rates[1:]), edges[0], np.array(edges[1:]))


def _edges(squared, surplus, variance):
    """Edges of the noisy matrix; surplus = N - M >= 0 columns more than rows."""
    if variance == 0:
        return Edges(float(squared.min()), float(squared.max()))
    return Edges(_smallest_edge(squared, surplus, variance), _largest_edge(squared, surplus, variance))


def _largest_edge(squared, surplus, variance):
    top = squared.max()

    def at(gap):  # gap = w - max l is kept apart: its digits would be lost in w
        return top + gap, *_g(squared - top - gap, variance)

    outer = variance * (2 * len(squared) + surplus)
    inner = outer
    while _slope(*at(inner), surplus * variance) >= 0:
        inner /= 2
    return _edge_between(at, inner, outer, surplus * variance)


def _smallest_edge(squared, surplus, variance):
    bottom = squared.min()

    def at(gap):  # gap = min l - w
        return bottom - gap, *_g(squared - bottom + gap, variance)

    inner = _root(lambda gap: at(gap)[1], variance / 2, 2 * variance * len(squared))
    if _slope(*at(inner), surplus * variance) >= 0:
        return 0.0  # a square matrix whose singular values reach down to zero
    return max(0.0, _edge_between(at, inner, 2 * inner, surplus * variance))


def _edge_between(at, inner, outer, surplus):
    """phi at the point where its slope turns from negative (near the clean values) to positive (far away)."""
    while _slope(*at(outer), surplus) <= 0:
        outer *= 2
    w, g, _ = at(_root(lambda gap: _slope(*at(gap), surplus), inner, outer))
    return float(w * g**2 + surplus * g)


def _root(function, low, high):
    return scipy.optimize.brentq(function, low, high, xtol=np.finfo(float).tiny)


def _g(offsets, variance):
    """g and its derivative, from the offsets l_j - w."""
    deviation = np.sqrt(variance)
    scaled = deviation / offsets
    return 1 - deviation * scaled.sum(), -(scaled @ scaled)


def _slope(w, g, g_slope, surplus):
    """Derivative of phi; a square matrix has phi = w g^2, of which the factor g is left out: it is positive."""
    if surplus == 0:
        return g + 2 * w * g_slope
    return g**2 + (2 * w * g + surplus) * g_slope


def _printed_edges(squared, aspect, noise_variance):
    extremes = np.array([squared.min(), squared.max()])
    if extremes[0] == 0:
        raise ValueError("singular_values must be positive for form='printed'")
    return Edges(*((noise_variance + extremes) * (aspect * noise_variance + extremes) / extremes).tolist())


def _clean_edges(squared):
    """Without noise: only non-zero singular values matter to gradient descent."""
    nonzero = squared[squared > 0]
    if nonzero.size == 0:
        raise ValueError("singular_values must not all be zero in a block where noise_variance is 0")
    return Edges(float(nonzero.min()), float(nonzero.max()))


def _squared(spectrum, name):
    with np.errstate(over="ignore"):
        squared = spectrum**2
    _validation.check_finite(squared, f"{name} squared")
    return squared
