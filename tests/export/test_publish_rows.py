"""A box that sends rows of its classifier: devices answer as it does, updates are small, scores mean what it says."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from mygo_edge.bundle.calibration import Calibration
from mygo_edge.bundle.gaussian import ClassMeans, PowerTransform, SharedFactor
from mygo_edge.bundle.prior import prior_logits
from mygo_edge.bundle.rows import ClassRows
from mygo_edge.device.edge_model import EdgeModel
from mygo_edge.errors import MygoEdgeError
from mygo_edge.export.features import FeatureMemory, publish_features
from tests.export.test_publish_features import files, wide_trunk
from tests.features import (
    LEARNER,
    PHOTO_TASKS,
    moved,
    photo_memory,
    photos,
    publish_corrected_photos,
    publish_photos,
    with_rows,
)

KNOWN = [colour for colours in PHOTO_TASKS.values() for colour in colours]


def test_a_device_answers_by_the_rows_and_says_so_to_older_readers(tmp_path: Path) -> None:
    memories, shared = photo_memory()
    version = publish_photos(tmp_path / "rows", 3, tasks=with_rows(memories, shared))
    publish_photos(tmp_path / "plain", 3)
    sent, computed = (EdgeModel.load(tmp_path / name) for name in ("rows", "plain"))
    found = photos(KNOWN, 20, seed=3)[0]
    gap = np.abs(sent.logits(found) - computed.logits(found)).max()
    assert gap < 0.1 * np.abs(computed.logits(found)).max()
    assert '"reader":7' in (version / "manifest.json").read_text()
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


def test_frequent_classes_are_favoured_by_what_the_box_chose_and_nothing_else_changes(tmp_path: Path) -> None:
    memories, shared = photo_memory()
    uneven = np.array([5, 30, 200])
    cold = memories[1]._replace(means=ClassMeans(memories[1].means.means, uneven))
    tasks = with_rows([memories[0], cold, memories[2]], shared)
    calibration = Calibration(4.0, np.linspace(10, 20, 11, dtype=np.float32))
    how = {"tasks": tasks, "calibration": calibration}
    plain = publish_photos(tmp_path / "plain", 3, **how)
    version = publish_photos(tmp_path / "prior", 3, **how, prior=6.0)
    assert '"reader":7' in (plain / "manifest.json").read_text()
    assert '"reader":7' in (version / "manifest.json").read_text()
    assert "prior" not in json.loads((plain / "manifest.json").read_text())
    even, favoured = (EdgeModel.load(tmp_path / name) for name in ("plain", "prior"))
    found = photos(KNOWN, 5, seed=3)[0]
    added = prior_logits(np.array([30, 30, *uneven, 30, 30]), 6.0)
    np.testing.assert_allclose(favoured.logits(found), even.logits(found) + added / 4, atol=1e-4)
    assert added[2] < 0 == added[3] < added[4]
    assert np.array_equal(favoured.novelty(found), even.novelty(found))
    # Of what is learnt here it is not known how frequent it will be: it stands as beside classes equally likely.
    new, labels = photos(["violet", "orange"], 2, seed=1)
    for model in (even, favoured):
        model.learn("new", new, labels)
    assert np.array_equal(favoured.logits(found, task="new"), even.logits(found, task="new"))


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
    # New rows leave a new factor no room; it comes with the next update that has some.
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


def test_a_factor_that_no_update_has_room_for_does_not_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As those of trunks with many features: waiting, devices would dream by the first for good."""
    memories, shared = photo_memory()
    before = files(publish_photos(tmp_path, 2, tasks=with_rows(memories[:2], shared, 1.5)))
    size = len(before["factor.int8.npz"])
    new = {"tasks": with_rows(memories, moved(shared)), "shared": moved(shared), "max_loss": 1.0}
    found = {}
    for most in (size + 50, size - 50):
        monkeypatch.setattr("mygo_edge.export.features.MAX_UPDATE", most)
        box = Path(shutil.copytree(tmp_path, tmp_path.with_name(f"{tmp_path.name}-{most}")))
        found[most] = files(publish_photos(box, 3, **new))["factor.int8.npz"]
    assert found[size + 50] == before["factor.int8.npz"]
    assert found[size - 50] != before["factor.int8.npz"]


