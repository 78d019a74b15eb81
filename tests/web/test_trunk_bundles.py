"""Bundles on a trunk in the browser: photos and texts are prepared, answered, dreamt and learnt as on a device."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from mygo_edge.bundle import vision
from mygo_edge.bundle.calibration import Calibration
from mygo_edge.bundle.gaussian import ClassMeans
from mygo_edge.bundle.gaussian_files import read_means, write_means
from mygo_edge.bundle.manifest import INTERPOLATIONS, BundleError
from mygo_edge.bundle.text import Tokenizer
from mygo_edge.bundle.wake_head import WakeHead
from mygo_edge.device.edge_model import EdgeModel
from mygo_edge.web.server import server
from mygo_edge.web.site import site_files
from tests.damage import replace_file
from tests.features import (
    PHOTO_TASKS,
    TEXT_TASKS,
    own_covariances,
    photo_memory,
    photos,
    publish_corrected_photos,
    publish_photos,
    publish_photos_apart,
    publish_texts,
    text_memory,
    text_trunk,
    texts,
    with_heads,
    with_rows,
)
from tests.tiny_tokenizer import TINY
from tests.web.conftest import Open, classified, served, shown, until

FEATURES = 1e-5  # between features here and there, relative above 1: of sums in another order
# A text trunk's tokenizer may hold any of these characters.
STRANGE = [
    "Oil prices rise, oil falls!",
    "",
    "  \t tabs\u00a0and\u3000spaces \r\n",
    "ÀÉÎõü ﬁne ΑΣΣ İstanbul",
    "東京 and 中文字",
    "zero\u200bwidth \u00adsoft \ufeffmark \x00null",
    "a[CLS]b [SEP] </s>c<s>",
    "\U0001f600 emoji, \u200d joined \U0001d4b3",
    "under_score don't e-mail 3.14 $5 #1",
    "x" * 300,
    "oil prices fall again " * 20,
]
MODEL = """async ([inputs, task, n]) => {
  const { readBundle } = await import("./js/bundle.js");
  const { FeatureModel } = await import("./js/features.js");
  const ort = await import("./runtime/ort.wasm.bundle.min.mjs");
  const model = await FeatureModel.open(ort, await readBundle("bundle", null));
  const given = inputs.map((input) => typeof input === "string" ? input : Uint8Array.from(input));
  const { vectors, classIds } = await model.dream(task, { n, seed: 7n });
  return [(await model.trunk.vectors(given)).map((row) => [...row]), vectors.map((row) => [...row]), classIds];
}"""
PREPARE = """async ([width, height, bytes, form]) => {
  const { preparePhoto } = await import("./js/photos.js");
  return [...preparePhoto({ width, height, data: Uint8Array.from(bytes) }, form)];
}"""
TOKENS = """async ([text, limit, texts, parts]) => {
  const { Tokenizer } = await import("./js/tokenizer.js");
  const tokenizer = new Tokenizer(new TextEncoder().encode(text), limit, "tokenizer.json", parts);
  return texts.map((each) => tokenizer.ids(each));
}"""
PARTS = """async (changes) => {
  const { parseManifest, partEntries } = await import("./js/manifest.js");
  const read = async (path) => new Uint8Array(await (await fetch(`bundle/v0003/${path}`)).arrayBuffer());
  const bytes = (values) => new TextEncoder().encode(JSON.stringify(values));
  const values = async (path) => JSON.parse(new TextDecoder().decode(await read(path)));
  const said = [];
  for (const change of changes) {
    const top = await values("manifest.json"), part = await values("tasks-0.json");
    Object.assign(top, change.top);
    Object.assign(part, change.part);
    top.files.push(...(change.files ?? []));
    part.files.push(...(change.more ?? []));
    try {
      partEntries(bytes(top), "it");
      said.push(parseManifest(bytes(top), "it", new Map([["tasks-0.json", bytes(part)]])).tasks.length);
    } catch (error) {
      said.push(error.message);
    }
  }
  return said;
}"""


@pytest.fixture(scope="module")
def photo_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With rows of the classifier, of a covariance of their own, and with what the box measured of its scores; some
    classes are more frequent than others, and that counts.
    """
    memories, shared = photo_memory(list(PHOTO_TASKS)[:2])
    memories[1] = memories[1]._replace(means=ClassMeans(memories[1].means.means, np.array([10, 30, 200])))
    given, first = {"tasks": with_rows(memories, shared, 1.5)}, tmp_path_factory.mktemp("first")
    publish_photos(first, **given)
    known = photos([colour for task in list(PHOTO_TASKS)[:2] for colour in PHOTO_TASKS[task]], 20, seed=9)[0]
    usual = np.quantile(EdgeModel.load(first).novelty(known), np.linspace(0, 1, 21)).astype(np.float32)
    folder = tmp_path_factory.mktemp("photos")
    publish_photos(folder, calibration=Calibration(1.7, usual), prior=4.0, **given)
    return folder


