"""Install versions into a bundle on a device: fetch what is new, check it, swap, and go back. Standard library only.

What a kill at any moment leaves: `current` names a whole version that passed its self-test here, because it is replaced
by one rename and only after the version's folder is synced under its name. The rest is swept by the next update.
"""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import mygo_edge
from mygo_edge.bundle.manifest import MANIFEST, BundleError
from mygo_edge.bundle.reading import (
    CURRENT,
    MAX_MANIFEST_BYTES,
    VERSION_NAME,
    current_version,
    read_bundle,
    read_plain,
    version_folder,
    version_order,
)
from mygo_edge.errors import MygoEdgeError
from mygo_edge.files import sha256, sync_folder, write_json, write_text

LOCK = ".update.lock"
STATE = "update.json"
_STAGED = ".update"  # ends the names of folders that an update was building
_MAX_STATE_BYTES = 2**16
_KEPT_NAMES = 16  # of the history, and of what was rolled back
SELFTEST_SECONDS = 300


@dataclass(frozen=True, slots=True)
class State:
    """history: names of versions in the order in which they were made live, the one before stands before the live one;
    rolled_back: SHA-256 of the manifests that were rolled back, not to be installed again by themselves."""

    history: tuple[str, ...] = ()
    rolled_back: tuple[str, ...] = ()


def read_state(bundle_dir: Path) -> State:
    """What updates noted. A file that is not theirs counts as none: it decides nothing about what is trusted."""
    try:
        document = json.loads(read_plain(bundle_dir / STATE, _MAX_STATE_BYTES))
        history, rolled_back = document["history"], document["rolled_back"]
    except (BundleError, ValueError, RecursionError, KeyError, TypeError):
        return State()
    if not all(isinstance(names, list) and all(isinstance(name, str) for name in names) for names in document.values()):
        return State()
    return State(tuple(name for name in history if VERSION_NAME.fullmatch(name)), tuple(rolled_back))


def write_state(bundle_dir: Path, state: State) -> None:
    """Replace what updates noted, atomically."""
    history, rolled_back = state.history[-_KEPT_NAMES:], state.rolled_back[-_KEPT_NAMES:]
    write_json(bundle_dir / STATE, {"history": list(history), "rolled_back": list(rolled_back)})


@contextmanager
def locked(bundle_dir: Path) -> Iterator[None]:
    """Hold the bundle's update lock; the system lets go of it when the process ends, however that happens.

    Raises:
        MygoEdgeError: another update holds it, or this system has no such locks.
    """
    try:
        import fcntl  # not on Windows
    except ImportError as error:
        raise MygoEdgeError("updates need a POSIX system; copy the bundle's folder instead") from error
    with (bundle_dir / LOCK).open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise MygoEdgeError(f"another update of {bundle_dir} is running; wait until it has ended") from error
        yield


def live_name(bundle_dir: Path) -> str | None:
    """The name in `current`, when there is one and its folder is there."""
    try:
        return version_folder(bundle_dir, current_version(bundle_dir)).name
    except BundleError:
        return None


def versions(bundle_dir: Path) -> list[str]:
    """Names of all versions' folders, in their order."""
    names = [path.name for path in bundle_dir.iterdir() if VERSION_NAME.fullmatch(path.name) and path.is_dir()]
    return sorted(names, key=version_order)


def version_before(bundle_dir: Path, live: str | None) -> str | None:
    """The version that was live before, if it is still there."""
    there = [name for name in versions(bundle_dir) if name != live]
    history = read_state(bundle_dir).history
    if live in history:
        until = _until(history, live)
        return until[-2] if len(until) > 1 and until[-2] in there else None
    before = [name for name in there if live is None or version_order(name) < version_order(live)]
    return before[-1] if before else None


def free_name(bundle_dir: Path, wanted: str) -> str:
    """`wanted`, or a revision of it that no kept version has. A leftover of that name is removed."""
    live = live_name(bundle_dir)
    kept = {live, version_before(bundle_dir, live)}
    sequence, revision = version_order(wanted)
    name = wanted
    while name in kept:
        revision += 1
        name = f"v{sequence:04d}.{revision}"
    return name


