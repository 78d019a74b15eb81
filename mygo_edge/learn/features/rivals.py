"""Rivals on the same frozen features, each from its paper: what MyGO in feature space is compared with in every run.

All learn task after task through `learn` and answer with logits over all classes so far; `joint` alone keeps the real
features, and is the upper bound that none of the others may look at.
"""

import warnings
from abc import ABC, abstractmethod
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.linalg import cho_factor, cho_solve
from torch import nn

Floats = NDArray[np.float32]
Ids = NDArray[np.int64]
_VALIDATION = 5  # every so many-th image of a shuffled task validates


class Rival(ABC):
    """features: [n, width] of a trunk; labels: [n], counted over all tasks, the task's own being the newest."""

    @abstractmethod
    def learn(self, features: Floats, labels: Ids) -> None:
        """Learn one more task, of all labels from the first new one to the largest."""

    def settle(self) -> None:  # noqa: B027
        """Find what it answers with, after the last of some tasks; without this call, the first answer does it."""

    @abstractmethod
    def logits(self, features: Floats) -> NDArray[Any]:
        """[n, classes so far], comparable within a task and across tasks."""

    @property
    @abstractmethod
    def bytes(self) -> int:
        """What must be kept to answer, in float32; and to go on learning, where that is more."""


def class_means(features: Floats, labels: Ids, first: int) -> NDArray[np.float64]:
    """[new classes, width], of labels from `first` on."""
    return np.stack([features[labels == label].mean(0, dtype=np.float64) for label in range(first, labels.max() + 1)])


class NearestMean(Rival):
    """The class whose mean is nearest (iCaRL's rule, Rebuffi et al. 2017, on frozen features)."""

    def __init__(self) -> None:
        self.means: NDArray[np.float64] | None = None

    def learn(self, features: Floats, labels: Ids) -> None:
        known = [] if self.means is None else [self.means]
        new = class_means(features, labels, len(known[0]) if known else 0)
        self.means = np.concatenate([*known, new])

    def logits(self, features: Floats) -> NDArray[np.float64]:
        assert self.means is not None
        return features @ self.means.T - 0.5 * (self.means**2).sum(1)

    @property
    def bytes(self) -> int:
        return 0 if self.means is None else 4 * self.means.size


class StreamingLDA(NearestMean):
    """Deep SLDA (Hayes & Kanan 2020): class means and one covariance, shrunk towards the identity."""

    def __init__(self, shrinkage: float = 0.01) -> None:
        """shrinkage: the paper's 1e-4 is worse with few images; 0.01 is the stronger rival."""
        super().__init__()
        self.shrinkage, self.scatter, self.images = shrinkage, np.zeros((0, 0)), 0
        self._weight: NDArray[np.float64] | None = None  # [width, classes]

    def learn(self, features: Floats, labels: Ids) -> None:
        super().learn(features, labels)
        assert self.means is not None
        rest = features - self.means[labels]
        self.scatter = rest.T @ rest + (self.scatter if self.images else 0)
        self.images += len(features)
        self._weight = None

    def settle(self) -> None:
        assert self.means is not None
        covariance = self.scatter / self.images
        matrix = (1 - self.shrinkage) * covariance + self.shrinkage * np.eye(len(covariance))
        self._weight = cho_solve(cho_factor(matrix), self.means.T)

    def logits(self, features: Floats) -> NDArray[np.float64]:
        if self._weight is None:
            self.settle()
        assert self._weight is not None
        assert self.means is not None
        return features @ self._weight - 0.5 * (self.means * self._weight.T).sum(1)

    @property
    def bytes(self) -> int:
        return super().bytes + 4 * self.scatter.size


