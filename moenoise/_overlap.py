"""Interference that merges the experts' blocks: drawn, added, met by linear classifiers, and what these then reach.

`moenoise.claims.overlap` says what the readings "everywhere", "elsewhere" and "signal" are.
"""

import math

import numpy as np

from .designs import standard_normal

READINGS = ("everywhere", "elsewhere", "signal")
FITS = ("dense", "experts, oracle routing", "experts, learned routing", "experts, learned soft routing")


def draw(model, key, rows):
    """A sample without interference, and the interference of magnitude 1."""
    return model.sample(rows, rng=key), standard_normal((rows, model.d), rng=key)


def overlapped(model, sample, interference, reading, alpha):
    """The `Sample` with interference of magnitude alpha, its response the label, -1 or 1."""
    added = alpha * interference
    if reading != "everywhere":
        for i, block in enumerate(model.blocks):
            added[sample.expert == i, block] = 0
    response = sample.response + (added @ np.concatenate(model.coefficients) if reading == "signal" else 0)
    return sample._replace(features=sample.features + added, response=np.where(response > 0, 1.0, -1.0))


def accuracies_of(model, train, test):
    """Accuracies of `FITS` and of the router, a QDARouter fitted to the training rows and their experts."""
    from .estimators import DenseRegressor, ExpertsRegressor

    dense = DenseRegressor().fit(train.features, train.response)
    experts = ExpertsRegressor(model.block_sizes, routing="soft")
    experts.fit(train.features, train.response, expert=train.expert)
    routed = experts.router_.predict(test.features)
    scores = [dense.predict(test.features), experts.predict(test.features, expert=test.expert),
              experts.predict(test.features, expert=routed), experts.predict(test.features)]
    return [*[np.mean((score > 0) == (test.response > 0)) for score in scores], np.mean(routed == test.expert)]


def stated_accuracies(model, reading, alpha, rows):
    """(2,): dense and oracle-routed accuracies; blocks with ``Sigma_i = I``.

    Given its expert a row's features have uncorrelated entries of variances m, and covariances c with the score whose
    sign is the label, a score of standard deviation tau. Its covariances with the label itself are ``sqrt(2 / pi) c /
    tau``, so that least squares tend to ``w = sqrt(2 / pi) (sum p c / tau) / (sum p m)``, entry by entry (for an
    expert, over its own entries and rows). A linear rule w has the accuracy ``1/2 + arcsin(rho) / pi`` with ``rho =
    w' c / (tau sqrt(w' (m w)))`` (Sheppard). Fitted to n rows, w has errors of ``(1 - g) d / n`` in all, where g is the
    share of the label's variance that it explains; they lower rho by the factor ``sqrt(g / (g + (1 - g) d / n))``.
    """
    beta, share = np.concatenate(model.coefficients), alpha**2
    own = np.repeat(np.eye(model.k), model.block_sizes, axis=1)  # (k, d): 1 where the entry is in the row's own block
    variances = model.noise_variance + own + share * (1 if reading == "everywhere" else 1 - own)
    covariances = beta * (own + share * (1 - own) * (reading == "signal"))
    deviations = np.sqrt(covariances @ beta)[:, None]
    moments = math.sqrt(2 / math.pi) * covariances / deviations
    pooled = model.probabilities @ moments, model.probabilities @ variances
    correlations = [reached(pooled[0] / pooled[1], covariances / deviations, variances,
                            pooled[0] ** 2 @ (1 / pooled[1]), model.d / rows),
                    reached(own * moments / variances, covariances / deviations, variances,
                            (own * moments**2 / variances).sum(-1), model.block_sizes / (model.probabilities * rows))]
    return 0.5 + np.arcsin(correlations) @ model.probabilities / math.pi


def reached(rules, covariances, variances, explained, load):
    """(k,) correlations of a fitted rule's answers with the standardised score; `load` is features over rows."""
    limit = (rules * covariances).sum(-1) / np.sqrt((rules**2 * variances).sum(-1))
    return limit * np.sqrt(explained / (explained + (1 - explained) * load))
