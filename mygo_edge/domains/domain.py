"""The contract between a domain and everything else, which knows only "a dream of a shape, with a class and a task"."""

from collections.abc import Callable
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from mygo_edge.kernels.dream import DreamBatch
from mygo_edge.options import GeneratorKind

Shape = tuple[int, ...]
Progress = Callable[[int, int], None]  # done, of all


class Domain(Protocol):
    """What a run, its data and its measures know of it. Of one learner, for good.

    Attributes:
        name: in checkpoints and manifests.
        shape: of a dream, without the batch.
        features: width of the vectors that heads stand on.
    """

    @property
    def name(self) -> str: ...

    @property
    def shape(self) -> Shape: ...

    @property
    def features(self) -> int: ...

    def prepare(self, inputs: Any, device: torch.device, progress: Progress = lambda done, total: None) -> Tensor:
        """Raw inputs, as `mygo_edge.data.split.Split` has them, as float32 [n, *shape] on `device`, or in main memory
        where they do not fit; `progress` hears how many of how many are done.

        Raises:
            MygoEdgeError: inputs of another kind or shape.
        """
        ...


class LearntDomain(Domain, Protocol):
    """A domain whose dreams come from generators, and whose features from layers, that are learnt by descent."""

    def layers(self) -> nn.Module:
        """New layers from dreams [batch, *shape] to features [batch, features]; random as PyTorch's state says."""
        ...

    def actor(self, classes: int, *, width: int, kind: GeneratorKind) -> nn.Module:
        """A new generator of a task's dreams, to be learnt: z and class ids -> dreams; `freeze()` makes it a memory."""
        ...

    def critic(self, classes: int) -> nn.Module:
        """What the actor learns against: dreams and class ids -> realness [batch]."""
        ...

    def augmented(self, inputs: Tensor, share: float, source: torch.Generator) -> Tensor:
        """Real inputs [batch, *shape], changed at random in a way that keeps their class; 0 changes nothing."""
        ...

    def augmented_dreams(self, dreams: DreamBatch, share: float) -> Tensor:
        """The same of dreams, where the change is part of the dream, so that every batch split gives the same."""
        ...

    def pictures(self, dreams: Tensor) -> Tensor:
        """Dreams as a person sees them: [batch, channels, height, width] in [0, 1]."""
        ...
