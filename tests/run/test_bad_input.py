"""Every bad option and input is refused early, in one line that says what to do, and nothing is written."""

import pytest

from mygo_edge.errors import MygoEdgeError
from mygo_edge.train import main, parse
from tests.run.commands import TINY, run


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("--dataset cats", "--dataset cats is unknown; choose one of digits, mnist"),
        ("--preset slow", "--preset slow is unknown; choose one of fast"),
        ("--methods mygo,magic", "--methods magic is unknown; choose from mygo"),
        ("--methods mygo mygo", "different methods"),
        ("--colour blue", "--colour"),
        ("--seed x", "--seed"),
        ("--seed -1", "--seed -1 cannot work"),
        ("--wake.epochs 0", "--wake.epochs 0 cannot work: it must be at least 1"),
        ("--memory.epochs 0", "--memory.epochs 0 cannot work"),
        ("--sleep.steps 0", "--sleep.steps 0 cannot work"),
        ("--wake.learning-rate nan", "--wake.learning-rate nan"),
        ("--sleep.learning-rate 7", "--sleep.learning-rate 7.0"),
        ("--memory.max-steps 1", "--memory.max-steps 1"),
        ("--checkpoint-seconds 0", "--checkpoint-seconds"),
        ("--resume runs/x --seed 3", "holds no run"),
        ("--resume runs/x --preset best", "--preset is for a new run"),
        ("--forget task0 runs/x --seed 3", "give it alone: --forget TASK RUN"),
        ("--task-names a,b,c", "--task-names gives 3 names, --tasks makes 5 tasks"),
        ("--tasks 0,1/2,3 --task-names a,A", "--task-names a,A cannot work: it must be different names"),
        ("--task-names ../x", "--task-names ../x cannot work"),
        ("--text.label 1 --text.column 1", "--text.column 1 cannot work: it must be another column than --text.label"),
        ("--dataset arrays", "is what a program gives to Learner.learn"),
        ("--tasks 3", "does not divide 10 classes"),
        ("--tasks 0,1/1,2", "class 1 twice"),
        ("--tasks 0,1/2", "has one class"),
        ("--tasks 0,99", "class 99"),
        ("--device cuda", "PyTorch sees no CUDA device"),
        ("--device cpu --step graph", "--step graph is for CUDA"),
        (
            "--device cpu --backend triton",
            "--backend triton: the backend argument asks for triton, but the tensors are",
        ),
        ("--sleep.batch-size 1", "--sleep.batch-size 1 cannot work"),
        ("--sleep.ahead-megabytes -1", "--sleep.ahead-megabytes -1.0 cannot work"),
        ("--memory.width 100000000", "--memory.width 100000000 cannot work: it must be at most"),
        ("--sleep.ahead-megabytes 1e300", "--sleep.ahead-megabytes 1e+300 cannot work: it must be at most"),
        ("--measure.dreams-per-class 1000000000000", "cannot work: it must be at most 2147483647"),
        ("--wake.batch-size 100000000000", "cannot work: it must be at most"),
        ("--dataset mnist", "needs --data-root"),
        ("--dataset mnist --data-root /nowhere", "--download"),
        ("--dataset folder --data-root /nowhere", "is not a folder"),
        ("--resume /nowhere", "holds no run"),
    ],
)
def test_what_cannot_work_is_refused_and_nothing_is_written(arguments, message, tmp_path, monkeypatch):
    import torch

    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.delenv("TRITON_INTERPRET", raising=False)  # set by other tests
    monkeypatch.chdir(tmp_path)
    with pytest.raises(MygoEdgeError) as refusal:
        main(arguments.split())
    assert message in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("arguments", ["--dataset cats", "--wake.epochs zero", "--tasks 3"])
def test_the_command_says_it_in_one_line_and_exits_with_2(arguments, tmp_path):
    done = run(*arguments.split(), cwd=tmp_path)
    assert (done.returncode, done.stderr.count("\n"), done.stdout) == (2, 1, "")
    assert done.stderr.startswith("error: ")
    assert not list(tmp_path.iterdir())


def test_a_folder_with_another_run_is_left_alone(whole_run, tmp_path):
    before = (whole_run[0] / "summary.json").read_bytes()
    with pytest.raises(MygoEdgeError, match="already holds a run; go on with a run by --resume"):
        main([*TINY, "--out", str(whole_run[0])])
    assert (whole_run[0] / "summary.json").read_bytes() == before
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(MygoEdgeError, match="is not an empty folder"):
        main([*TINY, "--out", str(tmp_path)])


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("in the way")
    done = run(*TINY, "--out", tmp_path / "file" / "run")
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "Not a directory" in done.stderr
    done = run(*TINY, "--out", "/proc/run")  # read-only for everyone
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert "/proc/run" in done.stderr


@pytest.mark.parametrize("arguments", ["--colour blue", "--seed x", "--sleep.steps", "--nonsense"])
def test_the_parsers_words_come_once(arguments, tmp_path):
    with pytest.raises(MygoEdgeError) as refusal:
        main(arguments.split())
    first, second = str(refusal.value).split()[:2]
    assert not str(refusal.value).startswith(f"{first} {second} {first} {second}")
    assert not str(refusal.value).startswith(("Value error Error", "Missing argument Missing"))


def test_help_explains_every_option():
    done = run("--help")
    assert done.returncode == 0
    for words in ("--sleep.dreams-per-task", "Dreams of every task a step", "--preset", "Trade time for quality"):
        assert words in done.stdout


def test_a_preset_sets_defaults_and_options_go_over_them():
    fast, best = parse(["--preset", "fast"]), parse(["--preset=best", "--sleep.steps", "7"])
    assert fast.memory.epochs < best.memory.epochs
    assert best.sleep.steps == 7
    for methods in (["--methods", "mygo,joint"], ["--methods=mygo,joint"], ["--methods", "mygo, joint"]):
        assert parse([*methods, "--seed", "4"]).methods == ("mygo", "joint")
    assert parse(["--trunk", "None"]) == parse([])
