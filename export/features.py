"""Publish a memory in the feature space of a trunk as a bundle version: trunk, shared factor, class means, self-test.

The classifier is rows, a file a task, which a device completes; or, where there are none, it computes the classifier
from means and factor (docs/bundle.md).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

import numpy as np
import onnxruntime

import mygo_edge
from mygo_edge.bundle.calibration import Calibration, write_calibration
from mygo_edge.bundle.feature_selftest import write_feature_selftest
from mygo_edge.bundle.gaussian import ClassMeans, SharedFactor
from mygo_edge.bundle.gaussian_files import Precision, read_means, read_shared, write_means, write_shared
from mygo_edge.bundle.manifest import (
    DENOISING_READER,
    GAUSSIAN,
    HEADS_READER,
    PART_ROLE,
    TASKS_READER,
    TEXT_READER,
    FileEntry,
    Manifest,
    Task,
    TextInput,
    manifest_bytes,
)
from mygo_edge.bundle.npz import same_arrays
from mygo_edge.bundle.own_covariance import OwnCovariances, read_own, write_own
from mygo_edge.bundle.parts import part_path, parts_of
from mygo_edge.bundle.reading import Bundle
from mygo_edge.bundle.rows import ClassRows
from mygo_edge.bundle.wake_head import WakeHead, stored_head, write_head
from mygo_edge.device.feature_selftest import compute
from mygo_edge.device.features import FeatureEngine
from mygo_edge.device.session import SessionOptions
from mygo_edge.errors import MygoEdgeError
from mygo_edge.export import gate
from mygo_edge.export.feature_gate import Heads, LabelledVectors, Memory, divergence, labelled_vectors, memory_measures
from mygo_edge.export.feature_rows import sent_rows
from mygo_edge.export.graphs import head_name
from mygo_edge.export.recipes import MAX_LOSS
from mygo_edge.export.trunks import TrunkFiles
from mygo_edge.export.versions import live_bundle, write_version
from mygo_edge.files import sha256

TOLERANCE = 1e-3  # of the self-test: sums in another order, ten times over
INTEGER_TOLERANCE = 5e-2  # of a trunk that multiplies integers: a last bit may move an activation to the next level
# Of an update, besides the trunk: above it rows are corrected, and a new factor waits where new rows leave it no room.
MAX_UPDATE = 130_000
_GROWTH = 2_000  # of manifest, self-test and calibration, by a task
MAX_DIVERGENCE = 0.005  # nats a feature by which dreams may become others while the shared factor stays


class Precisions(NamedTuple):
    """How a memory is stored; rows are always in int8. means: None for int8 beside rows, which answer, and for fp16
    where answers are computed from the means: int8 would change six times as many (docs/bundle.md)."""

    means: Precision | None = None
    factor: Precision = "int8"


PRECISIONS = Precisions()


class FeatureMemory(NamedTuple):
    """A task as the learner remembers it. classes: their names, as many as `means` has; rows: of the classifier, of all
    tasks or of none; head: of the task's wake, where it has one."""

    name: str
    classes: Sequence[str]
    means: ClassMeans
    rows: ClassRows | None = None
    head: WakeHead | None = None


