"""How many rows a router needs, as printed (paper, Theorem 1 and Appendix A.7)."""

import math

import numpy as np

from .. import _validation
from ..model import check_model


def router_excess_bound(model, n, *, failure_probability=0.1, constant=1.0):
    r"""The paper's bound on the excess routing error of a QDA router fitted to n rows, but for its constant (A.7.1).

    Printed: with ``n >= C M^2 / eps^2 sum_i max(d_i, log(k / delta))`` rows the error rate is with probability
    ``1 - delta`` at most ``eps`` above the best router's. Solved for ``eps``::

        eps = sqrt(C / n) M ( sum_i max(d_i, log(k / delta)) )^(1/2),    M = max_i ||Sigma_i + sigma^2 I||_2

    C is not given; it depends on how far apart the experts are, and so on the model. A bound for the score that
    compares likelihoods of the whole vector, of known noise and equal loads: as printed the score is wrong (Theorem 1).

    Parameters
    ----------
    model : BlockModel
    n : int or array-like (s,) of int, >= 1
        Rows that the router was fitted to, in all.
    failure_probability : float in (0, 1), default 0.1
        ``delta``.
    constant : float > 0, default 1.0
        ``sqrt(C)``: fit it.

    Returns
    -------
    float, or (s,) array
        ``eps``: a difference of error rates, where the bound says anything at all below 1.

    Raises
    ------
    TypeError, ValueError
        Where an argument has the wrong kind or range.

    Examples
    --------
    >>> import moenoise as mn
    >>> model = mn.BlockModel.isotropic(32, 4, variance=2.0, rng=0)
    >>> mn.theory.router_excess_bound(model, [1000, 4000]).round(3)
    array([0.537, 0.268])
    """
    check_model(model)
    rows, single = _validation.as_integer_or_vector(n, "n", low=1)
    delta = _validation.as_scalar(failure_probability, "failure_probability", low=0, high=1, open_low=True,
                                  open_high=True)
    constant = _validation.as_scalar(constant, "constant", low=0, open_low=True)
    largest = max(np.linalg.norm(own, 2) for own in model.covariances) + model.noise_variance
    needed = np.maximum(model.block_sizes, math.log(model.k / delta)).sum()
    bounds = constant * largest * np.sqrt(needed / rows)
    return float(bounds[0]) if single else bounds
