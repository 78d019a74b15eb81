"""Updates of bundles whose older tasks stand in files of their own: these come once, and nothing else is taken."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from mygo_edge.bundle.manifest import BundleError
from mygo_edge.bundle.reading import keys_after, read_manifest
from mygo_edge.bundle.signature import PublicKey, new_key
from mygo_edge.device.edge_model import EdgeModel
from mygo_edge.errors import MygoEdgeError
from mygo_edge.sign import sign_version
from mygo_edge.update.updater import UpdatePolicy, update
from tests.damage import edit_manifest
from tests.features import PHOTO_TASKS, photo_memory, publish_photos, publish_photos_apart, with_rows
from tests.update import servers
from tests.update.servers import Handler, serving
from tests.update.test_update import QUICK, contents, visible

PART = "tasks-0.json"


@pytest.fixture
def box(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """v0003: of three tasks, the first two stand apart."""
    return publish_photos_apart(tmp_path / "box", monkeypatch).parent


@pytest.fixture
def device(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """v0001, of one task, which stands in the manifest."""
    memories, shared = photo_memory()
    publish_photos(tmp_path / "first", 1, tasks=with_rows(memories, shared)[:1], shared=shared)
    update(str(tmp_path / "first"), tmp_path / "device")
    return tmp_path / "device"


def test_older_tasks_come_with_the_manifest_and_only_once(box: Path, device: Path) -> None:
    with serving(box) as server:
        report = update(server.address, device)
    assert PART in server.bodies()
    assert report.fetched == {name: (box / "v0003" / name).stat().st_size for name in server.bodies()}
    assert contents(device / "v0003") == contents(box / "v0003")
    assert list(EdgeModel.load(device).tasks) == list(PHOTO_TASKS)
    with serving(box) as server:
        assert not update(server.address, device).changed
    assert server.bodies() == []
    memories, shared = photo_memory()
    more = with_rows(memories, shared)
    more.append(more[0]._replace(name="more", classes=["one", "two"]))
    publish_photos(box, 4, tasks=more, shared=shared, max_loss=1.0)
    with serving(box) as server:
        report = update(server.address, device)
    assert set(report.fetched) == {"selftest.npz", "tasks-1.json"}  # its other files are those of warm
    assert PART in report.kept
    assert list(EdgeModel.load(device).tasks) == [*PHOTO_TASKS, "more"]


@pytest.mark.parametrize(
    ("misbehave", "words"),
    [
        (servers.wrong_bytes, r"v0003/tasks-0\.json does not have the hash"),
        (servers.endless, r"v0003/tasks-0\.json has more than"),
        (servers.stops_in_the_middle, "too slow"),
        (servers.silent, "too slow"),
        (servers.compressed, "is sent as 'gzip'"),
        (servers.fails, "cannot be read"),
        (servers.redirects_for_ever, "is redirected more than"),
        (lambda handler, data: handler.send_error(404), r"the source has no v0003/tasks-0\.json"),
        (lambda handler, data: handler.whole_or_range(data[:-1]), r"v0003/tasks-0\.json has [0-9]+ bytes"),
    ],
)
def test_a_file_of_tasks_that_does_not_come_as_listed_leaves_the_live_version(
    box: Path, device: Path, misbehave: Callable[[Handler, bytes], None], words: str
) -> None:
    before = contents(device)
    with serving(box, misbehave, PART) as server, pytest.raises(MygoEdgeError, match=words):
        update(server.address, device, limits=QUICK)
    assert server.bodies() == [PART]
    assert {name: data for name, data in contents(device).items() if name != ".update.lock"} == {
        name: data for name, data in before.items() if name != ".update.lock"
    }
    assert EdgeModel.load(device).version == "v0001"


def test_no_file_of_tasks_is_asked_for_before_the_signature_and_the_entries_are_checked(
    box: Path, device: Path, tmp_path: Path
) -> None:
    new_key(tmp_path / "key", tmp_path / "key.pub")
    with serving(box) as server, pytest.raises(BundleError, match="is not signed"):
        update(server.address, device, UpdatePolicy(public_key=tmp_path / "key.pub"))
    assert server.bodies() == []
    files = json.loads((box / "v0003" / "manifest.json").read_text())["files"]
    for entry in files:
        if entry["path"] == PART:
            entry["bytes"] = 2**31 - 1
    edit_manifest(box / "v0003", files=files)
    with serving(box) as server, pytest.raises(BundleError, match="bytes of role tasks are more than"):
        update(server.address, device)
    assert server.bodies() == []


def test_a_device_finds_older_tasks_in_the_version_before_too(box: Path, device: Path, tmp_path: Path) -> None:
    update(str(box), device)
    shutil.copytree(box, tmp_path / "again")
    (tmp_path / "again" / "v0003" / PART).unlink()  # what the device has is not asked for
    edit_manifest(tmp_path / "again" / "v0003", created="2026-01-31T12:00:00+00:00")
    with serving(tmp_path / "again") as server:
        report = update(server.address, device, UpdatePolicy(downgrade=True))
    assert (report.version, server.bodies()) == ("v0003.1", [])


def test_a_handover_of_keys_is_proved_by_the_manifest_alone(box: Path, device: Path, tmp_path: Path) -> None:
    for name in ("key", "next"):
        new_key(tmp_path / name, tmp_path / f"{name}.pub")
    sign_version(box / "v0003", tmp_path / "key", next_key=tmp_path / "next.pub")
    update(str(box), device, UpdatePolicy(public_key=tmp_path / "key.pub"))
    keys = keys_after(device, PublicKey.read(tmp_path / "key.pub"))
    assert [key.raw for key in keys] == [PublicKey.read(tmp_path / f"{name}.pub").raw for name in ("key", "next")]


def test_a_task_that_is_forgotten_leaves_no_file_that_names_it(box: Path) -> None:
    memories, shared = photo_memory(["warm", "grey"])
    tasks = with_rows(memories, shared)
    version = publish_photos(box, 4, tasks=tasks, shared=shared, keep_before=False)
    assert [task.name for task in read_manifest(version).tasks] == ["warm", "grey"]
    assert visible(box) == ["current", "v0004"]
    assert not [name for name, data in contents(version).items() if b"cold" in data or "cold" in name]
