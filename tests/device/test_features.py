"""A device with a trunk: photos and texts to answers, dreams of features, tasks learnt here that outlast updates."""

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from mygo_edge.bundle.gaussian import discriminant, join, mahalanobis
from mygo_edge.bundle.manifest import BundleError
from mygo_edge.bundle.memories import TaskMemory, memory_bytes, parse_memory
from mygo_edge.data.datasets import image_batch
from mygo_edge.device import features
from mygo_edge.device.edge_model import EdgeModel
from mygo_edge.errors import MygoEdgeError
from mygo_edge.kernels.noise import dream_noise, feature_noise
from mygo_edge.update.__main__ import _stale_heads
from tests.device.test_commands import refused, run
from tests.features import (
    PHOTO_TASKS,
    photo_memory,
    photo_trunk,
    photos,
    publish_photos,
    publish_texts,
    text_memory,
    text_trunk,
    texts,
)

KNOWN = PHOTO_TASKS["warm"] + PHOTO_TASKS["cold"]


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two tasks of photos. Not to be changed."""
    folder = tmp_path_factory.mktemp("photos")
    publish_photos(folder, 2)
    return folder


@pytest.fixture(scope="module")
def model(bundle: Path) -> EdgeModel:
    return EdgeModel.load(bundle)


@pytest.fixture(scope="module")
def text_model(tmp_path_factory: pytest.TempPathFactory) -> EdgeModel:
    folder = tmp_path_factory.mktemp("texts")
    publish_texts(folder)
    return EdgeModel.load(folder)


@pytest.fixture
def own_bundle(bundle: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(bundle, tmp_path / "bundle"))


def accuracy(model: EdgeModel, colours: list[str], task: str | None = None) -> float:
    images, labels = photos(colours, 20, seed=1)
    return float(np.mean([a == b for a, b in zip(model.predict(images, task), labels, strict=True)]))


def test_photos_get_their_task_and_class(model: EdgeModel) -> None:
    assert accuracy(model, KNOWN) > 0.95
    assert accuracy(model, PHOTO_TASKS["cold"], "cold") > 0.95
    images, labels = photos(KNOWN, 5, seed=2)
    assert model.answers(images)[0] == ("warm", "red")
    assert model.predict_proba(images, "cold").shape == (len(labels), 3)
    assert model.answers(images) == [each.answers[0][:2] for each in model.assess(images)]


def test_logits_are_those_of_fishers_discriminant_with_the_whole_covariance(model: EdgeModel) -> None:
    """Against a dense inverse, instead of Woodbury's identity, of the memory before it was stored in int8."""
    memories, shared = photo_memory(["warm", "cold"])
    images, _ = photos(KNOWN, 10, seed=3)
    vectors = shared.transform(model._engine.trunk.vectors(images))  # type: ignore[attr-defined]
    means = join([task.means for task in memories])
    covariance = shared.factor.T.astype(np.float64) @ shared.factor + np.diag(shared.diagonal)
    away = vectors[:, None] - means.means  # [n, classes, features]
    distances = np.einsum("ncf,ncf->nc", away @ np.linalg.inv(covariance), away)
    expected = -0.5 * (distances - shared.spread / means.counts)
    got = model.logits(images)
    difference = (got - got.mean(1, keepdims=True)) - (expected - expected.mean(1, keepdims=True))
    assert np.abs(difference).max() < 0.05 * np.abs(expected - expected.mean(1, keepdims=True)).max()


def test_photos_may_be_paths_arrays_or_lists_of_any_size(model: EdgeModel, tmp_path: Path) -> None:
    images, _ = photos(["red", "blue"], 1, seed=4)
    paths = []
    for index, image in enumerate(images):
        paths.append(tmp_path / f"{index}.png")
        Image.fromarray(image).save(paths[-1])
    np.save(tmp_path / "both.npy", images)
    expected = model.logits(images)
    for same in (paths, [str(path) for path in paths], list(images), images.transpose(0, 3, 1, 2), images / 255):
        np.testing.assert_allclose(model.logits(same), expected, atol=1e-3)
    np.testing.assert_array_equal(model.logits(tmp_path / "both.npy"), expected)
    np.testing.assert_allclose(model.logits(images[0]), expected[:1], atol=1e-3)
    grey = np.arange(2 * 9 * 7, dtype=np.uint8).reshape(2, 9, 7)
    np.testing.assert_array_equal(model.logits(grey), model.logits(grey[..., None].repeat(3, -1)))
    np.testing.assert_allclose(model.logits([Image.open(path) for path in paths]), expected, atol=1e-3)
    palette = Image.fromarray(images[0]).quantize(64)
    np.testing.assert_array_equal(model.logits(palette), model.logits([palette.convert("RGB")]))
    mixed = model.predict([paths[1], np.full((50, 30, 3), (220, 30, 30), np.uint8)])
    assert mixed == ["blue", "red"]
    assert model.logits([]).shape == (0, 5)


