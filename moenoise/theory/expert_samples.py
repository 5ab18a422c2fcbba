"""Risk of an expert's least-squares fit on finitely many rows (beyond the paper's Section 4.5)."""

import numpy as np
import scipy.optimize

from .. import _validation
from ._spectrum import bayes_weights, spectrum


def expert_risk(model, counts):
    r"""Expected risk of each expert's minimum-norm least-squares fit on n_i of its own rows, routing correct.

    For Gaussian features ``y = w_i' xbar_i + r`` with ``w_i`` the Bayes coefficients and ``r ~ N(0, s_i)`` independent
    of ``xbar_i``, ``s_i = sigma^2 beta_i' Sigma_i (Sigma_i + sigma^2 I)^-1 beta_i``. Hence

    * ``n_i > d_i + 1``: ``s_i (1 + d_i / (n_i - d_i - 1))``, exact;
    * ``n_i`` in ``{d_i - 1, d_i, d_i + 1}``: infinite;
    * ``0 < n_i < d_i - 1``, with ``t_j`` the eigenvalues of ``Sigma_i + sigma^2 I``, ``kappa`` solving
      ``sum_j t_j / (t_j + kappa) = n_i`` and ``f = sum_j (t_j / (t_j + kappa))^2 / n_i``: the high-dimensional
      equivalent ``s_i + (kappa^2 sum_j t_j w_j^2 / (t_j + kappa)^2 + s_i f) / (1 - f)``, ``w_i`` in that eigenbasis
      (a few percent off at ``d_i = 60``, more within some rows of ``n_i = d_i``); for ``Sigma_i = l I`` the exact
      ``s_i + (1 - n_i / d_i) (l + sigma^2) ||w_i||^2 + s_i n_i / (d_i - n_i - 1)``;
    * ``n_i = 0``: ``beta_i' Sigma_i beta_i``, the risk of zero coefficients.

    Where ``s_i = 0`` (no feature noise, or nothing to learn) the fit is exact from ``rank(Sigma_i + sigma^2 I)`` rows
    on, and nothing is infinite.

    Parameters
    ----------
    model : BlockModel
    counts : array-like of int (k,) or (s, k)
        ``n_i >= 0``, the rows of each expert; or s times that.

    Returns
    -------
    (k,) or (s, k) array
        Expected squared errors on a new row of expert i, averaged over the rows that were fitted. Weighted by the
        probabilities they give the sparse estimator's risk.

    Raises
    ------
    TypeError, ValueError
        Where an argument has the wrong kind, length or range.

    Examples
    --------
    >>> import moenoise as mn
    >>> model = mn.BlockModel.isotropic(8, 2, coefficients=[1.0] * 8)
    >>> mn.theory.expert_risk(model, [13, 5])
    array([ 3., inf])
    >>> mn.theory.expert_risk(model, [[13, 13], [26, 26]]) @ model.probabilities
    array([3.        , 2.38095238])
    """
    basis = spectrum(model)
    counts = as_counts(counts, model.k)
    _, sparse = bayes_weights(basis, model.noise_variance)
    residual = model.noise_variance * basis.block_sums(basis.beta * sparse)
    variances = basis.split(basis.eigenvalues + model.noise_variance)
    blocks = list(zip(residual.tolist(), variances, basis.split(sparse)))
    return by_count(counts, lambda i, n: _block_risk(*blocks[i], n))


def expert_excess_slope(model, *, excess_kurtosis=0.0):
    r"""First order of each expert's excess risk: the limit of ``n_i (E risk_i - s_i)`` as n_i grows, for any noise law.

    ::

        s_i d_i + q sigma^4 sum_a (C_i^-1)_aa w_ia^2,    C_i = Sigma_i + sigma^2 I

    Least squares has the excess ``tr(C_i^-1 E[r^2 x x']) / n_i`` to that order (the sandwich formula), r the residual
    ``y - w_i'x`` and x the expert's noisy features. The noise is in both, ``r = (..) - w_i'e`` and ``x = (..) + e``.
    Beyond what Gaussian noise gives, ``s_i d_i``, only the fourth cumulant of each entry is left, ``q sigma^4`` for an
    excess kurtosis q.

    Parameters
    ----------
    model : BlockModel
    excess_kurtosis : float >= -2, default 0.0
        q: of one entry of the noise, which is independent over entries; 3 for Laplace noise, 6 for Student's t with 5
        degrees of freedom (whose heavy tail takes thousands of rows to reach this limit), -2 for Rademacher.

    Returns
    -------
    (k,) array

    Raises
    ------
    TypeError, ValueError
        Where an argument has the wrong kind or range.

    Examples
    --------
    >>> import moenoise as mn
    >>> model = mn.BlockModel.isotropic(8, 2, coefficients=[1.0] * 8)
    >>> mn.theory.expert_excess_slope(model), mn.theory.expert_excess_slope(model, excess_kurtosis=3.0)
    (array([8., 8.]), array([9.5, 9.5]))
    """
    basis = spectrum(model)
    q = _validation.as_scalar(excess_kurtosis, "excess_kurtosis", low=-2)
    _, sparse = bayes_weights(basis, model.noise_variance)
    slopes = model.noise_variance * basis.block_sums(basis.beta * sparse) * model.block_sizes
    if q and model.noise_variance:
        shares = basis.split(model.noise_variance / (basis.eigenvalues + model.noise_variance))
        for i, (vectors, share, w) in enumerate(zip(basis.vectors, shares, basis.to_features(sparse))):
            diagonal = vectors**2 @ share  # of sigma^2 C_i^-1
            slopes[i] += q * (diagonal * w) @ (model.noise_variance * w)
    return slopes


