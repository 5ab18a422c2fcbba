"""BlockModel: what it holds, what it refuses, how it prints and travels."""

import copy
import dataclasses
import pickle

import numpy as np
import pytest

import moenoise as mn

COVARIANCES = [np.array([[2.0, 0.5], [0.5, 1.0]]), np.array([[4.0]])]
COEFFICIENTS = [np.array([1.0, -1.0]), np.array([0.5])]


def model(**changes):
    arguments = {"covariances": COVARIANCES, "coefficients": COEFFICIENTS, "probabilities": [0.25, 0.75]}
    return mn.BlockModel(**(arguments | changes))


def test_attributes():
    m = model(noise_variance=2)
    assert (m.k, m.d, m.noise_variance) == (2, 3, 2.0)
    assert m.blocks == (slice(0, 2), slice(2, 3))
    np.testing.assert_array_equal(m.block_sizes, [2, 1])
    np.testing.assert_array_equal(m.probabilities, [0.25, 0.75])
    np.testing.assert_array_equal(m.signal_variances, [2.0, 1.0])
    np.testing.assert_array_equal(mn.BlockModel(COVARIANCES, COEFFICIENTS).probabilities, [0.5, 0.5])
    assert mn.BlockModel(COVARIANCES, COEFFICIENTS).noise_variance == 1.0


@pytest.mark.parametrize("name", ["k", "d", "noise_variance", "probabilities", "covariances", "blocks", "unknown"])
def test_attributes_cannot_be_set(name):
    with pytest.raises(AttributeError):
        setattr(model(), name, 1)


def test_arrays_are_read_only_copies():
    covariance, coefficients, probabilities = np.eye(2), np.ones(2), np.ones(1)
    m = mn.BlockModel([covariance], [coefficients], probabilities)
    covariance[0, 0] = coefficients[0] = probabilities[0] = 7.0
    assert m == mn.BlockModel([np.eye(2)], [np.ones(2)])
    for array in (m.covariances[0], m.coefficients[0], m.probabilities, m.block_sizes, m.signal_variances):
        with pytest.raises(ValueError, match="read-only"):
            array[...] = 0


@pytest.mark.parametrize(
    "convert",
    [
        lambda a: a.tolist(),
        lambda a: np.asfortranarray(a),
        lambda a: a.astype(np.float32),
        lambda a: np.repeat(a, 2, axis=-1)[..., ::2],
        lambda a: (a.setflags(write=False), a)[1],
    ],
    ids=["list", "fortran", "float32", "strided", "read-only"],
)
def test_every_layout_of_numbers(convert):
    changed = model(
        covariances=[convert(c.copy()) for c in COVARIANCES], coefficients=[convert(c.copy()) for c in COEFFICIENTS]
    )
    assert changed == model()


@pytest.mark.parametrize(
    "travel",
    [
        copy.copy,
        copy.deepcopy,
        dataclasses.replace,
        *(lambda m, p=p: pickle.loads(pickle.dumps(m, p)) for p in range(2, pickle.HIGHEST_PROTOCOL + 1)),
    ],
)
def test_copies_are_equal_and_frozen(travel):
    for original in (model(), mn.BlockModel.toeplitz(49, 49, rng=0)):
        other = travel(original)
        assert other == original and hash(other) == hash(original)
        assert not other.covariances[0].flags.writeable and not other.probabilities.flags.writeable


def test_equality():
    assert model() == model() and model() != "model"
    assert model() != model(noise_variance=2.0)
    assert model() != model(probabilities=None)
    assert model() != model(coefficients=[[1.0, -1.0], [0.6]])
    assert model() != mn.BlockModel(COVARIANCES[::-1], COEFFICIENTS[::-1], [0.25, 0.75])
    assert len({model(), model(), model(noise_variance=2.0)}) == 2


