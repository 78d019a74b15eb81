"""Learning a task on the device: usable at once, kept, refused when it would be wrong, and sent back to the box."""

import json
import os
import shutil
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from mygo_edge.bundle.heads import Head, HeadError, digest_of, head_bytes, parse_head
from mygo_edge.bundle.manifest import BundleError
from mygo_edge.bundle.signature import new_key
from mygo_edge.device.edge_model import EdgeModel
from mygo_edge.device.fitting import Others, fit_head
from mygo_edge.errors import MygoEdgeError
from mygo_edge.export.device_head import read_device_head, trunk_digest
from mygo_edge.export.folding import device_features
from mygo_edge.sign import sign_version
from tests.bundles import SHAPE, publish_tiny, tiny_net


def stripes(n: int, seed: int) -> tuple[np.ndarray, list[str]]:
    """n images a class, of bars that stand or lie, somewhere, in noise: uint8 [3 n, 1, 8, 8] and their classes."""
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 60, (3 * n, *SHAPE), dtype=np.uint8)
    for index, image in enumerate(images):
        at = 2 * rng.integers(4)
        if index < n:
            image[0, :, at : at + 2] = 250
        elif index < 2 * n:
            image[0, at : at + 2] = 250
    return images, ["standing"] * n + ["lying"] * n + ["nothing"] * n


def accuracy(model: EdgeModel, task: str | None = "stripes") -> float:
    images, labels = stripes(100, seed=1)
    return float(np.mean([a == b for a, b in zip(model.predict(images, task), labels, strict=True)]))


@pytest.fixture
def learnt(own_bundle: Path) -> EdgeModel:
    """A model that learnt a task from five images a class."""
    model = EdgeModel.load(own_bundle)
    model.learn_head("stripes", *stripes(5, seed=0))
    return model


def test_five_images_a_class_are_enough_to_answer_at_once(learnt: EdgeModel) -> None:
    assert learnt.tasks["stripes"] == ("lying", "nothing", "standing")
    assert learnt.labels()[-3:] == [("stripes", name) for name in ("lying", "nothing", "standing")]
    assert accuracy(learnt) > 0.7  # a guess has 0.33, and the features are random
    assert accuracy(learnt, None) > 0.6  # among all eight classes


def test_old_tasks_are_still_recognised_among_all(own_bundle: Path) -> None:
    model = EdgeModel.load(own_bundle)
    dreams = np.concatenate([model.dream(task, n=100, seed=5).images for task in model.tasks])
    before = model.logits(dreams)
    model.learn_head("stripes", *stripes(5, seed=0))
    after = model.logits(dreams)
    np.testing.assert_array_equal(after[:, : before.shape[1]], before)
    assert np.mean(after.argmax(1) < before.shape[1]) > 0.9  # few dreams are taken for stripes


def test_probabilities_cover_the_new_task_and_no_images_have_none(learnt: EdgeModel) -> None:
    images, _ = stripes(2, seed=2)
    assert learnt.predict_proba(images).shape == (6, 8)
    np.testing.assert_allclose(learnt.predict_proba(images, "stripes").sum(1), 1, rtol=1e-5)
    np.testing.assert_allclose(learnt.logits(images, "stripes"), learnt.logits(images)[:, 5:], atol=1e-5)
    assert learnt.logits(images[:0]).shape == (0, 8)


def test_answers_name_the_new_task(learnt: EdgeModel) -> None:
    images, _ = stripes(20, seed=2)
    answers = learnt.answers(images)
    assert [label for _, label in answers] == learnt.predict(images)
    assert {("stripes", "lying"), ("stripes", "standing")} <= set(answers)
    assert {task for task, _ in learnt.answers(images, "stripes")} == {"stripes"}


def test_a_head_fits_every_precision_of_its_trunk(tmp_path: Path) -> None:
    publish_tiny(tmp_path, 2, precision="int8", max_loss=1.0)
    EdgeModel.load(tmp_path, precision="int8").learn_head("stripes", *stripes(5, seed=0))
    for precision in ("fp32", "int8"):
        assert accuracy(EdgeModel.load(tmp_path, precision=precision)) > 0.7


def test_a_head_is_kept_and_answers_the_same_when_loaded_again(own_bundle: Path, learnt: EdgeModel) -> None:
    images, _ = stripes(20, seed=3)
    again = EdgeModel.load(own_bundle)
    np.testing.assert_array_equal(again.logits(images), learnt.logits(images))
    assert again.refused_heads == {}
    assert [path.name for path in (own_bundle / "heads").iterdir()] == ["stripes.json"]
    assert "stripes" not in EdgeModel.load(own_bundle, heads=own_bundle / "nowhere").tasks


