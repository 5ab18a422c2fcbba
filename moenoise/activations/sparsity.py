"""Thresholds of magnitude pruning for a wanted activation sparsity: the same in every layer, or spread by error."""

import functools
import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np

from .. import _validation
from .._progress import progress_bar
from .reading import read_chunks

# Up to so many entries of a layer are kept and their quantile is exact; of more, they are counted in bins.
MOST_EXACT = 2**23

# A bin holds the magnitudes whose float64 patterns agree in sign, exponent and the first 12 bits of the fraction.
FRACTION_BITS = 12
_SHIFT = 52 - FRACTION_BITS
_N_BINS = 2 ** (11 + FRACTION_BITS)

# The greedy search's step of a layer's sparsity, unless another is asked for.
_STEP = 0.05

# Candidates whose costs agree to rounding are equally good, so that the choice does not depend on the BLAS.
_TIE = 1e-9

# A total sparsity this little below the wanted one has reached it.
_ROUNDING = 1e-12


class Thresholds(NamedTuple):
    """Result of `thresholds`: numbers, or dicts layer -> number where the activations were a dict of layers.

    An entry a is pruned where ``|a| <= threshold``; the sparsity is the share of entries that then are zero.
    """

    threshold: float | dict
    """0, or a magnitude that occurs in the rows given."""
    sparsity: float | dict
    """Achieved on the rows given; above the wanted one where magnitudes are tied (zeros of a ReLU) or binned."""
    total_sparsity: float | None
    """Greedy: the layers' sparsities, weighted by their numbers of weights."""
    error: float | None
    """Greedy: the error at these thresholds, on the rows given."""
    uniform_error: float | None
    """Greedy: the error where every layer has the wanted sparsity instead."""
    held_out_sparsity: float | dict | None
    """Achieved on the rows of `held_out`."""
    held_out_standard_error: float | dict | None
    """Of that, the threshold taken as given: standard deviation over rows of a row's sparsity, over sqrt(rows)."""


