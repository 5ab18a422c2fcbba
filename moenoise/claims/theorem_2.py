"""Theorem 2: the risks of the two Bayes-optimal estimators."""

import numpy as np

from .. import theory
from ..model import BlockModel
from .base import Claim, Estimate, compare
from .simulation import dense_error, experts_error

NAME = "theorem-2"

# Least squares on this many rows a feature has nearly its limit's risk; what is left is about d / n of it.
ROWS_A_FEATURE = 200
FIT_MARGIN = 0.02


def models(run, sizes):
    """Pairs (setting, model): equal and unequal loads, blocks and covariances, few experts and many."""
    d, k = sizes
    unequal = [d // 8, d // 4, d // 4, d - 5 * (d // 8)]
    parts = [BlockModel.toeplitz(size, 1, decay=decay, scale=scale, rng=run.rng(10 + i))
             for i, (size, decay, scale) in enumerate(zip(unequal, (0.2, 0.5, 0.8, 0.9), (0.5, 1, 2, 8)))]
    return [
        (f"k=4, d={d}, equal loads, Toeplitz 0.5", BlockModel.toeplitz(d, 4, rng=run.rng(0))),
        (f"k=4, d={d}, loads .1 to .4, unequal blocks",
         BlockModel([part.covariances[0] for part in parts], [part.coefficients[0] for part in parts],
                    [0.1, 0.2, 0.3, 0.4])),
        (f"k={k}, d={k}, equal loads, Sigma = 8", BlockModel.isotropic(k, k, variance=8, rng=run.rng(1))),
    ]


def measure(run, *, sizes, rows, replicates):
    """Squared errors of the Bayes-optimal estimators, and exact risks of fits to many rows."""
    records = []
    for cell, (setting, model) in enumerate(models(run, sizes)):
        dense, experts = theory.bayes_dense(model), theory.bayes_sparse(model)

        def errors(replicate):
            sample = model.sample(rows, rng=run.rng(20 + cell), replicate=replicate)
            return dense_error(sample, dense), experts_error(sample, model.blocks, experts)

        measured = np.array(run.map(errors, range(replicates), "risk"))
        stated = theory.generalization(model)
        for quantity, values, risk in (("dense risk", measured[:, 0], stated.dense),
                                       ("sparse risk", measured[:, 1], stated.sparse)):
            records.append(compare(NAME, quantity, setting, Estimate.of(values), printed=risk, corrected=risk))
        records.append(compare(NAME, "dense - sparse risk, at least 0", setting,
                               Estimate.of(measured[:, 0] - measured[:, 1]), printed=0.0, corrected=0.0,
                               relation="at least"))
        records += fitted(run, setting, model, cell, replicates)
    return records, {"records": records}


def fitted(run, setting, model, cell, replicates):
    """Least squares on many rows: its exact risk is nearly that of the Bayes-optimal estimators."""
    from ..linear import block_lstsq, lstsq

    def risks(replicate):
        sample = model.sample(ROWS_A_FEATURE * model.d, rng=run.rng(30 + cell), replicate=replicate)
        dense = lstsq(sample.features, sample.response).coef
        experts = block_lstsq(sample.features, sample.response, sample.expert, model.block_sizes).coef
        return (theory.risk(model, dense), theory.risk(model, np.concatenate(experts), estimator="sparse"))

    measured = np.array(run.map(risks, range(max(2, replicates // 4)), "fits"))
    setting = f"{setting}, n={ROWS_A_FEATURE}d, margin {FIT_MARGIN:.0%}"
    return [compare(NAME, quantity, setting, Estimate.of(values), printed=risk, corrected=risk, margin=FIT_MARGIN)
            for quantity, values, risk in zip(("dense fit's risk", "experts' fits' risk"), measured.T,
                                              theory.generalization(model))]


def figures(data):
    """Stated against measured."""
    from .. import plots

    figure, ax = plots.new_axes(width=6.5, height=4.2)
    shown = [record for record in data["records"] if record.corrected]
    plots.agreement(shown, ax=ax)
    return {"Risks of the Bayes-optimal estimators and of fits to many rows: Theorem 2's value over the simulated one. "
            "Grey: two standard errors.": figure}


CLAIM = Claim(
    name=NAME,
    place="Section 4.2, Theorem 2",
    statement="The Bayes-optimal experts' risk and the Bayes-optimal dense risk have the stated closed forms, and the "
              "experts' is never the larger.",
    summary="Exact as printed.",
    finding="Both formulas are right as printed, for correct routing. Least squares reaches them as n grows.",
    presets={
        "quick": {"sizes": (16, 20), "rows": 10_000, "replicates": 32},
        "paper": {"sizes": (64, 100), "rows": 50_000, "replicates": 32},
    },
    measure=measure,
    figures=figures,
)
