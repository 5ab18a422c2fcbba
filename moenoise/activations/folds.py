"""Rows in halves and folds, all rows of one group (a document, a speaker) on the same side."""

import numpy as np


def folds(groups, count, seed):
    """(n,) int: the fold, 0 to count - 1, of each row; groups (n,) of int are kept whole, and folds balanced.

    Groups are dealt out in a random order, largest first, each to the fold with the fewest rows.
    """
    _, group, sizes = np.unique(groups, return_inverse=True, return_counts=True)
    if len(sizes) < count:
        raise ValueError(f"groups must hold at least {count} different ones, got {len(sizes)}")
    shuffled = np.random.default_rng(seed).permutation(len(sizes))
    order = shuffled[np.argsort(-sizes[shuffled], kind="stable")]
    fold_of_group, filled = np.empty(len(sizes), dtype=np.intp), np.zeros(count)
    for g in order:
        fold_of_group[g] = filled.argmin()
        filled[filled.argmin()] += sizes[g]
    return fold_of_group[group]


def mean_and_error(values, groups):
    """(mean, standard error) of values (n,) of which those of one group depend on each other.

    The error is that of a mean over clusters: rows count equally, and clusters are independent.
    """
    values = np.asarray(values, dtype=float)
    mean = values.mean()
    _, group = np.unique(groups, return_inverse=True)
    sums = np.bincount(group, values - mean)
    count = len(sums)
    if count < 2:
        return float(mean), float("inf")
    return float(mean), float(np.sqrt(count / (count - 1) * np.sum(sums**2)) / len(values))
