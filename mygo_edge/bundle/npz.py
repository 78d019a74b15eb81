"""Archives of arrays from a stranger: `.npz`, stored, read without unpickling, decompressing or trusting a header."""

import io
import zipfile
from collections.abc import Iterable, Mapping

import numpy as np
from numpy.lib import format as npy
from numpy.typing import NDArray

ERRORS = (ValueError, KeyError, EOFError, OSError, RuntimeError, NotImplementedError, zipfile.BadZipFile)


def write_arrays(arrays: Mapping[str, NDArray]) -> bytes:
    """The arrays as an .npz archive, not compressed; equal arrays give equal bytes."""
    archive = io.BytesIO()
    np.savez(archive, **arrays)  # type: ignore[arg-type]  # the stubs take the names for its own options
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


def _array(archive: zipfile.ZipFile, member: str) -> NDArray:
    if archive.getinfo(member).compress_type != zipfile.ZIP_STORED:
        raise ValueError(f"{member} is compressed")
    data = archive.read(member)
    header = io.BytesIO(data)
    if npy.read_magic(header) != (1, 0):
        raise ValueError(f"{member} is not in format 1.0")
    shape, _, dtype = npy.read_array_header_1_0(header)
    if dtype.hasobject or np.prod(shape, dtype=object) * dtype.itemsize != len(data) - header.tell():
        raise ValueError(f"{member} does not hold what its header says")
    return np.load(io.BytesIO(data), allow_pickle=False)
