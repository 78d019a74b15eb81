"""The trunk of a run, kept beside it: what it was when learning began is what it is when learning goes on."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

from mygo_edge.bundle.vision import Preparation
from mygo_edge.errors import MygoEdgeError
from mygo_edge.files import sha256, write_bytes, write_json
from mygo_edge.trunks.text import TextTrunk
from mygo_edge.trunks.trunk import Trunk

_GRAPH, _TOKENIZER, _ABOUT = "trunk.onnx", "tokenizer.json", "trunk.json"


def save_trunk(folder: Path, trunk: Trunk | TextTrunk) -> None:
    """Write a trunk's files into a folder; the last one, which names the hashes of the others, makes it whole."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {_GRAPH: trunk.graph} | ({_TOKENIZER: trunk.tokenizer} if isinstance(trunk, TextTrunk) else {})
    about = {key: value for key, value in asdict(trunk).items() if key not in ("graph", "tokenizer", "digest")}
    for name, data in files.items():
        write_bytes(folder / name, data)
    hashes = {name: sha256(data) for name, data in files.items()}
    write_json(folder / _ABOUT, {"text": isinstance(trunk, TextTrunk), "about": about, "sha256": hashes})


def load_trunk(folder: Path) -> Trunk | TextTrunk:
    """What `save_trunk` wrote. Raises MygoEdgeError when it is missing or damaged."""
    try:
        document = json.loads((folder / _ABOUT).read_bytes())
        data = {name: (folder / name).read_bytes() for name in document["sha256"] if name in (_GRAPH, _TOKENIZER)}
        if {name: sha256(content) for name, content in data.items()} != document["sha256"]:
            raise ValueError("a hash differs")
        about: dict[str, Any] = document["about"]
        if document["text"]:
            return TextTrunk(graph=data[_GRAPH], tokenizer=data[_TOKENIZER], **about)
        plain = about.pop("form").items()
        form: dict[str, Any] = {key: tuple(value) if isinstance(value, list) else value for key, value in plain}
        return Trunk(graph=data[_GRAPH], form=Preparation(**form), **about)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise MygoEdgeError(f"{folder} does not hold the trunk of the run ({error}); put it back") from error
