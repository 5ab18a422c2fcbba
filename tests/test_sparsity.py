"""Thresholds of magnitude pruning: exact quantiles, bounds of the streamed ones, held-out rows, the greedy search."""

import itertools
import math
import subprocess
import sys

import numpy as np
import pytest

from moenoise.activations import files, sparsity
from moenoise.activations.sparsity import prune, thresholds

SHARES = [0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0]


def normal(shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape)


def smallest_threshold(A, share):
    """By its definition: the smallest of 0 and all magnitudes that prunes at least this share."""
    magnitudes = np.abs(np.asarray(A, dtype=float)).ravel()
    for threshold in np.unique(np.append(magnitudes, 0.0)):
        count = np.count_nonzero(magnitudes <= threshold)
        if count / len(magnitudes) >= share:
            return threshold, count / len(magnitudes)
    raise AssertionError


@pytest.mark.parametrize("share", SHARES)
@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16, np.int8])
def test_uniform_threshold_is_the_quantile(share, dtype):
    A = (3 * normal((30, 7))).astype(dtype)
    found = thresholds(A, share)
    assert (found.threshold, found.sparsity) == smallest_threshold(A, share)
    assert found[2:] == (None,) * 5


@pytest.mark.parametrize("n", [3, 10, 49, 100, 1000])
def test_no_share_is_lost_to_rounding(n):
    """share * n may be rounded up past a whole number: 0.07 * 100 is 7.000000000000001."""
    A = np.arange(1.0, n + 1)[:, None]
    for count in range(n + 1):
        assert thresholds(A, count / n).threshold == count
        if 0 < count < n:
            assert thresholds(A, np.nextafter(count / n, 1)).threshold == count + 1


@pytest.mark.parametrize("binned", [False, True])
@pytest.mark.parametrize("shape", [(100, 20), (140_000, 1)])  # one chunk, three
def test_ties_prune_more_than_wanted_and_say_so(shape, binned, monkeypatch):
    if binned:
        monkeypatch.setattr(sparsity, "MOST_EXACT", 0)
    A = np.maximum(normal(shape), 0)
    zeros = np.mean(A == 0)
    assert 0.4 < zeros < 0.6
    for share in (0.0, 0.25, zeros):
        assert thresholds(A, share)[:2] == (0.0, zeros)
    assert thresholds(A, zeros + 1e-4).threshold > 0
    assert thresholds(np.full((4, 3), -2.0), 0.01)[:2] == (2.0, 1.0)
    assert thresholds(np.zeros((4, 3)), 1.0)[:2] == (0.0, 1.0)


@pytest.mark.parametrize("dtype", [np.float64, np.float32])
@pytest.mark.parametrize("spread", [0, 8])
@pytest.mark.parametrize("share", SHARES)
def test_binned_threshold_keeps_its_bound(share, spread, dtype, monkeypatch):
    """Many entries a bin, and few over many powers of ten; the achieved share is what the data's own precision prunes.
    """
    monkeypatch.setattr(sparsity, "MOST_EXACT", 5000)
    A = (normal((1500, 40)) * 10.0 ** (spread * normal((1500, 1), 1))).astype(dtype)
    exact = np.quantile(np.abs(A), share, method="inverted_cdf") if share else 0
    found = thresholds(A, share)
    assert exact <= found.threshold <= exact * (1 + 2**-12)
    assert found.sparsity == np.mean(np.abs(A) <= found.threshold) >= share
    assert found.threshold == 0 or found.threshold in np.abs(A)


def test_binned_thresholds_of_single_precision_are_not_exact(monkeypatch):
    """So that the bound above is a bound of something."""
    monkeypatch.setattr(sparsity, "MOST_EXACT", 5000)
    A = normal((5000, 40)).astype(np.float32)
    assert thresholds(A, 0.7).threshold > np.quantile(np.abs(A), 0.7, method="inverted_cdf")


@pytest.mark.parametrize("share", SHARES)
def test_bins_are_exact_for_half_precision(share, monkeypatch):
    A = normal((200, 40)).astype(np.float16)
    expected = smallest_threshold(A, share)
    monkeypatch.setattr(sparsity, "MOST_EXACT", 5000)
    assert thresholds(A, share)[:2] == expected


