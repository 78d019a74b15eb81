"""Kernels are trusted on a card only after they have agreed there with PyTorch, in this process, on a tiny batch."""

import logging

import torch

from mygo_edge.kernels.dream_torch import dream_reference
from mygo_edge.kernels.layout import layout_of_counts, position_of
from mygo_edge.kernels.stack import GeneratorStack

SAMPLES = 3  # of each of the first two tasks
POSITION = (2**63 + 1, 2**32 - 1, 2**31)  # every word of seed, stream and step counts
# Relative root mean square: the kernels' rounding of operands and answers, with room.
TOLERANCE = {torch.float32: 1e-5, torch.float16: 5e-3, torch.bfloat16: 1e-2}

log = logging.getLogger(__name__)
_verdicts: dict[tuple, str] = {}  # a process has one driver, one PyTorch and one Triton


def kernels_agree(stack: GeneratorStack, dtype: torch.dtype) -> bool:
    """Whether the Triton kernels dream as PyTorch does, of this kind and size of generator on this card.

    Found out once a process, card, kind, size and dtype: milliseconds, beside compiling what is needed anyway. Where
    they do not, a warning is logged once, with the reason. While a CUDA graph is captured nothing can be found out:
    what is not known by then counts as no.
    """
    device = stack.base_weight.device
    sizes = [tuple(weight.shape[1:]) for weight in (stack.base_weight, *stack.weights)]
    key = (device, stack.kind, stack.base_size, *sizes, stack.power, stack.non_negative, dtype)
    if key not in _verdicts:
        if device.type == "cuda" and torch.cuda.is_current_stream_capturing():
            return False
        _verdicts[key] = disagreement(stack, dtype)
        if _verdicts[key]:
            log.warning("dreams are made by PyTorch, not by the Triton kernels: %s", _verdicts[key])
    return not _verdicts[key]


def disagreement(stack: GeneratorStack, dtype: torch.dtype) -> str:
    """What is wrong with the kernels' dreams on the stack's device; empty where nothing is."""
    from mygo_edge.kernels.dream_triton import dream_triton

    device = stack.base_weight.device
    layout = layout_of_counts((SAMPLES,) * min(2, len(stack)), 1, (0, 1), device)
    position = position_of(*POSITION, device)
    try:
        images, class_ids, decisions = dream_triton(stack, layout, position, dtype)
    except Exception as error:  # the compiler's and the driver's own types
        first = next(iter(str(error).strip().splitlines()), "")
        return f"{type(error).__name__}: {first[:200]}"
    with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
        wanted, wanted_ids, wanted_decisions = dream_reference(stack, layout, position, torch.float32)
    if not (torch.equal(class_ids, wanted_ids) and torch.equal(decisions, wanted_decisions)):
        return "their class ids or decisions are not those of PyTorch"
    off = (images.float() - wanted).square().mean().sqrt() / wanted.square().mean().sqrt()
    if not float(off) < TOLERANCE[dtype]:  # NaN too
        return f"their dreams are off by {float(off):.1e} (relative root mean square)"
    return ""
