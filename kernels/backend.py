"""Which implementation of an operator runs: PyTorch's or Triton's. Imports no triton."""

import os
from functools import lru_cache
from importlib.util import find_spec
from typing import get_args

import torch

from mygo_edge.kernels import Backend

BACKENDS: tuple[str, ...] = get_args(Backend)
VARIABLE = "MYGO_EDGE_BACKEND"  # used where no backend is asked for by argument
LEAST_CAPABILITY = (8, 0)  # the oldest NVIDIA generation that the kernels are written for (Ampere)


class BackendError(RuntimeError):
    """The backend that was asked for is unknown or cannot run here."""


def choose_backend(asked: str | None, device: torch.device | str) -> str:
    """The backend that runs, "torch" or "triton": `asked`, else MYGO_EDGE_BACKEND, else what suits the device.

    Args:
        asked: "auto", "torch", "triton" or None.
        device: where the tensors are.

    Raises:
        BackendError: the name is unknown, or the backend cannot run here; it says why. Nothing falls back silently.
    """
    return _decide(asked, torch.device(device).type)[0]


def explain_backend(asked: str | None = None, device_type: str | None = None) -> str:
    """One line: which backend runs and why, for `asked` on a device (CUDA where there is one). Never raises."""
    device_type = device_type or ("cuda" if torch.cuda.is_available() else "cpu")
    try:
        backend, reason = _decide(asked, device_type)
    except BackendError as error:
        return f"none on {device_type}: {error}"
    return f"{backend} on {device_type}: {reason}"


def _decide(asked: str | None, device_type: str) -> tuple[str, str]:
    """Backend and reason."""
    source = "the backend argument" if asked else VARIABLE
    name = asked or os.environ.get(VARIABLE) or "auto"
    if name not in BACKENDS:
        raise BackendError(f"{source} is {name!r}; it must be one of {', '.join(BACKENDS)}")
    if name == "torch":
        return name, f"asked for by {source}"
    obstacle = _obstacle(device_type, interpreted=os.environ.get("TRITON_INTERPRET") == "1")
    if name == "triton":
        if obstacle:
            raise BackendError(f"{source} asks for triton, but {obstacle}; use torch or auto")
        return name, f"asked for by {source}"
    if device_type != "cuda":
        return "torch", f"the Triton kernels are for CUDA, and the tensors are on {device_type}"
    return ("torch", obstacle) if obstacle else ("triton", "CUDA and Triton are there")


def _obstacle(device_type: str, *, interpreted: bool) -> str:
    """Why Triton cannot run on tensors of this device; empty when it can."""
    if find_spec("triton") is None:
        return "the package triton is not installed"
    if device_type == "cuda":
        return _cuda_obstacle()
    if device_type == "cpu" and interpreted:
        return ""  # for tests: every kernel runs in numpy
    return f"the tensors are on {device_type}, where Triton runs only as an interpreter (TRITON_INTERPRET=1, for tests)"


@lru_cache
def _cuda_obstacle() -> str:
    if not torch.cuda.is_available():
        return "this machine has no usable CUDA device"
    capability = torch.cuda.get_device_capability()
    if capability < LEAST_CAPABILITY:
        return f"the GPU has compute capability {capability[0]}.{capability[1]}, below 8.0"
    return ""
