"""A phase: one loop of training steps that can be watched, stopped and resumed.

Learning code asks `phase.steps(...)` for step numbers and knows nothing of progress bars, logs or checkpoints.
"""

import math
from collections.abc import Iterator
from typing import Protocol, TypeVar

import torch
from torch import Tensor, nn

from mygo_edge.errors import MygoEdgeError

Net = TypeVar("Net", bound=nn.Module)

READ_EVERY = 50  # steps between two read-outs of the losses: each makes the host wait for the device


class NotFiniteError(MygoEdgeError):
    """A loss became NaN or infinite."""


class Stateful(Protocol):
    """Modules and optimisers."""

    def state_dict(self) -> dict: ...
    def load_state_dict(self, state_dict: dict) -> object: ...


class Phase:
    """The plain phase: no progress, no checkpoints. `mygo_edge.run` has the one that a run uses."""

    def __init__(self, device: torch.device, seed: int, label: str = "training") -> None:
        self.device = device
        self.label = label
        self.seed = seed
        self.attempt = 0  # of a phase that may start again with another seed

    def steps(self, total: int, **state: Stateful) -> Iterator[int]:
        """Step numbers up to `total`; `state` is all that the body changes, and what a checkpoint keeps."""
        yield from range(total)

    def log(self, step: int, **losses: Tensor) -> dict[str, float]:
        """Read the losses out, every so many steps; an empty answer in between. Raises NotFiniteError."""
        if step % READ_EVERY:
            return {}
        values = {name: float(value.detach()) for name, value in losses.items()}
        if not all(map(math.isfinite, values.values())):
            raise NotFiniteError(
                f"{self.label}: the loss is {values} by step {step}; lower the learning rate, or use fp32"
            )
        return values


def one_cycle(step: int, total: int, peak: float) -> float:
    """Learning rate of a step: up from peak / 25 over the first 30 %, then down to nearly 0, along cosines
    (Smith & Topin 2019, with PyTorch's defaults).
    """
    rise = 0.3 * total
    start, end = peak / 25, peak / 25e4
    if step < rise:
        low, high, progress = start, peak, step / rise
    else:
        low, high, progress = peak, end, (step - rise) / max(1.0, total - rise)
    return low + (high - low) * (1 - math.cos(math.pi * min(1.0, progress))) / 2


def set_learning_rate(optimiser: torch.optim.Optimizer, value: float) -> None:
    for group in optimiser.param_groups:
        group["lr"] = value


def steps_for(samples: int, batch_size: int, epochs: int, min_steps: int, max_steps: int = 2**31) -> int:
    """Steps for `epochs` passes, within the bounds."""
    return min(max(epochs * (samples // batch_size), min_steps), max_steps)


def freeze(module: Net) -> Net:
    """`module`, in inference mode and without gradients."""
    return module.eval().requires_grad_(False)
