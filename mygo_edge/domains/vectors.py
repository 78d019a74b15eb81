"""Vectors: a dream is a vector of a frozen trunk, memorised by a GAN as a small image is, below a small network.

It is the pixel path above a trunk: `--memory.generator perceptron`. Devices do not take such a memory; the Gaussian one
(`mygo_edge.domains.features`) is what they dream of features with, and the better one (docs/photos.md).
"""

from typing import Any

import torch
from torch import Tensor, nn

from mygo_edge.domains.domain import Progress
from mygo_edge.domains.features import Features
from mygo_edge.kernels.dream import DreamBatch
from mygo_edge.model.gan import Generator, VectorDiscriminator
from mygo_edge.options import GeneratorKind
from mygo_edge.trunks.text import TextTrunk
from mygo_edge.trunks.trunk import Trunk


class Vectors:
    """Vectors of the trunk of `source`, each value brought into (-1, 1), the range of the generators' tanh: its signed
    root r becomes r / (1 + |r|), which asks for nothing of the data and can be taken back.
    """

    name = "vectors"
    features = 256

    def __init__(self, source: Features) -> None:
        self._source = source

    @property
    def trunk(self) -> Trunk | TextTrunk:
        return self._source.trunk

    @property
    def shape(self) -> tuple[int, int, int]:
        """A grey image of one row."""
        return (1, 1, self._source.features)

    def prepare(self, inputs: Any, device: torch.device, progress: Progress = lambda done, total: None) -> Tensor:
        """What the trunk takes, as float32 [n, 1, 1, features of the trunk]. Raises as `Features.prepare`."""
        vectors = self._source.prepare(inputs, device, progress)
        roots = vectors.sign() * vectors.abs().sqrt()
        return (roots / (1 + roots.abs()))[:, None, None]

    def layers(self) -> nn.Sequential:
        """One hidden layer of standardised vectors."""
        width = self.shape[2]
        return nn.Sequential(
            nn.Flatten(),
            nn.LayerNorm(width),
            nn.Linear(width, self.features),
            nn.ReLU(),
            nn.Linear(self.features, self.features),
        )

    def actor(self, classes: int, *, width: int, kind: GeneratorKind) -> Generator:
        return Generator(self.shape, classes, width, kind)

    def critic(self, classes: int) -> VectorDiscriminator:
        return VectorDiscriminator(self.shape[2], classes)

    def augmented(self, inputs: Tensor, share: float, source: torch.Generator) -> Tensor:
        """As they are: no change of a vector is known to keep its class."""
        return inputs

    def augmented_dreams(self, dreams: DreamBatch, share: float) -> Tensor:
        return dreams.images

    def pictures(self, dreams: Tensor) -> Tensor:
        """A row of grey, a value a pixel."""
        return dreams.add(1).div(2).clamp(0, 1)
