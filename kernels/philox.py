"""Counter-based noise: Philox4x32-10 (Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3").

Every number is a pure function of (seed, stream, step, sample index, block), so batch splits, resumed runs and the
number of processes do not change a dream. The integer functions take numpy arrays and torch tensors of int64 alike;
this file imports neither, because the device runtime uses it with numpy only.

Layout of one call: key = (seed low, seed high), counter = (sample, block, step, stream), each an unsigned 32-bit word.
Block 0 of a sample holds its decisions (word 0: class, words 1 and 2: shifts; word 3 is free). Blocks 1 to latent / 4
hold its latent normals z, four a block, and the blocks after them, as many as its features need, one normal a feature.
"""

from typing import Any

WORD = 0xFFFFFFFF
MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)  # Random123's PHILOX_M4x32_0 and _1
WEYL = (0x9E3779B9, 0xBB67AE85)  # Random123's PHILOX_W32_0 and _1
ROUNDS = 10

Words = tuple[Any, Any, Any, Any]


def philox4x32(counter: Words, key: tuple[int, int]) -> Words:
    """Four random words for each counter.

    Args:
        counter: four int64 arrays (or ints) that broadcast together, each in [0, 2^32).
        key: two ints in [0, 2^32).

    Returns:
        Four int64 arrays in [0, 2^32), equal to Random123's `philox4x32(counter, key)` with ten rounds.
    """
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(ROUNDS):
        # A 32 x 32 bit product wraps in int64, but its 64 bits are right; the masks take the two halves back.
        p0, p1 = c0 * MULTIPLIERS[0], c2 * MULTIPLIERS[1]
        c0, c1, c2, c3 = (
            ((p1 >> 32) & WORD) ^ c1 ^ k0,
            p1 & WORD,
            ((p0 >> 32) & WORD) ^ c3 ^ k1,
            p0 & WORD,
        )
        k0, k1 = (k0 + WEYL[0]) & WORD, (k1 + WEYL[1]) & WORD
    return c0, c1, c2, c3


def split_seed(seed: int) -> tuple[int, int]:
    """The key of a seed in [0, 2^64)."""
    return seed & WORD, (seed >> 32) & WORD


def below(words: Any, bound: Any) -> Any:
    """Integers in [0, bound) by multiply-and-shift (Lemire 2019, without rejection: bias below bound / 2^32)."""
    return (words * bound) >> 32


def open_unit(words: Any) -> Any:
    """Twice the midpoint index of a word's cell among 2^23: divide by 2^24 for an exact fp32 number in (0, 1)."""
    return (words >> 9) * 2 + 1
