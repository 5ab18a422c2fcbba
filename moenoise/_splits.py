"""Means over random splits of one data set, with standard errors for splits that share their rows."""

import math

import numpy as np


def mean_over_splits(values, test_share):
    """(mean, standard error) of values (splits,), two or more, where each split holds out that share of the rows.

    Were the splits independent, the squared error would be ``s^2 / splits``. They share rows, and Nadeau and Bengio
    (2003, Machine Learning 52) take it for ``s^2 (1 / splits + test rows / training rows)``.
    """
    spread = np.std(values, ddof=1) * math.sqrt(1 / len(values) + test_share / (1 - test_share))
    return float(np.mean(values)), float(spread)
