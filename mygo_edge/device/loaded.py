"""A version as one moment of a running model sees it: what was published and what this device learnt, never changed.

`mygo_edge.device.edge_model.EdgeModel` replaces the whole of it when it learns or takes up a new version, so that a
thread that began with one goes on with it, whatever the others do.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mygo_edge.bundle.reading import Bundle
from mygo_edge.device.assessing import Calibration
from mygo_edge.device.engine import Engine, Learnt, Scores
from mygo_edge.device.features import FeatureEngine
from mygo_edge.device.pixels import PixelEngine
from mygo_edge.device.session import SessionOptions
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
        if task in self.refused:
            raise MygoEdgeError(self.refused[task])
        if task not in tasks:
            raise MygoEdgeError(f"unknown task {task!r}; the tasks of {self.engine.version} are {', '.join(tasks)}")
        return [task]

    def labels(self, task: str | None) -> list[tuple[str, str]]:
        """(task, class) of every column of the logits."""
        tasks = self.tasks
        return [(name, label) for name in self.selected(task) for label in tasks[name]]

    def scores(self, inputs: Any, task: str | None) -> Scores:
        """Of the inputs, a column a label."""
        return self.engine.scores(inputs, self.selected(task), self.learnt)

    def threshold(self, task: str | None, false_alarms: float) -> float:
        """See `EdgeModel.threshold`."""
        return self.calibration.threshold(self.selected(task), self.learnt, false_alarms)
