"""Dreams in PyTorch: the reference that every other backend is tested against, and what runs on a CPU."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mygo_edge.kernels.layout import Layout
from mygo_edge.kernels.noise import dream_noise, feature_noise
from mygo_edge.kernels.stack import SHORTEST, GeneratorStack, upsampled

# Samples a task, up to which a CPU is faster with all tasks at once (measured with 50 tasks).
MOST_AT_ONCE = {"convolutional": 4, "perceptron": 48, "gaussian": 4}
# Channels of an image, up to which a matrix product dreams it faster than oneDNN's convolution.
FEW_CHANNELS = 3
# Samples whose feature noise is made at once: its 64-bit integers then stay in a CPU's cache.
NOISE_ROWS = 64


def dream_reference(
    stack: GeneratorStack, layout: Layout, position: Tensor, dtype: torch.dtype
) -> tuple[Tensor, Tensor, Tensor]:
    """Images or features [batch, ...], class ids and decisions: see `mygo_edge.kernels.dream`.

    Tasks given one by one (`layout.counts` is None) make the host wait for the device once, to learn the counts.
    """
    task_ids, samples, order, known = layout
    classes = stack.class_offsets.diff()[task_ids]
    z, class_ids, decisions = noise_of(samples, classes, stack.latent, position)
    rows = stack.class_offsets[task_ids] + class_ids
    counts = torch.bincount(task_ids, minlength=len(stack)).tolist() if known is None else list(known)
    if order is not None:
        z, rows, samples = z[order], rows[order], samples[order]
    if stack.kind == "gaussian":
        noise = feature_noise_of(samples, stack.base_weight.shape[2], stack.latent, position)
        images = generate_features(stack, counts, z, rows, noise).to(dtype)
    else:
        images = generate(stack, counts, z, rows).to(dtype)
    if order is not None:
        images = torch.empty_like(images).index_copy_(0, order, images)
    return images, class_ids, decisions


def noise_of(samples: Tensor, classes: Tensor, latent: int, position: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """`dream_noise` at (seed, stream, step). On a CPU numpy makes the same bits, and faster."""
    if samples.device.type != "cpu":
        seed, stream, step = position.unbind()
        return dream_noise(samples, classes, latent, seed=seed, stream=stream, step=step, xp=torch)
    seed, stream, step = position.tolist()
    made = dream_noise(samples.numpy(), classes.numpy(), latent, seed=seed, stream=stream, step=step, xp=np)
    z, class_ids, decisions = map(torch.from_numpy, made)
    return z, class_ids, decisions


def feature_noise_of(samples: Tensor, width: int, latent: int, position: Tensor) -> Tensor:
    """`feature_noise` at (seed, stream, step), [batch, width]. On a CPU numpy makes the same bits, and faster."""
    if samples.device.type != "cpu":
        seed, stream, step = position.unbind()
        return feature_noise(samples, width, seed=seed, stream=stream, step=step, xp=torch, latent=latent)
    seed, stream, step = position.tolist()
    noise = np.empty((len(samples), width), np.float32)
    for first in range(0, len(samples), NOISE_ROWS):
        part = slice(first, first + NOISE_ROWS)
        noise[part] = feature_noise(
            samples[part].numpy(), width, seed=seed, stream=stream, step=step, xp=np, latent=latent
        )
    return torch.from_numpy(noise)


def generate(stack: GeneratorStack, counts: Sequence[int], z: Tensor, rows: Tensor) -> Tensor:
    """Images [batch, channels, height, width] from z [batch, latent] and rows of `class_bias` [batch], task-major."""
    if len(set(counts)) == 1 and 0 < counts[0] <= MOST_AT_ONCE[stack.kind]:
        at_once = _perceptrons_at_once if stack.kind == "perceptron" else _convolutions_at_once
        return at_once(stack, counts[0], z, rows)
    images = z.new_empty((len(z), *stack.dream_shape))
    start = 0
    for task, count in enumerate(counts):
        if not count:
            continue
        part = slice(start, start + count)
        start += count
        hidden = torch.addmm(stack.class_bias[rows[part]], z[part], stack.base_weight[task])
        hidden = _maps(hidden, stack.base_size)
        for weight, bias in zip(stack.weights, stack.biases, strict=True):
            hidden = F.relu_(hidden)
            if stack.kind == "perceptron":
                hidden = dense(hidden, weight[task], bias[task])
            else:
                hidden = upsample(hidden, weight[task], bias[task])
        torch.tanh(hidden, out=images[part])
    return images


def generate_features(stack: GeneratorStack, counts: Sequence[int], z: Tensor, rows: Tensor, noise: Tensor) -> Tensor:
    """Features [batch, features] from z, rows of `class_bias` and feature noise [batch, features], task-major."""
    assert stack.deviation is not None
    features = stack.class_bias[rows]
    start = 0
    for task, count in enumerate(counts):
        part = slice(start, start + count)
        start += count
        features[part].addmm_(z[part], stack.base_weight[task]).addcmul_(noise[part], stack.deviation[task])
    features = inverse_power(features, stack.power, non_negative=stack.non_negative)
    return F.normalize(features, eps=SHORTEST) if stack.normalised else features


def inverse_power(values: Tensor, power: float, *, non_negative: bool) -> Tensor:
    """sign(y) |y|^(1 / power), the inverse of y = sign(x) |x|^power; negative y become 0 where no x is negative."""
    if non_negative:
        values = values.clamp(min=0)
    if power == 1.0:
        return values
    return values * values.abs() if power == 0.5 else values.sign() * values.abs().pow(1.0 / power)


def _maps(hidden: Tensor, base_size: Sequence[int]) -> Tensor:
    """[..., base] as maps [batch, channels, height, width], channels last in memory as they come."""
    return hidden.unflatten(-1, (*base_size, -1)).movedim(-1, -3)


def _perceptrons_at_once(stack: GeneratorStack, each: int, z: Tensor, rows: Tensor) -> Tensor:
    """`generate` for `each` samples of every one of the first tasks, all tasks at once."""
    hidden, tasks = _bases_at_once(stack, each, z, rows)
    weight, bias = stack.weights[0][:tasks], stack.biases[0][:tasks]
    pixels = bias.repeat_interleave(weight[0, 0, 0].numel(), 1)  # [tasks, pixels]
    images = torch.baddbmm(pixels[:, None], F.relu_(hidden), weight.flatten(2))
    return images.tanh_().flatten(0, 1).unflatten(1, weight.shape[2:])


def _convolutions_at_once(stack: GeneratorStack, each: int, z: Tensor, rows: Tensor) -> Tensor:
    """`generate` for `each` samples of every one of the first tasks, all tasks at once."""
    hidden, tasks = _bases_at_once(stack, each, z, rows)
    # [each, tasks x channels, height, width]: a group of channels a task.
    hidden = _maps(hidden.transpose(0, 1), stack.base_size).flatten(1, 2)
    for weight, bias in zip(stack.weights[:-1], stack.biases[:-1], strict=True):
        hidden = F.conv_transpose2d(
            F.relu_(hidden), weight[:tasks].flatten(0, 1), bias[:tasks].flatten(), stride=2, padding=1, groups=tasks
        )
    maps = F.relu_(hidden).unflatten(1, (tasks, -1)).transpose(0, 1)  # [tasks, each, channels, height, width]
    weight, bias = stack.weights[-1][:tasks], stack.biases[-1][:tasks]
    columns = weight.flatten(2).transpose(1, 2)[:, None] @ maps.flatten(3)
    images = fold(columns.flatten(0, 1), weight, (maps.shape[3], maps.shape[4]))
    return (images.unflatten(0, (tasks, each)) + bias[:, None, :, None, None]).flatten(0, 1).tanh_()


def _bases_at_once(stack: GeneratorStack, each: int, z: Tensor, rows: Tensor) -> tuple[Tensor, int]:
    """The first layer before its activation, [tasks, each, base], and the number of tasks."""
    tasks = len(z) // each
    by_class = stack.class_bias[rows].unflatten(0, (tasks, each))
    return torch.baddbmm(by_class, z.unflatten(0, (tasks, each)), stack.base_weight[:tasks]), tasks


def dense(maps: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """A transposed convolution from maps of one pixel, [batch, in, 1, 1] -> [batch, out, rows, columns], is a matrix
    product, which on a CPU takes a hundredth of the convolution's time. weight: [in, out, rows, columns].
    """
    return (maps.flatten(1) @ weight.flatten(1)).unflatten(1, weight.shape[1:]) + bias[:, None, None]


def upsample(maps: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """A transposed convolution (stride 2, padding 1) without a gradient, by what is fastest for its device and size."""
    if maps.device.type == "cpu" and weight.shape[1] <= FEW_CHANNELS:
        return upsample_by_columns(maps, weight, bias)
    return F.conv_transpose2d(maps, weight, bias, stride=2, padding=1)


def upsample_by_columns(maps: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """The same as a matrix product, each of whose columns is then added where it belongs: for few output channels.

    From and, in the backward pass, to maps that are channels last, as the other layers have them.
    """
    columns = maps.permute(0, 2, 3, 1).flatten(1, 2) @ weight.flatten(1)  # [batch, pixels, out x kernel]
    return fold(columns.transpose(1, 2), weight, (maps.shape[2], maps.shape[3])) + bias[:, None, None]


def fold(columns: Tensor, weight: Tensor, base_size: tuple[int, int]) -> Tensor:
    """Images of a transposed convolution from products of its weight with its maps, [batch, out x kernel, pixels]."""
    return F.fold(columns, upsampled(base_size, weight), weight.shape[-2:], padding=1, stride=2)
