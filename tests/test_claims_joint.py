"""The claim joint-training: what it finds, that wrong pieces are caught, and that it can do without PyTorch."""

import dataclasses
import sys

import numpy as np
import pytest
import scipy.special
from test_claims import quick

from moenoise import BayesPredictor, claims
from moenoise.claims import joint_descent, joint_figures, joint_measures, joint_training
from moenoise.claims.base import Run
from moenoise.claims.joint_descent import Case
from moenoise.claims.joint_training import CASES, CLAIM, NAME

QUICK = CLAIM.presets["quick"]


@pytest.fixture
def torch():
    return pytest.importorskip("torch", reason="PyTorch, which trains here, is an optional extra")


def measured(**changes):
    """Records and data at the small size, measured anew with changed settings."""
    with Run(0, 2) as run:
        run.begin(NAME)
        return CLAIM.measure(run, **{**QUICK, **changes})


def failing(form, records):
    """Quantities whose given form fails."""
    return {record.quantity for record in records if getattr(record, f"{form}_verdict") == "fails"}


def of_case(records, name):
    """{quantity: record} of a case."""
    return {record.quantity: record for record in records if record.setting.split(", margin")[0] == CASES[name].setting}


def draw(case, replicate=0, test_rows=200):
    with Run(0) as run:
        run.begin(NAME)
        return joint_descent.draw(run, case.k, case.snr, case.rows, replicate, test_rows)


# ---- without PyTorch -------------------------------------------------------------------------------------------------


def test_without_torch_a_record_says_so(monkeypatch):
    monkeypatch.setitem(sys.modules, "torch", None)
    (record,), data = measured()
    assert (record.measured, record.printed_verdict, record.corrected_verdict) == (0, "none", "none")
    assert "pip install torch" in record.setting
    assert CLAIM.figures(data) == {}


def test_cases_are_told_apart_and_presets_have_the_same_settings():
    assert len({case.setting for case in CASES.values()}) == len(CASES)
    assert set(QUICK) == set(CLAIM.presets["paper"]) and set(QUICK["cases"]) < set(CLAIM.presets["paper"]["cases"])
    drawn = {name for _, lines in joint_figures.PANELS for name, *_ in lines} | set(joint_figures.SHOWN)
    assert drawn < set(CLAIM.presets["paper"]["cases"])
    assert claims.get(NAME) is CLAIM


def test_moments_are_those_of_the_draws():
    case = Case(k=3, snr=5.0)
    _, _, test, _ = draw(case, test_rows=200_000)
    variance, deviation = joint_descent.moments(3, 5.0)
    assert (test.features**2).mean() == pytest.approx(variance, rel=0.01)
    assert (test.features**2).std() == pytest.approx(deviation, rel=0.01)


@pytest.mark.parametrize("case", [Case(), Case(k=2, snr=0.5)])
def test_best_experts_behind_the_best_gate_are_the_best_predictor(case):
    model, _, test, _ = draw(case)
    gate = joint_descent.gate_inputs(case, test.features) @ joint_descent.best_gate(case).T
    features = test.features / np.sqrt(joint_descent.moments(case.k, case.snr)[0])
    own = features @ joint_descent.best_experts(case, model).T * np.sqrt(joint_descent.response_variance(model))
    answers = (scipy.special.softmax(gate, axis=1) * own).sum(axis=1)
    assert answers == pytest.approx(BayesPredictor(model).predict(test.features), rel=1e-9)


@pytest.mark.parametrize("time", [3.0, 40.0])
def test_steps_until_settled_of_an_exponential(time):
    looks = np.array(joint_training.look_steps(1_000))
    curves = 0.2 + np.array([[1.0], [7.0]]) * np.exp(-looks / time)
    assert joint_measures.settled_after(curves, looks) == pytest.approx(time * np.log(10), rel=0.03)


def test_a_part_that_never_comes_nearer_has_not_aligned():
    ones, falling = np.ones((2, 5)), np.linspace([1, 1], [0.1, 0.6], 5).T
    trained = joint_descent.Trained(falling, ones, *5 * [ones])
    assert not joint_measures.aligned(trained).any() and joint_measures.settling(trained, np.arange(5)) == {}
    both = dataclasses.replace(trained, router=falling)
    assert joint_measures.aligned(both).tolist() == [True, False]


# ---- training --------------------------------------------------------------------------------------------------------


def test_one_step_is_that_of_the_gradient(torch):
    case, rng = Case(k=2, experts_step=0.7, router_step=0.3), np.random.default_rng(0)
    X, Z, y = (rng.standard_normal(shape) for shape in ((8, 50), (8, 50), 50))
    experts, gate = rng.standard_normal((2, 8)) * joint_descent.own_features(2), rng.standard_normal((2, 8))
    data = [torch.tensor(array[None]) for array in (X, Z, y)]
    path = joint_descent.descend(torch, case, data, torch.tensor(experts[None]), torch.tensor(gate[None]), [0, 1])
    (first_experts, _), (last_experts, last_gate) = path
    assert (first_experts.numpy()[0] == experts).all()
    q, own = scipy.special.softmax(gate @ Z, axis=0), experts @ X
    answer = (q * own).sum(axis=0)
    by_experts = 2 / 50 * (q * (answer - y)) @ X.T * joint_descent.own_features(2)
    by_gate = 2 / 50 * (q * (own - answer) * (answer - y)) @ Z.T
    assert last_experts.numpy()[0] == pytest.approx(experts - 0.5 * 0.7 * by_experts)
    assert last_gate.numpy()[0] == pytest.approx(gate - 0.5 * 0.3 * by_gate)


