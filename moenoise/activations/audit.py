"""Does the paper's claim hold on a user's activations? Modules, a fitted model, experts and their rivals."""

import dataclasses
import itertools
import numbers

import numpy as np

from .. import _validation
from .._blas import one_blas_thread
from .._progress import progress_bar
from .._random import philox_key
from .._threads import thread_map
from ..designs import standard_normal
from ..model import BlockModel
from . import comparison, fitted
from .folds import folds, mean_and_error
from .interference import Interference, block_and_full_losses, interference
from .modularity import NULLS, Modularity, best_number, judge_modularity
from .modules import Modules, modules_of, unit
from .sampling import sample_rows
from .targets import as_groups, as_targets, one_of_each
from .verdict import COUNTED, RIVALS, Verdict, judge

MOST_ROWS = 10_000

FOLDS = 4

SHUFFLES = 3
"""Random modules in each fold: their mean is one rival."""

MOST_NOISE = 1e6

LARGEST_GROUP = 0.5
"""Of the rows: with more in one group the other folds would be left with too few."""

CANDIDATES = (2, 3, 4, 6, 8, 12, 16, 24)
"""Numbers of experts that are tried where none is given."""

LEAST_FEATURES, LEAST_ROWS = 3, 50
"""Of an expert, on average, for its number to be tried."""

ESTIMATORS = ("experts", "ridge", "random blocks", "experts, oracle", "experts, untuned", "dense", "mean")

RANDOM_STREAM = 1_000_000
"""Noise is drawn on a stream of its own, beyond those of the null's draws."""


@dataclasses.dataclass(frozen=True, eq=False)
class Audit:
    """What `moenoise.audit` found; shown as a page in Jupyter, ``print(result.verdict)`` in a shell.

    Attributes
    ----------
    verdict : Verdict
        ``.modular``, ``.off_block_is_noise``, ``.model_predicts``, ``.experts_help``: True, False, or None where it
        cannot be told. ``str()`` is a sentence; ``.answers`` has the numbers.
    modularity : Modularity
        ``.score``, ``.null``, ``.z``, ``.ratio``, ``.ari``, ``.density_inside``, ``.density_outside``.
    modules : Modules
        Of all rows looked at: ``.features`` (d,), ``.experts`` (n,), ``.index``, ``.feature_order``, ``.row_order``.
    model : BlockModel or None
        Fitted to the standardised activations, blocks in the order of ``modules``; None without targets. With several
        responses its coefficients are such that its risks are sums over them.
    interference : Interference or None
        ``.value``, ``.standard_error``.
    measurements : list of dict
        Tidy records: ``noise`` (a standard deviation, in those of the features), ``quantity``, ``value``,
        ``standard_error``. Risks are mean squared errors on rows held out, as shares of the response's variance.
    predictions : list of dict
        Tidy records: ``noise``, ``quantity`` ("dense", "sparse", "misrouting"), ``predicted``, ``measured``.
    settings : dict
        What was looked at and how: numbers of rows and features, experts, seed, ...
    rows : (n, d) array
        The rows of ``modules.experts``, as given.
    """

    verdict: Verdict
    modularity: Modularity
    modules: Modules
    model: BlockModel | None
    interference: Interference | None
    measurements: list
    predictions: list
    settings: dict
    rows: np.ndarray = dataclasses.field(repr=False)

    def to_json(self):
        """Everything but the rows, as a JSON text (str); what is not finite is null."""
        from .audit_report import as_json

        return as_json(self)

    def plot(self, *, axes=None):
        """Four panels: active entries, modularity beside its null, risks over noise, predictions; returns the axes."""
        from .audit_report import plot

        return plot(self, axes)

    def write(self, folder):
        """Write ``index.html``, ``audit.json`` and the figures into a folder, which is made; returns its path."""
        from .audit_report import write

        return write(self, folder)

    def _repr_html_(self):
        from .audit_report import html_fragment

        return html_fragment(self)

    def __str__(self):
        return "\n".join([*map(str, self.verdict.answers), "", str(self.verdict)])


