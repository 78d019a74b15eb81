"""Dreams as Triton kernels for CUDA.

A program works on a tile: up to 64 samples of one task. For the perceptron, one launch does everything: z and hidden
activations never reach memory. For the convolutional generator, the first launch makes noise, class and first layer,
and every transposed convolution is one launch with its activation fused, over chunks of tiles whose hidden maps stay
in the L2 cache. Sums are float32; operands are float32 (three TF32 products each) for float32 images, else float16.
"""

# mypy: disallow-untyped-defs=False

from functools import lru_cache

import torch
import triton
import triton.language as tl
from torch import Tensor

from mygo_edge.kernels.dream_torch import image_size, is_perceptron
from mygo_edge.kernels.noise_triton import latent_normals, sample_words

TILE = 64  # samples of one task
CHUNK = 32  # tiles whose hidden maps are in memory at once: 2048 samples x 9,664 float16 = 40 MB, an H100's L2 is 50 MB
ROWS, COLUMNS, DEPTH = 128, 64, 32  # tile of a convolution's product: positions x output channels x input channels
PIXELS = 64  # pixels of a perceptron's image at a time


@triton.jit
def _tile(tiles_ptr, order_ptr, number, HAS_ORDER: tl.constexpr, TILE: tl.constexpr):
    """Task of a tile, its samples' rows in the answer, int64, and which of them there are."""
    task = tl.load(tiles_ptr + 3 * number)
    place = tl.load(tiles_ptr + 3 * number + 1) + tl.arange(0, TILE)
    there = place < tl.load(tiles_ptr + 3 * number + 2)
    rows = tl.load(order_ptr + place, mask=there, other=0) if HAS_ORDER else place
    return task, rows, there


@triton.jit
def _decide(
    position_ptr, samples_ptr, offsets_ptr, class_ids_ptr, decisions_ptr, task, rows, there, batch,
    BLOCKS: tl.constexpr,
):  # fmt: skip
    """Draw and store class ids and decisions; return the rows of `class_bias` and the normals."""
    samples = tl.load(samples_ptr + rows, mask=there, other=0)
    seed, stream, index, step = sample_words(position_ptr, samples)
    zeros = tl.zeros_like(index)
    word, first, second, _ = tl.philox(seed, index, zeros, step, zeros + stream)
    offset = tl.load(offsets_ptr + task)
    classes = (tl.load(offsets_ptr + task + 1) - offset).to(tl.uint32)
    class_ids = tl.umulhi(word, zeros + classes).to(tl.int64)
    tl.store(class_ids_ptr + rows, class_ids, mask=there)
    tl.store(decisions_ptr + rows, first.to(tl.int64), mask=there)
    tl.store(decisions_ptr + batch + rows, second.to(tl.int64), mask=there)
    n0, n1, n2, n3 = latent_normals(seed, stream, index, step, BLOCKS)
    return offset + class_ids, n0, n1, n2, n3


