"""What all training by gradient descent on one loss shares: one-cycle Adam over a team's batches, and its loop."""

import math
from collections.abc import Callable, Iterable, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mygo_edge.learn.capture import adam, captured, compiled, set_learning_rate
from mygo_edge.learn.phase import Phase, Stateful


class Descent:
    """Steps of Adam on `loss_of(*batch(step))`, with a one-cycle learning rate.

    Args:
        loss_of: this process's share of the loss: summed over the team it is the whole.
        batch: this process's share of a step's batch; the shapes must not change.
        total: steps.
        peak: of the learning rate.
        modules: all that the steps change.

    Attributes:
        state: what the steps change, by name; what a checkpoint keeps.
    """

    def __init__(
        self,
        parameters: Iterable[Tensor],
        loss_of: Callable[..., Tensor],
        batch: Callable[[int], Sequence[Tensor]],
        total: int,
        peak: float,
        phase: Phase,
        **modules: nn.Module,
    ) -> None:
        self._parameters = list(parameters)
        self._loss_of, self._batch = compiled(loss_of, phase), batch
        self.total, self._peak, self._team = total, peak, phase.team
        self._optimiser = adam(self._parameters, peak, phase.device)
        self.state: dict[str, Stateful] = {**modules, "optimiser": self._optimiser}
        self._take = captured(self._step_on, phase, self.state)

    def step(self, number: int) -> Tensor:
        """Take one step; its loss."""
        set_learning_rate(self._optimiser, one_cycle(number, self.total, self._peak))
        return self._take(*self._batch(number))

    def _step_on(self, *inputs: Tensor) -> Tensor:
        loss = self._loss_of(*inputs)
        self._optimiser.zero_grad()
        # Gradients are of the types of the values that they are of; mixed precision around would make them all bf16.
        with torch.autocast(loss.device.type, enabled=False):
            loss.backward()
        loss = self._team.add_gradients(self._parameters, loss)
        self._optimiser.step()
        return loss.detach()


def fit(descent: Descent, phase: Phase) -> None:
    """Take all steps of a descent."""
    for step in phase.steps(descent.total, **descent.state):
        phase.log(step, loss=descent.step(step))


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


def shared_cross_entropy(logits: Tensor, labels: Tensor, batch_size: int) -> Tensor:
    """This process's share of the mean cross-entropy of a batch of `batch_size`."""
    return F.cross_entropy(logits, labels) * (len(labels) / batch_size)


def steps_for(samples: int, batch_size: int, epochs: int, min_steps: int, max_steps: int = 2**31) -> int:
    """Steps for `epochs` passes, within the bounds."""
    return min(max(epochs * (samples // batch_size), min_steps), max_steps)
