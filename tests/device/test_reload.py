"""A running model takes up a new live version without a gap between two predictions, from many threads."""

import shutil
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from mygo_edge.bundle.manifest import BundleError
from mygo_edge.device.edge_model import EdgeModel
from mygo_edge.errors import MygoEdgeError
from mygo_edge.update.updater import UpdatePolicy, update
from tests.bundles import SHAPE, publish_tiny

IMAGES = np.random.default_rng(0).integers(0, 256, (5, *SHAPE), dtype=np.uint8)


@pytest.fixture
def box(tmp_path: Path) -> Path:
    """Two versions of other weights, of two tasks and of three; the first is live."""
    publish_tiny(tmp_path / "box", 2)
    publish_tiny(tmp_path / "box", 3, seed=1)
    (tmp_path / "box" / "current").write_text("v0002\n")
    return tmp_path / "box"


@pytest.fixture
def device(box: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(box, tmp_path / "device"))


def turn(bundle: Path, version: str) -> None:
    """Make a version live, as an update does."""
    (bundle / "next").write_text(version + "\n")
    (bundle / "next").replace(bundle / "current")


def test_an_update_is_taken_up_and_what_is_live_already_is_left_alone(device: Path) -> None:
    model = EdgeModel.load(device)
    before = model.logits(IMAGES)
    assert not model.reload()
    turn(device, "v0003")
    assert model.logits(IMAGES).shape == before.shape  # until it is asked to
    assert model.reload()
    assert model.version == "v0003"
    np.testing.assert_array_equal(model.logits(IMAGES), EdgeModel.load(device).logits(IMAGES))
    assert len(model.dream("sign").images) == 1
    turn(device, "v0002")  # rolled back
    assert model.reload()
    np.testing.assert_array_equal(model.logits(IMAGES), before)


def test_every_answer_of_many_threads_is_of_one_version_whole(device: Path) -> None:
    """Nobody waits for a reload, fails in one, or gets columns of one version under the labels of another."""
    model = EdgeModel.load(device)
    right = {}
    for version in ("v0002", "v0003"):
        alone = EdgeModel.load(device, version=version)
        right[version] = (alone.answers(IMAGES), alone.predict(IMAGES, "parity"), alone.logits(IMAGES).tobytes())
    allowed: list[set[str]] = [{str(kind[which]) for kind in right.values()} for which in range(3)]
    ways: list[Callable[[], object]] = [
        lambda: model.answers(IMAGES),
        lambda: model.predict(IMAGES, "parity"),
        lambda: model.logits(IMAGES).tobytes(),
    ]
    stop, wrong, counts = threading.Event(), [], [0] * 6
    versions: list[set[str]] = [set() for _ in counts]

    def ask(number: int) -> None:
        while not stop.is_set():
            try:
                answer = str(ways[number % 3]())
            except Exception as error:
                wrong.append(repr(error))
                return
            if answer not in allowed[number % 3]:
                wrong.append(answer)
            versions[number].add(answer)
            counts[number] += 1

    threads = [threading.Thread(target=ask, args=(number,)) for number in range(len(counts))]
    for thread in threads:
        thread.start()
    for round_ in range(20):
        turn(device, "v0003" if round_ % 2 == 0 else "v0002")
        assert model.reload()
    stop.set()
    for thread in threads:
        thread.join()
    assert wrong == []
    assert min(counts) > 20
    assert any(len(seen) == 2 for seen in versions)


def test_reloads_from_several_threads_open_the_version_once(device: Path) -> None:
    model = EdgeModel.load(device)
    turn(device, "v0003")
    answers: list[bool] = []
    threads = [threading.Thread(target=lambda: answers.append(model.reload())) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [False] * 7 + [True]


def test_a_live_version_that_is_damaged_leaves_the_model_on_the_one_it_has(device: Path) -> None:
    model = EdgeModel.load(device)
    before = model.answers(IMAGES)
    turn(device, "v0003")
    (device / "v0003" / "classifier.onnx").write_bytes(b"")
    with pytest.raises(BundleError, match=r"classifier\.onnx has 0 bytes"):
        model.reload()
    assert (model.version, model.answers(IMAGES)) == ("v0002", before)


def test_what_the_device_learnt_comes_along_where_it_still_fits(device: Path) -> None:
    """A head stands on the features of its version, and these weights are others."""
    model = EdgeModel.load(device)
    model.learn_head("own", IMAGES[:4], ["a", "b", "a", "b"])
    turn(device, "v0003")
    model.reload()
    assert "own" not in model.tasks
    assert "another trunk" in model.refused_heads["own"] or "features" in model.refused_heads["own"]
    turn(device, "v0002")
    model.reload()
    assert model.tasks["own"] == ("a", "b")
    assert not model.refused_heads


def test_what_was_not_stored_comes_along_where_it_fits_and_is_named_where_not(device: Path) -> None:
    model = EdgeModel.load(device)
    model.learn_head("own", IMAGES[:4], ["a", "b", "a", "b"], store=False)
    before = model.logits(IMAGES, "own")
    turn(device, "v0003")
    model.reload()
    assert "own" not in model.tasks
    assert "task own was learnt on another trunk" in model.refused_heads["own"]
    turn(device, "v0002")
    for version in ("v0002", "v0004"):
        assert model.reload()
        assert model.version == version
        publish_tiny(device, 3, sequence=4)  # of the same trunk
        assert not model.refused_heads
        np.testing.assert_allclose(model.logits(IMAGES, "own"), before, rtol=1e-5)


def test_what_is_learnt_while_a_version_takes_over_is_kept_for_its_own(device: Path) -> None:
    model = EdgeModel.load(device)

    class Slow(list):  # labels that let a version take over while the head is being learnt
        def __iter__(self):  # type: ignore[no-untyped-def]
            turn(device, "v0003")
            model.reload()
            return super().__iter__()

    model.learn_head("own", IMAGES[:4], Slow(["a", "b", "a", "b"]))
    assert model.version == "v0003"
    assert "own" not in model.tasks
    assert "own" in model.refused_heads
    turn(device, "v0002")
    model.reload()
    assert "own" in model.tasks


def test_a_named_version_and_a_bundle_in_memory_cannot_be_reloaded(device: Path) -> None:
    with pytest.raises(MygoEdgeError, match="only a model of a bundle's live version can be reloaded"):
        EdgeModel.load(device, version="v0002").reload()


def test_a_program_that_updates_itself(box: Path, device: Path) -> None:
    """As docs/device.md shows it."""
    model = EdgeModel.load(device)
    turn(box, "v0003")
    if update(str(box), device, UpdatePolicy()).changed:
        model.reload()
    assert model.version == "v0003"
