"""Noise on sentences: what it changes and what it leaves, its law, its seeds, its bad input."""

import collections
import difflib
import itertools
import re

import numpy as np
import pytest
from scipy import stats

from moenoise.text import keyboard_errors, swap_words

SENTENCES = [
    "a gorgeous , witty , seductive movie .",
    "it 's not good , but it 's fun .",
    "  Two\tspaces  and\n\na (parenthesis), \"quotes\" -- dashes ... 3.5 times!  ",
    "Ünïcode: naïve cafés, \N{GREEK SMALL LETTER ALPHA}\N{GREEK SMALL LETTER BETA} und größer; I \u2764\ufe0f it",
    "cafe\u0301 decompose\u0301 again",
    "very very very",
    "one",
    "-- ... !?",
    " \n\t ",
    "",
    "\ud800 lone surrogate",
    "don't state-of-the-art e.g. _under_ #tag @user http://a.b/c",
]


def soups(n, seed, alphabet="abAB'.,- \n\u00e9\u0301\u2764\ufe0f\u3000\u4e2d1"):
    """Random strings of characters that are hard in one way or another."""
    rng = np.random.default_rng(seed)
    return ["".join(rng.choice(list(alphabet), rng.integers(0, 40))) for _ in range(n)]


def by_index(noise, sentences, seed, **arguments):
    return [noise([sentence], rng=seed, start=i, **arguments).sentences[0] for i, sentence in enumerate(sentences)]


@pytest.mark.parametrize("noise", [swap_words, keyboard_errors])
def test_noise_is_a_function_of_seed_index_and_sentence(noise):
    whole = noise(SENTENCES, rng=5)
    assert by_index(noise, SENTENCES, 5) == whole.sentences
    assert noise(iter(SENTENCES), rng=5).sentences == whole.sentences
    assert noise(np.array(SENTENCES[:3]), rng=5).sentences == whole.sentences[:3]
    assert {type(sentence) for sentence in noise(np.array(SENTENCES[:3]), rng=5).sentences} == {str}
    batches = noise(SENTENCES[:4], rng=5).sentences + noise(SENTENCES[4:], rng=5, start=4).sentences
    assert batches == whole.sentences
    assert noise(["x"] + SENTENCES[1:], rng=5).sentences[1:] == whole.sentences[1:]
    assert noise(SENTENCES, rng=6).sentences != whole.sentences
    assert len(set(noise(["a b c d e f g h"] * 50, rng=5).sentences)) > 5


@pytest.mark.parametrize("noise", [swap_words, keyboard_errors])
def test_seeds(noise):
    text = ["the quick brown fox jumps over the lazy dog again and again"] * 5
    seeds = np.random.SeedSequence(1), np.random.SeedSequence(1), 1
    assert len({tuple(noise(text, rng=seed).sentences) for seed in seeds}) == 1
    generator = np.random.default_rng(1)
    assert noise(text, rng=generator).sentences != noise(text, rng=generator).sentences
    assert noise(text).sentences != noise(text).sentences


SWAPPED = ["the quick fox brown , isn't it ?", 'the Jumps over Lazy dog']
SUBSTITUTED = ["the quick broan fox , isb't it ?", 'Jumps oved yhe Lazy dog']
INSERTED = ["thes quick brown fopx , isn't it ?", 'Jumps ovrer thbe Lazy dog']


def test_bits_are_the_same_everywhere():
    """A change of these strings is a breaking change."""
    text = ["the quick brown fox , isn't it ?", "Jumps over the Lazy dog"]
    assert swap_words(text, rng=1).sentences == SWAPPED
    assert keyboard_errors(text, rng=1).sentences == SUBSTITUTED
    assert keyboard_errors(text, rng=1, kind="insertion").sentences == INSERTED


def as_words(sentence):
    """The words of plain sentences, whose words are letters."""
    return re.findall(r"[a-z]+", sentence)


