"""The experiment routing: how well a router fitted to n rows routes, and what that makes of the experts."""

import numpy as np

from ... import linear
from ... import theory as formulas
from . import block_model, fits, router_needs
from .base import Experiment, known, no_theory_on_error
from .block_model import model_of
from .parameters import ROWS, TEST_ROWS, checked, complete

PARAMETERS = {
    "n": ROWS,
    **block_model.PARAMETERS,
    "noise_variance": block_model.SOME_NOISE,
    "routing": fits.ROUTING,
    "test_rows": TEST_ROWS,
}


def measure(cell, rng):
    r"""Accuracy of a router fitted to n rows, and risks of dense and of experts behind it.

    n rows of `model_of`\ (cell) are drawn, and with them the experts that they belong to. To these are fitted: dense;
    k experts, each to its own rows and block; a `moenoise.QDARouter`. All are tried on fresh rows whose expert nobody
    tells: the likeliest expert answers (hard) or all by their probabilities (soft, as `moenoise.ExpertsRegressor`). Two
    results are of the router, and of experts, that know the model: what n without end would lead to.

    Parameters
    ----------
    cell : dict
        - n : int, training rows; d, k : int >= 1, features and experts, k divides d. Required. Each expert needs as
          many training rows as it has features, d / k.
        - noise_variance : float > 0, default 1.0, of the features' noise: a variance, per entry.
        - signal_variance : float > 0, default 1.0, of one clean feature, given its expert: a variance, within 1e8 times
          that of the noise.
        - decay : float in [-1, 1], default 0.0; clean features a and b of a block have correlation decay^\|a - b\|.
        - model_seed : int >= 0, default 0, of the model's coefficients, the same in all replicates.
        - routing : "balanced" (default: experts take turns) or "random", of the training rows. Test rows are random.
        - test_rows : int >= 1, default 2000, fresh rows that all results are averaged over.
    rng : numpy.random.Generator
        Advanced by two draws of the package's own.

    Returns
    -------
    dict
        "accuracy", "accuracy_known": shares of test rows routed right, by the fitted router and by the one that knows
        the model. "dense", "hard", "soft", "hard_known": mean squared errors over the response's variance, the last one
        of the Bayes-optimal experts behind the router that knows. "lead_hard", "lead_soft": dense's less the other.

    Raises
    ------
    TypeError, ValueError
        Where the cell or `rng` is not as described, or an expert has too few rows; the message names the parameter.

    Examples
    --------
    >>> import numpy as np
    >>> from moenoise.sweeps.experiments import EXPERIMENTS
    >>> routing = EXPERIMENTS["routing"]
    >>> cell = {"d": 48, "k": 4, "n": 480, "noise_variance": 0.5}
    >>> results = routing.function(cell, np.random.default_rng(0))
    >>> {name: round(results[name], 2) for name in ("accuracy", "dense", "hard", "soft")}
    {'accuracy': 0.91, 'dense': 0.72, 'hard': 0.42, 'soft': 0.4}
    >>> {name: round(value, 2) for name, value in routing.theory(cell).items()}
    {'accuracy_known': 0.92, 'dense': 0.74, 'hard_known': 0.38}
    """
    from ...bayes_predictor import BayesPredictor
    from ...estimators import ExpertsRegressor
    from ...router import QDARouter

    cell = checked(cell, rng, PARAMETERS)
    router_needs.check_noise(cell, cell["signal_variance"])
    model = model_of(cell)
    train = model.sample(cell["n"], rng=rng, routing=cell["routing"])
    router_needs.check_rows(train.expert, model)
    test = model.sample(cell["test_rows"], rng=rng)

    dense = linear.lstsq(train.features, train.response).coef
    experts = ExpertsRegressor(model.block_sizes, routing="soft")
    experts.fit(train.features, train.response, expert=train.expert)
    routed = experts.router_.predict(test.features)
    routed_knowing = QDARouter.from_model(model).predict(test.features)
    answers = {
        "dense": test.features @ dense,
        "hard": experts.predict(test.features, expert=routed),
        "soft": experts.predict(test.features),
        "hard_known": BayesPredictor(model).predict(test.features, expert=routed_knowing),
    }
    risks = {name: float(np.mean((answer - test.response) ** 2)) for name, answer in answers.items()}
    return {
        "accuracy": float(np.mean(routed == test.expert)),
        "accuracy_known": float(np.mean(routed_knowing == test.expert)),
        **risks,
        "lead_hard": risks["dense"] - risks["hard"],
        "lead_soft": risks["dense"] - risks["soft"],
    }


@no_theory_on_error
def theory(cell):
    """Exact for the router that knows the model; dense's risk is the equivalent for large matrices.

    Of a fitted router nothing is known exactly.
    """
    cell = complete(cell, PARAMETERS)
    router_needs.check_noise(cell, cell["signal_variance"])
    model = model_of(cell)
    knowing = formulas.routed_risk(model)
    return known(accuracy_known=model.probabilities @ np.diagonal(knowing.confusion),
                 dense=formulas.dense_risk(model, cell["n"]), hard_known=knowing.risk)


EXPERIMENT = Experiment(
    name="routing",
    version=1,
    summary="Accuracy of a router fitted to n rows, and risk of dense and of experts routed by it, hard and soft.",
    function=measure,
    parameters=PARAMETERS,
    results={
        "accuracy": "share of test rows that the fitted router routes right",
        "accuracy_known": "the same of the router that knows the model",
        "dense": "mean squared error of the dense fit on test rows, over the response's variance",
        "hard": "the same of the experts, the fitted router's likeliest one answering",
        "soft": "the same of the experts weighted by the fitted router's probabilities",
        "hard_known": "the same of the Bayes-optimal experts, the likeliest one answering, where the model is known",
        "lead_hard": "dense - hard: positive where the experts win",
        "lead_soft": "dense - soft: positive where the experts win",
    },
    theory=theory,
)
