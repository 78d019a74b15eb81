"""Gaussians as a task's second memory: what they dream, and when sleeps dream with them alone."""

from dataclasses import replace

import pytest
import torch

from mygo_edge.domains.pixels import Pixels
from mygo_edge.learn.phase import Phase
from mygo_edge.learn.pixels import remember as remember_module
from mygo_edge.learn.pixels.gaussians import fit_gaussians
from mygo_edge.learn.pixels.memorise import GanFailedError
from mygo_edge.learn.pixels.methods import MyGO, add_head, new_net
from mygo_edge.learn.pixels.remember import remember
from mygo_edge.learn.pixels.wake import fine_tune
from mygo_edge.model.gan import FrozenGenerator, Generator
from mygo_edge.model.memory import GenerativeMemory
from mygo_edge.options import MemoryOptions, TrainOptions, WakeOptions
from tests.tasks import tasks_of

CPU = torch.device("cpu")
DIGITS = Pixels((1, 8, 8))
OPTIONS = TrainOptions(
    tasks="0,1/2,3,4", memory=MemoryOptions(epochs=1, min_steps=30, batch_size=32, width=16, restarts=0)
)


@pytest.fixture(scope="module")
def task():
    return tasks_of(OPTIONS, DIGITS)[1]


@pytest.fixture(scope="module")
def expert(task):
    net = new_net(DIGITS, 0, CPU)
    add_head(net, task, 0)
    fine_tune(net, 0, task, DIGITS, WakeOptions(epochs=1, min_steps=100, batch_size=64), Phase(CPU, 0))
    return net.requires_grad_(False)


@pytest.fixture(scope="module")
def gaussians(task):
    return fit_gaussians(task.train.inputs, task.train.labels, 3, 0.5, 0, "test")


def noise(count, classes=3):
    source = torch.Generator().manual_seed(0)
    z = torch.randn(count, 64, generator=source)
    class_ids = torch.randint(classes, (count,), generator=source)
    return z, class_ids, torch.randint(2**32, (count,), generator=source)


def test_gaussians_have_each_class_mean_and_spread(gaussians, task):
    z, class_ids, words = noise(6000)
    dreams = gaussians(z, class_ids, words, (1, 8, 8))
    assert dreams.shape == (6000, 1, 8, 8)
    assert dreams.abs().max() <= 1
    for label in range(3):
        dreamt, real = dreams[class_ids == label], task.train.inputs[task.train.labels == label]
        torch.testing.assert_close(dreamt.mean(0), real.mean(0), atol=0.15, rtol=0)
        assert dreamt.std(0).mean() == pytest.approx(real.std(0).mean().item(), rel=0.2)


def test_the_expert_recognises_what_gaussians_dream(gaussians, expert):
    z, class_ids, words = noise(900)
    answers = expert(gaussians(z, class_ids, words, (1, 8, 8))).argmax(1)
    assert (answers == class_ids).float().mean() > 0.9


def test_two_images_a_class_are_enough_to_fit(task):
    rows = torch.cat([(task.train.labels == label).nonzero()[:2, 0] for label in range(3)])
    few = fit_gaussians(task.train.inputs[rows], task.train.labels[rows], 3, 1.0, 0, "few")
    assert torch.isfinite(few(*noise(50), (1, 8, 8))).all()


def test_a_class_of_images_that_are_all_alike_is_a_point(task):
    images = torch.cat([task.train.inputs[:59], task.train.inputs[:1].expand(59, -1, -1, -1)])
    for blank in (1.0, -1.0, 0.3):
        images[59:] = blank
        fitted = fit_gaussians(images, torch.arange(2).repeat_interleave(59), 2, 1.0, 0, "blank")
        z, class_ids, words = noise(200, 2)
        dreams = fitted(z, class_ids, words, (1, 8, 8))
        assert dreams.isfinite().all()
        torch.testing.assert_close(
            dreams[class_ids == 1], torch.full_like(dreams[class_ids == 1], blank), atol=0.01, rtol=0
        )
        assert dreams[class_ids == 0].std(0).mean() > 0.1


def memory_of(gaussians, share):
    torch.manual_seed(1)
    memory = GenerativeMemory((1, 8, 8))
    for second in (None, gaussians):
        frozen = Generator((1, 8, 8), 3, 16).eval().freeze()
        frozen.gaussians = second
        memory.add(frozen)
    gaussians.chosen.fill_(round(share * 2**32))
    return memory


