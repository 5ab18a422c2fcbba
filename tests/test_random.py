"""The generator: known answers, the normals' distribution and accuracy, and that draws depend on their place alone."""

import hashlib
import math
import os
import subprocess
import sys
import threading

import numpy as np
import pytest
import reference
from scipy import special, stats

import moenoise as mn
from moenoise import _core
from moenoise._random import Stream, philox_key

# Random123's kat_vectors for philox4x32-10: counter, key, output.
KNOWN_ANSWERS = [
    ("00000000 00000000 00000000 00000000", "00000000 00000000", "6627e8d5 e169c58d bc57ac4c 9b00dbd8"),
    ("ffffffff ffffffff ffffffff ffffffff", "ffffffff ffffffff", "408f276d 41c83b0e a20bc7c6 6d5451fd"),
    ("243f6a88 85a308d3 13198a2e 03707344", "a4093822 299f31d0", "d16cfe09 94fdcceb 5001e420 24126ea1"),
]


def words(text):
    return [int(word, 16) for word in text.split()]


def test_philox_gives_random123s_known_answers():
    counter, key, expected = (np.array([words(row[i]) for row in KNOWN_ANSWERS], dtype=np.uint32) for i in range(3))
    np.testing.assert_array_equal(_core.philox4x32(counter, key), expected)


def test_philox_twin_gives_the_known_answers_too():
    counter, key, expected = (np.array([words(row[i]) for row in KNOWN_ANSWERS], dtype=np.uint32) for i in range(3))
    np.testing.assert_array_equal(reference.philox4x32(counter, key), expected)


def raw_words(key, stream, replicate, n_blocks):
    """(n_blocks, 2) 64-bit words of a source, through the tested Philox."""
    index = np.arange(n_blocks, dtype=np.uint64)
    counter = np.stack([index, index >> np.uint64(32), np.full_like(index, stream), np.full_like(index, replicate)], 1)
    keys = np.tile(np.array([key & 0xFFFFFFFF, key >> 32], dtype=np.uint32), (n_blocks, 1))
    bits = _core.philox4x32(counter.astype(np.uint32), keys).astype(np.uint64)
    return bits[:, 0::2] | bits[:, 1::2] << np.uint64(32)


def test_normals_are_box_muller_of_the_bits_to_the_last_digits():
    key, n_blocks = 0x0123456789ABCDEF, 100_000
    high, low = raw_words(key, 5, 9, n_blocks).T
    u = 1.0 - (high >> np.uint64(12)).astype(float) * 2.0**-52
    quadrant = (low >> np.uint64(62)).astype(float)
    turn = ((low << np.uint64(2)) >> np.uint64(12)).astype(float) * 2.0**-52 - 0.5 + 2.0**-53
    radius, angle = np.sqrt(-2 * np.log(u)), np.pi / 2 * (turn + quadrant)
    expected = np.stack([radius * np.cos(angle), radius * np.sin(angle)], 1).ravel()
    actual = _core.standard_normal(key, 5, 9, 0, 2 * n_blocks)
    # the expected angle itself is rounded to 2^-53 of a turn: a few ulp of the radius
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-14)
    assert np.ptp(actual) > 7


def test_uniforms_are_the_top_53_bits():
    key, n = 42, 1000
    expected = (raw_words(key, 1, 2, n)[:, 0] >> np.uint64(11)).astype(float) * 2.0**-53
    np.testing.assert_array_equal(_core.uniform(key, 1, 2, 0, n), expected)


# Each of the following tests calls a perfect generator wrong with probability below 1e-6.
N = 4_000_000


@pytest.fixture(scope="module")
def normals():
    return mn.standard_normal(N, rng=20240101)


def test_normals_follow_the_normal_law(normals):
    assert stats.kstest(normals, "norm").pvalue > 1e-6


