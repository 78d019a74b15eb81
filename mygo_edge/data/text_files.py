"""Read files of texts row by row: CSV, TSV, JSON lines, folders of .txt. What is wrong is refused by line number."""

import codecs
import csv
import io
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mygo_edge.data.text_options import TextOptions
from mygo_edge.errors import MygoEdgeError, warn

TABLES = (".csv", ".tsv", ".jsonl", ".ndjson")
MAX_CHARACTERS = 100_000  # of a text; some 15,000 words
_MAX_LABEL = 200
_DELIMITERS = {".csv": ",;\t|", ".tsv": "\t"}
_MARK = "\ufeff"  # which tells the order of bytes, at the start of a file
_MARKS = (
    (codecs.BOM_UTF8, "utf-8-sig"),
    (codecs.BOM_UTF32_LE, "utf-32"),  # begins as the mark of UTF-16 does
    (codecs.BOM_UTF32_BE, "utf-32"),
    (codecs.BOM_UTF16_LE, "utf-16"),
    (codecs.BOM_UTF16_BE, "utf-16"),
)
_BLANK = ' \t\r\n,;|"'  # of a line that has no cells, whatever the delimiter


@dataclass(frozen=True, slots=True)
class Row:
    """A text and the name of its class. where: file and line, for messages."""

    where: str
    text: str
    label: str


def read_table(path: Path, options: TextOptions) -> list[Row]:
    """The rows of a CSV, TSV or JSON lines file.

    Raises:
        MygoEdgeError: another kind of file, columns that are not there, or lines that are not to be skipped.
    """
    if path.suffix.lower() not in TABLES:
        raise MygoEdgeError(f"{path} must end in one of {', '.join(TABLES)}, or be a folder of CLASS/*.txt")
    text = decoded(path, options.encoding)
    wanted = [options.label, *_columns(options)]
    cells = _objects(path, text, wanted) if "json" in path.suffix.lower() else _fields(path, text, wanted)
    return _kept(cells, options)


def read_folder(root: Path, options: TextOptions) -> list[Row]:
    """The texts of a folder of CLASS/*.txt, whole files. Raises MygoEdgeError as `read_table` does."""
    names = sorted(child.name for child in root.iterdir() if child.is_dir() and not child.name.startswith("."))
    if not names:
        raise MygoEdgeError(
            f"{root} holds neither train and test files ({', '.join(TABLES)}) nor folders of CLASS/*.txt"
        )
    rows: list[Row] = []
    for name in names:
        files = sorted(file for file in (root / name).rglob("*") if file.suffix.lower() == ".txt" and file.is_file())
        found = _kept(((str(file), [name, decoded(file, options.encoding)]) for file in files), options)
        if not found:
            raise MygoEdgeError(f"{root / name} holds no .txt file with a text")
        rows += found
    return rows


def decoded(path: Path, encoding: str) -> str:
    """The content of a text file, without the mark that it may begin with.

    Raises:
        MygoEdgeError: an unknown encoding, or a line that is not in it.
    """
    data = path.read_bytes()
    wanted = next((name for mark, name in _MARKS if data.startswith(mark)), "utf-8") if encoding == "auto" else encoding
    data = data.removeprefix(codecs.BOM_UTF8)  # which is none of the text in any encoding
    try:
        return data.decode(wanted).removeprefix(_MARK)
    except LookupError as error:
        raise MygoEdgeError(f"--text.encoding {encoding!r} is no encoding that Python knows, such as utf-8") from error
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        if encoding != "auto" or wanted != "utf-8":
            raise MygoEdgeError(f"{path}, line {line}: this is not {wanted}; say --text.encoding") from error
    warn(f"{path}, line {line}: this is not UTF-8; the file is read as Latin-1 (say --text.encoding if it is another)")
    return data.decode("latin-1")


_Cells = tuple[str, list[Any] | str]  # where; the label and the columns of the text, or what is wrong with the line


def _kept(lines: "Iterator[_Cells]", options: TextOptions) -> list[Row]:
    """The good lines; the others are skipped and counted, or refused, as the options say."""
    rows: list[Row] = []
    bad: list[str] = []
    for where, cells in lines:
        row = cells if isinstance(cells, str) else _row(where, cells)
        if isinstance(row, Row):
            rows.append(row)
            continue
        if options.bad_lines == "refuse":
            raise MygoEdgeError(f"{where}: {row}; repair or remove it, or pass --text.bad-lines skip")
        bad.append(f"{where}: {row}")
    if bad:
        warn(f"{len(bad)} texts are skipped, the first at {bad[0]}")
    return rows


