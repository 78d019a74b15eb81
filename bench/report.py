"""Tables and pictures from results of the benchmarks.

    python -m pytest bench --benchmark-json=results.json
    python -m bench.report results.json [more.json ...] [--to DIR]
    python -m bench.report new.json --against old.json [--allow 25]

Without --to, the tables are printed. With --against, the command ends with status 1 when a way became slower in
comparison with the other ways of its group, which says more than seconds of different days or machines.
"""

import argparse
import csv
import itertools
import json
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

# What a suite is called, and which facts tell its cases apart; every further one of `tables` makes a table.
SUITES: dict[str, tuple[str, tuple[str, ...], tuple[str, ...]]] = {
    "dreams": ("Dreams", ("tasks", "samples"), ("kind",)),
    "sleep": ("A step of the sleep", ("batch",), ("tasks",)),
    "tasks": ("A step of the sleep, against the number of tasks", ("batch",), ()),
    "memory": ("A step of a GAN", (), ()),
    "inference": ("Classification", ("batch", "threads"), ()),
    "export": ("Export", (), ()),
    "load": ("Loading on a device", (), ()),
    "peers": ("Split-MNIST beside other packages", (), ()),
}
WORDS = {"samples": "a call", "batch": "batch", "threads": "threads", "tasks": "tasks", "kind": "generators"}
UNITS = ((1e-3, "µs", 1e6), (1.0, "ms", 1e3), (float("inf"), "s", 1.0))


class ReportError(Exception):
    """A results file that cannot be used; the message says which and why."""


@dataclass(frozen=True, slots=True)
class Row:
    """One way in one case: seconds, and what it was measured with."""

    group: str
    contender: str
    median: float
    low: float
    high: float
    facts: dict[str, Any]


class Change(NamedTuple):
    """How much slower (above 1) a way became in comparison with its group's baseline."""

    group: str
    contender: str
    times: float


@dataclass(frozen=True, slots=True)
class Results:
    """A results file."""

    path: Path
    rows: list[Row]
    machine: dict[str, Any]
    not_measured: list[dict[str, str]]
    command: str
    _by_name: dict[tuple[str, str], Row] = field(default_factory=dict)

    def ratio(self, group: str, contender: str, base: str | None = None) -> float | None:
        """How many times as fast as the group's baseline, or another way, it is; None when either is missing."""
        row = self.find(group, contender)
        other = self.find(group, base or row.facts.get("baseline", "")) if row else None
        return other.median / row.median if row and other else None

    def find(self, group: str, contender: str) -> Row | None:
        """A way's row."""
        if not self._by_name:
            self._by_name.update({(row.group, row.contender): row for row in self.rows})
        return self._by_name.get((group, contender))


def read(path: Path) -> Results:
    """What `pytest bench --benchmark-json=PATH` wrote. Raises ReportError."""
    try:
        document = json.loads(path.read_text())
        rows = [
            Row(
                str(one["group"]),
                str(one["extra_info"]["contender"]),
                *(float(one["stats"][name]) for name in ("median", "q1", "q3")),
                dict(one["extra_info"]),
            )
            for one in document["benchmarks"]
        ]
        machine, left = dict(document["machine_info"]), list(document.get("not_measured", []))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ReportError(f"{path} holds no results of these benchmarks ({type(error).__name__}: {error})") from error
    if not rows or not all(row.median > 0 for row in rows):
        raise ReportError(f"{path} holds no times; run the benchmarks without --benchmark-disable")
    return Results(path, rows, machine, left, str(document.get("command", "")))


# --- Tables -----------------------------------------------------------------------------------------------------------


def about(results: Results) -> str:
    """The machine, and how the numbers were made."""
    machine = results.machine
    floor = ", ".join(
        f"{machine[name] / 1e9:.0f} {unit}"
        for name, unit in (("flop_per_second", "GFLOP/s in a matrix product"), ("bytes_per_second", "GB/s in a copy"))
        if name in machine
    )
    return (
        f"{machine.get('device')}, {machine.get('cores')} cores, {machine.get('threads')} PyTorch threads; "
        f"torch {machine.get('torch')}, onnxruntime {machine.get('onnxruntime')}, Python {machine.get('python')}; "
        f"{floor}; beside it ran {machine.get('beside')}. Made with `{results.command}`."
    )


