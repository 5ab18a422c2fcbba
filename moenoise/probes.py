"""Which linear probe loses least under feature noise: sparse, ridge, or routed experts on modules of features."""

import dataclasses
import warnings
from functools import partial
from typing import NamedTuple

import numpy as np

from . import _validation
from ._blas import one_blas_thread
from ._probing import MOST_SWEEPS, PROBES, TEST_SHARE, as_problem, measure_split
from ._progress import progress_bar
from ._splits import mean_over_splits
from ._threads import thread_map
from .tables import aligned

__all__ = ["Comparison", "ProbeRecord", "compare"]

LABELS = {"accuracy": "accuracy", "drop": "drop: clean - noisy accuracy",
          "relative_drop": "drop / (clean accuracy - chance)"}


class ProbeRecord(NamedTuple):
    """A probe at one noise, means over the splits and their standard errors."""

    probe: str
    noise: float
    """Standard deviation of the noise on the test rows, in units of each feature's own. 0: clean."""
    accuracy: float
    accuracy_error: float
    drop: float
    """Clean accuracy less this one."""
    drop_error: float
    relative_drop: float | None
    """`drop` over (clean accuracy - chance); None where a probe is not above chance in every split."""
    relative_drop_error: float | None


@dataclasses.dataclass(frozen=True, eq=False)
class Comparison:
    """What `compare` found.

    Attributes
    ----------
    probes : tuple of str
    noise : tuple of float
        0 first.
    accuracy : (splits, probes, noises) array
        On the test rows of each split.
    chance : float
        The share of the most common class among all rows.
    penalties : (splits, probes) array of int
        Which of its penalties, 0 for the strongest, each probe chose.
    rerouted : (splits, noises) array
        Share of test rows that the noise sends to another expert (of the probe "experts").
    parameters : dict of str to (int, int)
        Of each probe: coefficients and intercepts, and beside them its router's own. Modules are found in each split
        anew: these are means, rounded.
    classes : tuple
    unconverged : int
        How many of the chosen fits of lasso and elastic net, one a split each, have not converged.
    """

    probes: tuple
    noise: tuple
    accuracy: np.ndarray
    chance: float
    penalties: np.ndarray
    rerouted: np.ndarray
    parameters: dict
    classes: tuple
    unconverged: int

    @property
    def drop(self):
        """(splits, probes, noises) clean accuracy less accuracy."""
        return self.accuracy[:, :, :1] - self.accuracy

    @property
    def relative_drop(self):
        """(splits, probes, noises) `drop` over (clean accuracy - chance); NaN for a probe once below chance."""
        room = self.accuracy[:, :, :1] - self.chance
        usable = (room > 0).all(axis=0)
        return np.where(usable, self.drop / np.where(room > 0, room, 1), np.nan)

    @property
    def records(self):
        """A `ProbeRecord` for each probe and noise."""
        relative = self.relative_drop
        found = []
        for i, probe in enumerate(self.probes):
            for j, noise in enumerate(self.noise):
                shown = [self.accuracy, self.drop]
                if not np.isnan(relative[0, i, j]):
                    shown.append(relative)
                numbers = [number for values in shown for number in mean_over_splits(values[:, i, j], TEST_SHARE)]
                found.append(ProbeRecord(probe, noise, *numbers, *(6 - len(numbers)) * [None]))
        return found

    def plot(self, ax=None, *, what="accuracy"):
        """Each probe over noise, with bars of two standard errors.

        Parameters
        ----------
        ax : matplotlib.axes.Axes, optional
            Default: new ones.
        what : {"accuracy", "drop", "relative_drop"}

        Returns
        -------
        matplotlib.axes.Axes
        """
        from . import plots

        _validation.as_choice(what, "what", tuple(LABELS))
        ax = plots.default_axes(ax)
        spread = 0.008 * self.noise[-1]  # probes side by side, so that their bars can be told apart
        colours = (*(plots.CYCLE[c] for c in (2, 0, 3, 1, 4, 5)), plots.COLOURS["reference"])
        for i, (probe, colour, marker) in enumerate(zip(self.probes, colours, (*plots.MARKERS, "X"))):
            shown = [record for record in self.records if record.probe == probe and getattr(record, what) is not None]
            if shown:
                x = np.array([record.noise for record in shown]) + spread * (i - (len(self.probes) - 1) / 2)
                y, errors = ([getattr(record, name) for record in shown] for name in (what, f"{what}_error"))
                plots.measured(x, y, errors, label=probe, colour=colour, marker=marker, ax=ax)
                ax.plot(x, y, ":" if "," in probe else "-", color=colour, linewidth=0.9, zorder=2)
        if what == "accuracy":
            ax.axhline(self.chance, color=plots.COLOURS["reference"], linewidth=0.8, label="most common class")
        ax.set_xlabel("noise of the test rows, in standard deviations of each feature")
        ax.set_ylabel(LABELS[what])
        ax.legend()
        return ax

    def __str__(self):
        return f"{self._heading()}\n\n{aligned(self._rows())}"

    def _repr_html_(self):
        headings, *rows = self._rows()
        head = "".join(f"<th>{heading}</th>" for heading in headings)
        body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
        return (f"<table><caption>{self._heading()}</caption><thead><tr>{head}</tr></thead>"
                f"<tbody>{body}</tbody></table>")

    def _heading(self):
        return (f"Probes of {len(self.classes)} classes, {len(self.accuracy)} splits; always naming the most common "
                f"class: {self.chance:.3f}. Drops in brackets: clean - noisy accuracy, and that over (clean "
                "accuracy - chance). +-: two standard errors.")

    def _rows(self):
        heads = ["clean", *(f"noise {noise:g}" for noise in self.noise[1:])]
        rows = [("probe", "parameters", "router's", *heads)]
        for probe in self.probes:
            cells = [f"{record.accuracy:.3f} +- {2 * record.accuracy_error:.3f}" + _drops(record)
                     for record in self.records if record.probe == probe]
            rows.append((probe, *map(str, self.parameters[probe]), *cells))
        return rows


