"""The loss of a sleep: what it is made of, what it leaves alone, and its gradients."""

import pytest
import torch

from mygo_edge.learn.pixels.distillation import (
    DistillationTarget,
    HeadErrors,
    centred_heads,
    distillation_loss,
    head_errors,
)

WIDTHS = [2, 5, 1, 3]
COUNTS = [5, 9, 4, 1]
INNER = 7


class Problem:
    """A batch: the student's logits, what it is taught, and whose samples they are."""

    def __init__(self, widths=WIDTHS, counts=COUNTS, dtype=torch.float64, **options):
        source = torch.Generator().manual_seed(0)

        def normal(*shape):
            return torch.randn(*shape, generator=source, dtype=torch.float64).to(dtype)

        batch, classes = sum(counts), sum(widths)
        self.widths, self.task_ids = widths, torch.arange(len(counts)).repeat_interleave(torch.tensor(counts))
        self.errors = head_errors(widths, counts, **{"other_heads": 0.7, **options})
        self.logits, self.teacher_features = normal(batch, classes), normal(batch, INNER)
        self.target = DistillationTarget(normal(classes, INNER), normal(classes), limit=1.5, other_target=-8.0)

    def loss(self, logits):
        return distillation_loss(logits, self.teacher_features, self.target, self.task_ids, self.errors)

    def by_hand(self, other_heads=0.7, task_entropy=0.0):
        """The definition, one sample and one head at a time."""
        total = 0.0
        for said, features, task in zip(self.logits, self.teacher_features, self.task_ids.tolist(), strict=True):
            taught = (self.target.weight @ features + self.target.bias).clamp(-1.5, 1.5).split(self.widths)
            heads = list(said.split(self.widths))
            errors = [(head.mean() + 8.0) ** 2 for head in heads]
            errors[task] = ((heads[task] - taught[task]) ** 2).mean()
            total += errors[task] + other_heads * sum(errors) / len(errors)
            total -= task_entropy * said.softmax(0).split(self.widths)[task].sum().log()
        return total / len(self.logits)


@pytest.mark.parametrize("counts", [COUNTS, [3, 0, 4, 2]])
def test_the_loss_is_the_own_heads_error_plus_the_mean_error_of_all_heads(counts):
    problem = Problem(counts=counts)
    torch.testing.assert_close(problem.loss(problem.logits).double(), problem.by_hand(), rtol=1e-6, atol=0)
    alone = Problem(counts=counts, other_heads=0.0)
    torch.testing.assert_close(alone.loss(alone.logits), alone.by_hand(0.0), rtol=1e-6, atol=0)


def test_the_task_is_taught_by_cross_entropy_of_the_softmax_over_all_heads():
    problem = Problem(task_entropy=3.0)
    expected = problem.by_hand(task_entropy=3.0)
    torch.testing.assert_close(problem.loss(problem.logits).double(), expected, rtol=1e-6, atol=0)
    assert torch.isfinite(problem.loss(1e4 * problem.logits))


@pytest.mark.parametrize("task_entropy", [0.0, 3.0])
def test_gradients_agree_with_finite_differences(task_entropy):
    problem = Problem(task_entropy=task_entropy)
    assert torch.autograd.gradcheck(problem.loss, (problem.logits.requires_grad_(True),))


def test_which_class_another_head_sees_is_left_alone():
    problem = Problem()
    (gradient,) = torch.autograd.grad(problem.loss(problem.logits.requires_grad_(True)), problem.logits)
    for task, of_a_task in enumerate(gradient.split(COUNTS)):
        for head, of_a_head in enumerate(of_a_task.split(WIDTHS, 1)):
            if head != task:
                torch.testing.assert_close(of_a_head, of_a_head[:, :1].expand_as(of_a_head))  # moves all alike
    moved = [part - part.mean(1, keepdim=True) for part in torch.randn_like(problem.logits).split(WIDTHS, 1)]
    elsewhere = torch.where(problem.errors.head_of_class == problem.task_ids[:, None], 0.0, torch.cat(moved, 1))
    torch.testing.assert_close(problem.loss(problem.logits + elsewhere), problem.loss(problem.logits))


def test_a_head_counts_once_however_many_classes_it_has():
    def pull_on_the_other_head(width):
        errors = head_errors([2, width], [1, 1], other_heads=1.0)
        logits = torch.zeros(1, 2 + width, requires_grad=True)
        target = DistillationTarget(torch.zeros(2 + width, 3), torch.zeros(2 + width), 5.0, -8.0)
        loss = distillation_loss(logits, torch.zeros(1, 3), target, torch.tensor([0]), errors)
        return loss.item(), torch.autograd.grad(loss, logits)[0][0, 2:].sum().item()

    assert pull_on_the_other_head(2) == pytest.approx(pull_on_the_other_head(50))


def test_a_student_that_says_what_is_asked_has_no_loss():
    problem = Problem()
    taught = (problem.teacher_features @ problem.target.weight.T + problem.target.bias).clamp(-1.5, 1.5)
    own = problem.errors.head_of_class == problem.task_ids[:, None]
    assert problem.loss(torch.where(own, taught, -8.0)).item() == pytest.approx(0.0, abs=1e-12)


def test_task_weights_are_relative_and_silence_a_task():
    def loss(*weights):
        problem = Problem([2, 3], [2, 2], task_weights=weights)
        return problem.loss(problem.logits)

    torch.testing.assert_close(loss(1.0, 3.0), loss(2.0, 6.0))
    problem = Problem([2, 3], [2, 2], task_weights=(1.0, 0.0))
    changed = torch.cat([problem.logits[:2], torch.full_like(problem.logits[2:], 100.0)])
    torch.testing.assert_close(problem.loss(changed), problem.loss(problem.logits))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_sums_in_single(dtype):
    problem = Problem(dtype=dtype)
    loss = problem.loss(problem.logits)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(problem.by_hand().item(), rel=4 * torch.finfo(dtype).eps)


@pytest.mark.parametrize(
    "arguments", [([2], [1, 1]), ([2, 2], [1, -1]), ([2, 2], [0, 0]), ([2, 0], [1, 1]), ([2, 2], [1, 1], [1.0])]
)
def test_heads_that_cannot_be_are_refused(arguments):
    widths, counts, *weights = arguments
    with pytest.raises(ValueError, match=r"match|negative|weight"):
        head_errors(widths, counts, other_heads=1.0, task_weights=weights[0] if weights else None)


def test_centred_heads_give_centred_logits():
    problem = Problem()
    features, weight, bias = problem.teacher_features, problem.target.weight, problem.target.bias
    logits = features @ weight.T + bias
    centred = torch.cat([part - part.mean(1, keepdim=True) for part in logits.split(WIDTHS, 1)], 1)
    moved_weight, moved_bias = centred_heads(weight, bias, WIDTHS)
    torch.testing.assert_close(features @ moved_weight.T + moved_bias, centred)


def test_the_errors_weights_are_plain_tensors():
    errors = head_errors([2, 3], [1, 1], other_heads=1.0)
    assert isinstance(errors, HeadErrors)
    assert errors.head_of_class.tolist() == [0, 0, 1, 1, 1]
    assert errors.averaging.tolist() == [[0.5, 0.5, 0, 0, 0], [0, 0, *[pytest.approx(1 / 3)] * 3]]
