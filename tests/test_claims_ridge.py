"""The claim on ridge: what it finds, and that wrong pieces are caught."""

import functools

import numpy as np
import pytest

from moenoise import theory
from moenoise.claims import ridge
from moenoise.claims.base import Run


@functools.cache
def quick(jobs=2, seed=0):
    return measured(jobs, seed)


def measured(jobs=2, seed=0):
    """(records, data) of the claim at its small size."""
    with Run(seed, jobs) as run:
        run.begin(ridge.NAME)
        return ridge.CLAIM.measure(run, **ridge.CLAIM.presets["quick"])


def failing():
    return {record.quantity for record in measured()[0] if record.corrected_verdict == "fails"}


def risks(n):
    """{fit: mean measured risk} at n rows."""
    (cell,) = quick()[1]["cells"]
    (column,) = np.flatnonzero(cell["sizes"] == n)
    return dict(zip(ridge.FITS, cell["measured"].mean(axis=0)[:, column]))


def test_formulas_hold_and_nothing_is_printed():
    records, _ = quick()
    assert [record for record in records if record.corrected_verdict == "fails"] == []
    assert sum(record.corrected_verdict == "holds" for record in records) >= 15
    assert {record.printed for record in records} == {None}
    assert len({(record.quantity, record.setting) for record in records}) == len(records)


def test_no_verdict_where_the_mean_is_infinite():
    untested = {record.quantity for record in quick()[0] if record.corrected_verdict == "none"}
    assert {"dense risk, no penalty", "experts' risk"} < untested
    settings = [record.setting for record in quick()[0] if record.corrected_verdict == "none"]
    assert all("n=100" in setting for setting in settings)


def test_a_penalty_removes_the_peak():
    assert risks(100)["dense"] > 10 * risks(100)["tuned"]
    assert risks(50)["ridge"] > risks(100)["ridge"] > risks(200)["ridge"] > risks(1000)["ridge"]
    assert risks(100)["ridge"] < risks(100)["experts"]


def test_a_penalty_does_not_close_the_gap():
    (cell,) = quick()[1]["cells"]
    limits = theory.generalization(cell["model"])
    assert risks(1000)["experts"] < limits.dense < risks(1000)["ridge"] < risks(1000)["dense"]
    closed = (risks(1000)["dense"] - risks(1000)["ridge"]) / (risks(1000)["dense"] - risks(1000)["experts"])
    assert 0 < closed < 0.1


@pytest.mark.parametrize("factor", [0.9, 1.1])
def test_wrong_formulas_are_caught(factor, monkeypatch):
    dense, experts = theory.dense_risk, theory.expert_risk
    monkeypatch.setattr(theory, "dense_risk", lambda *args, **given: factor * dense(*args, **given))
    monkeypatch.setattr(theory, "expert_risk", lambda *args: factor * experts(*args))
    assert failing() >= {"ridge risk, best penalty", "experts' risk"}


def test_a_wrong_penalty_is_caught(monkeypatch):
    """The penalty of Ridge(alpha=r), forgetting n."""
    fit = ridge.ridge_coefficients
    monkeypatch.setattr(ridge, "ridge_coefficients", lambda X, y, penalty: fit(X, y, penalty / len(X)))
    assert "ridge risk, best penalty" in failing()


def test_records_depend_on_the_seed_and_not_on_the_number_of_jobs():
    assert quick(jobs=1)[0] == quick(jobs=3)[0] == quick()[0]
    assert quick(seed=1)[0] != quick()[0]


def test_figure_is_labelled():
    ((caption, figure),) = ridge.CLAIM.figures(quick()[1]).items()
    assert "Risk of four fits" in caption
    (ax,) = figure.axes
    assert ax.get_xscale() == ax.get_yscale() == "log" and ax.get_xlabel() and ax.get_ylabel()
    assert len(figure.legends[0].get_texts()) == 4
