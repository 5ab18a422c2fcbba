"""The experiment risk: a dense fit against experts whose routing is known."""

from ... import theory as formulas
from . import fits
from .base import Experiment, difference, known, no_theory_on_error
from .parameters import checked, complete

PARAMETERS = fits.PARAMETERS


def measure(cell, rng):
    r"""Exact risks of the dense and the experts' least-squares fits to n drawn rows, routing known.

    n rows of `model_of`\ (cell) are drawn; dense is fitted to all of them, each expert to its own rows and block. Their
    risks are no averages over test rows but the expected squared errors of these very coefficients
    (`moenoise.theory.risk`), over the response's variance, which is 1: 0 is perfect, 1 has learnt nothing.

    Parameters
    ----------
    cell : dict
        - n : int >= 1, training rows; d, k : int >= 1, features and experts, k divides d. Required.
        - noise_variance : float >= 0, default 1.0, of the features' noise: a variance, per entry.
        - signal_variance : float > 0, default 1.0, of one clean feature, given its expert: a variance.
        - decay : float in [-1, 1], default 0.0; clean features a and b of a block have correlation decay^\|a - b\|.
        - model_seed : int >= 0, default 0, of the model's coefficients, the same in all replicates.
        - routing : "balanced" (default: experts take turns) or "random", of the training rows.
        - penalty : float >= 0 or "best", default 0.0; r of dense's ridge fit ``(X'X / n + r I)^-1 X'y / n``, a variance
          per entry. "best": `moenoise.theory.best_penalty`, for test noise like that of training.
        - test_noise_variance : float >= 0 or None, of new rows: a variance, per entry. Default, None: that of training.
    rng : numpy.random.Generator
        Advanced by one draw of the package's own.

    Returns
    -------
    dict
        "dense", "experts": risks; "lead": dense's less the experts'. An expert without rows predicts 0.

    Raises
    ------
    TypeError, ValueError
        Where the cell or `rng` is not as described; the message names the parameter.

    Examples
    --------
    >>> import numpy as np
    >>> from moenoise.sweeps.experiments import EXPERIMENTS
    >>> risk = EXPERIMENTS["risk"]
    >>> cell = {"d": 48, "k": 4, "n": 480, "noise_variance": 0.5}
    >>> {name: round(value, 2) for name, value in risk.function(cell, np.random.default_rng(0)).items()}
    {'dense': 0.74, 'experts': 0.37, 'lead': 0.36}
    >>> {name: round(value, 2) for name, value in risk.theory(cell).items()}
    {'dense': 0.74, 'experts': 0.37, 'lead': 0.37}
    """
    tested, dense, experts = fits.fit(checked(cell, rng, PARAMETERS), rng)
    return fits.risks(formulas.risk(tested, dense), formulas.risk(tested, experts, estimator="sparse"))


@no_theory_on_error
def theory(cell):
    """Expected risks: exact for experts with ``n_i > d_i + 1`` rows, else equivalents for large matrices.

    Dense's is an equivalent; that of experts is known where their rows are in balance.
    """
    cell = complete(cell, PARAMETERS)
    dense, fitted = fits.expected_dense(cell), fits.expected_experts(cell)
    experts = None if fitted is None else fitted.risks.mean()  # equally likely
    return known(dense=dense, experts=experts, lead=difference(dense, experts))


EXPERIMENT = Experiment(
    name="risk",
    version=1,
    summary="Risk of a dense least-squares fit and of experts whose routing is known, fitted to n rows.",
    function=measure,
    parameters=PARAMETERS,
    results=fits.RESULTS,
    theory=theory,
)
