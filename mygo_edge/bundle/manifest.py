"""manifest.json of a bundle version: what it says, and how it is written. `mygo_edge.bundle.parsing` reads it.

Standard library only. docs/bundle.md describes the schema.
"""

import json
import re
from dataclasses import asdict, dataclass
from typing import Any, Literal

from mygo_edge.bundle.strict import BundleError, composed

SCHEMA_VERSION = "2.0"
READER = 8  # what this code can read; a manifest names the least reader that it needs
TASKS_READER = 6  # of versions whose older tasks stand in files of their own, and whose self-test is of some of them
TEXT_READER = 4  # of texts in parts, and of classes with covariances of their own, whose means are taken as they are
DENOISING_READER = 7  # of versions that name the rule by which noise is taken out of means
HEADS_READER = 8  # of versions in which tasks have heads of their own
MANIFEST = "manifest.json"
SIGNATURE = "manifest.sig"  # Ed25519 over the bytes of manifest.json, where the publisher signs
LATENT = 64  # normals a dream starts from, where the manifest says nothing else
DTYPE = "uint8"  # of the images that a classifier takes: raw pixels, scaled within the graph

ROLES = (
    "classifier",
    "generator",
    "selftest",
    "trunk",
    "tokenizer",
    "factor",
    "covariances",
    "rows",
    "head",
    "correction",
    "calibration",
    "tasks",
)
PART_ROLE = "tasks"  # of files in which older tasks stand
OF_TASKS = ("generator", "rows", "head")  # roles of files of one task
PRECISIONS = ("fp32", "fp16", "int8", "int8-weights")  # the recipes of `mygo_edge.export.recipes`
GAUSSIAN = "gaussian"  # the kind of a generator that is class means in an .npz file; all others are graphs
GENERATORS = ("convolutional", "perceptron", GAUSSIAN)
LAYOUTS = ("nchw", "nhwc")
CROPS = ("center", "none")
INTERPOLATIONS = ("nearest", "box", "bilinear", "hamming", "bicubic", "lanczos")  # Pillow's resampling filters

MAX_PARTS = 64  # of a text
MAX_PRIOR = 1000.0  # the largest temperature that a box measures

Rule = Literal["ridge", "truncated"]  # of `mygo_edge.bundle.denoising`; versions that name none mean the latter

TASK_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,63}")  # part of file names, on any file system


@dataclass(frozen=True, slots=True)
class Task:
    """name: of the task; classes: names of its classes in the order of its logits, in Unicode's normal form C; head:
    output of the classifier; generator: kind of the task's memory, one of GENERATORS.
    """

    name: str
    classes: tuple[str, ...]
    head: str
    generator: str = "convolutional"


@dataclass(frozen=True, slots=True)
class InputFormat:
    """Images are uint8 of shape (channels, height, width). mean and std: of a channel, on pixels scaled to [0, 1]; the
    classifier's graph applies them.
    """

    shape: tuple[int, int, int]
    mean: tuple[float, ...]
    std: tuple[float, ...]


@dataclass(frozen=True, slots=True)
class ImageInput:
    """How a picture becomes what a trunk takes.

    size: (height, width) of what the trunk takes; resize: pixels of the shorter side after resizing, before the crop,
    or None to go to `size` at once; crop: one of CROPS, "none" stretches; interpolation: one of INTERPOLATIONS; mean,
    std: of the three channels, on pixels scaled to [0, 1]; layout: one of LAYOUTS.
    """

    size: tuple[int, int]
    resize: int | None
    crop: str
    interpolation: str
    mean: tuple[float, ...]
    std: tuple[float, ...]
    layout: str = "nchw"


@dataclass(frozen=True, slots=True)
class TextInput:
    """tokenizer: path of its file in the version; max_tokens: that the trunk takes at once; parts: of a longer text, so
    many times as many are read and averaged (`mygo_edge.bundle.text_parts`), the rest is cut.
    """

    tokenizer: str
    max_tokens: int
    parts: int = 1


