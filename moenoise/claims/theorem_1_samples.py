"""Theorem 1's sample complexity: how fast the router's excess error falls with the rows it is trained on."""

import dataclasses
import math

import numpy as np
import scipy.linalg
import scipy.special

from .. import theory
from ..model import BlockModel
from .base import Claim, Estimate, compare

NAME = "theorem-1-samples"

# Scales at which the best router errs on about a fifth of the rows, by (k, d_i): the paper's constant depends on how
# far apart the experts are, so that is what is held. In the weak model it errs on two fifths.
SCALES = {(3, 4): 2.59, (6, 4): 4.06, (12, 4): 5.41, (6, 8): 1.99, (6, 16): 1.10}
WEAK, WEAK_SCALE = (6, 4), 1.74
LOADED, LOADS = (6, 4), (0.05, 0.1, 0.1, 0.15, 0.2, 0.4)
DECAY, NOISE_VARIANCE = 0.5, 1.0

# The bound holds with probability 1 - DELTA; here it is held against the mean.
DELTA = 0.1

# Shrunk covariances, down to fewer rows an expert than features.
SHRUNK, SHRINKAGES = (6, 16), (0.1, 0.5, 1.0)

# "Estimation of sigma^2 is easy": what it may add to the excess error; this number is ours.
EASY = 0.05

# The excess error's next term is smaller than the first by a multiple of d_i / n_i; the margin of the exponent's limit
# is this multiple, which is ours. Shrinkage's limits may be off by SHRUNK_MARGIN.
NEXT_TERM, SHRUNK_MARGIN = 6, 0.15

# Draws of the determinants' law, from which rows take theirs.
POOL = 50


@dataclasses.dataclass(eq=False)
class Case:
    """One model, the fixed rows it is tested on, and what was measured there.

    `excess` and `law` hold an array (replicates,) for each number of rows and each way to fit.
    """

    setting: str
    model: BlockModel
    routing: str
    features: np.ndarray
    sizes: list
    excess: list = None
    law: list = None


def equal_model(k, block_size, scale, loads=None):
    """k experts with the same Toeplitz covariance; routing does not depend on their coefficients."""
    covariance = scale * scipy.linalg.toeplitz(DECAY ** np.arange(block_size))
    return BlockModel([covariance] * k, [np.ones(block_size)] * k, probabilities=loads, noise_variance=NOISE_VARIANCE)


def cases(run, shapes, rows_a_feature, test_rows):
    """A `Case` for each shape, one of weak signals, one of unequal loads."""
    models = {f"k={k}, d_i={size}": equal_model(k, size, SCALES[k, size]) for k, size in shapes}
    k, size = WEAK
    models[f"k={k}, d_i={size}, weak signals"] = equal_model(k, size, WEAK_SCALE)
    k, size = LOADED
    models[f"k={k}, d_i={size}, loads {min(LOADS):g}..{max(LOADS):g}"] = equal_model(k, size, SCALES[LOADED], LOADS)
    found = []
    for cell, (setting, model) in enumerate(models.items()):
        features = model.sample(test_rows, rng=run.rng(2 * cell)).features
        equal = np.ptp(model.probabilities) == 0
        # The rarest expert too has that many rows a feature; twice where their number is random: never too few.
        rows = np.array(rows_a_feature) * (1 if equal else 2) * (model.block_sizes / model.probabilities).max()
        sizes = rows.round().astype(int).tolist()
        found.append(Case(setting, model, "balanced" if equal else "random", features, sizes))
    return found


