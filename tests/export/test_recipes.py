"""Precisions: what each publishes, that the files compute what they say, and that the gate refuses what loses."""

from pathlib import Path

import numpy as np
import onnx
import pytest
import torch

from mygo_edge.bundle import manifest
from mygo_edge.bundle.reading import read_bundle
from mygo_edge.device.edge_model import EdgeModel
from mygo_edge.device.session import Graph
from mygo_edge.errors import MygoEdgeError
from mygo_edge.export import gate
from mygo_edge.export.bundle import publish
from mygo_edge.export.errors import GraphError, PrecisionLossError
from mygo_edge.export.graphs import classifier_graph, generator_graph, head_name
from mygo_edge.export.quantise import quantise
from mygo_edge.export.recipes import PRECISIONS, Recipe
from mygo_edge.export.samples import Labelled, Purpose, labelled_dreams, noise
from mygo_edge.export.stages import ClassifierSource, GeneratorSource, Made, make
from mygo_edge.export.storage import chosen_nodes, store_fp16
from mygo_edge.model.gan import FrozenGenerator, Generator
from mygo_edge.model.network import NeocortexNet, Shape
from tests.bundles import SHAPE, TASKS, publish_tiny, replace_file, tiny_generator, tiny_generators, tiny_net

NAMES = [name for name, _ in TASKS]
SMALL = ["fp16", "int8", "int8-weights"]


def pixels(n: int, shape: Shape = SHAPE, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (n, *shape), dtype=np.uint8)


def made_classifier(precision: str, shape: Shape = SHAPE, calibration: np.ndarray | None = None) -> Made[NeocortexNet]:
    source = ClassifierSource("classifier.onnx", tiny_net(3, shape), NAMES, [0.5] * shape[0], [0.5] * shape[0])
    return make(source, PRECISIONS[precision].classifier, pixels(50, shape) if calibration is None else calibration)


