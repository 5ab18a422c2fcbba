"""The claims on adaptation to noise and on fits without labels: what they find, and that wrong pieces are caught."""

import functools
import math
import warnings

import numpy as np
import pytest

from moenoise import BayesPredictor, ExpertsRegressor, claims, theory
from moenoise.claims import noise_adaptation as adaptation
from moenoise.claims import without_labels
from moenoise.claims.base import Run


@functools.cache
def quick(name):
    return measured(name)


def measured(name, jobs=2, **changes):
    """(records, data) of a claim at its small size, with changed settings; a warning that gets out is an error."""
    claim = claims.get(name)
    with Run(0, jobs) as run, warnings.catch_warnings():
        warnings.simplefilter("error")
        run.begin(name)
        return claim.measure(run, **{**claim.presets["quick"], **changes})


def failing(name, **changes):
    records, _ = measured(name, **changes)
    return {record.quantity for record in records if record.corrected_verdict == "fails"}


def values(name, quantity):
    return {record.setting: record.measured for record in quick(name)[0] if record.quantity == quantity}


@pytest.mark.parametrize("name", [adaptation.NAME, without_labels.NAME])
def test_records_are_told_apart_and_nothing_is_printed(name):
    records, _ = quick(name)
    assert len({(record.quantity, record.setting) for record in records}) == len(records)
    assert {record.printed for record in records} == {None}


@pytest.mark.parametrize("name", [adaptation.NAME, without_labels.NAME])
def test_records_do_not_depend_on_the_number_of_jobs(name, capfd):
    assert measured(name, jobs=3)[0] == quick(name)[0]
    assert capfd.readouterr() == ("", "")


# ---- noise-adaptation ------------------------------------------------------------------------------------------------

ONE_SETTING = {"settings": ((12, 5, 1.0),), "panels": ((12, 5, 1.0),)}


def test_soft_experts_that_do_not_adapt_lose_to_dense_and_adapted_ones_to_nobody():
    _, data = quick(adaptation.NAME)
    for measured in data["measured"].values():
        risks = measured.known[:, :, 0, : len(adaptation.KNOWN)].mean(axis=0)
        dense, soft, best = (risks[:, i] for i in (adaptation.DENSE, adaptation.SOFT, adaptation.SOFT_ADAPTED))
        assert soft[-1] > 1.2 * dense[-1] and soft[0] < dense[0]
        assert (best <= 1.002 * risks.min(axis=1)).all()
        assert best[-1] < 0.7 * dense[-1] and best[0] < 0.6 * soft[0]
        fitted = measured.fitted.mean(axis=0)
        assert (fitted[:, 1, 1] < 1.01 * fitted.reshape(-1, 4).min(axis=1)).all()


def test_fitted_experts_that_adapt_close_the_gap_where_inputs_are_noisier():
    for noise, least in ((3, 0.9), (10, 0.97)):
        shares = [share for setting, share in values(
            adaptation.NAME, "share of dense's gap to the known model that soft, adapted closes").items()
            if f"test noise {noise}," in setting]
        assert len(shares) == 2 and min(shares) > least and max(shares) < 1.05


def test_clean_inputs_hit_the_limit_and_it_is_counted():
    _, data = quick(adaptation.NAME)
    limited = data["measured"][12, 5, 1.0].limited
    assert limited[0].tolist() == [data["draws"], data["draws"]]
    assert not limited[np.array(data["noises"]) >= 1].any()
    counted = values(adaptation.NAME, "soft, adapted: share of batches too clean to follow all the way")
    assert counted["k=12, d_i=5, scale 1, test noise 0.2, fitted to 1,000 rows"] == 1.0


def test_warnings_of_all_workers_are_counted_and_none_is_shown():
    def warn(count):
        for _ in range(count):
            warnings.warn("the same, from the same line", stacklevel=1)
        return count

    with Run(0, 3) as run, warnings.catch_warnings():
        warnings.simplefilter("error")
        assert adaptation.counting_warnings(run, warn, [1, 0, 2, 3], "") == ([1, 0, 2, 3], 6)


def test_crossing_is_between_the_ladder_s_noises():
    (crossing,) = [record for record in quick(adaptation.NAME)[0]
                   if record.quantity.startswith("test noise above") and "k=12" in record.setting]
    assert 1 < crossing.measured < 3 and crossing.corrected_verdict == "holds"


def test_a_biased_estimate_of_the_noise_is_caught(monkeypatch):
    right = BayesPredictor.noise_change

    def biased(self, X):
        change = right(self, X)
        return change._replace(value=1.1 * change.value)

    monkeypatch.setattr(BayesPredictor, "noise_change", biased)
    failures = failing(adaptation.NAME, **ONE_SETTING)
    assert "estimated noise variance / true - 1" in failures


