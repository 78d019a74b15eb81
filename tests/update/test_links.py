"""An update follows no link that lies in the device's bundle, in whatever place it writes to."""

import os
from pathlib import Path

import pytest

from mygo_edge.bundle.signature import new_key
from mygo_edge.device.edge_model import EdgeModel
from mygo_edge.errors import MygoEdgeError
from mygo_edge.files import sha256
from mygo_edge.sign import sign_version
from mygo_edge.update.updater import UpdatePolicy, update
from tests.bundles import edit_manifest

PRECIOUS = b"a file of somebody else"


@pytest.fixture
def elsewhere(tmp_path: Path) -> Path:
    """A folder outside the bundle with a file in it."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "file").write_bytes(PRECIOUS)
    return folder


def untouched(elsewhere: Path) -> bool:
    return {path.name: path.read_bytes() for path in elsewhere.iterdir()} == {"file": PRECIOUS}


def digest(box: Path) -> str:
    return sha256((box / "v0003" / "classifier.onnx").read_bytes())


@pytest.mark.parametrize("hard", [False, True])
def test_a_link_in_place_of_a_download_is_replaced(box: Path, device: Path, elsewhere: Path, hard: bool) -> None:
    (device / ".download").mkdir()
    place = device / ".download" / digest(box)
    if hard:
        os.link(elsewhere / "file", place)
    else:
        place.symlink_to(elsewhere / "file")
    assert update(str(box), device).version == "v0003"
    assert untouched(elsewhere)
    assert EdgeModel.load(device).version == "v0003"


def test_a_link_in_place_of_the_download_folder_is_replaced(box: Path, device: Path, elsewhere: Path) -> None:
    (device / ".download").symlink_to(elsewhere)
    assert update(str(box), device).version == "v0003"
    assert untouched(elsewhere)


def test_a_folder_in_place_of_a_download_is_replaced(box: Path, device: Path, elsewhere: Path) -> None:
    (device / ".download" / digest(box) / "inner").mkdir(parents=True)
    (device / ".download" / "something else").mkdir()
    assert update(str(box), device).version == "v0003"


@pytest.mark.parametrize(
    "name", [".v0003.partial", "v0003", ".current.tmp", ".update.json.tmp", ".trust.json.tmp", "update.json"]
)
def test_a_link_in_any_other_place_is_replaced(box: Path, device: Path, elsewhere: Path, name: str) -> None:
    (device / name).symlink_to(elsewhere / "file" if "." in name[1:] and "partial" not in name else elsewhere)
    assert update(str(box), device).version == "v0003"
    assert untouched(elsewhere)
    assert EdgeModel.load(device).version == "v0003"


def test_a_link_in_place_of_the_lock_is_not_followed(box: Path, device: Path, elsewhere: Path) -> None:
    (device / ".update.lock").symlink_to(elsewhere / "made")
    with pytest.raises(OSError, match="symbolic links"):
        update(str(box), device)
    assert untouched(elsewhere)


@pytest.mark.parametrize("hard", [False, True])
def test_the_lock_is_not_written_into_a_file_of_another_name(
    box: Path, device: Path, elsewhere: Path, hard: bool
) -> None:
    if hard:
        os.link(elsewhere / "file", device / ".update.lock")
    else:
        (device / ".update.lock").symlink_to(elsewhere / "file")
    with pytest.raises((MygoEdgeError, OSError)):
        update(str(box), device)
    assert untouched(elsewhere)


def test_a_pipe_in_place_of_the_lock_is_refused(box: Path, device: Path) -> None:
    os.mkfifo(device / ".update.lock")
    with pytest.raises(MygoEdgeError, match="is no plain file of its own; remove it"):
        update(str(box), device)


def test_a_link_in_place_of_the_handovers_is_replaced(box: Path, device: Path, elsewhere: Path, tmp_path: Path) -> None:
    new_key(tmp_path / "key", tmp_path / "key.pub")
    edit_manifest(box / "v0003", next_key="ab" * 32)
    sign_version(box / "v0003", tmp_path / "key")
    (device / "handovers").symlink_to(elsewhere)
    update(str(box), device, UpdatePolicy(public_key=tmp_path / "key.pub"))
    assert untouched(elsewhere)
    assert len(list((device / "handovers").iterdir())) == 1
