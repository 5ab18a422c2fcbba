"""The modularity on held-out rows tells modules from what correlations, tails and transforms make look like them."""

import numpy as np
import pytest
from scipy.special import ndtr

import moenoise as mn
from moenoise.activations import modularity as modularity_module
from moenoise.activations.copula import GaussianCopula
from moenoise.activations.folds import folds, mean_and_error
from moenoise.activations.modularity import cross_score, held_out, judge_modularity
from moenoise.activations.modules import modules_of

N, D = 1600, 72


def gaussian_factors(seed=0):
    generator = np.random.default_rng(seed)
    return (generator.standard_normal((N, 6)) @ generator.standard_normal((6, D)) / np.sqrt(6)
            + 0.3 * generator.standard_normal((N, D)))


def heavy_tails():
    rows = np.random.default_rng(2).standard_t(3, (N, D))
    rows[:, :4] *= 30
    return rows


def loud_rows_and_columns():
    """Signs and magnitudes independent, but for scales: loud columns of loud rows are all active, no module."""
    generator = np.random.default_rng(4)
    scales = np.exp(generator.standard_normal((N, 1))) * np.exp(generator.standard_normal((1, D)))
    return scales * generator.standard_normal((N, D))


def sparse_rectified():
    factors = gaussian_factors()
    return np.maximum(factors / factors.std(axis=0) - 1.5, 0)


def scaled_rows():
    return gaussian_factors() * np.random.default_rng(3).gamma(2, size=(N, 1))


CONTROLS = {
    "white": lambda: np.random.default_rng(0).standard_normal((N, D)),
    "low rank": gaussian_factors,
    "low rank, ReLU": lambda: np.maximum(gaussian_factors(), 0),
    "low rank, GELU": lambda: gaussian_factors() * ndtr(gaussian_factors()),
    "heavy tails, outlier columns": heavy_tails,
    "rows of different scale": scaled_rows,
    "loud rows and columns": loud_rows_and_columns,
    "low rank, sparse ReLU": sparse_rectified,
    "low rank, binary": lambda: (gaussian_factors() > 1.0).astype(float),
}


def judged(rows, k=4, seed=0, jobs=2):
    halves = folds(np.arange(len(rows)), 2, 1) == 0
    return judge_modularity(rows, halves, k, 0.7, draws=20, seed=seed, jobs=jobs)


def planted(snr):
    return mn.BlockModel.isotropic(D, 4, variance=snr, rng=0).sample(N, rng=1).features


def test_modules_are_modular():
    found = judged(planted(4.0))
    assert found.modular and found.z > 30 and found.ratio > 2
    assert found.ari == 1 and abs(found.null_ari) < 0.2
    assert found.density_inside > 0.5 > 0.3 > found.density_outside
    assert found.null_density_inside < found.density_inside


@pytest.mark.parametrize("name", CONTROLS)
def test_controls_are_not(name):
    found = judged(CONTROLS[name]())
    assert found.modular is False and found.ratio < 1.4
    assert found.z < 5 or name == "low rank, GELU"  # whose magnitude falls before it rises
    assert len(found.null) == 20 and found.null.std() > 0


def test_scales_of_rows_are_explained_by_the_second_null_only():
    rows = loud_rows_and_columns()
    found = judged(rows)
    assert found.null_kind == "correlations and scales of rows"
    halves = folds(np.arange(N), 2, 1) == 0
    first = [cross_score(GaussianCopula(rows).draw(0, number), halves, 4, 0.7, 0)[0] for number in range(3)]
    assert found.score > 1.5 * np.mean(first)


def test_a_null_without_the_correlations_is_none(monkeypatch):
    monkeypatch.setattr(modularity_module, "correlation_kept", lambda rows, drawn: 0.5)
    assert judged(planted(4.0)).modular is None
    assert judged(gaussian_factors()).modular is False


def test_scores_beside_a_null_without_spread():
    assert modularity_module.compared(0.0, 0.0, 0.0) == (0.0, 1.0)
    assert modularity_module.compared(0.2, 0.1, 0.05) == (2.0, 2.0)
    assert modularity_module.compared(0.2, 0.0, 0.0) == (np.inf, np.inf)