def test_swaps_are_of_neighbours_and_uniform():
    """Four pairs of neighbours; a chi-squared test at 1e-6."""
    n = 4000
    noisy = swap_words(["aa bb, (cc) dd -- ee!"] * n, swaps=1, rng=0)
    assert (noisy.n_changes == 1).all() and noisy.no_op_rate == 0
    assert {re.sub("[a-z]+", "_", sentence) for sentence in noisy.sentences} == {"_ _, (_) _ -- _!"}
    counts = collections.Counter(tuple(as_words(sentence)) for sentence in noisy.sentences)
    words = ["aa", "bb", "cc", "dd", "ee"]
    expected = {(*words[:i], words[i + 1], words[i], *words[i + 2:]) for i in range(4)}
    assert set(counts) == expected
    assert stats.chisquare(list(counts.values())).pvalue > 1e-6


def test_number_of_swaps_is_uniform_over_its_range():
    counts = np.bincount(swap_words(["a b c d e f"] * 3000, swaps=(1, 3), rng=0).n_changes, minlength=5)
    assert counts[0] == counts[4] == 0
    assert stats.chisquare(counts[1:4]).pvalue > 1e-6
    by_default = swap_words(["a b c d e f"] * 100, rng=0).n_changes
    assert set(by_default.tolist()) == {1, 2}
    for swaps in (0, 1, 4, (2, 2), [2, 3], np.array([0, 1]), np.array(2), np.int8(3)):
        found = set(swap_words(["a b c d e f"] * 60, swaps=swaps, rng=0).n_changes.tolist())
        assert found == set(range(np.min(swaps), np.max(swaps) + 1))


@pytest.mark.parametrize("length", [1, 2, 3, 4, 5, 6])
def test_no_swap_undoes_another(length):
    """All texts of two or three words, repeated: changed where a swap was possible, the same words, counted right."""
    texts = [" ".join(words) for words in itertools.product("abc", repeat=length)]
    noisy = swap_words(texts, swaps=(1, 4), rng=length)
    for text, changed, count in zip(texts, noisy.sentences, noisy.n_changes):
        assert (changed != text) == (count > 0) == (len(set(text.split())) > 1)
        assert sorted(changed) == sorted(text)
        assert count <= max(length - 1, 0)
    assert noisy.no_op_rate == np.mean([changed == text for text, changed in zip(texts, noisy.sentences)])


def test_a_swap_can_be_taken_back():
    """Of the only two distinct words: swapping them again restores the text, with all of its spaces and points."""
    texts = "  one,\t(two)!\n", "It 's", "x \u2764\ufe0f y", "cafe\u0301 (e\u0301te\u0301)", "\ud800 a ... b\u3000"
    for text in texts:
        (changed,) = swap_words([text], swaps=1, rng=0).sentences
        assert changed != text
        assert swap_words([changed], swaps=1, rng=0).sentences == [text]


@pytest.mark.parametrize("swaps", [1, (1, 2), 20])
def test_swaps_keep_characters_and_spaces(swaps):
    texts = SENTENCES + soups(400, 1)
    noisy = swap_words(texts, swaps=swaps, rng=2)
    for text, changed, count in zip(texts, noisy.sentences, noisy.n_changes):
        assert sorted(changed) == sorted(text)
        assert re.findall(r"\s+", changed) == re.findall(r"\s+", text)
        assert [run.strip("'\u2019.,-") == "" for run in changed.split()] == [
            run.strip("'\u2019.,-") == "" for run in text.split()]
        assert (changed != text) == (count > 0)
    assert 0.05 < noisy.no_op_rate < 0.6


@pytest.mark.parametrize(("text", "expected"), [
    ("Good, bad!", "bad, Good!"),
    ("(not) 'good'", "(good) 'not'"),
    ("it 's", "'s it"),
    ("it \u2019S.", "\u2019S it."),
    ("e.g. state-of-the-art", "state-of-the-art. e.g"),
    ("yes -- no", "no -- yes"),
    ("don't 'stop'", "stop 'don't'"),
    ("cafe\u0301, noir", "noir, cafe\u0301"),
])
def test_what_a_word_is(text, expected):
    assert swap_words([text], swaps=1, rng=0).sentences == [expected]


