"""Theorem 4 in general: what the errors of a router cost, of one that knows the model and of a learned one.

Theorem 4 prices a misrouted input without asking why it was misrouted: its own features and the block it was sent to
are drawn as for any input. Over a router's error rates ``Q_ij`` that is ``sum_ij p_i Q_ij R_ij``, with the corrected
``R_ij`` at ``eta = 0``: "independent errors" below. But a router errs where features are unusual; `theory.routed_risk`
is exact. The paper states neither, so that nothing counts as printed. Errors are then injected at random.
"""

import dataclasses
import math
from typing import NamedTuple

import numpy as np
import scipy.linalg
import scipy.optimize

from .. import theory
from ..model import BlockModel
from .base import Claim, Estimate, compare
from .simulation import dense_error, experts_error, jackknife, response_variance

NAME = "theorem-4-general"

# Equal experts (k, d_i, scale), Toeplitz 0.5; the training noise has variance 1.
EQUAL = {"strong signals": (5, 6, 8.0), "moderate signals": (5, 6, 2.0), "many weak experts": (12, 5, 0.5)}
UNEQUAL, SIZES, LOADS, SCALE, DECAY = "unequal experts", (2, 4, 6, 8, 10), (0.35, 0.25, 0.2, 0.1, 0.1), 2.0, 0.5

NAMES = (*EQUAL, UNEQUAL)

INJECTED = (0.05, 0.1, 0.2)
"""Shares of the rows that are sent to a wrong expert, any of them, whatever their features."""

FAR = 0.6  # the share at which, with 0, the experts' straight line is measured

# Test noises between which the routed experts may meet dense, and by what factors the measured ones lie around that;
# their straight line is off by less than the margin.
NOISE_RANGE, BRACKET, MARGIN = (0.1, 100.0), (0.9, 1.1), 0.005


class Predictor(NamedTuple):
    """What was made for one model: Bayes-optimal, or fitted to rows of known experts."""

    name: str
    believed: BlockModel
    dense: list

    @property
    def experts(self):
        return theory.bayes_sparse(self.believed)


@dataclasses.dataclass(eq=False)
class Case:
    """One model, its two predictors, and the risks that were measured, by replicate."""

    name: str
    model: BlockModel
    predictors: list
    routed: np.ndarray = None  # (replicates, noises, predictors, 2): of experts and dense
    confusion: np.ndarray = None  # (noises, predictors, k, k): counts
    wrong: np.ndarray = None  # (replicates, noises, predictors): shares of wrong routes
    exact: list = None  # over noises, a list over predictors of `Stated`
    injected: np.ndarray = None  # (replicates, 0 and INJECTED and FAR, predictors, 2): of experts and dense

    def setting(self, predictor, rest):
        """The records' setting: the model, what was made for it, and `rest`."""
        sizes = np.unique(self.model.block_sizes)
        shape = f"d_i={sizes[0]}" if len(sizes) == 1 else f"d_i={sizes[0]} to {sizes[-1]}"
        return f"{self.name}, k={self.model.k}, {shape}, {predictor.name}, {rest}"


class Stated(NamedTuple):
    """Exact risks of one predictor at one test noise, and its exact share of wrong routes."""

    routed: float
    independent: float
    oracle: float
    dense: float
    wrong: float


def measure(run, *, cases, noises, training_rows, rows, replicates):
    """The router's own errors at each test noise, then errors at random, for each case."""
    found, records = [], []
    for name in cases:
        number = NAMES.index(name)
        case = make_case(name, training_rows, run.rng(10 * number))
        measure_routing(run, case, noises, rows, replicates, run.rng(10 * number + 1))
        measure_injected(run, case, rows, replicates, run.rng(10 * number + 2))
        records += routing_records(case, noises)
        records += meeting_records(run, case, rows, replicates, run.rng(10 * number + 3))
        records += injected_records(case)
        found.append(case)
    return records, {"cases": found, "noises": noises}


# ---- models and what is made from them -------------------------------------------------------------------------------


def make_case(name, training_rows, rng):
    """A `Case`; `training_rows` a feature, of all experts together."""
    if name == UNEQUAL:
        equal = BlockModel.toeplitz(sum(SIZES), 1, rng=rng)  # for its coefficients
        covariances = [SCALE * scipy.linalg.toeplitz(DECAY ** np.arange(size)) for size in SIZES]
        model = BlockModel(covariances, np.split(equal.coefficients[0], np.cumsum(SIZES)[:-1]), LOADS)
    else:
        k, size, scale = EQUAL[name]
        model = BlockModel.toeplitz(k * size, k, decay=DECAY, scale=scale, rng=rng)
    sample = model.sample(training_rows * model.d, rng=rng)
    return Case(name, model, [Predictor("Bayes", model, theory.bayes_dense(model)), fitted(model, sample)])


