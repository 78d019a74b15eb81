"""A run's pictures: accuracy matrices, accuracy over tasks, and dreams (never real images)."""

import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
import torch
from matplotlib.figure import Figure

from mygo_edge.data.tasks import Task
from mygo_edge.learn.method import Method
from mygo_edge.measure.accuracy import mean
from mygo_edge.measure.dreams import PICTURE_STREAM

matplotlib.use("Agg")

COLOURS = {
    "mygo": "#0b6e4f",
    "finetune": "#c8553d",
    "frozen": "#8d8d8d",
    "joint": "#2f4b7c",
    "reference": "#b08900",
    "ncm": "#8d8d8d",
    "slda": "#7b3f9e",
    "fecam": "#b08900",
    "ranpac": "#1f9bb5",
}
KEYS = {"task_known": "task known", "task_unknown": "task unknown"}
_ABREAST = 4  # methods, in the picture of their matrices
DREAMS_PER_TASK = 16


def plot_accuracies(folder: Path, names: list[str], results: dict[str, Any]) -> None:
    """accuracy-matrix.png and accuracy-over-tasks.png, from the `methods` part of a summary."""
    folder.mkdir(parents=True, exist_ok=True)
    save(_matrices(names, results), folder / "accuracy-matrix.png")
    save(_curves(names, results), folder / "accuracy-over-tasks.png")


def plot_dreams(folder: Path, domain: Any, tasks: Sequence[Task], method: Method) -> None:
    """dreams.png: a row of 16 dreams a task, classes side by side in order."""
    folder.mkdir(parents=True, exist_ok=True)
    names = [task.name for task in tasks]
    side = 0.55
    figure = Figure(figsize=(DREAMS_PER_TASK * side + 1, len(names) * side + 0.5), layout="constrained")
    grid = figure.subplots(len(names), 1, squeeze=False)[:, 0]
    for index, (axes, name) in enumerate(zip(grid, names, strict=True)):
        dreams, class_ids = method.dream(index, 8 * DREAMS_PER_TASK, stream=PICTURE_STREAM, step=index)
        chosen = _balanced(class_ids.cpu(), len(tasks[index].classes))
        strip = domain.pictures(dreams[chosen]).cpu()  # [dreams, channels, height, width]
        pixels = torch.nn.functional.pad(strip, (1, 1, 1, 1), value=1.0).permute(2, 0, 3, 1).flatten(1, 2).numpy()
        axes.imshow(
            pixels[..., 0] if pixels.shape[-1] == 1 else pixels,
            cmap="gray",
            vmin=0,
            vmax=1,
            interpolation="nearest",
            aspect="equal",
        )
        axes.set_ylabel(name, rotation=0, ha="right", va="center")
        axes.set(xticks=[], yticks=[], frame_on=False)
    figure.suptitle(f"Dreams of {method.name} (generated, no real image)")
    save(figure, folder / "dreams.png")


def _balanced(class_ids: torch.Tensor, classes: int) -> torch.Tensor:
    """Places of up to 16 dreams, as even over the classes as they come, in class order."""
    each = -(-DREAMS_PER_TASK // classes)
    places = torch.cat([(class_ids == label).nonzero()[:each, 0] for label in range(classes)])
    return places[:DREAMS_PER_TASK]


def _matrices(names: list[str], results: dict[str, Any]) -> Figure:
    count, columns = len(names), min(len(results), _ABREAST)
    size, rows = max(2.4, 0.62 * count), 2 * -(-len(results) // columns)
    figure = Figure(figsize=(size * columns + 0.8, rows * size + 0.8), layout="constrained")
    grid = figure.subplots(rows, columns, squeeze=False)
    for axes in grid.flat:
        axes.set_axis_off()  # until it is used
    for place, (method, scores) in enumerate(results.items()):
        for row, (key, label) in enumerate(KEYS.items(), 2 * (place // columns)):
            axes, matrix = grid[row, place % columns], scores[key]["matrix"]
            axes.set_axis_on()
            values = np.full((len(matrix), count), np.nan)
            for i, line in enumerate(matrix):
                values[i, : len(line)] = [np.nan if value is None else value for value in line]
            image = axes.imshow(100 * values, vmin=0, vmax=100, cmap="viridis")
            if count <= 12:
                for (i, j), value in np.ndenumerate(values):
                    if not np.isnan(value):
                        colour = "white" if value < 0.6 else "black"
                        axes.text(j, i, f"{100 * value:.1f}", ha="center", va="center", fontsize=7, color=colour)
            axes.set_title(f"{method}, {label}", fontsize=9)
            axes.set_xticks(range(count), names, fontsize=7, rotation=45)
            axes.set_yticks(range(len(matrix)), [f"after {name}" for name in names[: len(matrix)]], fontsize=7)
    figure.colorbar(image, ax=grid, shrink=0.7, label="test accuracy, %")
    return figure


def _curves(names: list[str], results: dict[str, Any]) -> Figure:
    figure = Figure(figsize=(10, 3.6), layout="constrained")
    for axes, (key, label) in zip(figure.subplots(1, 2), KEYS.items(), strict=True):
        lowest = 100.0
        for method, scores in results.items():
            means = [100 * mean([v for v in row if v is not None]) for row in scores[key]["matrix"]]
            lowest = min(lowest, *means)
            axes.plot(range(1, len(means) + 1), means, marker="o", label=method, color=COLOURS[method])
        axes.set(title=label, xlabel="tasks learnt", xticks=range(1, len(names) + 1))
        axes.set_ylim(max(0, 5 * (lowest // 5) - 5), 101)
        axes.grid(alpha=0.3)
    figure.axes[0].set_ylabel("mean test accuracy of tasks so far, %")
    lines, labels = figure.axes[0].get_legend_handles_labels()
    figure.legend(lines, labels, loc="outside right upper")
    return figure


def save(figure: Figure, file: Path) -> Path:
    """Write a picture, whole or not at all."""
    temporary = file.with_name(f".{file.name}.tmp.png")
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing from font", UserWarning)  # a box stands for it
        figure.savefig(temporary, dpi=130)
    temporary.replace(file)
    return file
