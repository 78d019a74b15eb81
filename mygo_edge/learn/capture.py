"""How a training step runs: plainly, with its loss compiled, or captured once in a CUDA graph and replayed.

All three do the same operations on the same numbers. A captured step is one launch, which is what counts for networks
so small that a GPU spends its time waiting for the next kernel.
"""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import torch
from torch import Tensor, nn

from mygo_edge.errors import MygoEdgeError
from mygo_edge.learn.phase import Phase, Stateful

WARM_UP = 3  # runs before the capture: PyTorch's own advice, for libraries that set themselves up on first use

Step = Callable[..., Any]


def adam(parameters: Iterable[Tensor], rate: float, device: torch.device, **options: object) -> torch.optim.Adam:
    """Fused Adam; on CUDA in the form that can be captured, with its learning rate on the device."""
    if device.type != "cuda":
        return torch.optim.Adam(parameters, rate, fused=True, **options)  # type: ignore[arg-type]
    on_device = torch.tensor(rate, device=device)
    return torch.optim.Adam(parameters, on_device, fused=True, capturable=True, **options)  # type: ignore[arg-type]


def set_learning_rate(optimiser: torch.optim.Optimizer, value: float) -> None:
    for group in optimiser.param_groups:
        if isinstance(group["lr"], Tensor):
            group["lr"].fill_(value)  # where a captured step reads it
        else:
            group["lr"] = value


def compiled(loss_of: Step, phase: Phase) -> Step:
    """`loss_of`, compiled where the phase asks for it; on CUDA with everything that the compiler can do."""
    if phase.step_mode != "compile":
        return loss_of
    return torch.compile(loss_of, mode="max-autotune" if phase.device.type == "cuda" else "default")


def captured(step: Step, phase: Phase, state: Mapping[str, Stateful]) -> Step:
    """`step`, captured in a CUDA graph at its first call, where the phase asks for it and it can be.

    Args:
        step: takes tensors of shapes that never change and returns tensors; changes nothing but `state` in place, and
            never waits for the device.

    A step that cannot be captured runs plainly, and the phase says why.

    Raises:
        MygoEdgeError: a graph was asked for by name, and cannot be had; also at the first call.
    """
    if phase.step_mode not in ("auto", "graph"):
        return step
    if phase.device.type != "cuda":
        return _plainly(step, phase, f"that needs CUDA, and this is the {phase.device.type}")
    if phase.team.size > 1:
        return _plainly(step, phase, "several processes share them")
    return _Captured(step, phase, state)


def _plainly(step: Step, phase: Phase, reason: str) -> Step:
    """`step` as it is, where nobody asked for a graph; else an error. On CPUs nobody expects one."""
    if phase.step_mode == "graph":
        raise MygoEdgeError(f"--step graph: the steps cannot be captured in a CUDA graph: {reason}; use --step auto")
    if phase.device.type == "cuda":
        phase.note(f"the steps are not captured in a CUDA graph, and run plainly: {reason}")
    return step


class _Captured:
    def __init__(self, step: Step, phase: Phase, state: Mapping[str, Stateful]) -> None:
        self._step, self._phase, self._state = step, phase, state
        self._graph: torch.cuda.CUDAGraph | None = None
        self._plain = False

    def __call__(self, *inputs: Tensor) -> Any:
        if self._graph is None and not self._plain:
            before = _snapshot(self._state)
            try:
                self._capture(inputs)
            except RuntimeError as reason:
                self._plain = True
                _plainly(self._step, self._phase, str(reason).splitlines()[0])
            _put_back(self._state, before)  # the warm-up took steps
        if self._graph is None:
            return self._step(*inputs)
        torch._foreach_copy_(self._inputs, list(inputs))
        self._graph.replay()
        return self._answer

    def _capture(self, inputs: tuple[Tensor, ...]) -> None:
        self._inputs = [tensor.clone() for tensor in inputs]
        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for _ in range(WARM_UP):
                self._step(*self._inputs)
        torch.cuda.current_stream().wait_stream(side)
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph):
            self._answer = self._step(*self._inputs)
        self._graph = graph


def _tensors(part: Stateful) -> dict[str, Tensor]:
    """Everything that a step may change in place."""
    if isinstance(part, torch.optim.Optimizer):
        values = enumerate(part.state.values())
        return {f"{index}.{name}": value for index, state in values for name, value in state.items()}
    assert isinstance(part, nn.Module)
    return {**dict(part.named_parameters()), **dict(part.named_buffers())}


def _snapshot(state: Mapping[str, Stateful]) -> dict[str, dict[str, Tensor]]:
    return {
        name: {key: value.detach().clone() for key, value in _tensors(part).items()} for name, part in state.items()
    }


@torch.no_grad()
def _put_back(state: Mapping[str, Stateful], before: dict[str, dict[str, Tensor]]) -> None:
    """Undo the warm-up in place. What an optimiser did not hold yet starts at zero, as Adam's averages do."""
    for name, part in state.items():
        for key, value in _tensors(part).items():
            kept = before[name].get(key)
            if kept is None:
                value.zero_()
            else:
                value.copy_(kept)
