"""Closed forms and asymptotic equivalents for the noisy block model.

Nothing here fits or calls a kernel of the C core: these are the numbers that simulation is judged by. Where the
paper's formula is wrong the function takes ``form="printed"`` or ``form="corrected"`` (the default). One integral has
no closed form: `soft_risk` draws, from NumPy's generator rather than the package's.
"""

from .bayes import Risks, bayes_dense, bayes_sparse, generalization, risk
from .bias_variance import BiasVariance, bias_variance, expert_bias_variance
from .correlated_noise import (
    CorrelatedCoefficients,
    CorrelatedRisks,
    correlated_coefficients,
    correlated_risks,
    correlation_gap,
)
from .dense_samples import dense_excess_slope, dense_risk
from .descent import Convergence, Edges, convergence, singular_edges
from .descent_residuals import descent_residuals
from .expert_samples import expert_excess_law, expert_excess_slope, expert_risk
from .hard_routing import RoutedRisk, routed_risk
from .noise_shift import crossover_noise, robustness, robustness_condition
from .ridge import best_penalty
from .router_samples import router_excess_bound
from .routing_errors import misrouted_risk, misrouting, misrouting_crossover
from .soft_routing import RiskEstimate, SoftRisks, soft_risk

__all__ = [
    "BiasVariance",
    "Convergence",
    "CorrelatedCoefficients",
    "CorrelatedRisks",
    "Edges",
    "RiskEstimate",
    "Risks",
    "RoutedRisk",
    "SoftRisks",
    "bayes_dense",
    "bayes_sparse",
    "best_penalty",
    "bias_variance",
    "convergence",
    "correlated_coefficients",
    "correlated_risks",
    "correlation_gap",
    "crossover_noise",
    "dense_excess_slope",
    "dense_risk",
    "descent_residuals",
    "expert_bias_variance",
    "expert_excess_law",
    "expert_excess_slope",
    "expert_risk",
    "generalization",
    "misrouted_risk",
    "misrouting",
    "misrouting_crossover",
    "risk",
    "robustness",
    "robustness_condition",
    "routed_risk",
    "router_excess_bound",
    "singular_edges",
    "soft_risk",
]
