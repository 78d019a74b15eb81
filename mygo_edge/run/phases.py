"""The phase that a run uses: shown on the display, logged, checkpointed in between, stopped by Ctrl-C."""

import contextlib
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from types import FrameType

import torch
from torch import Tensor

from mygo_edge.learn.phase import Phase, Stateful
from mygo_edge.learn.team import ALONE, Team
from mygo_edge.options import StepMode
from mygo_edge.run.folder import RunFolder
from mygo_edge.run.progress import Display

Save = Callable[[int, Mapping[str, Stateful]], None]
Restore = Callable[[Mapping[str, Stateful]], int]


class Interruption:
    """Turns Ctrl-C (and SIGTERM) into a flag that phases look at between two steps; a second one stops at once."""

    def __init__(self) -> None:
        self.asked = False

    def __enter__(self) -> "Interruption":
        self.asked = False  # of what begins now
        self._before = {name: signal.signal(name, self._ask) for name in (signal.SIGINT, signal.SIGTERM)}
        return self

    def __exit__(self, *_: object) -> None:
        for name, handler in self._before.items():
            signal.signal(name, handler)

    def _ask(self, signum: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
        print("stopping, and keeping what was done; again to stop at once", file=sys.stderr, flush=True)

    def stop_if_asked(self) -> None:
        """Raise KeyboardInterrupt when a stop was asked for."""
        if self.asked:
            raise KeyboardInterrupt


class RunPhase(Phase):
    """One phase of a run.

    Args:
        save: keeps a step number and the state that belongs to it; None for work that is simply done again.
        restore: loads what an earlier process saved of this phase and returns its step number, 0 when there is none.
        every: seconds between two saves.
        autocast: run the steps in bf16 mixed precision.
    """

    def __init__(
        self,
        device: torch.device,
        seed: int,
        *,
        label: str,
        display: Display,
        folder: RunFolder,
        interruption: Interruption,
        where: dict[str, object],
        save: Save | None = None,
        restore: Restore | None = None,
        every: float = 30.0,
        autocast: bool = False,
        team: Team = ALONE,
        step_mode: StepMode = "auto",
    ) -> None:
        super().__init__(device, seed, label, team=team, step_mode=step_mode)
        self._display, self._folder, self._interruption = display, folder, interruption
        self._where, self._save, self._restore, self._every, self._autocast = where, save, restore, every, autocast
        self._losses: dict[str, float] = {}
        self._noted: set[str] = set()

    def steps(self, total: int, **state: Stateful) -> Iterator[int]:
        self.total = total
        begin = self._restore(state) if self._restore else 0
        self._display.begin(self.label, total)
        started = saved = shown = time.monotonic()
        arithmetic: contextlib.AbstractContextManager = contextlib.nullcontext()
        if self._autocast:  # without the cache of cast weights, which a captured step would not refresh
            arithmetic = torch.autocast(self.device.type, torch.bfloat16, cache_enabled=False)
        for step in range(begin, total):
            with arithmetic:
                yield step
            now = time.monotonic()
            if now - shown > 0.2 or step + 1 == total:
                shown = now
                self._display.update(step + 1, (step + 1 - begin) / (now - started), self._losses)
            if self._save and (self._interruption.asked or now - saved > self._every) and step + 1 < total:
                self._save(step + 1, state)
                saved = time.monotonic()
            if self.team.leads:
                self._interruption.stop_if_asked()
        self._display.end()

    def breathe(self) -> None:
        self._interruption.stop_if_asked()

    def note(self, text: str) -> None:
        if text not in self._noted and self.team.leads:
            self._noted.add(text)
            self._folder.log(event="note", **self._where, text=text)
            self._display.event(event="note", text=repr(text))
            self._display.say(f"{self.label}: {text}")

    def log(self, step: int, **losses: Tensor) -> dict[str, float]:
        values = super().log(step, **losses)
        if values and self.team.leads:
            self._losses = values
            self._folder.log(event="step", **self._where, step=step, **values)
        return values
