"""The claim on phase diagrams: what it finds, that wrong pieces are caught, and sweeps within a run."""

import functools
import math

import numpy as np
import pytest

import moenoise as mn
from moenoise import theory
from moenoise.claims import phase_diagram
from moenoise.claims.base import Run
from moenoise.sweeps.experiments import model_of
from moenoise.sweeps.table import Surface

DIAGRAMS = phase_diagram.DIAGRAMS


@functools.cache
def quick(jobs=2, seed=0):
    """(records, data) of the claim at its small size."""
    with Run(seed, jobs) as run:
        run.begin(phase_diagram.NAME)
        return phase_diagram.CLAIM.measure(run, **phase_diagram.CLAIM.presets["quick"])


def judged_anew(name, formula):
    """The quick run's records of a diagram, had theory been this ``formula(expectations)``."""
    table, replicates = (quick()[1][part][name] for part in ("tables", "replicates"))
    expected = {tuple(cell.items()): expectations for cell, expectations in table.theory()}
    changed = table.with_theory(lambda cell: formula(dict(expected[tuple(cell.items())])))
    return phase_diagram.diagram_records(DIAGRAMS[name], changed, replicates)


def failing(records):
    return {record.quantity for record in records if record.corrected_verdict == "fails"}


def test_boundaries_are_theorys():
    records, _ = quick()
    assert failing(records) == set()
    boundaries = [record for record in records if record.quantity.endswith("where experts and dense meet")]
    assert len(boundaries) == 10  # two lines in each diagram but the first
    assert {record.corrected_verdict for record in boundaries} == {"holds"}
    assert len({(record.quantity, record.setting) for record in records}) == len(records) <= 30


def test_what_the_paper_says_of_all_cells_fails():
    broken = [record for record in quick()[0] if record.printed_verdict == "fails"]
    assert [record.quantity.partition("by theory, ")[2] for record in broken] == [
        f"at least 0 by {DIAGRAMS[name].promise}" for name in ("samples", "test noise", "overlap")]
    assert all(record.measured < -5 * record.standard_error < 0 for record in broken)


def test_theorem_3s_risks_give_its_boundary():
    own = [record for record in quick()[0] if record.quantity == "test noise variance where experts and dense meet"]
    assert [(record.printed_verdict, record.corrected_verdict) for record in own] == [("holds", "holds")] * 2
    for record, k in zip(own, (64, 96)):
        model = model_of({"d": 192, "k": k, "signal_variance": 5.0})  # any coefficients: features are alike
        assert theory.robustness_condition(model, form="printed").all()
        assert record.corrected == pytest.approx(theory.crossover_noise(model), rel=0.1)  # not interpolated


@pytest.mark.parametrize("name", [name for name in DIAGRAMS if name != "samples"])
@pytest.mark.parametrize("factor", [0.9, 1.1])
def test_a_wrong_theory_is_caught(name, factor):
    def wrong(expected):
        sign = np.sign(expected["lead"] * (expected["dense"] - expected["experts"]))  # of accuracies, the other
        return {**expected, "lead": sign * (factor * expected["dense"] - expected["experts"])}

    assert any("experts and dense meet" in quantity for quantity in failing(judged_anew(name, wrong)))


@pytest.mark.parametrize("name", DIAGRAMS)
def test_winners_that_are_not_theorys_are_counted(name):
    records = judged_anew(name, lambda expected: {**expected, "lead": -expected["lead"]})
    assert "cells won by another side than by theory" in failing(records)


def test_records_depend_on_the_seed_and_not_on_the_number_of_jobs():
    assert quick(jobs=1)[0] == quick()[0]
    assert quick(seed=1)[0] != quick()[0]


XS, YS = np.array([1.0, 2.0]), np.array([1.0, 2.0, 3.0, 4.0, 5.0])


def surface(first, second, error=0.01):
    """Two lines of cells along y."""
    means = np.transpose([first, second])
    return Surface(XS, YS, means, np.full(means.shape, error))


def test_lines_are_judged_where_theory_is_sharp():
    flat, steep = 0.02 * (3.2 - YS), 3.2 - YS
    judged = phase_diagram.judged_lines(surface(flat, steep), np.full((5, 2), 0.02))
    assert list(judged) == [2.0]
    assert judged[2.0] == pytest.approx((3.2, 0.02 / 3.2))


