"""Seconds to export a finished run, and to load a bundle on a device."""

import itertools
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from bench.conftest import Measure
from bench.contenders import Way
from bench.contenders.inference import Learnt
from bench.contenders.packed import open_graph
from mygo_edge.export.recipes import PRECISIONS
from mygo_edge.runtime.edge_model import EdgeModel

EXPORTS = ("torch.onnx.export", *PRECISIONS)
LOADS = ("InferenceSession", "without self-test", *PRECISIONS)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    names = EXPORTS if metafunc.function is test_export else LOADS
    metafunc.parametrize("name", names[:3] if metafunc.config.getoption("quick") else names)


def test_export(measure: Measure, learnt: Learnt, tmp_path: Path, name: str) -> None:
    """The classifier alone, unchecked, by `torch.onnx.export`; a whole bundle, checked and self-tested, by ours."""
    numbers = itertools.count()

    def export() -> Path:
        target = tmp_path / str(next(numbers))
        if name == "torch.onnx.export":
            target = target.with_suffix(".onnx")
            learnt.export_plainly(target)
            return target
        return learnt.publish(name, target)

    def check() -> None:
        made, pixels = export(), learnt.pixels[:256]
        if made.is_dir():
            found = EdgeModel.load(made).logits(pixels)
        else:
            found = open_graph(made.read_bytes()).run(None, {"image": pixels})[0]
        assert np.abs(found - learnt.logits[:256]).max() < 1e-4 * np.abs(learnt.logits).max()

    measure(
        lambda: Way(export, check),
        group="export",
        contender=name,
        baseline="torch.onnx.export",
        suite="export",
        samples=1,
        rounds=3,
    )


def test_load(measure: Measure, learnt: Learnt, name: str) -> None:
    """The classifier's session alone; a bundle whose hashes are verified; one that is self-tested, too."""
    precision = name if name in PRECISIONS else "fp32"
    bundle = learnt.bundle(precision)
    (path,) = bundle.glob("v*/classifier.onnx")

    def load() -> EdgeModel | onnxruntime.InferenceSession:
        if name == "InferenceSession":
            return open_graph(path.read_bytes())
        return EdgeModel.load(bundle, precision=precision, selftest=name != "without self-test")

    def check() -> None:
        found, pixels = load(), learnt.pixels[:256]
        expected = learnt.logits[:256]
        if isinstance(found, EdgeModel):
            answers = found.logits(pixels).argmax(1)
        else:
            answers = np.concatenate(found.run(learnt.outputs, {"image": pixels}), 1).argmax(1)
        assert (answers == expected.argmax(1)).mean() > 0.95, "it answers something else"

    measure(
        lambda: Way(load, check),
        group="load a bundle",
        contender=name,
        baseline="InferenceSession",
        suite="load",
        samples=1,
    )
