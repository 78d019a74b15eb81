"""What a wake leaves of its features: class means, counts, and the scatter within classes that all tasks pool."""

import numpy as np
from numpy.typing import NDArray
from scipy.linalg.blas import ssyrk
from scipy.linalg.lapack import stpmqrt, stpqrt

from mygo_edge.bundle.gaussian import ClassMeans, Floats, Ids
from mygo_edge.errors import MygoEdgeError, warn
from mygo_edge.learn.features.estimates import Estimate, Root, Whole

_ROUNDING = 1e-3  # of a feature's usual size: what the square root makes of a trunk's rounding in float32
_ROWS = 512  # of a product, enough for a matrix library to run at full speed


class PooledMoments:
    """The learner's own, of a size that does not grow with tasks.

    freedom: images less classes; tasks: pooled. What is pooled is the sum over images of outer products of their
    distance to their class mean, `scatter`. Of few images it is kept as a root, a Cholesky factor whose products are
    the sum: that says no more of any image, and costs less.
    """

    def __init__(
        self,
        whole: Floats | None = None,
        freedom: int = 0,
        tasks: int = 0,
        root: Floats | None = None,
        most: int = 0,
    ) -> None:
        """The sum is either `whole`, [features, features], of which the upper triangle is kept, or the products of
        `root`, [n, features], upper trapezoidal. most: rows of a root.
        """
        self.freedom, self.tasks, self.whole, self.root = freedom, tasks, whole, root
        self._most = most
        if whole is not None and root is not None:  # of a checkpoint of an older version
            self._multiply(root)
            self.root = None

    @classmethod
    def empty(cls, features: int, most: int = 0) -> "PooledMoments":
        """Of no task; with a root while that has at most so many rows."""
        return cls(root=np.zeros((0, features), np.float32), most=most)

    @property
    def features(self) -> int:
        return (self.whole if self.root is None else self.root).shape[1]  # type: ignore[union-attr]

    @property
    def scatter(self) -> Floats:
        """[features, features]."""
        if self.root is not None:
            return Root(self.root).matrix
        assert self.whole is not None
        return Whole(self.whole).matrix

    def copy(self) -> "PooledMoments":
        """The same moments, which do not change when a task is added to the others."""
        whole = None if self.whole is None else self.whole.copy()
        return PooledMoments(whole, self.freedom, self.tasks, self.root, self._most)

    def covariance(self) -> Estimate:
        """The unbiased estimate of what all classes share. Raises ValueError of no task."""
        if not self.freedom:
            raise ValueError("no task has been pooled")
        if self.root is not None:
            return Root(self.root * np.float32(1 / np.sqrt(self.freedom)))
        assert self.whole is not None
        return Whole(self.whole * np.float32(1 / self.freedom))

    def pool(self, vectors: Floats, labels: Ids, classes: list[str]) -> ClassMeans:
        """Add a task's scatter; its means, which never change again.

        Args:
            vectors: [n, features] in the transformed space.
            labels: [n], counted within the task.
            classes: names, for messages.

        Raises:
            MygoEdgeError: vectors that are not finite or never vary, or a class of fewer than two images, by name.
        """
        if not np.isfinite(vectors).all():
            raise MygoEdgeError("the trunk makes NaN or infinite features of an input; use another trunk")
        counts = np.bincount(labels, minlength=len(classes))
        for name, count in zip(classes, counts, strict=True):
            if count < 2:
                raise MygoEdgeError(f"class {name!r} has {count} image(s) for training; give it at least two")
        means = _means(vectors, labels, counts)
        varied = _varied(vectors, means, labels)
        if not varied.any():
            raise MygoEdgeError(
                f"the trunk makes the same features of all inputs of class {classes[0]!r}, and of each other class: "
                "they are all alike, or it does not tell them apart; give others, or another trunk"
            )
        if not varied.all():
            name, count = classes[int(varied.argmin())], int(counts[varied.argmin()])
            warn(f"class {name!r}: the trunk makes the same features of all its {count} inputs; are they all one?")
        return self._pooled(vectors, labels, ClassMeans(means, counts))

    def pool_part(self, vectors: Floats, labels: Ids, classes: int) -> ClassMeans | None:
        """`pool` a part of a task that was pooled elsewhere, two vectors a class or more, without a word on them.

        Returns:
            None, and nothing is added, where they never vary.
        """
        counts = np.bincount(labels, minlength=classes)
        means = _means(vectors, labels, counts)
        if not _varied(vectors, means, labels).any():
            return None
        return self._pooled(vectors, labels, ClassMeans(means, counts))

    def _pooled(self, vectors: Floats, labels: Ids, means: ClassMeans) -> ClassMeans:
        for part in _parts(vectors):
            self._add(vectors[part] - means.means[labels[part]])
        self.freedom += len(labels) - len(means.counts)
        self.tasks += 1
        return means

    def merge(self, other: "PooledMoments") -> None:
        """Add what another learner of tasks has pooled, as a matrix."""
        assert other.whole is not None
        root, self.root = self.root, None
        self.whole = other.whole.copy() if self.whole is None else self.whole + other.whole
        if root is not None:
            self._multiply(root)
        self.freedom += other.freedom
        self.tasks += other.tasks

    def _add(self, rows: Floats) -> None:
        """Add outer products of rows [n, features]."""
        if self.root is not None:
            if len(self.root) + len(rows) <= self._most:
                self.root = _merged(self.root, rows)
                return
            self.whole = np.zeros((self.features, self.features), np.float32)
            self._multiply(self.root)
            self.root = None
        self._multiply(rows)

    def _multiply(self, rows: Floats) -> None:
        assert self.whole is not None
        # One pass over half of the sum, in place: what is the upper triangle here is the lower in the order of BLAS.
        if len(rows):
            ssyrk(1.0, rows.T, beta=1.0, c=self.whole.T, lower=1, overwrite_c=1)


def _parts(vectors: Floats) -> list[slice]:
    return [slice(start, start + _ROWS) for start in range(0, len(vectors), _ROWS)]


def _means(vectors: Floats, labels: Ids, counts: NDArray[np.int64]) -> Floats:
    """[classes, features]."""
    shift = vectors.mean(0)  # sums of what is left fit float32; the sum over parts is of float64
    sums = np.zeros((len(counts), vectors.shape[1]))
    for part in _parts(vectors):
        member = (labels[part] == np.arange(len(counts))[:, None]).astype(np.float32)  # [classes, n]
        sums += member @ (vectors[part] - shift)
    return (sums / counts[:, None] + shift).astype(np.float32)


def _varied(vectors: Floats, means: Floats, labels: Ids) -> NDArray[np.bool_]:
    """Whether any feature of any vector [n, features] of a class is not its mean, beyond rounding, [classes]."""
    least = _ROUNDING * np.sqrt(np.square(means).mean())
    varied = np.zeros(len(means), np.bool_)
    for part in _parts(vectors):
        far = (np.abs(vectors[part] - means[labels[part]]) > least).any(1)
        varied[labels[part][far]] = True
        if varied.all():
            break
    return varied


def _merged(root: Floats, rows: Floats) -> Floats:
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
