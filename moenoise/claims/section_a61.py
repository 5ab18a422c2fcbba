"""A.6.1: the split of a fit's risk into bias and variance, and the identity stated for its error."""

import dataclasses
import math

import numpy as np

from .. import theory
from ..designs import standard_normal
from ..model import BlockModel
from .base import Claim, Estimate, compare

NAME = "section-a61"

SIGNAL, NOISE_VARIANCE = 2.0, 1.0  # variances; the paper gives none

# Largest relative error of an identity between vectors that rounding explains, for well-conditioned designs.
ROUNDING = 1e-9

# Equivalents drop terms of relative order 1 / d and 1 / (n - d), the experts' for fewer rows than features too.
EQUIVALENT_MARGIN = 0.03

# Within this many rows of a peak the terms have no finite fourth moment: no test there.
HEAVY_TAIL = 7


def expected_experts_terms(model, n):
    """The experts' expected (bias, variance), with n / k rows each."""
    expected = theory.expert_bias_variance(model, np.full(model.k, n // model.k))
    return [float(model.probabilities @ term) for term in expected]


def identity_errors(noisy, noise, coef, beta):
    """Largest errors of the printed identity and of the complete one, relative to the largest entry of coef - beta.

    Printed: coef - beta = -(X'X)^+ X'E beta. Complete: the same less (I - X^+ X) beta, which the fit cannot see.
    """
    inverse = np.linalg.pinv(noisy)
    printed = -inverse @ (noise @ beta)
    complete = printed - (beta - inverse @ (noisy @ beta))
    error = coef - beta
    return [np.abs(error - stated).max() / np.abs(error).max() for stated in (printed, complete)]


def draw(model, n, rng, replicate):
    """(noisy features, noise, response, expert) of n rows, routed in balance."""
    clean = dataclasses.replace(model, noise_variance=0.0).sample(n, rng=rng, replicate=replicate, routing="balanced")
    noise = math.sqrt(model.noise_variance) * standard_normal(clean.features.shape, rng=rng, stream=replicate)
    return clean.features + noise, noise, clean.response, clean.expert


def measure(run, *, d, k, sizes, replicates):
    """The identity's errors and both terms, for both estimators at every n, each n with rows of its own."""
    from ..linear import block_learning_curve, learning_curve

    model = BlockModel.toeplitz(d, k, scale=SIGNAL, noise_variance=NOISE_VARIANCE, rng=run.rng(0))
    beta, first = np.concatenate(model.coefficients), model.blocks[0]
    records, measured = [], []
    for j, n in enumerate(sizes):

        def one(replicate):
            noisy, noise, response, expert = draw(model, n, run.rng(1 + j), replicate)
            dense = learning_curve(noisy, response, [n])[0]
            experts = block_learning_curve(noisy, response, expert, model.block_sizes, [n])[0]
            own = expert == 0
            return [*theory.bias_variance(model, dense), *theory.bias_variance(model, experts, estimator="sparse"),
                    *identity_errors(noisy, noise, dense, beta),
                    *identity_errors(noisy[own, first], noise[own, first], experts[first], beta[first])]

        values = np.array(run.map(one, range(replicates), "draws"))
        records += identity_records(model, n, values[:, 4:]) + term_records(model, n, values[:, :4])
        measured.append(values)
    return records, {"model": model, "sizes": np.array(sizes), "measured": np.array(measured)}


def setting_of(model, n):
    """A record's setting."""
    return f"d={model.d}, k={model.k}, n={n}"


def identity_records(model, n, errors):
    """Whether each identity's largest error in all draws is one of rounding.

    Not judged at n = d, where square designs can be conditioned as badly as one likes.
    """
    names = ("dense coefficients' error, identity", "expert's coefficients' error, identity")
    kinds = (("as printed", 0), ("with what the fit cannot see", 1))
    largest = errors.max(axis=0)
    records = []
    for i, name in enumerate(names):
        for kind, j in kinds:
            bound = {"printed" if j == 0 else "corrected": ROUNDING}
            records.append(compare(NAME, f"{name} {kind}: relative error, at most", setting_of(model, n),
                                   Estimate.exactly(largest[2 * i + j]), relation="at most", testable=n != model.d,
                                   **bound))
    return records


def term_records(model, n, values):
    """Both terms of both estimators: the experts' exact past their peak and equivalents before it, the dense sum."""
    surplus = n // model.k - int(model.block_sizes[0])
    heavy_dense, heavy = abs(n - model.d) <= HEAVY_TAIL, abs(surplus) <= HEAVY_TAIL
    setting = setting_of(model, n)
    records = [compare(NAME, f"dense {name} term", setting + ", heavy tail" * heavy_dense, Estimate.of(column))
               for name, column in zip(("bias", "variance"), values.T)]
    margin = equivalent_margin(n - model.d)
    records.append(compare(NAME, "dense bias + variance term", f"{setting}, {rule(heavy_dense, margin)}",
                           Estimate.of(values[:, 0] + values[:, 1]), corrected=theory.dense_risk(model, n),
                           margin=margin, testable=not heavy_dense))
    margin = 0.0 if surplus > 0 else equivalent_margin(surplus)
    return records + [
        compare(NAME, f"experts' {name} term", f"{setting}, {rule(heavy, margin)}", Estimate.of(column),
                corrected=stated, margin=margin, testable=not heavy)
        for name, column, stated in zip(("bias", "variance"), values.T[2:], expected_experts_terms(model, n))]


def equivalent_margin(surplus):
    """What an equivalent may be off where there are so many rows more than features, or fewer."""
    return EQUIVALENT_MARGIN + 1 / max(1, abs(surplus))


def rule(heavy, margin):
    """How a term is judged, for its record's setting."""
    return "heavy tail" if heavy else f"margin {margin:.1%}" if margin else "exact"


def figures(data):
    """Both terms of both estimators against n."""
    from .. import plots

    model, sizes, measured = data["model"], data["sizes"], data["measured"]
    dense, sparse = np.concatenate(theory.bayes_dense(model)), np.concatenate(theory.bayes_sparse(model))
    limits = [*theory.bias_variance(model, dense), *theory.bias_variance(model, sparse, estimator="sparse")]
    line = np.arange(sizes[0], sizes[-1] + 1, model.k)
    stated = np.array([expected_experts_terms(model, n) for n in line])
    stated[np.abs(line // model.k - model.block_sizes[0]) <= HEAVY_TAIL] = np.nan
    figure, axes = plots.new_axes(2, width=3.6, height=3.2)
    for i, (ax, title) in enumerate(zip(axes, ("bias term", "variance term"))):
        for name, column, marker in (("dense", i, "s"), ("experts", 2 + i, "o")):
            colour, values = plots.COLOURS[name], measured[:, :, column]
            far = np.abs(sizes - model.d) > HEAVY_TAIL * (1 if name == "dense" else model.k)
            estimates = [Estimate.of(row) for row in values[far]]
            plots.measured(sizes[far], [estimate.mean for estimate in estimates],
                           [estimate.standard_error for estimate in estimates], label=f"{name}, simulated",
                           colour=colour, marker=marker, ax=ax)
            ax.plot(sizes[~far], np.median(values[~far], axis=1), marker, color=colour, fillstyle="none",
                    label=f"{name}, median (heavy tail)")
            ax.axhline(limits[column], color=colour, linestyle=":", linewidth=1, label=f"{name}, limit")
        plots.stated(line, stated[:, i], label="experts, theory", colour=plots.COLOURS["experts"], ax=ax)
        ax.set_yscale("log")
        ax.set_title(title)
        ax.set_xlabel("number of rows $n$")
    axes[0].set_ylabel("expected squared error")
    plots.legend_below(figure, axes, columns=4)
    return {f"The paper's two terms of the risk. {model.d} features in {model.k} equal blocks, Toeplitz covariance "
            f"(decay 0.5, scale {SIGNAL:g}), noise variance {NOISE_VARIANCE:g}, balanced routing. Neither term tends "
            "to 0: the limits are those of the Bayes-optimal coefficients. Bars: two standard errors.": figure}


CLAIM = Claim(
    name=NAME,
    place="Appendix A.6.1",
    statement="The risk is bias + variance, and for both estimators bhat - beta = -(X'X)^+ X'E beta for the noisy X.",
    summary="The identity is exact for n > d and wrong by its own size for n < d, where it lacks (I - X^+X) beta.",
    finding="The split is right; the identity holds to rounding (1e-14 of the largest error) for n > d, and for n < d "
            "it is off by as much as the error itself: the minimum-norm fit leaves out what it cannot see, "
            "(I - X^+ X) beta, and with that the identity holds for every n. Neither term is an excess: both tend to "
            "those of the Bayes-optimal coefficients. Beyond the peak the experts' have an exact form. At the "
            "sizes tried they are below the dense ones but at the peak itself; within a row of it they are infinite.",
    presets={
        "quick": {"d": 40, "k": 4, "sizes": (8, 20, 28, 40, 60, 80, 120, 200), "replicates": 40},
        "paper": {"d": 120, "k": 4, "sizes": (20, 40, 60, 80, 120, 180, 240, 360, 600, 1200), "replicates": 100},
    },
    measure=measure,
    figures=figures,
)
