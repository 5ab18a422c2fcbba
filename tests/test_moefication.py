"""Layers split into experts: assignments are the best ones, all experts the dense layer, selections as they say."""

import itertools
import warnings

import numpy as np
import pytest
from numpy.testing import assert_allclose, assert_array_equal
from scipy.optimize import linprog
from scipy.special import erf
from sklearn.exceptions import ConvergenceWarning
from threadpoolctl import threadpool_limits

from moenoise import _validation
from moenoise.activations import moefication
from moenoise.activations.moefication import balanced_assignment, moefy

D_IN, NEURONS, D_OUT, EXPERTS = 12, 40, 5, 8


def plain_gelu(x):
    return x * (1 + erf(x / np.sqrt(2))) / 2


PLAIN = {"relu": lambda x: np.where(x > 0, x, 0), "gelu": plain_gelu, np.tanh: np.tanh}


@pytest.fixture(scope="module")
def weights():
    rng = np.random.default_rng(0)
    return {"W_in": rng.standard_normal((D_IN, NEURONS)), "b_in": rng.standard_normal(NEURONS),
            "W_out": rng.standard_normal((NEURONS, D_OUT)), "b_out": rng.standard_normal(D_OUT)}


@pytest.fixture(scope="module")
def X():
    return np.random.default_rng(1).standard_normal((60, D_IN))


@pytest.fixture(scope="module")
def layer(weights):
    inputs = np.random.default_rng(2).standard_normal((500, D_IN))
    return moefy(experts=EXPERTS, activation="gelu", inputs=inputs, rng=0, **weights)


def dense(weights, X, activation):
    return PLAIN[activation](X @ weights["W_in"] + weights["b_in"]) @ weights["W_out"] + weights["b_out"]


def sums(layer, weights, X):
    """The experts' sums of positive activations, one by one."""
    neurons = np.maximum(plain_gelu(X @ weights["W_in"] + weights["b_in"]), 0)
    return np.array([[row[layer.experts == i].sum() for i in range(layer.n_experts)] for row in neurons])


# ---- the split -------------------------------------------------------------------------------------------------------


def test_assignment_is_the_best_of_all():
    rng = np.random.default_rng(0)
    every = {tuple(labels) for larger in range(3) for labels in itertools.permutations([0, 0, 1, 1, 2, 2, larger])}
    for _ in range(20):
        costs, prices = rng.standard_normal((7, 3)), rng.standard_normal(3)
        labels, _ = balanced_assignment(costs, prices)
        best = min(every, key=lambda labels: costs[range(7), labels].sum())
        assert_array_equal(labels, best)


