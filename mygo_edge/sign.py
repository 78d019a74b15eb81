"""python -m mygo_edge.sign: sign the live version of a bundle, or make the keys for it. Needs `cryptography`."""

import json
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from mygo_edge.bundle.manifest import MANIFEST, SCHEMA_VERSION, SIGNATURE, BundleError, compact
from mygo_edge.bundle.reading import (
    MAX_MANIFEST_BYTES,
    current_version,
    manifest_in,
    read_plain,
    read_version,
    version_folder,
)
from mygo_edge.bundle.signature import SIGNATURE_BYTES, PublicKey, new_key, public_part, sign
from mygo_edge.command import OneLineParser
from mygo_edge.errors import MygoEdgeError, run_command
from mygo_edge.files import sync_folder, write_bytes


def main(arguments: Sequence[str] | None = None) -> None:
    """Sign or make keys. Raises MygoEdgeError for what a user can put right."""
    parser = OneLineParser(
        prog="python -m mygo_edge.sign",
        description="Sign a version of a bundle with Ed25519, so that devices that have the public key take no other.",
    )
    parser.add_argument("bundle", type=Path, nargs="?", help="the bundle's folder, such as runs/mnist/bundle")
    parser.add_argument("--key", type=Path, required=True, help="file of the private key (PEM)")
    parser.add_argument("--new-key", action="store_true", help="make the key first, and KEY.pub for the devices")
    parser.add_argument("--version", help="the version to sign (default: the live one)")
    parser.add_argument("--expires", type=float, metavar="DAYS", help="devices warn when they hear of nothing newer "
                        "for so many days from now")  # fmt: skip
    parser.add_argument("--next-key", type=Path, metavar="FILE", help="public key that may sign later versions instead "
                        "of this one")  # fmt: skip
    options = parser.parse_args(arguments)
    public = options.key.with_name(options.key.name + ".pub")
    if options.new_key:
        new_key(options.key, public)
        print(f"{options.key}: private, keep it on this machine; {public}: public, for the devices")
    elif options.bundle is None:
        raise MygoEdgeError("give the bundle's folder, or --new-key")
    if options.bundle is not None:
        folder = version_folder(options.bundle, options.version or current_version(options.bundle))
        sign_version(folder, options.key, expires=options.expires, next_key=options.next_key)
        print(f"{folder / SIGNATURE}: signed by the key whose public part is")
        print(public_part(options.key).decode().strip())


def sign_version(
    folder: Path, private_key: Path, *, expires: float | None = None, next_key: Path | None = None
) -> None:
    """Write the signature of a version, after all its files were verified.

    Args:
        folder: of the version.
        private_key: PEM file.
        expires: days from now after which devices warn; None leaves what the manifest says.
        next_key: PEM file of the public key that may sign later versions; None leaves what the manifest says.

    Raises:
        BundleError: the version is damaged, or is signed by another key: a version's files do not change.
        MygoEdgeError: a key cannot be read, days that are no time to come, or `cryptography` is missing.
    """
    read_version(folder)
    if expires is not None or next_key is not None:
        _stamp(folder, private_key, expires, next_key)
    signature = sign(read_plain(folder / MANIFEST, MAX_MANIFEST_BYTES), private_key)
    path = folder / SIGNATURE
    if path.exists() and read_plain(path, SIGNATURE_BYTES) != signature:
        raise BundleError(f"{path} was made with another key; remove it first if devices are to trust this one")
    _replace(path, signature)


def _stamp(folder: Path, private_key: Path, expires: float | None, next_key: Path | None) -> None:
    """Write an expiry and a next key into a manifest that nobody else signed; until it is signed again it is not."""
    path, signature = folder / MANIFEST, folder / SIGNATURE
    data = read_plain(path, MAX_MANIFEST_BYTES)
    if signature.exists() and read_plain(signature, SIGNATURE_BYTES) != sign(data, private_key):
        raise BundleError(f"{signature} was made with another key; what it signed is not changed")
    document = json.loads(data)
    if document["schema_version"] != SCHEMA_VERSION:
        raise BundleError(f"{path} is of schema {document['schema_version']}, which has neither; publish it again")
    if expires is not None:
        if not 0 < expires < 36525:
            raise MygoEdgeError(f"--expires {expires} must be days from now, above 0 and within a century")
        document["expires"] = (datetime.now(UTC) + timedelta(days=expires)).isoformat(timespec="seconds")
    if next_key is not None:
        document["next_key"] = PublicKey.read(next_key).raw.hex()
    stamped = compact(document)
    manifest_in(folder, stamped)
    signature.unlink(missing_ok=True)
    _replace(path, stamped)


def _replace(path: Path, data: bytes) -> None:
    """Replace a file of a version by way of a file beside the version: within, it would be an extra file."""
    folder = path.parent
    temporary = folder.parent / f".{folder.name}.{path.name}"
    write_bytes(temporary, data)
    temporary.replace(path)
    sync_folder(folder)


if __name__ == "__main__":
    run_command(main)
