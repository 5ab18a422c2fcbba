"""Noise on sentences, as in the paper's experiments: swaps of neighbouring words, errors of typing."""

import enum
import re
import unicodedata
from collections.abc import Mapping, Set
from typing import NamedTuple

import numpy as np

from . import _validation
from ._random import philox_key

# Rows of letters of a US keyboard, and how far each row is shifted to the right, in keys.
_KEYBOARD = (("qwertyuiop", 0.0), ("asdfghjkl", 0.25), ("zxcvbnm", 0.75))

# What tokenised English splits off ("it 's"): the apostrophe before it is a part of it.
_CLITICS = {"s", "re", "ve", "ll", "d", "m"}
_APOSTROPHES = "'\N{RIGHT SINGLE QUOTATION MARK}"

KINDS = ("substitution", "insertion")


__all__ = ["NoisySentences", "keyboard_errors", "swap_words"]


class NoisySentences(NamedTuple):
    """Sentences after `swap_words` or `keyboard_errors`."""

    sentences: list
    """n strings, in the order given."""
    n_changes: np.ndarray
    """(n,) intp: the swaps, or the words with an error, of each sentence. A sentence is changed where it is above 0."""
    no_op_rate: float
    """The share of sentences that are unchanged."""


def swap_words(sentences, *, swaps=(1, 2), rate=1.0, rng=None, start=0):
    r"""Sentences in which neighbouring words have changed places: the paper's word noise (Figures 4, 5, 11).

    The paper swaps neighbours "at least one and a maximum of two" times in a sentence. Here each swap is of a pair of
    neighbouring places drawn uniformly from those that have not been swapped yet and whose words differ, so no
    swap undoes another; a word may move by two places. Where no such pair is left, fewer swaps are made.

    A word is what lies between the first and the last letter or digit (with its accents) of a run without white space.
    White space and punctuation around words stay where they are, as does a run without a letter or digit; letters keep
    their case.
    Only the clitics of tokenised English ('s, 're, 've, 'll, 'd, 'm) take their apostrophe along. Text that does not
    put spaces between words has none to swap.

    Parameters
    ----------
    sentences : sequence of n str
    swaps : int or pair (low, high) of int, default (1, 2)
        How many swaps a sentence gets: that many, or a number drawn uniformly from low to high, both included.
    rate : float in [0, 1], default 1.0
        The probability that a sentence gets noise at all.
    rng : None, int, SeedSequence or Generator, optional
        The seed; see `moenoise.standard_normal`. A sentence's noise is a function of the seed, the sentence's index
        and the sentence alone.
    start : int >= 0, default 0
        The index of the first sentence. A corpus in batches, each with its `start` and the same int as `rng`, gets
        the noise that it would get as a whole.

    Returns
    -------
    NoisySentences
        ``.sentences`` list of n str, ``.n_changes`` (n,) swaps made, ``.no_op_rate`` the share of sentences unchanged:
        those with fewer than two words, with equal words only, or spared by `rate`.

    Raises
    ------
    TypeError, ValueError
        Where an argument is not as described; a single str is no sequence of sentences.

    Notes
    -----
    The paper used nlpaug's RandomWordAug, which draws words rather than pairs, may undo a swap by the next, gives the
    swapped words each other's case, and joins the words again with its own spacing.

    Examples
    --------
    >>> from moenoise.text import swap_words
    >>> noisy = swap_words(["A fine, quiet film!", "Superb.", "very very"], swaps=1, rng=1)
    >>> noisy.sentences
    ['A quiet, fine film!', 'Superb.', 'very very']
    >>> noisy.n_changes.tolist(), round(noisy.no_op_rate, 2)
    ([1, 0, 0], 0.67)
    """
    return _noisy(sentences, _swapped, _Noise.SWAPS, _as_counts(swaps, "swaps"), rate, rng, start)


