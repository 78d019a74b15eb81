"""Load a dataset whole: uint8 images and labels for training and test, with the classes' names."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mygo_edge.data.folder import list_folder, load_folder
from mygo_edge.data.split import Split
from mygo_edge.data.text import load_ag_news, load_text
from mygo_edge.data.text_options import TextOptions
from mygo_edge.errors import MygoEdgeError
from mygo_edge.options import TrainOptions


@dataclass(frozen=True, slots=True)
class Dataset:
    """A whole dataset; `classes[label]` is the name of a label. Refuses NaN and labels without a class."""

    name: str
    classes: list[str]
    train: Split
    test: Split

    def __post_init__(self) -> None:
        for part, split in (("training", self.train), ("test", self.test)):
            check_split(split, len(self.classes), f"{self.name}: {part}")

    @property
    def shape(self) -> tuple[int, int, int]:
        """Channels, height and width of an image."""
        channels, height, width = self.train.inputs.shape[1:]
        return channels, height, width


def check_split(split: Split, classes: int, what: str) -> None:
    """Raise MygoEdgeError for images of another shape, pixels that are not finite, and labels without a class."""
    inputs, labels = split.inputs, split.labels
    if len(inputs) != len(labels):
        raise MygoEdgeError(f"{what}: {len(inputs)} inputs and {len(labels)} labels do not match; give one label each")
    if isinstance(inputs, Tensor):
        if inputs.ndim != 4:
            raise MygoEdgeError(f"{what} images have shape {list(inputs.shape)}; give [n, channels, height, width]")
        if inputs.is_floating_point() and not torch.isfinite(inputs).all():
            where = int((~torch.isfinite(inputs)).flatten(1).any(1).nonzero()[0])
            raise MygoEdgeError(f"{what} image {where} holds NaN or infinite pixels; remove or repair it")
    if len(labels) and not 0 <= int(labels.min()) <= int(labels.max()) < classes:
        raise MygoEdgeError(f"{what}: a label is outside 0..{classes - 1}; give every class a name")


def load(options: TrainOptions) -> Dataset:
    """The dataset that `options` name. Raises MygoEdgeError when its files are not there or not readable."""
    if options.dataset == "digits":
        return _digits()
    if options.dataset == "arrays":
        raise MygoEdgeError("--dataset arrays is what a program gives to Learner.learn; call it again, or name another")
    if options.data_root is None:
        raise MygoEdgeError(f"--dataset {options.dataset} needs --data-root, the folder that holds (or gets) its files")
    if options.dataset in ("text", "ag-news"):
        return _texts(options.dataset, options.data_root, options.text)
    if options.dataset == "folder":
        read: Any = load_folder if options.trunk is None else list_folder  # a trunk takes pictures of any size
        classes, train, test = read(options.data_root, options.folder)
        return Dataset("folder", classes, Split(*train), Split(*test))
    return _torchvision(options.dataset, options.data_root, options.download)


def _texts(name: str, root: Path, options: TextOptions) -> Dataset:
    found = load_text(root, options) if name == "text" else load_ag_news(root)
    train, test = (Split(part.texts, torch.from_numpy(part.labels)) for part in (found.train, found.test))
    return Dataset(found.name, found.classes, train, test)


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


def image_batch(images: np.ndarray) -> Tensor:
    """Images [n, h, w], [n, h, w, c] or [n, c, h, w] as [n, c, h, w]."""
    if images.ndim == 3:
        images = images[:, None]
    elif images.shape[-1] in (1, 3) and images.shape[1] not in (1, 3):
        images = images.transpose(0, 3, 1, 2)
    return torch.from_numpy(np.ascontiguousarray(images))


def _split(images: np.ndarray, labels: Any) -> Split:
    return Split(image_batch(images), torch.as_tensor(np.asarray(labels)).long())


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
