"""Accuracies on the test split, with the task known and unknown, and what follows from their matrix."""

from collections.abc import Callable, Sequence
from typing import TypedDict

import torch
from torch import Tensor

from mygo_edge.data.tasks import Task

BATCH = 2000

Matrix = list[list[float]]


class Scores(TypedDict):
    """matrix[i][j]: accuracy on task j after task i, a fraction; the rest are fractions too."""

    matrix: Matrix
    average: float
    forgetting: float
    backward_transfer: float


@torch.inference_mode()
def accuracies(logits: Callable[[Tensor], Tensor], tasks: Sequence[Task]) -> tuple[list[float], list[float]]:
    """Accuracy on each of the `tasks` learnt so far: with the task known, and unknown (arg max over all heads).

    Args:
        logits: images -> logits of all heads side by side, in the order of `tasks`.
    """
    known, unknown = [], []
    offset = 0
    for task in tasks:
        own = slice(offset, offset + len(task.classes))
        answers = torch.cat([logits(part) for part in task.test.images.split(BATCH)]).to(task.test.labels.device)
        known.append((answers[:, own].argmax(1) == task.test.labels).double().mean().item())
        unknown.append((answers.argmax(1) == task.test.labels + offset).double().mean().item())
        offset += len(task.classes)
    return known, unknown


@torch.inference_mode()
def confusion(logits: Callable[[Tensor], Tensor], tasks: Sequence[Task]) -> list[list[int]]:
    """Counts of test images with the task unknown: a row a true class, a column an answer, classes of all `tasks`.

    Args:
        logits: as for `accuracies`.
    """
    total = sum(len(task.classes) for task in tasks)
    counts = torch.zeros(total, total, dtype=torch.int64)
    offset = 0
    for task in tasks:
        answers = torch.cat([logits(part).argmax(1).cpu() for part in task.test.images.split(BATCH)])
        pairs = (task.test.labels.cpu() + offset) * total + answers
        counts += torch.bincount(pairs, minlength=total * total).reshape(total, total)
        offset += len(task.classes)
    return counts.tolist()


def per_class(counts: Sequence[Sequence[int]]) -> list[float | None]:
    """Accuracy of each class from `confusion`'s counts; None for a class without test images."""
    return [row[label] / sum(row) if sum(row) else None for label, row in enumerate(counts)]


def scores(matrix: Matrix) -> Scores:
    """The measures of a matrix whose row i has i + 1 entries.

    average: mean of the last row. forgetting: mean over old tasks of the best earlier accuracy minus the last
    (Chaudhry et al. 2018). backward_transfer: mean over old tasks of the last accuracy minus the one right after
    learning (Lopez-Paz & Ranzato 2017). Both are 0 for a single task.
    """
    last = matrix[-1]
    old = range(len(matrix) - 1)
    forgetting = [max(matrix[i][j] for i in range(j, len(matrix) - 1)) - last[j] for j in old]
    transfer = [last[j] - matrix[j][j] for j in old]
    return {
        "matrix": matrix,
        "average": sum(last) / len(last),
        "forgetting": sum(forgetting) / len(forgetting) if forgetting else 0.0,
        "backward_transfer": sum(transfer) / len(transfer) if transfer else 0.0,
    }