def fitted(model, sample):
    """The `Predictor` fitted to rows of known experts.

    Where no eigenvalue of a fitted ``Sigma_i`` is zero to chance its router is `QDARouter`'s own fit, and its experts
    are `ExpertsRegressor`'s.
    """
    from ..estimators import DenseRegressor
    from ..fitting import fit_block_model

    believed = fit_block_model(sample.features, sample.response, model.block_sizes, sample.expert, jobs=1,
                               progress=False).model
    dense = DenseRegressor().fit(sample.features, sample.response).coef_
    return Predictor("fitted", believed, np.split(dense, np.cumsum(model.block_sizes)[:-1]))


def noisy(model, noise_variance):
    """The model under another noise."""
    return dataclasses.replace(model, noise_variance=noise_variance)


def route_risks(model, experts):
    """(k, k): risks of expert j's given coefficients on rows of expert i, drawn as any of its rows."""
    noise = model.noise_variance * np.array([w @ w for w in experts])
    risks = model.signal_variances[:, None] + noise
    missed = [(beta - w) @ covariance @ (beta - w)
              for beta, w, covariance in zip(model.coefficients, experts, model.covariances)]
    np.fill_diagonal(risks, missed + noise)
    return risks


def independent_risk(model, experts, confusion):
    """`theory.misrouted_risk` for given coefficients."""
    return float(model.probabilities @ (confusion * route_risks(model, experts)).sum(axis=1))


def stated(model, predictor):
    """The predictor's `Stated` on rows of the model."""
    routed = theory.routed_risk(model, believed=predictor.believed)
    experts = predictor.experts
    return Stated(
        routed.risk,
        independent_risk(model, experts, routed.confusion),
        theory.risk(model, np.concatenate(experts), estimator="sparse"),
        theory.risk(model, np.concatenate(predictor.dense)),
        1 - float(model.probabilities @ routed.confusion.diagonal()),
    )


# ---- the router's own errors -----------------------------------------------------------------------------------------


def measure_routing(run, case, noises, rows, replicates, seed):
    """Fill `routed`, `confusion`, `wrong` and `exact` of the case."""
    tests = [noisy(case.model, noise) for noise in noises]

    def one(replicate):
        samples = [test.sample(rows, rng=seed, replicate=replicate) for test in tests]
        return zip(*[routed_errors(case, sample) for sample in samples])

    risks, counts = zip(*run.map(one, range(replicates), f"{case.name}, routed"))
    case.routed, counts = np.array(risks), np.array(counts)
    case.confusion = counts.sum(axis=0)
    case.wrong = 1 - np.trace(counts, axis1=-2, axis2=-1) / rows
    pairs = [(test, predictor) for test in tests for predictor in case.predictors]
    exact = iter(run.map(lambda pair: stated(*pair), pairs, f"{case.name}, exact"))
    case.exact = [[next(exact) for _ in case.predictors] for _ in tests]


def routed_errors(case, sample):
    """(predictors, 2) mean squared errors of routed experts and of dense, and (predictors, k, k) counts of routes."""
    from ..router import QDARouter

    risks, counts = [], np.zeros((len(case.predictors), case.model.k, case.model.k))
    for predictor, count in zip(case.predictors, counts):
        routed = QDARouter.from_model(predictor.believed).predict(sample.features)
        risks.append((experts_error(sample, case.model.blocks, predictor.experts, routed),
                      dense_error(sample, predictor.dense)))
        np.add.at(count, (sample.expert, routed), 1)
    return risks, counts


def routing_records(case, noises):
    """Wrong routes, risk, and lead over dense, of both predictors at each test noise."""
    records = []
    for j, noise in enumerate(noises):
        for i, predictor in enumerate(case.predictors):
            setting, exact = case.setting(predictor, f"test noise {noise:g}"), case.exact[j][i]
            experts, dense = case.routed[:, j, i].T
            records += [
                compare(NAME, "share of wrong routes", setting, Estimate.of(case.wrong[:, j, i]),
                        corrected=exact.wrong),
                compare(NAME, "routed experts' risk", setting, Estimate.of(experts), corrected=exact.routed),
                compare(NAME, "risk by independent errors at the same rates - routed experts' risk", setting,
                        Estimate.of(exact.independent - experts)),
                compare(NAME, "dense - routed experts' risk", setting, Estimate.of(dense - experts),
                        corrected=exact.dense - exact.routed),
            ]
    return records


