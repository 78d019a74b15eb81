"""Older tasks that stand in files of their own: read as if they stood in the manifest, bounded, and held to hashes."""

import copy
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mygo_edge.bundle.feature_selftest import (
    FeatureSelfTest,
    places_tested,
    read_feature_selftest,
    write_feature_selftest,
)
from mygo_edge.bundle.manifest import DENOISING_READER, READER, TASKS_READER, FileEntry, Manifest, Task, manifest_bytes
from mygo_edge.bundle.parsing import MAX_ALL_CLASSES, MAX_TASKS, parse_manifest, part_entries
from mygo_edge.bundle.parts import PART_BYTES, part_path, parts_of
from mygo_edge.bundle.reading import read_bundle
from mygo_edge.bundle.signature import new_key
from mygo_edge.bundle.strict import BundleError
from mygo_edge.device.edge_model import EdgeModel
from mygo_edge.files import sha256
from mygo_edge.sign import sign_version
from tests.bundle.test_manifest import DIGEST, PHOTOS, entry, task
from tests.bundle.test_refusals import flip, refused
from tests.damage import edit_manifest, replace_file
from tests.features import photo_memory, publish_photos, publish_photos_apart, with_rows

Document = dict[str, Any]


def apart() -> tuple[Document, Document]:
    """The manifest of PHOTOS without birds, and the file in which these stand."""
    top = copy.deepcopy(PHOTOS) | {"reader": TASKS_READER}
    birds = top["files"].pop(3)
    return top, {"tasks": [top["tasks"].pop(0)], "files": [birds]}


def parse(top: Document, *parts: Document) -> Manifest:
    """Of a manifest that lists these parts."""
    contents = {part_path(index): json.dumps(part).encode() for index, part in enumerate(parts)}
    listed = [listing(path, data) for path, data in contents.items()]
    return parse_manifest(json.dumps(top | {"files": [*top["files"], *listed]}).encode(), "here", contents)


def listing(path: str, data: bytes) -> Document:
    return entry(path, "tasks") | {"sha256": sha256(data), "bytes": len(data)}


def test_tasks_apart_are_read_as_if_they_stood_in_the_manifest() -> None:
    whole, read = parse(PHOTOS), parse(*apart())
    assert read.tasks == whole.tasks
    assert {file.path for file in read.files} == {file.path for file in whole.files} | {"tasks-0.json"}
    assert (read.apart, whole.apart) == (1, 0)


def test_a_manifest_may_have_all_its_tasks_apart_but_not_none_at_all() -> None:
    top, part = apart()
    part["tasks"].append(top["tasks"].pop())
    part["files"].append(top["files"].pop(3))
    del top["tasks"]
    read = parse(top, part)
    assert [each.name for each in read.tasks] == ["birds", "fish"]
    data = manifest_bytes(read)
    assert parse_manifest(data, "here", {"tasks-0.json": json.dumps(part).encode()}) == read
    with pytest.raises(BundleError, match="here: tasks is missing"):
        parse(top)


def other_tasks_file(top: Document, part: Document) -> None:
    part["files"].append(entry("means-fish.npz", "generator", task="fish"))
    top["files"] = [file for file in top["files"] if file.get("task") != "fish"]


def its_file_in_the_manifest(top: Document, part: Document) -> None:
    top["files"].append(part["files"].pop())
    part["files"].append(entry("rows-birds.npz", "rows", task="birds"))


CHANGES: list[tuple[Callable[[Document, Document], object], str]] = [
    (lambda top, part: top.update(reader=5), "files of role tasks need reader 6"),
    (lambda top, part: top.pop("reader"), "reader is missing"),
    (lambda top, part: part["tasks"].append(part["tasks"][0]), "task name 'birds' occurs twice"),
    (lambda top, part: part["tasks"].append(task("fish", "cod")), "task name 'fish' occurs twice"),
    (lambda top, part: part["tasks"][0].update(head="logits_fish"), "head 'logits_fish' occurs twice"),
    (lambda top, part: part.update(tasks=[]), "tasks-0.json: tasks is empty"),
    (lambda top, part: part.pop("tasks"), "tasks-0.json: tasks is missing"),
    (lambda top, part: part.pop("files"), "tasks-0.json: files is missing"),
    (lambda top, part: part["files"].append(entry("factor.npz", "factor")), "it lists a file that is of no task"),
    (lambda top, part: part["files"].append(entry("tasks-1.json", "tasks")), "it lists a file that is of no task"),
    (lambda top, part: part["files"].append(part["files"][0]), "occurs twice"),
    (lambda top, part: part["files"][0].update(path="../means-birds.int8.npz"), r"tasks-0\.json: files\[0\]: path"),
    (lambda top, part: part["tasks"].extend(task(f"t{i}", "a") for i in range(MAX_TASKS - 1)), f"at most {MAX_TASKS}"),
    (
        lambda top, part: part["tasks"].extend(task(f"t{i}", *map(str, range(4000))) for i in range(17)),
        f"at most {MAX_ALL_CLASSES} are allowed",
    ),
    (other_tasks_file, r"means-fish\.npz has an unknown task"),
    (its_file_in_the_manifest, r"means-birds\.int8\.npz has an unknown task"),
]


