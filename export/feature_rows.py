"""Which rows of the classifier an update brings: those of new tasks; of old ones, where the covariance moved on, all
anew, or what corrects the rows that devices have (`mygo_edge.bundle.correction`).
"""

import hashlib
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from mygo_edge.bundle.correction import Correction, corrected, difference, read_correction, write_correction
from mygo_edge.bundle.gaussian import Floats, SharedFactor
from mygo_edge.bundle.manifest import PART_ROLE
from mygo_edge.bundle.reading import Bundle
from mygo_edge.bundle.rows import ClassRows, join_rows, read_rows, stored, write_rows

_RANKS = (32, 64)  # of a correction, fewest and most columns (docs/photos.md)
_MOST_LEFT = 0.5  # of the difference between logits of new rows and of those that devices have; else rows come anew
_HEADERS = 2_000  # bytes of a correction besides its numbers
_PATH, _PRECISION = "correction.int8.npz", "int8"


class RowFile(NamedTuple):
    """As `mygo_edge.export.features` adds it to a version."""

    path: str
    role: str
    data: bytes
    precision: str = _PRECISION
    task: str | None = None
    weights: str | None = None


class SentRows(NamedTuple):
    """rows: of the classes of all tasks, what devices are meant to answer by; stored: the same, as they read them."""

    rows: ClassRows
    stored: ClassRows
    files: list[RowFile]


def sent_rows(
    names: Sequence[str], rows: Sequence[ClassRows], shared: SharedFactor, live: Bundle | None, room: int
) -> SentRows:
    """What fits an update best.

    Args:
        names: of tasks.
        rows: of these, of one covariance.
        shared: the factor, which says how features of a class differ.
        live: the version whose files can stay.
        room: bytes that an update can take.
    """
    anew = _anew(names, rows)
    before = _Live.read(live, names, rows) if live else None
    if before is None:
        return anew
    if (stays := before.with_its_correction()) is not None:
        return stays
    assert live is not None
    new = [file for file in anew.files if live.contents.get(file.path) != file.data]
    # What stands apart of older tasks names their rows, and comes anew with them.
    named = sum(entry.size for entry in live.manifest.files if entry.role == PART_ROLE)
    if sum(len(file.data) for file in new) + named <= room:
        return anew
    room -= sum(len(file.data) for file in new if file.path not in live.contents)
    return before.with_a_correction(shared, room) or anew


def _anew(names: Sequence[str], rows: Sequence[ClassRows]) -> SentRows:
    files = [_file(name, write_rows(own)) for name, own in zip(names, rows, strict=True)]
    return SentRows(join_rows(rows), join_rows([stored(own) for own in rows]), files)


def _file(name: str, data: bytes) -> RowFile:
    return RowFile(f"rows-{name}.{_PRECISION}.npz", "rows", data, task=name)


class _Live(NamedTuple):
    """The rows that devices have, of the first of all tasks. files: of all tasks, live ones as they are; parts: what
    these hold; tasks: how many were live; rows: what all are meant to be."""

    bundle: Bundle
    files: list[RowFile]
    parts: list[ClassRows]
    tasks: int
    rows: Sequence[ClassRows]

    @classmethod
    def read(cls, live: Bundle, names: Sequence[str], rows: Sequence[ClassRows]) -> "_Live | None":
        """None where the live version has no rows, or tasks that are forgotten: those must leave nothing."""
        old = [task.name for task in live.manifest.tasks]
        paths = [_file(name, b"").path for name in old]
        if old != list(names[: len(old)]) or not all(path in live.contents for path in paths):
            return None
        files = [_file(name, live.contents[path]) for name, path in zip(old, paths, strict=True)]
        files += [_file(name, write_rows(own)) for name, own in zip(names[len(old) :], rows[len(old) :], strict=True)]
        widths = [own.rows.shape for own in rows]
        parts = [read_rows(file.data, file.path, *shape[::-1]) for file, shape in zip(files, widths, strict=True)]
        return cls(live, files, parts, len(old), rows)

    @property
    def classes(self) -> list[int]:
        """Where each task ends."""
        return [int(end) for end in np.cumsum([len(own.rows) for own in self.rows])]

    def correction(self) -> tuple[Correction, bytes, str | None] | None:
        """What devices have, its file, and what it makes of rows."""
        entry = self.bundle.manifest.find("correction", None, _PRECISION)
        if entry is None:
            return None
        data = self.bundle.contents[entry.path]
        found = read_correction(data, entry.path, self.rows[0].rows.shape[1], self.classes[-1])
        return found, data, entry.weights

    def answered_by(self, classes: int) -> Floats:
        """Rows of the live classes, [classes, features], as devices have them."""
        found = self.correction()
        return corrected(self.parts[: self.tasks], found and found[0]).rows[:classes]

    def with_its_correction(self) -> SentRows | None:
        """With the correction that devices have, where it has made of their rows what these are meant to be."""
        if (found := self.correction()) is None:
            return None
        correction, data, weights = found
        tasks = self.classes.index(len(correction.left)) + 1
        later = zip(self.files[tasks : self.tasks], self.rows[tasks : self.tasks], strict=True)
        if weights != _digest(self.rows[:tasks]) or any(file.data != write_rows(own) for file, own in later):
            return None
        return self._corrected(data, correction, weights)

    def with_a_correction(self, shared: SharedFactor, room: int) -> SentRows | None:
        """With a new one, in so many bytes; None where it would take more than the rows, or leave too much undone."""
        old, new = np.concatenate([own.rows for own in self.parts[: self.tasks]]), join_rows(self.rows[: self.tasks])
        classes, features = new.rows.shape
        rank = int(np.clip((room - _HEADERS) // (features + classes + 8), *_RANKS))
        if rank * (features + classes) > new.rows.size:
            return None
        deviations = np.sqrt((shared.factor.astype(np.float64) ** 2).sum(0) + shared.diagonal)
        data = write_correction(difference(old, new, deviations, rank))
        found = self._corrected(data, read_correction(data, _PATH, features, classes), _digest(self.rows[: self.tasks]))
        left, now = (
            logit_difference(rows, new.rows, shared)
            for rows in (found.stored.rows[:classes], self.answered_by(classes))
        )
        return found if left <= _MOST_LEFT * now else None

    def _corrected(self, data: bytes, correction: Correction, weights: str) -> SentRows:
        files = [*self.files, RowFile(_PATH, "correction", data, weights=weights)]
        kept = [*self.parts[: self.tasks], *self.rows[self.tasks :]]
        return SentRows(corrected(kept, correction), corrected(self.parts, correction), files)


def logit_difference(one: Floats, other: Floats, shared: SharedFactor) -> float:
    """The share of the variance of the logits of rows `one` [classes, features], over features of one class, that those
    of `other` do not explain in any scale: as `mygo_edge.learn.features.shared_covariance` has it, with the shared
    factor's covariance.
    """
    first, second = (rows - rows.mean(0, dtype=np.float64) for rows in (one, other))
    applied = [rows @ shared.factor.T @ shared.factor + rows * shared.diagonal for rows in (first, second)]
    powers = float((first * applied[0]).sum()) * float((second * applied[1]).sum())
    return 1 - float((first * applied[1]).sum()) ** 2 / powers if powers > 0 else 0.0


def _digest(rows: Sequence[ClassRows]) -> str:
    """SHA-256 of what rows are meant to be."""
    digest = hashlib.sha256()
    for own in rows:
        digest.update(np.ascontiguousarray(own.rows).tobytes())
    digest.update(np.array(rows[0].spread).tobytes())
    return digest.hexdigest()