@pytest.fixture(scope="module")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A bundle of two tasks in each precision. Not to be changed."""
    folders = {precision: tmp_path_factory.mktemp(precision) for precision in PRECISIONS}
    for precision, folder in folders.items():
        publish_tiny(folder, 2, precision=precision)
    return folders


@pytest.mark.parametrize(
    ("precision", "generators"), [("fp16", "fp16"), ("int8", "int8-weights"), ("int8-weights", "int8-weights")]
)
def test_a_precision_publishes_the_classifier_besides_fp32_and_generators_alone(
    bundles: dict[str, Path], precision: str, generators: str
) -> None:
    version = bundles[precision] / "v0002"
    graphs = {
        "classifier.onnx": "fp32",
        f"classifier.{precision}.onnx": precision,
        f"generator-parity.{generators}.onnx": generators,
        f"generator-size.{generators}.onnx": generators,
    }
    assert {path.name for path in version.iterdir()} == {*graphs, "manifest.json", "selftest.npz"}
    listed = read_bundle(bundles[precision]).manifest.files
    assert {entry.path: entry.precision for entry in listed} == {**graphs, "selftest.npz": "fp32"}
    reference = (bundles["fp32"] / "v0002" / "classifier.onnx").read_bytes()
    assert (version / "classifier.onnx").read_bytes() == reference


def test_a_manifest_knows_every_precision_that_can_be_exported() -> None:
    names = {recipe.name for precision in PRECISIONS.values() for recipe in (precision.classifier, precision.generator)}
    assert tuple(PRECISIONS) == manifest.PRECISIONS
    assert names <= set(manifest.PRECISIONS)


@pytest.mark.parametrize("precision", SMALL)
def test_a_device_chooses_the_precision_of_the_classifier_and_gets_fp32_when_it_does_not(
    bundles: dict[str, Path], precision: str
) -> None:
    reference, default = EdgeModel.load(bundles["fp32"]), EdgeModel.load(bundles[precision])
    chosen = EdgeModel.load(bundles[precision], precision=precision)
    assert (default.precision, chosen.precision) == ("fp32", precision)
    images = reference.dream("size", n=100, seed=1).images
    np.testing.assert_array_equal(default.logits(images), reference.logits(images))
    assert 0 < np.abs(chosen.logits(images) - reference.logits(images)).max() < 0.05
    difference = chosen.dream("size", n=100).images.astype(int) - reference.dream("size", n=100).images
    assert np.abs(difference).mean() < 1


def test_a_precision_that_is_not_there_is_answered_with_those_that_are(bundles: dict[str, Path]) -> None:
    with pytest.raises(MygoEdgeError, match="v0002 holds no classifier in 'fp16', only in fp32, int8; load one"):
        EdgeModel.load(bundles["int8"], precision="fp16")


@pytest.mark.parametrize("precision", SMALL)
@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 32, 32), (3, 9, 13)])
def test_graphs_of_every_recipe_and_shape_compute_what_pytorch_does_with_their_weights(
    precision: str, shape: Shape
) -> None:
    made = made_classifier(precision, shape)  # checked against PyTorch after every stage
    assert any(
        not torch.equal(a, b) for a, b in zip(made.twin.parameters(), tiny_net(3, shape).parameters(), strict=True)
    )
    make(GeneratorSource("generator.onnx", tiny_generator(3, shape)), PRECISIONS[precision].generator)


@pytest.mark.parametrize(
    ("shape", "integers"),
    [((1, 28, 28), ["features.3"]), ((3, 64, 64), ["features.3", "features.6"])],
)
def test_int8_multiplies_integers_in_all_convolutions_but_the_first_and_pools_them(
    shape: Shape, integers: list[str]
) -> None:
    model = onnx.load_from_string(made_classifier("int8", shape).graph)
    kinds: dict[str, list[onnx.NodeProto]] = {}
    for node in model.graph.node:
        kinds.setdefault(node.op_type, []).append(node)
    assert [node.name for node in kinds["QLinearConv"]] == integers
    assert [node.name for node in kinds["Conv"]] == ["features.0"]
    assert len(kinds["QuantizeLinear"]) == 1  # between convolutions values stay integers
    assert [node.input[0].endswith(".uint8") for node in kinds["MaxPool"]] == [False, *[True] * len(integers)]
    assert len(kinds["Relu"]) == 1
    types = {tensor.name: tensor.data_type for tensor in model.graph.initializer if len(tensor.dims) > 1}
    weights = [kind for name, kind in types.items() if name.startswith(("features", "logits."))]
    assert set(weights) == {onnx.TensorProto.INT8}
    assert len(weights) == len(integers) + 2
    assert {opset.domain for opset in model.opset_import} == {""}


def test_rounding_weights_does_not_shift_what_a_convolution_gives() -> None:
    shown = pixels(200, (1, 28, 28))
    made = made_classifier("int8", (1, 28, 28), shown)
    exact = ClassifierSource("c", tiny_net(3, (1, 28, 28)), NAMES, [0.5], [0.5]).network
    bias = exact.features[3].get_parameter("bias").clone()
    with torch.inference_mode():
        entering = exact.features[:3](torch.from_numpy(shown).float() - exact.centre)
        wanted = exact.features[3](entering).mean((0, 2, 3))
        rounded = made.twin.features[3]
        given = torch.nn.functional.conv2d(entering, rounded.weight, rounded.bias, padding=1).mean((0, 2, 3))
        uncorrected = torch.nn.functional.conv2d(entering, rounded.weight, bias, padding=1).mean((0, 2, 3))
    assert (given - wanted).abs().max() < 0.05 * (uncorrected - wanted).abs().max()


@pytest.mark.parametrize("bias", [0.0, 0.5, 1e4])
def test_a_channel_without_weights_keeps_its_bias_in_int8(bias: float) -> None:
    net = tiny_net(3, (1, 28, 28))
    with torch.no_grad():
        net.features[3].weight[7] = 0
        net.features[3].bias[7] = bias
    source = ClassifierSource("classifier.onnx", net, NAMES, [0.5], [0.5])
    made = make(source, PRECISIONS["int8"].classifier, pixels(50, (1, 28, 28)))
    assert made.twin.features[3].bias[7].item() == pytest.approx(bias, rel=1e-6)


def test_a_convolution_that_no_relu_follows_or_that_takes_what_can_be_negative_is_not_quantised() -> None:
    for without in (2, 5):
        net = tiny_net(1, (1, 28, 28))
        net.features[without] = torch.nn.Identity()
        net.features = torch.nn.Sequential(
            *(layer for layer in net.features if not isinstance(layer, torch.nn.Identity))
        )
        index = 2 if without == 2 else 3
        model = onnx.load_from_string(classifier_graph(net, NAMES[:1]))
        with pytest.raises(GraphError, match="negative" if without == 2 else rf"features\.{index} is no convolution"):
            quantise(model, chosen_nodes(model, [f"features.{index}"]), pixels(20, (1, 28, 28)))


def test_generators_as_large_as_those_of_a_run_take_at_most_64_kb_in_int8() -> None:
    generator = Generator((1, 28, 28), 2).eval().freeze()
    sizes = {
        name: len(make(GeneratorSource("g.onnx", generator), PRECISIONS[name].generator).graph) for name in PRECISIONS
    }
    assert sizes["int8"] == sizes["int8-weights"] <= 64 * 1000
    assert sizes["fp32"] > 1.9 * sizes["fp16"] > 3.5 * sizes["int8"]


def test_a_weight_may_be_dequantised_once_or_at_every_run() -> None:
    made = made_classifier("int8-weights")
    answers = [
        Graph(made.graph, "c", dequantise_once=once).run(["features"], {"image": pixels(5)})[0] for once in (0, 1)
    ]
    np.testing.assert_allclose(*answers, rtol=1e-5, atol=1e-5)


def test_a_recipe_that_names_no_node_is_refused() -> None:
    with pytest.raises(GraphError, match=r"nodes 'features\.99', and the graph has none"):
        make(
            GeneratorSource("g.onnx", tiny_generator(2)),
            Recipe(name="fp16", stages=("build", "store-fp16"), nodes=("features.99",)),
        )


def test_weights_beyond_half_precision_are_refused() -> None:
    generator = tiny_generator(2)
    generator.base_weight[0, 0] = 1e5
    model = onnx.load_from_string(generator_graph(generator))
    with pytest.raises(GraphError, match="base_weight has weights beyond fp16's range"):
        store_fp16(model, chosen_nodes(model, ["noise"]))


def test_a_stage_that_changes_what_is_computed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    source, recipe = GeneratorSource("g.onnx", tiny_generator(2)), PRECISIONS["int8"].generator
    with monkeypatch.context() as patch:
        patch.setattr("mygo_edge.export.stages._with_weights_of", lambda model, made: made.twin)  # fp32's
        with pytest.raises(
            GraphError, match=r"g\.onnx: image differs by .*recipe int8-weights, after stage store-int8"
        ):
            make(source, recipe)
    monkeypatch.setattr("mygo_edge.export.storage.EIGHT_BITS", 10)
    with pytest.raises(GraphError, match=r"base_weight is stored up to \d\.\d\d% of its channel's largest weight off"):
        make(source, recipe)


def test_quantising_needs_samples_and_a_weight_that_pytorch_has() -> None:
    source = ClassifierSource("classifier.onnx", tiny_net(1), NAMES[:1], [0.5], [0.5])
    with pytest.raises(ValueError, match="needs calibration samples"):
        make(source, PRECISIONS["int8"].classifier)

    class Renamed(ClassifierSource):
        def build(self) -> bytes:
            return super().build().replace(b"logits.weight", b"logits.height")

    renamed = Renamed("classifier.onnx", tiny_net(1), NAMES[:1], [0.5], [0.5])
    with pytest.raises(GraphError, match=r"no weight logits\.height, so"):
        make(renamed, PRECISIONS["int8"].classifier, pixels(20))


def test_coverage_is_the_share_of_values_within_the_calibrated_range() -> None:
    faint = 120 + pixels(50) // 16
    made = made_classifier("int8", calibration=faint)
    assert set(made.coverage(faint)) == {"features.2", "features.4"}
    assert set(made.coverage(faint).values()) == {1.0}
    item = made.ranges["features.2"]
    strong = pixels(50, seed=1)
    with torch.inference_mode():
        net = tiny_net(3)
        values = net.features[:3](torch.from_numpy(strong) / 127.5 - 1).numpy()
    within = values <= item.largest + item.scale / 2
    assert made.coverage(strong)["features.2"] == pytest.approx(within.mean(), abs=1e-4)
    assert within.mean() < 0.999


def test_samples_are_balanced_and_no_two_purposes_share_one() -> None:
    generators: list[FrozenGenerator] = tiny_generators(2)
    for labelled, generator in zip(labelled_dreams(generators, Purpose.GATE, 7), generators, strict=True):
        assert np.bincount(labelled.class_id).tolist() == [7] * generator.classes
        assert labelled.pixels.dtype == np.uint8
    draws = [noise(purpose, task, 2, 50).z for purpose in Purpose for task in (0, 1)]
    rows = np.concatenate([draw.numpy() for draw in draws])
    assert len(np.unique(rows, axis=0)) == len(rows)


def test_publishing_a_precision_again_changes_nothing_and_another_makes_a_revision(tmp_path: Path) -> None:
    publish_tiny(tmp_path, 1)
    first = publish_tiny(tmp_path, 1, precision="int8")
    assert first.name == "v0001.1"
    before = (first / "manifest.json").stat()
    assert (publish_tiny(tmp_path, 1, precision="int8") / "manifest.json").stat() == before
    assert publish_tiny(tmp_path, 1).name == "v0001.2"
    assert EdgeModel.load(tmp_path, version="v0001.1", precision="int8").precision == "int8"


def test_a_small_generator_of_the_live_version_keeps_its_very_bytes(tmp_path: Path) -> None:
    name = "generator-parity.int8-weights.onnx"
    first = publish_tiny(tmp_path, 1, precision="int8-weights")
    model = onnx.load(first / name)
    model.producer_version = "of another time"
    replace_file(first, name, model.SerializeToString())
    second = publish_tiny(tmp_path, 2, precision="int8")
    assert (second / name).read_bytes() == (first / name).read_bytes()


def test_a_generator_that_the_live_version_has_need_not_be_measured_again(tmp_path: Path) -> None:
    def measured(tasks: int, **how: bool) -> int:
        lines: list[str] = []
        publish_tiny(tmp_path, tasks, precision="int8-weights", say=lines.append, **how)
        return sum("label fidelity of dreams" in line for line in lines)

    assert measured(1, measured=True) == 1  # there is no live version yet
    assert measured(2, measured=True) == 1  # the new one
    assert measured(3) == 3


def test_a_precision_that_loses_more_than_allowed_is_not_published(tmp_path: Path) -> None:
    publish_tiny(tmp_path, 1)
    lines: list[str] = []
    with pytest.raises(PrecisionLossError) as caught:
        publish_tiny(tmp_path, 2, precision="int8", max_loss=0.0, say=lines.append)
    message = str(caught.value)
    assert "likeness of pixels to fp32's falls from 1.0000 to 0.9" in message
    assert "and 0 is allowed" in message
    assert "\n" not in message
    assert any(line.startswith("classifier.int8.onnx: agreement with fp32 on dreams") for line in lines)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith("v")] == ["v0001"]
    assert EdgeModel.load(tmp_path).version == "v0001"


def test_the_gate_names_the_worst_measure_and_counts_nan_as_a_loss() -> None:
    fine, bad = gate.Measure("a.onnx", "accuracy", 0.9, 0.8951), gate.Measure("b.onnx", "fidelity", 0.9, 0.8)
    gate.require([fine, gate.Measure("a.onnx", "accuracy", 0.9, 0.95)], 0.005)
    with pytest.raises(PrecisionLossError, match=r"b\.onnx is not published: fidelity falls .* by 0\.1000, and 0\.002"):
        gate.require([fine, bad], 0.002)
    with pytest.raises(PrecisionLossError, match=r"a\.onnx is not published"):
        gate.require([gate.Measure("a.onnx", "accuracy", 0.9, float("nan"))], 1.0)


def test_the_gate_measures_what_the_graphs_answer() -> None:
    heads = [head_name(name) for name in NAMES[:2]]
    graphs = [Graph(classifier_graph(tiny_net(2, seed=seed), NAMES[:2]), "classifier.onnx") for seed in (0, 1)]
    rng = np.random.default_rng(0)
    samples = [Labelled(pixels(60, seed=task), rng.integers(0, width, 60)) for task, width in enumerate((2, 3))]
    known, unknown, same = gate.classifier_measures("c.onnx", *graphs, heads, samples, "noise")
    rows = []
    for graph in graphs:
        own, every = [], []
        for task, sample in enumerate(samples):
            logits = graph.run(heads, {"image": sample.pixels})
            own.append(logits[task].argmax(1) == sample.class_id)
            every.append(np.concatenate(logits, 1).argmax(1))
        labels = [sample.class_id + start for sample, start in zip(samples, (0, 2), strict=True)]
        rows.append((np.mean(own), np.mean(np.equal(every, labels)), every))
    assert (known.fp32, known.recipe) == pytest.approx((rows[0][0], rows[1][0]))
    assert (unknown.fp32, unknown.recipe) == pytest.approx((rows[0][1], rows[1][1]))
    assert (same.fp32, same.recipe) == pytest.approx((1.0, np.mean(np.equal(rows[0][2], rows[1][2]))))
    assert known.fp32 != known.recipe


def test_another_generator_is_unlike_and_less_faithful_to_the_gate() -> None:
    classifier = Graph(classifier_graph(tiny_net(1), NAMES[:1]), "classifier.onnx")
    same, other = (Graph(generator_graph(tiny_generator(2, seed=seed)), "g.onnx") for seed in (0, 1))
    fidelity, likeness = gate.generator_measures("g.onnx", same, same, classifier, 0, 2, per_class=50)
    assert (fidelity.loss, likeness.recipe) == (0, 1)
    fidelity, likeness = gate.generator_measures("g.onnx", same, other, classifier, 0, 2, per_class=50)
    assert likeness.recipe < 0.95


def test_real_images_are_part_of_the_gate(tmp_path: Path) -> None:
    real = [Labelled(pixels(30), np.arange(30) % 2)]
    lines: list[str] = []
    arguments = {"net": tiny_net(1), "generators": tiny_generators(1), "tasks": TASKS[:1], "mean": [0.5], "std": [0.5]}
    publish(tmp_path, **arguments, sequence=1, precision="int8", real=real, say=lines.append)
    assert any("accuracy on real images, task unknown" in line for line in lines)
    assert any("holds" in line and line.endswith("on real images") for line in lines)
