"""Closed forms and asymptotic equivalents for the noisy block model.

Nothing here draws, fits or calls the C core: these are the numbers that simulation is judged by. Where the paper's
formula is wrong the function takes ``form="printed"`` or ``form="corrected"`` (the default).
"""

from .bayes import Risks, bayes_dense, bayes_sparse, generalization, risk
from .dense_samples import dense_excess_slope, dense_risk
from .descent import Convergence, Edges, convergence, singular_edges
from .expert_samples import expert_excess_distribution, expert_risk
from .noise_shift import crossover_noise, robustness, robustness_condition
from .routing_errors import misrouted_risk, misrouting

__all__ = [
    "Convergence",
    "Edges",
    "Risks",
    "bayes_dense",
    "bayes_sparse",
    "convergence",
    "crossover_noise",
    "dense_excess_slope",
    "dense_risk",
    "expert_excess_distribution",
    "expert_risk",
    "generalization",
    "misrouted_risk",
    "misrouting",
    "risk",
    "robustness",
    "robustness_condition",
    "singular_edges",
]
