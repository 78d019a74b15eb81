"""What the memory of a task above a trunk is worth: how many of its own inputs it tells apart, each left out of it."""

from dataclasses import dataclass

import numpy as np

from mygo_edge.bundle.gaussian import ClassMeans, Floats, Ids, Precision, SharedFactor, mahalanobis

ENOUGH = 0.5  # of what is between guessing and always right; below it, what is remembered is poor
_INPUTS = 200  # looked at, at most


@dataclass(frozen=True, slots=True)
class MemoryReport:
    """dreamt_by: what sleeps and devices dream with. told_apart: share of the task's inputs that get their class among
    the task's by a memory without them; None where that could not be measured. poor: it is nearer to guessing.
    """

    dreamt_by: str
    told_apart: float | None
    poor: bool


def memory_report(told_apart: float | None, classes: int) -> MemoryReport:
    """Of a task of so many classes."""
    chance = 1 / classes
    poor = told_apart is not None and told_apart < chance + ENOUGH * (1 - chance)
    return MemoryReport("gaussians", told_apart, poor)


def poverty(task: str, report: MemoryReport, classes: int, own_trunk: bool) -> str:
    """What to say of a task of so many classes whose memory is poor, and what to do about it, which depends on whether
    the trunk is of the learner's own.
    """
    other = "learn photographs above --trunk efficientnet-lite0" if own_trunk else "take another --trunk"
    return (
        f"the memory of {task} is poor: {report.told_apart:.0%} of its own inputs, each left out of it, are told "
        f"apart, where guessing gets {1 / classes:.0%}. So its dreams often show another class than was asked for: "
        f"give the task more inputs, or {other}"
    )


def told_apart(shared: SharedFactor, precision: Precision, means: ClassMeans, vectors: Floats, labels: Ids) -> float:
    """By a factor that was made before the task, and the task's means, of which each input is taken out.

    Args:
        shared, precision: of earlier tasks.
        means: of the task's classes, of two inputs or more.
        vectors: [n, features] in the transformed space.
        labels: [n], counted within the task.
    """
    chosen = np.random.default_rng(0).permutation(len(labels))[:_INPUTS]
    own, rows = labels[chosen], np.arange(len(chosen))
    found = mahalanobis(vectors[chosen], means, shared, precision)
    counts = means.counts[own]
    found[rows, own] *= (counts / (counts - 1)) ** 2  # without it, its mean lies so much farther off
    return float((found.argmin(1) == own).mean())
