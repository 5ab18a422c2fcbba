"""The claims on the router's sample complexity and on gradient descent: what they find, and that faults are caught."""

import functools

import numpy as np
import pytest
import scipy.stats

import moenoise as mn
from moenoise import theory
from moenoise.claims import theorem_1_samples, theorem_5_descent
from moenoise.claims.base import Run

MODULES = {module.NAME: module for module in (theorem_1_samples, theorem_5_descent)}
SAMPLES, DESCENT = theorem_1_samples.NAME, theorem_5_descent.NAME


def measured(name, jobs=2, seed=0):
    """The records and the data of a claim at its small size, measured anew."""
    claim = MODULES[name].CLAIM
    with Run(seed, jobs) as run:
        run.begin(name)
        return claim.measure(run, **claim.presets["quick"])


quick = functools.cache(measured)


def of(name, start, records=None):
    """The records whose quantity starts so; there are some."""
    records = [record for record in (records or quick(name)[0]) if record.quantity.startswith(start)]
    assert records
    return records


def failing(name):
    """Quantities of corrected forms that fail in a new run."""
    return {record.quantity for record in measured(name)[0] if record.corrected_verdict == "fails"}


@pytest.mark.parametrize("name", MODULES)
def test_corrected_forms_hold_and_records_are_distinct(name):
    records, _ = quick(name)
    assert [record for record in records if record.corrected_verdict == "fails"] == []
    assert len({(record.quantity, record.setting) for record in records}) == len(records)


@pytest.mark.parametrize("name", MODULES)
def test_records_depend_on_the_seed_and_not_on_the_number_of_jobs(name):
    assert measured(name, jobs=1)[0] == quick(name)[0]
    assert measured(name, seed=1)[0] != quick(name)[0]


class TestSamples:
    def test_one_constant_does_not_serve_all_block_sizes(self):
        needed = {record.setting.split(";")[0]: record for record in of(SAMPLES, "square root of the C")}
        for n in (384, 1536):
            assert needed[f"k=6, d_i=16, n = {n}"].printed_verdict == "fails"
        assert needed["k=6, d_i=16, n = 384"].measured > 8 * needed["k=6, d_i=4, n = 384"].printed

    def test_printed_score_is_not_mended_by_rows(self):
        records = of(SAMPLES, "excess routing error of the printed score")
        assert len(records) == 3
        assert all(record.printed_verdict == "fails" and record.measured > 0.7 for record in records)

    def test_pooled_law_is_the_sharpest_test(self):
        (record,) = of(SAMPLES, "excess routing error / its law's")
        assert record.corrected_verdict == "holds" and record.standard_error < 0.05

    def test_in_n_alone_the_bound_holds(self):
        for record in of(SAMPLES, "square root of the C that the bound needs"):
            place, fitted = record.setting.split("; fitted at ")
            if place.rsplit(", n =", 1)[0] == fitted.rsplit(", n =", 1)[0]:
                assert record.printed_verdict == "holds"
        assert {record.printed_verdict for record in of(SAMPLES, "exponent of n, at most")} == {"holds"}

    def test_errors_fall_like_the_inverse_of_n_and_grow_like_the_square_of_the_features(self):
        for record in of(SAMPLES, "exponent of n, its limit"):
            assert -1.5 < record.measured < -0.75
        growth = {record.quantity: record for record in of(SAMPLES, "exponent of d_i")}
        assert 1.8 < growth["exponent of d_i"].measured < 3.2
        assert growth["exponent of d_i, at most the bound's"].printed_verdict == "fails"

    def test_estimating_the_noise_is_easy_and_estimating_loads_is_not(self):
        _, data = quick(SAMPLES)
        known, by_noise, by_priors = np.array([excess.mean(axis=0) for excess in data["cases"][-1].excess]).T
        assert (np.abs(by_noise / known - 1) < 0.1).all()
        assert (by_priors > 1.05 * known).all()

    def test_shrinkage_with_fewer_rows_than_features(self):
        shrunk = quick(SAMPLES)[1]["shrunk"]
        few = shrunk["rows"].index(8)
        means = shrunk["excess"].mean(axis=0)
        assert np.isnan(means[few, 0]) and (np.diff(means[few, 1:]) < 0).all()
        assert means[-1, -1] > 4 * means[-1, 0] > 0
        model = shrunk["model"]
        train = model.sample(8 * model.k, rng=0, routing="balanced")
        with pytest.raises(ValueError, match="expert 0 has 8 rows and 16 features"):
            mn.QDARouter(model.block_sizes).fit(train.features, train.expert)

    @pytest.mark.parametrize("wrong", ["degrees of freedom", "no inverse's bias", "priors' error thrice"])
    def test_a_wrong_law_is_caught(self, wrong, monkeypatch):
        law = theorem_1_samples.score_law

        def changed(best, counts, rng):
            if wrong == "degrees of freedom":
                return law(best, 2 * counts, rng)
            scores, by_noise, by_priors = law(best, counts, rng)
            if wrong == "priors' error thrice":
                return scores, by_noise, 3 * by_priors
            return scores + best.whitened * best.model.block_sizes / counts / 2, by_noise, by_priors

        monkeypatch.setattr(theorem_1_samples, "score_law", changed)
        by_priors = wrong == "priors' error thrice"
        assert ("excess error added, priors estimated" if by_priors else "excess routing error") in failing(SAMPLES)

    def test_law_is_that_of_fitted_scores_at_a_row(self, monkeypatch):
        """The difference of two experts' scores at a fixed row, with 8 and 12 rows, fitted 1,500 times."""
        monkeypatch.setattr(theorem_1_samples, "POOL", 20_000)
        model = theorem_1_samples.equal_model(2, 3, 2.0)
        row = np.array([[0.5, -1.0, 2.0, 1.0, 0.2, -0.7]])
        best, counts = theorem_1_samples.BestRouter(model, np.repeat(row, 20_000, axis=0)), np.array([8, 12])
        scores, _, _ = theorem_1_samples.score_law(best, counts, np.random.default_rng(0))
        router = mn.QDARouter(model.block_sizes, noise_variance=1.0, priors=model.probabilities)
        fitted = []
        for replicate in range(1500):
            rows = model.sample(24, rng=1, replicate=replicate, routing="balanced")
            kept = np.concatenate([np.flatnonzero(rows.expert == i)[:count] for i, count in enumerate(counts)])
            fitted.append(router.fit(rows.features[kept], rows.expert[kept]).decision_function(row)[0])
        assert scipy.stats.ks_2samp(scores[:, 1] - scores[:, 0], fitted).pvalue > 1e-4
        assert scipy.stats.ks_2samp(scores[:, 1] - scores[:, 0], np.array(fitted) + 0.3).pvalue < 1e-4

    def test_scores_are_the_routers(self):
        model = theorem_1_samples.equal_model(3, 4, 2.0, loads=[0.2, 0.3, 0.5])
        X = model.sample(50, rng=0).features
        best = theorem_1_samples.BestRouter(model, X)
        router = mn.QDARouter.from_model(model)
        np.testing.assert_allclose(best.scores, router.decision_function(X), rtol=1e-10)
        assert best.excess_error(router.predict(X)) == 0.0
        assert best.excess_error(best.probabilities.argmin(axis=1)) > 0.5

    def test_figures_are_labelled(self):
        figures = theorem_1_samples.CLAIM.figures(quick(SAMPLES)[1])
        assert len(figures) == 2
        for figure in figures.values():
            for ax in figure.axes:
                assert ax.get_yscale() == "log" and ax.get_xlabel() and ax.get_title()
            assert figure.axes[0].get_ylabel() and figure.legends[0].get_texts()


