"""`mygo_edge.kernels.noise` inside Triton kernels: the same integers and the same normals, bit for bit.

Launch what calls these with `enable_fp_fusion=False`: a fused multiply-add rounds once where IEEE rounds twice.
"""

# mypy: disallow-untyped-defs=False

import math

import triton
import triton.language as tl

LN2 = tl.constexpr(math.log(2.0))
SQRT_HALF = tl.constexpr(math.sqrt(0.5))
TURN = tl.constexpr(2.0 * math.pi)
CELL = tl.constexpr(2.0**-24)


@triton.jit
def normal_pair(radius_words, angle_words):
    """Two independent standard normals from two blocks of uint32 words, float32."""
    radius = tl.sqrt_rn(-2.0 * _log_unit(_odd(radius_words)))
    cosine, sine = _turn(_odd(angle_words))
    return radius * cosine, radius * sine


@triton.jit
def _odd(words):
    return ((words >> 9) * 2 + 1).to(tl.int32)


@triton.jit
def _log_unit(odd):
    bits = odd.to(tl.float32).to(tl.int32, bitcast=True)
    mantissa = ((bits & 0x7FFFFF) | 0x3F000000).to(tl.float32, bitcast=True)  # in [1/2, 1)
    low = mantissa < SQRT_HALF
    mantissa = tl.where(low, mantissa * 2.0, mantissa)
    exponent = ((bits >> 23) - 126 - 24 - low.to(tl.int32)).to(tl.float32)
    s = tl.div_rn(mantissa - 1.0, mantissa + 1.0)
    double = s * 2.0
    w = s * s
    series = (((w * (1.0 / 9.0) + (1.0 / 7.0)) * w + (1.0 / 5.0)) * w + (1.0 / 3.0)) * w
    return exponent * LN2 + (double + double * series)


@triton.jit
def _turn(odd):
    quarter = (odd + (1 << 21)) >> 22
    angle = (odd - (quarter << 22)).to(tl.float32) * CELL * TURN
    w = angle * angle
    sine_series = (((w * (1.0 / 362880.0) + (-1.0 / 5040.0)) * w + (1.0 / 120.0)) * w + (-1.0 / 6.0)) * w
    sine = angle + angle * sine_series
    cosine_series = (
        (((w * (-1.0 / 3628800.0) + (1.0 / 40320.0)) * w + (-1.0 / 720.0)) * w + (1.0 / 24.0)) * w + (-0.5)
    ) * w
    cosine = 1.0 + cosine_series
    odd_quarter = (quarter & 1) == 1
    first = tl.where(odd_quarter, sine, cosine)
    second = tl.where(odd_quarter, cosine, sine)
    first = tl.where(((quarter + 1) & 2) == 2, -first, first)
    second = tl.where((quarter & 2) == 2, -second, second)
    return first, second


@triton.jit
def sample_words(position_ptr, samples):
    """Seed, stream, index words and step words of a block of int64 samples (see `dream_noise`)."""
    seed = tl.load(position_ptr)
    stream = tl.load(position_ptr + 1).to(tl.uint32)
    index = (samples & 0xFFFFFFFF).to(tl.uint32)
    step = ((tl.load(position_ptr + 2) + (samples >> 32)) & 0xFFFFFFFF).to(tl.uint32)
    return seed, stream, index, step


@triton.jit
def normals_of_blocks(seed, stream, index, step, first, BLOCKS: tl.constexpr):
    """Normals 4 b, 4 b + 1, 4 b + 2 and 4 b + 3 of every sample, b counted from the block `first` of the sample on:
    four float32 [samples, BLOCKS].
    """
    zeros = tl.zeros([index.shape[0], BLOCKS], tl.uint32)
    block = (tl.arange(0, BLOCKS) + first).to(tl.uint32)[None, :] + zeros
    w0, w1, w2, w3 = tl.philox(seed, index[:, None] + zeros, block, step[:, None] + zeros, zeros + stream)
    n0, n1 = normal_pair(w0, w1)
    n2, n3 = normal_pair(w2, w3)
    return n0, n1, n2, n3
