"""What a wake leaves of its features: class means, counts, and the scatter within classes that all tasks pool."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mygo_edge.bundle.gaussian import ClassMeans
from mygo_edge.errors import MygoEdgeError

_ROUNDING = 1e-6  # of a sum of squares in float32
_ROWS = 512  # of a product, enough for a matrix library to run at full speed


@dataclass
class PooledMoments:
    """The learner's own, of a size that does not grow with tasks.

    scatter: [features, features] float64, the sum over images of outer products of their distance to their class mean;
    freedom: images less classes; tasks: pooled.
    """

    scatter: NDArray[np.float64]
    freedom: int = 0
    tasks: int = 0

    @classmethod
    def empty(cls, features: int) -> "PooledMoments":
        """Of no task."""
        return cls(np.zeros((features, features)))

    def covariance(self) -> NDArray[np.float32]:
        """[features, features]: the unbiased estimate of what all classes share. Raises ValueError of no task."""
        if not self.freedom:
            raise ValueError("no task has been pooled")
        rounded = np.empty(self.scatter.shape, np.float32)
        return np.multiply(self.scatter, 1 / self.freedom, out=rounded, casting="same_kind")


class TaskMoments:
    """Moments of one task, batch after batch; each costs O(batch x features^2), and none is kept."""

    def __init__(self, classes: list[str], features: int) -> None:
        self._names = classes
        self._counts = np.zeros(len(classes), np.int64)
        self._sums = np.zeros((len(classes), features))
        self._features = features
        self._second: NDArray[np.float64] | None = None  # of more rows than those that wait
        self._waiting: tuple[NDArray[np.float32], NDArray[np.int64]] | None = None
        self._shift: NDArray[np.float32] | None = None

    def add(self, vectors: NDArray[np.float32], labels: NDArray[np.int64]) -> None:
        """vectors: [n, features] in the transformed space; labels: [n], counted within the task.

        Raises:
            MygoEdgeError: vectors that are not finite.
        """
        if not np.isfinite(vectors).all():
            raise MygoEdgeError("the trunk makes NaN or infinite features of an image; use another trunk")
        if not len(vectors):
            return
        if self._shift is None:
            self._shift = vectors.mean(0)  # products of what is left fit float32; the sum over batches is of float64
        for start in range(0, len(vectors), _ROWS):
            part = vectors[start : start + _ROWS] - self._shift
            which = labels[start : start + _ROWS]
            np.add.at(self._counts, which, 1)
            member = (which == np.arange(len(self._counts))[:, None]).astype(np.float32)  # [classes, n]
            self._sums += member @ part
            self._square(part, which)

    def _square(self, part: NDArray[np.float32], labels: NDArray[np.int64]) -> None:
        """Sum up outer products; but those of a task of one part wait for its means, which saves passes over sums."""
        if self._second is None and self._waiting is None:
            self._waiting = part, labels
            return
        if self._second is None:
            assert self._waiting is not None
            self._second = np.zeros((self._features, self._features))
            self._second += self._waiting[0].T @ self._waiting[0]
            self._waiting = None
        self._second += part.T @ part

    def pool(self, pooled: PooledMoments) -> ClassMeans:
        """Add the scatter to the pool; the task's means, which never change again.

        Raises:
            MygoEdgeError: a class of fewer than two images, by name, or features that never vary.
        """
        for name, count in zip(self._names, self._counts, strict=True):
            if count < 2:
                raise MygoEdgeError(f"class {name!r} has {count} image(s) for training; give it at least two")
        assert self._shift is not None
        means = self._sums / self._counts[:, None]  # [classes, features], from the shift
        weighted = means * self._counts[:, None]
        if self._waiting is not None:
            part, labels = self._waiting
            rest = part - means.astype(np.float32)[labels]
            squares, variances = (part**2).sum(0, dtype=np.float64), (rest**2).sum(0, dtype=np.float64)
        else:
            assert self._second is not None
            squares = self._second.diagonal()
            variances = squares - (weighted * means).sum(0)
        # Rounding leaves next to nothing of what cancels.
        if (variances <= _ROUNDING * np.maximum(squares, np.finfo(np.float64).tiny)).all():
            raise MygoEdgeError(
                "the trunk makes the same features of all images of a class; use another trunk, or other images"
            )
        if self._waiting is not None:
            pooled.scatter += rest.T @ rest
        else:
            assert self._second is not None
            pooled.scatter += self._second
            pooled.scatter -= weighted.T @ means
        diagonal = pooled.scatter.ravel()[:: len(pooled.scatter) + 1]
        np.maximum(diagonal, 0, out=diagonal)
        pooled.freedom += int(self._counts.sum()) - len(self._counts)
        pooled.tasks += 1
        return ClassMeans((means + self._shift).astype(np.float32), self._counts.copy())