def block_scores(model, X, covariances):
    """The corrected score at given ``C_i``, in NumPy, with its parts: three (n, k) arrays.

    The scores ``log p_i - 1/2 log|C_i| - 1/2 x_i' C_i^-1 x_i + 1/2 d_i log s + 1/2 ||x_i||^2 / s``, the squares
    ``x_i' C_i^-1 x_i`` and ``||x_i||^2``.
    """
    parts = [X[:, block] for block in model.blocks]
    whitened = np.stack([(x * np.linalg.solve(own, x.T).T).sum(axis=1) for x, own in zip(parts, covariances)], axis=1)
    squares = np.stack([(x * x).sum(axis=1) for x in parts], axis=1)
    noise = model.noise_variance
    log_determinants = [np.linalg.slogdet(own)[1] for own in covariances]
    constants = np.log(model.probabilities) + 0.5 * (model.block_sizes * np.log(noise) - log_determinants)
    return constants + 0.5 * (squares / noise - whitened), whitened, squares


def true_covariances(model):
    """``C_i`` of each expert."""
    return [own + model.noise_variance * np.eye(len(own)) for own in model.covariances]


class BestRouter:
    """The router that knows the model, on fixed rows: its scores, and what is lost where others choose otherwise."""

    def __init__(self, model, X):
        self.model, self.rows = model, np.arange(len(X))
        self.scores, self.whitened, self.squares = block_scores(model, X, true_covariances(model))
        self.probabilities = scipy.special.softmax(self.scores, axis=1)

    def excess_errors(self, chosen):
        """(rows,) max_i q_i - q_chosen, q the true posterior: the expected excess error on these rows, whose labels
        it does not need, so that the labels' own chance is not in it."""
        return self.probabilities.max(axis=1) - self.probabilities[self.rows, chosen]

    def excess_error(self, chosen):
        """Its mean."""
        return float(np.mean(self.excess_errors(chosen)))


def score_law(best, counts, rng):
    r"""One draw of the estimated scores' exact law, and of what estimating noise and priors changes in them.

    For ``W = C_i^-1/2 Chat_i C_i^-1/2``, a mean of n_i squares of standard normal vectors, and a fixed row u, the
    determinant of ``n_i W`` is a product of independent chi-squares with n_i, ..., n_i - d_i + 1 degrees of freedom,
    and the last of them, over n_i, is ``T = ||u||^2 / u' W^-1 u`` (Bartlett's decomposition). So each score, at a
    fixed row, is::

        ghat_i = g_i - 1/2 log|W| - 1/2 ||u_i||^2 (1/T - 1),   u_i = C_i^-1/2 x_i

    The experts' are independent. The rows' are not, but each row's law is right, and so is the mean over rows.

    Returns
    -------
    scores, by_noise, by_priors : (rows, k) arrays
        Scores with known noise variance and priors, and what is added to them where those are estimated.
    """
    model, shape = best.model, best.scores.shape
    scores = best.scores.copy()
    for i, (count, size) in enumerate(zip(counts.tolist(), model.block_sizes.tolist())):
        others = rng.chisquare(count - np.arange(size - 1), size=(POOL, size - 1)) / count
        last = rng.chisquare(count - size + 1, size=shape[0]) / count
        log_determinant = rng.choice(np.log(others).sum(axis=1), size=shape[0]) + np.log(last)
        scores[:, i] -= 0.5 * (log_determinant + best.whitened[:, i] * (1 / last - 1))
    # The noise is estimated from the entries outside the rows' own blocks, which the covariances do not see.
    entries = counts @ (model.d - model.block_sizes)
    ratio = rng.chisquare(entries, size=(shape[0], 1)) / entries
    by_noise = 0.5 * (model.block_sizes * np.log(ratio) + best.squares * (1 / ratio - 1) / model.noise_variance)
    return scores, by_noise, np.log(counts / counts.sum()) - np.log(model.probabilities)


FITS = ("known", "noise variance estimated", "priors estimated")


