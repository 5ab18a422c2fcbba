"""Slow NumPy twins of the kernels in moenoise._core, with the same signatures: what the kernels are tested against.

Each is written from the equation, by other means than the kernel where there are any: NumPy's SVD instead of
Cholesky and complete orthogonal factorisations, a fit from scratch for each size instead of a nested factorisation,
NumPy's transcendental functions instead of polynomials.
"""

import numpy as np
import scipy.special
import scipy.stats

METHOD_AUTO, METHOD_NORMAL, METHOD_ORTHOGONAL, METHOD_SVD = range(4)

NORMAL_MAX_CONDITION = 1e3


def _blocks(block_sizes):
    """k slices of columns."""
    ends = np.cumsum(block_sizes).tolist()
    return [slice(end - int(size), end) for end, size in zip(ends, block_sizes)]


def _squares(flat, block_sizes):
    """k square matrices that are stored one after the other."""
    pieces = np.split(flat, np.cumsum(np.square(block_sizes))[:-1])
    return [piece.reshape(size, size) for piece, size in zip(pieces, block_sizes)]


# ---- random numbers ----------------------------------------------------------------------------------------------


def philox4x32(counter, key):
    """Ten rounds of Philox4x32 (Salmon et al., SC 2011): (m, 4) counters, (m, 2) keys -> (m, 4), all uint32."""
    low = np.uint64(0xFFFFFFFF)
    c0, c1, c2, c3 = np.asarray(counter, dtype=np.uint64).T
    k0, k1 = np.asarray(key, dtype=np.uint64).T
    for _ in range(10):
        p0, p1 = np.uint64(0xD2511F53) * c0, np.uint64(0xCD9E8D57) * c2
        c0, c1, c2, c3 = p1 >> 32 ^ c1 ^ k0, p1 & low, p0 >> 32 ^ c3 ^ k1, p0 & low
        k0, k1 = k0 + np.uint64(0x9E3779B9) & low, k1 + np.uint64(0xBB67AE85) & low
    return np.stack([c0, c1, c2, c3], axis=-1).astype(np.uint32)


def _words(key, stream, replicate, first, count):
    """Two 64-bit words a block, of blocks first .. first+count-1."""
    blocks = [(int(first) + i) % 2**64 for i in range(int(count))]
    counter = np.array([(b & 0xFFFFFFFF, b >> 32, stream, replicate) for b in blocks], dtype=np.uint32).reshape(-1, 4)
    out = philox4x32(counter, np.array([(key & 0xFFFFFFFF, key >> 32)] * count, dtype=np.uint32).reshape(-1, 2))
    out = out.astype(np.uint64)
    return out[:, 1] << 32 | out[:, 0], out[:, 3] << 32 | out[:, 2]


def uniform(key, stream, replicate, first, count):
    """Entry i is the upper 53 bits of block i's first word, over 2**53."""
    high, _ = _words(key, stream, replicate, first, count)
    return (high >> 11) * 2.0**-53


def standard_normal(key, stream, replicate, first, count):
    """Box and Muller (1958): block b holds entries 2b and 2b + 1."""
    skip = first % 2
    high, low = _words(key, stream, replicate, first // 2, (skip + count + 1) // 2)
    radius = np.sqrt(-2 * np.log1p((high >> 12) * -(2.0**-52)))
    quadrant, fraction = low >> 62, (low << 2 >> 12) * 2.0**-52 + 2.0**-53
    angle = np.pi / 2 * (quadrant + (fraction - 0.5))
    return np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=-1).ravel()[skip : skip + count]


def balanced_assignment(probabilities, n):
    """Tijdeman (1980): of the experts owed at least 1/(2k - 2) of a row, the one that can wait least."""
    k = len(probabilities)
    slack = 0.5 / (k - 1) if k > 1 else 0.0
    counts, expert = np.zeros(k), np.empty(n, dtype=np.intp)
    for row in range(n):
        owed = (row + 1) * probabilities - counts
        deadline = np.where(owed >= slack - 1e-9, (1 - slack - owed) / probabilities, np.inf)
        expert[row] = np.argmin(deadline)
        counts[expert[row]] += 1
    return expert


# ---- designs -----------------------------------------------------------------------------------------------------


