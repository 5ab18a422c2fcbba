"""Modules in activations: groups of features that are active together, and the rows that each group belongs to."""

import dataclasses
import warnings

import numpy as np

from .. import _validation
from .._blas import one_blas_thread, one_openmp_thread
from .._random import philox_key
from .sampling import sample_rows

MOST_ROWS = 20_000
"""Rows that modules are looked for in, at most."""

# Alternating updates always end, since each raises the modularity; this only bounds the time of a slow one.
MOST_UPDATES = 100

# Added to all affinities, in units of their mean: keeps the graph in one piece.
LEAST_AFFINITY = 1e-3

GIANT = 0.5
"""A module is called giant where it holds more than this share of the features, and twice its equal share."""

LOUD_SHARE = 0.05
"""A row is loud that has this share of all the energy, in units of the columns'."""

FEW_NEGATIVE = 0.01

OUTLIER_ENERGY, OUTLIER_SHARE = 0.5, 0.01
"""Outlier features are said to be there where this share of the energy lies in this share of the features."""


@dataclasses.dataclass(frozen=True, eq=False)
class Modules:
    """What `find_modules` found.

    Attributes
    ----------
    features : (d,) array of int
        The module of each feature, 0 to ``k - 1``, the largest first; -1 for one that is never active, or constant, of
        which nothing says where it belongs.
    experts : (n,) array of int
        The module, and so the expert, of each row that was looked at.
    index : (n,) array of int
        Where those rows stand in the activations given.
    feature_order : (d,) array of int
        Features side by side by module, those most often active first; those in none at the end.
    row_order : (n,) array of int
        Rows by expert, those most within their module first.
    threshold : float
        An entry is active where its magnitude is above this.
    sparsity : float
        The share of entries that are not. More than was asked for where many entries are equal.
    notes : tuple of str
        What is degenerate: empty or giant modules, constant, silent or outlier features, silent rows.
    """

    features: np.ndarray
    experts: np.ndarray
    index: np.ndarray
    feature_order: np.ndarray
    row_order: np.ndarray
    threshold: float
    sparsity: float
    notes: tuple

    @property
    def k(self):
        """Number of modules found: fewer than asked for where some came out empty."""
        return len(self.block_sizes)

    @property
    def block_sizes(self):
        """(k,) features of each module."""
        return np.bincount(self.features[self.features >= 0])

    @property
    def counts(self):
        """(k,) rows of each module."""
        return np.bincount(self.experts, minlength=self.k)

    def __repr__(self):
        return (f"Modules(k={self.k}, features={self.block_sizes.tolist()}, rows={self.counts.tolist()}, "
                f"sparsity={self.sparsity:.3g}{', notes=' + repr(list(self.notes)) if self.notes else ''})")