class FeCAM(Rival):
    """FeCAM (Goswami et al. 2023): square roots of features, a covariance for each class, shrunk and normalised to a
    correlation, Mahalanobis distance; the paper's settings for many images a class.
    """

    power, shrink_variance, shrink_rest = 0.5, 1.0, 1.0

    def __init__(self) -> None:
        self.means: list[Floats] = []
        self.inverses: list[Floats] = []

    def learn(self, features: Floats, labels: Ids) -> None:
        vectors = self._transformed(features)
        for label in range(len(self.means), labels.max() + 1):
            own = vectors[labels == label]
            self.means.append(own.mean(0))
            self.inverses.append(self._inverse(np.atleast_2d(np.cov(own, rowvar=False))))

    def _inverse(self, covariance: NDArray[Any]) -> Floats:
        if not covariance.any():  # of images that are all alike there is no correlation
            return np.eye(len(covariance), dtype=np.float32)
        width = len(covariance)
        variance = covariance.diagonal().mean()
        rest = (covariance.sum() - covariance.trace()) / (width * (width - 1))
        identity = np.eye(width)
        shrunk = covariance + self.shrink_variance * variance * identity + self.shrink_rest * rest * (1 - identity)
        deviations = np.sqrt(shrunk.diagonal())
        return np.linalg.inv((shrunk / np.outer(deviations, deviations)).astype(np.float32))

    def logits(self, features: Floats) -> Floats:
        vectors = self._transformed(features)
        distances = []
        for mean, inverse in zip(self.means, self.inverses, strict=True):
            rest = vectors - mean
            distances.append(((rest @ inverse) * rest).sum(1))
        return -np.stack(distances, 1)

    def _transformed(self, features: Floats) -> Floats:
        return np.sign(features) * np.abs(features) ** np.float32(self.power)

    @property
    def bytes(self) -> int:
        return 4 * sum(array.size for array in (*self.means, *self.inverses))


class RanPAC(Rival):
    """RanPAC (McDonnell et al. 2023) without its adapters: ridge regression on random ReLU projections, the penalty
    chosen on a fifth of each task.
    """

    penalties = 10.0 ** np.arange(0, 9)

    def __init__(self, width: int, projections: int = 2000, seed: int = 0) -> None:
        """projections: the paper has 10,000; a matrix of their square is kept."""
        rng = np.random.default_rng(seed)
        self.projection = rng.standard_normal((width, projections), np.float32)
        self.gram = np.zeros((projections, projections))
        self.targets = np.zeros((projections, 0))  # [projections, classes]
        self.weight = self.targets
        self._rng = rng

    def learn(self, features: Floats, labels: Ids) -> None:
        hidden = self._hidden(features)
        classes = int(labels.max()) + 1
        self.targets = np.pad(self.targets, ((0, 0), (0, classes - self.targets.shape[1])))
        order = self._rng.permutation(len(labels))
        held = order[::_VALIDATION]
        rest = np.setdiff1d(order, held)
        onehot = np.eye(classes, dtype=np.float32)[labels]
        gram, targets = self.gram + hidden[rest].T @ hidden[rest], self.targets + hidden[rest].T @ onehot[rest]
        errors = [
            ((hidden[held] @ self._ridge(gram, targets, penalty) - onehot[held]) ** 2).mean()
            for penalty in self.penalties
        ]
        self.gram += hidden.T @ hidden
        self.targets += hidden.T @ onehot
        self.weight = self._ridge(self.gram, self.targets, self.penalties[int(np.argmin(errors))])

    def _ridge(self, gram: NDArray[np.float64], targets: NDArray[np.float64], penalty: float) -> NDArray[np.float64]:
        matrix = gram + penalty * np.eye(len(gram))
        return cho_solve(cho_factor(matrix, overwrite_a=True), targets)

    def logits(self, features: Floats) -> NDArray[np.float64]:
        return self._hidden(features) @ self.weight

    def _hidden(self, features: Floats) -> NDArray[np.float64]:
        # In float64: rounding in products of float32 can outweigh a small penalty.
        return np.maximum(features @ self.projection, 0).astype(np.float64)

    @property
    def bytes(self) -> int:
        return 4 * (self.projection.size + self.gram.size + self.targets.size + self.weight.size)


