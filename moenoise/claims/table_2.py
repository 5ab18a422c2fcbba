"""Table 2: linear regression under feature noise, dense and experts, and whether its columns agree."""

import math

import numpy as np

from .. import theory
from ..model import BlockModel
from .base import Claim, Estimate, compare
from .simulation import dense_error, experts_error

NAME = "table-2"

STANDARD_DEVIATIONS = (0.1, 0.2, 0.3, 0.4, 0.5)

# (printed number, printed standard error), a row each
DENSE = ((3.13e-3, 4.45e-6), (9.88e-3, 6.85e-6), (1.57e-2, 1.17e-5), (1.88e-2, 2.44e-5), (2.03e-2, 5.37e-5))
EXPERTS = ((7.07e-4, 6.36e-6), (2.64e-3, 1.73e-5), (5.64e-3, 3.49e-5), (9.40e-3, 5.79e-5), (1.36e-2, 8.46e-5))
DENSE_DROP = ((2.10e-4, 2.18e-7), (3.41e-3, 3.45e-6), (1.41e-2, 1.49e-5), (3.39e-2, 2.47e-5), (6.15e-2, 4.07e-5))

# sum_i p_i ||beta_i||^2 for which R_sparse with Sigma = I fits the experts' column. The paper gives neither Sigma, nor
# k, nor the coefficients: k is ours.
SIGNAL = 0.068
K = 5

# The table's own rounding is 0.5 %; training until some tolerance adds what it adds.
MARGIN = 0.02


def measure(run, *, d, rows, replicates):
    """Our own errors beside the table's, then the table's columns beside each other."""
    coefficients = np.full(d, math.sqrt(K * SIGNAL / d))
    records, measured = [], []
    for cell, (deviation, dense, experts) in enumerate(zip(STANDARD_DEVIATIONS, DENSE, EXPERTS)):
        model = BlockModel.isotropic(d, K, coefficients=coefficients, noise_variance=deviation**2)
        estimates = errors(run, cell, model, rows, replicates)
        stated = theory.generalization(model)
        setting = f"noise std {deviation:g}, Sigma=I, k={K} (ours), margin {MARGIN:.0%}"
        records += [
            compare(NAME, "experts' error (MoE column)", setting, estimates[1], printed=experts[0],
                    corrected=stated.sparse, margin=MARGIN),
            compare(NAME, "dense error (dense column)", setting, estimates[0], printed=dense[0],
                    corrected=stated.dense, margin=MARGIN),
        ]
        measured.append(estimates)
    return records + column_records(), {"measured": measured}


def errors(run, cell, model, rows, replicates):
    """Simulated errors of the two Bayes-optimal estimators, (dense, experts)."""
    dense, experts = theory.bayes_dense(model), theory.bayes_sparse(model)

    def one(replicate):
        sample = model.sample(rows, rng=run.rng(cell), replicate=replicate)
        return dense_error(sample, dense), experts_error(sample, model.blocks, experts)

    return [Estimate.of(values) for values in np.transpose(run.map(one, range(replicates), "errors"))]


def implied_load(deviation, error):
    """The p of equal experts, Sigma = I, for which ``R_dense = SIGNAL s^2 / (p + s^2)`` is that error."""
    return deviation**2 * (SIGNAL / error - 1)


def column_records():
    """What the dense column and the drop column imply, row by row; nothing here is simulated."""
    first = implied_load(STANDARD_DEVIATIONS[0], DENSE[0][0])
    records = []
    for deviation, (error, spread), (drop, drop_spread) in zip(STANDARD_DEVIATIONS, DENSE, DENSE_DROP):
        setting = f"noise std {deviation:g}, printed columns"
        records.append(compare(NAME, "dense error - drop (clean error), at least 0", setting,
                               Estimate(error - drop, math.hypot(spread, drop_spread)), printed=0.0,
                               relation="at least"))
        load = Estimate(implied_load(deviation, error), deviation**2 * SIGNAL * spread / error**2)
        records.append(compare(NAME, "p implied by dense error; printed: first row's",
                               f"{setting}, Sigma=I, margin {MARGIN:.0%}", load, printed=first, margin=MARGIN))
        norm = Estimate((error + drop) / deviation**2, math.hypot(spread, drop_spread) / deviation**2)
        records.append(compare(NAME, "(dense error + drop) / noise variance", setting, norm))
    return records


def figures(data):
    """The printed columns, the formulas and our simulation."""
    from .. import plots

    figure, ax = plots.new_axes(width=5.2, height=3.4)
    line = np.linspace(0.05, 0.52, 80)
    forms = {"dense": SIGNAL * line**2 / (1 / K + line**2), "experts": SIGNAL * line**2 / (1 + line**2)}
    for i, (name, column) in enumerate((("dense", DENSE), ("experts", EXPERTS))):
        colour = plots.COLOURS[name]
        plots.stated(line, forms[name], label=f"{name}, Theorem 2", colour=colour, ax=ax)
        estimates = [row[i] for row in data["measured"]]
        plots.measured(STANDARD_DEVIATIONS, [e.mean for e in estimates], [e.standard_error for e in estimates],
                       label=f"{name}, simulated", colour=colour, ax=ax)
        ax.plot(STANDARD_DEVIATIONS, [value for value, _ in column], "D", color=colour, fillstyle="none", markersize=7,
                label=f"{name}, Table 2")
    ax.plot(STANDARD_DEVIATIONS, [value for value, _ in DENSE_DROP], "x--", color=plots.COLOURS["reference"],
            linewidth=1, label="dense robustness drop, Table 2")
    ax.set_xlabel("feature noise, standard deviation")
    ax.set_ylabel("mean squared error")
    ax.legend()
    return {f"Table 2 beside Theorem 2 with Sigma = I, sum p_i ||beta_i||^2 = {SIGNAL:g} and k = {K} equal experts.":
            figure}


CLAIM = Claim(
    name=NAME,
    place="Appendix B.3, Table 2",
    statement="Linear regression under feature noise: the experts' error and its drop are below the dense ones.",
    finding="The experts' column is R_sparse with Sigma = I and sum p_i ||beta_i||^2 = 0.068, to 1 % but for its first "
            "row (5 %). The dense column is no R_dense with Sigma = I: the load p it implies varies by row. Nor can "
            "the drop be the noisy error minus the clean error of the same model: it exceeds the noisy error from std "
            "0.4 on. Error plus drop is nearly proportional to the noise variance, as if the drop were counted from a "
            "model trained without noise, whose error is s^2 ||beta||^2. That reading gives ||beta||^2 = 0.33, five "
            "equal experts; and the dense column still disagrees with them.",
    presets={
        "quick": {"d": 20, "rows": 10_000, "replicates": 16},
        "paper": {"d": 20, "rows": 100_000, "replicates": 32},
    },
    measure=measure,
    figures=figures,
)
