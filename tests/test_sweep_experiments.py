"""The built-in experiments: beside theory, beside themselves in plain NumPy, and with values that are refused."""

import hashlib
import math
import pickle
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from monte_carlo import agrees, draw, minimum_norm_fit

from moenoise import designs, theory
from moenoise.claims.base import FALSE_ALARM_RATE, Estimate, verdict
from moenoise.designs import spectral_design, standard_normal
from moenoise.sweeps.experiments import EXPERIMENTS, REQUIRED, check_axes, model_of
from moenoise.sweeps.experiments.fits import balanced_counts
from moenoise.sweeps.grid import cell_text, generator

# A cell each that takes milliseconds, with no parameter at its default but those that would hide others.
CELLS = {
    "risk": {"n": 60, "d": 12, "k": 3, "noise_variance": 0.7, "signal_variance": 1.5, "decay": 0.4, "model_seed": 3,
             "routing": "random", "penalty": 0.2, "test_noise_variance": 1.2},
    "routing": {"n": 80, "d": 12, "k": 3, "noise_variance": 0.7, "signal_variance": 1.5, "decay": 0.4, "model_seed": 3,
                "routing": "random", "test_rows": 500},
    "misrouting": {"n": 60, "d": 12, "k": 3, "noise_variance": 0.7, "signal_variance": 1.5, "decay": 0.4,
                   "model_seed": 3, "routing": "random", "penalty": 0.2, "test_noise_variance": 1.2,
                   "wrong_routes": 0.3},
    "descent": {"n": 12, "d": 30, "k": 3, "noise_variance": 0.7, "smallest_singular_value": 2.0,
                "largest_singular_value": 3.0, "block_contrast": 1.5, "tolerance": 0.01},
    "overlap": {"n": 200, "d": 12, "k": 3, "noise_variance": 0.7, "alpha": 0.5, "reading": "signal", "model_seed": 3,
                "test_rows": 500},
}
NAMES = list(CELLS)


def measure(name, cell, replicate=0, seed=0):
    return EXPERIMENTS[name].function(cell, generator(seed, cell_text(cell), replicate))


# ---- what all have in common -----------------------------------------------------------------------------------------


def test_registry():
    assert list(EXPERIMENTS) == NAMES
    for name, experiment in EXPERIMENTS.items():
        assert experiment.name == name and experiment.version >= 1 and experiment.summary.endswith(".")
        assert set(CELLS[name]) == set(experiment.parameters)


@pytest.mark.parametrize("name", NAMES)
def test_results_are_plain_finite_numbers_under_their_names(name):
    experiment, cell = EXPERIMENTS[name], dict(CELLS[name])
    results = measure(name, cell)
    assert list(results) == list(experiment.results)
    assert {type(value) for value in results.values()} <= {int, float}
    assert all(map(math.isfinite, results.values()))
    assert cell == CELLS[name]  # unchanged
    assert not set(results) & {*experiment.parameters, "replicate", "seconds"}
    for value in experiment.theory(cell).values():
        assert type(value) is float and math.isfinite(value)
    assert set(experiment.theory(cell)) <= set(results)


@pytest.mark.parametrize("name", NAMES)
def test_experiments_can_be_sent_to_another_process(name):
    experiment = EXPERIMENTS[name]
    assert pickle.loads(pickle.dumps(experiment.function)) is experiment.function
    restored = pickle.loads(pickle.dumps(experiment))
    assert restored.function is experiment.function and restored.theory is experiment.theory
    assert [parameter.required for parameter in restored.parameters.values()] == [
        parameter.default is REQUIRED for parameter in experiment.parameters.values()]


@pytest.mark.parametrize("name", NAMES)
def test_docstrings_name_every_parameter_and_result(name):
    text = EXPERIMENTS[name].function.__doc__
    for parameter in EXPERIMENTS[name].parameters:
        assert parameter in text, parameter
    if name != "risk":  # whose results are those of misrouting, too
        assert all(f'"{result}"' in text for result in EXPERIMENTS[name].results)


@pytest.mark.parametrize("name", NAMES)
def test_bits_depend_on_cell_and_generator_only(name):
    cell = CELLS[name]
    first = [measure(name, cell, replicate) for replicate in range(4)]
    with ThreadPoolExecutor(4) as pool:
        assert list(pool.map(lambda replicate: measure(name, cell, replicate), range(4))) == first
    assert len({tuple(results.values()) for results in first}) == 4
    assert measure(name, dict(reversed(cell.items()))) == first[0]


