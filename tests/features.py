"""Tiny trunks for photos and texts, a memory on top of them, and real bundles of these."""

import json
from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

from mygo_edge.bundle import vision
from mygo_edge.bundle.gaussian import ClassMeans, PowerTransform, Precision, SharedFactor, join
from mygo_edge.bundle.manifest import ImageInput, TextInput, TrunkFormat
from mygo_edge.bundle.own_covariance import OwnCovariances
from mygo_edge.bundle.rows import ClassRows
from mygo_edge.bundle.wake_head import WakeHead
from mygo_edge.device.session import Graph
from mygo_edge.export.features import FeatureMemory, publish_features
from mygo_edge.export.trunks import TrunkFiles

FEATURES, RANK, SIDE = 24, 8, 8
LEARNER = "0123456789abcdef" * 2
PHOTO_TASKS = {"warm": ["red", "yellow"], "cold": ["blue", "cyan", "green"], "grey": ["black", "white"]}
COLOURS = {
    "red": (220, 30, 30),
    "yellow": (220, 220, 40),
    "blue": (30, 30, 220),
    "cyan": (30, 210, 210),
    "green": (30, 200, 40),
    "black": (15, 15, 15),
    "white": (240, 240, 240),
    "violet": (150, 20, 200),
    "orange": (240, 120, 20),
}
WORDS = {
    "sport": ["ball", "goal", "team", "match", "coach", "player"],
    "money": ["bank", "market", "price", "stock", "trade", "profit"],
    "space": ["rocket", "orbit", "moon", "star", "planet", "launch"],
    "food": ["bread", "soup", "apple", "cheese", "butter", "salad"],
}
MUSIC = ["song", "drum", "choir", "piano", "violin", "melody"]  # which no text of another topic has
TEXT_TASKS = {"first": ["money", "sport"], "second": ["space"]}


def photos(colours: Sequence[str], each: int, seed: int = 0, side: int = 20) -> tuple[np.ndarray, list[str]]:
    """Photos of one colour with noise and a gradient, uint8 [n, side, side, 3], and the names of their colours."""
    rng = np.random.default_rng(seed)
    images, labels = [], []
    for name in colours:
        for _ in range(each):
            light = np.linspace(rng.uniform(0.6, 1), rng.uniform(0.6, 1), side)[:, None, None]
            image = light * COLOURS[name] + rng.normal(0, 25, (side, side, 3)) + rng.normal(0, 8, 3)
            images.append(image.clip(0, 255).astype(np.uint8))
            labels.append(name)
    return np.stack(images), labels


def texts(topics: Sequence[str], each: int, seed: int = 0) -> tuple[list[str], list[str]]:
    """Texts of words of one topic with some of any topic, and the names of their topics."""
    rng = np.random.default_rng(seed)
    anything = [word for words in WORDS.values() for word in words]
    known = WORDS | {"music": MUSIC}
    found = [" ".join([*rng.choice(known[name], 5), *rng.choice(anything, 2)]) for name in topics for _ in range(each)]
    return found, [name for name in topics for _ in range(each)]


