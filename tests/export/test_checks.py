"""What must not be published is refused, with the reason."""

from collections.abc import Callable

import onnx
import pytest
import torch
from onnx import ModelProto, TensorProto, helper

from mygo_edge.errors import MygoEdgeError
from mygo_edge.export.checks import check_classifier, check_format, check_generator
from mygo_edge.export.graphs import classifier_graph, generator_graph
from tests.bundles import tiny_generator, tiny_net

OUTPUTS = ["logits_parity", "features"]


def newer_format(model: ModelProto) -> None:
    model.ir_version = 11


def older_operators(model: ModelProto) -> None:
    model.opset_import[0].version = 17


def newer_operators(model: ModelProto) -> None:
    model.opset_import[0].version = 21


def foreign_operators(model: ModelProto) -> None:
    model.opset_import.append(helper.make_opsetid("com.microsoft", 1))


def fixed_batch(model: ModelProto) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 2


def another_output(model: ModelProto) -> None:
    del model.graph.output[1]


def wrong_answer(model: ModelProto) -> None:
    node = next(node for node in model.graph.node if node.op_type == "ArgMax")
    node.op_type = "ArgMin"


def unknown_operator(model: ModelProto) -> None:
    model.graph.node[1].op_type = "Dream"


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (newer_format, "IR version 11, devices read up to 10"),
        (older_operators, "opset 17, expected 18 to 20"),
        (newer_operators, "opset 21, expected 18 to 20"),
        (foreign_operators, "com.microsoft"),
        (fixed_batch, "batch of image is fixed to 2|no valid ONNX"),
        (another_output, "inputs and outputs"),
        (unknown_operator, "no valid ONNX model"),
        (wrong_answer, "task_id and class_id are not where the largest logit is"),
    ],
)
def test_a_graph_that_some_device_cannot_read_is_refused(spoil: Callable[[ModelProto], None], reason: str) -> None:
    net = tiny_net(1)
    model = onnx.load_from_string(classifier_graph(net, ["parity"]))
    spoil(model)
    with pytest.raises(MygoEdgeError, match=reason) as caught:
        check_classifier(model.SerializeToString(), net, ["parity"])
    assert "\n" not in str(caught.value)


def test_external_data_is_refused() -> None:
    net = tiny_net(1)
    model = onnx.load_from_string(classifier_graph(net, ["parity"]))
    tensor = model.graph.initializer[0]
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="weights.bin")
    with pytest.raises(MygoEdgeError, match=r"classifier\.onnx"):
        check_classifier(model.SerializeToString(), net, ["parity"])


def test_bytes_that_are_no_graph_are_refused() -> None:
    with pytest.raises(MygoEdgeError, match="no valid ONNX model"):
        check_format(b"not a graph", "classifier.onnx", inputs=["image"], outputs=OUTPUTS)


def test_a_graph_of_other_weights_is_refused_with_the_output_that_differs() -> None:
    with pytest.raises(MygoEdgeError, match=r"logits_parity differs by .* from PyTorch at batch 1"):
        check_classifier(classifier_graph(tiny_net(1, seed=1), ["parity"]), tiny_net(1), ["parity"])
    with pytest.raises(MygoEdgeError, match=r"generator-a\.onnx: image differs"):
        check_generator(generator_graph(tiny_generator(2, seed=1)), tiny_generator(2), "generator-a.onnx")


def test_a_network_that_computes_nan_is_refused() -> None:
    net = tiny_net(1)
    with torch.no_grad():
        net.classifiers[0].bias[0] = torch.nan
    with pytest.raises(MygoEdgeError, match="logits_parity differs by inf"):
        check_classifier(classifier_graph(net, ["parity"]), net, ["parity"])
