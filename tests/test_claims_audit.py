"""The claim of audited activations: controls that would tell a broken audit, and real data beside them."""

import functools

import numpy as np
import pytest

from moenoise import claims
from moenoise.activations import modularity
from moenoise.claims import audit, docstrings, minilm
from moenoise.claims.base import Run

CLAIM = claims.get("audit")
QUICK = CLAIM.presets["quick"]


@functools.cache
def quick(seed=0, jobs=2):
    return measured({}, seed, jobs)


def measured(changes, seed=0, jobs=2):
    with Run(seed, jobs) as run:
        run.begin("audit")
        return CLAIM.measure(run, **QUICK | changes)


def controls(records):
    return {record.setting: (record.measured, record.corrected_verdict) for record in records
            if record.quantity == "right answers"}


def test_controls_have_the_right_answers():
    assert controls(quick()[0]) == {"planted modules, of 4": (4, "holds"),
                                    "factors without modules, of 3": (3, "holds")}
    for record in quick()[0]:
        if record.setting.startswith(tuple(audit.CONTROLS)):
            assert record.printed_verdict == "none"


def test_a_null_that_destroys_correlations_is_noticed(monkeypatch):
    class Permuted:
        def __init__(self, rows):
            self.rows = rows

        def draw(self, seed, number):
            return np.random.default_rng([number]).permuted(self.rows, axis=0)

    monkeypatch.setattr(modularity, "NULLS", dict.fromkeys(modularity.NULLS, Permuted))
    monkeypatch.setattr(modularity, "LEAST_RATIO", 1.2)  # at this small size; the null above would still be below it
    found = measured({"cases": (audit.FACTORS,)})[0]
    assert controls(found)["factors without modules, of 3"][1] == "fails"


def test_real_images_are_judged_by_the_answers():
    records, data = quick()
    verdict = data["cases"][audit.IMAGES].verdict
    verdicts = [record.printed_verdict for record in records if record.setting.startswith("digits")]
    assert all(record.printed is None for record in audit.case_records(audit.REPEATED, data["cases"][audit.IMAGES]))
    assert verdict.modular is False and verdict.experts_help is False
    assert len(verdicts) == 10 and verdicts.count("fails") >= 4


def test_the_same_for_any_number_of_workers():
    assert quick(jobs=1)[0] == quick()[0]


def test_without_the_model_the_rest_is_measured(monkeypatch):
    monkeypatch.setattr(minilm, "missing", lambda: "it is missing: get it")
    records, data = measured({"cases": (audit.PLANTED, "MiniLM: inputs of layer 0"), "sentences": 50})
    assert list(data["cases"]) == [audit.PLANTED]
    assert [record.setting for record in records if "layers" in record.quantity] == ["it is missing: get it"]


@pytest.mark.skipif(bool(minilm.missing() or docstrings.missing()), reason=str(minilm.missing()))
def test_tokens_of_a_language_model():
    with Run(0) as run:
        run.begin("audit")
        found = audit.activations_of_texts(run, [0, 2], 12)
    assert list(found) == [0, 2]
    rows = found[2]
    assert rows.activations.shape == (len(rows.targets), 384) and len(np.unique(rows.groups)) > 3
    assert rows.targets.shape[1] == audit.PARTS
    variances = rows.targets.var(axis=0)
    np.testing.assert_allclose(np.cov(rows.targets.T, ddof=0), np.diag(variances), atol=1e-6 * variances.max())
    repeated = np.flatnonzero(rows.tokens == np.bincount(rows.tokens).argmax())
    first = found[0].activations[repeated]
    assert np.corrcoef(first)[0, 1:].min() > 0.8  # what enters layer 0 hardly knows of the other tokens


def test_a_figure_of_answers():
    figures = audit.figures(quick()[1])
    assert len(figures) == 2
    texts = [text.get_text() for text in next(iter(figures.values())).axes[0].texts]
    assert len(texts) == 12 and texts[0] == f"{quick()[1]['cases'][audit.PLANTED].modularity.ratio:.2f}"
