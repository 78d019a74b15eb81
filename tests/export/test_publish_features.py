"""What a box publishes of a memory of features: what stays, what is new, how small it is, and what is not published."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from mygo_edge.bundle.gaussian import ClassMeans, PowerTransform, SharedFactor
from mygo_edge.bundle.gaussian_files import write_means
from mygo_edge.bundle.manifest import BundleError, ImageInput, TrunkFormat
from mygo_edge.bundle.reading import read_bundle
from mygo_edge.device.edge_model import EdgeModel
from mygo_edge.errors import MygoEdgeError
from mygo_edge.export.errors import PrecisionLossError
from mygo_edge.export.feature_gate import LabelledVectors, Memory, divergence, labelled_vectors
from mygo_edge.export.features import FeatureMemory, Precisions, publish_features
from mygo_edge.export.trunks import TrunkFiles
from mygo_edge.update.updater import update
from tests.damage import replace_file
from tests.features import (
    LEARNER,
    own_covariances,
    photo_memory,
    photo_trunk,
    publish_photos,
    publish_texts,
    text_memory,
    text_trunk,
    texts,
    with_rows,
)


def files(version: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in version.iterdir()}


def test_trunk_and_means_never_change_and_the_factor_only_where_dreams_would(tmp_path: Path) -> None:
    memories, shared = photo_memory()
    published = []
    for count, factor in ((1, shared), (2, shared), (3, replace(shared, factor=shared.factor * np.float32(1.01)))):
        publish_photos(tmp_path, count, tasks=memories[:count], shared=factor)
        published.append(files(tmp_path / f"v{count:04d}"))
    first, second, third = published
    for name in ("trunk.onnx", "means-warm.fp16.npz", "factor.int8.npz"):
        assert first[name] == second[name] == third[name]
    assert second["means-cold.fp16.npz"] == third["means-cold.fp16.npz"]
    said: list[str] = []
    wider = replace(shared, factor=shared.factor * np.float32(1.5))
    version = publish_photos(tmp_path, 3, tasks=memories, shared=wider, sequence=4, say=said.append)
    assert files(version)["factor.int8.npz"] != third["factor.int8.npz"]
    assert files(version)["means-warm.fp16.npz"] == third["means-warm.fp16.npz"]
    assert any("nats a feature from the live one, which is replaced" in line for line in said)


def test_means_stay_even_where_they_would_be_written_in_other_bytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As another version of numpy may."""
    memories, shared = photo_memory()
    before = files(publish_photos(tmp_path, 2, tasks=memories[:2], shared=shared))
    monkeypatch.setattr("mygo_edge.export.features.write_means", lambda *args: write_means(*args) + b"\0")
    after = files(publish_photos(tmp_path, 3, tasks=memories, shared=shared))
    for name in ("means-warm.fp16.npz", "means-cold.fp16.npz"):
        assert after[name] == before[name]


def test_the_same_again_publishes_nothing_new(tmp_path: Path) -> None:
    first = publish_photos(tmp_path, 2)
    before = (first / "manifest.json").stat()
    assert publish_photos(tmp_path, 2) == first
    assert (first / "manifest.json").stat() == before


def test_the_manifest_says_what_a_device_needs(tmp_path: Path) -> None:
    publish_texts(tmp_path)
    manifest = read_bundle(tmp_path).manifest
    assert (manifest.id, manifest.latent, manifest.features, manifest.input) == (LEARNER, 8, 24, None)
    assert {task.generator for task in manifest.tasks} == {"gaussian"}
    roles = {entry.path: entry.role for entry in manifest.files}
    assert roles == {
        "trunk.onnx": "trunk",
        "tokenizer.json": "tokenizer",
        "means-first.fp16.npz": "generator",
        "means-second.fp16.npz": "generator",
        "factor.int8.npz": "factor",
        "selftest.npz": "selftest",
    }


def test_an_update_brings_the_new_means_and_little_else(tmp_path: Path) -> None:
    memories, shared = photo_memory()
    box, device = tmp_path / "box", tmp_path / "device"
    for count in (2, 3):
        publish_photos(box, count, tasks=memories[:count], shared=shared)
        report = update(str(box), device)
    assert set(report.fetched) == {"means-grey.fp16.npz", "selftest.npz"}
    assert list(EdgeModel.load(device).tasks) == ["warm", "cold", "grey"]