def test_rows_of_200_classes_follow_a_new_covariance_within_130_kb(tmp_path: Path) -> None:
    """By a correction, by which devices answer as by rows made anew; where it fails, rows come anew after all."""
    rng = np.random.default_rng(0)
    means = rng.uniform(0, 2, (210, 1280)).astype(np.float32)
    shared = SharedFactor(
        rng.normal(0, 0.1, (64, 1280)).astype(np.float32),
        np.full(1280, 0.05, np.float32),
        PowerTransform(),
        0.3,
        1280.0,
    )

    def tasks(count: int, scales: np.ndarray, spread: float) -> list[FeatureMemory]:
        """Rows of a covariance that differs from another in so many directions, by as much."""
        rows = ((means - 1) * 5 * (1 + scales)).astype(np.float32)
        parts = [slice(10 * index, 10 * index + 10) for index in range(count)]
        counts = np.full(10, 36)
        return [
            FeatureMemory(
                f"task{index}",
                [f"class {number}" for number in range(10)],
                ClassMeans(means[part], counts),
                ClassRows(rows[part], spread),
            )
            for index, part in enumerate(parts)
        ]

    how = {"trunk": wide_trunk(1280), "learner_id": LEARNER, "shared": shared, "max_loss": 1.0}
    few = np.where(np.arange(1280) < 20, 3.0, 0.0)
    before = files(publish_features(tmp_path, tasks=tasks(20, 0 * few, 1280.0), sequence=20, **how))
    version = publish_features(tmp_path, tasks=tasks(21, few, 1300.0), sequence=21, **how)
    after = files(version)
    fresh = {name: data for name, data in after.items() if before.get(name) != data}
    assert set(fresh) == {
        "means-task20.int8.npz",
        "rows-task20.int8.npz",
        "correction.int8.npz",
        "selftest.npz",
        "manifest.json",
    }
    assert sum(map(len, fresh.values())) <= 130_000
    assert '"reader":7' in (version / "manifest.json").read_text()
    anew = tmp_path / "anew"
    publish_features(anew, tasks=tasks(21, few, 1300.0), sequence=21, **how)
    seen = np.random.default_rng(1).integers(0, 256, (20, 3, 8, 8), dtype=np.uint8)
    here, there = (EdgeModel.load(folder).logits(seen) for folder in (tmp_path, anew))
    assert np.abs(here - there).max() < 0.02 * np.abs(there).max()
    everywhere = np.random.default_rng(2).normal(0, 30, (210, 1280))
    others = files(publish_features(tmp_path, tasks=tasks(21, everywhere, 1310.0), sequence=22, **how))
    assert "correction.int8.npz" not in others


def test_a_correction_stays_while_the_covariance_does_and_goes_with_a_task_that_is_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = files(publish_corrected_photos(tmp_path, monkeypatch))
    memories, shared = photo_memory()
    tasks = with_rows(memories, moved(shared))
    new = replace_name(tasks[0], "more")
    second = files(publish_photos(tmp_path, 4, tasks=[*tasks, new], max_loss=1.0))
    sent = [name for name in first if name.startswith(("rows", "correction", "means"))]
    assert "correction.int8.npz" in sent
    assert all(first[name] == second[name] for name in sent)
    third = files(publish_photos(tmp_path, 5, tasks=[*tasks[1:], new], max_loss=1.0))
    assert "correction.int8.npz" not in third
    assert third["rows-cold.int8.npz"] != second["rows-cold.int8.npz"]


def replace_name(memory: FeatureMemory, name: str) -> FeatureMemory:
    return memory._replace(name=name, classes=[f"{name} {label}" for label in memory.classes])


def test_rows_that_come_anew_leave_room_for_the_files_that_name_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An update with rows of all tasks, and the older tasks that name these, is within its bound; else they stay."""
    rng = np.random.default_rng(0)
    shared = SharedFactor(
        rng.normal(0, 0.1, (8, 64)).astype(np.float32), np.full(64, 0.05, np.float32), PowerTransform(), 0.3, 64.0
    )
    means = rng.uniform(0, 2, (300, 64)).astype(np.float32)

    def tasks(count: int, scales: np.ndarray, spread: float) -> list[FeatureMemory]:
        parts = [slice(10 * index, 10 * index + 10) for index in range(count)]
        names = [f"class {number}" for number in range(10)]
        return [
            FeatureMemory(
                f"task{index}",
                names,
                ClassMeans(means[part], np.full(10, 36)),
                ClassRows(((means[part] - 1) * scales).astype(np.float32), spread),
            )
            for index, part in enumerate(parts)
        ]

    how = {"trunk": wide_trunk(64), "learner_id": LEARNER, "shared": shared, "max_loss": 1.0}
    before = files(publish_features(tmp_path, tasks=tasks(29, np.ones(64), 64.0), sequence=29, **how))
    old = {name: len(data) for name, data in before.items() if name.startswith(("rows-", "tasks-"))}
    named = sum(size for name, size in old.items() if name.startswith("tasks-"))
    assert named > 12_000
    for room, comes in ((sum(old.values()) + 15_000, True), (sum(old.values()) - named + 15_000, False)):
        monkeypatch.setattr("mygo_edge.export.features.MAX_UPDATE", room)
        monkeypatch.setattr("mygo_edge.export.feature_rows._RANKS", (4, 4))
        box = Path(shutil.copytree(tmp_path, tmp_path.with_name(f"{tmp_path.name}-{room}")))
        after = files(
            publish_features(box, tasks=tasks(30, np.where(np.arange(64) < 3, 4, 1), 70.0), sequence=30, **how)
        )
        fresh = {name: len(data) for name, data in after.items() if before.get(name) != data}
        assert sum(fresh.values()) <= room
        assert ("rows-task0.int8.npz" in fresh) == comes
        assert ("correction.int8.npz" in fresh) != comes
