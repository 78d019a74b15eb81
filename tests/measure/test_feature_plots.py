"""The picture of dreams that are vectors: both panels in the plane in which real test inputs differ most."""

from pathlib import Path
from types import SimpleNamespace

import matplotlib.figure
import numpy as np
import pytest
import torch
from PIL import Image

from mygo_edge.data.split import Split
from mygo_edge.data.tasks import Task
from mygo_edge.measure.feature_plots import plot_feature_dreams

DOMAIN = SimpleNamespace(transformed=lambda vectors: vectors)
MEANS = {"left": (-8.0, 0.0), "right": (8.0, 0.0), "up": (0.0, 5.0), "down": (0.0, -5.0)}  # in features 3 and 1
TASKS = (("left", "right"), ("up", "down"))


def vectors(name: str, count: int, seed: int) -> torch.Tensor:
    found = 0.1 * torch.randn(count, 6, generator=torch.Generator().manual_seed(seed))
    found[:, 3] += MEANS[name][0]
    found[:, 1] += MEANS[name][1]
    return found


def task(names: tuple[str, ...], tested: bool = True) -> Task:
    split = Split(
        torch.cat([vectors(name, 20, seed=0) for name in names]), torch.arange(len(names)).repeat_interleave(20)
    )
    return Task("of " + names[0], names, split, split if tested else None, lambda inputs: inputs)


class Dreamer:
    def dream(self, index: int, count: int, *, stream: int, step: int) -> tuple[torch.Tensor, torch.Tensor]:
        ids = torch.arange(count) % 2
        parts = [vectors(name, count, seed=1) for name in TASKS[index]]
        return torch.where(ids[:, None] == 0, *parts), ids


def test_real_inputs_and_dreams_lie_in_the_plane_of_the_former(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figures: list[matplotlib.figure.Figure] = []
    monkeypatch.setattr("mygo_edge.measure.feature_plots.save", lambda figure, file: figures.append(figure) or file)
    plot_feature_dreams(tmp_path, DOMAIN, [task(names) for names in TASKS], Dreamer())
    real, dreams = figures[0].axes[:2]
    for panel in (real, dreams):
        middles = [points.get_offsets().mean(0) for points in panel.collections]
        assert np.abs(np.array(middles)[:2]) == pytest.approx(np.array([[8, 0], [8, 0]]), abs=0.3)
        assert np.abs(np.array(middles)[2:]) == pytest.approx(np.array([[0, 5], [0, 5]]), abs=0.3)
    assert [text.get_text() for text in figures[0].legends[0].get_texts()] == ["left", "right", "up", "down"]


@pytest.mark.filterwarnings("error")
def test_names_are_shown_whatever_they_begin_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    figures: list[matplotlib.figure.Figure] = []
    monkeypatch.setattr("mygo_edge.measure.feature_plots.save", lambda figure, file: figures.append(figure) or file)
    tasks = [task(names) for names in TASKS]
    tasks[0].classes[:] = ["_left", "$5 <b>"]
    plot_feature_dreams(tmp_path, DOMAIN, tasks, Dreamer())
    assert [text.get_text() for text in figures[0].legends[0].get_texts()] == ["_left", r"\$5 <b>", "up", "down"]
    monkeypatch.undo()
    tasks[0].classes[0] = "\u6f22"  # which the font lacks
    assert plot_feature_dreams(tmp_path, DOMAIN, tasks, Dreamer()) is not None


def test_it_is_a_picture_and_tasks_without_test_inputs_are_left_out(tmp_path: Path) -> None:
    assert plot_feature_dreams(tmp_path, DOMAIN, [task(names, tested=False) for names in TASKS], Dreamer()) is None
    file = plot_feature_dreams(tmp_path, DOMAIN, [task(TASKS[0]), task(TASKS[1], tested=False)], Dreamer())
    assert file == tmp_path / "dreams.png"
    with Image.open(file) as picture:
        assert picture.width > picture.height > 100