def test_an_understated_error_of_the_noise_is_caught(monkeypatch):
    right = BayesPredictor.noise_change

    def bold(self, X):
        change = right(self, X)
        return change._replace(standard_error=change.standard_error / 8)

    monkeypatch.setattr(BayesPredictor, "noise_change", bold)
    few_rows = {"rows": 300, "samples": 300, "training_rows": 300, "draws": 40, "noises": (1.0, 3.0)}
    failures = failing(adaptation.NAME, **ONE_SETTING, **few_rows)
    assert "squared error of the estimated noise variance / its stated variance, at most 1" in failures
    assert failures <= {quantity for quantity in failures if "noise variance" in quantity}


def test_predictors_that_do_not_adapt_are_caught(monkeypatch):
    monkeypatch.setattr(BayesPredictor, "_noise_change", lambda self, X, noise_variance: 0.0)
    failures = failing(adaptation.NAME, **ONE_SETTING)
    assert {"soft, adapted: risk / response variance", "hard, adapted: risk / response variance",
            "soft, adapted - dense: risk, at most 0"} <= failures
    assert not {"dense: risk / response variance", "soft: risk / response variance"} & failures


def test_wrong_theory_of_adaptation_is_caught(monkeypatch):
    right = theory.soft_risk

    def wrong(*args, **options):
        return type(right(*args, **options))(*(risk._replace(value=1.1 * risk.value)
                                               for risk in right(*args, **options)))

    monkeypatch.setattr(theory, "soft_risk", wrong)
    failures = failing(adaptation.NAME, **ONE_SETTING)
    assert {f"{name}: risk / response variance" for name in adaptation.KNOWN} <= failures


# ---- without-labels --------------------------------------------------------------------------------------------------


def test_labels_are_worth_little_where_the_signal_is_strong_and_much_where_it_is_weak():
    _, data = quick(without_labels.NAME)
    ratios = data["ratios"].mean(axis=2)  # (scales, sizes, fits)
    without, given, dense = np.moveaxis(ratios, -1, 0)
    assert without[-1, -1] < 1.01 * given[-1, -1] and dense[-1, -1] > 2 * without[-1, -1]
    assert without[0, 0] > 1.2 * given[0, 0] and without[0, 0] > dense[0, 0]
    assert (ratios > 1).all()


def test_the_scale_where_it_breaks_down_is_found():
    breakdown = values(without_labels.NAME, "signal-to-noise below which the fit without labels loses to dense")
    assert 0.6 < breakdown["k=4, d_i=8, n=150"] < 1.2


def test_breakdown_is_where_the_line_through_two_means_crosses():
    assert without_labels.root([0.0, 2.0], [0.3, -0.1]) == pytest.approx(1.5)
    rng = np.random.default_rng(0)
    ratios = np.ones((3, 1, 20, 3))
    noise = 0.02 * rng.standard_normal((3, 20))
    ratios[..., 0, :, without_labels.WITHOUT] = np.exp(np.array([0.4, 0.2, -0.2])[:, None] + noise)
    data = {"scales": np.array([0.25, 0.5, 2.0]), "sizes": np.array([100]), "draws": 20, "ratios": ratios}
    (record,) = without_labels.breakdown_records(data)
    assert record.measured == pytest.approx(1.0, abs=4 * record.standard_error)
    # Either mean moves the root by half a logarithm of 4 over the difference, 0.4.
    expected = math.log(4) / 0.4 * math.hypot(0.5, 0.5) * 0.02 / math.sqrt(20)
    assert record.standard_error / record.measured == pytest.approx(expected, rel=0.5)
    ratios[-1] = 2.0 * ratios[0]  # loses at the largest scale as well: there is no such place
    assert without_labels.breakdown_records(data) == []


def test_fewer_passes_are_needed_where_the_signal_is_strong():
    _, data = quick(without_labels.NAME)
    passes = data["passes"].mean(axis=2)
    assert passes[-1, -1] < 10 < 25 < passes[0, 0]
    assert data["passes"].min() >= 2 and data["passes"].max() <= ExpertsRegressor().max_iter


def test_a_falling_likelihood_is_caught(monkeypatch):
    right = ExpertsRegressor._fit_unlabelled

    def falling(self, *args):
        right(self, *args)
        self.log_likelihood_ = self.log_likelihood_[::-1]

    monkeypatch.setattr(ExpertsRegressor, "_fit_unlabelled", falling)
    assert failing(without_labels.NAME, draws=2, sizes=(150,), shown={"scales": (), "sizes": ()}) == {
        "passes in which the likelihood fell, at most 0"}


def test_a_true_model_that_others_beat_is_caught(monkeypatch):
    monkeypatch.setattr(without_labels, "true_risk", lambda model, test, right=without_labels.true_risk:
                        1.5 * right(model, test))
    failures = failing(without_labels.NAME, draws=8, scales=(4.0,), shown={"scales": (4.0,), "sizes": (150, 1_000)})
    assert {"true model: risk / theory's", "with labels: risk / true model's, at least 1",
            "without labels: risk / true model's, at least 1"} <= failures
    assert "dense: risk / true model's, at least 1" not in failures
