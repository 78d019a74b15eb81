"""Read manifest.json, which came over a network: nothing in it is believed before it is checked. Standard library only.

Keys that this reader does not know are ignored, and so are files of a role or a precision that it does not know: a
device has no use for them and does not fetch them. A publisher whose version cannot be used without them says so in
`reader`. A schema that is not known is refused.

Older tasks may stand in files of role "tasks" (`mygo_edge.bundle.parts`): `part_entries` says which, and
`parse_manifest` takes their bytes, once these were held against their hashes.
"""

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType

from mygo_edge.bundle.formats import MAX_FEATURES, pixels, trunk_of
from mygo_edge.bundle.manifest import (
    DENOISING_READER,
    GAUSSIAN,
    LATENT,
    MANIFEST,
    MAX_PRIOR,
    OF_TASKS,
    PART_ROLE,
    PRECISIONS,
    READER,
    ROLES,
    SCHEMA_VERSION,
    SIGNATURE,
    TASK_NAME,
    TASKS_READER,
    FileEntry,
    Manifest,
    Rule,
    Task,
    TrunkFormat,
)
from mygo_edge.bundle.strict import SHA256, BundleError, Reader, load_object

FIRST_SCHEMA = "1.0"
_FIRST_ROLES = ("classifier", "generator", "selftest")

MAX_FILE_BYTES = 2**31 - 1  # a serialised protobuf message is smaller than 2 GiB
MAX_TASKS = 1000
MAX_CLASSES = 4096  # of a task
MAX_ALL_CLASSES = 2**16
MAX_FILES = 4096
MAX_MANIFEST_BYTES = 2**22  # and as many of all files of role "tasks" together
_MAX_LATENT = 4096

LEARNER_ID = re.compile(r"[0-9a-f]{32}")
_KIND = re.compile(r"[a-z][a-z0-9-]{0,31}")  # of a generator; later ones are new files of known roles
_FILE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,127}")
# What a file of data may end in. A file of an unknown role may lie in a version's folder under no other name: nothing
# that an interpreter or a loader would take up by itself belongs there.
_DATA_FILE = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]{0,120}\.(onnx|npz|npy|json|txt|bin|model|safetensors)")
_LABEL = r"(-[A-Za-z0-9_][A-Za-z0-9_-]{0,63})?"


def part_entries(data: bytes, where: str) -> list[FileEntry]:
    """The files of role "tasks" of a manifest, whose bytes `parse_manifest` needs. Raises BundleError as that does."""
    top, _, reader = _opened(data, where)
    return _part_entries(top, reader)


def next_key_of(data: bytes, where: str) -> str | None:
    """The key that a manifest names as the next one, if any. Raises BundleError where it is none."""
    top, first, _ = _opened(data, where)
    return _next_key(top, first)


