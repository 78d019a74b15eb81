"""Results in Markdown and as one table."""

import csv
from collections.abc import Iterable, Sequence
from pathlib import Path
from statistics import fmean, stdev
from typing import Any

from bench.report.results import SUITES, Results, Row

WORDS = {"samples": "a call", "batch": "batch", "threads": "threads", "tasks": "tasks", "kind": "generators"}
UNITS = ((1e-3, "µs", 1e6), (1.0, "ms", 1e3), (float("inf"), "s", 1.0))


def report(results: Results) -> str:
    """A whole report in Markdown."""
    parts = [f"## {results.path.stem}", about(results)]
    for suite, (title, *_) in SUITES.items():
        if text := tables(results, suite):
            parts += [f"### {title}", text]
    if text := left_out(results):
        parts += ["### Not measured", text]
    return "\n\n".join(parts)


def about(results: Results) -> str:
    """The machine, and how the numbers were made."""
    machine = results.machine
    floor = ", ".join(
        f"{machine[name] / 1e9:.0f} {unit}"
        for name, unit in (("flop_per_second", "GFLOP/s in a matrix product"), ("bytes_per_second", "GB/s in a copy"))
        if name in machine
    )
    return (
        f"{machine.get('device')}, {machine.get('cores')} cores, {machine.get('threads')} for PyTorch; "
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
        lines.append([f"{name} tasks" if rows[0].facts["suite"] == "tasks" else name, *cells])
    lower = rows[0].facts.get("dtype") == "bfloat16"
    for label, fact, rate in (
        ("*least, arithmetic*", "flop", "flop_per_second, bfloat16" if lower else "flop_per_second"),
        ("*least, memory*", "bytes", "bytes_per_second"),
    ):
        if all(fact in row.facts for row in rows[-1:]) and rate in results.machine:
            least = {tuple(row.facts.get(key) for key in columns): row.facts.get(fact) for row in rows}
            cells = [_number(least[case] / results.machine[rate] * scale) if least[case] else "" for case in cases]
            lines.append([label, *cells, *([""] * 2 * peaks)])
    rule = ["---", *["---:"] * (len(lines[0]) - 1)]
    return "\n".join("| " + " | ".join(line) + " |" for line in [lines[0], rule, *lines[1:]])


def _peers(rows: Sequence[Row]) -> str:
    """What each learnt, and in what time: means over its seeds."""
    lines = []
    for name in dict.fromkeys(row.contender for row in rows):
        own = [row for row in rows if row.contender == name]
        known, unknown = (_mean([100 * row.facts[key] for row in own], 2) for key in ("task_known", "task_unknown"))
        learning, whole = _mean([row.facts["seconds"] for row in own], 0), _mean([row.median for row in own], 0)
        load = _mean([fmean(row.facts["load_average"] for row in own)], 1)
        lines.append(f"| {name} | {len(own)} | {known} | {unknown} | {learning} | {whole} | {load} |")
    header = "| | seeds | task known, % | task unknown, % | seconds of learning | of the whole process | load average |"
    return "\n".join([header, "| --- | ---: | ---: | ---: | ---: | ---: | ---: |", *lines]) if lines else ""


def _mean(values: Sequence[float], digits: int) -> str:
    """Mean, and standard deviation where there are several."""
    spread = f" ± {stdev(values):.{digits}f}" if len(values) > 1 else ""
    return f"{fmean(values):.{digits}f}{spread}"


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