def audit(activations, targets=None, *, experts=None, groups=None, tokens=None, sparsity=0.7, noise=(0, 0.5, 1, 2),
          key=None, draws=20, max_rows=MOST_ROWS, rng=None, jobs=None, progress=True):
    """Test on your own activations whether experts stand noise better because features come in modules.

    Parameters
    ----------
    activations : array-like (n, d), path, or iterable of chunks
        What `moenoise.activations.read_chunks` reads: arrays, memory maps, ``.npy``, ``.npz``, ``.safetensors``.
    targets : array-like (n,) or (n, m), optional
        What is to be predicted. Floating numbers are responses; integers, booleans and strings are classes. Without
        them only the first question of the verdict has an answer.
    experts : int >= 2, optional
        How many modules to look for. Default: the number, from 2 to 24, with the highest held-out modularity.
    groups : array-like (n,) of int or str, optional
        Rows of one group, of one document say, are kept on one side of every split, and count as one for the errors.
    tokens : array-like (n,) of int or str, optional
        What each row is an activation of, where the same thing occurs again: modules are then found, and their
        modularity told, on one row of each, chosen at random. Rows that are nearly alike, as a token's are in a
        network's first layers, would look like modules.
    sparsity : float in [0, 1), default 0.7
        The share of entries that count as not active.
    noise : sequence of float >= 0, default (0, 0.5, 1, 2)
        Standard deviations of the noise added to the standardised features, in training and test rows alike.
    key : str, optional
        Which array of a file that holds several.
    draws : int >= 20, default 20
        Of the null.
    max_rows : int, default 10,000
        A random sample of so many distinct rows is looked at; rows that occur again are dropped. Memory beside the
        source is at most about ``8 (8 + 5 jobs) max_rows d + 48 d^2`` bytes, and 250 MB for reading.
    rng : None, int, SeedSequence or Generator, optional
    jobs : int, optional
        Threads; default: as many as this process may use cores. No result depends on it.
    progress : bool, default True
        Whether to show a progress bar.

    Returns
    -------
    Audit
        See there. Its parts:

        1. *Modules and modularity*, `moenoise.activations.find_modules`: on rows that the modules were not found on,
           beside draws of a Gaussian copula that has the same columns and correlations, and no modules, and of one in
           which rows keep their scales as well. Modular: z > 5 and ratio > 1.5.
        2. *Interference*: what an expert gains when it may see every feature. Noise: less than 5 % of its error.
        3. *The fitted block model*: does it predict the risks of dense and sparse least squares, on rows held out,
           within 25 %, at noise 0 and 0.5?
        4. *Experts* with a learned router against a ridge on all features and against the same experts on random blocks
           of the same sizes, all tuned for the noise on the same folds. They help where they beat both at noise 0 and
           0.5, by more than two standard errors.

    Raises
    ------
    TypeError, ValueError, OSError
        Where an argument has the wrong kind, shape or range, or a file cannot be read; where rows are too few; where
        activations or targets do not vary.

    Notes
    -----
    "Modular" means that features are large together beyond what correlations and loud rows explain; rows in clusters
    that are far apart are of that kind, too. Give what enters a layer, or what a unit computes before its activation
    function. The null knows functions that rise: where they do not, as a GELU's magnitude falls before it rises, or
    where two are multiplied, activations of inputs without any modules can look modular beside it (the claim `figure-1`
    measures how much). After a ReLU modules are correlations, which the null has as well, and the answer is no.

    Features are standardised by the training rows. In each of four folds modules are found, models fitted and penalties
    tuned on the other three; all but the number of experts, where it is not given, which comes from all rows, and
    the oracle, which knows a test row's expert from its features before noise was added. The random blocks are a mean
    of three shuffles in each fold. Standard errors count groups, not rows, and two of them are more where groups are
    few: Student's t. How often each answer is given where the truth is known is in the README.

    Examples
    --------
    >>> import moenoise as mn
    >>> sample = mn.BlockModel.isotropic(48, 3, variance=6.0, rng=0).sample(1200, rng=1)
    >>> found = mn.audit(sample.features, sample.response, experts=3, rng=0, progress=False)
    >>> found.verdict.modular, found.verdict.off_block_is_noise, found.verdict.experts_help
    (True, True, True)
    >>> print(found.verdict)  # doctest: +ELLIPSIS
    The activations come in modules, and experts on them beat both a tuned ridge and random blocks; the block model...
    """
    settings = _checked(experts, sparsity, noise, draws, max_rows, jobs, progress)
    seed = philox_key(rng)
    sample = sample_rows(activations, settings["max_rows"], key=key, rng=seed)
    rows, groups = sample.rows, as_groups(groups, sample.n_rows, sample.index)
    distinct = one_of_each(as_groups(tokens, sample.n_rows, sample.index, "tokens"), seed)
    if not rows.any():
        raise ValueError("activations must not be all zeros")
    _check_enough_rows(distinct, settings["experts"] or min(CANDIDATES), has_tokens=tokens is not None)
    _check_groups(groups)
    targets = None if targets is None else as_targets(targets, sample.n_rows, sample.index)
    different, halves = rows[distinct], folds(groups[distinct], 2, seed) == 0
    with one_blas_thread(), _Progress(settings["progress"]) as bar:
        k, candidates = settings["experts"], ()
        if k is None:
            candidates = _candidates(different)
            bar.begin("experts", len(candidates))
            k = best_number(different, halves, candidates, settings["sparsity"], seed, bar.update)
        bar.begin("null", len(NULLS) * settings["draws"])
        found = judge_modularity(different, halves, k, settings["sparsity"], draws=settings["draws"], seed=seed,
                                 jobs=settings["jobs"], candidates=candidates, done=bar.update)
        modules = modules_of(different, k, settings["sparsity"], seed=seed, index=sample.index[distinct])
        _check_several(modules, settings["sparsity"])
        parts = {} if targets is None else _predict(rows, targets, groups, distinct, modules.k, settings, seed, bar)
    verdict = judge(found, parts.get("interference"), parts.get("measurements", ()), parts.get("predictions", ()),
                    n_groups=len(np.unique(groups)))
    described = {
        "n_rows": sample.n_rows, "n_duplicates": sample.n_duplicates, "n_rows_used": len(rows),
        "n_rows_different": len(different), "n_features": rows.shape[1], "n_groups": len(np.unique(groups)),
        "experts": modules.k,
        "experts_given": settings["experts"] is not None, "sparsity": settings["sparsity"],
        "noise": settings["noise"], "draws": settings["draws"],
        "seed": int(rng) if isinstance(rng, numbers.Integral) else None,
        "responses": None if targets is None else targets.response.shape[1],
        "classes": None if targets is None or targets.classes is None else targets.classes.tolist(),
    }
    return Audit(verdict, found, modules, parts.get("model"), parts.get("interference"), parts.get("measurements", []),
                 parts.get("predictions", []), described, different)


