"""Dreams in PyTorch: the reference that every other backend is tested against, and what runs on a CPU."""

from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mygo_edge.kernels.noise import dream_noise

# Samples a task, up to which a CPU is faster with all tasks at once (measured with 50 tasks).
FEW = 4
FEW_DENSE = 48
# Channels of an image, up to which a matrix product dreams it faster than oneDNN's convolution.
FEW_CHANNELS = 3


def dream_reference(
    base_weight: Tensor,
    class_bias: Tensor,
    weights: list[Tensor],
    biases: list[Tensor],
    class_offsets: Tensor,
    base_size: list[int],
    task_ids: Tensor,
    samples: Tensor,
    order: Tensor | None,
    counts: list[int] | None,
    position: Tensor,
    dtype: torch.dtype,
) -> tuple[Tensor, Tensor, Tensor]:
    """Images, class ids and decisions; the arguments are those of `mygo_edge.kernels.dream`'s operator.

    Tasks given one by one (`counts` is None) make the host wait for the device once, to learn the counts.
    """
    classes = class_offsets.diff()[task_ids]
    z, class_ids, decisions = noise_of(samples, classes, base_weight.shape[1], position)
    rows = class_offsets[task_ids] + class_ids
    if counts is None:
        counts = torch.bincount(task_ids, minlength=len(class_offsets) - 1).tolist()
    if order is not None:
        z, rows = z[order], rows[order]
    images = generate(base_weight, class_bias, weights, biases, base_size, counts, z, rows).to(dtype)
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


def generate(
    base_weight: Tensor,
    class_bias: Tensor,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor],
    base_size: Sequence[int],
    counts: Sequence[int],
    z: Tensor,
    rows: Tensor,
) -> Tensor:
    """Images [batch, channels, height, width] from z [batch, latent] and rows of `class_bias` [batch], task-major."""
    if len(set(counts)) == 1 and 0 < counts[0] <= (FEW_DENSE if is_perceptron(base_size) else FEW):
        return _generate_evenly(base_weight, class_bias, weights, biases, base_size, counts[0], z, rows)
    height, width = image_size(base_size, weights)
    images = z.new_empty((len(z), weights[-1].shape[2], height, width))
    start = 0
    for task, count in enumerate(counts):
        if not count:
            continue
        part = slice(start, start + count)
        start += count
        hidden = torch.addmm(class_bias[rows[part]], z[part], base_weight[task])
        hidden = hidden.unflatten(1, (-1, *base_size)).contiguous(memory_format=torch.channels_last)
        for weight, bias in zip(weights, biases, strict=True):
            hidden = upsample(F.relu_(hidden), weight[task], bias[task])
        torch.tanh(hidden, out=images[part])
    return images


def _generate_evenly(
    base_weight: Tensor,
    class_bias: Tensor,
    weights: Sequence[Tensor],
    biases: Sequence[Tensor],
    base_size: Sequence[int],
    each: int,
    z: Tensor,
    rows: Tensor,
) -> Tensor:
    """The same for `each` samples of every task, all tasks at once."""
    tasks = len(z) // each
    hidden = torch.baddbmm(
        class_bias[rows].unflatten(0, (tasks, each)), z.unflatten(0, (tasks, each)), base_weight[:tasks]
    )
    if is_perceptron(base_size):
        (weight,), (bias,) = weights, biases
        dense = weight[:tasks].flatten(2)  # [tasks, hidden, pixels]
        pixels = bias[:tasks].repeat_interleave(dense.shape[2] // bias.shape[1], 1)
        images = torch.baddbmm(pixels[:, None], F.relu_(hidden), dense)
        return images.tanh_().flatten(0, 1).unflatten(1, weight.shape[2:])
    # [each, tasks x channels, height, width]: a group of channels a task.
    hidden = hidden.transpose(0, 1).reshape(each, -1, *base_size)
    for weight, bias in zip(weights[:-1], biases[:-1], strict=True):
        hidden = F.conv_transpose2d(
            F.relu_(hidden), weight[:tasks].flatten(0, 1), bias[:tasks].flatten(), stride=2, padding=1, groups=tasks
        )
    maps = F.relu_(hidden).unflatten(1, (tasks, -1)).transpose(0, 1)  # [tasks, each, channels, height, width]
    weight, bias = weights[-1][:tasks], biases[-1][:tasks]
    columns = weight.flatten(2).transpose(1, 2)[:, None] @ maps.flatten(3)
    images = _fold(columns.flatten(0, 1), weight, base_size=maps.shape[3:])
    return (images.unflatten(0, (tasks, each)) + bias[:, None, :, None, None]).flatten(0, 1).tanh_()


def _fold(columns: Tensor, weight: Tensor, base_size: Sequence[int]) -> Tensor:
    """Images of a transposed convolution from products of its weight with its maps, [batch, out x kernel, pixels]."""
    size = image_size(base_size, [weight])
    return F.fold(columns, size, weight.shape[-2:], padding=1, stride=2)


def upsample(maps: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """A generator's transposed convolution: [batch, in, height, width] -> [batch, out, ...], weight [in, out, ...].

    From maps of one pixel it is a matrix product, which on a CPU takes a hundredth of the convolution's time. To images
    it is one too, each of whose columns is then added where it belongs; bench/test_memory.py compares the two.
    """
    if is_perceptron(maps.shape[2:]):
        return (maps.flatten(1) @ weight.flatten(1)).unflatten(1, weight.shape[1:]) + bias[:, None, None]
    few = 1 if maps.requires_grad else FEW_CHANNELS  # oneDNN is the faster one to train with three channels
    if maps.device.type == "cpu" and weight.shape[1] <= few and not torch.compiler.is_exporting():
        # From and, in the backward pass, to maps that are channels last, as the other layers have them.
        columns = maps.permute(0, 2, 3, 1).flatten(1, 2) @ weight.flatten(1)  # [batch, pixels, out x kernel]
        return _fold(columns.transpose(1, 2), weight, maps.shape[2:]) + bias[:, None, None]
    return F.conv_transpose2d(maps, weight, bias, stride=2, padding=1)


def is_perceptron(base_size: Sequence[int]) -> bool:
    """Whether the layer after the base is dense: its kernel is the image."""
    return tuple(base_size) == (1, 1)


def image_size(base_size: Sequence[int], weights: Sequence[Tensor]) -> tuple[int, int]:
    """Height and width of the images that the transposed convolutions make."""
    if is_perceptron(base_size):
        return weights[0].shape[-2], weights[0].shape[-1]
    height, width = base_size
    for weight in weights:
        height, width = 2 * height - 4 + weight.shape[-2], 2 * width - 4 + weight.shape[-1]
    return height, width
