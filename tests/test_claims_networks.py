"""The claims figure-3, table-3 and overlap: what they find, and that wrong pieces are caught."""

import itertools

import numpy as np
import pytest
from scipy.stats import binomtest
from test_claims import quick

from moenoise import claims, theory
from moenoise.claims import figure_3, overlap, table_3
from moenoise.claims.base import FALSE_ALARM_RATE, Run
from moenoise.model import BlockModel

THREE = (figure_3, table_3, overlap)


def failing(claim, **changes):
    """Quantities whose corrected form fails, measured anew at the small size with changed settings."""
    with Run(0, 2) as run:
        run.begin(claim.NAME)
        records, _ = claim.CLAIM.measure(run, **{**claim.CLAIM.presets["quick"], **changes})
    return {record.quantity for record in records if record.corrected_verdict == "fails"}


@pytest.mark.parametrize("claim", THREE)
def test_records_are_told_apart_and_presets_have_the_same_settings(claim):
    records, _ = quick(claim.NAME)
    assert len({(record.quantity, record.setting) for record in records}) == len(records)
    assert set(claim.CLAIM.presets["quick"]) == set(claim.CLAIM.presets["paper"])
    assert claims.get(claim.NAME) is claim.CLAIM


@pytest.mark.parametrize("claim", [table_3, overlap])
def test_records_do_not_depend_on_the_number_of_jobs(claim):
    assert quick(claim.NAME, jobs=1)[0] == quick(claim.NAME)[0]


# ---- figure-3 --------------------------------------------------------------------------------------------------------


def test_experts_excess_risks_sum_to_theirs_together():
    model = BlockModel.toeplitz(12, 3, noise_variance=0.7, rng=0)
    coef = np.random.default_rng(0).standard_normal((4, 12))
    total = theory.risk(model, coef, estimator="sparse") - theory.generalization(model).sparse
    assert model.probabilities @ figure_3.expert_excess(model, coef) == pytest.approx(total)


def test_quantiles_are_tested_where_means_are_not():
    records, data = quick("figure-3")
    tested = {int(record.setting.split("n=")[1]) for record in records
              if "quantile" in record.quantity and "random" not in record.setting}
    assert {120, 124, 128, 132} <= tested  # n_i from d_i to d_i + 3
    means = [record for record in records if record.quantity == "experts' excess risk" and "heavy" in record.setting]
    assert {record.corrected_verdict for record in means} == {"none"} and len(means) >= len(tested)


@pytest.mark.parametrize("error", [0.5, 2.0])
def test_a_wrong_law_is_caught(error, monkeypatch):
    right = theory.expert_excess_law

    class Scaled:
        def __init__(self, *args):
            self.law = right(*args)

        def cdf(self, x):
            return self.law.cdf(error * np.asarray(x))

        def rvs(self, *args, **options):
            return self.law.rvs(*args, **options)

    monkeypatch.setattr(theory, "expert_excess_law", Scaled)
    wrong = failing(figure_3, sizes=(100, 116, 120, 124, 128))
    assert "share of single experts' excess risks below the 50% quantile of their law" in wrong


def test_predicted_quantiles_are_those_of_one_law_where_there_is_one_expert():
    model = BlockModel.isotropic(6, 1, rng=0)
    sizes, quantiles = figure_3.predicted_quantiles(model, np.array([6, 9, 30]), 0)
    exact = theory.expert_excess_law(model, 0, sizes).ppf(np.array(figure_3.LEVELS)[:, None])
    assert quantiles == pytest.approx(exact, rel=0.2)


def test_share_record_is_a_binomial_test():
    for ones, stated in itertools.product((10, 60, 90), (0.1, 0.5)):
        record = figure_3.share_record("q", "s", np.arange(100) < ones, stated)
        assert record.measured == ones / 100
        assert (record.corrected_verdict == "fails") == (binomtest(ones, 100, stated).pvalue < FALSE_ALARM_RATE)