@pytest.mark.parametrize(("change", "words"), CHANGES, ids=[words for _, words in CHANGES])
def test_what_does_not_belong_is_refused(change: Callable[[Document, Document], object], words: str) -> None:
    top, part = apart()
    change(top, part)
    with pytest.raises(BundleError, match=words):
        parse(top, part)


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"path": "tasks.json"}, "of a tasks must match"),
        ({"path": "tasks-0.py"}, "of a tasks must match"),
        ({"path": "tasks-00000.json"}, "of a tasks must match"),
        ({"precision": "fp16"}, "precision 'fp16' is none of fp32"),
        ({"precision": "later"}, "precision 'later' is none of fp32"),
        ({"bytes": 2**22 + 1}, "bytes of role tasks are more than"),
        ({"bytes": 0}, "bytes must be from 1"),
        ({"sha256": "0"}, "must match"),
    ],
)
def test_an_entry_is_checked_before_its_file_is_asked_for(values: Document, words: str) -> None:
    top, _ = apart()
    top["files"].append(entry("tasks-0.json", "tasks") | values)
    with pytest.raises(BundleError, match=words):
        part_entries(json.dumps(top).encode(), "here")


def test_all_files_together_are_no_larger_than_a_manifest_may_be() -> None:
    top, _ = apart()
    top["files"] += [entry(f"tasks-{index}.json", "tasks") | {"bytes": 2**20} for index in range(5)]
    with pytest.raises(BundleError, match="5242880 bytes of role tasks are more than 4194304"):
        part_entries(json.dumps(top).encode(), "here")


@pytest.mark.parametrize("data", [b"", b"[]", b"[" * 10**5, b'{"tasks":[],"tasks":[]}', b"\xff\xfe"])
def test_a_file_that_holds_no_tasks_is_refused(data: bytes) -> None:
    top, _ = apart()
    top["files"].append(entry("tasks-0.json", "tasks"))
    with pytest.raises(BundleError, match=r"here: tasks-0\.json"):
        parse_manifest(json.dumps(top).encode(), "here", {"tasks-0.json": data})
    with pytest.raises(BundleError, match=r"here: tasks-0\.json is missing"):
        parse_manifest(json.dumps(top).encode(), "here")


def many(tasks: int, classes: int = 10) -> Manifest:
    """Of photos, with rows, the correction of these and a calibration."""
    whole = parse(PHOTOS)
    names = [f"task{index}" for index in range(tasks)]
    files = [FileEntry(path, role, DIGEST, 88_888, "int8") for path, role in OF_ALL]
    for name in names:
        files.append(FileEntry(f"means-{name}.int8.npz", "generator", DIGEST, 13_670, "int8", name))
        files.append(FileEntry(f"rows-{name}.int8.npz", "rows", DIGEST, 13_596, "int8", name))
    said = [
        Task(name, tuple(f"{name}, class {index}" for index in range(classes)), f"logits_{name}", "gaussian")
        for name in names
    ]
    return replace(whole, tasks=tuple(said), files=(whole.files[0], *files))


OF_ALL = [("factor.int8.npz", "factor"), ("correction.int8.npz", "correction"), ("selftest.npz", "selftest")]


def in_parts(manifest: Manifest) -> tuple[Manifest, dict[str, bytes]]:
    count, found = parts_of(manifest)
    parts = {part_path(index): data for index, data in enumerate(found)}
    entries = [FileEntry(path, "tasks", sha256(data), len(data), "fp32") for path, data in parts.items()]
    return replace(manifest, apart=count, files=(*manifest.files, *entries), reader=READER), parts


def test_later_tasks_move_none_to_another_file() -> None:
    _, before = in_parts(many(20))
    for count in (21, 40, 100):
        _, parts = in_parts(many(count))
        assert before.items() <= parts.items()
        assert all(PART_BYTES <= len(data) < PART_BYTES + 1000 for data in parts.values())


def test_few_tasks_stand_in_the_manifest() -> None:
    assert parts_of(many(5)) == (0, [])
    assert parts_of(many(1, 100)) == (0, [])


