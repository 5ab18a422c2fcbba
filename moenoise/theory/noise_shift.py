"""Test noise that differs from the training noise (paper, Theorem 3)."""

import math

import numpy as np

from .. import _validation
from ._spectrum import bayes_weights, spectrum
from .bayes import Risks, generalization


def robustness(model, test_noise_variance):
    r"""Risks of the two Bayes-optimal estimators of `model` under another noise, routing correct (paper, Theorem 3).

    ::

        dense :  R_dense  + (v - sigma^2) sum_i p_i^2 beta_i' Sigma_i (p_i Sigma_i + sigma^2 I)^-2 Sigma_i beta_i
        sparse:  R_sparse + (v - sigma^2) sum_i p_i   beta_i' Sigma_i (    Sigma_i + sigma^2 I)^-2 Sigma_i beta_i

    The sums are the squared norms of the coefficients: dense's, and the experts' averaged over their loads.

    Parameters
    ----------
    model : BlockModel
        Its noise variance ``sigma^2`` is the training noise.
    test_noise_variance : float or array-like, >= 0
        ``v``, a variance per entry.

    Returns
    -------
    Risks
        Named tuple ``(dense, sparse)``: floats, or arrays of the shape of `test_noise_variance`.

    Raises
    ------
    TypeError, ValueError
        Where an argument has the wrong kind or a variance is negative or not finite.

    Examples
    --------
    >>> import moenoise as mn
    >>> model = mn.BlockModel.isotropic(2, 2, coefficients=[3.0, 6.0])
    >>> mn.theory.robustness(model, [1.0, 3.0])
    Risks(dense=array([15., 25.]), sparse=array([11.25, 22.5 ]))
    """
    dense_slope, sparse_slope = _slopes(model)
    variances = _validation.as_array(test_noise_variance, "test_noise_variance", tuple(range(33)))
    if variances.min() < 0:
        raise ValueError(f"test_noise_variance must be non-negative, got {variances.min():g}")
    if variances.ndim == 0:
        variances = float(variances)
    base = generalization(model)
    shift = variances - model.noise_variance
    return Risks(base.dense + shift * dense_slope, base.sparse + shift * sparse_slope)


def robustness_condition(model, form="corrected"):
    r"""Whether each expert meets the condition under which sparse wins at every test noise >= the training noise.

    * ``"printed"``: ``lambda_min(Sigma_i) > 4 sigma^2`` (paper, Theorem 3). Not sufficient where ``p_i < 1/16``.
    * ``"corrected"``: ``lambda_min(Sigma_i) >= sigma^2 / sqrt(p_i)``. Where it holds for every i the sparse risk grows
      no faster with the test noise than the dense risk, direction by direction.

    Parameters
    ----------
    model : BlockModel
    form : "corrected" or "printed", default "corrected"

    Returns
    -------
    (k,) bool array

    Raises
    ------
    TypeError, ValueError
        Where an argument has the wrong kind or value.

    Examples
    --------
    >>> import moenoise as mn
    >>> model = mn.BlockModel.isotropic(100, 100, variance=8.0, coefficients=[1.0] * 100)
    >>> mn.theory.robustness_condition(model, form="printed").all()
    np.True_
    >>> mn.theory.robustness_condition(model).any()
    np.False_
    """
    basis = spectrum(model)
    _validation.as_choice(form, "form", ("corrected", "printed"))
    smallest = np.minimum.reduceat(basis.eigenvalues, basis.starts)
    if form == "printed":
        return smallest > 4 * model.noise_variance
    return smallest >= model.noise_variance / np.sqrt(model.probabilities)


def crossover_noise(model):
    r"""Test noise variance above which the dense Bayes-optimal estimator beats the sparse one, routing correct.

    Both risks of `robustness` are affine in the test noise variance and the sparse one starts below, so they meet at
    ``sigma^2 + (R_dense - R_sparse) / (slope_sparse - slope_dense)`` where the sparse risk grows faster, else never.

    Parameters
    ----------
    model : BlockModel

    Returns
    -------
    float
        A variance per entry; inf where the risks never meet.

    Raises
    ------
    TypeError
        Where model is not a BlockModel.

    Examples
    --------
    >>> import moenoise as mn
    >>> model = mn.BlockModel.isotropic(100, 100, variance=8.0, coefficients=[1.0] * 100)
    >>> round(mn.theory.crossover_noise(model), 2)
    28.0
    """
    dense_slope, sparse_slope = _slopes(model)
    if not sparse_slope > dense_slope:
        return math.inf
    base = generalization(model)
    return model.noise_variance + (base.dense - base.sparse) / (sparse_slope - dense_slope)


def _slopes(model):
    """(dense, sparse): what one unit of test noise variance adds to each risk."""
    basis = spectrum(model)
    dense, sparse = bayes_weights(basis, model.noise_variance)
    return float(dense @ dense), float((basis.probability * sparse) @ sparse)
