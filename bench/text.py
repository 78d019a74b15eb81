"""AG News (7.6k) learnt in two tasks on the vectors of frozen text trunks, beside its rivals on the same vectors.

    OMP_NUM_THREADS=1 python bench/text.py --data-root DIR

DIR holds ag_news_csv/test.csv and classes.txt. Three seeds: each cuts the 7,600 rows anew into 6,000 for training and
1,600 for testing; the second learns the tasks in reverse. Everything of ours answers from the files that a device
gets. Writes bench/results/text.json.
"""

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import tokenizers
from numpy.typing import NDArray

import mygo_edge
from mygo_edge.bundle.gaussian import ClassMeans, SharedFactor, discriminant, join
from mygo_edge.bundle.gaussian_files import read_means, read_shared, write_means, write_shared
from mygo_edge.bundle.own_covariance import quadratic, read_own, write_own
from mygo_edge.data.text import AG_NEWS, TextDataset, load_ag_news
from mygo_edge.learn.moments import PooledMoments, TaskMoments
from mygo_edge.learn.own_covariance import LEAST_STRENGTH, TaskScatters, answering_factor, own_covariances
from mygo_edge.learn.rivals import FeCAM, Finetune, Joint, NearestMean, RanPAC, Rival, StreamingLDA
from mygo_edge.learn.shared_covariance import SharedCovariance, shrink
from mygo_edge.learn.strength import Strength, left_out
from mygo_edge.trunks.text import NAMES, TRANSFORM, Embedder, TextTrunk, cosines, text_trunk

RESULTS = Path(__file__).parent / "results" / "text.json"
TASKS = ([0, 1], [2, 3])  # World and Sports, Business and Sci/Tech
SEEDS = (0, 1, 2)
GATE_TEXTS = 256
HEADLINES = 300

Vectors = NDArray[np.float32]
Labels = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Stream:
    """A seed's data, labels renumbered in the order in which the tasks are learnt."""

    train: tuple[Vectors, Labels]
    test: tuple[Vectors, Labels]
    order: Sequence[int]  # of the tasks

    def task(self, number: int) -> tuple[Vectors, Labels]:
        """Vectors and labels of the task learnt as this number."""
        vectors, labels = self.train
        chosen = np.isin(labels, own_labels(number))
        return vectors[chosen], labels[chosen]


def own_labels(task: int) -> list[int]:
    return [2 * task, 2 * task + 1]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", type=Path, required=True, help="folder with ag_news_csv")
    parser.add_argument("--trunk", choices=NAMES, help="measure this one alone, and keep the others' results")
    options = parser.parse_args()
    datasets = [load_ag_news(options.data_root, seed) for seed in SEEDS]
    result: dict[str, Any] = {
        "command": "OMP_NUM_THREADS=1 python bench/text.py --data-root DIR",
        "dataset": AG_NEWS,
        "seeds": list(SEEDS),
        "versions": {
            "mygo_edge": mygo_edge.__version__,
            "numpy": np.__version__,
            "onnxruntime": onnxruntime.__version__,
            "tokenizers": tokenizers.__version__,
        },
        "machine": {"cores": os.cpu_count(), "threads": os.environ.get("OMP_NUM_THREADS", "as many")},
        "words": spread([words(dataset) for dataset in datasets]),
        "trunks": json.loads(RESULTS.read_text())["trunks"] if options.trunk else {},
    }
    for name in [options.trunk] if options.trunk else NAMES:
        result["trunks"][name] = measure_trunk(name, datasets)
    RESULTS.write_text(json.dumps(result, indent=2) + "\n")


def measure_trunk(name: str, datasets: Sequence[TextDataset]) -> dict[str, Any]:
    exact = text_trunk(name)
    samples = datasets[0].train.texts[:GATE_TEXTS]
    trunk = text_trunk(name, samples=samples)
    embed = Embedder(trunk)
    texts = datasets[0].train.texts + datasets[0].test.texts
    start = time.perf_counter()
    vectors = dict(zip(texts, embed(texts), strict=True))
    seconds = time.perf_counter() - start
    rows: dict[str, list[dict[str, Any]]] = {}
    for seed, dataset in zip(SEEDS, datasets, strict=True):
        order = (1, 0) if seed == 1 else (0, 1)
        place = np.argsort([label for task in order for label in TASKS[task]])
        train, test = (
            (np.stack([vectors[text] for text in split.texts]), place[split.labels])
            for split in (dataset.train, dataset.test)
        )
        stream = Stream(train, test, order)
        for method, row in {**ours(stream, trunk.rank, trunk.directions), **rivals(stream, seed)}.items():
            rows.setdefault(method, []).append(row)
            print(name, seed, method, {key: value for key, value in row.items() if key != "tasks"}, flush=True)
    mean, least = cosines(Embedder(exact)(samples), embed(samples))
    return {
        "source": trunk.source,
        "precision": trunk.precision,
        "graph_bytes": len(trunk.graph),
        "tokenizer_bytes": len(trunk.tokenizer),
        "max_tokens": trunk.max_tokens,
        "rank": trunk.rank,
        "directions": trunk.directions,
        "features": int(next(iter(vectors.values())).shape[0]),
        "cosine_to_fp32": None if trunk.precision == exact.precision else {"mean": mean, "least": least},
        "texts_a_second": len(texts) / seconds,
        "headline_ms": headline(trunk, [text[:80] for text in datasets[0].test.texts[:HEADLINES]]),
        "methods": {method: spread(found) for method, found in rows.items()},
    }