@pytest.fixture(scope="module")
def text_bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("texts")
    publish_texts(folder)
    return folder


@pytest.fixture(scope="module")
def photo_address(photo_bundle: Path, runtime: Path) -> Iterator[str]:
    with served(server(site_files(photo_bundle, runtime), "127.0.0.1", 0)) as address:
        yield address


@pytest.fixture(scope="module")
def text_address(text_bundle: Path, runtime: Path) -> Iterator[str]:
    with served(server(site_files(text_bundle, runtime), "127.0.0.1", 0)) as address:
        yield address


@pytest.fixture
def photo_page(open_page: Open, photo_address: str) -> Any:
    return ready(open_page(photo_address))


@pytest.fixture
def text_page(open_page: Open, text_address: str) -> Any:
    return ready(open_page(text_address))


def ready(page: Any) -> Any:
    assert page.get_attribute("html", "data-state") == "ready", page.text_content("#status")
    return page


def written(page: Any, text: str) -> str:
    """What the page answers about a text."""
    page.evaluate("document.getElementById('answer').textContent = ''")
    page.fill("#text", text)
    page.wait_for_selector("#answer:not(:empty)")
    return str(page.text_content("#answer"))


def require_answer(answer: str, probabilities: list[float], model: EdgeModel, given: Any) -> None:
    """Raise unless a page answers as the device does."""
    (expected,) = model.assess(given, top=1, false_alarms=0.05)
    task, label, _ = expected.answers[0]
    assert f"{label} (task {task}, " in answer
    assert abs(expected.novelty - model.threshold()) > 1e-3 * abs(model.threshold())  # else rounding may decide
    assert answer.startswith("none of these; the nearest is ") == expected.rejected
    np.testing.assert_allclose(probabilities, model.predict_proba(given)[0], atol=1e-4)


def test_ten_photos_are_answered_as_in_python(photo_page: Any, photo_bundle: Path, tmp_path: Path) -> None:
    model = EdgeModel.load(photo_bundle)
    known = [colour for colours in list(PHOTO_TASKS.values())[:2] for colour in colours]
    answered_as_in_python(photo_page, model, [*known, *known], tmp_path)


def answered_as_in_python(page: Any, model: EdgeModel, colours: list[str], folder: Path) -> None:
    """Photos of these colours, of many sizes."""
    images, _ = photos(colours, 1, seed=5, side=37)
    for index, pixels in enumerate(images):
        path = folder / f"{index}.png"
        Image.fromarray(pixels).resize((20 + 9 * index, 31 + 5 * index)).save(path)
        require_answer(classified(page, path), shown(page), model, path)


