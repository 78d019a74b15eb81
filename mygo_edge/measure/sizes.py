"""How many bytes methods need."""

from collections.abc import Mapping
from typing import Any


def bytes_kept(sizes: Mapping[str, Any]) -> int | None:
    """Of a method's `bytes` in summary.json: what a device gets besides a trunk, or what the method must keep to answer
    and to go on; None where neither is known.
    """
    if "kept" in sizes:
        return int(sizes["kept"])
    if sizes["classifier"] is None:
        return None
    return int(sizes["classifier"] + sizes.get("shared", 0) + sum(sizes["generators"]))
