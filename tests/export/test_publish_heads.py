"""Heads of wakes in a bundle: a device settles which of a task's classes by them, and nothing else."""

import json
from pathlib import Path

import numpy as np
import pytest

from mygo_edge.bundle.manifest import HEADS_READER, BundleError
from mygo_edge.bundle.npz import read_arrays, write_arrays
from mygo_edge.bundle.wake_head import WakeHead, read_head, settled, stored_head, write_head
from mygo_edge.device.edge_model import EdgeModel
from tests.features import PHOTO_TASKS, photo_memory, photos, publish_photos, with_heads, with_rows

FEATURES, CLASSES = 24, 3
KNOWN = [colour for colours in PHOTO_TASKS.values() for colour in colours]


def head() -> WakeHead:
    rng = np.random.default_rng(0)
    return WakeHead(rng.normal(size=(CLASSES, FEATURES)).astype(np.float32), np.arange(CLASSES, dtype=np.float32))


def test_a_head_moves_answers_within_its_task_alone(tmp_path: Path) -> None:
    memories, shared = photo_memory()
    rows = with_rows(memories, shared)
    publish_photos(tmp_path / "plain", 3, tasks=rows)
    version = publish_photos(tmp_path / "heads", 3, tasks=with_heads(rows))
    plain, settled_by_head = (EdgeModel.load(tmp_path / name) for name in ("plain", "heads"))
    images = photos(KNOWN, 10, seed=3)[0]
    before, after = plain.logits(images), settled_by_head.logits(images)
    width = len(next(iter(PHOTO_TASKS.values())))
    np.testing.assert_allclose(after[:, width:], before[:, width:], atol=1e-5)
    np.testing.assert_allclose(after[:, :width].max(1), before[:, :width].max(1), atol=1e-4)
    assert (after[:, :width].argmax(1) == width - 1).all()
    manifest = json.loads((version / "manifest.json").read_text())
    assert manifest["reader"] == HEADS_READER
    first = next(iter(PHOTO_TASKS))
    assert [entry["path"] for entry in manifest["files"] if entry["role"] == "head"] == [f"head-{first}.int8.npz"]


def test_a_head_stays_byte_for_byte_while_tasks_come(tmp_path: Path) -> None:
    memories, shared = photo_memory()
    tasks = with_heads(with_rows(memories, shared))
    files = [
        {path.name: path.read_bytes() for path in publish_photos(tmp_path, count, tasks=tasks[:count]).glob("head-*")}
        for count in (2, 3)
    ]
    assert files[0] == files[1]
    assert files[0]


def test_a_device_that_learns_beside_heads_answers_for_all(tmp_path: Path) -> None:
    memories, shared = photo_memory()
    publish_photos(tmp_path, 3, tasks=with_heads(with_rows(memories, shared)))
    model = EdgeModel.load(tmp_path)
    images, labels = photos(["violet", "orange"], 5, seed=1)
    model.learn("new", images, labels)
    found, labels = photos(["violet", "orange"], 20, seed=4)
    right = np.mean([answer == label for (_, answer), label in zip(model.answers(found), labels, strict=True)])
    assert right > 0.6


def test_what_is_written_is_read_again() -> None:
    read = read_head(write_head(head()), "head-a", FEATURES, CLASSES)
    stored = stored_head(head())
    np.testing.assert_array_equal(read.weight, stored.weight)
    np.testing.assert_array_equal(read.bias, head().bias)
    assert np.abs(read.weight - head().weight).max() < 0.02 * np.abs(head().weight).max()


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("weights", np.zeros((CLASSES, FEATURES), np.float32), "the weights do not fit"),
        ("weights", np.zeros((CLASSES, 3), np.int8), "the weights do not fit"),
        ("scale", np.full(CLASSES, np.nan, np.float32), "the scale is not finite"),
        ("bias", np.full(CLASSES, np.inf, np.float32), "the bias is not finite"),
        ("bias", np.zeros(CLASSES + 1, np.float32), "the bias does not fit"),
        ("more", np.zeros(1, np.float32), "it does not hold"),
    ],
)
def test_a_damaged_head_is_refused_by_name(key: str, value: np.ndarray, words: str) -> None:
    arrays = read_arrays(write_head(head()), ["weights", "scale", "bias"])
    with pytest.raises(BundleError, match=f"^head-a holds no head of a task .{words}"):
        read_head(write_arrays(arrays | {key: value}), "head-a", FEATURES, CLASSES)


def test_frequencies_count_within_a_task_too() -> None:
    logits = np.array([[1.0, 0.0, 0.0]], np.float32)
    even = WakeHead(np.zeros((2, 4), np.float32), np.zeros(2, np.float32))
    vectors, prior = np.ones((1, 4), np.float32), np.array([0.0, 0.5, 0.0])
    found = settled(logits, vectors, [even, None], 2.0, [2, 1], prior)
    np.testing.assert_allclose(found, [[0.5, 1.0, 0.0]])
    assert settled(logits, vectors, [None, None], 2.0, [2, 1], prior) is logits
