"""Features: a dream is a vector of a frozen trunk, memorised as a Gaussian around its class's mean."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, Protocol

import numpy as np
import torch
from torch import Tensor, nn

from mygo_edge.bundle.gaussian import PowerTransform
from mygo_edge.errors import MygoEdgeError
from mygo_edge.kernels.dream import DreamBatch
from mygo_edge.options import GeneratorKind
from mygo_edge.trunks.extract import Extractor, Progress

TRANSFORM = PowerTransform(0.5, signed=True)  # of features that are never negative, the same as unsigned


class Maker(Protocol):
    """Makes vectors of raw inputs: a trunk at work."""

    @property
    def width(self) -> int:
        """Of a vector."""
        ...

    def __call__(self, inputs: Any) -> np.ndarray:
        """Raw inputs, as a user has them -> float32 [n, width]. Raises MygoEdgeError of inputs of another kind."""
        ...


class Photos:
    """Vectors of pictures: paths of files, or pixels in memory, of any size."""

    def __init__(self, extractor: Extractor, progress: Callable[[], Progress | None] = lambda: None) -> None:
        """progress: asked at the start of every pass for what to tell of it."""
        self.extractor, self._progress = extractor, progress

    @property
    def width(self) -> int:
        return self.extractor.trunk.features

    def __call__(self, inputs: Any) -> np.ndarray:
        if isinstance(inputs, Tensor):
            pixels = inputs if inputs.dtype == torch.uint8 else (inputs * 255).round().clamp(0, 255).to(torch.uint8)
            parts = self.extractor.images(pixels.cpu().numpy(), self._progress())
        elif all(isinstance(path, Path) for path in inputs):
            parts = self.extractor.files(list(inputs), self._progress())
        else:
            raise MygoEdgeError(f"--trunk {self.extractor.trunk.name} takes pictures, not {type(inputs[0]).__name__}s")
        return np.concatenate([np.empty((0, self.width), np.float32), *parts])


class Features:
    """Vectors that `maker` makes of raw inputs; heads stand on them after a power transform."""

    name = "features"

    def __init__(self, maker: Maker, transform: PowerTransform = TRANSFORM) -> None:
        self.maker, self.transform = maker, transform

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.features,)

    @property
    def features(self) -> int:
        return self.maker.width

    def prepare(self, inputs: Any, device: torch.device) -> Tensor:
        """Raw inputs as float32 [n, features], as the trunk gives them."""
        return torch.from_numpy(self.maker(inputs)).to(device)

    def layers(self) -> nn.Module:
        """The power transform, which has nothing to learn."""
        return Power(self.transform)

    def actor(self, classes: int, *, width: int, kind: GeneratorKind) -> NoReturn:
        raise MygoEdgeError("features are remembered as Gaussians; set --memory.generator gaussian")

    def critic(self, classes: int) -> NoReturn:
        raise MygoEdgeError("features are remembered as Gaussians; set --memory.generator gaussian")

    def augmented(self, inputs: Tensor, share: float, source: torch.Generator) -> Tensor:
        """As they are: no change of a vector is known to keep its class."""
        return inputs

    def augmented_dreams(self, dreams: DreamBatch, share: float) -> Tensor:
        """As they are."""
        return dreams.images

    def pictures(self, dreams: Tensor) -> Tensor:
        """Vectors as near-square grey patterns, each feature a pixel, the largest of a vector white."""
        side = math.ceil(math.sqrt(self.features))
        padded = nn.functional.pad(dreams.clamp(min=0), (0, side * side - self.features))
        top = padded.amax(1, keepdim=True).clamp(min=1e-12)
        return (padded / top).reshape(-1, 1, side, side)


class Power(nn.Module):
    """A `PowerTransform` in PyTorch."""

    def __init__(self, transform: PowerTransform) -> None:
        super().__init__()
        self.transform = transform

    def forward(self, features: Tensor) -> Tensor:
        """[batch, features] -> the same shape."""
        if self.transform.normalised:
            features = nn.functional.normalize(features, eps=1e-12)
        if not self.transform.signed:
            features = features.clamp(min=0)
        return features.sign() * features.abs() ** self.transform.power
