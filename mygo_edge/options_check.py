"""Options that cannot work are refused before anything is read or written."""

import math
import os
from dataclasses import fields

from mygo_edge.bundle.gaussian import MAX_POWER, MIN_POWER
from mygo_edge.bundle.manifest import TASK_NAME
from mygo_edge.errors import MygoEdgeError
from mygo_edge.options import METHODS, PIXEL_METHODS, TRUNK_METHODS, VECTOR_METHODS, TrainOptions

# Smallest sensible values, by the option's name, wherever it stands in the tree.
AT_LEAST = {
    "epochs": 1,
    "min_steps": 1,
    "max_steps": 1,
    "batch_size": 2,
    "width": 4,
    "rank": 1,
    "restarts": 0,
    "steps": 1,
    "size": 8,
    "dreams_per_class": 1,
    "score_steps": 1,
    "logit_limit": 0.1,
    "dreams_per_task": 1,
    "other_heads": 0,
    "task_entropy": 0,
    "ahead_megabytes": 0,
}
_COUNTER = 2**31 - 1  # steps are counted in the 32 bits of the noise's key (mygo_edge.kernels.philox)
_TRAINED = 16  # bytes of a weight in training: itself, its gradient and two moments of Adam


def check(options: TrainOptions) -> None:
    """Raises MygoEdgeError, which names the first option that cannot work, and what it must be."""

    def refuse(option: str, value: object, need: str) -> None:
        raise MygoEdgeError(f"{option} {value} cannot work: it must be {need}")

    if not options.methods:
        refuse("--methods", "(none)", f"one or more of {', '.join(METHODS)}")
    if len(set(options.methods)) < len(options.methods):
        refuse("--methods", " ".join(options.methods), "different methods")
    if options.text.label == options.text.column:
        refuse("--text.column", options.text.column, "another column than --text.label")
    for name in options.task_names.split(",") if options.task_names is not None else ():
        if TASK_NAME.fullmatch(name) is None:
            refuse("--task-names", options.task_names, "names of letters, digits, '_' and '-', with commas between")
    if options.task_names is not None and len(
        set(options.task_names.casefold().split(","))
    ) <= options.task_names.count(","):
        refuse("--task-names", options.task_names, "different names")
    if not 0 <= options.seed < 2**63:
        refuse("--seed", options.seed, "a number from 0 to 2^63 - 1")
    if not 0 < options.checkpoint_seconds < math.inf:
        refuse("--checkpoint-seconds", options.checkpoint_seconds, "above 0 and finite")
    where = "without a --trunk such as patches" if options.trunk is None else "with a --trunk"
    vectors = options.trunk is not None and options.memory.generator == "perceptron"
    allowed = PIXEL_METHODS if options.trunk is None else VECTOR_METHODS if vectors else TRUNK_METHODS
    if other := [name for name in options.methods if name not in allowed]:
        besides = " and --memory.generator perceptron" if vectors else ""
        refuse("--methods", other[0], f"one of {', '.join(allowed)} {where}{besides}")
    kinds = ("convolutional" if options.trunk is None else "gaussian", "perceptron")
    if options.memory.generator not in ("auto", *kinds):
        refuse("--memory.generator", options.memory.generator, f"one of auto, {', '.join(kinds)} {where}")
    if options.sleep.form == "exact" and options.trunk is None:
        refuse(
            "--sleep.form", "exact", "sampled without a --trunk such as patches: dreams of images have no closed form"
        )
    if options.sleep.form == "exact" and vectors:
        refuse("--sleep.form", "exact", "sampled with --memory.generator perceptron: a GAN has no closed form")
    if options.sleep.prior not in ("auto", "0") and (options.trunk is None or vectors):
        besides = "with --memory.generator perceptron" if vectors else "without a --trunk such as patches"
        refuse("--sleep.prior", options.sleep.prior, f"auto or 0 {besides}: networks take classes as they come")
    for part in ("folder", "wake", "memory", "sleep", "measure", "publish"):
        tree = getattr(options, part)
        for item in fields(tree):
            name, value = f"--{part}.{item.name.replace('_', '-')}", getattr(tree, item.name)
            if item.name in AT_LEAST and value is not None and not value >= AT_LEAST[item.name]:
                refuse(name, value, f"at least {AT_LEAST[item.name]}")
            if item.name == "learning_rate" and not 0 < value < 1:
                refuse(name, value, "between 0 and 1")
            if isinstance(value, float) and not math.isfinite(value):
                refuse(name, value, "a finite number")
            if item.name == "shift" and not 0 <= value < 0.5:
                refuse(name, value, "from 0 to below 0.5")
    for part, field_name, most, why in _upper_bounds(options):
        value = getattr(getattr(options, part), field_name)
        if value is not None and value > most:
            refuse(f"--{part}.{field_name.replace('_', '-')}", value, f"at most {most}, which {why}")
    if not 0 <= options.publish.max_loss <= 1:
        refuse("--publish.max-loss", options.publish.max_loss, "from 0 to 1")
    if not MIN_POWER <= options.memory.power <= MAX_POWER:
        refuse("--memory.power", options.memory.power, f"from {MIN_POWER:g} to {MAX_POWER:g}")
    if not 0 <= options.memory.ema < 1:
        refuse("--memory.ema", options.memory.ema, "from 0 to below 1")
    if not 0 <= options.memory.gaussians <= 1:
        refuse("--memory.gaussians", options.memory.gaussians, "from 0 to 1")
    if options.memory.max_steps < options.memory.min_steps:
        refuse("--memory.max-steps", options.memory.max_steps, "at least --memory.min-steps")
    if not 0 < options.folder.test_fraction < 1:
        refuse("--folder.test-fraction", options.folder.test_fraction, "between 0 and 1")


def _memory_bytes() -> int:
    """Of this machine, all of it."""
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):  # not POSIX
        return 2**40


def _upper_bounds(options: TrainOptions) -> list[tuple[str, str, float, str]]:
    """(part of the tree, field, most, why) of the options that could ask for more than there is."""
    memory = _memory_bytes()
    image = 4 * max(
        64, options.folder.size**2
    )  # bytes in fp32 of one channel; no dataset has smaller images than 8 x 8
    fits = "fits in this machine's memory"
    counted = "can be counted"
    # A convolutional generator's middle layer has 8 weights for each pair of channels, a perceptron's first 64 a unit.
    perceptron = options.memory.network == "perceptron"
    widest = memory / (64 * _TRAINED) if perceptron else math.sqrt(memory / (8 * _TRAINED))
    bounds = [
        ("memory", "rank", 1024, "is more than covariances need"),
        ("memory", "width", widest, fits),
        ("sleep", "ahead_megabytes", memory / 1e6, fits),
    ]
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
