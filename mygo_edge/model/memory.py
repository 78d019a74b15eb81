"""GenerativeMemory: the frozen generators of all tasks, stacked so that one batch of dreams may mix them."""

import itertools
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from mygo_edge.kernels.dream import DreamBatch, GeneratorStack, dream, layout_of, position
from mygo_edge.kernels.dream_torch import noise_of
from mygo_edge.model.gan import LATENT, FrozenGenerator
from mygo_edge.model.network import Shape

GAUSSIAN_STREAMS = 2**31  # added to a stream's number, which stays below this


class GenerativeMemory(nn.Module):
    """Grows by one frozen generator a task; `dream` samples a batch from several tasks at once.

    Args:
        shape: channels, height and width of the images.
        backend: "auto", "torch" or "triton", for calls that name none; see `mygo_edge.kernels.backend`.
    """

    def __init__(self, shape: Shape, backend: str | None = None) -> None:
        super().__init__()
        self.shape, self.backend = shape, backend
        self.generators = nn.ModuleList()
        self._stack: GeneratorStack | None = None

    def add(self, generator: FrozenGenerator) -> None:
        """Append the generator of the next task. It must dream images of this memory's shape."""
        if generator.shape != self.shape:
            raise ValueError(f"a generator of {generator.shape} images does not fit a memory of {self.shape} images")
        if len(self) and generator.base_weight.shape != self.generators[0].base_weight.shape:
            raise ValueError("a memory's generators must be of one architecture and width")
        self.generators.append(generator)
        self._stack = None

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
            self._stack = GeneratorStack(
                base_weight=torch.stack([member.base_weight for member in members]),
                class_bias=torch.cat([member.class_bias for member in members]),
                class_offsets=torch.tensor(
                    list(itertools.accumulate((member.classes for member in members), initial=0)),
                    device=members[0].base_weight.device,
                ),
                base_size=members[0].base_size,
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
        layout = layout_of(tasks, steps, part, device)
        # In a stream of their own, so that which memory dreams does not depend on what is dreamt.
        place = position(seed, stream + GAUSSIAN_STREAMS, step, device)
        z, _, words = noise_of(layout.samples, torch.ones_like(layout.samples), LATENT, place)
        for task, second in seconds.items():
            rows = ((batch.task_ids == task) & (words[0] < second.chosen)).nonzero()[:, 0]
            images = second(z[rows], batch.class_ids[rows], words[1, rows], self.shape)
            batch.images[rows] = images.to(batch.images.dtype)
        return batch
