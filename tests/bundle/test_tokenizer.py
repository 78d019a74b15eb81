"""Strings become the same token ids on box and device, and no tokenizer.json gets further than its vetting allows."""

import copy
import json
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from mygo_edge.bundle.manifest import BundleError
from mygo_edge.bundle.text import Tokenizer, as_texts
from mygo_edge.errors import MygoEdgeError
from tests.tiny_tokenizer import TINY


def tokenizer(max_tokens: int = 16, values: dict[str, Any] = TINY) -> Tokenizer:
    return Tokenizer(json.dumps(values).encode(), max_tokens)


def test_texts_become_ids_and_a_mask_whatever_padding_the_file_asks_for() -> None:
    ids, mask = tokenizer().encode(["Oil prices rise", "fall"])
    assert ids.tolist() == [[2, 4, 5, 6, 7], [2, 8, 0, 0, 0]]
    assert mask.tolist() == [[1, 1, 1, 1, 1], [1, 1, 0, 0, 0]]
    assert ids.dtype == mask.dtype == np.int64


def test_long_texts_keep_their_first_tokens() -> None:
    ids, _ = tokenizer(max_tokens=8).encode("oil " * 10_000)
    assert ids.tolist() == [[2] + [4] * 7]


def test_long_texts_come_in_parts_each_with_its_special_tokens_and_what_is_more_is_counted() -> None:
    one = Tokenizer(json.dumps(TINY).encode(), 8, parts=3)
    found = one.tokenised(["oil " * 16, "fall", "oil " * 22, ""])
    assert found.rows.tolist() == [0, 0, 0, 1, 2, 2, 2, 3]
    assert [len(ids) for ids in found.parts] == [8, 8, 3, 2, 8, 8, 8, 1]
    assert {ids[0] for ids in found.parts} == {2}
    assert found.cut == 1


def test_the_vector_of_a_text_of_one_part_is_its_parts_own_and_of_several_the_first_tells_most() -> None:
    one = Tokenizer(json.dumps(TINY).encode(), 8, parts=2)
    found = one.tokenised(["fall", "oil " * 14])
    of_parts = (np.array([[3, 4], [1, 0], [0, 1]]) * np.float32(2**0.5)).astype(np.float32)
    vectors = found.vectors(of_parts)
    assert vectors[0].tolist() == of_parts[0].tolist()
    assert np.allclose(vectors[1], np.array([2, 1]) * np.sqrt(2 / 5), atol=1e-6)
    assert np.isclose((vectors[1] ** 2).mean(), 1)


def test_parts_that_cancel_leave_zero_and_not_nan() -> None:
    found = Tokenizer(json.dumps(TINY).encode(), 8, parts=2).tokenised("oil " * 14)
    assert found.vectors(np.array([[1, 1], [-2, -2]], np.float32)).tolist() == [[0, 0]]


def test_no_texts_and_empty_texts_have_shapes_a_graph_can_take() -> None:
    assert tokenizer().encode([])[0].shape == (0, 1)
    plain = copy.deepcopy(TINY) | {"post_processor": None}
    ids, mask = tokenizer(values=plain).encode([""])
    assert ids.tolist() == mask.tolist() == [[0]]


def test_one_text_alone_and_in_a_batch_has_the_same_tokens() -> None:
    one = tokenizer()
    texts = ["oil", "prices fall a rise", "", "what ???", "oil rise"]
    assert [one.tokenised(text).parts[0] for text in texts] == one.tokenised(texts).parts


def test_batches_hold_every_row_once_with_like_lengths_together_in_an_order_of_the_texts_alone() -> None:
    one = tokenizer()
    texts = ["a a a", "a", "a a", "oil", "a a oil", "fall fall"]
    batches = list(one.tokenised(texts).batches(2))
    assert [rows.tolist() for rows, _, _ in batches] == [[1, 3], [2, 5], [0, 4]]
    for rows, ids, mask in batches:
        alone = one.encode([texts[row] for row in rows])
        assert ids.tolist() == alone[0].tolist()
        assert mask.tolist() == alone[1].tolist()


def test_a_batch_of_long_texts_is_small() -> None:
    texts = ["a"] * 5 + ["oil " * 6] * 3
    batches = list(tokenizer().tokenised(texts).batches(batch_size=4, tokens=14))
    assert [rows.tolist() for rows, _, _ in batches] == [[0, 1, 2, 3], [4, 5], [6, 7]]