def test_an_array_holds_the_photos_that_the_box_finds_in_it(model: EdgeModel) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (3, 9, 3, 7, 3), dtype=np.uint8)
    grey, wide = pixels[:, :, 0, :, 0], pixels[0].transpose(0, 3, 1, 2)[..., :3]  # [3, 9, 7] and [9, 3, 3, 3]
    for array in (grey, grey[:2], grey[:1], wide):
        expected = image_batch(array).numpy()
        np.testing.assert_array_equal(model.logits(array), model.logits(expected))
        assert len(model.logits(array)) == len(expected)
    colours, _ = photos(["red", "blue"], 2, seed=4)
    np.testing.assert_array_equal(model.logits(colours[0]), model.logits(colours[:1]))  # [height, width, 3] is one
    np.testing.assert_array_equal(model.logits(list(colours.transpose(0, 3, 1, 2))), model.logits(colours))


@pytest.mark.parametrize(
    ("inputs", "words"),
    [
        (np.zeros((2, 8, 8, 4), np.uint8), r"got shape \[2, 8, 8, 4\]"),
        (np.zeros((0, 0, 3), np.uint8), "got shape"),
        ([np.zeros((8, 9, 4), np.uint8)], r"got shape \[8, 9, 4\], as of one with transparency"),
        (np.zeros((8, 8, 3), np.int64), "got int64"),
        (np.full((8, 8, 3), np.nan), "values out of range"),
        (np.full((8, 8, 3), 255.0), "values out of range"),
        (7, "expected photos as paths or arrays; got int"),
        ("nowhere.jpg", "nowhere.jpg"),
    ],
)
def test_what_is_no_photo_is_refused(model: EdgeModel, inputs: object, words: str) -> None:
    with pytest.raises(MygoEdgeError, match=words):
        model.predict(inputs)


def test_dreams_are_features_and_start_from_the_boxs_noise(model: EdgeModel) -> None:
    memories, shared = photo_memory(["warm", "cold"])
    features, class_ids = model.dream("cold", n=300, seed=5, stream=1, step=2)
    z, ids, _ = dream_noise(np.arange(300), 3, shared.rank, seed=5, stream=1, step=2, xp=np)
    noise = feature_noise(np.arange(300), features.shape[1], seed=5, stream=1, step=2, xp=np, latent=shared.rank)
    np.testing.assert_array_equal(class_ids, ids)
    means = memories[1].means.means
    expected = shared.transform.inverse(means[ids] + z @ shared.factor + noise * np.sqrt(shared.diagonal))
    assert np.abs(features - expected).max() < 0.02 * expected.max()  # int8 on the device
    np.testing.assert_array_equal(model.dream("cold", n=3, seed=5, stream=1, step=2).samples, features[:3])
    assert model.dream("cold", "green", 4).class_ids.tolist() == [2] * 4


def test_dreams_are_recognised_and_photos_of_unknown_classes_are_rejected(model: EdgeModel) -> None:
    assert model.rejects(photos(KNOWN, 40, seed=6)[0]).mean() < 0.15
    assert model.rejects(photos(["violet", "black"], 40, seed=6)[0]).mean() > 0.9
    novelty = [model.novelty(photos(colours, 40, seed=7)[0]) for colours in (KNOWN, ["orange"])]
    assert np.median(novelty[1]) > np.quantile(novelty[0], 0.95)


def test_one_to_five_photos_a_class_are_enough_to_learn_a_task(own_bundle: Path) -> None:
    for shots in (1, 5):
        model = EdgeModel.load(own_bundle)
        model.learn("new", *photos(["violet", "orange"], shots, seed=8))
        assert model.tasks["new"] == ("orange", "violet")
        assert accuracy(model, ["violet", "orange"]) > 0.9  # among all seven classes
        assert accuracy(model, ["violet", "orange"], "new") > 0.9
        assert accuracy(model, KNOWN) > 0.9


