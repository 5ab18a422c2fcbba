"""Risks of the best predictor, the mixture with a soft gate, and of its rivals (beyond the paper)."""

import typing

import numpy as np
import scipy.special

from .. import _validation
from .._random import philox_key
from ._spectrum import bayes_weights, signal_fraction, spectrum
from .noise_shift import robustness

# Entries of a chunk of drawn rows: 2 MB, which fits a cache and leaves Ctrl-C little to wait for.
_CHUNK = 2**18

# Two controls are fitted to the draws; with fewer of them the standard error is an eighth too small, or worse.
_FEWEST_SAMPLES = 100


class RiskEstimate(typing.NamedTuple):
    """An expected squared error, and the standard error (of the value, a standard deviation) with which it is known."""

    value: float
    standard_error: float


class SoftRisks(typing.NamedTuple):
    """Risks of the four predictors of `soft_risk`."""

    oracle: RiskEstimate
    soft: RiskEstimate
    hard: RiskEstimate
    dense: RiskEstimate


def soft_risk(model, *, test_noise_variance=None, n_samples=100_000, rng=None):
    r"""Risks of soft, hard and oracle routing and of the dense estimator, all for a known model.

    The paper (Section 4.1) takes routing to be nearly perfect; this goes beyond the paper. With
    ``C_i(s) = Sigma_i + s I``, block i's features ``x_i`` of a noisy row and noise of variance ``s`` the posterior of
    the expert, the experts' predictions and their conditional error variances are

    ::

        q_i(s) = softmax_i( log p_i - 1/2 log|C_i(s)| - 1/2 x_i' C_i(s)^-1 x_i + d_i/2 log s + ||x_i||^2 / (2 s) )
        m_i(s) = beta_i' Sigma_i C_i(s)^-1 x_i
        t_i(s) = s beta_i' Sigma_i C_i(s)^-1 beta_i

    and the predictors, made for the model's own noise variance ``sigma^2``,

    ::

        soft:    sum_i q_i(sigma^2) m_i(sigma^2)     the conditional mean, so of least risk at noise sigma^2
        hard:    m_j(sigma^2),  j = argmax_i q_i(sigma^2)
        oracle:  m_z(sigma^2),  z the row's true expert, which no predictor is told
        dense:   sum_i D_i' x_i,  D = bayes_dense(model)

    Rows have noise of variance ``v``, the test noise. Oracle's and dense's risks are exact (`robustness`). Those of
    soft and hard have no closed form and are averages over drawn noisy rows, in which the response and the expert of
    a row are integrated out: a predictor that answers ``a`` errs there by ``sum_i q_i(v) (t_i(v) + (m_i(v) - a)^2)``.
    Oracle and dense have errors of this kind on the same rows (oracle ``sum_i q_i(v) (t_i(v) + (m_i(v) -
    m_i(sigma^2))^2)``) with means that are known. They serve as control variates: soft's and hard's errors are
    regressed on both, and corrected by what chance has added to them; standard errors are those of the residuals.

    All predictors see the same rows, and with the same `rng` so do all test noises but for the noise's scale.

    Parameters
    ----------
    model : BlockModel
        Its noise variance ``sigma^2``, a variance per entry, is the training noise: positive, since the gate has no
        limit as it vanishes. ``Sigma_i`` may be singular.
    test_noise_variance : float > 0, optional
        ``v``, a variance per entry. Default: the model's own. For predictors that know of the change ("adapted") give
        a model with that noise: ``dataclasses.replace(model, noise_variance=v)``.
    n_samples : int >= 100, default 100_000
        Number of rows drawn. Memory is bounded whatever d is, at about 100 bytes a row.
    rng : None, int, SeedSequence or Generator
        The seed of NumPy's Philox generator, from which the rows are drawn. A Generator is advanced; the others give
        the same rows every time, except None: fresh entropy.

    Returns
    -------
    SoftRisks
        Named tuple ``(oracle, soft, hard, dense)``, each a named tuple ``(value, standard_error)`` of floats:
        an expected squared error, and the standard deviation of that value over draws; 0 for oracle and dense.

    Raises
    ------
    TypeError, ValueError
        Where an argument has the wrong kind or value; where a noise variance is 0.

    Examples
    --------
    >>> import moenoise as mn
    >>> model = mn.BlockModel.isotropic(4, 4, coefficients=[2.0] * 4)
    >>> risks = mn.theory.soft_risk(model, rng=0)
    >>> [round(risk.value, 1) for risk in risks]
    [2.0, 3.0, 4.0, 3.2]
    >>> risks.soft.standard_error < 0.01
    True
    """
    basis = spectrum(model)
    test_noise = _positive_noise(model, test_noise_variance)
    n_samples = _validation.as_integer(n_samples, "n_samples", low=_FEWEST_SAMPLES, high=_validation.MAX_DIMENSION)
    exact = robustness(model, test_noise)
    oracle, soft, hard, dense = _errors(model, basis, test_noise, n_samples, philox_key(rng))
    controls = np.array([oracle - exact.sparse, dense - exact.dense])
    return SoftRisks(
        RiskEstimate(exact.sparse, 0.0),
        _mean_given_controls(soft, controls),
        _mean_given_controls(hard, controls),
        RiskEstimate(exact.dense, 0.0),
    )


