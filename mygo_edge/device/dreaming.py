"""Dream on the device: which images, from which noise, in batches that fit in its memory."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mygo_edge.bundle.images import to_pixels
from mygo_edge.device.graphs import BATCH, VersionGraphs, generate
from mygo_edge.device.noise import dream_noise
from mygo_edge.errors import MygoEdgeError


class Dreams(NamedTuple):
    """images: uint8 [n, channels, height, width]; class_ids: int64 [n], counted within the task."""

    images: NDArray[np.uint8]
    class_ids: NDArray[np.int64]


def dream(
    graphs: VersionGraphs, task: str, class_id: int | str | None, n: int, *, seed: int, stream: int, step: int
) -> Dreams:
    """Dream `n` images of a task of the version. See `mygo_edge.device.edge_model.EdgeModel.dream`."""
    for name, value, limit in (("seed", seed, 2**64), ("stream", stream, 2**32), ("step", step, 2**32)):
        if not 0 <= value < limit:
            raise MygoEdgeError(f"{name} must be in [0, 2^{limit.bit_length() - 1}), not {value}")
    if not 1 <= n < 2**32:
        raise MygoEdgeError(f"n must be at least 1 and below 2^32, not {n}")
    classes = graphs.tasks[task].classes
    chosen = None if class_id is None else _class_index(class_id, classes, task)
    images = np.empty((n, *graphs.manifest.pixels.shape), np.uint8)
    class_ids = np.empty(n, np.int64)
    for start in range(0, n, BATCH):
        part = slice(start, min(start + BATCH, n))
        samples = np.arange(part.start, part.stop)
        z, drawn = dream_noise(samples, len(classes), graphs.manifest.latent, seed=seed, stream=stream, step=step)
        class_ids[part] = drawn if chosen is None else chosen
        images[part] = to_pixels(generate(graphs.generator(task), z, class_ids[part]))
    return Dreams(images, class_ids)


def _class_index(wanted: int | str, classes: tuple[str, ...], task: str) -> int:
    if isinstance(wanted, str) and wanted in classes:
        return classes.index(wanted)
    if not isinstance(wanted, str) and 0 <= wanted < len(classes):
        return int(wanted)
    known = ", ".join(f"{index} ({name})" for index, name in enumerate(classes))
    raise MygoEdgeError(f"unknown class {wanted!r}; the classes of task {task} are {known}")
