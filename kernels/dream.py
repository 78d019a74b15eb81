"""Dream a batch that mixes tasks and classes, from stacked generators: the public function and its operator.

A dream depends on (seed, stream, step, sample) and its task alone, never on the batch around it, the backend or the
device: class ids, decisions and z exactly, pixels up to the order of floating-point sums.
"""

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor

from mygo_edge.kernels.backend import choose_backend
from mygo_edge.kernels.dream_torch import dream_reference, image_size

MOST_SAMPLES = 2**32  # indices within a step are one Philox word


class DreamBatch(NamedTuple):
    """Dreams and where they come from.

    images: [batch, channels, height, width] in [-1, 1]; task_ids and class_ids: [batch], int64, the class counted
    within its task; decisions: two int64 words in [0, 2^32) a sample, [2, batch], free for augmentation.
    """

    images: Tensor
    task_ids: Tensor
    class_ids: Tensor
    decisions: Tensor


@dataclass(frozen=True, slots=True)
class GeneratorStack:
    """The weights of T generators of one architecture, stacked, float32.

    base_weight: [T, latent, base]; class_bias: [classes of all tasks, base], task after task; class_offsets:
    int64 [T + 1], where each task's classes start among all; base_size: height and width of the first feature map;
    weights[i]: [T, in, out, kernel, kernel] and biases[i]: [T, out] of transposed convolution i (stride 2, padding 1;
    kernels of 3 and 4). On a base of 1 x 1, a single layer whose kernel is the image: a perceptron's second layer.
    """

    base_weight: Tensor
    class_bias: Tensor
    class_offsets: Tensor
    base_size: tuple[int, int]
    weights: list[Tensor]
    biases: list[Tensor]

    def __len__(self) -> int:
        return len(self.biases[0])


class Layout(NamedTuple):
    """Which samples a call dreams: one row of the answer each.

    task_ids, samples: int64 [batch]; a sample's low 32 bits are its index within its step, its high bits the steps
    ahead. order: the rows in task-major order, None when they are so already. counts: rows of each task, where the
    host knows them, else None.
    """

    task_ids: Tensor
    samples: Tensor
    order: Tensor | None
    counts: tuple[int, ...] | None


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
        dtype: of the images; float32, float16 or bfloat16. Sums are float32.
        backend: "auto", "torch" or "triton"; see `mygo_edge.kernels.backend`.

    Raises:
        ValueError: counts, steps or part that make no sense, or numbers out of range.
        BackendError: the backend cannot run here.
    """
    device = stack.base_weight.device
    if dtype not in (torch.float32, torch.float16, torch.bfloat16):
        raise ValueError(f"dreams cannot be {dtype}: use float32, float16 or bfloat16")
    if steps < 1 or not 0 <= part[0] < part[1]:
        raise ValueError(f"cannot dream {steps} steps of part {part}: a step or more, and 0 <= rank < world")
    if isinstance(tasks, Tensor):
        if tasks.dtype != torch.int64 or tasks.ndim != 1:
            raise ValueError(f"task ids must be int64 [batch], not {tasks.dtype} {list(tasks.shape)}")
    elif len(tasks) > len(stack) or any(count < 0 for count in tasks) or sum(tasks) > MOST_SAMPLES:
        raise ValueError(f"{len(stack)} generators cannot dream counts {list(tasks)}")
    layout = layout_of(tasks, steps, part, device)
    images, class_ids, decisions = torch.ops.mygo_edge.dream(
        stack.base_weight,
        stack.class_bias,
        stack.weights,
        stack.biases,
        stack.class_offsets,
        list(stack.base_size),
        layout.task_ids,
        layout.samples,
        layout.order,
        None if layout.counts is None else list(layout.counts),
        position(seed, stream, step, device),
        dtype,
        backend or "",
    )
    return DreamBatch(images, layout.task_ids, class_ids, decisions)


def layout_of(tasks: Sequence[int] | Tensor, steps: int, part: tuple[int, int], device: torch.device) -> Layout:
    """The layout of what `dream` is asked for."""
    if isinstance(tasks, Tensor):
        return layout_of_tasks(tasks.to(device), steps, part)
    return layout_of_counts(tuple(tasks), steps, part, device)


def layout_of_counts(counts: tuple[int, ...], steps: int, part: tuple[int, int], device: torch.device) -> Layout:
    """The layout of per-task counts. Cached: a sleep asks for the same one at every step."""
    if torch.compiler.is_compiling():
        return _layout_of_counts(counts, steps, part, device)
    return _cached_layout_of_counts(counts, steps, part, device)


def _layout_of_counts(counts: tuple[int, ...], steps: int, part: tuple[int, int], device: torch.device) -> Layout:
    repeats = torch.tensor(counts, dtype=torch.int64)
    of_a_step = torch.arange(len(counts)).repeat_interleave(repeats, output_size=sum(counts))
    task_ids, samples = _spread(of_a_step, steps, part)
    order = None if steps == 1 else task_ids.argsort(stable=True).to(device)
    # How many of the indices start, start + 1, ..., end - 1 are rank modulo world.
    ends = list(itertools.accumulate(counts, initial=0))
    rank, world = part
    below = [max(0, -(-(end - rank) // world)) for end in ends]
    in_part = tuple(steps * (high - low) for low, high in itertools.pairwise(below))
    return Layout(task_ids.to(device), samples.to(device), order, in_part)


_cached_layout_of_counts = lru_cache(maxsize=64)(_layout_of_counts)


def layout_of_tasks(of_a_step: Tensor, steps: int, part: tuple[int, int]) -> Layout:
    """The layout of tasks in any order, made without waiting for the device."""
    task_ids, samples = _spread(of_a_step, steps, part)
    return Layout(task_ids, samples, task_ids.argsort(stable=True), None)


def _spread(of_a_step: Tensor, steps: int, part: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Task ids and samples of `steps` batches."""
    rank, world = part
    indices = torch.arange(len(of_a_step), device=of_a_step.device)[rank::world]
    ahead = torch.arange(steps, device=of_a_step.device) << 32
    return of_a_step[rank::world].repeat(steps), (ahead[:, None] + indices).flatten()