def psd_factor(covariance):
    """(U, permutation, rank), covariance[perm][:, perm] = U'U, by Schur complements of the unpermuted matrix."""
    m = len(covariance)
    left, variances = covariance.copy(), np.diag(covariance)
    rows, pivots = [], []
    for _ in range(m):
        shares = np.divide(np.diag(left), variances, out=np.zeros(m), where=variances > 0)
        shares[pivots] = -np.inf
        pivot = int(shares.argmax())
        if shares[pivot] <= 16 * m * np.finfo(float).eps:
            break
        rows.append(left[pivot] / np.sqrt(left[pivot, pivot]))
        left = left - np.outer(rows[-1], rows[-1])
        pivots.append(pivot)
    if np.abs(left).max() > 1e-10 * np.abs(covariance).max():
        raise ValueError("covariance must be positive semidefinite")
    rank = len(rows)
    permutation = np.array(pivots + [i for i in range(m) if i not in pivots])
    factor = np.zeros((m, m))
    factor[:rank] = np.triu(np.reshape(rows, (rank, m))[:, permutation])
    return factor, permutation, rank


def block_design(
    key, replicate, signal, noise, first_row, expert, block_sizes, factors, permutations, coef, noise_deviation
):
    """(features, response), row by row from the model's definition."""
    n, d, blocks = len(expert), len(coef), _blocks(block_sizes)
    clean = np.zeros((n, d))
    for row, z in enumerate(expert):
        normals = standard_normal(key, signal, replicate, (first_row + row) * d + blocks[z].start, block_sizes[z])
        permutation, factor = permutations[blocks[z]], _squares(factors, block_sizes)[z]
        clean[row, blocks[z].start + permutation] = factor.T @ normals
    noise = standard_normal(key, noise, replicate, first_row * d, n * d).reshape(n, d)
    return clean + noise_deviation * noise, clean @ coef


def spectral_block(key, replicate, left, right, singular_values, n, d):
    """U diag(singular_values) V' with U and V of Haar's distribution by Stewart's (1980) reflections, as matrices."""
    rank = min(n, d)
    U, V = _haar(key, replicate, left, n, rank), _haar(key, replicate, right, d, rank)
    return U * singular_values @ V.T


def _haar(key, replicate, stream, size, rank):
    Q, signs = np.eye(size), np.empty(rank)
    for j in range(rank):
        v = standard_normal(key, stream, replicate, j * size, size - j)
        signs[j] = 1 if v[0] < 0 else -1
        v[0] -= signs[j] * np.linalg.norm(v)
        Q[:, j:] -= np.outer(Q[:, j:] @ v, 2 * v / (v @ v))
    return Q[:, :rank] * signs


# ---- least squares -----------------------------------------------------------------------------------------------


def lstsq(X, Y, rcond, method):
    """Minimum-norm least squares through the singular value decomposition: (coef (d, m), rank, method)."""
    rcond = np.finfo(float).eps * max(X.shape) if rcond < 0 else rcond
    U, s, Vt = np.linalg.svd(X, full_matrices=False)
    rank = int((s > rcond * s[0]).sum())
    coef = Vt[:rank].T @ ((U[:, :rank].T @ Y) / s[:rank, None])
    if method == METHOD_AUTO:
        method = METHOD_NORMAL if s[0] <= NORMAL_MAX_CONDITION * s[-1] and s[0] > 0 else METHOD_ORTHOGONAL
    return coef, rank, method


def block_lstsq(X, Y, expert, block_sizes, rcond, method):
    """`lstsq` of each expert's own rows and columns: (coef (d, m), rank (k,), method (k,))."""
    fits = [lstsq(X[expert == i, block], Y[expert == i], rcond, method) for i, block in enumerate(_blocks(block_sizes))]
    coef, rank, used = zip(*fits)
    return np.concatenate(coef), np.array(rank), np.array(used)


def learning_curve(X, y, sizes):
    """(s, d): a fit from scratch of the first n rows, for each n."""
    return np.stack([lstsq(X[:n], y[:n, None], -1.0, METHOD_SVD)[0][:, 0] for n in sizes])