def photo_trunk(seed: int = 0) -> TrunkFiles:
    """image uint8 [batch, 3, 8, 8] -> features [batch, 24], none below 0, by a random convolution."""
    rng = np.random.default_rng(seed)
    weight = (rng.normal(0, 1, (FEATURES, 3, 3, 3)) / 5).astype(np.float32)
    constants = {
        "scale": np.float32(1 / 128),
        "weight": weight,
        "bias": rng.normal(0, 0.5, FEATURES).astype(np.float32),
    }
    nodes = [
        helper.make_node("Cast", ["image"], ["pixels"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["pixels", "scale"], ["scaled"]),
        helper.make_node("Conv", ["scaled", "weight", "bias"], ["hidden"], kernel_shape=[3, 3]),
        helper.make_node("Relu", ["hidden"], ["active"]),
        helper.make_node("GlobalAveragePool", ["active"], ["pooled"]),
        helper.make_node("Flatten", ["pooled"], ["features"], axis=1),
    ]
    takes = [helper.make_tensor_value_info("image", TensorProto.UINT8, ["batch", 3, SIDE, SIDE])]
    graph = _serialised(nodes, takes, constants)
    form = ImageInput((SIDE, SIDE), None, "none", "bilinear", (0.5,) * 3, (0.5,) * 3)
    return TrunkFiles(graph, TrunkFormat(sha256(graph).hexdigest(), "trunk.onnx", "features", FEATURES, form))


def text_trunk() -> TrunkFiles:
    """Token ids and mask [batch, tokens] -> the mean of the tokens' rows in a random table, [batch, 24]."""
    vocabulary = ["[UNK]", *[word for words in WORDS.values() for word in words], *MUSIC]
    table = np.random.default_rng(0).normal(0, 1, (len(vocabulary), FEATURES)).astype(np.float32)
    constants = {"table": table, "last": np.array([-1]), "tokens": np.array([1]), "one": np.float32(1)}
    nodes = [
        helper.make_node("Gather", ["table", "input_ids"], ["rows"]),
        helper.make_node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        helper.make_node("Unsqueeze", ["mask", "last"], ["weights"]),
        helper.make_node("Mul", ["rows", "weights"], ["masked"]),
        helper.make_node("ReduceSum", ["masked", "tokens"], ["sum"], keepdims=0),
        helper.make_node("ReduceSum", ["weights", "tokens"], ["count"], keepdims=0),
        helper.make_node("Max", ["count", "one"], ["least"]),
        helper.make_node("Div", ["sum", "least"], ["features"]),
    ]
    takes = [
        helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "tokens"])
        for name in ("input_ids", "attention_mask")
    ]
    graph = _serialised(nodes, takes, constants)
    tokenizer = {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": [],
        "normalizer": {"type": "Lowercase"},
        "pre_tokenizer": {"type": "Whitespace"},
        "post_processor": None,
        "decoder": None,
        "model": {
            "type": "WordLevel",
            "vocab": {word: index for index, word in enumerate(vocabulary)},
            "unk_token": "[UNK]",
        },
    }
    form = TrunkFormat(sha256(graph).hexdigest(), "trunk.onnx", "features", FEATURES, TextInput("tokenizer.json", 32))
    return TrunkFiles(graph, form, tokenizer=json.dumps(tokenizer).encode())


def _serialised(nodes: list[Any], takes: list[Any], constants: dict[str, Any]) -> bytes:
    gives = [helper.make_tensor_value_info("features", TensorProto.FLOAT, ["batch", FEATURES])]
    held = [numpy_helper.from_array(np.asarray(value), name) for name, value in constants.items()]
    graph = helper.make_graph(nodes, "trunk", takes, gives, held)
    model = helper.make_model(graph, ir_version=8, opset_imports=[helper.make_opsetid("", 18)])
    return bytes(model.SerializeToString())


def memory_of(vectors: np.ndarray, labels: Sequence[str], transform: PowerTransform) -> tuple[dict, SharedFactor]:
    """Means by class, and the shared factor of rank 8 of the pooled scatter, of features [n, 24]."""
    x = transform(vectors)
    index = np.array(labels)
    means = {name: x[index == name].mean(0) for name in dict.fromkeys(labels)}
    rest = x - np.stack([means[name] for name in labels])
    scatter = (rest.T @ rest / (len(rest) - len(means))).astype(np.float64)
    values, directions = np.linalg.eigh(scatter)
    factor = (directions[:, -RANK:] * np.sqrt(0.9 * values[-RANK:])).T.astype(np.float32)
    diagonal = np.maximum(np.diag(scatter) - (factor**2).sum(0), 1e-4).astype(np.float32)
    shared = SharedFactor(factor, diagonal, transform, 0.1, 0.0)
    precision = Precision(shared)
    spread = float(precision.norms(precision.whiten(rest)).mean())
    return means, SharedFactor(factor, diagonal, transform, 0.1, spread)


def photo_memory(names: Sequence[str] = tuple(PHOTO_TASKS), seed: int = 0) -> tuple[list[FeatureMemory], SharedFactor]:
    """What a learner remembers of the first tasks of photos: 30 of a colour."""
    trunk = photo_trunk()
    images, labels = photos([colour for name in names for colour in PHOTO_TASKS[name]], 30, seed)
    form = vision.Preparation((SIDE, SIDE), None, "bilinear", (0.5,) * 3, (0.5,) * 3)
    prepared = vision.from_pixels(images.transpose(0, 3, 1, 2), form)
    (vectors,) = Graph(trunk.graph, "trunk").run(["features"], {"image": vision.graph_input(prepared, form, False)})
    means, shared = memory_of(vectors, labels, PowerTransform(0.5))
    return _tasks({name: PHOTO_TASKS[name] for name in names}, means, 30), shared


