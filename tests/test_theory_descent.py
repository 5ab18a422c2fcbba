"""Theorem 5: the spectrum of a noisy design and the rate of gradient descent."""

import numpy as np
import pytest

from moenoise import theory

# Edges of finite matrices differ from their limits by an order of M^(-2/3).
MARGIN = 0.03  # relative, on squared singular values
FLOOR = 0.004  # on top of it, relative to the largest of them
PAPER_BLOCKS = [np.linspace(low, high, 400) for low, high in [(3, 6), (4, 5), (5, 9), (3.5, 4)]]
PAPER_SHAPES = [(400, 800)] * 4


def close(edges, measured):
    return np.allclose(edges, measured, rtol=MARGIN, atol=FLOOR * measured[1])


def noisy_edges(singular_values, rows, columns, entry_variance, rng, repeats=4):
    """Means of the smallest and largest squared singular value over draws of the noise."""
    clean = np.zeros((rows, columns))
    np.fill_diagonal(clean, singular_values)  # Gaussian noise looks the same in every basis
    edges = []
    for _ in range(repeats):
        noisy = clean + np.sqrt(entry_variance) * rng.standard_normal(clean.shape)
        gram = noisy @ noisy.T if rows <= columns else noisy.T @ noisy
        edges.append(np.linalg.eigvalsh(gram)[[0, -1]])
    return np.mean(edges, axis=0)


@pytest.mark.parametrize(
    "values, rows, columns",
    [
        (np.linspace(3, 6, 300), 300, 600),
        (np.linspace(0, 2, 300), 300, 600),
        (np.r_[np.full(150, 1.0), np.full(150, 5.0)], 600, 300),
        (np.linspace(2, 3, 200), 200, 1600),
        (np.full(300, 3.0), 300, 300),
    ],
    ids=["paper", "down to zero", "tall, two clusters", "wide", "square"],
)
def test_edges_against_simulation(values, rows, columns):
    variance = 1 / rows
    measured = noisy_edges(values, rows, columns, variance, np.random.default_rng(1))
    shape = {"rows": rows, "columns": columns}
    assert close(theory.singular_edges(values, **shape, entry_variance=variance), measured)
    assert not close(theory.singular_edges(values, **shape, entry_variance=1.3 * variance), measured)


def test_edges_at_the_papers_size_and_printed_form_fails():
    rng = np.random.default_rng(2)
    whole = noisy_edges(np.concatenate(PAPER_BLOCKS), 1600, 3200, 1 / 1600, rng, repeats=1)
    corrected = theory.convergence(PAPER_BLOCKS, noise_variance=1.0, shapes=PAPER_SHAPES)
    printed = theory.convergence(PAPER_BLOCKS, noise_variance=1.0, shapes=PAPER_SHAPES, form="printed")
    assert close(corrected.dense_edges, whole)
    assert not close(printed.dense_edges, whole)
    for i, values in enumerate(PAPER_BLOCKS):
        block = noisy_edges(values, 400, 800, 1 / 1600, rng)
        assert close(corrected.sparse_edges[i], block)
        assert not close(printed.sparse_edges[i], block)
        assert corrected.sparse[i] == pytest.approx(1 - block[0] / block[1], abs=0.02)
        assert not printed.sparse[i] == pytest.approx(1 - block[0] / block[1], abs=0.02)


def test_papers_numbers():
    corrected = theory.convergence(PAPER_BLOCKS, noise_variance=1.0, shapes=PAPER_SHAPES)
    printed = theory.convergence(PAPER_BLOCKS, noise_variance=1.0, shapes=PAPER_SHAPES, form="printed")
    np.testing.assert_allclose(corrected.dense_edges, [7.44, 87.6], rtol=1e-3)
    np.testing.assert_allclose(printed.dense_edges, [10 * 11 / 9, 82 * 83 / 81], rtol=1e-14)
    assert corrected.dense == pytest.approx(0.915, abs=5e-4)
    np.testing.assert_allclose(printed.sparse, [0.687, 0.319, 0.666, 0.194], atol=5e-4)
    assert (corrected.sparse <= corrected.dense).all()


def test_descent_contracts_at_the_stated_rate():
    rng = np.random.default_rng(3)
    values = np.linspace(3, 6, 200)
    rates = theory.convergence([values], noise_variance=1.0, shapes=[(200, 400)])
    features = np.hstack([np.diag(values), np.zeros((200, 200))]) + rng.standard_normal((200, 400)) / np.sqrt(200)
    response, coef = rng.standard_normal(200), np.zeros(400)
    step_size = 1 / np.linalg.norm(features, 2) ** 2
    norms = []
    for _ in range(150):
        residual = features @ coef - response
        norms.append(np.linalg.norm(residual))
        coef -= step_size * features.T @ residual
    measured = (norms[-1] / norms[-11]) ** 0.1  # late: the slowest direction is what is left
    assert rates.dense == rates.sparse[0]
    assert rates.dense == pytest.approx(measured, abs=0.02)
    printed = theory.convergence([values], noise_variance=1.0, shapes=[(200, 400)], form="printed")
    assert not printed.dense == pytest.approx(measured, abs=0.02)


