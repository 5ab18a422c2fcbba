"""The claim on a router's own errors and on random ones: what it finds, and that faults are caught."""

import functools

import numpy as np
import pytest

import moenoise as mn
from moenoise import theory
from moenoise.claims import theorem_4_general
from moenoise.claims.base import Run

CLAIM = theorem_4_general.CLAIM
PREDICTORS = ("Bayes", "fitted")


def measured(jobs=2, seed=0, **settings):
    """The records and the data of the claim at its small size, measured anew."""
    with Run(seed, jobs) as run:
        run.begin(CLAIM.name)
        return CLAIM.measure(run, **{**CLAIM.presets["quick"], **settings})


quick = functools.cache(measured)


def of(start, setting=""):
    """The records whose quantity starts so, and whose setting holds that; there are some."""
    found = [record for record in quick()[0] if record.quantity.startswith(start) and setting in record.setting]
    assert found
    return found


def failing():
    """First words of the quantities of corrected forms that fail in a new run, of one of the models."""
    records, _ = measured(cases=("moderate signals",))
    return {record.quantity.split(";")[0] for record in records if record.corrected_verdict == "fails"}


def test_corrected_forms_hold_and_records_are_distinct():
    records, _ = quick()
    assert [record for record in records if record.corrected_verdict == "fails"] == []
    assert len({(record.quantity, record.setting) for record in records}) == len(records)


def test_records_depend_on_the_seed_and_not_on_the_number_of_jobs():
    assert measured(jobs=1)[0] == quick()[0]
    assert measured(seed=1)[0] != quick()[0]


@pytest.mark.parametrize("noise, sign", [(1, 1), (4, -1)])
def test_independent_errors_are_off_with_either_sign(noise, sign):
    for record in of("risk by independent errors", f"test noise {noise}"):
        assert sign * record.measured > 10 * record.standard_error


def test_dense_overtakes_far_below_the_crossover_of_correct_routing():
    for record in of("test noise above which dense wins"):
        assert 5 * record.measured < float(record.setting.split("correct routing ")[1].split(",")[0])
    for record in of("dense - routed experts' risk", "test noise 4"):
        assert record.measured < -10 * record.standard_error


def test_a_fifth_misrouted_at_random_is_not_enough_for_dense():
    assert all(record.measured > 0 for record in of("dense - misrouted experts' risk"))
    for record in of("share misrouted at random"):
        assert 0.3 < record.measured < 0.5


WRONG = {
    "independent errors": ("routed_risk", lambda right: lambda model, believed=None: right(model, believed=believed)
                           ._replace(risk=theory.misrouted_risk(model, right(model, believed=believed).confusion))),
    "belief": ("routed_risk", lambda right: lambda model, believed=None: right(model)),
    "confusion": ("routed_risk", lambda right: lambda model, believed=None: right(model, believed=believed)
                  ._replace(confusion=np.eye(model.k))),
    "crossover": ("misrouting_crossover", lambda right: lambda model: 1.2 * right(model)),
}
CAUGHT_AS = {
    "independent errors": "routed experts' risk",
    "belief": "routed experts' risk",
    "confusion": "share of wrong routes",
    "crossover": "share misrouted at random above which dense wins",
}


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_formula_is_caught(wrong, monkeypatch):
    name, change = WRONG[wrong]
    monkeypatch.setattr(theory, name, change(getattr(theory, name)))
    assert CAUGHT_AS[wrong] in failing()


@pytest.mark.parametrize("term", ["target", "answer"])
def test_a_misrouted_risk_without_a_term_is_caught(term, monkeypatch):
    right = theorem_4_general.route_risks

    def changed(model, experts):
        risks = right(model, experts)
        noise = model.noise_variance * np.array([w @ w for w in experts])
        without = risks - (model.signal_variances[:, None] if term == "target" else noise)
        return np.where(np.eye(model.k), risks, without)

    monkeypatch.setattr(theorem_4_general, "route_risks", changed)
    assert {"misrouted experts' risk", "dense - misrouted experts' risk"} <= failing()


def test_independent_risk_of_bayes_optimal_experts_is_the_theorys():
    for case in quick()[1]["cases"]:
        model, experts = case.model, theory.bayes_sparse(case.model)
        for confusion in (np.eye(model.k), theory.routed_risk(model).confusion):
            assert theorem_4_general.independent_risk(model, experts, confusion) == pytest.approx(
                theory.misrouted_risk(model, confusion), rel=1e-12)
        assert theorem_4_general.injected_crossover(case, case.predictors[0]) == pytest.approx(
            theory.misrouting_crossover(model), rel=1e-12)


@pytest.mark.parametrize("index, clipped", [(0, False), (1, True)])
def test_fitted_predictor_is_that_of_the_estimators(index, clipped):
    """Exactly where no eigenvalue of a fitted Sigma_i is zero to chance."""
    case = quick()[1]["cases"][index]
    with Run(0) as run:
        run.begin(CLAIM.name)
        seed = run.rng(10 * theorem_4_general.NAMES.index(case.name))
        train = case.model.sample(CLAIM.presets["quick"]["training_rows"] * case.model.d, rng=seed)
    router = mn.QDARouter(case.model.block_sizes).fit(train.features, train.expert)
    experts = mn.ExpertsRegressor(case.model.block_sizes).fit(train.features, train.response, expert=train.expert)
    dense = mn.DenseRegressor().fit(train.features, train.response)
    fitted = case.predictors[1]
    X = case.model.sample(2000, rng=1).features
    same = np.mean(mn.QDARouter.from_model(fitted.believed).predict(X) == router.predict(X))
    assert same > 0.97 if clipped else same == 1
    np.testing.assert_allclose(np.concatenate(fitted.dense), dense.coef_)
    difference = np.concatenate(fitted.experts) - np.concatenate(experts.coef_)
    assert np.abs(difference).max() < (0.1 if clipped else 1e-8)


def test_ratios_and_their_standard_errors():
    rng = np.random.default_rng(0)
    draws = rng.normal([2.0, 4.0], [0.2, 0.3], (4000, 50, 2))
    values, errors = theorem_4_general.ratios(draws.swapaxes(0, 1))
    assert values.shape == errors.shape == (4000,)
    assert np.std(values) == pytest.approx(errors.mean(), rel=0.05)
    assert values.mean() == pytest.approx(0.5, abs=0.002)


def test_figures_are_labelled():
    figures = CLAIM.figures(quick()[1])
    confusion, noise, injected = figures.values()
    assert all(caption.endswith(".") for caption in figures)
    assert [len(figure.axes) for figure in figures.values()] == [2, 2, 2]
    for figure in figures.values():
        assert figure.axes[0].get_ylabel() and all(ax.get_xlabel() and ax.get_title(loc="left") for ax in figure.axes)
    assert len(noise.legends[0].get_texts()) == 7 and len(injected.legends[0].get_texts()) == 4
    assert noise.axes[0].get_xscale() == "log"
