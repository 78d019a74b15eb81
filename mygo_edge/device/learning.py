"""Learn a task on the device: features by onnxruntime, dreams of the old tasks, and a head fitted in numpy."""

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mygo_edge.bundle.heads import Head, head_bytes, parse_head, trunk_of
from mygo_edge.bundle.manifest import TASK_NAME, Manifest
from mygo_edge.bundle.strict import composed, printable
from mygo_edge.device.fitting import Others, fit_head
from mygo_edge.errors import MygoEdgeError

FeatureExtractor = Callable[
    [Any], tuple[NDArray[np.float32], NDArray[np.float32]]
]  # images -> features, logits of other heads
Dream = Callable[[str, int], tuple[Any, NDArray[np.int64]]]  # task, index of the task -> images, class ids


def learn(
    name: str,
    images: Any,
    labels: Sequence[str],
    *,
    manifest: Manifest,
    extract: FeatureExtractor,
    dream: Dream,
    regularisation: float | None,
) -> Head:
    """A head for a new task. See `mygo_edge.device.edge_model.EdgeModel.learn_head`.

    Args:
        manifest: of the version whose trunk the head stands on.
        extract: features [n, features] and the logits of all other heads [n, classes], those of the bundle first.
        dream: images of a task of the bundle and their class ids, counted within the task.
    """
    classes, index = new_task(name, labels, manifest, least=2)
    features, on_new = extract(images)
    require_labels(features, labels)
    weight, bias = fit_head(features, index, len(classes), _others(on_new, manifest, extract, dream), regularisation)
    created = datetime.now(UTC).isoformat(timespec="microseconds")
    head = Head(name, classes, weight, bias, trunk_of(manifest), len(labels), created)
    parse_head(head_bytes(head), f"the head of task {name}")  # refused now rather than when it is read again
    return head


def new_task(
    name: str, labels: Sequence[str], manifest: Manifest, least: int
) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    """The classes of a task that a device is about to learn, in sorted order, and of which of them each label is.

    Raises:
        MygoEdgeError: a name that cannot be a task's or is one of the bundle's, or too few classes.
    """
    taken = {task.name.casefold() for task in manifest.tasks}
    if not isinstance(name, str) or TASK_NAME.fullmatch(name) is None or name.casefold() in taken:
        raise MygoEdgeError(
            f"{str(name)[:80]!a} cannot name a new task: use letters, digits, _ and -, and no task's name"
        )
    words = [composed(str(label)) for label in labels]
    classes = sorted(set(words))
    if len(classes) < least or not all(printable(label) for label in classes):
        count = "two classes" if least == 2 else "a class"
        raise MygoEdgeError(f"labels must be printable names of {count} or more, not {classes[:5]}")
    column = {label: number for number, label in enumerate(classes)}
    return tuple(classes), np.array([column[word] for word in words])


def require_labels(features: NDArray[np.float32], labels: Sequence[str]) -> None:
    """Raise MygoEdgeError unless there is a label for every input."""
    if len(features) != len(labels):
        raise MygoEdgeError(f"{len(features)} inputs need as many labels, not {len(labels)}")


def _others(on_new: NDArray[np.float32], manifest: Manifest, extract: FeatureExtractor, dream: Dream) -> Others:
    dreamt: list[tuple[NDArray[np.float32], NDArray[np.float32]]] = []
    labels, first = [], 0
    for index, task in enumerate(manifest.tasks):
        images, class_ids = dream(task.name, index)
        dreamt.append(extract(images))
        labels.append(class_ids + first)
        first += len(task.classes)
    features, logits = (np.concatenate(parts) for parts in zip(*dreamt, strict=True))
    return Others(on_new, features, logits, np.concatenate(labels))
