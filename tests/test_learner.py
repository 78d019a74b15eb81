"""The door for programs: learn, answer, dream, forget, publish, and go on after a kill."""

import os
import signal
import subprocess
import sys
import textwrap
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image
from sklearn.datasets import load_digits
from torch.utils.data import TensorDataset

from mygo_edge import EdgeModel, Learner, MygoEdgeError
from mygo_edge.data.arrays import arrival_from
from mygo_edge.options import FolderOptions, MemoryOptions, PublishOptions, SleepOptions, TrainOptions, WakeOptions
from tests.run.commands import environment

OPTIONS = TrainOptions(
    wake=WakeOptions(epochs=1, min_steps=60, batch_size=64),
    memory=MemoryOptions(epochs=1, min_steps=200, batch_size=32),
    sleep=SleepOptions(steps=60, dreams_per_task=32),
    publish=PublishOptions(precision="fp32"),
)


def digits(*labels: int) -> tuple[np.ndarray, list[str]]:
    """Images, uint8 [n, 8, 8], and names of the digits asked for."""
    found = load_digits()
    rows = np.isin(found.target, labels)
    return (found.images[rows] * 15.9).astype(np.uint8), [str(label) for label in found.target[rows]]


@pytest.fixture(scope="module")
def learner(tmp_path_factory: pytest.TempPathFactory) -> Learner:
    """After two tasks."""
    events = []
    learner = Learner.create(tmp_path_factory.mktemp("learner") / "mine", OPTIONS, on_event=events.append)
    learner.learn("small", *digits(0, 1), test=digits(0, 1))
    learner.learn("middling", torch.from_numpy(digits(2, 3, 4)[0])[:, None].float() / 255, digits(2, 3, 4)[1])
    learner.events = events
    return learner


def test_it_learns_what_arrays_and_tensors_hold_and_keeps_the_names_of_classes(learner):
    assert learner.tasks == {"small": ["0", "1"], "middling": ["2", "3", "4"]}
    images, names = digits(0, 1, 2, 3, 4)
    assert learner.accuracy(images, names) > 0.8
    assert learner.accuracy(*digits(2, 3, 4), task="middling") > 0.9
    of_zeros = [task for task, _ in learner.answers(digits(0)[0])]
    assert of_zeros.count("small") > 0.9 * len(of_zeros)


def test_its_events_reach_the_caller(learner):
    phases = [event["phase"] for event in learner.events if event["event"] == "phase"]
    assert phases == ["head", "expert", "memory", "sleep", "publish"] * 2


def test_a_device_dreams_and_answers_as_the_learner_does(learner):
    device = EdgeModel.load(learner.folder.path / "bundle")
    mine, other = learner.dream("middling", n=20, seed=4), device.dream("middling", n=20, seed=4)
    assert mine.class_ids.tolist() == other.class_ids.tolist()
    assert np.abs(mine.images.astype(int) - other.images.astype(int)).max() <= 1
    images = digits(0, 1, 2, 3, 4)[0]
    assert device.answers(images) == learner.answers(images)


