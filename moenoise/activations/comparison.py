"""Do experts on the modules predict better than a tuned ridge, and than experts on random blocks, under noise?

Everything here is tuned alike: every estimator has one penalty, chosen from the same values on the same folds, on rows
with the noise of the test rows; a router is fitted to such rows too.
"""

import functools
from typing import NamedTuple

import numpy as np
import scipy.linalg

from .. import linear
from ..router import QDARouter
from .folds import folds
from .modules import active_entries, best_modules

PENALTIES = np.geomspace(1e-4, 10, 11)
"""Of ridge fits, ``r`` in ``(X'X / n + r I)^-1``, in units of a feature's mean variance with its noise."""

TUNING_FOLDS = 3

MOST_SHRINKAGE = 0.99


class Split(NamedTuple):
    """Training and test rows of one fold, standardised by the training rows."""

    train: np.ndarray
    """(n, d)"""
    test: np.ndarray
    """(n_test, d)"""
    train_response: np.ndarray
    """(n, m)"""
    test_response: np.ndarray
    """(n_test, m)"""
    train_groups: np.ndarray
    """(n,)"""


class Blocks(NamedTuple):
    """Features side by side by module, and the experts of the rows, found on them without added noise."""

    columns: np.ndarray
    """(d',) the features that are in a module, in order."""
    sizes: np.ndarray
    """(k,)"""
    train_expert: np.ndarray
    """(n,)"""
    test_expert: np.ndarray
    """(n_test,) what the oracle knows."""
    router: QDARouter
    """That of the rows without added noise."""


def blocks_of(features, threshold, split, raw_train):
    """The `Blocks` of features' modules (d,): rows go to the module they are most active in, then by a router's word.

    A row's activity is that of `raw_train`, as modules are found on rows that are not standardised.
    """
    members = np.flatnonzero(features >= 0)
    columns = members[np.argsort(features[members], kind="stable")]
    sizes = np.bincount(features[members])
    active = active_entries(np.abs(raw_train[:, members]), threshold)
    in_row, in_column = active.sum(axis=1), active.sum(axis=0)
    expert = best_modules(active, in_row, in_column, features[members], len(sizes), in_row.sum(dtype=float))
    expert = repopulated(expert, len(sizes))
    train = np.ascontiguousarray(split.train[:, columns])
    router = fit_router(train, expert, sizes)
    relabelled = router.predict(train)
    if np.bincount(relabelled, minlength=len(sizes)).min() >= 2:  # else an expert would be lost to its neighbours
        expert = relabelled
    return Blocks(columns, sizes, expert, router.predict(split.test[:, columns]), router)


def repopulated(expert, k):
    """(n,) the same experts, where each has two rows at least: an empty one takes rows of the largest."""
    expert = expert.copy()
    for i in np.flatnonzero(np.bincount(expert, minlength=k) < 2):
        largest = np.flatnonzero(expert == np.bincount(expert, minlength=k).argmax())
        expert[largest[:2]] = i
    return expert


def fit_router(features, expert, sizes):
    """A `QDARouter` whose shrinkage is that of Ledoit and Wolf (2004), averaged over the experts."""
    from sklearn.covariance import ledoit_wolf_shrinkage

    ends = np.cumsum(sizes)
    counts = np.bincount(expert, minlength=len(sizes))
    shares = [ledoit_wolf_shrinkage(features[expert == i, end - size:end], assume_centered=True)
              for i, (size, end) in enumerate(zip(sizes, ends))]
    shrinkage = float(np.clip(counts @ np.array(shares) / counts.sum(), 1e-3, MOST_SHRINKAGE))
    return QDARouter(sizes, shrinkage=shrinkage).fit(features, expert)


def ridge_coefficients(features, response, penalties):
    """(penalties, d, m) of ridge fits with the penalties; features and response are centred."""
    n, d = features.shape
    rows_first = n < d
    gram = features @ features.T if rows_first else features.T @ features
    moments = response if rows_first else features.T @ response
    coefficients = []
    for penalty in penalties:
        if penalty == 0:
            coefficients.append(linear.lstsq(features, response).coef)
            continue
        penalised = gram.copy()
        penalised.flat[:: len(gram) + 1] += n * penalty  # its diagonal
        factor = scipy.linalg.cho_factor(penalised, overwrite_a=True, check_finite=False)
        solution = scipy.linalg.cho_solve(factor, moments, check_finite=False)
        coefficients.append(features.T @ solution if rows_first else solution)
    return np.array(coefficients)


