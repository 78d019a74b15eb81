"""The user's own images: a folder with one sub-folder a class."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mygo_edge.bundle.pictures import read_picture
from mygo_edge.errors import MygoEdgeError, warn
from mygo_edge.options import FolderOptions

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff", ".ppm", ".pgm"}

Part = tuple[Tensor, Tensor]
Files = tuple[list[Path], Tensor]
Rows = tuple[list[Any], Tensor]  # whatever stands for an image, and labels
Read = Callable[[Path, list[str], FolderOptions], Rows]


def list_folder(root: Path, options: FolderOptions) -> tuple[list[str], Files, Files]:
    """As `load_folder`, but the paths of the images instead of their pixels, none of which is decoded yet."""
    return _split_folder(root, options, _list)


def load_folder(root: Path, options: FolderOptions) -> tuple[list[str], Part, Part]:
    """Class names, and (uint8 images [n, channels, size, size], labels [n]) for training and for test.

    `root` holds train/ and test/, each with one sub-folder a class, or the classes' sub-folders themselves; then
    `options.test_fraction` of each class is kept for testing, the same images for every seed of a run.

    Raises:
        MygoEdgeError: no images, a class without images, different classes in train/ and test/, or an unreadable
            image that is not to be skipped.
    """
    names, train, test = _split_folder(root, options, _read)
    return names, (torch.from_numpy(np.stack(train[0])), train[1]), (torch.from_numpy(np.stack(test[0])), test[1])


def _split_folder(root: Path, options: FolderOptions, read: Read) -> tuple[list[str], Rows, Rows]:
    if not root.is_dir():
        raise MygoEdgeError(f"{root} is not a folder; --data-root must hold one sub-folder of images a class")
    if (root / "train").is_dir() and (root / "test").is_dir():
        names, other = _classes(root / "train"), _classes(root / "test")
        if names != other:
            raise MygoEdgeError(f"{root}: train/ has classes {names} and test/ has {other}; they must be the same")
        return names, read(root / "train", names, options), read(root / "test", names, options)
    names = _classes(root)
    images, labels = read(root, names, options)
    order = np.random.default_rng(0).permutation(len(labels))
    kept = torch.zeros(len(labels), dtype=torch.bool)
    for label in range(len(names)):
        members = order[labels.numpy()[order] == label]
        kept[members[: max(1, round(len(members) * options.test_fraction))]] = True
    train, test = ([images[row] for row in part.nonzero()[:, 0].tolist()] for part in (~kept, kept))
    return names, (train, labels[~kept]), (test, labels[kept])


def _classes(root: Path) -> list[str]:
    names = sorted(child.name for child in root.iterdir() if child.is_dir() and not child.name.startswith("."))
    if odd := [name for name in names if not name.isprintable() or len(name) > 200]:
        raise MygoEdgeError(
            f"{root}: the folder name {odd[0]!r} cannot name a class; use printable characters, 200 at most"
        )
    if not names:
        raise MygoEdgeError(f"{root} has no sub-folders; put the images of each class into a sub-folder of its name")
    return names


def _files(folder: Path) -> list[Path]:
    return sorted(file for file in folder.rglob("*") if file.suffix.lower() in SUFFIXES)


def _list(root: Path, names: list[str], options: FolderOptions) -> Files:
    files: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(names):
        own = _files(root / name)
        if not own:
            raise MygoEdgeError(f"{root / name} holds no image ({', '.join(sorted(SUFFIXES))})")
        files += own
        labels += [label] * len(own)
    return files, torch.tensor(labels)


def _read(root: Path, names: list[str], options: FolderOptions) -> Rows:
    images: list[np.ndarray] = []
    labels: list[int] = []
    for label, name in enumerate(names):
        pixels = [image for file in _files(root / name) if (image := _image(file, options)) is not None]
        if not pixels:
            raise MygoEdgeError(f"{root / name} holds no readable image ({', '.join(sorted(SUFFIXES))})")
        images += pixels
        labels += [label] * len(pixels)
    return images, torch.tensor(labels)


def _image(file: Path, options: FolderOptions) -> np.ndarray | None:
    """The image as uint8 [channels, size, size]; None when it is unreadable and may be skipped."""
    shape = (1 if options.colour == "grey" else 3, options.size, options.size)
    try:
        return read_picture(file, shape)  # the very function that a device uses
    except MygoEdgeError as error:
        if options.unreadable == "refuse":
            raise MygoEdgeError(f"{error}; repair or remove it, or pass --folder.unreadable skip") from error
        warn(f"skipped: {error}")
        return None
