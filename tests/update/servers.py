"""Web servers on the loopback: a well-behaved one with ranges, and ways to misbehave."""

import re
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from ipaddress import ip_address
from pathlib import Path


class Handler(BaseHTTPRequestHandler):
    """Serves the files below `folder`. `misbehave`, when given, answers instead for paths that end in `victim`."""

    protocol_version = "HTTP/1.1"
    folder: Path
    victim: str
    misbehave: Callable[["Handler", bytes], None] | None
    requests: list[tuple[str, str | None]]  # path and range

    def do_GET(self) -> None:
        self.requests.append((self.path, self.headers.get("Range")))
        path = self.folder / self.path.lstrip("/")
        if not path.is_file():
            self.send_error(404)
            return
        data = path.read_bytes()
        if self.misbehave and self.path.endswith(self.victim):
            self.close_connection = True
            try:
                type(self).misbehave(self, data)  # type: ignore[misc]
            except OSError:
                return  # the device hung up
            return
        self.whole_or_range(data)

    def whole_or_range(self, data: bytes) -> None:
        self.wfile.write(data[self.begin(data) :])

    def begin(self, data: bytes) -> int:
        """Send the head of a whole answer, or of a range to its end; the first byte that it is about."""
        start = self.start()
        self.send_response(206 if start else 200)
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(data) - 1}/{len(data)}")
        self.send_header("Content-Length", str(len(data) - start))
        self.end_headers()
        return start

    def start(self) -> int:
        """The first byte that the client asks for."""
        found = re.fullmatch(r"bytes=(\d+)-", self.headers.get("Range", ""))
        return int(found[1]) if found else 0

    def head(self, status: int = 200, **headers: object) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), str(value))
        self.end_headers()

    def log_message(self, *arguments: object) -> None:
        pass


class Server:
    """address: of the folder; requests: what was asked for."""

    def __init__(self, handler: type[Handler], port: int, scheme: str) -> None:
        self.address = f"{scheme}://127.0.0.1:{port}"
        self.requests = handler.requests

    def bodies(self) -> list[str]:
        """Names of the files of versions that were asked for, but for the manifest and its signature."""
        names = [path.rsplit("/", 1)[1] for path, _ in self.requests if path.count("/") == 2]
        return sorted({name for name in names if not name.startswith("manifest")})


@contextmanager
def serving(
    folder: Path,
    misbehave: Callable[[Handler, bytes], None] | None = None,
    victim: str = "classifier.onnx",
    certificate: Path | None = None,
) -> Iterator[Server]:
    """A server in a thread, until the block ends. certificate: PEM file with its key too, for https."""
    values = {"folder": folder, "misbehave": misbehave, "victim": victim, "requests": []}
    handler = type("_Handler", (Handler,), values)
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    server.daemon_threads = True
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
    thread.start()
    try:
        yield Server(handler, server.server_port, "https" if certificate else "http")
    finally:
        server.shutdown()
        server.server_close()


def wrong_bytes(handler: Handler, data: bytes) -> None:
    handler.whole_or_range(bytes(len(data)))


def too_long_a_length(handler: Handler, data: bytes) -> None:
    handler.head(Content_Length=len(data) + 1)
    handler.wfile.write(data + b"x")


def too_short_a_length(handler: Handler, data: bytes) -> None:
    handler.head(Content_Length=len(data) - 1)
    handler.wfile.write(data[:-1])


def endless(handler: Handler, data: bytes) -> None:
    handler.head(Connection="close")  # no length: the content ends with the connection
    while True:
        handler.wfile.write(data)


def endless_chunks(handler: Handler, data: bytes) -> None:
    handler.head(Transfer_Encoding="chunked")
    while True:
        handler.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))


def compressed(handler: Handler, data: bytes) -> None:
    handler.head(Content_Encoding="gzip", Content_Length=len(data))
    handler.wfile.write(data)


def silent(handler: Handler, data: bytes) -> None:
    time.sleep(30)


def slow_header(handler: Handler, data: bytes) -> None:
    for byte in b"HTTP/1.1 200 OK\r\nX: " + b"x" * 1000:
        handler.wfile.write(bytes([byte]))
        time.sleep(0.1)


def slow_content(handler: Handler, data: bytes) -> None:
    handler.head(Content_Length=len(data))
    for byte in data:
        handler.wfile.write(bytes([byte]))
        time.sleep(0.1)


def slow_chunk_size(handler: Handler, data: bytes) -> None:
    handler.head(Transfer_Encoding="chunked")
    for _ in range(1000):
        handler.wfile.write(b"0")
        time.sleep(0.1)


def stops_in_the_middle(handler: Handler, data: bytes) -> None:
    handler.head(Content_Length=len(data))
    handler.wfile.write(data[: len(data) // 2])
    time.sleep(30)


def hangs_up_in_the_middle(handler: Handler, data: bytes) -> None:
    """At every attempt, after a third of what is left."""
    start = handler.begin(data)
    handler.wfile.write(data[start : start + max(1, (len(data) - start) // 3)])


def slow(handler: Handler, data: bytes) -> None:
    """A good answer, in pieces, so that a kill may come between any two."""
    start = handler.begin(data)
    for at in range(start, len(data), 8192):
        handler.wfile.write(data[at : at + 8192])
        time.sleep(0.01)


def another_range(handler: Handler, data: bytes) -> None:
    if handler.start():
        handler.head(206, Content_Range=f"bytes 0-{len(data) - 1}/{len(data)}", Content_Length=len(data))
        handler.wfile.write(data)
    else:
        hangs_up_in_the_middle(handler, data)


def redirects_for_ever(handler: Handler, data: bytes) -> None:
    handler.head(302, Location=handler.path, Content_Length=0)


def redirects_to_a_file(handler: Handler, data: bytes) -> None:
    handler.head(302, Location="file:///etc/passwd", Content_Length=0)


def redirects_to_http(handler: Handler, data: bytes) -> None:
    handler.head(302, Location=f"http://127.0.0.1{handler.path}", Content_Length=0)


def redirects_with_an_endless_page(handler: Handler, data: bytes) -> None:
    handler.head(302, Location=handler.path + "x")
    while True:
        handler.wfile.write(data)


def many_headers(handler: Handler, data: bytes) -> None:
    handler.wfile.write(b"HTTP/1.1 200 OK\r\n")
    while True:
        handler.wfile.write(b"X: " + b"x" * 1000 + b"\r\n")


def fails(handler: Handler, data: bytes) -> None:
    handler.send_error(500)


def forbids(handler: Handler, data: bytes) -> None:
    handler.send_error(403)


def make_certificate(path: Path) -> Path:
    """A certificate of 127.0.0.1 that it signed itself, with its key, as PEM."""
    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.now(UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
    builder = builder.not_valid_before(now - timedelta(hours=1)).not_valid_after(now + timedelta(hours=1))
    address = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    made = builder.add_extension(address, critical=False).sign(key, hashes.SHA256())
    pem = serialization.Encoding.PEM
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    path.write_bytes(made.public_bytes(pem) + secret)
    return path
