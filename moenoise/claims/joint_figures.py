"""Figures of `joint-training`: distances and risks along the training, and of all cases (not a claim of its own)."""

import math

import numpy as np

from .base import Estimate
from .joint_measures import SETTLED, best_look, settling

# What is drawn along the training: (title, ((case, part, label, index into plots.CYCLE and plots.MARKERS), ...)).
PANELS = (
    ("trained together", (("base case", "experts", "experts", 1), ("base case", "choices", "router's choices", 2),
                          ("base case", "router", "router's probabilities", 3))),
    ("experts", (("base case", "experts", "router trained as well", 1),
                 ("router fixed: uniform", "experts", "router fixed: uniform", 0),
                 ("router fixed: best", "experts", "router fixed: best", 4))),
    ("router's probabilities", (("base case", "router", "experts trained as well", 3),
                                ("experts fixed: random", "router", "experts fixed: random", 0),
                                ("experts fixed: best", "router", "experts fixed: best", 4))),
)

# Whose risks are drawn along the training, and by which fits.
SHOWN = ("base case", "signal-to-noise 1", "150 rows", "all features, 8 experts")


def figures(data):
    """Distances along the training, both parts alone and together; risks along it; settling times and last risks."""
    base = data["cases"]["base case"].setting
    runs = f"{len(next(iter(data['trained'].values())).risk)} runs, bars and bands of two standard errors"
    return {
        f"How far experts and router are from the best ones, over their first distance, in the base case ({base}; "
        "experts on their own blocks). Distances are expected squares, of the choices the excess routing error. Left: "
        f"trained together. Middle and right: each part beside the other one trained, and fixed. Means of {runs}.":
            distance_figure(data),
        "Risk on new rows along the training, above that of the best predictor. Lines: least squares and the soft "
        f"mixture of maximum likelihood, fitted to the same rows. Means of {runs}.": risk_figure(data),
        f"Left: steps until a part has gone {100 * SETTLED:g} % of its way to the nearest that it comes to the best "
        "one, where both parts align in at least half of the runs (geometric means over those). Right: risks above the "
        "best predictor's, trained together and fitted otherwise to the same rows. If not named: "
        f"{base}, experts on their own blocks. Means of {runs}.": case_figure(data),
    }


def distance_figure(data):
    """A panel for each of `PANELS`; cases that were not trained are left out."""
    from .. import plots

    figure, axes = plots.new_axes(len(PANELS), width=2.9, height=4.0, sharey=True)
    for ax, (title, lines) in zip(axes, PANELS):
        for name, part, label, i in lines:
            if name in data["trained"]:
                curves = getattr(data["trained"][name], part)
                draw_curve(ax, data["looks"], curves / curves[:, :1].mean(), label, plots.CYCLE[i], plots.MARKERS[i])
        ax.set_title(title)
        ax.legend(loc="upper center", bbox_to_anchor=(0.5, -0.17))
    axes[0].set_ylabel("distance from the best / at the start")
    axes[0].set_yscale("log")
    axes[0].yaxis.set_major_formatter("{x:g}")
    return figure


def draw_curve(ax, looks, curves, label, colour, marker):
    """Means of curves (replicates, looks) with bars, against the steps."""
    from .. import plots

    estimates = [Estimate.of(column) for column in curves.T]
    means, errors = np.array([estimate[:2] for estimate in estimates]).T
    shown = slice(1, None)  # a logarithmic axis has no 0
    ax.plot(looks[shown], means[shown], color=colour, linewidth=1, zorder=2)
    plots.measured(looks[shown], means[shown], errors[shown], label=label, colour=colour, marker=marker, ax=ax)
    ax.set_xscale("log")
    ax.xaxis.set_major_formatter("{x:g}")
    ax.set_xlabel("steps of gradient descent")


def above(risk, true):
    """(replicates, ...) risks above the best predictor's, in per cent of its mean."""
    return 100 * (risk.T - true).T / true.mean()


