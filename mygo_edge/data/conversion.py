"""Bring images of another size or colour, and files of pictures, to what a learner takes."""

from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from mygo_edge.bundle.pictures import read_picture
from mygo_edge.data.split import Split
from mygo_edge.errors import MygoEdgeError

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


def pictures_read(split: Split, shape: tuple[int, int, int]) -> Split:
    """`split` with the pixels of its pictures, read as a device reads them, where it has their paths.

    Raises:
        MygoEdgeError: a file is not there, or no picture.
    """
    if not isinstance(split.inputs, list):
        return split
    try:
        images = np.stack([read_picture(Path(path), shape) for path in split.inputs])
    except OSError as error:
        raise MygoEdgeError(f"{error.filename} cannot be read ({error.strerror}); give files of pictures") from error
    return Split(torch.from_numpy(images), split.labels)
