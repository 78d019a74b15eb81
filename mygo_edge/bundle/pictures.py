"""Image files in and out, for the commands. PNG, JPEG and so on need Pillow, which is imported on first use."""

import io
import math
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mygo_edge.bundle.decoding import REDUCED_MARGIN, open_picture, pillow, shrunk, upright
from mygo_edge.bundle.npz import read_array
from mygo_edge.errors import MygoEdgeError

_GAP = 2  # pixels between the dreams of a grid
_VISIBLE = 64  # smallest side of a dream in a grid, in pixels
_MAX_GRID_PIXELS = 2**26
_SIDE = 512  # that a picture is checked for
_ENDS = {"JPEG": b"\xff\xd9", "PNG": b"IEND"}  # what files of a format end with
_TAIL = 4096  # bytes


def read_images(path: Path, shape: tuple[int, int, int]) -> NDArray[Any]:
    """The images of a file, fit for `EdgeModel`.

    Args:
        path: a picture, converted to grey or colour, turned as its EXIF says, and stretched to the height and width;
            or an .npy array, taken as it is.
        shape: channels, height and width that the model takes.

    Raises:
        MygoEdgeError: no file, or none that can be read in full, or a picture too large to open safely. It names the
            file.
    """
    if not path.is_file():
        raise MygoEdgeError(f"{path} is no file")
    if path.suffix == ".npy":
        try:
            return read_array(path.read_bytes())
        except (ValueError, MemoryError) as error:
            raise MygoEdgeError(f"{path} cannot be read as an .npy array of numbers ({error})") from error
    return read_picture(path, shape)


def read_paths(images: Any, shape: tuple[int, int, int]) -> Any:
    """`images`, or, where they are a path or a list of paths, what these files hold, one after another.

    Raises:
        MygoEdgeError: as `read_images`, or files that do not fit each other.
    """
    paths = [images] if isinstance(images, (str, Path)) else images
    if not isinstance(paths, (list, tuple)) or not paths or not all(isinstance(path, (str, Path)) for path in paths):
        return images
    found = [read_images(Path(path), shape) for path in paths]
    parts = [image[None] if image.shape in (shape, shape[1:]) else image for image in found]
    try:
        return parts[0] if len(parts) == 1 else np.concatenate(parts)
    except ValueError as error:
        raise MygoEdgeError(f"{paths[0]} and the other files do not fit each other ({error})") from error


def read_picture(path: Path, shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    """A picture as uint8 [channels, height, width], on the device just as in training. Raises as `read_images`."""
    pillow()
    if shape[0] not in (1, 3):
        raise MygoEdgeError(f"{path}: the model takes {shape[0]} channels; give it an .npy array")
    with open_picture(path, REDUCED_MARGIN * max(shape[1:])) as picture:
        return shrunk(picture, shape)


def check_picture(path: Path, *, whole: bool = True) -> None:
    """Look whether a trunk can be given a file, before it is.

    Args:
        path: of the file.
        whole: decode it; otherwise only one that does not end as its format ends, or whose format says nothing of that.

    Raises:
        MygoEdgeError: no picture, a damaged one, or one that is too large. It names the file.
    """
    with open_picture(path, _SIDE, reduce=True, decode=whole) as picture:
        if whole or not _ends(path, _ENDS.get(picture.format)):
            picture.load()
            upright(picture)  # as to whoever reads it, pixels that are not finite are an error


def _ends(path: Path, mark: bytes | None) -> bool:
    """Whether the mark is near the end of the file. Some programs write a little more after it."""
    if mark is None:
        return False
    with path.open("rb") as file:
        file.seek(max(0, path.stat().st_size - _TAIL))
        return mark in file.read()


def images_as_file(images: NDArray[np.uint8], path: Path) -> bytes:
    """The content of a .npy file of the images, or of a .png file that shows them in a grid, enlarged.

    Args:
        images: uint8 [n, channels, height, width].
        path: its suffix says which.

    Raises:
        MygoEdgeError: another suffix, or too many images for a picture.
    """
    require_writable_format(path)
    file = io.BytesIO()
    if path.suffix == ".npy":
        np.save(file, images, allow_pickle=False)
    else:
        pillow().fromarray(_grid(images)).save(file, format="PNG")
    return file.getvalue()


def require_writable_format(path: Path) -> None:
    """Raise MygoEdgeError unless `images_as_file` can make such a file here, and the folder for it is there."""
    if path.suffix not in (".png", ".npy"):
        raise MygoEdgeError(f"{path} must end in .png or .npy")
    if not path.parent.is_dir():
        raise MygoEdgeError(f"{path.parent} is no folder; make it first")
    if path.suffix == ".png":
        pillow()


def _grid(images: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Row by row in a near-square grid on white, every pixel enlarged to a square. [height, width] or [..., 3]."""
    n, channels, height, width = images.shape
    scale = max(1, math.ceil(_VISIBLE / min(height, width)))
    columns = math.ceil(math.sqrt(n))
    rows = math.ceil(n / columns)
    cell = (height * scale + _GAP, width * scale + _GAP)
    if rows * cell[0] * columns * cell[1] > _MAX_GRID_PIXELS:
        raise MygoEdgeError(f"{n} images are too many for one picture; write an .npy file")
    if channels not in (1, 3):
        raise MygoEdgeError(f"a picture cannot show {channels} channels; write an .npy file")
    canvas = np.full((rows * cell[0] + _GAP, columns * cell[1] + _GAP, channels), 255, np.uint8)
    for index, image in enumerate(images):
        top, left = index // columns * cell[0] + _GAP, index % columns * cell[1] + _GAP
        enlarged = image.transpose(1, 2, 0).repeat(scale, 0).repeat(scale, 1)
        canvas[top : top + height * scale, left : left + width * scale] = enlarged
    return canvas[..., 0] if channels == 1 else canvas
