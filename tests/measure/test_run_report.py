"""The report of a run: one file that explains it, fetches nothing, and believes no name."""

import base64
import io
import re
from html.parser import HTMLParser
from typing import Any

import pytest
import torch
from PIL import Image

from mygo_edge.data.tasks import Task
from mygo_edge.domains.pixels import Pixels
from mygo_edge.measure.accuracy import scores
from mygo_edge.measure.card import card
from mygo_edge.measure.report import DreamRow, dream_rows, report
from mygo_edge.run.progress import Display

HOSTILE = "<script>alert('7')</script>"
TASKS = [{"name": "task0", "classes": ["cat", "dog"]}, {"name": "task1", "classes": ["owl", HOSTILE]}]
CONFIG = {"options": {"seed": 3, "wake": {"epochs": 5}}, "versions": {"torch": "2"}, "git_commit": None, "device": {}}


def scored(*rows: list[float]) -> dict[str, Any]:
    return {"matrix": list(rows), "average": 0.875, "forgetting": 0.1, "backward_transfer": -0.1}


def results(**changed: Any) -> dict[str, Any]:
    return {
        "task_known": scored([1.0], [0.9, 0.85]),
        "task_unknown": scored([1.0], [0.7, 0.8]),
        "confusion": [[8, 2, 0, 0], [0, 6, 4, 0], [0, 0, 9, 1], [0, 0, 3, 7]],
        "per_class": [0.8, 0.6, 0.9, 0.7],
        "dreams": {
            "label_fidelity": 0.9,
            "label_fidelity_by_task": [0.95, 0.8],
            "classification_accuracy_score": 0.75,
        },
        "sleep": [
            {
                "task": 1,
                "loss_first": 9.0,
                "loss_last": 1.25,
                "feature_change": 0.3,
                "moved_by_dreams": 0.2,
                "dreams": 12000,
            }
        ],
        "bytes": {"classifier": 163761, "generators": [52605, 52605], "equivalent_images": 1643},
        "seconds": {"wake": 2.0, "memory": 4.0, "sleep": 3.0, "export": 0.5, "total": 10.0},
        "peak_bytes": {"resident": {"wake": 512_000_000, "sleep": 1_234_500_000}, "gpu": {"wake": 77_000_000}},
    } | changed


def summary(**methods: Any) -> dict[str, Any]:
    return {"dataset": "animals", "seed": 3, "preset": "default", "tasks": TASKS, "methods": methods}


class Words(HTMLParser):
    """The text of a page, its tags, and the addresses that it fetches."""

    def __init__(self, page: str) -> None:
        super().__init__()
        self.text, self.tags, self.fetched = "", [], []
        self.feed(page)

    def handle_data(self, data: str) -> None:
        self.text += " ".join(data.split()) + " "

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        self.tags.append(tag)
        self.fetched += [value for name, value in attributes if name in ("src", "href", "srcset", "data", "action")]


def test_a_run_of_an_earlier_version_has_a_report_without_memory() -> None:
    earlier = results()
    assert "The most RAM" in Words(report(summary(mygo=earlier), CONFIG)).text
    del earlier["peak_bytes"]
    assert "The most RAM" not in Words(report(summary(mygo=earlier), CONFIG)).text


def test_the_report_holds_what_was_measured() -> None:
    words = Words(report(summary(mygo=results()), CONFIG)).text
    for expected in (
        "90.00",
        "-10.00",
        "9.000",
        "1.250",
        "0.300",
        "12,000",
        "1,643",
        "163.8 kB",
        "105.2 kB",
        "10.0 s",
        "512",
        "1,234",
        "77",
    ):
        assert expected in words, expected
    for expected in ("wake.epochs 5", "versions.torch 2", "label fidelity", "2 of 2 tasks"):
        assert expected in words, expected


def test_the_report_fetches_nothing_and_takes_no_name_for_html() -> None:
    rows = [DreamRow("task1", HOSTILE, b"picture")]
    page = Words(report(summary(mygo=results(), **{HOSTILE: results()}), CONFIG, rows))
    assert HOSTILE in page.text
    assert not {"script", "link", "iframe", "object"} & set(page.tags)
    assert all(address.startswith("data:image/png;base64,") for address in page.fetched)
    assert page.fetched


def test_the_chart_has_every_line_on_the_same_axes() -> None:
    page = report(summary(mygo=results(), finetune=results(task_unknown=scored([1.0], [0.1, 0.2]))), CONFIG)
    lines = re.findall(r'<polyline points="([^"]+)"[^>]*?(stroke-dasharray)?[^>]*/>', page)
    assert len(lines) == 4
    heights = [float(points.split()[-1].split(",")[1]) for points, _ in lines]
    assert heights[3] > heights[1] > heights[0] == heights[2]  # in SVG, down is larger


