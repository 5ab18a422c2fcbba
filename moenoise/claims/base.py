"""What every claim is made of: records, verdicts, the run around them.

How to write a claim
--------------------
One file a claim, ``moenoise/claims/<name>.py`` (dashes become underscores),
listed in ``claims/__init__.py``. The file holds two functions and one constant:

``measure(run, **settings)``
    Simulates, compares, and returns ``(records, data)``: a list of `Record`,
    and a dict with whatever the figures need; in it, timings (`theorem_5_descent` has some), or why nothing was
    measured (``"not_measured"``, see `joint_training`). `run` is a `Run`:

    * ``run.rng(cell)`` is a seed (a `numpy.random.SeedSequence`) for the
      claim's cell number `cell` (0, 1, ...: one for each model or setting).
      Hand it to ``rng=``, together with ``replicate=r``.
    * ``run.sweep(experiment, grid, replicates, label)`` is the `Table` of `moenoise.sweep`, by the worker threads and
      from the claim's own seed.
    * ``run.map(function, items, label)`` is ``[function(item) for item in items]``
      over the worker threads, shown in the progress bar. BLAS runs on one thread
      inside. `function` must depend on its item only, so that no number
      depends on how many workers there are.

``figures(data)``
    A dict, caption -> `matplotlib.figure.Figure`, drawn with `moenoise.plots`
    (imported inside the function: ``import moenoise`` must stay light, so
    neither Matplotlib nor scikit-learn may be imported at the top of a claim).

``CLAIM = Claim(name=..., place=..., statement=..., summary=..., finding=..., presets=..., measure=..., figures=...)``
    ``presets["quick"]`` and ``presets["paper"]`` are the settings handed to
    `measure`: quick takes a second or two on two cores, paper under a minute.

A comparison is one call::

    estimate = Estimate.of(run.map(one_replicate, range(replicates), "risk"))
    record = compare("theorem-2", "dense risk", "k=4, d=32", estimate, printed=..., corrected=...)

`printed` is what the paper's formula gives, `corrected` what the formula that
this package believes in gives; either may be None (nothing stated). Where the paper is
right both are the same number.

Verdicts
--------
An exact formula (``margin=0``) is compared by a two-sided t-test on the replicates: it holds where
``|measured - stated|`` is at most the `FALSE_ALARM_RATE` quantile times the standard error. The rate is that of one
comparison, small enough for a quick run of all claims to call a true formula false in one run of 10,000. It is nominal:
exact for normal replicates, and a few times higher where a heavy tail is averaged over few. So take many replicates:
the quantile is 5.3 for infinitely many, 6.0 for 64, 9.5 for 16, 88 for 5. "holds" therefore means "not refuted"; what a
run could have refuted shows in its standard errors. ``python tests/false_alarms.py`` measures the rates.
An asymptotic formula is allowed a relative margin on top, the same for both forms:
``|measured - stated| <= margin * |stated| + quantile * standard_error``.
Other statements are bounds (``relation="at least"`` or ``"at most"``), or say that nothing tested does better
(`compare_scores`): a bound that is missed by more than the `DOUBT_RATE` quantile, but not enough to fail, is
"undecided". Where nothing is stated, or the mean is infinite, the verdict is "none".
"""

import dataclasses
import itertools
import math
import warnings
import zlib
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from typing import NamedTuple

import numpy as np
from scipy.special import stdtrit

from .._blas import one_blas_thread
from .._threads import thread_map

RUN_FALSE_ALARM_RATE = 1e-4
"""Chance that a quick run of all claims calls any true exact formula false, if it is nominal."""

MOST_COMPARISONS = 1000
"""How many verdicts a quick run of all claims gives at most (the tests count them)."""

FALSE_ALARM_RATE = RUN_FALSE_ALARM_RATE / MOST_COMPARISONS
"""Chance that one comparison calls a true exact formula false (two-sided); summed over a run, that of the run."""

DOUBT_RATE = 1e-3
"""Chance that a true bound, just met, is undecided or fails; an equality is never undecided."""

RELATIONS = ("equal", "at least", "at most")


