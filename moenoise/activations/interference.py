"""Is what lies outside a row's own block noise? What an expert gains when it may see every feature."""

from typing import NamedTuple

import numpy as np

from .comparison import PENALTIES, TUNING_FOLDS, ridge_path, tuned
from .folds import folds, mean_and_error

MOST_INTERFERENCE = 0.05
"""Of an expert's error; what all features take away from it beyond that is no noise."""


class Interference(NamedTuple):
    """``I = 1 - R_full / R_block``, with its standard error.

    R_block is the risk of experts on their own blocks, R_full that of the same experts, on the same rows, that see all
    features; both tuned alike and measured on other rows. 0 where the rest is noise, negative where seeing it only
    costs.
    """

    value: float
    standard_error: float
    block_risk: float
    full_risk: float

def block_and_full_losses(split, blocks, seed):
    """(n_test, 2) squared errors of each row's own expert, from its block and from all features; oracle routing."""
    errors = np.empty((len(split.test), 2))
    ends = np.cumsum(blocks.sizes)
    for i, (size, end) in enumerate(zip(blocks.sizes, ends)):
        own, sent = blocks.train_expert == i, blocks.test_expert == i
        for j, columns in enumerate((blocks.columns[end - size:end], slice(None))):
            errors[sent, j] = expert_losses(split, own, sent, columns, seed)
    return errors


def expert_losses(split, own, sent, columns, seed):
    """(rows sent,) squared errors of one expert with its own tuned penalty; of the mean where its rows are few."""
    X, Y = split.train[own][:, columns], split.train_response[own]
    X_test, Y_test = split.test[sent][:, columns], split.test_response[sent]
    if len(np.unique(split.train_groups[own])) < TUNING_FOLDS:
        return ((split.train_response.mean(axis=0) - Y_test) ** 2).sum(axis=1)

    def path(fit, check):
        return ridge_path(X[fit], Y[fit], X[check], PENALTIES)

    best = tuned(path, Y, folds(split.train_groups[own], TUNING_FOLDS, seed))
    return ((ridge_path(X, Y, X_test, PENALTIES[[best]])[0] - Y_test) ** 2).sum(axis=1)


def interference(errors, groups):
    """The `Interference` of (n, 2) errors, from the block and from all features, of rows in groups (n,)."""
    (block, _), (full, _) = (mean_and_error(column, groups) for column in errors.T)
    if block == 0:  # there is nothing to be gained
        return Interference(0.0, 0.0, block, full)
    ratio = full / block
    _, error = mean_and_error((errors[:, 1] - ratio * errors[:, 0]) / block, groups)  # the delta method
    return Interference(1 - ratio, error, block, full)
