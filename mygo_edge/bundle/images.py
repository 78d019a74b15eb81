"""Whatever a user calls an image into the raw pixels that a classifier takes, and dreams into pixels."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mygo_edge.bundle.manifest import InputFormat
from mygo_edge.errors import MygoEdgeError

_ROUNDING = 1e-3  # how far resizing and half precision may leave [0, 1]


def as_pixels(images: Any, form: InputFormat) -> NDArray[np.uint8]:
    """A batch of raw pixels, uint8 [n, channels, height, width]; the graph scales them.

    Args:
        images: uint8, or floats in [0, 1], which are rounded to 256 levels: [n, channels, height, width]; one image
            [channels, height, width]; for one channel also [n, height, width] and [height, width]. n may be 0.

    Raises:
        MygoEdgeError: another shape or type, or values that are not finite or not in [0, 1].
    """
    channels, height, width = form.shape
    expected = f"expected uint8, or floats in [0, 1], of shape [n, {channels}, {height}, {width}]"
    try:
        array = np.asarray(images)
    except ValueError as error:
        raise MygoEdgeError(f"{expected}; got something that is no array ({error})") from error
    single = [form.shape] if channels > 1 else [form.shape, (height, width)]  # one grey image needs no channel axis
    if array.shape not in single and array.shape[1:] not in single:
        raise MygoEdgeError(f"{expected}; got shape {list(array.shape)}")
    array = array.reshape(-1, channels, height, width) if array.size else np.empty((0, *form.shape), array.dtype)
    if array.dtype == np.uint8:
        return array
    if array.dtype.kind != "f":
        raise MygoEdgeError(f"{expected}; got type {array.dtype}")
    # Written so that NaN fails it.
    if array.size and not (array.min() >= -_ROUNDING and array.max() <= 1 + _ROUNDING):
        raise MygoEdgeError(f"{expected}; got values from {array.min()} to {array.max()}")
    return np.rint(array.astype(np.float32) * np.float32(255)).clip(0, 255).astype(np.uint8)


def to_pixels(dreams: NDArray[np.float32]) -> NDArray[np.uint8]:
    """Images in [-1, 1] as uint8, -1 as 0 and 1 as 255."""
    with np.errstate(invalid="ignore", over="ignore"):  # a damaged generator may dream NaN; it becomes some pixel
        return np.rint((dreams + np.float32(1)) * np.float32(127.5)).clip(0, 255).astype(np.uint8)
