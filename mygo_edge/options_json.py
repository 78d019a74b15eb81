"""The tree of options as JSON, for config.json, and back."""

from dataclasses import asdict, fields, is_dataclass
from pathlib import Path
from typing import Any, Literal, get_args, get_origin, get_type_hints

from mygo_edge.errors import MygoEdgeError
from mygo_edge.options import TrainOptions


def as_json(options: TrainOptions) -> dict[str, Any]:
    """The tree as plain JSON values (paths as text)."""

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: plain(item) for key, item in value.items()}
        if isinstance(value, list | tuple):
            return [plain(item) for item in value]
        return str(value) if isinstance(value, Path) else value

    return plain(asdict(options))


def from_json(values: dict[str, Any]) -> TrainOptions:
    """The tree that `as_json` wrote. Raises MygoEdgeError when a field is unknown or of the wrong kind."""

    def build(kind: Any, part: Any, where: str) -> Any:
        if not isinstance(part, dict):
            raise MygoEdgeError(f"config: {where or 'options'} is not an object")
        known = {item.name: item for item in fields(kind)}
        if extra := sorted(set(part) - set(known)):
            raise MygoEdgeError(f"config: unknown option {where}{extra[0]}; it was written by another version")
        hints = get_type_hints(kind)
        return kind(**{name: convert(hints[name], value, f"{where}{name}") for name, value in part.items()})

    def convert(hint: Any, value: Any, where: str) -> Any:
        if is_dataclass(hint):
            return build(hint, value, where + ".")
        if get_origin(hint) is Literal:
            matches = value in get_args(hint)
        elif hint == tuple[str, Path] | None:
            matches = value is None
        elif hint == str | None:
            matches = value is None or isinstance(value, str)
        elif get_origin(hint) is tuple:
            kinds = get_args(hint)
            kinds = kinds[:1] * len(value) if isinstance(value, list) and kinds[-1] is ... else kinds
            matches = isinstance(value, list) and len(value) == len(kinds)
            if matches:
                value = tuple(convert(kind, item, where) for kind, item in zip(kinds, value, strict=True))
        elif hint == int | None:
            matches = value is None or (isinstance(value, int) and not isinstance(value, bool))
        elif hint == Path | None:
            matches = value is None or isinstance(value, str)
            value = Path(value) if isinstance(value, str) else value
        else:
            matches = isinstance(value, (int, float) if hint is float else hint) and (
                hint is bool or not isinstance(value, bool)
            )
        if not matches:
            raise MygoEdgeError(f"config: option {where} cannot be {value!r}")
        return value

    return build(TrainOptions, values, "")
