"""The audit: right on data whose answers are known, the same for any source and threads, clear on bad input."""

import json
import subprocess
import sys

import numpy as np
import pytest

import moenoise as mn
from moenoise import plots, theory
from moenoise.activations import audit_report, comparison, fitted, interference
from moenoise.activations.audit import _predictions, audit
from moenoise.activations.modularity import Modularity
from moenoise.activations.targets import as_groups, as_targets, load_column
from moenoise.activations.verdict import judge, reach

QUICK = {"noise": (0, 0.5), "progress": False, "rng": 0}


def planted(n=1600, d=64, k=4, snr=4.0, seed=0):
    return mn.BlockModel.isotropic(d, k, variance=snr, rng=seed).sample(n, rng=seed + 1)


MODULAR = Modularity(0.3, np.array([0.1, 0.11]), 20.0, 3.0, 1.0, 0.0, 0.5, 0.2, 0.4, 0.3, "correlations", 1.0)


@pytest.fixture(scope="module")
def of_modules():
    sample = planted()
    return audit(sample.features, sample.response, noise=(0, 0.5, 2), progress=False, rng=0)


@pytest.fixture(scope="module")
def of_factors():
    generator = np.random.default_rng(0)
    features = generator.standard_normal((1600, 6)) @ generator.standard_normal((6, 64)) / np.sqrt(6)
    features += 0.3 * generator.standard_normal((1600, 64))
    response = features @ generator.standard_normal(64) + generator.standard_normal(1600)
    return audit(features, response, **QUICK)


def value(found, noise, quantity):
    return next(r["value"] for r in found.measurements if (r["noise"], r["quantity"]) == (noise, quantity))


def test_planted_modules_pass_all_four(of_modules):
    verdict = of_modules.verdict
    assert verdict[:4] == (True, True, True, True)
    assert str(verdict) == ("The activations come in modules, and experts on them beat both a tuned ridge and random "
                            "blocks; the block model predicts the risks.")
    assert of_modules.settings["experts"] == 4  # found, not given


def test_factors_fail_all_four(of_factors):
    assert of_factors.verdict[:4] == (False, False, False, False)
    assert "do not come in modules" in str(of_factors.verdict) and "do not beat" in str(of_factors.verdict)


def test_measured_risks_are_those_of_the_true_model(of_modules):
    """Beside theory for the model that was planted, on standardised features, with 1,200 training rows."""
    truth = mn.BlockModel.isotropic(64, 4, variance=4.0, rng=0)
    scale = 4.0 / 4 + 1.0  # the mean variance of a feature
    counts, total = np.full(4, 300), truth.probabilities @ truth.signal_variances
    for noise in (0, 0.5, 2):
        noisy = fitted.with_noise(truth, scale * noise**2)
        dense = theory.dense_risk(noisy, 1200) / total
        assert value(of_modules, noise, "dense") == pytest.approx(dense, rel=0.1)
        oracle = theory.expert_risk(noisy, counts).mean() / total
        assert value(of_modules, noise, "experts, oracle") == pytest.approx(oracle, rel=0.1)


def test_the_fitted_model_is_the_planted_one(of_modules):
    model = of_modules.model
    assert sorted(model.block_sizes) == [16] * 4
    assert model.noise_variance == pytest.approx(0.5, rel=0.05)
    assert [np.trace(c) / 16 for c in model.covariances] == pytest.approx([2.0] * 4, rel=0.1)
    assert model.probabilities @ model.signal_variances == pytest.approx(1.0, rel=0.15)


def test_predictions_are_beside_measurements(of_modules):
    for record in of_modules.predictions:
        if record["quantity"] != "misrouting" and record["noise"] < 1:
            assert record["predicted"] == pytest.approx(record["measured"], rel=0.1)
    at_two = [r for r in of_modules.predictions if (r["noise"], r["quantity"]) == (2, "misrouting")]
    assert at_two[0]["predicted"] == pytest.approx(at_two[0]["measured"], abs=0.05) and at_two[0]["measured"] > 0.2


def test_oracle_and_tuning_help_under_noise(of_modules):
    assert value(of_modules, 2, "experts, oracle") < value(of_modules, 2, "experts") - 0.02
    assert value(of_modules, 2, "experts") < value(of_modules, 2, "experts, untuned") - 0.02
    assert value(of_modules, 2, "ridge") < value(of_modules, 2, "dense")


