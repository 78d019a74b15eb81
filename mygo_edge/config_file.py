"""`--config run.toml`: options from a file, as if they stood at the beginning of the command line."""

import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any, get_type_hints

from mygo_edge.errors import MygoEdgeError
from mygo_edge.options import TrainOptions

OPTION = "--config"
_GROUPS = {"trunk_input": "trunk"}  # groups whose options are called otherwise; `trunk` is an option itself
_ELSEWHERE = ("resume", "extend", "forget")  # what is to be done belongs on the command line


def expanded(arguments: list[str]) -> list[str]:
    """The command line with the options of its --config file put first, so that those on the line go over them.

    Raises:
        MygoEdgeError: the file cannot be read, is no TOML, or names what is no option; it names the file and the key.
    """
    rest, files = [], []
    given = iter(arguments)
    for argument in given:
        if argument == OPTION or argument.startswith(f"{OPTION}="):
            file = argument.partition("=")[2] or next(given, "")
            if not file:
                raise MygoEdgeError(f"{OPTION} needs the name of a file, such as run.toml")
            files.append(Path(file))
        else:
            rest.append(argument)
    if len(files) > 1:
        raise MygoEdgeError(f"{OPTION} was given {len(files)} times; give one file")
    return [word for file in files for word in _words(file)] + rest


def _words(file: Path) -> list[str]:
    try:
        values = tomllib.loads(file.read_text("utf-8"))
    except OSError as error:
        raise MygoEdgeError(f"{OPTION} {file} cannot be read ({error.strerror})") from error
    except ValueError as error:  # of TOML, and of bytes that are no UTF-8
        raise MygoEdgeError(f"{OPTION} {file} is no TOML ({error})") from error
    return [word for part in _options(values, TrainOptions, file, ()) for word in part]


def _options(values: Mapping[str, Any], kind: Any, file: Path, path: tuple[str, ...]) -> Iterator[list[str]]:
    """The words of each option of a table."""
    known = {item.name for item in fields(kind)}
    hints = get_type_hints(kind)
    for key, value in values.items():
        name, where = key.replace("-", "_"), ".".join((*path, key))
        if name not in known or (not path and name in _ELSEWHERE):
            raise MygoEdgeError(f"{OPTION} {file}: {where} is no option that a file may set; see --help")
        if is_dataclass(hints[name]):
            if not isinstance(value, dict):
                raise MygoEdgeError(f"{OPTION} {file}: {where} is a group of options; write it as a table, [{where}]")
            yield from _options(value, hints[name], file, (*path, name))
        else:
            yield _option([*(_GROUPS.get(part, part) for part in path), name], value, f"{OPTION} {file}: {where}")


def _option(path: list[str], value: Any, where: str) -> list[str]:
    *groups, name = (part.replace("_", "-") for part in path)
    if isinstance(value, bool):
        return ["--" + ".".join((*groups, name if value else f"no-{name}"))]
    items = value if isinstance(value, list) else [value]
    if not items or not all(isinstance(item, (str, int, float)) for item in items):
        raise MygoEdgeError(f"{where} must be text, a number, true, false, or a list of these")
    return ["--" + ".".join((*groups, name)), *map(str, items)]
