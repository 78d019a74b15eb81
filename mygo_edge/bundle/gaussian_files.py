"""The two kinds of file of a Gaussian memory: what all tasks share, and the means of one task. numpy only.

Both are stored .npz archives. Rows of numbers stand in one of three precisions: fp32; fp16; int8 with a scale a row.
"""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

from mygo_edge.bundle.gaussian import MAX_POWER, MIN_POWER, ClassMeans, PowerTransform, SharedFactor
from mygo_edge.bundle.manifest import BundleError
from mygo_edge.bundle.npz import ERRORS, array_names, read_arrays, write_arrays

Precision = Literal["fp32", "fp16", "int8"]
MAX_FEATURES = 2**16
MAX_ROWS = 2**16  # classes of a task, or the factor's rank
_LARGEST_INT8 = 127


def write_shared(shared: SharedFactor, precision: Precision = "fp32") -> bytes:
    """The shared factor as bytes, its factor in that precision, the diagonal in fp32; equal values give equal bytes."""
    transform = shared.transform
    numbers = [transform.power, transform.signed, transform.normalised, shared.shrinkage, shared.spread]
    rows = _rows_to_arrays("factor", shared.factor, precision)
    return write_arrays(rows | {"diagonal": shared.diagonal, "numbers": np.array(numbers, np.float64)})


def read_shared(data: bytes, name: str) -> SharedFactor:
    """Read what `write_shared` wrote.

    Raises:
        BundleError: naming the file; not such an archive, or numbers that are no covariance.
    """
    try:
        arrays = _arrays(data, "factor", ["diagonal", "numbers"])
        factor, diagonal, numbers = _rows(arrays, "factor"), arrays["diagonal"], arrays["numbers"]
        _require(diagonal.dtype == np.float32 and diagonal.shape == factor.shape[1:], "the diagonal does not fit")
        _require(bool((diagonal > 0).all() and np.isfinite(diagonal).all()), "a variance is not above 0")
        _require(numbers.dtype == np.float64 and numbers.shape == (5,), "it lacks power, shrinkage or spread")
        power, signed, normalised, shrinkage, spread = map(float, numbers)
        _require(MIN_POWER <= power <= MAX_POWER, f"power {power} is outside {MIN_POWER} to {MAX_POWER}")
        _require({signed, normalised} <= {0.0, 1.0}, "signed and normalised must be 0 or 1")
        _require(0 <= shrinkage <= 1 and 0 <= spread < np.inf, "shrinkage or spread is out of range")
    except ERRORS as error:
        raise BundleError(f"{name} is no shared factor ({error}); publish or fetch it again") from error
    return SharedFactor(factor, diagonal, PowerTransform(power, bool(signed), bool(normalised)), shrinkage, spread)


def write_means(means: ClassMeans, precision: Precision = "fp16") -> bytes:
    """A task's means as bytes, in that precision; equal values give equal bytes."""
    return write_arrays(_rows_to_arrays("means", means.means, precision) | {"counts": means.counts})


def read_means(data: bytes, name: str, features: int, classes: int | None = None) -> ClassMeans:
    """Read what `write_means` wrote.

    Args:
        data: of the file.
        name: of the file, for messages.
        features: the width that the shared factor has.
        classes: how many there must be, where that is known.

    Raises:
        BundleError: naming the file; not such an archive, or another number of classes or features.
    """
    try:
        arrays = _arrays(data, "means", ["counts"])
        means, counts = _rows(arrays, "means"), arrays["counts"]
        wanted = len(means) if classes is None else classes
        _require(means.shape == (wanted, features), f"means {list(means.shape)}, expected {[wanted, features]}")
        _require(counts.dtype == np.int64 and counts.shape == means.shape[:1], "the counts do not fit")
        _require(bool((counts > 0).all()), "a class is of no images")
    except ERRORS as error:
        raise BundleError(f"{name} holds no class means ({error}); publish or fetch it again") from error
    return ClassMeans(means, counts)


def _rows_to_arrays(name: str, rows: NDArray[np.float32], precision: Precision) -> dict[str, NDArray]:
    if precision == "int8":
        scale = np.abs(rows).max(1).clip(np.finfo(np.float32).tiny) / np.float32(_LARGEST_INT8)  # [rows]
        return {name: np.rint(rows / scale[:, None]).astype(np.int8), "scale": scale.astype(np.float32)}
    return {name: rows.astype(np.float16 if precision == "fp16" else np.float32)}


def _arrays(data: bytes, rows: str, others: list[str]) -> dict[str, NDArray]:
    present = array_names(data)
    expected = {rows, *others}
    _require(present in (expected, expected | {"scale"}), f"it holds {sorted(present)[:8]}, not {sorted(expected)}")
    return read_arrays(data, present)


def _rows(arrays: dict[str, NDArray], name: str) -> NDArray[np.float32]:
    """[rows, features] float32 of any precision, checked."""
    rows, scale = arrays[name], arrays.get("scale")
    _require(rows.ndim == 2, f"{name} is not a matrix")
    _require(0 < len(rows) <= MAX_ROWS and 0 < rows.shape[1] <= MAX_FEATURES, f"{name} {list(rows.shape)} is too large")
    if scale is None:
        _require(rows.dtype in (np.float16, np.float32), f"{name} is {rows.dtype}, not float16 or float32")
        result = rows.astype(np.float32)
    else:
        _require(rows.dtype == np.int8, f"{name} is {rows.dtype}, not int8")
        _require(scale.dtype == np.float32 and scale.shape == rows.shape[:1], "the scale does not fit")
        with np.errstate(over="ignore", invalid="ignore"):
            result = rows * scale[:, None]
    _require(bool(np.isfinite(result).all()), f"{name} is not finite")
    return result


def _require(condition: bool, otherwise: str) -> None:
    if not condition:
        raise ValueError(otherwise)
