"""The claim on scikit-learn's digits: modules, the fitted model, and every sentence of the finding."""

import functools
import subprocess
import sys

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from moenoise.claims import digits as claim
from moenoise.claims.base import Estimate, Run
from moenoise.designs import Sample

NOISE, SHIFT = (1, 16, 256), 256


@functools.cache
def run_quick(seed, jobs):
    with Run(seed, jobs) as run:
        run.begin(claim.NAME)
        return claim.measure(run, **claim.CLAIM.presets["quick"])


@pytest.fixture(scope="module", params=[0, 1])
def result(request):
    return run_quick(request.param, jobs=2)


@pytest.fixture(scope="module")
def digits():
    return claim.load()


@pytest.fixture(scope="module")
def whole(digits):
    return Sample(digits.images - digits.images.mean(axis=0), digits.indicators - digits.indicators.mean(axis=0),
                  digits.expert)


def find(result, quantity, setting):
    """The one record of that quantity in that setting."""
    found = [record for record in result[0]
             if record.quantity == quantity and record.setting.split(", within")[0] == setting]
    assert len(found) == 1
    return found[0]


def test_modules_share_out_the_pixels_that_vary(digits):
    assert digits.images.shape == (1797, 61)
    assert len(digits.block_sizes) == claim.K
    assert digits.block_sizes.sum() == len(np.unique(digits.pixels)) == 61
    assert digits.images.std(axis=0).min() > 0
    assert_array_equal(digits.indicators.sum(axis=1), 1)


def test_images_go_to_the_module_where_they_deviate_most(digits):
    squares = (digits.images - digits.images.mean(axis=0)) ** 2
    module = np.repeat(np.arange(claim.K), digits.block_sizes)
    share = [squares[:, module == i].mean(axis=1) / squares[:, module == i].mean() for i in range(claim.K)]
    assert_array_equal(np.argmax(share, axis=0), digits.expert)
    assert_array_equal(digits.own.sum(axis=1), digits.block_sizes[digits.expert])
    assert np.bincount(digits.expert).min() > 300


def test_prediction_is_exact_for_the_pruned_images_themselves(digits, whole):
    # Of Gaussian or other features alike, a linear predictor's risk depends on second moments only.
    fit = claim.fit_model(whole, digits.block_sizes)
    pruned = whole.features * digits.own
    n, d = pruned.shape
    variance = 7.0
    moment, product = pruned.T @ pruned / n, pruned.T @ whole.response / n
    explained = np.sum(product * np.linalg.solve(moment + variance * np.eye(d), product))
    explained_clean = np.sum(product * (np.linalg.pinv(moment, hermitian=True) @ product))
    unexplained = fit.models[0].probabilities @ fit.unexplained.sum(axis=1)
    (dense, experts), = claim.predicted_risks(fit, variance, [variance])
    assert_allclose(dense - unexplained, explained_clean - explained, rtol=1e-8)
    assert experts < dense


def test_draws_obey_the_fitted_model(digits, whole):
    fit = claim.fit_model(whole, digits.block_sizes)
    sample = claim.draw(fit, 40_000, 0, 0)
    again = claim.fit_model(sample, digits.block_sizes)
    assert_allclose(again.models[0].probabilities, fit.models[0].probabilities, atol=0.01)
    assert_allclose(again.unexplained, fit.unexplained, rtol=0.1)
    for ours, theirs in zip(again.models[3].covariances, fit.models[3].covariances):
        assert_allclose(ours, theirs, atol=0.05 * np.abs(theirs).max())


def test_nothing_is_stated_as_corrected(result):
    # A data set that does not obey the model must not make the run fail.
    assert {record.corrected_verdict for record in result[0]} == {"none"}
    assert len({(record.quantity, record.setting) for record in result[0]}) == len(result[0])


def test_pixels_outside_the_module_are_not_zero(result):
    outside, inside = result[0][:2]
    assert outside.printed_verdict == "fails"
    assert 0.5 < outside.measured / inside.measured < 0.75


@pytest.mark.parametrize("noise", NOISE)
def test_the_model_predicts_pruned_images(result, noise):
    for quantity in ("dense risk, pruned images", "experts' risk, oracle routing",
                     "experts' risk, learned routing, pruned images"):
        record = find(result, quantity, f"noise variance {noise}")
        assert record.printed_verdict == "holds"
        assert abs(record.measured / record.printed - 1) < claim.MARGIN