def measure(run, *, shapes, rows_a_feature, test_rows, replicates, shrunk_rows, shrunk_replicates):
    """Excess errors of fitted routers, and the same by the scores' law, for every case and number of rows."""
    found = cases(run, shapes, rows_a_feature, test_rows)
    for cell, case in enumerate(found):
        measure_case(run, case, run.rng(2 * cell + 1), replicates)
    shrunk = measure_shrinkage(run, run.rng(100), test_rows, shrunk_rows, shrunk_replicates)
    constants = [needed_constants(case) for case in found]
    records = [record for case in found for record in law_records(case)] + [pooled_law_record(found)]
    records += [printed_score_record(case) for case in found[: len(shapes)]]
    records += bound_records(found, constants, len(shapes)) + growth_records(found[: len(shapes)])
    records += estimation_records(found[-1]) + shrinkage_records(shrunk)
    return records, {"cases": found, "shapes": len(shapes), "constants": constants, "shrunk": shrunk}


def measure_case(run, case, seed, replicates):
    """Fill `case.excess` and `case.law`: a list, over numbers of rows, of arrays (replicates, len(FITS))."""
    from ..router import QDARouter

    model, best = case.model, BestRouter(case.model, case.features)
    known = {"noise_variance": model.noise_variance, "priors": model.probabilities}
    ways = (known, {**known, "noise_variance": None}, {**known, "priors": None})
    # With equal loads, routed in balance, there is nothing to estimate but covariances.
    ways = ways if case.routing == "random" else ways[:1]
    laws = np.random.SeedSequence(seed.entropy, spawn_key=(*seed.spawn_key, 0))

    def one(item):
        size, replicate = item
        train = model.sample(case.sizes[size], rng=seed, replicate=1000 * size + replicate, routing=case.routing)
        counts = np.bincount(train.expert, minlength=model.k)
        fitted = [QDARouter(model.block_sizes, **way).fit(train.features, train.expert) for way in ways]
        rng = np.random.Generator(np.random.Philox(
            np.random.SeedSequence(laws.entropy, spawn_key=(*laws.spawn_key, size, replicate))))
        scores, by_noise, by_priors = score_law(best, counts, rng)
        drawn = (scores, scores + by_noise, scores + by_priors)[: len(ways)]
        return ([best.excess_error(router.predict(case.features)) for router in fitted],
                [best.excess_error(values.argmax(axis=1)) for values in drawn])

    case.excess, case.law = [], []
    for size, count in enumerate(replicates):
        pairs = np.array(run.map(one, [(size, replicate) for replicate in range(count)], case.setting))
        case.excess.append(pairs[:, 0])
        case.law.append(pairs[:, 1])


def at(case, j):
    """The setting of the case's j-th number of rows."""
    return f"{case.setting}, n = {case.sizes[j]}"


def law_records(case):
    """The excess error beside its exact law, on the same rows: what is judged is their difference."""
    records = []
    for j in range(len(case.sizes)):
        excess, law = case.excess[j][:, 0], case.law[j][:, 0]
        estimate = Estimate.of(excess - law)._replace(mean=excess.mean())
        records.append(compare(NAME, "excess routing error", at(case, j), estimate, corrected=law.mean()))
    return records


def pooled_law_record(found):
    """All excess errors over their laws at once: a mean that sees what no single one does."""
    ratios = [Estimate.of(excess[:, 0] - law[:, 0])._replace(mean=excess[:, 0].mean()) for case in found
              for excess, law in zip(case.excess, case.law)]
    laws = [law[:, 0].mean() for case in found for law in case.law]
    mean = np.mean([ratio.mean / law for ratio, law in zip(ratios, laws)])
    errors = [ratio.standard_error / law for ratio, law in zip(ratios, laws)]
    return compare(NAME, "excess routing error / its law's, mean over all", f"{len(laws)} models and numbers of rows",
                   Estimate(float(mean), float(np.linalg.norm(errors)) / len(laws), len(found[0].excess[-1]) - 1),
                   corrected=1.0)


