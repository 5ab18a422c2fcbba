"""The best penalty of a dense ridge fit on finitely many rows (beyond the paper's Section 4.5)."""

import math

import numpy as np
import scipy.optimize

from .. import _validation
from ._spectrum import spectrum
from .dense_samples import penalised_risk

_START = np.arange(-2.0, 3.0)  # decades of the penalty, relative to the mean variance of the features
_LEAST, _MOST = -10, 12  # and how far the search goes from there
_TOLERANCE = 1e-7  # of log r


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
        1/n. The risk is flat around it, flatter with more rows, which leaves r fewer digits: four at n = 1e4 d.

    Raises
    ------
    TypeError, ValueError
        Where an argument has the wrong kind or range.

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
    rows = _validation.as_integer_vector(np.atleast_1d(n), "n")
    if rows.min() < 1:
        raise ValueError(f"n must be at least 1, got {rows.min()}")
    penalties = np.array([_best_penalty(basis, model, count) for count in rows.tolist()])
    return penalties if np.ndim(n) else float(penalties[0])


def _best_penalty(basis, model, n):
    scale = float(basis.probability @ basis.eigenvalues) / model.d + model.noise_variance
    if not (basis.eigenvalues * basis.beta**2).any():
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
