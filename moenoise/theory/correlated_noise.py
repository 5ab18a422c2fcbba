"""The best linear predictors where the noise is correlated over features (beyond the paper)."""

import typing

import numpy as np
import scipy.linalg

from .. import _validation
from ..model import check_model
from ._spectrum import eigh_without_rounding, signal_fraction


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
    correlation, noise = _as_correlation(model, correlation), model.noise_variance
    dense, sparse, joint = _modes(model, correlation)
    precision, rows = np.linalg.inv(correlation), []
    for block, modes, beta in zip(model.blocks, joint, model.coefficients):
        # The other blocks' coefficients subtract what they tell of the noise in this one.
        rows.append(precision[:, block] @ np.linalg.solve(precision[block, block], modes.coefficients(beta, noise)))
    return CorrelatedCoefficients(
        dense.coefficients(np.concatenate(model.coefficients), noise),
        np.concatenate([modes.coefficients(beta, noise) for modes, beta in zip(sparse, model.coefficients)]),
        np.array(rows),
    )


def correlated_risks(model, correlation):
    r"""Risks of the best linear predictors under feature noise that is correlated over features, routing correct.

    What the coefficients of `correlated_coefficients` leave of the response's variance. Experts that see all features
    never lose to dense; those that see their own block can, see `correlation_gap`. With ``Sigma = V diag(m) V'`` and
    ``R = V V'`` (generalised eigenvectors) each risk is a sum in which nothing cancels::

        sum_a sigma^2 m_a / (m_a + sigma^2) (V' beta)_a^2

    for dense with ``blockdiag(p_i Sigma_i)`` and R; for expert i with ``Sigma_i`` and ``R_ii`` or, where it sees all
    features, ``((R^-1)_ii)^-1``: what the noise in all other blocks leaves open of that in block i.

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
    dense, *experts = _modes(model, _as_correlation(model, correlation))

    def risk(modes, beta):
        return modes.lost(model.noise_variance) @ (modes.vectors.T @ beta) ** 2

    sparse, joint = (model.probabilities @ [risk(*pair) for pair in zip(kind, model.coefficients)] for kind in experts)
    return CorrelatedRisks(float(risk(dense, np.concatenate(model.coefficients))), float(sparse), float(joint))


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
    dense, sparse, _ = _modes(model, _as_correlation(model, correlation))
    noise = model.noise_variance
    # What is lost where noise is the weaker, else what is explained: of two small matrices no digits are lost.
    weak = noise < dense.values.max()

    def form(modes):
        values = modes.lost(noise) if weak else -modes.values * signal_fraction(modes.values, noise)
        return (modes.vectors * values) @ modes.vectors.T

    gap = form(dense) - scipy.linalg.block_diag(*[p * form(own) for p, own in zip(model.probabilities, sparse)])
    return (gap + gap.T) / 2


class _Modes(typing.NamedTuple):
    """Generalised eigenvectors V: a signal's covariance is ``V diag(values) V'``, its noise's correlation ``V V'``."""

    values: np.ndarray  # (m,), those that are zero to rounding made zero
    vectors: np.ndarray  # (m, m)

    def coefficients(self, beta, noise):
        """``(signal + noise correlation)^-1 signal beta``."""
        return np.linalg.solve(self.vectors.T, signal_fraction(self.values, noise) * (self.vectors.T @ beta))

    def lost(self, noise):
        """(m,) risk per square of ``V' beta``."""
        return noise * signal_fraction(self.values, noise)


def _modes(model, correlation):
    """`_Modes` of dense, and k each of experts that see their own block and of those that see all features."""
    pooled = scipy.linalg.block_diag(*[p * own for p, own in zip(model.probabilities, model.covariances)])
    precision = np.linalg.inv(correlation)
    pairs = list(zip(model.covariances, model.blocks))
    return (
        _modes_of(pooled, correlation),
        [_modes_of(own, correlation[block, block]) for own, block in pairs],
        [_modes_of(own, np.linalg.inv(precision[block, block])) for own, block in pairs],
    )


def _modes_of(signal, correlation):
    root = np.linalg.cholesky(correlation)
    half = scipy.linalg.solve_triangular(root, signal, lower=True)
    values, vectors = eigh_without_rounding(scipy.linalg.solve_triangular(root, half.T, lower=True))
    return _Modes(values, root @ vectors)


def _as_correlation(model, correlation):
    """(d, d) correlation of the noise; errors name the argument that is wrong."""
    check_model(model)
    if model.noise_variance == 0:
        raise ValueError("model must have a positive noise_variance: without noise nothing correlates")
    correlation = _validation.as_correlation(correlation, model.d, "correlation")
    if np.linalg.eigvalsh(correlation)[0] <= 1e-12 * model.d:
        raise ValueError("correlation must be positive definite")
    return correlation


def class_moments(model, noise):
    """(k, d, d) and (k, d): of each expert's rows the features' covariance, and theirs with the response.

    `noise` is the noise's (d, d) covariance.
    """
    covariances, responses = np.tile(noise, (model.k, 1, 1)), np.zeros((model.k, model.d))
    for i, (block, own, beta) in enumerate(zip(model.blocks, model.covariances, model.coefficients)):
        covariances[i, block, block] += own
        responses[i, block] = own @ beta
    return covariances, responses
