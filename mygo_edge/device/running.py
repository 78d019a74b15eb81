"""What a running model holds, and how that is replaced: by a task that is learnt, or by another version."""

from collections.abc import Sequence
from pathlib import Path
from threading import Lock
from typing import Any, NamedTuple

from mygo_edge.bundle.reading import current_version, read_bundle
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
        self._lock = Lock()  # of the heads' folder, and of replacing `loaded`
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
                self.loaded = loaded.with_heads(self._heads)
        return True

    def learn(self, name: str, inputs: Any, labels: Sequence[str], store: bool, **how: Any) -> Any:
        """See `mygo_edge.device.edge_model.EdgeModel.learn`; `how` is the engine's."""
        if store and self._heads is None:
            raise MygoEdgeError("with a public key heads need a folder of their own: load(..., heads=FOLDER)")
        loaded = self.loaded
        task = loaded.engine.learn(name, inputs, labels, loaded.learnt, **how)
        with self._lock:
            now = self.loaded
            if now.engine is not loaded.engine and not store:
                raise MygoEdgeError(f"{now.engine.version} took over while {name} was learnt; learn it again")
            if store and self._heads is not None:
                loaded.engine.store(self._heads, task)
            # On a version that took over meanwhile it may stand, or not: reading it again tells.
            self.loaded = now.with_task(task) if now.engine is loaded.engine else now.with_heads(self._heads)
        return task
