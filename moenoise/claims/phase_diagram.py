"""Phase diagrams: where experts win and where dense does, over samples, noise, routing errors, experts and overlap.

Each is a sweep over two axes, x and y, of what experts are ahead by. Theory's boundary and the measured one are
interpolated between the same cells along y, at each x, so that what the grid's width does to one it does to the other.

Where dense's risk is a limit for large matrices, theory's boundary is off by more the flatter the lead is there: it may
be anywhere between where it is with dense's risk higher, and lower, by the diagram's margin. A boundary that this moves
far is drawn and not judged; all cells whose winner it does not change are.
"""

import dataclasses
import functools
import math
from collections.abc import Callable

import numpy as np

from .. import theory
from ..sweeps.boundary import crossings
from ..sweeps.experiments import model_of
from ..sweeps.grid import Grid
from .base import FALSE_ALARM_RATE, Claim, Estimate, compare
from .simulation import dense_error, experts_error

NAME = "phase-diagram"

# How far theory's boundary may move by its margin, relative, to be judged.
FARTHEST = 0.15

NOWHERE = Estimate(math.nan, math.nan)


@dataclasses.dataclass(frozen=True)
class Diagram:
    """What is swept, what is judged, and how it is drawn.

    Attributes
    ----------
    title : str
    experiment : str or callable
        As for `moenoise.sweep`. Its result "dense" is dense's risk or accuracy, "lead" is positive where experts win.
    x, y : str
        The axes; the boundary is looked for along y.
    fixed : dict
        The other axes, a value each.
    formula : callable or None
        The expectations, where the experiment is not built in.
    margin : float
        What theory's "dense" may be off by, relative; 0 where it is exact.
    printed : bool
        Whether the paper's own formulas give this boundary.
    promise : str or None
        By what in the paper experts win in all cells.
    limit : float
        How far colours are told apart.
    """

    title: str
    experiment: str | Callable
    x: str
    y: str
    fixed: dict
    formula: Callable | None = None
    margin: float = 0.0
    printed: bool = False
    promise: str | None = None
    limit: float = 0.5


# ---- what is simulated here: Bayes-optimal predictors on fresh rows --------------------------------------------------


def under_test_noise(cell, rng):
    """One replicate of Bayes-optimal predictors under another noise than that of training, routing correct."""
    model = model_of(cell)
    test = dataclasses.replace(model, noise_variance=cell["test_noise_variance"])
    return squared_errors(model, test.sample(cell["rows"], rng=rng))


def expected_under_test_noise(cell):
    """Theorem 3."""
    return risks(*theory.robustness(model_of(cell), cell["test_noise_variance"]))


def by_best_router(cell, rng):
    """One replicate of Bayes-optimal predictors, each row sent to the expert that is likeliest by the model."""
    from ..router import QDARouter

    model = model_of(cell)
    sample = model.sample(cell["rows"], rng=rng)
    return squared_errors(model, sample, QDARouter.from_model(model).predict(sample.features))


def expected_by_best_router(cell):
    """Exact, the router's own errors included."""
    return _expected_by_best_router(*(cell[name] for name in ("d", "k", "signal_variance", "model_seed")))


@functools.lru_cache(maxsize=256)  # of many experts it takes a while, and verdicts and figures ask for it
def _expected_by_best_router(d, k, signal_variance, model_seed):
    model = model_of({"d": d, "k": k, "signal_variance": signal_variance, "model_seed": model_seed})
    return risks(theory.generalization(model).dense, theory.routed_risk(model).risk)


def squared_errors(model, sample, routed=None):
    """`risks` of Bayes-optimal predictors on a sample."""
    return risks(dense_error(sample, theory.bayes_dense(model)),
                 experts_error(sample, model.blocks, theory.bayes_sparse(model), routed))


def risks(dense, experts):
    """Both as shares of the response's variance, which is 1, and what experts are ahead by."""
    return {"dense": dense, "experts": experts, "lead": dense - experts}


