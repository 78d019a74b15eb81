"""Publishing: the layout on disk, what stays and what goes, and that no kill leaves a device without a version."""

import json
import os
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path

import onnx
import pytest
import torch

from mygo_edge.device.edge_model import EdgeModel
from mygo_edge.errors import MygoEdgeError
from mygo_edge.export.bundle import publish
from mygo_edge.files import sha256
from tests.bundles import SHAPE, TASKS, publish_tiny, replace_file, tiny_generators, tiny_net


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_a_version_has_the_promised_files(tmp_path: Path) -> None:
    folder = publish_tiny(tmp_path / "run" / "bundle", 2)
    assert folder == tmp_path / "run" / "bundle" / "v0002"
    assert names(folder.parent) == ["current", "v0002"]
    assert (folder.parent / "current").read_text() == "v0002\n"
    graphs = ["classifier.onnx", "generator-parity.onnx", "generator-size.onnx"]
    assert names(folder) == [*graphs, "manifest.json", "selftest.npz"]


def test_the_manifest_says_what_the_version_is(tmp_path: Path) -> None:
    folder = publish_tiny(tmp_path, 2)
    manifest = json.loads((folder / "manifest.json").read_text())
    assert (manifest["schema_version"], manifest["sequence"]) == ("2.0", 2)
    assert datetime.fromisoformat(manifest["created"]).utcoffset() == timedelta(0)
    assert manifest["tasks"] == [
        {"name": name, "classes": classes, "head": f"logits_{name}", "generator": "convolutional"}
        for name, classes in TASKS[:2]
    ]
    assert manifest["input"] == {"shape": list(SHAPE), "dtype": "uint8", "mean": [0.5], "std": [0.5]}
    assert [(entry["role"], entry.get("task"), entry["precision"]) for entry in manifest["files"]] == [
        ("classifier", None, "fp32"),
        ("generator", "parity", "fp32"),
        ("generator", "size", "fp32"),
        ("selftest", None, "fp32"),
    ]
    for entry in manifest["files"]:
        data = (folder / entry["path"]).read_bytes()
        assert (entry["bytes"], entry["sha256"]) == (len(data), sha256(data))
    assert set(manifest["producer"]) == {"mygo_edge", "torch", "onnx", "onnxruntime"}


def test_the_last_two_versions_stay(tmp_path: Path) -> None:
    for tasks in (1, 2, 3):
        publish_tiny(tmp_path, tasks)
    assert names(tmp_path) == ["current", "v0002", "v0003"]


def test_a_run_that_starts_again_keeps_its_own_last_two_versions(tmp_path: Path) -> None:
    for sequence in (4, 5, 1, 2):
        publish_tiny(tmp_path, 1, sequence=sequence, seed=sequence)
    assert names(tmp_path) == ["current", "v0001", "v0002"]


def test_the_same_version_published_again_is_left_alone(tmp_path: Path) -> None:
    publish_tiny(tmp_path, 1)
    before = (publish_tiny(tmp_path, 2) / "manifest.json").stat()
    assert (publish_tiny(tmp_path, 2) / "manifest.json").stat() == before
    assert names(tmp_path) == ["current", "v0001", "v0002"]


def test_a_live_version_is_never_overwritten_but_followed_by_a_revision(tmp_path: Path) -> None:
    first = (publish_tiny(tmp_path, 1) / "classifier.onnx").read_bytes()
    assert publish_tiny(tmp_path, 1, seed=1).name == "v0001.1"
    assert (tmp_path / "v0001" / "classifier.onnx").read_bytes() == first
    assert publish_tiny(tmp_path, 1, seed=2).name == "v0001.2"
    assert names(tmp_path) == ["current", "v0001.1", "v0001.2"]
    assert EdgeModel.load(tmp_path).version == "v0001.2"


def test_a_damaged_live_version_is_followed_by_a_whole_one(tmp_path: Path) -> None:
    (publish_tiny(tmp_path, 1) / "classifier.onnx").write_bytes(b"")
    assert publish_tiny(tmp_path, 1).name == "v0001.1"
    assert EdgeModel.load(tmp_path).version == "v0001.1"


def test_an_old_generator_keeps_its_very_bytes(tmp_path: Path) -> None:
    first = publish_tiny(tmp_path, 1)
    model = onnx.load(first / "generator-parity.onnx")
    model.producer_version = "of another time"  # the same weights, exported by another release
    replace_file(first, "generator-parity.onnx", model.SerializeToString())
    second = publish_tiny(tmp_path, 2)
    assert (second / "generator-parity.onnx").read_bytes() == (first / "generator-parity.onnx").read_bytes()


