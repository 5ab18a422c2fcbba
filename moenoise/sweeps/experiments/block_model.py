"""The block model of a cell, and its parameters."""

import functools
import math

import numpy as np

from ...model import BlockModel
from .parameters import NOT_NEGATIVE, POSITIVE, REQUIRED, Parameter, complete, integer, number

SHAPE = {
    "d": Parameter(REQUIRED, "features, in k equal blocks", integer(1)),
    "k": Parameter(REQUIRED, "experts; k divides d", integer(1)),
}
NOISE_VARIANCE = Parameter(1.0, "of the features' noise: a variance, per entry", NOT_NEGATIVE)
SOME_NOISE = Parameter(1.0, "of the features' noise: a variance, per entry, not 0", POSITIVE)
SIGNAL = {
    "signal_variance": Parameter(1.0, "of one clean feature, given its expert: a variance", POSITIVE),
    "decay": Parameter(0.0, "correlation of neighbouring clean features in a block, decay^|a - b| of others",
                       number(low=-1, high=1)),
}
MODEL_SEED = Parameter(0, "of the model's coefficients, the same in all replicates", integer(0))

PARAMETERS = {**SHAPE, "noise_variance": NOISE_VARIANCE, **SIGNAL, "model_seed": MODEL_SEED}


def model_of(cell):
    r"""The `BlockModel` of a cell: a function of the cell alone, so that theory is that of the model simulated.

    k equal blocks, equally likely, of features with covariance ``signal_variance * decay^|a - b|``. Coefficients are
    independent N(0, 1) draws from the seed `model_seed`, divided by one number so that the response's variance,
    ``sum_i p_i beta_i' Sigma_i beta_i``, is 1: a risk is then a share of it, 0 for a perfect predictor and 1 for one
    that has learnt nothing.

    Parameters
    ----------
    cell : dict
        With ``d`` and ``k`` (int; k divides d) and, where other than their defaults, ``noise_variance`` (>= 0, default
        1.0), ``signal_variance`` (> 0, default 1.0), both variances per entry, ``decay`` (in [-1, 1], default 0.0) and
        ``model_seed`` (int >= 0, default 0). What else a cell holds is ignored.

    Returns
    -------
    BlockModel

    Raises
    ------
    TypeError, ValueError
        Where a parameter is missing or not as described; the message names it.

    Examples
    --------
    >>> from moenoise.sweeps.experiments import model_of
    >>> model = model_of({"d": 12, "k": 3, "noise_variance": 0.5, "n": 100})
    >>> model
    BlockModel(k=3, d=12, block_sizes=4 each, probabilities=0.333333 each, noise_variance=0.5)
    >>> round(model.probabilities @ model.signal_variances, 12)
    np.float64(1.0)
    """
    return _model(**complete({name: cell[name] for name in PARAMETERS if name in cell}, PARAMETERS))


# A cell has many replicates; models can be large, so few are kept.
@functools.lru_cache(maxsize=16)
def _model(d, k, noise_variance, signal_variance, decay, model_seed):
    shape = {"decay": decay, "scale": signal_variance, "noise_variance": noise_variance}
    drawn = BlockModel.toeplitz(d, k, rng=model_seed, **shape)
    variance = _response_variance(drawn)
    if not 0 < variance < math.inf:
        raise ValueError(f"signal_variance must leave the response a variance within floating point, got "
                         f"{signal_variance:g}")
    return BlockModel.toeplitz(d, k, coefficients=np.concatenate(drawn.coefficients) / math.sqrt(variance), **shape)


def _response_variance(model):
    """``sum_i p_i beta_i' Sigma_i beta_i``, rounded once: no bit of the model depends on BLAS."""
    blocks = zip(model.probabilities, model.coefficients, model.covariances)
    with np.errstate(over="ignore", invalid="ignore"):
        terms = [(p * beta[:, None] * covariance * beta).ravel() for p, beta, covariance in blocks]
    try:
        return math.fsum(np.concatenate(terms))
    except (OverflowError, ValueError):  # a sum beyond floating point; infinity less infinity
        return math.inf