DIAGRAMS = {
    "samples": Diagram("dense without a penalty", "risk", "n", "noise_variance", {"d": 60, "k": 6}, margin=0.03,
                       promise="Theorem 2 with Section 4.5's hypothesis"),
    "ridge": Diagram("dense with the best penalty", "risk", "n", "noise_variance",
                     {"d": 60, "k": 6, "penalty": "best"}, margin=0.01),
    "wrong routes": Diagram("routes wrong at random", "misrouting", "noise_variance", "wrong_routes",
                            {"d": 60, "k": 4, "n": 600}, margin=0.003),
    "best router": Diagram("routed by the best router", by_best_router, "k", "signal_variance",
                           {"d": 64, "rows": 2000}, expected_by_best_router),
    "test noise": Diagram("noisier than in training", under_test_noise, "k", "test_noise_variance",
                          {"d": 192, "signal_variance": 5.0, "rows": 4000}, expected_under_test_noise, printed=True,
                          promise="Theorem 3's condition"),
    "overlap": Diagram("blocks that overlap", "overlap", "noise_variance", "alpha",
                       {"d": 40, "k": 5, "n": 2000, "reading": "signal"}, margin=0.005, limit=0.15,
                       promise="the overlap ablation"),
}

LABELS = {
    "n": "training rows $n$",
    "noise_variance": "noise variance",
    "wrong_routes": "share of wrong routes",
    "k": "experts $k$",
    "signal_variance": "signal-to-noise ratio",
    "test_noise_variance": "test noise variance (training: 1)",
    "alpha": r"magnitude of the overlap $\alpha$",
}


def measure(run, *, grids):
    """Sweep each diagram's grid, {name: (xs, ys, replicates)}, and hold the boundaries together."""
    records, tables = [], {}
    coefficients = int(run.rng(1).generate_state(1)[0]) >> 1  # of all models: the run's own, by a seed of 31 bits
    for name, (xs, ys, replicates) in grids.items():
        diagram = DIAGRAMS[name]
        grid = Grid(**{diagram.x: xs, diagram.y: ys}, **diagram.fixed, model_seed=coefficients)
        table = run.sweep(diagram.experiment, grid, replicates, name)
        tables[name] = table if diagram.formula is None else table.with_theory(diagram.formula)
        records += diagram_records(diagram, tables[name], replicates)
    return records, {"tables": tables, "replicates": {name: grid[2] for name, grid in grids.items()}}


# ---- verdicts --------------------------------------------------------------------------------------------------------


def diagram_records(diagram, table, replicates):
    """Boundaries, and which side wins in the cells."""
    measured, lead, dense = (table.surface(diagram.x, diagram.y, value, stated=stated)
                             for value, stated in (("lead", False), ("lead", True), ("dense", True)))
    allowed = diagram.margin * dense.means
    signs = np.where(np.abs(lead.means) > allowed, np.sign(lead.means), 0)
    return [*boundary_records(diagram, along_y(measured), judged_lines(lead, allowed), replicates),
            winners_record(diagram, measured, signs, replicates),
            *promise_records(diagram, measured, signs, replicates)]


def along_y(surface, raised=0.0):
    """{x: list of crossings of 0 on its line of cells}, the surface raised by (m, n) heights."""
    lines = {}
    for point in crossings(surface.xs, surface.ys, surface.means + raised, surface.errors, 0.0, ("x", "y")):
        if point.along == "y":
            lines.setdefault(point.x, []).append(point)
    return lines


def judged_lines(lead, allowed):
    """{x: (y, relative margin)} of theory's boundary where it is on one place, which `allowed` (m, n) moves little.

    There has to be a cell more on either side, for the measured mean to change its sign.
    """
    places, lower, upper = (along_y(lead, raised) for raised in (0.0, -allowed, allowed))
    judged = {}
    for x, points in places.items():
        if all(len(lines.get(x, [])) == 1 for lines in (places, lower, upper)):
            y = points[0].y
            margin = max(abs(lines[x][0].y - y) for lines in (lower, upper)) / y
            if lead.ys[1] <= y <= lead.ys[-2] and margin <= FARTHEST:
                judged[x] = y, margin
    return judged


