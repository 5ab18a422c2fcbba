"""When the parts of a mixture trained together have settled, and whether they align (not a claim of its own)."""

import numpy as np

# The share of its way that a part has gone when it has settled, and of its first squared distance from the best that
# is left at most where it has aligned. Both are ours: the remark names no number.
SETTLED, ALIGNED = 0.9, 0.5


def settled_after(curves, looks):
    """(replicates,) steps until a part has gone `SETTLED` of the way from its start to its lowest point.

    `curves` is (replicates, looks); between two looks, by interpolation. The end of the training cuts off most of a
    slow part's way, and so makes the later of two parts look earlier.
    """
    goals = curves[:, 0] - SETTLED * (curves[:, 0] - curves.min(axis=1))
    after = np.maximum(1, np.argmax(curves <= goals[:, None], axis=1))
    replicates = np.arange(len(curves))
    before, reached = curves[replicates, after - 1], curves[replicates, after]
    share = np.divide(before - goals, before - reached, out=np.ones(len(curves)), where=before > reached)
    return looks[after - 1] + share * (looks[after] - looks[after - 1])


def aligned(trained):
    """(replicates,) whether both parts came to less than `ALIGNED` of their first distance from the best ones."""
    experts, router = (curves.min(axis=1) < ALIGNED * curves[:, 0] for curves in (trained.experts, trained.router))
    return experts & router


PARTS = {"experts": "experts", "router's choices": "choices", "router's probabilities": "router"}


def settling(trained, looks):
    """{part: (aligned replicates,) log of steps until it has settled}; empty where less than half align."""
    chosen = aligned(trained)
    if chosen.mean() < 0.5:
        return {}
    return {part: np.log(settled_after(getattr(trained, name)[chosen], looks)) for part, name in PARTS.items()}


def best_look(trained):
    """The look at which the mean risk is lowest: where one would stop, had one such rows to tell."""
    return int(np.argmin(trained.risk.mean(axis=0)))
