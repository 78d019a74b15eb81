"""What a device says of an input besides its class: how sure it is, and whether the input looks like none of them."""

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from mygo_edge.device.engine import Engine, Learnt, Scores
from mygo_edge.errors import MygoEdgeError


class Assessment(NamedTuple):
    """Of one input.

    answers: (task, class, probability) of the most likely classes, the most likely first; novelty: see
    `mygo_edge.device.edge_model.EdgeModel.novelty`; rejected: whether it looks like none of the classes, None where
    that was not asked.
    """

    answers: list[tuple[str, str, float]]
    novelty: float
    rejected: bool | None


def assessments(scores: Scores, labels: Sequence[tuple[str, str]], top: int, limit: float | None) -> list[Assessment]:
    """Of every input.

    Args:
        scores: of the inputs.
        labels: (task, class) of every column of the logits.
        top: how many of the most likely classes.
        limit: the novelty above which an input is rejected.
    """
    found = []
    for row, novelty in zip(softmax(scores.logits), scores.novelty.tolist(), strict=True):
        best = np.argsort(-row, kind="stable")[:top]
        answers = [(*labels[column], float(row[column])) for column in best]
        found.append(Assessment(answers, novelty, None if limit is None else novelty > limit))
    return found


class Calibration:
    """Thresholds of novelty, from what the box measured, or from the model's own dreams: no real input is kept."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._kept: Mapping[tuple[str, ...], NDArray[np.float32]] = {}  # replaced, never changed

    def threshold(self, names: Sequence[str], learnt: Mapping[str, Learnt], false_alarms: float) -> float:
        """The novelty that a share of what is of these tasks exceeds. Dreams, where needed, are made at the first call.

        Raises:
            MygoEdgeError: a share out of range, or no task that can dream.
        """
        if not 0 < false_alarms < 1:
            raise MygoEdgeError(f"false_alarms must be a share between 0 and 1, such as 0.05, not {false_alarms}")
        key = (*names, *(task.created for task in learnt.values()))
        if key not in self._kept:
            found = self._engine.usual_novelty(names, learnt)
            if not len(found):
                raise MygoEdgeError(f"{', '.join(names)}: no dreams to take a threshold from; ask without a task")
            self._kept = {**self._kept, key: found}
        return float(np.quantile(self._kept[key], 1 - false_alarms))


def softmax(logits: NDArray[np.float32]) -> NDArray[np.float32]:
    """Over the last axis of [n, classes]; NaN where a logit is infinite."""
    with np.errstate(invalid="ignore"):
        exponentials = np.exp(logits - logits.max(1, keepdims=True))
        return exponentials / exponentials.sum(1, keepdims=True)