NOTHING_TO_SWAP = ["", " ", "\n\t", "word", "...", "- -", "same same", "\u2764\ufe0f \u2764", "\u4e2d\u6587\u4e2d"]


def test_sentences_without_a_pair_to_swap_are_kept_and_counted():
    noisy = swap_words([*NOTHING_TO_SWAP, "a b"], swaps=3, rng=0)
    assert noisy.sentences == [*NOTHING_TO_SWAP, "b a"]
    assert noisy.n_changes.tolist() == [0] * len(NOTHING_TO_SWAP) + [1]
    assert noisy.n_changes.dtype == np.intp
    assert noisy.no_op_rate == pytest.approx(0.9)


ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")


def are_neighbours(a, b):
    """On a US keyboard, where each row is about half a key to the right of the one above."""
    places = {letter: (row, column) for row, letters in enumerate(ROWS) for column, letter in enumerate(letters)}
    (row, column), (other_row, other_column) = sorted([places[a.lower()], places[b.lower()]])
    if row == other_row:
        return other_column - column == 1
    return other_row - row == 1 and column - other_column in (0, 1)


def test_every_key_that_touches_is_hit_equally_often():
    """h has six neighbours, a and p fewer; chi-squared tests at 1e-6."""
    for letter, neighbours in {"h": "yugjbn", "a": "qwsz", "p": "ol", "Z": "ASX", "m": "njk"}.items():
        sentences = keyboard_errors([letter] * 3000, rng=1).sentences
        counts = collections.Counter(sentences)
        assert set(counts) == set(neighbours)
        assert stats.chisquare(list(counts.values())).pvalue > 1e-6


def test_every_letter_of_a_word_is_hit_equally_often():
    sentences = keyboard_errors(["abcdef"] * 3000, rng=1).sentences
    places = [next(i for i in range(6) if sentence[i] != "abcdef"[i]) for sentence in sentences]
    assert stats.chisquare(np.bincount(places, minlength=6)).pvalue > 1e-6


@pytest.mark.parametrize("words", [1, 2, (1, 3), 50])
def test_substitutions_are_of_one_letter_in_each_of_some_words(words):
    texts = SENTENCES + soups(300, 3)
    noisy = keyboard_errors(texts, words=words, rng=3)
    for text, changed, count in zip(texts, noisy.sentences, noisy.n_changes):
        assert len(changed) == len(text)
        places = [i for i, (a, b) in enumerate(zip(text, changed)) if a != b]
        assert len(places) == count
        assert all(are_neighbours(text[i], changed[i]) and text[i].isupper() == changed[i].isupper() for i in places)
        runs = [len(re.findall(r"\s+", text[:i])) for i in places]
        assert len(set(runs)) == len(runs)  # no two in one word
        with_letters = len([run for run in text.split() if re.search("[A-Za-z](?![\u0301\ufe0f])", run)])
        assert np.min(words) <= count or count == with_letters
        assert count <= min(np.max(words), with_letters)


def test_insertions_are_of_a_neighbour_beside_its_letter():
    texts = SENTENCES + soups(300, 4)
    noisy = keyboard_errors(texts, rng=4, kind="insertion")
    for text, changed, count in zip(texts, noisy.sentences, noisy.n_changes):
        assert len(changed) == len(text) + count
        pieces = [piece for piece in difflib.ndiff(text, changed) if piece[0] != " "]
        assert [piece[0] for piece in pieces] == ["+"] * count
    both_sides = set(keyboard_errors(["p"] * 60, rng=0, kind="insertion").sentences)
    assert both_sides == {"po", "pl", "op", "lp"}


