"""Feed a reader of untrusted bytes with whatever reaches new code in it. A program of its own; needs `atheris`.

Usage: readers.py READER [CORPUS] [libFuzzer's options], where READER is manifest, graph, selftest, head, trust or key;
`-max_total_time=3600` ends it after an hour. Any error but the reader's own ends it, with the bytes in a file.
"""

import json
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

with atheris.instrument_imports(include=["mygo_edge"]):
    from mygo_edge.bundle.heads import parse_head
    from mygo_edge.bundle.manifest import Manifest, manifest_json
    from mygo_edge.bundle.parsing import parse_manifest
    from mygo_edge.bundle.selftest import read_selftest
    from mygo_edge.bundle.signature import PublicKey
    from mygo_edge.bundle.vetting import vet
    from mygo_edge.errors import MygoEdgeError
    from mygo_edge.update.trust import TRUST, read_trust

FOLDER = Path(tempfile.mkdtemp(prefix="mygo_edge-fuzz-"))


def manifest(data: bytes) -> None:
    read = parse_manifest(data, "here")
    assert all(Path(path).name == path for path in (*(entry.path for entry in read.files), *read.ignored))
    if read.id is not None:
        assert _written(parse_manifest(_written(read), "here")) == _written(read)


def _written(read: Manifest) -> bytes:
    return json.dumps(manifest_json(read)).encode()


def key(data: bytes) -> None:
    (FOLDER / "key").write_bytes(data)
    PublicKey.read(FOLDER / "key")


def trust(data: bytes) -> None:
    (FOLDER / TRUST).write_bytes(data)
    read_trust(FOLDER)


READERS: dict[str, Callable[[bytes], object]] = {
    "manifest": manifest,
    "graph": vet,
    "selftest": lambda data: read_selftest(data, "here"),
    "head": lambda data: parse_head(data, "here"),
    "trust": trust,
    "key": key,
}


def main() -> None:
    name = sys.argv.pop(1)
    reader = READERS[name]
    refusals: tuple[type[Exception], ...] = (MygoEdgeError, ValueError) if name == "graph" else (MygoEdgeError,)

    def once(data: bytes) -> None:
        try:
            reader(data)
        except refusals as error:
            if "\n" in str(error) and isinstance(error, MygoEdgeError):
                raise

    atheris.Setup(sys.argv, once)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
