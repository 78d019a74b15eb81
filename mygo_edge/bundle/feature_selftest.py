"""The self-test of a version with a trunk: what fixed inputs and fixed noise must become. A few kilobytes."""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from mygo_edge.bundle.manifest import BundleError
from mygo_edge.bundle.npz import ERRORS, read_arrays, write_arrays

PROBES = 2  # fixed inputs of the trunk
DREAMS = 2  # of every task
PROBE_FEATURES, DREAM_FEATURES = 64, 8  # recorded of a vector, evenly spread: an error in one layer shows in all


@dataclass(frozen=True, slots=True)
class FeatureSelfTest:
    """All but class_id float32. probes: [probes, features of a sample], of the trunk's fixed inputs; class_id: int64
    [tasks, dreams]; dreams: [tasks, dreams, features of a sample], of the first dreams of key (0, 0, task); logits:
    [dreams x classes of all tasks], of each dream on its own task's classes, task after task; largest: [tasks, dreams],
    the largest logit among all classes.
    """

    probes: NDArray[np.float32]
    class_id: NDArray[np.int64]
    dreams: NDArray[np.float32]
    logits: NDArray[np.float32]
    largest: NDArray[np.float32]


def sampled(vectors: NDArray[np.float32], most: int) -> NDArray[np.float32]:
    """At most so many features of vectors [..., features], evenly spread."""
    return vectors[..., :: -(-vectors.shape[-1] // most)]


def write_feature_selftest(test: FeatureSelfTest) -> bytes:
    """As an .npz archive, not compressed; equal arrays give equal bytes."""
    return write_arrays({field.name: getattr(test, field.name) for field in fields(test)})


def read_feature_selftest(data: bytes, name: str, widths: Sequence[int], features: int) -> FeatureSelfTest:
    """Read what `write_feature_selftest` wrote.

    Args:
        data: of the file.
        name: of the file, for messages.
        widths: classes of every task.
        features: of a vector.

    Raises:
        BundleError: not such an archive, or not of these tasks.
    """
    try:
        test = FeatureSelfTest(**read_arrays(data, [field.name for field in fields(FeatureSelfTest)]))
    except ERRORS as error:
        raise BundleError(f"{name} is no self-test ({error}); publish or fetch it again") from error
    tasks = len(widths)
    probes, dreams = (len(range(0, features, -(-features // most))) for most in (PROBE_FEATURES, DREAM_FEATURES))
    shapes = {
        "probes": (PROBES, probes),
        "class_id": (tasks, DREAMS),
        "dreams": (tasks, DREAMS, dreams),
        "logits": (DREAMS * sum(widths),),
        "largest": (tasks, DREAMS),
    }
    for field, shape in shapes.items():
        array = getattr(test, field)
        if array.shape != shape or array.dtype != (np.int64 if field == "class_id" else np.float32):
            raise BundleError(f"{name} does not fit the manifest: {field} is {array.dtype} {list(array.shape)}")
    return test
