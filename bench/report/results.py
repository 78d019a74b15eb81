"""Results of the benchmarks, as pytest-benchmark writes them, and what changed between two."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

# What a suite is called, the facts that tell its cases apart, a column each, and those that make a table of their own.
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
        for row in rows:
            suite = str(row.facts["suite"])
            needed = {"task_known", "task_unknown", "seconds", "load_average"} if suite == "peers" else {"megabytes"}
            if missing := {*needed, *SUITES[suite][1], *SUITES[suite][2]} - row.facts.keys():
                raise KeyError(f"{row.contender} of {row.group} has no {', '.join(sorted(missing))}")
        machine, left = dict(document["machine_info"]), list(document.get("not_measured", []))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ReportError(f"{path} holds no results of these benchmarks ({type(error).__name__}: {error})") from error
    if not rows or not all(row.median > 0 for row in rows):
        raise ReportError(f"{path} holds no times; run the benchmarks without --benchmark-disable")
    return Results(path, rows, machine, left, str(document.get("command", "")))


class Change(NamedTuple):
    """How much slower (above 1) a way became in comparison with its group's baseline."""

    group: str
    contender: str
    times: float


def changes(new: Results, old: Results) -> list[Change]:
    """What both measured, with how its ratio to the group's baseline changed; the worst first."""
    found = []
    for row in new.rows:
        now, before = new.ratio(row.group, row.contender), old.ratio(row.group, row.contender)
        if now and before and row.contender != row.facts.get("baseline"):
            found.append(Change(row.group, row.contender, before / now))
    return sorted(found, key=lambda change: -change.times)
