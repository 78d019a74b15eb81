"""The frozen trunk of a version on a device: from photos or texts to vectors, a few at a time."""

from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from mygo_edge.bundle import vision
from mygo_edge.bundle.manifest import BundleError, ImageInput, TextInput, TrunkFormat
from mygo_edge.bundle.npz import read_array
from mygo_edge.bundle.reading import Bundle
from mygo_edge.bundle.text import Tokenizer, as_texts
from mygo_edge.bundle.wire import fields
from mygo_edge.device.session import Graph, SessionOptions
from mygo_edge.errors import MygoEdgeError

_INPUT_BYTES = 2**22  # of the photos of one run: six of 224 x 224; the largest activation is some eight times as large
_MOST_PHOTOS = 64
_TEXTS = 32  # of one run
_FLOAT = 1  # TensorProto.FLOAT
_SENTENCES = (
    "The quick brown fox jumps over the lazy dog.",
    "Zwölf Boxkämpfer jagen Viktor quer über den großen Sylter Deich; 3,141.59 (π) & 東京!",
)


class Trunk:
    """The graph of a version's trunk, and how its input is prepared. Safe to use from several threads."""

    def __init__(self, bundle: Bundle, form: TrunkFormat, session: SessionOptions) -> None:
        """Open the graph. Raises BundleError where it or the tokenizer is refused, or not what the manifest says."""
        entry = next(entry for entry in bundle.manifest.files if entry.path == form.file)
        self.form, self.entry = form, entry
        self.graph = Graph(
            bundle.contents[form.file],
            f"{bundle.version}/{form.file}",
            session,
            dequantise_once=entry.precision == "int8-weights",
        )
        if self.graph.outputs.get(form.output, (0,))[-1:] not in ((None,), (form.features,)):
            raise BundleError(
                f"{self.graph.name} has outputs {self.graph.outputs}, not {form.output!a} of {form.features} features"
            )
        self._inputs: _Inputs
        if isinstance(form.input, ImageInput):
            self._inputs = _Photos(form.input, self.graph, _takes_floats(bundle.contents[form.file]))
        else:
            where = f"{bundle.version}/{form.input.tokenizer}"
            self._inputs = _Texts(form.input, bundle.contents[form.input.tokenizer], where, self.graph)

    @property
    def takes_text(self) -> bool:
        return isinstance(self.form.input, TextInput)

    def vectors(self, inputs: Any) -> NDArray[np.float32]:
        """Features of inputs, [n, features].

        Args:
            inputs: texts, one or several; or photos of any size: a path; uint8 or floats in [0, 1], [n, height, width,
                3], [n, 3, height, width], one [height, width, 3], or grey [n, height, width]; or a list of these,
                where a photo may be [3, height, width], too.

        Raises:
            MygoEdgeError: inputs that it cannot take.
            BundleError: the graph fails, or makes what is not finite or not [n, features].
        """
        return self._inputs.vectors(self._inputs.listed(inputs), self._run, self.form.features)

    def example(self, n: int) -> Any:
        """`n` inputs, always the same."""
        return self._inputs.example(n)

    def probe(self, n: int) -> NDArray[np.float32]:
        """Features of inputs that are always the same to the bit, whatever Pillow is installed."""
        return self._inputs.probe(n, self._run, self.form.features)

    def _run(self, feed: dict[str, NDArray]) -> NDArray[np.float32]:
        (found,) = self.graph.run([self.form.output], feed)
        n = len(next(iter(feed.values())))
        if found.shape != (n, self.form.features) or found.dtype != np.float32 or not np.isfinite(found).all():
            raise BundleError(
                f"{self.graph.name} makes {found.dtype} {list(found.shape)} or values that are not finite, not "
                f"{[n, self.form.features]}; stay on the version before"
            )
        return found


_Run = Callable[[dict[str, NDArray]], NDArray[np.float32]]  # what the graph is fed -> features [batch, width]


