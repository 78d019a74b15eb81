"""A sleep on vectors that is sampled: a linear student descends on dreams of all tasks, taught by the exact teacher.

It approaches the minimum that the exact sleep has (docs/exact-sleep.md), and is here to be compared with it, and for
students above a trunk that are not linear.
"""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import mse_loss

from mygo_edge.bundle.gaussian import Floats, SharedFactor
from mygo_edge.kernels import Backend
from mygo_edge.kernels.dream import dream
from mygo_edge.learn.features.gaussian_memory import GaussianMemory
from mygo_edge.learn.features.stack import gaussian_stack
from mygo_edge.learn.fit import Descent, fit
from mygo_edge.learn.phase import Phase

Classifier = tuple[Floats, Floats]  # weight [classes, features], bias [classes]


def sampled_dreams(
    memory: GaussianMemory,
    shared: SharedFactor,
    each: int,
    seed: int,
    stream: int,
    device: torch.device,
    backend: Backend | None,
) -> Callable[[int], Tensor]:
    """The dreams of a step, `each` of every task in one batch: [each x tasks, features] in the transformed space."""
    stack, counts = gaussian_stack(memory.tasks, shared, device), [each] * len(memory.tasks)

    def dreams(step: int) -> Tensor:
        batch = dream(stack, counts, seed=seed, stream=stream, step=step, backend=backend)
        return torch.from_numpy(memory.transform(batch.images.cpu().numpy()))

    return dreams


def descended(
    teacher: Classifier, dreams: Callable[[int], Tensor], centre: Floats, steps: int, peak: float, phase: Phase
) -> Classifier:
    """The classifier of a linear student that starts from nothing.

    Args:
        teacher: what it is taught.
        dreams: of a step, [batch, features] in the transformed space, the same whenever that step is asked for.
        centre: [features], about where dreams lie.
        steps: of descent.
        peak: of the learning rate.
        phase: progress and checkpoints.
    """
    weight, bias = (torch.from_numpy(part) for part in teacher)
    example, middle = dreams(0), torch.from_numpy(centre)
    deviation = (example - middle).std(0).clamp_min(1e-6)
    scale = float(torch.nn.functional.linear(example, weight, bias).std()) or 1.0
    student = nn.Linear(weight.shape[1], len(weight))
    nn.init.zeros_(student.weight)
    nn.init.zeros_(student.bias)

    def batch(step: int) -> tuple[Tensor, Tensor]:
        dreamt = dreams(step)
        with torch.autocast(dreamt.device.type, enabled=False):  # it is compared with an exact one
            return (dreamt - middle) / deviation, nn.functional.linear(dreamt, weight, bias) / scale

    def loss_of(inputs: Tensor, targets: Tensor) -> Tensor:
        with torch.autocast(inputs.device.type, enabled=False):
            return mse_loss(student(inputs), targets)

    fit(Descent(student.parameters(), loss_of, batch, steps, peak, phase, student=student), phase)
    with torch.no_grad():
        learnt = scale * student.weight / deviation
        offset = scale * student.bias - learnt @ middle
    return np.ascontiguousarray(learnt.numpy()), np.ascontiguousarray(offset.numpy())
