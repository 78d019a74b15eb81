"""What every method of a run is: it learns tasks one after another in named phases, and answers with logits.

Everything that a method knows between two phases is in its state, so a run can stop after any of them.
"""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import torch
from torch import Tensor

from mygo_edge.data.tasks import Task
from mygo_edge.learn.phase import Phase
from mygo_edge.options import TrainOptions


class NamedPhase(NamedTuple):
    """A phase's name, the entry of `seconds` that its time counts to, and the work."""

    name: str
    account: str
    work: Callable[[Phase], None]


class Method:
    """Base of all.

    Attributes:
        options: those that the next task is learnt with.
        sleeps, memories: what summary.json says of each sleep, and of what each task's memory is worth.
    """

    name: str
    dreams = False  # whether the method has generators
    looks_back = False  # whether it may see the real data of old tasks again
    publishes = False  # whether what it knows goes to devices
    keeps = True  # whether what it knows is in its state; if not, it must learn again after a stop

    def __init__(self, options: TrainOptions, device: torch.device) -> None:
        self.options, self.device = options, device
        self.sleeps: list[dict[str, Any]] = []
        self.memories: list[dict[str, Any]] = []

    def phases(self, index: int, tasks: Sequence[Task]) -> list[NamedPhase]:
        """What to do with task `index`, in order. `tasks` is that task alone, or all up to it to look back."""
        raise NotImplementedError

    def forgetting(self, index: int, tasks: Sequence[Task]) -> list[NamedPhase]:
        """What to do to forget task `index`, in order; `tasks` are those that stay."""
        raise NotImplementedError

    def logits(self, inputs: Tensor) -> Tensor:
        """All heads' logits, [batch, classes of all tasks so far]."""
        raise NotImplementedError

    def dream(self, task: int, count: int, *, stream: int, step: int) -> tuple[Tensor, Tensor]:
        """`count` dreams of a task, [count, *shape], and their class ids. Of methods that have generators."""
        raise NotImplementedError

    def device_dreams(self, task: int, count: int, *, seed: int) -> tuple[Tensor, Tensor]:
        """The same as a device dreams them, which has one generator a task and nothing else."""
        raise NotImplementedError

    @property
    def bytes(self) -> int | None:
        """What it must keep to answer and to go on learning; None of what is published, whose files say it."""
        return None

    def state(self) -> dict[str, Tensor]:
        """All knowledge as named tensors."""
        raise NotImplementedError

    def load(self, state: dict[str, Tensor]) -> None:
        """Take over what `state` returned. Raises KeyError, ValueError or RuntimeError when it does not fit."""
        raise NotImplementedError