def boundary_records(diagram, found, judged, replicates):
    """Where experts and dense meet beside theory: on each line, and the mean of all."""
    quantity = f"{diagram.y.replace('_', ' ')} where experts and dense meet"
    records, ratios = [], []
    for x, (stated, margin) in judged.items():
        points = found.get(x, [])
        measured = Estimate(points[0].y, points[0].standard_error, replicates - 1) if len(points) == 1 else NOWHERE
        ratios.append((measured.mean / stated, measured.standard_error / stated, margin))
        records.append(compare(NAME, quantity, f"{diagram.title}, {diagram.x}={x:g}, {described(margin)}", measured,
                               printed=stated if diagram.printed else None, corrected=stated, margin=margin))
    if len(ratios) > 1:
        values, errors, margins = np.transpose(ratios)
        mean = Estimate(values.mean(), np.linalg.norm(errors) / len(errors), replicates - 1)
        records.append(compare(NAME, f"{quantity}, measured / theory's",
                               f"{diagram.title}, mean of {len(values)} lines, {described(margins.mean())}", mean,
                               corrected=1.0, margin=margins.mean()))
    return records


def described(margin):
    """How a boundary is judged, for a record's setting."""
    return f"margin {margin:.1%}" if margin else "exact"


def winners_record(diagram, measured, signs, replicates):
    """How many cells are won beyond chance by the wrong side, by theory's `signs` (m, n), 0 where it is not sure."""
    rate = FALSE_ALARM_RATE / measured.means.size  # that of all cells together is a record's
    reach = [[Estimate(0.0, error, replicates - 1).reach(rate) for error in line] for line in measured.errors]
    decided = np.abs(measured.means) > reach
    return compare(NAME, "cells won by another side than by theory",
                   f"{diagram.title}, {decided.sum()} of {decided.size} cells decided",
                   Estimate.exactly(np.sum(decided & (measured.means * signs < 0))), corrected=0.0)


def promise_records(diagram, measured, signs, replicates):
    """By how much experts are ahead where theory gives the cells to dense, and the paper to the experts."""
    lost = signs < 0
    if diagram.promise is None or not lost.any():
        return []
    errors = measured.errors[lost]
    mean = Estimate(measured.means[lost].mean(), np.linalg.norm(errors) / len(errors), replicates - 1)
    return [compare(NAME, f"lead where dense wins by theory, at least 0 by {diagram.promise}",
                    f"{diagram.title}, mean of {len(errors)} cells", mean, printed=0.0, relation="at least")]


# ---- figures ---------------------------------------------------------------------------------------------------------


SHARE = "dense's risk less the experts', as a share of the response's variance"

COMMON = ("Orange: experts win; purple: dense; with a ring: neither, by two standard errors. Line: theory's boundary; "
          "markers: the measured one, along rows and columns of cells, with bars of two standard errors, at most to "
          "the next cells. Both are interpolated between the same cells.")

FITS, ROUTING, OVERLAP = ("samples", "ridge"), ("wrong routes", "best router", "test noise"), ("overlap",)


