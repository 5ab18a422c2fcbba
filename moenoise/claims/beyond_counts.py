"""How many experts: the same features shared out among k (a part of `beyond-gaussian`, not a claim of its own)."""

import numpy as np

from ..model import BlockModel
from .base import Estimate, compare
from .beyond_shared import NAME, PREDICTORS, plot_estimates, predictor_errors, ratio_of_means

FEATURES = 64


def oracle_lead(scale, k):
    """1 - sparse / dense risk by Theorem 2, for k equal experts of uncorrelated features and noise variance 1.

    The risks are ``||beta||^2 l / (l + k)`` and ``||beta||^2 l / (k (l + 1))`` at signal-to-noise ratio l.
    """
    return 1 - (scale / k + 1) / (scale + 1)


def measure(run, *, ks, scales, rows, replicates):
    """Squared errors by signal-to-noise ratio and number of experts, (scales, ks, replicates, 4)."""
    models = [BlockModel.isotropic(FEATURES, k, variance=scale, coefficients=np.ones(FEATURES))
              for scale in scales for k in ks]

    def one(item):
        cell, replicate = item
        sample = models[cell].sample(rows, rng=run.rng(500 + cell), replicate=replicate)
        return predictor_errors(models[cell], sample)

    items = [(cell, replicate) for cell in range(len(models)) for replicate in range(replicates)]
    values = run.map(one, items, "counts")
    measured = np.array(values).reshape(len(scales), len(ks), replicates, len(PREDICTORS))
    records = [record for scale, by_k in zip(scales, measured) for record in count_records(scale, ks, by_k)]
    return records, {"scales": scales, "ks": np.array(ks), "measured": measured}


def leads(errors):
    """The `Estimate` of each routing's lead, 1 - its risk / dense's; errors (replicates, 4), dense's first."""
    return [ratio_of_means(errors[:, 0] - errors[:, i], errors[:, 0]) for i in range(1, len(PREDICTORS))]


def count_records(scale, ks, measured):
    """The leads over dense, and whether they grow from one number of experts to the next.

    By Theorem 2 the oracle's lead does; nothing is stated of routers.
    """
    by_k, records = [leads(errors) for errors in measured], []
    for k, (oracle, *_) in zip(ks, by_k):
        stated = oracle_lead(scale, k)
        records.append(compare(NAME, "oracle's lead, 1 - risk / dense risk", setting_of(scale, k), oracle,
                               printed=stated, corrected=stated))
    for (k, first), (more, second) in zip(zip(ks, by_k), zip(ks[1:], by_k[1:])):
        setting = f"{setting_of(scale, k)} to {more}"
        for i, name in enumerate(PREDICTORS[1:]):
            growth = Estimate(second[i].mean - first[i].mean,
                              np.hypot(first[i].standard_error, second[i].standard_error),
                              first[i].degrees_of_freedom)
            stated = {"printed": 0.0, "corrected": 0.0} if i == 0 else {}
            records.append(compare(NAME, f"growth of the lead, {name}, at least 0", setting, growth,
                                   relation="at least", **stated))
    return records


def setting_of(scale, k):
    """One signal-to-noise ratio and number of experts, in words."""
    return f"d={FEATURES}, signal-to-noise {scale:g}, k={k}"


def figures(data):
    """A panel for each signal-to-noise ratio: what routing gains over dense against the number of experts."""
    from .. import plots

    figure, axes = plots.new_axes(len(data["scales"]), width=3.0, height=3.2, sharey=True)
    for ax, scale, measured in zip(np.atleast_1d(axes), data["scales"], data["measured"]):
        plot_leads(scale, data["ks"], measured, ax)
    np.atleast_1d(axes)[0].set_ylabel("lead over dense: 1 - risk / dense risk")
    plots.legend_below(figure, axes, columns=4)
    return {f"{FEATURES} features shared out among k experts: the lead over dense, by routing. Line: Theorem 2; the "
            "dotted lines only join the points. The oracle's lead grows with k; a router's peaks, for small experts "
            "are hard to tell apart. Bars: two standard errors.": figure}


def plot_leads(scale, ks, measured, ax):
    """Three leads against k."""
    from .. import plots

    line = np.geomspace(ks[0], ks[-1], 60)
    colours = (plots.COLOURS["reference"], plots.CYCLE[1], plots.CYCLE[2])
    by_k = [leads(errors) for errors in measured]
    plots.stated(line, oracle_lead(scale, line), label=None, colour=colours[0], ax=ax)
    for i, (name, colour, marker) in enumerate(zip(PREDICTORS[1:], colours, "os^")):
        estimates = [found[i] for found in by_k]
        plot_estimates(ks, estimates, label=name.removeprefix("experts, "), colour=colour, marker=marker, ax=ax)
        if i > 0:
            ax.plot(ks, [e.mean for e in estimates], ":", color=colour, linewidth=0.9)
    ax.axhline(0, color=plots.COLOURS["dense"], linewidth=1, label="dense")
    ax.set_xscale("log", base=2)
    ax.set_xticks(ks, [str(k) for k in ks])
    ax.set_xlabel("number of experts $k$")
    ax.set_title(f"signal-to-noise ratio {scale:g}", fontsize=9, loc="left")
