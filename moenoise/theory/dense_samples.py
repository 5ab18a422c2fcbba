"""Risk of the dense least-squares fit on finitely many rows (beyond the paper's Section 4.5)."""

import math

import numpy as np

from .. import _validation
from ._fixed_point import GramEquivalent, ridge_risk
from ._spectrum import bayes_weights, spectrum
from .expert_samples import underdetermined_excess

_LEAST_PENALTY = 1e-20  # over the features' mean variance: at n = d, less leaves the equations no digits


def dense_risk(model, n, *, penalty=0.0, test_noise_variance=None):
    r"""Expected risk of the dense minimum-norm least-squares fit on n rows: a high-dimensional equivalent.

    With ``C_i`` the covariance of all noisy features given expert i and ``Cbar = blockdiag(p_i Sigma_i + sigma^2 I)``
    their average, the equivalent of the ridge fit ``(X'X / n + r I)^-1 X'y / n`` solves::

        q_i = p_i / (1 + t_i),   t_i = tr(C_i Q) / n,   Q = (sum_i q_i C_i + r I + h Cbar)^-1

    The mean fit ``b`` has blocks ``q_a Q_a Sigma_a beta_a`` at ``h = 0``, and with its risk in each class,
    ``R_i = (beta_i - b_i)' Sigma_i (beta_i - b_i) + sigma^2 ||b||^2``::

        E risk ~ sum_i (p_i + dq_i/dh) R_i        at h = 0

    New rows with noise of another variance v add ``(v - sigma^2) E ||bhat||^2``, where::

        E ||bhat||^2 ~ ||b||^2 + sum_i dq_i/dg R_i     at g = 0,   g I in the place of h Cbar

    The fit without penalty is the limit r -> 0, in which q and 1/Q shrink like r if n < d. The relative error of the
    excess risk is of order 1/d (1 % at d = 100) and 1/|n - d|: within some rows of n = d the mean is well above this.

    Parameters
    ----------
    model : BlockModel
    n : int or array-like (s,) of int, >= 0
        Rows, routed at random; 0 gives the risk of zero coefficients.
    penalty : float >= 0 or array-like (s,), default 0.0
        r, for all n or for each; `best_penalty` is the best one.
    test_noise_variance : float >= 0, optional
        v, a variance per entry. Default: the model's noise variance, that of the training rows.

    Returns
    -------
    float, or (s,) array
        Without penalty inf at ``n`` in ``{d - 1, d, d + 1}``, where the mean is infinite, unless there is nothing to
        learn. Without feature noise too the blocks separate: the experts' risks at ``n p_i`` rows each.

    Raises
    ------
    TypeError, ValueError
        Where an argument has the wrong kind or range; where a penalty is not 0, and less than 1e-20 times the features'
        mean variance; where new rows have noise, and the training rows neither noise nor a penalty; where the model's variances are too far apart for floating point (1e100 times is not too far).

    Examples
    --------
    >>> import moenoise as mn
    >>> model = mn.BlockModel.isotropic(60, 3, coefficients=[0.5] * 60)
    >>> mn.theory.dense_risk(model, [0, 30, 60, 600]).round(3)
    array([5.   , 8.125,   inf, 4.167])
    >>> mn.theory.generalization(model).dense
    3.75
    >>> round(mn.theory.dense_risk(model, 600, test_noise_variance=3.0), 3)
    6.667
    """
    basis = spectrum(model)
    rows, single = _validation.as_integer_or_vector(n, "n", low=0)
    penalties = _as_penalties(penalty, () if single else rows.shape)
    least = _LEAST_PENALTY * mean_variance(basis, model.noise_variance)
    if ((penalties > 0) & (penalties < least)).any():
        raise ValueError(f"penalty must be 0 or at least {_LEAST_PENALTY:g} times the features' mean variance, "
                         f"{least:.3g}, got {penalties[penalties > 0].min():.3g}")
    added = _added_noise(model, test_noise_variance, penalties)
    pairs = zip(rows.tolist(), np.broadcast_to(penalties, rows.shape).tolist())
    risks = np.array([penalised_risk(basis, model, *pair, added) for pair in pairs])
    return float(risks[0]) if single else risks


