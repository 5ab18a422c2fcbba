"""What a row declares, and how any row is measured."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from .timing import interleave, ratio, summary


class Effort(NamedTuple):
    """How many turns a side has: for about `seconds`, but within the two limits; each of `turn` seconds or more."""

    seconds: float
    least: int
    most: int
    turn: float = 0.005

    def repeats(self, first, least=None):
        """Turns of a side whose first run took `first` seconds."""
        return min(self.most, max(least or self.least, int(self.seconds / max(first, self.turn))))

    def calls(self, first):
        """How often such a side is called in a turn."""
        return math.ceil(self.turn / first)


FULL, QUICK = Effort(2.0, 3, 51), Effort(0.3, 2, 11)

WARM_UP = 0.1
"""Seconds that loading code and finding memory for the first time may take."""


@dataclass(frozen=True)
class Rival:
    """What one would use instead."""

    name: str
    run: Callable
    goal: float | None = None
    """How many times faster we have to be."""
    times: int = 1
    """`run` does one part in so many of the work; its seconds are multiplied by this."""
    check: Callable | None = None
    """What is compared with our result, where `run` does something else."""
    tolerance: float | None = None
    """Where it is not the row's."""
    least: int | None = None
    """How often at least, where that is not the effort's: of what takes many seconds."""


@dataclass(frozen=True)
class Floor:
    """What the hardware needs at least: `seconds`, plus `times` the fastest of `runs`, timed beside the row."""

    what: str
    seconds: float = 0.0
    runs: tuple = ()
    times: float = 1.0
    goal: float | None = None
    """The share of our time that the floor has to be."""


def relative_difference(ours, theirs):
    """``||ours - theirs|| / ||theirs||``, of arrays or of nested sequences of them."""
    ours, theirs = _flat(ours), _flat(theirs)
    return float(np.linalg.norm(ours - theirs) / np.linalg.norm(theirs)) if ours.shape == theirs.shape else np.inf


def share_different(ours, theirs):
    """The share of unequal entries."""
    ours, theirs = _flat(ours), _flat(theirs)
    return float(np.mean(ours != theirs)) if ours.shape == theirs.shape else np.inf


def _flat(value):
    if isinstance(value, (list, tuple)):
        return np.concatenate([_flat(part) for part in value])
    return np.ravel(value)


@dataclass(frozen=True)
class Row:
    """One work, done by us and by its rivals."""

    work: str
    setting: str
    name: str
    """What of ours is run."""
    ours: Callable
    rivals: list
    floor: Floor | None = None
    difference: Callable = relative_difference
    tolerance: float = 1e-8


class Disagreement(AssertionError):
    """Two sides of a row computed different things."""


def measure(row, effort, judged=True):
    """Check that all sides agree, time them in turn; everything about the row, ready for JSON.

    With ``judged=False`` goals are left out: they are of the full sizes.
    """
    differences, first, least = _check(row)
    sides = [row.ours, *(rival.run for rival in row.rivals)]
    floor_runs = () if row.floor is None else row.floor.runs
    first += [_warmed(run)[1] for run in floor_runs]
    least += [None] * len(floor_runs)
    seconds = interleave([*sides, *floor_runs], [effort.repeats(*side) for side in zip(first, least)],
                         [effort.calls(side) for side in first])
    ours, at_floor = seconds[0], seconds[len(sides):]
    rivals = [_against(rival, rival.times * theirs, ours, difference, judged)
              for rival, theirs, difference in zip(row.rivals, seconds[1:], differences)]
    return {"work": row.work, "setting": row.setting, "name": row.name, "seconds": summary(ours), "rivals": rivals,
            "floor": _floor(row.floor, at_floor, ours, judged)}


def _check(row):
    """Each rival's difference from us, and all sides' first seconds and least turns; the first run warms up."""
    result, seconds = _warmed(row.ours)
    differences, first, least = [], [seconds], [None]
    for rival in row.rivals:
        theirs, seconds = _warmed(rival.run)
        if rival.check is not None:
            theirs = rival.check()
        difference = row.difference(result, theirs)
        tolerance = row.tolerance if rival.tolerance is None else rival.tolerance
        if not difference <= tolerance:
            raise Disagreement(f"{row.work}, {row.setting}: {row.name} and {rival.name} differ by {difference:.2g} "
                               f"where {tolerance:g} is allowed, so their times cannot be compared")
        differences.append(difference)
        first.append(seconds)
        least.append(rival.least)
    return differences, first, least


def _warmed(run):
    """The result and the seconds of a run; not of the very first one where that is short, and its warm-up is not."""
    result, seconds = _timed(run)
    return _timed(run) if seconds < WARM_UP else (result, seconds)


def _timed(run):
    start = time.perf_counter()
    result = run()
    return result, time.perf_counter() - start


def _against(rival, theirs, ours, difference, judged):
    compared = ratio(theirs, ours)
    goal = rival.goal if judged else None
    return {"name": rival.name, "seconds": summary(theirs), **compared, "difference": difference,
            "times": rival.times, "goal": goal, "met": None if goal is None else compared["ratio"] >= goal}


def _floor(floor, timed, ours, judged):
    if floor is None:
        return None
    seconds = floor.seconds + floor.times * min((float(np.median(own)) for own in timed), default=0.0)
    share = seconds / float(np.median(ours))
    goal = floor.goal if judged else None
    return {"what": floor.what, "seconds": seconds, "share": share, "goal": goal,
            "met": None if goal is None else share >= goal}
