"""A memory of Gaussians as the kernels take it: many tasks in one batch of dreams, on a GPU in one launch."""

from collections.abc import Sequence
from itertools import accumulate

import numpy as np
import torch

from mygo_edge.bundle.gaussian import ClassMeans, SharedFactor, join
from mygo_edge.kernels.stack import GeneratorStack


def gaussian_stack(tasks: Sequence[ClassMeans], shared: SharedFactor, device: torch.device) -> GeneratorStack:
    """What `mygo_edge.kernels.dream` makes the dreams of `ExactMyGO.dream` of, for all tasks.

    Args:
        tasks: class means of each.
        shared: their factor and diagonal, which every task of the stack has.
    """
    transform, count = shared.transform, len(tasks)
    factor = torch.from_numpy(shared.factor).to(device)
    deviation = torch.from_numpy(np.sqrt(shared.diagonal)).to(device)
    return GeneratorStack(
        "gaussian",
        base_weight=factor.expand(count, *factor.shape).contiguous(),
        class_bias=torch.from_numpy(join(tasks).means).to(device),
        class_offsets=torch.tensor([0, *accumulate(len(task.counts) for task in tasks)], device=device),
        deviation=deviation.expand(count, *deviation.shape).contiguous(),
        power=transform.power,
        non_negative=not transform.signed,
        normalised=transform.normalised,
    )
