"""Dreams of features: what they are, and that every backend and every split of a batch gives the same ones."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from mygo_edge.bundle.gaussian import PowerTransform
from mygo_edge.kernels.dream import dream, flat
from mygo_edge.kernels.dream_torch import inverse_power
from mygo_edge.kernels.layout import layout_of_counts, position_of
from mygo_edge.kernels.noise import dream_noise, feature_noise
from tests.kernels.stacks import dreams_in_double, gaussian_stack, relative_rms

KEY = {"seed": 2**63 + 3, "stream": 2, "step": 5}
CLASSES = (2, 5, 3)
TOLERANCE = {torch.float32: 2e-6, torch.float16: 2e-3, torch.bfloat16: 4e-3}


@pytest.fixture(params=["torch", "triton"])
def backend(request):
    return request.param


@pytest.mark.parametrize("power", [0.5, 1.0, 0.3])
@pytest.mark.parametrize("features", [5, 64, 301])
def test_dreams_are_those_of_double_precision_arithmetic(features, power, backend, device, poisoned):
    stack = gaussian_stack(features, CLASSES, power=power, device=device)
    batch = dream(stack, [3, 0, 4], **KEY, backend=backend)
    assert batch.images.shape == (7, features)
    expected = dreams_in_double(stack, batch, torch.arange(7), **KEY)
    assert relative_rms(batch.images, expected) < TOLERANCE[torch.float32] * max(1, 1 / power)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_stays_within_its_rounding(dtype, backend, device, poisoned):
    stack = gaussian_stack(70, CLASSES, power=1.0, device=device)
    batch = dream(stack, [3, 2, 4], **KEY, dtype=dtype, backend=backend)
    assert batch.images.dtype == dtype
    assert relative_rms(batch.images, dreams_in_double(stack, batch, torch.arange(9), **KEY)) < TOLERANCE[dtype]


def test_features_that_are_never_negative_are_not_dreamt_negative(backend, device):
    stack = gaussian_stack(33, CLASSES, non_negative=True, device=device)
    features = dream(stack, [5, 5, 5], **KEY, backend=backend).images
    signed = dream(replace(stack, non_negative=False), [5, 5, 5], **KEY, backend=backend).images
    assert (signed < 0).any()
    torch.testing.assert_close(features, signed.clamp(min=0))


@pytest.mark.parametrize(("power", "signed"), [(0.5, False), (0.5, True), (1.0, True), (0.3, True)])
@pytest.mark.parametrize("normalised", [False, True])
def test_the_transform_of_a_memory_is_undone(power, signed, normalised, backend, device, poisoned):
    stack = gaussian_stack(70, CLASSES, power=power, non_negative=not signed, normalised=normalised, device=device)
    in_its_space = dream(replace(stack, power=1.0, non_negative=False, normalised=False), [20, 0, 3], **KEY).images
    features = dream(stack, [20, 0, 3], **KEY, backend=backend).images.cpu()
    expected = PowerTransform(power, signed, normalised).inverse(in_its_space.cpu().numpy())
    assert relative_rms(features, torch.from_numpy(expected).double()) < 4e-6 * max(1, 1 / power)
    if normalised:
        torch.testing.assert_close(features.norm(dim=1), torch.ones(23))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_normalised_dreams_of_half_precision_are_rounded_twice_at_most(dtype, backend, device, poisoned):
    stack = gaussian_stack(300, CLASSES, power=1.0, normalised=True, device=device)
    batch = dream(stack, [3, 2, 4], **KEY, dtype=dtype, backend=backend)
    assert relative_rms(batch.images, dreams_in_double(stack, batch, torch.arange(9), **KEY)) < 2 * TOLERANCE[dtype]


def test_a_dream_of_nothing_but_zeros_is_not_divided_by_its_norm(backend, device):
    stack = gaussian_stack(20, (1,), non_negative=True, normalised=True, device=device)
    nothing = replace(stack, class_bias=torch.full_like(stack.class_bias, -1e3))
    assert torch.equal(dream(nothing, [3], **KEY, backend=backend).images.cpu(), torch.zeros(3, 20))


def test_hundreds_of_classes_mix_in_one_batch(backend, device, poisoned):
    stack = gaussian_stack(20, [3] * 100, latent=16, device=device)
    task_ids = torch.randint(100, (150,), generator=torch.Generator().manual_seed(0)).to(device)
    batch = dream(stack, task_ids, **KEY, backend=backend)
    assert torch.equal(batch.task_ids, task_ids)
    assert relative_rms(batch.images, dreams_in_double(stack, batch, torch.arange(150), **KEY)) < 4e-6


def test_parts_and_steps_ahead_are_the_dreams_of_the_whole(backend, device):
    stack = gaussian_stack(40, CLASSES, device=device)
    ahead = dream(stack, [3, 0, 4], **{**KEY, "step": 4}, steps=2, part=(1, 2), backend=backend)
    alone = dream(stack, [3, 0, 4], **KEY, backend=backend)
    torch.testing.assert_close(ahead.images[3:], alone.images[1::2], atol=1e-5, rtol=0)
    assert torch.equal(ahead.class_ids[3:], alone.class_ids[1::2])


def test_dreams_of_a_class_have_its_mean_and_covariance():
    stack = gaussian_stack(6, [1], latent=4, power=1.0)
    features = dream(stack, [60_000], **KEY).images.double()
    factor, deviation = stack.base_weight[0].double(), stack.deviation[0].double()
    covariance = factor.T @ factor + deviation.square().diag()
    assert (features.mean(0) - stack.class_bias[0]).abs().max() < 5 * (covariance.diag().max() / 60_000) ** 0.5
    assert (features.T.cov() - covariance).abs().max() < 5 * covariance.abs().max() * (2 / 60_000) ** 0.5


def test_numpy_alone_dreams_the_same_on_a_device():
    stack = gaussian_stack(50, CLASSES)
    batch = dream(stack, [0, 9], **KEY)
    samples = np.arange(9)
    z, class_ids, _ = dream_noise(samples, 5, 64, **KEY, xp=np)
    noise = feature_noise(samples, 50, **KEY, xp=np)
    mean, factor, deviation = stack.class_bias[2:7].numpy(), stack.base_weight[1].numpy(), stack.deviation[1].numpy()
    powered = mean[class_ids] + z @ factor + noise * deviation
    np.testing.assert_allclose(powered * np.abs(powered), batch.images.numpy(), atol=1e-5)


@pytest.mark.parametrize("power", [1.0, 0.5, 0.3])
def test_the_inverse_power_inverts_the_power(power):
    x = torch.linspace(-3, 3, 31, dtype=torch.float64)
    torch.testing.assert_close(inverse_power(x.sign() * x.abs() ** power, power, non_negative=False), x)


@pytest.mark.parametrize("parts", ["torch", "triton"])
def test_opcheck_finds_nothing(parts, device):
    stack = gaussian_stack(20, (2, 3), device=device)
    layout = layout_of_counts((2, 1), 2, (0, 1), device)
    arguments = (*flat(stack, layout), position_of(1, 2, 3, device), torch.float32, parts)
    torch.library.opcheck(torch.ops.mygo_edge.dream.default, arguments)


def test_a_cards_tiles_give_the_same_dreams(device, monkeypatch, poisoned):
    from mygo_edge.kernels import dream_triton

    stack = gaussian_stack(150, CLASSES, device=device)
    usual = dream(stack, [33, 1, 2], **KEY, backend="triton")
    monkeypatch.setattr(dream_triton, "target_of", lambda device: 90)  # also without a card
    other = dream(stack, [33, 1, 2], **KEY, backend="triton")
    torch.testing.assert_close(usual.images, other.images, atol=1e-5, rtol=1e-5)
    normalised = dream(replace(stack, normalised=True), [33, 1, 2], **KEY, backend="triton").images
    torch.testing.assert_close(normalised, torch.nn.functional.normalize(other.images), atol=1e-5, rtol=1e-5)
