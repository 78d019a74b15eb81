"""GenerativeMemory: the frozen generators of all tasks, stacked so that one batch of dreams may mix them."""

import itertools
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from mygo_edge.kernels.dream import DreamBatch, dream
from mygo_edge.kernels.dream_torch import noise_of
from mygo_edge.kernels.layout import layout_of_counts, layout_of_tasks, position_of
from mygo_edge.kernels.noise import LATENT
from mygo_edge.kernels.stack import GeneratorStack
from mygo_edge.model.gan import FrozenGenerator

GAUSSIAN_STREAMS = 2**31  # added to a stream's number, which stays below this


class GenerativeMemory(nn.Module):
    """Grows by one frozen generator a task; `dream` samples a batch from several tasks at once.

    Args:
        shape: of a dream, without the batch.
        backend: "auto", "torch" or "triton", for calls that name none; see `mygo_edge.kernels.backend`.
    """

    def __init__(self, shape: tuple[int, ...], backend: str | None = None) -> None:
        super().__init__()
        self.shape, self.backend = shape, backend
        self.generators = nn.ModuleList()
        self._stack: GeneratorStack | None = None

    def add(self, generator: FrozenGenerator) -> None:
        """Append the generator of the next task. It must dream images of this memory's shape."""
        if generator.shape != self.shape:
            raise ValueError(f"a generator of {generator.shape} images does not fit a memory of {self.shape} images")
        first = self.generators[0] if len(self) else generator
        if generator.kind != first.kind or generator.base_weight.shape != first.base_weight.shape:
            raise ValueError("a memory's generators must be of one kind, architecture and width")
        self.generators.append(generator)
        self._stack = None

    def _apply(self, fn: Any, recurse: bool = True) -> "GenerativeMemory":
        self._stack = None  # it is made of the weights as they were, where they were
        return super()._apply(fn, recurse)

    def __len__(self) -> int:
        return len(self.generators)

    @property
    def members(self) -> list[FrozenGenerator]:
        """The generators, in task order."""
        return list(self.generators)  # type: ignore[arg-type]

    @property
    def stack(self) -> GeneratorStack:
        """All weights, stacked on the device of the first generator."""
        if self._stack is None:
            members = self.members
            layers = list(zip(*[member.convolutions for member in members], strict=True))
            first = members[0]
            self._stack = GeneratorStack(
                kind=first.kind,
                base_weight=torch.stack([_channels_last(member.base_weight, first.base_size) for member in members]),
                class_bias=torch.cat([_channels_last(member.class_bias, first.base_size) for member in members]),
                class_offsets=torch.tensor(
                    list(itertools.accumulate((member.classes for member in members), initial=0)),
                    device=first.base_weight.device,
                ),
                base_size=first.base_size,
                # Stacked so that the weight of each task is channels last.
                weights=[
                    torch.stack([weight.permute(0, 2, 3, 1) for weight, _ in layer]).permute(0, 1, 4, 2, 3)
                    for layer in layers
                ],
                biases=[torch.stack([bias for _, bias in layer]) for layer in layers],
            )
        return self._stack

    def dream(
        self,
        tasks: Sequence[int] | Tensor,
        *,
        seed: int | Tensor,
        stream: int | Tensor,
        step: int | Tensor,
        steps: int = 1,
        part: tuple[int, int] = (0, 1),
        dtype: torch.dtype = torch.float32,
        backend: str | None = None,
    ) -> DreamBatch:
        """`tasks[t]` dreams of every task t, in task order. See `mygo_edge.kernels.dream.dream`.

        Of a task that has Gaussians, too, some dreams are theirs: which ones is part of the dream.
        """
        batch = dream(
            self.stack,
            tasks,
            seed=seed,
            stream=stream,
            step=step,
            steps=steps,
            part=part,
            dtype=dtype,
            backend=backend or self.backend,
        )
        seconds = {task: member.gaussians for task, member in enumerate(self.members) if member.gaussians is not None}
        if not seconds:
            return batch
        device = batch.task_ids.device
        if isinstance(tasks, Tensor):
            samples = layout_of_tasks(tasks.to(device), steps, part).samples
        else:
            samples = layout_of_counts(tuple(tasks), steps, part, device).samples
        # In a stream of their own, so that which memory dreams does not depend on what is dreamt.
        position = position_of(seed, stream + GAUSSIAN_STREAMS, step, device)
        z, _, words = noise_of(samples, torch.ones_like(samples), LATENT, position)
        for task, second in seconds.items():
            rows = ((batch.task_ids == task) & (words[0] < second.chosen)).nonzero()[:, 0]
            images = second(z[rows], batch.class_ids[rows], words[1, rows], self.shape)
            batch.images[rows] = images.to(batch.images.dtype)
        return batch


def _channels_last(rows: Tensor, base_size: tuple[int, int]) -> Tensor:
    """Rows of [channels, height, width] as rows of [height, width, channels]."""
    return rows.unflatten(1, (-1, *base_size)).permute(0, 2, 3, 1).flatten(1)
