"""Bundles that somebody made to do harm: refused, or harmless."""

import json
import os
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper

from mygo_edge.bundle.manifest import BundleError, manifest_json
from mygo_edge.bundle.parsing import parse_manifest
from mygo_edge.bundle.selftest import read_selftest
from mygo_edge.bundle.vetting import vet
from mygo_edge.errors import MygoEdgeError
from tests.bundles import SHAPE, publish_tiny, tiny_net
from tests.features import publish_photos, publish_photos_apart, publish_texts

MUTANTS = int(os.environ.get("MYGO_EDGE_MUTANTS", "200"))  # 12,000 take five minutes on one core
PART = 250  # mutants a process
SECONDS = 300  # a process may take


@pytest.fixture
def source(request: pytest.FixtureRequest, bundle: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A bundle of each kind whose live version is v0002."""
    if request.param == "images":
        return bundle
    if request.param == "photos apart":
        publish: Callable[..., Path] = partial(publish_photos_apart, patch=monkeypatch)
    else:
        publish = {"photos": publish_photos, "texts": publish_texts}[request.param]
    before = publish(tmp_path / "before", sequence=1, max_loss=1.0)
    live = publish(tmp_path / "source", sequence=2, max_loss=1.0)
    shutil.copytree(before, live.with_name("v0001"))
    return tmp_path / "source"


@pytest.mark.parametrize(
    ("source", "share"),
    [("images", 0.5), ("photos", 0.1), ("photos apart", 0.2), ("texts", 0.2)],
    indirect=["source"],
)
def test_no_mutant_crashes_hangs_writes_or_takes_the_memory(source: Path, share: float, tmp_path: Path) -> None:
    """Every kind of damage, each in a process with limits. See mutants.py."""
    mutants = int(share * MUTANTS)
    answers: Counter[str] = Counter()
    environment = {**os.environ, "MYGO_EDGE_MEMORY_MIB": "256", "OMP_NUM_THREADS": "1"}
    for first in range(0, mutants, PART):
        folder = tmp_path / str(first)
        folder.mkdir()
        command = [sys.executable, Path(__file__).with_name("mutants.py"), source, folder, first]
        command.append(min(PART, mutants - first))
        done = subprocess.run(
            list(map(str, command)), env=environment, capture_output=True, text=True, timeout=SECONDS, check=False
        )
        lines = done.stdout.splitlines()
        assert done.returncode == 0, f"{lines[-1:]} {done.stderr}"
        assert done.stderr == ""
        answers.update(line.split()[2] for line in lines)
    assert answers["refused"] + answers["harmless"] == mutants
    assert answers["refused"] > mutants / 2
    assert answers["harmless"] > 0


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=8,
)


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    folder = publish_tiny(tmp_path_factory.mktemp("published"), 2)
    return dict(json.loads((folder / "manifest.json").read_text()))


@given(data=st.data(), value=JSON)
@settings(max_examples=150, deadline=None)
def test_any_value_anywhere_in_a_manifest_is_refused_or_read(
    manifest: dict[str, Any], data: st.DataObject, value: object
) -> None:
    """What is read names no file outside the folder, and writing it and reading it again gives the same."""
    document = json.loads(json.dumps(manifest))
    parent: Any = document
    while True:
        key = data.draw(st.sampled_from(sorted(parent) if isinstance(parent, dict) else range(len(parent))))
        if not isinstance(parent[key], (dict, list)) or not parent[key] or data.draw(st.booleans()):
            break
        parent = parent[key]
    parent[key] = value
    try:
        read = parse_manifest(json.dumps(document).encode(), "here")
    except BundleError:
        return
    assert all(Path(entry.path).name == entry.path and entry.path not in (".", "..") for entry in read.files)
    if read.id is not None:  # schema 2.0, the one that is written
        known = replace(read, ignored=())
        assert parse_manifest(json.dumps(manifest_json(known)).encode(), "here") == known


@given(st.binary(max_size=300))
@settings(max_examples=300, deadline=None)
def test_any_bytes_are_refused_as_manifest_selftest_and_graph(data: bytes) -> None:
    with pytest.raises(BundleError):
        parse_manifest(data, "here")
    with pytest.raises(BundleError):
        read_selftest(data, "here")
    with pytest.raises(ValueError, match=r"."):
        vet(data)


def graph(*nodes: onnx.NodeProto, tensors: list[TensorProto] | None = None, **model: Any) -> bytes:
    made = helper.make_graph(list(nodes), "graph", [], [], tensors or [])
    made.input.append(helper.make_tensor_value_info("image", TensorProto.FLOAT, ["batch", *SHAPE]))
    return bytes(helper.make_model(made, ir_version=8, **model).SerializeToString())


BRANCH = helper.make_graph([], "branch", [], [])
VALUE = helper.make_tensor("v", TensorProto.FLOAT, [1], [1.0])


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (graph(helper.make_node("Evil", ["image"], ["y"])), "the operator 'Evil'"),
        (graph(helper.make_node("Relu", ["image"], ["y"], domain="evil")), "the operator 'evil::Relu'"),
        (graph(helper.make_node("If", ["image"], ["y"], then_branch=BRANCH)), "a graph within a node"),
        (graph(helper.make_node("Loop", ["image"], ["y"])), "the operator 'Loop'"),
        (graph(helper.make_node("ConstantOfShape", ["image"], ["y"])), "the operator 'ConstantOfShape'"),
        (graph(helper.make_node("MatMul", ["v", "v"], ["y"]), tensors=[VALUE]), "computes MatMul from constants alone"),
        (
            graph(
                helper.make_node("Identity", ["v"], ["w"]), helper.make_node("Add", ["w", "v"], ["y"]), tensors=[VALUE]
            ),
            "computes Add from constants alone",
        ),
        (graph(opset_imports=[helper.make_opsetid("evil", 1)]), "operators of 'evil'"),
        (graph(functions=[helper.make_function("", "f", [], [], [], [])]), "functions of its own"),
        (graph(tensors=[TensorProto(name="t", data_type=1, dims=[2**40])]), "an absurd shape"),
        (graph(tensors=[TensorProto(name="t", data_type=1, dims=[-1])]), "a negative side"),
        (graph(tensors=[TensorProto(name="t", data_type=1, dims=[1] * 9, raw_data=bytes(4))]), "an absurd shape"),
        (graph(tensors=[TensorProto(name="t", data_type=1, dims=[1000], raw_data=bytes(4))]), "its shape claims"),
        (graph(tensors=[TensorProto(name="t", data_type=8, dims=[1], string_data=[b"x"])]), "a tensor of text"),
        (graph(tensors=[TensorProto(name="t", data_type=99, dims=[1])]), "of a type that a bundle may not hold"),
        (graph(helper.make_node("MaxPool", ["image"], ["y"], pads=[2**40] * 4)), "an attribute out of range"),
        (graph(*[helper.make_node("Relu", ["image"], [f"y{i}"]) for i in range(4097)]), "more than 4096 nodes"),
        (graph() + graph(), "one graph"),
        (b"", "one graph"),
    ],
)
def test_a_graph_that_could_do_harm_is_refused_before_onnxruntime_sees_it(model: bytes, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        vet(model)


def test_messages_nested_without_end_are_refused_at_the_first() -> None:
    data = b""
    for _ in range(200):  # graph -> node -> attribute -> graph -> ...
        data = _field(1, _field(5, _field(6, data)))
    with pytest.raises(ValueError, match="has a graph within a node"):
        vet(_field(7, data))


def _field(number: int, data: bytes) -> bytes:
    length, size = len(data), bytearray()
    while length > 127:
        size.append(length & 127 | 128)
        length >>= 7
    return bytes([number << 3 | 2, *size, length]) + data


def test_what_we_publish_passes() -> None:
    from mygo_edge.export.graphs import classifier_graph

    vet(classifier_graph(tiny_net(2), ["a", "b"]))


def test_an_error_of_a_hostile_bundle_is_one_line(own_bundle: Path) -> None:
    from mygo_edge.device.edge_model import EdgeModel

    (own_bundle / "v0002" / "two\nlines\x1b[2J").write_bytes(b"")
    with pytest.raises(MygoEdgeError) as caught:
        EdgeModel.load(own_bundle)
    assert str(caught.value).isprintable()