@pytest.mark.parametrize("name", NAMES)
def test_defaults_are_what_is_taken_where_the_cell_does_not_say(name):
    parameters = EXPERIMENTS[name].parameters
    short = {name: value for name, value in CELLS[name].items() if parameters[name].required}
    full = {key: short.get(key, parameter.default) for key, parameter in parameters.items()}
    assert EXPERIMENTS[name].function(short, np.random.default_rng(1)) == EXPERIMENTS[name].function(
        full, np.random.default_rng(1))
    assert EXPERIMENTS[name].theory(short) == EXPERIMENTS[name].theory(full)


@pytest.mark.parametrize(("name", "parameter"), [(name, p) for name in NAMES for p in CELLS[name]])
def test_every_parameter_has_a_say(name, parameter):
    other = {"n": 96, "d": 24, "k": 2, "decay": 0.1, "routing": "balanced", "reading": "elsewhere",
             "largest_singular_value": 4.0, "model_seed": 4, "test_rows": 400, "wrong_routes": 0.6}
    value = CELLS[name][parameter]
    changed = CELLS[name] | {parameter: other[parameter] if parameter in other else 1.25 * value}
    assert EXPERIMENTS[name].function(changed, np.random.default_rng(1)) != EXPERIMENTS[name].function(
        CELLS[name], np.random.default_rng(1))


def test_import_is_light():
    code = ("import sys; from moenoise.sweeps.experiments import EXPERIMENTS; "
            "assert not {'sklearn', 'matplotlib', 'scipy.stats', 'pandas'} & set(sys.modules)")
    subprocess.run([sys.executable, "-c", code], check=True)


# ---- values that are refused -----------------------------------------------------------------------------------------

COMMON = [
    ({"d": 13}, ValueError, "k must divide d, got d=13, k=3"),
    ({"d": 0}, ValueError, "d must be"), ({"d": 12.0}, TypeError, "d must be"), ({"k": True}, TypeError, "k must be"),
    ({"k": 0}, ValueError, "k must be"), ({"n": 0}, ValueError, "n must be"), ({"n": "9"}, TypeError, "n must be"),
    ({"n": 2**40}, ValueError, "n must be"), ({"noise_variance": -1.0}, ValueError, "noise_variance must be"),
    ({"noise_variance": math.inf}, ValueError, "noise_variance must be"),
    ({"noise_variance": None}, TypeError, "noise_variance must be"),
    ({"noise": 1.0}, ValueError, "got 'noise'; did you mean noise_variance?"), ({"": 1.0}, ValueError, "got ''"),
]
MODEL = [
    ({"signal_variance": 0.0}, ValueError, "signal_variance"), ({"decay": 1.1}, ValueError, "decay"),
    ({"signal_variance": 1e101}, ValueError, "signal_variance"),
    ({"decay": "0"}, TypeError, "decay"), ({"model_seed": -1}, ValueError, "model_seed"),
    ({"model_seed": 1.0}, TypeError, "model_seed"), ({"routing": "hard"}, ValueError, "routing"),
    ({"routing": None}, ValueError, "routing"),
]
FITS = [
    ({"signal_variance": 5e-324}, ValueError, "signal_variance must leave the response a variance"),
    ({"penalty": -1.0}, ValueError, "penalty"), ({"penalty": None}, TypeError, "penalty"),
    ({"penalty": "worst"}, ValueError, "penalty must be a number or 'best', got 'worst'"),
    ({"test_noise_variance": -1.0}, ValueError, "test_noise_variance"),
    ({"test_noise_variance": "same"}, TypeError, "test_noise_variance"),
]
TESTED = [({"test_rows": 0}, ValueError, "test_rows"), ({"test_rows": 10.0}, TypeError, "test_rows"),
          ({"noise_variance": 0.0}, ValueError, "noise_variance must be a finite number in"),
          ({"noise_variance": 1e-9}, ValueError, "noise_variance must be within 1e.08 times"),
          ({"n": 11}, ValueError, "n must give every expert at least d / k = 4 rows")]
