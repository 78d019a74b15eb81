"""From a picture of any size to the input of a trunk, on the device as on the box: numpy, and Pillow on first use.

Where both have the same Pillow, both get the same bits.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mygo_edge.bundle.decoding import open_picture, pillow, upright
from mygo_edge.errors import MygoEdgeError

Interpolation = Literal["nearest", "bilinear", "bicubic", "lanczos", "box"]
Layout = Literal["NCHW", "NHWC"]
CHANNELS = 3
_DRAFT = 2  # a JPEG is decoded at the smallest of its own scales that leaves this many times the wanted side


@dataclass(frozen=True, slots=True)
class Preparation:
    """How a picture is prepared for a trunk; `mygo_edge.bundle.manifest.ImageInput` is what a manifest says of that.

    size: height and width; resize: the shorter side is brought to so many pixels, and `size` is cut from the middle; or
    None: the whole picture is stretched to `size`; interpolation: Pillow's filter; mean and std: of a channel, of
    pixels from 0 to 1; a graph that takes uint8 applies them itself, one that takes floats is given scaled pixels.
    """

    size: tuple[int, int]
    resize: int | None
    interpolation: Interpolation
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    layout: Layout = "NCHW"


def prepare(picture: Any, form: Preparation) -> NDArray[np.uint8]:
    """uint8 [height, width, 3] of an opened Pillow image: turned as its EXIF says, in RGB, resized and cut.

    Raises:
        ValueError: pixels that are not finite.
    """
    height, width = form.size
    image = upright(picture)
    box = None
    target = (width, height)
    if form.resize is not None:
        scale = form.resize / min(image.size)
        # The cut of the original that becomes `size`: one resampling instead of two steps.
        cut = (min(width / scale, image.size[0]), min(height / scale, image.size[1]))
        left, top = ((side - part) / 2 for side, part in zip(image.size, cut, strict=True))
        box = (left, top, left + cut[0], top + cut[1])
    resampling = pillow().Resampling[form.interpolation.upper()]
    return np.asarray(image.resize(target, resampling, box=box))


def read_photo(path: Path, form: Preparation) -> NDArray[np.uint8]:
    """The picture of a file as `prepare` makes it: uint8 [height, width, 3].

    Raises:
        MygoEdgeError: naming the file; it is none, or cannot be read in full, or is too large to open safely.
    """
    if not path.is_file():
        raise MygoEdgeError(f"{path} is no file")
    # Decodes large photographs several times faster, on box and device alike.
    with open_picture(path, _DRAFT * max(form.resize or 0, *form.size), reduce=True) as picture:
        return prepare(picture, form)


def from_pixels(images: NDArray[np.uint8], form: Preparation) -> NDArray[np.uint8]:
    """Raw pixels in memory, uint8 [n, 1 or 3, h, w] of any size, as `prepare` makes pictures: [n, height, width, 3]."""
    module = pillow()
    colour = images.repeat(3, 1) if images.shape[1] == 1 else images
    made = [prepare(module.fromarray(np.ascontiguousarray(image.transpose(1, 2, 0))), form) for image in colour]
    return np.stack(made) if made else np.empty((0, *form.size, CHANNELS), np.uint8)


def graph_input(images: NDArray[np.uint8], form: Preparation, floats: bool) -> NDArray[Any]:
    """A batch [n, height, width, 3] of prepared pictures as a trunk's graph takes it.

    Args:
        images: as `prepare` makes them.
        form: its layout, and the scaling for graphs of floats.
        floats: whether the graph takes float32; otherwise it takes raw pixels, uint8.
    """
    batch = images.transpose(0, 3, 1, 2) if form.layout == "NCHW" else images
    if not floats:
        return np.ascontiguousarray(batch)
    channel = (3, 1, 1) if form.layout == "NCHW" else (3,)
    mean, std = (np.array(values, np.float32).reshape(channel) for values in (form.mean, form.std))
    return np.ascontiguousarray((batch.astype(np.float32) / np.float32(255) - mean) / std)
