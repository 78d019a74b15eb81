"""The head that a wake learns: the discriminant of its task's own covariance, drawn towards the one that all share.

Images left out, each in turn and in closed form, say whether it tells the task's classes apart better than the shared
covariance does; where it does not, there is none (docs/exact-sleep.md).
"""

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve

from mygo_edge.bundle.gaussian import ClassMeans, Floats, Ids
from mygo_edge.bundle.wake_head import WakeHead
from mygo_edge.learn.features.estimates import Whole, WholeInverse
from mygo_edge.learn.features.leaving_out import Products, distances
from mygo_edge.learn.features.moments import PooledMoments
from mygo_edge.learn.features.shared_covariance import SharedCovariance
from mygo_edge.learn.features.strength import calibrated

_UPDATE, _WIDTH = 40_000, 1280  # bytes that a new task may bring to devices, up to so many features (docs/bundle.md)
_OTHERS = 12_000  # of manifest, self-test and calibration
_LEAST = 100  # images of a task
_IMAGES = 500  # left out in turn, at most
_WORTH = 0.98  # of the surprise by the shared covariance, at which a head is worth its bytes
_AS_GOOD = 1.02  # the same where much of that covariance is of the task itself, and less and less will be
_MUCH = 0.4  # of its images
_PRIOR = 1.0  # images a feature, that the shared covariance counts for

Numbers = NDArray[np.float64]


def sums_alone(images: int, features: int) -> bool:
    """Whether a task has so many images that its scatter is worth summing up on its own."""
    return images >= features // 2


def wants_head(labels: Ids, features: int) -> bool:
    """Whether a task of these images [n] may have one. Of few, leaving out says more of chance than of covariances; and
    it may not be what takes an update past the bytes that are promised.
    """
    classes = int(labels.max(initial=0)) + 1
    without, with_it = (_OTHERS + each * classes * features for each in (2, 3))  # mean, row and head, a byte a value
    fits = features > _WIDTH or with_it <= _UPDATE or without > _UPDATE
    return len(labels) >= _LEAST and classes > 1 and fits


def wake_head(
    shared: SharedCovariance,
    seen: float,
    alone: PooledMoments | None,
    means: ClassMeans,
    vectors: Floats,
    labels: Ids,
    mine: float = 0.0,
) -> WakeHead | None:
    """The head of a task, or None where the shared covariance tells its classes apart as well.

    Args:
        shared: of all tasks so far.
        seen: the weight that an outer product of one of the images has in it; 0 where it is of earlier tasks alone.
        alone: the task's own sums, of tasks for which `sums_alone` holds.
        means: of the task's classes.
        vectors: [n, features] in the transformed space.
        labels: [n], counted within the task.
        mine: share of the images behind the shared covariance that are the task's. Where they are much of it, it says
            too little against a head: it will be of other tasks. Then a task of many images has one in any case.
    """
    middle = means.means.mean(0, dtype=np.float64)
    away = means.means - middle  # [classes, features]
    chosen = np.random.default_rng(0).permutation(len(labels))[:_IMAGES]
    freedom, prior = len(labels) - len(means.counts), _PRIOR * vectors.shape[1]
    if alone is None:
        rest, which = vectors - means.means[labels], chosen
        by_shared, by_own, weight = _of_few(shared, rest, away, freedom, prior)
    else:
        rest, which = vectors[chosen] - means.means[labels[chosen]], np.arange(len(chosen))
        by_shared, by_own, weight = _of_many(shared, alone, rest, away, freedom, prior)
    found = [
        Products(gram.diagonal()[which], gram[which, len(rest) :], gram[len(rest) :, len(rest) :])
        for gram in (by_shared, by_own)
    ]
    own, share = labels[chosen], prior / (freedom + prior)
    _, surprise = calibrated(distances(found[0], own, means.counts, seen), own)
    weight_own = 1 / (freedom + prior) + share * seen
    temperature, own_surprise = calibrated(distances(found[1], own, means.counts, weight_own), own)
    if own_surprise >= _worth(mine, alone is not None) * surprise:
        return None
    weight = weight / temperature
    bias = -(weight * (middle + 0.5 * away)).sum(1)
    return WakeHead(weight.astype(np.float32), bias.astype(np.float32))


def _worth(mine: float, many: bool) -> float:
    if mine < _MUCH:
        return _WORTH
    return np.inf if many else _AS_GOOD


def _of_few(
    shared: SharedCovariance, rest: Floats, away: Numbers, freedom: int, prior: float
) -> tuple[Numbers, Numbers, Numbers]:
    """By Woodbury's identity, of fewer images than features: the products of images and means, `rest` and `away`, under
    the shared and under the own covariance, and the means times the inverse of the own.
    """
    n = len(rest)
    gram = shared.products(np.concatenate([rest, away]))
    inner = gram[:n, :n].copy()
    inner.ravel()[:: n + 1] += prior
    taken = cho_solve(cho_factor(inner, lower=True, overwrite_a=True), gram[:n])  # [n, n + classes]
    factor = (freedom + prior) / prior
    return gram, factor * (gram - gram[:, :n] @ taken), factor * shared.times(away - taken[:, n:].T @ rest)


def _of_many(
    shared: SharedCovariance, alone: PooledMoments, rest: Floats, away: Numbers, freedom: int, prior: float
) -> tuple[Numbers, Numbers, Numbers]:
    """The same, of many images, by a decomposition of the own covariance."""
    assert alone.whole is not None
    estimate, amount = shared.scaled, shared.shrunk.shrinkage
    pooled = estimate if isinstance(estimate, Whole) else Whole(estimate.matrix)
    total = freedom + prior
    diagonal = prior * amount / total  # of the identity, in the scaled space
    upper = Whole(alone.whole).scaled(shared.scale).upper
    upper += np.float32(prior * (1 - amount)) * pooled.upper
    upper *= np.float32(1 / (total * (1 - diagonal)))
    inverse = WholeInverse(upper, diagonal)
    both = np.concatenate([rest, away])
    weight = inverse.solve(away * shared.scale).astype(np.float64) * shared.scale
    return shared.products(both), inverse.products(both * shared.scale), weight
