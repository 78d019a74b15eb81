"""Open and run an ONNX graph with onnxruntime on the CPU."""

from collections.abc import Mapping, Sequence

import numpy as np
import onnxruntime
from numpy.typing import NDArray

from mygo_edge.runtime.manifest import BundleError
from mygo_edge.runtime.wire import has_external_data

_FATAL = 4  # log level; what goes wrong is raised, with a message that names the file


class Graph:
    """A graph that runs.

    inputs and outputs: name -> shape, with None for the batch, in the graph's order.
    """

    def __init__(self, model: bytes, name: str, threads: int = 1, *, dequantise_once: bool = False) -> None:
        """Load from the very bytes that were verified.

        Args:
            model: the serialised graph.
            name: what to call it in errors.
            threads: threads of one run.
            dequantise_once: compute weights stored as integers when the graph is loaded instead of at every run. Not
                for a graph whose activations are integers too: it would compute in fp32.

        Raises:
            BundleError: external data, or onnxruntime refuses it.
        """
        try:
            external = has_external_data(model)
        except ValueError as error:
            raise BundleError(f"{name} is no ONNX graph ({error}); publish or fetch it again") from error
        if external:
            raise BundleError(f"{name} has external data; a graph of a bundle must hold its own weights")
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        options.log_severity_level = _FATAL
        if dequantise_once:  # without its own handling of DequantizeLinear, onnxruntime folds it as any constant
            options.add_session_config_entry("session.disable_quant_qdq", "1")
        try:
            self._session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        except Exception as error:  # onnxruntime's errors have no common base below Exception
            raise BundleError(
                f"{name}: onnxruntime {onnxruntime.__version__} cannot load it ({_line(error)})"
            ) from error
        self.name = name
        self.inputs = {value.name: _shape(value.shape) for value in self._session.get_inputs()}
        self.outputs = {value.name: _shape(value.shape) for value in self._session.get_outputs()}

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
        try:
            return self._session.run(list(outputs), dict(feed))
        except Exception as error:  # as above
            raise BundleError(
                f"{self.name}: onnxruntime {onnxruntime.__version__} cannot run it ({_line(error)})"
            ) from error


def _shape(shape: Sequence[int | str | None]) -> tuple[int | None, ...]:
    return tuple(side if isinstance(side, int) else None for side in shape)


def _line(error: Exception) -> str:
    """onnxruntime's message without its line breaks."""
    return " ".join(str(error).split())