def parse_manifest(data: bytes, where: str, parts: Mapping[str, bytes] = MappingProxyType({})) -> Manifest:
    """Read and check a manifest, in time that is linear in its bytes.

    Args:
        data: the bytes of manifest.json.
        where: what to call the file in errors.
        parts: the bytes of the files that `part_entries` names, by path, of the size and hash that it says.

    Raises:
        BundleError: not JSON, an unknown schema, a newer reader is needed, or a value is missing, of the wrong type or
            out of range.
    """
    top, first, reader = _opened(data, where)
    tasks, files, ignored = list[Task](), list[FileEntry](), list[str]()
    for entry in _part_entries(top, reader):
        top.require(entry.path in parts, f"{entry.path} is missing")
        part = load_object(parts[entry.path], f"{where}: {entry.path}")
        own = [_task(values, first) for values in part.readers("tasks", MAX_TASKS)]
        tasks += own
        found = _files(part, own, ROLES, ignored)
        part.require(all(file.task for file in found), "it lists a file that is of no task")
        files += found
    apart = len(tasks)
    own = [_task(values, first) for values in top.readers("tasks", MAX_TASKS)] if "tasks" in top or not apart else []
    tasks += own
    _require_bounded(top, tasks)
    files += _files(top, own, _FIRST_ROLES if first else ROLES, ignored)
    _require_unique(top, files, ignored)
    producer = top.value("producer", dict)
    top.require(all(isinstance(version, str) for version in producer.values()), "producer must hold text only")
    trunk = trunk_of(top.reader("trunk"), files) if not first and "trunk" in top else None
    if trunk:
        top.require("input" not in top, "input and trunk exclude each other")
    digest = "trunk" if first else "features_digest"
    return Manifest(
        sequence=top.integer("sequence", 0, 10**9 - 1),
        created=top.time("created"),
        tasks=tuple(tasks),
        input=None if trunk else pixels(top.reader("input")),
        tolerance=top.reader("selftest").tolerance(),
        files=tuple(files),
        producer=producer,
        id=None if first else top.match("id", LEARNER_ID),
        reader=reader,
        latent=LATENT if first else top.integer("latent", 1, _MAX_LATENT),
        features=None if first else top.integer("features", 1, MAX_FEATURES),
        trunk=trunk,
        features_digest=top.match(digest, SHA256) if digest in top else None,
        expires=top.time("expires") if not first and "expires" in top else None,
        next_key=_next_key(top, first),
        prior=_prior(top, trunk) if "prior" in top else 0.0,
        denoising=_denoising(top, reader, trunk) if "denoising" in top else "truncated",
        ignored=tuple(ignored),
        apart=apart,
    )


def _opened(data: bytes, where: str) -> tuple[Reader, bool, int]:
    """The values of a manifest, whether it is of the first schema, and the reader that it needs."""
    top = load_object(data, where)
    schema = top.value("schema_version", str)
    if schema not in (FIRST_SCHEMA, SCHEMA_VERSION):
        raise BundleError(
            f"{where}: schema_version {schema[:20]!r} is neither {SCHEMA_VERSION} nor {FIRST_SCHEMA}; "
            "update mygo_edge on this device"
        )
    first = schema == FIRST_SCHEMA
    reader = 1 if first else top.integer("reader", 1, 10**6)
    if reader > READER:
        raise BundleError(f"{where} needs reader {reader}, this is {READER}; update mygo_edge on this device")
    return top, first, reader


def _next_key(top: Reader, first: bool) -> str | None:
    return top.match("next_key", SHA256) if not first and "next_key" in top else None


def _part_entries(top: Reader, reader: int) -> list[FileEntry]:
    listed = [values for values in top.readers("files", MAX_FILES) if values.values.get("role") == PART_ROLE]
    if reader < TASKS_READER:  # readers before would take the version for one without these tasks
        top.require(not listed, f"files of role {PART_ROLE} need reader {TASKS_READER}")
    for values in listed:
        values.choice("precision", ("fp32",))  # of any other it would be a file that readers ignore
    entries = [_file(values, PART_ROLE, {}) for values in listed]
    total = sum(entry.size for entry in entries)
    top.require(total <= MAX_MANIFEST_BYTES, f"{total} bytes of role {PART_ROLE} are more than {MAX_MANIFEST_BYTES}")
    return entries


def _require_bounded(top: Reader, tasks: Sequence[Task]) -> None:
    top.require(len(tasks) <= MAX_TASKS, f"tasks has {len(tasks)} entries, at most {MAX_TASKS} are allowed")
    top.unique("task name", [task.name.casefold() for task in tasks])
    top.unique("head", [task.head for task in tasks])
    total = sum(len(task.classes) for task in tasks)
    top.require(total <= MAX_ALL_CLASSES, f"tasks have {total} classes, at most {MAX_ALL_CLASSES} are allowed")


def _prior(top: Reader, trunk: TrunkFormat | None) -> float:
    prior = top.number("prior")
    top.require(trunk is not None and 0 <= prior <= MAX_PRIOR, f"prior must be from 0 to {MAX_PRIOR:g}, with a trunk")
    return prior


