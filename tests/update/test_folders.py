"""An update from a folder: a stick or a share may be as slow and as strange as a server."""

import os
import threading
from pathlib import Path
from typing import Any

import pytest

from mygo_edge.device.edge_model import EdgeModel
from mygo_edge.errors import MygoEdgeError
from mygo_edge.update import folder
from mygo_edge.update.source import Limits
from mygo_edge.update.updater import update


class Share:
    """A file of a share that stops answering after some bytes."""

    def __init__(self, file: Any, answered: int, freed: threading.Event) -> None:
        self._file, self._left, self._freed = file, answered, freed

    def __enter__(self) -> "Share":
        return self

    def __exit__(self, *_: object) -> None:
        self._file.close()

    def fileno(self) -> int:
        return int(self._file.fileno())

    def seek(self, at: int) -> int:
        return int(self._file.seek(at))

    def read(self, size: int) -> bytes:
        if self._left <= 0:
            self._freed.wait(60)
        self._left -= size
        return bytes(self._file.read(size))


@pytest.mark.parametrize("victim", ["current", "manifest.json", "classifier.onnx"])
@pytest.mark.parametrize(
    ("limits", "words"),
    [
        (Limits(timeout=0.2, min_rate=1e6, deadline=60), "the folder is too slow"),
        (Limits(timeout=60, deadline=0.5), "the time for the whole update is over"),
    ],
)
def test_a_share_that_does_not_answer_is_left(
    box: Path, device: Path, monkeypatch: pytest.MonkeyPatch, victim: str, limits: Limits, words: str
) -> None:
    freed, plain = threading.Event(), folder.open_plain

    def opened(path: Path) -> Any:
        return Share(plain(path), 2**16, freed) if path.name == victim else plain(path)

    monkeypatch.setattr(folder, "open_plain", opened)
    with pytest.raises(MygoEdgeError, match=words):
        update(str(box), device, limits=limits)
    freed.set()
    assert EdgeModel.load(device).version == "v0002"


def test_the_deadline_is_for_all_files_together(box: Path) -> None:
    source = folder.FolderSource(box, Limits(deadline=1e-6))
    with pytest.raises(MygoEdgeError, match="the time for the whole update is over"):
        list(source.pieces("current"))


@pytest.mark.parametrize("victim", ["current", "v0003/manifest.json", "v0003/classifier.onnx"])
def test_a_pipe_a_device_and_a_link_in_a_source_are_refused_at_once(box: Path, device: Path, victim: str) -> None:
    path = box / victim
    for make in (os.mkfifo, lambda path: path.symlink_to("/dev/zero"), Path.mkdir):
        if path.is_dir():
            path.rmdir()
        else:
            path.unlink()
        make(path)
        with pytest.raises(MygoEdgeError, match="plain file"):
            update(str(box), device)
        assert EdgeModel.load(device).version == "v0002"
    path.rmdir()