def test_experts_do_not_help_where_the_response_needs_all_features():
    sample = planted()
    response = sample.features @ np.random.default_rng(1).standard_normal(64)
    found = audit(sample.features, response, **QUICK)
    assert found.verdict.modular
    assert found.verdict.off_block_is_noise is False and found.verdict.experts_help is False
    assert str(found.verdict).startswith("The activations come in modules, but experts on them do not beat")
    assert found.interference.value > 0.3


def test_without_targets_only_the_first_question_is_answered():
    found = audit(planted().features, **QUICK)
    assert found.verdict[:4] == (True, None, None, None)
    assert found.model is None and found.measurements == [] and found.predictions == []
    assert str(found.verdict).endswith("cannot be told without targets.")
    assert len(found.plot()) == 3


def test_classes_are_responses(of_modules):
    sample = planted()
    names = np.array(["left", "right"])[(sample.response > 0).astype(int)]
    found = audit(sample.features, names, experts=4, **QUICK)
    assert found.settings["classes"] == ["left", "right"] and found.settings["responses"] == 2
    as_booleans = audit(sample.features, sample.response > 0, experts=4, **QUICK)
    assert value(found, 0, "ridge") == value(as_booleans, 0, "ridge")


def test_several_responses_add_up(of_modules):
    """Twice the same response is the response."""
    sample = planted()
    twice = audit(sample.features, np.stack([sample.response] * 2, axis=1), noise=(0, 0.5, 2), progress=False, rng=0)
    for one, two in zip(of_modules.measurements, twice.measurements):
        assert two["value"] == pytest.approx(one["value"], rel=1e-6, abs=1e-9)
    for one, two in zip(of_modules.predictions, twice.predictions):
        assert two["predicted"] == pytest.approx(one["predicted"], rel=1e-6)


def test_effective_coefficients_have_the_sum_of_the_risks():
    """The claim of fitted.py, against the theory response by response."""
    truth = mn.BlockModel.toeplitz(24, 3, scale=3.0, noise_variance=0.7, rng=0)
    generator = np.random.default_rng(0)
    betas = [[generator.standard_normal(8) for _ in range(3)] for _ in range(2)]
    models = [mn.BlockModel(truth.covariances, beta, [0.2, 0.3, 0.5], 0.7) for beta in betas]
    vectors = [np.linalg.eigh(c)[1] for c in truth.covariances]
    squares = [sum((v.T @ beta[i]) ** 2 for beta in betas) for i, v in enumerate(vectors)]
    betas = [v @ np.sqrt(s) for v, s in zip(vectors, squares)]
    effective = mn.BlockModel(truth.covariances, betas, [0.2, 0.3, 0.5], 0.7)
    for risk in (lambda m: theory.generalization(m).dense, lambda m: theory.generalization(m).sparse,
                 lambda m: theory.dense_risk(m, 60), lambda m: theory.dense_risk(m, 12),
                 lambda m: theory.expert_risk(m, [20, 20, 5]), lambda m: theory.routed_risk(m).risk,
                 lambda m: theory.robustness(m, 2.0)[0]):
        np.testing.assert_allclose(risk(effective), sum(map(risk, models)), rtol=1e-8)


def test_any_source_and_number_of_threads_give_the_same_bits(tmp_path, of_modules):
    sample = planted()
    path = tmp_path / "rows.npy"
    np.save(path, sample.features)
    texts = {audit(source, sample.response, noise=(0, 0.5, 2), jobs=jobs, progress=False, rng=0).to_json()
             for source, jobs in ((sample.features, 1), (path, 3), (iter(np.array_split(sample.features, 5)), 2))}
    assert texts == {of_modules.to_json()}


def test_user_arrays_are_not_changed():
    sample = planted(n=800)
    features, response = (np.asfortranarray(part.astype(np.float32))[::1] for part in sample[:2])
    features.flags.writeable = response.flags.writeable = False
    before = features.copy()
    audit(features, response, experts=4, **QUICK)
    np.testing.assert_array_equal(features, before)


def test_repeated_rows_are_dropped():
    sample = planted(n=800)
    found = audit(np.repeat(sample.features, 3, axis=0), np.repeat(sample.response, 3), experts=4, **QUICK)
    assert found.settings["n_rows_used"] == 800 and found.settings["n_duplicates"] == 1600
    alone = audit(sample.features, sample.response, experts=4, **QUICK)
    assert found.modularity.score == pytest.approx(alone.modularity.score, rel=0.05)