def expert_excess_law(model, expert, n_rows):
    r"""Exact law of an expert's excess risk over its Bayes risk ``s_i``, fitted to n_i >= d_i rows of its own.

    ``(bhat_i - w_i)' (Sigma_i + sigma^2 I) (bhat_i - w_i)`` is distributed as
    ``s_i d_i / (n_i - d_i + 1) * F(d_i, n_i - d_i + 1)``, Hotelling's law (the terms of `expert_risk`). Its mean is
    infinite for ``n_i`` in ``{d_i, d_i + 1}``, its variance up to ``n_i = d_i + 3``; its quantiles never are.

    Parameters
    ----------
    model : BlockModel
    expert : int in 0..k-1
    n_rows : int or array-like (s,) of int
        ``n_i``, the expert's rows, at least its number of features.

    Returns
    -------
    frozen scipy.stats distribution
        Of a squared error, and of the shape of `n_rows`: ``.ppf(0.9)`` is the upper decile, or the s of them.

    Raises
    ------
    TypeError, ValueError
        Where an argument has the wrong kind or range, and where the expert has nothing to learn or no noise
        (``s_i = 0``): its excess risk is 0.

    Examples
    --------
    >>> import moenoise as mn
    >>> model = mn.BlockModel.isotropic(8, 2, coefficients=[1.0] * 8)
    >>> law = mn.theory.expert_excess_law(model, 0, [13, 25])
    >>> law.mean(), law.ppf(0.9).round(2)
    (array([1. , 0.4]), array([2.08, 0.81]))
    """
    import scipy.stats  # half a second to import

    basis = spectrum(model)
    expert = _validation.as_integer(expert, "expert", low=0, high=model.k - 1)
    rows, single = _validation.as_integer_or_vector(n_rows, "n_rows")
    size = int(model.block_sizes[expert])
    if rows.min() < size:
        raise ValueError(f"n_rows must be at least the block size: expert {expert} has {rows.min()} of {size} rows")
    _, sparse = bayes_weights(basis, model.noise_variance)
    residual = model.noise_variance * basis.block_sums(basis.beta * sparse)[expert]
    if residual == 0:
        raise ValueError(f"model must give the expert a positive Bayes risk, expert {expert} has 0")
    freedom = (rows[0] if single else rows) - size + 1
    return scipy.stats.f(size, freedom, scale=residual * size / freedom)


def underdetermined_excess(variances, weights, residual, n):
    """Expected excess risk of minimum-norm least squares on 0 < n < d rows, a high-dimensional equivalent.

    variances (d,) > 0 of uncorrelated features, weights (d,) true coefficients, residual variance of the response
    beside them, n the number of rows (a real number).
    """
    kappa = effective_penalty(variances, n)
    fraction = variances / (variances + kappa)
    noise_gain = (fraction @ fraction) / n
    bias = (kappa * (fraction / variances) * weights) ** 2 @ variances
    if isotropic(variances) and residual > 0:
        # Isotropic: the bias above is exact, and so is this variance.
        return bias / (1 - noise_gain) + residual * n / (len(variances) - n - 1)
    return (bias + residual * noise_gain) / (1 - noise_gain)


def isotropic(variances):
    """Whether the variances (d,) are all equal, to rounding."""
    return np.ptp(variances) <= 1e-12 * variances.max()


def _block_risk(residual, variances, weights, n):
    support = variances > 0  # without noise a singular covariance leaves features that are always zero
    variances, weights = variances[support], weights[support]
    d = len(variances)
    if n == 0:
        return residual + weights**2 @ variances
    if residual > 0 and abs(n - d) <= 1:
        return np.inf
    if n >= d:
        return residual * (1 + d / (n - d - 1)) if residual > 0 else 0.0
    return residual + underdetermined_excess(variances, weights, residual, n)


def effective_penalty(variances, n):
    """kappa with sum(variances / (variances + kappa)) = n < d."""
    # Between its values were all the variances equal to the smallest, and to the average.
    low = 0.5 * variances.min() * (len(variances) - n) / n
    high = 2 * variances.sum() / n

    def surplus(kappa):
        return (variances / (variances + kappa)).sum() - n

    return scipy.optimize.brentq(surplus, low, high, xtol=np.finfo(float).tiny)


def as_counts(value, k):
    """(k,) or (s, k) numbers of rows, not negative."""
    counts = _validation.as_integer_array(value, "counts", (1, 2))
    if counts.shape[-1] != k:
        raise ValueError(f"counts must have one entry an expert, {k}, got {counts.shape[-1]}")
    if counts.min() < 0:
        raise ValueError(f"counts must be non-negative, got {counts.min()}")
    return counts


def by_count(counts, function):
    """The array of ``function(i, counts[..., i])``, computed once for each expert i and number of rows."""
    found = np.empty(counts.shape)
    for i, column in enumerate(np.moveaxis(counts, -1, 0)):
        distinct, index = np.unique(column, return_inverse=True)
        found[..., i] = np.array([function(i, n) for n in distinct.tolist()])[index].reshape(column.shape)
    return found
