"""Theorems 1 to 4 under noise that is not Gaussian (a part of `beyond-gaussian`, not a claim of its own).

Risks of linear predictors under correct routing, or under routing errors that ignore the features, depend on the
noise's variance only. Routers depend on its law, and with them all that is routed by them.
"""

import dataclasses

import numpy as np

from .. import theory
from ..model import BlockModel
from . import matched_predictor
from .base import Estimate, compare, compare_scores
from .beyond_shared import LABELS, LAWS, NAME, linear_errors, plot_estimates, predictor_errors, ratio_of_means
from .simulation import experts_error

# Equal experts of uncorrelated features, noise variance 1, and a louder noise for Theorem 3.
K, BLOCK_SIZE, TEST_NOISE = 8, 4, 4.0


@dataclasses.dataclass(frozen=True)
class Errors:
    """Squared errors and accuracies, (replicates,) each, under one law and signal-to-noise ratio.

    `best` is the predictor made for the law; `loud_dense` and `loud_oracle` are under the louder noise; `astray` are
    experts who all get another's rows; `qda` and `bayes` are accuracies of Theorem 1's router, with the corrected
    score, and of the Bayes classifier.
    """

    dense: np.ndarray
    oracle: np.ndarray
    hard: np.ndarray
    soft: np.ndarray
    best: np.ndarray
    loud_dense: np.ndarray
    loud_oracle: np.ndarray
    astray: np.ndarray
    qda: np.ndarray
    bayes: np.ndarray


def measure(run, *, scales, shown_scales, rows, replicates):
    """`Errors` by (signal-to-noise ratio, law), and the records of the shown ratios."""
    models = {scale: BlockModel.isotropic(K * BLOCK_SIZE, K, variance=scale, rng=run.rng(0)) for scale in scales}
    cells = [(scale, law) for scale in scales for law in LAWS]

    def one(item):
        (scale, law), replicate = item
        return replicate_errors(models[scale], law, rows, rng=run.rng(1), replicate=replicate)

    items = [(cell, replicate) for cell in cells for replicate in range(replicates)]
    values = np.array(run.map(one, items, "laws")).reshape(len(cells), replicates, -1)
    measured = {cell: Errors(*columns.T) for cell, columns in zip(cells, values)}
    records = [record for scale in shown_scales for law in LAWS
               for record in law_records(models[scale], law, scale, measured[scale, law])]
    return records, {"scales": scales, "measured": measured}


def replicate_errors(model, law, rows, **seed):
    """One replicate's values of `Errors`, in their order."""
    from ..router import QDARouter

    sample = model.sample(rows, noise=law, **seed)
    louder = dataclasses.replace(model, noise_variance=TEST_NOISE).sample(rows, noise=law, **seed)
    gate, best = matched_predictor.predict(model, law, sample.features)
    astray = experts_error(sample, model.blocks, theory.bayes_sparse(model), (sample.expert + 1) % model.k)
    routed = QDARouter.from_model(model).predict(sample.features), gate.argmax(axis=1)
    return [*predictor_errors(model, sample), np.mean((best - sample.response) ** 2), *linear_errors(model, louder),
            astray, *(np.mean(experts == sample.expert) for experts in routed)]


def law_records(model, law, scale, errors):
    """Theorems 1 to 4 under one law, and the predictor made for it."""
    setting = f"{LABELS[law]} noise, k={K}, d_i={BLOCK_SIZE}, signal-to-noise {scale:g}"
    return (risk_records(model, setting, errors) + routing_records(law, setting, errors)
            + best_records(law, setting, errors))


def risk_records(model, setting, errors):
    """Theorems 2, 3 and 4: of the risks, which are those of Gaussian noise, and of their order."""
    louder = f"{setting}, test noise {TEST_NOISE:g}"
    stated, robust = theory.generalization(model), theory.robustness(model, TEST_NOISE)
    records = [compare(NAME, quantity, where, Estimate.of(values), printed=risk, corrected=risk)
               for quantity, where, values, risk in (
                   ("dense risk", setting, errors.dense, stated.dense),
                   ("experts' risk", setting, errors.oracle, stated.sparse),
                   ("dense risk", louder, errors.loud_dense, robust.dense),
                   ("experts' risk", louder, errors.loud_oracle, robust.sparse))]
    # Each row goes to the next expert: an error that ignores the features.
    astray = theory.misrouted_risk(model, np.roll(np.eye(model.k), 1, axis=1))
    records += [
        compare(NAME, "experts' risk, all rows sent to another expert", setting, Estimate.of(errors.astray),
                corrected=astray),
        compare(NAME, "dense - experts' risk, at least 0", setting, Estimate.of(errors.dense - errors.oracle),
                printed=0.0, corrected=0.0, relation="at least"),
    ]
    if theory.robustness_condition(model, form="printed").all():
        corrected = 0.0 if theory.robustness_condition(model).all() else None
        records.append(compare(NAME, "dense - experts' risk, at least 0 by Theorem 3's condition", louder,
                               Estimate.of(errors.loud_dense - errors.loud_oracle), printed=0.0, corrected=corrected,
                               relation="at least"))
    return records


