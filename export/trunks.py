"""From a trunk as the box has it to the files and the format of a bundle."""

import hashlib
from typing import NamedTuple

from mygo_edge.bundle.manifest import ImageInput, TextInput, TrunkFormat
from mygo_edge.device.session import Graph
from mygo_edge.errors import MygoEdgeError
from mygo_edge.trunks.text import TextTrunk
from mygo_edge.trunks.text_graphs import OUTPUT
from mygo_edge.trunks.trunk import Trunk

_TOKENIZER = "tokenizer.json"


class TrunkFiles(NamedTuple):
    """graph: the trunk's bytes; form: what the manifest says of it; precision: of the graph, as its name in `form`
    says; tokenizer: the bytes of `form.input.tokenizer`, of a trunk that takes text."""

    graph: bytes
    form: TrunkFormat
    precision: str = "fp32"
    tokenizer: bytes | None = None


def photo_trunk_files(trunk: Trunk, precision: str = "fp32") -> TrunkFiles:
    """Of a trunk that takes pictures. precision: of its weights."""
    how = trunk.form
    form = ImageInput(
        size=how.size,
        resize=how.resize,
        crop="none" if how.resize is None else "center",
        interpolation=how.interpolation,
        mean=how.mean,
        std=how.std,
        layout=how.layout.lower(),
    )
    digest = _digest(trunk.graph, repr((trunk.output, form)).encode())
    return TrunkFiles(trunk.graph, TrunkFormat(digest, _file(precision), trunk.output, trunk.features, form), precision)


def text_trunk_files(trunk: TextTrunk) -> TrunkFiles:
    """Of a trunk that takes texts. Raises MygoEdgeError when the width of its vectors is not fixed."""
    features = Graph(trunk.graph, trunk.name).outputs.get(OUTPUT, (None,))[-1]
    if features is None:
        raise MygoEdgeError(f"{trunk.name}: the width of {OUTPUT} is not in the graph; export it with a fixed width")
    taken = TextInput(_TOKENIZER, trunk.max_tokens, trunk.parts)
    digest = _digest(trunk.graph, trunk.tokenizer, repr((taken.max_tokens, taken.parts)).encode())
    form = TrunkFormat(digest, _file(trunk.precision), OUTPUT, features, taken)
    return TrunkFiles(trunk.graph, form, trunk.precision, trunk.tokenizer)


def _file(precision: str) -> str:
    return "trunk.onnx" if precision == "fp32" else f"trunk.{precision}.onnx"


def _digest(*parts: bytes) -> str:
    """SHA-256 of everything that features are computed from: graph, and how its input is prepared."""
    digest = hashlib.sha256()
    for part in parts:
        digest.update(hashlib.sha256(part).digest())
    return digest.hexdigest()
