"""From a learner, or from the checkpoint of a run, to a bundle version."""

import math
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

from mygo_edge.bundle.gaussian_files import Precision
from mygo_edge.bundle.images import as_pixels
from mygo_edge.bundle.manifest import InputFormat
from mygo_edge.bundle.reading import read_manifest
from mygo_edge.data.datasets import load
from mygo_edge.data.tasks import arrivals_of
from mygo_edge.domains.choice import NOT_PUBLISHED
from mygo_edge.domains.pixels import MEAN, STD
from mygo_edge.errors import MygoEdgeError
from mygo_edge.export.bundle import publish
from mygo_edge.export.errors import PrecisionLossError
from mygo_edge.export.features import FeatureMemory, Precisions, publish_features
from mygo_edge.export.recipes import MAX_LOSS
from mygo_edge.export.samples import Labelled
from mygo_edge.export.trunks import photo_trunk_files, text_trunk_files
from mygo_edge.export.versions import live_bundle
from mygo_edge.learn.features.exact import ExactMyGO
from mygo_edge.learn.method import Method
from mygo_edge.learn.pixels.methods import MyGO
from mygo_edge.model.gan import FrozenGenerator
from mygo_edge.options import PublishOptions, TrainOptions
from mygo_edge.run.folder import RunFolder
from mygo_edge.run.saved import NamedTask, Saved, count_publication, open_learner
from mygo_edge.trunks.text import TextTrunk

_FEATURE_ROLES = ("trunk", "tokenizer", "factor", "covariances", "rows", "head")


def publish_learner(bundle: Path, method: Method, tasks: Sequence[NamedTask], *, sequence: int, **how: Any) -> Path:
    """Write version `sequence` of the bundle and return its folder.

    Raises MygoEdgeError, besides what `mygo_edge.export.bundle.publish` raises, for a method that does not publish.

    `how`: precision and its gate, as `mygo_edge.export.bundle.publish` takes them.
    """
    if isinstance(method, ExactMyGO):
        return _publish_features(bundle, method, tasks, sequence=sequence, **how)
    if not isinstance(method, MyGO):
        raise MygoEdgeError(f"the method {method.name} does not publish; mygo does")
    if not method.publishes:
        raise MygoEdgeError(NOT_PUBLISHED)
    generators: list[FrozenGenerator] = list(method.memory.generators)  # type: ignore[arg-type]
    how["precision"] = how.get("precision") or "fp32"
    channels = method.domain.shape[0]
    return publish(
        bundle,
        net=method.net,
        generators=generators,
        tasks=tasks,
        mean=[MEAN] * channels,
        std=[STD] * channels,
        sequence=sequence,
        **how,
    )


def _publish_features(
    bundle: Path,
    method: ExactMyGO,
    tasks: Sequence[NamedTask],
    *,
    learner_id: str,
    sequence: int,
    precision: str | None = None,
    **how: Any,
) -> Path:
    assert method.memory is not None
    trunk = method.domain.trunk
    files = text_trunk_files(trunk) if isinstance(trunk, TextTrunk) else photo_trunk_files(trunk)
    memories = [
        FeatureMemory(name, classes, means, rows, head)
        for (name, classes), means, rows, head in zip(
            tasks, method.memory.tasks, method.rows, method.heads, strict=True
        )
    ]
    if precision is not None:
        if precision not in get_args(Precision):
            raise MygoEdgeError(f"--precision {precision} is not for a trunk's memory; use fp32, fp16 or int8")
        kept: Any = precision
        how["precisions"] = Precisions(kept, kept)
    return publish_features(
        bundle,
        trunk=files,
        shared=method.shared,
        tasks=memories,
        own=method.own,
        calibration=method.calibration,
        prior=method.prior,
        learner_id=learner_id,
        sequence=sequence,
        **how,
    )


def publish_after_sleep(
    bundle: Path,
    method: Method,
    tasks: Sequence[NamedTask],
    options: PublishOptions,
    *,
    measured: bool = False,
    **how: Any,
) -> tuple[Path, str]:
    """`publish_learner` as a run does after every sleep: in the precision of its options where that passes the gate.

    Args:
        measured: what the live version holds was published by these very options, and need not pass the gate again.

    Returns:
        The version's folder, and why it is in a larger precision after all, where it is; otherwise "".
    """
    if isinstance(method, ExactMyGO):
        return _publish_small_features(bundle, method, tasks, **({"max_loss": options.max_loss} | how))
    try:
        small = {"precision": options.precision, "max_loss": options.max_loss, "beside_fp32": False}
        return publish_learner(bundle, method, tasks, **(small | {"measured": measured} | how)), ""
    except PrecisionLossError as error:
        return publish_learner(bundle, method, tasks, **(how | {"precision": "fp32"})), f"published in fp32: {error}"


