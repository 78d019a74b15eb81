"""The run that starts without any option: how long it takes, from the command to the bundle, and what it reaches.

    python bench/digits.py [--work runs/digits-bench]

Runs `python -m mygo_edge.train --seed N` for four seeds, one after another and nothing beside them, and writes
bench/results/digits.json.
"""

import argparse
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results" / "digits.json"
SEEDS = range(4)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, default=Path("runs/digits-bench"), help="folder of the runs, made anew")
    work = parser.parse_args().work
    shutil.rmtree(work, ignore_errors=True)
    work.mkdir(parents=True)
    rows = [measured(seed, work / f"seed{seed}") for seed in SEEDS]
    RESULTS.write_text(json.dumps({"command": "python bench/digits.py", "runs": rows}, indent=1) + "\n")


def measured(seed: int, out: Path) -> dict[str, Any]:
    """Seconds of the whole process, and the accuracies that it ends with."""
    command = [sys.executable, "-m", "mygo_edge.train", "--seed", str(seed), "--out", str(out)]
    start = time.monotonic()
    with out.with_suffix(".log").open("w") as log:
        subprocess.run(command, check=True, stdout=log, stderr=log)
    seconds = time.monotonic() - start
    document, config = (json.loads((out / name).read_text()) for name in ("summary.json", "config.json"))
    assert (out / "bundle" / "current").exists()
    mygo = document["methods"]["mygo"]
    row = {
        "seed": seed,
        "seconds": seconds,
        **{
            f"{name} {key}": results[key]["average"]
            for name, results in document["methods"].items()
            for key in ("task_known", "task_unknown")
        },
        "label_fidelity": mygo["dreams"]["label_fidelity"],
        "score": mygo["dreams"]["classification_accuracy_score"],
        "threads": config["device"]["threads"],
        "versions": config["versions"],
        "git_commit": config["git_commit"],
    }
    print(row, flush=True)
    return row


if __name__ == "__main__":
    main()
