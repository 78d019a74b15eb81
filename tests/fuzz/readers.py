"""Feed a reader of untrusted bytes with whatever reaches new code in it. A program of its own; needs `atheris`.

Usage: readers.py READER [CORPUS] [options of libFuzzer], where READER is manifest, tasks, graph, selftest, head, trust,
key, arrays or tokenizer; `-max_total_time=3600` ends it after an hour. Any error but the one that the reader is meant
to raise ends it, with the bytes in a file.
"""

import json
import sys
from collections.abc import Callable
from pathlib import Path

import atheris

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

with atheris.instrument_imports(include=["mygo_edge"]):
    from mygo_edge.bundle.heads import parse_head
    from mygo_edge.bundle.manifest import Manifest, manifest_json
    from mygo_edge.bundle.npz import ERRORS, array_names, read_arrays
    from mygo_edge.bundle.parsing import parse_manifest
    from mygo_edge.bundle.selftest import read_selftest
    from mygo_edge.bundle.signature import PublicKey
    from mygo_edge.bundle.tokenizer_vetting import vetted
    from mygo_edge.bundle.vetting import vet
    from mygo_edge.errors import MygoEdgeError
    from mygo_edge.update.trust import parse_trust


def manifest(data: bytes) -> None:
    read = parse_manifest(data, "here")
    assert all(Path(path).name == path for path in (*(entry.path for entry in read.files), *read.ignored))
    if read.id is not None:
        assert _written(parse_manifest(_written(read), "here")) == _written(read)


def _written(read: Manifest) -> bytes:
    return json.dumps(manifest_json(read)).encode()


# A manifest that lists a file of older tasks, and no tasks of its own.
_TOP = {
    "schema_version": "2.0",
    "id": "0" * 32,
    "reader": 6,
    "sequence": 1,
    "created": "2026-01-31T12:00:00+00:00",
    "latent": 64,
    "features": 64,
    "input": {"shape": [1, 8, 8], "dtype": "uint8", "mean": [0], "std": [1]},
    "selftest": {"tolerance": 0.1},
    "files": [{"path": "tasks-0.json", "role": "tasks", "sha256": "0" * 64, "bytes": 9, "precision": "fp32"}],
    "producer": {},
}

READERS: dict[str, Callable[[bytes], object]] = {
    "manifest": manifest,
    "tasks": lambda data: parse_manifest(json.dumps(_TOP).encode(), "here", {"tasks-0.json": data}),
    "graph": vet,
    "selftest": lambda data: read_selftest(data, "here"),
    "head": lambda data: parse_head(data, "here"),
    "trust": lambda data: parse_trust(data, "here"),
    "key": lambda data: PublicKey.parse(data, "here"),
    "arrays": lambda data: read_arrays(data, array_names(data)),
    "tokenizer": lambda data: vetted(data, "here"),
}


def main() -> None:
    name = sys.argv.pop(1)
    reader = READERS[name]
    others: tuple[type[Exception], ...] = {"graph": (ValueError,), "arrays": ERRORS}.get(name, ())
    refusals = (MygoEdgeError, *others)

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
