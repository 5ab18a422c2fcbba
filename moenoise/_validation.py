"""The one place where a user's values are coerced and checked.

Every function takes the value and the name the user knows it by, returns the
coerced value, and raises TypeError (wrong kind) or ValueError (wrong value)
naming the argument and what was expected. Nothing here writes to its input.
"""

import math
import numbers
import os
import sys

import numpy as np

from . import _core

# OpenBLAS and LAPACKE are built with 32-bit integers.
MAX_DIMENSION = np.iinfo(np.int32).max


def as_array(value, name, ndim, *, allow_empty=False, finite=True):
    """`value` as a C-contiguous float64 array with `ndim` dimensions (an int or a tuple of ints), finite if asked for.

    Returns the value itself where it already has that form. A PyTorch tensor is read without its gradient.
    """
    dimensions = (ndim,) if isinstance(ndim, int) else tuple(ndim)
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(f"{name} must be a plain array, got a masked array: fill or drop its masked entries first")
    if hasattr(value, "toarray"):
        raise TypeError(f"{name} must be a dense array, got {type(value).__name__}: call .toarray() first")
    try:
        array = np.asarray(from_torch(value, name))
    except ValueError as error:
        raise ValueError(f"{name} must be a rectangular array of real numbers: {error}") from error
    except RuntimeError as error:  # a list of tensors that have gradients
        raise TypeError(f"{name} must hold real numbers: {error}") from error
    if array.dtype.kind not in "iufb":
        raise TypeError(f"{name} must hold real numbers, got dtype {array.dtype}")
    if array.ndim not in dimensions:
        expected = " or ".join(f"{ndim}-dimensional" for ndim in dimensions)
        raise ValueError(f"{name} must be {expected}, got shape {array.shape}")
    if array.size == 0 and not allow_empty:
        raise ValueError(f"{name} must not be empty, got shape {array.shape}")
    check_dimensions(array.shape, name)
    if not (array.dtype == np.float64 and array.flags.c_contiguous and array.flags.aligned):
        with np.errstate(over="ignore"):  # of what has more range than float64; the next check says so
            array = np.require(array, np.float64, ["C", "ALIGNED"]).reshape(array.shape)
    if finite:
        check_finite(array, name)
    return array


def from_torch(value, name):
    """`value`, a PyTorch tensor as a NumPy array without its gradient."""
    tensor = as_plain_tensor(value, name)
    return value if tensor is None else tensor_to_numpy(tensor)


def as_plain_tensor(value, name):
    """A PyTorch tensor without its gradient, on the CPU, of real numbers; None where `value` is no tensor."""
    torch = sys.modules.get("torch")  # whoever has a tensor has imported it
    if torch is None or not isinstance(value, torch.Tensor):
        return None
    if value.layout != torch.strided or value.is_nested or value.is_quantized or value.is_complex():
        kind = "nested" if value.is_nested else value.layout
        raise TypeError(f"{name} must be a dense tensor of real numbers, got {kind}, {value.dtype}")
    if value.device.type != "cpu":
        raise TypeError(f"{name} must be on the CPU, got a tensor on {value.device}: call .cpu()")
    return value.detach()


def tensor_to_numpy(tensor):
    """A plain tensor as an array that shares its memory where it can; halves, of which NumPy lacks some, in float32."""
    half = tensor.is_floating_point() and tensor.element_size() < 4
    return (tensor.float() if half else tensor).resolve_neg().numpy()


def check_dimensions(shape, name):
    """Raise ValueError where a dimension is beyond what 32-bit BLAS can index."""
    if any(length > MAX_DIMENSION for length in shape):
        raise ValueError(f"{name} must have dimensions of at most {MAX_DIMENSION} (32-bit BLAS), got {tuple(shape)}")


def check_finite(array, name):
    """Raise ValueError where an entry is NaN or infinite."""
    if not _core.all_finite(np.require(array, np.float64, ["C", "ALIGNED"])):
        raise ValueError(f"{name} must be finite, got NaN or infinity")


def as_square_symmetric(value, name):
    """A finite matrix, made exactly symmetric; asymmetry beyond rounding is an error."""
    array = as_array(value, name, 2)
    if array.shape[0] != array.shape[1]:
        raise ValueError(f"{name} must be square, got shape {array.shape}")
    half = array / 2  # halves do not overflow where a sum would
    if np.abs(half - half.T).max() > relative_tolerance(value, len(array)) * np.abs(half).max():
        raise ValueError(f"{name} must be symmetric")
    return half + half.T