def figures(data):
    """Diagrams side by side where they share their colours."""
    return {
        f"Least squares on n rows; six experts of ten features each, routed by an oracle; dense without (left) and "
        f"with (right) the penalty that is best for each n. {COMMON} {counts(data, FITS)}":
            figure_of(data, FITS, SHARE),
        f"Routing errors, and noise that is not that of training. Left: fits to 600 rows of 60 features, four experts, "
        f"of whose inputs a share goes to another at random; dotted: with rows without end. Middle: Bayes-optimal "
        f"predictors of 64 features behind the best router there is. Right: those of 192 features, signal-to-noise "
        f"ratio 5 in training, routing correct: by the printed condition of Theorem 3 experts win everywhere, by the "
        f"corrected one left of the dotted line. {COMMON} {counts(data, ROUTING)}":
            figure_of(data, ROUTING, SHARE),
        f"Classifiers fitted to 2,000 rows, five experts of eight features, routed by an oracle. The features of other "
        f"blocks carry signal of magnitude alpha; 1 is one dense model. {COMMON} {counts(data, OVERLAP)}":
            figure_of(data, OVERLAP, "experts' accuracy less dense's"),
    }


def counts(data, names):
    """How many cells and replicates the diagrams have, for a caption."""
    shown = [(len(table.summary()), replicates) for table, replicates in
             ((data["tables"][name], data["replicates"][name]) for name in names)]
    return "Cells x replicates: " + ", ".join(f"{cells} x {replicates}" for cells, replicates in shown) + "."


def figure_of(data, names, label):
    """Panels of these diagrams with one colour bar."""
    from .. import plots

    figure, axes = plots.new_axes(len(names), width=3.4 if len(names) > 1 else 4.6, height=4.1)
    figure.get_layout_engine().set(wspace=0.06)
    axes = np.ravel(axes)
    for name, ax in zip(names, axes):
        diagram = DIAGRAMS[name]
        plots.phase(data["tables"][name], x=diagram.x, y=diagram.y, value="lead", limit=diagram.limit, bar=False, ax=ax)
        if name in BESIDE:
            BESIDE[name](data["tables"][name], ax)
        ax.set(xlabel=LABELS[diagram.x], ylabel=LABELS[diagram.y])
        ax.set_title(diagram.title, fontsize=9, loc="left")
    plots.colour_bar(axes[0].collections[0], axes, label, location="bottom", aspect=35, shrink=1 / min(2, len(names)))
    plots.legend_below(figure, axes, columns=len(names) + 1)
    return figure


def hide_peak(table, ax):
    """A band over where there are no cells: near n = d means are infinite, or have too heavy tails."""
    d = DIAGRAMS["ridge"].fixed["d"]
    below, above = [n for n in table.axes["n"] if n < d], [n for n in table.axes["n"] if n > d]
    if below and above:
        low, high = max(below), min(above)
        ax.axvspan((low**3 * high) ** 0.25, (low * high**3) ** 0.25, facecolor="white", edgecolor="#BBBBBB",
                   hatch="////", linewidth=0, zorder=5, label="around $n = d$, where means are infinite")


def draw_many_rows(table, ax):
    """The share of wrong routes where Bayes-optimal predictors meet."""
    from .. import plots

    noises = np.geomspace(min(table.axes["noise_variance"]), max(table.axes["noise_variance"]), 60)
    fixed = {name: values[0] for name, values in table.axes.items()}
    shares = [theory.misrouting_crossover(model_of({**fixed, "noise_variance": float(noise)})) for noise in noises]
    ax.plot(noises, shares, ":", color=plots.COLOURS["corrected"], linewidth=1.4, label="theory, $n \\to \\infty$")


def draw_condition(table, ax):
    """The most experts for which the corrected condition of Theorem 3, lambda >= sigma^2 sqrt(k), holds."""
    from .. import plots

    ax.axvline(table.axes["signal_variance"][0] ** 2, color=plots.COLOURS["other"], linestyle=":", linewidth=1.4,
               label="corrected condition of Theorem 3: left of it")


BESIDE = {"samples": hide_peak, "ridge": hide_peak, "wrong routes": draw_many_rows, "test noise": draw_condition}


def octaves(low, high):
    """Powers of 2, from 2^low to 2^high."""
    return [2.0**power for power in range(low, high + 1)]


