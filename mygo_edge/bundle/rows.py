"""A task's part of the classifier as the box sends it: rows S^-1 (mean - centre), in int8. numpy only.

A factor of rank 64 gives a device dreams and learning, but not the classifier of the whole covariance where classes are
many and fine (docs/photos.md). The rows of a task are its own file, which stays as long as the covariance S that they
were made with: what depends on the other classes (the centre of all, the noise of means, the biases) a device computes
from rows and means, as the box does.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mygo_edge.bundle.denoising import similar
from mygo_edge.bundle.gaussian import ClassMeans, Floats, finished, finite_classifier, middle_of
from mygo_edge.bundle.manifest import BundleError, Rule
from mygo_edge.bundle.npz import ERRORS, array_names, read_arrays, write_arrays

_LEVELS = 127  # of int8
LARGEST = 1e6  # of a value; beyond, sums lose their meaning


@dataclass(frozen=True, slots=True)
class ClassRows:
    """rows: [classes, features] float32, S^-1 (mean - a centre that all tasks share), in the transformed space; spread:
    the mean squared Mahalanobis distance, under S, of real features to the mean of their class.
    """

    rows: Floats
    spread: float


def join_rows(tasks: Sequence[ClassRows]) -> ClassRows:
    """The classes of several tasks. Raises BundleError where they were made with different covariances."""
    spreads = {task.spread for task in tasks}
    if len(spreads) != 1:
        raise BundleError("the rows of its tasks are of different covariances; publish or fetch them again")
    return ClassRows(np.concatenate([task.rows for task in tasks]), spreads.pop())


def row_discriminant(means: ClassMeans, rows: ClassRows, rule: Rule = "ridge") -> tuple[Floats, Floats]:
    """Weight [classes, features] and bias [classes]: as `mygo_edge.bundle.gaussian.fisher`, of the same classes.

    Raises:
        BundleError: the numbers of a damaged memory do not give finite weights.
    """

    def made() -> tuple[Floats, Floats]:
        many = similar(means.counts)
        middle, centre = (middle_of(each, many) for each in (means.means, rows.rows))
        weight = (rows.rows - centre).astype(np.float32)
        inner = (weight @ (means.means - middle).astype(np.float32).T).astype(np.float64)
        return finished(weight, inner, middle, means.counts, rows.spread, many, rule)

    return finite_classifier(made)


def stored(rows: ClassRows) -> ClassRows:
    """As `read_rows` gives what `write_rows` wrote."""
    return ClassRows(from_levels(*to_levels(rows.rows)), rows.spread)


def write_rows(rows: ClassRows) -> bytes:
    """As bytes: a scale a class, and the signed root of each value's share of it in int8, so that small values, which
    are most, keep more digits. Equal values give equal bytes.
    """
    levels, scale = to_levels(rows.rows)
    return write_arrays({"rows": levels, "scale": scale, "spread": np.array(rows.spread)})


def read_rows(data: bytes, name: str, features: int, classes: int) -> ClassRows:
    """Read what `write_rows` wrote.

    Raises:
        BundleError: naming the file; not such an archive, or not of so many classes and features.
    """
    expected = {"rows", "scale", "spread"}
    try:
        require(array_names(data) == expected, f"it does not hold {sorted(expected)}")
        arrays = read_arrays(data, expected)
        spread = arrays["spread"]
        rows = checked_levels(arrays, "rows", features, classes)
        require(spread.dtype == np.float64 and spread.shape == (), "it lacks the spread")
        require(bool(0 <= spread < np.inf), "the spread is out of range")
    except ERRORS as error:
        raise BundleError(f"{name} holds no rows of a classifier ({error}); publish or fetch it again") from error
    return ClassRows(rows, float(spread))


def to_levels(rows: Floats) -> tuple[NDArray[np.int8], Floats]:
    """In int8, and the scale of each row: [classes, features] and [classes]."""
    scale = np.abs(rows).max(1).clip(np.finfo(np.float32).tiny).astype(np.float32)  # [classes]
    roots = np.sqrt(np.abs(rows) / scale[:, None])
    return np.rint(np.copysign(roots, rows) * _LEVELS).astype(np.int8), scale


def from_levels(levels: NDArray[np.int8], scale: Floats) -> Floats:
    """What `to_levels` got, rounded."""
    shares = levels.astype(np.float32) / np.float32(_LEVELS)
    return shares * np.abs(shares) * scale[:, None]


def checked_levels(arrays: Mapping[str, NDArray], key: str, features: int, classes: int) -> Floats:
    """[classes, features] of what `to_levels` made, stored under `key` and "scale". Raises ValueError for another."""
    levels, scale = arrays[key], checked(arrays, "scale", classes)
    require(levels.dtype == np.int8 and levels.shape == (classes, features), f"the {key} do not fit")
    return from_levels(levels, scale)


def checked(arrays: Mapping[str, NDArray], key: str, classes: int) -> Floats:
    """A finite number a class, [classes]. Raises ValueError for anything else."""
    array = arrays[key]
    require(array.dtype == np.float32 and array.shape == (classes,), f"the {key} does not fit")
    require(bool((np.abs(array) <= LARGEST).all()), f"the {key} is not finite")  # false for NaN
    return array


def require(condition: bool, otherwise: str) -> None:
    """Raise ValueError unless it holds."""
    if not condition:
        raise ValueError(otherwise)
