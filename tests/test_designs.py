"""Draws of a model and of fixed spectra: their law, their bits, their bad input."""

import hashlib
import math
import pickle

import numpy as np
import pytest
from scipy import stats

import moenoise as mn
from moenoise import _core
from moenoise.designs import balanced_experts

UNEQUAL = mn.BlockModel(
    [np.array([[2.0, 0.6, 0.0], [0.6, 1.0, -0.3], [0.0, -0.3, 0.5]]), [[3.0]], np.eye(2)],
    [[1.0, -2.0, 0.5], [0.7], [0.0, 1.5]],
    probabilities=[0.5, 0.2, 0.3],
    noise_variance=0.49,
)


def digest(*arrays):
    return hashlib.sha256(b"".join(np.ascontiguousarray(array).tobytes() for array in arrays)).hexdigest()


@pytest.mark.parametrize("expert", range(3))
def test_second_moments_are_the_models(expert):
    """All d features and the response, given the expert; false alarm below 1e-4 for the whole test."""
    s = UNEQUAL.sample(300_000, rng=11)
    rows = s.expert == expert
    observed = np.column_stack([s.features, s.response])[rows]
    block, beta = UNEQUAL.blocks[expert], UNEQUAL.coefficients[expert]
    expected = np.diag(np.r_[np.full(UNEQUAL.d, UNEQUAL.noise_variance), 0.0])
    expected[block, block] += UNEQUAL.covariances[expert]
    expected[block, -1] = expected[-1, block] = UNEQUAL.covariances[expert] @ beta
    expected[-1, -1] = beta @ UNEQUAL.covariances[expert] @ beta
    moments = observed.T @ observed / rows.sum()
    # Var(uv) = E u^2 E v^2 + (E uv)^2 for centred normals
    error = np.sqrt((np.outer(np.diag(expected), np.diag(expected)) + expected**2) / rows.sum())
    assert (np.abs(moments - expected) < 5 * error).all()
    assert (np.abs(observed.mean(0)) < 5 * np.sqrt(np.diag(expected) / rows.sum())).all()


def test_response_is_the_clean_features_times_the_coefficients():
    clean = mn.BlockModel(UNEQUAL.covariances, UNEQUAL.coefficients, UNEQUAL.probabilities, noise_variance=0.0)
    s = clean.sample(1000, rng=1)
    np.testing.assert_allclose(s.features @ np.concatenate(clean.coefficients), s.response, rtol=0, atol=1e-14)
    for i, block in enumerate(clean.blocks):
        own = np.zeros(clean.d, bool)
        own[block] = True
        assert (s.features[s.expert == i][:, ~own] == 0).all()
        assert (s.features[s.expert == i][:, own] != 0).all()


def test_noise_is_added_to_the_same_clean_rows():
    clean = mn.BlockModel(UNEQUAL.covariances, UNEQUAL.coefficients, UNEQUAL.probabilities, noise_variance=0.0)
    a, b = clean.sample(20_000, rng=1), UNEQUAL.sample(20_000, rng=1)
    np.testing.assert_array_equal(a.response, b.response)
    noise = ((b.features - a.features) / math.sqrt(UNEQUAL.noise_variance)).ravel()
    assert stats.kstest(noise, "norm").pvalue > 1e-6


def test_experts_follow_the_probabilities():
    expert = UNEQUAL.sample(100_000, rng=3).expert
    assert expert.dtype == np.intp
    assert stats.chisquare(np.bincount(expert), 100_000 * UNEQUAL.probabilities).pvalue > 1e-6


@pytest.mark.parametrize("p", [[1.0], [0.5, 0.5], [0.1, 0.2, 0.7], [1 / 3] * 3, [1 / 12] * 12, [0.001, 0.999]])
def test_balanced_routing_is_balanced_at_every_prefix(p):
    model = mn.BlockModel([[[1.0]]] * len(p), [[1.0]] * len(p), p)
    n = 20_000
    counts = np.cumsum(balanced_experts(model, n)[:, None] == np.arange(len(p)), axis=0)
    assert (np.abs(counts - np.arange(1, n + 1)[:, None] * model.probabilities) < 1).all()


def test_balanced_routing_of_many_uneven_experts():
    p = np.random.default_rng(0).dirichlet(np.full(100, 0.3)) + 1e-4
    model = mn.BlockModel([[[1.0]]] * 100, [[1.0]] * 100, p / p.sum())
    counts = np.cumsum(balanced_experts(model, 5000)[:, None] == np.arange(100), axis=0)
    assert (np.abs(counts - np.arange(1, 5001)[:, None] * model.probabilities) < 1).all()


