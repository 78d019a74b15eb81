"""How sure answers are and how novel texts look, where classes have covariances of their own, by texts left out.

Every fifth text of a task is left out in its wake, and answered by a memory of all others: nothing that it is measured
with has seen it.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mygo_edge.bundle.calibration import Calibration
from mygo_edge.bundle.gaussian import ClassMeans, Floats, Ids, PowerTransform, Precision, join, novelty
from mygo_edge.bundle.own_covariance import quadratic
from mygo_edge.learn.features.moments import PooledMoments
from mygo_edge.learn.features.own_covariance import TaskScatters, answering_factor, answering_rank, own_covariances
from mygo_edge.learn.features.shared_covariance import SharedCovariance, shrink
from mygo_edge.learn.features.strength import LeftOut

QUANTILES = 51  # of novelty: a bundle for four topics stays below 20 KB
_LEAST = 50  # texts of a task, below which a fifth of them says more of chance
_LEAST_OF_CLASS = 3
_HELD_OUT = 5  # every so many-th text of a class


@dataclass(frozen=True, slots=True)
class Known:
    """Before a task. pooled: the scatter of all tasks; tasks: their means; scatters: of each of their classes."""

    pooled: PooledMoments
    tasks: Sequence[ClassMeans]
    scatters: Sequence[Floats]


def measure(
    known: Known, vectors: Floats, labels: Ids, strength: float, directions: int, transform: PowerTransform
) -> NDArray[np.float64] | None:
    """Of a task's texts left out: the temperature, and quantiles of their novelty, in one row [1 + QUANTILES].

    Args:
        known: before the task.
        vectors: [n, features] of the task, in the transformed space.
        labels: [n], counted within the task.
        strength, directions: of the shrinkage, and of the covariances of classes.
        transform: that the vectors went through.

    Returns:
        None where there are fewer than 50 texts, a class has fewer than three, or those not left out never vary.
    """
    held = _held_out(labels)
    if held is None or len(labels) < _LEAST:
        return None
    classes, features = int(labels.max()) + 1, vectors.shape[1]
    pooled, alone = known.pooled.copy(), TaskScatters(classes, features)
    alone.add(vectors[~held], labels[~held])
    rest = pooled.pool_part(vectors[~held], labels[~held], classes)
    if rest is None:
        return None
    means = join([*known.tasks, rest])
    covariance = SharedCovariance(shrink(pooled, strength), transform)
    own = own_covariances([*known.scatters, *alone.scatters()], means.counts, covariance, directions)
    rank = answering_rank(len(means.counts), directions, features)
    shared = answering_factor(covariance, means, rank, own.directions)
    weight, bias = covariance.discriminant(means, rule=None)
    left = vectors[held]
    logits = left @ weight.T + bias + quadratic(left, means, own)
    precision, largest = Precision(shared), logits.max(1)
    from_centre = precision.norms(precision.whiten(left - means.means.mean(0, dtype=np.float64)))
    found = novelty(np.maximum(from_centre - 2 * largest, 0), largest, shared)  # as devices compute it
    own_columns = labels[held] + len(means.counts) - classes
    temperature = LeftOut(lambda _: -2 * logits, own_columns, means.counts).temperature(0)
    return np.concatenate([[temperature], np.quantile(found, np.linspace(0, 1, QUANTILES))])


def calibration(measured: Sequence[NDArray[np.float64]]) -> Calibration | None:
    """The mean temperature of all tasks, by their logarithms, and the last task's quantiles: those before were measured
    among fewer classes, on whose number novelty depends. None where no task was measured.
    """
    rows = np.array([row for row in measured if np.isfinite(row).all()])
    if not len(rows):
        return None
    return Calibration(float(np.exp(np.log(rows[:, 0]).mean())), rows[-1, 1:].astype(np.float32))


def _held_out(labels: Ids) -> NDArray[np.bool_] | None:
    """Which texts of a task are judged by the others, [n]; None where a class has fewer than three."""
    counts = np.bincount(labels)
    if counts.min() < _LEAST_OF_CLASS:
        return None
    order = np.argsort(labels, kind="stable")
    within = np.arange(len(labels)) - np.repeat(np.cumsum(counts) - counts, counts)
    held = np.zeros(len(labels), np.bool_)
    held[order] = within % _HELD_OUT == 0
    return held
