"""Dreams of perceptrons in one launch, from noise to pixels: z and hidden activations never reach memory."""

# mypy: disallow-untyped-defs=False

from collections.abc import Iterator
from typing import Any, NamedTuple

import triton
import triton.language as tl
from torch import Tensor

from mygo_edge.kernels.launch import Launch
from mygo_edge.kernels.sampling_triton import Draw, decide, first_layer, first_of, latent_normals, tanh, tile_of
from mygo_edge.kernels.stack import GeneratorStack
from mygo_edge.kernels.tiling import Tile


class Dense(NamedTuple):
    """The second layer, [tasks, hidden, channels, height, width] and [tasks, channels], and its sizes."""

    weight: Any
    weight_strides: Any
    bias: Any
    bias_strides: Any
    hidden: Any
    width: Any
    area: Any
    pixels: Any


@triton.jit
def _perceptron_kernel(
    images_ptr, draw, first, dense,
    LATENT: tl.constexpr, BLOCKS: tl.constexpr, HIDDEN: tl.constexpr, ROWS: tl.constexpr, PIXELS: tl.constexpr,
    OPERAND: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    task, rows, there = tile_of(draw, tl.program_id(0), ROWS)
    classes, seed, stream, index, step = decide(draw, task, rows, there, True)
    normals = latent_normals(seed, stream, index, step, BLOCKS)
    units = tl.arange(0, HIDDEN)
    hidden = first_layer(first, task, classes, units, units < dense.hidden, normals, LATENT, OPERAND, PRECISION)
    activations = tl.maximum(hidden, 0.0).to(OPERAND)
    task_weight = dense.weight + task * dense.weight_strides[0]
    for start in range(0, dense.pixels, PIXELS):
        pixel = start + tl.arange(0, PIXELS)
        inside = pixel < dense.pixels
        channel, row, column = pixel // dense.area, pixel % dense.area // dense.width, pixel % dense.width
        at = task_weight + channel * dense.weight_strides[2]
        at += row * dense.weight_strides[3] + column * dense.weight_strides[4]
        mask = (units < dense.hidden)[:, None] & inside[None, :]
        weight = tl.load(at[None, :] + units[:, None] * dense.weight_strides[1], mask=mask, other=0.0)
        bias = dense.bias + task * dense.bias_strides[0] + channel * dense.bias_strides[1]
        bias = tl.load(bias, mask=inside, other=0.0)
        image = tanh(tl.dot(activations, weight.to(OPERAND), input_precision=PRECISION) + bias[None, :])
        out = images_ptr + rows[:, None] * dense.pixels + pixel[None, :]
        tl.store(out, image.to(images_ptr.dtype.element_ty), mask=there[:, None] & inside[None, :])


def perceptron_launches(
    stack: GeneratorStack, draw: Draw, images: Tensor, tile: Tile, arithmetic: dict[str, Any]
) -> Iterator[Launch]:
    """The one launch; `tile` is of `perceptron_tile`."""
    (weight,), (bias,) = stack.weights, stack.biases
    channels, height, width = stack.dream_shape
    dense = Dense(
        weight, tuple(weight.stride()), bias, tuple(bias.stride()),
        stack.base_weight.shape[2], width, height * width, channels * height * width,
    )  # fmt: skip
    yield Launch(
        _perceptron_kernel,
        (len(draw.tiles),),
        (images, draw, first_of(stack), dense),
        {**arithmetic, "HIDDEN": tile.depth, "ROWS": tile.rows, "PIXELS": tile.columns, **tile.how},
    )
