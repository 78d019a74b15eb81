"""Dreams of convolutional generators: the first launch makes noise, class and first layer, and every transposed
convolution is one launch with its activation, over chunks of tiles whose hidden maps stay in the L2 cache.
"""

# mypy: disallow-untyped-defs=False

from collections.abc import Iterator
from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch import Tensor

from mygo_edge.kernels.launch import MOST_PROGRAMS, Launch
from mygo_edge.kernels.sampling_triton import Draw, decide, first_layer, first_of, latent_normals, tanh, tile_of
from mygo_edge.kernels.stack import GeneratorStack, upsampled
from mygo_edge.kernels.tiling import base_tile, chunk_tiles, image_tile, upsample_tile


class Layer(NamedTuple):
    """A transposed convolution, [tasks, in, out, rows, columns] and [tasks, out], and sizes of its maps."""

    weight: Any
    weight_strides: Any
    bias: Any
    bias_strides: Any
    channels: Any
    out_channels: Any
    kernel_rows: Any
    kernel_columns: Any
    height: Any
    width: Any
    out_height: Any
    out_width: Any


@triton.jit(do_not_specialize=["first_tile"])
def _base_kernel(
    maps_ptr, draw, first, first_tile, base,
    LATENT: tl.constexpr, BLOCKS: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
    OPERAND: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """The first feature map of every sample of a chunk, [tiles x ROWS, base]. Programs (block of columns, tile)."""
    number = tl.program_id(1)
    task, rows, there = tile_of(draw, first_tile + number, ROWS)
    classes, seed, stream, index, step = decide(draw, task, rows, there, tl.program_id(0) == 0)
    normals = latent_normals(seed, stream, index, step, BLOCKS)
    columns = tl.program_id(0) * COLUMNS + tl.arange(0, COLUMNS)
    valid = columns < base
    maps = first_layer(first, task, classes, columns, valid, normals, LATENT, OPERAND, PRECISION)
    slots = number.to(tl.int64) * ROWS + tl.arange(0, ROWS)
    out = maps_ptr + slots[:, None] * base + columns[None, :]
    tl.store(out, tl.maximum(maps, 0.0).to(maps_ptr.dtype.element_ty), mask=there[:, None] & valid[None, :])


@triton.jit
def _positions(draw, number, layer, first_tile, SAMPLES: tl.constexpr, ROWS: tl.constexpr):
    """Task, first row and samples of a tile; sample, map row and map column of this program's positions."""
    tile = draw.tiles + 3 * (first_tile + number)
    first = tl.load(tile + 1)
    there = tl.minimum(tl.load(tile + 2) - first, SAMPLES)
    area = layer.height * layer.width
    flat = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    return tl.load(tile), first, there, flat // area, flat % area // layer.width, flat % layer.width


@triton.jit(do_not_specialize=["first_tile"])
def _upsample_kernel(
    out_ptr, maps_ptr, draw, layer, first_tile,
    SAMPLES: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr, DEPTH: tl.constexpr,
    OPERAND: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """A transposed convolution (stride 2, padding 1) with ReLU, channels last.

    Output pixel (2 m + p, 2 n + q) of phase (p, q) sees the 2 x 2 inputs (m + p - a, n + q - b) through the kernel's
    (1 - p + 2 a, 1 - q + 2 b), a and b in {0, 1}: four dense products, one a phase, each a program's.
    Programs (block of positions, tile, phase and block of columns).
    """
    number = tl.program_id(1)
    task, _, there, sample, m, n = _positions(draw, number, layer, first_tile, SAMPLES, ROWS)
    if tl.program_id(0) * ROWS >= there * layer.height * layer.width:
        return  # the tile is not full
    p, q = tl.program_id(2) % 4 // 2, tl.program_id(2) % 2
    columns = tl.program_id(2) // 4 * COLUMNS + tl.arange(0, COLUMNS)
    inside, valid = sample < there, columns < layer.out_channels
    slot = number.to(tl.int64) * SAMPLES + sample
    bias = layer.bias + task * layer.bias_strides[0] + columns * layer.bias_strides[1]
    total = tl.zeros([ROWS, COLUMNS], tl.float32) + tl.load(bias, mask=valid, other=0.0)[None, :]
    task_weight = layer.weight + task * layer.weight_strides[0]
    for tap in range(4):
        a, b = tap // 2, tap % 2
        row, column = m + p - a, n + q - b
        kernel_row, kernel_column = 1 - p + 2 * a, 1 - q + 2 * b
        seen = inside & (row >= 0) & (row < layer.height) & (column >= 0) & (column < layer.width)
        exists = (kernel_row < layer.kernel_rows) & (kernel_column < layer.kernel_columns)  # of 3 there is no last tap
        limit = layer.channels * exists.to(tl.int32)
        source = maps_ptr + ((slot * layer.height + row) * layer.width + column) * layer.channels
        weights = task_weight + kernel_row * layer.weight_strides[3] + kernel_column * layer.weight_strides[4]
        for start in range(0, limit, DEPTH):
            channel = start + tl.arange(0, DEPTH)
            known = channel < limit
            x = tl.load(source[:, None] + channel[None, :], mask=seen[:, None] & known[None, :], other=0.0)
            w = weights + channel[:, None] * layer.weight_strides[1] + columns[None, :] * layer.weight_strides[2]
            w = tl.load(w, mask=known[:, None] & valid[None, :], other=0.0)
            total = tl.dot(x.to(OPERAND), w.to(OPERAND), total, input_precision=PRECISION)
    out_row, out_column = 2 * m + p, 2 * n + q
    fits = inside & (out_row < layer.out_height) & (out_column < layer.out_width)
    out = ((slot * layer.out_height + out_row) * layer.out_width + out_column) * layer.out_channels
    out = out_ptr + out[:, None] + columns[None, :]
    tl.store(out, tl.maximum(total, 0.0).to(out_ptr.dtype.element_ty), mask=fits[:, None] & valid[None, :])


@triton.jit(do_not_specialize=["first_tile"])
def _image_kernel(
    images_ptr, maps_ptr, draw, layer, first_tile, SAMPLES: tl.constexpr, ROWS: tl.constexpr, DEPTH: tl.constexpr
):
    """The last transposed convolution with tanh, to the samples' rows of the images, channels first.

    An image has so few channels that matrix units would be idle: a program makes one channel, all four phases from the
    3 x 3 inputs that they see, and stores pairs of neighbouring pixels. Programs (block of positions, tile, channel).
    """
    number, out_channel = tl.program_id(1), tl.program_id(2)
    task, first, there, sample, m, n = _positions(draw, number, layer, first_tile, SAMPLES, ROWS)
    if tl.program_id(0) * ROWS >= there * layer.height * layer.width:
        return  # the tile is not full
    inside = sample < there
    slot = number.to(tl.int64) * SAMPLES + sample
    bias_ptr = layer.bias + task * layer.bias_strides[0] + out_channel * layer.bias_strides[1]
    bias = tl.load(bias_ptr)
    top_left = tl.zeros([ROWS, DEPTH], tl.float32)
    top_right, bottom_left, bottom_right = top_left, top_left, top_left
    weights = layer.weight + task * layer.weight_strides[0] + out_channel * layer.weight_strides[2]
    for start in range(0, layer.channels, DEPTH):
        channel = start + tl.arange(0, DEPTH)
        known = channel < layer.channels
        at = weights + channel * layer.weight_strides[1]
        for down in tl.static_range(-1, 2):
            for right in tl.static_range(-1, 2):
                row, column = m + down, n + right
                seen = inside & (row >= 0) & (row < layer.height) & (column >= 0) & (column < layer.width)
                source = maps_ptr + ((slot * layer.height + row) * layer.width + column) * layer.channels
                x = tl.load(source[:, None] + channel[None, :], mask=seen[:, None] & known[None, :], other=0.0)
                x = x.to(tl.float32)
                if down < 1 and right < 1:
                    top_left += x * _tap(at, known, layer, 1 - 2 * down, 1 - 2 * right)
                if down < 1 and right > -1:
                    top_right += x * _tap(at, known, layer, 1 - 2 * down, 2 - 2 * right)
                if down > -1 and right < 1:
                    bottom_left += x * _tap(at, known, layer, 2 - 2 * down, 1 - 2 * right)
                if down > -1 and right > -1:
                    bottom_right += x * _tap(at, known, layer, 2 - 2 * down, 2 - 2 * right)
    place = first + sample
    rows = place
    if draw.order is not None:
        rows = tl.load(draw.order + place, mask=inside, other=0)
    out = ((rows * layer.out_channels + out_channel) * layer.out_height + 2 * m) * layer.out_width + 2 * n
    pair = tl.arange(0, 2)[None, :]
    out = images_ptr + out[:, None] + pair
    fits = inside[:, None] & (2 * n[:, None] + pair < layer.out_width)
    kind = images_ptr.dtype.element_ty
    top = tl.join(tl.sum(top_left, 1), tl.sum(top_right, 1)) + bias
    bottom = tl.join(tl.sum(bottom_left, 1), tl.sum(bottom_right, 1)) + bias
    tl.store(out, tanh(top).to(kind), mask=fits)
    tl.store(out + layer.out_width, tanh(bottom).to(kind), mask=fits & (2 * m + 1 < layer.out_height)[:, None])


@triton.jit
def _tap(weights, known, layer, kernel_row, kernel_column):
    """A tap's weights of all channels, [1, DEPTH]; zeros where the kernel is too small for it."""
    exists = known & (kernel_row < layer.kernel_rows) & (kernel_column < layer.kernel_columns)
    at = weights + kernel_row * layer.weight_strides[3] + kernel_column * layer.weight_strides[4]
    return tl.load(at, mask=exists, other=0.0)[None, :]


def layers_of(stack: GeneratorStack) -> list[Layer]:
    layers, (height, width) = [], stack.base_size
    for weight, bias in zip(stack.weights, stack.biases, strict=True):
        out = upsampled((height, width), weight)
        _, channels, out_channels, rows, columns = weight.shape
        sizes = channels, out_channels, rows, columns, height, width, *out
        layers.append(Layer(weight, tuple(weight.stride()), bias, tuple(bias.stride()), *sizes))
        height, width = out
    return layers


def convolution_launches(
    stack: GeneratorStack, draw: Draw, images: Tensor, target: int, arithmetic: dict[str, Any]
) -> Iterator[Launch]:
    """Chunk by chunk: the base, then one launch a layer."""
    single = images.dtype == torch.float32
    base = stack.base_weight.shape[2]
    hidden = torch.float32 if single else torch.float16
    first, layers = first_of(stack), layers_of(stack)
    *inner, last = layers
    start = base_tile(target, single, base)
    numbers = base + sum(layer.out_height * layer.out_width * layer.out_channels for layer in inner)
    chunk = min(chunk_tiles(numbers * hidden.itemsize, start.rows), MOST_PROGRAMS)
    products = {key: arithmetic[key] for key in ("OPERAND", "PRECISION")}
    for first_tile in range(0, len(draw.tiles), chunk):
        count = min(chunk, len(draw.tiles) - first_tile)
        maps = images.new_empty((count * start.rows, base), dtype=hidden)
        yield Launch(
            _base_kernel,
            (triton.cdiv(base, start.columns), count),
            (maps, draw, first, first_tile, base),
            {**arithmetic, "ROWS": start.rows, "COLUMNS": start.columns, **start.how},
        )
        for layer in inner:
            tile = upsample_tile(target, single, layer.channels, layer.out_channels)
            out = images.new_empty((len(maps), layer.out_height * layer.out_width * layer.out_channels), dtype=hidden)
            blocks = triton.cdiv(start.rows * layer.height * layer.width, tile.rows)
            sizes = {"SAMPLES": start.rows, "ROWS": tile.rows, "COLUMNS": tile.columns, "DEPTH": tile.depth}
            yield Launch(
                _upsample_kernel,
                (blocks, count, 4 * triton.cdiv(layer.out_channels, tile.columns)),
                (out, maps, draw, layer, first_tile),
                {**products, **sizes, **tile.how},
            )
            maps = out
        tile = image_tile(target, last.channels)
        blocks = triton.cdiv(start.rows * last.height * last.width, tile.rows)
        yield Launch(
            _image_kernel,
            (blocks, count, last.out_channels),
            (images, maps, draw, last, first_tile),
            {"SAMPLES": start.rows, "ROWS": tile.rows, "DEPTH": tile.depth, **tile.how},
        )
