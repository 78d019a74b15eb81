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
        self._products = np.zeros((0, 0), np.float32)  # of rows and means less centre; symmetric, as S is
        self._blocks: list[int] = []  # classes after each time that products were added
        self._found: tuple[Floats, Floats] | None = None  # what they answer with

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
        self._found = None

    @property
    def rows(self) -> Floats:
        """Of all tasks, [classes, features]."""
        return np.concatenate([task.rows for task in self.tasks])

    def discriminant(self, tasks: list[ClassMeans]) -> tuple[Floats, Floats]:
        """Weight and bias of all tasks, with rows for those that have none yet: what devices would answer with."""
        self.extend(tasks)
        if self._found is None:
            means, rows = join(tasks), self.rows
            self._multiply(rows, means.means)
            self._found = row_discriminant(means, ClassRows(rows, self.covariance.spread), self._products)
        return self._found

    def _multiply(self, rows: Floats, means: Floats) -> None:
        """Add the products of new classes, or, of what a checkpoint gave, all in the same blocks: to the same bits."""
        if len(rows) > max(self._blocks, default=0):
            self._blocks.append(len(rows))
        for end in self._blocks:
            if end > (old := len(self._products)):
                added = rows[:end] @ (means[old:end] - self.centre).T  # [classes, new classes]
                self._products = np.block([[self._products, added[:old]], [added.T]])

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
            f"{name}.rows": self.rows,
            f"{name}.blocks": np.array(self._blocks, np.int64),
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
        sent._blocks = state.get(f"{name}.blocks", np.zeros(0, np.int64)).tolist()  # an older checkpoint has none
        rows, start = state[f"{name}.rows"], 0
        for width in widths.tolist():
            if start < len(rows):  # the last task may still wait for its sleep
                sent.tasks.append(ClassRows(rows[start : start + width].copy(), sent.covariance.spread))
            start += width
        return sent