def relative_tolerance(value, count):
    """How far a sum of `count` terms may be off, relative: what the value's own precision explains, at least 1e-10."""
    dtype = np.asarray(from_torch(value, "value")).dtype
    return max(1e-10, 64 * count * np.finfo(dtype).eps) if dtype.kind == "f" else 1e-10


def as_covariance(value, name):
    """A float64 matrix, exactly symmetric; whether it is positive semi-definite is for `psd_factor` to find.

    In single precision a semi-definite matrix has eigenvalues below zero by rounding; these become zero.
    """
    array = as_square_symmetric(value, name)
    tolerance = relative_tolerance(value, len(array))
    if tolerance > 1e-10:
        eigenvalues, vectors = np.linalg.eigh(array)
        if -tolerance * eigenvalues[-1] <= eigenvalues[0] < 0:
            array = (vectors * np.maximum(eigenvalues, 0)) @ vectors.T
            array = (array + array.T) / 2
    return array


def as_correlation(value, d, name):
    """A (d, d) covariance with 1 on its diagonal."""
    correlation = as_covariance(value, name)
    if len(correlation) != d:
        raise ValueError(f"{name} must be a correlation of all {d} features, got shape {correlation.shape}")
    if np.abs(np.diag(correlation) - 1).max() > relative_tolerance(value, d):
        raise ValueError(f"{name} must have 1 on its diagonal: it is a correlation, noise_variance is the variance")
    return correlation


def as_list(value, name):
    """The items of a non-empty sequence, unchecked."""
    try:
        items = list(value)
    except TypeError:
        raise TypeError(f"{name} must be a sequence, got {value!r}") from None
    if not items:
        raise ValueError(f"{name} must not be empty")
    return items


def as_scalar(value, name, *, low=-np.inf, high=np.inf, open_low=False, open_high=False):
    """A finite real number in the stated range."""
    if isinstance(value, (bool, np.bool_)) or not isinstance(value, numbers.Real):
        if not (isinstance(value, np.ndarray) and value.ndim == 0 and value.dtype.kind in "iuf"):
            raise TypeError(f"{name} must be a real number, got {value!r}")
    try:
        number = float(value)
    except OverflowError:  # an int beyond any float
        number = np.inf
    below = number <= low if open_low else number < low
    above = number >= high if open_high else number > high
    if not np.isfinite(number) or below or above:
        left, right = "(" if open_low or low == -np.inf else "[", ")" if open_high or high == np.inf else "]"
        raise ValueError(f"{name} must be a finite number in {left}{low:g}, {high:g}{right}, got {number!r}")
    return number


def as_flag(value, name):
    """A bool."""
    if not isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be True or False, got {value!r}")
    return bool(value)


def as_integer(value, name, *, low=None, high=None):
    """A Python int in the stated closed range."""
    if isinstance(value, (bool, np.bool_)):
        raise TypeError(f"{name} must be an integer, got {value!r}")
    try:
        integer = value.__index__()
    except (AttributeError, TypeError):
        raise TypeError(f"{name} must be an integer, got {value!r}") from None
    if low is not None and integer < low:
        raise ValueError(f"{name} must be at least {low}, got {integer}")
    if high is not None and integer > high:
        raise ValueError(f"{name} must be at most {high}, got {integer}")
    return integer


def as_jobs(value, name="jobs"):
    """A number of threads; None: as many as this process may use cores."""
    if value is not None:
        return as_integer(value, name, low=1)
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def as_integer_vector(value, name):
    """A one-dimensional intp array; floats are accepted only where they are whole numbers' own dtype."""
    return as_integer_array(value, name, (1,))


def as_integer_or_vector(value, name, *, low=None):
    """A (s,) intp array in the stated range, and whether the value was one integer rather than a sequence of them."""
    array = as_integer_array(value, name, (0, 1))
    if low is not None and array.min() < low:
        raise ValueError(f"{name} must be at least {low}, got {array.min()}")
    return np.atleast_1d(array), np.ndim(value) == 0


def as_integer_array(value, name, dimensions):
    """A non-empty intp array with one of these numbers of dimensions."""
    if isinstance(value, np.ma.MaskedArray):
        raise TypeError(f"{name} must be a plain array, got a masked array")
    expected = " or ".join(f"{ndim}-dimensional" for ndim in dimensions)
    try:
        array = np.asarray(from_torch(value, name))
    except ValueError as error:
        raise ValueError(f"{name} must be a {expected} array of integers: {error}") from error
    if array.ndim not in dimensions or array.size == 0:
        raise ValueError(f"{name} must be a non-empty {expected} array, got shape {array.shape}")
    if array.dtype.kind not in "iu":
        raise TypeError(f"{name} must hold integers, got dtype {array.dtype}")
    if array.dtype.kind == "u" and array.max() > np.iinfo(np.intp).max:
        raise ValueError(f"{name} holds integers too large to index with")
    check_dimensions(array.shape, name)
    return np.require(array, np.intp, ["C", "ALIGNED"])