def test_groups_stay_together(monkeypatch):
    """Rows of a document that are nearly alike would tell the test rows' responses."""
    generator = np.random.default_rng(0)
    documents = np.repeat(np.arange(100), 10)
    centres = generator.standard_normal((100, 40))
    features = centres[documents] + 0.05 * generator.standard_normal((1000, 40))
    response = generator.standard_normal(100)[documents]  # nothing but the document
    together = audit(features, response, groups=documents, experts=2, **QUICK)
    apart = audit(features, response, experts=2, **QUICK)
    assert value(apart, 0, "ridge") < 0.9 < value(together, 0, "ridge")
    error = {name: next(r["standard_error"] for r in found.measurements if r["quantity"] == "ridge")
             for name, found in (("together", together), ("apart", apart))}
    assert error["together"] > 1.5 * error["apart"]


def test_constant_and_dead_features():
    sample = planted(n=800)
    features = np.concatenate([sample.features, np.full((800, 1), 3.0), np.zeros((800, 2))], axis=1)
    found = audit(features, sample.response, experts=4, **QUICK)
    assert found.modules.features[-3:].tolist() == [-1, -1, -1] and found.verdict.experts_help
    assert "3 features are constant or never active" in found._repr_html_()


def test_more_features_than_rows():
    sample = planted(n=240, d=400, k=4, snr=9.0)
    found = audit(sample.features, sample.response, experts=4, **QUICK)
    assert found.verdict.model_predicts in (True, False, None)
    assert all(np.isfinite(record["value"]) for record in found.measurements)
    json.loads(found.to_json())


@pytest.mark.parametrize(("change", "error", "message"), [
    ({"experts": 1}, ValueError, "experts must be at least 2"),
    ({"experts": 99}, ValueError, "at least 792 distinct rows for 99 experts"),
    ({"sparsity": -0.1}, ValueError, "sparsity"),
    ({"noise": (0, -1)}, ValueError, "noise must hold standard deviations, from 0 to 1e"),
    ({"noise": ()}, ValueError, "noise must not be empty"),
    ({"draws": 5}, ValueError, "draws must be at least 20"),
    ({"max_rows": 10}, ValueError, "max_rows must be at least 50"),
    ({"groups": np.zeros(300, dtype=int)}, ValueError, "groups must hold at least 4 different ones, got 1"),
    ({"groups": np.arange(300) % 3}, ValueError, "groups must hold at least 4 different ones, got 3"),
    ({"groups": np.minimum(np.arange(300), 5)}, ValueError, "groups must leave some rows to others: one holds 295"),
    ({"tokens": np.zeros(300, dtype=int)}, ValueError, "tokens must hold at least 16 different ones for 2 experts"),
    ({"noise": (0, 1e160)}, ValueError, "noise must hold standard deviations, from 0 to 1e"),
    ({"sparsity": 0}, ValueError, "sparsity must leave two modules at least, found one at 0, where every entry"),
    ({"groups": np.zeros(299, dtype=int)}, ValueError, "groups must have one entry for each of the 300 rows"),
    ({"groups": np.zeros(300)}, TypeError, "groups must hold integers or strings"),
    ({"groups": np.ma.masked_array(np.arange(300))}, TypeError, "groups must be a plain array, got a masked array"),
    ({"tokens": [[1], [2, 3]]}, ValueError, "tokens must be a rectangular array"),
    ({"targets": np.ma.masked_array(np.ones(300))}, TypeError, "targets must be a plain array, got a masked array"),
    ({"targets": np.zeros(300)}, ValueError, "targets must vary, got the same value"),
    ({"targets": np.zeros(300, dtype=int)}, ValueError, "targets must vary, got only one class"),
    ({"targets": np.arange(300)}, ValueError, "targets must have at most 100 classes, got 300"),
    ({"targets": np.ones(299)}, ValueError, "targets must have one entry, or one row"),
    ({"targets": np.array([None] * 300)}, TypeError, "targets must hold numbers"),
    ({"targets": np.full(300, np.nan)}, ValueError, "targets must be finite"),
    ({"targets": np.ones((300, 2), dtype=int)}, ValueError, "targets that are classes must be 1-dimensional"),
    ({"activations": np.zeros((300, 8))}, ValueError, "activations must not be all zeros"),
    ({"activations": np.ones((300, 8))}, ValueError, "at least 16 distinct rows for 2 experts, got 1"),
    ({"activations": np.arange(300.0)[:, None]}, ValueError, "activations must have at least k=2 features that vary"),
    ({"jobs": 0}, ValueError, "jobs"),
    ({"progress": 1}, TypeError, "progress"),
    ({"rng": -1}, ValueError, "rng"),
])
def test_bad_arguments(change, error, message):
    arguments = {"activations": planted(n=300, d=16, k=2).features, **QUICK} | change
    with pytest.raises(error, match=message):
        audit(**arguments)