def test_where_the_experts_mean_is_infinite_and_denses_is_not_the_statement_fails():
    records, _ = quick("figure-3")
    expected = {record.setting: record for record in records if record.quantity.startswith("expected dense")}
    assert {record.printed_verdict for record in expected.values()} == {"fails"}
    balanced = [int(setting.split("n=")[1].split(",")[0]) for setting in expected if "random" not in setting]
    assert balanced == [116, 124]  # where n_i is off by one; at n = 120 both are infinite
    assert sum("random" in setting for setting in expected) == 2  # likewise


def test_peak_is_at_n_equal_to_d():
    records, _ = quick("figure-3")
    peaks = [record for record in records if record.quantity.startswith("log of")]
    assert [record.corrected_verdict for record in peaks] == 4 * ["holds"]
    assert all(record.measured > 5 * record.standard_error for record in peaks)


def test_random_routing_moves_the_experts_peaks_and_has_no_mean():
    records, data = quick("figure-3")
    none = [record for record in records if "infinite mean" in record.setting]
    assert {(record.corrected, record.corrected_verdict) for record in none} == {(None, "none")}
    dense, experts = np.median(data["random"], axis=0)
    (at,) = np.flatnonzero(data["random_sizes"] == 120)
    balanced = np.median(data["measured"][:, 1, data["sizes"] == 120])
    assert dense[at] > 3 * experts[at] and balanced > 3 * experts[at]
    (at,) = np.flatnonzero(data["random_sizes"] == 140)
    assert experts[at] > np.median(data["measured"][:, 1, data["sizes"] == 140])


# ---- table-3 ---------------------------------------------------------------------------------------------------------


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
def test_networks_have_equally_many_parameters():
    def count(inputs, units):
        return units * (inputs + 2) + 1

    inputs = table_3.K * table_3.BLOCK
    assert count(inputs, table_3.DENSE_UNITS) == table_3.K * count(table_3.BLOCK, table_3.UNITS) == 485
    assert count(inputs, table_3.K * table_3.UNITS) == pytest.approx(3.6 * 485, rel=0.05)
    sample = table_3.labelled(table_3.directions(0), 50, 1)
    dense, experts = ([sum(weights.size for weights in one.coefs_ + one.intercepts_)
                       for one in table_3.trained(name, sample, 1.0, 20, 0)] for name in ("dense", "experts"))
    assert sum(dense) == sum(experts) == 485


def test_labels_are_a_two_layer_network_that_nothing_linear_sees():
    teacher = table_3.directions(0)
    sample = table_3.labelled(teacher, 20_000, 1)
    assert sample.response.mean() == pytest.approx(0.5, abs=0.02)
    linear = np.linalg.lstsq(sample.features, 2 * sample.response - 1, rcond=None)[0]
    assert np.abs(linear).max() < 0.06  # standard error: 0.016
    own = table_3.own_blocks(sample.features, sample.expert)
    relu = np.maximum(np.concatenate([own[..., None] * s * teacher[sample.expert] for s in (1, -1)], -1).sum(1), 0)
    assert ((relu @ [1, -1, 1, -1] > 0) == sample.response).all()


@pytest.mark.parametrize("deviation, exact", [(0.0, 1.0), (1.0, 0.625), (1e9, 0.5)])
def test_bayes_accuracy_at_known_points(deviation, exact):
    assert table_3.bayes_accuracy(deviation) == pytest.approx(exact)


def test_a_wrong_bayes_accuracy_is_caught(monkeypatch):
    right = table_3.bayes_accuracy
    monkeypatch.setattr(table_3, "bayes_accuracy", lambda deviation: right(1.5 * deviation))
    assert "best classifier's accuracy" in failing(table_3)


def test_experts_that_look_at_the_clean_label_are_caught(monkeypatch):
    right = table_3.all_answers

    def leaking(networks, teacher, features, expert):
        answers = right(networks, teacher, features, expert)
        answers[3] = answers[2]  # what the best classifier is measured by is worse than the experts
        return answers

    monkeypatch.setattr(table_3, "all_answers", leaking)
    assert "experts' accuracy - the best classifier's, at most 0" in failing(table_3)


def test_experts_win_under_noise_and_only_there():
    _, data = quick("table-3")
    dense, experts = data["measured"][0].mean(axis=(0, 2))[:2]
    assert experts[0] < dense[0]
    assert (experts[2:5] > dense[2:5] + 0.02).all()
    assert (dense[0] - dense)[3] > (experts[0] - experts)[3] + 0.05


