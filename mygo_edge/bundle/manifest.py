"""manifest.json of a bundle version: what it says, and the strict reading of it. Standard library only.

A manifest comes over a network, so nothing in it is believed before it is checked: types, ranges, names, uniqueness.
Keys that this version does not know are ignored; a schema that it does not know is refused.
"""

import json
import math
import re
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from mygo_edge.errors import MygoEdgeError

SCHEMA_VERSION = "1.0"
MANIFEST = "manifest.json"
SIGNATURE = "manifest.sig"  # Ed25519 over the bytes of manifest.json, where the publisher signs
LATENT = 64  # normals a dream starts from
DTYPE = "uint8"  # of the images that a classifier takes: raw pixels, scaled within the graph

ROLES = ("classifier", "generator", "generators", "selftest")  # "generators": all tasks in one graph
PRECISIONS = ("fp32", "fp16", "int8", "int8-weights")  # the recipes of `mygo_edge.export.recipes`
MAX_FILE_BYTES = 2**31 - 1  # a serialised protobuf message is smaller than 2 GiB
MAX_SIDE = 4096  # of an image, in pixels

TASK_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,63}")  # part of file names, on any file system
_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
SHA256 = re.compile(r"[0-9a-f]{64}")


class BundleError(MygoEdgeError):
    """A bundle that a device must not use. The message names the file at fault."""


@dataclass(frozen=True, slots=True)
class Task:
    """name: of the task; classes: names of its classes in the order of its logits; head: output of the classifier."""

    name: str
    classes: tuple[str, ...]
    head: str


@dataclass(frozen=True, slots=True)
class InputFormat:
    """Images are uint8 of shape (channels, height, width). mean and std: of a channel, on pixels scaled to [0, 1]; the
    classifier's graph applies them.
    """

    shape: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class FileEntry:
    """A file of the version.

    path: its name in the folder; role: one of ROLES; sha256: of its bytes; size: in bytes; precision: one of
    PRECISIONS; task: the task of a generator; weights: SHA-256 of the weights that a generator was exported from;
    tolerance: of the self-test for this file, where it is not the version's.
    """

    path: str
    role: str
    sha256: str
    size: int
    precision: str
    task: str | None = None
    weights: str | None = None
    tolerance: float | None = None


@dataclass(frozen=True, slots=True)
class Manifest:
    """A whole version. sequence: its number; tolerance: of the self-test, absolute up to 1 and relative above;
    trunk: digest of what makes features of images, stable while heads alone change (older publishers gave none).
    """

    sequence: int
    created: str
    tasks: tuple[Task, ...]
    input: InputFormat
    tolerance: float
    files: tuple[FileEntry, ...]
    producer: dict[str, str]
    trunk: str | None = None

    def find(self, role: str, task: str | None = None, precision: str | None = "fp32") -> FileEntry | None:
        """The file with this role, task and precision, if there is one; None stands for the first of any precision."""
        return next(
            (
                entry
                for entry in self.files
                if (entry.role, entry.task) == (role, task) and precision in (None, entry.precision)
            ),
            None,
        )

    @property
    def precisions(self) -> tuple[str, ...]:
        """Of the classifiers that the version holds."""
        return tuple(entry.precision for entry in self.files if entry.role == "classifier")


def manifest_json(manifest: Manifest) -> dict[str, Any]:
    """The manifest as plain JSON values; `parse_manifest` reads it back."""
    return {
        "schema_version": SCHEMA_VERSION,
        "sequence": manifest.sequence,
        "created": manifest.created,
        **({} if manifest.trunk is None else {"trunk": manifest.trunk}),
        "tasks": [{"name": task.name, "classes": list(task.classes), "head": task.head} for task in manifest.tasks],
        "input": {
            "shape": list(manifest.input.shape),
            "dtype": DTYPE,
            "mean": list(manifest.input.mean),
            "std": list(manifest.input.std),
        },
        "selftest": {"tolerance": manifest.tolerance},
        "files": [_entry_json(entry) for entry in manifest.files],
        "producer": dict(manifest.producer),
    }


def _entry_json(entry: FileEntry) -> dict[str, Any]:
    plain = {
        "path": entry.path,
        "role": entry.role,
        "sha256": entry.sha256,
        "bytes": entry.size,
        "precision": entry.precision,
        "task": entry.task,
        "weights": entry.weights,
        "tolerance": entry.tolerance,
    }
    return {key: value for key, value in plain.items() if value is not None}


def parse_manifest(data: bytes, where: str) -> Manifest:
    """Read and check a manifest.

    Args:
        data: the bytes of manifest.json.
        where: what to call the file in errors.

    Raises:
        BundleError: not JSON, an unknown schema, or a value that is missing, of the wrong type or out of range.
    """
    try:
        top = Reader(json.loads(data), where)
    except (ValueError, RecursionError) as error:
        raise BundleError(
            f"{where} is not JSON ({type(error).__name__}); publish or fetch the version again"
        ) from error
    schema = top.value("schema_version", str)
    if schema != SCHEMA_VERSION:
        raise BundleError(
            f"{where}: schema_version {schema!r} is not {SCHEMA_VERSION}; update mygo_edge on this device"
        )
    tasks = tuple(_task(reader) for reader in top.readers("tasks"))
    top.unique("task name", [task.name.casefold() for task in tasks])
    top.unique("head", [task.head for task in tasks])
    files = tuple(_file(reader) for reader in top.readers("files"))
    top.unique("path", [entry.path.casefold() for entry in files])
    top.unique("file with the role, task and precision", [(e.role, e.task, e.precision) for e in files])
    for entry in files:
        top.require(entry.task in {None, *(task.name for task in tasks)}, f"{entry.path} has an unknown task")
    producer = top.value("producer", dict)
    top.require(all(isinstance(version, str) for version in producer.values()), "producer must hold text only")
    return Manifest(
        sequence=top.integer("sequence", 0, 10**9 - 1),
        created=created_time(top),
        tasks=tasks,
        input=_input(top.reader("input")),
        tolerance=top.reader("selftest").tolerance(),
        files=files,
        producer=producer,
        trunk=top.match("trunk", SHA256) if "trunk" in top.values else None,
    )


