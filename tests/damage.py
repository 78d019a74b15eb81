"""Change a version of a bundle as damage or an attacker would. Imports no torch."""

import json
from pathlib import Path

from mygo_edge.files import sha256


def edit_manifest(folder: Path, **values: object) -> None:
    """Replace top-level values of a version's manifest."""
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def replace_file(folder: Path, name: str, data: bytes) -> None:
    """Replace a file of a version and make the manifest agree, as someone who can write to the folder could."""
    (folder / name).write_bytes(data)
    files = json.loads((folder / "manifest.json").read_text())["files"]
    for entry in files:
        if entry["path"] == name:
            entry |= {"sha256": sha256(data), "bytes": len(data)}
    edit_manifest(folder, files=files)
