"""Who listens to a run's events besides metrics.jsonl: TensorBoard, and a table of all accuracies."""

import csv
import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

from mygo_edge.errors import MygoEdgeError
from mygo_edge.files import write_text
from mygo_edge.options import TrainOptions
from mygo_edge.run.folder import Event

CSV = "accuracies.csv"
_COLUMNS = ("method", "after_task", "task", "measure", "accuracy")


def listen(options: TrainOptions, folder: Path) -> Callable[[Event], None] | None:
    """What to call with every event, as `options` ask. Raises MygoEdgeError where TensorBoard is not installed."""
    listeners: list[Callable[[Event], None]] = []
    if options.csv:
        listeners.append(lambda event: write_accuracies(folder / CSV, event))
    if options.tensorboard:
        listeners.append(TensorBoard(folder / "tensorboard"))
    if not listeners:
        return None

    def tell_all(event: Event) -> None:
        for listener in listeners:
            listener(event)

    return tell_all


def write_accuracies(path: Path, event: Event) -> None:
    """Add a row a task and measure of an `accuracy` event, in place of those that a run which was killed since had of
    the same method after the same task; other events change nothing.
    """
    if event["event"] != "accuracy":
        return
    key, rows = [str(event["method"]), str(event["task"])], [list(_COLUMNS)]
    if path.exists():
        rows = [row for row in csv.reader(path.read_text().splitlines()) if row[:2] != key]
    for measure in ("task_known", "task_unknown"):
        for task, accuracy in enumerate(event[measure]):
            if accuracy is not None:
                rows.append([*key, str(task), measure, f"{accuracy:.6f}"])
    text = io.StringIO(newline="")
    csv.writer(text).writerows(rows)
    write_text(path, text.getvalue())


class TensorBoard:
    """Losses by phase and step, accuracies by task and method."""

    def __init__(self, folder: Path) -> None:
        try:
            from torch.utils.tensorboard import SummaryWriter
        except ImportError as error:
            raise MygoEdgeError(
                f"--tensorboard needs the package tensorboard ({error}); pip install tensorboard"
            ) from error
        self._new: Callable[[], Any] = lambda: SummaryWriter(str(folder))  # makes files, so not before the first event
        self._writer: Any = None

    def __call__(self, event: Event) -> None:
        self._writer = self._writer or self._new()
        if event["event"] == "step":
            where = f"{event['method']}/task {event['task']}/{event['phase']}" if "method" in event else event["phase"]
            for name, value in event.items():
                if isinstance(value, float):
                    self._writer.add_scalar(f"{where}/{name}", value, event["step"])
        elif event["event"] == "accuracy":
            for measure in ("task_known", "task_unknown"):
                known = [value for value in event[measure] if value is not None]
                if known:
                    self._writer.add_scalar(f"{event['method']}/{measure}", sum(known) / len(known), event["task"] + 1)
        self._writer.flush()
