import numpy as np
import pytest
import torch

from mygo_edge.kernels.philox import below, open_unit, philox4x32, split_seed

# Random123's published known-answer vectors for philox4x32-10: counter, key, answer.
KNOWN_ANSWERS = [
    ((0, 0, 0, 0), (0, 0), (0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8)),
    ((0xFFFFFFFF,) * 4, (0xFFFFFFFF,) * 2, (0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD)),
    (
        (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344),
        (0xA4093822, 0x299F31D0),
        (0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1),
    ),
]


@pytest.mark.parametrize(("counter", "key", "answer"), KNOWN_ANSWERS)
def test_philox_gives_the_published_vectors_in_python_numpy_and_torch(counter, key, answer):
    assert philox4x32(counter, key) == answer
    arrays = philox4x32(tuple(np.array([word], dtype=np.int64) for word in counter), key)
    assert tuple(int(words[0]) for words in arrays) == answer
    tensors = philox4x32(tuple(torch.tensor([word]) for word in counter), key)
    assert tuple(int(words[0]) for words in tensors) == answer


def test_a_seed_of_64_bits_becomes_two_key_words():
    assert split_seed(0x0123456789ABCDEF) == (0x89ABCDEF, 0x01234567)


def test_integers_below_a_bound_cover_it_evenly_and_never_reach_it():
    words = philox4x32((torch.arange(60_000), 0, 0, 0), (1, 2))[0]
    counts = torch.bincount(below(words, 6), minlength=6)
    assert counts.numel() == 6
    assert (counts - 10_000).abs().max() < 5 * (60_000 * 5 / 36) ** 0.5  # five standard deviations
    assert below(0xFFFFFFFF, 7) == 6


def test_uniforms_are_exact_in_single_precision_and_inside_the_open_interval():
    words = torch.tensor([0, 0x80000000, 0xFFFFFFFF])
    exact = open_unit(words).double() * 2.0**-24
    assert torch.equal(exact, (open_unit(words).float() * 2.0**-24).double())
    assert 0 < exact.min() <= exact.max() < 1