def as_unchecked_block_sizes(value, name="block_sizes"):
    """(k,) intp, for the core to check."""
    try:
        return as_integer_vector(value, name)
    except ValueError as error:
        raise ValueError(f"{error}; it holds the number of features of each expert, in their order") from None


def as_block_sizes(value, d=None, name="block_sizes"):
    """(k,) intp, each at least 1; they sum to `d` where it is given."""
    sizes = as_unchecked_block_sizes(value, name)
    if sizes.min() < 1:
        raise ValueError(f"{name} must be at least 1 each, got {sizes.min()}")
    total = int(sizes.sum()) if sizes.max() <= MAX_DIMENSION else math.inf
    if d is not None and total != d:
        raise ValueError(f"{name} must sum to the number of features, {d}, got {total}")
    return sizes


def as_expert(value, n, k, name="expert"):
    """(n,) intp ids in 0..k-1."""
    expert = as_integer_vector(value, name)
    if len(expert) != n:
        raise ValueError(f"{name} must have one entry a row, {n}, got {len(expert)}")
    if expert.min() < 0 or expert.max() >= k:
        raise ValueError(f"{name} must hold ids in 0..{k - 1}, got {expert.min()}..{expert.max()}")
    return expert


def check_every_expert_has_rows(expert, k, name="expert"):
    """Raise ValueError naming the first expert without rows."""
    counts = np.bincount(expert, minlength=k)
    if (counts == 0).any():
        raise ValueError(f"{name} must give every expert rows: expert {int(np.argmin(counts))} has none")
    return counts


def as_sizes(value, n, name="sizes"):
    """(s,) intp, strictly increasing, in 1..n."""
    sizes = as_integer_vector(value, name)
    if sizes[0] < 1 or (np.diff(sizes) <= 0).any():
        raise ValueError(f"{name} must be increasing and at least 1")
    if sizes[-1] > n:
        raise ValueError(f"{name} must not exceed the number of rows, {n}, got {sizes[-1]}")
    return sizes


def as_probabilities(value, k, name="probabilities"):
    """(k,) float64, positive, summing to 1 (normalised beyond rounding, so twice is once). None: uniform."""
    if value is None:
        return np.full(k, 1.0 / k)
    probabilities = as_array(value, name, 1)
    if len(probabilities) != k:
        raise ValueError(f"{name} must have one entry an expert, {k}, got {len(probabilities)}")
    if probabilities.min() <= 0:
        raise ValueError(f"{name} must be positive, got {probabilities.min():g}")
    total = math.fsum(probabilities)  # exact: the bits of np.sum depend on the CPU
    if abs(total - 1) > relative_tolerance(value, k):
        raise ValueError(f"{name} must sum to 1, got {total:.12g}")
    return probabilities if abs(total - 1) <= k * np.finfo(float).eps else probabilities / total


def as_spectra(singular_values, shapes):
    """k float64 arrays of non-negative singular values, min(rows, columns) each, and k pairs (rows, columns)."""
    spectra, pairs = as_list(singular_values, "singular_values"), as_list(shapes, "shapes")
    if len(spectra) != len(pairs):
        raise ValueError(f"singular_values must have one array a block, {len(pairs)}, got {len(spectra)}")
    shapes = []
    for i, pair in enumerate(pairs):
        pair = as_list(pair, f"shapes[{i}]")
        if len(pair) != 2:
            raise ValueError(f"shapes[{i}] must be a pair (rows, columns), got {len(pair)} entries")
        shapes.append(tuple(as_integer(length, f"shapes[{i}]", low=1, high=MAX_DIMENSION) for length in pair))
    check_dimensions([sum(lengths) for lengths in zip(*shapes)], "shapes")
    named = [(f"singular_values[{i}]", spectrum) for i, spectrum in enumerate(spectra)]
    return [as_spectrum(spectrum, min(pair), name) for (name, spectrum), pair in zip(named, shapes)], shapes


def as_spectrum(value, length, name="singular_values"):
    """(length,) float64 singular values, not negative."""
    spectrum = as_array(value, name, 1)
    if len(spectrum) != length:
        raise ValueError(f"{name} must have min(rows, columns) = {length} entries, got {len(spectrum)}")
    if spectrum.min() < 0:
        raise ValueError(f"{name} must not be negative, got {spectrum.min():g}")
    return spectrum


def as_choice(value, name, choices):
    """`value`, one of `choices`."""
    if not isinstance(value, str) or value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, got {value!r}")
    return value