@pytest.mark.parametrize("routing", ["random", "balanced"])
def test_a_longer_sample_begins_with_the_shorter(routing):
    short, long = (UNEQUAL.sample(n, rng=5, routing=routing) for n in (37, 5000))
    for a, b in zip(short, long):
        np.testing.assert_array_equal(a, b[:37])


def test_chunks_are_the_whole():
    s = UNEQUAL.sample(1000, rng=5)
    key = mn.designs.philox_key(5)
    stream = mn.designs.Stream
    pieces = [
        _core.block_design(key, 0, stream.FEATURES, stream.NOISE, first, s.expert[first:last], UNEQUAL.block_sizes,
                           *UNEQUAL.sampling_factors, np.concatenate(UNEQUAL.coefficients),
                           math.sqrt(UNEQUAL.noise_variance))
        for first, last in [(0, 1), (1, 400), (400, 1000)]
    ]  # fmt: skip
    np.testing.assert_array_equal(np.concatenate([features for features, _ in pieces]), s.features)
    np.testing.assert_array_equal(np.concatenate([response for _, response in pieces]), s.response)


def test_seeds_and_replicates_are_independent_draws():
    draws = [UNEQUAL.sample(2000, rng=rng, replicate=r).features.ravel() for rng in (0, 1) for r in (0, 1)]
    correlation = np.corrcoef(draws) - np.eye(4)
    assert (np.abs(correlation) < 6 / math.sqrt(draws[0].size)).all()
    assert len({d.tobytes() for d in draws}) == 4


def test_a_generator_is_advanced():
    rng = np.random.default_rng(0)
    assert not np.array_equal(UNEQUAL.sample(5, rng=rng).features, UNEQUAL.sample(5, rng=rng).features)


def test_bits_of_a_sample_are_the_same_everywhere():
    """The digests are what every machine must give: nothing on the way may depend on the CPU."""
    model = mn.BlockModel.toeplitz(60, 4, decay=0.7, scale=3.0, rng=8)
    assert digest(*model.coefficients, *model.covariances) == TOEPLITZ_DIGEST
    assert digest(*model.sample(500, rng=9, replicate=2)) == SAMPLE_DIGEST
    design = mn.spectral_design([[3.0, 1.0], [2.0]], [(2, 3), (4, 1)], noise_variance=0.5, rng=1)
    assert digest(*design) == SPECTRAL_DIGEST


TOEPLITZ_DIGEST = "11581a43258062f643603da75a6975c02cc3a665926ac5813a1ec54fb545eea7"
SAMPLE_DIGEST = "7de5c575e88c5d6243cf46487b77132e0fd26b1fd3f52b430e4f02e1a573bcc1"
SPECTRAL_DIGEST = "f31e6f3857b073a1e48bbb92ce1e3c25e418594fa61edd13491996d96c81adb5"


def test_a_pickled_model_draws_the_same():
    a, b = UNEQUAL.sample(50, rng=0), pickle.loads(pickle.dumps(UNEQUAL)).sample(50, rng=0)
    np.testing.assert_array_equal(a.features, b.features)


@pytest.mark.parametrize("rank", [0, 1, 3, 6])
def test_singular_covariances_are_drawn_from(rank):
    root = np.random.default_rng(rank).standard_normal((6, rank))
    covariance = root @ root.T
    factor, permutation, found = _core.psd_factor(np.ascontiguousarray(covariance))
    assert found == rank
    np.testing.assert_allclose(factor.T @ factor, covariance[np.ix_(permutation, permutation)], rtol=0, atol=1e-13)
    s = mn.BlockModel([covariance], [np.ones(6)], noise_variance=0.0).sample(200, rng=0)
    assert np.linalg.matrix_rank(s.features, tol=1e-6) == rank


def test_features_of_very_different_scale_are_all_drawn():
    covariance = np.diag([1.0, 1e-16, 1e-30])
    s = mn.BlockModel([covariance], [np.ones(3)], noise_variance=0.0).sample(20_000, rng=0)
    np.testing.assert_allclose(s.features.var(axis=0), np.diag(covariance), rtol=0.05)


@pytest.mark.parametrize("decay", [0.5, 0.9, -0.8])
def test_factors_of_toeplitz_blocks(decay):
    covariance = mn.BlockModel.toeplitz(40, 1, decay=decay, scale=3.0, rng=0).covariances[0]
    factor, permutation, rank = _core.psd_factor(covariance)
    assert rank == 40
    np.testing.assert_allclose(factor.T @ factor, covariance[np.ix_(permutation, permutation)], rtol=1e-13, atol=1e-13)
    np.testing.assert_array_equal(factor, np.triu(factor))


