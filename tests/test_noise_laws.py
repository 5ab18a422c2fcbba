"""Feature noise that is not Gaussian, or correlated: its law, its bits, its bad input."""

import dataclasses
import hashlib
import math

import numpy as np
import pytest
from scipy import stats

import moenoise as mn
from moenoise import _noise_laws

VARIANCE = 0.49
UNEQUAL = mn.BlockModel(
    [np.array([[2.0, 0.6, 0.0], [0.6, 1.0, -0.3], [0.0, -0.3, 0.5]]), [[3.0]], np.eye(2)],
    [[1.0, -2.0, 0.5], [0.7], [0.0, 1.5]], [0.5, 0.2, 0.3], VARIANCE,
)  # fmt: skip
AR1 = 0.6 ** np.abs(np.subtract.outer(np.arange(6), np.arange(6)))
EVERY_NOISE = [*_noise_laws.NAMES, pytest.param(AR1, id="correlated")]


def noise_of(law, n=50_000, **given):
    """(n, 6) the noise of a sample, in units of its standard deviation."""
    clean = dataclasses.replace(UNEQUAL, noise_variance=0.0)
    given = {"rng": 4, **given}
    return (UNEQUAL.sample(n, noise=law, **given).features - clean.sample(n, **given).features) / math.sqrt(VARIANCE)


@pytest.mark.parametrize("law", EVERY_NOISE)
def test_variance_is_the_models(law):
    noise = noise_of(law)
    kurtosis = 0.0 if isinstance(law, np.ndarray) else _noise_laws.EXCESS_KURTOSIS[law]
    tolerance = 5 * math.sqrt((kurtosis + 2) / len(noise)) + 1e-12
    np.testing.assert_allclose((noise**2).mean(axis=0), 1, rtol=0, atol=tolerance)
    assert (np.abs(noise.mean(axis=0)) < 5 / math.sqrt(len(noise))).all()


@pytest.mark.parametrize("law", ["gaussian", "laplace", "rademacher"])
def test_kurtosis(law):
    """Not of Student's t: its sample kurtosis has an infinite variance."""
    noise = noise_of(law).ravel()
    fourth = noise**4
    error = 5 * fourth.std() / math.sqrt(fourth.size) + 1e-12
    assert abs(fourth.mean() - 3 - _noise_laws.EXCESS_KURTOSIS[law]) < error


@pytest.mark.parametrize(("law", "distribution"), [
    ("gaussian", stats.norm()), ("laplace", stats.laplace(scale=math.sqrt(0.5))),
    ("student-t", stats.t(5, scale=math.sqrt(0.6))),
])  # fmt: skip
def test_distribution(law, distribution):
    assert stats.kstest(noise_of(law).ravel(), distribution.cdf).pvalue > 1e-6


def test_excess_kurtosis_is_that_of_the_distributions():
    known = {"gaussian": stats.norm, "laplace": stats.laplace, "student-t": stats.t(5)}
    for law, distribution in known.items():
        assert float(distribution.stats(moments="k")) == pytest.approx(_noise_laws.EXCESS_KURTOSIS[law])


def test_rademacher_has_two_values():
    values = np.unique(noise_of("rademacher").round(12))
    assert values.tolist() == [-1.0, 1.0]
    assert abs(noise_of("rademacher").mean()) < 5 / math.sqrt(300_000)


def test_correlation_is_the_given_one():
    noise = noise_of(AR1)
    error = np.sqrt((1 + AR1**2) / len(noise))
    assert (np.abs(noise.T @ noise / len(noise) - AR1) < 5 * error).all()
    assert all(stats.kstest(column, "norm").pvalue > 1e-6 for column in noise.T)


@pytest.mark.parametrize("law", ["laplace", "student-t", "rademacher"])
def test_entries_are_independent(law):
    """Of each other, and so are their absolute values; of other laws' draws only the signs are the same."""
    noise = noise_of(law)
    limit = 5 / math.sqrt(len(noise))
    assert (np.abs(np.corrcoef(noise.T) - np.eye(6)) < limit).all()
    np.testing.assert_array_equal(np.sign(noise), np.sign(noise_of("gaussian")))
    if law != "rademacher":
        ranks = stats.rankdata(np.abs(noise), axis=0)  # ranks: the fourth moments are large
        assert (np.abs(np.corrcoef(ranks.T) - np.eye(6)) < limit).all()
        assert abs(np.corrcoef(ranks[1:].ravel(), ranks[:-1].ravel())[0, 1]) < limit


