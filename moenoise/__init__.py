"""When does a mixture of experts beat one dense model because its inputs are noisy, and by how much?

Three ways to an answer, side by side: closed-form theory (`moenoise.theory`), draws of the model (`BlockModel`,
`spectral_design`) with fast fits of it (`lstsq`, `block_lstsq`, `learning_curve`, ...), and scikit-learn estimators
(`DenseRegressor`, `ExpertsRegressor`, `QDARouter`). `reproduce` holds the paper's claims against simulation, `sweep`
runs any experiment over a `Grid`, and `plots` draws as the claims do.

And on your own network: `capture` its activations, `audit` them, find modules and thresholds (`activations`), split a
layer into experts (`moefy`), add noise to text (`text`), probe (`probes`), count parameters (`iso_parameters`).
"""

from . import theory
from ._version import __version__
from .designs import spectral_design, standard_normal
from .linear import block_learning_curve, block_lstsq, gradient_descent, learning_curve, lstsq
from .model import BlockModel
from .sweeps.grid import Grid

# Imported when first used: they bring scikit-learn, matplotlib or scipy.stats.
_LAZY = {
    "activations": "activations",
    "audit": "activations.audit",
    "capture": "activations.capture",
    "moefy": "activations.moefication",
    "iso_parameters": "parameters",
    "probes": "probes",
    "text": "text",
    "QDARouter": "router",
    "DenseRegressor": "estimators",
    "ExpertsRegressor": "estimators",
    "BayesPredictor": "bayes_predictor",
    "fit_block_model": "fitting",
    "plots": "plots",
    "reproduce": "reproduction",
    "load_sweep": "sweeps.sweep",
    "sweep": "sweeps.sweep",
}

__all__ = [
    "BayesPredictor",
    "BlockModel",
    "DenseRegressor",
    "ExpertsRegressor",
    "Grid",
    "QDARouter",
    "__version__",
    "activations",
    "audit",
    "block_learning_curve",
    "block_lstsq",
    "capture",
    "fit_block_model",
    "gradient_descent",
    "iso_parameters",
    "learning_curve",
    "load_sweep",
    "lstsq",
    "moefy",
    "plots",
    "probes",
    "reproduce",
    "spectral_design",
    "standard_normal",
    "sweep",
    "text",
    "theory",
]


def __getattr__(name):
    if name not in _LAZY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    module = import_module(f".{_LAZY[name]}", __name__)
    value = module if name == _LAZY[name] else getattr(module, name)
    globals()[name] = value
    return value


def __dir__():
    return sorted(set(globals()) | set(__all__))