@pytest.mark.parametrize("matrix", [[[0.0, 1.0], [1.0, 0.0]], [[1.0, 2.0], [2.0, 1.0]], [[1.0, 0.0], [0.0, -1e-3]],
                                    [[1.0, 0.0, 0.0], [0.0, 1e-12, 1e-11], [0.0, 1e-11, 1e-12]], [[np.nan]]])
def test_indefinite_matrices_are_refused_by_the_kernel(matrix):
    with pytest.raises(ValueError, match="positive semidefinite"):
        _core.psd_factor(np.array(matrix))


@pytest.mark.parametrize(("arguments", "name"), [
    ({"n": 0}, "n must"), ({"n": -1}, "n must"), ({"n": 2.0}, "n must"), ({"n": 2**31}, "n must"),
    ({"n": 5, "replicate": -1}, "replicate"), ({"n": 5, "replicate": 2**32}, "replicate"),
    ({"n": 5, "routing": "top-1"}, "routing"), ({"n": 5, "rng": -3}, "rng"),
])  # fmt: skip
def test_bad_arguments_of_sample_are_named(arguments, name):
    with pytest.raises((TypeError, ValueError), match=name):
        UNEQUAL.sample(**arguments)


# ---- fixed spectra -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shape", [(3, 7), (7, 3), (5, 5), (1, 4), (4, 1), (1, 1)])
def test_spectrum_is_the_given_one(shape):
    values = np.linspace(0.5, 3.0, min(shape))
    clean, noisy = mn.spectral_design([values], [shape], noise_variance=0.0, rng=3)
    np.testing.assert_allclose(np.linalg.svd(clean, compute_uv=False), values[::-1], rtol=1e-12)
    np.testing.assert_array_equal(clean, noisy)


def test_blocks_lie_on_the_diagonal_and_noise_everywhere():
    shapes = [(2, 5), (4, 3), (1, 1)]
    clean, noisy = mn.spectral_design([np.ones(2), np.ones(3), [2.0]], shapes, noise_variance=7.0, rng=3)
    assert clean.shape == noisy.shape == (7, 9)
    inside = np.zeros(clean.shape, bool)
    inside[:2, :5] = inside[2:6, 5:8] = inside[6:, 8:] = True
    np.testing.assert_array_equal(clean != 0, inside)
    assert ((noisy - clean) != 0).all()


def test_noise_has_the_stated_variance_an_entry():
    clean, noisy = mn.spectral_design([np.ones(200)], [(200, 300)], noise_variance=7.0, rng=3)
    noise = (noisy - clean).ravel() * math.sqrt(200 / 7.0)
    assert stats.kstest(noise, "norm").pvalue > 1e-6


def test_singular_vectors_are_uniform():
    """Of the projector on the leading left vector and of the vector pair: means known for the Haar law."""
    draws = np.array([mn.spectral_design([[1.0, 0.0]], [(2, 3)], noise_variance=0.0, rng=i).clean for i in range(4000)])
    assert (np.abs(draws.mean(0)) < 5 * math.sqrt(1 / 6 / len(draws))).all(), "no entry has a preferred sign"
    squares = draws**2  # u_a^2 v_b^2 with mean 1/2 * 1/3 and second moment 3/8 * 1/5
    assert (np.abs(squares.mean(0) - 1 / 6) < 5 * math.sqrt((3 / 40 - 1 / 36) / len(draws))).all()
    products = draws[:, 0, 0] * draws[:, 1, 1]  # u_1 u_2 v_1 v_2: mean 0
    assert abs(products.mean()) < 5 * products.std() / math.sqrt(len(draws))


@pytest.mark.parametrize(("arguments", "name"), [
    (([[1.0]], [(1, 1), (1, 1)]), "singular_values"), (([[1.0, 2.0]], [(1, 3)]), "singular_values"),
    (([[-1.0]], [(1, 3)]), "singular_values"), (([[np.nan]], [(1, 3)]), "singular_values"),
    (([], []), "singular_values"),
    (([[1.0]], [(0, 3)]), "shapes"), (([[1.0]], [(1,)]), "shapes"), (([[1.0]], [1]), "shapes"),
    (([[1.0]], [(1, 2**31)]), "shapes"),
])  # fmt: skip
def test_bad_arguments_of_spectral_design_are_named(arguments, name):
    with pytest.raises((TypeError, ValueError), match=name):
        mn.spectral_design(*arguments, noise_variance=1.0)


def test_negative_noise_is_refused():
    with pytest.raises(ValueError, match="noise_variance"):
        mn.spectral_design([[1.0]], [(1, 1)], noise_variance=-1.0)
