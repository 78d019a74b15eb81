"""Learning in the feature space of a frozen trunk, task after task: the wake is moments, the sleep is exact."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mygo_edge.bundle.gaussian import ClassMeans, Floats, Ids, PowerTransform, SharedFactor, discriminant, join
from mygo_edge.learn.moments import PooledMoments, TaskMoments
from mygo_edge.learn.shared_covariance import SharedCovariance, shrink
from mygo_edge.learn.strength import Strength, left_out

RANK = 64  # of the factor: as many normals as a dream of pixels starts from
WORTH_SENDING = 0.1  # difference of a new factor's logits above which devices get it (docs/photos.md)


class GaussianMemory:
    """All that is known after some tasks: nothing in it grows but a mean and a count a class."""

    def __init__(self, transform: PowerTransform, features: int, rank: int = RANK) -> None:
        """features: width of the trunk's vectors."""
        self.transform, self.features, self.rank = transform, features, rank
        self.tasks: list[ClassMeans] = []
        self.pooled = PooledMoments.empty(features)
        self.strength = Strength()
        self.shared: SharedFactor | None = None
        self.factor_version = 0

    @property
    def means(self) -> ClassMeans:
        """Of the classes of all tasks."""
        return join(self.tasks)

    def learn(self, features: Floats, labels: Ids, classes: list[str]) -> ClassMeans:
        """A task's wake: its means, which are its generator, and its share of the pooled scatter.

        Args:
            features: [n, features] of the trunk.
            labels: [n], counted within the task.
            classes: names, for messages.

        Raises:
            MygoEdgeError: features that are not finite or never vary, or a class of fewer than two images.
        """
        vectors = self.transform(features)
        moments = TaskMoments(classes, self.features)
        moments.add(vectors, labels)
        self.tasks.append(moments.pool(self.pooled))
        if self.strength.due(self.pooled):
            means = self.means
            task = slice(len(means.means) - len(classes), len(means.means))
            shares = left_out(self.pooled, means, task, vectors, labels)
            self.strength.learn(shares, len(labels), self.pooled)
        return self.tasks[-1]

    def covariance(self, least: float = 0.0) -> SharedCovariance:
        """What all classes share, shrunk as chosen, or `least` where that is more."""
        return SharedCovariance(shrink(self.pooled, max(self.strength.best, least)), self.transform)

    def sleep(self, covariance: SharedCovariance) -> tuple[Floats, Floats]:
        """Exact sleep: weight [classes, features] and bias [classes] of the classifier of all tasks, for vectors in the
        transformed space. A task's rows are its head; arg max over all rows answers an unknown task.
        """
        return covariance.discriminant(self.means)

    def refactor(self, covariance: SharedCovariance) -> SharedFactor:
        """The factor for devices: the one they have, unless a new one would answer differently enough."""
        means = self.means
        new = covariance.factor(self.rank, means).shared
        if self.shared is not None:
            old_weight, new_weight = (discriminant(means, shared)[0] for shared in (self.shared, new))
            if covariance.difference(new_weight, old_weight) <= WORTH_SENDING:
                return self.shared
        self.shared, self.factor_version = new, self.factor_version + 1
        return new

    def forget(self, task: int) -> None:
        """Let go of a task's means. What it added to the pooled scatter stays: that says how images of any class differ
        from their mean, and cannot be told apart from what others added.
        """
        del self.tasks[task]

    def state(self) -> dict[str, NDArray[Any]]:
        """Everything, as arrays for a checkpoint."""
        state: dict[str, NDArray[Any]] = {
            "scatter": self.pooled.scatter,
            "numbers": np.array(
                [self.pooled.freedom, self.pooled.tasks, self.strength.images, self.strength.tried_at], np.int64
            ),
            "wins": self.strength.wins,
            "widths": np.array([len(task.means) for task in self.tasks], np.int64),
            "factor_version": np.array(self.factor_version, np.int64),
        }
        if self.tasks:
            state |= {"means": self.means.means, "counts": self.means.counts}
        if self.shared is not None:
            numbers = np.array([self.shared.shrinkage, self.shared.spread])
            state |= {"factor": self.shared.factor, "diagonal": self.shared.diagonal, "shared_numbers": numbers}
        return state

    def load_state(self, state: dict[str, NDArray[Any]]) -> None:
        """Go on from what `state` gave."""
        freedom, tasks, images, tried_at = (int(number) for number in state["numbers"])
        self.pooled = PooledMoments(state["scatter"].copy(), freedom, tasks)
        self.strength.wins, self.strength.images, self.strength.tried_at = state["wins"].copy(), images, tried_at
        ends = np.cumsum(state["widths"])
        self.tasks = [
            ClassMeans(state["means"][end - width : end], state["counts"][end - width : end])
            for width, end in zip(state["widths"], ends, strict=True)
        ]
        self.factor_version = int(state["factor_version"])
        self.shared = None
        if "factor" in state:
            shrinkage, spread = (float(number) for number in state["shared_numbers"])
            self.shared = SharedFactor(state["factor"], state["diagonal"], self.transform, shrinkage, spread)


def transform_for(features: Floats, power: float = 0.5) -> PowerTransform:
    """The transform for a trunk, by the features [n, width] of its first task: signed where any is negative."""
    return PowerTransform(power, signed=bool((features < 0).any()))
