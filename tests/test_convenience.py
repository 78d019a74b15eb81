"""Options from a file, and completion."""

import itertools
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from mygo_edge.completion import main as completion
from mygo_edge.errors import MygoEdgeError
from mygo_edge.train import parse

EXAMPLE = Path(__file__).parent.parent / "examples" / "run.toml"


def test_the_example_is_read_and_the_command_line_goes_over_it() -> None:
    options = parse(["--sleep.steps", "7", "--config", str(EXAMPLE), "--methods", "mygo"])
    assert (options.tasks, options.preset, options.memory.epochs) == ("0,1,2,3,4/5,6,7,8,9", "fast", 4)
    assert (options.measure.dreams, options.publish.precision) == (False, "fp32")
    assert (options.sleep.steps, options.methods) == (7, ("mygo",))
    assert options.memory.width == 32  # the preset's own


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("wake.lenght = 3", "run.toml: wake.lenght is no option that a file may set"),
        ('resume = "runs/a"', "run.toml: resume is no option that a file may set"),
        ("wake = 3", r"run.toml: wake is a group of options; write it as a table, \[wake\]"),
        ("seed = [[1]]", "run.toml: seed must be text, a number"),
        ("seed = ", "run.toml is no TOML"),
        ('seed = "many"', "seed"),
    ],
)
def test_what_a_file_cannot_say_is_named_with_the_file(content: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text(content)
    with pytest.raises(MygoEdgeError, match=message) as caught:
        parse(["--config", str(tmp_path / "run.toml")])
    assert "\n" not in str(caught.value)


def test_options_of_a_trunk_have_a_table_of_their_own(tmp_path: Path) -> None:
    (tmp_path / "run.toml").write_text(
        'dataset = "folder"\ndata_root = "a"\ntrunk = "resnet18"\n[trunk_input]\nsize = 96'
    )
    options = parse([f"--config={tmp_path / 'run.toml'}"])
    assert (options.trunk, options.trunk_input.size) == ("resnet18", 96)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(MygoEdgeError, match=r"none\.toml cannot be read"):
        parse(["--config", str(tmp_path / "none.toml")])


@pytest.mark.skipif(shutil.which("bash") is None, reason="no bash here")
def test_bash_completes_commands_and_options(capsys: pytest.CaptureFixture[str]) -> None:
    completion(["bash"])
    script = capsys.readouterr().out
    for words, expected in (("tr", "train"), ("train --sleep.st", "--sleep.steps")):
        count = len(words.split())
        ask = f'COMP_WORDS=(mygo-edge {words}); COMP_CWORD={count}; _tyro_mygo_edge; echo "${{COMPREPLY[@]}}"'
        path = f"{Path(sys.executable).parent}:/usr/bin:/bin"
        done = subprocess.run(
            ["bash", "-c", f"{script}\n{ask}"], capture_output=True, text=True, check=False, env={"PATH": path}
        )
        assert expected in done.stdout.split(), done.stderr


def test_zsh_has_a_script_and_another_shell_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    completion(["zsh"])
    assert capsys.readouterr().out.startswith("#compdef mygo-edge")
    with pytest.raises(MygoEdgeError, match="fish"):
        completion(["fish"])


@pytest.mark.parametrize("columns", [80, 120])
def test_help_fills_the_terminal_and_never_passes_its_edge(columns: int) -> None:
    command = [sys.executable, "-m", "mygo_edge.train", "--help"]
    environment = {"COLUMNS": str(columns), "PYTHONPATH": str(EXAMPLE.parents[1]), "PYTHONIOENCODING": "utf-8"}
    done = subprocess.run(command, capture_output=True, text=True, check=True, env=environment)
    lines = done.stdout.splitlines()
    assert max(map(len, lines)) <= columns
    described = [line.strip("│").rstrip() for line in lines]
    early = [
        line
        for line, following in itertools.pairwise(described)
        if line.startswith("       ") and following.startswith("       ")
        if len(line) + 1 + len(following.split()[0]) <= columns - 4
    ]
    assert not early
