"""The measurements behind docs/results.md: Split-MNIST, three seeds, all methods, and an ablation.

    python -m bench.mnist --data-root DIR [--dataset fashion-mnist] [--work runs/bench] [--jobs 2]

Each run is `python -m mygo_edge.train` with the options below; runs that were stopped go on, finished ones are kept.
Their summaries are copied to bench/results/DATASET/, with their configurations' versions and device, and are committed.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from bench.forms import FORMS

RESULTS = Path(__file__).parent / "results"
BEST = ["--preset", "best"]
SEEDS = range(3)
# The ablation changes one thing at a time; where memory does not change, the generators are of `ablation-base-seedN`.
# A name without -- is one of bench/forms.py.
SLEEPS: dict[str, list[str]] = {
    "no-sleep": ["--sleep.no-enabled"],
    "published-teacher": ["--sleep.teacher", "published"],
    "experts": ["experts"],
    "labels": ["labels"],
    "rejected": ["rejected"],
    "own-heads-only": ["--sleep.other-heads", "0"],
    "logsumexp": ["logsumexp"],
    "other-heads-thrice": ["--sleep.other-heads", "3"],
    "other-target-4": ["--sleep.other-target", "-4"],
    "limit-5": ["--sleep.logit-limit", "5"],
    "limit-20": ["--sleep.logit-limit", "20"],
    "no-task-entropy": ["--sleep.task-entropy", "0"],
    "task-entropy-15": ["--sleep.task-entropy", "15"],
    "many-small-steps": ["--sleep.steps", "1000", "--sleep.dreams-per-task", "16"],
    "twice-the-steps": ["--sleep.steps", "1000"],
    "no-calibration": ["--sleep.no-calibrate"],
    "no-expert": ["--wake.no-expert"],
}
MEMORIES: dict[str, list[str]] = {
    "base": [],
    "no-gaussians": ["--memory.gaussians", "0"],
    "gaussians-alone": ["--memory.gaussians", "1"],
    "shifted-critic": ["shifted-critic"],
}
ABLATION = ["--methods", "mygo", "--memory.generator", "convolutional", "--seed", "{seed}"]
REUSE = ["--measure.no-dreams", "--memory.reuse", "{work}/ablation-base-seed{seed}"]

RUNS: dict[str, list[str]] = {
    **{f"best-seed{seed}": [*BEST, "--methods", "mygo", "reference", "--seed", f"{seed}"] for seed in SEEDS},
    **{
        f"baselines-seed{seed}": [*BEST, "--methods", "finetune", "frozen", "joint", "--seed", f"{seed}"]
        for seed in SEEDS
    },
    **{f"patches-seed{seed}": ["--methods", "mygo", "--seed", f"{seed}"] for seed in SEEDS},
    "reference-seed0": [*BEST, "--methods", "reference", "--seed", "0"],  # beside patches-seed0, for its time
    **{
        f"fast-seed{seed}": ["--preset", "fast", "--methods", "mygo", "reference", "--seed", f"{seed}"]
        for seed in SEEDS
    },
    **{
        f"ablation-{name}-seed{seed}": [
            part.replace("{seed}", f"{seed}") for part in [*change, *ABLATION, *(REUSE if name in SLEEPS else [])]
        ]
        for seed in SEEDS[:2]
        for name, change in (MEMORIES | SLEEPS).items()
    },
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data-root", required=True, help="folder with MNIST/raw or FashionMNIST/raw")
    parser.add_argument("--dataset", default="mnist", choices=["mnist", "fashion-mnist"], help="which images")
    parser.add_argument("--work", type=Path, default=Path("runs/bench"), help="folder of the runs")
    parser.add_argument("--jobs", type=int, default=1, help="runs at a time")
    parser.add_argument("--threads", type=int, help="threads of each run (default: cores / jobs)")
    parser.add_argument("--only", nargs="*", choices=list(RUNS), help="these runs alone")
    options = parser.parse_args()
    names = options.only or list(RUNS)
    work = options.work if options.dataset == "mnist" else options.work / options.dataset
    threads = options.threads or max(1, (os.cpu_count() or 1) // options.jobs)
    base = [name for name in names if any(f"{{work}}/{name}" in part for run in RUNS.values() for part in run)]
    with ThreadPoolExecutor(options.jobs) as pool:  # what others build on is waited for first where it is needed
        done = {}
        for name in names:
            waits = [done[other] for other in base if any(f"/{other}" in part for part in RUNS[name]) and other in done]
            done[name] = pool.submit(run, name, options.dataset, work, options.data_root, threads, waits)
        for future in done.values():
            future.result()


def run(name: str, dataset: str, work: Path, data_root: str, threads: int, waits: list) -> None:
    """Run or resume one run to its end and copy its summary."""
    for earlier in waits:
        earlier.result()
    folder = work / name
    module, given = program(part.format(work=work) for part in RUNS[name])
    arguments = ["--dataset", dataset, "--data-root", data_root, "--out", str(folder), *given]
    if (folder / "config.json").exists():
        arguments = ["--resume", str(folder)]
    log = work / f"{name}.log"
    work.mkdir(parents=True, exist_ok=True)
    with log.open("a") as output:
        subprocess.run(
            [sys.executable, "-m", *module, *arguments],
            env={**os.environ, "OMP_NUM_THREADS": str(threads)},
            stdout=output,
            stderr=output,
            check=True,
        )
    summary = json.loads((folder / "summary.json").read_text())
    config = json.loads((folder / "config.json").read_text())
    words = ["--dataset", dataset, "--data-root", "DIR", *program(part.format(work="RUNS") for part in RUNS[name])[1]]
    summary["command"] = " ".join(["python", "-m", *module, *words])
    summary |= {key: config[key] for key in ("versions", "device", "git_commit")}
    (RESULTS / dataset).mkdir(parents=True, exist_ok=True)
    (RESULTS / dataset / f"{name}.json").write_text(json.dumps(summary, indent=1) + "\n")
    print(f"{name}: done", flush=True)


def program(parts: Iterable[str]) -> tuple[list[str], list[str]]:
    """The module of a run, with the form where there is one, and its options."""
    words = list(parts)
    if words[0] in FORMS:
        return ["bench.forms", words[0]], words[1:]
    return ["mygo_edge.train"], words


if __name__ == "__main__":
    main()
