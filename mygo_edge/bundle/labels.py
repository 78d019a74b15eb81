"""The labels of inputs as a program gives them, to the box and to a device alike. numpy only."""

from collections.abc import Iterable, Mapping, Sequence, Set
from typing import Any

from mygo_edge.errors import MygoEdgeError


def listed(labels: Any) -> list[Any]:
    """The label of every input, in order, from whatever gives them one after another.

    Raises:
        MygoEdgeError: what gives no labels or has no order, and an input without a label or with several.
    """
    unordered = isinstance(labels, (str, bytes, Mapping, Set)) or not isinstance(labels, Iterable)
    if unordered or getattr(labels, "ndim", 1) != 1:
        raise MygoEdgeError(f"labels must be the name of every input's class, in order, not {_kind(labels)}")
    found = [label.item() if getattr(label, "shape", None) == () else label for label in labels]  # a number's own name
    for place, label in enumerate(found):
        if getattr(label, "shape", ()) or (isinstance(label, Sequence) and not isinstance(label, str)):
            raise MygoEdgeError(f"labels must be one class an input, not {label!r}")
        if _missing(label):
            raise MygoEdgeError(f"input {place} has no label, but {label!r}; name its class, or leave it out")
    return found


def _kind(labels: Any) -> str:
    return f"an array of shape {list(labels.shape)}" if hasattr(labels, "shape") else type(labels).__name__


def _missing(label: Any) -> bool:
    """Whether this is blank, None, or what stands for no value in numpy and pandas."""
    word = str(label).strip()
    return not word or (not isinstance(label, str) and word.lower() in ("none", "nan", "nat", "<na>"))
