"""The claim on linear probes: its data, its rule, and every sentence of the finding that a small run can show."""

import functools
import subprocess
import sys

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal

from moenoise import _probing
from moenoise.claims import digits as digits_claim
from moenoise.claims import docstrings, minilm
from moenoise.claims import probes as claim
from moenoise.claims.base import Estimate, Run

MISSING = minilm.missing() or docstrings.missing()
needs_texts = pytest.mark.skipif(MISSING is not None, reason=str(MISSING))


@functools.cache
def run_quick(seed, jobs, cases=("digits",), splits=3):
    with Run(seed, jobs) as run:
        run.begin(claim.NAME)
        return claim.measure(run, **claim.CLAIM.presets["quick"] | {"cases": cases, "splits": splits})


@pytest.fixture(scope="module")
def digits():
    return run_quick(0, 2)


def find(records, quantity):
    found = [record for record in records if record.quantity == quantity]
    assert len(found) == 1
    return found[0]


def test_on_digits_experts_lose_more_than_ridge(digits):
    record = find(digits[0], "drop of ridge - the experts', above 0")
    assert record.printed_verdict == "fails"
    assert record.measured < -0.03
    for rival in claim.RIVALS:
        assert find(digits[0], f"noisy accuracy, the experts' - {rival}").measured < -0.15
        assert find(digits[0], f"relative drop of {rival} - the experts'").measured < -0.1
        assert find(digits[0], f"clean accuracy, the experts' - {rival}").measured < -0.1


def test_on_digits_modules_do_no_better_than_controls(digits):
    assert find(digits[0], "noisy accuracy, the experts' - experts, averaged").measured < -0.1
    assert find(digits[0], "noisy accuracy, the experts' - experts, random blocks").measured < 0
    assert find(digits[0], "noisy accuracy, the experts' - experts, clean routing").measured < -0.05
    assert find(digits[0], "rows that the noise sends to another expert").measured > 0.7


def test_records_are_those_of_the_comparison(digits):
    found = digits[1]["cases"]["digits"]
    lasso, experts = (found.probes.index(name) for name in ("lasso", "experts"))
    record = find(digits[0], "drop of lasso - the experts', above 0")
    drop = found.accuracy[:, :, 0] - found.accuracy[:, :, -1]
    assert found.noise[-1] == claim.PRINTED_AT
    assert record.measured == pytest.approx((drop[:, lasso] - drop[:, experts]).mean())
    assert record.setting == "digits, noise 2, by 2 s.e."
    assert {record.claim for record in digits[0]} == {claim.NAME}
    assert {record.corrected_verdict for record in digits[0]} == {"none"}
    assert len({(record.quantity, record.setting) for record in digits[0]}) == len(digits[0])
    assert sum(record.printed_verdict != "none" for record in digits[0]) == len(claim.RIVALS)


def test_rule():
    verdicts = [claim.judged("q", "s", Estimate(mean, 0.1, 9)).printed_verdict for mean in (0.21, 0.19, -0.19, -0.21)]
    assert verdicts == ["holds", "undecided", "undecided", "fails"]


def test_standard_errors_are_for_the_share_of_rows_that_is_tested(digits):
    assert _probing.TEST_SHARE == digits_claim.TEST_SHARE
    found = digits[1]["cases"]["digits"]
    experts = found.accuracy[:, found.probes.index("experts")]
    ridge = found.accuracy[:, found.probes.index("ridge")]
    spread = np.std(experts[:, -1] - ridge[:, -1], ddof=1)
    record = find(digits[0], "noisy accuracy, the experts' - ridge")
    assert record.standard_error == pytest.approx(spread * np.sqrt(1 / 3 + 1 / 3))


def test_same_bits_for_any_number_of_jobs(digits):
    one, two = (result[1]["cases"]["digits"] for result in (run_quick(0, 1, splits=2), digits))
    assert_array_equal(one.accuracy, two.accuracy[:2])


def test_figures(digits):
    figures = claim.CLAIM.figures(digits[1])
    assert len(figures) == 1
    for caption, figure in figures.items():
        assert caption.startswith("Digits: ") and caption.endswith(".")
        assert len(figure.axes) == 3
        assert all(ax.get_xlabel() and ax.get_ylabel() for ax in figure.axes)


def test_without_the_model_digits_are_measured(monkeypatch):
    monkeypatch.setattr(minilm, "missing", lambda: "it is not there: install it")
    monkeypatch.setattr(_probing, "RIDGES", _probing.RIDGES[::6])
    monkeypatch.setattr(_probing, "SHRINKING", _probing.SHRINKING[::6])
    records, data = run_quick.__wrapped__(0, 2, ("digits", "MiniLM, layer 0"), 2)
    assert list(data["cases"]) == ["digits"]
    assert find(records, "layers measured").setting == "it is not there: install it"


def test_cases_are_known():
    for preset in claim.CLAIM.presets.values():
        assert set(preset["cases"]) <= set(claim.CASES)
        assert set(preset["packages"]) <= set(claim.PACKAGES)


@needs_texts
class TestTexts:
    def test_pooled_inputs_are_means_over_tokens(self):
        sentences = ["Return the sum.", "A longer sentence, of some more words.", "x = 1"] * 4
        with Run(0, 2) as run:
            pooled = claim.pooled_inputs(run, sentences, [0, 1])
        activations = minilm.load().activations(sentences, [0, 1], "input")
        for layer in (0, 1):
            for i in range(len(sentences)):
                own = activations.layers[layer][activations.sentence == i]
                assert_allclose(pooled[layer][i], own.mean(axis=0), atol=1e-5)

    def test_layer_is_measured(self):
        records, data = run_quick(0, 2, ("MiniLM, layer 0",), 2)
        found = data["cases"]["MiniLM, layer 0"]
        assert len(found.classes) == 4
        ridge = found.probes.index("ridge")
        assert found.accuracy[:, ridge, 0].mean() > found.chance + 0.2
        assert found.parameters["ridge"] == (4 * 384 + 4, 0)
        assert len(records) == len(run_quick(0, 2)[0])
        assert find(records, "noisy accuracy, the experts' - ridge").measured < 0

    def test_every_package_has_enough_files_in_the_paper_preset(self):
        preset = claim.CLAIM.presets["paper"]
        texts = docstrings.load(1, preset["at_most"], preset["packages"])
        assert len(texts.names) == len(preset["packages"])
        for label in range(len(texts.names)):
            assert len(np.unique(texts.documents[texts.labels == label])) >= 4


def test_import_is_light():
    code = ("import sys, moenoise.claims.probes; "
            "assert not {'sklearn', 'matplotlib', 'safetensors', 'tokenizers'} & set(sys.modules)")
    subprocess.run([sys.executable, "-c", code], check=True)
