"""A terminal of 80 columns is wide enough for all that a run shows."""

import io
from typing import Any

import pytest
from rich.console import Console

from mygo_edge.measure.accuracy import scores
from mygo_edge.run.progress import Display, phase_label

WIDTH = 80


def shown(names: list[str], what: str, methods: tuple[str, ...] = ("mygo", "finetune", "reference")) -> list[str]:
    """The lines that a terminal of 80 columns shows."""
    matrix = [[0.999 - 0.01 * (row - task) for task in range(row + 1)] for row in range(len(names))]
    found = {"task_known": scores(matrix), "task_unknown": scores(matrix), "bytes": {"kept": 85_263_400}}
    results: Any = dict.fromkeys(methods, found)
    display = Display()
    display.live = True
    display.console = Console(file=io.StringIO(), width=WIDTH, force_terminal=True, color_system=None, highlight=False)
    getattr(display, what)(names, results)
    return display.console.file.getvalue().splitlines()  # type: ignore[attr-defined]


@pytest.mark.parametrize("what", ["results", "contrast"])
@pytest.mark.parametrize("count", [1, 5, 7, 20])
def test_no_table_is_wider_than_the_terminal_or_wraps(what: str, count: int) -> None:
    names = [f"task{index}" for index in range(count)]
    lines = shown(names, what)
    assert all(len(line) <= WIDTH for line in lines)
    assert "…" not in "".join(lines)
    filled = [line for line in lines if any(character.isalnum() for character in line)]
    title = 1 if what == "results" else 2
    assert len(filled) == title + 1 + 2 * 3  # the title, the heads, and two lines a method: none wraps


def test_tasks_are_named_where_their_names_fit_and_numbered_elsewhere() -> None:
    assert "task3" in "".join(shown([f"task{index}" for index in range(5)], "results"))
    long = shown([f"handwriting-of-decade-{index}" for index in range(5)], "results")
    assert long[2].split()[:4] == ["method", "1", "2", "3"]
    assert shown([f"task{index}" for index in range(20)], "results")[2].split() == [
        *("method", "first", "worst", "newest", "mean")
    ]


def test_a_bar_that_is_cut_loses_the_end_of_the_name_and_not_the_phase() -> None:
    display = Display()
    display.begin(phase_label("handwriting-of-decade-1920", 3, 4, "mygo", "memory"), 250)
    display.update(102, 47.0, {"critic_loss": 1.85, "actor_loss": 0.12})
    console = Console(file=io.StringIO(), width=WIDTH, force_terminal=True, color_system=None)
    console.print(display._progress.get_renderable())
    (line,) = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert line.startswith("4/4 mygo memory: hand")
    assert "critic 1.85" in line
    assert phase_label("a", 0, 2, "finetune", "finetune") == "1/2 finetune: a"


def test_forgetting_is_shown_beside_what_is_known_now() -> None:
    lines = shown(["a", "b"], "contrast", ("mygo",))
    learnt, now = (line for line in lines if line.split()[:1] in (["mygo"], ["now"]))
    assert learnt.split() == ["mygo", "learnt", "99.9", "99.9", "99.9"]
    assert now.split() == ["now", "98.9", "99.9", "99.4", "1.0", "99.4", "85,263"]


@pytest.mark.parametrize("total", [None, 123456])
def test_the_bar_keeps_to_one_line_and_shows_the_total_where_there_is_one(total: int | None) -> None:
    display = Display()
    display.begin("task 12/20 reference classification", total)
    display.update(12345, 1234.5, {"generator": 0.123, "discriminator": 1.234})
    console = Console(file=io.StringIO(), width=WIDTH, force_terminal=True, color_system=None)
    console.print(display._progress.get_renderable())
    lines = console.file.getvalue().splitlines()  # type: ignore[attr-defined]
    assert len([line for line in lines if line.strip()]) == 1
    assert ("12345/123456" in lines[0]) == (total is not None)
    assert "None" not in lines[0]
    assert "?" not in lines[0]
