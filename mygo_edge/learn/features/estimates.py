"""An estimated covariance in one of two forms, and what is asked of it.

Of many images it is a matrix, whose inverse costs O(features^3). Of few it is known by a root, a row an image: the same
numbers within rounding, at O(images^2 features). Both say the same things.
"""

from dataclasses import dataclass
from typing import Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve, eigh
from scipy.linalg.blas import ssymm, strsm, strsv

from mygo_edge.bundle.gaussian import Floats

_MORE = 32  # directions than are wanted, for their eigenvectors to be found
_PASSES = 2  # twice over the matrix, for them, from a random subspace
_PROBES = 64  # random vectors of an estimated trace
_FEW = 4  # rows, which are solved for one after another: for all at once the decomposition is copied first
_ROUNDING = 1e-6  # of the largest eigenvalue; below, a root's direction is none


class Inverse(Protocol):
    """Of (1 - g) C + g I."""

    def solve(self, rows: NDArray) -> Floats:
        """[n, features] -> [n, features]: each row times the inverse."""

    def products(self, rows: NDArray) -> NDArray[np.float64]:
        """[n, features] -> [n, n]: each row times the inverse times each."""

    def norms(self, rows: NDArray) -> NDArray[np.float64]:
        """[n, features] -> [n]: each row times the inverse times itself."""

    def trace(self) -> float:
        """The sum of its diagonal."""


class Estimate(Protocol):
    """A covariance C, symmetric and of no negative eigenvalue."""

    @property
    def matrix(self) -> Floats:
        """[features, features]."""

    def diagonal(self) -> Floats:
        """[features]."""

    def times(self, rows: Floats) -> Floats:
        """[n, features] -> [n, features]: each row times C."""

    def scaled(self, scale: NDArray) -> "Estimate":
        """Of features that are multiplied by `scale`, [features]."""

    def inverse(self, shrinkage: float) -> Inverse:
        """Of (1 - shrinkage) C + shrinkage I."""

    def largest(self, count: int, near: Floats | None = None) -> tuple[Floats, Floats]:
        """The largest eigenvalues [count], rising, and their vectors [features, count], always the same; fewer, where
        there are fewer above 0. near: [n, features], what the vectors of an earlier estimate span.
        """


@dataclass(frozen=True, slots=True)
class Whole:
    """upper: [features, features] float32, of which only the upper triangle is looked at: sums of products take half
    the time so.
    """

    upper: Floats

    @property
    def matrix(self) -> Floats:
        return np.triu(self.upper) + np.triu(self.upper, 1).T

    def diagonal(self) -> Floats:
        return self.upper.diagonal().copy()

    def times(self, rows: Floats) -> Floats:
        # What is the upper triangle here is the lower in the order of BLAS, which then copies nothing.
        multiplied: Floats = ssymm(1.0, self.upper.T, rows.astype(np.float32, copy=False).T, lower=1).T
        return multiplied

    def scaled(self, scale: NDArray) -> "Whole":
        rounded = scale.astype(np.float32)
        scaled = self.upper * rounded[:, None]
        scaled *= rounded
        return Whole(scaled)

    def inverse(self, shrinkage: float) -> "WholeInverse":
        return WholeInverse(self.upper, shrinkage)

    def largest(self, count: int, near: Floats | None = None) -> tuple[Floats, Floats]:
        """By iteration of a subspace (Halko, Martinsson & Tropp 2011), a tenth of a decomposition's cost: a random one,
        or one that holds earlier vectors, which is near after one pass.
        """
        features = len(self.upper)
        if count + _MORE >= features // 2:
            return eigh(self.upper, lower=False, subset_by_index=[features - count, features - 1])
        basis = np.random.default_rng(0).standard_normal((count + _MORE, features), np.float32)
        if near is not None:
            basis[: len(near)] = near[: len(basis)]
        for _ in range(_PASSES if near is None else 1):
            basis = np.linalg.qr(self.times(self.times(basis)).T)[0].T
        values, turned = eigh(self.times(basis) @ basis.T)
        return values[-count:], basis.T @ turned[:, -count:]


