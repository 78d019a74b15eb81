"""How strongly to shrink: by leaving out each image of the task in its wake in turn, in closed form."""

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh

from mygo_edge.bundle.gaussian import ClassMeans
from mygo_edge.learn.moments import PooledMoments
from mygo_edge.learn.shared_covariance import shrink

STRENGTHS = (0.25, 0.5, 1.0, 2.0, 4.0)  # pseudo-images a feature; outside it was never better (docs/photos.md)
DEFAULT = 1.0
_IMAGES = 1000  # left out in turn, at most
_OTHERS = 256  # classes of earlier tasks that they could be taken for, at most


def left_out(
    pooled: PooledMoments,
    means: ClassMeans,
    task: slice,
    vectors: NDArray[np.float32],
    labels: NDArray[np.int64],
    strengths: tuple[float, ...] = STRENGTHS,
) -> NDArray[np.float64]:
    """Of images of the last task, the share that the classifier without them answers rightly.

    Leaving an image out moves its class mean and takes one outer product from the scatter: its distance to all means
    then follows from products with the one inverse (Sherman & Morrison 1950), for all strengths in one eigenbasis.

    Args:
        pooled: moments, the task among them.
        means: of all classes, those of the task too.
        task: which rows of `means` are the task's; none of fewer than two images.
        vectors: [n, features] in the transformed space, all of them pooled.
        labels: [n], counted within the task.
        strengths: of shrinkage, to try.

    Returns:
        [strengths]: the mean of the shares with the task known and unknown.
    """
    rng = np.random.default_rng(0)
    chosen = rng.permutation(len(vectors))[:_IMAGES]
    width = task.stop - task.start
    others = np.setdiff1d(np.arange(len(means.means)), np.arange(task.start, task.stop))
    rows = np.concatenate([np.arange(task.start, task.stop), np.sort(rng.permutation(others)[:_OTHERS])])
    target = shrink(pooled, 1.0).target
    scale, middle = 1 / np.sqrt(target), means.means[rows].mean(0, dtype=np.float64)
    correlations = (pooled.covariance() * np.outer(scale, scale)).astype(np.float32)
    values, basis = eigh(correlations, overwrite_a=True, check_finite=False, driver="evd")  # all strengths share it
    x = ((vectors[chosen] - middle) * scale).astype(np.float32) @ basis  # [n, features]
    m = ((means.means[rows] - middle) * scale).astype(np.float32) @ basis  # [classes, features]
    own, counts = labels[chosen], means.counts[rows]
    shares = []
    for strength in strengths:
        amount = shrink(pooled, strength).shrinkage
        inverse = 1 / ((1 - amount) * np.maximum(values, 0) + amount)
        logits = -_distances(x, m, own, counts, inverse, (1 - amount) / pooled.freedom)
        known, unknown = logits[:, :width].argmax(1) == own, logits.argmax(1) == own
        shares.append((known.mean() + unknown.mean()) / 2)
    return np.array(shares)


def _distances(
    x: NDArray, m: NDArray, own: NDArray, counts: NDArray, inverse: NDArray, weight: float
) -> NDArray[np.float64]:
    """Squared distances [n, classes] of images to all means, each without the image itself.

    x: [n, features] and m: [classes, features] in the eigenbasis; own: [n], the images' classes; inverse: [features];
    weight: of an outer product in the shrunk covariance.
    """
    rows = np.arange(len(x))
    images = counts[own].astype(np.float64)
    rest = x - m[own]
    solved = rest * inverse
    own_norm = (rest * solved).sum(1, dtype=np.float64)
    cross = (x * solved).sum(1, dtype=np.float64)[:, None] - solved @ m.T
    norms = (x**2 @ inverse)[:, None] - 2 * (x * inverse) @ m.T + m**2 @ inverse
    longer = images / (images - 1)  # the distance to the mean without the image
    cross[rows, own], norms[rows, own] = own_norm * longer, own_norm * longer**2
    taken = weight * longer
    return norms + taken[:, None] * cross**2 / np.maximum(1 - taken * own_norm, 1e-6)[:, None]


class Strength:
    """Chooses among `STRENGTHS` by all tasks that were tried so far; a task is tried when the pool has grown enough.

    wins: [strengths], right answers of images left out, summed; images: as many; tried_at: the pool's freedom then.
    """

    def __init__(self) -> None:
        self.wins = np.zeros(len(STRENGTHS))
        self.images = 0
        self.tried_at = 0

    def due(self, pooled: PooledMoments, growth: float = 1.5) -> bool:
        """Whether a task is worth trying: the choice costs O(features^3), and less and less changes it."""
        return pooled.freedom >= growth * self.tried_at

    def learn(self, shares: NDArray[np.float64], images: int, pooled: PooledMoments) -> None:
        """Count what `left_out` found of so many images."""
        self.wins += shares * images
        self.images += images
        self.tried_at = pooled.freedom

    @property
    def best(self) -> float:
        """The strength with most right answers; of those that are equal within one image, the nearest to `DEFAULT`."""
        good = [s for s, wins in zip(STRENGTHS, self.wins, strict=True) if wins >= self.wins.max() - 1]
        return min(good, key=lambda strength: abs(np.log(strength / DEFAULT)))

    def reason(self) -> str:
        """What was chosen and why, for a person."""
        if not self.images:
            return f"shrinkage strength {DEFAULT:g} (no task was tried)"
        best = self.wins.max() / self.images
        return f"shrinkage strength {self.best:g}: {100 * best:.1f} % of {self.images} images left out answered rightly"
