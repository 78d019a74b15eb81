"""NeocortexNet: one shared feature extractor, one linear head a task."""

import math

import torch
from torch import Tensor, nn

Shape = tuple[int, int, int]  # channels, height, width of an image

FEATURES = 256


def image_shape(images: Tensor) -> Shape:
    """Channels, height and width of a batch of images."""
    channels, height, width = images.shape[1:]
    return channels, height, width


def halvings(shape: Shape) -> int:
    """How often an image is halved before the linear layer: until its side is about 7, at least twice."""
    return max(2, round(math.log2(min(shape[1:]) / 7)))


class NeocortexNet(nn.Module):
    """Shared `features` and one linear classifier per task in `classifiers`.

    The extractor is two or more blocks of (3x3 convolution, 2x2 max-pool, ReLU) and a linear layer to 256 features;
    the number of blocks follows from the image's side, and colour doubles the width.

    Args:
        shape: channels, height and width of the images, each side at least 8.
    """

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        width = 16 if shape[0] == 1 else 32
        layers: list[nn.Module] = []
        channels, (height, wide) = shape[0], shape[1:]
        for block in range(halvings(shape)):
            # The order of max-pool and ReLU does not matter to the result; this one has a quarter of the work left.
            layers += [nn.Conv2d(channels, width * 2**block, 3, padding=1), nn.MaxPool2d(2), nn.ReLU()]
            channels, height, wide = width * 2**block, height // 2, wide // 2
        self.features = nn.Sequential(*layers, nn.Flatten(), nn.Linear(channels * height * wide, FEATURES))
        self.classifiers = nn.ModuleList()

    def add_task_head(self, classes: int) -> nn.Linear:
        """Append and return a new head for a task of `classes` classes."""
        head = nn.Linear(FEATURES, classes, device=next(self.features.parameters()).device)
        self.classifiers.append(head)
        return head

    @property
    def widths(self) -> list[int]:
        """Number of classes of every head, in task order."""
        return [head.out_features for head in self.classifiers]  # type: ignore[misc]

    def stacked_heads(self) -> tuple[Tensor, Tensor]:
        """Weight [classes of all tasks, 256] and bias [classes] of all heads, one below the other."""
        weight = torch.cat([head.weight for head in self.classifiers])  # type: ignore[misc]
        return weight, torch.cat([head.bias for head in self.classifiers])  # type: ignore[misc]

    def logits(self, features: Tensor) -> Tensor:
        """All heads' logits side by side: [batch, 256] -> [batch, classes of all tasks]."""
        return nn.functional.linear(features, *self.stacked_heads())

    def forward(self, images: Tensor) -> Tensor:
        """Images in [-1, 1], [batch, channels, height, width] -> all heads' logits, [batch, classes of all tasks]."""
        return self.logits(self.features(images))