def ridge_path(features, response, new, penalties):
    """(penalties, n_new, m) predictions of ridge fits with an intercept."""
    mean, response_mean = features.mean(axis=0), response.mean(axis=0)
    coefficients = ridge_coefficients(features - mean, response - response_mean, penalties)
    return (new - mean) @ coefficients + response_mean


def experts_path(features, response, expert, sizes, new, routed, penalties):
    """(penalties, n_new, m) predictions of experts, one ridge fit each with an intercept, for new rows routed (n_new,).

    An expert that has no rows here answers the mean.
    """
    predictions = np.empty((len(penalties), len(new), response.shape[1]))
    ends = np.cumsum(sizes)
    for i, (size, end) in enumerate(zip(sizes, ends)):
        own, sent, block = expert == i, routed == i, slice(end - size, end)
        if own.any():
            predictions[:, sent] = ridge_path(features[own, block], response[own], new[sent, block], penalties)
        else:
            predictions[:, sent] = response.mean(axis=0)
    return predictions


def tuned(path, response, tuning):
    """The penalty, of `PENALTIES`, with the least squared error over the tuning folds (n,).

    ``path(fit, check)`` gives predictions (penalties, rows, m) of the rows `check` from the rows `fit` (both bool).
    """
    errors = np.zeros(len(PENALTIES))
    for fold in range(TUNING_FOLDS):
        check = tuning == fold
        errors += ((path(~check, check) - response[check]) ** 2).sum(axis=(1, 2))
    return int(errors.argmin())


def losses(split, blocks, random_blocks, noise, scale, seed):
    """{estimator: (n_test,) squared errors, summed over the responses}, and {"routed": (n_test,)}: the router's choices.

    `noise` is (train noise, test noise), standard normal, and `scale` its standard deviation, in those of the features.
    """
    train, test = (clean + scale * part for clean, part in zip(split[:2], noise))
    tuning = folds(split.train_groups, TUNING_FOLDS, seed)
    penalties = PENALTIES * (1 + scale**2)
    response = split.train_response
    found = {"dense": ridge_path(train, response, test, [0.0])[0]}

    def dense_path(fit, check):
        return ridge_path(train[fit], response[fit], train[check], penalties)

    best = penalties[tuned(dense_path, response, tuning)]
    found["ridge"] = ridge_path(train, response, test, [best])[0]
    for name, each in (("experts", blocks), ("random blocks", random_blocks)):
        X, X_test = (np.ascontiguousarray(rows[:, each.columns]) for rows in (train, test))
        path = functools.partial(routed_path, X, response, each, penalties)
        best = penalties[tuned(path, response, tuning)]
        router = fit_router(X, each.train_expert, each.sizes)
        routed = router.predict(X_test)
        answer = functools.partial(experts_path, X, response, each.train_expert, each.sizes, X_test)
        found[name] = answer(routed, [best])[0]
        if name == "experts":
            found["experts, oracle"] = answer(each.test_expert, [best])[0]
            found["experts, untuned"] = answer(routed, [0.0])[0]
            wrong = routed != each.test_expert
    found["mean"] = np.broadcast_to(response.mean(axis=0), split.test_response.shape)
    errors = {name: ((answer - split.test_response) ** 2).sum(axis=1) for name, answer in found.items()}
    return errors | {"misrouting": wrong.astype(float)}


def routed_path(X, response, blocks, penalties, fit, check):
    """`experts_path` of the rows `check`, from a router and experts fitted to the rows `fit`."""
    expert = blocks.train_expert[fit]
    router = fit_router(X[fit], repopulated(expert, len(blocks.sizes)), blocks.sizes)
    return experts_path(X[fit], response[fit], expert, blocks.sizes, X[check], router.predict(X[check]), penalties)
