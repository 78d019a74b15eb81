"""The gate of a recipe: what it loses against fp32, on dreams and on real images, and whether that is allowed.

Everything is measured on the graphs themselves, by running them as a device does.
"""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mygo_edge.bundle.images import to_pixels
from mygo_edge.device.session import Graph
from mygo_edge.export.errors import PrecisionLossError
from mygo_edge.export.samples import Labelled, Noise, Purpose, noise

DREAMS_PER_CLASS = 500
_BATCH = 250


class Measure(NamedTuple):
    """One number of a graph, as fp32 and the recipe have it; both fractions, and more is better."""

    path: str
    name: str
    fp32: float
    recipe: float

    @property
    def loss(self) -> float:
        return self.fp32 - self.recipe

    def __str__(self) -> str:
        return f"{self.path}: {self.name} {self.recipe:.4f}, fp32 {self.fp32:.4f}"


def require(measures: Sequence[Measure], max_loss: float) -> None:
    """Raise PrecisionLossError when a measure falls by more than `max_loss`, a fraction. NaN is a loss."""
    lost = [measure for measure in measures if not measure.loss <= max_loss]
    if lost:
        worst = max(lost, key=lambda measure: measure.loss)
        others = f" ({len(lost) - 1} more measures too)" if len(lost) > 1 else ""
        raise PrecisionLossError(
            f"{worst.path} is not published: {worst.name} falls from {worst.fp32:.4f} to {worst.recipe:.4f}, by "
            f"{worst.loss:.4f}, and {max_loss:g} is allowed{others}; use another --precision, or raise --max-loss "
            "(in a run --publish.max-loss)"
        )


def classifier_measures(
    path: str, fp32: Graph, recipe: Graph, heads: Sequence[str], samples: Sequence[Labelled], on: str
) -> list[Measure]:
    """Accuracy with the task known and unknown, and how often the recipe answers as fp32 does.

    Args:
        path: the recipe's file.
        heads: the classifier's outputs, by task.
        samples: labelled images, by task.
        on: what they are, "dreams" or "real images".
    """
    known, unknown, same = np.zeros(2), np.zeros(2), 0.0  # of fp32 and of the recipe
    total = sum(len(sample.class_id) for sample in samples)
    start = 0
    for head, (pixels, class_id) in zip(heads, samples, strict=True):
        answers = []
        for row, graph in enumerate((fp32, recipe)):
            logits = [np.concatenate(parts) for parts in zip(*_logits(graph, heads, pixels), strict=True)]
            own = logits[heads.index(head)]
            every = np.concatenate(logits, 1).argmax(1)
            known[row] += (own.argmax(1) == class_id).sum()
            unknown[row] += (every == class_id + start).sum()
            answers.append(every)
        same += float((answers[0] == answers[1]).sum())
        start += own.shape[1]
    return [
        Measure(path, f"accuracy on {on}, task known,", *(known / total).tolist()),
        Measure(path, f"accuracy on {on}, task unknown,", *(unknown / total).tolist()),
        Measure(path, f"agreement with fp32 on {on}", 1.0, same / total),
    ]


def generator_measures(
    path: str, fp32: Graph, recipe: Graph, classifier: Graph, task: int, classes: int, per_class: int = DREAMS_PER_CLASS
) -> list[Measure]:
    """Of the same noise: label fidelity, as the fp32 classifier sees it among all classes, and likeness of pixels."""
    sample = noise(Purpose.GATE, task, classes, per_class * classes)
    right, difference = np.zeros(2), 0.0
    for z, class_id in _batches(sample):
        images = [to_pixels(graph.run(["image"], {"z": z, "class_id": class_id})[0]) for graph in (fp32, recipe)]
        for row, image in enumerate(images):
            task_ids, class_ids = classifier.run(["task_id", "class_id"], {"image": image})
            right[row] += ((task_ids == task) & (class_ids == class_id)).sum()
        difference += float(np.abs(images[0].astype(np.int16) - images[1]).mean() * len(z))
    total = len(sample.class_id)
    return [
        Measure(path, "label fidelity of dreams", *(right / total).tolist()),
        Measure(path, "likeness of pixels to fp32's", 1.0, 1.0 - difference / total / 255),
    ]


def _logits(graph: Graph, heads: Sequence[str], pixels: NDArray[np.uint8]) -> Iterator[list[NDArray[np.float32]]]:
    for batch in np.split(pixels, range(_BATCH, len(pixels), _BATCH)):
        yield graph.run(heads, {"image": batch})


def _batches(sample: Noise) -> Iterator[tuple[NDArray[np.float32], NDArray[np.int64]]]:
    for z, class_id in zip(sample.z.split(_BATCH), sample.class_id.split(_BATCH), strict=True):
        yield z.numpy(), class_id.numpy()
