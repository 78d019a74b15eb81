"""What texts are measured by: ours and its rivals on the same vectors, ours by the very learner and device of a run."""

import json
from typing import Any

import numpy as np
import pytest

from bench.text_methods import Stream, assessed, ours, remembered, rivals
from mygo_edge.trunks.static_table import table_graph
from mygo_edge.trunks.text import TextTrunk
from tests.tiny_tokenizer import TINY, WORDS

FEATURES, CLASSES, EACH = 12, 4, 60


@pytest.fixture(scope="module")
def trunk() -> TextTrunk:
    table = np.random.default_rng(0).normal(size=(len(WORDS), FEATURES)).astype(np.float32)
    graph = table_graph(table, np.ones(len(WORDS), np.float32))
    return TextTrunk("tiny", graph, json.dumps(TINY).encode(), 16, "int8-weights", "random numbers", directions=4)


@pytest.fixture(scope="module")
def stream() -> Stream:
    """Two tasks of two Gaussian classes each, the second of which has spreads of its own."""
    draw = np.random.default_rng(1)
    centres = draw.normal(size=(CLASSES, FEATURES))
    spreads = np.concatenate([np.full((2, FEATURES), 0.7), draw.uniform(0.3, 1.2, (2, FEATURES))])

    def sample() -> tuple[Any, Any]:
        labels = np.repeat(np.arange(CLASSES), EACH)
        noise = draw.normal(size=(len(labels), FEATURES))
        return (centres[labels] + spreads[labels] * noise).astype(np.float32), labels

    return Stream(sample(), sample(), np.array([0, 0, 1, 1]), (0, 1))


def test_ours_and_its_rivals_are_measured_on_the_same_vectors(stream: Stream, trunk: TextTrunk) -> None:
    rows = {**ours(stream, trunk), **rivals(stream, seed=0)}
    assert list(rows)[:2] == ["mygo, covariances of their own", "mygo, one covariance"]
    for name, row in rows.items():
        assert row["known"] >= max(row["unknown"], 0.9), name
        assert row["unknown"] > (0.5 if name == "finetune" else 0.85), name
        assert np.mean(row["tasks"]) == pytest.approx(row["known"]), name
    assert rows["mygo, one covariance"]["bytes"] < rows["mygo, covariances of their own"]["bytes"]


def test_directions_are_the_trunks_or_those_asked_for(stream: Stream, trunk: TextTrunk) -> None:
    for asked, expected in ((None, 4), (6, 6)):
        (task, *_) = remembered(stream, trunk, 2, asked).device.published.values()
        assert task.own is not None
        assert task.own.directions.shape == (expected, FEATURES)


def test_scores_are_assessed_on_a_task_that_was_not_learnt(stream: Stream, trunk: TextTrunk) -> None:
    found = assessed(stream, trunk)
    assert 0 <= found["error"] < 0.2
    assert found["temperature"] >= 1
    assert found["auroc"] > 0.8
    assert 0 <= found["false_alarms"] < 0.3 < found["rejected"] <= 1
