"""python -m mygo_edge.predict: name what is in images. Needs a bundle, numpy, onnxruntime, and Pillow for pictures."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from mygo_edge.bundle.pictures import read_images
from mygo_edge.command import OneLineParser
from mygo_edge.device.edge_model import EdgeModel
from mygo_edge.errors import MygoEdgeError, escaped, run_command, warn


def main(arguments: Sequence[str] | None = None) -> None:
    """Print a line an image, or JSON. Raises MygoEdgeError, before anything is printed, with what to put right."""
    parser = OneLineParser(prog="python -m mygo_edge.predict", description="Classify images with a published bundle.")
    parser.add_argument("bundle", type=Path, help="the bundle's folder, such as runs/mnist/bundle")
    parser.add_argument(
        "images",
        type=Path,
        nargs="+",
        help="pictures, converted and stretched to what the model takes, or .npy arrays of one or more images",
    )
    parser.add_argument("--task", help="choose among this task's classes only; without it, among all tasks'")
    parser.add_argument(
        "--precision", default="fp32", help="of the classifier: fp32, or another that the bundle holds (default: fp32)"
    )
    parser.add_argument("--json", action="store_true", help="print a JSON array with an object an image")
    parser.add_argument("--public-key", type=Path, help="refuse a version that the owner of this key did not sign")
    options = parser.parse_args(arguments)

    model = EdgeModel.load(options.bundle, precision=options.precision, public_key=options.public_key)
    for reason in model.refused_heads.values():
        warn(reason)
    predictions = [found for path in options.images for found in _predictions(model, path, options.task)]
    if options.json:
        print(json.dumps(predictions, indent=2))
        return
    for found in predictions:
        print(escaped("{image}: {class}  (task {task}, {probability:.1%})".format_map(found)))


def _predictions(model: EdgeModel, path: Path, task: str | None) -> list[dict[str, Any]]:
    """What is printed of every image in a file."""
    labels = model.labels(task)
    images = read_images(path, model.input_shape)
    try:
        probabilities = model.predict_proba(images, task)
    except MygoEdgeError as error:
        raise MygoEdgeError(f"{path}: {error}") from error
    found = []
    for index, row in enumerate(probabilities):
        name, label = labels[int(row.argmax())]
        image = str(path) if len(probabilities) == 1 else f"{path}[{index}]"
        found.append({"image": image, "task": name, "class": label, "probability": float(row.max())})
    return found


if __name__ == "__main__":
    run_command(main)
