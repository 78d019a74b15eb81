"""Pages that are made from committed numbers say what those numbers say."""

import json
import runpy
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_the_page_of_precisions_is_the_one_that_the_committed_measurement_makes() -> None:
    page = ROOT / "docs" / "edge.md"
    committed = page.read_text()
    try:
        runpy.run_path(str(ROOT / "bench" / "edge_page.py"), run_name="__main__")
        assert page.read_text() == committed
    finally:
        page.write_text(committed)


def test_the_measurement_was_made_after_every_candidate_was_checked() -> None:
    result = json.loads((ROOT / "bench" / "results" / "edge.json").read_text())
    for kind in ("classifier", "generator"):
        checked, timed = result["checked"][kind], result["timed"][kind]
        assert {"fp32", "plain torch.onnx.export"} <= checked.keys() & timed.keys()
        assert {name for name, row in timed.items() if row["bytes"]} <= checked.keys()
    assert result["checked"]["classifier"]["fp32"]["deviation"] <= 1e-4
