"""Update a bundle from a source: only files whose hash is new are fetched, and nothing is used before it is checked."""

import errno
import os
import shutil
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from mygo_edge.bundle.manifest import MANIFEST, SIGNATURE, BundleError, FileEntry, Manifest
from mygo_edge.bundle.parsing import parse_manifest, part_entries
from mygo_edge.bundle.reading import (
    CURRENT,
    MAX_MANIFEST_BYTES,
    VERSION_NAME,
    read_entry,
    read_manifest,
    read_plain,
    read_version,
    verified,
    version_order,
)
from mygo_edge.bundle.signature import SIGNATURE_BYTES, PublicKey, verify_signature
from mygo_edge.bundle.versions import live_name, new_version, version_names
from mygo_edge.errors import MygoEdgeError
from mygo_edge.files import remove, sha256, write_bytes
from mygo_edge.update import install
from mygo_edge.update.address import open_source
from mygo_edge.update.download import download, small_file
from mygo_edge.update.source import Limits, Source, SourceError
from mygo_edge.update.trust import (
    Trust,
    changes,
    expiry_warning,
    keep_handover,
    read_trust,
    require_learner,
    require_plausible_time,
    write_trust,
)

DOWNLOADS = ".download"
_FULL = (errno.ENOSPC, errno.EDQUOT)


@dataclass(frozen=True, slots=True)
class UpdatePolicy:
    """What an update may do.

    public_key: of the publisher; without it, and with no key pinned by an earlier update, nobody's signature is asked
    for. downgrade: take an older version than the newest that was ever live here. rolled_back: take one that was rolled
    back here. other_learner: change over to what another learner published. other_host: follow redirections to other
    hosts.
    """

    public_key: Path | None = None
    downgrade: bool = False
    rolled_back: bool = False
    other_learner: bool = False
    other_host: bool = False


@dataclass(frozen=True, slots=True)
class Offer:
    """A version as the source describes it, after its manifest was parsed and its signature, if asked for, verified.

    signer: whose signature it is, where one was asked for; parts: the files of older tasks that the manifest was read
    with, by path.
    """

    name: str
    manifest: Manifest
    data: bytes
    signature: bytes | None
    signer: PublicKey | None
    parts: dict[str, bytes]

    @property
    def digest(self) -> str:
        """SHA-256 of the manifest, which holds the hashes of everything else."""
        return sha256(self.data)


@dataclass(slots=True)
class Report:
    """What an update did.

    version: that is live now; before: the one that was; sequence, learner: of the live one; signed_by: fingerprint of
    the key that signed it, where a signature was asked for; fetched: bytes that came, by file; kept: files that were
    there already; notes: what is trusted differently now; warnings: what an operator should look at.
    """

    version: str
    before: str | None
    sequence: int
    learner: str | None = None
    signed_by: str | None = None
    fetched: dict[str, int] = field(default_factory=dict)
    kept: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)

    @property
    def changed(self) -> bool:
        """Whether another version is live now."""
        return self.version != self.before


def update(source: str, bundle_dir: Path, policy: UpdatePolicy | None = None, limits: Limits | None = None) -> Report:
    """Make the source's live version this bundle's.

    Args:
        source: a folder, or an http(s) address, that holds `current`.
        bundle_dir: the device's bundle; made when it is not there.
        policy: what is allowed, and whose signature is asked for.
        limits: what the source may cost.

    Raises:
        BundleError: the version is not what a device takes. The one that was live still is.
        SourceError: the source cannot be read. What came stays in the bundle's folder, for the next attempt.
        MygoEdgeError: the version is older, of another learner, from the future, was rolled back here, or is too large,
            or another update is running.
        OSError: the disk refuses. The version that was live still is.
    """
    policy, limits = policy or UpdatePolicy(), limits or Limits()
    origin = open_source(source, limits, other_host=policy.other_host)
    bundle_dir.mkdir(parents=True, exist_ok=True)
    with install.locked(bundle_dir):
        install.sweep(bundle_dir)
        trust = read_trust(bundle_dir)
        offer = _offer(origin, bundle_dir, trust, policy, limits)
        live = live_name(bundle_dir)
        if live and _has(bundle_dir / live, offer):
            _discard(bundle_dir / DOWNLOADS)  # of an update that was killed at its very end
            report = _report(live, live, offer)
            report.kept = [entry.path for entry in offer.manifest.files]
            _trust_anew(bundle_dir, trust, offer, report)
            return report
        _require_newer(bundle_dir, live, trust, offer, policy)
        try:
            return _install(origin, bundle_dir, live, trust, offer, limits)
        except OSError as error:
            if error.errno in _FULL:  # room for everybody else comes before a quick second attempt
                _discard(bundle_dir / DOWNLOADS)
            raise


