"""Seconds to export a finished run, and to load a bundle on a device."""

import itertools
from pathlib import Path

import numpy as np
import onnxruntime
import pytest

from bench.conftest import Measure
from bench.contenders import Way
from bench.contenders.inference import Learnt, open_graph
from mygo_edge.device.edge_model import EdgeModel
from mygo_edge.export.recipes import PRECISIONS

EXPORTS = ("torch.onnx.export", *PRECISIONS)
LOADS = ("InferenceSession", "without self-test", *PRECISIONS)


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    names = EXPORTS if metafunc.function is test_export else LOADS
    metafunc.parametrize("name", names[:3] if metafunc.config.getoption("quick") else names)


def test_export(measure: Measure, learnt: Learnt, tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    """The classifier alone, unchecked, by `torch.onnx.export`; a whole bundle, checked and self-tested, by ours."""

    def way(name: str) -> Way:
        folder, numbers = tmp_path_factory.mktemp("exports"), itertools.count()

        def export() -> Path:
            target = folder / str(next(numbers))
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

        return Way(export, check)

    measure(way, group="export", baseline="torch.onnx.export", suite="export", samples=1)


def test_load(measure: Measure, learnt: Learnt, name: str) -> None:
    """The classifier's session alone; a bundle whose hashes are verified; one that is self-tested, too."""

    def way(name: str) -> Way:
        precision = name if name in PRECISIONS else "fp32"
        bundle = learnt.bundle(precision)
        (path,) = bundle.glob("v*/classifier.onnx")

        def load() -> EdgeModel | onnxruntime.InferenceSession:
            if name == "InferenceSession":
                return open_graph(path.read_bytes())
            return EdgeModel.load(bundle, precision=precision, selftest=name != "without self-test")

        def check() -> None:
            found, pixels = load(), learnt.pixels[:256]
            if isinstance(found, EdgeModel):
                answers = found.logits(pixels).argmax(1)
            else:
                answers = np.concatenate(found.run(learnt.outputs, {"image": pixels}), 1).argmax(1)
            assert (answers == learnt.logits[:256].argmax(1)).mean() > 0.95, "it answers something else"

        return Way(load, check)

    measure(way, group="load a bundle", baseline="InferenceSession", suite="load", samples=1)