def test_a_run_that_has_only_begun_has_a_report() -> None:
    begun = results(
        task_known=scored([1.0]),
        task_unknown=scored([1.0]),
        confusion=[[10, 0], [0, 10]],
        per_class=[1.0, 1.0],
        dreams={"label_fidelity": None, "label_fidelity_by_task": [], "classification_accuracy_score": None},
        sleep=[],
        bytes={"classifier": None, "generators": [], "equivalent_images": None},
    )
    unstarted = results(task_known={}, task_unknown={})
    words = Words(report(summary(finetune=begun, mygo=unstarted), CONFIG)).text
    assert "1 of 2 tasks" in words
    assert "Sleeps" not in words
    assert "mygo" not in words.replace("a run of mygo_edge", "").replace("A run of mygo_edge", "")


def test_the_card_names_the_weakest_class_the_confusions_and_the_weak_dreams() -> None:
    found = card("animals", TASKS, results())
    weak = " ".join(found.weak)
    assert "weakest class is dog: 60.0 %" in weak
    assert f"dog for owl (4 of 10), {HOSTILE} for owl (3 of 10) and cat for dog (2 of 10)" in weak
    assert "cost task0 the most: 30.0 points" in weak
    assert "Dreams of task1 (80.0 %)" in weak
    assert "task0 (95" not in weak
    assert found.learnt[-1] == "Measured on 40 test inputs."


def test_classes_of_one_name_are_told_apart_by_their_tasks() -> None:
    tasks = [{"name": "day", "classes": ["cat", "dog"]}, {"name": "night", "classes": ["cat", "owl"]}]
    weak = " ".join(card("animals", tasks, results(confusion=[[1, 0, 9, 0], [0, 9, 0, 0], [0] * 4, [0] * 4])).weak)
    assert "weakest class is day: cat" in weak
    assert "day: cat for night: cat (9 of 10)" in weak


def test_dreams_stand_beside_their_class() -> None:
    class Dreamer:
        domain = Pixels((3, 9, 8))

        def dream(self, task: int, n: int, *, stream: int, step: int) -> tuple[torch.Tensor, torch.Tensor]:
            class_ids = torch.arange(n) % 2
            return (class_ids * 2.0 - 1)[:, None, None, None].expand(n, 3, 9, 8), class_ids

    rows = dream_rows(Dreamer(), [Task("task0", ["dark", "light"], None, None, lambda inputs: inputs)])
    assert [(row.task, row.label) for row in rows] == [("task0", "dark"), ("task0", "light")]
    for row, value in zip(rows, (0, 255), strict=True):
        with Image.open(io.BytesIO(base64.b64decode(row.address.partition(",")[2]))) as picture:
            assert (picture.mode, picture.size) == ("RGB", (12 * 10, 11))
            assert picture.getpixel((2, 3)) == (value, value, value)


def test_a_task_whose_test_data_is_gone_leaves_a_gap_in_the_tables() -> None:
    gone = results(
        task_known=scored([1.0], [None, 0.85]),  # type: ignore[list-item]
        task_unknown=scored([1.0], [None, 0.8]),  # type: ignore[list-item]
        confusion=[[0] * 4, [0] * 4, [0, 0, 9, 1], [0, 0, 3, 7]],
        per_class=[None, None, 0.9, 0.7],
        dreams={"label_fidelity": 0.8, "label_fidelity_by_task": [None, 0.8], "classification_accuracy_score": None},
    )
    words = Words(report(summary(mygo=gone), CONFIG)).text
    assert "–" in words
    assert f"weakest class is {HOSTILE}: 70.0 %" in words


def test_a_run_without_test_data_says_that_nothing_was_measured() -> None:
    nothing = scores([[None], [None, None]])
    unmeasured = results(
        task_known=nothing,
        task_unknown=nothing,
        confusion=[[0] * 4] * 4,
        per_class=[None] * 4,
        dreams={"label_fidelity": None, "label_fidelity_by_task": [], "classification_accuracy_score": None},
    )
    words = Words(report(summary(mygo=unmeasured), CONFIG)).text
    assert "there were no test inputs" in words
    assert "0.00 0.00" not in words
    assert "Measured on" not in words


def test_a_run_without_test_data_ends_with_no_line_of_accuracies(capsys: pytest.CaptureFixture[str]) -> None:
    nothing, something = scores([[None]]), scores([[0.5]])
    Display().contrast(["task0"], {"mygo": results(task_known=nothing, task_unknown=nothing)})
    assert capsys.readouterr().out == ""
    Display().contrast(["task0"], {"mygo": results(task_known=something, task_unknown=something)})
    said = capsys.readouterr().out
    assert "average=0.5000" in said
    assert f"bytes={163761 + 2 * 52605}" in said
