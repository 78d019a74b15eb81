"""Accuracies on the test split, with the task known and unknown, and what follows from their matrix."""

from collections.abc import Callable, Sequence
from typing import TypedDict

import torch
from torch import Tensor

from mygo_edge.data.tasks import Task

BATCH = 2000

Row = list[float | None]  # None: the task's test data was not there
Matrix = list[Row]


class Scores(TypedDict):
    """matrix[i][j]: accuracy on task j after task i, a fraction; the rest are fractions too."""

    matrix: Matrix
    average: float
    forgetting: float
    backward_transfer: float


@torch.inference_mode()
def accuracies(
    logits: Callable[[Tensor], Tensor], tasks: Sequence[Task], breathe: Callable[[], None] = lambda: None
) -> tuple[Row, Row]:
    """Accuracy on each of the `tasks` learnt so far: with the task known, and unknown (arg max over all heads).
    None for a task whose test data is not there.

    Args:
        logits: inputs -> logits of all heads side by side, in the order of `tasks`.
        breathe: called between two batches; may raise to stop.
    """
    known: Row = []
    unknown: Row = []
    offset = 0
    for task in tasks:
        own, first = slice(offset, offset + len(task.classes)), offset
        offset += len(task.classes)
        if not task.tested:
            known.append(None)
            unknown.append(None)
            continue
        parts = []
        for part in task.test.inputs.split(BATCH):
            parts.append(logits(part))
            breathe()
        answers = torch.cat(parts).to(task.test.labels.device)
        known.append((answers[:, own].argmax(1) == task.test.labels).double().mean().item())
        unknown.append((answers.argmax(1) == task.test.labels + first).double().mean().item())
    return known, unknown


@torch.inference_mode()
def confusion(
    logits: Callable[[Tensor], Tensor], tasks: Sequence[Task], breathe: Callable[[], None] = lambda: None
) -> list[list[int]]:
    """Counts of test inputs with the task unknown: a row a true class, a column an answer, classes of all `tasks`.
    A class whose test data is not there has a row of zeros.

    Args:
        logits, breathe: as for `accuracies`.
    """
    total = sum(len(task.classes) for task in tasks)
    counts = torch.zeros(total, total, dtype=torch.int64)
    offset = 0
    for task in tasks:
        if task.tested:
            for part, labels in zip(task.test.inputs.split(BATCH), task.test.labels.split(BATCH), strict=True):
                pairs = (labels.cpu() + offset) * total + logits(part).argmax(1).cpu()
                counts += torch.bincount(pairs, minlength=total * total).reshape(total, total)
                breathe()
        offset += len(task.classes)
    return counts.tolist()


def per_class(counts: Sequence[Sequence[int]]) -> list[float | None]:
    """Accuracy of each class from `confusion`'s counts; None for a class without test inputs."""
    return [row[label] / sum(row) if sum(row) else None for label, row in enumerate(counts)]


def scores(matrix: Matrix) -> Scores:
    """The measures of a matrix whose row i has i + 1 entries.

    average: mean of the last row. forgetting: mean over old tasks of the best earlier accuracy minus the last
    (Chaudhry et al. 2018). backward_transfer: mean over old tasks of the last accuracy minus the one right after
    learning (Lopez-Paz & Ranzato 2017). Both are 0 for a single task. What was not measured does not count.
    """
    last = matrix[-1]
    forgetting, transfer = [], []
    for j, now in enumerate(last[:-1]):
        before = [value for row in matrix[j:-1] if (value := row[j]) is not None]
        if now is not None and before:
            forgetting.append(max(before) - now)
        if now is not None and (then := matrix[j][j]) is not None:
            transfer.append(now - then)
    return {
        "matrix": matrix,
        "average": mean([value for value in last if value is not None]),
        "forgetting": mean(forgetting),
        "backward_transfer": mean(transfer),
    }


def mean(values: Sequence[float]) -> float:
    """0 for none."""
    return sum(values) / len(values) if values else 0.0
