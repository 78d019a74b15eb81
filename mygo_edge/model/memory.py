"""GenerativeMemory: the frozen generators of all tasks, stacked so that one batch of dreams may mix them."""

from collections.abc import Sequence

import torch
from torch import nn

from mygo_edge.kernels.dream import DreamBatch, GeneratorStack, dream
from mygo_edge.model.gan import FrozenGenerator
from mygo_edge.model.network import Shape


class GenerativeMemory(nn.Module):
    """Grows by one frozen generator a task; `dream` samples a batch from several tasks at once."""

    def __init__(self, shape: Shape) -> None:
        super().__init__()
        self.shape = shape
        self.generators = nn.ModuleList()
        self._stack: GeneratorStack | None = None

    def add(self, generator: FrozenGenerator) -> None:
        """Append the generator of the next task. It must dream images of this memory's shape."""
        if generator.shape != self.shape:
            raise ValueError(f"a generator of {generator.shape} images does not fit a memory of {self.shape} images")
        self.generators.append(generator)
        self._stack = None

    def __len__(self) -> int:
        return len(self.generators)

    @property
    def stack(self) -> GeneratorStack:
        """All weights, stacked on the device of the first generator."""
        if self._stack is None:
            members: list[FrozenGenerator] = list(self.generators)  # type: ignore[arg-type]
            layers = list(zip(*[member.convolutions for member in members], strict=True))
            self._stack = GeneratorStack(
                base_weight=torch.stack([member.base_weight for member in members]),
                class_bias=torch.cat([member.class_bias for member in members]),
                classes=tuple(member.classes for member in members),
                base_size=members[0].base_size,
                # Stacked so that the weight of each task is channels last.
                weights=[
                    torch.stack([weight.permute(0, 2, 3, 1) for weight, _ in layer]).permute(0, 1, 4, 2, 3)
                    for layer in layers
                ],
                biases=[torch.stack([bias for _, bias in layer]) for layer in layers],
            )
        return self._stack

    def dream(self, counts: Sequence[int], *, seed: int, stream: int, step: int) -> DreamBatch:
        """`counts[t]` dreams of every task t, in task order. See `mygo_edge.kernels.dream.dream`."""
        return dream(self.stack, counts, seed=seed, stream=stream, step=step)

    def dream_evenly(self, per_task: int, *, seed: int, stream: int, step: int) -> DreamBatch:
        """`per_task` dreams of every task."""
        return self.dream([per_task] * len(self), seed=seed, stream=stream, step=step)
