"""How modular activations are, on rows that the modules were not found on, beside draws that have none."""

from typing import NamedTuple

import numpy as np

from .._threads import thread_map
from .copula import GaussianCopula
from .modules import active_entries, best_modules, modularity, modules_of

LEAST_Z, LEAST_RATIO = 5.0, 1.5
"""Modular is what lies more than so many standard deviations, and so many times, above draws without modules."""


class Modularity(NamedTuple):
    """Modularity on held-out rows, and that of draws of a Gaussian copula, which has no modules.

    Attributes
    ----------
    score : float
        Bipartite modularity Q, see `moenoise.activations.find_modules`: modules from one half of the rows, Q on the
        other, and the other way round; their mean.
    null : (draws,) array
        The same of each draw, of a Gaussian copula with the columns' values and correlations.
    z : float
        ``(score - mean(null)) / std(null)``
    ratio : float
        ``score / mean(null)``
    ari : float
        Adjusted Rand index of the two halves' feature groups: 1 where they agree, 0 where by chance.
    null_ari : float
        The mean of the draws.
    density_inside, density_outside : float
        Share of active entries in the rows' own module, and outside of it, on held-out rows.
    null_density_inside, null_density_outside : float
    """

    score: float
    null: np.ndarray
    z: float
    ratio: float
    ari: float
    null_ari: float
    density_inside: float
    density_outside: float
    null_density_inside: float
    null_density_outside: float

    @property
    def modular(self):
        """Whether both z and ratio are above their thresholds."""
        return bool(self.z > LEAST_Z and self.ratio > LEAST_RATIO)


def judge_modularity(rows, halves, k, sparsity, *, draws, seed, jobs, done=lambda: None):
    """The `Modularity` of rows (n, d), with halves (n,) bool; `done` is called after each draw."""
    own = cross_score(rows, halves, k, sparsity, seed)
    copula = GaussianCopula(rows)

    def null(number):
        return cross_score(copula.draw(seed, number), halves, k, sparsity, seed)

    nulls = np.array(thread_map(null, range(draws), jobs, done))
    mean, spread = nulls.mean(axis=0), nulls[:, 0].std(ddof=1)
    z = (own[0] - mean[0]) / spread if spread > 0 else np.sign(own[0] - mean[0]) * np.inf
    ratio = own[0] / mean[0] if mean[0] > 0 else np.inf
    return Modularity(own[0], nulls[:, 0], float(z), float(ratio), own[1], float(mean[1]), own[2], own[3],
                      float(mean[2]), float(mean[3]))


def cross_score(rows, halves, k, sparsity, seed):
    """(Q, adjusted Rand index, density inside, density outside), modules of each half held against the other."""
    from sklearn.metrics import adjusted_rand_score

    found = [modules_of(rows[half], k, sparsity, seed=seed) for half in (halves, ~halves)]
    scores = [held_out(rows[half], modules) for half, modules in zip((~halves, halves), found)]
    score, inside, outside = np.mean(scores, axis=0)
    return float(score), float(adjusted_rand_score(found[0].features, found[1].features)), float(inside), float(outside)


def held_out(rows, modules):
    """(Q, density inside, density outside) of other rows, each with the module that suits it best."""
    members = modules.features >= 0
    active, groups = active_entries(np.abs(rows[:, members]), modules.threshold), modules.features[members]
    in_row, in_column = active.sum(axis=1), active.sum(axis=0)
    total = active.sum(dtype=float)
    if total == 0:
        return 0.0, 0.0, 0.0
    experts = best_modules(active, in_row, in_column, groups, modules.k, total)
    own = groups == experts[:, None]
    inside, cells = active.sum(where=own, dtype=float), own.sum()
    return modularity(active, groups, experts), inside / cells, (total - inside) / max(own.size - cells, 1)
