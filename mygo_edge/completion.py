"""`mygo-edge completion bash | zsh`: a script that completes commands, and the options of `train`. Needs tyro."""

import contextlib
import io
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from mygo_edge.command import OneLineParser
from mygo_edge.options import TrainOptions

SHELLS = ("bash", "zsh")


def main(arguments: Sequence[str] | None = None) -> None:
    """Print the script. Raises MygoEdgeError for another shell."""
    from mygo_edge.__main__ import COMMANDS

    parser = OneLineParser(
        prog="mygo-edge completion",
        description='Print a script that completes mygo-edge: eval "$(mygo-edge completion bash)", or, for zsh, put it '
        "into a file _mygo-edge of a folder in $fpath.",
    )
    parser.add_argument("shell", choices=SHELLS)
    print(script(parser.parse_args(arguments).shell, {name: purpose for name, (_, purpose) in COMMANDS.items()}))


def script(shell: str, purposes: Mapping[str, str]) -> str:
    """The script for a shell; `purposes` says what each command is for."""
    import tyro

    commands: dict[str, Callable[..., Any]] = {name: _files(purpose) for name, purpose in purposes.items()}
    commands["train"] = TrainOptions
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
        tyro.extras.subcommand_cli_from_dict(commands, prog="mygo-edge", args=["--tyro-print-completion", shell])
    return printed.getvalue()


def _files(purpose: str) -> Callable[..., None]:
    """A command that takes files, as far as completion is concerned."""
    from tyro.conf import Positional

    def command(paths: Positional[tuple[Path, ...]] = ()) -> None: ...

    command.__doc__ = purpose
    return command