@pytest.mark.parametrize("order", range(1, 9))
def test_normals_moments(normals, order):
    moment = math.prod(range(order - 1, 0, -2)) if order % 2 == 0 else 0
    variance = math.prod(range(2 * order - 1, 0, -2)) - moment**2
    assert abs((normals**order).mean() - moment) < 5 * math.sqrt(variance / N)


@pytest.mark.parametrize("threshold", [2.0, 3.0, 4.0, 4.5])
@pytest.mark.parametrize("sign", [-1, 1])
def test_normals_tails(normals, threshold, sign):
    expected = N * special.ndtr(-threshold)
    assert stats.binomtest(int((sign * normals > threshold).sum()), N, expected / N).pvalue > 1e-7


def test_normals_reach_far_into_the_tails():
    assert max(abs(_core.standard_normal(key, 0, 0, 0, 1_000_000)).max() for key in range(20)) > 4.9


def test_normals_are_uncorrelated(normals):
    """Neighbours, the two of a pair included, and neighbours' squares."""
    for lag in (1, 2, 3, 127, 128, 129):
        for z in (normals, (normals**2 - 1) / math.sqrt(2)):
            assert abs((z[:-lag] * z[lag:]).mean()) < 6 / math.sqrt(N - lag)


@pytest.mark.parametrize("fill", [_core.standard_normal, _core.uniform])
def test_any_stretch_is_the_same_stretch(fill):
    whole = fill(3, 1, 2, 0, 1000)
    for first, count in [(0, 1), (1, 1), (1, 2), (63, 130), (127, 2), (128, 128), (7, 993), (999, 1), (5, 0)]:
        np.testing.assert_array_equal(fill(3, 1, 2, first, count), whole[first : first + count])


@pytest.mark.parametrize("first", [0, 1, 2, 37])
@pytest.mark.parametrize("fill", [_core.standard_normal, _core.uniform])
def test_a_stretch_of_any_length_begins_the_longer_one(fill, first):
    """Past several of the tiles that a kernel works on."""
    whole = fill(3, 1, 2, 0, 1100)
    for count in range(1050):
        np.testing.assert_array_equal(fill(3, 1, 2, first, count), whole[first : first + count])


def test_indices_beyond_32_bits_are_their_own():
    far = _core.standard_normal(1, 0, 0, 2**33, 64)
    assert not np.array_equal(far, _core.standard_normal(1, 0, 0, 0, 64))
    np.testing.assert_array_equal(_core.standard_normal(1, 0, 0, 2**33 + 10, 20), far[10:30])


def test_sources_differ_in_every_part():
    draws = [_core.standard_normal(*source, 0, 50) for source in
             [(1, 0, 0), (2, 0, 0), (1 << 32, 0, 0), (1, 1, 0), (1, 0, 1)]]
    assert len({draw.tobytes() for draw in draws}) == len(draws)