class Estimate(NamedTuple):
    """A simulated mean: its standard error (a standard deviation, of the mean), and how well that is known.

    Examples
    --------
    >>> Estimate.of([1.0, 2.0, 3.0]).mean
    2.0
    """

    mean: float
    standard_error: float
    degrees_of_freedom: float = math.inf

    @classmethod
    def of(cls, replicates):
        """The mean of independent replicates; one alone has an infinite standard error."""
        values = np.asarray(replicates, dtype=float)
        if values.ndim != 1 or len(values) == 0:
            raise ValueError(f"replicates must be a non-empty 1-dimensional array, got shape {values.shape}")
        if len(values) == 1:
            return cls(float(values[0]), math.inf, 0)
        return cls(float(values.mean()), float(values.std(ddof=1) / math.sqrt(len(values))), len(values) - 1)

    @classmethod
    def exactly(cls, value):
        """A number that was computed, not sampled."""
        return cls(float(value), 0.0)

    @property
    def allowance(self):
        """How far chance alone takes the mean from the truth, but for `FALSE_ALARM_RATE`."""
        return self.reach(FALSE_ALARM_RATE)

    def reach(self, rate):
        """How far chance alone takes the mean from the truth, to either side, but for that rate."""
        if self.standard_error == 0 or not math.isfinite(self.standard_error):
            return self.standard_error
        return -float(stdtrit(self.degrees_of_freedom, rate / 2)) * self.standard_error


@dataclasses.dataclass(frozen=True)
class Record:
    """One comparison: what was measured, what the two forms say, and whether each holds.

    Attributes
    ----------
    claim, quantity, setting : str
        Which claim, what was measured, and where.
    measured, standard_error : float or None
        The measured mean and its standard error (0 where nothing was sampled); None where not finite.
    printed, corrected : float or None
        What the paper's formula gives and what the corrected one gives; None where nothing is
        stated, or where the mean is infinite.
    printed_verdict, corrected_verdict : {"holds", "undecided", "fails", "none"}
    """

    claim: str
    quantity: str
    setting: str
    measured: float | None
    standard_error: float | None
    printed: float | None
    corrected: float | None
    printed_verdict: str
    corrected_verdict: str


def verdict(estimate, stated, *, margin=0.0, relation="equal"):
    """Whether the stated number agrees with the estimate.

    Parameters
    ----------
    estimate : Estimate
    stated : float or None
        None (nothing stated) or infinite (no mean to measure): the verdict is "none", as it is where a single replicate
        leaves the standard error open. NaN, stated or measured, fails.
    margin : float
        Relative margin, for formulas that are limits; 0 for exact ones.
    relation : {"equal", "at least", "at most"}
        What is stated: that the mean equals `stated`, or that it is at least or at most that.

    Returns
    -------
    {"holds", "undecided", "fails", "none"}

    Examples
    --------
    >>> verdict(Estimate(1.0, 0.01), 1.02)
    'holds'
    >>> verdict(Estimate(1.0, 0.01), 1.2)
    'fails'
    >>> verdict(Estimate(1.0, 0.01), 1.2, margin=0.2)
    'holds'
    >>> verdict(Estimate(1.0, 0.01), 1.04, relation="at least")
    'undecided'
    """
    if relation not in RELATIONS:
        raise ValueError(f"relation must be one of {RELATIONS}, got {relation!r}")
    if stated is None or math.isinf(stated) or estimate.standard_error == math.inf:
        return "none"
    if not math.isfinite(stated) or not math.isfinite(estimate.mean):
        return "fails"
    excess = estimate.mean - stated
    if relation == "at least":
        excess = min(excess, 0.0)
    elif relation == "at most":
        excess = max(excess, 0.0)
    missed = abs(excess) - margin * abs(stated)
    if missed > estimate.allowance:
        return "fails"
    return "undecided" if relation != "equal" and missed > estimate.reach(DOUBT_RATE) else "holds"


def compare(claim, quantity, setting, estimate, *, printed=None, corrected=None, margin=0.0, relation="equal",
            testable=True):
    """The `Record` of one comparison, both forms judged by the same rule.

    With ``testable=False`` both verdicts are "none": the mean or the variance of what was sampled is
    infinite, so its standard error says nothing.
    """
    verdicts = [verdict(estimate, stated, margin=margin, relation=relation) if testable else "none"
                for stated in (printed, corrected)]
    return Record(claim, quantity, setting, finite_or_none(estimate.mean), finite_or_none(estimate.standard_error),
                  finite_or_none(printed), finite_or_none(corrected), *verdicts)


