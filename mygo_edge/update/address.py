"""The source at an address: a folder, or a web server."""

from pathlib import Path

from mygo_edge.update.folder import FolderSource
from mygo_edge.update.source import Limits, Source, SourceError
from mygo_edge.update.web import HttpSource


def open_source(address: str, limits: Limits, *, other_host: bool = False) -> Source:
    """The source at an address: http://, https://, or a folder. Raises SourceError for any other.

    other_host: whether a web server may redirect to another host.
    """
    scheme = address.partition("://")[0].lower() if "://" in address else ""
    if scheme in ("http", "https"):
        return HttpSource(address, limits, other_host=other_host)
    if scheme:
        raise SourceError(f"{address}: {scheme} is not supported; give a folder, or an http or https address")
    if not Path(address).is_dir():
        raise SourceError(f"{address} is no folder; give the folder or the address that holds `current`")
    return FolderSource(Path(address), limits)
