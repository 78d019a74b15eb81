"""From pooled moments to the covariance that all classes share: shrunk, inverted, and cut to a factor for devices."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve, eigh

from mygo_edge.bundle.gaussian import ClassMeans, Floats, PowerTransform, Precision, SharedFactor, fisher
from mygo_edge.learn.moments import PooledMoments

_PROBES = 64  # random signs that a trace is estimated with (Hutchinson 1990), to about half a percent
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
        """O(features^3) / 3, once."""
        self.shrunk, self.transform = shrunk, transform
        self._scale = 1 / np.sqrt(shrunk.target)  # Cholesky of near-equal variances: float32 is enough
        scaled = (shrunk.matrix * np.outer(self._scale, self._scale)).astype(np.float32)
        self._cholesky = cho_factor(scaled, lower=True, overwrite_a=True, check_finite=False)
        signs = np.random.default_rng(0).choice([-1.0, 1.0], (_PROBES, len(scaled)))
        inverse_trace = float((signs * self._solve(signs)).sum() / _PROBES)
        # trace of S^-1 C, out of S = (1 - g) C + g T; exact but for the estimate of the trace of S^-1 T.
        self.spread = (len(scaled) - shrunk.shrinkage * inverse_trace) / (1 - shrunk.shrinkage)

    def _solve(self, scaled: NDArray) -> NDArray[np.float64]:
        return cho_solve(self._cholesky, scaled.T.astype(np.float32), check_finite=False).T.astype(np.float64)

    def times(self, vectors: NDArray) -> NDArray[np.float64]:
        """[n, features] -> [n, features]: each vector x becomes S^-1 x."""
        return self._solve(vectors * self._scale) * self._scale

    def discriminant(self, means: ClassMeans, denoise: bool = True) -> tuple[Floats, Floats]:
        """Weight [classes, features] and bias [classes]: as `mygo_edge.bundle.gaussian.fisher` says."""
        return fisher(means, self.times, self.spread, denoise=denoise)

    def factor(self, rank: int) -> SharedFactor:
        """U and d of U'U + diag(d): the largest principal components of the correlations, and on the diagonal what
        they leave of each variance, so that every variance is kept.
        """
        matrix = self.shrunk.matrix
        rank = min(rank, len(matrix))
        deviations = np.sqrt(matrix.diagonal())
        correlations = matrix / np.outer(deviations, deviations)
        values, vectors = eigh(correlations, subset_by_index=[len(matrix) - rank, len(matrix) - 1], overwrite_a=True)
        factor = (vectors * np.sqrt(np.maximum(values, 0))).T  # [rank, features]
        factor *= np.where(factor[:, :1] < 0, -1, 1)  # of two equal answers always the same
        diagonal = np.maximum(1 - (factor**2).sum(0), _FLOOR) * deviations**2
        shared = SharedFactor(
            (factor * deviations).astype(np.float32),
            diagonal.astype(np.float32),
            self.transform,
            self.shrunk.shrinkage,
            0.0,
        )
        return SharedFactor(
            shared.factor, shared.diagonal, shared.transform, shared.shrinkage, self._spread_under(Precision(shared))
        )

    def _spread_under(self, precision: Precision) -> float:
        """Trace of (U'U + diag(d))^-1 C."""
        covariance, scale, basis = self.shrunk.covariance, precision.scale, precision.basis
        projected = (basis * scale) @ covariance * scale  # [rank, features]
        return float((covariance.diagonal() * scale**2).sum() - (projected * basis).sum())