REFUSED = {
    "risk": MODEL + FITS,
    "routing": MODEL + TESTED,
    "misrouting": MODEL + FITS + [({"wrong_routes": 1.1}, ValueError, "wrong_routes"),
                                  ({"wrong_routes": "some"}, TypeError, "wrong_routes"),
                                  ({"k": 1}, ValueError, "wrong_routes must be 0 where k is 1")],
    "descent": [({"n": 13}, ValueError, "k must divide n, got n=13, k=3"),
                ({"smallest_singular_value": 0.0}, ValueError, "smallest_singular_value"),
                ({"smallest_singular_value": 3.5}, ValueError, "smallest_singular_value must be at most"),
                ({"largest_singular_value": math.inf}, ValueError, "largest_singular_value"),
                ({"block_contrast": 0.0}, ValueError, "block_contrast"),
                ({"tolerance": 0.0}, ValueError, "tolerance"),
                ({"tolerance": 1.0}, ValueError, "tolerance"), ({"tolerance": "small"}, TypeError, "tolerance"),
                ({"noise_variance": 0.0, "block_contrast": 1e-4}, ValueError, "n must be farther from d")],
    "overlap": TESTED + [({"alpha": -0.1}, ValueError, "alpha"), ({"alpha": "1"}, TypeError, "alpha"),
                         ({"reading": "nowhere"}, ValueError, "reading"),
                         ({"model_seed": -1}, ValueError, "model_seed"), ({"decay": 0.5}, ValueError, "got 'decay'")],
}


@pytest.mark.parametrize(("name", "changes", "error", "message"),
                         [(name, *case) for name in NAMES for case in COMMON + REFUSED[name]])
def test_bad_values(name, changes, error, message):
    cell = CELLS[name] | changes
    with pytest.raises(error, match=message.replace("?", r"\?")):
        measure(name, cell)


@pytest.mark.parametrize("name", NAMES)
def test_a_cell_that_is_refused_has_no_theory(name):
    for changes, _, _ in COMMON:
        assert EXPERIMENTS[name].theory(CELLS[name] | changes) == {}


@pytest.mark.parametrize("name", NAMES)
def test_cell_and_generator_are_checked(name):
    function, cell = EXPERIMENTS[name].function, CELLS[name]
    for required in ("n", "d", "k"):
        with pytest.raises(ValueError, match=f"cell must include {required}, which has no default"):
            function({key: value for key, value in cell.items() if key != required}, np.random.default_rng(0))
    with pytest.raises(TypeError, match="cell must be a dict"):
        function([("n", 3)], np.random.default_rng(0))
    with pytest.raises(TypeError, match="rng must be a NumPy Generator, got 0"):
        function(cell, 0)


def test_axes_are_checked_by_name():
    risk = EXPERIMENTS["risk"]
    sizes = {"n": (1,), "d": (2,), "k": (1,)}
    check_axes(risk, sizes | {"decay": (0.0, 0.5)})
    check_axes(risk, dict(reversed(sizes.items())))
    with pytest.raises(TypeError, match="decay must be a real number, got 'x'"):
        check_axes(risk, sizes | {"decay": (0.0, "x")})
    with pytest.raises(ValueError, match="noise_variance must be"):
        check_axes(risk, sizes | {"noise_variance": (1.0, -1.0)})
    with pytest.raises(ValueError, match="experiment 'risk' must be parameters, .*; did you mean signal_variance"):
        check_axes(risk, sizes | {"signal_varience": (1,)})
    with pytest.raises(ValueError, match="must be parameters, n, d, k, .* got 'zzz'$"):
        check_axes(risk, {"zzz": (1,)})
    with pytest.raises(ValueError, match="must include n, k, which have no default"):
        check_axes(risk, {"d": (2,)})


# ---- against theory --------------------------------------------------------------------------------------------------

EXACT, LIMIT = 0.0, 0.01  # relative margins: of exact formulas, of those for large matrices

