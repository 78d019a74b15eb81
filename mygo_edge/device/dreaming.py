"""Dream images on the device: from which noise, in batches that fit in its memory."""

import numpy as np

from mygo_edge.bundle.images import to_pixels
from mygo_edge.device.engine import Dreams, Key
from mygo_edge.device.graphs import BATCH, VersionGraphs, generate
from mygo_edge.device.noise import dream_noise


def dream(graphs: VersionGraphs, task: str, class_id: int | None, n: int, key: Key) -> Dreams:
    """Dream `n` images of a task of the version. See `mygo_edge.device.edge_model.EdgeModel.dream`."""
    classes = graphs.tasks[task].classes
    images = np.empty((n, *graphs.manifest.pixels.shape), np.uint8)
    class_ids = np.empty(n, np.int64)
    for start in range(0, n, BATCH):
        part = slice(start, min(start + BATCH, n))
        samples = np.arange(part.start, part.stop)
        z, drawn = dream_noise(
            samples, len(classes), graphs.manifest.latent, seed=key.seed, stream=key.stream, step=key.step
        )
        class_ids[part] = drawn if class_id is None else class_id
        images[part] = to_pixels(generate(graphs.generator(task), z, class_ids[part]))
    return Dreams(images, class_ids)
