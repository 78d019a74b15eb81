"""Checkpoints: safetensors and JSON, atomic, verified, never pickles.

`state.json` is the only name that is replaced; it holds the run's position and results, and names the tensor files it
belongs to with their SHA-256. A kill leaves the old state.json with its files, or the new one with its own.
"""

import json
from pathlib import Path
from typing import Any

import safetensors.torch
from torch import Tensor

from mygo_edge.errors import MygoEdgeError
from mygo_edge.files import sha256, write_bytes, write_json

FORMAT = "mygo_edge checkpoint"
VERSION = 1
STATE = "state.json"

Tensors = dict[str, Tensor]


class Checkpoint:
    """The checkpoint folder of one run.

    Tensor files belong to slots (a method's name, or `phase` for a phase in progress); writing a slot makes a new
    file, and `commit` publishes position and files together. Of several processes one writes; for the others
    `put` and `commit` do nothing.
    """

    def __init__(self, folder: Path, writes: bool = True) -> None:
        self.folder, self._writes = folder, writes
        self._files: dict[str, dict[str, str]] = {}  # slot -> {"name", "sha256"}
        self._serial = 0

    def exists(self) -> bool:
        return (self.folder / STATE).is_file()

    def put(self, slot: str, tensors: Tensors) -> None:
        """Write a slot's tensors; they count from the next `commit` on."""
        if not self._writes:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        self._serial += 1
        name = f"{slot}-{self._serial:06d}.safetensors"
        data = safetensors.torch.save({key: value.detach().cpu().contiguous() for key, value in tensors.items()})
        write_bytes(self.folder / name, data)
        self._files[slot] = {"name": name, "sha256": sha256(data)}

    def drop(self, slot: str) -> None:
        """Forget a slot, from the next `commit` on."""
        self._files.pop(slot, None)

    def commit(self, state: dict[str, Any]) -> None:
        """Publish `state` and the slots' files; files that no state names any more are removed."""
        if not self._writes:
            return
        self.folder.mkdir(parents=True, exist_ok=True)
        document = {"format": FORMAT, "version": VERSION, "serial": self._serial, "files": self._files, "state": state}
        document["sha256"] = _digest(document)
        write_json(self.folder / STATE, document)
        kept = {STATE, *(entry["name"] for entry in self._files.values())}
        for file in self.folder.iterdir():
            if file.name not in kept:
                file.unlink(missing_ok=True)

    def open(self, run_id: str) -> dict[str, Any]:
        """The committed state of the run `run_id`.

        Raises:
            MygoEdgeError: there is none, it is damaged, or another program, version or run wrote it.
        """
        path = self.folder / STATE
        try:
            document = json.loads(path.read_bytes())
        except FileNotFoundError:
            raise MygoEdgeError(f"no checkpoint in {self.folder}; --resume takes the folder of a run") from None
        except ValueError as error:
            raise MygoEdgeError(f"{path} is damaged ({error}); start the run again in another --out") from error
        if not isinstance(document, dict) or document.get("format") != FORMAT or document.get("version") != VERSION:
            raise MygoEdgeError(f"{path} is not a checkpoint of this version of mygo_edge; start the run again")
        if document.get("sha256") != _digest(document):
            raise MygoEdgeError(f"{path} is damaged (its SHA-256 differs); start the run again in another --out")
        files, state = document.get("files"), document.get("state")
        if not isinstance(files, dict) or not isinstance(state, dict) or not isinstance(document.get("serial"), int):
            raise MygoEdgeError(f"{path} lacks a field; start the run again in another --out")
        if state.get("run") != run_id:
            raise MygoEdgeError(f"{path} belongs to another run than config.json beside it; put the right one back")
        self._files, self._serial = files, document["serial"]
        return state

    def get(self, slot: str) -> Tensors | None:
        """A slot's tensors on the CPU, None when the state names none. Raises MygoEdgeError when damaged."""
        entry = self._files.get(slot)
        if entry is None:
            return None
        name = entry.get("name") if isinstance(entry, dict) else None
        if not isinstance(name, str) or Path(name).name != name:
            raise MygoEdgeError(f"{self.folder / STATE} names a file outside its folder; start the run again")
        path = self.folder / name
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            raise MygoEdgeError(f"{path} is missing; the checkpoint cannot be resumed, start the run again") from None
        if sha256(data) != entry.get("sha256"):
            raise MygoEdgeError(f"{path} is damaged (its SHA-256 differs); start the run again in another --out")
        return safetensors.torch.load(data)


def _digest(document: dict[str, Any]) -> str:
    """SHA-256 of a document's canonical JSON, without its own entry for it."""
    content = {key: value for key, value in document.items() if key != "sha256"}
    return sha256(json.dumps(content, sort_keys=True).encode())