def compare(A, labels, *, experts=None, modules=None, sparsity=0.7, noise=(0.2, 0.5, 1.0, 2.0), tuning_noise=0.0,
            groups=None, seeds=5, rng=None, jobs=None, progress=True):
    r"""Which linear probe loses least when noise is added to the test rows: sparse, ridge, or routed experts?

    All probes are least-squares classifiers: a column of 0 and 1 for each class, and the class of the largest answer.
    So the penalties alone tell them apart, which is what the names of the first three say, and settings cost a
    fraction of what they do in logistic regression. With Y the columns, features standardised on the training rows,
    and intercepts without penalty:

    * "lasso", "elastic net": ``||Y - X W||^2 / 2n + a (l |W|_1 + (1 - l) / 2 ||W||^2)``, l = 1 and 1/2;
    * "ridge": ``||Y - X W||^2 / n + r ||W||^2``;
    * "experts", the set of routed linear probes: features in modules, an expert on each that sees no others, ridge
      regression on the rows where its module is most active, relative to what is usual there; a `moenoise.QDARouter`
      fitted to the same rows sends test rows to experts;
    * "experts, random blocks", a control: as many features an expert, but taken at random;
    * "experts, averaged", a control: the mean of the experts' answers, without a router;
    * "experts, clean routing", a control: the probe "experts", whose router sees the test rows without their noise.

    Each has as many coefficients, and one penalty that is chosen from 12 values by the accuracy on the same three
    folds of the training rows.

    Parameters
    ----------
    A : array-like (n, d)
        Activations, or other features.
    labels : array-like (n,) of int or str
        Two or more classes, of at least 12 rows each.
    experts : int >= 2, optional
        Modules to look for, with `moenoise.activations.find_modules` on the training rows. A feature which it leaves
        out joins the smallest. Default: 4, or as many as `modules` has.
    modules : array-like (d,) of int, optional
        The module of each feature instead, 0 to ``experts - 1``.
    sparsity : float in [0, 1), default 0.7
        For `moenoise.activations.find_modules`.
    noise : increasing floats > 0, default (0.2, 0.5, 1, 2)
        Standard deviations of the Gaussian noise that is added to the test rows, in units of each feature's own.
    tuning_noise : float >= 0, default 0
        The same on the rows by which the penalty is chosen: with 0 no probe knows that there will be noise.
    groups : array-like (n,) of int or str, optional
        Rows of equal group, as tokens of one document, stay on one side of a split; each class in four groups at least.
    seeds : int >= 2, default 5
        Random splits, a quarter of the rows for testing (about, where there are groups), and draws of noise.
    rng : None, int, SeedSequence or Generator, optional
    jobs : int, optional
        Threads; default: as many as this process may use cores. The result has the same bits for any number.
    progress : bool, default True

    Returns
    -------
    Comparison
        `records` (probe, noise, accuracy, drop and drop relative to (clean - chance), with standard errors), the
        numbers of each split, ``.plot(ax=)``, and tables for print and Jupyter. A probe that starts lower drops less by
        arithmetic: compare the relative drop and the accuracy, too. Standard errors are over the splits, which share
        rows: Nadeau and Bengio's (2003).

    Raises
    ------
    TypeError, ValueError
        Where an argument has the wrong kind, shape or range; where there is one class, or one has too few rows or
        groups; where a module has no rows.

    Warns
    -----
    UserWarning
        Where fits that were chosen have not converged.

    Notes
    -----
    The router's own parameters, ``sum d_i (d_i + 1) / 2`` covariances, k shares and a noise variance, come on top of
    the coefficients: they stand beside them in the result. Each expert has its own intercepts.

    Examples
    --------
    >>> import moenoise as mn
    >>> sample = mn.BlockModel.isotropic(12, 3, variance=9.0, rng=0).sample(600, rng=1)
    >>> result = mn.probes.compare(sample.features, sample.response > 0, modules=[0] * 4 + [1] * 4 + [2] * 4,
    ...                            seeds=2, rng=0, progress=False)
    >>> result.parameters["ridge"], result.parameters["experts"]
    ((26, 0), (30, 34))
    >>> result.accuracy.shape
    (2, 7, 5)
    """
    problem = as_problem(A, labels, experts=experts, modules=modules, sparsity=sparsity, noise=noise,
                         tuning_noise=tuning_noise, groups=groups, rng=rng)
    seeds = _validation.as_integer(seeds, "seeds", low=2)
    jobs = _validation.as_jobs(jobs)
    shown = _validation.as_flag(progress, "progress")
    # Threads of BLAS would compete with those of the splits, and their number would change the last bits.
    with one_blas_thread(), progress_bar("splits", shown=shown, total=seeds, unit="split") as bar:
        return measure(problem, partial(thread_map, jobs=jobs, done=bar.update), seeds)


