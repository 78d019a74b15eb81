"""Pictures into a trunk's input."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mygo_edge.bundle.vision import Preparation, from_pixels, graph_input, prepare, read_photo
from mygo_edge.errors import MygoEdgeError

FORM = Preparation((32, 32), 32, "bicubic", (0.5, 0.4, 0.3), (0.2, 0.25, 0.5))


def gradient(width: int, height: int) -> Image.Image:
    """Red grows to the right, green downwards."""
    red, green = np.meshgrid(np.linspace(0, 255, width), np.linspace(0, 255, height))
    return Image.fromarray(np.stack([red, green, np.full_like(red, 99)], -1).astype(np.uint8))


@pytest.mark.parametrize("size", [(320, 200), (200, 320), (8, 9), (1, 50), (32, 32)])
def test_any_size_becomes_the_trunks(size: tuple[int, int]) -> None:
    for resize in (32, 40, None):
        assert prepare(gradient(*size), replace(FORM, resize=resize)).shape == (32, 32, 3)


def test_the_middle_is_cut_and_proportions_stay() -> None:
    cut = prepare(gradient(320, 160), FORM).astype(int)
    assert abs(cut[:, 0, 0].mean() - 64) < 8  # a quarter of the way to the right
    assert abs(cut[:, -1, 0].mean() - 191) < 8
    assert cut[0, :, 1].mean() < 10
    assert cut[-1, :, 1].mean() > 245


def test_without_resize_the_whole_picture_is_stretched() -> None:
    whole = prepare(gradient(320, 160), replace(FORM, resize=None)).astype(int)
    assert whole[:, 0, 0].mean() < 10
    assert whole[:, -1, 0].mean() > 245


def test_a_larger_resize_leaves_a_margin_out() -> None:
    inner = prepare(gradient(160, 160), replace(FORM, resize=64)).astype(int)
    assert abs(inner[:, 0, 0].mean() - 64) < 8


def test_a_picture_is_turned_as_its_exif_says(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the top is at the right
    gradient(64, 64).save(tmp_path / "a.jpg", exif=exif, quality=98)
    turned = read_photo(tmp_path / "a.jpg", FORM).astype(int)
    assert turned[:, 0, 1].mean() > 245  # what was below is at the left
    assert turned[:, -1, 1].mean() < 10
    assert turned[0, :, 0].mean() < 10  # what was at the left is above


def test_a_large_jpeg_is_decoded_small_with_nearly_the_same_result(tmp_path: Path) -> None:
    path = tmp_path / "a.jpg"
    gradient(2600, 2000).save(path, quality=95)
    with Image.open(path) as opened:
        opened.load()
        slowly = prepare(opened, FORM).astype(int)
    assert np.abs(read_photo(path, FORM).astype(int) - slowly).mean() < 1


@pytest.mark.parametrize("mode", ["L", "LA", "P", "RGBA", "CMYK", "1", "I;16"])
def test_every_kind_of_picture_becomes_rgb(mode: str) -> None:
    picture = Image.new("I;16", (40, 40), 30000) if mode == "I;16" else gradient(40, 40).convert(mode)
    assert prepare(picture, FORM).shape == (32, 32, 3)


def test_pixels_in_memory_are_prepared_like_files(tmp_path: Path) -> None:
    gradient(50, 40).save(tmp_path / "a.png")
    pixels = np.asarray(gradient(50, 40)).transpose(2, 0, 1)[None]
    assert np.array_equal(from_pixels(pixels, FORM)[0], read_photo(tmp_path / "a.png", FORM))
    assert from_pixels(np.zeros((2, 1, 28, 28), np.uint8), FORM).shape == (2, 32, 32, 3)
    assert from_pixels(np.zeros((0, 3, 28, 28), np.uint8), FORM).shape == (0, 32, 32, 3)


def test_graphs_of_floats_get_scaled_pixels_and_others_raw_ones() -> None:
    pictures = np.random.default_rng(0).integers(0, 256, (2, 32, 32, 3), dtype=np.uint8)
    assert np.array_equal(graph_input(pictures, FORM, floats=False), pictures.transpose(0, 3, 1, 2))
    expected = (pictures / 255 - np.array(FORM.mean)) / np.array(FORM.std)
    assert np.allclose(graph_input(pictures, FORM, True), expected.transpose(0, 3, 1, 2), atol=1e-5)
    assert np.allclose(graph_input(pictures, replace(FORM, layout="NHWC"), True), expected, atol=1e-5)


def test_damaged_and_missing_files_are_named(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"\xff\xd8\xff\xe0 nothing")
    for name in ("a.jpg", "b.jpg"):
        with pytest.raises(MygoEdgeError, match=name.replace(".", r"\.")):
            read_photo(tmp_path / name, FORM)
