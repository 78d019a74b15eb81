"""What a run leaves behind."""

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mygo_edge.bundle.reading import read_manifest
from mygo_edge.data.datasets import load
from mygo_edge.device.edge_model import EdgeModel
from mygo_edge.export.publication import publish_after_sleep
from mygo_edge.options import PublishOptions, TrainOptions
from mygo_edge.options_json import from_json
from mygo_edge.run.saved import open_learner
from tests.run.commands import TINY, run, summary


def test_the_folder_holds_what_the_contract_names(whole_run):
    folder, _ = whole_run
    present = {str(file.relative_to(folder)) for file in folder.rglob("*") if file.is_file()}
    assert {
        "config.json",
        "metrics.jsonl",
        "summary.json",
        "report.html",
        "checkpoint/state.json",
        "plots/accuracy-matrix.png",
        "plots/accuracy-over-tasks.png",
        "plots/dreams.png",
        "bundle/current",
        "bundle/v0002/manifest.json",
        "bundle/v0002/classifier.int8-weights.onnx",
        "bundle/v0002/generator-task0.int8-weights.onnx",
        "bundle/v0002/generator-task1.int8-weights.onnx",
        "bundle/v0002/selftest.npz",
    } <= present
    assert "bundle/v0002/classifier.onnx" not in present  # weights in int8 alone, a quarter of the bytes
    assert not [name for name in present if name.endswith((".pt", ".pth", ".pkl", ".tmp"))]


def test_the_summary_has_every_measure(whole_run):
    document = json.loads((whole_run[0] / "summary.json").read_text())
    assert (document["dataset"], document["seed"]) == ("digits", 0)
    for results in document["methods"].values():
        for key in ("task_known", "task_unknown"):
            assert [len(row) for row in results[key]["matrix"]] == [1, 2]
            assert set(results[key]) == {"matrix", "average", "forgetting", "backward_transfer"}
        counts = np.array(results["confusion"])
        assert counts.shape == (4, 4)
        assert results["per_class"] == pytest.approx((counts.diagonal() / counts.sum(1)).tolist())
        right = [counts[t : t + 2].diagonal(t).sum() / counts[t : t + 2].sum() for t in (0, 2)]
        assert right == pytest.approx(results["task_unknown"]["matrix"][-1])
        assert set(results["seconds"]) == {"wake", "memory", "sleep", "export", "total"}
        spent = {phase for phase, seconds in results["seconds"].items() if seconds and phase != "total"}
        assert set(results["peak_bytes"]["resident"]) == spent
        assert all(50e6 < peak < 50e9 for peak in results["peak_bytes"]["resident"].values())
        assert not results["peak_bytes"]["gpu"]
    mygo = document["methods"]["mygo"]
    assert 0 < mygo["dreams"]["label_fidelity"] <= 1
    assert 0 < mygo["dreams"]["classification_accuracy_score"] <= 1
    assert [set(sleep) for sleep in mygo["sleep"]] == [
        {"task", "loss_first", "loss_last", "feature_change", "moved_by_dreams", "dreams"}
    ] * 2
    assert all(sleep["feature_change"] > 0 for sleep in mygo["sleep"])
    assert mygo["bytes"]["equivalent_images"] == sum(mygo["bytes"]["generators"]) // 64


def test_the_configuration_is_the_options_as_used(whole_run):
    document = json.loads((whole_run[0] / "config.json").read_text())
    options = from_json(document["options"])
    assert options.sleep.steps == 60
    assert options.tasks == "0,1/2,3"
    assert document["versions"]["torch"]
    assert document["device"]["type"] == "cpu"


def test_metrics_are_one_json_object_a_line(whole_run):
    events = [json.loads(line) for line in (whole_run[0] / "metrics.jsonl").read_text().splitlines()]
    phases = [(event["task"], event["method"], event["phase"]) for event in events if event["event"] == "phase"]
    mygo = ["head", "expert", "memory", "sleep", "publish"]
    expected = [[(task, "mygo", phase) for phase in mygo] + [(task, "finetune", "finetune")] for task in (0, 1)]
    assert phases == expected[0] + expected[1]
    assert any(event["event"] == "step" and "critic_loss" in event for event in events)


def test_without_a_terminal_the_output_is_lines_of_keys_and_values(whole_run):
    lines = whole_run[1].splitlines()
    assert any(line.startswith("event=accuracy tasks=2 method=finetune task_known=") for line in lines)
    assert any(line.startswith("event=final method=mygo measure=task_known average=") for line in lines)


def test_plots_are_pictures_with_a_row_of_dreams_a_task(whole_run):
    for name in ("accuracy-matrix", "accuracy-over-tasks", "dreams"):
        with Image.open(whole_run[0] / "plots" / f"{name}.png") as picture:
            assert picture.width > 300
            assert np.asarray(picture.convert("L")).std() > 10


@pytest.mark.parametrize("known", [True, False])
def test_the_bundle_is_as_accurate_as_the_summary_says(whole_run, known):
    folder, _ = whole_run
    model = EdgeModel.load(folder / "bundle")
    test = load(TrainOptions()).test
    matrix = summary(folder)["methods"]["mygo"]["task_known" if known else "task_unknown"]["matrix"]
    for task, labels, expected in zip(("task0", "task1"), ((0, 1), (2, 3)), matrix[-1], strict=True):
        rows = sum(test.labels == label for label in labels).bool()
        names = [str(int(label)) for label in test.labels[rows]]
        answers = model.predict(test.inputs[rows].numpy(), task if known else None)
        right = sum(a == b for a, b in zip(answers, names, strict=True))
        # The summary is of the network before its weights are in int8, which may turn an image that is on the edge.
        assert right == pytest.approx(expected * len(names), abs=1.01)