def measure(problem, map_splits, splits):
    """The `Comparison` of so many splits; ``map_splits(function, items)`` is the list of ``function(item)``."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of each fit, in threads: those that count are counted below
            result = _joined(problem, map_splits(partial(measure_split, problem), range(splits)))
    except BaseException:
        problem.stopped.set()  # nobody waits for minutes of fits after Ctrl-C
        raise
    if result.unconverged:
        warnings.warn(f"{result.unconverged} of the {2 * splits} fits of lasso and elastic net that were chosen ended "
                      f"after {MOST_SWEEPS} sweeps without converging", stacklevel=3)
    return result


def _drops(record):
    """Both drops of a noisy record, in brackets."""
    if record.noise == 0:
        return ""
    relative = "-" if record.relative_drop is None else f"{record.relative_drop:.2f}"
    return f" ({record.drop:.3f}, {relative})"


def _joined(problem, parts):
    """The `Comparison` of all splits."""
    accuracies, penalties, rerouted, sizes, unconverged = zip(*parts)
    d, m = problem.features.shape[1], len(problem.classes)
    k = np.mean([len(each) for each in sizes])
    router = np.mean([sum(size * (size + 1) / 2 + 1 for size in each) + 1 for each in sizes])
    parameters = {}
    for probe in PROBES:
        count = k if "experts" in probe else 1
        own = router if "experts" in probe and "averaged" not in probe else 0
        parameters[probe] = (round((d + count) * m), round(own))
    chance = float(np.bincount(problem.codes).max() / len(problem.codes))
    return Comparison(PROBES, problem.noise, np.array(accuracies), chance, np.array(penalties), np.array(rerouted),
                      parameters, problem.classes, sum(unconverged))
