"""The claims about finite samples: rates and Table 1, bias and variance, their bound, the scalar case."""

import functools

import numpy as np
import pytest
import scipy.optimize

from moenoise import theory
from moenoise.claims import case_study_a63, figure_2, section_a61, section_a62
from moenoise.claims.base import Run

MODULES = {module.NAME: module for module in (figure_2, section_a61, section_a62, case_study_a63)}


def measured(name, jobs=2):
    """The records and the data of a claim at its small size, measured anew."""
    claim = MODULES[name].CLAIM
    with Run(0, jobs) as run:
        run.begin(name)
        return claim.measure(run, **claim.presets["quick"])


quick = functools.cache(measured)


def failing(name, form, records=None):
    """The quantities that fail in that form."""
    records = quick(name)[0] if records is None else records
    return {record.quantity for record in records if getattr(record, f"{form}_verdict") == "fails"}


@pytest.mark.parametrize(
    "name, expected",
    [
        ("figure-2", {"dense excess risk: power of 1/n", "experts' excess risk: power of 1/n",
                      "dense fit of a/n^2: chi2 / degrees of freedom, at most chance",
                      "experts' fit of a/n^2: chi2 / degrees of freedom, at most chance",
                      "experts' excess risk, Table 1's fit"}),
        ("section-a61", {"dense coefficients' error, identity as printed: relative error, at most",
                         "expert's coefficients' error, identity as printed: relative error, at most"}),
        ("section-a62", {"variance term", "variance term with beta beta' = I",
                         "variance term, at most c_3 sigma^2 n_i"}),
        ("case-study-a63", {"bias term", "variance term", "sigma^2 times the coefficient's variance", "excess risk"}),
    ],
)
def test_what_fails_as_printed(name, expected):
    assert failing(name, "printed") == expected


def wrong_pair(right):
    """A formula of several terms, the first half as large again."""
    return lambda *args, **options: (1.5 * right(*args, **options)[0], *right(*args, **options)[1:])


@pytest.mark.parametrize(
    "name, function, wrong, caught",
    [
        ("figure-2", "dense_excess", lambda right: lambda *args: 1.5 * right(*args), "dense excess risk"),
        ("figure-2", "experts_excess", lambda right: lambda *args: 1.5 * right(*args), "experts' excess risk"),
        ("section-a61", "expected_experts_terms", wrong_pair, "experts' bias term"),
        ("section-a62", "exact_terms", wrong_pair, "variance term"),
        ("case-study-a63", "stated_terms",
         lambda right: lambda *args: right(*args)._replace(excess=1.1 * right(*args).excess), "excess risk"),
    ],
)
def test_a_wrong_formula_is_caught(name, function, wrong, caught, monkeypatch):
    monkeypatch.setattr(MODULES[name], function, wrong(getattr(MODULES[name], function)))
    records, _ = measured(name)
    assert caught in failing(name, "corrected", records)


