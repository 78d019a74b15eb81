"""A device runs what it is asked for, and no more of a graph than that."""

from pathlib import Path

import numpy as np
import onnx
import pytest

from mygo_edge.bundle.manifest import BundleError
from mygo_edge.device.edge_model import EdgeModel
from mygo_edge.device.pruning import output_shapes, pruned
from mygo_edge.device.session import Graph
from mygo_edge.export.graphs import classifier_graph
from tests.bundles import SHAPE, TASKS, publish_tiny, tiny_net

NAMES = [name for name, _ in TASKS]
IMAGES = np.random.default_rng(0).integers(0, 256, (50, *SHAPE), dtype=np.uint8)
ANSWER = ["task_id", "class_id"]


@pytest.fixture(scope="module")
def whole() -> bytes:
    return classifier_graph(tiny_net(3), NAMES)


@pytest.mark.parametrize("outputs", [ANSWER, ["logits_size"], ["features"], ["class_id", "features", "logits_sign"]])
def test_a_pruned_graph_computes_the_same_and_holds_no_other_node(whole: bytes, outputs: list[str]) -> None:
    part = pruned(whole, outputs)
    model = onnx.load_from_string(part)
    onnx.checker.check_model(model, full_check=True)
    assert {output.name for output in model.graph.output} == set(outputs)
    read = {name for node in model.graph.node for name in node.input} | set(outputs)
    assert all(set(node.output) & read for node in model.graph.node)
    assert {tensor.name for tensor in model.graph.initializer} <= read
    for ours, theirs in zip(
        Graph(part, "part").run(outputs, {"image": IMAGES}),
        Graph(whole, "whole").run(outputs, {"image": IMAGES}),
        strict=True,
    ):
        np.testing.assert_allclose(ours, theirs, atol=1e-6)


def test_answers_need_neither_features_nor_heads_and_features_no_weights_of_heads(whole: bytes) -> None:
    model = onnx.load_from_string(pruned(whole, ANSWER))
    assert not {"features", "logits_size"} & {node.name for node in model.graph.node}
    assert not any(
        "logits" in tensor.name for tensor in onnx.load_from_string(pruned(whole, ["features"])).graph.initializer
    )


@pytest.mark.parametrize("precision", ["fp16", "int8", "int8-weights"])
def test_graphs_of_every_precision_are_pruned_alike(tmp_path: Path, precision: str) -> None:
    data = (publish_tiny(tmp_path, 2, precision=precision) / f"classifier.{precision}.onnx").read_bytes()
    onnx.checker.check_model(onnx.load_from_string(pruned(data, ANSWER)), full_check=True)
    for ours, theirs in zip(
        Graph(pruned(data, ANSWER), "part").run(ANSWER, {"image": IMAGES}),
        Graph(data, "whole").run(ANSWER, {"image": IMAGES}),
        strict=True,
    ):
        np.testing.assert_array_equal(ours, theirs)


def test_shapes_are_read_as_onnxruntime_reads_them(whole: bytes) -> None:
    assert output_shapes(whole) == Graph(whole, "whole").outputs


def test_an_output_that_is_not_there_or_bytes_that_are_no_graph_are_refused(whole: bytes) -> None:
    with pytest.raises(ValueError, match="no output 'colour'"):
        pruned(whole, ["colour"])
    with pytest.raises(ValueError, match="beyond its message"):
        pruned(whole[:-1], ANSWER)


def test_what_was_not_foreseen_is_computed_by_the_whole_graph(whole: bytes) -> None:
    graph = Graph(whole, "classifier.onnx", views=[ANSWER])
    assert graph.outputs["features"] == (None, 128)
    reference = Graph(whole, "classifier.onnx")
    for outputs in (["task_id"], ["features"], ["logits_size", *ANSWER]):
        for ours, theirs in zip(
            graph.run(outputs, {"image": IMAGES}), reference.run(outputs, {"image": IMAGES}), strict=True
        ):
            np.testing.assert_allclose(ours, theirs, atol=1e-6)
    with pytest.raises(BundleError, match=r"classifier\.onnx: onnxruntime .* cannot run it"):
        graph.run(["colour"], {"image": IMAGES})


def test_a_model_answers_and_learns_from_views_of_one_graph(bundle: Path) -> None:
    model = EdgeModel.load(bundle)
    dreams = model.dream("size", n=60, seed=4)
    logits = model.logits(dreams.images)
    labels = model.labels()
    assert model.answers(dreams.images) == [labels[column] for column in logits.argmax(1)]
    model.learn_head("brightness", IMAGES[:20], ["dark", "light"] * 10, store=False)
    np.testing.assert_allclose(model.logits(dreams.images)[:, :5], logits, atol=1e-5)
