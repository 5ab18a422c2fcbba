"""What a router's errors cost when they depend on the features, exactly (beyond the paper)."""

import typing

import numpy as np

from ..model import check_model
from ._quadratic_forms import Law, law
from ._spectrum import bayes_weights, signal_fraction, spectrum

# Points of the trapezoidal rule are doubled until no probability and no cost differs between the two halves of them by
# more, of the largest one. Both halves together are better by far: the rule's error is about squared at each doubling.
_TOLERANCE = 1e-7
_FIRST_POINTS, _MOST_POINTS = 64, 8192

# How far the probabilities of a row's routes may be from a sum of 1.
_ROW_TOLERANCE = 1e-9

# Signals may be this much stronger, or weaker, than noise: beyond, products of such ratios leave floating point.
_MOST_RATIO = 1e100

# Minus the logarithm of a probability that is taken for zero, and what zero is replaced by where it divides.
_NEGLIGIBLE = 40.0
_FLOOR = 1e-18


class RoutedRisk(typing.NamedTuple):
    """The risk of hard-routed experts, and where their router sends the rows."""

    risk: float
    confusion: np.ndarray


def routed_risk(model, *, believed=None):
    r"""Risk of experts whose router sends each row to its likeliest expert; exact (the paper leaves it open).

    The router picks ``j = argmax_l g_l(x_l)``, and expert j answers ``w_j' x_j``. The scores are the corrected ones of
    Theorem 1, with a constant ``c_l = log p_l - 1/2 log|C_l| + d_l/2 log sigma^2``::

        g_l(x_l) = c_l + 1/2 x_l' (I / sigma^2 - C_l^-1) x_l,   C_l = Sigma_l + sigma^2 I
        w_l      = C_l^-1 Sigma_l beta_l

    all of the model that is believed. A score depends on its own block only, and the blocks of a row of expert i are
    independent, so the scores are independent sums of squared normals. The errors depend on the features: a row of
    expert i goes astray where ``x_i`` happens to be small and another block's noise large. But a score does not change
    with the sign of its block, and ``m_i = E[y | x_i, i]`` does: ``E[m_i w_j' x_j; i -> j | i]`` is 0 for j other than
    i, whatever is believed. With ``t_i``, the error variance of ``m_i`` under the true model::

        risk = sum_i p_i ( t_i + E[(m_i - w_i' x_i)^2; i -> i | i]
                         + sum_{j != i} E[m_i^2; i -> j | i] + E[(w_j' x_j)^2; i -> j | i] )

    The second term is 0 where the belief is true. Each term is an integral over the winning score of densities and
    distribution functions of the scores, which are contour integrals of their Laplace transforms (Rice, 1980; Helstrom,
    1983); a factor ``z_a^2`` in an expectation raises one direction's degrees of freedom from 1 to 3. Errors that do
    not depend on the features would give `misrouted_risk` of the same confusion.

    Time grows with k, with the number of different eigenvalues and with the strength of the signal: 12 experts of 75
    features take about half a second.

    Parameters
    ----------
    model : BlockModel
        The true one, with a positive noise variance.
    believed : BlockModel, optional
        What router and experts are made from: of the same block sizes, with a positive noise variance and a covariance
        other than zero for every expert. Default: `model`. For test noise of variance v give
        ``dataclasses.replace(model, noise_variance=v)`` as `model` and the training model here; for learned experts
        and router the model that `moenoise.fit_block_model` found.

    Returns
    -------
    RoutedRisk
        Named tuple ``(risk, confusion)``: a float, and (k, k) probabilities that an input of expert i (row) is routed
        to expert j (column). Both to about 1e-9: of the largest cost of a route, and of 1.

    Raises
    ------
    TypeError, ValueError
        Where an argument is not a BlockModel, the blocks differ, or a noise variance or a believed covariance is 0;
        where the features' variances and the noise variances are more than 1e100 times apart.
    RuntimeError
        Where the integrals do not settle (no such model is known).

    Examples
    --------
    >>> import moenoise as mn
    >>> model = mn.BlockModel.isotropic(4, 4, coefficients=[2.0] * 4)
    >>> routed = mn.theory.routed_risk(model)
    >>> round(routed.risk, 4), routed.confusion[0].round(4).tolist()
    (4.0098, [0.3867, 0.2044, 0.2044, 0.2044])

    With as many errors on rows at random it would be less, and without errors:

    >>> round(mn.theory.misrouted_risk(model, routed.confusion), 4), mn.theory.generalization(model).sparse
    (3.8399, 2.0)
    """
    believed = model if believed is None else believed
    _check(model, believed)
    confusion, costs = _integrate(_scores(model, believed))
    basis = spectrum(model)
    _, weights = bayes_weights(basis, model.noise_variance)
    residual_variances = model.noise_variance * basis.block_sums(basis.beta * weights)
    risk = model.probabilities @ (residual_variances + costs.sum(axis=1))
    return RoutedRisk(float(risk), np.clip(confusion, 0.0, 1.0))  # beyond 0 and 1 by rounding only