def test_experts_trained_with_noise_drop_further_though_more_accurate():
    records, data = quick("table-3")
    dense, experts = data["measured"][1].mean(axis=(0, 2))[:2]
    assert (experts[:5] > dense[:5] + 0.02).all()
    (drop,) = [record for record in records if record.quantity == "experts' - dense drop, at most 0"
               and record.setting.endswith("training noise 1, test noise 5")]
    assert drop.measured > 0.04 and drop.printed_verdict in ("undecided", "fails")


def test_shares_of_the_drop_are_shown_and_not_judged():
    shares = [record for record in quick("table-3")[0] if "shares of what" in record.quantity]
    assert {(record.corrected, record.printed_verdict, record.corrected_verdict) for record in shares} == \
        {(None, "none", "none")}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize("name", table_3.NETWORKS)
def test_the_penalty_is_chosen_on_the_validation_rows(name):
    teacher = table_3.directions(0)
    train, validation = (table_3.noisy_rows(teacher, 200, 0.0, rng) for rng in (1, 2))
    penalties, right = (1000.0, 0.3, 100.0), []
    for penalty in penalties:
        networks = table_3.trained(name, train, penalty, 40, 3)
        right.append(np.mean(table_3.answers(networks, validation.features, validation.expert)
                             == validation.response))
    assert right[1] > max(right[0], right[2]) + 0.1  # the others leave nothing of the network
    for order in (penalties, penalties[::-1]):
        networks = table_3.chosen(name, train, validation, order, 40, 3)
        assert {one.alpha for one in networks} == {0.3}
        assert len(networks) == (table_3.K if name == "experts" else 1)


def test_with_few_rows_dense_leads_under_one_penalty_and_not_under_each_sides_best():
    def lead(penalties):
        with Run(0, 2) as run:
            run.begin("table-3")
            settings = {**table_3.CLAIM.presets["quick"], "cells": ((150, 0.0),), "penalties": penalties}
            dense, experts = table_3.measure(run, **settings)[1]["measured"].mean(axis=(0, 1, 3))[:2]
        return (experts - dense)[table_3.STANDARD_DEVIATIONS.index(table_3.PRINTED_AT)]

    assert lead((2.0,)) < -0.05 < -0.03 < lead((2.0, 0.2))


def test_printed_drops_of_table_3_differ_by_little():
    accuracy, drop = table_3.printed_records()
    assert accuracy.measured == pytest.approx(0.0167, abs=1e-4) and drop.measured == pytest.approx(-0.0042, abs=1e-4)
    assert abs(drop.measured) < 2.5 * drop.standard_error < accuracy.measured


# ---- overlap ---------------------------------------------------------------------------------------------------------


def leads(reading, which):
    """(alphas,) mean of one of `overlap.FITS` less dense, at the small size."""
    _, data = quick("overlap")
    (cell,) = data["cells"]
    mean = cell["measured"][:, overlap.READINGS.index(reading)].mean(axis=0)
    return mean[:, overlap.FITS.index(which)] - mean[:, 0]


def test_oracle_keeps_its_lead_unless_the_interference_is_signal():
    assert (leads("everywhere", "experts, oracle routing") > 0.06).all()
    assert (np.diff(leads("elsewhere", "experts, oracle routing"))[2:] > 0).all()
    signal = leads("signal", "experts, oracle routing")
    assert signal[0] > 0.08 and signal[-1] < -0.1
    printed = {record.setting.split(", ")[1]: record.printed_verdict for record in quick("overlap")[0]
               if record.quantity.startswith("oracle-routed") and record.setting.endswith("alpha=1")}
    assert printed == {"interference everywhere": "holds", "interference elsewhere": "holds",
                       "interference signal": "fails"}


def test_a_learned_router_has_a_tenth_of_the_oracles_lead_and_soft_routing_more():
    learned = leads("everywhere", "experts, learned routing")
    assert learned[0] < 0.3 * leads("everywhere", "experts, oracle routing")[0]
    assert leads("elsewhere", "experts, learned routing")[-1] < -0.02
    assert (leads("everywhere", "experts, learned soft routing") > learned + 0.005).all()


