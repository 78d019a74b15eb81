"""Bring images of another size or colour to what a learner takes."""

import torch.nn.functional as F
from torch import Tensor

from mygo_edge.data.split import Split

LUMA = (0.299, 0.587, 0.114)  # of red, green and blue (ITU-R BT.601)


def brought_to(split: Split, shape: tuple[int, ...]) -> Split:
    """`split` with its images resized, antialiased, and turned grey or to colour, where they are of another shape.

    Args:
        shape: channels, height, width that the learner takes; of another length, nothing is changed.
    """
    images = split.inputs
    if not isinstance(images, Tensor) or len(shape) != 3 or tuple(images.shape[1:]) == shape:
        return split
    kind = images.dtype
    values = images.float()  # [n, channels, height, width]
    if values.shape[1] == 3 and shape[0] == 1:
        values = (values * values.new_tensor(LUMA)[:, None, None]).sum(1, keepdim=True)
    elif values.shape[1] == 1 and shape[0] == 3:
        values = values.expand(-1, 3, -1, -1)
    if tuple(values.shape[2:]) != tuple(shape[1:]):
        values = F.interpolate(values, size=shape[1:], mode="bilinear", antialias=True)
    if not kind.is_floating_point:
        values = values.round().clamp(0, 255)
    return Split(values.to(kind), split.labels)
