"""What can be shown of captured steps without CUDA: the warm-up is undone, and an impossible capture is told."""

import pytest
import torch

from mygo_edge.errors import MygoEdgeError
from mygo_edge.learn.capture import _Captured, _put_back, _snapshot, adam, captured, set_learning_rate
from mygo_edge.learn.phase import Phase
from mygo_edge.learn.team import Team

CPU = torch.device("cpu")


def learner():
    torch.manual_seed(0)
    net = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4), torch.nn.Linear(4, 1))
    optimiser = adam(net.parameters(), 0.1, CPU)

    def step(images):
        loss = net(images).square().mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        return loss.detach()

    return net, step, {"net": net, "optimiser": optimiser}


class Noting(Phase):
    def __init__(self, **options):
        super().__init__(CPU, 0, **options)
        self.notes = []

    def note(self, text):
        self.notes.append(text)


@pytest.mark.parametrize("steps_before", [0, 3])
def test_a_warm_up_leaves_no_trace(steps_before):
    images = torch.randn(5, 3)
    net, step, state = learner()
    plain, plain_step, _ = learner()
    for _ in range(steps_before):
        step(images)
        plain_step(images)
    before = _snapshot(state)
    for _ in range(2):
        step(images)
    _put_back(state, before)
    for _ in range(4):
        step(images)
        plain_step(images)
    for name, value in net.state_dict().items():
        assert torch.equal(value, plain.state_dict()[name]), name


@pytest.mark.skipif(torch.cuda.is_available(), reason="here the capture is impossible because there is no CUDA")
def test_a_step_that_cannot_be_captured_runs_plainly_and_the_reason_is_told_once():
    images = torch.randn(5, 3)
    net, step, state = learner()
    plain, plain_step, _ = learner()
    phase = Noting()
    phase.device = torch.device("cuda")
    take = _Captured(step, phase, state)
    for _ in range(3):
        assert torch.equal(take(images), plain_step(images))
    assert all(torch.equal(value, plain.state_dict()[name]) for name, value in net.state_dict().items())
    (note,) = phase.notes
    assert "not captured in a CUDA graph, and run plainly" in note


@pytest.mark.skipif(torch.cuda.is_available(), reason="here the capture is impossible because there is no CUDA")
def test_a_graph_that_was_asked_for_and_cannot_be_had_is_an_error():
    _, step, state = learner()
    phase = Noting(step_mode="graph")
    with pytest.raises(MygoEdgeError, match=r"--step graph: .* needs CUDA"):
        captured(step, phase, state)
    phase.device = torch.device("cuda")
    with pytest.raises(MygoEdgeError, match=r"--step graph: .* use --step auto"):
        captured(step, phase, state)(torch.randn(5, 3))
    phase.team = Team(0, 2)
    with pytest.raises(MygoEdgeError, match="several processes share them"):
        captured(step, phase, state)


def test_steps_are_captured_on_cuda_alone_and_by_a_process_alone():
    _, step, state = learner()
    assert captured(step, Noting(), state) is step
    shared = Noting(team=Team(0, 2))
    shared.device = torch.device("cuda")
    assert captured(step, shared, state) is step
    assert "several processes" in shared.notes[0]


def test_the_learning_rate_changes_in_place_where_it_is_on_the_device():
    weight = torch.zeros(2, requires_grad=True)
    on_device = torch.tensor(0.5)
    optimiser = torch.optim.Adam([weight], on_device, fused=True)
    set_learning_rate(optimiser, 0.25)
    assert optimiser.param_groups[0]["lr"] is on_device
    assert on_device.item() == 0.25