def test_corrected_rows_answer_as_in_python(
    open_page: Open, runtime: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish_corrected_photos(tmp_path / "box", monkeypatch)
    model = EdgeModel.load(tmp_path / "box")
    with served(server(site_files(tmp_path / "box", runtime), "127.0.0.1", 0)) as address:
        answered_as_in_python(
            ready(open_page(address)), model, [name for task in PHOTO_TASKS.values() for name in task], tmp_path
        )


def test_photos_of_an_earlier_version_are_answered_by_its_rule(open_page: Open, runtime: Path, tmp_path: Path) -> None:
    golden = Path(__file__).parent.parent / "device" / "golden" / "photos"
    model = EdgeModel.load(golden)
    with served(server(site_files(golden, runtime), "127.0.0.1", 0)) as address:
        answered_as_in_python(ready(open_page(address)), model, list(PHOTO_TASKS["cold"]), tmp_path)


def test_heads_of_wakes_settle_classes_as_in_python(open_page: Open, runtime: Path, tmp_path: Path) -> None:
    memories, shared = photo_memory()
    memories = with_heads(with_rows(memories, shared))
    head = memories[1].means.means.astype(np.float32)
    memories[1] = memories[1]._replace(head=WakeHead(head - head.mean(0), np.zeros(len(head), np.float32)))
    publish_photos(tmp_path / "box", 3, tasks=memories, prior=2.0, max_loss=1.0)
    model = EdgeModel.load(tmp_path / "box")
    with served(server(site_files(tmp_path / "box", runtime), "127.0.0.1", 0)) as address:
        colours = [name for task in PHOTO_TASKS.values() for name in task]
        answered_as_in_python(ready(open_page(address)), model, colours, tmp_path)


def test_ten_texts_are_answered_as_in_python(text_page: Any, text_bundle: Path) -> None:
    model = EdgeModel.load(text_bundle)
    known = [topic for topics in TEXT_TASKS.values() for topic in topics]
    found, _ = texts([*known, "food"], 3, seed=9)
    for text in found[:10]:
        require_answer(written(text_page, text), shown(text_page), model, text)
    assert text_page.text_content("#tokens") == "7"


def test_texts_in_parts_and_covariances_of_classes_own_answer_as_in_python(
    open_page: Open, runtime: Path, tmp_path: Path
) -> None:
    trunk, (_, shared) = text_trunk(), text_memory()
    form = replace(trunk.form, input=replace(trunk.form.input, max_tokens=8, parts=3))  # type: ignore[type-var]
    publish_texts(tmp_path, own=own_covariances(shared, 3), trunk=trunk._replace(form=form))
    model = EdgeModel.load(tmp_path)
    known, _ = texts([topic for topics in TEXT_TASKS.values() for topic in topics], 4, seed=9)
    long = [" ".join(known[start : start + count]) for start, count in ((0, 1), (1, 2), (3, 3), (5, 6))]
    with served(server(site_files(tmp_path, runtime), "127.0.0.1", 0)) as address:
        page = ready(open_page(address))
        for text in long:
            require_answer(written(page, text), shown(page), model, text)
        vectors, _, _ = page.evaluate(MODEL, [long, "first", 1])
    expected = model._engine.trunk.vectors(long)  # type: ignore[attr-defined]
    np.testing.assert_allclose(vectors, expected, rtol=FEATURES, atol=FEATURES)


def test_photos_are_prepared_as_pillow_prepares_them(photo_page: Any) -> None:
    rng = np.random.default_rng(0)
    for index, interpolation in enumerate(INTERPOLATIONS):
        for width, height, size, resize in (
            (61, 40, (17, 23), None),
            (30 + index, 47, (24, 24), 27),
            (9, 8, (16, 8), 16),
        ):
            pixels = rng.integers(64, 192, (height, width, 3), dtype=np.uint8)  # so that no overshoot is clipped
            form = vision.Preparation(size, resize, interpolation, (0.5,) * 3, (0.5,) * 3)  # type: ignore[arg-type]
            expected = vision.prepare(Image.fromarray(pixels), form)
            data = np.dstack([pixels, np.full((height, width), 255, np.uint8)]).ravel().tolist()
            said = {
                "size": size,
                "resize": resize,
                "crop": "center" if resize else "none",
                "interpolation": interpolation,
            }
            found = photo_page.evaluate(PREPARE, [width, height, data, said])
            off = np.abs(np.array(found, int) - expected.ravel())
            # Equal where Pillow goes across first; some versions of it go down first where that is less work.
            assert off.max() <= 1, (interpolation, width, size)
            assert (off == 0).mean() > 0.6, (interpolation, width, size)


@pytest.mark.parametrize("kind", ["photos", "texts"])
def test_features_and_dreams_are_those_of_a_device(
    kind: str, request: pytest.FixtureRequest, photo_bundle: Path, text_bundle: Path
) -> None:
    page = request.getfixturevalue("photo_page" if kind == "photos" else "text_page")
    model = EdgeModel.load(photo_bundle if kind == "photos" else text_bundle)
    task = next(iter(model.tasks))
    inputs = list(model.example(4))
    given = [photo.ravel().tolist() for photo in inputs] if kind == "photos" else inputs
    vectors, dreams, class_ids = page.evaluate(MODEL, [given, task, 70])
    expected = model._engine.trunk.vectors(np.stack(inputs) if kind == "photos" else inputs)  # type: ignore[attr-defined]
    np.testing.assert_allclose(vectors, expected, rtol=FEATURES, atol=FEATURES)
    dreamt = model.dream(task, n=70, seed=7)
    assert class_ids == dreamt.class_ids.tolist()
    np.testing.assert_allclose(dreams, dreamt.samples, rtol=FEATURES, atol=FEATURES)


def byte_pairs() -> dict[str, Any]:
    """A tokenizer as that of the table of word vectors: merges of characters, bytes for what is not known."""
    letters = ["▁", *"abcdefghijklmnopqrstuvwxyz"]
    merges = [
        ("▁", "t"),
        ("h", "e"),
        ("▁t", "he"),
        ("r", "i"),
        ("o", "i"),
        ("oi", "l"),
        ("a", "l"),
        ("l", "l"),
        ("▁", "oil"),
    ]
    bytes_ = [f"<0x{byte:02X}>" for byte in range(256)]
    tokens = ["<unk>", "<s>", "</s>", *bytes_, *letters, *(one + other for one, other in merges)]
    return {
        **TINY,
        "added_tokens": [
            {"id": index, "content": name, "special": True}
            | dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False)
            for index, name in enumerate(tokens[:3])
        ],
        "normalizer": {
            "type": "Sequence",
            "normalizers": [
                {"type": "Prepend", "prepend": "▁"},
                {"type": "Replace", "pattern": {"String": " "}, "content": "▁"},
            ],
        },
        "pre_tokenizer": None,
        "post_processor": None,
        "model": {
            "type": "BPE",
            "vocab": {token: index for index, token in enumerate(tokens)},
            "merges": [list(pair) for pair in merges],
            "unk_token": "<unk>",
            "fuse_unk": True,
            "byte_fallback": True,
        },
    }  # fmt: skip


