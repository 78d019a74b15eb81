"""Ways to take the steps of a task's GAN."""

import itertools
import math
from contextlib import ExitStack
from typing import Any
from unittest.mock import patch

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.flop_counter import FlopCounterMode

from bench.contenders import CannotRunError, Way
from bench.contenders.dreams import DOMAIN, SHAPE
from mygo_edge.data.datasets import Split
from mygo_edge.data.tasks import Task
from mygo_edge.learn.phase import Phase
from mygo_edge.learn.pixels.memorise import GAN
from mygo_edge.model import gan
from mygo_edge.model.gan import ImageConvolution
from mygo_edge.options import MemoryOptions
from mygo_edge.run.device import multiplies_bf16

WAYS = ("PyTorch's layers", "ours", "ours, bf16", "compiled", "graph")
CHECKED_STEPS = 3
TOLERANCE = {True: 5e-2, False: 5e-3}  # of a loss, in bf16 and not


def task_of(images: int = 1024) -> Task:
    """Noise is as much work as digits."""
    source = torch.Generator().manual_seed(0)
    split = Split(torch.rand(images, *SHAPE, generator=source) * 2 - 1, torch.randint(2, (images,), generator=source))
    return Task("task0", ["a", "b"], split, split, lambda inputs: inputs)


class MemoryCase:
    """Steps with the learner's own options."""

    def __init__(self, device: torch.device) -> None:
        self.device, self.task = device, task_of()

    def way(self, name: str) -> Way:
        """Raises CannotRunError."""
        if name == "graph" and self.device.type != "cuda":
            raise CannotRunError("CUDA graphs need CUDA; not yet run on a GPU")
        if name == "ours, bf16" and self.device.type == "cpu" and not multiplies_bf16():
            raise CannotRunError("this processor has no matrix instructions for bf16")
        made, numbers = self._gan(name), itertools.count()
        return Way(lambda: step(made, next(numbers), name), lambda: self._agree(name))

    def least(self) -> dict[str, int]:
        """Floating-point operations of a step, and bytes that must move at least once."""
        made = self._gan("PyTorch's layers")
        actor, critic = (sum(weight.numel() for weight in net.parameters()) for net in (made._actor, made._critic))
        with FlopCounterMode(display=False) as counter:
            made.step(0)
        # Real images are read once; dreams are written once and read by the critic twice, their gradient written and
        # read once. Weights, gradients and Adam's two averages are read and written once, and the generator's average.
        moved = 4 * (6 * made._size * math.prod(SHAPE) + 8 * (actor + critic) + 2 * actor)
        return {"flop": counter.get_total_flops(), "bytes": moved}

    def _gan(self, name: str) -> GAN:
        made = GAN(
            self.task, DOMAIN, MemoryOptions(), Phase(self.device, 0, step_mode="graph" if name == "graph" else "eager")
        )
        if name == "compiled":
            made._actor.compile(mode="max-autotune")  # a step with two backward passes is not for torch.compile
            made._critic.compile(mode="max-autotune")
        if name == "PyTorch's layers":
            made._take = plainly(made._take)
        return made

    def _agree(self, name: str) -> None:
        """The losses of the first steps are those with PyTorch's layers. Weights say less: Adam without momentum takes
        the sign of a gradient, which rounding turns where there is hardly any.
        """
        made, expected, tolerance = self._gan(name), self._gan("PyTorch's layers"), TOLERANCE["bf16" in name]
        for number in range(CHECKED_STEPS):
            torch.testing.assert_close(
                step(made, number, name), expected.step(number), rtol=tolerance, atol=tolerance, check_dtype=False
            )


def step(made: GAN, number: int, name: str) -> tuple[Tensor, Tensor]:
    """A step as a phase of the run takes it."""
    with torch.autocast(made._device.type, torch.bfloat16, enabled="bf16" in name, cache_enabled=False):
        return made.step(number)


def transposed(kind: str, maps: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """PyTorch's own layer in place of `upsample`."""
    return F.conv_transpose2d(maps, weight, bias, stride=2, padding=1)


def plainly(step: Any) -> Any:
    """`step` without the matrix products that stand in for convolutions of images."""

    def run(*inputs: Tensor) -> Any:
        with ExitStack() as stack:
            stack.enter_context(patch.object(gan, "upsample", transposed))
            stack.enter_context(patch.object(ImageConvolution, "forward", nn.Conv2d.forward))
            return step(*inputs)

    return run
