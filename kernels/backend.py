"""Which implementation of an operator runs: PyTorch's or Triton's. Imports no triton."""

import os
from functools import lru_cache
from importlib.util import find_spec
from typing import NamedTuple, get_args

import torch

from mygo_edge.kernels import Backend

BACKENDS: tuple[str, ...] = get_args(Backend)
VARIABLE = "MYGO_EDGE_BACKEND"  # used where no backend is asked for by argument
LEAST_CAPABILITY = (8, 0)  # the oldest NVIDIA generation that the kernels are written for (Ampere)


class BackendError(RuntimeError):
    """The backend that was asked for is unknown or cannot run here."""


class Choice(NamedTuple):
    """The backend that runs, "torch" or "triton"; why; and whether it was asked for by name."""

    name: str
    reason: str
    asked_for: bool


def choose_backend(asked: str | None, device: torch.device | str) -> Choice:
    """`asked`, else MYGO_EDGE_BACKEND, else what suits the device.

    Args:
        asked: "auto", "torch", "triton" or None.
        device: where the tensors are.

    Raises:
        BackendError: the name is unknown, or the backend cannot run here; it says why. Nothing falls back silently.
    """
    device = torch.device(device)
    source = "the backend argument" if asked else VARIABLE
    name = asked or os.environ.get(VARIABLE) or "auto"
    if name not in BACKENDS:
        raise BackendError(f"{source} is {name!r}; it must be one of {', '.join(BACKENDS)}")
    if name == "torch":
        return Choice(name, f"asked for by {source}", True)
    obstacle = _obstacle(device, interpreted=os.environ.get("TRITON_INTERPRET") == "1")
    if name == "triton":
        if obstacle:
            raise BackendError(f"{source} asks for triton, but {obstacle}; use torch or auto")
        return Choice(name, f"asked for by {source}", True)
    if device.type != "cuda":
        return Choice("torch", f"the Triton kernels are for CUDA, and the tensors are on {device.type}", False)
    return Choice("torch", obstacle, False) if obstacle else Choice("triton", "CUDA and Triton are there", False)


def _obstacle(device: torch.device, *, interpreted: bool) -> str:
    """Why Triton cannot run on tensors of this device; empty when it can."""
    if find_spec("triton") is None:
        return "the package triton is not installed"
    if device.type == "cuda":
        return _cuda_obstacle(device)
    if device.type == "cpu" and interpreted:
        return ""  # for tests: every kernel runs in numpy
    return f"the tensors are on {device.type}, where Triton runs only as an interpreter (TRITON_INTERPRET=1, for tests)"


@lru_cache
def _cuda_obstacle(device: torch.device) -> str:
    if not torch.cuda.is_available():
        return "this machine has no usable CUDA device"
    capability = torch.cuda.get_device_capability(device)
    if capability < LEAST_CAPABILITY:
        return f"the GPU has compute capability {capability[0]}.{capability[1]}, below 8.0"
    return ""
