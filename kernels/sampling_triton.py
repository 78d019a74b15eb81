"""What the kernels of dreams have in common: a tile of samples, their decisions and noise, and the first layer."""

# mypy: disallow-untyped-defs=False

from functools import lru_cache
from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from mygo_edge.kernels.layout import Layout, hold_for_graphs
from mygo_edge.kernels.noise_triton import normals_of_blocks, sample_words
from mygo_edge.kernels.stack import GeneratorStack


class Draw(NamedTuple):
    """Which samples a launch draws, and where their class ids [batch] and decisions [2, batch] go.

    tiles: int64 [tiles, 3]: task, first row, end of the task's rows, in task-major order; order: where such a row
    stands in the answer, None where it is that row.
    """

    class_ids: Any
    decisions: Any
    position: Any
    samples: Any
    order: Any
    tiles: Any
    offsets: Any
    batch: Any


class First(NamedTuple):
    """The first layer: base_weight [tasks, latent, base] and class_bias [classes, base], and their strides."""

    weight: Any
    weight_strides: Any
    bias: Any
    bias_strides: Any


def draw_of(
    stack: GeneratorStack, layout: Layout, position: Tensor, class_ids: Tensor, decisions: Tensor, rows: int
) -> Draw:
    """What the kernels draw, in tiles of up to `rows` samples."""
    if layout.counts is None:
        task_ids = layout.task_ids if layout.order is None else layout.task_ids[layout.order]
        tiles = tiles_of_tasks(task_ids, rows, len(stack))
    else:
        tiles = tiles_of_counts(layout.counts, rows, layout.samples.device)
    hold_for_graphs(tiles, layout.samples.device)
    batch = len(layout.samples)
    return Draw(class_ids, decisions, position, layout.samples, layout.order, tiles, stack.class_offsets, batch)


def first_of(stack: GeneratorStack) -> First:
    weight, bias = stack.base_weight, stack.class_bias
    return First(weight, tuple(weight.stride()), bias, tuple(bias.stride()))


@triton.jit
def tile_of(draw, number, ROWS: tl.constexpr):
    """Task of a tile, its samples' rows in the answer, int64, and which of them there are."""
    task = tl.load(draw.tiles + 3 * number)
    place = tl.load(draw.tiles + 3 * number + 1) + tl.arange(0, ROWS)
    there = place < tl.load(draw.tiles + 3 * number + 2)
    rows = place
    if draw.order is not None:
        rows = tl.load(draw.order + place, mask=there, other=0)
    return task, rows, there


@triton.jit
def decide(draw, task, rows, there, stored):
    """Draw class ids and decisions, and store them where `stored`; the rows of `class_bias`, and the counters."""
    samples = tl.load(draw.samples + rows, mask=there, other=0)
    seed, stream, index, step = sample_words(draw.position, samples)
    zeros = tl.zeros_like(index)
    word, first, second, _ = tl.philox(seed, index, zeros, step, zeros + stream)
    offset = tl.load(draw.offsets + task)
    classes = (tl.load(draw.offsets + task + 1) - offset).to(tl.uint32)
    class_ids = tl.umulhi(word, zeros + classes).to(tl.int64)
    kept = there & stored
    tl.store(draw.class_ids + rows, class_ids, mask=kept)
    tl.store(draw.decisions + rows, first.to(tl.int64), mask=kept)
    tl.store(draw.decisions + draw.batch + rows, second.to(tl.int64), mask=kept)
    return offset + class_ids, seed, stream, index, step


@triton.jit
def first_layer(
    first, task, classes, columns, valid, normals, LATENT: tl.constexpr, OPERAND: tl.constexpr, PRECISION: tl.constexpr
):
    """z (as `latent_normals` gives it) @ weight + the class's bias, for `columns` of the base: [rows, columns]."""
    blocks = 4 * tl.arange(0, normals[0].shape[1])[:, None]
    weight_ptr = first.weight + task * first.weight_strides[0] + columns[None, :] * first.weight_strides[2]
    bias = first.bias + classes[:, None] * first.bias_strides[0] + columns[None, :] * first.bias_strides[1]
    total = tl.load(bias, mask=valid[None, :], other=0.0)
    for part in tl.static_range(4):
        inside = (blocks + part < LATENT) & valid[None, :]
        weight = tl.load(weight_ptr + (blocks + part) * first.weight_strides[1], mask=inside, other=0.0)
        total = tl.dot(normals[part].to(OPERAND), weight.to(OPERAND), total, input_precision=PRECISION)
    return total


@triton.jit
def latent_normals(seed, stream, index, step, BLOCKS: tl.constexpr):
    """z of every sample: normals 4 b + i as the i-th of four blocks [rows, BLOCKS], of which LATENT / 4 count."""
    return normals_of_blocks(seed, stream, index, step, 1, BLOCKS)


@triton.jit
def tanh(x):
    """tanh from exp alone, which the interpreter has too; absolute error below 3e-7."""
    return 1.0 - 2.0 / (tl.exp(2.0 * x) + 1.0)


@lru_cache(maxsize=64)
def tiles_of_counts(counts: tuple[int, ...], size: int, device: torch.device) -> Tensor:
    """Tiles of up to `size` task-major rows, int64 [tiles, 3]: task, first row, end of the task's rows. Cached."""
    tiles, start = [], 0
    for task, count in enumerate(counts):
        tiles += [(task, first, start + count) for first in range(start, start + count, size)]
        start += count
    return torch.tensor(tiles, dtype=torch.int64).reshape(-1, 3).to(device)


def tiles_of_tasks(task_ids: Tensor, size: int, tasks: int) -> Tensor:
    """The same for sorted `task_ids`, without waiting for the device: as many tiles as there could be, some empty."""
    every = torch.arange(tasks, device=task_ids.device)
    ends = torch.searchsorted(task_ids, every, right=True)
    starts = torch.cat([torch.zeros_like(ends[:1]), ends[:-1]])
    tile_ends = ((ends - starts + size - 1) // size).cumsum(0)
    most = len(task_ids) // size + min(tasks, len(task_ids))
    number = torch.arange(most, device=task_ids.device)
    task = torch.searchsorted(tile_ends, number, right=True).clamp_(max=tasks - 1)
    before = torch.where(task > 0, tile_ends[(task - 1).clamp_(min=0)], 0)
    first = starts[task] + (number - before) * size
    return torch.stack([task, torch.minimum(first, ends[task]), ends[task]], 1)  # past the last tile: none
