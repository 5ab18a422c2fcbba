"""The claim beyond-gaussian: what it finds, its formulas beside brute force, and that wrong pieces are caught."""

import functools

import numpy as np
import pytest
import scipy.integrate
import scipy.stats

import moenoise as mn
from moenoise import _noise_laws, theory
from moenoise.claims import (beyond_correlation, beyond_counts, beyond_descent, beyond_fits, beyond_gaussian,
                             beyond_laws, beyond_unequal, matched_predictor)
from moenoise.claims.base import Run
from moenoise.designs import balanced_counts
from moenoise.theory.correlated_noise import class_moments

CLAIM = beyond_gaussian.CLAIM


@functools.cache
def quick(jobs=2):
    """The records and the data at the small size."""
    with Run(0, jobs) as run:
        run.begin(CLAIM.name)
        return CLAIM.measure(run, **CLAIM.presets["quick"])


def of(start, place=""):
    """The records whose quantity starts so, and whose setting holds the place; there are some."""
    records = [record for record in quick()[0] if record.quantity.startswith(start) and place in record.setting]
    assert records
    return records


def failing(name, **changes):
    """Quantities of one part whose corrected form fails in a new run at its small size."""
    with Run(0, 2) as run:
        run.begin(CLAIM.name)
        records, _ = beyond_gaussian.PARTS[name].measure(run, **{**CLAIM.presets["quick"][name], **changes})
    return {record.quantity for record in records if record.corrected_verdict == "fails"}


def unequal_model():
    """Three blocks of unequal sizes and loads, correlated inside."""
    rng = np.random.default_rng(0)
    roots = [rng.standard_normal((size, size + 1)) for size in (3, 2, 4)]
    return mn.BlockModel([root @ root.T / 4 for root in roots], [rng.standard_normal(len(root)) for root in roots],
                         [0.5, 0.2, 0.3])


def random_correlation(d):
    root = np.random.default_rng(1).standard_normal((d, d + 3))
    covariance = root @ root.T
    scale = np.sqrt(np.diag(covariance))
    return covariance / np.outer(scale, scale)


# ---- the whole -------------------------------------------------------------------------------------------------------


def test_corrected_forms_hold_and_records_are_distinct():
    records, _ = quick()
    assert [record for record in records if record.corrected_verdict == "fails"] == []
    assert len({(record.quantity, record.setting) for record in records}) == len(records)
    assert {record.claim for record in records} == {CLAIM.name}


def test_records_depend_on_the_seed_and_not_on_the_number_of_jobs():
    assert quick(jobs=1)[0] == quick()[0]
    with Run(1, 2) as run:
        run.begin(CLAIM.name)
        other, _ = beyond_counts.measure(run, **CLAIM.presets["quick"]["counts"])
    assert other[1] not in quick()[0]


def test_presets_have_the_same_settings():
    small, large = CLAIM.presets["quick"], CLAIM.presets["paper"]
    assert small.keys() == large.keys() == beyond_gaussian.PARTS.keys()
    assert all(small[name].keys() == large[name].keys() for name in small)


def test_figures_are_labelled():
    figures = CLAIM.figures(quick()[1])
    assert len(figures) == len(beyond_gaussian.DRAWN)
    for caption, figure in figures.items():
        assert caption.endswith(".") and figure.legends
        assert all(ax.get_xlabel() and ax.get_title(loc="left") for ax in figure.axes) and figure.axes[0].get_ylabel()


# ---- laws ------------------------------------------------------------------------------------------------------------


def test_orders_of_linear_predictors_survive_every_law():
    for law in beyond_laws.LABELS.values():
        noise = f"{law} noise"
        records = of("dense - experts' risk, at least 0", noise) + of("dense - experts' excess", noise)
        assert len(records) == 4
        for record in records:
            assert record.printed_verdict == "holds" and record.measured > 8 * record.standard_error


