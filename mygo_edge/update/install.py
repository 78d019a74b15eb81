"""Install versions into a bundle on a device: fetch what is new, check it, swap, and go back. Standard library only.

What a kill at any moment leaves: `current` names a whole version that passed its self-test here, because it is replaced
by one rename and only after the version's folder is synced under its name. The rest is swept by the next update.
"""

import json
import os
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from mygo_edge.bundle.manifest import MANIFEST, BundleError
from mygo_edge.bundle.reading import (
    MAX_MANIFEST_BYTES,
    VERSION_NAME,
    current_version,
    read_bundle,
    read_plain,
    read_signature,
    read_version,
    version_order,
)
from mygo_edge.bundle.signature import PublicKey, verify_signature
from mygo_edge.bundle.versions import keep_only, live_name, set_live, version_names
from mygo_edge.errors import MygoEdgeError
from mygo_edge.files import sha256, write_json
from mygo_edge.update.trust import read_trust

LOCK = ".update.lock"
STATE = "update.json"
_MAX_STATE_BYTES = 2**16
_KEPT_NAMES = 16  # of the history, and of what was rolled back
_MAX_HOLDER_BYTES = 200
SELFTEST_SECONDS = 300
# Of the environment, what the self-test's process gets: limits, threads, and where the system's libraries lie.
_PASSED_ON = ("MYGO_EDGE_MEMORY_MIB", "OMP_NUM_THREADS", "PATH", "LD_LIBRARY_PATH", "HOME", "TMPDIR", "SYSTEMROOT")
# The isolated interpreter knows nothing of this one's paths, so they come as an argument.
_SELFTEST = """
import json, runpy, sys
sys.path[:] = json.loads(sys.argv.pop(1))
runpy.run_module("mygo_edge.selftest", run_name="__main__", alter_sys=True)
"""


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
    descriptor = os.open(bundle_dir / LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    found = os.fstat(descriptor)
    if not stat.S_ISREG(found.st_mode) or found.st_nlink != 1:  # it is written: not into what has another name
        os.close(descriptor)
        raise MygoEdgeError(f"{bundle_dir / LOCK} is no plain file of its own; remove it")
    with os.fdopen(descriptor, "r+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = file.read(_MAX_HOLDER_BYTES).decode("ascii", "replace")
            raise MygoEdgeError(
                f"another update of {bundle_dir} is running ({holder or 'it has just begun'}); wait until it has ended"
            ) from error
        file.truncate()
        file.write(f"process {os.getpid()}, since {datetime.now(UTC).isoformat(timespec='seconds')}".encode())
        file.flush()
        yield


def version_before(bundle_dir: Path, live: str | None) -> str | None:
    """The version that was live before, if it is still there."""
    there = [name for name in version_names(bundle_dir) if name != live]
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


def selftest_apart(folder: Path) -> None:
    """Self-test a version in a process of its own, limited in time and memory.

    Nothing in the version's folder can become code there: the interpreter is isolated from the environment, works in
    the root folder, and imports from where this process does, but from nowhere in the bundle.

    Raises:
        BundleError: it failed, crashed onnxruntime, or took too long.
    """
    folder = folder.resolve()
    paths = [path for path in sys.path if Path(path).is_absolute() and not _within(Path(path), folder.parent)]
    command = [sys.executable, "-I", "-c", _SELFTEST, json.dumps(paths), str(folder)]
    command += ["--limit-seconds", str(SELFTEST_SECONDS)]
    environment = {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    try:
        done = subprocess.run(
            command, env=environment, cwd="/", capture_output=True, timeout=2 * SELFTEST_SECONDS, check=False
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


def _within(path: Path, folder: Path) -> bool:
    return path.resolve().is_relative_to(folder)


def make_live(bundle_dir: Path, name: str, public_key: PublicKey | None = None) -> None:
    """Make a checked version live; go back to the one that was, if it cannot be read where it lies now.

    Raises:
        BundleError: it could not; the version that was live is live again.
    """
    before, state = live_name(bundle_dir), read_state(bundle_dir)
    # First the history, which says the same of the version that is still live as it did: what comes after is ignored.
    write_state(bundle_dir, State((*_until(state.history, before), name), state.rolled_back))
    set_live(bundle_dir, name)
    try:
        read_bundle(bundle_dir, public_key=public_key)
    except BundleError:
        if before:
            set_live(bundle_dir, before)
        raise


def roll_back(bundle_dir: Path, public_key: Path | None = None) -> tuple[str, str]:
    """Go back to the version that was live before, and remember what was left, so that no update brings it back.

    Returns:
        The names of the version that was live and of the one that is.

    Raises:
        MygoEdgeError: there is none, it is damaged or not signed by a key that is pinned, or another update is running.
    """
    if not bundle_dir.is_dir():
        raise MygoEdgeError(f"{bundle_dir} is no folder")
    with locked(bundle_dir):
        live = current_version(bundle_dir)
        before = version_before(bundle_dir, live)
        if before is None:
            raise MygoEdgeError(f"{bundle_dir} holds no version that was live before {live}; update it instead")
        _require_signed(bundle_dir, bundle_dir / before, public_key)
        selftest_apart(bundle_dir / before)
        state = read_state(bundle_dir)
        history = state.history if live in state.history else (before, live)
        mark = _manifest_digest(bundle_dir / live)
        write_state(bundle_dir, State(history, (*state.rolled_back, *([mark] if mark else []))))
        set_live(bundle_dir, before)
    return live, before


def sweep(bundle_dir: Path) -> None:
    """Remove what killed updates left and all versions but the live one and the one before."""
    live = live_name(bundle_dir)
    keep_only(bundle_dir, {live, version_before(bundle_dir, live)} if live else set(version_names(bundle_dir)))


def _require_signed(bundle_dir: Path, folder: Path, public_key: Path | None) -> None:
    """Raise BundleError unless a version is whole, and signed with a key that this device held to when it came."""
    read_version(folder)
    keys = read_trust(bundle_dir).keys_ever(PublicKey.read(public_key) if public_key else None)
    if keys:
        data = read_plain(folder / MANIFEST, MAX_MANIFEST_BYTES)
        verify_signature(data, read_signature(folder), keys, str(folder / MANIFEST))


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
