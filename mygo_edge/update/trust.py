"""What a device holds to, whatever a source says: its learner, its publisher's key, and the newest it ever ran.

It is learnt at the first installation and kept beside the versions, in `trust.json`. A file that is damaged stops
updates instead of counting as none: damage must not be a way to make a device forget. Standard library only.
"""

from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from mygo_edge.bundle.manifest import BundleError, Manifest
from mygo_edge.bundle.parsing import LEARNER_ID
from mygo_edge.bundle.reading import HANDOVERS, read_manifest, read_plain
from mygo_edge.bundle.signature import PublicKey
from mygo_edge.bundle.strict import SHA256, load_object
from mygo_edge.bundle.versions import live_name, version_names
from mygo_edge.errors import MygoEdgeError
from mygo_edge.files import remove, write_bytes, write_json

TRUST = "trust.json"
_MAX_BYTES = 2**16
_MAX_FORMER = 64  # keys that were replaced
_CLOCKS = timedelta(days=2)  # that publisher and device may be apart
_PINNED = "the publisher's key, which was pinned at the first signed installation"


@dataclass(frozen=True, slots=True)
class Trust:
    """learner: id of the one whose versions are taken; key: of its publisher, as hexadecimal digits; next_key: the one
    that may replace it, as a manifest signed by `key` said; former: keys that were replaced; sequence, created: of the
    newest version that was ever live here.
    """

    learner: str | None = None
    key: str | None = None
    next_key: str | None = None
    former: tuple[str, ...] = ()
    sequence: int | None = None
    created: str | None = None

    def keys(self, given: PublicKey | None) -> tuple[PublicKey, ...]:
        """Those that may sign what comes next, the pinned one first; none where nobody's signature is asked for.

        Args:
            given: the key that the user names. One that was replaced since stands for the one that replaced it.

        Raises:
            MygoEdgeError: another than the pinned key is given.
        """
        if self.key is None:
            return (given,) if given else ()
        known = {self.key, self.next_key, *self.former}
        if given and given.raw.hex() not in known:
            raise MygoEdgeError(
                f"{given.name} is not {_PINNED}; if the publisher's key was lost or stolen, pass --forget-key once"
            )
        return tuple(_key(digits) for digits in (self.key, self.next_key) if digits)

    def keys_ever(self, given: PublicKey | None) -> tuple[PublicKey, ...]:
        """`keys` and those before: what was installed once may have been signed by any of them."""
        return (*self.keys(given), *map(_key, self.former))

    def accepting(self, manifest: Manifest, signer: PublicKey | None) -> "Trust":
        """What is trusted once a version is live that `signer`, if anybody, was found to have signed."""
        found = replace(self, learner=manifest.id or self.learner)
        if found.learner != self.learner or not self.is_newer_than(manifest):  # another learner counts for itself
            found = replace(found, sequence=manifest.sequence, created=manifest.created)
        if signer is None:
            return found
        key, former = signer.raw.hex(), self.former
        if self.key and key != self.key:  # the next one took over
            former = (*(before for before in former if before != key), self.key)[-_MAX_FORMER:]
        return replace(found, key=key, former=former, next_key=manifest.next_key if manifest.next_key != key else None)

    def is_newer_than(self, manifest: Manifest) -> bool:
        """Whether a newer version than this was live here."""
        if self.sequence is None or self.created is None:
            return False
        here = (self.sequence, datetime.fromisoformat(self.created))
        return (manifest.sequence, datetime.fromisoformat(manifest.created)) < here

    def forgetting_key(self) -> "Trust":
        return replace(self, key=None, next_key=None, former=())


def require_learner(trust: Trust, manifest: Manifest, name: str) -> None:
    """Raise MygoEdgeError unless the version is of the learner that this device runs, or it runs none yet."""
    if trust.learner is None or manifest.id == trust.learner:
        return
    whose = f"of learner {manifest.id}" if manifest.id else "of no named learner"
    raise MygoEdgeError(
        f"{name} is {whose}, this device runs learner {trust.learner}; give the right source, or pass "
        "--allow-other-learner to change over to this one"
    )


def require_plausible_time(trust: Trust, manifest: Manifest, name: str) -> None:
    """Raise MygoEdgeError for a version from the future: with it installed, no honest one would ever be newer.

    A device whose clock stands in the past knows at least that it is not before what it runs.
    """
    now = datetime.now(UTC)
    if trust.created:
        now = max(now, datetime.fromisoformat(trust.created))
    if datetime.fromisoformat(manifest.created) > now + _CLOCKS:
        raise MygoEdgeError(
            f"{name} says that it was created on {manifest.created}, which is in the future; set this device's clock, "
            "or have the publisher set theirs and publish again"
        )


