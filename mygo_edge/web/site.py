"""The static site of a bundle: the page, onnxruntime-web, and the bundle's live version. Nothing is built."""

import json
import re
import shutil
from collections.abc import Mapping
from pathlib import Path

from mygo_edge.bundle.manifest import MANIFEST, SIGNATURE
from mygo_edge.bundle.reading import CURRENT, MAX_MANIFEST_BYTES, current_version, read_bundle, read_plain
from mygo_edge.bundle.signature import SIGNATURE_BYTES
from mygo_edge.errors import MygoEdgeError
from mygo_edge.files import write_bytes
from mygo_edge.web.runtime import FILES, VERSION, read_runtime

STATIC = Path(__file__).parent / "static"
SITE = "site.json"
_RUNTIME, _BUNDLE = "runtime", "bundle"
_PEM = re.compile(r"-----BEGIN PUBLIC KEY-----([A-Za-z0-9+/=\s]+)-----END PUBLIC KEY-----")


def site_files(bundle_dir: Path, runtime: Path, public_key: Path | None = None) -> dict[str, bytes]:
    """Every file of the site, by its path with slashes.

    Args:
        bundle_dir: the bundle's folder; its live version is verified, and goes onto the site.
        runtime: folder of onnxruntime-web's files.
        public_key: the publisher's Ed25519 key (PEM). With it, a version that its owner did not sign is refused here
            and by the page, in a browser that can tell.

    Raises:
        MygoEdgeError: the bundle or the runtime is not what it should be.
    """
    version = current_version(bundle_dir)
    bundle = read_bundle(bundle_dir, version, public_key)
    folder = bundle_dir / version
    files = {path.relative_to(STATIC).as_posix(): path.read_bytes() for path in STATIC.rglob("*") if path.is_file()}
    files |= {f"{_RUNTIME}/{name}": data for name, data in read_runtime(runtime).items()}
    files |= {f"{_BUNDLE}/{version}/{name}": data for name, data in bundle.contents.items()}
    files[f"{_BUNDLE}/{version}/{MANIFEST}"] = read_plain(folder / MANIFEST, MAX_MANIFEST_BYTES)
    if (folder / SIGNATURE).exists():
        files[f"{_BUNDLE}/{version}/{SIGNATURE}"] = read_plain(folder / SIGNATURE, SIGNATURE_BYTES)
    files[f"{_BUNDLE}/{CURRENT}"] = f"{version}\n".encode()
    described = {
        "bundle": _BUNDLE,
        "runtime": {"folder": _RUNTIME, "version": VERSION, "sha256": FILES},
        "publicKey": None if public_key is None else _spki(public_key),
    }
    files[SITE] = json.dumps(described, indent=1).encode() + b"\n"
    return files


def write_site(folder: Path, files: Mapping[str, bytes]) -> None:
    """Write a site into a folder, which may hold an earlier one. Raises MygoEdgeError when it holds anything else."""
    if folder.exists() and (not folder.is_dir() or (any(folder.iterdir()) and not (folder / SITE).is_file())):
        raise MygoEdgeError(f"{folder} is there and holds no site of ours; give --to another folder")
    # The version that the page looks for becomes the new one when everything of it is there.
    last = f"{_BUNDLE}/{CURRENT}"
    for name in [*(name for name in files if name != last), last]:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        write_bytes(path, files[name])
    kept = {Path(name).parts[1] for name in files if name.startswith(f"{_BUNDLE}/")}
    for path in (folder / _BUNDLE).iterdir():
        if path.name not in kept and path.is_dir():
            shutil.rmtree(path)


def _spki(public_key: Path) -> str:
    """The key as base64 of its SubjectPublicKeyInfo (RFC 5280), which is what WebCrypto imports."""
    found = _PEM.search(public_key.read_text("ascii", "replace"))
    if found is None:
        raise MygoEdgeError(f"{public_key} is no public key in PEM; give the .pub file of the publisher")
    return "".join(found[1].split())
