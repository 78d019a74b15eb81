"""What a graph needs for some of its outputs, cut out of its bytes: onnxruntime computes every node that it is given.

Only the wire format is read and written (https://protobuf.dev/programming-guides/encoding); nodes and tensors are
copied as they are. Field numbers are those of onnx.proto.
"""

from collections.abc import Iterator, Mapping, Sequence

from mygo_edge.bundle.wire import fields

Field = tuple[int, int | memoryview]

_GRAPH = 7  # of a model
_NODE, _TENSOR, _OUTPUT, _VALUE_INFO = 1, 5, 12, 13  # of a graph
_VARINT, _LENGTH = 0, 2  # wire types


def pruned(model: bytes, outputs: Sequence[str]) -> bytes:
    """The model without the nodes and tensors that none of these outputs needs. It was vetted before.

    Raises:
        ValueError: the bytes are no well-formed model, or it has not all of these outputs.
    """
    parts = [(number, value) for number, value in fields(memoryview(model))]
    return b"".join(
        _encoded(number, _pruned_graph(value, outputs) if number == _GRAPH else value) for number, value in parts
    )


def _pruned_graph(graph: int | memoryview, outputs: Sequence[str]) -> bytes:
    if isinstance(graph, int):
        raise ValueError("the graph is no message")
    parts = list(fields(graph))
    needed, kept = set(outputs), []
    for number, value in reversed(parts):  # nodes are in topological order, which onnxruntime requires
        if number == _NODE:
            takes, gives = _names(value, 1), _names(value, 2)
            if not needed.intersection(gives):
                continue
            needed.update(takes)
        elif number == _VALUE_INFO:  # what is said of values in between
            continue
        kept.append((number, value))
    found = [_name(value, 1) for number, value in kept if number == _OUTPUT]
    if missing := set(outputs) - set(found):
        raise ValueError(f"no output {sorted(missing)[0]!r}")
    return b"".join(_encoded(*part) for part in reversed(kept) if _is_needed(part, needed, outputs))


def _is_needed(part: Field, needed: set[str], outputs: Sequence[str]) -> bool:
    number, value = part
    if number == _TENSOR:
        return _name(value, 8) in needed
    return number != _OUTPUT or _name(value, 1) in outputs


def output_shapes(model: bytes) -> Mapping[str, tuple[int | None, ...]]:
    """The shape of every output of a model, by name, with None for what is not fixed. Raises ValueError."""
    shapes = {}
    for graph in _messages(memoryview(model), _GRAPH):
        for output in _messages(graph, _OUTPUT):
            # ValueInfoProto.type, TypeProto.tensor_type, .shape, .dim, and the last's dim_value
            sides = [
                next((side for number, side in fields(dimension) if number == 1 and isinstance(side, int)), None)
                for kind in _messages(output, 2)
                for tensor in _messages(kind, 1)
                for shape in _messages(tensor, 2)
                for dimension in _messages(shape, 1)
            ]
            shapes[_name(output, 1)] = tuple(sides)
    return shapes


def _messages(data: memoryview, wanted: int) -> Iterator[memoryview]:
    for number, value in fields(data):
        if number == wanted and not isinstance(value, int):
            yield value


def _names(value: int | memoryview, number: int) -> list[str]:
    """The texts in a field of a message. Raises ValueError when there is no message."""
    if isinstance(value, int):
        raise ValueError("a number stands where a message belongs")
    return [str(text, "utf-8") for text in _messages(value, number)]


def _name(value: int | memoryview, number: int) -> str:
    """The last text in a field of a message, as parsers take it; "" where there is none."""
    return next(reversed(_names(value, number)), "")


def _encoded(number: int, value: int | memoryview | bytes) -> bytes:
    if isinstance(value, int):
        return _varint(number << 3 | _VARINT) + _varint(value)
    return b"".join((_varint(number << 3 | _LENGTH), _varint(len(value)), value))


def _varint(value: int) -> bytes:
    written = bytearray()
    while value >= 0x80:
        written.append(value & 0x7F | 0x80)
        value >>= 7
    written.append(value)
    return bytes(written)
