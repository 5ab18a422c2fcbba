"""Noise that is correlated over features: Theorems 1 and 2 (a part of `beyond-gaussian`, not a claim of its own).

Where the noise of two blocks is correlated, each block shows something of the other's noise. Dense sees all blocks and
can subtract it; an expert that sees its own block cannot. Whether that outweighs what dense loses depends on the
correlation and on the coefficients: see `moenoise.theory.correlation_gap`.
"""

import dataclasses

import numpy as np
import scipy.linalg
import scipy.optimize

from .. import theory
from ..designs import standard_normal
from ..model import BlockModel
from ..theory.correlated_noise import class_moments
from .base import Estimate, compare, compare_scores
from .beyond_shared import NAME, plot_estimates

# Correlations of the noise of two features, by their distance and a strength.
KINDS = {"neighbours": lambda strength, lag: strength**lag,
         "all features": lambda strength, lag: np.where(lag == 0, 1.0, strength)}

K, BLOCK_SIZE, SCALE = 4, 4, 2.0

# Coefficients of size 1, of one sign an expert. Opposed ones leave dense coefficients that sum to 0 over all features,
# so that noise common to all of them cancels, and the experts' do not; alike, nothing cancels.
SIGNS = {"opposed": (1.0, -1.0, 1.0, -1.0), "alike": (1.0, 1.0, 1.0, 1.0)}

VIEWS = ("dense", "experts of their block", "experts of all features")


@dataclasses.dataclass(frozen=True)
class Case:
    """One model under one correlated noise, and what was measured there, in the order of `VIEWS`.

    `risks` (3,) are by formula. `measured` is (replicates, 5): squared errors of the views, then those of dense and
    experts made for uncorrelated noise.
    `accuracies` is (replicates, 2): of Theorem 1's router, and of the Bayes classifier.
    """

    model: BlockModel
    noise: np.ndarray
    setting: str
    risks: np.ndarray
    measured: np.ndarray
    accuracies: np.ndarray


def model_of(signs):
    """Equal blocks of uncorrelated features, coefficients of the named signs."""
    return BlockModel.isotropic(K * BLOCK_SIZE, K, variance=SCALE, coefficients=np.repeat(SIGNS[signs], BLOCK_SIZE))


def noise_correlation(kind, strength, d):
    """(d, d) of that kind and strength."""
    return KINDS[kind](strength, np.abs(np.subtract.outer(np.arange(d), np.arange(d))))


def best_linear(model, noise):
    """The best linear coefficients under noise of that correlation, (k, d) each, in the order of `VIEWS`."""
    dense, sparse, joint = theory.correlated_coefficients(model, noise)
    return np.tile(dense, (model.k, 1)), by_row([sparse[block] for block in model.blocks]), joint


def by_row(coefficients):
    """(k, d): row i is what expert i does with the d features, given its coefficients (d_i,) for its own block."""
    return scipy.linalg.block_diag(*coefficients)


def linear_risk(model, noise, rows):
    """Exact risk of coefficients (k, d) under noise of that covariance, routing correct: a quadratic form."""
    covariances, responses = class_moments(model, noise)
    quadratic = np.einsum("ia,iab,ib->i", rows, covariances, rows) - 2 * (rows * responses).sum(axis=1)
    return float(model.probabilities @ (model.signal_variances + quadratic))


def quadratic(matrix, vectors):
    """(m,) ``v' M v`` of each of the vectors (m, d)."""
    return ((vectors @ matrix) * vectors).sum(axis=1)


def crossing(model, kind):
    """The correlation from which dense beats experts of their block, by formula; None where it nowhere does."""
    beta = np.concatenate(model.coefficients)
    return first_root(lambda gaps: beta @ gaps @ beta, model, kind)


def safe_correlation(kind):
    """The correlation up to which experts of their block win whatever the coefficients: there M becomes indefinite."""
    return first_root(lambda gaps: np.linalg.eigvalsh(gaps)[0], model_of("alike"), kind)


def first_root(function, model, kind):
    """The strength at which a function of the gap's matrix, positive without correlation, becomes negative, or None."""
    def at(strength):
        return function(theory.correlation_gap(model, noise_correlation(kind, strength, model.d)))

    return scipy.optimize.brentq(at, 0, 0.999) if at(0.999) < 0 else None


