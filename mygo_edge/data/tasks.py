"""The stream of tasks: groups of classes, each with its own training and test split."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import torch
from torch import Tensor

from mygo_edge.bundle.strict import composed
from mygo_edge.data.datasets import Dataset, load
from mygo_edge.data.split import Split, fingerprint
from mygo_edge.errors import MygoEdgeError, warn
from mygo_edge.options import TrainOptions

FEW = 50  # training inputs of a class, below which what is remembered of it will be poor

Prepare = Callable[[object], Tensor]  # raw inputs -> what a domain takes


@dataclass(frozen=True, slots=True)
class Arrival:
    """A task as it arrives: raw inputs, labels counted within the task, names of its classes.

    Raises:
        MygoEdgeError: two classes whose names are one to Unicode, which devices would not tell apart.
    """

    name: str
    classes: list[str]
    train: Split
    test: Split | None = None

    def __post_init__(self) -> None:
        known: set[str] = set()
        for label in map(composed, self.classes):
            if label in known:
                raise MygoEdgeError(f"{self.name}: two classes are called {label!r}, in two spellings; rename one")
            known.add(label)

    def fingerprint(self) -> str:
        """SHA-256 of everything in it."""
        return fingerprint(self.classes, *filter(None, (self.train, self.test)))


class Task:
    """A task as learning takes it: its inputs are prepared when they are first asked for.

    Args:
        name, classes: labels are counted within the task; `classes` holds their names.
        train, test: raw, or None where they are not there any more.
        prepare: makes raw inputs what the domain takes.
    """

    def __init__(
        self, name: str, classes: Sequence[str], train: Split | None, test: Split | None, prepare: Prepare
    ) -> None:
        self.name, self.classes, self._prepare = name, list(classes), prepare
        self._raw = {"train": train, "test": test}
        self._ready: dict[str, Split] = {}

    @property
    def train(self) -> Split:
        """Prepared training split. Raises MygoEdgeError where its data is gone."""
        return self._split("train")

    @property
    def test(self) -> Split:
        """Prepared test split. Raises MygoEdgeError where its data is gone."""
        return self._split("test")

    @property
    def tested(self) -> bool:
        """Whether there is a test split."""
        return self._raw["test"] is not None

    def prepare_training(self) -> None:
        """Prepare the training inputs now."""
        self._split("train")

    def drop_training(self) -> None:
        """Let the prepared training inputs go; they are prepared again when something asks for them."""
        self._ready.pop("train", None)

    def _split(self, part: str) -> Split:
        raw = self._raw[part]
        if raw is None:
            raise MygoEdgeError(f"the {part} data of {self.name} is not there; give it again")
        if part not in self._ready:
            with torch.inference_mode(False):  # whoever asks first, learning may use it later
                inputs = self._prepare(raw.inputs)
            self._ready[part] = Split(inputs, raw.labels.to(inputs.device))
        return self._ready[part]


def class_groups(tasks: str, classes: int) -> list[list[int]]:
    """The class indices of every task.

    `tasks` is a number (equal groups in label order) or groups such as `0,1/2,3/4,5,6`.

    Raises:
        MygoEdgeError: anything but disjoint groups of at least two known classes each.
    """
    if classes < 2:
        raise MygoEdgeError(
            "there is only one class; a task needs at least two (of a folder, give one sub-folder a class)"
        )
    if tasks.isdecimal():
        count = int(tasks)
        if count < 1 or classes % count:
            divisors = [str(d) for d in range(1, classes // 2 + 1) if classes % d == 0]
            raise MygoEdgeError(
                f"--tasks {count} does not divide {classes} classes equally; use one of {', '.join(divisors)}, "
                f"or name the groups: {_nearly_equal(count, classes)}"
            )
        size = classes // count
        groups = [list(range(start, start + size)) for start in range(0, classes, size)]
    else:
        try:
            groups = [[int(index) for index in group.split(",")] for group in tasks.split("/")]
        except ValueError:
            raise MygoEdgeError(
                f"--tasks {tasks!r} is not a number or groups of class indices such as 0,1/2,3"
            ) from None
    seen: set[int] = set()
    for group in groups:
        for index in group:
            if not 0 <= index < classes:
                raise MygoEdgeError(f"--tasks names class {index}, but the classes are 0 to {classes - 1}")
            if index in seen:
                raise MygoEdgeError(f"--tasks names class {index} twice; a class belongs to one task")
            seen.add(index)
        if len(group) < 2:
            raise MygoEdgeError(f"--tasks: the task {group} has one class; a task needs at least two to tell apart")
    return groups


def _nearly_equal(count: int, classes: int) -> str:
    """Groups as --tasks takes them: `count`, or as many as have two classes each, nearly equal."""
    count = min(max(count, 1), classes // 2)
    ends = [classes * place // count for place in range(count + 1)]
    return "/".join(",".join(str(index) for index in range(*pair)) for pair in pairwise(ends))


def arrivals_of(dataset: Dataset, tasks: str, names: Sequence[str] = (), first: int = 0) -> list[Arrival]:
    """Cut `dataset` into tasks.

    Args:
        tasks: see `class_groups`.
        names: one a task; without them task0, task1, ... counted from `first`.

    Raises:
        MygoEdgeError: bad groups, not as many names as tasks, or a class without a training input.
    """
    groups = class_groups(tasks, len(dataset.classes))
    if names and len(names) != len(groups):
        raise MygoEdgeError(f"--task-names gives {len(names)} names, --tasks makes {len(groups)} tasks")
    found = []
    for number, group in enumerate(groups):
        name = names[number] if names else f"task{first + number}"
        train, test = dataset.train.of_classes(group), dataset.test.of_classes(group)
        missing = [
            [dataset.classes[group[row]] for row in (torch.bincount(split.labels, minlength=len(group)) == 0).nonzero()]
            for split in (train, test)
        ]
        if missing[0]:
            raise MygoEdgeError(f"{dataset.name}: class {missing[0][0]!r} of {name} has no training input; add some")
        if missing[1]:
            more = f" (and {len(missing[1]) - 1} more)" if missing[1][1:] else ""
            warn(f"{dataset.name}: class {missing[1][0]!r}{more} of {name} has no test input; it is not measured")
        found.append(Arrival(name, [dataset.classes[index] for index in group], train, test if len(test) else None))
    return found


def folder_arrival(name: str, root: Path, options: TrainOptions, shape: Sequence[int] | None = None) -> Arrival:
    """A task from a folder of images with one sub-folder a class.

    Args:
        options: of the learner, for how its images are read.
        shape: channels, height and width that images are brought to (default: as the options say).
    """
    form = options.folder
    if shape is not None:
        form = replace(form, size=shape[1], colour="grey" if shape[0] == 1 else "rgb")
    dataset = load(replace(options, dataset="folder", data_root=root, folder=form))
    return Arrival(name, dataset.classes, dataset.train, dataset.test)


def refuse_single(arrivals: Sequence[Arrival]) -> None:
    """Raise MygoEdgeError for a class of one training input, of which no scatter can be taken."""
    for arrival in arrivals:
        counts = torch.bincount(arrival.train.labels, minlength=len(arrival.classes)).tolist()
        for label, count in zip(arrival.classes, counts, strict=True):
            if count == 1:
                raise MygoEdgeError(
                    f"class {label!r} of {arrival.name} has one input for training; give it two at least, or drop it"
                )


def weak_classes(arrivals: Sequence[Arrival]) -> list[str]:
    """A line for every class with few training inputs."""
    lines = []
    for arrival in arrivals:
        counts = torch.bincount(arrival.train.labels, minlength=len(arrival.classes)).tolist()
        for label, count in zip(arrival.classes, counts, strict=True):
            if count < FEW:
                lines.append(f"{arrival.name}: class {label!r} has {count} training inputs; its dreams will be poor")
    return lines