CLAIM = Claim(
    name=NAME,
    place="Sections 4.2, 4.3, 4.5; the overlap ablation",
    statement="Experts beat dense at every number of rows (Theorem 2 with Section 4.5's hypothesis), under every "
              "larger test noise where lambda_min(Sigma_i) > 4 sigma^2 (Theorem 3), and however far blocks overlap.",
    summary="No: dense has a side of each diagram, and theory's boundary is the measured one. A tuned ridge wins "
            "above noise variance 0.8 at two rows a feature and 4.9 at six; dense wins against the best router below "
            "a signal-to-noise ratio of 0.26 (2 experts) to 3.2 (32), and within Theorem 3's condition above a test "
            "noise of 8 to 32.",
    finding="Six diagrams, each with a boundary. Rows and noise, 60 features, six experts, an oracle routing: dense "
            "without a penalty wins only where rows are few, at a noise variance above about 5 to 15 with 0.3 to 2 "
            "times as many rows as features; there experts' risk is above dense's by 0.10 of the response's variance, "
            "the mean of 13 cells, since of spare rows they have n - d - k where dense has n - d - 1. The place is "
            "soft: both risks are large and nearly equal, and 1 % of one moves it by a tenth to a third; so cells are "
            "judged, it is not. Dense with the best penalty, which the paper does not look at, wins above noise 0.36 "
            "to 0.58 with half as many rows as features or less, above 0.83 with twice, 2.8 with four and 4.9 with "
            "six times as many. Wrong routes, 600 rows, four experts: 16 % of them at noise 1/16, and 46 % at noise "
            "1, cost the lead; with rows without end 14 % and 40 %. With Bayes-optimal predictors behind the best "
            "router there is, dense wins below a signal-to-noise ratio of 0.26 for 2, 0.93 for 8 and 3.2 for 32 "
            "experts of 64 features in all. Test noise, signal-to-noise ratio 5, routing correct: Theorem 3's "
            "condition holds in all cells, and dense wins above 32 for 32 experts, 11 for 64 and 8.1 for 192; where "
            "the corrected condition holds (25 experts or fewer) nowhere. Overlap, the interference a part of the "
            "signal (one reading of what the paper merges): dense is the more accurate from alpha = 0.33 at noise 1/4 "
            "to 0.51 at noise 8 on. On the 33 lines of cells that are judged the measured boundary is where theory's "
            "is, in the mean of a diagram to 2 % (tested with a margin of 0 to 4 %); none of the 432 cells is won by "
            "another side than by theory. Risks of theory's that are off by 3 % are found in each diagram but the "
            "first.",
    presets={
        "quick": {"grids": {
            "samples": ([30, 96], [0.5, 64.0, 128.0], 400),
            "ridge": ([180, 240], octaves(-2, 3), 48),
            "wrong routes": ([0.25, 1.0], [0.0, 0.2, 0.4, 0.6, 0.8], 24),
            "best router": ([4, 8], octaves(-3, 2), 24),
            "test noise": ([64, 96], octaves(1, 5), 16),
            "overlap": ([0.5, 2.0], [0.0, 0.2, 0.4, 0.6, 0.8], 16),
        }},
        "paper": {"grids": {
            "samples": ([18, 24, 30, 96, 120, 180, 240, 360], octaves(-2, 6), 300),
            "ridge": ([18, 24, 30, 96, 120, 180, 240, 360], octaves(-4, 4), 200),
            "wrong routes": (octaves(-4, 4), [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8], 100),
            "best router": ([2, 4, 8, 16, 32], octaves(-4, 4), 64),
            "test noise": ([8, 16, 24, 32, 48, 64, 96, 192],
                           [1.0, 2.0, 4.0, 6.0, 8.0, 10.0, 12.0, 16.0, 24.0, 32.0, 64.0, 128.0], 32),
            "overlap": (octaves(-2, 3), [0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0], 30),
        }},
    },
    measure=measure,
    figures=figures,
)