def meeting_noise(case):
    """The test noise at which the Bayes-optimal routed experts meet dense; inf where they do not in `NOISE_RANGE`."""
    def lead(log_noise):
        test = noisy(case.model, math.exp(log_noise))
        return theory.risk(test, dense) - theory.routed_risk(test, believed=case.model).risk

    dense, ends = np.concatenate(case.predictors[0].dense), np.log(NOISE_RANGE)
    if lead(ends[1]) > 0:
        return math.inf
    return math.exp(scipy.optimize.brentq(lead, *ends, xtol=1e-3))


def meeting_records(run, case, rows, replicates, seed):
    """Where dense overtakes the Bayes-optimal routed experts; Theorem 3's crossover is that of correct routing."""
    from ..router import QDARouter

    predictor, noise = case.predictors[0], meeting_noise(case)
    if math.isinf(noise):
        return [compare(NAME, "test noise above which dense wins", case.setting(
            predictor, f"not up to {NOISE_RANGE[1]:g}"), Estimate.exactly(math.inf))]
    router = QDARouter.from_model(case.model)

    def leads(replicate):
        samples = [noisy(case.model, factor * noise).sample(rows, rng=seed, replicate=replicate) for factor in BRACKET]
        return [dense_error(sample, predictor.dense)
                - experts_error(sample, case.model.blocks, predictor.experts, router.predict(sample.features))
                for sample in samples]

    def crossing(means):
        return noise * (BRACKET[0] + (BRACKET[1] - BRACKET[0]) * means[0] / (means[0] - means[1]))

    measured = run.map(leads, range(replicates), f"{case.name}, meeting")
    rest = f"with correct routing {theory.crossover_noise(case.model):.3g}, margin {MARGIN:.1%}"
    return [compare(NAME, "test noise above which dense wins", case.setting(predictor, rest),
                    Estimate(*jackknife(crossing, measured), replicates - 1), corrected=noise, margin=MARGIN)]


# ---- errors at random ------------------------------------------------------------------------------------------------


def uniform_errors(k, share):
    """(k, k): that share of each expert's rows goes to the wrong experts alike."""
    confusion = np.full((k, k), share / (k - 1))
    np.fill_diagonal(confusion, 1 - share)
    return confusion


def measure_injected(run, case, rows, replicates, seed):
    """Fill `injected` of the case: all shares on the same rows, a larger one also misroutes those of a smaller."""
    k = case.model.k

    def one(replicate):
        sample = case.model.sample(rows, rng=seed, replicate=replicate)
        rng = np.random.default_rng(np.random.SeedSequence(seed.entropy, spawn_key=(*seed.spawn_key, replicate)))
        order, wrong = rng.random(rows), (sample.expert + rng.integers(1, k, rows)) % k
        routes = [np.where(order < share, wrong, sample.expert) for share in (0.0, *INJECTED, FAR)]
        return [[(experts_error(sample, case.model.blocks, predictor.experts, routed),
                  dense_error(sample, predictor.dense)) for predictor in case.predictors] for routed in routes]

    case.injected = np.array(run.map(one, range(replicates), f"{case.name}, injected"))


def injected_crossover(case, predictor):
    """The share of rows misrouted at random at which experts meet dense, for given coefficients of both."""
    right, wrong = (independent_risk(case.model, predictor.experts, uniform_errors(case.model.k, share))
                    for share in (0.0, 1.0))
    return (theory.risk(case.model, np.concatenate(predictor.dense)) - right) / (wrong - right)


def injected_records(case):
    """Risk and lead over dense at each share, and the share at which they meet."""
    records = []
    for i, predictor in enumerate(case.predictors):
        dense = theory.risk(case.model, np.concatenate(predictor.dense))
        for j, share in enumerate(INJECTED, 1):
            setting = case.setting(predictor, f"{share:.0%} misrouted at random")
            risk = independent_risk(case.model, predictor.experts, uniform_errors(case.model.k, share))
            measured = case.injected[:, j, i]
            records += [
                compare(NAME, "misrouted experts' risk", setting, Estimate.of(measured[:, 0]), corrected=risk),
                compare(NAME, "dense - misrouted experts' risk", setting, Estimate.of(measured[:, 1] - measured[:, 0]),
                        corrected=dense - risk),
            ]
        estimate = Estimate(*jackknife(measured_crossover, case.injected[:, [0, -1], i]), len(case.injected) - 1)
        exact = (theory.misrouting_crossover(case.model) if predictor.believed is case.model
                 else injected_crossover(case, predictor))
        records.append(compare(NAME, "share misrouted at random above which dense wins",
                               case.setting(predictor, "training noise"), estimate, corrected=exact))
    return records