def test_export_writes_the_same_graphs_from_the_checkpoint(whole_run, tmp_path):
    folder, _ = whole_run
    done = run(folder, "--to", tmp_path / "bundle", module="export")
    assert done.returncode == 0, done.stderr
    version = Path(done.stdout.strip())
    assert version.parent == tmp_path / "bundle"
    assert int(version.name[1:]) > 2  # the run published twice before
    for name in (
        "classifier.int8-weights.onnx",
        "generator-task0.int8-weights.onnx",
        "generator-task1.int8-weights.onnx",
    ):
        assert (version / name).read_bytes() == (folder / "bundle" / "v0002" / name).read_bytes()


def test_where_small_weights_lose_too_much_fp32_is_published(whole_run, tmp_path):
    folder, _ = whole_run
    config = json.loads((folder / "config.json").read_text())
    assert config["options"]["publish"] == {"precision": "int8-weights", "max_loss": 0.005}
    saved = open_learner(folder)
    never = PublishOptions(max_loss=0.0)  # no answer and no pixel may change, and some do
    how = {"learner_id": saved.run_id, "sequence": 7}
    version, why = publish_after_sleep(tmp_path / "bundle", saved.method, saved.tasks, never, **how)
    assert "published in fp32: " in why
    assert ", and 0 is allowed" in why
    assert {entry.precision for entry in read_manifest(version).files} == {"fp32"}


def test_export_in_int8_says_what_it_measured_and_a_device_predicts_with_it(whole_run, tmp_path):
    folder, _ = whole_run
    to = ("--to", tmp_path / "bundle", "--precision", "int8")
    done = run(folder, *to, "--max-loss", "0.2", "--data-root", tmp_path, module="export")
    assert (done.returncode, str(Path(done.stdout.strip()).parent)) == (0, str(tmp_path / "bundle")), done.stderr
    for words in ("range calibrated on dreams", "agreement with fp32 on dreams", "accuracy on real images"):
        assert words in done.stderr
    model = EdgeModel.load(tmp_path / "bundle", precision="int8")
    images = model.dream("task0", n=50).images
    same = np.equal(model.predict(images), EdgeModel.load(tmp_path / "bundle").predict(images))
    assert same.mean() > 0.9
    np.save(tmp_path / "images.npy", images)
    answer = run(tmp_path / "bundle", tmp_path / "images.npy", "--precision", "int8", module="predict")
    assert answer.stdout.count("\n") == 50, answer.stderr
    refused = run(folder, *to, "--max-loss", "0", module="export")
    assert (refused.returncode, refused.stdout) == (2, "")
    assert refused.stderr.splitlines()[-1].startswith("error: ")
    assert "is not published" in refused.stderr


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--precision", "int4"), "use one of fp32, fp16, int8, int8-weights"),
        (("--max-loss", "2"), "must be a fraction"),
        (("--data-root", "."), "give --precision too"),
        (("--max-loss", "nan"), "must be a fraction"),
        (("--max-loss", "0.1"), "give --precision too"),
    ],
)
def test_export_refuses_options_that_cannot_work_in_one_line(tmp_path, arguments, words):
    done = run(tmp_path, *arguments, module="export")
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert words in done.stderr


def test_colour_images_of_a_folder_go_all_the_way_to_the_device(tmp_path):
    rng = np.random.default_rng(0)
    for name, colour in (("blue", (0, 0, 1)), ("green", (0, 1, 0)), ("pink", (1, 0, 1)), ("red", (1, 0, 0))):
        (tmp_path / "images" / name).mkdir(parents=True)
        for number in range(60):
            pixels = np.zeros((16, 16, 3), np.uint8)
            row, column = rng.integers(0, 9, 2)
            pixels[row : row + 8, column : column + 8] = rng.integers(120, 256) * np.array(colour)
            Image.fromarray(pixels).save(tmp_path / "images" / name / f"{number}.png")
    source = ["--dataset", "folder", "--data-root", tmp_path / "images", "--folder.size", "16", "--methods", "mygo"]
    gan = ["--memory.generator", "convolutional", "--wake.batch-size", "32"]  # images in colour have patches else
    done = run(*TINY, *source, *gan, "--out", tmp_path / "run")
    assert done.returncode == 0, done.stderr
    model = EdgeModel.load(tmp_path / "run" / "bundle")
    assert dict(model.tasks) == {"task0": ("blue", "green"), "task1": ("pink", "red")}
    dreams = model.dream("task1", class_id="red", n=50).images.mean((0, 2, 3))  # mean of red, green, blue
    assert dreams[0] > 2 * dreams[2]
    picture = tmp_path / "images" / "green" / "0.png"
    answer = run(tmp_path / "run" / "bundle", picture, "--task", "task0", module="predict")
    assert "green" in answer.stdout, answer.stderr


def test_export_refuses_what_is_not_a_run_in_one_line(tmp_path):
    done = run(tmp_path, module="export")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "holds no run" in done.stderr
