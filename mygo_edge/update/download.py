"""Fetch files from a source: in several attempts, going on where one stopped, each held against its hash."""

import hashlib
import os
import random
import stat
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import BinaryIO

from mygo_edge.bundle.manifest import SIGNATURE, FileEntry
from mygo_edge.bundle.reading import open_plain
from mygo_edge.files import remove
from mygo_edge.update.source import CHUNK, Limits, LostError, Source, SourceError


def small_file(origin: Source, path: str, limit: int, limits: Limits) -> bytes:
    """A file of at most `limit` bytes. Raises FileNotFoundError when the source says that there is no signature."""
    reason = ""
    for _ in attempts(limits):
        data = bytearray()
        try:
            with closing(origin.pieces(path)) as pieces:
                for _, part in pieces:
                    data += part
                    if len(data) > limit:
                        raise SourceError(f"the source's {path} has more than {limit} bytes")
            return bytes(data)
        except FileNotFoundError as error:
            if path.endswith(SIGNATURE):
                raise
            raise SourceError(f"the source has no {path}; is it the folder of a bundle?") from error
        except LostError as error:
            reason = str(error)
    raise SourceError(f"the source cannot be read ({reason}); try again")


def download(origin: Source, version: str, entry: FileEntry, to: Path, limits: Limits) -> int:
    """Fetch a file, going on where an earlier attempt stopped; return the number of bytes that came."""
    came = 0
    for fresh in (False, True):  # what was left by an earlier update may be wrong; what comes now may not
        if fresh or _held(to) is None:
            remove(to)
        held = _held(to)
        came += _complete(origin, f"{version}/{entry.path}", entry.size, to, limits)
        if _digest(to) == entry.sha256:
            return came
        if not held:
            break
    to.unlink()
    raise SourceError(f"the source's {version}/{entry.path} does not have the hash in its manifest; it is not used")


def attempts(limits: Limits) -> Iterator[int]:
    """Count them, with pauses that grow and that differ between devices: a fleet that lost its server together must not
    come back together."""
    for attempt in range(limits.attempts):
        if attempt:
            time.sleep(limits.pause * 2 ** (attempt - 1) * random.uniform(0.5, 1.5))
        yield attempt


def _held(path: Path) -> int | None:
    """Bytes of a plain file, 0 where there is none, None where something else has its name: a link, hard or soft."""
    try:
        found = path.lstat()
    except FileNotFoundError:
        return 0
    return found.st_size if stat.S_ISREG(found.st_mode) and found.st_nlink == 1 else None


def _opened(path: Path, held: int) -> BinaryIO:
    """To write on after what is held, without following a link."""
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    return os.fdopen(os.open(path, flags if held else flags | os.O_TRUNC, 0o666), "r+b")


def _complete(origin: Source, path: str, size: int, to: Path, limits: Limits) -> int:
    """Append to a file what it lacks, in as many connections as are allowed."""
    came, reason = 0, ""
    for _ in attempts(limits):
        held = _held(to) or 0
        if held > size:
            to.unlink()
            held = 0
        if held == size:
            return came
        try:
            with _opened(to, held) as file, closing(origin.pieces(path, held, size)) as pieces:
                for offset, data in pieces:
                    if offset + len(data) > size:
                        raise SourceError(f"the source's {path} has more than the {size} bytes that its manifest says")
                    if offset != file.tell():
                        file.seek(offset)
                        file.truncate()
                    file.write(data)
                    came += len(data)
                file.flush()
                os.fsync(file.fileno())
        except FileNotFoundError as error:
            raise SourceError(f"the source has no {path}, which its manifest lists; try again") from error
        except LostError as error:
            reason = str(error)
            continue
        if _held(to) == size:
            return came
    raise SourceError(f"the source's {path} does not come whole ({reason}); what came is kept, try again")


def _digest(path: Path) -> str:
    digest = hashlib.sha256()
    with open_plain(path) as file:
        while data := file.read(CHUNK):
            digest.update(data)
    return digest.hexdigest()
