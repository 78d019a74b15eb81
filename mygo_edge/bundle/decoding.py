"""Open and shrink pictures in bounded memory. Pillow is imported on first use.

A picture of a few kilobytes may claim a hundred megapixels, and decoders take up to 18 bytes for each of them. So the
pixels that a file claims are held against a limit before any is decoded, formats that can decode at a reduced size do,
and colours are converted strip by strip.
"""

import math
import os
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mygo_edge.errors import MygoEdgeError

LIMIT_VARIABLE = "MYGO_EDGE_MAX_PIXELS"
DEFAULT_MAX_PIXELS = 2**24  # 16.8 million; with it no format takes more than 300 MiB (tests/bundle/test_pictures.py)
_FORMATS = ("PNG", "JPEG", "BMP", "GIF", "WEBP", "PPM", "TIFF")  # Pillow's EPS decoder, for one, starts a program
_MAX_FILE_BYTES = 2**27
_MAX_SIDE = 2**16 - 1  # a row is converted at once
_STRIP_PIXELS = 2**18  # converted at a time
# Pixels of a picture from which a JPEG is decoded at a reduced size, and how many times as large as what is asked for
# it is at least, so that averaging the rest leaves no trace of how it was decoded.
_REDUCED_FROM = 2**22
REDUCED_MARGIN = 4
_ORIENTATION = 0x0112  # EXIF
_TILE_SIDES = (0x0142, 0x0143)  # TIFF
# Orientation -> Pillow's transposition, by name.
_TRANSPOSITIONS = {2: "FLIP_LEFT_RIGHT", 3: "ROTATE_180", 4: "FLIP_TOP_BOTTOM", 5: "TRANSPOSE", 6: "ROTATE_270",
                   7: "TRANSVERSE", 8: "ROTATE_90"}  # fmt: skip


def pillow() -> Any:
    """Pillow's Image module. Raises MygoEdgeError where Pillow is missing."""
    try:
        from PIL import Image
    except ImportError as error:
        raise MygoEdgeError("pictures need Pillow: pip install 'mygo_edge[images]', or use .npy files") from error
    return Image


def max_pixels() -> int:
    """Pixels that a picture may have, by MYGO_EDGE_MAX_PIXELS."""
    text = os.environ.get(LIMIT_VARIABLE, str(DEFAULT_MAX_PIXELS))
    if not text.isascii() or not text.isdecimal() or not 1 <= int(text) < 2**40:
        raise MygoEdgeError(f"{LIMIT_VARIABLE} must be a number of pixels, not {text[:40]!r}")
    return int(text)


@contextmanager
def open_picture(path: Path, side: int, *, reduce: bool = False, decode: bool = True) -> Iterator[Any]:
    """A Pillow image of the file's first picture, decoded unless `decode` is false, of its full size or a reduced one.

    Args:
        path: of the file.
        side: pixels of a side that the caller needs, with what it leaves to its own resampling.
        reduce: decode every JPEG at the smallest of its own scales that leaves that; otherwise large ones alone.

    Raises:
        MygoEdgeError: no picture that can be read in full, or one with too many pixels. It names the file. So does what
            the block raises, but for MygoEdgeError.
    """
    image_module, limit = pillow(), max_pixels()
    if path.stat().st_size > _MAX_FILE_BYTES:
        raise MygoEdgeError(f"{path} has more than {_MAX_FILE_BYTES} bytes; make it smaller first")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of odd metadata, and of sizes, which are checked here
            with image_module.open(path, formats=_FORMATS) as opened:
                _require_size(opened, path, side, limit, reduce)
                if decode:
                    opened.load()
                yield opened
    except MygoEdgeError:
        raise
    except image_module.DecompressionBombError as error:
        raise _too_large(path, limit) from error
    except Exception as error:  # Pillow's decoders raise a dozen types on damaged files
        raise MygoEdgeError(
            f"{path} cannot be read as an image ({type(error).__name__}); it may be damaged, or of another format"
        ) from error


