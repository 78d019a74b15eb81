"""Schema 2.0 of the manifest: what it carries, what later publishers may add, and what a hostile one may not."""

import copy
import json
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mygo_edge.bundle.manifest import READER, ImageInput, Manifest, TextInput, manifest_json
from mygo_edge.bundle.parsing import MAX_ALL_CLASSES, MAX_CLASSES, MAX_FILES, MAX_TASKS, parse_manifest
from mygo_edge.bundle.strict import BundleError
from mygo_edge.device.edge_model import EdgeModel
from tests.bundles import edit_manifest, publish_tiny

DIGEST = "0123456789abcdef" * 4


def entry(path: str, role: str, **more: Any) -> dict[str, Any]:
    return {"path": path, "role": role, "sha256": DIGEST, "bytes": 10, "precision": "fp32"} | more


def task(name: str, *classes: str, generator: str = "gaussian") -> dict[str, Any]:
    return {"name": name, "classes": list(classes), "head": f"logits_{name}", "generator": generator}


IMAGE = {"kind": "image", "size": [224, 192], "resize": 256, "crop": "center", "interpolation": "bicubic",
         "mean": [0.5, 0.5, 0.5], "std": [0.2, 0.2, 0.2], "layout": "nchw"}  # fmt: skip
PHOTOS: dict[str, Any] = {
    "schema_version": "2.0",
    "id": "ab" * 16,
    "sequence": 7,
    "reader": 2,
    "created": "2026-01-31T12:00:00+00:00",
    "expires": "2027-01-31T12:00:00+00:00",
    "next_key": "cd" * 32,
    "latent": 64,
    "features": 1280,
    "features_digest": DIGEST,
    "tasks": [task("birds", "finch", "wren"), task("fish", "cod", "eel", "ray")],
    "trunk": {"digest": DIGEST, "file": "trunk.onnx", "output": "pooled", "features": 1280, "input": IMAGE},
    "selftest": {"tolerance": 0.01},
    "files": [
        entry("trunk.onnx", "trunk"),
        entry("classifier.onnx", "classifier"),
        entry("factor.fp16.npz", "factor", precision="fp16"),
        entry("means-birds.int8.npz", "generator", task="birds", precision="int8"),
        entry("means-fish.npz", "generator", task="fish"),
        entry("selftest.npz", "selftest"),
    ],
    "producer": {"mygo_edge": "1"},
}
TEXT = copy.deepcopy(PHOTOS)
TEXT["trunk"]["input"] = {"kind": "text", "tokenizer": "tokenizer.json", "max_tokens": 128}
TEXT["files"].append(entry("tokenizer.json", "tokenizer"))


def parse(document: dict[str, Any]) -> Manifest:
    return parse_manifest(json.dumps(document).encode(), "here")


def changed(document: dict[str, Any], where: str, value: Any) -> dict[str, Any]:
    """A copy with another value at a place such as "trunk.input.size" or "files.0.path"."""
    found = copy.deepcopy(document)
    *path, last = where.split(".")
    parent: Any = found
    for key in path:
        parent = parent[int(key) if isinstance(parent, list) else key]
    parent[int(last) if isinstance(parent, list) else last] = value
    return found


def test_texts_in_parts_are_said_and_their_number_is_bounded() -> None:
    document = copy.deepcopy(TEXT)
    document["trunk"]["input"]["parts"] = 4
    read = parse(document)
    assert read.trunk is not None
    assert read.trunk.input.parts == 4
    assert json.loads(json.dumps(manifest_json(read))) == document
    document["trunk"]["input"]["parts"] = 65
    with pytest.raises(BundleError, match="parts"):
        parse(document)


def test_frequencies_count_where_a_manifest_with_a_trunk_says_so(own_bundle: Path) -> None:
    document = copy.deepcopy(PHOTOS) | {"prior": 5.5, "reader": 6}
    read = parse(document)
    assert read.prior == 5.5
    assert json.loads(json.dumps(manifest_json(read))) == document
    assert parse(PHOTOS).prior == 0
    edit_manifest(own_bundle / "v0002", prior=1.0)
    with pytest.raises(BundleError, match="prior must be from 0 to 1000, with a trunk"):
        EdgeModel.load(own_bundle)


def test_noise_comes_out_of_means_by_the_rule_that_a_manifest_with_a_trunk_names(own_bundle: Path) -> None:
    document = copy.deepcopy(PHOTOS) | {"denoising": "ridge", "reader": 7}
    read = parse(document)
    assert read.denoising == "ridge"
    assert json.loads(json.dumps(manifest_json(read))) == document
    assert parse(PHOTOS).denoising == "truncated"
    edit_manifest(own_bundle / "v0002", denoising="ridge", reader=7)
    with pytest.raises(BundleError, match="denoising is of means that stand on a trunk"):
        EdgeModel.load(own_bundle)


