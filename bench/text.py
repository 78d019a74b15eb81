"""AG News (7.6k) learnt in two tasks on the vectors of frozen text trunks, beside its rivals on the same vectors.

    OMP_NUM_THREADS=1 python bench/text.py --data-root DIR

DIR holds ag_news_csv/test.csv and classes.txt. Twelve seeds, since one seed's answers differ from another's by more
than methods do: each cuts the 7,600 rows anew into 6,000 for training and 1,600 for testing; a third of them learn the
tasks in reverse. Everything of ours answers from the files that a device gets. Writes bench/results/text.json.
"""

import argparse
import json
import os
import statistics
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import tokenizers

sys.path.insert(0, str(Path(__file__).parents[1]))

import mygo_edge
from bench.text_methods import Stream, accuracy, assessed, ours, rivals
from mygo_edge.data.text import AG_NEWS, TextDataset, load_ag_news
from mygo_edge.trunks.text import Embedder, TextTrunk, cosines
from mygo_edge.trunks.text_catalogue import NAMES, text_trunk

RESULTS = Path(__file__).parent / "results" / "text.json"
TASKS = ([0, 1], [2, 3])  # World and Sports, Business and Sci/Tech
GROUPS = np.array([0, 0, 1, 1])  # of which task every label is, in the order in which they are learnt
SEEDS = range(12)
GATE_TEXTS = 256
HEADLINES = 300


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", type=Path, required=True, help="folder with ag_news_csv")
    parser.add_argument("--trunk", choices=NAMES, help="measure this one alone, and keep the others' results")
    parser.add_argument("--ours", action="store_true", help="with --trunk: ours alone, and keep the rivals' results")
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
        **(
            {key: json.loads(RESULTS.read_text())[key] for key in ("words", "trunks")}
            if options.trunk
            else {"words": spread([words(dataset) for dataset in datasets]), "trunks": {}}
        ),
    }
    for name in [options.trunk] if options.trunk else NAMES:
        kept = result["trunks"][name]["methods"] if options.ours and options.trunk else {}
        result["trunks"][name] = measure_trunk(name, datasets, kept)
    RESULTS.write_text(json.dumps(result, indent=2) + "\n")


def measure_trunk(name: str, datasets: Sequence[TextDataset], kept: dict[str, Any]) -> dict[str, Any]:
    """kept: results of methods, of which those of rivals stay; where there are none, rivals are measured."""
    exact = text_trunk(name)
    samples = datasets[0].train.texts[:GATE_TEXTS]
    trunk = text_trunk(name, samples=samples)
    embed = Embedder(trunk)
    texts = datasets[0].train.texts + datasets[0].test.texts
    start = time.perf_counter()
    vectors = dict(zip(texts, embed(texts), strict=True))
    seconds = time.perf_counter() - start
    rows: dict[str, list[dict[str, Any]]] = {}
    assessments: list[dict[str, Any]] = []
    for seed, dataset in zip(SEEDS, datasets, strict=True):
        order = (1, 0) if seed % 3 == 1 else (0, 1)
        place = np.argsort([label for task in order for label in TASKS[task]])
        train, test = (
            (np.stack([vectors[text] for text in split.texts]), place[split.labels])
            for split in (dataset.train, dataset.test)
        )
        stream = Stream(train, test, GROUPS, order)
        assessments.append(assessed(stream, trunk))
        for method, row in {**ours(stream, trunk), **({} if kept else rivals(stream, seed))}.items():
            rows.setdefault(method, []).append(row)
            print(name, seed, method, {key: value for key, value in row.items() if key != "tasks"}, flush=True)
    mean, least = cosines(Embedder(exact)(samples), embed(samples))
    return {
        "source": trunk.source,
        "precision": trunk.precision,
        "graph_bytes": len(trunk.graph),
        "tokenizer_bytes": len(trunk.tokenizer),
        "max_tokens": trunk.max_tokens,
        "parts": trunk.parts,
        "directions": trunk.directions,
        "features": int(next(iter(vectors.values())).shape[0]),
        "cosine_to_fp32": None if trunk.precision == exact.precision else {"mean": mean, "least": least},
        "texts_a_second": len(texts) / seconds,
        "headline_ms": headline(trunk, [text[:80] for text in datasets[0].test.texts[:HEADLINES]]),
        "assessed": spread(assessments),
        "methods": kept | {method: spread(found) for method, found in rows.items()},
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
    groups = np.array([0, 0, 1, 1])
    return {
        **accuracy(logits, dataset.test.labels, groups, (0, 1)),
        "bytes": 4 * (model.coef_.size + len(vectoriser.idf_)),
    }


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
