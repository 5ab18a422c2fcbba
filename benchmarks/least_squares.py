"""Least squares as one would write it without moenoise: what the fits are measured against."""

import numpy as np
import scipy.linalg


def each_size(fit):
    """The learning curve that fits the first n rows anew for every n."""
    return lambda X, y, sizes: np.array([fit(X[:n], y[:n]) for n in sizes])


def lstsq(X, y):
    return np.linalg.lstsq(X, y)[0]


def gelsy(X, y):
    return scipy.linalg.lstsq(X, y, lapack_driver="gelsy", check_finite=False)[0]


def pinv(X, y):
    return np.linalg.pinv(X.T @ X) @ (X.T @ y)


def normal_equations(X, y):
    factor = scipy.linalg.cho_factor(X.T @ X, overwrite_a=True, check_finite=False)
    return scipy.linalg.cho_solve(factor, X.T @ y, check_finite=False)


def nested_cholesky(X, y, sizes):
    """All sizes from shared factorisations: the best one can do in NumPy.

    For n < d leading blocks of one Cholesky factor of X X'; for n >= d a Gram matrix that grows by the new rows.
    """
    d = X.shape[1]
    coef = np.empty((len(sizes), d))
    wide = [n for n in sizes if n < d]
    if wide:
        factor = np.linalg.cholesky(X[: wide[-1]] @ X[: wide[-1]].T)
    gram, projection, seen = np.zeros((d, d)), np.zeros(d), 0
    for j, n in enumerate(sizes):
        if n < d:
            coef[j] = X[:n].T @ scipy.linalg.cho_solve((factor[:n, :n], True), y[:n], check_finite=False)
        else:
            new = X[seen:n]
            gram += new.T @ new
            projection += new.T @ y[seen:n]
            seen = n
            factored = scipy.linalg.cho_factor(gram, check_finite=False)
            coef[j] = scipy.linalg.cho_solve(factored, projection, check_finite=False)
    return coef


def each_expert(fit):
    """The experts' fits in a loop: `fit` on each expert's own rows and columns."""

    def fits(X, y, expert, blocks):
        # A boolean mask each costs the less where experts are few, sorting once where they are many.
        if len(blocks) < 20:
            rows = [expert == i for i in range(len(blocks))]
        else:
            rows = np.split(np.argsort(expert, kind="stable"), np.cumsum(np.bincount(expert))[:-1])
        return [fit(X[own, block], y[own]) for own, block in zip(rows, blocks)]

    return fits


def each_experts_curve(curve):
    """The experts' learning curves side by side: `curve` on each expert's own rows and columns."""

    def curves(X, y, expert, blocks, sizes):
        coef = np.empty((len(sizes), X.shape[1]))
        for i, block in enumerate(blocks):
            own = expert == i
            coef[:, block] = curve(X[own, block], y[own], np.cumsum(own)[np.array(sizes) - 1])
        return coef

    return curves


def torch_batched(torch):
    """The experts' fits as one batch of PyTorch's Cholesky factorisations, for blocks and loads that are all equal."""

    def fits(X, y, expert, blocks):
        k, width = len(blocks), blocks[0].stop
        rows = np.argsort(expert, kind="stable").reshape(k, -1)
        batch = torch.from_numpy(X.reshape(len(X), k, width)[rows, np.arange(k)[:, None]])
        response = torch.from_numpy(y[rows])[:, :, None]
        factor = torch.linalg.cholesky(batch.mT @ batch)
        return torch.cholesky_solve(batch.mT @ response, factor)[:, :, 0].numpy()

    return fits
