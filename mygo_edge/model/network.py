"""NeocortexNet: one shared feature extractor, one linear head a task."""

import math

import torch
from torch import Tensor, nn

Shape = tuple[int, ...]  # of a dream, without the batch; channels, height, width of an image


def halvings(shape: Shape) -> int:
    """How often an image is halved before the linear layer: until its side is about 7, at least twice."""
    return max(2, round(math.log2(min(shape[1:]) / 7)))


class NeocortexNet(nn.Module):
    """Shared `features` and one linear classifier per task in `classifiers`.

    Args:
        layers: from inputs [batch, *shape] to features [batch, width]; a domain knows which.
        shape: of an input, without the batch.
        width: of the features.
    """

    def __init__(self, layers: nn.Module, shape: tuple[int, ...], width: int) -> None:
        super().__init__()
        self.shape, self.width = shape, width
        self.features = layers
        self.classifiers = nn.ModuleList()

    def add_task_head(self, classes: int) -> nn.Linear:
        """Append and return a new head for a task of `classes` classes."""
        like = next(self.parameters(), None)  # on the device where the rest is
        head = nn.Linear(self.width, classes, device=None if like is None else like.device)
        self.classifiers.append(head)
        return head

    @property
    def widths(self) -> list[int]:
        """Number of classes of every head, in task order."""
        return [head.out_features for head in self.classifiers]  # type: ignore[misc]

    def stacked_heads(self) -> tuple[Tensor, Tensor]:
        """Weight [classes of all tasks, width] and bias [classes] of all heads, one below the other."""
        weight = torch.cat([head.weight for head in self.classifiers])  # type: ignore[misc]
        return weight, torch.cat([head.bias for head in self.classifiers])  # type: ignore[misc]

    def logits(self, features: Tensor) -> Tensor:
        """All heads' logits side by side: [batch, width] -> [batch, classes of all tasks]."""
        return nn.functional.linear(features, *self.stacked_heads())

    def forward(self, inputs: Tensor) -> Tensor:
        """Inputs [batch, *shape] -> all heads' logits, [batch, classes of all tasks]."""
        return self.logits(self.features(inputs))
