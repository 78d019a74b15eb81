"""The one source of samples of an export: dreams, as many a class, drawn anew for each purpose.

No real image is needed to calibrate, to compare a recipe with fp32, or to record the self-test; the generators hold
what there is to know of the tasks. Equal generators give equal samples.
"""

from collections.abc import Sequence
from enum import IntEnum
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mygo_edge.bundle.images import to_pixels
from mygo_edge.device.noise import dream_noise
from mygo_edge.model.gan import LATENT, FrozenGenerator

_PART = 500  # dreams at a time, to bound memory


class Purpose(IntEnum):
    """What samples are for: the stream of their noise, so that no two purposes share a sample."""

    SELFTEST = 0
    CALIBRATION = 1
    GATE = 2


class Noise(NamedTuple):
    """What a task's dreams are made from. z: [n, 64] float32; class_id: [n] int64, class after class in turn."""

    z: Tensor
    class_id: Tensor


class Labelled(NamedTuple):
    """pixels: uint8 [n, channels, height, width]; class_id: int64 [n], counted within the task."""

    pixels: NDArray[np.uint8]
    class_id: NDArray[np.int64]


def noise(purpose: Purpose, task: int, classes: int, n: int) -> Noise:
    """The first `n` samples of a task for a purpose: any number gives each class as many, give or take one."""
    z, _ = dream_noise(np.arange(n), classes, LATENT, seed=0, stream=int(purpose), step=task)
    return Noise(torch.from_numpy(z), torch.arange(n) % classes)


@torch.inference_mode()
def dreams(generator: FrozenGenerator, sample: Noise) -> Tensor:
    """[n, channels, height, width] in [-1, 1]."""
    parts = zip(sample.z.split(_PART), sample.class_id.split(_PART), strict=True)
    return torch.cat([generator(z, class_id) for z, class_id in parts])


def labelled_dreams(generators: Sequence[FrozenGenerator], purpose: Purpose, per_class: int) -> list[Labelled]:
    """`per_class` dreams of every class, by task, as a device would show them to the classifier."""
    found = []
    for task, generator in enumerate(generators):
        sample = noise(purpose, task, generator.classes, per_class * generator.classes)
        found.append(Labelled(to_pixels(dreams(generator, sample).numpy()), sample.class_id.numpy()))
    return found
