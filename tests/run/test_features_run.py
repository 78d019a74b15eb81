"""Photos and texts through the command: learnt, killed, extended, forgotten, published, and answered on a device."""

import json
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
import safetensors.torch
import torch
from PIL import Image

from mygo_edge import EdgeModel, Learner, MygoEdgeError, TrainOptions
from mygo_edge.bundle.reading import read_manifest
from mygo_edge.bundle.rows import ClassRows
from mygo_edge.domains.choice import domain_of_state
from mygo_edge.export.publication import publish_after_sleep
from mygo_edge.learn.features.exact import ExactMyGO
from mygo_edge.options import MemoryOptions, PublishOptions
from mygo_edge.run.saved import open_learner
from tests.features import FEATURES, photo_trunk, photos
from tests.run.commands import run, start, summary

WARM, COLD = ("orange", "red", "yellow"), ("blue", "cyan", "green")


@pytest.fixture(scope="module")
def material(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trunk, and photos of six colours."""
    root = tmp_path_factory.mktemp("photos")
    (root / "trunk.onnx").write_bytes(photo_trunk().graph)
    for part, each, seed in (("train", 20, 0), ("test", 10, 1)):
        images, names = photos((*WARM, *COLD), each, seed)
        for number, (image, name) in enumerate(zip(images, names, strict=True)):
            folder = root / "data" / part / name
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(folder / f"{number}.png")
    return root


def source(material: Path, tasks: str) -> list[object]:
    """Options of a run on classes by their place: blue 0, cyan 1, green 2, orange 3, red 4, yellow 5."""
    where = ["--dataset", "folder", "--data-root", material / "data", "--trunk", material / "trunk.onnx"]
    return [*where, "--methods", "mygo", "ncm", "joint", "--tasks", tasks]


@pytest.fixture(scope="module")
def whole(material: Path) -> Path:
    done = run(*source(material, "3,4,5/0,1,2"), "--out", material / "whole")
    assert done.returncode == 0, done.stderr
    return material / "whole"


def killed_after(phase: str, arguments: list[object], folder: Path) -> None:
    """Start a run, and end it when it has finished a phase of that name."""
    process = start(*arguments, "--out", folder)
    log, deadline = folder / "metrics.jsonl", time.monotonic() + 120
    while time.monotonic() < deadline and not (log.exists() and f'"phase": "{phase}"' in log.read_text()):
        time.sleep(0.01)
    process.kill()
    process.communicate()


def memory_of(folder: Path) -> dict[str, torch.Tensor]:
    (file,) = (folder / "checkpoint").glob("mygo-*.safetensors")
    return safetensors.torch.load(file.read_bytes())


def check_same(folder: Path, other: Path) -> None:
    found, expected = memory_of(folder), memory_of(other)
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[key], value) for key, value in expected.items())
    accuracies = [summary(path)["methods"]["mygo"]["task_unknown"] for path in (folder, other)]
    assert accuracies[0] == accuracies[1]


def test_where_int8_loses_too_much_means_and_factor_are_published_in_more(whole: Path, tmp_path: Path) -> None:
    saved = open_learner(whole)
    assert isinstance(saved.method, ExactMyGO)
    assert saved.method.memory is not None
    far = np.zeros(saved.method.domain.features, np.float32)
    far[0] = 500  # in one feature, which leaves few levels for the others, and tells nothing
    for means in saved.method.memory.tasks:
        means.means[:] += far
    how = {"learner_id": saved.run_id, "sequence": 7}
    options = PublishOptions(max_loss=1e-4)
    version, why = publish_after_sleep(tmp_path / "bundle", saved.method, saved.tasks, options, **how)
    assert why.startswith("means and factor are published in fp")
    assert "the memory is not published: " in why
    precisions = {entry.precision for entry in read_manifest(version).files if entry.role in ("generator", "factor")}
    assert len(precisions) == 1
    assert precisions < {"fp16", "fp32"}


def test_where_no_precision_is_enough_it_is_published_all_the_same_and_the_loss_is_said(
    whole: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    saved = open_learner(whole)

    def blurred(rows: ClassRows) -> ClassRows:  # as int8 does it, only much more
        return ClassRows(rows.rows[::-1].copy(), rows.spread)

    monkeypatch.setattr("mygo_edge.export.feature_rows.stored", blurred)
    how = {"learner_id": saved.run_id, "sequence": 7}
    version, why = publish_after_sleep(tmp_path / "bundle", saved.method, saved.tasks, PublishOptions(), **how)
    assert why.startswith("published with a larger loss")
    assert "falls from" in why
    precisions = {entry.precision for entry in read_manifest(version).files if entry.role in ("generator", "factor")}
    assert precisions == {"int8"}
    assert EdgeModel.load(tmp_path / "bundle").version == version.name


def test_rivals_stand_beside_it_and_a_device_answers_the_files(whole: Path, material: Path) -> None:
    document = json.loads((whole / "summary.json").read_text())
    assert list(document["methods"]) == ["mygo", "ncm", "joint"]
    assert document["methods"]["mygo"]["task_unknown"]["average"] > 0.9
    assert document["methods"]["mygo"]["dreams"]["label_fidelity"] > 0.9
    assert document["trunk"]["inputs"] == 180
    assert document["methods"]["ncm"]["bytes"]["kept"] == 4 * 6 * FEATURES
    assert document["methods"]["joint"]["bytes"]["kept"] == 4 * 120 * FEATURES
    assert document["methods"]["joint"]["seconds"]["total"] > document["methods"]["ncm"]["seconds"]["total"]
    report = [(entry["task"], entry["dreamt_by"], entry["poor"]) for entry in document["methods"]["mygo"]["memory"]]
    assert report == [(0, "gaussians", False), (1, "gaussians", False)]
    assert all(entry["told_apart"] > 0.8 for entry in document["methods"]["mygo"]["memory"])
    assert "shrinkage strength" in document["methods"]["mygo"]["sleep"][1]["shrinkage_why"]
    assert "the licence of the file" in document["terms"]
    assert (whole / "plots" / "dreams.png").exists()
    assert "Vectors of real test inputs beside dreams" in (whole / "report.html").read_text()
    model = EdgeModel.load(whole / "bundle")
    pictures = sorted((material / "data" / "test" / "cyan").iterdir())
    answers = model.answers([str(path) for path in pictures])
    assert answers.count(("task1", "cyan")) >= 8
    with Learner.open(whole) as learner:
        assert learner.answers(pictures) == answers


def test_an_export_of_features_is_compared_on_dreams_alone(whole: Path, material: Path, tmp_path: Path) -> None:
    asked = ("--to", tmp_path / "bundle", "--precision", "fp16", "--data-root", material / "data")
    refused = run(whole, *asked, module="export")
    assert refused.returncode == 2
    assert (
        refused.stderr
        == f"error: --data-root is for runs without a trunk; {whole} is compared on dreams: leave it out\n"
    )
    assert not (tmp_path / "bundle").exists()


def test_no_photo_and_no_vector_of_one_is_kept(whole: Path) -> None:
    sizes = {key: tuple(value.shape) for key, value in memory_of(whole).items()}
    assert sizes["means"][0] == 6  # a mean a class, and nothing with a row a photo
    assert not [key for key, shape in sizes.items() if shape and shape[0] in (60, 120)]
    assert not list((whole / "checkpoint").glob("joint-*.safetensors")) or not safetensors.torch.load(
        next((whole / "checkpoint").glob("joint-*.safetensors")).read_bytes()
    )


def test_a_gan_of_vectors_is_learnt_resumed_and_not_published(material: Path) -> None:
    """From dreams alone it keeps the first task; after a kill the run ends as it would have."""
    few = ["--memory.generator", "perceptron", "--memory.min-steps", 300, "--memory.epochs", 1, "--sleep.steps", 200]
    asked = [*source(material, "3,4,5/0,1,2")[:6], "--tasks", "3,4,5/0,1,2", "--methods", "mygo", "finetune", *few]
    done = run(*asked, "--out", material / "vectors")
    assert done.returncode == 0, done.stderr
    assert "no bundle is published of this run" in done.stderr
    document = summary(material / "vectors")
    assert "devices do not take a GAN" in document["not_published"]
    found = {name: results["task_unknown"]["average"] for name, results in document["methods"].items()}
    assert found["mygo"] > max(0.75, found["finetune"] + 0.1)
    assert not (material / "vectors" / "bundle").exists()
    refused = run(material / "vectors", module="export")
    assert (refused.returncode, refused.stderr.count("\n")) == (2, 1)
    assert "no bundle is published" in refused.stderr

    folder = material / "vectors killed"
    killed_after("memory", asked, folder)
    assert run("--resume", folder).returncode == 0
    check_same(folder, material / "vectors")


def test_a_task_that_comes_later_is_learnt_as_if_it_had_been_there(whole: Path, material: Path) -> None:
    folder = material / "later"
    assert run(*source(material, "3,4,5"), "--out", folder).returncode == 0
    done = run("--extend", folder, "--tasks", "0,1,2")
    assert done.returncode == 0, done.stderr
    check_same(folder, whole)


def test_a_kill_changes_nothing(whole: Path, material: Path) -> None:
    folder = material / "killed"
    killed_after("moments", source(material, "3,4,5/0,1,2"), folder)
    done = run("--resume", folder)
    assert done.returncode == 0, done.stderr
    check_same(folder, whole)


def test_a_later_task_can_be_mended_or_its_damaged_pictures_skipped(material: Path, tmp_path: Path) -> None:
    for name in WARM:
        shutil.copytree(material / "data" / "train" / name, tmp_path / "data" / name)
    shutil.copytree(material / "data" / "train" / "blue", tmp_path / "data" / "violet")
    damaged = tmp_path / "data" / "violet" / "damaged.jpg"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64, 3), np.uint8)).save(damaged)
    content, middle = (
        damaged.read_bytes(),
        damaged.stat().st_size // 2,
    )  # its ends look whole, before anything is learnt
    damaged.write_bytes(content[:middle] + b"\xff\xd8" * 100 + content[middle + 200 :])
    where = ["--dataset", "folder", "--data-root", tmp_path / "data", "--trunk", material / "trunk.onnx"]
    for name in ("mended", "skipped"):
        done = run(*where, "--methods", "mygo", "--tasks", 2, "--out", tmp_path / name)
        assert (done.returncode, damaged.name in done.stderr) == (2, True), done.stderr
    done = run("--resume", tmp_path / "skipped", "--folder.unreadable", "skip")
    assert done.returncode == 0, done.stderr
    damaged.unlink()
    done = run("--resume", tmp_path / "mended")
    assert done.returncode == 0, done.stderr
    first, second = (EdgeModel.load(tmp_path / name / "bundle").tasks for name in ("mended", "skipped"))
    assert dict(first) == dict(second) == {"task0": ("orange", "red"), "task1": ("violet", "yellow")}


def test_a_run_that_goes_on_has_the_power_that_it_began_with(whole: Path) -> None:
    options = TrainOptions(memory=MemoryOptions(power=1.0))
    assert domain_of_state({"domain": "features"}, options, whole).power == 1.0


def test_a_run_that_goes_on_may_ask_for_another_prior(material: Path, tmp_path: Path) -> None:
    for name, kept in (("blue", 10), ("cyan", 20), ("green", 20), ("red", 20)):
        for file in sorted((material / "data" / "train" / name).iterdir())[:kept]:
            (tmp_path / "data" / name).mkdir(parents=True, exist_ok=True)
            shutil.copy(file, tmp_path / "data" / name)
    arguments = ["--dataset", "folder", "--data-root", tmp_path / "data", "--trunk", material / "trunk.onnx"]
    assert run(*arguments, "--methods", "mygo", "--tasks", "0,1", "--out", tmp_path / "run").returncode == 0
    done = run("--extend", tmp_path / "run", "--tasks", "2,3", "--sleep.prior", 0)
    assert done.returncode == 0, done.stderr
    assert [sleep["prior"] for sleep in summary(tmp_path / "run")["methods"]["mygo"]["sleep"]] == [1, 0]


def test_a_forgotten_task_is_gone_from_memory_and_bundle(material: Path) -> None:
    folder = material / "forgetful"
    assert run(*source(material, "3,4,5/0,1,2"), "--out", folder).returncode == 0
    done = run("--forget", "task0", folder)
    assert done.returncode == 0, done.stderr
    assert memory_of(folder)["means"].shape[0] == 3
    assert not [file for file in (folder / "bundle").rglob("*") if "task0" in file.name]
    assert summary(folder)["methods"]["mygo"]["task_known"]["average"] > 0.9


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--trunk", "no-such-trunk"], "--trunk"),
        (["--trunk", "static-256"], "takes texts"),
        (["--trunk", "{trunk}", "--methods", "reference"], "--methods reference cannot work"),
        (["--trunk", "{trunk}", "--trunk.size", "7"], "trunk size must be a multiple of 32"),
    ],
)
def test_what_a_trunk_cannot_take_is_refused_in_one_line(material, tmp_path, arguments, message):
    given = [part.format(trunk=material / "trunk.onnx") for part in arguments]
    where = ("--dataset", "folder", "--data-root", material / "data", "--tasks", "2", "--out", tmp_path / "run")
    done = run(*where, *given)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert not (tmp_path / "run").exists()
    assert message in done.stderr


def test_a_program_learns_photos_in_memory(material: Path, tmp_path: Path) -> None:
    with Learner.create(tmp_path / "mine", TrainOptions(trunk=str(material / "trunk.onnx"))) as learner:
        learner.learn("warm", *photos(WARM, 20), test=photos(WARM, 10, 1))
        learner.learn("cold", *photos(COLD, 20))
        assert learner.accuracy(*photos((*WARM, *COLD), 10, 2)) > 0.85
        dreams, device = learner.dream("cold", 9, seed=3), EdgeModel.load(tmp_path / "mine" / "bundle")
        assert dreams.class_ids.tolist() == device.dream("cold", n=9, seed=3).class_ids.tolist()
        with pytest.raises(MygoEdgeError, match="takes pictures, not texts"):
            learner.answers(["a text"])


def test_options_that_do_nothing_above_a_trunk_are_said_and_those_of_gaussians_count(
    material: Path, tmp_path: Path
) -> None:
    idle = ("--sleep.steps", 7, "--wake.no-expert", "--memory.rank", 5, "--memory.power", 1)
    done = run(*source(material, "3,4,5/0,1,2"), *idle, "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    assert "--sleep.steps, --wake.expert do nothing above a trunk" in done.stdout
    with Learner.open(tmp_path / "run") as learner:
        shared = learner.runner.methods["mygo"].shared
    assert (shared.rank, shared.transform.power) == (5, 1.0)
    assert EdgeModel.load(tmp_path / "run" / "bundle").dream("task0", n=3).samples.shape == (3, FEATURES)


def test_classes_that_look_alike_are_a_poor_memory_and_that_is_said(
    material: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    images, _ = photos(("red",), 60)
    names = ["left", "right"] * 30
    with Learner.create(tmp_path / "mine", TrainOptions(trunk=str(material / "trunk.onnx"))) as learner:
        learner.learn("alike", images, names)
        (entry,) = learner.runner.methods["mygo"].memories
        assert entry["poor"]
        assert entry["told_apart"] < 0.75
    assert "the memory of alike is poor" in capsys.readouterr().err
    assert ">poor<" in (tmp_path / "mine" / "report.html").read_text()


def test_names_of_pictures_are_pictures_and_one_that_is_not_there_leaves_the_learner_as_it_was(
    material: Path, tmp_path: Path
) -> None:
    files = [str(path) for name in ("red", "blue") for path in sorted((material / "data" / "train" / name).iterdir())]
    names = ["red"] * 20 + ["blue"] * 20
    with Learner.create(tmp_path / "mine", TrainOptions(trunk=str(material / "trunk.onnx"))) as learner:
        with pytest.raises(MygoEdgeError, match=r"nowhere\.png is no file"):
            learner.learn("two", [*files[:-1], str(tmp_path / "nowhere.png")], names)
        learner.learn("two", files, names)
        assert learner.accuracy(files, names) > 0.9
