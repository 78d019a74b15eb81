"""What every graph of a bundle must fulfil before it is published. Each check raises GraphError, one line."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import onnx
import torch
from google.protobuf.message import DecodeError
from onnx.checker import ValidationError
from onnx.shape_inference import InferenceError
from torch import Tensor

from mygo_edge.bundle.selftest import deviation
from mygo_edge.device.session import INTEGER_WEIGHTS, Graph
from mygo_edge.export.errors import GraphError
from mygo_edge.export.folding import DeviceNet, device_features
from mygo_edge.export.graphs import classifier_outputs, head_name
from mygo_edge.export.recipes import FP32, Recipe
from mygo_edge.model.gan import LATENT, FrozenGenerator
from mygo_edge.model.network import NeocortexNet

OPSETS = range(18, 21)
MAX_IR_VERSION = 10  # the newest that onnxruntime 1.20 reads
BATCHES = (1, 2, 7)


def check_classifier(
    graph: bytes,
    net: NeocortexNet | DeviceNet,
    tasks: Sequence[str],
    name: str = "classifier.onnx",
    *,
    mean: Sequence[float] = (0.5,),
    std: Sequence[float] = (0.5,),
    recipe: Recipe = FP32,
) -> None:
    """Check a classifier's graph against `net`, which is on the CPU. Raises GraphError.

    Args:
        net: the learner's network, given pixels scaled by mean and std; or a `DeviceNet`, which has its own.
        recipe: which made the graph.
    """
    heads = [*map(head_name, tasks), "features"]
    check_format(graph, name, inputs=["image"], outputs=classifier_outputs(tasks))

    def reference(image: Tensor) -> list[Tensor]:
        if isinstance(net, DeviceNet):
            logits, features = net.look(image)
        else:
            images = scaled(image, mean, std)
            logits, features = net(images), device_features(net)(images)
        return [*logits.split(net.widths, 1), features]

    samples = [{"image": _pixels(batch, net.shape)} for batch in BATCHES]
    check_parity(graph, name, heads, reference, samples, recipe)
    _check_answer(_opened(graph, name, recipe), [*map(head_name, tasks)], samples[-1])


def scaled(pixels: Tensor, mean: Sequence[float], std: Sequence[float]) -> Tensor:
    """What a network takes: raw pixels [batch, channels, height, width] as (pixel / 255 - mean) / std, by channel."""
    centre, scale = (torch.tensor(values, dtype=torch.float32)[:, None, None] for values in (mean, std))
    return (pixels / 255 - centre) / scale


def check_generator(graph: bytes, generator: FrozenGenerator, name: str, *, recipe: Recipe = FP32) -> None:
    """Check a generator's graph against `generator`, which is on the CPU. Raises GraphError."""
    check_format(graph, name, inputs=["z", "class_id"], outputs=["image"])
    samples = [{"z": _normals(batch), "class_id": torch.arange(batch) % generator.classes} for batch in BATCHES]
    check_parity(graph, name, ["image"], lambda z, class_id: [generator(z, class_id)], samples, recipe)


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
    graph: bytes,
    name: str,
    outputs: Sequence[str],
    reference: Callable[..., Sequence[Tensor]],
    samples: Sequence[Mapping[str, Tensor]],
    recipe: Recipe = FP32,
) -> None:
    """onnxruntime, opened as a device opens it, computes what PyTorch does. Raises GraphError or BundleError."""
    opened = _opened(graph, name, recipe)
    for sample in samples:
        with torch.inference_mode():
            expected = [output.numpy() for output in reference(**sample)]
        got = opened.run(outputs, {key: value.numpy() for key, value in sample.items()})
        for output, ours, theirs in zip(outputs, got, expected, strict=True):
            worst = deviation(ours, theirs)
            if not worst <= recipe.tolerance:
                batch = len(next(iter(sample.values())))
                raise GraphError(f"{name}: {output} differs by {worst:.3g} from PyTorch at batch {batch}")


def _opened(graph: bytes, name: str, recipe: Recipe) -> Graph:
    return Graph(graph, name, dequantise_once=recipe.name in INTEGER_WEIGHTS)


def _check_answer(opened: Graph, heads: Sequence[str], sample: Mapping[str, Tensor]) -> None:
    """task_id and class_id point at the largest logit of all heads. Raises GraphError."""
    feed = {key: value.numpy() for key, value in sample.items()}
    task_id, class_id, *logits = opened.run(["task_id", "class_id", *heads], feed)
    starts = np.cumsum([0, *(part.shape[1] for part in logits)])
    if not np.array_equal(starts[task_id] + class_id, np.concatenate(logits, 1).argmax(1)):
        raise GraphError(f"{opened.name}: task_id and class_id are not where the largest logit is")


def _normals(batch: int) -> Tensor:
    """Standard normals [batch, 64], always the same, without touching the global random state."""
    return torch.randn(batch, LATENT, generator=torch.Generator().manual_seed(batch))


def _pixels(batch: int, shape: Sequence[int]) -> Tensor:
    """Raw pixels of all values, always the same."""
    generator = torch.Generator().manual_seed(batch)
    return torch.randint(0, 256, (batch, *shape), generator=generator, dtype=torch.uint8)
