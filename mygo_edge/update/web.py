"""A bundle behind a web server. Proxies and certificates as Python's urllib finds them in the environment."""

import http.client
import re
import ssl
import time
import urllib.error
import urllib.request
from urllib.parse import SplitResult, urljoin, urlsplit

from mygo_edge.update.guard import Guard, guarded_opener
from mygo_edge.update.source import CHUNK, Limits, LostError, Pieces, SourceError

_REDIRECTS = (301, 302, 303, 307, 308)
_MAX_REDIRECTS = 5
_TRANSIENT = (408, 429, 500, 502, 503, 504)  # statuses that another attempt may change
_CONTENT_RANGE = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18}|\*)")


class HttpSource:
    """A bundle at an http or https address."""

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
        guard = Guard(time.monotonic() + self._limits.timeout, self._end)
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

    def _open(self, url: str, start: int, guard: Guard) -> http.client.HTTPResponse:
        """The response, after at most five redirections, none of which may leave https or http."""
        headers = {"User-Agent": "mygo_edge", "Accept-Encoding": "identity"}
        if start:
            headers["Range"] = f"bytes={start}-"
        for _ in range(_MAX_REDIRECTS + 1):
            try:
                request = urllib.request.Request(url, headers=headers)
                response: http.client.HTTPResponse = guarded_opener(guard).open(request, timeout=self._limits.timeout)
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
