"""The generator's upsampling layer as it is trained, in the form that is fastest for its device and size."""

import torch
import torch.nn.functional as F
from torch import Tensor

from mygo_edge.kernels import GeneratorKind
from mygo_edge.kernels.dream_torch import dense, upsample_by_columns


def upsample(kind: GeneratorKind, maps: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Maps [batch, in, height, width] through `weight` [in, out, rows, columns] and `bias` [out], with gradients.

    A perceptron's layer is dense. On a CPU oneDNN's transposed convolution to one channel is slow, and so is its
    gradient: bench/test_memory.py compares. To three channels it is the faster one where a gradient is needed. What is
    exported keeps to PyTorch's own operator.
    """
    if kind == "perceptron":
        return dense(maps, weight, bias)
    few = 1 if maps.requires_grad else 3
    if maps.device.type == "cpu" and weight.shape[1] <= few and not torch.compiler.is_exporting():
        return upsample_by_columns(maps, weight, bias)
    return F.conv_transpose2d(maps, weight, bias, stride=2, padding=1)
