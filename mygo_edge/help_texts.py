"""Help texts that are broken where the terminal ends, and not where lines of the source do."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any


@contextmanager
def reflowed() -> Iterator[None]:
    """Within it, tyro gets every option's description on one line, and so breaks it itself.

    It reads descriptions through docstring_parser, which leaves the indentation of further lines in them; tyro takes an
    indented line for one of a list, and begins a new one.
    """
    import docstring_parser

    parse = docstring_parser.parse_from_object

    def on_one_line(obj: Any, style: Any = docstring_parser.DocstringStyle.AUTO) -> Any:
        found = parse(obj, style)
        for parameter in found.params:
            parameter.description = " ".join((parameter.description or "").split()) or None
        return found

    docstring_parser.parse_from_object = on_one_line
    try:
        yield
    finally:
        docstring_parser.parse_from_object = parse
