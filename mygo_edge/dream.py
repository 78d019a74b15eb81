"""python -m mygo_edge.dream: what a bundle remembers of a task. Needs numpy, onnxruntime, and Pillow for .png."""

from collections.abc import Sequence
from pathlib import Path

from mygo_edge.bundle.pictures import images_as_file, require_writable_format
from mygo_edge.command import OneLineParser
from mygo_edge.device.edge_model import EdgeModel
from mygo_edge.errors import MygoEdgeError, escaped, run_command
from mygo_edge.files import write_bytes


def main(arguments: Sequence[str] | None = None) -> None:
    """Write a file of dreams. Raises MygoEdgeError for what a user can put right."""
    parser = OneLineParser(prog="python -m mygo_edge.dream", description="Dream images of a task that was learnt.")
    parser.add_argument("bundle", type=Path, help="the bundle's folder, such as runs/mnist/bundle")
    parser.add_argument("--task", required=True, help="name of the task, as predict prints it")
    which = parser.add_mutually_exclusive_group()
    which.add_argument("--class-id", type=int, help="index of the class within the task; without it, drawn uniformly")
    which.add_argument("--class", dest="class_name", help="name of the class, instead of its index")
    parser.add_argument("-n", type=int, default=16, help="number of images (default: 16)")
    parser.add_argument("--seed", type=int, default=0, help="equal seeds give equal dreams (default: 0)")
    parser.add_argument(
        "--to",
        type=Path,
        required=True,
        help="file to write: .png for a grid to look at, .npy for uint8 [n, channels, height, width], or for float32 "
        "[n, features] where dreams are vectors of a trunk",
    )
    parser.add_argument("--public-key", type=Path, help="refuse a version that the owner of this key did not sign")
    options = parser.parse_args(arguments)

    require_writable_format(options.to)
    model = EdgeModel.load(options.bundle, public_key=options.public_key)
    wanted = options.class_id if options.class_name is None else options.class_name
    dreams = model.dream(options.task, wanted, options.n, options.seed)
    if dreams.samples.ndim == 2 and options.to.suffix != ".npy":
        raise MygoEdgeError(f"dreams of {options.bundle} are vectors, which no picture shows; give --to a name in .npy")
    write_bytes(options.to, images_as_file(dreams.images, options.to))
    print(escaped(f"{options.n} dreams of task {options.task} in {options.to}"))


if __name__ == "__main__":
    run_command(main)
