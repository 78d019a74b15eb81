"""Heads that a device learnt: one small JSON file each, whole or absent, checked whenever it is read.

A head is a linear layer on the features of one trunk, and means nothing on any other, so it says which (see
`mygo_edge.bundle.manifest.Manifest.features_digest`). The same file goes back to the box, where
`mygo_edge.export.device_head` reads it. Its SHA-256 shows damage; it says nothing about who wrote it.
"""

import base64
import binascii
import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from mygo_edge.bundle.manifest import TASK_NAME, BundleError, Manifest, Task
from mygo_edge.bundle.parsing import MAX_CLASSES
from mygo_edge.bundle.reading import read_plain
from mygo_edge.bundle.strict import SHA256, Reader, load_object
from mygo_edge.errors import MygoEdgeError
from mygo_edge.files import sha256, write_bytes

SCHEMA_VERSION = "1.0"
SUFFIX = ".json"
MAX_FILE_BYTES = 2**24
_MAX_HEADS = 256
_MAKE_ROOM = "remove the files of tasks that are not needed"
_LARGEST = 1e6  # of a weight; beyond, logits lose their meaning


class HeadError(MygoEdgeError):
    """A head that must not be used. The message names its file or its task, and says why."""


@dataclass(frozen=True, slots=True)
class Head:
    """name: of the task; classes: in the order of the logits; weight: float32 [classes, features]; bias: float32
    [classes]; trunk: which features it stands on; images: how many it was learnt from; created: when, UTC."""

    name: str
    classes: tuple[str, ...]
    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    trunk: str
    images: int
    created: str

    def logits(self, features: NDArray[np.float32]) -> NDArray[np.float32]:
        """[n, features] -> [n, classes]."""
        return features @ self.weight.T + self.bias


def trunk_of(manifest: Manifest) -> str:
    """What identifies the features of a version: the digest in its manifest, or the classifier's file where there is
    none."""
    if manifest.trunk is not None:
        return manifest.trunk.digest
    if manifest.features_digest is not None:
        return manifest.features_digest
    return next(entry.sha256 for entry in manifest.files if entry.role == "classifier")


def head_path(folder: Path, name: str) -> Path:
    """Where the head of a task is kept."""
    return folder / f"{name}{SUFFIX}"


def write_head(path: Path, head: Head) -> None:
    """Replace a head's file, atomically and durably."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_bytes(path, head_bytes(head))


def head_bytes(head: Head) -> bytes:
    """The content of a head's file; `parse_head` reads it back."""
    values: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "name": head.name,
        "classes": list(head.classes),
        "features": head.weight.shape[1],
        "trunk": head.trunk,
        "images": head.images,
        "created": head.created,
        "weight": _encoded(head.weight),
        "bias": _encoded(head.bias),
    }
    return sealed(values)


def sealed(values: Mapping[str, Any]) -> bytes:
    """JSON of these values and of their digest; `checked_object` reads it back."""
    return json.dumps(dict(values) | {"sha256": digest_of(values)}, indent=1).encode() + b"\n"


def read_head(path: Path) -> Head:
    """Read and check a head's file. Raises HeadError, which names it."""
    try:
        return parse_head(read_plain(path, MAX_FILE_BYTES), str(path))
    except BundleError as error:
        raise HeadError(f"{error}; learn the head again") from error


def parse_head(data: bytes, where: str) -> Head:
    """Check everything in a head's file; `where` is what to call it in errors.

    Raises:
        BundleError: not JSON, an unknown schema, a value that is missing, of the wrong type or out of range, or damage.
    """
    reader = checked_object(data, where, SCHEMA_VERSION)
    classes = reader.names("classes", MAX_CLASSES)
    reader.require(len(classes) > 1, "classes must be two names or more")
    features = reader.integer("features", 1, 2**16)
    return Head(
        name=reader.match("name", TASK_NAME),
        classes=classes,
        weight=_decoded(reader, "weight", (len(classes), features)),
        bias=_decoded(reader, "bias", (len(classes),)),
        trunk=reader.match("trunk", SHA256),
        images=reader.integer("images", 1, 2**40),
        created=reader.time("created"),
    )


class Kept(Protocol):
    """What a device learnt and kept."""

    @property
    def name(self) -> str: ...

    @property
    def trunk(self) -> str: ...

    @property
    def created(self) -> str: ...


AnyKept = TypeVar("AnyKept", bound=Kept)


def read_heads(folder: Path, manifest: Manifest, width: int | None) -> tuple[dict[str, Head], dict[str, str]]:
    """`read_kept` of heads on a trunk of `width` features, where that is known."""

    def read(path: Path) -> Head:
        head = read_head(path)
        require_width(head, width, str(path))
        return head

    return read_kept(folder, manifest, read)


