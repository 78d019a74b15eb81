"""What `EdgeModel` asks of a version, whatever its dreams are: images (`pixels`) or vectors of a trunk (`features`)."""

import operator
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from mygo_edge.bundle.manifest import Manifest
from mygo_edge.errors import MygoEdgeError

CALIBRATION_STREAM = 2**32 - 2  # of the dreams that a threshold is taken from; the box uses small numbers
CALIBRATION_DREAMS = 2048  # over all tasks: a share of 5 % is then known to half a point


class Dreams(NamedTuple):
    """samples: what was dreamt, uint8 images [n, channels, height, width], or float32 vectors [n, features] as the
    trunk gives them; class_ids: int64 [n], counted within the task."""

    samples: NDArray[Any]
    class_ids: NDArray[np.int64]

    @property
    def images(self) -> NDArray[np.uint8]:
        """The samples, of a bundle whose dreams are images."""
        return self.samples


class Scores(NamedTuple):
    """logits: [n, classes] float32; novelty: [n] float32, larger the less an input looks like any of the classes."""

    logits: NDArray[np.float32]
    novelty: NDArray[np.float32]


class Learnt(Protocol):
    """A task that this device learnt. created: when, which tells one from another of the same name."""

    @property
    def name(self) -> str: ...

    @property
    def classes(self) -> tuple[str, ...]: ...

    @property
    def created(self) -> str: ...


class Engine(Protocol):
    """A version, opened. `learnt` is what this device learnt besides, by task; every function takes it anew, so that
    an engine has no state of its own that a thread could see half changed. Errors are as `EdgeModel` says."""

    @property
    def version(self) -> str: ...

    @property
    def manifest(self) -> Manifest: ...

    @property
    def precision(self) -> str: ...

    @property
    def takes_text(self) -> bool: ...

    @property
    def dream_bytes(self) -> int:
        """What a dream takes, with its class id."""

    def example(self, n: int) -> Any:
        """`n` inputs, always the same: to measure with, and to test with."""

    def scores(self, inputs: Any, names: Sequence[str], learnt: Mapping[str, Any]) -> Scores:
        """Of the classes of these tasks, those of the bundle before those in `learnt`."""

    def answers(self, inputs: Any) -> list[tuple[str, str]]:
        """(task, class) of every input, among the tasks of the bundle: what is quickest."""

    def dream(self, task: str, class_id: int | None, n: int, key: "Key", learnt: Mapping[str, Any]) -> Dreams:
        """`n` dreams of a task, of one class or of classes drawn uniformly."""

    def usual_novelty(self, names: Sequence[str], learnt: Mapping[str, Any]) -> NDArray[np.float32]:
        """The novelty of what is of these tasks, to take a threshold from: as the box measured it on images that its
        memory had not seen, or else of dreams; tasks without either are left out."""

    def learn(self, name: str, inputs: Any, labels: Sequence[str], learnt: Mapping[str, Any]) -> Any:
        """A new task from labelled inputs."""

    def store(self, folder: Path, task: Any) -> None:
        """Keep a task that was learnt, atomically and durably."""

    def carried(self, task: Any) -> Any:
        """A task that was learnt on another version, as this one uses it. Raises HeadError or BundleError where it
        does not fit."""

    def read_learnt(self, folder: Path) -> tuple[dict[str, Any], dict[str, str]]:
        """What was kept, by task, and why a task is not used."""

    def run_selftest(self, thorough: bool) -> dict[str, float]:
        """How far each file is from what was published. Raises BundleError beyond what the manifest allows.

        thorough: with every graph as it runs later, not the quickest way.
        """


class Key(NamedTuple):
    """Which dreams, as `mygo_edge.kernels.philox` lays them out: seed in [0, 2^64), stream and step in [0, 2^32)."""

    seed: int = 0
    stream: int = 0
    step: int = 0

    def require_in_range(self) -> None:
        """Raise MygoEdgeError for a number out of range."""
        for name, value, limit in zip(self._fields, self, (2**64, 2**32, 2**32), strict=True):
            if not 0 <= value < limit:
                raise MygoEdgeError(f"{name} must be in [0, 2^{limit.bit_length() - 1}), not {value}")


def whole(what: str, value: Any) -> int:
    """An integer, whatever its type. Raises MygoEdgeError for another value, which `what` names."""
    try:
        return operator.index(value)
    except TypeError:
        raise MygoEdgeError(f"{what} must be a whole number, not {value!r}") from None


def class_index(wanted: int | str, classes: Sequence[str], task: str) -> int:
    """The index of a class within its task, from that or from its name. Raises MygoEdgeError for another."""
    if isinstance(wanted, str) and wanted in classes:
        return list(classes).index(wanted)
    if not isinstance(wanted, str) and 0 <= (index := whole("class_id", wanted)) < len(classes):
        return index
    known = ", ".join(f"{index} ({name})" for index, name in enumerate(classes))
    raise MygoEdgeError(f"unknown class {wanted!r}; the classes of task {task} are {known}")