def test_toeplitz():
    m = mn.BlockModel.toeplitz(6, 2, decay=-0.5, scale=3.0, noise_variance=0.1, coefficients=np.arange(6))
    np.testing.assert_array_equal(m.covariances[1], [[3.0, -1.5, 0.75], [-1.5, 3.0, -1.5], [0.75, -1.5, 3.0]])
    np.testing.assert_array_equal(m.coefficients[1], [3.0, 4.0, 5.0])
    assert m.noise_variance == 0.1
    assert m == mn.BlockModel.toeplitz(
        6, 2, decay=-0.5, scale=3.0, noise_variance=0.1, coefficients=[[0, 1, 2], [3, 4, 5]]
    )


def test_toeplitz_powers_are_products():
    decay, product = 0.9, 1.0
    for entry in mn.BlockModel.toeplitz(50, 1, decay=decay, rng=0).covariances[0][0]:
        assert entry == product
        product *= decay


@pytest.mark.parametrize("decay", [-1.0, 0.0, 1.0])
def test_toeplitz_at_the_ends_of_decay(decay):
    covariance = mn.BlockModel.toeplitz(4, 1, decay=decay, rng=0).covariances[0]
    assert np.linalg.matrix_rank(covariance) == (4 if decay == 0 else 1)


def test_isotropic():
    m = mn.BlockModel.isotropic(6, 3, variance=8.0, coefficients=np.ones(6))
    assert m == mn.BlockModel([8 * np.eye(2)] * 3, np.ones((3, 2)))


def test_drawn_coefficients():
    m = mn.BlockModel.isotropic(2000, 4, rng=3)
    drawn = np.concatenate(m.coefficients)
    assert m == mn.BlockModel.isotropic(2000, 4, rng=3) != mn.BlockModel.isotropic(2000, 4, rng=4)
    np.testing.assert_array_equal(np.concatenate(mn.BlockModel.toeplitz(2000, 2, rng=3).coefficients), drawn)
    assert abs(drawn.mean()) < 5 / np.sqrt(2000) and abs(drawn.var() - 1) < 5 * np.sqrt(2 / 2000)


def test_representations():
    assert repr(model()) == "BlockModel(k=2, d=3, block_sizes=[2, 1], probabilities=[0.25, 0.75], noise_variance=1)"
    assert repr(mn.BlockModel.isotropic(8, 4, rng=0)) == (
        "BlockModel(k=4, d=8, block_sizes=2 each, probabilities=0.25 each, noise_variance=1)"
    )
    probabilities = np.arange(1, 101) / 5050
    many = mn.BlockModel(np.ones((100, 1, 1)), np.ones((100, 1)), probabilities)
    assert len(repr(many)) < 200 and "\n" not in repr(many)
    assert "<td>0.25</td><td>2</td>" in model()._repr_html_()
    assert "and 80 more" in many._repr_html_() and many._repr_html_().count("<tr>") == 22


