"""Tile sizes, warps and stages of every kernel, by target and operands: one fixed table, each row with its reason.

Fixed, because tuning runs cannot be part of a captured CUDA graph, and chosen from what the compiler says
(`python -m bench.compiled`), because no GPU has run the kernels yet.
"""

from typing import NamedTuple

import triton

INTERPRETER = 0  # target of Triton's interpreter; the others are compute capabilities, 90 for 9.0
OPERANDS_IN_SHARED = (90, 100, 103)  # matrix units that read operands from shared memory (wgmma, tcgen05)


class Tile(NamedTuple):
    """Rows (samples of one task, or positions of their maps) x columns (of the answer) x depth (summed at a time)."""

    rows: int
    columns: int
    depth: int
    warps: int
    stages: int

    @property
    def how(self) -> dict[str, int]:
        """Options of a launch."""
        return {"num_warps": self.warps, "num_stages": self.stages}


def perceptron_tile(target: int, single: bool, hidden: int) -> Tile:
    """Rows: samples. Columns: pixels. Depth: all hidden units, which stay in registers."""
    depth = power_of_two(hidden)
    if target == INTERPRETER:
        return Tile(16, 256, depth, 4, 1)  # it likes few programs without idle rows
    if single:  # three TF32 products keep both halves of the hidden units in registers: 32 rows spill
        return Tile(16, 32, depth, 4, 1)
    return Tile(64, 64, depth, 4, 2)


def base_tile(target: int, single: bool, base: int) -> Tile:
    """Rows: samples. Columns: of the base, a program each, so that a chunk of tiles fills the card. Depth: z."""
    if target == INTERPRETER:
        return Tile(16, power_of_two(base), 16, 4, 1)
    return Tile(64, min(64, power_of_two(base)), 16, 8 if single else 4, 1)


def upsample_tile(target: int, single: bool, channels: int, out_channels: int) -> Tile:
    """Rows: positions of the maps before. Columns: channels of the maps after. Depth: channels of the maps before."""
    columns, depth = min(64, power_of_two(out_channels)), min(32, power_of_two(channels))
    if target == INTERPRETER:
        return Tile(256, columns, depth, 4, 1)
    if single and target not in OPERANDS_IN_SHARED:  # operands and their halves are in registers: half of each
        return Tile(64, columns, min(16, depth), 4, 2)
    return Tile(128, columns, depth, 8 if single else 4, 2)


def image_tile(target: int, channels: int) -> Tile:
    """Rows: positions of the last maps. Columns: one channel of the image, no matrix product. Depth: map channels."""
    if target == INTERPRETER:
        return Tile(256, 1, power_of_two(channels), 4, 1)
    return Tile(64, 1, 16, 4, 1)  # four sums of the tile's size stay in registers; twice as large, they spill


def gaussian_tile(target: int, single: bool, features: int) -> Tile:
    """Rows: samples. Columns: features at a time. Depth: z."""
    if target == INTERPRETER:
        return Tile(16, min(256, power_of_two(features)), 16, 4, 1)
    return Tile(16, 64, 16, 4, 1)  # noise and products share the registers: fewer rows, more programs at once


def chunk_tiles(bytes_a_sample: int, samples: int, most_bytes: int = 40_000_000) -> int:
    """Tiles whose hidden maps are in memory at once: they stay in an H100's 50 MB of L2 cache (an A100 has 40)."""
    return max(1, most_bytes // (bytes_a_sample * samples))


def power_of_two(size: int) -> int:
    """The power of two from 16 up, which matrix units need, that holds `size`."""
    return max(16, triton.next_power_of_2(size))
