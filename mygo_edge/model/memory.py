"""GenerativeMemory: the frozen generators of all tasks, stacked so that one batch of dreams may mix them."""

import itertools
from collections.abc import Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from mygo_edge.kernels.dream import DreamBatch, dream_rows, layout_for
from mygo_edge.kernels.dream_torch import noise_of
from mygo_edge.kernels.layout import position_of
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
        layout = layout_for(self.stack, tasks, steps, part)
        backend = backend or self.backend
        generated = partial(dream_rows, self.stack, seed=seed, stream=stream, step=step, dtype=dtype, backend=backend)
        if all(member.gaussians is None for member in self.members):
            images, class_ids, decisions = generated(layout)
            return DreamBatch(images, layout.task_ids, class_ids, decisions)
        task_ids, samples = layout.task_ids, layout.samples
        device = task_ids.device
        classes = self.stack.class_offsets.diff()[task_ids]
        _, class_ids, decisions = noise_of(samples, classes, 0, position_of(seed, stream, step, device))
        # In a stream of their own, so that which memory dreams does not depend on what is dreamt.
        position = position_of(seed, stream + GAUSSIAN_STREAMS, step, device)
        which, where = noise_of(samples, torch.ones_like(samples), 0, position)[2]  # words
        seconds = [member.gaussians for member in self.members]
        chosen = torch.stack([samples.new_zeros(()) if second is None else second.chosen for second in seconds])
        theirs = which < chosen[task_ids]
        images = torch.empty((len(samples), *self.shape), dtype=dtype, device=device)
        if len(rows := (~theirs).nonzero()[:, 0]):
            images[rows] = generated(layout.only(rows))[0]
        for task, second in enumerate(seconds):
            rows = (theirs & (task_ids == task)).nonzero()[:, 0]
            if second is not None and len(rows):
                z, _, _ = noise_of(samples[rows], torch.ones_like(rows), LATENT, position)
                images[rows] = second(z, class_ids[rows], where[rows], self.shape).to(dtype)
        return DreamBatch(images, task_ids, class_ids, decisions)


def _channels_last(rows: Tensor, base_size: tuple[int, int]) -> Tensor:
    """Rows of [channels, height, width] as rows of [height, width, channels]."""
    return rows.unflatten(1, (-1, *base_size)).permute(0, 2, 3, 1).flatten(1)
