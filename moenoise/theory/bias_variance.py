"""A fit's risk as bias and variance (paper, Appendices A.6.1 and A.6.3)."""

import dataclasses
import math
import typing

import numpy as np

from .. import _validation
from ._spectrum import bayes_weights, spectrum
from .bayes import risk
from .expert_samples import as_counts, by_count, effective_penalty, expert_risk, isotropic


class BiasVariance(typing.NamedTuple):
    """Two terms that sum to a risk: floats, or arrays of one shape."""

    bias: float | np.ndarray
    variance: float | np.ndarray


def bias_variance(model, coef, *, estimator="dense"):
    r"""Risk of given coefficients as bias and variance (paper, Appendix A.6.1); exact.

    With ``v_i`` block i of `coef`::

        bias            :  sum_i p_i (v_i - beta_i)' Sigma_i (v_i - beta_i)
        variance, dense :  sigma^2 ||v||^2
        variance, sparse:  sum_i p_i sigma^2 ||v_i||^2

    The bias is the squared error that is left on clean features, the variance what the noise of new features adds to
    it: neither is a variance over fits. Their sum is `risk`.

    Parameters
    ----------
    model : BlockModel
    coef : array-like (d,) or (m, d)
        One vector of coefficients, or m of them. Experts' coefficients stand side by side.
    estimator : "dense" or "sparse", default "dense"
        How they are used.

    Returns
    -------
    BiasVariance
        Named tuple ``(bias, variance)``, each a float or (m,) array.

    Raises
    ------
    TypeError, ValueError
        Where an argument has the wrong kind, shape or value.

    Examples
    --------
    >>> import moenoise as mn
    >>> model = mn.BlockModel.isotropic(2, 2, coefficients=[3.0, 6.0])
    >>> mn.theory.bias_variance(model, [1.0, 2.0])
    BiasVariance(bias=10.0, variance=5.0)
    >>> mn.theory.bias_variance(model, [1.5, 3.0], estimator="sparse")
    BiasVariance(bias=5.625, variance=5.625)
    """
    total = risk(model, coef, estimator=estimator)
    bias = risk(dataclasses.replace(model, noise_variance=0.0), coef, estimator=estimator)
    return BiasVariance(bias, total - bias)


def expert_bias_variance(model, counts, *, form="corrected"):
    r"""Expected bias and variance of each expert's least-squares fit on n_i of its own rows (paper, A.6.1 and A.6.3).

    With ``C_i = Sigma_i + sigma^2 I``, ``w_i`` the Bayes coefficients, ``s_i`` the Bayes risk and the rest as in
    `expert_risk`, whose sum of terms this is::

        variance_i = sigma^2 E ||bhat_i||^2
                   = sigma^2 (||w_i||^2 + s_i tr(C_i^-1) / (n_i - d_i - 1)),                   n_i > d_i + 1
                   ~ sigma^2 (sum_j t_j w_j^2 / (t_j + kappa) + s_i / kappa),                  n_i < d_i - 1
        bias_i     = expert_risk_i - variance_i

    since ``bhat_i`` has mean ``w_i`` and covariance ``s_i E (X_i'X_i)^-1`` around it; with fewer rows than features it
    sees the part of ``w_i`` in its rows' span. Exact where `expert_risk` is: for ``n_i > d_i + 1``, and for
    ``Sigma_i = l I`` (where ``1/kappa`` becomes ``n_i / ((l + sigma^2) (d_i - n_i - 1))``). As n_i grows they tend to
    the terms of ``w_i``, not to ``(s_i, 0)``.

    Printed (A.6.3), for blocks of one feature of variance ``l``: the "bias" is the Bayes risk ``s_i``, the variance
    ``sigma^4 l beta_i^2 / (n_i (l + sigma^2)^2)``; that is ``sigma^2 Var(bhat_i)`` to first order in ``1 / n_i``.

    Parameters
    ----------
    model : BlockModel
    counts : array-like of int (k,) or (s, k)
        ``n_i >= 0``, the rows of each expert; or s times that.
    form : "corrected" or "printed", default "corrected"

    Returns
    -------
    BiasVariance
        Named tuple ``(bias, variance)`` of (k,) or (s, k) arrays, both inf for n_i in ``{d_i - 1, d_i, d_i + 1}``.

    Raises
    ------
    TypeError, ValueError
        Where an argument has the wrong kind, length or range; where the model has no noise, and so no variance term;
        where the printed form meets a block of several features or an expert without rows, for which it has none.

    Examples
    --------
    >>> import moenoise as mn
    >>> model = mn.BlockModel.isotropic(2, 2, variance=8.0, coefficients=[1.0, 1.0])
    >>> [term.round(4).tolist() for term in mn.theory.expert_bias_variance(model, [50, 2])]
    [[0.1152, inf], [0.7922, inf]]
    >>> mn.theory.expert_risk(model, [50, 2]).round(4).tolist()
    [0.9074, inf]
    >>> [term.round(4).tolist() for term in mn.theory.expert_bias_variance(model, [50, 2], form="printed")]
    [[0.8889, 0.8889], [0.002, 0.0494]]
    """
    basis = spectrum(model)
    counts = as_counts(counts, model.k)
    _validation.as_choice(form, "form", ("corrected", "printed"))
    if model.noise_variance == 0:
        raise ValueError("model must have a positive noise_variance: without noise there is no variance term")
    noise = model.noise_variance
    _, sparse = bayes_weights(basis, noise)
    residuals = noise * basis.block_sums(basis.beta * sparse)
    if form == "printed":
        return _printed(basis, noise, residuals, counts)
    blocks = list(zip(residuals.tolist(), basis.split(basis.eigenvalues + noise), basis.split(sparse)))
    variance = noise * by_count(counts, lambda i, n: _squared_norm(*blocks[i], n))
    risks = expert_risk(model, counts)
    bias = np.subtract(risks, variance, out=np.full_like(variance, np.inf), where=np.isfinite(variance))
    return BiasVariance(bias, variance)


def _squared_norm(residual, variances, weights, n):
    """``E ||bhat||^2`` on n rows of features with these variances (d,), true coefficients and residual variance."""
    d = len(variances)
    if n == 0 or residual == 0:  # nothing was fitted, or there is nothing to learn
        return 0.0
    if abs(n - d) <= 1:
        return math.inf
    if n > d:
        return weights @ weights + residual * (1 / variances).sum() / (n - d - 1)
    kappa = effective_penalty(variances, n)
    inverse_trace = n / (variances[0] * (d - n - 1)) if isotropic(variances) else 1 / kappa  # of the rows' Gram matrix
    return weights**2 @ (variances / (variances + kappa)) + residual * inverse_trace


def _printed(basis, noise_variance, residuals, counts):
    if basis.block_sizes.max() > 1:
        raise ValueError("model must have blocks of one feature for form='printed'")
    if counts.min() == 0:
        raise ValueError("counts must be positive for form='printed'")
    signal = basis.eigenvalues
    variance = basis.beta**2 * signal * (noise_variance / (signal + noise_variance)) ** 2 / counts
    return BiasVariance(np.broadcast_to(residuals, counts.shape).copy(), variance)
