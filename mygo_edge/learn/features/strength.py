"""How strongly to shrink: by leaving out each image of the task in its wake in turn, in closed form."""

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import eigh

from mygo_edge.bundle.gaussian import ClassMeans
from mygo_edge.learn.features.estimates import Root, Whole
from mygo_edge.learn.features.leaving_out import Products, distances
from mygo_edge.learn.features.moments import PooledMoments
from mygo_edge.learn.features.shared_covariance import shrink, shrinkage

STRENGTHS = (0.0625, 0.25, 0.5, 1.0, 2.0, 4.0)  # pseudo-images a feature
_MIDDLE = 3  # of these, where to begin
_LEAST = 3  # images of a class, on average: without one of two, the other says little
_MANY = 100  # images of a task that are worth trying it for
_IMAGES = 300  # left out in turn, at most
_CALIBRATING = 200  # of these, at most, say what temperature is right
_TEMPERATURES = (1.0, 1000.0)  # never surer than the Gaussians themselves are
_USUAL, _SPREAD = 5.0, 0.7  # temperature, and deviation of its logarithm: a few images that are all right say nothing
_OTHERS = 256  # classes of earlier tasks that they could be taken for, at most

Weight = Callable[[float], float]


class LeftOut:
    """Of images of the last task, left out in turn.

    own: [n], of which class they are; counts: [classes], images of each.
    """

    def __init__(
        self, distances_at: Callable[[int], NDArray[np.float64]], own: NDArray[np.int64], counts: NDArray[np.int64]
    ) -> None:
        """distances_at: squared ones to all classes at a strength, [n, classes], the task's own first."""
        self._distances_at = distances_at
        self._distances: dict[int, NDArray[np.float64]] = {}
        self.own, self.counts = own, counts

    def distances(self, strength: int) -> NDArray[np.float64]:
        """[n, classes], squared, at that strength."""
        if strength not in self._distances:
            self._distances[strength] = self._distances_at(strength)
        return self._distances[strength]

    def told_apart(self, strength: int, classes: int) -> float:
        """Share of right answers with the task known, which has so many classes, at that strength."""
        return float((self.distances(strength)[:, :classes].argmin(1) == self.own).mean())

    def brier(self, strength: int, classes: int) -> float:
        """Brier score (Brier 1950), the squared error of calibrated probabilities: the mean of that with the task
        known, which has so many classes, and unknown. Right answers of few images differ by chance, their probabilities
        less.
        """
        found = self.distances(strength)
        temperature = _roughly_calibrated(found[:_CALIBRATING], self.own[:_CALIBRATING])
        parts = (found[:, :classes], found)
        return sum(_brier(part, self.own, temperature) for part in parts) / len(parts)

    def briers(self, classes: int, start: int = _MIDDLE) -> NDArray[np.float64]:
        """[strengths]: Brier scores, tried from `start` on to either side as long as they get better, because each
        costs O(features^3). Beyond they are taken to get worse as they last did; they mostly do so faster.
        """
        last = len(STRENGTHS) - 1
        found = {start: self.brier(start, classes)}
        for step in (1, -1):
            place = start
            while 0 <= place + step <= last:
                place += step
                found[place] = self.brier(place, classes)
                if found[place] >= found[place - step]:
                    break
            if min(found.values()) < found[start]:
                break
        low, high = min(found), max(found)
        lower, higher = max(found[low] - found[low + 1], 0), max(found[high] - found[high - 1], 0)
        below = [found[low] + lower * away for away in range(low, 0, -1)]
        above = [found[high] + higher * away for away in range(1, last - high + 1)]
        return np.array([*below, *(found[place] for place in range(low, high + 1)), *above])

    def temperature(
        self, strength: int, frequencies: NDArray[np.float64] | float = 0.0, weight: Weight = lambda temperature: 0.0
    ) -> float:
        """As `calibrated` finds it, at that strength."""
        return calibrated(self.distances(strength), self.own, frequencies, weight)[0]


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
        return surprise(logarithm) + _unusual(logarithm)

    found = minimize_scalar(unlikeliness, bounds=np.log(_TEMPERATURES), method="bounded", options={"xatol": 0.05})
    return float(np.exp(found.x)), surprise(found.x)


