"""The noisy block model: k experts, their features, coefficients and loads."""

import dataclasses
import functools
import math

import numpy as np
import scipy.linalg

from . import _core, _validation

_HTML_ROWS = 20


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class BlockModel:
    r"""A mixture of k linear experts on disjoint feature blocks, seen through feature noise.

    A sample belongs to expert ``z`` with probability ``p_z``. Its clean features ``x`` are zero outside block ``z``
    and ``N(0, Sigma_z)`` inside; its response is ``y = x_z' beta_z``, without noise. What is observed is ``y`` and
    ``xbar = x + e`` with ``e ~ N(0, noise_variance * I)`` on all ``d`` features (paper, Section 3).

    Parameters
    ----------
    covariances : sequence of k arrays, each (d_i, d_i)
        ``Sigma_i``, symmetric positive semi-definite: the covariance of block i's clean features given expert i.
    coefficients : sequence of k arrays, each (d_i,)
        ``beta_i``.
    probabilities : array-like (k,), optional
        ``p_i``, positive, summing to 1. Default: uniform.
    noise_variance : float, default 1.0
        ``sigma^2``: a variance (not a standard deviation), per entry of ``xbar``.

    Attributes
    ----------
    covariances, coefficients : tuple of k arrays
    probabilities : (k,) array
    noise_variance : float
        As above. All arrays are read-only copies.

    Raises
    ------
    TypeError, ValueError
        Where an argument has the wrong kind, shape or range; the message names it.

    Notes
    -----
    A model cannot be changed; ``dataclasses.replace(model, noise_variance=2.0)`` makes a changed one. Two models are
    equal where all their numbers are.

    Examples
    --------
    >>> import numpy as np
    >>> from moenoise import BlockModel
    >>> model = BlockModel([np.eye(2), [[4.0]]], [[1.0, -1.0], [0.5]], probabilities=[0.25, 0.75])
    >>> model.k, model.d, model.blocks
    (2, 3, (slice(0, 2, None), slice(2, 3, None)))
    >>> model.signal_variances
    array([2., 1.])
    """

    covariances: tuple
    coefficients: tuple
    probabilities: np.ndarray = None
    noise_variance: float = 1.0

    def __post_init__(self):
        covariances, factors = _as_covariances(_validation.as_list(self.covariances, "covariances"))
        coefficients = _as_coefficients(self.coefficients, [len(covariance) for covariance in covariances])
        probabilities = _validation.as_probabilities(self.probabilities, len(covariances))
        noise_variance = _validation.as_scalar(self.noise_variance, "noise_variance", low=0)
        self._set("covariances", covariances)
        self._set("coefficients", coefficients)
        self._set("probabilities", _read_only_copy(probabilities))
        self._set("noise_variance", noise_variance)
        self._set("_factors", factors)

    def _set(self, name, value):
        object.__setattr__(self, name, value)

    @classmethod
    def toeplitz(cls, d, k, *, decay=0.5, scale=1.0, noise_variance=1.0, coefficients=None, rng=None):
        """k equal blocks with geometrically decaying covariance, equally likely.

        Entry (a, b) of each block's covariance is ``scale * decay**|a - b|``.

        Parameters
        ----------
        d, k : int
            Number of features and of experts; k divides d.
        decay : float in [-1, 1], default 0.5
        scale : float >= 0, default 1.0
            The variance of one clean feature, given its expert.
        noise_variance : float >= 0, default 1.0
            A variance, per entry.
        coefficients : array-like (d,) or (k, d / k), optional
            Default: independent ``N(0, 1)`` draws.
        rng : None, int, SeedSequence or Generator
            Where the coefficients come from if they are drawn. The same int gives the same bits on every machine.

        Returns
        -------
        BlockModel

        Raises
        ------
        TypeError, ValueError
            Where an argument has the wrong kind, shape or range.

        Examples
        --------
        >>> from moenoise import BlockModel
        >>> BlockModel.toeplitz(4, 2, decay=0.5, coefficients=[1.0, 2.0, 3.0, 4.0]).covariances[0]
        array([[1. , 0.5],
               [0.5, 1. ]])
        """
        decay = _validation.as_scalar(decay, "decay", low=-1, high=1)
        scale = _validation.as_scalar(scale, "scale", low=0)
        size = _equal_block_size(d, k)
        # Repeated multiplication: the bits of NumPy's power depend on the CPU.
        powers = np.multiply.accumulate(np.concatenate([[1.0], np.full(size - 1, decay)]))
        return cls._equal_blocks(scipy.linalg.toeplitz(scale * powers), k, noise_variance, coefficients, rng)

    @classmethod
    def isotropic(cls, d, k, *, variance=1.0, noise_variance=1.0, coefficients=None, rng=None):
        """k equal blocks of uncorrelated features, equally likely: each covariance is ``variance * I``.

        Parameters
        ----------
        d, k : int
            Number of features and of experts; k divides d.
        variance : float >= 0, default 1.0
            The variance of one clean feature, given its expert.
        noise_variance : float >= 0, default 1.0
            A variance, per entry.
        coefficients : array-like (d,) or (k, d / k), optional
            Default: independent ``N(0, 1)`` draws.
        rng : None, int, SeedSequence or Generator
            Where the coefficients come from if they are drawn. The same int gives the same bits on every machine.

        Returns
        -------
        BlockModel

        Raises
        ------
        TypeError, ValueError
            Where an argument has the wrong kind, shape or range.

        Examples
        --------
        >>> from moenoise import BlockModel
        >>> BlockModel.isotropic(4, 2, variance=8.0, coefficients=[[1.0, 2.0], [3.0, 4.0]]).signal_variances
        array([ 40., 200.])
        """
        variance = _validation.as_scalar(variance, "variance", low=0)
        size = _equal_block_size(d, k)
        return cls._equal_blocks(np.diag(np.full(size, variance)), k, noise_variance, coefficients, rng)

    @classmethod
    def _equal_blocks(cls, covariance, k, noise_variance, coefficients, rng):
        size = len(covariance)
        if coefficients is None:
            from . import designs

            coefficients = designs.draw_coefficients(np.full(k, size), rng)
        else:
            coefficients = _validation.as_array(coefficients, "coefficients", (1, 2))
            if coefficients.shape not in ((k * size,), (k, size)):
                raise ValueError(
                    f"coefficients must have shape ({k * size},) or ({k}, {size}), got {coefficients.shape}"
                )
            coefficients = coefficients.reshape(k, size)
        return cls([covariance] * k, coefficients, None, noise_variance)

    @property
    def k(self):
        """Number of experts."""
        return len(self.covariances)

    @property
    def d(self):
        """Number of features, all blocks together."""
        return int(self.block_sizes.sum())

    @functools.cached_property
    def block_sizes(self):
        """(k,) number of features of each block."""
        return _read_only_copy(np.array([len(covariance) for covariance in self.covariances], dtype=np.intp))

    @functools.cached_property
    def blocks(self):
        """k slices into a vector of d features."""
        ends = np.cumsum(self.block_sizes).tolist()
        return tuple(slice(end - size, end) for end, size in zip(ends, self.block_sizes.tolist()))

    @functools.cached_property
    def signal_variances(self):
        """(k,) variance of the response given each expert, ``beta_i' Sigma_i beta_i``."""
        pairs = zip(self.covariances, self.coefficients)
        return _read_only_copy(np.array([beta @ covariance @ beta for covariance, beta in pairs]))

    @functools.cached_property
    def sampling_factors(self):
        """What draws need of the covariances: U and perm of each ``Sigma[perm][:, perm] = U'U``, laid out flat.

        Factored by a kernel of our own, so that the draws do not depend on LAPACK's bits.
        """
        return tuple(np.concatenate([piece.ravel() for piece in pieces]) for pieces in zip(*self._factors))

    def sample(self, n, *, rng=None, replicate=0, routing="random", noise="gaussian"):
        """Draw n samples; see `moenoise.designs.sample`, which this calls."""
        from . import designs

        return designs.sample(self, n, rng=rng, replicate=replicate, routing=routing, noise=noise)

    def __eq__(self, other):
        if not isinstance(other, BlockModel):
            return NotImplemented
        return (
            self.noise_variance == other.noise_variance
            and np.array_equal(self.block_sizes, other.block_sizes)
            and np.array_equal(self.probabilities, other.probabilities)
            and all(map(np.array_equal, self.covariances, other.covariances))
            and all(map(np.array_equal, self.coefficients, other.coefficients))
        )

    def __hash__(self):
        return hash((self.noise_variance, *self.block_sizes.tolist(), *self.probabilities.tolist()))

    def __reduce__(self):
        # Through the constructor: NumPy's own pickles forget that an array is read-only.
        return type(self), (self.covariances, self.coefficients, self.probabilities, self.noise_variance)

    def __repr__(self):
        return (
            f"BlockModel(k={self.k}, d={self.d}, block_sizes={_summary(self.block_sizes)}, "
            f"probabilities={_summary(self.probabilities)}, noise_variance={self.noise_variance:g})"
        )

    def _repr_html_(self):
        columns = zip(self.block_sizes, self.probabilities, self.signal_variances)
        rows = [
            f"<tr><td>{i}</td><td>{size}</td><td>{probability:.4g}</td><td>{signal:.4g}</td></tr>"
            for i, (size, probability, signal) in zip(range(_HTML_ROWS), columns)
        ]
        if self.k > _HTML_ROWS:
            rows.append(f'<tr><td colspan="4">and {self.k - _HTML_ROWS} more</td></tr>')
        return (
            f"<table><caption>BlockModel: {self.k} experts, {self.d} features, "
            f"noise variance {self.noise_variance:g} per entry</caption>"
            "<thead><tr><th>expert</th><th>features</th><th>probability</th><th>signal variance</th></tr></thead>"
            f"<tbody>{''.join(rows)}</tbody></table>"
        )


