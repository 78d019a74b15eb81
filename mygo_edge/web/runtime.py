"""python -m mygo_edge.web.runtime: fetch onnxruntime-web, which the page runs graphs with, once. Standard library only.

A wheel cannot depend on an npm package, so the package comes through npm, and is pinned twice: by the integrity hash
that the registry publishes of the whole archive, and by the hash of each of the two files that a page needs of it.
"""

import base64
import hashlib
import os
import shutil
import subprocess
import tarfile
import tempfile
from collections.abc import Sequence
from pathlib import Path

from mygo_edge.command import OneLineParser
from mygo_edge.errors import MygoEdgeError, run_command
from mygo_edge.files import sha256, write_bytes

PACKAGE = "onnxruntime-web"
VERSION = "1.30.0"
INTEGRITY = "sha512-q0y+JrrtukXSzsBWEMccVfqX25LRmosXHF+CaRJmg8pZClzcV7svNc4rKY3jL02Vb7QmRMDs1SigqR4CXAfKYQ=="
FILES = {  # name in the archive's folder dist -> SHA-256
    "ort.wasm.bundle.min.mjs": "11e64bd8ffe11bd1a2a2f0d6275fdfbbba7262f0b76b99b53d228a8a22ef3d90",
    "ort-wasm-simd-threaded.wasm": "3398c10d07d229bd91b364548e130e0e51a8e5704b88c7c083ebbeb78842dee2",
}
_HINT = "fetch it once with python -m mygo_edge.web.runtime, which needs npm, or give --runtime DIR"


def default_folder() -> Path:
    """Where the runtime is kept: in the user's cache (XDG Base Directory), by version."""
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "mygo_edge" / f"{PACKAGE}-{VERSION}"


def read_runtime(folder: Path) -> dict[str, bytes]:
    """The files of the runtime, by name. Raises MygoEdgeError when one is absent or is not the pinned one."""
    found = {}
    for name, digest in FILES.items():
        path = folder / name
        if not path.is_file():
            raise MygoEdgeError(f"{path} is missing, a file of {PACKAGE} {VERSION}; {_HINT}")
        found[name] = path.read_bytes()
        if sha256(found[name]) != digest:
            raise MygoEdgeError(f"{path} is not the file of {PACKAGE} {VERSION}; remove {folder} and {_HINT}")
    return found


def fetch(folder: Path) -> None:
    """Fetch the package through npm, verify it, and keep the two files. Raises MygoEdgeError."""
    npm = shutil.which("npm")
    if npm is None:
        raise MygoEdgeError(f"npm is not installed; install it, or copy {', '.join(FILES)} of {PACKAGE} to {folder}")
    with tempfile.TemporaryDirectory() as name:
        done = subprocess.run(
            [npm, "pack", f"{PACKAGE}@{VERSION}", "--ignore-scripts", "--pack-destination", name],
            cwd=name,  # a package.json of the user's must not have a say
            capture_output=True,
            text=True,
            check=False,
        )
        archives = list(Path(name).glob("*.tgz"))
        if done.returncode != 0 or len(archives) != 1:
            raise MygoEdgeError(
                f"npm could not fetch {PACKAGE}@{VERSION}: {done.stderr.strip()[-300:] or 'no archive'}"
            )
        contents = extract(archives[0])
    folder.mkdir(parents=True, exist_ok=True)
    for file, data in contents.items():
        write_bytes(folder / file, data)


def extract(archive: Path) -> dict[str, bytes]:
    """The files that a page needs, from an archive that has the pinned hash. Raises MygoEdgeError when it has not."""
    found = "sha512-" + base64.b64encode(hashlib.sha512(archive.read_bytes()).digest()).decode()
    if found != INTEGRITY:
        raise MygoEdgeError(f"{archive.name} has the integrity {found}, not the pinned one; it is not used")
    contents = {}
    with tarfile.open(archive) as opened:
        for name in FILES:
            member = opened.extractfile(f"package/dist/{name}")
            assert member is not None, name  # the hash above stands for every member
            contents[name] = member.read()
    return contents


def main(arguments: Sequence[str] | None = None) -> None:
    """Fetch the runtime unless it is there. Raises MygoEdgeError."""
    parser = OneLineParser(
        prog="python -m mygo_edge.web.runtime", description=f"Fetch {PACKAGE} {VERSION} through npm, and verify it."
    )
    parser.add_argument("--to", type=Path, default=default_folder(), help="folder to keep it in (default: %(default)s)")
    options = parser.parse_args(arguments)
    try:
        read_runtime(options.to)
    except MygoEdgeError:
        fetch(options.to)
        read_runtime(options.to)
    print(options.to)


if __name__ == "__main__":
    run_command(main)
