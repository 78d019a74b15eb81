"""The distillation operators: what they compute, their gradients, and both backends on the same cases.

Without CUDA the Triton kernels run in Triton's interpreter; tests/kernels/conftest.py turns it on.
"""

import pytest
import torch

from mygo_edge.kernels.distill import (
    Heads,
    Teacher,
    _distill_heads,
    _distill_logits,
    centred_heads,
    distillation_loss,
    head_distillation_loss,
    heads_for,
    own_columns,
    reference_loss,
    reference_target,
)

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
RULE = {"limit": 1.5, "other_target": -4.0}
# widths of the heads, samples of each task, features
CASES = {
    "two equal heads": ([2, 2], [16, 16], 32),
    "heads of different widths": ([2, 5, 1, 3], [5, 9, 4, 1], 37),
    "an empty task": ([3, 2, 4], [7, 0, 12], 64),
    "one class in all": ([1], [3], 5),
    "one sample": ([2, 3], [0, 1], 256),
    "more samples than a share": ([3, 3], [150, 131], 24),
    "hundreds of heads": ([2] * 70 + [1, 3] * 30, [1] * 130, 48),
    "features beyond a tile": ([4, 2], [20, 13], 300),
}


class Problem:
    """A batch: student and teacher as features and heads, and whose samples they are."""

    def __init__(self, widths, counts, inner, dtype=torch.float32, seed=0, **options):
        source = torch.Generator().manual_seed(seed)

        def normal(*shape, scale=1.0):
            return (torch.randn(*shape, generator=source, dtype=torch.float64) * scale).to(DEVICE, dtype)

        batch, classes = sum(counts), sum(widths)
        self.widths = widths
        self.task_ids = torch.arange(len(counts)).repeat_interleave(torch.tensor(counts)).to(DEVICE)
        options = {"other_heads": 0.7, **options}
        self.heads = heads_for(widths, counts, device=torch.device(DEVICE), **options)
        self.student = [normal(batch, inner), normal(classes, inner, scale=inner**-0.5), normal(classes)]
        self.teacher = Teacher(normal(batch, inner), normal(classes, inner, scale=inner**-0.5), normal(classes))

    def leaves(self):
        return [part.detach().clone().requires_grad_(True) for part in self.student]

    def loss(self, leaves, **options):
        options = {**RULE, **options}
        return head_distillation_loss(*leaves, self.teacher, self.task_ids, self.heads, **options)

    def in_double(self):
        """Loss and gradients by PyTorch's own derivatives of the reference, in double precision."""
        leaves = [part.detach().double().requires_grad_(True) for part in self.student]
        features, weight, bias = leaves
        taught = self.teacher.features.double() @ self.teacher.weight.double().T + self.teacher.bias.double()
        own = own_columns(self.task_ids, self.heads, len(bias))
        target = reference_target(taught, own, RULE["limit"], RULE["other_target"])
        loss = reference_loss(features @ weight.T + bias, target, self.task_ids, self.heads)
        return loss, torch.autograd.grad(loss, leaves)


def relative_error(found, expected):
    return ((found.double() - expected).norm() / expected.norm().clamp_min(1e-12)).item()


@pytest.fixture(params=["torch", "triton"])
def backend(request):
    if request.param == "triton":
        pytest.importorskip("triton")
    return request.param


def test_the_loss_is_own_head_error_plus_weighted_error_over_all_heads():
    student = torch.tensor([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]])
    target = torch.tensor([[0.0, 2.0, -1.0], [0.0, 1.0, 2.0]])
    task_ids = torch.tensor([0, 1])
    own_head = (1.0 + 0.0 + 4.0) / 3
    all_heads = (1.0 + 0.0 + 16.0 + 0.0 + 1.0 + 4.0) / 6
    for other_heads in (0.5, 0.0):
        loss = distillation_loss(student, target, task_ids, heads_for([2, 1], [1, 1], other_heads=other_heads))
        assert torch.isclose(loss, torch.tensor(own_head + other_heads * all_heads))


def test_task_weights_are_relative_and_silence_a_task():
    student, target = torch.randn(4, 3), torch.randn(4, 3)
    task_ids = torch.tensor([0, 0, 1, 1])

    def loss(*weights):
        heads = heads_for([2, 1], [2, 2], other_heads=1.0, task_weights=weights)
        return distillation_loss(student, target, task_ids, heads)

    torch.testing.assert_close(loss(1.0, 3.0), loss(2.0, 6.0))
    alone = heads_for([2, 1], [2, 0], other_heads=1.0)
    torch.testing.assert_close(loss(1.0, 0.0), distillation_loss(student[:2], target[:2], task_ids[:2], alone))


