"""Rows about drawing numbers."""

import numpy as np

import moenoise as mn
from moenoise import _core

from .row import Floor, Rival, Row

GOALS = {"avx512": 6.0, "avx2": 3.0, "sse2": 1.6}


def normals(quick):
    """Standard normals, on the instruction set in use."""
    count = 10**5 if quick else 10**6
    isa = _core.instruction_set()
    rng, philox = np.random.default_rng(0), np.random.Generator(np.random.Philox(0))
    # A block of bits makes one uniform, or two normals.
    bits = Floor("the Philox bits alone", runs=(lambda: _core.uniform(1, 0, 0, 0, count // 2),))
    yield Row(
        work="standard normals",
        setting=f"{count:,} float64, {isa}",
        name="mn.standard_normal",
        ours=lambda: mn.standard_normal(count, rng=0),
        rivals=[
            Rival("numpy default_rng().standard_normal", lambda: rng.standard_normal(count), GOALS.get(isa)),
            Rival("numpy Generator(Philox()).standard_normal", lambda: philox.standard_normal(count)),
        ],
        floor=bits,
        difference=improbability,
        tolerance=6,
    )


def improbability(ours, theirs):
    """-log10 of the chance that two samples of one distribution differ this much (Kolmogorov and Smirnov's test)."""
    from scipy.stats import ks_2samp

    return -float(np.log10(max(ks_2samp(ours, theirs, method="asymp").pvalue, 1e-300)))