def ours(stream: Stream, rank: int, directions: int) -> dict[str, dict[str, Any]]:
    """The memory as tasks come, the exact sleep after the last, and the answers of the files for a device."""
    start = time.perf_counter()
    width = stream.train[0].shape[1]
    pooled, strength = PooledMoments.empty(width), Strength()
    means: list[ClassMeans] = []
    scatters: list[Vectors] = []
    counts: list[int] = []
    for number in range(len(TASKS)):
        vectors, labels = stream.task(number)
        transformed = TRANSFORM(vectors)
        moments = TaskMoments([str(label) for label in own_labels(number)], width)
        moments.add(transformed, labels - 2 * number)
        means.append(moments.pool(pooled))
        found = left_out(pooled, join(means), slice(2 * number, 2 * number + 2), transformed, labels - 2 * number)
        strength.learn(found, len(labels), pooled)
        alone = TaskScatters(2, width)
        alone.add(transformed, labels - 2 * number)
        scatters += list(alone.scatters())
        counts += alone.counts.tolist()
    shared = SharedCovariance(shrink(pooled, max(strength.best, LEAST_STRENGTH)), TRANSFORM)
    own = own_covariances(scatters, counts, shared, directions)
    factor = write_shared(answering_factor(shared, join(means), rank, own.directions), "int8")
    seconds = time.perf_counter() - start
    read = read_shared(factor, "factor")
    files = [write_means(part) for part in means]
    again = join([read_means(data, "means", width, 2) for data in files])
    own_file = write_own(own, read)
    vectors, labels = stream.test
    linear = answers(vectors, again, read)
    both = linear + quadratic(TRANSFORM(vectors), again, read_own(own_file, "own", read, len(counts)))
    principal = read_shared(write_shared(shared.factor(rank, join(means)).shared, "int8"), "factor")
    size = len(factor) + sum(map(len, files))
    note = {"shrinkage": read.shrinkage, "seconds": seconds}
    return {
        "mygo, covariances of their own": {
            **accuracy(both, labels, stream.order),
            "bytes": size + len(own_file),
            **note,
        },
        "mygo, one covariance": {**accuracy(linear, labels, stream.order), "bytes": size, **note},
        "one covariance, factor of principal components": {
            **accuracy(answers(vectors, again, principal), labels, stream.order),
            "bytes": size,
        },
    }


def answers(vectors: Vectors, means: ClassMeans, shared: SharedFactor) -> NDArray[Any]:
    """Logits [n, classes], as a device computes them."""
    weight, bias = discriminant(means, shared)
    return TRANSFORM(vectors) @ weight.T + bias


def rivals(stream: Stream, seed: int) -> dict[str, dict[str, Any]]:
    width = stream.train[0].shape[1]
    contenders: dict[str, Rival] = {
        "ncm": NearestMean(),
        "slda": StreamingLDA(),
        "fecam": FeCAM(),
        "ranpac": RanPAC(width, seed=seed),
        "finetune": Finetune(seed),
        "joint": Joint(seed),
    }
    found = {}
    for name, rival in contenders.items():
        start = time.perf_counter()
        for number in range(len(TASKS)):
            rival.learn(*stream.task(number))
        logits = np.asarray(rival.logits(stream.test[0]))
        found[name] = {
            **accuracy(logits, stream.test[1], stream.order),
            "bytes": rival.bytes,
            "seconds": time.perf_counter() - start,
        }
    return found


def accuracy(logits: NDArray[Any], labels: Labels, order: Sequence[int]) -> dict[str, Any]:
    """Shares of right answers, the task known and unknown; `tasks`: known, in the order of TASKS."""
    task = labels // 2
    outside = np.arange(logits.shape[1]) // 2 != task[:, None]
    known = np.where(outside, -np.inf, logits).argmax(1) == labels
    parts = {where: float(known[task == number].mean()) for number, where in enumerate(order)}
    return {
        "known": float(known.mean()),
        "unknown": float((logits.argmax(1) == labels).mean()),
        "tasks": [parts[task] for task in range(len(TASKS))],
    }


def words(dataset: TextDataset) -> dict[str, Any]:
    """TF-IDF of words and logistic regression on all training texts at once: needs no trunk, and a vocabulary."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.model_selection import GridSearchCV

    vectoriser = TfidfVectorizer(sublinear_tf=True, min_df=2, stop_words="english")
    x = vectoriser.fit_transform(dataset.train.texts)
    search = GridSearchCV(LogisticRegression(max_iter=300), {"C": [0.3, 1, 3, 10]}, cv=3)
    model = search.fit(x, dataset.train.labels).best_estimator_
    logits = model.decision_function(vectoriser.transform(dataset.test.texts))
    return {**accuracy(logits, dataset.test.labels, (0, 1)), "bytes": 4 * (model.coef_.size + len(vectoriser.idf_))}


def headline(trunk: TextTrunk, headlines: Sequence[str]) -> dict[str, float]:
    """Milliseconds from a headline to its vector, alone, on one thread: tokenizer and graph."""
    embed = Embedder(trunk, threads=1)
    embed(headlines[:10])
    times = []
    for text in headlines:
        start = time.perf_counter()
        embed([text])
        times.append(1e3 * (time.perf_counter() - start))
    low, median, high = np.quantile(times, [0.2, 0.5, 0.8])
    return {"median": float(median), "quantile_20": float(low), "quantile_80": float(high)}


def spread(rows: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Mean and standard deviation over seeds of what is measured, and the measurements."""
    numbers = {key: [row[key] for row in rows] for key in rows[0]}
    return {
        key: values
        if isinstance(values[0], list)
        else {"mean": statistics.fmean(values), "std": statistics.stdev(values), "seeds": values}
        for key, values in numbers.items()
    }


if __name__ == "__main__":
    sys.exit(main())
