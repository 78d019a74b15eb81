"""MyGO in the feature space of a frozen trunk: a wake gathers moments, a sleep is exact, dreams are Gaussians."""

from collections.abc import Sequence
from dataclasses import asdict
from functools import partial
from importlib import import_module

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from mygo_edge.bundle.calibration import Calibration
from mygo_edge.bundle.gaussian import Floats, PowerTransform, SharedFactor, dreams, join
from mygo_edge.bundle.own_covariance import OwnCovariances, own_dreams, quadratic
from mygo_edge.bundle.prior import prior_logits
from mygo_edge.bundle.rows import ClassRows
from mygo_edge.bundle.wake_head import WakeHead, settled
from mygo_edge.data.tasks import Task
from mygo_edge.domains.features import Features
from mygo_edge.errors import MygoEdgeError, warn
from mygo_edge.kernels.noise import dream_noise, feature_noise
from mygo_edge.learn.features.gaussian_memory import GaussianMemory
from mygo_edge.learn.features.own_calibration import QUANTILES, Known, calibration, measure
from mygo_edge.learn.features.own_covariance import (
    LEAST_STRENGTH,
    TaskScatters,
    answering_factor,
    answering_rank,
    own_covariances,
)
from mygo_edge.learn.features.sampled_sleep import descended, sampled_dreams
from mygo_edge.learn.features.shared_covariance import SharedCovariance
from mygo_edge.learn.features.worth import memory_report, poverty
from mygo_edge.learn.method import Method, NamedPhase
from mygo_edge.learn.phase import Phase
from mygo_edge.options import TrainOptions

_SLEEP_STREAM = 2**16  # of dreams of a sampled sleep, and as many as there are tasks
MAX_CLASS_BYTES = 2**21  # of a class's own scatter, above which classes share their covariance alone


