"""Read a version of a bundle from disk: every byte is checked before anything uses it. Standard library only."""

import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from mygo_edge.bundle.manifest import MANIFEST, SIGNATURE, BundleError, FileEntry, Manifest
from mygo_edge.bundle.parsing import MAX_MANIFEST_BYTES, next_key_of, parse_manifest, part_entries
from mygo_edge.bundle.signature import SIGNATURE_BYTES, PublicKey, verify_signature
from mygo_edge.files import sha256

CURRENT = "current"
HANDOVERS = "handovers"  # folder of the manifests in which a key named the next one, beside the versions
HEADS = "heads"  # folder of the heads that this device learnt, beside the versions
VERSION_NAME = re.compile(r"v([0-9]{4,9})(?:\.([0-9]{1,4}))?")  # v0003, or v0003.1 when sequence 3 was published anew
_MOST_HANDOVERS = 64


@dataclass(frozen=True, slots=True)
class Bundle:
    """One version, read and verified.

    contents: the bytes of every file of the manifest, by path; signed: whether a signature was verified with a key
    that the caller gave.
    """

    version: str
    manifest: Manifest
    contents: dict[str, bytes]
    signed: bool = False


def read_bundle(bundle_dir: Path, version: str | None = None, public_key: Path | PublicKey | None = None) -> Bundle:
    """Read the live version, or the named one.

    Args:
        bundle_dir: the folder that holds `current` and the versions.
        version: such as "v0002"; None reads the live one.
        public_key: the publisher's Ed25519 key, or its file (PEM). With it, a version is refused that is signed
            neither by it nor by a key that follows it, as `keys_after` finds.

    Raises:
        BundleError: no such version, a bad manifest, missing or extra files, a file of the wrong size or hash, or no
            signature by the key.
    """
    return read_version(version_folder(bundle_dir, version or current_version(bundle_dir)), public_key)


def read_version(folder: Path, public_key: Path | PublicKey | None = None) -> Bundle:
    """Read the version in a folder, whatever the folder's name. Raises BundleError as `read_bundle` does."""
    data = read_plain(folder / MANIFEST, MAX_MANIFEST_BYTES)
    if public_key is not None:  # before anything in the manifest is looked at
        key = PublicKey.read(public_key) if isinstance(public_key, Path) else public_key
        verify_signature(data, read_signature(folder), keys_after(folder.parent, key), str(folder / MANIFEST))
    manifest, parts = manifest_in(folder, data)
    listed = {MANIFEST, SIGNATURE, *(entry.path for entry in manifest.files), *manifest.ignored}
    extra = sorted({path.name for path in folder.iterdir()} - listed)
    if extra:
        raise BundleError(f"{folder} holds {extra[0]!a}, which is not in the manifest; publish or fetch it again")
    others = [entry for entry in manifest.files if entry.path not in parts]
    contents = parts | {entry.path: read_entry(folder, entry) for entry in others}
    return Bundle(folder.name, manifest, contents, signed=public_key is not None)


def manifest_in(folder: Path, data: bytes) -> tuple[Manifest, dict[str, bytes]]:
    """The checked manifest that `data` is in a version's folder, and the files of older tasks that it was read with.

    Raises BundleError.
    """
    where = str(folder / MANIFEST)
    parts = {entry.path: read_entry(folder, entry) for entry in part_entries(data, where)}
    return parse_manifest(data, where, parts), parts


def read_signature(folder: Path) -> bytes | None:
    """The signature of the version in a folder, if it has one. Raises BundleError where that is no plain file."""
    path = folder / SIGNATURE
    return read_plain(path, SIGNATURE_BYTES) if path.exists() or path.is_symlink() else None


