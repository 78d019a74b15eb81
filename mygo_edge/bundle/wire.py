"""Read the wire format of a serialised ONNX model without the onnx package.

Only the wire format (https://protobuf.dev/programming-guides/encoding); `mygo_edge.bundle.vetting` knows the messages.
"""

from collections.abc import Iterator

_VARINT, _LENGTH = 0, 2  # wire types
_FIXED = {1: 8, 5: 4}  # wire type -> bytes
_MAX_FIELD = 2**29 - 1  # parsers disagree on what a larger number means


def fields(data: memoryview) -> Iterator[tuple[int, int | memoryview]]:
    """Number and value of every field: an int for a varint, bytes for everything else."""
    at, end = 0, len(data)
    while at < end:
        # A graph has thousands of fields, nearly all with a tag and a length of one byte each.
        tag = data[at]
        at += 1
        if tag >= 0x80:
            tag, at = _varint(data, at - 1)
        number, wire_type = tag >> 3, tag & 7
        if number > _MAX_FIELD:
            raise ValueError("a field number is out of range")
        if wire_type in (_VARINT, _LENGTH):
            if at < end and data[at] < 0x80:
                value = data[at]
                at += 1
            else:
                value, at = _varint(data, at)
            if wire_type == _VARINT:
                yield number, value
                continue
            length = value
        elif wire_type in _FIXED:
            length = _FIXED[wire_type]
        else:
            raise ValueError(f"wire type {wire_type} is not used by ONNX")
        if length > end - at:
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
