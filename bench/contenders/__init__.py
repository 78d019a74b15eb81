"""The ways that are compared: each knows what to run, and how to tell that it is right."""

from collections.abc import Callable
from typing import NamedTuple


class CannotRunError(Exception):
    """Why a way cannot run here."""


class Way(NamedTuple):
    """run: what is timed. check: raises AssertionError when the way is wrong. block: how many runs belong together,
    because the first of them prepares the others.
    """

    run: Callable[[], object]
    check: Callable[[], None]
    block: int = 1
