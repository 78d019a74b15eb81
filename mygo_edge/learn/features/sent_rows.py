"""A classifier that is kept: rows of one covariance, which stay while newer ones would answer alike."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mygo_edge.bundle.gaussian import ClassMeans, Floats, PowerTransform, join
from mygo_edge.bundle.rows import ClassRows, join_rows
from mygo_edge.learn.features.denoised import Denoised
from mygo_edge.learn.features.estimates import Root, Whole
from mygo_edge.learn.features.shared_covariance import SharedCovariance, Shrunk


class SentRows:
    """Rows S^-1 (mean - centre) of every task, made once each, with the covariance S of a sleep some tasks ago."""

    def __init__(self, covariance: SharedCovariance, centre: Floats) -> None:
        """covariance: S; centre: [features], of all rows."""
        self.covariance, self.centre = covariance, centre
        self.tasks: list[ClassRows] = []
        self._blocks: list[int] = []  # tasks that were denoised in common, and after each time that others came beside
        self._denoised: Denoised | None = None

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

    @property
    def rows(self) -> Floats:
        """Of all tasks, [classes, features]."""
        return np.concatenate([task.rows for task in self.tasks])

    def discriminant(self, tasks: list[ClassMeans]) -> tuple[Floats, Floats]:
        """Weight and bias of all tasks, with rows for those that have none yet: what devices answer with, but for
        classes that are new (`Denoised`).
        """
        self.extend(tasks)
        if self._denoised is None and self._blocks:  # of a checkpoint: the same steps again, to the same bits
            for start, end in zip([0, *self._blocks], self._blocks, strict=False):
                self._add(tasks, start, end)
        if not self._blocks or self._blocks[-1] < len(tasks):
            counts = np.concatenate([task.counts for task in tasks])
            if self._denoised is None or not self._denoised.takes(counts):
                self._blocks, self._denoised = [], None
            self._add(tasks, self._blocks[-1] if self._blocks else 0, len(tasks))
            self._blocks.append(len(tasks))
        assert self._denoised is not None
        return self._denoised.weight, self._denoised.bias

    def scale(self, tasks: list[ClassMeans]) -> float:
        """How large the logits that `discriminant` gave last are beside those of means as they are."""
        if self._denoised is None:
            self.discriminant(tasks)
        assert self._denoised is not None
        return self._denoised.scale

    def _add(self, tasks: list[ClassMeans], start: int, end: int) -> None:
        """Those from `start` to `end`, to what there is."""
        means, rows = join(tasks[start:end]), join_rows(self.tasks[start:end])
        if start:
            assert self._denoised is not None
            self._denoised.beside(means, rows)
        else:
            self._denoised = Denoised(means, rows)

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
            f"{name}.denoised": np.array(self._blocks, np.int64),
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
        sent._blocks = state.get(f"{name}.denoised", np.zeros(0, np.int64)).tolist()  # an older checkpoint has none
        rows, start = state[f"{name}.rows"], 0
        for width in widths.tolist():
            if start < len(rows):  # the last task may still wait for its sleep
                sent.tasks.append(ClassRows(rows[start : start + width].copy(), sent.covariance.spread))
            start += width
        return sent
