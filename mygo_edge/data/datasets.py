"""Load a dataset whole: uint8 images and labels for training and test, with the classes' names."""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mygo_edge.data.folder import load_folder
from mygo_edge.errors import MygoEdgeError
from mygo_edge.options import TrainOptions

MEAN = STD = 0.5  # pixels in [0, 1] become [-1, 1], the range of the generators' tanh


@dataclass(frozen=True, slots=True)
class Split:
    """images: uint8 [n, channels, height, width] or float in [0, 1]; labels: int64 [n]."""

    images: Tensor
    labels: Tensor

    def normalised(self, device: torch.device) -> "Split":
        """Images as float32 in [-1, 1] on `device`."""
        images = self.images.to(device)
        images = images.float() / 255 if images.dtype == torch.uint8 else images.float()
        return Split((images - MEAN) / STD, self.labels.to(device))

    def batch(self, rows: Tensor, device: torch.device) -> tuple[Tensor, Tensor]:
        """Images and labels of some rows, on `device`."""
        rows = rows.to(self.labels.device)
        return self.images[rows].to(device), self.labels[rows].to(device)


@dataclass(frozen=True, slots=True)
class Dataset:
    """A whole dataset; `classes[label]` is the name of a label. Refuses NaN and labels without a class."""

    name: str
    classes: list[str]
    train: Split
    test: Split

    def __post_init__(self) -> None:
        for part, split in (("training", self.train), ("test", self.test)):
            if split.images.ndim != 4 or len(split.images) != len(split.labels):
                raise MygoEdgeError(
                    f"{self.name}: {part} images {tuple(split.images.shape)} and labels {tuple(split.labels.shape)} do "
                    "not match; give [n, channels, height, width] and [n]"
                )
            if split.images.is_floating_point() and not torch.isfinite(split.images).all():
                where = int((~torch.isfinite(split.images)).flatten(1).any(1).nonzero()[0])
                raise MygoEdgeError(
                    f"{self.name}: {part} image {where} holds NaN or infinite pixels; remove or repair it"
                )
            if len(split.labels) and not 0 <= int(split.labels.min()) <= int(split.labels.max()) < len(self.classes):
                raise MygoEdgeError(f"{self.name}: a {part} label is outside 0..{len(self.classes) - 1}")
        if min(self.train.images.shape[2:]) < 8:
            raise MygoEdgeError(f"{self.name}: images must be at least 8 pixels high and wide; resize them")

    def fingerprint(self) -> str:
        """SHA-256 of all images, labels and class names, to tell whether a resumed run has the same data."""
        digest = hashlib.sha256(repr((self.name, self.classes)).encode())
        for split in (self.train, self.test):
            for tensor in (split.images, split.labels):
                digest.update(repr((tuple(tensor.shape), tensor.dtype)).encode())
                digest.update(tensor.contiguous().numpy().data)
        return digest.hexdigest()

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of an image."""
        channels, height, width = self.train.images.shape[1:]
        return channels, height, width


def load(options: TrainOptions) -> Dataset:
    """The dataset that `options` name. Raises MygoEdgeError when its files are not there or not readable."""
    if options.dataset == "digits":
        return _digits()
    if options.data_root is None:
        raise MygoEdgeError(f"--dataset {options.dataset} needs --data-root, the folder that holds (or gets) its files")
    if options.dataset == "folder":
        classes, train, test = load_folder(options.data_root, options.folder)
        return Dataset("folder", classes, Split(*train), Split(*test))
    return _torchvision(options.dataset, options.data_root, options.download)


def _digits() -> Dataset:
    """scikit-learn's 1,797 handwritten digits, 8 x 8, 16 grey levels; a fifth of each class for testing."""
    from sklearn.datasets import load_digits
    from sklearn.model_selection import train_test_split

    digits: Any = load_digits()
    images = np.rint(digits.images * (255 / 16)).astype(np.uint8)[:, None]
    # A fixed split: the run's seed must not move images between training and test.
    train_x, test_x, train_y, test_y = train_test_split(
        images, digits.target, test_size=0.2, random_state=0, stratify=digits.target
    )
    return Dataset("digits", [str(d) for d in range(10)], _split(train_x, train_y), _split(test_x, test_y))


def _split(images: np.ndarray, labels: Any) -> Split:
    """Images [n, h, w], [n, h, w, c] or [n, c, h, w] as [n, c, h, w]; labels as int64."""
    if images.ndim == 3:
        images = images[:, None]
    elif images.shape[-1] in (1, 3) and images.shape[1] not in (1, 3):
        images = images.transpose(0, 3, 1, 2)
    return Split(torch.from_numpy(np.ascontiguousarray(images)), torch.as_tensor(np.asarray(labels)).long())


def _torchvision(name: str, root: Path, download: bool) -> Dataset:
    from torchvision import datasets

    loaders: dict[str, Callable[[bool], Any]] = {
        "mnist": lambda train: datasets.MNIST(root, train=train, download=download),
        "fashion-mnist": lambda train: datasets.FashionMNIST(root, train=train, download=download),
        "kmnist": lambda train: datasets.KMNIST(root, train=train, download=download),
        "emnist": lambda train: datasets.EMNIST(root, split="balanced", train=train, download=download),
        "cifar10": lambda train: datasets.CIFAR10(root, train=train, download=download),
        "cifar100": lambda train: datasets.CIFAR100(root, train=train, download=download),
        "svhn": lambda train: datasets.SVHN(root, split="train" if train else "test", download=download),
    }
    if download:
        root.mkdir(parents=True, exist_ok=True)
    try:
        train, test = loaders[name](True), loaders[name](False)
    # Missing files and failed downloads are RuntimeErrors; damaged ones fail in as many ways as there are readers.
    except (RuntimeError, ValueError, AssertionError, EOFError, KeyError) as error:
        how = "check the network and the folder" if download else "fetch it with --download"
        raise MygoEdgeError(
            f"{name} cannot be read from {root} ({error}): {how}, or set --data-root to where it is"
        ) from error
    labels = [np.asarray(part.labels if name == "svhn" else part.targets) for part in (train, test)]
    images = [np.asarray(part.data) for part in (train, test)]
    if name == "emnist":  # stored with rows and columns swapped
        images = [part.transpose(0, 2, 1) for part in images]
    names = [str(c) for c in getattr(train, "classes", range(10))]
    return Dataset(name, names, _split(images[0], labels[0]), _split(images[1], labels[1]))
