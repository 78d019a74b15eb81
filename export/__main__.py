"""`python -m mygo_edge.export RUN`: publish what a run has learnt so far as a bundle version."""

from collections.abc import Sequence
from pathlib import Path

from mygo_edge.errors import MygoEdgeError, run_command
from mygo_edge.export.bundle import PRECISIONS
from mygo_edge.runtime.command import OneLineParser


def main(arguments: Sequence[str] | None = None) -> None:
    """Export, and print the version's folder. Raises MygoEdgeError for what the user can mend."""
    parser = OneLineParser(
        prog="python -m mygo_edge.export",
        description="Publish the classifier with all heads and one generator per task, as ONNX, from a run's "
        "checkpoint. Training does the same after every sleep.",
    )
    parser.add_argument("run", type=Path, help="the run's folder, such as runs/mnist")
    parser.add_argument("--to", type=Path, help="the bundle's folder (default: RUN/bundle)")
    parser.add_argument("--precision", default="fp32", help=f"one of: {', '.join(PRECISIONS)} (default: fp32)")
    options = parser.parse_args(arguments)
    if options.precision not in PRECISIONS:
        raise MygoEdgeError(f"--precision {options.precision} is not available; use one of {', '.join(PRECISIONS)}")
    from mygo_edge.run.publish import publish_run  # torch takes seconds to import; bad options need not wait

    print(publish_run(options.run, options.to or options.run / "bundle", precision=options.precision))


if __name__ == "__main__":
    run_command(main)