def test_json_has_everything_and_no_nan(of_modules):
    document = json.loads(of_modules.to_json())
    assert document["verdict"]["experts_help"] is True
    assert document["verdict"]["sentence"] == str(of_modules.verdict)
    assert len(document["modules"]["features"]) == 64 and len(document["modularity"]["null"]) == 20
    assert len(document["measurements"]) == len(of_modules.measurements) > 20
    assert audit_report.plain({"x": [np.float64("nan"), np.inf, np.int64(3)]}) == {"x": [None, None, 3]}


def test_pages_and_figures(tmp_path, of_modules):
    folder = of_modules.write(tmp_path / "deep" / "folder")
    names = sorted(path.name for path in folder.iterdir())
    assert names == ["audit.json", "index.html", "modularity.svg", "modules.svg", "null.svg", "predictions.svg",
                     "risks.svg"]
    page = (folder / "index.html").read_text()
    assert str(of_modules.verdict) in page and page.count("data:image/svg+xml") == 5
    assert "http" not in page.split("</style>")[1]
    assert "yes" in of_modules._repr_html_() and str(of_modules.verdict) in of_modules._repr_html_()
    again = of_modules.write(tmp_path / "again")
    assert (again / "index.html").read_bytes() == (folder / "index.html").read_bytes()


def test_plot_takes_and_returns_axes(of_modules):
    _, axes = plots.new_axes(5)
    assert of_modules.plot(axes=axes) is axes
    with pytest.raises(ValueError, match="axes must be 5"):
        of_modules.plot(axes=axes[:2])


def test_a_page_escapes_what_it_is_given(tmp_path, of_modules):
    audit_report.write(of_modules, tmp_path, source="<script>alert(1)</script>")
    assert "<script>" not in (tmp_path / "index.html").read_text()


def test_ridge_in_both_forms():
    generator = np.random.default_rng(0)
    X, Y = generator.standard_normal((30, 8)), generator.standard_normal((30, 2))
    for features in (X, X.T.copy()[:, :8].copy()):
        for penalty in (0.1, 2.0):
            n, d = features.shape
            expected = np.linalg.solve(features.T @ features + n * penalty * np.eye(d), features.T @ Y[:n])
            found = comparison.ridge_coefficients(features, Y[:n], [penalty])[0]
            np.testing.assert_allclose(found, expected, rtol=1e-9)
    wide = X[:5]
    expected = np.linalg.solve(wide.T @ wide + 5 * 0.3 * np.eye(8), wide.T @ Y[:5])
    np.testing.assert_allclose(comparison.ridge_coefficients(wide, Y[:5], [0.3])[0], expected, rtol=1e-9)
    np.testing.assert_allclose(comparison.ridge_coefficients(wide, Y[:5], [0.0])[0], np.linalg.pinv(wide) @ Y[:5])


def test_tuning_finds_the_best_penalty():
    responses = np.zeros((9, 1))
    tuning = np.repeat([0, 1, 2], 3)

    def path(fit, check):
        assert not (fit & check).any() and (fit | check).all()
        return np.abs(np.arange(len(comparison.PENALTIES)) - 4.0)[:, None, None] * np.ones((1, check.sum(), 1))

    assert comparison.tuned(path, responses, tuning) == 4


def test_interference_by_hand():
    errors = np.array([[2.0, 1.0], [4.0, 3.0], [3.0, 2.0], [3.0, 2.0]])
    found = interference.interference(errors, np.arange(4))
    assert found.value == pytest.approx(1 - 8 / 12) and (found.block_risk, found.full_risk) == (3.0, 2.0)
    ratio = 8 / 12
    residuals = (errors[:, 1] - ratio * errors[:, 0]) / 3
    assert found.standard_error == pytest.approx(residuals.std(ddof=1) / 2)
    for value, error, n_groups, answer in ((0.04, 0.01, 1000, None), (0.01, 0.01, 1000, True), (0.2, 0.01, 1000, False),
                                           (0.01, 0.01, 4, True), (0.02, 0.01, 4, None)):
        each = judge(MODULAR, interference.Interference(value, error, 1, 1), n_groups=n_groups)
        assert each.off_block_is_noise is answer


