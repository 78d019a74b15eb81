"""Vet a tokenizer.json before the tokenizers library parses it: known parts, nothing that can loop or grow.

Not allowed: regular expressions, which can take for ever; character maps in binary (`Precompiled`); replacements that
make much out of little; randomness. What is vetted is written anew, so that both parsers read the same.
"""

import json
from typing import Any

from mygo_edge.bundle.manifest import BundleError

MAX_BYTES = 2**25
MAX_VOCABULARY = 2**20
_MAX_WORD = 1000  # characters; matching a word takes their square
_MAX_TEXT = 256  # characters of a setting or an added token
_MAX_ADDED = 4096
_MAX_PARTS = 16
_MAX_GROWTH = 64.0  # characters that all replacements together may make of one

_NORMALIZERS = [
    "BertNormalizer",
    "Lowercase",
    "NFC",
    "NFD",
    "NFKC",
    "NFKD",
    "Nmt",
    "Prepend",
    "Replace",
    "Sequence",
    "Strip",
    "StripAccents",
]
_PRE_TOKENIZERS = [
    "BertPreTokenizer",
    "ByteLevel",
    "CharDelimiterSplit",
    "Digits",
    "Metaspace",
    "Punctuation",
    "Sequence",
    "Split",
    "Whitespace",
    "WhitespaceSplit",
]
_POST_PROCESSORS = ["BertProcessing", "ByteLevel", "RobertaProcessing", "Sequence", "TemplateProcessing"]
_MODELS = ["BPE", "Unigram", "WordLevel", "WordPiece"]
_NESTED = {"normalizer": "normalizers", "pre_tokenizer": "pretokenizers", "post_processor": "processors"}
_DECOMPOSING = frozenset(("NFD", "NFKC", "NFKD"))
_DECOMPOSED = 18.0  # characters, at most, of one character: U+FDFA in compatibility forms


class _RefusedError(ValueError):
    """The message goes on after the file's name."""


def vetted(data: bytes, where: str) -> tuple[str, int]:
    """The tokenizer as JSON that the library may be given, and the id to pad with.

    Raises:
        BundleError: it may not be used, or is no JSON; says why.
    """
    try:
        _require(len(data) <= MAX_BYTES, f"has {len(data)} bytes, more than {MAX_BYTES}")
        return _vet(json.loads(data.decode("utf-8"), parse_constant=_no_constant))
    except _RefusedError as error:
        raise BundleError(f"{where} {error}") from error
    except (ValueError, RecursionError) as error:
        raise BundleError(f"{where} is no JSON in UTF-8 ({str(error)[:200]})") from error


def _vet(top: Any) -> tuple[str, int]:
    _require(isinstance(top, dict), "is no JSON object")
    _model(top.get("model"))
    growth = _parts("normalizer", top.get("normalizer"), _NORMALIZERS)
    _require(growth <= _MAX_GROWTH, "has replacements that make too much of a text")
    _parts("pre_tokenizer", top.get("pre_tokenizer"), _PRE_TOKENIZERS)
    _parts("post_processor", top.get("post_processor"), _POST_PROCESSORS)
    added = top.get("added_tokens") or []
    _require(isinstance(added, list) and len(added) <= _MAX_ADDED, f"adds more than {_MAX_ADDED} tokens")
    for token in added:
        _require(isinstance(token, dict) and _is_text(token.get("content"), 1), "adds a token that is no short text")
        _require(_is_id(token.get("id")), "adds a token with an id out of range")
    kept = {"version": "1.0", "truncation": None, "padding": None, "added_tokens": added, "decoder": None}
    kept |= {key: top.get(key) for key in ("normalizer", "pre_tokenizer", "post_processor", "model")}
    padding = top.get("padding")
    pad_id = padding.get("pad_id") if isinstance(padding, dict) else None
    return json.dumps(kept), pad_id if isinstance(pad_id, int) and _is_id(pad_id) else 0