def routing_records(law, setting, errors):
    """Theorem 1's router (corrected) beside the Bayes classifier; what routers for Gaussian noise gain on dense."""
    accuracies = {"QDA": errors.qda, "Bayes classifier": errors.bayes}
    return [
        compare_scores(NAME, "better router's accuracy: the Bayes classifier's, not QDA's", setting, accuracies,
                       corrected="Bayes classifier"),
        compare(NAME, "QDA's accuracy - the Bayes classifier's", setting, Estimate.of(errors.qda - errors.bayes)),
        compare(NAME, "hard routing's - dense risk, router made for Gaussian noise", setting,
                Estimate.of(errors.hard - errors.dense)),
        compare(NAME, "soft routing's - dense risk, gate made for Gaussian noise", setting,
                Estimate.of(errors.soft - errors.dense)),
    ]


def best_records(law, setting, errors):
    """No other predictor is better than the one made for the law; for Gaussian noise that is soft routing."""
    rivals = {"dense": errors.dense, "hard routing's": errors.hard}
    rivals |= {} if law == "gaussian" else {"soft routing's": errors.soft}
    return [compare(NAME, f"risk of gate and experts made for the law - {name} risk, at most 0", setting,
                    Estimate.of(errors.best - values), corrected=0.0, relation="at most")
            for name, values in rivals.items()]


def figures(data):
    """A panel for each law: risks over dense's against the signal-to-noise ratio."""
    from .. import plots

    figure, axes = plots.new_axes(len(LAWS), width=2.5, height=3.4, sharey=True)
    lines = (("oracle", "linear experts, oracle routing", plots.COLOURS["reference"], "o"),
             ("hard", "hard routing, made for Gaussian noise", plots.CYCLE[1], "s"),
             ("soft", "soft routing, made for Gaussian noise", plots.CYCLE[2], "^"),
             ("best", "best predictor, made for the panel's noise", plots.CYCLE[3], "D"))
    scales = data["scales"]
    for ax, law in zip(axes, LAWS):
        cells = [data["measured"][scale, law] for scale in scales]
        for name, label, colour, marker in lines[:-1] if law == "gaussian" else lines:
            ratios = [ratio_of_means(getattr(errors, name), errors.dense) for errors in cells]
            plot_estimates(scales, ratios, label=label, colour=colour, marker=marker, ax=ax)
            if name == "oracle":
                plots.stated(*stated_ratios(scales), label="oracle routing by Theorem 2", colour=colour, ax=ax)
            else:
                ax.plot(scales, [e.mean for e in ratios], ":", color=colour, linewidth=0.9)
        ax.axhline(1, color=plots.COLOURS["dense"], linewidth=1, label="dense")
        ax.set_xscale("log", base=2)
        ticks = [scale for scale in scales if np.log2(scale) % 2 == 0]
        ax.set_xticks(ticks, [f"{tick:g}" for tick in ticks])
        ax.set_xlabel("signal-to-noise ratio")
        ax.set_title(f"{LABELS[law]} noise", fontsize=9, loc="left")
    axes[0].set(ylabel="risk / dense risk", ylim=(0, None))
    plots.legend_below(figure, axes)
    return {f"Risk over dense's by the law of the noise, k = {K} experts of {BLOCK_SIZE} features. Risks of dense and "
            "oracle routing depend on the noise's variance only. Under Gaussian noise soft routing is the best. "
            "Solid: formula; dotted lines only join the points. Bars: two standard errors.": figure}


def stated_ratios(scales):
    """Ratios along the axis, and Theorem 2's experts' over dense risk: ``(l / k + 1) / (l + 1)`` at ratio l."""
    line = np.geomspace(min(scales), max(scales), 60)
    return line, (line / K + 1) / (line + 1)
