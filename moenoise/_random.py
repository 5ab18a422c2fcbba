"""Keys and streams of the counter-based generator.

Every random entry is a pure function of (key, replicate, stream, index): the
key is derived from the user's ``rng`` here, the rest is counter.
"""

import enum

import numpy as np


class Stream(enum.IntEnum):
    """Streams of the package's own draws; a user's streams lie below all of them."""

    FEATURES = 0xF0000000
    NOISE = 0xF0000001
    ROUTING = 0xF0000002
    COEFFICIENTS = 0xF0000003
    LEFT_VECTORS = 0xF0000004
    RIGHT_VECTORS = 0xF0000005
    STARTS = 0xF0000006
    NOISE_SCALES = 0xF0000007


def philox_key(rng):
    """The 64-bit key that `rng` stands for (SPEC 7).

    None draws fresh entropy; an int, a sequence of ints or a SeedSequence always
    gives the same key; a Generator or BitGenerator is advanced by one key.
    """
    if isinstance(rng, np.random.Generator):
        rng = rng.bit_generator
    if isinstance(rng, np.random.BitGenerator):
        with rng.lock:
            low, high = (int(word) & 0xFFFFFFFF for word in rng.random_raw(2))
        return low | high << 32
    if isinstance(rng, (bool, np.bool_, float, str, bytes)):
        raise TypeError(f"rng must be None, an int, a SeedSequence or a Generator, got {rng!r}")
    if not isinstance(rng, np.random.SeedSequence):
        try:
            rng = np.random.SeedSequence(rng)
        except TypeError:
            raise TypeError(f"rng must be None, an int, a SeedSequence or a Generator, got {rng!r}") from None
        except ValueError:
            raise ValueError(f"rng must be a non-negative seed, got {rng!r}") from None
    low, high = map(int, rng.generate_state(2, np.uint32))
    return low | high << 32
