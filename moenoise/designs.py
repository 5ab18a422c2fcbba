"""Random draws: samples of a model, designs of a given spectrum, and the generator itself.

Every entry is a function of (seed, replicate, stream, index) alone: the same bits
on every machine, in any order, in one piece or in many.
"""

import math
from typing import NamedTuple

import numpy as np

from . import _core, _noise_laws, _validation
from ._random import Stream, philox_key

_MAX_STREAM = int(min(Stream)) - 1
_MAX_REPLICATE = 2**32 - 1
_MAX_DRAWS = 2**48  # far beyond any memory


class Sample(NamedTuple):
    """A sample of a `BlockModel`: what is observed, and which expert each row belongs to."""

    features: np.ndarray
    """(n, d) noisy features."""
    response: np.ndarray
    """(n,) exact response."""
    expert: np.ndarray
    """(n,) expert of each row."""


class SpectralDesign(NamedTuple):
    """A fixed block-diagonal design without and with noise."""

    clean: np.ndarray
    """(n, d), zero outside the blocks."""
    noisy: np.ndarray
    """(n, d), the clean design plus noise on every entry."""


def standard_normal(shape, *, rng=None, stream=0):
    """Independent standard normals from the package's own generator.

    Philox4x32-10 bits (Salmon et al., 2011) and the Box-Muller transform, in IEEE arithmetic that gives the same
    bits on every CPU. Entry i, counted in C order, depends on the seed, the stream and i alone, so a longer draw
    begins with the shorter one.

    Parameters
    ----------
    shape : int or tuple of int
    rng : None, int, SeedSequence or Generator, optional
        The seed. A Generator is advanced; the others give the same draw every time, except None: fresh entropy.
    stream : int, optional
        Draws of different streams are independent; from 0 to 0xEFFFFFFF (the package's own draws are above).

    Returns
    -------
    (shape) float64 array

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.

    Examples
    --------
    >>> import moenoise as mn
    >>> mn.standard_normal(3, rng=1).round(4).tolist() == mn.standard_normal((2, 3), rng=1)[0].round(4).tolist()
    True
    """
    lengths = (shape,) if not isinstance(shape, (tuple, list)) else shape
    lengths = tuple(_validation.as_integer(length, "shape", low=0) for length in lengths)
    _validation.as_integer(math.prod(lengths), "shape: the number of draws", high=_MAX_DRAWS)
    stream = _validation.as_integer(stream, "stream", low=0, high=_MAX_STREAM)
    return _core.standard_normal(philox_key(rng), stream, 0, 0, math.prod(lengths)).reshape(lengths)


def draw_coefficients(block_sizes, rng):
    """k arrays (d_i,) of independent N(0, 1) coefficients."""
    ends = np.cumsum(block_sizes)
    draws = _core.standard_normal(philox_key(rng), Stream.COEFFICIENTS, 0, 0, int(ends[-1]))
    return np.split(draws, ends[:-1])


def sample(model, n, *, rng=None, replicate=0, routing="random", noise="gaussian"):
    """Draw n samples of a `BlockModel`.

    Row r belongs to expert z; its clean features are ``x_z ~ N(0, Sigma_z)`` on block z and zero elsewhere, its
    response is ``x_z' beta_z``, and all d features are observed with noise ``N(0, noise_variance)`` (paper,
    Section 3.2) or of another law. A larger n extends the sample: the first rows stay the same.

    Parameters
    ----------
    model : BlockModel
    n : int
        Number of rows, at least 1.
    rng : None, int, SeedSequence or Generator, optional
        The seed; see `standard_normal`.
    replicate : int, optional
        Which of the seed's independent samples, from 0 to 2**32 - 1.
    routing : {"random", "balanced"}, optional
        "random": experts are drawn with the model's probabilities. "balanced": experts take turns so that among
        the first m rows, for every m, each has within one row of m p_i (Tijdeman, 1980).
    noise : {"gaussian", "laplace", "student-t", "rademacher"} or array-like (d, d), optional
        The law of the noise, which has mean 0 and the model's `noise_variance` an entry whatever the law: normal,
        Laplace (excess kurtosis 3), Student's t with 5 degrees of freedom (6), or one of two values, minus or plus the
        standard deviation (-2), each independent over entries; or normal and, over the features of a row, of this
        correlation matrix. Experts, clean features and response are those of the same seed with Gaussian noise, bit
        by bit. All bits are the same on every machine.

    Returns
    -------
    Sample
        ``.features`` (n, d) in C order, ``.response`` (n,), ``.expert`` (n,).

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.

    Examples
    --------
    >>> import moenoise as mn
    >>> model = mn.BlockModel.toeplitz(6, 3, rng=0)
    >>> s = model.sample(4, rng=1, routing="balanced")
    >>> s.features.shape, s.expert.tolist()
    ((4, 6), [0, 1, 2, 0])

    Noise of another law on the same rows; block 0 is without signal in row 1:

    >>> model.sample(4, rng=1, routing="balanced", noise="rademacher").features[1, :2].tolist()
    [-1.0, -1.0]
    """
    n = _validation.as_integer(n, "n", low=1, high=_validation.MAX_DIMENSION)
    replicate = _validation.as_integer(replicate, "replicate", low=0, high=_MAX_REPLICATE)
    _validation.as_choice(routing, "routing", ("random", "balanced"))
    law = _noise_laws.as_law(noise, model.d)
    key = philox_key(rng)
    expert = _draw_experts(model, n, key, replicate) if routing == "random" else balanced_experts(model, n)
    factors, permutations = model.sampling_factors
    deviation = math.sqrt(model.noise_variance)
    features, response = _core.block_design(
        key, replicate, Stream.FEATURES, Stream.NOISE, 0, expert, model.block_sizes, factors, permutations,
        np.concatenate(model.coefficients), deviation if law == "gaussian" else 0.0,
    )  # fmt: skip
    if law != "gaussian" and deviation > 0:
        features += deviation * _noise_laws.draw(law, key, replicate, n, model.d)
    return Sample(features, response, expert)


