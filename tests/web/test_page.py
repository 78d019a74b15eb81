"""The browser is a device: it checks what a device checks, and computes what a device computes."""

import base64
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mygo_edge.bundle.pictures import read_images
from mygo_edge.device.edge_model import EdgeModel
from mygo_edge.sign import main as sign
from tests.damage import edit_manifest
from tests.web.conftest import Open, classified, served, serving, shown, until

GOLDEN = Path(__file__).parent.parent / "kernels" / "golden" / "dreams.json"
NOISE = """async () => {
  const { dreamNoise } = await import("./js/noise.js");
  const which = { classes: 10, latent: 64, seed: 2026n, stream: 3, step: 4 };
  const { z, classIds, decisions } = dreamNoise(0, 1000, which);
  const longs = (words) => new Uint8Array(BigInt64Array.from(words, BigInt).buffer);
  const bytes = await new Blob([z, longs(classIds), longs(decisions)]).arrayBuffer();
  const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes));
  return Array.from(digest, (byte) => byte.toString(16).padStart(2, "0")).join("");
}"""


def threshold(model: EdgeModel) -> float:
    """The novelty that one in twenty of the model's dreams exceeds, as a device takes it."""
    each = -(-2048 // len(model.tasks))
    dreams = [model.dream(task, n=each, stream=2**32 - 2, step=step).images for step, task in enumerate(model.tasks)]
    return float(np.quantile(np.concatenate([-model.logits(images).max(1) for images in dreams]), 0.95))


def dreamt(page: Any, task: str, *, class_id: int | None, n: int, seed: int) -> np.ndarray:
    """The pixels of the dreams that the form gives, [n, height, width]."""
    page.select_option("#dream-task", task)
    page.select_option("#dream-class", "" if class_id is None else str(class_id))
    page.fill("#dream-n", str(n))
    page.fill("#dream-seed", str(seed))
    page.click("#dream-form button")
    until(page, f"document.querySelectorAll('#dreams canvas').length === {n}")
    until(page, f"document.getElementById('command').textContent.includes('--seed {seed} ')")
    pixels = page.eval_on_selector_all(
        "#dreams canvas",
        """tiles => tiles.map(t => Array.from(
            t.getContext("2d").getImageData(0, 0, t.width, t.height).data).filter((_, i) => i % 4 === 0))""",
    )
    return np.array(pixels, np.int16)


def test_the_page_loads_checks_every_file_and_passes_its_selftest(
    page: Any, keep_screenshot: Callable[[Any, str], None]
) -> None:
    checks = page.locator("#checks li").all_text_contents()
    assert checks[0].startswith("Files: 4, ")
    assert checks[1] == "Signature: not checked, the page was made without a key"
    found = [re.fullmatch(r"Self-test: (\S+) computes what was published, off by (\S+)", line) for line in checks[2:]]
    assert {match[1] for match in found if match} == {"classifier.onnx", "generator-parity.onnx", "generator-size.onnx"}
    assert all(match and float(match[2]) < 1e-3 for match in found)
    keep_screenshot(page, "ready")


def test_ten_pictures_are_answered_as_in_python(page: Any, model: EdgeModel, tmp_path: Path) -> None:
    colours = np.random.default_rng(0).integers(0, 256, (10, 20, 30, 3), dtype=np.uint8)
    limit = threshold(model)
    for index, pixels in enumerate(colours):
        path = tmp_path / f"{index}.png"
        size = (30 + 7 * index, 20 + 3 * index)  # odd ratios to the model's 8 x 8
        Image.fromarray(pixels).resize(size).convert("RGB" if index % 2 else "L").save(path)
        answer = classified(page, path)
        expected = model.predict_proba(read_images(path, model.input_shape))[0]
        task, label = model.labels()[int(expected.argmax())]
        assert f"{label} (task {task}, " in answer
        novelty = -model.logits(read_images(path, model.input_shape)).max()
        assert abs(novelty - limit) > 1e-4
        assert answer.startswith("none of these; the nearest is ") == (novelty > limit)
        np.testing.assert_allclose(shown(page), expected, atol=1e-5)


def test_what_is_transparent_lies_on_white_as_in_python(page: Any, model: EdgeModel, tmp_path: Path) -> None:
    picture = Image.new("RGBA", (24, 16))  # black, and nothing of it seen but a corner
    picture.paste((0, 0, 0, 255), (0, 0, 9, 7))
    picture.save(tmp_path / "a.png")
    classified(page, tmp_path / "a.png")
    read = read_images(tmp_path / "a.png", model.input_shape)
    assert read.max() == 255
    np.testing.assert_allclose(shown(page), model.predict_proba(read)[0], atol=1e-5)


def test_a_chosen_task_answers_among_its_own_classes(page: Any, model: EdgeModel, tmp_path: Path) -> None:
    Image.fromarray(model.dream("size", 1).images[0, 0]).save(tmp_path / "a.png")
    page.select_option("#task", "size")
    answer = classified(page, tmp_path / "a.png")
    assert model.predict(tmp_path / "a.png", "size")[0] in answer
    np.testing.assert_allclose(shown(page), model.predict_proba(tmp_path / "a.png", "size")[0], atol=1e-5)


def test_noise_is_equal_to_the_last_bit(page: Any) -> None:
    assert page.evaluate(NOISE) == json.loads(GOLDEN.read_text())["noise_sha256"]


@pytest.mark.parametrize(("class_id", "n", "seed"), [(1, 16, 0), (None, 70, 2**63 + 12345)])
def test_dreams_are_those_of_a_device(page: Any, model: EdgeModel, class_id: int | None, n: int, seed: int) -> None:
    found = dreamt(page, "size", class_id=class_id, n=n, seed=seed)
    expected = model.dream("size", class_id, n, seed)
    assert np.abs(found - expected.images.reshape(n, -1)).max() <= 1  # a last bit may round to the neighbouring level
    labels = page.locator("#dreams button").all_text_contents()
    assert labels == [model.tasks["size"][index] for index in expected.class_ids]


def test_a_pressed_dream_is_classified(page: Any, model: EdgeModel) -> None:
    dreamt(page, "size", class_id=2, n=4, seed=5)
    page.click("#dreams button:nth-child(3)")
    page.wait_for_selector("#bars tr")
    expected = model.predict_proba(model.dream("size", 2, 4, 5).images[2])[0]
    np.testing.assert_allclose(shown(page), expected, atol=0.02)  # a pixel may differ by a level


def test_strokes_are_classified_with_a_pointer_and_with_keys(
    page: Any, keep_screenshot: Callable[[Any, str], None]
) -> None:
    box = page.locator("#pad").bounding_box()
    x, y = box["x"] + box["width"] / 2, box["y"] + box["height"] / 4
    page.mouse.move(x, y)
    page.mouse.down()
    page.mouse.move(x, y + box["height"] / 2, steps=8)
    page.mouse.up()
    page.wait_for_selector("#bars tr")
    assert " (task " in page.text_content("#answer")
    keep_screenshot(page, "drawn")
    page.click("#clear")
    assert page.text_content("#answer") == "Nothing to classify yet."
    assert page.locator("#bars tr").count() == 0
    page.focus("#pad")
    for key in [" ", *["ArrowRight"] * 5, *["ArrowUp"] * 3]:
        page.keyboard.press(key)
    page.wait_for_selector("#bars tr")


def test_the_camera_gives_a_picture(page: Any) -> None:
    page.click("#camera")
    until(page, "document.getElementById('video').videoWidth > 0")
    page.click("#shoot")
    page.wait_for_selector("#bars tr")
    page.click("#camera")
    assert page.is_hidden("#video")
    assert page.is_visible("#pad")


def test_a_task_learnt_in_the_page_is_used_at_once_and_by_devices(
    page: Any, bundle: Path, model: EdgeModel, tmp_path: Path, keep_screenshot: Callable[[Any, str], None]
) -> None:
    rng = np.random.default_rng(0)
    bounds = {"dark": (0, 70), "light – bright": (190, 256)}
    pictures = {
        label: rng.integers(*levels, (6, *model.input_shape), dtype=np.uint8) for label, levels in bounds.items()
    }
    for label, images in pictures.items():
        page.fill("#learn-class", label)
        for index, image in enumerate(images[:5]):
            Image.fromarray(image[0]).save(tmp_path / "example.png")
            classified(page, tmp_path / "example.png")  # of the same name each time
            page.click("#learn-form button")
            page.wait_for_selector(f"#examples li:has-text('{label}: {index + 1}')")
    page.click("#learn")
    page.wait_for_selector("#learn-status:has-text('from 10 pictures')")
    with page.expect_download() as started:
        page.click("#download")
    assert started.value.suggested_filename == "mine.json"
    (tmp_path / "heads").mkdir()
    started.value.save_as(tmp_path / "heads" / "mine.json")
    device = EdgeModel.load(bundle, heads=tmp_path / "heads")
    assert (dict(device.refused_heads), device.tasks["mine"]) == ({}, tuple(bounds))
    for label, images in pictures.items():
        assert device.predict(images[5], "mine") == [label]
        Image.fromarray(images[5, 0]).save(tmp_path / "other.png")
        classified(page, tmp_path / "other.png")
        np.testing.assert_allclose(shown(page), device.predict_proba(images[5])[0], atol=1e-4)
    images = np.concatenate([images[:5] for images in pictures.values()])
    labels = [label for label in bounds for _ in range(5)]
    own = EdgeModel.load(bundle, heads=tmp_path / "none").learn_head("mine", images, labels, store=False)
    learnt = json.loads((tmp_path / "heads" / "mine.json").read_text())
    weight = np.frombuffer(base64.b64decode(learnt["weight"]), "<f4").reshape(own.weight.shape)
    np.testing.assert_allclose(
        weight, own.weight, atol=0.05 * np.abs(own.weight).max()
    )  # by other steps, to one optimum
    keep_screenshot(page, "learnt")


def test_latency_is_measured_on_the_spot(page: Any) -> None:
    page.click("#measure")
    page.wait_for_selector("#latency:not(:empty)")
    assert re.fullmatch(
        r"One image: \d+\.\d{3} ms, the median of 21 groups of 10, one thread\.", page.text_content("#latency")
    )


def test_a_changed_byte_is_refused_before_anything_runs(
    own_bundle: Path, runtime: Path, open_page: Open, tmp_path: Path, keep_screenshot: Callable[[Any, str], None]
) -> None:
    from mygo_edge.web.server import server
    from mygo_edge.web.site import site_files

    files = site_files(own_bundle, runtime)
    name = "bundle/v0002/classifier.onnx"
    files[name] = files[name][:-1] + bytes([files[name][-1] ^ 1])
    with served(server(files, "127.0.0.1", 0)) as address:
        page = open_page(address)
        assert page.get_attribute("html", "data-state") == "refused"
        assert "classifier.onnx does not have the hash in the manifest" in page.text_content("#status")
        assert page.is_hidden("#main")
        keep_screenshot(page, "refused")


def test_wrong_dreams_fail_the_selftest(own_bundle: Path, runtime: Path, open_page: Open) -> None:
    edit_manifest(own_bundle / "v0002", selftest={"tolerance": 1e-30})
    with serving(own_bundle, runtime) as address:
        page = open_page(address)
        assert page.get_attribute("html", "data-state") == "refused"
        assert "fails its self-test" in page.text_content("#status")


def test_a_signature_by_the_pages_key_is_verified_and_another_refused(
    own_bundle: Path, runtime: Path, open_page: Open, tmp_path: Path
) -> None:
    from mygo_edge.web.server import server
    from mygo_edge.web.site import site_files

    sign([str(own_bundle), "--key", str(tmp_path / "owner"), "--new-key"])
    sign([str(own_bundle), "--key", str(tmp_path / "owner")])
    files = site_files(own_bundle, runtime, tmp_path / "owner.pub")
    with served(server(files, "127.0.0.1", 0)) as address:
        page = open_page(address)
        assert page.get_attribute("html", "data-state") == "ready", page.text_content("#status")
        assert page.locator("#checks li").nth(1).text_content() == "Signature: made by the owner of the page's key"
    signature = files["bundle/v0002/manifest.sig"]
    files["bundle/v0002/manifest.sig"] = bytes([signature[0] ^ 1]) + signature[1:]
    with served(server(files, "127.0.0.1", 0)) as address:
        page = open_page(address)
        assert "not what the owner of the page's key signed" in page.text_content("#status")


def test_everything_has_a_name_and_nothing_is_wider_than_a_phone(
    open_page: Open, address: str, keep_screenshot: Callable[[Any, str], None]
) -> None:
    page = open_page(address, width=360, dark=True)
    dreamt(page, "size", class_id=None, n=16, seed=0)
    page.click("#dreams button:nth-child(3)")
    page.wait_for_selector("#bars tr")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    nameless = page.eval_on_selector_all(
        "button, input, select, a, canvas[role=img]",
        "all => all.filter(e => !(e.textContent.trim() || e.ariaLabel || e.labels?.length)).map(e => e.outerHTML)",
    )
    assert nameless == []
    keep_screenshot(page, "phone-dark")


def test_the_next_schema_is_read_and_an_expired_bundle_says_so(
    own_bundle: Path, runtime: Path, open_page: Open
) -> None:
    """Whatever the publisher here writes: kinds of files that a page does not know are left alone."""
    from mygo_edge.bundle.manifest import READER
    from mygo_edge.web.server import server
    from mygo_edge.web.site import site_files

    files = site_files(own_bundle, runtime)
    name = "bundle/v0002/manifest.json"
    values = json.loads(files[name]) | {
        "schema_version": "2.0",
        "id": "0" * 32,
        "reader": 2,
        "latent": 64,
        "features": 256,
    }
    values["files"].append({"path": "new.bin", "role": "new", "sha256": "0" * 64, "bytes": 9, "precision": "fp2"})
    files[name] = json.dumps(values | {"expires": "2020-01-31T12:00:00+00:00"}).encode()
    with served(server(files, "127.0.0.1", 0)) as address:
        page = open_page(address)
        assert page.get_attribute("html", "data-state") == "ready", page.text_content("#status")
        assert "Expired: 2020-01-31T12:00:00+00:00; ask for a newer one" in page.text_content("#checks")
    files[name] = json.dumps(values | {"reader": READER + 1}).encode()
    with served(server(files, "127.0.0.1", 0)) as address:
        assert "needs a newer reader" in open_page(address).text_content("#status")
