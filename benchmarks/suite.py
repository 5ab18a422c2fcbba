"""All rows by name, and how each is run."""

from moenoise import _core

from . import descent, draws, fits, growth, memory, replicates, routing, sweeps, threads
from .environment import in_fresh_process
from .row import FULL, QUICK, measure

COMPARISONS = {
    "normals": draws.normals,
    "learning-curve": fits.learning_curve,
    "experts": fits.experts,
    "uneven-experts": fits.uneven_experts,
    "gradient": descent.gradient,
    "descent": descent.descent,
    "qda": routing.qda,
    "soft-mixture": routing.soft_mixture,
    "em": routing.expectation,
    "figure-3": replicates.figure_3,
    "cores": replicates.cores,
    "sweeps": sweeps.sweeps,
    "threads": threads.threads,
}

MEASUREMENTS = {
    "memory": memory.memory,
    "growth": growth.growth,
    "dense-over-experts": growth.dense_over_experts,
}

NAMES = (*COMPARISONS, *MEASUREMENTS)

ON_EACH_INSTRUCTION_SET = {"normals"}

PART_OF_EFFORT = {"threads": 0.3}
"""Where there are many rows of one kind."""


def description(name):
    """The first line of the row's docstring."""
    return {**COMPARISONS, **MEASUREMENTS}[name].__doc__.splitlines()[0]


def run(name, quick):
    """The results of one name, ready for JSON."""
    if name in MEASUREMENTS:
        return MEASUREMENTS[name](quick)
    if name in ON_EACH_INSTRUCTION_SET:  # it is chosen at import, so each needs its own process
        return [entry for isa in _core.instruction_sets()
                for entry in in_fresh_process(compare, name, quick, MOENOISE_ISA=isa)]
    return compare(name, quick)


def compare(name, quick):
    """Every row of that name, measured."""
    effort = QUICK if quick else FULL
    effort = effort._replace(seconds=effort.seconds * PART_OF_EFFORT.get(name, 1))
    return [measure(row, effort, judged=not quick) for row in COMPARISONS[name](quick)]
