"""A version as one moment of a running model sees it: what was published and what this device learnt, never changed.

`mygo_edge.device.edge_model.EdgeModel` replaces the whole of it when it learns or takes up a new version, so that a
thread that began with one goes on with it, whatever the others do.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mygo_edge.bundle.heads import HeadError
from mygo_edge.bundle.manifest import BundleError
from mygo_edge.bundle.reading import Bundle
from mygo_edge.device.assessing import Calibration
from mygo_edge.device.engine import Engine, Learnt, Scores
from mygo_edge.device.features import FeatureEngine
from mygo_edge.device.pixels import PixelEngine
from mygo_edge.device.session import SessionOptions, memory_limit
from mygo_edge.errors import MygoEdgeError


@dataclass(frozen=True, slots=True)
class Loaded:
    """engine: the version, opened; calibration: of its thresholds; learnt: tasks of this device by name; refused: task
    name -> why what this device learnt is not used."""

    engine: Engine
    calibration: Calibration
    learnt: Mapping[str, Learnt] = field(default_factory=dict)
    refused: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def open(cls, bundle: Bundle, session: SessionOptions, precision: str | None) -> "Loaded":
        """Open a version that was read and verified, without what this device learnt. Raises as `EdgeModel.load`."""
        trunk = bundle.manifest.trunk
        if trunk is None:
            engine: Engine = PixelEngine(bundle, session, precision)
        else:
            engine = FeatureEngine(bundle, trunk, session, precision)
        return cls(engine, Calibration(engine))

    def with_heads(self, folder: Path | None) -> "Loaded":
        """With what is kept in a folder."""
        if folder is None:
            return self
        return Loaded(self.engine, self.calibration, *self.engine.read_learnt(folder))

    def with_tried(self, tasks: Iterable[Learnt]) -> "Loaded":
        """With tasks that are in no folder, learnt on any version, where they fit this one."""
        learnt, refused = dict(self.learnt), dict(self.refused)
        for task in tasks:
            try:
                learnt[task.name] = self.engine.carried(task)
                refused.pop(task.name, None)
            except (HeadError, BundleError) as error:
                if task.name not in learnt:
                    refused[task.name] = str(error)
        return Loaded(self.engine, self.calibration, learnt, refused)

    def with_task(self, task: Learnt) -> "Loaded":
        """With a task that was just learnt."""
        refused = {name: why for name, why in self.refused.items() if name != task.name}
        return Loaded(self.engine, self.calibration, {**self.learnt, task.name: task}, refused)

    @property
    def tasks(self) -> dict[str, tuple[str, ...]]:
        """Task name -> class names, those learnt on this device last."""
        published = {task.name: task.classes for task in self.engine.manifest.tasks}
        return published | {name: task.classes for name, task in self.learnt.items()}

    def selected(self, task: str | None) -> list[str]:
        """This task, or all. Raises MygoEdgeError for one that is not known, or not used."""
        tasks = self.tasks
        if task is None:
            return list(tasks)
        if isinstance(task, str) and task in self.refused:
            raise MygoEdgeError(self.refused[task])
        if not isinstance(task, str) or task not in tasks:
            raise MygoEdgeError(f"unknown task {task!r}; the tasks of {self.engine.version} are {', '.join(tasks)}")
        return [task]

    def labels(self, task: str | None) -> list[tuple[str, str]]:
        """(task, class) of every column of the logits."""
        tasks = self.tasks
        return [(name, label) for name in self.selected(task) for label in tasks[name]]

    def scores(self, inputs: Any, task: str | None) -> Scores:
        """Of the inputs, a column a label."""
        return self.engine.scores(inputs, self.selected(task), self.learnt)

    def dreamable(self, n: int) -> int:
        """`n`, where so many dreams can be made at once. Raises MygoEdgeError."""
        if not 1 <= n < 2**32:
            raise MygoEdgeError(f"n must be at least 1 and below 2^32, not {n}")
        if (most := memory_limit() // self.engine.dream_bytes) < n:
            raise MygoEdgeError(
                f"n must be at most {most}, not {n}: more dreams take more memory than this process may use, which "
                "MYGO_EDGE_MEMORY_MIB sets; dream them a part at a time"
            )
        return n

    def threshold(self, task: str | None, false_alarms: float) -> float:
        """See `EdgeModel.threshold`."""
        return self.calibration.threshold(self.selected(task), self.learnt, false_alarms)
