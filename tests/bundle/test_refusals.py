"""A device refuses whatever is not what was published, and names the file."""

import io
import json
import os
import zipfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from mygo_edge.bundle.manifest import BundleError
from mygo_edge.bundle.selftest import SelfTest, read_selftest, write_selftest
from mygo_edge.device.edge_model import EdgeModel
from mygo_edge.errors import MygoEdgeError
from mygo_edge.export.graphs import classifier_graph
from tests.bundles import TASKS, edit_manifest, replace_file, tiny_net


def refused(bundle_dir: Path, words: str) -> None:
    """The bundle is refused in one line that has these words."""
    with pytest.raises(BundleError, match=words) as caught:
        EdgeModel.load(bundle_dir)
    assert isinstance(caught.value, MygoEdgeError)
    assert "\n" not in str(caught.value)


def flip(path: Path, at: int = 100) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


@pytest.mark.parametrize("name", ["classifier.onnx", "generator-parity.onnx", "generator-size.onnx", "selftest.npz"])
def test_a_changed_byte_is_refused_by_name(own_bundle: Path, name: str) -> None:
    flip(own_bundle / "v0002" / name)
    refused(own_bundle, f"{name} does not have the hash")


def test_a_truncated_file_is_refused_by_name(own_bundle: Path) -> None:
    path = own_bundle / "v0002" / "generator-size.onnx"
    path.write_bytes(path.read_bytes()[:-1])
    refused(own_bundle, "generator-size.onnx has .* bytes")


def test_a_longer_file_is_refused_by_name(own_bundle: Path) -> None:
    with (own_bundle / "v0002" / "classifier.onnx").open("ab") as file:
        file.write(b"x")
    refused(own_bundle, "classifier.onnx has .* bytes")


def test_a_missing_file_is_refused_by_name(own_bundle: Path) -> None:
    (own_bundle / "v0002" / "generator-size.onnx").unlink()
    refused(own_bundle, "generator-size.onnx is missing")


def test_an_extra_file_is_refused_by_name(own_bundle: Path) -> None:
    (own_bundle / "v0002" / "weights.bin").write_bytes(b"")
    refused(own_bundle, "holds 'weights.bin', which is not in the manifest")


def test_a_symbolic_link_is_refused_though_its_content_is_right(own_bundle: Path) -> None:
    path = own_bundle / "v0002" / "classifier.onnx"
    path.rename(own_bundle / "elsewhere.onnx")
    path.symlink_to(own_bundle / "elsewhere.onnx")
    refused(own_bundle, r"classifier.onnx cannot be read as a plain file")


def test_a_pipe_is_refused_without_waiting(own_bundle: Path) -> None:
    path = own_bundle / "v0002" / "classifier.onnx"
    path.unlink()
    os.mkfifo(path)
    refused(own_bundle, "classifier.onnx is not a plain file")


def test_a_folder_in_place_of_a_file_is_refused(own_bundle: Path) -> None:
    path = own_bundle / "v0002" / "selftest.npz"
    path.unlink()
    path.mkdir()
    refused(own_bundle, "selftest.npz")


@pytest.mark.parametrize("content", [b"", b"v0009", b"../v0002", b"/etc", b"v0002/../v0001", b"\xff\xfe", b"v" * 65])
def test_current_must_name_a_version_that_is_there(own_bundle: Path, content: bytes) -> None:
    (own_bundle / "current").write_bytes(content)
    refused(own_bundle, "current|holds no version")


def test_a_linked_version_is_refused(own_bundle: Path) -> None:
    (own_bundle / "v0003").symlink_to("v0002")
    (own_bundle / "current").write_text("v0003")
    refused(own_bundle, "holds no version 'v0003'")


def test_no_bundle_at_all_says_which_file_is_missing(tmp_path: Path) -> None:
    refused(tmp_path / "nowhere", "nowhere/current is missing")


