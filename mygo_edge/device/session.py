"""Open and run an ONNX graph with onnxruntime on the CPU."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from threading import Lock

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from mygo_edge.bundle.manifest import BundleError
from mygo_edge.bundle.vetting import RefusedGraphError, vet
from mygo_edge.device.pruning import output_shapes, pruned
from mygo_edge.errors import MygoEdgeError

_FATAL = 4  # log level; what goes wrong is raised, with a message that names the file
_MAX_THREADS = 256
_LIMIT_VARIABLE = "MYGO_EDGE_MEMORY_MIB"
_DEFAULT_LIMIT_MIB = 1024  # 256 colour images of 64 x 64 pixels need about 200

INTEGER_WEIGHTS = ("int8", "int8-weights")  # precisions of graphs that are opened with `dequantise_once`


@dataclass(frozen=True, slots=True)
class SessionOptions:
    """How graphs run on a device.

    threads: of one run. spinning: whether idle threads wait in a loop, which saves microseconds and costs a core's
    power; it matters with more than one thread. arena: whether buffers are kept for the next run, in one pool for all
    graphs of the process; without it every run allocates anew, and nothing but the operating system limits how much.
    """

    threads: int = 1
    spinning: bool = False
    arena: bool = True

    def __post_init__(self) -> None:
        if type(self.threads) is not int or not 1 <= self.threads <= _MAX_THREADS:
            raise MygoEdgeError(f"threads must be at least 1 and at most {_MAX_THREADS}, not {self.threads!r}")

    def options(self) -> onnxruntime.SessionOptions:
        """The same as onnxruntime's object."""
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = self.threads
        options.inter_op_num_threads = 1
        options.log_severity_level = _FATAL
        options.add_session_config_entry("session.intra_op.allow_spinning", "1" if self.spinning else "0")
        options.enable_cpu_mem_arena = self.arena
        if self.arena:
            _share_arena()
            options.add_session_config_entry("session.use_env_allocators", "1")
        return options


def memory_limit() -> int:
    """Bytes that the graphs of this process may use together while they run, by MYGO_EDGE_MEMORY_MIB."""
    text = os.environ.get(_LIMIT_VARIABLE, str(_DEFAULT_LIMIT_MIB))
    if not text.isascii() or not text.isdecimal() or not 1 <= int(text) < 2**20:
        raise MygoEdgeError(f"{_LIMIT_VARIABLE} must be a number of MiB, not {text[:40]!r}")
    return int(text) * 2**20


@cache
def _share_arena() -> None:
    """Make the arena that all graphs share. Above its limit, a run fails with an error instead of the machine."""
    info = onnxruntime.OrtMemoryInfo(
        "Cpu", onnxruntime.OrtAllocatorType.ORT_ARENA_ALLOCATOR, 0, onnxruntime.OrtMemType.DEFAULT
    )
    # arena_extend_strategy 1: grow by what is asked for instead of doubling.
    settings = onnxruntime.OrtArenaCfg({"max_mem": memory_limit(), "arena_extend_strategy": 1})
    onnxruntime.create_and_register_allocator(info, settings)


