"""How a device runs a model: threads, memory, what is opened when, pictures by path, the self-test command."""

import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from PIL import Image

from mygo_edge.bundle.manifest import BundleError
from mygo_edge.bundle.reading import read_bundle
from mygo_edge.device.edge_model import EdgeModel
from mygo_edge.device.session import Graph, SessionOptions
from mygo_edge.errors import MygoEdgeError
from tests.bundles import SHAPE

IMAGES = np.random.default_rng(0).integers(0, 256, (64, *SHAPE), dtype=np.uint8)


def test_many_threads_share_a_model_and_get_the_answers_of_one(bundle: Path) -> None:
    model = EdgeModel.load(bundle)
    expected = model.logits(IMAGES), EdgeModel.load(bundle).dream("size", n=20, seed=3).images

    def work(_: int) -> tuple[np.ndarray, np.ndarray]:
        return model.logits(IMAGES), model.dream("size", n=20, seed=3).images  # the first to dream opens it

    with ThreadPoolExecutor(8) as pool:
        for logits, dreams in pool.map(work, range(40)):
            np.testing.assert_array_equal(logits, expected[0])
            np.testing.assert_array_equal(dreams, expected[1])


def test_a_generator_is_opened_when_it_is_first_dreamt_of(bundle: Path) -> None:
    read = read_bundle(bundle)
    read.contents["generator-size.onnx"] = b"no graph"
    model = EdgeModel(read)
    assert len(model.predict(IMAGES)) == len(IMAGES)
    assert model.dream("parity").images.shape == (1, *SHAPE)
    with pytest.raises(BundleError, match=r"generator-size\.onnx is no ONNX graph"):
        model.dream("size")


def test_no_file_is_read_a_second_time(own_bundle: Path, model: EdgeModel) -> None:
    """What is run is what was hashed, though a generator is opened long after."""
    loaded = EdgeModel.load(own_bundle)
    for path in (own_bundle / "v0002").iterdir():
        path.write_bytes(b"something else")
    np.testing.assert_array_equal(loaded.logits(IMAGES), model.logits(IMAGES))
    np.testing.assert_array_equal(loaded.dream("size", n=3).images, model.dream("size", n=3).images)


def test_spinning_and_arena_change_no_answer(bundle: Path, model: EdgeModel) -> None:
    for options in ({"spinning": True, "threads": 2}, {"arena": False}):
        other = EdgeModel.load(bundle, **options)
        np.testing.assert_allclose(other.logits(IMAGES), model.logits(IMAGES), atol=1e-5)


def test_a_run_that_wants_too_much_memory_fails_alone() -> None:
    """A graph of 200 kB whose result has 2.5 GB."""
    side = 25_000
    column, row = np.ones((side, 1), np.float32), np.ones((1, side), np.float32)
    nodes = [helper.make_node("Mul", ["image", "column"], ["a"]), helper.make_node("MatMul", ["a", "row"], ["b"])]
    graph = helper.make_graph(
        [*nodes, helper.make_node("ReduceMax", ["b"], ["c"])],
        "graph",
        [helper.make_tensor_value_info("image", TensorProto.FLOAT, [1])],
        [helper.make_tensor_value_info("c", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(column, "column"), numpy_helper.from_array(row, "row")],
    )
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 18)])
    opened = Graph(model.SerializeToString(), "graph.onnx")
    with pytest.raises(BundleError, match=r"graph\.onnx: onnxruntime .* cannot run it .*MYGO_EDGE_MEMORY_MIB"):
        opened.run(["c"], {"image": np.ones(1, np.float32)})


def test_the_memory_limit_is_a_number(bundle: Path) -> None:
    program = f"from mygo_edge import EdgeModel; EdgeModel.load({str(bundle)!r})"
    for value, words in (("64", ""), ("lots", "MYGO_EDGE_MEMORY_MIB must be a number of MiB, not 'lots'")):
        done = subprocess.run(
            [sys.executable, "-c", program],
            env={**os.environ, "MYGO_EDGE_MEMORY_MIB": value},
            capture_output=True,
            text=True,
            check=False,
        )
        assert words in done.stderr
        assert (done.returncode == 0) == (not words)


def test_threads_must_be_a_sensible_number() -> None:
    with pytest.raises(MygoEdgeError, match="threads must be at least 1 and at most 256"):
        SessionOptions(threads=10**9)


def test_pictures_are_predicted_by_their_paths(model: EdgeModel, tmp_path: Path) -> None:
    for index in range(3):
        Image.fromarray(IMAGES[index, 0]).save(tmp_path / f"{index}.png")
    np.save(tmp_path / "more.npy", IMAGES[3:5])
    paths = [tmp_path / "0.png", str(tmp_path / "1.png"), tmp_path / "2.png", tmp_path / "more.npy"]
    np.testing.assert_allclose(model.logits(paths), model.logits(IMAGES[:5]), atol=1e-5)
    assert model.predict(paths[0]) == model.predict(IMAGES[0])
    with pytest.raises(MygoEdgeError, match=r"nowhere\.png is no file"):
        model.predict([paths[0], tmp_path / "nowhere.png"])
    np.save(tmp_path / "wide.npy", np.zeros((1, 1, 8, 9), np.uint8))
    with pytest.raises(MygoEdgeError, match="do not fit each other"):
        model.predict([paths[0], tmp_path / "wide.npy"])


def selftest(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mygo_edge.selftest", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_selftest_says_what_was_checked(bundle: Path) -> None:
    done = selftest(bundle, "--latency")
    assert (done.returncode, done.stderr) == (0, "")
    for words in (
        "v0002: sequence 2",
        "signature: not checked, no key was given",
        "files: 4",
        "v0002/classifier.onnx: computes what was published",
        "v0002/generator-size.onnx: computes what was published",
        "v0002: passed",
        "loaded in",
        "first prediction",
        "median of",
    ):
        assert words in done.stdout
    older = selftest(bundle, "--version", "v0001")
    assert "generator-size" not in older.stdout
    assert older.stdout == selftest(bundle / "v0001").stdout


def test_the_selftest_names_what_fails(own_bundle: Path) -> None:
    path = own_bundle / "v0002" / "generator-size.onnx"
    path.write_bytes(path.read_bytes()[:-1])
    done = selftest(own_bundle)
    assert done.returncode == 2
    assert done.stderr.startswith("error: ")
    assert "generator-size.onnx has" in done.stderr
    assert "passed" not in done.stdout


def test_the_field_numbers_are_those_of_onnx() -> None:
    """Of every message and field that `vetting` and `wire` look at."""
    expected = {
        onnx.ModelProto: {"ir_version": 1, "graph": 7, "opset_import": 8, "training_info": 20, "functions": 25},
        onnx.OperatorSetIdProto: {"domain": 1},
        onnx.GraphProto: {"node": 1, "initializer": 5, "sparse_initializer": 15},
        onnx.NodeProto: {"input": 1, "output": 2, "op_type": 4, "attribute": 5, "domain": 7},
        onnx.AttributeProto: {
            **{"i": 3, "t": 5, "g": 6, "ints": 8, "tensors": 10, "graphs": 11},
            **{"sparse_tensor": 22, "sparse_tensors": 23},
        },
        onnx.TensorProto: {
            **{"dims": 1, "data_type": 2, "float_data": 4, "int32_data": 5, "string_data": 6, "int64_data": 7},
            **{"name": 8, "raw_data": 9, "double_data": 10, "uint64_data": 11, "external_data": 13},
            **{"data_location": 14},
        },
    }
    for message, fields in expected.items():
        assert {name: message.DESCRIPTOR.fields_by_name[name].number for name in fields} == fields
