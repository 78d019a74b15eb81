"""Texts through the command, in processes of their own: learnt, killed, extended, forgotten, updated, and answered."""

import csv
import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch

from mygo_edge.bundle.npz import read_arrays
from mygo_edge.device.edge_model import EdgeModel
from mygo_edge.export.publication import publish_after_sleep
from mygo_edge.train import main
from tests.features import MUSIC, WORDS, text_trunk, texts
from tests.run.commands import environment, run, summary

TOPICS = ("food", "money", "space", "sport")  # 0 to 3, of the box; a device learns music itself
EACH = 50

# Runs the command and kills it at a call of a function of some class or module, once a line is in the run's log.
VICTIM = """
import importlib, os, pathlib, signal, sys

module, names, marker, log, *arguments = sys.argv[1:]
*owners, name = names.split(".")
owner = importlib.import_module(module)
for part in owners:
    owner = getattr(owner, part)
original = getattr(owner, name)

def deadly(*given, **more):
    result = original(*given, **more)
    if not marker or marker in pathlib.Path(log).read_text():
        os.kill(os.getpid(), signal.SIGKILL)
    return result

setattr(owner, name, deadly)
from mygo_edge.train import main
main(arguments)
"""


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trunk, and a table of texts of four topics in two columns."""
    root, trunk = tmp_path_factory.mktemp("texts"), text_trunk()
    (root / "trunk.onnx").write_bytes(trunk.graph)
    (root / "tokenizer.json").write_bytes(trunk.tokenizer or b"")
    with (root / "news.csv").open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow(["topic", "title", "body"])
        for text, topic in zip(*texts(TOPICS, EACH), strict=True):
            title, body = text.split(" ", 1)
            table.writerow([topic, title, f'"{body}",\nthey say'])
    return root


def source(material: Path, tasks: str, *methods: str) -> list[object]:
    """Options of a run on topics by their place."""
    where = ["--dataset", "text", "--data-root", material / "news.csv", "--text.label", "topic"]
    trunk = ["--trunk", material / "trunk.onnx", "--text.tokenizer", material / "tokenizer.json"]
    return [*where, "--text.column", "title,body", *trunk, "--methods", "mygo", *methods, "--tasks", tasks]


@pytest.fixture(scope="module")
def whole(material: Path) -> Path:
    """A run that nothing disturbed."""
    done = run(*source(material, "1,3/0,2", "ncm", "fecam"), "--out", material / "whole")
    assert done.returncode == 0, done.stderr
    return material / "whole"


@pytest.fixture(scope="module")
def first_task(material: Path) -> Path:
    """A finished run of the first task alone. Not to be changed."""
    done = run(*source(material, "1,3"), "--out", material / "first")
    assert done.returncode == 0, done.stderr
    return material / "first"


def published(folder: Path) -> dict[str, bytes]:
    """The files of the live version but the manifest, which holds a date and the run's name; and its tasks."""
    version = folder / "bundle" / (folder / "bundle" / "current").read_text().strip()
    files = {file.name: file.read_bytes() for file in version.iterdir() if file.name != "manifest.json"}
    manifest = json.loads((version / "manifest.json").read_text())
    return files | {"tasks": json.dumps([manifest[key] for key in ("tasks", "trunk", "files")]).encode()}


def memory_of(folder: Path) -> dict[str, torch.Tensor]:
    (file,) = (folder / "checkpoint").glob("mygo-*.safetensors")
    return safetensors.torch.load(file.read_bytes())


def check_same(folder: Path, other: Path) -> None:
    """Bundles and memories bit for bit, and what was measured."""
    assert published(folder) == published(other)
    found, expected = memory_of(folder), memory_of(other)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[key], value) for key, value in expected.items())
    results, wanted = (summary(path)["methods"]["mygo"] for path in (folder, other))
    assert all(results[key] == wanted[key] for key in ("task_known", "task_unknown", "dreams", "sleep"))


def test_rivals_stand_beside_it_and_each_class_has_a_covariance_of_its_own(whole: Path) -> None:
    document = summary(whole)
    assert list(document["methods"]) == ["mygo", "ncm", "fecam"]
    assert document["methods"]["mygo"]["task_unknown"]["average"] > 0.9
    assert document["methods"]["mygo"]["dreams"]["label_fidelity"] > 0.9
    assert {"covariances.int8.npz", "calibration.npz", "tokenizer.json", "trunk.onnx"} < published(whole).keys()
    assert (whole / "report.html").exists()