def find_modules(A, k, *, sparsity=0.7, method="modularity", key=None, max_rows=MOST_ROWS, rng=None):
    r"""Groups of features that are active together, and an expert for each row.

    An entry is active where its magnitude is above the threshold of the sparsity, ``W = 1[|A| > t]``. Features are
    first grouped by spectral clustering of the correlation of the pruned magnitudes ``|A| W``, negative correlations
    being clipped at 0; then rows and features are reassigned in turn, as in Barber's (2007) BRIM, until the bipartite
    modularity rises no more. With R and C the active entries of each row and column, T of all, and sums over a module
    b, a row goes to, and a feature alike::

        argmax_b  W_rb - R_r C_b / T,          Q = sum_b (W_bb / T - R_b C_b / T^2)

    Correlations of the features themselves would not do: within a module they may be 0, while their magnitudes depend
    on each other, being large or small together. Nor would similarities that are not centred, under which all features
    that are often active are alike.

    With ``method="cosine"`` the recipe is that of the paper (Appendix B.1): spectral clustering of the cosine
    similarity of the pruned columns, negative ones clipped at 0; a row goes to the module in which its magnitudes have
    the highest mean percentile rank, each within its column. It is here to be compared with.

    Parameters
    ----------
    A : array-like (n, d), iterable of chunks, or path
        Activations; whatever `moenoise.activations.read_chunks` reads.
    k : int >= 2
        Modules to look for; at most the number of features.
    sparsity : float in [0, 1), default 0.7
        The share of entries, over all of A, that are not active. At 0, all that are not zero are.
    method : {"modularity", "cosine"}
    key : str, optional
        Which array of a file that holds several.
    max_rows : int, default 20,000
        Look at a random sample of so many distinct rows, at most: rows that occur twice count once.
    rng : None, int, SeedSequence or Generator, optional
        Where the sample of rows and the starts of k-means come from.

    Returns
    -------
    Modules
        With ``features`` (d,), ``experts`` (n,), ``feature_order``, ``row_order`` for a heatmap, and ``notes`` on
        what is degenerate. Memory beside A: about ``max_rows * d * 24 + d**2 * 24`` bytes.

    Raises
    ------
    TypeError, ValueError
        Where an argument has the wrong kind, shape or range; where fewer than k features vary, or are active.

    Examples
    --------
    >>> import moenoise as mn
    >>> sample = mn.BlockModel.isotropic(24, 3, variance=9.0, rng=0).sample(600, rng=1)
    >>> modules = mn.activations.find_modules(sample.features, 3, rng=0)
    >>> modules.features.reshape(3, 8)  # the model's blocks, in another order
    array([[2, 2, 2, 2, 2, 2, 2, 2],
           [0, 0, 0, 0, 0, 0, 0, 0],
           [1, 1, 1, 1, 1, 1, 1, 1]])
    >>> modules.block_sizes
    array([8, 8, 8])
    """
    k = _validation.as_integer(k, "k", low=2)
    sparsity = _validation.as_scalar(sparsity, "sparsity", low=0, high=1, open_high=True)
    method = _validation.as_choice(method, "method", FINDERS)
    max_rows = _validation.as_integer(max_rows, "max_rows", low=2)
    seed = philox_key(rng)
    sample = sample_rows(A, max_rows, key=key, rng=seed, name="A")
    with one_blas_thread():  # so that no bit depends on how many there are
        return modules_of(sample.rows, k, sparsity, seed=seed, method=method, index=sample.index, name="A")


def modules_of(rows, k, sparsity, *, seed, method="modularity", index=None, name="activations"):
    """`find_modules` of rows (n, d) in memory, float64, with a seed for k-means (an int)."""
    scale = unit(rows)
    rows = rows / scale  # nothing depends on it, and single precision is enough
    constant = np.ptp(rows, axis=0) == 0
    if np.sum(~constant) < k:
        raise ValueError(f"{name} must have at least k={k} features that vary, got {np.sum(~constant)} of "
                         f"{len(constant)}")
    magnitudes = np.abs(rows)
    threshold = magnitude_threshold(magnitudes[:, ~constant], sparsity)
    active = active_entries(magnitudes, threshold)
    members = np.flatnonzero(active.any(axis=0) & ~constant)
    if len(members) < k:
        raise ValueError(f"sparsity must leave at least k={k} features active; at {sparsity:g} there are "
                         f"{len(members)} of {len(constant)}: a lower one makes more of them active")
    active = np.ascontiguousarray(active[:, members])
    groups, experts = FINDERS[method](rows[:, members], active, k, seed)
    groups, experts = without_empty(groups, experts)
    features = np.full(rows.shape[1], -1)
    features[members] = groups
    usage = np.zeros(len(features))
    usage[members] = active.mean(axis=0)
    index = np.arange(len(rows)) if index is None else index
    return Modules(features, experts, index, feature_order(features, usage), row_order(active, groups, experts),
                   threshold * scale, 1 - active.sum(dtype=float) / (len(rows) * np.sum(~constant)),
                   degenerate(rows, active, features, usage, k))


