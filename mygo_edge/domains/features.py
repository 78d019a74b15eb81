"""Features: a dream is a vector of a frozen trunk, memorised as a Gaussian a class, consolidated exactly."""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mygo_edge.bundle.gaussian import PowerTransform
from mygo_edge.bundle.vision import Preparation, from_pixels, read_photo
from mygo_edge.data.folder import SUFFIXES, usual_side
from mygo_edge.errors import MygoEdgeError
from mygo_edge.options import TrainOptions
from mygo_edge.trunks import patches
from mygo_edge.trunks.catalogue import load_trunk
from mygo_edge.trunks.extract import Extractor
from mygo_edge.trunks.options import LARGE
from mygo_edge.trunks.text import TRANSFORM, Embedder, TextTrunk
from mygo_edge.trunks.text_catalogue import NAMES as TEXT_TRUNKS
from mygo_edge.trunks.text_catalogue import text_trunk
from mygo_edge.trunks.trunk import Trunk

Progress = Callable[[int, int], None]  # done, of all
_SAMPLES = 256  # texts on which weights in int8 are held against fp32
_TEXTS_WANTED = "--trunk {} takes texts; give it texts, or another --trunk"


class Features:
    """Vectors of `trunk`.

    Attributes:
        features: width of a vector; shape: (features,).
        power: of the features of pictures, where `transform` is not known.
        transform: how they become nearly Gaussian; None: found from the first task's.
        directions: of the inputs behind each class: in how many their covariances have something of their own; None:
            in none.
    """

    name = "features"

    def __init__(self, trunk: Trunk | TextTrunk, threads: int, batch: int, power: float = 0.5) -> None:
        self.trunk, self.power = trunk, power
        self.transform: PowerTransform | None = None
        self.directions: Callable[[NDArray[np.integer]], int] | None = None
        self._pictures: Extractor | None = None
        self._texts: Embedder | None = None
        if isinstance(trunk, TextTrunk):
            self._texts = Embedder(trunk, max(1, threads))
            self.transform = TRANSFORM
            self.features = self._texts(["a"]).shape[1]
            self.directions = partial(trunk.directions_for, features=self.features)
        else:
            self._pictures = Extractor(trunk, threads, batch)
            self.features = trunk.features

    @property
    def shape(self) -> tuple[int, ...]:
        return (self.features,)

    @property
    def has_own_trunk(self) -> bool:
        """Whether the trunk is made of the first task's pictures, and was never trained."""
        return self.trunk.name == patches.NAME

    def prepare(self, inputs: Any, device: torch.device, progress: Progress = lambda done, total: None) -> Tensor:
        """Pictures, by path or as pixels, or texts through the trunk, batch after batch: float32 [n, features].

        Raises:
            MygoEdgeError: inputs that are not what the trunk takes.
        """
        parts = list(self._batches(inputs, progress))
        vectors = np.concatenate(parts) if parts else np.empty((0, self.features), np.float32)
        return torch.from_numpy(vectors)

    def _batches(self, inputs: Any, progress: Progress) -> Any:
        texts = isinstance(inputs, list) and all(isinstance(item, str) for item in inputs)
        if self._texts is not None:
            if not texts:
                raise MygoEdgeError(_TEXTS_WANTED.format(self._texts.name))
            return [self._texts(inputs, progress)] if inputs else []
        assert self._pictures is not None
        if isinstance(inputs, Tensor):
            return self._pictures.images(_raw_pixels(inputs).numpy(), progress)
        if texts and all(Path(item).suffix.lower() in SUFFIXES for item in inputs):
            inputs = [Path(item) for item in inputs]
        if not all(isinstance(item, Path) for item in inputs):
            raise MygoEdgeError(f"--trunk {self.trunk.name} takes pictures, not texts; name a trunk for texts")
        return self._pictures.files(inputs, progress)

    def transformed(self, vectors: NDArray[np.float32]) -> NDArray[np.float32]:
        """In the space where they are nearly Gaussian; the first call settles which that is."""
        if self.transform is None:
            self.transform = PowerTransform.of(vectors, self.power)
        return self.transform(vectors)


def features_for(options: TrainOptions, inputs: Any) -> Features:
    """The domain of `options.trunk`.

    Args:
        inputs: raw ones, from whose sizes the size of a trunk's input is chosen.

    Raises:
        MygoEdgeError: no such trunk, or its weights are missing or changed.
    """
    assert options.trunk is not None
    own = options.trunk_input
    takes_text = isinstance(inputs, list) and bool(inputs) and isinstance(inputs[0], str)
    if options.trunk in TEXT_TRUNKS and not takes_text:
        raise MygoEdgeError(_TEXTS_WANTED.format(options.trunk))
    if takes_text or options.text.tokenizer is not None:
        samples = inputs[:_SAMPLES] if takes_text else ()
        texts = text_trunk(
            options.trunk,
            tokenizer=options.text.tokenizer,
            weights=own.weights,
            output=own.output,
            max_tokens=options.text.max_tokens,
            parts=options.text.parts,
            directions=options.text.directions,
            samples=samples,
        )
        return Features(texts, own.threads, own.batch_size)
    if options.trunk == patches.NAME:
        return own_features(options, inputs)
    trunk = load_trunk(options.trunk, own, _shorter_side(inputs), options.download)
    return Features(trunk, own.threads, own.batch_size, options.memory.power)


def own_features(options: TrainOptions, inputs: Any) -> Features:
    """The domain of a trunk that is made of patches of the pictures themselves. Raises as `learn_patches`."""
    own = options.trunk_input
    if isinstance(inputs, Tensor) and own.size is None:  # as they are, or smaller
        height, width = inputs.shape[2:]
        scale = min(1.0, patches.SIDE / min(height, width))
        size, resize = (round(scale * height), round(scale * width)), None
    else:
        side = own.size or min(patches.SIDE, _shorter_side(inputs))
        size, resize = (side, side), own.resize or side
    # Resampled as pixels of a folder are, so that pixels and files of one picture agree.
    form = Preparation(size, resize, "box", mean=(0.0, 0.0, 0.0), std=(1.0, 1.0, 1.0))
    some = inputs[:: max(1, len(inputs) // patches.IMAGES)]
    if isinstance(some, Tensor):
        pictures = from_pixels(_raw_pixels(some).numpy(), form)
    else:
        pictures = np.stack([read_photo(path, form) for path in some])
    trunk = patches.learn_patches(pictures, form, options.seed)
    return Features(trunk, own.threads, own.batch_size, options.memory.power)


def _raw_pixels(images: Tensor) -> Tensor:
    if images.shape[1] not in (1, 3):
        raise MygoEdgeError(f"images of {images.shape[1]} channels: only grey and colour, 1 and 3, can be learnt so")
    return images if images.dtype == torch.uint8 else (images * 255).round().to(torch.uint8)


def _shorter_side(inputs: Any) -> int:
    """Of the pictures, the median over some of them, in pixels."""
    if isinstance(inputs, Tensor):
        return min(inputs.shape[2:])
    return usual_side(inputs) or LARGE