def test_every_publication_has_a_higher_number_under_the_learners_name(learner, tmp_path):
    numbers = [int(learner.publish(tmp_path / name).name[1:]) for name in ("a", "b")]
    assert numbers[0] > 2
    assert numbers[1] > numbers[0]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "../x"}, "cannot name a task"),
        ({"name": 3}, "3 cannot name a task"),
        ({"name": "small"}, "task small is learnt already"),
        ({"labels": ["", "6"] * 179}, "input 0 has no label, but ''"),
        ({"labels": ["a\nb", "6"] * 179}, "cannot name a class"),
        ({"labels": ["a" * 201, "6"] * 179}, "cannot name a class"),
        ({"labels": [float("nan"), 6.0] * 179}, "input 0 has no label, but nan"),
        ({"labels": ["5", None] * 179}, "input 1 has no label, but None"),
        ({"labels": None}, "give a dataset of .image, label. pairs"),
        ({"test": digits(5, 6)[0]}, "test takes a pair"),
        ({"inputs": ["/nowhere/a.png"] * 2, "labels": ["5", "6"]}, "/nowhere/a.png"),
        ({"labels": ["5", "6", "5"]}, "do not match"),
        ({"inputs": np.zeros((4, 8, 8), np.int32), "labels": ["5", "6"] * 2}, "images must be uint8"),
        ({"inputs": np.full((4, 8, 8), 7.0), "labels": ["5", "6"] * 2}, r"floats must be in \[0, 1\]"),
        ({"inputs": np.full((4, 8, 8), np.nan), "labels": ["5", "6"] * 2}, r"floats must be in \[0, 1\]"),
        ({"inputs": np.zeros((4, 8, 8), np.uint8), "labels": ["5"] * 4}, "two or more classes"),
        (
            {"inputs": np.zeros((4, 8, 8), np.uint8), "labels": [0, 2, 0, 2], "classes": ["a", "b", "c"]},
            "class 'b' has no training input",
        ),
        ({"labels": {0: "5"}}, "every input's class, in order, not dict"),
        ({"labels": np.eye(358)[:, :2]}, r"in order, not an array of shape \[358, 2\]"),
        ({"labels": [[1, 0], [0, 1]] * 179}, r"one class an input, not \[1, 0\]"),
        ({"labels": ["caf\u00e9", "cafe\u0301", "tea"] * 121}, "two classes are called 'café', in two spellings"),
        ({"name": "Small"}, "task Small is called as small but for capitals"),
        ({"inputs": ["a text", "another"] * 2, "labels": ["5", "6"] * 2}, "a text cannot be read"),
        ({"inputs": "/nowhere", "labels": None}, "is not a folder"),
    ],
)
def test_what_cannot_be_learnt_is_refused_early_and_changes_nothing(learner, change, message):
    images, labels = digits(5, 6)
    given = {"name": "late", "inputs": images, "labels": labels} | change
    before = (learner.folder.path / "config.json").read_bytes()
    with pytest.raises(MygoEdgeError, match=message):
        learner.learn(**given)
    assert (learner.folder.path / "config.json").read_bytes() == before


def test_a_task_of_which_nothing_could_be_learnt_leaves_nothing_behind(learner, monkeypatch):
    before = (learner.folder.path / "config.json").read_bytes()

    def fail(self):
        raise MygoEdgeError("the features never vary")

    monkeypatch.setattr(type(learner.runner), "run", fail)
    with pytest.raises(MygoEdgeError, match="never vary"):
        learner.learn("late", *digits(5, 6))
    assert (learner.folder.path / "config.json").read_bytes() == before


def test_numbers_that_are_labels_are_the_classes_that_occur():
    arrival = arrival_from("late", np.zeros((4, 8, 8), np.uint8), [20240102, 20240101, 20240102, 20240101])
    assert arrival.classes == ["20240101", "20240102"]
    assert arrival.train.labels.tolist() == [1, 0, 1, 0]
    assert arrival_from("late", np.zeros((2, 8, 8), np.uint8), [True, False]).classes == ["0", "1"]


def test_a_dataset_of_torch_has_the_same_rules_for_labels():
    dataset = TensorDataset(torch.zeros(4, 8, 8, dtype=torch.uint8), torch.tensor([10, 2, 10, 2]))
    arrival = arrival_from("late", dataset)
    assert (arrival.classes, arrival.train.labels.tolist()) == (["2", "10"], [1, 0, 1, 0])
    dataset = TensorDataset(torch.zeros(2, 8, 8, dtype=torch.uint8), torch.tensor([0, 2**40]))
    with pytest.raises(MygoEdgeError, match="label 1099511627776 is none of the classes 0 to 1"):
        arrival_from("late", dataset, classes=["a", "b"])


