"""The network of a device is the learner's, with less arithmetic."""

import numpy as np
import pytest
import torch
from torch import nn

from mygo_edge.domains.pixels import network
from mygo_edge.errors import MygoEdgeError
from mygo_edge.export.checks import check_classifier, scaled
from mygo_edge.export.errors import GraphError
from mygo_edge.export.folding import DeviceNet, device_features, split
from mygo_edge.export.graphs import classifier_graph
from mygo_edge.export.stages import ClassifierSource
from tests.bundles import TASKS, tiny_net

NAMES = [name for name, _ in TASKS]


@pytest.mark.parametrize("shape", [(1, 8, 8), (1, 28, 28), (3, 32, 32), (3, 9, 13)])
def test_folding_changes_nothing_but_the_last_bits(shape: tuple[int, int, int]) -> None:
    net, mean, std = tiny_net(3, shape), [0.3] * shape[0], [0.2] * shape[0]
    pixels = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (50, *shape), dtype=np.uint8))
    device = DeviceNet(net, mean, std)
    logits, features = device.look(pixels)
    assert features.shape == (50, device.width)
    with torch.no_grad():
        images = scaled(pixels, mean, std)
        torch.testing.assert_close(features, device_features(net)(images), rtol=1e-5, atol=1e-5)
        torch.testing.assert_close(logits, net(images), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("classes", [2, 300])
def test_heads_of_many_classes_fold_too(classes: int) -> None:
    net = network((1, 8, 8))
    net.add_task_head(classes)
    check_classifier(classifier_graph(net, ["many"]), net, ["many"])


def test_features_of_a_device_are_averages_of_maps_that_are_large() -> None:
    assert DeviceNet(tiny_net(1, (1, 28, 28)), [0.5], [0.5]).width == 32 * 3 * 3
    assert DeviceNet(tiny_net(1, (1, 8, 8)), [0.5], [0.5]).width == 32 * 2 * 2


def test_rectifying_before_pooling_gives_the_very_same_maps() -> None:
    net = tiny_net(1, (1, 28, 28))
    kinds = [type(layer) for layer in net.features[:-2]]
    assert kinds == [nn.Conv2d, nn.MaxPool2d, nn.ReLU] * 2
    maps, _ = split(net)
    assert [type(layer) for layer in maps] == [nn.Conv2d, nn.ReLU, nn.MaxPool2d] * 2
    images = torch.randn(20, 1, 28, 28, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        assert torch.equal(maps(images), net.features[:-2](images))


def test_folding_leaves_the_network_and_the_random_state_alone() -> None:
    net, state = tiny_net(2), torch.get_rng_state()
    before = {name: value.clone() for name, value in net.state_dict().items()}
    DeviceNet(net, [0.5], [0.5])
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(value, before[name]) for name, value in net.state_dict().items())


def test_a_network_that_begins_otherwise_is_refused_by_name() -> None:
    net = tiny_net(1)
    net.features.insert(0, nn.ReLU())
    with pytest.raises(MygoEdgeError, match=r"features\.0 is ReLU.*must be a convolution"):
        DeviceNet(net, [0.5], [0.5])


def test_a_wrong_fold_is_found_before_anything_is_published() -> None:
    source = ClassifierSource("classifier.onnx", tiny_net(3), NAMES, [0.5], [0.5])
    source.network.logits.bias[1] += 0.01
    with pytest.raises(GraphError, match=r"classifier\.onnx: logits_parity differs by 0\.01"):
        source.build()
