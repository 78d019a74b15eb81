"""Update a bundle from a source: only files whose hash is new are fetched, and nothing is used before it is checked."""

import errno
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from mygo_edge.bundle.manifest import MANIFEST, SIGNATURE, BundleError, FileEntry, Manifest
from mygo_edge.bundle.parsing import parse_manifest
from mygo_edge.bundle.reading import (
    CURRENT,
    MAX_MANIFEST_BYTES,
    VERSION_NAME,
    open_plain,
    read_entry,
    read_manifest,
    read_plain,
    read_version,
    version_order,
)
from mygo_edge.bundle.signature import SIGNATURE_BYTES, verify_signature
from mygo_edge.errors import MygoEdgeError
from mygo_edge.files import sha256, write_bytes
from mygo_edge.update import install
from mygo_edge.update.source import CHUNK, Limits, LostError, Source, SourceError, open_source

DOWNLOADS = ".download"
_FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True, slots=True)
class Wish:
    """What the user allows. public_key: of the publisher; without it, nobody's signature is asked for."""

    public_key: Path | None = None
    downgrade: bool = False
    rolled_back: bool = False


@dataclass(frozen=True, slots=True)
class Offer:
    """A version as the source describes it, after its manifest was parsed and its signature, if asked for, verified."""

    name: str
    manifest: Manifest
    data: bytes
    signature: bytes | None

    @property
    def digest(self) -> str:
        """SHA-256 of the manifest, which holds the hashes of everything else."""
        return sha256(self.data)


@dataclass(slots=True)
class Report:
    """What an update did. before: the version that was live; fetched: bytes that came, by file; kept: files that were
    there already."""

    version: str
    before: str | None
    fetched: dict[str, int] = field(default_factory=dict)
    kept: list[str] = field(default_factory=list)

    @property
    def changed(self) -> bool:
        """Whether another version is live now."""
        return self.version != self.before


def update(source: str, bundle_dir: Path, wish: Wish | None = None, limits: Limits | None = None) -> Report:
    """Make the source's live version this bundle's.

    Args:
        source: a folder, or an http(s) address, that holds `current`.
        bundle_dir: the device's bundle; made when it is not there.
        wish: what is allowed, and whose signature is asked for.
        limits: what the source may cost.

    Raises:
        BundleError: the version is not what a device takes. The one that was live still is.
        SourceError: the source cannot be read. What came stays in the bundle's folder, for the next attempt.
        MygoEdgeError: the version is older, was rolled back here, or is too large, or another update is running.
        OSError: the disk refuses. The version that was live still is.
    """
    wish, limits = wish or Wish(), limits or Limits()
    origin = open_source(source, limits)
    bundle_dir.mkdir(parents=True, exist_ok=True)
    with install.locked(bundle_dir):
        install.sweep(bundle_dir)
        offer = _offer(origin, wish.public_key, limits)
        live = install.live_name(bundle_dir)
        if live and _has(bundle_dir / live, offer, wish.public_key):
            shutil.rmtree(bundle_dir / DOWNLOADS, ignore_errors=True)  # of an update that was killed at its very end
            return Report(live, live, kept=[entry.path for entry in offer.manifest.files])
        _require_newer(bundle_dir, live, offer, wish)
        try:
            return _install(origin, bundle_dir, live, offer, wish, limits)
        except OSError as error:
            if error.errno in _FULL:  # room for everybody else comes before a quick second attempt
                shutil.rmtree(bundle_dir / DOWNLOADS, ignore_errors=True)
            raise


