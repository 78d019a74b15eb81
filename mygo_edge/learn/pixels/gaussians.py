"""Fit a task's Gaussians: a plane of pixels for the task, clusters in it for every class, a covariance a cluster."""

import torch
from torch import Tensor
from torch.nn.functional import mse_loss

from mygo_edge.domains.domain import LearntDomain
from mygo_edge.kernels.noise import LATENT
from mygo_edge.kernels.philox import WORD
from mygo_edge.learn.fit import Descent, fit
from mygo_edge.learn.phase import Phase
from mygo_edge.learn.randomness import derived_seed, generator
from mygo_edge.model.gan import FrozenGenerator
from mygo_edge.model.gaussians import Gaussians, share_of_words
from mygo_edge.options import MemoryOptions

PLANE = 128  # dimensions kept: 92 to 97 % of the variance of tasks of MNIST and Fashion-MNIST
CLUSTERS = 8  # of a class; 1 and 30 dreamt less well of Fashion-MNIST
LEAST_MEMBERS = 20  # images a cluster, on average
LEAST_IN_CLUSTER = 5  # images; no centre is an image, or nearly one
PRIOR = 30.0  # images that the class's pooled covariance counts for, beside a cluster's own
INVISIBLE = 1e-9  # variance of pixels in [-1, 1]: they deviate by a two-hundredth of a grey level
ROUNDS = 15  # of k-means
IMITATED = 64  # dreams a step
IMITATION_STEPS = 300  # at least


@torch.no_grad()
def fit_gaussians(images: Tensor, labels: Tensor, classes: int, share: float, *names: str | int) -> Gaussians:
    """The Gaussians of a task.

    Args:
        images: [n, channels, height, width] in [-1, 1]; labels: int64 [n], each class with at least one image.
        share: of the task's dreams that are to be these.
        names: what the random start of k-means depends on.
    """
    pixels = images.flatten(1)
    mean = pixels.mean(0)
    basis = principal_plane(pixels - mean, min(PLANE, len(pixels) - 1, pixels.shape[1]), *names)
    points = (pixels - mean) @ basis.T  # [n, plane]
    counts = torch.bincount(labels, minlength=classes)
    each = max(1, min(CLUSTERS, int(counts.min()) // LEAST_MEMBERS))
    fitted = [_clusters(points[labels == label], each, *names, label) for label in range(classes)]
    centres, factors, bounds = (torch.stack(parts) for parts in zip(*fitted, strict=True))
    return Gaussians(mean, basis, centres, factors, bounds, share_of_words(share))


def principal_plane(centred: Tensor, dimensions: int, *names: str | int) -> Tensor:
    """The first principal directions, orthonormal rows [dimensions, values], by subspace iteration from a random start
    (Halko, Martinsson & Tropp 2011).
    """
    source, device = generator(centred.device, *names, "plane"), centred.device
    start = torch.randn(centred.shape[1], dimensions, generator=source, device=device)
    basis = torch.linalg.qr(centred.T @ (centred @ start)).Q
    for _ in range(4):
        basis = torch.linalg.qr(centred.T @ (centred @ basis)).Q
    return basis.T


def _clusters(points: Tensor, each: int, *names: str | int) -> tuple[Tensor, Tensor, Tensor]:
    """Centres [each, plane], factors [each, normals, plane] and bounds [each] of a class's clusters, by k-means."""
    source, device = generator(points.device, *names, "clusters"), points.device
    centres = points[torch.randperm(len(points), generator=source, device=device)[:each]].clone()
    for _ in range(ROUNDS):
        nearest = torch.cdist(points, centres).argmin(1)
        for place in nearest.unique().tolist():
            centres[place] = points[nearest == place].mean(0)
    nearest = _without_small(points, centres, torch.cdist(points, centres).argmin(1))
    apart = points - centres[nearest]
    pooled = apart.T @ apart / len(points)
    factors = []
    for place in range(each):
        own = apart[nearest == place]
        covariance = (own.T @ own + PRIOR * pooled) / (len(own) + PRIOR)
        values, vectors = _principal_axes(covariance)
        kept = min(LATENT, len(values))
        factors.append((vectors[:, -kept:] * values[-kept:].clamp_min(0).sqrt()).T)
    ends = torch.bincount(nearest, minlength=each).cumsum(0)
    return centres, torch.stack(factors), ends * (WORD + 1) // len(points)


def _principal_axes(covariance: Tensor) -> tuple[Tensor, Tensor]:
    """Eigenvalues, ascending, and eigenvectors. What rounding leaves of images that are all alike is taken for nothing:
    LAPACK fails on it, or makes NaN.
    """
    if covariance.diagonal().amax() < INVISIBLE:
        return torch.zeros_like(covariance[0]), torch.zeros_like(covariance)
    values, vectors = torch.linalg.eigh(covariance)
    return values, vectors


def _without_small(points: Tensor, centres: Tensor, nearest: Tensor) -> Tensor:
    """Which centre each point belongs to, when those of few points lose them to the others and become the mean of all:
    the centre of a single image would be that image. `centres` change in place.
    """
    counts = torch.bincount(nearest, minlength=len(centres))
    small = counts < LEAST_IN_CLUSTER
    if small.all():
        centres[:] = points.mean(0)
        return torch.zeros_like(nearest)
    if not small.any():
        return nearest
    distances = torch.cdist(points, centres).masked_fill(small, torch.inf)
    nearest = distances.argmin(1)
    for place in nearest.unique().tolist():
        centres[place] = points[nearest == place].mean(0)
    centres[small] = points.mean(0)
    return nearest


def imitate(
    gaussians: Gaussians, domain: LearntDomain, classes: int, options: MemoryOptions, phase: Phase
) -> FrozenGenerator:
    """A generator that dreams as the Gaussians do, from z and class ids alone, by regression on their dreams.

    Which Gaussian of a class dreams follows from the first normal, whose direction varies least.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derived_seed(phase.seed, "imitation", phase.label))
        actor = domain.actor(classes, width=options.width, kind=options.network).to(phase.device)
    device = phase.device

    def batch(step: int) -> tuple[Tensor, Tensor, Tensor]:
        source = generator(device, phase.seed, "imitation", phase.label, step)
        z = torch.randn(IMITATED, LATENT, generator=source, device=device)
        asked = torch.randint(classes, (IMITATED,), generator=source, device=device)
        words = (torch.special.ndtr(z[:, 0].double()) * WORD).long()
        return z, asked, gaussians(z, asked, words, domain.shape)

    def loss_of(z: Tensor, asked: Tensor, images: Tensor) -> Tensor:
        return mse_loss(actor(z, asked), images)

    total = max(options.min_steps, IMITATION_STEPS)
    fit(Descent(actor.parameters(), loss_of, batch, total, options.learning_rate, phase, actor=actor), phase)
    return actor.eval().freeze()  # type: ignore[operator]