def _row(where: str, cells: Sequence[Any]) -> Row | str:
    """The row, or what is wrong with it."""
    if any(isinstance(cell, (dict, list)) for cell in cells):
        return "a value is no text"
    label, *texts = ("" if cell is None or cell != cell else str(cell).replace("\0", " ").strip() for cell in cells)
    if not label:
        return "the class is empty"
    if len(label) > _MAX_LABEL or not label.isprintable():
        return f"{label[:40]!r} cannot name a class; use printable characters, {_MAX_LABEL} at most"
    text = " ".join(part for part in texts if part)
    return Row(where, text, label) if text else "the text is empty"


def _columns(options: TextOptions) -> list[str]:
    names = [name.strip() for name in options.column.split(",")]
    if not all(names):
        raise MygoEdgeError(f"--text.column {options.column!r} cannot work: give a column, or several as in title,body")
    return names


def _objects(path: Path, text: str, wanted: Sequence[str]) -> Iterator[_Cells]:
    for number, line in enumerate(text.split("\n"), 1):
        if not line.strip():
            continue
        where = f"{path}, line {number}"
        try:
            value = json.loads(line)
        except (ValueError, RecursionError) as error:
            yield where, f"this is no JSON ({error})"
            continue
        if not isinstance(value, dict):
            yield where, "this is no JSON object"
        elif missing := [key for key in wanted if key not in value]:
            yield where, f"there is no {missing[0]!r} (name keys with --text.label and --text.column)"
        else:
            yield where, [value[key] for key in wanted]


def _fields(path: Path, text: str, wanted: Sequence[str]) -> Iterator[_Cells]:
    """Rows of a table. Numbered columns mean that there is no header."""
    numbered = all(name.isascii() and name.isdecimal() and int(name) > 0 for name in wanted)
    suffix = path.suffix.lower()
    delimiter = _DELIMITERS[suffix][0] if numbered else _delimiter(path, text, wanted)
    quoted = suffix != ".tsv" or _parses(text, delimiter)
    with _large_fields():
        lines = _lines(path, text, delimiter, quoted)
        places = [int(name) - 1 for name in wanted] if numbered else []
        width = 0
        for where, cells in lines:
            if isinstance(cells, str):
                yield where, cells
            elif not width:
                width = len(cells)
                if not numbered:
                    names = [cell.strip() for cell in cells]
                    places = [names.index(name) for name in wanted]
                    continue
                if max(places) >= width:
                    raise MygoEdgeError(f"{where}: there are {width} columns, and no column {max(places) + 1}")
                yield where, [cells[place] for place in places]
            elif len(cells) != width:
                yield where, f"{len(cells)} columns instead of {width} (a quote or a delimiter is missing or too many)"
            else:
                yield where, [cells[place] for place in places]


def _lines(path: Path, text: str, delimiter: str, quoted: bool) -> Iterator[tuple[str, list[str] | str]]:
    """Cells of every row that is not blank, and file and line where it starts; or what is wrong, at the last row."""
    reader = _reader(text, delimiter, quoted)
    while True:
        where = f"{path}, line {reader.line_num + 1}"
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            yield where, f"the row that starts here cannot be read ({error})"
            continue
        if cells and any(cell.strip() for cell in cells):
            yield where, cells


def _delimiter(path: Path, text: str, wanted: Sequence[str]) -> str:
    """The delimiter that makes the wanted columns of the header."""
    lines = enumerate(io.StringIO(text, newline=None), 1)
    number, first = next(((number, line) for number, line in lines if line.strip(_BLANK)), (1, ""))
    found: list[str] = []
    for delimiter in _DELIMITERS[path.suffix.lower()]:
        names = [cell.strip() for cell in next(csv.reader(io.StringIO(first, newline=""), delimiter=delimiter), [])]
        if set(wanted) <= set(names):
            return delimiter
        found = max(found, names, key=len)
    if not found:
        raise MygoEdgeError(f"{path} holds no texts")
    missing = next(name for name in wanted if name not in found)
    shown = ", ".join(found)[:200]
    raise MygoEdgeError(
        f"{path}, line {number}: there is no column {missing!r} among {shown}; name the columns with --text.label "
        "and --text.column, or number them from 1 if the file has no header"
    )


def _parses(text: str, delimiter: str) -> bool:
    """Whether quotes in the file are what surrounds cells, not signs of the text."""
    try:
        with _large_fields():
            for _ in _reader(text, delimiter, True):
                pass
    except csv.Error:
        return False
    return True


def _reader(text: str, delimiter: str, quoted: bool) -> Any:
    quoting: Any = csv.QUOTE_MINIMAL if quoted else csv.QUOTE_NONE
    return csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, quoting=quoting, strict=quoted)


@contextmanager
def _large_fields() -> Iterator[None]:
    """Let cells be as long as they are: texts are cut later, and said."""
    before = csv.field_size_limit(2**31 - 1)
    try:
        yield
    finally:
        csv.field_size_limit(before)
