"""Text trunks: graphs that give what their mathematics says, whatever the batch, and that a device accepts."""

import json
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper
from torch import Tensor

from mygo_edge.bundle.vetting import vet
from mygo_edge.errors import MygoEdgeError
from mygo_edge.trunks.minilm import bert_graph
from mygo_edge.trunks.static_table import table_graph, token_weights
from mygo_edge.trunks.text import Embedder, TextTrunk, cosines, gated
from mygo_edge.trunks.text_catalogue import text_trunk
from tests.tiny_tokenizer import TINY, WORDS

TEXTS = ["Oil prices rise", "a", "fall fall fall a rise oil prices", "unknown words"]
TOKENIZER = json.dumps(TINY).encode()
WIDTH, LAYERS = 48, 2


def trunk(graph: bytes, tokenizer: bytes = TOKENIZER) -> TextTrunk:
    return TextTrunk("tiny", graph, tokenizer, 16, "fp32", "random numbers")


def weights_of_bert() -> dict[str, NDArray[np.float32]]:
    """Random, named as in the package."""
    draw = np.random.default_rng(0)
    shapes = {
        "embeddings.word_embeddings.weight": (len(WORDS), WIDTH),
        "embeddings.position_embeddings.weight": (20, WIDTH),
        "embeddings.token_type_embeddings.weight": (2, WIDTH),
    }
    for layer in range(LAYERS):
        for part, sides in {
            "attention.self.query": (WIDTH, WIDTH),
            "attention.self.key": (WIDTH, WIDTH),
            "attention.self.value": (WIDTH, WIDTH),
            "attention.output.dense": (WIDTH, WIDTH),
            "intermediate.dense": (4 * WIDTH, WIDTH),
            "output.dense": (WIDTH, 4 * WIDTH),
        }.items():
            shapes[f"encoder.layer.{layer}.{part}.weight"] = sides
            shapes[f"encoder.layer.{layer}.{part}.bias"] = sides[:1]
    for place in [
        "embeddings",
        *(f"encoder.layer.{n}.{p}" for n in range(LAYERS) for p in ("attention.output", "output")),
    ]:
        shapes[f"{place}.LayerNorm.weight"] = shapes[f"{place}.LayerNorm.bias"] = (WIDTH,)
    return {name: draw.normal(0, 0.3, sides).astype(np.float32) for name, sides in shapes.items()}


def bert_in_pytorch(weights: Mapping[str, NDArray[np.float32]], ids: list[int]) -> NDArray[np.float32]:
    """One text through the encoder as Devlin et al. describe it, then mean and scale."""
    w = {name: torch.from_numpy(value) for name, value in weights.items()}

    def linear(x: Tensor, name: str) -> Tensor:
        return F.linear(x, w[f"{name}.weight"], w[f"{name}.bias"])

    def norm(x: Tensor, name: str) -> Tensor:
        return F.layer_norm(x, (WIDTH,), w[f"{name}.LayerNorm.weight"], w[f"{name}.LayerNorm.bias"], 1e-12)

    x = w["embeddings.word_embeddings.weight"][ids] + w["embeddings.position_embeddings.weight"][: len(ids)]
    x = norm(x + w["embeddings.token_type_embeddings.weight"][0], "embeddings")  # [tokens, width]
    for layer in range(LAYERS):
        name = f"encoder.layer.{layer}"
        query, key, value = (
            linear(x, f"{name}.attention.self.{part}").reshape(len(ids), 12, -1).transpose(0, 1)
            for part in ("query", "key", "value")
        )
        mixed = F.scaled_dot_product_attention(query, key, value).transpose(0, 1).reshape(len(ids), WIDTH)
        x = norm(x + linear(mixed, f"{name}.attention.output.dense"), f"{name}.attention.output")
        x = norm(x + linear(F.gelu(linear(x, f"{name}.intermediate.dense")), f"{name}.output.dense"), f"{name}.output")
    return WIDTH**0.5 * F.normalize(x.mean(0), dim=0).numpy()


def test_the_transformer_as_a_graph_gives_what_pytorch_gives_whatever_the_batch() -> None:
    weights = weights_of_bert()
    embed = Embedder(trunk(bert_graph(weights, integers=False)))
    expected = [bert_in_pytorch(weights, ids) for ids in embed.tokenizer.tokenised(TEXTS).parts]
    np.testing.assert_allclose(embed(TEXTS), expected, atol=2e-5)
    np.testing.assert_allclose(np.concatenate([embed([text]) for text in TEXTS]), expected, atol=2e-5)


def test_the_transformer_with_weights_in_int8_points_the_same_way_and_is_four_times_smaller() -> None:
    weights = weights_of_bert()
    exact, small = (bert_graph(weights, integers=integers) for integers in (False, True))
    mean, least = cosines(Embedder(trunk(exact))(TEXTS), Embedder(trunk(small))(TEXTS))
    assert 0.995 < least <= mean < 1
    assert len(small) < len(exact) / 2.5