def check_model(value):
    """Raise TypeError where it is not a BlockModel."""
    if not isinstance(value, BlockModel):
        hint = "; it is its attribute .model" if isinstance(getattr(value, "model", None), BlockModel) else ""
        raise TypeError(f"model must be a BlockModel, got {type(value).__name__}{hint}")


def _as_covariances(values):
    """Read-only copies and their (factor, permutation) pairs, both tuples; what is given twice is factored once."""
    done = {}
    for i, value in enumerate(values):
        if id(value) not in done:
            covariance = _read_only_copy(_validation.as_covariance(value, f"covariances[{i}]"))
            try:
                done[id(value)] = covariance, _core.psd_factor(covariance)[:2]
            except ValueError as error:
                raise ValueError(f"covariances[{i}] must be positive semi-definite") from error
    return tuple(zip(*(done[id(value)] for value in values)))


def _as_coefficients(value, block_sizes):
    """A tuple of read-only copies, one vector of the stated length a block."""
    vectors = _validation.as_list(value, "coefficients")
    if len(vectors) != len(block_sizes):
        raise ValueError(f"coefficients must have one vector an expert, {len(block_sizes)}, got {len(vectors)}")
    coefficients = []
    for i, (vector, size) in enumerate(zip(vectors, block_sizes)):
        vector = _validation.as_array(vector, f"coefficients[{i}]", 1)
        if len(vector) != size:
            raise ValueError(f"coefficients[{i}] must have length {size} like covariances[{i}], got {len(vector)}")
        coefficients.append(_read_only_copy(vector))
    return tuple(coefficients)


def _equal_block_size(d, k):
    """d / k, checked."""
    k = _validation.as_integer(k, "k", low=1)
    d = _validation.as_integer(d, "d", low=1, high=_validation.MAX_DIMENSION)
    if d % k:
        raise ValueError(f"k must divide d, got d={d}, k={k}")
    return d // k


def _read_only_copy(array):
    copy = array.copy()
    copy.flags.writeable = False
    return copy


def _summary(values):
    """Equal values once, a few in full, many in part."""
    if len(values) > 1 and (values == values[0]).all():
        return f"{values[0]:g} each"
    return np.array2string(values, precision=4, separator=", ", threshold=8, edgeitems=3, max_line_width=math.inf)
