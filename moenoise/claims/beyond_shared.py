"""What the parts of `beyond-gaussian` share: its name, its laws, predictors' errors (not a claim of its own)."""

import numpy as np

from .. import _noise_laws, theory
from .base import Estimate
from .simulation import dense_error, experts_error

NAME = "beyond-gaussian"

LAWS = _noise_laws.NAMES
LABELS = {"gaussian": "Gaussian", "laplace": "Laplace", "student-t": "Student t (5 df)", "rademacher": "Rademacher"}

PREDICTORS = ("dense", "experts, oracle routing", "experts, hard routing", "experts, soft routing")


def linear_errors(model, sample):
    """Squared errors of the two estimators of Theorem 2, the experts correctly routed."""
    return [dense_error(sample, theory.bayes_dense(model)),
            experts_error(sample, model.blocks, theory.bayes_sparse(model))]


def predictor_errors(model, sample):
    """Squared errors of `PREDICTORS`, all made for the model and Gaussian noise."""
    from ..bayes_predictor import BayesPredictor

    gated = [BayesPredictor(model, routing=routing).predict(sample.features) for routing in ("hard", "soft")]
    return linear_errors(model, sample) + [np.mean((response - sample.response) ** 2) for response in gated]


def ratio_of_means(values, reference):
    """The `Estimate` of the ratio of two means over paired replicates; its standard error is of first order."""
    ratio = values.mean() / reference.mean()
    error = Estimate.of(values - ratio * reference).standard_error / reference.mean()
    return Estimate(ratio, error, len(values) - 1)


def plot_estimates(x, estimates, *, label, colour, marker, ax):
    """Means with bars of two standard errors."""
    from .. import plots

    plots.measured(x, [e.mean for e in estimates], [e.standard_error for e in estimates], label=label, colour=colour,
                   marker=marker, ax=ax)