def _require_size(opened: Any, path: Path, side: int, limit: int, reduce: bool) -> None:
    """Hold what decoding will take against the limit, after asking for a reduced size where that is possible."""
    pixels = opened.width * opened.height
    if opened.format == "JPEG" and (reduce or pixels > _REDUCED_FROM):
        opened.draft(None, (side, side))
        reduced = opened.width * opened.height
        # Of a progressive one all coefficients are kept, 2 bytes a channel of a pixel, whatever size is asked for.
        pixels = max(reduced, pixels // 2) if opened.info.get("progressive") else reduced
    if opened.format == "TIFF":  # a tile is decoded whole, however small the picture
        pixels = max(pixels, math.prod(int(opened.tag_v2.get(tag, 1)) for tag in _TILE_SIDES))
    if max(pixels, side * max(opened.size) // REDUCED_MARGIN) > limit or max(opened.size) > _MAX_SIDE:
        raise _too_large(path, limit)


def _too_large(path: Path, limit: int) -> MygoEdgeError:
    return MygoEdgeError(
        f"{path} has more than {limit} pixels, or a side of more than {_MAX_SIDE}; make it smaller first, or set "
        f"{LIMIT_VARIABLE} where there is memory for more"
    )


def shrunk(picture: Any, shape: tuple[int, int, int]) -> NDArray[np.uint8]:
    """uint8 [channels, height, width] of an opened Pillow image: turned as its EXIF says, grey or RGB, stretched; what
    is transparent lies on white.

    The same as converting and resizing the whole at once, to the bit: Pillow resizes across before it resizes down, and
    across is done strip by strip.

    Raises:
        ValueError: pixels that are not finite.
    """
    image_module = pillow()
    channels, height, width = shape
    turn = _TRANSPOSITIONS.get(picture.getexif().get(_ORIENTATION, 1), "")
    if turn in ("TRANSPOSE", "ROTATE_270", "TRANSVERSE", "ROTATE_90"):
        height, width = width, height
    mode = "L" if channels == 1 else "RGB"
    narrow = image_module.new(mode, (width, picture.height))
    for start, strip in _converted(picture, mode):
        across = strip.resize((width, strip.height), image_module.Resampling.BOX)
        narrow.paste(across, (0, start))
    small = narrow.resize((width, height), image_module.Resampling.BOX)
    if turn:
        small = small.transpose(image_module.Transpose[turn])
    pixels = np.asarray(small)
    return pixels[None] if channels == 1 else pixels.transpose(2, 0, 1)


def upright(picture: Any, mode: str = "RGB") -> Any:
    """An opened Pillow image in this mode, of 8 bits a channel, turned as its EXIF says; what is transparent lies on
    white.

    Raises:
        ValueError: pixels that are not finite.
    """
    turn = _TRANSPOSITIONS.get(picture.getexif().get(_ORIENTATION, 1), "")
    if picture.mode != mode or _is_transparent(picture):
        found = pillow().new(mode, picture.size)
        for start, strip in _converted(picture, mode):
            found.paste(strip, (0, start))
        picture = found
    return picture.transpose(pillow().Transpose[turn]) if turn else picture


def _converted(picture: Any, mode: str) -> Iterator[tuple[int, Any]]:
    """(first row, rows as an image of this mode) from top to bottom."""
    top = _top(picture) if _is_deep(picture) else 0.0
    transparent = not top and _is_transparent(picture)
    for start, strip in _strips(picture):
        if transparent:
            strip = _on_white(strip)
        yield start, (pillow().fromarray(_scaled(strip, top)) if top else strip).convert(mode)


def _is_transparent(picture: Any) -> bool:
    """Whether it says how opaque pixels are, in a channel of its own or by a colour that is not."""
    return picture.mode in ("LA", "La", "PA", "RGBA", "RGBa") or "transparency" in picture.info


def _on_white(strip: Any) -> Any:
    """Drawings and logos are often black on nothing: without what is under them they would be black all over."""
    above = strip.convert("RGBA")
    white = pillow().new("RGBA", above.size, "white")
    white.alpha_composite(above)
    return white.convert("RGB")


def _is_deep(picture: Any) -> bool:
    """16 bits, 32 bits or floats, which convert() would clip instead of scaling."""
    return bool(picture.mode.startswith(("I", "F")))


def _strips(picture: Any) -> Iterator[tuple[int, Any]]:
    """(first row, rows as an image) from top to bottom."""
    rows = max(1, _STRIP_PIXELS // picture.width)
    for start in range(0, picture.height, rows):
        yield start, picture.crop((0, start, picture.width, min(start + rows, picture.height)))


def _top(picture: Any) -> float:
    """The value that is white: the largest of 16 bits, or 1 or the largest that there is of floats."""
    if picture.mode.startswith("I"):
        return 65535.0
    return max(1.0, max(float(_finite(strip).max()) for _, strip in _strips(picture)))


def _scaled(strip: Any, top: float) -> NDArray[np.uint8]:
    return np.clip(_finite(strip) / top * 255, 0, 255).astype(np.uint8)


def _finite(strip: Any) -> NDArray[np.float64]:
    values = np.asarray(strip, dtype=np.float64)
    if not np.isfinite(values).all():
        raise ValueError("it holds NaN or infinite pixels")
    return values