# Cells, numbers of replicates, and margins of the results that theory has to know there.
AGREEMENTS = {
    "risk": ("risk", {"d": 120, "k": 4, "n": 600}, 200, {"dense": LIMIT, "experts": EXACT, "lead": LIMIT}),
    "risk, correlated features, random routing": (
        "risk", {"d": 120, "k": 4, "n": 600, "decay": 0.5, "signal_variance": 3.0, "routing": "random"}, 150,
        {"dense": LIMIT}),
    "risk, fewer rows than features": ("risk", {"d": 120, "k": 4, "n": 60}, 800, {"dense": LIMIT, "experts": EXACT}),
    "risk, best penalty": ("risk", {"d": 120, "k": 4, "n": 150, "penalty": "best", "signal_variance": 4.0}, 150,
                           {"dense": LIMIT}),
    "risk, other test noise": (
        "risk", {"d": 24, "k": 4, "n": 100, "decay": 0.5, "noise_variance": 0.5, "test_noise_variance": 4.0}, 4000,
        {"experts": EXACT}),
    "misrouting": ("misrouting", {"d": 120, "k": 4, "n": 600, "wrong_routes": 0.2, "signal_variance": 3.0}, 500,
                   {"dense": LIMIT, "experts": EXACT, "lead": LIMIT}),
    "risk, other test noise, many features": (
        "risk", {"d": 120, "k": 4, "n": 400, "decay": 0.5, "test_noise_variance": 4.0}, 400,
        {"dense": LIMIT, "experts": EXACT}),
    "misrouting, other test noise": (
        "misrouting", {"d": 24, "k": 4, "n": 100, "decay": 0.5, "wrong_routes": 0.7, "noise_variance": 0.5,
                       "test_noise_variance": 4.0}, 2000, {"experts": EXACT}),
    "routing": ("routing", {"d": 40, "k": 4, "n": 800, "signal_variance": 2.0, "decay": 0.4, "test_rows": 4000}, 150,
                {"accuracy_known": EXACT, "dense": LIMIT, "hard_known": EXACT}),
    "descent": ("descent", {"n": 120, "d": 480, "k": 2, "smallest_singular_value": 4.0, "largest_singular_value": 4.0,
                            "block_contrast": 2.0}, 200,
                {"dense_steps": 0.015, "lead": 0.015, "dense_rate": 0.015}),
    "descent, a larger design": ("descent", {"n": 320, "d": 1280, "k": 2, "smallest_singular_value": 4.0,
                                             "largest_singular_value": 4.0, "block_contrast": 2.0}, 32,
                                 {"dense_rate": LIMIT, "experts_rate": 0.015}),
    "overlap": ("overlap", {"n": 800, "d": 60, "k": 4, "alpha": 0.5, "noise_variance": 0.5}, 150,
                {"dense": LIMIT, "experts": LIMIT}),
    "overlap, signal": ("overlap", {"n": 800, "d": 60, "k": 4, "alpha": 1.0, "reading": "signal",
                                    "noise_variance": 0.2}, 150, {"dense": LIMIT, "experts": LIMIT, "lead": LIMIT}),
}


@pytest.mark.parametrize("setting", AGREEMENTS)
def test_means_are_theorys_and_five_percent_off_is_caught(setting):
    """t-tests that call a right formula wrong with probability 1e-7 each; the claims' own rule."""
    assert FALSE_ALARM_RATE == pytest.approx(1e-7)
    name, cell, replicates, margins = AGREEMENTS[setting]
    results = [measure(name, cell, replicate) for replicate in range(replicates)]
    expected = EXPERIMENTS[name].theory(cell)
    for result, margin in margins.items():
        estimate = Estimate.of([each[result] for each in results])
        assert verdict(estimate, expected[result], margin=margin) == "holds", result
        for factor in (0.95, 1.05):
            assert verdict(estimate, factor * expected[result], margin=margin) == "fails", (result, factor)


@pytest.mark.parametrize(("name", "changes", "unknown"), [
    ("risk", {}, {"experts", "lead"}),  # random routing
    ("risk", {"routing": "balanced"}, set()),
    ("risk", {"routing": "balanced", "n": 12, "penalty": 0.0}, {"dense", "experts", "lead"}),  # n_i = d_i, n = d
    ("risk", {"noise_variance": 0.0, "routing": "balanced"}, {"experts", "lead"}),
    ("misrouting", {"routing": "balanced", "test_noise_variance": 0.0, "n": 15}, {"experts", "lead"}),
    ("misrouting", {"routing": "balanced", "test_noise_variance": None}, set()),
    ("descent", {"d": 12}, {"dense_steps", "experts_steps", "lead"}),
    ("descent", {"d": 6}, {"dense_steps", "experts_steps", "lead"}),
    ("descent", {}, set()),
    ("overlap", {}, {"dense", "experts", "lead", "learned", "soft", "router"}),  # experts of 4 features
    ("overlap", {"d": 24}, {"learned", "soft", "router"}),
    ("overlap", {"d": 24, "n": 100}, {"dense", "experts", "lead", "learned", "soft", "router"}),
])
def test_theory_leaves_out_what_it_does_not_know(name, changes, unknown):
    with np.errstate(all="raise"):
        assert set(EXPERIMENTS[name].results) - set(EXPERIMENTS[name].theory(CELLS[name] | changes)) == unknown


