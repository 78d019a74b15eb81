"""The trunk of patches: its graph computes what the papers say, it keeps no patch, and runs in colour choose it."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image

from mygo_edge.bundle.vetting import vet
from mygo_edge.bundle.vision import Preparation
from mygo_edge.data.split import Split
from mygo_edge.device.edge_model import EdgeModel
from mygo_edge.domains.choice import domain_for, note_for
from mygo_edge.domains.features import Features
from mygo_edge.domains.pixels import Pixels
from mygo_edge.errors import MygoEdgeError
from mygo_edge.learner import Learner
from mygo_edge.options import (
    FolderOptions,
    MemoryOptions,
    Preset,
    SleepOptions,
    TrainOptions,
    WakeOptions,
    preset_defaults,
)
from mygo_edge.train import main
from mygo_edge.trunks import patches
from mygo_edge.trunks.extract import Extractor
from mygo_edge.trunks.trunk import Trunk
from tests.features import photos

CPU = torch.device("cpu")


def form(height: int, width: int) -> Preparation:
    return Preparation((height, width), None, "box", (0.0, 0.0, 0.0), (1.0, 1.0, 1.0))


def noise(height: int, width: int, count: int = 40) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (count, height, width, 3)).astype(np.uint8)


@pytest.mark.parametrize(("height", "width"), [(28, 28), (17, 30), (8, 8)])
def test_the_graph_computes_thresholded_answers_of_whitened_patches_averaged_over_parts(
    monkeypatch: pytest.MonkeyPatch, height: int, width: int
) -> None:
    monkeypatch.setattr(patches, "FILTERS", 7)
    images = noise(height, width)
    side = 4 if min(height, width) < 16 else 6
    made: list[tuple] = []
    graph = patches._graph
    monkeypatch.setattr(patches, "_graph", lambda *parts: made.append(parts) or graph(*parts))
    trunk = patches.learn_patches(images, form(height, width), seed=3)
    filters, bias, threshold, *_ = made[0]

    raw = torch.from_numpy(images[:5].transpose(0, 3, 1, 2)).double()
    columns = F.unfold(raw, side).transpose(1, 2)  # [batch, places, values]
    columns = columns - columns.mean(2, keepdim=True)
    columns = columns / (columns.square().mean(2, keepdim=True) + patches._CONTRAST**2).sqrt()
    answers = columns @ torch.from_numpy(filters).T + torch.from_numpy(bias)
    both = torch.cat([(answers - threshold).relu(), (-answers - threshold).relu()], 2)
    maps = both.transpose(1, 2).unflatten(2, (height - side + 1, width - side + 1))
    strides = [extent // 3 for extent in maps.shape[2:]]
    kernel = [extent - 2 * stride for extent, stride in zip(maps.shape[2:], strides, strict=True)]
    expected = F.avg_pool2d(maps, kernel, strides).flatten(1)

    found = Extractor(trunk, threads=1)(images[:5])
    assert found.shape == (5, trunk.features)
    np.testing.assert_allclose(found, expected.numpy(), rtol=1e-4, atol=1e-4)


def test_its_filters_whiten_patches_and_hold_none_of_them(monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[tuple] = []
    graph = patches._graph
    monkeypatch.setattr(patches, "_graph", lambda *parts: made.append(parts) or graph(*parts))
    images = noise(16, 16)
    trunk = patches.learn_patches(images, form(16, 16), seed=0)
    vet(trunk.graph)  # devices take it
    assert patches.learn_patches(images, form(16, 16), seed=0).graph == trunk.graph
    assert patches.learn_patches(images, form(16, 16), seed=1).graph != trunk.graph
    filters, bias, *_ = made[0]
    some = patches._contrast_normalised(patches._some_patches(images, 6, np.random.default_rng(9)))
    answers = some @ filters.T + bias
    assert np.abs(answers.mean(0)).max() < 0.2
    # Directions of one length in a space where all variances are nearly one.
    assert 0.8 < answers.std(0).min() <= answers.std(0).max() < 1.1


def test_images_too_small_are_refused() -> None:
    with pytest.raises(MygoEdgeError, match="6 x 20 pixels are too small"):
        patches.learn_patches(noise(6, 20), form(6, 20), seed=0)


def options_of(preset: Preset) -> dict[str, Any]:
    plain = preset_defaults(preset, "folder")
    return {name: getattr(plain, name) for name in ("preset", "wake", "memory", "sleep")} | {"dataset": "folder"}


@pytest.mark.parametrize(
    ("changed", "chosen"),
    [
        ({}, Features),
        ({"methods": ("mygo", "finetune", "joint")}, Features),
        ({"methods": ("mygo", "frozen")}, Pixels),  # which patches have not
        ({"memory": MemoryOptions(generator="convolutional")}, Pixels),
        ({"memory": MemoryOptions(epochs=7)}, Pixels),  # of a GAN
        ({"sleep": SleepOptions(form="sampled")}, Pixels),
        ({"wake": WakeOptions(epochs=7)}, Pixels),  # of a network
        ({"sleep": SleepOptions(steps=7)}, Pixels),
        (options_of("default"), Features),
        (options_of("fast"), Features),
    ],
)
def test_images_are_remembered_by_patches_unless_something_else_is_asked_for(changed: dict, chosen: type) -> None:
    options = replace(TrainOptions(), **changed)
    colour = torch.from_numpy(noise(16, 16).transpose(0, 3, 1, 2).copy())
    for images in (colour, colour / 255, colour[:, :1]):
        assert isinstance(domain_for(of_two_classes(images), options), chosen)
    assert isinstance(domain_for(of_two_classes(colour[..., :12]), options), Pixels)  # too small to be better


def test_a_fast_run_on_many_grey_images_takes_what_is_faster() -> None:
    fast = preset_defaults("fast", "folder")
    colour = torch.from_numpy(noise(16, 16).transpose(0, 3, 1, 2).copy())
    grey = colour[:, :1]
    assert isinstance(domain_for(of_two_classes(grey, 2000), fast), Pixels)
    assert isinstance(domain_for(of_two_classes(grey, 1999), fast), Features)
    assert isinstance(domain_for(of_two_classes(colour, 2000), fast), Features)  # where a GAN is no good
    assert isinstance(domain_for(of_two_classes(grey, 2000), preset_defaults("best", "folder")), Features)


def of_two_classes(images: torch.Tensor, a_class: int = 20) -> Split:
    return Split(images[torch.arange(2 * a_class) % len(images)], torch.arange(2 * a_class) % 2)


def test_what_was_chosen_is_said_unless_it_was_asked_for() -> None:
    colour = torch.from_numpy(noise(20, 20).transpose(0, 3, 1, 2).copy())
    plain, asked = TrainOptions(), TrainOptions(memory=MemoryOptions(generator="convolutional"))

    def said(images: torch.Tensor, options: TrainOptions, a_class: int = 20) -> str:
        return note_for(domain_for(of_two_classes(images, a_class), options), options)

    assert "filters that are made of patches" in said(colour, plain)
    assert "those are what reference can learn from" in said(colour, replace(plain, methods=("mygo", "reference")))
    assert "that is sooner" in said(colour[:, :1], preset_defaults("fast"), 2000)
    assert said(colour[:, :1, :8, :8], plain) == ""  # too small for patches to be better
    assert said(colour, asked) == said(colour[:, :1], asked) == ""
    assert said(colour, replace(plain, trunk="patches")) == ""


@pytest.mark.parametrize(("height", "width", "size"), [(16, 20, (16, 20)), (64, 96, (32, 48))])
def test_small_images_are_taken_as_they_are_and_larger_ones_brought_down(
    height: int, width: int, size: tuple[int, int]
) -> None:
    images = torch.from_numpy(noise(height, width, 4).transpose(0, 3, 1, 2).copy())
    domain = domain_for(of_two_classes(images, 2), TrainOptions())
    assert isinstance(domain, Features)
    assert isinstance(domain.trunk, Trunk)
    assert domain.trunk.form.size == size
    assert domain.prepare(images, torch.device("cpu")).shape == (4, domain.features)


def test_pictures_may_be_named_by_strings_and_have_one_channel_or_three(tmp_path: Path) -> None:
    images, _ = photos(["red", "blue"], 4)
    paths = []
    for number, image in enumerate(images):
        paths.append(str(tmp_path / f"{number}.png"))
        Image.fromarray(image).save(paths[-1])
    pixels = torch.from_numpy(images.transpose(0, 3, 1, 2).copy())
    domain = domain_for(Split(pixels, torch.arange(8) // 4), TrainOptions())
    assert torch.equal(domain.prepare(paths, CPU), domain.prepare(pixels, CPU))
    four = pixels[:, [0, 1, 2, 0]]
    with pytest.raises(MygoEdgeError, match="images of 4 channels: only grey and colour"):
        domain.prepare(four, CPU)
    assert isinstance(domain_for(Split(four, torch.arange(8) // 4), TrainOptions()), Pixels)


@pytest.fixture
def old_and_new(tmp_path: Path) -> tuple[Path, Path]:
    """Folders of two classes each."""
    folders = tmp_path / "old", tmp_path / "new"
    for folder, colours in zip(folders, (("red", "blue"), ("green", "white")), strict=True):
        for seed, colour in enumerate(colours):
            (folder / colour).mkdir(parents=True)
            for number, image in enumerate(photos([colour], 10, seed)[0]):
                Image.fromarray(image).save(folder / colour / f"{number}.png")
    return folders


HOW = ("--dataset", "folder", "--folder.size", "16", "--measure.no-dreams", "--tasks", "1")


def test_a_run_beside_fine_tuning_goes_on_without_the_data_of_old_tasks(
    old_and_new: tuple[Path, Path], tmp_path: Path
) -> None:
    old, new = map(str, old_and_new)
    run = tmp_path / "run"
    main([*HOW, "--data-root", old, "--out", str(run)])
    shutil.rmtree(old)
    main([*HOW, "--data-root", new, "--extend", str(run)])
    for name in ("mygo", "finetune"):
        assert known(run, name) == [None, 1.0]
    main(["--forget", "task0", str(run)])
    assert known(run, "finetune") == [1.0]


def known(run: Path, method: str) -> list[float | None]:
    """Accuracies on all tasks after the last."""
    methods = json.loads((run / "summary.json").read_text())["methods"]
    matrix: list[list[float | None]] = methods[method]["task_known"]["matrix"]
    return matrix[-1]


def test_a_method_that_needs_the_data_of_old_tasks_is_named_before_anything_is_learnt(
    old_and_new: tuple[Path, Path], tmp_path: Path
) -> None:
    old, new = map(str, old_and_new)
    run = str(tmp_path / "run")
    main([*HOW, "--data-root", old, "--out", run, "--trunk", "patches", "--methods", "mygo", "ncm"])
    shutil.rmtree(old)
    with pytest.raises(MygoEdgeError, match="--methods ncm take the data of all tasks, and that of task0 is not there"):
        main([*HOW, "--data-root", new, "--extend", run])


def test_a_learner_of_colour_images_learns_by_patches_and_goes_on_after_it_was_closed(tmp_path) -> None:
    options = TrainOptions(folder=FolderOptions(size=20))
    images, labels = photos(["red", "blue"], 30)
    more, names = photos(["green", "white"], 30, seed=1)
    test = photos(["red", "blue"], 10, seed=2), photos(["green", "white"], 10, seed=3)
    with Learner.create(tmp_path / "run", options) as learner:
        learner.learn("first", images, labels)
    with Learner.open(tmp_path / "run") as learner:
        learner.learn("second", more, names)
        found = [learner.answers(part) for part, _ in test]
    for task, answers, (_, wanted) in zip(("first", "second"), found, test, strict=True):
        assert [tuple(answer) for answer in answers] == [(task, name) for name in wanted]
    model = EdgeModel.load(tmp_path / "run" / "bundle")
    assert model.predict(test[0][0]) == test[0][1]