def test_what_was_learnt_leaves_old_logits_as_they_were_and_dreams(own_bundle: Path) -> None:
    model = EdgeModel.load(own_bundle)
    images, _ = photos([*KNOWN, "violet"], 10, seed=9)
    before = model.logits(images)
    model.learn("new", *photos(["violet"], 5, seed=8))  # one class is a task, too
    np.testing.assert_allclose(model.logits(images)[:, :5], before, rtol=1e-5, atol=1e-4)
    means = model._engine.shared.transform(model.dream("new", "violet", 2000).samples).mean(0)  # type: ignore[attr-defined]
    vectors = model._engine.shared.transform(model._engine.trunk.vectors(images[-10:]))  # type: ignore[attr-defined]
    assert np.abs(means - vectors.mean(0)).mean() < 0.1 * vectors.mean()
    assert not model.rejects(images[-10:], "new").all()


def test_a_task_learnt_here_outlasts_updates_and_answers_the_same_after_a_restart(own_bundle: Path) -> None:
    model = EdgeModel.load(own_bundle)
    model.learn("new", *photos(["violet", "orange"], 5, seed=8))
    images, _ = photos(["violet", "orange"], 20, seed=1)
    again = EdgeModel.load(own_bundle)
    np.testing.assert_array_equal(again.logits(images), model.logits(images))
    assert [path.name for path in (own_bundle / "heads").iterdir()] == ["new.json"]
    publish_photos(own_bundle, 3)  # another task, and the factor of all three
    assert _stale_heads(own_bundle) == []
    updated = EdgeModel.load(own_bundle)
    assert list(updated.tasks) == ["warm", "cold", "grey", "new"]
    assert accuracy(updated, ["violet", "orange"]) > 0.9
    assert updated.refused_heads == {}


def test_a_memory_of_another_trunk_or_space_or_of_a_task_of_the_bundle_is_left_out(own_bundle: Path) -> None:
    model = EdgeModel.load(own_bundle)
    learnt = model.learn("new", *photos(["violet", "orange"], 5, seed=8))
    memory: TaskMemory = learnt.memory  # type: ignore[attr-defined]
    path = own_bundle / "heads" / "new.json"
    for other, words in (
        (replace(memory, trunk="0" * 64), "learnt on another trunk"),
        (replace(memory, transform=replace(memory.transform, power=1.0)), "another space of features"),
        (replace(memory, name="old"), "is of task old; give it its name back"),
    ):
        path.write_bytes(memory_bytes(other))
        loaded = EdgeModel.load(own_bundle)
        assert "new" not in loaded.tasks
        assert words in loaded.refused_heads["new"]
        with pytest.raises(MygoEdgeError, match=words):
            loaded.predict(photos(["red"], 1)[0], "new")
    path.unlink()
    (own_bundle / "heads" / "warm.json").write_bytes(memory_bytes(replace(memory, name="warm")))
    assert "the bundle has a task warm itself" in EdgeModel.load(own_bundle).refused_heads["warm"]
    assert [line for line in _stale_heads(own_bundle) if "the bundle has a task warm itself" in line]


def test_no_damage_to_a_memorys_file_gets_through(own_bundle: Path) -> None:
    model = EdgeModel.load(own_bundle)
    data = memory_bytes(model.learn("new", *photos(["violet"], 2, seed=8)).memory)  # type: ignore[attr-defined]
    assert memory_bytes(parse_memory(data, "it")) == data
    values = json.loads(data)
    rng = np.random.default_rng(0)
    for key in values:
        damaged = {name: value for name, value in values.items() if name != key}
        with pytest.raises(BundleError):
            parse_memory(json.dumps(damaged).encode(), "it")
    for _ in range(200):
        at = int(rng.integers(len(data)))
        mutant = data[:at] + bytes([data[at] ^ (1 << int(rng.integers(8)))]) + data[at + 1 :]
        try:
            if json.loads(mutant) == values:
                continue  # white space alone
        except ValueError:
            pass
        with pytest.raises(BundleError):
            parse_memory(mutant, "it")


def test_a_task_that_is_not_stored_comes_along_with_updates(own_bundle: Path) -> None:
    model = EdgeModel.load(own_bundle)
    images, labels = photos(["violet", "orange"], 5, seed=8)
    model.learn("new", images, labels, store=False)
    publish_photos(own_bundle, 3)
    assert model.reload()
    assert list(model.tasks) == ["warm", "cold", "grey", "new"]
    kept = EdgeModel.load(own_bundle)
    kept.learn("new", images, labels)  # read from its file, a task answers the same
    np.testing.assert_array_equal(EdgeModel.load(own_bundle).logits(images), model.logits(images))