def measured_crossover(means):
    """From mean risks (2, 2) of experts and dense at shares 0 and `FAR`: the experts' is a straight line."""
    (right, dense), (far, _) = means
    return FAR * (dense - right) / (far - right)


# ---- figures ---------------------------------------------------------------------------------------------------------


def figures(data):
    """The fitted router's confusion, risks over the test noise, and risks over the share misrouted at random."""
    count, last = len(data["cases"][0].routed), data["cases"][-1]
    return {
        f"Where the fitted QDA router sends the rows of each expert ({last.name}; shares in %) as the test noise grows "
        "beyond the training noise, whose variance is 1.": confusion_figure(last, data["noises"]),
        "Hard-routed experts of training noise 1 under another test noise: their risk over that of dense, which wins "
        "above 1. Lines: exact, with the router's own errors (solid for Bayes-optimal router, experts and dense, "
        "dotted for fitted ones); Bayes-optimal ones if the same shares went astray whatever their features (dashed), "
        f"and with correct routing, as in Theorem 3 (grey). Markers: simulated, means of {count} samples; bars: two "
        "standard errors.": noise_figure(data),
        "Experts of which a share of the rows is sent to a wrong one at random, at the training noise. Lines: exact, "
        "solid for experts and dashed for dense; rings: where they meet. Markers: simulated, "
        f"means of {count} samples; bars: two standard errors.": injected_figure(data),
    }


def confusion_figure(case, noises):
    from .. import plots

    shown = [j for j, noise in enumerate(noises) if noise >= 1][:4]
    figure, axes = plots.new_axes(len(shown), width=2.1, height=2.5, sharey=True)
    for j, ax in zip(shown, axes):
        counts = case.confusion[j, 1]
        plots.confusion(counts / counts.sum(axis=1, keepdims=True), ax=ax)
        ax.set_title(f"noise {noises[j]:g}: {1 - case.wrong[:, j, 1].mean():.0%} right", fontsize=9, loc="left")
        ax.set_xlabel("sent to expert")
    for ax in axes[1:]:
        ax.set_ylabel("")
    return figure


def noise_figure(data):
    from .. import plots

    noises, cases = data["noises"], data["cases"]
    figure, axes = plots.new_axes(len(cases), width=2.4, height=3.1)
    for ax, case in zip(axes, cases):
        for label, colour, form, field in (("exact, Bayes", plots.COLOURS["corrected"], "corrected", "routed"),
                                           ("errors independent of features", plots.COLOURS["printed"], "printed",
                                            "independent"),
                                           ("no errors", plots.COLOURS["reference"], "corrected", "oracle")):
            line = [getattr(at_noise[0], field) / at_noise[0].dense for at_noise in case.exact]
            plots.stated(noises, line, label=label, colour=colour, form=form, ax=ax)
        ax.plot(noises, [fit.routed / fit.dense for _, fit in case.exact], ":", color=plots.COLOURS["corrected"],
                linewidth=1.4, label="exact, fitted")
        for i, (predictor, filled) in enumerate(zip(case.predictors, ("full", "none"))):
            values, errors = ratios(case.routed[:, :, i])
            ax.errorbar(noises, values, 2 * errors, fmt="os"[i], color=plots.COLOURS["experts"], fillstyle=filled,
                        markersize=4, elinewidth=1, capsize=2, zorder=3, label=f"simulated, {predictor.name}")
        ax.axhline(1, color=plots.COLOURS["dense"], linewidth=1, zorder=0, label="dense")
        ax.set_xscale("log", base=2)
        ax.set_xticks(noises, [f"{noise:g}" for noise in noises])
        ax.set_title(case.name, fontsize=9, loc="left")
        ax.set_xlabel("test noise variance (training: 1)")
        ax.set_ylim(0, None)
    axes[0].set_ylabel("experts' risk / dense's")
    plots.legend_below(figure, axes, columns=4)
    return figure


