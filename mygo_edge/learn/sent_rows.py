"""The classifier that devices answer with: rows of one covariance, which stay while newer ones would answer alike."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mygo_edge.bundle.gaussian import ClassMeans, Floats, PowerTransform, join
from mygo_edge.bundle.rows import ClassRows, row_discriminant
from mygo_edge.learn.shared_covariance import SharedCovariance, Shrunk


class SentRows:
    """Rows S^-1 (mean - centre) of every task, made once each, with the covariance S of a sleep some tasks ago."""

    def __init__(self, shrunk: Shrunk, transform: PowerTransform, centre: Floats) -> None:
        """shrunk: S; it is rounded to float32, as a checkpoint keeps it; centre: [features], of all rows."""
        rounded = Shrunk(shrunk.covariance.astype(np.float32).astype(np.float64), shrunk.target, shrunk.shrinkage)
        self.covariance, self.centre = SharedCovariance(rounded, transform), centre
        self.tasks: list[ClassRows] = []

    @classmethod
    def of(cls, covariance: SharedCovariance, tasks: list[ClassMeans]) -> "SentRows":
        """Of a sleep's covariance and all tasks."""
        centre = join(tasks).means.mean(0, dtype=np.float64).astype(np.float32)
        sent = cls(covariance.shrunk, covariance.transform, centre)
        sent.extend(tasks)
        return sent

    def extend(self, tasks: list[ClassMeans]) -> None:
        """Add the rows of the last of `tasks` that have none yet."""
        for means in tasks[len(self.tasks) :]:
            rows = self.covariance.times(means.means - self.centre.astype(np.float64))
            self.tasks.append(ClassRows(rows.astype(np.float32), self.covariance.spread))

    def discriminant(self, tasks: list[ClassMeans]) -> tuple[Floats, Floats]:
        """Weight and bias of all tasks, with rows for those that have none yet: what devices would answer with."""
        self.extend(tasks)
        rows = np.concatenate([task.rows for task in self.tasks])
        return row_discriminant(join(tasks), ClassRows(rows, self.covariance.spread))

    def state(self) -> dict[str, NDArray[Any]]:
        """Everything, as arrays for a checkpoint."""
        shrunk = self.covariance.shrunk
        return {
            "sent.covariance": shrunk.covariance.astype(np.float32),
            "sent.target": shrunk.target,
            "sent.shrinkage": np.array(shrunk.shrinkage),
            "sent.centre": self.centre,
            "sent.rows": np.concatenate([task.rows for task in self.tasks]),
        }

    @classmethod
    def from_state(cls, state: dict[str, NDArray[Any]], widths: NDArray[Any], transform: PowerTransform) -> "SentRows":
        """Of what `state` gave, and of the numbers of classes of the tasks."""
        shrunk = Shrunk(
            state["sent.covariance"].astype(np.float64), state["sent.target"].copy(), float(state["sent.shrinkage"])
        )
        sent = cls(shrunk, transform, state["sent.centre"].copy())
        rows, start = state["sent.rows"], 0
        for width in widths.tolist():
            if start < len(rows):  # the last task may still wait for its sleep
                sent.tasks.append(ClassRows(rows[start : start + width].copy(), sent.covariance.spread))
            start += width
        return sent