def test_assignment_is_the_optimum_of_the_transportation_problem():
    n, k = 120, 12
    costs = np.random.default_rng(0).standard_normal((n, k)) + np.linspace(0, 2, k)  # all would go to the first
    sizes = np.full(k, n // k)
    labels, prices = balanced_assignment(costs, np.zeros(k))
    again, _ = balanced_assignment(costs, prices)
    rows, columns = np.kron(np.eye(n), np.ones(k)), np.kron(np.ones(n), np.eye(k))
    best = linprog(costs.ravel(), A_eq=np.vstack([rows, columns]), b_eq=np.concatenate([np.ones(n), sizes])).fun
    assert costs[np.arange(n), labels].sum() == pytest.approx(best, rel=1e-9)
    assert_array_equal(labels, again)
    assert_array_equal(np.bincount(labels), sizes)
    assert costs.min(axis=1).sum() < best - 10  # sizes matter here


@pytest.mark.parametrize(("neurons", "experts"), [(40, 8), (41, 8), (47, 8), (9, 9), (9, 1), (5, 4), (1, 1)])
def test_experts_have_equal_sizes(neurons, experts):
    rng = np.random.default_rng(0)
    layer = moefy(rng.standard_normal((4, neurons)), rng.standard_normal((neurons, 4)), experts,
                  b_in=np.zeros(neurons), rng=0)
    assert layer.experts.shape == (neurons,)
    counts = np.bincount(layer.experts, minlength=experts)
    assert_array_equal(counts, layer.sizes)
    assert counts.max() - counts.min() == (neurons % experts > 0)
    assert layer.n_experts == experts


def test_neurons_that_look_the_same_way_are_one_expert():
    rng = np.random.default_rng(0)
    truth = rng.permutation(np.repeat(np.arange(6), 20))
    directions = rng.standard_normal((30, 6))
    W_in = (directions[:, truth] + 0.3 * rng.standard_normal((30, 120))) * rng.uniform(0.1, 10, 120)
    layer = moefy(W_in, rng.standard_normal((120, 3)), 6, rng=0)
    assert len(set(zip(truth, layer.experts))) == 6


@pytest.mark.parametrize("neurons", [300, 307])
def test_split_is_a_fixed_point(neurons):
    rng = np.random.default_rng(0)
    W_in = rng.standard_normal((20, neurons))
    layer = moefy(W_in, W_in.T, 10, rng=0)
    points = (W_in / np.linalg.norm(W_in, axis=0)).T
    means = np.array([points[layer.experts == i].mean(axis=0) for i in range(10)])
    assert layer.converged
    assert_allclose(layer.centres, means, rtol=1e-12)
    assert layer.objective[-1] == pytest.approx(np.sum((points - means[layer.experts]) ** 2))
    distances = np.sum((points[:, None] - means) ** 2, axis=2)
    labels, _ = balanced_assignment(distances, np.zeros(10))
    assert distances[np.arange(neurons), labels].sum() == pytest.approx(layer.objective[-1], rel=1e-9)


def test_sum_of_squares_never_rises():
    rng = np.random.default_rng(0)
    points = rng.standard_normal((307, 4))
    split = moefication.one_start(points, 0.1 * rng.standard_normal((10, 4)), 100)
    assert split.converged and len(split.objective) > 5
    assert (np.diff(split.objective) <= 1e-9).all()
    assert (np.diff(split.objective)[:-1] < -1e-6).all()


def test_best_start_is_kept(weights):
    one, four = (moefy(experts=EXPERTS, n_starts=n, rng=3, **weights) for n in (1, 4))
    assert len(four.starts) == 4 and four.starts[0] == one.starts[0]
    assert four.objective[-1] == four.starts.min() < four.starts.max()


def test_unfinished_split_warns(weights):
    with pytest.warns(ConvergenceWarning, match="max_iter"):
        layer = moefy(experts=EXPERTS, max_iter=1, rng=0, **weights)
    assert not layer.converged and len(layer.objective) == 1
    assert_array_equal(layer.sizes, 5)


@pytest.mark.filterwarnings("error")
def test_equal_and_silent_neurons_are_split_all_the_same():
    W_in = np.zeros((3, 12))
    W_in[0, :6] = 1.0
    layer = moefy(W_in, np.ones((12, 2)), 4, rng=0)
    assert_array_equal(np.bincount(layer.experts), 3)
    assert len(set(layer.experts[:6])) == 2  # none shares an expert with a silent one
    assert_allclose(layer([[2.0, 0.0, 0.0]], active=2), [[12.0, 12.0]])
    assert_allclose(layer([[2.0, 0.0, 0.0]], active=1, selection="similarity"), [[6.0, 6.0]])


@pytest.mark.parametrize("scale", [1e-200, 1e200])
def test_lengths_of_weights_do_not_matter_for_the_split(weights, scale):
    scaled = moefy(scale * weights["W_in"], weights["W_out"], EXPERTS, rng=0)
    assert_array_equal(scaled.experts, moefy(weights["W_in"], weights["W_out"], EXPERTS, rng=0).experts)


def test_same_seed_same_bits(weights, X):
    layers = []
    for limit in (1, 2):
        with threadpool_limits(limit):
            layers.append(moefy(experts=EXPERTS, inputs=X, rng=5, **weights))
    first, second = layers
    assert_array_equal(first.experts, second.experts)
    assert_array_equal(first.objective, second.objective)
    assert_array_equal(first._selector[0], second._selector[0])
    generator = np.random.default_rng(0)
    third, fourth = (moefy(experts=EXPERTS, rng=generator, **weights) for _ in range(2))
    assert (third.starts != fourth.starts).any()


# ---- its answers -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("activation", PLAIN)
def test_all_experts_are_the_dense_layer(weights, X, activation):
    layer = moefy(experts=EXPERTS, activation=activation, rng=0, **weights)
    expected = dense(weights, X, activation)
    assert_allclose(layer.dense(X), expected, rtol=1e-10)
    assert_array_equal(layer(X, active=EXPERTS), layer.dense(X))
    assert layer.relative_error(X, active=EXPERTS) == 0
    assert layer.share_of_activation(X, active=EXPERTS) == 1
    assert np.abs(layer(X, active=EXPERTS - 1) - expected).max() > 0.01


@pytest.mark.parametrize("selection", moefication.SELECTIONS)
@pytest.mark.parametrize("active", [1, 3, 7])
def test_answers_are_those_of_the_chosen_experts(layer, weights, X, active, selection):
    chosen = layer.chosen(X, active=active, selection=selection)
    assert_array_equal(chosen.sum(axis=1), active)
    neurons = plain_gelu(X @ weights["W_in"] + weights["b_in"])
    expected = np.zeros((len(X), D_OUT)) + weights["b_out"]
    for i in range(EXPERTS):
        own = layer.experts == i
        expected[chosen[:, i]] += neurons[np.ix_(chosen[:, i], own)] @ weights["W_out"][own]
    answers = layer(X, active=active, selection=selection)
    assert_allclose(answers, expected, rtol=1e-10, atol=1e-12)
    full = dense(weights, X, "gelu")
    error = np.linalg.norm(expected - full) / np.linalg.norm(full - weights["b_out"])
    assert layer.relative_error(X, active=active, selection=selection) == pytest.approx(error)
    kept = sums(layer, weights, X)
    assert layer.share_of_activation(X, active=active, selection=selection) == pytest.approx(
        kept[chosen].sum() / kept.sum())


def test_ground_truth_takes_the_largest_sums(layer, weights, X):
    chosen, by_expert = layer.chosen(X, active=3), sums(layer, weights, X)
    lowest = np.where(chosen, by_expert, np.inf).min(axis=1)
    assert (lowest > np.where(chosen, -np.inf, by_expert).max(axis=1)).all()


def test_similarity_takes_the_largest_cosines(layer, X):
    cosines = [[row @ centre / np.linalg.norm(row) / np.linalg.norm(centre) for centre in layer.centres] for row in X]
    expected = np.sort(np.argsort(cosines, axis=1)[:, -3:], axis=1)
    chosen = layer.chosen(X, active=3, selection="similarity")
    assert_array_equal(np.nonzero(chosen)[1].reshape(len(X), 3), expected)
    assert_array_equal(layer.chosen(100 * X, active=3, selection="similarity"), chosen)


def test_oracle_is_better_than_the_learned_selection_and_that_than_the_same_experts_always(layer, weights, X):
    shares = {selection: layer.share_of_activation(X, active=2, selection=selection)
              for selection in moefication.SELECTIONS}
    by_expert = sums(layer, weights, X)
    always = by_expert[:, np.argsort(by_expert.mean(axis=0))[-2:]].sum() / by_expert.sum()
    assert shares["ground truth"] > shares["learned"] > always + 0.05
    assert shares["learned"] > shares["similarity"]  # which knows nothing of the biases


def test_more_experts_are_nearer_to_dense(layer, X):
    errors = [layer.relative_error(X, active=active) for active in range(1, EXPERTS + 1)]
    assert (np.diff(errors) < 0).all()


def test_share_of_active_neurons(weights, X):
    layer = moefy(experts=EXPERTS, rng=0, **weights)
    assert layer.share_of_active_neurons(X) == pytest.approx(np.mean(X @ weights["W_in"] + weights["b_in"] > 0))


def test_rows_are_answered_in_blocks(layer, X, monkeypatch):
    whole = layer(X, active=3, selection="learned")
    monkeypatch.setattr(moefication, "BLOCK", 7 * NEURONS)
    assert_allclose(layer(X, active=3, selection="learned"), whole, rtol=1e-12)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_single_precision_stays_single(weights, X, dtype):
    low = {name: array.astype(dtype) for name, array in weights.items()}
    layer = moefy(experts=EXPERTS, activation="gelu", inputs=X.astype(dtype), rng=0, **low)
    answers = layer(X.astype(dtype), active=EXPERTS)
    assert answers.dtype == np.float32
    exact = dense({name: array.astype(float) for name, array in low.items()}, X.astype(dtype).astype(float), "gelu")
    assert_allclose(answers, exact, rtol=1e-4, atol=1e-4)
    assert layer(X, active=2, selection="learned").dtype == np.float32
    assert moefy(experts=EXPERTS, rng=0, **{**low, "b_in": weights["b_in"]})(X, active=2).dtype == np.float64


def test_views_are_read_and_left_alone(weights, X):
    plain = moefy(experts=EXPERTS, inputs=X, rng=0, **weights)
    views = {name: np.repeat(np.repeat(array, 2, axis=-1), 2, axis=0)[::2, ::2] if array.ndim == 2
             else np.repeat(array, 2)[::2] for name, array in weights.items()}
    for array in views.values():
        array.flags.writeable = False
    rows = np.asfortranarray(X)
    rows.flags.writeable = False
    before = {name: array.copy() for name, array in views.items()}
    layer = moefy(experts=EXPERTS, inputs=rows, rng=0, **views)
    assert_array_equal(layer.experts, plain.experts)
    assert_array_equal(layer(rows, active=3), plain(X, active=3))
    for name, array in before.items():
        assert_array_equal(views[name], array)


def test_layer_keeps_its_own_weights(weights, X):
    W_in = weights["W_in"].copy()
    layer = moefy(W_in, weights["W_out"], EXPERTS, rng=0)
    before = layer(X, active=3)
    W_in[:] = 0
    assert_array_equal(layer(X, active=3), before)
    fitted = moefy(W_in + 1, weights["W_out"], EXPERTS, inputs=X, rng=0)
    arrays = [value for value in vars(fitted).values() if isinstance(value, np.ndarray)]
    assert len(arrays) == 5
    assert not any(array.flags.writeable for array in (*arrays, *fitted._weights, *fitted._selector))


def test_activation_may_write_to_its_argument(weights, X):
    def in_place(x):
        return np.maximum(x, 0, out=x)

    layers = [moefy(experts=EXPERTS, activation=activation, rng=0, **weights) for activation in ("relu", in_place)]
    assert_array_equal(layers[0](X, active=3), layers[1](X, active=3))


# ---- what is refused -------------------------------------------------------------------------------------------------


BAD = [
    ({"W_in": np.full((D_IN, NEURONS), np.nan)}, ValueError, "W_in must be finite"),
    ({"W_out": np.full((NEURONS, D_OUT), np.inf)}, ValueError, "W_out must be finite"),
    ({"b_in": np.full(NEURONS, np.nan)}, ValueError, "b_in must be finite"),
    ({"W_in": [[1.0, 2.0], [3.0]]}, ValueError, "W_in must be a rectangular array"),
    ({"W_in": np.ma.ones((D_IN, NEURONS))}, TypeError, "W_in must be a plain array"),
    ({"W_in": np.ones(NEURONS)}, ValueError, "W_in must be 2-dimensional"),
    ({"W_in": np.ones((D_IN, NEURONS), dtype=complex)}, TypeError, "W_in must hold real numbers"),
    ({"W_out": np.ones((NEURONS + 1, D_OUT))}, ValueError, "W_out must have one row a column of W_in, 40"),
    ({"b_in": np.ones(D_IN)}, ValueError, "b_in must have 40 entries.*weight.T"),
    ({"b_in": np.ones(3)}, ValueError, "b_in must have 40 entries"),
    ({"b_out": np.ones(D_OUT + 1)}, ValueError, "b_out must have 5 entries"),
    ({"experts": 0}, ValueError, "experts must be at least 1"),
    ({"experts": NEURONS + 1}, ValueError, "experts must be at most 40"),
    ({"experts": 8.0}, TypeError, "experts must be an integer"),
    ({"activation": "swish"}, ValueError, "activation must be one of 'relu', 'gelu', or callable"),
    ({"activation": 3}, TypeError, "activation must be one of"),
    ({"activation": lambda x: x[:, ::2]}, ValueError, "activation must return real numbers of its argument's shape"),
    ({"activation": lambda x: x * np.nan}, ValueError, "activation must be finite"),
    ({"activation": lambda x: x + 1j}, ValueError, "activation must return real numbers"),
    ({"inputs": np.ones((9, D_IN + 1))}, ValueError, "inputs must have 12 columns"),
    ({"inputs": np.ones((1, D_IN))}, ValueError, "inputs must have at least 2 rows"),
    ({"inputs": np.full((9, D_IN), np.nan)}, ValueError, "inputs must be finite"),
    ({"n_starts": 0}, ValueError, "n_starts"),
    ({"max_iter": 0}, ValueError, "max_iter"),
    ({"rng": 1.5}, TypeError, "rng must be"),
    ({"progress": 1}, TypeError, "progress must be True or False"),
]


@pytest.mark.parametrize(("changes", "kind", "message"), BAD)
def test_bad_input_is_refused_by_name(weights, changes, kind, message, monkeypatch):
    monkeypatch.setattr(moefication, "first_centres", None)  # before any work
    with pytest.raises(kind, match=message):
        moefy(**{"experts": EXPERTS, **weights, **changes})


def test_transposed_weights_are_recognised_where_a_length_tells(weights):
    W = np.ones((NEURONS, D_IN))
    with pytest.raises(ValueError, match="b_in must have 12 entries, got 40.*weight.T"):
        moefy(W, W.T, 4, b_in=np.ones(NEURONS))
    with pytest.raises(ValueError, match="W_out must have one row a column of W_in, 12.*weight.T"):
        moefy(weights["W_in"].T, weights["W_out"].T, 4)
    with pytest.raises(ValueError, match="inputs must have 40 columns"):
        moefy(W, W.T, 4, inputs=np.ones((5, D_IN)))


def test_a_layer_may_have_fewer_neurons_than_inputs():
    rng = np.random.default_rng(0)
    W_in, W_out = rng.standard_normal((NEURONS, D_IN)), rng.standard_normal((D_IN, NEURONS))
    narrow = moefy(W_in, W_out, 4, rng=0)
    assert narrow.experts.shape == (D_IN,) and f"{NEURONS} inputs" in repr(narrow)


@pytest.mark.parametrize(("X", "settings", "kind", "message"), [
    (np.ones((3, D_IN)), {"active": 0}, ValueError, "active must be at least 1"),
    (np.ones((3, D_IN)), {"active": EXPERTS + 1}, ValueError, "active must be at most 8"),
    (np.ones((3, D_IN)), {"active": 2.0}, TypeError, "active must be an integer"),
    (np.ones((3, D_IN)), {"active": 2, "selection": "best"}, ValueError, "selection must be one of 'ground truth'"),
    (np.ones((3, D_IN + 1)), {"active": 2}, ValueError, "X must have 12 columns"),
    (np.ones(D_IN), {"active": 2}, ValueError, "X must be 2-dimensional"),
    (np.full((3, D_IN), np.nan), {"active": 2}, ValueError, "X must be finite"),
    (np.full((3, D_IN), 1e308), {"active": 2}, ValueError, "must be finite"),
])
@pytest.mark.filterwarnings("error")
def test_bad_rows_are_refused_by_name(layer, X, settings, kind, message):
    for method in (layer, layer.chosen, layer.relative_error, layer.share_of_activation):
        with pytest.raises(kind, match=message):
            method(X, **settings)


def test_learned_selection_needs_inputs(weights, X):
    layer = moefy(experts=EXPERTS, rng=0, **weights)
    assert not layer.learned
    with pytest.raises(ValueError, match="give moefy inputs"):
        layer(X, active=2, selection="learned")


@pytest.mark.parametrize("scale", [0.0, 1e-150, 1e150])
def test_selector_is_fitted_at_any_scale(weights, X, scale):
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        layer = moefy(weights["W_in"], weights["W_out"], EXPERTS, inputs=scale * X, rng=0)
        answers = layer(scale * X, active=2, selection="learned")
    assert np.isfinite(answers).all()
    if scale:
        usual = moefy(weights["W_in"], weights["W_out"], EXPERTS, inputs=X, rng=0)
        assert_array_equal(layer.chosen(scale * X, active=2, selection="learned"),
                           usual.chosen(X, active=2, selection="learned"))


def test_selector_beyond_single_precision_is_refused(weights, X):
    W_in, W_out = (1e37 * weights["W_in"]).astype(np.float32), weights["W_out"].astype(np.float32)
    with pytest.raises(ValueError, match="inputs must be of a magnitude"):
        moefy(W_in, W_out, EXPERTS, inputs=1e-43 * X, rng=0)


# ---- any magnitude ---------------------------------------------------------------------------------------------------


def without_biases(weights, scale=1.0, **settings):
    return moefy(scale * weights["W_in"], scale * weights["W_out"], EXPERTS, rng=0, **settings)


@pytest.mark.parametrize("scale", [1e-250, 1e-100, 1e100, 1e250])
@pytest.mark.parametrize("selection", ["ground truth", "similarity"])
def test_error_and_share_do_not_depend_on_the_scale_of_weights(weights, X, scale, selection):
    usual, scaled = without_biases(weights), without_biases(weights, scale)
    for name in ("relative_error", "share_of_activation"):
        value = getattr(usual, name)(X, active=2, selection=selection)
        assert 0.3 < value < 0.9
        assert getattr(scaled, name)(X, active=2, selection=selection) == pytest.approx(value, rel=1e-9)


def test_error_is_seen_beside_a_large_output_bias(weights, X):
    error = without_biases(weights).relative_error(X, active=2)
    assert without_biases(weights, b_out=np.full(D_OUT, 1e20)).relative_error(X, active=2) == error > 0.3


@pytest.mark.filterwarnings("error")
def test_error_relative_to_nothing_is_refused(X):
    cancelling = moefy(np.ones((D_IN, 4)), [[1.0], [-1.0], [1.0], [-1.0]], 4, activation=np.tanh, b_out=[3.0], rng=0)
    silent = moefy(np.ones((D_IN, 4)), np.ones((4, 1)), 2, rng=0)
    for layer, rows in ((cancelling, X), (silent, -np.abs(X))):
        for active in (1, layer.n_experts):
            with pytest.raises(ValueError, match="X must lead to answers of the dense layer that differ from b_out"):
                layer.relative_error(rows, active=active)


def test_share_of_nothing_is_refused(X):
    silent = moefy(np.ones((D_IN, 4)), np.ones((4, 1)), 2, rng=0)
    for active in (1, 2):
        with pytest.raises(ValueError, match="X must lead to a positive activation"):
            silent.share_of_activation(-np.abs(X), active=active)


@pytest.mark.filterwarnings("error")
def test_sums_beyond_the_largest_number_are_compared(weights):
    # Experts of two neurons with activations 1, 1 and 0.9, 1.2 times 1e308: both sums are beyond it, the second larger.
    W_in = np.array([[1.0, 1.0, 0.9, 1.2], [0.0, 0.0, 1e-6, 1e-6]])
    layer = moefy(W_in, 1e-9 * np.ones((4, 1)), 2, rng=0)
    first, last = layer.experts[[0, -1]]
    assert_array_equal(layer.experts, [first, first, last, last])
    X = np.array([[1e308, 0.0], [1e308, 0.0], [1e308, 0.0]])
    assert_array_equal(np.nonzero(layer.chosen(X, active=1))[1], last)
    assert layer.share_of_activation(X, active=1) == pytest.approx(2.1 / 4.1)
    assert layer.relative_error(X, active=1) == pytest.approx(2.0 / 4.1)


@pytest.mark.filterwarnings("error")
def test_similarity_is_that_of_directions_at_any_length(weights):
    layer = without_biases(weights, 1e-200)
    unit = layer.centres / np.linalg.norm(layer.centres, axis=1, keepdims=True)
    rows = np.sign([unit[list(some)].sum(axis=0) for some in itertools.combinations(range(EXPERTS), 4)])
    assert np.sort(rows @ unit.T)[:, -3].max() > 1.8  # 1.8e308 is beyond the largest number
    usual = layer.chosen(rows, active=2, selection="similarity")
    for length in (1e-300, 1e308):
        assert_array_equal(layer.chosen(length * rows, active=2, selection="similarity"), usual)


def test_predictions_beyond_the_largest_number_are_refused(weights):
    rows = 1e-3 * np.random.default_rng(0).standard_normal((200, D_IN))
    layer = without_biases(weights, 1e-5, inputs=1e-300 * rows)
    with pytest.raises(ValueError, match="X must lead to finite predictions"):
        layer(np.full((1, D_IN), 1e250), active=2, selection="learned")


# ---- PyTorch's tensors -----------------------------------------------------------------------------------------------


def test_a_torch_layer_is_split_as_the_docstring_says(X):
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    first, second = torch.nn.Linear(D_IN, NEURONS), torch.nn.Linear(NEURONS, D_OUT)
    rows = torch.from_numpy(X).float()
    layer = moefy(first.weight.T, second.weight.T, EXPERTS, b_in=first.bias, b_out=second.bias, activation="gelu",
                  inputs=rows, rng=0)
    answers = layer(rows, active=EXPERTS)
    assert answers.dtype == np.float32
    with torch.no_grad():
        assert_allclose(answers, second(torch.nn.functional.gelu(first(rows))).numpy(), atol=1e-5)
    assert layer(rows.requires_grad_(), active=2, selection="learned").shape == (len(X), D_OUT)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_halves_of_torch_are_single_precision(weights, X, dtype):
    torch = pytest.importorskip("torch")
    halves = {name: torch.from_numpy(array).to(getattr(torch, dtype)) for name, array in weights.items()}
    layer = moefy(experts=EXPERTS, rng=0, **halves)
    exact = moefy(experts=EXPERTS, rng=0, **{name: half.double().numpy() for name, half in halves.items()})
    rows = torch.from_numpy(X).to(torch.bfloat16)
    answers = layer(rows, active=EXPERTS)
    assert answers.dtype == np.float32
    assert_array_equal(layer.experts, exact.experts)
    assert_allclose(answers, exact(rows.double().numpy(), active=EXPERTS), rtol=1e-4, atol=1e-4)


def test_tensors_are_coerced_like_arrays():
    torch = pytest.importorskip("torch")
    values = np.arange(6.0).reshape(2, 3)
    tensors = [torch.nn.Parameter(torch.from_numpy(values)), torch.from_numpy(values).bfloat16().requires_grad_(),
               torch.from_numpy(values.T.copy()).T, torch._neg_view(torch.from_numpy(-values)),
               torch.from_numpy(values).long(), torch.from_numpy(values).float()[:, :]]
    for tensor in tensors:
        before = tensor.detach().clone()
        array = _validation.as_array(tensor, "A", 2)
        assert array.dtype == float and array.flags.c_contiguous
        assert_array_equal(array, values)
        assert torch.equal(tensor, before)
    covariance = torch.eye(3, requires_grad=True)
    assert_array_equal(_validation.as_covariance(covariance, "C"), np.eye(3))
    assert_array_equal(_validation.as_integer_array(torch.tensor([2, 0]), "i", (1,)), [2, 0])
    with pytest.raises(ValueError, match="A must be finite"):
        _validation.as_array(torch.tensor([1.0, torch.nan]), "A", 1)


def test_tensors_that_are_no_plain_arrays_are_refused_by_name():
    torch = pytest.importorskip("torch")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the former are a prototype, the latter deprecated
        nested = torch.nested.nested_tensor([torch.ones(2), torch.ones(3)])
        quantised = torch.quantize_per_tensor(torch.ones(2, 2), 1.0, 0, torch.quint8)
    cases = {"on the CPU, got a tensor on meta": torch.ones(2, 3, device="meta"),
             "dense tensor of real numbers, got torch.sparse_coo": torch.eye(2).to_sparse(),
             "dense tensor of real numbers, got nested": nested,
             "complex64": torch.ones(2, 2, dtype=torch.complex64),
             "quint8": quantised,
             "real numbers: Can't call numpy": [torch.ones(2, requires_grad=True)]}
    for message, value in cases.items():
        with pytest.raises(TypeError, match=f"A must .*{message}"):
            _validation.as_array(value, "A", 2)
    for message, value in list(cases.items())[:4]:
        with pytest.raises(TypeError, match=f"i must .*{message}"):
            _validation.as_integer_array(value, "i", (2,))