def text_memory() -> tuple[list[FeatureMemory], SharedFactor]:
    """What a learner remembers of the tasks of texts: 40 of a topic."""
    from mygo_edge.bundle.text import Tokenizer

    trunk = text_trunk()
    found, labels = texts([topic for topics in TEXT_TASKS.values() for topic in topics], 40)
    ids, mask = Tokenizer(trunk.tokenizer or b"", 32).encode(found)
    (vectors,) = Graph(trunk.graph, "trunk").run(["features"], {"input_ids": ids, "attention_mask": mask})
    means, shared = memory_of(vectors, labels, PowerTransform(1.0, signed=True, normalised=True))
    return _tasks(TEXT_TASKS, means, 40), shared


def _tasks(tasks: dict[str, list[str]], means: dict[str, np.ndarray], count: int) -> list[FeatureMemory]:
    return [
        FeatureMemory(
            name, classes, ClassMeans(np.stack([means[label] for label in classes]), np.full(len(classes), count))
        )
        for name, classes in tasks.items()
    ]


def with_rows(memories: list[FeatureMemory], shared: SharedFactor, scale: float = 1.0) -> list[FeatureMemory]:
    """Rows of the factor's covariance; `scale` of another that keeps classes that much farther apart."""
    inverse = np.linalg.inv(shared.factor.T.astype(np.float64) @ shared.factor + np.diag(shared.diagonal)) * scale
    centre = join([memory.means for memory in memories]).means.mean(0)
    return [
        memory._replace(
            rows=ClassRows(((memory.means.means - centre) @ inverse).astype(np.float32), shared.spread * scale)
        )
        for memory in memories
    ]


def with_heads(memories: list[FeatureMemory]) -> list[FeatureMemory]:
    """The first task's head answers its last class to everything; the others have none."""
    classes, features = memories[0].means.means.shape
    bias = np.arange(classes, dtype=np.float32)
    return [memories[0]._replace(head=WakeHead(np.zeros((classes, features), np.float32), bias)), *memories[1:]]


def publish_photos(bundle_dir: Path, count: int = 2, **how: Any) -> Path:
    """Publish the first tasks of photos, so many; `how` as for `publish_features`."""
    memories, shared = photo_memory(list(PHOTO_TASKS)[:count])
    given = {"shared": shared, "tasks": memories, "trunk": photo_trunk(), "sequence": count, "max_loss": 0.05}
    return publish_features(bundle_dir, learner_id=LEARNER, **(given | how))


def publish_photos_apart(bundle_dir: Path, patch: pytest.MonkeyPatch, count: int = 3, **how: Any) -> Path:
    """Publish the first tasks of photos with rows, the first two of them in a file of their own."""
    patch.setattr("mygo_edge.bundle.parts.PART_BYTES", 800)
    memories, shared = photo_memory(list(PHOTO_TASKS)[:count])
    return publish_photos(bundle_dir, count, **({"tasks": with_rows(memories, shared), "shared": shared} | how))


def publish_corrected_photos(bundle_dir: Path, patch: pytest.MonkeyPatch) -> Path:
    """Two tasks, then a third beside rows of another covariance, which leave no room but for a correction of rank 4."""
    memories, shared = photo_memory()
    publish_photos(bundle_dir, 2, tasks=with_rows(memories[:2], shared, 1.5))
    patch.setattr("mygo_edge.export.features.MAX_UPDATE", 0)
    patch.setattr("mygo_edge.export.feature_rows._RANKS", (4, 4))
    return publish_photos(bundle_dir, 3, tasks=with_rows(memories, moved(shared)))


def moved(shared: SharedFactor) -> SharedFactor:
    """Another covariance, which differs in two directions."""
    factor = shared.factor * np.array([2, 0.5, *[1] * (len(shared.factor) - 2)], np.float32)[::-1, None]
    return replace(shared, factor=factor, spread=shared.spread * 1.1)


def own_covariances(shared: SharedFactor, classes: int) -> OwnCovariances:
    """In four directions, in which classes spread by a third to three times as much as all do."""
    span = (shared.factor[:4] / shared.diagonal).astype(np.float64)
    covariance = shared.factor.T.astype(np.float64) @ shared.factor + np.diag(shared.diagonal)
    directions = np.linalg.solve(np.linalg.cholesky(span @ covariance @ span.T), span)
    spreads = np.random.default_rng(0).uniform(1 / 3, 3, (classes, 4))
    matrices = spreads[:, :, None] * np.eye(4)
    return OwnCovariances(directions.astype(np.float32), matrices.astype(np.float32))


def publish_texts(bundle_dir: Path, **how: Any) -> Path:
    """Publish the tasks of texts; `how` as for `publish_features`."""
    memories, shared = text_memory()
    given = {"shared": shared, "tasks": memories, "trunk": text_trunk(), "sequence": 1, "max_loss": 0.05}
    return publish_features(bundle_dir, learner_id=LEARNER, **(given | how))