def _checked(experts, sparsity, noise, draws, max_rows, jobs, progress):
    """The settings, each of its own kind and in its range."""
    scales = _validation.as_array(noise, "noise", 1)
    if scales.min() < 0 or scales.max() > MOST_NOISE:
        raise ValueError(f"noise must hold standard deviations, from 0 to {MOST_NOISE:g}, got "
                         f"{scales[(scales < 0) | (scales > MOST_NOISE)][0]:g}")
    return {
        "experts": None if experts is None else _validation.as_integer(experts, "experts", low=2),
        "sparsity": _validation.as_scalar(sparsity, "sparsity", low=0, high=1, open_high=True),
        "noise": sorted(set(scales.tolist())),
        "draws": _validation.as_integer(draws, "draws", low=20),
        "max_rows": _validation.as_integer(max_rows, "max_rows", low=LEAST_ROWS),
        "jobs": _validation.as_jobs(jobs),
        "progress": _validation.as_flag(progress, "progress"),
    }


def _check_enough_rows(distinct, k, *, has_tokens):
    least, found = 8 * k, int(distinct.sum())
    if found < least:
        what = "tokens must hold at least {} different ones" if has_tokens and len(distinct) >= least else \
               "activations must have at least {} distinct rows"
        raise ValueError(f"{what.format(least)} for {k} experts, got {found}")


def _check_groups(groups):
    counts = np.bincount(groups)
    if len(counts) < FOLDS:
        raise ValueError(f"groups must hold at least {FOLDS} different ones, got {len(counts)}")
    if counts.max() > LARGEST_GROUP * len(groups):
        raise ValueError(f"groups must leave some rows to others: one holds {counts.max()} of {len(groups)}")


def _check_several(modules, sparsity):
    if modules.k < 2:
        raise ValueError(f"sparsity must leave two modules at least, found one at {sparsity:g}"
                         f"{', where every entry is active' if modules.sparsity == 0 else ''}: try another")


def _candidates(rows):
    """Numbers of modules that so many rows and features allow."""
    n, d = rows.shape
    return [k for k in CANDIDATES if k * LEAST_FEATURES <= d and k * LEAST_ROWS <= n] or [2]


def _predict(rows, targets, groups, distinct, k, settings, seed, bar):
    """All that needs targets: the model, the interference, measurements and predictions."""
    fold = folds(groups, FOLDS, seed + 1)
    noise = standard_normal(rows.shape, rng=seed, stream=RANDOM_STREAM)
    scales = settings["noise"]
    bar.begin("folds", FOLDS * (len(scales) + 1))

    def one_fold(f):
        test = fold == f
        return _one_fold(rows, targets.response, groups, distinct, test, noise, scales, k, settings["sparsity"], seed,
                         bar)

    parts = thread_map(one_fold, range(FOLDS), settings["jobs"])
    errors = np.empty((len(rows), 2))
    losses = {scale: {} for scale in scales}
    for f, part in enumerate(parts):
        errors[fold == f] = part["block and full"]
        for scale, found in zip(scales, part["losses"]):
            for name, values in found.items():
                losses[scale].setdefault(name, np.empty(len(rows)))[fold == f] = values
    measurements = [record for scale in scales for record in _records(scale, losses[scale], groups)]
    everything = np.ones(len(rows), dtype=bool)
    whole = _standardised(rows, everything, targets.response, groups)
    blocks = _blocks(rows, everything, distinct, whole, k, settings["sparsity"], [seed])[0]
    model = fitted.fit_model(whole.train[:, blocks.columns], whole.train_response, blocks.train_expert,
                             blocks.sizes).model
    predictions = _predictions(scales, [part["predictions"] for part in parts], measurements)
    return {"interference": interference(errors, groups), "measurements": measurements, "predictions": predictions,
            "model": model}


