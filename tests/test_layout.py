"""The rooms of the project: no circle, no torch on a device, and the table in CONTRIBUTING.md is the code's."""

from pathlib import Path

from bench.layout import table, uses

ROOT = Path(__file__).parent.parent


def test_the_table_of_rooms_is_the_one_that_the_imports_make_and_has_no_circle() -> None:
    text = (ROOT / "CONTRIBUTING.md").read_text()
    assert table() in text


def test_what_a_device_runs_imports_nothing_of_the_learner() -> None:
    found = uses()
    learner = {"data", "domains", "learn", "measure", "model", "run", "trunks", "export"}
    for room in ("bundle", "device", "update", "web"):
        assert not found[room] & learner
    assert "device" not in found["learn"] | found["run"] | found["measure"] | found["domains"]