def keyboard_errors(sentences, *, words=2, kind="substitution", rate=1.0, rng=None, start=0):
    """Sentences with errors of typing, one in each of a few words: the paper's character noise (Figures 4, 5, 11).

    In each of `words` words, drawn without replacement from those that have a letter a to z, one such letter, drawn
    uniformly, is replaced by a letter whose key touches its own on a US QWERTY keyboard, as in the paper; or such a
    letter is typed in addition, before or after it. Upper case stays upper case. Words are as for `swap_words`;
    letters with accents, letters of other scripts, digits and punctuation are never changed.

    Parameters
    ----------
    sentences : sequence of n str
    words : int or pair (low, high) of int, default 2
        How many words of a sentence get an error: that many, or a number drawn uniformly from low to high, both
        included; all that have a letter where there are fewer.
    kind : {"substitution", "insertion"}, default "substitution"
    rate : float in [0, 1], default 1.0
        The probability that a sentence gets noise at all.
    rng : None, int, SeedSequence or Generator, optional
        As for `swap_words`.
    start : int >= 0, default 0
        The index of the first sentence, as for `swap_words`.

    Returns
    -------
    NoisySentences
        ``.sentences`` list of n str, ``.n_changes`` (n,) words changed, ``.no_op_rate`` the share of sentences
        unchanged: those without a letter, or spared by `rate`.

    Raises
    ------
    TypeError, ValueError
        Where an argument is not as described; a single str is no sequence of sentences.

    Notes
    -----
    The paper used nlpaug's KeyboardAug, whose neighbours include digits and symbols; by its defaults it
    leaves words of fewer than four letters alone.

    Examples
    --------
    >>> from moenoise.text import keyboard_errors
    >>> noisy = keyboard_errors(["A fine, quiet film!", "10/10"], rng=3)
    >>> noisy.sentences
    ['A find, quuet film!', '10/10']
    >>> noisy.n_changes.tolist(), noisy.no_op_rate
    ([2, 0], 0.5)
    """
    kind = _validation.as_choice(kind, "kind", KINDS)
    mistyped = _substituted if kind == "substitution" else _inserted
    return _noisy(sentences, mistyped, _Noise[kind.upper()], _as_counts(words, "words"), rate, rng, start)


class _Noise(enum.IntEnum):
    """What a stream of random bits is for."""

    SWAPS = 0
    SUBSTITUTION = 1
    INSERTION = 2


def _noisy(sentences, change, noise, counts, rate, rng, start):
    """`NoisySentences` by change(sentence, count, bits) -> (sentence, number of changes)."""
    sentences = _as_sentences(sentences)
    rate = _validation.as_scalar(rate, "rate", low=0, high=1)
    start = _validation.as_integer(start, "start", low=0)
    key, (low, high) = philox_key(rng), counts
    changed = []
    for i, sentence in enumerate(sentences, start):
        # The bits of a bit generator are the same in every version of NumPy; a Generator's methods are not.
        bits = np.random.Philox(np.random.SeedSequence(key, spawn_key=(noise, i)))
        spared = bits.random_raw() >= rate * 2**64
        count = low + _below(bits, high - low + 1)
        changed.append((sentence, 0) if spared else change(sentence, count, bits))
    texts, n_changes = zip(*changed)
    n_changes = np.array(n_changes, dtype=np.intp)
    return NoisySentences(list(texts), n_changes, float(np.mean(n_changes == 0)))


def _as_sentences(value):
    """A non-empty list of str."""
    if isinstance(value, (str, bytes)):
        raise TypeError(f"sentences must be a sequence of strings, got one {type(value).__name__}: put it in a list")
    if isinstance(value, (Mapping, Set)):
        raise TypeError(f"sentences must be a sequence of strings, got a {type(value).__name__}")
    sentences = _validation.as_list(value, "sentences")
    for i, sentence in enumerate(sentences):
        if not isinstance(sentence, str):
            raise TypeError(f"sentences[{i}] must be a string, got {sentence!r}")
    return list(map(str, sentences))  # of NumPy's strings too


