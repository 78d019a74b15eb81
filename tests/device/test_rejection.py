"""What a device says besides the class: several answers, and "none of these"."""

import json
from pathlib import Path

import numpy as np
import pytest

from mygo_edge.device.edge_model import EdgeModel
from mygo_edge.errors import MygoEdgeError
from tests.bundles import SHAPE
from tests.device.test_commands import refused, run

IMAGES = np.random.default_rng(0).integers(0, 256, (40, *SHAPE), dtype=np.uint8)


@pytest.mark.parametrize("task", [None, "size"])
@pytest.mark.parametrize("share", [0.02, 0.2])
def test_of_fresh_dreams_as_many_are_rejected_as_were_asked_for(
    model: EdgeModel, task: str | None, share: float
) -> None:
    tasks = model.tasks if task is None else [task]
    dreams = np.concatenate([model.dream(name, n=1000, seed=9).images for name in tasks])
    assert np.mean(model.rejects(dreams, task, share)) == pytest.approx(share, abs=0.03)


def test_what_is_rejected_is_what_is_newer_than_the_threshold(model: EdgeModel) -> None:
    rejected = model.rejects(IMAGES, "size", 0.5)
    np.testing.assert_array_equal(rejected, model.novelty(IMAGES, "size") > model.threshold("size", 0.5))
    assert 0 < rejected.sum() < len(IMAGES)


def test_an_assessment_holds_the_most_likely_classes_in_order(model: EdgeModel) -> None:
    probabilities, labels = model.predict_proba(IMAGES), model.labels()
    for found, row, answer in zip(model.assess(IMAGES, top=3), probabilities, model.answers(IMAGES), strict=True):
        assert [(task, label) for task, label, _ in found.answers] == [labels[i] for i in np.argsort(-row)[:3]]
        assert found.answers[0][:2] == answer
        assert found.rejected is None
    assert len(model.assess(IMAGES[:1], "size", top=99)[0].answers) == 3  # a task of three classes has no more


def test_a_head_learnt_here_has_no_dreams_to_take_a_threshold_from(own_bundle: Path) -> None:
    model = EdgeModel.load(own_bundle)
    model.learn_head("mine", IMAGES[:10], ["a", "b"] * 5)
    dreams = np.concatenate([model.dream(name, n=1000, seed=9).images for name in ("parity", "size")])
    assert np.mean(model.rejects(dreams)) == pytest.approx(0.05, abs=0.03)  # old tasks' dreams, among all heads
    with pytest.raises(MygoEdgeError, match="mine: no dreams to take a threshold from"):
        model.threshold("mine")


@pytest.mark.parametrize("share", [0, 1, -0.5, float("nan")])
def test_shares_out_of_range_are_refused(model: EdgeModel, share: float) -> None:
    with pytest.raises(MygoEdgeError, match="false_alarms must be a share between 0 and 1"):
        model.rejects(IMAGES, false_alarms=share)


def test_predict_prints_several_classes_and_none_of_these(bundle: Path, model: EdgeModel, tmp_path: Path) -> None:
    np.save(tmp_path / "some.npy", IMAGES)
    arguments = (bundle, tmp_path / "some.npy", "--task", "size", "--top", 2, "--reject", 0.5)
    rejected = model.rejects(IMAGES, "size", 0.5)
    lines = run("predict", *arguments).stdout.splitlines()
    assert [": none of these; nearest " in line for line in lines] == rejected.tolist()
    assert all(line.count("(task size, ") == 2 for line in lines)
    found = json.loads(run("predict", *arguments, "--json").stdout)
    assert [each["rejected"] for each in found] == rejected.tolist()
    assert [[answer["class"] for answer in each["top"]] for each in found] == [
        [label for _, label, _ in each.answers] for each in model.assess(IMAGES, "size", top=2)
    ]
    assert [each["class"] for each in found] == model.predict(IMAGES, "size")


def test_predict_refuses_what_the_bundle_does_not_take(bundle: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "one.npy", IMAGES[:1])
    refused(run("predict", bundle, "--text", "a headline"), "takes images: give their files")
    refused(run("predict", bundle), "takes images: give their files")
    refused(run("predict", bundle, tmp_path / "one.npy", "--top", 0), "--top 0 must be at least 1")
    refused(run("predict", bundle, tmp_path / "one.npy", "--reject", 2), "must be a share between 0 and 1")