class Finetune(Rival):
    """A linear head a task by stochastic gradient descent, each on its own task alone: heads are never compared."""

    epochs, batch, learning_rate = 30, 64, 1e-3

    def __init__(self, seed: int = 0) -> None:
        self.heads: list[nn.Linear] = []
        self._generator = torch.Generator().manual_seed(seed)

    def learn(self, features: Floats, labels: Ids) -> None:
        first = sum(head.out_features for head in self.heads)
        x, y = torch.from_numpy(features), torch.from_numpy(labels - first)
        head = nn.Linear(x.shape[1], int(y.max()) + 1)
        nn.init.zeros_(head.weight)
        nn.init.zeros_(head.bias)
        optimiser = torch.optim.Adam(head.parameters(), lr=self.learning_rate)
        for _ in range(self.epochs):
            for rows in torch.randperm(len(y), generator=self._generator).split(self.batch):
                optimiser.zero_grad()
                nn.functional.cross_entropy(head(x[rows]), y[rows]).backward()
                optimiser.step()
        self.heads.append(head)

    def logits(self, features: Floats) -> Floats:
        with torch.no_grad():
            return torch.cat([head(torch.from_numpy(features)) for head in self.heads], 1).numpy()

    def state(self) -> dict[str, torch.Tensor]:
        """The heads, and where the random order of images goes on."""
        heads = [head.state_dict() for head in self.heads]
        named = {f"{place}.{name}": value for place, head in enumerate(heads) for name, value in head.items()}
        return {"order": self._generator.get_state(), **named}

    def load(self, state: dict[str, torch.Tensor]) -> None:
        """Take over what `state` gave. Raises KeyError, ValueError or RuntimeError where it does not fit."""
        self._generator.set_state(state["order"].cpu())
        self.heads = []
        while (weight := state.get(f"{len(self.heads)}.weight")) is not None:
            head = nn.Linear(weight.shape[1], weight.shape[0])
            head.load_state_dict({name: state[f"{len(self.heads)}.{name}"].cpu() for name in ("weight", "bias")})
            self.heads.append(head)

    @property
    def bytes(self) -> int:
        return sum(4 * parameter.numel() for head in self.heads for parameter in head.parameters())


class Joint(Rival):
    """Logistic regression of scikit-learn on the real features of all tasks. A fifth of them chooses the penalty, or of
    few images each fifth in turn.
    """

    inverse_penalties = (0.003, 0.01, 0.03, 0.1, 0.3)
    _CHOICE, _FEW = 4000, 1000  # images that the penalty is chosen with, at most; of which a fifth says too little

    def __init__(self, seed: int = 0) -> None:
        self.features: list[Floats] = []
        self.labels: list[Ids] = []
        self.chosen = 0.0
        self._seed = seed
        self._model: Any = None

    def learn(self, features: Floats, labels: Ids) -> None:
        self.features.append(features)
        self.labels.append(labels)
        self._model = None

    def logits(self, features: Floats) -> NDArray[Any]:
        if self._model is None:
            self.settle()
        logits = self._model.decision_function(features)
        return np.stack([-logits, logits], 1) / 2 if logits.ndim == 1 else logits

    def settle(self) -> None:
        x, y = np.concatenate(self.features), np.concatenate(self.labels)
        # Shuffled, then sorted by class, so that every class both trains and validates where it can.
        order = np.random.default_rng(self._seed).permutation(len(y))[: self._CHOICE]
        order = order[np.argsort(y[order], kind="stable")]
        right = np.zeros(len(self.inverse_penalties))
        for part in range(_VALIDATION if len(y) <= self._FEW else 1):
            held = np.arange(len(order)) % _VALIDATION == part
            train, held = order[~held], order[held]
            for place, value in enumerate(self.inverse_penalties):
                right[place] += (self._fit(x[train], y[train], value).predict(x[held]) == y[held]).sum()
        self.chosen = self.inverse_penalties[int(right.argmax())]
        self._model = self._fit(x, y, self.chosen)

    def _fit(self, x: Floats, y: Ids, inverse_penalty: float) -> Any:
        from sklearn.exceptions import ConvergenceWarning
        from sklearn.linear_model import LogisticRegression

        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ConvergenceWarning)  # 200 steps are past what changes an answer
            warnings.filterwarnings("ignore", "The number of unique classes", UserWarning)  # few images a class
            return LogisticRegression(C=inverse_penalty, max_iter=200).fit(x, y)

    @property
    def bytes(self) -> int:
        return 4 * sum(part.size for part in self.features)