def measure(run, *, strengths, shown, rows, replicates, draws):
    """A `Case` by (kind, signs, strength), one at each crossing, and how often dense wins with random coefficients."""
    curves = {(kind, signs): [measured_case(run, kind, signs, strength, rows, replicates) for strength in strengths]
              for kind in KINDS for signs in SIGNS}
    records = []
    for (_, signs), cases in curves.items():
        for case, strength in zip(cases, strengths):
            if strength in shown:
                # Routers do not see the coefficients: once is enough.
                records += risk_records(case) + (routing_records(case) if signs == "opposed" else [])
    for kind in KINDS:
        at = crossing(model_of("opposed"), kind)
        records += crossing_records(measured_case(run, kind, "opposed", at, rows, replicates))
        safe = Estimate.exactly(safe_correlation(kind))
        records.append(compare(NAME, "noise correlation up to which experts win with all coefficients, by formula",
                               f"correlation of {kind}, k={K}, d_i={BLOCK_SIZE}", safe))
    coefficients = standard_normal((max(draws, replicates), K * BLOCK_SIZE), rng=run.rng(301))
    for kind in KINDS:
        for strength in shown:
            records += random_records(run, kind, strength, rows, coefficients[:draws], coefficients[:replicates])
    return records, {"strengths": np.array(strengths), "curves": curves, "coefficients": coefficients[:draws]}


def measured_case(run, kind, signs, strength, rows, replicates):
    """The `Case`, on the same draws for all cases but for their noise."""
    from ..router import QDARouter

    model, noise = model_of(signs), noise_correlation(kind, strength, K * BLOCK_SIZE)
    views, classify = best_linear(model, noise), full_classifier(model, noise)
    unaware = uncorrelated_rows(model)
    router = QDARouter.from_model(model)

    def one(replicate):
        sample = model.sample(rows, rng=run.rng(300), replicate=replicate, noise=noise)
        routed = router.predict(sample.features), classify(sample.features)
        return [*(squared_error(coefficients, sample) for coefficients in (*views, *unaware)),
                *(np.mean(experts == sample.expert) for experts in routed)]

    values = np.array(run.map(one, range(replicates), "correlations"))
    setting = f"noise correlation {strength:.3g} of {kind}, coefficients {signs}, k={K}, d_i={BLOCK_SIZE}"
    return Case(model, noise, setting, np.array(theory.correlated_risks(model, noise)), values[:, :5], values[:, 5:])


def uncorrelated_rows(model):
    """Dense's and the experts' coefficients of equation 3, (k, d) each."""
    return np.tile(np.concatenate(theory.bayes_dense(model)), (model.k, 1)), by_row(theory.bayes_sparse(model))


def squared_error(rows, sample):
    """Mean squared error of coefficients `rows` (k, d), each row's expert known."""
    return np.mean(((sample.features * rows[sample.expert]).sum(axis=1) - sample.response) ** 2)


def full_classifier(model, noise):
    """X -> experts: the Bayes classifier, from the covariances of all d features given each expert."""
    covariances = class_moments(model, noise)[0]
    factors = [np.linalg.cholesky(np.linalg.inv(covariance)) for covariance in covariances]
    constants = np.log(model.probabilities) - 0.5 * np.linalg.slogdet(covariances)[1]
    return lambda X: np.argmax([constant - 0.5 * ((X @ factor) ** 2).sum(axis=1)
                                for constant, factor in zip(constants, factors)], axis=0)


def risk_records(case):
    """The risks, and Theorem 2's direction, for experts of their block and of all features."""
    dense, own, full, *unaware = case.measured.T
    below = case.risks[0] < case.risks[1]
    records = [compare(NAME, f"risk, {view}, best linear", case.setting, Estimate.of(values), corrected=stated)
               for view, values, stated in zip(VIEWS, case.measured.T, case.risks)]
    records += [
        compare(NAME, "dense risk - that of experts of their block, at least 0", case.setting,
                Estimate.of(dense - own), printed=0.0, corrected=None if below else 0.0, relation="at least"),
        compare(NAME, "dense risk - that of experts of all features, at least 0", case.setting,
                Estimate.of(dense - full), corrected=0.0, relation="at least"),
    ]
    gap = np.subtract(*[linear_risk(case.model, case.noise, rows) for rows in uncorrelated_rows(case.model)])
    return records + [compare(NAME, "dense - experts' risk, coefficients made for uncorrelated noise, at least 0",
                              case.setting, Estimate.of(np.subtract(*unaware)), printed=0.0,
                              corrected=0.0 if gap > 0 else None, relation="at least")]


def routing_records(case):
    """Theorem 1's router, by block, beside the Bayes classifier, which sees how the noise of all blocks correlates."""
    qda, bayes = case.accuracies.T
    return [compare_scores(NAME, "better router's accuracy: the Bayes classifier's, not QDA's", case.setting,
                           {"QDA": qda, "Bayes classifier": bayes}, corrected="Bayes classifier"),
            compare(NAME, "QDA's accuracy - the Bayes classifier's", case.setting, Estimate.of(qda - bayes))]


