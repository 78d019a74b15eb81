"""Read what a manifest says of raw input: how pixels, photos or texts come into a graph. Standard library only."""

from collections.abc import Sequence

from mygo_edge.bundle.manifest import (
    CROPS,
    DTYPE,
    INTERPOLATIONS,
    LAYOUTS,
    MAX_PARTS,
    FileEntry,
    ImageInput,
    InputFormat,
    TextInput,
    TrunkFormat,
)
from mygo_edge.bundle.strict import SHA256, Reader

MAX_FEATURES = 2**16  # of a vector
_MAX_SIDE = 4096  # of an image, in pixels
_MAX_TOKENS = 2**16


def pixels(reader: Reader) -> InputFormat:
    """Of a classifier that takes pixels. Raises BundleError where a value is missing or out of range."""
    shape = reader.value("shape", list)
    fits = len(shape) == 3 and all(type(side) is int and 0 < side <= _MAX_SIDE for side in shape)
    reader.require(fits, f"shape must be channels, height, width, each from 1 to {_MAX_SIDE}")
    reader.require(reader.value("dtype", str) == DTYPE, f"dtype must be {DTYPE}; publish the version again")
    mean, std = _scale(reader, shape[0])
    return InputFormat((shape[0], shape[1], shape[2]), mean, std)


def _scale(reader: Reader, channels: int) -> tuple[tuple[float, ...], tuple[float, ...]]:
    mean, std = reader.numbers("mean"), reader.numbers("std")
    reader.require(len(mean) == len(std) == channels, "mean and std need one number a channel")
    reader.require(min(std) > 0, "std must be above 0")
    return mean, std


def trunk_of(reader: Reader, files: Sequence[FileEntry]) -> TrunkFormat:
    """Of a frozen trunk, whose file, and tokenizer, are among `files`. Raises BundleError as `pixels`."""
    paths = {entry.path: entry.role for entry in files}
    file = reader.text("file")
    reader.require(paths.get(file) == "trunk", f"file {file!r} is no file of role trunk")
    form = reader.reader("input")
    kind = form.choice("kind", ("image", "text"))
    image = _image(form) if kind == "image" else _text(form, paths)
    return TrunkFormat(
        digest=reader.match("digest", SHA256),
        file=file,
        output=reader.text("output"),
        features=reader.integer("features", 1, MAX_FEATURES),
        input=image,
    )


def _image(reader: Reader) -> ImageInput:
    size = reader.value("size", list)
    fits = len(size) == 2 and all(type(side) is int and 0 < side <= _MAX_SIDE for side in size)
    reader.require(fits, f"size must be height and width, each from 1 to {_MAX_SIDE}")
    crop = reader.choice("crop", CROPS)
    resize = None if reader.values.get("resize") is None else reader.integer("resize", 1, _MAX_SIDE)
    reader.require(resize is None or resize >= max(size) or crop == "none", "resize is smaller than the crop")
    mean, std = _scale(reader, 3)
    return ImageInput(
        size=(size[0], size[1]),
        resize=resize,
        crop=crop,
        interpolation=reader.choice("interpolation", INTERPOLATIONS),
        mean=mean,
        std=std,
        layout=reader.choice("layout", LAYOUTS),
    )


def _text(reader: Reader, paths: dict[str, str]) -> TextInput:
    tokenizer = reader.text("tokenizer")
    reader.require(paths.get(tokenizer) == "tokenizer", f"tokenizer {tokenizer!r} is no file of role tokenizer")
    parts = reader.integer("parts", 1, MAX_PARTS) if "parts" in reader else 1
    return TextInput(tokenizer, reader.integer("max_tokens", 1, _MAX_TOKENS), parts)
