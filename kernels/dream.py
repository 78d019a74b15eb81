"""Dream a batch that mixes tasks from stacked generators: the PyTorch reference.

Sample i of a batch depends on (seed, stream, step, i) and its task alone, never on the batch around it.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor

from mygo_edge.kernels.philox import below, open_unit, philox4x32, split_seed


class DreamBatch(NamedTuple):
    """Dreams and where they come from.

    images: [batch, channels, height, width] in [-1, 1]; task_ids and class_ids: [batch], int64, the class counted
    within its task; decisions: two int64 words in [0, 2^32) a sample, [2, batch], free for augmentation.
    """

    images: Tensor
    task_ids: Tensor
    class_ids: Tensor
    decisions: Tensor


@dataclass(frozen=True, slots=True)
class GeneratorStack:
    """The weights of T generators of one architecture, stacked.

    base_weight: [T, latent, base]; class_bias: [classes of all tasks, base], task after task; classes: number of
    classes of each task; base_size: height and width of the first feature map; weights[i]: [T, in, out, kernel,
    kernel] and biases[i]: [T, out] of transposed convolution i (stride 2, padding 1).
    """

    base_weight: Tensor
    class_bias: Tensor
    classes: tuple[int, ...]
    base_size: tuple[int, int]
    weights: list[Tensor]
    biases: list[Tensor]


def dream_noise(
    samples: Tensor, classes: Tensor, latent: int, *, seed: int, stream: int, step: int
) -> tuple[Tensor, Tensor, Tensor]:
    """What a dream is made from.

    Args:
        samples: int64 [batch], the samples' indices in [0, 2^32).
        classes: int64 [batch], number of classes of each sample's task.
        latent: number of normals a sample, a multiple of 4.

    Returns:
        z [batch, latent] float32, class ids [batch] int64, decisions [2, batch] int64. The integers are exact on every
        machine; z follows Box and Muller (1958) with the platform's log, cos and sin, so its last bits may differ.
    """
    key = split_seed(seed)
    words = philox4x32((samples, 0, step, stream), key)
    blocks = torch.arange(1, latent // 4 + 1, device=samples.device)
    latent_words = torch.stack(philox4x32((samples[:, None], blocks, step, stream), key), -1)  # [batch, blocks, 4]
    uniform = open_unit(latent_words).float() * 2.0**-24  # exact
    radius = torch.sqrt(-2.0 * torch.log(uniform[..., 0::2]))
    angle = (2.0 * math.pi) * uniform[..., 1::2]
    z = torch.stack([radius * torch.cos(angle), radius * torch.sin(angle)], -1).flatten(1)
    return z, below(words[0], classes), torch.stack(words[1:3])


@torch.no_grad()
def dream(
    stack: GeneratorStack, counts: Sequence[int], *, seed: int, stream: int, step: int, first: int = 0
) -> DreamBatch:
    """Dream `counts[t]` samples of every task t, in task order, classes drawn uniformly.

    Args:
        stack: the generators' weights.
        counts: dreams of each task; zero is allowed, and there may be fewer counts than tasks.
        seed, stream, step: which dreams; equal values give equal dreams.
        first: index of the first sample, so that a part of a larger batch can be dreamt.

    Raises:
        ValueError: a count is negative, or there are more counts than generators.
    """
    if len(counts) > len(stack.classes) or any(count < 0 for count in counts):
        raise ValueError(f"{len(stack.classes)} generators cannot dream counts {list(counts)}")
    device = stack.base_weight.device
    # Dreams are the same inside and outside of mixed precision.
    with torch.autocast(device.type, enabled=False):
        return _dream(stack, counts, device, seed=seed, stream=stream, step=step, first=first)


def _dream(
    stack: GeneratorStack, counts: Sequence[int], device: torch.device, *, seed: int, stream: int, step: int, first: int
) -> DreamBatch:
    total = sum(counts)
    repeats = torch.tensor(counts, device=device)
    task_ids = torch.arange(len(counts), device=device).repeat_interleave(repeats, output_size=total)
    classes = torch.tensor(stack.classes, device=device)
    samples = torch.arange(first, first + total, device=device)
    latent = stack.base_weight.shape[1]
    z, class_ids, decisions = dream_noise(samples, classes[task_ids], latent, seed=seed, stream=stream, step=step)
    rows = (classes.cumsum(0) - classes)[task_ids] + class_ids
    return DreamBatch(generate(stack, counts, z, rows), task_ids, class_ids, decisions)


def generate(stack: GeneratorStack, counts: Sequence[int], z: Tensor, rows: Tensor) -> Tensor:
    """Images [batch, channels, height, width] from z [batch, latent] and rows of `class_bias` [batch], task-major."""
    images = []
    start = 0
    for task, count in enumerate(counts):
        part = slice(start, start + count)
        start += count
        hidden = torch.addmm(stack.class_bias[rows[part]], z[part], stack.base_weight[task])
        hidden = hidden.unflatten(1, (-1, *stack.base_size)).contiguous(memory_format=torch.channels_last)
        for weight, bias in zip(stack.weights, stack.biases, strict=True):
            hidden = F.conv_transpose2d(F.relu_(hidden), weight[task], bias[task], stride=2, padding=1)
        images.append(hidden.tanh_())
    return torch.cat(images)
