"""Pictures of any kind in bounded memory, and as they always were."""

import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image, ImageOps

from mygo_edge.bundle.decoding import DEFAULT_MAX_PIXELS, open_picture, upright
from mygo_edge.bundle.pictures import read_picture
from mygo_edge.errors import MygoEdgeError

SIDE = 4096  # squared, the most pixels that are allowed
MEBIBYTES = 300

# Reads a picture and prints how far resident memory rose above what imports and a first small picture had taken.
READ = """
import sys
from pathlib import Path
from mygo_edge.bundle.pictures import read_picture
from mygo_edge.errors import MygoEdgeError

def peak():
    return int(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])

for small in sys.argv[2:]:
    read_picture(Path(small), (3, 28, 28))
Path("/proc/self/clear_refs").write_text("5")
before = peak()
try:
    read_picture(Path(sys.argv[1]), (3, 28, 28))
    said = "read"
except MygoEdgeError as error:
    said = str(error)
print((peak() - before) // 1024, said)
"""


def grey() -> np.ndarray:
    pixels = np.zeros((SIDE, SIDE), np.uint8)
    pixels[::7] = 200
    return pixels


def colour() -> Image.Image:
    pixels = grey()
    return Image.fromarray(np.stack([pixels, pixels.T, 255 - pixels], -1))


def deep_png(path: Path) -> None:
    Image.fromarray(grey().astype(np.uint16) * 257).save(path)


def float_tiff(path: Path) -> None:
    one_strip = {278: SIDE, 274: 6}  # and turned, which Pillow does while it decodes
    Image.fromarray(grey().astype(np.float32)).save(path, compression="tiff_adobe_deflate", tiffinfo=one_strip)


def rgba_png(path: Path) -> None:
    Image.fromarray(np.dstack([np.asarray(colour()), grey()])).save(path, compress_level=1)


def palette_png(path: Path) -> None:
    Image.fromarray(grey()).quantize(16).save(path)


def cmyk_progressive_jpeg(path: Path) -> None:
    black = np.zeros((2 * SIDE - 6, SIDE - 6, 4), np.uint8)  # of twice as many pixels as are decoded
    Image.fromarray(black, "CMYK").save(path, progressive=True)


def animated_webp(path: Path) -> None:
    frames = [colour(), ImageOps.invert(colour())]
    frames[0].save(path, save_all=True, append_images=frames[1:], quality=1, method=0)


def animated_gif(path: Path) -> None:
    Image.fromarray(grey()).save(path, save_all=True, append_images=[Image.fromarray(255 - grey())])


def large_jpeg(path: Path) -> None:
    Image.fromarray(np.zeros((13000, 13000), np.uint8)).save(path)  # 169 megapixels, decoded at an eighth


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """A small picture of every format, to load the decoders."""
    folder = tmp_path_factory.mktemp("small")
    paths = [str(folder / f"x.{suffix}") for suffix in ("png", "jpg", "tif", "webp", "gif")]
    for path in paths:
        Image.new("RGB", (32, 32)).save(path)
    return paths


def read_apart(path: Path, small: list[str]) -> tuple[int, str]:
    """MiB that reading a picture takes at its peak, and what came of it."""
    done = subprocess.run([sys.executable, "-c", READ, path, *small], capture_output=True, text=True, check=True)
    taken, said = done.stdout.split(" ", 1)
    return int(taken), said.strip()


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize(
    "make",
    [deep_png, float_tiff, rgba_png, palette_png, cmyk_progressive_jpeg, animated_webp, animated_gif, large_jpeg],
)
def test_the_largest_picture_of_any_kind_stays_within_the_memory(
    make: Callable[[Path], None], tmp_path: Path, small: list[str]
) -> None:
    suffix = {"tiff": "tif", "jpeg": "jpg"}
    path = tmp_path / f"large.{suffix.get(make.__name__.split('_')[-1], make.__name__.split('_')[-1])}"
    make(path)
    taken, said = read_apart(path, small)
    assert said == "read"
    assert taken <= MEBIBYTES


def tiff_with_a_tile(side: int) -> bytes:
    """64 x 64 grey pixels in one tile of that side."""
    data = zlib.compress(bytes(1000))
    tags = [(256, 4, 64), (257, 4, 64), (258, 3, 8), (259, 3, 8), (262, 3, 1), (277, 3, 1), (322, 4, side)]
    tags += [(323, 4, side), (324, 4, 8), (325, 4, len(data))]
    entries = b"".join(struct.pack("<HHII", tag, kind, 1, value) for tag, kind, value in tags)
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + struct.pack("<H", len(tags)) + entries + bytes(4)


def deep_bomb(path: Path) -> None:
    Image.fromarray(np.zeros((9400, 9400), np.uint16)).save(path)


def tile_bomb(path: Path) -> None:
    path.write_bytes(tiff_with_a_tile(2**15))


def long_row(path: Path) -> None:
    Image.new("L", (2**20, 2)).save(path)


def many_rows(path: Path) -> None:
    Image.new("L", (1, 2**20)).save(path)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
@pytest.mark.parametrize("make", [deep_bomb, tile_bomb, long_row, many_rows])
def test_a_small_file_that_would_take_more_is_refused_before_it_is_decoded(
    make: Callable[[Path], None], tmp_path: Path, small: list[str]
) -> None:
    path = tmp_path / ("x.tif" if make is tile_bomb else "x.png")
    make(path)
    assert path.stat().st_size < 200_000
    taken, said = read_apart(path, small)
    assert f"more than {DEFAULT_MAX_PIXELS} pixels, or a side of more than" in said
    assert taken < 20