def word_pieces() -> dict[str, Any]:
    """A tokenizer as that of the small transformer."""
    cleaned = {"clean_text": True, "handle_chinese_chars": True, "strip_accents": None, "lowercase": True}
    return {**TINY, "normalizer": {"type": "BertNormalizer", **cleaned}}


@pytest.mark.parametrize("values", [TINY, word_pieces(), byte_pairs()], ids=["lower case", "word pieces", "byte pairs"])
def test_tokens_are_those_of_the_library(text_page: Any, values: dict[str, Any]) -> None:
    content = json.dumps(values)
    for parts in (1, 3):
        expected = Tokenizer(content.encode(), 24, parts=parts).tokenised(STRANGE)
        found = text_page.evaluate(TOKENS, [content, 24, STRANGE, parts])
        assert [ids for lists in found for ids in lists] == expected.parts
        assert [row for row, lists in enumerate(found) for _ in lists] == expected.rows.tolist()


def test_a_tokenizer_that_the_page_does_not_read_is_named(text_page: Any) -> None:
    values = json.dumps({**TINY, "pre_tokenizer": {"type": "ByteLevel"}})
    with pytest.raises(
        Exception, match="has a pre-tokenizer of type ByteLevel, which this page does not read; use the bundle on"
    ):
        text_page.evaluate(TOKENS, [values, 24, ["a"]])