def test_a_head_is_learnt_again_under_its_name(own_bundle: Path, learnt: EdgeModel) -> None:
    images, labels = stripes(20, seed=4)
    learnt.learn_head("stripes", images[:40], labels[:40])
    assert learnt.tasks["stripes"] == EdgeModel.load(own_bundle).tasks["stripes"] == ("lying", "standing")


def test_a_head_can_be_tried_without_being_kept(own_bundle: Path) -> None:
    model = EdgeModel.load(own_bundle)
    model.learn_head("stripes", *stripes(5, seed=0), store=False)
    assert "stripes" in model.tasks
    assert not (own_bundle / "heads").exists()


def test_the_fit_is_a_function_of_the_data_alone(own_bundle: Path) -> None:
    first, second = (EdgeModel.load(own_bundle).learn_head("stripes", *stripes(5, seed=0)) for _ in range(2))
    np.testing.assert_array_equal(first.weight, second.weight)


def test_a_head_stays_usable_across_an_update_of_the_same_trunk(own_bundle: Path, learnt: EdgeModel) -> None:
    """tiny_net has the same features whatever the number of its heads."""
    assert publish_tiny(own_bundle, 3).name == "v0003"
    again = EdgeModel.load(own_bundle)
    assert list(again.tasks) == ["parity", "size", "sign", "stripes"]
    assert accuracy(again) == accuracy(learnt)


def test_after_the_trunk_changed_a_head_is_refused_with_the_reason(own_bundle: Path, learnt: EdgeModel) -> None:
    publish_tiny(own_bundle, 3, seed=1)
    again = EdgeModel.load(own_bundle)
    assert "stripes" not in again.tasks
    reason = "task stripes was learnt on another trunk"
    assert reason in again.refused_heads["stripes"]
    with pytest.raises(MygoEdgeError, match=reason):
        again.predict(np.zeros(SHAPE, np.uint8), "stripes")
    again.learn_head("stripes", *stripes(5, seed=0))
    assert again.refused_heads == {}
    assert accuracy(again) > 0.7


def test_the_commands_say_that_a_head_is_not_used(own_bundle: Path, learnt: EdgeModel, tmp_path: Path) -> None:
    box = Path(shutil.copytree(own_bundle, tmp_path / "box"))
    publish_tiny(box, 3, seed=1)
    np.save(tmp_path / "a.npy", np.zeros(SHAPE, np.uint8))
    for arguments in (["update", box, own_bundle], ["predict", own_bundle, tmp_path / "a.npy"]):
        command = [sys.executable, "-m", f"mygo_edge.{arguments[0]}", *map(str, arguments[1:])]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0
        assert "warning: task stripes was learnt on another trunk" in done.stderr


def test_a_task_of_the_bundle_comes_before_one_learnt_here(own_bundle: Path) -> None:
    model = EdgeModel.load(own_bundle)
    model.learn_head("sign", *stripes(5, seed=0))
    publish_tiny(own_bundle, 3)
    again = EdgeModel.load(own_bundle)
    assert again.tasks["sign"] == ("minus", "plus")
    assert "the bundle has a task sign itself" in again.refused_heads["sign"]


def test_a_head_has_nothing_to_dream_with(learnt: EdgeModel) -> None:
    with pytest.raises(MygoEdgeError, match="no generator"):
        learnt.dream("stripes")


@pytest.mark.parametrize(
    ("name", "labels", "words"),
    [
        ("parity", ["a", "b"], "'parity' cannot name a new task"),
        ("Parity", ["a", "b"], "'Parity' cannot name a new task"),
        ("../x", ["a", "b"], "'../x' cannot name a new task"),
        ("", ["a", "b"], "cannot name a new task"),
        ("new", ["a", "a"], "two classes or more"),
        ("new", ["a", "\x1b[2J"], "printable"),
        ("new", ["a", "b", "c"], "2 inputs need as many labels, not 3"),
        ("new", [], "two classes or more"),
    ],
)
def test_what_cannot_be_learnt_is_refused(own_bundle: Path, name: str, labels: list[str], words: str) -> None:
    model = EdgeModel.load(own_bundle)
    with pytest.raises(MygoEdgeError, match=words):
        model.learn_head(name, np.zeros((2, *SHAPE), np.uint8), labels)
    assert list(model.tasks) == ["parity", "size"]
    assert not (own_bundle / "heads").exists()


