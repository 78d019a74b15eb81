"""Results in pictures."""

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench.report.results import Results, Row


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
