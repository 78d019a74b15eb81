"""Dreams of features in one launch: noise, class, factor, deviation, inverse power and store."""

# mypy: disallow-untyped-defs=False

from collections.abc import Iterator
from typing import Any

import triton
import triton.language as tl
from torch import Tensor

from mygo_edge.kernels.launch import Launch
from mygo_edge.kernels.noise_triton import normals_of_blocks
from mygo_edge.kernels.sampling_triton import Draw, decide, first_layer, first_of, latent_normals, tile_of
from mygo_edge.kernels.stack import SHORTEST, GeneratorStack
from mygo_edge.kernels.tiling import Tile

LEAST = tl.constexpr(SHORTEST)
PROGRAMS = 512  # about four a multiprocessor of the largest cards: fewer tiles than that share their columns


@triton.jit
def _gaussian_kernel(
    features_ptr, draw, first, deviation_ptr, deviation_stride, features, exponent,
    LATENT: tl.constexpr, BLOCKS: tl.constexpr, ROWS: tl.constexpr, COLUMNS: tl.constexpr,
    POWER: tl.constexpr, NON_NEGATIVE: tl.constexpr, NORMALISED: tl.constexpr,
    OPERAND: tl.constexpr, PRECISION: tl.constexpr,
):  # fmt: skip
    """Programs (tile, part): part p of a tile's columns has the blocks p, p + parts, ... of COLUMNS columns. Where
    features are NORMALISED a program has all columns: it stores them, then divides them by their norm while they are
    still in the L2 cache, for noise costs more to make again than features to read again.
    """
    task, rows, there = tile_of(draw, tl.program_id(0), ROWS)
    classes, seed, stream, index, step = decide(draw, task, rows, there, tl.program_id(1) == 0)
    normals = latent_normals(seed, stream, index, step, BLOCKS)
    squares = tl.zeros([ROWS], tl.float32)
    for start in range(tl.program_id(1) * COLUMNS, features, tl.num_programs(1) * COLUMNS):
        columns = start + tl.arange(0, COLUMNS)
        valid = columns < features
        total = first_layer(first, task, classes, columns, valid, normals, LATENT, OPERAND, PRECISION)
        n0, n1, n2, n3 = normals_of_blocks(seed, stream, index, step, 1 + LATENT // 4 + start // 4, COLUMNS // 4)
        noise = tl.interleave(tl.interleave(n0, n2), tl.interleave(n1, n3))  # 4 b + i as column i of block b
        deviation = tl.load(deviation_ptr + task * deviation_stride + columns, mask=valid, other=0.0)
        total += noise * deviation[None, :]
        if NON_NEGATIVE:
            total = tl.maximum(total, 0.0)
        if POWER == 2:  # the inverse of the square root
            total = total * tl.abs(total)
        elif POWER == 0:
            size = tl.exp2(tl.log2(tl.maximum(tl.abs(total), 1e-37)) * exponent)
            total = tl.where(total < 0, -size, size)
        out = features_ptr + rows[:, None] * features + columns[None, :]
        tl.store(out, total.to(features_ptr.dtype.element_ty), mask=there[:, None] & valid[None, :])
        if NORMALISED:
            squares += tl.sum(tl.where(valid[None, :], total * total, 0.0), 1)
    if NORMALISED:
        tl.debug_barrier()  # what other threads of the program stored is read below
        scale = tl.div_rn(1.0, tl.maximum(tl.sqrt_rn(squares), LEAST))
        for start in range(0, features, COLUMNS):
            columns = start + tl.arange(0, COLUMNS)
            mask = there[:, None] & (columns < features)[None, :]
            out = features_ptr + rows[:, None] * features + columns[None, :]
            scaled = tl.load(out, mask=mask, other=0.0).to(tl.float32) * scale[:, None]
            tl.store(out, scaled.to(features_ptr.dtype.element_ty), mask=mask)


def gaussian_launches(
    stack: GeneratorStack, draw: Draw, answer: Tensor, tile: Tile, arithmetic: dict[str, Any]
) -> Iterator[Launch]:
    """The one launch; `tile` is of `gaussian_tile`."""
    assert stack.deviation is not None
    deviation = stack.deviation if stack.deviation.stride(1) == 1 else stack.deviation.contiguous()
    features, tiles = stack.base_weight.shape[2], len(draw.tiles)
    parts = 1 if stack.normalised else max(1, min(triton.cdiv(features, tile.columns), PROGRAMS // max(1, tiles)))
    power = {1.0: 1, 0.5: 2}.get(stack.power, 0)  # identity, square, any other
    yield Launch(
        _gaussian_kernel,
        (tiles, parts),
        (answer, draw, first_of(stack), deviation, deviation.stride(0), features, 1.0 / stack.power),
        {
            **arithmetic, "ROWS": tile.rows, "COLUMNS": tile.columns, "POWER": power,
            "NON_NEGATIVE": stack.non_negative, "NORMALISED": stack.normalised, **tile.how,
        },
    )  # fmt: skip