def _publish_small_features(
    bundle: Path, method: ExactMyGO, tasks: Sequence[NamedTask], **how: Any
) -> tuple[Path, str]:
    """As small as passes the gate: means and factor in int8 where rows answer, in fp16 or in fp32; and why, if so.

    Where none passes it is the classifier's rows that lose, which have no larger form than int8. Then as small as can
    be: a run learns on, and says what it lost.
    """
    lost = None
    for precision in (None, "fp16", "fp32"):
        try:
            version = publish_learner(bundle, method, tasks, precision=precision, **how)
        except PrecisionLossError as error:
            lost = error
        else:
            return version, f"means and factor are published in {precision}: {lost}" if lost else ""
    version = publish_learner(bundle, method, tasks, **(how | {"max_loss": 1.0}))
    return version, f"published with a larger loss, for the classifier's rows have no larger form than int8: {lost}"


def weigh(version: Path, shape: tuple[int, ...]) -> dict[str, Any]:
    """The `bytes` entry of summary.json: the classifier's files, the generators' files, and how many raw images (a byte
    a channel of a pixel) would fit into the bytes of all generators. With a trunk: the trunk's files, the rows of the
    classifier and the heads, what all tasks share, and the means of each.
    """
    manifest = read_manifest(version)
    if manifest.trunk is not None:
        by_role = {role: sum(entry.size for entry in manifest.files if entry.role == role) for role in _FEATURE_ROLES}
        generators = [entry.size for entry in manifest.files if entry.role == "generator"]
        return {
            "trunk": by_role["trunk"] + by_role["tokenizer"],
            "shared": by_role["factor"] + by_role["covariances"],
            "classifier": by_role["rows"] + by_role["head"],
            "generators": generators,
            "equivalent_images": None,
        }
    sizes = [entry.size for entry in manifest.files if entry.role == "generator"]
    return {
        "classifier": sum(entry.size for entry in manifest.files if entry.role == "classifier"),
        "generators": sizes,
        "equivalent_images": sum(sizes) // math.prod(shape),
    }


def publish_run(
    run: Path,
    bundle: Path,
    *,
    precision: str | None = None,
    max_loss: float = MAX_LOSS,
    data_root: Path | None = None,
    say: Callable[[str], None] = lambda line: None,
) -> Path:
    """Publish what the run in folder `run` has learnt so far.

    The run counts the publication, where it can be written.

    Args:
        run, bundle: folders.
        precision, max_loss, say: as in `mygo_edge.export.bundle.publish`; None is what the run itself publishes, for
            the features of a trunk means in fp16 with a factor in int8.
        data_root: folder of the run's dataset; its test images are then part of what max_loss is held against.

    Raises:
        MygoEdgeError: as `publish` and `open_learner`, or the run stopped between a wake and its sleep, or the dataset
            is not there or not the run's.
    """
    with ExitStack() as stack:
        counts = True
        try:
            stack.enter_context(RunFolder.open(run)[0])  # keeps other processes out
        except OSError:
            counts = False
        version = _publish_saved(open_learner(run), run, bundle, precision, max_loss, data_root, say)
        if counts:
            count_publication(run, read_manifest(version).sequence)
    return version


def _publish_saved(
    saved: Saved,
    run: Path,
    bundle: Path,
    precision: str | None,
    max_loss: float,
    data_root: Path | None,
    say: Callable[[str], None],
) -> Path:
    method, tasks = saved.method, saved.tasks
    if not saved.consolidated:
        raise MygoEdgeError(
            f"{run} stopped between a wake and its sleep; go on with --resume {run}, or use {run}/bundle, which holds "
            "the last consolidated version"
        )
    real = []
    if data_root is not None:
        if saved.options.trunk is not None:
            raise MygoEdgeError(f"--data-root is for runs without a trunk; {run} is compared on dreams: leave it out")
        real = real_images(replace(saved.options, data_root=data_root, download=False), tasks)
    bundle.mkdir(parents=True, exist_ok=True)
    live = live_bundle(bundle)
    # Above all that the run published, and all that this bundle had.
    sequence = max(saved.publications, live.manifest.sequence if live else 0) + 1
    if precision is None:
        how: dict[str, Any] = {"learner_id": saved.run_id, "sequence": sequence, "say": say}
        version, why = publish_after_sleep(bundle, method, tasks, saved.options.publish, **how)
        if why:
            say(why)
        return version
    return publish_learner(
        bundle,
        method,
        tasks,
        learner_id=saved.run_id,
        sequence=sequence,
        precision=precision,
        max_loss=max_loss,
        real=real,
        say=say,
    )


def real_images(options: TrainOptions, tasks: Sequence[NamedTask]) -> list[Labelled]:
    """The test images of a run's `tasks`, as raw pixels. Raises MygoEdgeError when the dataset has other classes."""
    dataset = load(options)
    arrivals = arrivals_of(dataset, options.tasks)[: len(tasks)]
    if [arrival.classes for arrival in arrivals] != [list(classes) for _, classes in tasks]:
        raise MygoEdgeError(f"{options.data_root} holds other classes than the run learnt; give the run's dataset")
    form = InputFormat(dataset.shape, (MEAN,), (STD,))
    tests = [arrival.test for arrival in arrivals if arrival.test is not None]
    return [Labelled(as_pixels(test.inputs.numpy(), form), test.labels.numpy()) for test in tests]