def block_learning_curve(X, y, expert, block_sizes, sizes):
    """(s, d): the experts' fits from scratch, side by side; zeros for an expert without rows."""
    curve = np.zeros((len(sizes), X.shape[1]))
    for row, n in enumerate(sizes):
        for i, block in enumerate(_blocks(block_sizes)):
            own = np.flatnonzero(expert[:n] == i)
            if len(own):
                curve[row, block] = lstsq(X[own, block], y[own, None], -1.0, METHOD_SVD)[0][:, 0]
    return curve


# ---- gradient descent --------------------------------------------------------------------------------------------


def gradient(X, y, coef):
    """X'(X coef - y)."""
    return X.T @ (X @ coef - y)


def gradient_descent(X, y, coef, steps, step_size, bound):
    """At most `steps` of coef <- coef - step_size * gradient, while the gradient's norm is above the bound:
    (coef, residual_norms (steps done + 1,), norm of the last gradient)."""
    norms = [np.linalg.norm(X @ coef - y)]
    while len(norms) <= steps and not np.linalg.norm(gradient(X, y, coef)) <= bound:
        coef = coef - step_size * gradient(X, y, coef)
        norms.append(np.linalg.norm(X @ coef - y))
    return coef, np.array(norms), np.linalg.norm(gradient(X, y, coef))


def tridiagonal(X):
    """(reflectors, rows), Q T Q' = XX' or X'X, the smaller one, by Householder's reflections as matrices.

    Row j of `reflectors` is v of I - scale v v', scaled to v[j + 1] = 1; `rows` are T's diagonal, the entries beside
    it, and the scales.
    """
    A = X @ X.T if len(X) < X.shape[1] else X.T @ X
    size = len(A)
    reflectors, scales = np.eye(size, k=1), np.zeros(size)
    for j in range(size - 2):
        column = A[j + 1 :, j]
        image = -np.copysign(np.linalg.norm(column), column[0])
        v = np.zeros(size)
        v[j + 1 :] = column
        v[j + 1] -= image
        reflectors[j] = v / v[j + 1]
        scales[j] = (image - column[0]) / image
        H = np.eye(size) - scales[j] * np.outer(reflectors[j], reflectors[j])
        A = H @ A @ H
    return reflectors, np.stack([np.diag(A), np.append(np.diag(A, -1), 0.0), scales])


def reduced_descent(X, y, coef, steps, step_size, bound, reflectors, rows):
    """`gradient_descent` with what its form in other coordinates does not need."""
    return gradient_descent(X, y, coef, steps, step_size, bound)[:2]


# ---- routing -----------------------------------------------------------------------------------------------------


def block_covariance(X, expert, block_sizes):
    """(covariances flat, counts (k,), sum of squares of all entries outside the rows' own blocks)."""
    own = [X[expert == i, block] for i, block in enumerate(_blocks(block_sizes))]
    covariances = np.concatenate([(x.T @ x / len(x)).ravel() for x in own])
    return covariances, np.array([len(x) for x in own]), (X**2).sum() - sum((x**2).sum() for x in own)


def qda_factor(covariances, block_sizes):
    """(flat L_i^-1 with C_i = L_i L_i', log |C_i| (k,))."""
    inverses, log_determinants = [], []
    for i, covariance in enumerate(_squares(covariances, block_sizes)):
        try:
            inverses.append(np.linalg.inv(np.linalg.cholesky(covariance)).ravel())
        except np.linalg.LinAlgError:
            raise np.linalg.LinAlgError(f"the covariance of expert {i} is not positive definite") from None
        log_determinants.append(np.linalg.slogdet(covariance).logabsdet)
    return np.concatenate(inverses), np.array(log_determinants)


def qda_scores(X, block_sizes, inverse_factors, constants, noise_precision):
    """(n, k): constant_i - 1/2 ||L_i^-1 x_i||^2 + 1/2 noise_precision ||x_i||^2."""
    scores = np.empty((len(X), len(block_sizes)))
    for i, (block, inverse) in enumerate(zip(_blocks(block_sizes), _squares(inverse_factors, block_sizes))):
        own = X[:, block]
        distance = ((own @ inverse.T) ** 2).sum(axis=1)
        scores[:, i] = constants[i] - distance / 2 + noise_precision * (own**2).sum(axis=1) / 2
    return scores


