"""Laws of feature noise beside the Gaussian, all with mean 0 and variance 1 an entry.

Each is made of the Gaussian noise z of the same seed, so that draws by two laws differ in the law only, and by
multiplications, divisions and square roots only, whose bits are the same on every machine:

* Laplace, excess kurtosis 3: ``z sqrt((g_1^2 + g_2^2) / 2)``, for an exponential variance makes a normal Laplace
  (Andrews and Mallows, 1974);
* Student t with 5 degrees of freedom, scaled to variance 1, excess kurtosis 6:
  ``z sqrt(3 / (g_1^2 + ... + g_5^2))``;
* Rademacher, excess kurtosis -2: the sign of z;
* Gaussian of correlation matrix R: ``R^(1/2) z``, row by row.

The g are standard normals from a stream of their own.
"""

import numpy as np

from . import _core, _validation
from ._random import Stream

NAMES = ("gaussian", "laplace", "student-t", "rademacher")

EXCESS_KURTOSIS = {"gaussian": 0.0, "laplace": 3.0, "student-t": 6.0, "rademacher": -2.0}

_PANEL = 1 << 14  # entries made at a time: what is drawn beside them stays in the cache


def as_law(value, d, name="noise"):
    """One of `NAMES`, or a (d, d) correlation matrix and its factors, as `draw` wants it."""
    if isinstance(value, str):
        return _validation.as_choice(value, name, NAMES)
    correlation = _validation.as_correlation(value, d, name)
    try:
        return _core.psd_factor(correlation)[:2]
    except ValueError as error:
        raise ValueError(f"{name} must be positive semi-definite") from error


def draw(law, key, replicate, n, d):
    """(n, d) noise of variance 1 by a law of `as_law`; a longer draw begins with the shorter one."""
    if isinstance(law, tuple):
        return _correlated(law, key, replicate, n, d)
    noise = _core.standard_normal(key, Stream.NOISE, replicate, 0, n * d)
    if law == "rademacher":
        np.copysign(1.0, noise, out=noise)
    elif law != "gaussian":
        for begin in range(0, n * d, _PANEL):
            panel = noise[begin : begin + _PANEL]
            if law == "laplace":
                panel *= np.sqrt(_chi_square(2, key, replicate, begin, len(panel)) / 2)
            else:
                panel *= np.sqrt(3 / _chi_square(5, key, replicate, begin, len(panel)))
    return noise.reshape(n, d)


def _chi_square(freedom, key, replicate, first, count):
    """(count,) chi-square variates, those of the entries `first` and after."""
    normals = _core.standard_normal(key, Stream.NOISE_SCALES, replicate, freedom * first, freedom * count)
    normals = normals.reshape(count, freedom)
    total = normals[:, 0] ** 2
    for column in range(1, freedom):  # in this order: the order of NumPy's sums depends on the CPU
        total += normals[:, column] ** 2
    return total


def _correlated(factors, key, replicate, n, d):
    """(n, d) rows with the correlation of these factors: the features of a design of one block, without noise."""
    factor, permutation = factors
    one_block, no_coefficients = np.zeros(n, dtype=np.intp), np.zeros(d)
    features, _ = _core.block_design(
        key, replicate, Stream.NOISE, Stream.NOISE_SCALES, 0, one_block, np.array([d], dtype=np.intp), factor.ravel(),
        permutation, no_coefficients, 0.0,
    )  # fmt: skip
    return features