def _check(model, believed):
    """Raise where the two do not fit together or a score is constant."""
    for name, value in (("model", model), ("believed", believed)):
        try:
            check_model(value)
        except TypeError as error:
            raise TypeError(str(error).replace("model", name, 1)) from None
        if value.noise_variance == 0:
            raise ValueError(f"{name} must have a positive noise_variance: the scores have no limit as it vanishes")
    if not np.array_equal(model.block_sizes, believed.block_sizes):
        raise ValueError(f"believed must have the model's block sizes {model.block_sizes.tolist()}, "
                         f"got {believed.block_sizes.tolist()}")
    constant = [i for i, covariance in enumerate(believed.covariances) if not covariance.any()]
    if constant:
        raise ValueError(f"believed must have covariances other than zero, got zero for expert {constant[0]}: "
                         "its score would be the same for every row")
    _check_ratios(model, believed)


def _check_ratios(model, believed):
    """Raise where products of ratios of signal and noise would leave floating point."""
    features = [float(covariance.max()) for covariance in model.covariances]  # a maximum is on the diagonal
    noise = believed.noise_variance
    ratios = [float(covariance.max()) / noise for covariance in believed.covariances] + [model.noise_variance / noise]
    if max(*ratios, max(features) / noise, max(features) / model.noise_variance) > _MOST_RATIO or (
            min(ratios) < 1 / _MOST_RATIO):
        names = "model" if believed is model else "model and believed"
        raise ValueError(f"{names} must have variances of features and of noise at most {_MOST_RATIO:g} times apart")


class _Score(typing.NamedTuple):
    """One expert's score, ``1/2 sum_a b_a z_a^2`` less its handicap, on rows of others and on its own rows."""

    handicap: float  # how far its constant is below the largest
    noise: np.ndarray  # (d_l,) b on rows of other experts, where the block holds noise alone
    noise_outputs: np.ndarray  # (d_l, 1) u with E[(w' x)^2; ...] = E[sum_a u_a z_a^2; ...] there
    own: np.ndarray  # (d_l,) b on the expert's own rows
    own_outputs: np.ndarray  # (d_l, 2) u of (E[y | x])^2 and of (E[y | x] - w' x)^2 there


def _scores(model, believed):
    """k `_Score`, in coordinates z in which the features are white and the score is a sum of squares."""
    true = spectrum(model)
    basis = true if believed is model else spectrum(believed)
    _, weights = bayes_weights(basis, believed.noise_variance)
    _, means = bayes_weights(true, model.noise_variance)
    # In units of the believed noise's standard deviation, so that no unit of the features under- or overflows.
    gains = signal_fraction(basis.eigenvalues, believed.noise_variance)
    noise_ratio = model.noise_variance / believed.noise_variance
    log_determinants = basis.block_sums(np.log1p(basis.eigenvalues / believed.noise_variance))
    # Over the largest probability: where all are the same, nothing of small determinants is rounded away.
    constants = np.log(believed.probabilities / believed.probabilities.max()) - 0.5 * log_determinants
    answers, expected = basis.to_features(weights), true.to_features(means)
    scores = []
    for i, (gain, weight) in enumerate(zip(basis.split(gains), basis.split(weights))):
        # x = root z is N(0, C); its score is z' root' A root z with A = vectors diag(gain) vectors'.
        root = true.vectors[i] * np.sqrt(true.split(true.eigenvalues)[i] + model.noise_variance)
        half = (np.sqrt(gain)[:, None] * basis.vectors[i].T) @ (root / np.sqrt(believed.noise_variance))
        own, directions = np.linalg.eigh(half.T @ half)
        outputs = directions.T @ root.T @ np.column_stack([expected[i], expected[i] - answers[i]])
        scores.append(_Score(constants.max() - constants[i], noise_ratio * gain,
                             model.noise_variance * weight[:, None] ** 2, np.maximum(own, 0.0), outputs**2))
    return scores