# ---- mixtures of linear experts ----------------------------------------------------------------------------------


def _means(X, block_sizes, coef, intercepts):
    """(n, k, m): what each expert predicts."""
    m = intercepts.shape[1]
    each = np.split(coef, m * np.cumsum(block_sizes)[:-1])
    products = [X[:, block] @ own.reshape(m, -1).T for block, own in zip(_blocks(block_sizes), each)]
    return np.stack(products, axis=1) + intercepts


def mixture_predict(X, block_sizes, inverse_factors, constants, noise_precision, coef, intercepts, spreads, hard):
    """(response (n, m), variance (n, m) or None) by the softmax of `qda_scores`; NaN where a score is not finite."""
    scores = qda_scores(X, block_sizes, inverse_factors, constants, noise_precision)
    posterior = scipy.special.softmax(scores, axis=1)
    response, variance = combine_experts(X, block_sizes, posterior, coef, intercepts, spreads, False)
    if hard:
        means = _means(X, block_sizes, coef, intercepts)
        response, variance = _by_the_chosen(means, posterior, scores.argmax(axis=1), spreads)
    response[~np.isfinite(scores).all(axis=1)] = np.nan
    return response, variance


def combine_experts(X, block_sizes, posterior, coef, intercepts, spreads, hard):
    """(response (n, m), variance (n, m) or None) by given weights."""
    means = _means(X, block_sizes, coef, intercepts)
    if hard:
        return _by_the_chosen(means, posterior, posterior.argmax(axis=1), spreads)
    response = np.einsum("ri,rij->rj", posterior, means)
    return response, _mixed_spreads(means, posterior, response, spreads)


def _by_the_chosen(means, posterior, chosen, spreads):
    response = means[np.arange(len(means)), chosen]
    return response, _mixed_spreads(means, posterior, response, spreads)


def _mixed_spreads(means, posterior, response, spreads):
    """The mean square of a draw's distance from the response: within the experts, and between them."""
    if spreads is None:
        return None
    return np.einsum("ri,rij->rj", posterior, spreads + (means - response[:, None]) ** 2)


def mixture_moments(X, Y, block_sizes, inverse_factors, constants, noise_precision, coef, intercepts, response_factors):
    """(moments flat, posterior (n, k), log likelihood) from the normal density of the responses."""
    scores = qda_scores(X, block_sizes, inverse_factors, constants, noise_precision)
    means = _means(X, block_sizes, coef, intercepts)
    joint = scores.copy()
    for i, factor in enumerate(np.tril(response_factors)):
        covariance = np.linalg.inv(factor.T @ factor)
        joint[:, i] += np.atleast_1d(scipy.stats.multivariate_normal(cov=covariance).logpdf(Y - means[:, i]))
    posterior = scipy.special.softmax(joint, axis=1)
    return weighted_moments(X, Y, posterior, block_sizes), posterior, scipy.special.logsumexp(joint, axis=1).sum()


def weighted_moments(X, Y, posterior, block_sizes):
    """Expert i's sum over rows of posterior[r, i] z z', z = [x_i, 1, Y_r], one after the other."""
    moments = []
    for i, block in enumerate(_blocks(block_sizes)):
        Z = np.hstack([X[:, block], np.ones((len(X), 1)), Y])
        moments.append((Z.T @ (posterior[:, i, None] * Z)).ravel())
    return np.concatenate(moments)


# ---- comparing ---------------------------------------------------------------------------------------------------


def relative_error(actual, expected):
    """Norm of the difference over the norm of what was expected: 1 for an answer of zeros."""
    actual, expected = np.asarray(actual), np.asarray(expected)
    assert actual.shape == expected.shape
    assert np.linalg.norm(expected) > 0
    return np.linalg.norm(actual - expected) / np.linalg.norm(expected)


def with_condition(n, d, condition, seed=0):
    """An (n, d) matrix whose singular values fall geometrically from 1 to 1 / condition."""
    rng = np.random.default_rng(seed)
    U, _, Vt = np.linalg.svd(rng.standard_normal((n, d)), full_matrices=False)
    return U * np.geomspace(1, 1 / condition, min(n, d)) @ Vt