def expiry_warning(manifest: Manifest, name: str) -> str | None:
    """A line for a version past its time: a source may be withholding the next. None for any other."""
    if manifest.expires is None or datetime.fromisoformat(manifest.expires) > datetime.now(UTC):
        return None
    return f"{name} expired on {manifest.expires} and the source has nothing newer; ask the publisher whether it should"


def read_trust(bundle_dir: Path) -> Trust:
    """What is trusted so far; of a bundle that was copied here, or updated by an older release, what its versions say.

    Raises:
        MygoEdgeError: the file is there and is not what `write_trust` wrote.
    """
    path = bundle_dir / TRUST
    if not path.exists() and not path.is_symlink():
        return _of_versions(bundle_dir)
    try:
        return parse_trust(read_plain(path, _MAX_BYTES), str(path))
    except BundleError as error:
        raise MygoEdgeError(
            f"{error}; restore it, or, if you are sure of the source, remove it: the next update then trusts anew"
        ) from error


def write_trust(bundle_dir: Path, trust: Trust) -> None:
    """Replace what is trusted, atomically."""
    write_json(bundle_dir / TRUST, asdict(trust))


def keep_handover(bundle_dir: Path, key: PublicKey, proof: bytes | None) -> None:
    """Keep what proves which key follows one, for `mygo_edge.bundle.reading.keys_after`.

    Args:
        bundle_dir: the device's bundle.
        key: that signed the newest version.
        proof: the signature of that version and its manifest, where this names a next key; None where it names none.
    """
    folder = bundle_dir / HANDOVERS
    path = folder / key.raw.hex()
    if proof is None:
        path.unlink(missing_ok=True)  # what it said before is withdrawn
        return
    if folder.is_symlink() or not folder.is_dir():
        remove(folder)
        folder.mkdir()
    write_bytes(path, proof)


def parse_trust(data: bytes, where: str) -> Trust:
    """Check everything in trust.json; `where` is what to call it in errors. Raises BundleError."""
    reader = load_object(data, where, "it is damaged")

    def optional(key: str, read: Any, *how: Any) -> Any:
        return None if reader.values.get(key) is None else read(key, *how)

    former = reader.value("former", list)
    reader.require(len(former) <= _MAX_FORMER, "former holds too many keys")
    reader.require(all(isinstance(key, str) and SHA256.fullmatch(key) for key in former), "former must hold keys")
    trust = Trust(
        learner=optional("learner", reader.match, LEARNER_ID),
        key=optional("key", reader.match, SHA256),
        next_key=optional("next_key", reader.match, SHA256),
        former=tuple(former),
        sequence=optional("sequence", reader.integer, 0, 10**9 - 1),
        created=optional("created", reader.time),
    )
    reader.require((trust.sequence is None) == (trust.created is None), "sequence and created belong together")
    return trust


def _of_versions(bundle_dir: Path) -> Trust:
    found = Trust()
    for name in version_names(bundle_dir):
        manifest = _readable(bundle_dir / name)
        if manifest and not found.is_newer_than(manifest):
            found = replace(found, sequence=manifest.sequence, created=manifest.created)
    live = live_name(bundle_dir)
    running = _readable(bundle_dir / live) if live else None
    return replace(found, learner=running.id if running else None)


def _readable(folder: Path) -> Manifest | None:
    try:
        return read_manifest(folder)
    except BundleError:
        return None


def _key(digits: str) -> PublicKey:
    return PublicKey(bytes.fromhex(digits), f"{_PINNED} ({digits[:32]})")


def changes(before: Trust, after: Trust) -> Iterator[str]:
    """A line for everything that is trusted differently now."""
    if after.learner != before.learner and before.learner:
        yield f"this device runs learner {after.learner} now, no more {before.learner}"
    if after.key != before.key and after.key:
        yield f"key {after.key[:32]} is pinned: versions that its owner did not sign are refused from now on"
    if before.key and after.key is None:
        yield f"key {before.key[:32]} is forgotten: unsigned versions are taken again until a key is given"
    if after.next_key != before.next_key and after.next_key:
        yield f"key {after.next_key[:32]} may take over from the pinned one"
