"""A device refuses a bundle with a trunk that is not what was published, and names the file."""

import io
import json
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from mygo_edge.bundle.feature_selftest import read_feature_selftest, write_feature_selftest
from mygo_edge.bundle.gaussian_files import read_means, read_shared, write_means, write_shared
from mygo_edge.bundle.manifest import BundleError
from mygo_edge.bundle.npz import read_arrays, write_arrays
from mygo_edge.device.edge_model import EdgeModel
from tests.bundle.test_refusals import flip, refused
from tests.damage import edit_manifest, replace_file
from tests.features import FEATURES, photo_trunk, publish_photos, publish_texts

FILES = ["trunk.onnx", "factor.int8.npz", "means-warm.fp16.npz", "means-cold.fp16.npz", "selftest.npz"]


@pytest.fixture(scope="module")
def published(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("photos")
    publish_photos(folder, 2)
    return folder


@pytest.fixture
def own(published: Path, tmp_path: Path) -> Path:
    """A copy that a test may change."""
    return Path(shutil.copytree(published, tmp_path / "bundle"))


def contents(own: Path, name: str) -> bytes:
    return (own / "v0002" / name).read_bytes()


@pytest.mark.parametrize("name", FILES)
def test_a_changed_or_missing_file_is_refused_by_name(own: Path, name: str) -> None:
    flip(own / "v0002" / name)
    refused(own, f"{name} does not have the hash")
    (own / "v0002" / name).unlink()
    refused(own, f"{name} is missing")


@pytest.mark.parametrize("role", ["factor", "generator", "trunk", "selftest"])
def test_a_manifest_without_a_file_that_is_needed_is_refused(own: Path, role: str) -> None:
    files = json.loads(contents(own, "manifest.json"))["files"]
    gone = next(entry for entry in files if entry["role"] == role)
    (own / "v0002" / gone["path"]).unlink()
    edit_manifest(own / "v0002", files=[entry for entry in files if entry is not gone])
    refused(own, {"trunk": "is no file of role trunk"}.get(role, f"manifest.json lists no {role}"))


@pytest.mark.parametrize(
    ("values", "words"),
    [
        (lambda means: np.where(np.arange(FEATURES) == 3, np.nan, means), "is not finite"),
        (lambda means: np.where(np.arange(FEATURES) == 3, np.inf, means), "is not finite"),
        (lambda means: means[:, :-1], rf"expected \[2, {FEATURES}\]"),
        (lambda means: means[:1], rf"expected \[2, {FEATURES}\]"),
    ],
)
def test_means_that_do_not_fit_are_refused(own: Path, values: object, words: str) -> None:
    arrays = read_arrays(contents(own, "means-warm.fp16.npz"), ["means", "counts"])
    changed = values(arrays["means"].astype(np.float32))  # type: ignore[operator]
    arrays = {"means": changed.astype(np.float16), "counts": arrays["counts"][: len(changed)]}
    replace_file(own / "v0002", "means-warm.fp16.npz", write_arrays(arrays))
    refused(own, f"v0002/means-warm.fp16.npz holds no class means .*{words}")


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("scale", [1e21, 1e25, 1e37])
def test_numbers_that_overflow_in_use_are_refused_without_a_word_of_numpy(own: Path, scale: float) -> None:
    shared = read_shared(contents(own, "factor.int8.npz"), "it")
    vast = replace(shared, factor=shared.factor * np.float32(scale), diagonal=shared.diagonal * np.float32(scale))
    replace_file(own / "v0002", "factor.int8.npz", write_shared(vast, "int8"))

    def use() -> None:
        model = EdgeModel.load(own, selftest=False)
        model.predict(model.example(1))
        model.dream("warm", n=2)

    with pytest.raises(BundleError, match=r"not finite|finite classifier|no covariance"):
        use()


def test_a_factor_that_is_no_covariance_or_does_not_fit_is_refused(own: Path) -> None:
    shared = read_shared(contents(own, "factor.int8.npz"), "it")
    name, where = "factor.int8.npz", r"v0002/factor\.int8\.npz"
    for changed, words in (
        (replace(shared, diagonal=shared.diagonal * np.float32(-1)), f"{where} is no shared factor .*variance"),
        (replace(shared, spread=float("nan")), f"{where} is no shared factor"),
        (replace(shared, factor=shared.factor[:4]), f"{where} does not fit the manifest"),
        (replace(shared, factor=shared.factor[:, :8], diagonal=shared.diagonal[:8]), f"{where} does not fit"),
    ):
        replace_file(own / "v0002", name, write_shared(changed, "int8"))
        refused(own, words)
    replace_file(own / "v0002", name, b"PK nothing")
    refused(own, f"{where} is no shared factor")
    for size in (1e30, 1e-30):  # finite, and not what was published
        tiny = np.full_like(shared.diagonal, size)
        replace_file(own / "v0002", name, write_shared(replace(shared, diagonal=tiny), "int8"))
        refused(own, "fails its self-test|no finite classifier")


def test_another_memory_than_the_published_fails_the_self_test(own: Path) -> None:
    means = read_means(contents(own, "means-warm.fp16.npz"), "it", FEATURES)
    moved = replace(means, means=means.means[::-1].copy())  # its two classes the other way round
    replace_file(own / "v0002", "means-warm.fp16.npz", write_means(moved, "fp16"))
    refused(own, "fails its self-test: it differs by")


def test_another_trunk_than_the_published_fails_the_self_test(own: Path) -> None:
    replace_file(own / "v0002", "trunk.onnx", photo_trunk(seed=1).graph)
    refused(own, r"v0002/trunk\.onnx fails its self-test: it differs by")


def _graph(own: Path) -> onnx.ModelProto:
    return onnx.load_from_string(contents(own, "trunk.onnx"))


def test_a_trunk_that_gives_or_takes_something_else_is_refused(own: Path) -> None:
    model = _graph(own)
    model.graph.output[0].name = model.graph.node[-1].output[0] = "other"
    replace_file(own / "v0002", "trunk.onnx", model.SerializeToString())
    refused(own, r"trunk\.onnx has outputs .*, not 'features' of 24 features")
    model = onnx.load_from_string(photo_trunk().graph)
    model.graph.input.append(helper.make_tensor_value_info("more", 1, ["batch"]))
    replace_file(own / "v0002", "trunk.onnx", model.SerializeToString())
    refused(own, r"trunk\.onnx has inputs .*, expected one for photos")


def test_a_trunk_with_values_that_are_not_finite_is_refused(own: Path) -> None:
    model = _graph(own)
    scale = next(tensor for tensor in model.graph.initializer if tensor.name == "scale")
    scale.CopyFrom(numpy_helper.from_array(np.float32("nan"), "scale"))
    replace_file(own / "v0002", "trunk.onnx", model.SerializeToString())
    refused(own, "values that are not finite")


def test_a_trunk_with_operators_that_can_loop_or_grow_is_refused(own: Path) -> None:
    model = _graph(own)
    model.graph.node[-1].op_type = "Expand"
    replace_file(own / "v0002", "trunk.onnx", model.SerializeToString())
    refused(own, r"trunk\.onnx uses the operator 'Expand'")


def test_a_task_of_another_kind_of_memory_is_refused(own: Path) -> None:
    manifest = json.loads(contents(own, "manifest.json"))
    manifest["tasks"][0]["generator"] = "mixture"
    (own / "v0002" / "manifest.json").write_text(json.dumps(manifest))
    refused(own, "mixture|must match")


def test_a_selftest_of_other_tasks_or_of_nothing_is_refused(own: Path) -> None:
    test = read_feature_selftest(contents(own, "selftest.npz"), "it", [2, 3], FEATURES, reader=2)
    for changed in (
        replace(test, dreams=test.dreams[:1]),
        replace(test, logits=test.logits[:-1]),
        replace(test, probes=test.probes.astype(np.float64)),
        replace(test, class_id=test.class_id.astype(np.float32)),
    ):
        replace_file(own / "v0002", "selftest.npz", write_feature_selftest(changed))
        refused(own, r"selftest\.npz does not fit the manifest")
    archive = io.BytesIO()
    np.savez_compressed(archive, **{name: getattr(test, name) for name in ("probes", "dreams", "logits", "largest")})
    replace_file(own / "v0002", "selftest.npz", archive.getvalue())
    refused(own, r"selftest\.npz is no self-test")
    replace_file(own / "v0002", "selftest.npz", write_feature_selftest(replace(test, logits=test.logits + np.nan)))
    refused(own, "fails its self-test")


def test_a_tokenizer_that_may_not_be_used_is_refused(tmp_path: Path) -> None:
    publish_texts(tmp_path)
    tokenizer = json.loads((tmp_path / "v0001" / "tokenizer.json").read_text())
    tokenizer["pre_tokenizer"] = {"type": "Split", "pattern": {"Regex": "(a+)+$"}, "behavior": "Isolated"}
    replace_file(tmp_path / "v0001", "tokenizer.json", json.dumps(tokenizer).encode())
    refused(tmp_path, r"v0001/tokenizer\.json")
    replace_file(tmp_path / "v0001", "tokenizer.json", b"{}")
    refused(tmp_path, r"v0001/tokenizer\.json")


def test_no_damage_to_any_file_gives_anything_but_a_refusal_or_the_same_answers(own: Path) -> None:
    """With hashes that fit, as someone who can write to the folder could make them."""
    rng = np.random.default_rng(0)
    images = EdgeModel.load(own).example(3)
    expected = EdgeModel.load(own).logits(images)
    from mygo_edge.errors import MygoEdgeError

    for name in FILES:
        whole = contents(own, name)
        for _ in range(40):
            damaged = bytearray(whole)
            at = int(rng.integers(len(damaged)))
            damaged[at] ^= 1 << int(rng.integers(8))
            replace_file(own / "v0002", name, bytes(damaged[: None if rng.random() < 0.8 else at]))
            try:
                got = EdgeModel.load(own).logits(images)
            except MygoEdgeError:
                continue
            assert np.abs(got - expected).max() < 0.05 * np.abs(expected).max()
        replace_file(own / "v0002", name, whole)
