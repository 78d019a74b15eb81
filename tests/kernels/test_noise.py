"""The noise of dreams is the same to the last bit in numpy, PyTorch and Triton, and normal."""

import json
import math
from hashlib import sha256
from pathlib import Path

import numpy as np
import pytest
import torch

from mygo_edge.kernels.noise import LATENT, _log_unit, _turn, dream_noise, feature_noise, normal_pair
from mygo_edge.kernels.philox import philox4x32

GOLDEN = Path(__file__).parent / "golden" / "dreams.json"
EVERY_CELL = np.arange(1, 2**24, 2, dtype=np.int64)  # every argument that log, sine and cosine can get


def ulps(actual: np.ndarray, exact: np.ndarray) -> float:
    return float(np.max(np.abs(actual - exact) / np.spacing(np.abs(exact).astype(np.float32))))


def test_log_sine_and_cosine_are_within_two_units_in_the_last_place_everywhere():
    assert ulps(_log_unit(EVERY_CELL, np), np.log(EVERY_CELL / 2.0**24)) < 2
    cosine, sine = _turn(EVERY_CELL, np)
    angle = 2 * math.pi * (EVERY_CELL / 2.0**24)
    assert ulps(cosine, np.cos(angle)) < 2
    assert ulps(sine, np.sin(angle)) < 2


def test_torch_gives_the_bits_of_numpy_for_every_cell(device):
    words = torch.arange(0, 2**32, 512)
    other = words.flip(0)
    for array, tensor in zip(
        normal_pair(words.numpy(), other.numpy(), np),
        normal_pair(words.to(device), other.to(device), torch),
        strict=True,
    ):
        assert array.dtype == np.float32
        assert np.array_equal(array.view(np.int32), tensor.cpu().numpy().view(np.int32))


def test_triton_gives_the_bits_of_numpy(device):
    from tests.kernels.noise_out_triton import noise_in_triton

    seed, stream, step = 2**63 + 11, 2**32 - 5, 2**32 - 2
    samples = np.concatenate([np.arange(200), [2**31, 2**32 - 1, 5 + (3 << 32)]])  # the last is three steps ahead
    words, z = noise_in_triton(samples, 64, seed=seed, stream=stream, step=step, device=device)
    index, ahead = samples & 0xFFFFFFFF, (step + (samples >> 32)) & 0xFFFFFFFF
    expected = philox4x32((index, 0, ahead, stream), (11, 2**31))
    np.testing.assert_array_equal(words, np.stack(expected))
    exact, _, _ = dream_noise(samples, 2, 64, seed=seed, stream=stream, step=step, xp=np)
    np.testing.assert_array_equal(z.view(np.int32), exact.view(np.int32))


def test_feature_noise_is_the_same_in_numpy_torch_and_triton_and_goes_on_after_z(device):
    from tests.kernels.noise_out_triton import noise_in_triton

    key = {"seed": 2**63 + 11, "stream": 7, "step": 2**32 - 2}
    samples = np.concatenate([np.arange(50), [2**32 - 1, 5 + (3 << 32)]])
    noise = feature_noise(samples, 64, **key, xp=np)
    by_torch = feature_noise(torch.from_numpy(samples).to(device), 64, **key, xp=torch).cpu().numpy()
    _, by_triton = noise_in_triton(samples, 64, **key, device=device, first=1 + LATENT // 4)
    np.testing.assert_array_equal(noise.view(np.int32), by_torch.view(np.int32))
    np.testing.assert_array_equal(noise.view(np.int32), by_triton.view(np.int32))
    longer, _, _ = dream_noise(samples, 2, LATENT + 64, **key, xp=np)
    np.testing.assert_array_equal(longer[:, LATENT:], noise)


def test_the_first_features_noise_does_not_depend_on_how_many_there_are():
    key = {"seed": 1, "stream": 2, "step": 3}
    wide = feature_noise(np.arange(9), 1280, **key, xp=np)
    np.testing.assert_array_equal(feature_noise(np.arange(9), 7, **key, xp=np), wide[:, :7])
    assert abs(np.corrcoef(wide.ravel(), np.roll(wide, 1, 1).ravel())[0, 1]) < 5 / wide.size**0.5


def test_the_first_noise_of_a_seed_never_changes():
    z, class_ids, decisions = dream_noise(np.arange(1000), 10, 64, seed=2026, stream=3, step=4, xp=np)
    digest = sha256(z.tobytes() + class_ids.tobytes() + decisions.tobytes()).hexdigest()
    assert digest == json.loads(GOLDEN.read_text())["noise_sha256"]


@pytest.fixture(scope="module")
def normals() -> np.ndarray:
    z, _, _ = dream_noise(np.arange(50_000), 2, 64, seed=0, stream=0, step=0, xp=np)
    return z.astype(np.float64)


def test_latents_have_the_moments_of_standard_normals(normals):
    root = normals.size**0.5
    assert abs(normals.mean()) < 5 / root
    assert abs((normals**2).mean() - 1) < 5 * 2**0.5 / root
    assert abs((normals**3).mean()) < 5 * 15**0.5 / root
    assert abs((normals**4).mean() - 3) < 5 * 96**0.5 / root


def test_latents_follow_the_normal_distribution_into_its_tails(normals):
    edges = np.array([-4.0, -3.0, -2.0, -1.0, -0.5, 0.0, 0.5, 1.0, 2.0, 3.0, 4.0])
    below = np.array([0.5 * math.erfc(-edge / 2**0.5) for edge in edges])
    shares = np.array([(normals < edge).mean() for edge in edges])
    assert np.all(np.abs(shares - below) < 5 * np.sqrt(below * (1 - below) / normals.size))


def test_latents_are_not_correlated_with_one_another_or_with_the_next_sample(normals):
    bound = 5.5 / len(normals) ** 0.5
    assert np.abs(np.corrcoef(normals.T) - np.eye(64)).max() < bound
    ahead = np.corrcoef(normals[:-1].T, normals[1:].T)[:64, 64:]
    assert np.abs(ahead).max() < bound
