"""Archives of arrays from a stranger: `.npz`, stored, read without unpickling, decompressing or trusting a header."""

import io
import math
import re
import zipfile
from collections.abc import Iterable, Mapping
from typing import Literal

import numpy as np
from numpy.typing import NDArray

_MAGIC = b"\x93NUMPY\x01\x00"  # format 1.0; the header's length follows in two bytes
_MAX_HEADER = 1024
_MAX_SIDE = 2**40
_HEADER = re.compile(
    rb"\{'descr': '(?P<dtype>[<>|](?:b1|[iu][1248]|f[248]))', 'fortran_order': (?P<fortran>True|False), "
    rb"'shape': \((?P<shape>(?:[0-9]{1,13}(?:, ?|(?=\)))){0,8})\), \} *\n?"
)
ERRORS = (ValueError, KeyError, EOFError, OSError, RuntimeError, NotImplementedError, zipfile.BadZipFile)


def write_arrays(arrays: Mapping[str, NDArray]) -> bytes:
    """The arrays as an .npz archive, not compressed; equal arrays give equal bytes, whatever their order in memory."""
    archive = io.BytesIO()
    rows_first = {name: np.asarray(array, order="C") for name, array in arrays.items()}
    np.savez(archive, **rows_first)  # type: ignore[arg-type]  # the stubs take the names for its own options
    return archive.getvalue()


def read_arrays(data: bytes, names: Iterable[str]) -> dict[str, NDArray]:
    """The arrays of those names, each as its header says.

    Raises:
        one of `ERRORS`: an array is absent, compressed, of Python objects, or claims more bytes than the archive has.
    """
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name: _array(archive, f"{name}.npy") for name in names}


def array_names(data: bytes) -> set[str]:
    """The names of the arrays in an archive. Raises one of `ERRORS` where it is none."""
    with zipfile.ZipFile(io.BytesIO(data)) as archive:
        return {name.removesuffix(".npy") for name in archive.namelist()}


def same_arrays(one: bytes, other: bytes) -> bool:
    """Whether two archives hold the same arrays, to the bit; not where one of them is no archive."""
    try:
        if (names := array_names(one)) != array_names(other):
            return False
        pairs = [(read_arrays(one, [name])[name], read_arrays(other, [name])[name]) for name in names]
    except ERRORS:
        return False
    return all(a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes() for a, b in pairs)


def read_array(data: bytes) -> NDArray:
    """The array of a `.npy` file, format 1.0, of plain numbers. Raises ValueError where it is none.

    numpy's own reader hands the header to Python's parser, which has many ways to fail on a hostile one.
    """
    length = int.from_bytes(data[8:10], "little")
    found = _HEADER.fullmatch(data[10 : 10 + length])
    if data[:8] != _MAGIC or found is None or length > _MAX_HEADER:
        raise ValueError("holds no plain numbers in format 1.0 of numpy")
    shape = tuple(int(side) for side in re.findall(rb"[0-9]+", found["shape"]))
    dtype = np.dtype(found["dtype"].decode())
    if math.prod(shape) * dtype.itemsize != len(data) - 10 - length or max(shape, default=0) > _MAX_SIDE:
        raise ValueError("does not hold what its header says")
    order: Literal["C", "F"] = "F" if found["fortran"] == b"True" else "C"
    return np.frombuffer(data, dtype, offset=10 + length).reshape(shape, order=order).copy(order)


def _array(archive: zipfile.ZipFile, member: str) -> NDArray:
    if archive.getinfo(member).compress_type != zipfile.ZIP_STORED:
        raise ValueError(f"{member} is compressed")
    try:
        return read_array(archive.read(member))
    except ValueError as error:
        raise ValueError(f"{member} {error}") from error
