"""A small web server of a site in memory, for one's own machine. Standard library only."""

from collections.abc import Mapping
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

# The page says the same of itself in a <meta> element, for servers that send no such header; this one adds that nobody
# may frame it.
POLICY = (
    "default-src 'none'; script-src 'self' 'wasm-unsafe-eval'; style-src 'self'; img-src 'self' blob: data:; "
    "media-src 'self' blob:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".mjs": "text/javascript; charset=utf-8",
    ".json": "application/json",
    ".wasm": "application/wasm",
    ".svg": "image/svg+xml",
}


def server(files: Mapping[str, bytes], host: str, port: int) -> ThreadingHTTPServer:
    """A server of these files, by path, listening on a port (0: any free one). Raises OSError when it is taken."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self._answer(body=True)

        def do_HEAD(self) -> None:
            self._answer(body=False)

        def _answer(self, body: bool) -> None:
            name = unquote(urlsplit(self.path).path).removeprefix("/") or "index.html"
            data = files.get(name)  # no path is ever opened, so none can leave the site
            self.send_response(HTTPStatus.NOT_FOUND if data is None else HTTPStatus.OK)
            content = b"not found\n" if data is None else data
            suffix = f".{name.rpartition('.')[2]}"
            self.send_header("Content-Type", _TYPES.get(suffix, "application/octet-stream"))
            self.send_header("Content-Length", str(len(content)))
            self.send_header("Content-Security-Policy", POLICY)
            self.send_header("X-Content-Type-Options", "nosniff")
            self.send_header("Referrer-Policy", "no-referrer")
            self.send_header("Cache-Control", "no-cache")
            self.end_headers()
            if body:
                self.wfile.write(content)

        def log_message(self, format: str, *values: object) -> None:
            """Say nothing: the command's output is the address alone."""

    return ThreadingHTTPServer((host, port), Handler)