def test_qda_is_the_best_router_under_gaussian_noise_only():
    records = of("QDA's accuracy", "d_i=4, signal")
    assert len(records) == 8
    for record in records:
        gaussian = record.setting.startswith("Gaussian")
        assert record.measured == 0 if gaussian else record.measured < -5 * record.standard_error


def test_soft_routing_made_for_gaussian_noise_loses_to_dense_under_heavy_tails():
    leads = {record.setting.split(" noise")[0]: record for record in of("soft routing's - dense", "signal-to-noise 1")}
    for law, sign in (("Gaussian", -1), ("Rademacher", -1), ("Laplace", 1), ("Student t (5 df)", 1)):
        assert sign * leads[law].measured > 5 * leads[law].standard_error
    for record in of("risk of gate and experts made for the law - dense"):
        assert record.measured < -5 * record.standard_error


@pytest.mark.parametrize("law", ["laplace", "student-t"])
@pytest.mark.parametrize("variance", [0.3, 1.0, 6.0])
def test_noisy_feature_is_the_convolution(law, variance):
    density = {"laplace": scipy.stats.laplace(scale=0.5**0.5), "student-t": scipy.stats.t(5, scale=0.6**0.5)}[law].pdf
    clean = scipy.stats.norm(scale=variance**0.5).pdf
    for u in (-4.0, 0.0, 0.7, 9.0):
        integrals = [scipy.integrate.quad(lambda x: x**power * clean(x) * density(u - x), -9 * variance**0.5,
                                          9 * variance**0.5, points=[np.clip(u, -8, 8) * min(1, variance**0.5)],
                                          limit=200)[0] for power in (0, 1)]
        logarithm, slope = matched_predictor.noisy_feature(law, np.array([u]), variance)
        assert logarithm[0] == pytest.approx(np.log(integrals[0]), abs=1e-5)
        assert -variance * slope[0] == pytest.approx(integrals[1] / integrals[0], rel=1e-4, abs=1e-6)


def test_noisy_feature_under_rademacher_noise():
    u, clean = np.linspace(-5, 5, 21), scipy.stats.norm(scale=2**0.5).pdf
    ends = np.array([clean(u - 1), clean(u + 1)])
    logarithm, slope = matched_predictor.noisy_feature("rademacher", u, 2.0)
    np.testing.assert_allclose(logarithm, np.log(ends.mean(axis=0)), atol=1e-12)
    np.testing.assert_allclose(-2 * slope, ((u - 1) * ends[0] + (u + 1) * ends[1]) / ends.sum(axis=0), atol=1e-12)


def test_best_predictor_under_gaussian_noise_is_soft_routing():
    model = mn.BlockModel([1.5 * np.eye(2), 4 * np.eye(3)], [[1.0, -1.0], [0.5, 1.0, 2.0]], [0.3, 0.7], 0.8)
    X = model.sample(200, rng=0).features
    gate, response = matched_predictor.predict(model, "gaussian", X)
    np.testing.assert_allclose(response, mn.BayesPredictor(model).predict(X), rtol=1e-9)
    np.testing.assert_allclose(gate, mn.QDARouter.from_model(model).predict_proba(X), rtol=1e-9)


@pytest.mark.parametrize("law", _noise_laws.NAMES)
def test_gate_is_calibrated_and_its_errors_are_orthogonal(law):
    """``y - E[y | x]`` has no part that is a function of x, and the gate is right as often as it says."""
    model = mn.BlockModel([2 * np.eye(2), np.eye(3)], [[1.0, -1.0], [0.5, 1.0, 2.0]], [0.4, 0.6], 0.7)
    sample = model.sample(60_000, rng=3, noise=law)
    gate, response = matched_predictor.predict(model, law, sample.features)
    bounded = np.tanh(sample.features)  # whatever the tails
    functions = np.column_stack([bounded, bounded**2, response / (1 + response**2), gate[:, 0], np.ones(len(gate))])
    for error in (sample.response - response, (sample.expert == 0) - gate[:, 0]):
        products = error[:, None] * functions
        z = products.mean(axis=0) / (products.std(axis=0) / np.sqrt(len(products)) + 1e-12)
        assert np.abs(z).max() < 4.5


