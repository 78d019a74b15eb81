"""What a program hands over, as raw inputs with labels: arrays, tensors, datasets of PyTorch, folders, texts."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from mygo_edge.bundle.labels import listed
from mygo_edge.bundle.strict import MAX_NAME, printable
from mygo_edge.data.datasets import check_split, image_batch
from mygo_edge.data.folder import SUFFIXES
from mygo_edge.data.split import Split
from mygo_edge.data.tasks import Arrival
from mygo_edge.errors import MygoEdgeError

Given = tuple[Any, Any]  # inputs and labels


def arrival_from(
    name: str, inputs: Any, labels: Any = None, *, classes: Sequence[str] | None = None, test: Given | None = None
) -> Arrival:
    """A task from what a program has.

    Args:
        name: of the task.
        inputs: images, uint8 or floats in [0, 1], [n, height, width], [n, height, width, channels] or [n, channels,
            height, width], as an array or a tensor; or a list of paths of pictures, or of texts; or a dataset of
            (image, label) pairs, which brings its labels.
        labels: a class's name or number for each input.
        classes: names of the classes with numbers 0, 1, ... (default: the names that occur, sorted; a number is its
            own name).
        test: inputs and labels to measure on, of the same classes.

    Raises:
        MygoEdgeError: inputs or labels that it cannot take, or fewer than two classes.
    """
    train_inputs, train_labels, known = _pair(inputs, labels)
    given = known if classes is None else list(classes)
    names = given or _names(train_labels)
    if len(names) < 2 or len(set(names)) < len(names):
        raise MygoEdgeError(f"{name}: a task needs two or more classes of different names, not {names}")
    if unnamed := [label for label in names if not printable(label) or not label.strip()]:
        raise MygoEdgeError(f"{name}: {unnamed[0]!r} cannot name a class; use printable characters, {MAX_NAME} at most")
    numbered = bool(given)  # then the place of a name is a label, too
    train = _split(name, train_inputs, train_labels, names, numbered)
    if missing := [label for index, label in enumerate(names) if not (train.labels == index).any()]:
        raise MygoEdgeError(f"{name}: class {missing[0]!r} has no training input; add some")
    if test is None:
        return Arrival(name, names, train)
    if not isinstance(test, tuple | list) or len(test) != 2:
        raise MygoEdgeError(f"{name}: test takes a pair of inputs and labels, as (inputs, labels)")
    test_inputs, test_labels, _ = _pair(*test)
    return Arrival(name, names, train, _split(f"{name}, test", test_inputs, test_labels, names, numbered))


def _pair(inputs: Any, labels: Any) -> tuple[Any, list[Any], list[str] | None]:
    """Inputs, labels, and the classes' names where a dataset has them."""
    known = None
    if labels is None:
        try:
            pairs = [inputs[index] for index in range(len(inputs))]
            images = [np.asarray(image.detach().cpu() if isinstance(image, Tensor) else image) for image, _ in pairs]
            named = getattr(inputs, "classes", None)
            known = list(named) if isinstance(named, list | tuple) else None
            inputs, labels = np.stack(images), [label for _, label in pairs]
        except (TypeError, ValueError) as error:
            raise MygoEdgeError("without labels, give a dataset of (image, label) pairs, all images alike") from error
    if isinstance(labels, Tensor):
        labels = labels.detach().cpu().numpy()
    return inputs, listed(labels), known


def _names(labels: list[Any]) -> list[str]:
    """Of the classes that occur: numbers by their size, all else by the alphabet."""
    if all(isinstance(label, int) for label in labels):
        return [str(label) for label in sorted({int(label) for label in labels})]
    return sorted({str(label) for label in labels})


def class_name(label: Any) -> str:
    """The name of the class that a label says; that of a truth value is its number's."""
    return str(int(label)) if isinstance(label, bool) else str(label)


def _split(what: str, inputs: Any, labels: list[Any], names: list[str], numbered: bool) -> Split:
    """numbered: a label that is a number says which of the names."""
    places: dict[Any, int] = {label: index for index, label in enumerate(names)}
    try:
        numbers = [int(label) if numbered and isinstance(label, int) else places[class_name(label)] for label in labels]
    except KeyError as error:
        raise MygoEdgeError(f"{what}: label {error} is none of the classes {', '.join(names)}") from None
    if outside := [number for number in numbers if not 0 <= number < len(names)]:
        raise MygoEdgeError(f"{what}: label {outside[0]} is none of the classes 0 to {len(names) - 1}")
    split = Split(raw_inputs(what, inputs), torch.tensor(numbers, dtype=torch.long))
    check_split(split, len(names), what)
    return split


def raw_inputs(what: str, inputs: Any) -> Any:
    """Images as a tensor [n, channels, height, width]; paths and texts as a list. Raises MygoEdgeError."""
    if isinstance(inputs, str | Path):
        inputs = [inputs]
    if isinstance(inputs, list | tuple) and inputs and all(isinstance(item, str | Path) for item in inputs):
        return _files_or_texts(what, inputs)
    try:
        array = np.asarray(inputs.detach().cpu() if isinstance(inputs, Tensor) else inputs)
    except ValueError as error:
        raise MygoEdgeError(f"{what}: images of one shape are needed ({error})") from error
    if array.ndim == 1 and array.dtype.kind in "UTO" and all(isinstance(item, str | Path) for item in array):
        return _files_or_texts(what, array.tolist())
    if (
        array.ndim not in (3, 4)
        or array.dtype.kind not in "uf"
        or (array.dtype.kind == "u" and array.dtype != np.uint8)
    ):
        raise MygoEdgeError(
            f"{what}: images must be uint8, or floats in [0, 1], of shape [n, height, width], [n, height, width, "
            f"channels] or [n, channels, height, width]; these are {array.dtype} of shape {list(array.shape)}"
        )
    if array.dtype.kind == "f":
        if array.size and not (array.min() >= 0 and array.max() <= 1):  # written so that NaN fails it
            raise MygoEdgeError(f"{what}: floats must be in [0, 1], these are from {array.min()} to {array.max()}")
        array = array.astype(np.float32)
    return image_batch(array)


def _files_or_texts(what: str, items: Sequence[str | Path]) -> list[str | Path]:
    """Paths of pictures, which are there, where all of the names end as pictures' do; else texts."""
    if not all(Path(item).suffix.lower() in SUFFIXES for item in items):
        return list(items)
    paths: list[str | Path] = [Path(item) for item in items]
    if missing := [path for path in paths if not Path(path).is_file()]:
        raise MygoEdgeError(f"{what}: {missing[0]} is no file; give pictures that are there")
    return paths
