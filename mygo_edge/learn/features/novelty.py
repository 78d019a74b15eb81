"""How novel images of known classes look to a memory that has never seen them: what "none of these" is calibrated on.

Covariance and class means fit the images that they were made of better than others. So the images of a task are judged
in its wake by the covariance of the tasks before, those of the first task by that without the image, and each by its
class mean without it, in closed form.
"""

import numpy as np

from mygo_edge.bundle.gaussian import ClassMeans, Floats, Ids, SharedFactor, join, mahalanobis, novelty
from mygo_edge.bundle.rows import join_rows
from mygo_edge.learn.features.sent_rows import SentRows

QUANTILES = 101  # kept of the novelty of known classes
_IMAGES = 1000  # judged, at most


def known_novelty(
    sent: SentRows, shared: SharedFactor, tasks: list[ClassMeans], vectors: Floats, labels: Ids, seen: float = 0.0
) -> Floats:
    """Quantiles [QUANTILES], from the least on, of the novelty of a task's images, or 1,000 of them, each left out.

    Args:
        sent, shared: what devices answer with. One image has no weight to speak of in the directions of a factor.
        tasks: class means of all tasks, this one's last, of two images a class or more.
        vectors: [n, features] of the task, in the transformed space.
        labels: [n], counted within the task.
        seen: the weight that an outer product of one of the images has in the covariance of `sent`; 0 where that is of
            other images alone.
    """
    chosen = np.random.default_rng(0).permutation(len(vectors))[:_IMAGES]
    old = sum(len(task.counts) for task in tasks[:-1])
    vectors, own = vectors[chosen], labels[chosen] + old
    means, rows = join(tasks), np.arange(len(own))
    weight, bias = sent.discriminant(tasks)
    logits = (vectors @ weight.T + bias).astype(np.float64)
    distances = mahalanobis(vectors, means, shared)
    images = means.counts[own]
    longer = images / (images - 1)  # as far off the mean lies without the image
    distances[rows, own] *= longer**2
    # A logit is half of what the squared distance to the centre of all classes is more than that to the class mean.
    # Taking an outer product from S adds one to its inverse (Sherman & Morrison 1950).
    away = vectors - means.means[own]
    rest = sent.covariance.norms(away)
    left = np.maximum(1 - seen * longer * rest, 1e-6)
    without = logits[rows, own] + 0.5 * (rest - longer**2 * rest / left)
    if seen:
        towards = (away @ join_rows(sent.tasks).rows.T).astype(np.float64)  # S^-1 between x - mean and mean - centre
        centred = rest + towards[rows, own]  # and x - centre
        more = 0.5 * seen * longer / left
        without += more * centred**2
        logits += more[:, None] * towards * (2 * centred[:, None] - towards)
    logits[rows, own] = without
    found = novelty(distances.min(1), logits.max(1), shared)
    return np.quantile(found, np.linspace(0, 1, QUANTILES)).astype(np.float32)