def created_time(reader: "Reader") -> str:
    """The value of `created`: a time in ISO 8601 with its offset from UTC."""
    text = reader.text("created")
    try:
        aware = datetime.fromisoformat(text).utcoffset() is not None
    except ValueError:
        aware = False
    reader.require(aware, f"created {text[:40]!r} must be a time with its offset, such as 2030-01-31T12:00:00+00:00")
    return text


def _task(reader: "Reader") -> Task:
    classes = tuple(reader.value("classes", list))
    reader.require(bool(classes) and all(printable(name) for name in classes), "classes must be printable names")
    reader.unique("class", list(classes))
    return Task(reader.match("name", TASK_NAME), classes, reader.text("head"))


def _input(reader: "Reader") -> InputFormat:
    shape = reader.value("shape", list)
    fits = len(shape) == 3 and all(type(side) is int and 0 < side <= MAX_SIDE for side in shape)
    reader.require(fits, f"shape must be channels, height, width, each from 1 to {MAX_SIDE}")
    reader.require(reader.value("dtype", str) == DTYPE, f"dtype must be {DTYPE}; publish the version again")
    mean, std = reader.numbers("mean"), reader.numbers("std")
    reader.require(len(mean) == len(std) == shape[0], "mean and std need one number a channel")
    reader.require(min(std) > 0, "std must be above 0")
    return InputFormat((shape[0], shape[1], shape[2]), mean, std)


def _file(reader: "Reader") -> FileEntry:
    path = reader.match("path", _FILE_NAME)
    for own in (MANIFEST, SIGNATURE):
        reader.require(path.casefold() != own, f"{own} cannot be listed")
    role, precision = reader.value("role", str), reader.value("precision", str)
    reader.require(role in ROLES, f"role {role!r} is none of {', '.join(ROLES)}")
    reader.require(precision in PRECISIONS, f"precision {precision!r} is none of {', '.join(PRECISIONS)}")
    return FileEntry(
        path=path,
        role=role,
        sha256=reader.match("sha256", SHA256),
        size=reader.integer("bytes", 1, MAX_FILE_BYTES),
        precision=precision,
        task=reader.match("task", TASK_NAME) if role == "generator" else None,
        weights=reader.match("weights", SHA256) if "weights" in reader.values else None,
        tolerance=reader.tolerance() if "tolerance" in reader.values else None,
    )


def printable(name: Any) -> bool:
    """Whether this is a text of 1 to 200 characters that a terminal shows as it is."""
    return isinstance(name, str) and 0 < len(name) <= 200 and name.isprintable()


class Reader:
    """Typed access to one JSON object; every failure is a BundleError that says where."""

    def __init__(self, values: Any, where: str) -> None:
        self.where = where
        if not isinstance(values, dict):
            raise BundleError(f"{where} must be a JSON object, not {type(values).__name__}")
        self.values: dict[str, Any] = values

    def require(self, holds: bool, claim: str) -> None:
        if not holds:
            raise BundleError(f"{self.where}: {claim}")

    def unique(self, what: str, names: list[Any]) -> None:
        for index, name in enumerate(names):
            self.require(name not in names[:index], f"{what} {name!r} occurs twice")

    def value(self, key: str, kind: type) -> Any:
        self.require(key in self.values, f"{key} is missing")
        value = self.values[key]
        self.require(type(value) is kind, f"{key} must be {kind.__name__}, not {type(value).__name__}")
        return value

    def text(self, key: str) -> str:
        value = self.value(key, str)
        self.require(printable(value), f"{key} must be printable text")
        return str(value)

    def match(self, key: str, pattern: re.Pattern[str]) -> str:
        value = self.value(key, str)
        self.require(pattern.fullmatch(value) is not None, f"{key} {value[:80]!r} must match {pattern.pattern}")
        return str(value)

    def integer(self, key: str, low: int, high: int) -> int:
        value = self.value(key, int)
        self.require(low <= value <= high, f"{key} must be from {low} to {high}")
        return int(value)

    def number(self, key: str) -> float:
        return self._finite(key, self.values.get(key))

    def tolerance(self) -> float:
        value = self.number("tolerance")
        self.require(0 < value <= 1, "tolerance must be in (0, 1]")
        return value

    def numbers(self, key: str) -> tuple[float, ...]:
        return tuple(self._finite(key, value) for value in self.value(key, list))

    def _finite(self, key: str, value: Any) -> float:
        self.require(type(value) in (int, float), f"{key} must be numbers")
        # An integer of hundreds of digits is valid JSON and no float.
        self.require(abs(value) < 1e30 and math.isfinite(value), f"{key} must be finite")
        return float(value)

    def reader(self, key: str) -> "Reader":
        return Reader(self.value(key, dict), f"{self.where}: {key}")

    def readers(self, key: str) -> list["Reader"]:
        values = self.value(key, list)
        self.require(bool(values), f"{key} is empty")
        return [Reader(value, f"{self.where}: {key}[{index}]") for index, value in enumerate(values)]