def test_a_full_folder_of_tasks_takes_no_more_and_names_those_that_it_leaves_out(
    own_bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = EdgeModel.load(own_bundle)
    images, labels = photos(["violet"], 2, seed=8)
    for name in ("a", "b", "c"):
        model.learn(name, images, labels)
    monkeypatch.setattr("mygo_edge.bundle.heads._MAX_HEADS", 2)
    loaded = EdgeModel.load(own_bundle)
    assert [*loaded.tasks][2:] == ["a", "b"]
    assert "c.json is not read: 2 tasks are" in loaded.refused_heads["c"]
    for name in ("c", "d"):
        with pytest.raises(MygoEdgeError, match=f"heads has no room for task {name}"):
            loaded.learn(name, images, labels)
    assert sorted(path.name for path in (own_bundle / "heads").iterdir()) == ["a.json", "b.json", "c.json"]
    loaded.learn("b", images, labels)
    loaded.learn("d", images, labels, store=False)
    assert "d" in loaded.tasks


def test_what_cannot_be_learnt_is_refused(own_bundle: Path) -> None:
    model = EdgeModel.load(own_bundle)
    images, labels = photos(["violet"], 3)
    for name, given, words in (
        ("warm", labels, "cannot name a new task"),
        ("../x", labels, "cannot name a new task"),
        ("new", labels[:2], "3 inputs need as many labels, not 2"),
        ("new", ["\x1b[2J"] * 3, "printable names of a class or more"),
    ):
        with pytest.raises(MygoEdgeError, match=words):
            model.learn(name, images, given)
    with pytest.raises(MygoEdgeError, match="a class or more"):
        model.learn("new", [], [])
    with pytest.raises(MygoEdgeError, match=r"use learn\(\) instead"):
        model.learn_head("new", images, labels)
    assert not (own_bundle / "heads").exists()


def test_learn_where_dreams_are_images_makes_a_head(tmp_path: Path) -> None:
    from tests.bundles import publish_tiny
    from tests.device.test_heads import stripes

    publish_tiny(tmp_path, 2)
    model = EdgeModel.load(tmp_path)
    images, labels = stripes(5, seed=0)
    model.learn("stripes", images, labels)
    by_learn = model.logits(images, "stripes")
    model.learn_head("stripes", images, labels)
    np.testing.assert_array_equal(by_learn, model.logits(images, "stripes"))


def test_texts_get_their_class_and_other_topics_are_rejected(text_model: EdgeModel) -> None:
    found, labels = texts(["sport", "money", "space"], 30, seed=1)
    assert np.mean([a == b for a, b in zip(text_model.predict(found), labels, strict=True)]) > 0.95
    assert text_model.predict("Goal for team and coach") == ["sport"]
    assert text_model.rejects(texts(["food"], 30)[0]).mean() > 0.8
    assert text_model.rejects(found).mean() < 0.3
    assert text_model.logits([]).shape == (0, 3)
    with pytest.raises(MygoEdgeError, match="item 1 is int"):
        text_model.predict(["goal", 7])


def test_a_topic_is_learnt_from_five_texts(text_model: EdgeModel) -> None:
    model = text_model
    model.learn("lunch", *texts(["food"], 5, seed=2), store=False)
    assert np.mean([label == "food" for label in model.predict(texts(["food"], 30, seed=3)[0])]) > 0.9


def test_the_classifier_of_a_bundle_is_computed_beside_the_one_that_the_box_has(text_model: EdgeModel) -> None:
    memories, shared = text_memory()
    weight, bias = discriminant(join([task.means for task in memories]), shared)
    found, _ = texts(["sport", "money", "space"], 30, seed=4)
    vectors = shared.transform(text_model._engine.trunk.vectors(found))  # type: ignore[attr-defined]
    box = vectors @ weight.T + bias
    assert np.mean(box.argmax(1) == text_model.logits(found)[:, :3].argmax(1)) > 0.98
    nearest = mahalanobis(vectors, join([task.means for task in memories]), shared)
    assert nearest.shape == (90, 3)


def test_a_text_graph_may_ask_for_kinds_of_tokens_and_gets_zeros(tmp_path: Path) -> None:
    trunk = text_trunk()
    graph = onnx.load_from_string(trunk.graph)
    graph.graph.input.append(helper.make_tensor_value_info("token_type_ids", TensorProto.INT64, ["batch", "tokens"]))
    publish_texts(tmp_path, trunk=trunk._replace(graph=graph.SerializeToString()))
    assert EdgeModel.load(tmp_path).predict("goal and match") == ["sport"]


def test_predict_takes_photos_texts_and_lines(bundle: Path, text_model: EdgeModel, tmp_path: Path) -> None:
    Image.fromarray(photos(["cyan"], 1)[0][0]).save(tmp_path / "a.png")
    for order in (["--top", 2, tmp_path / "a.png"], [tmp_path / "a.png", "--top", 2]):
        done = run("predict", bundle, *order)
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.startswith(f"{tmp_path}/a.png: cyan  (task cold, ")
    refused(run("predict", bundle, "--text", "goal"), "takes images: give their files")
    publish_texts(tmp_path / "texts")
    done = run("predict", tmp_path / "texts", "--text", "goal of the team", "--text", "moon orbit", "--json")
    assert [each["class"] for each in json.loads(done.stdout)] == ["sport", "space"]
    command = [sys.executable, "-m", "mygo_edge.predict", str(tmp_path / "texts"), "--reject"]
    lines = "ball goal match\n\nbread soup apple cheese butter\n"
    done = subprocess.run(command, input=lines, capture_output=True, text=True, check=True)
    first, second = done.stdout.splitlines()
    assert first.startswith("ball goal match: sport  (task first, ")
    assert second.startswith("bread soup apple cheese butter: none of these; nearest ")
    refused(run("predict", tmp_path / "texts", tmp_path / "a.png"), "takes texts, not files")


def test_a_byte_that_is_no_text_ends_no_stream_of_lines(tmp_path: Path) -> None:
    publish_texts(tmp_path)
    command = [sys.executable, "-m", "mygo_edge.predict", str(tmp_path)]
    strict = os.environ | {"PYTHONIOENCODING": "utf-8:strict"}
    lines = b"ball goal match caf\xe9\nmoon orbit\n"
    done = subprocess.run(command, input=lines, capture_output=True, env=strict, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert [line.split(b": ")[1].split()[0] for line in done.stdout.splitlines()] == [b"sport", b"space"]


def test_the_dream_command_writes_features_and_refuses_a_picture_of_them(bundle: Path, tmp_path: Path) -> None:
    done = run("dream", bundle, "--task", "cold", "-n", 3, "--to", tmp_path / "dreams.npy")
    assert (done.returncode, done.stderr) == (0, "")
    np.testing.assert_array_equal(np.load(tmp_path / "dreams.npy"), EdgeModel.load(bundle).dream("cold", n=3).samples)
    refused(run("dream", bundle, "--task", "cold", "--to", tmp_path / "dreams.png"), "vectors, which no picture shows")


def test_the_selftest_command_measures_a_bundle_with_a_trunk(bundle: Path) -> None:
    done = run("selftest", bundle, "--latency")
    assert (done.returncode, done.stderr) == (0, "")
    for words in ("v0002/trunk.onnx: computes what was published", "v0002/factor.int8.npz: computes", "first dream"):
        assert words in done.stdout


def test_more_classes_than_memory_has_room_for_are_refused(bundle: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(features, "_MATRICES", 2**34)  # bytes a pair of classes
    with pytest.raises(BundleError, match="classes, too many for the memory"):
        EdgeModel.load(bundle)


def test_a_trunk_comes_in_one_precision(bundle: Path) -> None:
    assert EdgeModel.load(bundle, precision="fp32").precision == "fp32"
    with pytest.raises(MygoEdgeError, match="comes in fp32, not in 'int8'"):
        EdgeModel.load(bundle, precision="int8")


def test_a_graph_that_takes_floats_is_given_scaled_pixels(tmp_path: Path) -> None:
    """The same trunk, with the scaling of (pixel / 255 - 0.5) / 0.5 outside the graph, gives the same answers."""
    trunk = photo_trunk()
    model = onnx.load_from_string(trunk.graph)
    graph = model.graph
    graph.input[0].type.tensor_type.elem_type = TensorProto.FLOAT
    # (p / 255 - 0.5) / 0.5 = p / 127.5 - 1, and the graph has p / 128: x -> (x + 1) 127.5 / 128 in its first two nodes
    del graph.node[0]
    graph.node[0].input[0] = "shifted"
    graph.node.insert(0, helper.make_node("Add", ["image", "one"], ["shifted"]))
    scale = next(tensor for tensor in graph.initializer if tensor.name == "scale")
    scale.CopyFrom(numpy_helper.from_array(np.float32(127.5 / 128), "scale"))
    graph.initializer.append(numpy_helper.from_array(np.float32(1), "one"))
    publish_photos(tmp_path / "bytes", 2)
    publish_photos(tmp_path / "floats", 2, trunk=trunk._replace(graph=model.SerializeToString()))
    images, _ = photos(KNOWN, 5, seed=4)
    expected = EdgeModel.load(tmp_path / "bytes").logits(images)
    np.testing.assert_allclose(EdgeModel.load(tmp_path / "floats").logits(images), expected, rtol=1e-3, atol=1e-2)
