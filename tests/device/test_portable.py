"""What every device must do, in tests that need what a device has and pytest: they run on other machines, too.

`python -m bench.arm_tests tests/device/test_portable.py` runs this file on emulated 64-bit ARM.
"""

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from mygo_edge.bundle.manifest import BundleError
from mygo_edge.device.edge_model import EdgeModel
from mygo_edge.errors import MygoEdgeError

GOLDEN = Path(__file__).parent / "golden" / "bundle"
INTEGERS = Path(__file__).parent / "golden" / "integers"  # one whose int8 form convolves and pools integers


@pytest.fixture(scope="module")
def golden(tmp_path_factory: pytest.TempPathFactory) -> EdgeModel:
    return EdgeModel.load(GOLDEN, heads=tmp_path_factory.mktemp("heads"))


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """The bundle, for a test that damages it."""
    return Path(shutil.copytree(GOLDEN, tmp_path / "bundle"))


def dreams_of_all(model: EdgeModel, each: int) -> np.ndarray:
    return np.concatenate([model.dream(name, n=each, seed=3).images for name in model.tasks])


@pytest.mark.parametrize("folder", [GOLDEN, INTEGERS], ids=lambda folder: folder.name)
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_every_graph_computes_what_was_published(precision: str, folder: Path, tmp_path: Path) -> None:
    deviations = EdgeModel.load(folder, precision=precision, heads=tmp_path).run_selftest()
    assert len(deviations) == 6  # five generators and the classifier
    assert max(deviations.values()) < 1e-2


def test_convolutions_of_integers_answer_as_those_of_floats_do(tmp_path: Path) -> None:
    exact, rounded = (EdgeModel.load(INTEGERS, precision=name, heads=tmp_path) for name in ("fp32", "int8"))
    images = dreams_of_all(exact, 100)
    same = [a == b for a, b in zip(exact.answers(images), rounded.answers(images), strict=True)]
    assert np.mean(same) > 0.99
    assert 0 < np.abs(exact.logits(images) - rounded.logits(images)).mean() < 0.2


def test_dreams_do_not_depend_on_the_batch_that_they_are_made_in(golden: EdgeModel) -> None:
    many = golden.dream("task0", n=300, seed=5)  # more than one batch
    few = golden.dream("task0", n=7, seed=5)
    assert np.array_equal(many.class_ids[:7], few.class_ids)
    assert np.abs(many.images[:7].astype(int) - few.images).max() <= 1


def test_its_own_dreams_are_recognised_with_the_task_known_and_unknown(golden: EdgeModel) -> None:
    for name, classes in golden.tasks.items():
        dreams = golden.dream(name, n=60, seed=2)
        wanted = [(name, classes[index]) for index in dreams.class_ids]
        assert np.mean([a == b for a, b in zip(golden.answers(dreams.images, name), wanted, strict=True)]) > 0.8
        assert np.mean([a == b for a, b in zip(golden.answers(dreams.images), wanted, strict=True)]) > 0.6


def test_probabilities_are_those_of_the_logits_and_answers_their_largest(golden: EdgeModel) -> None:
    images = dreams_of_all(golden, 10)
    logits, shares = golden.logits(images), golden.predict_proba(images)
    np.testing.assert_allclose(shares.sum(1), 1, rtol=1e-5)
    assert golden.answers(images) == [golden.labels()[column] for column in logits.argmax(1)]
    assert np.array_equal(shares.argmax(1), logits.argmax(1))


def test_one_in_twenty_dreams_and_nearly_all_noise_look_like_no_class(golden: EdgeModel) -> None:
    assert golden.rejects(dreams_of_all(golden, 100)).mean() < 0.15
    noise = np.random.default_rng(0).integers(0, 256, (100, *golden.input_shape), dtype=np.uint8)
    assert golden.novelty(noise).mean() > golden.novelty(dreams_of_all(golden, 20)).mean()


def test_a_task_learnt_here_is_kept_and_answered_after_loading_again(copy: Path) -> None:
    model = EdgeModel.load(copy)
    rng = np.random.default_rng(0)
    parts = [rng.integers(*levels, (12, *model.input_shape), dtype=np.uint8) for levels in ((0, 70), (190, 256))]
    images, labels = np.concatenate(parts), ["dark"] * 12 + ["bright"] * 12
    model.learn("light", images[::2], labels[::2])
    again = EdgeModel.load(copy)
    assert again.tasks["light"] == ("bright", "dark")
    assert again.predict(images[1::2], "light") == labels[1::2]
    np.testing.assert_array_equal(again.logits(images), model.logits(images))


def test_threads_answer_as_one_does(golden: EdgeModel) -> None:
    images = dreams_of_all(golden, 20)
    alone = golden.answers(images)
    with ThreadPoolExecutor(4) as pool:
        assert all(found == alone for found in pool.map(golden.answers, [images] * 12))


@pytest.mark.parametrize("name", ["classifier.onnx", "generator-task2.int8-weights.onnx", "selftest.npz"])
def test_a_changed_byte_is_refused_by_name(name: str, copy: Path) -> None:
    path = copy / "v0005" / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(BundleError, match=name):
        EdgeModel.load(copy)


def test_a_manifest_that_promises_too_much_is_refused_by_the_selftest(copy: Path) -> None:
    path = copy / "v0005" / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["selftest"]["tolerance"] = 1e-12
    path.write_text(json.dumps(manifest))
    with pytest.raises(BundleError, match="fails its self-test"):
        EdgeModel.load(copy)


def test_what_cannot_be_taken_is_said_in_one_line(golden: EdgeModel) -> None:
    for images in (np.zeros((1, 1, 3, 3), np.uint8), np.full((1, *golden.input_shape), 7.0), "no-such-file.npy"):
        with pytest.raises(MygoEdgeError) as caught:
            golden.predict(images)
        assert "\n" not in str(caught.value)
    with pytest.raises(MygoEdgeError, match="unknown task 'none'"):
        golden.dream("none")
