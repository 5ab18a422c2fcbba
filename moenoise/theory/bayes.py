"""Bayes-optimal linear coefficients, and the risk of any (paper, eq. 3 and Theorem 2)."""

import typing

import numpy as np

from .. import _validation
from ._spectrum import bayes_weights, check_model, spectrum


class Risks(typing.NamedTuple):
    """Expected squared errors of the two estimators: floats, or arrays of one shape."""

    dense: float | np.ndarray
    sparse: float | np.ndarray


def bayes_dense(model):
    r"""Best single linear predictor of the response from all noisy features.

    Block i is ``p_i (p_i Sigma_i + sigma^2 I)^-1 Sigma_i beta_i`` (paper, eq. 3). Without noise it is its limit, the
    part of ``beta_i`` in the range of ``Sigma_i``.

    Parameters
    ----------
    model : BlockModel

    Returns
    -------
    list of k arrays (d_i,)

    Raises
    ------
    TypeError
        Where model is not a BlockModel.

    Examples
    --------
    >>> import moenoise as mn
    >>> model = mn.BlockModel.isotropic(2, 2, coefficients=[3.0, 6.0])
    >>> mn.theory.bayes_dense(model)
    [array([1.]), array([2.])]
    """
    basis = spectrum(model)
    dense, _ = bayes_weights(basis, model.noise_variance)
    return basis.to_features(dense)


def bayes_sparse(model):
    r"""Best linear predictor of each expert's response from the expert's own noisy features.

    Expert i has ``(Sigma_i + sigma^2 I)^-1 Sigma_i beta_i`` (paper, eq. 3). Without noise it is its limit, the part of
    ``beta_i`` in the range of ``Sigma_i``.

    Parameters
    ----------
    model : BlockModel

    Returns
    -------
    list of k arrays (d_i,)

    Raises
    ------
    TypeError
        Where model is not a BlockModel.

    Examples
    --------
    >>> import moenoise as mn
    >>> model = mn.BlockModel.isotropic(2, 2, coefficients=[3.0, 6.0])
    >>> mn.theory.bayes_sparse(model)
    [array([1.5]), array([3.])]
    """
    basis = spectrum(model)
    _, sparse = bayes_weights(basis, model.noise_variance)
    return basis.to_features(sparse)


def risk(model, coef, *, estimator="dense"):
    r"""Exact expected squared error of given coefficients on a new sample of the model.

    With ``v_i`` block i of `coef`, and new noise of the model's variance ``sigma^2``::

        dense :  sum_i p_i  (beta_i - v_i)' Sigma_i (beta_i - v_i)  +  sigma^2 ||v||^2
        sparse:  sum_i p_i [(beta_i - v_i)' Sigma_i (beta_i - v_i)  +  sigma^2 ||v_i||^2]

    Dense coefficients see every block's noise, an expert (correctly routed) its own block's only (paper, Section 3).

    Parameters
    ----------
    model : BlockModel
    coef : array-like (d,) or (m, d)
        One vector of coefficients, or m of them. Experts' coefficients stand side by side.
    estimator : "dense" or "sparse", default "dense"
        How they are used.

    Returns
    -------
    float or (m,) array

    Raises
    ------
    TypeError, ValueError
        Where an argument has the wrong kind, shape or value.

    Examples
    --------
    >>> import numpy as np
    >>> import moenoise as mn
    >>> model = mn.BlockModel.isotropic(2, 2, coefficients=[3.0, 6.0])
    >>> mn.theory.risk(model, [1.0, 2.0]), mn.theory.risk(model, np.concatenate(mn.theory.bayes_dense(model)))
    (15.0, 15.0)
    """
    check_model(model)
    coef = _validation.as_array(coef, "coef", (1, 2))
    if coef.shape[-1] != model.d:
        raise ValueError(f"coef must have {model.d} entries a vector, one a feature, got shape {coef.shape}")
    _validation.as_choice(estimator, "estimator", ("dense", "sparse"))
    total = np.zeros(coef.shape[:-1])
    for probability, block, covariance, beta in zip(
        model.probabilities, model.blocks, model.covariances, model.coefficients
    ):
        vectors = coef[..., block]
        errors = vectors - beta
        noise_share = probability if estimator == "sparse" else 1.0
        total += probability * (errors @ covariance * errors).sum(axis=-1)
        total += noise_share * model.noise_variance * (vectors**2).sum(axis=-1)
    return total if coef.ndim == 2 else float(total)


def generalization(model):
    r"""Risks of the two Bayes-optimal estimators on new samples of the model (paper, Theorem 2).

    ::

        dense :  sum_i p_i sigma^2 beta_i' Sigma_i (p_i Sigma_i + sigma^2 I)^-1 beta_i
        sparse:  sum_i p_i sigma^2 beta_i' Sigma_i (    Sigma_i + sigma^2 I)^-1 beta_i

    The sparse risk (correct routing) is never above the dense one. Both are 0 without noise.

    Parameters
    ----------
    model : BlockModel

    Returns
    -------
    Risks
        Named tuple ``(dense, sparse)`` of floats.

    Raises
    ------
    TypeError
        Where model is not a BlockModel.

    Examples
    --------
    >>> import moenoise as mn
    >>> mn.theory.generalization(mn.BlockModel.isotropic(2, 2, coefficients=[3.0, 6.0]))
    Risks(dense=15.0, sparse=11.25)
    """
    basis = spectrum(model)
    dense, sparse = bayes_weights(basis, model.noise_variance)
    # sigma^2 Sigma (p Sigma + sigma^2 I)^-1 beta is sigma^2 / p times the Bayes coefficients, and likewise for sparse.
    return Risks(
        float(model.noise_variance * basis.beta @ dense),
        float(model.noise_variance * (basis.probability * basis.beta) @ sparse),
    )
