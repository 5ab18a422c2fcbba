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
    return Blocks(columns, sizes, expert, router.predict(split.test[:, columns]))


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


class Noisy(NamedTuple):
    """Rows of a split with noise, and what is needed to tune on them."""

    train: np.ndarray
    test: np.ndarray
    response: np.ndarray
    tuning: np.ndarray
    """(n,) the fold of each training row."""
    penalties: np.ndarray


def losses(split, blocks, shuffled, noise, scale, seed):
    """{estimator: (n_test,) squared errors, summed over the responses}, and the router's own under "misrouting".

    `shuffled` are `Blocks` of random modules, over which "random blocks" is a mean. `noise` is (train noise, test
    noise), standard normal, and `scale` its standard deviation, in those of the features.
    """
    train, test = (clean + scale * part for clean, part in zip(split[:2], noise))
    noisy = Noisy(train, test, split.train_response, folds(split.train_groups, TUNING_FOLDS, seed),
                  PENALTIES * (1 + scale**2))

    def squared(answer):
        return ((answer - split.test_response) ** 2).sum(axis=1)

    answers = dense_answers(noisy) | experts_answers(noisy, blocks)
    errors = {name: squared(answer) for name, answer in answers.items()}
    errors["random blocks"] = np.mean([squared(experts_answers(noisy, each)["experts"]) for each in shuffled], axis=0)
    errors["misrouting"] = (routed_rows(noisy, blocks) != blocks.test_expert).astype(float)
    return errors


def dense_answers(noisy):
    """{estimator: (n_test, m) answers} of one linear function, and of the mean."""
    train, test, response, tuning, penalties = noisy

    def path(fit, check):
        return ridge_path(train[fit], response[fit], train[check], penalties)

    best = penalties[tuned(path, response, tuning)]
    return {"dense": ridge_path(train, response, test, [0.0])[0], "ridge": ridge_path(train, response, test, [best])[0],
            "mean": np.broadcast_to(response.mean(axis=0), (len(test), response.shape[1]))}


def experts_answers(noisy, blocks):
    """{estimator: (n_test, m) answers} of experts on the blocks: by the router, by the oracle, without a penalty."""
    train, test, response, tuning, penalties = noisy
    X, X_test = (np.ascontiguousarray(rows[:, blocks.columns]) for rows in (train, test))
    path = functools.partial(routed_path, X, response, blocks, penalties)
    best = penalties[tuned(path, response, tuning)]
    routed = routed_rows(noisy, blocks)
    answer = functools.partial(experts_path, X, response, blocks.train_expert, blocks.sizes, X_test)
    tuned_answers, untuned = answer(routed, [best, 0.0])
    return {"experts": tuned_answers, "experts, oracle": answer(blocks.test_expert, [best])[0],
            "experts, untuned": untuned}


def routed_rows(noisy, blocks):
    """(n_test,) where a router fitted to the noisy training rows sends the test rows."""
    router = fit_router(np.ascontiguousarray(noisy.train[:, blocks.columns]), blocks.train_expert, blocks.sizes)
    return router.predict(noisy.test[:, blocks.columns])


def routed_path(X, response, blocks, penalties, fit, check):
    """`experts_path` of the rows `check`, from a router and experts fitted to the rows `fit`."""
    expert = blocks.train_expert[fit]
    router = fit_router(X[fit], repopulated(expert, len(blocks.sizes)), blocks.sizes)
    return experts_path(X[fit], response[fit], expert, blocks.sizes, X[check], router.predict(X[check]), penalties)
