"""What a class's covariance has of its own, beyond the one that all classes share. numpy only.

With many examples a class, classes differ in spread, too, and a quadratic discriminant tells more than a linear one
(Friedman 1989, "Regularized discriminant analysis"). Whole covariances would be large, so classes differ only in a few
directions, in which the shared covariance S = U'U + diag(d) is the identity: a dream of the shared Gaussian is
projected to them, given the class's own covariance there, and put back. The directions lie in the span of U / d, so a
file holds no more of them than their coefficients.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from mygo_edge.bundle.gaussian import TINY, ClassMeans, Floats, Ids, SharedFactor
from mygo_edge.bundle.manifest import BundleError
from mygo_edge.bundle.npz import ERRORS, array_names, read_arrays, write_arrays

_LEVELS = 127  # of int8
_LEAST = 1e-3  # eigenvalue of a covariance in directions where the shared one has 1; real ones are 0.3 to 3


@dataclass(frozen=True)
class OwnCovariances:
    """Of all classes, task after task.

    directions: [r, features] float32, P with P S P' = I; covariances: [classes, r, r] float32, of P (x - mean).
    """

    directions: Floats
    covariances: Floats

    def take(self, classes: slice) -> "OwnCovariances":
        """Some of the classes."""
        return OwnCovariances(self.directions, self.covariances[classes])

    @cached_property
    def precisions(self) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """[classes, r, r]: inverse of each covariance less the identity; [classes]: the logarithm of its determinant.
        Found once, O(classes r^3).

        Raises:
            BundleError: a matrix is no covariance.
        """
        matrices = self.covariances.astype(np.float64)
        if np.isfinite(matrices).all() and np.isfinite(self.directions).all():
            try:
                values, vectors = np.linalg.eigh(matrices)
            except np.linalg.LinAlgError:
                values = np.zeros(1)
            if values.min() >= _LEAST:
                inverse = (vectors / values[:, None]) @ vectors.swapaxes(1, 2)
                return inverse - np.eye(matrices.shape[1]), np.log(values).sum(1)
        raise BundleError("a matrix is no covariance")


def quadratic(vectors: NDArray, means: ClassMeans, own: OwnCovariances) -> NDArray[np.float64]:
    """What own covariances add to the logits of `gaussian.discriminant`: [n, features] -> [n, classes].

    Together they are the log-likelihoods of the classes' Gaussians, up to what is the same for all classes.
    """
    directions = own.directions.astype(np.float64)
    extra, logarithm = own.precisions
    projected, centres = vectors @ directions.T, means.means @ directions.T  # [n, r] and [classes, r]
    result = np.empty((len(vectors), len(centres)))
    for column, (centre, matrix) in enumerate(zip(centres, extra, strict=True)):
        away = projected - centre
        result[:, column] = -0.5 * ((away @ matrix) * away).sum(1)
    return result - 0.5 * logarithm


def own_dreams(dreams: Floats, class_ids: Ids, means: ClassMeans, shared: SharedFactor, own: OwnCovariances) -> Floats:
    """Dreams of `gaussian.dreams`, with the covariances of their classes.

    Args:
        dreams: [n, features], in the transformed space.
        class_ids: [n], what they are dreams of.
        means: of the classes that `class_ids` count.
        shared: what the dreams were made with.
        own: of the same classes.
    """
    back = own.directions @ shared.factor.T @ shared.factor + own.directions * shared.diagonal  # [r, features]: P S
    values, vectors = np.linalg.eigh(own.covariances.astype(np.float64))
    change = (vectors * np.sqrt(np.maximum(values, 0))[:, None]) @ vectors.swapaxes(1, 2) - np.eye(values.shape[1])
    away = (dreams - means.means[class_ids]) @ own.directions.T  # [n, r]
    moved = np.einsum("nr,nrs->ns", away, change[class_ids])
    return (dreams + moved @ back).astype(np.float32)


def write_own(own: OwnCovariances, shared: SharedFactor) -> bytes:
    """Bytes in int8: a scale a direction, and a scale a class; equal values give equal bytes.

    Directions are turned among themselves first, which no answer and no dream depends on: as they are found, the first
    hold most, and a scale that their variances need is coarse for all others.

    Args:
        own: with directions in the span of factor / diagonal.
        shared: as the device will read it.
    """
    own = _turned(own)
    coefficients = np.linalg.lstsq(_span(shared).T, own.directions.T.astype(np.float64), rcond=None)[0].T  # [r, rank]
    lower = np.tril_indices(len(coefficients))
    parts = (own.covariances - np.eye(len(coefficients), dtype=np.float32))[:, *lower]  # [classes, r (r + 1) / 2]
    return write_arrays(_rows("directions", coefficients) | _rows("covariances", parts))


def read_own(data: bytes, name: str, shared: SharedFactor, classes: int) -> OwnCovariances:
    """Read what `write_own` wrote.

    Raises:
        BundleError: naming the file; not such an archive, another number of classes, or no covariances.
    """
    expected = {"directions", "directions_scale", "covariances", "covariances_scale"}
    try:
        _require(array_names(data) == expected, f"it does not hold {sorted(expected)}")
        arrays = read_arrays(data, expected)
        coefficients, parts = (_values(arrays, key) for key in ("directions", "covariances"))
        count = len(coefficients)
        _require(0 < count <= coefficients.shape[1] == shared.rank, "the directions do not fit the shared factor")
        _require(parts.shape == (classes, count * (count + 1) // 2), f"it is not of {classes} classes")
        lower = np.tril_indices(count)
        matrices = np.zeros((classes, count, count), np.float32)
        matrices[:, *lower] = parts
        matrices[:, lower[1], lower[0]] = parts
        with np.errstate(over="ignore", invalid="ignore"):
            directions = (coefficients @ _span(shared)).astype(np.float32)
        own = OwnCovariances(directions, matrices + np.eye(count, dtype=np.float32))
        own.precisions  # noqa: B018  a matrix that is no covariance is refused here
    except (*ERRORS, BundleError) as error:
        raise BundleError(f"{name} holds no covariances ({error}); publish or fetch it again") from error
    return own


@np.errstate(over="ignore", invalid="ignore")  # `read_own` refuses what is not finite
def _span(shared: SharedFactor) -> NDArray[np.float64]:
    """[rank, features]: the rows of U / d, each of norm 1."""
    rows = (shared.factor / shared.diagonal).astype(np.float64)
    return rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), TINY)


def _turned(own: OwnCovariances) -> OwnCovariances:
    """The same covariances, in an orthogonal basis drawn at random, always the same one."""
    count = len(own.directions)
    basis, _ = np.linalg.qr(np.random.default_rng(count).standard_normal((count, count)))
    turned = basis @ own.covariances @ basis.T
    return OwnCovariances((basis @ own.directions).astype(np.float32), turned.astype(np.float32))


def _rows(name: str, rows: NDArray) -> dict[str, NDArray]:
    scale = np.abs(rows).max(1).clip(np.finfo(np.float32).tiny) / _LEVELS
    return {name: np.rint(rows / scale[:, None]).astype(np.int8), f"{name}_scale": scale.astype(np.float32)}


def _values(arrays: dict[str, NDArray], name: str) -> Floats:
    rows, scale = arrays[name], arrays[f"{name}_scale"]
    _require(rows.dtype == np.int8 and rows.ndim == 2, f"{name} are no rows in int8")
    _require(scale.dtype == np.float32 and scale.shape == rows.shape[:1], f"the scale of {name} does not fit")
    _require(bool(np.isfinite(scale).all()), f"the scale of {name} is not finite")
    with np.errstate(over="ignore", invalid="ignore"):
        return rows * scale[:, None]


def _require(condition: bool, otherwise: str) -> None:
    if not condition:
        raise ValueError(otherwise)