@pytest.mark.parametrize("document", [PHOTOS, TEXT])
def test_a_manifest_with_a_trunk_is_read_and_written_back_word_for_word(document: dict[str, Any]) -> None:
    read = parse(document)
    assert json.loads(json.dumps(manifest_json(read))) == document
    assert read.trunk is not None
    assert isinstance(read.trunk.input, ImageInput if document is PHOTOS else TextInput)
    assert read.input is None
    with pytest.raises(BundleError, match="stands on a trunk"):
        read.pixels  # noqa: B018


@pytest.mark.parametrize(
    ("where", "value", "words"),
    [
        ("trunk.file", "classifier.onnx", "is no file of role trunk"),
        ("trunk.file", "../trunk.onnx", "is no file of role trunk"),
        ("trunk.digest", "0", "digest '0' must match"),
        ("trunk.features", 0, "features must be from 1"),
        ("trunk.input.kind", "sound", "kind 'sound' is none of image, text"),
        ("trunk.input.size", [224], "size must be height and width"),
        ("trunk.input.size", [224, 10**6], "size must be height and width"),
        ("trunk.input.resize", 10**9, "resize must be from 1"),
        ("trunk.input.resize", 200, "resize is smaller than the crop"),
        ("trunk.input.crop", "left", "crop 'left' is none of"),
        ("trunk.input.interpolation", "magic", "interpolation 'magic' is none of"),
        ("trunk.input.layout", "chw", "layout 'chw' is none of"),
        ("trunk.input.std", [1, 1, 0], "std must be above 0"),
        ("trunk.input.mean", [0.5], "one number a channel"),
        ("input", {}, "exclude each other"),
        ("prior", -1, "prior must be from 0 to 1000"),
        ("prior", 1001, "prior must be from 0 to 1000"),
        ("prior", float("nan"), "prior must be finite"),
        ("prior", float("inf"), "prior must be finite"),
        ("prior", 10**400, "prior must be finite"),
        ("prior", True, "prior must be numbers"),
        ("prior", "1", "prior must be numbers"),
        ("prior", None, "prior must be numbers"),
        ("tasks.0.generator", "Evil!", "generator 'Evil!' must match"),
        ("files.0.path", "sitecustomize.py", "of a trunk must match trunk"),
        ("files.1.path", "trunk-b.onnx", "of a classifier must match classifier"),
        ("files.2.path", "factor.npz", "of a factor must match factor"),
        ("files.3.path", "means-fish.int8.npz", "of a generator must match means-birds"),
        ("files.4.path", "generator-fish.onnx", "of a generator must match means-fish"),
    ],
)
def test_a_value_out_of_range_is_refused_by_name(where: str, value: Any, words: str) -> None:
    with pytest.raises(BundleError, match=words):
        parse(changed(PHOTOS, where, value))


def test_a_tokenizer_must_be_a_file_of_the_version() -> None:
    for tokenizer in ("trunk.onnx", "/etc/passwd", "vocabulary.txt"):
        with pytest.raises(BundleError, match="no file of role tokenizer"):
            parse(changed(TEXT, "trunk.input.tokenizer", tokenizer))


def test_a_bundle_of_schema_1_still_loads(own_bundle: Path) -> None:
    path = own_bundle / "v0002" / "manifest.json"
    document = json.loads(path.read_text())
    for key in ("id", "reader", "latent", "features"):
        del document[key]
    document |= {"schema_version": "1.0", "trunk": document.pop("features_digest")}
    for known in document["tasks"]:
        del known["generator"]
    path.write_text(json.dumps(document))
    model = EdgeModel.load(own_bundle)
    assert list(model.tasks) == ["parity", "size"]
    read = parse_manifest(path.read_bytes(), "here")
    assert (read.id, read.reader, read.features_digest) == (None, 1, document["trunk"])


def test_files_that_this_reader_does_not_know_are_ignored_and_the_rest_is_used(own_bundle: Path) -> None:
    folder = own_bundle / "v0002"
    files = json.loads((folder / "manifest.json").read_text())["files"]
    later = [entry("sound.bin", "spectrogram"), entry("classifier.fp4.onnx", "classifier", precision="fp4"), {
        "role": "a role whose entries look different", "parts": [1, 2]}]  # fmt: skip
    edit_manifest(folder, files=files + later)
    assert EdgeModel.load(own_bundle).precision == "fp32"
    (folder / "sound.bin").write_bytes(b"whatever: it is not read")
    assert EdgeModel.load(own_bundle).version == "v0002"


@pytest.mark.parametrize("name", ["sitecustomize.py", "json.py", "libc.so", "x.pth", "numpy"])
def test_no_file_that_an_interpreter_might_take_up_may_lie_in_a_version(own_bundle: Path, name: str) -> None:
    folder = own_bundle / "v0002"
    files = json.loads((folder / "manifest.json").read_text())["files"]
    edit_manifest(folder, files=[*files, entry(name, "spectrogram")])
    (folder / name).write_bytes(b"x")
    with pytest.raises(BundleError, match="which is not in the manifest"):
        EdgeModel.load(own_bundle)


def test_a_version_that_needs_a_later_reader_says_so_before_anything_else() -> None:
    with pytest.raises(BundleError, match=f"needs reader 9, this is {READER}; update mygo_edge"):
        parse({"schema_version": "2.0", "reader": 9, "tasks": "a new way to say it"})