def thresholds(A, sparsity, *, method="uniform", weights=None, error=None, step=None, held_out=None, key=None,
               progress=True):
    r"""The magnitudes below which activations are set to zero to reach a sparsity, as in TEAL (Liu et al., 2024).

    "uniform": each layer's threshold is the smallest t, 0 or a magnitude of its rows, with
    ``share(|a| <= t) >= sparsity``. TEAL takes the same quantile from a histogram of ``a``, on the assumption
    that ``a`` is symmetric around zero, which is not needed here.

    "greedy": the layers share a budget, ``sum_i w_i s_i / sum_i w_i >= sparsity``, with s_i the sparsity of layer i
    (one input of one matrix) and w_i its number of weights. From thresholds of 0, the layer whose next step of s_i
    raises the error least for what it adds to the total takes that step, until the total is reached; the last step is
    as short as is enough. The error that is minimised is, unless `error` says otherwise, on the rows given::

        sum_i ||pruned(A_i) W_i - A_i W_i||_F^2 / ||A_i W_i||_F^2

    TEAL's block-wise greedy search differs in three ways. Its error is the distance of the whole block's output,
    found by running the block, so that pruning one projection changes the input of the next; `error` gives that. Its
    steps are equal in ``w_i s_i`` rather than in s_i, so that its gains are equal and its errors are compared alone;
    and its last step may overshoot. Both searches are heuristics. Where each layer's error is convex in its sparsity
    and the layers have equally many weights, the result is the best of all on the grid of steps; elsewhere it may even
    be worse than uniform thresholds, and `uniform_error` says whether it is.

    Parameters
    ----------
    A : rows (n, d), or dict layer -> rows
        Whatever `moenoise.activations.read_chunks` reads, one-pass iterables included; any numbers of rows and features
        a layer.
    sparsity : float in [0, 1]
        The share of entries to be zero.
    method : {"uniform", "greedy"}, default "uniform"
        "greedy" needs a dict of layers and holds their rows in memory: 16 bytes an entry, and 24 more of the largest
        layer.
    weights : dict layer -> (d, m) array-like, for "greedy"
        Each layer's matrix W, applied as ``A @ W``: the transpose of the `weight` of a `torch.nn.Linear`. Read as `A`
        is. Where `error` is given: dict layer -> int, the number of weights.
    error : callable, optional, for "greedy"
        From a dict layer -> threshold to a float, the error to be minimised instead.
    step : float in (0, 1], optional, for "greedy"
        The step of a layer's sparsity; default 0.05.
    held_out : as A, with the same layers and widths, optional
        Other rows, at least two a layer, on which the achieved sparsity is measured.
    key : str, optional
        For files: which array of each file; see `read_chunks`.
    progress : bool, default True
        Whether a bar is shown after one second.

    Returns
    -------
    Thresholds
        Named tuple: ``.threshold``, ``.sparsity``, ``.held_out_sparsity``, ``.held_out_standard_error``, each a float
        or a dict as A is, and floats ``.total_sparsity``, ``.error``, ``.uniform_error`` of the greedy method.

    Raises
    ------
    TypeError, ValueError, OSError
        Where an argument is not as described; the message names it. A matrix whose output is zero on all rows has no
        relative error.

    Notes
    -----
    Uniform thresholds take one pass, and at most 400 MB beside the source's own pieces (more where a single row exceeds
    a chunk). They are exact for layers of at most 2**23 entries, and for any number of entries that have at most 13
    significant bits: float16, bfloat16. Otherwise entries are counted in bins whose bounds are a factor of
    ``1 + 2**-12`` apart or less, and the threshold is the largest magnitude in the bin of the exact one: not below it,
    and above it by less than 2.5e-4 of itself (below 2.3e-308, by less than 5.5e-312). The achieved sparsity is always
    counted exactly; it exceeds that of the exact one by what lies in a part of one bin.

    Every threshold is a value of the data, so that comparing in the data's own precision prunes the same entries.

    Rows of one document depend on each other; the standard error counts them as independent. It says how far
    the held-out sparsity may be off, not how far other thresholds, from other rows, would be off.

    The greedy method's errors are sums in float64 through BLAS, and their bits depend on its build; candidates within
    1e-9 of the best count as equal to it, and the first in the order of A is taken.

    Examples
    --------
    >>> import numpy as np
    >>> from moenoise.activations.sparsity import prune, thresholds
    >>> A = np.array([[0.1, -3.0], [-0.2, 2.0]])
    >>> found = thresholds(A, 0.5)
    >>> found.threshold, found.sparsity
    (0.2, 0.5)
    >>> prune(A, found.threshold)
    array([[ 0., -3.],
           [ 0.,  2.]])

    Half the entries of a ReLU layer are zero already, which costs nothing; the other layer hardly has to be pruned:

    >>> rng = np.random.default_rng(0)
    >>> x, h = rng.standard_normal((200, 8)), np.maximum(rng.standard_normal((200, 16)), 0)
    >>> matrices = {"up": rng.standard_normal((8, 16)), "down": rng.standard_normal((16, 8))}
    >>> found = thresholds({"up": x, "down": h}, 0.4, method="greedy", weights=matrices, progress=False)
    >>> bool(found.sparsity["up"] < 0.4 < found.sparsity["down"]), bool(found.error < found.uniform_error)
    (True, True)
    """
    sparsity = _validation.as_scalar(sparsity, "sparsity", low=0, high=1)
    _validation.as_choice(method, "method", ("uniform", "greedy"))
    if method == "uniform" and not (weights is error is step is None):
        raise ValueError("weights, error and step are for method='greedy'")
    step = _validation.as_scalar(_STEP if step is None else step, "step", low=0, high=1, open_low=True)
    progress = _validation.as_flag(progress, "progress")
    rows = _open(A, "A", key)
    others = None if held_out is None else _open_held_out(held_out, A, key)
    if method == "greedy":
        weights = _as_weights(weights, error, A)
    with progress_bar("thresholds", shown=progress, unit=" rows") as bar:
        if method == "greedy":
            found, summary = _greedy(rows, sparsity, weights, error, step, bar)
        else:
            found, summary = _uniform(rows, sparsity, bar), (None, None, None)
        measured = others and {layer: _held_out(others[layer], layer, found[layer], bar) for layer in found}
    columns = [_column(found, "threshold"), _column(found, "sparsity"), *summary]
    columns += [None, None] if measured is None else [_column(measured, field) for field in _HeldOut._fields]
    return Thresholds(*(columns if isinstance(A, Mapping) else map(_only_value, columns)))