def selftest_apart(folder: Path, public_key: Path | None = None) -> None:
    """Self-test a version in a process of its own, limited in time and memory.

    Raises:
        BundleError: it failed, crashed onnxruntime, or took too long.
    """
    command = [sys.executable, "-P", "-m", "mygo_edge.selftest", str(folder.resolve())]
    command += ["--limit-seconds", str(SELFTEST_SECONDS)]
    if public_key is not None:
        command += ["--public-key", str(public_key.resolve())]
    # The same package as this one, wherever this process found it.
    paths = [str(Path(mygo_edge.__file__).parent.parent), *os.environ.get("PYTHONPATH", "").split(os.pathsep)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in paths if path)}
    try:
        done = subprocess.run(
            command, env=environment, cwd=folder, capture_output=True, timeout=2 * SELFTEST_SECONDS, check=False
        )
    except subprocess.TimeoutExpired as error:
        raise BundleError(f"{folder.name} takes too long in its self-test; stay on the version before") from error
    if done.returncode == 0:
        return
    words = done.stderr.decode("utf-8", "replace").strip().splitlines()
    reason = words[-1].removeprefix("error: ") if words else "it said nothing"
    if done.returncode < 0:
        reason = f"it ended with signal {-done.returncode}, which onnxruntime's crash or a limit causes"
    raise BundleError(f"{folder.name} fails its self-test: {reason[:400]}")


def make_live(bundle_dir: Path, name: str, public_key: Path | None = None) -> None:
    """Make a checked version live; go back to the one that was, if it cannot be read where it lies now.

    Raises:
        BundleError: it could not; the version that was live is live again.
    """
    before, state = live_name(bundle_dir), read_state(bundle_dir)
    # First the history, which says the same of the version that is still live as it did: what comes after is ignored.
    write_state(bundle_dir, State((*_until(state.history, before), name), state.rolled_back))
    write_text(bundle_dir / CURRENT, name + "\n")
    try:
        read_bundle(bundle_dir, public_key=public_key)
    except BundleError:
        if before:
            write_text(bundle_dir / CURRENT, before + "\n")
        raise


def roll_back(bundle_dir: Path, public_key: Path | None = None) -> tuple[str, str]:
    """Go back to the version that was live before, and remember what was left, so that no update brings it back.

    Returns:
        The names of the version that was live and of the one that is.

    Raises:
        MygoEdgeError: there is none, it is damaged, or another update is running.
    """
    if not bundle_dir.is_dir():
        raise MygoEdgeError(f"{bundle_dir} is no folder")
    with locked(bundle_dir):
        live = current_version(bundle_dir)
        before = version_before(bundle_dir, live)
        if before is None:
            raise MygoEdgeError(f"{bundle_dir} holds no version that was live before {live}; update it instead")
        selftest_apart(bundle_dir / before, public_key)
        state = read_state(bundle_dir)
        history = state.history if live in state.history else (before, live)
        mark = _manifest_digest(bundle_dir / live)
        write_state(bundle_dir, State(history, (*state.rolled_back, *([mark] if mark else []))))
        write_text(bundle_dir / CURRENT, before + "\n")
    return live, before


def sweep(bundle_dir: Path) -> None:
    """Remove what killed updates left and all versions but the live one and the one before."""
    for path in bundle_dir.glob(f".v*{_STAGED}"):
        shutil.rmtree(path, ignore_errors=True)
    live = live_name(bundle_dir)
    kept = {live, version_before(bundle_dir, live)}
    for name in versions(bundle_dir) if live else []:
        if name not in kept:
            shutil.rmtree(bundle_dir / name, ignore_errors=True)  # what stays now, goes with the next update


@contextmanager
def staged(bundle_dir: Path, name: str) -> Iterator[Path]:
    """An empty folder to build version `name` in; it has that name, durably, when the block ends without an error."""
    folder, partial = bundle_dir / name, bundle_dir / f".{name}{_STAGED}"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        yield partial
        sync_folder(partial)
        if folder.exists():  # neither live nor before: a kill came between its naming and its becoming live
            shutil.rmtree(folder)
        partial.rename(folder)
    except BaseException:
        shutil.rmtree(partial, ignore_errors=True)
        raise
    sync_folder(bundle_dir)


def _until(history: tuple[str, ...], live: str | None) -> tuple[str, ...]:
    """The history up to the live version, without what was rolled back or never became live."""
    if live is None:
        return ()
    if live not in history:
        return (live,)
    return history[: len(history) - history[::-1].index(live)]


def _manifest_digest(folder: Path) -> str | None:
    try:
        return sha256(read_plain(folder / MANIFEST, MAX_MANIFEST_BYTES))
    except BundleError:
        return None