class ExactMyGO(Method):
    """Class means, counts, and the scatter that all tasks pool; its classifier is the minimum over infinitely many
    dreams of all tasks (docs/exact-sleep.md derives it).
    """

    name = "mygo"
    dreams = True
    publishes = True

    def __init__(self, domain: Features, options: TrainOptions, device: torch.device) -> None:
        super().__init__(options, device)
        import_module("scipy.optimize")  # half a second, once, which is no wake's
        if options.sleep.form == "sampled" and domain.directions is not None:
            raise MygoEdgeError(
                f"--sleep.form sampled cannot work with --trunk {options.trunk}: its classifier is quadratic, and a "
                "student is linear; use exact"
            )
        self.domain = domain
        if options.sleep.prior not in ("auto", "0") and self._has_own:
            raise MygoEdgeError(
                f"--sleep.prior {options.sleep.prior} cannot work with --trunk {options.trunk}: classes that have "
                "covariances of their own are taken for equally likely; use auto or 0"
            )
        self.memory: GaussianMemory | None = None  # from the first task on
        # Where classes have covariances of their own:
        self.scatters: list[Floats] = []  # of every class
        self.measured: list[NDArray[np.float64]] = []  # of every task, on inputs left out; NaN where there are too few
        self.own: OwnCovariances | None = None
        self._classifier: tuple[Floats, Floats] | None = None

    def phases(self, index: int, tasks: Sequence[Task]) -> list[NamedPhase]:
        (task,) = tasks
        if self.memory is not None:
            self.memory.prior.share = self._share  # a run that goes on may ask for another
        return [
            NamedPhase("moments", "memory", partial(self._memorise, index, task)),
            NamedPhase("sleep", "sleep", partial(self._sleep, index)),
        ]

    def _memorise(self, index: int, task: Task, phase: Phase) -> None:
        vectors, labels = task.train.inputs.numpy(), task.train.labels.numpy()
        transformed = self.domain.transformed(vectors)
        if self.memory is None:
            assert self.domain.transform is not None
            self.memory = self._empty(self.domain.transform)
        before, reasoned = self.memory.pooled.copy() if self._has_own else None, self.memory.strength.reason()
        try:
            self.memory.learn(vectors, labels, task.classes)
        except MygoEdgeError as error:
            raise MygoEdgeError(f"{task.name}: {error}") from error
        if before is not None:
            known = Known(before, self.memory.tasks[:-1], self.scatters)
            self.measured.append(self._left_out(known, transformed, labels))
            alone = TaskScatters(len(task.classes), self.domain.features)
            alone.add(transformed, labels)
            self.scatters += list(alone.scatters())
        if (reason := self.memory.strength.reason()) != reasoned:
            phase.note(f"{task.name}: {reason}")
        report = memory_report(self.memory.told_apart, len(task.classes))
        self.memories.append({"task": index, **asdict(report)})
        if report.poor:
            warn(poverty(task.name, report, len(task.classes), self.domain.has_own_trunk))

    def _left_out(self, known: Known, vectors: Floats, labels: NDArray[np.int64]) -> NDArray[np.float64]:
        assert self.memory is not None
        assert self.domain.directions is not None
        strength = max(self.memory.strength.best, LEAST_STRENGTH)
        directions = self.domain.directions(self.memory.means.counts)
        found = measure(known, vectors, labels, strength, directions, self.memory.transform)
        return np.full(1 + QUANTILES, np.nan) if found is None else found

    def _empty(self, transform: PowerTransform) -> GaussianMemory:
        rank = self.options.memory.rank
        return GaussianMemory(transform, self.domain.features, rank, rows=not self._has_own, prior=self._share)

    @property
    def _share(self) -> float:
        """How much it is asked that frequencies count."""
        return 1.0 if self.options.sleep.prior == "auto" else float(self.options.sleep.prior)

    @property
    def _has_own(self) -> bool:
        return self.domain.directions is not None and 4 * self.domain.features**2 <= MAX_CLASS_BYTES

    def _sleep(self, index: int, phase: Phase) -> None:
        assert self.memory is not None
        before = self._classifier
        covariance = self._consolidate()
        if self.options.sleep.form == "sampled":
            self._descend(index, phase)
        after = self._classifier
        assert after is not None
        change = 1.0 if before is None else _change(before[0], after[0][: len(before[0])])
        self.sleeps.append(
            {
                "task": index,
                "loss_first": None,  # of an exact minimum there is no course
                "loss_last": None,
                "feature_change": 0.0,
                "classifier_change": change,
                "shrinkage": covariance.shrunk.shrinkage,
                "shrinkage_why": self.memory.strength.reason(),
                "prior": self._prior_share,
                "dreams": None,
            }
        )

    def _descend(self, index: int, phase: Phase) -> None:
        """Teach a linear student on dreams of all tasks what the exact classifier answers, and keep the student."""
        assert self.memory is not None
        assert self._classifier is not None
        memory, sleep, options = self.memory, self.options.sleep, self.options
        backend = None if options.backend == "auto" else options.backend
        dreams = sampled_dreams(
            memory, self.shared, sleep.dreams_per_task, options.seed, _SLEEP_STREAM + index, self.device, backend
        )
        centre = memory.means.means.mean(0)
        self._classifier = descended(self._classifier, dreams, centre, sleep.steps, sleep.learning_rate, phase)

    def _consolidate(self) -> SharedCovariance:
        """Factor, covariances of classes, and the classifier of all tasks, from what is remembered."""
        assert self.memory is not None
        covariance = self.memory.covariance(LEAST_STRENGTH if self._has_own else 0.0)
        if self._has_own and self.domain.directions is not None:
            means = self.memory.means
            directions = self.domain.directions(means.counts)
            self.own = own_covariances(self.scatters, means.counts, covariance, directions)
            rank = answering_rank(len(means.counts), directions, self.domain.features)
            self.memory.shared = answering_factor(covariance, means, rank, self.own.directions)
        self._classifier = self.memory.sleep(covariance)
        if not self._has_own:
            self.memory.refactor(covariance, self._classifier[0])
        return covariance

    def forgetting(self, index: int, tasks: Sequence[Task]) -> list[NamedPhase]:
        return [NamedPhase("forget", "sleep", partial(self._forget, index))]

    def _forget(self, index: int, phase: Phase) -> None:
        """The task's means go. The scatter that all tasks pool stays: it is a sum, and holds no class alone."""
        assert self.memory is not None
        first = sum(len(task.means) for task in self.memory.tasks[:index])
        count = len(self.memory.tasks[index].means)
        self.memory.forget(index)
        del self.scatters[first : first + count]
        del self.measured[index : index + 1]
        self._consolidate()

    def logits(self, inputs: Tensor) -> Tensor:
        assert self.memory is not None
        assert self._classifier is not None
        weight, bias = self._classifier
        tasks = self._consolidated_tasks
        means = join(self.memory.tasks[:tasks])
        vectors = self.memory.transform(inputs.numpy())
        found: NDArray = vectors @ weight.T + bias
        if self.own is not None:
            found = found + quadratic(vectors, means, self.own)
        prior = prior_logits(means.counts, self.prior)
        if prior.any():
            found = found + prior
        widths = [len(task.counts) for task in self.memory.tasks[:tasks]]
        heads, temperature = self.heads[:tasks], self.memory.temperature
        found = settled(np.asarray(found, np.float32), vectors, heads, temperature, widths, prior)
        return torch.from_numpy(found)

    @property
    def _consolidated_tasks(self) -> int:
        """How many tasks the classifier knows: without one that was cut off between its wake and its sleep."""
        assert self.memory is not None
        assert self._classifier is not None
        ends = np.cumsum([len(task.counts) for task in self.memory.tasks])
        return int((ends <= len(self._classifier[1])).sum())

    def dream(self, task: int, count: int, *, stream: int, step: int) -> tuple[Tensor, Tensor]:
        return self.dream_as(task, count, seed=self.options.seed, stream=stream, step=step)

    def device_dreams(self, task: int, count: int, *, seed: int) -> tuple[Tensor, Tensor]:
        return self.dream_as(task, count, seed=seed, stream=0, step=0)

    def dream_as(self, task: int, count: int, *, seed: int, stream: int, step: int) -> tuple[Tensor, Tensor]:
        """As `dream`, of any seed: features as the trunk gives them, [count, features], and class ids."""
        assert self.memory is not None
        means, shared = self.memory.tasks[task], self.shared
        samples, rank, width = np.arange(count), shared.rank, self.domain.features
        z, ids, _ = dream_noise(samples, len(means.means), rank, seed=seed, stream=stream, step=step, xp=np)
        noise = feature_noise(samples, width, seed=seed, stream=stream, step=step, xp=np, latent=rank)
        vectors = dreams(means, shared, z, noise, ids)
        if self.own is not None:
            first = sum(len(other.means) for other in self.memory.tasks[:task])
            own = self.own.take(slice(first, first + len(means.means)))
            vectors = own_dreams(vectors, ids, means, shared, own)
        return torch.from_numpy(self.memory.transform.inverse(vectors)), torch.from_numpy(ids)

    @property
    def shared(self) -> SharedFactor:
        """The factor that devices get."""
        assert self.memory is not None
        assert self.memory.shared is not None
        return self.memory.shared

    @property
    def rows(self) -> list[ClassRows | None]:
        """What devices answer with, by task; None where they compute it from means and factor."""
        assert self.memory is not None
        return list(self.memory.sent.tasks) if self.memory.sent is not None else [None] * len(self.memory.tasks)

    @property
    def heads(self) -> list[WakeHead | None]:
        """What says which of a task's classes an input is, by task; None where the rows do."""
        assert self.memory is not None
        return self.memory.heads

    @property
    def calibration(self) -> Calibration | None:
        """How devices are to read scores, where a wake could measure that."""
        assert self.memory is not None
        if self._has_own:
            return calibration(self.measured)
        novelty = self.memory.novelty
        return None if novelty is None else Calibration(self.memory.temperature, novelty)

    @property
    def _prior_share(self) -> float:
        """How much frequencies count; where each class has as many images, and for texts, not at all."""
        assert self.memory is not None
        counts = self.memory.means.counts
        return 0.0 if self._has_own or (counts == counts[0]).all() else self.memory.prior.share

    @property
    def prior(self) -> float:
        """Weight of the logarithm of a class's frequency, in logits that are not divided by the temperature."""
        assert self.memory is not None
        return self._prior_share and self.memory.prior_weight

    @property
    def consolidated(self) -> bool:
        """Whether the classifier knows all that is remembered."""
        return (
            self._classifier is not None
            and self.memory is not None
            and len(self._classifier[1]) == len(self.memory.means.counts)
        )

    def state(self) -> dict[str, Tensor]:
        if self.memory is None:
            return {}
        transform = self.memory.transform
        state = {name: torch.from_numpy(np.array(value)) for name, value in self.memory.state().items()}
        state["transform"] = torch.tensor(
            [transform.power, transform.signed, transform.normalised], dtype=torch.float64
        )
        if self.scatters:
            state["scatters"] = torch.from_numpy(np.stack(self.scatters))
            state["measured"] = torch.from_numpy(np.stack(self.measured))
        if self._classifier is not None:
            state |= {f"classifier.{i}": torch.from_numpy(np.asarray(x)) for i, x in enumerate(self._classifier)}
        if self.own is not None:
            state["own.directions"] = torch.from_numpy(self.own.directions)
            state["own.covariances"] = torch.from_numpy(self.own.covariances)
        return state

    def load(self, state: dict[str, Tensor]) -> None:
        if not state:
            return
        arrays = {name: value.cpu().numpy() for name, value in state.items()}
        power, signed, normalised = arrays["transform"].tolist()
        transform = PowerTransform(float(power), bool(signed), bool(normalised))
        self.domain.transform = transform
        self.memory = self._empty(transform)
        self.memory.load_state(arrays)
        self.scatters = list(arrays["scatters"]) if "scatters" in arrays else []
        self.measured = list(arrays["measured"]) if "measured" in arrays else []
        if "classifier.0" in arrays:
            self._classifier = arrays["classifier.0"], arrays["classifier.1"]
        if "own.directions" in arrays:
            self.own = OwnCovariances(arrays["own.directions"], arrays["own.covariances"])


def _change(before: Floats, after: Floats) -> float:
    """Of the classifier's weights, relative to their norm; 1 where there was nothing."""
    norm = np.linalg.norm(before)
    return float(np.linalg.norm(after - before) / norm) if norm else 1.0