class TestFits:
    sizes = np.array([100, 150, 200, 400, 800])
    errors = np.array([0.3, 0.2, 0.1, 0.05, 0.02])

    @pytest.mark.parametrize("powers", [(1,), (2,), (1, 2)])
    def test_as_scipy_s(self, powers):
        means = 50 / (self.sizes - 60) + self.errors * np.array([1.0, -0.5, 0.2, 2.0, -1.0])

        def form(n, *coef):
            return sum(c / n**power for c, power in zip(coef, powers))

        coef, covariance = scipy.optimize.curve_fit(form, self.sizes.astype(float), means, p0=np.ones(len(powers)),
                                                    sigma=self.errors, absolute_sigma=True)
        fitted = figure_2.weighted_fit(powers, self.sizes, means, self.errors)
        np.testing.assert_allclose(fitted.coef, coef, rtol=1e-5)
        np.testing.assert_allclose(fitted.standard_errors, np.sqrt(np.diag(covariance)), rtol=1e-5)
        residuals = (means - form(self.sizes, *fitted.coef)) / self.errors
        assert fitted.chi_square == pytest.approx(residuals @ residuals)
        assert fitted.degrees_of_freedom == 5 - len(powers)

    def test_chi_square_is_its_degrees_of_freedom_on_average(self):
        noise = np.random.default_rng(0).standard_normal((2000, 5))
        truth = 3 / self.sizes + 400 / self.sizes**2
        values = [figure_2.weighted_fit((1, 2), self.sizes, truth + self.errors * row, self.errors).chi_square
                  for row in noise]
        assert np.mean(values) == pytest.approx(3, abs=5 * np.sqrt(6 / 2000))

    def test_ratio_s_standard_error(self):
        rng = np.random.default_rng(1)
        draws = [figure_2.log2_ratio(rng.normal(8, 1, 50), rng.normal(2, 0.3, 50)) for _ in range(2000)]
        assert np.mean([draw.mean for draw in draws]) == pytest.approx(2, abs=0.01)
        stated = np.mean([draw.standard_error for draw in draws])
        assert np.std([draw.mean for draw in draws]) == pytest.approx(stated, rel=0.08)


def test_what_the_dense_equivalent_lacks_at_first_order():
    model, n = figure_2.unit_model(20, 0), 10**6
    equivalent = n * (theory.dense_risk(model, n) - theory.generalization(model).dense)
    slope = theory.dense_excess_slope(model)
    between = slope - theory.dense_excess_slope(model, routing="balanced")
    assert equivalent + 2 * between == pytest.approx(slope, rel=1e-3)
    assert between > 0.05 * slope


def test_table_1_is_negative_where_it_is_tested():
    n = 100 * figure_2.NEGATIVE
    assert all(a / n + b / n**2 < 0 for _, (a, b) in figure_2.TABLE_1)
    assert all(-b / a < n / 2 for _, (a, b) in figure_2.TABLE_1)


def test_experts_fall_with_power_2_at_twice_their_pole():
    curve = quick("figure-2")[1]["curves"][1]
    n = np.array([300, 600])
    first, second = curve.excess(n)
    assert np.log2(first / second) == pytest.approx(2)  # 1 / (n - 200) at 300 and 600
    assert curve.slope == pytest.approx(float(first) * 100)


def test_identity_of_a61_needs_more_rows_than_features():
    records = [record for record in quick("section-a61")[0] if "identity as printed" in record.quantity]
    verdicts = {(int(record.setting.split("n=")[1]) > 40, record.printed_verdict)
                for record in records if not record.setting.endswith("n=40")}
    assert verdicts == {(True, "holds"), (False, "fails")}


@pytest.mark.parametrize("n", [5, 8, 20])
def test_chain_of_a62_ends_in_a_rank(n):
    model = section_a62.unit_expert(8, 0)
    noisy, *_ = section_a61.draw(model, n, 1, 0)
    total = 3.0  # the eigenvalues of Sigma + sigma^2 I
    columns = (noisy / np.sqrt(total)).T
    inverse = np.linalg.pinv(noisy @ noisy.T, hermitian=True, rcond=1e-10)
    assert sum(total * z @ inverse @ z for z in columns) == pytest.approx(section_a62.rank_expression(model, n))


def test_scalar_case_at_50_rows():
    model = case_study_a63.scalar_model(8.0, 1.0, 1.0)
    exact, printed = (case_study_a63.stated_terms(model, 50, form) for form in ("corrected", "printed"))
    assert exact == pytest.approx((0.11523, 0.79218, 0.0020576, 0.018519), rel=1e-4)
    assert printed == pytest.approx((8 / 9, 8 / 81 / 50, 8 / 81 / 50, 8 / 81 / 50))
    assert exact.bias + exact.variance == pytest.approx(8 / 9 + exact.excess)
    assert exact.excess == pytest.approx(9 * exact.scatter)