@pytest.mark.parametrize("law", ["laplace", "student-t"])
def test_no_predictor_made_for_another_law_is_better(law):
    model = mn.BlockModel.isotropic(12, 3, rng=0)
    sample = model.sample(40_000, rng=1, noise=law)
    errors = {made: (matched_predictor.predict(model, made, sample.features)[1] - sample.response) ** 2
              for made in ("gaussian", "laplace", "student-t")}
    for made in errors.keys() - {law}:
        lead = errors[made] - errors[law]
        assert lead.mean() > 4 * lead.std() / np.sqrt(len(lead))


def test_a_wrong_conditional_mean_is_caught(monkeypatch):
    right = matched_predictor.noisy_feature
    monkeypatch.setattr(matched_predictor, "noisy_feature", lambda *args: (right(*args)[0], -2 * right(*args)[1]))
    assert "risk of gate and experts made for the law - dense risk, at most 0" in failing("laws")


def test_a_wrong_gate_is_caught(monkeypatch):
    right = matched_predictor.predict
    monkeypatch.setattr(matched_predictor, "predict", lambda model, law, X: (np.roll(right(model, law, X)[0], 1, 1),
                                                                             right(model, law, X)[1]))
    assert "better router's accuracy: the Bayes classifier's, not QDA's" in failing("laws")


@pytest.mark.parametrize("function, quantity", [("generalization", "dense risk"), ("robustness", "experts' risk")])
def test_wrong_risks_are_caught(function, quantity, monkeypatch):
    right = getattr(theory, function)
    monkeypatch.setattr(theory, function, lambda *args: theory.Risks(*(1.25 * risk for risk in right(*args))))
    assert quantity in failing("laws")


# ---- fits and descent ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("factor", [0.0, -1.0, 2.0])
def test_a_wrong_kurtosis_excess_is_caught(factor, monkeypatch):
    right = beyond_fits.kurtosis_excess
    monkeypatch.setattr(beyond_fits, "kurtosis_excess", lambda *args: factor * right(*args))
    assert failing("fits") == {"experts' excess risk / that under Gaussian noise"}


def test_kurtosis_raises_or_lowers_the_excess():
    ratios = {record.setting.split(" noise")[0]: record for record in of("experts' excess risk /")}
    assert ratios["Laplace"].measured > 1.1 > 0.9 > ratios["Rademacher"].measured
    assert ratios["Student t (5 df)"].corrected_verdict == "none"


def test_descent_is_faster_for_experts_under_every_noise():
    records = of("rho dense - largest")
    assert len(records) == 6 and all(record.measured > 0.05 for record in records)
    assert {record.corrected_verdict for record in of("1 - rho dense", "correlation")} == {"none"}


def test_a_wrong_rate_is_caught(monkeypatch):
    right = theory.convergence
    monkeypatch.setattr(theory, "convergence",
                        lambda *args, **options: right(*args, **{**options, "noise_variance": 3.0}))
    assert failing("descent") == {"1 - rho dense"}


def test_contraction_rates_are_those_of_the_singular_values():
    matrix = np.random.default_rng(0).standard_normal((4, 10))
    rates = beyond_descent.contraction_rates(matrix, (2, 5))
    for rate, part in zip(rates, (matrix, matrix[:2, :5], matrix[2:, 5:])):
        values = np.linalg.svd(part, compute_uv=False)
        assert rate == pytest.approx(1 - (values[-1] / values[0]) ** 2)


# ---- correlations ----------------------------------------------------------------------------------------------------


def test_rows_of_coefficients_have_the_stated_risks():
    model, noise = unequal_model(), random_correlation(9)
    sample = model.sample(200_000, rng=2, noise=noise)
    rows = beyond_correlation.best_linear(model, noise)
    assert [beyond_correlation.linear_risk(model, noise, each) for each in rows] == pytest.approx(
        theory.correlated_risks(model, noise))
    for each in (*rows, *beyond_correlation.uncorrelated_rows(model)):
        assert beyond_correlation.linear_risk(model, noise, each) == pytest.approx(
            beyond_correlation.squared_error(each, sample), rel=0.02)