class _Inputs(Protocol):
    """A kind of input. listed: one or many inputs as a list; vectors: of these, [n, width], a few at a time."""

    def listed(self, inputs: Any) -> list[Any]: ...

    def vectors(self, given: list[Any], run: _Run, width: int) -> NDArray[np.float32]: ...

    def example(self, n: int) -> Any: ...

    def probe(self, n: int, run: _Run, width: int) -> NDArray[np.float32]: ...


class _Photos:
    def __init__(self, form: ImageInput, graph: Graph, floats: bool) -> None:
        if len(graph.inputs) != 1:
            raise BundleError(f"{graph.name} has inputs {list(graph.inputs)}, expected one for photos")
        self._form = _prepared_as(form)
        (self._name,) = graph.inputs
        self._floats = floats
        self._batch = max(1, min(_MOST_PHOTOS, _INPUT_BYTES // (12 * form.size[0] * form.size[1])))

    def listed(self, inputs: Any) -> list[Any]:
        """Paths, which are read when their turn comes, Pillow images, and arrays uint8 [1, 3 or 1, height, width]."""
        given = [inputs] if isinstance(inputs, (str, Path, np.ndarray)) or _is_picture(inputs) else inputs
        if not isinstance(given, (list, tuple)):
            raise MygoEdgeError(f"expected photos as paths or arrays; got {type(inputs).__name__}")
        found: list[Any] = []
        for photo in given:
            if isinstance(photo, (str, Path)) and Path(photo).suffix != ".npy":
                found.append(Path(photo))
            elif _is_picture(photo):
                found.append(photo)
            elif isinstance(photo, (str, Path)):
                found += _pixels(_array(Path(photo)))
            else:
                found += _pixels(photo if photo is inputs else _stacked(np.asarray(photo)))
        return found

    def vectors(self, given: list[Any], run: _Run, width: int) -> NDArray[np.float32]:
        found = np.empty((len(given), width), np.float32)
        for start in range(0, len(given), self._batch):
            part = slice(start, min(start + self._batch, len(given)))
            found[part] = run(self._feed(np.stack([self._prepared(photo) for photo in given[part]])))
        return found

    def _prepared(self, photo: Any) -> NDArray[np.uint8]:
        if isinstance(photo, Path):
            return vision.read_photo(photo, self._form)
        return vision.prepare(photo, self._form) if _is_picture(photo) else vision.from_pixels(photo, self._form)[0]

    def example(self, n: int) -> NDArray[np.uint8]:
        """Waves of different lengths and directions, a little noise: uint8 [n, height, width, 3]."""
        height, width = self._form.size
        photo, row, column, channel = np.ogrid[:n, :height, :width, :3]
        wave = (photo * 3 + 2) * row + (channel * 2 + 1) * column + row * column // (8 + 4 * photo)
        grain = (row * 7919 + column * 104729 + channel * 1299709) % 61
        return (np.abs(wave % 392 - 196) + grain).clip(0, 255).astype(np.uint8)

    def probe(self, n: int, run: _Run, width: int) -> NDArray[np.float32]:
        return run(self._feed(self.example(n)))

    def _feed(self, photos: NDArray[np.uint8]) -> dict[str, NDArray]:
        return {self._name: vision.graph_input(photos, self._form, self._floats)}


def _takes_floats(model: bytes) -> bool:
    """Whether the first input of a model, which was vetted, is of float32. Field numbers are those of onnx.proto."""
    found: list[Any] = [memoryview(model)]
    # ModelProto.graph, GraphProto.input, ValueInfoProto.type, TypeProto.tensor_type, and that one's elem_type
    for wanted in (7, 11, 2, 1, 1):
        found = [value for part in found[:1] for number, value in fields(part) if number == wanted]
    return found[:1] == [_FLOAT]


def _prepared_as(form: ImageInput) -> vision.Preparation:
    """What the manifest says, as `mygo_edge.bundle.vision` takes it."""
    return vision.Preparation(
        size=form.size,
        resize=form.resize if form.crop == "center" else None,
        interpolation=form.interpolation,  # type: ignore[arg-type]  # one of Pillow's, says the manifest's reader
        mean=form.mean,  # type: ignore[arg-type]  # three, says the manifest's reader
        std=form.std,  # type: ignore[arg-type]
        layout="NCHW" if form.layout == "nchw" else "NHWC",
    )


def _is_picture(photo: Any) -> bool:
    """Whether it is an image of Pillow's."""
    return hasattr(photo, "getbands") and hasattr(photo, "convert")


def _array(path: Path) -> NDArray:
    try:
        return read_array(path.read_bytes())
    except (ValueError, OSError, MemoryError) as error:
        raise MygoEdgeError(f"{path} cannot be read as an .npy array of numbers ({error})") from error


def _stacked(photo: NDArray) -> NDArray:
    """A photo of a list as a batch, where it has channels, first or last: so the box reads a list, as one array."""
    return photo[None] if photo.ndim == 3 and {1, 3} & {photo.shape[0], photo.shape[2]} else photo


def _pixels(array: NDArray) -> list[NDArray[np.uint8]]:
    """Photos in memory, one after another, each uint8 [1, 1 or 3, height, width]: told apart as the box does, and
    besides one photo [height, width, 1 or 3], or grey [height, width].
    """
    expected = (
        "expected photos as uint8, or floats in [0, 1], of shape [n, height, width, 3] or [n, 3, height, width], "
        "one [height, width, 3], or grey ones [n, height, width]"
    )
    if array.ndim == 3 and array.shape[2] in (2, 4) and array.shape[0] not in (1, 3):
        raise MygoEdgeError(f"{expected}; got shape {list(array.shape)}, as of one with transparency: give its path")
    batch = array
    if array.ndim == 3 and array.shape[2] in (1, 3):
        batch = array.transpose(2, 0, 1)[None]
    elif array.ndim == 3:
        batch = array[:, None]  # grey photos
    elif array.ndim == 2:
        batch = array[None, None]
    elif array.ndim == 4 and array.shape[3] in (1, 3) and array.shape[1] not in (1, 3):
        batch = array.transpose(0, 3, 1, 2)
    if batch.ndim != 4 or batch.shape[1] not in (1, 3) or 0 in batch.shape[1:]:
        raise MygoEdgeError(f"{expected}; got shape {list(array.shape)}")
    if batch.dtype.kind == "f" and batch.size and batch.min() >= 0 and batch.max() <= 1:  # false for NaN
        batch = np.rint(batch * 255).astype(np.uint8)
    if batch.dtype != np.uint8:
        raise MygoEdgeError(f"{expected}; got {array.dtype}, or values out of range")
    return [photo[None] for photo in batch]


class _Texts:
    def __init__(self, form: TextInput, tokenizer: bytes, where: str, graph: Graph) -> None:
        self._tokenizer = Tokenizer(tokenizer, form.max_tokens, where, form.parts)
        self._mask = next((name for name in graph.inputs if "mask" in name), None)
        others = [name for name in graph.inputs if name != self._mask and "type" not in name]
        if self._mask is None or len(others) != 1:
            raise BundleError(f"{graph.name} has inputs {list(graph.inputs)}, expected token ids and their mask")
        (self._ids,) = others
        self._types = [name for name in graph.inputs if name not in (self._ids, self._mask)]

    def listed(self, inputs: Any) -> list[str]:
        return as_texts(inputs)

    def vectors(self, given: list[str], run: _Run, width: int) -> NDArray[np.float32]:
        tokenised = self._tokenizer.tokenised(given)
        of_parts = np.empty((len(tokenised.parts), width), np.float32)
        for places, ids, mask in tokenised.batches(_TEXTS):
            of_parts[places] = run(self._feed(ids, mask))
        return tokenised.vectors(of_parts)

    def example(self, n: int) -> list[str]:
        return [_SENTENCES[index % len(_SENTENCES)] for index in range(n)]

    def probe(self, n: int, run: _Run, width: int) -> NDArray[np.float32]:
        return self.vectors(self.example(n), run, width)

    def _feed(self, ids: NDArray[np.int64], mask: NDArray[np.int64]) -> dict[str, NDArray]:
        feed = {self._ids: ids, str(self._mask): mask}
        return feed | {name: np.zeros_like(ids) for name in self._types}  # one kind of token
