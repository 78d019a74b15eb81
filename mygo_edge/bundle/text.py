"""Strings to token ids, the same on box and device. Needs `tokenizers`, which is imported on first use.

A tokenizer.json may come from anyone who can reach a device's network, so `vetted` looks at it before the library does.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mygo_edge.bundle.manifest import MAX_PARTS, BundleError
from mygo_edge.bundle.text_parts import Tokenised, padded
from mygo_edge.bundle.tokenizer_vetting import vetted
from mygo_edge.errors import MygoEdgeError

MIN_TOKENS, MAX_TOKENS = 8, 8192
# Characters of a text that are looked at, per token that is kept. English has 4 to 5 a token, and what a text costs
# stays bounded whoever wrote it.
CHARACTERS_A_TOKEN = 16


class Tokenizer:
    """A tokenizer.json, ready to turn strings into what a text trunk takes."""

    def __init__(self, data: bytes, max_tokens: int, where: str = "tokenizer.json", parts: int = 1) -> None:
        """Vet and load a tokenizer.

        Args:
            data: the content of a tokenizer.json, as Hugging Face's `tokenizers` writes it. Padding, truncation and
                decoder in it are ignored.
            max_tokens: of a part, special ones included.
            where: names the file in errors.
            parts: longer texts keep so many of their first parts, at most.

        Raises:
            BundleError: the content may not be used, or is none.
            MygoEdgeError: `tokenizers` is not installed.
        """
        if not MIN_TOKENS <= max_tokens <= MAX_TOKENS:
            raise BundleError(f"{where}: max_tokens {max_tokens} must be from {MIN_TOKENS} to {MAX_TOKENS}")
        if not 1 <= parts <= MAX_PARTS:
            raise BundleError(f"{where}: parts {parts} must be from 1 to {MAX_PARTS}")
        content, pad_id = vetted(data, where)
        library = _tokenizers()
        with _blamed(f"{where} is no tokenizer that this version can load"):
            self._tokenizer = library.Tokenizer.from_str(content)
            special = self._tokenizer.num_special_tokens_to_add(False)
            if special < max_tokens:
                self._tokenizer.enable_truncation(max_tokens)
        if special >= max_tokens:
            raise BundleError(f"{where} adds {special} tokens to every text, which leaves none of {max_tokens} for it")
        self.max_tokens, self.parts, self._where, self._pad_id = max_tokens, parts, where, pad_id

    def tokenised(self, texts: Any) -> Tokenised:
        """Texts in parts of at most `max_tokens` ids each; an empty text has one part, which may have none.

        Raises:
            MygoEdgeError: as `as_texts`, or the tokenizer fails on a text.
        """
        characters = CHARACTERS_A_TOKEN * self.max_tokens * self.parts
        given = as_texts(texts)
        cut = [text[:characters] for text in given]
        with _blamed(f"{self._where} fails on a text; it is damaged"):
            # A batch starts threads, which one text is not worth.
            found = [self._tokenizer.encode(cut[0])] if len(cut) == 1 else self._tokenizer.encode_batch(cut)
            parts: list[list[int]] = []
            rows: list[int] = []
            longer = 0
            for row, encoding in enumerate(found):
                rest = encoding.overflowing
                own = [encoding.ids, *(more.ids for more in rest[: self.parts - 1])]
                longer += len(rest) >= self.parts or len(given[row]) > characters
                parts += own
                rows += [row] * len(own)
        return Tokenised(parts, np.array(rows, dtype=np.int64), len(given), longer, self._pad_id)

    def encode(self, texts: Any) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Token ids and mask of all parts, int64 [n, tokens] each, padded to the longest, to one token at least.

        Args:
            texts: a string or a sequence of strings; n may be 0. The mask of an empty text may be all 0.

        Raises:
            MygoEdgeError: as `tokenised`.
        """
        return padded(self.tokenised(texts).parts, self._pad_id)


def as_texts(texts: Any) -> list[str]:
    """A string or a sequence of strings as a list; what is no Unicode (half a surrogate pair) becomes U+FFFD.

    Raises:
        MygoEdgeError: anything else.
    """
    given = [texts] if isinstance(texts, str) else texts
    if isinstance(given, np.ndarray):
        given = given.tolist()
    if not isinstance(given, (list, tuple)):
        raise MygoEdgeError(f"expected a string or a list of strings; got {type(given).__name__}")
    for row, text in enumerate(given):
        if not isinstance(text, str):
            raise MygoEdgeError(f"expected a list of strings; item {row} is {type(text).__name__}")
    return [text.encode("utf-16", "surrogatepass").decode("utf-16", "replace") for text in given]


@contextmanager
def _blamed(message: str) -> Iterator[None]:
    """Turn what the library raises on bad data into a BundleError; its panics are no Exceptions."""
    try:
        yield
    except BaseException as error:
        if isinstance(error, Exception) or type(error).__name__ == "PanicException":
            raise BundleError(f"{message} ({str(error)[:200]})") from error
        raise


def _tokenizers() -> Any:
    try:
        import tokenizers
    except ImportError as error:
        raise MygoEdgeError("texts need the package tokenizers: pip install 'mygo_edge[text]'") from error
    return tokenizers
