"""From a network to a graph, by the stages of a recipe. After every stage the graph is checked against PyTorch."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property, partial
from typing import Generic, Protocol, TypeVar

import numpy as np
import onnx
import torch
from numpy.typing import NDArray
from onnx import ModelProto
from torch import Tensor, nn

from mygo_edge.export.checks import check_classifier, check_generator
from mygo_edge.export.errors import GraphError
from mygo_edge.export.folding import DeviceNet
from mygo_edge.export.graphs import classifier_graph, generator_graph
from mygo_edge.export.quantise import Range, coverage, quantise
from mygo_edge.export.recipes import Recipe
from mygo_edge.export.storage import (
    WEIGHTS,
    chosen_nodes,
    store_fp16,
    store_int8,
    stored_weight,
    weight_name,
)
from mygo_edge.model.gan import FrozenGenerator
from mygo_edge.model.network import NeocortexNet

# Half a level of the seven bits that keep sums of products from saturating, and a little for the scale's own rounding.
_WEIGHT_ERROR = 1 / 120

Twin = TypeVar("Twin", bound=nn.Module)


class Source(Protocol[Twin]):
    """What a graph is made from. `network` is on the CPU, in fp32."""

    @property
    def name(self) -> str:
        """Of the file."""
        ...

    @property
    def network(self) -> Twin: ...

    def build(self) -> bytes:
        """The graph in fp32."""
        ...

    def check(self, graph: bytes, twin: Twin, recipe: Recipe) -> None:
        """Raise GraphError unless the graph is fit for a bundle and computes what `twin` does, as devices open it."""
        ...

    def layer(self, twin: Twin, node: str) -> nn.Module:
        """The module of a node. Raises GraphError when there is none."""
        ...


@dataclass(frozen=True)
class ClassifierSource:
    """The classifier of these tasks; mean and std of a channel. learnt: the learner's network, on the CPU, in fp32."""

    name: str
    learnt: NeocortexNet
    tasks: Sequence[str]
    mean: Sequence[float]
    std: Sequence[float]

    @cached_property
    def network(self) -> DeviceNet:
        return DeviceNet(self.learnt, self.mean, self.std)

    def build(self) -> bytes:
        """Checked against the learner's own network too: folding must not change what is computed."""
        graph = classifier_graph(self.network, self.tasks)
        check_classifier(graph, self.learnt, self.tasks, self.name, mean=self.mean, std=self.std)
        return graph

    def check(self, graph: bytes, twin: DeviceNet, recipe: Recipe) -> None:
        check_classifier(graph, twin, self.tasks, self.name, recipe=recipe)

    def layer(self, twin: DeviceNet, node: str) -> nn.Module:
        layers = {f"features.{index}": layer for index, layer in enumerate(twin.features)} | {"logits": twin.logits}
        if node not in layers:
            raise GraphError(f"{self.name}: PyTorch has no layer for node {node}, so it cannot be checked")
        return layers[node]


@dataclass(frozen=True)
class GeneratorSource:
    """A task's generator."""

    name: str
    network: FrozenGenerator

    def build(self) -> bytes:
        return generator_graph(self.network)

    def check(self, graph: bytes, twin: FrozenGenerator, recipe: Recipe) -> None:
        check_generator(graph, twin, self.name, recipe=recipe)

    def layer(self, twin: FrozenGenerator, node: str) -> nn.Module:
        raise GraphError(f"{self.name}: a generator's activations cannot be quantised")


@dataclass(frozen=True)
class Made(Generic[Twin]):
    """A graph on its way through the stages, or at their end.

    graph: serialised. twin: PyTorch that computes the same, with the weights as the graph holds them. fp32: the graph
    of the first stage. nodes: name -> weight, of the nodes that the recipe chose. ranges: of quantised activations, by
    their names in it.
    """

    graph: bytes
    twin: Twin
    fp32: bytes = b""
    nodes: dict[str, str] = field(default_factory=dict)
    ranges: dict[str, Range] = field(default_factory=dict)

    @property
    def model(self) -> ModelProto:
        return onnx.load_from_string(self.graph)

    def coverage(self, pixels: NDArray[np.uint8]) -> dict[str, float]:
        """Activation -> share of its values on `pixels` that the calibrated range holds without clipping."""
        return coverage(onnx.load_from_string(self.fp32), self.ranges, pixels)


