"""What `probes.compare` does on each split: training and test rows, modules, the probes' fits and their accuracy."""

import threading
from functools import partial
from itertools import islice
from typing import NamedTuple

import numpy as np

from . import _validation
from ._random import philox_key
from .activations.modules import find_modules
from .activations.targets import as_categories
from .designs import standard_normal

PROBES = ("lasso", "ridge", "elastic net", "experts", "experts, random blocks", "experts, averaged",
          "experts, clean routing")
"""The paper's four, and three controls."""

L1_RATIOS = {"lasso": 1.0, "elastic net": 0.5}

# One of these parts is the test rows; the rest is split again to choose the penalty.
PARTS, FOLDS = 4, 3
TEST_SHARE = 1 / PARTS

# Each probe has one penalty, chosen from as many values: multiples of the least l1 penalty at which all coefficients
# are zero, and multiples of the features' mean second moment, which is 1. Strongest first: of equals it wins.
SHRINKING = np.geomspace(0.5, 3e-3, 12)
RIDGES = np.geomspace(1e2, 1e-3, 12)

# Of the router's covariances: blocks may have more features than rows.
SHRINKAGE = 0.1

# Of coordinate descent: sweeps, at most, and the duality gap at which it ends, over the mean square of the answers. A
# hundredth of it moves accuracies by nothing that a few hundred test rows could show.
MOST_SWEEPS, GAP = 2000, 1e-3

MOST_NOISE = 1e6

FEWEST_ROWS = PARTS * FOLDS
"""Of a class."""


class Problem(NamedTuple):
    """Checked arguments of `probes.compare`, and a seed for each kind of randomness."""

    features: np.ndarray
    codes: np.ndarray
    """(n,) which of `classes`."""
    classes: tuple
    groups: np.ndarray | None
    experts: int
    modules: np.ndarray | None
    sparsity: float
    noise: tuple
    tuning_noise: float
    seed: int
    stopped: threading.Event
    """Set where the fits under way should end."""


def as_problem(A, labels, *, experts=None, modules=None, sparsity=0.7, noise=(0.2, 0.5, 1.0, 2.0), tuning_noise=0.0,
               groups=None, rng=None):
    """The `Problem` of these arguments of `probes.compare`."""
    A = _validation.as_array(A, "A", 2)
    if not np.ptp(A, axis=0).any():
        raise ValueError("A must have features that vary")
    A = A / np.abs(A).max()  # nothing depends on the unit, and squares neither overflow nor vanish
    classes, codes = np.unique(as_categories(labels, len(A), "labels"), return_inverse=True)
    classes = tuple(classes.tolist())
    if len(classes) < 2:
        raise ValueError(f"labels must be of two classes at least, got {classes[0]!r} alone")
    counts = np.bincount(codes)
    if counts.min() < FEWEST_ROWS:
        raise ValueError(f"labels must give each class at least {FEWEST_ROWS} rows, got {counts.min()} of "
                         f"{classes[counts.argmin()]!r}")
    if groups is not None:
        groups = np.unique(as_categories(groups, len(A), "groups"), return_inverse=True)[1]
        spread = np.array([len(np.unique(groups[codes == code])) for code in range(len(classes))])
        if spread.min() < PARTS:
            raise ValueError(f"groups must spread each class over at least {PARTS} of them, got {spread.min()} with "
                             f"rows of {classes[spread.argmin()]!r}")
    if modules is not None:
        modules = as_modules(modules, A.shape[1], experts)
        experts = int(modules.max()) + 1
    experts = _validation.as_integer(4 if experts is None else experts, "experts", low=2, high=A.shape[1])
    sparsity = _validation.as_scalar(sparsity, "sparsity", low=0, high=1, open_high=True)
    levels = tuple(_validation.as_scalar(level, f"noise[{i}]", low=0, high=MOST_NOISE, open_low=True)
                   for i, level in enumerate(_validation.as_list(noise, "noise")))
    if any(later <= earlier for earlier, later in zip(levels, levels[1:])):
        raise ValueError(f"noise must be increasing, got {levels}")
    tuning_noise = _validation.as_scalar(tuning_noise, "tuning_noise", low=0, high=MOST_NOISE)
    return Problem(A, codes, classes, groups, experts, modules, sparsity, (0.0, *levels), tuning_noise,
                   philox_key(rng), threading.Event())


