"""What a source of updates is, what it may cost, and how it fails. Nothing that it says is believed.

A source may be slow, lie about sizes, send too much or stop; what it may not do is keep the device busy or fill its
memory or disk. So every transfer has an upper bound in bytes and a schedule in time: a grace period, and then at least
a minimum rate, until a deadline for the whole.
"""

from collections.abc import Generator
from dataclasses import dataclass
from typing import Protocol

from mygo_edge.errors import MygoEdgeError

CHUNK = 2**16
Pieces = Generator[tuple[int, bytes], None, None]


class SourceError(MygoEdgeError):
    """The source cannot be read, or does not say what its manifest promises."""


class LostError(Exception):
    """A connection that broke; another attempt may go on from where it did."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a source may cost.

    timeout: seconds to connect, and of grace at the start of every transfer; min_rate: bytes a second that a transfer
    must reach after that, on average; deadline: seconds for all transfers together; total: bytes of a version;
    attempts: connections for one file; pause: seconds before the second, twice as many before every further one.
    """

    timeout: float = 15.0
    min_rate: float = 1024.0
    deadline: float = 3600.0
    total: int = 2**30
    attempts: int = 4
    pause: float = 0.5

    def __post_init__(self) -> None:
        for name in ("timeout", "min_rate", "deadline", "total", "attempts", "pause"):
            value = getattr(self, name)
            if not 0 < value < 2**40:
                raise MygoEdgeError(f"{name} must be above 0, not {value}")


class Source(Protocol):
    """A published bundle that can be read piece by piece."""

    def pieces(self, path: str, start: int = 0, size: int | None = None) -> Pieces:
        """(offset, bytes) of a file, in order, from `start` or from the beginning.

        Args:
            path: below the bundle's folder.
            start: offset of the first byte that is wanted; a source may begin earlier, at 0.
            size: of the whole file, where it is known; a source that says another is refused.

        Raises:
            FileNotFoundError: the source has no such file.
            SourceError: it refuses, lies or is too slow.
            LostError: the connection broke.
        """
        ...
