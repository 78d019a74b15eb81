"""What makes rows of an older covariance nearly those of a newer one: a product of few columns. numpy only.

All rows anew are a byte a feature and class, too much for an update where classes are a hundred. But two covariances of
one trunk differ in few directions that matter, so the difference of their rows has nearly a low rank: it is sent
instead, in int8, and replaced as a whole when the covariance moves on. The rows stay the files that they were.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mygo_edge.bundle.gaussian import Floats
from mygo_edge.bundle.manifest import BundleError
from mygo_edge.bundle.npz import ERRORS, array_names, read_arrays, write_arrays
from mygo_edge.bundle.rows import LARGEST, ClassRows, join_rows, require

_LEVELS = 127  # of int8
_MAX_RANK = 1024
_SIDES = ("left", "right")


@dataclass(frozen=True, slots=True)
class Correction:
    """left @ right is added to the rows of the first classes. left: [classes, rank] float32; right: [rank, features]
    float32; spread: as `ClassRows` has it, of the covariance that the rows are then of.
    """

    left: Floats
    right: Floats
    spread: float


def difference(old: Floats, new: ClassRows, weights: NDArray, rank: int) -> Correction:
    """What makes rows `old` [classes, features] nearly `new`: the nearest of that rank, features counted by `weights`.

    weights: [features], such as the deviations of features within a class, since logits differ by that much.
    """
    left, values, right = np.linalg.svd((new.rows - old) * weights.astype(np.float32), full_matrices=False)
    # Values of a row stand in int8 with one scale: left as it is, whose columns are alike, and right with the values.
    return Correction(left[:, :rank], values[:rank, None] * right[:rank] / weights.astype(np.float32), new.spread)


def corrected(tasks: Sequence[ClassRows], correction: Correction | None) -> ClassRows:
    """The rows of all tasks as one. Raises BundleError where they are not, then, of one covariance."""
    if correction is None:
        return join_rows(tasks)
    first, rows = len(correction.left), np.concatenate([task.rows for task in tasks])
    starts = np.cumsum([0, *(len(task.rows) for task in tasks)])
    spreads = {task.spread for task, start in zip(tasks, starts[:-1], strict=True) if start >= first}
    if first not in starts or spreads - {correction.spread}:
        raise BundleError("the correction of the rows is not of these tasks; publish or fetch them again")
    rows[:first] += correction.left @ correction.right
    return ClassRows(rows, correction.spread)


def write_correction(correction: Correction) -> bytes:
    """As bytes: int8, a scale a row of either side. Equal values give equal bytes."""
    arrays: dict[str, NDArray] = {"spread": np.array(correction.spread)}
    for name in _SIDES:
        values = getattr(correction, name)
        scale = np.abs(values).max(1).clip(np.finfo(np.float32).tiny).astype(np.float32) / np.float32(_LEVELS)
        arrays |= {name: np.rint(values / scale[:, None]).astype(np.int8), f"{name}_scale": scale}
    return write_arrays(arrays)


def read_correction(data: bytes, name: str, features: int, classes: int) -> Correction:
    """Read what `write_correction` wrote.

    Raises:
        BundleError: naming the file; not such an archive, not of so many features, or of more classes.
    """
    expected = {"spread", *_SIDES, *(f"{side}_scale" for side in _SIDES)}
    try:
        require(array_names(data) == expected, f"it does not hold {sorted(expected)}")
        arrays = read_arrays(data, expected)
        left, right, spread = arrays["left"], arrays["right"], arrays["spread"]
        for side in _SIDES:
            values, scale = arrays[side], arrays[f"{side}_scale"]
            require(values.dtype == np.int8 and values.ndim == 2 and 0 not in values.shape, f"{side} does not fit")
            require(scale.dtype == np.float32 and scale.shape == values.shape[:1], f"the scale of {side} does not fit")
            require(bool((np.abs(scale) <= LARGEST).all()), f"the scale of {side} is not finite")  # false for NaN
        require(left.shape[1] == len(right) <= _MAX_RANK, "its sides do not fit")
        require(right.shape[1] == features and len(left) <= classes, "it does not fit the rows")
        require(spread.dtype == np.float64 and spread.shape == (), "it lacks the spread")
        require(bool(0 <= spread < np.inf), "the spread is out of range")
    except ERRORS as error:
        raise BundleError(f"{name} holds no correction of rows ({error}); publish or fetch it again") from error
    left, right = (arrays[side] * arrays[f"{side}_scale"][:, None] for side in _SIDES)
    return Correction(left, right, float(spread))
