"""`python -m mygo_edge.train`: learn a stream of tasks with MyGO beside baselines, and publish a bundle."""

import contextlib
import io
import re
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from mygo_edge.config_file import expanded
from mygo_edge.errors import MygoEdgeError, run_command
from mygo_edge.help_texts import reflowed
from mygo_edge.options import DATASETS, METHODS, PRESETS, TRUNK_METHODS, TrainOptions, preset_defaults
from mygo_edge.options_check import check

# What a run began with, and keeps.
FIXED = ("dataset", "tasks", "task_names", "methods", "seed", "out", "precision", "device", "trunk")

# Lines of less than 80 characters, since tyro does not break this.
_PURPOSE = """Learn tasks one after another in wake-sleep cycles, and publish for devices.

--config FILE.toml reads options from a file; the command line goes over it.

Defaults below are those of the --dataset and the --preset that are given."""


def main(arguments: Sequence[str] | None = None) -> None:
    """Parse the command line and run. Raises MygoEdgeError for what the user can put right."""
    options = parse(sys.argv[1:] if arguments is None else list(arguments))
    from mygo_edge.experiment import start  # torch takes seconds to import; --help and bad options need not wait

    start(options)


def parse(arguments: list[str]) -> TrainOptions:
    """The options of a command line. Raises MygoEdgeError with one line that says what is wrong."""
    import tyro

    arguments = expanded(arguments)
    defaults = _defaults(arguments)
    problem = io.StringIO()
    try:
        with contextlib.redirect_stderr(problem), reflowed():
            options = tyro.cli(
                TrainOptions,
                args=_split_methods(arguments),
                default=defaults,
                prog="python -m mygo_edge.train",
                description=_PURPOSE,
            )
    except SystemExit as stop:
        if stop.code in (0, None):
            raise
        raise MygoEdgeError(_one_line(problem.getvalue())) from None
    if sum(given is not None for given in (options.resume, options.extend, options.forget, options.out)) > 1:
        raise MygoEdgeError("--resume, --extend, --forget and --out exclude one another; give one")
    kept = {"resume": FIXED, "extend": ("methods", "seed", "precision", "device", "trunk")}
    for mode, names in kept.items():
        changed = [name for name in names if getattr(options, name) != getattr(defaults, name)]
        if getattr(options, mode) is not None and changed:
            option = "--" + changed[0].replace("_", "-")
            raise MygoEdgeError(f"{option} cannot be changed by --{mode}: the run began with its own; leave it out")
        if getattr(options, mode) is not None:
            for name in ("generator", "width", "rank", "power"):
                if getattr(options.memory, name) != getattr(defaults.memory, name):
                    raise MygoEdgeError(f"--memory.{name}: all memories of a run are alike; leave it out")
            for name in ("tokenizer", "max_tokens", "parts", "directions"):
                if getattr(options.text, name) != getattr(defaults.text, name):
                    raise MygoEdgeError(f"--text.{name.replace('_', '-')}: a run keeps its trunk; leave it out")
            for name in ("weights", "output", "size", "resize", "interpolation", "mean", "std"):
                if getattr(options.trunk_input, name) != getattr(defaults.trunk_input, name):
                    raise MygoEdgeError(f"--trunk.{name}: a run keeps its trunk; leave it out")
    if options.forget is not None and replace(options, forget=None) != defaults:
        raise MygoEdgeError("--forget takes every other option from the run; give it alone: --forget TASK RUN")
    check(options)
    return options


def _defaults(arguments: list[str]) -> TrainOptions:
    """The options that hold where none are given: a preset's, or those of the run that goes on."""
    dataset = _value_of("--dataset", arguments, DATASETS)
    preset = _value_of("--preset", arguments, PRESETS)
    runs = [run for option in ("--resume", "--extend") if (run := _value_of(option, arguments)) is not None]
    if not runs:
        options = preset_defaults(preset or "default", dataset or "digits")
        rivals = (
            _value_of("--trunk", arguments) not in (None, "None")
            and _value_of("--memory.generator", arguments) != "perceptron"
        )
        return replace(options, methods=TRUNK_METHODS) if rivals else options
    if preset is not None:
        raise MygoEdgeError("--preset is for a new run; change single options, such as --memory.epochs, instead")
    from mygo_edge.run.folder import latest_options

    options = latest_options(Path(runs[0]))
    # The run may have begun elsewhere; what is asked for here decides about the rest.
    return replace(options, out=None, task_names=None)


def _value_of(option: str, arguments: list[str], known: Sequence[str] | None = None) -> str | None:
    """The value of an option that decides on others; refused when it is none of the `known`, if any are."""
    value = None
    for place, argument in enumerate(arguments):
        if argument == option and place + 1 < len(arguments):
            value = arguments[place + 1]
        elif argument.startswith(option + "="):
            value = argument.partition("=")[2]
    if value is not None and known is not None and value not in known:
        raise MygoEdgeError(f"{option} {value} is unknown; choose one of {', '.join(known)}")
    return value


def _split_methods(arguments: list[str]) -> list[str]:
    """`--methods mygo,finetune` as well as `--methods mygo finetune`."""
    result: list[str] = []
    option = "--methods"
    parted = [part for argument in arguments for part in _parted(argument, option)]
    for place, argument in enumerate(parted):
        if place and parted[place - 1] == option and not argument.startswith("-"):
            names = [name.strip() for name in argument.split(",")]
            if unknown := [name for name in names if name not in METHODS]:
                raise MygoEdgeError(f"--methods {unknown[0]} is unknown; choose from {', '.join(METHODS)}")
            result += names
        else:
            result.append(argument)
    return result


def _parted(argument: str, option: str) -> list[str]:
    """`--option=value` in two, as `--option value` is."""
    return [option, argument.partition("=")[2]] if argument.startswith(f"{option}=") else [argument]


def _one_line(text: str) -> str:
    """The parser's boxed message as one line of plain words."""
    words = re.sub(r"\x1b\[[0-9;]*m", "", text)
    words = re.sub(r"[─-╿]+", " ", words)
    words = " ".join(words.split())
    words = re.sub(r"^Parsing error ", "", words)
    words = re.sub(r"For full helptext, .*$", "", words).strip()
    # The box's title, where its text says the same.
    words = re.sub(r"^(Value error|Missing argument|Unrecognized options) (?=Error|Missing|Unrecognized)", "", words)
    return f"{words} (see python -m mygo_edge.train --help)"


if __name__ == "__main__":
    run_command(main)
