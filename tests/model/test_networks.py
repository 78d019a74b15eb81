import pytest
import torch
import torch.nn.functional as F
from torch.nn.utils.parametrizations import spectral_norm

from mygo_edge.domains.pixels import network
from mygo_edge.model.gan import Discriminator, Generator, ImageConvolution, SpectralLinear
from mygo_edge.model.upsampling import upsample

SHAPES = [(1, 8, 8), (1, 28, 28), (3, 32, 32), (3, 64, 48), (1, 13, 21)]


@pytest.mark.parametrize("shape", SHAPES)
def test_the_network_is_sized_from_the_image(shape):
    net = network(shape)
    for classes in (2, 5, 3):
        net.add_task_head(classes)
    assert net.features(torch.zeros(4, *shape)).shape == (4, 256)
    assert net(torch.zeros(4, *shape)).shape == (4, 10)
    assert net.widths == [2, 5, 3]


def test_heads_stand_side_by_side_in_task_order():
    net = network((1, 8, 8))
    net.add_task_head(2), net.add_task_head(3)
    features = torch.randn(6, 256)
    expected = torch.cat([head(features) for head in net.classifiers], 1)
    torch.testing.assert_close(net.logits(features), expected)


@pytest.mark.parametrize("kind", ["convolutional", "perceptron"])
@pytest.mark.parametrize("shape", SHAPES)
def test_generator_and_discriminator_fit_the_image_exactly(shape, kind):
    images = Generator(shape, 3, kind=kind)(torch.randn(5, 64), torch.tensor([0, 1, 2, 0, 1]))
    assert images.shape == (5, *shape)
    assert Discriminator(shape, 3)(images, torch.zeros(5, dtype=torch.long)).shape == (5,)


@pytest.mark.parametrize("kind", ["convolutional", "perceptron"])
@pytest.mark.parametrize("shape", SHAPES)
def test_a_frozen_generator_is_the_same_function(shape, kind):
    torch.manual_seed(0)
    generator = Generator(shape, 3, kind=kind)
    for _ in range(5):
        generator(torch.randn(32, 64), torch.randint(3, (32,)))
    for norm in generator.norms:
        torch.nn.init.uniform_(norm.weight, 0.5, 1.5)
        torch.nn.init.normal_(norm.bias)
    generator.eval()
    z, class_ids = torch.randn(17, 64), torch.randint(3, (17,))
    torch.testing.assert_close(generator.freeze()(z, class_ids), generator(z, class_ids), atol=2e-5, rtol=0)


def test_a_generator_for_28_by_28_grey_images_stays_below_64_kilobytes_at_one_byte_a_weight():
    frozen = Generator((1, 28, 28), 2).eval().freeze()
    assert sum(tensor.numel() for tensor in frozen.state_dict().values()) <= 64 * 1024


@pytest.mark.parametrize(("channels", "kernel"), [(1, (4, 4)), (1, (3, 4)), (3, (4, 3)), (5, (3, 3))])
@pytest.mark.parametrize("learning", [False, True])
def test_upsampling_is_a_transposed_convolution_and_so_is_its_gradient(
    channels: int, kernel: tuple[int, int], learning: bool
) -> None:
    torch.manual_seed(0)
    maps = torch.randn(6, 8, 5, 4).requires_grad_(learning)
    weight, bias = torch.randn(8, channels, *kernel).requires_grad_(learning), torch.randn(channels)
    expected = F.conv_transpose2d(maps, weight, bias, stride=2, padding=1)
    found = upsample("convolutional", maps, weight, bias)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    if learning:
        direction = torch.randn_like(expected)
        inputs = (maps, weight)
        torch.testing.assert_close(
            torch.autograd.grad(found, inputs, direction),
            torch.autograd.grad(expected, inputs, direction),
            rtol=1e-4,
            atol=1e-4,
        )


@pytest.mark.parametrize("size", [(28, 28), (9, 8)])
def test_the_critics_first_layer_is_a_convolution_with_and_without_a_gradient_for_images(size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    layer = ImageConvolution(1, 4, 4, 2, 1)
    images = torch.randn(3, 1, *size)
    expected = F.conv2d(images, layer.weight, layer.bias, stride=2, padding=1)
    torch.testing.assert_close(layer(images), expected)
    images.requires_grad_()
    found, expected = layer(images), F.conv2d(images, layer.weight, layer.bias, stride=2, padding=1)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)
    gradients = [torch.autograd.grad(maps.square().sum(), (images, layer.weight)) for maps in (found, expected)]
    torch.testing.assert_close(gradients[0], gradients[1], rtol=1e-4, atol=1e-4)


def test_a_spectral_linear_layer_is_a_spectrally_normalised_one():
    torch.manual_seed(0)
    ours = SpectralLinear(40, 24)
    theirs = spectral_norm(torch.nn.Linear(40, 24))
    with torch.no_grad():
        theirs.parametrizations.weight.original.copy_(ours.weight)
        theirs.bias.copy_(ours.bias)
        theirs.parametrizations.weight[0]._u.copy_(ours.left)
        theirs.parametrizations.weight[0]._v.copy_(ours.right)
    for training in (True, True, False):
        ours.train(training), theirs.train(training)
        values, towards = torch.randn(16, 40), torch.randn(16, 24)
        results = []
        for layer, weight in ((ours, ours.weight), (theirs, theirs.parametrizations.weight.original)):
            given = values.clone().requires_grad_(True)
            made = layer(given)
            results.append((made, *torch.autograd.grad((made * towards).sum(), (given, weight, layer.bias))))
        for our, their in zip(*results, strict=True):
            torch.testing.assert_close(our, their, atol=1e-5, rtol=1e-5)


def test_gradients_through_a_spectral_linear_layer_wait_for_later_passes():
    torch.manual_seed(0)
    layer, values = SpectralLinear(12, 6), torch.randn(5, 12)
    layer(values).square().sum().backward()
    expected = layer.weight.grad.clone()
    torch.manual_seed(0)
    again = SpectralLinear(12, 6)
    loss = again(values).square().sum()
    again(values)  # moves the singular vectors
    loss.backward()
    torch.testing.assert_close(again.weight.grad, expected)