def test_with_a_public_key_unsigned_heads_are_used_only_from_a_named_folder(own_bundle: Path, tmp_path: Path) -> None:
    EdgeModel.load(own_bundle).learn_head("stripes", *stripes(5, seed=0))
    new_key(tmp_path / "key", tmp_path / "key.pub")
    sign_version(own_bundle / "v0002", tmp_path / "key")
    model = EdgeModel.load(own_bundle, public_key=tmp_path / "key.pub")
    assert "stripes" not in model.tasks
    with pytest.raises(MygoEdgeError, match=r"load\(\.\.\., heads=FOLDER\)"):
        model.learn_head("stripes", *stripes(5, seed=0))
    assert "stripes" in EdgeModel.load(own_bundle, public_key=tmp_path / "key.pub", heads=own_bundle / "heads").tasks


def test_learning_and_predicting_at_the_same_time(own_bundle: Path) -> None:
    model = EdgeModel.load(own_bundle)
    images, _ = stripes(4, seed=0)
    errors: list[BaseException] = []
    stop = threading.Event()

    def predict() -> None:
        try:
            while not stop.is_set():
                assert model.predict_proba(images).shape[1] in (5, 7, 8)
                assert len(model.predict(images)) == 12
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=predict) for _ in range(3)]
    for thread in threads:
        thread.start()
    for n in (12, 8, 12, 8):  # three classes, then two
        model.learn_head("stripes", *(part[:n] for part in stripes(4, seed=0)), dreams=16, store=False)
    stop.set()
    for thread in threads:
        thread.join()
    assert not errors


def test_a_constant_feature_and_a_class_of_one_image_do_no_harm() -> None:
    rng = np.random.default_rng(0)
    features = rng.normal(size=(7, 5)).astype(np.float32)
    features[:, 2] = 3
    others = Others(
        np.zeros((7, 2), np.float32), features, np.zeros((7, 2), np.float32), np.array([0, 1, 0, 1, 0, 1, 0])
    )
    weight, bias = fit_head(features, np.array([0, 1, 1, 1, 1, 1, 1]), 2, others)
    assert np.isfinite(weight).all()
    assert np.isfinite(bias).all()
    assert (weight[:, 2] == 0).all()


# Back to the box.


def test_the_box_reads_a_head_as_a_layer_that_answers_the_same(own_bundle: Path, learnt: EdgeModel) -> None:
    net = tiny_net(2)
    head, layer = read_device_head(own_bundle / "heads" / "stripes.json", net, [0.5], [0.5])
    assert (head.name, head.classes, head.images) == ("stripes", ("lying", "nothing", "standing"), 15)
    images, _ = stripes(10, seed=6)
    with torch.inference_mode():
        logits = layer(device_features(net)(torch.from_numpy(images).float() / 127.5 - 1)).numpy()
    np.testing.assert_allclose(logits, learnt.logits(images, "stripes"), atol=1e-4)


def test_the_box_refuses_a_head_of_another_trunk(own_bundle: Path, learnt: EdgeModel) -> None:
    with pytest.raises(HeadError, match=r"stripes\.json was learnt on another trunk"):
        read_device_head(own_bundle / "heads" / "stripes.json", tiny_net(2, seed=1), [0.5], [0.5])
    with pytest.raises(HeadError, match="another trunk"):  # the same pixels mean other features
        read_device_head(own_bundle / "heads" / "stripes.json", tiny_net(2), [0.4], [0.5])


def test_a_trunk_is_its_features_and_nothing_of_its_heads() -> None:
    assert trunk_digest(tiny_net(1), [0.5], [0.5]) == trunk_digest(tiny_net(3), [0.5], [0.5])
    assert trunk_digest(tiny_net(1, seed=1), [0.5], [0.5]) != trunk_digest(tiny_net(1), [0.5], [0.5])


# What is not a head.

HEAD = Head(
    "stripes",
    ("lying", "standing"),
    np.arange(12, dtype=np.float32).reshape(2, 6),
    np.array([0.5, -0.5], np.float32),
    "0" * 64,
    10,
    "2030-01-31T12:00:00+00:00",
)


def test_a_head_is_read_as_it_was_written() -> None:
    read = parse_head(head_bytes(HEAD), "here")
    np.testing.assert_array_equal(read.weight, HEAD.weight)
    assert (read.name, read.classes, read.trunk, read.images, read.created) == (
        *(HEAD.name, HEAD.classes, HEAD.trunk, HEAD.images, HEAD.created),
    )