def test_replicates_do_not_depend_on_their_batch(torch, monkeypatch):
    _, together = measured(cases=("base case",), replicates=4, steps=30)
    monkeypatch.setattr(joint_training, "BATCH", 3)
    _, apart = measured(cases=("base case",), replicates=4, steps=30)
    one, other = (data["trained"]["base case"] for data in (together, apart))
    assert one.experts == pytest.approx(other.experts, rel=1e-3)
    assert one.risk == pytest.approx(other.risk, rel=1e-3)
    assert np.ptp(one.risk[:, -1]) > 0.01  # replicates differ


def test_records_do_not_depend_on_the_number_of_jobs(torch):
    assert quick(NAME, jobs=1)[0] == quick(NAME)[0]


def test_torch_has_one_thread_in_the_workers_and_its_own_number_after(torch, monkeypatch):
    seen, before = [], torch.get_num_threads()

    def breaking(torch, *_):
        seen.append(torch.get_num_threads())
        raise RuntimeError("broken")

    monkeypatch.setattr(joint_training, "train", breaking)
    torch.set_num_threads(before + 1)
    try:
        with pytest.raises(RuntimeError, match="broken"):
            measured()
        assert set(seen) == {1} and torch.get_num_threads() == before + 1
    finally:
        torch.set_num_threads(before)


def test_experts_that_see_all_features_are_matched(torch):
    case = Case(sees="all")
    model, *_ = draw(case)
    best = torch.tensor(joint_descent.best_experts(case, model)[None])
    order = [2, 0, 3, 1]
    match = joint_descent.matching(case, best[:, order], best, torch.ones(4, 16, dtype=best.dtype))
    assert (best[:, order].take_along_dim(match[:, :, None], 1) == best).all()


# ---- what it finds ---------------------------------------------------------------------------------------------------


def test_nothing_exact_fails(torch):
    records, _ = quick(NAME)
    assert failing("corrected", records) == set()
    assert len({(record.quantity, record.setting) for record in records}) == len(records)


def test_experts_settle_before_the_probabilities_in_the_base_case(torch):
    base = of_case(quick(NAME)[0], "base case")
    lag = base["log of steps until settled, router's probabilities / experts, at least 0"]
    assert lag.printed_verdict == "holds" and lag.measured > 10 * lag.standard_error
    assert base["router's distance from the best, end / start, at most 0.5"].measured < 0.2
    assert base["log of risk, trained together / dense, at most 0"].measured < -0.5


def test_router_needs_experts_that_learn_and_experts_a_router_that_does(torch):
    _, data = quick(NAME)
    router = data["trained"]["experts fixed: random"].router
    experts = data["trained"]["router fixed: uniform"].experts
    assert (router[:, -1] / router[:, 0]).mean() > 1.05
    assert (experts[:, -1] / experts[:, 0]).mean() > 1.05


def test_equal_experts_stay_equal_and_are_the_dense_fit(torch):
    record = of_case(quick(NAME)[0], "all features, equal start")["risk / least squares', dense"]
    assert record.measured == pytest.approx(1, abs=1e-5)


def test_where_the_remark_fails(torch):
    records, data = quick(NAME)
    linear = of_case(records, "linear gate, all features, 2 experts")
    assert linear["router's distance from the best, end / start, at most 0.5"].printed_verdict == "fails"
    few = data["trained"]["150 rows"]
    assert few.risk[:, -1].mean() > 1.05 * few.risk[:, joint_measures.best_look(few)].mean()
    weak, _ = measured(cases=("signal-to-noise 0.25",))
    assert "log of risk, trained together / dense, at most 0" in failing("printed", weak)


# ---- wrong pieces ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("wrong", ["posterior", "experts"])
def test_a_wrong_best_predictor_is_caught(wrong, torch, monkeypatch):
    if wrong == "posterior":
        right = joint_descent.BestRouter
        monkeypatch.setattr(joint_descent, "BestRouter",
                            lambda model, X: right(dataclasses.replace(model, noise_variance=2.0), X))
    else:
        right = joint_descent.best_experts
        monkeypatch.setattr(joint_descent, "best_experts", lambda case, model: 1.25 * right(case, model))
    records, _ = measured(cases=("base case",))
    assert any(quantity.startswith("excess risk") for quantity in failing("corrected", records))


def test_a_descent_that_is_not_at_the_least_squares_is_caught(torch, monkeypatch):
    monkeypatch.setattr(joint_descent, "STEP_PER_EXPERT", joint_descent.STEP_PER_EXPERT / 10)
    records, _ = measured(cases=("router fixed: uniform",))
    assert failing("corrected", records) == {"risk / least squares', dense"}


def test_experts_that_part_from_an_equal_start_are_caught(torch, monkeypatch):
    right = joint_descent.first_experts

    def unequal(case, model, seed):
        return right(dataclasses.replace(case, start="random"), model, seed)

    monkeypatch.setattr(joint_descent, "first_experts", unequal)
    records, _ = measured(cases=("all features, equal start",))
    assert "risk / least squares', dense" in failing("corrected", records)


def test_a_gate_that_is_not_linear_is_caught(torch, monkeypatch):
    right = joint_descent.gate_inputs
    monkeypatch.setattr(joint_descent, "gate_inputs",
                        lambda case, X: right(dataclasses.replace(case, gate="quadratic"), X))
    records, _ = measured(cases=("linear gate, all features, 2 experts",))
    assert failing("corrected", records) == {"risk / dense's by Theorem 2, at least 1"}


def test_a_reversed_order_is_caught(torch):
    _, data = quick(NAME)
    trained = data["trained"]["base case"]
    swapped = dataclasses.replace(trained, experts=trained.router, router=trained.experts)
    records = joint_training.order_records(CASES["base case"], swapped, data["looks"])
    assert failing("printed", records) == {"log of steps until settled, router's probabilities / experts, at least 0"}
