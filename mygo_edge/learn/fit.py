"""The loop that all training by gradient descent on one loss shares: one-cycle Adam over a team's batches."""

import math
from collections.abc import Callable, Iterable, Sequence

import torch.nn.functional as F
from torch import Tensor, nn

from mygo_edge.learn.capture import adam, captured, compiled, set_learning_rate
from mygo_edge.learn.phase import Phase, Stateful


def fit(
    parameters: Iterable[Tensor],
    loss_of: Callable[..., Tensor],
    batch: Callable[[int], Sequence[Tensor]],
    total: int,
    peak: float,
    phase: Phase,
    **modules: nn.Module,
) -> None:
    """Take `total` steps of Adam on `loss_of(*batch(step))`.

    Args:
        loss_of: this process's share of the loss: summed over the team it is the whole.
        batch: this process's share of a step's batch; the shapes must not change.
        peak: of the one-cycle learning rate.
        modules: all that the steps change.
    """
    trained = list(parameters)
    optimiser = adam(trained, peak, phase.device)
    state: dict[str, Stateful] = {**modules, "optimiser": optimiser}
    loss_of = compiled(loss_of, phase)

    def step_on(*inputs: Tensor) -> Tensor:
        loss = loss_of(*inputs)
        optimiser.zero_grad()
        loss.backward()
        loss = phase.team.add_gradients(trained, loss)
        optimiser.step()
        return loss.detach()

    take = captured(step_on, phase, state)
    for step in phase.steps(total, **state):
        set_learning_rate(optimiser, one_cycle(step, total, peak))
        phase.log(step, loss=take(*batch(step)))


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
