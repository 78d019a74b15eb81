"""What a run tells the person in front of it: bars on a terminal, one `key=value` line an event elsewhere."""

from collections.abc import Mapping, Sequence

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from mygo_edge.measure.accuracy import Scores

Results = Mapping[str, Mapping[str, Scores]]  # method -> task_known and task_unknown -> scores


class Display:
    """Progress of one run on standard output; a quiet one shows nothing."""

    def __init__(self, quiet: bool = False) -> None:
        self.quiet = quiet
        self.console = Console(highlight=False, quiet=quiet)
        self.live = self.console.is_terminal and not quiet
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[losses]}"),
            console=self.console,
            transient=True,
            disable=not self.live,
        )
        self._bar: int | None = None

    def __enter__(self) -> "Display":
        self._progress.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._progress.stop()

    def begin(self, label: str, total: int | None) -> None:
        """Start the bar of a phase."""
        self.end()
        self._bar = self._progress.add_task(label, total=total, rate="", losses="")

    def update(self, done: int, rate: float, losses: Mapping[str, float]) -> None:
        """Move the bar; `rate` in steps a second."""
        if self._bar is not None:
            words = " ".join(f"{name} {value:.3f}" for name, value in losses.items())
            self._progress.update(self._bar, completed=done, rate=f"{rate:.0f}/s" if rate else "", losses=words)  # type: ignore[arg-type]

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
        table = Table(title=f"Test accuracy after {count} task(s), %: task known / unknown")
        for column in ("method", *names[:count], "mean"):
            table.add_column(column, justify="left" if column == "method" else "right")
        for method, scores in results.items():
            known, unknown = (scores[key]["matrix"][-1] for key in ("task_known", "task_unknown"))
            means = [scores[key]["average"] for key in ("task_known", "task_unknown")]
            cells = [*zip(known, unknown, strict=True), means]
            table.add_row(method, *(f"{_percent(a)} / {_percent(b)}" for a, b in cells))
        self.console.print(table)

    def contrast(self, names: Sequence[str], results: Results) -> None:
        """Forgetting in one view: each task right after it was learnt, and at the end."""
        if not self.live:
            for method, scores in results.items():
                for key, part in _both(scores):
                    values = {name: f"{part[name]:.4f}" for name in ("average", "forgetting", "backward_transfer")}
                    self.event(event="final", method=method, measure=key, **values)
            return
        table = Table(title="What was kept, %, task known: right after learning -> at the end")
        for column in ("method", *names, "forgetting", "task unknown"):
            table.add_column(column, justify="left" if column == "method" else "right")
        for method, scores in results.items():
            matrix = scores["task_known"]["matrix"]
            cells = [f"{_percent(matrix[j][j])} -> {_percent(matrix[-1][j])}" for j in range(len(matrix))]
            last = f"{100 * scores['task_unknown']['average']:.1f}"
            table.add_row(method, *cells, f"{100 * scores['task_known']['forgetting']:.1f}", last)
        self.console.print(table)


def _both(scores: Mapping[str, Scores]) -> list[tuple[str, Scores]]:
    return [(key, scores[key]) for key in ("task_known", "task_unknown")]


def _percent(share: float | None) -> str:
    """ "–" where nothing was measured."""
    return "–" if share is None else f"{100 * share:.1f}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
