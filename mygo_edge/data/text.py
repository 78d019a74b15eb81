"""Texts and their classes: tables, JSON lines or folders of the user's own, and AG News."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from mygo_edge.data.text_files import MAX_CHARACTERS, TABLES, Row, decoded, read_folder, read_table
from mygo_edge.data.text_options import TextOptions
from mygo_edge.errors import MygoEdgeError, warn

LEAST = 2  # training texts a class; fewer have no spread
AG_NEWS = "AG News (7.6k)"  # its test file alone, cut in two; never to be mistaken for the whole of AG News
_AG_NEWS_TEST = 1600


@dataclass(frozen=True, slots=True)
class TextSplit:
    """texts: n strings, none empty; labels: int64 [n]."""

    texts: list[str]
    labels: NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class TextDataset:
    """A whole dataset of texts; `classes[label]` is the name of a label."""

    name: str
    classes: list[str]
    train: TextSplit
    test: TextSplit

    def fingerprint(self) -> str:
        """SHA-256 of all texts, labels and class names, to tell whether a resumed run has the same data."""
        digest = hashlib.sha256(repr((self.name, self.classes)).encode())
        for split in (self.train, self.test):
            digest.update(repr(split.texts).encode("utf-8", "surrogatepass"))
            digest.update(split.labels.tobytes())
        return digest.hexdigest()


def load_text(root: Path, options: TextOptions) -> TextDataset:
    """The user's own texts; see `TextOptions` for what `root` may be.

    Raises:
        MygoEdgeError: no such files, lines that are not to be skipped, fewer than two classes, a class of too few
            texts, or different classes for training and for testing.
    """
    if not 0 < options.test_fraction < 1:
        raise MygoEdgeError(f"--text.test-fraction {options.test_fraction} cannot work: it must be between 0 and 1")
    parts = _train_and_test(root)
    if parts is None:
        classes, whole = _labelled(root, _rows(root, options))
        train, test = _cut(whole, split_rows(whole.labels, options.test_fraction))
    else:
        (classes, train), (others, test) = ((_labelled(part, _rows(part, options))) for part in parts)
        if classes != others:
            raise MygoEdgeError(
                f"{parts[0]} has classes {_some(classes)} and {parts[1]} has {_some(others)}; they must be the same"
            )
    return _checked(TextDataset("text", classes, train, test), root)


def load_ag_news(root: Path, seed: int = 0) -> TextDataset:
    """AG News (7.6k): 6,000 texts for training and 1,600 for testing, as many of every class, title and description.

    Args:
        root: holds ag_news_csv/test.csv and classes.txt, torchtext's layout.
        seed: of the cut; 0 unless splits are what is studied.

    Raises:
        MygoEdgeError: the files are missing or have other rows.
    """
    folder = root / "ag_news_csv"
    for file in ("test.csv", "classes.txt"):
        if not (folder / file).is_file():
            raise MygoEdgeError(f"{folder / file} is missing; set --data-root to the folder that holds ag_news_csv")
    names = decoded(folder / "classes.txt", "utf-8").split("\n")
    rows = read_table(folder / "test.csv", TextOptions(label="1", column="2,3", encoding="utf-8"))
    classes = [name.strip() for name in names if name.strip()]
    if sorted({row.label for row in rows}) != [str(1 + number) for number in range(len(classes))]:
        raise MygoEdgeError(f"{folder / 'test.csv'} does not have the classes of {folder / 'classes.txt'}")
    labels = np.array([int(row.label) - 1 for row in rows], dtype=np.int64)
    # A backslash stands where the original had a line break.
    if len(rows) < 2 * _AG_NEWS_TEST:
        raise MygoEdgeError(f"{folder / 'test.csv'} has {len(rows)} rows instead of 7,600; fetch it again")
    whole = TextSplit([row.text.replace("\\", " ") for row in rows], labels)
    train, test = _cut(whole, split_rows(labels, _AG_NEWS_TEST / len(rows), seed))
    return _checked(TextDataset(AG_NEWS, classes, train, test), folder)


def split_rows(labels: NDArray[np.int64], test_fraction: float, seed: int = 0) -> NDArray[np.bool_]:
    """Which of n rows are for testing, bool [n]: `test_fraction` of each class, one at least."""
    order = np.random.default_rng(seed).permutation(len(labels))
    kept = np.zeros(len(labels), dtype=np.bool_)
    for label in np.unique(labels):
        members = order[labels[order] == label]
        kept[members[: max(1, round(len(members) * test_fraction))]] = True
    return kept


def _train_and_test(root: Path) -> tuple[Path, Path] | None:
    """The two files or folders of `root`, where it has train and test."""
    if not root.exists():
        raise MygoEdgeError(f"{root} does not exist; --data-root must be a file of texts or a folder of them")
    if not root.is_dir():
        return None
    for name in ("", *TABLES):
        train, test = root / f"train{name}", root / f"test{name}"
        if train.exists() and test.exists():
            return train, test
    return None


def _rows(path: Path, options: TextOptions) -> list[Row]:
    rows = read_folder(path, options) if path.is_dir() else read_table(path, options)
    if long := [row for row in rows if len(row.text) > MAX_CHARACTERS]:
        first = f"{long[0].where} the first of them"
        warn(f"{len(long)} texts have more than {MAX_CHARACTERS} characters, {first}; the rest of each is cut")
    return [Row(row.where, row.text[:MAX_CHARACTERS], row.label) for row in rows]


def _labelled(path: Path, rows: Sequence[Row]) -> tuple[list[str], TextSplit]:
    if not rows:
        raise MygoEdgeError(f"{path} holds no texts")
    names = {row.label for row in rows}
    number = all(name.isascii() and name.isdecimal() for name in names)
    classes = sorted(names, key=lambda name: (int(name), name) if number else (0, name))
    numbers = {name: label for label, name in enumerate(classes)}
    return classes, TextSplit([row.text for row in rows], np.array([numbers[row.label] for row in rows], np.int64))


def _cut(whole: TextSplit, kept: NDArray[np.bool_]) -> tuple[TextSplit, TextSplit]:
    """The rows for training and those for testing."""
    train, test = (
        TextSplit([whole.texts[row] for row in np.flatnonzero(chosen)], whole.labels[chosen])
        for chosen in (~kept, kept)
    )
    return train, test


def _checked(dataset: TextDataset, where: Path) -> TextDataset:
    """`dataset`, if it has two classes and enough texts of each."""
    if len(dataset.classes) < 2:
        raise MygoEdgeError(
            f"{where} has one class, {dataset.classes[0]!r}; give texts of two at least, or name the "
            "column of the classes: --text.label"
        )
    counts = np.bincount(dataset.train.labels, minlength=len(dataset.classes))
    if counts.min() < LEAST:
        rare = dataset.classes[int(counts.argmin())]
        raise MygoEdgeError(
            f"{where}: class {rare!r} has {counts.min()} training texts, {LEAST} are needed at least, besides those "
            "kept for testing; add some or remove it (if it is a column's title, name columns instead of numbering "
            "them)"
        )
    return dataset


def _some(names: Sequence[str]) -> str:
    shown = ", ".join(names[:8])
    return f"{shown}, and {len(names) - 8} more" if len(names) > 8 else shown
