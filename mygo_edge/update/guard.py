"""Connections that are cut when a transfer is behind its schedule, wherever it hangs. Standard library only."""

import http.client
import socket
import threading
import time
import urllib.request
from collections.abc import Callable
from functools import partial
from typing import Any

from mygo_edge.update.source import SourceError


class Guard(threading.Thread):
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


def guarded_opener(guard: Guard) -> urllib.request.OpenerDirector:
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

    def __init__(self, guard: Guard) -> None:
        super().__init__()
        self._guard = guard

    def http_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(partial(_connection, self._guard, http.client.HTTPConnection), request)

    def https_open(self, request: urllib.request.Request) -> http.client.HTTPResponse:
        return self.do_open(partial(_connection, self._guard, http.client.HTTPSConnection), request)

    http_request = urllib.request.HTTPHandler.http_request


def _connection(guard: Guard, kind: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
    """A connection of http.client that shows its socket to the guard before a byte, TLS's included, is exchanged."""
    connection = kind(*arguments, **options)

    def connect(*where: Any, **how: Any) -> socket.socket:
        opened = socket.create_connection(*where, **how)
        guard.watch(opened)
        return opened

    connection._create_connection = connect  # where http.client makes its socket, for proxies too
    return connection