def _denoising(top: Reader, reader: int, trunk: TrunkFormat | None) -> Rule:
    top.require(reader >= DENOISING_READER, f"denoising needs reader {DENOISING_READER}")  # those before would not look
    top.require(trunk is not None, "denoising is of means that stand on a trunk")
    top.choice("denoising", ("ridge",))
    return "ridge"


def _task(reader: Reader, first: bool) -> Task:
    return Task(
        name=reader.match("name", TASK_NAME),
        classes=reader.names("classes", MAX_CLASSES),
        head=reader.text("head"),
        generator="convolutional" if first else reader.match("generator", _KIND),
    )


def _files(top: Reader, tasks: Sequence[Task], roles: tuple[str, ...], ignored: list[str]) -> list[FileEntry]:
    """Entries that this reader knows; `ignored` gets paths of the others that may lie in the folder."""
    kinds = {task.name: task.generator for task in tasks}
    files = []
    for reader in top.readers("files", MAX_FILES):
        role = reader.value("role", str)
        if role not in roles or reader.value("precision", str) not in PRECISIONS:
            path = reader.values.get("path")
            if isinstance(path, str) and _DATA_FILE.fullmatch(path) and path.casefold() != MANIFEST:
                ignored.append(path)
            continue
        files.append(_file(reader, role, kinds))
    top.require(bool(files), "files holds nothing that this reader knows")
    return files


def _require_unique(top: Reader, files: Sequence[FileEntry], ignored: Sequence[str]) -> None:
    total = len(files) + len(ignored)
    top.require(total <= MAX_FILES, f"files has {total} entries, at most {MAX_FILES} are allowed")
    top.unique("path", [path.casefold() for path in (*(entry.path for entry in files), *ignored)])
    # Trunks, tokenizers and their likes are found by their path.
    several = ("trunk", "tokenizer", PART_ROLE)
    top.unique(
        "file with the role, task and precision",
        [(e.role, e.task, e.precision) for e in files if e.role not in several],
    )


def _file(reader: Reader, role: str, kinds: dict[str, str]) -> FileEntry:
    path, precision = reader.match("path", _FILE_NAME), str(reader.value("precision", str))
    reader.require(path.casefold() not in (MANIFEST, SIGNATURE), f"{path} cannot be listed")
    task = reader.match("task", TASK_NAME) if role in OF_TASKS else None
    reader.require(task is None or task in kinds, f"{path} has an unknown task")
    names = _names(role, precision, task, kinds.get(task or "", ""))
    reader.require(names.fullmatch(path) is not None, f"path {path!r} of a {role} must match {names.pattern}")
    return FileEntry(
        path=path,
        role=role,
        sha256=reader.match("sha256", SHA256),
        size=reader.integer("bytes", 1, MAX_FILE_BYTES),
        precision=precision,
        task=task,
        weights=reader.match("weights", SHA256) if "weights" in reader else None,
        tolerance=reader.tolerance() if "tolerance" in reader else None,
    )


def _names(role: str, precision: str, task: str | None, kind: str) -> re.Pattern[str]:
    """What a file of this role may be called."""
    variant = "" if precision == "fp32" else rf"\.{precision}"  # no character of it, or of a task's name, is special
    if role == "generator":
        stem, suffix = (f"means-{task}", "npz") if kind == GAUSSIAN else (f"generator-{task}", "onnx")
        return re.compile(rf"{stem}{variant}\.{suffix}")
    return re.compile(
        {
            "classifier": rf"classifier{variant}\.onnx",
            "selftest": r"selftest\.npz",
            "trunk": rf"trunk{_LABEL}{variant}\.onnx",
            "tokenizer": rf"tokenizer{_LABEL}\.(json|txt|model)",
            "factor": rf"factor{variant}\.npz",
            "covariances": rf"covariances{variant}\.npz",
            "rows": rf"rows-{task}{variant}\.npz",
            "head": rf"head-{task}{variant}\.npz",
            "correction": rf"correction{variant}\.npz",
            "calibration": r"calibration\.npz",
            PART_ROLE: r"tasks-[0-9]{1,4}\.json",
        }[role]
    )
