"""RUN/report.html: a run explained in one file that fetches nothing. Made from its summary and configuration."""

import base64
import io
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
from jinja2 import Environment, PackageLoader, StrictUndefined
from PIL import Image
from torch import Tensor

from mygo_edge.data.tasks import Task
from mygo_edge.files import write_text
from mygo_edge.measure.accuracy import Matrix, mean
from mygo_edge.measure.card import Card, card, class_names
from mygo_edge.measure.charts import lines_chart
from mygo_edge.measure.dreams import PICTURE_STREAM
from mygo_edge.measure.sizes import bytes_kept

REPORT = "report.html"
DREAMS_PER_CLASS = 12
_DRAWN = 256  # dreams of a task that those are taken from
_KEYS = ("task_known", "task_unknown")
_PHASES = ("wake", "memory", "sleep", "export")
_ENVIRONMENT = Environment(
    loader=PackageLoader("mygo_edge.measure", "templates"),
    autoescape=True,  # class names are a user's, and may hold anything
    undefined=StrictUndefined,
    trim_blocks=True,
    lstrip_blocks=True,
)
_ENVIRONMENT.filters["kept"] = bytes_kept
_ENVIRONMENT.filters["percent"] = lambda share: "–" if share is None else f"{100 * share:.2f}"
_ENVIRONMENT.filters["short_percent"] = lambda share: "–" if share is None else f"{100 * share:.1f}"
_ENVIRONMENT.filters["megabytes"] = lambda count: "–" if count is None else f"{count / 1e6:,.0f}"
_ENVIRONMENT.filters["size"] = lambda count: "–" if count is None else f"{count / 1000:,.1f} kB"


class DreamRow(NamedTuple):
    """Dreams of one class as a PNG file, side by side."""

    task: str
    label: str
    png: bytes

    @property
    def address(self) -> str:
        return data_address(self.png)


def data_address(png: bytes) -> str:
    """A picture as a data: address (RFC 2397)."""
    return "data:image/png;base64," + base64.b64encode(png).decode()


def write_report(
    folder: Path,
    summary: Mapping[str, Any],
    config: Mapping[str, Any],
    dreams: Sequence[DreamRow] = (),
    plane: Path | None = None,
) -> None:
    """Write `report.html` into a run's folder, atomically.

    Args:
        folder: the run's.
        summary: as in summary.json, after one task or more.
        config: as in config.json: options, versions, device.
        dreams: a row a class, from `dream_rows`; none where no method dreams images.
        plane: a picture of dreams that are not images, from `plot_feature_dreams`.
    """
    picture = None if plane is None else data_address(plane.read_bytes())
    write_text(folder / REPORT, report(summary, config, dreams, picture))


def report(
    summary: Mapping[str, Any], config: Mapping[str, Any], dreams: Sequence[DreamRow] = (), plane: str | None = None
) -> str:
    """The page that `write_report` writes."""
    methods = {name: results for name, results in summary["methods"].items() if results["task_known"]}
    first = "mygo" if "mygo" in methods else next(iter(methods))
    learnt = len(methods[first]["task_known"]["matrix"])
    tasks = summary["tasks"][:learnt]
    found: Card = card(summary["dataset"], tasks, methods[first])
    longest = max(results["seconds"]["total"] for results in methods.values())
    return _ENVIRONMENT.get_template("report.html").render(
        summary=summary,
        methods=methods,
        main=first,
        names=[task["name"] for task in tasks],
        planned=len(summary["tasks"]),
        labels=class_names(tasks),
        chart=lines_chart(
            {name: {key: _means(results[key]["matrix"]) for key in _KEYS} for name, results in methods.items()}
        ),
        keys={"task_known": "task known", "task_unknown": "task unknown"},
        phases=_PHASES,
        longest=max(longest, 1e-9),
        card=found,
        dreams=dreams,
        plane=plane,
        options=list(_flat(config.get("options", {}))),
        surroundings=list(_flat({key: config.get(key) for key in ("versions", "git_commit", "device")})),
    )


@torch.no_grad()
def dream_rows(method: Any, tasks: Sequence[Task]) -> list[DreamRow]:
    """Dreams of every class that a method knows, always the same ones.

    Args:
        method: has `dream(task, n, stream=, step=)` -> dreams and class ids, a `domain` that makes pictures of them.
        tasks: those learnt.
    """
    rows = []
    for index, task in enumerate(tasks):
        dreams, class_ids = method.dream(index, _DRAWN, stream=PICTURE_STREAM, step=index)
        for place, label in enumerate(task.classes):
            chosen = dreams[class_ids == place][:DREAMS_PER_CLASS]
            rows.append(DreamRow(task.name, label, _strip(method.domain.pictures(chosen))))
    return rows


def _strip(images: Tensor) -> bytes:
    """Images in [0, 1] [n, channels, height, width] side by side, as PNG."""
    pixels = images.float().mul(255).round().clamp(0, 255).to(torch.uint8).cpu()
    framed = torch.nn.functional.pad(pixels, (1, 1, 1, 1), value=255)
    row = framed.permute(2, 0, 3, 1).flatten(1, 2).numpy()  # [height, n * width, channels]
    file = io.BytesIO()
    if row.shape[1]:
        Image.fromarray(row[..., 0] if row.shape[-1] == 1 else row).save(file, format="PNG")
    return file.getvalue()


def _means(matrix: Matrix) -> list[float]:
    return [mean([value for value in row if value is not None]) for row in matrix]


def _flat(values: Any, name: str = "") -> Any:
    """Leaves of nested objects, as (dotted name, text)."""
    if isinstance(values, Mapping):
        for key, value in values.items():
            yield from _flat(value, f"{name}.{key}" if name else str(key))
    else:
        yield name, " ".join(map(str, values)) if isinstance(values, list) else str(values)
