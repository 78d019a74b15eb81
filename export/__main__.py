"""`python -m mygo_edge.export RUN`: publish what a run has learnt so far as a bundle version."""

import sys
from collections.abc import Sequence
from pathlib import Path

from mygo_edge.command import OneLineParser
from mygo_edge.errors import MygoEdgeError, run_command
from mygo_edge.export.recipes import MAX_LOSS, PRECISIONS


def main(arguments: Sequence[str] | None = None) -> None:
    """Export, and print the version's folder; what was measured goes to standard error.

    Raises MygoEdgeError for what the user can put right.
    """
    parser = OneLineParser(
        prog="python -m mygo_edge.export",
        description="Publish the classifier with all heads and one generator per task, as ONNX, from a run's "
        "checkpoint. Training does the same after every sleep.",
    )
    parser.add_argument("run", type=Path, help="the run's folder, such as runs/mnist")
    parser.add_argument("--to", type=Path, help="the bundle's folder (default: RUN/bundle)")
    parser.add_argument(
        "--precision",
        help="fp32; fp16: weights in half the bytes; int8: a classifier that multiplies integers, and generators with "
        "weights in a quarter of the bytes; int8-weights: a quarter of the bytes for both, fp32 arithmetic. The "
        "classifier is published in fp32 besides. (default: what the run publishes: int8-weights alone unless it was "
        "told otherwise; of a trunk's memory, means in fp16 and the factor in int8)",
    )
    parser.add_argument(
        "--max-loss",
        type=float,
        help="with --precision, publish nothing when it loses more than this share of right answers, of dreams that "
        f"are recognised, or of the pixels' range, against fp32 (default: {MAX_LOSS})",
    )
    parser.add_argument(
        "--data-root",
        type=Path,
        help="folder of the run's dataset, to compare the classifier on its test images too (default: dreams alone)",
    )
    options = parser.parse_args(arguments)
    if options.precision is not None and options.precision not in PRECISIONS:
        raise MygoEdgeError(f"--precision {options.precision} is not available; use one of {', '.join(PRECISIONS)}")
    max_loss = MAX_LOSS if options.max_loss is None else options.max_loss
    if not 0 <= max_loss <= 1:
        raise MygoEdgeError(f"--max-loss {max_loss} must be a fraction, from 0 to 1")
    if options.max_loss is not None and options.precision is None:
        raise MygoEdgeError("--max-loss is what a --precision may lose; give --precision too, or leave it out")
    if options.data_root is not None and options.precision in (None, "fp32"):
        raise MygoEdgeError("--data-root compares another precision with fp32; give --precision too, or leave it out")
    from mygo_edge.export.publication import publish_run  # torch takes seconds to import; bad options need not wait

    version = publish_run(
        options.run,
        options.to or options.run / "bundle",
        precision=options.precision,
        max_loss=max_loss,
        data_root=options.data_root,
        say=lambda line: print(line, file=sys.stderr, flush=True),
    )
    print(version)


if __name__ == "__main__":
    run_command(main)
