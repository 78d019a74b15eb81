"""How novel images of known classes look to a memory that has never seen them, and how it answers them: what "none of
these" is calibrated on, and how much frequencies of classes count.

A covariance fits the images that it was made of better than others. So the images of a task are judged in its wake, by
the covariance of the tasks before, and each by its class mean without it. Of the first task a fifth of the images is
judged by the rest.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mygo_edge.bundle.gaussian import ClassMeans, Floats, Ids, SharedFactor, join, mahalanobis, novelty
from mygo_edge.learn.features.sent_rows import SentRows

QUANTILES = 101  # kept of the novelty of known classes
_HELD_OUT = 5  # every so many-th image of a class of the first task
_LEAST = 3  # images of a class
_IMAGES = 1000  # judged, at most


@dataclass(frozen=True, slots=True)
class Judged:
    """Images of a task. novelty: quantiles [QUANTILES] of theirs; logits: [n, classes]; own: [n], of which class they
    are; counts: [classes], images of each; old: classes of the tasks before.
    """

    novelty: NDArray[np.float32]
    logits: NDArray[np.float64]
    own: Ids
    counts: Ids
    old: int


def judged(
    sent: SentRows, shared: SharedFactor, tasks: list[ClassMeans], vectors: Floats, labels: Ids, pooled: bool = True
) -> Judged:
    """A task's images, or 1,000 of them, by rows and factor that were made without them.

    Args:
        sent, shared: what devices answer with.
        tasks: class means of all tasks, this one's last.
        vectors: [n, features] of the task, in the transformed space.
        labels: [n], counted within the task.
        pooled: whether the means are of these images, too; each is then judged without itself.
    """
    chosen = np.random.default_rng(0).permutation(len(vectors))[:_IMAGES]
    old = sum(len(task.counts) for task in tasks[:-1])
    vectors, own = vectors[chosen], labels[chosen] + old
    means = join(tasks)
    weight, bias = sent.discriminant(tasks)
    logits = (vectors @ weight.T + bias).astype(np.float64)
    distances = mahalanobis(vectors, means, shared)
    if pooled:  # without the image, the mean of its n lies n / (n - 1) times as far off
        rows, images = np.arange(len(own)), means.counts[own]
        farther = (images / (images - 1)) ** 2
        away = vectors - means.means[own]
        logits[rows, own] -= 0.5 * (farther - 1) * (away * sent.covariance.times(away)).sum(1)
        distances[rows, own] *= farther
    found = novelty(distances.min(1), logits.max(1), shared)
    quantiles = np.quantile(found, np.linspace(0, 1, QUANTILES)).astype(np.float32)
    return Judged(quantiles, logits, own, means.counts, old)


def held_out(labels: Ids) -> NDArray[np.bool_] | None:
    """Which images of a first task are judged by the others, [n]; None where a class has fewer than three."""
    counts = np.bincount(labels)
    if counts.min() < _LEAST:
        return None
    order = np.argsort(labels, kind="stable")
    within = np.arange(len(labels)) - np.repeat(np.cumsum(counts) - counts, counts)
    held = np.zeros(len(labels), np.bool_)
    held[order] = within % _HELD_OUT == 0
    return held
