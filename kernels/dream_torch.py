"""Dreams in PyTorch: the reference that every other backend is tested against, and what runs on a CPU."""

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor

from mygo_edge.kernels.noise import dream_noise


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
    seed, stream, step = position.unbind()
    latent = base_weight.shape[1]
    classes = class_offsets.diff()[task_ids]
    z, class_ids, decisions = dream_noise(samples, classes, latent, seed=seed, stream=stream, step=step, xp=torch)
    rows = class_offsets[task_ids] + class_ids
    if counts is None:
        counts = torch.bincount(task_ids, minlength=len(class_offsets) - 1).tolist()
    if order is not None:
        z, rows = z[order], rows[order]
    images = generate(base_weight, class_bias, weights, biases, base_size, counts, z, rows).to(dtype)
    if order is not None:
        images = torch.empty_like(images).index_copy_(0, order, images)
    return images, class_ids, decisions


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
    height, width = image_size(base_size, weights)
    images = z.new_empty((len(z), weights[-1].shape[2], height, width))
    stride, padding = (1, 0) if is_perceptron(base_size) else (2, 1)
    start = 0
    for task, count in enumerate(counts):
        if not count:
            continue
        part = slice(start, start + count)
        start += count
        hidden = torch.addmm(class_bias[rows[part]], z[part], base_weight[task])
        hidden = hidden.unflatten(1, (-1, *base_size)).contiguous(memory_format=torch.channels_last)
        for weight, bias in zip(weights, biases, strict=True):
            hidden = F.conv_transpose2d(F.relu_(hidden), weight[task], bias[task], stride=stride, padding=padding)
        torch.tanh(hidden, out=images[part])
    return images


def is_perceptron(base_size: Sequence[int]) -> bool:
    """Whether the layer after the base is dense: its kernel is the image."""
    return tuple(base_size) == (1, 1)


def image_size(base_size: Sequence[int], weights: Sequence[Tensor]) -> tuple[int, int]:
    """Height and width of the images that the transposed convolutions make."""
    if is_perceptron(base_size):
        return weights[0].shape[3], weights[0].shape[4]
    height, width = base_size
    for weight in weights:
        height, width = 2 * height - 4 + weight.shape[3], 2 * width - 4 + weight.shape[4]
    return height, width