def _positive_noise(model, test_noise_variance):
    """The test noise variance; ValueError where it or the model's is 0."""
    if model.noise_variance == 0:
        raise ValueError("model must have a positive noise_variance: the gate has no limit as it vanishes")
    if test_noise_variance is None:
        return model.noise_variance
    return _validation.as_scalar(test_noise_variance, "test_noise_variance", low=0, open_low=True)


class _Gate:
    """Posterior of the experts and their predictions, for one noise variance, in the blocks' eigenbases."""

    def __init__(self, model, basis, noise_variance):
        self._basis = basis
        eigenvalues = basis.eigenvalues
        # log|C| - d_i log s is the sum of log(1 + lambda/s), 1/s - 1/(lambda + s) is lambda / (s (lambda + s)).
        self._constants = np.log(model.probabilities) - 0.5 * basis.block_sums(np.log1p(eigenvalues / noise_variance))
        self._quadratic = 0.5 * signal_fraction(eigenvalues, noise_variance) / noise_variance
        _, self._linear = bayes_weights(basis, noise_variance)
        self.residual_variances = noise_variance * basis.block_sums(basis.beta * self._linear)

    def __call__(self, features):
        """(n, k) posterior probabilities and (n, k) predictions of each row (n, d)."""
        scores = self._constants + self._sums(features**2 * self._quadratic)
        return scipy.special.softmax(scores, axis=1), self._sums(features * self._linear)

    def _sums(self, values):
        return np.add.reduceat(values, self._basis.starts, axis=1)


def _errors(model, basis, test_noise, n_samples, key):
    """(4, n_samples): expected squared errors of oracle, soft, hard and dense, given each noisy row."""
    predictor, truth = (_Gate(model, basis, noise) for noise in (model.noise_variance, test_noise))
    dense, _ = bayes_weights(basis, model.noise_variance)
    errors, start = np.empty((4, n_samples)), 0
    for features in _noisy_rows(model, basis, test_noise, n_samples, key):
        posterior, means = predictor(features)
        likely, expected = (posterior, means) if test_noise == model.noise_variance else truth(features)
        answers = (
            means,
            (posterior * means).sum(axis=1, keepdims=True),
            np.take_along_axis(means, posterior.argmax(axis=1)[:, None], axis=1),
            (features * dense).sum(axis=1, keepdims=True),
        )
        stop = start + len(features)
        for error, answer in zip(errors, answers):
            error[start:stop] = (likely * (truth.residual_variances + (expected - answer) ** 2)).sum(axis=1)
        start = stop
    return errors


def _noisy_rows(model, basis, noise_variance, n_samples, key):
    """Yield noisy rows of the model, in the eigenbases, in chunks (m, d); their values do not depend on the chunks."""
    routes, normals = (np.random.Generator(np.random.Philox(key=key + (stream << 64))) for stream in (0, 1))
    owner = np.repeat(np.arange(model.k), model.block_sizes)
    noise = np.sqrt(noise_variance)
    signal_and_noise = np.sqrt(basis.eigenvalues + noise_variance)
    rows = max(1, _CHUNK // model.d)
    for start in range(0, n_samples, rows):
        count = min(rows, n_samples - start)
        expert = routes.choice(model.k, size=count, p=model.probabilities)
        scales = np.where(owner == expert[:, None], signal_and_noise, noise)
        yield normals.standard_normal((count, model.d)) * scales


def _mean_given_controls(values, controls):
    """The mean of values (n,) as a `RiskEstimate`, by regression on controls (2, n) whose expectation is 0."""
    spread = values - values.mean()
    deviations = (controls - controls.mean(axis=1, keepdims=True)).T
    slopes, *_ = np.linalg.lstsq(deviations, spread)  # of least norm where the controls are one and the same
    residuals = spread - deviations @ slopes
    degrees_of_freedom = len(values) - 1 - len(slopes)
    standard_error = np.sqrt(residuals @ residuals / degrees_of_freedom / len(values))
    return RiskEstimate(float(values.mean() - controls.mean(axis=1) @ slopes), float(standard_error))