def test_the_smallest_magnitudes_are_binned_too(monkeypatch):
    monkeypatch.setattr(sparsity, "MOST_EXACT", 0)
    A = np.array([[5e-324, 1e-310, 1e308, -np.finfo(float).max]])
    assert [thresholds(A, share).threshold for share in (0, 0.5, 0.75, 1)] == [0, 1e-310, 1e308, np.finfo(float).max]


@pytest.mark.parametrize("most_exact", [2**23, 1000])
def test_any_source_and_any_pieces_give_the_same(most_exact, monkeypatch, tmp_path):
    monkeypatch.setattr(sparsity, "MOST_EXACT", most_exact)
    A = normal((400, 9)).astype(np.float32)
    np.save(tmp_path / "a.npy", A)
    np.savez(tmp_path / "b.npz", first=A[:1], second=A)
    expected = thresholds(A, 0.6, held_out=A)
    assert thresholds(tmp_path / "a.npy", 0.6, held_out=tmp_path / "a.npy") == expected
    assert thresholds(tmp_path / "b.npz", 0.6, held_out=tmp_path / "b.npz", key="second") == expected
    pieces = [A[:1], A[1:8], A[8:399], A[399:]]
    assert thresholds(iter(pieces), 0.6, held_out=(piece for piece in pieces)) == expected
    assert thresholds(np.asfortranarray(A)[::-1], 0.6, held_out=A.astype(np.float64)) == expected


@pytest.mark.parametrize("method", ["uniform", "greedy"])
def test_pieces_may_share_a_buffer(method, monkeypatch):
    """Each as long as a chunk, overwritten by the next: all of them count, and not the last one three times."""
    monkeypatch.setattr(files, "CHUNK_BYTES", 8 * 64 * 8)
    A = normal((64, 8))
    arguments = {"method": "greedy", "weights": {"a": normal((8, 5), 1)}} if method == "greedy" else {}

    def pieces():
        buffer = np.empty((64, 8))
        for scale in (1, 10, 100):
            np.multiply(A, scale, out=buffer)
            yield buffer

    expected = thresholds({"a": np.concatenate([A, 10 * A, 100 * A])}, 0.5, **arguments)
    assert thresholds({"a": pieces()}, 0.5, held_out={"a": pieces()}, **arguments)[:5] == expected[:5]


MEMORY = """
import numpy as np
from moenoise.activations import thresholds

def peak():
    with open("/proc/self/status") as status:  # what getrusage says counts the parent's pages from before exec
        return next(int(line.split()[1]) for line in status if line.startswith("VmHWM")) * 1024

def pieces():
    rng = np.random.default_rng(0)
    for _ in range(1600):
        yield np.ldexp(rng.random((32, 256)), rng.integers(-900, 900, (32, 256)))

before = peak()
found = thresholds(pieces(), 0.7, progress=False)
assert 0.7 <= found.sparsity < 0.7001
print(peak() - before)
"""


def test_memory_of_uniform_thresholds():
    """13 million magnitudes over all powers of ten: the worst case, since every bin is touched."""
    run = subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, text=True, check=True)
    assert 16 * sparsity._N_BINS < float(run.stdout) < 400e6


def test_layers_are_a_dict_of_numbers():
    layers = {"a": normal((20, 3)), 7: normal((50, 8), 1)}
    found = thresholds({name: iter([rows]) for name, rows in layers.items()}, 0.4, held_out=layers)
    for name, rows in layers.items():
        alone = thresholds(rows, 0.4, held_out=rows)
        for field in ("threshold", "sparsity", "held_out_sparsity", "held_out_standard_error"):
            assert getattr(found, field)[name] == getattr(alone, field)
        assert alone.held_out_sparsity == alone.sparsity


@pytest.mark.parametrize("dtype", [np.float64, np.float32, np.float16])
def test_pruning_does_what_was_achieved(dtype):
    A = normal((60, 11)).astype(dtype)
    A.flags.writeable = False
    before = A.copy()
    found = thresholds(A, 0.55)
    pruned = prune(A, found.threshold)
    assert pruned.dtype == dtype and pruned.shape == A.shape and not np.shares_memory(pruned, A)
    assert np.mean(pruned == 0) == found.sparsity
    assert (pruned[pruned != 0] == A[np.abs(A) > found.threshold]).all()
    assert np.array_equal(A, before)


