"""The device's commands, run as a user runs them."""

import json
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mygo_edge.bundle.pictures import images_as_file, read_images
from mygo_edge.data.folder import load_folder
from mygo_edge.device.edge_model import EdgeModel
from mygo_edge.options import FolderOptions


def run(module: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", f"mygo_edge.{module}", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def refused(done: subprocess.CompletedProcess[str], words: str) -> None:
    """Status 2, nothing on standard output, and one line on standard error that has these words."""
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.count("\n") == 1, done.stderr
    assert done.stderr.startswith("error: ")
    assert words in done.stderr


@pytest.fixture
def picture(tmp_path: Path, model: EdgeModel) -> Path:
    """A dream as a picture of the model's own size."""
    path = tmp_path / "a.png"
    Image.fromarray(model.dream("size", 1).images[0, 0]).save(path)
    return path


def test_predict_prints_a_line_an_image(bundle: Path, model: EdgeModel, picture: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "two.npy", model.dream("size", n=2).images)
    done = run("predict", bundle, picture, tmp_path / "two.npy", "--task", "size")
    assert (done.returncode, done.stderr) == (0, "")
    lines = done.stdout.splitlines()
    label = model.predict(np.asarray(Image.open(picture)), "size")[0]
    assert lines[0].startswith(f"{picture}: {label}  (task size, ")
    assert [line.split(":")[0] for line in lines[1:]] == [f"{tmp_path}/two.npy[0]", f"{tmp_path}/two.npy[1]"]


def test_predict_prints_json_for_programs(bundle: Path, model: EdgeModel, picture: Path) -> None:
    done = run("predict", bundle, picture, "--json")
    (found,) = json.loads(done.stdout)
    probabilities = model.predict_proba(np.asarray(Image.open(picture)))[0]
    task, label = model.labels()[int(probabilities.argmax())]
    assert (found["image"], found["task"], found["class"]) == (str(picture), task, label)
    assert found["probability"] == pytest.approx(float(probabilities.max()), abs=1e-6)


def test_dream_writes_the_dreams_of_the_model(bundle: Path, model: EdgeModel, tmp_path: Path) -> None:
    done = run("dream", bundle, "--task", "size", "--class-id", 1, "-n", 5, "--seed", 3, "--to", tmp_path / "d.npy")
    assert (done.returncode, done.stderr) == (0, "")
    np.testing.assert_array_equal(np.load(tmp_path / "d.npy"), model.dream("size", 1, 5, 3).images)
    assert [path.name for path in tmp_path.iterdir()] == ["d.npy"]


def test_dream_writes_a_picture_that_can_be_seen(bundle: Path, tmp_path: Path) -> None:
    done = run("dream", bundle, "--task", "size", "--class", "large", "--to", tmp_path / "d.png")
    assert (done.returncode, done.stderr) == (0, "")
    with Image.open(tmp_path / "d.png") as grid:
        assert (grid.size, grid.mode) == ((4 * 66 + 2, 4 * 66 + 2), "L")


def test_help_explains_and_ends_well() -> None:
    for module in ("predict", "dream"):
        done = run(module, "--help")
        assert done.returncode == 0
        assert "--task" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ((), "the following arguments are required: bundle, images (see python -m mygo_edge.predict --help)"),
        (("{bundle}", "missing.png"), "missing.png is no file"),
        (("{bundle}", "{bundle}/current"), "current cannot be read as an image"),
        (("{bundle}/v0002", "{picture}"), "v0002/current is missing"),
        (("{bundle}", "{picture}", "--task", "colour"), "the tasks of v0002 are parity, size"),
        (("{bundle}", "{picture}", "--colour"), "unrecognized arguments: --colour"),
    ],
)
def test_predict_says_in_one_line_what_is_wrong(
    bundle: Path, picture: Path, arguments: tuple[str, ...], words: str
) -> None:
    refused(run("predict", *(text.format(bundle=bundle, picture=picture) for text in arguments)), words)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--to", "d.npy"), "required: --task"),
        (("--task", "colour", "--to", "d.npy"), "the tasks of v0002 are parity, size"),
        (("--task", "size", "--class-id", "9", "--to", "d.npy"), "the classes of task size are 0 (small)"),
        (("--task", "size", "--class-id", "1", "--class", "large", "--to", "d.npy"), "not allowed with"),
        (("--task", "size", "-n", "0", "--to", "d.npy"), "n must be at least 1"),
        (("--task", "size", "-n", "4000000000", "--to", "d.npy"), "MYGO_EDGE_MEMORY_MIB sets"),
        (("--task", "size", "-n", "many", "--to", "d.npy"), "invalid int value: 'many'"),
        (("--task", "size", "--to", "d.gif"), "d.gif must end in .png or .npy"),
        (("--task", "size", "--to", "nowhere/d.png"), "nowhere is no folder"),
        (("--task", "size", "-n", "100000", "--to", "d.png"), "write an .npy file"),
    ],
)
def test_dream_says_in_one_line_what_is_wrong(
    bundle: Path, tmp_path: Path, arguments: tuple[str, ...], words: str
) -> None:
    *rest, to = arguments
    refused(run("dream", bundle, *rest, tmp_path / to), words)
    assert not list(tmp_path.iterdir())