def prune(A, threshold):
    """A copy of `A` in which entries of magnitude at most `threshold` are 0.

    Parameters
    ----------
    A : array-like (d,), (n, d) or (batch, n, d)
        Finite real numbers.
    threshold : float >= 0
        Compared in float64, which holds all values of float16, float32 and integers up to 2**53 exactly. Larger
        integers and longer floats are rounded to float64 first.

    Returns
    -------
    array of A's shape
        Of A's own type where that is a float's, otherwise float64; float32 for a PyTorch tensor of halves.

    Raises
    ------
    TypeError, ValueError
        Where an argument is not as described.

    Examples
    --------
    >>> import numpy as np
    >>> from moenoise.activations.sparsity import prune
    >>> prune(np.array([0.5, -0.25, -2.0], dtype=np.float16), 0.3)
    array([ 0.5,  0. , -2. ], dtype=float16)
    """
    wide = _validation.as_array(A, "A", (1, 2, 3), allow_empty=True)
    threshold = _validation.as_scalar(threshold, "threshold", low=0)
    own = np.asarray(_validation.from_torch(A, "A"))
    values = own if own.dtype.kind == "f" else wide
    return np.where(np.abs(wide) <= threshold, values.dtype.type(0), values)


class _Found(NamedTuple):
    """What is known of one layer."""

    threshold: float
    sparsity: float
    d: int


class _HeldOut(NamedTuple):
    """What was measured on a layer's other rows."""

    sparsity: float
    standard_error: float


def _open(value, name, key):
    """Dict layer -> chunks; the layer is None where `value` is none of several."""
    if not isinstance(value, Mapping):
        return {None: read_chunks(value, key=key, name=name)}
    if not value:
        raise ValueError(f"{name} must not be empty")
    return {layer: read_chunks(source, key=key, name=f"{name}[{layer!r}]") for layer, source in value.items()}


def _open_held_out(value, A, key):
    if isinstance(A, Mapping):
        _check_layers(value, "held_out", A)
    elif isinstance(value, Mapping):
        raise TypeError("held_out must be rows like A, got a dict of layers")
    return _open(value, "held_out", key)


def _check_layers(value, name, A):
    """Raise where `value` is no dict with the layers of A."""
    if not isinstance(value, Mapping):
        raise TypeError(f"{name} must be a dict with the layers of A, got {type(value).__name__}")
    if value.keys() != A.keys():
        raise ValueError(f"{name} must have the layers of A, {list(A)}, got {list(value)}")


def _as_weights(weights, error, A):
    """Dict layer -> (d, m) float64, or int where `error` is given."""
    if not isinstance(A, Mapping):
        raise TypeError(f"A must be a dict layer -> rows for method='greedy', got {type(A).__name__}")
    if error is not None and not callable(error):
        raise TypeError(f"error must be a callable, got {error!r}")
    kind = "matrices (d, m)" if error is None else "numbers of weights"
    if weights is None:
        raise ValueError(f"weights must be given for method='greedy': a dict of the layers' {kind}")
    _check_layers(weights, "weights", A)
    names = {layer: f"weights[{layer!r}]" for layer in weights}
    if error is not None:
        return {layer: _validation.as_integer(weights[layer], names[layer], low=1) for layer in weights}
    return {layer: _whole(read_chunks(weights[layer], name=names[layer])) for layer in weights}