@pytest.mark.parametrize("arguments", [([2], [1, 1]), ([2, 2], [1, -1]), ([2, 2], [0, 0])])
def test_heads_that_cannot_be_are_refused(arguments):
    with pytest.raises(ValueError, match=r"match|negative|weight"):
        heads_for(*arguments, other_heads=1.0)


def test_centred_heads_give_centred_logits():
    problem = Problem([2, 5, 1], [3, 3, 3], 16, torch.float64)
    features, weight, bias = problem.student
    logits = features @ weight.T + bias
    centred = torch.cat([part - part.mean(1, keepdim=True) for part in logits.split(problem.widths, 1)], 1)
    moved_weight, moved_bias = centred_heads(weight, bias, problem.widths)
    torch.testing.assert_close(features @ moved_weight.T + moved_bias, centred)


@pytest.mark.parametrize("case", CASES)
def test_loss_and_gradients_agree_with_the_reference_in_double_precision(case, backend):
    problem = Problem(*CASES[case])
    expected_loss, expected = problem.in_double()
    leaves = problem.leaves()
    loss = problem.loss(leaves, backend=backend)
    assert loss.dtype == torch.float32
    assert relative_error(loss, expected_loss) < 2e-6
    for found, wanted in zip(torch.autograd.grad(loss, leaves), expected, strict=True):
        assert relative_error(found, wanted) < 2e-6


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_stays_within_its_rounding(dtype, backend):
    problem = Problem([2, 5, 1, 3], [5, 9, 4, 1], 37, dtype)
    expected_loss, expected = problem.in_double()
    leaves = problem.leaves()
    loss = problem.loss(leaves, backend=backend)
    bound = 4 * torch.finfo(dtype).eps
    assert relative_error(loss, expected_loss) < bound
    for found, wanted in zip(torch.autograd.grad(loss, leaves), expected, strict=True):
        assert found.dtype == dtype
        assert relative_error(found, wanted) < bound


@pytest.mark.parametrize("case", CASES)
def test_logits_against_logits_agree_with_the_reference(case, backend):
    problem = Problem(*CASES[case])
    features, weight, bias = problem.student
    student = (features @ weight.T + bias).requires_grad_(True)
    target = problem.teacher.features @ problem.teacher.weight.T
    in_double = student.detach().double().requires_grad_(True)
    expected = reference_loss(in_double, target.double(), problem.task_ids, problem.heads)
    loss = distillation_loss(student, target, problem.task_ids, problem.heads, backend=backend)
    assert relative_error(loss, expected) < 1e-6
    (found,), (wanted,) = torch.autograd.grad(loss, student), torch.autograd.grad(expected, in_double)
    assert relative_error(found, wanted) < 1e-6


def test_without_a_target_for_other_heads_the_teacher_teaches_all_of_them(backend):
    problem = Problem([2, 3], [4, 5], 16)
    same = Teacher(*problem.student)
    loss = head_distillation_loss(*problem.leaves(), same, problem.task_ids, problem.heads, backend=backend)
    assert loss.item() == 0.0
    others = problem.loss(problem.student, other_target=None, limit=float("inf"), backend=backend)
    features, weight, bias = problem.student
    target = problem.teacher.features @ problem.teacher.weight.T + problem.teacher.bias
    expected = reference_loss(features @ weight.T + bias, target, problem.task_ids, problem.heads)
    torch.testing.assert_close(others, expected)


def test_the_upstream_gradient_is_passed_on(backend):
    problem = Problem([2, 3], [4, 5], 16)
    leaves = problem.leaves()
    once = torch.autograd.grad(problem.loss(leaves, backend=backend), leaves)
    thrice = torch.autograd.grad(3 * problem.loss(leaves, backend=backend), leaves)
    for a, b in zip(once, thrice, strict=True):
        torch.testing.assert_close(3 * a, b)


def test_equal_inputs_give_equal_bits(backend):
    problem = Problem(*CASES["more samples than a share"])
    first, second = (
        torch.autograd.grad(problem.loss(leaves, backend=backend), leaves)
        for leaves in (problem.leaves(), problem.leaves())
    )
    assert all(torch.equal(a, b) for a, b in zip(first, second, strict=True))


@pytest.mark.parametrize("wrong", range(5))
def test_shapes_that_do_not_match_are_refused(wrong):
    problem = Problem([2, 3], [4, 5], 16)
    arguments = [*problem.student, problem.teacher, problem.task_ids, problem.heads]
    if wrong == 3:
        arguments[3] = problem.teacher._replace(weight=problem.teacher.weight[1:])
    else:
        arguments[wrong] = arguments[wrong][1:]
    with pytest.raises(ValueError, match="do not match"):
        head_distillation_loss(*arguments)
    with pytest.raises(ValueError, match="do not match"):
        distillation_loss(torch.zeros(3, 2), torch.zeros(3, 1), problem.task_ids[:3], problem.heads)


