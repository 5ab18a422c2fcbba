"""The README's figure: how many times faster, how close to the hardware's limit, and how time grows."""

import matplotlib
import numpy as np
from matplotlib.figure import Figure

from moenoise.plots import COLOURS, STYLE

from .table import is_compared, number

LEFT_OUT = {"threads"}
"""One line a kernel is for the table."""

MEASURED = {"color": COLOURS["experts"], "marker": "o", "markersize": 4, "linewidth": 1, "zorder": 3}
STATED = {"color": COLOURS["reference"], "marker": "|", "markersize": 8, "linestyle": "none", "zorder": 2}


def draw(results):
    """The `Figure` of a complete run."""
    rows = results["rows"]
    compared = [entry for name, entries in rows.items() if is_compared(entries) and name not in LEFT_OUT
                for entry in entries]
    count = sum(1.25 + len(entry["rivals"]) for entry in compared)
    with matplotlib.rc_context(STYLE | {"font.size": 8, "axes.labelsize": 8, "legend.fontsize": 7}):
        figure = Figure(figsize=(10, 0.7 + 0.155 * count), layout="constrained")
        grid = figure.add_gridspec(2, 3, width_ratios=(1.6, 0.6, 1.2), wspace=0.06)
        faster = figure.add_subplot(grid[:, 0])
        speed(faster, compared)
        limit(figure.add_subplot(grid[:, 1], sharey=faster), compared)
        saving(figure.add_subplot(grid[0, 2]), rows["dense-over-experts"])
        exponents(figure.add_subplot(grid[1, 2]), rows["growth"])
    return figure


def lines(compared):
    """(entry, line of its heading, lines of its rivals), from the top of the figure down."""
    line = 0.0
    for entry in compared:
        rivals = line + 1 + np.arange(len(entry["rivals"]))
        yield entry, line, rivals
        line = rivals[-1] + 1.25


def speed(ax, compared):
    """A point a rival, its interval, and a tick where the goal is."""
    ticks, labels = [], []
    for entry, heading, own in lines(compared):
        ticks += [heading, *own]
        labels += [f"{entry['work']}, {entry['setting']}", *(rival["name"] for rival in entry["rivals"])]
        for line, rival in zip(own, entry["rivals"]):
            ax.plot(rival["interval"], [line, line], color=MEASURED["color"], linewidth=1)
            ax.plot(rival["ratio"], line, **MEASURED)
            if rival["goal"] is not None:
                ax.plot(rival["goal"], line, **STATED)
    ax.set_yticks(ticks, labels, fontsize=6.5)
    headings = {heading for _, heading, _ in lines(compared)}
    for tick, label in zip(ticks, ax.get_yticklabels()):
        label.set_fontweight("bold" if tick in headings else "normal")
    ax.plot([], [], label="measured, 95 % interval", **MEASURED)
    ax.plot([], [], label="goal", **STATED)
    ax.axvline(1, color=COLOURS["reference"], linewidth=0.8, zorder=0)
    ax.set_xscale("log")
    ax.xaxis.set_major_formatter(lambda value, _: number(value))
    ax.set_ylim(max(ticks) + 0.8, -0.8)
    ax.tick_params(axis="y", length=0)
    ax.set_xlabel("times faster than the alternative")
    ax.legend(loc="lower right", bbox_to_anchor=(1, 1), ncols=2, borderaxespad=0)


def limit(ax, compared):
    """The floor's share of our time, at each heading."""
    for entry, heading, _ in lines(compared):
        if entry["floor"] is not None:
            ax.plot([0, entry["floor"]["share"]], [heading, heading], color=COLOURS["dense"], linewidth=3,
                    solid_capstyle="butt")
    ax.set_xlim(0, 1)
    ax.xaxis.set_major_formatter(lambda value, _: f"{value:.0%}")
    ax.set_xticks([0, 0.5, 1])
    ax.tick_params(axis="y", length=0, labelleft=False)
    ax.set_xlabel("of the hardware's limit")


def saving(ax, result):
    """The dense fit's time over the experts', and k^2, which counting their flops gives."""
    k = np.array(result["values"])
    ax.loglog(k, k**2.0, "--", color=COLOURS["reference"], label="flops, $k^2$")
    ax.loglog(k, result["ratios"], "o", color=COLOURS["experts"],
              label=f"measured, $k^{{{result['exponent']:.2f} \\pm {result['standard_error']:.2f}}}$")
    ax.set_xticks(k, [str(value) for value in k])
    ax.minorticks_off()
    ax.yaxis.set_major_formatter(lambda value, _: number(value))
    ax.set_xlabel(f"experts $k$, at {result['fixed']}")
    ax.set_ylabel("time, dense fit / experts' fits")
    ax.legend(loc="upper left")


def exponents(ax, growth):
    """Each fitted exponent with two standard errors, and what counting operations gives."""
    for line, entry in enumerate(growth):
        ax.errorbar(entry["exponent"], line, xerr=2 * entry["standard_error"], **MEASURED)
        ax.plot(entry["expected"], line, **STATED)
    ax.axvline(0, color=COLOURS["reference"], linewidth=0.8, zorder=0)
    ax.set_yticks(range(len(growth)), [f"{entry['work']}, ${entry['along']}$" for entry in growth], fontsize=7)
    ax.set_ylim(len(growth) - 0.5, -0.5)
    ax.tick_params(axis="y", length=0)
    ax.set_xlabel("exponent (ticks: of the flops)")
