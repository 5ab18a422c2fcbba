"""A dense and k experts' fits to drawn rows of a cell's model: what is fitted, and what is known of it beforehand."""

import functools
from typing import NamedTuple

import numpy as np

from ... import linear, theory
from ...model import BlockModel
from . import block_model
from .block_model import model_of
from .parameters import NOT_NEGATIVE, ROWS, Parameter, choice, optional

ROUTING = Parameter("balanced", "of training rows: 'balanced', or 'random' with the experts' probabilities",
                    choice("balanced", "random"))


def _as_penalty(value, name):
    if isinstance(value, str) and value != "best":
        raise ValueError(f"{name} must be a number or 'best', got {value!r}")
    return value if isinstance(value, str) else NOT_NEGATIVE(value, name)


PARAMETERS = {
    "n": ROWS,
    **block_model.PARAMETERS,
    "routing": ROUTING,
    "penalty": Parameter(0.0, "r of dense's ridge fit (X'X / n + r I)^-1 X'y / n, or 'best'", _as_penalty),
    "test_noise_variance": Parameter(None, "of new rows: a variance, per entry; None: that of training",
                                     optional(NOT_NEGATIVE)),
}

RESULTS = {
    "dense": "exact risk of the dense fit, over the response's variance",
    "experts": "exact risk of the experts' fits, over the response's variance",
    "lead": "dense - experts: positive where the experts win",
}


class Fits(NamedTuple):
    """Coefficients, and the model of the rows that they are tested on."""

    tested: BlockModel
    dense: np.ndarray  # (d,)
    experts: np.ndarray  # (d,) side by side; zeros for an expert without rows


class ExpectedExperts(NamedTuple):
    """What theory knows of the experts' fits on rows in balance, under the test noise."""

    risks: np.ndarray  # (k,) on rows of their own
    output_noise: np.ndarray  # (k,) test noise variance times E ||bhat_i||^2


def fit(cell, rng):
    """The `Fits` to n drawn rows of a complete cell."""
    model, n = model_of(cell), cell["n"]
    sample = model.sample(n, rng=rng, routing=cell["routing"])
    dense = _dense_fit(sample.features, sample.response, penalty_of(cell))
    # The curve's only point: unlike block_lstsq it has zeros for experts that no row was routed to.
    (experts,) = linear.block_learning_curve(sample.features, sample.response, sample.expert, model.block_sizes, [n])
    return Fits(model_of({**cell, "noise_variance": tested_noise(cell)}), dense, experts)


def _dense_fit(X, y, penalty):
    if penalty == 0:
        return linear.lstsq(X, y).coef
    from ..._ridge import ridge  # brings scikit-learn

    return ridge(X, y, penalty).coef


def risks(dense, experts):
    """`RESULTS` of two risks."""
    return {"dense": float(dense), "experts": float(experts), "lead": float(dense - experts)}


def expected_dense(cell):
    """Dense's expected risk in a complete cell."""
    return theory.dense_risk(model_of(cell), cell["n"], penalty=penalty_of(cell),
                             test_noise_variance=tested_noise(cell))


def expected_experts(cell):
    """The `ExpectedExperts` of a complete cell, infinite or NaN where a mean is; None where routing is random.

    Random counts of rows leave no mean: some are among those where it is infinite. Without training noise the
    coefficients' norm is not known, and nothing under a test noise.
    """
    model, noise = model_of(cell), tested_noise(cell)
    if cell["routing"] == "random" or model.noise_variance == 0 < noise:
        return None
    counts = balanced_counts(cell["n"], cell["k"])
    if model.noise_variance == 0:
        return ExpectedExperts(theory.expert_risk(model, counts), np.zeros(model.k))
    bias, variance = theory.expert_bias_variance(model, counts)
    output_noise = noise / model.noise_variance * variance
    return ExpectedExperts(bias + output_noise, output_noise)


def balanced_counts(n, k):
    """(k,) rows of each of k equally likely experts among n in balance; those of `designs.balanced_counts`, at once."""
    return n // k + (np.arange(k) < n % k)


def tested_noise(cell):
    """The noise variance of the rows that a complete cell's fits are tested on."""
    noise = cell["test_noise_variance"]
    return cell["noise_variance"] if noise is None else noise


def penalty_of(cell):
    """The dense fit's penalty in a complete cell."""
    if cell["penalty"] != "best":
        return cell["penalty"]
    return _best_penalty(cell["n"], **{name: cell[name] for name in block_model.PARAMETERS})


# It takes as long as a replicate, and is the same in all of them.
@functools.lru_cache(maxsize=4096)
def _best_penalty(n, **model):
    return theory.best_penalty(model_of(model), n)
