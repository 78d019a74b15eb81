"""From pooled moments to the covariance that all classes share: shrunk, inverted, and cut to a factor for devices."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from mygo_edge.bundle.gaussian import (
    ClassMeans,
    Floats,
    PowerTransform,
    Precision,
    SharedFactor,
    fisher,
)
from mygo_edge.bundle.manifest import Rule
from mygo_edge.learn.features.estimates import Estimate, RootInverse
from mygo_edge.learn.features.moments import PooledMoments

_SHARES = (1.0, 0.7, 0.5, 0.35, 0.25, 0.15, 0.1)  # of the covariance's own weight that a factor may keep
_COMPARED = 32  # classes
_FLOOR = 1e-3  # of a feature's variance that the diagonal keeps, however much of it the factor explains


@dataclass(frozen=True)
class Shrunk:
    """(1 - shrinkage) covariance + shrinkage target, where the target is diagonal: for each feature half its own
    variance and half the mean of all, so that features that never vary keep an inverse.

    estimate: the covariance as pooled; target: [features]; shrinkage: in (0, 1).
    """

    estimate: Estimate
    target: NDArray[np.float64]
    shrinkage: float

    @property
    def covariance(self) -> NDArray[np.float32]:
        """[features, features], as pooled."""
        return self.estimate.matrix

    @property
    def matrix(self) -> NDArray[np.float64]:
        """[features, features]."""
        return (1 - self.shrinkage) * self.covariance.astype(np.float64) + np.diag(self.shrinkage * self.target)


def shrink(pooled: PooledMoments, strength: float) -> Shrunk:
    """The pooled covariance, shrunk as if `strength` times as many images as features had shown the target.

    That is the mean of an inverse Wishart posterior; so one strength fits while images come in, and `strengths` in
    `mygo_edge.learn.features.strength` choose it.
    """
    estimate = pooled.covariance()
    variances = estimate.diagonal().astype(np.float64)
    return Shrunk(estimate, (variances + variances.mean()) / 2, shrinkage(pooled, strength))


def shrinkage(pooled: PooledMoments, strength: float) -> float:
    """The share of the target in what `shrink` gives."""
    prior = strength * pooled.features
    return prior / (prior + pooled.freedom)


class SharedCovariance:
    """A shrunk covariance with its inverse at hand: the classifier of exact sleep, and the factor for devices."""

    def __init__(self, shrunk: Shrunk, transform: PowerTransform) -> None:
        """O(features^3), once, or less where the covariance is of few images."""
        self.shrunk, self.transform = shrunk, transform
        self.scale = 1 / np.sqrt(shrunk.target)  # where the target is the identity
        self.scaled = shrunk.estimate.scaled(self.scale)
        self._inverse = self.scaled.inverse(shrunk.shrinkage)
        # The trace of S^-1 C, out of S = (1 - g) C + g T and the trace of S^-1 T.
        rest = len(self.scale) - shrunk.shrinkage * self._inverse.trace()
        self._variances = shrunk.estimate.diagonal()
        self.spread = max(rest / (1 - shrunk.shrinkage), 0.0)

    def _applied(self, rows: Floats) -> Floats:
        """[n, features] -> [n, features]: each row x becomes S x."""
        kept = self.shrunk.estimate.times(rows)
        kept *= np.float32(1 - self.shrunk.shrinkage)
        return kept + rows * (self.shrunk.shrinkage * self.shrunk.target).astype(np.float32)

    def times(self, vectors: NDArray) -> NDArray[np.float64]:
        """[n, features] -> [n, features]: each vector x becomes S^-1 x."""
        return self._inverse.solve(vectors * self.scale).astype(np.float64) * self.scale

    def products(self, vectors: NDArray) -> NDArray[np.float64]:
        """[n, features] -> [n, n]: the products of all vectors under S^-1."""
        return self._inverse.products(vectors * self.scale)

    def norms(self, vectors: NDArray) -> NDArray[np.float64]:
        """[n, features] -> [n]: the square of the length of each vector under S^-1, for half of what `times` costs."""
        return self._inverse.norms(vectors * self.scale)

    def discriminant(self, means: ClassMeans, rule: Rule | None = "ridge") -> tuple[Floats, Floats]:
        """Weight [classes, features] and bias [classes]: as `mygo_edge.bundle.gaussian.fisher` says."""
        return fisher(means, self.times, self.spread, rule=rule)

    def difference(self, one: Floats, other: Floats) -> float:
        """How far two classifiers' weights [classes, features] differ in what they answer: the share, from 0 to 1, of
        the variance of one's logits over features of one class that the other's, in any scale, do not explain.

        Only differences between logits count, as they do for an answer.
        """
        return _unexplained(self._logits(one), self._logits(other))

    def _logits(self, weight: Floats) -> tuple[Floats, Floats]:
        """A classifier's weights less their mean, [classes, features], and these times S."""
        centred = (weight - weight.mean(0, dtype=np.float64)).astype(np.float32)
        return centred, self._applied(centred)

    def factor(self, rank: int, means: ClassMeans, before: SharedFactor | None = None) -> "Factored":
        """U and d of U'U + diag(d): the largest principal components, and on the diagonal what they leave of each
        variance. Of fewer images than the rank, rows of U are left over, and 0.

        What a few components leave out is taken for noise without correlations, which is wrong the less the more the
        covariance was shrunk. So the factor shrinks more than its covariance: as much as makes the logits of the two
        agree best.

        Args:
            rank: rows of U.
            means: of all classes.
            before: the last one, near which this one is sooner found.
        """
        if len(means.counts) > _COMPARED:  # evenly spread: enough to compare by
            some = np.linspace(0, len(means.counts) - 1, _COMPARED).astype(int)
            means = ClassMeans(means.means[some], means.counts[some])
        away = (means.means - means.means.mean(0, dtype=np.float64)).astype(np.float32)
        exact = self.times(away).astype(np.float32), away  # and times S
        variances = self.scaled.diagonal()
        near = None if before is None else _directions(before.factor * self.scale)
        values, vectors = self.scaled.largest(min(rank, len(self.scale)), near)
        values, scale = np.maximum(values, 0), self.scale.astype(np.float32)
        vectors = vectors.T * np.where(vectors[:1].T < 0, -1, 1).astype(np.float32)  # of two answers always the same

        def kept(share: float) -> Factored:
            amount = 1 - (1 - self.shrunk.shrinkage) * share
            factor = vectors * np.sqrt((1 - amount) * values + amount)[:, None]  # [rank, features]
            whole = (1 - amount) * variances + amount
            diagonal = np.maximum(whole - (factor**2).sum(0), _FLOOR * whole)
            deviations = np.sqrt(diagonal)
            whitening = scale / deviations
            weight = RootInverse(factor / deviations, 1.0).solve(away * whitening) * whitening
            shared = SharedFactor(factor / scale, diagonal / scale**2, self.transform, amount, 0.0)
            return Factored(shared, _unexplained(exact, self._logits(weight)))

        # From the middle to either end, as long as it gets better.
        middle = len(_SHARES) // 2
        best = kept(_SHARES[middle])
        for shares in (_SHARES[middle + 1 :], _SHARES[:middle][::-1]):
            start = best
            for share in shares:
                if (found := kept(share)).difference > best.difference:
                    break
                best = found
            if best is not start:
                break
        rows = np.zeros((min(rank, len(self.scale)), len(self.scale)), np.float32)
        rows[: best.shared.rank] = best.shared.factor
        return replace(best, shared=replace(best.shared, factor=rows, spread=self._spread(best.shared)))

    def _spread(self, shared: SharedFactor) -> float:
        """The trace of (U'U + diag(d))^-1 C."""
        precision = Precision(shared)
        rotated = precision.basis * precision.scale  # [rank, features]
        explained = float((self.shrunk.estimate.times(rotated.astype(np.float32)) * rotated).sum())
        return float((self._variances * precision.scale**2).sum()) - explained


def _directions(rows: NDArray) -> Floats:
    """Those of length 1 of rows [n, features] that are not 0."""
    lengths = np.linalg.norm(rows, axis=1)
    return (rows[lengths > 0] / lengths[lengths > 0, None]).astype(np.float32)


def _unexplained(first: tuple[Floats, Floats], second: tuple[Floats, Floats]) -> float:
    """`SharedCovariance.difference` of two classifiers, each with its product."""

    def power(one: Floats, other: Floats) -> float:
        return float((one.astype(np.float64) * other).sum())

    powers = power(*first) * power(*second)
    if powers == 0:  # of one class, or of means that are all noise, there is nothing to tell apart
        return 0.0
    return 1 - power(first[0], second[1]) ** 2 / powers


@dataclass(frozen=True)
class Factored:
    """shared: for devices; difference: of its classifier to that of the whole covariance (`SharedCovariance`)."""

    shared: SharedFactor
    difference: float