def test_pruning_compares_exactly():
    """Not in the precision of the rows: the float16 next to 0.1 is 0.09998."""
    half = np.array([0.1, np.nextafter(np.float16(0.1), np.float16(1))], dtype=np.float16)
    assert prune(half, 0.1).tolist() == [0, half[1]]
    assert prune(half, 0.09997).tolist() == half.tolist()  # in float16, 0.09997 is 0.09998
    assert prune(np.array([[-3, 2], [1, -1]]), 2).tolist() == [[-3, 0], [0, 0]]
    assert prune(np.ones((2, 3, 4)), 1).shape == (2, 3, 4)
    assert not np.signbit(prune([-0.0, -1.0], 1)).any()


def test_pruning_compares_in_double_precision():
    """What float64 does not hold is rounded first, and said so."""
    assert prune(np.array([2**53 - 1, 2**53]), 2**53 - 1).tolist() == [0, 2**53]
    assert prune(np.array([2**53 + 1]), 2**53).tolist() == [0]
    if np.finfo(np.longdouble).nmant > 52:
        above = np.nextafter(np.longdouble(1), 2)
        pruned = prune(np.array([above, 2]), 1)
        assert above > 1 and pruned.tolist() == [0, 2] and pruned.dtype == np.longdouble


def test_pruning_tensors():
    torch = pytest.importorskip("torch")
    for tensor in (torch.tensor([0.5, -2.0]), torch.nn.Parameter(torch.tensor([0.5, -2.0])),
                   torch.tensor([0.5, -2.0], dtype=torch.bfloat16), torch.tensor([0.5, -2.0]).half()):
        pruned = prune(tensor, 0.5)
        assert pruned.tolist() == [0, -2] and pruned.dtype == np.float32


def test_standard_error_of_held_out_rows():
    A, other = normal((300, 5)), normal((200, 5), 1)
    found = thresholds(A, 0.5, held_out=other)
    shares = np.mean(np.abs(other) <= found.threshold, axis=1)
    assert found.held_out_sparsity == pytest.approx(shares.mean(), rel=1e-12)
    assert found.held_out_standard_error == pytest.approx(shares.std(ddof=1) / math.sqrt(200), rel=1e-9)


def test_standard_error_knows_that_entries_of_a_row_depend():
    """Rows have a common scale. 400 held-out samples: deviations over standard errors have standard deviation 1.

    Of 400 normal ones it lies in 1 +- 0.2 but for once in 1e8; counting entries as independent would give about 2.7.
    """
    rng = np.random.default_rng(3)

    def rows(n):
        return rng.standard_normal((n, 32)) * np.exp(rng.standard_normal((n, 1)))

    threshold_of = thresholds(rows(4000), 0.5)
    truth = np.mean(np.abs(rows(200_000)) <= threshold_of.threshold)
    scores = []
    A = np.full((1, 32), threshold_of.threshold)
    for _ in range(400):
        found = thresholds(A, 0.5, held_out=rows(200), progress=False)
        scores.append((found.held_out_sparsity - truth) / found.held_out_standard_error)
    assert abs(np.mean(scores)) < 0.3
    assert 0.8 < np.std(scores) < 1.2


def relative_error(layers, matrices, at):
    """The greedy method's error, from scratch."""
    total = 0.0
    for name, rows in layers.items():
        output = rows @ matrices[name]
        total += np.sum((prune(rows, at[name]) @ matrices[name] - output) ** 2) / np.sum(output**2)
    return total


def block(seed, sizes=((8, 16), (8, 8), (16, 8)), n=50):
    """Layers of different sizes and tails, and their matrices."""
    rng = np.random.default_rng(seed)
    layers = {i: rng.standard_t(3, (n, d)) * np.exp(rng.standard_normal(d)) for i, (d, _) in enumerate(sizes)}
    matrices = {i: rng.standard_normal(size) for i, size in enumerate(sizes)}
    return layers, matrices