@pytest.mark.parametrize("noise", NOISE)
def test_whole_images_are_dense_wins(result, noise):
    dense = find(result, "dense risk, whole images", f"noise variance {noise}")
    assert dense.measured < dense.printed - 4 * dense.standard_error
    for routing in ("oracle", "learned"):
        gap = find(result, f"dense - experts' ({routing}) risk, at least 0, whole images", f"noise variance {noise}")
        assert gap.measured < -3 * gap.standard_error
        assert gap.printed_verdict == "fails"
    if noise < 256:
        assert dense.printed_verdict == "fails"


def test_on_pruned_images_experts_win_while_routing_works(result):
    def verdict(noise, routing):
        gap = find(result, f"dense - experts' ({routing}) risk, at least 0, pruned images", f"noise variance {noise}")
        assert abs(gap.measured) > 3 * gap.standard_error
        return gap.printed_verdict

    assert [verdict(noise, "oracle") for noise in NOISE] == 3 * ["holds"]
    assert [verdict(noise, "learned") for noise in NOISE] == ["holds", "holds", "fails"]


def test_learned_router_errs_more_often_than_the_model_says(result):
    for noise in (1, 16):
        assert find(result, "routing accuracy, whole images", f"noise variance {noise}").printed_verdict == "fails"
        accuracy = find(result, "routing accuracy, whole images", f"noise variance {noise}")
        assert accuracy.measured < 0.7 * accuracy.printed
    assert find(result, "routing accuracy, pruned images", "noise variance 16").measured > 0.95


def test_experts_overtake_dense_under_much_test_noise_where_both_are_useless(result):
    setting = f"noise variance {SHIFT}, training {claim.SHIFT_FROM:g}"
    dense = find(result, "dense risk, whole images", setting)
    experts = find(result, "experts' risk, oracle routing", setting)
    frequencies = find(result, "risk of the class frequencies alone", "any noise")
    assert frequencies.measured < experts.measured < dense.measured
    gap = find(result, "dense - experts' (oracle) risk, at least 0, whole images", setting)
    assert gap.printed_verdict == "holds"


def test_finite_fits_exceed_theorem_3_as_draws_of_the_model_do(result):
    for quantity in ("dense risk, pruned images", "dense risk, draws of the model", "experts' risk, oracle routing",
                     "experts' risk, oracle routing, draws of the model"):
        record = find(result, quantity, f"noise variance {SHIFT}, training {claim.SHIFT_FROM:g}")
        assert 1.1 < record.measured / record.printed < 1.4
        assert record.printed_verdict == "fails"


def test_predictions_are_judged_by_the_margin_alone():
    record = claim.predicted("q", "s", Estimate(1.11, 0.5, 3), 1.0)
    assert record.printed_verdict == "fails" and record.standard_error == 0.5 and record.setting == "s, within 10%"
    assert claim.predicted("q", "s", Estimate(0.91, 0.5, 3), 1.0).printed_verdict == "holds"


def test_differences_are_judged_by_two_standard_errors():
    record = claim.difference("q", "s", Estimate(-0.0416, 0.0088, 9))
    assert (record.printed_verdict, record.measured, record.standard_error) == ("fails", -0.0416, 0.0088)
    assert claim.difference("q", "s", Estimate(-0.015, 0.0088, 9)).printed_verdict == "holds"


def test_splits_share_rows_so_the_standard_error_is_larger():
    values = np.array([1.0, 2.0, 3.0, 4.0])
    estimate = claim.across_splits(values)
    assert estimate.mean == 2.5
    assert estimate.standard_error == pytest.approx(values.std(ddof=1) * np.sqrt(1 / 4 + 1 / 3))


def test_same_bits_for_any_number_of_jobs():
    assert run_quick(0, jobs=1)[0] == run_quick(0, jobs=2)[0]


def test_figures(result):
    figures = claim.CLAIM.figures(result[1])
    assert len(figures) == 2
    assert [len(figure.axes) for figure in figures.values()] == [3, 1 + claim.K]


def test_import_is_light():
    code = ("import sys, moenoise.claims.digits; "
            "assert not {'sklearn', 'matplotlib'} & set(sys.modules), sorted(sys.modules)")
    subprocess.run([sys.executable, "-c", code], check=True)