def test_a_damaged_bundle_is_refused_by_the_commands_too(own_bundle: Path, picture: Path) -> None:
    (own_bundle / "v0002" / "classifier.onnx").write_bytes(b"")
    refused(run("predict", own_bundle, picture), "classifier.onnx has 0 bytes")


def test_without_pillow_a_picture_asks_for_it(tmp_path: Path, picture: Path, bundle: Path) -> None:
    (tmp_path / "PIL.py").write_text("raise ImportError('not here')")
    program = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r});"
        "from mygo_edge.errors import run_command; from mygo_edge.predict import main;"
        f"run_command(lambda: main([{str(bundle)!r}, {str(picture)!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    refused(done, "pip install 'mygo_edge[images]'")


def bomb() -> bytes:
    """A PNG of a few hundred bytes that claims 30,000 by 30,000 pixels."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 30000, 30000, 8, 0, 0, 0, 0)
    return (
        b"\x89PNG\r\n\x1a\n"
        + chunk(b"IHDR", header)
        + chunk(b"IDAT", zlib.compress(bytes(10**5)))
        + chunk(b"IEND", b"")
    )


def test_a_picture_that_would_fill_the_memory_is_refused_by_name(bundle: Path, tmp_path: Path) -> None:
    (tmp_path / "bomb.png").write_bytes(bomb())
    refused(run("predict", bundle, tmp_path / "bomb.png"), "bomb.png has more than 16777216 pixels")


def test_a_truncated_picture_is_refused_by_name(bundle: Path, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64), dtype=np.uint8)
    Image.fromarray(noise).save(tmp_path / "whole.png")
    (tmp_path / "half.png").write_bytes((tmp_path / "whole.png").read_bytes()[:2000])
    refused(run("predict", bundle, tmp_path / "half.png"), "half.png cannot be read as an image")


def test_an_array_of_objects_or_of_another_shape_is_refused_by_name(bundle: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "objects.npy", np.array([{}]), allow_pickle=True)
    refused(run("predict", bundle, tmp_path / "objects.npy"), "objects.npy cannot be read")
    np.save(tmp_path / "wide.npy", np.zeros((3, 9), np.uint8))
    refused(run("predict", bundle, tmp_path / "wide.npy"), "wide.npy: expected uint8")


def test_pictures_are_converted_and_stretched_to_the_model(tmp_path: Path) -> None:
    grey = np.linspace(0, 255, 64).astype(np.uint8).repeat(64).reshape(64, 64)  # dark above, light below
    Image.fromarray(grey).convert("RGB").save(tmp_path / "colour.png")
    Image.fromarray(grey.astype(np.uint16) * 257).save(tmp_path / "deep.png")  # 16 bits
    Image.fromarray(grey).convert("P").save(tmp_path / "palette.png")
    images = [read_images(tmp_path / f"{name}.png", (1, 8, 8)) for name in ("colour", "deep", "palette")]
    for image in images:
        assert (image.shape, image.dtype) == ((1, 8, 8), np.uint8)
        np.testing.assert_allclose(image, images[0], atol=1)
        assert (np.diff(image[0, :, 0].astype(int)) > 20).all()
    assert read_images(tmp_path / "deep.png", (3, 5, 9)).shape == (3, 5, 9)


def test_a_picture_is_read_as_the_folder_dataset_reads_it(tmp_path: Path) -> None:
    colours = np.random.default_rng(0).integers(0, 256, (30, 20, 3), dtype=np.uint8)
    for label in ("a", "b"):
        (tmp_path / label).mkdir()
        for name in ("x.png", "y.png"):
            Image.fromarray(colours).save(tmp_path / label / name)
    _, (images, _), _ = load_folder(tmp_path, FolderOptions(size=8))
    np.testing.assert_array_equal(read_images(tmp_path / "a" / "x.png", (3, 8, 8)), images[0].numpy())


def test_a_picture_is_turned_as_its_camera_says(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # Orientation: turn by 90 degrees
    left = np.zeros((16, 16), np.uint8)
    left[:, :8] = 255
    Image.fromarray(left).save(tmp_path / "b.png", exif=exif)
    turned = read_images(tmp_path / "b.png", (1, 2, 2))[0]
    np.testing.assert_array_equal(turned, [[255, 255], [0, 0]])


def test_a_grid_shows_every_dream_in_its_place(tmp_path: Path) -> None:
    images = np.arange(5, dtype=np.uint8)[:, None, None, None] * np.full((1, 3, 32, 16), 40, np.uint8)
    (tmp_path / "d.png").write_bytes(images_as_file(images, tmp_path / "d.png"))
    with Image.open(tmp_path / "d.png") as opened:
        grid = np.asarray(opened)
    assert grid.shape == (2 * (32 * 4 + 2) + 2, 3 * (16 * 4 + 2) + 2, 3)
    assert [int(grid[2 + 130 * (i // 3), 2 + 66 * (i % 3), 0]) for i in range(6)] == [0, 40, 80, 120, 160, 255]
