"""Batches of dreams that the learner asks for, and further ones, for what is compiled and counted without a GPU."""

from dataclasses import dataclass
from itertools import accumulate

import torch

from mygo_edge.kernels import GeneratorKind
from mygo_edge.kernels.noise import LATENT
from mygo_edge.kernels.stack import GeneratorStack
from mygo_edge.model.gan import Generator
from mygo_edge.model.memory import GenerativeMemory
from mygo_edge.options import MemoryOptions

CLASSES = 2  # of a task


@dataclass(frozen=True, slots=True)
class Case:
    """`each` dreams of every one of `tasks` tasks, `steps` steps at once; `shape` is an image's, or the number of
    features; `default` marks kernels that the learner launches unless it is told otherwise. A sleep makes the dreams of
    many steps at once, so a launch has thousands in any case.
    """

    kind: GeneratorKind
    shape: tuple[int, ...]
    dtype: torch.dtype = torch.float32
    width: int = MemoryOptions().width
    tasks: int = 5
    each: int = 48
    steps: int = 8
    power: float = 0.5
    normalised: bool = False
    default: bool = False

    @property
    def name(self) -> str:
        size = "x".join(map(str, (*self.shape[1:], self.shape[0]) if len(self.shape) > 1 else self.shape))
        width = f" w{self.width}" if self.kind == "perceptron" else ""
        steps = ", 1 step" if self.steps == 1 else ""
        power = f", power {self.power}" if self.power != 0.5 else ""
        normalised = ", normalised" if self.normalised else ""
        return f"{self.kind} {size}{width} {str(self.dtype).removeprefix('torch.')}{power}{normalised}{steps}"

    @property
    def batch(self) -> int:
        return self.tasks * self.each * self.steps

    def stack(self) -> GeneratorStack:
        """Generators of random weights: what is compiled and counted does not depend on them."""
        if self.kind == "gaussian":
            return self._gaussian()
        channels, height, width = self.shape
        memory = GenerativeMemory((channels, height, width))
        for _ in range(self.tasks):
            memory.add(Generator(memory.shape, CLASSES, self.width, self.kind).eval().freeze())
        return memory.stack

    def _gaussian(self) -> GeneratorStack:
        """One factor and deviation for all tasks, as a memory of features shares them."""
        (features,) = self.shape
        return GeneratorStack(
            "gaussian",
            base_weight=torch.randn(1, LATENT, features).expand(self.tasks, -1, -1),
            class_bias=torch.randn(CLASSES * self.tasks, features),
            class_offsets=torch.tensor(list(accumulate([CLASSES] * self.tasks, initial=0))),
            deviation=torch.rand(1, features).expand(self.tasks, -1),
            power=self.power,
            non_negative=not self.normalised,
            normalised=self.normalised,
        )


DIGITS, MNIST, COLOUR = (1, 8, 8), (1, 28, 28), (3, 32, 32)
FEATURES, TEXT = (1280,), (384,)  # of EfficientNet-Lite0, and of a MiniLM


def cases() -> list[Case]:
    """The learner's default ones first."""
    found = [
        *(Case("convolutional", shape, default=True) for shape in (MNIST, DIGITS, COLOUR)),
        Case("convolutional", MNIST, steps=1, default=True),  # tasks in order already, as evaluation has them
        Case("perceptron", MNIST, width=128, default=True),  # the width that the documentation speaks of
        Case("gaussian", FEATURES, default=True),
        Case("gaussian", FEATURES, torch.bfloat16, default=True),
        Case("gaussian", TEXT, power=1.0, normalised=True, default=True),
    ]
    for dtype in (torch.bfloat16, torch.float16):
        found += [Case("convolutional", shape, dtype) for shape in (MNIST, DIGITS, COLOUR)]
    found += [Case("perceptron", MNIST, width=width) for width in (64, 256)]
    found += [Case("perceptron", MNIST, dtype, 128) for dtype in (torch.bfloat16, torch.float16)]
    for dtype in (torch.float32, torch.bfloat16, torch.float16):
        found.append(Case("perceptron", COLOUR, dtype))
        found += [Case("gaussian", TEXT, dtype, power=power) for power in (1.0, 0.3)]
        found.append(Case("gaussian", TEXT, dtype, normalised=True))
    return found
