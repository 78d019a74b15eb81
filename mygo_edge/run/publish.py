"""From a learner to a bundle version, and what its files weigh."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mygo_edge.data.datasets import MEAN, STD
from mygo_edge.data.tasks import Task
from mygo_edge.export.bundle import publish
from mygo_edge.learn.methods import MyGO
from mygo_edge.model.gan import FrozenGenerator


def publish_bundle(bundle: Path, method: MyGO, tasks: Sequence[Task], *, sequence: int) -> dict[str, Any]:
    """Write version `sequence` of the bundle; return the `bytes` entry of summary.json."""
    generators: list[FrozenGenerator] = list(method.memory.generators)  # type: ignore[arg-type]
    named = [(task.name, task.classes) for task in tasks]
    version = publish(
        bundle,
        net=method.net,
        generators=generators,
        tasks=named,
        mean=[MEAN] * method.shape[0],
        std=[STD] * method.shape[0],
        sequence=sequence,
    )
    sizes = [(version / f"generator-{task.name}.onnx").stat().st_size for task in tasks]
    channels, height, width = method.shape
    return {
        "classifier": (version / "classifier.onnx").stat().st_size,
        "generators": sizes,
        # Raw training images, a byte a channel of a pixel, that would fit in the bytes of all generators.
        "equivalent_images": sum(sizes) // (channels * height * width),
    }
