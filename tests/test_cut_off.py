"""What is cut off in the middle, by Ctrl-C, a full disk or a kill, leaves a learner that goes on to the same result."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from torch import Tensor

from mygo_edge import EdgeModel, Learner, MygoEdgeError
from mygo_edge.experiment import start
from mygo_edge.learn.pixels.sleep import Consolidation
from mygo_edge.run.evaluation import Evaluation
from mygo_edge.run.phases import Interruption
from mygo_edge.run.runner import Runner
from mygo_edge.run.saved import open_learner
from mygo_edge.train import parse
from tests.run.test_features_run import material, source  # noqa: F401
from tests.test_learner import OPTIONS, digits

TASKS = {"a": (0, 1), "b": (2, 3), "c": (5, 6)}


@pytest.fixture(scope="module")
def grown(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A learner of three tasks."""
    folder = tmp_path_factory.mktemp("cut") / "grown"
    with Learner.create(folder, OPTIONS) as learner:
        for name, labels in TASKS.items():
            learner.learn(name, *digits(*labels))
    return folder


def copy_of(folder: Path, to: Path) -> Path:
    return Path(shutil.copytree(folder, to / "copy"))


def weights(folder: Path) -> dict[str, Tensor]:
    (file,) = (folder / "checkpoint").glob("mygo-*.safetensors")
    return safetensors.torch.load(file.read_bytes())


def same(one: dict[str, Tensor], other: dict[str, Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(one[key], value) for key, value in other.items())


def cut_once(monkeypatch: pytest.MonkeyPatch, owner: type, name: str, at: Callable[..., bool], error: BaseException):
    """Let a method raise when `at` first says so of its arguments."""
    whole, left = getattr(owner, name), [error]

    def cut(*arguments: Any, **named: Any) -> Any:
        if left and at(*arguments, **named):
            raise left.pop()
        return whole(*arguments, **named)

    monkeypatch.setattr(owner, name, cut)


def test_a_stop_is_for_what_was_going_on_and_not_for_what_comes_next() -> None:
    interruption = Interruption()
    with interruption:
        interruption.asked = True
    with interruption:
        assert not interruption.asked


@pytest.mark.parametrize("error", [OSError("no space left on device"), KeyboardInterrupt()])
def test_a_learner_that_was_cut_off_in_a_sleep_answers_and_goes_on_as_if_nothing_had_been(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    with Learner.create(tmp_path / "whole", OPTIONS) as learner:
        for name in "ab":
            learner.learn(name, *digits(*TASKS[name]))
    count = iter(range(1000))
    cut_once(monkeypatch, Consolidation, "loss_of", lambda *_: next(count) == 30, error)
    with Learner.create(tmp_path / "cut", OPTIONS) as learner:
        learner.learn("a", *digits(0, 1))
        with pytest.raises(type(error)):
            learner.learn("b", *digits(2, 3))
        assert set(learner.answers(digits(0, 1)[0])) <= {("a", "0"), ("a", "1")}
        learner.learn("b", *digits(2, 3))
    assert same(weights(tmp_path / "cut"), weights(tmp_path / "whole"))


@pytest.fixture
def half_forgotten(grown: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The learner of three tasks, cut off when the network had forgotten `a` and the bundle had not."""
    folder = copy_of(grown, tmp_path)
    cut_once(monkeypatch, Runner, "publish", lambda *_, keep=True: not keep, OSError("cut"))
    with Learner.open(folder) as learner, pytest.raises(OSError, match="cut"):
        learner.forget("a")
    return folder


def test_in_the_middle_of_forgetting_nothing_else_is_answered_forgotten_or_published(half_forgotten: Path) -> None:
    with Learner.open(half_forgotten) as learner:
        for refused in (lambda: learner.forget("c"), lambda: learner.answers(digits(0)[0]), lambda: learner.dream("b")):
            with pytest.raises(MygoEdgeError, match="stopped while it forgot a; finish that first with --forget a"):
                refused()
        learner.forget("a")
        assert list(learner.tasks) == ["b", "c"]
        assert learner.accuracy(*digits(5, 6), task="c") > 0.95
    with pytest.raises(MygoEdgeError, match="cannot be forgotten: the tasks are b, c"):
        start(parse(["--forget", "a", str(half_forgotten)]))


def test_what_reads_a_learner_from_its_folder_waits_until_it_has_forgotten(half_forgotten: Path) -> None:
    with pytest.raises(MygoEdgeError, match="stopped while it forgot a"):
        open_learner(half_forgotten)


def test_a_task_that_arrives_in_the_middle_of_forgetting_is_learnt_after_it(half_forgotten: Path, grown: Path) -> None:
    with Learner.open(half_forgotten) as learner:
        learner.learn("d", *digits(7, 8))
        assert list(learner.tasks) == ["b", "c", "d"]
        for name, labels in (("b", (2, 3)), ("c", (5, 6)), ("d", (7, 8))):
            assert learner.accuracy(*digits(*labels), task=name) > 0.9
    assert list(EdgeModel.load(half_forgotten / "bundle").tasks) == ["b", "c", "d"]
    whole = copy_of(grown, half_forgotten.parent / "whole")
    with Learner.open(whole) as learner:
        learner.forget("a")
        learner.learn("d", *digits(7, 8))
    assert same(weights(half_forgotten), weights(whole))


def test_what_keeps_nothing_on_disk_learns_again_wherever_a_run_is_cut_off(
    material: Path,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    cut_once(monkeypatch, Evaluation, "evaluate", lambda _, method, index: method.name == "joint", OSError("cut"))
    with pytest.raises(OSError, match="cut"):
        start(parse([*map(str, source(material, "3,4,5/0,1,2")), "--out", str(tmp_path / "run")]))
    start(parse(["--resume", str(tmp_path / "run")]))
    cuts: list[tuple[type, str, Callable[..., bool]]] = [
        (Runner, "publish", lambda *_, keep=True: not keep),
        (Evaluation, "evaluate", lambda _, method, index: method.name == "ncm"),
    ]
    for owner, name, at in cuts:
        cut_once(monkeypatch, owner, name, at, OSError("cut"))
        with pytest.raises(OSError, match="cut"):
            start(parse(["--forget", "task0", str(tmp_path / "run")]))
    start(parse(["--forget", "task0", str(tmp_path / "run")]))
    with Learner.open(tmp_path / "run") as learner:
        assert list(learner.tasks) == ["task1"]