@pytest.mark.parametrize("rows, columns", [(50, 80), (80, 50), (60, 60), (1, 5), (1, 1)])
def test_pure_noise_has_marchenko_pasturs_edges(rows, columns):
    edges = theory.singular_edges(np.zeros(min(rows, columns)), rows=rows, columns=columns, entry_variance=0.3)
    low, high = (np.sqrt(columns) - np.sqrt(rows)) ** 2, (np.sqrt(columns) + np.sqrt(rows)) ** 2
    np.testing.assert_allclose(edges, [0.3 * low, 0.3 * high], rtol=1e-12, atol=1e-12)


def test_edges_scale_transpose_and_ignore_order():
    values = np.array([5.0, 1.0, 3.0])
    edges = theory.singular_edges(values, rows=3, columns=7, entry_variance=0.01)
    np.testing.assert_allclose(
        theory.singular_edges(1e5 * values[::-1], rows=7, columns=3, entry_variance=1e8), np.multiply(edges, 1e10)
    )


def test_edges_are_the_extremes_of_phi_on_a_grid():
    values, rows, columns, variance = np.array([2.0, 2.5, 4.0]), 3, 5, 0.05

    def phi(w):
        g = 1 - variance * (1 / (values**2 - w[:, None])).sum(axis=1)
        return w * g**2 + variance * (columns - rows) * g, g

    below, positive = phi(np.linspace(-50, 4 - 1e-6, 2_000_000))
    above, _ = phi(np.linspace(16 + 1e-6, 50, 2_000_000))
    edges = theory.singular_edges(values, rows=rows, columns=columns, entry_variance=variance)
    np.testing.assert_allclose(edges, [below[positive > 0].max(), above.min()], rtol=1e-9)


def test_vanishing_noise_leaves_the_clean_values():
    for variance in (0.0, 1e-14, 1e-200):
        edges = theory.singular_edges([2.0, 3.0], rows=2, columns=4, entry_variance=variance)
        np.testing.assert_allclose(edges, [4.0, 9.0], rtol=1e-6)


def test_square_matrix_reaching_zero_has_edge_zero():
    assert theory.singular_edges(np.linspace(0, 1, 50), rows=50, columns=50, entry_variance=0.1).smallest == 0.0


@pytest.mark.parametrize("form", ["printed", "corrected"])
def test_without_noise_the_clean_condition_number_counts(form):
    rates = theory.convergence([[3.0, 1.0], [2.0]], noise_variance=0.0, shapes=[(2, 3), (4, 1)], form=form)
    assert rates.dense == pytest.approx(1 - 1 / 9)
    np.testing.assert_allclose(rates.sparse, [1 - 1 / 9, 0.0])


def test_wide_beside_tall_blocks():
    """The whole matrix has singular values that no block has: zeros before the noise."""
    rates = theory.convergence([[3.0] * 10, [4.0] * 10], noise_variance=1.0, shapes=[(10, 40), (40, 10)])
    padded = np.r_[np.full(10, 3.0), np.full(10, 4.0), np.zeros(30)]
    assert rates.dense_edges == theory.singular_edges(padded, rows=50, columns=50, entry_variance=1 / 50)


@pytest.mark.parametrize(
    "changes, error, name",
    [
        ({"singular_values": [1.0]}, ValueError, "singular_values"),
        ({"singular_values": [1.0, -1.0]}, ValueError, "singular_values"),
        ({"singular_values": [1.0, np.nan]}, ValueError, "singular_values"),
        ({"singular_values": [1.0, 1e200]}, ValueError, "singular_values"),
        ({"singular_values": [[1.0, 2.0]]}, ValueError, "singular_values"),
        ({"singular_values": [1.0, 2j]}, TypeError, "singular_values"),
        ({"rows": 0}, ValueError, "rows"),
        ({"rows": 2.0}, TypeError, "rows"),
        ({"columns": -3}, ValueError, "columns"),
        ({"entry_variance": -1.0}, ValueError, "entry_variance"),
        ({"entry_variance": np.inf}, ValueError, "entry_variance"),
    ],
)
def test_bad_edges(changes, error, name):
    good = {"singular_values": [1.0, 2.0], "rows": 2, "columns": 3, "entry_variance": 0.1}
    with pytest.raises(error, match=name):
        theory.singular_edges(**(good | changes))


@pytest.mark.parametrize(
    "changes, error, name",
    [
        ({"singular_values": [[1.0, 2.0]]}, ValueError, "singular_values"),
        ({"singular_values": [[1.0, 2.0], [1.0, 2.0]]}, ValueError, "singular_values"),
        ({"singular_values": 3.0}, TypeError, "singular_values"),
        ({"shapes": [(2, 3), (1,)]}, ValueError, "shapes"),
        ({"shapes": [(2, 3), (0, 1)]}, ValueError, "shapes"),
        ({"shapes": [(2, 3), (1.0, 1)]}, TypeError, "shapes"),
        ({"shapes": []}, ValueError, "shapes"),
        ({"noise_variance": -1.0}, ValueError, "noise_variance"),
        ({"form": "neither"}, ValueError, "form"),
        ({"singular_values": [[1.0, 0.0], [1.0]], "form": "printed"}, ValueError, "singular_values"),
        ({"singular_values": [[1.0, 0.0], [0.0]], "noise_variance": 0.0}, ValueError, "singular_values"),
    ],
)
def test_bad_convergence(changes, error, name):
    good = {"singular_values": [[1.0, 2.0], [3.0]], "shapes": [(2, 3), (1, 1)], "noise_variance": 1.0}
    with pytest.raises(error, match=name):
        theory.convergence(**(good | changes))