def _one_fold(rows, response, groups, distinct, test, noise, scales, k, sparsity, seed, bar):
    """Everything of one fold: errors of its test rows, and the model's predictions for them."""
    split = _standardised(rows, test, response, groups)
    number = int(np.flatnonzero(test)[0])  # shuffles differ from fold to fold
    blocks, *shuffled = _blocks(rows, ~test, distinct, split, k, sparsity,
                                [seed, *((seed, number, i) for i in range(SHUFFLES))])
    model = fitted.fit_model(split.train[:, blocks.columns], split.train_response, blocks.train_expert, blocks.sizes)
    found = {"block and full": block_and_full_losses(split, blocks, seed)}
    bar.update()
    found["losses"], found["predictions"] = [], []
    for scale in scales:
        found["losses"].append(comparison.losses(split, blocks, shuffled, (noise[~test], noise[test]), scale,
                                                 seed))
        found["predictions"].append(fitted.predict(model, scale**2))
        bar.update()
    return found


def _standardised(rows, test, response, groups):
    """The `comparison.Split`; where all rows are test rows, as for the final model, all are training rows as well."""
    train = np.ones(len(rows), dtype=bool) if test.all() else ~test
    rows = rows / unit(rows)
    mean, spread = rows[train].mean(axis=0), rows[train].std(axis=0)
    spread[spread <= 1e-9 * np.abs(mean)] = np.inf  # a feature that does not vary here becomes zero
    spread[spread == 0] = np.inf
    response = response - response[train].mean(axis=0)
    return comparison.Split((rows[train] - mean) / spread, (rows[test] - mean) / spread, response[train],
                            response[test], groups[train])


def _blocks(rows, train, distinct, split, k, sparsity, seeds):
    """The `comparison.Blocks` of the modules of the training rows, and for each seed of shuffled ones."""
    modules = modules_of(rows[train & distinct], k, sparsity, seed=seeds[0])
    _check_several(modules, sparsity)
    members = modules.features >= 0
    grouped = [modules.features]
    for seed in seeds[1:]:
        shuffled = modules.features.copy()
        shuffled[members] = np.random.default_rng(seed).permutation(shuffled[members])
        grouped.append(shuffled)
    return [comparison.blocks_of(features, modules.threshold, split, rows[train]) for features in grouped]


def _records(scale, losses, groups):
    """Tidy records of one noise level: risks, the rivals' leads or lags, misrouting."""
    def record(quantity, values):
        value, error = mean_and_error(values, groups)
        return {"noise": scale, "quantity": quantity, "value": value, "standard_error": error}

    return ([record(name, losses[name]) for name in ESTIMATORS]
            + [record(f"{rival} - experts", losses[rival] - losses["experts"]) for rival in RIVALS]
            + [record(f"mean - {name}", losses["mean"] - losses[name]) for name in COUNTED]
            + [record("misrouting", losses["misrouting"])])


def _predictions(scales, folds_of_predictions, measurements):
    """Tidy records: the mean prediction of the folds beside what was measured."""
    measured = {(record["noise"], record["quantity"]): record["value"] for record in measurements}
    names = {"dense": "dense", "sparse": "experts, untuned", "misrouting": "misrouting"}
    return [{"noise": scale, "quantity": quantity,
             "predicted": float(np.mean([getattr(fold[i], quantity) for fold in folds_of_predictions])),
             "measured": measured[scale, name]}
            for (i, scale), (quantity, name) in itertools.product(enumerate(scales), names.items())]


class _Progress:
    """A progress bar for each part of an audit in turn, or none."""

    def __init__(self, shown):
        self.shown, self._bar = shown, None

    def __enter__(self):
        return self

    def __exit__(self, *error):
        self._close()

    def begin(self, label, total):
        """Start the bar of the next part."""
        self._close()
        self._bar = progress_bar(label, shown=self.shown, total=total)

    def update(self):
        self._bar.update()

    def _close(self):
        if self._bar is not None:
            self._bar.close()
