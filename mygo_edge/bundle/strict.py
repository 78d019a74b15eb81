"""Strict reading of JSON that came from anywhere: types, ranges, names. Standard library only.

Every check takes time in proportion to the bytes that it is given, and every failure is a BundleError that says where.
"""

import json
import math
import re
import unicodedata
from collections.abc import Hashable, Iterable
from datetime import datetime
from typing import Any

from mygo_edge.errors import MygoEdgeError

MAX_NAME = 200  # characters of a text that people read
SHA256 = re.compile(r"[0-9a-f]{64}")


class BundleError(MygoEdgeError):
    """A bundle that a device must not use. The message names the file at fault."""


def load_object(data: bytes, where: str, remedy: str = "publish or fetch the version again") -> "Reader":
    """The JSON object that `data` holds.

    Args:
        data: UTF-8, -16 or -32.
        where: what to call it in errors.
        remedy: what a user can do about one that is not JSON.

    Raises:
        BundleError: not JSON, no object, or an object with a key twice, of which two parsers may take different ones.
    """
    try:
        return Reader(json.loads(data, object_pairs_hook=_once), where)
    except (ValueError, RecursionError) as error:
        reason = str(error) if isinstance(error, _DoubledKeyError) else type(error).__name__
        raise BundleError(f"{where} is not JSON ({reason}); {remedy}") from error


class _DoubledKeyError(ValueError):
    pass


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise _DoubledKeyError(f"key {key[:80]!a} occurs twice")
        found[key] = value
    return found


def printable(name: Any) -> bool:
    """Whether this is a text of 1 to 200 characters that a terminal shows as it is."""
    return isinstance(name, str) and 0 < len(name) <= MAX_NAME and name.isprintable()


def composed(name: str) -> str:
    """The name in Unicode's normal form C, in which texts that look alike by definition are equal."""
    return unicodedata.normalize("NFC", name)


class Reader:
    """Typed access to one JSON object."""

    def __init__(self, values: Any, where: str) -> None:
        self.where = where
        if not isinstance(values, dict):
            raise BundleError(f"{where} must be a JSON object, not {type(values).__name__}")
        self.values: dict[str, Any] = values

    def __contains__(self, key: str) -> bool:
        return key in self.values

    def require(self, holds: bool, claim: str) -> None:
        if not holds:
            raise BundleError(f"{self.where}: {claim}")

    def unique(self, what: str, names: Iterable[Hashable]) -> None:
        seen = set()
        for name in names:
            self.require(name not in seen, f"{what} {name!r} occurs twice")
            seen.add(name)

    def value(self, key: str, kind: type) -> Any:
        self.require(key in self.values, f"{key} is missing")
        value = self.values[key]
        self.require(type(value) is kind, f"{key} must be {kind.__name__}, not {type(value).__name__}")
        return value

    def text(self, key: str) -> str:
        value = self.value(key, str)
        self.require(printable(value), f"{key} must be printable text of at most {MAX_NAME} characters")
        return str(value)

    def match(self, key: str, pattern: re.Pattern[str]) -> str:
        value = self.value(key, str)
        self.require(pattern.fullmatch(value) is not None, f"{key} {value[:80]!r} must match {pattern.pattern}")
        return str(value)

    def choice(self, key: str, choices: tuple[str, ...]) -> str:
        value = self.value(key, str)
        self.require(value in choices, f"{key} {value[:80]!r} is none of {', '.join(choices)}")
        return str(value)

    def names(self, key: str, limit: int) -> tuple[str, ...]:
        """Printable names in normal form C, from one to `limit`, no two alike."""
        values = self.value(key, list)
        self.require(0 < len(values) <= limit, f"{key} must be printable names, 1 to {limit} of them")
        self.require(all(map(printable, values)), f"{key} must be printable names of at most {MAX_NAME} characters")
        found = tuple(map(composed, values))
        self.unique("class", found)
        return found

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

    def time(self, key: str) -> str:
        """A time in ISO 8601 with its offset from UTC, as it is written."""
        text = self.text(key)
        try:
            aware = datetime.fromisoformat(text).utcoffset() is not None
        except ValueError:
            aware = False
        self.require(aware, f"{key} {text[:40]!r} must be a time with its offset, such as 2030-01-31T12:00:00+00:00")
        return text

    def reader(self, key: str) -> "Reader":
        return Reader(self.value(key, dict), f"{self.where}: {key}")

    def readers(self, key: str, limit: int) -> list["Reader"]:
        values = self.value(key, list)
        self.require(bool(values), f"{key} is empty")
        self.require(len(values) <= limit, f"{key} has {len(values)} entries, at most {limit} are allowed")
        return [Reader(value, f"{self.where}: {key}[{index}]") for index, value in enumerate(values)]

    def _finite(self, key: str, value: Any) -> float:
        self.require(type(value) in (int, float), f"{key} must be numbers")
        # An integer of hundreds of digits is valid JSON and no float.
        self.require(abs(value) < 1e30 and math.isfinite(value), f"{key} must be finite")
        return float(value)
