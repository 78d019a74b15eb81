"""Kernels are trusted on a card only after they have agreed there with PyTorch, in this process, on a tiny batch."""

import logging
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path

import torch

from mygo_edge.kernels.dream_torch import dream_reference
from mygo_edge.kernels.exactness import single_precision
from mygo_edge.kernels.layout import capturing, layout_of_counts, position_of
from mygo_edge.kernels.stack import GeneratorStack

SAMPLES = 3  # of each of the first two tasks
POSITION = (2**63 + 1, 2**32 - 1, 2**31)  # every word of seed, stream and step counts
# Relative root mean square: the kernels' rounding of operands and answers, with room.
TOLERANCE = {torch.float32: 1e-5, torch.float16: 5e-3, torch.bfloat16: 1e-2}
DRIVER = Path("/proc/driver/nvidia/version")  # Linux, where Triton runs

log = logging.getLogger(__name__)
_verdicts: dict[tuple, str] = {}


def kernels_agree(stack: GeneratorStack, dtype: torch.dtype) -> bool:
    """Whether the Triton kernels dream as PyTorch does, of this kind and size of generator on this card.

    Found out once a process for each card, driver, PyTorch, Triton, kind, size and dtype: milliseconds, beside
    compiling what is needed anyway. Where they do not, a warning is logged once, with the reason. While a CUDA graph is
    captured nothing can be found out: what is not known by then counts as no.
    """
    device = stack.base_weight.device
    # Strides too: the compiler makes wider loads of some.
    parts = (stack.base_weight, stack.class_bias, stack.deviation, *stack.weights)
    sizes = [(tuple(part.shape[1:]), part.stride()) for part in parts if part is not None]
    form = (stack.kind, stack.base_size, *sizes, stack.power, stack.non_negative, stack.normalised, dtype)
    key = (*surroundings(device), *form)
    if key not in _verdicts:
        if capturing(device):
            return False
        _verdicts[key] = disagreement(stack, dtype)
        if _verdicts[key]:
            log.warning("dreams are made by PyTorch, not by the Triton kernels: %s", _verdicts[key])
    return not _verdicts[key]


def surroundings(device: torch.device) -> tuple[str, ...]:
    """What a verdict holds for: the card, by its name and number, and the versions of driver, PyTorch and Triton."""
    card = [str(device)]
    if device.type == "cuda":
        properties = torch.cuda.get_device_properties(device)
        card = [properties.name, str(properties.uuid), f"{properties.major}.{properties.minor}"]
    return (*card, driver_version(), *_versions())


@lru_cache(maxsize=1)
def driver_version() -> str:
    """The NVIDIA driver's, as it says it itself; empty where it does not (a virtual machine of Windows, Jetson)."""
    try:
        return DRIVER.read_text().partition("\n")[0]
    except OSError:
        return ""


@lru_cache(maxsize=1)
def _versions() -> tuple[str, str]:
    return torch.__version__, version("triton")


def disagreement(stack: GeneratorStack, dtype: torch.dtype) -> str:
    """What is wrong with the kernels' dreams on the stack's device; empty where nothing is."""
    device = stack.base_weight.device
    layout = layout_of_counts((SAMPLES,) * min(2, len(stack)), 1, (0, 1), device)
    position = position_of(*POSITION, device)
    try:
        from mygo_edge.kernels.dream_triton import dream_triton

        images, class_ids, decisions = dream_triton(stack, layout, position, dtype)
        with single_precision():
            wanted, wanted_ids, wanted_decisions = dream_reference(stack, layout, position, torch.float32)
    except Exception as error:  # the compiler's and the driver's own types
        first = next(iter(str(error).strip().splitlines()), "")
        return f"{type(error).__name__}: {first[:200]}"
    if not (torch.equal(class_ids, wanted_ids) and torch.equal(decisions, wanted_decisions)):
        return "their class ids or decisions are not those of PyTorch"
    off = (images.float() - wanted).square().mean().sqrt() / wanted.square().mean().sqrt()
    if not float(off) < TOLERANCE[dtype]:  # NaN too
        return f"their dreams are off by {float(off):.1e} (relative root mean square)"
    return ""
