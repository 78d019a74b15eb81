"""Keep freed memory for the next step instead of giving it back to the system."""

import ctypes

# <malloc.h> of the GNU C library
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_THRESHOLD = -1, -2, -3


def keep_freed_memory() -> bool:
    """Let the C library reuse blocks of megabytes, and say whether it will (GNU only).

    By default every large tensor on a CPU is a fresh mapping, and touching its pages for the first time costs more
    than much of the arithmetic on them.
    """
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    settings = {M_MMAP_THRESHOLD: 1 << 30, M_TRIM_THRESHOLD: (1 << 31) - 1, M_TOP_PAD: 64 << 20}
    refused = [name for name, value in settings.items() if not mallopt(name, value)]
    return not refused
