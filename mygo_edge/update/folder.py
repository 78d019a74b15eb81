"""A bundle in a folder, such as a mounted stick or a share of the network."""

import os
import threading
import time
from pathlib import Path
from queue import Empty, Full, Queue

from mygo_edge.bundle.reading import open_plain
from mygo_edge.update.source import CHUNK, Limits, Pieces, SourceError

_AHEAD = 4  # chunks that are read ahead
_LOOK_UP = 0.1  # seconds between looks at whether anybody still wants what was read

_Item = tuple[int, bytes] | Exception | None  # a chunk, why there is none, or the end


class FolderSource:
    """Files are read by a thread: a share that does not answer blocks whoever reads, and no system call ends that."""

    def __init__(self, folder: Path, limits: Limits) -> None:
        self._folder = folder
        self._limits = limits
        self._end = time.monotonic() + limits.deadline

    def pieces(self, path: str, start: int = 0, size: int | None = None) -> Pieces:
        """As `Source.pieces`."""
        found: Queue[_Item] = Queue(_AHEAD)
        unwanted = threading.Event()
        where = self._folder / path
        threading.Thread(target=_read, args=(where, start, size, found, unwanted), daemon=True).start()
        begun, came = time.monotonic() + self._limits.timeout, 0
        try:
            while (item := self._next(found, begun + came / self._limits.min_rate, where)) is not None:
                if isinstance(item, Exception):
                    raise item
                yield item
                came += len(item[1])
        finally:
            unwanted.set()

    def _next(self, found: Queue[_Item], until: float, where: Path) -> _Item:
        """What was read next. Raises SourceError when it does not come in time."""
        now = time.monotonic()
        try:
            if now < self._end:
                return found.get(timeout=max(min(until, self._end) - now, 1e-3))
        except Empty:
            pass
        total = time.monotonic() >= self._end
        what = "the time for the whole update is over" if total else "the folder is too slow"
        raise SourceError(f"{where}: {what}; what came is kept, try again, or allow more time")


def _read(where: Path, start: int, size: int | None, found: "Queue[_Item]", unwanted: threading.Event) -> None:
    """Put the chunks of a plain file into a queue, and then None, or whatever is raised."""

    def put(item: _Item) -> bool:
        while not unwanted.is_set():
            try:
                found.put(item, timeout=_LOOK_UP)
            except Full:
                continue
            return True
        return False

    try:
        with open_plain(where) as file:
            length = os.fstat(file.fileno()).st_size
            if size is not None and length != size:
                raise SourceError(f"{where} has {length} bytes, its manifest says {size}")
            at = file.seek(start)
            while data := file.read(CHUNK):
                if not put((at, data)):
                    return
                at += len(data)
        put(None)
    except FileNotFoundError as error:
        put(error)
    except OSError as error:
        put(SourceError(f"{where} cannot be read as a plain file ({error.strerror})"))
    except Exception as error:  # raised again where the chunks are taken
        put(error)