def _column(rows, field):
    return {layer: getattr(row, field) for layer, row in rows.items()}


def _only_value(column):
    return column[None] if isinstance(column, dict) else column


def _whole(chunks):
    """All rows, in float64."""
    return np.concatenate([np.asarray(chunk, dtype=np.float64) for chunk in chunks])


def _rank(share, n):
    """The smallest count of n things that is at least this share of them."""
    rank = math.ceil(share * n)  # or one beside it, where the product was rounded
    return next(count for count in (rank - 1, rank, rank + 1) if count / n >= share)


def _uniform(rows, sparsity, bar):
    """Dict layer -> `_Found`."""
    found = {}
    for layer, chunks in rows.items():
        magnitudes = _Magnitudes()
        for chunk in chunks:
            magnitudes.add(chunk)
            bar.update(len(chunk))
        threshold, count = magnitudes.smallest(_rank(sparsity, magnitudes.n))
        found[layer] = _Found(threshold, count / magnitudes.n, chunk.shape[1])
    return found


class _Magnitudes:
    """The magnitudes of a stream of entries: all of them while they are few, then how many each bin has."""

    def __init__(self):
        self.n = self.n_zeros = 0
        self.held = []
        self.counts = self.largest = None

    def add(self, chunk):
        magnitudes = np.abs(chunk).ravel()
        self.n += len(magnitudes)
        self.n_zeros += len(magnitudes) - int(np.count_nonzero(magnitudes))
        self.held.append(magnitudes)
        if self.n > MOST_EXACT:
            self._count_held()

    def _count_held(self):
        if self.counts is None:  # only the pages of bins that occur are ever touched
            self.counts, self.largest = np.zeros(_N_BINS, dtype=np.int64), np.zeros(_N_BINS)
        while self.held:  # each is freed once it is counted
            magnitudes = self.held.pop().astype(np.float64, copy=False)
            bins = magnitudes.view(np.int64) >> _SHIFT  # patterns of floats >= 0 are in the floats' order
            np.add.at(self.counts, bins, 1)
            np.maximum.at(self.largest, bins, magnitudes)

    def smallest(self, rank):
        """The smallest t, 0 or a magnitude (the largest in its bin), with at least `rank` of them up to t, and how
        many they are."""
        if rank <= self.n_zeros:
            return 0.0, self.n_zeros
        if self.counts is None:
            magnitudes = np.concatenate(self.held)
            magnitudes.partition(rank - 1)
            threshold = magnitudes[rank - 1]
            return float(threshold), int(np.count_nonzero(magnitudes <= threshold))
        bins = np.flatnonzero(self.counts)
        counts = np.cumsum(self.counts[bins])
        first = np.searchsorted(counts, rank)
        return float(self.largest[bins[first]]), int(counts[first])


def _held_out(chunks, layer, found, bar):
    """`_HeldOut`: the share of entries up to the threshold, and its standard error over rows."""
    name = "held_out" if layer is None else f"held_out[{layer!r}]"
    n = total = squares = 0  # Python's integers: the sums are exact
    for chunk in chunks:
        if chunk.shape[1] != found.d:
            raise ValueError(f"{name} must have {found.d} features like the rows of A, got {chunk.shape[1]}")
        counts = np.count_nonzero(np.abs(chunk) <= np.float64(found.threshold), axis=1)
        n, total, squares = n + len(counts), total + int(counts.sum()), squares + int(counts @ counts)
        bar.update(len(chunk))
    if n < 2:
        raise ValueError(f"{name} must have at least two rows for a standard error, got {n}")
    variance = (n * squares - total**2) / (n * (n - 1))
    return _HeldOut(total / (n * found.d), math.sqrt(variance / n) / found.d)