def test_a_first_task_that_fails_leaves_no_trace_in_the_next(tmp_path):
    images, labels = digits(0, 1)
    large = np.repeat(np.repeat(images, 2, 1), 2, 2)
    options = TrainOptions(trunk="patches")
    with Learner.create(tmp_path / "after", options) as after, Learner.create(tmp_path / "fresh", options) as fresh:
        with pytest.raises(MygoEdgeError, match="give it at least two"):
            after.learn("bad", 255 - large[:3], ["a", "a", "b"])
        for learner in (after, fresh):
            learner.learn("small", large, labels)
        weights = [learner.runner.methods["mygo"].state()["classifier.0"] for learner in (after, fresh)]
    assert torch.equal(*weights)


def test_labels_that_name_no_class_are_not_measured_by(learner):
    with pytest.raises(MygoEdgeError, match="'zero' is the name of no class; they are 0, 1, 2"):
        learner.accuracy(digits(0)[0], ["zero"] * len(digits(0)[0]))


def test_files_of_pictures_are_learnt_and_answered_as_their_pixels_are(tmp_path):
    images, names = digits(0, 1)
    files = [tmp_path / f"{place}.png" for place in range(len(images))]
    for file, image in zip(files, images, strict=True):
        Image.fromarray(image).save(file)
    options = replace(OPTIONS, folder=FolderOptions(size=8, colour="grey"))
    with Learner.create(tmp_path / "files", options) as one, Learner.create(tmp_path / "pixels", options) as other:
        one.learn("small", files, names, test=(files, names))
        other.learn("small", images, names, test=(images, names))
        assert one.answers(np.array([str(file) for file in files])) == other.answers(images)
        assert one.answers(str(files[0])) == other.answers(images[:1])


def test_a_kill_and_the_same_call_again_lead_to_the_same_learner(tmp_path):
    program = textwrap.dedent(
        """
        import sys
        from dataclasses import replace
        from pathlib import Path
        from mygo_edge import Learner
        from tests.test_learner import OPTIONS, digits

        path = Path(sys.argv[1])
        options = replace(OPTIONS, checkpoint_seconds=0.2)
        with (Learner.open(path) if (path / "config.json").exists() else Learner.create(path, options)) as learner:
            learner.learn("small", *digits(0, 1))
        """
    )

    def go(folder: Path) -> subprocess.Popen[bytes]:
        return subprocess.Popen([sys.executable, "-c", program, str(folder)], env=environment(), cwd=Path.cwd())

    assert go(tmp_path / "whole").wait(120) == 0
    killed = go(tmp_path / "killed")
    log = tmp_path / "killed" / "metrics.jsonl"
    deadline = time.monotonic() + 120
    while time.monotonic() < deadline and not (log.exists() and '"phase": "memory", "step": 100' in log.read_text()):
        time.sleep(0.02)
    os.kill(killed.pid, signal.SIGKILL)
    killed.wait()
    assert go(tmp_path / "killed").wait(120) == 0
    weights = []
    for name in ("whole", "killed"):
        (file,) = (tmp_path / name / "checkpoint").glob("mygo-*.safetensors")
        weights.append(safetensors.torch.load(file.read_bytes()))
    assert weights[0].keys() == weights[1].keys()
    assert all(torch.equal(weights[1][key], value) for key, value in weights[0].items())


def test_what_is_forgotten_is_gone_from_learner_and_bundle_and_the_rest_stays(learner):
    learner.learn("large", *digits(7, 8))
    learner.forget("middling")
    assert list(learner.tasks) == ["small", "large"]
    assert learner.accuracy(*digits(0, 1), task="small") > 0.95
    assert learner.accuracy(*digits(7, 8), task="large") > 0.95
    bundle = learner.folder.path / "bundle"
    assert not [file for file in bundle.rglob("*") if "middling" in file.name]
    assert "middling" not in (bundle / (bundle / "current").read_text().strip() / "manifest.json").read_text()
    with pytest.raises(MygoEdgeError, match="cannot be forgotten: the tasks are small, large"):
        learner.forget("middling")
    # It may come back under its old name, as a new task.
    learner.learn("middling", *digits(2, 3))
    assert list(EdgeModel.load(bundle).tasks) == ["small", "large", "middling"]