def test_full_classifier_compares_likelihoods():
    model, noise = unequal_model(), random_correlation(9)
    X = model.sample(500, rng=0, noise=noise).features
    covariances = class_moments(model, noise)[0]
    scores = [np.log(p) + scipy.stats.multivariate_normal(cov=covariance).logpdf(X)
              for p, covariance in zip(model.probabilities, covariances)]
    np.testing.assert_array_equal(beyond_correlation.full_classifier(model, noise)(X), np.argmax(scores, axis=0))


def test_dense_beats_experts_of_their_block_from_some_correlation_on_where_coefficients_are_opposed():
    for kind, low, high in (("neighbours", 0.75, 0.85), ("all features", 0.4, 0.45)):
        assert low < beyond_correlation.crossing(beyond_correlation.model_of("opposed"), kind) < high
        assert beyond_correlation.crossing(beyond_correlation.model_of("alike"), kind) is None
        for strength, verdict in ((0.3, "holds"), (0.9, "fails")):
            (record,) = of("dense risk - that of experts of their block, at least 0",
                           f"{strength:g} of {kind}, coefficients opposed")
            assert record.printed_verdict == verdict
            (record,) = of("dense risk - that of experts of their block, at least 0",
                           f"{strength:g} of {kind}, coefficients alike")
            assert record.printed_verdict == "holds" and record.measured > 10 * record.standard_error
    for record in of("dense risk - that of experts of all features"):
        assert record.measured > 10 * record.standard_error


@pytest.mark.parametrize("kind", beyond_correlation.KINDS)
def test_up_to_some_correlation_experts_win_whatever_the_coefficients(kind):
    safe = beyond_correlation.safe_correlation(kind)
    for strength, sign in ((safe - 0.02, 1), (safe + 0.02, -1)):
        noise = beyond_correlation.noise_correlation(kind, strength, 16)
        values, vectors = np.linalg.eigh(theory.correlation_gap(beyond_correlation.model_of("alike"), noise))
        model = mn.BlockModel.isotropic(16, 4, variance=beyond_correlation.SCALE, coefficients=vectors[:, 0])
        dense, own, _ = [beyond_correlation.linear_risk(model, noise, rows)
                         for rows in beyond_correlation.best_linear(model, noise)]
        assert dense - own == pytest.approx(values[0]) and sign * values[0] > 1e-4


def test_random_coefficients_seldom_let_dense_win():
    shares = {record.setting.split(", coef")[0]: record.measured for record in of("share of coefficients")}
    assert shares["noise correlation 0.3 of neighbours"] == shares["noise correlation 0.3 of all features"] == 0
    assert 0 < shares["noise correlation 0.9 of neighbours"] < 0.15 < shares["noise correlation 0.9 of all features"]


def test_qda_by_block_is_not_the_best_router():
    for record in of("QDA's accuracy", "noise correlation"):
        assert record.measured < -5 * record.standard_error


WRONG_NOISE = {"ignored": lambda noise: np.eye(len(noise)),
               "halved": lambda noise: 0.5 * (noise + np.eye(len(noise))),
               "of alternating sign": lambda noise: noise * np.sign(np.outer(*2 * [(-1.0) ** np.arange(len(noise))]))}


@pytest.mark.parametrize("wrong", WRONG_NOISE)
def test_a_wrong_correlation_in_the_formula_is_caught(wrong, monkeypatch):
    for name in ("correlated_coefficients", "correlated_risks"):
        right = getattr(theory, name)
        monkeypatch.setattr(theory, name, lambda model, noise, right=right: right(model, WRONG_NOISE[wrong](noise)))
    assert {f"risk, {view}, best linear" for view in beyond_correlation.VIEWS} <= failing("correlation")