def as_modules(value, d, k):
    """(d,) intp, 0 to k - 1, none of them empty; k may be None."""
    modules = _validation.as_integer_vector(value, "modules")
    if len(modules) != d:
        raise ValueError(f"modules must have one entry a feature, {d}, got {len(modules)}")
    found = np.unique(modules)
    k = len(found) if k is None else _validation.as_integer(k, "experts", low=2, high=d)
    if len(found) < 2 or not np.array_equal(found, np.arange(k)):
        raise ValueError(f"modules must hold all of 0..{max(k, 2) - 1}, and nothing else, got {found.tolist()}")
    return modules


class Split(NamedTuple):
    """Training rows, standardised, with their folds, and test rows at each noise."""

    X: np.ndarray
    Y: np.ndarray
    """Columns of 0 and 1 for the classes."""
    codes: np.ndarray
    folds: list
    """Pairs of positions (fit, check)."""
    check_noise: np.ndarray
    """What is added to the rows of X where penalties are checked."""
    tests: list
    test_codes: np.ndarray
    blocks: dict
    """probe -> k arrays of columns, for those with experts."""
    experts: dict
    """probe -> the expert of each training row."""
    stopped: threading.Event


def measure_split(problem, number):
    """Of one split: accuracy (probes, noises), penalties (probes,), rerouted (noises,), sizes (k,), unconverged."""
    split = draw_split(problem, number)
    accuracies, penalties, unconverged = {}, {}, 0
    for probe in PROBES[:-1]:
        penalties[probe] = best_penalty(split, probe)
        fit = nth(fits(split, probe, np.arange(len(split.X))), penalties[probe])
        accuracies[probe] = [accuracy(fit(test), split.test_codes) for test in split.tests]
        unconverged += probe in L1_RATIOS and not fit.converged
        if probe == "experts":
            routes = np.array([route(test, fit.keywords["blocks"], fit.keywords["router"]) for test in split.tests])
            penalties[PROBES[-1]] = penalties[probe]
            accuracies[PROBES[-1]] = [accuracy(fit(test, seen=split.tests[0]), split.test_codes)
                                      for test in split.tests]
    return ([accuracies[probe] for probe in PROBES], [penalties[probe] for probe in PROBES],
            (routes != routes[0]).mean(axis=1), [len(block) for block in split.blocks["experts"]], unconverged)


def draw_split(problem, number):
    """The `Split` of that number."""
    seeds = np.random.SeedSequence(problem.seed, spawn_key=(number,)).generate_state(4).tolist()
    groups = problem.groups
    # Any of the parts, since scikit-learn puts the largest group into the first.
    train, test = folds(problem.codes, groups, PARTS, seeds[0])[seeds[0] % PARTS]
    A, codes = problem.features[train], problem.codes[train]
    mean, scale = A.mean(axis=0), A.std(axis=0)
    varies = (np.ptp(A, axis=0) > 0) & (scale > 0)  # equal numbers' may not be 0, that of tiny ones may
    scale = np.where(varies, scale, 1)
    X, clean = (A - mean) / scale, (problem.features[test] - mean) / scale
    noise = standard_normal((len(X) + len(clean), X.shape[1]), rng=seeds[1]) * varies
    modules = module_blocks(problem, A, seeds[2])
    order = np.random.default_rng(seeds[3]).permutation(X.shape[1])
    at_random = np.split(order, np.cumsum([len(block) for block in modules])[:-1])
    blocks = {"experts": modules, "experts, random blocks": at_random, "experts, averaged": modules}
    return Split(X, np.eye(len(problem.classes))[codes], codes,
                 folds(codes, None if groups is None else groups[train], FOLDS, seeds[0]),
                 problem.tuning_noise * noise[len(clean):],
                 [clean + level * noise[:len(clean)] for level in problem.noise], problem.codes[test],
                 blocks, {probe: most_active(X, own) for probe, own in blocks.items()}, problem.stopped)


def folds(codes, groups, count, seed):
    """`count` pairs of positions (rest, fold): each class in all folds, a group in one."""
    from sklearn.model_selection import StratifiedGroupKFold, StratifiedKFold

    kind = StratifiedKFold if groups is None else StratifiedGroupKFold
    return list(kind(count, shuffle=True, random_state=seed).split(codes, codes, groups))


