"""What a wrong route costs (paper, Theorem 4)."""

import math

import numpy as np

from .. import _validation
from ._spectrum import bayes_weights, signal_fraction, spectrum
from .bayes import Risks


def misrouting(model, true, routed, eta, form="corrected"):
    r"""Risks of the Bayes-optimal estimators on an input of one expert that is routed to another (paper, Theorem 4).

    The input holds ``x_i ~ N(0, Sigma_i)`` in block ``i = true``, ``eta x_j`` with ``x_j ~ N(0, Sigma_j)`` in block
    ``j = routed``, and noise on all features; the target is ``x_i' beta_i``. With ``D`` and ``w`` the dense and sparse
    Bayes coefficients the corrected form is::

        dense :  (beta_i - D_i)' Sigma_i (beta_i - D_i) + eta^2 D_j' Sigma_j D_j + sigma^2 ||D||^2
        sparse:  beta_i' Sigma_i beta_i                 + eta^2 w_j' Sigma_j w_j + sigma^2 ||w_j||^2

    The printed form loses ``beta_i' Sigma_i beta_i`` in both and misstates the noise terms; it can be negative.

    Parameters
    ----------
    model : BlockModel
    true, routed : int in 0..k-1, different
        The expert that the input belongs to, and the one that is used.
    eta : float >= 0
        Magnitude of the perturbation (a factor on standard deviations).
    form : "corrected" or "printed", default "corrected"

    Returns
    -------
    Risks
        Named tuple ``(dense, sparse)`` of floats.

    Raises
    ------
    TypeError, ValueError
        Where an argument has the wrong kind or value, and where true equals routed.

    Examples
    --------
    >>> import moenoise as mn
    >>> model = mn.BlockModel.isotropic(2, 2, coefficients=[3.0, 6.0])
    >>> mn.theory.misrouting(model, 0, 1, eta=2.0)
    Risks(dense=25.0, sparse=54.0)
    >>> mn.theory.misrouting(model, 0, 1, eta=2.0, form="printed")
    Risks(dense=29.0, sparse=72.0)
    """
    basis = spectrum(model)
    true = _validation.as_integer(true, "true", low=0, high=model.k - 1)
    routed = _validation.as_integer(routed, "routed", low=0, high=model.k - 1)
    if true == routed:
        raise ValueError(f"routed must differ from true, got {routed} for both")
    eta = _validation.as_scalar(eta, "eta", low=0)
    _validation.as_choice(form, "form", ("corrected", "printed"))
    formula = _printed if form == "printed" else _corrected
    return formula(basis, model.noise_variance, true, routed, eta)


def _corrected(basis, noise_variance, true, routed, eta):
    dense, sparse = bayes_weights(basis, noise_variance)
    signal = basis.block_sums(basis.eigenvalues * basis.beta**2)
    dense_error = basis.block_sums(basis.eigenvalues * (basis.beta - dense) ** 2)
    dense_output = basis.block_sums(basis.eigenvalues * dense**2)
    sparse_output = basis.block_sums(basis.eigenvalues * sparse**2)
    sparse_norm = basis.block_sums(sparse**2)
    return Risks(
        float(dense_error[true] + eta**2 * dense_output[routed] + noise_variance * (dense @ dense)),
        float(signal[true] + eta**2 * sparse_output[routed] + noise_variance * sparse_norm[routed]),
    )


def _printed(basis, noise_variance, true, routed, eta):
    # With D = p (p Sigma + sigma^2 I)^-1 Sigma beta:  p beta' Sigma (p Sigma + sigma^2 I)^-1 Sigma beta = D' Sigma beta
    # and  p^2 beta' Sigma (p Sigma + sigma^2 I)^-2 Sigma beta = ||D||^2.
    dense, sparse = bayes_weights(basis, noise_variance)
    explained = basis.block_sums(basis.eigenvalues * basis.beta * dense)
    norm = basis.block_sums(dense**2)
    load = basis.probability[basis.starts[routed]]
    others = norm.sum() - norm[true] - norm[routed]
    routed_terms = explained[routed] + noise_variance * (1 - 1 / load) * norm[routed]
    return Risks(
        float(eta**2 * routed_terms - explained[true] + noise_variance * others),
        float(eta**2 * basis.block_sums(basis.eigenvalues * basis.beta * sparse)[routed]),
    )


