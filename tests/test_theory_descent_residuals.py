"""Residuals of gradient descent on noisy designs: without noise, against simulation, at the edges."""

import numpy as np
import pytest
from monte_carlo import agrees

from moenoise import theory

STEPS = [0, 1, 2, 5, 10, 30]


def simulated(values, columns, variance, repeats, seed=0):
    """(repeats, len(STEPS)): squared residuals over the first expected one, from eigendecompositions."""
    rng, rows, found = np.random.default_rng(seed), len(values), []
    for _ in range(repeats):
        left = np.linalg.qr(rng.standard_normal((rows, rows)))[0]
        right = np.linalg.qr(rng.standard_normal((columns, rows)))[0]
        clean = left * values @ right.T
        noisy = clean + np.sqrt(variance) * rng.standard_normal(clean.shape)
        eigenvalues, vectors = np.linalg.eigh(noisy @ noisy.T)
        response = vectors.T @ (clean @ rng.standard_normal(columns))
        shrunk = (1 - eigenvalues / eigenvalues[-1]) ** (2 * np.array(STEPS)[:, None])
        found.append(shrunk @ response**2 / (values @ values))
    return np.array(found)


@pytest.mark.parametrize("values", [np.linspace(1, 30, 100), np.linspace(2, 3, 7), [1.0, 1.0, 900.0], [0.05, 30.0]])
def test_without_noise_they_are_sums_over_the_singular_values(values):
    values, steps = np.array(values), np.array([0, 1, 10, 100, 1000])
    squared = values**2
    shrunk = (1 - squared / squared.max()) ** (2 * steps[:, None])
    expected = np.sqrt(shrunk @ squared / squared.sum())
    found = theory.descent_residuals(values, rows=len(values), columns=2 * len(values), entry_variance=0.0, steps=steps)
    np.testing.assert_allclose(found, expected, rtol=1e-8, atol=1e-9)


@pytest.mark.parametrize(
    "values, columns, variance",
    [
        (np.linspace(3, 6, 200), 400, 1 / 200),
        (np.linspace(5, 20, 120), 2400, 1 / 120),
        (np.linspace(1, 2, 200), 220, 1 / 200),
        (np.linspace(0.1, 0.2, 200), 500, 0.05),  # hardly any signal
        (np.linspace(0, 2, 200), 400, 1 / 200),  # singular without the noise
    ],
)
def test_against_simulation(values, columns, variance):
    squared = simulated(values, columns, variance, 60)
    expected = theory.descent_residuals(values, rows=len(values), columns=columns, entry_variance=variance, steps=STEPS)
    assert (np.diff(expected) < 0).all() and expected[0] == pytest.approx(1)
    assert agrees(squared[:, 1:5], expected[1:5] ** 2, margin=0.06)  # the ends of finite spectra are further in
    for wrong in (0.5, 2.0):  # where hardly anything is signal, the noise's variance is only a unit
        options = {"columns": int(columns * wrong)} if values[-1] < 1 else {"entry_variance": wrong * variance}
        options = {"columns": columns, "entry_variance": variance, **options}
        other = theory.descent_residuals(values, rows=len(values), steps=STEPS, **options)
        assert not agrees(squared[:, 1:5], other[1:5] ** 2, margin=0.06)


def test_rate_is_their_late_contraction_and_bounds_them():
    values = np.linspace(3, 6, 300)
    steps = np.arange(0, 60)
    found = theory.descent_residuals(values, rows=300, columns=900, entry_variance=1 / 300, steps=steps)
    rate = theory.convergence([values], noise_variance=1.0, shapes=[(300, 900)]).dense
    assert (found <= rate**steps + 1e-9).all()
    factors = found[1:] / found[:-1]
    assert (np.diff(factors) > 0).all() and rate - 0.04 < factors[-1] < rate


def test_one_number_of_steps_is_a_float():
    options = dict(rows=3, columns=4, entry_variance=0.01)
    one = theory.descent_residuals([1.0, 2.0, 3.0], steps=4, **options)
    assert isinstance(one, float)
    assert theory.descent_residuals([1.0, 2.0, 3.0], steps=[2, 4], **options)[1] == one


@pytest.mark.parametrize("unit", [1e-150, 1e-100, 1e100, 1e150])
@pytest.mark.parametrize("variance", [0.0, 0.02])
def test_units_do_not_matter(unit, variance):
    values, options = np.linspace(1, 2, 5), dict(rows=5, columns=9, steps=STEPS)
    found = theory.descent_residuals(unit * values, entry_variance=variance * unit**2, **options)
    np.testing.assert_allclose(found, theory.descent_residuals(values, entry_variance=variance, **options), atol=1e-12)


@pytest.mark.parametrize(
    "change, name",
    [
        ({"rows": 5}, "rows"),
        ({"steps": -1}, "steps"),
        ({"steps": []}, "steps"),
        ({"steps": [[1], [2, 3]]}, "steps"),
        ({"singular_values": [1e-200, 0.0, 0.0]}, "singular_values"),
        ({"entry_variance": -1.0}, "entry_variance"),
        ({"entry_variance": np.nan}, "entry_variance"),
        ({"singular_values": [0.0, 0.0, 0.0]}, "singular_values"),
        ({"singular_values": [1.0, 2.0]}, "singular_values"),
        ({"singular_values": [0.0, 1.0, 2.0], "entry_variance": 0.0}, "singular_values"),
        ({"singular_values": [0.0, 1.0, 2.0], "columns": 3}, "singular_values"),
    ],
)
def test_bad_input(change, name):
    good = {"singular_values": [1.0, 2.0, 3.0], "rows": 3, "columns": 4, "entry_variance": 0.1, "steps": 3}
    with pytest.raises(ValueError, match=name):
        theory.descent_residuals(**{**good, **change})


def test_whole_steps_only():
    with pytest.raises(TypeError, match="steps"):
        theory.descent_residuals([1.0], rows=1, columns=2, entry_variance=0.1, steps=1.5)