def test_worse_coefficients_than_the_best_are_caught(monkeypatch):
    right = beyond_correlation.best_linear
    monkeypatch.setattr(beyond_correlation, "best_linear", lambda model, noise: (
        right(model, noise)[0], right(model, noise)[1], right(model, noise)[2][::-1]))
    assert "dense risk - that of experts of all features, at least 0" in failing("correlation")


def test_a_wrong_gap_matrix_is_caught(monkeypatch):
    right = theory.correlation_gap
    monkeypatch.setattr(theory, "correlation_gap",
                        lambda model, noise: right(model, noise) - 0.05 * np.eye(len(noise)))
    assert failing("correlation") == {"mean dense risk - that of experts of their block",
                                      "dense risk - that of experts of their block, where they are to be equal"}


# ---- unequal experts -------------------------------------------------------------------------------------------------


def test_unequal_sizes_let_dense_win_near_the_largest_experts_peak():
    shares = {record.setting: record.measured for record in of("share of fits")}
    assert shares["unequal sizes, equal loads, d=192, n=440"] < 0.5
    assert shares["large experts loaded least, d=192, n=1320"] < 0.5
    assert all(share == 1 for setting, share in shares.items() if setting.startswith("equal sizes, equal loads"))
    assert shares["unequal sizes, equal loads, d=192, n=1320"] == 1
    for place in ("unequal sizes, equal loads, d=192, n=440", "large experts loaded least, d=192, n=1320"):
        (record,) = of("fitted dense - experts' risk", place)
        assert record.measured < -2 * record.standard_error and record.corrected is None


def test_a_wrong_formula_for_unequal_experts_is_caught(monkeypatch):
    right = theory.expert_risk
    monkeypatch.setattr(theory, "expert_risk", lambda model, counts: right(
        model, np.repeat(counts.sum(axis=1, keepdims=True) // model.k, model.k, axis=1)))
    assert failing("unequal") == {"fitted experts' risk"}


def test_zipfs_loads_move_the_noise_from_which_dense_wins():
    verdicts = {record.setting: record.printed_verdict for record in of("dense - experts' risk, at least 0 by", "k=64")}
    where = "k=64, signal-to-noise 4.5, test noise"
    assert verdicts[f"equal loads, {where} 20"] == verdicts[f"equal loads, {where} 80"] == "fails"
    assert verdicts[f"Zipf's loads, {where} 20"] == "holds"
    (record,) = of("dense - experts' risk, at least 0 by", f"Zipf's loads, {where} 80")
    assert record.corrected is None and record.measured < -2 * record.standard_error


def test_counts_of_unequal_loads():
    model = beyond_unequal.unequal_model("large experts loaded least")
    counts = balanced_counts(model, [100, 1320])
    assert counts.tolist() == [[10, 20, 30, 40], [132, 264, 396, 528]]


# ---- number of experts -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("k", [1, 4, 16])
def test_oracles_lead_is_theorem_2s(k):
    model = mn.BlockModel.isotropic(16, k, variance=3.0, coefficients=np.arange(16.0))
    dense, sparse = theory.generalization(model)
    assert beyond_counts.oracle_lead(3.0, k) == pytest.approx(1 - sparse / dense)


@pytest.mark.parametrize("wrong", [lambda scale, k: 1 - (scale + 1) / (scale * k + 1),
                                   lambda scale, k: 1 - (scale / k**1.6 + 1) / (scale + 1)])
def test_a_wrong_lead_is_caught(wrong, monkeypatch):
    monkeypatch.setattr(beyond_counts, "oracle_lead", wrong)
    assert failing("counts") == {"oracle's lead, 1 - risk / dense risk"}


def test_more_experts_help_the_oracle_and_in_the_end_no_router():
    for record in of("growth of the lead, experts, oracle"):
        assert record.measured > 3 * record.standard_error
    for routing in ("hard", "soft"):
        first, second, third = of(f"growth of the lead, experts, {routing}")
        assert first.measured > 0.3 and second.measured < -0.05 > third.measured
