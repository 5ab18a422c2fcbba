"""The high-dimensional equivalent of a Gram matrix whose rows come from several classes.

Rows of class i have covariance ``C_i``, which is ``noise`` on all coordinates plus ``Sigma_i`` on block i; here all are
diagonal (see `Spectrum`). The average resolvent ``(X'X / n + ridge I)^-1`` behaves like the diagonal ``Q`` with::

    q_i = p_i / (unit + t_i),   t_i = tr(C_i Q) / n,   Q = (sum_i q_i C_i + ridge I)^-1

for ``unit = 1``. ``unit = 0, ridge = 1`` gives the limit ridge -> 0 with fewer rows than coordinates, where all q
and 1/Q shrink in proportion to the ridge and are taken relative to it.
"""

import typing

import numpy as np
import scipy.optimize

from ._spectrum import Spectrum

_TOLERANCE = 1e-12  # of q_i (unit + t_i) / p_i - 1
_ROUNDING = 1e-13  # of the potential, relative
_MAX_STEPS = 200
_MAX_STEP = 3.0  # of log q


class GramEquivalent(typing.NamedTuple):
    """The equations above for one number of rows."""

    basis: Spectrum
    probabilities: np.ndarray  # (k,)
    noise: float
    n: int
    unit: float
    ridge: float

    def resolvent(self, q):
        """(d,) diagonal of Q."""
        return 1 / (self.weighted_covariance(q) + self.ridge)

    def weighted_covariance(self, weights):
        """(d,) diagonal of sum_i weights_i C_i."""
        own = np.repeat(weights, self.basis.block_sizes)
        return own * self.basis.eigenvalues + weights.sum() * self.noise

    def own_shares(self, q):
        """(d,) diagonal of q_i Sigma_i Q on each block i, between 0 and 1 however far q and Q are from it."""
        return np.repeat(q, self.basis.block_sizes) * self.basis.eigenvalues * self.resolvent(q)

    def loads(self, q, values):
        """(k,) q_i tr(C_i Q diag(values)) / n."""
        everywhere = (self.resolvent(q) * values).sum()
        return (q * self.noise * everywhere + self.basis.block_sums(self.own_shares(q) * values)) / self.n

    def potential(self, log_q):
        """Convex in log q, and least at the fixed point."""
        q = np.exp(log_q)
        log_determinant = np.log(self.weighted_covariance(q) + self.ridge).sum() / self.n
        return log_determinant + self.unit * q.sum() - self.probabilities @ log_q

    def gradient(self, q):
        """(k,) derivative of the potential by log q: q_i (unit + t_i) - p_i."""
        return q * self.unit + self.loads(q, 1.0) - self.probabilities

    def hessian(self, q):
        """(k, k) second derivative of the potential by log q.

        Off the diagonal it is ``- q_i q_m tr(C_i Q C_m Q) / n``. Rows sum to ``q_i unit + ridge q_i tr(C_i Q^2) / n``,
        from which the diagonal is found: its own difference would cancel.
        """
        own, total = self.own_shares(q), q.sum()
        shares, everywhere = q / total, total * self.noise * self.resolvent(q)  # all between 0 and 1, as `own`
        once = np.outer(self.basis.block_sums(own * everywhere), shares)
        products = (once + once.T + np.outer(shares, shares) * (everywhere @ everywhere)) / self.n
        np.fill_diagonal(products, 0.0)
        row_sums = q * self.unit + self.loads(q, self.ridge * self.resolvent(q))
        return np.diag(row_sums + products.sum(axis=1)) - products

    def solve(self):
        """(k,) q, by damped Newton steps on log q."""
        log_q = np.log(self.probabilities * self._common_factor())
        for _ in range(_MAX_STEPS):
            q = np.exp(log_q)
            gradient = self.gradient(q)
            if np.abs(gradient / self.probabilities).max() <= _TOLERANCE:
                return q
            step = np.linalg.solve(self.hessian(q), -gradient)
            step *= min(1.0, _MAX_STEP / np.abs(step).max())
            start = self.potential(log_q)
            while self.potential(log_q + step) > start + _ROUNDING * (1 + abs(start)):
                step /= 2
            log_q = log_q + step
        raise ArithmeticError("the fixed point was not reached")

    def _common_factor(self):
        """c such that q = c p solves the sum of the equations: exact for classes that are alike."""
        average = self.weighted_covariance(self.probabilities)

        def surplus(log_c):
            c = np.exp(log_c)
            return (c * average / (c * average + self.ridge)).sum() - self.n * (1 - self.unit * c)

        low = high = 0.0
        while surplus(low) >= 0:
            low -= 2
        while surplus(high) <= 0:
            high += 2
        return np.exp(scipy.optimize.brentq(surplus, low, high, xtol=1e-9))


def ridge_risk(equivalent, added_noise=0.0):
    """Risk of the ridge fit: squared errors of its predictions on new rows, whose noise has a variance added to it.

    The mean fit's risk is an average over the classes with weights p; the fit's variance adds to the weights the
    derivative of q by h at 0, where h times the average covariance is added to 1 / Q. Added noise counts with the
    fit's squared norm: the mean fit's, and that same derivative where h itself is added.
    """
    basis, probabilities = equivalent.basis, equivalent.probabilities
    q = equivalent.solve()
    resolvent, hessian = equivalent.resolvent(q), equivalent.hessian(q)
    coefficients = equivalent.own_shares(q) * basis.beta
    missing = resolvent * (q.sum() * equivalent.noise + equivalent.ridge) * basis.beta  # beta less the coefficients
    class_risks = basis.block_sums(basis.eigenvalues * missing**2) + equivalent.noise * (coefficients @ coefficients)

    def q_slope(added):
        return q * np.linalg.solve(hessian, equivalent.loads(q, resolvent * added))

    risk = (probabilities + q_slope(equivalent.weighted_covariance(probabilities))) @ class_risks
    if added_noise:
        risk += added_noise * (coefficients @ coefficients + q_slope(1.0) @ class_risks)
    return float(risk)
