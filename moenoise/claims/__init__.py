"""The claims, the paper's and those beyond it, one file each: what it says, how it is measured, the verdict."""

import importlib
from functools import cache

# The order of the report.
NAMES = ("theorem-1", "theorem-1-samples", "theorem-2", "theorem-3", "theorem-4", "theorem-4-general", "theorem-5",
         "theorem-5-descent", "figure-2", "figure-3", "section-a61", "section-a62", "case-study-a63", "table-2",
         "table-3", "overlap", "joint-training", "phase-diagram", "beyond-gaussian", "ridge", "soft-routing",
         "noise-adaptation", "without-labels", "digits", "figure-1", "moefication", "probes", "audit")


@cache
def get(name):
    """The `Claim` of that name."""
    return importlib.import_module(f"{__name__}.{name.replace('-', '_')}").CLAIM
