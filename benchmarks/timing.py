"""Runs several sides in turn, and says what their times amount to."""

import time

import numpy as np

RESAMPLES = 2000
CONFIDENCE = 0.95


def interleave(sides, repeats, calls=None, clock=time.perf_counter):
    """Seconds of each side, run in turn: A B C, A B C, ...

    Whatever else the machine does meanwhile then meets all sides alike. A side with fewer repeats than another sits
    out some of the rounds, evenly spread.

    Parameters
    ----------
    sides : list of callables
    repeats : list of int
        How many turns each of them has.
    calls : list of int, optional
        How often each is called in one of its turns, whose seconds are then of one call. Default: once. What is short
        has to be called several times: one call alone would mostly fetch its code and data back into the caches from
        which the other sides have driven them, which no loop over it does.
    clock : callable, optional

    Returns
    -------
    list of (repeats,) arrays
    """
    rounds = max(repeats)
    seconds = [[] for _ in sides]
    for done in range(rounds):
        for side, own, count, times in zip(sides, seconds, repeats, calls or [1] * len(sides)):
            if (done + 1) * count // rounds > done * count // rounds:
                start = clock()
                for _ in range(times):
                    side()
                own.append((clock() - start) / times)
    return [np.array(own) for own in seconds]


def summary(seconds):
    """Median and quartiles of one side's seconds, ready for JSON."""
    low, median, high = np.quantile(seconds, [0.25, 0.5, 0.75]).tolist()
    return {"median": median, "quartiles": [low, high], "repeats": len(seconds)}


def ratio(theirs, ours):
    """How many times longer theirs takes: of the medians, with a bootstrap interval; ready for JSON."""
    rng = np.random.default_rng(0)  # the interval is a function of the times alone

    def resampled_medians(seconds):
        return np.median(rng.choice(seconds, (RESAMPLES, len(seconds))), axis=1)

    tail = (1 - CONFIDENCE) / 2
    interval = np.quantile(resampled_medians(theirs) / resampled_medians(ours), [tail, 1 - tail])
    return {"ratio": float(np.median(theirs) / np.median(ours)), "interval": interval.tolist()}