def misrouted_risk(model, confusion):
    r"""Risk of the sparse Bayes-optimal estimator whose router errs at random.

    ``sum_ij p_i Q_ij R_ij`` with ``R_ii = sigma^2 beta_i' Sigma_i (Sigma_i + sigma^2 I)^-1 beta_i`` and, for another
    expert j, which sees noise alone, ``R_ij = beta_i' Sigma_i beta_i + sigma^2 ||w_j||^2``. Exact where the routing
    errors are independent of the features; a learned router's are not.

    Parameters
    ----------
    model : BlockModel
    confusion : array-like (k, k)
        ``Q_ij``, the probability that an input of expert i is routed to expert j. Rows sum to 1.

    Returns
    -------
    float

    Raises
    ------
    TypeError, ValueError
        Where model is not a BlockModel; where confusion is not a (k, k) matrix of non-negative rows that sum to 1.

    Examples
    --------
    >>> import moenoise as mn
    >>> model = mn.BlockModel.isotropic(2, 2, coefficients=[3.0, 6.0])
    >>> mn.theory.misrouted_risk(model, [[1, 0], [0, 1]])
    11.25
    >>> mn.theory.misrouted_risk(model, [[0.5, 0.5], [0.5, 0.5]])
    19.6875
    """
    basis = spectrum(model)
    tolerance = _validation.relative_tolerance(confusion, model.k)
    confusion = _validation.as_array(confusion, "confusion", 2)
    if confusion.shape != (model.k, model.k):
        raise ValueError(f"confusion must have shape ({model.k}, {model.k}), got {confusion.shape}")
    if confusion.min() < 0 or np.abs(confusion.sum(axis=1) - 1).max() > tolerance:
        raise ValueError("confusion must have non-negative rows that sum to 1")
    return float(model.probabilities @ (confusion * _route_risks(basis, model.noise_variance)).sum(axis=1))


def misrouting_crossover(model):
    r"""Fraction of inputs sent to wrong experts at which the sparse Bayes-optimal risk meets the dense one.

    Each input is misrouted with probability e, to one of the ``k - 1`` wrong experts at random and independently of
    its features. With ``R_ij`` of `misrouted_risk` the sparse risk is affine in e, and the dense one does not depend on
    it, so they meet at::

        e = (R_dense - R_sparse) / (R_wrong - R_sparse),   R_wrong = sum_i p_i sum_{j != i} R_ij / (k - 1)

    ``R_wrong`` is the risk where all are misrouted: no less than that of predicting 0, which is no less than
    ``R_dense``. So with two experts or more and something to learn they do meet, at 1 at most. In the eigenbases, where
    nothing cancels, numerator and denominator are::

        sum_i p_i sum_a (1 - p_i) sigma^2 l_a^2 beta_a^2 / ((l_a + sigma^2) (p_i l_a + sigma^2))
        sum_i p_i [ sum_a l_a^2 beta_a^2 / (l_a + sigma^2) + sum_{j != i} sigma^2 ||w_j||^2 / (k - 1) ]

    Parameters
    ----------
    model : BlockModel

    Returns
    -------
    float
        In [0, 1], above which dense wins; 0 without feature noise, where both risks are. inf where they never part:
        with a single expert there is no wrong one, and with no signal all risks are 0.

    Raises
    ------
    TypeError
        Where model is not a BlockModel.

    Examples
    --------
    >>> import moenoise as mn
    >>> model = mn.BlockModel.isotropic(2, 2, coefficients=[3.0, 6.0])
    >>> round(mn.theory.misrouting_crossover(model), 4)
    0.2222
    >>> round(mn.theory.misrouted_risk(model, [[7 / 9, 2 / 9], [2 / 9, 7 / 9]]), 4)
    15.0
    >>> mn.theory.generalization(model).dense
    15.0
    """
    basis, noise = spectrum(model), model.noise_variance
    if model.k == 1 or not basis.has_signal():
        return math.inf
    if noise == 0:
        return 0.0
    # The differences are formed directly: with little or much noise, those of risks would lose their digits.
    explained = basis.eigenvalues * basis.beta**2 * signal_fraction(basis.eigenvalues, noise)
    lead = (1 - basis.probability) * explained * (noise / (basis.probability * basis.eigenvalues + noise))
    to_noise = basis.block_sums(explained * (noise / (basis.eigenvalues + noise)))  # sigma^2 ||w_j||^2
    loss = basis.block_sums(explained) + (to_noise.sum() - to_noise) / (model.k - 1)
    return float(basis.probability @ lead / (model.probabilities @ loss))


def _route_risks(basis, noise_variance):
    """(k, k) risks of expert j's Bayes coefficients on inputs of expert i."""
    _, sparse = bayes_weights(basis, noise_variance)
    signal = basis.block_sums(basis.eigenvalues * basis.beta**2)
    risks = signal[:, None] + noise_variance * basis.block_sums(sparse**2)
    np.fill_diagonal(risks, noise_variance * basis.block_sums(basis.beta * sparse))
    return risks