class WholeInverse:
    """A Cholesky decomposition in float32, enough where variances are near-equal."""

    def __init__(self, upper: Floats, shrinkage: float) -> None:
        shrunk = upper * np.float32(1 - shrinkage)
        shrunk.ravel()[:: len(shrunk) + 1] += np.float32(shrinkage)
        # Transposed it is in the order that LAPACK wants, without a copy.
        self._lower, _ = cho_factor(shrunk.T, lower=True, overwrite_a=True, check_finite=False)

    def half(self, rows: Floats) -> Floats:
        """[n, features] -> [n, features]: products of what comes are products of the rows under the inverse."""
        if len(rows) <= _FEW:
            return np.array([strsv(self._lower, row, lower=1) for row in rows], np.float32)
        halves: Floats = strsm(1.0, self._lower, rows.T, lower=1).T
        return halves

    def solve(self, rows: NDArray) -> Floats:
        halves = self.half(rows.astype(np.float32))
        if len(rows) <= _FEW:
            return np.array([strsv(self._lower, row, lower=1, trans=1) for row in halves], np.float32)
        solved: Floats = strsm(1.0, self._lower, halves.T, lower=1, trans_a=1, overwrite_b=1).T
        return solved

    def products(self, rows: NDArray) -> NDArray[np.float64]:
        halves = self.half(rows.astype(np.float32)).astype(np.float64)
        return halves @ halves.T

    def norms(self, rows: NDArray) -> NDArray[np.float64]:
        halves = self.half(rows.astype(np.float32))
        return np.einsum("ij,ij->i", halves, halves, dtype=np.float64)

    def trace(self) -> float:
        """The mean of z' S^-1 z over random signs z (Hutchinson 1990), whose error is below a hundredth; an inverse
        would cost as much as all the rest.
        """
        features = len(self._lower)
        if features <= _PROBES:
            signs = np.eye(features) * np.sqrt(features)
        else:
            signs = np.random.default_rng(0).choice([-1.0, 1.0], (_PROBES, features))
        return float((signs * self.solve(signs).astype(np.float64)).sum()) / len(signs)


@dataclass(frozen=True, slots=True)
class Root:
    """root: [n, features] float32, C = root' root, of fewer rows than features."""

    root: Floats

    @property
    def matrix(self) -> Floats:
        return self.root.T @ self.root

    def diagonal(self) -> Floats:
        squares: Floats = (self.root**2).sum(0)
        return squares

    def times(self, rows: Floats) -> Floats:
        inside: Floats = rows @ self.root.T
        return inside @ self.root

    def scaled(self, scale: NDArray) -> "Root":
        return Root(self.root * scale.astype(np.float32))

    def inverse(self, shrinkage: float) -> "RootInverse":
        return RootInverse(self.root * np.float32(np.sqrt(1 - shrinkage)), shrinkage)

    def largest(self, count: int, near: Floats | None = None) -> tuple[Floats, Floats]:
        """Those of the rows' inner products."""
        values, turned = eigh(self.root @ self.root.T)
        kept = values[-count:] > _ROUNDING * values[-1]
        values, turned = values[-count:][kept], turned[:, -count:][:, kept]
        return values, (self.root.T @ turned) / np.sqrt(values)


class RootInverse:
    """Of root' root + level I, by Woodbury's identity."""

    def __init__(self, root: Floats, level: float) -> None:
        self._root, self._level = root, np.float32(level)
        inner = root @ root.T
        inner.ravel()[:: len(inner) + 1] += self._level
        self._cholesky = cho_factor(inner.T, lower=True, overwrite_a=True, check_finite=False)

    def solve(self, rows: NDArray) -> Floats:
        rows = rows.astype(np.float32)
        inside = cho_solve(self._cholesky, self._root @ rows.T, check_finite=False)
        return (rows - inside.T @ self._root) / self._level

    def products(self, rows: NDArray) -> NDArray[np.float64]:
        return rows @ self.solve(rows).astype(np.float64).T

    def norms(self, rows: NDArray) -> NDArray[np.float64]:
        return np.einsum("ij,ij->i", rows, self.solve(rows), dtype=np.float64)

    def trace(self) -> float:
        n, features = self._root.shape
        inner = float(cho_solve(self._cholesky, np.eye(n, dtype=np.float32), check_finite=False).trace())
        return (features - n + float(self._level) * inner) / float(self._level)