@given(at=st.integers(0, len(head_bytes(HEAD)) - 1), byte=st.integers(0, 255), cut=st.booleans())
@settings(max_examples=200, deadline=None)
def test_a_changed_byte_of_a_head_is_noticed(at: int, byte: int, cut: bool) -> None:
    data = bytearray(head_bytes(HEAD))
    data[at] = byte
    if cut:
        del data[at:]
    with suppress(BundleError):
        assert head_bytes(parse_head(bytes(data), "here")) == head_bytes(HEAD)  # white space


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


@given(key=st.sampled_from(sorted(json.loads(head_bytes(HEAD)))), value=JSON)
@settings(max_examples=60, deadline=None)
def test_a_head_whose_author_lies_and_makes_the_hash_agree_is_refused_or_whole(key: str, value: object) -> None:
    values = json.loads(head_bytes(HEAD)) | {key: value}
    if key != "sha256":
        values["sha256"] = digest_of({name: said for name, said in values.items() if name != "sha256"})
    with suppress(BundleError):
        read = parse_head(json.dumps(values).encode(), "here")
        assert read.logits(np.zeros((1, 6), np.float32)).shape == (1, len(read.classes))


@pytest.mark.parametrize("weight", [np.nan, np.inf, 1e7])
def test_weights_that_are_no_sensible_numbers_are_refused(weight: float) -> None:
    bad = Head(HEAD.name, HEAD.classes, np.full((2, 6), weight, np.float32), HEAD.bias, HEAD.trunk, 10, HEAD.created)
    with pytest.raises(BundleError, match="weight must be finite"):
        parse_head(head_bytes(bad), "here")


@pytest.mark.parametrize("damage", ["cut", "renamed", "link", "pipe", "huge"])
def test_a_damaged_file_of_a_head_is_left_out_and_the_rest_works(
    own_bundle: Path, learnt: EdgeModel, damage: str
) -> None:
    path = own_bundle / "heads" / "stripes.json"
    match damage:
        case "cut":
            path.write_bytes(path.read_bytes()[:-20])
        case "renamed":
            path = path.rename(path.with_name("other.json"))
        case "link":
            path.rename(own_bundle / "elsewhere")
            path.symlink_to(own_bundle / "elsewhere")
        case "pipe":
            path.unlink()
            os.mkfifo(path)
        case "huge":
            with path.open("wb") as file:
                file.truncate(2**40)
    model = EdgeModel.load(own_bundle)
    assert list(model.tasks) == ["parity", "size"]
    assert path.name in model.refused_heads[path.stem]


@pytest.mark.parametrize(
    ("name", "labels", "words"),
    [
        (5, ["a", "b"], "'5' cannot name a new task"),
        (None, ["a", "b"], "'None' cannot name a new task"),
        ("stripes", None, "labels must be the name of every input's class, in order, not NoneType"),
        ("stripes", "ab", "in order, not str"),
        ("stripes", 7, "in order, not int"),
        ("stripes", {0: "a", 1: "b"}, "in order, not dict"),
        ("stripes", {"a", "b"}, "in order, not set"),
        ("stripes", np.array([["a"], ["b"]]), r"in order, not an array of shape \[2, 1\]"),
        ("stripes", ["a", None], "input 1 has no label, but None"),
        ("stripes", np.array([np.nan, 1]), "input 0 has no label, but nan"),
        ("stripes", ["a", " "], "input 1 has no label, but ' '"),
    ],
)
def test_arguments_of_another_type_are_one_line(own_bundle: Path, name: object, labels: object, words: str) -> None:
    model = EdgeModel.load(own_bundle)
    with pytest.raises(MygoEdgeError, match=words):
        model.learn_head(name, np.zeros((2, *SHAPE), np.uint8), labels)  # type: ignore[arg-type]


def test_labels_may_be_whatever_gives_one_after_another(own_bundle: Path) -> None:
    model = EdgeModel.load(own_bundle)
    images, labels = stripes(2, seed=0)
    model.learn("words", images, (label for label in labels), store=False)
    assert model.tasks["words"] == ("lying", "nothing", "standing")
    model.learn("numbers", images, torch.tensor([7, 8] * 3), store=False)
    assert model.tasks["numbers"] == ("7", "8")


@pytest.mark.parametrize("threads", ["2", 2.0, True, None, 0])
def test_threads_are_a_number(own_bundle: Path, threads: object) -> None:
    with pytest.raises(MygoEdgeError, match="threads must be at least 1"):
        EdgeModel.load(own_bundle, threads=threads)  # type: ignore[arg-type]
