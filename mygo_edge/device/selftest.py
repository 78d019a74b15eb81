"""Whether the graphs of a version compute what was published."""

import numpy as np
from numpy.typing import NDArray

from mygo_edge.bundle.images import to_pixels
from mygo_edge.bundle.manifest import BundleError, FileEntry
from mygo_edge.bundle.selftest import deviation, fits, read_selftest
from mygo_edge.device.graphs import VersionGraphs, generate


def run_selftest(graphs: VersionGraphs, thorough: bool) -> dict[str, float]:
    """See `mygo_edge.device.edge_model.EdgeModel.run_selftest`.

    Where it is not thorough, graphs that are opened for it alone run as they are: onnxruntime takes three times as long
    to rewrite them. What answers unasked is tested as it will be used, always.
    """
    entry, tasks = graphs.entry("selftest"), graphs.tasks
    where = f"{graphs.bundle.version}/{entry.path}"
    test = read_selftest(graphs.bundle.contents[entry.path], where, graphs.precision)
    widths = [len(task.classes) for task in tasks.values()]
    if not fits(test, widths, graphs.manifest.pixels.shape, graphs.manifest.latent):
        raise BundleError(f"{where} does not fit the manifest; publish or fetch it again")
    classifier = graphs.entry("classifier", precision=graphs.precision)
    labels = [(name, label) for name, task in tasks.items() for label in task.classes]
    worst: dict[str, float] = {}
    for index, task in enumerate(tasks):
        # Not kept: a device that only classifies needs no generator in memory.
        generator = graphs.open_generator(task, optimised=thorough)
        dreams = generate(generator, test.z, test.class_id[index])
        worst[generator.name] = _compare(graphs, graphs.entry("generator", task, None), dreams, test.dreams[index])
    pixels = to_pixels(test.dreams).reshape(-1, *test.dreams.shape[2:])
    logits = graphs.logits(pixels, list(tasks), graph=None if thorough else graphs.open_classifier(optimised=False))
    found = _compare(graphs, classifier, logits, test.logits.reshape(logits.shape))
    if graphs.answers(pixels) != [labels[column] for column in logits.argmax(1)]:
        raise BundleError(
            f"{graphs.classifier.name} fails its self-test: its answer is not where its largest logit is; "
            "stay on the version before"
        )
    return worst | {graphs.classifier.name: found}


def _compare(graphs: VersionGraphs, entry: FileEntry, got: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    worst, allowed = deviation(got, expected), entry.tolerance or graphs.manifest.tolerance
    if worst > allowed:
        raise BundleError(
            f"{graphs.bundle.version}/{entry.path} fails its self-test: it differs by {worst:.3g} from what was "
            f"published, {allowed:g} is allowed; stay on the version before"
        )
    return worst
