"""What commands print: nothing that a terminal obeys or cannot show, and no more than the reader wants."""

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from mygo_edge.errors import MygoEdgeError, escaped, one_line

EVIL = "a\x1b[2Jb\x07\u202eé\n"


def run(*arguments: object, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, **environment})


def test_every_message_is_one_printable_line_whatever_is_in_it() -> None:
    assert str(MygoEdgeError(EVIL)) == "a\\x1b[2Jb\\x07\\u202eé"
    assert escaped("plain é") == "plain é"
    assert one_line("a\n b\udc80") == "a b\\udc80"
    assert all(one_line(chr(code)).isprintable() or not one_line(chr(code)) for code in range(0x3000))


def test_a_file_name_with_escapes_is_shown_without_them(bundle: Path, tmp_path: Path) -> None:
    evil = tmp_path / "x\x1b[31m\x07.npy"
    np.save(evil, np.zeros((1, 1, 8, 8), np.uint8))
    done = run("mygo_edge.predict", bundle, evil)
    assert (done.returncode, done.stderr) == (0, "")
    assert "x\\x1b[31m\\x07.npy" in done.stdout
    assert done.stdout.replace("\n", "").isprintable()
    gone = run("mygo_edge.predict", bundle, str(evil) + "\n")
    assert gone.returncode == 2
    assert gone.stderr.strip().isprintable()


def test_an_ascii_terminal_gets_escapes_instead_of_a_traceback(own_bundle: Path, tmp_path: Path) -> None:
    path = own_bundle / "v0002" / "manifest.json"
    document = json.loads(path.read_text())
    document["tasks"][0]["classes"] = ["größer", "日本"]
    path.write_text(json.dumps(document))
    np.save(tmp_path / "x.npy", np.zeros((1, 1, 8, 8), np.uint8))
    ascii_only = {"PYTHONIOENCODING": "ascii:strict", "PYTHONUTF8": "0", "LC_ALL": "C"}
    done = run("mygo_edge.predict", own_bundle, tmp_path / "x.npy", "--task", "parity", **ascii_only)
    assert (done.returncode, done.stderr) == (0, "")
    assert "gr\\xf6\\xdfer" in done.stdout or "\\u65e5\\u672c" in done.stdout


def test_a_reader_that_has_seen_enough_ends_predict_without_a_word(bundle: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "many.npy", np.zeros((20_000, 1, 8, 8), np.uint8))
    command = [sys.executable, "-m", "mygo_edge.predict", bundle, tmp_path / "many.npy"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stderr is not None
    assert "many.npy[0]: " in process.stdout.readline()
    process.stdout.close()
    assert process.stderr.read() == ""
    process.stderr.close()
    assert process.wait() == 141


@pytest.mark.parametrize(("module", "arguments"), [("train", ["--seed", "1"]), ("export.__main__", ["/nowhere"])])
def test_a_command_of_the_box_says_what_to_install_on_a_device(module: str, arguments: list[str]) -> None:
    program = (
        "import importlib, sys\nsys.modules.update(torch=None, tyro=None)\n"
        f"from mygo_edge.errors import run_command\nsys.argv = ['x', *{arguments!r}]\n"
        f"run_command(importlib.import_module('mygo_edge.{module}').main)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "is not installed, which this command needs: pip install 'mygo_edge[train]'" in done.stderr


def test_pillow_missing_is_said_too() -> None:
    program = (
        "import sys; sys.modules['PIL'] = None\n"
        "from mygo_edge.errors import run_command\n"
        "def main():\n    import PIL\nrun_command(main)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.stderr == "error: PIL is not installed, which this command needs: pip install 'mygo_edge[images]'\n"
