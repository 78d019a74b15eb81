"""What a run tells the person in front of it: bars on a terminal, one `key=value` line an event elsewhere."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from rich.console import Console
from rich.progress import BarColumn, Progress, Task, TextColumn, TimeRemainingColumn
from rich.table import Column, Table
from rich.text import Text

from mygo_edge.measure.accuracy import Scores, mean
from mygo_edge.measure.sizes import bytes_kept

Results = Mapping[str, Mapping[str, Any]]  # method -> its part of summary.json


class _Remaining(TimeRemainingColumn):
    """The time that is left, where the steps are counted; nothing elsewhere."""

    def render(self, task: Task) -> Text:
        return Text("") if task.total is None else super().render(task)


class Display:
    """Progress of one run on standard output; a quiet one shows nothing."""

    def __init__(self, quiet: bool = False) -> None:
        self.quiet = quiet
        self.console = Console(highlight=False, quiet=quiet)
        self.live = self.console.is_terminal and not quiet
        self._progress = Progress(
            TextColumn("{task.description}", table_column=Column(no_wrap=True, overflow="ellipsis", ratio=3)),
            BarColumn(bar_width=12),
            TextColumn("{task.fields[count]}", table_column=Column(no_wrap=True)),
            TextColumn("{task.fields[rate]}", table_column=Column(no_wrap=True)),
            _Remaining(compact=True, table_column=Column(no_wrap=True)),
            TextColumn("{task.fields[losses]}", table_column=Column(no_wrap=True, overflow="ellipsis", ratio=2)),
            console=self.console,
            expand=True,
            transient=True,
            disable=not self.live,
        )
        self._bar: int | None = None
        self._total: int | None = None  # steps of the phase in the bar, where they are counted

    def __enter__(self) -> "Display":
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def begin(self, label: str, total: int | None) -> None:
        """Start the bar of a phase."""
        self.end()
        self._total = total
        self._bar = self._progress.add_task(label, total=total, count="", rate="", losses="")

    def update(self, done: int, rate: float, losses: Mapping[str, float]) -> None:
        """Move the bar; `rate` in steps a second."""
        if self._bar is not None:
            words = " ".join(f"{name.removesuffix('_loss')} {value:.2f}" for name, value in losses.items())
            count = done if self._total is None else f"{done}/{self._total}"
            values = {"count": count, "rate": f"{rate:.0f}/s" if rate else "", "losses": words}
            self._progress.update(self._bar, completed=done, **values)  # type: ignore[arg-type]

    def end(self) -> None:
        """Take the bar away."""
        if self._bar is not None:
            self._progress.remove_task(self._bar)  # type: ignore[arg-type]
            self._bar = None

    def event(self, **values: object) -> None:
        """One line for a machine to read; a terminal shows bars and tables instead."""
        if not self.live and not self.quiet:
            print(" ".join(f"{key}={value}" for key, value in values.items()), flush=True)

    def say(self, text: str) -> None:
        """A line for a person, on a terminal only."""
        if self.live:
            self.console.print(text, soft_wrap=True, markup=False)

    def tell(self, text: str) -> None:
        """A line for a person, on a terminal or, as an event, elsewhere."""
        self.event(event="note", text=repr(text))
        self.say(text)

    def results(self, names: Sequence[str], results: Results) -> None:
        """Accuracy of every method on every task so far, task known and unknown."""
        count = max(len(scores["task_known"]["matrix"]) for scores in results.values())
        if not self.live:
            for method, scores in results.items():
                rows = {key: ",".join(_number(value) for value in part["matrix"][-1]) for key, part in _both(scores)}
                self.event(event="accuracy", tasks=count, method=method, **rows)
            return
        table = [
            Row(method, key.removeprefix("task_"), part["matrix"][-1], {"mean": _percent(part["average"])})
            for method, scores in results.items()
            for key, part in _both(scores)
        ]
        self.console.print(f"\nTest accuracy after {count} task{'s' * (count > 1)}, %, task known and unknown:")
        self.console.print(task_table(names[:count], table, self.console.width))

    def contrast(self, names: Sequence[str], results: Results) -> None:
        """Forgetting in one view: each task right after it was learnt, and at the end."""
        if not self.live:
            for method, found in results.items():
                size = bytes_kept(found["bytes"])
                for key, part in _both(found):
                    if part["average"] is not None:
                        kept = {name: _number(part[name]) for name in ("average", "forgetting", "backward_transfer")}
                        self.event(event="final", method=method, measure=key, **kept, bytes=size)
            return
        rows = []
        for method, found in results.items():
            known, unknown = found["task_known"], found["task_unknown"]
            if known["average"] is None:
                continue
            first = [known["matrix"][task][task] for task in range(len(known["matrix"]))]
            average, size = mean([value for value in first if value is not None]), bytes_kept(found["bytes"])
            now = {
                "known": _percent(known["average"]),
                "lost": _percent(known["forgetting"]),
                "unknown": _percent(unknown["average"]),
                "KB": "–" if size is None else f"{size / 1000:,.0f}",
            }
            rows += [
                Row(method, "learnt", first, {"known": _percent(average)}),
                Row(method, "now", known["matrix"][-1], now),
            ]
        if rows:
            self.console.print("\nWhat was kept, %: each task right after learning, and now, with the task known.")
            self.console.print("KB: what devices get besides a trunk, or what a method must keep to go on.")
            self.console.print(task_table(names, rows, self.console.width))


def phase_label(task: str, index: int, tasks: int, method: str, phase: str) -> str:
    """What a phase is called before its bar: the task's name last, since a narrow terminal cuts there."""
    what = method if method == phase else f"{method} {phase}"
    return f"{index + 1}/{tasks} {what}: {task}"


