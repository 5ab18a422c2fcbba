"""Fits to few rows whose noise is not Gaussian (a part of `beyond-gaussian`, not a claim of its own)."""

import numpy as np

from .. import _noise_laws, theory
from ..model import BlockModel
from .base import Estimate, compare
from .beyond_shared import LABELS, LAWS, NAME

# Experts so small that the noise's kurtosis shows in their excess risk.
K, BLOCK_SIZE, ROWS_A_FEATURE = 32, 2, 20
ROWS = BLOCK_SIZE * ROWS_A_FEATURE


def measure(run, *, replicates):
    """Excess risks of least squares by law of the noise: exact risks of the fitted coefficients."""
    from ..linear import block_lstsq, lstsq

    model = BlockModel.isotropic(K * BLOCK_SIZE, K, rng=run.rng(100))
    limits = theory.generalization(model)

    def one(item):
        law, replicate = item
        sample = model.sample(K * ROWS, rng=run.rng(101), replicate=replicate, routing="balanced", noise=law)
        dense = lstsq(sample.features, sample.response).coef
        experts = block_lstsq(sample.features, sample.response, sample.expert, model.block_sizes).coef
        return (theory.risk(model, dense) - limits.dense,
                theory.risk(model, np.concatenate(experts), estimator="sparse") - limits.sparse)

    items = [(law, replicate) for law in LAWS for replicate in range(replicates)]
    measured = np.array(run.map(one, items, "fits")).reshape(len(LAWS), replicates, 2)
    gaussian = float(model.probabilities @ theory.expert_risk(model, [ROWS] * K)) - limits.sparse
    ratios = [1 + kurtosis_excess(model, law) / gaussian for law in LAWS]
    records = [record for law, values, ratio in zip(LAWS, measured, ratios)
               for record in fit_records(law, values, gaussian, ratio)]
    return records, {"measured": measured, "gaussian": gaussian, "ratios": ratios}


def kurtosis_excess(model, law):
    """What the noise's kurtosis adds to the experts' excess risk, to first order in 1 / n_i."""
    slopes = [theory.expert_excess_slope(model, excess_kurtosis=q) for q in (_noise_laws.EXCESS_KURTOSIS[law], 0.0)]
    return float(model.probabilities @ np.subtract(*slopes)) / ROWS


def fit_records(law, measured, gaussian, ratio):
    """The experts' excess risk over that of Gaussian noise, and dense's excess beside theirs; measured is (R, 2)."""
    # Next come terms of the order of features over rows; half of that is allowed.
    margin = 0.0 if law == "gaussian" else 0.5 / ROWS_A_FEATURE
    # Of Student's noise the eighth moment is infinite, and with it the variance of the products that the fit averages:
    # its first order is reached with far more rows.
    testable = law != "student-t"
    judged = "heavy tail, limit" if not testable else f"margin {margin:.1%}" if margin else "exact"
    setting = f"{LABELS[law]} noise, k={K}, d_i={BLOCK_SIZE}, n_i={ROWS}"
    dense, experts = measured.T
    return [
        compare(NAME, "experts' excess risk / that under Gaussian noise", f"{setting}, {judged}",
                Estimate.of(experts / gaussian), corrected=ratio, margin=margin, testable=testable),
        compare(NAME, "dense - experts' excess risk, at least 0", setting, Estimate.of(dense - experts), printed=0.0,
                corrected=0.0, relation="at least"),
    ]
