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
    """matrix[i][j]: accuracy on task j after task i, a fraction; the rest are fractions too. average: of the last
    row, None where it has nothing.
    """

    matrix: Matrix
    average: float | None
    forgetting: float
    backward_transfer: float


Logits = Callable[[Tensor], Tensor]  # inputs -> logits of all heads side by side, in the order of the tasks


@torch.inference_mode()
def answers_on_tests(
    logits: Logits, tasks: Sequence[Task], breathe: Callable[[], None] = lambda: None
) -> list[Tensor | None]:
    """Logits of every task's test inputs, [n, classes of all tasks]; None where its test data is not there.

    Args:
        breathe: called between two batches; may raise to stop.
    """
    found: list[Tensor | None] = []
    for task in tasks:
        if not task.tested:
            found.append(None)
            continue
        parts = []
        for part in task.test.inputs.split(BATCH):
            parts.append(logits(part))
            breathe()
        found.append(torch.cat(parts).to(task.test.labels.device))
    return found


def accuracies(answers: Sequence[Tensor | None], tasks: Sequence[Task]) -> tuple[Row, Row]:
    """Accuracy on each of the `tasks` learnt so far: with the task known, and unknown (arg max over all heads).

    Args:
        answers: of `answers_on_tests`.
    """
    known: Row = []
    unknown: Row = []
    first = 0
    for task, answer in zip(tasks, answers, strict=True):
        own = slice(first, first + len(task.classes))
        if answer is None:
            known.append(None)
            unknown.append(None)
        else:
            known.append((answer[:, own].argmax(1) == task.test.labels).double().mean().item())
            unknown.append((answer.argmax(1) == task.test.labels + first).double().mean().item())
        first = own.stop
    return known, unknown


def confusion(answers: Sequence[Tensor | None], tasks: Sequence[Task]) -> list[list[int]]:
    """Test inputs by their class (rows) and the answer among the classes of all `tasks` (columns).

    Args:
        answers: of `answers_on_tests`.
    """
    total = sum(len(task.classes) for task in tasks)
    counts = torch.zeros(total, total, dtype=torch.int64)
    first = 0
    for task, answer in zip(tasks, answers, strict=True):
        if answer is not None:
            pairs = (task.test.labels.cpu() + first) * total + answer.argmax(1).cpu()
            counts += torch.bincount(pairs, minlength=total * total).reshape(total, total)
        first += len(task.classes)
    return counts.tolist()


def per_class(counts: Sequence[Sequence[int]]) -> list[float | None]:
    """Accuracy of each class from `confusion`'s counts; None for a class without test inputs."""
    return [row[label] / sum(row) if sum(row) else None for label, row in enumerate(counts)]


def scores(matrix: Matrix) -> Scores:
    """The measures of a matrix whose row i has i + 1 entries.

    average: mean of the last row. forgetting: mean over old tasks of the best earlier accuracy minus the last
    (Chaudhry et al. 2018). backward_transfer: mean over old tasks of the last accuracy minus the one right after
    learning (Lopez-Paz & Ranzato 2017). Both are 0 for a single task. What was not measured does not count; of nothing
    there is no average.
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
        "average": mean(measured) if (measured := [value for value in last if value is not None]) else None,
        "forgetting": mean(forgetting),
        "backward_transfer": mean(transfer),
    }


def mean(values: Sequence[float]) -> float:
    """0 for none."""
    return sum(values) / len(values) if values else 0.0
