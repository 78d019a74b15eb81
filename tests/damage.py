"""Change a version of a bundle as damage or an attacker would. Imports no torch."""

import json
from pathlib import Path
from typing import Any

from mygo_edge.files import sha256


def edit_manifest(folder: Path, **values: object) -> None:
    """Replace top-level values of a version's manifest."""
    path = folder / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


def replace_file(folder: Path, name: str, data: bytes) -> None:
    """Replace a file of a version and make the manifest agree, as someone who can write to the folder could."""
    (folder / name).write_bytes(data)
    for part in folder.glob("tasks-*.json"):
        if part.name != name and (document := _agreeing(part, name, data)) is not None:
            replace_file(folder, part.name, json.dumps(document).encode())
    if (document := _agreeing(folder / "manifest.json", name, data)) is not None:
        edit_manifest(folder, files=document["files"])


def _agreeing(path: Path, name: str, data: bytes) -> dict[str, Any] | None:
    """The values of a manifest, or of a part of one, with a file's new hash; None where that is not listed there."""
    document: dict[str, Any] = json.loads(path.read_text())
    found = [entry for entry in document["files"] if entry["path"] == name]
    for entry in found:
        entry |= {"sha256": sha256(data), "bytes": len(data)}
    return document if found else None
