"""How modular activations are, on rows that the modules were not found on, beside draws that have none."""

import contextlib
from typing import NamedTuple

import numpy as np

from .._threads import thread_map
from .copula import GaussianCopula, ScaledCopula, correlation_kept
from .modules import active_entries, best_modules, modularity, modules_of

LEAST_Z, LEAST_RATIO = 5.0, 1.5
"""Modular is what lies more than so many standard deviations, and so many times, above draws without modules."""


LEAST_KEPT = 0.8
"""Draws that have less of the correlations than this share are no null, and modules cannot be told from them."""

NULLS = {"correlations": GaussianCopula, "correlations and scales of rows": ScaledCopula}
"""What draws have, and how they are made. Of the two the one with more modularity is compared with."""

SCALED_DRAWS = 500_000
"""Added to the numbers of the second null's draws."""


class Modularity(NamedTuple):
    """Modularity on held-out rows, and that of draws of a Gaussian copula, which has no modules.

    Attributes
    ----------
    score : float
        Bipartite modularity Q, see `moenoise.activations.find_modules`: modules from one half of the rows, Q on the
        other, and the other way round; their mean.
    null : (draws,) array
        The same of each draw: of a Gaussian copula with the columns' values and correlations, or of one whose rows also
        have their own scales, whichever has more of it.
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
    null_kind : {"correlations", "correlations and scales of rows"}
        What the null's draws share with the activations.
    correlation_kept : float
        How much of the columns' correlations a draw of the first null has, a ratio of sums of squares. Well below 1 for
        columns too sparse for a copula to be fitted.
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
    null_kind: str
    correlation_kept: float

    @property
    def modular(self):
        """Whether both z and ratio are above their thresholds; None where the null is none."""
        found = bool(self.z > LEAST_Z and self.ratio > LEAST_RATIO)
        return None if found and self.correlation_kept < LEAST_KEPT else found


EQUAL = 1e-3
"""Modularities within that share of the highest are equal to it."""


def judge_modularity(rows, halves, k, sparsity, *, draws, seed, jobs, candidates=(), done=lambda: None):
    """The `Modularity` of rows (n, d), with halves (n,) bool; `done` is called after each of twice as many draws.

    Where k was chosen among candidates, draws have a choice as well: each has the higher of its modularities for k and
    for the number that is best in the null's first draw.
    """
    own = cross_score(rows, halves, k, sparsity, seed)
    found = {}
    for begin, (kind, null) in zip((0, SCALED_DRAWS), NULLS.items()):
        fitted = null(rows)
        if begin == 0:
            kept = correlation_kept(rows, fitted.draw(seed, 0))

        numbers = {k, best_number(fitted.draw(seed, begin), halves, candidates, sparsity, seed)} if candidates else {k}

        def score(number, fitted=fitted, numbers=numbers):
            drawn = fitted.draw(seed, number)
            return max(cross_score(drawn, halves, each, sparsity, seed) for each in numbers)

        found[kind] = np.array(thread_map(score, range(begin, begin + draws), jobs, done))
    kind = max(found, key=lambda name: found[name][:, 0].mean())
    mean, spread = found[kind].mean(axis=0), found[kind][:, 0].std(ddof=1)
    return Modularity(own[0], found[kind][:, 0], *compared(own[0], mean[0], spread), own[1], float(mean[1]), own[2],
                      own[3], float(mean[2]), float(mean[3]), kind, kept)


def best_number(rows, halves, candidates, sparsity, seed, done=lambda: None):
    """The number of modules, of candidates, with the highest held-out modularity.

    Of equals it is the least: where there are too many, the surplus comes out empty.
    """
    scores = {}
    for k in candidates:
        with contextlib.suppress(ValueError) if scores else contextlib.nullcontext():  # fewer features are active
            scores[k] = cross_score(rows, halves, k, sparsity, seed)[0]
        done()
    highest = max(scores.values())
    return min(k for k, score in scores.items() if score >= highest - EQUAL * abs(highest))


def compared(score, mean, spread):
    """(z, ratio) of a score beside the null's."""
    excess = score - mean
    z = excess / spread if spread > 0 else 0.0 if excess == 0 else np.copysign(np.inf, excess)
    return float(z), float(score / mean) if mean > 0 else 1.0 if excess == 0 else float(np.inf)


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
