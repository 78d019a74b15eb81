"""Dreams made ahead, in parts or for a fixed batch are the dreams of the plain sleep."""

from functools import partial

import pytest
import torch

from mygo_edge.domains.pixels import Pixels, network
from mygo_edge.learn.pixels.lessons import Lessons, Plan, plan_dreams
from mygo_edge.learn.team import Team
from mygo_edge.model.gan import Generator
from mygo_edge.model.memory import GenerativeMemory

SHAPE = (1, 8, 8)


@pytest.fixture(scope="module")
def memory():
    torch.manual_seed(0)
    memory = GenerativeMemory(SHAPE)
    for classes in (2, 3, 2):
        memory.add(Generator(SHAPE, classes).eval().freeze())
    return memory


@pytest.fixture(scope="module")
def teachers():
    torch.manual_seed(1)
    return [network(SHAPE).requires_grad_(False).features for _ in range(2)]


def lessons(memory, teachers, plan, **options):
    settings = {
        "new_task": 2,
        "seed": 3,
        "stream": 1001,
        "width": 256,
        "augmented": partial(Pixels(SHAPE).augmented_dreams, share=0.2),
        "total": 7,
        **options,
    }
    return Lessons(memory, plan, *teachers, **settings)


def check_equal(lesson, expected):
    torch.testing.assert_close(lesson.dreams, expected.dreams, atol=1e-6, rtol=0)
    torch.testing.assert_close(lesson.teacher_features, expected.teacher_features, atol=1e-5, rtol=1e-5)
    assert torch.equal(lesson.task_ids, expected.task_ids)


PLANS = {
    "as many of each task": Plan((4, 4, 4)),
    "uneven": Plan((2, 3, 3)),
    "more tasks than dreams": Plan((1, 1, 2), 2),
}


@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS.keys())
@pytest.mark.parametrize("megabytes", [0.05, 1.0])
def test_lessons_made_ahead_are_the_plain_ones(memory, teachers, plan, megabytes):
    plain = lessons(memory, teachers, plan)
    ahead = lessons(memory, teachers, plan, ahead_bytes=megabytes * 1e6)
    assert plain.rounds_ahead == 1 < ahead.rounds_ahead
    for step in (0, 1, 2, 3, 4, 5, 6, 0, 5):  # and in any order
        check_equal(ahead(step), plain(step))
    steps = plan.steps
    rounds = sorted(ahead.of_rounds(2, 5), key=lambda lesson: lesson.dreams.flatten().tolist())
    singly = sorted(map(plain, range(2 * steps, 7 * steps)), key=lambda lesson: lesson.dreams.flatten().tolist())
    for lesson, expected in zip(rounds, singly, strict=True):  # whatever their order
        check_equal(lesson, expected)


@pytest.mark.parametrize("plan", PLANS.values(), ids=PLANS.keys())
def test_the_shares_of_a_team_are_the_whole_lesson(memory, teachers, plan):
    whole = lessons(memory, teachers, plan)
    members = [lessons(memory, teachers, plan, ahead_bytes=1e5, team=Team(rank, 2)) for rank in range(2)]
    for step in range(4):
        expected = whole(step)
        for rank, member in enumerate(members):
            check_equal(member(step), type(expected)(*(part[rank::2] for part in expected)))


def test_each_dream_is_seen_by_the_teacher_that_knows_its_task(memory, teachers):
    lesson = lessons(memory, teachers, Plan((3, 2, 4)))(0)
    old, new = teachers
    torch.testing.assert_close(lesson.teacher_features[:5], old(lesson.dreams[:5]), atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(lesson.teacher_features[5:], new(lesson.dreams[5:]), atol=1e-5, rtol=1e-5)


def test_memory_ahead_is_bounded(memory, teachers):
    plan = Plan((8, 8, 8))
    round_bytes = 24 * (64 + 256) * 4
    assert lessons(memory, teachers, plan, ahead_bytes=2.9 * round_bytes).rounds_ahead == 2
    assert lessons(memory, teachers, plan, ahead_bytes=0).rounds_ahead == 1
    first, second = (lessons(memory, teachers, plan, ahead_bytes=2 * round_bytes)(0).dreams for _ in range(2))
    assert first.data_ptr() != second.data_ptr()


@pytest.mark.parametrize("tasks", [1, 3, 5, 64, 65, 200])
def test_a_fixed_batch_is_divided_evenly_and_every_task_counts_alike(tasks):
    plan = plan_dreams(tasks, per_task=48, batch_size=64)
    assert plan.batch_size == 64
    assert len(plan.counts) == tasks
    assert min(plan.counts) >= 1
    assert max(plan.counts) - min(plan.counts) <= 1
    weighed = [weight * count for weight, count in zip(plan.task_weights, plan.counts, strict=True)]
    assert weighed == pytest.approx([weighed[0]] * tasks)
    assert plan_dreams(tasks, per_task=48, batch_size=None) == Plan((48,) * tasks)
