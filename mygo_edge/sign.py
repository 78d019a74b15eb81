"""python -m mygo_edge.sign: sign the live version of a bundle, or make the keys for it. Needs `cryptography`."""

from collections.abc import Sequence
from pathlib import Path

from mygo_edge.bundle.manifest import MANIFEST, SIGNATURE, BundleError
from mygo_edge.bundle.reading import MAX_MANIFEST_BYTES, current_version, read_plain, read_version, version_folder
from mygo_edge.bundle.signature import SIGNATURE_BYTES, new_key, public_part, sign
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
    options = parser.parse_args(arguments)
    public = options.key.with_name(options.key.name + ".pub")
    if options.new_key:
        new_key(options.key, public)
        print(f"{options.key}: private, keep it on this machine; {public}: public, for the devices")
    elif options.bundle is None:
        raise MygoEdgeError("give the bundle's folder, or --new-key")
    if options.bundle is not None:
        folder = version_folder(options.bundle, options.version or current_version(options.bundle))
        sign_version(folder, options.key)
        print(f"{folder / SIGNATURE}: signed by the key whose public part is")
        print(public_part(options.key).decode().strip())


def sign_version(folder: Path, private_key: Path) -> None:
    """Write the signature of a version, after all its files were verified.

    Raises:
        BundleError: the version is damaged, or is signed by another key: a version's files do not change.
        MygoEdgeError: the key cannot be read, or `cryptography` is missing.
    """
    read_version(folder)
    signature = sign(read_plain(folder / MANIFEST, MAX_MANIFEST_BYTES), private_key)
    path = folder / SIGNATURE
    if path.exists() and read_plain(path, SIGNATURE_BYTES) != signature:
        raise BundleError(f"{path} was made with another key; remove it first if devices are to trust this one")
    temporary = folder.parent / f".{folder.name}.{SIGNATURE}"  # not in the folder, where it would be an extra file
    write_bytes(temporary, signature)
    temporary.replace(path)
    sync_folder(folder)


if __name__ == "__main__":
    run_command(main)
