"""More folders for bench/photos.py, made of sets that are at hand.

python bench/photo_sets.py rotated PHOTOS TO     every class in four orientations: four times as many, finer classes
python bench/photo_sets.py fine PHOTOS TO        four orientations, plain or as negatives: eight times as many classes
python bench/photo_sets.py many PHOTOS TO        the same, with the colours' channels in three orders: 24 times as many
python bench/photo_sets.py fashion IDX TO        Fashion-MNIST from its IDX files, 28 x 28 and grey
"""

import argparse
import gzip
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

QUARTERS = (Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_180, Image.Transpose.ROTATE_270)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("kind", choices=("rotated", "fine", "many", "fashion"))
    parser.add_argument("source", type=Path)
    parser.add_argument("to", type=Path)
    options = parser.parse_args()
    {"rotated": rotated, "fine": fine, "many": many, "fashion": fashion}[options.kind](options.source, options.to)


def rotated(source: Path, to: Path) -> None:
    """Each photo once, in one of four orientations in turn; the orientation is part of the class."""
    for folder in sorted(source.glob("*/*")):
        for index, file in enumerate(sorted(folder.iterdir())):
            quarter = index % 4
            with Image.open(file) as opened:
                turned = opened.transpose(QUARTERS[quarter - 1]) if quarter else opened.copy()
            target = to / folder.parent.name / f"{folder.name}-{90 * quarter}"
            target.mkdir(parents=True, exist_ok=True)
            turned.save(target / f"{file.stem}.png")


def fine(source: Path, to: Path) -> None:
    """36 training and 20 test photos a class in eight variants."""
    varied(source, to, 8, {"train": 36, "test": 20})


def many(source: Path, to: Path) -> None:
    """36 training and 8 test photos a class in 24 variants."""
    varied(source, to, 24, {"train": 36, "test": 8})


def varied(source: Path, to: Path, variants: int, counts: dict[str, int]) -> None:
    """Each photo once, in one of four orientations, plain or as a negative, with its channels in one of three orders,
    in turn; all are part of the class.
    """
    for part, per_class in counts.items():
        for folder in sorted((source / part).iterdir()):
            for index, file in enumerate(sorted(folder.iterdir())[: variants * per_class]):
                variant = index % variants
                with Image.open(file) as opened:
                    photo = opened.convert("RGB")
                photo = ImageOps.invert(photo) if variant // 4 % 2 else photo
                channels = photo.split()
                photo = Image.merge("RGB", channels[variant // 8 :] + channels[: variant // 8])
                photo = photo.transpose(QUARTERS[variant % 4 - 1]) if variant % 4 else photo
                target = to / part / f"{folder.name}-{variant}"
                target.mkdir(parents=True, exist_ok=True)
                photo.save(target / f"{file.stem}.png")


def fashion(source: Path, to: Path) -> None:
    """The first 1,000 training and 200 test images of each class."""
    for part, prefix, per_class in (("train", "train", 1000), ("test", "t10k", 200)):
        images = idx(source, f"{prefix}-images-idx3-ubyte", 16).reshape(-1, 28, 28)
        labels = idx(source, f"{prefix}-labels-idx1-ubyte", 8)
        for label in range(10):
            target = to / part / f"{label}"
            target.mkdir(parents=True, exist_ok=True)
            for index in np.flatnonzero(labels == label)[:per_class]:
                Image.fromarray(images[index]).save(target / f"{index:05d}.png")


def idx(source: Path, name: str, header: int) -> np.ndarray:
    """The bytes of an IDX file, packed or not, after its header."""
    plain = source / name
    data = plain.read_bytes() if plain.is_file() else gzip.decompress((source / f"{name}.gz").read_bytes())
    return np.frombuffer(data[header:], np.uint8)


if __name__ == "__main__":
    main()