def test_the_gate_keeps_fp32_where_int8_points_elsewhere(capsys: pytest.CaptureFixture[str]) -> None:
    weights = weights_of_bert()
    exact, small = (trunk(bert_graph(weights, integers=integers)) for integers in (False, True))
    assert gated(exact, small, TEXTS) is small
    weights["encoder.layer.1.output.dense.weight"] = -weights["encoder.layer.1.output.dense.weight"]
    assert gated(exact, trunk(bert_graph(weights, integers=True)), TEXTS) is exact
    assert "stays in fp32" in capsys.readouterr().err


def test_the_static_table_is_a_weighted_mean_of_mean_square_one() -> None:
    table = np.random.default_rng(1).normal(size=(len(WORDS), 8)).astype(np.float32)
    counts = np.linspace(0.1, 1, len(WORDS)).astype(np.float32)
    embed = Embedder(trunk(table_graph(table, counts)))
    for text, vector in zip(TEXTS, embed(TEXTS), strict=True):
        (ids,) = embed.tokenizer.tokenised([text]).parts
        mean = (counts[ids, None] * table[ids]).sum(0)
        np.testing.assert_allclose(vector, mean / np.sqrt((mean**2).mean()), atol=0.03)  # int8


def test_a_text_of_tokens_that_do_not_count_is_zero_and_not_nan() -> None:
    table = np.ones((len(WORDS), 8), np.float32)
    counts = np.ones(len(WORDS), np.float32)
    counts[2] = 0  # [CLS], which the tokenizer puts before every text
    vectors = Embedder(trunk(table_graph(table, counts)))(["", "oil"])
    assert (vectors[0] == 0).all()
    assert (vectors[1] ** 2).mean() == pytest.approx(1)


def test_texts_that_are_cut_are_said(capsys: pytest.CaptureFixture[str]) -> None:
    embed = Embedder(trunk(table_graph(np.ones((len(WORDS), 8), np.float32), np.ones(len(WORDS), np.float32))))
    embed(["oil rise"])
    assert capsys.readouterr().err == ""
    embed(["oil " * 16, "oil " * 500, "fall"])
    assert "2 of 3 texts have more than the 16 tokens that are read; the rest is cut" in capsys.readouterr().err


def test_frequent_tokens_count_less_and_control_tokens_nothing() -> None:
    weights = token_weights(32_000)
    assert (weights[:3] == 0).all()
    assert (np.diff(weights[259:]) >= 0).all()  # learnt early: frequent
    assert 0 < weights[259] < 0.1 < 0.9 < weights[-1] < 1


@pytest.mark.parametrize("graph", ["bert", "table"])
def test_a_device_accepts_the_graphs(graph: str) -> None:
    made = (
        bert_graph(weights_of_bert(), integers=True)
        if graph == "bert"
        else table_graph(np.ones((9, 4), np.float32), np.ones(9, np.float32))
    )
    vet(made)
    model = onnx.load_from_string(made)
    onnx.checker.check_model(model, full_check=True)
    assert model.ir_version <= 10
    assert all(18 <= item.version <= 20 for item in model.opset_import)


def own_graph(path: Path, *, names: tuple[str, ...], output: tuple[str, ...], operator: str = "Cast") -> Path:
    """A graph as a user might have it: a row of numbers a token, summed over tokens where `output` has two axes."""
    table = numpy_helper.from_array(np.random.default_rng(2).normal(size=(len(WORDS), 6)).astype(np.float32), "table")
    axis = numpy_helper.from_array(np.array([1]), "axis")
    nodes = [helper.make_node("Gather", ["table", names[0]], ["rows"])]
    nodes.append(helper.make_node(operator, ["rows"], ["out"], **({"to": 1} if operator == "Cast" else {})))
    if len(output) == 2:
        nodes[-1].output[0] = "hidden"
        nodes.append(helper.make_node("ReduceMean", ["hidden", "axis"], ["out"], keepdims=0))
    graph = helper.make_graph(
        nodes,
        "own",
        [helper.make_tensor_value_info(name, TensorProto.INT64, ["b", "t"]) for name in names],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, [*output[:-1], 6])],
        [table, axis],
    )
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8), path)
    return path


