"""What a running model holds, and how that is replaced: by a task that is learnt, or by another version."""

from collections.abc import Iterable
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

from mygo_edge.bundle.heads import require_room
from mygo_edge.bundle.labels import listed
from mygo_edge.bundle.reading import current_version, read_bundle
from mygo_edge.device.engine import Learnt
from mygo_edge.device.loaded import Loaded
from mygo_edge.device.session import SessionOptions
from mygo_edge.errors import MygoEdgeError


class Opening(NamedTuple):
    """How the live version of a bundle is opened: its folder, how graphs run, the precision of the classifier, the file
    of the owner's key, and whether the self-test runs first, the quickest way."""

    folder: Path
    session: SessionOptions
    precision: str | None
    key: Path | None
    selftest: bool

    def open(self) -> Loaded:
        """The live version, read and verified. Raises as `EdgeModel.load`."""
        loaded = Loaded.open(read_bundle(self.folder, None, self.key), self.session, self.precision)
        if self.selftest:
            loaded.engine.run_selftest(thorough=False)
        return loaded


class Running:
    """A version in use, with what this device learnt. Safe to use from several threads.

    loaded: replaced as a whole, never changed, so that a call ends on what it began with.
    """

    def __init__(self, loaded: Loaded, heads: Path | None = None, live: Opening | None = None) -> None:
        """Begin with a version.

        Args:
            loaded: the version.
            heads: the folder of what this device learnt.
            live: how the live version is opened, of a model that follows it.
        """
        self.loaded, self._heads, self._live = loaded, heads, live
        self._tried: dict[str, Learnt] = {}  # what was learnt and not stored, by task
        self._lock = Lock()  # of the heads' folder, of `_tried`, and of replacing `loaded`
        self._reloading = Lock()  # one thread at a time

    def reload(self) -> bool:
        """See `mygo_edge.device.edge_model.EdgeModel.reload`."""
        if self._live is None:
            raise MygoEdgeError("only a model of a bundle's live version can be reloaded: EdgeModel.load(FOLDER)")
        with self._reloading:
            if current_version(self._live.folder) == self.loaded.engine.version:
                return False
            loaded = self._live.open()
            with self._lock:  # a task that is learnt meanwhile is in the folder by now, or comes after
                self.loaded = self._with_learnt(loaded)
        return True

    def learn(self, name: str, inputs: Any, labels: Iterable[str], store: bool, **how: Any) -> Any:
        """See `mygo_edge.device.edge_model.EdgeModel.learn`; `how` is the engine's."""
        if store and self._heads is None:
            raise MygoEdgeError("with a public key heads need a folder of their own: load(..., heads=FOLDER)")
        loaded, given = self.loaded, listed(labels)
        if store and self._heads is not None:
            require_room(self._heads, name)  # before it takes its time
        task = loaded.engine.learn(name, inputs, given, loaded.learnt, **how)
        with self._lock:
            now = self.loaded
            self._keep(loaded, task, store)
            # On a version that took over meanwhile it may stand, or not: that is looked at as in a reload.
            self.loaded = now.with_task(task) if now.engine is loaded.engine else self._with_learnt(now)
        return task

    def _keep(self, loaded: Loaded, task: Any, store: bool) -> None:
        """Keep a task of a version in the folder of heads, or until the process ends."""
        if not store or self._heads is None:
            self._tried[task.name] = task
            return
        require_room(self._heads, task.name)
        loaded.engine.store(self._heads, task)
        self._tried.pop(task.name, None)

    def _with_learnt(self, loaded: Loaded) -> Loaded:
        """A version with what is kept, and what was learnt here besides."""
        return loaded.with_heads(self._heads).with_tried(self._tried.values())