def test_the_directions_of_covariances_are_the_users_choice(material: Path, tmp_path: Path) -> None:
    done = run(*source(material, "1,3/0,2"), "--text.directions", "3", "--out", tmp_path / "small")
    assert done.returncode == 0, done.stderr
    arrays = read_arrays(published(tmp_path / "small")["covariances.int8.npz"], {"directions", "covariances"})
    assert arrays["directions"].shape[0] == 3
    assert arrays["covariances"].shape == (4, 3 * 4 // 2)
    refused = run(*source(material, "1,3/0,2"), "--text.directions", "0", "--out", tmp_path / "none")
    assert (refused.returncode, refused.stderr) == (2, "error: text directions must be 1 or more, not 0\n")


def test_no_text_and_no_vector_of_one_is_kept(whole: Path) -> None:
    said = b"they say"
    kept = [file for file in whole.rglob("*") if file.is_file() and file.suffix != ".png"]
    assert not [file for file in kept if said in file.read_bytes()]
    sizes = [tuple(value.shape) for value in memory_of(whole).values()]
    assert not [shape for shape in sizes if shape and shape[0] in (EACH * 4 // 5, 2 * EACH * 4 // 5, 4 * EACH * 4 // 5)]


def test_kills_in_the_trunks_pass_wake_sleep_and_publication_change_nothing(
    whole: Path, material: Path, tmp_path: Path
) -> None:
    folder, log = tmp_path / "killed", tmp_path / "killed" / "metrics.jsonl"
    learnt = '"task": 0, "method": "fecam"'
    places = [
        ("mygo_edge.learn.features.exact", "answering_factor", "", [0, 0, 1]),  # the sleep of the first task
        ("mygo_edge.trunks.text", "Embedder._vectors", learnt, [1, 0, 0]),  # the trunk's pass of the second
        ("mygo_edge.learn.features.moments", "PooledMoments.pool", "", [1, 0, 0]),  # its wake
        ("mygo_edge.learn.features.exact", "own_covariances", "", [1, 0, 1]),  # its sleep
        ("mygo_edge.export.features", "write_own", "", [1, 0, 2]),  # and what it publishes
    ]
    arguments: list[Any] = [*source(material, "1,3/0,2", "ncm", "fecam"), "--out", folder]
    for module, name, marker, position in places:
        victim = [sys.executable, "-c", VICTIM, module, name, marker, log, *arguments]
        process = subprocess.run(
            list(map(str, victim)), capture_output=True, text=True, env=environment(), timeout=120, check=False
        )
        assert process.returncode == -signal.SIGKILL, process.stderr
        state = json.loads((folder / "checkpoint" / "state.json").read_text())["state"]
        assert state["position"] == position
        arguments = ["--resume", folder]
    done = run(*arguments)
    assert done.returncode == 0, done.stderr
    check_same(folder, whole)
    found, expected = (summary(path)["methods"] for path in (folder, whole))
    assert found == expected


def test_a_task_that_comes_later_is_learnt_as_if_it_had_been_there(
    whole: Path, first_task: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(first_task, tmp_path / "run"))
    done = run("--extend", folder, "--tasks", "0,2")
    assert done.returncode == 0, done.stderr
    check_same(folder, whole)


def test_a_run_that_goes_on_publishes_by_the_options_that_it_goes_on_with(
    first_task: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, seen = Path(shutil.copytree(first_task, tmp_path / "run")), []

    def recorded(*given: Any, **how: Any) -> Any:
        seen.append((given[3].max_loss, how["measured"]))
        return publish_after_sleep(*given, **how)

    monkeypatch.setattr("mygo_edge.learner.publish_after_sleep", recorded)
    main(["--extend", str(folder), "--tasks", "0,2", "--publish.max-loss", "0.02"])
    assert seen == [(0.02, False)]


def test_a_forgotten_task_is_gone_from_memory_and_bundle_and_the_other_still_answers(
    whole: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(whole, tmp_path / "run"))
    done = run("--forget", "task0", folder)
    assert done.returncode == 0, done.stderr
    assert memory_of(folder)["means"].shape[0] == 2
    assert not [file for file in (folder / "bundle").rglob("*") if "task0" in file.name]
    assert summary(folder)["methods"]["mygo"]["task_known"]["average"] > 0.9
    model = EdgeModel.load(folder / "bundle")
    assert dict(model.tasks) == {"task1": ("food", "space")}
    assert model.predict(["bread and apple soup", "orbit of the moon"]) == ["food", "space"]


def test_a_bundle_answers_texts_and_lines_and_a_topic_learnt_on_a_device_outlasts_updates(
    first_task: Path, tmp_path: Path
) -> None:
    box = Path(shutil.copytree(first_task, tmp_path / "run"))
    device = tmp_path / "device"
    assert run(box / "bundle", device, module="update").returncode == 0
    EdgeModel.load(device).learn("concert", *texts(["music"], 5, seed=2))
    done = run(device, "--text", "song of the violin", "--text", "goal of the team", "--json", module="predict")
    assert done.returncode == 0, done.stderr
    answers = [(each["task"], each["class"]) for each in json.loads(done.stdout)]
    assert answers == [("concert", "music"), ("task0", "sport")]

    assert run("--extend", box, "--tasks", "0,2").returncode == 0
    done = run(box / "bundle", device, module="update")
    assert done.returncode == 0, done.stderr
    lines = {" ".join(words): topic for topic, words in (WORDS | {"music": MUSIC}).items()}
    done = run(device, module="predict", input="\n\n".join(lines) + "\n")
    assert (done.returncode, done.stderr) == (0, "")
    said = [line.split("  (task ")[0] for line in done.stdout.splitlines()]
    assert said == [f"{text}: {topic}" for text, topic in lines.items()]
    done = run(device, "--task", "concert", "--text", "choir", module="predict")
    assert done.stdout.startswith("choir: music  (task concert, ")