class TestDescent:
    def by_part(self, quantity):
        """The records of the design of different blocks, by the part that they are about."""
        return {record.setting.split(", ")[3]: record for record in of(DESCENT, quantity)
                if record.quantity == quantity and record.setting.startswith("n=400")}

    def test_experts_alike_need_more_steps_where_columns_are_many(self):
        for name in ("steps to a residual of 0.001", "late contraction by a step"):
            quantity = f"{name}: dense's less the slowest expert's, at least 0"
            different, alike = [record for record in of(DESCENT, quantity) if record.quantity == quantity]
            assert (different.printed_verdict, alike.printed_verdict) == ("holds", "fails")
            assert alike.measured < 0 < different.measured

    def test_experts_take_fewer_operations(self):
        different, alike = of(DESCENT, "operations to a residual")
        assert different.measured < 0.1 and 0.2 < alike.measured < 0.5

    def test_printed_rate_is_no_bound(self):
        record = self.by_part("steps to a residual of 0.001, at most log(residual) / log(rho)")["block 3.5 to 4"]
        assert record.printed_verdict == "fails" and record.corrected_verdict == "holds"

    def test_printed_rates_miss_the_late_contraction(self):
        late = self.by_part("1 - late contraction by a step")
        assert len(late) == 5
        missed = {part for part, record in late.items() if record.printed_verdict == "fails"}
        assert missed >= set(late) - {"block 5 to 9"}  # the nearest to the truth

    @pytest.mark.parametrize("wrong", ["no surplus", "twice the noise"])
    def test_a_wrong_equivalent_is_caught(self, wrong, monkeypatch):
        right = theory.descent_residuals

        def changed(singular_values, *, rows, columns, entry_variance, steps):
            if wrong == "no surplus":
                return right(singular_values, rows=rows, columns=rows, entry_variance=entry_variance, steps=steps)
            return right(singular_values, rows=rows, columns=columns, entry_variance=2 * entry_variance, steps=steps)

        monkeypatch.setattr(theory, "descent_residuals", changed)
        assert "steps to a residual of 0.001" in failing(DESCENT)

    def test_timings_are_apart_from_the_records(self):
        records, data = quick(DESCENT)
        assert len(data["timings"]) == 2 * 6
        for timing in data["timings"]:
            assert set(timing) == {"quantity", "setting", "seconds"} and timing["seconds"] > 0
        assert not any("second" in record.quantity for record in records)
        whole, *experts, together = [timing["seconds"] for timing in data["timings"][:6]]
        assert together == pytest.approx(sum(experts))

    def test_steps_to_a_residual_between_two_steps(self):
        residuals = 0.5 ** np.arange(10)
        assert theorem_5_descent.steps_to(residuals, 0.5**3.25) == pytest.approx(3.25)
        assert theorem_5_descent.steps_to(residuals, 0.5**4) == pytest.approx(4)

    def test_figure_is_labelled(self):
        (figure,) = theorem_5_descent.CLAIM.figures(quick(DESCENT)[1]).values()
        for ax in figure.axes:
            assert ax.get_yscale() == "log" and ax.get_xlabel() and ax.get_title()
        assert figure.axes[0].get_ylabel() and len(figure.legends[0].get_texts()) == 8