def unit(rows):
    """The power of two that brings the largest magnitude to between 1/2 and 1: dividing by it changes no digit."""
    return float(np.ldexp(1.0, int(np.frexp(np.abs(rows).max())[1])))


def by_modularity(rows, active, k, seed):
    """(groups (d,), experts (n,)): the better of two starts, improved until neither can be."""
    starts = spectral_groups(np.abs(rows) * active, k, centred=True, seed=seed)
    return max((alternate(active, start, k) for start in starts), key=lambda found: modularity(active, *found))


def by_cosine(rows, active, k, seed):
    """(groups (d,), experts (n,)) of the paper's recipe."""
    groups = spectral_groups(rows * active, k, centred=False, seed=seed)[1]
    return groups, percentile_experts(np.abs(rows), groups)


FINDERS = {"modularity": by_modularity, "cosine": by_cosine}


def magnitude_threshold(magnitudes, sparsity):
    """The magnitude that a share `sparsity` of all entries does not exceed."""
    if sparsity == 0:
        return 0.0
    flat = magnitudes.ravel()
    position = min(int(np.ceil(sparsity * flat.size)), flat.size) - 1
    return float(np.partition(flat, position)[position])


def active_entries(magnitudes, threshold):
    """(n, d) float32: 1 where the magnitude is above the threshold; float, since it is multiplied by matrices."""
    return (magnitudes > threshold).astype(np.float32)


def spectral_groups(pruned, k, *, centred, seed):
    """Two spectral clusterings, (d,) groups each, of the columns' correlation or cosine similarity, clipped at 0.

    They share the embedding, and differ in how it is cut: by pivoted QR (Damle et al., 2019), and by k-means.
    """
    from sklearn.cluster import KMeans
    from sklearn.cluster._spectral import cluster_qr
    from sklearn.manifold import spectral_embedding

    columns = pruned.astype(np.float32)
    if centred:
        columns -= columns.mean(axis=0)
    norms = np.linalg.norm(columns, axis=0)
    columns /= np.where(norms > 0, norms, 1)
    affinity = np.maximum((columns.T @ columns).astype(float), 0)
    np.fill_diagonal(affinity, 0)
    affinity += LEAST_AFFINITY * max(affinity.mean(), np.finfo(float).tiny)
    # Sums' last bits depend on k-means' threads. It limits BLAS itself, and where it outlives the block that has done
    # so before, would leave it limited.
    with one_blas_thread(), one_openmp_thread(), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of graphs in pieces, which the line above has joined, and of few features
        embedding = spectral_embedding(affinity, n_components=k, drop_first=False, random_state=seed % 2**32)
        by_means = KMeans(k, n_init=4, random_state=seed % 2**32).fit_predict(embedding)
    return cluster_qr(embedding), by_means


def alternate(active, groups, k):
    """(groups (d,), experts (n,)) at which neither rows nor features raise the modularity by moving."""
    in_row, in_column = active.sum(axis=1), active.sum(axis=0)
    total = float(in_row.sum(dtype=float))
    experts = None
    for _ in range(MOST_UPDATES):
        moved = best_modules(active, in_row, in_column, groups, k, total)
        if experts is not None and np.array_equal(moved, experts):
            break
        experts = moved
        groups = best_modules(active.T, in_column, in_row, experts, k, total)
    return groups, best_modules(active, in_row, in_column, groups, k, total)


def best_modules(active, in_row, in_column, groups, k, total):
    """(n,) the module b of each row with the largest ``W_rb - R_r C_b / T``; a row without active entries goes to 0."""
    members = one_hot(groups, k)
    gain = active @ members - np.outer(in_row, (in_column @ members) / total)
    return gain.argmax(axis=1)


def one_hot(groups, k):
    """(d, k) float32: 1 in the column of the row's group."""
    return (np.asarray(groups)[:, None] == np.arange(k)).astype(np.float32)


