"""The best penalty of a dense ridge fit on finitely many rows (beyond the paper's Section 4.5)."""

import math

import numpy as np
import scipy.optimize

from .. import _validation
from ._spectrum import spectrum
from .dense_samples import mean_variance, penalised_risk

_START = np.arange(-2.0, 3.0)  # decades of the penalty, relative to the mean variance of the features
_LEAST, _MOST = -10, 12  # and how far the search goes from there
_TOLERANCE = 1e-7  # of log r
_MOST_RATIO = 1e6  # of the noise's and the signal's variance: beyond, no digits of r are left
_MOST_ROWS = 10_000  # over d: beyond, risks differ too little for a search


def best_penalty(model, n):
    r"""Penalty r at which the dense ridge fit ``(X'X / n + r I)^-1 X'y / n`` on n rows has the least expected risk.

    ::

        argmin over r >= 0 of dense_risk(model, n, penalty=r)

    by a bounded search in log r, around the best of a grid of whole decades. The risk is that of the high-dimensional
    equivalent, see `dense_risk`.

    Parameters
    ----------
    model : BlockModel
    n : int or array-like (s,) of int, >= 1
        Rows, routed at random.

    Returns
    -------
    float, or (s,) array
        A variance per entry, like the eigenvalues of ``X'X / n``; 0 where no penalty lowers the risk. It falls like
        1/n. The risk is flat around it, flatter with more rows, which leaves r fewer digits: four at n = 1e4 d. There
        the 1/n law is as near to the truth, and is what is taken beyond: ``r(n) = r(1e4 d) 1e4 d / n``. Noise that is
        1e6 times as strong as the signal, or as weak, leaves one or two digits.

    Raises
    ------
    TypeError, ValueError
        Where an argument has the wrong kind or range; where the noise variance is not 0, and more than 1e6 times as
        large or as small as the signal's mean variance.

    Examples
    --------
    >>> import moenoise as mn
    >>> model = mn.BlockModel.isotropic(60, 3, coefficients=[0.5] * 60)
    >>> penalty = mn.theory.best_penalty(model, 60)
    >>> round(penalty, 3), round(mn.theory.dense_risk(model, 60, penalty=penalty), 3)
    (4.0, 4.739)
    >>> mn.theory.dense_risk(model, 60), mn.theory.generalization(model).dense
    (inf, 3.75)
    """
    basis = spectrum(model)
    _check_ratio(basis, model)
    rows, single = _validation.as_integer_or_vector(n, "n", low=1)
    most = _MOST_ROWS * model.d
    penalties = np.array([_best_penalty(basis, model, min(count, most)) for count in rows.tolist()])
    penalties *= np.minimum(1.0, most / rows)
    return float(penalties[0]) if single else penalties


def _check_ratio(basis, model):
    """Raise where the risks are so alike that a search would find anything."""
    noise, signal = model.noise_variance, mean_variance(basis, 0.0)
    if noise > 0 and basis.has_signal() and not 1 / _MOST_RATIO <= noise / signal <= _MOST_RATIO:
        raise ValueError(f"model must have a noise_variance of 0 or within {_MOST_RATIO:g} times the signal's mean "
                         f"variance, {signal:.3g}, got {noise:.3g}")


def _best_penalty(basis, model, n):
    scale = mean_variance(basis, model.noise_variance)
    if not basis.has_signal():
        return 0.0  # the response is 0, and so is every fit

    def risk(decade):
        return penalised_risk(basis, model, n, scale * 10**decade)

    # With many rows the best penalty falls like 1/n, and the grid with it.
    shift = -round(math.log10(max(1.0, n / model.d)))
    decades = list(_START + shift)
    risks = [risk(decade) for decade in decades]
    while risks[0] == min(risks) and decades[0] > _LEAST + shift:
        decades.insert(0, decades[0] - 1)
        risks.insert(0, risk(decades[0]))
    while risks[-1] == min(risks) and decades[-1] < _MOST:
        decades.append(decades[-1] + 1)
        risks.append(risk(decades[-1]))
    middle = decades[int(np.argmin(risks))]
    found = scipy.optimize.minimize_scalar(
        risk, bounds=(middle - 1, middle + 1), method="bounded", options={"xatol": _TOLERANCE / math.log(10)}
    )
    if penalised_risk(basis, model, n, 0.0) <= min(found.fun, min(risks)):
        return 0.0
    return scale * 10**found.x