def test_inflation():
    np.testing.assert_allclose(fitted.inflation([20, 5, 10], [9, 10, 10]), [1.9, 1 + 5 / 4, np.inf])


def test_the_model_cannot_leave_more_than_there_is():
    """Where chance makes the model's own error larger than the measured one, its signal is made smaller."""
    generator = np.random.default_rng(0)
    features = generator.standard_normal((400, 10)) * np.sqrt(np.repeat([1.2, 0.9], 5))
    expert = np.repeat([0, 1], 200)
    response = features[:, :1] + 1e-3 * generator.standard_normal((400, 1))
    found = fitted.fit_model(features, response, expert, np.array([5, 5]))
    assert (found.unexplained >= 0).all()
    assert theory.generalization(found.model).sparse < 0.6 * (response**2).mean()


def test_answers_that_cannot_be_told():
    verdict = judge(MODULAR,
                    interference.Interference(0.04, 0.02, 1.0, 0.96), [],
                    [{"noise": 0.0, "quantity": "dense", "predicted": float("nan"), "measured": 1.0},
                     {"noise": 0.0, "quantity": "sparse", "predicted": 1.1, "measured": 1.0}])
    assert verdict.off_block_is_noise is None and verdict.model_predicts is None and verdict.experts_help is None


def test_targets_are_scaled():
    found = as_targets(np.array([[1.0, 5.0], [3.0, 5.0], [5.0, 8.0], [7.0, 9.0]]), 4, np.arange(4))
    assert (found.response**2).mean(axis=0).sum() == pytest.approx(1) and found.classes is None
    classes = as_targets(["b", "a", "b", "b"], 4, np.array([0, 1, 3]))
    assert classes.classes.tolist() == ["a", "b"] and classes.response.shape == (3, 2)
    assert as_groups(["x", "y", "x"], 3, np.array([0, 2])).tolist() == [0, 0]


def test_strings_may_be_objects():
    strings = np.array(["b", "a", "b"], dtype=object)
    assert as_groups(strings, 3, np.arange(3)).tolist() == [1, 0, 1]
    assert as_targets(strings, 3, np.arange(3)).classes.tolist() == ["a", "b"]
    assert strings.dtype == object


def test_columns_are_never_unpickled(tmp_path):
    np.save(tmp_path / "objects.npy", np.array([1, None], dtype=object))
    (tmp_path / "foreign.npy").write_bytes(b"not an array")
    np.save(tmp_path / "cut.npy", np.arange(100))
    (tmp_path / "cut.npy").write_bytes((tmp_path / "cut.npy").read_bytes()[:-8])
    for name, message in (("objects", "np.array\\(values, dtype=str\\)"), ("foreign", "--targets must be"),
                          ("cut", "--targets must be")):
        with pytest.raises(ValueError, match=message):
            load_column(tmp_path / f"{name}.npy", "--targets")
    with pytest.raises(FileNotFoundError, match="--groups: there is no file"):
        load_column(tmp_path / "none.npy", "--groups")
    with pytest.raises(ValueError, match="must be a .npy file"):
        load_column(tmp_path / "y.csv", "--groups")


def test_an_expert_without_signal_leaves_the_sparse_risk_open():
    model = mn.BlockModel([np.eye(4), np.zeros((4, 4))], [np.ones(4), np.zeros(4)], noise_variance=1.0)
    found = fitted.predict(fitted.Fitted(model, np.zeros(2), np.array([100, 100])), 0.0)
    assert found.dense > 0 and np.isnan(found.sparse) and np.isnan(found.misrouting)


def test_predictions_average_the_folds():
    folds = [[fitted.Prediction(1.0, 2.0, 0.1)], [fitted.Prediction(3.0, 4.0, 0.3)]]
    measured = [{"noise": 0.0, "quantity": q, "value": 1.0} for q in ("dense", "experts, untuned", "misrouting")]
    found = {r["quantity"]: r["predicted"] for r in _predictions([0.0], folds, measured)}
    assert found == pytest.approx({"dense": 2.0, "sparse": 3.0, "misrouting": 0.2})


