"""python -m mygo_edge.predict: name what is in images or texts. Needs a bundle, numpy and onnxruntime, and Pillow for
pictures, tokenizers for texts."""

import io
import json
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any

from mygo_edge.command import OneLineParser
from mygo_edge.device.assessing import Assessment
from mygo_edge.device.edge_model import EdgeModel
from mygo_edge.errors import MygoEdgeError, escaped, run_command, warn

NONE_OF_THESE = "none of these"
_LINES = 64  # of standard input at a time


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a line an input, or JSON. Raises MygoEdgeError, before any image's is printed, with what to put right."""
    parser = _parser()
    options = parser.parse_intermixed_args(arguments)
    if options.top < 1:
        parser.error(f"--top {options.top} must be at least 1")
    model = EdgeModel.load(options.bundle, precision=options.precision, public_key=options.public_key)
    for reason in model.refused_heads.values():
        warn(reason)

    def assess(inputs: Any) -> list[Assessment]:
        return model.assess(inputs, options.task, top=options.top, false_alarms=options.reject)

    if model.takes_text:
        if options.images:
            parser.error(f"{options.bundle} takes texts, not files: give --text, or lines on standard input")
        found: Iterable[dict[str, Any]] = _of_texts(assess, options.text or _standard_input())
    else:
        if options.text or not options.images:
            parser.error(f"{options.bundle} takes images: give their files")
        found = _of_images(assess, options.images)
    if options.json:
        print(json.dumps(list(found), indent=2))
        return
    for each in found:
        print(escaped(_line(each)), flush=model.takes_text)


def _parser() -> OneLineParser:
    parser = OneLineParser(
        prog="python -m mygo_edge.predict", description="Classify images or texts with a published bundle."
    )
    parser.add_argument("bundle", type=Path, help="the bundle's folder, such as runs/mnist/bundle")
    parser.add_argument(
        "images",
        type=Path,
        nargs="*",
        help="pictures, converted to what the model takes, or .npy arrays of one or more images",
    )
    parser.add_argument(
        "--text",
        action="append",
        help="a text, may be given several times; without it, and with a bundle of texts, every line of standard input",
    )
    parser.add_argument("--task", help="choose among this task's classes only; without it, among all tasks'")
    parser.add_argument("--top", type=int, default=1, help="the so many most likely classes (default: 1)")
    parser.add_argument(
        "--reject",
        type=float,
        nargs="?",
        const=0.05,
        metavar="SHARE",
        help=f"answer {NONE_OF_THESE!r} where an input looks like no class; SHARE of the model's own dreams would be "
        "refused so (default: 0.05)",
    )
    parser.add_argument(
        "--precision", help="of the classifier, if the bundle holds several (default: fp32 if it is there)"
    )
    parser.add_argument("--json", action="store_true", help="print a JSON array with an object an input")
    parser.add_argument("--public-key", type=Path, help="refuse a version that the owner of this key did not sign")
    return parser


Assess = Callable[[Any], list[Assessment]]


def _of_images(assess: Assess, paths: Sequence[Path]) -> list[dict[str, Any]]:
    """What is printed of every image in the files: all of them, or none where one cannot be read."""
    found = []
    for path in paths:
        try:
            several = assess(path)
        except MygoEdgeError as error:
            raise error if str(path) in str(error) else MygoEdgeError(f"{path}: {error}") from error
        for index, each in enumerate(several):
            image = str(path) if len(several) == 1 else f"{path}[{index}]"
            found.append({"image": image} | _plain(each))
    return found


def _of_texts(assess: Assess, texts: Iterable[str]) -> Iterator[dict[str, Any]]:
    """What is printed of every text, while they come."""
    waiting = iter(texts)
    while part := list(islice(waiting, _LINES)):
        for text, each in zip(part, assess(part), strict=True):
            yield {"text": text} | _plain(each)


def _standard_input() -> Iterator[str]:
    if isinstance(sys.stdin, io.TextIOWrapper):
        sys.stdin.reconfigure(errors="replace")  # one byte that is none of the encoding's ends no stream of lines
    for line in sys.stdin:
        if text := line.strip():
            yield text


def _plain(found: Assessment) -> dict[str, Any]:
    answers = [{"task": task, "class": label, "probability": probability} for task, label, probability in found.answers]
    plain: dict[str, Any] = dict(answers[0])
    if len(answers) > 1:
        plain["top"] = answers
    if found.rejected is not None:
        plain |= {"rejected": found.rejected, "novelty": found.novelty}
    return plain


def _line(found: dict[str, Any]) -> str:
    what = found.get("image") or found["text"]
    answers = found.get("top", [found])
    words = ", ".join("{class}  (task {task}, {probability:.1%})".format_map(answer) for answer in answers)
    return f"{what}: {NONE_OF_THESE}; nearest {words}" if found.get("rejected") else f"{what}: {words}"


if __name__ == "__main__":
    run_command(main)
