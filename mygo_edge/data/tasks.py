"""The stream of tasks: groups of classes, each with its own training and test split."""

from dataclasses import dataclass

import torch

from mygo_edge.data.datasets import Dataset, Split
from mygo_edge.errors import MygoEdgeError


@dataclass(frozen=True, slots=True)
class Task:
    """One task. Labels are counted within the task; `classes` holds their names."""

    name: str
    classes: list[str]
    train: Split
    test: Split


def class_groups(tasks: str, classes: int) -> list[list[int]]:
    """The class indices of every task.

    `tasks` is a number (equal groups in label order) or groups such as `0,1/2,3/4,5,6`.

    Raises:
        MygoEdgeError: anything but disjoint groups of at least two known classes each.
    """
    if classes < 2:
        raise MygoEdgeError(
            "there is only one class; a task needs at least two (of images, give one sub-folder a class)"
        )
    if tasks.isdecimal():
        count = int(tasks)
        if count < 1 or classes % count:
            divisors = [str(d) for d in range(1, classes // 2 + 1) if classes % d == 0]
            raise MygoEdgeError(
                f"--tasks {count} does not divide {classes} classes equally; use one of {', '.join(divisors)}, "
                "or name the groups: 0,1/2,3,4"
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


def make_tasks(dataset: Dataset, tasks: str, *, batch_size: int, device: torch.device) -> list[Task]:
    """Cut `dataset` into tasks, their images normalised and on `device`, or in main memory where they do not fit.

    Raises:
        MygoEdgeError: bad groups (see `class_groups`), a task with fewer training images than a batch, or a class
            without a training or a test image.
    """
    groups = class_groups(tasks, len(dataset.classes))
    storage = _storage(dataset, device)
    result = []
    for number, group in enumerate(groups):
        parts = [_select(split, group) for split in (dataset.train, dataset.test)]
        name = f"task{number}"
        for part, split in zip(("training", "test"), parts, strict=True):
            counts = torch.bincount(split.labels, minlength=len(group))
            if not counts.all():
                missing = dataset.classes[group[int(counts.argmin())]]
                raise MygoEdgeError(f"{dataset.name}: class {missing!r} of {name} has no {part} image; add some")
        if len(parts[0].labels) < batch_size:
            raise MygoEdgeError(
                f"{dataset.name}: {name} has {len(parts[0].labels)} training images, fewer than a batch of "
                f"{batch_size}; lower --wake.batch-size and --memory.batch-size, or join tasks"
            )
        train, test = (part.normalised(storage) for part in parts)
        result.append(Task(name, [dataset.classes[index] for index in group], train, test))
    return result


def _storage(dataset: Dataset, device: torch.device) -> torch.device:
    """`device`, unless the images as float32 would take more than a third of its free memory."""
    needed = 4 * (dataset.train.images.numel() + dataset.test.images.numel())
    fits = device.type != "cuda" or needed < torch.cuda.mem_get_info(device)[0] / 3  # joint training holds a copy
    return device if fits else torch.device("cpu")


def _select(split: Split, group: list[int]) -> Split:
    """The images of the classes in `group`, labels renumbered in the group's order."""
    renumber = torch.full((int(max(int(split.labels.max()), *group)) + 1,), -1, dtype=torch.long)
    renumber[torch.tensor(group)] = torch.arange(len(group))
    labels = renumber[split.labels]
    return Split(split.images[labels >= 0], labels[labels >= 0])
