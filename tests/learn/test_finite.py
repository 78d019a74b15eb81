"""A loss that is no number ends a phase in one line, at whatever step it comes."""

import pytest
import torch

from mygo_edge.domains.pixels import Pixels
from mygo_edge.learn.phase import READ_EVERY, NotFiniteError, Phase
from mygo_edge.learn.pixels.sleep import sleep
from mygo_edge.model.memory import GenerativeMemory
from mygo_edge.options import SleepOptions
from tests.bundles import SHAPE, tiny_generators, tiny_net

CPU = torch.device("cpu")


@pytest.mark.parametrize("total", [1, 3, READ_EVERY, READ_EVERY + 1, 2 * READ_EVERY - 1])
def test_the_last_step_is_read_too(total: int) -> None:
    phase = Phase(CPU, 0)

    def learn() -> None:
        for step in phase.steps(total):
            phase.log(step, loss=torch.tensor(float("nan") if step + 1 == total else 1.0))

    with pytest.raises(NotFiniteError, match=f"by step {total - 1}; lower the learning rate"):
        learn()


def test_a_sleep_that_diverges_in_its_last_step_is_one_line() -> None:
    """The loss is read before a step; what the last step does shows in the loss after it."""
    memory = GenerativeMemory(SHAPE)
    for generator in tiny_generators(2):
        memory.add(generator)
    net, expert = tiny_net(2), tiny_net(2, seed=1)
    steps = SleepOptions(steps=2, dreams_per_task=4, learning_rate=1e30, ahead_megabytes=0.0)
    with pytest.raises(NotFiniteError, match="the loss is"):
        sleep(net, expert, memory, Pixels(SHAPE), steps, Phase(CPU, 0))
