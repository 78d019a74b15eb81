"""What a device gets from a bundle."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from mygo_edge.device.edge_model import EdgeModel
from mygo_edge.device.noise import dream_noise
from mygo_edge.errors import MygoEdgeError
from mygo_edge.kernels.noise import dream_noise as noise_of
from mygo_edge.model.memory import GenerativeMemory
from tests.bundles import SHAPE, TASKS, tiny_generators, tiny_net

IMAGES = np.random.default_rng(0).integers(0, 256, (300, *SHAPE), dtype=np.uint8)  # more than one batch of a device


def box_logits(images: np.ndarray) -> np.ndarray:
    """What the machine that learns says."""
    with torch.inference_mode():
        return tiny_net(2)(torch.from_numpy(images).float() / 127.5 - 1).numpy()


def test_the_device_names_its_version_tasks_and_classes(model: EdgeModel) -> None:
    assert model.version == "v0002"
    assert dict(model.tasks) == {name: tuple(classes) for name, classes in TASKS[:2]}
    assert model.input_shape == SHAPE
    assert model.labels("size") == [("size", "small"), ("size", "medium"), ("size", "large")]


def test_logits_of_all_heads_and_of_one_equal_those_on_the_box(model: EdgeModel) -> None:
    expected = box_logits(IMAGES)
    np.testing.assert_allclose(model.logits(IMAGES), expected, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(model.logits(IMAGES, "size"), expected[:, 2:], rtol=1e-4, atol=1e-4)


def test_predictions_are_the_largest_logits_by_name(model: EdgeModel) -> None:
    names = [name for _, classes in TASKS[:2] for name in classes]
    expected = box_logits(IMAGES)
    assert model.predict(IMAGES) == [names[i] for i in expected.argmax(1)]
    assert model.predict(IMAGES, "parity") == [names[i] for i in expected[:, :2].argmax(1)]


def test_the_answer_among_all_tasks_names_task_and_class(model: EdgeModel) -> None:
    labels = [(name, label) for name, classes in TASKS[:2] for label in classes]
    answers = model.answers(IMAGES)
    assert answers == [labels[i] for i in box_logits(IMAGES).argmax(1)]
    assert len(set(answers)) > 1
    assert model.answers(IMAGES[:0]) == []


def test_probabilities_are_a_softmax_over_the_heads_in_question(model: EdgeModel) -> None:
    expected = torch.from_numpy(box_logits(IMAGES))
    np.testing.assert_allclose(model.predict_proba(IMAGES), expected.softmax(1), atol=1e-5)
    np.testing.assert_allclose(model.predict_proba(IMAGES, "size"), expected[:, 2:].softmax(1), atol=1e-5)


def test_images_may_be_bytes_or_floats_single_or_many_with_or_without_the_one_channel(model: EdgeModel) -> None:
    expected = model.logits(IMAGES)
    single = [IMAGES[3], IMAGES[3, 0], IMAGES[3:4]]
    for images in [*single, *(image / 255 for image in single), (IMAGES[3] / 255).astype(np.float32)]:
        np.testing.assert_allclose(model.logits(images), expected[3:4], atol=1e-5)
    np.testing.assert_array_equal(model.logits(IMAGES[:, 0]), expected)


def test_no_images_have_no_classes(model: EdgeModel) -> None:
    assert model.predict(IMAGES[:0]) == []
    assert model.predict_proba(IMAGES[:0], "size").shape == (0, 3)


@pytest.mark.parametrize(
    ("images", "complaint"),
    [
        (np.zeros((2, 3, 8, 8), np.uint8), r"got shape \[2, 3, 8, 8\]"),
        (np.zeros((8, 7), np.uint8), r"got shape \[8, 7\]"),
        (np.zeros((8, 8), np.int64), "got type int64"),
        (np.zeros((8, 8), bool), "got type bool"),
        (np.full((8, 8), np.nan), "got values from nan"),
        (np.full((8, 8), np.inf), "got values from inf"),
        (np.full((8, 8), 255.0), "got values from 255.0 to 255.0"),
        ([[1, 2], [3]], "no array"),
        (None, "got shape"),
    ],
)
def test_other_images_are_refused_with_what_is_expected(model: EdgeModel, images: object, complaint: str) -> None:
    with pytest.raises(MygoEdgeError, match=complaint) as caught:
        model.predict(images)
    assert "expected uint8, or floats in [0, 1], of shape [n, 1, 8, 8]" in str(caught.value)


def test_an_unknown_task_or_class_is_answered_with_the_known_ones(model: EdgeModel) -> None:
    with pytest.raises(MygoEdgeError, match="unknown task 'colour'; the tasks of v0002 are parity, size"):
        model.predict(IMAGES, "colour")
    for wrong in ("huge", 3, -1):
        with pytest.raises(MygoEdgeError, match=r"are 0 \(small\), 1 \(medium\), 2 \(large\)"):
            model.dream("size", wrong)


NUMBERS = [
    *({"n": 0}, {"seed": -1}, {"seed": 2**64}, {"step": 2**32}, {"stream": -1}),
    *({"n": 4 * 10**9}, {"n": 1.5}, {"seed": 0.5}, {"class_id": 0.5}, {"step": None}),
]


@pytest.mark.parametrize("numbers", NUMBERS)
def test_numbers_out_of_range_are_refused_by_name(model: EdgeModel, numbers: dict[str, int]) -> None:
    with pytest.raises(MygoEdgeError, match=f"{next(iter(numbers))} must be"):
        model.dream("size", **numbers)


def test_a_dream_is_of_one_task_that_is_there(model: EdgeModel) -> None:
    for task, words in ((None, "a dream is of one task: name one of parity, size"), (["size"], "unknown task")):
        with pytest.raises(MygoEdgeError, match=words):
            model.dream(task)  # type: ignore[arg-type]
    numbers = {"n": np.int64(2), "seed": np.uint64(3), "class_id": np.int32(1)}
    np.testing.assert_array_equal(model.dream("size", **numbers).images, model.dream("size", 1, 2, 3).images)


@pytest.mark.parametrize("seed", [0, 7, 2**40 + 5, 2**64 - 1])
def test_noise_on_the_device_equals_noise_on_the_box(seed: int) -> None:
    samples = np.array([0, 1, 255, 2**31, 2**32 - 1])
    z, class_ids = dream_noise(samples, 3, 64, seed=seed, stream=2, step=9)
    key = {"seed": torch.tensor(seed - 2**64 if seed >= 2**63 else seed), "stream": 2, "step": 9}
    box_z, box_ids, _ = noise_of(torch.from_numpy(samples), torch.full((5,), 3), 64, **key, xp=torch)
    np.testing.assert_array_equal(class_ids, box_ids.numpy())
    np.testing.assert_array_equal(z, box_z.numpy())  # to the last bit
    assert z.dtype == np.float32


def test_dreams_on_the_device_equal_dreams_on_the_box(model: EdgeModel) -> None:
    memory = GenerativeMemory(SHAPE)
    for generator in tiny_generators(2):
        memory.add(generator)
    box = memory.dream([0, 300], seed=5, stream=1, step=2)
    images, class_ids = model.dream("size", n=300, seed=5, stream=1, step=2)
    np.testing.assert_array_equal(class_ids, box.class_ids.numpy())
    expected = (box.images.numpy() + 1) * 127.5
    assert images.dtype == np.uint8
    assert np.abs(images - expected).max() <= 0.51  # rounding, and the last bits of the arithmetic


def test_a_dream_depends_on_its_seed_and_index_alone(model: EdgeModel) -> None:
    few, many = model.dream("size", n=3, seed=1), model.dream("size", n=260, seed=1)
    np.testing.assert_array_equal(few.images, many.images[:3])
    assert (few.images != model.dream("size", n=3, seed=2).images).any()


def test_a_class_may_be_asked_for_by_index_or_by_name(model: EdgeModel) -> None:
    by_index, by_name = model.dream("size", 2, 4), model.dream("size", "large", 4)
    assert by_index.class_ids.tolist() == [2, 2, 2, 2]
    np.testing.assert_array_equal(by_index.images, by_name.images)
    assert (by_index.images != model.dream("size", 0, 4).images).any()


def test_a_named_version_can_be_loaded(bundle: Path) -> None:
    assert list(EdgeModel.load(bundle, version="v0001").tasks) == ["parity"]


def test_more_threads_give_the_same_answer_and_none_are_refused(bundle: Path, model: EdgeModel) -> None:
    np.testing.assert_allclose(EdgeModel.load(bundle, threads=2).logits(IMAGES), model.logits(IMAGES), atol=1e-5)
    with pytest.raises(MygoEdgeError, match="threads must be at least 1"):
        EdgeModel.load(bundle, threads=0)


def test_the_runtime_needs_neither_torch_nor_onnx_nor_pillow() -> None:
    program = (
        "import sys, mygo_edge; mygo_edge.EdgeModel; import mygo_edge.predict, mygo_edge.dream;"
        "sys.exit(' '.join(sys.modules.keys() & {'torch', 'onnx', 'PIL', 'mygo_edge.export', 'mygo_edge.model'}))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stderr.strip() == ""