def test_which_memory_dreams_is_part_of_the_dream(gaussians):
    alone, both, second = (memory_of(gaussians, share) for share in (0.0, 0.5, 1.0))
    where = {"seed": 3, "stream": 5, "step": 7}
    dreams = []
    for memory, share in ((alone, 0.0), (both, 0.5), (second, 1.0)):
        gaussians.chosen.fill_(round(share * 2**32))
        dreams.append(memory.dream([40, 200], **where))
        steps = memory.dream([40, 200], **where, steps=2).images.unflatten(0, (2, -1))[0]
        parts = [memory.dream([40, 200], **where, part=(rank, 3)).images for rank in range(3)]
        tasks = memory.dream(torch.tensor([0] * 40 + [1] * 200), **where).images
        woven = torch.empty_like(steps)
        for rank, part in enumerate(parts):
            woven[rank::3] = part
        for other in (steps, woven, tasks):
            torch.testing.assert_close(other, dreams[-1].images, atol=1e-5, rtol=1e-5)
    gan, mixed, gaussian = (batch.images for batch in dreams)
    assert torch.equal(gan[:40], mixed[:40])  # this task has no Gaussians
    from_gan = (mixed[40:] - gan[40:]).flatten(1).abs().amax(1) < 1e-5
    from_gaussians = (mixed[40:] - gaussian[40:]).flatten(1).abs().amax(1) < 1e-5
    assert (from_gan ^ from_gaussians).all()
    assert 0.35 < from_gaussians.float().mean() < 0.65
    assert all(torch.equal(batch.class_ids, dreams[0].class_ids) for batch in dreams)


def test_mixed_precision_around_a_dream_of_gaussians_does_not_change_it(gaussians):
    memory, where = memory_of(gaussians, 0.5), {"seed": 3, "stream": 5, "step": 7}
    plain = memory.dream([40, 40], **where).images
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(memory.dream([40, 40], **where).images, plain)


def test_gaussians_outlive_a_checkpoint_and_stay_at_home(gaussians):
    frozen = memory_of(gaussians, 0.25).generators[1]
    again = FrozenGenerator.from_tensors((1, 8, 8), "convolutional", frozen.state_dict())
    assert again.state_dict().keys() == frozen.state_dict().keys()
    z, class_ids, words = noise(20)
    assert torch.equal(again.gaussians(z, class_ids, words, (1, 8, 8)), gaussians(z, class_ids, words, (1, 8, 8)))
    assert not any("gaussians" in name for name in frozen.for_devices().state_dict())


def test_a_poor_gan_leaves_sleeps_to_the_gaussians(task, expert):
    frozen, report = remember(task, DIGITS, expert, replace(OPTIONS.memory, min_steps=5), Phase(CPU, 0))
    assert report.dreamt_by == "gaussians"
    assert frozen.gaussians.chosen == 2**32
    assert report.recognised > 0.9
    assert not report.poor


def test_where_the_gan_fails_its_generator_imitates_the_gaussians(task, expert, monkeypatch):
    def failing(*_):
        raise GanFailedError("task0", 1, ["deaf"])

    monkeypatch.setattr(remember_module, "memorise", failing)
    frozen, report = remember(task, DIGITS, expert, OPTIONS.memory, Phase(CPU, 0))
    assert report.dreamt_by == "gaussians"
    z, class_ids, _ = noise(300)
    assert (expert(frozen.for_devices()(z, class_ids)).argmax(1) == class_ids).float().mean() > 0.8
    with pytest.raises(GanFailedError):
        remember(task, DIGITS, expert, replace(OPTIONS.memory, gaussians=0.0), Phase(CPU, 0))


def test_poor_dreams_are_said_to_be_poor(task, monkeypatch, capsys):
    method = MyGO(DIGITS, replace(OPTIONS, memory=replace(OPTIONS.memory, min_steps=5, gaussians=0.0)), CPU)
    monkeypatch.setattr("mygo_edge.learn.pixels.memorise._check", lambda *_: None)
    for phase in method.phases(0, [task])[:3]:
        phase.work(Phase(CPU, 0))
    assert method.memories[0]["poor"]
    assert "warning: the dreams of task1 are poor" in capsys.readouterr().err


def test_no_centre_is_a_single_image() -> None:
    crowd, loner = torch.randn(200, 1, 8, 8) * 0.1, torch.full((1, 1, 8, 8), 5.0)
    images = torch.cat([crowd, loner])
    found = fit_gaussians(images, torch.zeros(201, dtype=torch.long), 1, 0.5, "loner")
    centres = found.mean + found.centres[0] @ found.basis  # [clusters, pixels]
    assert len(centres) == 8
    assert (centres - loner.flatten()).norm(dim=1).min() > 20
