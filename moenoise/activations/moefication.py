"""MoEfication: a feed-forward layer's neurons split into experts, of which each row uses some."""

import dataclasses
import warnings

import numpy as np

from .. import _validation
from .._blas import one_blas_thread, one_openmp_thread
from .._progress import progress_bar
from .._random import philox_key

SELECTIONS = ("ground truth", "similarity", "learned")

# Rows times neurons that are computed at once; an array of that size takes 32 MB.
BLOCK = 2**22

# Sweeps over the prices before an assignment is solved. They only save time: it is the optimum with any prices.
SWEEPS = 3

# The sum of squares has stopped falling where it falls by less than this share of what the neurons have in all.
ROUNDING = 1e-12

# Ridges that the learned selector is fitted with, in units of the inputs' mean variance; the best one stays.
RIDGES = np.logspace(-4, 1, 6)


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class MoefiedLayer:
    """A feed-forward layer whose neurons are split into experts; made by `moefy`.

    Calling it computes ``act(X W_in + b_in) W_out + b_out`` with the neurons of the chosen experts alone, the others
    set to zero. All neurons are computed before that, as the comparison with the dense layer needs: it saves no time.
    Rows are (n, d_in), answers (n, d_out); both are in double precision, unless all weights are in single precision or
    less: then arithmetic and answers are in single precision.

    Attributes
    ----------
    experts : (neurons,) array of int
        The expert of each neuron, 0 to ``n_experts - 1``.
    sizes : (n_experts,) array of int
        Each expert's neurons: all the same, or one apart.
    centres : (n_experts, d_in) array
        The mean of the input weights of each expert's neurons, each of length one.
    objective : (iterations,) array
        The sum of squared distances of these weights from their centres after each iteration, of the best start.
    starts : (n_starts,) array
        The last sum of squares of each start.
    converged : bool
        Whether the best start stopped falling within `max_iter` iterations.
    learned : bool
        Whether there is a learned selection.
    """

    experts: np.ndarray
    sizes: np.ndarray
    centres: np.ndarray
    objective: np.ndarray
    starts: np.ndarray
    converged: bool
    _weights: tuple
    _activation: object
    _selector: tuple = None

    @property
    def n_experts(self):
        return len(self.sizes)

    @property
    def learned(self):
        return self._selector is not None

    def __repr__(self):
        W_in, _, W_out, _ = self._weights
        return (f"MoefiedLayer({len(W_in)} inputs, {len(W_out)} neurons in {self.n_experts} experts, "
                f"{W_out.shape[1]} outputs)")

    def __call__(self, X, *, active, selection="ground truth"):
        """The layer's answers with some experts a row.

        Parameters
        ----------
        X : array-like (n, d_in)
        active : int, 1 to n_experts
            How many experts each row uses. All of them: the dense layer's answers.
        selection : {"ground truth", "similarity", "learned"}, default "ground truth"
            Which ones. "ground truth": those with the largest sum of positive activations, an oracle, since all neurons
            have to be computed to find them. "similarity": those whose centres have the largest cosine with the row.
            "learned": those of the largest predicted sum, where `moefy` was given inputs.

        Returns
        -------
        (n, d_out) array

        Raises
        ------
        TypeError, ValueError
            Where an argument has the wrong kind, shape or range, where there is no learned selection, and where an
            activation overflows.

        Examples
        --------
        >>> import numpy as np
        >>> import moenoise as mn
        >>> rng = np.random.default_rng(0)
        >>> layer = mn.moefy(rng.standard_normal((4, 12)), rng.standard_normal((12, 3)), 6, rng=0)
        >>> X = rng.standard_normal((5, 4))
        >>> layer(X, active=2).shape
        (5, 3)
        >>> np.allclose(layer(X, active=6), layer.dense(X))
        True
        """
        active, selection = self._as_choice(active, selection)
        _, _, W_out, b_out = self._weights
        return self._joined(X, lambda rows, neurons: self._kept(rows, neurons, active, selection) @ W_out + b_out)

    def dense(self, X):
        """(n, d_out): the answers of the dense layer to rows X (n, d_in)."""
        _, _, W_out, b_out = self._weights
        return self._joined(X, lambda rows, neurons: neurons @ W_out + b_out)

    def chosen(self, X, *, active, selection="ground truth"):
        """(n, n_experts) bool: which experts each row uses, `active` of them; arguments as of a call."""
        active, selection = self._as_choice(active, selection)
        return self._joined(X, lambda rows, neurons: self._mask(rows, neurons, active, selection))

    def relative_error(self, X, *, active, selection="ground truth"):
        """How far answers are from the dense layer's: a float, 0 where all experts are active; arguments as of a call.

        The length of the difference over that of the dense layer's answers without `b_out`, both over all rows at once.
        ValueError where the latter is 0.
        """
        active, selection = self._as_choice(active, selection)
        W_out = self._weights[2]
        scaled = with_headroom(W_out / (np.abs(W_out).max() or 1))  # of which the ratio is the same

        def left_out_and_all(rows, neurons):  # without b_out, beside which small answers would be lost
            left_out = neurons - self._kept(rows, neurons, active, selection)
            return np.concatenate([left_out @ scaled, neurons @ scaled], axis=1)

        left_out, answers = np.split(self._joined(X, left_out_and_all).astype(float), 2, axis=1)
        error = ratio_of_lengths(left_out, answers)
        if not np.isfinite(error):
            raise ValueError("X must lead to answers of the dense layer that differ from b_out: errors are relative to "
                             "this difference")
        return error

    def share_of_activation(self, X, *, active, selection="ground truth"):
        """What of the sum of positive activations lies in the chosen experts: a float, 0 to 1; arguments as of a call.

        ValueError where no activation is positive.
        """
        active, selection = self._as_choice(active, selection)

        def shares(rows, neurons):
            sums = self._sums(neurons)
            return np.stack([(sums * self._mask(rows, neurons, active, selection)).sum(axis=1), sums.sum(axis=1)], 1)

        sums = self._joined(X, shares).astype(float)
        if not sums.any():
            raise ValueError("X must lead to a positive activation: without one there is nothing to share")
        kept, total = (sums / sums.max()).sum(axis=0)
        return float(kept / total)

    def share_of_active_neurons(self, X):
        """The share of neurons with a positive activation, over all rows X (n, d_in): a float, 0 to 1."""
        return float(self._joined(X, lambda rows, neurons: (neurons > 0).mean(axis=1)).mean())

    def _as_choice(self, active, selection):
        """The two arguments that say which experts a row uses, checked."""
        active = _validation.as_integer(active, "active", low=1, high=self.n_experts)
        _validation.as_choice(selection, "selection", SELECTIONS)
        if selection == "learned" and not self.learned:
            raise ValueError("selection='learned' needs a selector: give moefy inputs, a sample of the layer's input")
        return active, selection

    def _joined(self, X, function):
        """``function(rows, activations of all neurons)`` for some rows at a time, joined."""
        X = _validation.as_array(X, "X", 2)
        W_in, b_in, W_out, _ = self._weights
        if X.shape[1] != len(W_in):
            raise ValueError(f"X must have {len(W_in)} columns, one an input of the layer, got {X.shape[1]}")
        step = max(1, BLOCK // len(W_out))
        parts = []
        for start in range(0, len(X), step):
            with np.errstate(over="ignore", invalid="ignore"):  # the next check says so
                rows = X[start:start + step].astype(W_in.dtype, copy=False)
                parts.append(function(rows, activations(rows @ W_in + b_in, self._activation)))
        answer = np.concatenate(parts)
        if not np.isfinite(answer).all():
            raise ValueError(f"X must lead to finite answers, got some beyond the range of {W_in.dtype}")
        return answer

    def _kept(self, rows, neurons, active, selection):
        """The activations, of experts that are not chosen zero."""
        if active < self.n_experts:
            mask = self._mask(rows, neurons, active, selection).astype(neurons.dtype)  # bool times float is slow
            neurons = neurons * mask[:, self.experts]
        return neurons

    def _mask(self, rows, neurons, active, selection):
        """(n, n_experts) bool: the experts of the largest scores."""
        if active == self.n_experts:
            return np.ones((len(rows), self.n_experts), dtype=bool)
        if selection == "ground truth":
            scores = self._sums(neurons)
        elif selection == "similarity":
            scores = unit_rows(rows) @ unit_rows(self.centres).T
        else:
            coef, intercept = self._selector
            scores = rows @ coef + intercept
            if not np.isfinite(scores).all():
                raise ValueError(f"X must lead to finite predictions, got some beyond the range of {scores.dtype}")
        mask = np.zeros(scores.shape, dtype=bool)
        np.put_along_axis(mask, np.argpartition(-scores, active - 1, axis=1)[:, :active], True, axis=1)
        return mask

    def _sums(self, neurons):
        """(n, n_experts): the sum of positive activations by expert, over a power of two: it does not overflow."""
        members = (self.experts[:, None] == np.arange(self.n_experts)).astype(neurons.dtype)
        return np.maximum(neurons, 0) @ with_headroom(members)


def moefy(W_in, W_out, experts, *, b_in=None, b_out=None, activation="relu", inputs=None, n_starts=4, max_iter=100,
          rng=None, progress=True):
    r"""Split the neurons of a feed-forward layer into experts, as MoEfication does (Zhang et al., 2021).

    The layer is ``act(X W_in + b_in) W_out + b_out``. Neurons whose input weights point the same way tend to be active
    together, so the columns of `W_in`, each scaled to length one, are clustered by balanced k-means: the sum of squared
    distances from their experts' means is made small, with as many neurons in each expert. Nothing is trained, and with
    all experts active the layer is what it was.

    Parameters
    ----------
    W_in : array-like (d_in, neurons)
        PyTorch's ``nn.Linear`` has the transpose: give ``linear.weight.T``, as it is. Where both are transposed by
        mistake and the layer has as many outputs as inputs, their shapes still fit each other: then only `b_in` and
        `inputs` tell, by their lengths, and in a layer with as many neurons too nothing does.
    W_out : array-like (neurons, d_out)
        As above.
    experts : int, 1 to neurons
        Each gets ``neurons / experts`` neurons, some one more where that is no integer.
    b_in : array-like (neurons,), optional
        Default: none. It plays no part in the split, as in the original, whose networks have none.
    b_out : array-like (d_out,), optional
    activation : {"relu", "gelu"} or callable, default "relu"
        A callable takes an (n, neurons) array and returns one of this shape. "gelu" is ``x Phi(x)``, without the
        approximation by tanh.
    inputs : array-like (n, d_in), optional
        Clean rows of the layer's input, from which the learned selection is fitted: ridge regression of the square
        roots of the experts' sums of positive activations on the row.
    n_starts : int >= 1, default 4
        The best is kept. Each starts from the centres of ordinary k-means.
    max_iter : int >= 1, default 100
        Iterations of each start, at most.
    rng : None, int, SeedSequence or Generator, optional
        Where the starts come from.
    progress : bool, default True
        Whether a split that takes more than a second shows a progress bar.

    Returns
    -------
    MoefiedLayer
        Call it as ``layer(X, active=20, selection="ground truth")``, with the selections "ground truth" (an oracle),
        "similarity", and with `inputs` "learned". ``layer.experts`` is each neuron's expert.

    Raises
    ------
    TypeError, ValueError
        Where an argument has the wrong kind, shape or range; the message names it.

    Warns
    -----
    sklearn.exceptions.ConvergenceWarning
        Where the best start has not converged.

    Notes
    -----
    Each iteration assigns neurons to centres by the exact optimum under the sizes (`scipy.optimize.
    linear_sum_assignment` on as many copies of each centre as it has neurons), then moves centres to means; the sum of
    squares never rises. Memory is ``8 neurons^2`` bytes, a few times.

    The original predicts the sums by a network with one hidden layer, of one tanh unit an expert. Its code compares
    rows with centres by the distance of the row, scaled to length one, from the centre; its paper, as here, by the
    cosine.

    References
    ----------
    Z. Zhang, Y. Lin, Z. Liu, P. Li, M. Sun and J. Zhou, "MoEfication: Transformer Feed-forward Layers are Mixtures of
    Experts", arXiv:2110.01786.

    Examples
    --------
    Twelve neurons that look along three directions, four along each:

    >>> import numpy as np
    >>> import moenoise as mn
    >>> rng = np.random.default_rng(0)
    >>> directions = np.repeat(np.eye(3), 4, axis=1)
    >>> W_in = directions + 0.1 * rng.standard_normal((3, 12))
    >>> layer = mn.moefy(W_in, rng.standard_normal((12, 2)), 3, rng=0)
    >>> layer
    MoefiedLayer(3 inputs, 12 neurons in 3 experts, 2 outputs)
    >>> [len(set(expert)) for expert in layer.experts.reshape(3, 4).tolist()]
    [1, 1, 1]
    >>> X = rng.standard_normal((50, 3))
    >>> layer.relative_error(X, active=2) < layer.relative_error(X, active=1)
    True
    """
    W_in, b_in, W_out, b_out, dtype = as_weights(W_in, b_in, W_out, b_out)
    experts = _validation.as_integer(experts, "experts", low=1, high=len(W_out))
    if not callable(activation) and (not isinstance(activation, str) or activation not in ACTIVATIONS):
        kind = ValueError if isinstance(activation, str) else TypeError
        raise kind(f"activation must be one of {', '.join(map(repr, ACTIVATIONS))}, or callable, got {activation!r}")
    if inputs is not None:
        inputs = _validation.as_array(inputs, "inputs", 2)
        if inputs.shape[1] != len(W_in):
            raise ValueError(f"inputs must have {len(W_in)} columns, one a row of W_in, got {inputs.shape[1]}")
        if len(inputs) < 2:
            raise ValueError("inputs must have at least 2 rows for a selector to be fitted, got 1")
    n_starts = _validation.as_integer(n_starts, "n_starts", low=1)
    max_iter = _validation.as_integer(max_iter, "max_iter", low=1)
    progress = _validation.as_flag(progress, "progress")
    activations(b_in[None].astype(dtype), activation)  # of a wrong one the user hears before the work

    split = balanced_kmeans(unit_rows(W_in.T), experts, n_starts, max_iter, philox_key(rng), progress)
    if not split.converged:
        from sklearn.exceptions import ConvergenceWarning

        warnings.warn(f"the split into experts has not converged within {max_iter} iterations: raise max_iter",
                      ConvergenceWarning, stacklevel=2)
    weights = tuple(read_only(array.astype(dtype)) for array in (W_in, b_in, W_out, b_out))
    layer = MoefiedLayer(read_only(split.labels), read_only(np.bincount(split.labels)),
                         read_only(split.centres.astype(dtype)), read_only(split.objective), read_only(split.starts),
                         split.converged, weights, activation)
    return layer if inputs is None else dataclasses.replace(layer, _selector=fit_selector(layer, inputs))


def as_weights(W_in, b_in, W_out, b_out):
    """The four in double precision, checked against each other, and the precision to compute in."""
    given = {"W_in": W_in, "b_in": b_in, "W_out": W_out, "b_out": b_out}
    W_in, W_out = _validation.as_array(W_in, "W_in", 2), _validation.as_array(W_out, "W_out", 2)
    (d_in, neurons), d_out = W_in.shape, W_out.shape[1]
    transposed = "PyTorch's nn.Linear keeps the transpose, give weight.T of both"
    if len(W_out) != neurons:
        raise ValueError(f"W_out must have one row a column of W_in, {neurons}, got shape {W_out.shape} with W_in "
                         f"{W_in.shape}; {transposed}")
    biases = []
    for value, name, length in ((b_in, "b_in", neurons), (b_out, "b_out", d_out)):
        bias = np.zeros(length) if value is None else _validation.as_array(value, name, 1)
        if len(bias) != length:
            hint = f"; {transposed}" if len(bias) in (d_in, len(W_out)) else ""
            raise ValueError(f"{name} must have {length} entries, got {len(bias)}, with W_in {W_in.shape} and W_out "
                             f"{W_out.shape}{hint}")
        biases.append(bias)
    dtypes = [np.asarray(_validation.from_torch(value, name)).dtype for name, value in given.items()
              if value is not None]
    single = all(dtype.kind == "f" and dtype.itemsize <= 4 for dtype in dtypes)
    return W_in, biases[0], W_out, biases[1], np.dtype(np.float32 if single else np.float64)


def read_only(array):
    array.flags.writeable = False
    return array


def relu(x):
    return np.maximum(x, 0)


def gelu(x):
    """``x Phi(x)``."""
    from scipy.special import ndtr

    return x * ndtr(x)


ACTIVATIONS = {"relu": relu, "gelu": gelu}


def activations(x, activation):
    """The activation, by name or as a callable, of an array (n, neurons) that may be overwritten."""
    values = np.asarray(ACTIVATIONS.get(activation, activation)(x) if isinstance(activation, str) else activation(x))
    if values.shape != x.shape or values.dtype.kind not in "fiub":
        raise ValueError(f"activation must return real numbers of its argument's shape {x.shape}, got "
                         f"{values.dtype} of shape {values.shape}")
    if not np.isfinite(values).all():
        raise ValueError("activation must be finite: its argument X W_in + b_in, or what it returns, is not")
    return values.astype(x.dtype, copy=False)


def unit_rows(rows):
    """The rows, each scaled to length one; those of zeros stay."""
    largest = np.abs(rows).max(axis=1, keepdims=True)
    rows = np.ascontiguousarray(rows / np.where(largest > 0, largest, 1))  # their squares neither overflow nor vanish
    lengths = np.linalg.norm(rows, axis=1, keepdims=True)
    return rows / np.where(lengths > 0, lengths, 1)


def with_headroom(weights):
    """(n, k) weights of at most 1, over a power of two: sums over the n that they weight do not overflow."""
    return weights * weights.dtype.type(0.5 ** len(weights).bit_length())


def ratio_of_lengths(numerator, denominator):
    """Of two arrays of any magnitude, whose squares may overflow or vanish: a float; not finite where it is none."""
    scales = [np.abs(array).max() for array in (numerator, denominator)]
    lengths = [np.linalg.norm(array / (scale or 1.0)) for array, scale in zip((numerator, denominator), scales)]
    with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
        return float(scales[0] / scales[1] * (lengths[0] / lengths[1]))


@dataclasses.dataclass(frozen=True)
class Split:
    """Points in clusters of equal size."""

    labels: np.ndarray
    centres: np.ndarray
    objective: np.ndarray
    converged: bool
    starts: np.ndarray = None


def balanced_kmeans(points, k, n_starts, max_iter, key, progress):
    """The `Split` of points (n, d) into k clusters, of the start with the least sum of squares."""
    splits = []
    with one_blas_thread():  # whose number would change the last bits, and with them the starts
        for start in progress_bar("MoEfication", shown=progress, items=range(n_starts)):
            generator = np.random.RandomState(np.random.MT19937(np.random.SeedSequence([key, start])))
            splits.append(one_start(points, first_centres(points, k, generator), max_iter))
    starts = np.array([split.objective[-1] for split in splits])
    return dataclasses.replace(splits[int(np.argmin(starts))], starts=starts)


def first_centres(points, k, generator):
    """(k, d): the centres of k-means without sizes."""
    from sklearn.cluster import KMeans
    from sklearn.exceptions import ConvergenceWarning

    with one_openmp_thread(), warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # of fewer different points than clusters
        return KMeans(k, n_init=1, random_state=generator).fit(points).cluster_centers_


def one_start(points, centres, max_iter):
    """The `Split` that alternating assignments and means come to."""
    prices, objective, tolerance = np.zeros(len(centres)), [], ROUNDING * np.sum(points**2)
    while len(objective) < max_iter:
        costs = np.sum(centres**2, axis=1) - 2 * points @ centres.T  # squared distances, up to the points' own squares
        labels, prices = balanced_assignment(costs, prices)
        centres = np.array([points[labels == i].mean(axis=0) for i in range(len(centres))])
        objective.append(np.sum((points - centres[labels]) ** 2))
        if len(objective) > 1 and objective[-2] - objective[-1] <= tolerance:
            return Split(labels, centres, np.array(objective), True)
    return Split(labels, centres, np.array(objective), False)


def balanced_assignment(costs, prices):
    """(n,) labels that minimise the sum of costs (n, k) among all with sizes one apart at most; prices for a next time.

    Every cluster has ``n / k`` places, rounded up. The last of them may go to one of the fillers, as many as there are
    places too many, that cost nothing. The optimum does not change where a cluster's costs rise by its price; but where
    prices make points prefer clusters in about the right numbers, it is found faster, ten times and more.
    """
    from scipy.optimize import linear_sum_assignment

    n, k = costs.shape
    size = -(-n // k)
    if k > 1:
        for _ in range(SWEEPS):
            prices = swept(costs, size, prices)
    fillers = np.full((k * size - n, k, size), np.inf)
    fillers[:, :, -1] = prices
    table = np.concatenate([np.repeat(costs + prices, size, axis=1), fillers.reshape(-1, k * size)])
    table -= table.min(axis=1, keepdims=True)
    return linear_sum_assignment(table)[1][:n] // size, prices


def swept(costs, size, prices):
    """Prices (k,) of which each, in turn, is set so that `size` points prefer the cluster."""
    prices = prices.copy()
    for i in range(len(prices)):
        others = costs + prices
        others[:, i] = np.inf
        margins = np.sort(others.min(axis=1) - costs[:, i])
        prices[i] = margins[-size - 1:len(margins) - size + 1].mean()
    return prices - prices.mean()


def fit_selector(layer, inputs):
    """Coefficients (d_in, n_experts) and intercepts: ridge regression of the roots of sums of positive activations.

    Roots, since their errors are of one size: on layers where few neurons are active they select better than the sums.
    """
    from sklearn.linear_model import RidgeCV

    roots = np.sqrt(layer._joined(inputs, lambda rows, neurons: layer._sums(neurons)).astype(float))
    scale = np.abs(inputs).max() or 1.0
    inputs = inputs / scale
    variance = inputs.var(axis=0).mean()
    with one_blas_thread():  # whose number would change the last bits
        ridge = RidgeCV(len(inputs) * (variance or 1.0) * RIDGES).fit(inputs, roots)
    with np.errstate(over="ignore"):  # the next check says so
        selector = [read_only(array.astype(layer.centres.dtype))
                    for array in (np.atleast_2d(ridge.coef_).T / scale, np.atleast_1d(ridge.intercept_))]
    if not all(np.isfinite(array).all() for array in selector):
        raise ValueError(f"inputs must be of a magnitude that a selector in {layer.centres.dtype} can be fitted to")
    return tuple(selector)