def _as_counts(value, name):
    """(low, high), both included, of one number or a pair."""
    if not isinstance(value, (tuple, list)) and np.ndim(value) == 0:
        value = (value, value)
    if len(value) != 2:
        raise ValueError(f"{name} must be an integer or a pair (low, high), got {value!r}")
    low = _validation.as_integer(value[0], name, low=0)
    high = _validation.as_integer(value[1], name, low=0)
    if low > high:
        raise ValueError(f"{name} must be a pair (low, high) with low <= high, got {value!r}")
    return low, high


def _below(bits, n):
    """A whole number from 0 to n - 1, uniform to n / 2**64."""
    return int(bits.random_raw()) * n >> 64


def _words(sentence):
    """The spans (begin, end) of the words."""
    spans = []
    for run in re.finditer(r"\S+", sentence):
        inside = [i for i in range(*run.span()) if unicodedata.category(sentence[i])[0] in "LN"]
        if inside:
            begin, end = inside[0], inside[-1] + 1
            while _is_mark(sentence, end):
                end += 1
            has_apostrophe = begin > run.start() and sentence[begin - 1] in _APOSTROPHES
            spans.append((begin - (has_apostrophe and sentence[begin:end].lower() in _CLITICS), end))
    return spans


def _swapped(sentence, count, bits):
    spans = _words(sentence)
    words = [sentence[begin:end] for begin, end in spans]
    left = list(range(len(words) - 1))  # the pairs (i, i + 1) not yet swapped
    n_swaps = 0
    while n_swaps < count and (pairs := [i for i in left if words[i] != words[i + 1]]):
        i = pairs[_below(bits, len(pairs))]
        words[i], words[i + 1] = words[i + 1], words[i]
        left.remove(i)
        n_swaps += 1
    return _with_spans(sentence, spans, words), n_swaps


def _substituted(sentence, count, bits):
    return _mistyped(sentence, count, bits, lambda letter, neighbour: neighbour)


def _inserted(sentence, count, bits):
    return _mistyped(sentence, count, bits,
                     lambda letter, neighbour: letter + neighbour if _below(bits, 2) else neighbour + letter)


def _mistyped(sentence, count, bits, typed):
    """One letter of each of `count` words becomes typed(letter, neighbour)."""
    places = [[i for i in range(*span) if _is_typed(sentence, i)] for span in _words(sentence)]
    places = [letters for letters in places if letters]
    errors = {}
    for _ in range(min(count, len(places))):
        letters = places.pop(_below(bits, len(places)))
        place = letters[_below(bits, len(letters))]
        neighbours = _NEIGHBOURS[sentence[place]]
        errors[place] = typed(sentence[place], neighbours[_below(bits, len(neighbours))])
    spans = [(place, place + 1) for place in sorted(errors)]
    return _with_spans(sentence, spans, [errors[place] for place, _ in spans]), len(errors)


def _is_typed(sentence, i):
    """Whether character i has a key of its own: it is a letter a to z, and no mark that follows changes it."""
    return sentence[i] in _NEIGHBOURS and not _is_mark(sentence, i + 1)


def _is_mark(sentence, i):
    """Whether there is a character i and it belongs to the letter before it, as combining accents do."""
    return i < len(sentence) and unicodedata.category(sentence[i]).startswith("M")


def _with_spans(sentence, spans, texts):
    """The sentence with other texts in these spans, which are in order."""
    parts, end = [], 0
    for (begin, next_end), text in zip(spans, texts):
        parts += [sentence[end:begin], text]
        end = next_end
    return "".join([*parts, sentence[end:]])


def _touching_keys():
    """Dict letter -> the letters whose keys touch its own, as one str."""
    places = {letter: (row, column + shift) for row, (letters, shift) in enumerate(_KEYBOARD)
              for column, letter in enumerate(letters)}

    def touch(a, b):
        (row, x), (other_row, other_x) = places[a], places[b]
        return abs(x - other_x) == 1 if row == other_row else abs(row - other_row) == 1 and abs(x - other_x) < 1

    return {a: "".join(b for b in places if touch(a, b)) for a in places}


_NEIGHBOURS = _touching_keys()
_NEIGHBOURS |= {letter.upper(): neighbours.upper() for letter, neighbours in _NEIGHBOURS.items()}
