"""The engine of a bundle with a trunk: dreams are vectors, a task is its class means, and the classifier is computed.

Where the box sends rows of it, the classifier is theirs (`mygo_edge.bundle.rows`). Otherwise it is a function of the
means and the factor (`mygo_edge.bundle.gaussian.discriminant`), which a device needs for its dreams anyway, and by
which it learns and consolidates tasks of its own.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mygo_edge.bundle.calibration import Calibration, read_calibration
from mygo_edge.bundle.correction import corrected, read_correction
from mygo_edge.bundle.gaussian import ClassMeans, Precision, discriminant, dreams, join, mahalanobis, novelty
from mygo_edge.bundle.gaussian_files import read_means, read_shared
from mygo_edge.bundle.heads import HeadError, head_path, read_kept, require_fit, trunk_of
from mygo_edge.bundle.manifest import GAUSSIAN, BundleError, FileEntry, Task, TrunkFormat
from mygo_edge.bundle.memories import TaskMemory, memory_bytes, parse_memory, read_memory
from mygo_edge.bundle.own_covariance import OwnCovariances, own_dreams, quadratic, read_own
from mygo_edge.bundle.prior import prior_logits
from mygo_edge.bundle.reading import Bundle
from mygo_edge.bundle.rows import ClassRows, read_rows, row_discriminant
from mygo_edge.bundle.wake_head import WakeHead, read_head, settled
from mygo_edge.device.engine import CALIBRATION_DREAMS, CALIBRATION_STREAM, Dreams, Key, Scores
from mygo_edge.device.feature_selftest import run_selftest
from mygo_edge.device.few_shot import FewShot
from mygo_edge.device.learning import new_task, require_labels
from mygo_edge.device.noise import dream_noise, feature_noise
from mygo_edge.device.session import SessionOptions, memory_limit
from mygo_edge.device.trunk import Trunk
from mygo_edge.errors import MygoEdgeError
from mygo_edge.files import write_bytes

_DREAMS = 256  # at a time, to bound the memory of a device
_MATRICES = 32  # bytes: four numbers for every pair of classes, which is what the closed form holds at once


@dataclass(frozen=True, slots=True)
class FeatureTask:
    """A task and its part of the classifier.

    weight: [classes, features], in the transformed space; bias, prior: [classes]; own: what its classes' covariances
    have besides the one that all share, and head: what says which of them an input is, where the box sends these.
    """

    memory: TaskMemory
    weight: NDArray[np.float32]
    bias: NDArray[np.float32]
    prior: NDArray[np.float32]
    own: OwnCovariances | None = None
    head: WakeHead | None = None

    @property
    def name(self) -> str:
        return self.memory.name

    @property
    def classes(self) -> tuple[str, ...]:
        return self.memory.classes

    @property
    def trunk(self) -> str:
        return self.memory.trunk

    @property
    def created(self) -> str:
        return self.memory.created


class FeatureEngine:
    """See `mygo_edge.device.engine.Engine`. shared: what the Gaussians of all tasks share; published: tasks by name."""

    def __init__(self, bundle: Bundle, form: TrunkFormat, session: SessionOptions, precision: str | None) -> None:
        """Open the trunk and compute the classifier.

        Raises:
            MygoEdgeError: another precision than the trunk's.
            BundleError: a file is missing or refused, or does not fit the others.
        """
        self.version, self.manifest = bundle.version, bundle.manifest
        self.trunk = Trunk(bundle, form, session)
        self.precision = self.trunk.entry.precision
        if precision not in (None, self.precision):
            raise MygoEdgeError(f"the trunk of {self.version} comes in {self.precision}, not in {precision!r}")
        factor, where = self._content(bundle, "factor")
        self.shared = read_shared(factor, where)
        widths = {"latent": self.shared.rank, "features": self.shared.factor.shape[1]}
        if widths != {"latent": self.manifest.latent, "features": form.features}:
            raise BundleError(f"{where} does not fit the manifest: {widths}; publish or fetch it again")
        recorded = self.manifest.find("selftest")
        self._recorded = None if recorded is None else bundle.contents[recorded.path]
        for task in self.manifest.tasks:
            if task.generator != GAUSSIAN:
                raise BundleError(f"task {task.name} has a generator of kind {task.generator!a}; update mygo_edge")
        classes = sum(len(task.classes) for task in self.manifest.tasks)
        if _MATRICES * classes**2 > memory_limit():
            raise BundleError(
                f"{self.version} has {classes} classes, too many for the memory that this process may use"
            )
        means = [self._means(bundle, task.name, len(task.classes)) for task in self.manifest.tasks]
        self._centre = join(means).means.mean(0, dtype=np.float64).astype(np.float32)
        rows = self._rows(bundle, means)
        self._has_rows = rows is not None
        self._calibration = self._calibrated(bundle)
        covariances = self._own(bundle, sum(len(own.counts) for own in means))
        self.published = self._consolidated(bundle, means, rows, covariances)
        # After the line that refuses what is no covariance.
        self._precision = Precision(self.shared)
        weights = np.concatenate([task.weight for task in self.published.values()]) if self._has_rows else None
        self._few_shot = FewShot(join(means), self.shared, self._centre, weights, self.manifest.denoising)

    @property
    def takes_text(self) -> bool:
        return self.trunk.takes_text

    @property
    def dream_bytes(self) -> int:
        return 4 * self.trunk.form.features + 8

    def example(self, n: int) -> Any:
        return self.trunk.example(n)

    def scores(self, inputs: Any, names: Sequence[str], learnt: Mapping[str, FeatureTask]) -> Scores:
        return self.score(self.shared.transform(self.trunk.vectors(inputs)), names, learnt)

    def score(self, vectors: NDArray[np.float32], names: Sequence[str], learnt: Mapping[str, FeatureTask]) -> Scores:
        """`scores` of vectors in the transformed space, [n, features]. Logits are divided by the temperature that makes
        their softmax calibrated, where the box says it; the novelty is that of `mygo_edge.bundle.gaussian.novelty`.
        """
        tasks = [learnt.get(name) or self.published[name] for name in names]
        with np.errstate(over="ignore", invalid="ignore"):  # of a damaged memory, which is refused below
            logits = vectors @ np.concatenate([task.weight for task in tasks]).T
            logits += np.concatenate([task.bias for task in tasks])
            start = 0
            for task in tasks:
                stop = start + len(task.classes)
                if task.own is not None:
                    logits[:, start:stop] += quadratic(vectors, task.memory.means, task.own)
                start = stop
            largest = logits.max(1, initial=-np.inf)
            if self._has_rows:
                means = join([task.memory.means for task in tasks])
                nearest = mahalanobis(vectors, means, self.shared, self._precision).min(1)
            else:  # logits and distances are of one covariance
                from_centre = self._precision.norms(self._precision.whiten(vectors - self._centre))
                nearest = np.maximum(from_centre - 2 * largest, 0)
            found = novelty(nearest, largest, self.shared)  # whatever is frequent
            prior = np.concatenate([task.prior for task in tasks])
            if self.manifest.prior:
                logits += prior
            temperature = 1.0 if self._calibration is None else self._calibration.temperature
            heads, widths = [task.head for task in tasks], [len(task.classes) for task in tasks]
            logits = settled(logits, vectors, heads, temperature, widths, prior)
        self._require_finite("logits", logits)
        return Scores(logits / np.float32(temperature), found)

    def _require_finite(self, what: str, values: NDArray) -> None:
        if not np.isfinite(values).all():
            raise BundleError(f"the memory of {self.version} gives {what} that are not finite; fetch it again")

    def answers(self, inputs: Any) -> list[tuple[str, str]]:
        labels = [(name, label) for name, task in self.published.items() for label in task.classes]
        return [labels[column] for column in self.scores(inputs, list(self.published), {}).logits.argmax(1)]

    def dream(self, task: str, class_id: int | None, n: int, key: Key, learnt: Mapping[str, FeatureTask]) -> Dreams:
        chosen = learnt.get(task) or self.published[task]
        vectors, class_ids = np.empty((n, self.trunk.form.features), np.float32), np.empty(n, np.int64)
        for start in range(0, n, _DREAMS):
            part = slice(start, min(start + _DREAMS, n))
            vectors[part], class_ids[part] = self._dream_part(chosen, class_id, np.arange(part.start, part.stop), key)
        return Dreams(vectors, class_ids)

    def _dream_part(
        self, task: FeatureTask, class_id: int | None, samples: NDArray[np.int64], key: Key
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Dreams of these samples and their classes."""
        means, (rank, features) = task.memory.means, self.shared.factor.shape
        drawn = dream_noise(samples, len(means.counts), rank, **key._asdict())
        z, noise = np.zeros((_DREAMS, rank), np.float32), np.zeros((_DREAMS, features), np.float32)
        class_ids = np.zeros(_DREAMS, np.int64)
        # A product of matrices of one shape, however many dreams there are: a dream has the same bits in every batch.
        rows = slice(len(samples))
        z[rows], class_ids[rows] = drawn[0], drawn[1] if class_id is None else class_id
        noise[rows] = feature_noise(samples, features, rank, **key._asdict())
        with np.errstate(over="ignore", invalid="ignore"):  # as in `score`
            dreamt = dreams(means, self.shared, z, noise, class_ids)
            if task.own is not None:
                dreamt = own_dreams(dreamt, class_ids, means, self.shared, task.own)
        made = self.shared.transform.inverse(dreamt[rows])
        self._require_finite("dreams", made)
        return made, class_ids[rows]

    def usual_novelty(self, names: Sequence[str], learnt: Mapping[str, FeatureTask]) -> NDArray[np.float32]:
        if self._calibration is not None:
            return self._calibration.novelty
        each = -(-CALIBRATION_DREAMS // len(names))
        parts = []
        for step, name in enumerate(names):
            vectors = self.dream(name, None, each, Key(0, CALIBRATION_STREAM, step), learnt).samples
            parts.append(self.score(self.shared.transform(vectors), names, learnt).novelty)
        return np.concatenate(parts)

    def learn(self, name: str, inputs: Any, labels: Sequence[str], learnt: Mapping[str, FeatureTask]) -> FeatureTask:
        """The means of the labelled inputs, consolidated with what there is: the box's own closed form."""
        new_task(name, labels, self.manifest, least=1)  # refused before the trunk takes its time
        return self.remember(name, self.shared.transform(self.trunk.vectors(inputs)), labels)

    def remember(self, name: str, vectors: NDArray[np.float32], labels: Sequence[str]) -> FeatureTask:
        """`learn` from vectors in the transformed space, [n, features]."""
        classes, index = new_task(name, labels, self.manifest, least=1)
        require_labels(vectors, labels)
        counts = np.bincount(index, minlength=len(classes))
        means = np.stack([vectors[index == column].mean(0) for column in range(len(classes))])
        created = datetime.now(UTC).isoformat(timespec="microseconds")
        digest = self.trunk.form.digest
        memory = TaskMemory(name, classes, ClassMeans(means, counts), digest, self.shared.transform, created)
        # As it will be read again: half precision, and refused now rather than then.
        return self._added(parse_memory(memory_bytes(memory), f"task {name}"))

    def store(self, folder: Path, task: FeatureTask) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        write_bytes(head_path(folder, task.name), memory_bytes(task.memory))

    def carried(self, task: FeatureTask) -> FeatureTask:
        require_fit(task, self.manifest.tasks, trunk_of(self.manifest))
        return self._fitted(task.memory)

    def read_learnt(self, folder: Path) -> tuple[dict[str, FeatureTask], dict[str, str]]:
        memories, refused = read_kept(folder, self.manifest, read_memory)
        tasks = {}
        for name, memory in memories.items():
            try:
                tasks[name] = self._fitted(memory)
            except (HeadError, BundleError) as error:
                refused[name] = str(error)
        return tasks, refused

    def _fitted(self, memory: TaskMemory) -> FeatureTask:
        """`_added` of a memory on this trunk. Raises HeadError for one in another space."""
        if memory.transform != self.shared.transform or memory.means.means.shape[1] != self.trunk.form.features:
            raise HeadError(f"task {memory.name} was learnt in another space of features; learn it again")
        return self._added(memory)

    def run_selftest(self, thorough: bool) -> dict[str, float]:
        where = f"{self.version}/{self.entry('selftest').path}"
        return run_selftest(self, self._recorded or b"", where)

    def _own(self, bundle: Bundle, classes: int) -> OwnCovariances | None:
        if self.manifest.find("covariances", None, None) is None:
            return None
        data, where = self._content(bundle, "covariances")
        return read_own(data, where, self.shared, classes)

    def _rows(self, bundle: Bundle, means: Sequence[ClassMeans]) -> ClassRows | None:
        """Of all tasks, or None where the box sends none."""
        tasks = self.manifest.tasks
        if self.manifest.find("rows", tasks[0].name, None) is None:
            return None
        features, found = self.shared.factor.shape[1], []
        for task, own in zip(tasks, means, strict=True):
            data, where = self._content(bundle, "rows", task.name)
            found.append(read_rows(data, where, features, len(own.counts)))
        if self.manifest.find("correction", None, None) is None:
            return corrected(found, None)
        data, where = self._content(bundle, "correction")
        return corrected(found, read_correction(data, where, features, sum(len(own.counts) for own in means)))

    def _head(self, bundle: Bundle, task: Task) -> WakeHead | None:
        if self.manifest.find("head", task.name, None) is None:
            return None
        data, where = self._content(bundle, "head", task.name)
        return read_head(data, where, self.shared.factor.shape[1], len(task.classes))

    def _calibrated(self, bundle: Bundle) -> Calibration | None:
        if self.manifest.find("calibration", None, None) is None:
            return None
        return read_calibration(*self._content(bundle, "calibration"))

    def _consolidated(
        self,
        bundle: Bundle,
        means: Sequence[ClassMeans],
        rows: ClassRows | None,
        covariances: OwnCovariances | None,
    ) -> dict[str, FeatureTask]:
        """The tasks of the bundle, with their part of the discriminant of all of them."""
        every = join(means)
        # Of a damaged factor this refuses the version, whatever it answers with.
        rule = self.manifest.denoising
        computed = discriminant(every, self.shared, rule=rule if covariances is None else None)
        weight, bias = computed if rows is None else row_discriminant(every, rows, rule)
        prior = prior_logits(every.counts, self.manifest.prior)
        digest, start = self.trunk.form.digest, 0
        tasks = {}
        for task, own in zip(self.manifest.tasks, means, strict=True):
            part = slice(start, start + len(task.classes))
            memory = TaskMemory(task.name, task.classes, own, digest, self.shared.transform, "")
            parts = weight[part], bias[part], prior[part], covariances and covariances.take(part)
            tasks[task.name] = FeatureTask(memory, *parts, self._head(bundle, task))
            start = part.stop
        return tasks

    def _added(self, memory: TaskMemory) -> FeatureTask:
        """A task learnt here, with rows that compare with the bundle's and change none of them. A few examples do not
        say how frequent a class is, so it counts as an average one.
        """
        weight, bias = self._few_shot.head(memory.means)
        return FeatureTask(memory, weight, bias, np.zeros_like(bias))

    def _means(self, bundle: Bundle, task: str, classes: int) -> ClassMeans:
        data, where = self._content(bundle, "generator", task)
        return read_means(data, where, self.shared.factor.shape[1], classes)

    def _content(self, bundle: Bundle, role: str, task: str | None = None) -> tuple[bytes, str]:
        """The bytes of a file and what to call it. Raises BundleError where the manifest lists none."""
        entry = self.entry(role, task)
        return bundle.contents[entry.path], f"{self.version}/{entry.path}"

    def entry(self, role: str, task: str | None = None) -> FileEntry:
        """The file of this role, of any precision. Raises BundleError where the manifest lists none."""
        entry = self.manifest.find(role, task, None)
        if entry is None:
            raise BundleError(f"{self.version}/manifest.json lists no {role}{f' of task {task}' if task else ''}")
        return entry