def _model(model: Any) -> None:
    _require(isinstance(model, dict), "has no model")
    kind = model.get("type")
    _require(kind in _MODELS, f"has a model of type {str(kind)[:40]!r}; it must be one of {', '.join(_MODELS)}")
    _require(not model.get("dropout"), "has a model with dropout, which tokenizes the same text differently each time")
    vocabulary: Any = model.get("vocab")
    listed = kind == "Unigram"
    _require(isinstance(vocabulary, list if listed else dict), "has a model without a vocabulary")
    _require(0 < len(vocabulary) <= MAX_VOCABULARY, f"has no tokens, or more than {MAX_VOCABULARY}")
    if not listed:
        _require(all(map(_is_id, vocabulary.values())), "has a token with an id out of range")
    merges = model.get("merges") or []
    _require(isinstance(merges, list) and len(merges) <= 2 * MAX_VOCABULARY, "has too many merges")
    longest = model.get("max_input_chars_per_word", 0)
    _require(type(longest) is int and 0 <= longest <= _MAX_WORD, f"matches words of more than {_MAX_WORD} characters")
    for key, value in model.items():
        _require(key in ("vocab", "merges") or _is_plain(value), f"has a model with a strange {str(key)[:40]!r}")


def _parts(place: str, part: Any, known: list[str], depth: int = 0) -> float:
    """Check a part and the parts within it; return how many characters they may make of one."""
    if part is None:
        return 1.0
    _require(isinstance(part, dict), f"has a {place} that is no object")
    kind = part.get("type")
    _require(kind in known, f"has a {place} of type {str(kind)[:40]!r}, which a bundle may not use")
    if kind == "Sequence":
        inner = part.get(_NESTED[place])
        _require(isinstance(inner, list) and len(inner) <= _MAX_PARTS and depth < 2, f"has a {place} of too many parts")
        growth = 1.0
        for item in inner:
            growth *= _parts(place, item, known, depth + 1)
        return growth
    _require(len(json.dumps(part)) <= 2**14, f"has a {place} with long settings")
    _require(not _mentions_regex(part), f"has a {place} with a regular expression, which can take for ever")
    if kind == "TemplateProcessing":
        _template(part)
    if kind == "Replace":
        given = part.get("pattern")
        pattern: Any = given.get("String") if isinstance(given, dict) else None
        _require(_is_text(pattern, 1) and _is_text(part.get("content"), 0), f"has a {place} with a strange replacement")
        return max(1.0, len(part["content"]) / len(pattern))
    return _DECOMPOSED if kind in _DECOMPOSING else 1.0


def _template(part: dict[str, Any]) -> None:
    for key in ("single", "pair"):
        items: Any = part.get(key)
        _require(isinstance(items, list) and len(items) <= _MAX_PARTS, "has a template of too many parts")
    special: Any = part.get("special_tokens")
    _require(isinstance(special, dict) and len(special) <= _MAX_PARTS, "has a template of too many special tokens")
    for token in special.values():
        ids = token.get("ids") if isinstance(token, dict) else None
        fits = isinstance(ids, list) and len(ids) <= _MAX_PARTS and all(map(_is_id, ids))
        _require(fits, "has a template with strange special tokens")


def _mentions_regex(value: Any) -> bool:
    if isinstance(value, dict):
        return "Regex" in value or any(map(_mentions_regex, value.values()))
    return isinstance(value, list) and any(map(_mentions_regex, value))


def _is_id(value: Any) -> bool:
    return type(value) is int and 0 <= value < 2 * MAX_VOCABULARY


def _is_text(value: Any, least: int) -> bool:
    return isinstance(value, str) and least <= len(value) <= _MAX_TEXT


def _is_plain(value: Any) -> bool:
    return value is None or isinstance(value, (bool, int, float)) or _is_text(value, 0)


def _no_constant(name: str) -> Any:
    raise _RefusedError(f"holds {name}, which is no number of JSON")


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise _RefusedError(otherwise)