def make(source: Source[Twin], recipe: Recipe, calibration: NDArray[np.uint8] | None = None) -> Made[Twin]:
    """Run a recipe's stages.

    Args:
        source: the network.
        recipe: the stages, checked against each other when the recipe was written.
        calibration: pixels, uint8 [n, channels, height, width], for a recipe that quantises activations.

    Raises:
        GraphError: a graph that is not fit for a bundle, or does not compute what PyTorch does; it names the stage.
    """
    made = Made(b"", source.network)
    for stage in recipe.stages:
        made = _STAGES[stage](source, recipe, made, calibration)
        try:
            source.check(made.graph, made.twin, recipe)
        except GraphError as error:
            raise GraphError(f"{error} (recipe {recipe.name}, after stage {stage})") from error
    return made


def _build(source: Source[Twin], recipe: Recipe, made: Made[Twin], _: NDArray | None) -> Made[Twin]:
    graph = source.build()
    built = replace(made, graph=graph, fp32=graph)
    nodes = {str(node.name): weight_name(node) for node in chosen_nodes(built.model, recipe.nodes)}
    return replace(built, nodes=nodes)


def _store(kind: Callable[..., None], _s: Source[Twin], recipe: Recipe, made: Made[Twin], _: object) -> Made[Twin]:
    model = made.model
    kind(model, chosen_nodes(model, recipe.nodes))
    graph = model.SerializeToString(deterministic=True)
    return replace(made, graph=graph, twin=_with_weights_of(model, made))


def _quantise(source: Source[Twin], recipe: Recipe, made: Made[Twin], pixels: NDArray | None) -> Made[Twin]:
    if pixels is None:
        raise ValueError(f"recipe {recipe.name} needs calibration samples")
    model, found = quantise(made.model, chosen_nodes(made.model, recipe.integers), pixels)
    twin = _with_weights_of(model, made)
    for node, layer in found.items():
        module = source.layer(twin, node)
        module.get_parameter("bias").copy_(torch.from_numpy(layer.bias))
        module.register_forward_pre_hook(partial(_rounded_input, scale=layer.input.scale))
        module.register_forward_hook(partial(_rounded_output, scale=layer.output.scale))
    ranges = {item.activation: item for layer in found.values() for item in (layer.input, layer.output)}
    return replace(made, graph=model.SerializeToString(deterministic=True), twin=twin, ranges=ranges)


# Of the recipes. build: PyTorch -> graph. store-fp16: weights as fp16, cast in the graph. store-int8: weights as int8
# with a scale a channel, dequantised in the graph. quantise: weights and activations of convolutions as integers.
_STAGES: dict[str, Callable] = {
    "build": _build,
    "store-fp16": partial(_store, store_fp16),
    "store-int8": partial(_store, store_int8),
    "quantise": _quantise,
}


def _with_weights_of(model: ModelProto, made: Made[Twin]) -> Twin:
    """A copy of the twin with the weights that the graph holds. Raises GraphError when they are far from its own."""
    by_name = {node.name: node for node in model.graph.node}
    twin = copy.deepcopy(made.twin)
    weights = twin.state_dict()
    for name, weight in made.nodes.items():
        if weight not in weights:
            raise GraphError(f"PyTorch has no weight {weight}, so a recipe that changes it cannot be checked")
        stored = torch.from_numpy(np.array(stored_weight(model.graph, by_name[name])))
        kind = by_name[name].op_type
        off = channel_error(stored, weights[weight], WEIGHTS["Conv" if kind == "QLinearConv" else kind].axis)
        if not off <= _WEIGHT_ERROR:
            raise GraphError(f"{weight} is stored up to {off:.2%} of its channel's largest weight off")
        weights[weight] = stored
    twin.load_state_dict(weights)
    return twin


def channel_error(stored: Tensor, exact: Tensor, axis: int) -> float:
    """The largest difference of a weight, as a share of the largest weight of its output channel."""
    others = [other for other in range(exact.ndim) if other != axis]
    largest = exact.abs().amax(others, keepdim=True)
    return float(((stored - exact).abs() / largest.clamp_min(torch.finfo(torch.float32).tiny)).max())


def _rounded_input(_: nn.Module, inputs: tuple[Tensor, ...], *, scale: float) -> Tensor:
    """What a quantised layer takes for its input."""
    return torch.fake_quantize_per_tensor_affine(inputs[0], scale, 0, 0, 255)


def _rounded_output(_: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor, *, scale: float) -> Tensor:
    """What a quantised layer gives, cut at 0."""
    return torch.fake_quantize_per_tensor_affine(output, scale, 0, 0, 255)