def test_without_noise_experts_learn_all():
    cell = {"n": 80, "d": 12, "k": 3, "noise_variance": 0.0, "decay": 0.5}
    results, expected = measure("risk", cell), EXPERIMENTS["risk"].theory(cell)
    assert max(map(abs, results.values())) < 1e-20 and max(expected.values()) == 0
    astray = cell | {"wrong_routes": 0.25}
    assert measure("misrouting", astray)["experts"] == pytest.approx(0.25, rel=1e-12)
    assert EXPERIMENTS["misrouting"].theory(astray)["experts"] == pytest.approx(0.25, rel=1e-12)


def test_rows_in_balance_are_those_of_the_design():
    for k in (1, 2, 3, 7, 12, 31, 100):
        model = model_of({"d": k, "k": k})
        sizes = [1, 2, k, k + 1, 3 * k - 1, 1000, 12_345]
        np.testing.assert_array_equal([balanced_counts(n, k) for n in sizes], designs.balanced_counts(model, sizes))


# ---- the model -------------------------------------------------------------------------------------------------------


def test_the_response_has_variance_one_whatever_the_cell():
    rng = np.random.default_rng(0)
    for _ in range(50):
        k, size = rng.integers(1, 6, 2).tolist()
        cell = {"d": k * size, "k": k, "noise_variance": 10 ** rng.uniform(-3, 3), "decay": rng.uniform(-1, 1),
                "signal_variance": 10 ** rng.uniform(-6, 6), "model_seed": int(rng.integers(1000))}
        model = model_of(cell)
        assert model.probabilities @ model.signal_variances == pytest.approx(1, rel=1e-12)
        assert theory.risk(model, np.zeros(model.d)) == pytest.approx(1, rel=1e-12)
        covariance = cell["signal_variance"] * cell["decay"] ** np.abs(np.subtract.outer(range(size), range(size)))
        np.testing.assert_allclose(model.covariances[-1], covariance, rtol=1e-12)
        assert model.noise_variance == cell["noise_variance"]


def test_the_model_has_the_same_bits_on_every_machine():
    model = model_of({"d": 60, "k": 4, "decay": 0.3, "signal_variance": 0.7, "model_seed": 11})
    digest = hashlib.sha256(np.concatenate(model.coefficients).tobytes()).hexdigest()[:16]
    assert digest == "414e15dd37359de4"


def test_coefficients_are_the_seeds_whatever_the_noise():
    one, other = (model_of({"d": 6, "k": 2, "noise_variance": noise}) for noise in (0.1, 10.0))
    assert all(map(np.array_equal, one.coefficients, other.coefficients))
    assert not np.array_equal(one.coefficients[0], model_of({"d": 6, "k": 2, "model_seed": 1}).coefficients[0])


# ---- risk and misrouting ---------------------------------------------------------------------------------------------


def fits_in_numpy(cell, rng):
    """(model at test noise, dense, experts' coefficients) of the replicate, with NumPy's own solvers."""
    model = model_of(cell)
    X, y, expert = model.sample(cell["n"], rng=rng, routing=cell["routing"])
    dense = np.linalg.solve(X.T @ X / len(X) + cell["penalty"] * np.eye(model.d), X.T @ y / len(X))
    experts = [minimum_norm_fit(X[expert == i, block], y[expert == i]) if (expert == i).any() else np.zeros(len(beta))
               for i, (block, beta) in enumerate(zip(model.blocks, model.coefficients))]
    return model_of(cell | {"noise_variance": cell["test_noise_variance"]}), dense, np.concatenate(experts)


@pytest.mark.parametrize("n", [60, 10, 3])
def test_risk_is_that_of_the_fits(n):
    cell = CELLS["risk"] | {"n": n}
    tested, dense, experts = fits_in_numpy(cell, np.random.default_rng(3))
    expected = theory.risk(tested, dense), theory.risk(tested, experts, estimator="sparse")
    results = EXPERIMENTS["risk"].function(cell, np.random.default_rng(3))
    assert list(results.values()) == pytest.approx([*expected, expected[0] - expected[1]], rel=1e-9)


