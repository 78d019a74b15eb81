"""Which domain a learner works in: chosen by its first data, kept for good."""

from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from mygo_edge.domains.domain import Domain
from mygo_edge.domains.pixels import Pixels
from mygo_edge.errors import MygoEdgeError
from mygo_edge.options import TrainOptions


def domain_for(inputs: Any, options: TrainOptions) -> Domain:
    """The domain for raw `inputs`. Raises MygoEdgeError where there is none."""
    if not isinstance(inputs, Tensor):
        raise MygoEdgeError("pictures and texts as they are need a frozen trunk; name one with --trunk")
    return _pixels(inputs.shape[1:])


def domain_of_state(state: Mapping[str, Any], options: TrainOptions) -> Domain:
    """The domain of a checkpoint. Raises KeyError, TypeError or ValueError when it is damaged."""
    if state["domain"] != "pixels":
        raise ValueError(f"unknown domain {state['domain']!r}")
    return _pixels(state["shape"])


def _pixels(shape: Sequence[int]) -> Pixels:
    channels, height, width = map(int, shape)
    return Pixels((channels, height, width))
