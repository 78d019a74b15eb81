"""Where an update comes from: a folder, or an http(s) address. Nothing that it says is believed. Standard library only.

A server may be slow, lie about sizes, send too much or stop; what it may not do is keep the device busy or fill its
memory or disk. So every transfer has an upper bound in bytes and a schedule in time: a grace period, and then at least
a minimum rate. A thread cuts the connection when the schedule is missed, wherever the transfer hangs.
"""

import http.client
import os
import re
import socket
import ssl
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Generator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import SplitResult, urljoin, urlsplit

from mygo_edge.bundle.reading import open_plain
from mygo_edge.errors import MygoEdgeError

CHUNK = 2**16
_REDIRECTS = (301, 302, 303, 307, 308)
_MAX_REDIRECTS = 5
_TRANSIENT = (408, 429, 500, 502, 503, 504)  # statuses that another attempt may change
_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18}|\*)")


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


def open_source(address: str, limits: Limits, *, other_host: bool = False) -> Source:
    """The source at an address: http://, https://, or a folder. Raises SourceError for any other.

    other_host: whether a web server may redirect to another host.
    """
    scheme = address.partition("://")[0].lower() if "://" in address else ""
    if scheme in ("http", "https"):
        return HttpSource(address, limits, other_host=other_host)
    if scheme:
        raise SourceError(f"{address}: {scheme} is not supported; give a folder, or an http or https address")
    if not Path(address).is_dir():
        raise SourceError(f"{address} is no folder; give the folder or the address that holds `current`")
    return FolderSource(Path(address))


class FolderSource:
    """A bundle in a folder, such as a mounted stick."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def pieces(self, path: str, start: int = 0, size: int | None = None) -> Pieces:
        """As `Source.pieces`."""
        with open_plain(self._folder / path) as file:
            found = os.fstat(file.fileno()).st_size
            if size is not None and found != size:
                raise SourceError(f"{self._folder / path} has {found} bytes, its manifest says {size}")
            at = file.seek(start)
            while data := file.read(CHUNK):
                yield at, data
                at += len(data)


class HttpSource:
    """A bundle behind a web server. Proxies and certificates as Python's urllib finds them in the environment."""

    def __init__(self, address: str, limits: Limits, *, other_host: bool = False) -> None:
        parts = _parts(address)
        if parts is None or parts.username or parts.password or parts.query or parts.fragment:
            raise SourceError(
                f"{_shown(address)} must be http(s)://host/path in ASCII, without a user, a query or a fragment"
            )
        self._address = address.rstrip("/") + "/"
        self._limits = limits
        self._other_host = other_host
        self._end = time.monotonic() + limits.deadline

    def pieces(self, path: str, start: int = 0, size: int | None = None) -> Pieces:
        """As `Source.pieces`."""
        url = self._address + path
        guard = _Guard(time.monotonic() + self._limits.timeout, self._end)
        guard.start()
        try:
            with self._open(url, start, guard) as response:
                at = _first_byte(response, url, start, size)
                begun, first = time.monotonic() + self._limits.timeout, at
                while True:
                    guard.until(begun + (at - first) / self._limits.min_rate)
                    data = response.read1(CHUNK)
                    if not data:
                        break
                    yield at, data
                    at += len(data)
                guard.check(url)
                if size is not None and at < size:
                    raise LostError(f"{url} ended after {at} of {size} bytes")
        except urllib.error.HTTPError as error:
            error.close()
            _refuse_status(url, error.code)
        except (OSError, http.client.HTTPException, UnicodeError) as error:  # UnicodeError: a host that is no name
            cause = getattr(error, "reason", error)
            guard.check(url, late=isinstance(cause, TimeoutError))
            if isinstance(cause, ssl.SSLCertVerificationError):
                raise SourceError(f"{url}: the server's certificate is not trusted ({error})") from error
            raise LostError(f"{url}: {cause or type(error).__name__}") from error
        finally:
            guard.stop()

    def _open(self, url: str, start: int, guard: "_Guard") -> http.client.HTTPResponse:
        """The response, after at most five redirections, none of which may leave https or http."""
        headers = {"User-Agent": "mygo_edge", "Accept-Encoding": "identity"}
        if start:
            headers["Range"] = f"bytes={start}-"
        for _ in range(_MAX_REDIRECTS + 1):
            try:
                request = urllib.request.Request(url, headers=headers)
                response: http.client.HTTPResponse = _opener(guard).open(request, timeout=self._limits.timeout)
                return response
            except urllib.error.HTTPError as error:
                error.close()  # its content is not read: it may be endless
                target = error.headers.get("Location")
                if error.code not in _REDIRECTS or not target:
                    raise
                url = self._followed(url, target)
        raise SourceError(f"{url} is redirected more than {_MAX_REDIRECTS} times")

    def _followed(self, url: str, target: str) -> str:
        """The address that a redirection leads to. Raises SourceError where it must not lead there."""
        try:
            address = urljoin(url, target)
        except ValueError:  # such as http://[::1
            address = target
        here, there = _parts(url), _parts(address)
        if here is None or there is None or (here.scheme, there.scheme) == ("https", "http"):
            raise SourceError(f"{url} redirects to {_shown(address)}, which is not followed")
        if there.hostname != here.hostname and not self._other_host:
            raise SourceError(
                f"{url} redirects to {_shown(address)}, another host; give that address, or pass --allow-other-host"
            )
        return address


