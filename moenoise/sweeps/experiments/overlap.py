"""The experiment overlap: accuracies of dense and of experts as interference merges the experts' blocks."""

from ... import _overlap
from . import block_model, router_needs
from .base import Experiment, known, no_theory_on_error
from .block_model import model_of
from .parameters import ROWS, TEST_ROWS, Parameter, checked, choice, complete, number

# The closed form is of first order in features over rows, and counts one direction too many of an expert's features:
# with these it is within 1 %.
LEAST_ROWS_A_FEATURE, LEAST_BLOCK_SIZE = 8, 8

PARAMETERS = {
    "n": ROWS,
    **block_model.SHAPE,
    "noise_variance": block_model.SOME_NOISE,
    "alpha": Parameter(0.0, "magnitude of the interference: a standard deviation, per entry",
                       number(low=0, high=1e4)),
    "reading": Parameter("everywhere", "what is merged: 'everywhere', 'elsewhere' or 'signal'",
                         choice(*_overlap.READINGS)),
    "model_seed": block_model.MODEL_SEED,
    "test_rows": TEST_ROWS,
}


def measure(cell, rng):
    r"""Accuracies of dense and sparse classifiers whose blocks overlap by interference of magnitude alpha.

    Rows are those of `model_of`\ (cell), clean features of variance 1 and uncorrelated; the label is the sign of the
    response, and classifiers are least-squares fits to the labels -1 and 1. To the features is added ``alpha g``,
    ``g ~ N(0, I)``, in training and in test rows: on all of them ("everywhere"), only outside the row's own block
    ("elsewhere"), or there, and as a part of the response ("signal": alpha = 1 is one dense model). Experts' training
    rows are known. As in the claim `moenoise reproduce overlap`.

    Parameters
    ----------
    cell : dict
        - n : int, training rows; d, k : int >= 1, features and experts, k divides d. Required. Each expert needs as
          many training rows, whose experts are drawn at random, as it has features, d / k.
        - noise_variance : float in [1e-8, 1e8], default 1.0, of the features' noise: a variance, per entry.
        - alpha : float in [0, 1e4], default 0.0: a standard deviation, per entry.
        - reading : "everywhere" (default), "elsewhere" or "signal".
        - model_seed : int >= 0, default 0, of the model's coefficients, the same in all replicates.
        - test_rows : int >= 1, default 2000, fresh rows that all results are averaged over.
    rng : numpy.random.Generator
        Advanced by four draws of the package's own.

    Returns
    -------
    dict
        Shares of test rows whose label is told right: "dense"; "experts", by an oracle's routing; "learned" and "soft",
        by a `moenoise.QDARouter` fitted to the training rows, the likeliest expert answering or all by their
        probabilities. "router": the share that this router routes right. "lead": the experts' less dense's accuracy.

    Raises
    ------
    TypeError, ValueError
        Where the cell or `rng` is not as described, or an expert has too few rows; the message names the parameter.

    Examples
    --------
    >>> import numpy as np
    >>> from moenoise.sweeps.experiments import EXPERIMENTS
    >>> overlap = EXPERIMENTS["overlap"]
    >>> cell = {"n": 2000, "d": 40, "k": 5, "noise_variance": 0.5, "alpha": 1.0, "reading": "signal"}
    >>> results = overlap.function(cell, np.random.default_rng(0))
    >>> {name: round(results[name], 2) for name in ("dense", "experts", "soft")}
    {'dense': 0.78, 'experts': 0.6, 'soft': 0.75}
    >>> {name: round(value, 2) for name, value in overlap.theory(cell).items()}
    {'dense': 0.8, 'experts': 0.6, 'lead': -0.2}
    """
    cell = checked(cell, rng, PARAMETERS)
    router_needs.check_noise(cell)
    model = model_of(cell)
    rows, interference = _overlap.draw(model, rng, cell["n"])
    router_needs.check_rows(rows.expert, model)
    merged = cell["reading"], cell["alpha"]
    train = _overlap.overlapped(model, rows, interference, *merged)
    test = _overlap.overlapped(model, *_overlap.draw(model, rng, cell["test_rows"]), *merged)
    dense, experts, learned, soft, router = map(float, _overlap.accuracies_of(model, train, test))
    return {"dense": dense, "experts": experts, "learned": learned, "soft": soft, "router": router,
            "lead": experts - dense}


@no_theory_on_error
def theory(cell):
    """Of dense and oracle-routed experts, to 1 %: with 8 rows a feature or more, and 8 features an expert."""
    cell = complete(cell, PARAMETERS)
    router_needs.check_noise(cell)
    if cell["n"] < LEAST_ROWS_A_FEATURE * cell["d"] or cell["d"] < LEAST_BLOCK_SIZE * cell["k"]:
        return {}
    dense, experts = _overlap.stated_accuracies(model_of(cell), cell["reading"], cell["alpha"], cell["n"])
    return known(dense=dense, experts=experts, lead=experts - dense)


EXPERIMENT = Experiment(
    name="overlap",
    version=1,
    summary="Accuracy of dense and of experts as interference of magnitude alpha merges the experts' blocks.",
    function=measure,
    parameters=PARAMETERS,
    results={
        "dense": "accuracy of the dense classifier",
        "experts": "accuracy of the experts, an oracle routing",
        "learned": "accuracy of the experts, a fitted router's likeliest one answering",
        "soft": "accuracy of the experts weighted by the fitted router's probabilities",
        "router": "share of test rows that the fitted router routes right",
        "lead": "experts - dense: positive where the experts win",
    },
    theory=theory,
)