@pytest.mark.parametrize("heights", [
    [1.0, -0.5, -1.0, -1.5, -2.0],  # one cell on the left
    [2.0, 1.0, 0.5, 0.2, -1.0],  # one on the right
    [1.0, -1.0, 1.0, -1.0, -2.0],  # three places
    [1.0, 2.0, 3.0, 4.0, 5.0],  # none
    [1.0, 2.0, math.nan, -1.0, -2.0],  # not known
])
def test_lines_are_judged_where_theory_has_one_place_within(heights):
    assert phase_diagram.judged_lines(surface(heights, heights), np.zeros((5, 2))) == {}


@pytest.mark.parametrize("heights", [[1.0, 2.0, 3.0, 4.0, 5.0], [1.0, -1.0, 1.0, -1.0, -2.0]])
def test_a_measured_boundary_that_is_nowhere_or_everywhere_fails(heights):
    found = phase_diagram.along_y(surface(heights, 3.2 - YS))
    records = phase_diagram.boundary_records(DIAGRAMS["ridge"], found, {1.0: (3.2, 0.0), 2.0: (3.2, 0.0)}, 40)
    assert [record.corrected_verdict for record in records] == ["fails", "holds", "fails"]


def test_theory_of_what_is_simulated_here():
    """By exact risks of the same coefficients, in place of drawn rows."""
    cell = {"d": 24, "k": 4, "signal_variance": 2.0, "model_seed": 3, "test_noise_variance": 3.0}
    model, test = model_of(cell), model_of({**cell, "noise_variance": 3.0})
    expected = phase_diagram.expected_under_test_noise(cell)
    assert expected["dense"] == pytest.approx(theory.risk(test, np.concatenate(theory.bayes_dense(model))))
    experts = np.concatenate(theory.bayes_sparse(model))
    assert expected["experts"] == pytest.approx(theory.risk(test, experts, estimator="sparse"))
    routed = phase_diagram.expected_by_best_router(cell)
    assert routed["dense"] == pytest.approx(theory.generalization(model).dense)
    assert routed["experts"] > theory.generalization(model).sparse


def test_figures_have_boundaries_and_captions():
    figures = phase_diagram.CLAIM.figures(quick()[1])
    assert [len(figure.axes) for figure in figures.values()] == [3, 4, 2]  # with a bar each
    for figure in figures.values():
        legend, = figure.legends
        assert {"theory", "measured"} <= {text.get_text() for text in legend.get_texts()}
        figure.draw_without_rendering()
        assert legend.get_window_extent().x0 >= 0 and legend.get_window_extent().x1 <= figure.bbox.x1
    assert all("Cells x replicates: " in caption and caption.endswith(".") for caption in figures)


class Bar:
    """What a run writes to."""

    def __init__(self):
        self.texts = []

    def set_postfix_str(self, text, refresh):
        self.texts.append(text)

    def update(self, count):
        pass


def uniform(cell, rng):
    return {"x": rng.random()}


class TestSweepsOfARun:
    def swept(self, seed=0, jobs=2, claim="a claim", bar=None):
        with Run(seed, jobs, bar) as run:
            run.begin(claim)
            return run.sweep(uniform, mn.Grid(a=[1, 2, 3]), 5, "numbers").records["x"].tolist()

    def test_numbers_depend_on_seed_and_claim_and_not_on_jobs(self):
        numbers = self.swept()
        assert len(set(numbers)) == 15 and self.swept(jobs=1) == self.swept(jobs=3) == numbers
        assert not set(numbers) & set(self.swept(seed=1)) and not set(numbers) & set(self.swept(claim="another"))

    def test_progress_is_the_runs(self):
        bar = Bar()
        self.swept(bar=bar)
        assert bar.texts[-1] == "a claim numbers 15/15" and len(bar.texts) > 2

    def test_what_raises_ends_the_claim(self):
        def broken(cell, rng):
            raise ArithmeticError("no number")

        with Run(0, 2) as run, pytest.raises(RuntimeError, match="numbers: ArithmeticError: no number in {'a': 1}"):
            run.sweep(broken, mn.Grid(a=1), 2, "numbers")
