"""Where a run learns: the device, what gives the same numbers every time, and what several processes can share."""

import os

import torch

from mygo_edge.errors import MygoEdgeError
from mygo_edge.kernels.backend import BackendError, choose_backend
from mygo_edge.kernels.exactness import set_exact_arithmetic
from mygo_edge.learn.team import Team
from mygo_edge.options import TrainOptions

# Phases of what is learnt of or for dreams. Experts lose by it, and they are what sleeps cannot make better.
AS_GOOD_IN_BF16 = ("memory", "sleep", "forget")


def multiplies_bf16() -> bool:
    """Whether this processor has matrix instructions for bf16 (AMX)."""
    return bool(torch.cpu.get_capabilities().get("amx_bf16"))


def in_bf16(options: TrainOptions, device: torch.device, method: str, phase: str) -> bool:
    """Whether a method's phase runs in mixed precision. The published algorithm never does: its GAN's binary
    cross-entropy has no half-precision form.
    """
    if method == "reference" or options.precision == "fp32":
        return False
    return options.precision == "bf16" or (phase in AS_GOOD_IN_BF16 and device.type == "cpu" and multiplies_bf16())


def check_team(options: TrainOptions, team: Team) -> None:
    """Raise MygoEdgeError for what several processes cannot share."""
    if options.memory.reuse and team.size > 1:
        raise MygoEdgeError("--memory.reuse is for a single process; start without torchrun")
    sleep = options.sleep.batch_size or options.sleep.dreams_per_task
    for name, size in (("--wake.batch-size", options.wake.batch_size), ("a sleep's batch", sleep)):
        if size < team.size:
            raise MygoEdgeError(f"{name} of {size} cannot be divided among {team.size} processes; start fewer")


def choose_device(options: TrainOptions) -> torch.device:
    """The device to learn on, with deterministic kernels; under torchrun, a GPU for each process.

    Raises:
        MygoEdgeError: the device is not there, or precision, backend or step do not go with it.
    """
    if options.device == "cuda" and not torch.cuda.is_available():
        raise MygoEdgeError("--device cuda: PyTorch sees no CUDA device here; check the driver, or use --device cpu")
    name = "cuda" if options.device != "cpu" and torch.cuda.is_available() else "cpu"
    if name == "cpu" and options.precision == "bf16" and not multiplies_bf16():
        raise MygoEdgeError(
            "--precision bf16: this processor has no matrix instructions for it (AMX); use auto or fp32"
        )
    if name == "cpu" and options.step == "graph":
        raise MygoEdgeError("--step graph is for CUDA; use auto, eager or compile on the CPU")
    try:
        choose_backend(None if options.backend == "auto" else options.backend, name)
    except BackendError as error:
        raise MygoEdgeError(f"--backend {options.backend}: {error}") from error
    if name == "cpu":
        return torch.device(name)
    set_exact_arithmetic()
    place, count = int(os.environ.get("LOCAL_RANK", "0")), torch.cuda.device_count()
    if place >= count:
        raise MygoEdgeError(
            f"process {place + 1} of this machine has no GPU of its own: there are {count}; start fewer"
        )
    torch.cuda.set_device(place)
    return torch.device(name, place)
