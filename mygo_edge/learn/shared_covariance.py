"""From pooled moments to the covariance that all classes share: shrunk, inverted, and cut to a factor for devices."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve, eigh
from scipy.linalg.lapack import strtri

from mygo_edge.bundle.gaussian import (
    ClassMeans,
    Floats,
    PowerTransform,
    Precision,
    SharedFactor,
    discriminant,
    fisher,
)
from mygo_edge.learn.moments import PooledMoments

_SHARES = (1.0, 0.7, 0.5, 0.35, 0.25, 0.15, 0.1)  # of the covariance's own weight that a factor may keep
_FLOOR = 1e-3  # of a feature's variance that the diagonal keeps, however much of it the factor explains


@dataclass(frozen=True)
class Shrunk:
    """(1 - shrinkage) covariance + shrinkage target, where the target is diagonal: for each feature half its own
    variance and half the mean of all, so that features that never vary keep an inverse.

    covariance: [features, features] as pooled; target: [features]; shrinkage: in (0, 1).
    """

    covariance: NDArray[np.float64]
    target: NDArray[np.float64]
    shrinkage: float

    @property
    def matrix(self) -> NDArray[np.float64]:
        """[features, features]."""
        return (1 - self.shrinkage) * self.covariance + np.diag(self.shrinkage * self.target)


def shrink(pooled: PooledMoments, strength: float) -> Shrunk:
    """The pooled covariance, shrunk as if `strength` times as many images as features had shown the target.

    That is the mean of an inverse Wishart posterior; so one strength fits while images come in, and `strengths` in
    `mygo_edge.learn.strength` choose it.
    """
    covariance = pooled.covariance()
    variances = covariance.diagonal()
    prior = strength * len(variances)
    return Shrunk(covariance, (variances + variances.mean()) / 2, prior / (prior + pooled.freedom))


class SharedCovariance:
    """A shrunk covariance with its inverse at hand: the classifier of exact sleep, and the factor for devices."""

    def __init__(self, shrunk: Shrunk, transform: PowerTransform) -> None:
        """O(features^3), once."""
        self.shrunk, self.transform = shrunk, transform
        self._covariance = shrunk.covariance.astype(np.float32)
        self._matrix = shrunk.matrix.astype(np.float32)
        self._scale = 1 / np.sqrt(shrunk.target)  # Cholesky of near-equal variances: float32 is enough
        scaled = self._matrix * np.outer(self._scale, self._scale).astype(np.float32)
        self._cholesky = cho_factor(scaled, lower=True, overwrite_a=True, check_finite=False)
        root, _ = strtri(np.asfortranarray(np.tril(self._cholesky[0])), lower=1)  # S^-1 = root' root, when scaled
        inverse_trace = float((root.astype(np.float64) ** 2).sum())
        # The trace of S^-1 C, out of S = (1 - g) C + g T and the trace of S^-1 T.
        self.spread = (len(scaled) - shrunk.shrinkage * inverse_trace) / (1 - shrunk.shrinkage)

    def _solve(self, scaled: NDArray) -> NDArray[np.float64]:
        return cho_solve(self._cholesky, scaled.T.astype(np.float32), check_finite=False).T.astype(np.float64)

    def times(self, vectors: NDArray) -> NDArray[np.float64]:
        """[n, features] -> [n, features]: each vector x becomes S^-1 x."""
        return self._solve(vectors * self._scale) * self._scale

    def discriminant(self, means: ClassMeans, denoise: bool = True) -> tuple[Floats, Floats]:
        """Weight [classes, features] and bias [classes]: as `mygo_edge.bundle.gaussian.fisher` says."""
        return fisher(means, self.times, self.spread, denoise=denoise)

    def difference(self, one: Floats, other: Floats) -> float:
        """How far two classifiers' weights [classes, features] differ in what they answer: the share, from 0 to 1, of
        the variance of one's logits over features of one class that the other's, in any scale, do not explain.

        Only differences between logits count, as they do for an answer.
        """
        first, second = (weight - weight.mean(0, dtype=np.float64) for weight in (one, other))
        product = second.astype(np.float32) @ self._matrix
        powers = float((first * (first.astype(np.float32) @ self._matrix)).sum() * (second * product).sum())
        if powers == 0:  # of one class, or of means that are all noise, there is nothing to tell apart
            return 0.0
        return 1 - float((first * product).sum()) ** 2 / powers

    def factor(self, rank: int, means: ClassMeans) -> "Factored":
        """U and d of U'U + diag(d): the largest principal components, and on the diagonal what they leave of each
        variance.

        What a few components leave out is taken for noise without correlations, which is wrong the less the more the
        covariance was shrunk. So the factor shrinks more than its covariance: as much as makes the logits of the two
        agree best.
        """
        whole_weight, _ = self.discriminant(means)
        features = len(self._scale)
        rank = min(rank, features)
        scaled = self._covariance * np.outer(self._scale, self._scale).astype(np.float32)
        variances = scaled.diagonal().copy()
        values, vectors = eigh(scaled, subset_by_index=[features - rank, features - 1], overwrite_a=True)
        signs = np.where(vectors[:1].T < 0, -1, 1)  # of two equal answers always the same
        vectors = vectors.T * signs  # [rank, features]
        candidates = []
        for share in _SHARES:
            amount = 1 - (1 - self.shrunk.shrinkage) * share
            factor = vectors * np.sqrt((1 - amount) * np.maximum(values, 0) + amount)[:, None]
            whole = (1 - amount) * variances + amount
            diagonal = np.maximum(whole - (factor**2).sum(0), _FLOOR * whole)
            shared = self._spread_of(factor / self._scale, diagonal / self._scale**2, amount)
            candidates.append(Factored(shared, self.difference(whole_weight, discriminant(means, shared)[0])))
        return min(candidates, key=lambda candidate: candidate.difference)

    def _spread_of(self, factor: NDArray, diagonal: NDArray, shrinkage: float) -> SharedFactor:
        """The shared factor, with the trace of (U'U + diag(d))^-1 C as its spread."""
        rows, variances = factor.astype(np.float32), diagonal.astype(np.float32)
        precision = Precision(SharedFactor(rows, variances, self.transform, shrinkage, 0.0))
        rotated = precision.basis * precision.scale  # [rank, features]
        explained = float(((rotated.astype(np.float32) @ self._covariance) * rotated).sum())
        spread = float((self.shrunk.covariance.diagonal() * precision.scale**2).sum()) - explained
        return SharedFactor(rows, variances, self.transform, shrinkage, spread)


@dataclass(frozen=True)
class Factored:
    """shared: for devices; difference: of its classifier to that of the whole covariance (`SharedCovariance`)."""

    shared: SharedFactor
    difference: float
