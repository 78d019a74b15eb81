"""Ed25519 signatures (RFC 8032) of manifests, through the `cryptography` package, which is imported on first use.

A signature is the 64 bytes that RFC 8032 defines, over the very bytes of manifest.json; since the manifest holds the
SHA-256 of every other file, it covers the whole version. Keys are PEM files (PKCS #8 and SubjectPublicKeyInfo), as
openssl reads and writes them.
"""

import base64
import binascii
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from mygo_edge.bundle.manifest import BundleError
from mygo_edge.errors import MygoEdgeError

SIGNATURE_BYTES = 64
_MAX_KEY_BYTES = 2**14
_HEADER = bytes.fromhex("302a300506032b6570032100")  # of an Ed25519 SubjectPublicKeyInfo, RFC 8410; the key follows
_BEGIN, _END = "-----BEGIN PUBLIC KEY-----", "-----END PUBLIC KEY-----"


@dataclass(frozen=True, slots=True)
class PublicKey:
    """raw: the 32 bytes of RFC 8032; name: what to call it in errors, such as its file."""

    raw: bytes
    name: str

    @classmethod
    def read(cls, path: Path) -> "PublicKey":
        """From a PEM file. Raises MygoEdgeError when there is none, or it holds another kind of key."""
        return cls.parse(_key_bytes(path), str(path))

    @classmethod
    def parse(cls, data: bytes, name: str) -> "PublicKey":
        """From the bytes of a PEM file. Raises MygoEdgeError, which names it, when they are of another kind of key."""
        text = data.decode("ascii", "replace").strip()
        if not (text.startswith(_BEGIN) and text.endswith(_END)):
            raise MygoEdgeError(f"{name} is no public key in PEM; give the .pub file of the publisher")
        try:
            found = base64.b64decode("".join(text[len(_BEGIN) : -len(_END)].split()), validate=True)
        except (binascii.Error, ValueError) as error:
            raise MygoEdgeError(f"{name} is no public key in PEM; give the .pub file of the publisher") from error
        if found[: len(_HEADER)] != _HEADER or len(found) != len(_HEADER) + 32:
            raise MygoEdgeError(f"{name} is no Ed25519 public key; give the .pub file of the publisher")
        return cls(found[len(_HEADER) :], name)

    @property
    def pem(self) -> str:
        """As `read` takes it, and openssl."""
        return f"{_BEGIN}\n{base64.b64encode(_HEADER + self.raw).decode()}\n{_END}\n"

    @property
    def fingerprint(self) -> str:
        """The first half of the key, in hexadecimal digits: enough for people to compare."""
        return self.raw.hex()[:32]

    def made(self, signature: bytes | None, manifest: bytes) -> bool:
        """Whether the owner of this key made the signature. Raises MygoEdgeError when `cryptography` is missing."""
        _, ed25519 = _cryptography()
        from cryptography.exceptions import InvalidSignature

        try:
            ed25519.Ed25519PublicKey.from_public_bytes(self.raw).verify(signature or b"", manifest)
        except (InvalidSignature, ValueError):
            return False
        return True


def verify_signature(manifest: bytes, signature: bytes | None, keys: "tuple[PublicKey, ...]", name: str) -> PublicKey:
    """Check a signature.

    Args:
        manifest: the bytes of manifest.json.
        signature: the bytes of manifest.sig, or None when there is none.
        keys: any of which may have made it.
        name: what to call the manifest in errors.

    Returns:
        The key that made it.

    Raises:
        BundleError: there is none, or it was not made over these bytes by the owner of any of the keys.
        MygoEdgeError: `cryptography` is missing.
    """
    _cryptography()
    owner = keys[0].name
    if signature is None:
        raise BundleError(f"{name} is not signed, and {owner} is asked for; have the publisher sign it")
    for key in keys:
        if key.made(signature, manifest):
            return key
    raise BundleError(f"{name} is not what the owner of {owner} signed; stay on the version before and fetch it again")


def sign(manifest: bytes, private_key: Path) -> bytes:
    """The signature of a manifest. Raises MygoEdgeError when the key cannot be read, or `cryptography` is missing."""
    signature: bytes = _private(private_key).sign(manifest)
    return signature


def new_key(private_key: Path, public_key: Path) -> None:
    """Make a pair of keys; only the owner may read the private one. Raises MygoEdgeError when a file is there."""
    serialization, ed25519 = _cryptography()
    for path in (private_key, public_key):
        if path.exists():
            raise MygoEdgeError(f"{path} is there already; a key that was used is never overwritten")
    key = ed25519.Ed25519PrivateKey.generate()
    pem = serialization.Encoding.PEM
    secret = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    public = key.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo)
    for path, data, mode in ((private_key, secret, 0o600), (public_key, public, 0o644)):
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode), "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())


def public_part(private_key: Path) -> bytes:
    """The public key of a private one, as PEM. Raises as `sign`."""
    serialization, _ = _cryptography()
    form = serialization.PublicFormat.SubjectPublicKeyInfo
    pem: bytes = _private(private_key).public_key().public_bytes(serialization.Encoding.PEM, form)
    return pem


def _private(path: Path) -> Any:
    serialization, ed25519 = _cryptography()
    try:
        key = serialization.load_pem_private_key(_key_bytes(path), password=None)
    except (ValueError, TypeError) as error:
        raise MygoEdgeError(f"{path} is no private key in PEM without a password; make one with --new-key") from error
    if not isinstance(key, ed25519.Ed25519PrivateKey):
        raise MygoEdgeError(f"{path} is no Ed25519 key; make one with python -m mygo_edge.sign --new-key")
    return key


def _key_bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(_MAX_KEY_BYTES)
    except OSError as error:
        raise MygoEdgeError(f"{path} cannot be read ({error.strerror})") from error


def _cryptography() -> tuple[Any, Any]:
    try:
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError as error:
        raise MygoEdgeError("signatures need cryptography: pip install 'mygo_edge[sign]'") from error
    return serialization, ed25519
