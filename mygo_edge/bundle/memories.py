"""Tasks that a device learnt in the feature space of a trunk: one small JSON file each, checked whenever it is read.

Such a memory is what the box publishes of a task, class means, and so it means the same beside every version that
stands on the same trunk, in the same transformed space: it survives updates. The file is sealed as a head's is.
"""

import base64
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mygo_edge.bundle.gaussian import ClassMeans, PowerTransform
from mygo_edge.bundle.gaussian_files import MAX_FEATURES, read_means, write_means
from mygo_edge.bundle.heads import MAX_FILE_BYTES, HeadError, checked_object, decoded_bytes, sealed
from mygo_edge.bundle.manifest import TASK_NAME, BundleError
from mygo_edge.bundle.parsing import MAX_CLASSES
from mygo_edge.bundle.reading import read_plain
from mygo_edge.bundle.strict import SHA256

SCHEMA_VERSION = "memory-1.0"


@dataclass(frozen=True, slots=True)
class TaskMemory:
    """name: of the task; classes: their names, as many as `means` has; trunk: which features they are of; transform:
    into the space that they lie in; created: when, UTC."""

    name: str
    classes: tuple[str, ...]
    means: ClassMeans
    trunk: str
    transform: PowerTransform
    created: str


def memory_bytes(memory: TaskMemory) -> bytes:
    """The content of a memory's file, the means in half precision; `parse_memory` reads it back."""
    values: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "name": memory.name,
        "classes": list(memory.classes),
        "features": memory.means.means.shape[1],
        "trunk": memory.trunk,
        "power": memory.transform.power,
        "signed": memory.transform.signed,
        "normalised": memory.transform.normalised,
        "created": memory.created,
        "means": base64.b64encode(write_means(memory.means, "fp16")).decode(),
    }
    return sealed(values)


def read_memory(path: Path) -> TaskMemory:
    """Read and check a memory's file. Raises HeadError, which names it."""
    try:
        return parse_memory(read_plain(path, MAX_FILE_BYTES), str(path))
    except BundleError as error:
        raise HeadError(f"{error}; learn the task again") from error


def parse_memory(data: bytes, where: str) -> TaskMemory:
    """Check everything in a memory's file; `where` is what to call it in errors.

    Raises:
        BundleError: not JSON, another schema, a value that is missing, of the wrong type or out of range, or damage.
    """
    reader = checked_object(data, where, SCHEMA_VERSION)
    classes = reader.names("classes", MAX_CLASSES)
    features = reader.integer("features", 1, MAX_FEATURES)
    return TaskMemory(
        name=reader.match("name", TASK_NAME),
        classes=classes,
        means=read_means(decoded_bytes(reader, "means"), f"{where}: means", features, len(classes)),
        trunk=reader.match("trunk", SHA256),
        transform=PowerTransform(
            reader.number("power"), reader.value("signed", bool), reader.value("normalised", bool)
        ),
        created=reader.time("created"),
    )