def ratios(risks):
    """Of risks (replicates, noises, 2): mean of experts' over mean of dense's, and its linearised standard error."""
    means = risks.mean(axis=0)
    ratio = means[:, 0] / means[:, 1]
    residuals = (risks[:, :, 0] - ratio * risks[:, :, 1]) / means[:, 1]
    return ratio, residuals.std(axis=0, ddof=1) / math.sqrt(len(risks))


def injected_figure(data):
    from .. import plots

    shares, ends = np.array([0.0, *INJECTED, FAR]), np.array([0.0, FAR])
    figure, axes = plots.new_axes(len(data["cases"]), width=2.4, height=2.9, sharey=True)
    for ax, case in zip(axes, data["cases"]):
        total = response_variance(case.model)
        for i, (predictor, colour) in enumerate(zip(case.predictors, (plots.COLOURS["experts"], plots.CYCLE[4]))):
            line = [independent_risk(case.model, predictor.experts, uniform_errors(case.model.k, share)) / total
                    for share in ends]
            dense = theory.risk(case.model, np.concatenate(predictor.dense)) / total
            plots.stated(ends, line, label=f"experts, {predictor.name}", colour=colour, ax=ax)
            ax.axhline(dense, color=colour, linestyle="--", linewidth=1, label=f"dense, {predictor.name}")
            estimates = [Estimate.of(values / total) for values in case.injected[:, :, i, 0].T]
            plots.measured(shares, [e.mean for e in estimates], [e.standard_error for e in estimates], label=None,
                           colour=colour, marker="os"[i], ax=ax)
            meeting = injected_crossover(case, predictor)
            if meeting <= FAR:
                ax.plot(meeting, dense, "o", color=colour, markersize=9, fillstyle="none")
        ax.set_title(case.name, fontsize=9, loc="left")
        ax.set_xlabel("share misrouted at random")
    axes[0].set_ylim(0, None)
    axes[0].set_ylabel("risk / variance of the response")
    plots.legend_below(figure, axes, columns=4)
    return figure


CLAIM = Claim(
    name=NAME,
    place="Section 4.3, after Theorem 4",
    statement="Nothing is printed on a router's own errors, which depend on the features: Theorem 4 is about an input "
              "misrouted whatever its features, Theorem 3 about correct routing.",
    summary="With a router's own errors the experts' risk is 0.7 to 2 times what as many random ones would give; it "
            "is known exactly. Random ones have to be 28 to 55 % before dense wins.",
    finding="A router's errors are not random. Where few rows go astray it is those of small targets, and the same "
            "share of random errors would cost more than is measured: 13 % more risk with strong signals at the "
            "training noise, where 3 % go astray, and up to 40 % for unequal experts. As the test noise grows the "
            "wrong expert answers to noise that was chosen for being large, and random errors would cost less: by up "
            "to 51 % where 90 % go astray. The sign changes somewhere between 10 and 75 % of wrong routes, depending "
            "on the model, so that the rate does not tell it. The exact risk, theory.routed_risk, is within 0.6 % of "
            "the measured one for every model and test noise, Bayes-optimal and fitted. With their own router experts"
            " lose to dense far below Theorem 3's crossover, which supposes correct routing: above test noise 1.69 "
            "instead of 33.5 (moderate signals), 1.44 instead of 17.5 (unequal experts) and 0.60 instead of 3.0 (12 "
            "weak experts: below the training noise); with strong signals not up to 100. What is fitted is a block "
            "model, by fit_block_model: with 12 weak experts, where it clips eigenvalues, it routes 2 % of the rows "
            "otherwise than a plain QDA fit. Errors that do ignore the "
            "features cost what theory.misrouted_risk says. At 5, 10 and 20 % of them experts stay ahead, and dense "
            "overtakes at 28, 40, 55 and 39 % in the four models (29, 41, 58 and 39 % where both are fitted).",
    presets={
        "quick": {"cases": ("moderate signals", UNEQUAL), "noises": (1.0, 4.0), "training_rows": 40, "rows": 3000,
                  "replicates": 32},
        "paper": {"cases": ("strong signals", "moderate signals", "many weak experts", UNEQUAL),
                  "noises": (0.25, 0.5, 1.0, 2.0, 4.0, 8.0), "training_rows": 40, "rows": 8_000,
                  "replicates": 48},
    },
    measure=measure,
    figures=figures,
    beyond=True,
)