def test_texts_are_strings_and_nothing_else() -> None:
    assert as_texts("one") == ["one"]
    assert as_texts(np.array(["a", "b"])) == ["a", "b"]
    assert as_texts(["half a pair \ud83d", "\N{GRINNING FACE}"]) == ["half a pair �", "\N{GRINNING FACE}"]
    with pytest.raises(MygoEdgeError, match="item 1 is int"):
        as_texts(["a", 3])
    with pytest.raises(MygoEdgeError, match="got dict"):
        as_texts({})


def _set(*path: str, to: Any) -> Callable[[dict[str, Any]], None]:
    def change(values: dict[str, Any]) -> None:
        for key in path[:-1]:
            values = values[key]
        values[path[-1]] = to

    return change


REGEX = {"type": "Split", "pattern": {"Regex": "(a+)+$"}, "behavior": "Isolated", "invert": False}
GROWING = {"type": "Replace", "pattern": {"String": "a"}, "content": "a" * 60}


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (_set("pre_tokenizer", to=REGEX), "regular expression"),
        (_set("pre_tokenizer", to={"type": "Sequence", "pretokenizers": [REGEX]}), "regular expression"),
        (_set("pre_tokenizer", to={"type": "Strange"}), "type 'Strange'"),
        (_set("pre_tokenizer", to=[]), "no object"),
        (_set("normalizer", to={"type": "Precompiled", "precompiled_charsmap": "AAAA"}), "type 'Precompiled'"),
        (_set("normalizer", to={"type": "Sequence", "normalizers": [GROWING] * 2}), "too much of a text"),
        (_set("normalizer", to={"type": "Sequence", "normalizers": [{"type": "NFKD"}] * 99}), "too many parts"),
        (_set("normalizer", to={"type": "Replace", "pattern": {"String": ""}, "content": "b"}), "strange replacement"),
        (_set("model", to=None), "no model"),
        (_set("model", "type", to="Neural"), "model of type 'Neural'"),
        (_set("model", "dropout", to=0.5), "dropout"),
        (_set("model", "vocab", to=[]), "without a vocabulary"),
        (_set("model", "vocab", "oil", to=2**40), "id out of range"),
        (_set("model", "vocab", "oil", to=-1), "id out of range"),
        (_set("model", "vocab", "oil", to=True), "id out of range"),
        (_set("model", "max_input_chars_per_word", to=10**9), "1000 characters"),
        (_set("model", "unk_token", to="x" * 10**5), "strange 'unk_token'"),
        (_set("model", "unk_token", to=3), "can load"),
        (_set("added_tokens", to=[{"id": 1, "content": ""}]), "no short text"),
        (_set("added_tokens", to=[{"content": "a"}] * 5000), "more than 4096"),
        (_set("post_processor", "single", to=[{}] * 99), "too many parts"),
        (_set("post_processor", "special_tokens", "[CLS]", "ids", to=[2] * 99), "strange special tokens"),
        (_set("post_processor", "special_tokens", "[CLS]", to=None), "strange special tokens"),
    ],
)
def test_a_hostile_tokenizer_is_refused_with_the_reason(change: Callable[[dict[str, Any]], None], reason: str) -> None:
    values = copy.deepcopy(TINY)
    change(values)
    with pytest.raises(BundleError, match=reason):
        tokenizer(values=values)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "no JSON"),
        (b"\xff\xfe", "no JSON"),
        (b"[" * 100_000, "no JSON"),
        (b'{"model": NaN}', "NaN"),
        (b"[]", "no JSON object"),
        (b" " * (2**25 + 1), "more than 33554432"),
    ],
)
def test_what_is_no_tokenizer_at_all_is_refused(data: bytes, reason: str) -> None:
    with pytest.raises(BundleError, match=reason):
        Tokenizer(data, 16)


def test_a_template_that_leaves_no_token_for_the_text_is_refused() -> None:
    values = copy.deepcopy(TINY)
    values["post_processor"]["special_tokens"]["[CLS]"] |= {"ids": [2] * 9, "tokens": ["[CLS]"] * 9}
    with pytest.raises(BundleError, match="adds 9 tokens"):
        tokenizer(max_tokens=8, values=values)


@pytest.mark.parametrize("max_tokens", [0, -3, 10**7])
def test_an_absurd_limit_of_tokens_is_refused(max_tokens: int) -> None:
    with pytest.raises(BundleError, match="max_tokens"):
        tokenizer(max_tokens=max_tokens)
