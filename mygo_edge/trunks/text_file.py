"""Any other text trunk: the user's ONNX graph of token ids, brought to the inputs and the output that trunks have."""

from dataclasses import replace
from pathlib import Path

import onnx
from onnx import ModelProto, TensorProto, ValueInfoProto, helper

from mygo_edge.bundle.tokenizer_vetting import MAX_BYTES
from mygo_edge.bundle.vetting import RefusedGraphError, vet
from mygo_edge.errors import MygoEdgeError
from mygo_edge.model.onnx_graph import Builder
from mygo_edge.trunks.simplify import simplified
from mygo_edge.trunks.text import Embedder, TextTrunk
from mygo_edge.trunks.text_graphs import INPUTS, OUTPUT, mean_square_one, weighted_sum

MAX_TOKENS = 256  # unless the user says otherwise; most encoders were trained with as many, or with 512
_MAX_OPSET, _MAX_IR = 20, 10
# What exporters call the inputs. Segments are all 0: a text is never a pair of sentences here.
_IDS, _MASK, _SEGMENTS = ("ids", "input_ids"), ("mask", "attention_mask"), ("token_type_ids", "segment_ids")
_PROBES = ["one short text", "another text, a little longer than the first"]
_PREFIX = "trunk."  # keeps our names apart from those of the graph


def text_file(path: Path, tokenizer: Path, output: str | None = None, max_tokens: int | None = None) -> TextTrunk:
    """A trunk around the user's graph.

    Args:
        path: an ONNX file. It takes ids and a mask [batch, tokens] int64, and segments if it likes; the output is a
            vector a text [batch, width], or a token [batch, tokens, width], which is averaged over the text. Vectors
            are scaled to a mean square of 1.
        tokenizer: tokenizer.json that belongs to it.
        output: its name, where there are several.
        max_tokens: that it takes at once.

    Raises:
        MygoEdgeError: unreadable files, other inputs or outputs, or a graph or tokenizer that a device would refuse.
    """
    try:
        data, tokens = path.read_bytes(), tokenizer.read_bytes()
    except OSError as error:
        raise MygoEdgeError(f"{error.filename} cannot be read ({error.strerror})") from error
    model = _vetted(data, output, path)
    opset = next((item.version for item in model.opset_import if item.domain in ("", "ai.onnx")), 0)
    if not 13 <= opset <= _MAX_OPSET or model.ir_version > _MAX_IR:
        raise MygoEdgeError(
            f"{path} has opset {opset} and IR version {model.ir_version}; export it with an opset from 13 to "
            f"{_MAX_OPSET} and at most IR {_MAX_IR}"
        )
    if len(tokens) > MAX_BYTES:
        raise MygoEdgeError(f"{tokenizer} has {len(tokens)} bytes; a tokenizer has {MAX_BYTES} at most")
    chosen = _output(model, output, path)
    limit = max_tokens or MAX_TOKENS
    trunk = TextTrunk(path.stem, _adapted(model, chosen, path), tokens, limit, "fp32", f"{path.name}, the user's own")
    vectors = Embedder(trunk)(_PROBES)  # only a run tells for sure how wide they are
    return replace(trunk, graph=_adapted(model, chosen, path, vectors.shape[1]))


def _vetted(data: bytes, output: str | None, path: Path) -> ModelProto:
    """The graph, where devices take it, or what `simplified` makes of it."""
    try:
        try:
            vet(data)
        except RefusedGraphError as refused:
            given = onnx.load_from_string(data)
            if {value.name for value in given.graph.input} - {*_IDS, *_MASK, *_SEGMENTS}:
                raise  # what it takes are no texts, so it cannot be tried
            try:
                data = simplified(data, _output(given, output, path).name)
                vet(data)
            except MygoEdgeError as error:
                raise MygoEdgeError(f"{refused}, and {error}") from error
        return onnx.load_from_string(data)
    except Exception as error:  # protobuf's errors have no common base
        raise MygoEdgeError(
            f"{path}: {' '.join(str(error).split())[:300]}; export it without this, with static weights inside"
        ) from error


def _output(model: ModelProto, name: str | None, path: Path) -> ValueInfoProto:
    outputs = {output.name: output for output in model.graph.output}
    if name is None and len(outputs) == 1:
        (name,) = outputs
    if name not in outputs:
        raise MygoEdgeError(f"{path} has the outputs {', '.join(outputs)}; choose one with --trunk.output")
    return outputs[name]


def _adapted(model: ModelProto, output: ValueInfoProto, path: Path, width: int | None = None) -> bytes:
    """The graph with our inputs, our output, and what lies between them and its own."""
    given = {value.name: value for value in model.graph.input}
    found = {
        role: next((name for name in names if name in given), None)
        for role, names in (("ids", _IDS), ("mask", _MASK), ("segments", _SEGMENTS))
    }
    if found["ids"] is None or set(given) - set(found.values()):
        raise MygoEdgeError(
            f"{path} has the inputs {', '.join(given)}; a text trunk takes {_IDS[1]}, {_MASK[1]} and, if it "
            f"likes, {_SEGMENTS[0]}"
        )
    rank = len(output.type.tensor_type.shape.dim)
    if rank not in (2, 3):
        raise MygoEdgeError(
            f"{path}: output {output.name} has {rank} axes; a text trunk gives [batch, width] or [batch, "
            "tokens, width]; choose another with --trunk.output"
        )
    inner = onnx.compose.add_prefix_graph(model.graph, _PREFIX)
    before, after = Builder(), Builder()
    for role, ours in (("ids", "ids"), ("mask", "mask")):
        if name := found[role]:
            before.node("Identity", [ours], _PREFIX + name)
    if name := found["segments"]:
        before.node("Sub", ["ids", "ids"], _PREFIX + name)
    vectors = _PREFIX + output.name
    if rank == 3:
        present = after.node("Cast", ["mask"], "present", to=TensorProto.FLOAT)
        vectors = weighted_sum(after, vectors, present)
    mean_square_one(after, vectors, width or 1)
    return _model(model, inner, before, after, width)


def _model(model: ModelProto, inner: onnx.GraphProto, before: Builder, after: Builder, width: int | None) -> bytes:
    inputs = [helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "tokens"]) for name in INPUTS]
    last = helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["batch", width])
    nodes = [*before.nodes, *inner.node, *after.nodes]
    weights = [*inner.initializer, *after.weights]
    result = helper.make_model(
        helper.make_graph(nodes, "text", inputs, [last], weights),
        ir_version=model.ir_version,
        opset_imports=[item for item in model.opset_import if item.domain in ("", "ai.onnx")],
    )
    return result.SerializeToString(deterministic=True)
