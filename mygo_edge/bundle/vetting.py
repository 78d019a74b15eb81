"""Vet a serialised ONNX graph before onnxruntime parses it: known operators, honest tensors, nothing that can loop.

A graph of a bundle may come from anyone who can reach the device's network. What is checked here is cheap and needs no
more memory than the file: that every operator is one of a list, none of which runs other graphs or makes much out of
nothing; that every tensor holds what its shape claims; and that what is constant, and so computed while the graph is
loaded, cannot grow. How large the results of a run may be is bounded where it runs (`mygo_edge.device.session`).
Field numbers are those of onnx.proto.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field

from mygo_edge.bundle.wire import fields, varints

MAX_IR_VERSION = 13
MAX_NODES = 4096
_MAX_RANK = 8
_MAX_INTEGER = 2**31 - 1  # of an attribute: kernels store sides, pads and axes in 32 bits
_MAX_EXPANSION = 8  # bytes in memory of a byte in a packed field: a varint of an int64

# Operators that keep or shrink what they are given, or grow it by no more than their other inputs allow. Not among
# them: control flow (If, Loop, Scan), random numbers, strings, sequences, and what fills a shape out of one number
# (ConstantOfShape, Expand, Tile, Range, Resize, OneHot).
_SHAPING = """
Cast Constant DequantizeLinear Flatten Identity QuantizeLinear Reshape Shape Slice Squeeze Transpose Unsqueeze
"""
_COMPUTING = """
Abs Add And ArgMax ArgMin AveragePool BatchNormalization Ceil Clip Concat Conv ConvInteger ConvTranspose
DepthToSpace Div DynamicQuantizeLinear Einsum Elu Equal Erf Exp Floor Gather GatherElements GatherND Gelu Gemm
GlobalAveragePool GlobalMaxPool Greater GreaterOrEqual GroupNormalization HardSigmoid HardSwish
InstanceNormalization LayerNormalization LeakyRelu Less LessOrEqual Log LogSoftmax MatMul MatMulInteger Max
MaxPool Mean Min Mish Mod Mul Neg Not Or PRelu Pad Pow QLinearConv QLinearMatMul Reciprocal ReduceMax ReduceMean
ReduceMin ReduceSum ReduceSumSquare Relu Round Selu Sigmoid Sign Softmax Softplus Softsign SpaceToDepth Split
Sqrt Sub Sum Tanh TopK Where Xor
"""
_SHAPE_OPERATORS = frozenset(_SHAPING.split())
OPERATORS = _SHAPE_OPERATORS | frozenset(_COMPUTING.split())
_DOMAINS = ("", "ai.onnx")
# Element type -> bits. Not among them: strings, complex numbers and types that no kernel of the CPU takes.
_BITS = {1: 32, 2: 8, 3: 8, 4: 16, 5: 16, 6: 32, 7: 64, 9: 8, 10: 16, 11: 64, 12: 32, 13: 64, 16: 16, 21: 4, 22: 4}
_RAW_DATA = 9
_TYPED_DATA = (4, 5, 7, 10, 11)
# external_data and data_location: onnxruntime reads such a file from the working directory even where the model comes
# from bytes. What else could hold a tensor (a graph within a node, a function, a sparse tensor) is refused as such.
_EXTERNAL = (13, 14)


class RefusedGraphError(ValueError):
    """A graph that onnxruntime must not be given. The message goes on after the file's name: "uses ...", "has ..."."""


@dataclass(slots=True)
class _Node:
    operator: str = ""
    domain: str = ""
    inputs: list[str] = field(default_factory=list)
    outputs: list[str] = field(default_factory=list)


def vet(model: bytes) -> None:
    """Check that onnxruntime may be given this model.

    Raises:
        RefusedGraphError: with the reason.
        ValueError: the bytes are no well-formed message.
    """
    graphs = []
    for number, value in fields(memoryview(model)):
        if number == 1:  # ir_version
            _require(isinstance(value, int) and 3 <= value <= MAX_IR_VERSION, "has an IR version out of range")
        elif number == 7:
            graphs.append(_message(value))
        elif number in (20, 25):
            raise RefusedGraphError("has training information or functions of its own; a bundle has neither")
        elif number == 8:
            domain = next((_text(part) for key, part in fields(_message(value)) if key == 1), "")
            _require(domain in _DOMAINS, f"uses operators of {domain!r}; only ONNX's own run on every device")
    _require(len(graphs) == 1, "must hold one graph")
    _vet_graph(graphs[0])