class Row(NamedTuple):
    """A line of a table: a method, what is told of it, a fraction a task, and named words after those."""

    method: str
    what: str
    values: Sequence[float | None]
    last: Mapping[str, str]


def task_table(names: Sequence[str], rows: Sequence[Row], width: int) -> Table:
    """A table with a column a task where that fits into `width` characters, else the first, the worst and the newest.

    Tasks are called by their names where these fit, else by their numbers.
    """
    extra = list(dict.fromkeys(name for row in rows for name in row.last))
    spare = (
        width - 2 - sum(2 + max(map(len, column)) for column in zip(*((r.method, r.what) for r in rows), strict=True))
    )
    spare -= sum(2 + max(5, len(name), *(len(row.last.get(name, "")) for row in rows)) for name in extra)
    pick: Callable[[Sequence[float | None]], Sequence[float | None]]
    if sum(2 + max(5, len(name)) for name in names) <= spare:
        heads, pick = list(names), list
    elif 7 * len(names) <= spare:
        heads, pick = [str(number + 1) for number in range(len(names))], list
    else:
        heads, pick = ["first", "worst", "newest"], _ends
    table = Table(box=None, padding=(0, 1), pad_edge=False)
    table.add_column("method")
    table.add_column("")
    for head in [*heads, *extra]:
        table.add_column(head, justify="right", no_wrap=True)
    shown = None
    for row in rows:
        cells = [
            *map(_percent, pick(row.values)),
            *(row.last.get(name, "") for name in extra),
        ]
        table.add_row(row.method if row.method != shown else "", row.what, *cells)
        shown = row.method
    return table


def _ends(values: Sequence[float | None]) -> list[float | None]:
    return [values[0], min((value for value in values if value is not None), default=None), values[-1]]


def _both(scores: Mapping[str, Scores]) -> list[tuple[str, Scores]]:
    return [(key, scores[key]) for key in ("task_known", "task_unknown")]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"


def _percent(share: float | None) -> str:
    """A dash where nothing was measured."""
    return "–" if share is None else f"{100 * share:.1f}"
