"""Publish version 2 over version 1 again and again, each time killed one file operation later. A program of its own.

Usage: killed_publisher.py SOURCE TO PRECISION, where SOURCE is a bundle of version 1; writes TO/0, TO/1, ... and ends
with the first publication that was not killed.
"""

import os
import shutil
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.bundles import publish_tiny

WRITES = ("os.mkdir", "os.rename", "os.remove", "os.rmdir")  # audit events that change a folder


def kill_at(operation: int, folder: Path) -> None:
    """Kill this process as if the power failed, just before its n-th operation that changes `folder`."""
    left = operation

    def watch(event: str, details: tuple[object, ...]) -> None:
        nonlocal left
        # Nothing but `folder` is written to; removing a tree names the files relative to their folder.
        if event in WRITES or (event == "open" and details[1] in ("w", "x", "xb") and str(folder) in str(details[0])):
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            left -= 1

    sys.addaudithook(watch)


def main(source: Path, to: Path, precision: str) -> None:
    for operation in range(1000):
        folder = Path(shutil.copytree(source, to / str(operation)))
        child = os.fork()
        if child == 0:
            kill_at(operation, folder)
            publish_tiny(folder, 2, precision=precision)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if status == 0:
            return
        if os.WTERMSIG(status) != signal.SIGKILL:
            raise SystemExit(f"operation {operation} ended with status {status}")


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