class Graph:
    """A graph that runs. Safe to use from several threads.

    inputs and outputs: name -> shape, with None for the batch, in the graph's order.
    """

    def __init__(
        self,
        model: bytes,
        name: str,
        session: "SessionOptions | None" = None,
        *,
        dequantise_once: bool = False,
        views: Sequence[Sequence[str]] = (),
        optimised: bool = True,
    ) -> None:
        """Load from the very bytes that were verified.

        Args:
            model: the serialised graph.
            name: what to call it in errors.
            session: how to run it (default: as `SessionOptions` says).
            dequantise_once: compute weights stored as integers when the graph is loaded instead of at every run, and
                leave the other nodes of quantisation where the graph has them. Operators of integers stay such.
            views: outputs that are often wanted without the others, fewest first. onnxruntime computes all that it
                loaded, whatever is asked for, so each view is loaded as a graph of its own: the first now, another, or
                the whole, when its outputs are first asked for.
            optimised: whether onnxruntime rewrites the graph first, which takes longer than a few runs save.

        Raises:
            BundleError: `vet` or onnxruntime refuses it.
        """
        self.name = name
        self._model, self._settings, self._dequantise_once = model, session or SessionOptions(), dequantise_once
        self._optimised = optimised
        self._opened: dict[tuple[str, ...], onnxruntime.InferenceSession] = {}  # by the outputs of the view
        self._chosen: dict[tuple[str, ...], onnxruntime.InferenceSession] = {}  # by the outputs that were asked for
        self._lock = Lock()  # of both
        try:
            vet(model)
            self.outputs = dict(output_shapes(model)) if views else {}
        except RefusedGraphError as error:
            raise BundleError(f"{name} {error}") from error
        except ValueError as error:
            raise BundleError(f"{name} is no ONNX graph ({error}); publish or fetch it again") from error
        # A view of what is not there is left to `require`, which says so.
        self._views = [view for view in views if set(view) <= self.outputs.keys()]
        first = self._open(self._view_for(self._views[0] if self._views else ()))
        self.inputs = {value.name: _shape(value.shape) for value in first.get_inputs()}

    def _view_for(self, outputs: Sequence[str]) -> tuple[str, ...]:
        """The first view that has these outputs, or (), which stands for all."""
        return next((tuple(view) for view in self._views if set(outputs) <= set(view)), ())

    def _open(self, view: tuple[str, ...]) -> onnxruntime.InferenceSession:
        """The session of a view, or of all outputs for (), loaded when it is first needed. Raises BundleError."""
        if view in self._opened:
            return self._opened[view]
        options = self._settings.options()
        if not self._optimised:
            options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
        if self._dequantise_once:  # without its own handling of DequantizeLinear, onnxruntime folds it as any constant
            options.add_session_config_entry("session.disable_quant_qdq", "1")
        try:
            session = onnxruntime.InferenceSession(
                pruned(self._model, view) if view else self._model,
                options,
                providers=["CPUExecutionProvider"],
                enable_fallback=0,
            )
            found = {value.name: _shape(value.shape) for value in session.get_outputs()}
        except Exception as error:  # onnxruntime's errors have no common base below Exception
            raise BundleError(
                f"{self.name}: onnxruntime {onnxruntime.__version__} cannot load it ({_line(error)})"
            ) from error
        if not self._opened:  # what onnxruntime infers is at least as exact as what the graph says
            self.outputs |= found
        if wrong := [output for output in found if found[output] != self.outputs[output]]:
            raise BundleError(f"{self.name}: {wrong[0]} has not the shape that the graph says")
        self._opened[view] = session
        return session

    def require(
        self, inputs: Mapping[str, tuple[int | None, ...]], outputs: Mapping[str, tuple[int | None, ...]]
    ) -> None:
        """Raise BundleError unless the graph has exactly these inputs, and at least these outputs."""
        if self.inputs != dict(inputs):
            raise BundleError(f"{self.name} has inputs {self.inputs}, expected {dict(inputs)}")
        for output, shape in outputs.items():
            if self.outputs.get(output) != shape:
                raise BundleError(f"{self.name} has outputs {self.outputs}, expected {output} {shape}")

    def run(self, outputs: Sequence[str], feed: Mapping[str, NDArray]) -> list[NDArray[np.float32]]:
        """The named outputs for one batch. Raises BundleError when onnxruntime cannot compute them."""
        key = tuple(outputs)
        session = self._chosen.get(key)
        if session is None:
            with self._lock:
                session = self._chosen[key] = self._open(self._view_for(key))
        try:
            return session.run(key, feed)
        except Exception as error:  # as above
            hint = f"; {_LIMIT_VARIABLE} sets how much memory it may take" if "BFCArena" in str(error) else ""
            raise BundleError(
                f"{self.name}: onnxruntime {onnxruntime.__version__} cannot run it ({_line(error)}){hint}"
            ) from error


def _shape(shape: Sequence[int | str | None]) -> tuple[int | None, ...]:
    return tuple(side if isinstance(side, int) else None for side in shape)


def _line(error: Exception) -> str:
    """onnxruntime's message without its line breaks."""
    return " ".join(str(error).split())