def risk_figure(data):
    """A panel for each of `SHOWN` that was trained."""
    from .. import plots

    names = [name for name in SHOWN if name in data["trained"]]
    figure, axes = plots.new_axes(len(names), width=2.4, height=3.2, sharey=True, squeeze=False)
    for ax, name in zip(axes[0], names):
        trained, rivals = data["trained"][name], data["rivals"][name]
        draw_curve(ax, data["looks"], above(trained.risk, trained.true), "trained together", plots.COLOURS["experts"],
                   "o")
        for risk, label, colour in ((rivals.dense, "least squares, dense", plots.COLOURS["dense"]),
                                    (rivals.likelihood, "maximum likelihood", plots.COLOURS["corrected"])):
            estimate, ends = Estimate.of(above(risk, rivals.true)), data["looks"][[1, -1]]
            ax.plot(ends, [estimate.mean] * 2, color=colour, label=label)
            plots.band(ends, *([estimate.mean + side * 2 * estimate.standard_error] * 2 for side in (-1, 1)),
                       label=None, colour=colour, ax=ax)
        ax.set_title(name)
    axes[0, 0].set_ylabel("risk above the best predictor's, %")
    axes[0, 0].set_yscale("log")
    axes[0, 0].yaxis.set_major_formatter("{x:g}")
    plots.legend_below(figure, axes)
    return figure


def case_figure(data):
    """Two panels, a line for each case in which both parts are trained: settling times, and risks."""
    from .. import plots

    names = [name for name in data["trained"] if data["cases"][name].joint]
    figure, (left, right) = plots.new_axes(2, width=4.2, height=1.3 + 0.32 * len(names), sharey=True)
    for row, name in enumerate(names):
        trained, rivals = data["trained"][name], data["rivals"][name]
        times = {} if data["cases"][name].is_dense else settling(trained, data["looks"])
        draw_row(left, row, {part: log_interval(logs) for part, logs in times.items()})
        risks = {"least squares, dense": rivals.dense, "trained together": trained.risk[:, -1],
                 "stopped in time": trained.risk[:, best_look(trained)], "maximum likelihood": rivals.likelihood}
        draw_row(right, row, {label: Estimate.of(above(risk, trained.true))[:2] for label, risk in risks.items()})
    left.set_yticks(range(len(names)), names)
    left.invert_yaxis()
    left.set_xlabel("steps until settled")
    right.set_xlabel("risk above the best predictor's, %")
    for ax in (left, right):
        ax.set_xscale("log")
        ax.xaxis.set_major_formatter("{x:g}")
        for row in range(1, len(names)):
            ax.axhline(row - 0.5, color="#DDDDDD", linewidth=0.6, zorder=0)
        handles, labels = ax.get_legend_handles_labels()
        entries = dict(zip(labels, handles))
        ax.legend(entries.values(), entries.keys(), loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
    return figure


def log_interval(logs):
    """Geometric mean and, to first order, its standard error."""
    estimate = Estimate.of(logs)
    return math.exp(estimate.mean), math.exp(estimate.mean) * estimate.standard_error


# How each mark of `case_figure` is drawn: index into plots.CYCLE and plots.MARKERS.
MARKS = {"experts": 1, "router's choices": 2, "router's probabilities": 3, "least squares, dense": 0,
         "trained together": 1, "stopped in time": 4, "maximum likelihood": 2}


def draw_row(ax, row, marks):
    """{label: (mean, standard error)} on a line, each a little lower than the last."""
    from .. import plots

    for place, (label, (mean, error)) in zip(np.linspace(-0.25, 0.25, len(marks)), marks.items()):
        ax.errorbar(mean, row + place, xerr=2 * error, fmt=plots.MARKERS[MARKS[label]], color=plots.CYCLE[MARKS[label]],
                    label=label, markersize=4, elinewidth=1, capsize=1.5)
