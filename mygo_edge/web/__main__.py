"""python -m mygo_edge.web: a bundle in a browser, with nothing installed there. Needs onnxruntime-web."""

from collections.abc import Sequence
from pathlib import Path

from mygo_edge.command import OneLineParser
from mygo_edge.errors import MygoEdgeError, run_command
from mygo_edge.web.runtime import default_folder
from mygo_edge.web.server import server
from mygo_edge.web.site import site_files, write_site


def main(arguments: Sequence[str] | None = None) -> None:
    """Serve the page until interrupted, or write it to a folder. Raises MygoEdgeError for what a user can put right."""
    parser = OneLineParser(
        prog="python -m mygo_edge.web",
        description="The browser as a device: a page that verifies a bundle, classifies with it and dreams.",
    )
    parser.add_argument("bundle", type=Path, help="the bundle's folder, such as runs/mnist/bundle")
    parser.add_argument("--to", type=Path, help="write the page to this folder, for any web server, and end")
    parser.add_argument("--host", default="127.0.0.1", help="address to serve on (default: %(default)s)")
    parser.add_argument("--port", type=int, default=8000, help="port to serve on; 0 takes a free one (default: 8000)")
    parser.add_argument(
        "--runtime", type=Path, default=default_folder(), help="folder of onnxruntime-web (default: %(default)s)"
    )
    parser.add_argument("--public-key", type=Path, help="refuse a version that the owner of this key did not sign")
    options = parser.parse_args(arguments)
    if not 0 <= options.port < 2**16:
        raise MygoEdgeError(f"--port {options.port} must be from 0 to 65535")

    files = site_files(options.bundle, options.runtime, options.public_key)
    if options.to is not None:
        write_site(options.to, files)
        print(f"{options.to}: {len(files)} files, {sum(map(len, files.values())) / 1e6:.1f} MB; serve them over https")
        return
    with server(files, options.host, options.port) as serving:
        print(f"http://{options.host}:{serving.server_address[1]}/", flush=True)
        serving.serve_forever()


if __name__ == "__main__":
    run_command(main)
