"""The best linear predictors where the noise is correlated over features (beyond the paper)."""

import typing

import numpy as np
import scipy.linalg

from .. import _validation
from ..model import check_model


class CorrelatedCoefficients(typing.NamedTuple):
    """Best linear coefficients: of dense, of experts that see their own block, of experts that see all features."""

    dense: np.ndarray  # (d,)
    sparse: np.ndarray  # (d,), the experts' side by side
    joint: np.ndarray  # (k, d)


class CorrelatedRisks(typing.NamedTuple):
    """Their expected squared errors."""

    dense: float
    sparse: float
    joint: float


def correlated_coefficients(model, correlation):
    r"""Best linear coefficients under feature noise that is correlated over features, routing correct.

    The paper's noise is independent over features. With ``S = sigma^2 R`` the noise's covariance, ``C_i`` that of the
    noisy features given expert i (S, plus Sigma_i on block i) and ``c_i = Sigma_i beta_i`` on block i, zero elsewhere,
    the normal equations give::

        dense :  (sum_i p_i C_i)^-1 sum_i p_i c_i
        sparse:  (Sigma_i + S_ii)^-1 Sigma_i beta_i      of expert i, which sees its own block
        joint :  C_i^-1 c_i                              of expert i that sees all features

    For R = I the first two are equation 3 of the paper, and the third is the second. Else the other blocks show
    something of the noise in block i, which dense and joint experts subtract.

    Parameters
    ----------
    model : BlockModel
        With a positive noise variance.
    correlation : array-like (d, d)
        R: symmetric, positive definite, 1 on its diagonal.

    Returns
    -------
    CorrelatedCoefficients
        Named tuple ``(dense, sparse, joint)`` of arrays (d,), (d,) and (k, d).

    Raises
    ------
    TypeError, ValueError
        Where an argument has the wrong kind, shape or value.

    Examples
    --------
    >>> import moenoise as mn
    >>> model = mn.BlockModel.isotropic(2, 2, coefficients=[3.0, -3.0])
    >>> [coef.round(3).tolist() for coef in mn.theory.correlated_coefficients(model, [[1.0, 0.5], [0.5, 1.0]])]
    [[1.5, -1.5], [1.5, -1.5], [[1.714, -0.857], [0.857, -1.714]]]
    """
    covariances, responses = class_moments(model, noise_covariance(model, correlation))
    p = model.probabilities
    sparse = [np.linalg.solve(covariance[block, block], response[block])
              for covariance, response, block in zip(covariances, responses, model.blocks)]
    return CorrelatedCoefficients(
        np.linalg.solve(np.tensordot(p, covariances, 1), p @ responses),
        np.concatenate(sparse),
        np.linalg.solve(covariances, responses[..., None])[..., 0],
    )


def correlated_risks(model, correlation):
    r"""Risks of the best linear predictors under feature noise that is correlated over features, routing correct.

    What the coefficients of `correlated_coefficients` leave of the response's variance. Experts that see all features
    never lose to dense; those that see their own block can, see `correlation_gap`.

    Parameters
    ----------
    model : BlockModel
        With a positive noise variance.
    correlation : array-like (d, d)
        Symmetric, positive definite, 1 on its diagonal.

    Returns
    -------
    CorrelatedRisks
        Named tuple ``(dense, sparse, joint)`` of floats.

    Raises
    ------
    TypeError, ValueError
        Where an argument has the wrong kind, shape or value.

    Examples
    --------
    >>> import moenoise as mn
    >>> model = mn.BlockModel.isotropic(2, 2, coefficients=[3.0, -3.0])
    >>> [round(risk, 3) for risk in mn.theory.correlated_risks(model, [[1.0, 0.5], [0.5, 1.0]])]
    [4.5, 4.5, 3.857]
    """
    dense, sparse, joint = correlated_coefficients(model, correlation)
    explained = [p * np.array([own @ part[block] for part in (dense, sparse, row)])
                 for p, block, own, row in zip(model.probabilities, model.blocks, _responses(model), joint)]
    return CorrelatedRisks(*(model.probabilities @ model.signal_variances - np.sum(explained, axis=0)).tolist())


def correlation_gap(model, correlation):
    r"""The matrix M by which dense's risk exceeds that of experts which see their own block: ``beta' M beta``.

    ::

        M = blockdiag(p_i Sigma_i (Sigma_i + S_ii)^-1 Sigma_i) - P (P + S)^-1 P,    P = blockdiag(p_i Sigma_i)

    with S the noise's covariance: what experts explain of the response less what dense does. It does not depend on the
    coefficients, so that experts win with all of them where M has no negative eigenvalue; Theorem 2 says that it has
    none where noise is independent over features.

    Parameters
    ----------
    model : BlockModel
        With a positive noise variance.
    correlation : array-like (d, d)
        Symmetric, positive definite, 1 on its diagonal.

    Returns
    -------
    (d, d) array
        Symmetric; a squared error per squared coefficient.

    Raises
    ------
    TypeError, ValueError
        Where an argument has the wrong kind, shape or value.

    Examples
    --------
    >>> import numpy as np
    >>> import moenoise as mn
    >>> model = mn.BlockModel.isotropic(2, 2)
    >>> np.linalg.eigvalsh(mn.theory.correlation_gap(model, [[1.0, 0.8], [0.8, 1.0]])).round(3)
    array([-0.107,  0.141])
    """
    noise = noise_covariance(model, correlation)
    pooled = scipy.linalg.block_diag(*[p * own for p, own in zip(model.probabilities, model.covariances)])
    experts = scipy.linalg.block_diag(*[
        p * own @ np.linalg.solve(own + noise[block, block], own)
        for p, own, block in zip(model.probabilities, model.covariances, model.blocks)])
    gap = experts - pooled @ np.linalg.solve(pooled + noise, pooled)
    return (gap + gap.T) / 2


def noise_covariance(model, correlation):
    """(d, d) covariance of the noise; errors name the argument that is wrong."""
    check_model(model)
    if model.noise_variance == 0:
        raise ValueError("model must have a positive noise_variance: without noise nothing correlates")
    correlation = _validation.as_correlation(correlation, model.d, "correlation")
    if np.linalg.eigvalsh(correlation)[0] <= 1e-12 * model.d:
        raise ValueError("correlation must be positive definite")
    return model.noise_variance * correlation


def class_moments(model, noise):
    """(k, d, d) and (k, d): of each expert's rows the features' covariance, and theirs with the response.

    `noise` is the noise's (d, d) covariance.
    """
    covariances, responses = np.tile(noise, (model.k, 1, 1)), np.zeros((model.k, model.d))
    for i, (block, own, response) in enumerate(zip(model.blocks, model.covariances, _responses(model))):
        covariances[i, block, block] += own
        responses[i, block] = response
    return covariances, responses


def _responses(model):
    """k arrays (d_i,): ``Sigma_i beta_i``."""
    return [own @ beta for own, beta in zip(model.covariances, model.coefficients)]
