"""A box that sends rows of its classifier: devices answer as it does, updates are small, scores mean what it says."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mygo_edge.bundle.calibration import Calibration
from mygo_edge.bundle.gaussian import ClassMeans, PowerTransform, SharedFactor
from mygo_edge.bundle.rows import ClassRows
from mygo_edge.device.edge_model import EdgeModel
from mygo_edge.errors import MygoEdgeError
from mygo_edge.export.features import FeatureMemory, publish_features
from tests.export.test_publish_features import files, wide_trunk
from tests.features import LEARNER, PHOTO_TASKS, photo_memory, photos, publish_photos, with_rows

KNOWN = [colour for colours in PHOTO_TASKS.values() for colour in colours]


def test_a_device_answers_by_the_rows_and_says_so_to_older_readers(tmp_path: Path) -> None:
    memories, shared = photo_memory()
    version = publish_photos(tmp_path / "rows", 3, tasks=with_rows(memories, shared))
    publish_photos(tmp_path / "plain", 3)
    sent, computed = (EdgeModel.load(tmp_path / name) for name in ("rows", "plain"))
    found = photos(KNOWN, 20, seed=3)[0]
    gap = np.abs(sent.logits(found) - computed.logits(found)).max()
    assert gap < 0.1 * np.abs(computed.logits(found)).max()
    assert '"reader": 3' in (version / "manifest.json").read_text()
    assert (version / "means-warm.int8.npz").is_file()


def test_what_a_device_learns_stands_beside_rows_of_any_scale(tmp_path: Path) -> None:
    memories, shared = photo_memory()
    for name, scale in (("same", 1.0), ("sharper", 3.0)):
        publish_photos(tmp_path / name, 3, tasks=with_rows(memories, shared, scale))
        model = EdgeModel.load(tmp_path / name)
        images, labels = photos(["violet", "orange"], 5, seed=1)
        model.learn("new", images, labels)
        for colours in (["violet", "orange"], KNOWN):
            images, labels = photos(colours, 20, seed=4)
            right = np.mean([answer == label for (_, answer), label in zip(model.answers(images), labels, strict=True)])
            assert right > 0.6, (name, colours)


def test_scores_are_read_as_the_box_measured(tmp_path: Path) -> None:
    memories, shared = photo_memory()
    quantiles = np.linspace(10, 20, 11, dtype=np.float32)
    calibration = Calibration(4.0, quantiles)
    publish_photos(tmp_path / "sure", 3, tasks=with_rows(memories, shared))
    publish_photos(tmp_path / "right", 3, tasks=with_rows(memories, shared), calibration=calibration)
    sure, right = (EdgeModel.load(tmp_path / name) for name in ("sure", "right"))
    found = photos(KNOWN, 5, seed=3)[0]
    np.testing.assert_allclose(right.logits(found), sure.logits(found) / 4, rtol=1e-5)
    np.testing.assert_allclose(right.novelty(found), sure.novelty(found), rtol=1e-5)
    assert right.threshold(None, 0.2) == pytest.approx(18.0)


def test_rows_of_some_tasks_alone_are_not_published(tmp_path: Path) -> None:
    memories, shared = photo_memory()
    some = [*with_rows(memories[:2], shared), memories[2]]
    with pytest.raises(MygoEdgeError, match="1 of 3 tasks have no rows"):
        publish_photos(tmp_path, 3, tasks=some)


def test_with_rows_too_ten_classes_come_in_40_kb_or_130_and_81_take_half_a_megabyte(tmp_path: Path) -> None:
    """Nine tasks of nine classes, then one of ten, of 1,280 features and rank 64, besides the trunk."""
    rng = np.random.default_rng(0)

    def task(name: str, classes: int) -> FeatureMemory:
        means = rng.uniform(0, 2, (classes, 1280)).astype(np.float32)
        words = [f"{name}, class {index}" for index in range(classes)]
        rows = ClassRows(rng.normal(0, 20, (classes, 1280)).astype(np.float32), 1280.0)
        return FeatureMemory(name, words, ClassMeans(means, np.full(classes, 36)), rows)

    def again(memory: FeatureMemory) -> FeatureMemory:
        """With rows of another covariance."""
        rows = memory.rows
        assert rows is not None
        return memory._replace(rows=replace(rows, rows=rows.rows * np.float32(1.01), spread=1300.0))

    def size(new: dict[str, bytes], old: dict[str, bytes]) -> int:
        return sum(len(data) for name, data in new.items() if old.get(name) != data and name != "trunk.onnx")

    factor = (rng.normal(0, 0.1, (64, 1280))).astype(np.float32)
    shared = SharedFactor(factor, np.full(1280, 0.05, np.float32), PowerTransform(), 0.3, 1280.0)
    how = {"trunk": wide_trunk(1280), "learner_id": LEARNER, "max_loss": 1.0}
    tasks = [task(f"task{index}", 9) for index in range(9)]
    first = files(publish_features(tmp_path, tasks=tasks, shared=shared, sequence=9, **how))
    assert size(first, {}) <= 500_000
    tasks.append(task("task9", 10))
    stays = files(publish_features(tmp_path, tasks=tasks, shared=shared, sequence=10, **how))
    assert size(stays, first) <= 40_000
    # All rows anew leave a new factor no room; it comes with the next update that has some.
    fewer = tmp_path / "fewer"
    before = files(publish_features(fewer, tasks=tasks[:7], shared=shared, sequence=7, **how))
    said: list[str] = []
    moved = replace(shared, factor=factor[::-1] * np.float32(2))
    tasks = [again(memory) for memory in tasks]
    rows = files(publish_features(fewer, tasks=tasks[:8], shared=moved, sequence=8, say=said.append, **how))
    assert size(rows, before) <= 130_000
    assert any("stays until an update has room" in line for line in said), said
    last = files(publish_features(fewer, tasks=tasks[:9], shared=moved, sequence=9, **how))
    assert last["factor.int8.npz"] != rows["factor.int8.npz"]
    assert size(last, rows) <= 130_000
