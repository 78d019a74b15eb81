import torch

from mygo_edge.kernels.distill import distillation_loss


def test_the_loss_is_own_head_error_plus_weighted_error_over_all_heads():
    student = torch.tensor([[1.0, 2.0, 3.0], [0.0, 0.0, 0.0]])
    target = torch.tensor([[0.0, 2.0, -1.0], [0.0, 1.0, 2.0]])
    own = torch.tensor([[True, True, False], [False, False, True]])
    own_head = (1.0 + 0.0 + 4.0) / 3
    all_heads = (1.0 + 0.0 + 16.0 + 0.0 + 1.0 + 4.0) / 6
    assert torch.isclose(distillation_loss(student, target, own, 0.5), torch.tensor(own_head + 0.5 * all_heads))
    assert torch.isclose(distillation_loss(student, target, own, 0.0), torch.tensor(own_head))


def test_gradients_agree_with_finite_differences():
    torch.manual_seed(0)
    student = torch.randn(5, 7, dtype=torch.float64, requires_grad=True)
    target, own = torch.randn(5, 7, dtype=torch.float64), torch.rand(5, 7) < 0.4
    assert torch.autograd.gradcheck(lambda logits: distillation_loss(logits, target, own, 0.7), (student,))
