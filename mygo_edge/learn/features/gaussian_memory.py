"""Learning in the feature space of a frozen trunk, task after task: the wake is moments, the sleep is exact."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from mygo_edge.bundle.gaussian import ClassMeans, Floats, Ids, PowerTransform, Precision, SharedFactor, join
from mygo_edge.bundle.wake_head import WakeHead
from mygo_edge.learn.features.moments import PooledMoments
from mygo_edge.learn.features.novelty import known_novelty
from mygo_edge.learn.features.prior import Prior
from mygo_edge.learn.features.sent_rows import SentRows
from mygo_edge.learn.features.shared_covariance import SharedCovariance, shrink
from mygo_edge.learn.features.strength import Strength, left_out
from mygo_edge.learn.features.wake_head import sums_alone, wake_head, wants_head
from mygo_edge.learn.features.worth import told_apart

RANK = 64  # of the factor: as many normals as a dream of pixels starts from
WORTH_SENDING = 0.07  # difference of a new covariance's logits above which devices get its rows (docs/photos.md)
_FIRST = 50  # images of a first task that can say how novel known classes look; fewer say more of chance
_COMPARED = 32  # classes, evenly spread
_RENEWED = 1.2  # of what was pooled when it was inverted last, above which the box inverts it anew: O(features^3)
_SMALL, _RENEWED_SMALL = 50, 1.3  # images of a task, below which that would be most of what it costs; the same, then
_REFACTORED = 2.0  # the same, of the factor that devices dream with
_JUDGED = 1.5  # the same, of how novel known classes look
_CALIBRATED = 2.0  # the same, of how sure answers are, while classes have too few images to choose a shrinkage by
_MEASURED = ("rows", "factor", "novelty", "kept", "temperature")


class GaussianMemory:
    """All that is known after some tasks: nothing in it grows but a mean, a row and a count a class."""

    def __init__(
        self,
        transform: PowerTransform,
        features: int,
        rank: int = RANK,
        rows: bool = True,
        prior: float = 1.0,
    ) -> None:
        """features: width of the trunk's vectors; rows: whether devices answer by rows of a linear classifier, which
        `refactor` makes, and not by what each class's covariance has of its own, besides; prior: how much frequencies
        of classes count, from 0 to 1.
        """
        self.rows = rows
        self.transform, self.features, self.rank = transform, features, rank
        self.tasks: list[ClassMeans] = []
        self.heads: list[WakeHead | None] = []  # of each task, where its own covariance tells its classes apart better
        self.pooled = PooledMoments.empty(features, self._few)
        self.strength = Strength()
        self.prior = Prior(prior)
        self.kept: SentRows | None = None  # the classifier of the box
        self.sent: SentRows | None = None  # that of devices: the box's, or an older one that answers nearly alike
        self._kept_strength = 0.0
        self.shared: SharedFactor | None = None  # their dreams
        self._precise: tuple[SharedFactor, Precision] | None = None  # of these, once it was asked for
        self.factor_version = 0
        self._at: dict[str, int] = {}  # freedom of the pool when something was measured last
        self.novelty: NDArray[np.float32] | None = None  # quantiles of that of known classes
        self.told_apart: float | None = None  # share of the last task's inputs, each left out (`learn.features.worth`)

    @property
    def _few(self) -> int:
        """Images up to which they are pooled as a root: at a quarter of the features, a matrix costs as much."""
        return self.features // 4 if self.rows else 0

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
        alone = None
        if self.rows and sums_alone(len(labels), self.features):
            alone = PooledMoments.empty(self.features)
            self.tasks.append(alone.pool(vectors, labels, classes))
            self.pooled.merge(alone)
        else:
            self.tasks.append(self.pooled.pool(vectors, labels, classes))
        self._leave_out(vectors, labels, len(classes))
        if self.rows and self._grown("novelty", _JUDGED):
            self._judge(vectors, labels)
        self.heads.append(self._wake_head(alone, vectors, labels) if self.rows else None)
        return self.tasks[-1]

    def _leave_out(self, vectors: Floats, labels: Ids, classes: int) -> None:
        """Choose the shrinkage, and find how sure answers are and whether the task's own inputs are told apart, where
        images left out can say it.
        """
        due = self.strength.due(self.pooled, len(labels), classes)
        if due or (not self.strength.images and self._grown("temperature", _CALIBRATED)):
            self._measured("temperature")
            means = self.means
            task = slice(len(means.means) - classes, len(means.means))
            found = left_out(self.pooled, means, task, vectors, labels)
            if due:
                self.strength.learn(found.briers(classes, self.strength.start), len(labels), self.pooled)
                self.told_apart = found.told_apart(self.strength.chosen, classes)
            self.prior.calibrate(found, self.strength.chosen)
        if not due and self.shared is not None:
            if self._precise is None or self._precise[0] is not self.shared:
                self._precise = self.shared, Precision(self.shared)
            self.told_apart = told_apart(*self._precise, self.tasks[-1], vectors, labels)

    def _wake_head(self, alone: PooledMoments | None, vectors: Floats, labels: Ids) -> WakeHead | None:
        """The task's own, by the covariance that it is about to sleep with."""
        if not wants_head(labels, self.features):
            return None
        covariance = self.covariance()
        mine = (len(labels) - len(self.tasks[-1].counts)) / self.pooled.freedom if self._newest else 0.0
        return wake_head(covariance, self._seen(covariance), alone, self.tasks[-1], vectors, labels, mine)

    @property
    def _newest(self) -> bool:
        """Whether the last covariance has seen the images of the last task."""
        return self._at["kept"] == self.pooled.freedom

    def _seen(self, covariance: SharedCovariance) -> float:
        """The weight in it of an outer product of one of the last task's images."""
        return (1 - covariance.shrunk.shrinkage) / self.pooled.freedom if self._newest else 0.0

    def _judge(self, vectors: Floats, labels: Ids) -> None:
        """How novel images of known classes look, by what was sent before them; of a first task, by all that is without
        each.
        """
        self._measured("novelty")
        if self.sent is not None and self.shared is not None:
            self.novelty = known_novelty(self.sent, self.shared, self.tasks, vectors, labels)
        elif len(self.tasks) == 1 and len(labels) >= _FIRST:
            covariance = self.covariance()
            assert self.kept is not None
            shared = self._renew_factor(covariance)
            self.novelty = known_novelty(self.kept, shared, self.tasks, vectors, labels, self._seen(covariance))

    def covariance(self, least: float = 0.0) -> SharedCovariance:
        """What all classes share, shrunk as chosen, or `least` where that is more.

        With rows it is that of an earlier sleep, until a fifth more has been pooled, or three tenths by small tasks:
        a task's rows then cost O(features^2), however few images it has.
        """
        strength = max(self.strength.best, least)
        if not self.rows:
            return SharedCovariance(shrink(self.pooled, strength), self.transform)
        if self.kept is None or strength != self._kept_strength or self._grown("kept", self._renewed):
            self.kept = SentRows.of(SharedCovariance(shrink(self.pooled, strength), self.transform), self.tasks)
            self._kept_strength = strength
            self._measured("kept")
        return self.kept.covariance

    @property
    def _renewed(self) -> float:
        small = self.pooled.root is None and self.tasks[-1].counts.sum() < _SMALL  # an inverse by a root costs little
        return _RENEWED_SMALL if small else _RENEWED

    def sleep(self, covariance: SharedCovariance) -> tuple[Floats, Floats]:
        """Exact sleep: weight [classes, features] and bias [classes] of the classifier of all tasks, for vectors in the
        transformed space. A task's rows are its head; arg max over all rows answers an unknown task.
        """
        if self.kept is not None and self.kept.covariance is covariance:
            return self.kept.discriminant(self.tasks)
        return covariance.discriminant(self.means, rule="ridge" if self.rows else None)

    @property
    def temperature(self) -> float:
        """What the logits of `sleep` are to be divided by, those of frequencies included. Images left out were judged
        by means as they are; a sleep takes the noise out of these, which makes logits smaller.
        """
        return self.prior.temperature * (self.kept.scale(self.tasks) if self.kept is not None else 1.0)

    @property
    def prior_weight(self) -> float:
        """Of the logarithm of a class's frequency, in these logits."""
        return self.prior.weight(self.temperature)

    def refactor(self, covariance: SharedCovariance, weight: Floats | None = None) -> SharedFactor:
        """What devices get: the rows and the factor that they have, unless new rows would answer differently enough.

        Args:
            covariance: of the sleep.
            weight: of its classifier, where that is at hand.

        Returns:
            The factor.
        """
        assert self.kept is not None
        self.kept.extend(self.tasks)
        if self.sent is None or (self._at["rows"] < self._at["kept"] and self._worth_sending(covariance, weight)):
            self.sent = self.kept
        else:
            self.sent.extend(self.tasks)
        self._at["rows"] = self._at["kept"]
        return self._renew_factor(covariance)

    def _renew_factor(self, covariance: SharedCovariance) -> SharedFactor:
        """The factor, made anew when enough was pooled since."""
        if self.shared is None or self._grown("factor", _REFACTORED):
            self.shared = covariance.factor(self.rank, self.means, self.shared).shared
            self.factor_version += 1
            self._measured("factor")
        return self.shared

    def _worth_sending(self, covariance: SharedCovariance, weight: Floats | None) -> bool:
        """Whether rows of this covariance would answer differently enough from those that devices have."""
        assert self.sent is not None
        weight = self.sleep(covariance)[0] if weight is None else weight
        sent, _ = self.sent.discriminant(self.tasks)
        some = np.linspace(0, len(weight) - 1, min(len(weight), _COMPARED)).astype(int)
        return covariance.difference(weight[some], sent[some]) > WORTH_SENDING

    def _grown(self, what: str, growth: float) -> bool:
        """Whether so much more has been pooled since something was measured that it is worth its cost again. It costs
        O(features^2) a class or more, and less and less changes it.
        """
        return self.pooled.freedom >= growth * self._at.get(what, 0)

    def _measured(self, what: str) -> None:
        self._at[what] = self.pooled.freedom

    def forget(self, task: int) -> None:
        """Let go of a task's means, and of all rows, whose centre it is part of. What it added to the pooled scatter
        stays: that says how images of any class differ from their mean, and cannot be told apart from what others
        added.
        """
        del self.tasks[task], self.heads[task]
        self.kept = self.sent = None
        self._at["factor"] = 0

    def state(self) -> dict[str, NDArray[Any]]:
        """Everything, as arrays for a checkpoint."""
        state: dict[str, NDArray[Any]] = {
            "numbers": np.array(
                [self.pooled.freedom, self.pooled.tasks, self.strength.images, self.strength.tried_at], np.int64
            ),
            "briers": self.strength.briers,
            "widths": np.array([len(task.means) for task in self.tasks], np.int64),
            "factor_version": np.array(self.factor_version, np.int64),
        }
        if self.pooled.whole is not None:
            state["scatter"] = self.pooled.whole
        if self.pooled.root is not None:
            state["root"] = self.pooled.root
        if self.tasks:
            state |= {"means": self.means.means, "counts": self.means.counts}
        if self.shared is not None:
            numbers = np.array([self.shared.shrinkage, self.shared.spread])
            state |= {"factor": self.shared.factor, "diagonal": self.shared.diagonal, "shared_numbers": numbers}
        state["measured_at"] = np.array([self._at.get(what, 0) for what in _MEASURED], np.int64)
        state["temperature"], state["prior_share"] = np.array(self.prior.temperature), np.array(self.prior.share)
        if self.novelty is not None:
            state["novelty"] = self.novelty
        if heads := {place: head for place, head in enumerate(self.heads) if head is not None}:
            state["heads.tasks"] = np.array(list(heads), np.int64)
            state["heads.weight"] = np.concatenate([head.weight for head in heads.values()])
            state["heads.bias"] = np.concatenate([head.bias for head in heads.values()])
        state["kept_strength"] = np.array(self._kept_strength)
        if self.sent is not None:
            state |= self.sent.state("sent")
        if self.kept is not None and self.kept is not self.sent:
            state |= self.kept.state("kept")
        return state

    def load_state(self, state: dict[str, NDArray[Any]]) -> None:
        """Go on from what `state` gave."""
        freedom, tasks, images, tried_at = (int(number) for number in state["numbers"])
        scatter, root = (state[name].astype(np.float32) if name in state else None for name in ("scatter", "root"))
        self.pooled = PooledMoments(scatter, freedom, tasks, root, self._few)
        if "briers" in state:  # after a checkpoint of an older version it is tried anew
            self.strength.briers = state["briers"].copy()
            self.strength.images, self.strength.tried_at = images, tried_at
        ends = np.cumsum(state["widths"])
        self.tasks = [
            ClassMeans(state["means"][end - width : end], state["counts"][end - width : end])
            for width, end in zip(state["widths"], ends, strict=True)
        ]
        self.heads = [None] * len(self.tasks)
        start = 0
        for place in state["heads.tasks"].tolist() if "heads.tasks" in state else ():
            own = slice(start, start := start + len(self.tasks[place].counts))
            self.heads[place] = WakeHead(state["heads.weight"][own].copy(), state["heads.bias"][own].copy())
        self.factor_version = int(state["factor_version"])
        # A checkpoint of an older version lacks what is kept: it is made anew.
        self._at = dict(zip(_MEASURED, state["measured_at"].tolist(), strict=False))
        self.prior.temperature = float(state["temperature"].ravel()[-1])  # an older checkpoint has one a share
        self.prior.share = float(state.get("prior_share", self.prior.share))
        self.novelty = state["novelty"].copy() if "novelty" in state else None
        self.sent, self.kept = (
            SentRows.from_state(name, state, state["widths"], self.transform) if f"{name}.rows" in state else None
            for name in ("sent", "kept")
        )
        if self.kept is None and "kept_strength" in state:
            self.kept = self.sent
        self._kept_strength = float(state.get("kept_strength", 0.0))
        self.shared = None
        if "factor" in state:
            shrinkage, spread = (float(number) for number in state["shared_numbers"])
            self.shared = SharedFactor(state["factor"], state["diagonal"], self.transform, shrinkage, spread)
