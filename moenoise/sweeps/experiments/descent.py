"""The experiment descent: steps of gradient descent on a noisy block design, dense and per expert."""

import bisect
import math

import numpy as np

from ... import linear
from ... import theory as formulas
from ...designs import spectral_design, standard_normal
from .base import Experiment, difference, known, no_theory_on_error
from .block_model import SHAPE
from .parameters import NOT_NEGATIVE, ROWS, Parameter, checked, complete, number

# Descent that needs more is refused: near n = d a spectrum reaches down to 0, and steps have no end.
MOST_STEPS = 100_000

PARAMETERS = {
    "n": ROWS,
    **SHAPE,
    "noise_variance": Parameter(1.0, "n times the variance of one entry of the noise", NOT_NEGATIVE),
    "smallest_singular_value": Parameter(3.0, "of the first clean block", number(low=1e-50, high=1e50)),
    "largest_singular_value": Parameter(6.0, "of the first clean block, others equally spaced between the two",
                                        number(low=1e-50, high=1e50)),
    "block_contrast": Parameter(1.0, "the last block's singular values over the first's, others equally spaced between",
                                number(low=1e-6, high=1e6)),
    "tolerance": Parameter(1e-3, "share of the first residual that is descended to", number(low=1e-6, high=0.5)),
}


def measure(cell, rng):
    r"""Steps that gradient descent needs on a drawn noisy design, whole and block by block, and its rates.

    The clean design is block diagonal, k blocks of n / k rows and d / k columns, with given singular values and uniform
    singular vectors; the noise is on all entries (`moenoise.spectral_design`, the paper's Theorem 5). The response
    is ``clean @ beta`` with ``beta ~ N(0, I)``. Descent begins at zero and takes steps of 1 over the largest squared
    singular value (`moenoise.gradient_descent`): dense on the whole noisy design, each expert on its own rows and
    columns. Counted are the steps until the residual's norm is `tolerance` times the first one, with fractions, by the
    logarithm between two steps. Where n > d a part of the residual cannot be descended, that of the least-squares fit:
    the norm is of the rest.

    Parameters
    ----------
    cell : dict
        - n, d, k : int >= 1, rows, features and experts; k divides n and d. Required.
        - noise_variance : float >= 0, default 1.0: n times the variance of one noise entry.
        - smallest_singular_value, largest_singular_value : float in [1e-50, 1e50], default 3.0 and 6.0, of the first
          clean block, the others equally spaced between the two.
        - block_contrast : float in [1e-6, 1e6], default 1.0: block i has these singular values times a factor, equally
          spaced from 1 for the first block to `block_contrast` for the last.
        - tolerance : float in [1e-6, 0.5], default 1e-3.
    rng : numpy.random.Generator
        Advanced by two draws of the package's own.

    Returns
    -------
    dict
        "dense_steps", "experts_steps": steps, of the slowest expert; "lead": dense's less the experts'. "dense_rate",
        "experts_rate": what a late step contracts the residual by, ``1 - lambda_min^2 / lambda_max^2`` of the drawn
        design's non-zero singular values; the slowest expert's.

    Raises
    ------
    TypeError, ValueError
        Where the cell or `rng` is not as described; the message names the parameter. Where the drawn design is so close
        to singular that more than 100,000 steps would be needed.

    Examples
    --------
    >>> import numpy as np
    >>> from moenoise.sweeps.experiments import EXPERIMENTS
    >>> descent = EXPERIMENTS["descent"]
    >>> cell = {"n": 200, "d": 400, "k": 2, "block_contrast": 2.0}
    >>> {name: round(value, 1) for name, value in descent.function(cell, np.random.default_rng(0)).items()}
    {'dense_steps': 73.2, 'experts_steps': 22.9, 'lead': 50.3, 'dense_rate': 0.9, 'experts_rate': 0.8}
    >>> {name: round(value, 1) for name, value in descent.theory(cell).items()}
    {'dense_steps': 77.0, 'experts_steps': 23.4, 'lead': 53.6, 'dense_rate': 0.9, 'experts_rate': 0.8}
    """
    cell = _checked_design(checked(cell, rng, PARAMETERS))
    clean, noisy = spectral_design(*_blocks(cell), noise_variance=cell["noise_variance"], rng=rng)
    response = clean @ standard_normal(cell["d"], rng=rng)
    dense_steps, dense_rate = _descend(noisy, response, cell["tolerance"])
    steps, rates = zip(*[_descend(*part, cell["tolerance"]) for part in _parts(noisy, response, cell["k"])])
    return _results(dense_steps, max(steps), dense_rate, max(rates))


