"""Archives of arrays from a stranger: what numpy writes is read, whatever else is refused."""

import io
import struct
import zipfile

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mygo_edge.bundle.npz import ERRORS, read_array, read_arrays, same_arrays, write_arrays


def npy(header: str, body: bytes = b"") -> bytes:
    return b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header.encode("latin1") + body


def head(descr: str = "'<f4'", order: str = "False", shape: str = "(1,)") -> str:
    return f"{{'descr': {descr}, 'fortran_order': {order}, 'shape': {shape}, }}"


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((2, 3), np.float32), np.arange(6).reshape(1, 6), np.array(5.0), np.zeros((0, 4), np.int8),
        np.asfortranarray(np.arange(12.0).reshape(3, 4)), np.ones(5, bool), np.ones((2, 1, 3), np.float16),
        np.arange(3, dtype=">i4"), np.arange(4, dtype=np.uint8),
    ],
    ids=lambda array: f"{array.dtype.str}{list(array.shape)}",
)  # fmt: skip
def test_what_numpy_writes_is_read(array: np.ndarray) -> None:
    read = read_arrays(write_arrays({"a": array}), ["a"])["a"]
    assert (read.dtype, read.shape) == (array.dtype, array.shape)
    np.testing.assert_array_equal(read, array)


def test_equal_arrays_give_equal_bytes_whatever_their_order_in_memory() -> None:
    array = np.arange(12.0).reshape(3, 4)
    assert write_arrays({"a": np.asfortranarray(array)}) == write_arrays({"a": array})


HEADERS = {
    "nothing of a number that no integer holds": head(shape=f"(0, {10**30})"),
    "nothing of 2^63": head(shape=f"(0, {2**63})"),
    "a negative side": head(shape="(-1, -1)"),
    "true as a side": head(shape="(True,)"),
    "seventy sides": head(shape="(" + "1, " * 70 + ")"),
    "minuses without end": "-" * 9000 + "1",
    "brackets without end": "(" * 9000,
    "attributes without end": "a." * 4000 + "b",
    "a list as a key": "{[]: 1}",
    "keys of two kinds": "{'descr': '<f4', 'fortran_order': False, 'shape': (), 1: 2}",
    "elements of no size": head("'|V0'", shape=f"({2**40},)"),
    "texts of no size": head("'<U0'", shape=f"({2**40},)"),
    "objects": head("'|O'", shape="(0,)"),
    "objects in a record": head("[('a', '|O')]", shape="(0,)"),
    "a record of two thousand": head("'" + "f4," * 2000 + "'", shape="(0,)"),
    "subarrays": head("('<f4', (2147483647, 2147483647))", shape="()"),
    "times": head("'<M8[s]'"),
    "digits that a pattern could split in many ways": head(shape="(" + "9" * 200 + "x)"),
    "more than it holds": head(shape="(1000000,)"),
}


@pytest.mark.parametrize("header", HEADERS.values(), ids=HEADERS.keys())
def test_a_header_that_claims_anything_else_is_refused(header: str) -> None:
    with pytest.raises(ValueError, match=r"plain numbers|what its header says"):
        read_array(npy(header, bytes(4)))


def test_entries_that_overlap_cost_no_more_than_the_archive() -> None:
    """The central directory names one entry a thousand times: it is read by its name, once, or Python refuses it."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("a.npy", npy(head(), bytes(4)))
        entry = archive.infolist()[0]
        archive.filelist += [entry] * 1000
    try:
        found = read_arrays(file.getvalue(), ["a"])
    except zipfile.BadZipFile:  # of a Python with that check
        return
    assert found["a"].shape == (1,)


@given(st.binary(max_size=200), st.booleans())
@settings(max_examples=300, deadline=None)
def test_any_bytes_are_refused_or_read(data: bytes, framed: bool) -> None:
    try:
        read_array(npy(data.decode("latin1")) if framed else data)
    except ERRORS:
        return


def test_archives_are_compared_by_what_they_hold() -> None:
    array = np.arange(12.0).reshape(3, 4)
    archive = io.BytesIO()
    np.savez(archive, a=np.asfortranarray(array))  # the same in other bytes
    data = write_arrays({"a": array})
    assert archive.getvalue() != data
    assert same_arrays(archive.getvalue(), data)
    for other in ({"b": array}, {"a": array, "b": array}, {"a": array.T}, {"a": array + 1}, {"a": array.astype("<i8")}):
        assert not same_arrays(write_arrays(other), data)
    assert not same_arrays(b"no archive", data)