def _offer(origin: Source, public_key: Path | None, limits: Limits) -> Offer:
    name = _small(origin, CURRENT, 64, limits).decode("ascii", "replace").strip()
    if VERSION_NAME.fullmatch(name) is None:
        raise SourceError(f"the source's {CURRENT} must name a version, such as v0003, not {name[:40]!a}")
    path = f"{name}/{MANIFEST}"
    data = _small(origin, path, MAX_MANIFEST_BYTES, limits)
    try:
        signature = _small(origin, f"{name}/{SIGNATURE}", SIGNATURE_BYTES, limits)
    except FileNotFoundError:
        signature = None
    if public_key is not None:
        verify_signature(data, signature, public_key, f"the source's {path}")
    manifest = parse_manifest(data, f"the source's {path}")
    if version_order(name)[0] != manifest.sequence:
        raise SourceError(f"the source's {path} is of sequence {manifest.sequence}; the source mixes versions up")
    size = sum(entry.size for entry in manifest.files)
    if size > limits.total:
        raise MygoEdgeError(f"the source's {name} has {size} bytes, {limits.total} are allowed; see --max-bytes")
    return Offer(name, manifest, data, signature)


def _has(folder: Path, offer: Offer, public_key: Path | None) -> bool:
    """Whether a version is what is offered, whole, and signed where that is asked for."""
    try:
        read_version(folder, public_key)
        return read_plain(folder / MANIFEST, MAX_MANIFEST_BYTES) == offer.data
    except BundleError:
        return False


def _require_newer(bundle_dir: Path, live: str | None, offer: Offer, wish: Wish) -> None:
    if offer.digest in install.read_state(bundle_dir).rolled_back and not wish.rolled_back:
        raise MygoEdgeError(
            f"{offer.name} was rolled back here; {live} stays until the source has another, or pass --allow-rolled-back"
        )
    if live is None or wish.downgrade:
        return
    try:
        manifest = read_manifest(bundle_dir / live)
        here = (manifest.sequence, datetime.fromisoformat(manifest.created))
        there = (offer.manifest.sequence, datetime.fromisoformat(offer.manifest.created))
        older = there < here
    except BundleError:  # damaged: all that is left to compare is its name
        older = offer.manifest.sequence < version_order(live)[0]
    if older:
        raise MygoEdgeError(
            f"the source's {offer.name} is older than {live}, which is live; pass --allow-downgrade to go back to it"
        )


def _install(origin: Source, bundle_dir: Path, live: str | None, offer: Offer, wish: Wish, limits: Limits) -> Report:
    downloads = bundle_dir / DOWNLOADS
    downloads.mkdir(exist_ok=True)
    wanted = {entry.sha256 for entry in offer.manifest.files}
    for path in downloads.iterdir():  # of versions that this one replaced
        if path.name not in wanted:
            path.unlink()
    report = Report(install.free_name(bundle_dir, offer.name), live)
    there = _files_there(bundle_dir, offer.manifest)
    _require_room(downloads, [entry for entry in offer.manifest.files if entry.sha256 not in there])
    for entry in offer.manifest.files:
        if entry.sha256 in there:
            report.kept.append(entry.path)
        else:
            report.fetched[entry.path] = _download(origin, offer.name, entry, downloads / entry.sha256, limits)
            there[entry.sha256] = downloads / entry.sha256
    with install.staged(bundle_dir, report.version) as folder:
        for entry in offer.manifest.files:
            _link(there[entry.sha256], folder / entry.path)
        write_bytes(folder / MANIFEST, offer.data)
        if offer.signature is not None:
            write_bytes(folder / SIGNATURE, offer.signature)
        read_version(folder, wish.public_key)
        install.selftest_apart(folder, wish.public_key)
    install.make_live(bundle_dir, report.version, wish.public_key)
    install.sweep(bundle_dir)
    shutil.rmtree(downloads, ignore_errors=True)
    return report


def _files_there(bundle_dir: Path, manifest: Manifest) -> dict[str, Path]:
    """Files of other versions on this device that the version has too, by their hash, which was computed again."""
    there: dict[str, Path] = {}
    for name in reversed(install.versions(bundle_dir)):
        try:
            entries = {entry.sha256: entry for entry in read_manifest(bundle_dir / name).files}
        except BundleError:
            continue
        for digest in {entry.sha256 for entry in manifest.files} & entries.keys() - there.keys():
            try:
                read_entry(bundle_dir / name, entries[digest])
            except BundleError:
                continue
            there[digest] = bundle_dir / name / entries[digest].path
    return there