@no_theory_on_error
def theory(cell):
    """Limits for large matrices, of steps where n < d only, and of no more than are made.

    In the limit nothing fluctuates. On designs of 120 to 400 rows rates were up to 3 % below it, steps up to 5 %. The
    slowest of small blocks that are alike takes more: 8 % with 8 blocks of 30 rows. A small lead is then not known.
    """
    cell = _checked_design(complete(cell, PARAMETERS))
    spectra, shapes = _blocks(cell)
    rates = formulas.convergence(spectra, noise_variance=cell["noise_variance"], shapes=shapes)
    dense_steps = _expected_steps(cell, np.concatenate(spectra), (cell["n"], cell["d"]), rates.dense)
    steps = [_expected_steps(cell, *block) for block in zip(spectra, shapes, rates.sparse)]
    return known(**_results(dense_steps, None if None in steps else max(steps), rates.dense, rates.sparse.max()))


def _results(dense_steps, experts_steps, dense_rate, experts_rate):
    return {"dense_steps": dense_steps, "experts_steps": experts_steps, "lead": difference(dense_steps, experts_steps),
            "dense_rate": dense_rate, "experts_rate": experts_rate}


def _checked_design(cell):
    for name in ("n", "d"):
        if cell[name] % cell["k"]:
            raise ValueError(f"k must divide {name}, got {name}={cell[name]}, k={cell['k']}")
    smallest, largest = cell["smallest_singular_value"], cell["largest_singular_value"]
    if smallest > largest:
        raise ValueError(f"smallest_singular_value must be at most largest_singular_value, got {smallest:g} and "
                         f"{largest:g}")
    return cell


def _blocks(cell):
    """(spectra, shapes) of the k clean blocks."""
    k = cell["k"]
    rows, columns = cell["n"] // k, cell["d"] // k
    values = np.linspace(cell["smallest_singular_value"], cell["largest_singular_value"], min(rows, columns))
    return [factor * values for factor in np.linspace(1.0, cell["block_contrast"], k)], [(rows, columns)] * k


def _parts(noisy, response, k):
    """(X, y) of each expert."""
    rows, columns = len(noisy) // k, noisy.shape[1] // k
    for i in range(k):
        own = slice(i * rows, (i + 1) * rows)
        yield np.ascontiguousarray(noisy[own, i * columns:(i + 1) * columns]), response[own]


def _descend(X, y, tolerance):
    """(steps to the tolerance, rate) of gradient descent on X and y."""
    values = np.linalg.svd(X, compute_uv=False)
    values = values[values > values[0] * max(X.shape) * np.finfo(float).eps]
    rate = float(1 - (values[-1] / values[0]) ** 2)
    most = _steps_at_most(rate, tolerance)
    if most > MOST_STEPS:
        raise ValueError(f"n must be farther from d, or tolerance larger: the design drawn, with singular values from "
                         f"{values[-1]:.2g} to {values[0]:.2g}, may need {most:,} steps, and {MOST_STEPS:,} are made")
    squares = linear.gradient_descent(X, y, steps=most, step_size=1 / values[0] ** 2).residual_norms ** 2
    rest = y - X @ linear.lstsq(X, y).coef  # of any descent
    residuals = np.sqrt(np.maximum(squares - rest @ rest, 0.0))
    return _steps_to(residuals / residuals[0], tolerance), rate


def _steps_at_most(rate, tolerance):
    """Whole steps after which the residual is below the tolerance, as each contracts it by the rate at least."""
    if rate == 1:  # to rounding
        return math.inf
    return 1 + math.ceil(math.log(tolerance) / math.log(rate)) if rate > 0 else 1


def _steps_to(residuals, tolerance, first=0):
    """Steps to the tolerance, from falling residuals over the first one after `first` steps and those that follow."""
    logarithms = np.log(np.maximum(residuals, np.finfo(float).tiny))
    return float(np.interp(-math.log(tolerance), -logarithms, first + np.arange(len(residuals))))


def _expected_steps(cell, spectrum, shape, rate):
    """Steps on a large design with these clean singular values; None where no limit is known."""
    most, tolerance = _steps_at_most(rate, cell["tolerance"]), cell["tolerance"]
    if cell["n"] >= cell["d"] or most > MOST_STEPS:
        return None
    rows, columns = shape
    variance = cell["noise_variance"] / cell["n"]

    def residual(steps):
        return formulas.descent_residuals(spectrum, rows=rows, columns=columns, entry_variance=variance, steps=steps)

    after = bisect.bisect_left(range(most), -tolerance, key=lambda steps: -residual(steps))
    return _steps_to(residual([after - 1, after]), tolerance, first=after - 1)


EXPERIMENT = Experiment(
    name="descent",
    version=1,
    summary="Steps of gradient descent to a given residual on a noisy block design, dense and per expert.",
    function=measure,
    parameters=PARAMETERS,
    results={
        "dense_steps": "steps of gradient descent on the whole design until the residual is down to the tolerance",
        "experts_steps": "the same on the experts' own blocks, the slowest expert's",
        "lead": "dense_steps - experts_steps: positive where the experts win",
        "dense_rate": "1 - lambda_min^2 / lambda_max^2 of the whole design's singular values",
        "experts_rate": "the same of the experts' own blocks, the slowest expert's",
    },
    theory=theory,
)