def test_interference_elsewhere_blinds_the_router():
    _, data = quick("overlap")
    router = data["cells"][0]["measured"][:, overlap.READINGS.index("elsewhere"), :, 4].mean(axis=0)
    assert router[0] > 0.4 and router[-1] == pytest.approx(1 / overlap.K, abs=0.02)


@pytest.mark.parametrize("reading", overlap.READINGS)
def test_interference_of_each_reading(reading):
    model = BlockModel.isotropic(3 * overlap.K, overlap.K, noise_variance=1.0, rng=0)
    sample, interference = overlap.draw(model, np.random.SeedSequence(0), 40)
    changed = overlap.overlapped(model, sample, interference, reading, 0.5)
    added = (changed.features - sample.features).reshape(40, overlap.K, 3)
    own = added[np.arange(40), sample.expert]
    assert (own == 0).all() == (reading != "everywhere")
    assert np.count_nonzero(added) == 120 * overlap.K - (0 if reading == "everywhere" else 120)
    labels = np.sign(sample.response)
    if reading == "signal":
        labels = np.sign(sample.response + added.reshape(40, -1) @ np.concatenate(model.coefficients))
        assert (labels != np.sign(sample.response)).any()
    assert (changed.response == labels).all()


def test_every_replicate_has_coefficients_rows_and_interference_of_its_own():
    seed = np.random.SeedSequence(0)
    first, second = (np.concatenate(overlap.drawn_model(seed, replicate, 8).coefficients) for replicate in (0, 1))
    assert (first != second).all()
    model = overlap.drawn_model(seed, 0, 8)
    parts = ((0, 0), (1, 0), (0, 1))  # training and test rows of one replicate, training rows of the next
    draws = [overlap.draw(model, overlap.child(seed, *part), 20) for part in parts]
    features, interference = [sample.features for sample, _ in draws], [added for _, added in draws]
    drawn = np.concatenate([features, interference]).reshape(6, -1)
    assert np.abs(np.corrcoef(drawn) - np.eye(6)).max() < 0.2  # 800 entries: 5.6 standard errors


def test_chance_of_the_coefficients_is_not_in_what_is_judged():
    rng = np.random.default_rng(0)
    stated = rng.normal(0.7, 0.2, 50)
    measured = stated + rng.normal(0, 1e-3, 50)
    record = overlap.closed_form_record("dense", "here", measured, stated)
    assert record.standard_error < 3e-4 and record.corrected_verdict == "holds"
    assert (record.measured, record.corrected) == (pytest.approx(measured.mean()), pytest.approx(stated.mean()))
    assert overlap.closed_form_record("dense", "here", measured, stated - 0.02).corrected_verdict == "fails"


def test_soft_routing_is_shown_and_not_judged():
    soft = [record for record in quick("overlap")[0] if "soft - hard" in record.quantity]
    assert {(record.corrected, record.corrected_verdict) for record in soft} == {(None, "none")}


def test_closed_form_is_that_of_theorem_2_for_many_rows():
    model = BlockModel.isotropic(8 * overlap.K, overlap.K, noise_variance=overlap.NOISE_VARIANCE,
                                 coefficients=np.ones(8 * overlap.K))
    risks = np.array(theory.generalization(model)) / model.signal_variances[0]
    dense, sparse = overlap.stated_accuracies(model, "everywhere", 0.0, 10**12)
    assert sparse == pytest.approx(0.5 + np.arcsin(np.sqrt(1 - risks[1])) / np.pi)
    assert 0.5 < dense < sparse


@pytest.mark.parametrize("wrong", ["interference too small", "few rows forgotten"])
def test_a_wrong_closed_form_is_caught(wrong, monkeypatch):
    right = overlap.stated_accuracies

    def changed(model, reading, alpha, rows):
        return right(model, reading, alpha / 2, rows) if wrong == "interference too small" else \
            right(model, reading, alpha, 100 * rows)

    monkeypatch.setattr(overlap, "stated_accuracies", changed)
    options = {"rows": 800, "replicates": 64} if wrong == "few rows forgotten" else {}
    assert failing(overlap, **options) & {"accuracy, dense", "accuracy, experts, oracle routing"}
