"""What a dream is made from: class ids, decisions and standard normals, the same ones to the last bit everywhere.

The functions take numpy arrays and torch tensors alike (`xp` is the module, numpy or torch), and this file imports
neither: the learner, the reference of the kernels and the device runtime share it. Normals follow Box and Muller
(1958), with log, sine and cosine written as polynomials of IEEE 754 single-precision additions, multiplications, one
division and one square root, each rounded on its own. So z is exact: equal bit for bit in numpy, PyTorch and Triton.
"""

import math
from typing import Any

from mygo_edge.kernels.philox import WORD, below, open_unit, philox4x32, split_seed

LATENT = 64  # normals z that a dream starts from; part of the bundle's contract
LN2 = math.log(2.0)
SQRT_HALF = math.sqrt(0.5)
# Taylor coefficients; the first one left out is below 1e-8 of the result on the reduced ranges.
LOG = [1 / 3, 1 / 5, 1 / 7, 1 / 9]  # of (ln m) / (2 s) - 1 in s^2, with s = (m - 1) / (m + 1)
SINE = [-1 / math.factorial(3), 1 / math.factorial(5), -1 / math.factorial(7), 1 / math.factorial(9)]
COSINE = [-1 / 2, *[(-1) ** n / math.factorial(2 * n) for n in range(2, 6)]]


def dream_noise(samples: Any, classes: Any, latent: int, *, seed: Any, stream: Any, step: Any, xp: Any) -> Any:
    """Latent normals, class ids and decisions of samples.

    Args:
        samples: int64 [batch]; the low 32 bits are the sample's index, the high bits are added to `step`.
        classes: int64 [batch], or an int: number of classes of each sample's task.
        latent: number of normals a sample.
        seed, stream, step: ints, or int64 scalars of `xp`.

    Returns:
        z [batch, latent] float32, class ids [batch] int64, and two further words a sample, int64 [2, batch].
    """
    words = _words(samples, 0, _blocks(latent) + 1, seed, stream, step, xp)
    decisions = [word[:, 0] for word in words]
    z = _normals([word[:, 1:] for word in words], xp)[:, :latent]
    return z, below(decisions[0], classes), xp.stack(decisions[1:3])


def feature_noise(samples: Any, width: int, *, seed: Any, stream: Any, step: Any, xp: Any, latent: int = LATENT) -> Any:
    """Further standard normals of the same samples, float32 [batch, width]: what a Gaussian dream's features get each.

    They come from the blocks after those of the `latent` normals, four a block, so they are independent of z, and
    the first ones are the same for every width. The other arguments are those of `dream_noise`.
    """
    words = _words(samples, 1 + _blocks(latent), _blocks(width), seed, stream, step, xp)
    return _normals(words, xp)[:, :width]


def _blocks(normals: int) -> int:
    """Philox blocks of four words that so many normals take."""
    return -(-normals // 4)


def _words(samples: Any, first: int, count: int, seed: Any, stream: Any, step: Any, xp: Any) -> Any:
    """The four words of blocks first, first + 1, ... of every sample, each int64 [batch, count]."""
    index, step = samples & WORD, (step + (samples >> 32)) & WORD
    where = {"device": samples.device} if hasattr(samples, "device") else {}  # numpy before 2.0 has no devices
    blocks = xp.arange(first, first + count, **where)
    return philox4x32((index[:, None], blocks, step[:, None], stream), split_seed(seed))


def _normals(words: Any, xp: Any) -> Any:
    """Four normals a block, [batch, 4 x blocks]: the pairs of words 0 and 1, and of words 2 and 3."""
    w0, w1, w2, w3 = words
    four = xp.stack([*normal_pair(w0, w1, xp), *normal_pair(w2, w3, xp)], -1)
    return four.reshape(w0.shape[0], 4 * w0.shape[1])


def normal_pair(radius_words: Any, angle_words: Any, xp: Any) -> tuple[Any, Any]:
    """Two independent standard normals from two arrays of 32-bit words (23 bits of each are used), float32.

    Exact in the sense above; log, sine and cosine are within 2 units in the last place of the true functions, which a
    test shows for every argument that they can get.
    """
    radius_cell, angle_cell = (xp.asarray(open_unit(words), dtype=xp.int32) for words in (radius_words, angle_words))
    radius = _root(-2.0 * _log_unit(radius_cell, xp), xp)
    cosine, sine = _turn(angle_cell, xp)
    return radius * cosine, radius * sine


def _log_unit(odd: Any, xp: Any) -> Any:
    """ln(odd / 2^24), for odd integers in (0, 2^24)."""
    mantissa, exponent = xp.frexp(xp.asarray(odd, dtype=xp.float32))  # exact
    low = xp.asarray(mantissa < SQRT_HALF, dtype=xp.float32)
    mantissa = mantissa * (low + 1.0)  # in [sqrt(1/2), sqrt(2)); exact, and without a branch, which a CPU would guess
    exponent = xp.asarray(exponent - 24, dtype=xp.float32) - low
    s = (mantissa - 1.0) / (mantissa + 1.0)
    double = s * 2.0
    return exponent * LN2 + (double + double * _polynomial(LOG, s * s))


def _root(x: Any, xp: Any) -> Any:
    """The correctly rounded float32 square root. NumPy's is. PyTorch's own is not, on CPUs, so it takes the way through
    doubles: a root of 24 bits is no closer than 2^-51 to a midpoint of two floats, far beyond a double root's error.
    """
    if xp.__name__ == "numpy":
        return xp.sqrt(x)
    return xp.asarray(xp.sqrt(xp.asarray(x, dtype=xp.float64)), dtype=xp.float32)


def _turn(odd: Any, xp: Any) -> tuple[Any, Any]:
    """Cosine and sine of 2 pi odd / 2^24: reduced to an eighth of a turn in integers, which is exact."""
    quarter = (odd + (1 << 21)) >> 22
    angle = xp.asarray(odd - (quarter << 22), dtype=xp.float32) * 2.0**-24 * (2.0 * math.pi)
    square = angle * angle
    sine = angle + angle * _polynomial(SINE, square)
    cosine = 1.0 + _polynomial(COSINE, square)
    # Exact choices without a branch: products with 0, 1 and -1, and sums of which one term is 0.
    swap = xp.asarray(quarter & 1, dtype=xp.float32)
    keep = 1.0 - swap
    signs = (1.0 - xp.asarray(bits & 2, dtype=xp.float32) for bits in (quarter + 1, quarter))
    first, second = swap * sine + keep * cosine, swap * cosine + keep * sine
    return first * next(signs), second * next(signs)


def _polynomial(coefficients: list[float], x: Any) -> Any:
    """c[0] x + c[1] x^2 + ..., by Horner's rule."""
    total = x * coefficients[-1]
    for coefficient in reversed(coefficients[:-1]):
        total = (total + coefficient) * x
    return total
