"""A classifier that is kept: rows of one covariance, which stay while newer ones would answer alike."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mygo_edge.bundle.gaussian import ClassMeans, Floats, PowerTransform, join
from mygo_edge.bundle.rows import ClassRows, row_discriminant
from mygo_edge.learn.estimates import Root, Whole
from mygo_edge.learn.shared_covariance import SharedCovariance, Shrunk


class SentRows:
    """Rows S^-1 (mean - centre) of every task, made once each, with the covariance S of a sleep some tasks ago."""

    def __init__(self, covariance: SharedCovariance, centre: Floats) -> None:
        """covariance: S; centre: [features], of all rows."""
        self.covariance, self.centre = covariance, centre
        self.tasks: list[ClassRows] = []

    @classmethod
    def of(cls, covariance: SharedCovariance, tasks: list[ClassMeans]) -> "SentRows":
        """Of a sleep's covariance and all tasks."""
        sent = cls(covariance, join(tasks).means.mean(0, dtype=np.float64).astype(np.float32))
        sent.extend(tasks)
        return sent

    def extend(self, tasks: list[ClassMeans]) -> None:
        """Add the rows of the last of `tasks` that have none yet."""
        if not (new := tasks[len(self.tasks) :]):
            return
        rows = self.covariance.times(join(new).means - self.centre.astype(np.float64)).astype(np.float32)
        ends = np.cumsum([len(means.counts) for means in new])[:-1]
        self.tasks += [ClassRows(own, self.covariance.spread) for own in np.split(rows, ends)]

    def discriminant(self, tasks: list[ClassMeans]) -> tuple[Floats, Floats]:
        """Weight and bias of all tasks, with rows for those that have none yet: what devices would answer with."""
        self.extend(tasks)
        rows = np.concatenate([task.rows for task in self.tasks])
        return row_discriminant(join(tasks), ClassRows(rows, self.covariance.spread))

    def state(self, name: str) -> dict[str, NDArray[Any]]:
        """Everything, as arrays for a checkpoint, called `name.…`."""
        shrunk = self.covariance.shrunk
        estimate = shrunk.estimate
        whole = (
            (f"{name}.root", estimate.root) if isinstance(estimate, Root) else (f"{name}.covariance", estimate.matrix)
        )
        return {
            whole[0]: whole[1],
            f"{name}.target": shrunk.target,
            f"{name}.shrinkage": np.array(shrunk.shrinkage),
            f"{name}.centre": self.centre,
            f"{name}.rows": np.concatenate([task.rows for task in self.tasks]),
        }

    @classmethod
    def from_state(
        cls, name: str, state: dict[str, NDArray[Any]], widths: NDArray[Any], transform: PowerTransform
    ) -> "SentRows":
        """Of what `state` gave, and of the numbers of classes of the tasks."""
        few = f"{name}.root" in state
        estimate = Root(state[f"{name}.root"].copy()) if few else Whole(state[f"{name}.covariance"].copy())
        shrunk = Shrunk(estimate, state[f"{name}.target"].copy(), float(state[f"{name}.shrinkage"]))
        covariance = SharedCovariance(shrunk, transform)
        sent = cls(covariance, state[f"{name}.centre"].copy())
        rows, start = state[f"{name}.rows"], 0
        for width in widths.tolist():
            if start < len(rows):  # the last task may still wait for its sleep
                sent.tasks.append(ClassRows(rows[start : start + width].copy(), sent.covariance.spread))
            start += width
        return sent
