"""The ONNX graphs: what they compute, and what is in the files."""

import numpy as np
import onnx
import pytest
import torch
from torch import nn

from mygo_edge.device.session import Graph
from mygo_edge.errors import MygoEdgeError
from mygo_edge.export.checks import check_classifier, check_generator
from mygo_edge.export.graphs import classifier_graph, generator_graph, head_name
from mygo_edge.model.gan import Generator
from tests.bundles import TASKS, tiny_generator, tiny_net

NAMES = [name for name, _ in TASKS]


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 32, 32), (3, 9, 13)])
def test_graphs_of_grey_colour_and_odd_images_compute_what_pytorch_does(shape: tuple[int, int, int]) -> None:
    net, generator = tiny_net(3, shape), tiny_generator(3, shape)
    check_classifier(classifier_graph(net, NAMES), net, NAMES)
    check_generator(generator_graph(generator), generator, "generator-size.onnx")


def test_the_classifier_takes_bytes_and_has_a_head_for_every_task_features_and_the_answer() -> None:
    model = onnx.load_from_string(classifier_graph(tiny_net(3), NAMES))
    (image,) = model.graph.input
    assert (image.name, image.type.tensor_type.elem_type) == ("image", onnx.TensorProto.UINT8)
    outputs = [*(f"logits_{name}" for name in NAMES), "features", "task_id", "class_id"]
    assert [output.name for output in model.graph.output] == outputs
    shapes = [[dim.dim_value for dim in output.type.tensor_type.shape.dim[1:]] for output in model.graph.output]
    assert shapes == [[2], [3], [2], [32 * 2 * 2], [], []]


@pytest.mark.parametrize("tasks", [1, 3])
def test_the_answer_is_where_the_largest_logit_of_all_heads_is(tasks: int) -> None:
    net = tiny_net(tasks)
    image = np.random.default_rng(0).integers(0, 256, (200, 1, 8, 8), dtype=np.uint8)
    with torch.no_grad():
        features = net.features(torch.from_numpy(image) / 127.5 - 1)
        for head in net.classifiers:  # so that any class may win
            head.bias -= head(features).mean(0)
    graph = Graph(classifier_graph(net, NAMES[:tasks]), "classifier.onnx")
    task_id, class_id, *logits = graph.run(["task_id", "class_id", *map(head_name, NAMES[:tasks])], {"image": image})
    columns = [(task, index) for task, part in enumerate(logits) for index in range(part.shape[1])]
    expected = [columns[column] for column in np.concatenate(logits, 1).argmax(1)]
    assert list(zip(task_id.tolist(), class_id.tolist(), strict=True)) == expected
    assert len(set(expected)) == len(columns)


def test_scaling_is_in_the_graph_by_channel() -> None:
    net, mean, std = tiny_net(1, (3, 8, 8)), (0.1, 0.5, 0.9), (0.2, 0.5, 1.5)
    check_classifier(classifier_graph(net, NAMES[:1], mean, std), net, NAMES[:1], mean=mean, std=std)
    with pytest.raises(MygoEdgeError, match="differs"):
        check_classifier(classifier_graph(net, NAMES[:1], mean, std[::-1]), net, NAMES[:1], mean=mean, std=std)


def test_a_perceptron_is_exported_as_the_same_function() -> None:
    generator = Generator((1, 9, 8), 3, kind="perceptron").eval().freeze()
    check_generator(generator_graph(generator), generator, "generator-size.onnx")


def test_the_generator_takes_noise_and_a_class() -> None:
    model = onnx.load_from_string(generator_graph(tiny_generator(2)))
    inputs = [(value.name, value.type.tensor_type.elem_type) for value in model.graph.input]
    assert inputs == [("z", onnx.TensorProto.FLOAT), ("class_id", onnx.TensorProto.INT64)]
    assert [output.name for output in model.graph.output] == ["image"]


def test_equal_weights_give_equal_bytes_and_other_weights_other_bytes() -> None:
    assert classifier_graph(tiny_net(2), NAMES[:2]) == classifier_graph(tiny_net(2), NAMES[:2])
    assert generator_graph(tiny_generator(2)) == generator_graph(tiny_generator(2))
    assert generator_graph(tiny_generator(2)) != generator_graph(tiny_generator(2, seed=1))


def test_a_graph_is_little_more_than_its_weights() -> None:
    generator = tiny_generator(2)
    weights = sum(value.nbytes for value in generator.state_dict().values())
    assert weights < len(generator_graph(generator)) < weights + 2048


def test_weights_that_learn_in_half_precision_or_in_training_mode_are_exported_in_fp32() -> None:
    net = tiny_net(1)
    halved = tiny_net(1).to(torch.bfloat16).train()
    graph = onnx.load_from_string(classifier_graph(halved, NAMES[:1]))
    weights = [tensor for tensor in graph.graph.initializer if tensor.name.endswith((".weight", ".bias"))]
    assert {tensor.data_type for tensor in weights} == {onnx.TensorProto.FLOAT}
    check_classifier(classifier_graph(net.train(), NAMES[:1]), net, NAMES[:1])


@pytest.mark.parametrize(
    "layer", [nn.Sigmoid(), nn.MaxPool2d(2, padding=1), nn.Conv2d(16, 16, 3, padding="same"), nn.Tanh()]
)
def test_a_layer_that_has_no_node_is_refused_by_name(layer: nn.Module) -> None:
    net = tiny_net(1)
    net.features.insert(1, layer)
    with pytest.raises(MygoEdgeError, match=rf"features\.1 is {type(layer).__name__}.*cannot be exported"):
        classifier_graph(net, NAMES[:1])


def test_one_name_a_head_is_needed() -> None:
    with pytest.raises(ValueError, match="zip"):
        classifier_graph(tiny_net(2), NAMES[:1])
