"""Versions of a bundle on disk: built beside the live one, durably named, made live by one atomic rename.

What box and device share. Nothing that is live is ever changed, so a kill at any moment leaves it whole. It needs the
standard library only.
"""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from mygo_edge.bundle.manifest import BundleError
from mygo_edge.bundle.reading import CURRENT, VERSION_NAME, current_version, version_folder, version_order
from mygo_edge.files import remove, sync_folder, write_text

_PARTIAL = ".partial"  # ends the names of folders that a kill may leave behind


def live_name(bundle_dir: Path) -> str | None:
    """The name in `current`, when there is one and its folder is there."""
    try:
        return version_folder(bundle_dir, current_version(bundle_dir)).name
    except BundleError:
        return None


def set_live(bundle_dir: Path, name: str) -> None:
    """Replace `current`, atomically and durably."""
    write_text(bundle_dir / CURRENT, name + "\n")


def version_names(bundle_dir: Path) -> list[str]:
    """Names of all versions' folders, in their order."""
    names = [path.name for path in bundle_dir.iterdir() if VERSION_NAME.fullmatch(path.name) and path.is_dir()]
    return sorted(names, key=version_order)


@contextmanager
def new_version(bundle_dir: Path, name: str) -> Iterator[Path]:
    """An empty folder to build version `name` in; it has that name, durably, when the block ends without an error.

    A folder that has the name already is replaced: a kill came between its naming and its becoming live.
    """
    folder, partial = bundle_dir / name, bundle_dir / f".{name}{_PARTIAL}"
    remove(partial)
    partial.mkdir()
    try:
        yield partial
        sync_folder(partial)
        remove(folder)
        partial.rename(folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    sync_folder(bundle_dir)


def keep_only(bundle_dir: Path, kept: set[str | None]) -> None:
    """Remove all other versions, and what kills left half built. What cannot be removed now goes the next time."""
    others = [bundle_dir / name for name in version_names(bundle_dir) if name not in kept]
    for path in [*bundle_dir.glob(f".v*{_PARTIAL}"), *others]:
        with suppress(OSError):
            remove(path)
