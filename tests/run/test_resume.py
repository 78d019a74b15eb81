"""Nothing is lost on a kill: a resumed run ends with the summary of an undisturbed one."""

import json
import re
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from mygo_edge.run.checkpoint import _digest
from tests.run.commands import TINY, environment, run, start, summary

_, EXPERT, MEMORY, SLEEP, PUBLISH = range(5)
MYGO = 0


def position(folder: Path) -> tuple[list[int], bool]:
    """Where the checkpoint stands, and whether it is within a phase."""
    try:
        state = json.loads((folder / "checkpoint" / "state.json").read_text())["state"]
    except FileNotFoundError:
        return [-1, 0, 0], False
    return state["position"], state["within"] is not None


def stop_at(folder: Path, process, where: list[int], within: bool, how: signal.Signals) -> None:
    """Signal `process` as soon as the checkpoint stands at `where`."""
    deadline = time.monotonic() + 120
    while position(folder) != (where, within):
        assert position(folder)[0] <= where, f"missed {where}"
        assert process.poll() is None, process.stderr.read()
        assert time.monotonic() < deadline
        time.sleep(0.002)
    process.send_signal(how)
    process.wait(60)


def test_kills_in_wake_memory_sleep_and_export_change_nothing(whole_run, tmp_path):
    folder = tmp_path / "killed"
    moments = [
        ([0, MYGO, MEMORY], True),
        ([0, MYGO, PUBLISH], False),
        ([1, MYGO, EXPERT], False),
        ([1, MYGO, SLEEP], True),
    ]
    arguments = [*TINY, "--out", folder, "--checkpoint-seconds", "0.05"]
    for where, within in moments:
        stop_at(folder, start(*arguments), where, within, signal.SIGKILL)
        arguments = ["--resume", folder]
    done = run(*arguments)
    assert done.returncode == 0, done.stderr
    assert summary(folder) == summary(whole_run[0])
    for name in (
        "classifier.int8-weights.onnx",
        "generator-task0.int8-weights.onnx",
        "generator-task1.int8-weights.onnx",
    ):
        ours, theirs = (base / "bundle" / "v0002" / name for base in (folder, whole_run[0]))
        assert ours.read_bytes() == theirs.read_bytes()


def test_ctrl_c_writes_a_checkpoint_and_exits_with_130(whole_run, tmp_path):
    folder = tmp_path / "interrupted"
    process = start(*TINY, "--out", folder, "--checkpoint-seconds", "1000")
    while position(folder)[0] < [0, MYGO, MEMORY]:
        time.sleep(0.01)
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    process.wait(60)
    assert process.returncode == 130
    where, within = position(folder)
    assert where >= [0, MYGO, MEMORY]
    assert within or where > [0, MYGO, MEMORY]
    assert run("--resume", folder).returncode == 0
    assert summary(folder) == summary(whole_run[0])


@pytest.fixture
def small_disk(tmp_path):
    """A real file system of 300 KB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(disk)]
    made = subprocess.run(mount, capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"cannot mount a small disk here: {made.stderr.strip()}")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


def test_a_full_disk_ends_the_run_and_nothing_is_lost(whole_run, small_disk):
    folder = small_disk / "full"
    done = run(*TINY, "--out", folder)
    assert (done.returncode, done.stderr.count("\n")) == (2, 1), done.stderr
    assert "No space left on device" in done.stderr
    subprocess.run(["mount", "-o", "remount,size=100m", str(small_disk)], check=True)
    done = run("--resume", folder)
    assert done.returncode == 0, done.stderr
    assert summary(folder) == summary(whole_run[0])
    assert not list(folder.rglob("*.tmp*"))


def test_resuming_a_finished_run_changes_nothing(whole_run):
    folder, _ = whole_run
    before = (folder / "summary.json").read_text()
    assert run("--resume", folder).returncode == 0
    assert (folder / "summary.json").read_text() == before


def copy_of(folder: Path, target: Path) -> Path:
    subprocess.run(["cp", "-r", str(folder), str(target)], check=True)
    return target


def tensors_of(folder: Path) -> Path:
    return next((folder / "checkpoint").glob("mygo-*.safetensors"))


def damage_tensors(folder: Path) -> str:
    file = tensors_of(folder)
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    return f"{file.name} is damaged"


def lose_tensors(folder: Path) -> str:
    file = tensors_of(folder)
    file.unlink()
    return f"{file.name} is missing"


def cut_state(folder: Path) -> str:
    file = folder / "checkpoint" / "state.json"
    file.write_text(file.read_text()[:-40])
    return "state.json is damaged"


def change_state(folder: Path, change) -> None:
    """Change a checkpoint as one would who also mends its checksum."""
    file = folder / "checkpoint" / "state.json"
    document = json.loads(file.read_text())
    change(document)
    document["sha256"] = _digest(document)
    file.write_text(json.dumps(document))


def flipped_result(folder: Path) -> str:
    file = folder / "checkpoint" / "state.json"
    text = file.read_text()
    assert '"matrix"' in text
    file.write_text(text.replace("1.0", "0.5", 1))
    return "state.json is damaged (its SHA-256 differs)"


def foreign_state(folder: Path) -> str:
    change_state(folder, lambda document: document["state"].update(run="another"))
    return "state.json belongs to another run"


def other_format(folder: Path) -> str:
    (folder / "checkpoint" / "state.json").write_text('{"format": "something else"}')
    return "state.json is not a checkpoint of this version"


def path_outside(folder: Path) -> str:
    change_state(folder, lambda document: document["files"]["mygo"].update(name="../../secret"))
    return "names a file outside its folder"


def other_data(folder: Path) -> str:
    def unlearn(document: dict[str, Any]) -> None:
        document["state"]["position"] = [1, 0, 1]  # a part of task1 is learnt
        document["state"]["tasks"][1]["fingerprint"] = "0" * 64

    change_state(folder, unlearn)
    return "the inputs, labels or classes of task1 are not the ones that"


def damaged_config(folder: Path) -> str:
    (folder / "config.json").write_text("{}")
    return "config.json is damaged"


def no_config(folder: Path) -> str:
    (folder / "config.json").unlink()
    return "holds no run"


@pytest.mark.parametrize(
    "damage",
    [
        damage_tensors,
        lose_tensors,
        cut_state,
        flipped_result,
        foreign_state,
        other_format,
        path_outside,
        other_data,
        damaged_config,
        no_config,
    ],
)
def test_a_corrupt_or_foreign_checkpoint_is_refused_by_name(whole_run, tmp_path, damage, capsys):
    from mygo_edge.errors import MygoEdgeError
    from mygo_edge.train import main

    folder = copy_of(whole_run[0], tmp_path / "copy")
    message = damage(folder)
    with pytest.raises(MygoEdgeError, match=re.escape(message)):
        main(["--resume", str(folder)])


def test_a_run_in_use_is_refused(whole_run, tmp_path):
    folder = copy_of(whole_run[0], tmp_path / "busy")
    holder = subprocess.Popen(
        ["flock", str(folder / ".lock"), "sleep", "60"], env=environment(), start_new_session=True
    )
    try:
        time.sleep(0.3)
        done = run("--resume", folder)
        assert done.returncode == 2
        assert "in use by another process" in done.stderr
    finally:
        subprocess.run(["pkill", "-s", str(holder.pid)], check=False)
        holder.wait()