@pytest.mark.parametrize("names", [("input_ids", "attention_mask"), ("input_ids", "attention_mask", "token_type_ids")])
def test_a_graph_of_ones_own_gives_the_mean_over_tokens_scaled_to_mean_square_one(
    tmp_path: Path, names: tuple[str, ...]
) -> None:
    file = own_graph(tmp_path / "own.onnx", names=names, output=("b", "t", "w"))
    (tmp_path / "tokenizer.json").write_bytes(TOKENIZER)
    embed = Embedder(text_trunk(str(file), tokenizer=tmp_path / "tokenizer.json"))
    table = numpy_helper.to_array(onnx.load(file).graph.initializer[0])
    for text, vector in zip(TEXTS, embed(TEXTS), strict=True):
        mean = table[embed.tokenizer.tokenised([text]).parts[0]].mean(0)
        np.testing.assert_allclose(vector, mean / np.sqrt((mean**2).mean()), atol=1e-5)


def test_a_graph_that_pools_itself_is_taken_as_it_is(tmp_path: Path) -> None:
    file = own_graph(tmp_path / "own.onnx", names=("ids", "mask"), output=("b", "w"))
    (tmp_path / "tokenizer.json").write_bytes(TOKENIZER)
    vectors = Embedder(text_trunk(str(file), tokenizer=tmp_path / "tokenizer.json"))(TEXTS)
    assert vectors.shape == (len(TEXTS), 6)
    np.testing.assert_allclose((vectors**2).mean(1), 1, atol=1e-5)


def test_trunks_that_cannot_work_are_refused(tmp_path: Path) -> None:
    tokens = tmp_path / "tokenizer.json"
    tokens.write_bytes(TOKENIZER)
    with pytest.raises(MygoEdgeError, match="no text trunk"):
        text_trunk("word2vec")
    with pytest.raises(MygoEdgeError, match=r"needs --text\.tokenizer"):
        text_trunk("own.onnx")
    with pytest.raises(MygoEdgeError, match=r"own\.onnx cannot be read"):
        text_trunk(str(tmp_path / "own.onnx"), tokenizer=tokens)
    file = own_graph(tmp_path / "own.onnx", names=("input_ids", "picture"), output=("b", "t", "w"))
    with pytest.raises(MygoEdgeError, match="inputs input_ids, picture"):
        text_trunk(str(file), tokenizer=tokens)
    file = own_graph(tmp_path / "own.onnx", names=("ids", "mask"), output=("b", "t", "w"), operator="NonZero")
    with pytest.raises(MygoEdgeError, match="'NonZero'"):
        text_trunk(str(file), tokenizer=tokens)
    file = own_graph(tmp_path / "own.onnx", names=("ids", "mask"), output=("b", "t", "w"))
    with pytest.raises(MygoEdgeError, match=r"outputs out; choose one with --trunk\.output"):
        text_trunk(str(file), tokenizer=tokens, output="pooled")


def test_weights_that_are_missing_or_changed_are_refused_with_what_to_install(tmp_path: Path) -> None:
    with pytest.raises(MygoEdgeError, match="pip install --no-deps"):
        text_trunk("static-256", weights=tmp_path)
    file = tmp_path / "wordllama" / "weights" / "l2_supercat_256.safetensors"
    file.parent.mkdir(parents=True)
    file.write_bytes(b"changed")
    with pytest.raises(MygoEdgeError, match="SHA-256 differs"):
        text_trunk("static-256", weights=tmp_path)


class TinyBert(torch.nn.Module):
    """An encoder written as libraries write it: positions counted, segments filled with 0, a mask expanded."""

    def __init__(self, width: int = 12, heads: int = 2) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.words, self.places = torch.nn.Embedding(len(WORDS), width), torch.nn.Embedding(32, width)
        self.kinds, self.norm = torch.nn.Embedding(2, width), torch.nn.LayerNorm(width)
        self.parts = torch.nn.ModuleList(torch.nn.Linear(width, width) for _ in range(3))
        self.heads = heads

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        batch, tokens = input_ids.shape
        places = torch.arange(tokens).unsqueeze(0).expand(batch, tokens)
        kinds = torch.zeros(batch, tokens, dtype=torch.long)
        hidden = self.norm(self.words(input_ids) + self.places(places) + self.kinds(kinds))
        absent = 1.0 - attention_mask[:, None, None, :].expand(batch, 1, tokens, tokens).to(hidden.dtype)
        bias = absent.masked_fill(absent.bool(), torch.finfo(hidden.dtype).min)
        query, key, value = (part(hidden).view(batch, tokens, self.heads, -1).transpose(1, 2) for part in self.parts)
        shares = (query @ key.transpose(2, 3) / query.shape[-1] ** 0.5 + bias).softmax(-1)
        mixed = shares @ value
        return hidden + mixed.transpose(1, 2).reshape(batch, tokens, -1)


