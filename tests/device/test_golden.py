"""A bundle that an earlier version published: devices go on running it, on this machine and on others."""

import json
import os
import runpy
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from mygo_edge.bundle.manifest import BundleError
from mygo_edge.device.edge_model import EdgeModel
from tests.features import PHOTO_TASKS, photos

ROOT = Path(__file__).parent.parent.parent
GOLDEN = Path(__file__).parent / "golden" / "bundle"


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_a_bundle_of_an_earlier_version_passes_its_selftest_and_knows_its_dreams(
    precision: str, tmp_path: Path
) -> None:
    model = EdgeModel.load(GOLDEN, precision=precision, heads=tmp_path)
    assert max(model.run_selftest().values()) < 1e-2
    right = [
        label == model.tasks[name][index]
        for name in model.tasks
        for dreams in [model.dream(name, n=40, seed=1)]
        for label, index in zip(model.predict(dreams.images), dreams.class_ids, strict=True)
    ]
    assert np.mean(right) > 0.8


def test_photos_of_an_earlier_version_are_answered_by_its_rule() -> None:
    model = EdgeModel.load(GOLDEN.parent / "photos")  # of three photos a class, so that another rule answers otherwise
    assert max(model.run_selftest().values()) < 1e-3
    images, labels = photos([name for task in PHOTO_TASKS.values() for name in task], 10, seed=3)
    right = [answer == label for (_, answer), label in zip(model.answers(images), labels, strict=True)]
    assert np.mean(right) > 0.8


def test_the_rule_of_a_version_is_part_of_its_answers(tmp_path: Path) -> None:
    shutil.copytree(GOLDEN.parent / "photos", tmp_path / "photos")
    manifest = tmp_path / "photos" / "v0003" / "manifest.json"
    values = json.loads(manifest.read_text())
    manifest.write_text(json.dumps(values | {"reader": 7, "denoising": "ridge"}))
    with pytest.raises(BundleError, match="fails its self-test"):
        EdgeModel.load(tmp_path / "photos")
    for wrong in ({"reader": 6, "denoising": "ridge"}, {"reader": 7, "denoising": "none"}):
        manifest.write_text(json.dumps(values | wrong))
        with pytest.raises(BundleError, match="denoising"):
            EdgeModel.load(tmp_path / "photos")


@pytest.mark.skipif(not os.environ.get("MYGO_EDGE_ARM"), reason="MYGO_EDGE_ARM=1 runs it, emulated, which needs qemu")
def test_arm_computes_the_same_noise_dreams_and_answers(tmp_path: Path) -> None:
    arm = runpy.run_path(str(ROOT / "bench" / "arm.py"))
    work = Path.home() / ".cache" / "mygo_edge" / "arm"
    try:
        arm["prepare"](work)
    except (OSError, subprocess.CalledProcessError) as error:
        pytest.skip(f"no aarch64 Python could be fetched ({error})")
    here, there = arm["probe"](GOLDEN, "compute"), arm["probe"](GOLDEN, "compute", work)
    assert there["machine"] == "aarch64"
    assert max(there["selftest"].values()) < 1e-3
    found = arm["compare"](here, there)
    integers = arm["compare"](*(arm["probe"](arm["INTEGERS"], "int8", where) for where in (None, work)))
    assert integers["answers_equal"] == integers["answers"]
    assert integers["logits_max_difference"] < 0.1
    assert found["noise_equal"]
    assert found["classes_equal"]
    assert found["answers_equal"] == found["answers"]
    assert found["logits_max_difference"] < 1e-3
    assert found["pixels_max_levels"] <= 1


def test_learning_and_predicting_take_little_memory() -> None:
    arm = runpy.run_path(str(ROOT / "bench" / "arm.py"))
    for mode in ("predict", "learn"):
        found = arm["probe"](GOLDEN, mode)
        assert 0 < found["peak"] - found["imported"] <= 60e6  # bytes above what importing onnxruntime takes