def balanced_experts(model, n):
    """(n,) experts such that every prefix of m rows has within one row of ``m p_i`` of each expert i.

    Raises nothing for a valid model and n >= 1.

    Examples
    --------
    >>> import moenoise as mn
    >>> from moenoise.designs import balanced_experts
    >>> balanced_experts(mn.BlockModel.isotropic(2, 2, rng=0), 5).tolist()
    [0, 1, 0, 1, 0]
    """
    return _core.balanced_assignment(model.probabilities, n)


def balanced_counts(model, sizes):
    """(s, k): each expert's rows among the first n of `balanced_experts`, for the numbers n of rows in sizes (s,).

    Examples
    --------
    >>> import moenoise as mn
    >>> from moenoise.designs import balanced_counts
    >>> balanced_counts(mn.BlockModel.isotropic(2, 2, rng=0), [4, 5]).tolist()
    [[2, 2], [3, 2]]
    """
    expert = balanced_experts(model, int(np.max(sizes)))
    return np.array([np.bincount(expert[:n], minlength=model.k) for n in sizes])


def _draw_experts(model, n, key, replicate):
    """(n,) independent experts with the model's probabilities, by inversion."""
    uniforms = _core.uniform(key, Stream.ROUTING, replicate, 0, n)
    return np.searchsorted(np.cumsum(model.probabilities)[:-1], uniforms, side="right")


def spectral_design(singular_values, shapes, *, noise_variance, rng=None):
    """A fixed block-diagonal design with given singular values, without and with noise.

    Block i is ``U diag(singular_values[i]) V'`` with uniformly distributed (Haar) singular vectors; the noise is
    independent on all entries of the whole matrix, with variance ``noise_variance / n`` each, ``n = sum n_i``
    (Theorem 5's setting, in the normalisation of its proof).

    Parameters
    ----------
    singular_values : sequence of k arrays (min(n_i, d_i),)
        Not negative, in any order.
    shapes : sequence of k pairs (n_i, d_i)
    noise_variance : float
        n times the variance of one noise entry; not negative.
    rng : None, int, SeedSequence or Generator, optional
        The seed; see `standard_normal`.

    Returns
    -------
    SpectralDesign
        ``(clean, noisy)``, both (sum n_i, sum d_i).

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.

    Examples
    --------
    >>> import moenoise as mn
    >>> clean, noisy = mn.spectral_design([[3.0, 4.0], [5.0]], [(2, 4), (1, 2)], noise_variance=1.0, rng=0)
    >>> clean.shape, noisy.shape
    ((3, 6), (3, 6))
    >>> import numpy as np
    >>> np.linalg.svd(clean[:2, :4], compute_uv=False).round(6).tolist()
    [4.0, 3.0]
    """
    values, shapes = _validation.as_spectra(singular_values, shapes)
    noise_variance = _validation.as_scalar(noise_variance, "noise_variance", low=0)
    key = philox_key(rng)
    clean = np.zeros(np.sum(shapes, axis=0))
    row = column = 0
    for i, (spectrum, (rows, columns)) in enumerate(zip(values, shapes)):
        clean[row : row + rows, column : column + columns] = _core.spectral_block(
            key, i, Stream.LEFT_VECTORS, Stream.RIGHT_VECTORS, spectrum, rows, columns
        )
        row, column = row + rows, column + columns
    noise = _core.standard_normal(key, Stream.NOISE, 0, 0, clean.size).reshape(clean.shape)
    return SpectralDesign(clean, clean + math.sqrt(noise_variance / len(clean)) * noise)
