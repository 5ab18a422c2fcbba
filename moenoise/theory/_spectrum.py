"""A model in its blocks' eigenbases, where every formula is a sum over d numbers."""

import typing

import numpy as np

from ..model import check_model


class Spectrum(typing.NamedTuple):
    """Coordinate j is one eigenvector of its block's ``Sigma_i``; blocks follow each other."""

    eigenvalues: np.ndarray  # (d,) of Sigma_i, zero where they are zero to rounding
    beta: np.ndarray  # (d,) true coefficients in the eigenbasis
    probability: np.ndarray  # (d,) of the coordinate's own expert
    starts: np.ndarray  # (k,) first coordinate of each block
    block_sizes: np.ndarray  # (k,)
    vectors: tuple  # k arrays (d_i, d_i), one eigenvector a column

    def block_sums(self, values):
        """(k,) sums of a (d,) array over each block."""
        return np.add.reduceat(values, self.starts)

    def has_signal(self):
        """Whether the response is ever other than 0."""
        return bool(((self.eigenvalues > 0) & (self.beta != 0)).any())

    def split(self, values):
        """A (d,) array in the eigenbasis as k arrays (d_i,)."""
        return np.split(values, self.starts[1:])

    def to_features(self, values):
        """k arrays (d_i,) in the features' own basis, from a (d,) array in the eigenbasis."""
        return [vectors @ block for vectors, block in zip(self.vectors, self.split(values))]


def spectrum(model):
    """The model's `Spectrum`; TypeError where it is not a BlockModel."""
    check_model(model)
    decompositions = {id(covariance): eigh_without_rounding(covariance) for covariance in _distinct(model.covariances)}
    eigenvalues, vectors = zip(*(decompositions[id(covariance)] for covariance in model.covariances))
    beta = [basis.T @ block for basis, block in zip(vectors, model.coefficients)]
    return Spectrum(
        np.concatenate(eigenvalues),
        np.concatenate(beta),
        np.repeat(model.probabilities, model.block_sizes),
        np.array([block.start for block in model.blocks]),
        model.block_sizes,
        vectors,
    )


def bayes_weights(basis, noise_variance):
    """(dense, sparse) Bayes-optimal coefficients, (d,) each, in the eigenbasis."""
    dense = basis.beta * signal_fraction(basis.probability * basis.eigenvalues, noise_variance)
    sparse = basis.beta * signal_fraction(basis.eigenvalues, noise_variance)
    return dense, sparse


def signal_fraction(signal, noise_variance):
    """signal / (signal + noise), zero without signal: the limit as the noise vanishes."""
    return np.divide(signal, signal + noise_variance, out=np.zeros_like(signal), where=signal > 0)


def _distinct(arrays):
    """Each object once: equal blocks often are one array."""
    return {id(array): array for array in arrays}.values()


def eigh_without_rounding(covariance):
    """Eigenvalues, those that are zero to rounding made zero, and eigenvectors of a positive semi-definite matrix."""
    values, vectors = np.linalg.eigh(covariance)
    rounding = len(values) * np.finfo(float).eps * np.abs(values).max()
    return np.where(values > rounding, values, 0.0), vectors