def _greedy(rows, sparsity, weights, error, step, bar):
    """Dict layer -> `_Found`, and (total sparsity, error, uniform error)."""
    layers, errors = {}, {}
    for layer, chunks in rows.items():
        values = _whole(chunks)
        bar.update(len(values))
        if error is None:
            errors[layer] = _relative_error(values, weights[layer], layer)
        n_weights = weights[layer] if error is not None else weights[layer].size
        layers[layer] = _Layer(np.sort(np.abs(values), axis=None), n_weights, values.shape[1])
    error = _separable(errors) if error is None else _checked(error)
    with progress_bar("thresholds", shown=not bar.disable, unit=" steps") as steps:
        counts = _search(layers, sparsity, error, step, steps)
    found = {layer: _Found(layers[layer].threshold(counts[layer]), counts[layer] / layers[layer].n, layers[layer].d)
             for layer in layers}
    uniform = {layer: data.threshold(_rank(sparsity, data.n)) for layer, data in layers.items()}
    total = _total(layers, counts)
    return found, (total, error(_column(found, "threshold")), error(uniform))


class _Layer:
    """One layer of the greedy search: its magnitudes in order, its number of weights and of features."""

    def __init__(self, magnitudes, n_weights, d):
        self.magnitudes, self.n_weights, self.d = magnitudes, n_weights, d
        self.n = len(magnitudes)

    def threshold(self, count):
        """The smallest one that prunes at least so many entries."""
        return float(self.magnitudes[count - 1]) if count else 0.0

    def count(self, at_least):
        """How many entries that threshold prunes: ties come together."""
        return int(np.searchsorted(self.magnitudes, self.threshold(at_least), side="right"))


def _total(layers, counts):
    pruned = math.fsum(data.n_weights * counts[layer] / data.n for layer, data in layers.items())
    return pruned / sum(data.n_weights for data in layers.values())


def _search(layers, sparsity, error, step, bar):
    """Dict layer -> the number of entries to prune."""
    n_weights = sum(data.n_weights for data in layers.values())
    counts = {layer: data.count(0) for layer, data in layers.items()}
    current = error(_thresholds(layers, counts))
    while (missing := sparsity - _total(layers, counts)) > _ROUNDING:
        candidates = []
        for layer, data in layers.items():
            if counts[layer] < data.n:
                longer = min(step, missing * n_weights / data.n_weights - _ROUNDING)
                changed = counts | {layer: data.count(min(counts[layer] + max(1, _rank(longer, data.n)), data.n))}
                gain = (changed[layer] - counts[layer]) / data.n * data.n_weights
                changed_error = error(_thresholds(layers, changed))
                candidates.append(((changed_error - current) / gain, changed_error, changed))
        least = min(cost for cost, *_ in candidates)
        current, counts = next(rest for cost, *rest in candidates if cost <= least + _TIE * abs(least))
        bar.update()
    return counts


def _thresholds(layers, counts):
    return {layer: data.threshold(counts[layer]) for layer, data in layers.items()}


def _separable(errors):
    return lambda at: math.fsum(errors[layer](threshold) for layer, threshold in at.items())


def _relative_error(rows, matrix, layer):
    """A function threshold -> ||pruned(rows) W - rows W||^2 / ||rows W||^2."""
    if len(matrix) != rows.shape[1]:
        hint = "; a torch.nn.Linear keeps its transpose" if matrix.shape[1] == rows.shape[1] else ""
        raise ValueError(f"weights[{layer!r}] must have {rows.shape[1]} rows, one a feature of A[{layer!r}], got shape "
                         f"{matrix.shape}{hint}")
    # The ratio knows no scale; without one of 1 its squares might overflow.
    scale = np.abs(rows).max()
    matrix = matrix / (np.abs(matrix).max() or 1.0)
    output = np.square(rows / (scale or 1.0) @ matrix).sum()
    if output == 0:
        raise ValueError(f"weights[{layer!r}] must have an output other than zero on the rows of A[{layer!r}]")

    @functools.cache
    def error(threshold):
        dropped = np.where(np.abs(rows) <= threshold, rows, 0.0) / scale
        return float(np.square(dropped @ matrix).sum() / output)

    return error


def _checked(error):
    return lambda at: _validation.as_scalar(error(dict(at)), "error(thresholds)")
