"""A user's own network: read its activations, find modules in them, and what to prune (see also `moenoise.audit`)."""

from .copula import GaussianCopula
from .modules import Modules, find_modules
from .reading import read_chunks
from .sampling import RowSample, sample_rows
from .sparsity import Thresholds, prune, thresholds

__all__ = ["GaussianCopula", "Modules", "RowSample", "Thresholds", "find_modules", "prune", "read_chunks",
           "sample_rows", "thresholds"]