def keys_after(bundle_dir: Path, key: PublicKey) -> tuple[PublicKey, ...]:
    """A key, and those that the publisher changed to since, as far as the device's bundle proves it.

    The proof of a step is a manifest that one key signed and that names the next. So a program that knows the first
    key needs not believe anything that lies in the folder.
    """
    found = [key]
    while len(found) <= _MOST_HANDOVERS:
        following = _key_after(bundle_dir / HANDOVERS / found[-1].raw.hex(), found[-1])
        if following is None or following in (known.raw for known in found):
            break
        found.append(PublicKey(following, f"the key that follows {key.name}"))
    return tuple(found)


def _key_after(path: Path, key: PublicKey) -> bytes | None:
    """The key that a handover, a signature and the manifest after it, names. None where there is no valid one."""
    try:
        data = read_plain(path, SIGNATURE_BYTES + MAX_MANIFEST_BYTES)
        signature, manifest = data[:SIGNATURE_BYTES], data[SIGNATURE_BYTES:]
        named = next_key_of(manifest, str(path)) if key.made(signature, manifest) else None
    except BundleError:
        return None
    return bytes.fromhex(named) if named else None


def current_version(bundle_dir: Path) -> str:
    """The name of the live version. Raises BundleError when there is none."""
    path = bundle_dir / CURRENT
    name = read_plain(path, 64).decode("ascii", "replace").strip()
    if VERSION_NAME.fullmatch(name) is None:
        raise BundleError(f"{path} must hold the name of a version, such as v0003, not {name[:40]!r}")
    return name


def version_folder(bundle_dir: Path, name: str) -> Path:
    """The folder of a version. Raises BundleError when the name is no version's, or no folder has it."""
    folder = bundle_dir / name
    if VERSION_NAME.fullmatch(name) is None or folder.is_symlink() or not folder.is_dir():
        raise BundleError(f"{bundle_dir} holds no version {name!r}; publish or fetch it again")
    return folder


def read_manifest(folder: Path) -> Manifest:
    """The checked manifest of a version. Raises BundleError."""
    return manifest_in(folder, read_plain(folder / MANIFEST, MAX_MANIFEST_BYTES))[0]


def read_entry(folder: Path, entry: FileEntry) -> bytes:
    """The bytes of a file, once, verified against its entry. Raises BundleError."""
    path = folder / entry.path
    return verified(read_plain(path, entry.size), entry, str(path))


def verified(data: bytes, entry: FileEntry, where: str) -> bytes:
    """The bytes of a file, if they are those of its entry; `where` is what to call it. Raises BundleError."""
    if len(data) != entry.size:
        raise BundleError(f"{where} has {len(data)} bytes, the manifest says {entry.size}; publish or fetch it again")
    if sha256(data) != entry.sha256:
        raise BundleError(f"{where} does not have the hash in the manifest: it is damaged; publish or fetch it again")
    return data


def read_plain(path: Path, limit: int) -> bytes:
    """The bytes of a plain file of at most `limit` bytes. Raises BundleError for any other."""
    try:
        with open_plain(path) as file:
            size = os.fstat(file.fileno()).st_size
            if size > limit:
                raise BundleError(f"{path} has {size} bytes, at most {limit} are expected")
            return file.read(limit)
    except FileNotFoundError as error:
        raise BundleError(f"{path} is missing; publish or fetch the bundle again") from error
    except OSError as error:
        raise BundleError(f"{path} cannot be read as a plain file ({error.strerror})") from error


def open_plain(path: Path) -> BinaryIO:
    """Open a plain file to read: no symbolic link, no device, no pipe. Raises BundleError or OSError."""
    # O_NONBLOCK: opening a pipe must not wait for a writer. Windows has neither flag, nor these file types.
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    file = os.fdopen(os.open(path, flags), "rb")
    if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
        file.close()
        raise BundleError(f"{path} is not a plain file")
    return file


def version_order(name: str) -> tuple[int, int]:
    """Sequence and revision of a version's name, to sort by."""
    sequence, revision = re.findall(r"[0-9]+", name + ".0")[:2]
    return int(sequence), int(revision)