def test_a_damaged_old_generator_is_exported_anew(tmp_path: Path) -> None:
    path = publish_tiny(tmp_path, 1) / "generator-parity.onnx"
    whole = path.read_bytes()
    path.write_bytes(whole[:-8] + bytes(8))
    assert (publish_tiny(tmp_path, 2) / "generator-parity.onnx").read_bytes() == whole


def test_an_old_generator_with_other_weights_and_a_right_hash_is_not_published(tmp_path: Path) -> None:
    first = publish_tiny(tmp_path, 1)
    model = onnx.load(first / "generator-parity.onnx")
    weight = model.graph.initializer[0]
    weight.raw_data = bytes(len(weight.raw_data))
    replace_file(first, "generator-parity.onnx", model.SerializeToString())
    with pytest.raises(MygoEdgeError, match=r"generator-parity\.onnx: image differs"):
        publish_tiny(tmp_path, 2)


def test_publishing_prints_nothing_and_leaves_network_and_random_state_as_they_were(
    tmp_path: Path, capfd: pytest.CaptureFixture[str], recwarn: pytest.WarningsRecorder
) -> None:
    net = tiny_net(1).train()
    random_state = torch.get_rng_state()
    publish(tmp_path, net=net, generators=tiny_generators(1), tasks=TASKS[:1], mean=[0.5], std=[0.5], sequence=1)
    assert torch.equal(torch.get_rng_state(), random_state)
    assert net.training
    assert all(parameter.requires_grad for parameter in net.parameters())
    assert capfd.readouterr() == ("", "")
    assert not recwarn.list


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"precision": "int4"}, MygoEdgeError, "precision 'int4' cannot be exported; use one of fp32, fp16, int8"),
        ({"tasks": [("a/b", ["x", "y"])]}, MygoEdgeError, "name 'a/b' must match"),
        ({"tasks": [("a", ["x", "x"])]}, MygoEdgeError, "class 'x' occurs twice"),
        ({"tasks": [("a", ["x", "y", "z"])]}, ValueError, "need as many heads and generators"),
        ({"generators": []}, ValueError, "need as many heads and generators"),
        ({"mean": [0.5, 0.5]}, MygoEdgeError, "one number a channel"),
        ({"sequence": -1}, MygoEdgeError, "sequence must be from 0"),
    ],
)
def test_what_cannot_be_published_is_refused_and_the_live_version_stays(
    tmp_path: Path, change: dict[str, object], error: type[Exception], words: str
) -> None:
    publish_tiny(tmp_path, 1)
    arguments = {
        "net": tiny_net(1, seed=1),
        "generators": tiny_generators(1),
        "tasks": TASKS[:1],
        "mean": [0.5],
        "std": [0.5],
        "sequence": 2,
    }
    with pytest.raises(error, match=words):
        publish(tmp_path, **(arguments | change))
    assert names(tmp_path) == ["current", "v0001"]
    assert EdgeModel.load(tmp_path).version == "v0001"


def test_a_network_that_diverged_is_not_published(tmp_path: Path) -> None:
    net = tiny_net(1)
    with torch.no_grad():
        net.features[0].weight[0, 0, 0, 0] = torch.inf
    with pytest.raises(MygoEdgeError, match="the classifier has weights that are not finite"):
        publish(tmp_path, net=net, generators=tiny_generators(1), tasks=TASKS[:1], mean=[0.5], std=[0.5], sequence=1)


SOAK = pytest.mark.skipif("MYGO_EDGE_SOAK" not in os.environ, reason="takes a minute; set MYGO_EDGE_SOAK=1")


@pytest.mark.parametrize("precision", ["fp32", pytest.param("int8", marks=SOAK)])
def test_a_kill_at_any_moment_leaves_a_whole_version_and_publishing_again_mends_the_rest(
    tmp_path: Path, precision: str
) -> None:
    publish_tiny(tmp_path / "source", 1, sequence=0, seed=1)  # the one that version 2 removes
    publish_tiny(tmp_path / "source", 1)
    script = Path(__file__).with_name("killed_publisher.py")
    (tmp_path / "killed").mkdir()
    arguments = [str(script), str(tmp_path / "source"), str(tmp_path / "killed"), precision]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}  # what a killed quantiser leaves behind
    subprocess.run([sys.executable, *arguments], check=True, env=environment)
    folders = sorted((tmp_path / "killed").iterdir(), key=lambda folder: int(folder.name))
    assert len(folders) > 20
    versions = [EdgeModel.load(folder).version for folder in folders]
    switch = versions.index("v0002")
    assert set(versions[:switch]) == {"v0001"}
    assert set(versions[switch:]) == {"v0002"}
    for folder in folders:
        publish_tiny(folder, 2, precision=precision)
        assert EdgeModel.load(folder, precision=precision).version == "v0002"
        assert names(folder) == ["current", "v0001", "v0002"]