def tables(results: Results, suite: str) -> str:
    """All tables of a suite, in Markdown; empty when nothing of it was measured."""
    _, columns, split = SUITES[suite]
    rows = [row for row in results.rows if row.facts.get("suite") == suite]
    if suite == "peers":
        return _peers(rows)
    parts = []
    for values in dict.fromkeys(tuple(row.facts.get(name) for name in split) for row in rows):
        part = [row for row in rows if tuple(row.facts.get(name) for name in split) == values]
        title = ", ".join(_said(name, value) for name, value in zip(split, values, strict=True))
        parts.append(
            (f"**{title[:1].upper()}{title[1:]}**\n\n" if len(values) else "") + _table(results, part, columns)
        )
    return "\n\n".join(parts)


def _table(results: Results, rows: Sequence[Row], columns: Sequence[str]) -> str:
    """A line a way, a column a case: median, quartiles, and how many times as fast as the baseline it is."""
    cases = list(dict.fromkeys(tuple(row.facts.get(name) for name in columns) for row in rows))
    unit, scale = _unit(row.median for row in rows)
    header = [", ".join(_said(*one) for one in zip(columns, case, strict=True)) or unit for case in cases]
    peaks = len(cases) == 1
    lines = [[f"median, {unit} (times as fast)", *header, *(["quartiles", "working MB"] if peaks else [])]]
    for name in dict.fromkeys(row.contender for row in rows):
        own = {tuple(row.facts.get(key) for key in columns): row for row in rows if row.contender == name}
        cells = [_cell(results, own.get(case), rows, case, columns, scale) for case in cases]
        if peaks:
            (row,) = own.values()
            cells += [
                f"{_number(row.low * scale)} to {_number(row.high * scale)}",
                f"{row.facts['megabytes']:.0f}",
            ]
        lines.append([name, *cells])
    for label, fact, rate in (
        ("*least, arithmetic*", "flop", "flop_per_second"),
        ("*least, memory*", "bytes", "bytes_per_second"),
    ):
        if all(fact in row.facts for row in rows[-1:]) and rate in results.machine:
            least = {tuple(row.facts.get(key) for key in columns): row.facts.get(fact) for row in rows}
            cells = [_number(least[case] / results.machine[rate] * scale) if least[case] else "" for case in cases]
            lines.append([label, *cells, *([""] * 2 * peaks)])
    rule = ["---", *["---:"] * (len(lines[0]) - 1)]
    return "\n".join("| " + " | ".join(line) + " |" for line in [lines[0], rule, *lines[1:]])


def _peers(rows: Sequence[Row]) -> str:
    """What each learnt, and in what time."""
    lines = [
        f"| {row.contender} | {row.facts['task_known']:.2%} | {row.facts['task_unknown']:.2%} "
        f"| {row.facts['seconds']:.0f} | {row.median:.0f} | {row.facts['load_average']} |"
        for row in rows
    ]
    header = "| | task known | task unknown | seconds of learning | of the whole process | load average at its end |"
    return "\n".join([header, "| --- | ---: | ---: | ---: | ---: | ---: |", *lines]) if lines else ""


def _cell(
    results: Results, row: Row | None, rows: Sequence[Row], case: tuple, columns: Sequence[str], scale: float
) -> str:
    if row is None:
        return "–"
    here = [other for other in rows if tuple(other.facts.get(key) for key in columns) == case]
    text, times = _number(row.median * scale), results.ratio(row.group, row.contender)
    text = f"**{text}**" if row.median == min(other.median for other in here) and len(here) > 1 else text
    return text if times is None or row.contender == row.facts.get("baseline") else f"{text} ({_number(times)})"


