"""The self-test of a version with a trunk: what fixed inputs and fixed noise must become. A few kilobytes.

It is part of every update. So from `TASKS_READER` on it is of some tasks and of some of their classes, however many
there are: what could go wrong on a device (the trunk, noise, sums, the classifier made of all tasks) is the same for
all, and what a file holds is held against its hash.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from mygo_edge.bundle.manifest import TASKS_READER, BundleError
from mygo_edge.bundle.npz import ERRORS, read_arrays, write_arrays
from mygo_edge.bundle.parsing import MAX_CLASSES

PROBES = 2  # fixed inputs of the trunk
DREAMS = 2  # of every task that is tested
PROBE_FEATURES, DREAM_FEATURES = 64, 8  # recorded of a vector, evenly spread: an error in one layer shows in all
TASKS, LOGITS = 8, 32  # at most, from `TASKS_READER` on: tasks that dream, and logits of a dream among its task's


@dataclass(frozen=True, slots=True)
class FeatureSelfTest:
    """All but class_id float32; tasks are those at `places_tested`. probes: [probes, features of a sample], of the
    trunk's fixed inputs; class_id: int64 [tasks, dreams]; dreams: [tasks, dreams, features of a sample], of the first
    dreams of key (0, 0, task); logits: [dreams x classes of a sample], of each dream on its own task's classes, task
    after task; largest: [tasks, dreams], the largest logit among the classes of all tasks.
    """

    probes: NDArray[np.float32]
    class_id: NDArray[np.int64]
    dreams: NDArray[np.float32]
    logits: NDArray[np.float32]
    largest: NDArray[np.float32]


def places_tested(tasks: int, reader: int) -> list[int]:
    """Places of the tasks that are tested: evenly spread, and the newest is among them."""
    if reader < TASKS_READER:
        return list(range(tasks))
    return sorted({tasks - 1 - index * tasks // TASKS for index in range(TASKS)})


def sampled_logits(logits: NDArray[np.float32], reader: int) -> NDArray[np.float32]:
    """Those that are recorded of logits [..., classes of a task]."""
    return sampled(logits, _most_logits(reader))


def sampled(vectors: NDArray[np.float32], most: int) -> NDArray[np.float32]:
    """At most so many features of vectors [..., features], evenly spread."""
    return vectors[..., :: -(-vectors.shape[-1] // most)]


def _most_logits(reader: int) -> int:
    return LOGITS if reader >= TASKS_READER else MAX_CLASSES


def _kept(width: int, most: int) -> int:
    """How many `sampled` takes."""
    return len(range(0, width, -(-width // most)))


def write_feature_selftest(test: FeatureSelfTest) -> bytes:
    """As an .npz archive, not compressed; equal arrays give equal bytes."""
    return write_arrays({field.name: getattr(test, field.name) for field in fields(test)})


def read_feature_selftest(data: bytes, name: str, widths: Sequence[int], features: int, reader: int) -> FeatureSelfTest:
    """Read what `write_feature_selftest` wrote.

    Args:
        data: of the file.
        name: of the file, for messages.
        widths: classes of every task.
        features: of a vector.
        reader: that the version needs.

    Raises:
        BundleError: not such an archive, or not of these tasks.
    """
    try:
        test = FeatureSelfTest(**read_arrays(data, [field.name for field in fields(FeatureSelfTest)]))
    except ERRORS as error:
        raise BundleError(f"{name} is no self-test ({error}); publish or fetch it again") from error
    places = places_tested(len(widths), reader)
    tasks, logits = len(places), sum(_kept(widths[place], _most_logits(reader)) for place in places)
    probes, dreams = (_kept(features, most) for most in (PROBE_FEATURES, DREAM_FEATURES))
    shapes = {
        "probes": (PROBES, probes),
        "class_id": (tasks, DREAMS),
        "dreams": (tasks, DREAMS, dreams),
        "logits": (DREAMS * logits,),
        "largest": (tasks, DREAMS),
    }
    for field, shape in shapes.items():
        array = getattr(test, field)
        if array.shape != shape or array.dtype != (np.int64 if field == "class_id" else np.float32):
            raise BundleError(f"{name} does not fit the manifest: {field} is {array.dtype} {list(array.shape)}")
    return test