def require_width(head: Head, width: int | None, where: str) -> None:
    """Raise HeadError unless a head takes so many features, where that is known."""
    if width is not None and head.weight.shape[1] != width:
        raise HeadError(f"{where} takes {head.weight.shape[1]} features, the trunk has {width}; learn it again")


def read_kept(
    folder: Path, manifest: Manifest, read: Callable[[Path], AnyKept]
) -> tuple[dict[str, AnyKept], dict[str, str]]:
    """What a folder holds that fits a version, and, of the rest, why not.

    Args:
        folder: of heads; it need not be there.
        manifest: of the version.
        read: reads and checks a file, or raises HeadError.

    Returns:
        What was learnt by task name, in the order in which it was, and reasons by task name.
    """
    found: list[AnyKept] = []
    refused: dict[str, str] = {}
    paths = _kept_paths(folder)
    for path in paths[_MAX_HEADS:]:
        refused[path.stem] = f"{path} is not read: {_MAX_HEADS} tasks are, in the order of names; {_MAKE_ROOM}"
    for path in paths[:_MAX_HEADS]:
        try:
            kept = read(path)
            if kept.name != path.stem:
                raise HeadError(f"{path} is of task {kept.name}; give it its name back")
            require_fit(kept, manifest.tasks, trunk_of(manifest))
            found.append(kept)
        except HeadError as error:
            refused[path.stem] = str(error)
    return {kept.name: kept for kept in sorted(found, key=lambda kept: kept.created)}, refused


def require_room(folder: Path, name: str) -> None:
    """Raise MygoEdgeError where a folder, which need not be there, is too full for this task to be read from it."""
    paths = _kept_paths(folder)
    if len(paths) >= _MAX_HEADS and name not in {path.stem for path in paths[:_MAX_HEADS]}:
        raise MygoEdgeError(f"{folder} has no room for task {name}: {_MAX_HEADS} tasks are read from it; {_MAKE_ROOM}")


def _kept_paths(folder: Path) -> list[Path]:
    return sorted(path for path in folder.glob(f"*{SUFFIX}") if TASK_NAME.fullmatch(path.stem))


def require_fit(kept: Kept, tasks: tuple[Task, ...], trunk: str) -> None:
    """Raise HeadError unless this was learnt on this trunk and no task of the bundle has its name."""
    if kept.name.casefold() in {task.name.casefold() for task in tasks}:
        raise HeadError(f"the bundle has a task {kept.name} itself, which is used; the one learnt here is not")
    if kept.trunk != trunk:
        raise HeadError(
            f"task {kept.name} was learnt on another trunk, whose features mean something else; learn it again from "
            "its examples"
        )


def checked_object(data: bytes, where: str, schema_version: str) -> Reader:
    """The JSON object of a file that a device keeps, if it is of this schema and has the digest that it names.

    Raises:
        BundleError: it is not.
    """
    reader = load_object(data, where, "learn the task again")
    schema = reader.value("schema_version", str)
    reader.require(schema == schema_version, f"schema_version {schema[:20]!a} is not {schema_version}")
    said = reader.match("sha256", SHA256)
    reader.require(
        said == digest_of({key: value for key, value in reader.values.items() if key != "sha256"}),
        "sha256 does not fit the rest: the file is damaged",
    )
    return reader


def digest_of(values: Mapping[str, Any]) -> str:
    """SHA-256 of a head's file without that number, whatever its white space and order."""
    return sha256(json.dumps(values, sort_keys=True, separators=(",", ":")).encode())


def _encoded(array: NDArray[np.float32]) -> str:
    return base64.b64encode(array.astype("<f4").tobytes()).decode()


def decoded_bytes(reader: Reader, key: str) -> bytes:
    """The bytes of a value in base64. Raises BundleError."""
    try:
        return base64.b64decode(reader.value(key, str), validate=True)
    except (binascii.Error, ValueError) as error:
        raise BundleError(f"{reader.where}: {key} is not base64") from error


def _decoded(reader: Reader, key: str, shape: tuple[int, ...]) -> NDArray[np.float32]:
    data = decoded_bytes(reader, key)
    reader.require(len(data) == 4 * int(np.prod(shape)), f"{key} does not hold {list(shape)} numbers of 4 bytes")
    array = np.frombuffer(data, "<f4").astype(np.float32).reshape(shape)
    # Written so that NaN fails it.
    reader.require(bool((np.abs(array) <= _LARGEST).all()), f"{key} must be finite and at most {_LARGEST:g}")
    return array