@pytest.mark.parametrize("data", [b"", b"[]", b"{", b"\x00" * 64, b"[" * 100000, b'"text"'])
def test_a_manifest_that_is_no_json_object_is_refused(own_bundle: Path, data: bytes) -> None:
    (own_bundle / "v0002" / "manifest.json").write_bytes(data)
    refused(own_bundle, "manifest.json")


INPUT = {"shape": [1, 8, 8], "dtype": "uint8", "mean": [0.5], "std": [0.5]}
TASK = {"name": "parity", "classes": ["even", "odd"], "head": "logits_parity", "generator": "convolutional"}


@pytest.mark.parametrize(
    ("key", "value", "words"),
    [
        ("schema_version", "3.0", "schema_version '3.0' is neither 2.0 nor 1.0; update mygo_edge"),
        ("reader", 9, "needs reader 9, this is 8; update mygo_edge"),
        ("id", "0" * 31, "id '0+' must match"),
        ("latent", 0, "latent must be from 1"),
        ("features", 10**6, "features must be from 1"),
        ("expires", "soon", "expires 'soon' must be a time"),
        ("next_key", "key", "next_key 'key' must match"),
        ("schema_version", 1.0, "schema_version must be str"),
        ("sequence", -1, "sequence must be from 0"),
        ("sequence", True, "sequence must be int"),
        ("created", "\x1b[31m", "created must be printable"),
        ("created", "yesterday", "created 'yesterday' must be a time"),
        ("created", "2030-01-31T12:00:00", "must be a time with its offset"),
        ("features_digest", "0", "features_digest '0' must match"),
        ("tasks", [], "tasks is empty"),
        ("tasks", [TASK, TASK], "task name 'parity' occurs twice"),
        ("tasks", [TASK | {"name": "../x"}], "name '../x' must match"),
        ("tasks", [TASK | {"classes": []}], "classes must be printable"),
        ("tasks", [TASK | {"classes": ["a", "a"]}], "class 'a' occurs twice"),
        ("tasks", [TASK | {"classes": ["a\x1b[2J"]}], "classes must be printable"),
        ("tasks", ["parity"], "must be a JSON object"),
        ("input", INPUT | {"shape": [1, 8]}, "shape must be"),
        ("input", INPUT | {"shape": [1, 8, 10**9]}, "shape must be"),
        ("input", INPUT | {"shape": [1, 8.0, 8]}, "shape must be"),
        ("input", INPUT | {"dtype": "float32"}, "dtype must be uint8"),
        ("input", INPUT | {"mean": []}, "one number a channel"),
        ("input", INPUT | {"mean": [float("nan")]}, "mean must be finite"),
        ("input", INPUT | {"mean": [10**400]}, "mean must be finite"),
        ("input", INPUT | {"std": [0]}, "std must be above 0"),
        ("selftest", {"tolerance": 1e9}, "tolerance must be in"),
        ("selftest", {}, "tolerance must be"),
        ("files", [], "files is empty"),
        ("producer", {"torch": 2}, "producer must hold text"),
    ],
)
def test_a_manifest_value_out_of_range_is_refused_by_name(
    own_bundle: Path, key: str, value: object, words: str
) -> None:
    edit_manifest(own_bundle / "v0002", **{key: value})
    refused(own_bundle, f"manifest.json.*{words}")


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"path": "../v0001/classifier.onnx"}, "path '../v0001/classifier.onnx' must match"),
        ({"path": "/etc/passwd"}, "path '/etc/passwd' must match"),
        ({"path": "a/b.onnx"}, "path 'a/b.onnx' must match"),
        ({"path": ".hidden"}, "path '.hidden' must match"),
        ({"path": "manifest.json"}, "cannot be listed"),
        ({"path": "Manifest.sig"}, "cannot be listed"),
        ({"path": "selftest.npz"}, "path 'selftest.npz' of a classifier must match classifier"),
        ({"path": "json.py"}, "path 'json.py' of a classifier must match classifier"),
        ({"bytes": 10**12}, "bytes must be from 1"),
        ({"bytes": -1}, "bytes must be from 1"),
        ({"bytes": "12"}, "bytes must be int"),
        ({"sha256": "0"}, "sha256 '0' must match"),
        ({"role": "script"}, "lists no classifier"),
        ({"precision": "fp4"}, "lists no classifier"),
        ({"role": "generator", "task": "colour"}, "has an unknown task"),
        ({"role": "generator", "task": "size"}, "of a generator must match generator-size"),
    ],
)
def test_a_file_entry_out_of_range_is_refused(own_bundle: Path, change: dict[str, object], words: str) -> None:
    folder = own_bundle / "v0002"
    files = json.loads((folder / "manifest.json").read_text())["files"]
    assert files[0]["path"] == "classifier.onnx"
    files[0] |= change
    edit_manifest(folder, files=files)
    refused(own_bundle, words)


