"""Rows about the router, and about the mixture of experts that it makes."""

import numpy as np
import scipy.linalg
import scipy.special
from sklearn.discriminant_analysis import QuadraticDiscriminantAnalysis

import moenoise as mn
from moenoise import _core

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


class Mixture:
    """The best mixture of experts for a model: what the kernels take, and what NumPy does with it."""

    def __init__(self, model):
        noisy = [block + model.noise_variance * np.eye(len(block)) for block in model.covariances]
        self.blocks, self.block_sizes = model.blocks, model.block_sizes
        self.factors, log_determinants = _core.qda_factor(np.concatenate([C.ravel() for C in noisy]), self.block_sizes)
        self.inverses = [np.linalg.inv(np.linalg.cholesky(C)) for C in noisy]
        self.constants = np.log(model.probabilities) - log_determinants / 2
        self.constants += self.block_sizes / 2 * np.log(model.noise_variance)
        self.precision = 1 / model.noise_variance
        clean = zip(noisy, model.covariances, model.coefficients)
        self.coef = [scipy.linalg.solve(C, S @ b, assume_a="pos") for C, S, b in clean]
        own = zip(model.covariances, model.coefficients, self.coef)
        self.spreads = np.array([[b @ S @ (b - w)] for S, b, w in own])
        self.response_factors = 1 / np.sqrt(self.spreads[:, :, None])
        self.gate = self.block_sizes, self.factors, self.constants, self.precision
        self.linear = np.concatenate(self.coef), np.zeros((len(self.coef), 1))

    def predict(self, X, hard):
        return _core.mixture_predict(X, *self.gate, *self.linear, None, hard)[0]

    def moments(self, X, Y):
        return _core.mixture_moments(X, Y, *self.gate, *self.linear, self.response_factors)

    def numpy_parts(self, X):
        """Scores and predictions of each expert, (n, k) both: a matrix product a block for all rows."""
        scores, means = np.empty((2, len(X), len(self.blocks)))
        for i, (block, inverse, coef) in enumerate(zip(self.blocks, self.inverses, self.coef)):
            part = X[:, block]
            whitened = part @ inverse.T
            scores[:, i] = self.constants[i] - np.einsum("ij,ij->i", whitened, whitened) / 2
            scores[:, i] += self.precision / 2 * np.einsum("ij,ij->i", part, part)
            means[:, i] = part @ coef
        return scores, means

    def numpy_predict(self, X):
        scores, means = self.numpy_parts(X)
        return (scipy.special.softmax(scores, axis=1) * means).sum(axis=1, keepdims=True)

    def numpy_moments(self, X, Y):
        scores, means = self.numpy_parts(X)
        joint = scores - (np.log(2 * np.pi * self.spreads.T) + (Y - means) ** 2 / self.spreads.T) / 2
        posterior, moments = scipy.special.softmax(joint, axis=1), []
        for i, block in enumerate(self.blocks):
            Z = np.hstack([X[:, block], np.ones((len(X), 1)), Y])
            moments.append(((Z.T * posterior[:, i]) @ Z).ravel())
        return np.concatenate(moments), posterior, scipy.special.logsumexp(joint, axis=1).sum()


def soft_mixture(quick):
    """The soft mixture's prediction of every row: all experts, weighted by the router's posterior."""
    d, k, n = (120, 4, 2000) if quick else (900, 12, 20000)
    model = mn.BlockModel.toeplitz(d, k, scale=4.0, rng=0)
    mixture, X = Mixture(model), model.sample(n, rng=1).features
    # One triangular product a row and block, the squares for the noise, and the experts' predictions.
    count = n * (model.block_sizes.astype(float) ** 2 + 4.0 * model.block_sizes).sum()
    yield Row(
        work="soft mixture, predict",
        setting=f"d={d}, k={k}, n={n:,}",
        name="_core.mixture_predict",
        ours=lambda: mixture.predict(X, hard=False),
        rivals=[
            # A soft gate may cost at most 1.3 times a hard one.
            Rival("our hard prediction", lambda: mixture.predict(X, hard=True), 1 / 1.3,
                  check=lambda: mixture.numpy_predict(X)),
            Rival("NumPy, block by block", lambda: mixture.numpy_predict(X), 3),
        ],
        floor=Floor("the flops, at dgemm's rate", machine.flops(count)),
    )


def expectation(quick):
    """One pass of expectation maximisation, where every row counts for every expert."""
    d, k, n = (120, 4, 2000) if quick else (900, 12, 20000)
    model = mn.BlockModel.toeplitz(d, k, scale=0.02, rng=0)  # so faint that no posterior is negligible
    mixture, (X, y, _) = Mixture(model), model.sample(n, rng=1)
    Y, widths = y[:, None].copy(), model.block_sizes.astype(float)
    # As for a prediction, and the lower triangle of one weighted Gram matrix an expert, of its columns, 1 and y.
    count = n * (widths**2 + 4 * widths + (widths + 2) * (widths + 3)).sum()
    yield Row(
        work="EM, one pass",
        setting=f"d={d}, k={k}, n={n:,}",
        name="_core.mixture_moments",
        ours=lambda: mixture.moments(X, Y),
        rivals=[Rival("NumPy, block by block", lambda: mixture.numpy_moments(X, Y), 3)],
        floor=Floor("the flops, at dgemm's rate", machine.flops(count)),
    )
