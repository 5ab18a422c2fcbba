"""Modules: found where they were put, on any input, and what is degenerate said."""

import numpy as np
import pytest
from sklearn.metrics import adjusted_rand_score

import moenoise as mn
from moenoise.activations import find_modules, modules


def planted(n=1200, d=60, k=3, snr=1.5, seed=0):
    sample = mn.BlockModel.isotropic(d, k, variance=snr, rng=seed).sample(n, rng=seed + 1)
    return sample.features, np.repeat(np.arange(k), d // k), sample.expert


def test_planted_modules_are_found_where_raw_correlations_are_zero():
    features, groups, expert = planted(snr=1.0, d=120, n=3000)
    correlations = np.corrcoef(features.T)[np.triu_indices(120, 1)]
    assert np.abs(correlations).max() < 0.12  # the features of a module are uncorrelated
    found = find_modules(features, 3, rng=0)
    assert adjusted_rand_score(found.features, groups) == 1
    assert adjusted_rand_score(found.experts, expert[found.index]) > 0.7


def test_columns_and_rows_may_be_shuffled():
    features, groups, _ = planted()
    generator = np.random.default_rng(5)
    columns, rows = generator.permutation(60), generator.permutation(1200)
    found = find_modules(features[rows][:, columns], 3, rng=0)
    assert adjusted_rand_score(found.features, groups[columns]) == 1


def test_orders_bring_modules_together():
    found = find_modules(planted()[0], 3, rng=0)
    assert sorted(found.feature_order) == list(range(60)) and sorted(found.row_order) == list(range(1200))
    assert (np.diff(found.features[found.feature_order]) >= 0).all()
    assert (np.diff(found.experts[found.row_order]) >= 0).all()


@pytest.mark.parametrize("change", [
    lambda X: X.astype(np.float32), np.asfortranarray, lambda X: np.repeat(X, 2, axis=1)[:, ::2],
    lambda X: X.tolist(), lambda X: iter(np.array_split(X, 7)), lambda X: -X])
def test_any_source_gives_the_same_modules(change):
    features = planted()[0].astype(np.float32).astype(float)
    features.flags.writeable = False
    expected, found = (find_modules(A, 3, rng=0) for A in (features, change(features)))
    if np.ndim(change(features)) and np.asarray(change(features)).ravel()[0] == -features[0, 0]:
        assert adjusted_rand_score(expected.features, found.features) == 1  # other rows may be sampled first
    else:
        np.testing.assert_array_equal(expected.features, found.features)
        np.testing.assert_array_equal(expected.experts, found.experts)


def test_a_row_goes_where_the_modularity_says():
    """The updates' result is a maximum: no single move of a row or of a feature raises Q."""
    features, _, _ = planted(n=120, d=24, snr=2.0)
    found = find_modules(features, 3, rng=0)
    active = modules.active_entries(np.abs(features), found.threshold)[found.index].astype(float)
    best = modules.modularity(active, found.features, found.experts)
    assert best == pytest.approx(brute_modularity(active, found.features, found.experts), abs=1e-12)
    for labels, other in ((found.features, "features"), (found.experts, "experts")):
        for i in range(0, len(labels), 5):
            for module in range(3):
                moved = labels.copy()
                moved[i] = module
                pair = {"features": found.features, "experts": found.experts} | {other: moved}
                assert modules.modularity(active, pair["features"], pair["experts"]) <= best + 1e-12


def brute_modularity(active, features, experts):
    active = active.astype(float)
    total, expected = active.sum(), 0.0
    for r in range(active.shape[0]):
        for c in range(active.shape[1]):
            if experts[r] == features[c]:
                expected += active[r, c] / total - active[r].sum() * active[:, c].sum() / total**2
    return expected


@pytest.mark.parametrize("sparsity", [0.0, 0.3, 0.95])
def test_the_sparsity_is_what_was_asked_for(sparsity):
    found = find_modules(planted()[0], 3, sparsity=sparsity, rng=0)
    assert found.sparsity == pytest.approx(sparsity, abs=1e-4)


def test_ties_make_it_sparser_and_say_so():
    features = np.maximum(planted()[0], 0)  # half are zero
    assert find_modules(features, 3, sparsity=0.3, rng=0).sparsity == pytest.approx(0.5, abs=0.02)


def test_degenerate_features_are_reported():
    features = planted(d=150, n=1500)[0].copy()
    features[:, 0] = 7.0  # constant
    features[:, 1] *= 1e-6  # never active
    features[:, 2] *= 1e4  # nearly all of the energy
    found = find_modules(features, 3, rng=0)
    assert found.features[0] == found.features[1] == -1
    assert (found.features[2:] >= 0).all()
    text = " ".join(found.notes)
    assert "2 features are constant or never active" in text and "of the energy" in text
    assert found.feature_order[-2:].tolist() in ([0, 1], [1, 0])


def test_a_giant_module_and_silent_rows_are_reported():
    generator = np.random.default_rng(0)
    features = generator.standard_normal((600, 40)) * np.exp(generator.standard_normal((600, 1)))
    features[:20] *= 1e-6
    shared = generator.standard_normal((600, 1)) ** 2 * (np.arange(600) > 20)[:, None]
    features[:, :4] = features[:, :4] * 0.1 + 5 * shared
    notes = " ".join(find_modules(features, 2, rng=0).notes)
    assert "rows have no active entry" in notes


def test_repeated_rows_count_once():
    features, groups, _ = planted(n=600)
    found = find_modules(np.concatenate([features, features[:1].repeat(5000, axis=0)]), 3, rng=0)
    assert len(found.experts) == 600
    assert adjusted_rand_score(found.features, groups) == 1


def test_the_papers_own_finder_is_another():
    features, groups, _ = planted(snr=4.0)
    found = find_modules(np.abs(features), 3, method="cosine", rng=0)
    assert found.k == 3 and adjusted_rand_score(found.features, groups) > 0.9
    # of signed, uncorrelated features the cosine knows nothing
    assert adjusted_rand_score(find_modules(features, 3, method="cosine", rng=0).features, groups) < 0.3


def test_percentile_experts_by_hand():
    magnitudes = np.array([[3.0, 1.0, 0.0], [2.0, 2.0, 9.0], [1.0, 3.0, 5.0]])
    # ranks within columns: [3, 1, 1], [2, 2, 3], [1, 3, 2]; means of modules {0}, {1, 2}: (3, 1), (2, 2.5), (1, 2.5)
    assert modules.percentile_experts(magnitudes, np.array([0, 1, 1])).tolist() == [0, 1, 1]


@pytest.mark.parametrize(("arguments", "error", "message"), [
    ({"k": 1}, ValueError, "k must be at least 2"),
    ({"k": 2.0}, TypeError, "k must be an integer"),
    ({"k": 61}, ValueError, "at least k=61 features that vary"),
    ({"k": 3, "sparsity": 1.0}, ValueError, "sparsity"),
    ({"k": 3, "method": "raw"}, ValueError, "method must be one of"),
    ({"k": 3, "max_rows": 1}, ValueError, "max_rows"),
    ({"k": 3, "rng": "x"}, TypeError, "rng"),
])
def test_bad_arguments(arguments, error, message):
    with pytest.raises(error, match=message):
        find_modules(planted(n=60)[0], **arguments)


@pytest.mark.parametrize(("A", "message"), [
    (np.zeros((50, 5)), "at least k=2 features that vary"), (np.full((50, 5), np.nan), "finite"),
    (np.ones((2, 3, 4)), "reshape")])
def test_bad_activations(A, message):
    with pytest.raises(ValueError, match=message):
        find_modules(A, 2)
