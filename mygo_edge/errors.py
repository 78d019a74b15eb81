"""The one error that a user caused and can put right: a line that says what, where, and what to do."""

import io
import os
import sys
from collections.abc import Callable
from typing import NoReturn

EXIT_BAD_INPUT = 2
EXIT_INTERRUPTED = 130
EXIT_PIPE_CLOSED = 141  # what a shell reports of a process that SIGPIPE ended
# Packages that not every installation has, by what installs them.
_EXTRA_OF = {
    **dict.fromkeys(("torch", "torchvision", "tyro", "rich", "onnx", "safetensors", "matplotlib", "sklearn"), "train"),
    "PIL": "images",
    "cryptography": "sign",
    "tokenizers": "text",
}


class MygoEdgeError(Exception):
    """Bad options, data or files. The message is one printable line and says how to go on.

    What came from outside, such as a file's name or a server's answer, may be in it: `one_line` is applied here.
    """

    def __init__(self, message: object = "") -> None:
        super().__init__(one_line(str(message)))


def one_line(text: str) -> str:
    """The text with line breaks as spaces, and with all else that a terminal might obey or hide as escapes."""
    return escaped(" ".join(text.split()))


def escaped(text: str) -> str:
    """The text with every character that is not printable as an escape, such as \\x1b; for names from outside."""
    if text.isprintable():
        return text
    return "".join(
        character if character.isprintable() else ascii(character)[1:-1] for character in text
    )  # ascii() of one character is quoted


def run_command(main: Callable[[], None]) -> None:
    """Run a command's `main`; turn what a user can put right into one line on standard error and exit status 2.

    A read-only or full disk counts: the operating system's own words name the file. A reader that closes the pipe, as
    `head` does, ends the command without a word. A terminal that cannot show a character gets an escape instead.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    try:
        main()
        sys.stdout.flush()
    except MygoEdgeError as error:
        fail(str(error))
    except ModuleNotFoundError as error:
        package = (error.name or "").partition(".")[0]
        if package not in _EXTRA_OF:
            raise
        fail(f"{package} is not installed, which this command needs: pip install 'mygo_edge[{_EXTRA_OF[package]}]'")
    except BrokenPipeError:
        # The interpreter flushes once more when it ends, and must find something that is open.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(EXIT_PIPE_CLOSED)
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        fail(f"{error.strerror or error}{where} (check the path, its permissions and the free space, then try again)")
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(EXIT_INTERRUPTED)


def fail(message: str) -> NoReturn:
    """Print `message` as one line on standard error and exit with status 2."""
    print(f"error: {one_line(message)}", file=sys.stderr)
    sys.exit(EXIT_BAD_INPUT)


def warn(message: str) -> None:
    """Print `message` as one line on standard error, and go on."""
    print(f"warning: {one_line(message)}", file=sys.stderr, flush=True)
