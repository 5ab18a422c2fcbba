"""Figure 3: excess risk of the dense fit and of the experts' fits against the number of rows."""

import numpy as np

from .. import theory
from ..designs import balanced_experts
from ..model import BlockModel
from .base import Claim, Estimate, compare

NAME = "figure-3"

# The paper says "Toeplitz" and no more; these are ours.
DECAY, SCALE, NOISE_VARIANCE = 0.5, 1.0, 1.0

# The equivalents drop terms of relative order 1 / |n - d|, which are large near the peak only.
EQUIVALENT_MARGIN = 0.03

# Within this many rows of n_i = d_i the excess risk (a ratio with n_i - d_i + 1 degrees of freedom below) has no finite
# fourth moment, so that its standard error is itself without a variance: no test there.
HEAVY_TAIL = 7


def measure(run, *, d, k, sizes, replicates):
    """Exact risks of both fits at every n, nested in one draw a replicate, routed in balance."""
    from ..linear import block_learning_curve, learning_curve

    model = BlockModel.toeplitz(d, k, decay=DECAY, scale=SCALE, noise_variance=NOISE_VARIANCE, rng=run.rng(0))
    sizes, limits = np.array(sizes), theory.generalization(model)

    def excess(replicate):
        sample = model.sample(sizes[-1], rng=run.rng(1), replicate=replicate, routing="balanced")
        dense = learning_curve(sample.features, sample.response, sizes)
        experts = block_learning_curve(sample.features, sample.response, sample.expert, model.block_sizes, sizes)
        return theory.risk(model, dense) - limits.dense, theory.risk(model, experts, estimator="sparse") - limits.sparse

    counts = balanced_counts(model, sizes)
    measured = np.array(run.map(excess, range(replicates), "draws"))
    stated = expected_excess(run, model, sizes)
    records = [record for j, n in enumerate(sizes)
               for record in size_records(model, int(n), counts[j], measured[:, :, j], stated[:, j])]
    line = plotted_sizes(model.d, sizes)
    data = {"model": model, "sizes": sizes, "measured": measured, "stated": stated,
            "line": line, "line_stated": expected_excess(run, model, line)}
    return records, data


def expected_excess(run, model, sizes):
    """(2, len(sizes)): the formulas' excess risks, dense and experts', under balanced routing."""
    limits = theory.generalization(model)

    def experts(counts):
        return model.probabilities @ theory.expert_risk(model, counts)

    return np.array([theory.dense_risk(model, sizes) - limits.dense,
                     np.array(run.map(experts, balanced_counts(model, sizes), "formulas")) - limits.sparse])


