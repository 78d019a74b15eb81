"""What every graph of a bundle must fulfil before it is published. Each check raises GraphError, one line."""

from collections.abc import Callable, Iterator, Sequence

import onnx
import torch
from google.protobuf.message import DecodeError
from onnx.checker import ValidationError
from onnx.shape_inference import InferenceError
from torch import Tensor

from mygo_edge.errors import MygoEdgeError
from mygo_edge.export.graphs import head_name
from mygo_edge.model.gan import LATENT, FrozenGenerator
from mygo_edge.model.network import NeocortexNet
from mygo_edge.runtime.selftest import deviation
from mygo_edge.runtime.session import Graph

OPSETS = range(18, 21)
MAX_IR_VERSION = 10  # the newest that onnxruntime 1.20 reads
BATCHES = (1, 2, 7)
# Largest difference from PyTorch, absolute below 1 and relative above: fp32 sums in another order, some 30 times over.
TOLERANCE = 1e-4


class GraphError(MygoEdgeError):
    """A graph that must not be published."""


def check_classifier(graph: bytes, net: NeocortexNet, tasks: Sequence[str], name: str = "classifier.onnx") -> None:
    """Check a classifier's graph against `net`, which is on the CPU. Raises GraphError."""
    check_format(graph, name, inputs=["image"], outputs=[*map(head_name, tasks), "features"])

    def reference(image: Tensor) -> list[Tensor]:
        features = net.features(image)
        return [*(head(features) for head in net.classifiers), features]

    check_parity(graph, name, reference, (_normals(batch, net.shape) for batch in BATCHES))


def check_generator(graph: bytes, generator: FrozenGenerator, name: str) -> None:
    """Check a generator's graph against `generator`, which is on the CPU. Raises GraphError."""
    check_format(graph, name, inputs=["z", "class_id"], outputs=["image"])
    samples = (
        {**_normals(batch, (LATENT,), "z"), "class_id": torch.arange(batch) % generator.classes} for batch in BATCHES
    )
    check_parity(graph, name, lambda z, class_id: [generator(z, class_id)], samples)


def check_format(graph: bytes, name: str, *, inputs: Sequence[str], outputs: Sequence[str]) -> None:
    """A valid, portable, self-contained model with exactly these inputs and outputs. Raises GraphError."""
    try:
        model = onnx.load_from_string(graph)
        onnx.checker.check_model(model, full_check=True)
    except (DecodeError, ValidationError, InferenceError) as error:
        raise GraphError(f"{name} is no valid ONNX model ({' '.join(str(error).split())})") from error
    if model.ir_version > MAX_IR_VERSION:
        raise GraphError(f"{name} has IR version {model.ir_version}, devices read up to {MAX_IR_VERSION}")
    opsets = {opset.domain or "ai.onnx": opset.version for opset in model.opset_import}
    if set(opsets) != {"ai.onnx"} or model.functions:
        raise GraphError(f"{name} uses operators of {sorted(opsets)}; only ONNX's own run on every device")
    if opsets["ai.onnx"] not in OPSETS:
        raise GraphError(f"{name} has opset {opsets['ai.onnx']}, expected {OPSETS.start} to {OPSETS.stop - 1}")
    found = [value.name for value in model.graph.input], [value.name for value in model.graph.output]
    if found != (list(inputs), list(outputs)):
        raise GraphError(f"{name} has inputs and outputs {found}, expected {(list(inputs), list(outputs))}")
    for value in [*model.graph.input, *model.graph.output]:
        dimension = value.type.tensor_type.shape.dim[0]
        if not dimension.dim_param:
            raise GraphError(f"{name}: the batch of {value.name} is fixed to {dimension.dim_value}")


def check_parity(
    graph: bytes, name: str, reference: Callable[..., Sequence[Tensor]], samples: Iterator[dict[str, Tensor]]
) -> None:
    """onnxruntime, opened as a device opens it, computes what PyTorch does. Raises GraphError or BundleError."""
    opened = Graph(graph, name)
    for sample in samples:
        with torch.inference_mode():
            expected = [output.numpy() for output in reference(**sample)]
        got = opened.run(list(opened.outputs), {key: value.numpy() for key, value in sample.items()})
        for output, ours, theirs in zip(opened.outputs, got, expected, strict=True):
            worst = deviation(ours, theirs)
            if not worst <= TOLERANCE:
                batch = len(next(iter(sample.values())))
                raise GraphError(f"{name}: {output} differs by {worst:.3g} from PyTorch at batch {batch}")


def _normals(batch: int, shape: Sequence[int], name: str = "image") -> dict[str, Tensor]:
    """One input of standard normals, always the same, without touching the global random state."""
    generator = torch.Generator().manual_seed(batch)
    return {name: torch.randn(batch, *shape, generator=generator)}