@triton.jit
def _first_layer(
    weight_ptr, bias_ptr, classes, columns, valid, n0, n1, n2, n3, s_latent, s_column, s_class, s_bias,
    LATENT: tl.constexpr, BLOCKS: tl.constexpr, OPERAND: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """ReLU of z @ weight + the class's bias, for `columns` of the base: float32 [TILE, columns]."""
    blocks = 4 * tl.arange(0, BLOCKS)[:, None]
    total = tl.load(bias_ptr + classes[:, None] * s_class + columns[None, :] * s_bias, mask=valid[None, :], other=0.0)
    for part in tl.static_range(4):
        normals = n0 if part == 0 else n1 if part == 1 else n2 if part == 2 else n3
        inside = (blocks + part < LATENT) & valid[None, :]
        weight = tl.load(weight_ptr + (blocks + part) * s_latent + columns[None, :] * s_column, mask=inside, other=0.0)
        total = tl.dot(normals.to(OPERAND), weight.to(OPERAND), total, input_precision=PRECISION)
    return tl.maximum(total, 0.0)


@triton.jit
def _tanh(x):
    """tanh from exp alone, which the interpreter has too; absolute error below 3e-7."""
    return 1.0 - 2.0 / (tl.exp(2.0 * x) + 1.0)


@triton.jit
def _perceptron_kernel(
    images_ptr, class_ids_ptr, decisions_ptr,
    position_ptr, samples_ptr, order_ptr, tiles_ptr, offsets_ptr, base_ptr, class_bias_ptr, weight_ptr, bias_ptr,
    batch, hidden, width, area, pixels,
    sb_task, sb_latent, sb_column, sc_class, sc_column,
    sw_task, sw_in, sw_out, sw_row, sw_column, sv_task, sv_out,
    HAS_ORDER: tl.constexpr, LATENT: tl.constexpr, BLOCKS: tl.constexpr, HIDDEN: tl.constexpr,
    TILE: tl.constexpr, PIXELS: tl.constexpr, OPERAND: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    task, rows, there = _tile(tiles_ptr, order_ptr, tl.program_id(0), HAS_ORDER, TILE)
    classes, n0, n1, n2, n3 = _decide(
        position_ptr, samples_ptr, offsets_ptr, class_ids_ptr, decisions_ptr, task, rows, there, batch, BLOCKS
    )
    units = tl.arange(0, HIDDEN)
    activations = _first_layer(
        base_ptr + task * sb_task, class_bias_ptr, classes, units, units < hidden, n0, n1, n2, n3,
        sb_latent, sb_column, sc_class, sc_column, LATENT, BLOCKS, OPERAND, PRECISION,
    ).to(OPERAND)  # fmt: skip
    for start in range(0, pixels, PIXELS):
        pixel = start + tl.arange(0, PIXELS)
        inside = pixel < pixels
        channel, row, column = pixel // area, pixel % area // width, pixel % width
        at = weight_ptr + task * sw_task + channel * sw_out + row * sw_row + column * sw_column
        mask = (units < hidden)[:, None] & inside[None, :]
        weight = tl.load(at[None, :] + units[:, None] * sw_in, mask=mask, other=0.0)
        bias = tl.load(bias_ptr + task * sv_task + channel * sv_out, mask=inside, other=0.0)
        image = _tanh(tl.dot(activations, weight.to(OPERAND), input_precision=PRECISION) + bias[None, :])
        out = images_ptr + rows[:, None] * pixels + pixel[None, :]
        tl.store(out, image.to(images_ptr.dtype.element_ty), mask=there[:, None] & inside[None, :])


@triton.jit
def _base_kernel(
    maps_ptr, class_ids_ptr, decisions_ptr,
    position_ptr, samples_ptr, order_ptr, tiles_ptr, offsets_ptr, base_ptr, class_bias_ptr,
    first_tile, batch, base, channels, area,
    sb_task, sb_latent, sb_column, sc_class, sc_column,
    HAS_ORDER: tl.constexpr, LATENT: tl.constexpr, BLOCKS: tl.constexpr,
    TILE: tl.constexpr, COLUMNS: tl.constexpr, OPERAND: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """The first feature map of every sample of a chunk, [tiles x TILE, area, channels]: channels last."""
    number = tl.program_id(0)
    task, rows, there = _tile(tiles_ptr, order_ptr, first_tile + number, HAS_ORDER, TILE)
    classes, n0, n1, n2, n3 = _decide(
        position_ptr, samples_ptr, offsets_ptr, class_ids_ptr, decisions_ptr, task, rows, there, batch, BLOCKS
    )
    slots = number.to(tl.int64) * TILE + tl.arange(0, TILE)
    for start in range(0, base, COLUMNS):
        target = start + tl.arange(0, COLUMNS)
        valid = target < base
        columns = target % channels * area + target // channels  # the layer's columns are channels first
        maps = _first_layer(
            base_ptr + task * sb_task, class_bias_ptr, classes, columns, valid, n0, n1, n2, n3,
            sb_latent, sb_column, sc_class, sc_column, LATENT, BLOCKS, OPERAND, PRECISION,
        )  # fmt: skip
        out = maps_ptr + slots[:, None] * base + target[None, :]
        tl.store(out, maps.to(maps_ptr.dtype.element_ty), mask=there[:, None] & valid[None, :])


@triton.jit
def _upsample_kernel(
    out_ptr, maps_ptr, tiles_ptr, order_ptr, weight_ptr, bias_ptr,
    first_tile, height, width, out_height, out_width, channels, out_channels, kernel_rows, kernel_columns,
    sw_task, sw_in, sw_out, sw_row, sw_column, sv_task, sv_out,
    HAS_ORDER: tl.constexpr, LAST: tl.constexpr, DOT: tl.constexpr, TILE: tl.constexpr,
    ROWS: tl.constexpr, COLUMNS: tl.constexpr, DEPTH: tl.constexpr, OPERAND: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """A transposed convolution (stride 2, padding 1) with ReLU, or tanh when it is the last.

    Output pixel (2 m + p, 2 n + q) of phase (p, q) sees the 2 x 2 inputs (m + p - a, n + q - b) through the kernel's
    (1 - p + 2 a, 1 - q + 2 b), a and b in {0, 1}: four dense products, one a phase. Without DOT (few output channels,
    where matrix units would be idle) COLUMNS is 1 and the product is a sum.
    """
    number = tl.program_id(0)
    first = tl.load(tiles_ptr + 3 * (first_tile + number) + 1)
    there = tl.minimum(tl.load(tiles_ptr + 3 * (first_tile + number) + 2) - first, TILE)
    if tl.program_id(1) * ROWS >= there * height * width:
        return  # the tile is not full
    task = tl.load(tiles_ptr + 3 * (first_tile + number))
    p, q = tl.program_id(2) % 4 // 2, tl.program_id(2) % 2
    columns = tl.program_id(2) // 4 * COLUMNS + tl.arange(0, COLUMNS)
    flat = tl.program_id(1) * ROWS + tl.arange(0, ROWS)
    sample, m, n = flat // (height * width), flat % (height * width) // width, flat % width
    inside = sample < there
    slot = number.to(tl.int64) * TILE + sample
    weight_ptr += task * sw_task
    valid = columns < out_channels
    bias = tl.load(bias_ptr + task * sv_task + columns * sv_out, mask=valid, other=0.0)
    total = tl.zeros([ROWS, COLUMNS], tl.float32) + bias[None, :]
    for tap in range(4):
        a, b = tap // 2, tap % 2
        row, column = m + p - a, n + q - b
        kernel_row, kernel_column = 1 - p + 2 * a, 1 - q + 2 * b
        seen = inside & (row >= 0) & (row < height) & (column >= 0) & (column < width)
        exists = (kernel_row < kernel_rows) & (kernel_column < kernel_columns)  # a kernel of 3 lacks the last tap
        limit = channels * exists.to(tl.int32)
        source = maps_ptr + ((slot * height + row) * width + column) * channels
        weights = weight_ptr + kernel_row * sw_row + kernel_column * sw_column
        for start in range(0, limit, DEPTH):
            channel = start + tl.arange(0, DEPTH)
            known = channel < limit
            x = tl.load(source[:, None] + channel[None, :], mask=seen[:, None] & known[None, :], other=0.0)
            w = weights + channel[:, None] * sw_in + columns[None, :] * sw_out
            w = tl.load(w, mask=known[:, None] & valid[None, :], other=0.0)
            if DOT:
                total = tl.dot(x.to(OPERAND), w.to(OPERAND), total, input_precision=PRECISION)
            else:
                line = tl.sum(w, 1)  # [DEPTH]: the only column
                total += tl.sum(x.to(tl.float32) * line[None, :], 1)[:, None]
    out_row, out_column = 2 * m + p, 2 * n + q
    fits = inside & (out_row < out_height) & (out_column < out_width)
    if LAST:  # to the sample's row of the images, channels first
        place = first + sample
        rows = tl.load(order_ptr + place, mask=inside, other=0) if HAS_ORDER else place
        out = ((rows[:, None] * out_channels + columns[None, :]) * out_height + out_row[:, None]) * out_width
        out = out_ptr + out + out_column[:, None]
        total = _tanh(total)
    else:
        out = ((slot * out_height + out_row) * out_width + out_column) * out_channels
        out = out_ptr + out[:, None] + columns[None, :]
        total = tl.maximum(total, 0.0)
    tl.store(out, total.to(out_ptr.dtype.element_ty), mask=fits[:, None] & valid[None, :])


def dream_triton(
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
) -> tuple[Tensor, Tensor, Tensor]:
    """Images, class ids and decisions; the arguments are those of `mygo_edge.kernels.dream`'s operator."""
    batch, (height, width) = len(task_ids), image_size(base_size, weights)
    images = task_ids.new_empty((batch, weights[-1].shape[2], height, width), dtype=dtype)
    class_ids, decisions = torch.empty_like(task_ids), task_ids.new_empty((2, batch))
    if not batch:
        return images, class_ids, decisions
    if counts is not None:
        tiles = tiles_of_counts(tuple(counts), TILE, task_ids.device)
    else:
        assert order is not None
        tiles = tiles_of_tasks(task_ids[order], TILE, len(class_offsets) - 1)
    half = dtype != torch.float32
    latent = base_weight.shape[1]
    drawn = (class_ids, decisions, position, samples, samples if order is None else order, tiles, class_offsets)
    noise = {"HAS_ORDER": order is not None, "LATENT": latent, "BLOCKS": _block(latent // 4), "TILE": TILE}
    arithmetic = {"OPERAND": tl.float16 if half else tl.float32, "PRECISION": "ieee" if half else "tf32x3"}
    run = _perceptron if is_perceptron(base_size) else _convolutions
    run(images, drawn, base_weight, class_bias, weights, biases, base_size, noise, arithmetic)
    return images, class_ids, decisions


def _perceptron(images, drawn, base_weight, class_bias, weights, biases, base_size, noise, arithmetic) -> None:
    class_ids, decisions, *inputs = drawn
    (weight,), (bias,) = weights, biases
    hidden = base_weight.shape[2]
    pixels, width = images[0].numel(), images.shape[3]
    _perceptron_kernel[(len(inputs[3]),)](
        images, class_ids, decisions, *inputs, base_weight, class_bias, weight, bias,
        len(images), hidden, width, images.shape[2] * width, pixels,
        *base_weight.stride(), *class_bias.stride(), *weight.stride(), *bias.stride(),
        **noise, **arithmetic, HIDDEN=_block(hidden), PIXELS=PIXELS, enable_fp_fusion=False,
    )  # fmt: skip


def _convolutions(images, drawn, base_weight, class_bias, weights, biases, base_size, noise, arithmetic) -> None:
    class_ids, decisions, *inputs = drawn
    _, _, order, tiles, _ = inputs
    base, area = base_weight.shape[2], base_size[0] * base_size[1]
    hidden = torch.float16 if images.dtype != torch.float32 else torch.float32
    for first_tile in range(0, len(tiles), CHUNK):
        count = min(CHUNK, len(tiles) - first_tile)
        maps = images.new_empty((count * TILE, *base_size, base // area), dtype=hidden)
        _base_kernel[(count,)](
            maps, class_ids, decisions, *inputs, base_weight, class_bias,
            first_tile, len(images), base, base // area, area,
            *base_weight.stride(), *class_bias.stride(),
            **noise, **arithmetic, COLUMNS=min(128, _block(base)), enable_fp_fusion=False,
        )  # fmt: skip
        for layer, (weight, bias) in enumerate(zip(weights, biases, strict=True)):
            last = layer + 1 == len(weights)
            _, height, width, channels = maps.shape
            _, _, out_channels, *kernel = weight.shape
            out_size = (2 * height - 4 + kernel[0], 2 * width - 4 + kernel[1])
            out = images if last else maps.new_empty((count * TILE, *out_size, out_channels))
            dense = out_channels >= 16  # the least that matrix units take
            columns = min(COLUMNS, _block(out_channels)) if dense else 1
            grid = (count, triton.cdiv(TILE * height * width, ROWS), 4 * triton.cdiv(out_channels, columns))
            _upsample_kernel[grid](
                out, maps, tiles, order, weight, bias,
                first_tile, height, width, *out_size, channels, out_channels, *kernel,
                *weight.stride(), *bias.stride(),
                HAS_ORDER=noise["HAS_ORDER"], LAST=last, DOT=dense, TILE=TILE, ROWS=ROWS, COLUMNS=columns,
                DEPTH=min(DEPTH, _block(channels)), **arithmetic,
            )  # fmt: skip
            maps = out


def _block(size: int) -> int:
    """The power of two from 16 up, which matrix units need, that holds `size`."""
    return max(16, triton.next_power_of_2(size))


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
