"""The experiment misrouting: a dense fit against experts of whose inputs some go to a wrong one at random."""

from ... import theory as formulas
from . import fits
from .base import Experiment, difference, known, no_theory_on_error
from .parameters import Parameter, checked, complete, number

PARAMETERS = {
    **fits.PARAMETERS,
    "wrong_routes": Parameter(0.0, "share of new rows that go to a wrong expert, whatever their features",
                              number(low=0, high=1)),
}


def measure(cell, rng):
    r"""Exact risks of the dense and the experts' fits to n drawn rows where the router errs at random.

    As the experiment risk, but that each new row goes with probability e to one of the k - 1 wrong experts, all alike,
    whatever its features. Expert j sees noise alone there, so that with ``R_ii`` expert i's risk on its own rows and v
    the test noise variance the experts' risk is::

        sum_i p_i [ (1 - e) R_ii + e ( beta_i' Sigma_i beta_i + v mean_{j != i} ||bhat_j||^2 ) ]

    Training rows are routed right.

    Parameters
    ----------
    cell : dict
        The parameters of the experiment risk (n, d, k, noise_variance, signal_variance, decay, model_seed, routing,
        penalty, test_noise_variance; see there), and

        - wrong_routes : float in [0, 1], default 0.0: e. 0 where k is 1.
    rng : numpy.random.Generator
        Advanced by one draw of the package's own.

    Returns
    -------
    dict
        "dense", "experts": risks over the response's variance; "lead": dense's less the experts'.

    Raises
    ------
    TypeError, ValueError
        Where the cell or `rng` is not as described; the message names the parameter.

    Examples
    --------
    >>> import numpy as np
    >>> from moenoise.sweeps.experiments import EXPERIMENTS
    >>> misrouting = EXPERIMENTS["misrouting"]
    >>> cell = {"d": 48, "k": 4, "n": 480, "noise_variance": 0.5, "wrong_routes": 0.5}
    >>> {name: round(value, 2) for name, value in misrouting.function(cell, np.random.default_rng(0)).items()}
    {'dense': 0.74, 'experts': 0.8, 'lead': -0.07}
    >>> {name: round(value, 2) for name, value in misrouting.theory(cell).items()}
    {'dense': 0.74, 'experts': 0.8, 'lead': -0.06}
    """
    cell = _checked_routes(checked(cell, rng, PARAMETERS))
    tested, dense, experts = fits.fit(cell, rng)
    squared_norms = (experts**2).reshape(tested.k, -1).sum(axis=1)
    own = formulas.risk(tested, experts, estimator="sparse")
    astray = _risk_astray(tested.noise_variance * squared_norms)
    return fits.risks(formulas.risk(tested, dense), _mixed(own, astray, cell["wrong_routes"]))


@no_theory_on_error
def theory(cell):
    """Expected risks: as those of the experiment risk, and with what wrong experts' coefficients make of noise."""
    cell = _checked_routes(complete(cell, PARAMETERS))
    dense, fitted = fits.expected_dense(cell), fits.expected_experts(cell)
    experts = None
    if fitted is not None:
        experts = _mixed(fitted.risks.mean(), _risk_astray(fitted.output_noise), cell["wrong_routes"])
    return known(dense=dense, experts=experts, lead=difference(dense, experts))


def _checked_routes(cell):
    if cell["k"] == 1 and cell["wrong_routes"] > 0:
        raise ValueError(f"wrong_routes must be 0 where k is 1: there is no wrong expert; got {cell['wrong_routes']:g}")
    return cell


def _risk_astray(output_noise):
    """Risk where all rows go astray; experts are equally likely, and the response's variance is 1.

    The mean over i of that over j other than i is the mean over all j of `output_noise` (k,), ``v ||bhat_j||^2``.
    """
    return 1 + output_noise.mean()


def _mixed(own, astray, wrong_routes):
    """The risk where that share goes astray; what never happens counts for nothing, even where it is infinite."""
    parts = ((1 - wrong_routes, own), (wrong_routes, astray))
    return sum(share * risk for share, risk in parts if share > 0)


EXPERIMENT = Experiment(
    name="misrouting",
    version=1,
    summary="Risk of a dense least-squares fit and of experts some of whose inputs go to a wrong one at random.",
    function=measure,
    parameters=PARAMETERS,
    results=fits.RESULTS,
    theory=theory,
)