@pytest.mark.parametrize("share", [0.0, 0.333, 0.5, 0.8057, 1.0])
def test_greedy_reports_what_it_reaches(share):
    layers, matrices = block(0)
    found = thresholds(layers, share, method="greedy", weights=matrices)
    assert found.error == pytest.approx(relative_error(layers, matrices, found.threshold), rel=1e-9, abs=1e-15)
    uniform = relative_error(layers, matrices, thresholds(layers, share).threshold)
    assert found.uniform_error == pytest.approx(uniform, rel=1e-9, abs=1e-15)
    sizes = {name: matrix.size for name, matrix in matrices.items()}
    for name, rows in layers.items():
        assert found.sparsity[name] == np.mean(prune(rows, found.threshold[name]) == 0)
    total = sum(sizes[name] * found.sparsity[name] for name in layers) / sum(sizes.values())
    assert found.total_sparsity == pytest.approx(total, rel=1e-12)
    # enough, and by less than one entry of one layer too much
    one_entry = max(sizes[name] / rows.size for name, rows in layers.items()) / sum(sizes.values())
    assert share - 1e-12 <= found.total_sparsity < share + one_entry
    assert (found.error > 0) == (share > 0)


def orthogonal(d, seed):
    return np.linalg.qr(normal((d, d), seed))[0]


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("wanted", [0.3, 0.5, 0.7])
def test_greedy_is_the_best_on_the_grid_where_errors_are_convex(seed, wanted):
    """Orthogonal matrices: the error is a sum of the pruned entries' squares, which grow. All splits are tried."""
    rng = np.random.default_rng(seed)
    layers = {name: rng.standard_t(df, (25, 8)) for name, df in (("a", 2), ("b", 4), ("c", 30))}
    layers["c"][:, :5] *= 1e-2
    matrices = {name: 3 * orthogonal(8, seed + i) for i, name in enumerate(layers)}
    found = thresholds(layers, wanted, method="greedy", weights=matrices, step=0.1)
    errors = {}
    for name, rows in layers.items():
        output = np.sum((rows @ matrices[name]) ** 2)
        kept = [prune(rows, thresholds(rows, tenths / 10).threshold) for tenths in range(11)]
        errors[name] = [np.sum(((part - rows) @ matrices[name]) ** 2) / output for part in kept]
    splits = [split for split in itertools.product(range(11), repeat=3) if sum(split) == round(30 * wanted)]
    best = min(sum(errors[name][tenths] for name, tenths in zip(layers, split)) for split in splits)
    assert found.total_sparsity == pytest.approx(wanted, abs=1e-12)
    assert found.error == pytest.approx(best, rel=1e-9)
    assert 0 < found.error <= found.uniform_error * (1 + 1e-12)  # the best split may be the uniform one


@pytest.mark.parametrize("seed", range(5))
def test_greedy_weighs_layers_by_their_weights(seed):
    """Orthogonal matrices, one entry a step: entries go in the order of what they cost for what they add."""
    rng = np.random.default_rng(seed)
    layers = {"wide": rng.standard_normal((10, 16)), "narrow": rng.standard_t(3, (30, 4)), "deep": rng.random((20, 4))}
    matrices = {"wide": orthogonal(16, 1), "narrow": np.eye(4), "deep": np.eye(4)}
    found = thresholds(layers, 0.6, method="greedy", weights=matrices, step=1e-9)
    entries = []
    for name, rows in layers.items():
        gain = matrices[name].size / rows.size / (256 + 16 + 16)
        entries += [(value**2 / np.sum(rows**2) / gain, gain, name) for value in rows.ravel()]
    total, pruned = 0.0, dict.fromkeys(layers, 0)
    for _, gain, name in sorted(entries):
        if total < 0.6 - 1e-12:
            total, pruned[name] = total + gain, pruned[name] + 1
    for name, rows in layers.items():
        assert abs(round(found.sparsity[name] * rows.size) - pruned[name]) <= 1  # the last entry may be another
    assert 0 < found.error < found.uniform_error
    assert len(set(found.sparsity.values())) == 3


def teal(layers, n_weights, wanted, error, step):
    """TEAL's loop: the layer whose step of equal total size leaves the smallest error."""
    at = dict.fromkeys(layers, 0.0)
    steps = {name: step / n_weights[name] for name in layers}
    while sum(n_weights[name] * at[name] for name in layers) < wanted * sum(n_weights.values()) - 1e-9:
        trials = [at | {name: at[name] + steps[name]} for name in layers if at[name] < 1]
        at = min(trials, key=lambda trial: error(to_thresholds(layers, trial)))
    return to_thresholds(layers, at)