def _integrate(scores):
    """(2, k, k): probabilities, and expected costs, of rows of expert i routed to expert j."""
    start, stop = _range(scores)
    points, terms = _FIRST_POINTS, _rule(scores, start, stop, _FIRST_POINTS, 0.0)
    while points <= _MOST_POINTS:
        between = _rule(scores, start, stop, points, 0.5)
        change, largest = (np.abs(values).max(axis=(1, 2)) for values in (between - terms, between))
        points, terms = 2 * points, 0.5 * (terms + between)
        if (change <= _TOLERANCE * largest).all() and np.abs(terms[0].sum(axis=1) - 1).max() <= _ROW_TOLERANCE:
            return terms
    raise RuntimeError("the integrals over the scores did not settle")


def _range(scores):
    """From where to where the logarithm of the winning score can be."""
    # P(T > mean + |b| sqrt(c) + max(b) c) < exp(-c)  (Laurent and Massart, 2000).
    stop = np.log(max(0.5 * score.own.sum() + np.sqrt(_NEGLIGIBLE) * np.linalg.norm(score.own)
                      + _NEGLIGIBLE * score.own.max() - score.handicap for score in scores))
    candidates = np.linspace(min(np.log(score.noise.max()) for score in scores) - 120, stop, 1000)
    bounds = [_log_probability_bound(score.noise, np.exp(candidates) + score.handicap) for score in scores]
    possible = np.min(bounds, axis=0) > -_NEGLIGIBLE
    return candidates[max(0, possible.argmax() - 1)], stop


def _log_probability_bound(scales, t):
    """(m,) upper bounds of log P(T <= t), by ``E e^{s (t - T)}`` at the s that is best where all scales are equal."""
    scales = scales[scales > 0]
    s = 0.5 * len(scales) * np.maximum(1 / t - 2 / scales.sum(), 0.0)
    return s * t - 0.5 * np.log1p(s[:, None] * scales).sum(axis=1)


def _rule(scores, start, stop, points, offset):
    """`_integrate` with equidistant logarithms of the winning score, the first one `offset` steps after `start`."""
    step = (stop - start) / points
    winning = np.exp(start + step * (np.arange(points) + offset))
    noise = _stack([law(score.noise, score.noise_outputs, winning + score.handicap) for score in scores])
    own = _stack([law(score.own, score.own_outputs, winning + score.handicap) for score in scores])
    # With F_l the distribution function of score l under noise, j wins at t with density f_j prod_{l != j} F_l, where
    # the true expert's F_i is replaced by its own. All F are divided out of one product: matrix products remain.
    lowest = np.maximum(noise.cdf, _FLOOR)
    everyone = np.exp(np.log(lowest).sum(axis=1, keepdims=True)) * (step * winning)[:, None]
    loses, loses_signal = everyone * own.cdf / lowest, everyone * own.weighted_cdf[..., 0] / lowest
    wins, wins_output = noise.density / lowest, noise.weighted_density[..., 0] / lowest
    probabilities, costs = loses.T @ wins, loses_signal.T @ wins + loses.T @ wins_output
    np.fill_diagonal(probabilities, (everyone * own.density / lowest).sum(axis=0))
    np.fill_diagonal(costs, (everyone * own.weighted_density[..., 1] / lowest).sum(axis=0))
    return np.array([probabilities, costs])


def _stack(laws):
    """One `Law` of k: cdf and density (m, k), weighted (m, k, r)."""
    return Law(*(np.stack(values, axis=1) for values in zip(*laws)))