def test_an_expert_without_rows_has_learnt_nothing():
    cell = {"n": 1, "d": 4, "k": 4, "noise_variance": 0.0}  # one expert learns all of its one feature
    assert measure("risk", cell)["experts"] == pytest.approx(1 - model_of(cell).signal_variances[0] / 4, rel=1e-9)


def test_best_penalty_is_theorys():
    cell = {"n": 90, "d": 60, "k": 3}
    best = theory.best_penalty(model_of(cell), 90)
    assert best > 0
    assert (EXPERIMENTS["risk"].function(cell | {"penalty": "best"}, np.random.default_rng(0))
            == EXPERIMENTS["risk"].function(cell | {"penalty": best}, np.random.default_rng(0)))


def test_without_wrong_routes_misrouting_is_risk():
    cell = CELLS["risk"]
    assert measure("misrouting", cell) == measure("risk", cell)
    assert EXPERIMENTS["misrouting"].theory(cell | {"routing": "balanced"}) == EXPERIMENTS["risk"].theory(
        cell | {"routing": "balanced"})


def test_misrouted_risk_against_rows_that_go_astray():
    cell = CELLS["misrouting"]
    tested, _, experts = fits_in_numpy(cell, np.random.default_rng(3))
    rng = np.random.default_rng(4)
    features, response, expert = draw(tested, 200_000, rng)
    wrong = rng.random(len(expert)) < cell["wrong_routes"]
    routed = (expert + wrong * rng.integers(1, tested.k, len(expert))) % tested.k
    answers = np.column_stack([features[:, block] @ experts[block] for block in tested.blocks])
    errors = (response - answers[np.arange(len(routed)), routed]) ** 2
    risk = EXPERIMENTS["misrouting"].function(cell, np.random.default_rng(3))["experts"]
    assert agrees(errors, risk)
    assert not agrees(errors, 1.05 * risk) and not agrees(errors, 0.95 * risk)


@pytest.mark.parametrize("wrong_routes", [0.0, 0.3, 1.0])
def test_with_many_rows_theory_is_that_of_the_bayes_estimators(wrong_routes):
    cell = {"n": 10**9, "d": 12, "k": 3, "decay": 0.4, "wrong_routes": wrong_routes}
    model, confusion = model_of(cell), np.full((3, 3), wrong_routes / 2)
    np.fill_diagonal(confusion, 1 - wrong_routes)
    expected = EXPERIMENTS["misrouting"].theory(cell)
    assert expected["experts"] == pytest.approx(theory.misrouted_risk(model, confusion), rel=1e-6)
    assert expected["dense"] == pytest.approx(theory.generalization(model).dense, rel=1e-6)
    louder = EXPERIMENTS["risk"].theory({"n": 10**9, "d": 12, "k": 3, "decay": 0.4, "test_noise_variance": 3.0})
    dense, experts = theory.robustness(model, 3.0)
    assert louder == pytest.approx({"dense": dense, "experts": experts, "lead": dense - experts}, rel=1e-6)


# ---- routing ---------------------------------------------------------------------------------------------------------


def test_with_many_rows_the_fitted_router_is_the_one_that_knows():
    results = measure("routing", {"n": 40_000, "d": 12, "k": 3, "signal_variance": 2.0, "test_rows": 20_000})
    assert results["accuracy"] == pytest.approx(results["accuracy_known"], abs=0.01)
    assert results["hard"] == pytest.approx(results["hard_known"], rel=0.02)
    assert results["soft"] < results["hard"] < results["dense"]
    assert results["lead_hard"] == results["dense"] - results["hard"]
    assert results["lead_soft"] == results["dense"] - results["soft"]


def test_test_rows_are_not_training_rows():
    """With as many parameters as rows a fit has no error on its own rows."""
    assert measure("routing", {"n": 24, "d": 12, "k": 2, "test_rows": 24})["dense"] > 0.3


def test_one_expert_is_dense():
    results = measure("routing", {"n": 50, "d": 6, "k": 1})
    assert results["accuracy"] == results["accuracy_known"] == 1
    assert results["hard"] == pytest.approx(results["dense"], rel=1e-9) and abs(results["lead_soft"]) < 1e-9
    assert EXPERIMENTS["routing"].theory({"n": 50, "d": 6, "k": 1})["accuracy_known"] == pytest.approx(1)


# ---- descent ---------------------------------------------------------------------------------------------------------