def _roughly_calibrated(distances: NDArray[np.float64], own: NDArray[np.int64]) -> float:
    """The one of some temperatures that `calibrated` would find nearest, in one pass over all."""
    temperatures = np.geomspace(*_TEMPERATURES, 19)
    logits = -0.5 * (distances - distances.min(1, keepdims=True)) / temperatures[:, None, None]
    surprises = (np.log(np.exp(logits).sum(2)) - logits[:, np.arange(len(own)), own]).sum(1)
    return float(temperatures[(surprises + _unusual(np.log(temperatures))).argmin()])


def _brier(distances: NDArray[np.float64], own: NDArray[np.int64], temperature: float) -> float:
    logits = distances * (-0.5 / temperature)
    probabilities = np.exp(logits - logits.max(1, keepdims=True))
    probabilities /= probabilities.sum(1, keepdims=True)
    right = probabilities[np.arange(len(own)), own]
    return float(((probabilities**2).sum(1) - 2 * right + 1).mean())


def _unusual(logarithm: Any) -> Any:
    """How unlikely temperatures of these logarithms are, before anything was measured, in nats."""
    return (logarithm - np.log(_USUAL)) ** 2 / (2 * _SPREAD**2)


def left_out(
    pooled: PooledMoments,
    means: ClassMeans,
    task: slice,
    vectors: NDArray[np.float32],
    labels: NDArray[np.int64],
) -> LeftOut:
    """Of images of the last task, what the classifier without them answers, as far from their class mean as others are.

    Distances of each follow from products with one inverse a strength (`mygo_edge.learn.features.leaving_out`).

    Args:
        pooled: moments, the task among them.
        means: of all classes, those of the task too.
        task: which rows of `means` are the task's; none of fewer than two images.
        vectors: [n, features] in the transformed space, all of them pooled.
        labels: [n], counted within the task.
    """
    rng = np.random.default_rng(0)
    chosen = rng.permutation(len(vectors))[:_IMAGES]
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
    own, counts, freedom = labels[chosen], means.counts[rows], pooled.freedom
    # The mean of the others is farther from an image, by (1 + 1 / (n - 1)) / (1 + 1 / n), than that of n from another.
    nearer = 1 - 1 / counts[own] ** 2

    def distances_at(strength: int) -> NDArray[np.float64]:
        amount = shrinkage(pooled, STRENGTHS[strength])
        halves = whole.inverse(amount).half(np.concatenate([x, m]))
        rest, m_half = halves[: len(x)] - halves[len(x) :][own], halves[len(x) :]
        products = Products((rest**2).sum(1), rest @ m_half.T, m_half @ m_half.T)
        found = distances(products, own, counts, (1 - amount) / freedom)
        found[np.arange(len(own)), own] *= nearer
        return found

    return LeftOut(distances_at, own, counts)


class Strength:
    """Chooses among `STRENGTHS` by all tasks that were tried so far; a task is tried when the pool has grown enough.

    briers: [strengths], Brier scores of images left out, summed; images: as many; tried_at: the pool's freedom then.
    """

    def __init__(self) -> None:
        self.briers = np.zeros(len(STRENGTHS))
        self.images = 0
        self.tried_at = 0

    def due(self, pooled: PooledMoments, images: int, classes: int) -> bool:
        """Whether a task of so many images is worth trying: the choice costs O(features^3), and less and less changes
        it; few images say less of it and cost as much, unless there are few in all.
        """
        if images < _LEAST * classes:
            return False
        cheap = images >= _MANY or pooled.root is not None
        return pooled.freedom >= (2.0 if cheap else 4.0) * self.tried_at

    def learn(self, briers: NDArray[np.float64], images: int, pooled: PooledMoments) -> None:
        """Count `LeftOut.briers`, for a task of so many images."""
        self.briers += briers * images
        self.images += images
        self.tried_at = pooled.freedom

    @property
    def best(self) -> float:
        """The strength of the least Brier score; the largest before a task was tried."""
        return STRENGTHS[self.chosen]

    @property
    def chosen(self) -> int:
        """The place of `best` among `STRENGTHS`."""
        return int(self.briers.argmin()) if self.images else len(STRENGTHS) - 1

    @property
    def start(self) -> int:
        """Where among them to begin to look for it."""
        return self.chosen if self.images else _MIDDLE

    def reason(self) -> str:
        """What was chosen and why, for a person."""
        if not self.images:
            return f"shrinkage strength {self.best:g}: nothing was tried"
        score = self.briers.min() / self.images
        return f"shrinkage strength {self.best:g}: it predicts images left out best, Brier score {score:.3f}"