def wide_trunk(features: int) -> TrunkFiles:
    """A trunk of as many features as EfficientNet-Lite0's."""
    weight = np.random.default_rng(0).normal(0, 1, (features, 3, 1, 1)).astype(np.float32)
    nodes = [
        helper.make_node("Cast", ["image"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("Conv", ["pixels", "weight"], ["hidden"]),
        helper.make_node("GlobalAveragePool", ["hidden"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["features"], axis=1),
    ]
    graph = helper.make_graph(
        nodes,
        "trunk",
        [helper.make_tensor_value_info("image", TensorProto.UINT8, ["batch", 3, 8, 8])],
        [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["batch", features])],
        [numpy_helper.from_array(weight, "weight")],
    )
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 18)])
    form = ImageInput((8, 8), None, "none", "bicubic", (0.5,) * 3, (0.5,) * 3)
    return TrunkFiles(model.SerializeToString(), TrunkFormat("a" * 64, "trunk.onnx", "features", features, form))


def test_ten_classes_come_in_40_kb_with_the_factor_130_and_81_classes_in_half_a_megabyte(tmp_path: Path) -> None:
    """Nine tasks of nine classes, then one of ten, of 1,280 features and rank 64, besides the trunk."""
    rng = np.random.default_rng(0)

    def task(name: str, classes: int) -> FeatureMemory:
        means = rng.uniform(0, 2, (classes, 1280)).astype(np.float32)
        words = [f"{name}, class {index}" for index in range(classes)]
        return FeatureMemory(name, words, ClassMeans(means, np.full(classes, 36)))

    factor = (rng.normal(0, 0.1, (64, 1280))).astype(np.float32)
    shared = SharedFactor(factor, np.full(1280, 0.05, np.float32), PowerTransform(), 0.3, 1280.0)
    how = {"trunk": wide_trunk(1280), "learner_id": LEARNER}
    tasks = [task(f"task{index}", 9) for index in range(9)]
    first = publish_features(tmp_path, tasks=tasks, shared=shared, sequence=9, **how)
    before = files(first)
    assert sum(len(data) for name, data in before.items() if name != "trunk.onnx") <= 500_000
    tasks.append(task("task9", 10))
    stays = files(publish_features(tmp_path, tasks=tasks, shared=shared, sequence=10, **how))
    assert sum(len(data) for name, data in stays.items() if before.get(name) != data) <= 40_000
    moved = replace(shared, factor=factor[::-1] * np.float32(1.3))
    other = files(publish_features(tmp_path, tasks=tasks, shared=moved, sequence=11, **how))
    assert sum(len(data) for name, data in other.items() if before.get(name) != data) <= 130_000


def test_covariances_of_classes_own_reach_the_device_in_answers_and_dreams(tmp_path: Path) -> None:
    memories, shared = text_memory()
    own = own_covariances(shared, 3)
    version = publish_texts(tmp_path / "own", own=own)
    assert (version / "covariances.int8.npz").stat().st_size < 3000
    publish_texts(tmp_path / "shared")
    model, plain = (EdgeModel.load(tmp_path / name) for name in ("own", "shared"))
    found, _ = texts(["sport", "money", "space"], 20, seed=5)
    vectors = shared.transform(model._engine.trunk.vectors(found))  # type: ignore[attr-defined]
    box = Memory([memory.means for memory in memories], shared, own).classifier()(vectors)
    gap = (model.logits(found) - model.logits(found)[:, :1]) - (box - box[:, :1])
    assert np.abs(gap).max() < 0.02 * np.abs(box - box[:, :1]).max()
    assert np.abs(model.logits(found) - plain.logits(found)).max() > 1
    # Dreams spread in those directions as their class does.
    dreamt = shared.transform(model.dream("second", "space", 4000).samples)
    raw = plain.dream("second", "space", 4000).samples
    ratio = np.var(dreamt @ own.directions.T, axis=0) / np.var(shared.transform(raw) @ own.directions.T, axis=0)
    assert np.corrcoef(ratio, own.covariances[2].diagonal())[0, 1] > 0.95


def test_covariances_that_are_none_are_refused(tmp_path: Path) -> None:
    version = publish_texts(tmp_path, own=own_covariances(text_memory()[1], 3))
    replace_file(version, "covariances.int8.npz", b"PK no archive")
    with pytest.raises(BundleError, match=r"v0001/covariances\.int8\.npz holds no covariances"):
        EdgeModel.load(tmp_path)