def crossing_records(case):
    """Where the formulas cross, the risks are the same."""
    dense, own = case.measured.T[:2]
    return [compare(NAME, "dense risk - that of experts of their block, where they are to be equal", case.setting,
                    Estimate.of(dense - own), corrected=0.0)]


def random_records(run, kind, strength, rows, coefficients, simulated):
    """With random coefficients: how often dense wins, by formula; its mean lead, simulated with a draw a replicate."""
    noise = noise_correlation(kind, strength, K * BLOCK_SIZE)
    gaps = theory.correlation_gap(model_of("alike"), noise)  # it does not depend on the coefficients

    def one(replicate):
        model = BlockModel.isotropic(K * BLOCK_SIZE, K, variance=SCALE, coefficients=simulated[replicate])
        sample = model.sample(rows, rng=run.rng(302), replicate=replicate, noise=noise)
        dense, own, _ = best_linear(model, noise)
        return squared_error(dense, sample) - squared_error(own, sample)

    measured = np.array(run.map(one, range(len(simulated)), "random coefficients"))
    stated = quadratic(gaps, simulated)
    setting = f"noise correlation {strength:.3g} of {kind}, coefficients N(0, 1), k={K}, d_i={BLOCK_SIZE}"
    # The coefficients' own chance is in both, and not in what is judged.
    estimate = Estimate.of(measured - stated)._replace(mean=measured.mean())
    return [compare(NAME, "mean dense risk - that of experts of their block", setting, estimate,
                    corrected=stated.mean()),
            compare(NAME, "share of coefficients with which dense wins, by formula", setting,
                    Estimate.of(quadratic(gaps, coefficients) < 0))]


def figures(data):
    """Risks against the correlation's strength, by kind; how often dense wins with random coefficients."""
    from .. import plots

    figure, axes = plots.new_axes(3, width=3.0, height=3.4)
    axes[1].sharey(axes[0])
    for ax, kind in zip(axes, KINDS):
        plot_risks(data["strengths"], data["curves"][kind, "opposed"], kind, ax)
    axes[0].set(ylabel="risk (squared error)", ylim=(0, None))
    plot_shares(data["coefficients"], axes[2])
    plots.legend_below(figure, axes, columns=5)
    return {"Noise that correlates over features: of neighbours, by strength to the power of their distance, or of all "
            f"pairs alike (k = {K} experts of {BLOCK_SIZE} features, signal-to-noise {SCALE:g}). Left, middle: risks "
            "of the best linear predictors where the experts' coefficients have opposed signs. Lines: formulas; bars: "
            f"two standard errors. Right, by formula: the share of {len(data['coefficients'])} draws of coefficients "
            "N(0, 1) with which dense beats experts of their block.": figure}


def plot_risks(strengths, cases, kind, ax):
    """Three risks by formula and simulated."""
    from .. import plots

    line = np.linspace(0, 0.99, 60)
    risks = []
    for strength in line:
        risks.append(theory.correlated_risks(cases[0].model, noise_correlation(kind, strength, cases[0].model.d)))
    colours = (plots.COLOURS["dense"], plots.COLOURS["experts"], plots.COLOURS["corrected"])
    for i, (label, colour, marker) in enumerate(zip(VIEWS, colours, plots.MARKERS)):
        plots.stated(line, np.array(risks)[:, i], label=None, colour=colour, ax=ax)
        plot_estimates(strengths, [Estimate.of(case.measured[:, i]) for case in cases], label=label, colour=colour,
                       marker=marker, ax=ax)
    ax.set_xlabel("correlation of the noise")
    ax.set_title(f"noise correlation of {kind}", fontsize=9, loc="left")


def plot_shares(coefficients, ax):
    """How often dense wins, by kind."""
    from .. import plots

    line = np.linspace(0, 0.995, 80)
    for kind, style, colour in zip(KINDS, "-:", (plots.CYCLE[4], plots.CYCLE[3])):
        gaps = [theory.correlation_gap(model_of("alike"), noise_correlation(kind, strength, K * BLOCK_SIZE))
                for strength in line]
        shares = [np.mean(quadratic(gap, coefficients) < 0) for gap in gaps]
        ax.plot(line, shares, style, color=colour, linewidth=1.6, label=f"correlation of {kind}")
    ax.set(xlabel="correlation of the noise", ylabel="share in which dense wins", ylim=(0, 1))
    ax.set_title("random coefficients", fontsize=9, loc="left")
