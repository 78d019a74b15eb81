"""Read the wire format of a serialised ONNX model without the onnx package, and find external data in it.

onnxruntime reads a tensor's external file from the working directory even when the model comes from bytes, so a graph
that names one is refused before onnxruntime sees it.
Only the wire format is read (https://protobuf.dev/programming-guides/encoding), along the messages of onnx.proto that
lead to a tensor; payloads are skipped.
"""

from collections.abc import Iterator

# Message -> field number -> message of that field, from onnx.proto.
_MESSAGES: dict[str, dict[int, str]] = {
    "model": {7: "graph", 20: "training", 25: "function"},
    "training": {1: "graph", 2: "graph"},
    "function": {7: "node", 11: "attribute"},
    "graph": {1: "node", 5: "tensor", 15: "sparse"},
    "node": {5: "attribute"},
    "attribute": {5: "tensor", 6: "graph", 10: "tensor", 11: "graph", 22: "sparse", 23: "sparse"},
    "sparse": {1: "tensor", 2: "tensor"},
    "tensor": {},
}
_EXTERNAL_FIELDS = (13, 14)  # TensorProto.external_data and .data_location (0: in the message)
_VARINT, _LENGTH = 0, 2  # wire types
_MAX_DEPTH = 64  # of messages within messages; protobuf itself stops at 100
_FIXED = {1: 8, 5: 4}  # wire type -> bytes
_MAX_FIELD = 2**29 - 1  # parsers disagree on what a larger number means


def has_external_data(model: bytes) -> bool:
    """Whether any tensor of the model says where its data is, instead of holding it.

    Raises:
        ValueError: the bytes are no well-formed message.
    """
    pending = [("model", memoryview(model), 0)]
    while pending:
        message, data, depth = pending.pop()
        if depth > _MAX_DEPTH:
            raise ValueError("messages are nested too deeply")
        for number, value in fields(data):
            if message == "tensor" and number in _EXTERNAL_FIELDS and value:
                return True
            inner = _MESSAGES[message].get(number)
            if inner is None:
                continue
            if isinstance(value, int):
                raise ValueError(f"field {number} of a {message} is no message")
            pending.append((inner, value, depth + 1))
    return False


def fields(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Number and value of every field: an int for a varint, bytes for everything else."""
    at = 0
    while at < len(data):
        tag, at = _varint(data, at)
        number, wire_type = tag >> 3, tag & 7
        if number > _MAX_FIELD:
            raise ValueError("a field number is out of range")
        if wire_type == _VARINT:
            value, at = _varint(data, at)
            yield number, value
            continue
        if wire_type == _LENGTH:
            length, at = _varint(data, at)
        elif wire_type in _FIXED:
            length = _FIXED[wire_type]
        else:
            raise ValueError(f"wire type {wire_type} is not used by ONNX")
        if length > len(data) - at:
            raise ValueError("a field ends beyond its message")
        yield number, data[at : at + length]
        at += length


def varints(data: memoryview) -> Iterator[int]:
    """The numbers of a packed repeated field."""
    at = 0
    while at < len(data):
        value, at = _varint(data, at)
        yield value


def _varint(data: memoryview, at: int) -> tuple[int, int]:
    """The number that starts at `at`, and where the bytes after it start."""
    value = 0
    for shift in range(0, 70, 7):
        if at == len(data):
            raise ValueError("a number ends beyond its message")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("a number has more than ten bytes")