def to_thresholds(layers, shares):
    return {name: thresholds(rows, min(1, round(shares[name], 9)), progress=False).threshold
            for name, rows in layers.items()}


@pytest.mark.parametrize("seed", range(4))
def test_greedy_with_the_error_of_the_block_is_teal(seed):
    """A gated block that is run; all of its matrices have equally many weights."""
    x = normal((100, 12), seed)
    up, gate, down = (normal((12, 12), 10 * seed + i) for i in range(3))

    def run(at):
        h = prune(x, at["up"]) @ up * np.tanh(prune(x, at["gate"]) @ gate)
        return prune(h, at["down"]) @ down

    none = dict.fromkeys(("up", "gate", "down"), 0.0)
    layers = {"up": x, "gate": x, "down": (x @ up) * np.tanh(x @ gate)}
    seen = []

    def error(at):
        seen.append(at)
        return np.sqrt(np.mean((run(at) - run(none)) ** 2))

    sizes = dict.fromkeys(none, 144)
    found = thresholds(layers, 0.5, method="greedy", weights=sizes, error=error, step=0.1)
    assert found.threshold == teal(layers, sizes, 0.5, error, 14.4)
    assert found.error == error(found.threshold) > 0
    assert found.uniform_error == error(thresholds(layers, 0.5).threshold)
    assert seen[0] == none


def test_zeros_of_a_relu_are_free():
    layers = {"x": normal((100, 10)), "h": np.maximum(normal((100, 10), 1), 0)}
    zeros = np.mean(layers["h"] == 0)
    found = thresholds(layers, zeros / 2, method="greedy", weights=dict.fromkeys(layers, np.eye(10)))
    assert (found.sparsity, found.error) == ({"x": 0, "h": zeros}, 0)
    assert found.threshold == {"x": 0, "h": 0}


def test_equal_candidates_are_taken_in_order():
    """The second layer's error differs in rounding alone: its entries are the first's in another order."""
    rng = np.random.default_rng(0)
    for _ in range(20):
        rows = rng.standard_normal((50, 8))
        layers = {"a": rows, "b": rng.permutation(rows.ravel()).reshape(50, 8)}
        found = thresholds(layers, 0.05, method="greedy", weights=dict.fromkeys(layers, np.eye(8)), step=0.1)
        assert list(found.sparsity.values()) == [pytest.approx(0.1), 0]


@pytest.mark.parametrize("scale", [1e-200, 1e200])
def test_greedy_at_extreme_scales(scale):
    layers, matrices = block(1)
    plain = thresholds(layers, 0.5, method="greedy", weights=matrices)
    scaled = thresholds({name: rows * scale for name, rows in layers.items()}, 0.5, method="greedy",
                        weights={name: matrix * scale for name, matrix in matrices.items()})
    assert scaled.sparsity == plain.sparsity
    assert scaled.error == pytest.approx(plain.error, rel=1e-9)


def test_torch_tensors_are_read():
    torch = pytest.importorskip("torch")
    layers, matrices = block(2)
    expected = thresholds(layers, 0.5, method="greedy", weights=matrices)
    tensors = {name: torch.nn.Parameter(torch.tensor(matrix)) for name, matrix in matrices.items()}
    found = thresholds({name: torch.tensor(rows) for name, rows in layers.items()}, 0.5, method="greedy",
                       weights=tensors)
    assert found == expected


A = normal((10, 4))
GREEDY = {"method": "greedy", "weights": {"a": np.eye(4)}}


