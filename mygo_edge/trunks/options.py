"""Options of the trunk; a part of the tree in `mygo_edge.options`."""

from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from mygo_edge.bundle.vision import Interpolation
from mygo_edge.errors import MygoEdgeError

LARGE = 224  # pixels, of height and width: what the trunks here were trained with
MULTIPLE = 32  # the trunks halve their maps five times
IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))


@dataclass(frozen=True, kw_only=True, slots=True)
class TrunkOptions:
    """The trunk of `--trunk`, and how pictures are prepared for it."""

    weights: Path | None = None
    """A file of weights to use instead of the ones that a package holds or `--download` fetches."""
    output: str | None = None
    """The value of an ONNX file to take as features, where it has several outputs."""
    size: int | None = None
    """Height and width, in pixels, that pictures are brought to: a multiple of 32. By default 224, and 160 for pictures
    whose shorter side is below 96; for patches their own, and at most 32."""
    resize: int | None = None
    """Pixels that the shorter side is brought to before the middle is cut out; by default the size itself."""
    interpolation: Interpolation = "bicubic"
    """Pillow's filter for resizing."""
    mean: tuple[float, float, float] = IMAGENET[0]
    """Of the channels on a scale of 0 to 1, for an ONNX file that takes floats."""
    std: tuple[float, float, float] = IMAGENET[1]
    """Of the channels on a scale of 0 to 1, for an ONNX file that takes floats."""
    threads: int = 0
    """Of a run on the CPU; 0: as many as cores."""
    batch_size: int = 32
    """Pictures a run."""

    def __post_init__(self) -> None:
        if self.size is not None and (self.size <= 0 or self.size % MULTIPLE or self.size > 1024):
            raise MygoEdgeError(f"trunk size must be a multiple of {MULTIPLE}, at most 1024, not {self.size}")
        if self.resize is not None and not (self.size or LARGE) <= self.resize <= 4096:
            raise MygoEdgeError(f"trunk resize must be at least the size and at most 4096, not {self.resize}")
        if self.interpolation not in get_args(Interpolation):
            raise MygoEdgeError(f"trunk interpolation must be one of {', '.join(get_args(Interpolation))}")
        if not all(0 < value < 100 for value in self.std) or not all(abs(value) < 100 for value in self.mean):
            raise MygoEdgeError("trunk mean and std must be numbers of the scale 0 to 1, std above 0")
        if self.threads < 0 or self.batch_size < 1:
            raise MygoEdgeError("trunk threads must be at least 0 and the batch size at least 1")