@pytest.mark.parametrize("scale", [1e-200, 1e-30, 1e30, 1e200])
def test_units_do_not_matter(scale):
    sample = planted(n=800)
    one = audit(sample.features, sample.response, experts=4, **QUICK)
    other = audit(sample.features * scale, sample.response / scale, experts=4, **QUICK)
    np.testing.assert_array_equal(np.sort(one.modules.block_sizes), np.sort(other.modules.block_sizes))
    assert one.verdict[:4] == other.verdict[:4] == (True, True, True, True)
    assert other.modules.threshold == pytest.approx(one.modules.threshold * scale, rel=0.05)


def test_only_the_noise_that_is_judged_gives_answers():
    sample = planted(n=800)
    found = audit(sample.features, sample.response, experts=4, noise=(0,), progress=False, rng=0)
    assert found.verdict.model_predicts is None and found.verdict.experts_help is None
    assert "noise must hold 0 and 0.5" in found.verdict.answers[3].reason


def test_few_groups_have_to_be_further_apart():
    assert reach(10**6) == pytest.approx(2, abs=1e-4)
    assert reach(4) == pytest.approx(3.3, abs=0.1)  # t with 3 degrees of freedom


def test_nothing_is_said_to_be_nan():
    verdict = judge(MODULAR, None, [], [{"noise": noise, "quantity": quantity, "predicted": np.nan, "measured": 1.0}
                                        for noise in (0.0, 0.5) for quantity in ("dense", "sparse")])
    assert "nan" not in str(verdict.answers[2]) and verdict.model_predicts is None


def test_activations_after_a_relu_are_noted():
    found = audit(np.maximum(planted(n=800).features, 0), experts=4, **QUICK)
    assert any("hardly ever negative" in note for note in found.modules.notes)


def test_a_loud_row_is_noted():
    features = planted(n=800).features.copy()
    features[7] *= 1000
    notes = audit(features, experts=4, **QUICK).modules.notes
    assert any(note.startswith("row 7 of those looked at holds") for note in notes)


def test_nothing_to_learn_is_no_answer():
    sample = planted(n=800)
    found = audit(sample.features, np.random.default_rng(0).standard_normal(800), experts=4, **QUICK)
    assert found.verdict.modular and found.verdict[1:4] == (None, None, None)
    assert "since neither experts nor the ridge predict better than the mean does" in str(found.verdict)


def test_tokens_that_repeat_are_no_modules():
    generator = np.random.default_rng(1)
    words = generator.standard_normal((200, 6)) @ generator.standard_normal((6, 64))
    words += generator.standard_normal((200, 64))
    word = generator.choice(200, 2000, p=1 / np.arange(1, 201) / np.sum(1 / np.arange(1, 201)))
    text = words[word] + 0.1 * generator.standard_normal((2000, 64))
    every, one = (audit(text, tokens=tokens, experts=4, **QUICK).modularity for tokens in (None, word))
    assert every.z > 8 and one.z < 5


def test_memory_bound(tmp_path):
    program = """
import resource, sys, numpy as np, moenoise as mn
import moenoise.activations.audit, sklearn.cluster, sklearn.covariance, sklearn.manifold, sklearn.metrics
mn.audit(np.random.default_rng(0).standard_normal((400, 12)), rng=0, jobs=1, progress=False)
start = int(next(l for l in open("/proc/self/status") if l.startswith("VmHWM")).split()[1])
y = np.load(sys.argv[2])
mn.audit(sys.argv[1], y, experts=4, noise=(0, 0.5), max_rows=3000, rng=0, jobs=1, progress=False)
print(int(next(l for l in open("/proc/self/status") if l.startswith("VmHWM")).split()[1]) - start)
"""
    sample = planted(n=40_000, d=256)
    np.save(tmp_path / "a.npy", sample.features.astype(np.float32))
    np.save(tmp_path / "y.npy", sample.response)
    result = subprocess.run([sys.executable, "-c", program, tmp_path / "a.npy", tmp_path / "y.npy"], text=True,
                            capture_output=True, check=True)
    bound = 8 * (8 + 5) * 3000 * 256 + 48 * 256**2 + 250e6
    assert int(result.stdout) * 1024 < bound
