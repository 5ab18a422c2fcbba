"""Theorem 5 under noise that is not Gaussian or correlated (a part of `beyond-gaussian`, not a claim of its own)."""

import numpy as np

from .. import _noise_laws, theory
from .._random import philox_key
from ..designs import spectral_design
from .base import Estimate, compare
from .beyond_correlation import KINDS, noise_correlation
from .beyond_shared import LABELS, LAWS, NAME
from .theorem_5 import SPECTRA, edge_margin, gram_eigenvalues

STRENGTH = 0.9


def measure(run, *, n, replicates):
    """Rates of gradient descent on noisy designs, from their spectra, by law and by correlation over features."""
    blocks, d = len(SPECTRA), 2 * n
    shape = n // blocks, d // blocks
    spectra = [np.linspace(*ends, shape[0]) for ends in SPECTRA]
    laws = {f"{LABELS[law]} noise": law for law in LAWS}
    laws |= {f"noise correlation {STRENGTH:g} of {kind}": noise_correlation(kind, STRENGTH, d) for kind in KINDS}
    laws = {name: _noise_laws.as_law(law, d) for name, law in laws.items()}

    def one(item):
        name, replicate = item
        seed = run.rng(200 + replicate)
        clean, _ = spectral_design(spectra, [shape] * blocks, noise_variance=0.0, rng=seed)
        return contraction_rates(clean + _noise_laws.draw(laws[name], philox_key(seed), 0, n, d) / np.sqrt(n), shape)

    items = [(name, replicate) for name in laws for replicate in range(replicates)]
    measured = np.array(run.map(one, items, "descent")).reshape(len(laws), replicates, -1)
    limit = 1 - theory.convergence(spectra, noise_variance=1.0, shapes=[shape] * blocks).dense
    records = []
    for (name, law), rates in zip(laws.items(), measured):
        setting = f"{name}, n={n}, d={d}, k={blocks}"
        records += order_records(setting, rates)
        records += rate_records(setting, n, rates, limit if isinstance(law, str) else None)
    return records, {}


def contraction_rates(noisy, shape):
    """(k + 1,): ``1 - lambda_min^2 / lambda_max^2`` of the whole design and of its blocks, which have that shape."""
    rows, columns = shape
    blocks = [noisy[i * rows:(i + 1) * rows, i * columns:(i + 1) * columns] for i in range(len(noisy) // rows)]
    ends = np.array([gram_eigenvalues(matrix)[[0, -1]] for matrix in (noisy, *blocks)])
    return 1 - ends[:, 0] / ends[:, 1]


def order_records(setting, rates):
    """Theorem 5's direction: every expert's descent is faster than dense's."""
    gap = Estimate.of(rates[:, 0] - rates[:, 1:].max(axis=1))
    return [compare(NAME, "rho dense - largest rho sparse, at least 0", setting, gap, printed=0.0, corrected=0.0,
                    relation="at least")]


def rate_records(setting, n, rates, limit):
    """Dense's rate beside its limit for independent entries of any law with four moments; None: of no such law."""
    margin = 2 * edge_margin(n)  # of a ratio of two edges
    return [compare(NAME, "1 - rho dense", f"{setting}, margin {margin:.1%}", Estimate.of(1 - rates[:, 0]),
                    margin=margin, corrected=limit)]