def _parts(address: str) -> SplitResult | None:
    """The parts of an http(s) address that can be opened; None for any other."""
    try:
        parts = urlsplit(address)
        usable = parts.scheme in ("http", "https") and parts.hostname and (parts.port is None or parts.port > 0)
    except ValueError:  # brackets without an end, a port that is no number
        return None
    plain = address.isascii() and address.isprintable() and " " not in address
    return parts if usable and plain else None


def _shown(address: str) -> str:
    return ascii(address[:200])


def _first_byte(response: http.client.HTTPResponse, url: str, start: int, size: int | None) -> int:
    """The offset that a response begins at, after checking what its headers promise."""
    if (encoding := response.headers.get("Content-Encoding", "identity")) != "identity":
        raise SourceError(f"{url} is sent as {encoding[:40]!a}; have the server send the files of a bundle as they are")
    first, length = 0, response.length
    if response.status == 206:
        found = _CONTENT_RANGE.fullmatch(response.headers.get("Content-Range", ""))
        if not start or found is None or int(found[1]) != start:
            raise SourceError(f"{url}: the server answers with another range than the one asked for")
        first = start
        if size is not None and found[3] != "*" and int(found[3]) != size:
            raise SourceError(f"{url} has {found[3]} bytes at the server, its manifest says {size}")
    elif response.status != 200:
        raise SourceError(f"{url}: the server answers with status {response.status}")
    if size is not None and length is not None and first + length != size:
        raise SourceError(f"{url} has {first + length} bytes at the server, its manifest says {size}")
    return first


def _refuse_status(url: str, status: int) -> None:
    if status in (404, 410):
        raise FileNotFoundError(url)
    if status in _TRANSIENT:
        raise LostError(f"{url}: the server answers with status {status}")
    raise SourceError(f"{url}: the server answers with status {status}")


class _Guard(threading.Thread):
    """Cuts the connections of one transfer when it is behind its schedule, even inside a system call."""

    def __init__(self, deadline: float, end: float) -> None:
        super().__init__(daemon=True)
        self._end = end
        self._deadline = min(deadline, end)
        self._stopped = threading.Event()
        self._expired = False
        self._sockets: list[socket.socket] = []
        self._lock = threading.Lock()

    def run(self) -> None:
        while not self._stopped.wait(max(0.0, self._deadline - time.monotonic())):
            with self._lock:
                if time.monotonic() >= self._deadline:
                    self._expired = True
                    self._cut()
                    return

    def until(self, deadline: float) -> None:
        """Allow the transfer until then."""
        self._deadline = min(max(deadline, self._deadline), self._end)

    def watch(self, connection: socket.socket) -> None:
        """Cut this connection too. Its descriptor is doubled, so that TLS may take over the original."""
        with self._lock:
            self._sockets.append(connection.dup())
            if self._expired:
                self._cut()

    def check(self, url: str, late: bool = False) -> None:
        """Raise SourceError when the transfer was cut, or is late by another clock."""
        if self._expired or late:
            total = time.monotonic() >= self._end
            what = "the time for the whole update is over" if total else "the server is too slow"
            raise SourceError(f"{url}: {what}; what came is kept, try again, or allow more time")

    def stop(self) -> None:
        self._stopped.set()
        self.join()
        for connection in self._sockets:
            connection.close()

    def _cut(self) -> None:
        for connection in self._sockets:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue  # closed by the server already


def _opener(guard: _Guard) -> urllib.request.OpenerDirector:
    """urllib without its file, ftp and data addresses and without its redirections, which read endless contents."""
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(),
        _Handler(guard),
        urllib.request.HTTPDefaultErrorHandler(),
        urllib.request.HTTPErrorProcessor(),
    ):
        opener.add_handler(handler)
    return opener


class _Handler(urllib.request.HTTPSHandler):
    """Opens http and https with connections that the guard knows."""

    def __init__(self, guard: _Guard) -> None:
        super().__init__()
        self._guard = guard

    def http_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(partial(_connection, self._guard, http.client.HTTPConnection), request)

    def https_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(partial(_connection, self._guard, http.client.HTTPSConnection), request)

    http_request = urllib.request.HTTPHandler.http_request


def _connection(guard: _Guard, kind: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """A connection of http.client that shows its socket to the guard before a byte, TLS's included, is exchanged."""
    connection = kind(*arguments, **options)

    def connect(*where: Any, **how: Any) -> socket.socket:
        opened = socket.create_connection(*where, **how)
        guard.watch(opened)
        return opened

    connection._create_connection = connect  # where http.client makes its socket, for proxies too
    return connection
