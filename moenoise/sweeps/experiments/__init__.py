"""The built-in experiments, one file each: what a replicate of a cell measures, and what theory expects of it."""

from . import descent, misrouting, overlap, risk, routing
from .base import Experiment, check_axes
from .block_model import model_of
from .parameters import REQUIRED, Parameter

EXPERIMENTS = {module.EXPERIMENT.name: module.EXPERIMENT for module in (risk, routing, misrouting, descent, overlap)}

__all__ = ["EXPERIMENTS", "REQUIRED", "Experiment", "Parameter", "check_axes", "model_of"]