def test_dreams_of_vectors_are_shown_in_a_plane(
    photo_page: Any, photo_bundle: Path, keep_screenshot: Callable[[Any, str], None]
) -> None:
    photo_page.select_option("#dream-task", "cold")
    photo_page.fill("#dream-n", "40")
    photo_page.click("#dream-form button")
    photo_page.wait_for_selector("#points circle:nth-of-type(43)")  # three means, forty dreams
    model = EdgeModel.load(photo_bundle)
    dreamt = model.dream("cold", n=40)
    engine: Any = model._engine
    logits = engine.score(engine.shared.transform(dreamt.samples), list(model.tasks), {}).logits
    own = [(task, label) for task, label in (model.labels()[column] for column in logits.argmax(1))]
    hits = sum(pair == ("cold", model.tasks["cold"][index]) for pair, index in zip(own, dreamt.class_ids, strict=True))
    assert photo_page.text_content("#dream-status").endswith(f"; {hits} are taken for their own class.")
    assert photo_page.locator("#legend li").count() == 3
    keep_screenshot(photo_page, "photos-dreams")


def test_a_class_learnt_from_five_camera_pictures_is_used_at_once_and_by_devices(
    photo_page: Any, photo_bundle: Path, tmp_path: Path, keep_screenshot: Callable[[Any, str], None]
) -> None:
    photo_page.click("#camera")
    until(photo_page, "document.getElementById('video').videoWidth > 0")
    photo_page.fill("#learn-class", "test card")
    for index in range(5):
        photo_page.click("#shoot")
        photo_page.wait_for_selector("#bars tr")
        photo_page.click("#learn-form button")
        photo_page.wait_for_selector(f"#examples li:has-text('test card: {index + 1}')")
    photo_page.click("#camera")
    photo_page.click("#learn")
    photo_page.wait_for_selector("#learn-status:has-text('Learnt test card from 5 pictures')")
    with photo_page.expect_download() as started:
        photo_page.click("#download")
    (tmp_path / "heads").mkdir()
    started.value.save_as(tmp_path / "heads" / "mine.json")
    device = EdgeModel.load(photo_bundle, heads=tmp_path / "heads")
    assert (dict(device.refused_heads), device.tasks["mine"]) == ({}, ("test card",))
    photo_page.wait_for_selector("#answer:has-text('test card (task mine, ')")  # the last picture is answered anew
    images, _ = photos(["violet", "red"], 3, seed=3)
    for index, image in enumerate(images):
        Image.fromarray(image).save(tmp_path / f"{index}.png")
        require_answer(
            classified(photo_page, tmp_path / f"{index}.png"), shown(photo_page), device, tmp_path / f"{index}.png"
        )
    keep_screenshot(photo_page, "photos-learnt")


def test_a_task_of_texts_learnt_in_the_page_is_a_devices_own(text_page: Any, text_bundle: Path, tmp_path: Path) -> None:
    lines, labels = texts(["food"], 5, seed=4)
    for index, (line, label) in enumerate(zip(lines, labels, strict=True)):
        written(text_page, line)
        text_page.fill("#learn-class", label)
        text_page.click("#learn-form button")
        text_page.wait_for_selector(f"#examples li:has-text('food: {index + 1}')")
    text_page.click("#learn")
    text_page.wait_for_selector("#learn-status:has-text('Learnt food from 5 texts')")
    with text_page.expect_download() as started:
        text_page.click("#download")
    started.value.save_as(tmp_path / "page" / "mine.json")
    device = EdgeModel.load(text_bundle, heads=tmp_path / "page")
    own = EdgeModel.load(text_bundle, heads=tmp_path / "none")
    own.learn("mine", lines, labels, store=False)
    probes, _ = texts(["food", "sport"], 4, seed=11)
    np.testing.assert_allclose(device.logits(probes), own.logits(probes), rtol=1e-3, atol=1e-2)


def test_a_changed_byte_of_a_trunk_is_refused(photo_bundle: Path, runtime: Path, open_page: Open) -> None:
    files = site_files(photo_bundle, runtime)
    name = next(path for path in files if path.endswith("/trunk.onnx"))
    files[name] = files[name][:-1] + bytes([files[name][-1] ^ 1])
    with served(server(files, "127.0.0.1", 0)) as address:
        page = open_page(address)
        assert page.get_attribute("html", "data-state") == "refused"
        assert "trunk.onnx does not have the hash in the manifest" in page.text_content("#status")