def printed_score_record(case):
    """With the score as printed no number of rows suffices: its excess error where covariances are the true ones.

    All else here is of the corrected score.
    """
    best = BestRouter(case.model, case.features)
    log_determinants = [np.linalg.slogdet(own)[1] for own in true_covariances(case.model)]
    chosen = (-0.5 * (best.whitened + log_determinants)).argmax(axis=1)
    return compare(NAME, "excess routing error of the printed score, at most 0 as n grows",
                   f"{case.setting}, covariances exact", Estimate.of(best.excess_errors(chosen)), printed=0.0,
                   relation="at most")


def bound_shape(model, n):
    """The printed bound, but for its constant."""
    return theory.router_excess_bound(model, n, failure_probability=DELTA)


def needed_constants(case):
    """For each number of rows the `Estimate` of the constant, the root of C, with which the bound is met exactly."""
    return [Estimate.of(excess[:, 0] / bound_shape(case.model, n)) for n, excess in zip(case.sizes, case.excess)]


def bound_records(found, constants, shapes):
    """The bound with one constant for experts as far apart, and with a constant of their own for the two others."""
    records = []
    for i, (case, needed) in enumerate(zip(found, constants)):
        base = 0 if i < shapes else i
        fitted = f"fitted at {at(found[base], 0)}"
        for j, constant in enumerate(needed):
            if (i, j) != (base, 0):
                records.append(compare(NAME, "square root of the C that the bound needs, at most the fitted one",
                                       f"{at(case, j)}; {fitted}", constant, printed=constants[base][0].mean,
                                       relation="at most"))
    return records


def log_ratio(first, last):
    """The `Estimate` of log(mean of last / mean of first), from independent replicates."""
    first, last = Estimate.of(first), Estimate.of(last)
    error = math.hypot(first.standard_error / first.mean, last.standard_error / last.mean)
    return Estimate(math.log(last.mean / first.mean), error, min(first.degrees_of_freedom, last.degrees_of_freedom))


def exponent(first, last, ratio):
    """`log_ratio` over log(ratio): the power of what grew by that ratio."""
    change = log_ratio(first, last)
    return change._replace(mean=change.mean / math.log(ratio), standard_error=change.standard_error / math.log(ratio))


def compare_exponents(quantity, setting, measured, law, bound):
    """The measured exponent beside the law's, which is sampled too, and beside the bound's, at most that."""
    both = measured._replace(standard_error=math.hypot(measured.standard_error, law.standard_error))
    return [compare(NAME, quantity, setting, both, corrected=law.mean),
            compare(NAME, f"{quantity}, at most the bound's", setting, measured, printed=bound, relation="at most")]


