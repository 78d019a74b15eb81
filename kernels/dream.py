"""Dream a batch that mixes tasks and classes, from stacked generators: the public function and its operator.

A dream depends on (seed, stream, step, sample) and its task alone, never on the batch around it, the backend or the
device: class ids, decisions and normals exactly, pixels and features up to the order of floating-point sums.
"""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from mygo_edge.kernels.agreement import kernels_agree
from mygo_edge.kernels.backend import choose_backend
from mygo_edge.kernels.dream_torch import dream_reference
from mygo_edge.kernels.layout import Layout, hold_for_graphs, layout_of_counts, layout_of_tasks, position_of
from mygo_edge.kernels.stack import GeneratorStack

MOST_SAMPLES = 2**32  # indices within a step are one Philox word


class DreamBatch(NamedTuple):
    """Dreams and where they come from.

    images: [batch, channels, height, width] in [-1, 1], or features [batch, features] of a Gaussian memory; task_ids
    and class_ids: [batch], int64, the class counted within its task; decisions: two int64 words in [0, 2^32) a sample,
    [2, batch], free for augmentation.
    """

    images: Tensor
    task_ids: Tensor
    class_ids: Tensor
    decisions: Tensor


def dream(
    stack: GeneratorStack,
    tasks: Sequence[int] | Tensor,
    *,
    seed: int | Tensor,
    stream: int | Tensor,
    step: int | Tensor,
    steps: int = 1,
    part: tuple[int, int] = (0, 1),
    dtype: torch.dtype = torch.float32,
    backend: str | None = None,
) -> DreamBatch:
    """Dream one batch, or those of several steps at once; classes are drawn uniformly.

    Args:
        stack: the generators' weights.
        tasks: how many samples of each task (in task order; zeros are allowed, and there may be fewer counts than
            tasks), or the task of every sample, int64 [batch], in any order.
        seed, stream, step: which dreams. Ints below 2^64, 2^32 and 2^32, or int64 scalars on the stack's device; a
            captured CUDA graph reads those anew at every replay.
        steps: dream the batches of `step`, `step + 1`, ... in one call, one after another in the answer.
        part: (rank, world) dreams the samples whose index is rank modulo world, in the same order.
        dtype: of the images or features; float32, float16 or bfloat16. Sums are float32.
        backend: "auto", "torch" or "triton"; see `mygo_edge.kernels.backend`.

    Raises:
        ValueError: counts, steps or part that make no sense, or numbers out of range.
        BackendError: the backend cannot run here.
    """
    layout = layout_for(stack, tasks, steps, part)
    images, class_ids, decisions = dream_rows(stack, layout, seed, stream, step, dtype, backend)
    return DreamBatch(images, layout.task_ids, class_ids, decisions)


def layout_for(stack: GeneratorStack, tasks: Sequence[int] | Tensor, steps: int, part: tuple[int, int]) -> Layout:
    """The layout of what `dream` is asked for. Raises ValueError as `dream` does."""
    device = stack.base_weight.device
    if steps < 1 or not 0 <= part[0] < part[1]:
        raise ValueError(f"cannot dream {steps} steps of part {part}: a step or more, and 0 <= rank < world")
    if isinstance(tasks, Tensor):
        if tasks.dtype != torch.int64 or tasks.ndim != 1:
            raise ValueError(f"task ids must be int64 [batch], not {tasks.dtype} {list(tasks.shape)}")
        return layout_of_tasks(tasks.to(device), steps, part)
    counts = tuple(tasks)
    if len(counts) > len(stack) or any(count < 0 for count in counts) or sum(counts) > MOST_SAMPLES:
        raise ValueError(f"{len(stack)} generators cannot dream counts {list(counts)}")
    return layout_of_counts(counts, steps, part, device)


def dream_rows(
    stack: GeneratorStack,
    layout: Layout,
    seed: int | Tensor,
    stream: int | Tensor,
    step: int | Tensor,
    dtype: torch.dtype = torch.float32,
    backend: str | None = None,
) -> tuple[Tensor, Tensor, Tensor]:
    """Images, class ids and decisions of the samples of a layout, in its order: see `dream`."""
    device = stack.base_weight.device
    if dtype not in (torch.float32, torch.float16, torch.bfloat16):
        raise ValueError(f"dreams cannot be {dtype}: use float32, float16 or bfloat16")
    position = position_of(seed, stream, step, device)
    hold_for_graphs(layout, device)
    return torch.ops.mygo_edge.dream(*flat(stack, layout), position, dtype, backend or "")


def flat(stack: GeneratorStack, layout: Layout) -> tuple:
    """A stack and a layout as the operator's schema takes them; `_grouped` is the way back."""
    return (
        stack.kind, stack.base_weight, stack.class_bias, stack.class_offsets, list(stack.base_size),
        stack.weights, stack.biases, stack.deviation, stack.power, stack.non_negative, stack.normalised,
        layout.task_ids, layout.samples, layout.order, None if layout.counts is None else list(layout.counts),
    )  # fmt: skip


@torch.library.custom_op("mygo_edge::dream", mutates_args=())
def _dream(
    kind: str,
    base_weight: Tensor,
    class_bias: Tensor,
    class_offsets: Tensor,
    base_size: list[int],
    weights: list[Tensor],
    biases: list[Tensor],
    deviation: Tensor | None,
    power: float,
    non_negative: bool,
    normalised: bool,
    task_ids: Tensor,
    samples: Tensor,
    order: Tensor | None,
    counts: list[int] | None,
    position: Tensor,
    dtype: torch.dtype,
    backend: str,
) -> tuple[Tensor, Tensor, Tensor]:
    """Images [batch, ...], class ids [batch] and decisions [2, batch] of a `Layout`."""
    stack, layout = _grouped(
        kind, base_weight, class_bias, class_offsets, base_size, weights, biases, deviation, power,
        non_negative, normalised,
        task_ids, samples, order, counts,
    )  # fmt: skip
    choice = choose_backend(backend or None, task_ids.device)
    # Dreams are the same inside and outside of mixed precision.
    with torch.no_grad(), torch.autocast(task_ids.device.type, enabled=False):
        if choice.name == "torch" or not (choice.asked_for or kernels_agree(stack, dtype)):
            return dream_reference(stack, layout, position, dtype)
        from mygo_edge.kernels.dream_triton import dream_triton

        return dream_triton(stack, layout, position, dtype)


@_dream.register_fake
def _(*arguments):  # type: ignore[no-untyped-def]
    *grouped, _, dtype, _ = arguments
    stack, layout = _grouped(*grouped)
    batch = layout.task_ids.shape[0]
    images = layout.task_ids.new_empty((batch, *stack.dream_shape), dtype=dtype)
    return images, torch.empty_like(layout.task_ids), layout.task_ids.new_empty((2, batch))


def _grouped(*flat_form):  # type: ignore[no-untyped-def]
    """The stack and the layout of `flat`."""
    kind, weight, bias, offsets, size, *rest = flat_form[:11]
    task_ids, samples, order, counts = flat_form[11:]
    stack = GeneratorStack(kind, weight, bias, offsets, tuple(size), *rest)
    return stack, Layout(task_ids, samples, order, None if counts is None else tuple(counts))