def test_unknown_keys_of_a_manifest_are_ignored(own_bundle: Path) -> None:
    edit_manifest(own_bundle / "v0002", comment="from a newer publisher")
    assert EdgeModel.load(own_bundle).version == "v0002"


def test_other_weights_with_the_right_hash_fail_the_selftest(own_bundle: Path) -> None:
    other = classifier_graph(tiny_net(2, seed=1), [name for name, _ in TASKS[:2]])
    replace_file(own_bundle / "v0002", "classifier.onnx", other)
    refused(own_bundle, "classifier.onnx fails its self-test")
    assert EdgeModel.load(own_bundle, selftest=False).version == "v0002"


@pytest.mark.parametrize(("classes", "words"), [([1, 0, 1, 2, 0], "its answer is not"), ([9] * 5, "does not list")])
def test_answers_that_are_not_the_largest_logits_class_fail_the_selftest(
    own_bundle: Path, classes: list[int], words: str
) -> None:
    model = onnx.load(own_bundle / "v0002" / "classifier.onnx")
    table = next(tensor for tensor in model.graph.initializer if tensor.name == "class_id_of_column")
    table.raw_data = np.array(classes, np.int64).tobytes()
    replace_file(own_bundle / "v0002", "classifier.onnx", model.SerializeToString())
    refused(own_bundle, words)


def test_a_generator_of_another_task_is_refused(own_bundle: Path) -> None:
    folder = own_bundle / "v0002"
    replace_file(folder, "generator-size.onnx", (folder / "generator-parity.onnx").read_bytes())
    refused(own_bundle, "generator-size.onnx fails its self-test")


def test_a_classifier_without_a_head_is_refused(own_bundle: Path) -> None:
    graph = classifier_graph(tiny_net(1), ["parity"])
    replace_file(own_bundle / "v0002", "classifier.onnx", graph)
    refused(own_bundle, "expected logits_size")


@pytest.mark.parametrize("data", [b"no graph", b"\x08", b"\x3a\xff\xff\xff\xff\x0f"])
def test_bytes_that_are_no_graph_are_refused(own_bundle: Path, data: bytes) -> None:
    replace_file(own_bundle / "v0002", "classifier.onnx", data)
    refused(own_bundle, "classifier.onnx.*(is no ONNX graph|cannot load it)")


def external(tensor: TensorProto) -> None:
    """Make a tensor say that its data is in a file."""
    tensor.ClearField("raw_data")
    tensor.data_location = TensorProto.EXTERNAL
    tensor.external_data.add(key="location", value="weights.bin")


def in_the_graph(model: onnx.ModelProto) -> None:
    external(model.graph.initializer[0])


def in_a_node(model: onnx.ModelProto) -> None:
    tensor = TensorProto(name="c", data_type=TensorProto.FLOAT, dims=[1])
    external(tensor)
    model.graph.node.append(helper.make_node("Constant", [], ["c"], value=tensor))


def in_a_branch(model: onnx.ModelProto) -> None:
    branch = helper.make_graph([], "branch", [], [])
    branch.initializer.append(TensorProto(name="c", data_type=TensorProto.FLOAT, dims=[1]))
    external(branch.initializer[0])
    model.graph.node.append(helper.make_node("If", ["image"], ["c"], then_branch=branch, else_branch=branch))


