"""A picture of dreams that nobody can look at: vectors, beside those of real test inputs, in one plane."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from torch import Tensor

from mygo_edge.data.tasks import Task
from mygo_edge.learn.method import Method
from mygo_edge.measure.dreams import PICTURE_STREAM
from mygo_edge.measure.plots import save

_CLASSES, _EACH = 8, 60  # shown, and points of each, at most
_MOST = 2048  # dreams of a task

Vectors = NDArray[np.float32]


def plot_feature_dreams(folder: Path, domain: Any, tasks: Sequence[Task], method: Method) -> Path | None:
    """dreams.png: vectors of test inputs, and dreams of the same classes, in the plane of the two leading principal
    components of the former, of a few classes evenly spread. `domain` is that of the vectors of a trunk.

    Returns:
        The file, or None where there is nothing to compare: no test inputs.
    """
    places = [(index, label) for index, task in enumerate(tasks) if task.tested for label in range(len(task.classes))]
    shown = [places[place] for place in np.linspace(0, len(places) - 1, min(_CLASSES, len(places))).astype(int)]
    drawn = {index: _dreams(method, index, len(tasks[index].classes)) for index, _ in shown}
    names, real, dreamt = [], [], []
    for index, label in shown:
        test, (dreams, ids) = tasks[index].test, drawn[index]
        vectors = test.inputs[test.labels == label][:_EACH].numpy()
        if len(vectors):
            names.append(tasks[index].classes[label])
            real.append(domain.transformed(vectors))
            dreamt.append(domain.transformed(dreams[ids == label][:_EACH].numpy()))
    if sum(map(len, real)) < 3:
        return None
    folder.mkdir(parents=True, exist_ok=True)
    return save(beside(names, real, dreamt), folder / "dreams.png")


def beside(names: Sequence[str], real: Sequence[Vectors], dreamt: Sequence[Vectors]) -> Figure:
    """Real vectors and dreams, [n, features] of each class, in the plane of the two leading principal components of the
    former.
    """
    everything = np.concatenate(real)
    middle = everything.mean(0)
    plane = _leading(everything - middle)
    figure = Figure(figsize=(9, 4.4), layout="constrained")
    panels = figure.subplots(1, 2, sharex=True, sharey=True)
    for axes, title, groups in zip(panels, ("real test inputs", "dreams"), (real, dreamt), strict=True):
        for vectors in groups:
            axes.scatter(*((vectors - middle) @ plane.T).T, s=9, alpha=0.6)
        axes.set(title=title, xlabel="first principal component")
    panels[0].set_ylabel("second principal component")
    figure.legend(panels[0].collections, [name.replace("$", r"\$") for name in names], loc="outside right upper")
    return figure


def _dreams(method: Method, task: int, classes: int) -> tuple[Tensor, Tensor]:
    """Enough of each class, unless those are very many, and their ids; always the same."""
    return method.dream(task, min(2 * _EACH * classes, _MOST), stream=PICTURE_STREAM, step=task)


def _leading(centred: Vectors) -> Vectors:
    """The two leading principal components [2, features] of vectors [n, features], by their inner products: there are
    far fewer vectors than features.
    """
    _, turned = np.linalg.eigh(centred @ centred.T)
    axes = turned[:, :-3:-1].T @ centred
    axes *= np.where(axes[:, :1] < 0, -1, 1)  # of two answers always the same
    lengths = np.linalg.norm(axes, axis=1, keepdims=True)
    return (axes / np.maximum(lengths, 1e-12)).astype(np.float32)