def module_blocks(problem, A, seed):
    """k arrays of columns, of the modules given, or found on these rows."""
    modules = problem.modules
    if modules is None:
        modules = find_modules(A, problem.experts, sparsity=problem.sparsity, rng=seed).features
        sizes = np.bincount(modules[modules >= 0])
        if len(sizes) < 2:
            raise ValueError("A must have two modules at least, found one: give modules, or another sparsity")
        modules = np.where(modules < 0, sizes.argmin(), modules)
    return [np.flatnonzero(modules == i) for i in range(modules.max() + 1)]


def most_active(X, blocks):
    """(n,) the block in which each row's energy is the largest multiple of what is usual there."""
    energy = np.array([np.mean(X[:, block] ** 2, axis=1) for block in blocks])
    usual = energy.mean(axis=1, keepdims=True)
    return (energy / np.where(usual > 0, usual, 1)).argmax(axis=0)


def best_penalty(split, probe):
    """Number of the penalty with the most accurate answers on rows that the fit has not seen."""
    found = [[accuracy(fit(split.X[check] + split.check_noise[check]), split.codes[check])
              for fit in fits(split, probe, rows)] for rows, check in split.folds]
    return int(np.mean(found, axis=0).argmax())


class Linear(NamedTuple):
    """A fit: ``X coef + intercept``."""

    coef: np.ndarray
    intercept: np.ndarray
    converged: bool = True

    def __call__(self, X):
        return X @ self.coef + self.intercept


def fits(split, probe, rows):
    """A probe's fits to these training rows, one for each penalty: callables X (n, d) -> answers (n, classes)."""
    X, Y = split.X[rows], split.Y[rows]
    if probe == "ridge":
        found = ridge_fits(X, Y)
    elif probe in L1_RATIOS:
        found = sparse_fits(X, Y, L1_RATIOS[probe])
    else:
        found = expert_fits(X, Y, split.blocks[probe], split.experts[probe][rows], routed="averaged" not in probe)
    for fit in found:
        if split.stopped.is_set():
            raise InterruptedError("another split failed, or Ctrl-C")
        yield fit


def sparse_fits(X, Y, l1_ratio):
    """By coordinate descent, each from where the last one ended."""
    from sklearn.linear_model import ElasticNet

    zero = np.abs(X.T @ (Y - Y.mean(axis=0))).max() / (len(X) * l1_ratio)
    model = ElasticNet(l1_ratio=l1_ratio, precompute=True, warm_start=True, max_iter=MOST_SWEEPS, tol=GAP)
    for share in SHRINKING:
        model.set_params(alpha=share * zero).fit(X, Y)
        yield Linear(model.coef_.T.copy(), model.intercept_.copy(), np.max(model.n_iter_) < MOST_SWEEPS)


def ridge_fits(X, Y):
    from sklearn.linear_model import Ridge

    for penalty in RIDGES:
        model = Ridge(penalty * len(X), solver="cholesky").fit(X, Y)
        yield Linear(model.coef_.T, model.intercept_)


def expert_fits(X, Y, blocks, expert, *, routed):
    """Ridge regression of each expert on its own rows and columns; equal penalties."""
    from .router import QDARouter

    counts = np.bincount(expert, minlength=len(blocks))
    if counts.min() == 0:
        raise ValueError(f"modules must each be the most active one of some rows, module {counts.argmin()} is of none")
    router = None
    if routed:
        router = QDARouter([len(block) for block in blocks], shrinkage=SHRINKAGE).fit(arranged(X, blocks), expert)
    own = [ridge_fits(X[np.ix_(expert == i, block)], Y[expert == i]) for i, block in enumerate(blocks)]
    for experts in zip(*own):
        yield partial(experts_answers, experts=experts, blocks=blocks, router=router)


def experts_answers(X, experts, blocks, router, seen=None):
    """Those of each row's expert; without a router the mean of all. `seen`: the rows as the router sees them."""
    found = np.array([fit(X[:, block]) for fit, block in zip(experts, blocks)])
    if router is None:
        return found.mean(axis=0)
    return found[route(X if seen is None else seen, blocks, router), np.arange(len(X))]


def route(X, blocks, router):
    """(n,) the expert that each row is sent to."""
    return router.predict(arranged(X, blocks))


def arranged(X, blocks):
    """The columns, blocks side by side."""
    return X[:, np.concatenate(blocks)]


def accuracy(found, codes):
    return np.mean(found.argmax(axis=1) == codes)


def nth(iterator, position):
    return next(islice(iterator, position, None))
