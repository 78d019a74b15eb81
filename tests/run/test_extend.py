"""Tasks that arrive later: learnt as if they had been there from the start, through kills, and what is refused."""

import json
import shutil
import time
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from mygo_edge.device.edge_model import EdgeModel
from mygo_edge.errors import MygoEdgeError
from mygo_edge.run.listeners import write_accuracies
from mygo_edge.train import main
from tests.run.commands import TINY, run, start, summary


def knowledge(folder: Path) -> dict[str, Any]:
    """Everything that MyGO and fine-tuning know."""
    found = {}
    for method in ("mygo", "finetune"):
        (file,) = (folder / "checkpoint").glob(f"{method}-*.safetensors")
        found |= {f"{method}.{key}": value for key, value in safetensors.torch.load(file.read_bytes()).items()}
    return found


def check_same(folder: Path, whole: Path) -> None:
    """Weights bit for bit, accuracies and dreams."""
    found, expected = knowledge(folder), knowledge(whole)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[key], value) for key, value in expected.items())
    for method in ("mygo", "finetune"):
        for measure in ("task_known", "task_unknown"):
            mine, other = (summary(path)["methods"][method][measure] for path in (folder, whole))
            assert mine == other
    mine, other = (EdgeModel.load(path / "bundle").dream("task1", n=5, seed=3) for path in (folder, whole))
    assert (mine.images == other.images).all()
    assert mine.class_ids.tolist() == other.class_ids.tolist()


@pytest.fixture(scope="module")
def first_task(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run of one task."""
    folder = tmp_path_factory.mktemp("extend") / "run"
    done = run(*TINY, "--tasks", "0,1", "--out", folder)
    assert done.returncode == 0, done.stderr
    return folder


def copy_of(folder: Path, to: Path) -> Path:
    return Path(shutil.copytree(folder, to))


def test_tasks_learnt_later_are_learnt_as_if_they_had_been_there_from_the_start(whole_run, first_task, tmp_path):
    folder = copy_of(first_task, tmp_path / "run")
    done = run("--extend", folder, "--tasks", "2,3")
    assert done.returncode == 0, done.stderr
    check_same(folder, whole_run[0])
    assert [task["name"] for task in summary(folder)["tasks"]] == ["task0", "task1"]


def test_a_kill_in_between_changes_nothing(whole_run, first_task, tmp_path):
    folder = copy_of(first_task, tmp_path / "run")
    for wanted in ("expert", "memory"):
        process = start(*(("--extend", folder, "--tasks", "2,3") if wanted == "expert" else ("--resume", folder)))
        log = folder / "metrics.jsonl"
        deadline = time.monotonic() + 120
        while process.poll() is None and time.monotonic() < deadline:
            if f'"task": 1, "method": "mygo", "phase": "{wanted}"' in log.read_text():
                break
            time.sleep(0.02)
        process.kill()
        process.communicate()
    done = run("--resume", folder)
    assert done.returncode == 0, done.stderr
    check_same(folder, whole_run[0])


def test_an_extension_names_its_tasks_and_takes_images_of_another_size(first_task, tmp_path):
    from PIL import Image

    for name in ("left", "right"):
        (tmp_path / "arrows" / name).mkdir(parents=True)
        for number in range(24):
            picture = Image.new("RGB", (20, 20))
            picture.paste((255, 255, 255), (2, number % 6, 9, 19) if name == "left" else (11, number % 6, 18, 19))
            picture.save(tmp_path / "arrows" / name / f"{number}.png")
    folder = copy_of(first_task, tmp_path / "run")
    source = ("--dataset", "folder", "--data-root", tmp_path / "arrows", "--tasks", "1", "--task-names", "arrows")
    done = run("--extend", folder, *source)
    assert done.returncode == 0, done.stderr
    assert "class 'left' has 19 training inputs; its dreams will be poor" in done.stdout
    model = EdgeModel.load(folder / "bundle")
    assert dict(model.tasks) == {"task0": ("0", "1"), "arrows": ("left", "right")}
    # Without the data of the new task, the old ones are learnt all the same, and it is not measured again.
    shutil.rmtree(tmp_path / "arrows")
    done = run("--extend", folder, "--dataset", "digits", "--tasks", "2,3")
    assert done.returncode == 0, done.stderr
    assert "arrows: the data is not there" in done.stderr
    last = summary(folder)["methods"]["mygo"]["task_known"]["matrix"][-1]
    assert last[1] is None
    assert min(last[0], last[2]) > 0.8


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--tasks 0,1", "class '0' is known already, in task task0; tell the tasks apart by --task-names"),
        ("--tasks 2,3 --task-names TASK0", "a task TASK0 is known already"),
        ("--tasks 2,3 --seed 1", "--seed cannot be changed by --extend"),
        ("--tasks 2,3 --trunk patches", "--trunk cannot be changed by --extend"),
        ("--tasks 2,3 --trunk.size 64", r"--trunk\.size: a run keeps its trunk"),
        ("--tasks 2,3 --memory.rank 8", r"--memory\.rank: all memories of a run are alike"),
        ("--tasks 2,3 --out elsewhere", "exclude one another"),
    ],
)
def test_an_extension_that_cannot_be_told_apart_is_refused_and_changes_nothing(first_task, arguments, message):
    before = {file: file.read_bytes() for file in first_task.rglob("*") if file.is_file()}
    with pytest.raises(MygoEdgeError, match=message):
        main(["--extend", str(first_task), *arguments.split()])
    assert {file: file.read_bytes() for file in first_task.rglob("*") if file.is_file()} == before


def test_a_task_that_fails_leaves_those_before_published_and_can_be_tried_with_other_options(first_task, tmp_path):
    folder = copy_of(first_task, tmp_path / "run")
    hopeless = ("--memory.learning-rate", "0.9", "--memory.restarts", "0", "--memory.gaussians", "0")
    done = run("--extend", folder, "--tasks", "2,3", *hopeless)
    assert done.returncode == 2
    assert "task0: learnt and published" in done.stderr
    assert f"--resume {folder} --memory.epochs 8" in done.stderr
    assert list(EdgeModel.load(folder / "bundle").tasks) == ["task0"]
    done = run("--resume", folder, "--memory.learning-rate", "0.0012")
    assert done.returncode == 0, done.stderr
    assert list(EdgeModel.load(folder / "bundle").tasks) == ["task0", "task1"]
    used = json.loads((folder / "config.json").read_text())["changed"]["task1"]
    assert used["memory"]["learning_rate"] == 0.0012


def test_accuracies_go_to_a_table_where_they_are_asked_for(tmp_path):
    done = run(*TINY, "--tasks", "0,1", "--methods", "mygo", "--csv", "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    lines = (tmp_path / "run" / "accuracies.csv").read_text().splitlines()
    assert lines[0] == "method,after_task,task,measure,accuracy"
    assert [line.split(",")[:4] for line in lines[1:]] == [
        ["mygo", "0", "0", "task_known"],
        ["mygo", "0", "0", "task_unknown"],
    ]
    again = {"event": "accuracy", "method": "mygo", "task": 0, "task_known": [0.5], "task_unknown": [None]}
    write_accuracies(tmp_path / "run" / "accuracies.csv", again)  # as of a run that was killed and measures anew
    lines = (tmp_path / "run" / "accuracies.csv").read_text().splitlines()
    assert lines[1:] == ["mygo,0,0,task_known,0.500000"]
