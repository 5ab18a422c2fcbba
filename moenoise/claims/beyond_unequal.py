"""Experts of unequal sizes and loads: Theorem 3, and fits to few rows (a part of `beyond-gaussian`, not a claim)."""

import dataclasses
import functools

import numpy as np
import scipy.linalg

from .. import theory
from ..designs import balanced_counts
from ..model import BlockModel
from .base import Estimate, compare
from .beyond_shared import NAME, linear_errors, plot_estimates

# Block sizes and loads, of as many features each; Toeplitz covariances.
EQUAL = (0.25, 0.25, 0.25, 0.25)
DESIGNS = {"equal sizes, equal loads": ((48, 48, 48, 48), EQUAL),
           "unequal sizes, equal loads": ((120, 40, 20, 12), EQUAL),
           "equal sizes, unequal loads": ((48, 48, 48, 48), (0.4, 0.3, 0.2, 0.1)),
           "large experts loaded most": ((120, 40, 20, 12), (0.4, 0.3, 0.2, 0.1)),
           "large experts loaded least": ((120, 40, 20, 12), (0.1, 0.2, 0.3, 0.4))}
DECAY, SCALE = 0.5, 2.0

# Within so many rows of n = d, or of n_i = d_i, tails are too heavy for a test.
HEAVY_TAIL = 7

# Many experts for whom Theorem 3's condition holds as printed: equal loads, and by Zipf's law, 1 / rank.
LOADED_K, LOADED_SIZE, LOADED_SCALE = 64, 2, 4.5
LOADS = {"equal loads": np.full(LOADED_K, 1 / LOADED_K),
         "Zipf's loads": 1 / np.arange(1, LOADED_K + 1) / (1 / np.arange(1, LOADED_K + 1)).sum()}


def measure(run, *, sizes, replicates, noises, rows, loaded_replicates):
    """Exact risks of dense and experts' fits against n in each design; risks by loads under louder noise."""
    measured = {name: measured_design(run, cell, name, sizes, replicates) for cell, name in enumerate(DESIGNS)}
    records = [record for name in DESIGNS for j, n in enumerate(sizes)
               for record in fit_records(name, n, measured[name][:, :, j])]
    return (records + measure_loads(run, noises, rows, loaded_replicates),
            {"sizes": np.array(sizes), "measured": measured})


@functools.cache
def unequal_model(name):
    """Toeplitz blocks of the named design, all coefficients 1."""
    sizes, loads = DESIGNS[name]
    covariances = [SCALE * scipy.linalg.toeplitz(DECAY ** np.arange(size)) for size in sizes]
    return BlockModel(covariances, [np.ones(size) for size in sizes], loads)


def measured_design(run, cell, name, sizes, replicates):
    """(replicates, 2, sizes) risks of dense and of the experts."""
    from ..linear import block_learning_curve, learning_curve

    model = unequal_model(name)

    def one(replicate):
        sample = model.sample(sizes[-1], rng=run.rng(400 + cell), replicate=replicate, routing="balanced")
        dense = learning_curve(sample.features, sample.response, sizes)
        experts = block_learning_curve(sample.features, sample.response, sample.expert, model.block_sizes, sizes)
        return theory.risk(model, dense), theory.risk(model, experts, estimator="sparse")

    return np.array(run.map(one, range(replicates), name))


def stated_risks(model, sizes):
    """Dense's and the experts' expected risk at each n, (sizes,) each: the first an approximation."""
    experts = theory.expert_risk(model, balanced_counts(model, sizes)) @ model.probabilities
    return theory.dense_risk(model, sizes), experts


def fit_records(name, n, measured):
    """The experts' risk beside its formula where that is exact, and whether it is below dense's; measured is (R, 2).

    Printed is what Figure 3 states of equal experts: they win at every n.
    """
    model = unequal_model(name)
    surplus = balanced_counts(model, [n])[0] - model.block_sizes
    heavy = bool(min(np.abs(surplus).min(), abs(n - model.d)) <= HEAVY_TAIL)
    (dense,), (experts,) = stated_risks(model, [n])
    setting = f"{name}, d={model.d}, n={n}" + ", heavy tail" * heavy
    records = [compare(NAME, "fitted dense - experts' risk, at least 0", setting,
                       Estimate.of(measured[:, 0] - measured[:, 1]), printed=0.0,
                       corrected=0.0 if experts < dense else None, relation="at least", testable=not heavy),
               compare(NAME, "share of fits in which the experts win", setting,
                       Estimate.of(measured[:, 1] < measured[:, 0]))]
    if (surplus > 1).all():
        records.append(compare(NAME, "fitted experts' risk", setting, Estimate.of(measured[:, 1]), corrected=experts,
                               testable=not heavy))
    return records


