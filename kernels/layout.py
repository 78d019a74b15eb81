"""Which samples a call dreams, of which tasks, and where in the stream of noise."""

import itertools
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor


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

    def only(self, rows: Tensor) -> "Layout":
        """The layout of some of the rows, ascending int64."""
        task_ids = self.task_ids[rows]
        return Layout(task_ids, self.samples[rows], None if self.order is None else task_ids.argsort(stable=True), None)


_read_by_graphs: list[object] = []


def capturing(device: torch.device) -> bool:
    """Whether a CUDA graph is being captured on the device."""
    if device.type != "cuda" or torch.compiler.is_compiling():
        return False
    return torch.cuda.is_current_stream_capturing()


def hold_for_graphs(read: object, device: torch.device) -> None:
    """Keep cached tensors for good where a graph is being captured: its replays read them after a cache let them go."""
    if capturing(device):
        _read_by_graphs.append(read)


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


def position_of(seed: int | Tensor, stream: int | Tensor, step: int | Tensor, device: torch.device) -> Tensor:
    """(seed, stream, step) as an int64 tensor on the device, without waiting for it. Raises ValueError."""
    words = (seed, stream, step)
    for name, word, bits in zip(("seed", "stream", "step"), words, (64, 32, 32), strict=True):
        if not isinstance(word, Tensor) and not 0 <= word < 2**bits:
            raise ValueError(f"{name} {word} is out of range: it must be from 0 to 2^{bits} - 1")
    if capturing(device) or any(isinstance(word, Tensor) for word in words):
        # Also while a CUDA graph is captured: it would copy again, at every replay, from memory that the host has used
        # for something else by then.
        parts = [w.to(device) if isinstance(w, Tensor) else torch.full((), _signed(w), device=device) for w in words]
        return torch.stack(parts)
    host = torch.tensor([_signed(word) for word in words])  # type: ignore[arg-type]
    if device.type == "cuda" and not torch.compiler.is_compiling():
        host = host.pin_memory()  # else the copy would wait for the device
    return host.to(device, non_blocking=True)


def _signed(word: int) -> int:
    """The int64 with the bits of an unsigned 64-bit number."""
    return word - 2**64 if word >= 2**63 else word
