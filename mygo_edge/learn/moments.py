"""What a wake leaves of its features: class means, counts, and the scatter within classes that all tasks pool."""

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.lapack import stpmqrt, stpqrt

from mygo_edge.bundle.gaussian import ClassMeans
from mygo_edge.errors import MygoEdgeError
from mygo_edge.learn.estimates import Estimate, Root, Whole

_ROUNDING = 1e-6  # of a sum of squares in float32
_ROWS = 512  # of a product, enough for a matrix library to run at full speed


class PooledMoments:
    """The learner's own, of a size that does not grow with tasks.

    freedom: images less classes; tasks: pooled. What is pooled is the sum over images of outer products of their
    distance to their class mean, `scatter`. Of the last few images, which may be all, it is kept as a root, a Cholesky
    factor whose products are the sum: that says no more of any image, and costs less.
    """

    def __init__(
        self,
        whole: NDArray[np.float64] | None = None,
        freedom: int = 0,
        tasks: int = 0,
        root: NDArray[np.float32] | None = None,
        most: int = 0,
    ) -> None:
        """The sum is that of `whole`, [features, features] float64, and of the products of `root`, [n, features]
        float32, upper trapezoidal; one of them may be absent. most: rows of a root, none unless it is given.
        """
        self.freedom, self.tasks, self.whole, self.root = freedom, tasks, whole, root
        self._most = most

    @classmethod
    def empty(cls, features: int, most: int = 0) -> "PooledMoments":
        """Of no task; with a root while that has at most so many rows."""
        if most:
            return cls(root=np.zeros((0, features), np.float32), most=most)
        return cls(np.zeros((features, features)))

    @property
    def features(self) -> int:
        return (self.whole if self.root is None else self.root).shape[1]  # type: ignore[union-attr]

    @property
    def scatter(self) -> NDArray[np.float64]:
        """[features, features]."""
        products = 0.0 if self.root is None else (self.root.T @ self.root).astype(np.float64)
        return np.asarray(products if self.whole is None else self.whole + products)

    def copy(self) -> "PooledMoments":
        """The same moments, which do not change when a task is added to the others."""
        return PooledMoments(
            None if self.whole is None else self.whole.copy(), self.freedom, self.tasks, self.root, self._most
        )

    def covariance(self) -> Estimate:
        """The unbiased estimate of what all classes share. Raises ValueError of no task."""
        if not self.freedom:
            raise ValueError("no task has been pooled")
        if self.whole is None:
            assert self.root is not None
            return Root(self.root * np.float32(1 / np.sqrt(self.freedom)))
        self._sum_up()
        rounded = np.empty(self.whole.shape, np.float32)
        return Whole(np.multiply(self.whole, 1 / self.freedom, out=rounded, casting="same_kind"))

    def add_rows(self, rows: NDArray[np.float32]) -> None:
        """Add outer products of rows [n, features]."""
        if len(rows) > self._most:
            self.add(rows.T @ rows)
            return
        if self.root is not None and len(self.root) + len(rows) > self._most:
            self._sum_up()
        self.root = _merged(np.zeros((0, rows.shape[1]), np.float32) if self.root is None else self.root, rows)

    def add(self, scatter: NDArray[np.floating]) -> None:
        """Add a matrix [features, features]."""
        self._sum_up()
        assert self.whole is not None
        self.whole += scatter

    def _sum_up(self) -> None:
        """Keep no root."""
        if self.root is not None:
            self.whole = np.zeros((self.features, self.features)) if self.whole is None else self.whole
            self.whole += self.root.T @ self.root
            self.root = None


def _merged(root: NDArray[np.float32], rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """The Cholesky factor of root' root + rows' rows, upper trapezoidal as `root` is: by Householder reflections of the
    columns that have a pivot (LAPACK's tpqrt), then of the others.
    """
    n = len(root)
    if not n:
        return np.asarray(np.linalg.qr(rows, mode="r"))
    block = min(32, n)
    pivots, reflections, turned, _ = stpqrt(0, block, root[:, :n], rows[:, :n])
    upper, lower, _ = stpmqrt(0, reflections, turned, root[:, n:], rows[:, n:], trans="T")
    merged = np.zeros((n + len(rows), root.shape[1]), np.float32)
    merged[:n, :n], merged[:n, n:] = pivots, upper
    merged[n:, n:] = np.linalg.qr(lower, mode="r")
    return merged


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
            pooled.add_rows(rest)
        else:
            assert self._second is not None
            own = self._second - weighted.T @ means
            np.maximum(own.diagonal(), 0, out=own.ravel()[:: len(own) + 1])
            pooled.add(own)
        pooled.freedom += int(self._counts.sum()) - len(self._counts)
        pooled.tasks += 1
        return ClassMeans((means + self._shift).astype(np.float32), self._counts.copy())