def left_out(results: Results) -> str:
    """What was not measured and why, a line a reason; a way that was wrong first."""
    groups: dict[tuple[str, str, str], int] = {}
    for one in results.not_measured:
        key = (one.get("outcome", ""), one.get("contender", ""), one.get("reason", "").removeprefix("Skipped: "))
        groups[key] = groups.get(key, 0) + 1
    ordered = sorted(groups.items(), key=lambda item: item[0][0] != "failed")
    return "\n".join(
        f"- {'**wrong** ' if outcome == 'failed' else ''}{name}, {count} case{'s' * (count > 1)}: {reason}"
        for (outcome, name, reason), count in ordered
    )


def _said(name: str, value: Any) -> str:
    if name in ("batch", "kind"):
        return f"{WORDS[name]} {value}" if name == "batch" else f"{value} {WORDS[name]}"
    word = WORDS[name]
    return f"{value} {word.removesuffix('s') if value == 1 else word}"


def _unit(seconds: Iterable[float]) -> tuple[str, float]:
    """The unit in which the typical one is a readable number."""
    ordered = sorted(seconds)
    middle = ordered[len(ordered) // 2]
    return next((unit, scale) for limit, unit, scale in UNITS if middle < limit)


def _number(value: float) -> str:
    """Three digits that mean something."""
    digits = 0 if value >= 100 else 1 if value >= 10 else 2
    return f"{value:,.{digits}f}" if value >= 0.01 else f"{value:.1g}"


# --- Pictures ---------------------------------------------------------------------------------------------------------


def plot(results: Results, folder: Path) -> list[Path]:
    """Throughput against batch, latency against precision, cost against tasks; what was measured of it."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    made = []
    for name, draw in (("dreams", _plot_dreams), ("inference", _plot_inference), ("tasks", _plot_tasks)):
        rows = [row for row in results.rows if row.facts.get("suite") == name]
        if rows:
            made.append(folder / f"{name}.png")
            draw(plt, rows).savefig(made[-1], dpi=110, bbox_inches="tight")
            plt.close("all")
    return made


def _plot_dreams(plt: Any, rows: Sequence[Row]) -> Any:
    kinds = list(dict.fromkeys(row.facts["kind"] for row in rows))
    tasks = list(dict.fromkeys(row.facts["tasks"] for row in rows))
    names = list(dict.fromkeys(row.contender for row in rows))
    figure, panels = plt.subplots(len(kinds), len(tasks), figsize=(4 * len(tasks), 3.2 * len(kinds)), squeeze=False)
    for (line, kind), (column, count) in itertools.product(enumerate(kinds), enumerate(tasks)):
        panel = panels[line][column]
        for name in names:
            own = [row for row in rows if (row.facts["kind"], row.facts["tasks"], row.contender) == (kind, count, name)]
            points = [(row.facts["samples"], row.facts["samples"] / row.median) for row in own]
            if points:
                panel.plot(*zip(*sorted(points), strict=True), "o-", label=name, color=f"C{names.index(name)}", ms=4)
        panel.set(xscale="log", yscale="log", title=f"{kind}, {count} task{'s' * (count > 1)}")
        panel.set(xlabel="dreams a call", ylabel="" if column else "dreams a second")
        panel.grid(alpha=0.3)
    handles = {label: handle for panel in panels.flat for handle, label in zip(*panel.get_legend_handles_labels())}  # noqa: B905
    figure.tight_layout()
    figure.legend(handles.values(), handles, loc="upper center", ncols=4, bbox_to_anchor=(0.5, 0), frameon=False)
    return figure


def _plot_inference(plt: Any, rows: Sequence[Row]) -> Any:
    rows = [row for row in rows if row.facts["threads"] == 1]
    batches = list(dict.fromkeys(row.facts["batch"] for row in rows))
    figure, panels = plt.subplots(1, len(batches), figsize=(4.2 * len(batches), 3.2), squeeze=False, sharey=True)
    for panel, batch in zip(panels[0], batches, strict=True):
        own = [row for row in rows if row.facts["batch"] == batch][::-1]
        low, middle, high = ([getattr(row, name) * 1e6 for row in own] for name in ("low", "median", "high"))
        spread = [[m - v for m, v in zip(middle, low, strict=True)], [v - m for m, v in zip(middle, high, strict=True)]]
        panel.barh([row.contender for row in own], middle, xerr=spread, color="C0", ecolor="0.4")
        panel.set(title=f"batch {batch}, 1 thread", xlabel="µs a batch, median and quartiles")
        panel.grid(axis="x", alpha=0.3)
    figure.tight_layout()
    return figure


def _plot_tasks(plt: Any, rows: Sequence[Row]) -> Any:
    figure, panel = plt.subplots(figsize=(6, 3.4))
    tasks = [row.facts["tasks"] for row in rows]
    panel.plot(tasks, [row.median * 1e3 for row in rows], "o-", label="milliseconds a step")
    panel.plot(tasks, [row.facts["megabytes"] for row in rows], "s--", label="working memory, MB")
    panel.set(xlabel="tasks", title=f"{rows[0].facts['batch']} dreams a step, over all tasks", ylim=(0, None))
    panel.legend()
    panel.grid(alpha=0.3)
    return figure


# --- Comparison -------------------------------------------------------------------------------------------------------


def changes(new: Results, old: Results) -> list[Change]:
    """What both measured, with how its ratio to the group's baseline changed; the worst first."""
    found = []
    for row in new.rows:
        now, before = new.ratio(row.group, row.contender), old.ratio(row.group, row.contender)
        if now and before and row.contender != row.facts.get("baseline"):
            found.append(Change(row.group, row.contender, before / now))
    return sorted(found, key=lambda change: -change.times)


def report(results: Results) -> str:
    """A whole report in Markdown."""
    parts = [f"## {results.path.stem}", about(results)]
    for suite, (title, *_) in SUITES.items():
        if text := tables(results, suite):
            parts += [f"### {title}", text]
    if text := left_out(results):
        parts += ["### Not measured", text]
    return "\n\n".join(parts)


def write_csv(every: Sequence[Results], path: Path) -> None:
    """All rows of all results in one table."""
    rows = [
        {"results": one.path.stem, "group": row.group, **row.facts, "median": row.median, "q1": row.low, "q3": row.high}
        for one in every
        for row in one.rows
    ]
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(dict.fromkeys(key for row in rows for key in row)), lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, nargs="+", help="files of --benchmark-json")
    parser.add_argument("--to", type=Path, help="folder for report.md, report.csv and pictures")
    parser.add_argument("--against", type=Path, help="older results to compare with")
    parser.add_argument("--allow", type=float, default=25.0, help="per cent slower that is no regression (default: 25)")
    given = parser.parse_args()
    try:
        every = [read(path) for path in given.results]
        old = read(given.against) if given.against else None
    except ReportError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if given.to:
        given.to.mkdir(parents=True, exist_ok=True)
        (given.to / "report.md").write_text("\n\n".join(map(report, every)) + "\n")
        write_csv(every, given.to / "report.csv")
        for results in every:
            folder = given.to / results.path.stem if len(every) > 1 else given.to
            folder.mkdir(exist_ok=True)
            plot(results, folder)
    elif old is None:
        print("\n\n".join(map(report, every)))
    if old is None:
        return 0
    found = [change for results in every for change in changes(results, old)]
    slower = [change for change in found if change.times > 1 + given.allow / 100]
    for change in slower:
        print(f"slower: {change.group}: {change.contender} takes {change.times:.2f} times as long as before")
    print(f"{len(found)} compared by their ratio to the group's baseline, {len(slower)} slower")
    if not found:
        print("error: the two files have nothing in common", file=sys.stderr)
        return 2
    return 1 if slower else 0


if __name__ == "__main__":
    sys.exit(main())
