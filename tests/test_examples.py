"""The notebook runs from its first cell to its last, and is stored without output."""

import json
import os
import subprocess
import sys
from pathlib import Path

NOTEBOOK = Path(__file__).parent.parent / "examples" / "quickstart.ipynb"


def test_the_quickstart_runs_on_digits(tmp_path: Path) -> None:
    notebook = json.loads(NOTEBOOK.read_text())
    assert notebook["nbformat"] == 4
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in cells)
    program = "\n\n".join("".join(cell["source"]) for cell in cells)
    # Fewer steps: the calls are what is tested.
    short = '"--wake.min-steps", "40", "--memory.min-steps", "200", "--sleep.steps", "60", "--preset", "fast"'
    assert '"--preset", "fast"' in program
    program = program.replace('"--preset", "fast"', short)
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "MPLBACKEND": "Agg", "TMPDIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, env=environment, cwd=tmp_path, check=False
    )
    assert done.returncode == 0, done.stderr
    for words in ("mygo:", "among all ten digits", "asked for:", "seen as:", "['bright', 'bright', 'bright']"):
        assert words in done.stdout