def _vet_graph(data: memoryview) -> None:
    constants: set[str] = set()
    nodes: list[_Node] = []
    for number, value in fields(data):
        if number == 1:
            nodes.append(_node(_message(value)))
            _require(len(nodes) <= MAX_NODES, f"has more than {MAX_NODES} nodes")
        elif number == 5:
            constants.add(_tensor(_message(value)))
        elif number == 15:
            raise RefusedGraphError("has sparse tensors; a bundle has none")
    for node in nodes:  # in topological order, which onnxruntime requires too
        if all(name in constants for name in node.inputs if name):
            _require(
                node.operator in _SHAPE_OPERATORS,
                f"computes {node.operator} from constants alone; export its result instead",
            )
            constants.update(node.outputs)


def _node(data: memoryview) -> _Node:
    node = _Node()
    for number, value in fields(data):
        if number == 1:
            node.inputs.append(_text(value))
        elif number == 2:
            node.outputs.append(_text(value))
        elif number == 4:
            node.operator = _text(value)
        elif number == 7:
            node.domain = _text(value)
        elif number == 5:
            _attribute(_message(value))
    known = node.domain in _DOMAINS and node.operator in OPERATORS
    name = f"{node.domain}::{node.operator}" if node.domain else node.operator
    _require(known, f"uses the operator {name!r}, which a bundle may not; if it is new, update mygo_edge")
    return node


def _attribute(data: memoryview) -> None:
    tensors = 0
    for number, value in fields(data):
        if number in (6, 11):
            raise RefusedGraphError("has a graph within a node; a bundle has none")
        if number in (5, 10):
            tensors += number == 5
            _require(tensors <= 1, "has an attribute with two tensors")  # parsers would join them
            _tensor(_message(value))
        elif number in (22, 23):
            raise RefusedGraphError("has sparse tensors; a bundle has none")
        elif number in (3, 8):
            for integer in _integers(value):
                _require(abs(integer) <= _MAX_INTEGER, "has an attribute out of range")


def _tensor(data: memoryview) -> str:
    """Check that a tensor holds as many elements as its shape claims, and return its name."""
    name, elements, rank, bits, raw, typed = "", 1, 0, 0, None, 0
    for number, value in fields(data):
        if number == 1:
            for side in _integers(value):
                _require(side >= 0, "has a tensor with a negative side")
                elements, rank = elements * side, rank + 1
                _require(rank <= _MAX_RANK and elements < 2**40, "has a tensor with an absurd shape")
        elif number == 2:
            bits = _BITS.get(value, 0) if isinstance(value, int) else 0
        elif number == 8:
            name = _text(value)
        elif number == _RAW_DATA:
            _require(raw is None, "has a tensor with two contents")
            raw = len(_message(value))
        elif number in _EXTERNAL and value:
            raise RefusedGraphError("has external data; a graph of a bundle must hold its own weights")
        elif number in _TYPED_DATA:
            typed += 1 if isinstance(value, int) else len(value)
        elif number == 6:
            raise RefusedGraphError("has a tensor of text; a bundle has none")
    _require(bits > 0, "has a tensor of a type that a bundle may not hold")
    size = (elements * bits + 7) // 8
    holds = typed == 0 and raw == size if raw is not None else size <= typed * _MAX_EXPANSION
    _require(holds, f"has a tensor {name[:80]!r} that does not hold what its shape claims")
    return name


def _integers(value: int | memoryview) -> Iterator[int]:
    """Signed integers of a field, packed or not."""
    for number in (value,) if isinstance(value, int) else varints(value):
        yield number - 2**64 if number >= 2**63 else number


def _message(value: int | memoryview) -> memoryview:
    if isinstance(value, int):
        raise ValueError("a number stands where a message belongs")
    return value


def _text(value: int | memoryview) -> str:
    return str(_message(value), "utf-8")


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise RefusedGraphError(otherwise)
