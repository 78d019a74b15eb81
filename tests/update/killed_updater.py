"""Update a device again and again, each time killed some file operations later. A program of its own.

Usage: killed_updater.py SOURCE DEVICE TO STEP; writes TO/0, TO/1, ... and ends with the first update that was not
killed.
"""

import os
import shutil
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from mygo_edge.update.updater import update

CHANGES = ("os.mkdir", "os.rename", "os.remove", "os.rmdir", "os.link", "os.truncate", "subprocess.Popen")


def kill_at(operation: int, folder: Path) -> None:
    """Kill this process as if the power failed, just before its n-th operation that changes `folder`."""
    left = operation

    def watch(event: str, details: tuple[object, ...]) -> None:
        nonlocal left
        writes = event == "open" and isinstance(details[2], int) and details[2] & (os.O_WRONLY | os.O_RDWR)
        if event in CHANGES or (writes and str(folder) in str(details[0])):
            if left == 0:
                os.kill(os.getpid(), signal.SIGKILL)
            left -= 1

    sys.addaudithook(watch)


def main(source: str, device: Path, to: Path, step: int) -> None:
    for number in range(1000):
        folder = Path(shutil.copytree(device, to / str(number)))
        child = os.fork()
        if child == 0:
            kill_at(number * step, folder)
            update(source, folder)
            os._exit(0)
        _, status = os.waitpid(child, 0)
        if status == 0:
            return
        if os.WTERMSIG(status) != signal.SIGKILL:
            raise SystemExit(f"kill {number} ended with status {status}")


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3]), int(sys.argv[4]))