def modularity(active, groups, experts):
    """Bipartite modularity ``Q = sum_b (W_bb / T - R_b C_b / T^2)`` of rows' experts and features' groups."""
    k = int(max(groups.max(), experts.max())) + 1
    members, rows = one_hot(groups, k), one_hot(experts, k)
    inside = np.einsum("rb,rb->b", active @ members, rows, dtype=float)
    in_rows = active.sum(axis=1, dtype=float) @ rows
    in_columns = active.sum(axis=0, dtype=float) @ members
    total = in_rows.sum()
    return float(inside.sum() / total - (in_rows / total) @ (in_columns / total))


def percentile_experts(magnitudes, groups):
    """(n,) the module in which a row's magnitudes, ranked within their columns, have the highest mean rank."""
    from scipy.stats import rankdata

    members = one_hot(groups, groups.max() + 1).astype(float)
    return (rankdata(magnitudes, axis=0) @ (members / np.maximum(members.sum(axis=0), 1))).argmax(axis=1)


def without_empty(groups, experts):
    """The same, modules without features or rows left out, and the others numbered by size, the largest first.

    Features of a module that no row belongs to, and rows of one without features, go to the largest.
    """
    k = int(max(groups.max(), experts.max())) + 1
    sizes, counts = np.bincount(groups, minlength=k), np.bincount(experts, minlength=k)
    alive = (sizes > 0) & (counts > 0)
    order = sorted(np.flatnonzero(alive), key=lambda b: (-sizes[b], -counts[b], b))
    new = np.zeros(k, dtype=np.intp)
    new[order] = np.arange(len(order))
    return new[groups], new[experts]


def feature_order(features, usage):
    """(d,) features by module, the most active first, those in no module at the end."""
    return np.lexsort((-usage, np.where(features < 0, features.max() + 1, features)))


def row_order(active, groups, experts):
    """(n,) rows by expert, those first whose active entries are most in their own module."""
    inside = np.take_along_axis(active @ one_hot(groups, groups.max() + 1), experts[:, None], axis=1)[:, 0]
    return np.lexsort((-inside / np.maximum(active.sum(axis=1), 1), experts))


def degenerate(rows, active, features, usage, k):
    """What a reader has to know before trusting the modules: a tuple of sentences."""
    notes, sizes = [], np.bincount(features[features >= 0])
    if len(sizes) < k:
        notes.append(f"{k - len(sizes)} of {k} modules came out empty")
    if sizes.max() > GIANT * sizes.sum() and (sizes.max() > 2 * sizes.sum() / k):
        notes.append(f"module {sizes.argmax()} is giant: it has {sizes.max()} of {sizes.sum()} features")
    for count, text in ((np.sum(features < 0), "features are constant or never active, and in no module"),
                        (np.sum(usage == 1), "features are always active: nothing says which module they belong to"),
                        (np.sum(~active.any(axis=1)), "rows have no active entry, and are with expert 0")):
        if count:
            notes.append(f"{count} {text}")
    energy = np.sort(np.einsum("rd,rd->d", rows, rows))[::-1]
    few = int(OUTLIER_SHARE * len(energy))
    if few and energy[:few].sum() > OUTLIER_ENERGY * energy.sum():
        notes.append(f"{few} of {len(energy)} features hold {energy[:few].sum() / energy.sum():.0%} of the energy")
    columns = (rows**2).mean(axis=0)
    loudest = np.divide(rows**2, columns, out=np.zeros_like(rows), where=columns > 0).sum(axis=1)
    if len(rows) >= 1 / LOUD_SHARE and loudest.max() > LOUD_SHARE * loudest.sum():
        share = loudest.max() / loudest.sum()
        notes.append(f"row {loudest.argmax()} of those looked at holds {share:.0%} of the energy")
    if np.mean(rows < 0) < FEW_NEGATIVE:
        notes.append("the activations are hardly ever negative, as after a ReLU: there modules are correlations, which "
                     "draws without modules have as well; what enters the ReLU tells more")
    return tuple(notes)
