"""Modules and optimisers as flat, named tensors, for checkpoints within a phase."""

from collections.abc import Mapping

import torch
from torch import Tensor, nn

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
        KeyError, ValueError or RuntimeError when names or shapes do not fit.
    """
    for part, item in parts.items():
        own = {key[len(part) + 1 :]: value for key, value in tensors.items() if key.startswith(part + ".")}
        if isinstance(item, nn.Module):
            item.load_state_dict(own)
            continue
        values: dict[int, dict[str, Tensor]] = {}
        for key, value in own.items():
            index, name = key.split(".")
            values.setdefault(int(index), {})[name] = value
        item.load_state_dict({**item.state_dict(), "state": values})
