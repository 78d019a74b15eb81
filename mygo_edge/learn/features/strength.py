"""How strongly to shrink: by leaving out each image of the task in its wake in turn, in closed form."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh

from mygo_edge.bundle.gaussian import ClassMeans
from mygo_edge.learn.features.estimates import Root, Whole
from mygo_edge.learn.features.leaving_out import Products, distances
from mygo_edge.learn.features.moments import PooledMoments
from mygo_edge.learn.features.shared_covariance import shrink, shrinkage

STRENGTHS = (0.25, 0.5, 1.0, 2.0, 4.0)  # pseudo-images a feature; outside it was never better (docs/photos.md)
DEFAULT = 1.0  # of those that are equally good
UNTRIED = 4.0  # of few images, whose correlations are mostly chance (docs/photos.md)
_LEAST = 100  # images less classes, below which leaving out says more of chance than of strength
_IMAGES = 1000  # left out in turn, at most
_TEMPERATURES = (1.0, 1000.0)  # never surer than the Gaussians themselves are
_USUAL, _SPREAD = 5.0, 0.7  # temperature, and deviation of its logarithm: a few images that are all right say nothing
_OTHERS = 256  # classes of earlier tasks that they could be taken for, at most

Weight = Callable[[float], float]


@dataclass(frozen=True)
class LeftOut:
    """Of images of the last task, left out in turn.

    shares: [strengths], of right answers, the mean of those with the task known and unknown; distances: squared ones to
    all classes, [strengths, n, classes], the task's own first; own: [n], of which class they are; counts: [classes],
    images of each.
    """

    shares: NDArray[np.float64]
    distances: NDArray[np.float64]
    own: NDArray[np.int64]
    counts: NDArray[np.int64]

    def told_apart(self, strength: int, classes: int) -> float:
        """Share of right answers with the task known, which has so many classes, at that strength."""
        return float((self.distances[strength][:, :classes].argmin(1) == self.own).mean())

    def temperature(
        self, strength: int, frequencies: NDArray[np.float64] | float = 0.0, weight: Weight = lambda temperature: 0.0
    ) -> float:
        """As `calibrated` finds it, at that strength."""
        return calibrated(self.distances[strength], self.own, frequencies, weight)[0]


def calibrated(
    distances: NDArray[np.float64],
    own: NDArray[np.int64],
    frequencies: NDArray[np.float64] | float = 0.0,
    weight: Weight = lambda temperature: 0.0,
) -> tuple[float, float]:
    """What logits are to be divided by for a softmax that is right as often as it says: the most likely temperature
    (Guo et al. 2017, "On calibration of modern neural networks"), given the usual ones; and the surprise that is left,
    in nats of all images together.

    Args:
        distances: squared ones to class means, [n, classes].
        own: [n], of which class images are.
        frequencies: [n, classes], their logarithms.
        weight: of these in logits that are not divided yet, by the temperature.
    """
    if distances.shape[1] < 2:
        return 1.0, 0.0
    from scipy.optimize import minimize_scalar  # most of a second, which runs on pixels need not wait for

    logits, rows = -0.5 * distances, np.arange(len(own))

    def surprise(logarithm: float) -> float:
        temperature = np.exp(logarithm)
        scaled = (logits + weight(temperature) * frequencies) / temperature
        largest = scaled.max(1)
        total = np.log(np.exp(scaled - largest[:, None]).sum(1)) + largest
        return float((total - scaled[rows, own]).sum())

    def unlikeliness(logarithm: float) -> float:
        return surprise(logarithm) + float((logarithm - np.log(_USUAL)) ** 2 / (2 * _SPREAD**2))

    found = minimize_scalar(unlikeliness, bounds=np.log(_TEMPERATURES), method="bounded", options={"xatol": 0.05})
    return float(np.exp(found.x)), surprise(found.x)


def left_out(
    pooled: PooledMoments,
    means: ClassMeans,
    task: slice,
    vectors: NDArray[np.float32],
    labels: NDArray[np.int64],
    strengths: tuple[float, ...] = STRENGTHS,
) -> LeftOut:
    """Of images of the last task, what the classifier without them answers.

    Distances of each follow from products with the one inverse (`mygo_edge.learn.features.leaving_out`).

    Args:
        pooled: moments, the task among them.
        means: of all classes, those of the task too.
        task: which rows of `means` are the task's; none of fewer than two images.
        vectors: [n, features] in the transformed space, all of them pooled.
        labels: [n], counted within the task.
        strengths: of shrinkage, to try.
    """
    rng = np.random.default_rng(0)
    chosen = rng.permutation(len(vectors))[:_IMAGES]
    width = task.stop - task.start
    others = np.setdiff1d(np.arange(len(means.means)), np.arange(task.start, task.stop))
    rows = np.concatenate([np.arange(task.start, task.stop), np.sort(rng.permutation(others)[:_OTHERS])])
    shrunk = shrink(pooled, 1.0)
    scale, middle = 1 / np.sqrt(shrunk.target), means.means[rows].mean(0, dtype=np.float64)
    x = ((vectors[chosen] - middle) * scale).astype(np.float32)  # [n, features]
    m = ((means.means[rows] - middle) * scale).astype(np.float32)  # [classes, features]
    correlations = shrunk.estimate.scaled(scale)
    if isinstance(correlations, Root) and len(correlations.root) + len(x) + len(m) < pooled.features // 2:
        parts = np.concatenate([correlations.root, x, m])  # then all of it lies in few dimensions
        values, turned = eigh(parts @ parts.T, check_finite=False, driver="evd")
        turned *= np.sqrt(np.maximum(values, 0))
        root, x, m = np.split(turned, np.cumsum([len(correlations.root), len(x)]))
        correlations = Root(root)
    whole = correlations if isinstance(correlations, Whole) else Whole(correlations.matrix)
    own, counts = labels[chosen], means.counts[rows]
    shares, all_distances = [], []
    for strength in strengths:
        amount = shrinkage(pooled, strength)
        halves = whole.inverse(amount).half(np.concatenate([x, m]))
        rest, m_half = halves[: len(x)] - halves[len(x) :][own], halves[len(x) :]
        products = Products((rest**2).sum(1), rest @ m_half.T, m_half @ m_half.T)
        found = distances(products, own, counts, (1 - amount) / pooled.freedom)
        known, unknown = found[:, :width].argmin(1) == own, found.argmin(1) == own
        shares.append((known.mean() + unknown.mean()) / 2)
        all_distances.append(found)
    return LeftOut(np.array(shares), np.stack(all_distances), own, counts)


class Strength:
    """Chooses among `STRENGTHS` by all tasks that were tried so far; a task is tried when the pool has grown enough.

    wins: [strengths], right answers of images left out, summed; images: as many; tried_at: the pool's freedom then.
    """

    def __init__(self) -> None:
        self.wins = np.zeros(len(STRENGTHS))
        self.images = 0
        self.tried_at = 0

    def due(self, pooled: PooledMoments, images: int) -> bool:
        """Whether a task of so many images is worth trying: the choice costs O(features^3), and less and less changes
        it; few images say less of it and cost as much.
        """
        return pooled.freedom >= (2.0 if images >= _LEAST else 4.0) * self.tried_at

    def learn(self, found: LeftOut, images: int, pooled: PooledMoments) -> None:
        """Count what `left_out` found, for a task of so many images, unless those are few in all."""
        if pooled.freedom >= _LEAST:
            self.wins += found.shares * images
            self.images += images
        self.tried_at = pooled.freedom

    @property
    def best(self) -> float:
        """The strength with most right answers; of those that are equal within one image, the nearest to `DEFAULT`; and
        `UNTRIED` before a task was tried.
        """
        if not self.images:
            return UNTRIED
        good = [s for s, wins in zip(STRENGTHS, self.wins, strict=True) if wins >= self.wins.max() - 1]
        return min(good, key=lambda strength: abs(np.log(strength / DEFAULT)))

    def reason(self) -> str:
        """What was chosen and why, for a person."""
        if not self.images:
            return f"shrinkage strength {UNTRIED:g} (too few images to try)"
        best = self.wins.max() / self.images
        return f"shrinkage strength {self.best:g}: {100 * best:.1f} % of {self.images} images left out answered rightly"