@pytest.mark.parametrize(("error", "words", "arguments"), [
    (ValueError, r"sparsity must be .* in \[0, 1\], got 1.5", (A, 1.5, {})),
    (TypeError, "sparsity must be a real number", (A, "0.5", {})),
    (ValueError, "method must be one of", (A, 0.5, {"method": "TEAL"})),
    (ValueError, r"step must be .* in \(0, 1\]", ({"a": A}, 0.5, GREEDY | {"step": 0})),
    (TypeError, "progress must be", (A, 0.5, {"progress": 1})),
    (ValueError, "A must be finite, got nan in row 1", ([[0.0], [np.nan]], 0.5, {})),
    (ValueError, "A must have at least one row", (np.ones((0, 3)), 0.5, {})),
    (ValueError, r"A\['a'\] must have two dimensions", ({"a": np.ones((2, 3, 4))}, 0.5, {})),
    (ValueError, "A must not be empty", ({}, 0.5, {})),
    (FileNotFoundError, "absent.npy", ("absent.npy", 0.5, {})),
    (ValueError, "weights, error and step are for method='greedy'", (A, 0.5, {"error": abs})),
    (ValueError, "weights, error and step are for method='greedy'", ({"a": A}, 0.5, {"weights": {"a": np.eye(4)}})),
    (ValueError, "weights, error and step are for method='greedy'", (A, 0.5, {"step": 0.05})),
    (TypeError, "A must be a dict layer -> rows", (A, 0.5, {"method": "greedy"})),
    (ValueError, r"weights must be given .* matrices \(d, m\)", ({"a": A}, 0.5, {"method": "greedy"})),
    (ValueError, "weights must be given .* numbers", ({"a": A}, 0.5, {"method": "greedy", "error": abs})),
    (TypeError, "weights must be a dict", ({"a": A}, 0.5, GREEDY | {"weights": [1]})),
    (ValueError, r"weights must have the layers of A, \['b'\]", ({"b": A}, 0.5, GREEDY)),
    (ValueError, r"weights\['a'\] must have 4 rows.*transpose",
     ({"a": A}, 0.5, GREEDY | {"weights": {"a": np.ones((3, 4))}})),
    (ValueError, r"weights\['a'\] must have an output", ({"a": A}, 0.5, GREEDY | {"weights": {"a": np.zeros((4, 4))}})),
    (ValueError, r"weights\['a'\] must have an output", ({"a": 0 * A}, 0.5, GREEDY)),
    (TypeError, r"weights\['a'\] must be an integer", ({"a": A}, 0.5, GREEDY | {"error": abs})),
    (TypeError, "error must be a callable", ({"a": A}, 0.5, GREEDY | {"error": 1.0})),
    (ValueError, r"error\(thresholds\) must be a finite number",
     ({"a": A}, 0.5, GREEDY | {"weights": {"a": 1}, "error": lambda at: np.nan})),
    (TypeError, r"error\(thresholds\) must be a real number",
     ({"a": A}, 0.5, GREEDY | {"weights": {"a": 1}, "error": lambda at: None})),
    (ValueError, "held_out must have 4 features", (A, 0.5, {"held_out": A[:, :3]})),
    (ValueError, "held_out must have at least two rows", (A, 0.5, {"held_out": A[:1]})),
    (TypeError, "held_out must be rows like A", (A, 0.5, {"held_out": {"a": A}})),
    (TypeError, "held_out must be a dict", ({"a": A}, 0.5, {"held_out": A})),
    (ValueError, r"held_out must have the layers of A, \['a'\], got \['b'\]", ({"a": A}, 0.5, {"held_out": {"b": A}})),
])
def test_bad_arguments(error, words, arguments):
    rows, share, others = arguments
    with pytest.raises(error, match=words):
        thresholds(rows, share, **others)


def test_arguments_are_checked_before_any_row_is_read():
    def rows():
        raise AssertionError("read")
        yield

    with pytest.raises(TypeError, match="error must be"):
        thresholds({"a": rows()}, 0.5, **GREEDY, error=1)
    with pytest.raises(FileNotFoundError):
        thresholds(rows(), 0.5, held_out="absent.npy")


@pytest.mark.parametrize(("error", "words", "rows", "threshold"), [
    (ValueError, "threshold must be", A, -1),
    (TypeError, "threshold must be", A, None),
    (ValueError, "A must be finite", [np.inf], 1),
    (TypeError, "masked", np.ma.array([1.0]), 1),
    (TypeError, "A must hold real numbers", ["a"], 1),
    (ValueError, "A must be", 1.0, 1),
])
def test_bad_pruning(error, words, rows, threshold):
    with pytest.raises(error, match=words):
        prune(rows, threshold)