def steps_in_numpy(X, y, tolerance):
    """Steps of plain gradient descent until the norm of ``X (b - bhat)`` has come down to the tolerance."""
    hat, coef, step = minimum_norm_fit(X, y), np.zeros(X.shape[1]), 1 / np.linalg.norm(X, 2) ** 2
    norms = [np.linalg.norm(X @ hat)]
    while norms[-1] > tolerance * norms[0]:
        coef -= step * X.T @ (X @ coef - y)
        norms.append(np.linalg.norm(X @ (coef - hat)))
    before, last = np.log(norms[-2:])
    return len(norms) - 2 + (math.log(tolerance * norms[0]) - before) / (last - before)


@pytest.mark.parametrize("shape", [(12, 30), (30, 12), (12, 12)])
@pytest.mark.parametrize("tolerance", [0.3, 1e-3])
def test_steps_are_those_of_descent_written_out(shape, tolerance):
    n, d = shape
    cell = CELLS["descent"] | {"n": n, "d": d, "tolerance": tolerance}
    values = np.linspace(2, 3, min(n, d) // 3)
    rng = np.random.default_rng(3)
    spectra = [values, 1.25 * values, 1.5 * values]
    clean, X = spectral_design(spectra, [(n // 3, d // 3)] * 3, noise_variance=0.7, rng=rng)
    y = clean @ standard_normal(d, rng=rng)
    parts = [(X[i * n // 3:(i + 1) * n // 3, i * d // 3:(i + 1) * d // 3], y[i * n // 3:(i + 1) * n // 3])
             for i in range(3)]
    noisy = [np.linalg.svd(part, compute_uv=False) for part in (X, *(part for part, _ in parts))]
    rates = [1 - (values[-1] / values[0]) ** 2 for values in noisy]
    expected = {"dense_steps": steps_in_numpy(X, y, tolerance),
                "experts_steps": max(steps_in_numpy(*part, tolerance) for part in parts)}
    expected |= {"lead": expected["dense_steps"] - expected["experts_steps"], "dense_rate": rates[0],
                 "experts_rate": max(rates[1:])}
    results = EXPERIMENTS["descent"].function(cell, np.random.default_rng(3))
    assert results == pytest.approx(expected, rel=1e-6)


def test_stated_steps_are_where_the_limit_meets_the_tolerance():
    cell = {"n": 100, "d": 300, "k": 2, "block_contrast": 2.0, "tolerance": 0.02}
    expected, values = EXPERIMENTS["descent"].theory(cell), np.linspace(3, 6, 50)
    slowest = 0
    for spectrum, rows in ((np.concatenate([values, 2 * values]), 100), (values, 50), (2 * values, 50)):
        curve = theory.descent_residuals(spectrum, rows=rows, columns=3 * rows, entry_variance=0.01, steps=range(80))
        steps = np.interp(-math.log(0.02), -np.log(curve), range(80))
        if rows == 100:
            assert expected["dense_steps"] == pytest.approx(steps, rel=1e-9)
        else:
            slowest = max(slowest, steps)
    assert expected["experts_steps"] == pytest.approx(slowest, rel=1e-9)


def test_blocks_of_one_value_without_noise_take_one_step():
    cell = {"n": 12, "d": 24, "k": 3, "noise_variance": 0.0, "smallest_singular_value": 2.0,
            "largest_singular_value": 2.0, "block_contrast": 3.0}
    results = measure("descent", cell)
    assert 0 < results["experts_steps"] <= 1 and results["experts_rate"] == pytest.approx(0, abs=1e-12)
    assert results["dense_rate"] == pytest.approx(8 / 9)
    assert EXPERIMENTS["descent"].theory(cell)["dense_rate"] == pytest.approx(8 / 9)


# ---- overlap ---------------------------------------------------------------------------------------------------------


def test_interference_elsewhere_costs_the_oracle_nothing_and_the_router_all():
    cell = {"n": 2000, "d": 40, "k": 5, "reading": "elsewhere"}
    clean, merged = (measure("overlap", cell | {"alpha": alpha}) for alpha in (0.0, 1.0))
    assert merged["experts"] == pytest.approx(clean["experts"], abs=0.03)
    assert clean["router"] > 0.5 and merged["router"] == pytest.approx(0.2, abs=0.05)
    assert clean["lead"] == clean["experts"] - clean["dense"] > 0.05


def test_where_interference_is_signal_dense_wins():
    results = measure("overlap", {"n": 2000, "d": 40, "k": 5, "reading": "signal", "alpha": 1.0})
    assert results["lead"] < -0.1
