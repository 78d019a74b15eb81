"""Where a server may send a device, and what it may say on the way."""

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from mygo_edge.device.edge_model import EdgeModel
from mygo_edge.errors import MygoEdgeError
from mygo_edge.update import download
from mygo_edge.update.address import open_source
from mygo_edge.update.download import attempts
from mygo_edge.update.source import Limits
from mygo_edge.update.updater import UpdatePolicy, update
from tests.update.servers import Handler, serving

QUICK = Limits(timeout=0.5, min_rate=10_000, deadline=10, attempts=2, pause=0.05)


def to(location: bytes) -> Callable[[Handler, bytes], None]:
    """A server that redirects there, byte for byte."""

    def answer(handler: Handler, data: bytes) -> None:
        handler.wfile.write(b"HTTP/1.1 302 Found\r\nLocation: " + location + b"\r\nContent-Length: 0\r\n\r\n")

    return answer


@pytest.mark.parametrize(
    "location",
    [b"http://[::1", b"http://[", b"http://127.0.0.1:port/", b"http://127.0.0.1:99999/", b"http:///", b"//",
     "http://127.0.0.1/ü".encode(), b"http://127.0.0.1/\xff", b"http://127.0.0.1/a b", b"http://\x1b[2J/", b"gopher://x/",
     b"http://" + b"a" * 70 + b".127.0.0.1/", b"http://xn--/", b"http://.../", b"javascript:1", b"http://127.0.0.1\\x/"],
)  # fmt: skip
@pytest.mark.parametrize("other_host", [False, True])
def test_a_location_that_is_none_is_one_line(box: Path, device: Path, location: bytes, other_host: bool) -> None:
    policy = UpdatePolicy(other_host=other_host)
    with serving(box, to(location)) as server, pytest.raises(MygoEdgeError) as caught:
        update(server.address, device, policy, QUICK)
    assert str(caught.value).isprintable()
    assert EdgeModel.load(device).version == "v0002"


def test_another_host_is_followed_only_where_that_is_allowed(box: Path, device: Path) -> None:
    with serving(box) as other:
        port = other.address.rsplit(":", 1)[1]
        with serving(box, to(f"http://localhost:{port}/v0003/classifier.onnx".encode())) as server:
            with pytest.raises(
                MygoEdgeError, match=r"redirects to 'http://localhost.*another host; .*--allow-other-host"
            ):
                update(server.address, device, limits=QUICK)
            assert other.requests == []
            assert update(server.address, device, UpdatePolicy(other_host=True), QUICK).version == "v0003"


def test_another_place_on_the_same_host_is_followed(box: Path, device: Path) -> None:
    (box / "moved").mkdir()
    (box / "moved" / "c").write_bytes((box / "v0003" / "classifier.onnx").read_bytes())
    with serving(box, to(b"/moved/c")) as server:
        assert update(server.address, device).version == "v0003"


@pytest.mark.parametrize(
    "address",
    ["http://[::1", "http://127.0.0.1:port/x", "http://127.0.0.1/ü", "http://a b/", "https://:80/", "http://host/?q",
     "HTTP://[", "http://127.0.0.1/\x1b[2J", "http://:secret@127.0.0.1/"],
)  # fmt: skip
def test_an_address_that_is_none_is_one_line(device: Path, address: str) -> None:
    with pytest.raises(MygoEdgeError, match=r"must be http\(s\)://host/path") as caught:
        update(address, device)
    assert str(caught.value).isprintable()


def test_what_a_server_says_reaches_no_terminal_raw(box: Path, device: Path) -> None:
    def evil(handler: Handler, data: bytes) -> None:
        handler.wfile.write(b"HTTP/1.1 \x1b]0;owned\x07\x1b[2J \x9b31m\r\n\r\n")

    for victim in ("current", "manifest.json", "classifier.onnx"):
        with serving(box, evil, victim) as server, pytest.raises(MygoEdgeError) as caught:
            update(server.address, device, limits=QUICK)
        assert str(caught.value).isprintable(), victim
        assert "\\x1b" in str(caught.value), victim


def test_attempts_wait_longer_each_time_and_no_two_devices_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    waits: list[float] = []
    monkeypatch.setattr(download.time, "sleep", waits.append)
    for device in range(50):
        random.seed(device)
        list(attempts(Limits(attempts=4, pause=1.0)))
    by_attempt = [waits[start::3] for start in range(3)]
    for number, found in enumerate(by_attempt):
        assert all(0.5 * 2**number <= wait <= 1.5 * 2**number for wait in found)
        assert max(found) - min(found) > 0.5 * 2**number
        assert len(set(found)) > 45


def test_a_source_in_capitals_is_a_source_too() -> None:
    open_source("HTTP://127.0.0.1/x", QUICK)