@pytest.mark.parametrize(
    "changes, error, name",
    [
        ({"covariances": 1.0}, TypeError, "covariances"),
        ({"covariances": []}, ValueError, "covariances"),
        ({"covariances": np.eye(2)}, ValueError, r"covariances\[0\]"),
        ({"covariances": [np.eye(2), np.ones((1, 2))]}, ValueError, r"covariances\[1\]"),
        ({"covariances": [[[1.0, 0.5], [0.4, 1.0]], [[1.0]]]}, ValueError, r"covariances\[0\] must be symmetric"),
        ({"covariances": [[[1.0, 2.0], [2.0, 1.0]], [[1.0]]]}, ValueError, r"covariances\[0\] must be positive"),
        ({"covariances": [np.eye(2), [[-1.0]]]}, ValueError, r"covariances\[1\] must be positive"),
        ({"covariances": [np.eye(2), [[np.nan]]]}, ValueError, r"covariances\[1\]"),
        ({"covariances": [np.eye(2), [[1j]]]}, TypeError, r"covariances\[1\]"),
        ({"covariances": [np.eye(2), np.zeros((0, 0))]}, ValueError, r"covariances\[1\]"),
        ({"coefficients": None}, TypeError, "coefficients"),
        ({"coefficients": [[1.0, 2.0]]}, ValueError, "coefficients"),
        ({"coefficients": [[1.0], [2.0]]}, ValueError, r"coefficients\[0\]"),
        ({"coefficients": [[1.0, np.inf], [2.0]]}, ValueError, r"coefficients\[0\]"),
        ({"coefficients": [[1.0, 2.0], ["a"]]}, TypeError, r"coefficients\[1\]"),
        ({"coefficients": [1.0, 2.0]}, ValueError, r"coefficients\[0\]"),
        ({"probabilities": [1.0]}, ValueError, "probabilities"),
        ({"probabilities": [0.0, 1.0]}, ValueError, "probabilities"),
        ({"probabilities": [0.5, 0.6]}, ValueError, "probabilities"),
        ({"noise_variance": -0.1}, ValueError, "noise_variance"),
        ({"noise_variance": np.nan}, ValueError, "noise_variance"),
        ({"noise_variance": "1"}, TypeError, "noise_variance"),
    ],
)
def test_bad_models(changes, error, name):
    with pytest.raises(error, match=name):
        model(**changes)


@pytest.mark.parametrize(
    "arguments, options, error, name",
    [
        ((7, 2), {}, ValueError, "k must divide d"),
        ((0, 1), {}, ValueError, "d must"),
        ((4, 0), {}, ValueError, "k must"),
        ((4.0, 2), {}, TypeError, "d must"),
        ((4, True), {}, TypeError, "k must"),
        ((2**40, 1), {}, ValueError, "d must"),
        ((4, 2), {"noise_variance": -1}, ValueError, "noise_variance"),
        ((4, 2), {"coefficients": np.ones(5)}, ValueError, "coefficients"),
        ((4, 2), {"coefficients": np.ones((4, 1))}, ValueError, "coefficients"),
        ((4, 2), {"coefficients": [[1.0, 2.0], [3.0]]}, ValueError, "coefficients"),
        ((4, 2), {"rng": "seed"}, TypeError, "rng"),
    ],
)
@pytest.mark.parametrize("constructor", [mn.BlockModel.toeplitz, mn.BlockModel.isotropic])
def test_bad_equal_blocks(constructor, arguments, options, error, name):
    with pytest.raises(error, match=name):
        constructor(*arguments, **options)


@pytest.mark.parametrize(
    "constructor, options, name",
    [
        (mn.BlockModel.toeplitz, {"decay": 1.1}, "decay"),
        (mn.BlockModel.toeplitz, {"scale": -1.0}, "scale"),
        (mn.BlockModel.isotropic, {"variance": -1.0}, "variance"),
    ],
)
def test_bad_covariance_parameters(constructor, options, name):
    with pytest.raises(ValueError, match=name):
        constructor(4, 2, **options)


def test_single_precision_is_judged_by_its_own_rounding():
    rng = np.random.default_rng(0)
    root = rng.standard_normal((8, 3)).astype(np.float32)
    rotated = rng.standard_normal((8, 8)).astype(np.float32)
    asymmetric = rotated @ np.diag(np.arange(1, 9)).astype(np.float32) @ rotated.T
    for covariance in (root @ root.T, asymmetric):
        model = mn.BlockModel([covariance] * 3, [np.ones(8)] * 3, probabilities=np.full(3, 1 / 3, np.float32))
        np.testing.assert_allclose(model.covariances[0], covariance, atol=1e-5 * np.abs(covariance).max())
        np.testing.assert_array_equal(model.covariances[0], model.covariances[0].T)
        assert model.probabilities.sum() == pytest.approx(1, abs=1e-15)
        assert np.isfinite(model.sample(10, rng=0).features).all()
    with pytest.raises(ValueError, match="positive semi-definite"):
        mn.BlockModel([-root @ root.T], [np.ones(8)])