def in_a_function(model: onnx.ModelProto) -> None:
    tensor = TensorProto(name="c", data_type=TensorProto.FLOAT, dims=[1])
    external(tensor)
    node = helper.make_node("Constant", [], ["c"], value=tensor)
    model.functions.append(helper.make_function("local", "f", [], ["c"], [node], [helper.make_opsetid("", 18)]))


def in_a_sparse_tensor(model: onnx.ModelProto) -> None:
    sparse = model.graph.sparse_initializer.add()
    sparse.values.name = "c"
    external(sparse.values)


@pytest.mark.parametrize(
    ("hide", "words"),
    [
        (in_the_graph, "has external data"),
        (in_a_node, "has external data"),
        (in_a_branch, "has a graph within a node"),
        (in_a_function, "has training information or functions of its own"),
        (in_a_sparse_tensor, "has sparse tensors"),
    ],
)
def test_external_data_is_refused_wherever_it_hides(
    own_bundle: Path, hide: Callable[[onnx.ModelProto], None], words: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = onnx.load(own_bundle / "v0002" / "classifier.onnx")
    hide(model)
    replace_file(own_bundle / "v0002", "classifier.onnx", model.SerializeToString())
    monkeypatch.chdir(own_bundle)  # where onnxruntime would look
    (own_bundle / "weights.bin").write_bytes(bytes(4096))
    refused(own_bundle, f"classifier.onnx {words}")


def zeros(**changes: np.ndarray) -> SelfTest:
    arrays = {
        "z": np.zeros((1, 64), np.float32),
        "class_id": np.zeros((2, 1), np.int64),
        "dreams": np.zeros((2, 1, 1, 8, 8), np.float32),
        "logits": np.zeros((2, 1, 5), np.float32),
    }
    return SelfTest(**(arrays | changes))


@pytest.mark.parametrize(
    "test",
    [
        zeros(z=np.zeros((0, 64), np.float32)),
        zeros(z=np.zeros((1, 63), np.float32)),
        zeros(z=np.zeros((), np.float32)),
        zeros(class_id=np.full((2, 1), 2)),
        zeros(class_id=np.full((2, 1), -1)),
        zeros(class_id=np.zeros((2, 1), np.float32)),
        zeros(dreams=np.zeros((1, 1, 1, 8, 8), np.float32)),
        zeros(logits=np.zeros((2, 1, 5))),
        zeros(logits=np.zeros((), np.float32)),
    ],
)
def test_a_selftest_that_does_not_fit_the_manifest_is_refused(own_bundle: Path, test: SelfTest) -> None:
    replace_file(own_bundle / "v0002", "selftest.npz", write_selftest(test))
    refused(own_bundle, "selftest.npz does not fit the manifest")


def test_a_selftest_is_never_unpickled() -> None:
    with pytest.raises(BundleError, match=r"selftest\.npz is no self-test"):
        read_selftest(write_selftest(zeros(z=np.array([object()]))), "selftest.npz")


def test_a_compressed_selftest_is_refused(tmp_path: Path) -> None:
    np.savez_compressed(tmp_path / "selftest.npz", z=np.zeros((10**5, 64), np.float32))
    with pytest.raises(BundleError, match=r"z.npy is compressed"):
        read_selftest((tmp_path / "selftest.npz").read_bytes(), "selftest.npz")


def test_an_array_that_claims_more_than_it_holds_is_refused() -> None:
    lying = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(write_selftest(zeros()))) as honest, zipfile.ZipFile(lying, "w") as archive:
        for name in honest.namelist():
            archive.writestr(name, honest.read(name).replace(b"(1, 64)", b"(9, 64)"))
    with pytest.raises(BundleError, match=r"z.npy does not hold what its header says"):
        read_selftest(lying.getvalue(), "selftest.npz")


def test_equal_selftests_have_equal_bytes() -> None:
    assert write_selftest(zeros()) == write_selftest(zeros())