def exported(path: Path, dynamo: bool) -> Path:
    net, names = TinyBert().eval(), ["input_ids", "attention_mask"]
    example = (torch.ones(2, 6, dtype=torch.long),) * 2
    how: dict[str, Any] = {"dynamic_axes": {name: {0: "batch", 1: "tokens"} for name in [*names, "out"]}}
    if dynamo:
        sides = {0: torch.export.Dim("batch"), 1: torch.export.Dim("tokens", max=32)}
        how = {"dynamic_shapes": (sides, sides), "external_data": False, "verbose": False}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.onnx.export(
            net, example, path, input_names=names, output_names=["out"], opset_version=18, dynamo=dynamo, **how
        )
    return path


@pytest.mark.parametrize("dynamo", [False, True])
def test_an_encoder_as_exporters_write_it_is_brought_to_what_devices_take(tmp_path: Path, dynamo: bool) -> None:
    file = exported(tmp_path / "bert.onnx", dynamo)
    given = onnxruntime.InferenceSession(file)
    assert {"Range", "Expand"} <= {node.op_type for node in onnx.load(file).graph.node}
    (tmp_path / "tokenizer.json").write_bytes(TOKENIZER)
    own = text_trunk(str(file), tokenizer=tmp_path / "tokenizer.json", max_tokens=32)
    vet(own.graph)
    embed = Embedder(own)
    for text, vector in zip(TEXTS, embed(TEXTS), strict=True):
        ids = np.array(embed.tokenizer.tokenised([text]).parts)
        mean = given.run(["out"], {"input_ids": ids, "attention_mask": np.ones_like(ids)})[0][0].mean(0)
        np.testing.assert_allclose(vector, mean / np.sqrt((mean**2).mean()), atol=1e-4)


def test_a_graph_whose_expansion_matters_is_refused(tmp_path: Path) -> None:
    table = numpy_helper.from_array(np.ones((len(WORDS), 6), np.float32), "table")
    shape = numpy_helper.from_array(np.array([1, 1, 3, 1]), "shape")
    last = numpy_helper.from_array(np.array([2]), "last")
    nodes = [
        helper.make_node("Unsqueeze", ["input_ids", "last"], ["wide"]),
        helper.make_node("Expand", ["wide", "shape"], ["wider"]),
        helper.make_node("ReduceSum", ["wider", "last"], ["summed"], keepdims=0),
        helper.make_node("ReduceSum", ["summed", "last"], ["threefold"], keepdims=0),
        helper.make_node("Gather", ["table", "threefold"], ["out"]),
    ]
    inputs = [helper.make_tensor_value_info(name, TensorProto.INT64, ["b", "t"]) for name in ("input_ids", "mask")]
    output = helper.make_tensor_value_info("out", TensorProto.FLOAT, ["b", 6])
    graph = helper.make_graph(nodes, "own", inputs, [output], [table, shape, last])
    file = tmp_path / "own.onnx"
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=8), file)
    (tmp_path / "tokenizer.json").write_bytes(TOKENIZER)
    with pytest.raises(MygoEdgeError, match=r"uses the operator 'Expand'.*, and it "):
        text_trunk(str(file), tokenizer=tmp_path / "tokenizer.json")


def directions(classes: int, texts: int) -> int:
    one = TextTrunk("tiny", b"", b"", 16, "fp32", "", directions=32)
    return one.directions_for(np.full(classes, texts), features=256)


def test_classes_have_more_of_their_own_where_they_are_many_up_to_a_limit() -> None:
    assert [directions(classes, 50) for classes in (2, 4, 5, 10, 20, 1000)] == [32, 32, 38, 68, 128, 128]


def test_more_than_four_classes_have_more_of_their_own_where_texts_tell_it() -> None:
    assert [directions(classes, 128) for classes in (2, 4, 5, 8, 11, 1000)] == [32, 32, 96, 144, 192, 192]
    one = TextTrunk("tiny", b"", b"", 16, "fp32", "", directions=32)
    assert one.directions_for(np.array([5000, 127, 127, 127, 5000, 127]), features=256) == 44  # by the median
    assert one.directions_for(np.full(20, 500), features=64) == 64


def test_directions_can_be_chosen() -> None:
    one = TextTrunk("tiny", b"", b"", 16, "fp32", "", directions=32, chosen=100)
    assert [one.directions_for(np.full(classes, 500), features=256) for classes in (2, 20)] == [100, 100]
    assert one.directions_for(np.full(2, 500), features=24) == 24


def test_a_long_text_in_parts_is_not_its_first_part_alone() -> None:
    table = np.random.default_rng(1).normal(size=(len(WORDS), 8)).astype(np.float32)
    whole = trunk(table_graph(table, np.ones(len(WORDS), np.float32)))
    text = "oil " * 15 + "fall " * 15
    first, both = Embedder(whole)([text]), Embedder(replace(whole, parts=2))([text, "a"])
    assert np.allclose((both**2).mean(1), 1, atol=1e-5)
    assert not np.allclose(first, both[:1], atol=0.1)