def publish_features(
    bundle_dir: Path,
    *,
    trunk: TrunkFiles,
    shared: SharedFactor,
    tasks: Sequence[FeatureMemory],
    learner_id: str,
    sequence: int,
    own: OwnCovariances | None = None,
    calibration: Calibration | None = None,
    prior: float = 0.0,
    precisions: Precisions = PRECISIONS,
    max_loss: float = MAX_LOSS,
    real: Sequence[LabelledVectors] = (),
    say: Callable[[str], None] = lambda line: None,
    keep_before: bool = True,
) -> Path:
    """Write, check and make live a version. One process at a time publishes to a bundle.

    Files of the live version stay, byte for byte: the trunk; means and head of a task that it holds; its rows, while
    they are of the same covariance; the shared factor, as long as answers with it differ by no more than `max_loss` and
    dreams by no more than `MAX_DIVERGENCE`, or while new rows leave it no room in `MAX_UPDATE`.

    Args:
        bundle_dir: the bundle's folder; created when it is not there.
        trunk: see `mygo_edge.export.trunks`.
        shared: the factor as the learner has it now.
        tasks: in task order.
        own: what the covariances of classes have besides, of all tasks, stored in int8.
        calibration: how scores are to be read, where the learner measured that.
        prior: how much frequencies of classes count (`mygo_edge.bundle.prior`).
        learner_id: 32 hexadecimal digits, the same in everything that this learner publishes.
        sequence: the learner's count of publications.
        precisions: of means and factor.
        max_loss: how much a measure of `mygo_edge.export.feature_gate` may fall against fp32, a fraction.
        real: labelled vectors by task, to compare on besides dreams.
        say: gets a line for every number that is measured.
        keep_before: whether the version before stays on disk.

    Returns:
        The folder of the live version.

    Raises:
        PrecisionLossError: the precisions lose more than `max_loss`. The version that is live stays so.
        MygoEdgeError: names or files that do not fit, or numbers that are not finite. The version that is live stays.
        OSError: the disk refuses.
    """
    rows = [task.rows for task in tasks if task.rows is not None]
    if rows and len(rows) < len(tasks):
        raise MygoEdgeError(f"{len(tasks) - len(rows)} of {len(tasks)} tasks have no rows; let the learner sleep first")
    means_precision: Precision = precisions.means or ("int8" if rows else "fp16")
    draft = _Draft(live_bundle(bundle_dir), precisions._replace(means=means_precision))
    draft.add_trunk(trunk)
    stored_means = [draft.add_means(task) for task in tasks]
    for task in tasks:
        draft.add_head(task)
    sent = sent_rows([task.name for task in tasks], rows, shared, draft.live, draft.room) if rows else None
    for file in sent.files if sent else ():
        draft.add(*file)
    heads = Heads([task.head for task in tasks], calibration.temperature if calibration else 1.0)
    exact = Memory([task.means for task in tasks], shared, own, sent and sent.rows, heads)
    stored_heads = heads._replace(heads=[head and stored_head(head) for head in heads.heads])
    samples = {"dreams": labelled_vectors(exact)} | ({"real features": real} if real else {})

    def measures(factor: SharedFactor) -> list[gate.Measure]:
        stored_own = own and draft.stored_own(own, factor)
        as_stored = Memory(stored_means, factor, stored_own, sent and sent.stored, stored_heads)
        return [
            measure
            for on, sample in samples.items()
            for measure in memory_measures("the memory", exact, as_stored, sample, on)
        ]

    kept = draft.live_factor()
    if kept is not None:
        apart = divergence(shared, kept)
        stays = apart <= MAX_DIVERGENCE and all(measure.loss <= max_loss for measure in measures(kept))
        waits = not stays and np.isfinite(apart) and draft.full(shared)
        becomes = "stays until an update has room" if waits else "stays" if stays else "is replaced"
        say(f"shared factor: {apart:.4f} nats a feature from the live one, which {becomes}")
        kept = kept if stays or waits else None
    factor = draft.add_factor(shared, kept is not None)
    found = measures(factor)
    for measure in found:
        say(str(measure))
    gate.require(found, max_loss)
    if own is not None:
        draft.add("covariances.int8.npz", "covariances", write_own(own, factor), "int8")
    if calibration is not None:
        draft.add("calibration.npz", "calibration", write_calibration(calibration), "fp32")
    manifest = Manifest(
        sequence=sequence,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        tasks=tuple(Task(name, tuple(classes), head_name(name), GAUSSIAN) for name, classes, *_ in tasks),
        input=None,
        tolerance=TOLERANCE,
        files=tuple(draft.files),
        producer={"mygo_edge": mygo_edge.__version__, "onnxruntime": onnxruntime.__version__, "numpy": np.__version__},
        id=learner_id,
        reader=HEADS_READER if any(heads.heads) else DENOISING_READER if own is None else TEXT_READER,
        prior=prior,
        denoising="ridge" if own is None else "truncated",
        latent=shared.rank,
        features=trunk.form.features,
        trunk=trunk.form,
    )
    apart, parts = parts_of(manifest)
    for index, part in enumerate(parts):
        draft.add(part_path(index), PART_ROLE, part, "fp32")
    if apart:
        manifest = replace(manifest, apart=apart, reader=max(manifest.reader, TASKS_READER))
    engine = FeatureEngine(Bundle("the new version", manifest, draft.contents), trunk.form, SessionOptions(), None)
    draft.add("selftest.npz", "selftest", write_feature_selftest(compute(engine)), "fp32")
    whole = replace(manifest, files=tuple(draft.files))
    return write_version(bundle_dir, whole, draft.contents, keep_before=keep_before)