def whole(path: Path, shape: tuple[int, int, int]) -> np.ndarray:
    """Converted and resized at once, as a reader without limits would."""
    with Image.open(path) as picture:
        turned = ImageOps.exif_transpose(picture)
        if turned.mode.startswith(("I", "F")):
            values = np.asarray(turned, np.float64)
            top = 65535.0 if turned.mode.startswith("I") else max(1.0, values.max())
            turned = Image.fromarray(np.clip(values / top * 255, 0, 255).astype(np.uint8))
        if turned.mode in ("RGBA", "LA") or "transparency" in turned.info:
            clear = turned.convert("RGBA")
            turned = Image.alpha_composite(Image.new("RGBA", clear.size, "white"), clear).convert("RGB")
        small = turned.convert("L" if shape[0] == 1 else "RGB").resize(shape[:0:-1], Image.Resampling.BOX)
    pixels = np.asarray(small)
    return pixels[None] if shape[0] == 1 else pixels.transpose(2, 0, 1)


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 40, 17)])
@pytest.mark.parametrize("kind", ["RGB", "RGBA", "L", "CMYK", "P", "I;16", "F", "1", "LA"])
def test_strip_by_strip_gives_the_same_bits_as_all_at_once(
    tmp_path: Path, kind: str, shape: tuple[int, int, int]
) -> None:
    rng = np.random.default_rng(0)
    if kind == "I;16":
        picture = Image.fromarray(rng.integers(0, 2**16, (700, 801), dtype=np.uint16))
    elif kind == "F":
        picture = Image.fromarray(rng.normal(3, 5, (700, 801)).astype(np.float32))
    else:
        picture = Image.fromarray(rng.integers(0, 256, (700, 801, 3), dtype=np.uint8)).convert(kind)
    if kind.endswith("A"):
        picture.putalpha(Image.fromarray(rng.integers(0, 256, (700, 801), dtype=np.uint8)))
    path = tmp_path / ("x.tif" if kind in ("CMYK", "F") else "x.png")
    picture.save(path)
    assert np.array_equal(read_picture(path, shape), whole(path, shape))


@pytest.mark.parametrize("kind", ["LA", "RGBA", "P", "L"])
def test_what_is_transparent_lies_on_white_whatever_colour_it_would_have(tmp_path: Path, kind: str) -> None:
    left = np.zeros((60, 80), bool)
    left[:, :40] = True
    if kind.endswith("A"):  # black all over, seen on the left alone
        picture = Image.new(kind, (80, 60), 0)
        picture.putalpha(Image.fromarray(left.astype(np.uint8) * 255))
        picture.save(tmp_path / "x.png")
    else:  # one of two colours is nothing
        Image.fromarray((~left).astype(np.uint8)).convert(kind).save(tmp_path / "x.png", transparency=1)
    for shape in ((1, 6, 8), (3, 6, 8)):
        found = read_picture(tmp_path / "x.png", shape)
        assert (found[..., :4] < 2).all()
        assert (found[..., 4:] == 255).all()
    with open_picture(tmp_path / "x.png", 8) as opened:
        assert np.array_equal(np.asarray(upright(opened))[0, :, 0] > 127, ~left[0])


@pytest.mark.parametrize("orientation", range(1, 9))
def test_a_picture_is_turned_as_its_camera_says(tmp_path: Path, orientation: int) -> None:
    pixels = np.zeros((60, 80), np.uint8)
    pixels[:30, :40], pixels[30:, :40] = 80, 160
    exif = Image.Exif()
    exif[0x0112] = orientation
    for name in ("x.jpg", "x.tif"):
        Image.fromarray(pixels).save(tmp_path / name, exif=exif, **({"quality": 100} if name == "x.jpg" else {}))
        found, expected = read_picture(tmp_path / name, (1, 4, 6)), whole(tmp_path / name, (1, 4, 6))
        assert np.abs(found.astype(int) - expected).max() <= 1, name  # across and down change places


def test_a_jpeg_decoded_at_a_reduced_size_looks_the_same(tmp_path: Path) -> None:
    smooth = np.linspace(0, 255, 2400)[:, None] * np.linspace(0.3, 1, 2000)[None]
    Image.fromarray(smooth.astype(np.uint8)).save(tmp_path / "x.jpg", quality=95)
    found, expected = read_picture(tmp_path / "x.jpg", (1, 28, 28)), whole(tmp_path / "x.jpg", (1, 28, 28))
    assert np.abs(found.astype(int) - expected).max() <= 2


def test_the_limit_can_be_set(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Image.new("L", (100, 100)).save(tmp_path / "x.png")
    monkeypatch.setenv("MYGO_EDGE_MAX_PIXELS", "9999")
    with pytest.raises(MygoEdgeError, match=r"x\.png has more than 9999 pixels"):
        read_picture(tmp_path / "x.png", (1, 28, 28))
    monkeypatch.setenv("MYGO_EDGE_MAX_PIXELS", "10000")
    assert read_picture(tmp_path / "x.png", (1, 28, 28)).shape == (1, 28, 28)
    monkeypatch.setenv("MYGO_EDGE_MAX_PIXELS", "many")
    with pytest.raises(MygoEdgeError, match="must be a number of pixels, not 'many'"):
        read_picture(tmp_path / "x.png", (1, 28, 28))