def position(seed: int | Tensor, stream: int | Tensor, step: int | Tensor, device: torch.device) -> Tensor:
    """(seed, stream, step) as an int64 tensor on the device, without waiting for it. Raises ValueError."""
    words = (seed, stream, step)
    for name, word, bits in zip(("seed", "stream", "step"), words, (64, 32, 32), strict=True):
        if not isinstance(word, Tensor) and not 0 <= word < 2**bits:
            raise ValueError(f"{name} {word} is out of range: it must be from 0 to 2^{bits} - 1")
    if any(isinstance(word, Tensor) for word in words):
        parts = [w.to(device) if isinstance(w, Tensor) else torch.full((), _signed(w), device=device) for w in words]
        return torch.stack(parts)
    host = torch.tensor([_signed(word) for word in words])  # type: ignore[arg-type]
    if device.type == "cuda" and not torch.compiler.is_compiling():
        host = host.pin_memory()  # else the copy would wait for the device
    return host.to(device, non_blocking=True)


def _signed(word: int) -> int:
    """The int64 with the bits of an unsigned 64-bit number."""
    return word - 2**64 if word >= 2**63 else word


@torch.library.custom_op("mygo_edge::dream", mutates_args=())
def _dream(
    base_weight: Tensor,
    class_bias: Tensor,
    weights: list[Tensor],
    biases: list[Tensor],
    class_offsets: Tensor,
    base_size: list[int],
    task_ids: Tensor,
    samples: Tensor,
    order: Tensor | None,
    counts: list[int] | None,
    position: Tensor,
    dtype: torch.dtype,
    backend: str,
) -> tuple[Tensor, Tensor, Tensor]:
    """Images [batch, channels, height, width], class ids [batch] and decisions [2, batch] of a `Layout`."""
    if choose_backend(backend or None, task_ids.device.type) == "triton":
        from mygo_edge.kernels.dream_triton import dream_triton as run
    else:
        run = dream_reference
    # Dreams are the same inside and outside of mixed precision.
    with torch.no_grad(), torch.autocast(task_ids.device.type, enabled=False):
        return run(
            base_weight, class_bias, weights, biases, class_offsets, base_size,
            task_ids, samples, order, counts, position, dtype,
        )  # fmt: skip


@_dream.register_fake
def _(base_weight, class_bias, weights, biases, class_offsets, base_size, task_ids, samples, order, counts, position, dtype, backend):  # type: ignore[no-untyped-def]  # noqa: E501  # fmt: skip
    batch = task_ids.shape[0]
    size = image_size(base_size, weights)
    images = task_ids.new_empty((batch, weights[-1].shape[2], *size), dtype=dtype)
    return images, torch.empty_like(task_ids), task_ids.new_empty((2, batch))
