"""Probes under feature noise: what each of them computes, what is compared, and bad arguments."""

import subprocess
import sys
import time
from functools import partial

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from threadpoolctl import threadpool_info, threadpool_limits

import moenoise as mn
from moenoise import _probing, probes
from moenoise._splits import mean_over_splits
from moenoise._threads import thread_map

K, WIDTH, CLASSES = 3, 5, 3
MODULES = np.repeat(np.arange(K), WIDTH)


@pytest.fixture(scope="module")
def data():
    """Rows of a block model, whose classes are those of the largest of three linear responses."""
    model = mn.BlockModel.isotropic(K * WIDTH, K, variance=9.0, noise_variance=0.05, rng=0)
    sample = model.sample(480, rng=1)
    directions = mn.standard_normal((K * WIDTH, CLASSES), rng=2)
    return sample.features, (sample.features @ directions).argmax(axis=1), sample.expert


@pytest.fixture(scope="module", autouse=True)
def few_penalties():
    """Every third, for a third of the time; the claim's tests take all."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_probing, "SHRINKING", _probing.SHRINKING[::3])
        patch.setattr(_probing, "RIDGES", _probing.RIDGES[::3])
        yield


@pytest.fixture(scope="module")
def result(data):
    return probes.compare(*data[:2], modules=MODULES, seeds=3, rng=0, progress=False)


@pytest.fixture(scope="module")
def split(data):
    return _probing.draw_split(_probing.as_problem(*data[:2], modules=MODULES, rng=0), 0)


def index(probe):
    return _probing.PROBES.index(probe)


class TestFits:
    def test_ridge_solves_its_equation(self, split):
        X, Y = split.X, split.Y
        for fit, r in zip(_probing.fits(split, "ridge", np.arange(len(X))), _probing.RIDGES):
            coef, intercept = fit.coef, fit.intercept
            residual = Y - X @ coef - intercept
            assert_allclose(X.T @ residual / len(X), r * coef, atol=1e-12)
            assert_allclose(residual.mean(axis=0), 0, atol=1e-12)

    @pytest.mark.parametrize("probe", ["lasso", "elastic net"])
    def test_sparse_fits_obey_their_conditions(self, split, probe):
        X, Y = split.X, split.Y
        ratio = _probing.L1_RATIOS[probe]
        largest = np.abs(X.T @ (Y - Y.mean(axis=0))).max() / len(X) / ratio
        nonzero = []
        for fit, share in zip(_probing.fits(split, probe, np.arange(len(X))), _probing.SHRINKING):
            coef, a = fit.coef, share * largest
            gradient = X.T @ (Y - X @ coef - fit.intercept) / len(X) - a * (1 - ratio) * coef
            assert np.abs(gradient).max() < a * ratio + 2e-3
            used = coef != 0
            assert_allclose(gradient[used], a * ratio * np.sign(coef[used]), atol=2e-3)
            nonzero.append(used.mean())
        assert nonzero[0] < 0.5 < nonzero[-1]

    def test_all_coefficients_are_zero_at_the_largest_penalty(self, split, monkeypatch):
        monkeypatch.setattr(_probing, "SHRINKING", [1.0001, 0.9])
        first, second = _probing.fits(split, "lasso", np.arange(len(split.X)))
        assert not first.coef.any() and second.coef.any()

    def test_experts_see_their_own_rows_and_columns(self, split):
        blocks, expert = split.blocks["experts"], split.experts["experts"]
        assert [block.tolist() for block in blocks] == np.arange(15).reshape(3, 5).tolist()
        fit = _probing.nth(_probing.fits(split, "experts", np.arange(len(split.X))), 2)
        for i, block in enumerate(blocks):
            own = _probing.nth(_probing.ridge_fits(split.X[expert == i][:, block], split.Y[expert == i]), 2)
            assert_allclose(fit.keywords["experts"][i](split.X[:, block]), own(split.X[:, block]))
        router = mn.QDARouter([WIDTH] * K, shrinkage=_probing.SHRINKAGE).fit(split.X, expert)
        routes = router.predict(split.tests[2])
        assert len(set(routes)) == K
        answers = [each(split.tests[2][:, block]) for each, block in zip(fit.keywords["experts"], blocks)]
        assert_allclose(fit(split.tests[2]), np.array(answers)[routes, np.arange(len(routes))])
        averaged = _probing.nth(_probing.fits(split, "experts, averaged", np.arange(len(split.X))), 2)
        assert_allclose(averaged(split.tests[2]), np.mean(answers, axis=0))

    def test_clean_routing_sees_the_rows_without_noise(self, split):
        fit = _probing.nth(_probing.fits(split, "experts", np.arange(len(split.X))), 2)
        routes = fit.keywords["router"].predict(split.tests[0])
        assert np.mean(routes != fit.keywords["router"].predict(split.tests[-1])) > 0.2
        answers = [each(split.tests[-1][:, block])
                   for each, block in zip(fit.keywords["experts"], fit.keywords["blocks"])]
        assert_allclose(fit(split.tests[-1], seen=split.tests[0]), np.array(answers)[routes, np.arange(len(routes))])

    def test_rows_go_where_they_are_most_active(self, data):
        features, _, expert = data
        blocks = [np.flatnonzero(MODULES == i) for i in range(K)]
        assert np.mean(_probing.most_active(features, blocks) == expert) > 0.95

    def test_random_blocks_have_the_same_sizes(self, split):
        sizes = [[len(block) for block in split.blocks[name]] for name in ("experts", "experts, random blocks")]
        assert sizes[0] == sizes[1]
        assert sorted(np.concatenate(split.blocks["experts, random blocks"])) == list(range(15))
        assert [list(block) for block in split.blocks["experts, random blocks"]] != np.arange(15).reshape(3, 5).tolist()


class TestSplit:
    def test_training_rows_are_standardised(self, split):
        assert_allclose(split.X.mean(axis=0), 0, atol=1e-12)
        assert_allclose(split.X.std(axis=0), 1)

    def test_noise_has_its_standard_deviation(self, split):
        for level, test in zip((0.2, 0.5, 1, 2), split.tests[1:]):
            assert (test - split.tests[0]).std() == pytest.approx(level, rel=0.05)
        assert_allclose(split.tests[2] - split.tests[0], (split.tests[4] - split.tests[0]) / 4, atol=1e-12)

    def test_each_class_is_on_both_sides_in_its_share(self, split, data):
        for codes in (split.codes, split.test_codes):
            assert_allclose(np.bincount(codes) / len(codes), np.bincount(data[1]) / len(data[1]), atol=0.02)
        assert len(split.test_codes) == 120

    def test_groups_stay_on_one_side(self, data):
        groups = np.repeat(np.arange(60), 8)
        problem = _probing.as_problem(*data[:2], modules=MODULES, groups=groups, rng=0)
        train, test = _probing.folds(problem.codes, problem.groups, _probing.PARTS, 0)[0]
        assert not set(groups[train]) & set(groups[test])
        assert len(test) == pytest.approx(120, abs=16)
        for rows, check in _probing.draw_split(problem, 0).folds:
            assert len(rows) and len(check)

    def test_constant_features_get_no_noise(self, data):
        features = data[0].copy()
        features[:, 3] = 0.1  # whose standard deviation is not 0 in floating point
        features[:, 4] *= 1e-250  # and whose is
        split = _probing.draw_split(_probing.as_problem(features, data[1], modules=MODULES, rng=0), 0)
        assert np.abs(split.X[:, 3]).max() < 1e-10
        assert_array_equal(split.tests[-1][:, 3:5], split.tests[0][:, 3:5])

    def test_features_outside_the_modules_join_the_smallest(self, data):
        features = np.hstack([data[0], np.zeros((480, 2))])
        blocks = _probing.module_blocks(_probing.as_problem(features, data[1], experts=3, rng=0), features, 0)
        assert sorted(len(block) for block in blocks) == [5, 5, 7]
        with_constants = next(block for block in blocks if len(block) == 7)
        assert {15, 16} < set(with_constants)

    def test_modules_are_found(self, data):
        blocks = _probing.module_blocks(_probing.as_problem(*data[:2], experts=3, rng=0), data[0], 0)
        assert sorted(map(tuple, blocks)) == sorted(map(tuple, np.arange(15).reshape(3, 5)))

    def test_penalty_is_the_best_on_the_folds(self, split):
        chosen = _probing.best_penalty(split, "ridge")
        shares = []
        for rows, check in split.folds:
            X, Y = split.X[rows] - split.X[rows].mean(axis=0), split.Y[rows] - split.Y[rows].mean(axis=0)
            shares.append([])
            for r in _probing.RIDGES:
                coef = np.linalg.solve(X.T @ X + len(rows) * r * np.eye(15), X.T @ Y)
                answers = (split.X[check] - split.X[rows].mean(axis=0)) @ coef + split.Y[rows].mean(axis=0)
                shares[-1].append(np.mean(answers.argmax(axis=1) == split.codes[check]))
        assert chosen == np.argmax(np.mean(shares, axis=0))


class TestCompare:
    def test_routed_experts_win_where_the_model_is_theirs(self):
        model = mn.BlockModel.isotropic(16, 4, variance=25.0, noise_variance=0.01, rng=0)
        sample = model.sample(1200, rng=1)
        result = probes.compare(sample.features, sample.response > 0, modules=np.repeat(np.arange(4), 4), seeds=2,
                                rng=0, progress=False)
        clean = dict(zip(result.probes, result.accuracy[:, :, 0].mean(axis=0)))
        assert clean["experts"] > 0.9
        assert clean["experts"] > clean["experts, random blocks"] + 0.05
        assert result.rerouted[:, 0].max() == 0 < result.rerouted[:, -1].min()

    def test_numbers_are_those_of_the_splits(self, result):
        assert result.accuracy.shape == (3, 7, 5)
        assert_array_equal(result.accuracy[:, index("experts"), 0], result.accuracy[:, index(_probing.PROBES[-1]), 0])
        record = next(r for r in result.records if r.probe == "lasso" and r.noise == 2)
        accuracy, clean = result.accuracy[:, 0, 4], result.accuracy[:, 0, 0]
        for found, values in (((record.accuracy, record.accuracy_error), accuracy),
                              ((record.drop, record.drop_error), clean - accuracy),
                              ((record.relative_drop, record.relative_drop_error),
                               (clean - accuracy) / (clean - result.chance))):
            # A quarter of the rows is for testing: the variance of three splits counts 1/3, and 1/3 once more.
            assert_allclose(found, (values.mean(), values.std(ddof=1) * np.sqrt(2 / 3)))
        assert 0 < record.drop < record.relative_drop

    def test_noise_costs_accuracy(self, result):
        for probe in ("lasso", "ridge", "elastic net"):
            accuracy = result.accuracy[:, index(probe)].mean(axis=0)
            assert accuracy[0] > accuracy[3] > accuracy[4] > result.chance - 0.1
            assert accuracy[0] > 0.8

    def test_chance_is_the_most_common_class(self, data, result):
        assert result.chance == np.bincount(data[1]).max() / 480

    def test_parameters(self, result):
        assert result.parameters["ridge"] == result.parameters["lasso"] == (15 * 3 + 3, 0)
        assert result.parameters["experts"] == (15 * 3 + 9, 3 * 15 + 3 + 1)
        assert result.parameters["experts, averaged"] == (15 * 3 + 9, 0)

    def test_same_bits_for_any_number_of_jobs_and_more_seeds(self, data, result):
        two = probes.compare(*data[:2], modules=MODULES, seeds=2, rng=0, jobs=1, progress=False)
        assert_array_equal(two.accuracy, result.accuracy[:2])
        assert (result.accuracy[0] != result.accuracy[1]).any()

    def test_another_seed_is_another_result(self, data, split):
        other = _probing.draw_split(_probing.as_problem(*data[:2], modules=MODULES, rng=1), 0)
        assert (other.test_codes != split.test_codes).any()

    @pytest.mark.parametrize("unit", [1e-200, 1e200])
    def test_the_unit_does_not_matter(self, data, result, unit):
        scaled = probes.compare(data[0] * unit, data[1], modules=MODULES, seeds=2, rng=0, progress=False)
        assert_allclose(scaled.accuracy, result.accuracy[:2], atol=0.01)

    def test_forms_of_the_arguments(self, data):
        features, labels, _ = data
        kept = features.copy()
        views = np.asfortranarray(features.astype(np.float32))
        views.flags.writeable = False
        names = np.array(["a", "b", "c"])[labels]
        results = [probes.compare(A, each, modules=MODULES.tolist(), seeds=2, rng=0, progress=False)
                   for A, each in ((views, names), (views.astype(float), names.astype(object)))]
        assert_array_equal(results[0].accuracy, results[1].accuracy)
        assert results[0].classes == ("a", "b", "c")
        assert_array_equal(features, kept)

    def test_tuning_noise_asks_for_stronger_penalties(self, data, result):
        tuned = probes.compare(*data[:2], modules=MODULES, seeds=2, rng=0, tuning_noise=2.0, progress=False)
        assert tuned.penalties[:, index("ridge")].mean() < result.penalties[:, index("ridge")].mean()

    def test_fewer_rows_than_features(self):
        A = mn.standard_normal((48, 60), rng=0)
        result = probes.compare(A, A[:, 0] > 0, modules=np.arange(60) % 2, seeds=2, rng=0, progress=False)
        assert np.isfinite(result.accuracy).all()


class TestShown:
    def test_table(self, result):
        text = str(result)
        assert "3 classes, 3 splits" in text
        for probe in _probing.PROBES:
            assert any(line.startswith(f"{probe}  ") for line in text.splitlines())
        record = next(r for r in result.records if r.probe == "ridge" and r.noise == 2)
        assert f"{record.accuracy:.3f} +- {2 * record.accuracy_error:.3f} ({record.drop:.3f}," in text

    def test_html(self, result):
        assert result._repr_html_().count("<tr>") == 1 + len(_probing.PROBES)

    @pytest.mark.parametrize("what", list(probes.LABELS))
    def test_plot(self, result, what):
        ax = result.plot(what=what)
        assert ax.get_ylabel() == probes.LABELS[what]
        labels = ax.get_legend_handles_labels()[1]
        assert set(_probing.PROBES) <= set(labels)
        assert result.plot(ax, what=what) is ax

    def test_a_probe_below_chance_has_no_relative_drop(self, result):
        accuracy = result.accuracy.copy()
        accuracy[1, 2, 0] = result.chance / 2
        changed = probes.Comparison(**{**vars(result), "accuracy": accuracy})
        shown = [record.relative_drop for record in changed.records if record.probe == _probing.PROBES[2]]
        assert shown == 5 * [None]
        assert ", -)" in str(changed)
        assert changed.plot(what="relative_drop")


class TestBadArguments:
    @pytest.mark.parametrize(("error", "message", "change"), [
        (ValueError, "labels must be of two classes at least, got 1 alone", {"labels": np.ones(480, int)}),
        (ValueError, "labels must give each class at least 12 rows, got 3 of 7", {"labels": [7] * 3 + [1] * 477}),
        (ValueError, "labels must have one entry for each of the 480 rows", {"labels": [1, 2]}),
        (TypeError, "labels must hold integers or strings, got dtype float64", {"labels": np.ones(480)}),
        (TypeError, "labels must hold integers or strings, got dtype object", {"labels": [None] * 480}),
        (TypeError, "labels must be a plain array, got a masked", {"labels": np.ma.masked_array(np.ones(480, int))}),
        (ValueError, "labels must be a rectangular array", {"labels": [[1], [1, 2]]}),
        (TypeError, "groups must hold integers or strings, got dtype float64", {"groups": np.ones(480)}),
        (ValueError, "A must be finite", {"A": np.full((480, 15), np.nan)}),
        (ValueError, "A must have features that vary", {"A": np.ones((480, 15))}),
        (ValueError, "A must be 2-dimensional", {"A": np.ones(480)}),
        (TypeError, "A must hold real numbers", {"A": [["x"]]}),
        (ValueError, "experts must be at least 2", {"modules": None, "experts": 1}),
        (ValueError, "experts must be at most 15", {"modules": None, "experts": 16}),
        (TypeError, "experts must be an integer", {"modules": None, "experts": 2.0}),
        (ValueError, "modules must have one entry a feature, 15", {"modules": [0, 1]}),
        (ValueError, r"modules must hold all of 0\.\.2", {"modules": np.repeat([0, 1, 3], 5)}),
        (ValueError, r"modules must hold all of 0\.\.3", {"modules": MODULES, "experts": 4}),
        (ValueError, "modules must hold all of", {"modules": np.zeros(15, int)}),
        (ValueError, r"noise\[1\] must be a finite number", {"noise": (0.2, -1)}),
        (ValueError, r"noise\[0\] must be a finite number", {"noise": (1e300,)}),
        (ValueError, "noise must be increasing", {"noise": (1, 0.5)}),
        (ValueError, "noise must not be empty", {"noise": ()}),
        (TypeError, "noise must be a sequence", {"noise": 1.0}),
        (ValueError, "tuning_noise must be", {"tuning_noise": np.inf}),
        (ValueError, "seeds must be at least 2", {"seeds": 1}),
        (ValueError, "sparsity must be", {"sparsity": 1.0}),
        (ValueError, "groups must have one entry for each of the 480 rows", {"groups": [1]}),
        (ValueError, "groups must spread each class over at least 4", {"groups": np.arange(480) % 3}),
        (TypeError, "rng must be", {"rng": "seed"}),
        (ValueError, "jobs must be at least 1", {"jobs": 0}),
        (TypeError, "progress must be True or False", {"progress": 1}),
    ])
    def test_are_named(self, data, error, message, change):
        arguments = {"A": data[0], "labels": data[1], "modules": MODULES, "seeds": 2, "rng": 0, "progress": False}
        with pytest.raises(error, match=message):
            probes.compare(**arguments | change)

    def test_module_without_rows(self, data):
        with pytest.raises(ValueError, match="modules must each be the most active one of some rows, module 0"):
            probes.compare(data[0] * (MODULES > 0), data[1], modules=MODULES, seeds=2, rng=0, progress=False)

    def test_what_to_plot(self, result):
        with pytest.raises(ValueError, match="what must be one of"):
            result.plot(what="error")


def test_one_warning_for_all_fits_that_do_not_converge(data, monkeypatch):
    monkeypatch.setattr(_probing, "MOST_SWEEPS", 1)
    with pytest.warns(UserWarning, match="4 of the 4 fits of lasso and elastic net that were chosen") as caught:
        result = probes.compare(*data[:2], modules=MODULES, seeds=2, rng=0, progress=False)
    assert result.unconverged == 4
    assert [warning.filename for warning in caught] == [__file__]


def test_fits_converge(result):
    assert result.unconverged == 0


def test_fits_end_where_the_run_does(data, monkeypatch):
    problem = _probing.as_problem(*data[:2], modules=MODULES, rng=0)
    split = _probing.draw_split(problem, 0)

    def interrupted(problem, number):
        raise KeyboardInterrupt

    monkeypatch.setattr(probes, "measure_split", interrupted)
    with pytest.raises(KeyboardInterrupt):
        probes.measure(problem, partial(thread_map, jobs=1), 2)
    for probe in _probing.PROBES[:-1]:
        with pytest.raises(InterruptedError):
            _probing.best_penalty(split, probe)


def test_blas_threads_are_as_before(data):
    with threadpool_limits(2, user_api="blas"):
        before = threadpool_info()
        with pytest.raises(ValueError, match="modules must each"):
            probes.compare(data[0] * (MODULES > 0), data[1], modules=MODULES, seeds=2, rng=0, progress=False)
        deadline = time.monotonic() + 30  # the other worker has to end its item
        while threadpool_info()[:len(before)] != before:
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_means_over_splits_by_hand():
    # The usual squared error is 1 / 5, and a fifth of the rows over the other four fifths is 1 / 4.
    assert_allclose(mean_over_splits(np.array([0.0, 0.0, 1.0, 2.0, 2.0]) + 7, 0.2), (8, np.sqrt(1 / 5 + 1 / 4)))


def test_import_is_light():
    code = ("import sys, moenoise.probes; "
            "assert not {'sklearn', 'matplotlib', 'scipy.stats', 'moenoise.claims'} & set(sys.modules)")
    subprocess.run([sys.executable, "-c", code], check=True)
