"""A task's whole memory: a GAN, a few Gaussians a class beside it, and the choice which of them sleeps dream with."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from mygo_edge.data.tasks import Task
from mygo_edge.domains.domain import LearntDomain
from mygo_edge.kernels.noise import LATENT
from mygo_edge.kernels.philox import WORD
from mygo_edge.learn.phase import Phase
from mygo_edge.learn.pixels.gaussians import fit_gaussians, imitate
from mygo_edge.learn.pixels.memorise import GanFailedError, memorise
from mygo_edge.learn.randomness import generator
from mygo_edge.model.gan import FrozenGenerator
from mygo_edge.model.gaussians import share_of_words
from mygo_edge.options import MemoryOptions

Dreamer = Literal["gan", "gan and gaussians", "gaussians"]

JUDGED = 400  # dreams, and real images, a class
ENOUGH = 0.75  # of what the expert recognises of the real images, both above chance; below it, dreams are poor


@dataclass(frozen=True, slots=True)
class MemoryReport:
    """What became of a task's memory.

    dreamt_by: what sleeps dream with. recognised, recognised_real: share of the dreams and of the real images whose
    class the task's expert says. poor: the dreams fall far behind the real images.
    """

    dreamt_by: Dreamer
    recognised: float
    recognised_real: float
    poor: bool


def remember(
    task: Task, domain: LearntDomain, expert: Callable[[Tensor], Tensor], options: MemoryOptions, phase: Phase
) -> tuple[FrozenGenerator, MemoryReport]:
    """The generator of `task`, with its Gaussians where the options ask for them, and what their dreams are worth.

    Sleeps dream with both. They dream with the Gaussians alone where a GAN's dreams are poor and theirs are better, or
    where the GAN failed in every attempt: then the generator, which devices get, has learnt to imitate them.

    Args:
        expert: maps inputs to the task's logits, and tells whether the classes are dreamt recognisably.

    Raises:
        GanFailedError: the GAN failed in every attempt, and there are no Gaussians to take its place.
    """
    classes, device = len(task.classes), phase.device
    images, labels = task.train.inputs.to(device), task.train.labels.to(device)
    rows = torch.cat([(labels == label).nonzero()[:JUDGED, 0] for label in range(classes)])
    real = _recognised(expert, images[rows], labels[rows])
    source = generator(device, phase.seed, "judged dreams", task.name)
    z = torch.randn(JUDGED * classes, LATENT, generator=source, device=device)
    words = torch.randint(WORD + 1, (len(z),), generator=source, device=device)
    asked = torch.arange(classes, device=device).repeat_interleave(JUDGED)

    gaussians, failure = None, None
    if options.gaussians:
        names = (phase.seed, "gaussians", task.name)
        gaussians = fit_gaussians(images, labels, classes, options.gaussians, *names)
    try:
        frozen = memorise(task, domain, expert, options, phase)
    except GanFailedError as reason:
        if gaussians is None:
            raise
        frozen, failure = imitate(gaussians, domain, classes, options, phase), reason
    recognised = 0.0 if failure else _recognised(expert, frozen(z, asked), asked)
    least = 1 / classes + ENOUGH * (real - 1 / classes)
    dreamt_by: Dreamer = "gan"
    if gaussians is not None:
        frozen.gaussians = gaussians
        theirs = _recognised(expert, gaussians(z, asked, words, frozen.shape), asked)
        if recognised < min(least, theirs) or failure:
            gaussians.chosen.copy_(share_of_words(1.0))
            why = (
                f"it failed: {failure.reasons}"
                if failure
                else f"the expert recognises only {recognised:.0%} of the GAN's dreams"
            )
            phase.note(f"{task.name}: Gaussians dream in the GAN's place ({why})")
            dreamt_by, recognised = "gaussians", theirs
        else:
            dreamt_by = "gan and gaussians"
            recognised += options.gaussians * (theirs - recognised)
    return frozen, MemoryReport(dreamt_by, recognised, real, recognised < least)


@torch.no_grad()
def _recognised(expert: Callable[[Tensor], Tensor], images: Tensor, class_ids: Tensor) -> float:
    """Share of images whose class the expert says."""
    return (expert(images).argmax(1) == class_ids).double().mean().item()
