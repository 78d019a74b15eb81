"""Kernels of nothing but noise, of which one number a sample is kept: bench/normals.py counts what normals cost."""

# mypy: disallow-untyped-defs=False

import triton
import triton.language as tl
from triton.language.extra import libdevice

from mygo_edge.kernels.noise_triton import normals_of_blocks, sample_words


@triton.jit
def exact_kernel(out_ptr, position_ptr, samples_ptr, ROWS: tl.constexpr, BLOCKS: tl.constexpr):
    """The sum of a sample's normals, as `mygo_edge.kernels.noise_triton` makes them."""
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    seed, stream, index, step = sample_words(position_ptr, tl.load(samples_ptr + rows))
    n0, n1, n2, n3 = normals_of_blocks(seed, stream, index, step, 1, BLOCKS)
    tl.store(out_ptr + rows, tl.sum(n0 + n1 + n2 + n3, 1))


@triton.jit
def fast_kernel(out_ptr, position_ptr, samples_ptr, ROWS: tl.constexpr, BLOCKS: tl.constexpr):
    """The same with the card's approximate logarithm, root, sine and cosine."""
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    seed, stream, index, step = sample_words(position_ptr, tl.load(samples_ptr + rows))
    w0, w1, w2, w3 = _words(seed, stream, index, step, BLOCKS)
    n0, n1 = _fast_pair(w0, w1)
    n2, n3 = _fast_pair(w2, w3)
    tl.store(out_ptr + rows, tl.sum(n0 + n1 + n2 + n3, 1))


@triton.jit
def words_kernel(out_ptr, position_ptr, samples_ptr, ROWS: tl.constexpr, BLOCKS: tl.constexpr):
    """The sum of the words that the normals are made of."""
    rows = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    seed, stream, index, step = sample_words(position_ptr, tl.load(samples_ptr + rows))
    w0, w1, w2, w3 = _words(seed, stream, index, step, BLOCKS)
    tl.store(out_ptr + rows, tl.sum((w0 + w1 + w2 + w3).to(tl.int32), 1))


@triton.jit
def _words(seed, stream, index, step, BLOCKS: tl.constexpr):
    zeros = tl.zeros([index.shape[0], BLOCKS], tl.uint32)
    block = (tl.arange(0, BLOCKS) + 1).to(tl.uint32)[None, :] + zeros
    return tl.philox(seed, index[:, None] + zeros, block, step[:, None] + zeros, zeros + stream)


@triton.jit
def _fast_pair(radius_words, angle_words):
    """Box and Muller by approximate functions, from as many bits."""
    radius = ((radius_words >> 9) * 2 + 1).to(tl.float32) * (2.0**-24)
    angle = ((angle_words >> 9) * 2 + 1).to(tl.float32) * (2.0**-24 * 6.283185307179586)
    radius = tl.sqrt(-2.0 * libdevice.fast_logf(radius))
    return radius * libdevice.fast_cosf(angle), radius * libdevice.fast_sinf(angle)