def test_gaussian_is_the_default_bit_by_bit():
    for a, b in zip(UNEQUAL.sample(500, rng=3), UNEQUAL.sample(500, rng=3, noise="gaussian")):
        np.testing.assert_array_equal(a, b)


def test_no_correlation_is_gaussian_noise():
    uncorrelated = UNEQUAL.sample(500, rng=3, noise=np.eye(6)).features
    np.testing.assert_allclose(uncorrelated, UNEQUAL.sample(500, rng=3).features, rtol=1e-13, atol=1e-14)


@pytest.mark.parametrize("law", EVERY_NOISE)
@pytest.mark.parametrize("routing", ["random", "balanced"])
def test_a_longer_sample_begins_with_the_shorter(law, routing):
    short, long = (UNEQUAL.sample(n, rng=5, routing=routing, noise=law) for n in (37, 9000))
    for a, b in zip(short, long):
        np.testing.assert_array_equal(a, b[:37])


@pytest.mark.parametrize("law", EVERY_NOISE)
def test_all_but_the_noise_is_the_same(law):
    one, other = UNEQUAL.sample(400, rng=5, replicate=3, noise=law), UNEQUAL.sample(400, rng=5, replicate=3)
    np.testing.assert_array_equal(one.response, other.response)
    np.testing.assert_array_equal(one.expert, other.expert)
    clean = dataclasses.replace(UNEQUAL, noise_variance=0.0)
    np.testing.assert_array_equal(clean.sample(400, rng=5, noise=law).features, clean.sample(400, rng=5).features)


@pytest.mark.parametrize("law", EVERY_NOISE)
def test_replicates_and_seeds_are_independent(law):
    draws = [noise_of(law, 5000, rng=rng, replicate=replicate).ravel() for rng in (0, 1) for replicate in (0, 1)]
    # Correlated columns: of the n d products at most d are dependent, hence the factor sqrt(d).
    limit = 6 * math.sqrt(6 / draws[0].size)
    assert (np.abs(np.corrcoef(draws) - np.eye(4)) < limit).all()


def test_bits_are_the_same_everywhere():
    """The digest is what every machine must give: nothing on the way may depend on the CPU."""
    model = mn.BlockModel.toeplitz(60, 4, decay=0.7, scale=3.0, rng=8)
    correlation = mn.BlockModel.toeplitz(60, 1, rng=0).covariances[0]
    digest = hashlib.sha256()
    for law in (*_noise_laws.NAMES[1:], correlation):
        digest.update(np.ascontiguousarray(model.sample(500, rng=9, replicate=2, noise=law).features).tobytes())
    assert digest.hexdigest() == DIGEST


DIGEST = "a47db7e9742426d68ab7d41d8d4ae174bf6eaa06f5244be8a6c919861313bfea"


@pytest.mark.parametrize("rank", [1, 3])
def test_singular_correlation(rank):
    root = np.random.default_rng(rank).standard_normal((6, rank))
    root /= np.linalg.norm(root, axis=1, keepdims=True)
    assert np.linalg.matrix_rank(noise_of(root @ root.T, 200), tol=1e-6) == rank


def test_single_precision_correlation():
    noise = noise_of(AR1.astype(np.float32), 200)
    np.testing.assert_allclose(noise, noise_of(AR1, 200), atol=1e-5)


@pytest.mark.parametrize("noise", [
    "cauchy", None, 0.5, [1.0] * 6, np.eye(5), 2 * np.eye(6), np.full((6, 6), np.nan), np.triu(np.ones((6, 6))),
    np.eye(6) + np.diag(np.full(5, 0.9), 1) + np.diag(np.full(5, 0.9), -1),
], ids=["name", "none", "number", "vector", "size", "diagonal", "nan", "asymmetric", "indefinite"])  # fmt: skip
def test_bad_noise_is_named(noise):
    with pytest.raises((TypeError, ValueError), match="noise must"):
        UNEQUAL.sample(5, noise=noise)
    with pytest.raises((TypeError, ValueError), match="noise must"):
        dataclasses.replace(UNEQUAL, noise_variance=0.0).sample(5, noise=noise)