def test_a_precision_that_loses_answers_is_not_published_and_the_live_version_stays(tmp_path: Path) -> None:
    memories, _ = photo_memory(["warm", "cold"])
    publish_photos(tmp_path, 2)
    # A mean far from 0 in one feature leaves no levels for the others.
    far = np.zeros(24, np.float32)
    far[0] = 5000
    moved = [memory._replace(means=replace(memory.means, means=memory.means.means + far)) for memory in memories]
    with pytest.raises(PrecisionLossError, match=r"the memory is not published: .* falls from"):
        publish_photos(tmp_path, 2, tasks=moved, sequence=3, precisions=Precisions("int8", "int8"), max_loss=0.005)
    assert EdgeModel.load(tmp_path).version == "v0002"


def test_classes_that_look_the_same_do_not_keep_a_memory_from_being_published(tmp_path: Path) -> None:
    memories, shared = photo_memory(["warm", "cold"])
    means = [memory.means.means.copy() for memory in memories]
    means[1][0] = means[0][0]  # which of the two it is, is a matter of rounding
    alike = [
        memory._replace(means=replace(memory.means, means=own)) for memory, own in zip(memories, means, strict=True)
    ]
    publish_photos(tmp_path, 2, tasks=with_rows(alike, shared), shared=shared, max_loss=0.005)


@pytest.mark.parametrize("precisions", [Precisions("fp32", "fp32"), Precisions("fp16", "fp16"), Precisions("int8")])
def test_every_precision_loads_and_answers_alike(tmp_path: Path, precisions: Precisions) -> None:
    publish_photos(tmp_path / "exact", 2, precisions=Precisions("fp32", "fp32"))
    publish_photos(tmp_path / "stored", 2, precisions=precisions)
    exact, stored = (EdgeModel.load(tmp_path / name) for name in ("exact", "stored"))
    images = np.random.default_rng(0).integers(0, 256, (50, 8, 8, 3), dtype=np.uint8)
    assert np.mean(np.array(exact.predict(images)) == stored.predict(images)) > 0.9


def test_real_features_are_compared_too_where_there_are_some(tmp_path: Path) -> None:
    memories, _ = photo_memory(["warm", "cold"])
    real = [LabelledVectors(memory.means.means, np.arange(len(memory.classes))) for memory in memories]
    said: list[str] = []
    publish_photos(tmp_path, 2, real=real, say=said.append)
    assert "the memory: accuracy on real features, task unknown, 1.0000, fp32 1.0000" in said


def test_what_does_not_fit_is_not_published(tmp_path: Path) -> None:
    (warm, cold), _ = photo_memory(["warm", "cold"])
    endless = replace(warm.means, means=np.full_like(warm.means.means, np.inf))
    for tasks, words in (
        ([warm._replace(classes=["red"]), cold], "task warm: 1 classes need as many means"),
        ([warm._replace(means=endless), cold], "finite"),
        ([warm._replace(name="../warm"), cold], "must match"),
    ):
        with pytest.raises(MygoEdgeError, match=words):
            publish_photos(tmp_path, tasks=tasks)
    with pytest.raises(MygoEdgeError, match="takes text and has no tokenizer"):
        publish_texts(tmp_path, trunk=text_trunk()._replace(tokenizer=None))
    with pytest.raises(MygoEdgeError, match="must match"):
        publish_photos(tmp_path, trunk=photo_trunk()._replace(precision="int8"))
    assert not list(tmp_path.iterdir())


def test_the_divergence_of_dreams_is_that_of_their_gaussians() -> None:
    memories, shared = photo_memory(["warm", "cold"])
    other = replace(shared, factor=shared.factor * np.float32(1.2), diagonal=shared.diagonal * np.float32(0.8))

    def covariance(factor: SharedFactor) -> np.ndarray:
        return factor.factor.T.astype(np.float64) @ factor.factor + np.diag(factor.diagonal)

    old, new = covariance(shared), covariance(other)
    dense = np.trace(np.linalg.solve(old, new)) - 24 + np.linalg.slogdet(old)[1] - np.linalg.slogdet(new)[1]
    assert divergence(other, shared) == pytest.approx(dense / 48, rel=1e-6)
    assert divergence(shared, shared) == pytest.approx(0, abs=1e-9)
    assert divergence(shared, replace(shared, transform=PowerTransform(1.0))) == float("inf")
    samples = labelled_vectors(Memory([memory.means for memory in memories], shared))
    assert [len(sample.class_id) for sample in samples] == [1000, 1500]  # 500 of a class