def growth_records(found):
    """How the excess error grows with n, with d_i and with k, at as many rows an expert."""
    records = []
    for case in found:
        last = case.sizes[-1]
        first = case.sizes.index(last // 4)
        measured, law = [exponent(values[first][:, 0], values[-1][:, 0], 4) for values in (case.excess, case.law)]
        setting = f"{case.setting}, n = {last // 4} to {last}"
        records += compare_exponents("exponent of n", setting, measured, law, -0.5)
        margin = NEXT_TERM * case.model.d / (last // 4)
        records.append(compare(NAME, "exponent of n, its limit", f"{setting}, margin {margin:.1%}", measured,
                               corrected=-1.0, margin=margin))
    for name, chosen in sorted_cases(found):
        records += pair_records(name, chosen[0], chosen[-1])
    return records


def sorted_cases(found):
    """("d_i", cases with the first one's k) and ("k", cases with the first one's d_i), each in ascending order."""
    k, size = found[0].model.k, found[0].model.block_sizes[0]
    return [("d_i", sorted((c for c in found if c.model.k == k), key=lambda c: c.model.block_sizes[0])),
            ("k", sorted((c for c in found if c.model.block_sizes[0] == size), key=lambda c: c.model.k))]


def pair_records(name, first, last):
    """The exponent of d_i or of k between two cases, at the largest number of rows an expert that both have."""
    per_expert = [[n // case.model.k for n in case.sizes] for case in (first, last)]
    rows = max(set(per_expert[0]) & set(per_expert[1]))
    (i, j), k = [counts.index(rows) for counts in per_expert], (first.model.k, last.model.k)
    sizes = (first.model.block_sizes[0], last.model.block_sizes[0])
    ratio = sizes[1] / sizes[0] if name == "d_i" else k[1] / k[0]
    measured, law = [exponent(a[i][:, 0], b[j][:, 0], ratio)
                     for a, b in ((first.excess, last.excess), (first.law, last.law))]
    bound = math.log(bound_shape(last.model, last.sizes[j]) / bound_shape(first.model, first.sizes[i]))
    setting = f"{first.setting} to {last.setting}, n_i = {rows}"
    return compare_exponents(f"exponent of {name}", setting, measured, law, bound / math.log(ratio))


def estimation_records(case):
    """What estimating noise variance and priors adds to the excess error, beside the law's, and whether it is easy."""
    records = []
    for j in range(len(case.sizes)):
        for i, name in enumerate(FITS[1:], 1):
            cost, law = case.excess[j][:, i] - case.excess[j][:, 0], case.law[j][:, i] - case.law[j][:, 0]
            estimate = Estimate.of(cost - law)._replace(mean=cost.mean())
            records.append(compare(NAME, f"excess error added, {name}", at(case, j), estimate, corrected=law.mean()))
    for i, name in enumerate(FITS[1:], 1):
        share = Estimate.of(case.excess[-1][:, i] - (1 + EASY) * case.excess[-1][:, 0])
        stated = {"printed": 0.0} if "noise" in name else {}
        records.append(compare(NAME, f"excess error added, {name}, less {EASY:.0%} of the excess, at most 0",
                               at(case, -1), share, relation="at most", **stated))
    return records


def measure_shrinkage(run, seed, test_rows, rows_an_expert, replicates):
    """Excess errors with shrunk covariances, (replicates,) by number of rows an expert and shrinkage, and limits."""
    from ..router import QDARouter

    model = equal_model(*SHRUNK, SCALES[SHRUNK])
    X = model.sample(test_rows, rng=seed).features
    best = BestRouter(model, X)

    def excess(router):
        return best.excess_error(router.predict(X))

    def one(replicate):
        train = model.sample(model.k * rows_an_expert[-1], rng=seed, replicate=1 + replicate, routing="balanced")
        values = np.full((len(rows_an_expert), 1 + len(SHRINKAGES)), np.nan)
        for i, rows in enumerate(rows_an_expert):
            for j, shrinkage in enumerate((0.0, *SHRINKAGES)):
                if shrinkage or rows >= SHRUNK[1]:  # else a covariance is singular, which `fit` refuses
                    router = QDARouter(model.block_sizes, noise_variance=model.noise_variance,
                                       priors=model.probabilities, shrinkage=shrinkage)
                    n = rows * model.k
                    values[i, j] = excess(router.fit(train.features[:n], train.expert[:n]))
        return values

    values = np.array(run.map(one, range(replicates), "shrinkage"))
    return {"model": model, "rows": rows_an_expert, "excess": values, "limits": shrunk_limits(model, best, X)}


def shrunk_limits(model, best, X):
    """The excess error for each shrinkage where the covariances are the true ones, shrunk: the limit of many rows."""
    limits = []
    for shrinkage in SHRINKAGES:
        shrunk = [(1 - shrinkage) * own + shrinkage * np.trace(own) / len(own) * np.eye(len(own))
                  for own in true_covariances(model)]
        limits.append(best.excess_error(block_scores(model, X, shrunk)[0].argmax(axis=1)))
    return limits


def shrinkage_records(shrunk):
    """Strong shrinkage with half a row a feature beside none with two, and its limit for many rows."""
    size, records = SHRUNK[1], []
    few, two, many = shrunk["rows"].index(size // 2), shrunk["rows"].index(2 * size), -1
    model, values = shrunk["model"], shrunk["excess"]
    for j, shrinkage in enumerate(SHRINKAGES, 1):
        setting = f"k={model.k}, d_i={size}, shrinkage {shrinkage:g}"
        gain = Estimate.of(values[:, few, j] - values[:, two, 0])
        # Strong shrinkage only: weak shrinkage helps less with few rows, and is far from its limit with the most.
        stated = {"corrected": 0.0} if shrinkage >= 0.5 else {}
        records.append(compare(NAME, f"excess error at n_i = {size // 2} less unshrunk at {2 * size}, at most 0",
                               setting, gain, relation="at most", **stated))
        limit = shrunk["limits"][j - 1]
        records.append(compare(NAME, f"excess error, at least its limit for many rows less {SHRUNK_MARGIN:.0%}",
                               f"{setting}, n_i = {shrunk['rows'][many]}", Estimate.of(values[:, many, j]),
                               corrected=limit if stated else None, margin=SHRUNK_MARGIN, relation="at least"))
    return records


def figures(data):
    """Excess error against rows: by d_i and by k beside the bound; weak signals, unequal loads, shrinkage."""
    from .. import plots

    by_shape, axes = plots.new_axes(2, width=3.9, height=3.8, sharey=True)
    found = data["cases"][: data["shapes"]]
    constant = data["constants"][0][0].mean
    for ax, (name, chosen) in zip(axes, sorted_cases(found)):
        plot_shapes(plots, [(found.index(case), case) for case in chosen], constant, ax)
        label_axes(ax, {"d_i": "Features of each expert", "k": "Number of experts"}[name])
    plots.legend_below(by_shape, axes, columns=4)
    others, axes = plots.new_axes(2, width=3.9, height=3.8, sharey=True)
    plot_estimation(plots, data["cases"][data["shapes"]:], axes[0])
    plot_shrinkage(plots, data["shrunk"], axes[1])
    plots.legend_below(others, axes, columns=3)
    return {
        "Excess routing error where the best router errs on a fifth of the rows, by the experts' features and by their "
        "number. Points: routers fitted with known noise and equal loads; bars: two standard errors. Solid: the exact "
        f"law. Dashed: the paper's bound (delta = {DELTA:g}) with one constant, fitted at the first point of "
        f"{found[0].setting}.": by_shape,
        "Left: signals so weak that the best router errs on two fifths of the rows, and loads of "
        f"{min(LOADS):g} to {max(LOADS):g} with noise variance and loads known or estimated. Right: covariances "
        f"of {SHRUNK[1]} features shrunk towards a multiple of I; dotted: the limits for many rows. Without shrinkage "
        f"fewer than {SHRUNK[1]} rows an expert cannot be fitted. Bars: two standard errors.": others,
    }


def plot_shapes(plots, chosen, constant, ax):
    """Points, the law's lines and the bound's for some (number, case): the number has its colour."""
    for i, case in chosen:
        rows, colour = np.array(case.sizes) / case.model.k, plots.CYCLE[i]
        plot_points(plots, rows, [excess[:, 0] for excess in case.excess], case.setting, i, ax)
        plots.stated(rows, [law[:, 0].mean() for law in case.law], label="exact law" if i == 0 else None,
                     colour=colour, ax=ax)
        bounds = [constant * bound_shape(case.model, n) for n in case.sizes]
        plots.stated(rows, bounds, label="printed bound" if i == 0 else None, colour=colour, form="printed", ax=ax)


def plot_points(plots, x, samples, label, i, ax):
    """Means of the samples with bars, in the i-th colour."""
    estimates = [Estimate.of(values) for values in samples]
    plots.measured(x, [e.mean for e in estimates], [e.standard_error for e in estimates], label=label,
                   colour=plots.CYCLE[i], marker=plots.MARKERS[i], ax=ax)


def label_axes(ax, title):
    """Logarithmic axes, named."""
    ax.set(yscale="log", xlabel="training rows an expert $n_i$ (on average)", title=title)
    ax.set_xscale("log", base=2)
    ax.set_ylabel("routing error above the best router's" if ax.get_subplotspec().is_first_col() else "")


def plot_estimation(plots, pair, ax):
    """The case of weak signals, and that of unequal loads with each of its fits."""
    lines = [(pair[0], 0, "weak signals")]
    lines += [(pair[1], i, f"unequal loads, {name}") for i, name in enumerate(FITS)]
    for colour, (case, i, label) in enumerate(lines):
        rows = np.array(case.sizes) / case.model.k
        plot_points(plots, rows, [excess[:, i] for excess in case.excess], label, colour, ax)
        plots.stated(rows, [law[:, i].mean() for law in case.law], label=None, colour=plots.CYCLE[colour], ax=ax)
    label_axes(ax, "Weak signals; what estimation costs")


def plot_shrinkage(plots, shrunk, ax):
    """Excess errors by shrinkage, joined by thin lines, and their limits."""
    rows = np.array(shrunk["rows"])
    for j, shrinkage in enumerate((0.0, *SHRINKAGES)):
        values, colour = shrunk["excess"][:, :, j], plots.CYCLE[j]
        shown = np.isfinite(values[0])
        plot_points(plots, rows[shown], values[:, shown].T, f"shrinkage {shrinkage:g}", j, ax)
        ax.plot(rows[shown], values[:, shown].mean(axis=0), color=colour, linewidth=0.6)
        if j:
            ax.axhline(shrunk["limits"][j - 1], color=colour, linestyle=":", linewidth=1)
    label_axes(ax, f"Shrinkage, d_i = {SHRUNK[1]}")


CLAIM = Claim(
    name=NAME,
    place="Appendix A.7, sample complexity of Theorem 1",
    statement="n >= C M^2 / eps^2 sum_i max(d_i, log(k / delta)) rows make the router's excess error at most eps.",
    summary="For the corrected score it holds as a bound in n, but the error falls like 1/n, and C grows 150-fold from "
            "d_i = 4 to 16. With the printed score no number of rows suffices. Estimated scores have an exact law.",
    finding="With the score as printed, no: its excess error stays at 0.73 to 0.80 however many rows there are. All "
            "else is of the corrected score. In n it holds as a bound, but the excess error falls like 1 / n, not "
            "n^-1/2. In d_i it does not with one C: with the experts as hard to tell apart and 4 rows a feature, C "
            "has to be 155 times as large at d_i = 16 as at 4 (its root 12 times; part of that is M, which falls as "
            "the signals are made weaker to keep the difficulty); with as many rows, the excess error grows like "
            "d_i^2.4 on these test rows, faster than the d_i (d_i + 1) / 2 entries of a covariance. The estimated "
            "scores have an exact law, made of chi-squares, and with it the excess error, at any n_i >= d_i. "
            "Estimating the noise variance costs nothing that could be measured; estimating unequal loads adds 23 to "
            "44 %. With fewer rows than features the covariances have to be shrunk: of what was tried, all the way to "
            "a multiple of I is best up to 32 rows an expert at d_i = 16 (0.033 above the best router with 8 rows; "
            "unshrunk 0.42 with 32), and the worst in the end, as a fixed shrinkage leaves an error that no number of "
            "rows removes. All on common test rows, in expectation over their labels.",
    presets={
        "quick": {"shapes": ((6, 4), (6, 16), (3, 4)), "rows_a_feature": (4, 16, 64), "test_rows": 1000,
                  "replicates": (36, 24, 16), "shrunk_rows": (8, 32, 1024), "shrunk_replicates": 6},
        "paper": {"shapes": ((6, 4), (6, 8), (6, 16), (3, 4), (12, 4)), "rows_a_feature": (4, 8, 16, 32, 64, 128),
                  "test_rows": 3000, "replicates": (120, 100, 80, 60, 50, 40),
                  "shrunk_rows": (4, 8, 16, 32, 64, 256, 1024), "shrunk_replicates": 24},
    },
    measure=measure,
    figures=figures,
)
