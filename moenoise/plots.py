"""Figures, in one style: measured points over the formulas' lines.

Markers are measured, solid lines are the corrected formula, dashed lines the printed one. Colours
(Okabe and Ito's, told apart by colour-blind readers) stand for the estimator.
Every function that draws takes an ``ax`` and returns it. Figures are made without pyplot: nothing keeps them alive
but their user, and Jupyter shows them as they are after ``%matplotlib inline``.
"""

import matplotlib
import numpy as np
from matplotlib.figure import Figure

COLOURS = {
    "dense": "#0072B2",
    "experts": "#D55E00",
    "printed": "#CC79A7",
    "corrected": "#009E73",
    "other": "#56B4E9",
    "reference": "#555555",
}
CYCLE = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9")
MARKERS = ("o", "s", "^", "D", "v", "P")

STYLE = {
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.titlesize": 9,
    "axes.titlelocation": "left",
    "lines.linewidth": 1.4,
    "lines.markersize": 4,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "svg.fonttype": "path",
    "svg.hashsalt": "moenoise",
}


def new_axes(columns=1, *, width=3.6, height=2.9, **subplots):
    """A figure with one row of axes, in the house style.

    Parameters
    ----------
    columns : int
    width, height : float
        Of each of the axes, in inches.
    **subplots
        Passed to `matplotlib.figure.Figure.subplots`, e.g. ``sharey=True``.

    Returns
    -------
    figure : matplotlib.figure.Figure
    axes : Axes, or array of Axes where ``columns > 1``
    """
    with matplotlib.rc_context(STYLE):
        figure = Figure(figsize=(width * columns, height), layout="constrained")
        return figure, figure.subplots(1, columns, **subplots)


def default_axes(ax):
    """`ax`, or the axes of a new figure where it is None."""
    return new_axes(width=5.5, height=3.6)[1] if ax is None else ax


def measured(x, mean, standard_error=None, *, label, colour, marker="o", ax=None):
    """Measured means as markers, with bars of two standard errors."""
    ax = default_axes(ax)
    bars = None if standard_error is None else 2 * np.asarray(standard_error)
    ax.errorbar(x, mean, bars, fmt=marker, color=colour, label=label, markersize=4, elinewidth=1, capsize=2, zorder=3)
    return ax


def stated(x, y, *, label, colour, form="corrected", ax=None):
    """A formula's line: solid where it is the corrected form, dashed where it is the printed one."""
    ax = default_axes(ax)
    ax.plot(x, y, {"corrected": "-", "printed": "--"}[form], color=colour, label=label, linewidth=1.4, zorder=2)
    return ax


def agreement(records, *, ax=None):
    """Each record's stated numbers as multiples of the measured one: 1 is agreement.

    Records without a positive measured number are left out. The grey bars are two standard errors of what was measured.
    """
    ax = default_axes(ax)
    shown = [record for record in records if record.measured and record.measured > 0]
    rows = np.arange(len(shown))
    for row, record in zip(rows, shown):
        error = 2 * record.standard_error / record.measured
        ax.plot([1 - error, 1 + error], [row, row], color="#BBBBBB", linewidth=5, solid_capstyle="butt", zorder=1)
    for form, marker, size in (("corrected", "o", 4), ("printed", "D", 8)):
        points = [(getattr(record, form) / record.measured, row) for row, record in zip(rows, shown)
                  if getattr(record, form) is not None]
        if points:
            ax.plot(*zip(*points), marker, color=COLOURS[form], markersize=size, label=form, zorder=3,
                    fillstyle="none" if form == "printed" else "full")
    ax.axvline(1, color=COLOURS["reference"], linewidth=0.8, zorder=0)
    ax.set_yticks(rows, [f"{record.quantity}\n{record.setting}" for record in shown], fontsize=7)
    ax.invert_yaxis()
    ax.set_xlabel("stated / measured")
    ax.legend()
    return ax


def legend_below(figure, axes, columns=3):
    """One legend for all axes, under the figure, each label once."""
    entries = {}
    for ax in np.ravel(axes):
        for handle, label in zip(*ax.get_legend_handles_labels()):
            entries.setdefault(label, handle)
    figure.legend(entries.values(), entries.keys(), loc="outside lower center", ncols=columns,
                  frameon=False, fontsize=8)
