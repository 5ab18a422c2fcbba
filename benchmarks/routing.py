"""Rows about the router."""

import numpy as np
from sklearn.discriminant_analysis import QuadraticDiscriminantAnalysis

import moenoise as mn

from . import machine
from .row import Floor, Rival, Row, share_different


def qda(quick):
    """Quadratic discriminant analysis: fitted, then asked for the expert of every row."""
    d, k, n = (120, 4, 2000) if quick else (900, 12, 20000)
    model = mn.BlockModel.toeplitz(d, k, scale=4.0, rng=0)
    X, _, expert = model.sample(n, rng=1)
    widths = model.block_sizes.astype(float)
    # The covariances' lower triangles, their factors and the factors' inverses, and one triangular product a row.
    count = (np.bincount(expert) + n) @ widths**2 + (2 / 3 * widths**3).sum()
    yield Row(
        work="QDA, fit and predict",
        setting=f"d={d}, k={k}, n={n:,}",
        name="mn.QDARouter",
        ours=lambda: mn.QDARouter(model.block_sizes).fit(X, expert).predict(X),
        rivals=[
            # It does not know the blocks: each of its covariances has all d features, and it errs more.
            Rival("scikit-learn, all features", lambda: QuadraticDiscriminantAnalysis().fit(X, expert).predict(X), 200,
                  tolerance=0.25, least=2),
            Rival("NumPy, block by block", lambda: numpy_qda(X, expert, model.blocks), 3),
        ],
        floor=Floor("the flops, at dgemm's rate", machine.flops(count)),
        difference=share_different,
        tolerance=0.0,
    )


def numpy_qda(X, expert, blocks):
    """The same scores by hand: a Cholesky factor and its inverse a block, a matrix product for all rows."""
    n, d = X.shape
    counts = np.bincount(expert)
    inverses, own_squares = [], 0.0
    for i, block in enumerate(blocks):
        own = X[expert == i, block]
        own_squares += np.vdot(own, own)
        inverses.append(np.linalg.inv(np.linalg.cholesky(own.T @ own / counts[i])))
    widths = np.array([block.stop - block.start for block in blocks])
    noise_variance = (np.vdot(X, X) - own_squares) / (counts @ (d - widths))
    scores = np.empty((n, len(blocks)))
    for i, (block, inverse) in enumerate(zip(blocks, inverses)):
        part = X[:, block]
        whitened = part @ inverse.T
        scores[:, i] = (np.einsum("ij,ij->i", part, part) / noise_variance
                        - np.einsum("ij,ij->i", whitened, whitened)) / 2
        scores[:, i] += np.log(counts[i] / n) + np.log(np.diag(inverse)).sum() + widths[i] / 2 * np.log(noise_variance)
    return scores.argmax(axis=1)