def _offer(origin: Source, bundle_dir: Path, trust: Trust, policy: UpdatePolicy, limits: Limits) -> Offer:
    keys = trust.keys(PublicKey.read(policy.public_key) if policy.public_key else None)
    name = small_file(origin, CURRENT, 64, limits).decode("ascii", "replace").strip()
    if VERSION_NAME.fullmatch(name) is None:
        raise SourceError(f"the source's {CURRENT} must name a version, such as v0003, not {name[:40]!a}")
    path = f"{name}/{MANIFEST}"
    data = small_file(origin, path, MAX_MANIFEST_BYTES, limits)
    try:
        signature = small_file(origin, f"{name}/{SIGNATURE}", SIGNATURE_BYTES, limits)
    except FileNotFoundError:
        signature = None
    # Before anything in the manifest is looked at.
    signer = verify_signature(data, signature, keys, f"the source's {path}") if keys else None
    parts = _parts(origin, bundle_dir, name, part_entries(data, f"the source's {path}"), limits)
    manifest = parse_manifest(data, f"the source's {path}", parts)
    if version_order(name)[0] != manifest.sequence:
        raise SourceError(f"the source's {path} is of sequence {manifest.sequence}; the source mixes versions up")
    if not policy.other_learner:
        require_learner(trust, manifest, f"the source's {name}")
    require_plausible_time(trust, manifest, f"the source's {name}")
    size = sum(entry.size for entry in manifest.files)
    if size > limits.total:
        raise MygoEdgeError(f"the source's {name} has {size} bytes, {limits.total} are allowed; see --max-bytes")
    return Offer(name, manifest, data, signature, signer, parts)


def _parts(
    origin: Source, bundle_dir: Path, name: str, entries: Sequence[FileEntry], limits: Limits
) -> dict[str, bytes]:
    """The files of older tasks of a version, by path; what this device has is not fetched."""
    there = _files_there(bundle_dir, entries)
    parts = {}
    for entry in entries:
        path, held = f"{name}/{entry.path}", there.get(entry.sha256)
        data = read_plain(held, entry.size) if held else small_file(origin, path, entry.size, limits)
        parts[entry.path] = verified(data, entry, f"the source's {path}")
    return parts


def _report(version: str, before: str | None, offer: Offer) -> Report:
    manifest = offer.manifest
    warning = expiry_warning(manifest, offer.name)
    return Report(
        version,
        before,
        manifest.sequence,
        manifest.id,
        offer.signer.raw.hex() if offer.signer else None,
        warnings=[warning] if warning else [],
    )


def _has(folder: Path, offer: Offer) -> bool:
    """Whether a version is what is offered, whole, and signed where that is asked for."""
    try:
        read_version(folder, offer.signer)
        return read_plain(folder / MANIFEST, MAX_MANIFEST_BYTES) == offer.data
    except BundleError:
        return False


