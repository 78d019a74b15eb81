"""Generators whose weights are the same on every machine, and dreams of them in float64."""

from dataclasses import replace
from itertools import accumulate

import numpy as np
import torch

from mygo_edge.kernels.dream import DreamBatch
from mygo_edge.kernels.dream_torch import generate, generate_features
from mygo_edge.kernels.noise import dream_noise, feature_noise
from mygo_edge.kernels.stack import GeneratorStack
from mygo_edge.model.gan import FrozenGenerator, Generator
from mygo_edge.model.memory import GenerativeMemory


def memory_of(shape, classes, width=8, kind="convolutional", device="cpu") -> GenerativeMemory:
    """A memory whose weights are normals of Philox, about as large as trained ones."""
    memory = GenerativeMemory(shape)
    for task, count in enumerate(classes):
        template = Generator(shape, count, width, kind).eval().freeze()
        memory.add(FrozenGenerator.from_tensors(shape, kind, _filled(template.state_dict(), task)))
    return memory.to(device)


def _filled(tensors, task):
    filled = {}
    for number, (name, tensor) in enumerate(tensors.items()):
        values, _, _ = dream_noise(np.arange(-(-tensor.numel() // 64)), 1, 64, seed=17, stream=number, step=task, xp=np)
        fan_in = {"base_weight": 64, "class_bias": 1}.get(name, tensor[:, 0].numel() if tensor.ndim == 4 else 4)
        filled[name] = torch.from_numpy(values.ravel()[: tensor.numel()]).reshape(tensor.shape) * fan_in**-0.5
    return filled


def gaussian_stack(
    features, classes, *, latent=64, power=0.5, non_negative=False, normalised=False, device="cpu"
) -> GeneratorStack:
    """Class means, factors and deviations that are normals of Philox, for tasks of so many classes each."""
    shapes = {"means": (sum(classes), features), "factor": (len(classes), latent, features)}
    filled = _filled(
        {name: torch.empty(shape) for name, shape in {**shapes, "deviation": shapes["factor"][::2]}.items()}, 0
    )
    return GeneratorStack(
        "gaussian",
        base_weight=(filled["factor"] * latent**-0.5).to(device),
        class_bias=filled["means"].to(device),
        class_offsets=torch.tensor(list(accumulate(classes, initial=0)), device=device),
        deviation=filled["deviation"].abs().to(device),
        power=power,
        non_negative=non_negative,
        normalised=normalised,
    )


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
    images = []
    for row, task in enumerate(tasks.tolist()):
        one = alone(stack, task)
        drawn = [1], z[row : row + 1].double(), class_ids[row : row + 1]
        if stack.kind == "gaussian":
            noise = feature_noise(
                samples[row : row + 1],
                stack.dream_shape[0],
                seed=seed,
                stream=stream,
                step=step,
                xp=torch,
                latent=latent,
            )
            images.append(generate_features(one, *drawn, noise.double()))
        else:
            images.append(generate(one, *drawn))
    return torch.cat(images)


def alone(stack: GeneratorStack, task: int) -> GeneratorStack:
    """One task's generator as a stack of its own, in float64 on the CPU."""
    part, start, end = slice(task, task + 1), *stack.class_offsets[task : task + 2].tolist()
    return replace(
        stack,
        base_weight=stack.base_weight[part].cpu().double(),
        class_bias=stack.class_bias[start:end].cpu().double(),
        class_offsets=torch.tensor([0, end - start]),
        weights=[weight[part].cpu().double() for weight in stack.weights],
        biases=[bias[part].cpu().double() for bias in stack.biases],
        deviation=None if stack.deviation is None else stack.deviation[part].cpu().double(),
    )


def relative_rms(actual: torch.Tensor, expected: torch.Tensor) -> float:
    """Root mean square of the difference over that of the expected values."""
    difference = actual.cpu().double() - expected
    return (difference.square().mean() / expected.square().mean()).sqrt().item()
