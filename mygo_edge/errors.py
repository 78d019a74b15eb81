"""The one error that a user caused and can mend: a line that says what, where, and what to do."""

import sys
from collections.abc import Callable
from typing import NoReturn

EXIT_BAD_INPUT = 2
EXIT_INTERRUPTED = 130


class MygoEdgeError(Exception):
    """Bad options, data or files. The message is one line and says how to go on."""


def run_command(main: Callable[[], None]) -> None:
    """Run a command's `main`; turn what a user can mend into one line on standard error and exit status 2.

    A read-only or full disk counts: the operating system's own words name the file.
    """
    try:
        main()
    except MygoEdgeError as error:
        fail(str(error))
    except OSError as error:
        where = f": {error.filename}" if error.filename else ""
        fail(f"{error.strerror or error}{where} (check the path, its permissions and the free space, then try again)")
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(EXIT_INTERRUPTED)


def fail(message: str) -> NoReturn:
    """Print `message` as one line on standard error and exit with status 2."""
    print("error: " + " ".join(message.split()), file=sys.stderr)
    sys.exit(EXIT_BAD_INPUT)


def warn(message: str) -> None:
    """Print `message` as one line on standard error, and go on."""
    print("warning: " + " ".join(message.split()), file=sys.stderr, flush=True)