def test_gradients_agree_with_finite_differences():
    problem = Problem([2, 3, 1], [2, 3, 1], 4, torch.float64)
    assert torch.autograd.gradcheck(lambda *leaves: problem.loss(leaves, backend="torch"), problem.leaves())
    logits = torch.randn(6, 6, dtype=torch.float64, device=DEVICE, requires_grad=True)
    target = torch.randn(6, 6, dtype=torch.float64, device=DEVICE)
    form = lambda logits: distillation_loss(logits, target, problem.task_ids, problem.heads)  # noqa: E731
    assert torch.autograd.gradcheck(form, (logits,))


def test_the_operators_pass_opcheck(backend):
    problem = Problem([2, 3], [4, 5], 16)
    tables = (problem.task_ids, *problem.heads)
    arguments = (*problem.leaves(), *problem.teacher, *tables, 1.5, -4.0, backend)
    torch.library.opcheck(_distill_heads, arguments)
    logits = torch.randn(9, 5, device=DEVICE, requires_grad=True)
    torch.library.opcheck(_distill_logits, (logits, torch.randn(9, 5, device=DEVICE), *tables, backend))


# --- What only the kernels can get wrong ------------------------------------------------------------------------------


@pytest.fixture
def kernels():
    pytest.importorskip("triton")
    from mygo_edge.kernels import distill_triton

    return distill_triton


@pytest.mark.parametrize("case", ["heads of different widths", "features beyond a tile", "an empty task"])
def test_every_element_of_poisoned_buffers_is_written(case, kernels, monkeypatch):
    def poisoned(make):
        return lambda *arguments, **options: make(*arguments, **options).fill_(float("nan"))

    problem = Problem(*CASES[case])
    clean = kernels.distill_heads(*problem.student, problem.teacher, problem.task_ids, problem.heads, 1.5, -4.0)
    monkeypatch.setattr(torch, "empty", poisoned(torch.empty))
    monkeypatch.setattr(torch, "empty_like", poisoned(torch.empty_like))
    again = kernels.distill_heads(*problem.student, problem.teacher, problem.task_ids, problem.heads, 1.5, -4.0)
    features, weight, _ = problem.student
    logits = kernels.distill_logits(features @ weight.T, features @ weight.T, problem.task_ids, problem.heads)
    assert all(torch.isfinite(part).all() for part in (*again, *logits))
    assert all(torch.equal(a, b) for a, b in zip(clean, again, strict=True))


@pytest.mark.parametrize("blocks", [(16, 16, 16, 16), (64, 16, 64, 128), (16, 64, 512, 32)])
def test_the_block_sizes_change_nothing_beyond_the_order_of_sums(blocks, kernels):
    problem = Problem([2, 5, 1, 30], [5, 30, 4, 21], 70)
    arguments = (*problem.student, problem.teacher, problem.task_ids, problem.heads, 1.5, -4.0)
    for a, b in zip(
        kernels.distill_heads(*arguments),
        kernels.distill_heads(*arguments, blocks=kernels.Blocks(*blocks)),
        strict=True,
    ):
        torch.testing.assert_close(a, b, rtol=1e-5, atol=1e-6)


def test_inputs_need_not_be_contiguous(backend):
    problem = Problem([2, 5], [8, 9], 32)
    expected = problem.loss(problem.student, backend=backend)
    turned = [part.T.contiguous().T if part.ndim == 2 else part for part in problem.student]
    torch.testing.assert_close(problem.loss(turned, backend=backend), expected)


def test_an_empty_batch_has_no_loss_and_no_gradient(backend):
    problem = Problem([2, 3], [1, 1], 16)
    nothing = Teacher(problem.teacher.features[:0], *problem.teacher[1:])
    leaves = [problem.leaves()[0][:0], *problem.leaves()[1:]]
    loss = head_distillation_loss(*leaves, nothing, problem.task_ids[:0], problem.heads, backend=backend)
    gradients = torch.autograd.grad(loss, leaves[1:])
    assert loss.item() == 0.0
    assert all(not gradient.any() for gradient in gradients)


def test_double_precision_is_refused_by_the_kernels_by_name(kernels):
    problem = Problem([2, 3], [4, 5], 16, torch.float64)
    with pytest.raises(TypeError, match="not float64; use backend torch"):
        problem.loss(problem.student, backend="triton")


def test_heads_are_plain_tensors_on_the_device():
    heads = heads_for([2, 3], [1, 1], other_heads=1.0, device=torch.device(DEVICE))
    assert isinstance(heads, Heads)
    assert [part.device.type for part in heads] == [DEVICE] * 4
    assert heads.starts.tolist() == [0, 2]
    assert heads.ends.tolist() == [2, 5]
