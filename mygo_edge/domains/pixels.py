"""Pixels: a dream is a small image in [-1, 1], memorised by a class-conditional GAN, below a convolutional network."""

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from mygo_edge.domains.domain import Progress
from mygo_edge.errors import MygoEdgeError
from mygo_edge.kernels.dream import DreamBatch
from mygo_edge.kernels.philox import below
from mygo_edge.model.gan import Discriminator, Generator
from mygo_edge.model.network import NeocortexNet, halvings
from mygo_edge.options import GeneratorKind

LEAST_SIDE = 8  # pixels; two halvings and two doublings need them
MEAN = STD = 0.5  # pixels in [0, 1] become [-1, 1], the range of the generators' tanh


@dataclass(frozen=True, slots=True)
class Pixels:
    """Images of `shape`: channels, height and width, each side at least 8."""

    shape: tuple[int, int, int]
    name: str = "pixels"
    features: int = 256

    def __post_init__(self) -> None:
        if min(self.shape[1:]) < LEAST_SIDE:
            raise MygoEdgeError(
                f"images of {self.shape[1]} x {self.shape[2]} pixels are too small: each side must have at least "
                f"{LEAST_SIDE}; resize them"
            )

    def prepare(self, inputs: Any, device: torch.device, progress: Progress = lambda done, total: None) -> Tensor:
        """uint8 images, or floats in [0, 1], as float32 in [-1, 1]."""
        if not isinstance(inputs, Tensor) or tuple(inputs.shape[1:]) != self.shape:
            found = list(inputs.shape[1:]) if isinstance(inputs, Tensor) else type(inputs).__name__
            raise MygoEdgeError(f"images of shape {list(self.shape)} are needed, these are {found}; convert them")
        if device.type == "cuda" and 4 * inputs.numel() > torch.cuda.mem_get_info(device)[0] / 3:
            device = torch.device("cpu")  # joint training holds a copy
        images = inputs.to(device)
        images = images.float() / 255 if images.dtype == torch.uint8 else images.float()
        return (images - MEAN) / STD

    def layers(self) -> nn.Sequential:
        """Two or more blocks of (3x3 convolution, 2x2 max-pool, ReLU) and a linear layer to the features; the number of
        blocks follows from the image's side, and colour doubles the width.
        """
        width = 16 if self.shape[0] == 1 else 32
        layers: list[nn.Module] = []
        channels, (height, wide) = self.shape[0], self.shape[1:]
        for block in range(halvings(self.shape)):
            # The order of max-pool and ReLU does not matter to the result; this one has a quarter of the work left.
            layers += [nn.Conv2d(channels, width * 2**block, 3, padding=1), nn.MaxPool2d(2), nn.ReLU()]
            channels, height, wide = width * 2**block, height // 2, wide // 2
        return nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels * height * wide, self.features))

    def actor(self, classes: int, *, width: int, kind: GeneratorKind) -> Generator:
        return Generator(self.shape, classes, width, kind)

    def critic(self, classes: int) -> Discriminator:
        return Discriminator(self.shape, classes)

    def augmented(self, inputs: Tensor, share: float, source: torch.Generator) -> Tensor:
        """Every image moved at random by up to `share` of its side."""
        most = self.most_shifted(share)
        if most == 0:
            return inputs
        offsets = torch.randint(-most, most + 1, (2, len(inputs)), generator=source, device=inputs.device)
        return shift(inputs, offsets)

    def augmented_dreams(self, dreams: DreamBatch, share: float) -> Tensor:
        """Every image moved by an offset that is part of the dream."""
        most = self.most_shifted(share)
        return shift(dreams.images, below(dreams.decisions, 2 * most + 1) - most) if most else dreams.images

    def most_shifted(self, share: float) -> int:
        """The largest shift in pixels, for a share of the image's shorter side."""
        return round(share * min(self.shape[1:]))

    def pictures(self, dreams: Tensor) -> Tensor:
        return dreams.add(1).div(2).clamp(0, 1)


def network(shape: tuple[int, int, int]) -> NeocortexNet:
    """A network for images of `shape`, without heads yet."""
    domain = Pixels(shape)
    return NeocortexNet(domain.layers(), domain.shape, domain.features)


def shift(images: Tensor, offsets: Tensor) -> Tensor:
    """Every image moved by its own offset, the border repeated.

    Args:
        images: [batch, channels, height, width].
        offsets: int64 [2, batch], rows and columns.
    """
    batch, channels, height, width = images.shape
    rows = (torch.arange(height, device=images.device) + offsets[0][:, None]).clamp_(0, height - 1)
    columns = (torch.arange(width, device=images.device) + offsets[1][:, None]).clamp_(0, width - 1)
    moved = images.gather(2, rows[:, None, :, None].expand(batch, channels, height, width))
    return moved.gather(3, columns[:, None, None, :].expand(batch, channels, height, width))
