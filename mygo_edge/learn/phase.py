"""A phase: one loop of training steps that can be watched, stopped and resumed.

Learning code asks `phase.steps(...)` for step numbers and knows nothing of progress bars, logs or checkpoints.
"""

import math
from collections.abc import Iterator
from typing import Protocol, TypeVar

import torch
from torch import Tensor, nn

from mygo_edge.errors import MygoEdgeError
from mygo_edge.learn.team import ALONE, Team
from mygo_edge.options import StepMode

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

    def __init__(
        self,
        device: torch.device,
        seed: int,
        label: str = "training",
        *,
        team: Team = ALONE,
        step_mode: StepMode = "auto",
    ) -> None:
        self.device = device
        self.label = label
        self.seed = seed
        self.team = team
        self.step_mode = step_mode
        self.attempt = 0  # of a phase that may start again with another seed
        self.total = 0  # steps, once they have begun

    def steps(self, total: int, **state: Stateful) -> Iterator[int]:
        """Step numbers up to `total`; `state` is all that the body changes, and what a checkpoint keeps."""
        self.total = total
        yield from range(total)

    def breathe(self) -> None:
        """Called by loops without steps: where the person in front of the run may stop it. Raises KeyboardInterrupt."""

    def note(self, text: str) -> None:
        """Tell the person in front of the run something that changes no result."""

    def log(self, step: int, **losses: Tensor) -> dict[str, float]:
        """Read the losses out, every so many steps and at the last; an empty answer between. Raises NotFiniteError."""
        if step % READ_EVERY and step + 1 != self.total:
            return {}
        values = {name: float(value.detach()) for name, value in losses.items()}
        self.require_finite(step, **values)
        return values

    def require_finite(self, step: int, **losses: float) -> None:
        """Raise NotFiniteError unless all of these are numbers."""
        if not all(map(math.isfinite, losses.values())):
            raise NotFiniteError(
                f"{self.label}: the loss is {losses} by step {step}; lower the learning rate, or use fp32"
            )


def freeze(module: Net) -> Net:
    """`module`, in inference mode and without gradients."""
    return module.eval().requires_grad_(False)