@pytest.mark.parametrize(
    ("text", "key"),
    [
        ('{"schema_version": "2.0", "schema_version": "1.0"}', "schema_version"),
        (json.dumps(PHOTOS).replace('"path": "factor', '"path": "x", "path": "factor'), "path"),
        (json.dumps(PHOTOS).replace('"producer": {', '"producer": {"mygo_edge": "0", '), "mygo_edge"),
    ],
)
def test_a_key_that_stands_twice_is_refused(text: str, key: str) -> None:
    with pytest.raises(BundleError, match=f"key '{key}' occurs twice"):
        parse_manifest(text.encode(), "here")


def test_class_names_that_are_the_same_text_in_another_form_are_refused() -> None:
    with pytest.raises(BundleError, match="class 'é' occurs twice"):
        parse(changed(PHOTOS, "tasks.0.classes", ["\u00e9", "e\u0301"]))
    assert parse(changed(PHOTOS, "tasks.0.classes", ["e\u0301", "e"])).tasks[0].classes == ("\u00e9", "e")


@pytest.mark.parametrize(
    ("where", "value", "words"),
    [
        ("tasks", [task(f"t{i}", "a", "b") for i in range(MAX_TASKS + 1)], f"at most {MAX_TASKS}"),
        ("tasks.0.classes", [f"c{i}" for i in range(MAX_CLASSES + 1)], f"1 to {MAX_CLASSES} of them"),
        (
            "tasks",
            [task(f"t{i}", *(f"c{j}" for j in range(4000))) for i in range(17)],
            f"at most {MAX_ALL_CLASSES} are allowed",
        ),
        ("files", [entry("classifier.onnx", "classifier")] * (MAX_FILES + 1), f"at most {MAX_FILES}"),
    ],
)
def test_more_tasks_classes_or_files_than_a_device_can_use_are_refused(where: str, value: Any, words: str) -> None:
    with pytest.raises(BundleError, match=words):
        parse(changed(PHOTOS, where, value))


def test_reading_takes_time_in_proportion_to_the_bytes() -> None:
    """The largest manifest that is read at all, of names that are compared with each other: seconds, not hours."""
    names = [f"c{index}" for index in range(300_000)]
    for where in ("tasks.0.classes", "files", "tasks", "producer"):
        value = dict.fromkeys(names, "1") if where == "producer" else names
        if where in ("files", "tasks"):
            value = [entry(name, "unknown") if where == "files" else task(name, "a") for name in names[:20_000]]
        document = json.dumps(changed(PHOTOS, where, value)).encode()
        with ends_within(seconds=60):  # a quadratic reader takes minutes
            try:
                parse_manifest(document, "here")
            except BundleError as error:
                assert len(str(error)) < 500  # noqa: PT017


@contextmanager
def ends_within(seconds: int) -> Iterator[None]:
    """Ends the test instead of letting it run on; a limit against hanging, far above what the block takes."""

    def hangs(*_: object) -> None:
        raise AssertionError(f"not done after {seconds} s")

    before = signal.signal(signal.SIGALRM, hangs)
    signal.alarm(seconds)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


TEXTS = st.text(st.characters(codec="utf-8"), max_size=12)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | TEXTS | st.sampled_from([DIGEST, "fp32", "text", "none"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=6,
)


@given(document=st.sampled_from([PHOTOS, TEXT]), data=st.data(), value=VALUES)
@settings(max_examples=300, deadline=None)
def test_any_value_anywhere_is_refused_or_read(document: dict[str, Any], data: st.DataObject, value: Any) -> None:
    """What is read names files of their roles and nothing else, and is read again as it was."""
    parent = found = copy.deepcopy(document)
    while True:
        key = data.draw(st.sampled_from(sorted(parent) if isinstance(parent, dict) else range(len(parent))))
        if not isinstance(parent[key], (dict, list)) or not parent[key] or data.draw(st.booleans()):
            break
        parent = parent[key]
    parent[key] = value
    try:
        read = parse(found)
    except BundleError as error:
        assert "\n" not in str(error)  # noqa: PT017
        return
    assert all(Path(path).name == path and not path.endswith(".py") for path in
               (*(known.path for known in read.files), *read.ignored))  # fmt: skip
    if read.id is not None:
        known = manifest_json(read)
        assert manifest_json(parse(known)) == known


def test_a_published_manifest_names_its_learner_for_good(tmp_path: Path) -> None:
    first = publish_tiny(tmp_path, 1, learner_id=None)
    second = publish_tiny(tmp_path, 2, learner_id=None)
    ids = {json.loads((folder / "manifest.json").read_text())["id"] for folder in (first, second)}
    assert len(ids) == 1
    with pytest.raises(BundleError, match="of another learner"):
        publish_tiny(tmp_path, 3, learner_id="0f" * 16)
    other = publish_tiny(tmp_path / "other", 3, learner_id="0f" * 16)
    document = json.loads((other / "manifest.json").read_text())
    assert document["id"] == "0f" * 16
    assert [known["generator"] for known in document["tasks"]] == ["convolutional"] * 3