@dataclass(frozen=True, slots=True)
class TrunkFormat:
    """The frozen graph that makes features of raw input.

    digest: SHA-256 that says which features these are; file: path of the graph in the version; output: its output that
    is taken; features: width of that; input: how raw input is prepared.
    """

    digest: str
    file: str
    output: str
    features: int
    input: ImageInput | TextInput


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
    """A whole version.

    sequence: its number, the learner's count of publications; created: when, ISO 8601; tasks: in the order in which
    they were learnt; input: of a classifier that takes pixels, None where there is a trunk; tolerance: of the
    self-test, absolute up to 1 and relative above; files: those that this reader needs; producer: versions of what
    wrote it; id: of the learner, 32 hexadecimal digits, None before schema 2.0; reader: the least reader that it
    needs; latent: normals a dream starts from; features: width of the vector that heads stand on, None before schema
    2.0; trunk: where raw input is not pixels of the classifier; features_digest: of what makes features of images,
    stable while heads alone change (older publishers gave none); expires: a time past which devices warn; next_key:
    the Ed25519 public key, 64 hexadecimal digits, that signs after this one; prior: how much frequencies of classes
    count, where there is a trunk (`mygo_edge.bundle.prior`); denoising: the rule by which noise is taken out of
    class means where there is a trunk; ignored: paths of files that this reader does not know
    what to do with; apart: how many of the first tasks, with the entries of their files, stand in files of role
    "tasks" instead of in manifest.json (`mygo_edge.bundle.parts`).
    """

    sequence: int
    created: str
    tasks: tuple[Task, ...]
    input: InputFormat | None
    tolerance: float
    files: tuple[FileEntry, ...]
    producer: dict[str, str]
    id: str | None = None
    reader: int = 2
    latent: int = LATENT
    features: int | None = None
    trunk: TrunkFormat | None = None
    features_digest: str | None = None
    expires: str | None = None
    next_key: str | None = None
    prior: float = 0.0
    denoising: Rule = "truncated"
    ignored: tuple[str, ...] = ()
    apart: int = 0

    @property
    def pixels(self) -> InputFormat:
        """`input`. Raises BundleError where there is a trunk instead."""
        if self.input is None:
            raise BundleError("this version stands on a trunk; it takes no raw pixels")
        return self.input

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
        """Of the classifiers that the version holds, the one that a device takes unasked first: fp32 if it is there."""
        found = [entry.precision for entry in self.files if entry.role == "classifier"]
        return tuple(sorted(found, key=lambda precision: precision != "fp32"))


def manifest_json(manifest: Manifest) -> dict[str, Any]:
    """The manifest as plain JSON values of schema 2.0; `mygo_edge.bundle.parsing.parse_manifest` reads it back."""
    elsewhere = {task.name for task in manifest.tasks[: manifest.apart]}
    values: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "id": manifest.id,
        "sequence": manifest.sequence,
        "reader": manifest.reader,
        "created": manifest.created,
        "expires": manifest.expires,
        "next_key": manifest.next_key,
        "latent": manifest.latent,
        "features": manifest.features,
        "features_digest": manifest.features_digest,
        "prior": manifest.prior or None,
        "denoising": None if manifest.denoising == "truncated" else manifest.denoising,
        "tasks": [task_json(task) for task in manifest.tasks[manifest.apart :]] or None,
        "input": manifest.input and _pixels_json(manifest.input),
        "trunk": manifest.trunk and _trunk_json(manifest.trunk),
        "selftest": {"tolerance": manifest.tolerance},
        "files": [entry_json(entry) for entry in manifest.files if entry.task not in elsewhere],
        "producer": dict(manifest.producer),
    }
    return _present(values)


def manifest_bytes(manifest: Manifest) -> bytes:
    """The manifest as its file holds it, without a space: it is part of every update."""
    return compact(manifest_json(manifest))


def compact(values: dict[str, Any]) -> bytes:
    """JSON without a space."""
    return json.dumps(values, allow_nan=False, separators=(",", ":")).encode() + b"\n"


def task_json(task: Task) -> dict[str, Any]:
    """As a manifest holds it."""
    classes = list(map(composed, task.classes))
    return {"name": task.name, "classes": classes, "head": task.head, "generator": task.generator}


def _pixels_json(pixels: InputFormat) -> dict[str, Any]:
    return {"shape": list(pixels.shape), "dtype": DTYPE, "mean": list(pixels.mean), "std": list(pixels.std)}


def _trunk_json(trunk: TrunkFormat) -> dict[str, Any]:
    kind = "image" if isinstance(trunk.input, ImageInput) else "text"
    values = {"kind": kind, **asdict(trunk.input)}
    if values.get("parts") == 1:  # what readers before parts take it for
        del values["parts"]
    return asdict(trunk) | {"input": values}


def entry_json(entry: FileEntry) -> dict[str, Any]:
    """As a manifest holds it."""
    return _present(
        {
            "path": entry.path,
            "role": entry.role,
            "sha256": entry.sha256,
            "bytes": entry.size,
            "precision": entry.precision,
            "task": entry.task,
            "weights": entry.weights,
            "tolerance": entry.tolerance,
        }
    )


def _present(values: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in values.items() if value is not None}