def test_permuted_columns_would_be_the_wrong_null():
    """A low-rank Gaussian has no modules; beside permuted columns it would seem to."""
    rows = gaussian_factors()
    halves = folds(np.arange(N), 2, 1) == 0
    own = cross_score(rows, halves, 4, 0.7, 0)[0]
    permuted = [cross_score(np.random.default_rng(i).permuted(rows, axis=0), halves, 4, 0.7, 0)[0] for i in range(20)]
    assert (own - np.mean(permuted)) / np.std(permuted) > 15
    assert abs(judged(rows).z) < 4


def test_the_number_of_threads_does_not_matter():
    one, many = judged(planted(1.0), jobs=1), judged(planted(1.0), jobs=3)
    np.testing.assert_array_equal(one.null, many.null)
    assert one._replace(null=0) == many._replace(null=0)


def test_held_out_by_hand():
    modules = modules_of(np.kron(np.eye(2), np.ones((6, 3))) + 0.01 * np.random.default_rng(0).random((12, 6)), 2, 0.5,
                         seed=0)
    rows = np.kron(np.eye(2), np.ones((4, 3)))
    score, inside, outside = held_out(rows, modules)
    assert (score, inside, outside) == (0.5, 1.0, 0.0)  # W_bb / T - R_b C_b / T^2 = 2 (1/2 - 1/4)


def test_held_out_rows_without_active_entries():
    modules = modules_of(planted(4.0), 4, 0.7, seed=0)
    assert held_out(np.zeros((5, D)), modules) == (0.0, 0.0, 0.0)


def test_folds_keep_groups_whole_and_are_balanced():
    groups = np.repeat(np.arange(50), np.arange(1, 51))
    fold = folds(groups, 4, 0)
    assert all(len(np.unique(fold[groups == g])) == 1 for g in range(50))
    counts = np.bincount(fold)
    assert len(counts) == 4 and counts.max() - counts.min() < 12
    assert not np.array_equal(folds(np.repeat(np.arange(30), 3), 4, 0), folds(np.repeat(np.arange(30), 3), 4, 1))
    assert not np.array_equal(folds(np.arange(99), 4, 0), folds(np.arange(99), 4, 1))
    assert np.bincount(folds(np.arange(10), 4, 0)).tolist() in ([3, 3, 2, 2], [3, 2, 3, 2], [2, 3, 3, 2], [3, 2, 2, 3],
                                                              [2, 3, 2, 3], [2, 2, 3, 3])


def test_too_few_groups():
    with pytest.raises(ValueError, match="groups must hold at least 4 different ones, got 3"):
        folds([0, 1, 2, 2], 4, 0)


def test_errors_count_groups_not_rows():
    generator = np.random.default_rng(0)
    effects = generator.standard_normal(400)
    values, groups = np.repeat(effects, 10), np.repeat(np.arange(400), 10)
    mean, error = mean_and_error(values, groups)
    assert mean == pytest.approx(effects.mean())
    assert error == pytest.approx(effects.std(ddof=1) / 20, rel=1e-6)
    assert mean_and_error(values, np.arange(4000))[1] == pytest.approx(error / np.sqrt(10), rel=0.01)
    assert mean_and_error([1.0, 2.0], [0, 0])[1] == np.inf


def test_of_equal_numbers_of_modules_the_least_is_taken(monkeypatch):
    """With far too many the surplus comes out empty, and the score is that of the right number."""
    scores = {2: 0.1, 3: 0.16, 4: 0.16 + 1e-9, 6: 0.12, 8: 0.1601, 12: 0.05}
    monkeypatch.setattr(modularity_module, "cross_score", lambda rows, halves, k, sparsity, seed: (scores[k],))
    assert modularity_module.best_number(None, None, scores, 0.7, 0) == 3
    assert modularity_module.best_number(None, None, (12,), 0.7, 0) == 12
    scores.update(dict.fromkeys(scores, -1.0))
    assert modularity_module.best_number(None, None, scores, 0.7, 0) == 2


def test_draws_choose_their_number_of_modules_too():
    """Else the number that suits the activations would be held against draws that others suit better."""
    rows = gaussian_factors()
    halves = folds(np.arange(N), 2, 1) == 0
    given, chosen = (judge_modularity(rows, halves, 2, 0.7, draws=20, seed=0, jobs=2, candidates=candidates)
                     for candidates in ((), (2, 4, 8)))
    assert given.score == chosen.score
    assert chosen.null.mean() > given.null.mean() + 3 * given.null.std()
