"""Modules and optimisers as flat, named tensors, for checkpoints within a phase."""

from collections.abc import Mapping

import torch
from torch import Tensor

from mygo_edge.learn.phase import Stateful


def flatten(parts: Mapping[str, Stateful]) -> dict[str, Tensor]:
    """All tensors of modules and optimisers, named `part.…`."""
    tensors: dict[str, Tensor] = {}
    for part, item in parts.items():
        if isinstance(item, torch.optim.Optimizer):
            for index, values in item.state_dict()["state"].items():
                tensors |= {f"{part}.{index}.{key}": value for key, value in values.items()}
        else:
            tensors |= {f"{part}.{key}": value for key, value in item.state_dict().items()}
    return tensors


def restore(parts: Mapping[str, Stateful], tensors: Mapping[str, Tensor]) -> None:
    """Load what `flatten` gave into modules and optimisers of the same structure, in place.

    Raises:
        KeyError, IndexError, ValueError or RuntimeError when names or shapes do not fit.
    """
    for part, item in parts.items():
        own = {key[len(part) + 1 :]: value for key, value in tensors.items() if key.startswith(part + ".")}
        if isinstance(item, torch.optim.Optimizer):
            item.load_state_dict({**item.state_dict(), "state": _optimiser_state(item, own)})
        else:
            item.load_state_dict(own)


def _optimiser_state(optimiser: torch.optim.Optimizer, own: Mapping[str, Tensor]) -> dict[int, dict[str, Tensor]]:
    """Per-parameter state by the parameter's number, averages in the memory layout of their parameter: the fused
    kernels walk both in the order of storage.
    """
    parameters = [parameter for group in optimiser.param_groups for parameter in group["params"]]
    state: dict[int, dict[str, Tensor]] = {}
    for key, value in own.items():
        index, name = key.split(".")
        like = parameters[int(index)]
        laid_out = torch.empty_like(like).copy_(value) if value.shape == like.shape else value
        state.setdefault(int(index), {})[name] = laid_out
    return state
