"""The part of the classifier of a task that a device learnt from few examples. numpy alone.

A mean of n examples is its class's plus noise, whose squared Mahalanobis norm is spread / n on average: with one
example, several times the distance between classes. Three things make such a class comparable with those of the box:
its distance from the centre of all classes is estimated from its mean and from how far the box's classes are (empirical
Bayes: the noisier the mean, the less it is believed); that enters the bias; and the logits count by the square root of
the share of the mean that is no noise. Where the box sends rows of a classifier of its own, whose covariance keeps
classes farther or less far apart than the factor does, they count by the ratio of the two, summed over its classes.
"""

import numpy as np
from numpy.typing import NDArray

from mygo_edge.bundle.gaussian import ClassMeans, Floats, Precision, SharedFactor, discriminant
from mygo_edge.bundle.manifest import Rule

_SCATTER = 0.25  # of real features' squared distance to their mean, relative: 0.24 on photos by EfficientNet-Lite0


class FewShot:
    """How far the classes of a bundle are from their centre, and heads that go by it."""

    def __init__(
        self,
        means: ClassMeans,
        shared: SharedFactor,
        centre: Floats,
        weights: Floats | None = None,
        rule: Rule = "ridge",
    ) -> None:
        """means: of all classes of the bundle; centre: their mean [features]; weights: [classes, features], where the
        bundle's classifier is not that of means and factor; rule: by which noise was taken out of it.
        """
        self._shared, self._centre = shared, centre
        self._precision = Precision(shared)
        _, norms = self._products(means)
        self._norm, self._variance = float(norms.mean()), float(norms.var())
        self._scale = 1.0
        if weights is not None and len(means.counts) > 1:
            computed, _ = discriminant(means, shared, rule=rule)
            apart, sent = (float((each * (means.means - centre)).sum()) for each in (computed, weights))
            self._scale = sent / apart if apart > 0 and sent > 0 else 1.0

    def head(self, means: ClassMeans) -> tuple[Floats, Floats]:
        """Weight [classes, features] and bias [classes], comparable with the bundle's. Raises as `discriminant`."""
        weight, bias = discriminant(means, self._shared, self._centre, rule=None)
        if not self._norm > 0:  # one class alone says nothing of distances between classes
            return weight, bias
        products, norms = self._products(means)
        noise = self._shared.spread / means.counts  # [classes]
        doubt = (_SCATTER * noise) ** 2 / means.counts  # variance of a mean's squared norm
        belief = self._variance / np.maximum(self._variance + doubt, np.finfo(np.float64).tiny)
        believed = belief * norms + (1 - belief) * self._norm
        scale = np.sqrt(self._norm / (self._norm + noise))
        biases = scale * (-0.5 * believed - products @ self._centre)
        weights = self._scale * scale[:, None] * products
        return weights.astype(np.float32), (self._scale * biases).astype(np.float32)

    def _products(self, means: ClassMeans) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """S^-1 (mean - centre) [classes, features], and the squared norms of mean - centre less noise [classes]."""
        away = means.means - self._centre.astype(np.float64)
        products = self._precision.times(away)
        return products, (products * away).sum(1) - self._shared.spread / means.counts
