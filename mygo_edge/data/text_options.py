"""Options of the dataset `text`; a part of the tree in `mygo_edge.options`."""

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mygo_edge.bundle.manifest import MAX_PARTS
from mygo_edge.errors import MygoEdgeError


@dataclass(frozen=True, kw_only=True, slots=True)
class TextOptions:
    """Your own texts (--dataset text): --data-root is a CSV, TSV or JSON lines file, a folder with train and test files
    of these kinds, or a folder of CLASS/*.txt (or of train/CLASS/*.txt and test/CLASS/*.txt)."""

    label: str = "label"
    """Column or key of the class: its name, or its number counted from 1 in a file without a header."""
    column: str = "text"
    """Columns or keys of the text, named or numbered like the label; several, as in title,body, are joined."""
    encoding: str = "auto"
    """Of the files. auto: what a byte order mark says, UTF-8, or else Latin-1, which is then said."""
    bad_lines: Literal["refuse", "skip"] = "refuse"
    """What to do with a line without a text or a class, or that cannot be read: refuse it by number, or skip it."""
    test_fraction: float = 0.2
    """Share of each class that is kept for testing where there is no test file; the same texts for every seed."""
    tokenizer: Path | None = None
    """tokenizer.json of a trunk that is an ONNX file."""
    max_tokens: int | None = None
    """Tokens that the trunk gets at once. The trunk's own limit unless given."""
    parts: int | None = None
    """Of a longer text, so many times as many tokens are read, and the vectors of the parts averaged; the rest is cut.
    By default 4, and 1 for static-256, which averages over 1,024 tokens as it is."""
    directions: int | None = None
    """In how many directions of a vector classes have covariances of their own: with more, topics are told apart better
    where texts are many, and a class takes half the square of it in bytes. By classes and texts unless given."""

    def __post_init__(self) -> None:
        if self.parts is not None and not 1 <= self.parts <= MAX_PARTS:
            raise MygoEdgeError(f"text parts must be from 1 to {MAX_PARTS}, not {self.parts}")
        if self.directions is not None and self.directions < 1:
            raise MygoEdgeError(f"text directions must be 1 or more, not {self.directions}")