def _require_newer(bundle_dir: Path, live: str | None, trust: Trust, offer: Offer, policy: UpdatePolicy) -> None:
    if offer.digest in install.read_state(bundle_dir).rolled_back and not policy.rolled_back:
        raise MygoEdgeError(
            f"{offer.name} was rolled back here; {live or 'nothing'} stays until the source has another, or pass "
            "--allow-rolled-back"
        )
    another = trust.learner is not None and offer.manifest.id != trust.learner  # whose numbers are its own
    if not another and not policy.downgrade and trust.is_newer_than(offer.manifest):
        raise MygoEdgeError(
            f"the source's {offer.name}, sequence {offer.manifest.sequence}, is older than what was live here, "
            f"sequence {trust.sequence} of {trust.created}; pass --allow-downgrade to go back to it"
        )


def _install(origin: Source, bundle_dir: Path, live: str | None, trust: Trust, offer: Offer, limits: Limits) -> Report:
    downloads = bundle_dir / DOWNLOADS
    if downloads.is_symlink() or not downloads.is_dir():
        remove(downloads)
        downloads.mkdir()
    wanted = {entry.sha256 for entry in offer.manifest.files}
    for path in downloads.iterdir():  # of versions that this one replaced
        if path.name not in wanted:
            remove(path)
    report = _report(install.free_name(bundle_dir, offer.name), live, offer)
    there = _files_there(bundle_dir, offer.manifest.files)
    _require_room(downloads, [entry for entry in offer.manifest.files if entry.sha256 not in there])
    for entry in offer.manifest.files:
        if entry.sha256 in there:
            report.kept.append(entry.path)
            continue
        there[entry.sha256] = downloads / entry.sha256
        if entry.path in offer.parts:  # it came with the manifest
            write_bytes(there[entry.sha256], offer.parts[entry.path])
            report.fetched[entry.path] = entry.size
        else:
            report.fetched[entry.path] = download(origin, offer.name, entry, there[entry.sha256], limits)
    with new_version(bundle_dir, report.version) as folder:
        for entry in offer.manifest.files:
            _link(there[entry.sha256], folder / entry.path)
        write_bytes(folder / MANIFEST, offer.data)
        if offer.signature is not None:
            write_bytes(folder / SIGNATURE, offer.signature)
        read_version(folder, offer.signer)
        install.selftest_apart(folder)
    _trust_anew(bundle_dir, trust, offer, report)  # first: a kill before the next line must not open a way back
    install.make_live(bundle_dir, report.version, offer.signer)
    install.sweep(bundle_dir)
    _discard(downloads)
    return report


def _trust_anew(bundle_dir: Path, trust: Trust, offer: Offer, report: Report) -> None:
    after = trust.accepting(offer.manifest, offer.signer)
    if offer.signer and offer.signature:  # first: a program that knows the key before must find the way to this one
        keep_handover(bundle_dir, offer.signer, offer.signature + offer.data if offer.manifest.next_key else None)
    write_trust(bundle_dir, after)
    report.notes += changes(trust, after)


def _files_there(bundle_dir: Path, files: Sequence[FileEntry]) -> dict[str, Path]:
    """Files of versions on this device that are these, by their hash, which was computed again."""
    there: dict[str, Path] = {}
    for name in reversed(version_names(bundle_dir)):
        try:
            entries = {entry.sha256: entry for entry in read_manifest(bundle_dir / name).files}
        except BundleError:
            continue
        for digest in {entry.sha256 for entry in files} & entries.keys() - there.keys():
            try:
                read_entry(bundle_dir / name, entries[digest])
            except BundleError:
                continue
            there[digest] = bundle_dir / name / entries[digest].path
    return there


def _require_room(downloads: Path, entries: list[FileEntry]) -> None:
    needed = sum(entry.size for entry in entries) - sum(path.lstat().st_size for path in downloads.iterdir())
    free = shutil.disk_usage(downloads).free
    if needed > free:
        raise OSError(errno.ENOSPC, f"the update needs {needed} bytes and {free} are free", str(downloads))


def _discard(path: Path) -> None:
    """Remove it, or leave that to the next update."""
    with suppress(OSError):
        remove(path)


def _link(source: Path, to: Path) -> None:
    """The same file under another name: files of a version never change. A copy where the file system has no links."""
    try:
        os.link(source, to)
    except OSError:
        write_bytes(to, source.read_bytes())
