"""Publish what was learnt as a bundle version: graphs, manifest, self-test, all checked."""

import copy
import hashlib
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

import numpy as np
import onnx
import onnxruntime
import torch
from torch import Tensor, nn

import mygo_edge
from mygo_edge.errors import MygoEdgeError
from mygo_edge.export.checks import check_classifier, check_generator, scaled
from mygo_edge.export.graphs import classifier_graph, generator_graph, head_name
from mygo_edge.export.versions import live_bundle, write_version
from mygo_edge.files import sha256
from mygo_edge.model.gan import LATENT, FrozenGenerator
from mygo_edge.model.network import NeocortexNet
from mygo_edge.runtime.bundle import Bundle
from mygo_edge.runtime.images import to_pixels
from mygo_edge.runtime.manifest import FileEntry, InputFormat, Manifest, Task
from mygo_edge.runtime.noise import dream_noise
from mygo_edge.runtime.selftest import DREAMS_PER_TASK, SelfTest, write_selftest

Network = TypeVar("Network", bound=nn.Module)

PRECISIONS = ("fp32",)
# Of the self-test, on any device: ten times what publishing allows between PyTorch and onnxruntime on one machine.
DEVICE_TOLERANCE = 1e-3


def publish(
    bundle_dir: Path,
    *,
    net: NeocortexNet,
    generators: Sequence[FrozenGenerator],
    tasks: Sequence[tuple[str, Sequence[str]]],
    mean: Sequence[float],
    std: Sequence[float],
    sequence: int,
    precision: str = "fp32",
) -> Path:
    """Write, check and make live a version of the bundle. One process at a time publishes to a bundle.

    Args:
        bundle_dir: the bundle's folder; created when it is not there.
        net: shared features and a head for every task; on any device, left as it is.
        generators: one a task, in task order. One that the live version holds already keeps its very bytes.
        tasks: (name, class names) in task order. A name is of letters, digits, "_" and "-".
        mean, std: of a channel, on pixels scaled to [0, 1]; `net` takes (pixel / 255 - mean) / std.
        sequence: number of the version. See `mygo_edge.export.versions.write_version` for a number that exists.
        precision: of weights and arithmetic on the device; "fp32" for now.

    Returns:
        The folder of the live version.

    Raises:
        MygoEdgeError: an unknown precision, names that do not fit, weights that are not finite, or a graph that
            does not compute what PyTorch does. The version that is live stays so.
        ValueError: networks and tasks do not fit each other.
        OSError: the disk refuses.
    """
    if precision not in PRECISIONS:
        raise MygoEdgeError(f"precision {precision!r} cannot be exported; use {' or '.join(PRECISIONS)}")
    names = [name for name, _ in tasks]
    widths = [len(classes) for _, classes in tasks]
    if net.widths != widths or [generator.classes for generator in generators] != widths:
        raise ValueError(f"tasks of {widths} classes need as many heads and generators, one each, of those classes")
    if not len(mean) == len(std) == net.shape[0] or min(std) <= 0:
        raise MygoEdgeError(f"mean {list(mean)} and std {list(std)} must be one number a channel, std above 0")
    # Checked where a device runs them: on the CPU, in fp32.
    net = _on_cpu(net, "the classifier")
    generators = [
        _on_cpu(generator, f"the generator of {name}") for generator, name in zip(generators, names, strict=True)
    ]

    contents: dict[str, bytes] = {}
    files = []

    def add(path: str, role: str, data: bytes, task: str | None = None, weights: str | None = None) -> None:
        contents[path] = data
        files.append(FileEntry(path, role, sha256(data), len(data), precision, task, weights))

    graph = classifier_graph(net, names, mean, std)
    check_classifier(graph, net, names, mean=mean, std=std)
    add("classifier.onnx", "classifier", graph)
    live = live_bundle(bundle_dir)
    for name, generator in zip(names, generators, strict=True):
        path, digest = f"generator-{name}.onnx", weights_digest(generator)
        graph = _published(live, name, digest) or generator_graph(generator)
        check_generator(graph, generator, path)
        add(path, "generator", graph, name, digest)
    add("selftest.npz", "selftest", write_selftest(_selftest(net, generators, mean, std)))

    manifest = Manifest(
        sequence=sequence,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        tasks=tuple(Task(name, tuple(classes), head_name(name)) for name, classes in tasks),
        input=InputFormat(net.shape, tuple(mean), tuple(std)),
        tolerance=DEVICE_TOLERANCE,
        files=tuple(files),
        producer={
            "mygo_edge": mygo_edge.__version__,
            "torch": str(torch.__version__),
            "onnx": onnx.__version__,
            "onnxruntime": onnxruntime.__version__,
        },
    )
    return write_version(bundle_dir, manifest, contents)


def weights_digest(generator: FrozenGenerator) -> str:
    """SHA-256 of everything that a generator computes from: image shape, names, shapes and values of its tensors."""
    digest = hashlib.sha256(repr(generator.shape).encode())
    for name, value in sorted(generator.state_dict().items()):
        digest.update(repr((name, tuple(value.shape))).encode())
        digest.update(value.detach().cpu().float().contiguous().numpy().tobytes())
    return digest.hexdigest()


def _published(live: Bundle | None, task: str, digest: str) -> bytes | None:
    """The bytes of a task's generator in the live version, when they were exported from the same weights."""
    entry = live.manifest.find("generator", task) if live else None
    return live.contents[entry.path] if live and entry and entry.weights == digest else None


def _on_cpu(network: Network, name: str) -> Network:
    """A copy in fp32 and inference mode. Raises MygoEdgeError when a weight is not finite."""
    twin = copy.deepcopy(network).cpu().float().eval()
    if not all(bool(torch.isfinite(value).all()) for value in twin.state_dict().values()):
        raise MygoEdgeError(f"{name} has weights that are not finite; it diverged, so nothing was published")
    return twin


@torch.inference_mode()
def _selftest(
    net: NeocortexNet, generators: Sequence[FrozenGenerator], mean: Sequence[float], std: Sequence[float]
) -> SelfTest:
    """Fixed noise, and what PyTorch makes of it."""
    z, _ = dream_noise(np.arange(DREAMS_PER_TASK), 1, LATENT, seed=0, stream=0, step=0)
    ids = torch.stack([torch.arange(DREAMS_PER_TASK) % generator.classes for generator in generators])
    dreams = torch.stack([generator(torch.from_numpy(z), row) for generator, row in zip(generators, ids, strict=True)])
    pixels = torch.from_numpy(to_pixels(dreams.flatten(0, 1).numpy()))
    logits: Tensor = net(scaled(pixels, mean, std)).unflatten(0, dreams.shape[:2])
    return SelfTest(z, ids.numpy(), dreams.numpy(), logits.numpy())
