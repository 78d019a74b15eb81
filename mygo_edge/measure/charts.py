"""Line charts as SVG, for a page that fetches nothing and is read in light and in dark."""

import math
from collections.abc import Callable, Iterable, Mapping, Sequence

from markupsafe import Markup, escape

# Of a method, told apart without red and green, on white and on black.
COLOURS = {"mygo": "#1a9c72", "finetune": "#d9663f", "frozen": "#8d8d8d", "joint": "#5b7fd1", "reference": "#b08900",
           "ncm": "#8d8d8d", "slda": "#a06fc4", "fecam": "#b08900", "ranpac": "#2fa5c0"}  # fmt: skip
_WIDTH, _HEIGHT = 480, 280
_LEFT, _RIGHT, _TOP, _BOTTOM = 52, 12, 12, 42


def lines_chart(series: Mapping[str, Mapping[str, Sequence[float]]]) -> Markup:
    """Mean accuracy over tasks, task known (solid) and unknown (dashed) of every method, on the same axes; and below
    it the methods' colours, which a narrow page has no room for beside the lines.

    Args:
        series: method -> task_known and task_unknown -> fractions, one a task learnt.
    """
    values = [value for lines in series.values() for line in lines.values() for value in line]
    count = max(len(line) for lines in series.values() for line in lines.values())
    floor = max(0.0, math.floor(20 * min(values) - 1) / 20)  # on a multiple of 5 %

    def x(task: int) -> float:
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * (task / max(1, count - 1) if count > 1 else 0.5)

    def y(value: float) -> float:
        return _TOP + (_HEIGHT - _TOP - _BOTTOM) * (1 - (value - floor) / (1 - floor))

    parts = [_axes(floor, count, x, y)]
    for method, lines in series.items():
        colour = COLOURS.get(method, "currentColor")
        for key, line in lines.items():
            points = " ".join(f"{x(index):.1f},{y(value):.1f}" for index, value in enumerate(line))
            dashes = ' stroke-dasharray="6 4"' if key == "task_unknown" else ""
            pen = f'stroke="{colour}" stroke-width="{3.5 if method == "mygo" else 2}"{dashes}'
            parts.append(f'<polyline points="{points}" fill="none" {pen}/>')
            dots = (
                f'<circle cx="{x(index):.1f}" cy="{y(value):.1f}" r="3.5" fill="{colour}">'
                f"<title>{escape(method)}, {key.replace('_', ' ')}, after task {index + 1}: {100 * value:.2f} %</title>"
                "</circle>"
                for index, value in enumerate(line)
            )
            parts += dots
    title = "Mean test accuracy of the tasks so far, in per cent, over the tasks learnt"
    chart = f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{title}">{"".join(parts)}</svg>'
    return Markup(chart + _legend(series))


def _axes(floor: float, count: int, x: Callable[[int], float], y: Callable[[float], float]) -> str:
    step = 0.05 if floor >= 0.75 else 0.1 if floor >= 0.4 else 0.2
    first = math.ceil(floor / step - 1e-9)
    lines = []
    for index in range(first, round(1 / step) + 1):
        height = y(index * step)
        lines.append(
            f'<line x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{height:.1f}" y2="{height:.1f}" class="grid"/>'
            f'<text x="{_LEFT - 8}" y="{height + 4:.1f}" text-anchor="end">{100 * index * step:.0f} %</text>'
        )
    every = max(1, math.ceil(count / 12))
    lines += [
        f'<text x="{x(task):.1f}" y="{_HEIGHT - _BOTTOM + 18}" text-anchor="middle">{task + 1}</text>'
        for task in range(0, count, every)
    ]
    middle = (_LEFT + _WIDTH - _RIGHT) / 2
    return "".join(lines) + f'<text x="{middle}" y="{_HEIGHT - 4}" text-anchor="middle">tasks learnt</text>'


def _legend(methods: Iterable[str]) -> str:
    """The colours of the methods."""
    names = (
        f'<span><i style="background: {COLOURS.get(method, "currentColor")}"></i> {escape(method)}</span>'
        for method in methods
    )
    return f'<p class="legend">{"".join(names)}</p>'
