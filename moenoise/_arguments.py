"""Kinds of arguments that several commands of the command line take."""

import argparse

INTERRUPTED = 130  # the exit status after Ctrl-C: 128 + SIGINT, as shells have it


def integer_from(low, text):
    """An integer of at least `low`."""
    try:
        value = int(text)
    except ValueError:
        value = low - 1
    if value < low:
        raise argparse.ArgumentTypeError(f"expected an integer of at least {low}, got {text!r}")
    return value


def seed(text):
    """What all draws derive from."""
    return integer_from(0, text)


def jobs(text):
    """A number of workers."""
    return integer_from(1, text)


def shard(text):
    """``I/N``, I in 1..N, as a pair."""
    first, slash, second = text.partition("/")
    if slash and first.isdecimal() and second.isdecimal() and 1 <= int(first) <= int(second):
        return int(first), int(second)
    raise argparse.ArgumentTypeError(f"expected I/N with I in 1..N, as in 3/10, got {text!r}")