@pytest.mark.parametrize("kind", ["substitution", "insertion"])
def test_sentences_without_letters_are_kept_and_counted(kind):
    without = ["", " ", "10/10", "...", "\u00e9", "e\u0301", "\u4e2d\u6587", "\N{KELVIN SIGN}", "\u0131\u017f"]
    noisy = keyboard_errors([*without, "x"], rng=0, kind=kind)
    assert noisy.sentences[:-1] == without and noisy.sentences[-1] != "x"
    assert noisy.n_changes.tolist() == [0] * len(without) + [1]
    assert noisy.no_op_rate == 0.9


@pytest.mark.parametrize("noise", [swap_words, keyboard_errors])
def test_rate_is_a_probability(noise):
    """A binomial count within five standard deviations: a false alarm in 1e6."""
    n, rate = 4000, 0.3
    noisy = noise(["some words here"] * n, rate=rate, rng=1)
    assert abs((1 - noisy.no_op_rate) * n - n * rate) < 5 * np.sqrt(n * rate * (1 - rate))
    assert noise(["a b"] * 50, rate=0, rng=1).sentences == ["a b"] * 50
    assert noise(["a b"] * 50, rate=1, rng=1).no_op_rate == 0
    # Whoever gets noise at a lower rate gets the same noise at a higher one.
    full = noise(["some words here"] * n, rng=1)
    assert all(b in (a, "some words here") for a, b in zip(full.sentences, noisy.sentences))


def test_inputs_are_not_changed():
    texts = ["a b", "c d"]
    for noise in (swap_words, keyboard_errors):
        noise(texts, rng=0)
    assert texts == ["a b", "c d"]


@pytest.mark.parametrize(("error", "words", "arguments"), [
    (TypeError, "sentences must be a sequence of strings, got one str", {"sentences": "a b"}),
    (TypeError, "got one bytes", {"sentences": b"a b"}),
    (TypeError, r"sentences\[1\] must be a string, got 5", {"sentences": ["a", 5]}),
    (TypeError, r"sentences\[0\] must be a string, got b'a'", {"sentences": [b"a"]}),
    (TypeError, r"sentences\[1\] must be a string, got None", {"sentences": ["a", None]}),
    (TypeError, "got a set", {"sentences": {"a"}}),
    (TypeError, "got a dict", {"sentences": {"a": 1}}),
    (TypeError, "sentences must be a sequence, got None", {"sentences": None}),
    (ValueError, "sentences must not be empty", {"sentences": []}),
    (ValueError, r"rate must be .* in \[0, 1\]", {"rate": 1.1}),
    (TypeError, "rate must be", {"rate": "1"}),
    (ValueError, "start must be at least 0", {"start": -1}),
    (TypeError, "start must be", {"start": 0.5}),
    (ValueError, "rng must be", {"rng": -1}),
    (TypeError, "rng must be", {"rng": "seed"}),
])
@pytest.mark.parametrize("noise", [swap_words, keyboard_errors])
def test_bad_arguments(noise, error, words, arguments):
    with pytest.raises(error, match=words):
        noise(**{"sentences": ["a b"]} | arguments)


@pytest.mark.parametrize(("error", "value"), [
    (ValueError, -1), (TypeError, 1.5), (TypeError, True), (TypeError, "2"), (TypeError, None), (TypeError, (1, None)),
    (ValueError, (2, 1)), (ValueError, (1, 2, 3)), (TypeError, np.array(2.0)), (TypeError, np.array("2")),
    (ValueError, np.array([2])), (ValueError, []), (TypeError, np.array([[1], [2]])), (TypeError, [1, [2]]),
])
def test_bad_counts(error, value):
    with pytest.raises(error, match="swaps must be"):
        swap_words(["a b"], swaps=value)
    with pytest.raises(error, match="words must be"):
        keyboard_errors(["a b"], words=value)


def test_bad_kind():
    with pytest.raises(ValueError, match="kind must be one of 'substitution', 'insertion'"):
        keyboard_errors(["a b"], kind="deletion")