@pytest.mark.parametrize("kind", ["photos", "texts"])
def test_a_trunks_page_fits_a_phone_and_everything_has_a_name(
    kind: str,
    open_page: Open,
    request: pytest.FixtureRequest,
    tmp_path: Path,
    keep_screenshot: Callable[[Any, str], None],
) -> None:
    page = ready(
        open_page(
            request.getfixturevalue("photo_address" if kind == "photos" else "text_address"), width=360, dark=True
        )
    )
    if kind == "photos":
        Image.fromarray(photos(["red"], 1, side=50)[0][0]).save(tmp_path / "red.png")
        classified(page, tmp_path / "red.png")
    else:
        written(page, "ball goal market team")
    page.click("#dream-form button")
    page.wait_for_selector("#points circle")
    page.wait_for_selector("#bars tr")
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    assert page.is_visible("#pad") is False
    nameless = page.eval_on_selector_all(
        "button, input, select, textarea, a, canvas[role=img], svg[role=img]",
        "all => all.filter(e => !(e.textContent.trim() || e.ariaLabel || e.labels?.length)).map(e => e.outerHTML)",
    )
    assert nameless == []
    keep_screenshot(page, f"{kind}-phone-dark")


def test_tasks_apart_answer_as_in_python_and_are_held_to_their_hash(
    open_page: Open, runtime: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish_photos_apart(tmp_path / "box", monkeypatch)
    model, files = EdgeModel.load(tmp_path / "box"), site_files(tmp_path / "box", runtime)
    with served(server(files, "127.0.0.1", 0)) as address:
        page = ready(open_page(address))
        answered_as_in_python(page, model, [name for task in PHOTO_TASKS.values() for name in task], tmp_path)
        entry = {"role": "tasks", "sha256": "0" * 64, "bytes": 9, "precision": "fp32"}
        row = {"role": "rows", "sha256": "0" * 64, "bytes": 9, "precision": "int8"}
        found = page.evaluate(
            PARTS,
            [
                {},
                {"top": {"reader": 5}},
                {"files": [entry | {"path": "tasks.js"}]},
                {"files": [entry | {"path": "tasks-1.json", "bytes": 2**22}]},
                {"part": {"tasks": []}},
                {"more": [row | {"path": "rows-grey.npz", "task": "grey"}]},
                {"more": [row | {"path": "factor.fp16.npz", "role": "factor"}]},
                {"files": [row | {"path": "rows-warm.npz", "task": "warm"}]},
            ],
        )
    assert found == [
        3,
        "it: files of tasks need reader 6",
        "it: a file of tasks needs its name, SHA-256, size and precision",
        f"it: files of tasks have {2**22 + len(files['bundle/v0003/tasks-0.json'])} bytes",
        "it: tasks must be a list of objects",
        "it: rows-grey.npz has an unknown task",
        "it: factor.fp16.npz is of no task",
        "it: rows-warm.npz has an unknown task",
    ]
    files["bundle/v0003/tasks-0.json"] = files["bundle/v0003/tasks-0.json"].replace(b"warm", b"worm")
    with served(server(files, "127.0.0.1", 0)) as address:
        assert "tasks-0.json does not have the hash" in open_page(address).text_content("#status")


def test_a_selftest_of_some_of_many_tasks_passes_and_notices_another_memory(
    open_page: Open, runtime: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    memories, shared = photo_memory(["warm", "cold"])
    tasks = with_rows([memories[index % 2]._replace(name=f"task{index}") for index in range(20)], shared)
    version = publish_photos_apart(tmp_path, monkeypatch, tasks=tasks, shared=shared, max_loss=1.0)
    EdgeModel.load(tmp_path)
    with served(server(site_files(tmp_path, runtime), "127.0.0.1", 0)) as address:
        ready(open_page(address))
    means = read_means((version / "means-task19.int8.npz").read_bytes(), "it", 24)
    moved = write_means(replace(means, means=means.means * np.float32(1.1)), "int8")
    replace_file(version, "means-task19.int8.npz", moved)
    with pytest.raises(BundleError, match="fails its self-test"):
        EdgeModel.load(tmp_path)
    with served(server(site_files(tmp_path, runtime), "127.0.0.1", 0)) as address:
        assert "fails its self-test" in open_page(address).text_content("#status")