def _require_room(downloads: Path, entries: list[FileEntry]) -> None:
    needed = sum(entry.size for entry in entries) - sum(path.stat().st_size for path in downloads.iterdir())
    free = shutil.disk_usage(downloads).free
    if needed > free:
        raise OSError(errno.ENOSPC, f"the update needs {needed} bytes and {free} are free", str(downloads))


def _download(origin: Source, version: str, entry: FileEntry, to: Path, limits: Limits) -> int:
    """Fetch a file, going on where an earlier attempt stopped; return the number of bytes that came."""
    came = 0
    for fresh in (False, True):  # what was left by an earlier update may be wrong; what comes now may not
        if fresh:
            to.unlink(missing_ok=True)
        held = to.stat().st_size if to.exists() else 0
        came += _complete(origin, f"{version}/{entry.path}", entry.size, to, limits)
        if _digest(to) == entry.sha256:
            return came
        if held == 0:
            break
    to.unlink()
    raise SourceError(f"the source's {version}/{entry.path} does not have the hash in its manifest; it is not used")


def _complete(origin: Source, path: str, size: int, to: Path, limits: Limits) -> int:
    """Append to a file what it lacks, in as many connections as are allowed."""
    came, reason = 0, ""
    for _ in _attempts(limits):
        held = to.stat().st_size if to.exists() else 0
        if held > size:
            to.unlink()
            held = 0
        if held == size:
            return came
        try:
            with to.open("r+b" if held else "wb") as file, closing(origin.pieces(path, held, size)) as pieces:
                for offset, data in pieces:
                    if offset + len(data) > size:
                        raise SourceError(f"the source's {path} has more than the {size} bytes that its manifest says")
                    if offset != file.tell():
                        file.seek(offset)
                        file.truncate()
                    file.write(data)
                    came += len(data)
                file.flush()
                os.fsync(file.fileno())
        except FileNotFoundError as error:
            raise SourceError(f"the source has no {path}, which its manifest lists; try again") from error
        except LostError as error:
            reason = str(error)
            continue
        if to.stat().st_size == size:
            return came
    raise SourceError(f"the source's {path} does not come whole ({reason}); what came is kept, try again")


def _small(origin: Source, path: str, limit: int, limits: Limits) -> bytes:
    """A file of at most `limit` bytes. Raises FileNotFoundError when the source says that there is none."""
    reason = ""
    for _ in _attempts(limits):
        data = bytearray()
        try:
            with closing(origin.pieces(path)) as pieces:
                for _, part in pieces:
                    data += part
                    if len(data) > limit:
                        raise SourceError(f"the source's {path} has more than {limit} bytes")
            return bytes(data)
        except FileNotFoundError as error:
            if path.endswith(SIGNATURE):
                raise
            raise SourceError(f"the source has no {path}; is it the folder of a bundle?") from error
        except LostError as error:
            reason = str(error)
    raise SourceError(f"the source cannot be read ({reason}); try again")


def _attempts(limits: Limits) -> Iterator[int]:
    for attempt in range(limits.attempts):
        if attempt:
            time.sleep(limits.pause * 2 ** (attempt - 1))
        yield attempt


def _digest(path: Path) -> str:
    import hashlib

    digest = hashlib.sha256()
    with open_plain(path) as file:
        while data := file.read(CHUNK):
            digest.update(data)
    return digest.hexdigest()


def _link(source: Path, to: Path) -> None:
    """The same file under another name: files of a version never change. A copy where the file system has no links."""
    try:
        os.link(source, to)
    except OSError:
        write_bytes(to, source.read_bytes())
