"""The largest values of options that can work at all, by this machine's memory and the width of counters."""

import math
import os
from typing import Any

_COUNTER = 2**31 - 1  # steps are counted in the 32 bits of the noise's key (mygo_edge.kernels.philox)
_TRAINED = 16  # bytes of a weight in training: itself, its gradient and two moments of Adam


def memory_bytes() -> int:
    """Of this machine, all of it."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # not POSIX
        return 2**40


def upper_bounds(options: Any) -> list[tuple[str, str, float, str]]:
    """(part of the tree, field, most, why) of the options that could ask for more than there is.

    Args:
        options: a `mygo_edge.options.TrainOptions`.
    """
    memory = memory_bytes()
    image = 4 * max(
        64, options.folder.size**2
    )  # bytes in fp32 of one channel; no dataset has smaller images than 8 x 8
    fits = "fits in this machine's memory"
    counted = "can be counted"
    # A convolutional generator's middle layer has 8 weights for each pair of channels, a perceptron's first 64 a unit.
    perceptron = options.memory.network == "perceptron"
    widest = memory / (64 * _TRAINED) if perceptron else math.sqrt(memory / (8 * _TRAINED))
    bounds = [("memory", "width", widest, fits), ("sleep", "ahead_megabytes", memory / 1e6, fits)]
    for part, field in (("wake", "batch_size"), ("memory", "batch_size"), ("sleep", "batch_size"),
                        ("sleep", "dreams_per_task")):  # fmt: skip
        bounds.append((part, field, memory / image, fits))
    bounds.append(("folder", "size", math.sqrt(memory / (4 * max(options.wake.batch_size, 1))), fits))
    for part, field in (
        *(("wake", "epochs"), ("wake", "min_steps"), ("memory", "epochs"), ("memory", "min_steps")),
        *(("memory", "max_steps"), ("memory", "restarts"), ("sleep", "steps"), ("measure", "dreams_per_class")),
        ("measure", "score_steps"),
    ):
        bounds.append((part, field, _COUNTER, counted))
    return [(part, field, math.floor(most), why) for part, field, most, why in bounds]
