"""Dreams as Triton kernels for CUDA: which kernel makes which kind of dream.

A program works on a tile: some samples of one task. Sums are float32; operands are float32 (three TF32 products each)
for float32 answers, else float16. Everything that makes noise is compiled without fused multiply-adds: see
`noise_triton.py`. Not yet run on a GPU: tested in Triton's interpreter, and compiled for every target.
"""

from collections.abc import Iterator
from typing import Any

import torch
import triton.language as tl
from torch import Tensor

from mygo_edge.kernels.convolution_triton import convolution_launches
from mygo_edge.kernels.gaussian_triton import gaussian_launches
from mygo_edge.kernels.launch import Launch, target_of
from mygo_edge.kernels.layout import Layout
from mygo_edge.kernels.perceptron_triton import perceptron_launches
from mygo_edge.kernels.sampling_triton import Draw, draw_of
from mygo_edge.kernels.stack import GeneratorStack
from mygo_edge.kernels.tiling import base_tile, gaussian_tile, perceptron_tile, power_of_two


def dream_triton(
    stack: GeneratorStack, layout: Layout, position: Tensor, dtype: torch.dtype
) -> tuple[Tensor, Tensor, Tensor]:
    """Images or features [batch, ...], class ids and decisions: see `mygo_edge.kernels.dream`."""
    device = layout.task_ids.device
    batch = len(layout.task_ids)
    images = torch.empty((batch, *stack.dream_shape), dtype=dtype, device=device)
    class_ids = torch.empty_like(layout.task_ids)
    decisions = torch.empty((2, batch), dtype=torch.int64, device=device)
    if batch:
        with torch.cuda.device_of(class_ids):  # Triton launches on the current card
            for launch in launches(stack, layout, position, (images, class_ids, decisions), target_of(device)):
                launch.run()
    return images, class_ids, decisions


def launches(
    stack: GeneratorStack, layout: Layout, position: Tensor, answer: tuple[Tensor, Tensor, Tensor], target: int
) -> Iterator[Launch]:
    """What has to be launched, in order, for images (or features), class ids and decisions of at least one sample.

    Args:
        target: compute capability, 90 for 9.0, or 0 for Triton's interpreter.
    """
    images, class_ids, decisions = answer
    single, base = images.dtype == torch.float32, stack.base_weight.shape[2]
    arithmetic: dict[str, Any] = {
        "LATENT": stack.latent,
        "BLOCKS": power_of_two(stack.latent // 4),
        "OPERAND": tl.float32 if single else tl.float16,
        "PRECISION": "tf32x3" if single else "ieee",
        "enable_fp_fusion": False,
    }

    def draw(rows: int) -> Draw:
        return draw_of(stack, layout, position, class_ids, decisions, rows)

    if stack.kind == "gaussian":
        tile = gaussian_tile(target, single, base)
        yield from gaussian_launches(stack, draw(tile.rows), images, tile, arithmetic)
    elif stack.kind == "perceptron":
        tile = perceptron_tile(target, single, base)
        yield from perceptron_launches(stack, draw(tile.rows), images, tile, arithmetic)
    else:
        yield from convolution_launches(stack, draw(base_tile(target, single, base).rows), images, target, arithmetic)
