"""Versions of a bundle on disk: written beside the live one, verified, then made live by one atomic rename.

Nothing that is live is ever changed or removed, so a kill at any moment leaves it whole.
"""

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from mygo_edge.bundle.manifest import MANIFEST, BundleError, Manifest, manifest_bytes
from mygo_edge.bundle.parsing import parse_manifest
from mygo_edge.bundle.reading import Bundle, current_version, read_bundle, read_version, version_order
from mygo_edge.bundle.versions import keep_only, new_version, set_live, version_names
from mygo_edge.device.edge_model import EdgeModel
from mygo_edge.files import write_bytes


def live_bundle(bundle_dir: Path) -> Bundle | None:
    """The live version, when there is one and every byte of it is as published."""
    try:
        return read_bundle(bundle_dir)
    except BundleError:
        return None


def write_version(
    bundle_dir: Path, manifest: Manifest, contents: Mapping[str, bytes], *, keep_before: bool = True
) -> Path:
    """Write a version, run its self-test from disk, make it live, and remove all but it and the one before.

    Args:
        bundle_dir: the bundle's folder; created when it is not there.
        manifest: what the version is; its sequence gives the name. The live version stays where it holds the same; one
            of the same sequence that does not is followed by a revision: v0003, v0003.1.
        contents: the bytes of every file in the manifest, by path.
        keep_before: whether the version before stays on disk.

    Returns:
        The folder of the live version.

    Raises:
        BundleError: a device would refuse this version. The live one stays.
        OSError: the disk refuses. The live version stays.
    """
    # Before any of its names becomes a path.
    manifest = parse_manifest(manifest_bytes(manifest), MANIFEST, contents)
    bundle_dir.mkdir(parents=True, exist_ok=True)
    live = live_bundle(bundle_dir)
    if live and live.manifest.id not in (None, manifest.id):
        raise BundleError(
            f"{bundle_dir} holds {live.version} of another learner, {live.manifest.id[:8]}; its devices would refuse "
            "this one; give another folder, or remove that one"
        )
    if live and _same(live.manifest, manifest):
        name = live.version
    else:
        name = _free_name(bundle_dir, manifest.sequence)
        _write_folder(bundle_dir, name, manifest, contents)
        set_live(bundle_dir, name)
    _remove_old(bundle_dir, name, keep_before)
    return bundle_dir / name


def _write_folder(bundle_dir: Path, name: str, manifest: Manifest, contents: Mapping[str, bytes]) -> None:
    """Write, verify and durably name the folder of a version that is not live yet."""
    with new_version(bundle_dir, name) as partial:
        for path, data in contents.items():
            write_bytes(partial / path, data)
        write_bytes(partial / MANIFEST, manifest_bytes(manifest))
        written = read_version(partial)
        for precision in manifest.precisions or (None,):  # of a classifier; with a trunk there is none
            EdgeModel(written, precision=precision).run_selftest()


def _same(live: Manifest, new: Manifest) -> bool:
    """Whether two versions differ in no more than their number, and when and with what they were made."""
    return live == replace(new, sequence=live.sequence, created=live.created, producer=live.producer)


def _free_name(bundle_dir: Path, sequence: int) -> str:
    """A name for the version that is not the live one's, even where that is damaged."""
    try:
        live, revision = version_order(current_version(bundle_dir))
    except BundleError:
        live, revision = -1, 0
    return f"v{sequence:04d}.{revision + 1}" if live == sequence else f"v{sequence:04d}"


def _remove_old(bundle_dir: Path, live: str, keep_before: bool) -> None:
    """Remove all versions but the live one and, where it is to stay, the one before it."""
    others = [name for name in version_names(bundle_dir) if name != live]
    before = [name for name in others if version_order(name) < version_order(live)]
    # A bundle that starts again at a lower number keeps the version that it replaced.
    keep_only(bundle_dir, {live, *((before or others)[-1:] if keep_before else [])})