def test_what_every_update_brings_hardly_grows_with_classes() -> None:
    """Manifest, a file of older tasks that is new, and self-test: with a task of ten, 27 KB, at most 40 KB."""
    sizes = {}
    for tasks in (24, 100, 200):
        worst, before = 0, dict[str, bytes]()
        for count in range(tasks - 8, tasks + 1):
            manifest, parts = in_parts(many(count))
            new = sum(len(data) for path, data in parts.items() if before.get(path) != data)
            worst, before = max(worst, len(manifest_bytes(manifest)) + (new if before else 0)), parts
            assert parse_manifest(manifest_bytes(manifest), "here", parts).tasks == manifest.tasks
        places = len(places_tested(tasks, READER))
        zeros = {"probes": (2, 64), "dreams": (places, 2, 8), "logits": (20 * places,), "largest": (places, 2)}
        arrays = {name: np.zeros(shape, np.float32) for name, shape in zeros.items()}
        test = FeatureSelfTest(class_id=np.zeros((places, 2), np.int64), **arrays)
        sizes[10 * tasks] = worst + len(write_feature_selftest(test))
    assert sizes[240] < 10_500
    assert sizes[2000] - sizes[240] < 3 * (2000 - 240)


def test_a_selftest_is_of_some_tasks_and_the_newest_is_among_them() -> None:
    assert places_tested(20, TASKS_READER - 1) == list(range(20))
    assert places_tested(3, TASKS_READER) == [0, 1, 2]
    for tasks in range(1, 60):
        places = places_tested(tasks, TASKS_READER)
        assert len(places) == min(tasks, 8)
        assert places[-1] == tasks - 1
        assert max(np.diff([-1, *places])) <= -(-tasks // 8)


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    return publish_photos_apart(tmp_path / "apart", monkeypatch).parent


def test_a_version_with_tasks_apart_answers_as_one_without(own: Path, tmp_path: Path) -> None:
    assert [each["name"] for each in json.loads((own / "v0003" / "tasks-0.json").read_text())["tasks"]] == [
        "warm",
        "cold",
    ]
    memories, shared = photo_memory()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("mygo_edge.bundle.parts.PART_BYTES", 10**6)
        publish_photos(tmp_path / "whole", 3, tasks=with_rows(memories, shared))
    one, other = EdgeModel.load(own), EdgeModel.load(tmp_path / "whole")
    assert one.tasks == other.tasks
    np.testing.assert_array_equal(one.logits(one.example(5)), other.logits(one.example(5)))
    assert [read_bundle(folder).manifest.reader for folder in (own, tmp_path / "whole")] == [DENOISING_READER] * 2


def test_a_changed_or_missing_file_of_tasks_is_refused_by_name(own: Path) -> None:
    flip(own / "v0003" / "tasks-0.json")
    refused(own, r"tasks-0\.json does not have the hash")
    (own / "v0003" / "tasks-0.json").unlink()
    refused(own, r"tasks-0\.json is missing")


def test_a_file_that_older_tasks_name_is_held_to_its_hash(own: Path) -> None:
    flip(own / "v0003" / "rows-warm.int8.npz")
    refused(own, r"rows-warm\.int8\.npz does not have the hash")


def test_a_signature_covers_tasks_apart_and_survives_an_expiry(own: Path, tmp_path: Path) -> None:
    new_key(tmp_path / "key", tmp_path / "key.pub")
    size = (own / "v0003" / "manifest.json").stat().st_size
    sign_version(own / "v0003", tmp_path / "key", expires=30)
    assert EdgeModel.load(own, public_key=tmp_path / "key.pub").version == "v0003"
    assert (own / "v0003" / "manifest.json").stat().st_size < size + 60  # still without a space
    part = json.loads((own / "v0003" / "tasks-0.json").read_text())
    part["tasks"][0]["classes"].reverse()
    replace_file(own / "v0003", "tasks-0.json", json.dumps(part).encode())
    with pytest.raises(BundleError, match="is not what the owner of"):
        EdgeModel.load(own, public_key=tmp_path / "key.pub")
    edit_manifest(own / "v0003", reader=5)
    refused(own, "files of role tasks need reader 6")


def test_a_selftest_of_other_shapes_than_the_reader_says_is_refused(own: Path) -> None:
    data = (own / "v0003" / "selftest.npz").read_bytes()
    test = read_feature_selftest(data, "it", [2, 3, 2], 24, TASKS_READER)
    replace_file(own / "v0003", "selftest.npz", write_feature_selftest(replace(test, logits=test.logits[:-1])))
    refused(own, r"selftest\.npz does not fit the manifest: logits")
    replace_file(own / "v0003", "selftest.npz", write_feature_selftest(replace(test, largest=test.largest + 1)))
    refused(own, "fails its self-test")


def test_logits_of_a_task_of_many_classes_are_a_sample() -> None:
    zeros = {"probes": (2, 24), "dreams": (1, 2, 8), "logits": (2 * 25,), "largest": (1, 2)}
    test = FeatureSelfTest(
        class_id=np.zeros((1, 2), np.int64), **{key: np.zeros(shape, np.float32) for key, shape in zeros.items()}
    )
    assert read_feature_selftest(write_feature_selftest(test), "it", [100], 24, TASKS_READER).logits.shape == (50,)
    with pytest.raises(BundleError, match="logits is float32"):
        read_feature_selftest(write_feature_selftest(test), "it", [100], 24, TASKS_READER - 1)