def compare_scores(claim, quantity, setting, accuracies, *, printed=None, corrected=None):
    """The `Record` of a routing score: it holds where no other classifier routes better than chance explains.

    Parameters
    ----------
    accuracies : dict of str to (replicates,) array_like
        Each classifier's accuracy in [0, 1], by replicate, all on the same test rows: differences are paired.
    printed, corrected : str or None
        Which of them is the printed score, and which the corrected one.

    Returns
    -------
    Record
        `measured` is the best mean accuracy of all classifiers, with its standard error;
        `printed` and `corrected` are the two scores' own mean accuracies.
    """
    accuracies = {name: np.asarray(values, dtype=float) for name, values in accuracies.items()}
    best = Estimate.of(max(accuracies.values(), key=np.mean))

    def judge(name):
        if name is None:
            return None, "none"
        own = accuracies[name]
        leads = [Estimate.of(other - own) for rival, other in accuracies.items() if rival != name]
        verdicts = {verdict(lead, 0.0, relation="at most") for lead in leads}
        return float(own.mean()), next(word for word in ("fails", "undecided", "holds") if word in verdicts)

    (printed_accuracy, printed_verdict), (corrected_accuracy, corrected_verdict) = judge(printed), judge(corrected)
    return Record(claim, quantity, setting, finite_or_none(best.mean), finite_or_none(best.standard_error),
                  printed_accuracy, corrected_accuracy, printed_verdict, corrected_verdict)


def finite_or_none(value):
    """`value` as a Python float; None where it is None, NaN or infinite (JSON knows neither)."""
    return float(value) if value is not None and math.isfinite(value) else None


@dataclasses.dataclass(frozen=True)
class Claim:
    """One claim of the paper: what it says, how it is measured, what is drawn.

    Attributes
    ----------
    name : str
        As in ``moenoise reproduce NAME``.
    place : str
        Where in the paper.
    statement : str
        What the paper says, in one line.
    summary : str
        What the simulation says to it, for a table: a sentence or two.
    finding : str
        The same in full, with the numbers of preset "paper", seed 0.
    presets : dict of str to dict
        Keyword arguments of `measure` under "quick" and "paper".
    measure : callable
        ``measure(run, **settings) -> (records, data)``.
    figures : callable
        ``figures(data) -> {caption: Figure}``.
    beyond : bool
        Whether the statement is not the paper's own; what is printed is then only taken over from it.
    """

    name: str
    place: str
    statement: str
    summary: str
    finding: str
    presets: dict
    measure: Callable
    figures: Callable
    beyond: bool = False


class Run:
    """Seeds, worker threads and progress for the claims of one run; a context manager.

    Parameters
    ----------
    seed : int
        What all randomness is derived from.
    jobs : int
        Worker threads. Results do not depend on it.
    bar : tqdm.tqdm, optional
        A progress bar, to which the present claim and how far it is are written.
    """

    def __init__(self, seed, jobs=1, bar=None):
        self.seed, self.jobs = seed, jobs
        self._claim, self._bar = "", bar

    def __enter__(self):
        with ExitStack() as stack:
            # Parallelism is over replicates; BLAS threads inside would only compete, and change the last bits.
            stack.enter_context(one_blas_thread())
            self._pool = ThreadPoolExecutor(self.jobs)
            self._resources = stack.pop_all()
        return self

    def __exit__(self, kind, error, traceback):
        # After an error or Ctrl-C nobody wants what is still running.
        self._pool.shutdown(wait=kind is None, cancel_futures=True)
        self._resources.close()

    def begin(self, claim):
        """From here on seeds and progress are those of the claim of that name."""
        self._claim = claim
        self._show(claim)

    def rng(self, cell=0):
        """The seed of the present claim's cell: a function of the run's seed, the claim's name and `cell` only."""
        return np.random.SeedSequence(self.seed, spawn_key=(zlib.crc32(self._claim.encode()), cell))

    def map(self, function, items, label=""):
        """``[function(item) for item in items]``, in that order, by the worker threads and the engine of sweeps."""
        items = list(items)
        done = itertools.count(1)
        return thread_map(function, items, self.jobs, executor=self._pool,
                          done=lambda: self._show(f"{self._claim} {label} {next(done)}/{len(items)}"))

    def sweep(self, experiment, grid, replicates, label=""):
        """The `moenoise.sweeps.table.Table` of `moenoise.sweep`; what an experiment raises ends the claim."""
        from ..sweeps.sweep import sweep

        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".* replicates raised")  # which is an error here
            table = sweep(experiment, grid, replicates, rng=self.rng(), executor=self._pool, jobs=self.jobs,
                          progress=lambda done, total: self._show(f"{self._claim} {label} {done}/{total}"))
        if table.failures:
            failure = table.failures[0]
            raise RuntimeError(f"{label}: {failure.error} in {failure.cell}\n{failure.traceback}")
        return table

    def _show(self, text):
        if self._bar is not None:
            self._bar.set_postfix_str(text, refresh=False)
            self._bar.update(0)  # draws it, unless it was drawn a moment ago