@dataclass
class _Draft:
    """The files of a version as they are made. live: the version whose files stay where they can."""

    live: Bundle | None
    precisions: Precisions
    files: list[FileEntry] = field(default_factory=list)
    contents: dict[str, bytes] = field(default_factory=dict)

    def add_trunk(self, trunk: TrunkFiles) -> None:
        tolerance = INTEGER_TOLERANCE if trunk.precision == "int8" else None
        self.add(trunk.form.file, "trunk", trunk.graph, trunk.precision, tolerance=tolerance)
        if isinstance(trunk.form.input, TextInput):
            if trunk.tokenizer is None:
                raise MygoEdgeError(f"{trunk.form.file} takes text and has no tokenizer; give its tokenizer.json")
            self.add(trunk.form.input.tokenizer, "tokenizer", trunk.tokenizer, "fp32")

    def add_means(self, task: FeatureMemory) -> ClassMeans:
        """The means as a device reads them; the very bytes of the live version, where that has the task already."""
        name, classes, means, *_ = task
        if len(classes) != len(means.counts) or not np.isfinite(means.means).all():
            raise MygoEdgeError(f"task {name}: {len(classes)} classes need as many means, and finite ones")
        precision = self.precisions.means
        assert precision is not None
        path, data = f"means-{name}{_variant(precision)}.npz", write_means(means, precision)
        before = self.live and self.live.manifest.find("generator", name, precision)
        if self.live and before and same_arrays(self.live.contents[before.path], data):
            data = self.live.contents[before.path]  # even where another version of numpy writes other headers
        self.add(path, "generator", data, precision, name)
        return read_means(data, path, means.means.shape[1], len(classes))

    def add_head(self, task: FeatureMemory) -> None:
        """The head of its wake, which never changes; the very bytes of the live version, where that has it already."""
        if task.head is None:
            return
        path, data = f"head-{task.name}.int8.npz", write_head(task.head)
        before = self.live and self.live.manifest.find("head", task.name, "int8")
        if self.live and before and same_arrays(self.live.contents[before.path], data):
            data = self.live.contents[before.path]
        self.add(path, "head", data, "int8", task.name)

    def live_factor(self) -> SharedFactor | None:
        """The live version's, where that has one of the same precision."""
        before = self.live and self.live.manifest.find("factor", None, self.precisions.factor)
        return read_shared(self.live.contents[before.path], before.path) if self.live and before else None

    def full(self, shared: SharedFactor) -> bool:
        """Whether rows of tasks that the live version has are new, and a new factor beside them would be too much; one
        that no update has room for need not wait for another.
        """
        return self._renews_rows and self.room < len(write_shared(shared, self.precisions.factor)) <= MAX_UPDATE

    @property
    def _renews_rows(self) -> bool:
        """Whether tasks that the live version has get other rows."""
        old = {entry.path for entry in self.live.manifest.files} if self.live else set()
        roles = {entry.role for entry in self._fresh if entry.role == "correction" or entry.path in old}
        return not roles.isdisjoint(("rows", "correction"))

    @property
    def _fresh(self) -> list[FileEntry]:
        live = {entry.path: entry.sha256 for entry in self.live.manifest.files} if self.live else {}
        return [entry for entry in self.files if live.get(entry.path) != entry.sha256]

    @property
    def room(self) -> int:
        """Bytes that an update has left beside what is new so far, and what every update brings."""
        always = 0
        if self.live is not None:
            manifest = self.live.manifest
            always = len(manifest_bytes(manifest)) + _GROWTH
            # Files of older tasks come anew with the rows that they name.
            roles = ("selftest", "calibration", *((PART_ROLE,) if self._renews_rows else ()))
            always += sum(entry.size for entry in manifest.files if entry.role in roles)
        return MAX_UPDATE - always - sum(entry.size for entry in self._fresh if entry.role != "trunk")

    def stored_own(self, own: OwnCovariances, factor: SharedFactor) -> OwnCovariances:
        """As a device will read them beside this factor."""
        return read_own(write_own(own, factor), "the covariances", factor, len(own.covariances))

    def add_factor(self, shared: SharedFactor, keep: bool) -> SharedFactor:
        """The factor as a device reads it."""
        precision = self.precisions.factor
        path = f"factor{_variant(precision)}.npz"
        before = self.live and self.live.manifest.find("factor", None, self.precisions.factor)
        data = self.live.contents[before.path] if keep and self.live and before else write_shared(shared, precision)
        self.add(path, "factor", data, precision)
        return read_shared(data, path)

    def add(
        self,
        path: str,
        role: str,
        data: bytes,
        precision: str,
        task: str | None = None,
        weights: str | None = None,
        tolerance: float | None = None,
    ) -> None:
        self.contents[path] = data
        self.files.append(FileEntry(path, role, sha256(data), len(data), precision, task, weights, tolerance))


def _variant(precision: str) -> str:
    """What the name of a file of that precision has before its suffix."""
    return "" if precision == "fp32" else f".{precision}"
