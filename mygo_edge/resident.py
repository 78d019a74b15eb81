"""How much RAM this process has held at most, as Linux counts it (proc_pid_status(5), VmHWM)."""

import contextlib
from pathlib import Path

_STATUS, _RESET = Path("/proc/self/status"), Path("/proc/self/clear_refs")


def forget_peak() -> None:
    """Let the peak be what is held now. Where the system cannot, it stays that since the process began."""
    with contextlib.suppress(OSError):
        _RESET.write_text("5")  # proc_pid_clear_refs(5)


def peak_bytes() -> int | None:
    """The most that was held, or None where the system does not tell."""
    try:
        lines = _STATUS.read_text().splitlines()
    except OSError:
        return None
    return next((1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM:")), None)
