"""The self-test of a version: fixed noise, the dreams that it must become, the logits that those must get."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mygo_edge.bundle.manifest import BundleError
from mygo_edge.bundle.npz import ERRORS, read_arrays, write_arrays

DREAMS_PER_TASK = 2  # a quarter of what a device takes to load a version, and most of the file, are these


@dataclass(frozen=True, slots=True)
class SelfTest:
    """z: [n, latent] float32, for every task the same; class_id: [tasks, n] int64, counted within the task; dreams:
    [tasks, n, channels, height, width] float32 in [-1, 1], as the generators make them; logits: [tasks, n, classes of
    all tasks] float32 of those dreams as pixels (`mygo_edge.bundle.images.to_pixels`).
    """

    z: NDArray[np.float32]
    class_id: NDArray[np.int64]
    dreams: NDArray[np.float32]
    logits: NDArray[np.float32]


def write_selftest(
    test: SelfTest, precision: str = "fp32", others: Mapping[str, NDArray[np.float32]] = MappingProxyType({})
) -> bytes:
    """The self-test as an .npz archive, not compressed; equal arrays give equal bytes.

    Args:
        test: with the logits of the classifier of that precision.
        precision: see above.
        others: logits, as `test` has them, of the classifiers of other precisions.
    """
    arrays: dict[str, Any] = {field.name: getattr(test, field.name) for field in fields(test) if field.name != "logits"}
    arrays |= {_logits(name): logits for name, logits in {precision: test.logits, **others}.items()}
    return write_arrays(arrays)


def _logits(precision: str) -> str:
    """The name of the logits of a classifier."""
    return "logits" if precision == "fp32" else f"logits.{precision}"


def read_selftest(data: bytes, name: str, precision: str = "fp32") -> SelfTest:
    """Read what `write_selftest` wrote, with the logits of the classifier of that precision.

    Raises:
        BundleError: not such an archive. Nothing is unpickled or decompressed, and no array may claim more bytes than
            the archive has.
    """
    try:
        members = {field.name: field.name for field in fields(SelfTest)} | {"logits": _logits(precision)}
        arrays = read_arrays(data, members.values())
        return SelfTest(**{key: arrays[member] for key, member in members.items()})
    except ERRORS as error:
        raise BundleError(f"{name} is no self-test ({error}); publish or fetch it again") from error


def fits(test: SelfTest, widths: Sequence[int], shape: tuple[int, ...], latent: int) -> bool:
    """Whether the arrays are what tasks of `widths` classes, images of `shape` and noise of `latent` normals can be
    tested with."""
    tasks, n = len(widths), test.z.shape[0] if test.z.ndim else 0
    return (
        n > 0
        and test.z.shape == (n, latent)
        and test.class_id.shape == (tasks, n)
        and test.class_id.dtype == np.int64
        and bool((test.class_id >= 0).all() and (test.class_id < np.array(widths)[:, None]).all())
        and test.dreams.shape == (tasks, n, *shape)
        and test.logits.shape == (tasks, n, sum(widths))
        and all(array.dtype == np.float32 for array in (test.z, test.dreams, test.logits))
    )


def deviation(got: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    """The largest difference, absolute where the expected value is below 1 and relative above; infinite for NaN."""
    if got.shape != expected.shape:
        return float("inf")
    with np.errstate(invalid="ignore", over="ignore"):  # infinities, which are an infinite deviation below
        error = np.abs(got - expected) / np.maximum(1, np.abs(expected))
    return float(np.nan_to_num(error, nan=np.inf).max(initial=0.0))