def plotted_sizes(d, sizes):
    """Enough numbers of rows, between the first and the last of `sizes`, to draw a curve with a peak at d."""
    line = np.unique(np.concatenate([np.geomspace(sizes[0], sizes[-1], 100).astype(int), sizes,
                                     d + np.arange(-4, 5) * max(1, d // 100)]))
    return line[(line >= sizes[0]) & (line <= sizes[-1])]


def balanced_counts(model, sizes):
    """(len(sizes), k): each expert's rows among the first n, the same in every draw."""
    expert = balanced_experts(model, int(sizes[-1]))
    return np.array([np.bincount(expert[:n], minlength=model.k) for n in sizes])


def size_records(model, n, counts, measured, stated):
    """Both estimators' excess risk at one n, and which of them the paper expects to be the lower."""
    setting = f"d={model.d}, k={model.k}, n={n}"
    surplus = counts - model.block_sizes
    heavy = bool(np.abs(surplus).min() <= HEAVY_TAIL)
    exact = surplus.min() > 1
    margin = 0.0 if exact else EQUIVALENT_MARGIN + 1 / max(1, np.abs(surplus).min())
    dense_margin = EQUIVALENT_MARGIN + 1 / max(1, abs(n - model.d))
    dense_heavy = abs(n - model.d) <= HEAVY_TAIL
    gap = Estimate.of(measured[:, 0] - measured[:, 1])
    return [
        compare(NAME, "dense excess risk", f"{setting}, {described(dense_heavy, dense_margin)}",
                Estimate.of(measured[:, 0]), corrected=stated[0], margin=dense_margin, testable=not dense_heavy),
        compare(NAME, "experts' excess risk", f"{setting}, {described(heavy, margin)}",
                Estimate.of(measured[:, 1]), corrected=stated[1], margin=margin, testable=not heavy),
        compare(NAME, "dense - experts' excess risk, at least 0", setting + ", heavy tail" * (heavy or dense_heavy),
                gap, printed=0.0, relation="at least", testable=not (heavy or dense_heavy)),
    ]


def described(heavy, margin):
    """How the formula is judged, for a record's setting."""
    if heavy:
        return "heavy tail"
    return f"margin {margin:.1%}" if margin else "exact"


def figures(data):
    """Excess risk against n: simulated points over the formulas' lines."""
    from .. import plots

    model, sizes = data["model"], data["sizes"]
    figure, ax = plots.new_axes(width=5.6, height=3.6)
    for i, (name, marker) in enumerate((("dense", "s"), ("experts", "o"))):
        colour, values = plots.COLOURS[name], data["measured"][:, i]
        finite = np.isfinite(data["stated"][i])
        stated = data["line_stated"][i]
        plots.stated(data["line"], np.where(np.isfinite(stated), stated, np.nan), label=f"{name}, theory",
                     colour=colour, ax=ax)
        estimates = [Estimate.of(column) for column in values.T[finite]]
        plots.measured(sizes[finite], [e.mean for e in estimates], [e.standard_error for e in estimates],
                       label=f"{name}, simulated", colour=colour, marker=marker, ax=ax)
        ax.plot(sizes[~finite], np.median(values.T[~finite], axis=1), marker, color=colour, fillstyle="none",
                label=f"{name}, median: the mean is infinite")
    ax.axvline(model.d, color=plots.COLOURS["reference"], linestyle=":", linewidth=0.8, label="$n = d$")
    ax.set_yscale("log")
    ax.set_xlabel("number of rows $n$")
    ax.set_ylabel("excess risk over the Bayes-optimal estimator")
    handles, labels = ax.get_legend_handles_labels()
    entries = dict(sorted(zip(labels, handles)))  # the dense ones, then the experts'
    ax.legend(entries.values(), entries.keys(), fontsize=7)
    return {f"d = {model.d}, k = {model.k} equal blocks, balanced routing, Toeplitz covariance (decay {DECAY:g}, "
            f"scale {SCALE:g}: ours, the paper does not give them), noise variance {NOISE_VARIANCE:g}. Lines break "
            "where the mean is infinite. Bars: two standard errors.": figure}


CLAIM = Claim(
    name=NAME,
    place="Section 4.5, Figure 3",
    statement="The experts' excess risk is below the dense estimator's at every sample size (a hypothesis there).",
    finding="Where it could be tested the two curves follow finite-sample formulas that the paper leaves open: the "
            "experts' is exact beyond the peak, s_i d_i / (n_i - d_i - 1); the dense one is a high-dimensional "
            "equivalent, as is the experts' before the peak. Each excess is over the estimator's own limit, and the "
            "dense one's is the higher: far below the peak its excess is therefore the smaller. Where n_i is within "
            f"one of d_i the mean is infinite, and within {HEAVY_TAIL} its tail is too heavy for a test; just before "
            "the peak the experts' equivalent is too low.",
    presets={
        "quick": {"d": 120, "k": 4, "sizes": (20, 40, 60, 80, 100, 120, 140, 160, 200, 300, 400), "replicates": 64},
        "paper": {"d": 900, "k": 12, "replicates": 64,
                  "sizes": tuple(sorted({*range(100, 3001, 145), 850, 900, 950}))},
    },
    measure=measure,
    figures=figures,
)
