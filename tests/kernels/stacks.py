"""Generators whose weights are the same on every machine, and dreams of them in float64."""

import numpy as np
import torch

from mygo_edge.kernels.dream import DreamBatch, GeneratorStack
from mygo_edge.kernels.dream_torch import generate
from mygo_edge.kernels.noise import dream_noise
from mygo_edge.model.gan import FrozenGenerator, Generator
from mygo_edge.model.memory import GenerativeMemory


def memory_of(shape, classes, width=8, kind="convolutional", device="cpu") -> GenerativeMemory:
    """A memory whose weights are normals of Philox, about as large as trained ones."""
    memory = GenerativeMemory(shape)
    for task, count in enumerate(classes):
        template = Generator(shape, count, width, kind).eval().freeze()
        memory.add(FrozenGenerator.from_tensors(shape, _filled(template.state_dict(), task)))
    return memory.to(device)


def _filled(tensors, task):
    filled = {}
    for number, (name, tensor) in enumerate(tensors.items()):
        values, _, _ = dream_noise(np.arange(-(-tensor.numel() // 64)), 1, 64, seed=17, stream=number, step=task, xp=np)
        fan_in = {"base_weight": 64, "class_bias": 1}.get(name, tensor[:, 0].numel() if tensor.ndim == 4 else 4)
        filled[name] = torch.from_numpy(values.ravel()[: tensor.numel()]).reshape(tensor.shape) * fan_in**-0.5
    return filled


def dreams_in_double(stack: GeneratorStack, batch: DreamBatch, samples, *, seed, stream, step) -> torch.Tensor:
    """The images that `batch` should hold, in float64 on the CPU: z exact, sums in double precision."""
    tasks = batch.task_ids.cpu()
    offsets = stack.class_offsets.cpu()
    latent = stack.base_weight.shape[1]
    z, class_ids, decisions = dream_noise(
        samples, offsets.diff()[tasks], latent, seed=seed, stream=stream, step=step, xp=torch
    )
    assert torch.equal(class_ids, batch.class_ids.cpu())
    assert torch.equal(decisions, batch.decisions.cpu())
    weights = [[part.cpu().double() for part in parts] for parts in (stack.weights, stack.biases)]
    images = [
        generate(
            stack.base_weight[task : task + 1].cpu().double(),
            stack.class_bias.cpu().double(),
            [weight[task : task + 1] for weight in weights[0]],
            [bias[task : task + 1] for bias in weights[1]],
            stack.base_size,
            [1],
            z[row : row + 1].double(),
            offsets[task] + class_ids[row : row + 1],
        )
        for row, task in enumerate(tasks.tolist())
    ]
    return torch.cat(images)


def relative_rms(actual: torch.Tensor, expected: torch.Tensor) -> float:
    """Root mean square of the difference over that of the expected values."""
    difference = actual.cpu().double() - expected
    return (difference.square().mean() / expected.square().mean()).sqrt().item()