def dense_excess_slope(model, *, routing="random"):
    r"""First order of the dense fit's excess risk: the limit of ``n (E risk - R_dense)`` as n grows.

    ::

        random  :  sum_i p_i [ (g_i' C_i g_i + s_i) tr(Cbar^-1 C_i) + 2 g_i' C_i Cbar^-1 C_i g_i ]
        balanced:  the same - sum_i p_i g_i' C_i Cbar^-1 C_i g_i

    with ``C_i`` the (d, d) covariance of the noisy features given expert i, ``Cbar`` their average, ``g_i`` expert i's
    Bayes coefficients (zero outside its block) minus the dense ones, ``s_i`` expert i's Bayes risk. Exact. It is
    ``tr(Cbar^-1 V)``, V the variance of ``x (y - x'D)`` of a row, D the dense Bayes coefficients. Where each expert's
    share of the rows is fixed, the scatter of the experts' means ``C_i g_i`` is no part of it.

    Parameters
    ----------
    model : BlockModel
    routing : "random" or "balanced", default "random"
        Whether rows are routed at random, or expert i has ``n p_i`` of them, but for one more or less.

    Returns
    -------
    float
        0 without feature noise.

    Raises
    ------
    TypeError, ValueError
        Where model is not a BlockModel, or routing is unknown.

    Examples
    --------
    >>> import moenoise as mn
    >>> model = mn.BlockModel.isotropic(2, 2, coefficients=[3.0, 6.0])
    >>> [round(mn.theory.dense_excess_slope(model, routing=routing), 4) for routing in ("random", "balanced")]
    [36.6667, 33.3333]
    """
    basis = spectrum(model)
    _validation.as_choice(routing, "routing", ("random", "balanced"))
    noise = model.noise_variance
    if noise == 0:
        return 0.0
    dense, sparse = bayes_weights(basis, noise)
    # In the eigenbases every matrix is diagonal: C_i is `noise` outside block i and `own` inside.
    own = basis.eigenvalues + noise
    average = basis.probability * basis.eigenvalues + noise
    gap = sparse - dense

    def inside_and_outside(inside, outside):
        return basis.block_sums(inside) + outside.sum() - basis.block_sums(outside)

    bayes_risk = noise * basis.block_sums(basis.beta * sparse)
    spread = inside_and_outside(own * gap**2, noise * dense**2)
    trace = inside_and_outside(own / average, noise / average)
    curvature = inside_and_outside(own * (own / average) * gap**2, noise * (noise / average) * dense**2)
    return float(model.probabilities @ ((spread + bayes_risk) * trace + (2 if routing == "random" else 1) * curvature))


def _as_penalties(value, shape):
    """One penalty, or one for each n: an array of the shape that n has."""
    penalties = _validation.as_array(value, "penalty", (0, 1))
    if np.asarray(value).dtype.kind == "b":
        raise TypeError(f"penalty must hold real numbers, got {value!r}")
    if penalties.ndim and penalties.shape != shape:
        raise ValueError(f"penalty must be one number, or one for each n, {shape}, got shape {penalties.shape}")
    if penalties.min() < 0:
        raise ValueError(f"penalty must be non-negative, got {penalties.min():g}")
    return penalties


def _added_noise(model, test_noise_variance, penalties):
    """What the noise of new rows has above that of the training rows: a variance, perhaps negative."""
    if test_noise_variance is None:
        return 0.0
    added = _validation.as_scalar(test_noise_variance, "test_noise_variance", low=0) - model.noise_variance
    if added and model.noise_variance == 0 == penalties.min():
        raise ValueError("test_noise_variance must be that of the training rows where these have neither noise nor a "
                         f"penalty, got {test_noise_variance:g}")
    return added


def penalised_risk(basis, model, n, penalty, added_noise=0.0):
    """`dense_risk` for one n, of a model whose `Spectrum` is at hand."""
    if n == 0:
        return model.probabilities @ model.signal_variances
    if not basis.has_signal():
        return 0.0  # and so is every fit
    d = model.d
    if penalty == 0:
        if model.noise_variance == 0:
            return _noiseless_risk(basis, model, n)
        if abs(n - d) <= 1:
            return math.inf
    wide = penalty == 0 and n < d
    unit = mean_variance(basis, model.noise_variance)  # of features: a risk is a multiple of it
    equivalent = GramEquivalent(
        basis._replace(eigenvalues=basis.eigenvalues / unit), model.probabilities, model.noise_variance / unit, n,
        unit=0.0 if wide else 1.0, ridge=1.0 if wide else penalty / unit,
    )
    try:
        with np.errstate(over="raise", invalid="raise"):
            return unit * ridge_risk(equivalent, added_noise / unit)
    except (ArithmeticError, np.linalg.LinAlgError):
        raise ValueError("model must have covariances and a noise_variance that differ less in size: the equations of "
                         "the equivalent cannot be solved in floating point") from None


def mean_variance(basis, noise_variance):
    """Of the noisy features, over their entries."""
    return float(basis.probability @ basis.eigenvalues) / len(basis.eigenvalues) + noise_variance


def _noiseless_risk(basis, model, n):
    """Without noise the design is block diagonal: each block fits its own rows, n p_i of them."""
    total = 0.0
    blocks = zip(model.probabilities, basis.split(basis.eigenvalues), basis.split(basis.beta))
    for probability, eigenvalues, beta in blocks:
        support = eigenvalues > 0
        rows = n * probability
        if rows < support.sum():
            total += probability * underdetermined_excess(eigenvalues[support], beta[support], 0.0, rows)
    return total