def test_bits_are_the_same_in_threads_and_everywhere():
    """The digest is what every machine must give."""
    draws = [None] * 12

    def draw(i):
        draws[i] = mn.standard_normal((300, 100), rng=7, stream=3)

    threads = [threading.Thread(target=draw, args=(i,)) for i in range(12)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert {hashlib.sha256(d.tobytes()).hexdigest() for d in draws} == {DIGEST}


DIGEST = "914963886bf9078413e44289636f77fd09172a29d9251c2684d190bdb81c9aea"


# Draws of every kind in one digest: stretches at odd places, of odd lengths and across 2^32 blocks, and designs.
ALL_DRAWS = """
import hashlib, sys
import numpy as np
import moenoise as mn
from moenoise import _core

digest = hashlib.sha256()
assert _core.instruction_set() == sys.argv[1]
digest.update(_core.philox4x32(np.array([[1, 2, 3, 4]], np.uint32), np.array([[5, 6]], np.uint32)))
for fill in (_core.standard_normal, _core.uniform):
    for first in (0, 1, 63, 2**32 - 7, 2**33 - 7, 2**40 + 1):
        for count in (1, 2, 7, 75, 256, 1001):
            digest.update(fill(0x0123456789ABCDEF, 3, 7, first, count))
for sizes in ([1, 2, 3, 5], [9, 17, 40, 75]):
    covariances = [mn.BlockModel.toeplitz(size, 1, rng=size).covariances[0] for size in sizes]
    model = mn.BlockModel(covariances, [np.ones(size) for size in sizes], noise_variance=0.3)
    for part in model.sample(70, rng=4):
        digest.update(np.ascontiguousarray(part))
for shape in ((13, 29), (29, 13)):
    digest.update(mn.spectral_design([np.linspace(1, 2, 13)], [shape], noise_variance=0.3, rng=4).noisy)
print(digest.hexdigest())
"""
ALL_DRAWS_DIGEST = "5eaeee2d4a8245fc7960dffa57827dc8b66b53d67dba7a99069b7581365ba75a"


def run_with_instruction_set(name):
    """All draws by a new interpreter that uses this instruction set."""
    return subprocess.run([sys.executable, "-c", ALL_DRAWS, name], env=os.environ | {"MOENOISE_ISA": name},
                          check=False, capture_output=True, text=True)  # fmt: skip


@pytest.mark.parametrize("name", _core.instruction_sets())
def test_every_instruction_set_draws_the_same_bits(name):
    """The digest is what every machine must give."""
    child = run_with_instruction_set(name)
    assert child.stdout.strip() == ALL_DRAWS_DIGEST, child.stderr


def test_the_best_instruction_set_is_in_use():
    names = _core.instruction_sets()
    assert names[0] in ("sse2", "portable")
    assert _core.instruction_set() == (os.environ.get("MOENOISE_ISA") or names[-1])


def test_an_unknown_instruction_set_is_refused_and_the_choice_named():
    child = run_with_instruction_set("mmx")
    assert child.returncode != 0
    error = child.stderr.strip().splitlines()[-1]
    assert error.startswith("ImportError") and "mmx" in error
    assert all(repr(name) in error for name in _core.instruction_sets())


def test_rng_follows_spec_7():
    seed = np.random.SeedSequence(5)
    assert philox_key(5) == philox_key(seed) == philox_key(np.random.SeedSequence(5))
    assert philox_key(5) != philox_key(6) != philox_key(seed.spawn(1)[0])
    assert philox_key(None) != philox_key(None)
    generator = np.random.default_rng(5)
    first = philox_key(generator)
    assert first != philox_key(generator), "a Generator is advanced"
    assert first == philox_key(np.random.default_rng(5))
    assert philox_key([1, 2]) == philox_key(np.random.SeedSequence([1, 2]))


@pytest.mark.parametrize(("rng", "error"), [(-1, ValueError), (1.5, TypeError), ("1", TypeError), (True, TypeError),
                                            (object(), TypeError)])
def test_bad_rng_is_named(rng, error):
    with pytest.raises(error, match="rng"):
        mn.standard_normal(3, rng=rng)


@pytest.mark.parametrize(("arguments", "name"), [
    ({"shape": -1}, "shape"), ({"shape": (2, 1.5)}, "shape"), ({"shape": 3, "stream": -1}, "stream"),
    ({"shape": 3, "stream": int(min(Stream))}, "stream"), ({"shape": 3, "stream": 0.5}, "stream"),
])  # fmt: skip
def test_bad_arguments_are_named(arguments, name):
    with pytest.raises((TypeError, ValueError), match=name):
        mn.standard_normal(**arguments)


def test_shape_may_be_an_integer_or_a_tuple():
    assert mn.standard_normal((), rng=0).shape == ()
    assert mn.standard_normal(0, rng=0).shape == (0,)
    np.testing.assert_array_equal(mn.standard_normal((4, 3), rng=0).ravel(), mn.standard_normal(12, rng=0))
