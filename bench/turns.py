"""Timing in turns: all ways of a group again and again, one after another, so that whatever else the machine does, and
however its clock changes, falls on all alike.
"""

import signal
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from types import FrameType
from typing import NamedTuple

import torch

from bench.contenders import CannotRunError, Way
from bench.measuring import PeakMemory

TURNS = (3, 60)  # fewest and most
SLICE = (0.02, 1.0)  # seconds that a way may have in a turn: as long as the slowest takes once, within these
SAMPLES = 10  # most that a way may have in a turn
PREPARATION = 60.0  # most seconds to make and check a way, compiling included, where time is limited
SHORTEST = 1e-4  # seconds of a sample: shorter runs are repeated within it


class Timed(NamedTuple):
    """seconds: of a run, once a sample. megabytes: what a run needs besides what is there before it."""

    seconds: list[float]
    megabytes: float


class OverTimeError(CannotRunError):
    """The time that was given is over."""


class Deadline:
    """A number of seconds from now on, or no limit."""

    def __init__(self, seconds: float | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._seconds, self._clock, self._start = seconds, clock, clock()

    @property
    def left(self) -> float | None:
        return None if self._seconds is None else self._seconds - (self._clock() - self._start)

    @property
    def reason(self) -> str:
        return f"the {self._seconds:g} seconds that were given were over"

    @contextmanager
    def preparing(self) -> Iterator[None]:
        """Raise OverTimeError, even in the midst of the block, once it has taken all that is left, or too long."""
        if self.left is None:
            yield
            return
        if self.left <= 0:
            raise OverTimeError(self.reason)
        most = min(self.left, PREPARATION)

        def over(number: int, frame: FrameType | None) -> None:
            raise OverTimeError(f"not ready after {most:.0f} seconds" if most == PREPARATION else self.reason)

        before = signal.signal(signal.SIGALRM, over)
        signal.setitimer(signal.ITIMER_REAL, most, 5.0)  # again and again: compilers catch what is raised in them
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_REAL, 0.0)
            signal.signal(signal.SIGALRM, before)


def in_turns(
    ways: Mapping[str, Callable[[], Way]],
    device: torch.device,
    seconds: float,
    within: Callable[[], AbstractContextManager[object]] = nullcontext,
    deadline: Deadline | None = None,
) -> dict[str, Timed | Exception]:
    """Times of every way, or what was wrong with it: it cannot run here, or is not right.

    Args:
        ways: what makes each of them.
        seconds: about how long to time each.
        within: a context to do everything in.
        deadline: ways that are not ready by then are not timed, and those that are, less long.
    """
    deadline = deadline or Deadline(None)
    ready: dict[str, tuple[Way, int]] = {}  # with the runs of a sample
    found: dict[str, Timed | Exception] = {}
    slowest = 0.0
    with within():
        for name, make in ways.items():
            try:
                with deadline.preparing():
                    way = make()
                    way.check()
                    once = _time(way, way.block, device)  # warms up
                    if once < SLICE[1]:
                        once = _time(way, way.block, device)
            except Exception as reason:  # of whatever kind: it is that way's result
                found[name] = reason
                continue
            ready[name] = way, way.block * max(1, round(SHORTEST / once))
            slowest = max(slowest, once)
        taken: dict[str, list[float]] = {name: [] for name in ready}
        slice_ = min(max(slowest, SLICE[0]), SLICE[1])
        budget = seconds * len(ready)
        if deadline.left is not None:
            budget = min(budget, deadline.left)
        until, turn = time.perf_counter() + budget, 0
        while turn < TURNS[0] or (turn < TURNS[1] and time.perf_counter() < until):
            turn += 1
            for name, (way, runs) in ready.items():
                if runs > way.block or slowest < SLICE[0]:
                    _time(way, way.block, device)  # brings its weights back into the caches
                start, samples = time.perf_counter(), 0
                while samples == 0 or (samples < SAMPLES and time.perf_counter() - start < slice_):
                    taken[name].append(_time(way, runs, device) / runs)
                    samples += 1
        for name, (way, _) in ready.items():
            with PeakMemory(device) as peak:
                _time(way, way.block, device)
            found[name] = Timed(taken[name], peak.megabytes)
    return found


def _time(way: Way, runs: int, device: torch.device) -> float:
    """Seconds of so many runs."""
    start = time.perf_counter()
    for _ in range(runs):
        way.run()
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - start


class Recorded:
    """A clock for pytest-benchmark that repeats what was measured: each `tick` moves it by the next of the times."""

    def __init__(self) -> None:
        self._now, self._times = 0.0, iter([0.0])

    def load(self, seconds: list[float]) -> None:
        self._times = iter(seconds)

    def tick(self) -> None:
        self._now += next(self._times, 0.0)

    def __call__(self) -> float:
        return self._now
