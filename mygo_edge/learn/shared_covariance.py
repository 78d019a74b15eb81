"""From pooled moments to the covariance that all classes share: shrunk, inverted, and cut to a factor for devices."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve, eigh

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
_COMPARED = 32  # classes
_MORE = 32  # directions than are wanted, for their eigenvectors to be found
_PASSES = 2  # twice over the matrix, for them
_PROBES = 64  # random vectors of an estimated trace
_FLOOR = 1e-3  # of a feature's variance that the diagonal keeps, however much of it the factor explains


@dataclass(frozen=True)
class Shrunk:
    """(1 - shrinkage) covariance + shrinkage target, where the target is diagonal: for each feature half its own
    variance and half the mean of all, so that features that never vary keep an inverse.

    covariance: [features, features] as pooled; target: [features]; shrinkage: in (0, 1).
    """

    covariance: NDArray[np.float32]
    target: NDArray[np.float64]
    shrinkage: float

    @property
    def matrix(self) -> NDArray[np.float64]:
        """[features, features]."""
        return (1 - self.shrinkage) * self.covariance.astype(np.float64) + np.diag(self.shrinkage * self.target)


def shrink(pooled: PooledMoments, strength: float) -> Shrunk:
    """The pooled covariance, shrunk as if `strength` times as many images as features had shown the target.

    That is the mean of an inverse Wishart posterior; so one strength fits while images come in, and `strengths` in
    `mygo_edge.learn.strength` choose it.
    """
    covariance = pooled.covariance()
    variances = covariance.diagonal().astype(np.float64)
    return Shrunk(covariance, (variances + variances.mean()) / 2, shrinkage(pooled, strength))


def shrinkage(pooled: PooledMoments, strength: float) -> float:
    """The share of the target in what `shrink` gives."""
    prior = strength * len(pooled.scatter)
    return prior / (prior + pooled.freedom)


class SharedCovariance:
    """A shrunk covariance with its inverse at hand: the classifier of exact sleep, and the factor for devices."""

    def __init__(self, shrunk: Shrunk, transform: PowerTransform) -> None:
        """O(features^3), once: a Cholesky decomposition in float32, and few passes over the matrix besides."""
        self.shrunk, self.transform = shrunk, transform
        self._covariance = shrunk.covariance.astype(np.float32, copy=False)
        self._scale = 1 / np.sqrt(shrunk.target)  # Cholesky of near-equal variances: float32 is enough
        scaled = self._scaled(1 - shrunk.shrinkage)
        scaled.ravel()[:: len(scaled) + 1] += np.float32(shrunk.shrinkage)
        # Symmetric, so its transpose is the same in the order that LAPACK wants, without a copy.
        self._cholesky = cho_factor(scaled.T, lower=True, overwrite_a=True, check_finite=False)
        self.spread = self._measured_spread()

    def _scaled(self, share: float = 1.0) -> NDArray[np.float32]:
        """That share of the covariance, where the target is the identity."""
        scale = self._scale.astype(np.float32)
        scaled = self._covariance * (np.float32(share) * scale)[:, None]
        scaled *= scale
        return scaled

    def _measured_spread(self) -> float:
        """The trace of S^-1 C, out of S = (1 - g) C + g T and the trace of S^-1 T: the mean of z' S^-1 z over random
        signs z (Hutchinson 1990), whose error is below a hundredth; an inverse would cost as much as all the rest.
        """
        features = len(self._scale)
        if features <= _PROBES:
            signs = np.eye(features) * np.sqrt(features)
        else:
            signs = np.random.default_rng(0).choice([-1.0, 1.0], (_PROBES, features))
        trace = float((signs * self._solve(signs)).sum()) / len(signs)
        return max((features - self.shrunk.shrinkage * trace) / (1 - self.shrunk.shrinkage), 0.0)

    def _applied(self, rows: Floats) -> Floats:
        """[n, features] -> [n, features]: each row x becomes S x."""
        kept = rows @ self._covariance
        kept *= np.float32(1 - self.shrunk.shrinkage)
        return kept + rows * (self.shrunk.shrinkage * self.shrunk.target).astype(np.float32)

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
        product = self._applied(second.astype(np.float32))
        powers = float((first * self._applied(first.astype(np.float32))).sum() * (second * product).sum())
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
        if len(means.counts) > _COMPARED:  # evenly spread: enough to compare by
            some = np.linspace(0, len(means.counts) - 1, _COMPARED).astype(int)
            means = ClassMeans(means.means[some], means.counts[some])
        whole_weight, _ = self.discriminant(means)
        features = len(self._scale)
        rank = min(rank, features)
        scaled = self._scaled()
        variances = scaled.diagonal().copy()
        values, vectors = _largest(scaled, rank)
        signs = np.where(vectors[:1].T < 0, -1, 1)  # of two equal answers always the same
        vectors = vectors.T * signs  # [rank, features]
        best: Factored | None = None
        for share in _SHARES:  # from one end, as long as it gets better
            amount = 1 - (1 - self.shrunk.shrinkage) * share
            factor = vectors * np.sqrt((1 - amount) * np.maximum(values, 0) + amount)[:, None]
            whole = (1 - amount) * variances + amount
            diagonal = np.maximum(whole - (factor**2).sum(0), _FLOOR * whole)
            shared = self._spread_of(factor / self._scale, diagonal / self._scale**2, amount)
            found = Factored(shared, self.difference(whole_weight, discriminant(means, shared)[0]))
            if best is not None and found.difference > best.difference:
                break
            best = found
        assert best is not None
        return best

    def _spread_of(self, factor: NDArray, diagonal: NDArray, shrinkage: float) -> SharedFactor:
        """The shared factor, with the trace of (U'U + diag(d))^-1 C as its spread."""
        rows, variances = factor.astype(np.float32), diagonal.astype(np.float32)
        precision = Precision(SharedFactor(rows, variances, self.transform, shrinkage, 0.0))
        rotated = precision.basis * precision.scale  # [rank, features]
        explained = float(((rotated.astype(np.float32) @ self._covariance) * rotated).sum())
        spread = float((self.shrunk.covariance.diagonal() * precision.scale**2).sum()) - explained
        return SharedFactor(rows, variances, self.transform, shrinkage, spread)


def _largest(matrix: NDArray[np.float32], count: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The largest eigenvalues [count] of a symmetric matrix, rising, and their vectors [features, count]: by iteration
    of a random subspace, always the same (Halko, Martinsson & Tropp 2011), a tenth of the cost of a decomposition.
    """
    features = len(matrix)
    if count + _MORE >= features // 2:
        return eigh(matrix, subset_by_index=[features - count, features - 1])
    basis = np.random.default_rng(0).standard_normal((features, count + _MORE), np.float32)
    for _ in range(_PASSES):
        basis, _ = np.linalg.qr(matrix @ (matrix @ basis))
    values, turned = eigh(basis.T @ (matrix @ basis))
    return values[-count:], basis @ turned[:, -count:]


@dataclass(frozen=True)
class Factored:
    """shared: for devices; difference: of its classifier to that of the whole covariance (`SharedCovariance`)."""

    shared: SharedFactor
    difference: float