def measure_loads(run, noises, rows, replicates):
    """Theorem 3 by loads: risks, and their order, under test noises of those variances (training: 1)."""
    records = []
    for cell, (name, loads) in enumerate(LOADS.items()):
        model = BlockModel([LOADED_SCALE * np.eye(LOADED_SIZE)] * LOADED_K, [np.ones(LOADED_SIZE)] * LOADED_K, loads)
        for noise in noises:
            louder = dataclasses.replace(model, noise_variance=noise)

            def one(replicate):
                return linear_errors(model, louder.sample(rows, rng=run.rng(410 + cell), replicate=replicate))

            dense, experts = np.array(run.map(one, range(replicates), name)).T
            stated = theory.robustness(model, noise)
            setting = f"{name}, k={LOADED_K}, signal-to-noise {LOADED_SCALE:g}, test noise {noise:g}"
            records += [
                compare(NAME, "dense risk", setting, Estimate.of(dense), printed=stated.dense, corrected=stated.dense),
                compare(NAME, "experts' risk", setting, Estimate.of(experts), printed=stated.sparse,
                        corrected=stated.sparse),
                compare(NAME, "dense - experts' risk, at least 0 by Theorem 3's condition", setting,
                        Estimate.of(dense - experts), printed=0.0,
                        corrected=0.0 if stated.sparse < stated.dense else None, relation="at least"),
            ]
    return records


def figures(data):
    """A panel for each design: dense and experts' risk against n, by formula and simulated."""
    from .. import plots

    figure, axes = plots.new_axes(len(DESIGNS), width=2.3, height=3.2, sharey=True)
    for ax, (name, measured) in zip(axes, data["measured"].items()):
        plot_design(name, data["sizes"], measured, ax)
    axes[0].set_ylabel("risk (squared error)")
    plots.legend_below(figure, axes)
    return {"Risk of least squares fitted to n rows, four experts of 192 features in all. Sizes: 48 each, or 120, 40, "
            "20, 12; loads: a quarter each, or 0.4, 0.3, 0.2, 0.1. Lines: formulas, which are infinite where an "
            "expert's rows equal its features (dense: where n = d): each expert has a peak of its own. Shaded: where "
            "dense's line is the lower. Points close to peaks are left out. Bars: two standard errors.": figure}


def plot_design(name, sizes, measured, ax):
    """One design; measured is (replicates, 2, sizes)."""
    from .. import plots

    model = unequal_model(name)
    line = np.unique(np.geomspace(sizes[0], sizes[-1], 300).astype(int))
    shown = (np.abs(sizes - model.d) > HEAVY_TAIL,
             np.abs(balanced_counts(model, sizes) - model.block_sizes).min(axis=1) > HEAVY_TAIL)
    dense, experts = stated_risks(model, line)
    ax.fill_between(line, 0, 1, where=dense < experts, transform=ax.get_xaxis_transform(), linewidth=0,
                    color=plots.COLOURS["dense"], alpha=0.15, label="dense wins, by the formulas")
    for i, (label, risks, marker) in enumerate((("dense", dense, "s"), ("experts", experts, "o"))):
        plots.stated(line, np.where(np.isfinite(risks), risks, np.nan), label=None, colour=plots.COLOURS[label], ax=ax)
        plot_estimates(sizes[shown[i]], [Estimate.of(values) for values in measured[:, i, shown[i]].T], label=label,
                       colour=plots.COLOURS[label], marker=marker, ax=ax)
    ax.set(xscale="log", yscale="log", xlabel="number of rows $n$")
    ax.set_title(name.replace(", ", ",\n").replace(" loaded", "\nloaded"), fontsize=9, loc="left")
