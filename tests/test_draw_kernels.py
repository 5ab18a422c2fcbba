"""The kernels behind the draws against their twins."""

import numpy as np
import pytest
import reference
from reference import relative_error

from moenoise import _core

KEY = 0x0123456789ABCDEF


@pytest.mark.parametrize("first, count", [(0, 1), (0, 1000), (1, 1), (7, 333), (2**32 - 5, 12), (2**40 + 1, 9)])
@pytest.mark.parametrize("source", [(0, 0, 0), (KEY, 3, 7), (2**64 - 1, 2**32 - 1, 2**32 - 1)])
def test_normals_and_uniforms_match_their_twins(source, first, count):
    key, stream, replicate = source
    normals = _core.standard_normal(key, stream, replicate, first, count)
    assert relative_error(normals, reference.standard_normal(key, stream, replicate, first, count)) < 1e-14
    uniforms = _core.uniform(key, stream, replicate, first, count)
    assert np.array_equal(uniforms, reference.uniform(key, stream, replicate, first, count))


@pytest.mark.parametrize("probabilities", [[1.0], [0.5, 0.5], [0.15, 0.6, 0.25], [1 / 12] * 12])
def test_balanced_assignment_matches_its_twin(probabilities):
    p = np.array(probabilities)
    assert np.array_equal(_core.balanced_assignment(p, 500), reference.balanced_assignment(p, 500))


@pytest.mark.parametrize("m, rank", [(1, 1), (1, 0), (5, 5), (6, 3), (7, 0), (40, 40), (40, 7)])
def test_psd_factor_matches_its_twin(m, rank):
    root = np.random.default_rng(0).standard_normal((m, rank))
    covariance = root @ root.T
    factor, permutation, found = _core.psd_factor(covariance)
    expected, pivots, expected_rank = reference.psd_factor(covariance)
    assert found == rank == expected_rank
    assert np.array_equal(permutation[:rank], pivots[:rank])
    # Columns in their own order: behind the rank the order of the pivots is arbitrary.
    if rank:
        assert relative_error(factor[:, permutation.argsort()], expected[:, pivots.argsort()]) < 1e-13
        assert relative_error(factor.T @ factor, covariance[np.ix_(permutation, permutation)]) < 1e-14
    else:
        assert not factor.any()


@pytest.mark.parametrize("first_row", [0, 7, 2**31])
@pytest.mark.parametrize("deviation", [0.0, 0.7])
@pytest.mark.parametrize("block_sizes", [[4], [3, 3], [3, 1, 5], [9, 37, 1, 70]])
def test_block_design_matches_its_twin(block_sizes, deviation, first_row):
    rng = np.random.default_rng(1)
    roots = [rng.standard_normal((size, size)) for size in block_sizes]
    factors, permutations, _ = zip(*(_core.psd_factor(root @ root.T) for root in roots))
    arguments = (
        KEY, 3, 11, 12, first_row, rng.integers(0, len(block_sizes), 30), np.array(block_sizes),
        np.concatenate([factor.ravel() for factor in factors]), np.concatenate(permutations),
        rng.standard_normal(sum(block_sizes)), deviation,
    )  # fmt: skip
    features, response = _core.block_design(*arguments)
    expected_features, expected_response = reference.block_design(*arguments)
    assert relative_error(features, expected_features) < 1e-14
    assert relative_error(response, expected_response) < 1e-14


@pytest.mark.parametrize("n, d", [(1, 1), (4, 7), (7, 4), (30, 30), (1, 5), (5, 1)])
def test_spectral_block_matches_its_twin(n, d):
    singular_values = np.random.default_rng(2).uniform(1, 5, min(n, d))
    arguments = KEY, 2, 5, 6, singular_values, n, d
    assert relative_error(_core.spectral_block(*arguments), reference.spectral_block(*arguments)) < 1e-14
