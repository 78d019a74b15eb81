"""A trunk: a frozen ONNX graph from raw input to a vector, and what it wants of a picture."""

from dataclasses import dataclass, field
from hashlib import sha256

from mygo_edge.bundle.vision import Preparation


@dataclass(frozen=True)
class Trunk:
    """graph: the ONNX file's bytes, one input and one output [batch, features] float32; form: how a picture becomes its
    input; floats: whether that is float32, scaled, rather than raw uint8; name: what the user called it; terms: what
    is known of the licence of its weights, for whoever publishes them.
    """

    graph: bytes
    input: str
    output: str
    features: int
    form: Preparation
    floats: bool
    name: str
    terms: str
    digest: str = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "digest", sha256(self.graph).hexdigest())
